//! Probabilities, and numbers that look random but are a function of what they are for.

/// A probability, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Chance(u32);

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many in a million; more than a million counts as one.
    #[must_use]
    pub const fn ppm(ppm: u32) -> Self {
        Self(if ppm > 1_000_000 { 1_000_000 } else { ppm })
    }

    /// So many in a hundred, 0 to 100; anything outside counts as the nearer end.
    #[must_use]
    pub fn percent(percent: f64) -> Self {
        Self((percent.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }

    /// Parts per million.
    #[must_use]
    pub const fn as_ppm(self) -> u32 {
        self.0
    }

    /// Whether `roll`, a number out of all 64-bit numbers, falls into it.
    #[must_use]
    pub const fn takes(self, roll: u64) -> bool {
        ((roll >> 32) * 1_000_000) >> 32 < self.0 as u64
    }
}

/// What a number is drawn for: each purpose has numbers of its own, so that a link with more faults does not lose
/// other packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Is it lost?
    Loss = 0,
    /// Does the state of a Gilbert-Elliott model change?
    State = 1,
    /// Does it arrive twice?
    Duplicate = 2,
    /// Is it held back?
    Reorder = 3,
    /// Is a bit flipped?
    Corrupt = 4,
    /// Which bit?
    Bit = 5,
    /// How much longer does it take?
    Jitter = 6,
    /// What a queue draws (PIE).
    Queue = 7,
}

/// Draws numbers by (seed, direction, purpose, index of the packet): a pure function of these four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dice(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The dice of one direction of a link. `direction` is any number that tells the directions (and links) of a run
    /// apart; by custom 0 is there and 1 is back.
    #[must_use]
    pub const fn new(seed: u64, direction: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(GOLDEN)) ^ direction.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    /// 64 bits for the packet `index`.
    #[must_use]
    pub const fn roll(self, purpose: Purpose, index: u64) -> u64 {
        let at = index.wrapping_mul(8).wrapping_add(purpose as u64 + 1);
        mix(self.0.wrapping_add(at.wrapping_mul(GOLDEN)))
    }

    /// A number below `bound` for the packet `index`; 0 where `bound` is 0.
    #[must_use]
    pub const fn below(self, purpose: Purpose, index: u64, bound: u64) -> u64 {
        ((self.roll(purpose, index) as u128 * bound as u128) >> 64) as u64
    }
}
