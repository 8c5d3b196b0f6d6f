//! The keeper: a process that makes the namespaces, starts programs in them, takes in what they
//! leave behind, and ends all of it when finack is gone.
//!
//! It is forked from finack, by way of its [guard](super::guard), and never executes anything, so that finack can be embedded in any
//! program. Between `fork` and its end it uses system calls and the allocator only, which glibc and
//! musl keep usable in the child of a process with several threads; it takes no other lock of the
//! parent's (no environment, no standard streams).
//!
//! finack ending in whichever way closes the channel, and the guard's ending its line; the keeper then kills every process
//! that came from its programs (it is their reaper, so that none can get away) and exits, and
//! with the last process go the namespaces, the mounts and the interfaces.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::caps::Privileges;
use super::channel::{Channel, Encoder, Message};
use super::config::{DevicePath, NetworkConfig};
use super::diag::ProgramSockets;
use super::exec;
use super::setup;
use super::step::{send_failed, tag};

/// How long what programs left behind may take to end by themselves after SIGTERM.
const GRACE: Duration = Duration::from_millis(250);
/// How long the keeper goes on killing before it gives up (a process may be beyond its reach).
const PATIENCE: Duration = Duration::from_secs(5);

/// All that the keeper needs to know, gathered before the fork.
pub(super) struct Plan {
    pub(super) config: NetworkConfig,
    pub(super) path: DevicePath,
    pub(super) privileges: Privileges,
    /// The environment of programs that are given none of their own.
    pub(super) environment: Vec<Vec<u8>>,
    /// finack's process.
    pub(super) parent: Pid,
    /// The same, by which it can be told even when its number is another's.
    pub(super) finack: OwnedFd,
}

/// The keeper's life. `line` ends with the guard, or when that knows finack to be gone; `mask` is what programs start
/// with, while this process has all signals blocked.
pub(super) fn run(plan: &Plan, channel: &Channel, line: &OwnedFd, mask: libc::sigset_t) {
    let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
    let _ = rustix::thread::set_name(c"finack-keeper");
    close_inherited(&[channel.as_fd().as_raw_fd(), line.as_raw_fd(), plan.finack.as_raw_fd()]);
    let ready = match setup::set_up(&plan.config, plan.path, &plan.privileges, channel) {
        Ok(ready) => ready,
        Err(failure) => {
            let _ = send_failed(channel, &failure);
            return;
        }
    };
    // Without it the program's own sockets are not seen, and nothing else is amiss.
    if let Ok(sockets) = ProgramSockets::open()
        && channel.send(tag::SOCKETS, &[], &[sockets.as_fd()]).is_err()
    {
        return;
    }
    let mut body = Encoder::default();
    body.int(ready.far_index as i32);
    let devices: Vec<_> = ready.devices.iter().map(AsFd::as_fd).collect();
    // Sixteen descriptors go with one message at most; more queues take more messages.
    let mut groups = devices.chunks(super::channel::MAX_FDS).peekable();
    while let Some(group) = groups.next() {
        body.int(i32::from(groups.peek().is_some()));
        if channel.send(tag::READY, &body.0, group).is_err() {
            return;
        }
        body.0.truncate(4);
    }
    drop(devices);
    drop(ready.devices);
    let Ok(signals) = signal_descriptor() else { return };
    let mut keeper = Keeper { plan, mask, in_user_namespace: ready.in_user_namespace, programs: Vec::new() };
    keeper.serve(channel, line, &signals);
    keeper.end_all(&signals);
}

struct Program {
    pid: Pid,
    status: Channel,
    job_control: bool,
}

struct Keeper<'a> {
    plan: &'a Plan,
    /// The signal mask that programs start with.
    mask: libc::sigset_t,
    in_user_namespace: bool,
    programs: Vec<Program>,
}

