//! What the machine has besides sockets: files that a script's commands left, and what `/proc` tells of its namespace.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

use finack_posix::{Answer, Errno, Reply};
use rustix::fs::{MemfdFlags, Mode, OFlags};

/// Most sysctls that are read, and the longest value of one.
const MOST_SYSCTLS: usize = 4096;
const LONGEST_VALUE: usize = 4096;

/// How deep directories of sysctls lie in each other.
const MOST_DEPTH: u32 = 6;

/// Files that tell of a network namespace.
const TELLING: [&str; 5] = ["net/tcp", "net/tcp6", "net/snmp", "net/netstat", "net/snmp6"];

/// Files by the names that a script has for them; they lie in memory.
#[derive(Debug, Default)]
pub(crate) struct Files {
    known: BTreeMap<String, OwnedFd>,
}

impl Files {
    pub(crate) fn put(&mut self, path: &str, contents: &[u8]) -> rustix::io::Result<()> {
        let file = rustix::fs::memfd_create("finack", MemfdFlags::CLOEXEC)?;
        let mut rest = contents;
        while !rest.is_empty() {
            let n = rustix::io::write(&file, rest)?;
            rest = rest.get(n..).unwrap_or(&[]);
        }
        self.known.insert(path.to_owned(), file);
        Ok(())
    }

    /// `open`, with a place in the file of its own.
    pub(crate) fn open(&mut self, path: &str, flags: i64) -> Answer {
        let flags = OFlags::from_bits_retain(flags as u32);
        if flags.contains(OFlags::CREATE) && !self.known.contains_key(path) {
            self.put(path, &[]).map_err(errno)?;
        }
        let file = self.known.get(path).ok_or(Errno::ENOENT)?;
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let rest = flags - OFlags::CREATE - OFlags::EXCL;
        let opened: RawFd = rustix::fs::open(again, rest, Mode::empty()).map_err(errno)?.into_raw_fd();
        Ok(Reply::Number(opened.into()))
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno(error.raw_os_error())
}

/// The sysctls of the calling thread's network namespace, by their dotted names.
pub(crate) fn sysctls() -> Vec<(String, String)> {
    let mut out = Vec::new();
    read_below(Path::new("/proc/sys/net"), "net", 0, &mut out);
    out
}

fn read_below(directory: &Path, prefix: &str, depth: u32, out: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = format!("{prefix}.{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() && depth < MOST_DEPTH {
            read_below(&path, &name, depth + 1, out);
        } else if out.len() < MOST_SYSCTLS
            && let Ok(value) = fs::read_to_string(&path)
            && value.len() <= LONGEST_VALUE
        {
            out.push((name, value.trim_end().to_owned()));
        }
    }
}

/// Files that tell of the calling thread's network namespace, by their names below `/proc`.
pub(crate) fn proc_files() -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for name in TELLING {
        let text = fs::read_to_string(format!("/proc/thread-self/{name}"));
        out.push((name.to_owned(), text.unwrap_or_default()));
    }
    out.push(("uptime".into(), fs::read_to_string("/proc/uptime").unwrap_or_default()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use finack_posix::abi;

    fn opened(answer: Answer) -> RawFd {
        RawFd::try_from(answer.unwrap().returned()).unwrap()
    }

    #[test]
    fn each_who_opens_a_file_reads_it_from_its_beginning() {
        let mut files = Files::default();
        files.put("/tmp/page", b"0123456789").unwrap();
        assert_eq!(files.open("/tmp/other", abi::O_RDONLY), Err(Errno::ENOENT));
        for _ in 0..2 {
            let fd = opened(files.open("/tmp/page", abi::O_RDONLY));
            let mut text = [0; 4];
            assert_eq!(crate::sys::read(fd, Some(&mut text), 4), Ok(4));
            assert_eq!(&text, b"0123");
            crate::sys::close(fd).unwrap();
        }
    }

    #[test]
    fn proc_tells_of_sysctls_and_counters() {
        assert!(sysctls().iter().any(|(name, value)| name == "net.ipv4.tcp_sack" && !value.is_empty()));
        assert!(proc_files().iter().any(|(name, text)| name == "net/snmp" && text.contains("Tcp: ")));
    }
}
