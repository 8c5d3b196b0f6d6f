//! finack's end of the device, without its engine: enough of IP, UDP and TCP to show that
//! packets and units arrive whole both ways.

use std::process::ExitStatus;

use finack::device::Device;
use finack_core::device::{ChecksumState, Packet, Slices, Transmit, TxChecksum};
use finack_run::namespace::Child;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::inside::pattern;

/// Hands every packet to `on_packet` until the program has ended.
pub(crate) fn serve(
    device: &mut dyn Device,
    child: &mut Child,
    mut on_packet: impl FnMut(&Packet<'_>, &mut dyn Device),
) -> ExitStatus {
    let mut batch = Vec::new();
    loop {
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut poll = [PollFd::new(&device, PollFlags::IN), PollFd::new(child, PollFlags::IN)];
        let ready = rustix::event::poll(&mut poll, Some(&timeout)).unwrap();
        assert!(ready > 0, "the program neither sends nor ends");
        while device.recv_batch(&mut batch, 32).unwrap() > 0 {
            for packet in batch.drain(..) {
                on_packet(&packet, device);
            }
        }
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
    }
}

/// A packet to be sent: headers with the pseudo-header's sum in place, and the payload.
pub(crate) struct Outgoing {
    header: Vec<u8>,
    payload: Vec<u8>,
    start: u16,
    offset: u16,
    segment_size: u16,
}

impl Outgoing {
    pub(crate) fn send(&self, device: &mut dyn Device) {
        // In two slices, for the engine lends several.
        let halves = <[_; 2]>::from(self.payload.split_at(self.payload.len() / 2));
        let packet = Transmit {
            header: &self.header,
            payload: Slices::several(&halves),
            segment_size: self.segment_size,
            checksum: TxChecksum::Partial { start: self.start, offset: self.offset },
            number: 0,
        };
        loop {
            match device.send(&packet) {
                Ok(()) => return,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    let mut poll = [PollFd::new(&device, PollFlags::OUT)];
                    rustix::event::poll(&mut poll, None).unwrap();
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// Where the transport header starts and which protocol it is.
fn layout(packet: &[u8]) -> (usize, u8) {
    match packet[0] >> 4 {
        4 => (usize::from(packet[0] & 0xf) * 4, packet[9]),
        _ => (40, packet[6]),
    }
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    words.fold(0, |sum, word| (sum + word) % 0xffff)
}

/// Turns a packet's IP header around and puts `transport` behind it.
fn answer(packet: &[u8], transport: &[u8], payload: Vec<u8>, offset: u16) -> Outgoing {
    let (start, protocol) = layout(packet);
    let v6 = packet[0] >> 4 == 6;
    let mut header = packet[..start].to_vec();
    let len = transport.len() + payload.len();
    let (source, size) = if v6 { (8, 16) } else { (12, 4) };
    header[source..source + 2 * size].rotate_left(size);
    if v6 {
        header[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    } else {
        header[2..4].copy_from_slice(&((start + len) as u16).to_be_bytes());
        header[10..12].fill(0);
        let check = !(sum(&header) as u16);
        header[10..12].copy_from_slice(&check.to_be_bytes());
    }
    let pseudo = (sum(&header[source..source + 2 * size]) + u32::from(protocol) + len as u32) % 0xffff;
    header.extend_from_slice(transport);
    let at = start + usize::from(offset);
    header[at..at + 2].copy_from_slice(&(pseudo as u16).to_be_bytes());
    Outgoing { header, payload, start: start as u16, offset, segment_size: 0 }
}

/// The answer of an echo server on `port`.
pub(crate) fn udp_echo(packet: &[u8], port: u16) -> Option<Outgoing> {
    let (start, protocol) = layout(packet);
    let udp = &packet[start..];
    if protocol != 17 || udp[2..4] != port.to_be_bytes() {
        return None;
    }
    let mut header = udp[..8].to_vec();
    header[..4].rotate_left(2);
    header[6..8].fill(0);
    Some(answer(packet, &header, udp[8..].to_vec(), 6))
}

/// The answer of a server that sends `count` datagrams of `size` bytes for one: as one unit.
pub(crate) fn udp_burst(packet: &[u8], port: u16, count: usize, size: usize) -> Option<Outgoing> {
    let mut unit = udp_echo(packet, port)?;
    unit.payload = pattern(0, count * size);
    let (start, _) = layout(packet);
    let mut header = unit.header[start..].to_vec();
    header[4..6].copy_from_slice(&((8 + count * size) as u16).to_be_bytes());
    let mut unit = answer(packet, &header, unit.payload, 6);
    unit.segment_size = size as u16;
    Some(unit)
}

/// A TCP segment's fields, as far as needed here.
struct Segment {
    sequence: u32,
    flags: u8,
    data: usize,
    len: usize,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn tcp(packet: &[u8]) -> Option<Segment> {
    let (start, protocol) = layout(packet);
    if protocol != 6 {
        return None;
    }
    let t = &packet[start..];
    let data = start + usize::from(t[12] >> 4) * 4;
    Some(Segment {
        sequence: u32::from_be_bytes([t[4], t[5], t[6], t[7]]),
        flags: t[13],
        data,
        len: packet.len() - data,
    })
}

/// The window scale that a SYN offers (RFC 7323 §2.2).
fn window_scale(packet: &[u8]) -> u8 {
    let start = layout(packet).0;
    let mut options = &packet[start + 20..start + usize::from(packet[start + 12] >> 4) * 4];
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (1, _) => rest,
            (3, [3, scale, ..]) => return *scale,
            (2.., [len, ..]) => &options[usize::from(*len)..],
            _ => return 0,
        };
    }
    0
}

fn acknowledged(packet: &[u8]) -> u32 {
    let t = &packet[layout(packet).0..];
    u32::from_be_bytes([t[8], t[9], t[10], t[11]])
}

fn tcp_answer(packet: &[u8], sequence: u32, ack: u32, flags: u8, options: &[u8], data: Vec<u8>) -> Outgoing {
    let t = &packet[layout(packet).0..];
    let mut header = vec![t[2], t[3], t[0], t[1]];
    header.extend_from_slice(&sequence.to_be_bytes());
    header.extend_from_slice(&ack.to_be_bytes());
    header.extend_from_slice(&[(5 + options.len() as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header.extend_from_slice(options);
    answer(packet, &header, data, 16)
}

/// The RST that a SYN to a closed port gets (RFC 9293 §3.10.7.1).
pub(crate) fn refuse(packet: &[u8]) -> Option<Outgoing> {
    let segment = tcp(packet).filter(|s| s.flags & SYN != 0)?;
    Some(tcp_answer(packet, 0, segment.sequence.wrapping_add(1), RST | ACK, &[], Vec::new()))
}

/// The other end of one TCP connection over a link without loss or reordering.
pub(crate) struct Peer {
    pub(crate) received: u64,
    pub(crate) intact: bool,
    /// Packets that stood for several segments.
    pub(crate) units: u64,
    next: u32,
    /// Bytes to send, and how many have been.
    total: u64,
    sent: u64,
    /// Of the windows that the program advertises.
    scale: u8,
}

/// MSS 1440, window scale 10.
const OPTIONS: [u8; 8] = [2, 4, 0x05, 0xa0, 1, 3, 3, 10];
const ISS: u32 = 1000;
/// Payload of an outgoing unit: 20 segments.
const UNIT: usize = 1440 * 20;

impl Peer {
    /// A peer that takes everything, and sends `total` bytes.
    pub(crate) fn new(total: u64) -> Self {
        Self { received: 0, intact: true, units: 0, next: 0, total, sent: 0, scale: 0 }
    }

    pub(crate) fn on_packet(&mut self, packet: &Packet<'_>, device: &mut dyn Device) {
        let bytes = packet.bytes.as_slice();
        let Some(segment) = tcp(bytes) else { return };
        if segment.flags & SYN != 0 {
            self.next = segment.sequence.wrapping_add(1);
            self.scale = window_scale(bytes);
            tcp_answer(bytes, ISS, self.next, SYN | ACK, &OPTIONS, Vec::new()).send(device);
            return;
        }
        if segment.sequence != self.next {
            return;
        }
        assert_eq!(packet.meta.checksum, ChecksumState::Valid);
        self.units += u64::from(packet.meta.segments > 1);
        if segment.len > 0 {
            let expected = pattern(self.received as usize, segment.len);
            self.intact &= bytes[segment.data..] == expected;
        }
        self.received += segment.len as u64;
        self.next = self.next.wrapping_add(segment.len as u32);
        let fin = segment.flags & FIN != 0;
        self.next = self.next.wrapping_add(u32::from(fin));
        let ack = acknowledged(bytes);
        self.send_more(bytes, ack, device);
        if segment.len > 0 || fin {
            let sequence = (ISS + 1).wrapping_add(self.sent as u32);
            let flags = if fin { FIN | ACK } else { ACK };
            tcp_answer(bytes, sequence, self.next, flags, &[], Vec::new()).send(device);
        }
    }

    fn send_more(&mut self, packet: &[u8], ack: u32, device: &mut dyn Device) {
        let acknowledged = u64::from(ack.wrapping_sub(ISS + 1));
        let t = &packet[layout(packet).0..];
        let window = usize::from(u16::from_be_bytes([t[14], t[15]])) << self.scale;
        // One unit at a time, and none that does not fit: nothing is ever sent again here.
        if self.sent < self.total && self.sent <= acknowledged && window >= UNIT {
            let len = UNIT.min((self.total - self.sent) as usize);
            let data = pattern(self.sent as usize, len);
            let sequence = (ISS + 1).wrapping_add(self.sent as u32);
            let mut unit = tcp_answer(packet, sequence, self.next, ACK, &[], data);
            unit.segment_size = 1440;
            unit.send(device);
            self.sent += len as u64;
        }
    }
}
