//! ICMP for IPv4 (RFC 792, RFC 1122 section 3.2.2) and for IPv6 (RFC 4443), as one set of messages.

use crate::ip::{IpHeader, pseudo_header_sum};
use crate::{ipv4, ipv6, protocol};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

mod quoted;
#[cfg(test)]
mod tests;

pub use quoted::{Quoted, parse_quoted};

/// Bytes in front of an echo's data and of a quoted packet.
pub const HEADER_LEN: usize = 8;

/// Type numbers of ICMP for IPv4.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (deprecated by RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// The code of [`UNREACHABLE`] for fragmentation needed and DF set.
    pub const CODE_FRAG_NEEDED: u8 = 4;
}

/// Type numbers of ICMPv6.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Redirect (RFC 4861).
    pub const REDIRECT: u8 = 137;
}

/// Code of a time-exceeded message, in both versions: the hop limit ran out on the way.
pub const TIME_EXCEEDED_HOP_LIMIT: u8 = 0;
/// Code of a time-exceeded message, in both versions: not all fragments came in time.
pub const TIME_EXCEEDED_REASSEMBLY: u8 = 1;

/// Why a destination cannot be reached: the codes of both versions. That of fragmentation needed
/// (IPv4 code 4) has a message of its own, [`IcmpMessage::FragNeeded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// IPv4 code 0: network unreachable.
    Network,
    /// IPv4 code 1: host unreachable.
    Host,
    /// IPv4 code 2: protocol unreachable. ICMPv6 reports this as a parameter problem of code 1.
    Protocol,
    /// IPv4 code 3, IPv6 code 4: port unreachable.
    Port,
    /// IPv4 code 5: source route failed.
    SourceRouteFailed,
    /// IPv4 code 6: destination network unknown.
    NetworkUnknown,
    /// IPv4 code 7: destination host unknown.
    HostUnknown,
    /// IPv4 code 8: source host isolated.
    SourceIsolated,
    /// IPv4 code 9: network administratively prohibited.
    NetworkProhibited,
    /// IPv4 code 10: host administratively prohibited.
    HostProhibited,
    /// IPv4 code 11: network unreachable for this type of service.
    NetworkForTos,
    /// IPv4 code 12: host unreachable for this type of service.
    HostForTos,
    /// IPv4 code 13, IPv6 code 1: communication administratively prohibited.
    AdminProhibited,
    /// IPv6 code 0: no route to the destination.
    NoRoute,
    /// IPv6 code 2: beyond the scope of the source address.
    BeyondScope,
    /// IPv6 code 3: address unreachable.
    AddressUnreachable,
    /// IPv6 code 5: the source address failed an ingress or egress policy.
    PolicyFailed,
    /// IPv6 code 6: reject route to the destination.
    RejectRoute,
    /// Any other code, as in the message.
    Other(u8),
}

impl Unreachable {
    /// The reason that a code of ICMP for IPv4 stands for.
    #[must_use]
    pub const fn from_v4(code: u8) -> Self {
        match code {
            0 => Self::Network,
            1 => Self::Host,
            2 => Self::Protocol,
            3 => Self::Port,
            5 => Self::SourceRouteFailed,
            6 => Self::NetworkUnknown,
            7 => Self::HostUnknown,
            8 => Self::SourceIsolated,
            9 => Self::NetworkProhibited,
            10 => Self::HostProhibited,
            11 => Self::NetworkForTos,
            12 => Self::HostForTos,
            13 => Self::AdminProhibited,
            other => Self::Other(other),
        }
    }

    /// The reason that a code of ICMPv6 stands for.
    #[must_use]
    pub const fn from_v6(code: u8) -> Self {
        match code {
            0 => Self::NoRoute,
            1 => Self::AdminProhibited,
            2 => Self::BeyondScope,
            3 => Self::AddressUnreachable,
            4 => Self::Port,
            5 => Self::PolicyFailed,
            6 => Self::RejectRoute,
            other => Self::Other(other),
        }
    }

    /// The code for IPv4: that which this was parsed from, or the closest to an IPv6-only reason.
    #[must_use]
    pub const fn code_v4(self) -> u8 {
        match self {
            Self::Network | Self::NoRoute => 0,
            Self::Host | Self::AddressUnreachable | Self::BeyondScope => 1,
            Self::Protocol => 2,
            Self::Port => 3,
            Self::SourceRouteFailed => 5,
            Self::NetworkUnknown => 6,
            Self::HostUnknown => 7,
            Self::SourceIsolated => 8,
            Self::NetworkProhibited => 9,
            Self::HostProhibited => 10,
            Self::NetworkForTos => 11,
            Self::HostForTos => 12,
            Self::AdminProhibited | Self::PolicyFailed | Self::RejectRoute => 13,
            Self::Other(code) => code,
        }
    }

