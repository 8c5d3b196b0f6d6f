//! Passive opens: LISTEN, embryos, and the connections that come of them (RFC 9293 3.10.7.2).

use alloc::boxed::Box;
use core::time::Duration;

use finack_wire::ip::Ecn;
use finack_wire::tcp::Flags;
use finack_wire::tcp_options::AccEcn;

use super::fast_open::Opening;
use super::refresh::Agenda;
use super::tcp_input::bare_head;
use super::{EventSource, Stack};
use crate::auth::Signed;
use crate::demux::{Kind, Slot};
use crate::settings::{Profile, Settings};
use crate::tcp::ecn::{self, Grant};
use crate::tcp::embryo::{Embryo, Verdict};
use crate::tcp::emit::Head;
use crate::tcp::input::{Outcome, Segment, expected};
use crate::tcp::iss::Origin;
use crate::tcp::tcb::{Birth, Connection, Negotiated, ts_clock};
use crate::tcp::{State, Tuple, cookie, fast_open, mss, window};
use crate::time::Instant;
use crate::timer;
use crate::trace::{DropReason, EndCause, ResetReason, RetransmitReason, SendReason, TraceKind};

/// Embryos kept for a listener although their SYN,ACK is a cookie: they let a lost last ACK be noticed.
const COOKIE_EMBRYOS: usize = 64;

/// Flags of a SYN,ACK, the codepoint of its IP header and its option, all about congestion.
type Said = (Flags, Ecn, Option<AccEcn>);

fn agree(
    segment: &Segment<'_>,
    options: &crate::options::SocketOptions,
    s: &Settings,
    v6: bool,
) -> Negotiated {
    let offered = &segment.options;
    let scaling = s.tcp_window_scaling == 1 && offered.window_scale.is_some();
    Negotiated {
        timestamps: s.tcp_timestamps > 0 && offered.timestamps.is_some(),
        sack: s.tcp_sack == 1 && offered.sack_permitted,
        scaling,
        snd_wscale: if scaling { offered.window_scale.unwrap_or(0).min(14) } else { 0 },
        rcv_wscale: if scaling { window::scale(options, s) } else { 0 },
        peer_mss: mss::of_peer(v6, offered.mss, options, s),
    }
}

impl Stack {
    /// A segment for a listener.
    pub(super) fn listen_input(
        &mut self,
        now: Instant,
        listener: u32,
        (tuple, hash): (&Tuple, u64),
        segment: &Segment<'_>,
    ) {
        let flags = segment.flags;
        let len = segment.payload.bytes.len();
        if flags.rst() {
            self.note_drop(now, DropReason::StrayReset, len, Self::ends(tuple));
        } else if flags.ack() {
            if !self.take_cookie(now, listener, (tuple, hash), segment) {
                self.refuse(now, None, tuple, segment, ResetReason::NoConnection);
            }
        } else if flags.syn() && !flags.fin() {
            self.take_syn(now, listener, (tuple, hash), segment, None);
        } else {
            self.note_drop(now, DropReason::NoAck, len, Self::ends(tuple));
        }
    }

    /// A SYN for a listener. `over` is a TIME-WAIT that it reopens, with the ISN to begin from.
    pub(super) fn take_syn(
        &mut self,
        now: Instant,
        listener: u32,
        (tuple, hash): (&Tuple, u64),
        segment: &Segment<'_>,
        over: Option<(Slot, u32)>,
    ) {
        let Some(l) = self.listeners.get(listener) else { return };
        let s = &self.cx.settings;
        if l.is_full() {
            self.cx.counters.tcp_listen_overflows += 1;
            self.note_drop(now, DropReason::ListenOverflow, 0, Self::ends(tuple));
            return;
        }
        let queue_full = u64::from(l.embryos) >= s.tcp_max_syn_backlog.min(u64::from(l.backlog).max(8));
        let held = l.undecided.is_some();
        let by_cookie =
            over.is_none() && !held && (s.tcp_syncookies == 2 || queue_full && s.tcp_syncookies == 1);
        let full = self.embryos.len() as u64 >= s.max_connections
            || self.cx.budget.is_overdrawn() && !self.may_make_room();
        if queue_full && !by_cookie || full {
            self.note_drop(now, DropReason::SynQueueFull, 0, Self::ends(tuple));
            return;
        }
        let options = l.options.clone();
        let mut e = self.embryo(now, listener, tuple, segment, &options);
        // A cookie and a signature do not fit one SYN: who signs opens in the ordinary way.
        let opening = if held || by_cookie || over.is_some() || e.tag.is_signed() {
            Opening::Ordinary(None)
        } else {
            self.judge_fast_open(listener, tuple, segment, &options)
        };
        match opening {
            Opening::Early => return self.open_early(now, &e, hash, segment),
            Opening::Ordinary(form) => e.gives_cookie = form,
        }
        e.held = held;
        if let Some((slot, iss)) = over {
            e.iss = iss;
            e.under = Some(slot);
        } else if by_cookie {
            e.is_cookie = true;
            if !e.agreed.timestamps {
                // A cookie alone can't tell them; only the echo of a timestamp brings them back.
                e.agreed =
                    Negotiated { sack: false, scaling: false, snd_wscale: 0, rcv_wscale: 0, ..e.agreed };
                if e.ecn.is_classic() {
                    e.ecn = Grant::default();
                }
            }
            e.iss = cookie::make(&self.cx.secrets, tuple, segment.seq, e.agreed.peer_mss, now);
            self.cx.counters.tcp_syn_cookies_sent += 1;
        }
        self.add_embryo(now, e, hash, segment);
    }

