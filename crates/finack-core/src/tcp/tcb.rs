//! The transmission control block of a connection (RFC 9293 3.3.1).

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use super::congestion::{Control, Controller, Validation};
use super::ecn::EcnState;
use super::facts::Facts;
use super::rare::Rare;
use super::rate::RateSeen;
use super::recovery::{Recovery, Rtt};
use super::recv::RecvQueue;
use super::send::{RetransmitQueue, SendBuffer};
use super::seq::{self, Pos};
use super::timers::{Timer, Timers};
use super::units::Units;
use super::window::Learned;
use super::{State, Tuple};
use crate::cx::Cx;
use crate::error::Error;
use crate::options::SocketOptions;
use crate::settings::Congestion;
use crate::stack::Ready;
use crate::time::{Instant, Known};
use crate::trace::{SendReason, TraceKind};

/// The largest window that can be had without scaling.
pub(crate) const MAX_UNSCALED: u32 = 65_535;
/// Linux's least time that an ACK is delayed, in nanoseconds.
pub(crate) const ATO_MIN: u64 = 40_000_000;
/// Linux's greatest (RFC 9293 MUST-40 would allow 500 ms).
pub(crate) const ATO_MAX: u64 = 200_000_000;
/// ACKs that are not delayed at the start of a connection and after trouble.
const QUICK_ACKS: u8 = 16;

/// What the two SYNs agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// Both sides sent timestamps.
    pub(crate) timestamps: bool,
    /// Both sides permitted SACK.
    pub(crate) sack: bool,
    /// Both sides offered scaling: shift of the peer's windows and of ours.
    pub(crate) scaling: bool,
    pub(crate) snd_wscale: u8,
    pub(crate) rcv_wscale: u8,
    /// The peer's MSS option (or the default), bounded by TCP_MAXSEG.
    pub(crate) peer_mss: u16,
}

/// When and how an ACK is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckState {
    /// Something was received that no ACK that we sent covers.
    pub(crate) pending: bool,
    /// It goes out at once, for this reason.
    pub(crate) now: Option<SendReason>,
    /// ACKs left that are not delayed.
    pub(crate) quick: u8,
    /// Segments came that end a message, as it seems: one, or more. A reader that empties the queue acknowledges them.
    pub(crate) pushed: u8,
    /// The application answers what it receives: data will carry the ACK.
    pub(crate) interactive: bool,
    /// How long ACKs are delayed, in nanoseconds; zero before data came.
    pub(crate) ato: u64,
    /// When data came last.
    pub(crate) data_at: Instant,
}

impl AckState {
    const fn new(now: Instant) -> Self {
        Self { pending: false, now: None, quick: 0, pushed: 0, interactive: false, ato: 0, data_at: now }
    }
}

/// Urgent data (RFC 9293 3.8.5, RFC 6093).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Urgent {
    /// Position of the urgent byte in the receive stream.
    pub(crate) mark: Option<Pos>,
    /// The byte, taken out of the stream when it arrived.
    pub(crate) byte: Option<u8>,
    /// It was read with MSG_OOB.
    pub(crate) taken: bool,
}

/// Counts for `tcp_info`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) bytes_sent: u64,
    pub(crate) segs_out: u64,
    pub(crate) segs_in: u64,
    pub(crate) data_segs_in: u32,
    pub(crate) data_segs_out: u32,
}

impl Stats {
    /// Segments went out, with data or without.
    pub(crate) fn note_sent(&mut self, segments: u16, data: bool) {
        self.segs_out += u64::from(segments);
        self.data_segs_out = self.data_segs_out.wrapping_add(u32::from(segments) * u32::from(data));
    }
}

