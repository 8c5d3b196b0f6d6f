//! The kernel as a target: real time, real calls, a real device.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use finack_posix::info::Field;
use finack_posix::{Answer, Call, ControlData, Fd, Reply, abi};
use finack_script::ast::Nanos;
use finack_script::run::Target;
use finack_script::run::config::Config;
use finack_script::run::stamp;
use finack_script::run::target::{Applied, Begun, CallId, Returned, Sent, Setting};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::call::{self, Prepared};
use crate::counters::Counters;
use crate::info;
use crate::machine::{self, Files};
use crate::namespace::{CONGESTION, DEFAULT_CONGESTION, Namespace, has_congestion, set_sysctl};
use crate::netlink::{ADVERTISED_MSS, INITIAL_WINDOW, ROUTE_MTU};
use crate::sys;
use crate::worker::Workers;

/// The end of a wait is waited for in a loop: a timer would come this much late.
const SPIN: Duration = Duration::from_micros(60);

/// Who waits for longer than this waits for something at any time: no script that is run here lasts as long.
const ANY_TIME: Nanos = 50_000_000_000_000;

/// Between two looks when nothing is expected any more.
const REST: Duration = Duration::from_millis(10);

/// Packets of one burst are this close to each other.
const BURST: Nanos = 1_000_000;

/// How long nothing has to happen before it counts as sure that nothing will.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For events at any time (`*`).
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10) }
    }
}

/// The Linux kernel in a namespace of the calling thread's own, with which nothing has happened yet.
#[derive(Debug)]
pub struct Kernel {
    namespace: Namespace,
    workers: Workers,
    counters: Counters,
    limits: Limits,
    /// When the script began: with its first event, for what comes before takes time too.
    begun: Option<Instant>,
    /// The script's time. It stands still while packets that came are looked at.
    now: Nanos,
    last: Instant,
    sent: VecDeque<Sent>,
    returned: VecDeque<Returned>,
    /// Calls that have not returned.
    blocked: BTreeSet<CallId>,
    descriptors: BTreeSet<RawFd>,
    /// Calls with buffers that the kernel may still read from (`MSG_ZEROCOPY`).
    lent: Vec<Arc<Prepared>>,
    /// What each new socket is to have, where the namespace's own setting does not allow it.
    congestion: Option<String>,
    files: Files,
}

impl Kernel {
    /// Takes the calling thread into a namespace of its own, with the configuration's addresses and MTU.
    ///
    /// # Errors
    /// What the machine does not allow or has not.
    pub fn new(config: &Config, limits: Limits) -> Result<Self, String> {
        let namespace = Namespace::enter(config)?;
        sys::run_first();
        let workers = Workers::new().map_err(|e| format!("an eventfd: {e}"))?;
        let mut kernel = Self {
            namespace,
            workers,
            counters: Counters::open(),
            limits,
            begun: None,
            now: 0,
            last: Instant::now(),
            sent: VecDeque::new(),
            returned: VecDeque::new(),
            blocked: BTreeSet::new(),
            descriptors: BTreeSet::new(),
            lent: Vec::new(),
            congestion: None,
            files: Files::default(),
        };
        // A kernel that has it not keeps its own.
        let _ = kernel.set_sysctl(CONGESTION, DEFAULT_CONGESTION);
        Ok(kernel)
    }

    /// Sets a sysctl before the script does.
    ///
    /// # Errors
    /// Why it can't be set.
    pub fn set_sysctl(&mut self, name: &str, value: &str) -> Result<(), String> {
        let done = set_sysctl(name, value);
        if name == CONGESTION {
            // What is not on the machine's list of allowed ones can only be set on sockets.
            self.congestion = (done.is_err() && has_congestion(value)).then(|| value.to_owned());
            return if self.congestion.is_some() { Ok(()) } else { done };
        }
        done
    }

    fn prepare_socket(&self, call: &Call, answer: &Answer) {
        if let (Call::Socket { .. }, Ok(Reply::Number(fd)), Some(name)) = (call, answer, &self.congestion) {
            // A socket that is none of TCP's refuses it.
            let _ = sys::set_option(*fd as RawFd, abi::SOL_TCP, abi::TCP_CONGESTION, name.as_bytes());
        }
    }

    fn begun(&mut self) -> Instant {
        *self.begun.get_or_insert_with(Instant::now)
    }

    fn at(&mut self, instant: Instant) -> Nanos {
        nanos(instant.saturating_duration_since(self.begun()))
    }

