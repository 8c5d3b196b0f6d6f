//! A server under attack, with honest clients beside: what a hostile packet costs, what is kept, who is served.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use finack_core::device::Packet;
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, Event, ListenerId};
use finack_core::{Error, Instant, Stack};

use super::forge::{Heard, Packets};
use super::honest::Honest;
use super::world::{SERVER, client_address, host};
use crate::measure::processor_time;

/// Packets that are handed over at once, and whose cost is read together.
pub const BATCH: usize = 32;
/// Virtual time goes on in steps of a millisecond.
pub const STEP: Duration = Duration::from_millis(1);
/// How long an honest packet is on its way.
const WAY: Duration = Duration::from_millis(10);

/// What the server does on a port.
pub mod port {
    /// Answers each request and closes.
    pub const ANSWERS: u16 = 80;
    /// Writes without end, into a buffer of 128 KiB.
    pub const SOURCE: u16 = 81;
    /// Reads all, and counts it.
    pub const SINK: u16 = 82;
    /// Accepts and does nothing more.
    pub const IDLE: u16 = 83;
    /// Writes without end, into a buffer that grows.
    pub const BIG_SOURCE: u16 = 84;
    /// Reads all.
    pub const DRAIN: u16 = 85;
    pub const ALL: [u16; 6] = [ANSWERS, SOURCE, SINK, IDLE, BIG_SOURCE, DRAIN];
}

/// Somebody who means no good.
pub trait Attack {
    /// What is sent in this millisecond.
    fn step(&mut self, ms: u64, out: &mut Packets);
    /// What the server said to one of the attacker's addresses.
    fn hear(&mut self, _heard: &Heard) {}
}

/// Hostile packets that were handed over together.
#[derive(Clone, Copy)]
pub struct Batch {
    /// What they cost.
    pub nanos: u32,
    pub packets: u32,
    /// Packets that the server sent in turn.
    pub answers: u32,
}

/// What a siege found.
#[derive(Clone, Default)]
pub struct Report {
    pub batches: Vec<Batch>,
    /// The longest that the server's timers took at once.
    pub timers: Duration,
    /// Packets that the server sent to attackers.
    pub answers: u64,
    pub memory_before: usize,
    pub memory_peak: usize,
    /// Honest clients that had their answer, and how many there were.
    pub served: u64,
    pub asked: u64,
    /// Bytes that honest clients fetched and brought.
    pub fetched: u64,
    pub brought: u64,
}

/// The server's program.
struct Program {
    /// By the connection's place in the stack's table.
    roles: Vec<Option<u16>>,
    listeners: Vec<(ListenerId, u16)>,
    /// Bytes read on the sink's port.
    read: u64,
}

/// See the module.
struct Siege {
    server: Stack,
    program: Program,
    now: Instant,
    report: Report,
    /// Honest packets on their way.
    there: VecDeque<(Instant, Vec<u8>)>,
    back: VecDeque<(Instant, Vec<u8>)>,
    heard: Packets,
}

/// A siege of so many seconds of virtual time.
pub fn run(settings: &Settings, seconds: u32, attack: Option<&mut dyn Attack>) -> Result<Report, String> {
    let mut siege = Siege::new(settings).map_err(|e| format!("the server cannot be made: {e}"))?;
    let mut honest = Honest::new(seconds);
    let mut nobody = Nobody;
    let attack = attack.unwrap_or(&mut nobody);
    siege.report.memory_before = siege.server.memory();
    let mut packets = Packets::default();
    for ms in 0..u64::from(seconds) * 1000 {
        siege.now += STEP;
        siege.timers();
        siege.carry_honest(&mut honest, ms);
        packets.clear();
        attack.step(ms, &mut packets);
        siege.assault(&packets, attack);
        if ms.is_multiple_of(100) {
            siege.report.memory_peak = siege.report.memory_peak.max(siege.server.memory());
        }
    }
    let mut report = siege.report;
    (report.served, report.asked, report.fetched) = (honest.served, honest.asked, honest.fetched);
    report.brought = siege.program.read;
    Ok(report)
}

struct Nobody;

impl Attack for Nobody {
    fn step(&mut self, _ms: u64, _out: &mut Packets) {}
}

impl Siege {
    fn new(settings: &Settings) -> Result<Self, Error> {
        let mut server = host(&[SERVER], settings.clone(), 9);
        let mut listeners = Vec::new();
        let now = Instant::from_secs(1);
        for port in port::ALL {
            let bind = server.tcp_bind(now, SocketAddr::new(SERVER, port), BindOptions::default())?;
            let send_buffer = (port == port::SOURCE).then_some(128 << 10);
            let options = SocketOptions { nodelay: true, send_buffer, ..SocketOptions::default() };
            listeners.push((server.tcp_listen(now, bind, 4096, options)?, port));
        }
        Ok(Self {
            server,
            program: Program { roles: Vec::new(), listeners, read: 0 },
            now,
            report: Report::default(),
            there: VecDeque::new(),
            back: VecDeque::new(),
            heard: Packets::default(),
        })
    }