    /// The code for IPv6: that which this was parsed from, or the closest to an IPv4-only reason (RFC
    /// 7915 section 4.2).
    #[must_use]
    pub const fn code_v6(self) -> u8 {
        match self {
            Self::NoRoute
            | Self::Network
            | Self::Host
            | Self::SourceRouteFailed
            | Self::NetworkUnknown
            | Self::HostUnknown
            | Self::SourceIsolated
            | Self::NetworkForTos
            | Self::HostForTos => 0,
            Self::AdminProhibited | Self::NetworkProhibited | Self::HostProhibited => 1,
            Self::BeyondScope => 2,
            Self::AddressUnreachable => 3,
            Self::Port | Self::Protocol => 4,
            Self::PolicyFailed => 5,
            Self::RejectRoute => 6,
            Self::Other(code) => code,
        }
    }

    /// Whether RFC 1122 section 4.2.3.9 calls this a hard error, by which a connection may be aborted:
    /// protocol or port unreachable.
    #[must_use]
    pub const fn is_hard(self) -> bool {
        matches!(self, Self::Protocol | Self::Port)
    }
}

/// A message of either version. `quoted` is the beginning of the packet that the error is about: see
/// [`parse_quoted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpMessage<'a> {
    /// Echo request (ping).
    EchoRequest {
        /// Identifier, which the reply repeats.
        ident: u16,
        /// Sequence number, which the reply repeats.
        seq: u16,
        /// Data, which the reply repeats.
        data: &'a [u8],
    },
    /// Echo reply.
    EchoReply {
        /// Identifier of the request.
        ident: u16,
        /// Sequence number of the request.
        seq: u16,
        /// Data of the request.
        data: &'a [u8],
    },
    /// Destination unreachable.
    Unreachable {
        /// Why.
        code: Unreachable,
        /// Beginning of the packet.
        quoted: &'a [u8],
    },
    /// Fragmentation needed and DF set (IPv4 type 3 code 4, RFC 1191), or packet too big (IPv6).
    FragNeeded {
        /// The MTU of the link that the packet did not fit: bytes. 0 from routers older than RFC 1191.
        mtu: u32,
        /// Beginning of the packet.
        quoted: &'a [u8],
    },
    /// Time exceeded.
    TimeExceeded {
        /// [`TIME_EXCEEDED_HOP_LIMIT`] or [`TIME_EXCEEDED_REASSEMBLY`].
        code: u8,
        /// Beginning of the packet.
        quoted: &'a [u8],
    },
    /// Parameter problem: something in the packet's headers is wrong or not known.
    ParameterProblem {
        /// Offset in the packet of what is at fault; one byte in IPv4.
        pointer: u32,
        /// What is at fault, different in the two versions. 1 in IPv6: unknown next header.
        code: u8,
        /// Beginning of the packet.
        quoted: &'a [u8],
    },
    /// Source quench: IPv4 only, to be ignored by TCP (RFC 6633).
    SourceQuench {
        /// Beginning of the packet.
        quoted: &'a [u8],
    },
    /// Redirect to another router: IPv4 only. That of ICMPv6 comes as [`IcmpMessage::Other`].
    Redirect {
        /// 0 for a network, 1 for a host, 2 and 3 the same for a type of service.
        code: u8,
        /// The router to use.
        gateway: Ipv4Addr,
        /// Beginning of the packet.
        quoted: &'a [u8],
    },
    /// Any other message, such as those of neighbour discovery: see [`ndp`](crate::ndp).
    Other {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
        /// All that follows the checksum.
        body: &'a [u8],
    },
}

/// Why bytes are no ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Fewer bytes than its type has at least.
    Truncated,
    /// The checksum is wrong.
    BadChecksum,
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "packet ends within the ICMP header",
            Self::BadChecksum => "ICMP checksum is wrong",
        })
    }
}

impl core::error::Error for IcmpError {}

/// Parses the payload of `ip` as ICMP of its version, checking the checksum.
///
/// # Errors
///
/// If it is too short or the checksum is wrong.
pub fn parse<'a>(ip: &IpHeader, body: &'a [u8]) -> Result<IcmpMessage<'a>, IcmpError> {
    if ip.is_v6() { parse_v6(&ip.src, &ip.dst, body) } else { parse_v4(body) }
}

