//! The program's own sockets, as its kernel has them: sock_diag(7), asked in the program's network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use finack_core::stack::{TimerInfo, TimerKind};
use finack_core::tcp::State;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// `SOCK_DIAG_BY_FAMILY`, the request and its answers.
const BY_FAMILY: u16 = 20;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;

/// `INET_DIAG_*`: attributes of an answer, and as bits (one lower) those that are asked for.
const INFO: u16 = 2;
const CONGESTION: u16 = 4;
const MEMORY: u16 = 7;

/// `struct nlmsghdr`, `struct inet_diag_msg`.
const HEADER: usize = 16;
const MESSAGE: usize = 72;
/// What the kernel fills at a time where the reader has room for it.
const BUFFER: usize = 32 * 1024;

/// Which of its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A socket of the program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSocket {
    /// Its state; of UDP, CLOSED stands for one that is not connected.
    pub state: State,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end, where it has one.
    pub peer: Option<SocketAddr>,
    /// The timer that runs.
    pub timer: Option<TimerInfo>,
    /// Bytes received and not read; of a listener, connections that wait to be accepted.
    pub recv_queue: u64,
    /// Bytes written and not acknowledged; of a listener, how many connections may wait.
    pub send_queue: u64,
    /// Whose it is.
    pub uid: u32,
    /// Its inode; 0 where no process has it any more.
    pub inode: u32,
    /// The kernel's name for it.
    pub cookie: u64,
    /// The `SK_MEMINFO_*` numbers, where asked for.
    pub memory: Option<[u32; 9]>,
    /// `struct tcp_info`, as long as this kernel has it.
    pub tcp_info: Option<Vec<u8>>,
    /// Name of its congestion control.
    pub congestion: Option<String>,
}

/// Asks for the sockets of one network namespace, wherever it is used from.
#[derive(Debug)]
pub struct ProgramSockets {
    fd: OwnedFd,
    /// Which request's answers are being read; those of earlier ones are passed over.
    sequence: u32,
    /// A request is not yet answered to its end.
    busy: bool,
    buffer: Vec<u8>,
}