    fn embryo(
        &mut self,
        now: Instant,
        listener: u32,
        tuple: &Tuple,
        segment: &Segment<'_>,
        options: &crate::options::SocketOptions,
    ) -> Embryo {
        let mut agreed = agree(segment, options, &self.cx.settings, tuple.is_v6());
        let tag = self.tag_of(listener, tuple, segment);
        // As Linux: beside a signature timestamps leave no room for a SACK block.
        agreed.timestamps &= !(tag.is_signed() && agreed.sack);
        let kind = options.congestion.unwrap_or(self.cx.settings.congestion);
        let ecn = Grant::of(&self.cx.settings, kind, segment.flags, segment.ecn);
        let our_mss = self.offered_mss(tuple, options);
        let segment_size = our_mss.saturating_sub(mss::options_len(agreed.timestamps));
        let buffer = window::initial_buffer(options.recv_buffer, &self.cx.settings);
        let trace_id = self.cx.new_trace_id();
        let origin = Origin::of(&self.cx.secrets, tuple);
        Embryo {
            tuple: *tuple,
            trace_id,
            generation: trace_id as u32,
            listener,
            iss: origin.initial_sequence(&self.cx.settings, now),
            irs: segment.seq,
            ts_recent: segment.options.timestamps.map_or(0, |(val, _)| val),
            ts_offset: origin.ts_offset,
            agreed,
            peer_window: segment.window,
            window: window::initial(buffer, segment_size, options, &self.cx) as u16,
            our_mss,
            retries: 0,
            resent: false,
            is_cookie: false,
            ecn,
            tag,
            held: false,
            gives_cookie: None,
            created_at: now,
            sent_at: now,
            answered_at: None,
            under: None,
        }
    }

    fn add_embryo(&mut self, now: Instant, mut e: Embryo, hash: u64, segment: &Segment<'_>) {
        // What the SYN,ACK says is remembered with the rest.
        let said = if e.held { Said::default() } else { e.ecn.syn_ack(&self.cx.settings) };
        let index = self.embryos.insert(&e);
        let slot = Slot::new(Kind::Embryo, index);
        match e.under {
            Some(under) => self.cover_time_wait(hash, under, slot),
            None => self.index(hash, slot),
        }
        let (from, to) = (State::Listen, State::SynReceived);
        self.trace_received(now, Some(e.trace_id), &e.tuple, segment, 0);
        self.cx.trace(now, e.trace_id, &e.tuple, TraceKind::State { from, to });
        if let Some(l) = self.listeners.get_mut(e.listener) {
            if e.is_cookie {
                l.cookie_at = Some(now);
                l.cookies.push_back((index, e.generation));
            } else {
                l.embryos += 1;
            }
        }
        if e.held {
            return self.hold(now, index, e.generation, e.listener);
        }
        self.write_syn_ack(now, &e, said, SendReason::Open);
        self.wheel.arm(timer::Owner::embryo(index), now + e.timeout(&self.cx));
        if e.is_cookie {
            self.forget_old_cookies(now, e.listener);
        }
    }

