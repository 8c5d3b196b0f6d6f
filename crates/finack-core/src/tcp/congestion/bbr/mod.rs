//! BBR version 3 (draft-ietf-ccwg-bbr-06): a model of the path, its rate and its round trip, says how fast to send and
//! how much may be out. Loss bounds the model only where it is more than the path has anyway.
//!
//! Where this departs from the draft: LossThresh is about loss beyond what the path shows while its queue is empty (see
//! [`model::Noise`]); short of that a round with losses does not lower the short-term bounds either; and Startup does not
//! end for losses while the rate still grows.
//!
//! All of it in whole numbers: bytes, bytes a second, and gains in percent.

mod model;
mod probe_bw;
mod probe_rtt;
mod startup;

use alloc::boxed::Box;
use core::time::Duration;

use super::{Control, Delivery, Losses, Sending};
use crate::time::Instant;
use model::{Aggregation, Latest, Noise, Rtts, Undo};
use probe_bw::{AckPhase, Cycle};
use startup::FullPipe;

/// No bound ("Infinity" in the draft).
const UNBOUNDED: u64 = u64::MAX;
/// StartupPacingGain, in percent.
const STARTUP_GAIN: u64 = 277;
/// DrainPacingGain.
const DRAIN_GAIN: u64 = 50;
/// DefaultCwndGain.
const CWND_GAIN: u64 = 200;
/// ProbeRTTCwndGain.
const PROBE_RTT_CWND_GAIN: u64 = 50;
/// What is left of a bound after a loss (Beta).
const BETA: u64 = 70;
/// Headroom: the share of the bound of what is in flight that is left to others, in percent.
const HEADROOM: u64 = 15;
/// PacingMarginPercent.
const MARGIN: u64 = 1;
/// MinPipeCwnd, in segments.
const LEAST_SEGMENTS: u64 = 4;
/// The largest unit that a device takes at once.
const MOST_QUANTUM: u64 = 65_536;

/// Where the flow stands (5.1.1 of the draft).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    ProbeBwDown,
    ProbeBwCruise,
    ProbeBwRefill,
    ProbeBwUp,
    ProbeRtt,
}

impl State {
    const fn is_probe_bw(self) -> bool {
        matches!(self, Self::ProbeBwDown | Self::ProbeBwCruise | Self::ProbeBwRefill | Self::ProbeBwUp)
    }

    /// IsProbingBW: it tries to find out whether the path takes more.
    const fn accelerates(self) -> bool {
        matches!(self, Self::Startup | Self::ProbeBwRefill | Self::ProbeBwUp)
    }

    /// The pacing gain in percent (5.6.1).
    const fn pacing_gain(self) -> u64 {
        match self {
            Self::Startup => STARTUP_GAIN,
            Self::Drain => DRAIN_GAIN,
            Self::ProbeBwDown => 90,
            Self::ProbeBwCruise | Self::ProbeBwRefill | Self::ProbeRtt => 100,
            Self::ProbeBwUp => 125,
        }
    }

    /// The gain of the window in percent (5.6.1).
    const fn cwnd_gain(self) -> u64 {
        match self {
            Self::ProbeBwUp => 225,
            Self::ProbeRtt => PROBE_RTT_CWND_GAIN,
            _ => CWND_GAIN,
        }
    }
}

/// Bytes that leave in `time` at `rate` bytes a second.
fn volume(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate) * time.as_nanos() / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(UNBOUNDED)
}

/// `value` times `gain` percent.
const fn gained(value: u64, gain: u64) -> u64 {
    // Split, so that no rate overflows.
    value / 100 * gain + value % 100 * gain / 100
}

/// Rounds counted by packets (5.5.1).
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    /// The round is over once something is acknowledged that was sent when so much had been delivered.
    next: u64,
    /// This ACK began one.
    start: bool,
    count: u64,
}

