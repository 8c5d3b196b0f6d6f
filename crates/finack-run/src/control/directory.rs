//! Where control sockets stand: a directory that only one user can use.
//!
//! It is `finack` in `$XDG_RUNTIME_DIR` where that is the user's own, else `/tmp/finack-UID`. Everything is done through
//! a descriptor of the directory, opened without following a link and checked for its owner and mode: whatever somebody
//! else puts in its place afterwards, they neither see a request nor answer one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};

/// Sockets of dead processes that are taken away at a time.
const SWEEP: usize = 64;
/// Sockets that are looked at.
const MOST: usize = 4096;
const SUFFIX: &str = ".sock";

/// An open directory of sockets.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    owner: u32,
}

impl Directory {
    /// This user's, made where there is none.
    pub(super) fn create() -> io::Result<Self> {
        Self::create_in(own_uid(), runtime_dir().as_deref(), Path::new("/tmp"))
    }

    fn create_in(uid: u32, runtime: Option<&Path>, tmp: &Path) -> io::Result<Self> {
        let in_runtime = runtime.filter(|dir| is_private(dir, uid)).map(|dir| make(&dir.join("finack"), uid));
        if let Some(Ok(directory)) = in_runtime {
            return Ok(directory);
        }
        make(&tmp.join(format!("finack-{uid}")), uid)
    }

    /// Those that may have sockets of this user's, and for root everybody's.
    pub(super) fn existing() -> Vec<Self> {
        let uid = own_uid();
        let mut found: Vec<Self> = Vec::new();
        let mut add = |path: PathBuf, owner| {
            if !found.iter().any(|d| d.path == path) {
                found.extend(open(&path, owner));
            }
        };
        if let Some(runtime) = runtime_dir() {
            add(runtime.join("finack"), uid);
        }
        add(PathBuf::from(format!("/tmp/finack-{uid}")), uid);
        if uid == 0 {
            for owner in numbers_in("/run/user", "") {
                add(PathBuf::from(format!("/run/user/{owner}/finack")), owner);
            }
            for owner in numbers_in("/tmp", "finack-") {
                add(PathBuf::from(format!("/tmp/finack-{owner}")), owner);
            }
        }
        found
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The address of a process's socket: through the descriptor, and so in this very directory.
    pub(super) fn address(&self, pid: u32) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{pid}{SUFFIX}", self.fd.as_raw_fd()))
    }

    /// Keeps others from the socket, should the directory ever let them in.
    pub(super) fn close_to_others(&self, pid: u32) -> io::Result<()> {
        Ok(rustix::fs::chmodat(
            &self.fd,
            format!("{pid}{SUFFIX}"),
            Mode::RUSR | Mode::WUSR,
            AtFlags::empty(),
        )?)
    }

    /// The processes that have a socket here, or had one.
    pub(super) fn pids(&self) -> Vec<u32> {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.fd) else { return Vec::new() };
        let number = |name: &std::ffi::CStr| name.to_str().ok()?.strip_suffix(SUFFIX)?.parse().ok();
        let mut pids: Vec<u32> = entries.flatten().filter_map(|e| number(e.file_name())).take(MOST).collect();
        pids.sort_unstable();
        pids
    }

    /// Takes a socket away.
    pub(super) fn remove(&self, pid: u32) {
        let _ = rustix::fs::unlinkat(&self.fd, format!("{pid}{SUFFIX}"), AtFlags::empty());
    }

    /// Takes away the sockets of processes that were killed.
    pub(super) fn sweep(&self) {
        let dead = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
        for pid in self.pids().into_iter().filter(dead).take(SWEEP) {
            self.remove_if_stale(pid);
        }
    }

    /// Takes a dead process's socket away. One that is only about to listen keeps its own.
    pub(super) fn remove_if_stale(&self, pid: u32) {
        if self.owner == own_uid() && !Path::new(&format!("/proc/{pid}")).exists() {
            self.remove_if_refused(pid);
        }
    }

    /// Takes a socket away that nobody answers at: a process of the same number in another PID namespace may.
    pub(super) fn remove_if_refused(&self, pid: u32) {
        let refused = std::os::unix::net::UnixStream::connect(self.address(pid))
            .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            self.remove(pid);
        }
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn runtime_dir() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute())
}

