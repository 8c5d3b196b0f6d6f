//! What the kernel sends through the device, with the kernel's own time of each packet.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use finack_sim::packet::finish_checksum;

use crate::call::control_messages;
use crate::sys;

/// `ETH_P_ALL` as the kernel has it: only a socket for all protocols sees what leaves.
const ALL: u16 = 3_u16.to_be();
const OUTGOING: u8 = 4;
/// `TP_STATUS_CSUMNOTREADY`: the transport checksum is left to the device.
const CHECKSUM_NOT_READY: u32 = 8;
const PACKET_AUXDATA: i64 = 8;
/// Bytes that may wait in the socket.
const BUFFER: i32 = 16 << 20;

/// A packet socket on one interface.
#[derive(Debug)]
pub(crate) struct Sniffer {
    fd: OwnedFd,
    scratch: Vec<u8>,
}

/// A packet that left, when by the wall clock (since 1970), with finished checksums.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) at: Duration,
    pub(crate) bytes: Vec<u8>,
}

impl Sniffer {
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let failed = |errno: finack_posix::Errno| io::Error::from_raw_os_error(errno.0);
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let fd = sys::socket(libc::AF_PACKET.into(), kind.into(), ALL.into()).map_err(failed)?;
        // SAFETY: the descriptor was opened just now, and nothing else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // `struct sockaddr_ll`
        let mut address = Vec::with_capacity(20);
        address.extend_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
        address.extend_from_slice(&ALL.to_ne_bytes());
        address.extend_from_slice(&index.to_ne_bytes());
        address.resize(20, 0);
        let raw = fd.as_raw_fd();
        let on = 1_i32.to_ne_bytes();
        sys::bind(raw, &address).map_err(failed)?;
        sys::set_option(raw, libc::SOL_SOCKET.into(), libc::SO_TIMESTAMPNS.into(), &on).map_err(failed)?;
        sys::set_option(raw, libc::SOL_PACKET.into(), PACKET_AUXDATA, &on).map_err(failed)?;
        // A smaller buffer does too, where more is not allowed.
        let _ =
            sys::set_option(raw, libc::SOL_SOCKET.into(), libc::SO_RCVBUFFORCE.into(), &BUFFER.to_ne_bytes());
        Ok(Self { fd, scratch: vec![0; 1 << 17] })
    }

    /// The oldest packet that left and was not taken.
    pub(crate) fn next(&mut self) -> Option<Left> {
        loop {
            let received = sys::receive_into(self.fd.as_raw_fd(), &mut self.scratch, 0);
            let (name, control, count, _) = received.ok()?;
            // `sll_pkttype`
            if name.get(10) != Some(&OUTGOING) {
                continue;
            }
            let (mut at, mut unfinished) = (Duration::ZERO, false);
            for (level, kind, data) in control_messages(&control) {
                if (level, kind) == (libc::SOL_SOCKET.into(), libc::SCM_TIMESTAMPNS.into()) {
                    at = crate::call::timespec(data).unwrap_or_default();
                } else if (level, kind) == (libc::SOL_PACKET.into(), PACKET_AUXDATA) {
                    let status = data.get(..4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                    unfinished = status & CHECKSUM_NOT_READY != 0;
                }
            }
            let mut bytes = self.scratch.get(..count)?.to_vec();
            if is_multicast(&bytes) {
                continue;
            }
            if unfinished {
                finish(&mut bytes);
            }
            return Some(Left { at, bytes });
        }
    }
}

impl AsFd for Sniffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Memberships, neighbour discovery: the host's own, no business of a script's.
fn is_multicast(packet: &[u8]) -> bool {
    match packet.first().map(|b| b >> 4) {
        Some(6) => packet.get(24) == Some(&0xff),
        _ => packet.get(16).is_some_and(|b| b >> 4 == 14),
    }
}

/// Makes the checksum that the kernel left to the device.
fn finish(packet: &mut [u8]) {
    let v6 = packet.first().is_some_and(|b| b >> 4 == 6);
    let (protocol, start) = match (v6, packet.first()) {
        (true, _) => (packet.get(6), 40),
        (false, first) => (packet.get(9), first.map_or(20, |b| usize::from(b & 15) * 4)),
    };
    let offset = match protocol {
        Some(6) => 16,
        Some(17) => 6,
        _ => return,
    };
    // A packet too short for it is shown as it is.
    let _ = finish_checksum(packet, start, offset);
}
