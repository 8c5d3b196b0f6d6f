//! Engines in memory: both hosts in one thread, a copying link, no system call.

use std::cell::RefCell;
use std::time::Duration;

use crate::bare::BareHosts;
use crate::bulk;
use crate::measure::{Comparison, Options, Role, Subject, compare, rate};
use crate::pair::{BATCH, Pair, Setup};
use crate::peers::{ipstack, lwip, pktkit, smoltcp};

/// Virtual time that passes in a round of packets.
pub const ROUND: Duration = Duration::from_micros(10);
/// Bytes of send and receive buffers where packets are of 1500 bytes: all of it stays in the cache.
pub const BUFFERS: usize = 128 << 10;

/// Everything in memory.
pub fn all(options: &Options) -> Vec<Comparison> {
    let mut lines = Vec::new();
    let mut case = |name: &str, run: &dyn Fn(&str) -> Comparison| {
        if options.wants(name) {
            let line = run(name);
            line.print();
            lines.push(line);
        }
    };
    case(bulk::SMALL, &|name| bulk::small(name, options));
    case(bulk::SUMMED, &|name| bulk::summed(name, options));
    case(bulk::OFFLOADED, &|name| bulk::offloaded(name, options));
    case(bulk::IN_PLACE, &|name| bulk::in_place(name, options));
    case("1-byte request/response", &|name| round_trips(name, options));
    case("open + request + close", &|name| lives(name, options));
    let most = if options.quick { 10_000 } else { 1_000_000 };
    for connections in [1, 1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|&n| n <= most) {
        let name = format!("packet to a random one of {connections} connections");
        case(&name, &|name| random(name, options, connections));
    }
    lines
}

fn round_trips(name: &str, options: &Options) -> Comparison {
    let mut pair = Pair::new(&Setup::plain(1500, BUFFERS));
    let (client, server) = pair.open();
    let finack = move |length| {
        rate(length, || {
            pair.round_trip(client, server);
            pair.pass(ROUND);
            1
        })
    };
    let mut hosts = BareHosts::new(1);
    let bare = move |length| {
        rate(length, || {
            hosts.round_trip(0);
            1
        })
    };
    let mut subjects =
        vec![Subject::new("finack", Role::Finack, finack), Subject::new("bare loop", Role::Bare, bare)];
    if !options.alone {
        let mut pair = smoltcp::Pair::new(1500, BUFFERS, true);
        let ends = pair.open();
        let smoltcp = move |length| {
            rate(length, || {
                pair.round_trip(ends);
                1
            })
        };
        subjects.push(Subject::new("smoltcp 0.14.0", Role::Peer, smoltcp));
        let mut pair = pktkit::Pair::open();
        let pktkit = move |length| {
            rate(length, || {
                pair.round_trip();
                1
            })
        };
        subjects.push(Subject::new("pktkit 0.1.11 (no IP, no checksum)", Role::Peer, pktkit));
        push_lwip(&mut subjects, "lwIP 2.1.3 (Debian)", |length| lwip::round_trips(length.as_secs_f64()));
        push_ipstack(&mut subjects, |pair, length| pair.round_trips(length));
    }
    finish(name, "round trips/s", true, options, subjects)
}

/// A pair that keeps `standing` connections in TIME-WAIT, of which 1 is as good as none: virtual time passes as fast as that
/// needs.
fn finack_lives(standing: u32) -> impl FnMut(Duration) -> f64 + use<> {
    // Four-tuples must suffice for all that stand.
    let listeners = (standing / 30_000 + 1) as u16;
    let mut pair = Pair::new(&Setup { listeners, ..Setup::plain(1500, BUFFERS) });
    let step = Duration::from_secs(60) / standing;
    for _ in 0..standing {
        pair.whole_life();
        pair.pass(step);
    }
    move |length| {
        rate(length, || {
            pair.whole_life();
            pair.pass(step);
            1
        })
    }
}

fn lives(name: &str, options: &Options) -> Comparison {
    let mut subjects = vec![
        Subject::new("finack, 100,000 in TIME-WAIT", Role::Finack, finack_lives(100_000)),
        Subject::new("finack, none in TIME-WAIT", Role::Bare, finack_lives(1)),
        Subject::new("finack, 1,000 in TIME-WAIT", Role::Bare, finack_lives(1_000)),
    ];
    if !options.quick {
        for (name, standing) in
            [("finack, 1,000,000 in TIME-WAIT", 1_000_000), ("finack, 10,000,000 in TIME-WAIT", 10_000_000)]
        {
            subjects.push(Subject::new(name, Role::Bare, finack_lives(standing)));
        }
    }
    let mut hosts = BareHosts::new(0);
    let bare = move |length| {
        rate(length, || {
            hosts.life();
            1
        })
    };
    subjects.push(Subject::new("bare loop, 8 packets", Role::Bare, bare));
    if !options.alone {
        let mut pair = smoltcp::Pair::new(1500, 2048, true);
        let ends = pair.open();
        let smoltcp = move |length| {
            rate(length, || {
                pair.whole_life(ends);
                1
            })
        };
        subjects.push(Subject::new("smoltcp 0.14.0, TIME-WAIT dropped", Role::Peer, smoltcp));
        let pktkit = |length| {
            rate(length, || {
                pktkit::Pair::whole_life();
                1
            })
        };
        subjects.push(Subject::new("pktkit 0.1.11, TIME-WAIT dropped", Role::Peer, pktkit));
        push_lwip(&mut subjects, "lwIP 2.1.3, TIME-WAIT dropped", |length| {
            lwip::lives(length.as_secs_f64(), false)
        });
        push_lwip(&mut subjects, "lwIP 2.1.3, 0 to 10,000 in TIME-WAIT", |length| {
            lwip::lives(length.as_secs_f64(), true)
        });
    }
    finish(name, "connections/s", true, options, subjects)
}

