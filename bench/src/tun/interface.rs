//! A network namespace of this thread's own, and TUN interfaces in it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;

use finack::device::{TunDevice, TunOptions};

/// Bytes of a packet on the wire.
pub const MTU: usize = 1500;
/// Packets that may wait in an interface for its stack.
const QUEUE: &str = "10000";

/// Enters a new network namespace with this thread, and with all that it starts from now on.
///
/// # Errors
/// In one line, what is missing.
pub fn enter() -> Result<(), String> {
    // SAFETY: it touches no memory, and concerns the network of this thread alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(format!(
            "a network namespace of its own is refused ({}): run this as root, or by `unshare --user --map-root-user`",
            io::Error::last_os_error()
        ));
    }
    // The baselines are Reno's. A client that closes first holds the TIME-WAITs: its ports are not to run out.
    let settings = [("ipv4/tcp_congestion_control", "reno"), ("ipv4/tcp_max_tw_buckets", "16")];
    for (name, value) in settings {
        if let Err(error) = fs::write(format!("/proc/sys/net/{name}"), value) {
            eprintln!("net/{name} stays as it is: {error}");
        }
    }
    ip(&["link", "set", "dev", "lo", "up"])
}

fn ip(words: &[&str]) -> Result<(), String> {
    match Command::new("ip").args(words).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`ip {}` fails: {status}", words.join(" "))),
        Err(error) => Err(format!("`ip` cannot be started ({error}): apt-get install iproute2")),
    }
}

/// An interface whose packets go to a stack of this program's.
#[derive(Clone)]
pub struct Interface {
    name: String,
    number: u8,
}

impl Interface {
    pub fn new(number: u8) -> Self {
        Self { name: format!("bench{number}"), number }
    }

    /// The kernel's own address, and the stack's.
    pub fn addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        (Ipv4Addr::new(10, 99, self.number, 1), Ipv4Addr::new(10, 99, self.number, 2))
    }

    /// Where the stack's server listens.
    pub fn server(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.addresses().1), port)
    }

    /// Makes it with what coalesces segments and leaves checksums undone, and a `virtio_net_hdr` before each packet.
    pub fn with_offload(&self) -> io::Result<TunDevice> {
        let device = TunDevice::open(&TunOptions { name: self.name.clone(), mtu: MTU, offload: true })?;
        self.up()?;
        Ok(device)
    }

    /// Makes it with nothing but packets, as stacks without offload want it.
    pub fn plain(&self) -> io::Result<OwnedFd> {
        // SAFETY: the path ends with a zero; what is returned is checked.
        let fd = unsafe {
            libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is.
        if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        self.up()?;
        Ok(fd)
    }

    fn up(&self) -> io::Result<()> {
        let address = format!("{}/24", self.addresses().0);
        let mtu = MTU.to_string();
        ip(&["link", "set", "dev", &self.name, "mtu", &mtu, "txqueuelen", QUEUE, "up"])
            .and_then(|()| ip(&["addr", "add", &address, "dev", &self.name]))
            .map_err(io::Error::other)
    }

    /// What the interface has carried so far.
    pub fn carried(&self) -> Carried {
        let lines = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let name = format!("{}:", self.name);
        let numbers = lines.lines().find_map(|line| line.trim_start().strip_prefix(&name));
        let numbers: Vec<u64> =
            numbers.unwrap_or_default().split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        let at = |i: usize| numbers.get(i).copied().unwrap_or(0);
        // What the kernel receives is what the stack sends.
        Carried { from_stack: (at(0), at(1)), to_stack: (at(8), at(9)) }
    }
}

/// Bytes and packets each way; a unit of coalesced segments is one packet.
#[derive(Clone, Copy, Default)]
pub struct Carried {
    pub from_stack: (u64, u64),
    pub to_stack: (u64, u64),
}

impl Carried {
    /// Average size of the packets since `before` on the way that carried more.
    pub fn average_since(self, before: Self) -> f64 {
        let since = |now: (u64, u64), then: (u64, u64)| (now.0 - then.0, now.1 - then.1);
        let ways = [since(self.from_stack, before.from_stack), since(self.to_stack, before.to_stack)];
        let (bytes, packets) = if ways[0].0 > ways[1].0 { ways[0] } else { ways[1] };
        bytes as f64 / packets.max(1) as f64
    }
}

/// Waits until the descriptor is readable, or for `most`.
pub fn wait(fd: &impl AsRawFd, most: Option<std::time::Duration>) {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = most.map_or(-1, |time| i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    // SAFETY: one `pollfd`, of a descriptor that is open.
    unsafe { libc::poll(&raw mut poll, 1, timeout) };
}

/// Reads what waits; `None` where nothing does.
pub fn read(fd: &impl AsRawFd, buf: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(n).ok().filter(|&n| n > 0)
}

/// Writes a packet; what the kernel does not take is lost, as on any link.
pub fn write(fd: &impl AsRawFd, packet: &[u8]) {
    // SAFETY: the packet is as long as said.
    unsafe { libc::write(fd.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
}
