//! Bytes that a connection takes, by state: what the stack says of itself, and what the allocator saw.

use std::time::Duration;

use crate::counting;
use crate::measure::{Comparison, Options, Role};
use crate::pair::{Pair, Setup};
use crate::peers::{lwip, smoltcp};

/// Connections whose memory is divided by their number.
const MANY: usize = 100_000;
/// The same for peers whose set-up is quadratic.
const SOME: usize = 2_000;

/// Bytes per entry: counted by the stack (one end) and by the allocator.
struct Bytes {
    stated: f64,
    allocated: f64,
}

/// Runs `work` and divides what the memory grew by.
fn growth(
    pair: &mut Pair,
    ends: f64,
    stated: impl Fn(&Pair) -> usize,
    work: impl FnOnce(&mut Pair),
) -> Bytes {
    let (stated_before, live_before) = (stated(pair), counting::live_bytes());
    work(pair);
    Bytes {
        stated: (stated(pair) - stated_before) as f64 / MANY as f64,
        allocated: (counting::live_bytes() - live_before) as f64 / (MANY as f64 * ends),
    }
}

fn pair() -> Pair {
    Pair::new(&setup(MANY))
}

fn pair_v6() -> Pair {
    Pair::over_v6(&setup(MANY))
}

/// Four-tuples must suffice for all.
fn setup(connections: usize) -> Setup {
    Setup { listeners: (connections / 30_000 + 1) as u16, ..Setup::plain(1500, 64 << 10) }
}

fn established(mut pair: Pair) -> Bytes {
    growth(
        &mut pair,
        2.0,
        |p| p.server.memory(),
        |pair| {
            for _ in 0..MANY {
                pair.open();
                pair.pass(Duration::from_micros(10));
            }
            // What handshakes leave to be done is done.
            pair.pass(Duration::from_secs(1));
            pair.settle();
        },
    )
}

/// Every connection carried a request and an answer before it fell idle.
fn used() -> Bytes {
    let mut pair = pair();
    growth(
        &mut pair,
        2.0,
        |p| p.server.memory(),
        |pair| {
            for _ in 0..MANY {
                let (client, server) = pair.open();
                pair.round_trip(client, server);
                pair.pass(Duration::from_micros(10));
            }
            pair.pass(Duration::from_secs(1));
            pair.settle();
        },
    )
}

/// The clients' memory counts too where the allocator is asked, so it is measured with a client that forgets:
/// its stack is the same in each round, and only SYNs reach the server.
fn half_open(mut clients: Pair) -> Bytes {
    let live = counting::live_bytes();
    let before = clients.server.memory();
    for _ in 0..MANY {
        let (conn, _) = clients.connect();
        clients.carry_there();
        clients.client.tcp_abort(clients.now, conn).expect("the handle is good");
        clients.lose_answers();
        while clients.server.poll_event().is_some() {}
    }
    Bytes {
        stated: (clients.server.memory() - before) as f64 / MANY as f64,
        allocated: (counting::live_bytes() - live) as f64 / MANY as f64,
    }
}

fn time_wait(mut pair: Pair) -> Bytes {
    growth(
        &mut pair,
        1.0,
        |p| p.client.memory(),
        |pair| {
            for _ in 0..MANY {
                pair.whole_life();
                pair.pass(Duration::from_micros(10));
            }
        },
    )
}

const IDLE: &str = "memory, idle established, never used";
const TEN_MILLION: &str = "memory, 10,000,000 TIME-WAITs (IPv4)";
const STEADY: &str = "allocations in steady state";

/// What ten million TIME-WAITs take, in MiB.
fn ten_million() -> Comparison {
    const ENTRIES: usize = 10_000_000;
    const MIB: f64 = (1 << 20) as f64;
    let mut pair = Pair::new(&setup(ENTRIES));
    let (stated, live) = (pair.client.memory(), counting::live_bytes());
    for _ in 0..ENTRIES {
        pair.whole_life();
        pair.pass(Duration::from_micros(5));
    }
    let figures = [
        ("finack, by its own count", Role::Finack, (pair.client.memory() - stated) as f64 / MIB),
        ("finack, by the allocator", Role::Bare, (counting::live_bytes() - live) as f64 / MIB),
    ];
    let line = Comparison::of_figures(TEN_MILLION, "MiB", &figures);
    line.print();
    line
}

