//! The servers, on kernel sockets of the host's loopback, each on a thread of its own.

use std::io;
use std::net::UdpSocket;
use std::thread;

use super::client::prepare;
use super::{CREDIT, Calls, Counted, EACH, RUN};

/// Both servers' ports.
#[derive(Clone, Copy)]
pub struct Ports {
    pub sink: u16,
    pub source: u16,
}

/// Serves for as long as the process lives.
pub fn start(calls: Calls) -> io::Result<Ports> {
    let (sink, source) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    for socket in [&sink, &source] {
        prepare(socket, calls)?;
    }
    let ports = Ports { sink: sink.local_addr()?.port(), source: source.local_addr()?.port() };
    thread::spawn(move || take(&sink));
    thread::spawn(move || give(&source, calls));
    Ok(ports)
}

fn take(socket: &UdpSocket) {
    let mut data = vec![0; 65_536];
    let mut counted = Counted::default();
    loop {
        // An error is that of a client which is gone.
        if let Ok((bytes, from)) = socket.recv_from(&mut data) {
            for _ in 0..counted.took(bytes) {
                let _ = socket.send_to(&[0; 8], from);
            }
        }
    }
}

fn give(socket: &UdpSocket, calls: Calls) {
    let run = vec![7; RUN];
    let mut data = vec![0; 65_536];
    let mut counted = Counted::default();
    loop {
        let Ok((bytes, to)) = socket.recv_from(&mut data) else { continue };
        // The last of several counts.
        counted.told(&data[bytes.saturating_sub(8)..bytes]);
        loop {
            let count = counted.may_send(if calls == Calls::Coalesced { CREDIT } else { 1 });
            if count == 0 {
                break;
            }
            let _ = socket.send_to(&run[..count as usize * EACH], to);
            counted.has_sent(count);
        }
    }
}