    /// The clock's time, which becomes the script's.
    fn catch_up(&mut self) {
        self.last = Instant::now();
        let now = self.at(self.last);
        self.now = self.now.max(now);
    }

    /// The clock's time, at which nothing happened.
    fn catch_up_without_news(&mut self) {
        let now = self.at(Instant::now());
        self.now = self.now.max(now);
    }

    /// A time of the wall clock (since 1970) as the script's.
    fn of_wall(&mut self, wall: Duration) -> Nanos {
        let (here, there) = (Instant::now(), SystemTime::now());
        let there = there.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let here = here.saturating_duration_since(self.begun());
        // What lies before the script's beginning is its beginning.
        nanos((here + wall).saturating_sub(there))
    }

    /// Takes what has come: packets and calls that returned. Says whether anything has.
    fn gather(&mut self) -> bool {
        let before = (self.sent.len(), self.returned.len());
        while let Some(left) = self.namespace.sniffer.next() {
            let at = self.of_wall(left.at);
            self.now = self.now.max(at);
            self.sent.push_back(Sent { at, bytes: left.bytes, why: Vec::new() });
        }
        if self.sent.len() > before.0 {
            self.namespace.tun.drain();
        }
        while let Some(finished) = self.workers.finished() {
            if self.blocked.remove(&finished.id) {
                let at = self.at(finished.at);
                self.now = self.now.max(at);
                let answer = self.dated(finished.answer);
                self.note_opened_by(&answer);
                self.returned.push_back(Returned { id: finished.id, at, answer });
            }
        }
        let any = (self.sent.len(), self.returned.len()) != before;
        if any {
            self.last = Instant::now();
        }
        any
    }

    /// A call that blocked and opened a descriptor is an accept.
    fn note_opened_by(&mut self, answer: &Answer) {
        if let Ok(Reply::Accepted(fd, _)) = answer {
            self.descriptors.insert(*fd);
        }
    }

    /// Time stamps in control messages count from the script's beginning.
    fn dated(&mut self, mut answer: Answer) -> Answer {
        if let Ok(Reply::Received(received)) = &mut answer {
            for control in &mut received.control {
                if let ControlData::Time(at) = &mut control.data {
                    *at = stamp(self.of_wall(Duration::from_nanos(at.as_nanos())));
                }
            }
        }
        answer
    }

    /// Sleeps until something may have come, at most until `end`.
    fn sleep(&self, end: Instant) {
        let left = end.saturating_duration_since(Instant::now());
        if left <= SPIN {
            std::hint::spin_loop();
            return;
        }
        let Ok(time) = Timespec::try_from(left - SPIN) else { return };
        let (sniffer, bell) = (self.namespace.sniffer.as_fd(), self.workers.bell());
        let mut fds =
            [PollFd::from_borrowed_fd(sniffer, PollFlags::IN), PollFd::from_borrowed_fd(bell, PollFlags::IN)];
        // Woken early is as good as woken in time.
        let _ = rustix::event::poll(&mut fds, Some(&time));
    }

    fn owned(&self, fd: RawFd) -> bool {
        self.descriptors.contains(&fd)
    }

    /// Descriptors of the process that the script did not open are not there for it.
    fn is_foreign(&self, call: &Call) -> bool {
        let fds: &[Fd] = match call {
            Call::Socket { .. } | Call::EpollCreate { .. } | Call::Pipe { .. } | Call::Open { .. } => {
                return false;
            }
            Call::SendFile { to, from, .. } | Call::Splice { to, from, .. } => &[*to, *from],
            Call::Poll(list, _) => {
                return list.iter().any(|p| p.fd >= 0 && is_open(p.fd) && !self.owned(p.fd));
            }
            Call::EpollControl { epoll, fd, .. } => &[*epoll, *fd],
            Call::Bind(fd, _)
            | Call::Listen(fd, _)
            | Call::Accept(fd, _)
            | Call::Connect(fd, _)
            | Call::Shutdown(fd, _)
            | Call::Close(fd)
            | Call::Send(fd, _)
            | Call::Recv(fd, _)
            | Call::GetOption { fd, .. }
            | Call::SetOption { fd, .. }
            | Call::SocketName(fd)
            | Call::PeerName(fd)
            | Call::Fcntl(fd, ..)
            | Call::Ioctl(fd, ..)
            | Call::Dup(fd)
            | Call::EpollWait { epoll: fd, .. } => &[*fd],
        };
        fds.iter().any(|fd| is_open(*fd) && !self.owned(*fd))
    }
}

