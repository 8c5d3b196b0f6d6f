use super::*;
use alloc::vec;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn own(addr: &str, prefix_len: u8) -> InterfaceAddress {
    InterfaceAddress { addr: ip(addr), prefix_len }
}

fn route(network: &str, prefix_len: u8, mtu: Option<u32>) -> Route {
    Route { network: ip(network), prefix_len, mtu, advertised_mss: None }
}

fn host() -> Routes {
    Routes::new(
        vec![own("10.0.0.1", 24), own("192.168.7.1", 16), own("fe80::1", 64), own("fd00::1", 64)],
        vec![route("0.0.0.0", 0, None), route("172.16.0.0", 12, Some(1400)), route("2001:db8::", 32, None)],
        false,
        1500,
    )
}

#[test]
fn rfc1122_3_2_1_3_what_is_ours_and_what_is_broadcast() {
    let r = host();
    assert!(r.is_local(ip("10.0.0.1")) && r.is_local(ip("fd00::1")));
    for other in ["10.0.0.2", "10.0.0.255", "127.0.0.1", "fd00::2", "::1", "0.0.0.0", "224.0.0.1"] {
        assert!(!r.is_local(ip(other)), "{other}");
    }
    for broadcast in ["255.255.255.255", "10.0.0.255", "192.168.255.255"] {
        assert!(r.is_broadcast(ip(broadcast)), "{broadcast}");
    }
    assert!(!r.is_broadcast(ip("10.0.1.255")) && !r.is_broadcast(ip("ff02::1")));
    let point_to_point = Routes::new(vec![own("10.0.0.0", 31)], vec![], false, 1500);
    assert!(!point_to_point.is_broadcast(ip("10.0.0.1")), "RFC 3021");
}

#[test]
fn rfc9293_must_63_sources_that_nobody_may_have() {
    let r = host();
    let bad = [
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "10.0.0.255",
        "224.0.0.1",
        "240.0.0.1",
        "127.0.0.1",
        "10.0.0.1",
    ];
    for source in bad.into_iter().chain(["::", "ff02::1", "::1", "fd00::1"]) {
        assert!(!r.is_valid_source(ip(source)), "{source}");
    }
    for source in ["10.0.0.2", "8.8.8.8", "fe80::2", "2001:db8::1"] {
        assert!(r.is_valid_source(ip(source)), "{source}");
    }
    let lo = Routes::new(vec![own("127.0.0.1", 8), own("::1", 128)], vec![], false, 65_535);
    assert!(
        lo.is_valid_source(ip("127.0.0.1"))
            && lo.is_valid_source(ip("127.3.2.1"))
            && lo.is_valid_source(ip("::1"))
    );
    assert!(lo.is_local(ip("127.9.9.9")), "all of 127/8 is this host's");
}

#[test]
fn a_gateway_takes_every_unicast_address_for_its_own() {
    let r = Routes::new(vec![own("10.0.0.1", 24)], vec![], true, 1500);
    assert!(r.is_local(ip("93.184.216.34")) && r.is_local(ip("2001:db8::1")));
    for not in ["127.0.0.1", "10.0.0.255", "255.255.255.255", "224.0.0.1", "0.0.0.0", "::", "ff02::1", "::1"]
    {
        assert!(!r.is_local(ip(not)), "{not}");
    }
    assert!(r.is_valid_source(ip("10.0.0.2")), "others' addresses are not our own");
    assert!(!r.is_valid_source(ip("10.0.0.1")));
}

#[test]
fn the_longest_prefix_decides_the_mtu() {
    let r = host();
    assert_eq!(r.lookup(ip("8.8.8.8")), Some(1500));
    assert_eq!(r.lookup(ip("172.16.9.9")), Some(1400));
    assert_eq!(r.lookup(ip("fd00::77")), Some(1500));
    assert_eq!(r.lookup(ip("2001:db8::77")), Some(1500));
    assert_eq!(r.lookup(ip("2606::1")), None, "no default route of the family");
    assert_eq!(r.lookup(ip("224.0.0.251")), Some(1500));
    assert_eq!(r.lookup(ip("255.255.255.255")), Some(1500));
    for never in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
        assert_eq!(
            r.lookup(ip(never)),
            None,
            "RFC 1122 3.2.1.3 (g): {never} is not sent by the default route"
        );
    }
    let v4_only = Routes::new(vec![own("10.0.0.1", 24)], vec![], false, 1500);
    assert_eq!(v4_only.lookup(ip("ff02::1")), None);
    assert_eq!(v4_only.lookup(ip("8.8.8.8")), None);
}

