//! BBR on a path that is only numbers: each ACK is a round trip.

use super::*;
use crate::tcp::rate::RateSample;

const MSS: u64 = 1000;
/// A round trip, in milliseconds.
const RTT: u64 = 20;
/// Bytes a second: a hundred segments in a round trip.
const RATE: u64 = 5_000_000;
const BDP: u64 = RATE * RTT / 1000;

struct Path {
    bbr: Box<Bbr>,
    now: Instant,
    delivered: u64,
}

/// What an ACK of a whole round brings.
#[derive(Clone, Copy)]
struct Round {
    rate: u64,
    rtt: u64,
    /// What is left in flight.
    in_flight: u64,
    lost: u64,
    app_limited: bool,
    repairing: bool,
    ce: u64,
}

const STEADY: Round =
    Round { rate: RATE, rtt: RTT, in_flight: BDP, lost: 0, app_limited: false, repairing: false, ce: 0 };

impl Path {
    fn new() -> Self {
        Self { bbr: Bbr::new(10 * MSS, 7), now: Instant::from_secs(1), delivered: 0 }
    }

    /// A round trip passes.
    fn round(&mut self, round: Round) {
        let rtt = Duration::from_millis(round.rtt);
        self.now += rtt;
        let bytes = volume(round.rate, rtt).max(MSS);
        let prior = self.delivered;
        self.delivered += bytes;
        self.bbr.on_delivery(&Delivery {
            now: self.now,
            srtt_us: round.rtt * 1000,
            min_rtt_us: round.rtt * 1000,
            rtt: Some(rtt),
            delivered: self.delivered,
            newly_delivered: bytes,
            acked: bytes,
            in_flight: round.in_flight + bytes,
            still_in_flight: round.in_flight,
            lost: round.lost,
            ce: round.ce,
            sample: Some(RateSample {
                delivered: bytes,
                nanos: round.rtt * 1_000_000,
                prior_delivered: prior,
                app_limited: round.app_limited,
                in_flight: bytes,
                lost: round.lost,
            }),
            used: bytes,
            cwnd_limited: false,
            repairing: round.repairing,
            sack: true,
            mss: MSS,
        });
    }

    fn rounds(&mut self, count: u32, round: Round) {
        (0..count).for_each(|_| self.round(round));
    }

    /// Recovery takes `bytes` of a flight of `in_flight` for lost.
    fn lose(&mut self, bytes: u64, in_flight: u64) {
        self.bbr.on_lost(&Losses {
            now: self.now,
            bytes,
            since_sent: bytes,
            sent_in_flight: in_flight,
            app_limited: false,
            sack: true,
            mss: MSS,
        });
    }

    /// Through Startup and Drain to where it cruises.
    fn cruising() -> Self {
        let mut path = Self::new();
        for shift in (0..6).rev() {
            path.round(Round { rate: RATE >> shift, ..STEADY });
        }
        path.until(State::ProbeBwCruise, 10, Round { in_flight: BDP * 9 / 10, ..STEADY });
        path
    }

    /// Rounds like this one until it is there; fails where it takes more than `most`.
    fn until(&mut self, state: State, most: u32, round: Round) {
        for _ in 0..most {
            if self.bbr.state == state {
                return;
            }
            self.round(round);
        }
        assert_eq!(self.bbr.state, state);
    }
}

/// draft-ietf-ccwg-bbr 5.3.1.2: while the rate doubles so does the pacing rate; three rounds without growth by a quarter
/// end Startup.
#[test]
fn startup_ends_when_the_rate_does_not_grow() {
    let mut path = Path::new();
    for shift in (0..6).rev() {
        path.round(Round { rate: RATE >> shift, ..STEADY });
        assert_eq!(path.bbr.state, State::Startup);
        // 5.6.2: at first for the initial window in a round trip.
        let rate = (10 * MSS * 1000 / RTT * 277 / 100).max((RATE >> shift) * 277 / 100 * 99 / 100);
        assert_eq!(path.bbr.pacing_rate().unwrap() / 1000, rate / 1000);
    }
    path.rounds(2, Round { in_flight: 2 * BDP, ..STEADY });
    assert_eq!(path.bbr.state, State::Startup);
    path.round(Round { in_flight: 2 * BDP, ..STEADY });
    assert_eq!(path.bbr.state, State::Drain);
    assert_eq!(path.bbr.pacing_rate().unwrap(), RATE / 2 * 99 / 100);
}

