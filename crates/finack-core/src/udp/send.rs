//! Sending datagrams.

use core::net::{IpAddr, SocketAddr};

use finack_wire::ip::IpEmit;
use finack_wire::{protocol, udp};

use super::{Arrival, Cast, Socket, Udp};
use crate::Error;
use crate::ip::{Ip, OutputError, Routes};
use crate::settings::Settings;
use crate::stack::{Ready, UdpId};
use crate::time::Instant;

/// Most data in a datagram: what is left of 65535 bytes by the headers.
const MAX_V4: usize = 65_535 - 20 - udp::HEADER_LEN;
const MAX_V6: usize = 65_535 - udp::HEADER_LEN;

/// Whether a datagram can be that long.
pub(super) fn fits(dst: IpAddr, data: &[u8]) -> Result<(), Error> {
    let most = if dst.is_ipv4() { MAX_V4 } else { MAX_V6 };
    if data.len() > most { Err(Error::MessageTooLong) } else { Ok(()) }
}

impl Socket {
    /// Checks an address to send to against the socket's family, and takes its mapping off.
    pub(super) fn destination(&self, to: SocketAddr) -> Result<SocketAddr, Error> {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        if !self.is_v6 && to.is_ipv6() {
            return Err(Error::AddressFamily);
        }
        let wildcard = self.bound.is_unspecified();
        let other_family = self.bound.is_ipv4() != to.is_ipv4();
        if self.is_v6 && other_family && (!wildcard || self.options.v6_only || self.bound.is_ipv4()) {
            return Err(Error::NetworkUnreachable);
        }
        Ok(to)
    }

    /// The source address for `dst`: `local`, or the host's choice where that is unspecified or a group.
    pub(super) fn source(&self, routes: &Routes, local: IpAddr, dst: IpAddr) -> Result<IpAddr, Error> {
        let usable = !local.is_unspecified() && !local.is_multicast() && !routes.is_broadcast(local);
        if usable && local.is_ipv4() == dst.is_ipv4() {
            return Ok(local);
        }
        routes.source_for(dst).ok_or(Error::AddrNotAvailable)
    }
}

impl Udp {
    /// Both ends of what would be sent; `None` where it can't be.
    pub(crate) fn flow(
        &self,
        routes: &Routes,
        id: UdpId,
        to: Option<SocketAddr>,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let socket = self.get(id).ok()?;
        let to = match to {
            Some(to) => {
                let to = socket.destination(to).ok()?;
                SocketAddr::new(routes.destination(to.ip(), Some(socket.local)), to.port())
            }
            None => socket.remote?,
        };
        let source = socket.source(routes, socket.local, to.ip()).ok()?;
        Some((SocketAddr::new(source, socket.port), to))
    }

    /// Sends one datagram, to the other end that `connect` set where `to` is `None`. It is queued whole or not at all.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        settings: &Settings,
        id: UdpId,
        to: Option<SocketAddr>,
        data: &[u8],
    ) -> Result<usize, Error> {
        let socket = self.get_mut(id)?;
        if socket.gate.is_some() {
            return Err(Error::InvalidArgument);
        }
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let to = match to {
            Some(to) => {
                let to = socket.destination(to)?;
                SocketAddr::new(ip.routes.destination(to.ip(), Some(socket.local)), to.port())
            }
            None => socket.remote.ok_or(Error::DestinationRequired)?,
        };
        if to.port() == 0 || to.ip().is_unspecified() {
            return Err(Error::InvalidArgument);
        }
        fits(to.ip(), data)?;
        if ip.routes.is_broadcast(to.ip()) && !socket.broadcast {
            return Err(Error::AccessDenied);
        }
        let src = socket.source(&ip.routes, socket.local, to.ip())?;
        let header = socket.header(settings, src, to.ip(), data.len());
        let port = socket.port;
        let pseudo = header.pseudo_header_sum();
        self.queue(now, ip, id, header, |out| {
            udp::emit(out, port, to.port(), data.len());
            out[udp::HEADER_LEN..].copy_from_slice(data);
            let checksum = udp::checksum(pseudo, out);
            udp::set_checksum(out, checksum);
        })?;
        if to.ip().is_multicast() && ip.groups.is_member(to.ip()) {
            // RFC 1112 6.1: members on the sending host get it too.
            let arrival = Arrival {
                from: SocketAddr::new(src, port),
                to,
                tos: header.tos,
                hop_limit: header.hop_limit,
                dont_fragment: header.dont_fragment,
                cast: Cast::Many,
                ours: true,
            };
            self.deliver(&arrival, bytes::Bytes::copy_from_slice(data));
        }
        Ok(data.len())
    }

    /// Queues a packet whose payload `write` writes, against the socket's send buffer.
    pub(super) fn queue(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        id: UdpId,
        header: IpEmit,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        let socket = self.get_mut(id)?;
        if !socket.has_send_room() {
            socket.blocked = true;
            return Err(Error::WouldBlock);
        }
        match ip.send(now, header, Some(id), write) {
            Err(OutputError::NoRoute) => Err(Error::NetworkUnreachable),
            Err(OutputError::Full) => {
                socket.blocked = true;
                self.wait(id);
                Err(Error::WouldBlock)
            }
            Ok(bytes) => {
                socket.unsent += bytes;
                Ok(())
            }
        }
    }

    /// Takes in that the device took `len` bytes of packets of `owner` (if that is a socket of ours).
    pub(crate) fn sent(&mut self, ip: &Ip, owner: Option<UdpId>, len: usize) {
        if let Some(id) = owner
            && let Ok(socket) = self.get_mut(id)
        {
            socket.unsent = socket.unsent.saturating_sub(len);
            self.unblock(ip, id);
        }
        if !self.waiting.is_empty() && ip.out.is_half_free() {
            for id in core::mem::take(&mut self.waiting) {
                if let Ok(socket) = self.get_mut(id) {
                    socket.waiting = false;
                }
                self.unblock(ip, id);
            }
        }
    }

    /// Tells a socket that it can send again, once half of its buffer and of the queue is free.
    fn unblock(&mut self, ip: &Ip, id: UdpId) {
        let Ok(socket) = self.get_mut(id) else { return };
        if !socket.blocked || socket.unsent > socket.send_buffer / 2 {
            return;
        }
        if ip.out.is_half_free() {
            socket.blocked = false;
            self.notify(id.index, Ready::WRITABLE);
        } else {
            self.wait(id);
        }
    }

    fn wait(&mut self, id: UdpId) {
        if let Ok(socket) = self.get_mut(id)
            && !core::mem::replace(&mut socket.waiting, true)
        {
            self.waiting.push(id);
        }
    }
}

impl Socket {
    fn header(&self, settings: &Settings, src: IpAddr, dst: IpAddr, len: usize) -> IpEmit {
        let hop_limit = if dst.is_multicast() {
            self.multicast_hop_limit.unwrap_or(1)
        } else {
            self.hop_limit.unwrap_or(settings.ip_default_ttl as u8)
        };
        IpEmit {
            src,
            dst,
            protocol: protocol::UDP,
            hop_limit,
            tos: self.tos,
            ident: 0,
            dont_fragment: settings.ip_no_pmtu_disc == 0,
            payload_len: udp::HEADER_LEN + len,
        }
    }
}
