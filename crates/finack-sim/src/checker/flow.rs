//! One end of one incarnation of a connection, as its packets show it.
//!
//! All positions count from the initial sequence number of the side whose stream they are in: the SYN has position
//! 0, the first byte 1. What arrives is believed generously (whatever has a right checksum counts, though the host
//! may have refused it), so that nothing is called wrong that the host could have done rightly.

use std::collections::VecDeque;

use super::Rule;
use super::ranges::Ranges;
use super::view::Seg;
use crate::packet::flag;

/// What a check says: which rule, and how it was broken.
pub(super) type Verdict = Result<(), (Rule, String)>;

/// ECE, CWR and AE.
const ECN_FLAGS: u16 = flag::ECE | flag::CWR | flag::AE;
/// SYNs that are remembered until it is clear which of them counts.
const OFFERS: usize = 32;
/// Segments that came before that.
const EARLY: usize = 2048;
/// An ACK this far from a SYN does not mean it.
const NEAR: u32 = 1 << 24;
/// Sent bytes that are kept to compare what is sent again with.
const KEPT: usize = 8 << 20;

/// What a SYN offered.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    seq: u32,
    scale: Option<u8>,
    sack: bool,
    ts: bool,
    mss: Option<u16>,
    /// One of ECE, CWR and AE.
    ecn: bool,
}

impl Offer {
    /// What either of two SYNs with the same number offered: a fall-back leaves things out when it repeats them.
    fn or(self, other: Self) -> Self {
        Self {
            seq: self.seq,
            scale: self.scale.or(other.scale),
            sack: self.sack || other.sack,
            ts: self.ts || other.ts,
            mss: self.mss.max(other.mss),
            ecn: self.ecn || other.ecn,
        }
    }

    fn of(seg: &Seg<'_>) -> Self {
        Self {
            seq: seg.seq,
            scale: seg.wscale,
            sack: seg.sack_ok,
            ts: seg.ts.is_some(),
            mss: seg.mss,
            ecn: seg.flags & ECN_FLAGS != 0,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) iss: u32,
    own: Offer,
    /// It began with a SYN without ACK.
    active: bool,
    /// End of what was sent.
    pub(super) nxt: i64,
    /// Highest ACK that came and covers what was sent.
    pub(super) una: i64,
    /// Furthest right edge that the peer ever offered.
    edge: Option<i64>,
    fin: Option<i64>,
    kept: VecDeque<u8>,
    kept_from: i64,
    ts_last: Option<u32>,
    offers: Vec<Offer>,
    peer: Option<Offer>,
    early: Vec<(u32, u32)>,
    have: Ranges,
    /// Highest ACK sent.
    pub(super) acked: i64,
    offered_edge: Option<i64>,
    ts_high: Option<u32>,
    /// The host sent a RST, or said that the connection is over.
    pub(super) over: bool,
    /// RSTs that arrived for this four-tuple.
    pub(super) resets: u32,
    /// Those of them that came before this incarnation.
    pub(super) resets_before: u32,
    /// Bytes of new data that went out since the last look at the connection.
    pub(super) fresh: u64,
    /// Something arrived since then.
    pub(super) heard: bool,
    /// Largest segment in bytes of payload that went out.
    pub(super) largest: usize,
}

/// `seq` counted from `isn`, as the position nearest to `near`.
fn position(seq: u32, isn: u32, near: i64) -> i64 {
    near + i64::from(seq.wrapping_sub(isn).wrapping_sub(near as u32) as i32)
}

fn broken<T>(rule: Rule, what: String) -> Result<T, (Rule, String)> {
    Err((rule, what))
}

impl Flow {
    /// Begins with the SYN or SYN,ACK that the host sends; `arrived` is what the flow before it has seen come in.
    pub(super) fn new(seg: &Seg<'_>, arrived: Option<&Self>) -> Self {
        Self {
            iss: seg.seq,
            own: Offer::of(seg),
            active: !seg.has(flag::ACK),
            nxt: 0,
            una: 0,
            edge: None,
            fin: None,
            kept: VecDeque::new(),
            kept_from: 1,
            ts_last: None,
            offers: arrived.map(|f| f.offers.clone()).unwrap_or_default(),
            peer: None,
            early: arrived.map(|f| f.early.clone()).unwrap_or_default(),
            have: Ranges::default(),
            acked: 0,
            offered_edge: None,
            ts_high: arrived.and_then(|f| f.ts_high),
            over: false,
            resets: arrived.map_or(0, |f| f.resets),
            resets_before: arrived.map_or(0, |f| f.resets),
            fresh: 0,
            heard: false,
            largest: 0,
        }
    }

