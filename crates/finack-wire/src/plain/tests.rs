//! What is read at one go is what is read step by step.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::ip::{self, IpEmit};
use crate::samples::{self, hex};
use crate::tcp::{TcpEmit, TcpHeader};
use crate::tcp_options::TcpOptions;

/// What the parsers say that go step by step, where the packet is a plain one.
fn step_by_step(packet: &[u8]) -> Option<Plain<'_>> {
    let ip = ip::parse(packet).ok()?;
    let segment = ip.payload(packet);
    let header = TcpHeader::parse(segment).ok().filter(|_| ip.protocol == protocol::TCP)?;
    let bytes = tcp::options_bytes(segment, &header);
    let options = TcpOptions::parse(bytes);
    let bare = TcpOptions { timestamps: options.timestamps, ..TcpOptions::default() };
    let usual = bytes.is_empty() || bytes.starts_with(&TIMESTAMPS_HEAD) && bytes.len() == TIMESTAMPS_LEN;
    let plain = header.flags.without(Flags::PSH).without(Flags::FIN) == Flags::ACK
        && usual
        && options == bare
        && ip.fragment.is_none()
        && !ip.has_options;
    plain.then_some(Plain {
        src: ip.src,
        dst: ip.dst,
        src_port: header.src_port,
        dst_port: header.dst_port,
        tos: ip.tos,
        psh: header.flags.psh(),
        fin: header.flags.fin(),
        seq: header.seq,
        ack: header.ack,
        window: header.window,
        timestamps: options.timestamps,
        segment,
        // What it comes to shows where checksums are verified.
        ahead: Plain::parse(packet).map_or(Ahead(0), |plain| plain.ahead),
    })
}

fn packet(v6: bool, timestamps: bool, len: usize) -> Vec<u8> {
    let address = |n: u8| -> IpAddr {
        if v6 {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into()
        } else {
            Ipv4Addr::new(10, 0, 0, n).into()
        }
    };
    let options = [1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7];
    let options = if timestamps { &options[..] } else { &[] };
    let head = TcpEmit {
        src_port: 1234,
        dst_port: 80,
        seq: 0xfedc_ba98,
        ack: 0x1234_5678,
        flags: Flags::ACK | Flags::PSH,
        window: 4711,
        urgent: 0,
        options,
    };
    let emit = IpEmit {
        src: address(1),
        dst: address(2),
        protocol: protocol::TCP,
        hop_limit: 64,
        tos: 0x2e,
        ident: 7,
        dont_fragment: true,
        payload_len: head.header_len() + len,
    };
    let mut bytes = vec![0x5a; emit.header_len() + emit.payload_len];
    let at = emit.emit(&mut bytes);
    head.emit(&mut bytes[at..]);
    let value = tcp::checksum(emit.pseudo_header_sum(), &bytes[at..]);
    tcp::set_checksum(&mut bytes[at..], value);
    bytes
}

fn all() -> impl Iterator<Item = Vec<u8>> {
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    kinds.into_iter().flat_map(|(v6, stamps)| [0, 1, 1000].map(|len| packet(v6, stamps, len)))
}

#[test]
fn a_plain_segment_is_read_as_step_by_step() {
    for mut bytes in all() {
        let whole = bytes.len();
        // Padding of the link.
        bytes.extend([0; 6]);
        let plain = Plain::parse(&bytes).expect("it is plain");
        assert_eq!(Some(plain), step_by_step(&bytes));
        assert!(plain.checksum_ok());
        assert_eq!(plain.payload(), &bytes[whole - plain.payload().len()..whole]);
        assert_eq!(Plain::parse(&bytes[..whole - 1]), None, "cut short");
    }
}

/// Whatever byte of the headers is another, both ways of reading agree; so do their checksums.
#[test]
fn any_other_packet_is_left_to_the_parsers() {
    for bytes in all() {
        for at in 0..bytes.len().min(80) {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(Plain::parse(&changed), step_by_step(&changed), "bit {bit} of byte {at}");
                // With a header checksum that is right again.
                if changed[0] >> 4 == 4 {
                    changed[10..12].fill(0);
                    let sum = !finack_sum::sum(&changed[..20]);
                    changed[10..12].copy_from_slice(&sum.to_be_bytes());
                }
                let plain = Plain::parse(&changed);
                assert_eq!(plain, step_by_step(&changed), "bit {bit} of byte {at}");
                if let Some(plain) = plain {
                    let ip = ip::parse(&changed).expect("it is a packet");
                    assert_eq!(plain.checksum_ok(), tcp::checksum_ok(&ip, ip.payload(&changed)));
                }
            }
        }
    }
}

/// RFC 9293 MUST-3: the checksum covers pseudo-header, header and data of whatever length, and each byte of them.
#[test]
fn each_byte_is_summed() {
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    for ((v6, stamps), len) in kinds.into_iter().flat_map(|kind| (0..=70).map(move |len| (kind, len))) {
        let bytes = packet(v6, stamps, len);
        let plain = Plain::parse(&bytes).expect("it is plain");
        let mut sum = plain.ahead.sum();
        sum.add(plain.payload());
        assert!(plain.checksum_ok() && sum.folded() == 0xffff, "{len} bytes of data");
        for at in bytes.len() - len..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(
                !Plain::parse(&changed).expect("it is plain").checksum_ok(),
                "byte {at} of {len} of data"
            );
        }
    }
}

