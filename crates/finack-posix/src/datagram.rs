//! UDP sockets.

use core::net::{IpAddr, SocketAddr};

use finack_core::Error;
use finack_core::options::{BindOptions, Shutdown};
use finack_core::stack::{Ready, UdpId};

use crate::error_queue::check_socket_level;
use crate::names::{any, for_family, shown};
use crate::options::Common;
use crate::{
    Address, Answer, Control, ControlData, Errno, ExtendedError, Incoming, Os, Outgoing, Received, Reply,
    Step, abi, poll,
};

/// What was set before there was a port to set it on.
#[derive(Clone, Debug, Default)]
pub(crate) struct DatagramOptions {
    pub(crate) bind: BindOptions,
    pub(crate) broadcast: bool,
    pub(crate) tos: u8,
    pub(crate) hop_limit: Option<u8>,
    pub(crate) multicast_hops: Option<u8>,
    pub(crate) recv_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
    /// IP_RECVTOS, IPV6_RECVTCLASS.
    pub(crate) tell_tos: bool,
    /// IP_RECVTTL, IPV6_RECVHOPLIMIT.
    pub(crate) tell_hops: bool,
    /// IP_RECVERR, IPV6_RECVERR.
    pub(crate) tell_errors: bool,
    /// IP_PKTINFO, IPV6_RECVPKTINFO.
    pub(crate) tell_destination: bool,
}

/// A UDP socket; it has a port once it was bound, connected or sent from.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) v6: bool,
    id: Option<UdpId>,
    pub(crate) options: DatagramOptions,
    pub(crate) common: Common,
    read_shut: bool,
    write_shut: bool,
}

impl Datagram {
    pub(crate) fn new(v6: bool) -> Self {
        let (options, common) = (DatagramOptions::default(), Common::default());
        Self { v6, id: None, options, common, read_shut: false, write_shut: false }
    }

    pub(crate) fn id(&self) -> Option<UdpId> {
        self.id
    }

    fn open(&mut self, os: &mut Os<'_>, local: SocketAddr) -> Result<UdpId, Errno> {
        let id = os.stack.udp_bind(local, self.options.bind)?;
        self.id = Some(id);
        self.push_options(os)?;
        Ok(id)
    }

    /// The socket's port, taken now where it has none.
    pub(crate) fn port(&mut self, os: &mut Os<'_>) -> Result<UdpId, Errno> {
        match self.id {
            Some(id) => Ok(id),
            None => self.open(os, any(self.v6)),
        }
    }

    /// Hands the options to the engine, where it has the socket.
    pub(crate) fn push_options(&self, os: &mut Os<'_>) -> Result<(), Errno> {
        let Some(id) = self.id else { return Ok(()) };
        let o = &self.options;
        os.stack.udp_set_broadcast(id, o.broadcast)?;
        os.stack.udp_set_reports(id, o.tell_errors)?;
        os.stack.udp_set_tos(id, o.tos)?;
        os.stack.udp_set_hop_limit(id, o.hop_limit, o.multicast_hops)?;
        os.stack.udp_set_buffers(id, o.recv_buffer, o.send_buffer)?;
        Ok(())
    }

    pub(crate) fn bind(&mut self, os: &mut Os<'_>, address: Address) -> Result<UdpId, Errno> {
        if self.id.is_some() {
            return Err(Errno::EINVAL);
        }
        let local = for_family(self.v6, address)?;
        self.open(os, local)
    }

    pub(crate) fn connect(&mut self, os: &mut Os<'_>, address: Address) -> Result<Option<UdpId>, Errno> {
        if address == Address::Unspecified {
            if let Some(id) = self.id {
                os.stack.udp_connect(id, None)?;
            }
            return Ok(self.id);
        }
        let to = for_family(self.v6, address)?;
        let id = self.port(os)?;
        os.stack.udp_connect(id, Some(to))?;
        Ok(Some(id))
    }

    pub(crate) fn local(&self, os: &Os<'_>) -> Result<Option<SocketAddr>, Errno> {
        Ok(self.id.map(|id| os.stack.udp_local_addr(id)).transpose()?)
    }

    pub(crate) fn peer(&self, os: &Os<'_>) -> Result<Option<SocketAddr>, Errno> {
        Ok(self.id.map(|id| os.stack.udp_remote_addr(id)).transpose()?.flatten())
    }

