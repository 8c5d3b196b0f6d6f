//! Programs in the private network, as their starter sees them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::channel::{Channel, Decoder, Message};
use super::exec::{Request, What};
use super::step::tag;

/// How long to wait, after finack itself was stopped and continued, before a program that is
/// still stopped is continued too: time for the terminal's own continuation to reach it.
const CONTINUE_AFTER: Duration = Duration::from_millis(20);

/// A program to start in a private network. What is not said is as finack has it.
#[derive(Debug)]
pub struct ProgramCommand {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Option<Vec<OsString>>,
    directory: Option<PathBuf>,
    streams: [Option<OwnedFd>; 3],
    job_control: bool,
}

impl ProgramCommand {
    /// The program of that name in the directories of its `PATH`, or of that path where there is
    /// a slash in it. A file without a known format is a script for `/bin/sh`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: None,
            directory: None,
            streams: [None, None, None],
            job_control: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Gives the program this environment instead of finack's.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let entry = |(name, value): (N, V)| {
            let mut entry = name.as_ref().to_owned();
            entry.push("=");
            entry.push(value);
            entry
        };
        self.environment = Some(variables.into_iter().map(entry).collect());
        self
    }

    /// Starts the program in this working directory.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Gives the program this standard input.
    pub fn stdin(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.streams[0] = Some(fd.into());
        self
    }

    /// Gives the program this standard output.
    pub fn stdout(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.streams[1] = Some(fd.into());
        self
    }

    /// Gives the program this standard error.
    pub fn stderr(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.streams[2] = Some(fd.into());
        self
    }

    /// Stops this process whenever the program is stopped, and continues the program when this
    /// process is continued, so that a shell's job control works on both as one. For a command
    /// that was started from a shell; the default is not to.
    pub fn job_control(mut self, yes: bool) -> Self {
        self.job_control = yes;
        self
    }
}

/// A program could not be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such program.
    NotFound {
        /// Its name or path.
        program: OsString,
    },
    /// The program is there and can't be executed.
    NotExecutable {
        /// Its name or path.
        program: OsString,
        /// Why.
        error: io::Error,
    },
    /// Its working directory can't be entered.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No process could be made, or the keeper is gone.
    Process(io::Error),
}

impl SpawnError {
    /// The exit status that tells it, as shells and `env` have it: 127 for a program that is not
    /// there, 126 for one that can't be executed, 125 where finack itself failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } | Self::Directory { .. } => 126,
            Self::Process(_) => super::EXIT_NO_NETWORK,
        }
    }
}

impl std::fmt::Display for SpawnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound { program } => {
                write!(f, "{}: no such program; check its name and PATH", program.display())
            }
            Self::NotExecutable { program, error } => {
                write!(f, "{}: can't be executed: {error}", program.display())
            }
            Self::Directory { directory, error } => {
                write!(f, "working directory {}: {error}", directory.display())
            }
            Self::Process(error) => write!(f, "no process in the private network: {error}"),
        }
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotFound { .. } => None,
            Self::NotExecutable { error, .. } | Self::Directory { error, .. } | Self::Process(error) => {
                Some(error)
            }
        }
    }
}

pub(super) fn spawn(keeper: Option<&Channel>, command: &ProgramCommand) -> Result<Child, SpawnError> {
    let lost = || SpawnError::Process(io::Error::other("the process that keeps the private network is gone"));
    let keeper = keeper.ok_or_else(lost)?;
    let (status, theirs) = Channel::pair().map_err(SpawnError::Process)?;
    let mut arguments = vec![command.program.as_bytes()];
    arguments.extend(command.arguments.iter().map(|a| a.as_bytes()));
    let environment = command.environment.as_ref();
    let request = Request {
        program: command.program.as_bytes(),
        arguments,
        environment: environment.map(|e| e.iter().map(|v| v.as_bytes()).collect()),
        directory: command.directory.as_ref().map(|d| d.as_os_str().as_bytes()),
        streams: command.streams.each_ref().map(Option::is_some),
        job_control: command.job_control,
    };
    let mut fds = vec![theirs.as_fd()];
    fds.extend(command.streams.iter().flatten().map(AsFd::as_fd));
    keeper.send(tag::SPAWN, &request.encode(), &fds).map_err(SpawnError::Process)?;
    drop(theirs);
    let answer = status.recv().map_err(SpawnError::Process)?.ok_or_else(lost)?;
    let mut body = Decoder(&answer.body);
    if answer.tag == tag::STARTED {
        let pid = body.int().map_err(SpawnError::Process)? as u32;
        let pidfd = answer.fds.into_iter().next().ok_or_else(lost)?;
        return Ok(Child { pid, pidfd, status, ended: None });
    }
    let what = What::from_number(body.int().map_err(SpawnError::Process)?);
    let error = io::Error::from_raw_os_error(body.int().map_err(SpawnError::Process)?);
    let program = command.program.clone();
    Err(match what {
        What::Process => SpawnError::Process(error),
        What::Directory => {
            SpawnError::Directory { directory: command.directory.clone().unwrap_or_default(), error }
        }
        What::Execute if error.kind() == io::ErrorKind::NotFound => SpawnError::NotFound { program },
        What::Execute => SpawnError::NotExecutable { program, error },
    })
}

/// A program that runs, or has run, in a private network. Dropping it leaves the program alone;
/// it ends with the [`Network`](super::Network) at the latest.
///
/// Its descriptor is readable when [`try_wait`](Self::try_wait) has something to do.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: OwnedFd,
    status: Channel,
    ended: Option<ExitStatus>,
}

impl Child {
    /// The program's process.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    /// Where the keeper was killed; the program is then killed too.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(ended) = self.step()? {
                return Ok(ended);
            }
        }
    }

    /// The program's exit status, or `None` while it runs. Where job control was asked for, this
    /// also continues a stopped program, so call it whenever the descriptor is readable.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        while self.ended.is_none() && self.has_news()? {
            self.step()?;
        }
        Ok(self.ended)
    }

    /// Sends a signal, by its number, to the program's process; success where it has ended.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is no signal; `PermissionDenied` for a program that
    /// has changed its user.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(number).ok_or(io::ErrorKind::InvalidInput)?;
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn has_news(&self) -> io::Result<bool> {
        let mut poll = [PollFd::new(&self.status, PollFlags::IN)];
        Ok(rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }

    /// Waits for the next thing that happens to the program.
    fn step(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        match self.status.recv() {
            Ok(Some(Message { tag: tag::EXITED, body, .. })) => {
                self.ended = Some(ExitStatus::from_raw(Decoder(&body).int()?));
            }
            Ok(Some(Message { tag: tag::STOPPED, .. })) => self.resume(),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the process that keeps the private network was killed, and the program with it",
                ));
            }
        }
        Ok(self.ended)
    }

    /// Continues the program after this process was stopped along with it and continued.
    fn resume(&self) {
        std::thread::sleep(CONTINUE_AFTER);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        if state == Some("T") {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::CONT);
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }
}

/// The exit status that a command passes on for a program: its own, or 128 and the number of
/// the signal that killed it, as shells have it.
pub fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128_u8.saturating_add(signal as u8),
        (None, None) => super::EXIT_NO_NETWORK,
    }
}
