//! Protocol numbers: the IPv4 protocol field and the IPv6 next-header field share one registry.

/// IPv6 hop-by-hop options header (RFC 8200 section 4.3).
pub const HOP_BY_HOP: u8 = 0;
/// ICMP for IPv4 (RFC 792).
pub const ICMP: u8 = 1;
/// IGMP (RFC 1112).
pub const IGMP: u8 = 2;
/// IPv4 in IP (RFC 2003).
pub const IPV4: u8 = 4;
/// TCP (RFC 9293).
pub const TCP: u8 = 6;
/// UDP (RFC 768).
pub const UDP: u8 = 17;
/// IPv6 in IP (RFC 2473).
pub const IPV6: u8 = 41;
/// IPv6 routing header (RFC 8200 section 4.4).
pub const ROUTING: u8 = 43;
/// IPv6 fragment header (RFC 8200 section 4.5).
pub const IPV6_FRAGMENT: u8 = 44;
/// Generic routing encapsulation (RFC 2784).
pub const GRE: u8 = 47;
/// Encapsulating security payload (RFC 4303).
pub const ESP: u8 = 50;
/// Authentication header (RFC 4302).
pub const AH: u8 = 51;
/// ICMPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;
/// IPv6 "no next header": nothing follows (RFC 8200 section 4.7).
pub const NO_NEXT: u8 = 59;
/// IPv6 destination options header (RFC 8200 section 4.6).
pub const DEST_OPTS: u8 = 60;
/// SCTP (RFC 9260).
pub const SCTP: u8 = 132;
/// UDP-Lite (RFC 3828).
pub const UDP_LITE: u8 = 136;

/// The registered short name of a protocol, where it is one of those in this module.
#[must_use]
pub const fn name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        HOP_BY_HOP => "HOPOPT",
        ICMP => "ICMP",
        IGMP => "IGMP",
        IPV4 => "IPv4",
        TCP => "TCP",
        UDP => "UDP",
        IPV6 => "IPv6",
        ROUTING => "IPv6-Route",
        IPV6_FRAGMENT => "IPv6-Frag",
        GRE => "GRE",
        ESP => "ESP",
        AH => "AH",
        ICMPV6 => "IPv6-ICMP",
        NO_NEXT => "IPv6-NoNxt",
        DEST_OPTS => "IPv6-Opts",
        SCTP => "SCTP",
        UDP_LITE => "UDPLite",
        _ => return None,
    })
}
