//! ProbeRTT (5.3.4 of the draft): from time to time little is sent, so that queues empty and the round trip shows.

use core::time::Duration;

use super::{AckPhase, Bbr, PROBE_RTT_CWND_GAIN, State};
use crate::tcp::congestion::Delivery;
use crate::time::Instant;

/// ProbeRTTDuration.
const LASTS: Duration = Duration::from_millis(200);

impl Bbr {
    /// ProbeRTTCwnd (5.6.4.5).
    pub(super) fn probe_rtt_cwnd(&self) -> u64 {
        self.bdp(self.bw, PROBE_RTT_CWND_GAIN).max(self.least_cwnd())
    }

    /// CheckProbeRTT.
    pub(super) fn check_probe_rtt(&mut self, d: &Delivery) {
        if self.state != State::ProbeRtt && self.rtts.expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.probe_rtt_done = None;
            self.cycle.phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(d);
        }
        if d.newly_delivered > 0 {
            self.idle_restart = false;
        }
    }

    /// HandleProbeRTT.
    fn handle_probe_rtt(&mut self, d: &Delivery) {
        if self.probe_rtt_done.is_some() {
            self.probe_rtt_round_done |= self.rounds.start;
            if self.probe_rtt_round_done {
                self.check_probe_rtt_done(d.now);
            }
        } else if self.in_flight <= self.probe_rtt_cwnd() {
            self.probe_rtt_done = Some(d.now + LASTS);
            self.probe_rtt_round_done = false;
            self.start_round();
        }
    }

    /// CheckProbeRTTDone.
    pub(super) fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.probe_rtt_done.is_none_or(|done| now <= done) {
            return;
        }
        self.rtts.recent_at = now;
        self.restore_cwnd();
        // ExitProbeRTT (5.3.4.4).
        self.reset_short_term();
        if self.full.reached {
            self.start_down(now);
            self.state = State::ProbeBwCruise;
        } else {
            self.state = State::Startup;
        }
    }
}
