//! What two hosts are to exchange, and what came of it: shared by the sender's and the receiver's threads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes of one call.
pub const CHUNK: usize = 64 << 10;

/// How often a sender is asked how it is.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// The flows of one run. All go from the first host to the second, which listens.
pub struct Flows {
    pub congestion: String,
    pub count: usize,
    /// How many of them may be under way at once.
    pub at_once: usize,
    /// Bytes of each; `u64::MAX` for as much as there is time for.
    pub bytes: u64,
    /// How long each may take.
    pub time: Duration,
    /// When the first of them began, or was waited for.
    epoch: OnceLock<Instant>,
    /// When each began and ended, in nanoseconds since `epoch`; 0 where it has not.
    begun: Vec<AtomicU64>,
    ended: Vec<AtomicU64>,
    received: AtomicU64,
    next: AtomicUsize,
}

impl Flows {
    pub fn new(congestion: &str, count: usize, at_once: usize, bytes: u64, time: Duration) -> Self {
        let none = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            congestion: congestion.into(),
            count,
            at_once,
            bytes,
            time,
            epoch: OnceLock::new(),
            begun: none(),
            ended: none(),
            received: AtomicU64::new(0),
            next: AtomicUsize::new(0),
        }
    }

    fn epoch(&self) -> Instant {
        *self.epoch.get_or_init(Instant::now)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch().elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// The next flow that nobody sends yet.
    pub fn next(&self) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|flow| *flow < self.count)
    }

    /// The sender begins to open the flow; when its time is over.
    pub fn begin(&self, flow: usize) -> Instant {
        self.begun[flow].store(self.now(), Ordering::Release);
        self.end_of(flow)
    }

    /// When the time of a flow that has begun is over.
    pub fn end_of(&self, flow: usize) -> Instant {
        self.epoch() + Duration::from_nanos(self.begun[flow].load(Ordering::Acquire)) + self.time
    }

    /// When the time of any flow is over.
    pub fn latest(&self) -> Instant {
        self.epoch() + Duration::from_secs(1) + self.time * (self.count.div_ceil(self.at_once) as u32)
    }

    /// The receiver has read so many bytes more.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The receiver has read the flow's end.
    pub fn ended(&self, flow: usize) {
        self.ended[flow].store(self.now(), Ordering::Release);
    }

    /// Bits a second that the receiver's application read, over the time of one flow.
    pub fn goodput(&self) -> f64 {
        self.received.load(Ordering::Relaxed) as f64 * 8.0 / self.time.as_secs_f64()
    }

    /// How long each flow took, from the call that opened it until the receiver had read its end; `None` for one that
    /// was not through in its time.
    pub fn completions(&self) -> Vec<Option<Duration>> {
        let one = |(begun, ended): (&AtomicU64, &AtomicU64)| {
            let (begun, ended) = (begun.load(Ordering::Acquire), ended.load(Ordering::Acquire));
            (begun > 0 && ended > 0).then(|| Duration::from_nanos(ended.saturating_sub(begun)))
        };
        self.begun.iter().zip(&self.ended).map(one).collect()
    }
}

/// How a sender is at one moment, in segments where nothing else is said.
#[derive(Clone, Debug)]
pub struct Sample {
    pub state: &'static str,
    pub cwnd: u64,
    pub ssthresh: Option<u64>,
    pub in_flight: u64,
    pub srtt: Duration,
    pub min_rtt: Duration,
    pub rto: Duration,
    /// Bytes.
    pub acked: u64,
    pub retransmitted: u64,
    /// Bytes.
    pub not_sent: u64,
    /// Bytes.
    pub peer_window: u64,
    /// Bytes a second.
    pub pacing_rate: u64,
    /// Bytes a second.
    pub delivery_rate: u64,
    pub reordering: u64,
}

/// How a sender was over time.
pub struct Samples {
    begun: Instant,
    next: Instant,
    /// All are kept, and not the last alone.
    keep: bool,
    pub all: Vec<(Duration, Sample)>,
}

impl Samples {
    pub fn new(keep: bool) -> Self {
        let now = Instant::now();
        Self { begun: now, next: now, keep, all: Vec::new() }
    }

    /// Takes a sample where it is time for one.
    pub fn take(&mut self, sample: impl FnOnce() -> Option<Sample>) {
        let now = Instant::now();
        if self.keep && now >= self.next {
            self.next = now + SAMPLE_EVERY;
            self.end(sample);
        }
    }

    /// When the next is to be taken.
    pub fn next(&self) -> Instant {
        if self.keep { self.next } else { Instant::now() + Duration::from_secs(1) }
    }

    /// Takes the last sample.
    pub fn end(&mut self, sample: impl FnOnce() -> Option<Sample>) {
        let at = self.begun.elapsed();
        self.all.extend(sample().map(|sample| (at, sample)));
    }

    /// As a table, a sample a line.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "ms state cwnd ssthresh in_flight srtt_us min_rtt_us rto_ms acked retransmitted not_sent peer_window \
             pacing_rate delivery_rate reordering\n",
        );
        for (at, s) in &self.all {
            let ssthresh = s.ssthresh.map_or_else(|| "-".into(), |n| n.to_string());
            out.push_str(&format!(
                "{} {} {} {ssthresh} {} {} {} {} {} {} {} {} {} {} {}\n",
                at.as_millis(),
                s.state,
                s.cwnd,
                s.in_flight,
                s.srtt.as_micros(),
                s.min_rtt.as_micros(),
                s.rto.as_millis(),
                s.acked,
                s.retransmitted,
                s.not_sent,
                s.peer_window,
                s.pacing_rate,
                s.delivery_rate,
                s.reordering,
            ));
        }
        out
    }
}
