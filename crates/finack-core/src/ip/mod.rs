//! IP: addresses and routes, fragments, path MTUs, and the queue of packets that belong to no connection.

pub(crate) mod groups;
pub(crate) mod ident;
pub(crate) mod output;
pub(crate) mod path_mtu;
pub(crate) mod reassembly;
pub(crate) mod routes;

#[cfg(test)]
mod tests;

use core::net::IpAddr;
use core::time::Duration;

use finack_wire::ip::{Fragment, IpEmit};
use finack_wire::udp;

use crate::hash::Secrets;
use crate::icmp::Limiter;
use crate::settings::Settings;
use crate::stack::{Config, UdpId};
use crate::time::Instant;

pub(crate) use groups::Groups;
pub(crate) use ident::Ident;
pub(crate) use output::{OutQueue, Unit};
pub(crate) use path_mtu::PathMtu;
pub(crate) use reassembly::Reassembler;
pub(crate) use routes::Routes;

/// What the host knows of IP.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    pub(crate) routes: Routes,
    pub(crate) groups: Groups,
    pub(crate) reassembler: Reassembler,
    pub(crate) path_mtu: PathMtu,
    pub(crate) ident: Ident,
    pub(crate) out: OutQueue,
    /// How often ICMP errors go to each destination.
    pub(crate) icmp_limit: Limiter,
}

/// Why a packet was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputError {
    /// There is no way to its destination.
    NoRoute,
    /// The queue is full.
    Full,
}

impl Ip {
    pub(crate) fn new(config: &Config, secrets: &Secrets) -> Self {
        let mtu = config.device.mtu.min(65_535) as u32;
        let routes = Routes::new(config.addresses.clone(), config.routes.clone(), config.any_address, mtu);
        Self {
            routes,
            groups: Groups::default(),
            reassembler: Reassembler::default(),
            path_mtu: PathMtu::default(),
            ident: Ident::new(secrets.ident),
            out: OutQueue::default(),
            icmp_limit: Limiter::default(),
        }
    }

    /// MTU of the path to `dst` in bytes: what was learned of it, else the first hop's. `None` without a route.
    pub(crate) fn mtu_towards(&self, now: Instant, dst: IpAddr) -> Option<u32> {
        let first_hop = self.routes.lookup(dst)?;
        Some(self.path_mtu.get(now, dst).map_or(first_hop, |learned| learned.min(first_hop)))
    }

    /// Takes in that a packet to `dst` did not fit a link of `mtu` bytes, or that a router which does not say so had
    /// a smaller one than `packet_len` (`mtu` 0, RFC 1191 5). The caller has made sure that the message is about
    /// something that was sent. Gives the path's MTU where it sank.
    pub(crate) fn learn_mtu(
        &mut self,
        now: Instant,
        dst: IpAddr,
        mtu: u32,
        packet_len: u32,
        settings: &Settings,
    ) -> Option<u32> {
        let known = self.routes.lookup(dst)?;
        let mtu = match settings.ip_no_pmtu_disc {
            1 if dst.is_ipv4() => settings.min_pmtu as u32,
            2 if dst.is_ipv4() => return None,
            _ => mtu,
        };
        if mtu >= packet_len {
            // What fits was not what was complained about (RFC 5927 7.2).
            return None;
        }
        let mtu = if mtu == 0 && dst.is_ipv4() { path_mtu::plateau_below(packet_len) } else { mtu };
        let expires = Duration::from_secs(settings.mtu_expires);
        self.path_mtu.update(now, dst, mtu, known, settings.min_pmtu as u32, expires)
    }

    /// Queues a packet for which `fill` writes the payload behind the header, `header.payload_len` bytes. It is cut
    /// into fragments where it does not fit the path (RFC 791 3.2, RFC 8200 4.5); DF is left out then, so that
    /// `dont_fragment` asks for path MTU discovery, not for an error.
    ///
    /// Gives the bytes queued, headers included.
    ///
    /// # Errors
    /// See [`OutputError`]; nothing is queued then.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        mut header: IpEmit,
        owner: Option<UdpId>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<usize, OutputError> {
        let mtu = self.mtu_towards(now, header.dst).ok_or(OutputError::NoRoute)? as usize;
        let head = header.header_len();
        let len = head + header.payload_len;
        let fits = len <= mtu;
        let pieces = if fits { 1 } else { header.fragments(mtu).count() };
        if !self.out.has_room(pieces, len + pieces * header.fragment_header_len()) {
            return Err(OutputError::Full);
        }
        let mut packet = self.out.buffer();
        packet.resize(len, 0);
        fill(&mut packet[head..]);
        if !fits {
            let queued = self.send_in_fragments(&header, mtu, &packet[head..], owner);
            self.out.recycle(packet);
            return Ok(queued);
        }
        if !header.dont_fragment && header.src.is_ipv4() {
            header.ident = self.ident.next(header.src, header.dst, header.protocol) as u16;
        }
        header.emit(&mut packet);
        self.out.push_owned(packet, owner);
        Ok(len)
    }

    /// Queues datagrams that the device cuts out of one packet: all but the last of `parts` have one size, and each fits
    /// the path with its headers. The checksum is left to the device. Gives the bytes queued; `None` where the queue is
    /// full.
    pub(crate) fn send_unit(
        &mut self,
        mut header: IpEmit,
        owner: UdpId,
        (from, to): (u16, u16),
        parts: &[&[u8]],
    ) -> Option<usize> {
        let data: usize = parts.iter().map(|part| part.len()).sum();
        header.payload_len = udp::HEADER_LEN + data;
        let (start, len) = (header.header_len(), header.header_len() + header.payload_len);
        if !self.out.has_room(1, len) {
            return None;
        }
        if !header.dont_fragment && header.src.is_ipv4() {
            // The device counts on from the first, and those numbers are used then.
            header.ident = self.ident.next(header.src, header.dst, header.protocol) as u16;
            for _ in 1..parts.len() {
                self.ident.next(header.src, header.dst, header.protocol);
            }
        }
        let mut packet = self.out.large_buffer();
        packet.reserve(len);
        packet.resize(start + udp::HEADER_LEN, 0);
        header.emit(&mut packet);
        udp::emit(&mut packet[start..], from, to, data);
        udp::set_checksum(&mut packet[start..], header.pseudo_header_sum());
        parts.iter().for_each(|part| packet.extend_from_slice(part));
        let each = parts.first().map_or(0, |part| part.len()) as u16;
        let unit = Unit { start: start as u16, each };
        self.out.push_unit(packet, unit, owner);
        Some(len)
    }

    fn send_in_fragments(
        &mut self,
        header: &IpEmit,
        mtu: usize,
        payload: &[u8],
        owner: Option<UdpId>,
    ) -> usize {
        let mut queued = 0;
        let id = self.ident.next(header.src, header.dst, header.protocol);
        for piece in header.fragments(mtu) {
            let fragment = Fragment { id, offset: piece.offset as u32, more: piece.more };
            let mut packet = self.out.buffer();
            packet.resize(header.fragment_header_len(), 0);
            IpEmit { payload_len: piece.len, ..*header }.emit_fragment(&fragment, &mut packet);
            packet.extend_from_slice(&payload[piece.offset..piece.offset + piece.len]);
            queued += packet.len();
            self.out.push_owned(packet, owner);
        }
        queued
    }

    /// Bytes that all of it takes.
    pub(crate) fn memory(&self) -> usize {
        self.reassembler.memory() + self.out.memory() + self.path_mtu.len() * 96 + self.icmp_limit.memory()
    }
}
