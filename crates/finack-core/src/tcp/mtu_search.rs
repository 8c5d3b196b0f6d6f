//! The search for what a path takes, by probes that are data (RFC 4821), beside what routers say of it (`mss`).
//!
//! Sizes are those of whole packets, in bytes. A connection searches where `tcp_mtu_probing` is 2, and where it is 1 from
//! the moment on when large packets seem to vanish; the state stands in a box of its own.

use core::ops::Range;
use core::time::Duration;

use finack_wire::tcp::HEADER_LEN;

use super::congestion::Control;
use super::output::{Plan, data_options_len};
use super::recovery::Phase;
use super::seq::Pos;
use super::tcb::Connection;
use crate::cx::Cx;
use crate::time::Instant;
use crate::trace::TraceKind;

/// A window of fewer segments carries no probe: whether only the probe is lost could not be told in time.
const LEAST_WINDOW: u64 = 11;
/// RFC 4821 7.6.3: how much longer the next probe waits where a time-out had to tell of the loss.
const AFTER_TIMEOUT: u32 = 5;
/// RFC 4821 7.7: no search goes below these.
const LEAST_V4: u32 = 68;
const LEAST_V6: u32 = 1280;

/// A segment that is larger than the others, to see whether it arrives.
#[derive(Clone, Copy, Debug)]
struct Probe {
    start: Pos,
    end: Pos,
    /// Of the packet.
    size: u32,
}

/// What is known of the path by trying.
#[derive(Clone, Debug)]
pub(crate) struct MtuSearch {
    /// What it takes ("search_low").
    pub(super) low: u32,
    /// What it may take at most ("search_high").
    high: u32,
    probe: Option<Probe>,
    /// Nothing is tried before.
    not_before: Instant,
    /// When the range was last opened to its full width.
    opened_at: Instant,
    /// A probe may go, as far as time is concerned.
    ripe: bool,
}

impl Connection {
    /// Bytes of each packet in front of its data.
    pub(super) fn headers(&self) -> u32 {
        (self.tuple.ip_header_len() + HEADER_LEN + data_options_len(self)) as u32
    }

    /// The largest packet that the peer takes.
    fn largest_packet(&self) -> u32 {
        u32::from(self.agreed.peer_mss) + (self.tuple.ip_header_len() + HEADER_LEN) as u32
    }

    fn search(&self, cx: &Cx, now: Instant) -> MtuSearch {
        let high = self.largest_packet();
        let low = (cx.settings.tcp_base_mss as u32 + self.headers()).min(high);
        MtuSearch { low, high, probe: None, not_before: now, opened_at: now, ripe: true }
    }

    /// The connection is open. As on Linux one that we opened begins with segments of tcp_base_mss (RFC 4821 7.2).
    pub(crate) fn begin_search(&mut self, cx: &Cx, now: Instant, active: bool) {
        if cx.settings.tcp_mtu_probing != 2 || self.rare().search.is_some() {
            return;
        }
        let search = self.search(cx, now);
        if active && self.path_mtu > search.low {
            let base = self.mss.min((search.low - self.headers()) as u16);
            self.mss = base.max(1);
        }
        self.rare_mut().search = Some(alloc::boxed::Box::new(search));
    }

    /// Looks at the time, before it is decided what to send. Where probing has come to its end, the range is opened
    /// again after a while: the path may be another by now (RFC 4821 7.3).
    pub(crate) fn refresh_search(&mut self, cx: &Cx, now: Instant) {
        let (high, low) = (self.largest_packet(), u32::from(self.mss) + self.headers());
        let bound = self.path_mtu.min(cx.device.mtu as u32);
        let Some(search) = self.rare.as_deref_mut().and_then(|rare| rare.search.as_mut()) else { return };
        search.ripe = now >= search.not_before;
        let narrow = search.high.min(bound).saturating_sub(search.low)
            < (cx.settings.tcp_probe_threshold as u32).max(1);
        let interval = Duration::from_secs(cx.settings.tcp_probe_interval);
        if narrow && search.probe.is_none() && now.since(search.opened_at) >= interval {
            (search.low, search.high, search.opened_at) = (low, high, now);
        }
    }

