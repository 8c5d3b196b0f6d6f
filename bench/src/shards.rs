//! Several shards of one host on as many cores, each with its own peer at the other end of its own queue, against one.
//!
//! Each thread has a core to itself and both ends of its connections, so that what is measured is what shards cost each
//! other. Figures are sums over the threads, each by its own processor time. Beside them stands the bare loop: as many
//! threads that move the same bytes with no protocol, which is as far as the machine's cores go beside each other.

mod net;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Duration;

use finack_core::steer::Steering;

use crate::bare::{Bare, Way};
use crate::measure::{Comparison, Options, Role, Subject, compare, rate};
use crate::pair::{Pair, Setup};

const SEED: [u8; 32] = [42; 32];
/// TCP's number in an IP header.
const TCP: u8 = 6;
/// Virtual time that passes in a round of packets.
const ROUND: Duration = Duration::from_micros(10);
/// Bytes of send and receive buffers: all of it stays in the cache.
const BUFFERS: usize = 128 << 10;
/// Connections that each shard keeps in TIME-WAIT while others come and go.
const STANDING: u32 = 1_000;

/// One thread's work: runs for about so long and answers what it did a second.
pub(super) type Worker = Box<dyn FnMut(Duration) -> f64 + Send>;

/// All cases, for two shards and, in powers of two, for as many as there are cores.
pub fn all(options: &Options) -> Vec<Comparison> {
    let cores = cores();
    let mut lines = Vec::new();
    let name = "engine, steering a packet to its shard";
    if options.wants(name) {
        let line = steering(name, options);
        line.print();
        lines.push(line);
    }
    let most = cores.len();
    let counts = std::iter::successors(Some(2), |n| Some(n * 2)).take_while(|&n| n <= most);
    for count in counts {
        let cores = &cores[..count];
        let mut case = |name: &str, run: &dyn Fn(&str) -> Comparison| {
            let name = format!("{name}, {count} shards on {count} cores");
            if options.wants(&name) {
                let line = run(&name);
                line.print();
                lines.push(line);
            }
        };
        case("engine, bulk, MTU 1500", &|name| {
            let bare = Some(bare_bulk as fn(usize) -> Worker);
            engine(name, "Gb/s", options, cores, bulk, bare)
        });
        case("engine, 1-byte request/response", &|name| {
            engine(name, "round trips/s", options, cores, round_trips, None)
        });
        case("engine, open + request + close", &|name| {
            engine(name, "connections/s", options, cores, lives, None)
        });
        case("sockets, bulk in 64 KiB units", &|name| net::bulk(name, options, cores));
        case("sockets, 1-byte request/response", &|name| net::round_trips(name, options, cores));
    }
    if most < 2 {
        eprintln!("bench shards needs two cores that this process may use; there is one (see taskset -p)");
    }
    lines
}

/// What every packet costs that a device with several shards hands over, in nanoseconds.
fn steering(name: &str, options: &Options) -> Comparison {
    // As far as steering looks at it: version, protocol, addresses, ports.
    let packet = |v6: bool| {
        let mut packet = vec![7_u8; 1500];
        let (version, protocol) = if v6 { (0x60, 6) } else { (0x45, 9) };
        packet[0] = version;
        packet[protocol] = TCP;
        if !v6 {
            packet[6..8].fill(0);
        }
        packet
    };
    let of = |v6: bool| {
        let (steering, mut packet) = (Steering::new(&SEED, 4), packet(v6));
        let port = if v6 { 40 } else { 20 };
        move |length| {
            1e9 / rate(length, || {
                packet[port] = packet[port].wrapping_add(1);
                u64::from(black_box(steering.of_packet(black_box(&packet))).is_some())
            })
        }
    };
    let subjects =
        vec![Subject::new("IPv4", Role::Finack, of(false)), Subject::new("IPv6", Role::Bare, of(true))];
    compare(name, "ns", false, options.pace, subjects)
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => Vec::new(),
    }
}

/// Keeps the calling thread on one core.
pub(super) fn stay_on(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    // The core is one of those that may be used; elsewhere figures would only be noisier.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Runs all workers at once, each on its core, and adds up what they did.
fn together(workers: &mut [Worker], cores: &[usize], length: Duration) -> f64 {
    let start = Barrier::new(workers.len());
    std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .zip(cores)
            .map(|(worker, &core)| {
                let start = &start;
                scope.spawn(move || {
                    stay_on(core);
                    start.wait();
                    worker(length)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("the worker has not panicked")).sum()
    })
}

/// Some threads at one task, as a subject.
pub(super) fn threads<'a>(
    name: &'static str,
    role: Role,
    cores: &'a [usize],
    mut workers: Vec<Worker>,
) -> Subject<'a> {
    Subject::new(name, role, move |length| together(&mut workers, cores, length))
}

fn engine(
    name: &str,
    unit: &'static str,
    options: &Options,
    cores: &[usize],
    shard: fn(usize, usize) -> Worker,
    bare: Option<fn(usize) -> Worker>,
) -> Comparison {
    let count = cores.len();
    let some = |count: usize| (0..count).map(|index| shard(index, count)).collect();
    let mut subjects = vec![
        threads("finack, all shards", Role::Finack, cores, some(count)),
        threads("finack, one shard", Role::Bare, cores, some(1)),
    ];
    if let Some(bare) = bare {
        subjects.push(threads("bare loop, all cores", Role::Bare, cores, (0..count).map(bare).collect()));
        subjects.push(threads("bare loop, one core", Role::Bare, cores, vec![bare(0)]));
    }
    compare(name, unit, true, options.pace, subjects)
}

/// The shard `index` of `count`, and its own peer. A single one is no shard.
fn pair(index: usize, count: usize) -> Pair {
    let mut pair = Pair::new(&Setup::plain(1500, BUFFERS));
    if count > 1 {
        pair.set_shard(Steering::new(&SEED, count), index);
    }
    pair
}

fn bulk(index: usize, count: usize) -> Worker {
    let mut pair = pair(index, count);
    let (client, server) = pair.open();
    let data = vec![7; 64 << 10];
    let mut sink = vec![0; 64 << 10];
    Box::new(move |length| {
        let bytes = rate(length, || {
            pair.fill(client, &data);
            pair.carry_there();
            let read = pair.drain(server, &mut sink);
            pair.carry_back();
            pair.pass(ROUND);
            read
        });
        bytes * 8.0 / 1e9
    })
}

fn round_trips(index: usize, count: usize) -> Worker {
    let mut pair = pair(index, count);
    let (client, server) = pair.open();
    Box::new(move |length| {
        rate(length, || {
            pair.round_trip(client, server);
            pair.pass(ROUND);
            1
        })
    })
}

fn lives(index: usize, count: usize) -> Worker {
    let mut pair = pair(index, count);
    let step = Duration::from_secs(60) / STANDING;
    Box::new(move |length| {
        rate(length, || {
            pair.whole_life();
            pair.pass(step);
            1
        })
    })
}

fn bare_bulk(_: usize) -> Worker {
    let mut bare = Bare::new(1448);
    Box::new(move |length| rate(length, || bare.bulk(Way::Fused)) * 8.0 / 1e9)
}
