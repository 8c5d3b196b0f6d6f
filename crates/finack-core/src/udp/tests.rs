mod runs;

use super::*;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use proptest::prelude::*;

use finack_wire::ip::{self, IpEmit};
use finack_wire::{protocol, udp as wire};

use crate::device::{Capabilities, Packet, PacketMeta};
use crate::ip::Ip;
use crate::stack::{Config, InterfaceAddress};
use crate::time::Instant;
use crate::trace::DropReason;

const NOW: Instant = Instant::ZERO;

/// One host's UDP with what it needs around it.
struct Host {
    udp: Udp,
    ip: Ip,
    settings: Settings,
}

fn at(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

impl Host {
    fn new(addresses: &[(&str, u8)]) -> Self {
        let own =
            |&(addr, prefix_len): &(&str, u8)| InterfaceAddress { addr: addr.parse().unwrap(), prefix_len };
        let config = Config {
            settings: Settings::default(),
            device: Capabilities::plain(1500),
            addresses: addresses.iter().map(own).collect(),
            routes: vec![],
            any_address: false,
            seed: [6; 32],
        };
        let secrets = Secrets::new(&config.seed);
        Self { udp: Udp::new(&secrets), ip: Ip::new(&config, &secrets), settings: config.settings }
    }

    fn a() -> Self {
        Self::new(&[("10.0.0.1", 24), ("fd00::1", 64)])
    }

    fn b() -> Self {
        Self::new(&[("10.0.0.2", 24), ("fd00::2", 64)])
    }

    fn bind_with(&mut self, local: &str, options: BindOptions) -> Result<UdpId, Error> {
        self.udp.bind(&self.ip.routes, &self.settings, at(local), options)
    }

    fn bind(&mut self, local: &str) -> UdpId {
        self.bind_with(local, BindOptions::default()).unwrap()
    }

    fn connect(&mut self, id: UdpId, remote: &str) -> Result<(), Error> {
        self.udp.connect(&self.ip.routes, id, Some(at(remote)))
    }

    fn send_to(&mut self, id: UdpId, to: &str, data: &[u8]) -> Result<usize, Error> {
        self.udp.send(NOW, &mut self.ip, &self.settings, id, Some(at(to)), data)
    }

    fn send(&mut self, id: UdpId, data: &[u8]) -> Result<usize, Error> {
        self.udp.send(NOW, &mut self.ip, &self.settings, id, None, data)
    }

    /// Sends `parts` to one place; with `offload` to a device that cuts units and finishes checksums.
    fn send_run(&mut self, id: UdpId, to: &str, parts: &[&[u8]], offload: bool) -> Result<usize, Error> {
        let plain = Capabilities::plain(1500);
        let able = Capabilities { max_unit: 65_535, checksum_tx: true, udp_units: true, ..plain };
        let device = if offload { able } else { plain };
        self.udp.send_run(NOW, &mut self.ip, (&self.settings, &device), id, Some(at(to)), parts)
    }

    /// The datagrams that leave, each as on the wire, with the checksum that a device would have finished.
    fn transmit_cut(&mut self) -> Vec<Vec<u8>> {
        let mut all = vec![];
        while let Some(packet) = self.transmit() {
            let header = ip::parse(&packet).expect("a packet that parses");
            let Some(unit) = self.ip.out.lent_unit() else {
                all.push(packet);
                continue;
            };
            assert_eq!(usize::from(unit.start), header.header_len);
            for mut one in super::cut(&header, &packet, usize::from(unit.each)) {
                let header = ip::parse(&one).expect("a datagram that parses");
                let datagram = &mut one[header.header_len..];
                wire::set_checksum(datagram, 0);
                let checksum = wire::checksum(header.pseudo_header_sum(datagram.len()), datagram);
                wire::set_checksum(datagram, checksum);
                if header.dont_fragment && !header.is_v6() {
                    // RFC 6864 4.1: the identification of an atomic datagram says nothing.
                    one[4..6].fill(0);
                    one[10..12].fill(0);
                    let sum = finack_sum::sum(&one[..20]);
                    one[10..12].copy_from_slice(&(!sum).to_be_bytes());
                }
                all.push(one);
            }
        }
        all
    }

    fn transmit(&mut self) -> Option<Vec<u8>> {
        let (owner, len) = self.ip.out.pop()?;
        self.udp.sent(&self.ip, owner, len);
        Some(self.ip.out.lent().to_vec())
    }

    fn cast(&self, dst: IpAddr) -> Cast {
        let many = dst.is_multicast() || self.ip.routes.is_broadcast(dst);
        if many { Cast::Many } else { Cast::One }
    }

    fn receive(&mut self, packet: &[u8]) -> Result<u32, DropReason> {
        let header = ip::parse(packet).expect("a packet that parses");
        let cast = self.cast(header.dst);
        self.udp.input(&header, &Packet::borrowed(packet), cast, true).map(|d| d.taken)
    }

    fn recv(&mut self, id: UdpId) -> Result<(Vec<u8>, SocketAddr), Error> {
        let mut buf = vec![0; 70_000];
        let got = self.udp.recv(id, &mut buf, false)?;
        buf.truncate(got.len);
        Ok((buf, got.from))
    }

    fn events(&mut self) -> Vec<(UdpId, Ready)> {
        core::iter::from_fn(|| self.udp.poll_event()).collect()
    }
}

/// A datagram on the wire.
fn datagram(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let (from, to) = (at(from), at(to));
    let header = IpEmit {
        src: from.ip(),
        dst: to.ip(),
        protocol: protocol::UDP,
        hop_limit: 61,
        tos: 0x28,
        ident: 0,
        dont_fragment: true,
        payload_len: 8 + data.len(),
    };
    let mut packet = vec![0; header.header_len() + 8];
    packet.extend_from_slice(data);
    let head = header.emit(&mut packet);
    wire::emit(&mut packet[head..], from.port(), to.port(), data.len());
    let checksum = wire::checksum(header.pseudo_header_sum(), &packet[head..]);
    wire::set_checksum(&mut packet[head..], checksum);
    packet
}

fn reuse_addr() -> BindOptions {
    BindOptions { reuse_addr: true, ..BindOptions::default() }
}

fn reuse_port() -> BindOptions {
    BindOptions { reuse_port: true, ..BindOptions::default() }
}

#[test]
fn a_question_and_its_answer_over_both_ip_versions() {
    for (client, server) in [("10.0.0.1:5000", "10.0.0.2:53"), ("[fd00::1]:5000", "[fd00::2]:53")] {
        let (mut a, mut b) = (Host::a(), Host::b());
        let (ask, serve) = (a.bind(client), b.bind(server));
        assert_eq!(a.send_to(ask, server, b"who?"), Ok(4));
        let packet = a.transmit().unwrap();
        assert_eq!(b.receive(&packet), Ok(1));
        assert_eq!(b.events(), [(serve, Ready::READABLE)]);
        assert_eq!(b.recv(serve), Ok((b"who?".to_vec(), at(client))));
        assert_eq!(b.recv(serve), Err(Error::WouldBlock));
        b.send_to(serve, client, b"me").unwrap();
        let packet = b.transmit().unwrap();
        assert_eq!(a.receive(&packet), Ok(1));
        assert_eq!(a.recv(ask), Ok((b"me".to_vec(), at(server))));
    }
}

#[test]
fn rfc1122_4_1_4_the_application_learns_addresses_tos_and_hop_limit() {
    let mut a = Host::a();
    let s = a.bind("0.0.0.0:53");
    a.receive(&datagram("10.0.0.2:9", "10.0.0.1:53", b"abcdef")).unwrap();
    let mut buf = [0; 4];
    let peeked = a.udp.recv(s, &mut buf, true).unwrap();
    assert_eq!((peeked.len, peeked.full_len, &buf), (4, 6, b"abcd"));
    assert_eq!(
        (peeked.from, peeked.to, peeked.tos, peeked.hop_limit),
        (at("10.0.0.2:9"), at("10.0.0.1:53"), 0x28, 61)
    );
    assert_eq!(a.udp.recv(s, &mut buf, false), Ok(peeked));
    assert_eq!(a.udp.recv(s, &mut buf, false), Err(Error::WouldBlock), "the rest of the datagram is gone");
}

#[test]
fn a_datagram_without_data_is_received_as_such() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:53");
    assert_eq!(a.receive(&datagram("10.0.0.2:9", "10.0.0.1:53", b"")), Ok(1));
    assert!(a.udp.ready(s, &a.ip.out).unwrap().contains(Ready::READABLE));
    assert_eq!(a.recv(s), Ok((vec![], at("10.0.0.2:9"))));
    assert_eq!(a.send_to(s, "10.0.0.2:9", b""), Ok(0));
    assert_eq!(a.transmit().unwrap().len(), 28);
}

