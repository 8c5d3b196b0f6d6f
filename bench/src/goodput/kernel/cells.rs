//! The named cells: links as they are met, and what a flow over each is there to show.

use std::time::Duration;

use super::path::{Loss, Shape};

/// A link between two hosts, named.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub name: &'static str,
    /// The way of the data.
    pub there: Shape,
    /// The way of the acknowledgements.
    pub back: Shape,
    /// How much of the machine a run takes at most, in Mb/s: with a congestion control that takes losses for
    /// congestion, and with one that does not.
    pub load: [u32; 2],
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A link that is the same both ways: Mb/s, round trip, the queue in bytes, and what is lost there.
const fn even(name: &'static str, rate: u32, rtt: Duration, queue: u64, loss: Loss, load: [u32; 2]) -> Cell {
    let delay = Duration::from_micros(rtt.as_micros() as u64 / 2);
    let shape = Shape { rate: rate as f64 * 1e6, delay, queue, loss, reorder: None };
    Cell { name, there: shape, back: Shape { loss: Loss::None, ..shape }, load }
}

const fn reordering(cell: Cell, share: f64, by: Duration) -> Cell {
    Cell { there: Shape { reorder: Some((share, by)), ..cell.there }, ..cell }
}

/// Acknowledgements are lost too.
const fn both_ways(cell: Cell) -> Cell {
    Cell { back: Shape { loss: cell.there.loss, ..cell.back }, ..cell }
}

const DSL: Cell = even("dsl", 16, ms(30), 160_000, Loss::Random(0.0001), [16, 16]);

/// In the order of the table.
pub const ALL: [Cell; 12] = [
    even("lan-clean", 100, ms(2), 250_000, Loss::None, [100, 100]),
    both_ways(even("wifi-bursty", 50, ms(10), 125_000, Loss::Bursty(0.005, 4.0), [40, 50])),
    Cell { back: Shape { rate: 1e6, ..DSL.back }, ..DSL },
    reordering(even("lte-reorder", 40, ms(50), 500_000, Loss::Random(0.0005), [20, 40]), 0.01, ms(5)),
    even("transatlantic-0.1", 100, ms(100), 1_250_000, Loss::Random(0.001), [25, 100]),
    even("satellite", 20, ms(600), 1_500_000, Loss::Random(0.0002), [15, 20]),
    both_ways(even("lossy-1", 100, ms(20), 250_000, Loss::Random(0.01), [10, 100])),
    both_ways(even("lossy-3", 50, ms(40), 250_000, Loss::Random(0.03), [5, 50])),
    even("bufferbloat", 10, ms(20), 1_250_000, Loss::None, [10, 10]),
    even("shallow-queue", 100, ms(40), 75_000, Loss::None, [80, 100]),
    reordering(even("reorder-only", 50, ms(40), 250_000, Loss::None, [50, 50]), 0.02, ms(8)),
    even("short-rtt-loss", 200, ms(1), 125_000, Loss::Random(0.005), [120, 180]),
];

/// The cell of this name.
pub fn named(name: &str) -> Option<&'static Cell> {
    ALL.iter().find(|cell| cell.name == name)
}

/// The link of short flows: the access line of a household, with this share of packets lost each way.
pub fn short(share: f64) -> Cell {
    let loss = if share > 0.0 { Loss::Random(share) } else { Loss::None };
    both_ways(even("short", 50, ms(40), 250_000, loss, [0, 0]))
}
