//! Neighbour discovery: solicitations and advertisements (RFC 4861 sections 4.3, 4.4 and 7.1).

use crate::ethernet::MacAddr;
use crate::icmp::{self, IcmpError, IcmpMessage};
use crate::ip::IpHeader;
use crate::protocol;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// ICMPv6 type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// The hop limit that all these messages are sent with, so that none can come from afar.
pub const HOP_LIMIT: u8 = 255;
/// Bytes of the longest message that [`NdpMessage::emit`] writes.
pub const MAX_LEN: usize = 32;

const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A message about neighbours' link-layer addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpMessage {
    /// Asks for the link-layer address of `target`.
    Solicitation {
        /// The address asked about.
        target: Ipv6Addr,
        /// The link-layer address of who asks; not from the unspecified address.
        source_link: Option<MacAddr>,
    },
    /// Tells the link-layer address of `target`.
    Advertisement {
        /// The address that this is about.
        target: Ipv6Addr,
        /// Whether it is a router.
        router: bool,
        /// Whether this answers a solicitation.
        solicited: bool,
        /// Whether it replaces what is known already.
        override_: bool,
        /// The link-layer address of the target.
        target_link: Option<MacAddr>,
    },
}

/// Why a packet is no acceptable message (RFC 4861 sections 7.1.1 and 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpError {
    /// Not ICMPv6, or of another type.
    OtherType,
    /// Too short, or the checksum is wrong.
    Icmp(IcmpError),
    /// The hop limit is not 255: it has come through a router.
    HopLimit,
    /// The code is not 0.
    BadCode,
    /// The target is a multicast address.
    MulticastTarget,
    /// An option has the length 0, or ends beyond the message.
    BadOption,
    /// A solicitation from the unspecified address that is not to a solicited-node address or has a
    /// source link-layer option.
    BadSource,
    /// An advertisement to a multicast address that claims to be solicited.
    SolicitedMulticast,
}

impl fmt::Display for NdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherType => "not a neighbour solicitation or advertisement",
            Self::Icmp(error) => return fmt::Display::fmt(error, f),
            Self::HopLimit => "hop limit of neighbour discovery is not 255",
            Self::BadCode => "ICMP code of neighbour discovery is not 0",
            Self::MulticastTarget => "target of neighbour discovery is a multicast address",
            Self::BadOption => "option of neighbour discovery has a bad length",
            Self::BadSource => "neighbour solicitation from the unspecified address is not a probe",
            Self::SolicitedMulticast => "solicited neighbour advertisement to a multicast address",
        })
    }
}

impl core::error::Error for NdpError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Icmp(error) => Some(error),
            _ => None,
        }
    }
}

/// The multicast address that solicitations about `target` are sent to (RFC 4291 section 2.7.1).
#[must_use]
pub const fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(PREFIX | (target.to_bits() & 0xff_ffff))
}

/// Parses the payload of `ip` and checks all that section 7.1 says.
///
/// # Errors
///
/// If it is another message, or one to be discarded.
pub fn parse(ip: &IpHeader, body: &[u8]) -> Result<NdpMessage, NdpError> {
    let kind = body.first().copied();
    if !ip.is_v6() || ip.protocol != protocol::ICMPV6 || !matches!(kind, Some(SOLICITATION | ADVERTISEMENT)) {
        return Err(NdpError::OtherType);
    }
    if ip.hop_limit != HOP_LIMIT {
        return Err(NdpError::HopLimit);
    }
    let message = icmp::parse(ip, body).map_err(NdpError::Icmp)?;
    let IcmpMessage::Other { kind, code, body } = message else { return Err(NdpError::OtherType) };
    if code != 0 {
        return Err(NdpError::BadCode);
    }
    let truncated = NdpError::Icmp(IcmpError::Truncated);
    let (&[flags, ..], rest) = body.split_first_chunk::<4>().ok_or(truncated)?;
    let (target, options) = rest.split_first_chunk::<16>().ok_or(truncated)?;
    let target = Ipv6Addr::from(*target);
    if target.is_multicast() {
        return Err(NdpError::MulticastTarget);
    }
    if kind == SOLICITATION {
        let source_link = link_option(options, OPTION_SOURCE)?;
        let probe_to = IpAddr::V6(solicited_node(target));
        if ip.src.is_unspecified() && (ip.dst != probe_to || source_link.is_some()) {
            return Err(NdpError::BadSource);
        }
        Ok(NdpMessage::Solicitation { target, source_link })
    } else {
        let target_link = link_option(options, OPTION_TARGET)?;
        let solicited = flags & SOLICITED != 0;
        if solicited && ip.dst.is_multicast() {
            return Err(NdpError::SolicitedMulticast);
        }
        let (router, override_) = (flags & ROUTER != 0, flags & OVERRIDE != 0);
        Ok(NdpMessage::Advertisement { target, router, solicited, override_, target_link })
    }
}

/// The Ethernet address in the option of that kind, if there is one; other options are passed over.
fn link_option(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, NdpError> {
    let mut found = None;
    while let Some(&kind) = options.first() {
        let len = usize::from(*options.get(1).ok_or(NdpError::BadOption)?) * 8;
        if len == 0 {
            return Err(NdpError::BadOption);
        }
        let (option, rest) = options.split_at_checked(len).ok_or(NdpError::BadOption)?;
        if let (true, &[_, _, a, b, c, d, e, f]) = (kind == wanted, option) {
            found = Some(MacAddr([a, b, c, d, e, f]));
        }
        options = rest;
    }
    Ok(found)
}

impl NdpMessage {
    /// Bytes that [`emit`](Self::emit) writes: 24, or 32 with a link-layer address.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        match self {
            Self::Solicitation { source_link: Some(_), .. }
            | Self::Advertisement { target_link: Some(_), .. } => 32,
            _ => 24,
        }
    }

    /// Writes the message, an ICMPv6 payload with its checksum, to the start of `out` and returns its
    /// length; 0, with nothing written, if `out` is shorter. The IP header must have [`HOP_LIMIT`].
    pub fn emit(&self, src: &Ipv6Addr, dst: &Ipv6Addr, out: &mut [u8]) -> usize {
        let (kind, flags, target, option, link) = match *self {
            Self::Solicitation { target, source_link } => {
                (SOLICITATION, 0, target, OPTION_SOURCE, source_link)
            }
            Self::Advertisement { target, router, solicited, override_, target_link } => {
                let flags = if router { ROUTER } else { 0 }
                    | if solicited { SOLICITED } else { 0 }
                    | if override_ { OVERRIDE } else { 0 };
                (ADVERTISEMENT, flags, target, OPTION_TARGET, target_link)
            }
        };
        let mut body = [0; MAX_LEN - 4];
        body[0] = flags;
        body[4..20].copy_from_slice(&target.octets());
        if let Some(MacAddr(link)) = link {
            body[20] = option;
            body[21] = 1;
            body[22..].copy_from_slice(&link);
        }
        let body = body.get(..self.encoded_len() - 4).unwrap_or(&body);
        let message = IcmpMessage::Other { kind, code: 0, body };
        icmp::emit(&IpAddr::V6(*src), &IpAddr::V6(*dst), &message, out)
    }
}
