//! Boxes that change each packet by itself.

use core::net::SocketAddr;

use crate::link::{Chance, Dice, Purpose};
use crate::packet::{Body, Opt, Pkt, Tcp, flag};

/// What a box does to the ECN field (RFC 3168 5) or to TCP's ECN flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcnRule {
    /// Not-ECT on every packet.
    Bleach,
    /// ECT(0) where CE was: the mark is lost.
    Unmark,
    /// ECT(1) where ECT(0) was.
    ToEct1,
    /// CE on this share of the packets that are ECN-capable.
    Mark(Chance),
    /// CE on this share of all packets.
    Force(Chance),
    /// No ECE, CWR and AE on any segment.
    ClearFlags,
    /// No ECE, CWR and AE on SYNs: nothing is negotiated.
    ClearSynFlags,
}

/// A box that changes each packet by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mangle {
    /// Takes TCP options of these kinds out.
    Strip(Vec<u8>),
    /// Something about ECN.
    Ecn(EcnRule),
    /// Lowers the MSS option of SYNs to this.
    ClampMss(u16),
    /// Lowers the window field to this.
    ClampWindow(u16),
    /// Moves each direction's sequence numbers by a number of its own.
    Sequence {
        /// SACK blocks are moved too; some boxes forget them.
        sack: bool,
    },
    /// Cuts TCP segments with a larger payload.
    Split(usize),
}

/// The kind of an option.
fn kind(option: &Opt) -> u8 {
    match option {
        Opt::Eol => 0,
        Opt::Nop => 1,
        Opt::Mss(_) => 2,
        Opt::Wscale(_) => 3,
        Opt::SackOk => 4,
        Opt::Sack(_) => 5,
        Opt::Ts { .. } => 8,
        Opt::Other(kind, _) => *kind,
        Opt::Raw(bytes) => bytes.first().copied().unwrap_or(0),
    }
}

impl Mangle {
    /// Changes the packet `index`, counted from 1.
    pub(super) fn pass(&self, dice: Dice, index: u64, mut packet: Pkt, out: &mut Vec<Pkt>) {
        if let Self::Ecn(rule) = self {
            let roll = dice.roll(Purpose::Queue, index);
            rule.apply(roll, &mut packet);
            return out.push(packet);
        }
        let (from, to) = (packet.from(), packet.to());
        if let Body::Tcp(tcp) = &mut packet.body {
            match self {
                Self::Strip(kinds) => tcp.options.retain(|o| !kinds.contains(&kind(o))),
                Self::ClampMss(most) if tcp.has(flag::SYN) => {
                    for option in &mut tcp.options {
                        if let Opt::Mss(mss) = option {
                            *mss = (*mss).min(*most);
                        }
                    }
                }
                Self::ClampWindow(most) => tcp.window = tcp.window.min(*most),
                Self::Sequence { sack } => shift(tcp, offset(dice, from, to), offset(dice, to, from), *sack),
                Self::Split(most) if tcp.payload.len() > *most => return split(&packet, *most, out),
                _ => {}
            }
        }
        out.push(packet);
    }
}

impl EcnRule {
    fn apply(self, roll: u64, packet: &mut Pkt) {
        let tos = &mut packet.ip.tos;
        match (self, *tos & 3) {
            (Self::Bleach, _) => *tos &= !3,
            (Self::Unmark, 3) => *tos = *tos & !3 | 2,
            (Self::ToEct1, 2) => *tos = *tos & !3 | 1,
            (Self::Mark(share), 1..=3) if share.takes(roll) => *tos |= 3,
            (Self::Force(share), _) if share.takes(roll) => *tos |= 3,
            _ => {}
        }
        if let Body::Tcp(tcp) = &mut packet.body
            && (self == Self::ClearFlags || self == Self::ClearSynFlags && tcp.has(flag::SYN))
        {
            tcp.flags &= !(flag::ECE | flag::CWR | flag::AE);
        }
    }
}

/// By how much the sequence numbers of this direction are moved.
fn offset(dice: Dice, from: SocketAddr, to: SocketAddr) -> u32 {
    let number = |end: SocketAddr| match end.ip() {
        core::net::IpAddr::V4(ip) => u64::from(u32::from(ip)) << 16 | u64::from(end.port()),
        core::net::IpAddr::V6(ip) => (u128::from(ip) as u64) << 16 | u64::from(end.port()),
    };
    let both = number(from).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ number(to);
    (dice.roll(Purpose::Queue, both) >> 32) as u32
}

fn shift(tcp: &mut Tcp, mine: u32, theirs: u32, sack: bool) {
    tcp.seq = tcp.seq.wrapping_add(mine);
    if !tcp.has(flag::ACK) {
        return;
    }
    tcp.ack = tcp.ack.wrapping_sub(theirs);
    for option in &mut tcp.options {
        if let (Opt::Sack(blocks), true) = (option, sack) {
            for (left, right) in blocks {
                *left = left.wrapping_sub(theirs);
                *right = right.wrapping_sub(theirs);
            }
        }
    }
}

/// As a segmenting device does: FIN and PSH stay with the last part, the others with the first.
fn split(packet: &Pkt, most: usize, out: &mut Vec<Pkt>) {
    let Body::Tcp(tcp) = &packet.body else { return };
    let count = tcp.payload.len().div_ceil(most.max(1));
    for (i, part) in tcp.payload.chunks(most.max(1)).enumerate() {
        let mut segment = Tcp { payload: part.to_vec(), ..tcp.clone() };
        segment.seq = tcp.seq.wrapping_add((i * most) as u32);
        if i + 1 < count {
            segment.flags &= !(flag::FIN | flag::PSH);
        }
        if i > 0 {
            segment.flags &= !(flag::CWR | flag::SYN);
            segment.seq = segment.seq.wrapping_add(u32::from(tcp.has(flag::SYN)));
        }
        let mut ip = packet.ip.clone();
        ip.id = ip.id.wrapping_add(i as u16);
        out.push(Pkt { ip, body: Body::Tcp(segment) });
    }
}
