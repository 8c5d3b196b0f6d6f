//! What loss recovery and congestion control say to each other. Neither knows the other; an ACK and a timer call this.

use alloc::boxed::Box;
use core::time::Duration;

use super::congestion::{Control, Controller, Losses, Prr, PrrAck, Sending};
use super::recovery::{Phase, Progress, Situation, Undo, Verdict, probe_wait};
use super::send::SentState;
use super::seq::Pos;
use super::tcb::{Connection, chance};
use super::timers::Timer;
use crate::cx::Cx;
use crate::settings::{Congestion, Profile};
use crate::time::Instant;

/// Most that the end of the reordering window is late.
const REORDER_SLACK: Duration = Duration::from_millis(11);

/// What is kept of the repair under way, and until new data begins another flight.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    /// Congestion control as it was before, unless it remembers that itself.
    prior: Option<Controller>,
    pub(crate) undo: Undo,
    prr: Prr,
    /// The window was reduced a second time, because something that was sent again was lost.
    twice: bool,
}

/// What an ACK delivered, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) bytes: u64,
    /// SND.UNA went on.
    pub(crate) advanced: bool,
    /// FlightSize before the ACK, less what was SACKed then (RecoverFS).
    pub(crate) flight: u64,
    /// FlightSize before the ACK.
    pub(crate) out: u64,
}

impl Connection {
    /// A SACK block reported that `start..end` arrived twice (RFC 2883).
    pub(crate) fn on_reported_duplicate(&mut self, cx: &mut Cx, start: Pos, end: Pos) {
        let segments = ((end - start) as u64).div_ceil(u64::from(self.mss.max(1))) as u32;
        cx.counters.tcp_dsack_received += 1;
        // RFC 3708 3: a peer that reports more than was ever sent again makes it up, or the network did it.
        if self.recovery.rack.duplicates().saturating_add(segments) > self.rare().retrans_segs {
            return;
        }
        // As Linux: what a loss probe sent again was sent because of a timer, not because RACK took it for lost.
        let widens = cx.settings.profile == Profile::Rfc || !self.recovery.probe.is_repeat_of(end);
        self.recovery.rack.on_duplicate(segments, widens.then_some((self.snd_una, self.snd_nxt)));
        if let Some(episode) = self.episode() {
            episode.undo.on_duplicate(segments, end);
        }
    }

    /// Congestion control hears what recovery made of an ACK or of its timer.
    pub(crate) fn on_progress(
        &mut self,
        cx: &mut Cx,
        now: Instant,
        progress: &Progress,
        delivered: &Delivered,
    ) {
        let mss = u64::from(self.mss.max(1));
        if progress.undone {
            self.undo(cx, now);
        }
        let entered = progress.verdict == Verdict::Entered;
        if entered && self.rare().search.is_some() && self.only_mtu_probe_lost(cx, now) {
            return;
        }
        if let Some(sent) = progress.last_lost {
            self.tell_losses(now, progress.lost, &sent);
        }
        match progress.verdict {
            Verdict::Entered => {
                cx.counters.tcp_fast_recoveries += 1;
                self.begin_episode(delivered.flight);
                let base = self.base_of_loss(cx, now, delivered.out);
                if !self.is_reducing() {
                    // Marks of this window of data reduced it already (RFC 3168 6.1.3).
                    self.congestion.on_loss(base, mss);
                }
                self.note_reduction();
                self.timers.stop(Timer::Loss);
                self.facts.set_loss_probe_due(false);
            }
            Verdict::Left => {
                self.congestion.on_recovered();
                self.validate_after_recovery(now);
            }
            Verdict::Nothing if progress.lost_again => self.reduce_again(cx, delivered),
            Verdict::Nothing => {}
        }
        if self.recovery.phase == Phase::Recovery && !self.congestion.rules_recovery() {
            let ack = PrrAck {
                delivered: delivered.bytes,
                in_flight: self.in_flight(),
                safe: delivered.advanced && progress.lost == 0,
                ssthresh: self.congestion.ssthresh(),
                mss,
            };
            if let Some(window) = self.episode().and_then(|e| e.prr.on_ack(&ack)) {
                self.congestion.set_cwnd(window);
            }
        }
    }