#[test]
fn rfc6724_source_addresses() {
    let r = host();
    assert_eq!(r.source_for(ip("10.0.0.9")), Some(ip("10.0.0.1")));
    assert_eq!(r.source_for(ip("192.168.200.1")), Some(ip("192.168.7.1")));
    assert_eq!(r.source_for(ip("8.8.8.8")), Some(ip("10.0.0.1")), "the first, where no prefix decides");
    assert_eq!(r.source_for(ip("fe80::9")), Some(ip("fe80::1")), "rule 2: the scope of the destination");
    assert_eq!(r.source_for(ip("ff02::1")), Some(ip("fe80::1")));
    assert_eq!(r.source_for(ip("2001:db8::9")), Some(ip("fd00::1")));
    assert_eq!(r.source_for(ip("fd00::1")), Some(ip("fd00::1")), "rule 1: the address itself");
    let v4_only = Routes::new(vec![own("10.0.0.1", 24)], vec![], false, 1500);
    assert_eq!(v4_only.source_for(ip("fd00::9")), None);
    let lo = Routes::new(vec![own("127.0.0.1", 8)], vec![], false, 1500);
    assert_eq!(lo.source_for(ip("8.8.8.8")), None, "loopback stays on the host");
    assert_eq!(lo.source_for(ip("127.0.0.5")), Some(ip("127.0.0.5")));
}

/// Addresses of IPv4 that nothing is special about are looked up in fewer steps, which come to the same.
#[test]
fn ordinary_addresses_are_looked_up_as_all_others() {
    let hosts = [
        host(),
        Routes::new(vec![own("10.0.0.1", 24)], vec![], false, 1500),
        Routes::new(vec![own("10.0.0.0", 31), own("10.0.0.9", 32), own("127.0.0.1", 8)], vec![], true, 1500),
        Routes::new(
            vec![own("10.0.0.1", 24), own("10.0.0.2", 24), own("10.0.0.3", 0)],
            vec![
                route("10.0.0.0", 24, Some(1400)),
                route("10.0.0.0", 24, Some(1300)),
                route("10.0.0.128", 25, Some(9000)),
                route("10.0.0.255", 32, Some(1200)),
                route("0.0.0.0", 0, Some(1100)),
            ],
            false,
            1500,
        ),
        Routes::new(
            vec![own("10.0.0.254", 16), own("10.0.0.2", 24), own("10.0.0.9", 24)],
            vec![],
            true,
            1500,
        ),
        Routes::new(vec![], vec![route("0.0.0.0", 0, None)], false, 1500),
    ];
    let net = [
        [0, 0, 0],
        [10, 0, 0],
        [10, 0, 1],
        [127, 0, 0],
        [192, 168, 255],
        [172, 16, 0],
        [224, 0, 0],
        [255; 3],
    ];
    for (n, r) in hosts.iter().enumerate() {
        for [a, b, c] in net {
            for d in [0, 1, 2, 9, 127, 128, 254, 255] {
                let addr = IpAddr::from([a, b, c, d]);
                assert_eq!(r.lookup(addr), r.lookup_any(addr), "host {n}, {addr}");
                let any = r.any_address && scope(addr) > Scope::Host && r.is_unicast(addr);
                assert_eq!(r.is_local(addr), r.is_own(addr) || any, "host {n}, {addr}");
                if !addr.is_loopback() {
                    let valid = r.is_unicast(addr) && !r.is_own(addr);
                    assert_eq!(r.is_valid_source(addr), valid, "host {n}, {addr}");
                }
            }
        }
    }
}
