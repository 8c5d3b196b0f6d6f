use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use finack_wire::ip::{IpEmit, IpHeader};
use finack_wire::tcp::{TcpEmit, options_bytes};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn ends(v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 9).into())
    } else {
        (Ipv4Addr::new(198, 18, 0, 2).into(), Ipv4Addr::new(198, 18, 0, 80).into())
    }
}

fn ip_emit(v6: bool, protocol: u8, payload_len: usize) -> IpEmit {
    let (src, dst) = ends(v6);
    IpEmit { src, dst, protocol, hop_limit: 64, tos: 2, ident: 0xfffe, dont_fragment: true, payload_len }
}

/// What the segments of a unit share, and its payload.
#[derive(Clone, Debug)]
struct Unit {
    v6: bool,
    seq: u32,
    flags: u16,
    urgent: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Unit {
    /// The pseudo-header's sum stands for the checksum, as for what a device is to finish.
    fn bytes(&self) -> Vec<u8> {
        let tcp = TcpEmit {
            src_port: 80,
            dst_port: 40_000,
            seq: self.seq,
            ack: 77,
            flags: Flags(self.flags),
            window: 500,
            urgent: self.urgent,
            options: &self.options,
        };
        let len = tcp.header_len() + self.payload.len();
        let ip = ip_emit(self.v6, protocol::TCP, len);
        let mut out = vec![0; ip.header_len() + tcp.header_len()];
        let at = ip.emit(&mut out);
        tcp.emit(&mut out[at..]);
        tcp::set_checksum(&mut out[at..], ip.pseudo_header_sum());
        out.extend_from_slice(&self.payload);
        out
    }
}

fn units() -> impl Strategy<Value = Unit> {
    // Options in whole words: NOPs, and bytes that nobody knows.
    let options = (0..=10_usize).prop_map(|words| vec![1; words * 4]);
    (any::<bool>(), any::<u32>(), 0..0x200_u16, any::<u16>(), options, vec(any::<u8>(), 0..9000)).prop_map(
        |(v6, seq, flags, urgent, options, payload)| Unit { v6, seq, flags, urgent, options, payload },
    )
}

fn packets(bytes: &[u8], unfinished: Unfinished) -> Vec<Vec<u8>> {
    let cut = Cut::of(bytes, unfinished);
    let one = |index| {
        let mut out = vec![9];
        cut.write(index, &mut out);
        assert_eq!(out.len() - 1, cut.len(index), "as long as was said");
        out.split_off(1)
    };
    (0..cut.count()).map(one).collect()
}

/// IP header, TCP header and payload of a packet whose checksums are right.
fn tcp_of(packet: &[u8]) -> (IpHeader, TcpHeader, &[u8]) {
    let ip = ip::parse(packet).unwrap();
    assert_eq!(ip.total_len(), packet.len());
    let segment = ip.payload(packet);
    assert!(tcp::checksum_ok(&ip, segment), "{packet:02x?}");
    let header = TcpHeader::parse(segment).unwrap();
    (ip, header, tcp::payload(segment, &header))
}

proptest! {
    /// The segments hold the unit's bytes and no others, in order, each with right checksums, and whatever belongs to one
    /// of them alone is with that one (RFC 9293 3.1; RFC 3168 6.1.2).
    #[test]
    fn segments_are_the_unit(unit in units(), size in 1..2000_u16) {
        let bytes = unit.bytes();
        let packets = packets(&bytes, Unfinished { segment_size: size, checksum: true });
        prop_assert_eq!(packets.len(), unit.payload.len().div_ceil(size.into()).max(1));
        let mut payload = Vec::new();
        for (i, packet) in packets.iter().enumerate() {
            let (ip, header, part) = tcp_of(packet);
            let (first, last) = (i == 0, i + 1 == packets.len());
            prop_assert_eq!(header.seq, unit.seq.wrapping_add(payload.len() as u32));
            prop_assert_eq!((header.ack, header.window), (77, 500));
            prop_assert_eq!(options_bytes(ip.payload(packet), &header), &unit.options[..]);
            prop_assert!(last || part.len() == usize::from(size));
            let whole = Flags(unit.flags);
            for flag in [Flags::FIN, Flags::PSH] {
                prop_assert_eq!(header.flags.contains(flag), last && whole.contains(flag));
            }
            prop_assert_eq!(header.flags.cwr(), first && whole.cwr());
            if !first && header.flags.urg() {
                prop_assert_eq!(payload.len() + usize::from(header.urgent), usize::from(unit.urgent));
            }
            let rest = Flags::FIN | Flags::PSH | Flags::CWR | Flags::URG;
            prop_assert_eq!(header.flags.without(rest), whole.without(rest));
            if !unit.v6 {
                let ident = u16::from_be_bytes([packet[4], packet[5]]);
                prop_assert_eq!(ident, 0xfffe_u16.wrapping_add(i as u16));
            }
            payload.extend_from_slice(part);
        }
        prop_assert_eq!(payload, unit.payload);
    }

    /// Nothing that arrives makes the cutting fail, and what can't be cut is shown whole.
    #[test]
    fn any_bytes_are_shown(bytes in vec(any::<u8>(), 0..200), size in any::<u16>(), checksum in any::<bool>()) {
        let packets = packets(&bytes, Unfinished { segment_size: size, checksum });
        if ip::parse(&bytes).is_err() {
            prop_assert_eq!(packets, vec![bytes]);
        }
    }
}

/// A single packet of which the device vouches for the checksum may never have had one.
#[test]
fn a_checksum_that_was_left_out_is_finished() {
    let unit =
        Unit { v6: false, seq: 1, flags: 0x18, urgent: 0, options: vec![], payload: b"hello".to_vec() };
    let shown = packets(&unit.bytes(), Unfinished { segment_size: 0, checksum: true });
    assert_eq!(tcp_of(&shown[0]).2, b"hello");
    assert_eq!(shown.len(), 1);
}

/// RFC 9293 MUST-3 has the packet dropped: it is shown with the checksum that it was dropped for.
#[test]
fn a_wrong_checksum_is_shown_as_it_came() {
    let unit = Unit { v6: true, seq: 1, flags: 0x10, urgent: 0, options: vec![], payload: vec![1; 50] };
    let bytes = unit.bytes();
    assert_eq!(packets(&bytes, Unfinished::default()), [bytes]);
}

fn udp_packet(v6: bool, length: usize, checksum: u16, payload: &[u8]) -> Vec<u8> {
    let ip = ip_emit(v6, protocol::UDP, 8 + payload.len());
    let mut out = vec![0; ip.header_len() + 8];
    let at = ip.emit(&mut out);
    udp::emit(&mut out[at..], 53, 5353, length - 8);
    udp::set_checksum(&mut out[at..], checksum);
    out.extend_from_slice(payload);
    out
}

/// A unit of datagrams: each has its own length, and the last may be shorter.
#[test]
fn datagrams_of_a_unit_have_their_own_lengths() {
    for v6 in [false, true] {
        let payload: Vec<u8> = (0..=255).cycle().take(2500).collect();
        let bytes = udp_packet(v6, 2508, 0x1234, &payload);
        let shown = packets(&bytes, Unfinished { segment_size: 1000, checksum: true });
        let mut got = Vec::new();
        for packet in &shown {
            let ip = ip::parse(packet).unwrap();
            udp::verify(&ip, ip.payload(packet)).unwrap();
            let header = udp::parse(ip.payload(packet)).unwrap();
            got.push(udp::payload(ip.payload(packet), &header).to_vec());
        }
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(got.concat(), payload);
    }
}

/// RFC 768: 0 means that there is no checksum. None is made up.
#[test]
fn a_datagram_without_checksum_stays_without() {
    let bytes = udp_packet(false, 13, 0, b"hello");
    assert_eq!(packets(&bytes, Unfinished { segment_size: 0, checksum: true }), [bytes]);
}

/// A length that contradicts IP's is what the datagram is dropped for: it must be seen.
#[test]
fn a_wrong_udp_length_is_shown_as_it_came() {
    let bytes = udp_packet(false, 600, 7, b"hello");
    assert_eq!(packets(&bytes, Unfinished { segment_size: 0, checksum: true }), [bytes]);
}
