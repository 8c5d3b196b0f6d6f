use super::*;
use crate::pool::Pool;
use crate::settings::Settings;
use crate::tcp::send::{AckSummary, Marks, Sent};
use crate::time::Instant;

const MSS: u64 = 1000;

fn flight(segments: i64) -> RetransmitQueue {
    let mut queue = RetransmitQueue::default();
    queue.push(
        &mut Pool::default(),
        Sent::new(1, 1 + segments * MSS as i64, Marks::default(), &sent_at(Instant::ZERO)),
    );
    queue
}

/// Ten segments, each sent a millisecond after the one before.
fn spaced() -> RetransmitQueue {
    let mut queue = RetransmitQueue::default();
    for i in 0..10 {
        let mut unit = flight(1).front().cloned().unwrap();
        (unit.start, unit.end) = (1 + i * 1000, 1001 + i * 1000);
        unit.sent_at = Instant::from_millis(i as u64);
        queue.push(&mut Pool::default(), unit);
    }
    queue
}

/// A connection whose round trip is 100 ms.
struct World {
    rtt: Rtt,
    settings: Settings,
    recovery: Recovery,
    queue: RetransmitQueue,
    undo: Option<Undo>,
}

impl World {
    fn new(queue: RetransmitQueue) -> Self {
        let (mut rtt, settings) = (Rtt::new(), Settings::default());
        rtt.sample(100_000_000, Instant::ZERO, &settings);
        Self { rtt, settings, recovery: Recovery::new(), queue, undo: None }
    }

