//! What the application of a Linux host does: the kernel's sockets, in the namespace of the calling thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::emulator::FIRST_PORT;
use super::flow::{CHUNK, Flows, Sample, Samples};

/// Pending connections of a listener.
const BACKLOG: libc::c_int = 8;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: three numbers.
    let fd = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes of the value as there are.
    check(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) })
        .map(drop)
}

fn native(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as _,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

/// Waits until the socket is ready for `events` or the time is over; whether it is ready.
fn wait(fd: RawFd, events: libc::c_short, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // Rounded up, or it would end too early.
    let timeout = libc::c_int::try_from(left.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
    // SAFETY: one pollfd.
    unsafe { libc::poll(&raw mut poll, 1, timeout) > 0 }
}

/// Whether this kernel lets a socket have this congestion control.
pub fn has(congestion: &str) -> bool {
    socket().and_then(|s| set_congestion(&s, congestion)).is_ok()
}

fn set_congestion(socket: &OwnedFd, name: &str) -> io::Result<()> {
    set(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_bytes())
}

/// The listeners of all flows.
pub fn listen(address: Ipv4Addr, flows: &Flows) -> io::Result<Vec<OwnedFd>> {
    let one = |flow: usize| {
        let socket = socket()?;
        let name = native(SocketAddrV4::new(address, FIRST_PORT + flow as u16));
        // SAFETY: the address is as long as is said.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), NAME_LEN) })?;
        // SAFETY: two numbers.
        check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
        Ok(socket)
    };
    (0..flows.count).map(one).collect()
}

/// Sends flow `flow` to `peer`, whole or until the time is over.
pub fn send(peer: Ipv4Addr, flows: &Flows, flow: usize, samples: &mut Samples) -> io::Result<()> {
    let socket = socket()?;
    set_congestion(&socket, &flows.congestion)?;
    let fd = socket.as_raw_fd();
    let until = flows.begin(flow);
    let name = native(SocketAddrV4::new(peer, FIRST_PORT + flow as u16));
    // SAFETY: the address is as long as is said.
    match check(unsafe { libc::connect(fd, (&raw const name).cast(), NAME_LEN) }) {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        other => drop(other?),
    }
    let chunk = vec![b'x'; CHUNK];
    let mut left = flows.bytes;
    while left > 0 && Instant::now() < until {
        samples.take(|| sample(fd));
        if !wait(fd, libc::POLLOUT, until.min(samples.next())) {
            continue;
        }
        let len = left.min(CHUNK as u64) as usize;
        // SAFETY: the buffer is as long as is said, at least.
        let n = unsafe { libc::send(fd, chunk.as_ptr().cast(), len, libc::MSG_NOSIGNAL) };
        match u64::try_from(n) {
            Ok(n) => left -= n,
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => {}
                // The receiver's time was over first.
                _ if Instant::now() >= until => break,
                e => return Err(e),
            },
        }
    }
    if left == 0 {
        // SAFETY: two numbers.
        check(unsafe { libc::shutdown(fd, libc::SHUT_WR) })?;
        // The other end closes once it has everything.
        wait(fd, libc::POLLIN, until);
    }
    samples.end(|| sample(fd));
    if left > 0 {
        abort(fd);
    }
    Ok(())
}

/// Nothing of the connection is left behind: what is queued would go on for minutes.
fn abort(fd: RawFd) {
    let linger = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
    // Without it the connection ends a little later, with its namespace.
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

/// Receives flow `flow` from its listener, to its end or until the time is over.
pub fn receive(listener: &OwnedFd, flows: &Flows, flow: usize) -> io::Result<()> {
    let latest = flows.latest();
    if !wait(listener.as_raw_fd(), libc::POLLIN, latest) {
        return Ok(());
    }
    let (no_name, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: no address is asked for.
    let fd = check(unsafe {
        libc::accept4(listener.as_raw_fd(), no_name, no_len, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
    })?;
    // SAFETY: the kernel just gave us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut chunk = vec![0_u8; CHUNK];
    let until = flows.end_of(flow);
    while wait(fd, libc::POLLIN, until) {
        // SAFETY: the buffer is as long as is said.
        let n = unsafe { libc::recv(fd, chunk.as_mut_ptr().cast(), chunk.len(), 0) };
        match u64::try_from(n) {
            Ok(0) => {
                flows.ended(flow);
                break;
            }
            Ok(n) => flows.received(n),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => {}
                // The sender's time is over.
                e if e.raw_os_error() == Some(libc::ECONNRESET) => break,
                e => return Err(e),
            },
        }
        if Instant::now() >= until {
            break;
        }
    }
    drop(socket);
    Ok(())
}

/// `struct tcp_info`, as far as it is read here.
fn sample(fd: RawFd) -> Option<Sample> {
    let mut info = [0_u8; 256];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes.
    let result = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if result < 0 {
        return None;
    }
    let n = |at: usize| u64::from(u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]));
    let wide = |at: usize| n(at) | n(at + 4) << 32;
    let out = (n(24) + n(36)).saturating_sub(n(28) + n(32));
    Some(Sample {
        state: ["open", "disorder", "cwr", "recovery", "loss"]
            .get(usize::from(info[1]))
            .copied()
            .unwrap_or("?"),
        cwnd: n(80),
        ssthresh: if n(76) >= 0x7fff_ffff { None } else { Some(n(76)) },
        in_flight: out,
        srtt: Duration::from_micros(n(68)),
        min_rtt: Duration::from_micros(n(148)),
        rto: Duration::from_micros(n(8)),
        acked: wide(120),
        retransmitted: n(100),
        not_sent: n(144),
        peer_window: n(228),
        pacing_rate: wide(104),
        delivery_rate: wide(160),
        reordering: n(88),
    })
}

/// The address of a host of a run, by its place.
pub fn address(place: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, 1 + place)
}

/// The same with the port of a flow.
pub fn server(flow: usize) -> SocketAddr {
    SocketAddr::from((address(1), FIRST_PORT + flow as u16))
}