/// Parses a message of ICMP for IPv4, the IP payload, checking the checksum.
///
/// # Errors
///
/// If it is too short or the checksum is wrong.
pub fn parse_v4(body: &[u8]) -> Result<IcmpMessage<'_>, IcmpError> {
    let head = Head::parse(body, 0)?;
    Ok(match head.kind {
        v4::ECHO_REQUEST | v4::ECHO_REPLY => head.echo(v4::ECHO_REQUEST)?,
        v4::UNREACHABLE if head.code == v4::CODE_FRAG_NEEDED => {
            let ([_, _, a, b], quoted) = head.rest()?;
            IcmpMessage::FragNeeded { mtu: u32::from(u16::from_be_bytes([a, b])), quoted }
        }
        v4::UNREACHABLE => {
            IcmpMessage::Unreachable { code: Unreachable::from_v4(head.code), quoted: head.rest()?.1 }
        }
        v4::SOURCE_QUENCH => IcmpMessage::SourceQuench { quoted: head.rest()?.1 },
        v4::REDIRECT => {
            let (gateway, quoted) = head.rest()?;
            IcmpMessage::Redirect { code: head.code, gateway: Ipv4Addr::from(gateway), quoted }
        }
        v4::TIME_EXCEEDED => IcmpMessage::TimeExceeded { code: head.code, quoted: head.rest()?.1 },
        v4::PARAMETER_PROBLEM => {
            let ([pointer, ..], quoted) = head.rest()?;
            IcmpMessage::ParameterProblem { pointer: u32::from(pointer), code: head.code, quoted }
        }
        _ => head.other(),
    })
}

/// Parses a message of ICMPv6, the IP payload, checking the checksum, which covers the addresses.
///
/// # Errors
///
/// If it is too short or the checksum is wrong.
pub fn parse_v6<'a>(src: &IpAddr, dst: &IpAddr, body: &'a [u8]) -> Result<IcmpMessage<'a>, IcmpError> {
    let head = Head::parse(body, pseudo_header_sum(src, dst, protocol::ICMPV6, body.len()))?;
    Ok(match head.kind {
        v6::ECHO_REQUEST | v6::ECHO_REPLY => head.echo(v6::ECHO_REQUEST)?,
        v6::UNREACHABLE => {
            IcmpMessage::Unreachable { code: Unreachable::from_v6(head.code), quoted: head.rest()?.1 }
        }
        v6::PACKET_TOO_BIG => {
            let (mtu, quoted) = head.rest()?;
            IcmpMessage::FragNeeded { mtu: u32::from_be_bytes(mtu), quoted }
        }
        v6::TIME_EXCEEDED => IcmpMessage::TimeExceeded { code: head.code, quoted: head.rest()?.1 },
        v6::PARAMETER_PROBLEM => {
            let (pointer, quoted) = head.rest()?;
            IcmpMessage::ParameterProblem { pointer: u32::from_be_bytes(pointer), code: head.code, quoted }
        }
        _ => head.other(),
    })
}

/// The part that all messages have.
struct Head<'a> {
    kind: u8,
    code: u8,
    body: &'a [u8],
}

impl<'a> Head<'a> {
    fn parse(message: &'a [u8], pseudo: u16) -> Result<Self, IcmpError> {
        let Some((&[kind, code, _, _], body)) = message.split_first_chunk::<4>() else {
            return Err(IcmpError::Truncated);
        };
        if finack_sum::add(pseudo, finack_sum::sum(message)) != 0xffff {
            return Err(IcmpError::BadChecksum);
        }
        Ok(Self { kind, code, body })
    }

    /// The four bytes after the checksum, and what follows them.
    fn rest(&self) -> Result<([u8; 4], &'a [u8]), IcmpError> {
        let (rest, data) = self.body.split_first_chunk::<4>().ok_or(IcmpError::Truncated)?;
        Ok((*rest, data))
    }

    fn echo(&self, request: u8) -> Result<IcmpMessage<'a>, IcmpError> {
        let ([a, b, c, d], data) = self.rest()?;
        let (ident, seq) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Ok(if self.kind == request {
            IcmpMessage::EchoRequest { ident, seq, data }
        } else {
            IcmpMessage::EchoReply { ident, seq, data }
        })
    }

    const fn other(&self) -> IcmpMessage<'a> {
        IcmpMessage::Other { kind: self.kind, code: self.code, body: self.body }
    }
}

/// A message taken apart as it is written.
struct Parts<'a> {
    kind: u8,
    code: u8,
    rest: [u8; 4],
    data: &'a [u8],
}