    /// What arrives before the host has sent anything.
    pub(super) fn unborn() -> Self {
        let nothing = Seg {
            from: core::net::SocketAddr::from(([0, 0, 0, 0], 0)),
            to: core::net::SocketAddr::from(([0, 0, 0, 0], 0)),
            seq: 0,
            ack: 0,
            flags: 0,
            window: 0,
            mss: None,
            wscale: None,
            sack_ok: false,
            ts: None,
            sacks: [(0, 0); 4],
            sack_count: 0,
            options_len: 0,
            payload: &[],
            ecn: 0,
            ip_len: 0,
        };
        Self { nxt: -1, ..Self::new(&nothing, None) }
    }

    /// Nothing was sent yet.
    pub(super) const fn is_unborn(&self) -> bool {
        self.nxt < 0
    }

    /// The peer's initial sequence number, once the host has acknowledged it.
    pub(super) fn irs(&self) -> Option<u32> {
        self.peer.map(|p| p.seq)
    }

    /// Whether a segment with this sequence number can be this flow's.
    pub(super) fn fits(&self, seg: &Seg<'_>) -> bool {
        let at = position(seg.seq, self.iss, self.nxt);
        at >= -1 && at <= self.nxt
    }

    fn scaled(&self) -> bool {
        self.own.scale.is_some() && self.peer.is_some_and(|p| p.scale.is_some())
    }

    fn timestamps(&self) -> bool {
        self.own.ts && self.peer.is_some_and(|p| p.ts)
    }

    /// The host sends a segment.
    pub(super) fn sent(&mut self, seg: &Seg<'_>, least_mss: u16) -> Verdict {
        if seg.has(flag::RST) {
            self.over = true;
            return Ok(());
        }
        if core::mem::take(&mut self.over) && !seg.has(flag::SYN) {
            self.rise_again(seg);
        }
        if seg.has(flag::SYN) {
            self.repeat_offer(seg);
        }
        if seg.has(flag::ACK) {
            self.choose_peer(seg)?;
        }
        self.sent_ecn(seg)?;
        self.sent_options(seg)?;
        self.sent_sequence(seg)?;
        self.sent_size(seg, least_mss)?;
        if seg.has(flag::ACK) {
            self.sent_ack(seg)?;
        }
        Ok(())
    }

    /// A segment after the end: the ACK of a SYN cookie may come twice, and opens a connection each time, of which each
    /// begins with the same numbers (RFC 4987 3.6).
    fn rise_again(&mut self, seg: &Seg<'_>) {
        self.nxt = position(seg.seq, self.iss, self.nxt);
        (self.fin, self.offered_edge, self.acked) = (None, None, 0);
        self.kept.clear();
        self.kept_from = self.nxt;
        if let Some(peer) = self.peer {
            self.acked = position(seg.ack, peer.seq, 0);
        }
    }

    fn repeat_offer(&mut self, seg: &Seg<'_>) {
        let again = Offer::of(seg);
        self.own.scale = self.own.scale.or(again.scale);
        self.own.ts |= again.ts;
        self.own.sack |= again.sack;
        self.own.ecn |= again.ecn;
    }

    /// Which of the SYNs that came the host means.
    fn choose_peer(&mut self, seg: &Seg<'_>) -> Verdict {
        if self.peer.is_some() {
            return Ok(());
        }
        // Data may have come with the SYN or right behind it: whether all of it came is seen later.
        let beyond = |o: &&Offer| seg.ack.wrapping_sub(o.seq).wrapping_sub(1);
        let Some(&offer) = self.offers.iter().rev().min_by_key(beyond).filter(|o| beyond(o) < NEAR) else {
            return broken(Rule::AckedUnseen, format!("ACK {} fits no SYN that came", seg.ack));
        };
        self.peer = Some(offer);
        self.have.add(0, 1);
        for (seq, len) in core::mem::take(&mut self.early) {
            let at = position(seq, offer.seq, 0);
            self.have.add(at, at + i64::from(len));
        }
        Ok(())
    }

    fn sent_ecn(&self, seg: &Seg<'_>) -> Verdict {
        if seg.ecn == 3 {
            return broken(Rule::Ecn, "a packet that is marked CE by its sender".into());
        }
        let agreed = self.own.ecn && self.peer.is_none_or(|p| p.ecn);
        if seg.has(flag::SYN) || agreed {
            return Ok(());
        }
        if seg.flags & ECN_FLAGS != 0 || seg.ecn != 0 {
            let (flags, field) = (seg.flags & ECN_FLAGS, seg.ecn);
            return broken(
                Rule::Ecn,
                format!("flags {flags:#x} and field {field} where ECN was not agreed on"),
            );
        }
        Ok(())
    }

