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
use crate::demux::INDEX_BITS;
use crate::settings::Profile;
use crate::slab::SegmentVec;
use crate::time::Instant;

/// Facts of a record, as bits, for six of which there is room.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeWait {
    pub(crate) expires: Instant,
    /// Never 0, so that a free place in the table costs no byte of its own; 48 bits are kept.
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

/// Addresses and ports of a record, in as many words as the IP version needs.
pub(crate) trait Key: Copy + PartialEq {
    /// What a place that is free holds.
    const NONE: Self;
    fn from_tuple(tuple: &Tuple) -> Option<Self>;
    fn tuple(&self) -> Tuple;
}

/// Both ports in one word.
const fn ports(t: &Tuple) -> u32 {
    (t.local_port as u32) << 16 | t.remote_port as u32
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key4([u32; 3]);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key6([u32; 9]);

impl Key for Key4 {
    const NONE: Self = Self([0; 3]);

    fn from_tuple(t: &Tuple) -> Option<Self> {
        match (t.local, t.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                Some(Self([local.to_bits(), remote.to_bits(), ports(t)]))
            }
            _ => None,
        }
    }

    fn tuple(&self) -> Tuple {
        let [local, remote, ports] = self.0;
        Tuple {
            local: IpAddr::V4(Ipv4Addr::from_bits(local)),
            remote: IpAddr::V4(Ipv4Addr::from_bits(remote)),
            local_port: (ports >> 16) as u16,
            remote_port: ports as u16,
        }
    }
}

impl Key for Key6 {
    const NONE: Self = Self([0; 9]);

    fn from_tuple(t: &Tuple) -> Option<Self> {
        let (IpAddr::V6(local), IpAddr::V6(remote)) = (t.local, t.remote) else { return None };
        let mut words = [0; 9];
        for (end, addr) in [local, remote].iter().enumerate() {
            for (word, bytes) in words[end * 4..].iter_mut().zip(addr.octets().as_chunks::<4>().0) {
                *word = u32::from_be_bytes(*bytes);
            }
        }
        words[8] = ports(t);
        Some(Self(words))
    }

    fn tuple(&self) -> Tuple {
        let addr = |at: usize| {
            let bits = self.0[at..at + 4].iter().fold(0, |bits, &word| bits << 32 | u128::from(word));
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        };
        Tuple {
            local: addr(0),
            remote: addr(4),
            local_port: (self.0[8] >> 16) as u16,
            remote_port: self.0[8] as u16,
        }
    }
}

/// Bits of a link that name a place; the others hold flags.
const PLACE: u32 = (1 << INDEX_BITS) - 1;
/// No place.
const NONE: u32 = PLACE;
/// How many flags a link has room for.
const LINK_FLAGS: u32 = 32 - INDEX_BITS;
/// Bits of a connection's number that are kept: enough for ten million connections a second for most of a year.
const ID_BITS: u32 = 48;

/// A record as it lies in its table: 52 bytes for IPv4, 76 for IPv6, links and all.
#[derive(Clone, Copy, Debug)]
struct Record<K> {
    /// Halves, so that four bytes are alignment enough.
    expires: [u32; 2],
    /// `window` and below it the trace's number, which is 0 where the place is free.
    id_window: [u32; 2],
    snd_nxt: u32,
    rcv_nxt: u32,
    ts_recent: u32,
    answered_ms: u32,
    key: K,
    /// The next record in order of expiry, or the next free place; above it the lower flags.
    newer: u32,
    /// The one before; above it the upper flags.
    older: u32,
}

const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

const fn whole(halves: [u32; 2]) -> u64 {
    halves[0] as u64 | (halves[1] as u64) << 32
}

impl<K: Key> Record<K> {
    const FREE: Self = Self {
        expires: [0; 2],
        id_window: [0; 2],
        snd_nxt: 0,
        rcv_nxt: 0,
        ts_recent: 0,
        answered_ms: 0,
        key: K::NONE,
        newer: NONE,
        older: NONE,
    };

    const fn is_taken(&self) -> bool {
        whole(self.id_window) << (64 - ID_BITS) != 0
    }