impl<'a> IcmpMessage<'a> {
    /// The packet quoted in an error message.
    #[must_use]
    pub const fn quoted(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Unreachable { quoted, .. }
            | Self::FragNeeded { quoted, .. }
            | Self::TimeExceeded { quoted, .. }
            | Self::ParameterProblem { quoted, .. }
            | Self::SourceQuench { quoted }
            | Self::Redirect { quoted, .. } => Some(quoted),
            Self::EchoRequest { .. } | Self::EchoReply { .. } | Self::Other { .. } => None,
        }
    }

    /// What to write, with as much of the quoted packet as may be; `None` for a message that the
    /// version does not have, and for `Other`.
    fn parts(&self, is_v6: bool) -> Option<Parts<'a>> {
        let cut = |quoted: &'a [u8]| quoted.get(..max_quoted(is_v6)).unwrap_or(quoted);
        let by_version = |in_v4, in_v6| if is_v6 { in_v6 } else { in_v4 };
        let echo = |kind, ident: u16, seq: u16, data| {
            let ([a, b], [c, d]) = (ident.to_be_bytes(), seq.to_be_bytes());
            Parts { kind, code: 0, rest: [a, b, c, d], data }
        };
        Some(match *self {
            Self::EchoRequest { ident, seq, data } => {
                echo(by_version(v4::ECHO_REQUEST, v6::ECHO_REQUEST), ident, seq, data)
            }
            Self::EchoReply { ident, seq, data } => {
                echo(by_version(v4::ECHO_REPLY, v6::ECHO_REPLY), ident, seq, data)
            }
            Self::Unreachable { code, quoted } => Parts {
                kind: by_version(v4::UNREACHABLE, v6::UNREACHABLE),
                code: if is_v6 { code.code_v6() } else { code.code_v4() },
                rest: [0; 4],
                data: cut(quoted),
            },
            Self::FragNeeded { mtu, quoted } => Parts {
                kind: by_version(v4::UNREACHABLE, v6::PACKET_TOO_BIG),
                code: by_version(v4::CODE_FRAG_NEEDED, 0),
                rest: if is_v6 { mtu } else { mtu.min(u32::from(u16::MAX)) }.to_be_bytes(),
                data: cut(quoted),
            },
            Self::TimeExceeded { code, quoted } => Parts {
                kind: by_version(v4::TIME_EXCEEDED, v6::TIME_EXCEEDED),
                code,
                rest: [0; 4],
                data: cut(quoted),
            },
            Self::ParameterProblem { pointer, code, quoted } => Parts {
                kind: by_version(v4::PARAMETER_PROBLEM, v6::PARAMETER_PROBLEM),
                code,
                rest: if is_v6 { pointer.to_be_bytes() } else { [pointer.min(255) as u8, 0, 0, 0] },
                data: cut(quoted),
            },
            Self::SourceQuench { quoted } if !is_v6 => {
                Parts { kind: v4::SOURCE_QUENCH, code: 0, rest: [0; 4], data: cut(quoted) }
            }
            Self::Redirect { code, gateway, quoted } if !is_v6 => {
                Parts { kind: v4::REDIRECT, code, rest: gateway.octets(), data: cut(quoted) }
            }
            Self::SourceQuench { .. } | Self::Redirect { .. } | Self::Other { .. } => return None,
        })
    }

    /// Bytes that [`emit`] writes for this message; 0 for one that the version does not have.
    #[must_use]
    pub fn encoded_len(&self, is_v6: bool) -> usize {
        match (self.parts(is_v6), self) {
            (Some(parts), _) => HEADER_LEN + parts.data.len(),
            (None, Self::Other { body, .. }) => 4 + body.len(),
            (None, _) => 0,
        }
    }
}

/// The most bytes of a packet that an error may quote: so many that the message is of 576 bytes in
/// IPv4 (RFC 1812 section 4.3.2.3), 1280 in IPv6 (RFC 4443 section 2.4 (c)).
#[must_use]
pub const fn max_quoted(is_v6: bool) -> usize {
    if is_v6 {
        ipv6::MIN_MTU - ipv6::HEADER_LEN - HEADER_LEN
    } else {
        ipv4::MIN_REASSEMBLY - ipv4::HEADER_LEN - HEADER_LEN
    }
}

