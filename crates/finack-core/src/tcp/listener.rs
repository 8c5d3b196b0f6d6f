//! LISTEN: who listens where, and the queues behind it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::options::SocketOptions;
use crate::ports::Owner;
use crate::time::Instant;

/// A listening socket.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) local: SocketAddr,
    pub(crate) owner: Owner,
    pub(crate) generation: u32,
    pub(crate) options: Arc<SocketOptions>,
    /// Connections that may wait to be accepted; as on Linux one more fits.
    pub(crate) backlog: u32,
    /// Connections that wait to be accepted, by index and generation.
    pub(crate) ready: VecDeque<(u32, u32)>,
    /// Waits in the event queue of the stack.
    pub(crate) event_queued: bool,
    /// Embryos that are no cookies.
    pub(crate) embryos: u32,
    /// Embryos whose SYN,ACK is a cookie, oldest first: they may be forgotten.
    pub(crate) cookies: VecDeque<(u32, u32)>,
    /// When the last cookie went out: long after it no ACK can be the answer to one.
    pub(crate) cookie_at: Option<Instant>,
    /// Connections by fast open whose handshake may not be over.
    pub(crate) early: VecDeque<(u32, u32)>,
    /// TCP_FASTOPEN_KEY: the key in use and one that is still accepted; none takes the stack's.
    pub(crate) fast_open_keys: Option<crate::settings::FastOpenKeys>,
    /// Openings that wait for a decision, where the listener takes every address.
    pub(crate) undecided: Option<VecDeque<(u32, u32)>>,
}

impl Listener {
    /// No more connections can be taken until some are accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() > self.backlog as usize
    }

    fn covers(&self, local: IpAddr) -> bool {
        match self.local.ip() {
            IpAddr::V4(a) => local.is_ipv4() && (a.is_unspecified() || IpAddr::V4(a) == local),
            IpAddr::V6(a) if a.is_unspecified() => local.is_ipv6() || !self.owner.v6_only,
            IpAddr::V6(a) => IpAddr::V6(a) == local,
        }
    }

    /// How exactly its address names `local`.
    fn score(&self, local: IpAddr) -> u8 {
        if self.local.ip() == local { 2 } else { u8::from(self.local.ip().is_ipv4() == local.is_ipv4()) }
    }
}

/// Listeners by port.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerIndex {
    by_port: BTreeMap<u16, Vec<u32>>,
    everywhere: Option<u32>,
}

impl ListenerIndex {
    pub(crate) fn insert(&mut self, port: u16, index: u32) {
        self.by_port.entry(port).or_default().push(index);
    }

    pub(crate) fn remove(&mut self, port: u16, index: u32) {
        if let Some(list) = self.by_port.get_mut(&port) {
            list.retain(|&i| i != index);
            if list.is_empty() {
                self.by_port.remove(&port);
            }
        }
    }

    /// The listener that takes what no other does.
    pub(crate) const fn everywhere(&self) -> Option<u32> {
        self.everywhere
    }

    pub(crate) const fn set_everywhere(&mut self, listener: Option<u32>) {
        self.everywhere = listener;
    }

    /// The listener whose address fits `local` best; among equals of a SO_REUSEPORT group the hash decides.
    pub(crate) fn find<'a>(
        &self,
        local: IpAddr,
        port: u16,
        hash: u64,
        listener: impl Fn(u32) -> Option<&'a Listener>,
    ) -> Option<u32> {
        self.find_bound(local, port, hash, listener).or(self.everywhere)
    }

    fn find_bound<'a>(
        &self,
        local: IpAddr,
        port: u16,
        hash: u64,
        listener: impl Fn(u32) -> Option<&'a Listener>,
    ) -> Option<u32> {
        let candidates = self.by_port.get(&port)?;
        let fitting = || {
            candidates
                .iter()
                .filter_map(|&i| listener(i).filter(|l| l.covers(local)).map(|l| (l.score(local), i)))
        };
        let best = fitting().map(|(score, _)| score).max()?;
        let equals = || fitting().filter(|&(score, _)| score == best).map(|(_, i)| i);
        let count = equals().count();
        equals().nth((hash >> 32) as usize % count)
    }
}
