//! Datagrams put together again from their fragments (RFC 791 3.2, RFC 815, RFC 8200 4.5).
//!
//! Whatever comes, the memory stays below a bound. At the bound the source that holds most of it gives way to
//! one that holds less, so that a flood of fragments from one host does not cost another its datagrams.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use finack_wire::ip::{Ecn, Fragment, IpHeader};
use finack_wire::{ipv6, protocol};

use crate::time::Instant;
use crate::trace::DropReason;

#[cfg(test)]
mod tests;

/// Greatest total length of an IPv4 datagram, and payload length of an IPv6 one.
const MAX_LEN: usize = 65_535;
/// What a datagram costs besides the bytes of its fragments, counted against the bound.
const DATAGRAM_COST: usize = 512;
/// What a fragment costs besides its bytes.
const FRAGMENT_COST: usize = 64;
/// Bytes of a TCP header that the first fragment must hold (RFC 3128 4, RFC 1858 3.2.1: `TMIN`).
const TCP_LEAST: usize = 16;

/// What fragments may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of memory, `ipfrag_high_thresh`.
    pub(crate) memory: usize,
    /// How long the first fragment that came waits for the others, `ipfrag_time`.
    pub(crate) timeout: Duration,
}

/// What the fragments of one datagram share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// IPv4 only: in IPv6 the next header is the first fragment's.
    protocol: Option<u8>,
}

#[derive(Clone, Debug)]
struct Datagram {
    key: Key,
    deadline: Instant,
    /// Fragments by their offsets; they do not overlap.
    parts: BTreeMap<u32, Vec<u8>>,
    /// Payload bytes in `parts`.
    received: usize,
    /// Payload bytes of the whole, known once the last fragment is there.
    total: Option<usize>,
    /// IP header of the first fragment, without an IPv6 fragment header.
    header: Option<Vec<u8>>,
    /// The first fragment's next header (IPv6).
    next_header: u8,
    /// ECN codepoints seen, one bit each.
    ecn: u8,
    /// Fragments overlapped: everything that still comes is discarded too (RFC 5722 4).
    poisoned: bool,
    cost: usize,
}

/// A datagram whose time ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Its first fragment, IPv4 or IPv6 header and payload, for the ICMP error; `None` where that never came, and
    /// there is none to send (RFC 792, RFC 8200 4.5).
    pub(crate) first: Option<Vec<u8>>,
    /// Bytes that were thrown away.
    pub(crate) len: usize,
}

/// Fragments that wait for others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reassembler {
    /// By number: in the order in which their first fragments came, thus in the order of their deadlines.
    datagrams: BTreeMap<u64, Datagram>,
    numbers: BTreeMap<Key, u64>,
    /// Each source's datagrams.
    by_source: BTreeSet<(IpAddr, u64)>,
    /// What each source's datagrams cost, and the same sorted by it.
    costs: BTreeMap<IpAddr, usize>,
    heaviest: BTreeSet<(usize, IpAddr)>,
    next_number: u64,
    memory: usize,
    gave_way: u64,
}

