//! Who has which port of one protocol, and the choice of a free one (RFC 6056).
//!
//! The rules are those of Linux's `bind`, `listen` and `connect`; owners that are alike are counted together,
//! so that a port with a million connections on it costs no more than one with a single one.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;

use crate::Error;
use crate::hash::Rng;
use crate::slab::Slab;
use crate::tcp::Tuple;
use crate::time::Instant;

mod taken;
#[cfg(test)]
mod tests;

use taken::{Destination, Taken};

/// Whether a port will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Now,
    /// Not before this time, unless somebody gives it up.
    NotBefore(Instant),
}

/// What one socket claims of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// Local address; unspecified is every address of its family, and `::` of both unless `v6_only`.
    pub(crate) addr: IpAddr,
    /// SO_REUSEADDR.
    pub(crate) reuse_addr: bool,
    /// SO_REUSEPORT.
    pub(crate) reuse_port: bool,
    /// It listens.
    pub(crate) listening: bool,
    /// IPV6_V6ONLY.
    pub(crate) v6_only: bool,
    /// Bound by `bind`, or inherited from a listener: not picked by `connect`.
    pub(crate) explicit: bool,
}

impl Owner {
    /// Whether some packet could be meant for either (Linux's `inet_rcv_saddr_equal` with wildcards).
    fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.addr.to_canonical(), other.addr.to_canonical());
        let takes_in = |wild: &Self, wild_addr: IpAddr, addr: IpAddr| {
            wild_addr.is_unspecified()
                && (wild_addr.is_ipv4() == addr.is_ipv4() || wild_addr.is_ipv6() && !wild.v6_only)
        };
        a == b || takes_in(self, a, b) || takes_in(other, b, a)
    }

    /// Whether `self` may not come beside `held` (Linux's `inet_bind_conflict`). Not symmetrical: SO_REUSEADDR
    /// goes beside everything that set it too, unless that listens.
    fn conflicts_with(&self, held: &Self) -> bool {
        let reuse_addr = self.reuse_addr && held.reuse_addr && !held.listening;
        let reuse_port = self.reuse_port && held.reuse_port;
        self.overlaps(held) && !reuse_addr && !reuse_port
    }
}

/// The owners of one port, equal ones counted. All of a port's owners are alike as a rule: they are named by a number, for
/// most ports have the same.
#[derive(Clone, Copy, Debug, Default)]
struct Port {
    /// Number of the owner, or with [`SEVERAL`] of a list of owners. Says nothing while `count` is 0.
    who: u32,
    /// Claims on the port.
    count: u32,
}

/// In [`Port::who`]: there are different owners.
const SEVERAL: u32 = 1 << 31;

/// Different owners of one port, counted.
#[derive(Clone, Debug)]
struct Several {
    /// By their numbers. One of them may have no claim any more: see `idle`.
    counts: BTreeMap<u32, u32>,
    /// How many of the claims are explicit.
    explicit: u32,
    /// Who had a claim last that nobody of its kind has any more, and keeps its place: connections of a listener that come and
    /// go one by one leave and take the same one again and again.
    idle: Option<u32>,
}

/// What owners there are.
#[derive(Clone, Debug, Default)]
struct Owners {
    /// Each with the ports that it has, alone or beside others.
    known: Slab<(Owner, u32)>,
    numbers: BTreeMap<Owner, u32>,
    /// The one that was asked for last. It is remembered although it may have no port any more: connections that come and go
    /// one by one are all of one owner.
    last: u32,
    several: Slab<Several>,
    /// How often an owner left a port for good.
    left: u64,
}

impl Owners {
    fn any(&self, port: &Port, mut test: impl FnMut(&Owner) -> bool) -> bool {
        let mut is = |number| self.known.get(number).is_some_and(|(owner, _)| test(owner));
        if port.count == 0 {
            false
        } else if port.who & SEVERAL != 0 {
            let claims = |several: &Several| several.counts.iter().any(|(&n, &claims)| claims > 0 && is(n));
            self.several.get(port.who & !SEVERAL).is_some_and(claims)
        } else {
            is(port.who)
        }
    }

