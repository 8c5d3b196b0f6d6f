//! What finack's own parts know of a connection that its segments do not show: which service answered and what it
//! teaches, and what happened on the outside of a connection that is carried on.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use finack_core::Instant;
use finack_core::stack::Refusal;

/// What is known of a connection besides its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// One of finack's services does this to it on purpose.
    Service {
        /// Its name, such as `reset.finack`.
        name: &'static str,
        /// What it did, to be read after its name: `answered with RST`.
        does: &'static str,
    },
    /// Something happened on the host's side of a connection that finack carries to or from the outside.
    Outside(Outside),
}

/// Takes notes about the connection between finack's end and the program's, as [`Collector::note`] does, in the right
/// order with the stack's trace events.
///
/// [`Collector::note`]: super::Collector::note
pub(crate) type TakeNote = Rc<dyn Fn(SocketAddr, SocketAddr, Note)>;

/// What happened on the host's side of a connection.
///
/// These come in the order in which they happen; what the program does shows in its own segments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outside {
    /// The host's connection to this server is open.
    Connected {
        /// The server.
        to: SocketAddr,
    },
    /// A client outside connected to a published port.
    Accepted {
        /// The client.
        from: SocketAddr,
    },
    /// The connection to the outside was not opened.
    Failed {
        /// Why: the host's own words (`Connection refused (os error 111)`), or finack's reason not to try it.
        error: String,
        /// How the program's SYN was answered for it.
        answered: Refusal,
    },
    /// The outside's FIN came.
    PeerClosed,
    /// The outside's RST came.
    PeerReset,
    /// The host's connection was lost without a RST: its error (`Connection timed out (os error 110)`).
    Lost(String),
}

/// A note, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteAt {
    /// When.
    pub at: Instant,
    /// What.
    pub note: Note,
}

/// In one clause, as it stands at its place in a ladder and in the list of what happened outside.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name, does } => write!(f, "{name} {does}, on purpose"),
            Self::Outside(outside) => outside.fmt(f),
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { to } => write!(f, "connected to {to}"),
            Self::Accepted { from } => write!(f, "accepted from {from}"),
            Self::Failed { error, .. } => write!(f, "not opened: {}", plain(error)),
            Self::PeerClosed => f.write_str("the other end closed (FIN)"),
            Self::PeerReset => f.write_str("the other end reset it (RST)"),
            Self::Lost(error) => write!(f, "lost: {}", plain(error)),
        }
    }
}

/// An error of the system's without the number, which says nothing more.
pub(super) fn plain(error: &str) -> &str {
    error.split(" (os error").next().unwrap_or_default()
}

/// What the notes of one connection tell together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Story<'a> {
    /// The service that does it on purpose, and what it does.
    pub(super) service: Option<(&'static str, &'static str)>,
    /// The other end of the host's connection, and whether it is a client of a published port.
    pub(super) other: Option<(SocketAddr, bool)>,
    /// Why the host's connection was not opened.
    pub(super) failed: Option<Failed<'a>>,
    /// How the host's connection ended, where it was not in order.
    pub(super) broke: Option<Broke<'a>>,
}

/// Why a host's connection was not opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed<'a> {
    /// The cause.
    pub(super) error: &'a str,
    /// It is the host's word, not finack's own decision.
    pub(super) hosts: bool,
    /// How the program's SYN was answered.
    pub(super) answered: Refusal,
}

/// How a host's connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broke<'a> {
    Reset,
    Lost(&'a str),
}

impl<'a> Story<'a> {
    pub(super) fn of(notes: &'a [NoteAt]) -> Self {
        let mut story = Self::default();
        for NoteAt { note, .. } in notes {
            match note {
                // The last word counts: a service may say more once it has done it.
                Note::Service { name, does } => story.service = Some((name, does)),
                Note::Outside(Outside::Connected { to }) => story.other = Some((*to, false)),
                Note::Outside(Outside::Accepted { from }) => story.other = Some((*from, true)),
                Note::Outside(Outside::Failed { error, answered }) => {
                    let hosts = error.contains("(os error");
                    story.failed = Some(Failed { error: plain(error), hosts, answered: *answered });
                }
                Note::Outside(Outside::PeerClosed) => {}
                Note::Outside(Outside::PeerReset) => {
                    story.broke.get_or_insert(Broke::Reset);
                }
                Note::Outside(Outside::Lost(error)) => {
                    story.broke.get_or_insert(Broke::Lost(plain(error)));
                }
            }
        }
        story
    }

    /// Whose a RST of finack's is, where it is not its own.
    pub(super) fn reset_by(&self) -> Option<String> {
        match (self.service, self.broke, self.failed) {
            (Some((name, _)), _, _) => Some(format!("RST from {name}, on purpose")),
            (_, Some(_), _) => Some("RST passed on from outside".to_owned()),
            (_, _, Some(_)) => Some("refusal passed on from outside".to_owned()),
            _ => None,
        }
    }

    /// `the server 192.0.2.1:80`, or `the client ...` of a published port.
    pub(super) fn outsider(&self) -> Option<String> {
        self.other.map(|(addr, client)| format!("the {} {addr}", if client { "client" } else { "server" }))
    }
}
