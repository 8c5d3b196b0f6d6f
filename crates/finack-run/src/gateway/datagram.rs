//! The host's datagram sockets with what `std` and tokio don't reach: header fields of single datagrams, many segments in
//! one call, and the ICMP errors that came back, each with the datagram that it is about.
//!
//! A socket is not connected: one serves all peers, and the error queue (IP_RECVERR) tells for which of them a datagram
//! failed.

use std::cell::Cell;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use finack_wire::icmp::{ErrorKind, Unreachable};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, ipproto};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes of control messages: room for all that is asked for.
const CONTROL: usize = 256;
/// A `sockaddr_in6`, the larger of the two.
const NAME: usize = 28;
/// Bytes that a socket's receive buffer is asked to hold, as far as `net.core.rmem_max` lets it.
const RECV_BUFFER: usize = 1 << 20;

/// What a socket is watched for: an error alone does not make it readable.
pub(super) const SIGNS: Interest = Interest::READABLE.add(Interest::ERROR);

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// UDP.
    Udp,
    /// Echo requests and replies whose identifier is the kernel's business ("ping socket").
    Echoes,
    /// ICMP as it is, where privileges allow it.
    RawEchoes,
}

/// Fields of a datagram's header that are not the host's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Its TTL or hop limit.
    pub(super) hop_limit: Option<u8>,
    /// Its TOS or traffic class, with ECN.
    pub(super) tos: u8,
    /// What is sent is several datagrams of this size, the last of which may be shorter.
    pub(super) segment: Option<u16>,
    /// It is not cut, here or on the way: where it is too big for the path that is an error.
    pub(super) dont_fragment: bool,
}

/// An ICMP error (or a local one) about a datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Bytes of the datagram's payload that are known: they stand in the caller's buffer.
    pub(super) len: usize,
    /// Whom it was sent to.
    pub(super) to: SocketAddr,
    /// What is wrong.
    pub(super) kind: ErrorKind,
    /// Who said so, where it was neither the destination nor this host.
    pub(super) reporter: Option<IpAddr>,
}

/// A socket of the host's that never blocks.
#[derive(Debug)]
pub(super) struct HostSocket {
    fd: OwnedFd,
    is_v6: bool,
    /// What it is set to; nothing at first.
    dont_fragment: Cell<Option<bool>>,
    /// Several datagrams may come as one.
    joined: Cell<bool>,
}