impl Reassembler {
    /// Takes a fragment: `ip` was parsed from `packet`. Gives the whole packet where it was the last one missing,
    /// as if it had never been cut.
    ///
    /// # Errors
    /// [`DropReason::FragmentRejected`] where the fragment, or with it the whole datagram, was thrown away.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        ip: &IpHeader,
        packet: &[u8],
        limits: Limits,
    ) -> Result<Option<Vec<u8>>, DropReason> {
        let fragment = ip.fragment.ok_or(DropReason::FragmentRejected)?;
        let payload = ip.payload(packet);
        check(ip, &fragment, payload.len())?;
        let key =
            Key { src: ip.src, dst: ip.dst, id: fragment.id, protocol: (!ip.is_v6()).then_some(ip.protocol) };
        let known = self.numbers.get(&key).copied();
        if let Some(number) = known
            && let Some(datagram) = self.datagrams.get(&number)
        {
            match datagram.judge(&fragment, payload) {
                Verdict::Keep => {}
                Verdict::Duplicate => return Ok(None),
                Verdict::Refuse => return Err(DropReason::FragmentRejected),
                Verdict::Overlap => {
                    self.reject(number);
                    return Err(DropReason::FragmentRejected);
                }
            }
        }
        let header_len = if fragment.offset == 0 { ip.header_len } else { 0 };
        let cost = payload.len() + header_len + FRAGMENT_COST;
        let opening = if known.is_none() { DATAGRAM_COST } else { 0 };
        self.make_room(ip.src, cost + opening, known, limits.memory)?;
        let number = known.unwrap_or_else(|| self.open(key, now + limits.timeout));
        if let Some(datagram) = self.datagrams.get_mut(&number) {
            datagram.keep(ip, &fragment, packet, payload);
        }
        self.charge(number, cost);
        self.complete(number)
    }

    /// When the first datagram's time runs out.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.datagrams.first_key_value().map(|(_, d)| d.deadline)
    }

    /// Throws away a datagram whose time ran out by `now`; call until `None`.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Expired> {
        let (&number, datagram) = self.datagrams.first_key_value()?;
        if datagram.deadline > now {
            return None;
        }
        let datagram = self.close(number)?;
        Some(datagram.into_expired())
    }

    /// How many datagrams gave way to others since the last call.
    pub(crate) fn take_gave_way(&mut self) -> u64 {
        core::mem::take(&mut self.gave_way)
    }

    /// Bytes counted against the bound.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    fn open(&mut self, key: Key, deadline: Instant) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(key, number);
        self.by_source.insert((key.src, number));
        self.datagrams.insert(
            number,
            Datagram {
                key,
                deadline,
                parts: BTreeMap::new(),
                received: 0,
                total: None,
                header: None,
                next_header: 0,
                ecn: 0,
                poisoned: false,
                cost: 0,
            },
        );
        self.charge(number, DATAGRAM_COST);
        number
    }

    fn close(&mut self, number: u64) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&number)?;
        self.numbers.remove(&datagram.key);
        self.by_source.remove(&(datagram.key.src, number));
        self.weigh(datagram.key.src, datagram.cost, false);
        Some(datagram)
    }

    fn charge(&mut self, number: u64, cost: usize) {
        if let Some(datagram) = self.datagrams.get_mut(&number) {
            datagram.cost += cost;
            let src = datagram.key.src;
            self.weigh(src, cost, true);
        }
    }

    fn weigh(&mut self, src: IpAddr, cost: usize, more: bool) {
        let held = self.costs.get(&src).copied().unwrap_or(0);
        let now = if more { held + cost } else { held.saturating_sub(cost) };
        self.memory = if more { self.memory + cost } else { self.memory.saturating_sub(cost) };
        self.heaviest.remove(&(held, src));
        if now == 0 {
            self.costs.remove(&src);
        } else {
            self.costs.insert(src, now);
            self.heaviest.insert((now, src));
        }
    }

    /// Makes room for `cost` bytes of `src`: the oldest datagrams of whoever holds most go, as long as that is more
    /// than `src` would hold. `spare` is left alone.
    fn make_room(
        &mut self,
        src: IpAddr,
        cost: usize,
        spare: Option<u64>,
        limit: usize,
    ) -> Result<(), DropReason> {
        while self.memory + cost > limit {
            let Some(&(most, heaviest)) = self.heaviest.last() else {
                return Err(DropReason::FragmentRejected);
            };
            let held = self.costs.get(&src).copied().unwrap_or(0);
            if heaviest != src && most <= held + cost {
                return Err(DropReason::FragmentRejected);
            }
            let mut of_heaviest = self.by_source.range((heaviest, 0)..=(heaviest, u64::MAX));
            let oldest = of_heaviest.find(|(_, n)| Some(*n) != spare).map(|&(_, n)| n);
            let Some(oldest) = oldest else { return Err(DropReason::FragmentRejected) };
            self.close(oldest);
            self.gave_way += 1;
        }
        Ok(())
    }

    /// Throws a datagram away. Of an IPv6 one the name is kept until its time is over, so that fragments that still
    /// come do not make up another; IPv4's 16-bit identifications come round too soon for that.
    fn reject(&mut self, number: u64) {
        let Some(datagram) = self.datagrams.get_mut(&number) else { return };
        if datagram.key.protocol.is_some() {
            self.close(number);
            return;
        }
        datagram.poisoned = true;
        datagram.parts.clear();
        datagram.header = None;
        let (src, freed) = (datagram.key.src, datagram.cost - DATAGRAM_COST);
        datagram.cost = DATAGRAM_COST;
        self.weigh(src, freed, false);
    }

    /// Gives the whole packet once nothing is missing.
    fn complete(&mut self, number: u64) -> Result<Option<Vec<u8>>, DropReason> {
        let Some(datagram) = self.datagrams.get(&number) else { return Ok(None) };
        if datagram.total != Some(datagram.received) || datagram.header.is_none() {
            return Ok(None);
        }
        let whole = self.close(number).and_then(Datagram::into_packet);
        whole.map(Some).ok_or(DropReason::FragmentRejected)
    }
}

