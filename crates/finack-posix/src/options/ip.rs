//! Levels IPPROTO_IP and IPPROTO_IPV6.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use finack_core::options::MtuDiscovery;

use super::{Common, flag, in_force, int, int_or_byte, number};
use crate::datagram::Datagram;
use crate::stream::{Phase, Stream};
use crate::{Errno, Os, abi};

/// The ECN bits of a TOS byte are TCP's own.
const ECN: u8 = 3;

/// A hop limit: -1 takes the default.
fn hop_limit(value: i64, least: i64) -> Result<Option<u8>, Errno> {
    match value {
        -1 => Ok(None),
        n if (least..=255).contains(&n) => Ok(Some(n as u8)),
        _ => Err(Errno::EINVAL),
    }
}

/// A TOS byte; IPv6's -1 takes the default.
fn tos(level: i64, value: &[u8]) -> Result<u8, Errno> {
    match (level, int_or_byte(value)?) {
        (abi::IPPROTO_IPV6, -1) => Ok(0),
        (abi::IPPROTO_IPV6, n) if !(0..=255).contains(&n) => Err(Errno::EINVAL),
        (_, n) => Ok(n as u8),
    }
}

/// What IP_MTU_DISCOVER and IPV6_MTU_DISCOVER stand for.
const MTU_DISCOVERY: [MtuDiscovery; 6] = [
    MtuDiscovery::Dont,
    MtuDiscovery::Want,
    MtuDiscovery::Do,
    MtuDiscovery::Probe,
    MtuDiscovery::Interface,
    MtuDiscovery::Omit,
];

