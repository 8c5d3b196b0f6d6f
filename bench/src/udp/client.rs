//! The clients, on kernel sockets.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::{CREDIT, Calls, EACH, LATE, RUN, WINDOW};

/// Receive buffer asked for: what the kernel lets everyone have, and doubles.
const BUFFER: libc::c_int = 212_992;
/// A subject that carries nothing for so many times [`LATE`] has failed.
const GIVE_UP: u32 = 100;

/// Sets an option to a number; whether the kernel knows it.
pub fn set(socket: &UdpSocket, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: the value is one int of that length, which the kernel only reads.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A socket whose calls stand for many datagrams where that is asked for.
pub(super) fn prepare(socket: &UdpSocket, calls: Calls) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER)?;
    if calls == Calls::Coalesced {
        set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, EACH as libc::c_int)?;
        set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    }
    Ok(())
}

fn open(to: SocketAddr, calls: Calls) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(LATE))?;
    prepare(&socket, calls)?;
    Ok(socket)
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn gigabits(datagrams: u64, begun: Instant) -> f64 {
    datagrams as f64 * EACH as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9
}

/// Gb/s that the sink says it got.
pub fn send(to: SocketAddr, length: Duration, calls: Calls) -> io::Result<f64> {
    let socket = open(to, calls)?;
    let data = vec![7; RUN];
    let mut credits = [0; 64 * 8];
    let (mut flying, mut taken, mut late) = (0, 0, 0);
    let begun = Instant::now();
    while begun.elapsed() < length {
        while flying + CREDIT <= WINDOW {
            match calls {
                Calls::Coalesced => drop(socket.send(&data)?),
                Calls::Single => data.chunks(EACH).try_for_each(|one| socket.send(one).map(drop))?,
            }
            flying += CREDIT;
        }
        match socket.recv(&mut credits) {
            Ok(bytes) => {
                // Several may have been coalesced.
                let got = (bytes as u64 / 8).max(1) * CREDIT;
                flying = flying.saturating_sub(got);
                taken += got;
                late = 0;
            }
            Err(error) if is_late(&error) && late < GIVE_UP => {
                flying = 0;
                late += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(gigabits(taken, begun))
}

/// Gb/s that came from the source.
pub fn receive(from: SocketAddr, length: Duration, calls: Calls) -> io::Result<f64> {
    let socket = open(from, calls)?;
    let mut data = vec![0; 65_536];
    let (mut received, mut lost, mut allowed, mut late) = (0, 0, WINDOW, 0);
    socket.send(&allowed.to_be_bytes())?;
    let begun = Instant::now();
    while begun.elapsed() < length {
        match socket.recv(&mut data) {
            Ok(bytes) => {
                received += bytes.div_ceil(EACH) as u64;
                late = 0;
            }
            Err(error) if is_late(&error) && late < GIVE_UP => {
                lost += allowed.saturating_sub(received + lost);
                late += 1;
            }
            Err(error) => return Err(error),
        }
        let now = received + lost + WINDOW;
        if now >= allowed + CREDIT {
            allowed = now;
            socket.send(&allowed.to_be_bytes())?;
        }
    }
    Ok(gigabits(received, begun))
}
