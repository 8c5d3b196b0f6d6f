//! What each timer does (RFC 9293 3.8, RFC 6298 5, RFC 1122 4.2.3).

use core::time::Duration;

use super::State;
use super::fast_open;
use super::input::{Outcome, fail};
use super::tcb::Connection;
use super::timers::Timer;
use crate::cx::Cx;
use crate::error::Error;
use crate::settings::Profile;
use crate::time::Instant;
use crate::trace::{EndCause, ResetReason, SendReason};

/// Linux's stand-in for `tcp_orphan_retries` = 0.
const ORPHAN_RETRIES: u64 = 8;
/// Least time between two keep-alive probes: a timer that is due as soon as it is set would never let go.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// Before anything was measured (RFC 6298 2.1).
const FIRST_RTO: Duration = Duration::from_secs(1);

impl Connection {
    /// Runs every timer that is due.
    pub(crate) fn on_timers(&mut self, cx: &mut Cx, now: Instant) -> Outcome {
        for timer in Timer::ALL {
            if !self.timers.is_due(timer, now) {
                continue;
            }
            self.timers.stop(timer);
            let outcome = match timer {
                Timer::Loss => {
                    self.on_loss_timer(cx, now);
                    Outcome::Keep
                }
                Timer::Retransmit => self.on_retransmit_timer(cx, now),
                Timer::DelayedAck => self.on_delayed_ack(cx),
                Timer::KeepAlive => self.on_keepalive_timer(cx, now),
                Timer::Cork => {
                    self.facts.set_push_small(true);
                    self.facts.set_unpushed(false);
                    Outcome::Keep
                }
            };
            if outcome != Outcome::Keep {
                return outcome;
            }
        }
        Outcome::Keep
    }

    fn on_delayed_ack(&mut self, cx: &mut Cx) -> Outcome {
        if self.ack.pending {
            if self.ack.interactive {
                // Nothing was there to carry it: it was no conversation.
                self.ack.interactive = false;
                self.ack.ato = super::tcb::ATO_MIN;
            } else {
                self.ack.ato = (self.ack.ato * 2).min(self.rtt.base().as_nanos() as u64);
            }
            cx.counters.tcp_delayed_acks += 1;
            self.ack_now(SendReason::DelayedAck);
        }
        Outcome::Keep
    }

    fn on_retransmit_timer(&mut self, cx: &mut Cx, now: Instant) -> Outcome {
        if self.waited_for_timer() && self.rtx.is_empty() {
            return Outcome::Keep;
        }
        match self.state {
            State::SynSent | State::SynReceived => self.on_syn_timeout(cx, now),
            _ if self.rtx.is_empty() => self.on_persist_timer(cx, now),
            _ => self.on_data_timeout(cx, now),
        }
    }

    /// The SYN (or the SYN,ACK of a simultaneous open) was not answered (RFC 9293 MUST-23).
    fn on_syn_timeout(&mut self, cx: &mut Cx, now: Instant) -> Outcome {
        let settings = &cx.settings;
        let mut most = u64::from(self.options.syn_retries.unwrap_or(settings.tcp_syn_retries as u32));
        if self.state == State::SynReceived && self.facts.fast_open() {
            most = settings.tcp_synack_retries;
        }
        if settings.profile == Profile::Rfc {
            // R2 for a SYN is at least three minutes: one more doubling than Linux does.
            most += 1;
        }
        // Linux ends it, too, when as many doublings from the first RTO would have been over.
        let longest = time_of_doublings(most, FIRST_RTO, settings.tcp_rto_max_ms);
        if self.state == State::SynSent {
            most += settings.tcp_syn_linear_timeouts;
        }
        let waited = now.since(self.created_at);
        let by_user = self.user_timeout().is_some_and(|t| waited >= t);
        let by_time = self.retries > 0 && waited >= longest;
        if u64::from(self.retries) >= most || by_time || by_user {
            fast_open::note_failure(cx, now, self);
            return self.give_up(cx);
        }
        cx.counters.tcp_timeouts += 1;
        self.retries = self.retries.saturating_add(1);
        if self.state != State::SynSent || u64::from(self.retries) > settings.tcp_syn_linear_timeouts {
            self.backoff = self.backoff.saturating_add(1);
        }
        self.rtx.mark_all_lost(false);
        self.facts.set_syn_due(true);
        self.restart_retransmit(cx, now);
        self.cut_to_user_timeout(now, self.created_at);
        Outcome::Keep
    }

