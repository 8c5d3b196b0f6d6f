//! Sending datagrams.

use core::net::{IpAddr, SocketAddr};

use finack_wire::ip::IpEmit;
use finack_wire::{protocol, udp};

use super::recv::MAX_RUN;
use super::{Arrival, Cast, Socket, Udp};
use crate::Error;
use crate::device::Capabilities;
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

/// Whether the device cuts these datagrams, of which all but the last have one size, out of one packet; and nobody on
/// this host is to get them.
pub(super) fn takes_unit(now: Instant, ip: &Ip, device: &Capabilities, dst: IpAddr, parts: &[&[u8]]) -> bool {
    let head = udp::HEADER_LEN + if dst.is_ipv4() { 20 } else { 40 };
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let even = parts[..parts.len() - 1].iter().all(|part| part.len() == first.len());
    device.udp_units
        && device.checksum_tx
        && (2..=MAX_RUN).contains(&parts.len())
        && even
        && (1..=first.len()).contains(&last.len())
        && head + total <= device.max_unit
        && !dst.is_multicast()
        && !ip.routes.is_broadcast(dst)
        && !ip.routes.is_own(dst)
        && ip.mtu_towards(now, dst).is_some_and(|mtu| head + first.len() <= mtu as usize)
}

/// Sends datagrams one after the other; how many went before one could not go for now.
pub(super) fn one_by_one(
    parts: &[&[u8]],
    mut send: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<usize, Error> {
    for (sent, part) in parts.iter().enumerate() {
        match send(part) {
            Ok(()) => {}
            Err(_) if sent > 0 => return Ok(sent),
            Err(error) => return Err(error),
        }
    }
    Ok(parts.len())
}

/// Source and destination.
type Ports = (u16, u16);

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
    /// Sends datagrams to one place, of which all but the last have one size; in one packet where the device cuts that.
    /// Answers how many were queued, at least one.
    pub(crate) fn send_run(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        (settings, device): (&Settings, &Capabilities),
        id: UdpId,
        to: Option<SocketAddr>,
        parts: &[&[u8]],
    ) -> Result<usize, Error> {
        if let Some((header, ports)) = self.unit(now, ip, (settings, device), id, to, parts)? {
            self.queue_unit(ip, id, header, ports, parts)?;
            return Ok(parts.len());
        }
        one_by_one(parts, |data| self.send(now, ip, settings, id, to, data).map(drop))
    }

    /// The header and the ports of a unit; `None` where the datagrams go one by one, or not at all.
    fn unit(
        &self,
        now: Instant,
        ip: &Ip,
        (settings, device): (&Settings, &Capabilities),
        id: UdpId,
        to: Option<SocketAddr>,
        parts: &[&[u8]],
    ) -> Result<Option<(IpEmit, Ports)>, Error> {
        let socket = self.get(id)?;
        let to = match to {
            Some(to) => Some(socket.destination(to)?),
            None => socket.remote,
        };
        let Some(to) = to.filter(|to| {
            let nobody = to.port() == 0 || to.ip().is_unspecified();
            !nobody
                && socket.gate.is_none()
                && socket.error.is_none()
                && takes_unit(now, ip, device, to.ip(), parts)
        }) else {
            return Ok(None);
        };
        let src = socket.source(&ip.routes, socket.local, to.ip())?;
        Ok(Some((socket.header(settings, src, to.ip(), 0), (socket.port, to.port()))))
    }

    /// Queues datagrams as one packet, against the socket's send buffer.
    pub(super) fn queue_unit(
        &mut self,
        ip: &mut Ip,
        id: UdpId,
        header: IpEmit,
        ports: (u16, u16),
        parts: &[&[u8]],
    ) -> Result<(), Error> {
        let socket = self.get_mut(id)?;
        if !socket.has_send_room() {
            socket.blocked = true;
            return Err(Error::WouldBlock);
        }
        match ip.send_unit(header, id, ports, parts) {
            Some(bytes) => {
                socket.unsent += bytes;
                Ok(())
            }
            None => {
                socket.blocked = true;
                self.wait(id);
                Err(Error::WouldBlock)
            }
        }
    }

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
            self.deliver(&arrival, bytes::Bytes::copy_from_slice(data), data.len());
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
