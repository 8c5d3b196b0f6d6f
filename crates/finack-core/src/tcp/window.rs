//! The receive window: how much is offered, and that the offer is never taken back.

use alloc::boxed::Box;

use super::State;
use super::recv::{Measured, Tuning};
use super::seq::Pos;
use super::tcb::{Connection, MAX_UNSCALED};
use crate::cx::Cx;
use crate::options::SocketOptions;
use crate::settings::Settings;
use crate::time::Instant;

/// What a connection may have unread when the memory budget is used up.
const SCARCE: u32 = 4096;

/// The window that a SYN or SYN,ACK offers, in bytes: whole segments, or what fits without scaling (as Linux's
/// `tcp_select_initial_window`). `mss` is what the peer's segments carry at most.
pub(crate) fn initial(rcv_buf: u32, mss: u16) -> u32 {
    let mss = u32::from(mss).max(1);
    let window = if rcv_buf > mss { rcv_buf / mss * mss } else { rcv_buf };
    window.min(MAX_UNSCALED)
}

/// When memory is short everybody gets a little, so that nobody starves.
pub(crate) fn within_budget(buffer: u32, cx: &Cx) -> u32 {
    if cx.budget.is_spent() { buffer.min(SCARCE) } else { buffer }
}

/// Bytes that may be unread at first: Linux counts as much overhead as payload.
pub(crate) fn initial_buffer(fixed: Option<usize>, settings: &Settings) -> u32 {
    let bytes = fixed.map_or(settings.tcp_rmem_default / 2, |b| (b as u64).max(settings.tcp_rmem_min / 2));
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// TCP_WINDOW_CLAMP: no larger window is offered, whatever the buffer.
pub(crate) fn clamped(window: u32, options: &SocketOptions) -> u32 {
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
    /// left (RFC 9293 SHLD-14), also when rounding to the scale, and moves right only by an amount worth
    /// telling (RFC 9293 MUST-39, 3.8.6.2.2).
    pub(crate) fn advertise(&mut self, cx: &Cx) -> u16 {
        let shift = self.agreed.rcv_wscale;
        // The peer counts the window from what is acknowledged, which is less than RCV.NXT where ACKs are held back.
        let acked = self.ack_pos();
        let held = (self.rcv_nxt() - acked) as u32;
        let current = self.rcv_wnd();
        let wanted = if self.window_gain(cx) > 0 { self.free_window(cx) } else { current };
        let unit = 1u32 << shift;
        let most = u32::from(u16::MAX) << shift;
        let field = wanted.max(current).saturating_add(held).min(most).div_ceil(unit);
        self.rcv_edge = self.rcv_edge.max(acked + Pos::from(field << shift));
        field.min(u32::from(u16::MAX)) as u16
    }

    /// Where what may be unread ends in any case. Rounding up to the scale moves the right edge by a little with
    /// each segment; a peer that fills the window up to an odd byte, again and again, must not make the queue grow
    /// for ever.
    pub(crate) fn most_unread(&self) -> Pos {
        self.recv.read_pos() + Pos::from(self.rcv_buf) * 2 + Pos::from(MAX_UNSCALED)
    }

    /// Bytes that could be offered: what is free, as far as the header's field can tell of it.
    fn free_window(&self, cx: &Cx) -> u32 {
        let most = u32::from(u16::MAX) << self.agreed.rcv_wscale;
        let free = within_budget(self.rcv_buf, cx).saturating_sub(self.recv.len() as u32);
        clamped(free.min(most), &self.options)
    }

    /// By how much the right edge would move if a segment went out now; 0 where it would not be worth it.
    pub(crate) fn window_gain(&self, cx: &Cx) -> u32 {
        let gain = self.free_window(cx).saturating_sub(self.rcv_wnd());
        let worth = (clamped(within_budget(self.rcv_buf, cx), &self.options) / 2)
            .min(u32::from(self.rcv_mss.max(self.mss)));
        if gain >= worth.max(1) { gain } else { 0 }
    }

    /// The application read: grow the buffer where it keeps up, and answer whether the peer should be told of
    /// the room at once, because it may be waiting for it.
    pub(crate) fn after_read(&mut self, cx: &Cx, now: Instant) -> bool {
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            return false;
        }
        self.tune_buffer(cx, now);
        let gain = self.window_gain(cx);
        // As Linux does: an update is sent when the window at least doubles.
        gain > 0 && gain >= self.rcv_wnd()
    }

    /// Makes the buffer as large as a reader needs it that takes what comes (Linux's tcp_rcv_space_adjust).
    fn tune_buffer(&mut self, cx: &Cx, now: Instant) {
        if self.options.recv_buffer.is_some() || cx.settings.tcp_moderate_rcvbuf == 0 {
            return;
        }
        let (read, mss) = (self.recv.read_pos(), u64::from(self.mss));
        let Some(tuning) = &mut self.tuning else {
            // Requests and answers need no measuring.
            if read - self.rcv_tuned >= Pos::from(self.rcv_buf / 4) {
                let (edge, rtt) = (self.rcv_edge, self.rtt.srtt());
                self.tuning = Some(Box::new(Tuning::new(now, read, edge, rtt, mss)));
            }
            return;
        };
        match tuning.on_read(now, read, mss) {
            Measured::Idle => {
                self.tuning = None;
                self.rcv_tuned = read;
            }
            Measured::Wants(bytes) if !cx.budget.is_tight() => {
                let most = (cx.settings.tcp_rmem_max / 2).min(u64::from(u32::MAX));
                self.rcv_buf = self.rcv_buf.max(bytes.min(most) as u32);
            }
            _ => {}
        }
    }

    /// SO_RCVLOWAT was raised: so much must fit, unless SO_RCVBUF says otherwise (Linux's tcp_set_rcvlowat).
    pub(crate) fn make_room_for(&mut self, lowat: usize, cx: &Cx) {
        if self.options.recv_buffer.is_none() {
            let wanted = (lowat as u64).min(cx.settings.tcp_rmem_max / 2).min(u64::from(u32::MAX));
            self.rcv_buf = self.rcv_buf.max(wanted as u32);
        }
    }

    /// Bytes that may wait out of order, overhead included.
    pub(crate) fn reorder_limit(&self) -> usize {
        self.rcv_buf as usize * 3 + (64 << 10)
    }
}