    fn sent_options(&mut self, seg: &Seg<'_>) -> Verdict {
        if seg.has(flag::SYN | flag::ACK)
            && !self.active
            && let Some(peer) = self.peer
        {
            let wrong = [
                (seg.wscale.is_some() && peer.scale.is_none(), "window scaling"),
                (seg.ts.is_some() && !peer.ts, "timestamps"),
                (seg.sack_ok && !peer.sack, "SACK"),
            ];
            if let Some((_, name)) = wrong.iter().find(|(w, _)| *w) {
                return broken(Rule::Options, format!("the SYN,ACK offers {name}, which the SYN did not"));
            }
        }
        let Some((val, ecr)) = seg.ts else {
            if self.timestamps() && !seg.has(flag::SYN) {
                return broken(
                    Rule::Timestamps,
                    "a segment without the timestamps that were agreed on".into(),
                );
            }
            return Ok(());
        };
        if !seg.has(flag::SYN) && self.peer.is_some() && !self.timestamps() {
            return broken(Rule::Timestamps, "timestamps that were not agreed on".into());
        }
        if let Some(last) = self.ts_last
            && (val.wrapping_sub(last) as i32) < 0
        {
            return broken(Rule::Timestamps, format!("TSval {val} after {last}"));
        }
        self.ts_last = Some(val);
        if seg.has(flag::ACK) && self.ts_high.is_none_or(|high| (high.wrapping_sub(ecr) as i32) < 0) {
            return broken(
                Rule::Timestamps,
                format!("TSecr {ecr}, but the newest that came is {:?}", self.ts_high),
            );
        }
        Ok(())
    }

    fn sent_sequence(&mut self, seg: &Seg<'_>) -> Verdict {
        let (syn, fin) = (i64::from(seg.has(flag::SYN)), i64::from(seg.has(flag::FIN)));
        let at = position(seg.seq, self.iss, self.nxt);
        let data = at + syn;
        let end = data + seg.payload.len() as i64 + fin;
        if at > self.nxt {
            return broken(Rule::Sequence, format!("SEG.SEQ is {at}, but SND.NXT {}", self.nxt));
        }
        if fin == 1 {
            if *self.fin.get_or_insert(end - 1) != end - 1 || end < self.nxt {
                return broken(
                    Rule::AfterFin,
                    format!("a FIN at {}, but the stream ends at {}", end - 1, self.nxt),
                );
            }
        } else if let Some(fin) = self.fin
            && end > fin
            && !seg.payload.is_empty()
        {
            return broken(Rule::AfterFin, format!("data up to {end} beyond the FIN at {fin}"));
        }
        self.same_bytes(data, seg.payload)?;
        if end > self.nxt {
            if let Some(edge) = self.edge
                && data + seg.payload.len() as i64 > (edge + 1).max(self.nxt)
            {
                return broken(Rule::SendWindow, format!("data up to {end}, the window ends at {edge}"));
            }
            self.fresh += seg.payload.len() as u64;
            self.nxt = end;
        }
        Ok(())
    }

    fn same_bytes(&mut self, start: i64, payload: &[u8]) -> Verdict {
        let (kept_end, end) = (self.kept_from + self.kept.len() as i64, start + payload.len() as i64);
        let (from, to) = (start.max(self.kept_from), end.min(kept_end));
        if from < to {
            let now = &payload[(from - start) as usize..(to - start) as usize];
            let (first, second) = self.kept.as_slices();
            let skip = (from - self.kept_from) as usize;
            let split = first.len().saturating_sub(skip).min(now.len());
            let rest = skip.max(first.len()) - first.len();
            let same = split == 0 || first[skip..skip + split] == now[..split];
            if !same || second.get(rest..rest + now.len() - split).unwrap_or(&[]) != &now[split..] {
                return broken(
                    Rule::SameBytes,
                    format!("the bytes from {from} to {to} are not those sent before"),
                );
            }
        }
        if end > kept_end {
            let fresh = (kept_end - start).max(0) as usize;
            if start > kept_end {
                self.kept.clear();
                self.kept_from = start;
            }
            self.kept.extend(&payload[fresh.min(payload.len())..]);
        }
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.forget(surplus);
        Ok(())
    }

    fn forget(&mut self, count: usize) {
        let count = count.min(self.kept.len());
        self.kept.drain(..count);
        self.kept_from += count as i64;
    }

    fn sent_size(&mut self, seg: &Seg<'_>, least: u16) -> Verdict {
        if seg.payload.is_empty() || seg.has(flag::SYN) {
            return Ok(());
        }
        self.largest = self.largest.max(seg.payload.len());
        let default = if seg.from.is_ipv4() { 536 } else { 1220 };
        let mss = self.peer.and_then(|p| p.mss).unwrap_or(default).max(least);
        let len = seg.payload.len() + seg.options_len;
        if len > usize::from(mss) {
            return broken(Rule::Mss, format!("{len} bytes of options and data, the peer takes {mss}"));
        }
        Ok(())
    }

