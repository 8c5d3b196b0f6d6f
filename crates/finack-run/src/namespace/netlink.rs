//! As much of rtnetlink (RFC 3549, Linux `include/uapi/linux/rtnetlink.h`) as it takes to set
//! up links, addresses and routes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const TYPE_ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

const IFLA_ADDRESS: u16 = 1;
const IFLA_NAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const TYPE_UNICAST: u8 = 1;

/// Both ends of a veth pair.
pub(super) struct VethPair<'a> {
    pub(super) name: &'a str,
    pub(super) address: [u8; 6],
    pub(super) peer_name: &'a str,
    pub(super) peer_address: [u8; 6],
    /// Where the peer goes.
    pub(super) peer_namespace: BorrowedFd<'a>,
    pub(super) mtu: u32,
}

/// A netlink socket of the network namespace in which it was opened.
pub(super) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        Ok(Self { fd, sequence: 0 })
    }

    /// The index of the interface called `name`.
    pub(super) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.fd, name)?)
    }

    pub(super) fn create_veth(&mut self, pair: &VethPair<'_>) -> io::Result<()> {
        let mut peer = Body::link(0, 0, 0);
        peer.link_identity(pair.peer_name, pair.peer_address, pair.mtu);
        peer.attribute(IFLA_NET_NS_FD, &pair.peer_namespace.as_raw_fd().to_ne_bytes());
        let mut data = Body::default();
        data.attribute(VETH_PEER, &peer.0);
        let mut info = Body::default();
        info.attribute(INFO_KIND, b"veth");
        info.attribute(INFO_DATA, &data.0);
        let mut link = Body::link(0, 0, 0);
        link.link_identity(pair.name, pair.address, pair.mtu);
        link.attribute(IFLA_LINKINFO, &info.0);
        self.request(NEW_LINK, CREATE | EXCLUSIVE, &link)
    }

    /// Brings a link up. `arp`: whether neighbours are to be asked for their link addresses.
    pub(super) fn link_up(&mut self, index: u32, arp: bool) -> io::Result<()> {
        let (mut flags, mut change) = (libc::IFF_UP as u32, libc::IFF_UP as u32);
        if !arp {
            flags |= libc::IFF_NOARP as u32;
            change |= libc::IFF_NOARP as u32;
        }
        self.request(NEW_LINK, 0, &Body::link(index, flags, change))
    }

    /// Sets a link's MTU in bytes and the length of its transmit queue in packets.
    pub(super) fn link_sizes(&mut self, index: u32, mtu: u32, queue: u32) -> io::Result<()> {
        let mut body = Body::link(index, 0, 0);
        body.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        body.attribute(IFLA_TXQLEN, &queue.to_ne_bytes());
        self.request(NEW_LINK, 0, &body)
    }

    /// Gives a link an address, at once and for good (no duplicate address detection).
    pub(super) fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
        let mut body = Body(vec![family(address), prefix, flags, 0]);
        body.0.extend_from_slice(&index.to_ne_bytes());
        body.address(IFA_LOCAL, address);
        body.address(IFA_ADDRESS, address);
        self.request(NEW_ADDRESS, CREATE | EXCLUSIVE, &body)
    }

    /// Sends all that has no other route through `gateway`, which lies behind the link.
    pub(super) fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut body =
            Body(vec![family(gateway), 0, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, 0, TYPE_UNICAST, 0, 0, 0, 0]);
        body.address(RTA_GATEWAY, gateway);
        body.attribute(RTA_OIF, &index.to_ne_bytes());
        self.request(NEW_ROUTE, CREATE | EXCLUSIVE, &body)
    }

    /// Sends one request and waits for the kernel's answer to it.
    fn request(&mut self, kind: u16, flags: u16, body: &Body) -> io::Result<()> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(16 + body.0.len());
        message.extend_from_slice(&(16 + body.0.len() as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(REQUEST | ACK | flags).to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0_u32.to_ne_bytes());
        message.extend_from_slice(&body.0);
        rustix::net::send(&self.fd, &message, SendFlags::empty())?;
        let mut answer = [0; 4096];
        let (len, _) = rustix::net::recv(&self.fd, &mut answer, RecvFlags::empty())?;
        // `nlmsghdr`, then the error as a negative errno, or 0.
        match (answer[..len].get(4..6), answer[..len].get(16..20)) {
            (Some(kind), Some(&[a, b, c, d])) if kind == TYPE_ERROR.to_ne_bytes() => {
                match i32::from_ne_bytes([a, b, c, d]) {
                    0 => Ok(()),
                    error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                }
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "netlink gave an unexpected answer")),
        }
    }
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET }) as u8
}

/// What follows a message's header: a fixed part and attributes, each padded to 4 bytes.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    /// `struct ifinfomsg`.
    fn link(index: u32, flags: u32, change: u32) -> Self {
        let mut body = vec![0; 4];
        for field in [index, flags, change] {
            body.extend_from_slice(&field.to_ne_bytes());
        }
        Self(body)
    }

    fn link_identity(&mut self, name: &str, address: [u8; 6], mtu: u32) {
        let mut zero_ended = name.as_bytes().to_vec();
        zero_ended.push(0);
        self.attribute(IFLA_NAME, &zero_ended);
        self.attribute(IFLA_ADDRESS, &address);
        self.attribute(IFLA_MTU, &mtu.to_ne_bytes());
    }

    fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(a) => self.attribute(kind, &a.octets()),
            IpAddr::V6(a) => self.attribute(kind, &a.octets()),
        }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
