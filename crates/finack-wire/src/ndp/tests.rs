use super::*;
use crate::ethernet::EthernetHeader;
use crate::ip;
use crate::samples::{self, hex};
use std::vec::Vec;

const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn body(sample: &str) -> (IpHeader, Vec<u8>) {
    let frame = hex(sample);
    let header = EthernetHeader::parse(&frame).unwrap();
    let packet = header.payload(&frame);
    let ip = ip::parse(packet).unwrap();
    (ip, ip.payload(packet).to_vec())
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(v6) => v6,
        IpAddr::V4(v4) => panic!("{v4}"),
    }
}

/// Parses `message` as a packet with header `ip`.
fn sent(ip: &IpHeader, message: &IcmpMessage<'_>) -> Result<NdpMessage, NdpError> {
    let mut out = [0; 128];
    let len = icmp::emit(&ip.src, &ip.dst, message, &mut out);
    parse(ip, &out[..len])
}

#[test]
fn of_linux() {
    let solicitation = NdpMessage::Solicitation { target: PEER, source_link: Some(HOST_MAC) };
    let advertisement = NdpMessage::Advertisement {
        target: HOST,
        router: false,
        solicited: true,
        override_: true,
        target_link: Some(HOST_MAC),
    };
    for (sample, want) in [(samples::SOLICITATION, solicitation), (samples::ADVERTISEMENT, advertisement)] {
        let (ip, bytes) = body(sample);
        assert_eq!(ip.hop_limit, HOP_LIMIT);
        assert_eq!(parse(&ip, &bytes), Ok(want));
        let mut out = [0; 32];
        assert_eq!(want.emit(&v6(ip.src), &v6(ip.dst), &mut out[..31]), 0);
        assert_eq!(out, [0; 32]);
        assert_eq!(want.emit(&v6(ip.src), &v6(ip.dst), &mut out), 32);
        assert_eq!(out[..], bytes);
    }
}

/// RFC 4861 section 7.1.1: options that are not known, as the nonce of RFC 7527, are passed over.
#[test]
fn probe_of_linux() {
    let (ip, bytes) = body(samples::PROBE);
    assert!(ip.src.is_unspecified());
    assert_eq!(ip.dst, IpAddr::V6(solicited_node(HOST)));
    let want = NdpMessage::Solicitation { target: HOST, source_link: None };
    assert_eq!(parse(&ip, &bytes), Ok(want));
    assert_eq!(want.encoded_len(), 24);
}

#[test]
fn flags() {
    let (ip, _) = body(samples::ADVERTISEMENT);
    for bits in 0..8u8 {
        let (router, solicited, override_) = (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
        let message =
            NdpMessage::Advertisement { target: HOST, router, solicited, override_, target_link: None };
        let mut out = [0; 32];
        assert_eq!(message.emit(&v6(ip.src), &v6(ip.dst), &mut out), 24);
        assert_eq!(out[4], bits << 5);
        assert_eq!(parse(&ip, &out[..24]), Ok(message));
    }
}

/// RFC 4861 sections 7.1.1 and 7.1.2, one check after the other.
#[test]
fn what_is_discarded() {
    let (ip, bytes) = body(samples::SOLICITATION);
    let far = IpHeader { hop_limit: 254, ..ip };
    assert_eq!(parse(&far, &bytes), Err(NdpError::HopLimit));
    let mut wrong = bytes.clone();
    wrong[31] ^= 1;
    assert_eq!(parse(&ip, &wrong), Err(NdpError::Icmp(IcmpError::BadChecksum)));
    let udp = IpHeader { protocol: protocol::UDP, ..ip };
    assert_eq!(parse(&udp, &bytes), Err(NdpError::OtherType));
    assert_eq!(parse(&ip, &[]), Err(NdpError::OtherType));

    let other = |kind, code, body| sent(&ip, &IcmpMessage::Other { kind, code, body });
    assert_eq!(other(134, 0, &bytes[4..]), Err(NdpError::OtherType));
    assert_eq!(other(135, 1, &bytes[4..]), Err(NdpError::BadCode));
    assert_eq!(other(135, 0, &bytes[4..23]), Err(NdpError::Icmp(IcmpError::Truncated)));
    assert!(other(135, 0, &bytes[4..24]).is_ok());
    assert_eq!(other(135, 0, &bytes[4..25]), Err(NdpError::BadOption));
    assert_eq!(other(135, 0, &bytes[4..31]), Err(NdpError::BadOption));
    let mut zero = bytes[4..].to_vec();
    zero[21] = 0;
    assert_eq!(other(135, 0, &zero), Err(NdpError::BadOption));
    let mut group = bytes[4..].to_vec();
    group[4] = 0xff;
    assert_eq!(other(135, 0, &group), Err(NdpError::MulticastTarget));
}

#[test]
fn probes_are_strict() {
    let (ip, bytes) = body(samples::PROBE);
    let (_, with_link) = body(samples::SOLICITATION);
    let other = |ip: &IpHeader, body| sent(ip, &IcmpMessage::Other { kind: 135, code: 0, body });
    let to_host = IpHeader { dst: IpAddr::V6(HOST), ..ip };
    assert_eq!(other(&to_host, &bytes[4..]), Err(NdpError::BadSource));
    let to_group = IpHeader { dst: IpAddr::V6(solicited_node(PEER)), ..ip };
    assert_eq!(other(&to_group, &with_link[4..]), Err(NdpError::BadSource));
}

#[test]
fn solicited_to_many() {
    let (ip, bytes) = body(samples::ADVERTISEMENT);
    let all = IpHeader { dst: "ff02::1".parse().unwrap(), ..ip };
    let message = IcmpMessage::Other { kind: 136, code: 0, body: &bytes[4..] };
    assert_eq!(sent(&all, &message), Err(NdpError::SolicitedMulticast));
    let mut unsolicited = bytes[4..].to_vec();
    unsolicited[0] = 0x20;
    assert!(sent(&all, &IcmpMessage::Other { kind: 136, code: 0, body: &unsolicited }).is_ok());
}

/// RFC 4291 section 2.7.1's own example.
#[test]
fn solicited_node_addresses() {
    let address = "4037::01:800:200e:8c6c".parse().unwrap();
    assert_eq!(solicited_node(address), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
}
