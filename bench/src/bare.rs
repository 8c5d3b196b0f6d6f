//! What is left of each task when no protocol runs: the same bytes copied as often, summed as often, and where
//! connections must be told apart, headers written, parsed and hashed, and a record looked up.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::hint::black_box;

use finack_sum::copy_and_sum;

/// What is done with each byte on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Copied once: by the link, where both ends hand over their own memory.
    Once,
    /// Copied three times: where packets are given away instead of lent.
    Given,
    /// The same, summed while the link copies and once more by itself.
    GivenFused,
    /// Copied four times.
    Copied,
    /// The same, summed by itself before it is sent and before it is received.
    Summed,
    /// The same with each sum made while copying.
    Fused,
}

/// Buffers between which a payload moves: writer, send queue, packet, receive queue, reader.
pub struct Bare {
    source: Vec<u8>,
    send: Vec<u8>,
    packet: Vec<u8>,
    receive: Vec<u8>,
    sink: Vec<u8>,
    unit: usize,
}

impl Bare {
    pub fn new(unit: usize) -> Self {
        let buffer = || vec![1; 64 << 10];
        Self { source: buffer(), send: buffer(), packet: buffer(), receive: buffer(), sink: buffer(), unit }
    }

    /// Moves 64 KiB in units; answers the bytes.
    pub fn bulk(&mut self, way: Way) -> u64 {
        let unit = self.unit.min(self.source.len());
        let mut moved = 0;
        for from in (0..=self.source.len() - unit).step_by(unit) {
            let range = from..from + unit;
            match way {
                Way::Once => self.packet[..unit].copy_from_slice(&self.source[range]),
                Way::Given => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    self.packet[..unit].copy_from_slice(&self.send[range.clone()]);
                    self.sink[range].copy_from_slice(&self.packet[..unit]);
                }
                Way::GivenFused => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    black_box(copy_and_sum(&mut self.packet[..unit], &self.send[range.clone()]));
                    black_box(sum(&self.packet[..unit]));
                    self.sink[range].copy_from_slice(&self.packet[..unit]);
                }
                Way::Copied => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    self.packet[..unit].copy_from_slice(&self.send[range.clone()]);
                    self.receive[range.clone()].copy_from_slice(&self.packet[..unit]);
                    self.sink[range.clone()].copy_from_slice(&self.receive[range]);
                }
                Way::Summed => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    black_box(sum(&self.send[range.clone()]));
                    self.packet[..unit].copy_from_slice(&self.send[range.clone()]);
                    black_box(sum(&self.packet[..unit]));
                    self.receive[range.clone()].copy_from_slice(&self.packet[..unit]);
                    self.sink[range.clone()].copy_from_slice(&self.receive[range]);
                }
                Way::Fused => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    black_box(copy_and_sum(&mut self.packet[..unit], &self.send[range.clone()]));
                    black_box(copy_and_sum(&mut self.receive[range.clone()], &self.packet[..unit]));
                    self.sink[range.clone()].copy_from_slice(&self.receive[range]);
                }
            }
            moved += unit as u64;
        }
        black_box((&mut self.sink, &mut self.packet));
        moved
    }
}

/// IP header, TCP header, timestamps.
const HEADERS: usize = 52;
/// One byte of payload.
const PACKET: usize = HEADERS + 1;
/// A place of a [`Table`] with nobody in it.
const EMPTY: u32 = u32::MAX;

/// What a packet reads and writes of its connection: two cache lines.
#[derive(Clone, Copy)]
#[repr(align(128))]
struct Record {
    key: [u8; 12],
    sent: u32,
    received: u32,
    byte: u8,
}

/// Records by four-tuple, in a table that is probed linearly.
struct Table {
    places: Vec<u32>,
    records: Vec<Record>,
}

impl Table {
    fn new(connections: usize) -> Self {
        let mut table = Self {
            places: vec![EMPTY; (connections * 2 + 2).next_power_of_two()],
            records: Vec::with_capacity(connections + 1),
        };
        for i in 0..connections {
            let record = Record { key: key(i as u32), sent: 0, received: 0, byte: 0 };
            table.records.push(record);
            table.insert(record.key, i as u32);
        }
        // One to spare, for those that come and go.
        table.records.push(Record { key: [0; 12], sent: 0, received: 0, byte: 0 });
        table
    }

    fn insert(&mut self, key: [u8; 12], record: u32) {
        let mut at = self.first(&key);
        while self.places[at] != EMPTY {
            at = (at + 1) % self.places.len();
        }
        self.places[at] = record;
    }

    /// The place at which a search begins: by SipHash-1-3, for senders choose what is hashed.
    fn first(&self, key: &[u8; 12]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        hasher.finish() as usize % self.places.len()
    }

