//! The UDP calls.

use core::net::{IpAddr, SocketAddr};

use super::{Ready, Stack, UdpId, UdpRecv, UdpReport};
use crate::Error;
use crate::options::BindOptions;
use crate::time::Instant;

impl Stack {
    /// Makes a UDP socket. Port 0 takes one of `ip_local_port_range`; a multicast or broadcast address receives what is
    /// sent there.
    ///
    /// # Errors
    /// [`Error::AddrInUse`] where another socket has the port and not both set SO_REUSEADDR or SO_REUSEPORT, or no port
    /// is left; [`Error::AddrNotAvailable`] for an address that is not ours; [`Error::NoBufferSpace`] beyond
    /// `finack.max_connections` sockets.
    pub fn udp_bind(&mut self, local: SocketAddr, options: BindOptions) -> Result<UdpId, Error> {
        self.udp.bind(&self.ip.routes, &self.cx.settings, local, options)
    }

    /// Sets the other end: sending needs no address then, datagrams from elsewhere are not received, and hard ICMP
    /// errors are reported (RFC 1122 4.1.3.3). `None` dissolves the association.
    ///
    /// # Errors
    /// [`Error::AddressFamily`] for an IPv6 address on an IPv4 socket, [`Error::NetworkUnreachable`] without a route,
    /// [`Error::AccessDenied`] for a broadcast address without SO_BROADCAST.
    pub fn udp_connect(&mut self, socket: UdpId, remote: Option<SocketAddr>) -> Result<(), Error> {
        self.udp.connect(&self.ip.routes, socket, remote)
    }

    /// Sends a datagram, to the connected end where `to` is `None`. One larger than the path takes goes in fragments.
    ///
    /// # Errors
    /// A pending error first, once. [`Error::DestinationRequired`] without any address, [`Error::MessageTooLong`] above
    /// 65507 bytes (IPv4) or 65527 (IPv6), [`Error::WouldBlock`] while too much waits for the device,
    /// [`Error::AccessDenied`] for a broadcast address without SO_BROADCAST, [`Error::InvalidArgument`] for port 0,
    /// [`Error::NetworkUnreachable`] without a route, [`Error::AddressFamily`].
    pub fn udp_send(
        &mut self,
        now: Instant,
        socket: UdpId,
        to: Option<SocketAddr>,
        data: &[u8],
    ) -> Result<usize, Error> {
        let sent = self.udp.send(now, &mut self.ip, &self.cx.settings, socket, to, data)?;
        self.cx.counters.udp_out_datagrams += 1;
        Ok(sent)
    }

    /// Sends datagrams to one place, to the connected end where `to` is `None`: `parts` one each, of which all but the last
    /// have one size (UDP_SEGMENT). They go as one packet to a device that cuts it, and else as if each had been
    /// [sent](Self::udp_send) by itself. Answers how many were sent: all, or as many as there was room for.
    ///
    /// # Errors
    /// As [`udp_send`](Self::udp_send), for the first.
    pub fn udp_send_run(
        &mut self,
        now: Instant,
        socket: UdpId,
        to: Option<SocketAddr>,
        parts: &[&[u8]],
    ) -> Result<usize, Error> {
        let cx = (&self.cx.settings, &self.cx.device);
        let sent = self.udp.send_run(now, &mut self.ip, cx, socket, to, parts)?;
        self.cx.counters.udp_out_datagrams += sent as u64;
        Ok(sent)
    }

    /// Receives the oldest datagrams of one sender into `buf`, one after the other (UDP_GRO): as many as fit and have the
    /// size of the first, but for a shorter one at the end; 64 at most. What is known of the first is answered, and how
    /// many bytes all of them have. Where not even the first fits, what does not is lost.
    ///
    /// # Errors
    /// As [`udp_recv`](Self::udp_recv).
    pub fn udp_recv_run(&mut self, socket: UdpId, buf: &mut [u8]) -> Result<(UdpRecv, usize), Error> {
        self.udp.recv_run(socket, buf)
    }

    /// Receives the oldest datagram into `buf`; what does not fit is lost unless `peek`, which leaves it queued.
    ///
    /// # Errors
    /// A pending error first, once; [`Error::WouldBlock`] where there is no datagram.
    pub fn udp_recv(&mut self, socket: UdpId, buf: &mut [u8], peek: bool) -> Result<UdpRecv, Error> {
        self.udp.recv(socket, buf, peek)
    }