#[test]
fn what_hosts_have_sent_is_read_alike() {
    let others = [
        samples::SYN_V4,
        samples::SYN_V6,
        samples::SYN_MD5,
        samples::SACK_3,
        samples::DATA_ECT,
        samples::RST_V4,
        samples::UDP_V4,
        samples::UDP_V6,
        samples::MLD,
        samples::FRAGMENT_V4,
        "",
        "45",
    ];
    for sample in others {
        let bytes = hex(sample);
        assert_eq!(Plain::parse(&bytes), None);
        assert_eq!(step_by_step(&bytes), None);
    }
}

/// The packets of a run, of 1000 bytes but for the last.
fn run(v6: bool, timestamps: bool) -> Vec<Vec<u8>> {
    let mut seq = 0xffff_f000_u32;
    let lens = [1000, 1000, 1000, 1000, 1000, 10];
    let change = |(i, len): (usize, usize)| {
        let mut bytes = packet(v6, timestamps, len);
        let at = if v6 { 40 } else { 20 };
        bytes[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
        // PSH with some only; another hop limit and identification.
        bytes[at + 13] ^= if i % 2 == 0 { 8 } else { 0 };
        bytes[if v6 { 7 } else { 8 }] = 60 + i as u8;
        if !v6 {
            bytes[5] = i as u8;
        }
        if timestamps {
            bytes[at + 27] = i as u8;
        }
        seq = seq.wrapping_add(len as u32);
        finish(&mut bytes);
        bytes
    };
    lens.into_iter().enumerate().map(change).collect()
}

/// Makes the checksums right.
fn finish(bytes: &mut [u8]) {
    if bytes[0] >> 4 == 4 {
        bytes[10..12].fill(0);
        let sum = !finack_sum::sum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let ip = ip::parse(bytes).expect("it is a packet");
    let at = bytes.len() - ip.payload(bytes).len();
    tcp::set_checksum(&mut bytes[at..], 0);
    let value = tcp::checksum(ip.pseudo_header_sum(bytes.len() - at), &bytes[at..]);
    tcp::set_checksum(&mut bytes[at..], value);
}

fn kinds() -> [(bool, bool); 4] {
    [(false, false), (false, true), (true, false), (true, true)]
}

/// What a run says of a packet must be what the packet says; and nothing but what may differ does.
fn check_next(first: &Plain<'_>, seq: u32, bytes: &[u8], next: &Next<'_>) {
    let plain = Plain::parse(bytes).expect("it is plain");
    let said = (next.payload, next.psh, next.value, next.ahead);
    let value = plain.timestamps.map(|(value, _)| value);
    assert_eq!(said, (plain.payload(), plain.psh, value, plain.ahead));
    let ends = |p: &Plain<'_>| (p.src, p.dst, p.src_port, p.dst_port, p.tos, p.fin, p.ack, p.window);
    assert_eq!((ends(&plain), plain.seq), (ends(first), seq));
    assert_eq!(plain.timestamps.map(|(_, echo)| echo), first.timestamps.map(|(_, echo)| echo));
}

#[test]
fn packets_that_follow_are_read_as_any_other() {
    for (v6, timestamps) in kinds() {
        let packets = run(v6, timestamps);
        let first = Plain::parse(&packets[0]).expect("it is plain");
        let mut run = Run::behind(&first, &packets[0]).expect("it has no FIN");
        let mut seq = first.seq.wrapping_add(1000);
        for bytes in &packets[1..] {
            let next = run.next(bytes).expect("it follows");
            check_next(&first, seq, bytes, &next);
            assert!(next.ahead.is_completed_by(next.payload));
            seq = seq.wrapping_add(next.payload.len() as u32);
            assert_eq!(run.next(bytes), None, "it came already");
        }
        let fin = Plain { fin: true, ..first };
        assert!(Run::behind(&fin, &packets[0]).is_none());
    }
}

/// Whatever bit of the headers is another: the packet is read as it is, or left to who reads any packet.
#[test]
fn what_does_not_follow_is_left_alone() {
    for (v6, timestamps) in kinds() {
        let packets = run(v6, timestamps);
        let first = Plain::parse(&packets[0]).expect("it is plain");
        let seq = first.seq.wrapping_add(1000);
        let (mut taken, mut left) = (0, 0);
        let mut check =
            |bytes: &[u8]| match Run::behind(&first, &packets[0]).and_then(|mut run| run.next(bytes)) {
                Some(next) => {
                    check_next(&first, seq, bytes, &next);
                    taken += 1;
                }
                None => left += 1,
            };
        for at in 0..packets[1].len().min(80) {
            for bit in 0..8 {
                let mut changed = packets[1].clone();
                changed[at] ^= 1 << bit;
                check(&changed);
                if changed[0] >> 4 == 4 {
                    changed[10..12].fill(0);
                    let sum = !finack_sum::sum(&changed[..20]);
                    changed[10..12].copy_from_slice(&sum.to_be_bytes());
                    check(&changed);
                }
            }
        }
        for len in 0..packets[1].len() {
            check(&packets[1][..len]);
        }
        assert!(taken > 100 && left > 300, "{taken} taken, {left} left");
    }
}