    /// Of embryos whose SYN,ACK is a cookie only the latest are kept.
    fn forget_old_cookies(&mut self, now: Instant, listener: u32) {
        while let Some(l) = self.listeners.get(listener) {
            if l.cookies.len() <= COOKIE_EMBRYOS {
                break;
            }
            let Some(&(index, _)) = l.cookies.front() else { break };
            self.drop_embryo(now, index, EndCause::Dropped);
        }
    }

    pub(super) fn send_syn_ack(&mut self, now: Instant, index: u32, reason: SendReason) {
        let Self { embryos, cx, .. } = self;
        let sent = embryos.update(index, |e| {
            e.sent_at = now;
            (e.ecn.syn_ack(&cx.settings), e.clone())
        });
        let Some((said, e)) = sent else { return };
        self.write_syn_ack(now, &e, said, reason);
    }

    fn write_syn_ack(
        &mut self,
        now: Instant,
        e: &Embryo,
        (flags, codepoint, acc_ecn): Said,
        reason: SendReason,
    ) {
        let plain = (flags, codepoint, acc_ecn) == Said::default() && e.gives_cookie.is_none();
        if plain && self.push_usual_syn_ack(now, e) {
            return;
        }
        let mut head = Head {
            seq: e.iss,
            ack: e.irs.wrapping_add(1),
            flags: Embryo::FLAGS | flags,
            window: e.window,
            options: e.options(now),
            ..self.embryo_head(e.listener, &e.tuple)
        };
        if let Some(form) = e.gives_cookie {
            let keys = self.fast_open_keys(e.listener);
            head.options.fast_open = Some(fast_open::cookie(&self.cx, keys, &e.tuple, form));
        }
        head.options.acc_ecn = acc_ecn;
        head.tos |= codepoint.bits();
        self.push_bare(now, Some(e.trace_id), &head, reason);
    }

    /// Headers of what is sent for an embryo: its listener's hop limit and TOS (RFC 9293 MUST-49).
    fn embryo_head(&self, listener: u32, tuple: &Tuple) -> Head {
        let (hop_limit, tos) = self.marks_of_listener(listener);
        Head { hop_limit, tos, ..bare_head(&self.cx, tuple) }
    }

    /// The hop limit and the TOS of what a listener sends.
    pub(super) fn marks_of_listener(&self, listener: u32) -> (u8, u8) {
        let options = self.listeners.get(listener).map(|l| &l.options);
        let hop_limit = options.and_then(|options| options.hop_limit);
        (hop_limit.unwrap_or_else(|| self.cx.hop_limit()), options.map_or(0, |options| options.tos & !3))
    }

    /// The SYN,ACK was not answered (RFC 9293 3.8.3 for SYNs).
    pub(super) fn embryo_timeout(&mut self, now: Instant, index: u32) {
        let most = self.cx.settings.tcp_synack_retries;
        let Some(mut e) = self.embryos.get(index) else { return };
        if e.held || u64::from(e.retries) >= most {
            self.drop_embryo(now, index, EndCause::TimedOut);
            return;
        }
        e.retries += 1;
        self.embryos.update(index, |e| e.retries += 1);
        let (timeout, id, tuple, seq) = (e.timeout(&self.cx), e.trace_id, e.tuple, e.iss);
        self.note_syn_ack_again(now, id, &tuple, seq, RetransmitReason::Handshake);
        self.send_syn_ack(now, index, SendReason::Retransmission(RetransmitReason::Handshake));
        self.arm_embryo(index, now + timeout);
    }

    fn note_syn_ack_again(
        &mut self,
        now: Instant,
        id: u64,
        tuple: &Tuple,
        seq: u32,
        reason: RetransmitReason,
    ) {
        self.cx.counters.tcp_retrans_segs += 1;
        self.cx.counters.count_retransmit(reason);
        self.cx.trace(now, id, tuple, TraceKind::Retransmit { reason, seq, len: 1 });
    }

    pub(super) fn drop_embryo(&mut self, now: Instant, index: u32, cause: EndCause) {
        let Some(e) = self.embryos.get(index) else { return };
        self.remove_embryo(now, index, &e, false);
        self.cx.counters.tcp_attempt_fails += 1;
        let (from, to) = (State::SynReceived, State::Closed);
        self.cx.trace(now, e.trace_id, &e.tuple, TraceKind::State { from, to });
        self.cx.trace(now, e.trace_id, &e.tuple, TraceKind::Ended(cause));
    }

