use super::*;
use crate::device::af_xdp::bpf;
use finack_wire::arp::ArpPacket;
use finack_wire::ethernet::{EtherType, EthernetHeader};

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const V4: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 7);
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 7);
/// In the same solicited-node group.
const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 1, 0, 0, 0, 7);

/// `XDP_TX`, which the program answers nothing with by itself.
const TAKEN: u32 = 3;
const PASSED: u32 = XDP_PASS as u32;

/// The program, as the kernel runs it; `None`, with a word about it, where it may not be loaded.
fn program(ports: Option<RangeInclusive<u16>>) -> Option<impl Fn(&[u8]) -> u32> {
    let another = Ipv4Addr::from_bits(OTHER_V4.to_bits() + 100);
    program_for(vec![another.into(), V4.into(), V6.into()], ports)
}

fn program_for(
    addresses: Vec<IpAddr>,
    ports: Option<RangeInclusive<u16>>,
) -> Option<impl Fn(&[u8]) -> u32 + use<>> {
    let rules = Rules { mac: US, addresses, ports };
    match bpf::load(&assemble(&rules, Verdict::Answer(TAKEN as i32))) {
        Ok(program) => Some(move |frame: &[u8]| {
            use std::os::fd::AsFd;
            bpf::run(program.as_fd(), frame).unwrap()
        }),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            eprintln!("skipped: no XDP program may be loaded here: {e}");
            None
        }
        Err(e) => panic!("the kernel finds fault with the program: {e}"),
    }
}

fn frame(to: MacAddr, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14];
    EthernetHeader { dst: to, src: PEER, ethertype, tag: None }.emit(&mut frame);
    frame.extend_from_slice(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An IPv4 packet with that many words of options, and ports.
fn v4(to: Ipv4Addr, protocol: u8, options: usize, fragment: u16, port: u16) -> Vec<u8> {
    let mut packet = vec![0; 20 + 4 * options + 8];
    packet[0] = 0x45 + options as u8;
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[9] = protocol;
    packet[16..20].copy_from_slice(&to.octets());
    packet[20 + 4 * options + 2..][..2].copy_from_slice(&port.to_be_bytes());
    frame(US, EtherType::IPV4, &packet)
}

fn v6(link: MacAddr, to: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[6] = next;
    packet[24..40].copy_from_slice(&to.octets());
    packet.extend_from_slice(body);
    frame(link, EtherType::IPV6, &packet)
}

fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let group = finack_wire::ndp::solicited_node(target);
    let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&target.octets());
    v6(MacAddr::from_multicast_v6(group), group, 58, &body)
}

fn arp(to: MacAddr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = [0; 28];
    ArpPacket::request(PEER, OTHER_V4, target).emit(&mut packet);
    frame(to, EtherType::ARP, &packet)
}

#[test]
fn what_is_for_its_addresses_is_taken_and_all_else_goes_to_the_kernel() {
    let Some(answer) = program(None) else { return };
    let taken = [
        v4(V4, 6, 0, 0, 80),
        v4(V4, 1, 0, 0, 0),
        v4(V4, 17, 0, 0x2010, 0),
        v4(V4, 6, 10, 0, 80),
        v6(US, V6, 6, &[0; 20]),
        v6(US, V6, 44, &[0; 20]),
        arp(MacAddr::BROADCAST, V4),
        arp(US, V4),
        solicitation(V6),
    ];
    for (i, frame) in taken.iter().enumerate() {
        assert_eq!(answer(frame), TAKEN, "frame {i}: {frame:02x?}");
    }
    let mut to_another_station = v4(V4, 6, 0, 0, 80);
    to_another_station[5] ^= 1;
    let mut broadcast = v4(V4, 6, 0, 0, 80);
    broadcast[..6].fill(0xff);
    let mut tagged = v4(V4, 6, 0, 0, 80);
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    let mut advertisement = solicitation(V6);
    advertisement[14 + 40] = 136;
    let passed = [
        v4(OTHER_V4, 6, 0, 0, 80),
        v6(US, OTHER_V6, 6, &[0; 20]),
        arp(MacAddr::BROADCAST, OTHER_V4),
        solicitation(OTHER_V6),
        to_another_station,
        broadcast,
        tagged,
        advertisement,
        frame(US, EtherType(0x88cc), &[0; 46]),
        v4(V4, 6, 0, 0, 80)[..33].to_vec(),
        arp(US, V4)[..41].to_vec(),
        v6(US, V6, 6, &[])[..53].to_vec(),
        solicitation(V6)[..77].to_vec(),
    ];
    for (i, frame) in passed.iter().enumerate() {
        assert_eq!(answer(frame), PASSED, "frame {i}: {frame:02x?}");
    }
}

#[test]
fn every_choice_of_addresses_makes_a_program_that_the_kernel_accepts() {
    let many_v4: Vec<IpAddr> = (0..16).map(|n| Ipv4Addr::new(10, 0, 0, n).into()).collect();
    let many_v6: Vec<IpAddr> = (0..16).map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into()).collect();
    for addresses in [vec![V4.into()], vec![V6.into()], many_v4, many_v6] {
        for ports in [None, Some(80..=80), Some(0..=u16::MAX)] {
            let taken = match addresses[addresses.len() - 1] {
                IpAddr::V4(address) => v4(address, 6, 0, 0, 80),
                IpAddr::V6(address) => v6(US, address, 6, &[0, 0, 0, 80]),
            };
            let Some(answer) = program_for(addresses.clone(), ports) else { return };
            assert_eq!(answer(&taken), TAKEN);
        }
    }
}

#[test]
fn with_ports_only_tcp_and_udp_to_these_are_taken() {
    let Some(answer) = program(Some(8000..=8010)) else { return };
    let ports = |port: u16| {
        let mut body = [0; 20];
        body[2..4].copy_from_slice(&port.to_be_bytes());
        body
    };
    for port in [8000, 8010] {
        assert_eq!(answer(&v4(V4, 6, 0, 0x4000, port)), TAKEN);
        assert_eq!(answer(&v4(V4, 17, 3, 0, port)), TAKEN, "behind options");
        assert_eq!(answer(&v6(US, V6, 17, &ports(port))), TAKEN);
    }
    for port in [0, 7999, 8011, 65535] {
        assert_eq!(answer(&v4(V4, 6, 0, 0, port)), PASSED);
        assert_eq!(answer(&v6(US, V6, 6, &ports(port))), PASSED);
    }
    let cut = &v4(V4, 6, 10, 0, 8000)[..14 + 60 + 3];
    let passed = [
        v4(V4, 1, 0, 0, 8000),
        v4(V4, 17, 0, 0x0010, 8000),
        v4(OTHER_V4, 6, 0, 0, 8000),
        v6(US, V6, 58, &ports(8000)),
        v6(US, OTHER_V6, 6, &ports(8000)),
        arp(MacAddr::BROADCAST, V4),
        solicitation(V6),
        cut.to_vec(),
    ];
    for (i, frame) in passed.iter().enumerate() {
        assert_eq!(answer(frame), PASSED, "frame {i}: {frame:02x?}");
    }
}