/// Writes a message from `src` to `dst`, of their version and with its checksum, to the start of
/// `out`, and returns its length. A quoted packet is cut to [`max_quoted`].
///
/// Returns 0, with nothing written, if `out` is shorter or the version does not have the message.
pub fn emit(src: &IpAddr, dst: &IpAddr, message: &IcmpMessage<'_>, out: &mut [u8]) -> usize {
    let is_v6 = src.is_ipv6();
    let len = message.encoded_len(is_v6);
    let Some(out) = out.get_mut(..len) else { return 0 };
    let Some((head, body)) = out.split_first_chunk_mut::<4>() else { return 0 };
    if let Some(parts) = message.parts(is_v6) {
        *head = [parts.kind, parts.code, 0, 0];
        let Some((rest, data)) = body.split_first_chunk_mut::<4>() else { return 0 };
        *rest = parts.rest;
        data.copy_from_slice(parts.data);
    } else if let IcmpMessage::Other { kind, code, body: from } = *message {
        *head = [kind, code, 0, 0];
        body.copy_from_slice(from);
    }
    let pseudo = if is_v6 { pseudo_header_sum(src, dst, protocol::ICMPV6, len) } else { 0 };
    let checksum = !finack_sum::add(pseudo, finack_sum::sum(out));
    if let Some(field) = out.get_mut(2..4) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    len
}

/// [`emit`] for an echo reply.
pub fn emit_echo_reply(
    src: &IpAddr,
    dst: &IpAddr,
    ident: u16,
    seq: u16,
    data: &[u8],
    out: &mut [u8],
) -> usize {
    emit(src, dst, &IcmpMessage::EchoReply { ident, seq, data }, out)
}

/// What an error message says, without the packet that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Destination unreachable.
    Unreachable(Unreachable),
    /// Fragmentation needed, or packet too big.
    FragNeeded {
        /// The MTU that the packet did not fit: bytes.
        mtu: u32,
    },
    /// Time exceeded.
    TimeExceeded {
        /// [`TIME_EXCEEDED_HOP_LIMIT`] or [`TIME_EXCEEDED_REASSEMBLY`].
        code: u8,
    },
    /// Parameter problem.
    ParameterProblem {
        /// Offset in the packet of what is at fault.
        pointer: u32,
        /// What is at fault.
        code: u8,
    },
}

impl ErrorKind {
    /// The message about the packet that `quoted` is the beginning of.
    #[must_use]
    pub const fn about<'a>(&self, quoted: &'a [u8]) -> IcmpMessage<'a> {
        match *self {
            Self::Unreachable(code) => IcmpMessage::Unreachable { code, quoted },
            Self::FragNeeded { mtu } => IcmpMessage::FragNeeded { mtu, quoted },
            Self::TimeExceeded { code } => IcmpMessage::TimeExceeded { code, quoted },
            Self::ParameterProblem { pointer, code } => {
                IcmpMessage::ParameterProblem { pointer, code, quoted }
            }
        }
    }
}

/// [`emit`] for an error about the packet `quoted`, of which as much is quoted as may be.
pub fn emit_error(src: &IpAddr, dst: &IpAddr, kind: ErrorKind, quoted: &[u8], out: &mut [u8]) -> usize {
    emit(src, dst, &kind.about(quoted), out)
}

/// Whether an error may be sent about the packet with header `ip` and that payload (RFC 1122 section
/// 3.2.2, RFC 4443 section 2.4 (e)): not about an ICMP error or redirect, not about a fragment but the
/// first, not to a source that is no single host, and not about a packet to many hosts, unless
/// `even_if_multicast`, as for a packet too big in IPv6.
///
/// Whether the packet came as a link-layer broadcast, and which addresses are subnets' broadcast
/// addresses, the caller must know.
#[must_use]
pub fn may_report(ip: &IpHeader, payload: &[u8], even_if_multicast: bool) -> bool {
    let kind = payload.first().copied();
    let about_error = match ip.protocol {
        // The types that are queries and their answers; any other may be an error.
        protocol::ICMP if !ip.is_v6() => !matches!(kind, Some(0 | 8..=10 | 13..=18)),
        protocol::ICMPV6 if ip.is_v6() => !matches!(kind, Some(128..=136 | 138..=255)),
        _ => false,
    };
    let single_source = match ip.src {
        IpAddr::V4(src) => {
            let one_host = !src.is_unspecified() && !src.is_multicast() && src.octets()[0] < 240;
            one_host && (!src.is_loopback() || ip.dst.is_loopback())
        }
        IpAddr::V6(src) => {
            let one_host = !src.is_unspecified() && !src.is_multicast();
            one_host && (!src.is_loopback() || ip.dst.is_loopback())
        }
    };
    let to_many = match ip.dst {
        IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
        IpAddr::V6(dst) => dst.is_multicast() && !even_if_multicast,
    };
    let first = ip.fragment.is_none_or(|fragment| fragment.offset == 0);
    !about_error && single_source && !to_many && first
}