/// A connection from SYN-SENT (or the end of its handshake) to CLOSED or TIME-WAIT.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) tuple: Tuple,
    pub(crate) generation: u32,
    pub(crate) trace_id: u64,
    pub(crate) state: State,
    pub(crate) facts: Facts,
    /// Bytes of options in each segment that sign it; 0 where none does.
    pub(crate) auth_len: u8,
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) agreed: Negotiated,

    // Send sequence space.
    pub(crate) iss: u32,
    pub(crate) snd_una: Pos,
    pub(crate) snd_nxt: Pos,
    pub(crate) snd_wnd: u32,
    pub(crate) snd_max_wnd: u32,
    /// SND.WL1 and SND.WL2: of their positions the 32 bits that the wire has.
    pub(crate) snd_wl1: u32,
    pub(crate) snd_wl2: u32,
    /// Payload bytes of a full segment, options taken off.
    pub(crate) mss: u16,
    /// What routers say that the path takes, in bytes.
    pub(crate) path_mtu: u32,
    pub(crate) send: SendBuffer,
    pub(crate) units: Units,
    pub(crate) rtx: RetransmitQueue,

    // Receive sequence space.
    pub(crate) irs: u32,
    pub(crate) recv: RecvQueue,
    /// RCV.NXT + RCV.WND as advertised; never retreats.
    rcv_edge: u32,
    /// Last.ACK.sent (RFC 7323).
    rcv_acked: u32,
    /// Where the peer's FIN stands, once [seen](Facts::fin_seen).
    rcv_fin: u32,
    /// Bytes that what is unread may take up, overhead included.
    pub(crate) rcv_buf: u32,
    /// What is learned from what comes.
    pub(crate) rcv_learned: Learned,
    /// Largest segment seen, an estimate of what the peer sends.
    pub(crate) rcv_mss: u16,
    pub(crate) ts_recent: u32,
    /// When that was, in units of 2^30 ns.
    ts_recent_at: u32,
    pub(crate) ts_offset: u32,
    pub(crate) ack: AckState,

    // Recovery and congestion control.
    pub(crate) rtt: Rtt,
    pub(crate) recovery: Recovery,
    pub(crate) congestion: Controller,
    /// Present where explicit congestion notification was asked for or agreed on.
    pub(crate) ecn: Option<Box<EcnState>>,
    pub(crate) peak: Peak,
    /// What few connections have.
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) delivered: u64,
    pub(crate) rate: RateSeen,
    /// Once so much was delivered (of which 32 bits count), what is out was not limited by the application any more;
    /// 0 while the application does not limit.
    pub(crate) app_limited_until: u32,

    // Timers.
    pub(crate) timers: Timers,
    pub(crate) wheel_at: Instant,
    pub(crate) backoff: u8,
    /// Retransmission time-outs since something new was acknowledged.
    pub(crate) retries: u8,
    /// Probes (zero-window or keep-alive) that nothing answered.
    pub(crate) probes: u8,
    /// When the oldest unanswered transmission or probe went out.
    pub(crate) trouble_since: Known,
    pub(crate) times: Times,
    pub(crate) created_at: Instant,

    // The application.
    pub(crate) error: Option<Error>,
    pub(crate) soft_error: Option<Error>,
    pub(crate) ready: Ready,
    /// Bytes that the memory budget counts for it.
    pub(crate) charged: u32,
    pub(crate) listener: u32,
    pub(crate) stats: Stats,
}

/// How much of the congestion window a flight made use of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    /// The most that was out, in bytes. ([`Facts::peak_limited`] says whether the window kept the sender from sending more.)
    pub(crate) bytes: u32,
    /// Where the flight ends, of which 32 bits count.
    pub(crate) until: u32,
}

/// What a connection begins with.
pub(crate) struct Birth {
    pub(crate) tuple: Tuple,
    pub(crate) generation: u32,
    pub(crate) trace_id: u64,
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) state: State,
    pub(crate) iss: u32,
    pub(crate) irs: u32,
    pub(crate) ts_offset: u32,
    pub(crate) agreed: Negotiated,
    pub(crate) mss: u16,
    pub(crate) path_mtu: u32,
    pub(crate) now: Instant,
}

/// What a controller that leaves something to chance draws from.
pub(crate) fn chance(cx: &Cx, trace_id: u64) -> u64 {
    cx.secrets.chance.table().u64(trace_id).finish()
}

/// When things happened last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) last_recv_at: Instant,
    pub(crate) last_send_at: Instant,
    /// The present state was entered.
    pub(crate) state_since: Instant,
}

/// The controller that its socket or the settings name.
fn first_controller(cx: &Cx, birth: &Birth) -> Controller {
    let kind = birth.options.congestion.unwrap_or(cx.settings.congestion);
    // No other leaves anything to chance.
    let seed = if kind == Congestion::Bbr { chance(cx, birth.trace_id) } else { 0 };
    Controller::new(kind, initial_cwnd(cx.settings.tcp_initial_cwnd, birth.mss), seed)
}

