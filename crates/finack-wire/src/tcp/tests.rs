use super::*;
use crate::ip;
use crate::samples::{self, hex};
use std::format;
use std::string::ToString;
use std::vec::Vec;

/// The TCP segment in a sample packet.
fn segment(sample: &str) -> (IpHeader, Vec<u8>) {
    let packet = hex(sample);
    let ip = ip::parse(&packet).unwrap();
    (ip, ip.payload(&packet).to_vec())
}

#[test]
fn syn() {
    let (_, segment) = segment(samples::SYN_V4);
    let header = TcpHeader::parse(&segment).unwrap();
    let want = TcpHeader {
        src_port: 36_888,
        dst_port: 80,
        seq: 0x747a_f138,
        ack: 0,
        // The kernel asks for ECN.
        flags: Flags::SYN | Flags::ECE | Flags::CWR,
        window: 64_240,
        checksum: 0x4fef,
        urgent: 0,
        header_len: 40,
        reserved: 0,
    };
    assert_eq!(header, want);
    assert_eq!(options_bytes(&segment, &header), &segment[20..]);
    assert!(payload(&segment, &header).is_empty());
    assert_eq!(header.sequence_len(0), 1);
}

#[test]
fn data() {
    let (_, segment) = segment(samples::DATA_ECT);
    let header = TcpHeader::parse(&segment).unwrap();
    assert_eq!((header.header_len, header.flags), (60, Flags::PSH | Flags::ACK));
    assert_eq!(payload(&segment, &header), b"hi there");
    assert_eq!(options_bytes(&segment, &header).len(), 40);
    assert_eq!(header.sequence_len(8), 8);
}

#[test]
fn reset() {
    let (_, segment) = segment(samples::RST_V4);
    let header = TcpHeader::parse(&segment).unwrap();
    assert_eq!((header.seq, header.ack), (0, 1001));
    assert_eq!((header.flags, header.window), (Flags::RST | Flags::ACK, 0));
    assert!(options_bytes(&segment, &header).is_empty());
}

/// RFC 9293 MUST-3: the receiver checks the checksum. MUST-2: the sender makes it.
#[test]
fn checksums() {
    for sample in [
        samples::SYN_V4,
        samples::SYN_V6,
        samples::SYN_FAST_OPEN,
        samples::SYN_MD5,
        samples::SACK_3,
        samples::DATA_ECT,
        samples::RST_V4,
    ] {
        let (ip, mut segment) = segment(sample);
        assert!(checksum_ok(&ip, &segment));
        let header = TcpHeader::parse(&segment).unwrap();
        set_checksum(&mut segment, 0);
        assert_eq!(segment[16..18], [0, 0]);
        let value = checksum(ip.pseudo_header_sum(segment.len()), &segment);
        assert_eq!(value, header.checksum);
        set_checksum(&mut segment, value);
        assert!(checksum_ok(&ip, &segment));
        for bit in 0..segment.len() * 8 {
            segment[bit / 8] ^= 0x80 >> (bit % 8);
            assert!(!checksum_ok(&ip, &segment), "bit {bit}");
            segment[bit / 8] ^= 0x80 >> (bit % 8);
        }
        let other = IpHeader { dst: "192.0.2.77".parse().unwrap(), ..ip };
        assert!(!checksum_ok(&other, &segment));
    }
}

#[test]
fn emitting_what_was_parsed() {
    for sample in [samples::SYN_V4, samples::SACK_3, samples::RST_V4] {
        let (_, segment) = segment(sample);
        let header = TcpHeader::parse(&segment).unwrap();
        let emit = TcpEmit {
            src_port: header.src_port,
            dst_port: header.dst_port,
            seq: header.seq,
            ack: header.ack,
            flags: header.flags,
            window: header.window,
            urgent: header.urgent,
            options: options_bytes(&segment, &header),
        };
        let mut out = [0xee; 64];
        assert_eq!(emit.header_len(), header.header_len);
        assert_eq!(emit.emit(&mut out), header.header_len);
        assert_eq!(out[16..18], [0, 0]);
        assert_eq!(out[header.header_len..], [0xee; 64][header.header_len..]);
        set_checksum(&mut out, header.checksum);
        assert_eq!(out[..header.header_len], segment[..header.header_len]);
    }
}