/// What can be said of a fragment by itself.
fn check(ip: &IpHeader, fragment: &Fragment, len: usize) -> Result<(), DropReason> {
    let end = fragment.offset as usize + len;
    let empty = len == 0;
    let too_large = end > MAX_LEN || !ip.is_v6() && end + ip.header_len > MAX_LEN;
    // RFC 1858 3.2.2: nothing but an attempt to rewrite TCP's flags; RFC 3128: the same with a tiny first one.
    let is_tcp = !ip.is_v6() && ip.protocol == protocol::TCP;
    let tiny = is_tcp && (fragment.offset == 8 || fragment.offset == 0 && len < TCP_LEAST);
    if empty || too_large || tiny || fragment.more && !len.is_multiple_of(8) {
        return Err(DropReason::FragmentRejected);
    }
    Ok(())
}

/// What to do with a fragment of a datagram of which others are there.
enum Verdict {
    Keep,
    /// Seen before, byte for byte (RFC 8200 4.5 allows to keep the others then).
    Duplicate,
    /// The datagram was thrown away before.
    Refuse,
    /// Overlaps another, or contradicts where the datagram ends (RFC 5722).
    Overlap,
}

impl Datagram {
    fn judge(&self, fragment: &Fragment, payload: &[u8]) -> Verdict {
        if self.poisoned {
            return Verdict::Refuse;
        }
        let (start, end) = (fragment.offset, fragment.offset as usize + payload.len());
        if let Some(same) = self.parts.get(&start)
            && same == payload
            && fragment.more == (self.total != Some(end))
        {
            return Verdict::Duplicate;
        }
        let end_of = |(&offset, part): (&u32, &Vec<u8>)| offset as usize + part.len();
        let overlaps_below = self.parts.range(..=start).next_back().map(end_of) > Some(start as usize);
        let overlaps_above = self.parts.range(start..).next().is_some_and(|(&above, _)| end > above as usize);
        let last = self.parts.last_key_value().map_or(0, end_of);
        let ends_elsewhere = match self.total {
            Some(total) => !fragment.more || end > total,
            None => !fragment.more && last > end,
        };
        if overlaps_below || overlaps_above || ends_elsewhere { Verdict::Overlap } else { Verdict::Keep }
    }

    fn keep(&mut self, ip: &IpHeader, fragment: &Fragment, packet: &[u8], payload: &[u8]) {
        if !fragment.more {
            self.total = Some(fragment.offset as usize + payload.len());
        }
        if fragment.offset == 0 {
            let header_len = ip.header_len - if ip.is_v6() { ipv6::FRAGMENT_LEN } else { 0 };
            self.header = packet.get(..header_len).map(Vec::from);
            self.next_header = ip.protocol;
        }
        self.ecn |= 1 << ip.ecn().bits();
        self.received += payload.len();
        self.parts.insert(fragment.offset, payload.into());
    }

