//! The devices' header conversion, buffers and the in-memory pair. What needs a network
//! namespace is tested where namespaces are made.

use std::io;

use bytes::Bytes;
use finack_core::device::{Capabilities, ChecksumState, Packet, PacketBytes, Slices, Transmit, TxChecksum};

use super::buffers::BufferPool;
use super::vnet::VnetHeader;
use super::{Device, pair};

/// An IPv4 header without options, a transport header of `transport` bytes and `payload`.
fn ipv4(protocol: u8, transport: usize, payload: &[u8]) -> Vec<u8> {
    let total = 20 + transport + payload.len();
    let mut p = vec![0; 20 + transport];
    p[0] = 0x45;
    p[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    p[4..6].copy_from_slice(&0x1000_u16.to_be_bytes());
    p[9] = protocol;
    if protocol == 6 {
        p[32] = 5 << 4;
    }
    p.extend_from_slice(payload);
    p
}

fn transmit<'a>(header: &'a [u8], payload: &'a [u8], segment_size: u16, offset: u16) -> Transmit<'a> {
    let start = if header[0] >> 4 == 6 { 40 } else { 20 };
    Transmit {
        header,
        payload: Slices::one(payload),
        segment_size,
        checksum: TxChecksum::Partial { start, offset },
        number: 0,
    }
}

fn deliver(header: VnetHeader, packet: Vec<u8>) -> Vec<Packet<'static>> {
    let mut batch = Vec::new();
    let count = header.deliver(Bytes::from(packet), 0, &mut batch);
    assert_eq!(count, batch.len());
    batch
}

#[test]
fn a_header_survives_the_bytes() {
    let h =
        VnetHeader { flags: 1, gso_type: 4, hdr_len: 60, gso_size: 1428, csum_start: 40, csum_offset: 16 };
    assert_eq!(VnetHeader::parse(&h.emit()), h);
}

#[test]
fn a_finished_packet_goes_out_with_an_empty_header() {
    let header = ipv4(6, 20, &[]);
    let mut t = transmit(&header, b"abc", 0, 16);
    t.checksum = TxChecksum::Complete;
    assert_eq!(VnetHeader::for_transmit(&t, 0).unwrap(), VnetHeader::default());
}

#[test]
fn a_single_segment_asks_for_its_checksum_only() {
    let header = ipv4(6, 20, &[]);
    let h = VnetHeader::for_transmit(&transmit(&header, b"abc", 1460, 16), 14).unwrap();
    assert_eq!((h.flags, h.gso_type, h.gso_size), (1, 0, 0));
    assert_eq!((h.csum_start, h.csum_offset, h.hdr_len), (34, 16, 54), "counted from the link header");
}

#[test]
fn units_name_their_kind() {
    let payload = [0; 3000];
    let v4 = ipv4(6, 20, &[]);
    let mut v6 = vec![0; 60];
    v6[0] = 0x60;
    let kind = |header: &[u8], offset| {
        VnetHeader::for_transmit(&transmit(header, &payload, 1000, offset), 0).unwrap().gso_type
    };
    assert_eq!(kind(&v4, 16), 1);
    assert_eq!(kind(&v6, 16), 4);
    assert_eq!(kind(&ipv4(17, 8, &[]), 6), 5);
    let mut cwr = v4.clone();
    cwr[33] = 0x80;
    assert_eq!(kind(&cwr, 16), 0x81, "RFC 3168 6.1.2: the kernel clears CWR after the first segment");
}

