use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use finack_wire::icmp::{ErrorKind, Unreachable};
use finack_wire::ip::{Fragment, IpEmit};
use proptest::prelude::*;

use super::*;
use crate::testing::cases;

const SEED: [u8; 32] = [9; 32];

fn header(protocol: u8, src: IpAddr, dst: IpAddr, payload_len: usize) -> IpEmit {
    IpEmit { src, dst, protocol, hop_limit: 64, tos: 0, ident: 7, dont_fragment: false, payload_len }
}

/// A packet of a protocol with ports, as far as steering looks at it.
fn packet(protocol: u8, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let header = header(protocol, from.ip(), to.ip(), 24);
    let mut packet = vec![0; header.header_len() + 24];
    let at = header.emit(&mut packet);
    packet[at..at + 2].copy_from_slice(&from.port().to_be_bytes());
    packet[at + 2..at + 4].copy_from_slice(&to.port().to_be_bytes());
    packet
}

/// An ICMP error about `quoted` from whoever `from` is.
fn report(from: IpAddr, to: IpAddr, kind: ErrorKind, quoted: &[u8]) -> Vec<u8> {
    let message = kind.about(quoted);
    let protocol = if from.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    let header = header(protocol, from, to, message.encoded_len(from.is_ipv6()));
    let mut packet = vec![0; header.header_len() + header.payload_len];
    let at = header.emit(&mut packet);
    icmp::emit(&from, &to, &message, &mut packet[at..]);
    packet
}

fn v4() -> impl Strategy<Value = SocketAddr> {
    (any::<[u8; 4]>(), any::<u16>()).prop_map(|(a, port)| SocketAddr::new(Ipv4Addr::from(a).into(), port))
}

fn v6() -> impl Strategy<Value = SocketAddr> {
    (any::<[u8; 16]>(), any::<u16>()).prop_map(|(a, port)| SocketAddr::new(Ipv6Addr::from(a).into(), port))
}

fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    prop_oneof![(v4(), v4()), (v6(), v6())]
}

fn transports() -> impl Strategy<Value = u8> {
    prop_oneof![Just(protocol::TCP), Just(protocol::UDP)]
}

proptest! {
    #![proptest_config(cases(256))]

    /// What a connection sends and what it receives come to one shard, and so do both ends of one within the host.
    #[test]
    fn both_directions_meet((here, there) in ends(), protocol in transports(), shards in 1_usize..40) {
        let steering = Steering::new(&SEED, shards);
        let home = steering.of_flow(here, there);
        prop_assert!(home < shards);
        prop_assert_eq!(steering.of_flow(there, here), home);
        prop_assert_eq!(steering.of_packet(&packet(protocol, there, here)), Some(home));
        prop_assert_eq!(steering.of_packet(&packet(protocol, here, there)), Some(home));
    }

    /// RFC 1122 3.2.2: an error comes from whichever router; what it quotes tells whom it concerns. A NAT on the way
    /// translates the quote together with the addresses (RFC 5508 4.2), so that it is this host's packet again.
    #[test]
    fn errors_come_to_the_connection_that_they_are_about(
        (here, there) in ends(), protocol in transports(), router in any::<[u8; 16]>(), shards in 1_usize..40,
    ) {
        let steering = Steering::new(&SEED, shards);
        let router: IpAddr = match here.is_ipv4() {
            true => Ipv4Addr::new(router[0], router[1], router[2], router[3]).into(),
            false => Ipv6Addr::from(router).into(),
        };
        let sent = packet(protocol, here, there);
        for kind in [
            ErrorKind::Unreachable(Unreachable::Port),
            ErrorKind::FragNeeded { mtu: 1280 },
            ErrorKind::TimeExceeded { code: 0 },
            ErrorKind::ParameterProblem { pointer: 0, code: 0 },
        ] {
            let report = report(router, here.ip(), kind, &sent);
            prop_assert_eq!(steering.of_packet(&report), Some(steering.of_flow(here, there)), "{:?}", kind);
        }
    }

    /// RFC 791 3.2, RFC 8200 4.5: the fragments of a datagram meet, also those without ports, and in IPv6 those
    /// whose next header is not the first one's.
    #[test]
    fn fragments_of_one_datagram_meet(
        (from, to) in ends(), id in any::<u16>(), rest in any::<[u8; 16]>(), shards in 1_usize..40,
    ) {
        let steering = Steering::new(&SEED, shards);
        let piece = |offset: u32, more: bool, protocol: u8| {
            let header = header(protocol, from.ip(), to.ip(), 16);
            let mut packet = vec![0; header.fragment_header_len()];
            header.emit_fragment(&Fragment { id: u32::from(id), offset, more }, &mut packet);
            packet.extend_from_slice(&rest);
            packet
        };
        let first = steering.of_packet(&piece(0, true, protocol::UDP));
        prop_assert!(first.is_some_and(|shard| shard < shards));
        prop_assert_eq!(steering.of_packet(&piece(16, true, protocol::UDP)), first);
        prop_assert_eq!(steering.of_packet(&piece(32, false, protocol::UDP)), first);
        if from.is_ipv6() {
            prop_assert_eq!(steering.of_packet(&piece(16, false, protocol::TCP)), first);
        }
    }

    /// Whatever arrives, steering answers with a shard or leaves it where it is.
    #[test]
    fn nothing_that_arrives_is_too_much(bytes in prop::collection::vec(any::<u8>(), 0..120), shards in 1_usize..40) {
        let steering = Steering::new(&SEED, shards);
        for version in [0x40, 0x45, 0x4f, 0x60, 0x00] {
            let mut bytes = bytes.clone();
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            prop_assert!(steering.of_packet(&bytes).is_none_or(|shard| shard < shards));
            for next in [0, 1, 6, 17, 43, 44, 58, 60] {
                if let [_, _, _, _, _, _, v6_next, _, _, v4_protocol, ..] = bytes.as_mut_slice() {
                    (*v6_next, *v4_protocol) = (next, next);
                }
                prop_assert!(steering.of_packet(&bytes).is_none_or(|shard| shard < shards));
            }
        }
    }
}

