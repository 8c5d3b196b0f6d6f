//! What happens to a packet on its way.

use core::time::Duration;

use finack_core::Instant;

use super::HostId;
use crate::link::{Chance, Held, Hop, Jitter, Loss, Path, Rate};
use crate::packet::{Body, Icmp, Pkt, build, glance, parse, v4, v6};
use crate::queue::Queue;

/// A link in few words: both directions alike, a plain queue, chances in parts per million. All that a link can be is a
/// [`Hop`] or a [`Path`], and each of these becomes one.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Propagation.
    pub delay: Duration,
    /// Bits per second; unlimited where `None`.
    pub rate: Option<u64>,
    /// Longest wait in the queue in front of `rate`; packets that would wait longer are dropped.
    pub queue: Duration,
    /// Largest IP packet in bytes; larger ones are dropped and, where the source asked for it, reported.
    pub mtu: usize,
    /// Lost.
    pub loss: u32,
    /// Sent twice.
    pub duplicate: u32,
    /// Held back, so that later ones overtake it.
    pub reorder: u32,
    /// One bit flipped.
    pub corrupt: u32,
    /// How long a reordered packet is held back at most.
    pub hold: Duration,
    /// Says nothing about packets that are too big.
    pub black_hole: bool,
}

impl Link {
    /// A faultless link of unlimited rate.
    #[must_use]
    pub const fn new(delay: Duration) -> Self {
        Self {
            delay,
            rate: None,
            queue: Duration::from_millis(200),
            mtu: 65_535,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            corrupt: 0,
            hold: Duration::from_millis(30),
            black_hole: false,
        }
    }
}

impl From<Link> for Hop {
    fn from(link: Link) -> Self {
        let random = |ppm| if ppm == 0 { Loss::None } else { Loss::Random(Chance::ppm(ppm)) };
        Self {
            rate: link.rate.map_or(Rate::Unlimited, Rate::Fixed),
            delay: link.delay,
            jitter: Jitter::default(),
            loss: random(link.loss),
            reorder: Held { share: Chance::ppm(link.reorder), by: link.hold, at_most: true },
            duplicate: Chance::ppm(link.duplicate),
            corrupt: Chance::ppm(link.corrupt),
            mtu: link.mtu,
            black_hole: link.black_hole,
            overhead: 0,
            queue: Queue::time(link.queue),
        }
    }
}

impl From<Link> for Path {
    fn from(link: Link) -> Self {
        Self::new(link.into())
    }
}

/// What the router in front of a link answers to a packet that does not fit.
pub(super) fn too_big(hop: &Hop, bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = glance(bytes).ok()?;
    if hop.black_hole || !packet.ip.df {
        return None;
    }
    let [hi, lo] = (hop.mtu as u16).to_be_bytes();
    let is_v4 = packet.ip.src.is_ipv4();
    let quoted = bytes[..bytes.len().min(if is_v4 { 28 } else { 1200 })].to_vec();
    let (router, kind, code) = if is_v4 { (v4(254), 3, 4) } else { (v6(254), 2, 0) };
    Some(build(&Pkt::icmp(router, packet.ip.src, Icmp { kind, code, rest: [0, 0, hi, lo], payload: quoted })))
}

/// A packet about to enter a link.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The time.
    pub now: Instant,
    /// Its sender.
    pub from: HostId,
    /// Its receiver.
    pub to: HostId,
    /// What it is.
    pub packet: &'a Pkt,
    /// It is the n-th packet of its sender, counted from 1.
    pub index: u64,
    /// It is the n-th packet of the world, counted from 1.
    pub total: u64,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives.
    Pass,
    /// It is lost.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It arrives this much later.
    Delay(Duration),
    /// It arrives with one bit flipped.
    Corrupt,
    /// It arrives with its last byte of data changed and a checksum that fits: no stack can see that.
    Forge,
}

/// Changes a TCP segment's last byte; other packets stay as they are.
pub(super) fn forge(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(mut packet) = parse(&bytes) else { return bytes };
    match &mut packet.body {
        Body::Tcp(tcp) if !tcp.payload.is_empty() => {
            if let Some(last) = tcp.payload.last_mut() {
                *last ^= 0x55;
            }
            build(&packet)
        }
        _ => bytes,
    }
}
