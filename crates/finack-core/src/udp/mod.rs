//! UDP (RFC 768, RFC 1122 4.1, RFC 8200 8.1), with the socket semantics of Linux.

mod cut;
mod gate;
mod recv;
mod report;
mod send;
mod table;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::Error;
use crate::hash::{Rng, Secrets};
use crate::ip::{Groups, OutQueue, Routes};
use crate::options::BindOptions;
use crate::ports::{Owner, PortTable};
use crate::settings::Settings;
use crate::slab::Slab;
use crate::stack::{Ready, UdpId, UdpSocketInfo};

pub(crate) use cut::cut;
pub use gate::Gate;
use gate::Gates;
use recv::Datagram;
pub(crate) use recv::{Arrival, Cast};
use report::Reports;
pub use report::UdpReport;
use table::{Key, Table};

/// Least receive and send buffers, as Linux has them.
const MIN_RECV_BUFFER: usize = 2304;
const MIN_SEND_BUFFER: usize = 4608;
const MAX_BUFFER: usize = 1 << 30;
/// Multicast groups that one socket may be in (Linux's `igmp_max_memberships`).
const MAX_GROUPS: usize = 20;

#[derive(Clone, Debug)]
struct Socket {
    generation: u32,
    /// Takes what no other socket does; it has neither address nor port.
    gate: Option<Gate>,
    /// Made for IPv6: shows IPv4 peers as mapped addresses.
    is_v6: bool,
    options: BindOptions,
    /// As bound.
    bound: IpAddr,
    /// The same, or the address that `connect` chose.
    local: IpAddr,
    port: u16,
    remote: Option<SocketAddr>,
    broadcast: bool,
    tos: u8,
    hop_limit: Option<u8>,
    multicast_hop_limit: Option<u8>,
    groups: Vec<IpAddr>,
    queue: VecDeque<Datagram>,
    /// What `queue` counts against `recv_buffer`.
    queued: usize,
    recv_buffer: usize,
    send_buffer: usize,
    /// Bytes of packets that wait for the device.
    unsent: usize,
    /// A send was refused for want of room, and no event has told yet that there is some again.
    blocked: bool,
    /// It is among those that wait for room in the queue of outgoing packets.
    waiting: bool,
    error: Option<Error>,
    /// Every ICMP error, for who asks for them.
    reports: Option<Box<Reports>>,
    drops: u64,
    /// What became ready since the last event; not empty while the socket is in the queue of events.
    news: Ready,
}

impl Socket {
    fn owner(&self) -> Owner {
        Owner {
            addr: self.bound,
            reuse_addr: self.options.reuse_addr,
            reuse_port: self.options.reuse_port,
            listening: false,
            v6_only: self.options.v6_only,
            explicit: true,
        }
    }

    fn key(&self) -> Key {
        let dual =
            self.is_v6 && self.remote.is_none() && self.local.is_unspecified() && !self.options.v6_only;
        Key { local: self.local, port: self.port, remote: self.remote, dual }
    }

    /// An address as this socket's family shows it.
    fn shown(&self, addr: SocketAddr) -> SocketAddr {
        match addr.ip() {
            IpAddr::V4(v4) if self.is_v6 => SocketAddr::new(IpAddr::V6(v4.to_ipv6_mapped()), addr.port()),
            _ => addr,
        }
    }

    fn has_send_room(&self) -> bool {
        self.unsent < self.send_buffer
    }

    fn ready(&self, out: &OutQueue) -> Ready {
        let mut ready = Ready::default();
        if self.error.is_some() {
            ready |= Ready::ERROR | Ready::READABLE | Ready::WRITABLE;
        }
        if self.reports.as_ref().is_some_and(|r| !r.is_empty()) {
            ready |= Ready::ERROR;
        }
        if !self.queue.is_empty() {
            ready |= Ready::READABLE;
        }
        if self.has_send_room() && out.has_room(1, 0) {
            ready |= Ready::WRITABLE;
        }
        ready
    }
}

/// All UDP sockets.
#[derive(Clone, Debug)]
pub(crate) struct Udp {
    sockets: Slab<Socket>,
    table: Table,
    ports: PortTable,
    rng: Rng,
    gates: Gates,
    next_generation: u32,
    events: VecDeque<UdpId>,
    /// Sockets that wait for room in the queue of outgoing packets.
    waiting: Vec<UdpId>,
    /// What all receive queues count.
    queued: usize,
}

impl Udp {
    pub(crate) fn new(secrets: &Secrets) -> Self {
        Self {
            sockets: Slab::default(),
            table: Table::new(secrets.udp),
            ports: PortTable::for_udp(Rng::new(secrets.udp)),
            rng: Rng::new(secrets.udp_ports),
            gates: Gates::default(),
            next_generation: 0,
            events: VecDeque::new(),
            waiting: Vec::new(),
            queued: 0,
        }
    }

