//! Which addresses lead where, and the names that mean the host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use finack_wire::icmp::Unreachable;

use crate::plan;

/// Where packets to an address lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To this address in the host's network: outside, or the host's own loopback where the program was given a name
    /// for it.
    Out(IpAddr),
    /// To an address of the private network: whatever listens there is found before the gateway.
    Inside,
    /// Nowhere, as a router says so.
    Barred(Unreachable),
}

/// What the program may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ways {
    /// Addresses outside the private network.
    pub(crate) outside: bool,
    /// The host's loopback, at the address of the private network that stands for it.
    pub(crate) host: bool,
}

impl Ways {
    /// Where packets to `to` lead.
    pub(crate) fn of(self, to: IpAddr) -> Way {
        if self.host && to == plan::HOST_V4 {
            return Way::Out(Ipv4Addr::LOCALHOST.into());
        }
        if self.host && to == plan::HOST_V6 {
            return Way::Out(Ipv6Addr::LOCALHOST.into());
        }
        if plan::is_inside(to) {
            return Way::Inside;
        }
        match barred(to) {
            Some(code) => Way::Barred(code),
            None if !self.outside => Way::Barred(match to {
                IpAddr::V4(_) => Unreachable::Network,
                IpAddr::V6(_) => Unreachable::NoRoute,
            }),
            None => Way::Out(to),
        }
    }
}

impl Ways {
    /// The address by which the program knows the host at `from`; `None` where it can't know it.
    pub(crate) fn seen_as(self, from: IpAddr) -> Option<IpAddr> {
        let seen = match from {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => IpAddr::V4(plan::HOST_V4),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => IpAddr::V6(plan::HOST_V6),
            other => other,
        };
        (self.of(seen) == Way::Out(from)).then_some(seen)
    }
}

/// Why no packet to `to` may leave the private network, whatever is asked for: the address means the host itself, a
/// host on a link that the program is not on, or no single host. On the host each of them would mean something else
/// than it does to the program.
fn barred(to: IpAddr) -> Option<Unreachable> {
    match to {
        // RFC 1122 3.2.1.3, RFC 6890.
        IpAddr::V4(v4) => {
            let bad = v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast();
            bad.then_some(Unreachable::AdminProhibited)
        }
        IpAddr::V6(v6) => {
            // RFC 4291 2.5.6: never forwarded.
            if v6.is_unicast_link_local() {
                return Some(Unreachable::BeyondScope);
            }
            // RFC 4291 2.5.2, 2.5.3, 2.5.5: `::`, `::1` and IPv4-compatible addresses share a prefix of 96 bits; IPv4-mapped
            // ones stand for IPv4 within a host, which takes them for the IPv4 addresses in them.
            let embedded = v6.to_ipv4_mapped().is_some() || v6.segments()[..6] == [0; 6];
            (embedded || v6.is_multicast()).then_some(Unreachable::AdminProhibited)
        }
    }
}

/// A name by which the program reaches the host's loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name, in lower case and without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = String;

    /// Takes what a resolver can ask for (RFC 1123 2.1; underscores too, as many do).
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err("a name is missing: write one such as lo.host".into());
        }
        if name.len() > 253 {
            return Err(format!("a name has at most 253 characters, this one {}", name.len()));
        }
        name.split('.').try_for_each(check_label)?;
        let last = name.rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if hex || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err("this is an address, or would be taken for one: choose a name such as lo.host".into());
        }
        if last == plan::DOMAIN {
            return Err("names in .finack are finack's own: choose another, such as lo.host".into());
        }
        if last == "localhost" {
            return Err(
                "localhost always means the program's own network (RFC 6761 6.3): choose another name, such as lo.host"
                    .into(),
            );
        }
        Ok(Self(name))
    }
}

