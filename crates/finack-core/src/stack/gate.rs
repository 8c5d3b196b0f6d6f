//! What no socket takes, for a gateway that carries it on: datagrams and echo requests to other hosts' addresses.

use alloc::vec;
use core::net::{IpAddr, SocketAddr};

use finack_wire::icmp::{self, ErrorKind, IcmpMessage};
use finack_wire::ip::{self, IpEmit};
use finack_wire::{protocol, udp};

use super::{Stack, UdpId};
use crate::error::Error;
use crate::time::Instant;
use crate::udp::Gate;

impl Stack {
    /// Makes a gate: a socket that receives what is for addresses other than the host's own and for no other socket.
    /// It is of use on a stack that takes [any address](super::Config::any_address).
    /// [`udp_recv`](Self::udp_recv), [`udp_ready`](Self::udp_ready), [`udp_set_buffers`](Self::udp_set_buffers),
    /// [`udp_drops`](Self::udp_drops) and [`udp_close`](Self::udp_close) do for it what they do for a socket.
    ///
    /// # Errors
    /// [`Error::AddrInUse`] where there is such a gate already; [`Error::NoBufferSpace`] as for a socket.
    pub fn open_gate(&mut self, gate: Gate) -> Result<UdpId, Error> {
        self.udp.open_gate(&self.cx.settings, gate)
    }

    /// Sends through a gate as if the host `from` did: a datagram, or (where the identifier is `to`'s port and the
    /// sequence number `from`'s) an echo reply.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] while too much waits for the device, [`Error::MessageTooLong`],
    /// [`Error::AddressFamily`] where the two ends' families differ, [`Error::InvalidArgument`] for port 0 or a socket
    /// that is no gate, [`Error::NetworkUnreachable`] without a route, [`Error::BadHandle`].
    pub fn gate_send(
        &mut self,
        now: Instant,
        gate: UdpId,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<(), Error> {
        self.udp.send_from(now, &mut self.ip, &self.cx.settings, gate, (from, to), data)?;
        match self.udp.gate(gate)? {
            Some(Gate::Echoes) => self.cx.counters.icmp_out_msgs += 1,
            _ => self.cx.counters.udp_out_datagrams += 1,
        }
        Ok(())
    }

    /// Sends several datagrams through a gate as if the host `from` did: `parts` one each, of which all but the last have
    /// one size. They go as one packet to a device that cuts it. Answers how many were sent: all, or as many as there was
    /// room for.
    ///
    /// # Errors
    /// As [`gate_send`](Self::gate_send), for the first.
    pub fn gate_send_run(
        &mut self,
        now: Instant,
        gate: UdpId,
        from: SocketAddr,
        to: SocketAddr,
        parts: &[&[u8]],
    ) -> Result<usize, Error> {
        let cx = (&self.cx.settings, &self.cx.device);
        let sent = self.udp.send_run_from(now, &mut self.ip, cx, gate, (from, to), parts)?;
        match self.udp.gate(gate)? {
            Some(Gate::Echoes) => self.cx.counters.icmp_out_msgs += sent as u64,
            _ => self.cx.counters.udp_out_datagrams += sent as u64,
        }
        Ok(sent)
    }

    /// Tells the sender `to` by ICMP what became of `data`, which it had sent to `from`. The message comes from
    /// `reporter` (a router on the way), or from the destination itself where that is `None`. Reports to one host are
    /// limited in rate (`icmp_ratelimit`), and some things may not be reported (RFC 1122 3.2.2): then nothing is sent.
    ///
    /// # Errors
    /// As [`gate_send`](Self::gate_send).
    pub fn gate_report(
        &mut self,
        now: Instant,
        gate: UdpId,
        (from, to): (SocketAddr, SocketAddr),
        data: &[u8],
        kind: ErrorKind,
        reporter: Option<IpAddr>,
    ) -> Result<(), Error> {
        let what = self.udp.gate(gate)?.ok_or(Error::InvalidArgument)?;
        if from.is_ipv4() != to.is_ipv4() || reporter.is_some_and(|r| r.is_ipv4() != to.is_ipv4()) {
            return Err(Error::AddressFamily);
        }
        let packet = quoted(what, to, from, data);
        if let Ok(header) = ip::parse(&packet)
            && icmp::may_report(&header, header.payload(&packet), false)
        {
            self.report_as(now, Some(reporter.unwrap_or(from.ip())), &header, &packet, kind);
        }
        Ok(())
    }
}

/// The packet as its sender had sent it, as far as it is remembered: enough of it to be quoted.
fn quoted(gate: Gate, sender: SocketAddr, target: SocketAddr, data: &[u8]) -> vec::Vec<u8> {
    let is_v6 = sender.is_ipv6();
    let len = udp::HEADER_LEN + data.len();
    let header = IpEmit {
        src: sender.ip(),
        dst: target.ip(),
        protocol: match gate {
            Gate::Datagrams => protocol::UDP,
            Gate::Echoes if is_v6 => protocol::ICMPV6,
            Gate::Echoes => protocol::ICMP,
        },
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        payload_len: len,
    };
    let mut packet = vec![0; header.header_len() + len];
    let at = header.emit(&mut packet);
    let out = &mut packet[at..];
    match gate {
        Gate::Datagrams => {
            udp::emit(out, sender.port(), target.port(), data.len());
            out[udp::HEADER_LEN..].copy_from_slice(data);
            let checksum = udp::checksum(header.pseudo_header_sum(), out);
            udp::set_checksum(out, checksum);
        }
        Gate::Echoes => {
            let request = IcmpMessage::EchoRequest { ident: sender.port(), seq: target.port(), data };
            icmp::emit(&sender.ip(), &target.ip(), &request, out);
        }
    }
    packet
}

#[cfg(test)]
mod tests;