    /// Whether one of the port's owners is explicit.
    fn is_explicit(&self, port: &Port) -> bool {
        if port.who & SEVERAL != 0 {
            self.several.get(port.who & !SEVERAL).is_some_and(|several| several.explicit > 0)
        } else {
            self.any(port, |owner| owner.explicit)
        }
    }

    fn is(&self, number: u32, owner: &Owner) -> bool {
        self.known.get(number).is_some_and(|(known, _)| known == owner)
    }

    fn number(&self, owner: &Owner) -> Option<u32> {
        if self.is(self.last, owner) { Some(self.last) } else { self.numbers.get(owner).copied() }
    }

    /// The owner's number, for one port more.
    fn take(&mut self, owner: Owner) -> u32 {
        let before = self.last;
        if !self.is(before, &owner) {
            let Self { known, numbers, .. } = self;
            self.last = *numbers.entry(owner).or_insert_with(|| known.insert((owner, 0)));
        }
        if let Some((_, ports)) = self.known.get_mut(self.last) {
            *ports += 1;
        }
        if before != self.last {
            self.forget_unused(before);
        }
        self.last
    }

    /// A port less.
    fn leave(&mut self, number: u32) {
        self.left += 1;
        self.let_go(number);
    }

    /// The same where that was counted before.
    fn let_go(&mut self, number: u32) {
        if let Some((_, ports)) = self.known.get_mut(number) {
            *ports -= 1;
        }
        if number != self.last {
            self.forget_unused(number);
        }
    }

    fn forget_unused(&mut self, number: u32) {
        if let Some((owner, 0)) = self.known.get(number) {
            self.numbers.remove(owner);
            self.known.remove(number);
        }
    }

    fn add(&mut self, port: &mut Port, owner: Owner) {
        port.count += 1;
        if port.count == 1 {
            port.who = self.take(owner);
            return;
        }
        if port.who & SEVERAL == 0 {
            if self.is(port.who, &owner) {
                return;
            }
            let explicit = self.known.get(port.who).is_some_and(|(held, _)| held.explicit);
            let claims = port.count - 1;
            let several = Several {
                counts: BTreeMap::from([(port.who, claims)]),
                explicit: if explicit { claims } else { 0 },
                idle: None,
            };
            port.who = SEVERAL | self.several.insert(several);
        }
        let held = self.number(&owner);
        if let Some(several) = self.several.get_mut(port.who & !SEVERAL) {
            several.explicit += u32::from(owner.explicit);
            if let Some(count) = held.and_then(|number| several.counts.get_mut(&number)) {
                if *count == 0 {
                    several.idle = None;
                }
                *count += 1;
                return;
            }
        }
        let number = self.take(owner);
        if let Some(several) = self.several.get_mut(port.who & !SEVERAL) {
            several.counts.insert(number, 1);
        }
    }

    /// Whether there was one to remove.
    fn remove(&mut self, port: &mut Port, owner: &Owner) -> bool {
        if port.count == 0 {
            return false;
        }
        if port.who & SEVERAL == 0 {
            if !self.is(port.who, owner) {
                return false;
            }
            port.count -= 1;
            if port.count == 0 {
                self.leave(port.who);
            }
            return true;
        }
        let Some(number) = self.number(owner) else { return false };
        let Some(several) = self.several.get_mut(port.who & !SEVERAL) else { return false };
        let Some(count) = several.counts.get_mut(&number).filter(|count| **count > 0) else { return false };
        *count -= 1;
        several.explicit -= u32::from(owner.explicit);
        port.count -= 1;
        let mut gone = None;
        if *count == 0 {
            self.left += 1;
            gone = several.idle.replace(number);
            if let Some(before) = gone {
                several.counts.remove(&before);
            }
        }
        if port.count == 0 {
            self.several.remove(port.who & !SEVERAL);
            self.let_go(number);
        }
        if let Some(before) = gone {
            self.let_go(before);
        }
        true
    }

