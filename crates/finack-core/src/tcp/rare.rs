//! What few connections have, in a part of its own that only they have: a record of a million idle connections is to be
//! small.

use alloc::boxed::Box;

use super::congestion::Validation;
use super::mtu_search::MtuSearch;
use super::pacer::Pacer;
use super::recv::Tuning;
use super::repair::Episode;
use super::seq::Pos;
use super::tcb::{Connection, Urgent};
use crate::time::Instant;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Rare {
    /// What trying says that the path takes (RFC 4821).
    pub(crate) search: Option<Box<MtuSearch>>,
    /// With `tcp_cwnd_validation` (RFC 7661).
    pub(crate) validation: Option<Box<Validation>>,
    /// Only of those that are paced.
    pub(crate) pacer: Option<Box<Pacer>>,
    /// Present while the application reads in bulk.
    pub(crate) tuning: Option<Box<Tuning>>,
    /// Of the repair under way.
    pub(crate) episode: Option<Box<Episode>>,
    pub(crate) urgent: Urgent,
    /// SND.UP: behind the last urgent byte.
    pub(crate) snd_up: Option<Pos>,
    /// Where the application stood when tuning the receive buffer last came to nothing.
    pub(crate) tuned: Pos,
    /// When the last answer to something unacceptable went out.
    pub(crate) challenge_at: Option<Instant>,
    /// A duplicate to report (RFC 2883).
    pub(crate) dsack: Option<(Pos, Pos)>,
    /// What is not acknowledged yet although it is here: everything from this position on (`Pos::MAX`: nothing).
    pub(crate) ack_hold: Pos,
    /// Counts for `tcp_info`.
    pub(crate) bytes_retrans: u64,
    pub(crate) retrans_segs: u32,
    pub(crate) out_of_order: u32,
}

impl Rare {
    /// What all others have.
    const NONE: Self = Self {
        search: None,
        validation: None,
        pacer: None,
        tuning: None,
        episode: None,
        urgent: Urgent { mark: None, byte: None, taken: false },
        snd_up: None,
        tuned: 1,
        challenge_at: None,
        dsack: None,
        ack_hold: Pos::MAX,
        bytes_retrans: 0,
        retrans_segs: 0,
        out_of_order: 0,
    };

    /// Of a connection whose use of the window is watched.
    pub(crate) fn validating(validation: Box<Validation>) -> Box<Self> {
        Box::new(Self { validation: Some(validation), ..Self::NONE })
    }

    /// Nothing of it is left but counts.
    pub(crate) fn is_over(&self) -> bool {
        let boxes = self.search.is_none()
            && self.validation.is_none()
            && self.pacer.is_none()
            && self.tuning.is_none()
            && self.episode.is_none();
        let marks = self.urgent == Self::NONE.urgent && self.snd_up.is_none() && self.dsack.is_none();
        boxes && marks && self.ack_hold == Pos::MAX && self.tuned == 1 && self.challenge_at.is_none()
    }

    fn memory(&self) -> usize {
        let search = self.search.as_ref().map_or(0, |_| size_of::<MtuSearch>());
        let tuning = self.tuning.as_ref().map_or(0, |_| size_of::<Tuning>());
        let pacer = self.pacer.as_ref().map_or(0, |_| size_of::<Pacer>());
        let validation = self.validation.as_ref().map_or(0, |_| size_of::<Validation>());
        let episode = self.episode.as_ref().map_or(0, |_| size_of::<Episode>());
        size_of::<Self>() + episode + search + tuning + pacer + validation
    }
}

impl Connection {
    /// What few connections have; what the others have in its place.
    pub(crate) fn rare(&self) -> &Rare {
        match &self.rare {
            Some(rare) => rare,
            None => const { &Rare::NONE },
        }
    }

    /// The same, to be changed: it is one of the few from now on.
    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(Rare::NONE))
    }

    /// Bytes of that part.
    pub(crate) fn rare_memory(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.memory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a million idle connections take is this a million times. What few of them need belongs elsewhere.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 576, "{}", size_of::<Connection>());
    }
}