/// The controller. Bytes, and bytes a second.
#[derive(Clone, Debug)]
pub(crate) struct Bbr {
    state: State,
    cwnd: u64,
    /// The last one that neither loss nor ProbeRTT made smaller.
    prior_cwnd: u64,
    initial: u64,
    mss: u64,
    pacing_rate: u64,
    /// The first round trip was measured.
    has_rtt: bool,
    /// What was delivered in all.
    delivered: u64,
    in_flight: u64,
    rounds: Rounds,
    /// The highest rate of the last cycle of probing and of this one.
    max_bw: [u64; 2],
    /// What the path carries just now.
    bw: u64,
    bw_short: u64,
    inflight_short: u64,
    inflight_long: u64,
    latest: Latest,
    noise: Noise,
    rtts: Rtts,
    aggregation: Aggregation,
    full: FullPipe,
    cycle: Cycle,
    undo: Undo,
    /// Losses are being repaired.
    repairing: bool,
    /// Since the last ACK it was told what is lost.
    told: bool,
    idle_restart: bool,
    /// The window kept data back since so much was delivered; until so much is, that counts.
    limited_until: u64,
    /// ProbeRTT ends then, once so little is in flight.
    probe_rtt_done: Option<Instant>,
    probe_rtt_round_done: bool,
    drain_start: u64,
    /// A generator for the times between probes (xorshift).
    random: u64,
}

impl Bbr {
    pub(crate) fn new(initial: u64, seed: u64) -> Box<Self> {
        Box::new(Self {
            state: State::Startup,
            cwnd: initial,
            prior_cwnd: 0,
            initial,
            mss: 1,
            // InitPacingRate, for a round trip of 1 ms until there is one.
            pacing_rate: gained(initial.saturating_mul(1000), STARTUP_GAIN),
            has_rtt: false,
            delivered: 0,
            in_flight: 0,
            rounds: Rounds::default(),
            max_bw: [0; 2],
            bw: 0,
            bw_short: UNBOUNDED,
            inflight_short: UNBOUNDED,
            inflight_long: UNBOUNDED,
            latest: Latest::default(),
            noise: Noise::default(),
            rtts: Rtts::new(),
            aggregation: Aggregation::default(),
            full: FullPipe::default(),
            cycle: Cycle::default(),
            undo: Undo::default(),
            repairing: false,
            told: false,
            idle_restart: false,
            limited_until: 0,
            probe_rtt_done: None,
            probe_rtt_round_done: false,
            drain_start: 0,
            random: seed | 1,
        })
    }

    /// What chance goes on from.
    pub(super) const fn seed(&self) -> u64 {
        self.random
    }

    /// A number below `bound`.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) % bound.max(1)
    }

    fn max_bw(&self) -> u64 {
        self.max_bw[0].max(self.max_bw[1])
    }

    /// BDPMultiple (5.6.4.2), `gain` in percent.
    fn bdp(&self, bw: u64, gain: u64) -> u64 {
        match self.rtts.min() {
            Some(rtt) => gained(volume(bw, rtt), gain),
            None => self.initial,
        }
    }

    fn least_cwnd(&self) -> u64 {
        LEAST_SEGMENTS * self.mss
    }

    /// SetSendQuantum (5.6.3): what leaves at once.
    fn quantum(&self) -> u64 {
        (self.pacing_rate / 1000).min(MOST_QUANTUM).max(2 * self.mss)
    }

    /// QuantizationBudget (5.6.4.2).
    fn quantized(&self, cap: u64) -> u64 {
        let cap = cap.max(3 * self.quantum()).max(self.least_cwnd());
        if self.state == State::ProbeBwUp { cap + 2 * self.mss } else { cap }
    }

    /// TargetInflight (5.3.3.8).
    fn target_inflight(&self) -> u64 {
        self.bdp(self.bw, 100).min(self.cwnd)
    }

    fn start_round(&mut self) {
        self.rounds.next = self.delivered;
    }

    /// The window held something back in the round that is being acknowledged.
    const fn is_cwnd_limited(&self) -> bool {
        self.delivered < self.limited_until
    }

    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = gained(gained(self.bw, gain), 100 - MARGIN);
        if rate > 0 && (self.full.reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// SetCwnd (5.6.4.6).
    fn update_cwnd(&mut self, acked: u64) {
        let cap = self.bdp(self.bw, self.state.cwnd_gain()).saturating_add(self.aggregation.extra());
        let most = self.quantized(cap);
        if self.full.reached {
            self.cwnd = (self.cwnd + acked).min(most);
        } else if self.cwnd < most || self.delivered < self.initial {
            self.cwnd += acked;
        }
        self.cwnd = self.cwnd.max(self.least_cwnd());
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        self.bound_cwnd();
    }

    /// BoundCwndForModel (5.6.4.7).
    fn bound_cwnd(&mut self) {
        let cap = match self.state {
            State::ProbeBwCruise | State::ProbeRtt => self.inflight_with_headroom(),
            state if state.is_probe_bw() => self.inflight_long,
            _ => UNBOUNDED,
        };
        let cap = cap.min(self.inflight_short).max(self.least_cwnd());
        self.cwnd = self.cwnd.min(cap);
    }

    /// SaveCwnd (5.6.4.4).
    fn save_cwnd(&mut self) {
        let held_back = self.repairing || self.state == State::ProbeRtt;
        self.prior_cwnd = if held_back { self.prior_cwnd.max(self.cwnd) } else { self.cwnd };
    }

    fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }

    /// UpdateModelAndState (5.2.3).
    fn update_model(&mut self, d: &Delivery) {
        self.update_latest(d);
        self.update_congestion_signals(d);
        self.aggregation.update(d, self.bw, self.cwnd, self.full.reached, &self.rounds);
        self.check_full_pipe(d);
        self.check_startup_done(d);
        self.check_drain_done(d);
        self.update_probe_bw(d);
        self.update_rtts(d);
        self.check_probe_rtt(d);
        self.advance_latest(d);
        // BoundBWForModel.
        self.bw = self.max_bw().min(self.bw_short);
    }
}

