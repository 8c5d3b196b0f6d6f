use core::net::{IpAddr, SocketAddr};
use std::cell::RefCell;
use std::rc::Rc;

use finack_core::settings::Congestion;

use super::*;
use crate::boxes::Running;
use crate::link::{Path, Why};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn path(text: &str) -> Path {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A device that takes units of 64 KiB and finishes checksums.
fn units() -> Capabilities {
    Capabilities { max_unit: 65_535, checksum_tx: true, udp_units: true, ..Capabilities::plain(1500) }
}

fn joined(seed: u64, text: &str) -> (World, HostId, HostId, Vec<LinkId>) {
    let mut w = World::new(seed, Hop::default());
    let (a, b) = (w.plain_host(), w.host(Settings::default(), units()));
    let links = w.join(a, b, &path(text));
    (w, a, b, links)
}

fn transfer(w: &mut World, a: HostId, b: HostId, there: u64, back: u64) {
    let (c, s) = w.connect(a, b, 80, SocketOptions::default());
    Transfer::new((a, c), (b, s), there, back).run(w, Duration::from_secs(600));
}

/// Packets take all links of a path, each with its own delay and rate.
#[test]
fn a_path_of_several_links() {
    let (mut w, a, b, links) =
        joined(1, "delay=3ms -> rate=10mbit delay=5ms back: rate=1mbit delay=7ms -> delay=2ms");
    assert_eq!(links.len(), 3);
    let start = w.now();
    w.connect(a, b, 80, SocketOptions::default());
    // The SYN, the SYN,ACK and the ACK: 10 ms there, 12 ms back, and what 60 bytes need: 48 us there, 480 us back.
    let took = w.now().since(start);
    assert!((ms(32)..ms(33)).contains(&took), "{took:?}");
    assert_eq!(w.link_stats(links[1].there).sent, w.link_stats(links[0].there).sent);
}

/// Streams pass every kind of box whole and in order, with losses beside.
#[test]
fn streams_pass_boxes() {
    let boxes = [
        "nat(idle=60s)",
        "nat(keep-ports)",
        "firewall(idle=60s)",
        "firewall(syn=lose-first)",
        "strip(ts,sackok)",
        "strip(wscale,mss)",
        "mss(600)",
        "window(3000)",
        "seq",
        "seq(not-sack)",
        "split(500)",
        "merge(6000,hold=2ms)",
        "ecn(bleach)",
        "ecn(force=10%)",
        "ecn(clear-syn-flags)",
        "seq -> split(700) -> merge(3000) -> nat -> firewall",
    ];
    for (seed, text) in (1..).zip(boxes) {
        let text = format!("delay=5ms rate=20mbit loss=1% -> {text} -> delay=5ms loss=1% reorder=1%,3ms");
        let (mut w, a, b, _) = joined(seed, &text);
        transfer(&mut w, a, b, 150_000, 40_000);
    }
}

/// Behind a NAT the server sees the NAT's address; once the mapping has ended, what the server sends is lost, and what the
/// client sends comes from a port that the server does not know: it answers with a RST, and the client is told.
#[test]
fn a_nat_that_forgets_breaks_a_connection() {
    let (mut w, a, b, _) = joined(1, "delay=1ms -> nat(idle=30s) -> delay=1ms");
    let (c, s) = w.connect(a, b, 80, SocketOptions::default());
    let outside = w.stack(b).tcp_remote_addr(s).unwrap();
    assert_eq!(outside.ip(), IpAddr::from([100, 64, 0, 1]));
    let (_, nat, _) = w.pipes().find(|(_, from, _)| matches!(from, Node::Router(_))).unwrap();
    assert!(matches!(w.box_at(nat), Some(Running::Nat(n)) if n.len() == 1));
    w.run_for(Duration::from_secs(40));
    w.with(a, |s, now| s.tcp_send(now, c, b"still there?", Default::default())).unwrap();
    w.run_for(Duration::from_secs(1));
    let error = w.with(a, |s, _| s.tcp_take_error(c));
    assert_eq!(error, Ok(Some(finack_core::Error::ConnectionReset)));
}

/// RFC 1191, RFC 5508: behind a NAT path MTU discovery works, for the NAT translates what the ICMP message quotes.
#[test]
fn path_mtu_discovery_through_a_nat() {
    let (mut w, a, b, links) = joined(1, "delay=1ms -> nat -> delay=1ms -> delay=1ms mtu=1300");
    transfer(&mut w, a, b, 200_000, 0);
    let too_big = w.link_stats(links[2].there).too_big;
    assert!((1..30).contains(&too_big), "{too_big} packets did not fit");
}

/// Flows that share a bottleneck fill it and share it.
#[test]
fn a_dumbbell() {
    let mut w = World::new(3, Hop::default());
    let hosts = |w: &mut World| -> Vec<HostId> { (0..4).map(|_| w.plain_host()).collect() };
    let (near, far) = (hosts(&mut w), hosts(&mut w));
    let access = |i: usize| path(&format!("rate=100mbit delay={}ms queue=1bdp", 1 + i));
    let links = w.dumbbell(&near, &far, access, &path("rate=10mbit delay=10ms queue=1bdp"));
    let mut flows = Vec::new();
    for (a, b) in near.iter().zip(&far) {
        let (c, s) = w.connect(*a, *b, 80, SocketOptions::default());
        flows.push(Bulk::new((*a, c), (*b, s), None));
    }
    let end = w.now() + Duration::from_secs(10);
    assert!(!w.run_bulk(&mut flows, end), "they have no end");
    let all: u64 = flows.iter().map(|f| f.read).sum();
    let most = 10_000_000 / 8 * 10;
    assert!(all < most && all > most * 9 / 10, "{all} of {most} bytes");
    assert!(
        flows.iter().all(|f| f.read > all / 20),
        "{:?}",
        flows.iter().map(|f| f.read).collect::<Vec<_>>()
    );
    let stats = w.link_stats(links[0].there);
    assert!(stats.full > 0 && stats.longest_wait > ms(10), "{stats:?}");
}

/// Equal seeds give equal runs, with boxes and queues that draw; a run without checks is the same run.
#[test]
fn a_seed_is_a_run() {
    let run = |seed: u64, unchecked: bool| {
        let text = "rate=10mbit delay=9ms loss=burst:1%,3 jitter=1ms queue=100pkt,fqcodel -> nat -> delay=1ms corrupt=0.5%";
        let mut w = World::new(seed, Hop::default());
        if unchecked {
            w.unchecked();
        }
        let (a, b) = (w.host(Settings::default(), units()), w.host(Settings::default(), units()));
        w.join_received_for(b, Duration::from_micros(100));
        let links = w.join(a, b, &path(text));
        let (c, s) = w.connect(a, b, 80, SocketOptions::default());
        let mut flows = [Bulk::new((a, c), (b, s), Some(3_000_000))];
        let end = w.now() + Duration::from_secs(60);
        assert!(w.run_bulk(&mut flows, end), "{flows:?}");
        (w.now(), w.packets_sent(), *w.link_stats(links[0].there), w.ladder())
    };
    let (now, packets, stats, ladder) = run(5, false);
    assert_eq!(run(5, false), (now, packets, stats, ladder));
    let fast = run(5, true);
    assert_eq!((fast.0, fast.1, fast.2), (now, packets, stats));
    assert_ne!(run(6, false).1, packets);
}

/// Observers see each packet enter, and each leave or get lost, as the link counts them; samples come at their times.
#[test]
fn taps_and_samples() {
    let (mut w, a, b, links) = joined(2, "rate=5mbit delay=10ms loss=2% queue=20pkt");
    let seen = Rc::new(RefCell::new([0_u64; 4]));
    let (count, pipe) = (Rc::clone(&seen), links[0].there);
    w.tap(move |packet| {
        let i = match packet.sight {
            Sight::Sent => 0,
            Sight::Arrived | Sight::Marked => 1,
            Sight::Lost(Why::Loss) => 2,
            Sight::Lost(_) => 3,
        };
        count.borrow_mut()[i] += u64::from(packet.pipe == pipe);
    });
    let (c, s) = w.connect(a, b, 80, SocketOptions::default());
    let series = w.sample(a, c, ms(100));
    let lengths = Rc::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&lengths);
    w.every(ms(50), move |w| into.borrow_mut().push(w.backlog(pipe).0));
    let mut flows = [Bulk::new((a, c), (b, s), None)];
    let end = w.now() + Duration::from_secs(5);
    w.run_bulk(&mut flows, end);
    let stats = *w.link_stats(pipe);
    let [sent, arrived, lost, full] = *seen.borrow();
    assert_eq!((sent, lost, full), (stats.offered, stats.lost, stats.full));
    assert!(arrived <= stats.sent && arrived + 100 > stats.sent, "{arrived} of {stats:?}");
    assert!(lost > 0);
    let samples = &w.series(series).samples;
    assert_eq!(samples.len(), 51, "one at the beginning, and one every 100 ms");
    assert!(samples.windows(2).all(|s| s[1].0.since(s[0].0) == ms(100)));
    assert!(samples.iter().any(|(_, info)| info.cwnd != samples[0].1.cwnd));
    assert_eq!(lengths.borrow().len(), 100);
    assert!(lengths.borrow().iter().any(|&len| len > 0));
}

