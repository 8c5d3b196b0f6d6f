//! Packets that differ in one field.

use super::Kind;
use finack_script::ast::*;

struct Fields<'a> {
    packet: &'a Packet,
    out: Vec<(String, Kind, Packet)>,
}

impl Fields<'_> {
    fn change(&mut self, what: &str, kind: Kind, edit: &dyn Fn(&mut Packet)) {
        let mut changed = self.packet.clone();
        edit(&mut changed);
        if changed != *self.packet {
            self.out.push((what.to_owned(), kind, changed));
        }
    }

    fn stated(&mut self, what: &str, edit: &dyn Fn(&mut Packet)) {
        self.change(what, Kind::Stated, edit);
    }

    fn tcp(&mut self, what: &str, kind: Kind, edit: &dyn Fn(&mut Tcp)) {
        self.change(what, kind, &|p| {
            if let Body::Tcp(tcp) = &mut p.body {
                edit(tcp);
            }
        });
    }

    fn icmp(&mut self, what: &str, edit: &dyn Fn(&mut Icmp)) {
        self.stated(what, &|p| {
            if let Body::Icmp(icmp) = &mut p.body {
                edit(icmp);
            }
        });
    }

    fn udp(&mut self, what: &str, edit: &dyn Fn(&mut Udp)) {
        self.stated(what, &|p| {
            if let Body::Udp(udp) = &mut p.body {
                edit(udp);
            }
        });
    }

    fn header(&mut self) {
        self.stated("TTL", &|p| p.ip.ttl = Some(p.ip.ttl.map_or(63, |t| t ^ 1)));
        self.stated("TOS", &|p| {
            p.ip.tos = Some(Tos::Byte(if p.ip.tos == Some(Tos::Byte(4)) { 8 } else { 4 }));
        });
    }

    fn segment(&mut self, tcp: &Tcp) {
        for (bit, letter) in Flags::LETTERS {
            self.tcp(&format!("flag {letter}"), Kind::Stated, &|t| t.flags.bits ^= bit);
        }
        // The number of a SYN is what its sender's numbers count from.
        let number = if tcp.flags.has(Flags::SYN) { Kind::Initial } else { Kind::Stated };
        self.tcp("sequence number", number, &|t| t.seq.start ^= 1);
        self.tcp("sequence number, far", number, &|t| t.seq.start = t.seq.start.wrapping_add(1000));
        self.tcp("length + 1", Kind::Stated, &|t| t.seq.len += 1);
        self.tcp("length - 1", Kind::Stated, &|t| t.seq.len = t.seq.len.saturating_sub(1));
        self.tcp("ack", Kind::Stated, &|t| t.ack = t.ack.map(|a| a ^ 1));
        self.tcp("ack, far", Kind::Stated, &|t| t.ack = t.ack.map(|a| a.wrapping_add(1000)));
        self.tcp("without ack", Kind::Stated, &|t| t.ack = t.ack.filter(|a| *a == 0));
        self.tcp("window", Kind::Stated, &|t| t.win = t.win.map(|w| w ^ 1));
        self.tcp("window, far", Kind::Stated, &|t| t.win = t.win.map(|w| w / 2));
        self.tcp("urgent pointer", Kind::Stated, &|t| t.urg = Some(t.urg.unwrap_or(0) ^ 1));
        self.tcp("source port", Kind::Stated, &|t| {
            t.ports = t.ports.map(|p| Ports { src: p.src ^ 1, ..p });
        });
        self.tcp("destination port", Kind::Stated, &|t| {
            t.ports = t.ports.map(|p| Ports { dst: p.dst ^ 1, ..p });
        });
        let TcpOptions::List(list) = &tcp.options else { return };
        for at in 0..list.len() {
            for (what, kind, option) in other_options(&list[at]) {
                self.tcp(&format!("option {at}, {what}"), kind, &|t| {
                    if let TcpOptions::List(list) = &mut t.options {
                        list[at] = option.clone();
                    }
                });
            }
            self.tcp(&format!("without option {at}"), Kind::Stated, &|t| without(&mut t.options, at));
            self.tcp(&format!("options {at} and {} swapped", at + 1), Kind::Stated, &|t| {
                if let TcpOptions::List(list) = &mut t.options
                    && at + 1 < list.len()
                {
                    list.swap(at, at + 1);
                }
            });
        }
        self.tcp("another option", Kind::Stated, &|t| added(&mut t.options));
    }

    fn datagram(&mut self) {
        self.udp("length + 1", &|u| u.len += 1);
        self.udp("length - 1", &|u| u.len = u.len.saturating_sub(1));
        self.udp("source port", &|u| u.ports = u.ports.map(|p| Ports { src: p.src ^ 1, ..p }));
        self.udp("destination port", &|u| u.ports = u.ports.map(|p| Ports { dst: p.dst ^ 1, ..p }));
    }

    fn message(&mut self) {
        self.icmp("type", &|i| {
            i.kind = "type_77".into();
            i.code = None;
        });
        self.icmp("code", &|i| i.code = Some("code_77".into()));
        self.icmp("MTU", &|i| i.mtu = i.mtu.map(|m| m + 8));
        self.icmp("identifier", &|i| i.id = i.id.map(|id| id ^ 1));
        self.icmp("what it quotes", &|i| {
            i.quoted = i.quoted.map(|q| match q {
                Quoted::Tcp(seq) => Quoted::Tcp(SeqRange { start: seq.start.wrapping_add(100_000), ..seq }),
                Quoted::Udp(len) => Quoted::Udp(len + 1),
                Quoted::Raw(len) => Quoted::Raw(len + 1),
            });
        });
        self.icmp("how much it quotes", &|i| {
            i.quoted = i.quoted.map(|q| match q {
                Quoted::Tcp(seq) => Quoted::Tcp(SeqRange { len: seq.len + 1, ..seq }),
                other => other,
            });
        });
    }
}

