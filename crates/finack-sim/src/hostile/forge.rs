//! What the attacker sends.

use core::net::SocketAddr;

use super::{Attack, Seen, addresses, apps};
use crate::packet::{Body, Icmp, Ip, Opt, Pkt, Tcp, build, flag, proto, v4, v6};

impl Attack {
    pub(super) fn forge(&mut self) -> Vec<u8> {
        let packet = match self.rng.below(100) {
            0..=79 => self.tcp(),
            80..=85 => self.udp(),
            86..=91 => self.icmp(),
            92..=96 => return self.fragment(),
            _ => return self.noise(),
        };
        let mut bytes = build(&packet);
        if self.rng.one_in(12) {
            self.mutate(&mut bytes);
        }
        bytes
    }

    fn tuple(&mut self) -> (SocketAddr, SocketAddr, Seen) {
        if !self.seen.is_empty() && !self.rng.one_in(5) {
            let at = self.rng.below(self.seen.len() as u64) as usize;
            if let Some((&(local, remote), &seen)) = self.seen.iter().nth(at) {
                return (local, remote, seen);
            }
        }
        let v6_flow = self.rng.one_in(4);
        let local_ip = if self.rng.one_in(30) {
            *self.rng.pick(&addresses(v6_flow))
        } else if v6_flow {
            v6(1)
        } else {
            v4(1)
        };
        let remote_ip = addresses(v6_flow)[if self.rng.one_in(30) { self.rng.below(6) as usize } else { 0 }];
        let local = SocketAddr::new(local_ip, *self.rng.pick(&apps::PORTS));
        let remote = SocketAddr::new(remote_ip, 1024 + self.rng.below(200) as u16);
        (local, remote, Seen::default())
    }

    /// `base`, or a number near or far from it.
    fn near(&mut self, base: u32) -> u32 {
        let shift = match self.rng.below(20) {
            0..=11 => 0,
            12 => 1,
            13 => u32::MAX,
            14 => self.rng.below(3000) as u32,
            15 => (self.rng.below(3000) as u32).wrapping_neg(),
            16 => self.rng.below(70_000) as u32,
            17 => (self.rng.below(70_000) as u32).wrapping_neg(),
            18 => 1 << 31,
            _ => self.rng.next_u32(),
        };
        base.wrapping_add(shift)
    }

    fn flags(&mut self) -> u16 {
        const USUAL: [u16; 14] = [
            flag::ACK,
            flag::ACK,
            flag::ACK,
            flag::ACK | flag::PSH,
            flag::ACK | flag::PSH,
            flag::ACK | flag::FIN,
            flag::SYN,
            flag::SYN,
            flag::SYN | flag::ACK,
            flag::RST,
            flag::RST | flag::ACK,
            flag::ACK | flag::URG,
            flag::FIN,
            0,
        ];
        if self.rng.one_in(20) { self.rng.next_u32() as u16 & 0x1ff } else { *self.rng.pick(&USUAL) }
    }

    fn tcp(&mut self) -> Pkt {
        const WINDOWS: [u16; 6] = [0, 1, 10, 1000, 40_000, 65_535];
        const LENGTHS: [usize; 8] = [0, 0, 0, 1, 10, 500, 1460, 3000];
        let (local, remote, seen) = self.tuple();
        let flags = self.flags();
        let ack = match self.rng.below(50) {
            0 => self.rng.next_u32(),
            // A FIN that leaves ours unacknowledged: the way into CLOSING.
            1..=12 if flags & flag::FIN != 0 => seen.seq.wrapping_sub(1),
            _ => self.near(seen.seq),
        };
        let tcp = Tcp {
            seq: self.near(seen.ack),
            ack,
            flags,
            window: if self.rng.one_in(8) { self.rng.next_u32() as u16 } else { *self.rng.pick(&WINDOWS) },
            urgent: if flags & flag::URG == 0 { 0 } else { self.rng.below(3000) as u16 },
            options: self.options(seen),
            payload: vec![self.rng.next_u32() as u8; *self.rng.pick(&LENGTHS)],
            ..Tcp::default()
        };
        let mut packet = Pkt::tcp(remote, local, tcp);
        packet.ip.tos = self.rng.next_u32() as u8;
        packet
    }

    fn options(&mut self, seen: Seen) -> Vec<Opt> {
        let mut out = Vec::new();
        let mut room = 40;
        while self.rng.one_in(2) {
            let (option, len) = match self.rng.below(9) {
                0 => (Opt::Mss(self.rng.next_u32() as u16), 4),
                1 => (Opt::Wscale(self.rng.below(20) as u8), 3),
                2 => (Opt::SackOk, 2),
                3..=5 => (Opt::Ts { val: self.near(seen.echoed), ecr: self.near(seen.ts) }, 10),
                6 => {
                    let blocks: Vec<(u32, u32)> = (0..1 + self.rng.below(4))
                        .map(|_| (self.near(seen.seq), self.near(seen.seq)))
                        .collect();
                    let len = 2 + 8 * blocks.len();
                    (Opt::Sack(blocks), len)
                }
                7 => (Opt::Nop, 1),
                _ => {
                    let len = 1 + self.rng.below(8) as usize;
                    (Opt::Raw((0..len).map(|_| self.rng.next_u32() as u8).collect()), len)
                }
            };
            if len > room {
                break;
            }
            room -= len;
            out.push(option);
        }
        out
    }