    /// The probe that may go now, if any (RFC 4821 7.4): data of the size in the middle of what is known.
    pub(crate) fn mtu_probe(&self, cx: &Cx) -> Option<Plan> {
        let search = self.rare().search.as_ref().filter(|s| s.ripe && s.probe.is_none())?;
        let (mss, headers) = (u64::from(self.mss), self.headers());
        // What routers and the device say bounds the search, too.
        let bound = self.path_mtu.min(cx.device.mtu as u32);
        let high = search.high.min(bound);
        let wide = high.saturating_sub(search.low) >= (cx.settings.tcp_probe_threshold as u32).max(1);
        let cwnd = self.congestion.cwnd();
        let calm = self.recovery.phase == Phase::Open && self.rtx.lost() == 0 && self.rtx.sacked() == 0;
        let receives = self.recv.has_gap() || self.rare().dsack.is_some();
        if !wide || !calm || receives || cwnd < LEAST_WINDOW * mss || !self.sends_whole(cx) {
            return None;
        }
        let middle = (search.low + search.high) / 2;
        let size = if middle <= bound { middle } else { (search.low + high) / 2 };
        let len = u64::from(size.saturating_sub(headers));
        // Behind it enough must follow for its loss to be noticed.
        let needed = (len + (cx.settings.tcp_reordering + 1) * mss) as Pos;
        let start = self.snd_nxt;
        let end = start + len as Pos;
        let room = self.send.end().min(self.snd_edge()) - start;
        let fits = room >= needed && self.in_flight() + len.max(2 * mss) <= cwnd;
        let whole = self.send.record_end(start).is_none_or(|record| record >= end)
            && self.send.lendable(start, end) as u64 == len
            && self.rare().snd_up.is_none_or(|up| up <= start);
        (len > mss && fits && whole).then_some(Plan::MtuProbe { start, end })
    }

    /// A probe went out.
    pub(crate) fn mtu_probe_sent(&mut self, cx: &mut Cx, start: Pos, end: Pos) {
        let size = (end - start) as u32 + self.headers();
        if let Some(search) = self.rare.as_deref_mut().and_then(|rare| rare.search.as_mut()) {
            search.probe = Some(Probe { start, end, size });
            cx.counters.tcp_mtu_probes += 1;
        }
    }

    /// What an ACK says of the probe, or of segments that are larger than any that was probed (RFC 4821 7.1, 7.6.1).
    pub(crate) fn search_on_ack(&mut self, cx: &mut Cx, now: Instant, acked: u64, again: bool) {
        let (una, used) = (self.snd_una, u32::from(self.mss) + self.headers());
        let whole = acked >= u64::from(self.mss) && !again;
        let Some(search) = self.rare.as_deref_mut().and_then(|rare| rare.search.as_mut()) else { return };
        match search.probe {
            Some(probe) if una >= probe.end => {
                search.probe = None;
                search.low = probe.size;
                search.high = search.high.max(probe.size);
                cx.counters.tcp_mtu_probes_arrived += 1;
                self.take_searched_size(cx, now);
            }
            None if whole && used > search.low => search.low = used.min(search.high.max(search.low)),
            _ => {}
        }
    }

    /// Segments as large as the search and the routers allow.
    fn take_searched_size(&mut self, cx: &mut Cx, now: Instant) {
        let Some(low) = self.rare().search.as_ref().map(|s| s.low) else { return };
        let mtu = low.min(self.path_mtu);
        if self.use_packets_of(cx, mtu) {
            cx.trace(now, self.trace_id, &self.tuple, TraceKind::PathMtu { mtu });
        }
    }