    pub(crate) fn shutdown(&mut self, os: &Os<'_>, how: Shutdown) -> Answer {
        if self.peer(os)?.is_none() {
            return Err(Errno::ENOTCONN);
        }
        self.read_shut |= how != Shutdown::Write;
        self.write_shut |= how != Shutdown::Read;
        Ok(Reply::Number(0))
    }

    pub(crate) fn poll(&self, os: &Os<'_>) -> i64 {
        let ready = self.id.and_then(|id| os.stack.udp_ready(id).ok());
        let mut mask = ready.map_or(abi::EPOLLOUT | abi::EPOLLWRNORM, poll::mask_of);
        if mask & abi::EPOLLERR != 0
            && let Some(Ok(None)) = self.id.map(|id| os.stack.udp_next_len(id))
        {
            // To the engine an error can be read; to poll only a datagram can.
            mask &= !(abi::EPOLLIN | abi::EPOLLRDNORM);
        }
        if self.read_shut {
            mask |= poll::mask_of(Ready::READ_CLOSED);
        }
        if self.read_shut && self.write_shut {
            mask |= abi::EPOLLHUP;
        }
        mask
    }

    /// Bytes of the datagram that is read next (what FIONREAD tells of datagrams).
    pub(crate) fn next_len(&self, os: &Os<'_>) -> u64 {
        let next = self.id.and_then(|id| os.stack.udp_next_len(id).ok()).flatten();
        next.map_or(0, |len| len as u64)
    }

    pub(crate) fn send(&mut self, os: &mut Os<'_>, out: &Outgoing, wait: bool) -> Step {
        let result = self.try_send(os, out);
        match result {
            Err(Errno::EAGAIN) if wait => Step::Wait(self.common.send_timeout),
            other => Step::Done(other.map(|n| Reply::Number(i64::try_from(n).unwrap_or(i64::MAX)))),
        }
    }

    fn try_send(&mut self, os: &mut Os<'_>, out: &Outgoing) -> Result<usize, Errno> {
        if out.data.len() > 65_535 {
            return Err(Errno::EMSGSIZE);
        }
        if out.flags & abi::MSG_OOB != 0 || out.flags & abi::MSG_MORE != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.write_shut {
            return Err(Errno::EPIPE);
        }
        let to = match out.to {
            None | Some(Address::Unspecified) => None,
            Some(address) => Some(for_family(self.v6, address)?),
        };
        if to.is_none() && self.peer(os)?.is_none() {
            return Err(Errno::EDESTADDRREQ);
        }
        if to.is_some_and(|to| to.port() == 0) {
            return Err(Errno::EINVAL);
        }
        let (tos, hops) = self.of_message(&out.control)?;
        if out.fault && !out.data.is_empty() {
            return Err(Errno::EFAULT);
        }
        let id = self.port(os)?;
        if tos.is_none() && hops.is_none() {
            return Ok(os.stack.udp_send(os.now, id, to, &out.data)?);
        }
        // For this datagram alone.
        os.stack.udp_set_tos(id, tos.unwrap_or(self.options.tos))?;
        os.stack.udp_set_hop_limit(
            id,
            hops.or(self.options.hop_limit),
            hops.or(self.options.multicast_hops),
        )?;
        let result = os.stack.udp_send(os.now, id, to, &out.data);
        self.push_options(os)?;
        Ok(result?)
    }

