//! The program's view of the name service files: mounted over the real ones in a private mount
//! namespace, from memory, so that nothing changes for anyone else and nothing is left behind.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Directories in which name service daemons listen: covered with empty ones.
const HIDDEN_DIRECTORIES: [&str; 1] = ["/var/run/nscd"];

/// Sockets hidden one by one, for `resolv.conf` often lies beside them.
const HIDDEN_SOCKETS: [&str; 3] = [
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    "/var/run/.nscd_socket",
];

/// Where the memory file system may stand while files are put into it: any directory will do.
const STAGES: [&str; 6] = ["/tmp", "/mnt", "/run", "/dev/shm", "/var", "/usr"];

/// Keeps mounts made from now on to this mount namespace.
pub(super) fn make_private() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// A file of `/etc` as the program is to see it.
struct Replacement {
    name: &'static str,
    contents: String,
    /// The real file, where there is one.
    target: io::Result<OwnedFd>,
    /// What it means if the program sees the system's file instead.
    loss: &'static str,
}

/// Mounts `resolv_conf`, `hosts` and a changed `nsswitch.conf` over the files of the system and
/// hides the sockets of name service daemons. Returns what could not be done and matters less.
pub(super) fn mount_all(resolv_conf: &str, hosts: Option<&str>) -> io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    // All targets are found before the stage covers one of their directories. Opening follows
    // symbolic links, so each is the file's real place.
    let resolv_target = target("/etc/resolv.conf");
    let others = replacements(hosts);
    let sockets = HIDDEN_SOCKETS.map(|path| (path, target(path)));
    let directories = HIDDEN_DIRECTORIES.map(|path| (path, target(path)));

    let stage = Stage::mount()?;
    match resolv_target {
        Ok(target) => {
            stage.write_over("resolv.conf", resolv_conf, &target)?;
            for file in others {
                let mounted = file.target.and_then(|t| stage.write_over(file.name, &file.contents, &t));
                if let Err(e) = mounted {
                    warnings.push(format!("/etc/{} is the system's, {}: {e}", file.name, file.loss));
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => stage.overlay_etc(resolv_conf, &others)?,
        Err(e) => return Err(e),
    }
    let empty = stage.write("empty", "")?;
    let hidden = sockets.into_iter().map(|(path, target)| (path, target.map(|t| bind(&empty, &t))));
    let covered = directories.into_iter().map(|(path, target)| (path, target.map(|t| cover(&t))));
    for (path, result) in hidden.chain(covered) {
        // A path that is not there needs no hiding.
        if let Ok(Err(e)) = result {
            warnings.push(format!("{path} stays visible, names may not reach finack: {e}"));
        }
    }
    stage.leave()?;
    Ok(warnings)
}

/// What is to be seen besides `resolv.conf`.
fn replacements(hosts: Option<&str>) -> Vec<Replacement> {
    let mut files = Vec::new();
    if let Some(hosts) = hosts {
        files.push(Replacement {
            name: "hosts",
            contents: hosts.to_owned(),
            target: target("/etc/hosts"),
            loss: "its names may lead elsewhere",
        });
    }
    // Without the file the C library looks at files and DNS, which is what is wanted.
    if let Ok(text) = std::fs::read_to_string("/etc/nsswitch.conf") {
        files.push(Replacement {
            name: "nsswitch.conf",
            contents: name_switch(&text),
            target: target("/etc/nsswitch.conf"),
            loss: "names may not reach finack",
        });
    }
    // Without the file there is no place for one; then glibc's own preference stays.
    let selection = std::fs::read_to_string("/etc/gai.conf").ok().and_then(|text| address_selection(&text));
    if let Some(contents) = selection {
        files.push(Replacement {
            name: "gai.conf",
            contents,
            target: target("/etc/gai.conf"),
            loss: "programs may prefer the IPv6 addresses of names in the private network",
        });
    }
    files
}

/// The address selection of RFC 6724 2.1 in glibc's words, for a `gai.conf` that sets none: glibc's own table is that
/// of RFC 3484, which knows no unique local addresses and so prefers those of the private network to IPv4. Programs that
/// try one address only would then miss every server that listens on IPv4 alone.
pub(super) fn address_selection(text: &str) -> Option<String> {
    const PRECEDENCES: [(&str, u8); 9] = [
        ("::1/128", 50),
        ("::/0", 40),
        ("::ffff:0:0/96", 35),
        ("2002::/16", 30),
        ("2001::/32", 5),
        ("fc00::/7", 3),
        ("::/96", 1),
        ("fec0::/10", 1),
        ("3ffe::/16", 1),
    ];
    if text.lines().any(|line| line.trim_start().starts_with("precedence")) {
        return None;
    }
    let mut out = text.to_owned();
    for (prefix, precedence) in PRECEDENCES {
        out.push_str(&format!("\nprecedence {prefix} {precedence}"));
    }
    out.push('\n');
    Some(out)
}

/// The place that a path leads to, without opening what is there.
fn target(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The path by which `mount` reaches what a descriptor stands for.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn bind(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(by_descriptor(source), by_descriptor(target))?)
}

/// Mounts an empty directory over one that exists.
fn cover(target: &OwnedFd) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    Ok(rustix::mount::mount("finack", by_descriptor(target), "tmpfs", flags, Some(c"mode=0755,size=4k"))?)
}

/// The name service switch with `hosts: files dns` and all else as it was.
pub(super) fn name_switch(text: &str) -> String {
    let mut out = String::from("hosts: files dns\n");
    for line in text.lines().filter(|l| !l.trim_start().starts_with("hosts:")) {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// A memory file system that is visible at its place only until its files are in theirs.
struct Stage {
    path: &'static str,
    directory: OwnedFd,
}

impl Stage {
    fn mount() -> io::Result<Self> {
        let path = STAGES.into_iter().find(|p| Path::new(p).is_dir()).ok_or(io::ErrorKind::NotFound)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("finack", path, "tmpfs", flags, Some(c"mode=0755,size=64m"))?;
        let directory =
            rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path, directory })
    }

    /// Writes a file that everyone may read and returns its descriptor.
    fn write(&self, name: &str, contents: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let mut file = File::from(rustix::fs::openat(&self.directory, name, flags, mode)?);
        file.write_all(contents.as_bytes())?;
        // Whatever the umask is.
        rustix::fs::fchmod(&file, mode)?;
        Ok(file.into())
    }

    fn write_over(&self, name: &str, contents: &str, target: &OwnedFd) -> io::Result<()> {
        bind(&self.write(name, contents)?, target)
    }

    /// Puts the files into `/etc` where there is no `resolv.conf`: as a layer over the
    /// directory, for not even an empty file may be made in the real one. The layer is read-only.
    fn overlay_etc(&self, resolv_conf: &str, others: &[Replacement]) -> io::Result<()> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&self.directory, "etc", mode)?;
        rustix::fs::chmodat(&self.directory, "etc", mode, AtFlags::empty())?;
        self.write("etc/resolv.conf", resolv_conf)?;
        for file in others {
            self.write(&format!("etc/{}", file.name), &file.contents)?;
        }
        let options = std::ffi::CString::new(format!("lowerdir={}/etc:/etc", self.path))?;
        let flags = MountFlags::RDONLY;
        Ok(rustix::mount::mount("finack", "/etc", "overlay", flags, Some(options.as_c_str()))?)
    }

    /// Uncovers the directory; the files stay where they were bound.
    fn leave(self) -> io::Result<()> {
        Ok(rustix::mount::unmount(self.path, UnmountFlags::DETACH)?)
    }
}
