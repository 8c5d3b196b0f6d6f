use bytes::Bytes;
use finack_core::device::PacketBytes;

use super::*;

fn post(shards: usize) -> Post {
    Post::new(Steering::new(&[3; 32], shards), (0..shards).map(|_| Arc::default()))
}

/// A TCP segment between two ports of two hosts, as far as steering looks at it.
fn packet(port: u16, len: usize) -> Packet<'static> {
    let mut bytes = vec![0; len];
    bytes[0] = 0x45;
    bytes[9] = 6;
    bytes[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    bytes[20..22].copy_from_slice(&port.to_be_bytes());
    Packet::shared(Bytes::from(bytes))
}

fn port(packet: &Packet<'_>) -> u16 {
    u16::from_be_bytes([packet.bytes.as_slice()[20], packet.bytes.as_slice()[21]])
}

fn taken(post: &Post, home: usize, most: usize) -> (Vec<u16>, bool) {
    let mut ports = Vec::new();
    let more = post.take(home, most, |letter| ports.extend(letter.packet().map(port)));
    (ports, more)
}

#[test]
fn every_packet_comes_to_its_shard_in_order() {
    let post = post(3);
    let mut out = Outgoing::new();
    let mut batch: Vec<Packet<'static>> = (0..60).map(|p| packet(p, 40)).collect();
    let belongs = |shard: usize| -> Vec<u16> {
        (0..60).filter(|&p| post.steering.of_packet(packet(p, 40).bytes.as_slice()) == Some(shard)).collect()
    };
    post.sort(1, &mut batch, &mut out);
    assert_eq!(batch.iter().map(port).collect::<Vec<_>>(), belongs(1));
    post.deliver(&mut out);
    assert_eq!(out.drain().count(), 0);
    for shard in [0, 2] {
        assert_eq!(taken(&post, shard, 100), (belongs(shard), false));
        assert_eq!(taken(&post, shard, 100), (vec![], false));
    }
    assert_eq!(taken(&post, 1, 100), (vec![], false));
}

#[test]
fn a_batch_that_is_all_at_home_stays_as_it_is() {
    let post = post(1);
    let mut batch: Vec<Packet<'static>> = (0..5).map(|p| packet(p, 40)).collect();
    let mut out = Outgoing::new();
    post.sort(0, &mut batch, &mut out);
    assert_eq!(batch.iter().map(port).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(out.is_empty());
}

/// The ring is full at 1024 letters or 8 MiB: what comes beyond is given back, and nothing else is lost.
#[test]
fn a_full_ring_gives_back_what_it_has_no_room_for() {
    for (len, room) in [(40, 1024), (60_000, (8 << 20) / 60_000)] {
        let post = post(2);
        let mut out = Outgoing::new();
        for p in 0..room as u16 + 7 {
            out.push(1, Letter::Packet(packet(p, len)));
        }
        post.deliver(&mut out);
        let refused: Vec<u16> = out.drain().filter_map(|letter| letter.packet().map(port)).collect();
        assert_eq!(refused, (room as u16..room as u16 + 7).collect::<Vec<_>>());
        let (first, more) = taken(&post, 1, 3);
        assert_eq!((first, more), (vec![0, 1, 2], true));
        // There is room again, as much as was taken.
        for p in 0..4 {
            out.push(1, Letter::Packet(packet(p, len)));
        }
        post.deliver(&mut out);
        assert_eq!(out.drain().count(), 1);
        let (rest, more) = taken(&post, 1, 5000);
        assert_eq!((rest.len(), more), (room, false));
    }
}

#[test]
fn who_gets_a_letter_is_kicked() {
    let post = post(2);
    let mut out = Outgoing::new();
    out.push(1, Letter::PathMtu { destination: "10.0.0.2".parse().unwrap(), mtu: 1300 });
    post.deliver(&mut out);
    let kicked = |inbox: &Inbox| {
        let mut notified = std::pin::pin!(inbox.kick.notified());
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        std::future::Future::poll(notified.as_mut(), cx).is_ready()
    };
    assert!(kicked(&post.inboxes[1]) && !kicked(&post.inboxes[0]));
    assert!(matches!(packet(1, 40).bytes, PacketBytes::Shared(_)));
}
