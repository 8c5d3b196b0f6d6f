//! The addressing plan of the private network: every address and name that stands in it.
//!
//! The IPv4 network is set aside for tests of network equipment (RFC 2544), so that no network which the program may
//! want to reach has its addresses; the IPv6 one is a unique local network (RFC 4193) whose bytes spell `finack`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of the IPv4 prefix in bits.
pub const PREFIX_V4: u8 = 16;
/// Length of the IPv6 prefix in bits.
pub const PREFIX_V6: u8 = 64;

/// The program's own IPv4 address.
pub const PROGRAM_V4: Ipv4Addr = v4(2);
/// The program's own IPv6 address.
pub const PROGRAM_V6: Ipv6Addr = v6(2);
/// finack's own IPv4 address: gateway and name server.
pub const GATEWAY_V4: Ipv4Addr = v4(1);
/// finack's own IPv6 address: gateway and name server.
pub const GATEWAY_V6: Ipv6Addr = v6(1);
/// IPv4 address of `hello.finack`.
pub const HELLO_V4: Ipv4Addr = v4(80);
/// IPv6 address of `hello.finack`.
pub const HELLO_V6: Ipv6Addr = v6(0x80);

/// IPv4 address that stands for the host's 127.0.0.1, where the program may reach it.
pub const HOST_V4: Ipv4Addr = v4(254);
/// IPv6 address that stands for the host's `::1`, where the program may reach it.
pub const HOST_V6: Ipv6Addr = v6(0x254);

/// The domain that finack answers for.
pub const DOMAIN: &str = "finack";

/// A name in the private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its full name, in lower case and without a final dot.
    pub name: &'static str,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// Whether finack itself answers at these addresses.
    pub ours: bool,
}

/// Every name there is. Where two names share an address, the first is the one it is shown by.
pub const HOSTS: &[Host] = &[
    Host { name: "finack", v4: GATEWAY_V4, v6: GATEWAY_V6, ours: true },
    Host { name: "gateway.finack", v4: GATEWAY_V4, v6: GATEWAY_V6, ours: true },
    Host { name: "dns.finack", v4: GATEWAY_V4, v6: GATEWAY_V6, ours: true },
    Host { name: "hello.finack", v4: HELLO_V4, v6: HELLO_V6, ours: true },
    service("echo.finack", 7),
    service("discard.finack", 9),
    service("daytime.finack", 13),
    service("chargen.finack", 19),
    // Those that misbehave, in the order of a connection's life.
    service("refused.finack", 101),
    // Nobody is at these two, not even for ping.
    nobody("unreachable.finack", 102),
    nobody("blackhole.finack", 103),
    service("silent.finack", 104),
    service("reset.finack", 105),
    service("unread.finack", 106),
    service("empty.finack", 107),
    service("nonsense.finack", 108),
    service("slow.finack", 109),
    service("reset-halfway.finack", 110),
    service("truncated.finack", 111),
    service("zero-window.finack", 112),
    service("half-closed.finack", 113),
    service("still-sending.finack", 114),
    service("never-closing.finack", 115),
    service("truncated-dns.finack", 153),
    Host { name: "program.finack", v4: PROGRAM_V4, v6: PROGRAM_V6, ours: false },
];

const fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, last)
}

const fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd66, 0x696e, 0x6163, 0x6b00, 0, 0, 0, last)
}

/// A service of finack's at 198.18.0.`n`, and at the IPv6 address whose last digits look the same.
const fn service(name: &'static str, n: u8) -> Host {
    let digits = n as u16;
    let alike = digits / 100 * 0x100 + digits / 10 % 10 * 0x10 + digits % 10;
    Host { name, v4: v4(n), v6: v6(alike), ours: true }
}

/// An address as [`service`] has them, at which finack does not answer.
const fn nobody(name: &'static str, n: u8) -> Host {
    Host { ours: false, ..service(name, n) }
}

/// Names that hold for one run besides [`HOSTS`]: those that mean the host, at [`HOST_V4`] and [`HOST_V6`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    host: Vec<String>,
}

impl Names {
    /// With these names for the host, in lower case and without a final dot.
    pub fn with_host(names: impl IntoIterator<Item = String>) -> Self {
        Self { host: names.into_iter().collect() }
    }

    /// The host called `name` (any case, a final dot allowed).
    pub fn host_named(&self, name: &str) -> Option<Host> {
        let plain = name.strip_suffix('.').unwrap_or(name);
        let means_host = self.host.iter().any(|n| n.eq_ignore_ascii_case(plain));
        let host = || Host { name: "the host", v4: HOST_V4, v6: HOST_V6, ours: false };
        host_named(name).copied().or_else(|| means_host.then(host))
    }

