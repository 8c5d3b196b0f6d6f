//! What must be known of the network interface, asked by `ioctl` in the network namespace of the calling thread.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use finack_wire::ethernet::MacAddr;
use finack_wire::ndp;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::failed;
use crate::device::af_packet;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GET_DRIVER: u32 = 0x3;
const ETHTOOL_GET_CHANNELS: u32 = 0x3c;

const MEMBERSHIP_ADD: libc::c_int = 1;
const MEMBERSHIP_MULTICAST: libc::c_ushort = 0;

/// An Ethernet interface.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    /// Bytes of the largest IP packet.
    pub(super) mtu: usize,
    pub(super) mac: MacAddr,
    /// How many queues it receives with; `None` where its driver does not tell.
    pub(super) queues: Option<u32>,
    /// Packets may come with checksums that their sender left to hardware which is not there: veth, tap.
    pub(super) is_virtual: bool,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_channels`: maxima, then counts.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

impl Interface {
    /// Looks at the interface called `name`.
    pub(super) fn look(name: &str) -> io::Result<Self> {
        // Sockets of most families can be asked, but those of AF_XDP can't.
        let kind = (AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None)?;
        let socket = socket.as_fd();
        let index = rustix::net::netdevice::name_to_index(socket, name).map_err(|e| {
            let advice =
                format!("there is no interface {name:?} in this network namespace: `ip link` lists them");
            failed(&advice, e)
        })?;
        let mut request = request(name)?;
        // SAFETY: the request is an `ifreq` with a name, which the kernel reads and fills in.
        unsafe { ask(socket, libc::SIOCGIFMTU, &mut request) }?;
        // SAFETY: SIOCGIFMTU filled in this field.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        // SAFETY: as for the MTU.
        unsafe { ask(socket, libc::SIOCGIFHWADDR, &mut request) }?;
        // SAFETY: SIOCGIFHWADDR filled in this field.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        if address.sa_family != libc::ARPHRD_ETHER {
            let what = format!("interface {name} is no Ethernet interface: use a TUN device there");
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        let mut info = DriverInfo { command: ETHTOOL_GET_DRIVER, driver: [0; 32], rest: [0; 160] };
        // SAFETY: this command fills in a `struct ethtool_drvinfo`, which this is.
        let known = unsafe { ethtool(socket, name, &mut info) }.is_ok();
        let is_virtual = known && [&b"veth\0"[..], b"tun\0"].iter().any(|d| info.driver.starts_with(d));
        let mut channels = Channels { command: ETHTOOL_GET_CHANNELS, ..Channels::default() };
        // SAFETY: this command fills in a `struct ethtool_channels`, which this is.
        let known = unsafe { ethtool(socket, name, &mut channels) }.is_ok();
        let queues = known.then_some(channels.rx.max(channels.combined)).filter(|n| *n > 0);
        let mtu = usize::try_from(mtu).unwrap_or(0);
        Ok(Self { name: name.into(), index, mtu, mac: MacAddr(mac), queues, is_virtual })
    }

    /// Has the interface let through what is sent to the groups in which neighbours are asked for these addresses, for as
    /// long as the answer lives.
    pub(super) fn join(&self, addresses: impl Iterator<Item = Ipv6Addr>) -> io::Result<OwnedFd> {
        // A packet socket that is bound to nothing receives nothing.
        let socket = af_packet::socket()?;
        for address in addresses {
            let MacAddr(group) = MacAddr::from_multicast_v6(ndp::solicited_node(address));
            let mut octets = [0; 8];
            octets[..6].copy_from_slice(&group);
            let request = libc::packet_mreq {
                mr_ifindex: self.index as libc::c_int,
                mr_type: MEMBERSHIP_MULTICAST,
                mr_alen: 6,
                mr_address: octets,
            };
            af_packet::set_option(socket.as_fd(), MEMBERSHIP_ADD, &request)?;
        }
        Ok(socket)
    }
}

/// A request about the interface called `name`, which is known to be no longer than a name may be.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// # Safety
/// The request is one that goes with the number.
unsafe fn ask(socket: BorrowedFd<'_>, number: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: as the caller promises; the request lives until the call returns.
    match unsafe { libc::ioctl(socket.as_raw_fd(), number as _, &raw mut *request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
/// `command` is the structure that goes with the command in its first field.
unsafe fn ethtool<T>(socket: BorrowedFd<'_>, name: &str, command: &mut T) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut *command).cast();
    // SAFETY: SIOCETHTOOL takes an `ifreq` that points to a command, whose size the kernel knows by its number.
    unsafe { ask(socket, SIOCETHTOOL, &mut request) }
}
