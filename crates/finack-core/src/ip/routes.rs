//! The host's addresses and where packets may go.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::stack::{InterfaceAddress, Route};

#[cfg(test)]
mod tests;

/// Addresses and routes. There are few of them: they are searched one by one, but for what every opening asks of IPv4.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    addresses: Vec<InterfaceAddress>,
    /// The IPv4 ones in ascending order.
    own_ipv4: Vec<u32>,
    /// The networks that they are in, each once: a host may have many addresses in one.
    links_ipv4: Vec<Link>,
    routes: Vec<Route>,
    any_address: bool,
    mtu: u32,
    /// No route says anything of an MTU or a segment size: it only matters whether there is one.
    alike: bool,
}

/// How far an address reaches, least first (RFC 4007 5, RFC 3484 3.2 for IPv4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Host,
    Link,
    Global,
}

impl Routes {
    /// `mtu` is the device's, in bytes.
    pub(crate) fn new(
        addresses: Vec<InterfaceAddress>,
        routes: Vec<Route>,
        any_address: bool,
        mtu: u32,
    ) -> Self {
        let mut own_ipv4 = Vec::new();
        let mut links_ipv4 = Vec::new();
        for own in &addresses {
            let IpAddr::V4(addr) = own.addr else { continue };
            own_ipv4.push(addr.to_bits());
            let link = Link::of(addr, own.prefix_len);
            if !links_ipv4.contains(&link) {
                links_ipv4.push(link);
            }
        }
        own_ipv4.sort_unstable();
        let alike = are_alike(&routes);
        Self { addresses, own_ipv4, links_ipv4, routes, any_address, mtu, alike }
    }

    /// Whether packets to this address are for this host alone.
    pub(crate) fn is_local(&self, addr: IpAddr) -> bool {
        if let Some(bits) = ordinary(addr) {
            return self.is_own_ipv4(bits) || self.any_address && !self.is_broadcast_ipv4(bits);
        }
        self.is_own(addr) || self.any_address && scope(addr) > Scope::Host && self.is_unicast(addr)
    }

    /// Whether it is a configured address, or one of 127/8 where such is configured.
    pub(crate) fn is_own(&self, addr: IpAddr) -> bool {
        if let Some(bits) = ordinary(addr) {
            return self.is_own_ipv4(bits);
        }
        self.addresses
            .iter()
            .any(|a| a.addr == addr || a.addr.is_loopback() && addr.is_loopback() && on_link(a, addr))
    }

    /// Whether it is a broadcast address: 255.255.255.255, or that of a subnet (RFC 1122 3.2.1.3).
    pub(crate) fn is_broadcast(&self, addr: IpAddr) -> bool {
        let IpAddr::V4(v4) = addr else { return false };
        v4.is_broadcast()
            || self.addresses.iter().any(|a| {
                // A /31 has two hosts and no broadcast address (RFC 3021).
                let IpAddr::V4(own) = a.addr else { return false };
                a.prefix_len < 31
                    && !own.is_loopback()
                    && v4.to_bits() == own.to_bits() | host_mask(a.prefix_len)
            })
    }

    /// Whether it is an address that one host can have.
    pub(crate) fn is_unicast(&self, addr: IpAddr) -> bool {
        let reserved = matches!(addr, IpAddr::V4(v4) if v4.octets()[0] >= 240 || v4.octets()[0] == 0);
        !addr.is_unspecified() && !addr.is_multicast() && !reserved && !self.is_broadcast(addr)
    }

    /// Whether a packet that arrives may bear this source (RFC 1122 3.2.1.3, RFC 9293 MUST-63): a host's, and not
    /// our own but for loopback.
    pub(crate) fn is_valid_source(&self, addr: IpAddr) -> bool {
        if let Some(bits) = ordinary(addr) {
            return !self.is_own_ipv4(bits) && !self.is_broadcast_ipv4(bits);
        }
        self.is_unicast(addr) && if addr.is_loopback() { self.is_own(addr) } else { !self.is_own(addr) }
    }

    /// Whether a socket may be bound to this address.
    pub(crate) fn is_bindable(&self, addr: IpAddr) -> bool {
        addr.is_unspecified() || self.is_local(addr)
    }

