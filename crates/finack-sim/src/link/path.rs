//! What lies between two hosts.

use core::time::Duration;

use super::Hop;
use crate::boxes::Middlebox;

/// One part of a [`Path`].
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// A link: what it is towards the far end, and back.
    Link(Box<(Hop, Hop)>),
    /// A box; its inner side is the near one.
    Box(Middlebox),
}

/// What lies between two hosts, in order from the near end to the far one: links and boxes. Where two links meet there is
/// a router.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Path {
    /// The parts, at least one.
    pub elements: Vec<Element>,
}

impl Path {
    /// One link that is the same in both directions.
    #[must_use]
    pub fn new(hop: Hop) -> Self {
        Self::asymmetric(hop.clone(), hop)
    }

    /// One link with two directions.
    #[must_use]
    pub fn asymmetric(there: Hop, back: Hop) -> Self {
        Self { elements: vec![Element::Link(Box::new((there, back)))] }
    }

    /// This path, and behind it another one.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.elements.extend(next.elements);
        self
    }

    /// This path, and behind it a box.
    #[must_use]
    pub fn then_box(mut self, middlebox: Middlebox) -> Self {
        self.elements.push(Element::Box(middlebox));
        self
    }

    /// The links, in order.
    pub fn links(&self) -> impl Iterator<Item = &(Hop, Hop)> {
        self.elements.iter().filter_map(|e| match e {
            Element::Link(link) => Some(&**link),
            Element::Box(_) => None,
        })
    }

    /// The smallest round trip: all propagation delays, there and back.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.links().map(|(there, back)| there.delay + back.delay).sum()
    }

    /// The slowest rate on the way there, in bits a second; `None` where none is limited.
    #[must_use]
    pub fn bottleneck(&self) -> Option<u64> {
        self.links().filter_map(|(there, _)| there.rate.bits_per_second()).min()
    }
}

impl From<Middlebox> for Path {
    fn from(middlebox: Middlebox) -> Self {
        Self { elements: vec![Element::Box(middlebox)] }
    }
}

impl From<Hop> for Path {
    fn from(hop: Hop) -> Self {
        Self::new(hop)
    }
}
