//! Opening a connection in the host's network, and what the program is told where that fails.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use finack_core::stack::Refusal;
use finack_wire::icmp::Unreachable;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::TcpStream;

/// Descriptors that connections to the outside leave for everything else.
const RESERVE: usize = 64;

/// Why a connection failed for want of something of this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Shortage {
    /// EMFILE, or the gateway's own share of them is used up; ENFILE.
    Descriptors,
    /// EADDRNOTAVAIL: all ports towards one destination are in use.
    Ports,
    /// ENOBUFS, ENOMEM.
    Memory,
    /// All of finack's own ports towards a published port of the program's are in use.
    PortsInside,
}

impl Shortage {
    /// What is wrong and what can be done, in one line; `limit` is RLIMIT_NOFILE.
    pub(crate) fn told(self, limit: u64) -> String {
        match self {
            Self::Descriptors => format!(
                "no descriptor is left for connections to the outside (the limit is {limit}): new ones wait for others to close; \
                 `ulimit -n` before finack raises the limit"
            ),
            Self::Ports => {
                "the host has no port left for connections to the outside: new ones wait for others to close; \
                 sysctl net.ipv4.ip_local_port_range widens the range"
                    .into()
            }
            Self::PortsInside => {
                "finack has no port left for clients of a published port: new ones wait for others to close; \
                 --sysctl ip_local_port_range='1024 65535' widens the range"
                    .into()
            }
            Self::Memory => "the host's kernel has no memory for another connection to the outside: new ones wait".into(),
        }
    }