    fn on_ack(&mut self, ms: u64, summary: &AckSummary, edit: impl FnOnce(&mut AckEvent<'_>)) -> Progress {
        let now = Instant::from_millis(ms);
        let una = self.queue.front().map_or(10_001, |u| u.start);
        let mut event = AckEvent {
            una,
            nxt: 10_001,
            acked: summary.acked,
            newly_sacked: summary.newly_sacked,
            duplicate: false,
            stalls: false,
            sack: true,
            rack_advanced: self.recovery.rack.on_delivered(&mut self.queue, summary, una, now, MSS),
            original_end: summary.original_end,
            reported: false,
            echo: None,
            has_new_data: false,
            at: Situation { now, rtt: &self.rtt, settings: &self.settings, mss: MSS },
        };
        edit(&mut event);
        self.recovery.on_ack(&mut self.queue, self.undo.as_ref(), &event)
    }

    /// A duplicate ACK of a peer without SACK.
    fn duplicate(&mut self) -> Verdict {
        self.on_ack(200, &AckSummary::default(), |e| (e.duplicate, e.sack) = (true, false)).verdict
    }

    /// The ACK of `una` by a peer without SACK.
    fn plain(&mut self, una: Pos) -> Verdict {
        let mut summary = AckSummary::default();
        self.queue.acknowledge(una, &mut summary);
        self.on_ack(300, &summary, |e| e.sack = false).verdict
    }

    fn sack(&mut self, ms: u64, start: Pos, end: Pos) -> Progress {
        let mut summary = AckSummary::default();
        self.queue.sack(start, end, MSS, &mut summary);
        self.on_ack(ms, &summary, |_| {})
    }

    fn first_lost(&self) -> Option<(Pos, Pos)> {
        self.queue.first_lost_run(MSS).map(|u| (u.start, u.end))
    }
}

/// RFC 5681 3.2: two duplicates are reordering, the third is a loss of exactly one segment.
#[test]
fn the_third_duplicate_loses_the_first_segment() {
    let mut w = World::new(flight(10));
    assert_eq!([w.duplicate(), w.duplicate()], [Verdict::Nothing; 2]);
    assert_eq!(w.duplicate(), Verdict::Entered);
    assert_eq!(w.first_lost(), Some((1, 1001)));
}

/// RFC 6582 3.2: a partial ACK loses the next segment at once and does not end recovery; a full one does.
#[test]
fn a_partial_ack_loses_the_next_segment() {
    let mut w = World::new(flight(10));
    for _ in 0..3 {
        w.duplicate();
    }
    w.queue.resent(1, 1001, &sent_at(Instant::ZERO));
    assert_eq!(w.plain(4001), Verdict::Nothing);
    assert_eq!(w.first_lost(), Some((4001, 5001)));
    assert_eq!(w.plain(10_001), Verdict::Left);
}

/// RFC 8985 6.2 step 4: three SACKed segments above a hole lose the hole and nothing else.
#[test]
fn three_sacked_segments_lose_the_hole_below() {
    let mut w = World::new(spaced());
    assert_eq!(w.sack(102, 2001, 3001).verdict, Verdict::Nothing);
    assert_eq!(w.sack(103, 3001, 4001).verdict, Verdict::Nothing);
    assert_eq!(w.sack(104, 4001, 5001).verdict, Verdict::Entered);
    assert_eq!((w.queue.lost(), w.first_lost()), (2000, Some((1, 1001))));
}

/// RFC 8985 6.2 step 5: one SACKed segment loses what was sent before it a quarter of the round trip later.
#[test]
fn one_sacked_segment_loses_the_hole_after_the_reordering_window() {
    let mut w = World::new(spaced());
    let progress = w.sack(102, 2001, 3001);
    assert_eq!((progress.verdict, w.queue.lost()), (Verdict::Nothing, 0));
    // The second segment was sent 1 ms after the first, at 1 ms: lost at 1 + 100 + 25 ms.
    assert_eq!(progress.wait, Some(Duration::from_millis(24)));
    let at = |ms| Instant::from_millis(ms);
    let (rtt, settings) = (w.rtt, w.settings.clone());
    let mut timer = |ms| {
        let situation = Situation { now: at(ms), rtt: &rtt, settings: &settings, mss: MSS };
        w.recovery.on_reorder_timer(&mut w.queue, 10_001, &situation).verdict
    };
    assert_eq!(timer(124), Verdict::Nothing);
    assert_eq!(timer(126), Verdict::Entered);
    assert_eq!((w.queue.lost(), w.recovery.reason), (2000, RetransmitReason::Overtaken));
}

/// RFC 8985 6.2 step 3 learns from what was never sent again. As on Linux it learns the same where an echo shows that a gap was
/// filled by what was late, and not by its repetition (RFC 3522 3.2).
#[test]
fn a_gap_that_the_original_filled_was_reordering() {
    for (echo, reordered) in [(Some(1), 1), (Some(105), 0)] {
        let mut w = World::new(spaced());
        for (ms, start) in [(102, 1001), (103, 2001), (104, 3001)] {
            w.sack(ms, start, start + 1000);
        }
        assert_eq!(w.first_lost(), Some((1, 1001)));
        w.queue.resent(1, 1001, &sent_at(Instant::from_millis(105)));
        let mut undo = Undo::new(1);
        undo.on_repeat(1, 105);
        w.undo = Some(undo);
        let mut summary = AckSummary::default();
        w.queue.acknowledge(4001, &mut summary);
        w.on_ack(110, &summary, |ack| ack.echo = echo);
        assert_eq!(w.recovery.rack.reordered(), reordered, "{echo:?}");
    }
}

/// RFC 8985 6.2 step 4: once something arrived late without having been sent again, three SACKed segments do not tell.
#[test]
fn reordering_makes_it_wait() {
    let mut w = World::new(spaced());
    w.sack(102, 2001, 3001);
    w.sack(103, 1001, 2001);
    w.sack(104, 3001, 4001);
    let progress = w.sack(105, 4001, 5001);
    assert_eq!((progress.verdict, w.recovery.rack.distance()), (Verdict::Nothing, 2));
    assert!(progress.wait.is_some());
}

/// RFC 8985 3.4: what was sent again and overtaken by what was sent still later is lost once more.
#[test]
fn a_lost_retransmission_is_seen() {
    let mut w = World::new(spaced());
    w.sack(109, 2001, 10_001);
    assert_eq!(w.queue.lost(), 2000);
    w.queue.resent(1, 1001, &sent_at(Instant::from_millis(110)));
    w.queue.resent(1001, 2001, &sent_at(Instant::from_millis(111)));
    assert_eq!(w.queue.lost(), 0);
    let mut summary = AckSummary { answers_until: Instant::FAR_FUTURE, ..AckSummary::default() };
    w.queue.sack(1001, 2001, MSS, &mut summary);
    let progress = w.on_ack(211, &summary, |_| {});
    assert!(progress.lost > 0 && progress.verdict == Verdict::Nothing);
    assert_eq!((w.first_lost(), w.recovery.reason), (Some((1, 1001)), RetransmitReason::LostAgain));
}

/// RFC 5682 3.1 step 3b: after a time-out something arrives that was not sent again: nothing was lost.
#[test]
fn a_needless_time_out_is_undone() {
    let mut w = World::new(spaced());
    w.recovery.on_timeout(&mut w.queue, 10_001, true, Instant::from_millis(400));
    assert_eq!(w.queue.lost(), 10_000);
    w.queue.resent(1, 1001, &sent_at(Instant::from_millis(400)));
    let mut summary = AckSummary::default();
    w.queue.acknowledge(2001, &mut summary);
    assert!(w.on_ack(410, &summary, |_| {}).undone);
    assert_eq!((w.queue.lost(), w.recovery.phase), (0, Phase::Open));
}

/// RFC 5682 2.1 step 3a: without SACK an ACK that does not advance ends the watch, also where its window is another one: else what is
/// lost would wait for one time-out after the other.
#[test]
fn a_window_that_changes_does_not_hide_a_needed_time_out() {
    let mut w = World::new(spaced());
    w.recovery.on_timeout(&mut w.queue, 10_001, true, Instant::from_millis(400));
    w.queue.resent(1, 1001, &sent_at(Instant::from_millis(400)));
    let mut summary = AckSummary::default();
    w.queue.acknowledge(1001, &mut summary);
    w.on_ack(500, &summary, |e| (e.sack, e.has_new_data) = (false, true));
    assert!(w.recovery.holds_repeats());
    let window_moved = |e: &mut AckEvent<'_>| (e.sack, e.stalls, e.nxt) = (false, true, 12_001);
    w.on_ack(600, &AckSummary::default(), window_moved);
    assert!(!w.recovery.holds_repeats());
    assert_eq!((w.first_lost(), w.recovery.phase), (Some((1001, 2001)), Phase::Loss));
    assert_eq!(w.recovery.frto, Frto::Off);
}

/// RFC 5682 2.1 steps 2 and 3: without SACK the first ACK after a time-out may cover what had arrived before it, behind a gap: it
/// does not show that the time-out was needless.
#[test]
fn without_sack_the_first_ack_undoes_nothing() {
    let mut w = World::new(spaced());
    w.recovery.on_timeout(&mut w.queue, 10_001, true, Instant::from_millis(400));
    w.queue.resent(1, 1001, &sent_at(Instant::from_millis(400)));
    let mut summary = AckSummary::default();
    w.queue.acknowledge(3001, &mut summary);
    assert!(!w.on_ack(500, &summary, |e| e.sack = false).undone);
    assert_eq!((w.first_lost(), w.recovery.phase), (Some((3001, 4001)), Phase::Loss));
}

/// The ACK that shows that a time-out was needless may show a loss as well: it is repaired at once, from the window as it was
/// (RFC 4015 3.2, RFC 8985 6.2 step 5).
#[test]
fn a_loss_behind_a_needless_time_out_is_seen_at_once() {
    let mut w = World::new(spaced());
    w.recovery.on_timeout(&mut w.queue, 10_001, true, Instant::from_millis(400));
    w.queue.resent(1, 1001, &sent_at(Instant::from_millis(400)));
    let mut summary = AckSummary::default();
    // 1001:4001 is missing, what was sent after it has arrived.
    w.queue.sack(4001, 9001, MSS, &mut summary);
    let progress = w.on_ack(410, &summary, |_| {});
    assert!(progress.undone && progress.verdict == Verdict::Entered);
    assert_eq!((w.queue.lost(), w.recovery.phase), (3000, Phase::Recovery));
    assert_eq!(w.first_lost(), Some((1001, 2001)));
}

/// RFC 5682 3.1 steps 2b and 3a: new data instead of repetitions; a duplicate then shows that the loss was real.
#[test]
fn a_time_out_that_was_needed_goes_on() {
    let mut w = World::new(spaced());
    w.recovery.on_timeout(&mut w.queue, 10_001, true, Instant::from_millis(400));
    w.queue.resent(1, 1001, &sent_at(Instant::from_millis(400)));
    let mut summary = AckSummary::default();
    w.queue.acknowledge(1001, &mut summary);
    assert_eq!(w.on_ack(500, &summary, |e| e.has_new_data = true).verdict, Verdict::Nothing);
    assert!(w.recovery.holds_repeats());
    w.on_ack(600, &AckSummary::default(), |e| (e.duplicate, e.nxt) = (true, 12_001));
    assert!(!w.recovery.holds_repeats());
    assert_eq!((w.first_lost(), w.recovery.phase), (Some((1001, 2001)), Phase::Loss));
}

/// RFC 2018 8: the SACKed front of the queue after a time-out shows a peer that reneged.
#[test]
fn a_time_out_with_a_sacked_front_is_reneging() {
    let mut w = World::new(flight(10));
    w.queue.sack(1, 2001, MSS, &mut AckSummary::default());
    assert!(w.recovery.on_timeout(&mut w.queue, 10_001, true, Instant::from_millis(400)));
    assert_eq!((w.queue.lost(), w.queue.sacked()), (10_000, 0));
}

/// What a unit remembers that is sent at `at`, as far as matters here.
fn sent_at(at: Instant) -> SentState {
    SentState {
        sent_at: at,
        delivered: 0,
        delivered_at: Instant::ZERO,
        first_sent_at: Instant::ZERO,
        in_flight: 0,
        lost: 0,
        app_limited: false,
    }
}
