//! A stateful firewall: it lets pass what belongs to connections that it saw opening.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use finack_core::Instant;

use super::MOST_FLOWS;
use crate::packet::{Body, Icmp, Pkt, Tcp, build, flag};

/// What it does about a segment that it does not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Answer {
    /// Nothing: it is dropped.
    #[default]
    Silence,
    /// A RST to its sender, in the name of its receiver.
    Rst,
    /// An ICMP error to its sender: communication administratively prohibited (RFC 1812 5.2.7.1, RFC 4443 3.1).
    Icmp,
}

/// What it does about a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SynRule {
    /// It passes, and the connection is known.
    #[default]
    Pass,
    /// It does not pass; the answer is the one to all that does not pass.
    Refuse,
    /// The first SYN of each connection is dropped without an answer; the next one passes.
    LoseFirst,
}

type Key = (SocketAddr, SocketAddr);

#[derive(Clone, Copy, Debug)]
struct Known {
    used: Instant,
    /// Its first SYN was dropped, and no other has come.
    waiting: bool,
}

/// A firewall at work.
#[derive(Clone, Debug)]
pub struct Firewall {
    idle: Duration,
    answer: Answer,
    syn: SynRule,
    flows: BTreeMap<Key, Known>,
}

impl Firewall {
    /// A firewall that knows no connection yet.
    #[must_use]
    pub const fn new(idle: Duration, answer: Answer, syn: SynRule) -> Self {
        Self { idle, answer, syn, flows: BTreeMap::new() }
    }

    /// Connections that it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub(super) fn pass(&mut self, now: Instant, packet: Pkt, out: &mut Vec<Pkt>) {
        let Body::Tcp(tcp) = &packet.body else { return out.push(packet) };
        let (from, to) = (packet.from(), packet.to());
        let key = (from.min(to), from.max(to));
        let known = self.flows.get(&key).copied().filter(|known| now.since(known.used) <= self.idle);
        let passes = match known {
            Some(known) if !known.waiting => true,
            Some(_) => tcp.has(flag::SYN),
            None if tcp.flags & (flag::SYN | flag::ACK) != flag::SYN => false,
            None => match self.syn {
                SynRule::Pass => true,
                SynRule::Refuse => false,
                SynRule::LoseFirst => {
                    self.note(key, Known { used: now, waiting: true });
                    return;
                }
            },
        };
        if passes {
            self.note(key, Known { used: now, waiting: false });
            out.push(packet);
        } else {
            self.flows.remove(&key);
            out.extend(answer_to(&packet, tcp, self.answer));
        }
    }

    fn note(&mut self, key: Key, known: Known) {
        if self.flows.len() >= MOST_FLOWS
            && !self.flows.contains_key(&key)
            && let Some(oldest) = self.flows.iter().min_by_key(|(_, k)| k.used).map(|(key, _)| *key)
        {
            self.flows.remove(&oldest);
        }
        self.flows.insert(key, known);
    }
}

/// What a firewall or a router answers to a segment that it stops. Nobody answers a RST.
fn answer_to(packet: &Pkt, tcp: &Tcp, answer: Answer) -> Option<Pkt> {
    if tcp.has(flag::RST) {
        return None;
    }
    match answer {
        Answer::Silence => None,
        Answer::Rst => {
            let (seq, ack, flags) = if tcp.has(flag::ACK) {
                (tcp.ack, 0, flag::RST)
            } else {
                (0, tcp.seq.wrapping_add(tcp.seq_len()), flag::RST | flag::ACK)
            };
            let reset = Tcp { seq, ack, flags, ..Tcp::default() };
            Some(Pkt::tcp(packet.to(), packet.from(), reset))
        }
        Answer::Icmp => {
            let mut quoted = build(packet);
            let (kind, code, most) = if packet.ip.src.is_ipv4() { (3, 13, 548) } else { (1, 1, 1232) };
            quoted.truncate(most);
            let error = Icmp { kind, code, rest: [0; 4], payload: quoted };
            Some(Pkt::icmp(packet.ip.dst, packet.ip.src, error))
        }
    }
}
