//! Sockets that take what no other does: the inner side of a gateway.

use core::net::SocketAddr;

use bytes::Bytes;
use finack_wire::icmp::{self, IcmpMessage};
use finack_wire::ip::{IpEmit, IpHeader};
use finack_wire::{protocol, udp};

use super::recv::Delivered;
use super::send::{fits, one_by_one, takes_unit};
use super::{Arrival, Cast, Udp};
use crate::Error;
use crate::device::Capabilities;
use crate::ip::Ip;
use crate::options::BindOptions;
use crate::settings::Settings;
use crate::stack::UdpId;
use crate::time::Instant;

/// What a gate takes. Of each kind there is one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// UDP datagrams to addresses that are not the host's own and that no socket is bound to.
    Datagrams,
    /// ICMP echo requests to addresses that are not the host's own. The identifier stands where the sender's port
    /// would, the sequence number where the destination's would; the data is the payload.
    Echoes,
}

/// The sockets that are gates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gates {
    datagrams: Option<u32>,
    echoes: Option<u32>,
}

impl Gates {
    pub(super) const fn get(&self, gate: Gate) -> Option<u32> {
        match gate {
            Gate::Datagrams => self.datagrams,
            Gate::Echoes => self.echoes,
        }
    }

    pub(super) const fn set(&mut self, gate: Gate, socket: Option<u32>) {
        match gate {
            Gate::Datagrams => self.datagrams = socket,
            Gate::Echoes => self.echoes = socket,
        }
    }
}

impl Udp {
    /// Makes a gate.
    pub(crate) fn open_gate(&mut self, settings: &Settings, gate: Gate) -> Result<UdpId, Error> {
        if self.gates.get(gate).is_some() {
            return Err(Error::AddrInUse);
        }
        let nowhere = SocketAddr::new(core::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let mut socket = self.new_socket(settings, nowhere, BindOptions::default())?;
        socket.gate = Some(gate);
        let generation = socket.generation;
        let index = self.sockets.insert(socket);
        self.gates.set(gate, Some(index));
        Ok(UdpId { index, generation })
    }

    /// What the socket is the gate for, if it is one.
    pub(crate) fn gate(&self, id: UdpId) -> Result<Option<Gate>, Error> {
        Ok(self.get(id)?.gate)
    }

    /// Hands an echo request to its gate; `None` where there is none.
    pub(crate) fn take_echo(
        &mut self,
        ip: &IpHeader,
        ident: u16,
        seq: u16,
        data: &[u8],
    ) -> Option<Delivered> {
        let gate = self.gates.get(Gate::Echoes)?;
        let arrival = Arrival {
            from: SocketAddr::new(ip.src, ident),
            to: SocketAddr::new(ip.dst, seq),
            tos: ip.tos,
            hop_limit: ip.hop_limit,
            dont_fragment: ip.dont_fragment,
            cast: Cast::One,
            ours: false,
        };
        let mut delivered = Delivered::default();
        self.deliver_to(gate, &arrival, Bytes::copy_from_slice(data), data.len(), &mut delivered);
        Some(delivered)
    }

    /// Sends datagrams through a gate, as [`send_from`](Self::send_from) does with one; all but the last have the size of
    /// the first. Answers how many were.
    pub(crate) fn send_run_from(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        (settings, device): (&Settings, &Capabilities),
        id: UdpId,
        (from, to): (SocketAddr, SocketAddr),
        parts: &[&[u8]],
    ) -> Result<usize, Error> {
        let socket = self.get(id)?;
        let is_unit = socket.gate == Some(Gate::Datagrams)
            && from.is_ipv4() == to.is_ipv4()
            && to.port() != 0
            && !to.ip().is_unspecified()
            && takes_unit(now, ip, device, to.ip(), parts);
        if is_unit {
            let header = IpEmit {
                src: from.ip(),
                dst: to.ip(),
                protocol: protocol::UDP,
                hop_limit: socket.hop_limit.unwrap_or(settings.ip_default_ttl as u8),
                tos: socket.tos,
                ident: 0,
                dont_fragment: false,
                payload_len: 0,
            };
            self.queue_unit(ip, id, header, (from.port(), to.port()), parts)?;
            return Ok(parts.len());
        }
        one_by_one(parts, |data| self.send_from(now, ip, settings, id, (from, to), data))
    }

    /// Sends through a gate, from an address and port that need not be the host's: a datagram, or an echo reply.
    pub(crate) fn send_from(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        settings: &Settings,
        id: UdpId,
        (from, to): (SocketAddr, SocketAddr),
        data: &[u8],
    ) -> Result<(), Error> {
        let socket = self.get(id)?;
        let gate = socket.gate.ok_or(Error::InvalidArgument)?;
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Error::AddressFamily);
        }
        if to.port() == 0 && gate == Gate::Datagrams || to.ip().is_unspecified() {
            return Err(Error::InvalidArgument);
        }
        fits(to.ip(), data)?;
        let is_v6 = to.is_ipv6();
        let header = IpEmit {
            src: from.ip(),
            dst: to.ip(),
            protocol: match gate {
                Gate::Datagrams => protocol::UDP,
                Gate::Echoes if is_v6 => protocol::ICMPV6,
                Gate::Echoes => protocol::ICMP,
            },
            hop_limit: socket.hop_limit.unwrap_or(settings.ip_default_ttl as u8),
            tos: socket.tos,
            ident: 0,
            dont_fragment: false,
            // Both have headers of eight bytes.
            payload_len: udp::HEADER_LEN + data.len(),
        };
        let pseudo = header.pseudo_header_sum();
        self.queue(now, ip, id, header, |out| match gate {
            Gate::Datagrams => {
                udp::emit(out, from.port(), to.port(), data.len());
                out[udp::HEADER_LEN..].copy_from_slice(data);
                let checksum = udp::checksum(pseudo, out);
                udp::set_checksum(out, checksum);
            }
            Gate::Echoes => {
                let reply = IcmpMessage::EchoReply { ident: to.port(), seq: from.port(), data };
                icmp::emit(&from.ip(), &to.ip(), &reply, out);
            }
        })
    }
}