    fn memory(&self) -> usize {
        let lists: usize = self.several.iter().map(|(_, several)| several.counts.len()).sum();
        // A map's entries take about twice their size.
        let entries = (lists * size_of::<(u32, u32)>() + self.numbers.len() * size_of::<(Owner, u32)>()) * 2;
        self.known.memory() + self.several.memory() + entries
    }
}

const PAGE: usize = 256;
/// Entries of RFC 6056 algorithm 4's table; as many as Linux has since its ports could be tracked with fewer.
const PERTURB: usize = 1 << 16;
/// How many ports of one parity `connect` asks for before it asks for others.
const FEW: u32 = 64;
/// After how many ports that it asked for in vain a search begins to remember them.
const PATIENCE: u32 = 4;

/// A table of which only the pages that are used are there.
#[derive(Clone, Debug)]
struct Paged<T> {
    pages: Vec<Option<Box<[T]>>>,
}

impl<T: Clone + Default> Paged<T> {
    fn new(len: usize) -> Self {
        Self { pages: alloc::vec![None; len.div_ceil(PAGE)] }
    }

    fn get(&self, index: usize) -> Option<&T> {
        self.pages.get(index / PAGE)?.as_ref()?.get(index % PAGE)
    }

    /// The entry, made if need be. `index` lies within the table.
    fn entry(&mut self, index: usize) -> &mut T {
        let page = &mut self.pages[index / PAGE];
        &mut page.get_or_insert_with(|| alloc::vec![T::default(); PAGE].into_boxed_slice())[index % PAGE]
    }

    fn memory(&self) -> usize {
        let pages = self.pages.iter().flatten().count();
        self.pages.len() * size_of::<Option<Box<[T]>>>() + pages * PAGE * size_of::<T>()
    }
}

/// The ports of one protocol.
#[derive(Clone, Debug)]
pub(crate) struct PortTable {
    ports: Paged<Port>,
    owners: Owners,
    /// How far the search for a port went for each destination that hashes to the entry.
    perturb: Paged<u32>,
    rng: Rng,
    /// Random bits that nothing was chosen by yet, below the highest bit that is set.
    noise: u64,
    /// `connect` takes ports of its own, of one parity first.
    connects: bool,
    /// Where a search asked for many ports in vain.
    taken: Taken,
    /// What [`bind_any`](Self::bind_any) last found no port for.
    full: Option<Full>,
}

/// For whom there is no port, until an owner leaves one.
#[derive(Clone, Debug)]
struct Full {
    range: RangeInclusive<u16>,
    owner: Owner,
    left: u64,
}

impl PortTable {
    /// All ports free. `rng` decides where searches begin.
    pub(crate) fn new(rng: Rng) -> Self {
        let (ports, perturb) = (Paged::new(1 << 16), Paged::new(PERTURB));
        Self {
            ports,
            owners: Owners::default(),
            perturb,
            rng,
            noise: 1,
            connects: true,
            taken: Taken::default(),
            full: None,
        }
    }

    /// [`new`](Self::new) for a protocol of which all ports come from `bind`: none are left aside for `connect`.
    pub(crate) fn for_udp(rng: Rng) -> Self {
        Self { connects: false, ..Self::new(rng) }
    }

    /// Whether `bind` of `owner` to `port` fails with EADDRINUSE.
    pub(crate) fn conflicts(&self, port: u16, owner: &Owner) -> bool {
        self.any(port, |held| owner.conflicts_with(held))
    }

    /// Takes the port, conflict or not: accepted connections stand beside their listener.
    pub(crate) fn add(&mut self, port: u16, owner: Owner) {
        self.owners.add(self.ports.entry(usize::from(port)), owner);
    }

    /// Gives up what [`add`](Self::add) took.
    pub(crate) fn remove(&mut self, port: u16, owner: &Owner) {
        if self.ports.get(usize::from(port)).is_some() {
            self.owners.remove(self.ports.entry(usize::from(port)), owner);
        }
    }