    /// TCP_USER_TIMEOUT; 0 stands for none, as on Linux.
    fn user_timeout(&self) -> Option<Duration> {
        self.options.user_timeout.filter(|t| !t.is_zero())
    }

    /// The user time-out ends the connection when it is over, not at the next doubled RTO.
    fn cut_to_user_timeout(&mut self, now: Instant, since: Instant) {
        if let Some(most) = self.user_timeout() {
            self.timers.arm_earlier(Timer::Retransmit, (since + most).max(now));
        }
    }

    /// RFC 6298 5.4 to 5.7.
    fn on_data_timeout(&mut self, cx: &mut Cx, now: Instant) -> Outcome {
        if self.is_out_of_time(cx, now) {
            return self.give_up(cx);
        }
        cx.counters.tcp_timeouts += 1;
        self.repair_after_timeout(cx, now);
        self.retries = self.retries.saturating_add(1);
        self.backoff = self.backoff.saturating_add(1);
        self.search_on_timeout(cx, now, self.is_past_r1(cx, now));
        self.facts.set_push_small(true);
        let rto = self.rto(cx);
        self.timers.arm(Timer::Retransmit, now + rto);
        self.cut_to_user_timeout(now, self.trouble_since.get().unwrap_or(now));
        Outcome::Keep
    }

    /// R1 (RFC 9293 MUST-20): so long after the first repetition the path is in doubt.
    fn is_past_r1(&self, cx: &Cx, now: Instant) -> bool {
        let waited = now.since(self.trouble_since.get().unwrap_or(now));
        waited >= self.rtt.base() + time_of_retries(cx.settings.tcp_retries1, cx)
    }

    /// R2 (RFC 9293 MUST-20): has the peer been silent for too long?
    fn is_out_of_time(&self, cx: &Cx, now: Instant) -> bool {
        let since = self.trouble_since.get().unwrap_or(self.times.last_send_at);
        let waited = now.since(since);
        if let Some(most) = self.user_timeout() {
            return waited >= most;
        }
        if self.snd_wnd == 0 && !self.facts.orphan() {
            // The peer took its window back: these are probes, and it lives as long as it answers.
            let silent = now.since(self.times.last_recv_at);
            return silent > Duration::from_millis(cx.settings.tcp_rto_max_ms) * 2;
        }
        let retries = if self.facts.orphan() { orphan_retries(cx) } else { cx.settings.tcp_retries2 };
        waited >= time_of_retries(retries, cx)
    }

    /// The window is closed and nothing is out: ask (RFC 9293 MUST-35 to MUST-37, 3.8.6.1).
    fn on_persist_timer(&mut self, cx: &mut Cx, now: Instant) -> Outcome {
        if self.snd_end() == self.snd_nxt {
            return Outcome::Keep;
        }
        let waited = now.since(self.trouble_since.get().unwrap_or(now));
        // RFC 5482, tcp(7): the user time-out is also about data that a zero window holds back.
        let by_user = self.user_timeout().is_some_and(|t| waited >= t);
        // Answered probes go on for ever, for a program that still runs; an orphan has only so many.
        let spent = if self.facts.orphan() {
            u64::from(self.backoff) >= orphan_retries(cx)
        } else {
            u64::from(self.probes) >= cx.settings.tcp_retries2
        };
        if spent || by_user {
            return self.give_up(cx);
        }
        if self.snd_wnd > 0 {
            // Not closed, only small: what fits goes out (RFC 9293 MUST-38's override).
            self.facts.set_push_small(true);
            self.facts.set_unpushed(false);
        } else {
            self.facts.set_probe_due(true);
        }
        self.probes = self.probes.saturating_add(1);
        self.backoff = self.backoff.saturating_add(1);
        let rto = self.rto(cx);
        self.timers.arm(Timer::Retransmit, now + rto);
        self.cut_to_user_timeout(now, self.trouble_since.get().unwrap_or(now));
        Outcome::Keep
    }

    /// Nobody answered: the connection is over (RFC 9293 MUST-20). Linux leaves it at that; under the RFC's profile a RST
    /// tells the peer, should it be there after all.
    fn give_up(&mut self, cx: &Cx) -> Outcome {
        self.fail_in_silence();
        let quiet = cx.settings.profile == Profile::Linux || self.facts.orphan();
        if quiet || self.state == State::SynSent {
            return Outcome::Closed(EndCause::TimedOut);
        }
        Outcome::Reset(ResetReason::TimedOut)
    }

