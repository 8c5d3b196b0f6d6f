//! What a simulation will take, said before it starts.

use core::fmt;
use core::time::Duration;

use super::{Hop, Path};
use crate::queue::FULL_PACKET;

/// What a simulation of bulk flows over a path will take at most, roughly: the link is taken to be full all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Packets that are sent, ACKs too.
    pub packets: u64,
    /// Bytes of memory: what fills the links and their queues, and what the hosts keep of it.
    pub memory: u64,
    /// Time of one core of a usual machine, with a release build.
    pub time: Duration,
}

/// What a simulation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Bytes of memory.
    pub memory: u64,
    /// Time of one core.
    pub time: Duration,
}

impl Default for Allowed {
    /// 4 GB and ten minutes.
    fn default() -> Self {
        Self { memory: 4_000_000_000, time: Duration::from_secs(600) }
    }
}

/// Time that a packet takes in both stacks and on its first link, and that each further link adds, in nanoseconds.
const PACKET: u64 = 1500;
const FURTHER: u64 = 400;
/// Most bytes that a flow's buffers hold at each end by the usual settings (`tcp_rmem`, `tcp_wmem`).
const BUFFERS: u64 = 6_000_000;

impl Cost {
    /// What `flows` flows over `path` take in `time` of virtual time.
    ///
    /// # Errors
    /// One line, where nothing bounds it: no link has a rate, and none a delay.
    pub fn of(path: &Path, flows: u64, time: Duration) -> Result<Self, String> {
        let round_trip = path.round_trip();
        let by_window = || match round_trip.as_nanos() {
            0 => None,
            rtt => Some((u128::from(flows * BUFFERS) * 8_000_000_000 / rtt).min(u128::from(u64::MAX)) as u64),
        };
        let Some(rate) = path.bottleneck().or_else(by_window) else {
            return Err(
                "the path has neither a rate nor a delay, so nothing says how many packets there would be: \
                        give it a rate"
                    .into(),
            );
        };
        let bytes = (u128::from(rate) * time.as_nanos() / 8_000_000_000).min(u128::from(u64::MAX)) as u64;
        // An ACK for every second packet.
        let packets = (bytes / FULL_PACKET).saturating_mul(3) / 2 + flows * 10;
        let hops = path.elements.len().max(1) as u64;
        let nanos = packets.saturating_mul(PACKET + FURTHER * (hops - 1));
        let held: u64 = path
            .links()
            .flat_map(|(there, back)| [held(there, rate), held(back, rate)])
            .fold(0, u64::saturating_add);
        let kept = held.min(flows.saturating_mul(2 * BUFFERS));
        let memory = held.saturating_mul(2).saturating_add(kept).saturating_add(flows * 20_000);
        Ok(Self { packets, memory, time: Duration::from_nanos(nanos) })
    }

    /// Whether that is allowed.
    ///
    /// # Errors
    /// One line that says how much it would take, how much is allowed, and what would take less.
    pub fn check(&self, allowed: &Allowed) -> Result<(), String> {
        let less = "choose a lower rate, a shorter time or fewer flows";
        if self.time > allowed.time {
            let (most, all) = (Spoken(allowed.time), Spoken(self.time));
            return Err(format!(
                "the simulation would take about {all} for {} packets, {most} are allowed: {less}",
                count(self.packets)
            ));
        }
        if self.memory > allowed.memory {
            return Err(format!(
                "the simulation would take about {} of memory, {} are allowed: {less}, or a shorter queue",
                size(self.memory),
                size(allowed.memory)
            ));
        }
        Ok(())
    }
}

/// Bytes that a link and its queue hold while `rate` passes.
fn held(hop: &Hop, rate: u64) -> u64 {
    let rate = hop.rate.bits_per_second().unwrap_or(rate).min(rate);
    let in_time = |time: Duration| (u128::from(rate) * time.as_nanos() / 8_000_000_000) as u64;
    let limit = hop.queue.limit;
    let queue =
        [limit.bytes, limit.packets.map(|p| (p as u64).saturating_mul(FULL_PACKET)), limit.time.map(in_time)];
    let queue = queue.into_iter().flatten().min().unwrap_or(0);
    let queue = if hop.rate.bits_per_second().is_some() { queue } else { 0 };
    in_time(hop.delay + hop.jitter.most).saturating_add(queue)
}

fn count(packets: u64) -> String {
    match packets {
        0..1_000_000 => packets.to_string(),
        1_000_000..1_000_000_000 => format!("{} million", packets / 1_000_000),
        _ => format!("{} billion", packets / 1_000_000_000),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} KB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

struct Spoken(Duration);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0..120 => write!(f, "{} s", self.0.as_secs().max(1)),
            120..7200 => write!(f, "{} min", self.0.as_secs() / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(path: &str, flows: u64, secs: u64) -> Result<Cost, String> {
        Cost::of(&path.parse().unwrap(), flows, Duration::from_secs(secs))
    }

    /// A minute at 1 Gb/s: five million packets and their ACKs, ten-odd seconds, a few megabytes.
    #[test]
    fn a_minute_at_a_gigabit() {
        let cost = cost("rate=1gbit delay=10ms queue=1bdp", 1, 60).unwrap();
        assert!((7_000_000..8_000_000).contains(&cost.packets), "{cost:?}");
        assert!((Duration::from_secs(8)..Duration::from_secs(15)).contains(&cost.time), "{cost:?}");
        assert!((5_000_000..50_000_000).contains(&cost.memory), "{cost:?}");
        assert_eq!(cost.check(&Allowed::default()), Ok(()));
    }

    /// What is too much is refused in one line before anything is simulated.
    #[test]
    fn what_is_too_much() {
        let long = cost("rate=100gbit delay=10ms queue=1bdp", 1, 3600).unwrap();
        assert_eq!(
            long.check(&Allowed::default()),
            Err("the simulation would take about 18 h for 45 billion packets, 10 min are allowed: choose a lower rate, a \
                 shorter time or fewer flows"
                .into())
        );
        let large = cost("rate=400gbit delay=1s queue=100gb", 8, 1).unwrap();
        let told = large.check(&Allowed::default()).unwrap_err();
        assert!(
            told.starts_with("the simulation would take about ")
                && told.contains(" GB of memory, 4.0 GB are"),
            "{told}"
        );
        assert!(cost("loss=1%", 1, 60).unwrap_err().ends_with("give it a rate"));
        assert!(cost("delay=10ms", 1, 60).is_ok(), "the window bounds it");
    }
}