impl Connection {
    #[inline]
    pub(crate) fn new(cx: &Cx, birth: Birth) -> Self {
        let Birth { now, mss, tuple, generation, trace_id, state, agreed, iss, irs, .. } = birth;
        Self {
            congestion: first_controller(cx, &birth),
            tuple,
            generation,
            trace_id,
            state,
            facts: Facts::default(),
            auth_len: 0,
            rcv_buf: super::window::initial_buffer(birth.options.recv_buffer, &cx.settings),
            options: birth.options,
            agreed,
            iss,
            snd_una: 0,
            snd_nxt: 0,
            snd_wnd: 0,
            snd_max_wnd: 0,
            snd_wl1: 0,
            snd_wl2: 0,
            mss,
            path_mtu: birth.path_mtu,
            send: SendBuffer::new(1),
            units: Units::new(&cx.settings, now),
            rtx: RetransmitQueue::default(),
            irs,
            recv: RecvQueue::new(1),
            rcv_edge: 1,
            rcv_acked: 0,
            rcv_fin: 0,
            rcv_learned: Learned::new(),
            rcv_mss: mss.min(536),
            ts_recent: 0,
            ts_recent_at: coarse(now),
            ts_offset: birth.ts_offset,
            ack: AckState::new(now),
            rtt: Rtt::new(),
            recovery: Recovery::new(),
            ecn: None,
            peak: Peak::default(),
            rare: Validation::wanted(&cx.settings, now).map(Rare::validating),
            delivered: 0,
            rate: RateSeen::default(),
            app_limited_until: 0,
            timers: Timers::OFF,
            wheel_at: Instant::FAR_FUTURE,
            backoff: 0,
            retries: 0,
            probes: 0,
            trouble_since: Known::NOT,
            times: Times { last_recv_at: now, last_send_at: now, state_since: now },
            created_at: now,
            error: None,
            soft_error: None,
            ready: Ready::default(),
            charged: 0,
            listener: u32::MAX,
            stats: Stats::default(),
        }
    }

    /// Has fetched where its queues stand, for somebody who will soon look at these.
    #[inline]
    pub(crate) fn prefetch_queues(&self) {
        self.rtx.prefetch();
        self.send.prefetch();
    }

    /// The same for what is at their heads, the queues being at hand.
    #[inline]
    pub(crate) fn prefetch_fronts(&self) {
        self.rtx.prefetch_front();
        self.send.prefetch_front();
    }

    /// RCV.NXT.
    pub(crate) fn rcv_nxt(&self) -> Pos {
        self.recv.next() + Pos::from(self.facts.fin_received())
    }

    /// What the next segment acknowledges: RCV.NXT, unless the application holds ACKs back.
    pub(crate) fn ack_pos(&self) -> Pos {
        self.rcv_nxt().min(self.rare().ack_hold)
    }

    /// The position no further than 2^31 from RCV.NXT, as far as windows reach, of which these are the lower bits.
    #[inline(always)]
    const fn near_rcv_nxt(&self, low: u32) -> Pos {
        let next = self.recv.next();
        next + low.wrapping_sub(next as u32) as i32 as Pos
    }

    /// RCV.NXT + RCV.WND as advertised; never retreats.
    #[inline(always)]
    pub(crate) const fn rcv_edge(&self) -> Pos {
        self.near_rcv_nxt(self.rcv_edge)
    }

    #[inline(always)]
    pub(crate) const fn set_rcv_edge(&mut self, edge: Pos) {
        self.rcv_edge = edge as u32;
    }

    /// Last.ACK.sent (RFC 7323).
    #[inline(always)]
    pub(crate) const fn rcv_acked(&self) -> Pos {
        self.near_rcv_nxt(self.rcv_acked)
    }

    #[inline(always)]
    pub(crate) const fn set_rcv_acked(&mut self, acked: Pos) {
        self.rcv_acked = acked as u32;
    }

    /// Where the peer's FIN stands, once seen (`Pos::MAX`: it was not).
    #[inline(always)]
    pub(crate) const fn rcv_fin(&self) -> Pos {
        if self.facts.fin_seen() { self.near_rcv_nxt(self.rcv_fin) } else { Pos::MAX }
    }

