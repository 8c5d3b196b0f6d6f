//! Which socket a datagram is for, in O(1) however many there are.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::demux::{Demux, Kind, Slot};
use crate::hash::{self, scale};
use crate::slab::Slab;
use crate::tcp::Tuple;

/// What a socket takes: everything for an address (or any address) and port, or what one peer sends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Unspecified for any address of the family.
    pub(super) local: IpAddr,
    pub(super) port: u16,
    /// Of a connected socket.
    pub(super) remote: Option<SocketAddr>,
    /// `::` that takes IPv4 too.
    pub(super) dual: bool,
}

/// Sockets that take the same, oldest first.
#[derive(Clone, Debug)]
struct Group {
    key: Key,
    members: Vec<u32>,
    /// How many of them set SO_REUSEPORT.
    sharing: usize,
}

/// The index of sockets by what they take.
#[derive(Clone, Debug)]
pub(super) struct Table {
    index: Demux,
    groups: Slab<Group>,
    secret: hash::Key,
}

impl Table {
    pub(super) fn new(secret: hash::Key) -> Self {
        Self { index: Demux::new(), groups: Slab::default(), secret }
    }

    pub(super) fn insert(&mut self, key: Key, socket: u32, reuse_port: bool) {
        let slot = match self.find(&key) {
            Some(slot) => slot,
            None => {
                let index = self.groups.insert(Group { key, members: Vec::new(), sharing: 0 });
                let slot = Slot::new(Kind::Connection, index);
                let Self { index, groups, secret } = self;
                let hash = |slot: Slot| groups.get(slot.index()).map_or(0, |g| hash(secret, &g.key));
                index.insert(hash(slot), slot, hash);
                slot
            }
        };
        if let Some(group) = self.groups.get_mut(slot.index()) {
            group.members.push(socket);
            group.sharing += usize::from(reuse_port);
        }
    }

    pub(super) fn remove(&mut self, key: &Key, socket: u32, reuse_port: bool) {
        let Some(slot) = self.find(key) else { return };
        let Some(group) = self.groups.get_mut(slot.index()) else { return };
        let Some(position) = group.members.iter().position(|&m| m == socket) else { return };
        group.members.remove(position);
        group.sharing -= usize::from(reuse_port);
        if group.members.is_empty() {
            self.index.remove(hash(&self.secret, key), slot);
            self.groups.remove(slot.index());
        }
    }

    /// The one socket that a datagram to a unicast address is for: one connected to its sender, else one bound to
    /// its destination, else one bound to no address (Linux's scores, `compute_score`).
    pub(super) fn unicast(&self, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let connected = Key { local: local.ip(), port: local.port(), remote: Some(remote), dual: false };
        let group = self.group(&connected).or_else(|| bound(local).iter().find_map(|key| self.group(key)))?;
        self.pick(group, local, remote)
    }

    /// The sockets connected as given.
    pub(super) fn connected(&self, local: SocketAddr, remote: SocketAddr) -> &[u32] {
        let key = Key { local: local.ip(), port: local.port(), remote: Some(remote), dual: false };
        self.group(&key).map_or(&[], |g| &g.members)
    }

    /// All sockets that a multicast or broadcast datagram is for.
    pub(super) fn everyone(&self, local: SocketAddr) -> impl Iterator<Item = u32> {
        bound(local).into_iter().filter_map(|key| self.group(&key)).flat_map(|g| g.members.iter().copied())
    }

    pub(super) fn memory(&self) -> usize {
        self.index.memory() + self.groups.memory()
    }

    /// Of sockets that take the same, all with SO_REUSEPORT share by a keyed hash of both ends; otherwise the one that
    /// was bound last has it, as on Linux.
    fn pick(&self, group: &Group, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let count = group.members.len();
        if count > 1 && group.sharing == count {
            let hash = self.secret.four_tuple(&Tuple::new(remote, local));
            return group.members.get(scale(hash as u32, count as u32) as usize).copied();
        }
        group.members.last().copied()
    }

    fn group(&self, key: &Key) -> Option<&Group> {
        self.find(key).and_then(|slot| self.groups.get(slot.index()))
    }

    fn find(&self, key: &Key) -> Option<Slot> {
        self.index.find(hash(&self.secret, key), |slot| {
            self.groups.get(slot.index()).is_some_and(|g| g.key == *key)
        })
    }
}

fn hash(secret: &hash::Key, key: &Key) -> u64 {
    let local = SocketAddr::new(key.local, key.port);
    let digest = secret.table().socket(local).u64(u64::from(key.dual));
    key.remote.map_or_else(|| digest.clone(), |remote| digest.clone().socket(remote)).finish()
}

/// What sockets that are not connected may take a datagram to `local`, best first.
fn bound(local: SocketAddr) -> [Key; 3] {
    let key = |addr, dual| Key { local: addr, port: local.port(), remote: None, dual };
    let any_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let family = if local.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { any_v6 };
    [key(local.ip(), false), key(family, false), key(any_v6, true)]
}
