//! What the tests of this crate share.

use proptest::test_runner::{Config, RngSeed};

/// Property tests draw the same cases every time: a failure is reproduced by running the test again.
pub(crate) fn cases(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(0x0f1a_c900_5eed),
        failure_persistence: None,
        ..Config::default()
    }
}