#[test]
fn rfc768_lengths_below_8_and_beyond_the_packet_are_dropped() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:53");
    let good = datagram("10.0.0.2:9", "10.0.0.1:53", b"data");
    for length in [0u16, 7, 13, 65_535] {
        let mut bad = good.clone();
        bad[24..26].copy_from_slice(&length.to_be_bytes());
        assert_eq!(a.receive(&bad), Err(DropReason::UdpMalformed), "length {length}");
    }
    assert_eq!(a.recv(s), Err(Error::WouldBlock));
}

#[test]
fn rfc1122_4_1_3_4_wrong_checksums_are_dropped_and_a_missing_one_is_for_ipv4_alone() {
    let mut a = Host::a();
    let (v4, v6) = (a.bind("10.0.0.1:53"), a.bind("[fd00::1]:53"));
    let mut bad = datagram("10.0.0.2:9", "10.0.0.1:53", b"data");
    bad[30] ^= 1;
    assert_eq!(a.receive(&bad), Err(DropReason::UdpChecksum));
    bad[26..28].fill(0);
    assert_eq!(a.receive(&bad), Ok(1));
    assert!(a.recv(v4).is_ok());
    // RFC 8200 8.1: a zero checksum over IPv6 is an error.
    let mut none = datagram("[fd00::2]:9", "[fd00::1]:53", b"data");
    none[46..48].fill(0);
    assert_eq!(a.receive(&none), Err(DropReason::UdpChecksum));
    assert_eq!(a.recv(v6), Err(Error::WouldBlock));
}

