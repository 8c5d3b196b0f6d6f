//! Boxes on the way: what stands between two hosts and does more than to forward.
//!
//! A [`Middlebox`] says what a box is; a [`Running`] is one at work. It is handed packets as values and gives back those
//! that go on, changed or not, and those that it sends itself; all their checksums are right. What it can't read (damaged
//! packets, and for a NAT fragments) passes unchanged, but not through a NAT.
//!
//! A box has an inner side and an outer one: the near and the far end of a [`Path`](crate::link::Path).

mod firewall;
mod mangle;
mod merge;
mod nat;
pub(crate) mod text;

use core::time::Duration;

use finack_core::Instant;

pub use firewall::{Answer, Firewall, SynRule};
pub use mangle::{EcnRule, Mangle};
pub use merge::Merge;
pub use nat::Nat;

use crate::link::Dice;
use crate::packet::Pkt;

/// Most flows that a box remembers; where another comes, the one that was quiet for longest is forgotten.
pub const MOST_FLOWS: usize = 16_384;

/// What a box is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Middlebox {
    /// Network address and port translation (IPv4; IPv6 passes).
    Nat {
        /// A mapping ends when nothing has passed for so long (RFC 5382 REQ-5: at least 2 h 4 min for what is established).
        idle: Duration,
        /// The inner port is kept where it is free; else each connection gets another.
        keep_ports: bool,
    },
    /// A stateful firewall.
    Firewall {
        /// It forgets a connection on which nothing has passed for so long.
        idle: Duration,
        /// What it answers to a segment of no connection that it knows.
        answer: Answer,
        /// What it does with SYNs.
        syn: SynRule,
    },
    /// Changes each packet by itself.
    Mangle(Mangle),
    /// Joins neighbouring segments of a stream.
    Merge {
        /// Largest payload that it makes.
        most: usize,
        /// How long it keeps a segment back at most.
        hold: Duration,
    },
}

/// A box at work.
#[derive(Clone, Debug)]
pub enum Running {
    /// See [`Middlebox::Nat`].
    Nat(Nat),
    /// See [`Middlebox::Firewall`].
    Firewall(Firewall),
    /// See [`Middlebox::Mangle`].
    Mangle(Mangle, Dice, u64),
    /// See [`Middlebox::Merge`].
    Merge(Merge),
}

impl Running {
    /// A box. `number` tells the boxes of one seed apart; a NAT's outer address is 100.64.0.0 plus `number` plus one.
    #[must_use]
    pub fn new(spec: &Middlebox, seed: u64, number: u16) -> Self {
        match spec {
            Middlebox::Nat { idle, keep_ports } => {
                let [high, low] = number.wrapping_add(1).to_be_bytes();
                Self::Nat(Nat::new([100, 64, high, low].into(), *idle, *keep_ports))
            }
            Middlebox::Firewall { idle, answer, syn } => Self::Firewall(Firewall::new(*idle, *answer, *syn)),
            Middlebox::Mangle(mangle) => {
                Self::Mangle(mangle.clone(), Dice::new(seed, 1 << 56 | u64::from(number)), 0)
            }
            Middlebox::Merge { most, hold } => Self::Merge(Merge::new(*most, *hold)),
        }
    }

    /// Takes a packet that came from the inner side (`outward`) or from the outer one. What goes on, and what the box
    /// sends itself, is appended to `out`; where each of these goes its destination says.
    pub fn pass(&mut self, now: Instant, outward: bool, packet: Pkt, out: &mut Vec<Pkt>) {
        match self {
            Self::Nat(nat) => nat.pass(now, outward, packet, out),
            Self::Firewall(firewall) => firewall.pass(now, packet, out),
            Self::Mangle(mangle, dice, count) => {
                *count += 1;
                mangle.pass(*dice, *count, packet, out);
            }
            Self::Merge(merge) => merge.pass(now, packet, out),
        }
    }

    /// When [`timeout`](Self::timeout) is to be called next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        match self {
            Self::Merge(merge) => merge.next(),
            _ => None,
        }
    }

    /// What was kept back goes on when its time has come.
    pub fn timeout(&mut self, now: Instant, out: &mut Vec<Pkt>) {
        if let Self::Merge(merge) = self {
            merge.timeout(now, out);
        }
    }

    /// Flows that it remembers.
    #[must_use]
    pub fn flows(&self) -> usize {
        match self {
            Self::Nat(nat) => nat.len(),
            Self::Firewall(firewall) => firewall.len(),
            Self::Mangle(..) | Self::Merge(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
