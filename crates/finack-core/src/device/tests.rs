use finack_wire::ip::{self, IpEmit};
use finack_wire::protocol;
use finack_wire::tcp::{self, Flags, TcpEmit};
use finack_wire::udp;

use super::*;

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8).collect()
}

fn transmit<'a>(header: &'a [u8], slices: &'a [&'a [u8]], start: usize, offset: usize) -> Transmit<'a> {
    let checksum = TxChecksum::Partial { start: start as u16, offset: offset as u16 };
    let payload = if let [one] = slices { Slices::one(one) } else { Slices::several(slices) };
    Transmit { header, payload, segment_size: 0, checksum, number: 1 }
}

fn ip_of(v6: bool, protocol: u8, payload_len: usize) -> IpEmit {
    let (src, dst) = if v6 {
        ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
    };
    IpEmit { src, dst, protocol, hop_limit: 64, tos: 0, ident: 0, dont_fragment: true, payload_len }
}

/// RFC 9293 MUST-2, with the pseudo-header's sum where a device that finishes checksums finds it: whatever the slices are cut
/// at, the receiver finds the checksum right.
#[test]
fn a_checksum_finished_while_copying_is_right() {
    for v6 in [false, true] {
        for cuts in [&[][..], &[0], &[1], &[100, 101], &[7, 64, 65, 700], &[1447]] {
            let data = payload(1448);
            let segment = TcpEmit {
                src_port: 1,
                dst_port: 2,
                seq: 3,
                ack: 4,
                flags: Flags::ACK,
                window: 5,
                urgent: 0,
                options: &[1, 1, 1, 1],
            };
            let ip = ip_of(v6, protocol::TCP, segment.header_len() + data.len());
            let mut header = [0; 100];
            let start = ip.emit(&mut header);
            let len = start + segment.emit(&mut header[start..]);
            tcp::set_checksum(&mut header[start..len], ip.pseudo_header_sum());
            let (mut slices, mut at) = (Vec::new(), 0);
            for &cut in cuts {
                slices.push(&data[at..cut]);
                at = cut;
            }
            slices.push(&data[at..]);
            let mut out = alloc::vec![9; 3];
            transmit(&header[..len], &slices, start, 16).write_finished(&mut out);
            let packet = &out[3..];
            let parsed = ip::parse(packet).unwrap();
            assert!(tcp::checksum_ok(&parsed, parsed.payload(packet)), "v6 {v6}, cut at {cuts:?}");
            assert_eq!(packet[len..], data);
            assert_eq!(out[..3], [9; 3]);
        }
    }
}

/// RFC 768: a sum of zero is sent as ones.
#[test]
fn a_finished_udp_checksum_is_never_zero() {
    let ip = ip_of(false, protocol::UDP, 10);
    let mut header = [0; 28];
    let start = ip.emit(&mut header);
    header[start + 4..start + 6].copy_from_slice(&10u16.to_be_bytes());
    udp::set_checksum(&mut header[start..], ip.pseudo_header_sum());
    // The two bytes of payload make the sum of all what is zero in one's complement.
    let rest = finack_sum::sum(&header[start..]);
    let mut out = Vec::new();
    transmit(&header, &[&(!rest).to_be_bytes()], start, UDP_CHECKSUM).write_finished(&mut out);
    assert_eq!(out[start + 6..start + 8], [0xff, 0xff]);
}

#[test]
fn what_is_complete_is_copied_as_it_is() {
    let data = payload(90);
    let slices = [&data[40..70], &data[70..]];
    let mut t = transmit(&data[..40], &slices, 20, 16);
    t.checksum = TxChecksum::Complete;
    let mut out = Vec::new();
    t.write_finished(&mut out);
    assert_eq!(out, data);
}
