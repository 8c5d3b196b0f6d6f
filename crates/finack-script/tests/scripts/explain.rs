//! Why a changed script may pass all the same: the rules, each with what it takes for granted.

use std::collections::BTreeMap;

use finack_script::Script;
use finack_script::ast::{Action, Body as AstBody, Expr, Flags, Packet, TcpOptions};
use finack_sim::packet::{Body, Opt, Pkt, parse};

use super::changes::{Change, Kind};
use super::record::Deed;

/// A rule's name, as the counts show it.
pub(crate) type Rule = &'static str;

/// Changes of an expectation that leave what it says as it is.
pub(crate) fn of_an_expectation(change: &Change, before: &[Deed], after: &[Deed]) -> Option<Rule> {
    let counts_ticks = change.script.options.iter().any(|o| o.name == "tcp_ts_tick_usecs");
    match change.kind {
        Kind::LittleLater => Some("a time within the tolerance"),
        Kind::WiderRange => Some("a time inside the stated range"),
        Kind::StampValue if !counts_ticks => Some("a timestamp's value where no ticks are counted"),
        Kind::Initial => Some("an initial number, which others count from"),
        Kind::NotAnswered => Some("the answer of a call that fails or finds nothing"),
        Kind::Awaited if packets(after) < packets(before) => {
            Some("a packet that nothing waits for, and that does not come")
        }
        Kind::Twice if packets(after) > packets(before) => {
            Some("a packet once more, which indeed comes once more")
        }
        _ => None,
    }
}

fn packets(deeds: &[Deed]) -> usize {
    deeds.iter().filter(|d| matches!(d, Deed::Packet(..))).count()
}

/// What is not compared of two runs.
#[derive(Clone, Copy, Default)]
struct Open {
    times: bool,
    windows: bool,
    stamps: bool,
    numbers: bool,
    answers: bool,
    headers: bool,
    options: bool,
}

/// The initial sequence numbers that the stack chose, by its port and the peer's: they follow the clock.
type Initials = BTreeMap<(u16, u16), u32>;

impl Open {
    /// The deed without it.
    fn hide(self, deed: &Deed, initials: &mut Initials) -> Option<Deed> {
        match deed {
            Deed::Answer(_) if self.answers => None,
            Deed::Answer(_) => Some(deed.clone()),
            Deed::Packet(at, bytes) => {
                let Ok(packet) = parse(bytes) else { return Some(deed.clone()) };
                let hidden = finack_sim::packet::build(&self.hide_in(packet, initials));
                Some(Deed::Packet(if self.times { 0 } else { *at }, hidden))
            }
        }
    }

    fn hide_in(self, mut packet: Pkt, initials: &mut Initials) -> Pkt {
        if self.headers {
            (packet.ip.tos, packet.ip.ttl, packet.ip.id) = (0, 0, 0);
        }
        let tcp = match &mut packet.body {
            Body::Tcp(tcp) => tcp,
            Body::Icmp(message) if self.headers => {
                // It quotes a header that came in.
                message.payload.clear();
                return packet;
            }
            _ => return packet,
        };
        if self.times {
            let ports = (tcp.sport, tcp.dport);
            if tcp.flags & Flags::SYN != 0 {
                initials.insert(ports, tcp.seq);
            }
            tcp.seq = tcp.seq.wrapping_sub(initials.get(&ports).copied().unwrap_or(0));
        }
        if self.windows {
            tcp.window = 0;
        }
        if self.numbers {
            (tcp.ack, tcp.seq) = (0, 0);
        }
        if self.options {
            tcp.options.clear();
        }
        for option in &mut tcp.options {
            match option {
                // Signatures cover the initial numbers.
                Opt::Other(19, digest) if self.times => digest.fill(0),
                Opt::Other(29, rest) if self.times && rest.len() > 2 => rest[2..].fill(0),
                Opt::Ts { val, .. } if self.stamps => *val = 0,
                Opt::Sack(blocks) if self.numbers => blocks.fill((0, 0)),
                _ => {}
            }
        }
        packet
    }

    fn same(self, one: &[Deed], other: &[Deed]) -> bool {
        let hidden = |deeds: &[Deed]| {
            let mut initials = Initials::new();
            let mut out = Vec::new();
            for deed in deeds.iter().filter_map(|d| self.hide(d, &mut initials)) {
                if !out.last_mut().is_some_and(|last| self.times && joined(last, &deed)) {
                    out.push(deed);
                }
            }
            out
        };
        hidden(one) == hidden(other)
    }
}

/// Takes `next` in where it goes on right behind `last`: what the script has as one packet may come as several.
fn joined(last: &mut Deed, next: &Deed) -> bool {
    let (Deed::Packet(_, one), Deed::Packet(_, other)) = (&*last, next) else { return false };
    let (Ok(mut packet), Ok(other)) = (parse(one), parse(other)) else { return false };
    let (Body::Tcp(a), Body::Tcp(b)) = (&mut packet.body, &other.body) else { return false };
    let room = a.payload.len() + b.payload.len() <= 60_000;
    let follows = room
        && a.seq.wrapping_add(a.payload.len() as u32) == b.seq
        && !a.payload.is_empty()
        && !b.payload.is_empty();
    if !follows || (a.sport, a.dport, a.ack) != (b.sport, b.dport, b.ack) {
        return false;
    }
    a.payload.extend_from_slice(&b.payload);
    a.flags |= b.flags;
    *last = Deed::Packet(0, finack_sim::packet::build(&packet));
    true
}

/// Changes of what is done to the stack: the stack answers the same, or differs only where the script leaves it open.
/// Whatever a script states the runner has compared.
pub(crate) fn of_a_deed(script: &Script, change: &Change, before: &[Deed], after: &[Deed]) -> Option<Rule> {
    let times = Open { times: true, stamps: true, ..Open::default() };
    let windows = Open { windows: true, ..times };
    let rules: [(Rule, Open); 4] = [
        ("the stack does the same", Open::default()),
        ("the same at other times, within the tolerance", times),
        ("the same with another window, which the script does not state", windows),
        (
            "the same with another TOS byte, TTL or identification, which the script does not state",
            Open { headers: true, ..windows },
        ),
    ];
    if let Some((rule, _)) = rules.iter().find(|(_, open)| open.same(before, after)) {
        return Some(rule);
    }
    let numbers = Open { numbers: true, headers: true, ..windows };
    if change.kind == Kind::Initial && numbers.same(before, after) {
        return Some("the same from another initial number, which others count from");
    }
    let beneath = script.events.iter().any(|e| match &e.action {
        Action::Packet(Packet { body: AstBody::Tcp(tcp), .. }) => tcp.options == TcpOptions::Any,
        _ => false,
    });
    let options = Open { options: true, ..windows };
    if beneath && options.same(before, after) {
        return Some("the same with other options, beneath <...>");
    }
    let any = |e: &Expr| *e == Expr::Ellipsis;
    let leaves_open = script
        .events
        .iter()
        .any(|e| matches!(&e.action, Action::Call(c) if any(&c.result) || c.args.iter().any(any)));
    let answers = Open { answers: true, headers: true, ..windows };
    (leaves_open && answers.same(before, after))
        .then_some("another answer of a call, which the script leaves open")
}
