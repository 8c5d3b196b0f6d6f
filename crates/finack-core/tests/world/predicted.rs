//! Header prediction changes nothing that can be seen: the same worlds with it and without send the same packets at the same
//! times, go through the same states and count the same.

use core::hash::{Hash, Hasher};
use core::net::SocketAddr;
use core::time::Duration;
use std::hash::DefaultHasher;

use finack_core::counters::Counters;
use finack_core::device::Capabilities;
use finack_core::options::{RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_sim::rng::Rng;
use finack_sim::world::Transfer;
use finack_sim::{HostId, Link, World};

use super::swarm::{live, note_packets};

/// What can be seen of a run: every packet with its time, the state of both hosts again and again, what they counted.
#[derive(PartialEq, Debug)]
pub(crate) struct Story {
    packets: u64,
    states: u64,
    counted: [Counters; 2],
    /// Segments that took the short way in, of so many.
    expected: u64,
    segments: u64,
    /// Segments that took the short way out, of so many.
    ordinary: u64,
    sent: u64,
}

impl Story {
    pub(crate) fn told(w: &World, hosts: [HostId; 2], packets: u64, states: &DefaultHasher) -> Self {
        let mut counted = hosts.map(|host| w.stack(host).counters().clone());
        let expected = counted.iter_mut().map(|c| core::mem::take(&mut c.tcp_expected)).sum();
        let ordinary = counted.iter_mut().map(|c| core::mem::take(&mut c.tcp_ordinary)).sum();
        counted.iter_mut().for_each(|c| c.tcp_expected_behind = 0);
        let segments = counted.iter().map(|c| c.tcp_in_segs).sum();
        let sent = counted.iter().map(|c| c.tcp_out_segs).sum();
        Self { packets, states: states.finish(), counted, expected, segments, ordinary, sent }
    }
}

pub(crate) fn note_states(w: &World, hosts: [HostId; 2], states: &mut DefaultHasher) {
    hosts.map(|host| w.stack(host).fingerprint(w.now(), Default::default())).hash(states);
}

/// How many segments took the short way, of how many.
#[derive(Clone, Copy, Default, Debug)]
struct Short {
    expected: u64,
    segments: u64,
    ordinary: u64,
    sent: u64,
}

/// Plays each world both ways.
fn play_both(count: u64, play: impl Fn(u64, bool) -> Story) -> Short {
    let mut sums = Short::default();
    for seed in 1..=count {
        let (short, long) = (play(seed, true), play(seed, false));
        sums.expected += short.expected;
        sums.segments += short.segments;
        sums.ordinary += short.ordinary;
        sums.sent += short.sent;
        assert_eq!((long.expected, long.ordinary), (0, 0));
        assert_eq!(Story { expected: 0, ordinary: 0, ..short }, long, "seed {seed}");
    }
    sums
}

fn worlds(few: u64) -> u64 {
    std::env::var("FINACK_SWARM").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

/// Three connections at once that carry something each way, on a network that may lose, duplicate and reorder.
fn transfers(seed: u64, predicts: bool) -> Story {
    let mut rng = Rng::new(seed);
    let mut link = Link::new(Duration::from_micros(rng.below(20_000)));
    if rng.one_in(2) {
        link.loss = rng.below(20_000) as u32;
        link.reorder = rng.below(10_000) as u32;
        link.duplicate = rng.below(10_000) as u32;
    }
    if rng.one_in(2) {
        link.rate = Some(5_000_000 + rng.below(100_000_000));
    }
    let mut w = World::new(seed, link);
    let hosts = [(); 2].map(|()| {
        let mut settings = Settings { tcp_timestamps: rng.below(2), ..Settings::default() };
        if rng.one_in(4) {
            settings.set("finack.profile", "rfc").unwrap();
        }
        let plain = Capabilities::plain(1500);
        let units = Capabilities { max_unit: 65_535, checksum_tx: true, ..plain };
        let host = w.host(settings, if rng.one_in(2) { units } else { plain });
        w.with(host, |s, _| s.set_prediction(predicts));
        if rng.one_in(2) {
            w.join_received(host);
        }
        host
    });
    let [a, b] = hosts;
    let packets = note_packets(&mut w);
    let mut transfers: Vec<Transfer> = (0..3)
        .map(|i| {
            let (c, s) = w.connect(a, b, 80 + i, SocketOptions::default());
            Transfer::new((a, c), (b, s), 20_000 + rng.size(17), rng.size(17))
        })
        .collect();
    let (mut states, mut steps) = (DefaultHasher::new(), 0_u64);
    let end = w.now() + Duration::from_secs(3600);
    loop {
        transfers.iter_mut().for_each(|t| t.poll(&mut w));
        if transfers.iter().all(Transfer::is_done) || !w.step(end) {
            break;
        }
        steps += 1;
        if steps.is_multiple_of(32) {
            note_states(&w, hosts, &mut states);
        }
    }
    assert!(transfers.iter().all(Transfer::is_done));
    note_states(&w, hosts, &mut states);
    let packets = packets.borrow().finish();
    Story::told(&w, hosts, packets, &states)
}

/// A client that asks and a server that answers, in a few bytes or in more than a segment, at once or after a while, on several
/// connections whose writes are queued together.
fn talks(seed: u64, predicts: bool) -> Story {
    let mut rng = Rng::new(seed);
    let mut link = Link::new(Duration::from_micros(rng.below(3_000)));
    if rng.one_in(3) {
        link.loss = rng.below(20_000) as u32;
        link.reorder = rng.below(10_000) as u32;
    }
    let mut w = World::new(seed, link);
    let v6 = rng.one_in(3);
    let hosts = [(); 2].map(|()| {
        let mut settings = Settings { tcp_timestamps: rng.below(2), ..Settings::default() };
        if rng.one_in(4) {
            settings.set("finack.profile", "rfc").unwrap();
        }
        let plain = Capabilities { checksum_tx: rng.one_in(2), ..Capabilities::plain(1500) };
        let units = Capabilities { max_unit: 65_535, checksum_tx: true, ..plain };
        let host = w.host(settings, if rng.one_in(3) { units } else { plain });
        w.with(host, |s, _| s.set_prediction(predicts));
        if rng.one_in(2) {
            w.with(host, |s, _| s.set_tracing(0));
        }
        host
    });
    let [a, b] = hosts;
    let packets = note_packets(&mut w);
    let connections: [_; 4] = core::array::from_fn(|i| {
        let to = SocketAddr::new(if v6 { w.v6(b) } else { w.v4(b) }, 80 + i as u16);
        let options = SocketOptions { nodelay: rng.one_in(2), ..SocketOptions::default() };
        w.connect_to(a, b, to, options)
    });
    let mut states = DefaultHasher::new();
    let data = [7; 4000];
    let mut sink = [0; 8000];
    for _ in 0..150 {
        for (host, conn) in connections.iter().flat_map(|&(c, s)| [(a, c), (b, s)]) {
            if rng.one_in(2) {
                continue;
            }
            let len = if rng.one_in(4) { rng.below(data.len() as u64) } else { 1 + rng.below(40) };
            let flags = SendFlags { more: rng.one_in(16), eor: rng.one_in(32), oob: rng.one_in(64) };
            // A full buffer is as good an answer as any: it is the same both ways.
            let _ = w.with(host, |st, now| st.tcp_send(now, conn, &data[..len as usize], flags));
        }
        // Often less than a round trip, sometimes longer than a time-out.
        let pause = if rng.one_in(20) { 2_000_000 } else { rng.below(4_000) };
        w.run_for(Duration::from_micros(pause));
        for &(c, s) in &connections {
            for (host, conn) in [(a, c), (b, s)] {
                if !rng.one_in(5) {
                    let _ = w.with(host, |st, now| st.tcp_recv(now, conn, &mut sink, RecvFlags::default()));
                }
            }
        }
        note_states(&w, hosts, &mut states);
    }
    let packets = packets.borrow().finish();
    Story::told(&w, hosts, packets, &states)
}

/// Where all is well most segments are expected, and where it is not, some; what is ordinary goes out in segments, not in units.
#[test]
fn transfers_with_and_without() {
    let short = play_both(worlds(40), transfers);
    assert!(short.expected * 4 > short.segments && short.ordinary * 10 > short.sent, "{short:?}");
}

/// Requests and answers, of which most are small writes.
#[test]
fn talks_with_and_without() {
    let short = play_both(worlds(30), talks);
    assert!(short.expected * 3 > short.segments && short.ordinary * 3 > short.sent, "{short:?}");
}

/// Worlds with settings, options and applications drawn at random, in which little is ordinary.
#[test]
fn a_swarm_with_and_without() {
    let short = play_both(worlds(20), |seed, predicts| live(seed, predicts, true));
    assert!(short.expected > 0 && short.ordinary > 0, "{short:?}");
}
