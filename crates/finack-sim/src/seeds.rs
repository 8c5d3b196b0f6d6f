//! Many seeds for one test, and one seed for its failure.

/// Runs `test` with the seeds 1 to `count`, or with the one that the environment's `FINACK_SEED` names.
/// A failure prints the seed.
pub fn for_each(count: u64, test: impl Fn(u64)) {
    let chosen = std::env::var("FINACK_SEED").ok().and_then(|s| s.parse::<u64>().ok());
    let seeds = chosen.map_or(1..=count, |seed| seed..=seed);
    for seed in seeds {
        let told = Told(seed);
        test(seed);
        drop(told);
    }
}

/// Says on its way out of a panic which seed it was.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {0}: run again with FINACK_SEED={0}", self.0);
        }
    }
}
