//! RACK (RFC 8985): what was sent before something that has arrived, and has not arrived a reordering window later, is
//! lost.

use alloc::boxed::Box;
use core::time::Duration;

use crate::settings::Settings;
use crate::tcp::send::{AckSummary, Deadline, Found, RetransmitQueue};
use crate::tcp::seq::Pos;
use crate::time::Instant;

use super::Rtt;

/// RFC 8985 6.2 step 4: a wider window stays for so many recoveries without a DSACK.
const PERSIST: u8 = 16;
/// `tcp_recovery`, bit by bit: the window does not follow DSACKs.
const STATIC_WINDOW: u64 = 2;
/// The third SACKed segment does not end the wait.
const NO_THRESHOLD: u64 = 4;

/// What RACK remembers of a connection; what it remembers of a flight stands with that.
#[derive(Clone, Debug)]
pub(crate) struct Rack {
    /// RACK.rtt in microseconds.
    rtt: u32,
    /// What reordering and duplicates taught; none without them.
    learned: Option<Box<Learned>>,
}

/// What reordering and duplicates taught.
#[derive(Clone, Copy, Debug)]
struct Learned {
    /// Times that something sent once arrived after something sent later (RACK.reordering_seen).
    reordered: u32,
    /// The greatest distance of these, in segments.
    distance: u32,
    /// Segments that arrived twice.
    duplicates: u32,
    /// RACK.dsack_round: until this is acknowledged, another DSACK does not widen the window.
    round: Option<Pos>,
    /// RACK.reo_wnd_mult.
    factor: u8,
    /// RACK.reo_wnd_persist.
    persist: u8,
}

impl Default for Learned {
    fn default() -> Self {
        Self { reordered: 0, distance: 0, duplicates: 0, round: None, factor: 1, persist: 0 }
    }
}

/// What decides how long RACK waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) now: Instant,
    pub(crate) rtt: &'a Rtt,
    pub(crate) settings: &'a Settings,
    pub(crate) mss: u64,
}

fn micros(nanos: u64) -> u32 {
    u32::try_from(nanos / 1000).unwrap_or(u32::MAX)
}

impl Rack {
    pub(crate) const fn new() -> Self {
        Self { rtt: 0, learned: None }
    }

    /// Steps 2 and 3: what an ACK delivered. Answers whether RACK.segment is a later one now.
    pub(crate) fn on_delivered(
        &mut self,
        queue: &mut RetransmitQueue,
        summary: &AckSummary,
        una: Pos,
        now: Instant,
        mss: u64,
    ) -> bool {
        let Some(flight) = queue.awake() else { return false };
        if let Some(start) = summary.original_start {
            self.on_late(flight.fack, start, mss);
        }
        flight.fack = flight.fack.max(una).max(summary.highest);
        let Some(newest) = summary.newest else { return false };
        // As Linux: not that of RACK.segment, which may be a repetition, but that of what was delivered last in sequence.
        let sent_at = summary.acked_sent_at.or(summary.sacked_sent_at).unwrap_or(newest.at);
        self.rtt = micros(now.nanos_since(sent_at));
        flight.newest = flight.newest.max(newest);
        true
    }

    /// [`on_delivered`](Self::on_delivered) of what was acknowledged calmly: none of it was late. What was sent last of it left
    /// `rtt` nanoseconds ago.
    pub(crate) fn on_next(&mut self, rtt: u64) {
        self.rtt = micros(rtt);
    }

    /// Step 3: what was sent first at `start` arrived only now, after something sent later, which ended at `fack`.
    pub(crate) fn on_late(&mut self, fack: Pos, start: Pos, mss: u64) {
        if start >= fack {
            return;
        }
        let learned = self.learned.get_or_insert_default();
        learned.reordered = learned.reordered.saturating_add(1);
        let segments = ((fack - start) as u64).div_ceil(mss.max(1)).min(u64::from(u32::MAX));
        learned.distance = learned.distance.max(segments as u32);
    }

    /// Step 4: `segments` of ours arrived twice. A window for reordering that was too small may have been why; then SND.UNA and
    /// SND.NXT are given.
    pub(crate) fn on_duplicate(&mut self, segments: u32, widens: Option<(Pos, Pos)>) {
        let learned = self.learned.get_or_insert_default();
        learned.duplicates = learned.duplicates.saturating_add(segments);
        let Some((una, nxt)) = widens else { return };
        learned.round = learned.round.filter(|&round| una < round);
        if learned.round.is_none() {
            learned.round = Some(nxt);
            learned.factor = learned.factor.saturating_add(1);
            learned.persist = PERSIST;
        }
    }

    /// Losses are repaired.
    pub(crate) fn on_recovered(&mut self) {
        let Some(learned) = &mut self.learned else { return };
        learned.persist = learned.persist.saturating_sub(1);
        if learned.persist == 0 {
            learned.factor = 1;
        }
    }