/// After `su` the variable may still name another user's.
fn is_private(dir: &Path, uid: u32) -> bool {
    rustix::fs::stat(dir).is_ok_and(|stat| is_owned(&stat, uid) && stat.st_mode & 0o022 == 0)
}

fn is_owned(stat: &Stat, uid: u32) -> bool {
    stat.st_uid == uid && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}

fn make(path: &Path, uid: u32) -> io::Result<Directory> {
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(in_words(path, &io::Error::from(error).to_string())),
    }
    open(path, uid)
}

/// Opens a directory that `owner` has, and nobody else may enter.
fn open(path: &Path, owner: u32) -> io::Result<Directory> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| in_words(path, &io::Error::from(error).to_string()))?;
    let stat = rustix::fs::fstat(&fd)?;
    if !is_owned(&stat, owner) {
        return Err(in_words(path, &format!("it belongs to user {}: remove it", stat.st_uid)));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(in_words(path, "others may enter it: chmod it to 0700"));
    }
    Ok(Directory { fd, path: path.to_owned(), owner })
}

fn in_words(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("{}: {what}", path.display()))
}

/// The numbers that stand behind `prefix` as names in a directory.
fn numbers_in(dir: &str, prefix: &str) -> Vec<u32> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    /// A directory of this test's own.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("finack-directory-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_runtime_directory_is_taken_where_it_is_ones_own() {
        let (runtime, tmp) = (Scratch::new("runtime"), Scratch::new("tmp"));
        let create = || Directory::create_in(own_uid(), Some(&runtime.0), &tmp.0).unwrap().path;
        assert_eq!(create(), runtime.0.join("finack"));
        assert_eq!(fs::metadata(runtime.0.join("finack")).unwrap().mode() & 0o7777, 0o700);
        // Others may write there: what stands in it may be anybody's.
        mode(&runtime.0, 0o777);
        assert_eq!(create(), tmp.0.join(format!("finack-{}", own_uid())));
    }

    /// Somebody made it first: a directory that others may enter, a link, or another user's.
    #[test]
    fn a_directory_that_somebody_prepared_is_refused() {
        let tmp = Scratch::new("prepared");
        let place = tmp.0.join(format!("finack-{}", own_uid()));
        let create =
            || Directory::create_in(own_uid(), None, &tmp.0).map(|d| d.path).map_err(|e| e.to_string());
        fs::create_dir(&place).unwrap();
        mode(&place, 0o755);
        assert_eq!(create(), Err(format!("{}: others may enter it: chmod it to 0700", place.display())));
        fs::remove_dir(&place).unwrap();
        symlink(&tmp.0, &place).unwrap();
        assert!(create().is_err(), "a link is not followed");
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        mode(&place, 0o700);
        assert!(open(&place, own_uid() + 1).is_err(), "another user's");
        assert_eq!(create(), Ok(place));
    }

    #[test]
    fn sockets_of_dead_processes_are_swept_and_living_ones_stay() {
        let tmp = Scratch::new("sweep");
        let directory = Directory::create_in(own_uid(), None, &tmp.0).unwrap();
        // No process has a number above 2^22.
        let (dead, own) = (5_000_000, std::process::id());
        drop(std::os::unix::net::UnixListener::bind(directory.address(dead)).unwrap());
        let _listening = std::os::unix::net::UnixListener::bind(directory.address(own)).unwrap();
        fs::write(directory.path().join("something.else"), "").unwrap();
        assert_eq!(directory.pids(), [own.min(dead), own.max(dead)]);
        directory.sweep();
        assert_eq!(directory.pids(), [own]);
        directory.remove(own);
        assert!(directory.pids().is_empty());
    }
}
