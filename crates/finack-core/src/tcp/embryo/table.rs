//! Half-open connections in little memory: what all have is a record of 68 bytes, what few have stands elsewhere.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Embryo;
use crate::auth::Tag;
use crate::demux::Slot;
use crate::slab::{SegmentVec, Slab};
use crate::tcp::Tuple;
use crate::tcp::ecn::Grant;
use crate::tcp::fast_open::Form;
use crate::tcp::tcb::Negotiated;
use crate::time::Instant;

/// No place.
const NONE: u32 = u32::MAX;

/// Bits of a connection's number that are kept (as of a TIME-WAIT's).
const ID_BITS: u32 = 48;
/// Nanoseconds between the SYN and the latest SYN,ACK for which there is room in the record: 18 minutes.
const DELAY_BITS: u32 = 40;

/// Facts of a record, as bits.
const RESENT: u8 = 1;
const IS_COOKIE: u8 = 2;
const HELD: u8 = 4;
const V6: u8 = 8;

/// What both sides agreed on, as bits beside the two scales.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const SCALING: u8 = 4;

/// A record as it lies in its table. Times and numbers of 64 bits are in halves, so that four bytes are alignment enough.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// IPv4 addresses, local and remote. Of IPv6 the place among `v6`. Of a free place the next one.
    local: u32,
    remote: u32,
    local_port: u16,
    remote_port: u16,
    /// 0 where the place is free.
    id_low: u32,
    id_high: u16,
    retries: u8,
    flags: u8,
    listener: u32,
    iss: u32,
    irs: u32,
    ts_recent: u32,
    ts_offset: u32,
    peer_mss: u16,
    /// The peer's scale, and above it ours.
    scales: u8,
    agreed: u8,
    peer_window: u16,
    window: u16,
    our_mss: u16,
    ecn: u8,
    /// How long after `created_at` the latest SYN,ACK was sent, in nanoseconds; the uppermost byte first.
    delay_high: u8,
    delay_low: u32,
    created_at: [u32; 2],
    /// The place among `rare`.
    rare: u32,
}

const FREE: Record = Record {
    local: NONE,
    remote: 0,
    local_port: 0,
    remote_port: 0,
    id_low: 0,
    id_high: 0,
    retries: 0,
    flags: 0,
    listener: 0,
    iss: 0,
    irs: 0,
    ts_recent: 0,
    ts_offset: 0,
    peer_mss: 0,
    scales: 0,
    agreed: 0,
    peer_window: 0,
    window: 0,
    our_mss: 0,
    ecn: 0,
    delay_high: 0,
    delay_low: 0,
    created_at: [0; 2],
    rare: NONE,
};

/// What few half-open connections have.
#[derive(Clone, Copy, Debug)]
struct Rare {
    tag: Tag,
    gives_cookie: Option<Form>,
    answered_at: Option<Instant>,
    under: Option<Slot>,
    /// When the latest SYN,ACK was sent, where that is too long after the SYN for the record.
    sent_at: Option<Instant>,
}

impl Rare {
    fn of(e: &Embryo) -> Option<Self> {
        let late = delay(e).is_none();
        let rare =
            e.tag.is_signed() || e.gives_cookie.is_some() || e.answered_at.is_some() || e.under.is_some();
        (rare || late).then_some(Self {
            tag: e.tag,
            gives_cookie: e.gives_cookie,
            answered_at: e.answered_at,
            under: e.under,
            sent_at: late.then_some(e.sent_at),
        })
    }
}

/// Nanoseconds from the SYN to the latest SYN,ACK, where the record has room for them.
fn delay(e: &Embryo) -> Option<u64> {
    let delay = e.sent_at.as_nanos().checked_sub(e.created_at.as_nanos())?;
    (delay < 1 << DELAY_BITS).then_some(delay)
}

const fn bit(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}

impl Record {
    const fn is_taken(&self) -> bool {
        self.id_low != 0 || self.id_high != 0
    }

    /// Everything but the addresses and what is rare.
    fn pack(e: &Embryo) -> Self {
        let created_at = e.created_at.as_nanos();
        let delay = delay(e).unwrap_or(0);
        let id = (e.trace_id & ((1 << ID_BITS) - 1)).max(1);
        let flags = bit(e.resent, RESENT) | bit(e.is_cookie, IS_COOKIE) | bit(e.held, HELD);
        let a = e.agreed;
        Self {
            local: 0,
            remote: 0,
            local_port: e.tuple.local_port,
            remote_port: e.tuple.remote_port,
            id_low: id as u32,
            id_high: (id >> 32) as u16,
            retries: e.retries,
            flags: flags | bit(e.tuple.is_v6(), V6),
            listener: e.listener,
            iss: e.iss,
            irs: e.irs,
            ts_recent: e.ts_recent,
            ts_offset: e.ts_offset,
            peer_mss: a.peer_mss,
            scales: a.rcv_wscale << 4 | a.snd_wscale & 15,
            agreed: bit(a.timestamps, TIMESTAMPS) | bit(a.sack, SACK) | bit(a.scaling, SCALING),
            peer_window: e.peer_window,
            window: e.window,
            our_mss: e.our_mss,
            ecn: e.ecn.bits(),
            delay_high: (delay >> 32) as u8,
            delay_low: delay as u32,
            created_at: [created_at as u32, (created_at >> 32) as u32],
            rare: NONE,
        }
    }

