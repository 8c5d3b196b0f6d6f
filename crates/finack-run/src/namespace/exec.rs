//! Starting a program in the namespaces: what happens between `fork` and `execve`.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::caps::Privileges;
use super::channel::{Decoder, Encoder};

/// A program to start, as it goes to the keeper.
pub(super) struct Request<'a> {
    pub(super) program: &'a [u8],
    /// From the program's own name on.
    pub(super) arguments: Vec<&'a [u8]>,
    /// `NAME=VALUE`; `None` for finack's own environment.
    pub(super) environment: Option<Vec<&'a [u8]>>,
    pub(super) directory: Option<&'a [u8]>,
    /// Which of standard input, output and error come with the message.
    pub(super) streams: [bool; 3],
    pub(super) job_control: bool,
}

impl<'a> Request<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Encoder::default();
        body.bytes(self.program).list(&self.arguments);
        body.int(i32::from(self.environment.is_some()));
        body.list(self.environment.as_deref().unwrap_or_default());
        body.int(i32::from(self.directory.is_some())).bytes(self.directory.unwrap_or_default());
        for stream in self.streams {
            body.int(i32::from(stream));
        }
        body.int(i32::from(self.job_control));
        body.0
    }

    fn decode(body: &'a [u8]) -> io::Result<Self> {
        let mut body = Decoder(body);
        let (program, arguments) = (body.bytes()?, body.list()?);
        let own_environment = body.int()? != 0;
        let environment = body.list()?;
        let own_directory = body.int()? != 0;
        let directory = body.bytes()?;
        Ok(Self {
            program,
            arguments,
            environment: own_environment.then_some(environment),
            directory: own_directory.then_some(directory),
            streams: [body.int()? != 0, body.int()? != 0, body.int()? != 0],
            job_control: body.int()? != 0,
        })
    }
}

/// What the keeper adds to each program.
pub(super) struct Surroundings<'a> {
    /// To be given back, where a user namespace gave all of them.
    pub(super) privileges: Option<&'a Privileges>,
    pub(super) mask: &'a libc::sigset_t,
    pub(super) environment: &'a [Vec<u8>],
}

/// A program that runs.
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) job_control: bool,
}

/// What of starting a program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The process, its capabilities or its standard streams.
    Process = 0,
    /// Its working directory.
    Directory = 1,
    /// Executing the program's file.
    Execute = 2,
}

impl What {
    pub(super) fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Directory,
            2 => Self::Execute,
            _ => Self::Process,
        }
    }
}

/// A program that could not be started.
pub(super) struct NotStarted {
    pub(super) what: What,
    pub(super) errno: i32,
}

impl From<io::Error> for NotStarted {
    fn from(error: io::Error) -> Self {
        Self { what: What::Process, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
    }
}

impl From<rustix::io::Errno> for NotStarted {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// Starts the program that `body` asks for; waits until it is executing or has failed to.
pub(super) fn start(body: &[u8], fds: Vec<OwnedFd>, with: &Surroundings<'_>) -> Result<Started, NotStarted> {
    let request = Request::decode(body)?;
    let image = Image::new(&request, with.environment)?;
    // Closed by a successful exec, else it brings the reason.
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let keeper = rustix::process::getpid();
    // SAFETY: the keeper has one thread, so its child may do whatever it could.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error().into()),
        0 => {
            let failure = become_program(&request, &image, &fds, keeper, with);
            let mut report = Encoder::default();
            report.int(failure.what as i32).int(failure.errno);
            let _ = File::from(write).write_all(&report.0);
            // SAFETY: ends the process without running exit handlers.
            unsafe { libc::_exit(127) }
        }
        pid => Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData).map_err(io::Error::from)?,
    };
    drop(write);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    })?;
    let mut report = Vec::new();
    File::from(read).read_to_end(&mut report)?;
    if report.is_empty() {
        return Ok(Started { pid, pidfd, job_control: request.job_control });
    }
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    let mut report = Decoder(&report);
    Err(NotStarted { what: What::from_number(report.int()?), errno: report.int()? })
}