    /// RACK.reo_wnd.
    ///
    /// `urgent`: in Recovery or Loss, or DupThresh segments are SACKed.
    fn window(&self, urgent: bool, at: &Situation<'_>) -> Duration {
        if self.reordered() == 0 && urgent {
            return Duration::ZERO;
        }
        let is_static = at.settings.tcp_recovery & STATIC_WINDOW != 0;
        let factor = self.learned.as_ref().filter(|_| !is_static).map_or(1, |l| l.factor);
        (at.rtt.min() / 4 * u32::from(factor)).min(at.rtt.srtt().unwrap_or_default())
    }

    /// Step 5. `repairing`: in Recovery or Loss; `reports`: ACKs in a row that reported something by SACK.
    pub(crate) fn detect(
        &self,
        queue: &mut RetransmitQueue,
        repairing: bool,
        reports: u32,
        at: &Situation<'_>,
    ) -> Found {
        let threshold = at.settings.tcp_reordering;
        // Segments may be smaller than the MSS: each ACK that reports something stands for one at least.
        let third = queue.sacked() >= threshold * at.mss || u64::from(reports) >= threshold;
        let urgent = repairing || third && at.settings.tcp_recovery & NO_THRESHOLD == 0;
        let patience = self.patience() + self.window(urgent, at);
        queue.mark_overtaken(&Deadline { newest: queue.newest, patience, now: at.now })
    }

    /// RFC 8985 6.3: how long ago something must have been sent to count as lost at a time-out.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt))
    }

    /// Times that reordering was seen.
    pub(crate) fn reordered(&self) -> u32 {
        self.learned.as_ref().map_or(0, |l| l.reordered)
    }

    /// The greatest distance, in segments, by which something arrived late; 0 without reordering.
    pub(crate) fn distance(&self) -> u32 {
        self.learned.as_ref().map_or(0, |l| l.distance)
    }

    /// Segments that arrived twice.
    pub(crate) fn duplicates(&self) -> u32 {
        self.learned.as_ref().map_or(0, |l| l.duplicates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    /// RACK.reo_wnd where the round trip takes 100 ms, in milliseconds.
    fn window(rack: &Rack, urgent: bool, recovery: u64) -> u128 {
        let (mut rtt, settings) = (Rtt::new(), Settings { tcp_recovery: recovery, ..Settings::default() });
        rtt.sample(100_000_000, Instant::ZERO, &settings);
        let at = Situation { now: Instant::ZERO, rtt: &rtt, settings: &settings, mss: 1000 };
        rack.window(urgent, &at).as_millis()
    }

    /// RFC 8985 3.3.2 rule 1: nothing while no reordering was seen and three segments are SACKed or a repair is under way; a
    /// quarter of the least round trip otherwise.
    #[test]
    fn it_begins_with_a_quarter_of_the_round_trip() {
        let mut rack = Rack::new();
        assert_eq!((window(&rack, true, 1), window(&rack, false, 1)), (0, 25));
        let late = AckSummary { original_start: Some(1), ..AckSummary::default() };
        let mut queue = RetransmitQueue::default();
        queue.begin(&mut Pool::default(), Instant::ZERO);
        rack.on_delivered(&mut queue, &late, 3001, Instant::ZERO, 1000);
        assert_eq!(rack.reordered(), 0, "nothing had arrived before");
        rack.on_delivered(&mut queue, &late, 3001, Instant::ZERO, 1000);
        assert_eq!((rack.reordered(), rack.distance()), (1, 3));
        assert_eq!(window(&rack, true, 1), 25);
    }

    /// RFC 8985 6.2 step 4, 3.3.2 rules 2 and 3: one quarter more for each round trip with a DSACK, the whole round trip at
    /// most.
    #[test]
    fn it_grows_with_duplicates() {
        let mut rack = Rack::new();
        rack.on_duplicate(1, Some((1, 5001)));
        assert_eq!(window(&rack, false, 1), 50);
        rack.on_duplicate(1, Some((4001, 6001)));
        assert_eq!(window(&rack, false, 1), 50, "the same round trip");
        for una in [5001, 10_001, 20_001] {
            rack.on_duplicate(1, Some((una, una + 5000)));
        }
        assert_eq!((window(&rack, false, 1), rack.duplicates()), (100, 5));
        // What says nothing of the window counts, no more.
        let mut probed = Rack::new();
        probed.on_duplicate(1, None);
        assert_eq!((window(&probed, false, 1), probed.duplicates()), (25, 1));
        // tcp_recovery = 1 + 2.
        assert_eq!(window(&rack, false, 3), 25);
    }

    /// RFC 8985 6.2 step 4: after sixteen recoveries without a DSACK it is what it was.
    #[test]
    fn it_shrinks_after_sixteen_recoveries() {
        let mut rack = Rack::new();
        rack.on_duplicate(1, Some((1, 5001)));
        for _ in 0..15 {
            rack.on_recovered();
        }
        assert_eq!(window(&rack, false, 1), 50);
        rack.on_recovered();
        assert_eq!(window(&rack, false, 1), 25);
    }
}