    fn unpack(&self, tuple: Tuple, rare: Option<&Rare>) -> Embryo {
        let trace_id = u64::from(self.id_high) << 32 | u64::from(self.id_low);
        let created_at = u64::from(self.created_at[0]) | u64::from(self.created_at[1]) << 32;
        let delay = u64::from(self.delay_high) << 32 | u64::from(self.delay_low);
        let sent_at = Instant::from_nanos(created_at + delay);
        Embryo {
            tuple,
            trace_id,
            generation: trace_id as u32,
            listener: self.listener,
            iss: self.iss,
            irs: self.irs,
            ts_recent: self.ts_recent,
            ts_offset: self.ts_offset,
            agreed: Negotiated {
                timestamps: self.agreed & TIMESTAMPS != 0,
                sack: self.agreed & SACK != 0,
                scaling: self.agreed & SCALING != 0,
                snd_wscale: self.scales & 15,
                rcv_wscale: self.scales >> 4,
                peer_mss: self.peer_mss,
            },
            peer_window: self.peer_window,
            window: self.window,
            our_mss: self.our_mss,
            retries: self.retries,
            resent: self.flags & RESENT != 0,
            is_cookie: self.flags & IS_COOKIE != 0,
            ecn: Grant::from_bits(self.ecn),
            tag: rare.map_or_else(Tag::default, |rare| rare.tag),
            held: self.flags & HELD != 0,
            gives_cookie: rare.and_then(|rare| rare.gives_cookie),
            created_at: Instant::from_nanos(created_at),
            sent_at: rare.and_then(|rare| rare.sent_at).unwrap_or(sent_at),
            answered_at: rare.and_then(|rare| rare.answered_at),
            under: rare.and_then(|rare| rare.under),
        }
    }
}

/// Half-open connections at stable indexes; freed ones are used again, last freed first.
#[derive(Clone, Debug)]
pub(crate) struct Embryos {
    records: SegmentVec<Record>,
    /// Addresses of IPv6, local and remote.
    v6: Slab<(Ipv6Addr, Ipv6Addr)>,
    rare: Slab<Rare>,
    free: u32,
    len: usize,
}

impl Default for Embryos {
    fn default() -> Self {
        Self {
            records: SegmentVec::default(),
            v6: Slab::default(),
            rare: Slab::default(),
            free: NONE,
            len: 0,
        }
    }
}

impl Embryos {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Places there are, free ones included: every index lies below.
    pub(crate) fn places(&self) -> u32 {
        self.records.len() as u32
    }

    pub(crate) fn memory(&self) -> usize {
        self.records.memory() + self.v6.memory() + self.rare.memory()
    }

    pub(crate) fn insert(&mut self, e: &Embryo) -> u32 {
        let mut record = Record::pack(e);
        match (e.tuple.local, e.tuple.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                (record.local, record.remote) = (local.to_bits(), remote.to_bits());
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => record.local = self.v6.insert((local, remote)),
            // Both ends of a packet are of one version.
            _ => {}
        }
        record.rare = Rare::of(e).map_or(NONE, |rare| self.rare.insert(rare));
        self.len += 1;
        if self.free == NONE {
            self.records.push(record);
            return self.records.len() as u32 - 1;
        }
        let index = self.free;
        self.free = self.records[index].local;
        self.records[index] = record;
        index
    }

    fn record(&self, index: u32) -> Option<&Record> {
        self.records.get(index as usize).filter(|r| r.is_taken())
    }

    fn tuple_of(&self, r: &Record) -> Option<Tuple> {
        let (local, remote) = if r.flags & V6 != 0 {
            self.v6.get(r.local).map(|&(local, remote)| (IpAddr::V6(local), IpAddr::V6(remote)))?
        } else {
            (IpAddr::V4(Ipv4Addr::from_bits(r.local)), IpAddr::V4(Ipv4Addr::from_bits(r.remote)))
        };
        Some(Tuple { local, remote, local_port: r.local_port, remote_port: r.remote_port })
    }

    pub(crate) fn tuple(&self, index: u32) -> Option<Tuple> {
        self.record(index).and_then(|r| self.tuple_of(r))
    }