    /// Congestion control hears that `bytes` were taken for lost; the last of them had been `sent` like this.
    fn tell_losses(&mut self, now: Instant, bytes: u64, sent: &SentState) {
        self.congestion.on_lost(&Losses {
            now,
            bytes,
            since_sent: u64::from(self.rtx.lost_ever().wrapping_sub(sent.lost)),
            sent_in_flight: u64::from(sent.in_flight),
            app_limited: sent.app_limited,
            sack: self.agreed.sack,
            mss: u64::from(self.mss.max(1)),
        });
    }

    /// What ssthresh is a share of: FlightSize, `out` bytes. With CUBIC, as on Linux, the window, which does not grow while it
    /// is not used (RFC 9438 4.6).
    pub(crate) fn reduction_base(&self, cx: &Cx, out: u64) -> u64 {
        let by_window = cx.settings.profile == Profile::Linux && self.congestion.kind() == Congestion::Cubic;
        if by_window { self.congestion.cwnd() } else { out }
    }

    /// The same as a recovery begins; a window that is not used counts as what was (RFC 7661 4.4.1).
    fn base_of_loss(&mut self, cx: &Cx, now: Instant, out: u64) -> u64 {
        let (cwnd, srtt) = (self.congestion.cwnd(), self.rtt.srtt().unwrap_or_default());
        let repeated = self.rare().bytes_retrans;
        let used = self
            .rare
            .as_deref_mut()
            .and_then(|rare| rare.validation.as_mut())
            .and_then(|v| v.on_loss(now, srtt, out, cwnd, repeated));
        if let Some(used) = used {
            self.congestion.set_cwnd(used.min(cwnd));
        }
        used.unwrap_or_else(|| self.reduction_base(cx, out))
    }

    /// What was sent again was too much by itself, where the window had not been used (RFC 7661 4.4.1).
    fn validate_after_recovery(&mut self, now: Instant) {
        let (ssthresh, repeated) = (self.congestion.ssthresh(), self.rare().bytes_retrans);
        let left = self
            .rare
            .as_deref_mut()
            .and_then(|rare| rare.validation.as_mut())
            .and_then(|v| v.on_recovered(now, ssthresh, repeated));
        if let Some(left) = left {
            let mss = u64::from(self.mss.max(1));
            self.congestion.settle_at(left.max(mss), mss);
        }
    }

    fn begin_episode(&mut self, flight: u64) {
        let prior = self.congestion.to_undo();
        let episode = Episode { prior, undo: Undo::new(self.snd_una), prr: Prr::new(flight), twice: false };
        self.rare_mut().episode = Some(Box::new(episode));
    }

    fn episode(&mut self) -> Option<&mut Episode> {
        self.rare.as_mut()?.episode.as_deref_mut()
    }

