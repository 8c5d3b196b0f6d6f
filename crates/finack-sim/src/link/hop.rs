//! One direction of one link.

use core::time::Duration;

use super::{Chance, Loss, Rate};
use crate::queue::Queue;

/// Variation of the delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Jitter {
    /// Each packet takes between nothing and this much longer, all alike likely.
    pub most: Duration,
    /// A packet that took less may overtake one that took more. Else it waits, as in most real networks.
    pub reorders: bool,
}

/// Packets that are held back, so that later ones overtake them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Held {
    /// How many.
    pub share: Chance,
    /// For how long.
    pub by: Duration,
    /// For any time up to `by`, all alike likely, instead of for exactly `by`.
    pub at_most: bool,
}

/// One direction of one link: a queue, a sender of some rate behind it, and a wire of some length that loses, repeats,
/// holds back and damages packets.
///
/// A packet that the wire will lose is taken out before the queue: it takes no room and no time there.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// How fast it sends.
    pub rate: Rate,
    /// Propagation.
    pub delay: Duration,
    /// Variation of that.
    pub jitter: Jitter,
    /// What is lost.
    pub loss: Loss,
    /// What is held back.
    pub reorder: Held,
    /// What arrives twice.
    pub duplicate: Chance,
    /// What arrives with one bit flipped.
    pub corrupt: Chance,
    /// Largest IP packet in bytes; larger ones are dropped and, where the source asked for it, reported.
    pub mtu: usize,
    /// Says nothing about packets that are too big.
    pub black_hole: bool,
    /// Bytes that each packet takes of the rate besides its own: a frame's headers and gaps (38 with Ethernet).
    pub overhead: u32,
    /// What happens to packets that have to wait.
    pub queue: Queue,
}

impl Default for Hop {
    fn default() -> Self {
        Self::new(Duration::ZERO)
    }
}

impl Hop {
    /// A faultless link of unlimited rate.
    #[must_use]
    pub fn new(delay: Duration) -> Self {
        Self {
            rate: Rate::Unlimited,
            delay,
            jitter: Jitter::default(),
            loss: Loss::None,
            reorder: Held::default(),
            duplicate: Chance::NEVER,
            corrupt: Chance::NEVER,
            mtu: 65_535,
            black_hole: false,
            overhead: 0,
            queue: Queue::default(),
        }
    }

    /// Sends `bits` a second.
    #[must_use]
    pub fn rate(self, bits: u64) -> Self {
        Self { rate: Rate::Fixed(bits), ..self }
    }

    /// Loses these.
    #[must_use]
    pub fn loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// Varies the delay by up to this much, and keeps the order.
    #[must_use]
    pub fn jitter(self, most: Duration) -> Self {
        Self { jitter: Jitter { most, reorders: false }, ..self }
    }

    /// Holds this share of the packets back by so much.
    #[must_use]
    pub fn reorder(self, share: Chance, by: Duration) -> Self {
        Self { reorder: Held { share, by, at_most: false }, ..self }
    }

    /// Repeats this share.
    #[must_use]
    pub fn duplicate(self, duplicate: Chance) -> Self {
        Self { duplicate, ..self }
    }

    /// Damages this share.
    #[must_use]
    pub fn corrupt(self, corrupt: Chance) -> Self {
        Self { corrupt, ..self }
    }

    /// Takes packets of at most so many bytes.
    #[must_use]
    pub fn mtu(self, mtu: usize) -> Self {
        Self { mtu, ..self }
    }

    /// Queues so.
    #[must_use]
    pub fn queue(self, queue: Queue) -> Self {
        Self { queue, ..self }
    }

    /// Bytes that fill the link for `time`, of a trace on average; `None` without a limit.
    #[must_use]
    pub fn bytes_in(&self, time: Duration) -> Option<u64> {
        let rate = u128::from(self.rate.bits_per_second()?);
        Some((rate * time.as_nanos() / 8_000_000_000) as u64)
    }
}
