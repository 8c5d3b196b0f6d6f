//! The receive window: how much is offered, and that the offer is never taken back.

use alloc::boxed::Box;

use super::State;
use super::recv::{Measured, Tuning};
use super::seq::Pos;
use super::tcb::{Connection, MAX_UNSCALED};
use crate::cx::Cx;
use crate::options::SocketOptions;
use crate::settings::{Profile, Settings};
use crate::time::Instant;

/// What a connection may have unread when the memory budget is used up.
const SCARCE: u32 = 4096;
/// Half of a buffer is payload until data shows how much it is (`TCP_DEFAULT_SCALING_RATIO`).
const HALF: u16 = 1 << 15;
/// Segments that a reader is expected to take in a round trip at least.
const LEAST_SEGMENTS: u64 = 10;
/// What a receiver learns of what comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learned {
    /// How much of the receive buffer is payload, in 65536ths.
    pub(crate) ratio: u16,
    /// The largest window that is offered; grows as data comes.
    pub(crate) ssthresh: u32,
}

impl Learned {
    pub(crate) const fn new() -> Self {
        Self { ratio: HALF, ssthresh: 0 }
    }
}

/// Linux's SOCK_MIN_RCVBUF.
const MIN_BUFFER: u64 = 2304;

/// The window that a SYN or SYN,ACK offers for a buffer of `rcv_buf` bytes: whole segments, at most what fits without
/// scaling.
pub(crate) fn initial(rcv_buf: u32, mss: u16, options: &SocketOptions, cx: &Cx) -> u32 {
    let window = clamped(within_budget(rcv_buf / 2, options, cx), options);
    let mss = u32::from(mss).max(1);
    let window = if window > mss { window / mss * mss } else { window };
    window.min(MAX_UNSCALED)
}

/// When memory is short everybody gets a little, so that nobody starves. Before that a window whose size the application
/// did not fix keeps to its share of what is left.
fn within_budget(space: u32, options: &SocketOptions, cx: &Cx) -> u32 {
    if cx.budget.is_spent() {
        return space.min(SCARCE);
    }
    if options.recv_buffer.is_some() {
        return space;
    }
    let share = cx.budget.share().max(cx.settings.tcp_rmem_default / 2);
    space.min(u32::try_from(share).unwrap_or(u32::MAX))
}

/// SO_RCVBUF is doubled, for overhead, as on Linux.
pub(crate) fn fixed_buffer(bytes: usize) -> u32 {
    u32::try_from((bytes as u64).saturating_mul(2).max(MIN_BUFFER)).unwrap_or(u32::MAX)
}

/// Bytes that what is unread may take up at first.
pub(crate) fn initial_buffer(fixed: Option<usize>, settings: &Settings) -> u32 {
    fixed.map_or(u32::try_from(settings.tcp_rmem_default).unwrap_or(u32::MAX), fixed_buffer)
}

/// What Linux takes up for a received segment of `len` bytes of payload (`skb->truesize`): a block of memory whose size is
/// a power of two, or whole pages.
const fn memory_of(len: u32) -> u32 {
    const HEADERS: u32 = 40 + 64;
    const BOOKS: u32 = 256;
    const TRAILER: u32 = 320;
    const PAGE: u32 = 4096;
    if len <= PAGE - 64 {
        (len + HEADERS + TRAILER).next_power_of_two() + BOOKS
    } else {
        len.div_ceil(PAGE) * PAGE + 2 * BOOKS
    }
}

/// TCP_WINDOW_CLAMP: no larger window is offered, whatever the buffer.
fn clamped(window: u32, options: &SocketOptions) -> u32 {
    options.window_clamp.map_or(window, |most| window.min(most))
}

/// Our shift: the smallest with which the largest window that we may ever have can be offered (RFC 7323 2.2).
pub(crate) fn scale(options: &SocketOptions, settings: &Settings) -> u8 {
    let buffer = options.recv_buffer.map_or(settings.tcp_rmem_max, |b| b as u64);
    let largest = options.window_clamp.map_or(buffer, |most| buffer.min(u64::from(most))).max(1);
    (largest.ilog2().saturating_sub(15)).min(14) as u8
}

