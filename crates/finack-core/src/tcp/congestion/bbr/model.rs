//! What BBR knows of the path (5.5 of the draft): rate, round trip, and how much fits.

use core::time::Duration;

use super::{BETA, Bbr, Rounds, STARTUP_GAIN, State, UNBOUNDED, gained, volume};
use crate::tcp::congestion::{Delivery, Losses};
use crate::time::Instant;

/// MinRTTFilterLen.
const MIN_RTT_LASTS: Duration = Duration::from_secs(10);
/// ProbeRTTInterval.
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
/// ExtraAckedFilterLen is ten rounds: two halves of so many.
const EXTRA_ACKED_HALF: u64 = 5;
/// Shares are in units of 1/1024.
const ALL: u64 = 1024;
/// LossThresh: two percent.
const LOSS_THRESHOLD: u64 = 20;
/// More than so much is never taken for the path's own loss: four percent.
const MOST_NOISE: u64 = 41;
/// Segments that make a sample of it.
const NOISE_SAMPLE: u64 = 200;
/// Standard deviations that are chance.
const CHANCE: u64 = 2;
/// A share of CE marks that is too much, as in Linux's tcp_bbr of version 3; the draft leaves ECN to others.
const ECN_TOO_HIGH: u64 = ALL / 2;

/// The least round trips (5.5.7, 5.3.4.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rtts {
    /// `Duration::MAX` before the first sample.
    min: Duration,
    min_at: Instant,
    recent: Duration,
    pub(super) recent_at: Instant,
    /// It is time to look for a lower one.
    pub(super) expired: bool,
}

impl Rtts {
    pub(super) const fn new() -> Self {
        let none = Duration::MAX;
        Self { min: none, min_at: Instant::ZERO, recent: none, recent_at: Instant::ZERO, expired: false }
    }

    pub(super) fn min(&self) -> Option<Duration> {
        (self.min != Duration::MAX).then_some(self.min)
    }
}

/// The loss that the path has for itself: what is lost while its queue is empty, so that no sender can be the cause. On
/// a wireless link, say, that is no reason to send less.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noise {
    lost: u64,
    arrived: u64,
    /// The same of the present round, and whether round trips in it told of a queue.
    round: (u64, u64),
    queued: bool,
    /// Its mean share.
    share: u64,
}

impl Noise {
    /// The share of loss above which too much is in flight.
    const fn threshold(&self) -> u64 {
        LOSS_THRESHOLD + self.share
    }

    /// An ACK; `new_round` begins with it, and `steady` says that the round before was not one of probing.
    fn update(&mut self, d: &Delivery, min_rtt: Option<Duration>, new_round: bool, steady: bool) {
        if new_round {
            if steady && !self.queued {
                self.lost += self.round.0;
                self.arrived += self.round.1;
            }
            self.round = (0, 0);
            self.queued = false;
        }
        self.round.0 += d.lost;
        self.round.1 += d.newly_delivered;
        if let (Some(rtt), Some(min)) = (d.rtt, min_rtt) {
            self.queued |= rtt > min + (min / 8).max(Duration::from_millis(1));
        }
        let all = self.lost + self.arrived;
        if all >= NOISE_SAMPLE * d.mss {
            let sample = (self.lost * ALL / all).min(MOST_NOISE);
            // The first sample counts, and later ones a quarter.
            self.share = if self.share == 0 { sample } else { (3 * self.share + sample) / 4 };
            (self.lost, self.arrived) = (0, 0);
        }
    }
}

/// What the last round delivered (5.5.10.3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latest {
    bw: u64,
    /// What it lost, and what arrived.
    lost: u64,
    got: u64,
    pub(super) inflight: u64,
    loss_round: u64,
    pub(super) loss_round_start: bool,
    pub(super) loss_in_round: bool,
    /// Times in this round that something was taken for lost.
    pub(super) loss_events: u32,
    /// Bytes that arrived with CE in this round, and bytes that arrived.
    marked: u64,
    arrived: u64,
    /// The mean share of marks.
    pub(super) alpha: u64,
    /// Rounds in a row with too many.
    pub(super) marked_rounds: u32,
    marks_in_round: bool,
}

impl Latest {
    /// ResetCongestionSignals.
    pub(super) const fn reset(&mut self) {
        self.loss_in_round = false;
        self.marks_in_round = false;
        self.bw = 0;
        self.inflight = 0;
    }
}

/// What was before a loss (5.5.11.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undo {
    /// Where the loss took the flow away from.
    pub(super) state: Option<State>,
    bw_short: u64,
    inflight_short: u64,
    inflight_long: u64,
}

/// How much more ACKs bring at once than the rate explains (5.5.9).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aggregation {
    since: Instant,
    acked: u64,
    /// The most in each half of the window.
    most: [u64; 2],
    /// Rounds in the present half.
    rounds: u64,
}