    /// Turns an owner into a listener or back, which keeps the port either way.
    ///
    /// # Errors
    /// [`Error::AddrInUse`] where somebody else who listens stands in the way: as Linux's
    /// `inet_csk_listen_start` does, the port is checked again. Nothing is changed then.
    pub(crate) fn set_listening(&mut self, port: u16, owner: &Owner, on: bool) -> Result<Owner, Error> {
        let changed = Owner { listening: on, ..*owner };
        let Self { ports, owners, .. } = self;
        let entry = ports.entry(usize::from(port));
        if !owners.remove(entry, owner) {
            return Err(Error::InvalidArgument);
        }
        let refused = on && owners.any(entry, |held| changed.conflicts_with(held));
        owners.add(entry, if refused { *owner } else { changed });
        if refused { Err(Error::AddrInUse) } else { Ok(changed) }
    }

    /// A port for a `bind` to port 0: one on which nobody's address overlaps, whatever the reuse options say, or
    /// `None` where there is no such port (EADDRINUSE). Ports of the parity that `connect` leaves alone come first.
    ///
    /// A search in vain is not repeated before an owner has left a port.
    pub(crate) fn bind_any(&mut self, range: RangeInclusive<u16>, owner: &Owner, random: u64) -> Option<u16> {
        let left = self.owners.left;
        if self
            .full
            .as_ref()
            .is_some_and(|full| full.left == left && full.owner == *owner && full.range == range)
        {
            return None;
        }
        let port = self.bind_any_where(range.clone(), owner, random, &|_| true);
        if port.is_none() {
            self.full = Some(Full { range, owner: *owner, left });
        }
        port
    }

    /// [`bind_any`](Self::bind_any) among the ports that `also` agrees to.
    pub(crate) fn bind_any_where(
        &self,
        range: RangeInclusive<u16>,
        owner: &Owner,
        random: u64,
        also: &dyn Fn(u16) -> bool,
    ) -> Option<u16> {
        let (low, count) = span(&range)?;
        let start = crate::hash::scale(random as u32, count);
        let parity = if self.connects { 1 } else { (random >> 63) as u32 };
        scan(low, count, start, parity)
            .chain(scan(low, count, start, 1 - parity))
            .map(|(port, _)| port)
            .find(|&port| self.is_free(port, owner) && also(port))
    }

    /// Whether nobody's address overlaps on `port`, whatever the reuse options say.
    pub(crate) fn is_free(&self, port: u16, owner: &Owner) -> bool {
        !self.any(port, |held| owner.overlaps(held))
    }

    /// A local port for a `connect`: RFC 6056 algorithm 4 (double hash) as Linux has it.
    ///
    /// `hash` is a keyed hash of both addresses and the remote port, `usable` says whether the four-tuple with a
    /// given port is free; where it is not before some time it is asked again after it, or once [`freed`](Self::freed)
    /// says so. Ports that somebody bound explicitly are passed over. Consecutive calls for one
    /// destination walk the range from an offset of its own; `None` where all of it is taken (EADDRNOTAVAIL).
    pub(crate) fn choose(
        &mut self,
        range: RangeInclusive<u16>,
        now: Instant,
        ends: (IpAddr, SocketAddr),
        hash: u64,
        usable: &mut dyn FnMut(u16) -> Use,
    ) -> Option<u16> {
        let (low, count) = span(&range)?;
        let start = self.perturb.entry(hash as usize % PERTURB).wrapping_add((hash >> 32) as u32) % count;
        let mut known = self.taken.lend(now, ends, (low, count));
        let found = self.search((low, count, start), ends, &mut known, usable);
        if let Some(known) = known {
            self.taken.put_back(known);
        }
        let (port, passed) = found?;
        // Some noise, so that what one destination sees does not tell how many connections others got.
        let skip = passed.max(self.noise() * 2);
        let walked = self.perturb.entry(hash as usize % PERTURB);
        *walked = walked.wrapping_add(skip + 2);
        Some(port)
    }

