//! The file system that a command sees: little of it, and nothing of that can be written.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::message::{Copy, Task};
use super::stand_ins;

/// Where it is built, before it is all there is.
const ROOT: &str = "/tmp";

/// What is there of the host: what its distribution brings.
const BOUND: [&str; 8] = ["usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "nix"];

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// What is taken of the true `/proc`, where it could be mounted.
const OF_PROC: [&str; 9] =
    ["self", "thread-self", "cpuinfo", "meminfo", "stat", "filesystems", "version", "loadavg", "mounts"];

/// Directories of sysctls that are copied, besides the stack's own.
const SYSCTLS: [&str; 4] = ["net/ipv4", "net/ipv6", "net/core", "net/mptcp"];

/// Longest value of a sysctl, in bytes.
const LONGEST_VALUE: u64 = 4096;

fn at(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

/// Says what was being done when an error came.
trait While<T> {
    fn during(self, what: &str) -> Result<T, String>;
}

impl<T, E: std::fmt::Display> While<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, String> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}

fn tmpfs(path: &Path, options: &str) -> Result<(), String> {
    let options = std::ffi::CString::new(options).map_err(|e| e.to_string())?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("finack", path, "tmpfs", flags, Some(options.as_c_str()))
        .during("a file system in memory")
}

fn put(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, contents)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn put_copy(copy: &Copy) -> Result<(), String> {
    let mode = if copy.executable { 0o755 } else { 0o644 };
    put(&at(&copy.path), &copy.contents, mode).during(&copy.path)
}

/// Builds it, and makes it all that this process and its children see.
pub(super) fn enter(task: &Task) -> Result<(), String> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .during("a mount namespace")?;
    tmpfs(Path::new(ROOT), "mode=755,size=16m,nr_inodes=8192")?;
    bind_host()?;
    devices()?;
    proc(task)?;
    for (path, options) in [("tmp", "mode=1777,size=16m,nr_inodes=1024"), (".log", "mode=755,size=2m")] {
        fs::create_dir_all(at(path)).during(path)?;
        tmpfs(&at(path), options)?;
    }
    for copy in task.copies.iter().filter(|copy| !is_bound(&copy.path)) {
        put_copy(copy)?;
    }
    task.files.iter().filter(|file| file.path.starts_with("/tmp/")).try_for_each(put_copy)?;
    if !is_bound(&task.directory) {
        fs::create_dir_all(at(&task.directory)).during(&task.directory)?;
    }
    put_stand_ins()?;
    freeze()?;
    std::env::set_current_dir(ROOT).during("the new root")?;
    rustix::process::pivot_root(".", ".").during("the new root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).during("leaving the old root")?;
    std::env::set_current_dir("/").during("the new root")
}

/// Whether a path is within what is bound as it is on the host.
fn is_bound(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    BOUND.contains(&first) || matches!(first, "proc" | "dev" | ".log" | ".stand-ins")
}

fn bind_host() -> Result<(), String> {
    for name in BOUND {
        let host = Path::new("/").join(name);
        let Ok(about) = fs::symlink_metadata(&host) else { continue };
        if about.is_symlink() {
            let target = fs::read_link(&host).during(name)?;
            symlink(target, at(name)).during(name)?;
        } else if about.is_dir() {
            fs::create_dir(at(name)).during(name)?;
            rustix::mount::mount_bind_recursive(&host, at(name)).during(name)?;
        }
    }
    Ok(())
}

fn devices() -> Result<(), String> {
    fs::create_dir(at("dev")).during("dev")?;
    for name in DEVICES {
        let (host, here) = (Path::new("/dev").join(name), at("dev").join(name));
        fs::write(&here, b"").during(name)?;
        rustix::mount::mount_bind(host, here).during(name)?;
    }
    for (name, target) in
        [("fd", "self/fd"), ("stdin", "self/fd/0"), ("stdout", "self/fd/1"), ("stderr", "self/fd/2")]
    {
        symlink(Path::new("/proc").join(target), at("dev").join(name)).during(name)?;
    }
    Ok(())
}

/// `/proc` has the sysctls as files that can be written, and the stack's own tables; processes where that is allowed.
fn proc(task: &Task) -> Result<(), String> {
    let proc = at("proc");
    fs::create_dir(&proc).during("proc")?;
    tmpfs(&proc, "mode=755,size=8m,nr_inodes=8192")?;
    let real = proc.join(".real");
    fs::create_dir(&real).during("proc")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    if rustix::mount::mount("proc", &real, "proc", flags, None).is_ok() {
        for name in OF_PROC {
            symlink(Path::new(".real").join(name), proc.join(name)).during(name)?;
        }
    }
    for directory in SYSCTLS {
        copy_sysctls(&real.join("sys").join(directory), &proc.join("sys").join(directory));
    }
    for (name, value) in &task.sysctls {
        let path = proc.join("sys").join(name.replace('.', "/"));
        put(&path, format!("{value}\n").as_bytes(), 0o644).during(name)?;
    }
    for (name, contents) in &task.proc {
        put(&proc.join(name), contents.as_bytes(), 0o444).during(name)?;
    }
    // What is written from here on is younger.
    each_file(&proc.join("sys"), &mut |path| {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let times = Timestamps { last_access: zero, last_modification: zero };
        let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::empty());
    });
    Ok(())
}

