//! What BBR carries over whole paths. The larger cells are `cargo xtask bench goodput`'s.

use core::time::Duration;

use finack_core::options::SocketOptions;
use finack_core::settings::{Congestion, Settings};
use finack_sim::World;
use finack_sim::link::{Chance, Hop, Loss};
use finack_sim::queue::Queue;
use finack_sim::world::Bulk;

use super::units;

/// A bottleneck, and how long to look at it.
#[derive(Clone, Copy)]
struct Cell {
    /// Bits a second.
    rate: u64,
    rtt_ms: u64,
    /// Percent of the packets there.
    loss: f64,
    /// Bytes of the queue, in hundredths of what the path holds.
    queue: u64,
    seconds: u64,
    seed: u64,
}

const CELL: Cell = Cell { rate: 10_000_000, rtt_ms: 100, loss: 0.0, queue: 100, seconds: 20, seed: 1 };

/// Flows with these controllers, half a second one after the other: the share of the link's bytes that each one's
/// applications get after the first quarter of the time, in percent.
fn shares(cell: Cell, kinds: &[Congestion]) -> Vec<f64> {
    let there = Hop::new(Duration::from_millis(cell.rtt_ms / 2));
    let holds = cell.rate / 8 * cell.rtt_ms / 1000;
    let there = there.rate(cell.rate).queue(Queue::bytes((holds * cell.queue / 100).max(3000)));
    let there = if cell.loss > 0.0 { there.loss(Loss::Random(Chance::percent(cell.loss))) } else { there };
    let back = Hop::new(Duration::from_millis(cell.rtt_ms / 2));
    let mut w = World::new(cell.seed, Hop::new(Duration::ZERO));
    w.unchecked();
    let a = w.host(Settings::default(), units());
    let b = w.host(Settings::default(), units());
    w.set_link(a, b, there);
    w.set_link(b, a, back);
    let mut flows = Vec::new();
    for (port, &kind) in (1000..).zip(kinds) {
        let options = SocketOptions { congestion: Some(kind), ..SocketOptions::default() };
        let (c, s) = w.connect(a, b, port, options);
        flows.push(Bulk::new((a, c), (b, s), None));
        let end = w.now() + Duration::from_millis(500);
        w.run_bulk(&mut flows, end);
    }
    let whole = Duration::from_secs(cell.seconds);
    let end = w.now() + whole / 4;
    w.run_bulk(&mut flows, end);
    let before: Vec<u64> = flows.iter().map(|f| f.read).collect();
    let end = w.now() + whole / 4 * 3;
    w.run_bulk(&mut flows, end);
    let carried = cell.rate as f64 / 8.0 * cell.seconds as f64 * 0.75;
    flows.iter().zip(before).map(|(f, before)| (f.read - before) as f64 / carried * 100.0).collect()
}

fn bbr(cell: Cell) -> f64 {
    shares(cell, &[Congestion::Bbr])[0]
}

/// BBR carries 90 % of the link at 1 % random loss where the path holds at least 50 packets, and does not collapse at 3 %,
/// where CUBIC keeps next to nothing.
#[test]
fn random_loss_is_no_reason_to_slow_down() {
    for seed in 1..=2 {
        let slow = Cell { loss: 1.0, seed, ..CELL };
        let fast = Cell { rate: 100_000_000, rtt_ms: 20, seconds: 4, ..slow };
        for cell in [slow, fast] {
            let got = bbr(cell);
            assert!(got >= 90.0, "{got:.1} % of {} Mb/s, seed {seed}", cell.rate / 1_000_000);
        }
        let got = bbr(Cell { loss: 3.0, ..slow });
        assert!(got >= 75.0, "{got:.1} % at 3 % loss, seed {seed}");
    }
    let cubic = shares(Cell { loss: 3.0, ..CELL }, &[Congestion::Cubic])[0];
    assert!(cubic < 30.0, "{cubic:.1} %: the path is not what it should be");
}

/// Whatever the queue in front of the bottleneck, it is used; and what BBR leaves in it is little.
#[test]
fn queues_of_any_length_are_enough() {
    for queue in [50, 100, 400, 1000] {
        let got = bbr(Cell { queue, seconds: 12, ..CELL });
        assert!(got >= 88.0, "{got:.1} % with a queue of {queue} % of what the path holds");
    }
}

/// Two BBR flows share a bottleneck, and so do BBR and CUBIC, within reason.
#[test]
fn flows_share() {
    let cell = Cell { rtt_ms: 40, seconds: 40, ..CELL };
    let got = shares(cell, &[Congestion::Bbr, Congestion::Bbr]);
    assert!(got.iter().all(|&share| share > 25.0) && got.iter().sum::<f64>() > 88.0, "{got:?}");
    let got = shares(Cell { queue: 200, ..cell }, &[Congestion::Bbr, Congestion::Cubic]);
    assert!(got.iter().all(|&share| share > 15.0) && got.iter().sum::<f64>() > 88.0, "{got:?}");
}