impl Control for Bbr {
    fn cwnd(&self) -> u64 {
        self.cwnd
    }

    fn ssthresh(&self) -> u64 {
        UNBOUNDED
    }

    fn on_ack(&mut self, _delivery: &Delivery) {}

    fn on_delivery(&mut self, d: &Delivery) {
        self.mss = d.mss.max(1);
        self.delivered = d.delivered;
        self.in_flight = d.still_in_flight;
        self.told = false;
        self.note_rtt(d.srtt_us);
        if self.repairing && !d.repairing {
            self.repairing = false;
            self.restore_cwnd();
        }
        self.update_model(d);
        self.set_pacing_rate(self.state.pacing_gain());
        self.update_cwnd(d.newly_delivered);
    }

    fn on_lost(&mut self, losses: &Losses) {
        self.handle_losses(losses);
        self.told = true;
    }

    fn on_loss(&mut self, _in_flight: u64, _mss: u64) {
        // What was lost has been told before, unless a tail loss probe repaired it.
        if !self.told {
            self.note_loss();
        }
        self.save_cwnd();
        self.repairing = true;
    }

    fn on_recovered(&mut self) {}

    /// Marks count as a share of what arrives ([`Delivery::ce`]), not one by one.
    fn on_ecn(&mut self, _in_flight: u64, _mss: u64) {}

    /// HandleRestartFromIdle (5.4.1).
    fn on_sent(&mut self, s: &Sending) {
        self.note_rtt(s.srtt_us);
        if s.in_flight == 0 && s.app_limited {
            self.idle_restart = true;
            self.aggregation.restart(s.now);
            if self.state.is_probe_bw() {
                self.set_pacing_rate(100);
            } else if self.state == State::ProbeRtt {
                self.check_probe_rtt_done(s.now);
            }
        }
        if s.cwnd_limited {
            self.limited_until = s.delivered + s.in_flight + s.bytes;
        }
    }

    fn on_undone(&mut self, now: Instant) {
        self.handle_spurious_loss(now);
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.cwnd = cwnd;
    }

    fn rules_recovery(&self) -> bool {
        true
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn holds_back(&self) -> bool {
        self.state == State::ProbeRtt
    }

    /// OnEnterRTO (5.6.4.4); recovery then allows one segment beyond what is still in flight.
    fn on_timeout(&mut self, _in_flight: u64, _mss: u64) {
        self.note_loss();
        self.save_cwnd();
        self.repairing = true;
    }

    /// 5.4.2: the model says how fast to go on.
    fn on_idle(&mut self, _rtos: u32, _initial: u64) {}

    fn on_mss_change(&mut self, mss: u64) {
        self.mss = mss.max(1);
        self.cwnd = self.cwnd.max(mss);
    }
}

#[cfg(test)]
mod tests;