    /// The name by which `addr` is shown, if it has one: of several names for the host the first.
    pub fn name_of(&self, addr: IpAddr) -> Option<&str> {
        let canonical = addr.to_canonical();
        if canonical == IpAddr::V4(HOST_V4) || canonical == IpAddr::V6(HOST_V6) {
            return self.host.first().map(String::as_str);
        }
        name_of(addr)
    }
}

/// The host called `name` (any case, a final dot allowed).
pub fn host_named(name: &str) -> Option<&'static Host> {
    let name = name.strip_suffix('.').unwrap_or(name);
    HOSTS.iter().find(|h| h.name.eq_ignore_ascii_case(name))
}

/// The name by which `addr` is shown, if it has one.
pub fn name_of(addr: IpAddr) -> Option<&'static str> {
    HOSTS
        .iter()
        .find(|h| match addr.to_canonical() {
            IpAddr::V4(a) => h.v4 == a,
            IpAddr::V6(a) => h.v6 == a,
        })
        .map(|h| h.name)
}

/// Whether an address lies in the private network.
pub fn is_inside(addr: IpAddr) -> bool {
    match addr.to_canonical() {
        IpAddr::V4(addr) => {
            let mask = u32::MAX << (32 - PREFIX_V4);
            addr.to_bits() & mask == GATEWAY_V4.to_bits() & mask
        }
        IpAddr::V6(addr) => {
            let mask = u128::MAX << (128 - PREFIX_V6);
            addr.to_bits() & mask == GATEWAY_V6.to_bits() & mask
        }
    }
}

/// The addresses that finack's stack has, each once, with its prefix length.
pub fn our_addresses() -> Vec<(IpAddr, u8)> {
    let mut addresses: Vec<(IpAddr, u8)> = Vec::new();
    for host in HOSTS.iter().filter(|h| h.ours) {
        for entry in [(IpAddr::V4(host.v4), PREFIX_V4), (IpAddr::V6(host.v6), PREFIX_V6)] {
            if !addresses.contains(&entry) {
                addresses.push(entry);
            }
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_with_a_final_dot() {
        assert_eq!(host_named("Hello.FINACK.").map(|h| h.v4), Some(HELLO_V4));
        assert_eq!(host_named("hello"), None);
    }

    #[test]
    fn an_address_is_shown_by_its_first_name() {
        assert_eq!(name_of(GATEWAY_V4.into()), Some("finack"));
        assert_eq!(name_of(IpAddr::V6(HELLO_V4.to_ipv6_mapped())), Some("hello.finack"));
        assert_eq!(name_of(Ipv4Addr::LOCALHOST.into()), None);
    }

    #[test]
    fn the_host_has_a_name_only_where_it_was_given_one() {
        let names = Names::with_host(["lo.host".to_owned(), "other".to_owned()]);
        for name in ["lo.host", "LO.HOST.", "other"] {
            assert_eq!(names.host_named(name).map(|h| (h.v4, h.v6)), Some((HOST_V4, HOST_V6)));
        }
        assert_eq!(names.name_of(HOST_V6.into()), Some("lo.host"));
        assert_eq!(names.host_named("hello.finack").map(|h| h.v4), Some(HELLO_V4));
        assert_eq!(Names::default().host_named("lo.host"), None);
        assert_eq!(Names::default().name_of(HOST_V4.into()), None);
    }

    #[test]
    fn the_private_network_ends_where_its_prefix_says() {
        assert!(is_inside(Ipv4Addr::new(198, 18, 255, 255).into()));
        assert!(!is_inside(Ipv4Addr::new(198, 19, 0, 1).into()));
        assert!(is_inside(HELLO_V6.into()));
        assert!(!is_inside(Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn the_two_addresses_of_a_service_look_alike() {
        let echo = host_named("echo.finack").unwrap();
        assert_eq!(
            (echo.v4.to_string(), echo.v6.to_string()),
            ("198.18.0.7".into(), "fd66:696e:6163:6b00::7".into())
        );
        let last = host_named("truncated-dns.finack").unwrap();
        assert!(last.v4.to_string().ends_with(".153") && last.v6.to_string().ends_with("::153"), "{last:?}");
    }

    #[test]
    fn our_addresses_hold_no_duplicate_and_not_the_programs() {
        let ours = our_addresses();
        let names = HOSTS.iter().filter(|h| h.ours).count();
        // Three names are the gateway's.
        assert_eq!(ours.len(), 2 * (names - 2));
        assert!(!ours.iter().any(|(a, _)| *a == IpAddr::V4(PROGRAM_V4)));
    }
}
