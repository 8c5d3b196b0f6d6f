//! Segments as an attacker writes them, and what it reads of the answers.

use super::world::SERVER;
use std::net::IpAddr;

/// Header flags.
pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
}

/// Headers without options.
const HEADERS: usize = 40;

/// An address and port; the address as a number.
pub type End = (u32, u16);

/// A segment to the server.
#[derive(Clone, Copy, Default)]
pub struct Segment<'a> {
    pub from: End,
    pub port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// As on the wire.
    pub window: u16,
    /// A multiple of four bytes.
    pub options: &'a [u8],
    pub payload: &'a [u8],
}

/// Packets one after another in one buffer.
#[derive(Default)]
pub struct Packets {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Packets {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// What `write` appends becomes a packet.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub fn push(&mut self, segment: &Segment<'_>) {
        self.push_with(|out| write(segment, out));
    }
}

fn write(s: &Segment<'_>, out: &mut Vec<u8>) {
    let at = out.len();
    let len = (HEADERS + s.options.len() + s.payload.len()) as u16;
    let IpAddr::V4(server) = SERVER else { return };
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    out.extend_from_slice(&s.from.0.to_be_bytes());
    out.extend_from_slice(&server.octets());
    out.extend_from_slice(&s.from.1.to_be_bytes());
    out.extend_from_slice(&s.port.to_be_bytes());
    out.extend_from_slice(&s.seq.to_be_bytes());
    out.extend_from_slice(&s.ack.to_be_bytes());
    out.extend_from_slice(&[((20 + s.options.len()) as u8 / 4) << 4, s.flags]);
    out.extend_from_slice(&s.window.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(s.options);
    out.extend_from_slice(s.payload);
    let sum = !finack_sum::sum(&out[at..at + 20]);
    out[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    let mut sum = finack_sum::Accumulator::new();
    // The pseudo-header but for its addresses, which stand before the segment.
    sum.add_u16(6);
    sum.add_u16(len - 20);
    sum.add(&out[at + 12..]);
    let sum = !sum.folded();
    out[at + 36..at + 38].copy_from_slice(&sum.to_be_bytes());
}

/// Options of a SYN: segment size, selective acknowledgements, window scale.
pub fn syn_options(mss: u16, scale: u8) -> [u8; 12] {
    let [high, low] = mss.to_be_bytes();
    [2, 4, high, low, 4, 2, 1, 3, 3, scale, 1, 0]
}

/// A SACK option of at most four blocks.
pub fn sack_option(blocks: &[(u32, u32)], out: &mut Vec<u8>) {
    let blocks = &blocks[..blocks.len().min(4)];
    out.clear();
    out.extend_from_slice(&[1, 1, 5, 2 + 8 * blocks.len() as u8]);
    for (start, end) in blocks {
        out.extend_from_slice(&start.to_be_bytes());
        out.extend_from_slice(&end.to_be_bytes());
    }
}

/// What the server sent to somebody.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub to: End,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Bytes of payload.
    pub len: u32,
}

impl Heard {
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (ip, tcp) = packet.split_first_chunk::<20>()?;
        let header = tcp.first_chunk::<20>()?;
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let len = tcp.len().checked_sub(usize::from(header[12] >> 4) * 4)?;
        (ip[9] == 6).then_some(Self {
            to: (u32::from_be_bytes([ip[16], ip[17], ip[18], ip[19]]), half(2)),
            seq: word(4),
            ack: word(8),
            flags: header[13],
            len: len as u32,
        })
    }

    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Behind the last position that it takes.
    pub const fn end(&self) -> u32 {
        let controls = (self.flags & flag::SYN != 0) as u32 + (self.flags & flag::FIN != 0) as u32;
        self.seq.wrapping_add(self.len).wrapping_add(controls)
    }
}

/// xorshift64*: what an attacker draws is the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.roll()) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use finack_sim::packet::{Opt, parse};

    /// A parser that shares nothing with this writer reads what was meant, checksums and all.
    #[test]
    fn what_is_written_is_read_by_another() {
        let mut packets = Packets::default();
        let options = syn_options(1460, 7);
        let segment = Segment {
            from: (0x0a42_0001, 4321),
            port: 80,
            seq: 7,
            ack: 9,
            flags: flag::SYN,
            window: 512,
            options: &options,
            payload: b"abc",
        };
        packets.push(&segment);
        let packet = parse(packets.get(0)).expect("it is well formed");
        let tcp = packet.as_tcp().expect("it is TCP");
        assert_eq!((tcp.sport, tcp.dport, tcp.seq, tcp.ack, tcp.window), (4321, 80, 7, 9, 512));
        assert_eq!((tcp.mss(), tcp.wscale(), tcp.payload.as_slice()), (Some(1460), Some(7), &b"abc"[..]));
        assert!(tcp.options.contains(&Opt::SackOk));
    }
}