/// The packet with one field changed, for each field that it states and for each change; and what kind of change it is.
pub(crate) fn packet_changes(packet: &Packet) -> Vec<(String, Kind, Packet)> {
    let mut fields = Fields { packet, out: Vec::new() };
    fields.header();
    match &packet.body {
        Body::Tcp(tcp) => fields.segment(tcp),
        Body::Udp(_) => fields.datagram(),
        Body::Icmp(_) => fields.message(),
    }
    fields.out
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}

/// Each number of an option.
fn other_options(option: &TcpOption) -> Vec<(String, Kind, TcpOption)> {
    let one = |option| vec![("value".to_owned(), Kind::Stated, option)];
    match option.clone() {
        TcpOption::Mss(n) => one(TcpOption::Mss(n ^ 1)),
        TcpOption::Wscale(n) => one(TcpOption::Wscale(n ^ 1)),
        TcpOption::Sack(blocks) => {
            let mut out = Vec::new();
            for at in 0..blocks.len() {
                let (mut left, mut right) = (blocks.clone(), blocks.clone());
                left[at].0 ^= 1;
                right[at].1 ^= 1;
                out.push((format!("left edge {at}"), Kind::Stated, TcpOption::Sack(left)));
                out.push((format!("right edge {at}"), Kind::Stated, TcpOption::Sack(right)));
            }
            out
        }
        TcpOption::Ts { val, ecr } => vec![
            ("echo".into(), Kind::Stated, TcpOption::Ts { val, ecr: ecr ^ 1 }),
            ("value".into(), Kind::StampValue, TcpOption::Ts { val: val.wrapping_add(1000), ecr }),
        ],
        TcpOption::FastOpen(cookie) if !cookie.is_empty() => one(TcpOption::FastOpen(flipped(&cookie))),
        TcpOption::FastOpenExperimental(cookie) if !cookie.is_empty() => {
            one(TcpOption::FastOpenExperimental(flipped(&cookie)))
        }
        TcpOption::Kind(kind, data) if !data.is_empty() => vec![
            ("kind".into(), Kind::Stated, TcpOption::Kind(kind ^ 1, data.clone())),
            ("value".into(), Kind::Stated, TcpOption::Kind(kind, flipped(&data))),
        ],
        TcpOption::Md5(digest) => one(TcpOption::Md5(flipped(&digest))),
        TcpOption::Ao { key_id, next, mac } => vec![
            ("KeyID".into(), Kind::Stated, TcpOption::Ao { key_id: key_id ^ 1, next, mac: mac.clone() }),
            ("RNextKeyID".into(), Kind::Stated, TcpOption::Ao { key_id, next: next ^ 1, mac: mac.clone() }),
            ("MAC".into(), Kind::Stated, TcpOption::Ao { key_id, next, mac: flipped(&mac) }),
        ],
        TcpOption::Nop => one(TcpOption::Eol),
        other => one(TcpOption::Kind(200, vec![0; other.len().saturating_sub(2)])),
    }
}

/// Without it, padded to what is allowed.
fn without(options: &mut TcpOptions, at: usize) {
    let TcpOptions::List(list) = options else { return };
    list.remove(at);
    while !list.iter().map(TcpOption::len).sum::<usize>().is_multiple_of(4) {
        list.push(TcpOption::Nop);
    }
}

fn added(options: &mut TcpOptions) {
    let TcpOptions::List(list) = options else { return };
    if list.iter().map(TcpOption::len).sum::<usize>() <= 36 {
        list.extend([TcpOption::Nop, TcpOption::Nop, TcpOption::Nop, TcpOption::Nop]);
    }
}