impl Connection {
    /// Decides the window for a segment that goes out now, and answers its field. The right edge never moves
    /// left (RFC 9293 SHLD-14), also when rounding to the scale. Linux avoids silly windows (MUST-39) by offering none of
    /// less than a segment; to the letter of the RFC the edge moves right only by an amount worth telling (3.8.6.2.2).
    #[inline(always)]
    pub(crate) fn advertise(&mut self, cx: &Cx) -> u16 {
        let shift = self.agreed.rcv_wscale;
        // The peer counts the window from what is acknowledged, which is less than RCV.NXT where ACKs are held back.
        let acked = self.ack_pos();
        let held = (self.rcv_nxt() - acked) as u32;
        let current = self.rcv_wnd();
        let space = self.full_space();
        if self.recv.held() as u32 > space - space / 2 {
            self.ack.quick = 0;
        }
        let selected = self.window_of(space, cx);
        let tells = cx.settings.profile == Profile::Linux || {
            let worth = (clamped(space, &self.options) / 2).min(u32::from(self.rcv_mss)).max(1);
            selected >= current + worth
        };
        let wanted = if tells { selected } else { current };
        let most = u32::from(u16::MAX) << shift;
        // Rounded up; 30 bits at most.
        let field = (wanted.max(current).saturating_add(held).min(most) + ((1 << shift) - 1)) >> shift;
        self.set_rcv_edge(self.rcv_edge().max(acked + Pos::from(field << shift)));
        field.min(u32::from(u16::MAX)) as u16
    }

    /// The window field of an ACK of `prior`, which lies below RCV.NXT: it ends where what was offered ends.
    pub(crate) fn window_from(&mut self, prior: Pos) -> u16 {
        let unit = Pos::from(1u32 << self.agreed.rcv_wscale);
        let field = ((self.rcv_edge() - prior).max(0) + unit - 1) / unit;
        let field = field.min(Pos::from(u16::MAX));
        self.set_rcv_edge(self.rcv_edge().max(prior + field * unit));
        field as u16
    }

    /// Where what may be unread ends in any case. Rounding up to the scale moves the right edge by a little with
    /// each segment; a peer that fills the window up to an odd byte, again and again, must not make the queue grow
    /// for ever.
    pub(crate) fn most_unread(&self) -> Pos {
        self.recv.read_pos() + Pos::from(self.rcv_buf) + Pos::from(MAX_UNSCALED)
    }

    /// Bytes of payload that the buffer holds (`tcp_full_space`).
    pub(crate) fn full_space(&self) -> u32 {
        ((u64::from(self.rcv_buf) * u64::from(self.rcv_learned.ratio)) >> 16) as u32
    }

    /// The window that could be offered now, rounded as Linux does (`__tcp_select_window`): nothing where little is free,
    /// whole segments where it is not scaled.
    pub(crate) fn select_window(&self, cx: &Cx) -> u32 {
        self.window_of(self.full_space(), cx)
    }

    /// The same of a buffer with room for `space` bytes.
    #[inline(always)]
    fn window_of(&self, space: u32, cx: &Cx) -> u32 {
        let allowed = within_budget(space, &self.options, cx);
        // A window that is clamped below a segment opens again as a whole, or it would stay shut for ever.
        let full = clamped(allowed, &self.options);
        let mss = u32::from(self.rcv_mss.max(1)).min(full);
        let unit = 1u32 << self.agreed.rcv_wscale;
        let mut free = allowed.saturating_sub(self.recv.held() as u32);
        if free < full / 2 {
            free &= !(unit - 1);
            if free < full / 16 || free < mss {
                return 0;
            }
        }
        let free = clamped(free.min(self.rcv_learned.ssthresh), &self.options);
        if self.agreed.scaling && unit > 1 {
            return free;
        }
        let last = (self.rcv_edge() - self.rcv_acked()).max(0) as u32;
        if last + mss <= free || last > free {
            free - free % mss.max(1)
        } else if mss == full && free > last + full / 2 {
            free
        } else {
            last
        }
    }

    /// The first window is what the SYN offered, less a segment where that is all of the buffer
    /// (`tcp_init_buffer_space`).
    pub(crate) fn begin_window(&mut self, cx: &Cx) {
        let full = self.full_space();
        let mss = u32::from(super::mss::offered(&self.tuple, cx.device.mtu, &self.options));
        self.rcv_learned.ssthresh = self.rcv_wnd().min(full.saturating_sub(mss).max(2 * mss));
    }

    /// Data of `len` bytes came, in segments of `segment` bytes, which shows how much memory a byte takes
    /// (`tcp_measure_rcv_mss`).
    pub(crate) fn learn_segment(&mut self, cx: &Cx, len: u32, segment: u16) {
        if segment != self.rcv_mss {
            let ratio = (u64::from(len) << 16) / u64::from(memory_of(len).max(1));
            self.rcv_learned.ratio = ratio.clamp(1, u64::from(u16::MAX)) as u16;
        }
        self.rcv_mss = segment.min(super::mss::offered(&self.tuple, cx.device.mtu, &self.options));
    }

    /// Data came: the window may grow by twice as much, as far as the buffer has room (`tcp_grow_window`).
    pub(crate) fn grow_window(&mut self, cx: &Cx, len: u32) {
        let room = self.room_to_grow(cx);
        if room == 0 {
            return;
        }
        let mss = u32::from(super::mss::offered(&self.tuple, cx.device.mtu, &self.options));
        self.rcv_learned.ssthresh += room.min(2 * len.max(mss));
    }