    fn sent_ack(&mut self, seg: &Seg<'_>) -> Verdict {
        let Some(peer) = self.peer else { return Ok(()) };
        let ack = position(seg.ack, peer.seq, self.acked);
        if ack < self.acked {
            return broken(Rule::AckBack, format!("ACK {ack} after {}", self.acked));
        }
        if ack > self.acked && !self.have.holds(self.acked, ack) {
            return broken(
                Rule::AckedUnseen,
                format!("ACK {ack} after {}, but not all of it came", self.acked),
            );
        }
        self.acked = ack;
        let shift = if seg.has(flag::SYN) || !self.scaled() { 0 } else { self.own.scale.unwrap_or(0) };
        let edge = ack + (i64::from(seg.window) << shift);
        // A SYN's window is not scaled: it may fall short of one that was, by what that was rounded up where it is repeated.
        let unit = 1 << self.own.scale.unwrap_or(0);
        if let Some(before) = self.offered_edge
            && edge < before
            && !(seg.has(flag::SYN) && (seg.window == u16::MAX || before - edge < unit))
        {
            return broken(Rule::WindowShrunk, format!("the right edge goes from {before} back to {edge}"));
        }
        self.offered_edge = self.offered_edge.max(Some(edge));
        self.sent_sack(seg, peer.seq)
    }

    fn sent_sack(&self, seg: &Seg<'_>, irs: u32) -> Verdict {
        let blocks = seg.sack();
        if blocks.is_empty() {
            return Ok(());
        }
        if !(self.own.sack && self.peer.is_some_and(|p| p.sack)) {
            return broken(Rule::Sack, "SACK blocks that were not agreed on".into());
        }
        let at = |edge| position(edge, irs, self.acked);
        for (i, &(left, right)) in blocks.iter().enumerate() {
            let (left, right) = (at(left), at(right));
            let second = blocks.get(1).map(|&(l, r)| (at(l), at(r)));
            let inside_second = second.is_some_and(|(l, r)| l <= left && right <= r);
            let duplicate = i == 0 && (right <= self.acked || inside_second);
            if left >= right || (left <= self.acked && !duplicate) || !self.have.holds(left, right) {
                let acked = self.acked;
                return broken(Rule::Sack, format!("block {i} is {left} to {right}, the ACK {acked}"));
            }
        }
        Ok(())
    }

    /// A segment arrives at the host.
    pub(super) fn arrived(&mut self, seg: &Seg<'_>) {
        self.heard = true;
        if seg.has(flag::RST) {
            self.resets += 1;
        }
        if let Some((val, _)) = seg.ts
            && self.ts_high.is_none_or(|high| (val.wrapping_sub(high) as i32) > 0)
        {
            self.ts_high = Some(val);
        }
        let syn = u32::from(seg.has(flag::SYN));
        if syn == 1 {
            let before = self.offers.iter().position(|o| o.seq == seg.seq).map(|at| self.offers.remove(at));
            if self.offers.len() == OFFERS {
                self.offers.remove(0);
            }
            let offer = Offer::of(seg);
            self.offers.push(before.map_or(offer, |b| offer.or(b)));
        }
        self.arrived_text(seg, syn);
        if seg.has(flag::ACK) && !self.is_unborn() {
            self.arrived_ack(seg, syn == 1);
        }
    }

    fn arrived_text(&mut self, seg: &Seg<'_>, syn: u32) {
        let len = seg.payload.len() as u32 + u32::from(seg.has(flag::FIN));
        if len == 0 {
            return;
        }
        let seq = seg.seq.wrapping_add(syn);
        if let Some(peer) = self.peer {
            let at = position(seq, peer.seq, self.acked);
            self.have.add(at, at + i64::from(len));
        }
        // Also for an incarnation that begins with a SYN that came before.
        if self.peer.is_none() || syn == 1 {
            if self.early.len() == EARLY {
                self.early.remove(0);
            }
            self.early.push((seq, len));
        }
    }

    fn arrived_ack(&mut self, seg: &Seg<'_>, syn: bool) {
        let ack = position(seg.ack, self.iss, self.nxt);
        if ack < 0 || ack > self.nxt {
            return;
        }
        let any = || self.offers.iter().filter_map(|o| o.scale).max();
        let scale = if syn || self.own.scale.is_none() {
            0
        } else {
            self.peer.map_or_else(any, |p| p.scale).unwrap_or(0)
        };
        let edge = ack + (i64::from(seg.window) << scale);
        self.edge = Some(self.edge.map_or(edge, |e| e.max(edge)));
        if ack > self.una {
            self.una = ack;
            self.forget((ack - self.kept_from).max(0) as usize);
        }
    }
}

impl Flow {
    /// Whether the first `count` bytes of the peer's stream came.
    pub(super) fn has(&self, count: i64) -> bool {
        self.have.holds(1, count + 1)
    }
}
