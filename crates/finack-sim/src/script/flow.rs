//! What a script knows of one four-tuple, and what must hold of every segment that the stack sends on it.

use core::net::SocketAddr;

use crate::packet::{Opt, Tcp, flag};
use crate::pattern;
use crate::text::Bases;

/// Which stream the scripted peer writes.
pub(crate) const PEER: u8 = 2;
/// Which stream the stack under test writes.
pub(crate) const STACK: u8 = 1;

/// One four-tuple. Sequence numbers in texts are relative to the two initial ones held here.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The stack's end.
    pub local: SocketAddr,
    /// The scripted peer's end.
    pub remote: SocketAddr,
    /// The peer's initial sequence number.
    pub peer_iss: u32,
    /// The stack's, 0 until its SYN was seen.
    pub stack_iss: u32,
    /// The window field of injected segments that name none.
    pub win: u16,
    /// What the peer's timestamp clock showed at time 0; it ticks in milliseconds.
    pub peer_ts: u32,
    /// The first TSval that the stack sent.
    pub stack_ts: Option<u32>,
    /// The last TSval that the stack sent.
    pub last_ts: u32,
    /// Next stream offset that the stack's application writes.
    pub written: u64,
    /// Next stream offset that the stack's application reads.
    pub read: u64,
    /// What the peer offered in its SYN.
    pub(crate) peer_offer: Offer,
    /// What the stack offered in its SYN.
    pub(crate) stack_offer: Offer,
    stack_syn: bool,
    stack_right_edge: Option<u32>,
    stack_ack: Option<u32>,
    peer_right_edge: Option<u32>,
    /// Whether payload follows the pattern (off where a test writes bytes of its own).
    pub check_payload: bool,
    /// Whether the advertised right edge is watched (off where a test drives it astray).
    pub check_window: bool,
}

/// What a SYN offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) seen: bool,
    /// It had bytes among its options that only the stack can judge.
    raw: bool,
    pub(crate) mss: Option<u16>,
    pub(crate) wscale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) ts: bool,
}

impl Offer {
    fn of(segment: &Tcp) -> Self {
        Self {
            seen: true,
            raw: segment.options.iter().any(|o| matches!(o, Opt::Raw(_))),
            // Linux takes an MSS of 0 for none.
            mss: segment.mss().filter(|&mss| mss != 0),
            wscale: segment.wscale(),
            sack: segment.options.contains(&Opt::SackOk),
            ts: segment.timestamps().is_some(),
        }
    }
}

