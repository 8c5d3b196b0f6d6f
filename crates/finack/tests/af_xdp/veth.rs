//! Two network namespaces of this machine, joined by a veth pair: one for finack, one for a client on the kernel's sockets.
#![allow(dead_code)] // The tests use a part of it, the example another.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

/// finack's, which the kernel beside it does not have.
pub(crate) const FINACK: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 7);
pub(crate) const FINACK6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 7);
/// The kernel's on the same interface.
pub(crate) const BESIDE: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
/// The client's.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 2);
/// The interface on finack's side, and on the client's.
pub(crate) const NEAR: &str = "fx0";
pub(crate) const FAR: &str = "cx0";

pub(crate) fn addresses() -> Vec<(IpAddr, u8)> {
    vec![(FINACK.into(), 24), (FINACK6.into(), 64)]
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, which does what it is given.
pub(crate) struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    tid: i32,
}

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// Where none may be made.
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (told, tell) = channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: it concerns this thread only, and touches no memory.
            let result = match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
                // SAFETY: it only tells a number.
                0 => Ok(unsafe { libc::gettid() }),
                _ => Err(io::Error::last_os_error()),
            };
            let _ = told.send(result);
            queue.into_iter().for_each(|job| job());
        });
        let tid = tell.recv().map_err(io::Error::other)??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), tid })
    }

    /// Begins to do something there.
    pub(crate) fn start<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Started<T> {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).expect("the namespace's thread has panicked");
        Started(result)
    }

    /// Does something there.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.start(job).wait()
    }

    /// Runs a command there that must succeed, such as `ip`; what it wrote.
    pub(crate) fn command(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let mut words = line.split_whitespace();
            let output = Command::new(words.next().unwrap_or("true")).args(words).output();
            let output = output.unwrap_or_else(|e| panic!("{line}: {e}"));
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was begun.
pub(crate) struct Started<T>(std::sync::mpsc::Receiver<T>);

impl<T> Started<T> {
    /// Its result.
    pub(crate) fn wait(self) -> T {
        self.0.recv().expect("what ran in the namespace has panicked")
    }
}

/// Both ends.
pub(crate) struct Veth {
    pub(crate) near: Namespace,
    pub(crate) far: Namespace,
}

impl Veth {
    /// Joins two new namespaces; the interface on finack's side has `queues` queues.
    ///
    /// # Errors
    /// Where no namespace may be made.
    pub(crate) fn new(queues: u32) -> io::Result<Self> {
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        near.command(&format!(
            "ip link add {NEAR} numrxqueues {queues} numtxqueues {queues} type veth peer name {FAR} numrxqueues \
             {queues} numtxqueues {queues} netns {}",
            far.tid
        ));
        for command in ["link set lo up", "addr add 10.66.0.1/24 dev fx0", "link set fx0 up"] {
            near.command(&format!("ip {command}"));
        }
        near.command("ip addr add fd66::1/64 dev fx0 nodad");
        for command in ["link set lo up", "addr add 10.66.0.2/24 dev cx0", "link set cx0 up"] {
            far.command(&format!("ip {command}"));
        }
        far.command("ip addr add fd66::2/64 dev cx0 nodad");
        Ok(Self { near, far })
    }

    /// Has the client's kernel cut what it sends into packets of wire size, as a network card would deliver them
    /// (`ethtool -K cx0 tso off`). Where the program runs in the veth driver, the kernel does so by itself.
    pub(crate) fn send_at_wire_size(&self) {
        self.far.run(|| {
            /// `struct ethtool_value`.
            #[repr(C)]
            struct Value {
                command: u32,
                data: u32,
            }
            const SIOCETHTOOL: libc::c_ulong = 0x8946;
            const SET_TSO: u32 = 0x1f;
            let mut value = Value { command: SET_TSO, data: 0 };
            // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(FAR.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_data = (&raw mut value).cast();
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
            // SAFETY: the request names an interface and points to the command's value, which live until it returns.
            let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
        });
    }
}
