//! The two processes around a command: one that makes the namespaces, and the first one in them, which watches.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::message::{Answer, Report, Task};
use super::{SUBCOMMAND, room, stand_ins};

/// How long a command may run.
const LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(2);

/// Most processes at a time, and most bytes of memory of all together.
const MOST_PROCESSES: usize = 64;
const MOST_MEMORY: u64 = 512 << 20;

/// Bytes of what it said that are kept.
const MOST_SAID: usize = 8192;

/// Files and bytes that one command may leave for the next.
const MOST_LEFT: usize = 64;
const MOST_LEFT_BYTES: usize = 1 << 20;

/// What is said where namespaces can't be had.
const NO_NAMESPACES: &str =
    "it would have to be run, and that takes namespaces, which this system does not give";

/// Enters new namespaces and starts the process that watches in them.
pub(super) fn outside() -> Result<(), String> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let without = |e: &dyn std::fmt::Display| format!("{NO_NAMESPACES}: {e}");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| without(&e))?;
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    // SAFETY: none of these flags stops threads from sharing descriptors or memory, and there is but one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|e| without(&e))?;
    let map =
        |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text).map_err(|e| without(&e));
    map("setgroups", "deny".into())?;
    map("uid_map", format!("0 {user} 1"))?;
    map("gid_map", format!("0 {group} 1"))?;
    let status = Command::new("/proc/self/exe").args([SUBCOMMAND, "--inside"]).status();
    status.map(|_| ()).map_err(|e| without(&e))
}

/// The first process in the namespaces: when it ends, so does everything else there.
pub(super) fn inside() -> Result<(), String> {
    // It takes the file system apart: only where that is nobody else's.
    let alone = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    if !rustix::process::getpid().is_init() || !alone {
        return Err(format!("{SUBCOMMAND} is started by finack drill alone"));
    }
    let dies = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    dies.map_err(|e| e.to_string())?;
    let task: Task = serde_json::from_reader(io::stdin()).map_err(|e| format!("its task: {e}"))?;
    room::enter(&task)?;
    give_up_privileges().map_err(|e| format!("giving up privileges: {e}"))?;
    let report = run(&task)?;
    serde_json::to_writer(io::stdout(), &Answer::Done(report)).map_err(|e| e.to_string())
}

fn give_up_privileges() -> Result<(), rustix::io::Errno> {
    rustix::thread::set_no_new_privs(true)?;
    for capability in CapabilitySet::all().iter() {
        // Those that this kernel has not are not there to be removed.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    let limit = |resource, most: u64| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, LIMIT.as_secs())?;
    limit(Resource::Fsize, 16 << 20)?;
    limit(Resource::Nofile, 256)?;
    limit(Resource::As, MOST_MEMORY * 2)?;
    limit(Resource::Nproc, MOST_PROCESSES as u64)
}

fn run(task: &Task) -> Result<Report, String> {
    let said = |e: io::Error| format!("its output: {e}");
    let output = File::create("/.log/said").map_err(said)?;
    let errors = output.try_clone().map_err(said)?;
    let path =
        format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", stand_ins::DIRECTORY);
    let mut child = Command::new("/bin/sh")
        .args(["-c", &task.command])
        .current_dir(&task.directory)
        .env_clear()
        .envs([("PATH", path.as_str()), ("HOME", "/tmp"), ("LC_ALL", "C"), ("PYTHONDONTWRITEBYTECODE", "1")])
        // Its parent is the first process here, which stands for the program that runs the script.
        .env("PACKETDRILL_PID", "1")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|e| format!("/bin/sh: {e}"))?;
    let status = ended(&mut child)?;
    let log = |path| fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let text = log("/.log/said");
    let start = text.len().saturating_sub(MOST_SAID);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Ok(Report {
        status,
        said: text[start..].to_owned(),
        sysctls: room::written_sysctls(),
        calls: stand_ins::calls(&log(stand_ins::LOG)),
        files: room::left_files(task, MOST_LEFT, MOST_LEFT_BYTES),
    })
}

/// Waits for its end; what takes too much of anything is an error, upon which everything here ends.
fn ended(child: &mut Child) -> Result<i32, String> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if begun.elapsed() > LIMIT {
            return Err(format!("it ran for more than {} s", LIMIT.as_secs()));
        }
        let (processes, memory) = usage();
        if processes > MOST_PROCESSES {
            return Err(format!("it had more than {MOST_PROCESSES} processes"));
        }
        if memory > MOST_MEMORY {
            return Err(format!("it took more than {} MiB of memory", MOST_MEMORY >> 20));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Processes in the namespace, and bytes of memory that they have; nothing where `/proc` could not be mounted.
fn usage() -> (usize, u64) {
    let (mut processes, mut pages) = (0, 0);
    for entry in fs::read_dir("/proc/.real").into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_none_or(|name| !name.bytes().all(|b| b.is_ascii_digit())) {
            continue;
        }
        processes += 1;
        let statm = fs::read_to_string(entry.path().join("statm")).unwrap_or_default();
        pages += statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    (processes, pages * rustix::param::page_size() as u64)
}
