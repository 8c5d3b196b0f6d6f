//! Bulk through one connection: how often each byte is touched, and what is done beside that.

use std::time::Duration;

use bytes::Bytes;
use finack_core::device::Capabilities;

use crate::bare::{Bare, Way};
use crate::engine::{BUFFERS, ROUND, finish, push_ipstack, push_lwip};
use crate::measure::{Comparison, Options, Role, Subject, rate};
use crate::pair::{Handing, Pair, Setup};
use crate::peers::{lwip, pktkit, smoltcp};

pub const SMALL: &str = "bulk, MTU 1500, checksums on";
pub const SUMMED: &str = "bulk, 64 KiB units, checksums on";
pub const OFFLOADED: &str = "bulk, 64 KiB units, checksums offloaded";
pub const IN_PLACE: &str = "bulk, 64 KiB units, checksums offloaded, written and read in place";

/// Bytes that smoltcp's buffers hold where packets are of 64 KiB.
const LARGE_BUFFERS: usize = 512 << 10;
/// finack's, for as much: as on Linux, the size that is set is doubled.
const LARGE: usize = LARGE_BUFFERS / 2;
/// Payload of a packet of 1500 bytes.
const SEGMENT: usize = 1448;
/// Bytes of a write and of a read.
const CALL: usize = 64 << 10;

/// Written and read by ordinary calls, as Gb/s. The writer fills the send buffer, a batch of packets is carried, the reader
/// empties the receive buffer, what that answers is carried back.
fn finack(setup: &Setup) -> impl FnMut(Duration) -> f64 + use<> {
    let mut pair = Pair::new(setup);
    let (client, server) = pair.open();
    let data = vec![7; CALL];
    let mut sink = vec![0; CALL];
    move |length| {
        let bytes = rate(length, || {
            pair.fill(client, &data);
            pair.carry_batch_there();
            let read = pair.drain(server, &mut sink);
            pair.carry_back();
            pair.pass(ROUND);
            read
        });
        bytes * 8.0 / 1e9
    }
}

/// Written and read in place: the writer hands over its memory, the reader looks at it where it is.
fn finack_in_place(setup: &Setup) -> impl FnMut(Duration) -> f64 + use<> {
    let mut pair = Pair::new(setup);
    let (client, server) = pair.open();
    let data = Bytes::from(vec![7; CALL]);
    move |length| {
        let bytes = rate(length, || {
            pair.fill_shared(client, &data);
            pair.carry_batch_there();
            let read = pair.drain_in_place(server);
            pair.carry_back();
            pair.pass(ROUND);
            read
        });
        bytes * 8.0 / 1e9
    }
}

fn smoltcp(mtu: usize, buffers: usize, checksums: bool) -> impl FnMut(Duration) -> f64 + use<> {
    let mut pair = smoltcp::Pair::new(mtu, buffers, checksums);
    let ends = pair.open();
    let data = vec![7; CALL];
    let mut sink = vec![0; CALL];
    move |length| rate(length, || pair.bulk(ends, &data, &mut sink)) * 8.0 / 1e9
}

fn bare(unit: usize, way: Way) -> impl FnMut(Duration) -> f64 + use<> {
    let mut bare = Bare::new(unit);
    move |length| rate(length, || bare.bulk(way)) * 8.0 / 1e9
}

/// A packet a segment, each with a checksum that is computed and verified.
pub fn small(name: &str, options: &Options) -> Comparison {
    let apart = Setup::plain(1500, BUFFERS);
    let device = Capabilities { checksum_tx: true, ..apart.device };
    let fused = Setup { device, link_sums: true, ..Setup::plain(1500, BUFFERS) };
    let mut subjects = vec![
        Subject::new("finack", Role::Finack, finack(&fused)),
        Subject::new("finack, a link that only copies", Role::Bare, finack(&apart)),
        Subject::new("bare loop, summed while copied", Role::Bare, bare(SEGMENT, Way::Fused)),
        Subject::new("bare loop, summed apart", Role::Bare, bare(SEGMENT, Way::Summed)),
    ];
    if !options.alone {
        subjects.push(Subject::new("smoltcp 0.14.0", Role::Peer, smoltcp(1500, BUFFERS, true)));
        let mut pair = pktkit::Pair::open();
        let data = vec![7; CALL];
        let mut sink = vec![0; CALL];
        let pktkit = move |length| rate(length, || pair.bulk(&data, &mut sink)) * 8.0 / 1e9;
        subjects.push(Subject::new("pktkit 0.1.11 (no IP, no checksum)", Role::Peer, pktkit));
        push_lwip(&mut subjects, "lwIP 2.1.3 (Debian)", |length| {
            lwip::bulk(length.as_secs_f64()) * 8.0 / 1e9
        });
        push_ipstack(&mut subjects, |pair, length| pair.bulk(length) * 8.0 / 1e9);
    }
    finish(name, "Gb/s", true, options, subjects)
}