/// draft-ietf-ccwg-bbr 5.3.1.3: losses end Startup where they are many and the rate no longer grows.
#[test]
fn startup_ends_for_losses_only_where_the_rate_stays() {
    let losing = Round { lost: BDP / 10, repairing: true, in_flight: 2 * BDP, ..STEADY };
    let mut path = Path::new();
    for shift in (0..6).rev() {
        path.bbr.on_loss(0, MSS);
        path.bbr.latest.loss_events = 6;
        path.round(Round { rate: RATE >> shift, ..losing });
    }
    assert_eq!(path.bbr.state, State::Startup, "the rate doubles all the time");
    path.bbr.latest.loss_events = 6;
    path.round(losing);
    assert_eq!(path.bbr.state, State::Drain);
    assert_eq!(path.bbr.inflight_long, BDP);
}

/// draft-ietf-ccwg-bbr 5.3.2, 5.3.3.1: Drain lasts until no more is in flight than the path holds, and after three rounds
/// in any case; then it goes down and cruises.
#[test]
fn drain_empties_the_queue() {
    let mut path = Path::new();
    path.rounds(4, Round { in_flight: 3 * BDP, ..STEADY });
    assert_eq!(path.bbr.state, State::Drain);
    path.rounds(2, Round { in_flight: 3 * BDP, ..STEADY });
    assert_eq!(path.bbr.state, State::Drain);
    path.round(STEADY);
    assert_eq!(path.bbr.state, State::ProbeBwCruise, "through ProbeBW_DOWN, since nothing is left to drain");
    // Twice what the path holds, and a round's worth that comes with each ACK here (5.5.9).
    assert_eq!((path.bbr.cwnd(), path.bbr.pacing_rate()), (3 * BDP, Some(RATE * 99 / 100)));
}

/// draft-ietf-ccwg-bbr 5.3.3: after two to three seconds, or 63 rounds, one round refills the pipe, and then it sends a
/// quarter more until the rate does not grow for three rounds.
#[test]
fn the_cycle_probes_for_more() {
    let mut path = Path::cruising();
    let since = path.now;
    path.until(State::ProbeBwRefill, 70, STEADY);
    let waited = path.now.since(since);
    assert!((1200..=3000).contains(&waited.as_millis()), "{waited:?}");
    path.round(STEADY);
    assert_eq!(path.bbr.state, State::ProbeBwUp);
    assert_eq!(path.bbr.pacing_rate().unwrap(), RATE / 4 * 5 * 99 / 100);
    let up = Round { in_flight: BDP * 5 / 4, ..STEADY };
    path.rounds(2, up);
    assert_eq!(path.bbr.state, State::ProbeBwUp);
    path.round(up);
    assert_eq!(path.bbr.state, State::ProbeBwDown);
    assert_eq!(path.bbr.pacing_rate().unwrap(), RATE / 10 * 9 * 99 / 100);
    path.round(up);
    assert_eq!(path.bbr.state, State::ProbeBwDown, "more is in flight than the path holds");
    path.round(Round { in_flight: BDP, ..STEADY });
    assert_eq!(path.bbr.state, State::ProbeBwCruise);
}

/// draft-ietf-ccwg-bbr 5.5.2: a path that became faster is used.
#[test]
fn more_is_found_where_there_is_more() {
    let mut path = Path::cruising();
    path.until(State::ProbeBwUp, 80, STEADY);
    path.rounds(4, Round { rate: RATE * 3, ..STEADY });
    assert_eq!(path.bbr.max_bw(), RATE * 3);
}

