//! DNS (RFC 1035) for `*.finack` and the addresses behind it, over UDP and TCP.
//!
//! Names elsewhere are asked of the host's name servers by a [`Forwarder`]. Without one they are answered with NXDOMAIN:
//! then there is no way out of this network, and of all answers this is the one that makes every resolver library give
//! up at once and say that the name is not known. (REFUSED and SERVFAIL are tried again, and then reported as a passing
//! failure.)

mod forward;
mod message;
mod resolv_conf;
mod server;
#[cfg(test)]
mod tests;

pub use forward::Forwarder;
pub use resolv_conf::ResolvConf;
pub use server::{Answered, NameServer, serve_stream};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::plan::{self, Host, Names};
use message::{Query, Reply};

/// How long an answer may be kept, in seconds: hardly, since the network lives no longer than the program.
const TTL: u32 = 5;
/// Largest message over UDP without EDNS (RFC 1035 4.2.1).
const UDP_LIMIT: usize = 512;
/// Largest message over UDP that is sent whatever the asker allows.
const EDNS_LIMIT: usize = 1232;

/// The name whose answers never fit into a datagram.
const TRUNCATED: &str = "truncated-dns.finack";

/// Record types that are answered or shown by name.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const ANY: u16 = 255;
}

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: the answer is cut where it does not fit.
    Udp,
    /// A stream: any length goes.
    Tcp,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered with records.
    Found,
    /// The name exists, but has nothing of the type asked for.
    NoData,
    /// There is no such name under `.finack`, or no name for the address.
    NoSuchName,
    /// The name lies outside this network, which leads nowhere else.
    Outside,
    /// The message was malformed.
    Malformed,
    /// The message asked for an operation, class or version that is not served.
    NotServed,
    /// The answer was cut on purpose (TC), to be asked for again over TCP.
    CutShort,
    /// The name lies outside this network, and one of the host's name servers answered.
    Elsewhere {
        /// The server.
        by: SocketAddr,
        /// What it said.
        what: Verdict,
    },
    /// The name lies outside this network, and none of the host's name servers answered.
    NobodyAnswers,
}

/// What a name server of the host's said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Records.
    Found,
    /// There is such a name, but no record of the type asked for.
    NoData,
    /// There is no such name.
    NoSuchName,
    /// More than fits into a datagram: it is to be asked by TCP.
    Truncated,
    /// An error, by its number (RFC 1035 4.1.1).
    Error(u8),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Found => "found",
            Self::NoData => "no record of this type",
            Self::NoSuchName => "no such name",
            Self::Truncated => "too long for UDP",
            Self::Error(1) => "FORMERR",
            Self::Error(2) => "SERVFAIL",
            Self::Error(4) => "NOTIMP",
            Self::Error(5) => "REFUSED",
            Self::Error(other) => return write!(f, "error {other}"),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elsewhere { by, what } => return write!(f, "{what}, says {}", forward::ServerName(*by)),
            Self::NobodyAnswers => "no answer from the host's name servers",
            Self::Found => "found",
            Self::NoData => "no record of this type",
            Self::NoSuchName => "no such name",
            Self::Outside => "outside this network",
            Self::Malformed => "malformed",
            Self::NotServed => "not served",
            Self::CutShort => "cut short on purpose, to be asked again over TCP",
        })
    }
}

/// An answer, and what is worth telling about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The message to send back.
    pub message: Vec<u8>,
    /// The name asked for, empty where it could not be read.
    pub name: String,
    /// The type asked for, 0 where it could not be read.
    pub qtype: u16,
    /// What became of it.
    pub outcome: Outcome,
}

/// Answers one message by what this network itself knows. `None` for what must not be answered: responses, and what is too
/// short to hold a header.
pub fn answer(names: &Names, query: &[u8], transport: Transport) -> Option<Answer> {
    let header = message::Header::parse(query)?;
    if header.is_response() {
        return None;
    }
    let parsed = match Query::parse(&header, query) {
        Ok(parsed) => parsed,
        Err(rcode) => {
            let outcome = if rcode == message::FORMERR { Outcome::Malformed } else { Outcome::NotServed };
            let message = Reply::error(&header, rcode).finish(UDP_LIMIT);
            return Some(Answer { message, name: String::new(), qtype: 0, outcome });
        }
    };
    if transport == Transport::Udp && plan::host_named(&parsed.name).is_some_and(|h| h.name == TRUNCATED) {
        return Some(without_records(&header, parsed));
    }
    let limit = match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => parsed.udp_limit(),
    };
    let mut reply = Reply::to(&header, &parsed);
    let outcome = fill(names, &parsed, &mut reply);
    Some(Answer { message: reply.finish(limit), name: parsed.name, qtype: parsed.qtype, outcome })
}