/// Units of 64 KiB that stand for segments of 1448 bytes.
fn units(handing: Handing, checksum_tx: bool, link_sums: bool) -> Setup {
    let device = Capabilities { mtu: 1500, max_unit: 65_535, checksum_tx, udp_units: false };
    Setup { device, handing, link_sums, buffers: LARGE, listeners: 1 }
}

/// Units whose checksum is computed and verified.
pub fn summed(name: &str, options: &Options) -> Comparison {
    let apart = finack(&units(Handing::Lent, false, false));
    let mut subjects = vec![
        Subject::new("finack", Role::Finack, finack(&units(Handing::Given, true, true))),
        Subject::new("finack, packets lent", Role::Bare, finack(&units(Handing::Lent, true, true))),
        Subject::new("finack, lent, a link that only copies", Role::Bare, apart),
        Subject::new("bare loop, three copies", Role::Bare, bare(CALL, Way::GivenFused)),
        Subject::new("bare loop, four copies", Role::Bare, bare(CALL, Way::Fused)),
        Subject::new("bare loop, four, summed apart", Role::Bare, bare(CALL, Way::Summed)),
    ];
    if !options.alone {
        subjects.push(Subject::new(
            "smoltcp 0.14.0 (MTU 65535)",
            Role::Peer,
            smoltcp(65_535, LARGE_BUFFERS, true),
        ));
        subjects.push(Subject::new("smoltcp 0.14.0 (MTU 1500)", Role::Peer, smoltcp(1500, BUFFERS, true)));
    }
    finish(name, "Gb/s", true, options, subjects)
}

/// Units without checksums, as over virtio. Packets are given to who receives them, as smoltcp's link does it with both.
pub fn offloaded(name: &str, options: &Options) -> Comparison {
    let mut subjects = vec![
        Subject::new("finack", Role::Finack, finack(&units(Handing::Given, true, false))),
        Subject::new("finack, packets lent", Role::Bare, finack(&units(Handing::Lent, true, false))),
        Subject::new("bare loop, three copies", Role::Bare, bare(CALL, Way::Given)),
        Subject::new("bare loop, four copies", Role::Bare, bare(CALL, Way::Copied)),
        Subject::new("memcpy", Role::Bare, bare(CALL, Way::Once)),
    ];
    if !options.alone {
        let peer = smoltcp(65_535, LARGE_BUFFERS, false);
        subjects.push(Subject::new("smoltcp 0.14.0 (MTU 65535)", Role::Peer, peer));
    }
    finish(name, "Gb/s", true, options, subjects)
}

/// The same with nothing copied but by the link: the writer's memory is handed over, the reader looks at the packet's.
pub fn in_place(name: &str, options: &Options) -> Comparison {
    let given = units(Handing::Given, true, false);
    let mut subjects = vec![
        Subject::new("finack", Role::Finack, finack_in_place(&given)),
        Subject::new("memcpy", Role::Bare, bare(CALL, Way::Once)),
    ];
    if !options.alone {
        let mut pair = smoltcp::Pair::new(65_535, LARGE_BUFFERS, false);
        let ends = pair.open();
        let peer = move |length| rate(length, || pair.bulk_in_place(ends)) * 8.0 / 1e9;
        subjects.push(Subject::new("smoltcp 0.14.0 (MTU 65535)", Role::Peer, peer));
    }
    finish(name, "Gb/s", true, options, subjects)
}