#[test]
fn rfc768_a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:5000");
    // Some word brings the sum to zero.
    let found = (0..=u16::MAX).any(|word| {
        a.send_to(s, "10.0.0.2:53", &word.to_be_bytes()).unwrap();
        let packet = a.transmit().unwrap();
        assert_ne!(packet[26..28], [0, 0]);
        packet[26..28] == [0xff, 0xff]
    });
    assert!(found);
}

#[test]
fn a_vouched_checksum_is_not_verified_again() {
    let mut a = Host::a();
    a.bind("10.0.0.1:53");
    let mut packet = datagram("10.0.0.2:9", "10.0.0.1:53", b"data");
    packet[26] ^= 0x55;
    let header = ip::parse(&packet).unwrap();
    let mut packet = Packet::borrowed(&packet);
    packet.meta.checksum = crate::device::ChecksumState::Valid;
    assert_eq!(a.udp.input(&header, &packet, Cast::One, true).map(|d| d.taken), Ok(1));
}

#[test]
fn joined_datagrams_are_taken_apart() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:53");
    let bytes = bytes::Bytes::from(datagram("10.0.0.2:9", "10.0.0.1:53", b"aaabbbcc"));
    let header = ip::parse(&bytes).unwrap();
    let meta = PacketMeta { segments: 3, segment_size: 3, ..PacketMeta::default() };
    let packet = Packet { meta, ..Packet::shared(bytes) };
    assert_eq!(a.udp.input(&header, &packet, Cast::One, true).map(|d| d.taken), Ok(3));
    let all: Vec<Vec<u8>> = core::iter::from_fn(|| a.recv(s).ok()).map(|(data, _)| data).collect();
    assert_eq!(all, [b"aaa".to_vec(), b"bbb".to_vec(), b"cc".to_vec()]);
}

#[test]
fn linux_the_closest_socket_gets_the_datagram() {
    let mut a = Host::a();
    let wildcard = a.bind_with("0.0.0.0:53", reuse_addr()).unwrap();
    let bound = a.bind_with("10.0.0.1:53", reuse_addr()).unwrap();
    let connected = a.bind_with("10.0.0.1:53", reuse_addr()).unwrap();
    a.connect(connected, "10.0.0.2:9").unwrap();
    let packet = datagram("10.0.0.2:9", "10.0.0.1:53", b"x");
    for expected in [connected, bound, wildcard] {
        assert_eq!(a.receive(&packet), Ok(1));
        assert!(a.recv(expected).is_ok());
        a.udp.close(&mut a.ip.groups, expected).unwrap();
    }
    assert_eq!(a.receive(&packet), Err(DropReason::UdpNoPort));
}

#[test]
fn a_connected_socket_receives_from_its_peer_alone_until_the_association_is_dissolved() {
    let mut a = Host::a();
    let s = a.bind("0.0.0.0:53");
    a.connect(s, "10.0.0.2:9").unwrap();
    assert_eq!(a.udp.local_addr(s), Ok(at("10.0.0.1:53")), "connect chooses the source address");
    assert_eq!(a.udp.remote_addr(s), Ok(Some(at("10.0.0.2:9"))));
    assert_eq!(a.receive(&datagram("10.0.0.2:10", "10.0.0.1:53", b"no")), Err(DropReason::UdpNoPort));
    assert_eq!(a.receive(&datagram("10.0.0.3:9", "10.0.0.1:53", b"no")), Err(DropReason::UdpNoPort));
    assert_eq!(a.receive(&datagram("10.0.0.2:9", "10.0.0.1:53", b"yes")), Ok(1));
    a.udp.connect(&a.ip.routes, s, None).unwrap();
    assert_eq!(a.udp.local_addr(s), Ok(at("0.0.0.0:53")));
    assert_eq!(a.receive(&datagram("10.0.0.3:9", "10.0.0.1:53", b"too")), Ok(1));
    assert_eq!(a.recv(s).unwrap().0, b"yes");
    assert_eq!(a.recv(s).unwrap().0, b"too");
}