impl Keeper<'_> {
    /// Starts programs and reports on them until finack is gone.
    fn serve(&mut self, channel: &Channel, line: &OwnedFd, signals: &OwnedFd) {
        loop {
            let mut ready = [
                PollFd::new(channel, PollFlags::IN),
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(line, PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let [request, signal, ended] = ready.map(|fd| !fd.revents().is_empty());
            if signal {
                drain(signals);
                self.reap();
            }
            if ended {
                return;
            }
            if request {
                match channel.recv() {
                    Ok(Some(message)) if message.tag == tag::SPAWN => self.spawn(message),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                }
            }
        }
    }

    fn spawn(&mut self, message: Message) {
        let mut fds = message.fds.into_iter();
        let Some(status) = fds.next().map(Channel::from_fd) else { return };
        let surroundings = exec::Surroundings {
            privileges: self.in_user_namespace.then_some(&self.plan.privileges),
            mask: &self.mask,
            environment: &self.plan.environment,
        };
        match exec::start(&message.body, fds.collect(), &surroundings) {
            Ok(started) => {
                let mut body = Encoder::default();
                body.int(started.pid.as_raw_nonzero().get());
                let _ = status.send(tag::STARTED, &body.0, &[started.pidfd.as_fd()]);
                let job_control = started.job_control;
                self.programs.push(Program { pid: started.pid, status, job_control });
            }
            Err(failure) => {
                let mut body = Encoder::default();
                body.int(failure.what as i32).int(failure.errno);
                let _ = status.send(tag::NOT_STARTED, &body.0, &[]);
            }
        }
    }

    /// Takes the status of every child that has one.
    fn reap(&mut self) {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        while let Ok(Some((pid, status))) = rustix::process::wait(options) {
            self.report(pid, status);
        }
    }

    fn report(&mut self, pid: Pid, status: WaitStatus) {
        // Else it is an orphan of a program.
        let Some(at) = self.programs.iter().position(|p| p.pid == pid) else { return };
        let mut body = Encoder::default();
        body.int(status.as_raw());
        if !status.stopped() {
            let program = self.programs.swap_remove(at);
            let _ = program.status.send(tag::EXITED, &body.0, &[]);
            return;
        }
        let program = &self.programs[at];
        if program.job_control {
            // First the stop, then the news: finack continues the program when it reads them,
            // which must not be before it was itself stopped and continued. Where the terminal
            // has stopped finack already, its continuation takes this signal back.
            let _ = rustix::process::pidfd_send_signal(&self.plan.finack, Signal::STOP);
            let _ = program.status.send_now(tag::STOPPED, &body.0);
        }
    }

    /// Ends all that the programs left behind: asked first, then killed.
    fn end_all(&mut self, signals: &OwnedFd) {
        let start = std::time::Instant::now();
        let mut asked = Vec::new();
        loop {
            self.reap();
            let children = children();
            let elapsed = start.elapsed();
            if children.is_empty() || elapsed > PATIENCE {
                return;
            }
            for pid in children {
                if elapsed > GRACE {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                } else if !asked.contains(&pid) {
                    let _ = rustix::process::kill_process(pid, Signal::TERM);
                    let _ = rustix::process::kill_process(pid, Signal::CONT);
                    asked.push(pid);
                }
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            let _ = rustix::event::poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&wait));
            drain(signals);
        }
    }
}

/// This process's children: programs, and orphans that came to it.
pub(super) fn children() -> Vec<Pid> {
    let pids = match std::fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // The kernel was built without it: ask every process for its parent.
        Err(_) => children_by_scan(),
    };
    pids.into_iter().filter_map(Pid::from_raw).collect()
}

fn children_by_scan() -> Vec<i32> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(own)).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its end: state, parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Closes what an exec would close: finack's own descriptors, but not those that whoever
/// started finack meant for the program.
fn close_inherited(keep: &[i32]) {
    close_where(|fd| {
        // SAFETY: F_GETFD takes no pointer.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        flags != -1 && flags & libc::FD_CLOEXEC != 0 && !keep.contains(&fd)
    });
}

/// Closes every descriptor but these.
pub(super) fn close_all_but(keep: &[i32]) {
    close_where(|fd| !keep.contains(&fd));
}

fn close_where(is_over: impl Fn(i32) -> bool) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let fds: Vec<i32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    for fd in fds.into_iter().filter(|fd| is_over(*fd)) {
        // SAFETY: every owner of it is in the parent's half of the process, which this
        // process never returns to; one that was closed since is closed again to no effect.
        unsafe { libc::close(fd) };
    }
}

/// Blocks all signals and returns the mask from before.
pub(super) fn block_signals() -> libc::sigset_t {
    // SAFETY: both sets are local, and sigfillset and sigprocmask initialise them.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    }
}

/// A descriptor that is readable when a child changed or, for the guard, finack ended.
pub(super) fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: the set is local and initialised by sigemptyset; the descriptor returned is new.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Forgets the signals that have arrived: what they are about is looked up.
pub(super) fn drain(signals: &OwnedFd) {
    let mut buffer = [0_u8; 1024];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|n| n > 0) {}
}
