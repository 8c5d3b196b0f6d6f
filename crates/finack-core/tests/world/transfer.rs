//! Transfers over links that lose, repeat, reorder and corrupt.

use core::net::SocketAddr;
use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::SocketOptions;
use finack_core::settings::Settings;
use finack_sim::rng::Rng;
use finack_sim::seeds;
use finack_sim::world::Transfer;
use finack_sim::{Link, Verdict, World};

use super::{expect_nothing_left, options, pair, units};

const HOUR: Duration = Duration::from_secs(3600);

fn lossy(rng: &mut Rng) -> Link {
    let mut link = Link::new(Duration::from_micros(rng.below(60_000)));
    link.loss = rng.below(100_000) as u32;
    link.duplicate = rng.below(50_000) as u32;
    link.reorder = rng.below(200_000) as u32;
    link.corrupt = rng.below(20_000) as u32;
    link.hold = Duration::from_micros(1 + rng.below(80_000));
    if rng.one_in(2) {
        link.rate = Some(1_000_000 + rng.below(100_000_000));
    }
    link
}

/// Whatever the link does, both byte streams arrive whole and in order, and at the end nothing is left on either side.
#[test]
fn streams_survive_any_link() {
    seeds::for_each(60, |seed| {
        let mut rng = Rng::new(seed);
        let device = if seed % 2 == 0 { units() } else { Capabilities::plain(1500) };
        let link = lossy(&mut rng);
        let (mut w, a, b) = pair(seed, link, device);
        let (c, s) = w.connect(a, b, 80, SocketOptions::default());
        let (there, back) = (rng.below(300_000), rng.below(100_000));
        Transfer::new((a, c), (b, s), there, back).run(&mut w, HOUR);
        expect_nothing_left(&mut w, [a, b]);
    });
}

/// The same without timestamps, SACK and window scale.
#[test]
fn streams_survive_without_options() {
    seeds::for_each(30, |seed| {
        let mut rng = Rng::new(seed ^ 0x5555);
        let settings = Settings {
            tcp_sack: rng.below(2),
            tcp_timestamps: rng.below(2),
            tcp_window_scaling: rng.below(2),
            ..Settings::default()
        };
        let mut w = World::new(seed, lossy(&mut rng));
        let a = w.host(settings, Capabilities::plain(1500));
        let b = w.host(Settings::default(), Capabilities::plain(576 + rng.below(2000) as usize));
        let (c, s) = w.connect(a, b, 80, options());
        Transfer::new((a, c), (b, s), rng.below(200_000), rng.below(200_000)).run(&mut w, HOUR);
        expect_nothing_left(&mut w, [a, b]);
    });
}

/// With the RFC's profile too.
#[test]
fn streams_survive_with_the_rfc_profile() {
    seeds::for_each(20, |seed| {
        let mut rng = Rng::new(seed ^ 0xaaaa);
        let mut settings = Settings::default();
        settings.set("finack.profile", "rfc").unwrap();
        let mut w = World::new(seed, lossy(&mut rng));
        let a = w.host(settings.clone(), Capabilities::plain(1500));
        let b = w.host(settings, units());
        let (c, s) = w.connect(a, b, 80, options());
        Transfer::new((a, c), (b, s), rng.below(200_000), rng.below(200_000)).run(&mut w, HOUR);
        expect_nothing_left(&mut w, [a, b]);
    });
}

