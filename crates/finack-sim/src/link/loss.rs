//! Which packets a link loses.

use std::sync::Arc;

use super::{Chance, Dice, Purpose};

/// Which packets a link loses; they are counted from 1, in the order in which they are offered to it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each with the same probability.
    Random(Chance),
    /// Every n-th: the n-th, the 2n-th and so on. 0 loses none.
    Periodic(u64),
    /// In bursts, after Gilbert and Elliott: a chain of two states takes one step before each packet, beginning in the
    /// good state.
    GilbertElliott {
        /// From the good state to the bad one, at each packet.
        to_bad: Chance,
        /// Back again: a burst lasts 1 / `to_good` packets on average.
        to_good: Chance,
        /// A packet is lost in the bad state.
        in_bad: Chance,
        /// A packet is lost in the good state.
        in_good: Chance,
    },
    /// Exactly these, in ascending order.
    List(Arc<[u64]>),
}

impl Loss {
    /// Bursts that lose `share` of all packets in the long run, `burst` packets (at least 1) at a time on average: a
    /// Gilbert-Elliott model that loses everything in the bad state and nothing in the good one.
    #[must_use]
    pub fn bursts(share: Chance, burst: u32) -> Self {
        let p = f64::from(share.as_ppm()) / 1e6;
        let back = 1.0 / f64::from(burst.max(1));
        let there = if p >= 1.0 { 1.0 } else { (p * back / (1.0 - p)).min(1.0) };
        Self::GilbertElliott {
            to_bad: Chance::percent(there * 100.0),
            to_good: Chance::percent(if p >= 1.0 { 0.0 } else { back * 100.0 }),
            in_bad: Chance::ALWAYS,
            in_good: Chance::NEVER,
        }
    }

    /// These packets, in any order.
    #[must_use]
    pub fn list(packets: impl IntoIterator<Item = u64>) -> Self {
        let mut packets: Vec<u64> = packets.into_iter().collect();
        packets.sort_unstable();
        packets.dedup();
        Self::List(packets.into())
    }

    /// The share that is lost in the long run, 0 to 1; of a list none.
    #[must_use]
    pub fn share(&self) -> f64 {
        let of = |c: Chance| f64::from(c.as_ppm()) / 1e6;
        match self {
            Self::None | Self::Periodic(0) | Self::List(_) => 0.0,
            Self::Random(chance) => of(*chance),
            Self::Periodic(every) => 1.0 / *every as f64,
            Self::GilbertElliott { to_bad, to_good, in_bad, in_good } => {
                let moves = of(*to_bad) + of(*to_good);
                let bad = if moves == 0.0 { 0.0 } else { of(*to_bad) / moves };
                bad * of(*in_bad) + (1.0 - bad) * of(*in_good)
            }
        }
    }
}

/// A loss model at work: asked about each packet in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossState {
    /// A Gilbert-Elliott model is in the bad state.
    bad: bool,
    /// Entries of a list that are behind us.
    passed: usize,
}

impl LossState {
    /// Whether the packet `index` is lost. Must be asked about every packet, in order: which are lost is then a pure
    /// function of the model and the dice.
    pub fn loses(&mut self, loss: &Loss, dice: Dice, index: u64) -> bool {
        match loss {
            Loss::None => false,
            Loss::Random(chance) => chance.takes(dice.roll(Purpose::Loss, index)),
            Loss::Periodic(every) => *every != 0 && index.is_multiple_of(*every),
            Loss::GilbertElliott { to_bad, to_good, in_bad, in_good } => {
                let leaves = if self.bad { to_good } else { to_bad };
                self.bad ^= leaves.takes(dice.roll(Purpose::State, index));
                let chance = if self.bad { in_bad } else { in_good };
                chance.takes(dice.roll(Purpose::Loss, index))
            }
            Loss::List(packets) => {
                while packets.get(self.passed).is_some_and(|&p| p < index) {
                    self.passed += 1;
                }
                packets.get(self.passed) == Some(&index)
            }
        }
    }
}
