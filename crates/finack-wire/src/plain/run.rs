//! Packets that go on where a plain one ended, as they come when somebody sends a lot: recognized by what they have in common
//! with it, which is nearly all.

use super::{Ahead, Plain, TIMESTAMPS_HEAD, TIMESTAMPS_LEN, are_ones, words};
use crate::tcp::{self, Flags};
use crate::{ipv4, ipv6, protocol};

/// What begins with a [`Plain`] segment: each packet of it begins in the stream where the one before ends, and differs from it
/// in nothing else but its length, its data, PSH, the value of its timestamp, and what nobody looks at: identification, DF, hop
/// limit and urgent pointer.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    first: First,
    /// Whose SEG.SEQ the next one has.
    seq: u32,
    /// TSecr, where there are timestamps.
    echo: Option<u32>,
    /// Addresses and protocol as words of 32 bits, added up.
    ends: u64,
}

/// The headers of the first packet, in words, as far as there is something in them that must be the same.
#[derive(Clone, Copy, Debug)]
enum First {
    V4([u64; V4_WORDS]),
    V6([u64; V6_WORDS]),
}

const V4_WORDS: usize = (ipv4::HEADER_LEN + tcp::HEADER_LEN) / 8;
/// Checksum and urgent pointer stand behind them.
const V6_WORDS: usize = (ipv6::HEADER_LEN + 16) / 8;

/// Which bits of them must be the same: version, length of the header, TOS, and that it is no fragment; protocol and
/// addresses; ports, sequence and acknowledgment numbers, length of the header, flags but PSH, and window.
const V4_MASKS: [u64; V4_WORDS] = [
    mask([0xff, 0xff, 0, 0, 0, 0, 0x3f, 0xff]),
    mask([0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    u64::MAX,
    u64::MAX,
    mask([0xff, !PSH, 0xff, 0xff, 0, 0, 0, 0]),
];
/// Version, traffic class and flow label; protocol; the rest as above.
const V6_MASKS: [u64; V6_WORDS] = [
    mask([0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0]),
    u64::MAX,
    u64::MAX,
    u64::MAX,
    u64::MAX,
    u64::MAX,
    mask([0xff, 0xff, 0xff, 0xff, 0xff, !PSH, 0xff, 0xff]),
];
const PSH: u8 = Flags::PSH.0 as u8;

const fn mask(bytes: [u8; 8]) -> u64 {
    u64::from_ne_bytes(bytes)
}

/// The next packet of a [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next<'a> {
    /// The data.
    pub payload: &'a [u8],
    /// Whether PSH is set.
    pub psh: bool,
    /// TSval, where there are timestamps.
    pub value: Option<u32>,
    /// What its checksum covers in front of the data.
    pub ahead: Ahead,
}

impl Run {
    /// What `plain` begins, which was read from `packet`; nothing where it has a FIN.
    #[inline]
    #[must_use]
    pub fn behind(plain: &Plain<'_>, packet: &[u8]) -> Option<Self> {
        if plain.fin {
            return None;
        }
        let (first, ends) = if plain.src.is_ipv4() {
            let h = packet.first_chunk::<{ V4_WORDS * 8 }>()?;
            (First::V4(long_words(h)), words(h.get(12..)?.first_chunk::<8>()?))
        } else {
            let h = packet.first_chunk::<{ V6_WORDS * 8 }>()?;
            (First::V6(long_words(h)), words(h.get(8..)?.first_chunk::<32>()?))
        };
        let ends = ends + u64::from(u16::from(protocol::TCP).to_be());
        let mut run = Self { first, ends, seq: plain.seq, echo: plain.timestamps.map(|(_, echo)| echo) };
        run.pass(plain.payload().len());
        Some(run)
    }

    /// The next packet begins so many bytes later.
    #[inline(always)]
    fn pass(&mut self, len: usize) {
        // No packet is longer than 16 bits say.
        self.seq = self.seq.wrapping_add(len as u32);
        let [a, b, c, d] = self.seq.to_be_bytes();
        match &mut self.first {
            First::V4(first) => {
                let [.., e, f, g, h] = first[3].to_ne_bytes();
                first[3] = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            }
            First::V6(first) => {
                let [e, f, g, h, ..] = first[5].to_ne_bytes();
                first[5] = u64::from_ne_bytes([e, f, g, h, a, b, c, d]);
            }
        }
    }

    /// Reads a packet if it is the next of the run, which then goes on behind it; `None` where it is anything else, or where
    /// anything about its IP header is wrong, its checksum included. The TCP checksum is not looked at: see [`Next::ahead`].
    ///
    /// What it answers is what [`Plain::parse`] says of the same packet.
    #[inline(always)]
    pub fn next<'a>(&mut self, packet: &'a [u8]) -> Option<Next<'a>> {
        let segment = match &self.first {
            First::V4(first) => {
                let h = packet.first_chunk::<{ V4_WORDS * 8 }>()?;
                let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
                let sound = are_ones(words(h.first_chunk::<{ ipv4::HEADER_LEN }>()?));
                if !sound || differ(first, &long_words(h), &V4_MASKS) {
                    return None;
                }
                packet.get(ipv4::HEADER_LEN..total)?
            }
            First::V6(first) => {
                let h = packet.first_chunk::<{ V6_WORDS * 8 }>()?;
                let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
                if differ(first, &long_words(h), &V6_MASKS) {
                    return None;
                }
                packet.get(ipv6::HEADER_LEN..ipv6::HEADER_LEN + len)?
            }
        };
        let h = segment.first_chunk::<{ tcp::HEADER_LEN }>()?;
        let rest = segment.get(tcp::HEADER_LEN..)?;
        let mut ahead = self.ends + u64::from((segment.len() as u16).to_be()) + words(h);
        let mut next = Next { payload: rest, psh: h[13] & PSH != 0, value: None, ahead: Ahead(ahead) };
        if let Some(echo) = self.echo {
            let options = rest.first_chunk::<TIMESTAMPS_LEN>()?;
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *options;
            if [a, b, c, d] != TIMESTAMPS_HEAD || [i, j, k, l] != echo.to_be_bytes() {
                return None;
            }
            ahead += words(options);
            let payload = rest.get(TIMESTAMPS_LEN..)?;
            next =
                Next { payload, value: Some(u32::from_be_bytes([e, f, g, h])), ahead: Ahead(ahead), ..next };
        }
        self.pass(next.payload.len());
        Some(next)
    }
}

/// Whether any bit is another that must be the same.
#[inline(always)]
fn differ<const N: usize>(a: &[u64; N], b: &[u64; N], masks: &[u64; N]) -> bool {
    a.iter().zip(b).zip(masks).fold(0, |all, ((a, b), mask)| all | (a ^ b) & mask) != 0
}

/// Words of 64 bits in the processor's order of bytes.
#[inline(always)]
fn long_words<const N: usize, const B: usize>(bytes: &[u8; B]) -> [u64; N] {
    let (words, _) = bytes.as_chunks::<8>();
    core::array::from_fn(|i| words.get(i).map_or(0, |&word| u64::from_ne_bytes(word)))
}