impl ProgramSockets {
    /// A socket that asks for the namespace which this process is in.
    pub(super) fn open() -> io::Result<OwnedFd> {
        Ok(rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?)
    }

    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self { fd, sequence: 0, busy: false, buffer: Vec::new() }
    }

    /// Begins a list of all sockets of a kind and a family; [`next`](Self::next) goes on with it. A list that was not
    /// read to its end is given up.
    ///
    /// # Errors
    /// Of the kernel: it may have been built without.
    pub fn list(&mut self, transport: Transport, v6: bool, details: bool) -> io::Result<()> {
        while self.busy {
            self.receive(&mut |_| {})?;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let protocol = match transport {
            Transport::Tcp => libc::IPPROTO_TCP,
            Transport::Udp => libc::IPPROTO_UDP,
        };
        let wanted =
            if details { [INFO, CONGESTION, MEMORY].map(|a| 1 << (a - 1)).iter().sum() } else { 0_u8 };
        // `struct nlmsghdr`, then `struct inet_diag_req_v2` with all states and no particular socket.
        let mut request = Vec::with_capacity(HEADER + 56);
        request.extend_from_slice(&(HEADER as u32 + 56).to_ne_bytes());
        request.extend_from_slice(&BY_FAMILY.to_ne_bytes());
        request.extend_from_slice(&(REQUEST | DUMP).to_ne_bytes());
        request.extend_from_slice(&self.sequence.to_ne_bytes());
        request.extend_from_slice(&[0; 4]);
        request.extend_from_slice(&[family as u8, protocol as u8, wanted, 0]);
        request.extend_from_slice(&u32::MAX.to_ne_bytes());
        request.resize(HEADER + 56, 0);
        rustix::net::send(&self.fd, &request, SendFlags::empty())?;
        self.busy = true;
        Ok(())
    }

    /// The next slice of the list (up to 32 KiB of the kernel's answer, some hundred sockets); false once it is complete.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn next(&mut self, mut each: impl FnMut(KernelSocket)) -> io::Result<bool> {
        if self.busy {
            self.receive(&mut each)?;
        }
        Ok(self.busy)
    }

    fn receive(&mut self, each: &mut dyn FnMut(KernelSocket)) -> io::Result<()> {
        self.buffer.resize(BUFFER, 0);
        // What is being listed waits already: this never blocks.
        let received = rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT);
        let len = match received {
            Ok((len, _)) => len,
            Err(error) => {
                self.busy = false;
                return Err(error.into());
            }
        };
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.messages(&buffer[..len.min(BUFFER)], each);
        self.buffer = buffer;
        result
    }

    fn messages(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(KernelSocket)) -> io::Result<()> {
        while let (Some(len), Some(kind), Some(sequence)) =
            (u32_at(bytes, 0), u16_at(bytes, 4), u32_at(bytes, 8))
        {
            let len = len as usize;
            let Some(body) = bytes.get(HEADER..len) else { break };
            if sequence == self.sequence {
                match kind {
                    TYPE_DONE => self.busy = false,
                    TYPE_ERROR => {
                        self.busy = false;
                        let errno = u32_at(body, 0).map_or(libc::EINVAL, |e| (e as i32).saturating_neg());
                        return Err(io::Error::from_raw_os_error(errno));
                    }
                    BY_FAMILY => parse(body).into_iter().for_each(&mut *each),
                    _ => {}
                }
            }
            bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// `struct inet_diag_msg` and its attributes.
fn parse(body: &[u8]) -> Option<KernelSocket> {
    let message = body.get(..MESSAGE)?;
    let state = state(message[1])?;
    let port = |at: usize| message.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b));
    let local = SocketAddr::new(address(message, 8)?, port(4)?);
    let peer = SocketAddr::new(address(message, 24)?, port(6)?);
    let has_peer = state != State::Listen && (peer.port() != 0 || !peer.ip().is_unspecified());
    let mut socket = KernelSocket {
        state,
        local,
        peer: has_peer.then_some(peer),
        timer: timer(message),
        recv_queue: u64::from(u32_at(message, 56)?),
        send_queue: u64::from(u32_at(message, 60)?),
        uid: u32_at(message, 64)?,
        inode: u32_at(message, 68)?,
        cookie: u64::from(u32_at(message, 44)?) | u64::from(u32_at(message, 48)?) << 32,
        memory: None,
        tcp_info: None,
        congestion: None,
    };
    let mut attributes = &body[MESSAGE..];
    while let (Some(len), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let len = usize::from(len);
        let Some(value) = attributes.get(4..len) else { break };
        match kind {
            INFO if !value.is_empty() => socket.tcp_info = Some(value.to_vec()),
            CONGESTION => {
                let name = value.split(|b| *b == 0).next().unwrap_or_default();
                socket.congestion = Some(String::from_utf8_lossy(name).into_owned());
            }
            MEMORY => socket.memory = Some(std::array::from_fn(|i| u32_at(value, 4 * i).unwrap_or(0))),
            _ => {}
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(socket)
}

fn address(message: &[u8], at: usize) -> Option<IpAddr> {
    let bytes = message.get(at..)?;
    Some(if i32::from(message[0]) == libc::AF_INET6 {
        // A socket for both families shows an IPv4 peer as it is on the wire.
        IpAddr::from(Ipv6Addr::from(*bytes.first_chunk::<16>()?)).to_canonical()
    } else {
        Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()
    })
}

/// `TCP_ESTABLISHED` and the rest, in the kernel's order.
fn state(number: u8) -> Option<State> {
    Some(match number {
        1 => State::Established,
        2 => State::SynSent,
        3 | 12 => State::SynReceived,
        4 => State::FinWait1,
        5 => State::FinWait2,
        6 => State::TimeWait,
        7 => State::Closed,
        8 => State::CloseWait,
        9 => State::LastAck,
        10 => State::Listen,
        11 => State::Closing,
        _ => return None,
    })
}

fn timer(message: &[u8]) -> Option<TimerInfo> {
    let kind = match message[2] {
        1 | 5 => TimerKind::Retransmit,
        2 => TimerKind::KeepAlive,
        3 => TimerKind::TimeWait,
        4 => TimerKind::Persist,
        _ => return None,
    };
    let remaining = Duration::from_millis(u64::from(u32_at(message, 52)?));
    Some(TimerInfo { kind, remaining, retries: u32::from(message[3]) })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The machine's own kernel is asked about sockets of this test's.
    #[test]
    fn a_connection_of_this_process_is_found_with_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(here).unwrap();
        let mut sockets = ProgramSockets::from_fd(ProgramSockets::open().unwrap());
        let mut found = Vec::new();
        // A list that nobody reads to its end does not stand in the way of the next.
        sockets.list(Transport::Udp, false, true).unwrap();
        sockets.list(Transport::Tcp, false, true).unwrap();
        let mut each = |s: KernelSocket| found.extend((s.local == here || s.peer == Some(here)).then_some(s));
        while sockets.next(&mut each).unwrap() {}
        let ends = client.local_addr().unwrap();
        let one = |local, peer| found.iter().find(|s| s.local == local && s.peer == peer).unwrap();
        assert_eq!(one(here, None).state, State::Listen);
        assert_eq!(one(here, None).recv_queue, 1, "a connection waits to be accepted");
        let connected = one(ends, Some(here));
        assert_eq!(connected.state, State::Established);
        assert!(connected.inode != 0 && connected.memory.is_some());
        assert!(connected.tcp_info.as_ref().is_some_and(|info| info.len() >= 104));
    }

    #[test]
    fn what_is_cut_short_is_no_socket() {
        let mut message = [0; MESSAGE];
        (message[0], message[1]) = (libc::AF_INET6 as u8, 1);
        assert!(parse(&message).is_some());
        assert_eq!(parse(&message[..MESSAGE - 1]), None);
        message[1] = 200;
        assert_eq!(parse(&message), None);
    }
}