/// CE set by a queue reaches the receiver; a queue of L4S marks ECT(1).
#[test]
fn marks_reach_the_receiver() {
    let (mut w, a, b, links) = joined(4, "rate=5mbit delay=5ms queue=100pkt,step:3pkt");
    let marked = Rc::new(RefCell::new(0_u64));
    let count = Rc::clone(&marked);
    w.tap(move |packet| {
        if packet.sight == Sight::Marked {
            assert_eq!(packet.bytes[1] & 3, 3);
            *count.borrow_mut() += 1;
        }
    });
    // As ECN-capable as ICMP echoes and UDP are: whoever sets the field.
    let from = SocketAddr::new(w.v4(a), 7);
    let to = SocketAddr::new(w.v4(b), 9);
    w.with(a, |s, now| {
        let socket = s.udp_bind(from, BindOptions::default()).unwrap();
        s.udp_set_tos(socket, 2).unwrap();
        for _ in 0..20 {
            s.udp_send(now, socket, Some(to), &[0; 1000]).unwrap();
        }
    });
    w.run_for(Duration::from_secs(1));
    assert_eq!(w.link_stats(links[0].there).marked, *marked.borrow());
    assert_eq!(
        *marked.borrow(),
        16,
        "the first finds none waiting, the fourth three, which is not more than three"
    );
}

