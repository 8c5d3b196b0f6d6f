//! Which ports are taken to a destination to which many are: so that a search passes them over without asking for each.
//!
//! A client that opens faster than its connections leave TIME-WAIT comes to this: most ports that it would try are not to be
//! had, and where none is, each attempt would ask for all of them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::tcp::Tuple;
use crate::time::Instant;

/// Places for destinations. Of two that share one the later has none: its searches ask for each port, as all do at first.
const PLACES: usize = 4096;
/// Destinations that are remembered at most: with all 65,535 ports each takes 8 KiB.
const MOST: usize = 1024;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    /// None, or all of the places.
    places: Vec<Option<Box<Destination>>>,
    /// How many are taken.
    count: usize,
}

/// What is known of one destination.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    local: IpAddr,
    remote: SocketAddr,
    /// First port and length of the range that was searched.
    span: (u16, u32),
    /// A bit for each port of either parity: it is taken, until somebody says that it is not.
    halves: [Box<[u64]>; 2],
    /// How many are set.
    set: u32,
    /// The first time at which one of them may be had although nobody says so.
    until: Instant,
}

impl Destination {
    /// How many ports in a row, from `place` in the half of this parity on, are taken.
    pub(super) fn run(&self, parity: u32, place: u32) -> u32 {
        let words = &self.halves[parity as usize];
        let (mut run, mut at) = (0, place);
        while let Some(word) = words.get(at as usize / 64) {
            let left = 64 - at % 64;
            let ones = (word >> (at % 64)).trailing_ones().min(left);
            run += ones;
            at += ones;
            if ones < left {
                break;
            }
        }
        run
    }

    /// A port is taken, until `until` at least.
    pub(super) fn set(&mut self, parity: u32, place: u32, until: Instant) {
        let Some(word) = self.halves[parity as usize].get_mut(place as usize / 64) else { return };
        self.set += u32::from(*word >> (place % 64) & 1 == 0);
        *word |= 1 << (place % 64);
        self.until = self.until.min(until);
    }

    fn clear(&mut self, port: u16) {
        let Some((parity, place)) = self.position(port) else { return };
        let word = &mut self.halves[parity as usize][place as usize / 64];
        self.set -= u32::from(*word >> (place % 64) & 1 == 1);
        *word &= !(1 << (place % 64));
    }

    fn position(&self, port: u16) -> Option<(u32, u32)> {
        let offset = u32::from(port.checked_sub(self.span.0)?);
        (offset < self.span.1).then_some((offset % 2, offset / 2))
    }

    fn is(&self, local: IpAddr, remote: SocketAddr) -> bool {
        self.remote == remote && self.local == local
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.halves.iter().map(|half| half.len() * 8).sum::<usize>()
    }
}

/// The place of a destination. Whoever chooses destinations so that they share one gains nothing by it.
fn place_of(local: IpAddr, remote: SocketAddr) -> usize {
    let word = |addr: IpAddr| match addr {
        IpAddr::V4(a) => u64::from(a.to_bits()),
        IpAddr::V6(a) => (a.to_bits() >> 64) as u64 ^ (a.to_bits() as u64).rotate_left(29),
    };
    let mixed = word(remote.ip()) ^ word(local).rotate_left(23) ^ u64::from(remote.port()).rotate_left(48);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % PLACES
}

impl Taken {
    /// What is known of a destination is lent out for a search, if it is of this range; [`put_back`](Self::put_back) gives it
    /// back.
    pub(super) fn lend(
        &mut self,
        now: Instant,
        (local, remote): (IpAddr, SocketAddr),
        span: (u16, u32),
    ) -> Option<Box<Destination>> {
        if self.count == 0 {
            return None;
        }
        let place = &mut self.places[place_of(local, remote)];
        let destination = place.take_if(|destination| destination.is(local, remote))?;
        self.count -= 1;
        (destination.span == span && destination.until > now).then_some(destination)
    }

    /// What will be known of a destination, where there is room for it.
    pub(super) fn begin(
        &mut self,
        (local, remote): (IpAddr, SocketAddr),
        span: (u16, u32),
    ) -> Option<Box<Destination>> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        if self.count >= MOST || self.places[place_of(local, remote)].is_some() {
            return None;
        }
        let half = || alloc::vec![0; (span.1 as usize / 2 + 1).div_ceil(64)].into_boxed_slice();
        let (halves, until) = ([half(), half()], Instant::FAR_FUTURE);
        Some(Box::new(Destination { local, remote, span, halves, set: 0, until }))
    }

    pub(super) fn put_back(&mut self, destination: Box<Destination>) {
        let place = &mut self.places[place_of(destination.local, destination.remote)];
        if place.is_none() && destination.set > 0 {
            *place = Some(destination);
            self.count += 1;
        }
    }

    /// A port was chosen, and is taken from now on.
    #[inline]
    pub(super) fn took(&mut self, tuple: &Tuple) {
        if self.count > 0
            && let Some(destination) = self.of(tuple)
            && let Some((parity, place)) = destination.position(tuple.local_port)
        {
            destination.set(parity, place, Instant::FAR_FUTURE);
        }
    }

    /// A port is not taken any more, or need not be.
    #[inline]
    pub(super) fn freed(&mut self, tuple: &Tuple) {
        if self.count == 0 {
            return;
        }
        if let Some(destination) = self.of(tuple) {
            destination.clear(tuple.local_port);
            if destination.set == 0 {
                self.places[place_of(tuple.local, tuple.remote_addr())] = None;
                self.count -= 1;
            }
        }
    }

    fn of(&mut self, tuple: &Tuple) -> Option<&mut Destination> {
        let (local, remote) = (tuple.local, tuple.remote_addr());
        let destination = self.places[place_of(local, remote)].as_deref_mut()?;
        destination.is(local, remote).then_some(destination)
    }

    /// Something changed that ports are chosen by.
    pub(super) fn clear(&mut self) {
        if self.count > 0 {
            *self = Self::default();
        }
    }

    pub(super) fn memory(&self) -> usize {
        let known: usize = self.places.iter().flatten().map(|destination| destination.memory()).sum();
        self.places.capacity() * size_of::<Option<Box<Destination>>>() + known
    }
}