/// xorshift: which connection is next must cost nothing and be the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// Chooses `count` different ones; `marks` has a place for each, none of them set, before and after.
    fn different(&mut self, count: usize, marks: &mut [bool], mut choose: impl FnMut(usize)) {
        let mut chosen = [0; BATCH];
        for place in chosen.iter_mut().take(count) {
            loop {
                *place = self.below(marks.len());
                if !std::mem::replace(&mut marks[*place], true) {
                    break;
                }
            }
            choose(*place);
        }
        for place in chosen.into_iter().take(count) {
            marks[place] = false;
        }
    }
}

/// Nanoseconds a packet, over the packets that `step` says it carried.
fn nanos_per_packet(length: Duration, mut step: impl FnMut() -> u64) -> f64 {
    1e9 / rate(length, &mut step)
}

fn random(name: &str, options: &Options, connections: usize) -> Comparison {
    let listeners = (connections / 30_000 + 1) as u16;
    let mut pair = Pair::new(&Setup { listeners, ..Setup::plain(1500, BUFFERS) });
    let ends: Vec<_> = (0..connections).map(|_| pair.open()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Both take turns with the same hosts: two of them with a million connections each would be too many.
    let pair = RefCell::new(pair);
    let one_by_one = |length| {
        let mut pair = pair.borrow_mut();
        nanos_per_packet(length, || {
            let (client, server) = ends[random.below(ends.len())];
            let packets = pair.round_trip(client, server);
            pair.pass(ROUND);
            packets + pair.settle()
        })
    };
    let mut subjects = vec![
        Subject::new("finack, one by one", Role::Finack, one_by_one),
        Subject::new("bare loop", Role::Bare, bare_random(connections, 1)),
        Subject::new("bare loop, in batches of 32", Role::Bare, bare_random(connections, 32)),
    ];
    if connections >= 10 * BATCH {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let (mut chosen, mut batch) = (vec![false; connections], Vec::with_capacity(BATCH));
        let (pair, ends) = (&pair, &ends);
        let together = move |length| {
            let mut pair = pair.borrow_mut();
            nanos_per_packet(length, || {
                random.different(BATCH, &mut chosen, |i| batch.push(ends[i]));
                let packets = pair.round_trips(&batch);
                batch.clear();
                pair.pass(ROUND);
                packets + pair.settle()
            })
        };
        subjects.push(Subject::new("finack, in batches of 32", Role::Bare, together));
    }
    // Opening N connections costs the peers N² steps.
    let bearable = if options.quick { 1_000 } else { 10_000 };
    if !options.alone && connections <= bearable {
        let mut pair = smoltcp::Pair::new(1500, 2048, true);
        let ends: Vec<_> = (0..connections).map(|_| pair.open()).collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let smoltcp =
            move |length| nanos_per_packet(length, || pair.round_trip(ends[random.below(ends.len())]));
        subjects.push(Subject::new("smoltcp 0.14.0", Role::Peer, smoltcp));
        push_lwip(&mut subjects, "lwIP 2.1.3 (Debian)", move |length| {
            lwip::random(connections, length.as_secs_f64())
        });
    }
    finish(name, "ns/packet", false, options, subjects)
}

/// A byte there and back on random records, of which so many are handed over together.
fn bare_random(connections: usize, together: usize) -> impl FnMut(Duration) -> f64 + use<> {
    let (mut hosts, mut random) = (BareHosts::new(connections), Random(0x9e37_79b9_7f4a_7c15));
    let mut batch = vec![0; together];
    move |length| {
        nanos_per_packet(length, || {
            batch.fill_with(|| random.below(connections));
            hosts.round_trips(&batch);
            2 * together as u64
        })
    }
}

pub fn push_lwip<'a>(
    subjects: &mut Vec<Subject<'a>>,
    name: &'static str,
    run: impl FnMut(Duration) -> f64 + 'a,
) {
    if lwip::PRESENT {
        subjects.push(Subject::new(name, Role::Peer, run));
    }
}

pub fn push_ipstack(
    subjects: &mut Vec<Subject<'_>>,
    run: impl Fn(&mut ipstack::Pair, Duration) -> f64 + 'static,
) {
    match ipstack::Pair::new() {
        Ok(mut pair) => {
            let name = "ipstack 1.0.1 (finack opens)";
            subjects.push(Subject::new(name, Role::Peer, move |length| run(&mut pair, length)));
        }
        Err(error) => eprintln!("ipstack is left out: no runtime for it ({error})"),
    }
}

pub fn finish(
    name: &str,
    unit: &'static str,
    more: bool,
    options: &Options,
    subjects: Vec<Subject<'_>>,
) -> Comparison {
    let mut line = compare(name, unit, more, options.pace, subjects);
    if line.rows.iter().any(|row| row.subject.starts_with("lwIP")) {
        line.missing.push(lwip::NO_POOLS.into());
    } else if !lwip::PRESENT && !options.alone {
        line.missing.push(lwip::ABSENT.into());
    }
    line
}
