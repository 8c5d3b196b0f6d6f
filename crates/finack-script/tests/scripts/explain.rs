//! Why a changed script may pass all the same: the rules, each with what it takes for granted.

use finack_script::Script;
use finack_script::ast::{Action, Expr};
use finack_sim::packet::{Body, Opt, Pkt, parse};

use super::changes::{Change, Kind};
use super::record::Deed;

/// A rule's name, as the counts show it.
pub(crate) type Rule = &'static str;

/// Changes of an expectation that leave what it says as it is.
pub(crate) fn of_an_expectation(change: &Change) -> Option<Rule> {
    let counts_ticks = change.script.options.iter().any(|o| o.name == "tcp_ts_tick_usecs");
    match change.kind {
        Kind::LittleLater => Some("a time within the tolerance"),
        Kind::WiderRange => Some("a time inside the stated range"),
        Kind::StampValue if !counts_ticks => Some("a timestamp's value where no ticks are counted"),
        Kind::Initial => Some("an initial number, which others count from"),
        _ => None,
    }
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
}

impl Open {
    /// The deed without it.
    fn hide(self, deed: &Deed) -> Option<Deed> {
        match deed {
            Deed::Answer(_) if self.answers => None,
            Deed::Answer(_) => Some(deed.clone()),
            Deed::Packet(at, bytes) => {
                let Ok(packet) = parse(bytes) else { return Some(deed.clone()) };
                let hidden = finack_sim::packet::build(&self.hide_in(packet));
                Some(Deed::Packet(if self.times { 0 } else { *at }, hidden))
            }
        }
    }

    fn hide_in(self, mut packet: Pkt) -> Pkt {
        if self.headers {
            (packet.ip.tos, packet.ip.ttl, packet.ip.id) = (0, 0, 0);
        }
        let Body::Tcp(tcp) = &mut packet.body else { return packet };
        if self.windows {
            tcp.window = 0;
        }
        if self.numbers {
            (tcp.ack, tcp.seq) = (0, 0);
        }
        for option in &mut tcp.options {
            match option {
                Opt::Ts { val, .. } if self.stamps => *val = 0,
                Opt::Sack(blocks) if self.numbers => blocks.fill((0, 0)),
                _ => {}
            }
        }
        packet
    }

    fn same(self, one: &[Deed], other: &[Deed]) -> bool {
        let hidden = |deeds: &[Deed]| deeds.iter().filter_map(|d| self.hide(d)).collect::<Vec<_>>();
        hidden(one) == hidden(other)
    }
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
    let any = |e: &Expr| *e == Expr::Ellipsis;
    let leaves_open = script
        .events
        .iter()
        .any(|e| matches!(&e.action, Action::Call(c) if any(&c.result) || c.args.iter().any(any)));
    let answers = Open { answers: true, headers: true, ..windows };
    (leaves_open && answers.same(before, after))
        .then_some("another answer of a call, which the script leaves open")
}
