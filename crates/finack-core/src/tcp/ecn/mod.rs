//! Explicit congestion notification: routers mark packets instead of dropping them (RFC 3168), and the receiver tells, once
//! a window (classic) or mark by mark (accurate, RFC 9768).
//!
//! The state is in a box that only connections have that asked for it or agreed on it.

mod accurate;
mod handshake;
#[cfg(test)]
mod tests;

use finack_wire::ip::Ecn;
use finack_wire::tcp::{Flags, MAX_OPTIONS_LEN};
#[cfg(test)]
use finack_wire::tcp_options::AccEcn;
use finack_wire::tcp_options::TcpOptions;

pub(crate) use accurate::{Accurate, BYTES_AT_FIRST, Marked, Report, Seen};
pub(crate) use handshake::{Grant, ace, wish};

use super::congestion::{Control, Prr, PrrAck};
use super::emit::Head;
use super::input::Segment;
use super::recovery::Phase;
use super::seq::Pos;
use super::tcb::Connection;
use super::{EcnBytes, EcnInfo, EcnMode};
use crate::cx::Cx;
use crate::settings::{Congestion, Profile, Settings};
use crate::time::Instant;
use crate::trace::SendReason;

/// What the peer tells of the ACE field of our handshake is impossible (`TCP_ACCECN_ACE_FAIL_RECV`).
pub(crate) const FAIL_ACE_RECEIVED: u8 = 2;
/// Options of the peer are not to be believed (`TCP_ACCECN_OPT_FAIL_RECV`).
pub(crate) const FAIL_OPTION_RECEIVED: u8 = 8;
/// Room that an option with all counters takes in each segment.
const OPTION_LEN: usize = 12;
/// CE marks after which an ACK goes out at once (RFC 9768 3.2.2.5.1): with data that waits for one, and without.
const MARKS_WITH_DATA: u8 = 2;
const MARKS_WITHOUT: u8 = 3;
/// Without SACK an ACK of ACKs could be taken for a duplicate: as few as the RFC allows.
const MARKS_WITHOUT_SACK: u8 = 7;

/// What the ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: the box goes.
    None,
    /// Our SYN asked for RFC 3168's feedback, or offered RFC 9768's.
    AskedClassic,
    AskedAccurate,
    Classic,
    Accurate,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct EcnState {
    pub(crate) mode: Mode,
    /// What is sent may be marked.
    pub(crate) capable: bool,
    /// What the peer reports counts.
    heeds: bool,
    /// Our SYN went out without flags at last, or was refused with them.
    pub(crate) gave_up: bool,
    /// A server that waits for the last ACK, whose field is no counter if it is a pure one.
    pub(crate) in_handshake: bool,
    /// The codepoint of our SYN or SYN,ACK.
    pub(crate) handshake_sent: Ecn,
    /// Why feedback is not, or not wholly, believed: Linux's bits.
    pub(crate) fail: u8,
    /// Marks up to here were answered already, by whatever reduced the window.
    reduced_until: Pos,
    /// The window goes down to so many bytes while what is out is acknowledged.
    prr: Option<(Prr, u64)>,
    /// The window is one segment, and marks still come: the next new data waits for the retransmission timer.
    waits: bool,
    /// Classic: CWR is due on the next new data.
    cwr_due: bool,
    /// Classic: ECE goes out until CWR comes.
    echo: bool,
    /// Classic, with a controller that reads every mark (RFC 8257 3.2): what came before the marks changed has an ACK of
    /// its own, with the ECE that held then.
    prior: Option<(Pos, bool)>,
    /// Something with ECT came.
    pub(crate) seen: bool,
    pub(crate) accurate: Accurate,
    /// Segments have room for the option.
    pub(crate) reserve: u8,
}

/// What kind of segment goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Data for the first time.
    New,
    /// Data again, or a FIN alone.
    Again,
    /// Neither: an ACK or a probe.
    Ack,
}

/// An ACK with neither data nor SACK blocks.
fn is_pure(segment: &Segment<'_>) -> bool {
    segment.payload.bytes.is_empty() && segment.options.sack.is_empty()
}

impl EcnState {
    pub(crate) const fn new(mode: Mode) -> Self {
        Self {
            mode,
            capable: true,
            heeds: true,
            gave_up: false,
            in_handshake: false,
            handshake_sent: Ecn::NotEct,
            fail: 0,
            reduced_until: 0,
            prr: None,
            waits: false,
            cwr_due: false,
            echo: false,
            prior: None,
            seen: false,
            accurate: Accurate::new(),
            reserve: 0,
        }
    }

