//! Honest clients beside an attack: a thousand that ask once, one that fetches and one that brings all the time.

use std::net::SocketAddr;

use finack_core::device::Packet;
use finack_core::options::{RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, Event};
use finack_core::{Error, Instant, Stack};

use super::siege::{honest_address, port};
use super::world::{SERVER, host};

/// How many ask once.
const CLIENTS: u64 = 1000;
/// Bytes of an answer.
const ANSWER: u64 = 256;

/// What a connection is for.
#[derive(Clone, Copy)]
enum Errand {
    /// Has had so many bytes of its answer.
    Ask(u64),
    Fetch,
    Bring,
}

/// See the module.
pub struct Honest {
    stack: Stack,
    /// By the connection's place in the stack's table.
    errands: Vec<Option<Errand>>,
    /// Clients begin within so many milliseconds.
    spread: u64,
    pub asked: u64,
    pub served: u64,
    pub fetched: u64,
}

impl Honest {
    /// For a siege of so many seconds: all begin in the first half of it.
    pub fn new(seconds: u32) -> Self {
        let stack = host(&[honest_address()], Settings::default(), 1);
        Self { stack, errands: Vec::new(), spread: u64::from(seconds) * 500, asked: 0, served: 0, fetched: 0 }
    }

    fn connect(&mut self, now: Instant, port: u16, errand: Errand) {
        let buffer = (port != port::ANSWERS).then_some(128 << 10);
        let options = SocketOptions {
            nodelay: true,
            send_buffer: buffer,
            recv_buffer: buffer,
            ..SocketOptions::default()
        };
        if let Ok(conn) = self.stack.tcp_connect(now, None, SocketAddr::new(SERVER, port), options) {
            if self.errands.len() <= conn.index() {
                self.errands.resize(conn.index() + 1, None);
            }
            self.errands[conn.index()] = Some(errand);
        }
    }

    /// A packet of the server's.
    pub fn take(&mut self, now: Instant, packet: &[u8]) {
        self.stack.handle_packets(now, &[Packet::borrowed(packet)]);
    }

    /// What is due in this millisecond; `send` takes packets.
    pub fn step(&mut self, now: Instant, ms: u64, mut send: impl FnMut(Vec<u8>)) {
        if ms == 0 {
            self.connect(now, port::SOURCE, Errand::Fetch);
            self.connect(now, port::SINK, Errand::Bring);
        }
        while self.asked < CLIENTS && self.asked * self.spread <= ms * CLIENTS {
            self.asked += 1;
            self.connect(now, port::ANSWERS, Errand::Ask(0));
        }
        if self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
        while let Some(event) = self.stack.poll_event() {
            if let Event::Tcp { conn, .. } = event
                && let Some(&Some(errand)) = self.errands.get(conn.index())
            {
                self.work(now, conn, errand);
            }
        }
        while let Some(packet) = self.stack.poll_transmit(now) {
            let mut bytes = Vec::with_capacity(packet.len());
            packet.write_to(&mut bytes);
            send(bytes);
        }
    }

    fn work(&mut self, now: Instant, conn: ConnId, errand: Errand) {
        let mut buf = [0; 4096];
        let over = match errand {
            Errand::Ask(had) => self.ask(now, conn, had, &mut buf),
            Errand::Fetch => loop {
                match self.stack.tcp_recv(now, conn, &mut buf, RecvFlags::default()) {
                    Ok(n) if n > 0 => self.fetched += n as u64,
                    Err(Error::WouldBlock | Error::InProgress) => break false,
                    _ => break true,
                }
            },
            Errand::Bring => loop {
                match self.stack.tcp_send(now, conn, &buf, SendFlags::default()) {
                    Ok(n) if n == buf.len() => {}
                    Ok(_) | Err(Error::WouldBlock | Error::InProgress) => break false,
                    Err(_) => break true,
                }
            },
        };
        if over {
            self.errands[conn.index()] = None;
            let _ = self.stack.tcp_close(now, conn);
        }
    }

    /// Sends the request once it can, and reads to the end.
    fn ask(&mut self, now: Instant, conn: ConnId, mut had: u64, buf: &mut [u8]) -> bool {
        loop {
            match self.stack.tcp_recv(now, conn, buf, RecvFlags::default()) {
                Ok(0) => {
                    self.served += u64::from(had == ANSWER);
                    return true;
                }
                Ok(n) => {
                    had += n as u64;
                    self.errands[conn.index()] = Some(Errand::Ask(had));
                }
                Err(Error::WouldBlock) if had == 0 => {
                    // The connection is open: the first event says so, and only one request goes.
                    let sent = self
                        .stack
                        .tcp_info(now, conn)
                        .is_ok_and(|info| info.bytes_sent > 0 || info.send_queue > 0);
                    return !sent && self.stack.tcp_send(now, conn, &[7; 64], SendFlags::default()).is_err();
                }
                Err(Error::WouldBlock | Error::InProgress) => return false,
                Err(_) => return true,
            }
        }
    }
}
