//! Virtual time: the engine never reads a clock, it is told what time it is.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point in time, in nanoseconds since an epoch that the caller chose.
///
/// A caller must never hand the stack a time before one it handed over earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The epoch.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The instant `secs` seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`, zero if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// [`since`](Self::since) in nanoseconds: what every packet asks for is spared the arithmetic of a `Duration`.
    #[inline]
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `nanos` nanoseconds later.
    #[inline]
    pub(crate) const fn after_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The instant `micros` microseconds later.
    #[inline]
    pub(crate) const fn after_micros(self, micros: u64) -> Self {
        self.after_nanos(micros.saturating_mul(1_000))
    }

    /// The earlier of the two.
    #[inline]
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }
}

/// An instant that may not be known, in as many bytes as one that is. For what happens before [`Instant::FAR_FUTURE`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known(Instant);

impl Known {
    /// It is not known.
    pub(crate) const NOT: Self = Self(Instant::FAR_FUTURE);

    /// It is this one.
    pub(crate) const fn at(at: Instant) -> Self {
        Self(at)
    }

    pub(crate) fn get(self) -> Option<Instant> {
        (self != Self::NOT).then_some(self.0)
    }

    /// The one that is known, which is this one if none was.
    pub(crate) fn get_or_insert(&mut self, at: Instant) -> Instant {
        if *self == Self::NOT {
            *self = Self::at(at);
        }
        self.0
    }
}

impl From<Option<Instant>> for Known {
    fn from(at: Option<Instant>) -> Self {
        at.map_or(Self::NOT, Self::at)
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    #[inline]
    fn add(self, d: Duration) -> Self {
        let nanos = d.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(d.subsec_nanos()));
        self.after_nanos(nanos)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// What stands around the nanoseconds of an instant that is printed with a sign (`{:+?}`), for a reader that makes other
/// numbers of them.
pub(crate) const MARK_OPEN: &str = "\u{1}";
pub(crate) const MARK_CLOSE: &str = "\u{2}";

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.sign_plus() {
            f.write_str(MARK_OPEN)?;
            f.write_fmt(format_args!("{}", self.0))?;
            return f.write_str(MARK_CLOSE);
        }
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}
