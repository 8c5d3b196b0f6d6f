//! Short flows: how long 10 KB, 100 KB and 1 MB take, from the call that opens the connection until the receiver has
//! read its end.

use std::path::PathBuf;
use std::time::Duration;

use super::cells;
use super::run::{Outcome, Pairing, Plan};
use super::schedule::Job;

/// What the flows carry, in bytes.
pub const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];

/// Shares of packets that are lost, each way.
pub const LOSSES: [f64; 5] = [0.0, 0.0001, 0.001, 0.01, 0.03];

/// Flows of each kind; each has losses of its own, the same for everybody.
const FLOWS: usize = 100;

/// Flows at once: each has a link to itself.
const AT_ONCE: usize = 8;

/// How long a flow may take.
const TIME: Duration = Duration::from_secs(30);

/// One pairing's flows of one size at one share of losses.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Short {
    pub loss: f64,
    pub bytes: u64,
    pub pairing: &'static str,
    pub flows: usize,
    /// Those that were not through after half a minute.
    pub unfinished: usize,
    pub median_ms: f64,
    pub p99_ms: f64,
}

/// All kinds.
///
/// # Errors
/// Never.
pub fn jobs(
    pairings: &[Pairing],
    seed: u64,
    quick: bool,
    keep: Option<&PathBuf>,
) -> Result<Vec<Job>, String> {
    let mut jobs = Vec::new();
    let (sizes, losses, flows) =
        if quick { (&SIZES[..2], &[0.0, 0.01][..], 40) } else { (&SIZES[..], &LOSSES[..], FLOWS) };
    for &loss in losses {
        let cell = cells::short(loss)?;
        for &bytes in sizes {
            for &pairing in pairings {
                let plan = Plan {
                    cell: cell.clone(),
                    pairing,
                    congestion: "cubic".into(),
                    seed,
                    time: TIME,
                    flows,
                    bytes,
                    at_once: AT_ONCE,
                    keep: keep.map(|directory| directory.join(format!("{bytes}-{}", loss * 100.0))),
                };
                let load = if bytes > 500_000 { 100 } else { 40 };
                jobs.push(Job { plan, load });
            }
        }
    }
    Ok(jobs)
}

/// The figures of all that was run, in the order of the tables.
pub fn gather(done: &[(Plan, Result<Outcome, String>)]) -> Vec<Short> {
    let mut all: Vec<Short> =
        done.iter().filter_map(|(plan, result)| Some(one(plan, result.as_ref().ok()?))).collect();
    all.sort_by(|a, b| (a.bytes, a.pairing).cmp(&(b.bytes, b.pairing)).then(a.loss.total_cmp(&b.loss)));
    all
}

fn one(plan: &Plan, outcome: &Outcome) -> Short {
    // One that was not through took that long at least.
    let mut times: Vec<f64> =
        outcome.completions.iter().map(|t| t.unwrap_or(TIME).as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    Short {
        loss: plan.cell.there.loss.share(),
        bytes: plan.bytes,
        pairing: plan.pairing.name(),
        flows: times.len(),
        unfinished: outcome.completions.iter().filter(|t| t.is_none()).count(),
        median_ms: quantile(&times, 0.5),
        p99_ms: quantile(&times, 0.99),
    }
}

/// The value below which this share of sorted ones lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.max(1) - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
