use super::*;
use crate::ip;
use crate::samples::{self, hex};
use std::vec::Vec;

fn datagram(sample: &str) -> (IpHeader, Vec<u8>) {
    let packet = hex(sample);
    let ip = ip::parse(&packet).unwrap();
    (ip, ip.payload(&packet).to_vec())
}

#[test]
fn of_linux() {
    for (sample, data, sum) in
        [(samples::UDP_V4, &b"hello"[..], 0x2829), (samples::UDP_V6, b"hello!!", 0x2f93)]
    {
        let (ip, mut bytes) = datagram(sample);
        let header = parse(&bytes).unwrap();
        let length = 8 + data.len() as u16;
        assert_eq!(header, UdpHeader { src_port: 4000, dst_port: 53, length, checksum: sum });
        assert_eq!(payload(&bytes, &header), data);
        assert_eq!(verify(&ip, &bytes), Ok(()));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            assert!(verify(&ip, &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
        }
        let mut out = [0xee; 32];
        assert_eq!(emit(&mut out, 4000, 53, data.len()), 8);
        out[8..8 + data.len()].copy_from_slice(data);
        let len = bytes.len();
        assert_eq!(out[6..8], [0, 0]);
        let value = checksum(ip.pseudo_header_sum(len), &out[..len]);
        assert_eq!(value, sum);
        set_checksum(&mut out, value);
        assert_eq!(out[..len], bytes);
    }
}

/// RFC 768: no checksum is one of zero. RFC 8200 section 8.1: IPv6 must have one.
#[test]
fn without_checksum() {
    let (ip, mut bytes) = datagram(samples::UDP_V4);
    set_checksum(&mut bytes, 0);
    assert_eq!(verify(&ip, &bytes), Ok(()));
    let (ip, mut bytes) = datagram(samples::UDP_V6);
    set_checksum(&mut bytes, 0);
    assert_eq!(verify(&ip, &bytes), Err(UdpError::ChecksumMissing));
    set_checksum(&mut bytes, 1);
    assert_eq!(verify(&ip, &bytes), Err(UdpError::BadChecksum));
}

/// RFC 768: a checksum that comes out as zero is sent as all ones.
#[test]
fn zero_is_sent_as_ones() {
    let (ip, _) = datagram(samples::UDP_V4);
    let mut out = [0; 10];
    emit(&mut out, 1, 2, 2);
    // Data that makes the sum all ones.
    let plain = checksum(ip.pseudo_header_sum(10), &out);
    out[8..].copy_from_slice(&plain.to_be_bytes());
    let value = checksum(ip.pseudo_header_sum(10), &out);
    assert_eq!(value, 0xffff);
    set_checksum(&mut out, value);
    assert_eq!(verify(&ip, &out), Ok(()));
    assert_eq!((nonzero(0), nonzero(1), nonzero(0xffff)), (0xffff, 1, 0xffff));
}

#[test]
fn lengths() {
    let (ip, bytes) = datagram(samples::UDP_V4);
    for len in 0..8 {
        assert_eq!(parse(&bytes[..len]), Err(UdpError::Truncated));
    }
    assert_eq!(parse(&bytes[..12]), Err(UdpError::LengthBeyondPayload));
    let with_length = |length: u16| {
        let mut bytes = bytes.clone();
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    assert_eq!(parse(&with_length(7)), Err(UdpError::LengthBelowHeader));
    assert_eq!(parse(&with_length(0)), Err(UdpError::LengthBelowHeader));
    assert_eq!(parse(&with_length(14)), Err(UdpError::LengthBeyondPayload));
    assert_eq!(verify(&ip, &with_length(14)), Err(UdpError::LengthBeyondPayload));
    let empty = with_length(8);
    assert!(payload(&empty, &parse(&empty).unwrap()).is_empty());
    // What is behind the datagram in the packet is no part of it.
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"more");
    assert_eq!(verify(&ip, &longer), Ok(()));
    assert_eq!(payload(&longer, &parse(&longer).unwrap()), b"hello");
}

#[test]
fn what_cannot_be_emitted() {
    let mut out = [0xee; 8];
    assert_eq!(emit(&mut out[..7], 1, 2, 0), 0);
    assert_eq!(emit(&mut out, 1, 2, MAX_PAYLOAD_LEN + 1), 0);
    set_checksum(&mut out[..7], 0);
    assert_eq!(out, [0xee; 8]);
    assert_eq!(emit(&mut out, 1, 2, MAX_PAYLOAD_LEN), 8);
    assert_eq!(out[4..6], [0xff, 0xff]);
}