    /// Whether an ACK is due that tells something on its own, before data goes.
    pub(crate) const fn wants_pure_ack(&self) -> bool {
        self.prior.is_some() || self.accurate.reflect.is_some()
    }

    /// What an ACK of its own acknowledges.
    pub(crate) fn prior_ack(&self) -> Option<Pos> {
        self.prior.map(|(pos, _)| pos)
    }

    /// Whether a segment without ECE and CWR, with this codepoint and nothing behind it that was marked, changes nothing here and
    /// has no answer of its own: classic feedback, between marks, with a controller of this `kind`.
    pub(crate) fn is_quiet(&self, kind: Congestion, codepoint: Ecn, data: bool) -> bool {
        let usual = match codepoint {
            Ecn::Ce => false,
            Ecn::NotEct => !(self.seen && data),
            _ => self.seen,
        };
        let between = self.prior.is_none() && self.prr.is_none();
        usual && between && self.mode == Mode::Classic && !Self::follows_marks(kind)
    }

    /// Segments of one unit would differ: the device clears CWR in all but the first, which is part of the ACE field.
    pub(crate) fn forbids_units(&self) -> bool {
        self.mode == Mode::Accurate && self.accurate.ace() & 2 != 0
    }

    pub(crate) fn info(&self) -> EcnInfo {
        let a = &self.accurate;
        let bytes = |[ect0, ce, ect1]: [u32; 3]| EcnBytes { ect0, ce, ect1 };
        EcnInfo {
            mode: match self.mode {
                Mode::None => EcnMode::Off,
                Mode::AskedClassic | Mode::AskedAccurate => EcnMode::Asked,
                Mode::Classic => EcnMode::Classic,
                Mode::Accurate => EcnMode::Accurate,
            },
            seen: self.seen,
            capable: self.capable,
            delivered_ce: a.delivered_ce,
            received_ce: a.received_ce,
            delivered: bytes(a.delivered),
            received: bytes(a.received),
            fail_mode: self.fail,
            option_seen: a.seen as u8,
        }
    }

    /// Whether classic feedback follows each mark.
    fn follows_marks(kind: Congestion) -> bool {
        kind == Congestion::Dctcp
    }
}

impl Connection {
    /// Writes what a segment tells of congestion into its headers, and takes note that it does.
    pub(crate) fn stamp_ecn(&mut self, settings: &Settings, now: Instant, head: &mut Head, kind: Kind) {
        let codepoint = handshake::codepoint(self.congestion.kind());
        let Some(ecn) = &mut self.ecn else { return };
        let all = settings.tcp_ecn_control;
        let capable = match ecn.mode {
            Mode::Classic => {
                let echo = match ecn.prior.take_if(|_| kind == Kind::Ack) {
                    Some((_, echo)) => echo,
                    None => ecn.echo,
                };
                if echo {
                    head.flags |= Flags::ECE;
                }
                if kind == Kind::New && core::mem::take(&mut ecn.cwr_due) {
                    head.flags |= Flags::CWR;
                }
                kind == Kind::New || all == 2 && kind == Kind::Again
            }
            Mode::Accurate => {
                let pure = kind == Kind::Ack && head.options.sack.is_empty();
                let reflected = ecn.accurate.reflect.take_if(|_| pure);
                let ace = reflected.map_or(ecn.accurate.ace(), handshake::reflected);
                head.flags |= handshake::flags_of(ace);
                if reflected.is_none() {
                    ecn.accurate.untold = 0;
                }
                if head.options.acc_ecn.is_some() {
                    ecn.accurate.told(now);
                }
                kind == Kind::New || all > 0
            }
            _ => false,
        };
        if capable && ecn.capable {
            head.tos |= codepoint.bits();
        }
    }

    /// The same for a SYN, or for the SYN,ACK of a connection that both ends open, or that opened fast.
    pub(crate) fn stamp_syn(&mut self, settings: &Settings, head: &mut Head) {
        let repeats = self.retries;
        let Some(ecn) = &mut self.ecn else { return };
        let (flags, codepoint) = match ecn.mode {
            Mode::AskedAccurate | Mode::AskedClassic => ecn.syn(settings, repeats),
            Mode::Classic => (Flags::ECE, Ecn::NotEct),
            Mode::Accurate => {
                let (flags, option) = ecn.syn_ack(settings, repeats);
                head.options.acc_ecn = option;
                (flags, Ecn::NotEct)
            }
            Mode::None => return,
        };
        head.flags |= flags;
        head.tos |= codepoint.bits();
    }

