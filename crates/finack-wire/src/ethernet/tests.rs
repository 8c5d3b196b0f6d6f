use super::*;
use crate::samples::{self, hex};
use std::format;
use std::string::ToString;
use std::vec::Vec;

#[test]
fn frame_of_linux() {
    let frame = hex(samples::SOLICITATION);
    let header = EthernetHeader::parse(&frame).unwrap();
    assert_eq!(header.dst.to_string(), "33:33:ff:00:00:02");
    assert_eq!(format!("{:?}", header.src), "02:00:00:00:00:01");
    assert_eq!((header.ethertype, header.tag), (EtherType::IPV6, None));
    assert_eq!(header.payload(&frame), &frame[14..]);
    let mut out = [0xee; 15];
    assert_eq!(header.emit(&mut out), 14);
    assert_eq!(out[..14], frame[..14]);
    assert_eq!(out[14], 0xee);
    for len in 0..14 {
        assert_eq!(EthernetHeader::parse(&frame[..len]), Err(EthernetError::Truncated));
        assert_eq!(header.emit(&mut out[..len]), 0);
    }
}

#[test]
fn tagged() {
    let frame = hex("ffffffffffff0200000000018100a0640806aabb");
    let header = EthernetHeader::parse(&frame).unwrap();
    assert_eq!((header.ethertype, header.tag), (EtherType::ARP, Some(0xa064)));
    assert_eq!((header.header_len(), header.payload(&frame)), (18, &[0xaa, 0xbb][..]));
    let mut out = [0; 18];
    assert_eq!(header.emit(&mut out), 18);
    assert_eq!(out[..], frame[..18]);
    assert_eq!(header.emit(&mut out[..17]), 0);
    for len in 14..18 {
        assert_eq!(EthernetHeader::parse(&frame[..len]), Err(EthernetError::Truncated));
    }
}

#[test]
fn lengths_are_no_types() {
    let mut frame: Vec<u8> = hex(samples::ARP);
    frame[12..14].copy_from_slice(&[5, 0xff]);
    assert_eq!(EthernetHeader::parse(&frame), Err(EthernetError::LengthField));
    frame[12..14].copy_from_slice(&[6, 0]);
    assert!(EthernetHeader::parse(&frame).is_ok());
}

#[test]
fn addresses() {
    assert!(MacAddr::BROADCAST.is_broadcast() && MacAddr::BROADCAST.is_multicast());
    assert!(!MacAddr::ZERO.is_station() && !MacAddr::BROADCAST.is_station());
    let station = MacAddr([2, 0, 0, 0, 0, 1]);
    assert!(station.is_station() && !station.is_multicast() && !station.is_broadcast());
    // RFC 1112 section 6.4: the lower 23 bits of the group.
    let group = Ipv4Addr::new(239, 129, 2, 3);
    assert_eq!(MacAddr::from_multicast_v4(group).to_string(), "01:00:5e:01:02:03");
    // RFC 2464 section 7: the lower 32.
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff12, 0x3456);
    assert_eq!(MacAddr::from_multicast_v6(group).to_string(), "33:33:ff:12:34:56");
    assert!(MacAddr::from_multicast_v6(group).is_multicast());
}