/// draft-ietf-ccwg-bbr 5.5.10.2: losses of more than the threshold while it probes bound what is in flight, and end the
/// probe; the bound leaves headroom to others while it cruises.
#[test]
fn a_probe_that_loses_too_much_is_taken_back() {
    let mut path = Path::cruising();
    path.until(State::ProbeBwUp, 80, STEADY);
    path.lose(10 * MSS, 125 * MSS);
    assert_eq!(path.bbr.state, State::ProbeBwDown);
    // 115 segments were in flight before those that were lost, and two percent of that might be lost.
    let bound = path.bbr.inflight_long;
    assert!((115 * MSS..=118 * MSS).contains(&bound), "{bound}");
    path.until(State::ProbeBwCruise, 5, Round { in_flight: BDP / 2, ..STEADY });
    path.round(STEADY);
    assert_eq!(path.bbr.cwnd(), bound - bound * 15 / 100);
}

/// A segment or two of a hundred say nothing.
#[test]
fn a_probe_that_loses_little_goes_on() {
    let mut path = Path::cruising();
    path.until(State::ProbeBwUp, 80, STEADY);
    path.lose(2 * MSS, 125 * MSS);
    assert_eq!((path.bbr.state, path.bbr.inflight_long), (State::ProbeBwUp, UNBOUNDED));
}

/// draft-ietf-ccwg-bbr 5.5.10.3: a round with losses while it cruises brings it down to what arrived in it and in the one
/// before, never below 70 %.
#[test]
fn losses_lower_the_short_term_bounds() {
    let mut path = Path::cruising();
    let before = path.bbr.cwnd();
    for expected in [(RATE, before * 7 / 10), (RATE * 7 / 10, before * 49 / 100)] {
        path.lose(20 * MSS, 100 * MSS);
        path.round(Round { rate: RATE / 2, lost: 20 * MSS, ..STEADY });
        assert_eq!((path.bbr.bw_short, path.bbr.inflight_short), expected);
    }
    assert_eq!(path.bbr.pacing_rate(), Some(RATE * 7 / 10 * 99 / 100));
    // 5.3.3.3: the next probe forgets them.
    path.until(State::ProbeBwRefill, 70, STEADY);
    assert_eq!(path.bbr.bw, RATE);
}

/// What the path loses while its queue is empty is not the sender's doing: three percent for ever take nothing away.
#[test]
fn the_loss_that_a_path_has_for_itself_is_told_apart() {
    let mut path = Path::cruising();
    let losing = Round { lost: 3 * MSS, in_flight: BDP * 9 / 10, ..STEADY };
    for _ in 0..300 {
        path.lose(3 * MSS, 100 * MSS);
        path.round(losing);
    }
    assert_eq!(path.bbr.max_bw(), RATE);
    assert!(path.bbr.bw >= RATE * 9 / 10, "{} of {RATE}", path.bbr.bw);
    // But not where round trips tell of a queue.
    let mut path = Path::cruising();
    for _ in 0..40 {
        path.lose(6 * MSS, 100 * MSS);
        path.round(Round { lost: 6 * MSS, rtt: 2 * RTT, rate: RATE / 2, ..losing });
    }
    assert!(path.bbr.bw < RATE * 8 / 10, "{} of {RATE}", path.bbr.bw);
}

/// draft-ietf-ccwg-bbr 5.3.4: after five seconds without a lower round trip little is in flight for 200 ms; then the window
/// is what it was.
#[test]
fn probe_rtt_looks_for_a_shorter_round_trip() {
    let mut path = Path::cruising();
    let slower = Round { rtt: RTT + 2, ..STEADY };
    path.until(State::ProbeRtt, 300, slower);
    let window = path.bbr.prior_cwnd;
    assert!(path.bbr.holds_back());
    path.round(Round { in_flight: BDP / 2, ..slower });
    assert!(path.bbr.cwnd() <= BDP / 2 + MSS, "half of what the path holds, not {}", path.bbr.cwnd());
    let since = path.now;
    path.until(State::ProbeBwCruise, 20, Round { rtt: RTT, in_flight: BDP / 2, ..STEADY });
    assert!((200..300).contains(&path.now.since(since).as_millis()));
    assert!(path.bbr.cwnd() >= window.min(2 * BDP) - MSS);
}