    /// MTU of the first hop towards `dst` in bytes; `None` where there is no route (ENETUNREACH).
    pub(crate) fn lookup(&self, dst: IpAddr) -> Option<u32> {
        match ordinary(dst) {
            Some(bits) => self.lookup_ipv4(bits),
            None => self.lookup_any(dst),
        }
    }

    /// The same of an [`ordinary`] address.
    fn lookup_ipv4(&self, dst: u32) -> Option<u32> {
        if self.alike {
            let on_link = self.links_ipv4.iter().any(|link| share(link.network, dst, link.prefix_len));
            let covers = |route: &Route| match route.network {
                IpAddr::V4(network) => share(network.to_bits(), dst, route.prefix_len),
                IpAddr::V6(_) => false,
            };
            return (on_link || self.routes.iter().any(covers)).then_some(self.mtu);
        }
        let mut best: Option<(u8, Option<u32>)> = None;
        for link in &self.links_ipv4 {
            if link.broadcast == Some(dst) {
                return Some(self.mtu);
            }
            if (link.network ^ dst).leading_zeros() >= u32::from(link.prefix_len) {
                best = Some(best.unwrap_or_default().max((link.prefix_len, None)));
            }
        }
        for route in &self.routes {
            let IpAddr::V4(network) = route.network else { continue };
            let covers = (network.to_bits() ^ dst).leading_zeros() >= u32::from(route.prefix_len);
            // Among equals the last counts.
            if covers && best.is_none_or(|(len, _)| len <= route.prefix_len) {
                best = Some((route.prefix_len, route.mtu));
            }
        }
        best.map(|(_, mtu)| mtu.map_or(self.mtu, |mtu| mtu.min(self.mtu)))
    }

    /// [`is_own`](Self::is_own) of an [`ordinary`] address.
    fn is_own_ipv4(&self, bits: u32) -> bool {
        self.own_ipv4.binary_search(&bits).is_ok()
    }

    /// [`is_broadcast`](Self::is_broadcast) of an [`ordinary`] address.
    fn is_broadcast_ipv4(&self, bits: u32) -> bool {
        self.links_ipv4.iter().any(|link| link.broadcast == Some(bits))
    }

    fn lookup_any(&self, dst: IpAddr) -> Option<u32> {
        // RFC 1122 3.2.1.3 (g): no default route leads there.
        if dst.is_unspecified() || dst.is_loopback() && !self.is_own(dst) {
            return None;
        }
        let same_family = |a: &&InterfaceAddress| a.addr.is_ipv4() == dst.is_ipv4();
        let own = self.addresses.iter().filter(same_family);
        if self.is_broadcast(dst) || dst.is_multicast() {
            return own.clone().next().map(|_| self.mtu);
        }
        let connected = own.filter(|a| on_link(a, dst)).map(|a| (a.prefix_len, None));
        let routed = self
            .routes
            .iter()
            .filter(|r| contains(r.network, r.prefix_len, dst))
            .map(|r| (r.prefix_len, r.mtu));
        let best = connected.chain(routed).max_by_key(|&(len, _)| len)?;
        Some(best.1.map_or(self.mtu, |mtu| mtu.min(self.mtu)))
    }

    /// What the MSS option towards `dst` says, where a route tells.
    pub(crate) fn advertised_mss(&self, dst: IpAddr) -> Option<u16> {
        if self.alike {
            return None;
        }
        let routes = self.routes.iter().filter(|r| contains(r.network, r.prefix_len, dst));
        routes.max_by_key(|r| r.prefix_len).and_then(|r| r.advertised_mss)
    }

    /// Takes other routes.
    pub(crate) fn replace(&mut self, routes: Vec<Route>) {
        self.alike = are_alike(&routes);
        self.routes = routes;
    }

