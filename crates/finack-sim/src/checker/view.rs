//! A packet as the checker reads it: nothing is copied, and only what has a right checksum is believed.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::packet::proto;

/// A TCP segment, as far as the checker looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seg<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u16,
    pub(super) window: u16,
    pub(super) mss: Option<u16>,
    pub(super) wscale: Option<u8>,
    pub(super) sack_ok: bool,
    pub(super) ts: Option<(u32, u32)>,
    pub(super) sacks: [(u32, u32); 4],
    pub(super) sack_count: usize,
    pub(super) options_len: usize,
    pub(super) payload: &'a [u8],
    /// The ECN field of the IP header.
    pub(super) ecn: u8,
    /// Bytes of the whole IP packet.
    pub(super) ip_len: usize,
}

impl Seg<'_> {
    pub(super) const fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    pub(super) fn sack(&self) -> &[(u32, u32)] {
        &self.sacks[..self.sack_count]
    }
}

/// What a packet is to the checker.
#[derive(Clone, Copy, Debug)]
pub(super) enum View<'a> {
    Tcp(Seg<'a>),
    /// A piece of an IP packet with TCP in it, between these two.
    Fragment(IpAddr, IpAddr),
    /// Nothing that is looked at: another protocol, or damaged.
    Other,
}

fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn be32(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// The sum of 16-bit words in one's complement, folded (RFC 1071), four bytes at a time.
fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0_u64;
    let mut words = bytes.chunks_exact(4);
    for w in words.by_ref() {
        total += u64::from(u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
    }
    let rest = words.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    fold(total + u64::from(u32::from_be_bytes(last)))
}

fn fold(mut total: u64) -> u64 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total
}

/// Takes a packet apart; one whose lengths or checksums are wrong is `Other`.
pub(super) fn view(b: &[u8]) -> View<'_> {
    match b.first().map(|b| b >> 4) {
        Some(4) if b.len() >= 20 => view_v4(b),
        Some(6) if b.len() >= 40 => view_v6(b),
        _ => View::Other,
    }
}

fn view_v4(b: &[u8]) -> View<'_> {
    let (header, total) = (usize::from(b[0] & 15) * 4, usize::from(be16(b, 2)));
    if header < 20 || total < header || total > b.len() || sum(&b[..header]) != 0xffff {
        return View::Other;
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]));
    let (src, dst) = (address(12), address(16));
    if b[9] != proto::TCP {
        return View::Other;
    }
    if be16(b, 6) & 0x3fff != 0 {
        return View::Fragment(src, dst);
    }
    tcp((src, dst), &b[header..total], total, sum(&b[12..20]), b[1] & 3)
}

fn view_v6(b: &[u8]) -> View<'_> {
    let total = usize::from(be16(b, 4)) + 40;
    if total > b.len() {
        return View::Other;
    }
    let address = |at: usize| IpAddr::V6(Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|i| b[at + i])));
    let (src, dst) = (address(8), address(24));
    match b[6] {
        proto::TCP => tcp((src, dst), &b[40..total], total, sum(&b[8..40]), b[1] >> 4 & 3),
        proto::FRAGMENT if b.get(40) == Some(&proto::TCP) => View::Fragment(src, dst),
        _ => View::Other,
    }
}

fn tcp((src, dst): (IpAddr, IpAddr), b: &[u8], ip_len: usize, addresses: u64, ecn: u8) -> View<'_> {
    if b.len() < 20 {
        return View::Other;
    }
    let header = usize::from(b[12] >> 4) * 4;
    let checksum = fold(addresses + u64::from(proto::TCP) + b.len() as u64 + sum(b));
    if header < 20 || header > b.len() || checksum != 0xffff {
        return View::Other;
    }
    let mut seg = Seg {
        from: SocketAddr::new(src, be16(b, 0)),
        to: SocketAddr::new(dst, be16(b, 2)),
        seq: be32(b, 4),
        ack: be32(b, 8),
        flags: be16(b, 12) & 0x1ff,
        window: be16(b, 14),
        mss: None,
        wscale: None,
        sack_ok: false,
        ts: None,
        sacks: [(0, 0); 4],
        sack_count: 0,
        options_len: header - 20,
        payload: &b[header..],
        ecn,
        ip_len,
    };
    options(&b[20..header], &mut seg);
    View::Tcp(seg)
}

/// Reads options until one makes no sense.
fn options(mut b: &[u8], seg: &mut Seg<'_>) {
    while let [kind, rest @ ..] = b {
        match (kind, rest.first()) {
            (0, _) => return,
            (1, _) => b = rest,
            (_, Some(&len)) if len >= 2 && usize::from(len) <= b.len() => {
                option(*kind, &b[2..usize::from(len)], seg);
                b = &b[usize::from(len)..];
            }
            _ => return,
        }
    }
}

fn option(kind: u8, data: &[u8], seg: &mut Seg<'_>) {
    match (kind, data.len()) {
        (2, 2) => seg.mss = Some(be16(data, 0)),
        // RFC 7323 2.3: a greater shift counts as 14.
        (3, 1) => seg.wscale = Some(data[0].min(14)),
        (4, 0) => seg.sack_ok = true,
        (5, 8 | 16 | 24 | 32) => {
            seg.sack_count = data.len() / 8;
            for (i, block) in data.chunks_exact(8).enumerate() {
                seg.sacks[i] = (be32(block, 0), be32(block, 4));
            }
        }
        (8, 8) => seg.ts = Some((be32(data, 0), be32(data, 4))),
        _ => {}
    }
}