    /// A segment met an embryo.
    pub(super) fn embryo_input(&mut self, now: Instant, index: u32, hash: u64, segment: &Segment<'_>) {
        let Some(e) = self.embryos.get(index) else { return };
        let (id, tuple, seq, held) = (e.trace_id, e.tuple, e.iss, e.held);
        let needs_stamp = self.cx.settings.profile == Profile::Rfc;
        let verdict = crate::tcp::embryo::judge(&e, segment, needs_stamp);
        let limit = Duration::from_millis(self.cx.settings.tcp_invalid_ratelimit);
        let limited = e.answered_at.is_some_and(|at| now.since(at) < limit);
        if !matches!(verdict, Verdict::Complete | Verdict::Renew) {
            self.trace_received(now, Some(id), &tuple, segment, 0);
        }
        match verdict {
            Verdict::Complete => self.complete(now, index, &e, hash, segment),
            Verdict::Refuse => {
                self.refuse(now, Some(id), &tuple, segment, ResetReason::HandshakeAck);
            }
            Verdict::Renew => {
                self.drop_embryo(now, index, EndCause::Dropped);
                self.route_segment(now, &tuple, segment);
            }
            Verdict::Reset => {
                self.cx.counters.tcp_in_rsts += 1;
                self.cx.trace(now, id, &tuple, TraceKind::ResetReceived);
                self.drop_embryo(now, index, EndCause::ResetByPeer);
            }
            Verdict::Repeat if !limited => {
                self.mark_answered(now, index);
                let Self { embryos, cx, .. } = self;
                let agreed = embryos.update(index, |e| {
                    e.resent = true;
                    e.ecn.take_repeated_syn(&cx.settings, segment.flags, segment.ecn)
                });
                if agreed != Some(true) {
                    let (seq, ack) = (e.iss.wrapping_add(1), e.irs.wrapping_add(1));
                    let reason = ResetReason::TwoKindsOfEcn;
                    self.send_reset(now, Some(id), &tuple, seq, Some(ack), None, reason);
                    return self.drop_embryo(now, index, EndCause::ResetByUs(reason));
                }
                self.note_syn_ack_again(now, id, &tuple, seq, RetransmitReason::RepeatedSyn);
                let again = SendReason::Retransmission(RetransmitReason::RepeatedSyn);
                self.send_syn_ack(now, index, again);
                // RFC 6298 5: it is not sent again less than one RTO after it was sent.
                if let Some(timeout) = self.embryos.get(index).map(|e| e.timeout(&self.cx)) {
                    self.arm_embryo(index, now + timeout);
                }
            }
            Verdict::Ack | Verdict::Challenge | Verdict::Paws if !limited => {
                self.mark_answered(now, index);
                self.challenge_from_embryo(now, index, verdict);
            }
            _ => {
                let reason = if held { DropReason::Undecided } else { DropReason::HandshakeAck };
                let len = segment.payload.bytes.len() as u32;
                self.cx.counters.count_drop(reason);
                self.cx.trace(now, id, &tuple, TraceKind::Dropped { reason, len });
            }
        }
    }