const fn later(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

impl Flow {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local,
            remote,
            peer_iss: 1_000_000,
            stack_iss: 0,
            win: 1024,
            peer_ts: 10_000,
            stack_ts: None,
            last_ts: 0,
            written: 0,
            read: 0,
            peer_offer: Offer::default(),
            stack_offer: Offer::default(),
            stack_syn: false,
            stack_right_edge: None,
            stack_ack: None,
            peer_right_edge: None,
            check_payload: true,
            check_window: true,
        }
    }

    /// Bases of segments that the stack sends.
    pub(crate) fn out_bases(&self) -> Bases {
        Bases {
            seq: self.stack_iss,
            ack: self.peer_iss,
            ts_val: self.stack_ts.unwrap_or(0),
            ts_ecr: self.peer_ts,
        }
    }

    /// Bases of segments that the peer sends.
    pub(crate) fn in_bases(&self) -> Bases {
        let out = self.out_bases();
        Bases { seq: out.ack, ack: out.seq, ts_val: out.ts_ecr, ts_ecr: out.ts_val }
    }

    /// Whether both sides offered timestamps.
    pub(crate) fn timestamps(&self) -> bool {
        self.peer_offer.ts && self.stack_offer.ts
    }

    fn scale(&self, offer: Offer) -> u32 {
        let both = self.peer_offer.wscale.is_some() && self.stack_offer.wscale.is_some();
        if both { u32::from(offer.wscale.unwrap_or(0)).min(14) } else { 0 }
    }

    /// The shift of the stack's window fields.
    #[must_use]
    pub fn stack_scale(&self) -> u32 {
        self.scale(self.stack_offer)
    }

    pub(crate) fn on_injected(&mut self, segment: &Tcp) {
        if segment.has(flag::SYN) && !segment.has(flag::RST) && segment.seq == self.peer_iss {
            let raw = self.peer_offer.raw;
            self.peer_offer = Offer::of(segment);
            self.peer_offer.raw |= raw;
        }
        if segment.has(flag::ACK) {
            let shift = if segment.has(flag::SYN) { 0 } else { self.scale(self.peer_offer) };
            let edge = segment.ack.wrapping_add(u32::from(segment.window) << shift);
            if self.peer_right_edge.is_none_or(|old| later(edge, old)) {
                self.peer_right_edge = Some(edge);
            }
        }
    }

    /// Looks at a segment from the stack: takes note of it, and says what a conforming stack would never send.
    pub(crate) fn on_sent(&mut self, segment: &Tcp) -> Vec<String> {
        if segment.has(flag::RST) {
            return self.check_reset(segment);
        }
        let mut wrong = Vec::new();
        if segment.has(flag::SYN) {
            if !self.stack_syn || self.stack_iss != segment.seq {
                self.stack_iss = segment.seq;
                self.stack_right_edge = None;
                self.stack_ack = None;
                self.stack_syn = true;
            }
            self.stack_offer = Offer::of(segment);
        }
        if let Some((val, _)) = segment.timestamps() {
            self.stack_ts.get_or_insert(val);
            self.last_ts = val;
        }
        self.check_options(segment, &mut wrong);
        self.check_ack_and_window(segment, &mut wrong);
        self.check_data(segment, &mut wrong);
        wrong
    }

    fn check_reset(&self, segment: &Tcp) -> Vec<String> {
        let mut wrong = Vec::new();
        if segment.has(flag::SYN) || segment.has(flag::FIN) {
            wrong.push("a RST with SYN or FIN".into());
        }
        if !segment.has(flag::ACK) && segment.ack != 0 {
            wrong.push("an acknowledgement number without ACK".into());
        }
        wrong
    }

    fn check_options(&self, segment: &Tcp, wrong: &mut Vec<String>) {
        let syn = segment.has(flag::SYN);
        for option in &segment.options {
            match option {
                Opt::Mss(_) if !syn => wrong.push("MSS on a segment without SYN (RFC 9293 MUST-65)".into()),
                Opt::Wscale(_) if !syn => wrong.push("window scale without SYN (RFC 7323 2.2)".into()),
                Opt::SackOk if !syn => wrong.push("SACK-permitted without SYN (RFC 2018 2)".into()),
                Opt::Sack(_) if !self.peer_offer.sack || !self.stack_offer.sack => {
                    wrong.push("SACK blocks that were not negotiated (RFC 2018 3)".into());
                }
                Opt::Wscale(shift) if *shift > 14 => {
                    wrong.push("a window scale above 14 (RFC 7323 2.3)".into())
                }
                _ => {}
            }
        }
        if !syn && self.stack_offer.seen && self.timestamps() != segment.timestamps().is_some() {
            wrong.push(if self.timestamps() {
                "no timestamp although negotiated (RFC 7323 3.2)".into()
            } else {
                "a timestamp that was not negotiated (RFC 7323 3.2)".into()
            });
        }
        if syn && segment.has(flag::ACK) && self.peer_offer.seen && !self.peer_offer.raw {
            let mine = Offer::of(segment);
            if mine.wscale.is_some() && self.peer_offer.wscale.is_none()
                || mine.sack && !self.peer_offer.sack
                || mine.ts && !self.peer_offer.ts
            {
                wrong.push(
                    "the SYN,ACK grants what the SYN did not ask for (RFC 7323 2.5, RFC 2018 2)".into(),
                );
            }
        }
    }

    fn check_ack_and_window(&mut self, segment: &Tcp, wrong: &mut Vec<String>) {
        if !segment.has(flag::ACK) {
            if !segment.has(flag::SYN) {
                wrong.push("neither ACK nor SYN nor RST".into());
            }
            return;
        }
        if self.stack_ack.is_some_and(|old| later(old, segment.ack)) {
            wrong.push("its acknowledgement number goes back".into());
        }
        self.stack_ack = Some(segment.ack);
        let shift = if segment.has(flag::SYN) { 0 } else { self.stack_scale() };
        let edge = segment.ack.wrapping_add(u32::from(segment.window) << shift);
        if let Some(old) = self.stack_right_edge
            && self.check_window
            && later(old, edge)
        {
            wrong.push(format!(
                "its window's right edge goes back by {} (RFC 9293 SHLD-14)",
                old.wrapping_sub(edge)
            ));
        }
        self.stack_right_edge = Some(edge);
    }

    fn check_data(&self, segment: &Tcp, wrong: &mut Vec<String>) {
        if segment.payload.is_empty() {
            return;
        }
        let len = segment.payload.len() as u32;
        let rel = segment.seq.wrapping_sub(self.stack_iss);
        if let Some(edge) = self.peer_right_edge
            && later(segment.seq.wrapping_add(len), edge)
            && len > 1
        {
            let beyond = segment.seq.wrapping_add(len).wrapping_sub(edge);
            wrong.push(format!("it reaches {beyond} bytes beyond the window that was ever offered"));
        }
        let default_mss = if self.remote.is_ipv4() { 536 } else { 1220 };
        let options: usize = if self.timestamps() { 12 } else { 0 };
        let most = usize::from(self.peer_offer.mss.unwrap_or(default_mss)).saturating_sub(options).max(48);
        if self.peer_offer.seen && !self.peer_offer.raw && segment.payload.len() > most {
            wrong.push(format!("{len} bytes of payload: {most} are allowed by the peer's MSS (MUST-16)"));
        }
        // What a SYN carries stands behind it (RFC 7413).
        let offset = rel.wrapping_sub(u32::from(!segment.has(flag::SYN)));
        if self.check_payload
            && let Some(at) = pattern::mismatch(STACK, u64::from(offset), &segment.payload)
        {
            wrong.push(format!("payload byte {} is not what was written there", rel as usize + at));
        }
    }

    /// Forgets what was advertised, as when the peer's host has crashed.
    pub fn forget(&mut self) {
        self.stack_right_edge = None;
        self.stack_ack = None;
        self.peer_right_edge = None;
    }
}
