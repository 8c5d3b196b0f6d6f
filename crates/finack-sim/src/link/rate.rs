//! How fast a link sends.

use core::time::Duration;
use std::sync::Arc;

use finack_core::Instant;

/// How fast a link sends what its queue holds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Rate {
    /// At once: no packet ever waits.
    #[default]
    Unlimited,
    /// So many bits a second (of IP packets, at least 1).
    Fixed(u64),
    /// As a recorded link did.
    Trace(Arc<Trace>),
}

impl Rate {
    /// Bits a second; of a trace the average, `None` without a limit.
    #[must_use]
    pub fn bits_per_second(&self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Fixed(rate) => Some((*rate).max(1)),
            Self::Trace(trace) => Some(trace.bits_per_second()),
        }
    }
}

/// The times at which a recorded link could send a packet, as Mahimahi has them: each line of a trace is a number of
/// milliseconds at which up to [`Trace::OPPORTUNITY`] bytes pass; after the last line it begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    name: String,
    millis: Vec<u32>,
}

impl Trace {
    /// Bytes that pass at each time, as Mahimahi has it.
    pub const OPPORTUNITY: u32 = 1504;
    /// Most lines of a trace: ten million, an hour at 33 Mb/s.
    pub const MOST_LINES: usize = 10_000_000;

    /// Takes a trace file's text: one number of milliseconds on each line, none smaller than the one before.
    ///
    /// # Errors
    /// One line that says which line is wrong, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut millis: Vec<u32> = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at: u32 = line.parse().map_err(|_| {
                let line: String = line.chars().take(40).collect();
                format!("line {number}: \"{line}\" is no number of milliseconds")
            })?;
            if let Some(&last) = millis.last().filter(|&&last| at < last) {
                return Err(format!("line {number}: {at} ms comes after {last} ms: times must not go back"));
            }
            if millis.len() == Self::MOST_LINES {
                return Err(format!("line {number}: a trace has at most {} lines", Self::MOST_LINES));
            }
            millis.push(at);
        }
        match millis.last() {
            None => Err("line 1: the trace is empty: it needs one number of milliseconds a line".into()),
            Some(0) => Err("line 1: all times are 0 ms: the last one says how long the trace is".into()),
            Some(_) => Ok(Self { name: String::new(), millis }),
        }
    }

    /// The same under a name: its file's, so that a link's text can say it.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Its name; empty where it was given none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long it lasts before it begins anew.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_millis(u64::from(self.millis.last().copied().unwrap_or(1)))
    }

    /// The average over the whole trace.
    #[must_use]
    pub fn bits_per_second(&self) -> u64 {
        let bits = self.millis.len() as u64 * u64::from(Self::OPPORTUNITY) * 8;
        (u128::from(bits) * 1_000_000_000 / self.period().as_nanos().max(1)) as u64
    }

    /// How many opportunities it has.
    #[must_use]
    pub fn opportunities(&self) -> usize {
        self.millis.len()
    }

    /// When the `index`-th opportunity is, counted from 0, in nanoseconds since the trace began.
    fn at(&self, index: u64) -> u64 {
        let (round, in_round) = (index / self.millis.len() as u64, index % self.millis.len() as u64);
        (round * self.period().as_millis() as u64 + u64::from(self.millis[in_round as usize])) * 1_000_000
    }

    /// The first opportunity at or after `nanos` since the trace began.
    fn first_from(&self, nanos: u64) -> u64 {
        let period = self.period().as_nanos() as u64;
        let (round, rest) = (nanos / period, nanos % period);
        let wanted = rest.div_ceil(1_000_000) as u32;
        // The last line's time is also the beginning of the next round.
        if rest == 0 && round > 0 {
            let last = self.millis.last().copied().unwrap_or(0);
            let before = self.millis.partition_point(|&m| m < last);
            return (round - 1) * self.millis.len() as u64 + before as u64;
        }
        let before = self.millis.partition_point(|&m| m < wanted) as u64;
        round * self.millis.len() as u64 + before
    }
}

/// A link that is sending: it takes one packet after another.
#[derive(Clone, Debug)]
pub struct Server {
    began: Instant,
    /// When it is done with all that it has taken.
    free: Instant,
    /// Of a trace: the next opportunity, and the bytes of it that are used already.
    opportunity: u64,
    used: u32,
}

impl Server {
    /// A link that begins at `now`; a trace's times are counted from then.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { began: now, free: now, opportunity: 0, used: 0 }
    }

    /// When it is done with all that it has taken so far.
    #[must_use]
    pub const fn free_at(&self) -> Instant {
        self.free
    }

    /// Takes a packet of `size` bytes at `now` or as soon as it is free; says when its last bit is sent.
    pub fn send(&mut self, rate: &Rate, now: Instant, size: u32) -> Instant {
        let start = self.free.max(now);
        self.free = match rate {
            Rate::Unlimited => now,
            Rate::Fixed(rate) => start + transmission(*rate, u64::from(size)),
            Rate::Trace(trace) => self.send_by(trace, start, size),
        };
        self.free
    }

    fn send_by(&mut self, trace: &Trace, start: Instant, mut size: u32) -> Instant {
        let from = start.since(self.began).as_nanos() as u64;
        // What nobody used of an opportunity is gone when its time has passed.
        if trace.at(self.opportunity) < from {
            self.opportunity = trace.first_from(from);
            self.used = 0;
        }
        while size > Trace::OPPORTUNITY - self.used {
            size -= Trace::OPPORTUNITY - self.used;
            self.opportunity += 1;
            self.used = 0;
        }
        let at = trace.at(self.opportunity);
        self.used += size;
        if self.used == Trace::OPPORTUNITY {
            self.opportunity += 1;
            self.used = 0;
        }
        self.began + Duration::from_nanos(at)
    }
}

/// How long `size` bytes take at `rate` bits a second.
#[must_use]
pub fn transmission(rate: u64, size: u64) -> Duration {
    match (size * 8).checked_mul(1_000_000_000) {
        Some(bits) => Duration::from_nanos(bits / rate.max(1)),
        None => Duration::from_nanos((u128::from(size) * 8_000_000_000 / u128::from(rate.max(1))) as u64),
    }
}