/// Whether the number is a descriptor of this process at all; one that is not the kernel refuses by itself.
fn is_open(fd: RawFd) -> bool {
    sys::fcntl(fd, libc::F_GETFD.into(), 0).is_ok()
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Target for Kernel {
    fn name(&self) -> &'static str {
        "the kernel"
    }

    fn now(&self) -> Nanos {
        self.now
    }

    fn jitter(&self) -> Nanos {
        BURST
    }

    fn wait(&mut self, until: Nanos) {
        let begun = self.begun();
        let end = begun + Duration::from_nanos(until);
        loop {
            if self.gather() {
                return;
            }
            let clock = Instant::now();
            if clock >= end {
                self.now = self.now.max(until).max(self.at(clock));
                return;
            }
            let give_up = self.last + self.limits.patience;
            let wake = if until.saturating_sub(self.now) < ANY_TIME {
                end
            } else if clock < give_up {
                give_up
            } else {
                // Whoever asks on all the same is not answered in a circle.
                self.sleep(clock + REST);
                self.gather();
                self.catch_up_without_news();
                return;
            };
            self.sleep(wake);
        }
    }

    fn is_idle(&self) -> bool {
        self.last.elapsed() >= self.limits.patience
    }

    fn inject(&mut self, bytes: &[u8], segment_size: u16) {
        self.catch_up();
        // A packet that the device does not take is one that the script misses the answer to.
        let _ = self.namespace.tun.write(bytes, segment_size);
    }

    fn sent(&mut self) -> Option<Sent> {
        self.gather();
        self.sent.pop_front()
    }

    fn call(&mut self, call: Call) -> Begun {
        self.catch_up();
        if self.is_foreign(&call) {
            return Begun::Returned(Err(call::NOT_OPEN));
        }
        if let Call::Close(fd) = &call {
            self.descriptors.remove(fd);
        }
        let prepared = Arc::new(Prepared::new(call));
        let call = &prepared.call;
        if prepared.lends() {
            self.lent.push(Arc::clone(&prepared));
        }
        let answer = if let Call::Open { path, flags } = call {
            self.files.open(path, *flags)
        } else if call::may_block(call) {
            match self.workers.make(Arc::clone(&prepared)) {
                Ok(answer) => answer,
                Err(id) => {
                    self.blocked.insert(id);
                    return Begun::Blocked(id);
                }
            }
        } else {
            call::make(&prepared)
        };
        self.descriptors.extend(call::opened(call, &answer));
        self.prepare_socket(call, &answer);
        Begun::Returned(self.dated(answer))
    }

    fn returned(&mut self) -> Option<Returned> {
        self.gather();
        self.returned.pop_front()
    }

    fn set(&mut self, setting: &Setting) -> Applied {
        let done = match setting {
            Setting::Sysctl { name, value } => self.set_sysctl(name, value),
            Setting::SegmentationOffload(on) => self.namespace.tun.offload(*on).map_err(|e| e.to_string()),
            Setting::Mtu(mtu) => self.namespace.set_mtu(*mtu),
            Setting::InitialWindow(segments) => self.namespace.set_metric(INITIAL_WINDOW, *segments),
            Setting::RouteMtu(mtu) => self.namespace.set_metric(ROUTE_MTU, *mtu),
            Setting::AdvertisedMss(mss) => self.namespace.set_metric(ADVERTISED_MSS, u32::from(*mss)),
        };
        match done {
            Ok(()) => Applied::Yes,
            Err(why) => Applied::No(why),
        }
    }

    fn sysctls(&self) -> Vec<(String, String)> {
        machine::sysctls()
    }

    fn proc_files(&self) -> Vec<(String, String)> {
        machine::proc_files()
    }

    fn put_file(&mut self, path: &str, contents: &[u8]) {
        // Without memory for it, the call that opens it says so.
        let _ = self.files.put(path, contents);
    }

    fn tcp_info(&mut self, fd: Fd) -> Result<Vec<Field>, String> {
        let bytes = sys::get_option(fd, abi::SOL_TCP, abi::TCP_INFO, 4096).map_err(|e| e.to_string())?;
        Ok(info::fields(&bytes))
    }

    fn remarks(&mut self) -> Vec<String> {
        self.counters.changes()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let abort = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
        for fd in &self.descriptors {
            // Nothing of a script's connections stays behind, and no thread in a call on one.
            let _ = sys::set_option(*fd, abi::SOL_SOCKET, abi::SO_LINGER, &abort);
            if !self.blocked.is_empty() {
                let _ = sys::shutdown(*fd, abi::SHUT_RDWR);
            }
            let _ = sys::close(*fd);
        }
    }
}