/// Turns this process into the program; returns only why it could not.
fn become_program(
    request: &Request<'_>,
    image: &Image,
    fds: &[OwnedFd],
    keeper: Pid,
    with: &Surroundings<'_>,
) -> NotStarted {
    let prepare = || -> io::Result<()> {
        if let Some(privileges) = with.privileges {
            privileges.restore()?;
        }
        // The keeper outlives its programs unless it is killed; then they go too.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(keeper) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        attach_streams(request.streams, fds)
    };
    if let Err(error) = prepare() {
        return error.into();
    }
    if let Some(directory) = request.directory
        && let Err(error) = rustix::process::chdir(directory)
    {
        return NotStarted { what: What::Directory, errno: error.raw_os_error() };
    }
    restore_signals(with.mask);
    NotStarted { what: What::Execute, errno: image.execute() }
}

/// Puts the streams that came with the request where the program expects them.
fn attach_streams(streams: [bool; 3], fds: &[OwnedFd]) -> io::Result<()> {
    let wanted = (0..).zip(streams).filter_map(|(number, given)| given.then_some(number));
    for (number, fd) in wanted.zip(fds) {
        // Received descriptors are numbered above 2 as long as 0 to 2 are open; where one was
        // closed, a descriptor may already have the number, and must lose close-on-exec.
        // SAFETY: no pointers; the number that is replaced belongs to nothing here.
        let result = unsafe {
            if fd.as_raw_fd() == number {
                libc::fcntl(number, libc::F_SETFD, 0)
            } else {
                libc::dup2(fd.as_raw_fd(), number)
            }
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Signals as finack's caller had them: handlers of finack's go, what was ignored stays ignored,
/// except SIGPIPE, which Rust ignores at its start and no program expects to be.
fn restore_signals(mask: &libc::sigset_t) {
    for signal in 1..=64 {
        // SAFETY: `action` is local; zeroed it is SIG_DFL without flags. The two calls fail for
        // numbers that are no signal, or that can't be caught, which is as well.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            if action.sa_sigaction != libc::SIG_IGN || signal == libc::SIGPIPE {
                action = std::mem::zeroed();
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
    }
    // SAFETY: the mask was filled in by sigprocmask.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// What `execve` takes, and the files to try.
struct Image {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Image {
    fn new(request: &Request<'_>, environment: &[Vec<u8>]) -> io::Result<Self> {
        let zero_ended =
            |bytes: &[u8]| CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
        let environment: Vec<CString> = match &request.environment {
            Some(own) => own.iter().map(|e| zero_ended(e)).collect::<io::Result<_>>()?,
            None => environment.iter().map(|e| zero_ended(e)).collect::<io::Result<_>>()?,
        };
        let path = environment.iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH="));
        let candidates = candidates(request.program, path.unwrap_or(b"/bin:/usr/bin"));
        Ok(Self {
            candidates: candidates.iter().map(|c| zero_ended(c)).collect::<io::Result<_>>()?,
            arguments: request.arguments.iter().map(|a| zero_ended(a)).collect::<io::Result<_>>()?,
            environment,
        })
    }

    /// Executes the first candidate that can be; returns why none could. As shells have it, a file
    /// that may not be executed is remembered while the search goes on, and a directory of PATH
    /// that may not be looked into has no such file.
    fn execute(&self) -> i32 {
        let mut errno = libc::ENOENT;
        for file in &self.candidates {
            match self.try_execute(file, &self.arguments) {
                libc::ENOEXEC => {
                    let mut arguments = vec![c"/bin/sh".to_owned(), file.clone()];
                    arguments.extend(self.arguments.iter().skip(1).cloned());
                    return self.try_execute(c"/bin/sh", &arguments);
                }
                libc::EACCES if self.candidates.len() == 1 || is_file(file) => errno = libc::EACCES,
                libc::EACCES => {}
                libc::ENOENT | libc::ENOTDIR => {}
                other => return other,
            }
        }
        errno
    }

    fn try_execute(&self, file: &CStr, arguments: &[CString]) -> i32 {
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(arguments), pointers(&self.environment));
        // SAFETY: all strings end in zero and both lists in a null pointer, and they live until
        // the call returns, if it does.
        unsafe { libc::execve(file.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
    }
}

fn is_file(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_file())
}

/// The files that a program's name may mean, in order (POSIX `execvp`).
fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let in_directory = |directory: &[u8]| {
        let mut file = directory.to_vec();
        // An empty entry means the working directory.
        if !file.is_empty() {
            file.push(b'/');
        }
        file.extend_from_slice(program);
        file
    };
    path.split(|b| *b == b':').map(in_directory).collect()
}