    /// Adds the byte counters to the options of a segment that has `room` bytes for them, where they are due; SACK blocks
    /// give way down to two.
    pub(crate) fn add_byte_counters(&self, cx: &Cx, now: Instant, room: usize, options: &mut TcpOptions) {
        let Some(ecn) = self.ecn.as_ref().filter(|ecn| ecn.mode == Mode::Accurate) else { return };
        // Linux tells them only to who does so too.
        let wanted = ecn.accurate.seen != Seen::Nothing || cx.settings.profile == Profile::Rfc;
        let srtt = self.rtt.srtt().unwrap_or_default();
        if !wanted || !ecn.accurate.tells_bytes(&cx.settings, now, srtt) {
            return;
        }
        if let Some((fields, blocks)) = ecn.accurate.fit(room.min(MAX_OPTIONS_LEN), options.sack.len()) {
            options.sack.truncate(blocks);
            options.acc_ecn = Some(ecn.accurate.option(fields));
        }
    }

    /// Whether all segments have room for the option from now on; they are smaller then.
    pub(crate) fn reserve_for_counters(&mut self, settings: &Settings) -> bool {
        let Some(ecn) = &mut self.ecn else { return false };
        let wanted =
            settings.tcp_ecn_option >= 2 && ecn.mode == Mode::Accurate && ecn.accurate.seen != Seen::Nothing;
        let reserve = if wanted { OPTION_LEN as u8 } else { 0 };
        core::mem::replace(&mut ecn.reserve, reserve) != reserve
    }

    /// A segment in the window came: its mark is noted, and told when it must be.
    pub(crate) fn note_marks(&mut self, segment: &Segment<'_>) {
        let follows = EcnState::follows_marks(self.congestion.kind());
        let (next, ack_waits) = (self.ack_pos(), self.ack.pending);
        let Some(ecn) = &mut self.ecn else { return };
        let data = !segment.payload.bytes.is_empty();
        let seen = ecn.seen;
        ecn.seen |= segment.ecn.is_capable();
        // As Linux: who marks its packets as capable and then does not sends again, and wants an ACK soon.
        let again = seen && data && !segment.ecn.is_capable();
        match ecn.mode {
            Mode::Classic => {
                if segment.flags.cwr() {
                    ecn.echo = false;
                }
                ecn.accurate.received_ce = ecn.accurate.received_ce.wrapping_add(u32::from(segment.marks));
                let marked = segment.ecn == Ecn::Ce && data;
                let begins = marked && !ecn.echo;
                if follows && data && marked != ecn.echo {
                    ecn.prior = ack_waits.then_some((next, ecn.echo));
                }
                ecn.echo = if follows && data { marked } else { ecn.echo || marked };
                if begins || again {
                    self.quick_acks_up_to(2);
                }
            }
            Mode::Accurate => {
                ecn.accurate.count(segment.ecn, segment.marks, segment.payload.bytes.len() as u32);
                if again {
                    self.quick_acks_up_to(2);
                }
            }
            _ => {}
        }
    }

    /// The segment was taken: does it draw an ACK at once (RFC 9768 3.2.2.5.1)?
    pub(crate) fn schedule_marks(&mut self, segment: &Segment<'_>, before: Ecn) {
        let Some(ecn) = &self.ecn else { return };
        let data = !segment.payload.bytes.is_empty();
        let due = match ecn.mode {
            // As Linux: who has reduced may have a window of one segment.
            Mode::Classic => data && segment.flags.cwr() || ecn.prior.is_some(),
            Mode::Accurate => {
                let least = if self.ack.pending {
                    MARKS_WITH_DATA
                } else if self.agreed.sack {
                    MARKS_WITHOUT
                } else {
                    MARKS_WITHOUT_SACK
                };
                data && self.ack.pending && before != segment.ecn || ecn.accurate.untold >= least
            }
            _ => false,
        };
        if due {
            self.ack_now(SendReason::Ack);
        }
    }

    /// The codepoint of the packet before this one.
    pub(crate) fn last_codepoint(&self) -> Ecn {
        self.ecn.as_ref().map_or(Ecn::NotEct, |ecn| ecn.accurate.last)
    }

