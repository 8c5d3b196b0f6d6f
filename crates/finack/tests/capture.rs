//! Captures as whoever opens the file sees them.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod common;

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use finack::Net;
use finack::core::device::{Capabilities, Slices, Transmit, TxChecksum};
use finack::device::{Capture, CaptureHandle, CaptureOptions, Device, View, pair};
use finack::net::{TcpListener, TcpStream, UdpSocket};
use pcap_parser::pcapng::parse_pcapng;
use pcap_parser::{Block, Linktype, OptionCode, PcapNGOption};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A file in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A packet as the file has it.
#[derive(Debug)]
struct Shown {
    bytes: Vec<u8>,
    wire_len: usize,
    inbound: bool,
    lost_before: u64,
    comments: Vec<String>,
}

impl Shown {
    fn flags(&self) -> u8 {
        self.bytes[33]
    }

    fn seq(&self) -> u32 {
        u32::from_be_bytes(self.bytes[24..28].try_into().unwrap())
    }

    fn has_comment(&self, part: &str) -> bool {
        self.comments.iter().any(|c| c.contains(part))
    }
}

const SYN: u8 = 2;
const RST: u8 = 4;

fn number(option: &PcapNGOption<'_>) -> u64 {
    let mut bytes = [0; 8];
    let value = option.as_bytes().unwrap();
    bytes[..value.len()].copy_from_slice(value);
    u64::from_le_bytes(bytes)
}