#[test]
fn linux_binding_twice_needs_reuse_on_both() {
    let mut a = Host::a();
    let first = a.bind("10.0.0.1:53");
    assert_eq!(a.bind_with("10.0.0.1:53", reuse_addr()), Err(Error::AddrInUse));
    assert_eq!(a.bind_with("0.0.0.0:53", BindOptions::default()), Err(Error::AddrInUse));
    assert_eq!(a.bind_with("[::]:53", BindOptions::default()), Err(Error::AddrInUse));
    assert!(a.bind_with("[::]:53", BindOptions { v6_only: true, ..BindOptions::default() }).is_ok());
    a.udp.close(&mut a.ip.groups, first).unwrap();
    assert!(a.bind_with("10.0.0.1:53", reuse_addr()).is_ok());
    assert!(a.bind_with("10.0.0.1:53", reuse_addr()).is_ok());
}

#[test]
fn linux_with_so_reuseaddr_the_last_to_bind_gets_unicast_and_all_get_multicast() {
    let mut a = Host::a();
    let sockets: Vec<_> = (0..3).map(|_| a.bind_with("0.0.0.0:5353", reuse_addr()).unwrap()).collect();
    a.receive(&datagram("10.0.0.2:9", "10.0.0.1:5353", b"one")).unwrap();
    assert!(a.recv(sockets[2]).is_ok());
    let group = "224.0.0.251".parse().unwrap();
    a.udp.join(&mut a.ip.groups, sockets[0], group).unwrap();
    assert_eq!(a.receive(&datagram("10.0.0.2:5353", "224.0.0.251:5353", b"all")), Ok(3));
    for s in &sockets {
        assert_eq!(a.recv(*s).unwrap().0, b"all");
    }
    assert_eq!(a.receive(&datagram("10.0.0.2:9", "10.0.0.255:5353", b"broadcast")), Ok(3));
    assert_eq!(a.receive(&datagram("10.0.0.2:9", "255.255.255.255:5353", b"broadcast")), Ok(3));
}

