//! Which processes have a socket: by its inode, in the descriptors of every process that may be looked at.

use std::collections::HashMap;
use std::fs;

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) fd: u32,
}

/// All of them.
pub(super) fn by_inode() -> HashMap<u32, Vec<Holder>> {
    let mut all: HashMap<u32, Vec<Holder>> = HashMap::new();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let mut name = None;
        for entry in fds.flatten() {
            let Some(fd) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
            let Some(inode) = fs::read_link(entry.path()).ok().and_then(|link| socket(link.to_str()?)) else {
                continue;
            };
            let name = name.get_or_insert_with(|| {
                fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
            });
            all.entry(inode).or_default().push(Holder { name: name.clone(), pid, fd });
        }
    }
    all
}

fn socket(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn this_process_is_found_by_the_inode_of_its_socket() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = listener.as_raw_fd() as u32;
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let inode = socket(link.to_str().unwrap()).unwrap();
        let holders = by_inode().remove(&inode).unwrap();
        assert!(holders.iter().any(|h| (h.pid, h.fd) == (std::process::id(), fd)), "{holders:?}");
        assert_eq!(socket("pipe:[1]"), None);
    }
}