fn code(options: &[PcapNGOption<'_>], code: u16) -> Option<u64> {
    options.iter().find(|o| o.code == OptionCode(code)).map(number)
}

impl Memory {
    fn packets(&self) -> Vec<Shown> {
        let bytes = self.0.lock().unwrap().clone();
        let (rest, file) = parse_pcapng(&bytes).unwrap();
        assert!(rest.is_empty(), "{} bytes behind the last block", rest.len());
        let blocks = file.sections.iter().flat_map(|s| &s.blocks);
        let packets = blocks.filter_map(|block| match block {
            Block::EnhancedPacket(packet) => Some(packet),
            _ => None,
        });
        packets
            .map(|p| Shown {
                bytes: p.data[..p.caplen as usize].to_vec(),
                wire_len: p.origlen as usize,
                inbound: code(&p.options, 2).unwrap() & 3 == 1,
                lost_before: code(&p.options, 4).unwrap_or(0),
                comments: p
                    .options
                    .iter()
                    .filter(|o| o.code == OptionCode::Comment)
                    .map(|o| o.as_str().unwrap().to_owned())
                    .collect(),
            })
            .collect()
    }

    /// Packets received, dropped by the capture, and written, as the last block has them.
    fn statistics(&self) -> (u64, u64, u64) {
        let bytes = self.0.lock().unwrap().clone();
        let (_, file) = parse_pcapng(&bytes).unwrap();
        match file.sections.iter().flat_map(|s| &s.blocks).last() {
            Some(Block::InterfaceStatistics(s)) => {
                let value = |c| code(&s.options, c).unwrap();
                (value(4), value(5), value(8))
            }
            other => panic!("no statistics but {other:?}"),
        }
    }
}

fn explaining() -> CaptureOptions {
    CaptureOptions { explain: true, ..CaptureOptions::default() }
}

/// Tells the capture what the network traces, as the documentation of `Capture` has it.
async fn follow(net: Net, capture: CaptureHandle) {
    loop {
        tokio::select! {
            event = net.next_trace() => match event {
                Some(event) => capture.explain(&event),
                None => return,
            },
            () = capture.unexplained() => {}
        }
        let captured = capture.captured();
        while let Some(event) = net.poll_trace() {
            capture.explain(&event);
        }
        capture.explained(captured);
    }
}

/// Hosts A and B, of which A's device is captured and explained.
fn captured_bed(capabilities: Capabilities) -> (Bed, CaptureHandle, Memory) {
    let (left, right) = pair(capabilities).unwrap();
    let file = Memory::default();
    let ((left, cut_a_to_b), (right, cut_b_to_a)) = (Cable::new(left), Cable::new(right));
    let (left, capture) = Capture::start(left, file.clone(), &explaining()).unwrap();
    let a = host_a().trace(10_000).build(left).unwrap();
    let b = host_b().build(right).unwrap();
    tokio::spawn(follow(a.clone(), capture.clone()));
    (Bed { a, b, cut_a_to_b, cut_b_to_a }, capture, file)
}

/// RFC 6298 5.4: what the wire lost is sent again, and the capture says of exactly that why.
#[tokio::test(start_paused = true)]
async fn a_retransmission_is_commented() {
    let (bed, capture, file) = captured_bed(UNITS);
    let (mut client, mut server) = connected(&bed).await;
    client.write_all(&[1; 1000]).await.unwrap();
    let mut buf = vec![0; 4000];
    soon(server.read_exact(&mut buf[..1000])).await.unwrap();
    bed.cut();
    client.write_all(&[2; 4000]).await.unwrap();
    bed.mend();
    soon(server.read_exact(&mut buf)).await.unwrap();
    let summary = capture.finish();
    assert_eq!((summary.lost, summary.lost_comments), (0, 0));
    let packets = file.packets();
    assert_eq!(packets.len() as u64, summary.packets);
    let mut seen = std::collections::BTreeSet::new();
    let mut again = 0;
    for packet in packets.iter().filter(|p| !p.inbound && p.wire_len > 100) {
        let repeated = !seen.insert(packet.seq());
        assert_eq!(packet.has_comment("finack sent it again: "), repeated, "{packet:?}");
        again += usize::from(repeated);
    }
    assert!(again > 0, "{packets:?}");
}

/// RFC 9293 3.10.7.1: on both sides of a refusal the capture names the packet that was refused, and the RST.
#[tokio::test]
async fn a_reset_is_commented_on_both_packets() {
    let (bed, capture, file) = captured_bed(UNITS);
    soon(TcpStream::connect_on(&bed.a, nobody())).await.unwrap_err();
    soon(TcpStream::connect_on(&bed.b, (A, 9))).await.unwrap_err();
    capture.finish();
    let packets = file.packets();
    let one = |inbound: bool, flag: u8| {
        let fits = |p: &&Shown| p.inbound == inbound && p.flags() & (SYN | RST) == flag;
        packets.iter().find(fits).unwrap()
    };
    assert!(one(true, RST).has_comment("this RST ends the connection"), "{packets:?}");
    assert!(one(true, RST).has_comment("SYN-SENT → CLOSED"), "{packets:?}");
    assert!(one(true, SYN).has_comment("answers with a RST: nobody listens"), "{packets:?}");
    assert!(one(false, RST).has_comment("sent this RST: nobody listens"), "{packets:?}");
    let handshake = packets.iter().filter(|p| p.has_comment("ESTABLISHED"));
    assert_eq!(handshake.count(), 0, "nothing was opened");
}

/// What is no wire segment on the device is one in the file: 64 KiB leave as 1460 bytes each.
#[tokio::test]
async fn units_are_shown_as_segments() {
    let (bed, capture, file) = captured_bed(UNITS);
    let (mut client, mut server) = connected(&bed).await;
    let sent: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let got = async {
        let mut got = vec![0; 300_000];
        server.read_exact(&mut got).await.unwrap();
        got
    };
    let (written, got) = tokio::join!(client.write_all(&sent), soon(got));
    written.unwrap();
    assert_eq!(got, sent);
    capture.finish();
    let packets = file.packets();
    assert!(packets.iter().all(|p| p.wire_len <= 1500 && p.bytes.len() == p.wire_len));
    let mut payload = Vec::new();
    let mut next = None;
    for packet in packets.iter().filter(|p| !p.inbound) {
        let ip = finack_wire::ip::parse(&packet.bytes).unwrap();
        let segment = ip.payload(&packet.bytes);
        assert!(finack_wire::tcp::checksum_ok(&ip, segment), "{packet:?}");
        let header = finack_wire::tcp::TcpHeader::parse(segment).unwrap();
        let part = finack_wire::tcp::payload(segment, &header);
        assert!(next.is_none_or(|next| next == header.seq) || header.flags.syn(), "in order");
        next = Some(header.seq.wrapping_add(header.sequence_len(part.len())));
        payload.extend_from_slice(part);
    }
    assert!(payload == sent, "the file holds what was sent");
}

/// The file says where it comes from, what the addresses are called, and how many packets there were.
#[tokio::test]
async fn the_file_describes_itself() {
    let (left, _right) = pair(Capabilities::plain(1500)).unwrap();
    let file = Memory::default();
    let options = CaptureOptions {
        interface: "eth7".into(),
        description: "a cable".into(),
        addresses: vec![(A.into(), 24), (A6.into(), 64)],
        names: vec![(B.into(), "b.test".into()), (B6.into(), "b6.test".into())],
        view: View::Peer,
        snaplen: 40,
        ..CaptureOptions::default()
    };
    let (device, capture) = Capture::start(left, file.clone(), &options).unwrap();
    let net = host_a().build(device).unwrap();
    let socket = UdpSocket::bind_on(&net, (A, 5)).await.unwrap();
    socket.send_to(&[7; 100], (B, 6)).await.unwrap();
    let summary = capture.finish();
    assert_eq!((summary.packets, summary.lost), (1, 0));
    assert!(summary.error.is_none() && !summary.stuck);
    let packets = file.packets();
    assert_eq!((packets[0].bytes.len(), packets[0].wire_len), (40, 128));
    assert!(packets[0].inbound, "as the other end sees it");
    assert_eq!(file.statistics(), (1, 0, 1));
    let bytes = file.0.lock().unwrap().clone();
    let (_, parsed) = parse_pcapng(&bytes).unwrap();
    let blocks = &parsed.sections[0].blocks;
    let Block::InterfaceDescription(interface) = &blocks[1] else { panic!("{:?}", blocks[1]) };
    assert_eq!((interface.linktype, interface.snaplen, interface.if_tsresol), (Linktype(101), 40, 9));
    let texts: Vec<&[u8]> = interface.options.iter().map(|o| o.as_bytes().unwrap()).collect();
    assert_eq!(texts[..2], [&b"eth7"[..], b"a cable"]);
    assert_eq!(texts[2], [10, 9, 0, 1, 255, 255, 255, 0]);
    assert_eq!(texts[3][16], 64);
    let Block::NameResolution(names) = &blocks[2] else { panic!("{:?}", blocks[2]) };
    // With the padding behind it.
    assert!(names.nr[0].record_value.starts_with(b"\x0a\x09\x00\x02b.test\0"));
    assert_eq!(IpAddr::from(<[u8; 16]>::try_from(&names.nr[1].record_value[..16]).unwrap()), IpAddr::V6(B6));
}

/// A datagram of `len` bytes that calls itself `number`.
fn offer(device: &mut impl Device, number: u64, len: usize) -> io::Result<()> {
    let mut header = vec![0; 28];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((28 + len) as u16).to_be_bytes());
    let payload = vec![0; len];
    device.send(&Transmit {
        header: &header,
        payload: Slices::one(&payload),
        segment_size: 0,
        checksum: TxChecksum::Complete,
        number,
    })
}