    /// What the path to the connected end takes whole, in bytes of IP packet (GET_MAXSIZES of RFC 1122 3.4, IP_MTU); `None`
    /// without a connected end.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_path_mtu(&self, now: Instant, socket: UdpId) -> Result<Option<u32>, Error> {
        Ok(self.udp.remote_addr(socket)?.and_then(|to| self.ip.mtu_towards(now, to.ip().to_canonical())))
    }

    /// Bytes of the datagram that is received next, if there is one. A pending error stays (FIONREAD).
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_next_len(&self, socket: UdpId) -> Result<Option<usize>, Error> {
        self.udp.next_len(socket)
    }

    /// What the socket is ready for now (level, not edge).
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_ready(&self, socket: UdpId) -> Result<Ready, Error> {
        self.udp.ready(socket, &self.ip.out)
    }

    /// The address that the socket is bound to; a connected one's is the address that it sends from.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_local_addr(&self, socket: UdpId) -> Result<SocketAddr, Error> {
        self.udp.local_addr(socket)
    }

    /// The other end, where one is set.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_remote_addr(&self, socket: UdpId) -> Result<Option<SocketAddr>, Error> {
        self.udp.remote_addr(socket)
    }

    /// SO_ERROR: the pending error, cleared by asking.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_take_error(&mut self, socket: UdpId) -> Result<Option<Error>, Error> {
        self.udp.take_error(socket)
    }

    /// Whether all ICMP errors about what the socket sends are told and kept, soft ones and those to a socket that is not
    /// connected too (RFC 1122 4.1.3.3, IP_RECVERR). At most 64 wait, within the receive buffer.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_set_reports(&mut self, socket: UdpId, on: bool) -> Result<(), Error> {
        self.udp.set_reports(socket, on)
    }

    /// The oldest ICMP error that was kept (MSG_ERRQUEUE).
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_take_report(&mut self, socket: UdpId) -> Result<Option<UdpReport>, Error> {
        self.udp.take_report(socket)
    }

    /// SO_BROADCAST.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_set_broadcast(&mut self, socket: UdpId, on: bool) -> Result<(), Error> {
        self.udp.set_broadcast(socket, on)
    }

    /// Joins a multicast group on the host's interface.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is no group, [`Error::AddrInUse`] for a second time,
    /// [`Error::NoBufferSpace`] beyond 20 groups of one socket.
    pub fn udp_join(&mut self, socket: UdpId, group: IpAddr) -> Result<(), Error> {
        self.udp.join(&mut self.ip.groups, socket, group)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// [`Error::AddrNotAvailable`] where the socket is not in it.
    pub fn udp_leave(&mut self, socket: UdpId, group: IpAddr) -> Result<(), Error> {
        self.udp.leave(&mut self.ip.groups, socket, group)
    }

    /// IP_TTL and IP_MULTICAST_TTL (or the IPv6 hop limits); `None` is the default: `ip_default_ttl`, and 1 for
    /// multicast.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a unicast hop limit of 0.
    pub fn udp_set_hop_limit(
        &mut self,
        socket: UdpId,
        unicast: Option<u8>,
        multicast: Option<u8>,
    ) -> Result<(), Error> {
        self.udp.set_hop_limit(socket, unicast, multicast)
    }

    /// IP_TOS or IPV6_TCLASS: DSCP in the upper six bits, ECN in the lower two.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_set_tos(&mut self, socket: UdpId, tos: u8) -> Result<(), Error> {
        self.udp.set_tos(socket, tos)
    }

    /// SO_RCVBUF and SO_SNDBUF in bytes, not doubled; `None` leaves a buffer as it is. At least 2304 and 4608.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_set_buffers(
        &mut self,
        socket: UdpId,
        recv: Option<usize>,
        send: Option<usize>,
    ) -> Result<(), Error> {
        self.udp.set_buffers(socket, recv, send)
    }

    /// Datagrams dropped because the receive buffer was full.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_drops(&self, socket: UdpId) -> Result<u64, Error> {
        self.udp.drops(socket)
    }

    /// Frees the socket, its port and its queue; groups that it joined are left. The handle is spent.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_close(&mut self, socket: UdpId) -> Result<(), Error> {
        self.udp.close(&mut self.ip.groups, socket)
    }
}