    /// Makes a socket. Port 0 takes one of the local port range.
    pub(crate) fn bind(
        &mut self,
        routes: &Routes,
        settings: &Settings,
        local: SocketAddr,
        options: BindOptions,
    ) -> Result<UdpId, Error> {
        let addr = local.ip().to_canonical();
        if !(routes.is_bindable(addr) || routes.is_broadcast(addr) || addr.is_multicast()) {
            return Err(Error::AddrNotAvailable);
        }
        let mut socket = self.new_socket(settings, local, options)?;
        let owner = socket.owner();
        if socket.port == 0 {
            let range = settings.ip_local_port_min as u16..=settings.ip_local_port_max as u16;
            let random = self.rng.next_u64();
            socket.port = self.ports.bind_any(range, &owner, random).ok_or(Error::AddrInUse)?;
        } else if self.ports.conflicts(socket.port, &owner) {
            return Err(Error::AddrInUse);
        }
        self.ports.add(socket.port, owner);
        let (key, generation) = (socket.key(), socket.generation);
        let index = self.sockets.insert(socket);
        self.table.insert(key, index, options.reuse_port);
        Ok(UdpId { index, generation })
    }

    /// A socket that no table knows yet.
    fn new_socket(
        &mut self,
        settings: &Settings,
        local: SocketAddr,
        options: BindOptions,
    ) -> Result<Socket, Error> {
        if self.sockets.len() as u64 >= settings.max_connections {
            return Err(Error::NoBufferSpace);
        }
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let addr = local.ip().to_canonical();
        Ok(Socket {
            generation,
            gate: None,
            is_v6: local.is_ipv6(),
            options,
            bound: addr,
            local: addr,
            port: local.port(),
            remote: None,
            broadcast: false,
            tos: 0,
            hop_limit: None,
            multicast_hop_limit: None,
            groups: Vec::new(),
            queue: VecDeque::new(),
            queued: 0,
            recv_buffer: settings.rmem_default as usize,
            send_buffer: settings.wmem_default as usize,
            unsent: 0,
            blocked: false,
            waiting: false,
            error: None,
            reports: None,
            drops: 0,
            news: Ready::default(),
        })
    }

    /// Sets the other end, or none. What was received before stays.
    pub(crate) fn connect(
        &mut self,
        routes: &Routes,
        id: UdpId,
        remote: Option<SocketAddr>,
    ) -> Result<(), Error> {
        let socket = self.get(id)?;
        if socket.gate.is_some() {
            return Err(Error::InvalidArgument);
        }
        let (local, remote) = match remote {
            None => (socket.bound, None),
            Some(remote) => {
                let remote = socket.destination(remote)?;
                let remote =
                    SocketAddr::new(routes.destination(remote.ip(), Some(socket.bound)), remote.port());
                if routes.is_broadcast(remote.ip()) && !socket.broadcast {
                    return Err(Error::AccessDenied);
                }
                routes.lookup(remote.ip()).ok_or(Error::NetworkUnreachable)?;
                let source = socket.source(routes, socket.bound, remote.ip())?;
                (source, Some(remote))
            }
        };
        let (old, reuse_port) = (socket.key(), socket.options.reuse_port);
        let socket = self.get_mut(id)?;
        socket.local = local;
        socket.remote = remote;
        let new = socket.key();
        self.table.remove(&old, id.index, reuse_port);
        self.table.insert(new, id.index, reuse_port);
        Ok(())
    }

    /// Frees the socket, its port and what it received.
    pub(crate) fn close(&mut self, groups: &mut Groups, id: UdpId) -> Result<(), Error> {
        self.get(id)?;
        let socket = self.sockets.remove(id.index).ok_or(Error::BadHandle)?;
        self.queued -= socket.queued;
        if let Some(gate) = socket.gate {
            self.gates.set(gate, None);
            return Ok(());
        }
        self.table.remove(&socket.key(), id.index, socket.options.reuse_port);
        self.ports.remove(socket.port, &socket.owner());
        for group in socket.groups {
            groups.leave(group);
        }
        Ok(())
    }

    pub(crate) fn ready(&self, id: UdpId, out: &OutQueue) -> Result<Ready, Error> {
        Ok(self.get(id)?.ready(out))
    }

    pub(crate) fn local_addr(&self, id: UdpId) -> Result<SocketAddr, Error> {
        let socket = self.get(id)?;
        Ok(socket.shown(SocketAddr::new(socket.local, socket.port)))
    }

    pub(crate) fn remote_addr(&self, id: UdpId) -> Result<Option<SocketAddr>, Error> {
        let socket = self.get(id)?;
        Ok(socket.remote.map(|r| socket.shown(r)))
    }

    pub(crate) fn take_error(&mut self, id: UdpId) -> Result<Option<Error>, Error> {
        Ok(self.get_mut(id)?.error.take())
    }