#[test]
fn a_unit_that_no_device_could_cut_is_refused() {
    let header = ipv4(6, 20, &[]);
    let payload = [0; 3000];
    let mut t = transmit(&header, &payload, 1000, 16);
    t.checksum = TxChecksum::Complete;
    assert_eq!(VnetHeader::for_transmit(&t, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    t.checksum = TxChecksum::Partial { start: 20, offset: 2 };
    assert_eq!(VnetHeader::for_transmit(&t, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_partial_checksum_needs_no_checking() {
    let partial = VnetHeader { flags: 1, csum_start: 20, csum_offset: 16, ..VnetHeader::default() };
    let verified = VnetHeader { flags: 2, ..VnetHeader::default() };
    for (header, state) in [
        (partial, ChecksumState::Valid),
        (verified, ChecksumState::Valid),
        (VnetHeader::default(), ChecksumState::Unchecked),
    ] {
        assert_eq!(deliver(header, ipv4(6, 20, b"x"))[0].meta.checksum, state);
    }
}

#[test]
fn a_joined_packet_tells_its_segments_and_ce_marks() {
    let header =
        VnetHeader { flags: 1, gso_type: 1, gso_size: 1000, csum_start: 20, csum_offset: 16, hdr_len: 40 };
    let mut packet = ipv4(6, 20, &[0; 2001]);
    packet[1] = 3;
    let meta = deliver(header, packet)[0].meta;
    assert_eq!((meta.segments, meta.segment_size, meta.ce_marks), (3, 1000, 3));

    let meta = deliver(header, ipv4(6, 20, &[0; 1000]))[0].meta;
    assert_eq!((meta.segments, meta.segment_size, meta.ce_marks), (1, 0, 0), "one segment is no unit");
}

#[test]
fn a_joined_packet_that_contradicts_itself_is_not_delivered() {
    let header =
        VnetHeader { flags: 1, gso_type: 1, csum_start: 20, csum_offset: 16, ..VnetHeader::default() };
    assert!(deliver(header, ipv4(6, 20, &[0; 100])).is_empty(), "segments of no bytes");
    let header = VnetHeader { gso_size: 10, csum_start: 90, ..header };
    assert!(deliver(header, ipv4(6, 20, &[0; 20])).is_empty(), "no TCP header where it should be");
    let header = VnetHeader { gso_type: 5, ..header };
    assert!(deliver(header, ipv4(17, 8, &[0; 20])).is_empty(), "no UDP header where it should be");
}

#[test]
fn what_is_no_ip_packet_is_left_to_the_engine() {
    assert_eq!(deliver(VnetHeader::default(), vec![0xff; 30]).len(), 1);
    assert_eq!(deliver(VnetHeader::default(), vec![]).len(), 1);
}

/// Where one ends and the next begins is told: the engine keeps them apart.
#[test]
fn a_unit_of_datagrams_is_handed_over_whole() {
    let header =
        VnetHeader { flags: 1, gso_type: 5, gso_size: 10, csum_start: 20, csum_offset: 6, hdr_len: 28 };
    let payload: Vec<u8> = (0..25).collect();
    let mut packet = ipv4(17, 8, &payload);
    packet[1] = 3;
    let batch = deliver(header, packet.clone());
    assert_eq!(batch[0].bytes.as_slice(), packet);
    let meta = batch[0].meta;
    assert_eq!((meta.segments, meta.segment_size, meta.ce_marks), (3, 10, 3));
    assert_eq!(meta.checksum, ChecksumState::Valid);
}

#[test]
fn buffers_come_back_when_their_packets_are_gone() {
    let mut pool = BufferPool::new();
    let mut take = |len: usize| {
        for byte in &mut pool.room(len)[..len] {
            byte.write(7);
        }
        // SAFETY: just written.
        unsafe { pool.take(len) }
    };
    let first = take(100);
    let base = first.as_ptr() as usize;
    drop(first);
    // With nothing kept, the same 256 KiB serve for ever.
    for _ in 0..1000 {
        let packet = take(65536);
        let at = packet.as_ptr() as usize;
        assert!((base..base + 256 * 1024).contains(&at));
    }
    // What is kept is never written over.
    let kept: Vec<Bytes> = (0..40).map(|_| take(65536)).collect();
    let mut starts: Vec<usize> = kept.iter().map(|b| b.as_ptr() as usize).collect();
    starts.sort_unstable();
    assert!(starts.windows(2).all(|w| w[1] - w[0] >= 65536));
}

#[test]
fn the_pair_carries_packets_in_order_with_their_marks() {
    let (mut a, mut b) = pair(Capabilities::plain(1500)).unwrap();
    let header = ipv4(6, 20, &[]);
    a.send(&transmit(&header, &[1; 2500], 1000, 16)).unwrap();
    a.send(&transmit(&header, b"second", 0, 16)).unwrap();
    let mut batch = Vec::new();
    assert_eq!(b.recv_batch(&mut batch, 32).unwrap(), 2);
    assert_eq!(batch[0].bytes.as_slice().len(), 40 + 2500);
    assert_eq!((batch[0].meta.segments, batch[0].meta.segment_size), (3, 1000));
    assert_eq!(batch[0].meta.checksum, ChecksumState::Valid);
    assert!(matches!(&batch[1].bytes, PacketBytes::Shared(p) if p.ends_with(b"second")));
    assert_eq!(b.recv_batch(&mut batch, 32).unwrap(), 0);
    assert_eq!((a.counters().sent, b.counters().received), (2, 2));
}

#[test]
fn the_pair_is_bounded_and_takes_the_packet_later() {
    let (mut a, mut b) = pair(Capabilities::plain(1500)).unwrap();
    let header = ipv4(6, 20, &[]);
    let mut sent = 0;
    let error = loop {
        match a.send(&transmit(&header, &[0; 1400], 0, 16)) {
            Ok(()) => sent += 1,
            Err(e) => break e,
        }
        assert!(sent < 100_000, "no bound");
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let mut batch = Vec::new();
    assert_eq!(b.recv_batch(&mut batch, 1).unwrap(), 1, "no more than asked for");
    while b.recv_batch(&mut batch, 64).unwrap() > 0 {}
    assert_eq!(batch.len(), sent);
    a.send(&transmit(&header, &[0; 1400], 0, 16)).unwrap();
}

#[test]
fn the_pair_ends_when_one_end_is_gone() {
    let (mut a, mut b) = pair(Capabilities::plain(1500)).unwrap();
    let header = ipv4(6, 20, &[]);
    a.send(&transmit(&header, b"last", 0, 16)).unwrap();
    drop(a);
    let mut batch = Vec::new();
    assert_eq!(b.recv_batch(&mut batch, 8).unwrap(), 1);
    assert_eq!(b.recv_batch(&mut batch, 8).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
