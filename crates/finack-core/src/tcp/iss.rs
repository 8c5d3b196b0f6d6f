//! Initial sequence numbers (RFC 9293 3.4.1, RFC 6528) and timestamp offsets (RFC 7323 5.4).

use super::Tuple;
use crate::hash::Secrets;
use crate::settings::Settings;
use crate::time::Instant;

/// Where a connection of a four-tuple begins, but for the clock: two halves of one hash, of which neither tells of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// F(four-tuple, secret) of RFC 6528.
    isn: u32,
    /// What its timestamps are ahead of the clock.
    ///
    /// Keyed by the four-tuple, never random for each connection: a port that is used again must not go back in
    /// time, or PAWS would reject its segments.
    pub(crate) ts_offset: u32,
}

impl Origin {
    pub(crate) fn of(secrets: &Secrets, tuple: &Tuple) -> Self {
        let hash = secrets.isn.wire_ends(tuple);
        Self { isn: hash as u32, ts_offset: (hash >> 32) as u32 }
    }

    /// ISN = M + F(four-tuple, secret): a clock of 4 µs, and a keyed hash.
    ///
    /// `finack.testing_fixed_isn` stops the clock, so that a test sees what it is good for: every connection of a four-tuple
    /// begins at the same number then, and only TIME-WAIT and timestamps tell old segments from new ones.
    pub(crate) fn initial_sequence(&self, settings: &Settings, now: Instant) -> u32 {
        let clock = if settings.testing_fixed_isn == 1 { 0 } else { (now.as_micros() / 4) as u32 };
        clock.wrapping_add(self.isn)
    }
}