    pub(crate) fn set_broadcast(&mut self, id: UdpId, on: bool) -> Result<(), Error> {
        self.get_mut(id)?.broadcast = on;
        Ok(())
    }

    /// TOS or traffic class of what is sent, ECN bits included.
    pub(crate) fn set_tos(&mut self, id: UdpId, tos: u8) -> Result<(), Error> {
        self.get_mut(id)?.tos = tos;
        Ok(())
    }

    /// `None` is the default: `ip_default_ttl`, and 1 for multicast (RFC 1112 6.1).
    pub(crate) fn set_hop_limit(
        &mut self,
        id: UdpId,
        unicast: Option<u8>,
        multicast: Option<u8>,
    ) -> Result<(), Error> {
        let socket = self.get_mut(id)?;
        if unicast == Some(0) {
            return Err(Error::InvalidArgument);
        }
        socket.hop_limit = unicast;
        socket.multicast_hop_limit = multicast;
        Ok(())
    }

    /// `None` leaves a buffer as it is; what is below Linux's least sizes is raised to them.
    pub(crate) fn set_buffers(
        &mut self,
        id: UdpId,
        recv: Option<usize>,
        send: Option<usize>,
    ) -> Result<(), Error> {
        let socket = self.get_mut(id)?;
        if let Some(recv) = recv {
            socket.recv_buffer = recv.clamp(MIN_RECV_BUFFER, MAX_BUFFER);
        }
        if let Some(send) = send {
            socket.send_buffer = send.clamp(MIN_SEND_BUFFER, MAX_BUFFER);
        }
        Ok(())
    }

    pub(crate) fn drops(&self, id: UdpId) -> Result<u64, Error> {
        Ok(self.get(id)?.drops)
    }

    /// Joins a multicast group; a second time is an error as on Linux.
    pub(crate) fn join(&mut self, groups: &mut Groups, id: UdpId, group: IpAddr) -> Result<(), Error> {
        let group = group.to_canonical();
        let socket = self.get_mut(id)?;
        if socket.groups.contains(&group) {
            return Err(Error::AddrInUse);
        }
        if socket.groups.len() >= MAX_GROUPS {
            return Err(Error::NoBufferSpace);
        }
        groups.join(group)?;
        socket.groups.push(group);
        Ok(())
    }

    pub(crate) fn leave(&mut self, groups: &mut Groups, id: UdpId, group: IpAddr) -> Result<(), Error> {
        let group = group.to_canonical();
        let socket = self.get_mut(id)?;
        let position = socket.groups.iter().position(|g| *g == group).ok_or(Error::AddrNotAvailable)?;
        socket.groups.swap_remove(position);
        groups.leave(group);
        Ok(())
    }

    /// Whether a socket may have become ready for something.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next socket that became ready for something.
    pub(crate) fn poll_event(&mut self) -> Option<(UdpId, Ready)> {
        while let Some(id) = self.events.pop_front() {
            if let Ok(socket) = self.get_mut(id) {
                return Some((id, core::mem::take(&mut socket.news)));
            }
        }
        None
    }

    /// Places of the table of sockets, free ones included.
    pub(crate) fn places(&self) -> u32 {
        self.sockets.places()
    }

    /// What a list says of the socket at a place.
    pub(crate) fn info(&self, index: u32) -> Option<UdpSocketInfo> {
        let socket = self.sockets.get(index)?;
        Some(UdpSocketInfo {
            local: socket.shown(SocketAddr::new(socket.local, socket.port)),
            remote: socket.remote.map(|remote| socket.shown(remote)),
            recv_queue: socket.queued as u64,
            send_queue: socket.unsent as u64,
            drops: socket.drops,
        })
    }

    /// Bytes that sockets and their queues take.
    pub(crate) fn memory(&self) -> usize {
        self.sockets.memory() + self.table.memory() + self.ports.memory() + self.queued
    }

    fn notify(&mut self, index: u32, ready: Ready) {
        let Some(socket) = self.sockets.get_mut(index) else { return };
        if socket.news.is_empty() {
            self.events.push_back(UdpId { index, generation: socket.generation });
        }
        socket.news |= ready;
        if self.events.len() > 2 * self.sockets.len() + 64 {
            // Of sockets that were closed with news that nobody asked for.
            let Self { events, sockets, .. } = self;
            events.retain(|id| sockets.get(id.index).is_some_and(|s| s.generation == id.generation));
        }
    }

    fn get(&self, id: UdpId) -> Result<&Socket, Error> {
        self.sockets.get(id.index).filter(|s| s.generation == id.generation).ok_or(Error::BadHandle)
    }

    fn get_mut(&mut self, id: UdpId) -> Result<&mut Socket, Error> {
        self.sockets.get_mut(id.index).filter(|s| s.generation == id.generation).ok_or(Error::BadHandle)
    }
}