impl Aggregation {
    pub(super) fn extra(&self) -> u64 {
        self.most[0].max(self.most[1])
    }

    pub(super) const fn restart(&mut self, now: Instant) {
        self.since = now;
        self.acked = 0;
    }

    /// UpdateACKAggregation.
    pub(super) fn update(&mut self, d: &Delivery, bw: u64, cwnd: u64, full: bool, rounds: &Rounds) {
        if rounds.start {
            self.rounds += 1;
            let half = if full { EXTRA_ACKED_HALF } else { 1 };
            if self.rounds >= half {
                self.rounds = 0;
                self.most = [self.most[1], 0];
            }
        }
        if d.newly_delivered == 0 {
            return;
        }
        let mut expected = volume(bw, d.now.since(self.since));
        if self.acked <= expected {
            self.restart(d.now);
            expected = 0;
        }
        self.acked += d.newly_delivered;
        // As Linux: never more than a tenth of a second at the rate.
        let most = cwnd.min(volume(bw, Duration::from_millis(100)));
        self.most[1] = self.most[1].max((self.acked - expected.min(self.acked)).min(most));
    }
}

impl Bbr {
    /// InitPacingRate, once there is a round trip (5.6.2).
    pub(super) fn note_rtt(&mut self, srtt_us: u64) {
        if !self.has_rtt && srtt_us > 0 {
            self.has_rtt = true;
            self.pacing_rate = gained(self.initial.saturating_mul(1_000_000) / srtt_us, STARTUP_GAIN).max(1);
        }
    }

    /// UpdateLatestDeliverySignals (5.5.10.3).
    pub(super) fn update_latest(&mut self, d: &Delivery) {
        self.latest.loss_round_start = false;
        self.latest.lost += d.lost;
        self.latest.got += d.newly_delivered;
        if d.lost > 0 {
            self.latest.loss_events += 1;
        }
        let Some(sample) = &d.sample else { return };
        self.latest.bw = self.latest.bw.max(sample.rate());
        self.latest.inflight = self.latest.inflight.max(sample.delivered);
        if sample.prior_delivered >= self.latest.loss_round {
            self.latest.loss_round = d.delivered;
            self.latest.loss_round_start = true;
        }
    }

    /// AdvanceLatestDeliverySignals.
    pub(super) fn advance_latest(&mut self, d: &Delivery) {
        if let (true, Some(sample)) = (self.latest.loss_round_start, &d.sample) {
            self.latest.bw = sample.rate();
            self.latest.inflight = sample.delivered;
            self.latest.loss_events = 0;
            (self.latest.lost, self.latest.got) = (0, 0);
        }
    }

    /// UpdateCongestionSignals: once a round the model is adapted.
    pub(super) fn update_congestion_signals(&mut self, d: &Delivery) {
        self.update_max_bw(d);
        self.update_marks(d);
        let steady = matches!(self.state, State::ProbeBwCruise | State::ProbeBwDown);
        self.noise.update(d, self.rtts.min(), self.rounds.start, steady);
        if !self.latest.loss_round_start {
            return;
        }
        if !self.state.accelerates() {
            self.adapt_lower_bounds(d.sack);
        }
        self.latest.loss_in_round = false;
        self.latest.marks_in_round = false;
    }

    /// UpdateMaxBw and UpdateRound (5.5.5, 5.5.1).
    fn update_max_bw(&mut self, d: &Delivery) {
        self.rounds.start = false;
        let Some(sample) = &d.sample else { return };
        if sample.prior_delivered >= self.rounds.next {
            self.start_round();
            self.rounds.count += 1;
            self.rounds.start = true;
            self.cycle.rounds_since_up += 1;
        }
        let rate = sample.rate();
        if rate > 0 && (rate >= self.max_bw() || !sample.app_limited) {
            self.max_bw[1] = self.max_bw[1].max(rate);
        }
    }

    /// AdvanceMaxBwFilter.
    pub(super) const fn advance_max_bw(&mut self) {
        if self.max_bw[1] > 0 {
            self.max_bw = [self.max_bw[1], 0];
        }
    }

    /// The share of what arrives with CE, once a round.
    fn update_marks(&mut self, d: &Delivery) {
        let latest = &mut self.latest;
        latest.marked += d.ce;
        latest.arrived += d.newly_delivered;
        latest.marks_in_round |= d.ce > 0;
        if !self.rounds.start || latest.arrived == 0 {
            return;
        }
        let share = (latest.marked * ALL / latest.arrived).min(ALL);
        latest.alpha = latest.alpha - latest.alpha / 16 + share / 16;
        latest.marked_rounds = if share >= ECN_TOO_HIGH { latest.marked_rounds + 1 } else { 0 };
        (latest.marked, latest.arrived) = (0, 0);
    }