#[test]
fn linux_so_reuseport_spreads_peers_over_the_sockets_and_keeps_each_on_one() {
    let mut a = Host::a();
    let sockets: Vec<_> = (0..4).map(|_| a.bind_with("0.0.0.0:53", reuse_port()).unwrap()).collect();
    let mut owner = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for round in 0..3 {
        for port in 1000..1400 {
            a.receive(&datagram(&alloc::format!("10.0.0.2:{port}"), "10.0.0.1:53", b"x")).unwrap();
            let taker = *sockets.iter().find(|s| a.recv(**s).is_ok()).unwrap();
            assert_eq!(*owner.entry(port).or_insert(taker), taker, "round {round}");
            *counts.entry(taker).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.len(), 4);
    assert!(counts.values().all(|c| (150..450).contains(c)), "{counts:?}");
}

#[test]
fn port_0_takes_a_port_of_the_range_that_is_free() {
    let mut a = Host::a();
    a.settings.ip_local_port_min = 40_000;
    a.settings.ip_local_port_max = 40_063;
    let ports: BTreeSet<u16> = (0..64)
        .map(|_| {
            let s = a.bind("0.0.0.0:0");
            a.udp.local_addr(s).unwrap().port()
        })
        .collect();
    assert_eq!(ports.len(), 64);
    assert_eq!(a.bind_with("0.0.0.0:0", BindOptions::default()), Err(Error::AddrInUse));
}

#[test]
fn addresses_that_are_not_ours_cannot_be_bound() {
    let mut a = Host::a();
    assert_eq!(a.bind_with("10.0.0.9:53", BindOptions::default()), Err(Error::AddrNotAvailable));
    assert!(a.bind_with("224.0.0.251:53", BindOptions::default()).is_ok());
    assert!(a.bind_with("10.0.0.255:53", BindOptions::default()).is_ok());
}

#[test]
fn a_socket_on_all_addresses_of_both_families_shows_ipv4_peers_as_mapped() {
    let mut a = Host::a();
    let s = a.bind("[::]:53");
    a.receive(&datagram("10.0.0.2:9", "10.0.0.1:53", b"four")).unwrap();
    a.receive(&datagram("[fd00::2]:9", "[fd00::1]:53", b"six")).unwrap();
    let (_, from) = a.recv(s).unwrap();
    assert_eq!(from, at("[::ffff:10.0.0.2]:9"));
    assert_eq!(a.recv(s).unwrap().1, at("[fd00::2]:9"));
    assert_eq!(a.send_to(s, "[::ffff:10.0.0.2]:9", b"back"), Ok(4));
    assert_eq!(ip::parse(&a.transmit().unwrap()).unwrap().dst, at("10.0.0.2:9").ip());
    assert_eq!(a.udp.local_addr(s), Ok(at("[::]:53")));
    a.connect(s, "[::ffff:10.0.0.2]:9").unwrap();
    assert_eq!(a.udp.local_addr(s), Ok(at("[::ffff:10.0.0.1]:53")));
    // V6ONLY has none of it.
    let only = a.bind_with("[::]:54", BindOptions { v6_only: true, ..BindOptions::default() }).unwrap();
    assert_eq!(a.receive(&datagram("10.0.0.2:9", "10.0.0.1:54", b"x")), Err(DropReason::UdpNoPort));
    assert_eq!(a.send_to(only, "10.0.0.2:9", b"x"), Err(Error::NetworkUnreachable));
}

#[test]
fn what_cannot_be_sent_says_why() {
    let mut a = Host::a();
    let s = a.bind("0.0.0.0:53");
    assert_eq!(a.send(s, b"x"), Err(Error::DestinationRequired));
    assert_eq!(a.send_to(s, "10.0.0.2:0", b"x"), Err(Error::InvalidArgument));
    assert_eq!(a.send_to(s, "[fd00::2]:9", b"x"), Err(Error::AddressFamily));
    assert_eq!(a.send_to(s, "8.8.8.8:9", b"x"), Err(Error::NetworkUnreachable));
    assert_eq!(a.send_to(s, "10.0.0.2:9", &[0; 65_508]), Err(Error::MessageTooLong));
    assert_eq!(a.send_to(s, "10.0.0.255:9", b"x"), Err(Error::AccessDenied), "SO_BROADCAST");
    assert_eq!(a.connect(s, "255.255.255.255:9"), Err(Error::AccessDenied));
    a.udp.set_broadcast(s, true).unwrap();
    assert_eq!(a.send_to(s, "10.0.0.255:9", b"x"), Ok(1));
    let packet = a.transmit().unwrap();
    assert_eq!(ip::parse(&packet).unwrap().src, at("10.0.0.1:0").ip());
    a.udp.close(&mut a.ip.groups, s).unwrap();
    assert_eq!(a.send_to(s, "10.0.0.2:9", b"x"), Err(Error::BadHandle));
    let again = a.bind("0.0.0.0:53");
    assert_eq!(a.recv(s), Err(Error::BadHandle), "an old handle never names the new socket");
    assert!(again.index == s.index && again != s);
}

#[test]
fn the_largest_datagram_goes_in_fragments() {
    for (src, dst, len) in [("10.0.0.1:53", "10.0.0.2:53", 65_507), ("[fd00::1]:53", "[fd00::2]:53", 65_527)]
    {
        let (mut a, mut b) = (Host::a(), Host::b());
        let (s, r) = (a.bind(src), b.bind(dst));
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        assert_eq!(a.send_to(s, dst, &data), Ok(len));
        let limits =
            crate::ip::reassembly::Limits { memory: 1 << 20, timeout: core::time::Duration::from_secs(30) };
        while let Some(fragment) = a.transmit() {
            let header = ip::parse(&fragment).unwrap();
            if let Some(whole) = b.ip.reassembler.insert(NOW, &header, &fragment, limits).unwrap() {
                assert_eq!(b.receive(&whole), Ok(1));
            }
        }
        assert_eq!(b.recv(r).unwrap().0, data);
    }
}

#[test]
fn rfc1112_6_1_multicast_goes_one_hop_by_default_and_members_on_this_host_hear_it() {
    let mut a = Host::a();
    let s = a.bind("0.0.0.0:5353");
    let group = "224.0.0.251".parse().unwrap();
    a.send_to(s, "224.0.0.251:5353", b"x").unwrap();
    assert_eq!(ip::parse(&a.transmit().unwrap()).unwrap().hop_limit, 1);
    assert_eq!(a.recv(s), Err(Error::WouldBlock), "not a member");
    a.udp.join(&mut a.ip.groups, s, group).unwrap();
    assert_eq!(a.udp.join(&mut a.ip.groups, s, group), Err(Error::AddrInUse));
    a.udp.set_hop_limit(s, Some(7), Some(9)).unwrap();
    a.send_to(s, "224.0.0.251:5353", b"y").unwrap();
    assert_eq!(ip::parse(&a.transmit().unwrap()).unwrap().hop_limit, 9);
    assert_eq!(a.recv(s), Ok((b"y".to_vec(), at("10.0.0.1:5353"))));
    a.send_to(s, "10.0.0.2:5353", b"z").unwrap();
    assert_eq!(ip::parse(&a.transmit().unwrap()).unwrap().hop_limit, 7);
    assert!(a.ip.groups.is_member(group));
    a.udp.leave(&mut a.ip.groups, s, group).unwrap();
    assert_eq!(a.udp.leave(&mut a.ip.groups, s, group), Err(Error::AddrNotAvailable));
    assert!(!a.ip.groups.is_member(group));
    assert_eq!(a.udp.set_hop_limit(s, Some(0), None), Err(Error::InvalidArgument));
}

#[test]
fn closing_leaves_the_groups() {
    let mut a = Host::a();
    let s = a.bind("[::]:5353");
    let group = "ff02::fb".parse().unwrap();
    a.udp.join(&mut a.ip.groups, s, group).unwrap();
    a.udp.close(&mut a.ip.groups, s).unwrap();
    assert!(!a.ip.groups.is_member(group));
}

#[test]
fn a_full_receive_buffer_drops_and_counts() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:53");
    a.udp.set_buffers(s, Some(0), None).unwrap();
    let packet = datagram("10.0.0.2:9", "10.0.0.1:53", &[1; 744]);
    assert_eq!(
        [(); 4].map(|()| a.receive(&packet)),
        [Ok(1), Ok(1), Ok(0), Ok(0)],
        "2304 bytes, 256 a datagram"
    );
    assert_eq!(a.udp.drops(s), Ok(2));
    assert_eq!(a.events().len(), 1, "several datagrams, one event");
    a.recv(s).unwrap();
    assert_eq!(a.receive(&packet), Ok(1));
    // An empty buffer takes one of any size.
    while a.recv(s).is_ok() {}
    assert_eq!(a.receive(&datagram("10.0.0.2:9", "10.0.0.1:53", &[1; 9000])), Ok(1));
    a.udp.close(&mut a.ip.groups, s).unwrap();
    assert_eq!(a.udp.queued, 0);
}