/// Answers a datagram with TC set and no records, whatever it asks (RFC 1035 4.2.1). `None` as for [`answer`].
fn cut_short(query: &[u8]) -> Option<Answer> {
    let header = message::Header::parse(query).filter(|h| !h.is_response())?;
    match Query::parse(&header, query) {
        Ok(parsed) => Some(without_records(&header, parsed)),
        // What can't be read gets the error that it gets elsewhere.
        Err(_) => answer(&Names::default(), query, Transport::Udp),
    }
}

fn without_records(header: &message::Header, query: Query<'_>) -> Answer {
    let message = Reply::to(header, &query).finish(0);
    Answer { message, name: query.name, qtype: query.qtype, outcome: Outcome::CutShort }
}

fn fill(names: &Names, query: &Query<'_>, reply: &mut Reply<'_>) -> Outcome {
    if query.version != 0 {
        reply.set_bad_version();
        return Outcome::NotServed;
    }
    if query.class != message::CLASS_IN && query.class != rtype::ANY {
        reply.set_rcode(message::REFUSED);
        return Outcome::NotServed;
    }
    let lower = query.name.to_ascii_lowercase();
    if let Some(host) = names.host_named(&lower) {
        return fill_host(&host, query.qtype, reply);
    }
    if let Some(addr) = address_of_reverse_name(&lower).filter(|addr| plan::is_inside(*addr)) {
        return fill_reverse(names, addr, query.qtype, reply);
    }
    reply.set_rcode(message::NXDOMAIN);
    if lower.ends_with(".finack") {
        reply.set_authoritative();
        reply.authority(TTL);
        return Outcome::NoSuchName;
    }
    Outcome::Outside
}

fn fill_host(host: &Host, qtype: u16, reply: &mut Reply<'_>) -> Outcome {
    reply.set_authoritative();
    let any = qtype == rtype::ANY;
    if any || qtype == rtype::A {
        reply.record(rtype::A, TTL, &host.v4.octets());
    }
    if any || qtype == rtype::AAAA {
        reply.record(rtype::AAAA, TTL, &host.v6.octets());
    }
    if host.name == plan::DOMAIN && (any || qtype == rtype::NS) {
        reply.record(rtype::NS, TTL, &message::encode_name("dns.finack"));
    }
    if host.name == plan::DOMAIN && (any || qtype == rtype::SOA) {
        reply.record(rtype::SOA, TTL, &message::soa(TTL));
    }
    if reply.is_empty() {
        reply.authority(TTL);
        return Outcome::NoData;
    }
    Outcome::Found
}

fn fill_reverse(names: &Names, addr: IpAddr, qtype: u16, reply: &mut Reply<'_>) -> Outcome {
    let Some(name) = names.name_of(addr) else {
        reply.set_rcode(message::NXDOMAIN);
        return Outcome::NoSuchName;
    };
    reply.set_authoritative();
    if qtype != rtype::PTR && qtype != rtype::ANY {
        reply.authority(TTL);
        return Outcome::NoData;
    }
    reply.record(rtype::PTR, TTL, &message::encode_name(name));
    Outcome::Found
}

/// The address that `80.0.18.198.in-addr.arpa` or its longer IPv6 relative (RFC 3596 2.5) stands for.
fn address_of_reverse_name(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut parts = labels.split('.').rev();
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let mut count = 0;
    for label in labels.split('.').rev() {
        let mut chars = label.chars();
        let nibble = chars.next().filter(|_| chars.next().is_none())?.to_digit(16)?;
        count += 1;
        if count > 32 {
            return None;
        }
        bits = bits << 4 | u128::from(nibble);
    }
    (count == 32).then(|| IpAddr::V6(Ipv6Addr::from(bits)))
}

/// The name of a record type for people: `A`, `AAAA`, ... or `TYPE65` (RFC 3597).
pub fn type_name(qtype: u16) -> String {
    match qtype {
        rtype::A => "A".into(),
        rtype::NS => "NS".into(),
        5 => "CNAME".into(),
        rtype::SOA => "SOA".into(),
        rtype::PTR => "PTR".into(),
        15 => "MX".into(),
        16 => "TXT".into(),
        rtype::AAAA => "AAAA".into(),
        33 => "SRV".into(),
        64 => "SVCB".into(),
        65 => "HTTPS".into(),
        rtype::ANY => "ANY".into(),
        other => format!("TYPE{other}"),
    }
}