/// RFC 3168: over a queue that marks, a connection with ECN gives way to marks and loses nothing to its management.
#[test]
fn a_queue_that_marks_instead_of_dropping() {
    let mut w = World::new(6, Hop::default());
    let ecn = Settings { tcp_ecn: 1, ..Settings::default() };
    let (a, b) = (w.host(ecn.clone(), units()), w.host(ecn, units()));
    let links = w.join(a, b, &path("rate=20mbit delay=10ms queue=500pkt,codel,ecn"));
    let (c, s) = w.connect(a, b, 80, SocketOptions::default());
    let mut flows = [Bulk::new((a, c), (b, s), None)];
    let end = w.now() + Duration::from_secs(20);
    w.run_bulk(&mut flows, end);
    let stats = w.link_stats(links[0].there);
    assert!(stats.marked > 3 && stats.early == 0, "{stats:?}");
    assert!(flows[0].read > 20_000_000 / 8 * 20 * 85 / 100, "{} bytes, {stats:?}", flows[0].read);
    assert!(stats.waited / (stats.sent as u32) < ms(15), "{stats:?}");
}

/// RFC 9332 1.1, 4: over a dual queue a scalable flow and a classic one share the link about equally, and the scalable one's
/// packets wait much less.
#[test]
fn a_dual_queue_is_shared() {
    let mut w = World::new(7, Hop::default());
    let host = |w: &mut World| w.host(Settings { tcp_ecn: 3, ..Settings::default() }, units());
    let (near, far) = ([host(&mut w), host(&mut w)], [host(&mut w), host(&mut w)]);
    let links =
        w.dumbbell(&near, &far, |_| path("delay=1ms"), &path("rate=20mbit delay=4ms queue=1000pkt,dualpi2"));
    let mut flows = Vec::new();
    for (i, congestion) in [Congestion::Prague, Congestion::Cubic].into_iter().enumerate() {
        let options = SocketOptions { congestion: Some(congestion), ..SocketOptions::default() };
        let (c, s) = w.connect(near[i], far[i], 80, options);
        flows.push((c, Bulk::new((near[i], c), (far[i], s), None)));
    }
    let conns = [flows[0].0, flows[1].0];
    let mut flows: Vec<Bulk> = flows.into_iter().map(|(_, bulk)| bulk).collect();
    let end = w.now() + Duration::from_secs(20);
    w.run_bulk(&mut flows, end);
    let read = [flows[0].read, flows[1].read];
    let rtt = [0, 1].map(|i| w.stack(near[i]).tcp_info(w.now(), conns[i]).unwrap().srtt);
    let stats = w.link_stats(links[0].there);
    let all: u64 = read.iter().sum();
    assert!(all > 20_000_000 / 8 * 20 * 85 / 100, "{read:?}, {stats:?}");
    assert!(read.iter().all(|&r| r > all / 4), "{read:?}, {rtt:?}, {stats:?}");
    assert!(rtt[0] + ms(3) < rtt[1], "{rtt:?}");
}