#[test]
fn datagrams_without_data_fill_the_buffer_too() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:53");
    let packet = datagram("10.0.0.2:9", "10.0.0.1:53", b"");
    let taken: u32 = (0..100_000).map(|_| a.receive(&packet).unwrap()).sum();
    assert_eq!(taken as usize, 212_992 / 256);
    assert_eq!(a.udp.drops(s), Ok(u64::from(100_000 - taken)));
}

/// What an ICMP error about a datagram to `to` says.
fn told(to: SocketAddr, error: Error) -> UdpReport {
    UdpReport { error, kind: 3, code: 3, mtu: 0, from: to.ip(), to, data: vec![7; 100] }
}

#[test]
fn rfc1122_4_1_3_3_a_hard_icmp_error_is_reported_once_to_a_connected_socket() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:5000");
    a.connect(s, "10.0.0.2:53").unwrap();
    let (local, remote) = (at("10.0.0.1:5000"), at("10.0.0.2:53"));
    assert!(a.udp.icmp_error(local, true, &told(remote, Error::ConnectionRefused)));
    assert_eq!(a.events(), [(s, Ready::ERROR | Ready::READABLE | Ready::WRITABLE)]);
    assert_eq!(a.recv(s), Err(Error::ConnectionRefused));
    assert_eq!(a.recv(s), Err(Error::WouldBlock));
    assert!(a.udp.icmp_error(local, true, &told(remote, Error::ConnectionRefused)));
    assert_eq!(a.send(s, b"x"), Err(Error::ConnectionRefused));
    assert_eq!(a.send(s, b"x"), Ok(1));
    assert!(a.udp.icmp_error(local, true, &told(remote, Error::ConnectionRefused)));
    assert_eq!(a.udp.take_error(s), Ok(Some(Error::ConnectionRefused)));
    assert_eq!(a.udp.take_error(s), Ok(None));
    // Soft errors are not reported.
    assert!(a.udp.icmp_error(local, false, &told(remote, Error::HostUnreachable)));
    assert_eq!(a.udp.take_error(s), Ok(None));
}