    fn find(&self, from: usize, key: &[u8; 12]) -> Option<usize> {
        let mut at = from;
        loop {
            match self.places[at] {
                EMPTY => return None,
                i if self.records[i as usize].key == *key => return Some(i as usize),
                _ => at = (at + 1) % self.places.len(),
            }
        }
    }
}

/// Addresses and ports of connection `i`.
fn key(i: u32) -> [u8; 12] {
    let mut key = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 3, 0xe8];
    key[..4].copy_from_slice(&(0x0a00_0001 + (i >> 14)).to_be_bytes());
    key[8..10].copy_from_slice(&(1024 + (i & 0x3fff) as u16).to_be_bytes());
    key
}

/// Two hosts whose connections are known by their records, and do nothing but carry a byte.
pub struct BareHosts {
    hosts: [Table; 2],
    wire: Vec<[u8; 64]>,
    lives: u32,
}

impl BareHosts {
    pub fn new(connections: usize) -> Self {
        let hosts = [Table::new(connections), Table::new(connections)];
        Self { hosts, wire: vec![[0; 64]; 32], lives: 0 }
    }

    /// A byte there and one back.
    pub fn round_trip(&mut self, connection: usize) {
        self.carry(0, &[connection]);
        self.carry(1, &[connection]);
    }

    /// The same on each of up to 32 connections, handed over together.
    pub fn round_trips(&mut self, connections: &[usize]) {
        self.carry(0, connections);
        self.carry(1, connections);
    }

    /// Opens, asks, answers and closes in eight packets: a record is put into a table without others and taken out again.
    pub fn life(&mut self) {
        self.lives = self.lives.wrapping_add(1);
        let key = key(self.lives & 0xff_ffff);
        let spare = self.hosts[0].records.len() - 1;
        for host in &mut self.hosts {
            let at = host.first(&key);
            host.records[spare].key = key;
            host.places[at] = spare as u32;
        }
        (0..4).for_each(|_| self.round_trip(spare));
        for host in &mut self.hosts {
            let at = host.first(&key);
            host.places[at] = EMPTY;
        }
    }

    /// Packets from one host to the other: written, summed, copied; then parsed, verified, looked up and read.
    fn carry(&mut self, from: usize, connections: &[usize]) {
        let mut template = [0x45; HEADERS];
        for (wire, &connection) in self.wire.iter_mut().zip(connections) {
            let record = &mut self.hosts[from].records[connection];
            record.sent += 1;
            template[12..24].copy_from_slice(&record.key);
            template[24..28].copy_from_slice(&record.sent.to_be_bytes());
            template[28..32].copy_from_slice(&record.received.to_be_bytes());
            let mut packet = [0; PACKET];
            packet[..HEADERS].copy_from_slice(&template);
            packet[HEADERS] = record.byte;
            let (ip, tcp) = (sum(&packet[..20]), sum(&packet[20..]));
            packet[10..12].copy_from_slice(&ip.to_be_bytes());
            packet[36..38].copy_from_slice(&tcp.to_be_bytes());
            wire[..PACKET].copy_from_slice(black_box(&packet));
        }
        let to = &mut self.hosts[1 - from];
        let wires = &self.wire[..connections.len()];
        let mut begins = [(0, [0; 12]); 32];
        for (begin, wire) in begins.iter_mut().zip(wires) {
            black_box((sum(&wire[..20]), sum(&wire[20..PACKET])));
            let mut key = [0; 12];
            key.copy_from_slice(&wire[12..24]);
            *begin = (to.first(&key), key);
        }
        for ((begin, key), wire) in begins.iter().zip(wires) {
            if let Some(index) = to.find(*begin, key) {
                let record = &mut to.records[index];
                record.received = u32::from_be_bytes([wire[24], wire[25], wire[26], wire[27]]);
                record.byte = wire[HEADERS];
            }
        }
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = finack_sum::Accumulator::new();
    sum.add(bytes);
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_is_found_by_its_four_tuple() {
        let mut hosts = BareHosts::new(40_000);
        hosts.round_trip(39_999);
        hosts.round_trips(&[1, 2, 39_999]);
        let seen = |i: usize| (hosts.hosts[1].records[i].received, hosts.hosts[0].records[i].received);
        assert_eq!((seen(39_999), seen(1), seen(0)), ((2, 2), (1, 1), (0, 0)));
    }

    #[test]
    fn a_life_leaves_nothing_in_the_table() {
        let mut hosts = BareHosts::new(0);
        hosts.life();
        assert_eq!(hosts.hosts[1].records[0].received, 4);
        assert!(hosts.hosts.iter().all(|h| h.places.iter().all(|&p| p == EMPTY)));
    }
}
