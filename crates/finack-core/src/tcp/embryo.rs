//! Passive SYN-RECEIVED: a small record until the last ACK of the handshake comes (RFC 9293 3.10.7.2).

mod table;

pub(crate) use table::Embryos;

use core::time::Duration;

use finack_wire::tcp::Flags;
use finack_wire::tcp_options::TcpOptions;

use super::Tuple;
use super::ecn::Grant;
use super::fast_open::Form;
use super::input::Segment;
use super::seq;
use super::tcb::{Negotiated, ts_clock};
use crate::auth::Tag;
use crate::cx::Cx;
use crate::demux::Slot;
use crate::time::Instant;

/// A connection in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Embryo {
    pub(crate) tuple: Tuple,
    pub(crate) trace_id: u64,
    /// The lower half of `trace_id`: tells it apart from others that stood in its place.
    pub(crate) generation: u32,
    pub(crate) listener: u32,
    pub(crate) iss: u32,
    pub(crate) irs: u32,
    pub(crate) ts_recent: u32,
    pub(crate) ts_offset: u32,
    pub(crate) agreed: Negotiated,
    /// The window of the peer's SYN, never scaled.
    pub(crate) peer_window: u16,
    /// The window that our SYN,ACK offers.
    pub(crate) window: u16,
    pub(crate) our_mss: u16,
    pub(crate) retries: u8,
    /// The SYN,ACK went out more than once, by its timer or because the SYN came again: Karn's rule holds.
    pub(crate) resent: bool,
    /// The SYN,ACK's sequence number is a cookie: if the record must go, the last ACK still tells everything.
    pub(crate) is_cookie: bool,
    /// What it was granted of congestion notification.
    pub(crate) ecn: Grant,
    /// How it is signed.
    pub(crate) tag: Tag,
    /// Not answered until somebody decides.
    pub(crate) held: bool,
    /// Our SYN,ACK gives out a fast open cookie, in the form in which it was asked for.
    pub(crate) gives_cookie: Option<Form>,
    pub(crate) created_at: Instant,
    pub(crate) sent_at: Instant,
    pub(crate) answered_at: Option<Instant>,
    /// A TIME-WAIT that comes back if this leads to nothing (RFC 9293 MAY-2).
    pub(crate) under: Option<Slot>,
}

impl Embryo {
    /// Bytes that the peer may send: an answer says them in units of the scale, rounded up, since what the SYN,ACK offered
    /// may not be taken back (RFC 9293 SHLD-14).
    pub(crate) fn offered(&self) -> u32 {
        let unit = if self.answered_at.is_some() { 1 << self.agreed.rcv_wscale } else { 1 };
        u32::from(self.window).next_multiple_of(unit)
    }
}

/// What a segment that meets an embryo leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The SYN came again: so does our SYN,ACK.
    Repeat,
    /// `<SEQ=SEG.ACK><CTL=RST>`.
    Refuse,
    /// An ACK says what is expected (RFC 9293 3.10.7.4 first, RFC 5961).
    Ack,
    /// Another SYN before anything was answered: the first one's sender gave up, and this is an opening of its own.
    Renew,
    /// A RST exactly at RCV.NXT: back to LISTEN.
    Reset,
    /// The handshake is complete.
    Complete,
    /// Too old a timestamp.
    Paws,
    /// A RST in the window that is not exact, or a SYN in it: challenged.
    Challenge,
    /// Nothing useful.
    Ignore,
}

/// Decides what a segment means for the handshake. What completes it is never dropped by the connection that it makes:
/// hence `needs_stamp`, where a segment without the agreed timestamp is dropped (RFC 7323 3.2).
pub(crate) fn judge(e: &Embryo, segment: &Segment<'_>, needs_stamp: bool) -> Verdict {
    let flags = segment.flags;
    if e.held {
        let exact = flags.rst() && segment.seq == e.irs.wrapping_add(1);
        let another = flags.syn() && !flags.ack() && !flags.rst() && segment.seq != e.irs;
        return match (exact, another) {
            (true, _) => Verdict::Reset,
            (_, true) => Verdict::Renew,
            _ => Verdict::Ignore,
        };
    }
    let old_stamp = e.agreed.timestamps
        && segment.options.timestamps.is_some_and(|(val, _)| seq::before(val, e.ts_recent));
    if flags.syn() && !flags.ack() && !flags.rst() && segment.seq == e.irs && !old_stamp {
        return Verdict::Repeat;
    }
    if flags.ack() && segment.ack != e.iss.wrapping_add(1) {
        return if flags.rst() { Verdict::Ignore } else { Verdict::Refuse };
    }
    let next = e.irs.wrapping_add(1);
    let offset = segment.seq.wrapping_sub(next);
    let window = u32::from(e.window).max(1);
    let in_window = offset < window
        || segment.len() > 0 && segment.seq.wrapping_add(segment.len() - 1).wrapping_sub(next) < window;
    if flags.rst() {
        return match (offset, in_window) {
            (0, _) => Verdict::Reset,
            (_, true) => Verdict::Challenge,
            _ => Verdict::Ignore,
        };
    }
    if old_stamp {
        return Verdict::Paws;
    }
    if !in_window {
        return Verdict::Ack;
    }
    if flags.syn() {
        return Verdict::Challenge;
    }
    let lacks_stamp = needs_stamp && e.agreed.timestamps && segment.options.timestamps.is_none();
    if flags.ack() && !lacks_stamp { Verdict::Complete } else { Verdict::Ignore }
}

impl Embryo {
    /// The options of our SYN,ACK: only what the peer offered too (RFC 7323 1.3, RFC 2018 2).
    pub(crate) fn options(&self, now: Instant) -> TcpOptions {
        let clock = ts_clock(now);
        let clock = if self.is_cookie {
            let scale = self.agreed.scaling.then_some(self.agreed.snd_wscale);
            let ecn = self.ecn.is_classic();
            super::cookie::stamp(clock, &super::cookie::Told { sack: self.agreed.sack, scale, ecn })
        } else {
            clock
        };
        let stamp = clock.wrapping_add(self.ts_offset);
        TcpOptions {
            mss: Some(self.our_mss),
            window_scale: self.agreed.scaling.then_some(self.agreed.rcv_wscale),
            sack_permitted: self.agreed.sack,
            timestamps: self.agreed.timestamps.then_some((stamp, self.ts_recent)),
            ..TcpOptions::default()
        }
    }

    /// Flags of the SYN,ACK.
    pub(crate) const FLAGS: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

    /// Time until the SYN,ACK is sent again: 1 s, doubled each time.
    pub(crate) fn timeout(&self, cx: &Cx) -> Duration {
        let max = Duration::from_millis(cx.settings.tcp_rto_max_ms);
        Duration::from_secs(1 << self.retries.min(20)).min(max)
    }
}