#[test]
fn linux_an_unconnected_socket_is_not_told_of_icmp_errors() {
    let mut a = Host::a();
    let s = a.bind("0.0.0.0:5000");
    assert!(a.udp.icmp_error(at("10.0.0.1:5000"), true, &told(at("10.0.0.2:53"), Error::ConnectionRefused)));
    assert_eq!(a.udp.take_error(s), Ok(None));
    assert!(
        !a.udp.icmp_error(at("10.0.0.1:5001"), true, &told(at("10.0.0.2:53"), Error::ConnectionRefused)),
        "no such port"
    );
}

#[test]
fn rfc1122_4_1_3_3_who_asks_is_told_of_every_icmp_error_within_bounds() {
    let mut a = Host::a();
    let (local, remote) = (at("10.0.0.1:5000"), at("10.0.0.2:53"));
    let s = a.bind("10.0.0.1:5000");
    let before = a.udp.memory();
    a.udp.set_reports(s, true).unwrap();
    for i in 0..1000 {
        let error = if i == 0 { Error::HostUnreachable } else { Error::ConnectionRefused };
        assert!(a.udp.icmp_error(local, false, &told(remote, error)));
    }
    assert!(a.udp.memory() < before + 100_000, "what waits is bounded");
    assert_eq!(a.udp.take_error(s), Ok(Some(Error::ConnectionRefused)), "the last one");
    assert_eq!(a.udp.take_report(s), Ok(Some(told(remote, Error::HostUnreachable))), "the first one");
    let mut more = 0;
    while a.udp.take_report(s).unwrap().is_some() {
        more += 1;
    }
    assert_eq!(more, 63);
    assert_eq!((a.udp.take_error(s), a.udp.memory()), (Ok(None), before));
    assert!(a.udp.icmp_error(local, false, &told(remote, Error::HostUnreachable)));
    a.udp.set_reports(s, false).unwrap();
    assert_eq!((a.udp.take_report(s), a.udp.memory()), (Ok(None), before));
}

#[test]
fn a_full_send_buffer_blocks_until_half_of_it_is_free_again() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:53");
    a.udp.set_buffers(s, None, Some(0)).unwrap();
    for _ in 0..4 {
        assert_eq!(a.send_to(s, "10.0.0.2:9", &[0; 1472]), Ok(1472));
    }
    assert_eq!(a.send_to(s, "10.0.0.2:9", b"x"), Err(Error::WouldBlock), "6000 of 4608 bytes");
    assert!(!a.udp.ready(s, &a.ip.out).unwrap().contains(Ready::WRITABLE));
    a.transmit();
    a.transmit();
    assert_eq!(a.events(), []);
    a.transmit();
    assert_eq!(a.events(), [(s, Ready::WRITABLE)]);
    assert_eq!(a.send_to(s, "10.0.0.2:9", b"x"), Ok(1));
}

#[test]
fn a_full_queue_of_packets_blocks_every_socket_and_wakes_each_once() {
    let mut a = Host::a();
    let sockets: Vec<_> = (0..50).map(|_| a.bind("10.0.0.1:0")).collect();
    for (i, s) in sockets.iter().cycle().enumerate() {
        match a.send_to(*s, "10.0.0.2:9", b"x") {
            Ok(_) => {}
            Err(e) => {
                assert_eq!((e, i), (Error::WouldBlock, 4096));
                break;
            }
        }
    }
    for _ in 0..1000 {
        for s in &sockets {
            assert_eq!(a.send_to(*s, "10.0.0.2:9", b"x"), Err(Error::WouldBlock));
        }
    }
    assert_eq!(a.udp.waiting.len(), 50);
    while a.transmit().is_some() {}
    let woken: BTreeSet<UdpId> = a.events().into_iter().map(|(id, _)| id).collect();
    assert_eq!(woken, sockets.into_iter().collect());
    assert!(a.udp.waiting.is_empty());
}

#[test]
fn news_of_closed_sockets_do_not_pile_up() {
    let mut a = Host::a();
    let packet = datagram("10.0.0.2:9", "10.0.0.1:53", b"x");
    for _ in 0..10_000 {
        let s = a.bind("10.0.0.1:53");
        a.receive(&packet).unwrap();
        a.udp.close(&mut a.ip.groups, s).unwrap();
    }
    assert!(a.udp.events.len() < 100, "{}", a.udp.events.len());
    assert_eq!(a.events(), []);
}