    pub(crate) const fn set_rcv_fin(&mut self, fin: Pos) {
        self.rcv_fin = fin as u32;
        self.facts.set_fin_seen(true);
    }

    /// When TS.Recent was learned, or up to 1.1 s earlier.
    pub(crate) const fn ts_recent_at(&self) -> Instant {
        Instant::from_nanos((self.ts_recent_at as u64) << COARSE)
    }

    /// TS.Recent was learned.
    #[inline(always)]
    pub(crate) const fn note_ts_recent(&mut self, now: Instant) {
        self.ts_recent_at = coarse(now);
    }

    /// RCV.WND: what is left of what was advertised.
    pub(crate) fn rcv_wnd(&self) -> u32 {
        (self.rcv_edge() - self.rcv_nxt()).max(0) as u32
    }

    /// The wire's number of a send position.
    pub(crate) fn snd_seq(&self, pos: Pos) -> u32 {
        seq::wire(self.iss, pos)
    }

    /// The wire's number of a receive position.
    pub(crate) fn rcv_seq(&self, pos: Pos) -> u32 {
        seq::wire(self.irs, pos)
    }

    /// Where our FIN stands, once the application has closed.
    pub(crate) fn fin_pos(&self) -> Option<Pos> {
        self.facts.fin_queued().then(|| self.send.end())
    }

    /// Behind all that is to be sent, the FIN included.
    pub(crate) fn snd_end(&self) -> Pos {
        self.send.end() + Pos::from(self.facts.fin_queued())
    }

    /// Our FIN is acknowledged.
    pub(crate) fn fin_acked(&self) -> bool {
        self.fin_pos().is_some_and(|fin| self.snd_una > fin)
    }

    /// SND.UNA + SND.WND.
    pub(crate) fn snd_edge(&self) -> Pos {
        self.snd_una + Pos::from(self.snd_wnd)
    }

