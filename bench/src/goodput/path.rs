//! What lies between the two hosts of a simulation.

use std::fmt;
use std::time::Duration;

use finack_sim::link::{self, Chance, Hop};
use finack_sim::queue;

/// Bytes of an IP packet on the path.
pub(crate) const MTU: u64 = 1500;
/// Payload of a full segment: IPv4, timestamps.
pub(crate) const MSS: u64 = 1448;

/// How packets with data are lost. Shares are of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    /// Each with this chance, whatever befalls the others.
    Random(f64),
    /// In runs of [`BURST`] on average (Gilbert-Elliott), so many of all.
    Bursty(f64),
    /// Exactly one in so many.
    Periodic(u64),
    /// Exactly these, counted from 1.
    Picked(&'static [u64]),
}

/// Packets that a burst of losses takes, on average.
pub(crate) const BURST: u32 = 4;

impl Loss {
    pub(crate) fn share(self) -> f64 {
        match self {
            Self::Random(share) | Self::Bursty(share) => share,
            Self::Periodic(every) => 1.0 / every as f64,
            Self::Picked(_) => 0.0,
        }
    }

    fn of_link(self) -> link::Loss {
        let chance = |share: f64| Chance::percent(share * 100.0);
        match self {
            Self::Random(0.0) => link::Loss::None,
            Self::Random(share) => link::Loss::Random(chance(share)),
            Self::Bursty(share) => link::Loss::bursts(chance(share), BURST),
            Self::Periodic(every) => link::Loss::Periodic(every),
            Self::Picked(packets) => link::Loss::list(packets.iter().copied()),
        }
    }
}

/// What stands in front of the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// First in, first out; what finds it full is dropped.
    DropTail,
    /// Controlled delay (RFC 8289).
    Codel,
    /// Two queues for classic and scalable traffic (RFC 9332).
    DualPi2,
}

/// The way there; the way back has the same rate and delay, and loses nothing unless that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Path {
    /// Bits a second.
    pub(crate) rate: u64,
    /// Propagation there and back.
    pub(crate) rtt: Duration,
    pub(crate) loss: Loss,
    /// One packet in a hundred comes 5 ms late.
    pub(crate) reorders: bool,
    pub(crate) queue: Queue,
    /// Bytes that wait in front of the bottleneck at most.
    pub(crate) buffer: u64,
}

impl Path {
    /// Drop-tail, with a buffer of one bandwidth-delay product and at least 64 packets.
    pub(crate) fn new(rate: u64, rtt: Duration, loss: Loss) -> Self {
        let mut path = Self { rate, rtt, loss, reorders: false, queue: Queue::DropTail, buffer: 0 };
        path.buffer = path.bdp().max(64 * MTU);
        path
    }

    /// Bytes that fill the path without a queue.
    pub(crate) fn bdp(&self) -> u64 {
        (u128::from(self.rate) * self.rtt.as_nanos() / 8_000_000_000) as u64
    }

    /// The round trip of a segment that finds no queue: propagation, and its own and its ACK's bits.
    pub(crate) fn least_rtt(&self) -> Duration {
        const ACK: u64 = 52;
        self.rtt + Duration::from_nanos((MTU + ACK) * 8_000_000_000 / self.rate)
    }

    /// Payload that the bottleneck carries in a second, in bits.
    pub(crate) fn capacity(&self) -> f64 {
        self.rate as f64 * MSS as f64 / MTU as f64
    }

    /// The bottleneck: towards the receiver, and back.
    pub(crate) fn hops(&self, loses_both_ways: bool) -> (Hop, Hop) {
        let back = Hop::new(self.rtt / 2).rate(self.rate).queue(queue::Queue::bytes(self.buffer));
        let mut there = back.clone().loss(self.loss.of_link());
        if self.reorders {
            there = there.reorder(Chance::percent(1.0), Duration::from_millis(5));
        }
        there.queue = match self.queue {
            Queue::DropTail => there.queue,
            Queue::Codel => there.queue.codel().ecn(),
            Queue::DualPi2 => there.queue.dualpi2(),
        };
        let lossy = if loses_both_ways { self.loss } else { Loss::Random(0.0) };
        (there, back.loss(lossy.of_link()))
    }

    /// The share of the capacity that what is lost leaves.
    pub(crate) fn best(&self) -> f64 {
        1.0 - self.loss.share()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", rate(self.rate), time(self.rtt))?;
        match self.loss {
            Loss::Random(0.0) => write!(f, " no loss")?,
            Loss::Random(share) => write!(f, " {} random", percent(share))?,
            Loss::Bursty(share) => write!(f, " {} bursty", percent(share))?,
            Loss::Periodic(every) => write!(f, " 1 in {every} lost")?,
            Loss::Picked(packets) => write!(f, " {} lost", packets.len())?,
        }
        if self.reorders {
            write!(f, " reordered")?;
        }
        match self.queue {
            Queue::DropTail => Ok(()),
            Queue::Codel => write!(f, " CoDel"),
            Queue::DualPi2 => write!(f, " DualPI2"),
        }
    }
}

/// `100 Mb/s`.
pub(crate) fn rate(bits: u64) -> String {
    match bits {
        b if b >= 1_000_000_000 => format!("{} Gb/s", trim(b as f64 / 1e9)),
        b if b >= 1_000_000 => format!("{} Mb/s", trim(b as f64 / 1e6)),
        b => format!("{} kb/s", trim(b as f64 / 1e3)),
    }
}

/// `20 ms`.
pub(crate) fn time(d: Duration) -> String {
    format!("{} ms", trim(d.as_secs_f64() * 1e3))
}

/// `0.01 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", trim(share * 100.0))
}

fn trim(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}