    /// A copy: a change of it is for [`update`](Self::update).
    pub(crate) fn get(&self, index: u32) -> Option<Embryo> {
        let r = self.record(index)?;
        Some(r.unpack(self.tuple_of(r)?, self.rare.get(r.rare)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Embryo)> {
        (0..self.places()).filter_map(|index| self.get(index).map(|e| (index, e)))
    }

    /// Changes one in its place; its four-tuple stays.
    pub(crate) fn update<R>(&mut self, index: u32, change: impl FnOnce(&mut Embryo) -> R) -> Option<R> {
        let mut e = self.get(index)?;
        let result = change(&mut e);
        let old = *self.record(index)?;
        let rare = match (Rare::of(&e), self.rare.get_mut(old.rare)) {
            (Some(new), Some(place)) => {
                *place = new;
                old.rare
            }
            (Some(new), None) => self.rare.insert(new),
            (None, _) => {
                self.rare.remove(old.rare);
                NONE
            }
        };
        self.records[index] = Record { local: old.local, remote: old.remote, rare, ..Record::pack(&e) };
        Some(result)
    }

    /// Frees the place of one; nothing where it is free.
    pub(crate) fn free(&mut self, index: u32) {
        let Some(&old) = self.record(index) else { return };
        self.records[index] = Record { local: self.free, ..FREE };
        self.free = index;
        self.rare.remove(old.rare);
        if old.flags & V6 != 0 {
            self.v6.remove(old.local);
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn embryo(local: &str, remote: &str) -> Embryo {
        Embryo {
            tuple: Tuple {
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
                local_port: 65_535,
                remote_port: 80,
            },
            trace_id: 0xfedc_ba98_7654,
            generation: 0xba98_7654,
            listener: 7,
            iss: u32::MAX,
            irs: 1 << 31,
            ts_recent: 3,
            ts_offset: 0x1234_5678,
            agreed: Negotiated {
                timestamps: true,
                sack: false,
                scaling: true,
                snd_wscale: 14,
                rcv_wscale: 13,
                peer_mss: 1460,
            },
            peer_window: 0xabcd,
            window: 0x1234,
            our_mss: 8960,
            retries: 255,
            resent: false,
            is_cookie: true,
            ecn: Grant::accurate(),
            tag: Default::default(),
            held: false,
            gives_cookie: None,
            created_at: Instant::from_nanos(0x0123_4567_89ab_cdef),
            sent_at: Instant::from_nanos(0x0123_4567_89ab_cdef),
            answered_at: None,
            under: None,
        }
    }

    /// Of the promised 96 bytes the timer takes 16 and the index of four-tuples up to 11.
    #[test]
    fn records_are_small() {
        assert_eq!(size_of::<Record>(), 68);
    }

    #[test]
    fn a_record_keeps_what_it_was_given() {
        for (local, remote) in [("10.0.0.1", "192.168.3.4"), ("2001:db8::1", "fe80::2:3")] {
            let mut embryos = Embryos::default();
            let first = embryo(local, remote);
            assert_eq!([embryos.insert(&first), embryos.insert(&first)], [0, 1]);
            assert_eq!(embryos.get(1), Some(first.clone()));
            assert_eq!(embryos.tuple(1), Some(first.tuple));
            let change = |e: &mut Embryo| {
                (e.resent, e.is_cookie, e.held, e.retries) = (true, false, true, 3);
                e.sent_at = e.created_at + Duration::from_secs(1000);
                e.ecn = Grant::default();
            };
            let mut second = first.clone();
            change(&mut second);
            embryos.update(1, change);
            assert_eq!((embryos.get(0), embryos.get(1)), (Some(first.clone()), Some(second.clone())));
            assert_eq!(embryos.rare.len(), 0);
            embryos.free(1);
            embryos.free(1);
            assert_eq!((embryos.get(1), embryos.len()), (None, 1));
            assert_eq!(embryos.insert(&first), 1);
            assert_eq!((embryos.len(), embryos.iter().count()), (2, 2));
            assert_eq!(embryos.v6.len(), if first.tuple.is_v6() { 2 } else { 0 });
        }
    }

    #[test]
    fn what_is_rare_comes_and_goes() {
        let mut embryos = Embryos::default();
        embryos.insert(&embryo("10.0.0.1", "10.0.0.2"));
        let change = |e: &mut Embryo| {
            e.gives_cookie = Some(Form::Experimental);
            e.answered_at = Some(Instant::from_secs(9));
            e.under = Some(Slot::new(crate::demux::Kind::TimeWait6, 17));
            e.sent_at = e.created_at + Duration::from_secs(5000);
        };
        embryos.update(0, change);
        let mut changed = embryo("10.0.0.1", "10.0.0.2");
        change(&mut changed);
        assert_eq!(embryos.get(0), Some(changed.clone()));
        assert_eq!(embryos.rare.len(), 1);
        embryos.update(0, |e| e.under = None);
        assert_eq!(embryos.get(0), Some(Embryo { under: None, ..changed }));
        embryos.update(0, |e| *e = embryo("10.0.0.1", "10.0.0.2"));
        assert_eq!(embryos.get(0), Some(embryo("10.0.0.1", "10.0.0.2")));
        assert_eq!(embryos.rare.len(), 0);
    }
}