    fn state(&self) -> TimeWait {
        let id_window = whole(self.id_window);
        let flags = self.newer >> INDEX_BITS | self.older >> INDEX_BITS << LINK_FLAGS;
        TimeWait {
            expires: Instant::from_nanos(whole(self.expires)),
            trace_id: NonZeroU64::new(id_window & ((1 << ID_BITS) - 1)).unwrap_or(NonZeroU64::MIN),
            snd_nxt: self.snd_nxt,
            rcv_nxt: self.rcv_nxt,
            ts_recent: self.ts_recent,
            answered_ms: self.answered_ms,
            window: (id_window >> ID_BITS) as u16,
            flags: TwFlags(flags as u8),
        }
    }

    /// Its links stay.
    fn set_state(&mut self, state: &TimeWait) {
        let id = (state.trace_id.get() & ((1 << ID_BITS) - 1)).max(1);
        self.expires = halves(state.expires.as_nanos());
        self.id_window = halves(id | u64::from(state.window) << ID_BITS);
        (self.snd_nxt, self.rcv_nxt) = (state.snd_nxt, state.rcv_nxt);
        (self.ts_recent, self.answered_ms) = (state.ts_recent, state.answered_ms);
        let flags = u32::from(state.flags.0);
        self.newer = self.newer & PLACE | flags << INDEX_BITS;
        self.older = self.older & PLACE | flags >> LINK_FLAGS << INDEX_BITS;
    }

    fn set_newer(&mut self, place: u32) {
        self.newer = self.newer & !PLACE | place;
    }

    fn set_older(&mut self, place: u32) {
        self.older = self.older & !PLACE | place;
    }
}

/// Records of one IP version in order of expiry. Every record lives equally long, so that a queue is enough;
/// it is doubly linked because records leave and start anew.
#[derive(Clone, Debug)]
pub(crate) struct TimeWaits<K> {
    records: SegmentVec<Record<K>>,
    oldest: u32,
    newest: u32,
    free: u32,
    len: usize,
}

impl<K> Default for TimeWaits<K> {
    fn default() -> Self {
        Self { records: SegmentVec::default(), oldest: NONE, newest: NONE, free: NONE, len: 0 }
    }
}

