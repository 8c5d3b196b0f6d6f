//! The other side of the control socket: finds runs and asks them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::directory::Directory;
use super::protocol::{Answer, MAX_ANSWER, PROTOCOL, Request, Run, Show};

/// How long a run may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs that can be asked.
#[derive(Debug)]
pub struct Found {
    runs: Vec<FoundRun>,
    /// Runs that did not answer, and why: a line each.
    pub silent: Vec<String>,
}

/// A run that answered.
#[derive(Debug)]
pub struct FoundRun {
    directory: usize,
    directories: std::rc::Rc<Vec<Directory>>,
    /// What it says of itself.
    pub run: Run,
}

/// Looks for this user's runs, and for root's sake everybody's. Sockets of runs that were killed are taken away.
pub fn find() -> Found {
    let directories = std::rc::Rc::new(Directory::existing());
    let mut found = Found { runs: Vec::new(), silent: Vec::new() };
    for (index, directory) in directories.iter().enumerate() {
        for pid in directory.pids() {
            // A number may be another process's by now.
            if is_stopped(pid) && UnixStream::connect(directory.address(pid)).is_ok() {
                found.silent.push(format!("finack run {pid} is stopped: `kill -CONT {pid}` lets it go on"));
                continue;
            }
            let mut about = None;
            let mut each = |answer| {
                if let Answer::Run(run) = answer {
                    about = Some(run);
                }
                Ok(())
            };
            match ask(directory, pid, Show::Run, &mut each) {
                Ok(()) => found.runs.extend(about.map(|run| FoundRun {
                    directory: index,
                    directories: std::rc::Rc::clone(&directories),
                    // The number that its socket is called by: another PID namespace may have another.
                    run: Run { pid, ..run },
                })),
                Err(error) if is_gone(&error) => directory.remove_if_stale(pid),
                Err(error) => found.silent.push(format!("finack run {pid} does not answer: {error}")),
            }
        }
    }
    found.runs.sort_by_key(|found| found.run.pid);
    found
}

impl Found {
    /// They all, in the order of their processes.
    pub fn runs(&self) -> &[FoundRun] {
        &self.runs
    }
}

impl FoundRun {
    /// Asks, and gives every line of the answer to `each` as it comes, until that fails.
    ///
    /// # Errors
    /// Of `each`; the run ended meanwhile, did not answer in time, or says that it can't.
    pub fn ask(&self, show: Show, each: &mut dyn FnMut(Answer) -> io::Result<()>) -> io::Result<()> {
        let directory = self.directories.get(self.directory).ok_or(io::ErrorKind::NotFound)?;
        ask(directory, self.run.pid, show, each)
    }
}

/// Whether a process was stopped, as by Ctrl-Z: it takes the connection and says nothing.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    matches!(state, Some("T" | "t"))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

fn ask(
    directory: &Directory,
    pid: u32,
    show: Show,
    each: &mut dyn FnMut(Answer) -> io::Result<()>,
) -> io::Result<()> {
    let stream = UnixStream::connect(directory.address(pid))?;
    // A socket that somebody else listens at is not to be believed.
    let server = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
    if server != directory.owner() {
        return Err(io::Error::other(format!("user {server} answers in {}", directory.path().display())));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_vec(&Request { protocol: PROTOCOL, show })?;
    request.push(b'\n');
    (&stream).write_all(&request)?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.by_ref().take(MAX_ANSWER as u64).read_until(b'\n', &mut line).map_err(in_words)?;
        if line.last() != Some(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its answer broke off"));
        }
        match serde_json::from_slice(&line).map_err(io::Error::other)? {
            Answer::Done {} => return Ok(()),
            Answer::Error(error) => return Err(io::Error::other(error)),
            answer => each(answer)?,
        }
    }
}

/// What a time-out says by itself is about resources.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other(format!("silent for {} s", PATIENCE.as_secs())),
        _ => error,
    }
}