    /// Which of the host's addresses to send from: same family, sufficient scope, longest common prefix (RFC 6724
    /// 5 rules 1, 2 and 8; RFC 1122 3.3.4.3). `None` where no address will do (EADDRNOTAVAIL).
    pub(crate) fn source_for(&self, dst: IpAddr) -> Option<IpAddr> {
        if self.is_own(dst) {
            return Some(dst);
        }
        // Where there is no choice.
        if let (Some(_), [only]) = (ordinary(dst), &self.own_ipv4[..])
            && let only = IpAddr::V4(Ipv4Addr::from_bits(*only))
            && ordinary(only).is_some()
        {
            return Some(only);
        }
        let wanted = scope(dst);
        self.addresses
            .iter()
            .filter(|a| a.addr.is_ipv4() == dst.is_ipv4())
            .filter(|a| scope(a.addr) != Scope::Host || wanted == Scope::Host)
            .enumerate()
            .max_by_key(|&(i, a)| {
                let own = scope(a.addr);
                let fits = own >= wanted;
                // The smallest scope that suffices, else the greatest there is.
                let closeness = if fits { -(own as i8) } else { own as i8 };
                let alike = dst.is_ipv6() || on_link(a, dst);
                let common = if alike { common_prefix(a.addr, dst).min(u32::from(a.prefix_len)) } else { 0 };
                (fits, closeness, common, core::cmp::Reverse(i))
            })
            .map(|(_, a)| a.addr)
    }

    /// Where a program means to go: the unspecified address stands for this host itself, at the address that the
    /// socket has, else at the loopback address, else at its first (as on Linux).
    pub(crate) fn destination(&self, dst: IpAddr, source: Option<IpAddr>) -> IpAddr {
        if !dst.is_unspecified() {
            return dst;
        }
        let same_family = |a: &IpAddr| a.is_ipv4() == dst.is_ipv4();
        let own = self.addresses.iter().map(|a| a.addr).filter(same_family);
        source
            .filter(|a| same_family(a) && !a.is_unspecified())
            .or_else(|| own.clone().find(IpAddr::is_loopback))
            .or_else(|| own.clone().next())
            .unwrap_or(dst)
    }

    /// The device's MTU in bytes.
    pub(crate) fn mtu(&self) -> u32 {
        self.mtu
    }
}

/// An IPv4 network that the host is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    /// The bits that all its addresses share.
    network: u32,
    prefix_len: u8,
    broadcast: Option<u32>,
}

impl Link {
    /// That of an address of the host's.
    fn of(own: Ipv4Addr, prefix_len: u8) -> Self {
        let (bits, mask) = (own.to_bits(), host_mask(prefix_len));
        // A /31 has two hosts and no broadcast address (RFC 3021).
        let has = prefix_len < 31 && !own.is_loopback();
        Self { network: bits & !mask, prefix_len, broadcast: has.then_some(bits | mask) }
    }
}

/// The bits of an IPv4 address that nothing is special about by itself: that is neither unspecified nor loopback, multicast,
/// reserved or the limited broadcast.
fn ordinary(addr: IpAddr) -> Option<u32> {
    let IpAddr::V4(v4) = addr else { return None };
    let bits = v4.to_bits();
    let first = bits >> 24;
    (first != 0 && first != 127 && first < 224).then_some(bits)
}

/// Whether nothing but their networks tells routes apart.
fn are_alike(routes: &[Route]) -> bool {
    routes.iter().all(|route| route.mtu.is_none() && route.advertised_mss.is_none())
}

/// Whether two IPv4 addresses have their first `len` bits in common.
fn share(one: u32, other: u32, len: u8) -> bool {
    (one ^ other).leading_zeros() >= u32::from(len)
}

fn host_mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0)
}

fn on_link(own: &InterfaceAddress, addr: IpAddr) -> bool {
    contains(own.addr, own.prefix_len, addr)
}

fn contains(network: IpAddr, prefix_len: u8, addr: IpAddr) -> bool {
    network.is_ipv4() == addr.is_ipv4() && common_prefix(network, addr) >= u32::from(prefix_len)
}

/// Leading bits that two addresses of one family share.
fn common_prefix(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

fn scope(addr: IpAddr) -> Scope {
    let link_v6 = |a: Ipv6Addr| a.is_unicast_link_local() || a.is_multicast() && a.octets()[1] & 0xf == 2;
    let host_v6 = |a: Ipv6Addr| a.is_loopback() || a.is_multicast() && a.octets()[1] & 0xf == 1;
    match addr {
        IpAddr::V4(a) if a.is_loopback() => Scope::Host,
        IpAddr::V4(a)
            if a.is_link_local() || a.octets()[..3] == Ipv4Addr::new(224, 0, 0, 0).octets()[..3] =>
        {
            Scope::Link
        }
        IpAddr::V6(a) if host_v6(a) => Scope::Host,
        IpAddr::V6(a) if link_v6(a) => Scope::Link,
        _ => Scope::Global,
    }
}
