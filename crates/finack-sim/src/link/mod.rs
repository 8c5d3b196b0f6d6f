//! Links as plain values: what they are (a [`Path`] of [`Hop`]s), and what they do to packets ([`Pipe`]).
//!
//! Nothing here knows of hosts, packets' contents or a [`World`](crate::World): a [`Pipe`] is told sizes, ECN fields
//! and times, and says what is lost, what is marked and when the rest arrives. The times may be virtual or real.
//!
//! Every chance is drawn from (seed, direction, number of the packet), see [`Dice`], so that two pipes with the same
//! three lose the same packets whatever else happens to them.

mod chance;
mod cost;
mod hop;
mod loss;
mod path;
mod pipe;
mod rate;
pub(crate) mod text;

pub use chance::{Chance, Dice, Purpose};
pub use cost::{Allowed, Cost};
pub use hop::{Held, Hop, Jitter};
pub use loss::{Loss, LossState};
pub use path::{Element, Path};
pub use pipe::{Arrival, Fate, Flaw, Lost, Offer, Pipe, PipeStats, Why};
pub use rate::{Rate, Server, Trace, transmission};
pub use text::TextError;

/// The ECN field of an IP header (RFC 3168 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum Ecn {
    /// The transport does not understand ECN.
    #[default]
    NotEct,
    /// ECT(1): it does, and wants the treatment of RFC 9331 (L4S).
    Ect1,
    /// ECT(0): it does.
    Ect0,
    /// Congestion experienced.
    Ce,
}

impl Ecn {
    /// From the two lowest bits of a TOS or traffic class.
    #[must_use]
    pub const fn from_tos(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// Whether a queue may mark the packet instead of dropping it.
    #[must_use]
    pub const fn is_capable(self) -> bool {
        !matches!(self, Self::NotEct)
    }
}