    /// InitLowerBounds, LossLowerBounds.
    fn adapt_lower_bounds(&mut self, sack: bool) {
        if self.latest.marks_in_round {
            self.inflight_short = self.inflight_short.min(self.cwnd);
            let kept = ALL - self.latest.alpha / 3;
            self.inflight_short = self.inflight_short / ALL * kept + self.inflight_short % ALL * kept / ALL;
        }
        let sent = self.latest.got + self.latest.lost;
        if !self.latest.loss_in_round || !self.is_too_high(self.latest.lost, sent, sack) {
            return;
        }
        if self.bw_short == UNBOUNDED {
            self.bw_short = self.max_bw();
        }
        if self.inflight_short == UNBOUNDED {
            self.inflight_short = self.cwnd;
        }
        self.bw_short = self.latest.bw.max(gained(self.bw_short, BETA));
        self.inflight_short = self.latest.inflight.max(gained(self.inflight_short, BETA));
    }

    /// ResetShortTermModel.
    pub(super) const fn reset_short_term(&mut self) {
        self.bw_short = UNBOUNDED;
        self.inflight_short = UNBOUNDED;
    }

    /// UpdateMinRTT (5.3.4.3).
    pub(super) fn update_rtts(&mut self, d: &Delivery) {
        let rtts = &mut self.rtts;
        rtts.expired = d.now > rtts.recent_at + PROBE_RTT_INTERVAL && rtts.recent != Duration::MAX;
        if let Some(rtt) = d.rtt.filter(|&rtt| rtt < rtts.recent || rtts.expired) {
            (rtts.recent, rtts.recent_at) = (rtt, d.now);
        }
        if rtts.recent < rtts.min || d.now > rtts.min_at + MIN_RTT_LASTS {
            (rtts.min, rtts.min_at) = (rtts.recent, rtts.recent_at);
        }
    }

    /// NoteLoss (5.5.10.2), and SaveStateUponLoss where no repair is under way yet.
    pub(super) fn note_loss(&mut self) {
        if !self.latest.loss_in_round {
            self.latest.loss_round = self.delivered;
        }
        self.latest.loss_in_round = true;
        if !self.repairing {
            self.undo = Undo {
                state: None,
                bw_short: self.bw_short,
                inflight_short: self.inflight_short,
                inflight_long: self.inflight_long,
            };
        }
    }

    /// HandleLostPacket (5.5.10.2), for all that is lost at once.
    pub(super) fn handle_losses(&mut self, l: &Losses) {
        self.note_loss();
        self.mss = l.mss.max(1);
        if !self.cycle.samples || !self.is_too_high(l.since_sent, l.sent_in_flight, l.sack) {
            return;
        }
        // InflightAtLoss: how much of what was sent would have been within the bound?
        let before = l.sent_in_flight.saturating_sub(l.bytes);
        let lost_before = l.since_sent.saturating_sub(l.bytes);
        let threshold = self.noise.threshold();
        let allowed = (before * threshold / ALL).saturating_sub(lost_before);
        let prefix = allowed * ALL / (ALL - threshold);
        self.handle_inflight_too_high(before + prefix, l.app_limited, l.now);
    }

    /// IsInflightTooHigh (5.5.10.2), and the same of marks.
    pub(super) fn is_inflight_too_high(&self, d: &Delivery) -> bool {
        let lost = d.sample.is_some_and(|s| self.is_too_high(s.lost, s.in_flight, d.sack));
        lost || self.latest.marked_rounds > 0
    }

    /// More than the threshold's share of `in_flight` is lost, and more than chance explains: of few segments one or two
    /// say nothing, which is what a standard deviation is for.
    const fn is_too_high(&self, lost: u64, in_flight: u64, sack: bool) -> bool {
        let expected = in_flight * self.noise.threshold() / ALL;
        let chance = (expected * self.mss).isqrt();
        lost > expected + CHANCE * chance || (lost > 0 && !sack)
    }

    /// HandleSpuriousLossDetection (5.5.11.2).
    pub(super) fn handle_spurious_loss(&mut self, now: Instant) {
        self.repairing = false;
        self.restore_cwnd();
        self.latest.loss_in_round = false;
        self.full.reset();
        self.bw_short = self.bw_short.max(self.undo.bw_short);
        self.inflight_short = self.inflight_short.max(self.undo.inflight_short);
        self.inflight_long = self.inflight_long.max(self.undo.inflight_long);
        match self.undo.state.take() {
            Some(State::Startup) if self.state != State::Startup => {
                self.full.reached = false;
                if self.state != State::ProbeRtt {
                    self.state = State::Startup;
                }
            }
            Some(State::ProbeBwUp) if !matches!(self.state, State::ProbeBwUp | State::ProbeRtt) => {
                self.start_refill(now);
            }
            _ => {}
        }
    }
}