/// RFC 9293 section 3.1: each flag in its bit, the reserved bits sent as zero and ignored.
#[test]
fn every_flag_in_its_bit() {
    let emit = TcpEmit {
        src_port: 1,
        dst_port: 2,
        seq: 0x0102_0304,
        ack: 0x0506_0708,
        flags: Flags::NONE,
        window: 0x090a,
        urgent: 0x0b0c,
        options: &[],
    };
    let flags = [
        (Flags::FIN, 0x5001),
        (Flags::SYN, 0x5002),
        (Flags::RST, 0x5004),
        (Flags::PSH, 0x5008),
        (Flags::ACK, 0x5010),
        (Flags::URG, 0x5020),
        (Flags::ECE, 0x5040),
        (Flags::CWR, 0x5080),
        (Flags::AE, 0x5100),
        (Flags::ALL, 0x51ff),
        (Flags(0xffff), 0x51ff),
    ];
    for (flags, want) in flags {
        let mut out = [0; 20];
        assert_eq!(TcpEmit { flags, ..emit }.emit(&mut out), 20);
        assert_eq!(out[12..14], u16::to_be_bytes(want));
        let header = TcpHeader::parse(&out).unwrap();
        assert_eq!(header.flags.0, flags.0 & 0x1ff);
        assert_eq!((header.reserved, header.urgent, header.window), (0, 0x0b0c, 0x090a));
        assert_eq!((header.seq, header.ack), (0x0102_0304, 0x0506_0708));
        out[12] |= 0x0e;
        let header = TcpHeader::parse(&out).unwrap();
        assert_eq!((header.flags.0, header.reserved), (flags.0 & 0x1ff, 7));
        out[12] &= 0xf5;
        assert_eq!(TcpHeader::parse(&out).unwrap().reserved, 2);
    }
}

#[test]
fn data_offsets() {
    let (_, good) = segment(samples::SYN_V4);
    for len in 0..good.len() {
        let want = if len < 20 { TcpError::Truncated } else { TcpError::BadDataOffset };
        assert_eq!(TcpHeader::parse(&good[..len]), Err(want));
    }
    for words in 0..16u8 {
        let mut segment = good.clone();
        segment[12] = words << 4;
        let result = TcpHeader::parse(&segment).map(|header| header.header_len);
        let want = usize::from(words) * 4;
        let fits = (20..=40).contains(&want);
        assert_eq!(result, if fits { Ok(want) } else { Err(TcpError::BadDataOffset) });
    }
}

#[test]
fn what_cannot_be_emitted() {
    let long = [1; 44];
    let emit = |options| TcpEmit {
        src_port: 1,
        dst_port: 2,
        seq: 3,
        ack: 4,
        flags: Flags::ACK,
        window: 5,
        urgent: 0,
        options,
    };
    let mut out = [0xee; 80];
    assert_eq!(emit(&long[..44]).emit(&mut out), 0);
    assert_eq!(emit(&long[..3]).emit(&mut out), 0);
    assert_eq!(emit(&long[..8]).emit(&mut out[..27]), 0);
    assert_eq!(out, [0xee; 80]);
    for len in [0, 4, 8, 12, 40] {
        assert_eq!(emit(&long[..len]).emit(&mut out), 20 + len);
    }
    set_checksum(&mut out[..19], 0xffff);
    assert_eq!(out[16..18], [0, 0]);
}

#[test]
fn flags_as_text() {
    let syn_ack = Flags::SYN | Flags::ACK;
    assert_eq!(syn_ack.to_string(), "SYN,ACK");
    assert_eq!(format!("{syn_ack:?}"), "SYN,ACK");
    assert_eq!(syn_ack.letters().to_string(), "S.");
    assert_eq!(Flags::NONE.to_string(), "none");
    assert_eq!(Flags::NONE.letters().to_string(), "none");
    assert_eq!(Flags::ALL.to_string(), "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR,AE");
    assert_eq!(Flags::ALL.letters().to_string(), "FSRP.UEWe");
}

#[test]
fn flag_sets() {
    let mut flags = Flags::SYN;
    flags |= Flags::ECE | Flags::CWR;
    assert!(flags.contains(Flags::SYN | Flags::CWR) && !flags.contains(Flags::SYN | Flags::ACK));
    assert!(flags.intersects(Flags::ACK | Flags::CWR) && !flags.intersects(Flags::ACK | Flags::FIN));
    assert_eq!(flags & Flags::SYN, Flags::SYN);
    assert_eq!(flags.without(Flags::SYN), Flags::ECE.union(Flags::CWR));
    assert_eq!(!flags, Flags::ALL.without(flags));
    assert!(Flags::default().is_empty() && !flags.is_empty());
    let each = [
        (Flags::FIN, Flags::fin as fn(Flags) -> bool),
        (Flags::SYN, Flags::syn),
        (Flags::RST, Flags::rst),
        (Flags::PSH, Flags::psh),
        (Flags::ACK, Flags::ack),
        (Flags::URG, Flags::urg),
        (Flags::ECE, Flags::ece),
        (Flags::CWR, Flags::cwr),
        (Flags::AE, Flags::ae),
    ];
    for (flag, is_set) in each {
        assert!(is_set(flag) && is_set(Flags::ALL));
        assert!(!is_set(!flag) && !is_set(Flags::NONE));
    }
    assert_eq!((Flags::SYN | Flags::FIN).sequence_len(), 2);
    assert_eq!(Flags::FIN.sequence_len(), 1);
    assert_eq!((!(Flags::SYN | Flags::FIN)).sequence_len(), 0);
}
