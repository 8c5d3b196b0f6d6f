//! Controllers on queues that mark: how much of the link they carry, how long the queue is, and who gets how much.

use core::time::Duration;

use finack_core::Instant;
use finack_core::settings::Congestion::{self, Dctcp, Prague, Reno};
use finack_core::settings::Settings;
use finack_sim::World;
use finack_sim::link::Path;
use finack_sim::world::Bulk;

use crate::units;

/// Bits a second of the narrow link.
const RATE: f64 = 50e6;
const ACCURATE: [(&str, &str); 1] = [("tcp_ecn", "3")];
const CLASSIC: [(&str, &str); 1] = [("tcp_ecn", "1")];
/// What flows have to settle, and for how long they are watched then.
const SETTLING: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(5);

#[derive(Debug)]
#[allow(dead_code, reason = "failures show all of it")]
struct Outcome {
    /// What each flow carried of the link, in payload bits of 1448 in 1500 bytes.
    shares: Vec<f64>,
    /// The names of the controllers that they had in the end.
    names: Vec<&'static str>,
    /// How long packets waited on average.
    wait: Duration,
    lost: u64,
    marked: u64,
}

/// A flow for each controller and round trip, from a host of its own each to one host, through a link with this queue.
fn compete(flows: &[(Congestion, u64)], queue: &str, change: &[(&str, &str)]) -> Outcome {
    let mut world = World::new(1, finack_sim::Link::new(Duration::ZERO));
    let mut settings = Settings::default();
    for (name, value) in change {
        settings.set(name, value).unwrap();
    }
    let (router, sink) = (world.router(), world.host(settings.clone(), units()));
    let narrow: Path = format!("rate=50mbit queue={queue}").parse().unwrap();
    let link = world.join(router, sink, &narrow)[0];
    let mut bulks: Vec<Bulk> = Vec::new();
    let mut ends = Vec::new();
    for (i, &(congestion, rtt_ms)) in flows.iter().enumerate() {
        let own = Settings { congestion, ..settings.clone() };
        let host = world.host(own, units());
        let path: Path = format!("delay={}us", rtt_ms * 500).parse().unwrap();
        world.join(host, router, &path);
        let (from, to) =
            world.connect(host, sink, 80 + i as u16, finack_core::options::SocketOptions::default());
        bulks.push(Bulk::new((host, from), (sink, to), None));
        ends.push((host, from));
    }
    let settled = world.now() + SETTLING;
    world.run_bulk(&mut bulks, settled);
    let before: Vec<u64> = bulks.iter().map(|b| b.read).collect();
    let first = *world.link_stats(link.there);
    let end: Instant = settled + WATCHED;
    world.run_bulk(&mut bulks, end);
    let last = *world.link_stats(link.there);
    let bits = WATCHED.as_secs_f64() * RATE * 1448.0 / 1500.0;
    let packets = (last.sent - first.sent).max(1) as u32;
    Outcome {
        shares: bulks.iter().zip(&before).map(|(b, before)| (b.read - before) as f64 * 8.0 / bits).collect(),
        names: ends
            .iter()
            .map(|&(h, c)| world.with(h, |s, now| s.tcp_info(now, c)).unwrap().congestion)
            .collect(),
        wait: (last.waited - first.waited) / packets,
        lost: last.dropped() - first.dropped(),
        marked: last.marked - first.marked,
    }
}

/// RFC 9331 4.3: on an L4S queue a scalable controller fills the link with hardly a queue and without a loss.
#[test]
fn prague_keeps_an_l4s_queue_short() {
    for rtt in [5, 20] {
        let o = compete(&[(Prague, rtt)], "200ms,dualpi2", &ACCURATE);
        assert!(o.shares[0] > 0.95, "{rtt} ms: {o:?}");
        assert!(o.wait < Duration::from_micros(1500), "{rtt} ms: {o:?}");
        assert!(o.lost == 0 && o.marked > 0, "{rtt} ms: {o:?}");
    }
}

/// RFC 9331 4.3 (4): flows share a queue evenly although the round trip of one is a third of the other's.
#[test]
fn prague_shares_evenly_whatever_the_round_trips() {
    let o = compete(&[(Prague, 8), (Prague, 24)], "200ms,dualpi2", &ACCURATE);
    let ratio = o.shares[0] / o.shares[1];
    assert!((0.5..2.0).contains(&ratio), "{o:?}");
    assert!(o.shares.iter().sum::<f64>() > 0.95, "{o:?}");
}

/// RFC 9331 4.3 (3): in a classic queue that marks, Prague leaves Reno its share.
#[test]
fn prague_leaves_reno_its_share_of_a_classic_queue() {
    let o = compete(&[(Prague, 20), (Reno, 20)], "200ms,codel,ecn", &ACCURATE);
    let ratio = o.shares[0] / o.shares[1];
    assert!((0.5..2.0).contains(&ratio), "{o:?}");
    assert!(o.shares.iter().sum::<f64>() > 0.85, "{o:?}");
}

/// RFC 9331 4.2: accurate feedback is a prerequisite. With a peer that has none the connection gets CUBIC, without ECT(1).
#[test]
fn prague_is_replaced_where_there_is_no_accurate_feedback() {
    for ecn in ["0", "1"] {
        let o = compete(&[(Prague, 20)], "50ms", &[("tcp_ecn", ecn)]);
        assert_eq!(o.names, ["cubic"], "{o:?}");
        assert!(o.shares[0] > 0.95, "{o:?}");
    }
}

/// RFC 8257 3.1, 3.3: on a queue that marks from a few packets on DCTCP fills the link, and flows share it; with classic
/// feedback (3.2) as with accurate.
#[test]
fn dctcp_fills_a_link_whose_queue_marks_early() {
    for change in [CLASSIC, ACCURATE] {
        let o = compete(&[(Dctcp, 4), (Dctcp, 4)], "200ms,step:20pkt,ecn", &change);
        assert!(o.shares.iter().sum::<f64>() > 0.95, "{o:?}");
        assert!(o.shares.iter().all(|share| (0.35..0.65).contains(share)), "{o:?}");
        assert!(o.lost == 0 && o.marked > 0, "{o:?}");
        // Twenty packets take 4.8 ms.
        assert!(o.wait < Duration::from_millis(7), "{o:?}");
    }
}
