//! Initial sequence numbers (RFC 9293 3.4.1, RFC 6528) and timestamp offsets (RFC 7323 5.4).

use super::Tuple;
use crate::hash::Secrets;
use crate::settings::Settings;
use crate::time::Instant;

/// ISN = M + F(four-tuple, secret): a clock of 4 µs, and a keyed hash.
///
/// `finack.testing_fixed_isn` stops the clock, so that a test sees what it is good for: every connection of a four-tuple
/// begins at the same number then, and only TIME-WAIT and timestamps tell old segments from new ones.
pub(crate) fn initial_sequence(secrets: &Secrets, settings: &Settings, tuple: &Tuple, now: Instant) -> u32 {
    let clock = if settings.testing_fixed_isn == 1 { 0 } else { (now.as_micros() / 4) as u32 };
    clock.wrapping_add(secrets.isn.wire_ends(tuple) as u32)
}

/// Keyed by the four-tuple, never random for each connection: a port that is used again must not go back in
/// time, or PAWS would reject its segments.
pub(crate) fn timestamp_offset(secrets: &Secrets, tuple: &Tuple) -> u32 {
    secrets.timestamps.wire_ends(tuple) as u32
}
