//! TIME-WAIT (RFC 9293 3.6, RFC 1122 4.2.2.13, RFC 1337, RFC 6191): what is left of a connection that we closed
//! first, in a record of its own.
//!
//! Its two purposes: the peer's last FIN, sent again, still finds somebody who acknowledges it; and segments of
//! the old connection have died before a new one with the same four-tuple can begin.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU64;
use core::time::Duration;

use super::Tuple;
use super::input::Segment;
use super::seq;
use crate::cx::Cx;
use crate::settings::Profile;
use crate::slab::Slab;
use crate::time::Instant;

const NONE: u32 = u32::MAX;

/// Facts of a record, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct TwFlags(pub(crate) u8);

impl TwFlags {
    pub(crate) const TIMESTAMPS: Self = Self(1);
    pub(crate) const REUSE_ADDR: Self = Self(2);
    pub(crate) const REUSE_PORT: Self = Self(4);
    pub(crate) const EXPLICIT: Self = Self(8);
    pub(crate) const V6_ONLY: Self = Self(16);
    /// An embryo stands over it in the table of connections.
    pub(crate) const COVERED: Self = Self(32);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn set(&mut self, other: Self, on: bool) {
        self.0 = if on { self.0 | other.0 } else { self.0 & !other.0 };
    }
}

/// What a connection leaves behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeWait {
    pub(crate) expires: Instant,
    /// Never 0, so that a free place in the table costs no byte of its own.
    pub(crate) trace_id: NonZeroU64,
    pub(crate) snd_nxt: u32,
    pub(crate) rcv_nxt: u32,
    pub(crate) ts_recent: u32,
    /// When the last rate-limited answer went out, in milliseconds of the stack's clock.
    pub(crate) answered_ms: u32,
    /// The window field of answers.
    pub(crate) window: u16,
    pub(crate) flags: TwFlags,
}

/// Addresses and ports of a record, in as many bytes as the IP version needs.
pub(crate) trait Key: Copy {
    fn from_tuple(tuple: &Tuple) -> Option<Self>;
    fn tuple(&self) -> Tuple;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Key4(Ipv4Addr, Ipv4Addr, u16, u16);
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key6(Ipv6Addr, Ipv6Addr, u16, u16);

impl Key for Key4 {
    fn from_tuple(t: &Tuple) -> Option<Self> {
        match (t.local, t.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => Some(Self(local, remote, t.local_port, t.remote_port)),
            _ => None,
        }
    }
    fn tuple(&self) -> Tuple {
        let (local, remote) = (IpAddr::V4(self.0), IpAddr::V4(self.1));
        Tuple { local, remote, local_port: self.2, remote_port: self.3 }
    }
}

impl Key for Key6 {
    fn from_tuple(t: &Tuple) -> Option<Self> {
        match (t.local, t.remote) {
            (IpAddr::V6(local), IpAddr::V6(remote)) => Some(Self(local, remote, t.local_port, t.remote_port)),
            _ => None,
        }
    }
    fn tuple(&self) -> Tuple {
        let (local, remote) = (IpAddr::V6(self.0), IpAddr::V6(self.1));
        Tuple { local, remote, local_port: self.2, remote_port: self.3 }
    }
}

#[derive(Clone, Debug)]
struct Record<K> {
    state: TimeWait,
    key: K,
    newer: u32,
    older: u32,
}

/// Records of one IP version in order of expiry. Every record lives equally long, so that a queue is enough;
/// it is doubly linked because records leave and start anew.
#[derive(Clone, Debug)]
pub(crate) struct TimeWaits<K> {
    records: Slab<Record<K>>,
    oldest: u32,
    newest: u32,
}

impl<K> Default for TimeWaits<K> {
    fn default() -> Self {
        Self { records: Slab::default(), oldest: NONE, newest: NONE }
    }
}

impl<K: Key> TimeWaits<K> {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn places(&self) -> u32 {
        self.records.places()
    }

