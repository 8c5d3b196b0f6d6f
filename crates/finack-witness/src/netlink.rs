//! As much of rtnetlink (RFC 3549) as a script's namespace takes: addresses, links, one route with its metrics.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const REQUEST_AND_ACK: u16 = 1 | 4;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const TYPE_ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_METRICS: u16 = 8;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_LINK: u8 = 253;
const TYPE_UNICAST: u8 = 1;

/// `RTAX_MTU`: the path's MTU, in bytes.
pub(crate) const ROUTE_MTU: u16 = 2;

/// `RTAX_ADVMSS`: what the MSS option says, in bytes.
pub(crate) const ADVERTISED_MSS: u16 = 8;

/// `RTAX_INITCWND`: the initial window of connections over a route, in segments.
pub(crate) const INITIAL_WINDOW: u16 = 11;

/// A netlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        let fd =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// The index of the interface called `name`.
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.fd, name)?)
    }

    pub(crate) fn link_up(&mut self, index: u32) -> io::Result<()> {
        self.request(NEW_LINK, 0, &Body::link(index, libc::IFF_UP as u32))
    }

    pub(crate) fn link_mtu(&mut self, index: u32, mtu: u16) -> io::Result<()> {
        let mut body = Body::link(index, 0);
        body.attribute(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
        self.request(NEW_LINK, 0, &body)
    }

    /// Gives a link an address, at once and for good (no duplicate address detection).
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
        let mut body = Body(vec![family(address), prefix, flags, 0]);
        body.0.extend_from_slice(&index.to_ne_bytes());
        body.address(IFA_LOCAL, address);
        body.address(IFA_ADDRESS, address);
        self.request(NEW_ADDRESS, CREATE, &body)
    }

    /// Everything that has no other route goes out there; `metrics` are RTAX numbers with their values.
    pub(crate) fn default_route(&mut self, index: u32, v6: bool, metrics: &[(u16, u32)]) -> io::Result<()> {
        let (family, scope) = if v6 { (libc::AF_INET6, 0) } else { (libc::AF_INET, SCOPE_LINK) };
        let fixed = [family as u8, 0, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, TYPE_UNICAST, 0, 0, 0, 0];
        let mut body = Body(fixed.to_vec());
        body.attribute(RTA_OIF, &index.to_ne_bytes());
        let mut list = Body::default();
        for (metric, value) in metrics {
            list.attribute(*metric, &value.to_ne_bytes());
        }
        if !metrics.is_empty() {
            body.attribute(RTA_METRICS, &list.0);
        }
        self.request(NEW_ROUTE, CREATE | REPLACE, &body)
    }

    /// Sends one request and waits for the kernel's answer to it.
    fn request(&mut self, kind: u16, flags: u16, body: &Body) -> io::Result<()> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(16 + body.0.len());
        message.extend_from_slice(&(16 + body.0.len() as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(REQUEST_AND_ACK | flags).to_ne_bytes());
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
    /// `struct ifinfomsg`, with flags to set.
    fn link(index: u32, flags: u32) -> Self {
        let mut body = vec![0; 4];
        for field in [index, flags, flags] {
            body.extend_from_slice(&field.to_ne_bytes());
        }
        Self(body)
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