fn check_label(label: &str) -> Result<(), String> {
    if label.is_empty() {
        return Err("two dots, or one at the beginning: each part of a name has a character at least".into());
    }
    if label.len() > 63 {
        return Err(format!(
            "each part of a name has at most 63 characters, '{}…' has {}",
            &label.chars().take(16).collect::<String>(),
            label.len()
        ));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(format!("'{label}' begins or ends with a hyphen"));
    }
    match label.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')) {
        Some(c) => Err(format!("{c:?} can't be in a name: letters, digits and hyphens can")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Ways = Ways { outside: true, host: true };

    fn way(ways: Ways, to: &str) -> Way {
        ways.of(to.parse().unwrap())
    }

    #[test]
    fn outside_addresses_lead_where_they_say() {
        for to in ["192.0.2.1", "10.0.0.1", "169.254.169.254", "2001:db8::1", "fd00::1"] {
            assert_eq!(way(ALL, to), Way::Out(to.parse().unwrap()), "{to}");
        }
    }

    /// RFC 1122 3.2.1.3, RFC 4291 2.5: loopback, unspecified, mapped, compatible, multicast, broadcast, link-local.
    #[test]
    fn no_address_that_means_the_host_itself_or_no_single_host_leads_out() {
        let special = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::192.0.2.1",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::ffff:192.0.2.1",
            "ff02::1",
            "ff0e::1",
            "fe80::1",
        ];
        for to in special {
            for ways in [ALL, Ways { host: false, ..ALL }] {
                assert!(matches!(way(ways, to), Way::Barred(_)), "{to}");
            }
        }
    }

    #[test]
    fn the_private_network_stays_inside_with_or_without_a_way_out() {
        for to in ["198.18.0.1", "198.18.0.80", "198.18.255.254", "fd66:696e:6163:6b00::80"] {
            for ways in [ALL, Ways { outside: false, host: false }] {
                assert_eq!(way(ways, to), Way::Inside, "{to}");
            }
        }
    }

    #[test]
    fn the_host_has_an_address_inside_only_where_it_was_asked_for() {
        let (v4, v6) = (plan::HOST_V4.to_string(), plan::HOST_V6.to_string());
        for outside in [false, true] {
            assert_eq!(way(Ways { outside, host: true }, &v4), Way::Out(Ipv4Addr::LOCALHOST.into()));
            assert_eq!(way(Ways { outside, host: true }, &v6), Way::Out(Ipv6Addr::LOCALHOST.into()));
            assert_eq!(way(Ways { outside, host: false }, &v4), Way::Inside);
            assert_eq!(way(Ways { outside, host: false }, &v6), Way::Inside);
        }
    }

    /// What leads out comes back from where it was sent to; nobody else takes an address of the private network.
    #[test]
    fn whoever_answers_is_seen_where_the_program_sent_to() {
        for to in ["192.0.2.1", "2001:db8::1", &plan::HOST_V4.to_string(), &plan::HOST_V6.to_string()] {
            let to: IpAddr = to.parse().unwrap();
            let Way::Out(outside) = ALL.of(to) else { panic!("{to} leads out") };
            assert_eq!(ALL.seen_as(outside), Some(to));
        }
        for from in
            ["127.0.0.2", "198.18.0.80", "198.18.0.254", "fd66:696e:6163:6b00::fe", "fe80::1", "0.0.0.0"]
        {
            assert_eq!(ALL.seen_as(from.parse().unwrap()), None, "{from}");
        }
        let without = Ways { host: false, ..ALL };
        assert_eq!(without.seen_as(Ipv4Addr::LOCALHOST.into()), None);
        let isolated = Ways { outside: false, host: true };
        assert_eq!(isolated.seen_as("192.0.2.1".parse().unwrap()), None);
    }

    #[test]
    fn isolated_there_is_no_route_to_the_outside() {
        let ways = Ways { outside: false, host: true };
        assert_eq!(way(ways, "192.0.2.1"), Way::Barred(Unreachable::Network));
        assert_eq!(way(ways, "2001:db8::1"), Way::Barred(Unreachable::NoRoute));
    }

    #[test]
    fn names_of_the_host_are_names_that_a_resolver_asks_for() {
        for (text, name) in [
            ("lo.host", "lo.host"),
            ("HOST", "host"),
            ("my-host.example.", "my-host.example"),
            ("a_b.c3", "a_b.c3"),
        ] {
            assert_eq!(text.parse::<HostName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(64);
        let longer = "a.".repeat(128);
        for (text, says) in [
            ("", "missing"),
            (".", "missing"),
            ("a..b", "two dots"),
            (".a", "one at the beginning"),
            ("-a.b", "hyphen"),
            ("a-.b", "hyphen"),
            ("a b", "can't be in a name"),
            ("köln", "can't be in a name"),
            (&long, "at most 63"),
            (&longer, "at most 253"),
            ("127.0.0.1", "address"),
            ("0x7f.1", "address"),
            ("0x7f000001", "address"),
            ("hello.finack", ".finack"),
            ("FINACK", ".finack"),
            ("localhost", "RFC 6761"),
            ("db.localhost", "RFC 6761"),
        ] {
            let error = text.parse::<HostName>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