impl AsRawFd for HostSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for HostSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl HostSocket {
    /// Opens a socket for a family on any address, with `port` (for echoes: identifier) if that is free, else with one
    /// that the kernel chooses.
    pub(super) fn open(carries: Carries, is_v6: bool, port: u16) -> io::Result<Self> {
        let (family, any) = match is_v6 {
            true => (AddressFamily::INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            false => (AddressFamily::INET, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        let icmp = if is_v6 { ipproto::ICMPV6 } else { ipproto::ICMP };
        let (kind, protocol): (SocketType, Option<Protocol>) = match carries {
            Carries::Udp => (SocketType::DGRAM, None),
            Carries::Echoes => (SocketType::DGRAM, Some(icmp)),
            Carries::RawEchoes => (SocketType::RAW, Some(icmp)),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(family, kind, flags, protocol)?;
        let socket = Self { fd, is_v6, dont_fragment: Cell::new(None), joined: Cell::new(false) };
        if is_v6 && carries != Carries::RawEchoes {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        socket.prepare()?;
        if carries != Carries::RawEchoes {
            // In use, or one that needs privileges: then another.
            if port == 0 || rustix::net::bind(&socket, &SocketAddr::new(any, port)).is_err() {
                rustix::net::bind(&socket, &SocketAddr::new(any, 0))?;
            }
        }
        Ok(socket)
    }

    /// Has the event loop watch for datagrams and errors ([`SIGNS`]).
    pub(super) fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the socket's own, which never changes and is closed only when the socket is dropped,
        // after it is no longer watched.
        Ok(unsafe { AsyncFd::register_with_interest(self, SIGNS) }?)
    }

    /// Takes a bound UDP socket.
    pub(super) fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        socket.set_nonblocking(true)?;
        let fd = socket.into();
        let socket = Self { fd, is_v6, dont_fragment: Cell::new(None), joined: Cell::new(false) };
        socket.prepare()?;
        Ok(socket)
    }

    fn prepare(&self) -> io::Result<()> {
        // A hint: the kernel cuts it down to what it allows.
        let _ = sockopt::set_socket_recv_buffer_size(self, RECV_BUFFER);
        let (level, name) = match self.is_v6 {
            true => (libc::SOL_IPV6, libc::IPV6_RECVERR),
            false => (libc::SOL_IP, libc::IP_RECVERR),
        };
        self.set_option(level, name, 1)
    }

    fn set_option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        let bytes = value.to_ne_bytes();
        let len = bytes.len() as libc::socklen_t;
        // SAFETY: the value is `len` readable bytes, and the kernel only reads them.
        match unsafe { libc::setsockopt(self.as_raw_fd(), level, name, bytes.as_ptr().cast(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Only echo replies come through a raw socket.
    pub(super) fn only_echo_replies(&self) -> io::Result<()> {
        if self.is_v6 {
            // ICMP6_FILTER: a set bit blocks; type 129 alone is clear.
            let mut filter = [u32::MAX; 8];
            filter[129 / 32] &= !(1 << (129 % 32));
            return self.set_filter(libc::IPPROTO_ICMPV6, 1, &filter);
        }
        // ICMP_FILTER: a set bit blocks; type 0 alone is clear.
        self.set_filter(libc::SOL_RAW, 1, &[!1])
    }

    fn set_filter(&self, level: i32, name: i32, filter: &[u32]) -> io::Result<()> {
        let len = mem::size_of_val(filter) as libc::socklen_t;
        // SAFETY: the filter is `len` readable bytes, and the kernel only reads them.
        match unsafe { libc::setsockopt(self.as_raw_fd(), level, name, filter.as_ptr().cast(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether many datagrams can be handed over in one call (UDP_SEGMENT, Linux 4.18).
    pub(super) fn takes_segments(&self) -> bool {
        self.set_option(libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
    }

    /// The port (identifier) that it is bound to.
    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(self)?)?.port())
    }

    /// Sends `data` to `to`.
    ///
    /// # Errors
    /// `WouldBlock` where the send buffer is full; what the kernel answers else. An error that waited for this call is not
    /// among them: it is in the error queue.
    pub(super) fn send(&self, to: SocketAddr, data: &[u8], fields: Fields) -> io::Result<()> {
        let mut control = Control::default();
        let (level, hop_limit, tos) = match self.is_v6 {
            true => (libc::SOL_IPV6, libc::IPV6_HOPLIMIT, libc::IPV6_TCLASS),
            false => (libc::SOL_IP, libc::IP_TTL, libc::IP_TOS),
        };
        if let Some(limit) = fields.hop_limit {
            control.push(level, hop_limit, &i32::from(limit).to_ne_bytes());
        }
        if fields.tos != 0 {
            control.push(level, tos, &i32::from(fields.tos).to_ne_bytes());
        }
        if let Some(segment) = fields.segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        self.let_cut(!fields.dont_fragment);
        // An earlier datagram's error comes out of the first call after it (RFC 1122 4.1.3.3), once for each.
        let mut tries = 4;
        loop {
            match self.send_once(to, data, &mut control) {
                Err(error) if tries > 0 && self.had_error(&error) => tries -= 1,
                result => return result,
            }
        }
    }

    /// Whether the host may cut what it sends (IP_PMTUDISC_WANT) or not (IP_PMTUDISC_DO).
    fn let_cut(&self, cut: bool) {
        if self.dont_fragment.replace(Some(!cut)) == Some(!cut) {
            return;
        }
        let (level, name) = match self.is_v6 {
            true => (libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER),
            false => (libc::SOL_IP, libc::IP_MTU_DISCOVER),
        };
        let value = if cut { libc::IP_PMTUDISC_WANT } else { libc::IP_PMTUDISC_DO };
        // Known since Linux 2.2; without it the host's default holds.
        let _ = self.set_option(level, name, value);
    }

    /// Whether an error may be that of an earlier datagram, which the call reported instead of sending.
    fn had_error(&self, error: &io::Error) -> bool {
        let about_this = matches!(
            error.raw_os_error(),
            Some(libc::EAGAIN | libc::EINVAL | libc::ENOBUFS | libc::ENOMEM | libc::EPERM)
        );
        !about_this && self.has_queued_error()
    }

    fn has_queued_error(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let mut poll = [PollFd::new(self, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut poll, Some(&at_once)).is_ok_and(|n| n > 0)
    }

    fn send_once(&self, to: SocketAddr, data: &[u8], control: &mut Control) -> io::Result<()> {
        let mut name = Name::of(to);
        let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let mut message = empty_message();
        message.msg_name = name.bytes.as_mut_ptr().cast();
        message.msg_namelen = name.len as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if control.len > 0 {
            message.msg_control = control.bytes.as_mut_ptr().cast();
            message.msg_controllen = control.len;
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the message points to a name, one part of data and control messages that outlive the call; their
        // lengths are those of initialised memory, of which sendmsg writes nothing.
        match unsafe { libc::sendmsg(self.as_raw_fd(), &raw const message, flags) } {
            sent if sent >= 0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next datagram: its length and its sender.
    ///
    /// # Errors
    /// `WouldBlock` where there is none; an ICMP error, once, whose datagram is in the error queue.
    pub(super) fn recv(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, _, from) = rustix::net::recvfrom(self, buf, RecvFlags::DONTWAIT)?;
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        Ok((len, SocketAddr::try_from(from)?))
    }

    /// Has the kernel hand over as one what it holds together (UDP_GRO, Linux 5.0); without it datagrams come one by one.
    pub(super) fn take_joined(&self) {
        self.joined.set(self.set_option(libc::SOL_UDP, libc::UDP_GRO, 1).is_ok());
    }

    /// The next datagram, or several [joined](Self::take_joined) ones of a sender: the bytes of all, those of each but the
    /// last, and the sender.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub(super) fn recv_joined(&self, buf: &mut [u8]) -> io::Result<(usize, usize, SocketAddr)> {
        if !self.joined.get() {
            return self.recv(buf).map(|(len, from)| (len, len, from));
        }
        let (len, name, control) = self.recv_message(buf, libc::MSG_DONTWAIT)?;
        let from = name.addr().ok_or(io::ErrorKind::InvalidData)?;
        let each = control.find(libc::SOL_UDP, libc::UDP_GRO).and_then(|size| size.first_chunk::<4>());
        let each =
            each.and_then(|size| usize::try_from(i32::from_ne_bytes(*size)).ok()).filter(|size| *size > 0);
        Ok((len, each.unwrap_or(len), from))
    }

    /// One `recvmsg`: bytes, whom they are of (or, of an error, were to), control messages.
    fn recv_message(&self, buf: &mut [u8], flags: i32) -> io::Result<(usize, Name, Control)> {
        let mut name = Name::default();
        let mut control = Control::default();
        let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut message = empty_message();
        message.msg_name = name.bytes.as_mut_ptr().cast();
        message.msg_namelen = NAME as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.bytes.as_mut_ptr().cast();
        message.msg_controllen = CONTROL;
        // SAFETY: the message points to room for a name, one part of data and control messages, each as long as said
        // and alive until the call returns.
        let received = unsafe { libc::recvmsg(self.as_raw_fd(), &raw mut message, flags) };
        let len = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        control.len = message.msg_controllen.min(CONTROL);
        Ok((len, name, control))
    }

    /// The next error in the error queue that the sender of a datagram would be told of by ICMP.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    pub(super) fn next_failed(&self, buf: &mut [u8]) -> io::Result<Failed> {
        loop {
            if let Some(failed) = self.next_error(buf)? {
                return Ok(failed);
            }
        }
    }

    fn next_error(&self, buf: &mut [u8]) -> io::Result<Option<Failed>> {
        let (len, name, control) = self.recv_message(buf, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)?;
        let Some(to) = name.addr() else { return Ok(None) };
        let (level, kind) = match self.is_v6 {
            true => (libc::SOL_IPV6, libc::IPV6_RECVERR),
            false => (libc::SOL_IP, libc::IP_RECVERR),
        };
        let Some(error) = control.find(level, kind) else { return Ok(None) };
        Ok(parse_error(error, to, len))
    }
}

/// Reads a `sock_extended_err` and the address behind it.
fn parse_error(error: &[u8], to: SocketAddr, len: usize) -> Option<Failed> {
    const SIZE: usize = 16;
    let (&errno, rest) = error.split_first_chunk::<4>()?;
    let &[origin, kind, code, ..] = rest else { return None };
    let info = u32::from_ne_bytes(*error.get(8..12)?.first_chunk()?);
    let errno = i32::from_ne_bytes(errno);
    let offender = Name::from(error.get(SIZE..)?).addr().map(|a| a.ip());
    let kind = match (origin, kind) {
        (libc::SO_EE_ORIGIN_ICMP, 3) if code == 4 => ErrorKind::FragNeeded { mtu: info },
        (libc::SO_EE_ORIGIN_ICMP6, 2) => ErrorKind::FragNeeded { mtu: info },
        (libc::SO_EE_ORIGIN_LOCAL, _) if errno == libc::EMSGSIZE => ErrorKind::FragNeeded { mtu: info },
        (libc::SO_EE_ORIGIN_ICMP, 3) => ErrorKind::Unreachable(Unreachable::from_v4(code)),
        (libc::SO_EE_ORIGIN_ICMP6, 1) => ErrorKind::Unreachable(Unreachable::from_v6(code)),
        (libc::SO_EE_ORIGIN_ICMP, 11) | (libc::SO_EE_ORIGIN_ICMP6, 3) => ErrorKind::TimeExceeded { code },
        // The host's own neighbour discovery failed.
        (libc::SO_EE_ORIGIN_LOCAL, _) if errno == libc::EHOSTUNREACH => host_unreachable(to.ip()),
        _ => return None,
    };
    let remote = matches!(origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    let reporter = offender.filter(|o| remote && *o != to.ip() && !o.is_unspecified());
    Some(Failed { len, to, kind, reporter })
}

/// What a router says of a host that does not answer it.
pub(super) const fn host_unreachable(to: IpAddr) -> ErrorKind {
    ErrorKind::Unreachable(if to.is_ipv4() { Unreachable::Host } else { Unreachable::AddressUnreachable })
}

fn empty_message() -> libc::msghdr {
    // SAFETY: all of its fields are integers and pointers, for which zero is a value.
    unsafe { mem::zeroed() }
}

/// A `sockaddr_in` or `sockaddr_in6`, byte for byte.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(8))]
struct Name {
    bytes: [u8; NAME],
    len: usize,
}

impl Name {
    fn of(addr: SocketAddr) -> Self {
        let mut name = Self::default();
        name.bytes[2..4].copy_from_slice(&addr.port().to_be_bytes());
        let family = match addr {
            SocketAddr::V4(v4) => {
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.len = 16;
                libc::AF_INET
            }
            SocketAddr::V6(v6) => {
                name.bytes[8..24].copy_from_slice(&v6.ip().octets());
                name.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                name.len = NAME;
                libc::AF_INET6
            }
        };
        name.bytes[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        name
    }

    fn from(bytes: &[u8]) -> Self {
        let mut name = Self { len: bytes.len().min(NAME), ..Self::default() };
        name.bytes[..name.len].copy_from_slice(&bytes[..name.len]);
        name
    }

    /// The address, if it is one of IP.
    fn addr(&self) -> Option<SocketAddr> {
        let b = &self.bytes;
        let port = u16::from_be_bytes([b[2], b[3]]);
        match i32::from(libc::sa_family_t::from_ne_bytes([b[0], b[1]])) {
            libc::AF_INET => Some((<[u8; 4]>::try_from(&b[4..8]).ok()?, port).into()),
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::try_from(&b[8..24]).ok()?);
                let scope = u32::from_ne_bytes([b[24], b[25], b[26], b[27]]);
                Some(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            _ => None,
        }
    }
}

/// Control messages, written and read as the kernel lays them out.
#[repr(align(8))]
struct Control {
    bytes: [u8; CONTROL],
    len: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self { bytes: [0; CONTROL], len: 0 }
    }
}

impl Control {
    /// Length, level and type.
    const HEADER: usize = size_of::<usize>() + 8;

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let len = Self::HEADER + data.len();
        let Some(room) = self.bytes.get_mut(self.len..self.len + len) else { return };
        let word = size_of::<usize>();
        room[..word].copy_from_slice(&len.to_ne_bytes());
        room[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        room[word + 4..Self::HEADER].copy_from_slice(&kind.to_ne_bytes());
        room[Self::HEADER..].copy_from_slice(data);
        self.len = (self.len + len.next_multiple_of(word)).min(CONTROL);
    }

    /// The data of the first message of a type.
    fn find(&self, level: i32, kind: i32) -> Option<&[u8]> {
        let word = size_of::<usize>();
        let mut rest = &self.bytes[..self.len];
        loop {
            let len = usize::from_ne_bytes(*rest.first_chunk()?);
            let message = rest.get(..len).filter(|m| m.len() >= Self::HEADER)?;
            let is = |at: usize, value: i32| message[at..at + 4] == value.to_ne_bytes();
            if is(word, level) && is(word + 4, kind) {
                return Some(&message[Self::HEADER..]);
            }
            rest = rest.get(len.next_multiple_of(word)..)?;
        }
    }
}

#[cfg(test)]
mod tests;
