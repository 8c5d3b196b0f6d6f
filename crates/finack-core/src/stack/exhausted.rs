//! Destinations that all ports are taken to: what is known of them, so that a `connect` for which there is none fails
//! at once, and one that finds the only port that was given up finds it at once.
//!
//! A client that opens faster than its connections leave TIME-WAIT comes to this: each of its attempts would look
//! at all ports.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::tcp::Tuple;
use crate::time::Instant;

/// Destinations that are remembered; the one found first gives way.
const MOST: usize = 16;
/// Ports given up that are remembered of each. Where there are more, the next search looks at all ports again.
const MOST_FREED: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Exhausted {
    found: Vec<Destination>,
}

#[derive(Clone, Debug)]
struct Destination {
    local: IpAddr,
    remote: SocketAddr,
    /// Nothing else can be had before then.
    until: Instant,
    /// Ports that somebody had and has given up since.
    freed: Vec<u16>,
}

impl Destination {
    fn is(&self, local: IpAddr, remote: SocketAddr) -> bool {
        self.local == local && self.remote == remote
    }
}

impl Exhausted {
    /// The only ports from `local` to `remote` that may be free. `None`: any may be.
    pub(super) fn left(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Option<&[u16]> {
        if self.found.is_empty() {
            return None;
        }
        self.found.retain(|destination| destination.until > now);
        self.found.iter().find(|destination| destination.is(local, remote)).map(|d| &d.freed[..])
    }

    /// A search looked at all ports in vain; none of them will do before `until`, unless it is [freed](Self::freed).
    pub(super) fn note(&mut self, local: IpAddr, remote: SocketAddr, until: Instant) {
        self.found.retain(|destination| !destination.is(local, remote));
        if self.found.len() == MOST {
            self.found.remove(0);
        }
        self.found.push(Destination { local, remote, until, freed: Vec::new() });
    }

    /// A four-tuple has become another's to have, or may become so.
    #[inline]
    pub(super) fn freed(&mut self, tuple: &Tuple) {
        if !self.found.is_empty() {
            self.note_freed(tuple);
        }
    }

    fn note_freed(&mut self, tuple: &Tuple) {
        let (local, remote) = (tuple.local, tuple.remote_addr());
        let Some(at) = self.found.iter().position(|destination| destination.is(local, remote)) else {
            return;
        };
        let freed = &mut self.found[at].freed;
        if freed.contains(&tuple.local_port) {
            return;
        }
        if freed.len() == MOST_FREED {
            self.found.remove(at);
        } else {
            freed.push(tuple.local_port);
        }
    }

    /// A four-tuple has found somebody.
    pub(super) fn taken(&mut self, tuple: &Tuple) {
        let (local, remote) = (tuple.local, tuple.remote_addr());
        for destination in self.found.iter_mut().filter(|destination| destination.is(local, remote)) {
            destination.freed.retain(|&port| port != tuple.local_port);
        }
    }

    /// Something changed that ports are chosen by.
    pub(super) fn clear(&mut self) {
        self.found.clear();
    }

    pub(super) fn memory(&self) -> usize {
        let freed: usize = self.found.iter().map(|destination| destination.freed.capacity() * 2).sum();
        self.found.capacity() * size_of::<Destination>() + freed
    }
}

#[cfg(test)]
mod tests;