    /// TOS byte and hop limit that control messages ask for; messages of other families are nothing to it.
    fn of_message(&self, control: &[Control]) -> Result<(Option<u8>, Option<u8>), Errno> {
        check_socket_level(control)?;
        let level = if self.v6 { abi::SOL_IPV6 } else { abi::SOL_IP };
        let (mut tos, mut hops) = (None, None);
        for message in control.iter().filter(|c| c.level == level) {
            let byte = |least: i64| match message.data {
                ControlData::Number(n) if (least..=255).contains(&n) => Ok(Some(n as u8)),
                _ => Err(Errno::EINVAL),
            };
            match (self.v6, message.kind) {
                (false, abi::IP_TOS) | (true, abi::IPV6_TCLASS) => tos = byte(0)?,
                (false, abi::IP_TTL) => hops = byte(1)?,
                (true, abi::IPV6_HOPLIMIT) => hops = byte(0)?,
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok((tos, hops))
    }

    pub(crate) fn recv(&mut self, os: &mut Os<'_>, asked: Incoming, wait: bool) -> Step {
        if asked.flags & abi::MSG_ERRQUEUE != 0 {
            return Step::Done(self.reported(os, asked));
        }
        // Without a port nothing comes, and on Linux neither.
        let Some(id) = self.id else {
            return if wait { Step::Wait(self.common.recv_timeout) } else { Step::Done(Err(Errno::EAGAIN)) };
        };
        if asked.fault && asked.len > 0 && self.next_len(os) > 0 {
            return Step::Done(Err(Errno::EFAULT));
        }
        let mut buffer = vec![0; asked.len.min(65_535)];
        match os.stack.udp_recv(id, &mut buffer, asked.flags & abi::MSG_PEEK != 0) {
            Ok(datagram) => {
                buffer.truncate(datagram.len);
                Step::Done(Ok(Reply::Received(self.received(asked, buffer, &datagram))))
            }
            Err(Error::WouldBlock) if self.read_shut => Step::Done(Ok(Reply::Received(Received::default()))),
            Err(Error::WouldBlock) if wait => Step::Wait(self.common.recv_timeout),
            Err(error) => Step::Done(Err(error.into())),
        }
    }

    /// The oldest ICMP error: the datagram that it is about, where that was sent to, and what was wrong (ip(7)).
    fn reported(&self, os: &mut Os<'_>, asked: Incoming) -> Answer {
        let report = self.id.map(|id| os.stack.udp_take_report(id)).transpose()?.flatten();
        let mut report = report.ok_or(Errno::EAGAIN)?;
        let cut = report.data.len() > asked.len;
        report.data.truncate(asked.len);
        let origin = if report.to.is_ipv6() { abi::SO_EE_ORIGIN_ICMP6 } else { abi::SO_EE_ORIGIN_ICMP };
        let error = ExtendedError {
            errno: Errno::from(report.error).0,
            origin,
            kind: report.kind,
            code: report.code,
            info: report.mtu,
            data: 0,
        };
        let (level, kind) =
            if self.v6 { (abi::SOL_IPV6, abi::IPV6_RECVERR) } else { (abi::SOL_IP, abi::IP_RECVERR) };
        Ok(Reply::Received(Received {
            count: report.data.len(),
            data: report.data,
            flags: abi::MSG_ERRQUEUE | if cut { abi::MSG_TRUNC } else { 0 },
            from: Some(shown(self.v6, report.to)),
            control: vec![Control { level, kind, data: ControlData::ExtendedFrom(error, report.from) }],
        }))
    }

    fn received(&self, asked: Incoming, data: Vec<u8>, datagram: &finack_core::stack::UdpRecv) -> Received {
        let cut = datagram.full_len > datagram.len;
        let count = if asked.flags & abi::MSG_TRUNC != 0 { datagram.full_len } else { datagram.len };
        Received {
            data,
            count,
            flags: if cut { abi::MSG_TRUNC } else { 0 },
            from: Some(shown(self.v6, datagram.from)),
            control: self.control(datagram),
        }
    }

    fn control(&self, datagram: &finack_core::stack::UdpRecv) -> Vec<Control> {
        let by_family = |v4, v6| if self.v6 { (abi::SOL_IPV6, v6) } else { (abi::SOL_IP, v4) };
        let mut list = Vec::new();
        let mut tell = |asked: bool, (level, kind): (i64, i64), data: ControlData| {
            if asked {
                list.push(Control { level, kind, data });
            }
        };
        let to = match shown(self.v6, datagram.to) {
            Address::Inet(to) => to.ip(),
            Address::Unspecified => IpAddr::from([0; 4]),
        };
        let o = &self.options;
        tell(o.tell_destination, by_family(abi::IP_PKTINFO, abi::IPV6_PKTINFO), ControlData::PacketInfo(to));
        let hops = ControlData::Number(datagram.hop_limit.into());
        tell(o.tell_hops, by_family(abi::IP_TTL, abi::IPV6_HOPLIMIT), hops);
        let tos = ControlData::Number(datagram.tos.into());
        tell(o.tell_tos, by_family(abi::IP_TOS, abi::IPV6_TCLASS), tos);
        list
    }
}