    /// A random number below 8. A hash makes 21 of them.
    fn noise(&mut self) -> u32 {
        if self.noise < 8 {
            self.noise = self.rng.next_u64() | 1 << 63;
        }
        let bits = self.noise as u32 % 8;
        self.noise >>= 3;
        bits
    }

    /// The first port that will do, and how far that is from the start of the search. Who asks for many in vain begins to
    /// remember which.
    fn search(
        &mut self,
        (low, count, start): (u16, u32, u32),
        ends: (IpAddr, SocketAddr),
        known: &mut Option<Box<Destination>>,
        usable: &mut dyn FnMut(u16) -> Use,
    ) -> Option<(u16, u32)> {
        let mut in_vain = 0;
        // A few of each parity first: once one half is full for a destination, the walk through it is not
        // repeated for every connect.
        for (parity, from, to) in [(0, 0, FEW), (1, 0, FEW), (0, FEW, u32::MAX), (1, FEW, u32::MAX)] {
            let half = (count + 1 - parity) / 2;
            let mut step = from;
            while step < to.min(half) {
                // Where the range is odd it may start behind the last of the lesser half.
                let place = start / 2 + step;
                let place = if place >= half { place - half } else { place };
                let run = known.as_ref().map_or(0, |known| known.run(parity, place));
                if run > 0 {
                    step += run;
                    continue;
                }
                let port = low + (place * 2 + parity) as u16;
                if !self.is_explicit(port) {
                    let Use::NotBefore(until) = usable(port) else { return Some((port, step * 2)) };
                    in_vain += 1;
                    if in_vain == PATIENCE && known.is_none() {
                        *known = self.taken.begin(ends, (low, count));
                    }
                    if let Some(known) = known {
                        known.set(parity, place, until);
                    }
                }
                step += 1;
            }
        }
        None
    }

    /// A port that [`choose`](Self::choose) chose is taken.
    pub(crate) fn took(&mut self, tuple: &Tuple) {
        self.taken.took(tuple);
    }

    /// A four-tuple has become another's to have, or may become so.
    #[inline]
    pub(crate) fn freed(&mut self, tuple: &Tuple) {
        self.taken.freed(tuple);
    }

    /// What made ports unusable may have changed for all of them.
    pub(crate) fn forget_taken(&mut self) {
        self.taken.clear();
    }

    /// How many claims there are, on all ports together.
    pub(crate) fn owners(&self) -> usize {
        self.ports.pages.iter().flatten().flat_map(|page| page.iter()).map(|port| port.count as usize).sum()
    }

    /// Bytes that the table takes.
    pub(crate) fn memory(&self) -> usize {
        self.ports.memory() + self.perturb.memory() + self.owners.memory() + self.taken.memory()
    }

    /// Whether one of the port's owners passes the test.
    fn any(&self, port: u16, test: impl FnMut(&Owner) -> bool) -> bool {
        self.ports.get(usize::from(port)).is_some_and(|port| self.owners.any(port, test))
    }

    fn is_explicit(&self, port: u16) -> bool {
        self.ports.get(usize::from(port)).is_some_and(|port| port.count > 0 && self.owners.is_explicit(port))
    }
}

/// First port and length of a range.
fn span(range: &RangeInclusive<u16>) -> Option<(u16, u32)> {
    let (low, high) = (*range.start(), *range.end());
    (low <= high && high > 0).then(|| (low.max(1), u32::from(high - low.max(1)) + 1))
}

/// Every second port of a range, around from `start`, with how far each is from there: those at an even distance
/// from the range's first where `parity` is 0, the others where it is 1.
fn scan(low: u16, count: u32, start: u32, parity: u32) -> impl Iterator<Item = (u16, u32)> {
    let of_parity = (count + 1 - parity) / 2;
    (0..of_parity).map(move |step| {
        // Where the range is odd it may start behind the last of the lesser half.
        let place = start / 2 + step;
        let place = if place >= of_parity { place - of_parity } else { place };
        (low + (place * 2 + parity) as u16, step * 2)
    })
}
