//! Calls that may block, on threads that may.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use finack_posix::Answer;
use finack_script::run::target::CallId;
use rustix::event::{EventfdFlags, eventfd};

use crate::call::{self, Prepared};

/// How long a call is watched that neither returns nor sleeps, before it counts as blocking.
const WATCHED: Duration = Duration::from_secs(1);

/// Time between two looks at a thread's state.
const LOOK: Duration = Duration::from_micros(50);

/// How often in a row a thread must be seen sleeping.
const SIGHTINGS: u32 = 3;

/// A call that returned.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) id: CallId,
    pub(crate) at: Instant,
    pub(crate) answer: Answer,
}

/// What a thread is to do, and where it says that it does it.
#[derive(Debug)]
struct Job {
    id: CallId,
    call: Arc<Prepared>,
    /// The thread's number once it is about to make the call.
    thread: Arc<AtomicU32>,
}

/// Threads that make calls, and what they brought back.
#[derive(Debug)]
pub(crate) struct Workers {
    /// A thread that waits for work: one that had to be begun first might come late on a busy machine.
    ready: Option<Sender<Job>>,
    sender: Sender<Finished>,
    receiver: Receiver<Finished>,
    /// Readable when a call has returned.
    bell: Arc<OwnedFd>,
    next: u64,
}

impl Workers {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut workers = Self { ready: None, sender, receiver, bell: Arc::new(bell), next: 0 };
        workers.ready = Some(workers.thread());
        Ok(workers)
    }

    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// A call that returned, if one has.
    pub(crate) fn finished(&self) -> Option<Finished> {
        let finished = self.receiver.try_recv().ok()?;
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        Some(finished)
    }

    /// One more thread, which is of the caller's network namespace and waits for work.
    fn thread(&self) -> Sender<Job> {
        let (jobs, work) = channel::<Job>();
        let (ready, is_ready) = channel();
        let (sender, bell) = (self.sender.clone(), Arc::clone(&self.bell));
        std::thread::spawn(move || {
            crate::sys::run_first();
            let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            let _ = ready.send(());
            for Job { id, call, thread } in work {
                thread.store(own, Ordering::Release);
                let answer = call::make(&call);
                let at = Instant::now();
                // Whoever asked may be gone.
                let _ = sender.send(Finished { id, at, answer });
                let _ = rustix::io::write(&bell, &1_u64.to_ne_bytes());
            }
        });
        let _ = is_ready.recv();
        jobs
    }

    /// Makes a call on another thread. Answers its name once it sleeps, or what it returned before.
    pub(crate) fn make(&mut self, call: Arc<Prepared>) -> Result<Answer, CallId> {
        let id = CallId(self.next);
        self.next += 1;
        let jobs = self.ready.take().unwrap_or_else(|| self.thread());
        let thread = Arc::new(AtomicU32::new(0));
        let _ = jobs.send(Job { id, call, thread: Arc::clone(&thread) });
        let begun = Instant::now();
        let mut sightings = 0;
        loop {
            if let Ok(finished) = self.receiver.recv_timeout(LOOK) {
                if finished.id == id {
                    let _ = rustix::io::read(&self.bell, &mut [0; 8]);
                    self.ready = Some(jobs);
                    return Ok(finished.answer);
                }
                // Another call, which the runner asks for later.
                let _ = self.sender.send(finished);
            }
            sightings = if sleeps(thread.load(Ordering::Acquire)) { sightings + 1 } else { 0 };
            if sightings >= SIGHTINGS || begun.elapsed() > WATCHED {
                // While it blocks, the next stands by.
                self.ready = Some(self.thread());
                return Err(id);
            }
        }
    }
}

/// Whether a thread of this process waits for something that may never come.
fn sleeps(thread: u32) -> bool {
    if thread == 0 {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // `PID (NAME) STATE ...`
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

#[cfg(test)]
mod tests;