    pub(crate) fn memory(&self) -> usize {
        self.records.memory()
    }

    pub(crate) fn insert(&mut self, tuple: &Tuple, state: TimeWait) -> Option<u32> {
        let key = K::from_tuple(tuple)?;
        let index = self.records.insert(Record { state, key, newer: NONE, older: NONE });
        self.link(index);
        Some(index)
    }

    pub(crate) fn get(&self, index: u32) -> Option<(&TimeWait, Tuple)> {
        self.records.get(index).map(|r| (&r.state, r.key.tuple()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TimeWait, Tuple)> {
        self.records.iter().map(|(_, r)| (&r.state, r.key.tuple()))
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut TimeWait> {
        self.records.get_mut(index).map(|r| &mut r.state)
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<(TimeWait, Tuple)> {
        self.unlink(index)?;
        self.records.remove(index).map(|r| (r.state, r.key.tuple()))
    }

    /// Begins the waiting anew.
    pub(crate) fn restart(&mut self, index: u32, expires: Instant) {
        if self.unlink(index).is_some() {
            if let Some(record) = self.records.get_mut(index) {
                record.state.expires = expires;
            }
            self.link(index);
        }
    }

    /// The record that expires next.
    pub(crate) fn oldest(&self) -> Option<(u32, Instant)> {
        self.records.get(self.oldest).map(|r| (self.oldest, r.state.expires))
    }

    fn link(&mut self, index: u32) {
        let before = core::mem::replace(&mut self.newest, index);
        if let Some(record) = self.records.get_mut(index) {
            record.older = before;
            record.newer = NONE;
        }
        match self.records.get_mut(before) {
            Some(record) => record.newer = index,
            None => self.oldest = index,
        }
    }

    fn unlink(&mut self, index: u32) -> Option<()> {
        let (older, newer) = self.records.get(index).map(|r| (r.older, r.newer))?;
        match self.records.get_mut(older) {
            Some(record) => record.newer = newer,
            None => self.oldest = newer,
        }
        match self.records.get_mut(newer) {
            Some(record) => record.older = older,
            None => self.newest = older,
        }
        Some(())
    }
}

/// How long TIME-WAIT lasts: 2 MSL.
pub(crate) fn duration(cx: &Cx) -> Duration {
    Duration::from_secs(cx.settings.tcp_timewait_len)
}

/// What a segment that meets a TIME-WAIT leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Ignore,
    /// Nothing, because RFC 1337 is on.
    IgnoreReset,
    /// The ACK is sent again, and the waiting begins anew: the peer's FIN came again.
    AckAndRestart,
    /// An ACK says where the connection stood.
    Ack,
    /// A RST exactly at RCV.NXT ends it.
    End,
    /// A newer SYN: a new connection may begin (RFC 9293 MAY-2, RFC 6191).
    Reopen,
}

/// Decides (RFC 9293 3.10.7.4 for TIME-WAIT; as Linux's `tcp_timewait_state_process` where the RFC leaves it open).
pub(crate) fn judge(tw: &TimeWait, cx: &Cx, now: Instant, segment: &Segment<'_>) -> Verdict {
    let flags = segment.flags;
    let stamp = segment.options.timestamps.filter(|_| tw.flags.has(TwFlags::TIMESTAMPS));
    let older_stamp = stamp.is_some_and(|(val, _)| seq::before(val, tw.ts_recent));
    if flags.rst() {
        let exact = segment.seq == tw.rcv_nxt;
        return match (exact, cx.settings.tcp_rfc1337) {
            (true, 0) => Verdict::End,
            (true, _) => Verdict::IgnoreReset,
            (false, _) => Verdict::Ignore,
        };
    }
    if flags.syn() && !flags.ack() && !older_stamp {
        let newer_stamp = stamp.is_some_and(|(val, _)| seq::after(val, tw.ts_recent));
        // RFC 6191 2: where the old connection had no timestamps, those of the new one tell its segments apart.
        let first_stamps = !tw.flags.has(TwFlags::TIMESTAMPS)
            && segment.options.timestamps.is_some()
            && cx.settings.tcp_timestamps != 0
            && cx.settings.profile == Profile::Rfc;
        if seq::after(segment.seq, tw.rcv_nxt) || newer_stamp || first_stamps {
            return Verdict::Reopen;
        }
    }
    if flags.fin() && segment.seq.wrapping_add(segment.len()) == tw.rcv_nxt && !older_stamp {
        return Verdict::AckAndRestart;
    }
    let bare = segment.len() == 0 && segment.seq == tw.rcv_nxt && flags.ack() && !older_stamp;
    if bare || !may_answer(tw, cx, now) { Verdict::Ignore } else { Verdict::Ack }
}

fn may_answer(tw: &TimeWait, cx: &Cx, now: Instant) -> bool {
    let since = (now.as_millis() as u32).wrapping_sub(tw.answered_ms);
    tw.answered_ms == 0 || u64::from(since) >= cx.settings.tcp_invalid_ratelimit
}

/// Whether an outgoing connection may take over the record (Linux's `tcp_twsk_unique`): only with timestamps, which
/// keep old segments apart from new ones. `explicit`: the program chose the port itself.
pub(crate) fn may_reuse(tw: &TimeWait, cx: &Cx, now: Instant, explicit: bool, loopback: bool) -> bool {
    if !tw.flags.has(TwFlags::TIMESTAMPS) || tw.flags.has(TwFlags::COVERED) || cx.settings.tcp_timestamps == 0
    {
        return false;
    }
    let age = duration(cx).saturating_sub(tw.expires.since(now));
    let old_enough =
        age >= Duration::from_millis(cx.settings.tcp_tw_reuse_delay).max(Duration::from_millis(1));
    let allowed = match cx.settings.tcp_tw_reuse {
        0 => false,
        1 => true,
        _ => loopback,
    };
    explicit && age > Duration::ZERO || allowed && old_enough
}

/// The ISN of a successor: above all that the old connection sent (RFC 6191 2, Linux adds 65537).
pub(crate) fn successor_iss(tw: &TimeWait) -> u32 {
    tw.snd_nxt.wrapping_add(65_537)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The promised sizes: 64 bytes for IPv4, 96 for IPv6, links and all.
    #[test]
    fn records_are_small() {
        assert!(size_of::<Option<Record<Key4>>>() <= 64, "{}", size_of::<Option<Record<Key4>>>());
        assert!(size_of::<Option<Record<Key6>>>() <= 96, "{}", size_of::<Option<Record<Key6>>>());
    }

    fn record(secs: u64) -> TimeWait {
        TimeWait {
            expires: Instant::from_secs(secs),
            trace_id: NonZeroU64::MIN,
            snd_nxt: 0,
            rcv_nxt: 0,
            ts_recent: 0,
            answered_ms: 0,
            window: 0,
            flags: TwFlags::default(),
        }
    }

    #[test]
    fn the_queue_stays_in_order_when_records_leave_and_restart() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let tuple = |port| Tuple { local, remote: local, local_port: port, remote_port: 1 };
        let mut waits = TimeWaits::<Key4>::default();
        let at: alloc::vec::Vec<u32> =
            (1..=5).filter_map(|i| waits.insert(&tuple(i as u16), record(i))).collect();
        assert_eq!(waits.oldest(), Some((at[0], Instant::from_secs(1))));
        waits.restart(at[0], Instant::from_secs(6));
        waits.remove(at[2]);
        let mut order = alloc::vec::Vec::new();
        while let Some((index, _)) = waits.oldest() {
            order.extend(waits.remove(index).map(|(tw, _)| tw.expires.as_millis() / 1000));
        }
        assert_eq!(order, [2, 4, 5, 6]);
    }
}
