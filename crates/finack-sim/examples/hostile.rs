//! A bounded run of hostile input: `cargo run --release -p finack-sim --example hostile -- 10000000 [seed]`.
//!
//! Prints how many packets were sent at the engine, what came back and how much memory it took at most; fails where
//! the engine panics, sends something unsound or takes more than the stated bound.

use finack_sim::hostile::{HostileReport, hostile};

/// Packets of one attack; each has settings and sockets of its own.
const PER_ATTACK: u64 = 250_000;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let (Some(Ok(packets)), seed) = (args.next(), args.next()) else {
        eprintln!("usage: hostile PACKETS [SEED]");
        std::process::exit(2);
    };
    let mut seed = seed.and_then(Result::ok).unwrap_or(1);
    let mut total = 0;
    let mut answers = 0;
    let mut peak = 0;
    let mut states: Vec<(String, u64)> = Vec::new();
    while total < packets {
        eprintln!("seed {seed}: {total} of {packets} packets");
        let report: HostileReport = hostile(seed, PER_ATTACK.min(packets - total));
        total += report.packets;
        answers += report.answers;
        peak = peak.max(report.peak_memory);
        states.resize(11, (String::new(), 0));
        for (sum, (state, n)) in states.iter_mut().zip(report.states) {
            *sum = (state.to_string(), sum.1 + n);
        }
        seed += 1;
    }
    println!("{total} hostile packets, {answers} packets sent in answer, no panic");
    println!("peak memory {peak} bytes, bound {} bytes", finack_sim::hostile::bound());
    for (state, n) in states {
        println!("  {state:<13} {n} (connections in samples)");
    }
}