    fn into_expired(self) -> Expired {
        let len = self.received;
        let payload = self.parts.get(&0);
        let first = self.header.zip(payload).map(|(mut header, payload)| {
            set_length(&mut header, payload.len());
            header.extend_from_slice(payload);
            header
        });
        Expired { first, len }
    }

    /// The packet as it was before it was cut; `None` where its ECN fields contradict each other or it is too long.
    fn into_packet(self) -> Option<Vec<u8>> {
        let mut packet = self.header?;
        let header_len = packet.len();
        let is_v6 = self.key.protocol.is_none();
        let fixed = if is_v6 { ipv6::HEADER_LEN } else { 0 };
        if header_len - fixed + self.received > MAX_LEN {
            return None;
        }
        let ecn = combined_ecn(self.ecn, Ecn::from_bits(tos(&packet)))?;
        set_ecn(&mut packet, ecn);
        if is_v6 {
            let at = next_header_before_fragment(&packet)?;
            *packet.get_mut(at)? = self.next_header;
        } else {
            packet.get_mut(6..8)?.fill(0);
        }
        set_length(&mut packet, self.received);
        packet.reserve_exact(self.received);
        for part in self.parts.values() {
            packet.extend_from_slice(part);
        }
        Some(packet)
    }
}

/// The ECN codepoint of the whole from those of the fragments (RFC 3168 5.3, as Linux's `ip_frag_ecn_table`): CE if
/// any is CE; `None` (drop) where some but not all are Not-ECT, as CE could have been set on the one and not on the
/// other. ECT(0) beside ECT(1) keeps the first fragment's.
fn combined_ecn(seen: u8, first: Ecn) -> Option<Ecn> {
    let has = |ecn: Ecn| seen & (1 << ecn.bits()) != 0;
    let capable = has(Ecn::Ect0) || has(Ecn::Ect1) || has(Ecn::Ce);
    match (has(Ecn::NotEct), capable) {
        (true, true) => None,
        _ if has(Ecn::Ce) => Some(Ecn::Ce),
        _ => Some(first),
    }
}

fn is_v6(header: &[u8]) -> bool {
    header.first().is_some_and(|b| b >> 4 == 6)
}

fn tos(header: &[u8]) -> u8 {
    match header {
        [a, b, ..] if a >> 4 == 6 => (a << 4) | (b >> 4),
        [_, b, ..] => *b,
        _ => 0,
    }
}

fn set_ecn(header: &mut [u8], ecn: Ecn) {
    let shift = if is_v6(header) { 4 } else { 0 };
    if let Some(b) = header.get_mut(1) {
        *b = (*b & !(3 << shift)) | (ecn.bits() << shift);
    }
}

/// Writes the length of a packet of `payload` bytes behind the header, and the IPv4 header's checksum.
fn set_length(header: &mut [u8], payload: usize) {
    let v6 = is_v6(header);
    let len = if v6 { header.len() - ipv6::HEADER_LEN.min(header.len()) } else { header.len() } + payload;
    let at = if v6 { 4 } else { 2 };
    if let Some(field) = header.get_mut(at..at + 2) {
        field.copy_from_slice(&(len as u16).to_be_bytes());
    }
    if !v6 && header.len() >= 20 {
        header[10..12].fill(0);
        let sum = !finack_sum::sum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where the field is that named the fragment header, in an IPv6 header and extension headers cut off before it.
fn next_header_before_fragment(header: &[u8]) -> Option<usize> {
    let (mut field, mut at) = (6, ipv6::HEADER_LEN);
    while at < header.len() {
        field = at;
        at += (usize::from(*header.get(at + 1)?) + 1) * 8;
    }
    Some(field)
}