    /// By how much the window may grow at most; the more is held the less.
    #[inline]
    pub(crate) fn room_to_grow(&self, cx: &Cx) -> u32 {
        if u64::from(self.rcv_learned.ssthresh) >= cx.budget.share() {
            return 0;
        }
        let free = self.full_space().saturating_sub(self.recv.held() as u32);
        free.saturating_sub(self.rcv_learned.ssthresh)
    }

    /// The application read: grow the buffer where it keeps up, and answer whether the peer should be told of
    /// the room at once, because it may be waiting for it (`tcp_cleanup_rbuf`).
    pub(crate) fn after_read(&mut self, cx: &Cx, now: Instant) -> bool {
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            return false;
        }
        self.tune_buffer(cx, now);
        if self.facts.read_shut() {
            return false;
        }
        // As Linux does: an update is sent when the window at least doubles.
        let offered = u64::from(self.rcv_wnd());
        let scaled = self.agreed.scaling && self.agreed.rcv_wscale > 0;
        if scaled && 2 * offered > u64::from(self.rcv_learned.ssthresh) {
            // Which no window is larger than.
            debug_assert!(u64::from(self.select_window(cx)) < 2 * offered);
            return false;
        }
        if 2 * offered > u64::from(clamped(self.full_space(), &self.options)) {
            return false;
        }
        let window = self.select_window(cx);
        window > 0 && u64::from(window) >= 2 * offered
    }

    /// Makes the buffer as large as a reader needs it that takes what comes (`tcp_rcv_space_adjust`).
    fn tune_buffer(&mut self, cx: &Cx, now: Instant) {
        if self.options.recv_buffer.is_some() || cx.settings.tcp_moderate_rcvbuf == 0 {
            return;
        }
        let (read, mss) = (self.recv.read_pos(), u64::from(self.mss));
        let Some(tuning) = self.rare.as_deref_mut().and_then(|rare| rare.tuning.as_mut()) else {
            // Requests and answers need no measuring.
            if read - self.rare().tuned >= Pos::from(self.full_space() / 4) {
                let (edge, rtt) = (self.rcv_edge(), self.rtt.srtt());
                self.rare_mut().tuning = Some(Box::new(Tuning::new(now, read, edge, rtt, mss)));
            }
            return;
        };
        match tuning.on_read(now, read, self.recv.len() as u64, mss) {
            Measured::Idle => {
                let rare = self.rare_mut();
                (rare.tuning, rare.tuned) = (None, read);
            }
            Measured::Wants(window) => self.make_buffer_for(window, cx),
            _ => {}
        }
    }

    /// A buffer in which a window of `window` bytes fits, as far as tcp_rmem lets it grow.
    fn make_buffer_for(&mut self, window: u64, cx: &Cx) {
        let bytes = (window.min(1 << 40) << 16) / u64::from(self.rcv_learned.ratio.max(1));
        let bytes = bytes.min(cx.settings.tcp_rmem_max).min(2 * cx.budget.share());
        self.rcv_buf = self.rcv_buf.max(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// SO_RCVLOWAT was raised: so much must fit, unless SO_RCVBUF says otherwise (`tcp_set_rcvlowat`).
    pub(crate) fn make_room_for(&mut self, lowat: usize, cx: &Cx) {
        if self.options.recv_buffer.is_none() {
            let wanted = (lowat as u64).min(cx.settings.tcp_rmem_max / 2);
            self.make_buffer_for(wanted, cx);
        }
    }

    /// Data waits at `end`, behind a gap: the buffer is to hold that and what comes in a round trip, where somebody reads
    /// (`tcp_rcvbuf_grow`).
    pub(crate) fn make_room_behind_gap(&mut self, cx: &Cx, end: Pos) {
        let fixed = self.options.recv_buffer.is_some() || cx.settings.tcp_moderate_rcvbuf == 0;
        if fixed || self.facts.unaccepted() || self.facts.orphan() {
            return;
        }
        let mss = u64::from(super::mss::offered(&self.tuple, cx.device.mtu, &self.options));
        let window = 2 * LEAST_SEGMENTS * mss + (end - self.recv.next()).max(0) as u64;
        self.make_buffer_for(window, cx);
    }

    /// Bytes that may wait out of order, overhead included. Where memory is used up what comes in order has to do.
    pub(crate) fn reorder_limit(&self, cx: &Cx) -> usize {
        if cx.budget.is_spent() { SCARCE as usize } else { self.rcv_buf as usize / 2 * 3 + (64 << 10) }
    }
}