fn smoltcp_idle() -> f64 {
    let mut pair = smoltcp::Pair::new(1500, 2048, true);
    let before = counting::live_bytes();
    let ends: Vec<_> = (0..SOME).map(|_| pair.open()).collect();
    let bytes = (counting::live_bytes() - before - (ends.capacity() * size_of_val(&ends[0])) as i64) as f64;
    bytes / (2.0 * SOME as f64)
}

/// All lines about memory. Must run before anything else in the process, so that the allocator sees everything.
pub fn all(options: &Options) -> Vec<Comparison> {
    counting::start();
    let line = |case: &str, measure: &dyn Fn() -> Bytes| {
        options.wants(case).then(|| {
            let bytes = measure();
            let mut figures = vec![
                ("finack, by its own count", Role::Finack, bytes.stated),
                ("finack, by the allocator", Role::Bare, bytes.allocated),
            ];
            let beside_peers = case == IDLE && !options.alone;
            if beside_peers {
                figures.push(("smoltcp 0.14.0 (two 2 KiB buffers)", Role::Peer, smoltcp_idle()));
                if lwip::PRESENT {
                    figures.push(("lwIP 2.1.3 (Debian)", Role::Peer, lwip::idle_bytes(SOME)));
                }
            }
            let mut line = Comparison::of_figures(case, "bytes an entry", &figures);
            line.print();
            if beside_peers && !lwip::PRESENT {
                println!("  {}", lwip::ABSENT);
                line.missing.push(lwip::ABSENT.into());
            }
            line
        })
    };
    let mut lines = vec![
        line(IDLE, &|| established(pair())),
        line("memory, idle established, never used (IPv6)", &|| established(pair_v6())),
        line("memory, idle established, after a request", &used),
        line("memory, SYN-RECEIVED (IPv4)", &|| half_open(pair())),
        line("memory, SYN-RECEIVED (IPv6)", &|| half_open(pair_v6())),
        line("memory, TIME-WAIT (IPv4)", &|| time_wait(pair())),
        line("memory, TIME-WAIT (IPv6)", &|| time_wait(pair_v6())),
    ];
    lines.push((!options.quick && options.wants(TEN_MILLION)).then(ten_million));
    lines.push(options.wants(STEADY).then(steady_allocations));
    lines.into_iter().flatten().collect()
}

/// Allocations in a steady bulk transfer and in steady request/response: there should be none.
fn steady_allocations() -> Comparison {
    let mut pair = Pair::new(&Setup::plain(1500, 128 << 10));
    let (client, server) = pair.open();
    let (data, mut sink) = (vec![7; 64 << 10], vec![0; 64 << 10]);
    let mut segments = 0;
    let mut turn = |pair: &mut Pair| {
        pair.fill(client, &data);
        segments += pair.carry_there();
        pair.drain(server, &mut sink);
        pair.carry_back();
        pair.pass(Duration::from_micros(10));
    };
    for _ in 0..1000 {
        turn(&mut pair);
    }
    let before = counting::allocations();
    for _ in 0..1000 {
        turn(&mut pair);
    }
    let bulk = (counting::allocations() - before) as f64 / (segments as f64 / 2.0);
    let mut pair = Pair::new(&Setup::plain(1500, 128 << 10));
    let (client, server) = pair.open();
    for _ in 0..1000 {
        pair.round_trip(client, server);
        pair.pass(Duration::from_micros(10));
    }
    let before = counting::allocations();
    for _ in 0..1000 {
        pair.round_trip(client, server);
        pair.pass(Duration::from_micros(10));
    }
    let small = (counting::allocations() - before) as f64 / 1000.0;
    let figures = [
        ("finack, a bulk data segment", Role::Finack, bulk),
        ("finack, a 1-byte round trip", Role::Bare, small),
    ];
    let line = Comparison::of_figures(STEADY, "allocations", &figures);
    line.print();
    line
}