/// draft-ietf-ccwg-bbr 5.3.4.2: who was idle for long enough need not probe.
#[test]
fn idleness_counts_as_a_probe_of_the_round_trip() {
    let mut path = Path::cruising();
    path.now += Duration::from_secs(20);
    path.bbr.on_sent(&Sending {
        now: path.now,
        srtt_us: RTT * 1000,
        bytes: MSS,
        in_flight: 0,
        delivered: path.delivered,
        app_limited: true,
        cwnd_limited: false,
    });
    // 5.4.1: it goes on at the rate that it knows.
    assert_eq!(path.bbr.pacing_rate(), Some(RATE * 99 / 100));
    path.round(STEADY);
    assert_ne!(path.bbr.state, State::ProbeRtt);
}

/// draft-ietf-ccwg-bbr 5.5.4: a rate that the application limited shows nothing, unless it is higher.
#[test]
fn what_the_application_limits_is_no_measure() {
    let mut path = Path::cruising();
    for _ in 0..100 {
        path.round(Round { rate: RATE / 10, app_limited: true, in_flight: 0, ..STEADY });
    }
    assert_eq!(path.bbr.max_bw(), RATE);
    path.round(Round { rate: RATE * 2, app_limited: true, ..STEADY });
    assert_eq!(path.bbr.max_bw(), RATE * 2);
}

/// draft-ietf-ccwg-bbr 5.5.11: nothing had been lost, so that the probe goes on and the bounds are what they were.
#[test]
fn spurious_losses_are_taken_back() {
    let mut path = Path::cruising();
    path.until(State::ProbeBwUp, 80, STEADY);
    let window = path.bbr.cwnd();
    path.lose(10 * MSS, 125 * MSS);
    path.bbr.on_loss(125 * MSS, MSS);
    assert_eq!(path.bbr.state, State::ProbeBwDown);
    path.bbr.on_undone(path.now);
    assert_eq!((path.bbr.state, path.bbr.inflight_long), (State::ProbeBwRefill, UNBOUNDED));
    assert!(path.bbr.cwnd() >= window);
}

/// draft-ietf-ccwg-bbr 5.6.4.4: after a time-out one segment goes, and when all is repaired the window is back.
#[test]
fn a_time_out_is_got_over() {
    let mut path = Path::cruising();
    let window = path.bbr.cwnd();
    path.bbr.on_timeout(0, MSS);
    path.bbr.set_cwnd(MSS);
    path.round(Round { rate: 50_000, app_limited: true, repairing: true, in_flight: 0, ..STEADY });
    assert!(path.bbr.cwnd() < window / 2);
    path.round(Round { rate: 50_000, app_limited: true, in_flight: 0, ..STEADY });
    assert!(path.bbr.cwnd() >= window);
}

/// draft-ietf-ccwg-bbr 5.5.9: what ACKs bring at once beyond the rate lets the window be larger by that.
#[test]
fn aggregated_acks_widen_the_window() {
    let mut path = Path::cruising();
    let plain = path.bbr.cwnd();
    let mut d = super::super::testing::delivery(30 * MSS, BDP, MSS);
    (d.now, d.rtt) = (path.now + Duration::from_millis(1), None);
    d.delivered = path.delivered + 30 * MSS;
    for _ in 0..4 {
        path.bbr.on_delivery(&d);
    }
    assert!(path.bbr.cwnd() > plain + 20 * MSS, "{} after {plain}", path.bbr.cwnd());
}

/// Marks bound what is in flight by their share, where others are told apart by loss.
#[test]
fn marks_lower_what_is_in_flight() {
    let mut path = Path::cruising();
    let window = path.bbr.cwnd();
    path.rounds(8, Round { ce: BDP / 4, ..STEADY });
    let bound = path.bbr.inflight_short;
    assert!(bound < window && bound > window / 2, "{bound} of {window}");
}

/// Two flows with different seeds do not probe in step.
#[test]
fn probes_come_at_random_times() {
    let wait = |seed| {
        let mut path = Path::cruising();
        path.bbr.random = seed;
        path.bbr.start_down(path.now);
        path.bbr.cycle
    };
    assert_ne!(alloc::format!("{:?}", wait(1)), alloc::format!("{:?}", wait(0x1234_5678_9abc)));
}