    /// The peer's SYN or SYN,ACK answers ours. Answers whether it tells that our SYN was marked.
    pub(crate) fn agree_on_ecn(&mut self, settings: &Settings, segment: &Segment<'_>) -> bool {
        let kind = self.congestion.kind();
        let Some(ecn) = &mut self.ecn else { return false };
        let mut marked = false;
        if segment.flags.ack() {
            marked = ecn.take_syn_ack(segment.flags, segment.ecn, segment.options.acc_ecn);
        } else {
            // Both opened: as if only the peer had (RFC 9768 3.1.2), but for what our SYN did not ask for, which the peer
            // can't know of.
            let (asked, sent) = (ecn.mode, ecn.handshake_sent);
            let granted = Grant::of(settings, kind, segment.flags, segment.ecn).state();
            **ecn = granted.map_or(EcnState::new(Mode::None), |state| *state);
            if asked == Mode::AskedClassic && ecn.mode == Mode::Accurate {
                **ecn = EcnState::new(Mode::Classic);
            }
            (ecn.handshake_sent, ecn.in_handshake) = (sent, false);
        }
        if ecn.mode == Mode::None {
            self.ecn = None;
        }
        self.reserve_for_counters(settings);
        marked
    }

    /// A RST answered our SYN: where it had flags it goes again without them. Answers whether it does.
    pub(crate) fn gives_up_ecn(&mut self, settings: &Settings) -> bool {
        let Some(ecn) = self.ecn.as_mut().filter(|_| settings.tcp_ecn_fallback == 1) else { return false };
        !core::mem::replace(&mut ecn.gave_up, true)
    }

    /// The last ACK of the handshake came (RFC 9768 table 4).
    pub(crate) fn take_third_ack(&mut self, cx: &mut Cx, segment: &Segment<'_>) {
        let Some(ecn) = self.ecn.as_mut().filter(|ecn| ecn.mode == Mode::Accurate) else { return };
        ecn.accurate.learn_option(segment.options.acc_ecn.as_ref());
        ecn.in_handshake = false;
        if !is_pure(segment) {
            return;
        }
        let ace = handshake::ace(segment.flags);
        if ace == 0 {
            // The client is not in AccECN mode, or the path wipes the field.
            (ecn.capable, ecn.heeds) = (false, false);
            ecn.fail |= FAIL_ACE_RECEIVED;
        } else if ecn.check_handshake(ace) == Some(Ecn::Ce) {
            ecn.accurate.delivered_ce = 1;
            let out = self.congestion.cwnd();
            self.answer_marks(cx, out);
        }
    }

    /// The SYN,ACK of a simultaneous open, whose SYN set the mode already.
    pub(crate) fn take_crossed_syn_ack(&mut self, segment: &Segment<'_>) {
        if let Some(ecn) = self.ecn.as_mut().filter(|ecn| ecn.mode == Mode::Accurate) {
            ecn.check_handshake(ace(segment.flags));
        }
    }

    /// A retransmitted SYN,ACK came although the handshake is over: its codepoint is told again, and counted once
    /// (RFC 9768 3.2.2.1, 3.2.2.2).
    pub(crate) fn take_syn_ack_again(&mut self, segment: &Segment<'_>) {
        let Some(ecn) = self.ecn.as_mut().filter(|ecn| ecn.mode == Mode::Accurate) else { return };
        if segment.flags.ack() && segment.seq == self.irs && matches!(ace(segment.flags), 0b010..=0b110) {
            ecn.accurate.reflect = Some(segment.ecn);
            if segment.ecn == Ecn::Ce && ecn.accurate.received_ce == 0 {
                ecn.accurate.count_marks(1);
            }
        }
    }

    /// What an ACK reports as marked. `news`: it is not older than what was heard before.
    pub(crate) fn read_marks(
        &mut self,
        segment: &Segment<'_>,
        news: bool,
        packets: u32,
        bytes: u64,
    ) -> Marked {
        let (mss, sent) = (u32::from(self.mss.max(1)), self.stats.bytes_sent);
        let largest = u32::from(self.agreed.peer_mss);
        let Some(ecn) = &mut self.ecn else { return Marked::default() };
        match ecn.mode {
            Mode::Classic if segment.flags.ece() => {
                ecn.accurate.delivered_ce = ecn.accurate.delivered_ce.wrapping_add(packets);
                Marked { packets: packets.max(1), bytes }
            }
            // It is read when it has ended the handshake.
            Mode::Accurate if ecn.in_handshake && is_pure(segment) => Marked::default(),
            Mode::Accurate if news => {
                let report = Report {
                    ace: handshake::ace(segment.flags),
                    option: segment.options.acc_ecn.as_ref(),
                    packets,
                    bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                    mss,
                    sent,
                };
                let marked = ecn.accurate.read(&report);
                if ecn.accurate.seen == Seen::Failed {
                    ecn.fail |= FAIL_OPTION_RECEIVED;
                }
                // RFC 9768 3.2.3.2.5: more bytes than that many packets hold.
                let (ce_bytes, ce_packets) = (ecn.accurate.delivered[1], ecn.accurate.delivered_ce);
                let beyond = u64::from(ce_bytes) > u64::from(ce_packets) * u64::from(largest);
                if beyond && report.option.is_some() && ce_bytes < 1 << 23 {
                    ecn.capable = false;
                    ecn.fail |= FAIL_ACE_RECEIVED;
                }
                if ecn.heeds { marked } else { Marked::default() }
            }
            _ => Marked::default(),
        }
    }