    /// Loss recovery begins. Where nothing but the probe is lost, the path does not take it: smaller ones are tried
    /// from now on, what it carried goes out again, and it says nothing of congestion (RFC 4821 7.6.2). With other
    /// losses beside it, it is inconclusive (7.6.4). Answers whether the probe was all.
    pub(crate) fn only_mtu_probe_lost(&mut self, cx: &mut Cx, now: Instant) -> bool {
        let (una, lost) = (self.snd_una, self.rtx.lost());
        let headway = self.headway();
        let Some(search) = self.rare.as_deref_mut().and_then(|rare| rare.search.as_mut()) else {
            return false;
        };
        let Some(probe) = search.probe.take() else { return false };
        if una != probe.start || lost > (probe.end - probe.start) as u64 {
            return false;
        }
        search.high = (probe.size - 1).max(search.low);
        search.not_before = now + headway;
        cx.counters.tcp_mtu_probes_lost += 1;
        self.repeat_probe(probe.start, probe.end);
        true
    }

    /// What a probe carried goes out again, without anything that congestion would bring along.
    pub(crate) fn repeat_probe(&mut self, start: Pos, end: Pos) {
        self.rtx.mark_lost_between(start, end);
        self.recovery.on_probe_lost(&mut self.rtx, self.agreed.sack, self.snd_nxt);
    }

    /// RFC 4821 4, 7.6.2: losses that are forgiven stay rarer than those that congestion would cause.
    fn headway(&self) -> Duration {
        let window = (self.congestion.cwnd() / u64::from(self.mss.max(1))).min(10_000) as u32;
        self.rtt.srtt().unwrap_or_default() * window
    }

    /// The retransmission timer ran out (RFC 4821 7.6.3, 7.7). `full_stop`: R1 is over.
    pub(crate) fn search_on_timeout(&mut self, cx: &mut Cx, now: Instant, full_stop: bool) {
        let (una, wait) = (self.snd_una, self.headway() * AFTER_TIMEOUT);
        if let Some(search) = self.rare.as_deref_mut().and_then(|rare| rare.search.as_mut())
            && let Some(probe) = search.probe.take()
            && una == probe.start
        {
            search.high = (probe.size - 1).max(search.low);
            search.not_before = now + wait;
            cx.counters.tcp_mtu_probes_lost += 1;
        }
        if full_stop && cx.settings.tcp_mtu_probing != 0 {
            self.suspect_black_hole(cx, now);
        }
    }

    /// Time-out after time-out: perhaps large packets die on the path and no router says so (RFC 2923 2.1, RFC 4821 7.7).
    fn suspect_black_hole(&mut self, cx: &mut Cx, now: Instant) {
        let headers = self.headers();
        let used = u32::from(self.mss) + headers;
        let known = self.rare_mut().search.take();
        let mut search = known.unwrap_or_else(|| alloc::boxed::Box::new(self.search(cx, now)));
        let s = &cx.settings;
        let base = s.tcp_base_mss as u32 + headers;
        if used <= search.low {
            let least = if self.tuple.is_v6() { LEAST_V6 } else { LEAST_V4 };
            let floor = (s.tcp_mtu_probe_floor.max(s.tcp_min_snd_mss) as u32 + headers).max(least);
            let half = search.low.saturating_sub(headers) / 2 + headers;
            let smaller = if search.low > base { base } else { half };
            search.low = smaller.max(floor).min(search.low);
        }
        let low = search.low;
        self.rare_mut().search = Some(search);
        if low < used {
            cx.counters.tcp_mtu_black_holes += 1;
            self.take_searched_size(cx, now);
            self.repeat_smaller();
        }
    }

    /// A router said that the path takes packets of `mtu` bytes only. Answers what a probe carried that was too large for it.
    pub(crate) fn search_on_icmp(&mut self, cx: &mut Cx, mtu: u32) -> Option<Range<Pos>> {
        let search = self.rare.as_mut()?.search.as_mut()?;
        search.high = search.high.min(mtu);
        search.low = search.low.min(mtu);
        let probe = search.probe.take_if(|probe| probe.size > mtu)?;
        cx.counters.tcp_mtu_probes_lost += 1;
        Some(probe.start..probe.end)
    }
}