/// A full device is offered the same packet until it takes it: on the wire it is one packet.
#[test]
fn a_packet_that_a_full_device_refuses_is_captured_once() {
    let (left, mut right) = pair(Capabilities::plain(65_000)).unwrap();
    let file = Memory::default();
    let (mut device, capture) = Capture::start(left, file.clone(), &CaptureOptions::default()).unwrap();
    let mut number = 1;
    while offer(&mut device, number, 60_000).is_ok() {
        number += 1;
    }
    assert_eq!(offer(&mut device, number, 60_000).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    right.recv_batch(&mut Vec::new(), 100).unwrap();
    offer(&mut device, number, 60_000).unwrap();
    assert_eq!(capture.finish().packets, number);
    assert_eq!(file.packets().len() as u64, number);
}

/// A file that takes nothing before it is told to.
struct Slow {
    file: Memory,
    may: Receiver<()>,
    blocks: u32,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The file's beginning is written before the capture starts.
        if self.blocks > 0 {
            let _ = self.may.recv();
        }
        self.blocks += 1;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slow() -> (Slow, Memory, Sender<()>) {
    let (sender, may) = channel();
    let file = Memory::default();
    (Slow { file: file.clone(), may, blocks: 0 }, file, sender)
}

/// What comes faster than it can be written is lost, within the bound that was set, and the file says how much and where.
#[test]
fn a_slow_file_holds_up_nobody() {
    let (left, mut right) = pair(Capabilities::plain(1500)).unwrap();
    let (slow, file, go) = slow();
    let options = CaptureOptions { buffer: 20_000, ..CaptureOptions::default() };
    let (mut device, capture) = Capture::start(left, slow, &options).unwrap();
    let mut batch = Vec::new();
    for number in 1..=100 {
        offer(&mut device, number, 1000).unwrap();
        right.recv_batch(&mut batch, 100).unwrap();
    }
    drop(go);
    // There is room again once the file has taken some.
    let mut number = 100;
    while capture.captured() < 1000 && file.0.lock().unwrap().len() < 10_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    while file.packets().iter().all(|p| p.lost_before == 0) {
        number += 1;
        offer(&mut device, number, 1000).unwrap();
        right.recv_batch(&mut batch, 100).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        assert!(number < 100_000, "the file goes on");
    }
    let summary = capture.finish();
    assert!(summary.lost >= 80, "{summary:?}");
    assert_eq!(summary.packets + summary.lost, number);
    let packets = file.packets();
    let told: u64 = packets.iter().map(|p| p.lost_before).sum();
    assert!(told >= 80 && told <= summary.lost, "{told}, {summary:?}");
    let gap = packets.iter().find(|p| p.lost_before > 0).unwrap();
    assert!(gap.has_comment("packets before this one are missing here"), "{gap:?}");
    assert_eq!(file.statistics(), (number, summary.lost, summary.packets));
}

/// Takes its first block and so many bytes more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.0.checked_sub(bytes.len());
        self.0 = left.ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A full disk ends the capture, and nothing else.
#[tokio::test]
async fn a_full_disk_ends_the_capture_alone() {
    let (left, right) = pair(UNITS).unwrap();
    let (device, capture) = Capture::start(left, Full(5000), &explaining()).unwrap();
    let a = host_a().trace(10_000).build(device).unwrap();
    let b = host_b().build(right).unwrap();
    tokio::spawn(follow(a.clone(), capture.clone()));
    let listener = TcpListener::bind_on(&b, (B, 80)).await.unwrap();
    let client = async {
        let mut client = TcpStream::connect_on(&a, (B, 80)).await.unwrap();
        client.write_all(&[5; 2_000_000]).await.unwrap();
    };
    let server = async {
        let (mut server, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        got.len()
    };
    let ((), got) = soon(async { tokio::join!(client, server) }).await;
    assert_eq!(got, 2_000_000);
    let summary = capture.finish();
    assert_eq!(summary.error.unwrap().kind(), io::ErrorKind::StorageFull);
}

/// A file that can't even take its beginning is told at once.
#[test]
fn a_file_that_takes_nothing_is_refused() {
    let (left, _right) = pair(UNITS).unwrap();
    let error = Capture::start(left, Full(0), &CaptureOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
