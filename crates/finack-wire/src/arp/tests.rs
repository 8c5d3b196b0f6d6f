use super::*;
use crate::ethernet::{EtherType, EthernetHeader};
use crate::samples::{self, hex};

const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

#[test]
fn request_of_linux() {
    let frame = hex(samples::ARP);
    let header = EthernetHeader::parse(&frame).unwrap();
    assert_eq!((header.ethertype, header.dst), (EtherType::ARP, MacAddr::BROADCAST));
    let bytes = header.payload(&frame);
    let packet = ArpPacket::parse(bytes).unwrap();
    let want = ArpPacket::request(HOST, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    assert_eq!(packet, want);
    let mut out = [0; 28];
    assert_eq!(packet.emit(&mut out), 28);
    assert_eq!(out, bytes);
}

#[test]
fn reply_to_it() {
    let request = ArpPacket::request(HOST, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let reply = request.reply(PEER);
    let mut out = [0xee; 46];
    assert_eq!(reply.emit(&mut out), 28);
    assert_eq!(out[..28], hex("0001080006040002020000000002c0000202020000000001c0000201"));
    // A frame's padding is behind it.
    assert_eq!(ArpPacket::parse(&out), Ok(reply));
}

#[test]
fn what_is_refused() {
    let good = hex("0001080006040002020000000002c0000202020000000001c0000201");
    for len in 0..28 {
        assert_eq!(ArpPacket::parse(&good[..len]), Err(ArpError::Truncated));
    }
    for at in 0..6 {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(ArpPacket::parse(&bytes), Err(ArpError::Unsupported), "byte {at}");
    }
    let mut out = [0xee; 27];
    assert_eq!(ArpPacket::parse(&good).unwrap().emit(&mut out), 0);
    assert_eq!(out, [0xee; 27]);
}

#[test]
fn operations() {
    for number in [0, 1, 2, 3, 0xffff] {
        assert_eq!(Operation::from_number(number).number(), number);
    }
    assert_eq!(Operation::from_number(1), Operation::Request);
    assert_eq!(Operation::from_number(2), Operation::Reply);
}
