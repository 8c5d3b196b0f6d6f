//! The TUN device: what scripts inject goes in there.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// `TUN_F_CSUM`, `TUN_F_TSO4`, `TUN_F_TSO6`, `TUN_F_TSO_ECN`.
const CHECKSUMS: libc::c_ulong = 1;
const SEGMENTATION: libc::c_ulong = 2 | 4 | 8;

/// `struct virtio_net_hdr`.
const HEADER: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// One TUN device of the calling thread's network namespace; it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Tun {
    fd: OwnedFd,
    scratch: Vec<u8>,
}

impl Tun {
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        crate::sys::interface_request(fd.as_raw_fd(), libc::TUNSETIFF as _, name, flags)?;
        let tun = Self { fd, scratch: vec![0; HEADER + (1 << 17)] };
        tun.offload(true)?;
        Ok(tun)
    }

    /// Whether units of several segments leave the host.
    pub(crate) fn offload(&self, segmentation: bool) -> io::Result<()> {
        let features = CHECKSUMS | if segmentation { SEGMENTATION } else { 0 };
        crate::sys::number_request(self.fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, features)
    }

    /// A packet arrives; where `segment_size` is not 0, as a unit of segments of that size.
    pub(crate) fn write(&self, packet: &[u8], segment_size: u16) -> io::Result<()> {
        let mut bytes = vec![0_u8; HEADER];
        let v6 = packet.first().is_some_and(|b| b >> 4 == 6);
        let ip = if v6 { 40 } else { packet.first().map_or(20, |b| usize::from(b & 15) * 4) };
        let mut packet = packet.to_vec();
        if let (true, Some(offset)) = (segment_size > 0, packet.get(ip + 12)) {
            let headers = ip + usize::from(offset >> 4) * 4;
            bytes[0] = NEEDS_CHECKSUM;
            bytes[1] = if v6 { GSO_TCPV6 } else { GSO_TCPV4 };
            bytes[2..4].copy_from_slice(&(headers as u16).to_ne_bytes());
            bytes[4..6].copy_from_slice(&segment_size.to_ne_bytes());
            bytes[6..8].copy_from_slice(&(ip as u16).to_ne_bytes());
            bytes[8..10].copy_from_slice(&16_u16.to_ne_bytes());
            pseudo_checksum(&mut packet, ip, v6);
        }
        bytes.extend_from_slice(&packet);
        rustix::io::write(&self.fd, &bytes)?;
        Ok(())
    }

    /// Takes what the kernel handed to the device away, so that its queue does not fill: the sniffer has seen it.
    pub(crate) fn drain(&mut self) {
        while rustix::io::read(&self.fd, &mut self.scratch).is_ok_and(|n| n > 0) {}
    }
}

/// In a packet whose checksum is still to be made there stands the sum of the pseudo-header.
fn pseudo_checksum(packet: &mut [u8], ip: usize, v6: bool) {
    let addresses = if v6 { 8..40 } else { 12..20 };
    let length = (packet.len() - ip) as u32;
    let mut sum = u32::from(6_u8) + (length >> 16) + (length & 0xffff);
    for pair in packet.get(addresses).unwrap_or(&[]).chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    if let Some(field) = packet.get_mut(ip + 16..ip + 18) {
        field.copy_from_slice(&(sum as u16).to_be_bytes());
    }
}
