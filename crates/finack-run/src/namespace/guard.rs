//! The guard: the keeper's parent, in a session of its own, which sees to it that nothing stays when the keeper is killed.
//!
//! The keeper is in the program's process group and session, so that a shell's job control sees one job; whoever kills that group
//! kills the keeper with finack and the program, and what of the program had begun a session of its own would go on without
//! them. The guard is in no group that anybody else is in. It is a reaper of orphans as the keeper is: what a killed keeper
//! leaves comes to it, and it kills that.
//!
//! A PID namespace would do the same and more, but the program would notice: other process numbers than outside, a `/proc` of its own
//! (which many containers don't allow to be mounted), and a terminal whose process groups have no numbers inside.
//! What the guard can't do is outlive a `kill -9` that names it too. Its name is not finack's for that reason.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions};

use super::channel::Channel;
use super::keeper::{self, Plan};

/// How long the keeper may take to end once finack is gone, before it is killed: longer than it takes by itself.
const KEEPER_PATIENCE: Duration = Duration::from_secs(6);
/// How long the guard goes on killing before it gives up (a process may be beyond its reach).
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at what is left.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// finack's ends of what leads to the two processes.
pub(super) struct Started {
    /// The guard.
    pub(super) guard: Pid,
    /// Whose end of stream the guard waits for.
    pub(super) line: OwnedFd,
    /// Leads to the keeper.
    pub(super) channel: Channel,
}

/// Forks the guard, which forks the keeper.
pub(super) fn start(plan: &Plan) -> io::Result<Started> {
    let (channel, keepers) = Channel::pair()?;
    let (guards, line) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child runs `run` only, which keeps to what a child of several threads may do
    // (see the keeper's documentation), and never returns.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop((channel, line));
            // A panic must not unwind into the caller's half of the process.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(plan, keepers, &guards)));
            // SAFETY: ends the process without running the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(Started { guard: Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?, line, channel }),
    }
}

fn run(plan: &Plan, keepers: Channel, line: &OwnedFd) {
    let mask = keeper::block_signals();
    // Told also where a copy of the line's other end lives on in a process of finack's.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    if rustix::process::getppid() != Some(plan.parent) {
        return;
    }
    let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
    let Ok((keepers_line, own)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else { return };
    // SAFETY: the guard has one thread, so its child may do whatever it could.
    let keeper = match unsafe { libc::fork() } {
        -1 => return,
        0 => {
            drop(own);
            let end = || keeper::run(plan, &keepers, &keepers_line, mask);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(end));
            // SAFETY: ends the process without running the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => Pid::from_raw(pid),
    };
    drop((keepers, keepers_line));
    // Out of the group and the session, but only now: the keeper stays in them.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"network-guard");
    let _ = rustix::process::chdir("/");
    keeper::close_all_but(&[line.as_raw_fd(), own.as_raw_fd()]);
    let (Some(keeper), Ok(signals)) = (keeper, keeper::signal_descriptor()) else { return };
    watch(plan, keeper, line, own, &signals);
    end_orphans(&signals);
}

/// Returns once the keeper has ended.
fn watch(plan: &Plan, keeper: Pid, line: &OwnedFd, own: OwnedFd, signals: &OwnedFd) {
    let mut own = Some(own);
    let mut deadline: Option<Instant> = None;
    loop {
        if has_ended(keeper) {
            return;
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            let _ = rustix::process::kill_process(keeper, Signal::KILL);
            deadline = None;
        }
        let left = left.filter(|left| !left.is_zero()).and_then(|left| Timespec::try_from(left).ok());
        // A line that has told its end would only be told again.
        let mut ready = [PollFd::new(signals, PollFlags::IN), PollFd::new(line, PollFlags::IN)];
        let watched = if own.is_some() { &mut ready[..] } else { &mut ready[..1] };
        let _ = rustix::event::poll(watched, left.as_ref());
        let told = own.is_some() && !ready[1].revents().is_empty();
        keeper::drain(signals);
        let gone = rustix::process::getppid() != Some(plan.parent);
        if own.is_some() && (told || gone) {
            // The keeper is told in turn.
            own = None;
            deadline = Some(Instant::now() + KEEPER_PATIENCE);
        }
    }
}

/// Takes the status of every child that has one; whether the keeper was among them.
fn has_ended(keeper: Pid) -> bool {
    let mut ended = false;
    while let Ok(Some((pid, _))) = rustix::process::wait(WaitOptions::NOHANG) {
        ended |= pid == keeper;
    }
    ended
}

/// Kills what a keeper that was killed has left.
fn end_orphans(signals: &OwnedFd) {
    let start = Instant::now();
    loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let children = keeper::children();
        if children.is_empty() || start.elapsed() > PATIENCE {
            return;
        }
        for pid in children {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = rustix::event::poll(&mut [PollFd::new(&signals.as_fd(), PollFlags::IN)], Some(&PAUSE));
        keeper::drain(signals);
    }
}
