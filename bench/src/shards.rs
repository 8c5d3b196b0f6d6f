//! Several shards of one stack, each on a core of its own.

use crate::measure::{Comparison, Options};

/// All lines; none yet.
pub fn all(_options: &Options) -> Vec<Comparison> {
    eprintln!("finack-bench: nothing is measured under 'shards' yet");
    Vec::new()
}