impl<K: Key> TimeWaits<K> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Places there are, free ones included: every index lies below.
    pub(crate) fn places(&self) -> u32 {
        self.records.len() as u32
    }

    pub(crate) fn memory(&self) -> usize {
        self.records.memory()
    }

    /// `None` where the four-tuple is of the other IP version.
    pub(crate) fn insert(&mut self, tuple: &Tuple, state: &TimeWait) -> Option<u32> {
        let key = K::from_tuple(tuple)?;
        let index = if self.free == NONE {
            self.records.push(Record::FREE);
            self.records.len() as u32 - 1
        } else {
            self.free
        };
        let record = &mut self.records[index];
        self.free = record.newer & PLACE;
        record.key = key;
        record.set_state(state);
        self.len += 1;
        self.link(index);
        Some(index)
    }

    fn record(&self, index: u32) -> Option<&Record<K>> {
        self.records.get(index as usize).filter(|r| r.is_taken())
    }

    fn record_mut(&mut self, index: u32) -> Option<&mut Record<K>> {
        self.records.get_mut(index as usize).filter(|r| r.is_taken())
    }

    pub(crate) fn get(&self, index: u32) -> Option<(TimeWait, Tuple)> {
        self.record(index).map(|r| (r.state(), r.key.tuple()))
    }

    /// Whether the record is of this four-tuple.
    #[inline]
    pub(crate) fn is_of(&self, index: u32, tuple: &Tuple) -> bool {
        self.record(index).is_some_and(|r| K::from_tuple(tuple) == Some(r.key))
    }

    /// The four-tuple of a record.
    pub(crate) fn tuple(&self, index: u32) -> Option<Tuple> {
        self.record(index).map(|r| r.key.tuple())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TimeWait, Tuple)> {
        (0..self.places()).filter_map(|index| self.get(index))
    }

    /// Changes a record in its place. When it expires is for [`restart`](Self::restart) to change.
    pub(crate) fn update(&mut self, index: u32, change: impl FnOnce(&mut TimeWait)) {
        if let Some(record) = self.record_mut(index) {
            let mut state = record.state();
            change(&mut state);
            record.set_state(&state);
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<(TimeWait, Tuple)> {
        let removed = self.get(index)?;
        self.unlink(index);
        let free = core::mem::replace(&mut self.free, index);
        self.records[index] = Record { newer: free, ..Record::FREE };
        self.len -= 1;
        Some(removed)
    }

    /// Begins the waiting anew.
    pub(crate) fn restart(&mut self, index: u32, expires: Instant) {
        if let Some(record) = self.record_mut(index) {
            record.expires = halves(expires.as_nanos());
            self.unlink(index);
            self.link(index);
        }
    }

    /// The record that expires next.
    pub(crate) fn oldest(&self) -> Option<(u32, Instant)> {
        self.record(self.oldest).map(|r| (self.oldest, Instant::from_nanos(whole(r.expires))))
    }

    fn link(&mut self, index: u32) {
        let before = core::mem::replace(&mut self.newest, index);
        let record = &mut self.records[index];
        record.set_older(before);
        record.set_newer(NONE);
        match self.record_mut(before) {
            Some(record) => record.set_newer(index),
            None => self.oldest = index,
        }
    }

    fn unlink(&mut self, index: u32) {
        let record = &self.records[index];
        let (older, newer) = (record.older & PLACE, record.newer & PLACE);
        match self.record_mut(older) {
            Some(record) => record.set_newer(newer),
            None => self.oldest = newer,
        }
        match self.record_mut(newer) {
            Some(record) => record.set_older(older),
            None => self.newest = older,
        }
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

/// When an outgoing connection whose port the stack chooses may take over the record, if nothing changes; never is
/// `FAR_FUTURE`.
pub(crate) fn reusable_at(tw: &TimeWait, cx: &Cx, loopback: bool) -> Instant {
    let allowed = match cx.settings.tcp_tw_reuse {
        0 => false,
        1 => true,
        _ => loopback,
    };
    if !allowed || !tw.flags.has(TwFlags::TIMESTAMPS) || cx.settings.tcp_timestamps == 0 {
        return Instant::FAR_FUTURE;
    }
    let age = Duration::from_millis(cx.settings.tcp_tw_reuse_delay).max(Duration::from_millis(1));
    let began = tw.expires.as_nanos().saturating_sub(duration(cx).as_nanos() as u64);
    Instant::from_nanos(began) + age
}

/// The ISN of a successor: above all that the old connection sent (RFC 6191 2, Linux adds 65537).
pub(crate) fn successor_iss(tw: &TimeWait) -> u32 {
    tw.snd_nxt.wrapping_add(65_537)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The promised sizes are 64 bytes for IPv4 and 96 for IPv6, of which the index of four-tuples takes up to 11.
    #[test]
    fn records_are_small() {
        assert_eq!((size_of::<Record<Key4>>(), size_of::<Record<Key6>>()), (52, 76));
    }

    #[test]
    fn a_record_keeps_what_it_was_given() {
        let state = TimeWait {
            expires: Instant::from_nanos(0x0123_4567_89ab_cdef),
            trace_id: NonZeroU64::new((1 << ID_BITS) - 1).unwrap(),
            snd_nxt: u32::MAX,
            rcv_nxt: 1 << 31,
            ts_recent: 7,
            answered_ms: u32::MAX - 1,
            window: 0xfedc,
            flags: TwFlags(0b10_1010),
        };
        let tuple = Tuple {
            local: "2001:db8::1:2".parse().unwrap(),
            remote: "fe80::aa".parse().unwrap(),
            local_port: 65_535,
            remote_port: 80,
        };
        let mut waits = TimeWaits::<Key6>::default();
        for _ in 0..3 {
            waits.insert(&tuple, &state);
        }
        assert_eq!(waits.get(1), Some((state, tuple)));
        assert!(waits.is_of(1, &tuple) && !waits.is_of(1, &Tuple { local_port: 1, ..tuple }));
        let flags = TwFlags(0b01_0101);
        waits.update(1, |tw| tw.flags = flags);
        assert_eq!(waits.get(1), Some((TimeWait { flags, ..state }, tuple)));
        assert_eq!(waits.remove(1), Some((TimeWait { flags, ..state }, tuple)));
        assert_eq!((waits.get(1), waits.get(2)), (None, Some((state, tuple))));
        assert_eq!(waits.insert(&tuple, &state), Some(1));
        assert_eq!(waits.oldest(), Some((0, state.expires)));
        assert_eq!(waits.iter().count(), 3);
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
            (1..=5).filter_map(|i| waits.insert(&tuple(i as u16), &record(i))).collect();
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