    /// Bytes that are out and neither SACKed nor taken for lost ("pipe" in RFC 6675).
    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        let out = (self.snd_nxt - self.snd_una) as u64;
        if out == 0 {
            return 0;
        }
        let mut gone = self.rtx.gone();
        if !self.agreed.sack {
            gone += self.recovery.left_network(u64::from(self.mss));
        }
        out.saturating_sub(gone)
    }

    /// Changes the state, and says so.
    pub(crate) fn enter(&mut self, cx: &mut Cx, now: Instant, state: State) {
        let from = core::mem::replace(&mut self.state, state);
        if from != state {
            self.times.state_since = now;
            cx.trace(now, self.trace_id, &self.tuple, TraceKind::State { from, to: state });
        }
    }

    /// Announces readiness to the application.
    pub(crate) fn announce(&mut self, ready: Ready) {
        self.ready |= ready;
    }

    /// TSval for a segment sent now.
    pub(crate) fn ts_val(&self, now: Instant) -> u32 {
        ts_clock(now).wrapping_add(self.ts_offset)
    }

    /// The present retransmission time-out.
    pub(crate) fn rto(&self, cx: &Cx) -> Duration {
        self.rtt.backed_off(u32::from(self.backoff), &cx.settings)
    }

    /// (Re)starts the retransmission timer where something is out (RFC 6298 5.1 to 5.3).
    pub(crate) fn restart_retransmit(&mut self, cx: &Cx, now: Instant) {
        if self.rtx.is_empty() {
            self.timers.stop(Timer::Retransmit);
            self.timers.stop(Timer::Loss);
        } else {
            let rto = self.rtt.backed_off_us(u32::from(self.backoff), &cx.settings);
            self.timers.arm(Timer::Retransmit, now.after_micros(rto));
        }
    }

    /// Has the next ACKs sent without delay, as after a gap.
    pub(crate) fn quick_acks(&mut self) {
        self.more_quick_acks();
        self.ack.interactive = false;
        self.ack.ato = ATO_MIN;
    }

    /// So many ACKs are not delayed as the peer needs to fill the window from slow start (`tcp_incr_quickack`).
    pub(crate) fn more_quick_acks(&mut self) {
        let segments = (self.rcv_edge() - self.rcv_acked()) / (2 * Pos::from(self.rcv_mss.max(1)));
        let wanted = if segments == 0 { 2 } else { segments.clamp(1, Pos::from(QUICK_ACKS)) as u8 };
        self.ack.quick = self.ack.quick.max(wanted);
    }

    /// The same for at most so many ACKs (`tcp_enter_quickack_mode`).
    pub(crate) fn quick_acks_up_to(&mut self, most: u8) {
        let before = self.ack.quick;
        self.quick_acks();
        self.ack.quick = before.max(self.ack.quick.min(most));
    }

    /// An ACK goes out at once.
    pub(crate) fn ack_now(&mut self, reason: SendReason) {
        self.ack.pending = true;
        // A more telling reason stays.
        if self.ack.now.is_none() || self.ack.now == Some(SendReason::Ack) {
            self.ack.now = Some(reason);
        }
    }

    /// Makes the send buffer follow the congestion window, and tells who waits for room in it that there is some.
    #[inline]
    pub(crate) fn announce_room(&mut self, cx: &Cx) {
        if self.facts.wants_room() || self.send.len() >= self.units.buffer as usize / 4 {
            self.make_room(cx);
        }
    }

    fn make_room(&mut self, cx: &Cx) {
        // Who looks at the readiness and waits until it changes may never have been refused anything, nor have asked.
        let short = self.facts.wants_room() || !self.is_writable(cx);
        if short && self.in_flight() < self.congestion.cwnd() {
            self.grow_send_buffer(cx);
        }
        if self.facts.wants_room() && self.is_writable(cx) {
            self.facts.set_wants_room(false);
            self.announce(Ready::WRITABLE);
        }
    }

    /// No router may fragment its packets.
    pub(crate) fn sends_whole(&self, cx: &Cx) -> bool {
        self.tuple.is_v6() || self.options.mtu_discovery(&cx.settings).forbids_fragments()
    }

    /// Everything before `una` arrived, perhaps all that was urgent.
    pub(crate) fn pass_urgent(&mut self, una: Pos) {
        if let Some(rare) = &mut self.rare {
            rare.snd_up = rare.snd_up.filter(|&up| up > una);
        }
    }

    /// Nothing that came twice need be reported any more.
    pub(crate) fn forget_duplicate(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.dsack = None;
        }
    }

    /// Lets go of what was sent before `upto`, and tells whose buffers that were.
    pub(crate) fn release_sent(&mut self, cx: &mut Cx, upto: Pos) {
        if self.send.release(&mut cx.pool, upto) {
            self.announce(Ready::COMPLETED);
        }
    }

    /// SO_RCVLOWAT, or all that the window lets come before something is read (as Linux's tcp_epollin_ready).
    pub(crate) fn has_enough_to_read(&self) -> bool {
        let unread = self.recv.len();
        let shut = || self.rcv_wnd() <= u32::from(self.mss) || unread as u32 >= self.full_space();
        unread >= self.options.recv_lowat.max(1) || unread > 0 && shut()
    }

    /// What the memory budget counts: what is queued to send, all that the window promises to take, and what keeping it costs
    /// where it comes in pieces. Nothing is taken any more for a program that closed: data that comes is answered by RST.
    #[inline]
    pub(crate) fn memory_promised(&self) -> u32 {
        let promised = (self.rcv_edge() - self.recv.read_pos()).max(0) as u64;
        let takes = self.facts.indexed() && !self.facts.orphan();
        let received = if takes { promised } else { self.recv.len() as u64 };
        let all = self.send.footprint() as u64 + received + self.recv.reorder_overhead() as u64;
        // Nobody has buffers of 4 GiB; the budget would not count more of them.
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    pub(crate) fn heap_memory(&self) -> usize {
        let ecn = self.ecn.as_ref().map_or(0, |_| size_of::<EcnState>());
        let controller = self.congestion.heap_memory();
        let boxes = ecn + controller + self.rare_memory();
        self.send.memory() + self.rtx.memory() + self.recv.memory() + boxes
    }
}

/// A time in units of 2^30 ns, a little more than a second.
const fn coarse(at: Instant) -> u32 {
    (at.as_nanos() >> COARSE) as u32
}

const COARSE: u32 = 30;

/// The clock of timestamps: milliseconds, as Linux has it (RFC 7323 5.4 allows 1 ms to 1 s).
pub(crate) const fn ts_clock(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// RFC 6928: ten segments by default.
pub(crate) fn initial_cwnd(segments: u64, mss: u16) -> u64 {
    segments * u64::from(mss)
}
