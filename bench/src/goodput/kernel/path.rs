//! One direction of a link, as a calculation: when does a packet come out at the other end, if it does?
//!
//! A packet that finds room in the queue leaves it when all before it have, at the link's rate, and then travels for the
//! delay. Whether one is lost or held up on its way depends on the seed and on its place in the order of packets alone, so
//! that hosts that send the same packets lose the same ones.

use std::time::Duration;

/// What happens to packets on their way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    None,
    /// Each packet for itself, with this chance.
    Random(f64),
    /// This share of all packets, in runs of this mean length (Gilbert's model).
    Bursty(f64, f64),
}

/// One direction of a link.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bits a second.
    pub rate: f64,
    /// On the way, once sent.
    pub delay: Duration,
    /// Room for what waits, in bytes; a packet that does not fit whole is dropped.
    pub queue: u64,
    pub loss: Loss,
    /// With this chance a packet is on its way for so much longer, and others overtake it.
    pub reorder: Option<(f64, Duration)>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at this time, in nanoseconds of the caller's clock.
    Arrives(u64),
    /// The queue was full.
    Dropped,
    /// It was sent and never arrives.
    Lost,
}

/// A [`Shape`] with what it has carried so far.
#[derive(Clone, Debug)]
pub struct Path {
    shape: Shape,
    seed: u64,
    /// Packets so far.
    index: u64,
    /// When all that was taken will have been sent, in nanoseconds.
    free_at: u64,
    /// Gilbert's model is in its bad state.
    bad: bool,
}

impl Path {
    pub const fn new(shape: Shape, seed: u64) -> Self {
        Self { shape, seed, index: 0, free_at: 0, bad: false }
    }

    /// A packet of `len` bytes enters at `now`.
    pub fn enter(&mut self, now: u64, len: usize) -> Fate {
        let index = self.index;
        self.index += 1;
        let lost = self.loses(index);
        let begins = self.free_at.max(now);
        let waiting = (begins - now) as f64 * self.shape.rate / 8e9;
        // What is being sent has left the queue: one packet always fits an idle link.
        if begins > now && waiting + len as f64 > self.shape.queue as f64 {
            return Fate::Dropped;
        }
        self.free_at = begins + (len as f64 * 8e9 / self.shape.rate) as u64;
        if lost {
            return Fate::Lost;
        }
        let mut at = self.free_at + nanos(self.shape.delay);
        if let Some((chance, more)) = self.shape.reorder
            && self.draw(index, 1) < chance
        {
            at += nanos(more);
        }
        Fate::Arrives(at)
    }

    fn loses(&mut self, index: u64) -> bool {
        match self.shape.loss {
            Loss::None => false,
            Loss::Random(chance) => self.draw(index, 0) < chance,
            Loss::Bursty(share, length) => {
                let leave = 1.0 / length;
                let enter = share / (length * (1.0 - share));
                self.bad = if self.bad { self.draw(index, 0) >= leave } else { self.draw(index, 0) < enter };
                self.bad
            }
        }
    }

    /// A number from 0 up to 1, of this packet's and this purpose's own.
    fn draw(&self, index: u64, purpose: u64) -> f64 {
        let mixed = mix(mix(self.seed ^ purpose.wrapping_mul(0xa076_1d64_78bd_642f)) ^ index);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// SplitMix64's step: each bit of what comes out depends on each of what goes in.
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(loss: Loss) -> Shape {
        Shape { rate: 8e6, delay: Duration::from_millis(10), queue: 3000, loss, reorder: None }
    }

    /// 1,000 bytes at 8 Mb/s are on the wire for a millisecond, and three of them fit the queue.
    #[test]
    fn packets_wait_for_each_other_until_the_queue_is_full() {
        let mut path = Path::new(shape(Loss::None), 1);
        let fates: Vec<Fate> = (0..5).map(|_| path.enter(0, 1000)).collect();
        let ms = |n: u64| Fate::Arrives(n * 1_000_000);
        assert_eq!(fates, [ms(11), ms(12), ms(13), Fate::Dropped, Fate::Dropped]);
        assert_eq!(path.enter(3_000_000, 1000), ms(14));
    }

    #[test]
    fn the_same_packets_are_lost_whenever_they_come() {
        let lost = |gap: u64| -> Vec<u64> {
            let mut path = Path::new(Shape { queue: 1 << 30, ..shape(Loss::Random(0.1)) }, 7);
            (0..1000).filter(|i| path.enter(i * gap, 100) == Fate::Lost).collect()
        };
        assert_eq!(lost(0), lost(5_000_000));
        assert!((60..140).contains(&lost(0).len()), "{}", lost(0).len());
    }

    #[test]
    fn bursts_have_the_share_and_the_length_that_was_asked_for() {
        let mut path = Path::new(Shape { queue: 1 << 30, ..shape(Loss::Bursty(0.02, 4.0)) }, 3);
        let lost: Vec<bool> = (0..200_000).map(|_| path.enter(0, 100) == Fate::Lost).collect();
        let all = lost.iter().filter(|l| **l).count();
        let runs = lost.windows(2).filter(|w| !w[0] && w[1]).count();
        assert!((0.017..0.023).contains(&(all as f64 / 200_000.0)), "{all}");
        assert!((3.7..4.3).contains(&(all as f64 / runs as f64)), "{all} in {runs}");
    }

    #[test]
    fn what_is_held_up_is_overtaken() {
        let held = Shape { reorder: Some((0.05, Duration::from_millis(5))), ..shape(Loss::None) };
        let mut path = Path::new(Shape { queue: 1 << 30, ..held }, 5);
        let arrivals: Vec<u64> = (0..1000)
            .map(|_| match path.enter(0, 100) {
                Fate::Arrives(at) => at,
                fate => panic!("{fate:?}"),
            })
            .collect();
        let overtaken = arrivals.windows(2).filter(|w| w[0] > w[1]).count();
        assert!((25..80).contains(&overtaken), "{overtaken}");
    }
}
