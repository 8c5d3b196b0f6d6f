//! Addresses: from calls to the engine and back, `getsockname` and `getpeername`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::file::Kind;
use crate::{Address, Answer, Errno, Fd, Os, Posix, Reply};

/// The wildcard address of a family.
pub(crate) fn any(v6: bool) -> SocketAddr {
    let ip: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, 0)
}

/// What a socket of that family makes of an address: mapped IPv4 addresses are for IPv6 sockets only.
pub(crate) fn for_family(v6: bool, address: Address) -> Result<SocketAddr, Errno> {
    match address {
        Address::Unspecified => Err(Errno::EAFNOSUPPORT),
        Address::Inet(to) if to.is_ipv6() == v6 => Ok(to),
        // `struct sockaddr_in` is too short for an IPv6 socket.
        Address::Inet(_) if v6 => Err(Errno::EINVAL),
        Address::Inet(_) => Err(Errno::EAFNOSUPPORT),
    }
}

/// An address as a socket of that family shows it.
pub(crate) fn shown(v6: bool, address: SocketAddr) -> Address {
    Address::Inet(match address.ip() {
        IpAddr::V4(ip) if v6 && ip.is_unspecified() => {
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port())
        }
        IpAddr::V4(ip) if v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        _ => address,
    })
}

impl Posix {
    pub(crate) fn socket_name(&mut self, os: &mut Os<'_>, fd: Fd) -> Answer {
        let (v6, local) = match &self.files.file(fd)?.kind {
            Kind::Stream(stream) => (stream.v6, stream.local(os)?),
            Kind::Datagram(datagram) => (datagram.v6, datagram.local(os)?),
            _ => return Err(Errno::ENOTSOCK),
        };
        Ok(Reply::Name(shown(v6, local.unwrap_or_else(|| any(v6)))))
    }

    pub(crate) fn peer_name(&mut self, os: &mut Os<'_>, fd: Fd) -> Answer {
        let (v6, peer) = match &self.files.file(fd)?.kind {
            Kind::Stream(stream) => (stream.v6, stream.peer(os)?),
            Kind::Datagram(datagram) => (datagram.v6, datagram.peer(os)?),
            _ => return Err(Errno::ENOTSOCK),
        };
        peer.map(|peer| Reply::Name(shown(v6, peer))).ok_or(Errno::ENOTCONN)
    }
}
