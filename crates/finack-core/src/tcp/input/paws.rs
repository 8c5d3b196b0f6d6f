//! Protection against wrapped sequence numbers (RFC 7323 5).

use core::time::Duration;

use super::Placed;
use crate::cx::Cx;
use crate::settings::Profile;
use crate::tcp::seq;
use crate::tcp::tcb::Connection;
use crate::time::Instant;

/// RFC 7323 5.5: an idle connection's TS.Recent is believed for this long.
const VALID_FOR: Duration = Duration::from_secs(24 * 24 * 3600);

/// What the timestamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paws {
    Fine,
    /// Older than the last one (R1).
    Rejected,
    /// There is none although both sides agreed on it.
    Missing,
}

/// R1: whether `val` may follow `recent`, learned at `recent_at`.
pub(crate) fn is_acceptable(val: u32, recent: u32, recent_at: Instant, now: Instant) -> bool {
    !seq::before(val, recent) || now.since(recent_at) > VALID_FOR
}

/// A RST is never judged by its timestamp (RFC 7323 5.2).
pub(super) fn check(c: &Connection, cx: &Cx, now: Instant, placed: &Placed<'_>) -> Paws {
    if !c.agreed.timestamps || placed.segment.flags.rst() {
        return Paws::Fine;
    }
    match placed.segment.options.timestamps {
        Some((val, _)) if is_acceptable(val, c.ts_recent, c.ts_recent_at(), now) => Paws::Fine,
        Some(_) => Paws::Rejected,
        // RFC 7323 3.2: SHOULD be dropped; Linux takes it.
        None if cx.settings.profile == Profile::Rfc => Paws::Missing,
        None => Paws::Fine,
    }
}

/// R3: remember the timestamp of what covers the last ACK that we sent.
pub(super) fn update(c: &mut Connection, now: Instant, placed: &Placed<'_>) {
    let Some((val, _)) = placed.segment.options.timestamps else { return };
    let newer = is_acceptable(val, c.ts_recent, c.ts_recent_at(), now);
    if c.agreed.timestamps && !placed.segment.flags.rst() && newer && placed.start <= c.rcv_acked() {
        c.ts_recent = val;
        c.note_ts_recent(now);
    }
}