    fn udp(&mut self) -> Pkt {
        let (local, remote, _) = self.tuple();
        let local = SocketAddr::new(local.ip(), *self.rng.pick(&apps::PORTS));
        let len = self.rng.below(3000) as usize;
        Pkt::udp(remote, local, &vec![7; len])
    }

    fn icmp(&mut self) -> Pkt {
        let (local, remote, seen) = self.tuple();
        let v6_flow = local.is_ipv6();
        let (kind, code) = if self.rng.one_in(4) {
            (self.rng.next_u32() as u8, self.rng.below(20) as u8)
        } else if v6_flow {
            *self.rng.pick(&[(1, 0), (1, 3), (1, 4), (2, 0), (3, 0), (4, 1), (128, 0)])
        } else {
            *self.rng.pick(&[
                (3, 0),
                (3, 1),
                (3, 2),
                (3, 3),
                (3, 4),
                (4, 0),
                (5, 0),
                (8, 0),
                (11, 0),
                (12, 0),
            ])
        };
        let quoted = if self.rng.one_in(5) {
            Pkt::udp(local, remote, b"hello")
        } else {
            Pkt::tcp(local, remote, Tcp { seq: self.near(seen.seq), flags: flag::ACK, ..Tcp::default() })
        };
        let mut payload = build(&quoted);
        if self.rng.one_in(5) {
            payload.truncate(self.rng.below(payload.len() as u64 + 1) as usize);
        }
        if self.rng.one_in(5) {
            self.mutate(&mut payload);
        }
        let rest = [0, 0, self.rng.below(8) as u8, self.rng.next_u32() as u8];
        let from = if v6_flow { v6(9) } else { v4(9) };
        let to = if v6_flow { v6(1) } else { v4(1) };
        Pkt::icmp(from, to, Icmp { kind, code, rest, payload })
    }

    /// A piece of a packet, with the wrong neighbours or none.
    fn fragment(&mut self) -> Vec<u8> {
        let whole = if self.rng.one_in(2) { self.tcp() } else { self.udp() };
        let v6_packet = whole.ip.src.is_ipv6();
        let bytes = build(&whole);
        let upper = &bytes[if v6_packet { 40 } else { 20 }..];
        let from = self.rng.below(upper.len() as u64) as usize & !7;
        let to = upper.len().min(from + 8 * (1 + self.rng.below(200) as usize));
        let place = match self.rng.below(6) {
            0 => self.rng.next_u32() as u16 & 0x1fff,
            1 => (from / 8) as u16 + 1,
            _ => (from / 8) as u16,
        };
        let more = u16::from(if self.rng.one_in(6) { self.rng.one_in(2) } else { to < upper.len() });
        let id = self.rng.below(20) as u16;
        let piece = &upper[from..to];
        let protocol = if matches!(whole.body, Body::Tcp(_)) { proto::TCP } else { proto::UDP };
        if v6_packet {
            let mut payload = vec![protocol, 0];
            payload.extend_from_slice(&(place << 3 | more).to_be_bytes());
            payload.extend_from_slice(&u32::from(id).to_be_bytes());
            payload.extend_from_slice(piece);
            return build(&Pkt { ip: whole.ip, body: Body::Other { protocol: proto::FRAGMENT, payload } });
        }
        let ip = Ip { id, df: false, ..whole.ip };
        let mut out = build(&Pkt { ip, body: Body::Other { protocol, payload: piece.to_vec() } });
        out[6..8].copy_from_slice(&(more << 13 | place).to_be_bytes());
        fix_header(&mut out);
        out
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = self.rng.below(200) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| self.rng.next_u32() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = *self.rng.pick(&[0x45, 0x46, 0x60, 0x00, 0xff]);
        }
        bytes
    }

    /// Flips bits, cuts or lengthens; the IPv4 header checksum is then made right half of the time.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.rng.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.rng.below(bytes.len().min(80) as u64) as usize;
            match self.rng.below(4) {
                0 => bytes[at] = self.rng.next_u32() as u8,
                1 => bytes[at] ^= 1 << self.rng.below(8),
                2 => bytes.truncate(self.rng.below(bytes.len() as u64 + 1) as usize),
                _ => bytes.extend_from_slice(&[0xaa; 9]),
            }
        }
        if self.rng.one_in(2) {
            fix_header(bytes);
        }
    }
}

/// Makes the checksum of an IPv4 header right, where there is one.
fn fix_header(bytes: &mut [u8]) {
    let header = usize::from(bytes.first().copied().unwrap_or(0) & 15) * 4;
    if header < 20 || header > bytes.len() || bytes[0] >> 4 != 4 {
        return;
    }
    bytes[10..12].copy_from_slice(&[0, 0]);
    let mut sum: u32 = bytes[..header].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