/// A destination-options header (RFC 8200 4.6) in front does not lead a segment elsewhere.
#[test]
fn extension_headers_are_looked_through() {
    let (here, there) = ("[fd00::1]:80".parse().unwrap(), "[fd00::2]:4000".parse().unwrap());
    let steering = Steering::new(&SEED, 16);
    let plain = packet(protocol::TCP, there, here);
    let mut long = plain.clone();
    long[6] = protocol::DEST_OPTS;
    long[5] += 8;
    // PadN of four bytes.
    long.splice(40..40, [protocol::TCP, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(steering.of_packet(&long), Some(steering.of_flow(here, there)));
}

/// An IPv4 address in IPv6's clothes is the same address (RFC 4291 2.5.5.2): it stands on the wire as IPv4.
#[test]
fn mapped_addresses_are_the_ipv4_addresses() {
    let steering = Steering::new(&SEED, 16);
    let (a, b): (SocketAddr, SocketAddr) = ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:4000".parse().unwrap());
    let mapped: SocketAddr = "[::ffff:10.0.0.2]:4000".parse().unwrap();
    assert_eq!(steering.of_flow(a, mapped), steering.of_flow(a, b));
}

/// Each of four shards gets about a quarter of the connections from one host, and which, only the seed tells.
#[test]
fn connections_spread_evenly_and_by_the_seed() {
    let here = "10.0.0.1:80".parse().unwrap();
    let from = |port| SocketAddr::new(Ipv4Addr::new(10, 0, 0, 2).into(), port);
    let spread = |seed: u8| {
        let steering = Steering::new(&[seed; 32], 4);
        (1024..9024).map(|port| steering.of_flow(here, from(port))).collect::<Vec<_>>()
    };
    let (one, other) = (spread(1), spread(2));
    for shard in 0..4 {
        let count = one.iter().filter(|&&s| s == shard).count();
        assert!((1850..2150).contains(&count), "shard {shard} has {count} of 8000");
    }
    let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
    assert!((1850..2150).contains(&same), "{same} of 8000 stay where they were under another seed");
}

/// Echo requests (RFC 1122 3.2.2.6) and what nobody here speaks stay with the shard that they came to.
#[test]
fn what_needs_no_connection_is_answered_where_it_comes() {
    let steering = Steering::new(&SEED, 16);
    let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let mut echo = packet(protocol::ICMP, SocketAddr::new(b, 0x0800), SocketAddr::new(a, 0));
    assert_eq!(steering.of_packet(&echo), None);
    echo[9] = protocol::GRE;
    assert_eq!(steering.of_packet(&echo), None);
}