/// Values of a new network namespace; what can't be read is not there.
fn copy_sysctls(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_file())
            && let Ok(value) = fs::read(entry.path())
        {
            let _ = put(&to.join(entry.file_name()), &value, 0o644);
        }
    }
}

fn each_file(directory: &Path, act: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => each_file(&entry.path(), act),
            Ok(kind) if kind.is_file() => act(&entry.path()),
            _ => {}
        }
    }
}

/// The stand-ins, also over the programs themselves wherever they are.
fn put_stand_ins() -> Result<(), String> {
    for (name, text) in stand_ins::all() {
        let path = at(stand_ins::DIRECTORY).join(name);
        put(&path, text.as_bytes(), 0o755).during(name)?;
        for place in stand_ins::PLACES {
            let program = at(place).join(name);
            // Their own file system's root is not yet `/`: a link to a whole name would lead astray.
            if fs::symlink_metadata(&program).is_ok_and(|about| about.is_file()) {
                rustix::mount::mount_bind(&path, &program).during(name)?;
            }
        }
    }
    Ok(())
}

/// Makes everything read-only but `/tmp`, `/proc/sys` and the log.
fn freeze() -> Result<(), String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").during("the list of mounts")?;
    let writable = [at("tmp"), at("proc"), at(".log")];
    let mut points: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(ROOT) && !writable.contains(point))
        .collect();
    points.sort();
    points.dedup();
    for point in points {
        let device = point.starts_with(at("dev"));
        let set = rustix::fs::statvfs(&point).during("a mount")?.f_flag;
        // What was set by who is more than we are has to stay.
        let mut flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
        for (bit, flag) in [
            (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
            (rustix::fs::StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
            (rustix::fs::StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
            (rustix::fs::StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
            (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        ] {
            if set.contains(bit) {
                flags |= flag;
            }
        }
        if !device {
            flags |= MountFlags::NODEV;
        }
        rustix::mount::mount_remount(&point, flags, "").during(&format!("{} read-only", point.display()))?;
    }
    Ok(())
}

/// Sysctls that were written, by their dotted names, once the room is all there is.
pub(super) fn written_sysctls() -> Vec<(String, String)> {
    let mut out = Vec::new();
    each_file(Path::new("/proc/sys"), &mut |path| {
        let Ok(about) = fs::metadata(path) else { return };
        let written = std::os::unix::fs::MetadataExt::mtime(&about) != 0;
        let name = path.strip_prefix("/proc/sys").ok().and_then(Path::to_str);
        if let (true, true, Some(name)) = (written, about.len() <= LONGEST_VALUE, name)
            && let Ok(value) = fs::read_to_string(path)
        {
            out.push((name.replace('/', "."), value.trim().to_owned()));
        }
    });
    out.sort();
    out
}

/// Files below `/tmp` that no copy put there, as many as may be kept.
pub(super) fn left_files(task: &Task, most: usize, bytes: usize) -> Vec<Copy> {
    let (mut out, mut sum): (Vec<Copy>, usize) = (Vec::new(), 0);
    each_file(Path::new("/tmp"), &mut |path| {
        let (Some(name), Ok(about)) = (path.to_str(), fs::metadata(path)) else { return };
        let copied = task.copies.iter().any(|copy| copy.path == name);
        let size = usize::try_from(about.len()).unwrap_or(usize::MAX);
        if copied || out.len() >= most || size > bytes.saturating_sub(sum) {
            return;
        }
        if let Ok(contents) = fs::read(path) {
            sum += contents.len();
            let executable = about.permissions().mode() & 0o111 != 0;
            out.push(Copy { path: name.to_owned(), contents, executable });
        }
    });
    out
}
