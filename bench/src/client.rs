//! The program that `finack-bench run` runs in a private network for what no common program measures.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The first argument that makes this program the client.
pub const NAME: &str = "client";

const USAGE: &str = "usage: finack-bench client connect|echo|udp|udp-send|udp-send-single|udp-receive|udp-receive-single ADDRESS:PORT SECONDS";

/// Datagrams on their way at a time, and the bytes of each.
const WINDOW: usize = 32;
const DATAGRAM: usize = 1400;

/// Prints one number.
pub fn main(words: &[String]) -> ExitCode {
    let parsed = match words {
        [what, addr, seconds] => addr
            .parse()
            .ok()
            .zip(seconds.parse().ok().filter(|s: &f64| *s > 0.0 && *s < 1e6))
            .map(|(addr, s)| (what.as_str(), addr, Duration::from_secs_f64(s))),
        _ => None,
    };
    let result = match parsed {
        Some(("connect", addr, length)) => connects(addr, length),
        Some(("echo", addr, length)) => round_trips(addr, length),
        Some(("udp", addr, length)) => datagrams(addr, length),
        Some((what, addr, length)) if let Some(client) = crate::udp::by_name(what) => {
            client(addr, length).map(|gigabits| gigabits * 1e9)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(rate) => {
            println!("{rate}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("finack-bench client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Connections a second, one after another: opened, closed by the server, closed.
fn connects(addr: SocketAddr, length: Duration) -> std::io::Result<f64> {
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < length {
        let mut stream = TcpStream::connect(addr)?;
        // The server ends first, and holds the TIME-WAIT: this side's ports stay free.
        if stream.read(&mut [0])? != 0 {
            return Err(std::io::Error::other("the server said something"));
        }
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// Round trips of one byte a second, on one connection.
fn round_trips(addr: SocketAddr, length: Duration) -> std::io::Result<f64> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < length {
        stream.write_all(&[7])?;
        stream.read_exact(&mut [0])?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// Bits a second one way that come back as datagrams, [`WINDOW`] of them on their way at a time. One that is lost is
/// made up for after a tenth of a second.
fn datagrams(addr: SocketAddr, length: Duration) -> std::io::Result<f64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(addr)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (data, mut buf) = ([7; DATAGRAM], [0; 2 * DATAGRAM]);
    let begun = Instant::now();
    let mut count = 0_u32;
    for _ in 0..WINDOW {
        socket.send(&data)?;
    }
    while begun.elapsed() < length {
        match socket.recv(&mut buf) {
            Ok(_) => {
                count += 1;
                socket.send(&data)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                for _ in 0..WINDOW {
                    socket.send(&data)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(f64::from(count) * 8.0 * DATAGRAM as f64 / begun.elapsed().as_secs_f64())
}