impl Common {
    /// Options of both levels that every socket has; whether it was one.
    fn set_ip(&mut self, level: i64, name: i64, value: &[u8]) -> Result<bool, Errno> {
        let v6 = level == abi::IPPROTO_IPV6;
        match (v6, name) {
            (false, abi::IP_MTU_DISCOVER) | (true, abi::IPV6_MTU_DISCOVER) => {
                self.mtu_discover = Some(value_in(v6, value, 0..=5)?);
            }
            (false, abi::IP_RECVERR) | (true, abi::IPV6_RECVERR) => {
                self.recv_error = value_in(v6, value, i64::MIN..=i64::MAX)? != 0;
            }
            (false, abi::IP_FREEBIND) | (true, abi::IPV6_FREEBIND) => {
                self.free_bind = value_in(v6, value, i64::MIN..=i64::MAX)? != 0;
            }
            (false, abi::IP_BIND_ADDRESS_NO_PORT) => self.bind_no_port = int_or_byte(value)? != 0,
            // To ask for what is so anyway is granted.
            (false, abi::IP_TRANSPARENT) => return Ok(int_or_byte(value)? == 0),
            (false, abi::IP_MINTTL) => return Ok(value_in(v6, value, 0..=255)? == 0),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn ip(&self, level: i64, name: i64) -> Option<i64> {
        Some(match (level == abi::IPPROTO_IPV6, name) {
            (false, abi::IP_MTU_DISCOVER) | (true, abi::IPV6_MTU_DISCOVER) => {
                self.mtu_discover.unwrap_or(abi::IP_PMTUDISC_WANT)
            }
            (false, abi::IP_RECVERR) | (true, abi::IPV6_RECVERR) => self.recv_error.into(),
            (false, abi::IP_FREEBIND) | (true, abi::IPV6_FREEBIND) => self.free_bind.into(),
            (false, abi::IP_BIND_ADDRESS_NO_PORT) => self.bind_no_port.into(),
            (false, abi::IP_TRANSPARENT | abi::IP_MINTTL) => 0,
            _ => return None,
        })
    }
}

/// A value that level IP takes as a byte too.
fn value_in(v6: bool, value: &[u8], range: core::ops::RangeInclusive<i64>) -> Result<i64, Errno> {
    let value = if v6 { int(value)? } else { int_or_byte(value)? };
    if range.contains(&value) { Ok(value) } else { Err(Errno::EINVAL) }
}

/// IP_MTU and IPV6_MTU are read, never set.
fn is_path_mtu(level: i64, name: i64) -> bool {
    matches!((level, name), (abi::IPPROTO_IP, abi::IP_MTU) | (abi::IPPROTO_IPV6, abi::IPV6_MTU))
}

/// `struct ip_mreq` or `struct ipv6_mreq`: the group.
fn group(level: i64, value: &[u8]) -> Result<IpAddr, Errno> {
    if level == abi::IPPROTO_IP {
        let bytes: [u8; 4] = value.get(..4).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
        return Ok(Ipv4Addr::from(bytes).into());
    }
    let bytes: [u8; 16] = value.get(..16).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(Ipv6Addr::from(bytes).into())
}

impl Stream {
    /// Sets the option; false where finack has none of that name.
    pub(super) fn set_ip_option(&mut self, level: i64, name: i64, value: &[u8]) -> Result<bool, Errno> {
        match (level, name) {
            (abi::IPPROTO_IP, abi::IP_TOS) | (abi::IPPROTO_IPV6, abi::IPV6_TCLASS) => {
                self.options.tos = tos(level, value)? & !ECN | self.options.tos & ECN;
            }
            (abi::IPPROTO_IP, abi::IP_TTL) => self.options.hop_limit = hop_limit(int_or_byte(value)?, 1)?,
            (abi::IPPROTO_IPV6, abi::IPV6_UNICAST_HOPS) => {
                self.options.hop_limit = hop_limit(int(value)?, 0)?;
            }
            (abi::IPPROTO_IPV6, abi::IPV6_V6ONLY) => {
                if self.phase != Phase::Fresh {
                    return Err(Errno::EINVAL);
                }
                self.options.v6_only = flag(value)?;
            }
            _ => {
                let known = self.common.set_ip(level, name, value)?;
                let mode = self.common.mtu_discover.and_then(|mode| usize::try_from(mode).ok());
                self.options.mtu_discovery = mode.and_then(|mode| MTU_DISCOVERY.get(mode).copied());
                return Ok(known);
            }
        }
        Ok(true)
    }

    /// The option's value; `None` where finack has none of that name.
    pub(super) fn ip_option(&self, os: &Os<'_>, level: i64, name: i64) -> Result<Option<Vec<u8>>, Errno> {
        let o = in_force(self, os)?;
        let default = os.stack.settings().ip_default_ttl;
        let hops = o.hop_limit.map_or(i64::try_from(default).unwrap_or(64), i64::from);
        Ok(Some(match (level, name) {
            (abi::IPPROTO_IP, abi::IP_TOS) | (abi::IPPROTO_IPV6, abi::IPV6_TCLASS) => number(o.tos.into()),
            (abi::IPPROTO_IP, abi::IP_TTL) | (abi::IPPROTO_IPV6, abi::IPV6_UNICAST_HOPS) => number(hops),
            (abi::IPPROTO_IPV6, abi::IPV6_V6ONLY) => number(o.v6_only.into()),
            (abi::IPPROTO_IP, abi::IP_MTU_DISCOVER) | (abi::IPPROTO_IPV6, abi::IPV6_MTU_DISCOVER) => {
                let default = i64::from(os.stack.settings().ip_no_pmtu_disc == 0);
                number(self.common.mtu_discover.unwrap_or(default))
            }
            _ if is_path_mtu(level, name) => {
                let conn = self.conn().ok_or(Errno::ENOTCONN)?;
                number(os.stack.tcp_info(os.now, conn)?.path_mtu.into())
            }
            _ => return Ok(self.common.ip(level, name).map(number)),
        }))
    }
}

impl Datagram {
    /// Sets the option; false where finack has none of that name.
    pub(super) fn set_ip_option(
        &mut self,
        os: &mut Os<'_>,
        level: i64,
        name: i64,
        value: &[u8],
    ) -> Result<bool, Errno> {
        let o = &mut self.options;
        match (level, name) {
            (abi::IPPROTO_IP, abi::IP_TOS) | (abi::IPPROTO_IPV6, abi::IPV6_TCLASS) => {
                o.tos = tos(level, value)?
            }
            (abi::IPPROTO_IP, abi::IP_TTL) => o.hop_limit = hop_limit(int_or_byte(value)?, 1)?,
            (abi::IPPROTO_IPV6, abi::IPV6_UNICAST_HOPS) => o.hop_limit = hop_limit(int(value)?, 1)?,
            (abi::IPPROTO_IP, abi::IP_MULTICAST_TTL) => o.multicast_hops = hop_limit(int_or_byte(value)?, 0)?,
            (abi::IPPROTO_IPV6, abi::IPV6_MULTICAST_HOPS) => o.multicast_hops = hop_limit(int(value)?, 0)?,
            (abi::IPPROTO_IP, abi::IP_RECVTOS) | (abi::IPPROTO_IPV6, abi::IPV6_RECVTCLASS) => {
                o.tell_tos = int_or_byte(value)? != 0;
            }
            (abi::IPPROTO_IP, abi::IP_RECVTTL) | (abi::IPPROTO_IPV6, abi::IPV6_RECVHOPLIMIT) => {
                o.tell_hops = int_or_byte(value)? != 0;
            }
            (abi::IPPROTO_IP, abi::IP_PKTINFO) | (abi::IPPROTO_IPV6, abi::IPV6_RECVPKTINFO) => {
                o.tell_destination = int_or_byte(value)? != 0;
            }
            (abi::IPPROTO_IP, abi::IP_RECVERR) | (abi::IPPROTO_IPV6, abi::IPV6_RECVERR) => {
                o.tell_errors = flag(value)?;
            }
            (abi::IPPROTO_IPV6, abi::IPV6_V6ONLY) => o.bind.v6_only = flag(value)?,
            (abi::IPPROTO_IP, abi::IP_ADD_MEMBERSHIP) | (abi::IPPROTO_IPV6, abi::IPV6_ADD_MEMBERSHIP) => {
                let id = self.port(os)?;
                os.stack.udp_join(id, group(level, value)?)?;
            }
            (abi::IPPROTO_IP, abi::IP_DROP_MEMBERSHIP) | (abi::IPPROTO_IPV6, abi::IPV6_DROP_MEMBERSHIP) => {
                let id = self.id().ok_or(Errno::EADDRNOTAVAIL)?;
                os.stack.udp_leave(id, group(level, value)?)?;
            }
            _ => return self.common.set_ip(level, name, value),
        }
        Ok(true)
    }

    /// The option's value; `None` where finack has none of that name.
    pub(super) fn ip_option(&self, os: &Os<'_>, level: i64, name: i64) -> Result<Option<Vec<u8>>, Errno> {
        if is_path_mtu(level, name) {
            let mtu = self.id().map(|id| os.stack.udp_path_mtu(os.now, id)).transpose()?.flatten();
            return Ok(Some(number(mtu.ok_or(Errno::ENOTCONN)?.into())));
        }
        let o = &self.options;
        Ok(Some(number(match (level, name) {
            (abi::IPPROTO_IP, abi::IP_TOS) | (abi::IPPROTO_IPV6, abi::IPV6_TCLASS) => o.tos.into(),
            (abi::IPPROTO_IP, abi::IP_TTL) | (abi::IPPROTO_IPV6, abi::IPV6_UNICAST_HOPS) => {
                o.hop_limit.map_or(64, i64::from)
            }
            (abi::IPPROTO_IP, abi::IP_MULTICAST_TTL) | (abi::IPPROTO_IPV6, abi::IPV6_MULTICAST_HOPS) => {
                o.multicast_hops.map_or(1, i64::from)
            }
            (abi::IPPROTO_IP, abi::IP_RECVTOS) | (abi::IPPROTO_IPV6, abi::IPV6_RECVTCLASS) => {
                o.tell_tos.into()
            }
            (abi::IPPROTO_IP, abi::IP_RECVTTL) | (abi::IPPROTO_IPV6, abi::IPV6_RECVHOPLIMIT) => {
                o.tell_hops.into()
            }
            (abi::IPPROTO_IP, abi::IP_PKTINFO) | (abi::IPPROTO_IPV6, abi::IPV6_RECVPKTINFO) => {
                o.tell_destination.into()
            }
            (abi::IPPROTO_IP, abi::IP_RECVERR) | (abi::IPPROTO_IPV6, abi::IPV6_RECVERR) => {
                o.tell_errors.into()
            }
            (abi::IPPROTO_IPV6, abi::IPV6_V6ONLY) => o.bind.v6_only.into(),
            _ => return Ok(self.common.ip(level, name).map(number)),
        })))
    }
}
