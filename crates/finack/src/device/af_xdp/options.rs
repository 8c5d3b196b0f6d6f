//! What an AF_XDP device is made from, and what came of it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::interface::Interface;
use finack_wire::ethernet::{HEADER_LEN, MacAddr};

/// Most addresses on one interface: the kernel's program compares each packet with each of them.
const MOST_ADDRESSES: usize = 16;
/// Entries of each ring.
const RING: RangeInclusive<u32> = 64..=16384;
/// What the kernel keeps free in front of each received frame (`XDP_PACKET_HEADROOM`): bytes.
const HEADROOM: usize = 256;

/// Where the kernel is to run the program that picks finack's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfXdpAttach {
    /// In the driver where it can, else behind it.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// Behind the driver: on every Ethernet interface, but after the kernel has made a packet of its own of the frame.
    Generic,
}

/// How to take packets from a queue of a network card.
#[derive(Clone, Debug)]
pub struct AfXdpOptions {
    /// The interface's name, such as `eth0`, in the network namespace of the calling thread. It may come up later.
    pub interface: String,
    /// Which of its queues, from 0 on (`ethtool -l` tells how many there are).
    pub queue: u32,
    /// finack's addresses there, each with the bits of it (0 to 32 or 128) that name the network on the link: 1 to 16
    /// unicast addresses, the same as the [`Net`](crate::Net) gets. The kernel must not have them, unless
    /// [`ports`](Self::ports) are set.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where packets go that are for no network on the link: the first of the packet's family.
    pub gateways: Vec<IpAddr>,
    /// Neighbours whose link addresses are known and never asked for.
    pub neighbours: Vec<(IpAddr, [u8; 6])>,
    /// Take only TCP and UDP to these ports, and leave all else to the kernel, ARP, neighbour discovery and ICMP too: for
    /// an address that the kernel has as well. Then link addresses are learnt from who sends: connections can be opened
    /// only to who has sent before, to [`neighbours`](Self::neighbours), or through a gateway of which either holds. All
    /// ports that finack uses must lie within, bound ones and those of connections that it opens
    /// (`net.ipv4.ip_local_port_range`); no kernel socket may use them. Fragments are the kernel's.
    pub ports: Option<RangeInclusive<u16>>,
    /// Largest IP packet to send, in bytes, 1280 to the interface's MTU, which it is unless set.
    pub mtu: Option<usize>,
    /// Where the kernel runs the program.
    pub attach: AfXdpAttach,
    /// Let the driver work on the shared memory itself where it can.
    pub zero_copy: bool,
    /// Frames that may wait each way, 64 to 16384, rounded up to a power of two. The memory shared with the kernel is three
    /// times as many frames of 2 KiB (4 KiB where the MTU is above 1778 bytes): with the default of 1024 it is 6 MiB.
    pub ring_frames: u32,
}

impl Default for AfXdpOptions {
    fn default() -> Self {
        Self {
            interface: String::new(),
            queue: 0,
            addresses: Vec::new(),
            gateways: Vec::new(),
            neighbours: Vec::new(),
            ports: None,
            mtu: None,
            attach: AfXdpAttach::Auto,
            zero_copy: true,
            ring_frames: 1024,
        }
    }
}

/// How the frames of a device come and go; `Display` says it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfXdpMode {
    /// The program runs in the driver.
    pub native: bool,
    /// The card reads and writes the shared memory; else the kernel copies each frame.
    pub zero_copy: bool,
    /// Why the program does not run in the driver, where it was to.
    pub refused: Option<String>,
}

impl fmt::Display for AfXdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.native { "native XDP" } else { "generic XDP" })?;
        f.write_str(if self.zero_copy { ", zero copy" } else { ", copies" })?;
        match &self.refused {
            Some(why) => write!(f, " (the driver refused native XDP: {why})"),
            None => Ok(()),
        }
    }
}

impl AfXdpOptions {
    /// What can be seen to be wrong without looking at the interface.
    pub(super) fn check(&self) -> io::Result<()> {
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if !(1..=MOST_ADDRESSES).contains(&self.addresses.len()) {
            let count = self.addresses.len();
            return invalid(format!("{count} addresses: an AF_XDP device has 1 to {MOST_ADDRESSES}"));
        }
        for &(address, prefix) in &self.addresses {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let broadcast = matches!(address, IpAddr::V4(a) if a.is_broadcast());
            if address.is_unspecified() || address.is_multicast() || broadcast {
                return invalid(format!("{address} is no address of a host"));
            }
            if prefix > bits {
                return invalid(format!("{address}/{prefix}: the address has {bits} bits"));
            }
        }
        if let Some((ip, mac)) = self.neighbours.iter().find(|(_, mac)| !MacAddr(*mac).is_station()) {
            return invalid(format!("neighbour {ip}: {} is no link address of a station", MacAddr(*mac)));
        }
        if let Some(ports) = self.ports.as_ref().filter(|ports| ports.is_empty()) {
            return invalid(format!("ports {} to {}: there are none", ports.start(), ports.end()));
        }
        if let Some(mtu) = self.mtu.filter(|mtu| *mtu < 1280) {
            return invalid(format!("MTU of {mtu} bytes: IPv6 needs 1280 at least"));
        }
        if !RING.contains(&self.ring_frames) {
            return invalid(format!("{} ring_frames: {} to {}", self.ring_frames, RING.start(), RING.end()));
        }
        Ok(())
    }

    pub(super) fn ring_entries(&self) -> u32 {
        self.ring_frames.next_power_of_two()
    }

    /// Bytes of a frame in the shared memory that holds what the interface can receive.
    pub(super) fn frame_size(&self, interface: &Interface) -> io::Result<usize> {
        let needed = HEADROOM + HEADER_LEN + interface.mtu;
        [2048, 4096].into_iter().find(|size| needed <= *size).ok_or_else(|| {
            let (name, most) = (&interface.name, 4096 - HEADROOM - HEADER_LEN);
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{name} has an MTU of {} bytes, and an AF_XDP frame holds {most}: `ip link set {name} mtu 1500`",
                    interface.mtu
                ),
            )
        })
    }
}
