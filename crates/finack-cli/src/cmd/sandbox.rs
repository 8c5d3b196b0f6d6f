//! Commands of scripts that have to be run: in namespaces of their own, where they can do no harm.
//!
//! [`Sandbox`] starts `finack` once more with a hidden subcommand, as nobody if it is root. That process enters new user,
//! mount, pid, network, IPC and host name namespaces and starts itself again as their first process ([`room`]), which
//! leaves nothing to be seen of the file system but `/usr`, `/etc` and their likes, read-only, a copy of the script's
//! directory, and an empty `/tmp`; `sysctl`, `ip`, `tc` and `ethtool` are stand-ins that take down what they are asked
//! ([`stand_ins`]). It runs the command there for a few seconds at most, and tells what it did.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use finack_script::run::helpers::{Done, Helpers, Order};

mod message;
mod room;
mod stand_ins;
mod watch;

use message::{Answer, Copy, Task};

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "drill-helper";

/// How long all of it may take; the command itself has less.
const PATIENCE: Duration = Duration::from_secs(20);

/// The user and group that nobody is.
const NOBODY: u32 = 65_534;

/// Most files and bytes of a script's directories that are copied, and of one file.
const MOST_FILES: usize = 512;
const MOST_BYTES: usize = 4 << 20;
const MOST_OF_A_FILE: u64 = 256 << 10;

/// How many directories besides the script's own a command may lead to.
const MOST_DIRECTORIES: usize = 8;

/// Runs commands in namespaces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sandbox;

impl Helpers for Sandbox {
    fn run(&self, order: &Order) -> Result<Done, String> {
        let directory = fs::canonicalize(if order.directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &order.directory
        });
        let directory = directory.map_err(|e| format!("the script's directory: {e}"))?;
        let task = Task::new(order, &directory, copies(&order.command, &directory));
        let task = serde_json::to_vec(&task).map_err(|e| e.to_string())?;
        let start = |as_nobody: bool| {
            let mut command = Command::new("/proc/self/exe");
            command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            command.env_clear().current_dir("/").process_group(0);
            if as_nobody {
                command.uid(NOBODY).gid(NOBODY);
            }
            command.spawn()
        };
        // What is nobody's can't be written, and what only root may read can't be read. A root of a user namespace that
        // has no nobody is no more than an ordinary user.
        let root = rustix::process::geteuid().is_root();
        let child = start(root).or_else(|e| if root { start(false) } else { Err(e) });
        let mut child = child.map_err(|e| format!("finack can't start itself: {e}"))?;
        let said = converse(&mut child, &task);
        let answer = said.and_then(|said| serde_json::from_slice(&said).map_err(|e| e.to_string()));
        match answer? {
            Answer::Done(done) => Ok(done.into()),
            Answer::Failed(why) => Err(why),
        }
    }
}

/// Hands the task over, and reads the answer.
fn converse(child: &mut Child, task: &[u8]) -> Result<Vec<u8>, String> {
    let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("no pipes".into());
    };
    std::thread::scope(|scope| {
        // Who ends early says why in its answer.
        scope.spawn(move || to.write_all(task));
        let reader = scope.spawn(move || {
            let mut said = Vec::new();
            from.by_ref().take(64 << 20).read_to_end(&mut said).map(|_| said)
        });
        let begun = Instant::now();
        while !reader.is_finished() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        // The namespaces end with it, and everything in them.
        let _ = child.kill();
        let _ = child.wait();
        match reader.join() {
            Ok(Ok(said)) if !said.is_empty() => Ok(said),
            Ok(Ok(_)) => Err("it was ended without an answer".into()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("its answer could not be read".into()),
        }
    })
}

/// Paths in a text that lead to another directory: `../common/defaults.sh`.
fn paths_in(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || "\"'`;&|<>()=".contains(c);
    text.split(ends).filter(|word| word.contains('/') && !word.starts_with('/'))
}

/// Copies of the files beside the script, and beside the helpers that it leads to.
fn copies(command: &str, directory: &Path) -> Vec<Copy> {
    let mut waiting = vec![directory.to_owned()];
    let also = |text: &str, from: &Path, waiting: &mut Vec<PathBuf>| {
        let parents = paths_in(text).filter_map(|path| fs::canonicalize(from.join(path)).ok());
        waiting.extend(parents.filter_map(|path| path.parent().map(Path::to_owned)));
    };
    also(command, directory, &mut waiting);
    let mut seen = BTreeSet::new();
    let (mut copies, mut bytes) = (Vec::new(), 0);
    while let Some(next) = waiting.pop() {
        if seen.len() > MOST_DIRECTORIES || !seen.insert(next.clone()) {
            continue;
        }
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(about) = fs::metadata(&path) else { continue };
            let wanted = about.is_file() && about.len() <= MOST_OF_A_FILE;
            if !wanted || path.extension().is_some_and(|e| e == "pkt") || copies.len() >= MOST_FILES {
                continue;
            }
            let (Ok(contents), Some(name)) = (fs::read(&path), path.to_str()) else { continue };
            bytes += contents.len();
            if bytes > MOST_BYTES {
                break;
            }
            if let Ok(text) = std::str::from_utf8(&contents) {
                also(text, &next, &mut waiting);
            }
            let executable = about.permissions().mode() & 0o111 != 0;
            copies.push(Copy { path: name.to_owned(), contents, executable });
        }
    }
    copies
}

/// What the hidden subcommand does, in either of its two processes.
pub(crate) fn main(args: &Args) -> ExitCode {
    let result = if args.inside { watch::inside() } else { watch::outside() };
    if let Err(why) = result {
        let answer = Answer::Failed(why);
        let _ = serde_json::to_writer(std::io::stdout(), &answer);
    }
    ExitCode::SUCCESS
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The first process of the namespaces
    #[arg(long)]
    inside: bool,
}
