//! The named cells: links as they are met, in the words of docs/simulator.md.

use finack_sim::link::{Hop, Path};

/// A link between two hosts, named.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: String,
    /// In words.
    pub text: String,
    /// The way of the data.
    pub there: Hop,
    /// The way of the acknowledgements.
    pub back: Hop,
    /// Bits a second that the data's way carries at most; none where nothing limits them.
    pub rate: Option<u64>,
    /// How much of the machine a run takes at most, in Mb/s: with a congestion control that takes losses for
    /// congestion, and with one that does not.
    pub load: [u32; 2],
}

/// A cell in words, and what its runs take of the machine.
type Named = (&'static str, &'static str, [u32; 2]);

/// In the order of the table.
const ALL: [Named; 12] = [
    ("lan-clean", "rate=100mbit delay=1ms queue=250kb", [100, 100]),
    ("wifi-bursty", "rate=50mbit delay=5ms queue=125kb loss=burst:0.5%,4", [35, 50]),
    ("dsl", "rate=16mbit delay=15ms queue=160kb loss=0.01% back: rate=1mbit loss=0%", [16, 16]),
    (
        "lte-reorder",
        "rate=40mbit delay=25ms queue=500kb loss=0.05% reorder=1%,5ms back: loss=0% reorder=0%,5ms",
        [20, 40],
    ),
    ("transatlantic-0.1", "rate=20mbit delay=50ms queue=250kb loss=0.1% back: loss=0%", [16, 20]),
    ("satellite", "rate=10mbit delay=300ms queue=750kb loss=0.02% back: loss=0%", [10, 10]),
    ("lossy-1", "rate=100mbit delay=10ms queue=250kb loss=1%", [10, 100]),
    ("lossy-3", "rate=50mbit delay=20ms queue=250kb loss=3%", [5, 50]),
    ("bufferbloat", "rate=10mbit delay=10ms queue=1.25mb", [10, 10]),
    ("shallow-queue", "rate=50mbit delay=10ms queue=30kb", [45, 50]),
    ("reorder-only", "rate=50mbit delay=20ms queue=250kb reorder=2%,8ms back: reorder=0%,8ms", [50, 50]),
    ("short-rtt-loss", "rate=100mbit delay=500us queue=125kb loss=1% back: loss=0%", [80, 100]),
];

impl Cell {
    /// The link that these words describe.
    ///
    /// # Errors
    /// In one line, what makes no sense or can't be had in real time.
    pub fn described(name: &str, text: &str, load: Option<[u32; 2]>) -> Result<Self, String> {
        let path: Path = text.parse().map_err(|e| format!("{e}"))?;
        let mut links = path.links();
        let (Some((there, back)), None, 1) = (links.next(), links.next(), path.elements.len()) else {
            return Err(format!(
                "'{text}': --kernel takes one link, without boxes and without others behind it"
            ));
        };
        let rate = path.bottleneck();
        let most = rate.map_or(1000, |rate| u32::try_from(rate / 1_000_000).unwrap_or(1000).clamp(1, 1000));
        Ok(Self {
            name: name.into(),
            text: text.into(),
            there: there.clone(),
            back: back.clone(),
            rate,
            load: load.unwrap_or([most; 2]),
        })
    }
}

/// All cells, in the order of the table.
///
/// # Errors
/// Never: all of them make sense, which a test shows.
pub fn all() -> Result<Vec<Cell>, String> {
    ALL.iter().map(|(name, text, load)| Cell::described(name, text, Some(*load))).collect()
}

/// The link of short flows: the access line of a household, with this share of packets lost each way.
///
/// # Errors
/// Never where the share is one.
pub fn short(share: f64) -> Result<Cell, String> {
    let text = format!("rate=50mbit delay=20ms queue=250kb loss={}%", share * 100.0);
    Cell::described("short", &text, Some([0, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::short::LOSSES;

    #[test]
    fn the_cells_make_sense_and_differ() {
        let all = all().unwrap();
        let names: std::collections::BTreeSet<_> = all.iter().map(|cell| cell.name.clone()).collect();
        assert_eq!((all.len(), names.len()), (12, 12));
        assert!(all.iter().all(|cell| cell.rate.is_some() && cell.load[0] <= cell.load[1]));
        for loss in LOSSES {
            assert_eq!(short(loss).unwrap().there.loss.share(), loss);
        }
    }

    #[test]
    fn a_link_that_can_not_be_had_is_refused_in_a_line() {
        for text in ["rate=10mbit -> rate=5mbit", "nat", "dealy=5ms", "rate=1mbit -> nat"] {
            let error = Cell::described("link", text, None).unwrap_err();
            assert!(!error.contains('\n') && error.len() > 10, "{error}");
        }
        assert_eq!(Cell::described("link", "rate=10mbit delay=1ms", None).unwrap().load, [10, 10]);
    }
}
