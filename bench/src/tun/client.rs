//! The kernel's side: what an ordinary program does on an ordinary socket.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Ports of every subject's servers.
pub const SINK: u16 = 9001;
pub const SOURCE: u16 = 9002;
pub const ECHO: u16 = 9003;
/// The source without a copy into the send buffer: only finack has one.
pub const SOURCE_SHARED: u16 = 9004;

/// Bytes written or read at a time.
const CHUNK: usize = 128 * 1024;
/// After that long without a byte a subject has failed.
const STALL: Duration = Duration::from_secs(3);

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, STALL)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    Ok(stream)
}

/// Bytes that the peer has not acknowledged yet.
fn unacknowledged(stream: &TcpStream) -> u64 {
    let mut queued: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
    unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ as _, &raw mut queued) };
    u64::from(queued.unsigned_abs())
}

/// The stack receives: Gb/s that it acknowledged.
pub fn send(to: SocketAddr, length: Duration) -> std::io::Result<f64> {
    let mut stream = connect(to)?;
    let chunk = vec![0; CHUNK];
    let begun = Instant::now();
    let mut written = 0;
    while begun.elapsed() < length {
        written += stream.write(&chunk)? as u64;
    }
    let bytes = written - unacknowledged(&stream);
    let figure = bytes as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9;
    // The next one begins when all of this is over.
    stream.shutdown(Shutdown::Write)?;
    let _ = stream.read(&mut [0]);
    Ok(figure)
}

/// The stack sends: Gb/s that were read.
pub fn receive(from: SocketAddr, length: Duration) -> std::io::Result<f64> {
    let mut stream = connect(from)?;
    let mut chunk = vec![0; CHUNK];
    let begun = Instant::now();
    let mut read = 0;
    while begun.elapsed() < length {
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => read += n as u64,
        }
    }
    let figure = read as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9;
    reset(stream);
    Ok(figure)
}

/// What is unread is thrown away, and the peer told so by a RST.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: one `linger` of that length, which the kernel only reads.
    unsafe {
        let linger = (&raw const linger).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger, len);
    }
}

/// Microseconds for a byte there and one back.
pub fn round_trips(to: SocketAddr, length: Duration) -> std::io::Result<f64> {
    let mut stream = connect(to)?;
    stream.set_nodelay(true)?;
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < length {
        stream.write_all(&[7])?;
        stream.read_exact(&mut [0])?;
        count += 1;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(count.max(1)))
}

/// Connections a second, one after another: opened, a byte there and back, closed.
pub fn connections(to: SocketAddr, length: Duration) -> std::io::Result<f64> {
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < length {
        let mut stream = connect(to)?;
        stream.write_all(&[7])?;
        stream.read_exact(&mut [0])?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}