    /// The application is told ETIMEDOUT, or what ICMP had said meanwhile.
    fn fail_in_silence(&mut self) {
        let error = self.soft_error.take().unwrap_or(Error::TimedOut);
        fail(self, error);
    }

    /// Starts the keep-alive timer if the option is set.
    pub(crate) fn start_keepalive(&mut self, cx: &Cx, now: Instant) {
        if self.options.keepalive && self.state.is_synchronized() && !self.facts.orphan() {
            let idle = self.keepalive_idle(cx);
            self.timers.arm(Timer::KeepAlive, now + idle);
        } else if !self.facts.orphan() {
            self.timers.stop(Timer::KeepAlive);
        }
    }

    fn keepalive_idle(&self, cx: &Cx) -> Duration {
        let idle = self.options.keepalive_idle;
        idle.unwrap_or(Duration::from_secs(cx.settings.tcp_keepalive_time)).max(LEAST_WAIT)
    }

    /// An orphan in FIN-WAIT-2 waits for so long for the peer's FIN; a socket that only shut down writing
    /// waits for ever.
    pub(crate) fn start_fin_wait2(&mut self, cx: &Cx, now: Instant) {
        let wait = self.options.fin_wait2_timeout.unwrap_or(Duration::from_secs(cx.settings.tcp_fin_timeout));
        self.timers.arm(Timer::KeepAlive, now + wait);
    }

    fn on_keepalive_timer(&mut self, cx: &mut Cx, now: Instant) -> Outcome {
        if self.facts.orphan() {
            if self.state == State::FinWait2 {
                return Outcome::Closed(EndCause::FinWait2TimedOut);
            }
            return Outcome::Keep;
        }
        let idle_limit = self.keepalive_idle(cx);
        let idle = now.since(self.times.last_recv_at);
        let busy = !self.rtx.is_empty() || self.snd_end() > self.snd_nxt;
        if busy || idle < idle_limit {
            let wait = if busy { idle_limit } else { idle_limit - idle };
            self.timers.arm(Timer::KeepAlive, now + wait);
            return Outcome::Keep;
        }
        let interval =
            self.options.keepalive_interval.unwrap_or(Duration::from_secs(cx.settings.tcp_keepalive_intvl));
        let interval = interval.max(LEAST_WAIT);
        let count = self.options.keepalive_count.unwrap_or(cx.settings.tcp_keepalive_probes as u32);
        let spent = match self.user_timeout() {
            Some(most) => self.probes > 0 && idle >= most,
            None => u32::from(self.probes) >= count,
        };
        if spent {
            cx.counters.tcp_abort_on_keepalive += 1;
            self.fail_in_silence();
            return Outcome::Reset(ResetReason::TimedOut);
        }
        self.probes = self.probes.saturating_add(1);
        self.facts.set_keepalive_due(true);
        self.timers.arm(Timer::KeepAlive, now + interval);
        Outcome::Keep
    }
}

fn orphan_retries(cx: &Cx) -> u64 {
    match cx.settings.tcp_orphan_retries {
        0 => ORPHAN_RETRIES,
        n => n,
    }
}

/// How long `retries` time-outs take when each doubles from the least RTO to the greatest; Linux measures R2
/// by this time, whatever the path's own RTO (`retransmits_timed_out`).
fn time_of_retries(retries: u64, cx: &Cx) -> Duration {
    time_of_doublings(retries, Duration::from_micros(cx.settings.tcp_rto_min_us), cx.settings.tcp_rto_max_ms)
}

/// How long `retries` time-outs take when each doubles from `base` to `max` milliseconds.
fn time_of_doublings(retries: u64, base: Duration, max: u64) -> Duration {
    let max = Duration::from_millis(max);
    let doubling = (max.as_micros() / base.as_micros().max(1)).max(1).ilog2();
    let retries = retries.min(255) as u32;
    if retries <= doubling {
        base * ((2u32 << retries) - 1)
    } else {
        base * ((2u32 << doubling) - 1) + max * (retries - doubling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux's documentation gives 924.6 s for the default of 15.
    #[test]
    fn fifteen_retries_take_as_long_as_on_linux() {
        let cx = crate::stack::test_cx();
        assert_eq!(time_of_retries(15, &cx), Duration::from_millis(924_600));
    }
}