    fn mark_answered(&mut self, now: Instant, index: u32) {
        self.embryos.update(index, |e| e.answered_at = Some(now));
    }

    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`.
    fn challenge_from_embryo(&mut self, now: Instant, index: u32, verdict: Verdict) {
        let Some(e) = self.embryos.get(index) else { return };
        let (id, tuple) = (e.trace_id, e.tuple);
        let stamp = ts_clock(now).wrapping_add(e.ts_offset);
        let mut head = Head {
            seq: e.iss.wrapping_add(1),
            ack: e.irs.wrapping_add(1),
            flags: Flags::ACK,
            window: e.window.div_ceil(1 << e.agreed.rcv_wscale),
            ..self.embryo_head(e.listener, &tuple)
        };
        head.options.timestamps = e.agreed.timestamps.then_some((stamp, e.ts_recent));
        let challenged = verdict == Verdict::Challenge;
        if challenged {
            self.cx.counters.tcp_challenge_acks += 1;
        }
        let reason = if challenged { SendReason::ChallengeAck } else { SendReason::DuplicateAck };
        self.push_bare(now, Some(id), &head, reason);
    }

    /// The last ACK of the handshake: the embryo becomes a connection, which then takes the segment.
    fn complete(&mut self, now: Instant, index: u32, e: &Embryo, hash: u64, segment: &Segment<'_>) {
        // It ends connections at most: the embryo stays as it is.
        self.make_room(now);
        let (id, tuple) = (e.trace_id, e.tuple);
        let Some(l) = self.listeners.get(e.listener) else { return };
        let no_room = self.connections.len() as u64 >= self.cx.settings.max_connections;
        if l.is_full() || no_room {
            self.cx.counters.tcp_listen_overflows += 1;
            if self.cx.settings.tcp_abort_on_overflow == 1 {
                self.refuse(now, Some(id), &tuple, segment, ResetReason::Overflow);
                self.drop_embryo(now, index, EndCause::ResetByUs(ResetReason::Overflow));
                return;
            }
            self.cx.counters.count_drop(DropReason::ListenOverflow);
            let kind = TraceKind::Dropped { reason: DropReason::ListenOverflow, len: 0 };
            self.cx.trace(now, id, &tuple, kind);
            return;
        }
        self.remove_embryo(now, index, e, true);
        self.hatch(now, e, (hash, Some(Slot::new(Kind::Embryo, index))), segment);
    }

    /// Makes the connection of an embryo and hands it the segment that completed the handshake. `hash` is its four-tuple's, and
    /// `slot` what that leads to in the index.
    fn hatch(&mut self, now: Instant, e: &Embryo, (hash, slot): (u64, Option<Slot>), segment: &Segment<'_>) {
        let Some((index, signed)) = self.connection_of(now, e) else {
            if let Some(slot) = slot {
                self.demux.remove(hash, slot);
            }
            return;
        };
        let Self { connections, cx, .. } = self;
        let Some(c) = connections.get_mut(index) else { return };
        c.begin_passive(cx, e.sent_at, e.resent || e.retries > 0, e.created_at);
        c.facts.set_syn_resent(e.retries > 0);
        c.facts.set_syn_resent_again(e.retries > 1);
        let generation = c.generation;
        self.add_connection(index, hash, slot);
        self.keep_signed(index, signed);
        if !self.take_third(now, index, segment) {
            self.connection_input(now, index, segment);
        }
        self.offer(index, generation, e.listener);
    }

    /// The segment that completed the handshake, at a glance; answers whether it was taken.
    fn take_third(&mut self, now: Instant, index: u32, segment: &Segment<'_>) -> bool {
        let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
        let Some(c) = connections.get_mut(index).filter(|_| !cx.tracer.is_on()) else { return false };
        if !expected::take_third(c, cx, now, segment) {
            return false;
        }
        Agenda { wheel, ready_to_send, events }.refresh(c, cx, now, index);
        true
    }

    /// The connection that an embryo becomes, in SYN-RECEIVED and as yet in no table but its own.
    pub(super) fn connection_of(&mut self, now: Instant, e: &Embryo) -> Option<(u32, Option<Box<Signed>>)> {
        let options = self.listeners.get(e.listener).map(|l| l.options.clone())?;
        let signed = self.signed_of(e);
        if e.tag.is_signed() && signed.is_none() {
            // The listener lost the key meanwhile: what began signed does not go on unsigned.
            return None;
        }
        let auth_len = signed.as_ref().map_or(0, |signed| signed.option_len(e.tuple.remote));
        let mtu = self.path_mtu(now, &e.tuple);
        let options_len = mss::options_len(e.agreed.timestamps) + u16::from(auth_len);
        let size = mss::effective(&e.tuple, mtu as usize, e.agreed.peer_mss, options_len, &self.cx.settings);
        let birth = Birth {
            tuple: e.tuple,
            generation: self.next_generation(),
            trace_id: e.trace_id,
            options,
            state: State::SynReceived,
            iss: e.iss,
            irs: e.irs,
            ts_offset: e.ts_offset,
            agreed: e.agreed,
            mss: size,
            path_mtu: mtu,
            now,
        };
        let index = self.connections.insert(Connection::new(&self.cx, birth));
        let c = self.connections.get_mut(index)?;
        c.snd_wnd = u32::from(e.peer_window);
        c.snd_max_wnd = c.snd_wnd;
        c.set_rcv_edge(1 + i64::from(e.offered()));
        c.set_rcv_acked(1);
        c.ts_recent = e.ts_recent;
        c.facts.set_unaccepted(true);
        c.auth_len = auth_len;
        c.ecn = e.ecn.state();
        c.listener = e.listener;
        self.cx.counters.tcp_passive_opens += 1;
        Some((index, signed))
    }

    /// Puts a connection into its listener's queue.
    pub(super) fn offer(&mut self, index: u32, generation: u32, listener: u32) {
        let live = self.connections.get(index).is_some_and(|c| c.generation == generation);
        if let Some(l) = self.listeners.get_mut(listener).filter(|_| live) {
            l.ready.push_back((index, generation));
            if !core::mem::replace(&mut l.event_queued, true) {
                self.events.push_back(EventSource::Listener { index: listener, generation: l.generation });
            }
        }
    }

    /// An ACK for a listener may be the answer to a cookie (RFC 4987 3.6). Answers whether it was.
    fn take_cookie(
        &mut self,
        now: Instant,
        listener: u32,
        (tuple, hash): (&Tuple, u64),
        segment: &Segment<'_>,
    ) -> bool {
        let Some(l) = self.listeners.get(listener) else { return false };
        // As Linux does: where none was sent of late, nobody gets to guess.
        let expected = l.cookie_at.is_some_and(|at| now.since(at) <= cookie::LIFETIME);
        if !expected || segment.flags.syn() {
            return false;
        }
        let (iss, irs) = (segment.ack.wrapping_sub(1), segment.seq.wrapping_sub(1));
        let Some(peer_mss) = cookie::check(&self.cx.secrets, tuple, irs, iss, now) else {
            self.cx.counters.tcp_syn_cookies_failed += 1;
            return false;
        };
        self.cx.counters.tcp_syn_cookies_received += 1;
        self.make_room(now);
        let Some(l) = self.listeners.get(listener) else { return false };
        if l.is_full() || self.connections.len() as u64 >= self.cx.settings.max_connections {
            // As without cookies: in silence, and what the peer sends again completes the handshake later.
            self.cx.counters.tcp_listen_overflows += 1;
            self.note_drop(now, DropReason::ListenOverflow, segment.payload.bytes.len(), Self::ends(tuple));
            return true;
        }
        let options = l.options.clone();
        let mut e = self.embryo(now, listener, tuple, segment, &options);
        let echo = segment.options.timestamps.filter(|_| self.cx.settings.tcp_timestamps > 0);
        let told = echo.map(|(_, ecr)| cookie::read_stamp(ecr.wrapping_sub(e.ts_offset))).unwrap_or_default();
        let cookie::Told { sack, scale, ecn } = told;
        let pure = segment.payload.bytes.is_empty();
        e.ecn = match ecn::ace(segment.flags) {
            2..=7 if self.cx.settings.tcp_ecn >= 3 && pure => Grant::accurate(),
            _ if ecn && self.cx.settings.tcp_ecn > 0 => Grant::classic(),
            _ => Grant::default(),
        };
        e.iss = iss;
        e.irs = irs;
        e.is_cookie = true;
        // When the SYN,ACK went out is forgotten: it gives no sample.
        e.resent = true;
        e.peer_window = segment.window;
        e.agreed = Negotiated {
            timestamps: echo.is_some(),
            sack: sack && self.cx.settings.tcp_sack == 1,
            scaling: scale.is_some(),
            snd_wscale: scale.unwrap_or(0),
            rcv_wscale: scale.map_or(0, |_| window::scale(&options, &self.cx.settings)),
            peer_mss,
        };
        let (from, to) = (State::Listen, State::SynReceived);
        self.cx.trace(now, e.trace_id, tuple, TraceKind::State { from, to });
        self.hatch(now, &e, (hash, None), segment);
        true
    }

    /// Runs a segment through a connection and settles what follows.
    pub(super) fn connection_input(&mut self, now: Instant, index: u32, segment: &Segment<'_>) {
        if self.cx.tracer.is_on()
            && let Some(c) = self.connections.get(index)
        {
            let (id, tuple) = (c.trace_id, c.tuple);
            let shift = if segment.flags.syn() { 0 } else { c.agreed.snd_wscale };
            self.trace_received(now, Some(id), &tuple, segment, shift);
        }
        let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
        let Some(c) = connections.get_mut(index) else { return };
        let outcome = crate::tcp::input::on_segment(c, cx, now, segment);
        if outcome == Outcome::Keep {
            return Agenda { wheel, ready_to_send, events }.refresh(c, cx, now, index);
        }
        if let Outcome::RefuseSegment(reason) | Outcome::ResetSegment(reason) = outcome {
            let (id, tuple) = (c.trace_id, c.tuple);
            self.refuse(now, Some(id), &tuple, segment, reason);
        }
        self.settle(now, index, outcome);
    }
}
