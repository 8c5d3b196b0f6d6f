use super::*;
use crate::link::{Chance, Loss, Rate, Trace};
use crate::queue::Queue;

const START: Instant = Instant::from_secs(1);
const FULL: Offer = Offer { size: 1250, ecn: Ecn::NotEct, flow: 0 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn pipe(text: &str) -> Pipe<u64> {
    Pipe::new(text.parse().expect("a link"), 7, 0, START)
}

/// What arrives, by number and time since the start, until nothing is left.
fn drain(pipe: &mut Pipe<u64>) -> Vec<(u64, Duration)> {
    let mut out = Vec::new();
    while let Some(at) = pipe.next() {
        while let Some(arrival) = pipe.pop(at) {
            assert_eq!(arrival.at, at, "told to come back in time");
            out.push((arrival.item, arrival.at.since(START)));
        }
    }
    out
}

/// 10,000 bits at 1 Mb/s take 10 ms each; all of them travel for 5 ms.
#[test]
fn rate_and_delay() {
    let mut p = pipe("rate=1mbit delay=5ms queue=10pkt");
    for i in 0..3 {
        assert!(p.push(START, FULL, i).is_ok());
    }
    assert_eq!(p.backlog(START), (3, 3750, ms(30)));
    assert_eq!(p.backlog(START + ms(10)).0, 2);
    assert_eq!(drain(&mut p), [(0, ms(15)), (1, ms(25)), (2, ms(35))]);
    let mut p = pipe("rate=1mbit delay=5ms overhead=625");
    assert!(p.push(START, FULL, 0).is_ok());
    assert_eq!(drain(&mut p), [(0, ms(20))], "a frame takes its time too");
}

/// A plain queue drops what finds it full, by any of its limits; one packet always fits.
#[test]
fn a_plain_queue_is_full() {
    for (limit, fits) in [("3pkt", 3), ("4000b", 3), ("25ms", 3), ("1b", 1)] {
        let mut p = pipe(&format!("rate=1mbit queue={limit}"));
        let taken = (0..10).filter(|&i| p.push(START, FULL, i).is_ok()).count();
        assert_eq!((taken, p.stats().full), (fits, 10 - fits as u64), "{limit}");
    }
    let mut p = pipe("queue=1pkt");
    assert_eq!((0..10).filter(|&i| p.push(START, FULL, i).is_ok()).count(), 10, "without a rate none waits");
}

/// RFC 8257 3.1: what finds more than the threshold waiting is marked, where it is ECN-capable.
#[test]
fn a_step_marks() {
    let mut p = pipe("rate=1mbit queue=10pkt,step:2pkt");
    for i in 0..6 {
        let ecn = if i == 5 { Ecn::NotEct } else { Ecn::Ect0 };
        assert!(p.push(START, Offer { ecn, ..FULL }, i).is_ok());
    }
    let marked: Vec<bool> = core::iter::from_fn(|| p.pop(START + ms(100))).map(|a| a.marked).collect();
    assert_eq!(marked, [false, false, false, true, true, false]);
}

/// Jitter keeps the order unless it is told not to, and stays within its bounds.
#[test]
fn jitter() {
    for (text, ordered) in [("delay=10ms jitter=8ms", true), ("delay=10ms jitter=8ms,reorders", false)] {
        let mut p = pipe(text);
        let mut arrived = Vec::new();
        for i in 0..500 {
            let now = START + ms(i);
            assert!(p.push(now, FULL, i).is_ok());
            while let Some(a) = p.pop(now) {
                arrived.push((a.item, a.at.since(START)));
            }
        }
        arrived.extend(drain(&mut p));
        assert_eq!(arrived.is_sorted_by_key(|(i, _)| *i), ordered, "{text}");
        assert!(arrived.is_sorted_by_key(|(_, at)| *at));
        let late = arrived.iter().map(|(i, at)| *at - ms(*i));
        assert!(late.clone().all(|d| d >= ms(10) && d <= ms(18)));
        let sum: Duration = late.sum();
        assert!((ms(13)..ms(17)).contains(&(sum / 500)), "on average {:?}", sum / 500);
    }
}

/// A share of the packets is held back for the time that was said, so that those behind overtake them.
#[test]
fn reordering() {
    let mut p = pipe("delay=1ms reorder=10%,5ms");
    let mut arrived = Vec::new();
    for i in 0..5000 {
        assert!(p.push(START + ms(i), FULL, i).is_ok());
    }
    arrived.extend(drain(&mut p));
    let late = arrived.iter().filter(|(i, at)| *at - ms(*i) == ms(6)).count();
    let intime = arrived.iter().filter(|(i, at)| *at - ms(*i) == ms(1)).count();
    assert_eq!(late + intime, 5000);
    assert!((430..570).contains(&late), "{late} of 5000");
}

/// Duplicates follow their originals; damage flips one bit.
#[test]
fn duplicates_and_damage() {
    let mut p = pipe("duplicate=100% corrupt=100%");
    assert!(p.push(START, FULL, 4).is_ok());
    let both: Vec<Arrival<u64>> = core::iter::from_fn(|| p.pop(START)).collect();
    assert_eq!(both.iter().map(|a| a.item).collect::<Vec<_>>(), [4, 4]);
    let mut bytes = [0_u8; 100];
    both[0].flaw.expect("damaged").apply(&mut bytes);
    assert_eq!(bytes.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
}

#[test]
fn what_is_too_big() {
    let mut p = pipe("mtu=1200");
    assert_eq!(p.push(START, FULL, 1).expect_err("it does not fit").why, Why::TooBig);
    assert!(p.push(START, Offer { size: 1200, ..FULL }, 2).is_ok());
}

fn losses(loss: &str, seed: u64, direction: u64, count: u64) -> Vec<u64> {
    let hop: Hop = format!("loss={loss}").parse().expect("a link");
    let mut p: Pipe<u64> = Pipe::new(hop, seed, direction, START);
    (1..=count).filter(|&i| p.push(START, FULL, i).is_err()).collect()
}

/// The pattern is a function of seed, direction and number: whatever else the link does, whenever packets come.
#[test]
fn the_same_packets_are_lost() {
    for loss in ["1%", "burst:1%,5", "ge:1%,20%,90%,0.1%"] {
        let lost = losses(loss, 7, 0, 20_000);
        assert_eq!(losses(loss, 7, 0, 20_000), lost);
        assert_ne!(losses(loss, 8, 0, 20_000), lost);
        assert_ne!(losses(loss, 7, 1, 20_000), lost);
        let mut busy = pipe(&format!(
            "loss={loss} rate=1gbit delay=3ms jitter=1ms reorder=5%,1ms duplicate=1% corrupt=1% queue=100s,codel"
        ));
        let other: Vec<u64> = (1..=20_000)
            .filter(|&i| busy.push(START + ms(i), FULL, i).is_err_and(|l| l.why == Why::Loss))
            .collect();
        assert_eq!(other, lost, "{loss}");
    }
}

/// As many are lost as was said, in bursts as long as was said.
#[test]
fn loss_statistics() {
    let count = 200_000;
    for (loss, share) in [("1%", 0.01), ("0.1%", 0.001), ("burst:1%,5", 0.01), ("burst:3%,2", 0.03)] {
        let lost = losses(loss, 3, 0, count);
        let seen = lost.len() as f64 / count as f64;
        assert!((seen / share - 1.0).abs() < 0.15, "{loss}: {seen}");
        let bursts = 1 + lost.windows(2).filter(|w| w[1] != w[0] + 1).count();
        let mean = lost.len() as f64 / bursts as f64;
        let expected = if loss.starts_with("burst") { loss[loss.len() - 1..].parse().unwrap() } else { 1.01 };
        assert!((mean / expected - 1.0).abs() < 0.1, "{loss}: bursts of {mean}");
    }
    assert_eq!(losses("every:100", 1, 0, 350), [100, 200, 300]);
    assert_eq!(losses("list:9,3,4", 1, 0, 20), [3, 4, 9]);
    assert_eq!(losses("100%", 1, 0, 5).len(), 5);
    assert_eq!(losses("none", 1, 0, 500), []);
    let ge = Loss::GilbertElliott {
        to_bad: Chance::percent(1.0),
        to_good: Chance::percent(20.0),
        in_bad: Chance::percent(90.0),
        in_good: Chance::percent(0.1),
    };
    let seen = losses("ge:1%,20%,90%,0.1%", 5, 0, count).len() as f64 / count as f64;
    assert!((seen / ge.share() - 1.0).abs() < 0.1, "{seen} of {}", ge.share());
}

/// A Mahimahi trace: 1504 bytes at each of its times, again and again; several small packets share one time, a large one
/// takes several; a time at which nothing waits is lost.
#[test]
fn a_trace() {
    let trace = Trace::parse("2\n5\n5\n10\n").expect("a trace");
    assert_eq!((trace.opportunities(), trace.period()), (4, ms(10)));
    let hop = Hop { rate: Rate::Trace(trace.into()), ..Hop::default() };
    let mut p: Pipe<u64> = Pipe::new(hop.queue(Queue::packets(100)), 1, 0, START);
    for i in 0..6 {
        assert!(p.push(START, Offer { size: 1504, ..FULL }, i).is_ok());
    }
    let times: Vec<u64> = drain(&mut p).iter().map(|(_, at)| at.as_millis() as u64).collect();
    assert_eq!(times, [2, 5, 5, 10, 12, 15]);
    // At 16 ms the second 15 has passed; two small packets share 20 ms, and a large one needs 22 ms and 25 ms.
    let now = START + ms(16);
    for (i, size) in [(6, 700), (7, 700), (8, 1704)] {
        assert!(p.push(now, Offer { size, ..FULL }, i).is_ok());
    }
    assert_eq!(drain(&mut p), [(6, ms(20)), (7, ms(20)), (8, ms(25))]);
    // What those left of 25 ms is gone: a whole packet takes the next time, and takes all of it.
    assert!(p.push(START + ms(26), Offer { size: 1504, ..FULL }, 9).is_ok());
    assert_eq!(drain(&mut p), [(9, ms(30))]);
}

/// What is wrong with a trace is said in one line, with the line's number.
#[test]
fn bad_traces() {
    for (text, told) in [
        ("", "line 1: the trace is empty: it needs one number of milliseconds a line"),
        ("1\nx\n", "line 2: \"x\" is no number of milliseconds"),
        ("1\n-5\n", "line 2: \"-5\" is no number of milliseconds"),
        ("4\n\n3\n", "line 3: 3 ms comes after 4 ms: times must not go back"),
        ("0\n0\n", "line 1: all times are 0 ms: the last one says how long the trace is"),
    ] {
        assert_eq!(Trace::parse(text), Err(told.into()));
    }
}

/// A link that becomes another: what is on the wire arrives first.
#[test]
fn a_link_changes() {
    let mut p = pipe("delay=10ms");
    assert!(p.push(START, FULL, 1).is_ok());
    p.set_hop("delay=1ms".parse().expect("a link"), START);
    assert!(p.push(START, FULL, 2).is_ok());
    assert_eq!(drain(&mut p), [(1, ms(10)), (2, ms(10))]);
}