    /// New data begins another flight, and nothing is lost.
    #[inline]
    pub(crate) fn end_episode(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.episode = None;
        }
    }

    /// RFC 5681 4.3: the loss of a retransmission is a second sign of congestion. Linux does not count it.
    fn reduce_again(&mut self, cx: &Cx, delivered: &Delivered) {
        let mss = u64::from(self.mss.max(1));
        if cx.settings.profile == Profile::Rfc
            && let Some(episode) = self.episode().filter(|episode| !episode.twice)
        {
            episode.twice = true;
            episode.prr = Prr::new(delivered.flight);
            self.congestion.on_loss(delivered.out, mss);
        }
    }

    /// Marks say that there was congestion, whatever was lost: the reduction stays.
    pub(crate) fn keep_reduction(&mut self) {
        let prior = self.congestion.to_undo();
        if let Some(episode) = self.episode() {
            episode.prior = prior;
        }
    }

    /// RFC 4015 3.2: nothing was lost; the window is as before.
    fn undo(&mut self, cx: &mut Cx, now: Instant) {
        let Some(episode) = self.rare.as_mut().and_then(|rare| rare.episode.take()) else { return };
        if let Some(validation) = self.rare.as_deref_mut().and_then(|rare| rare.validation.as_mut()) {
            validation.restart(now);
        }
        self.withdraw_reduction();
        cx.counters.tcp_undone += 1;
        match episode.prior {
            Some(prior) => {
                let cwnd = self.congestion.cwnd().max(prior.cwnd());
                self.congestion = prior;
                self.congestion.set_cwnd(cwnd);
            }
            None => self.congestion.on_undone(now),
        }
        self.retries = 0;
    }

    /// The retransmission timer ran out (RFC 6298 5.4, RFC 8985 6.3).
    pub(crate) fn repair_after_timeout(&mut self, cx: &mut Cx, now: Instant) {
        let (phase, first) = (self.recovery.phase, self.retries == 0);
        if !self.recovery.is_about(&self.rtx, self.snd_una) || (first && phase == Phase::Loss) {
            let flight = (self.snd_nxt - self.snd_una) as u64 - self.rtx.sacked();
            self.begin_episode(flight);
        }
        if let Some(validation) = self.rare.as_deref_mut().and_then(|rare| rare.validation.as_mut()) {
            validation.restart(now);
        }
        // RFC 5681 3.1: ssthresh is taken once for a flight; when the repetition is lost too it stays.
        if first {
            let base = self.reduction_base(cx, (self.snd_nxt - self.snd_una) as u64);
            self.congestion.on_timeout(base, u64::from(self.mss));
            self.note_reduction();
        }
        // As Linux: not for a time-out in the middle of fast recovery.
        let watch = cx.settings.tcp_frto != 0 && (phase != Phase::Recovery || !first);
        let (oldest, lost_before) = (self.rtx.front().map(|unit| unit.state()), self.rtx.lost_ever());
        if self.recovery.on_timeout(&mut self.rtx, self.snd_nxt, watch, now) {
            cx.counters.tcp_sack_reneging += 1;
        }
        let lost = self.rtx.lost_ever().wrapping_sub(lost_before);
        if let Some(sent) = oldest.filter(|_| lost > 0) {
            self.tell_losses(now, u64::from(lost), &sent);
        }
        // One segment more than what was sent a moment ago and may well arrive.
        self.congestion.set_cwnd(self.in_flight() + u64::from(self.mss));
        self.timers.stop(Timer::Loss);
        self.facts.set_loss_probe_due(false);
    }

    /// Another controller takes over (TCP_CONGESTION), with the window and the threshold of the one before. A repair under way
    /// goes on; should it prove needless, the window stays what it is by then, as on Linux.
    ///
    /// RFC 9331 4.2: Prague is only for connections with accurate feedback; others get CUBIC for it.
    pub(crate) fn switch_congestion(&mut self, cx: &Cx, kind: Congestion) {
        let blind = self.state.is_synchronized() && !self.has_accurate_feedback();
        let kind = if kind == Congestion::Prague && blind { Congestion::Cubic } else { kind };
        if kind == self.congestion.kind() {
            return;
        }
        self.congestion = self.congestion.succeeded_by(kind, chance(cx, self.trace_id));
        let prior = self.congestion.to_undo();
        if let Some(episode) = self.episode() {
            episode.prior = prior;
        }
    }

    /// `bytes` were sent, again or for the first time, while `in_flight` were out.
    #[inline]
    pub(crate) fn tell_sending(&mut self, now: Instant, bytes: u64, in_flight: u64, cwnd_limited: bool) {
        if !self.congestion.hears_of_sending(in_flight) {
            return;
        }
        self.congestion.on_sent(&Sending {
            now,
            srtt_us: self.rtt.srtt_us(),
            bytes,
            in_flight,
            delivered: self.delivered,
            app_limited: self.app_limited_until != 0,
            cwnd_limited,
        });
    }

    /// `bytes` were sent, again or for the first time.
    #[inline]
    pub(crate) fn note_sent_in_recovery(&mut self, bytes: u64, again: bool, now: Instant) {
        if self.ecn.is_some() {
            self.note_sent_reducing(bytes);
        }
        if self.rare.as_ref().is_some_and(|rare| rare.episode.is_some()) {
            self.note_sent_in_episode(bytes, again, now);
        }
    }

    fn note_sent_in_episode(&mut self, bytes: u64, again: bool, now: Instant) {
        let (phase, ts) = (self.recovery.phase, self.ts_val(now));
        let segments = bytes.div_ceil(u64::from(self.mss.max(1))) as u32;
        let Some(episode) = self.episode() else { return };
        if phase == Phase::Recovery {
            episode.prr.on_sent(bytes);
        }
        if again && phase != Phase::Open {
            episode.undo.on_repeat(segments, ts);
        }
    }

    /// RFC 8985 7.2: (re)starts the timer of the tail loss probe where one may go.
    pub(crate) fn schedule_loss_probe(&mut self, cx: &Cx, now: Instant) {
        let wanted = !self.rtx.is_empty()
            && cx.settings.tcp_early_retrans >= 3
            && self.agreed.sack
            && self.state.is_synchronized()
            && self.recovery.phase == Phase::Open
            && self.rtx.sacked() == 0
            && self.recovery.probe.may_go();
        if !wanted {
            return;
        }
        let alone = self.rtx.is_one_unit() && self.snd_nxt - self.snd_una <= Pos::from(self.mss);
        let at = now.after_micros(probe_wait(&self.rtt, alone, &cx.settings));
        let latest = self.timers.deadline(Timer::Retransmit);
        self.facts.set_reorder_timer(false);
        self.timers.arm(Timer::Loss, at.min(latest));
    }

    /// The timer of the tail loss probe, or of RACK's reordering window, ran out.
    pub(crate) fn on_loss_timer(&mut self, cx: &mut Cx, now: Instant) {
        if self.rtx.is_empty() {
            return;
        }
        if self.facts.reorder_timer() {
            self.facts.set_reorder_timer(false);
            self.on_reorder_timer(cx, now);
        } else if self.recovery.probe.may_go() && self.recovery.phase == Phase::Open {
            self.facts.set_loss_probe_due(self.loss_probe().is_some());
        }
        if self.facts.loss_probe_due() {
            // The time-out, if it was due at the same moment, comes later.
            self.restart_retransmit(cx, now);
        }
    }

    fn on_reorder_timer(&mut self, cx: &mut Cx, now: Instant) {
        let out = (self.snd_nxt - self.snd_una) as u64;
        let flight = out - self.rtx.sacked();
        let mss = u64::from(self.mss.max(1));
        let situation = Situation { now, rtt: &self.rtt, settings: &cx.settings, mss };
        let progress = self.recovery.on_reorder_timer(&mut self.rtx, self.snd_nxt, &situation);
        // As Linux: the timer counts as an ACK of one byte, so that one segment goes.
        let delivered = Delivered { bytes: u64::from(progress.lost > 0), advanced: false, flight, out };
        self.on_progress(cx, now, &progress, &delivered);
        self.arm_reorder_timer(now, &progress);
    }

    pub(crate) fn arm_reorder_timer(&mut self, now: Instant, progress: &Progress) {
        if let Some(wait) = progress.wait {
            self.facts.set_reorder_timer(true);
            // As Linux's timer of coarse ticks: a little later, so that what is on its way may still arrive.
            self.timers.arm(Timer::Loss, now + wait + (wait / 2).min(REORDER_SLACK));
        }
    }

    /// The tail loss probe: new data if there is some that the window takes, or else the last segment again, unless the
    /// peer has taken its window back (RFC 9293 MUST-34).
    pub(crate) fn loss_probe(&self) -> Option<core::ops::Range<Pos>> {
        let mss = Pos::from(self.mss.max(1));
        let fresh = self.send.end().min(self.snd_edge()) - self.snd_nxt;
        if fresh > 0 && (fresh >= mss || self.send.end() <= self.snd_edge()) {
            let end = self.snd_nxt + fresh.min(mss);
            let takes_fin = end == self.send.end() && self.snd_edge() > end;
            return Some(self.snd_nxt..if takes_fin { self.snd_end() } else { end });
        }
        let unit = self.rtx.last_start()?;
        // A FIN rides on the last segment.
        let data_end = self.snd_nxt.min(self.send.end()).max(unit + 1);
        let start = unit + (data_end - 1 - unit) / mss * mss;
        (start == self.snd_una || start < self.snd_edge()).then_some(start..self.snd_nxt)
    }

    /// A loss probe went out (RFC 8985 7.3).
    pub(crate) fn loss_probe_sent(&mut self, cx: &mut Cx, now: Instant, again: bool) {
        self.facts.set_loss_probe_due(false);
        cx.counters.tcp_loss_probes += 1;
        self.recovery.probe.on_sent(self.snd_nxt, again);
        self.timers.stop(Timer::Loss);
        self.restart_retransmit(cx, now);
    }
}
