//! Hostile input through the engine with sockets in every state: no panic, no unsound packet, memory below its bound.
//!
//! `FINACK_FUZZ_PACKETS` sets the number of packets (300,000 by default); the bounded release run of millions is
//! `cargo xtask fuzz`.

use finack_core::tcp::State;
use finack_sim::hostile::hostile;

/// Many short attacks, each with settings and devices of its own, then one count of what was seen.
#[test]
fn hostile_packets() {
    let wanted: u64 =
        std::env::var("FINACK_FUZZ_PACKETS").ok().and_then(|n| n.parse().ok()).unwrap_or(300_000);
    let (mut packets, mut answers, mut peak, mut seed) = (0, 0, 0, 1);
    let mut seen = [0; 11];
    while packets < wanted {
        println!("seed {seed}");
        let report = hostile(seed, 30_000.min(wanted));
        packets += report.packets;
        answers += report.answers;
        peak = peak.max(report.peak_memory);
        for (sum, (_, n)) in seen.iter_mut().zip(report.states) {
            *sum += n;
        }
        seed += 1;
    }
    println!("{packets} hostile packets, {answers} answers, peak memory {peak} bytes; states seen: {seen:?}");
    assert!(answers > packets / 20, "the attack reaches the engine: {answers} answers");
    if wanted >= 100_000 {
        for (state, n) in State::ALL.iter().zip(seen).filter(|(s, _)| **s != State::Closed) {
            assert!(n > 0, "no connection was ever seen in {state}");
        }
    }
}
