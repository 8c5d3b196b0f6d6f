//! What became of each connection: built from the stack's trace events as they come, told at the end.
//!
//! A [`Collector`] takes the events one by one in bounded memory and ends as a [`Report`], which is written as text
//! for people ([`text`]) or as JSON for programs ([`json`]).

mod collect;
mod connection;
mod ending;
mod ends;
mod format;
mod hint;
pub mod json;
mod ladder;
mod note;
mod peer;
mod seq;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod text;

pub use collect::{Collector, Limits};
pub use connection::{Close, ConnectionReport, Flow, How, StateAt};
pub use ending::{Ending, EndingKind, Party};
pub(crate) use ends::Ends;
pub use ladder::{Ladder, Row, Segment};
pub(crate) use note::TakeNote;
pub use note::{Note, NoteAt, Outside};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use finack_core::tcp::State;
use finack_core::trace::{DropReason, ResetReason};

use crate::plan::Names;
use crate::services::dns::Outcome;

/// One of the two ends of every connection in the private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The program: the kernel inside its namespace speaks for it.
    Program,
    /// finack's own stack.
    Finack,
}

impl Side {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Program => Self::Finack,
            Self::Finack => Self::Program,
        }
    }

    /// What it is called in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Program => "the program",
            Self::Finack => "finack",
        }
    }
}

/// A segment that belonged to no connection and was answered with a RST: most often a refused connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Refusal {
    /// The address and port that the program tried.
    pub target: SocketAddr,
    /// Why it got a RST.
    pub reason: ResetReason,
}

/// A question that was asked of the name server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameQuery {
    /// The name.
    pub name: String,
    /// Its type, a number of the DNS registry.
    pub qtype: u16,
    /// What became of it.
    pub outcome: Outcome,
}

/// Everything that is told at the end.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Connections in the order in which they opened: all of them, or as many as the limits keep.
    pub connections: Vec<ConnectionReport>,
    /// How many connections there were altogether.
    pub total: u64,
    /// How many connections ended in which way, over all of them.
    pub endings: BTreeMap<EndingKind, u64>,
    /// In which state how many connections were on finack's side at the end, gone ones under CLOSED.
    pub by_state: BTreeMap<State, u64>,
    /// Payload bytes that arrived from the program, over all connections.
    pub from_program: u64,
    /// Payload bytes that the program acknowledged, over all connections.
    pub to_program: u64,
    /// Segments that finack sent again, over all connections.
    pub retransmitted: u64,
    /// RSTs sent for no connection, and how often.
    pub refusals: BTreeMap<Refusal, u64>,
    /// What finack's own parts told of what is no connection (a datagram's flow, a SYN that was not followed), by the
    /// address that the program tried, and how often.
    pub stray_notes: BTreeMap<(SocketAddr, String), u64>,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// Questions to the name server, and how often.
    pub names: BTreeMap<NameQuery, u64>,
    /// Questions beyond those that `names` has room for.
    pub more_names: u64,
    /// UDP datagrams received and sent by finack.
    pub datagrams: (u64, u64),
    /// Trace events that were lost because they came faster than they could be told: where this is not 0, counts may
    /// be too low.
    pub lost_events: u64,
    /// How long all of it took.
    pub elapsed: Duration,
}

impl Report {
    /// Lets connections be shown by the names that hold for this run alone.
    pub(crate) fn give_names(&mut self, names: &Names) {
        for connection in &mut self.connections {
            if connection.name().is_none() {
                connection.given_name = names.name_of(connection.finack.ip()).map(str::to_owned);
            }
        }
    }
}
