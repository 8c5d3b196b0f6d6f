use super::reassembly::Limits;
use super::*;
use alloc::vec;
use alloc::vec::Vec;
use finack_wire::ip::{self, IpHeader};
use finack_wire::protocol;

use crate::device::Capabilities;
use crate::stack::InterfaceAddress;

fn host() -> Ip {
    let own = |addr: &str, prefix_len| InterfaceAddress { addr: addr.parse().unwrap(), prefix_len };
    let config = Config {
        settings: Settings::default(),
        device: Capabilities::plain(1500),
        addresses: vec![own("10.0.0.1", 24), own("fd00::1", 64)],
        routes: vec![],
        any_address: false,
        seed: [4; 32],
    };
    Ip::new(&config, &Secrets::new(&config.seed))
}

fn header(src: &str, dst: &str, payload_len: usize, dont_fragment: bool) -> IpEmit {
    IpEmit {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: protocol::UDP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment,
        payload_len,
    }
}

fn drain(host: &mut Ip) -> Vec<(IpHeader, Vec<u8>)> {
    let mut packets = vec![];
    while host.out.pop().is_some() {
        let packet = host.out.lent().to_vec();
        packets.push((ip::parse(&packet).unwrap(), packet));
    }
    packets
}

#[test]
fn rfc6864_4_1_an_atomic_datagram_bears_no_identification() {
    let mut host = host();
    host.send(Instant::ZERO, header("10.0.0.1", "10.0.0.2", 100, true), None, |p| p.fill(7)).unwrap();
    let packets = drain(&mut host);
    assert!(packets[0].0.dont_fragment);
    assert_eq!((&packets[0].1[4..6], &packets[0].1[20..]), (&[0, 0][..], &[7; 100][..]));
}

#[test]
fn rfc6864_datagrams_that_may_be_cut_bear_different_identifications() {
    let mut host = host();
    for _ in 0..100 {
        host.send(Instant::ZERO, header("10.0.0.1", "10.0.0.2", 100, false), None, |_| {}).unwrap();
    }
    let mut ids: Vec<_> = drain(&mut host).iter().map(|(_, p)| [p[4], p[5]]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

#[test]
fn rfc7739_what_one_destination_sees_does_not_count_the_packets_to_another() {
    let mut host = host();
    let mut send = |dst: &str| {
        host.send(Instant::ZERO, header("10.0.0.1", dst, 100, false), None, |_| {}).unwrap();
        let packet = drain(&mut host).remove(0).1;
        u16::from_be_bytes([packet[4], packet[5]])
    };
    let before = send("10.0.0.2");
    for n in 3..200 {
        send(&alloc::format!("10.0.0.{n}"));
    }
    assert_eq!(send("10.0.0.2").wrapping_sub(before), 1);
}

#[test]
fn what_does_not_fit_is_cut_and_comes_together_again() {
    for (src, dst, len) in [("10.0.0.1", "10.0.0.2", 65_515), ("fd00::1", "fd00::2", 65_527)] {
        let mut host = host();
        let payload: Vec<u8> = (0..len).map(|i| (i / 3) as u8).collect();
        host.send(Instant::ZERO, header(src, dst, len, true), None, |p| p.copy_from_slice(&payload)).unwrap();
        let mut r = Reassembler::default();
        let limits = Limits { memory: 1 << 20, timeout: Duration::from_secs(30) };
        let mut result = None;
        for (h, packet) in drain(&mut host) {
            assert!(packet.len() <= 1500 && h.fragment.is_some());
            result = r.insert(Instant::ZERO, &h, &packet, limits).unwrap();
        }
        let whole = result.expect("all fragments were sent");
        assert_eq!(ip::parse(&whole).unwrap().payload(&whole), payload);
    }
}

#[test]
fn rfc1191_a_path_that_turned_out_narrower_is_fragmented_for() {
    let mut host = host();
    let settings = Settings::default();
    let dst = "10.0.0.2".parse().unwrap();
    assert_eq!(host.learn_mtu(Instant::ZERO, dst, 1400, 1500, &settings), Some(1400));
    assert_eq!(host.mtu_towards(Instant::ZERO, dst), Some(1400));
    host.send(Instant::ZERO, header("10.0.0.1", "10.0.0.2", 1480, true), None, |_| {}).unwrap();
    let lens: Vec<_> = drain(&mut host).iter().map(|(_, p)| p.len()).collect();
    assert_eq!(lens, [1396, 124]);
    // A router that does not say its MTU: the next plateau.
    assert_eq!(host.learn_mtu(Instant::ZERO, dst, 0, 1400, &settings), Some(1006));
    assert_eq!(host.mtu_towards(Instant::from_secs(600), dst), Some(1500));
}

#[test]
fn nothing_goes_where_no_route_leads_and_nothing_into_a_full_queue() {
    let mut host = host();
    let send = |host: &mut Ip, dst: &str| {
        host.send(Instant::ZERO, header("10.0.0.1", dst, 1400, true), None, |_| {})
    };
    assert_eq!(send(&mut host, "8.8.8.8"), Err(OutputError::NoRoute));
    let mut queued = 0;
    while send(&mut host, "10.0.0.2").is_ok() {
        queued += 1;
    }
    assert_eq!(queued, 4096);
    assert_eq!(send(&mut host, "10.0.0.2"), Err(OutputError::Full));
    assert_eq!(host.out.dropped(), 0, "refused, not dropped");
}

#[test]
fn groups_are_joined_and_left_by_count() {
    let mut groups = Groups::default();
    let group = "239.1.2.3".parse().unwrap();
    assert!(groups.is_member("224.0.0.1".parse().unwrap()) && groups.is_member("ff02::1".parse().unwrap()));
    assert!(!groups.is_member(group));
    groups.join(group).unwrap();
    groups.join(group).unwrap();
    groups.leave(group);
    assert!(groups.is_member(group));
    groups.leave(group);
    groups.leave(group);
    assert!(!groups.is_member(group));
    assert_eq!(groups.join("10.0.0.1".parse().unwrap()), Err(crate::Error::InvalidArgument));
}