#[test]
fn ten_thousand_sockets_each_get_their_own() {
    let mut a = Host::a();
    let sockets: Vec<_> = (10_000..20_000).map(|port| a.bind(&alloc::format!("10.0.0.1:{port}"))).collect();
    for (i, s) in sockets.iter().enumerate().step_by(37) {
        let to = alloc::format!("10.0.0.1:{}", 10_000 + i);
        assert_eq!(a.receive(&datagram("10.0.0.2:9", &to, &(i as u32).to_be_bytes())), Ok(1));
        assert_eq!(a.recv(*s).unwrap().0, (i as u32).to_be_bytes());
    }
    for s in sockets {
        a.udp.close(&mut a.ip.groups, s).unwrap();
    }
    assert_eq!((a.udp.sockets.len(), a.udp.queued), (0, 0));
}

/// Linux's scoring, one socket after the other.
fn naive(sockets: &[(UdpId, Socket)], to: SocketAddr, from: SocketAddr) -> Option<&(UdpId, Socket)> {
    let score = |s: &Socket| {
        if s.port != to.port() {
            return None;
        }
        match s.remote {
            Some(remote) => (remote == from && s.local == to.ip()).then_some(4),
            None if s.local == to.ip() => Some(3),
            None if !s.local.is_unspecified() => None,
            None if s.local.is_ipv4() == to.is_ipv4() => {
                Some(if s.local.is_ipv4() || s.options.v6_only { 2 } else { 1 })
            }
            None => (s.local.is_ipv6() && !s.options.v6_only).then_some(1),
        }
    };
    // The last of the best.
    sockets
        .iter()
        .filter_map(|entry| score(&entry.1).map(|n| (n, entry)))
        .max_by_key(|(n, _)| *n)
        .map(|(_, e)| e)
}

proptest! {
    #![proptest_config(crate::testing::cases(300))]

    #[test]
    fn the_table_agrees_with_a_walk_over_all_sockets(
        ops in proptest::collection::vec((0u8..4, 0usize..6, 0u16..3, 0usize..4, any::<usize>()), 1..60),
    ) {
        let locals = ["0.0.0.0", "10.0.0.1", "[::]", "[fd00::1]", "[::ffff:10.0.0.1]", "10.0.0.255"];
        let remotes = ["10.0.0.2:9", "10.0.0.3:9", "[fd00::2]:9", "[fd00::3]:9"];
        let mut a = Host::a();
        let mut ids: Vec<UdpId> = vec![];
        for (what, local, port, remote, pick) in ops {
            let port = 50 + port;
            match what {
                0 | 1 => {
                    let options = BindOptions { v6_only: pick.is_multiple_of(3), ..reuse_addr() };
                    ids.extend(a.bind_with(&alloc::format!("{}:{port}", locals[local]), options));
                }
                2 if !ids.is_empty() => {
                    let id = ids[pick % ids.len()];
                    if remote == 0 {
                        a.udp.connect(&a.ip.routes, id, None).unwrap();
                    } else {
                        let _ = a.connect(id, remotes[remote]);
                    }
                    // A socket that moves is the last of its new place.
                    ids.retain(|i| *i != id);
                    ids.push(id);
                }
                3 if !ids.is_empty() => {
                    let id = ids.swap_remove(pick % ids.len());
                    a.udp.close(&mut a.ip.groups, id).unwrap();
                }
                _ => {}
            }
        }
        let sockets: Vec<_> = ids.iter().map(|id| (*id, a.udp.get(*id).unwrap().clone())).collect();
        for from in remotes {
            for to in ["10.0.0.1", "[fd00::1]", "10.0.0.255"] {
                for port in 50..53 {
                    let (from, to) = (at(from), at(&alloc::format!("{to}:{port}")));
                    if from.is_ipv4() != to.is_ipv4() {
                        continue;
                    }
                    let got = a.udp.table.unicast(to, from);
                    let want = naive(&sockets, to, from);
                    prop_assert_eq!(got.is_some(), want.is_some(), "{} -> {}", from, to);
                    if let (Some(index), Some((_, best))) = (got, want) {
                        let got = a.udp.sockets.get(index).unwrap();
                        prop_assert_eq!(got.key(), best.key());
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_datagrams_do_no_harm(
        packets in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..64), any::<u16>(), any::<bool>()), 0..100),
    ) {
        let mut a = Host::a();
        let s = a.bind("10.0.0.1:53");
        for (payload, length, lie) in packets {
            let mut packet = datagram("10.0.0.2:9", "10.0.0.1:53", &payload);
            if lie {
                packet[24..26].copy_from_slice(&(length % 80).to_be_bytes());
            }
            let cut = packet.len() - usize::from(length) % 8;
            packet.truncate(cut.max(20));
            if let Ok(header) = ip::parse(&packet) {
                let _ = a.udp.input(&header, &Packet::borrowed(&packet), Cast::One, true);
            }
            let _ = a.recv(s);
        }
    }
}