/// Equal seeds give equal runs, packet for packet.
#[test]
fn a_seed_reproduces_a_run() {
    let run = |seed| {
        let mut rng = Rng::new(seed);
        let (mut w, a, b) = pair(seed, lossy(&mut rng), units());
        let (c, s) = w.connect(a, b, 80, SocketOptions::default());
        Transfer::new((a, c), (b, s), 100_000, 10_000).run(&mut w, HOUR);
        (w.now(), w.packets_sent(), w.packets_lost(), w.ladder())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

/// RFC 9293 3.7.4: a faultless link loses no time: 20 MB over 100 Mbit/s and 20 ms take little more than the line needs.
#[test]
fn a_clean_link_is_filled() {
    let mut link = Link::new(Duration::from_millis(10));
    link.rate = Some(100_000_000);
    let (mut w, a, b) = pair(1, link, units());
    let big = SocketOptions {
        send_buffer: Some(4_000_000),
        recv_buffer: Some(4_000_000),
        ..SocketOptions::default()
    };
    let (c, s) = w.connect(a, b, 80, big);
    let start = w.now();
    let mut t = Transfer::new((a, c), (b, s), 20_000_000, 0);
    t.chunk = 1 << 20;
    t.run(&mut w, Duration::from_secs(60));
    let took = w.now().since(start);
    assert!(took < Duration::from_millis(3500), "1.6 s on the wire, {took:?} in all");
}

/// One percent of loss costs throughput but no collapse: 10 MB at 20 ms round trip within 30 s.
#[test]
fn loss_is_recovered_without_collapse() {
    let mut link = Link::new(Duration::from_millis(10));
    link.loss = 10_000;
    link.rate = Some(100_000_000);
    let (mut w, a, b) = pair(3, link, units());
    let (c, s) = w.connect(a, b, 80, options());
    let start = w.now();
    Transfer::new((a, c), (b, s), 10_000_000, 0).run(&mut w, Duration::from_secs(300));
    let took = w.now().since(start);
    assert!(took < Duration::from_secs(30), "{took:?}");
}

/// The network is gone for a minute in the middle of a transfer: it goes on where it stopped.
#[test]
fn a_blackout() {
    let (mut w, a, b) = pair(1, Link::new(Duration::from_millis(10)), Capabilities::plain(1500));
    let (c, s) = w.connect(a, b, 80, SocketOptions::default());
    let start = w.now();
    w.fault(move |p| {
        let since = p.now.since(start);
        if since > Duration::from_millis(50) && since < Duration::from_secs(60) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    });
    Transfer::new((a, c), (b, s), 1_000_000, 1_000_000).run(&mut w, Duration::from_secs(300));
    assert!(w.now().since(start) > Duration::from_secs(60));
}

/// RFC 1191: a link with a smaller MTU in the way: the transfer adapts; no congestion response is due to that (the receiver sees no loss
/// beyond the first flight).
#[test]
fn a_smaller_mtu_on_the_way() {
    for device in [Capabilities::plain(1500), units()] {
        let mut link = Link::new(Duration::from_millis(5));
        link.mtu = 1300;
        let (mut w, a, b) = pair(1, link, device);
        let (c, s) = w.connect(a, b, 80, options());
        Transfer::new((a, c), (b, s), 500_000, 500_000).run(&mut w, Duration::from_secs(60));
        assert!(w.packets_lost() < 60, "{} packets did not fit", w.packets_lost());
    }
}

/// RFC 4821, RFC 9293 SHLD-10, tcp_mtu_probing = 1: the link says nothing of its MTU: after a few time-outs smaller segments are tried.
#[test]
fn a_black_hole() {
    let mut link = Link::new(Duration::from_millis(5));
    link.mtu = 1300;
    link.black_hole = true;
    let settings = Settings { tcp_mtu_probing: 1, ..Settings::default() };
    let mut w = World::new(1, link);
    let a = w.host(settings.clone(), Capabilities::plain(1500));
    let b = w.host(settings, Capabilities::plain(1500));
    let (c, s) = w.connect(a, b, 80, options());
    Transfer::new((a, c), (b, s), 200_000, 0).run(&mut w, Duration::from_secs(600));
}

/// Every third ACK is lost, then every second: ACKs are cumulative.
#[test]
fn lost_acks() {
    for nth in [3, 2] {
        let (mut w, a, b) = pair(1, Link::new(Duration::from_millis(10)), Capabilities::plain(1500));
        let (c, s) = w.connect(a, b, 80, SocketOptions::default());
        let mut acks = 0;
        w.fault(move |p| {
            let pure = p.packet.as_tcp().is_some_and(|t| t.payload.is_empty() && t.flags == 0x10);
            acks += u64::from(pure);
            if pure && acks % nth == 0 { Verdict::Drop } else { Verdict::Pass }
        });
        Transfer::new((a, c), (b, s), 500_000, 0).run(&mut w, Duration::from_secs(120));
    }
}

/// Each single packet of a short exchange in turn is lost, repeated or late: it always ends well, and nothing is left.
#[test]
fn each_packet_in_turn() {
    for verdict in [Verdict::Drop, Verdict::Duplicate, Verdict::Delay(Duration::from_millis(35))] {
        for nth in 1..40 {
            let (mut w, a, b) = pair(7, Link::new(Duration::from_millis(10)), Capabilities::plain(1500));
            w.fault(move |p| if p.total == nth { verdict } else { Verdict::Pass });
            let (c, s) = w.connect(a, b, 80, SocketOptions::default());
            Transfer::new((a, c), (b, s), 20_000, 5_000).run(&mut w, Duration::from_secs(60));
            expect_nothing_left(&mut w, [a, b]);
        }
    }
}

/// Each pair of packets among the first is lost.
#[test]
fn each_pair_of_packets() {
    for first in 1..16 {
        for second in first + 1..18 {
            let (mut w, a, b) = pair(7, Link::new(Duration::from_millis(10)), Capabilities::plain(1500));
            w.fault(
                move |p| if p.total == first || p.total == second { Verdict::Drop } else { Verdict::Pass },
            );
            let (c, s) = w.connect(a, b, 80, SocketOptions::default());
            Transfer::new((a, c), (b, s), 4_000, 1_000).run(&mut w, Duration::from_secs(120));
            expect_nothing_left(&mut w, [a, b]);
        }
    }
}

/// Sixty connections at once over one bad link do not disturb each other.
#[test]
fn many_at_once() {
    let mut rng = Rng::new(9);
    let (mut w, a, b) = pair(9, lossy(&mut rng), units());
    let mut transfers: Vec<Transfer> = (0..60)
        .map(|i| {
            let (c, s) = w.connect(a, b, 1000 + i, SocketOptions::default());
            Transfer::new((a, c), (b, s), rng.below(50_000), rng.below(50_000))
        })
        .collect();
    w.run_until(HOUR, |w| {
        transfers.iter_mut().filter(|t| !t.is_done()).for_each(|t| t.poll(w));
        transfers.iter().all(Transfer::is_done)
    });
    for t in transfers {
        t.run(&mut w, HOUR);
    }
    expect_nothing_left(&mut w, [a, b]);
}

/// The same load again and again: what is kept for use again reaches the most that the lossy link ever made of it at once,
/// and then stays.
#[test]
fn the_same_load_takes_the_same_memory() {
    let mut rng = Rng::new(4);
    let (mut w, a, b) = pair(4, lossy(&mut rng), units());
    let reuse = SocketOptions { reuse_addr: true, ..options() };
    let mut kept = Vec::new();
    for _ in 0..24 {
        let transfers: Vec<Transfer> = (0..5)
            .map(|i| {
                let (c, s) = w.connect(a, b, 80 + i, reuse);
                Transfer::new((a, c), (b, s), 300_000, 100_000)
            })
            .collect();
        transfers.into_iter().for_each(|t| t.run(&mut w, HOUR));
        expect_nothing_left(&mut w, [a, b]);
        kept.push(w.stack(a).memory() + w.stack(b).memory());
    }
    let most = kept[..12].iter().max().unwrap();
    assert!(kept[12..].iter().all(|k| *k <= most + 200_000), "memory after each round: {kept:?}");
}

/// The same over IPv6, with a path MTU below the devices'.
#[test]
fn streams_survive_any_link_v6() {
    seeds::for_each(30, |seed| {
        let mut rng = Rng::new(seed ^ 0x6666);
        let mut link = lossy(&mut rng);
        link.mtu = 1280 + rng.below(500) as usize;
        let device = if seed % 2 == 0 { units() } else { Capabilities::plain(1500) };
        let (mut w, a, b) = pair(seed, link, device);
        let to = SocketAddr::new(w.v6(b), 80);
        let (c, s) = w.connect_to(a, b, to, options());
        Transfer::new((a, c), (b, s), rng.below(300_000), rng.below(100_000)).run(&mut w, HOUR);
        expect_nothing_left(&mut w, [a, b]);
    });
}

/// A device that joins what it receives (GRO) and takes batches changes nothing about the bytes, and far fewer ACKs come back
/// than segments went.
#[test]
fn joined_segments() {
    let mut link = Link::new(Duration::from_millis(10));
    for loss in [0, 5000] {
        link.loss = loss;
        let (mut w, a, b) = pair(2, link, units());
        w.join_received(a);
        w.join_received(b);
        let (c, s) = w.connect(a, b, 80, options());
        Transfer::new((a, c), (b, s), 3_000_000, 0).run(&mut w, Duration::from_secs(120));
        let (there, back) = (w.stack(a).counters().tcp_out_segs, w.stack(b).counters().tcp_out_segs);
        assert!(there > 2000, "{there} segments on the wire");
        assert!(back < there / 2, "{back} ACKs for {there} segments");
        let counted = w.stack(b).counters().tcp_in_segs;
        let told = format!("each wire segment: {counted} of {there}");
        assert!(counted + w.packets_lost() >= there && counted <= there, "{told}");
    }
}
