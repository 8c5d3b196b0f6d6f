//! ICMP errors that are kept for who asks for all of them (RFC 1122 4.1.3.3, Linux's IP_RECVERR).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::recv::DATAGRAM_COST;
use super::{Socket, Udp};
use crate::Error;
use crate::stack::{Ready, UdpId};

/// Most errors that wait for one socket. A later one is not kept, but still what the next call fails with.
const MOST: usize = 64;

/// An ICMP error about a datagram that a socket sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpReport {
    /// What the error means.
    pub error: Error,
    /// The ICMP or ICMPv6 message's type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The MTU in bytes where the datagram was too large for the path, else 0.
    pub mtu: u32,
    /// Who sent the message: a router, or the host itself.
    pub from: IpAddr,
    /// Where the datagram was sent to.
    pub to: SocketAddr,
    /// The datagram's data, as far as the message quotes it.
    pub data: Vec<u8>,
}

/// What waits to be asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(VecDeque<UdpReport>);

impl Reports {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Socket {
    /// Keeps a report if there is room: it counts against the receive buffer like a datagram. Answers how much.
    fn keep_report(&mut self, report: &UdpReport) -> usize {
        let cost = report.data.len() + DATAGRAM_COST;
        let room = self.queued == 0 || self.queued + cost <= self.recv_buffer;
        match &mut self.reports {
            Some(reports) if room && reports.0.len() < MOST => {
                reports.0.push_back(report.clone());
                self.queued += cost;
                cost
            }
            _ => 0,
        }
    }
}

impl Udp {
    /// Whether ICMP errors are kept for the socket; what was kept is forgotten when they are not any more.
    pub(crate) fn set_reports(&mut self, id: UdpId, on: bool) -> Result<(), Error> {
        let socket = self.get_mut(id)?;
        if on == socket.reports.is_some() {
            return Ok(());
        }
        let old = core::mem::replace(&mut socket.reports, on.then(Box::<Reports>::default));
        let freed: usize = old.iter().flat_map(|r| r.0.iter()).map(|r| r.data.len() + DATAGRAM_COST).sum();
        socket.queued -= freed;
        self.queued -= freed;
        Ok(())
    }

    /// The oldest report. As on Linux the socket's pending error is that of the next one then, or none.
    pub(crate) fn take_report(&mut self, id: UdpId) -> Result<Option<UdpReport>, Error> {
        let socket = self.get_mut(id)?;
        let Some(report) = socket.reports.as_mut().and_then(|r| r.0.pop_front()) else { return Ok(None) };
        socket.error = socket.reports.as_ref().and_then(|r| r.0.front()).map(|next| next.error);
        let cost = report.data.len() + DATAGRAM_COST;
        socket.queued -= cost;
        self.queued -= cost;
        Ok(Some(report))
    }

    /// Takes in an ICMP error about a datagram from `local`. Who asked for all errors is told of each; others of hard
    /// ones where they are connected, once, by their next call (RFC 1122 4.1.3.3). False where no socket could have sent
    /// such a datagram: then the message proves nothing.
    pub(crate) fn icmp_error(&mut self, local: SocketAddr, hard: bool, report: &UdpReport) -> bool {
        let mut concerned = self.table.connected(local, report.to).to_vec();
        if concerned.is_empty() {
            concerned.extend(self.table.unicast(local, report.to));
        }
        for &index in &concerned {
            let Some(socket) = self.sockets.get_mut(index) else { continue };
            if socket.reports.is_none() && (!hard || socket.remote.is_none()) {
                continue;
            }
            let kept = socket.keep_report(report);
            socket.error = Some(report.error);
            self.queued += kept;
            self.notify(index, Ready::ERROR | Ready::READABLE | Ready::WRITABLE);
        }
        !concerned.is_empty()
    }
}