    /// How often it happened, in one line.
    pub(crate) fn counted(self, count: u64) -> String {
        let missing = match self {
            Self::Descriptors => "no descriptor",
            Self::Ports => "no port of the host's",
            Self::Memory => "no memory in the host's kernel",
            Self::PortsInside => "no port of finack's",
        };
        match count {
            1 => format!(
                "once there was {missing} for a connection that crosses the gateway, which had to be tried again"
            ),
            n => format!(
                "{n} times there was {missing} for a connection that crosses the gateway, which had to be tried again"
            ),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The network said so, and the program is told the same.
    Refused {
        /// What was said.
        error: io::Error,
        /// How the program is told.
        refusal: Refusal,
    },
    /// This machine lacks something, now: it is tried again.
    Short(Shortage),
}

/// The descriptors that the gateway may use: those that the process may have, less what others need.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    free: Rc<Cell<usize>>,
    total: usize,
    limit: u64,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Socket(Rc<Cell<usize>>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Sockets {
    /// Raises the process's soft limit to its hard one, which needs no privilege, and counts what is left. The program
    /// keeps the limits that finack was started with: its keeper must have been forked before.
    pub(crate) fn claim() -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = current < maximum || current.is_some() && maximum.is_none();
        if raised {
            // Where it is refused, what there was stays.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let in_use = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
        Self::with(limit, in_use)
    }

    fn with(limit: u64, in_use: usize) -> Self {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let total = most.saturating_sub(in_use + RESERVE);
        Self { free: Rc::new(Cell::new(total)), total, limit }
    }

    /// RLIMIT_NOFILE.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// How many places there are when all are given back.
    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// There is no place even when all are given back.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.total == 0
    }

    /// A descriptor's place, if there is one.
    pub(crate) fn take(&self) -> Option<Socket> {
        self.free.set(self.free.get().checked_sub(1)?);
        Some(Socket(Rc::clone(&self.free)))
    }
}

/// How far a connection from the host has come; its place among the descriptors comes along.
pub(super) enum Begun {
    /// It is open.
    Open(TcpStream, Socket),
    /// Whoever it goes to has not answered yet.
    Waits(TcpStream, Socket),
    /// There is none.
    Failed(Failure),
}

/// Begins to open a connection from the host.
pub(super) fn begin(to: SocketAddr, sockets: &Sockets) -> Begun {
    let Some(place) = sockets.take() else { return Begun::Failed(Failure::Short(Shortage::Descriptors)) };
    match try_begin(to) {
        Ok((stream, true)) => Begun::Open(stream, place),
        Ok((stream, false)) => Begun::Waits(stream, place),
        Err(error) => Begun::Failed(judge(error, to)),
    }
}

/// Waits until it is open or has failed.
pub(super) async fn finish(begun: Begun, to: SocketAddr) -> Result<(TcpStream, Socket), Failure> {
    match begun {
        Begun::Open(stream, place) => Ok((stream, place)),
        Begun::Waits(stream, place) => match opened(&stream).await {
            Ok(()) => Ok((stream, place)),
            Err(error) => Err(judge(error, to)),
        },
        Begun::Failed(failure) => Err(failure),
    }
}

async fn opened(stream: &TcpStream) -> io::Result<()> {
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(()), Err)
}

/// A socket that connects; whether it is connected already.
fn try_begin(to: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    prepare(&socket)?;
    let open = start(&socket, to)?;
    Ok((TcpStream::from_std(socket.into())?, open))
}

/// Begins to connect; whether the connection is open already.
///
/// On the loopback the handshake is over when the first call returns, though that says that it only began: a second call
/// tells how it went, which spares waiting for the event.
fn start(socket: &OwnedFd, to: SocketAddr) -> rustix::io::Result<bool> {
    match rustix::net::connect(socket, &to) {
        Ok(()) => return Ok(true),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    if !to.ip().is_loopback() {
        return Ok(false);
    }
    match rustix::net::connect(socket, &to) {
        Ok(()) | Err(Errno::ISCONN) => Ok(true),
        Err(Errno::ALREADY | Errno::INPROGRESS | Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What every socket of the gateway's on the host has: an urgent byte stays where it stands in the stream, or it would be
/// lost.
pub(super) fn prepare(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    rustix::net::sockopt::set_socket_oobinline(socket, true)?;
    Ok(())
}

/// Of what a call found too little; `None` for other errors.
pub(super) fn shortage(error: &io::Error) -> Option<Shortage> {
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => Some(Shortage::Descriptors),
        Errno::NOBUFS | Errno::NOMEM => Some(Shortage::Memory),
        _ => None,
    }
}

/// What a router says of a host that does not answer it.
pub(super) const fn host_unreachable(to: SocketAddr) -> Refusal {
    Refusal::Unreachable(if to.is_ipv4() { Unreachable::Host } else { Unreachable::AddressUnreachable })
}

/// What a failed attempt means to the program.
fn judge(error: io::Error, to: SocketAddr) -> Failure {
    if let Some(shortage) = shortage(&error) {
        return Failure::Short(shortage);
    }
    let network = if to.is_ipv4() { Unreachable::Network } else { Unreachable::NoRoute };
    let refusal = match Errno::from_io_error(&error) {
        Some(Errno::ADDRNOTAVAIL) if has_source(to) => return Failure::Short(Shortage::Ports),
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => Refusal::Reset,
        Some(Errno::TIMEDOUT) => Refusal::Silence,
        Some(Errno::ACCESS | Errno::PERM) => Refusal::Unreachable(Unreachable::AdminProhibited),
        // No address of that family to send from, no such family, a route that swallows (EINVAL).
        Some(
            Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT | Errno::INVAL,
        ) => Refusal::Unreachable(network),
        _ => host_unreachable(to),
    };
    Failure::Refused { error, refusal }
}

/// Whether the host has an address to send to `to` from: then EADDRNOTAVAIL means that no port is left. Nothing is sent.
fn has_source(to: SocketAddr) -> bool {
    let any: SocketAddr =
        if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    std::net::UdpSocket::bind(any).and_then(|socket| socket.connect(to)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(errno: Errno, to: &str) -> Option<Refusal> {
        match judge(errno.into(), to.parse().unwrap()) {
            Failure::Refused { refusal, .. } => Some(refusal),
            Failure::Short(_) => None,
        }
    }

    #[test]
    fn the_hosts_errno_becomes_what_the_program_would_have_seen() {
        let (v4, v6) = ("192.0.2.1:80", "[2001:db8::1]:80");
        for to in [v4, v6] {
            assert_eq!(judged(Errno::CONNREFUSED, to), Some(Refusal::Reset));
            assert_eq!(judged(Errno::TIMEDOUT, to), Some(Refusal::Silence));
            assert_eq!(judged(Errno::ACCESS, to), Some(Refusal::Unreachable(Unreachable::AdminProhibited)));
            assert_eq!(judged(Errno::PERM, to), Some(Refusal::Unreachable(Unreachable::AdminProhibited)));
            for short in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS] {
                assert_eq!(judged(short, to), None);
            }
        }
        assert_eq!(judged(Errno::NETUNREACH, v4), Some(Refusal::Unreachable(Unreachable::Network)));
        assert_eq!(judged(Errno::NETUNREACH, v6), Some(Refusal::Unreachable(Unreachable::NoRoute)));
        assert_eq!(judged(Errno::HOSTUNREACH, v4), Some(Refusal::Unreachable(Unreachable::Host)));
        assert_eq!(
            judged(Errno::HOSTUNREACH, v6),
            Some(Refusal::Unreachable(Unreachable::AddressUnreachable))
        );
    }

    #[test]
    fn where_an_address_to_send_from_is_there_it_is_the_ports_that_are_used_up() {
        let to = "127.0.0.1:1".parse().unwrap();
        assert!(matches!(judge(Errno::ADDRNOTAVAIL.into(), to), Failure::Short(Shortage::Ports)));
    }

    #[test]
    fn some_descriptors_are_left_for_everything_else() {
        let sockets = Sockets::with(RESERVE as u64 + 12, 10);
        let taken: Vec<_> = std::iter::from_fn(|| sockets.take()).collect();
        assert_eq!(taken.len(), 2);
        drop(taken);
        assert!(sockets.take().is_some());
        assert!(Sockets::with(10, 20).take().is_none());
    }
}