    /// What is due at the server.
    fn timers(&mut self) {
        if self.server.poll_timeout().is_none_or(|at| at > self.now) {
            return;
        }
        let begun = processor_time();
        self.server.handle_timeout(self.now);
        self.program.run(&mut self.server, self.now);
        self.drain();
        self.report.timers = self.report.timers.max(processor_time() - begun);
    }

    /// What the server sends goes to honest clients, on the way to whom it is for a while, or is heard by attackers.
    fn drain(&mut self) {
        while let Some(packet) = self.server.poll_transmit(self.now) {
            let is_honest = packet.header.get(16..18) == Some(&HONEST_NET);
            if is_honest {
                let mut bytes = Vec::with_capacity(packet.len());
                packet.write_to(&mut bytes);
                self.back.push_back((self.now + WAY, bytes));
            } else {
                self.heard.push_with(|out| packet.write_to(out));
            }
        }
    }

    fn carry_honest(&mut self, honest: &mut Honest, ms: u64) {
        while let Some((_, bytes)) = self.back.pop_front_if(|(due, _)| *due <= self.now) {
            honest.take(self.now, &bytes);
        }
        honest.step(self.now, ms, |bytes| self.there.push_back((self.now + WAY, bytes)));
        while let Some((_, bytes)) = self.there.pop_front_if(|(due, _)| *due <= self.now) {
            self.server.handle_packets(self.now, &[Packet::borrowed(&bytes)]);
        }
        self.program.run(&mut self.server, self.now);
        self.drain();
    }

    /// Hands over hostile packets in batches, and has the attacker hear the answers.
    fn assault(&mut self, packets: &Packets, attack: &mut dyn Attack) {
        let all: Vec<Packet<'_>> = packets.iter().map(Packet::borrowed).collect();
        for batch in all.chunks(BATCH) {
            let (begun, heard) = (processor_time(), self.heard.len());
            self.server.handle_packets(self.now, batch);
            self.program.run(&mut self.server, self.now);
            self.drain();
            let nanos = (processor_time() - begun).as_nanos().min(u128::from(u32::MAX)) as u32;
            let answers = (self.heard.len() - heard) as u32;
            self.report.batches.push(Batch { nanos, packets: batch.len() as u32, answers });
        }
        self.report.answers += self.heard.len() as u64;
        self.heard.iter().filter_map(Heard::read).for_each(|heard| attack.hear(&heard));
        self.heard.clear();
    }
}

/// The first bytes of honest clients' addresses.
const HONEST_NET: [u8; 2] = [10, 1];

impl Program {
    fn run(&mut self, server: &mut Stack, now: Instant) {
        while let Some(event) = server.poll_event() {
            match event {
                Event::Accept { listener } => {
                    let Some(&(_, port)) = self.listeners.iter().find(|(id, _)| *id == listener) else {
                        continue;
                    };
                    while let Ok((conn, _)) = server.tcp_accept(now, listener) {
                        if self.roles.len() <= conn.index() {
                            self.roles.resize(conn.index() + 1, None);
                        }
                        self.roles[conn.index()] = Some(port);
                        self.serve(server, now, conn, port);
                    }
                }
                Event::Tcp { conn, .. } => {
                    if let Some(&Some(port)) = self.roles.get(conn.index()) {
                        self.serve(server, now, conn, port);
                    }
                }
                _ => {}
            }
        }
    }

    fn serve(&mut self, server: &mut Stack, now: Instant, conn: ConnId, port: u16) {
        let mut buf = [0; 4096];
        let over = match port {
            port::ANSWERS => match server.tcp_recv(now, conn, &mut buf, RecvFlags::default()) {
                Err(Error::WouldBlock) => false,
                Ok(n) if n > 0 => {
                    let _ = server.tcp_send(now, conn, &buf[..256], SendFlags::default());
                    true
                }
                _ => true,
            },
            port::SOURCE | port::BIG_SOURCE => loop {
                match server.tcp_send(now, conn, &buf, SendFlags::default()) {
                    Ok(n) if n == buf.len() => {}
                    Ok(_) | Err(Error::WouldBlock | Error::InProgress) => break false,
                    Err(_) => break true,
                }
            },
            port::SINK | port::DRAIN => loop {
                match server.tcp_recv(now, conn, &mut buf, RecvFlags::default()) {
                    Ok(n) if n > 0 => self.read += if port == port::SINK { n as u64 } else { 0 },
                    Err(Error::WouldBlock) => break false,
                    _ => break true,
                }
            },
            _ => server.tcp_take_error(conn).is_ok_and(|error| error.is_some()),
        };
        if over {
            self.roles[conn.index()] = None;
            let _ = server.tcp_close(now, conn);
        }
    }
}

/// The honest clients' address.
pub fn honest_address() -> std::net::IpAddr {
    client_address(1)
}