    /// The peer reported marks while `out` bytes were out: the window is reduced, once for each window of data.
    pub(crate) fn answer_marks(&mut self, cx: &mut Cx, out: u64) {
        let Some(ecn) = &self.ecn else { return };
        if self.recovery.phase != Phase::Open {
            self.keep_reduction();
            return;
        }
        if self.snd_una <= ecn.reduced_until {
            return;
        }
        cx.counters.tcp_ecn_reductions += 1;
        // RFC 3168 6.1.2: less than a segment a round trip is a segment each time that the timer runs out.
        let waits = self.congestion.cwnd() <= u64::from(self.mss);
        let (base, before) = (self.reduction_base(cx, out), self.congestion.cwnd());
        self.congestion.on_ecn(base, u64::from(self.mss.max(1)));
        let (goal, flight) = (self.congestion.cwnd(), self.snd_nxt > self.snd_una);
        let at_once = self.congestion.rules_recovery() || self.congestion.reduces_at_once();
        let smooth = goal < before && !at_once && flight;
        if smooth {
            self.congestion.set_cwnd(before);
        }
        self.note_reduction();
        if let Some(ecn) = &mut self.ecn {
            ecn.prr = smooth.then(|| (Prr::new(out), goal));
            ecn.waits = waits;
        }
    }

    /// Whether new data waits for the retransmission timer.
    pub(crate) fn waits_for_timer(&self) -> bool {
        self.ecn.as_ref().is_some_and(|ecn| ecn.waits)
    }

    /// The retransmission timer ran out. Answers whether that was waited for.
    pub(crate) fn waited_for_timer(&mut self) -> bool {
        self.ecn.as_mut().is_some_and(|ecn| core::mem::take(&mut ecn.waits))
    }

    /// Whether the peer tells of every mark (RFC 9331 4.2).
    pub(crate) fn has_accurate_feedback(&self) -> bool {
        self.ecn.as_ref().is_some_and(|ecn| ecn.mode == Mode::Accurate)
    }

    /// The window was reduced, for whatever reason: marks of what is out are answered by that, and the peer is told
    /// (RFC 3168 6.1.2).
    pub(crate) fn note_reduction(&mut self) {
        let next = self.snd_nxt;
        if let Some(ecn) = &mut self.ecn {
            ecn.reduced_until = next;
            ecn.cwr_due = ecn.mode == Mode::Classic;
            ecn.prr = None;
        }
    }

    /// The reduction was none: there is nothing to tell.
    pub(crate) fn withdraw_reduction(&mut self) {
        if let Some(ecn) = &mut self.ecn {
            ecn.cwr_due = false;
        }
    }

    /// The window was reduced for marks, and what was out then is not acknowledged yet.
    pub(crate) fn is_reducing(&self) -> bool {
        self.ecn.as_ref().is_some_and(|ecn| ecn.prr.is_some())
    }

    /// An ACK came while the window goes down (RFC 9937, which serves ECN too).
    pub(crate) fn reduce_smoothly(&mut self, delivered: u64, advanced: bool) {
        let in_flight = self.in_flight();
        let (una, mss) = (self.snd_una, u64::from(self.mss.max(1)));
        let open = self.recovery.phase == Phase::Open;
        let Some(ecn) = self.ecn.as_mut().filter(|ecn| ecn.prr.is_some()) else { return };
        let Some((prr, goal)) = &mut ecn.prr else { return };
        let goal = *goal;
        if !open {
            // Recovery has its own.
            ecn.prr = None;
        } else if una > ecn.reduced_until {
            ecn.prr = None;
            self.congestion.set_cwnd(goal);
        } else {
            let ack = PrrAck { delivered, in_flight, safe: advanced, ssthresh: goal, mss };
            if let Some(window) = prr.on_ack(&ack) {
                self.congestion.set_cwnd(window);
            }
        }
    }

    /// `bytes` went out while the window goes down.
    pub(crate) fn note_sent_reducing(&mut self, bytes: u64) {
        if let Some((prr, _)) = self.ecn.as_mut().and_then(|ecn| ecn.prr.as_mut()) {
            prr.on_sent(bytes);
        }
    }
}
