//! How a connection ended and why, in words for people who never read an RFC, with the section for those who did.

mod noted;

use std::fmt;

use finack_core::tcp::State;
use finack_core::trace::{EndCause, ResetReason};

use super::format::bytes;
use super::note::Story;
use super::{ConnectionReport, How, Side, hint};

/// The ways in which a connection can end, coarse enough to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EndingKind {
    /// FIN both ways, each acknowledged.
    InOrder,
    /// The SYN was answered with a RST.
    Refused,
    /// The program's end sent a RST.
    ResetByProgram,
    /// finack sent a RST.
    ResetByFinack,
    /// The other end of the host's connection sent a RST, which finack passed on.
    ResetOutside,
    /// The host's connection broke, which finack passed on as a RST.
    LostOutside,
    /// Nobody answered for too long.
    TimedOut,
    /// ICMP said that it cannot go on.
    Unreachable,
    /// The SYN got no answer, because the outside gave none or a service means it so.
    Unanswered,
    /// finack gave it up before it was open.
    GivenUp,
    /// Closed in one direction or closing when the run ended.
    Closing,
    /// Open when the run ended.
    StillOpen,
    /// Opening when the run ended.
    NeverOpen,
}

impl EndingKind {
    /// Stable name for machines.
    pub const fn key(self) -> &'static str {
        match self {
            Self::InOrder => "in-order",
            Self::Refused => "refused",
            Self::ResetByProgram => "reset-by-program",
            Self::ResetByFinack => "reset-by-finack",
            Self::ResetOutside => "reset-outside",
            Self::LostOutside => "lost-outside",
            Self::TimedOut => "timed-out",
            Self::Unreachable => "unreachable",
            Self::Unanswered => "unanswered",
            Self::GivenUp => "given-up",
            Self::Closing => "closing",
            Self::StillOpen => "still-open",
            Self::NeverOpen => "never-open",
        }
    }

    /// Whether nothing went wrong.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::InOrder)
    }
}

impl fmt::Display for EndingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InOrder => "closed in order",
            Self::Refused => "refused",
            Self::ResetByProgram => "reset by the program",
            Self::ResetByFinack => "reset by finack",
            Self::ResetOutside => "reset from outside",
            Self::LostOutside => "lost outside",
            Self::TimedOut => "timed out",
            Self::Unreachable => "unreachable",
            Self::Unanswered => "unanswered",
            Self::GivenUp => "given up while opening",
            Self::Closing => "still closing",
            Self::StillOpen => "still open",
            Self::NeverOpen => "never open",
        })
    }
}

/// Who brought an end about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Party {
    /// The program, or the kernel that speaks for it.
    Program,
    /// finack itself.
    Finack,
    /// One of finack's services, on purpose.
    Service,
    /// The other end of the host's connection, or the network on the way to it.
    Outside,
    /// The private network.
    Network,
}

impl Party {
    /// Stable name for machines.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Finack => "finack",
            Self::Service => "service",
            Self::Outside => "outside",
            Self::Network => "network",
        }
    }
}

/// The end of a connection, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Which way.
    pub kind: EndingKind,
    /// What happened: who did what, in one sentence without a full stop.
    pub what: String,
    /// Why, and what it means; empty where there is nothing to add.
    pub why: String,
    /// Where it is written.
    pub rfc: &'static str,
    /// Which end waits out TIME-WAIT.
    pub time_wait: Option<Side>,
    /// Who brought it about: whoever closed first, reset, refused or did not answer. `None` where nobody did yet.
    pub by: Option<Party>,
    /// By which segment the program was told: `FIN`, `RST` or `ICMP`; `None` where nothing told it.
    pub segment: Option<&'static str>,
    /// What the program will have seen of it; empty where it is not affected.
    pub seen_as: &'static str,
    /// Who can change what; empty where there is nothing to be changed.
    pub advice: String,
}

impl ConnectionReport {
    /// How it ended.
    pub fn ending(&self) -> Ending {
        let story = Story::of(&self.notes);
        let told = self.told_by_notes(&story);
        let (kind, what, why, rfc) = told.unwrap_or_else(|| self.told_by_segments());
        let time_wait = [Side::Program, Side::Finack].into_iter().find(|s| self.held_time_wait(*s));
        let by = self.brought_about(kind, &story);
        let seen_as = hint::seen_as(self, kind, by, &story);
        let advice = hint::advice(self, kind, by, &story);
        Ending { kind, what, why, rfc, time_wait, by, segment: segment_of(kind), seen_as, advice }
    }

    /// The kind of its [`ending`](Self::ending), without the words: for nearly all connections that is little to look at.
    pub(super) fn ending_kind(&self) -> EndingKind {
        let kind = match (self.told_by_notes(&Story::of(&self.notes)), self.cause) {
            (Some((kind, ..)), _) => kind,
            (None, Some(EndCause::Closed | EndCause::Reopened)) => EndingKind::InOrder,
            (None, _) => self.told_by_segments().0,
        };
        debug_assert_eq!(kind, self.ending().kind, "both say the same");
        kind
    }

    /// What the segments and events alone tell.
    fn told_by_segments(&self) -> Told {
        match self.cause {
            // Both had closed, and every byte was acknowledged: a RST for a repeated ACK only cuts TIME-WAIT short.
            Some(EndCause::ResetByPeer) if self.went_through(State::TimeWait) => self.in_order(),
            Some(EndCause::ResetByPeer) => self.reset_by_program(),
            Some(EndCause::ResetByUs(reason)) => self.reset_by_finack(reason),
            Some(EndCause::TimedOut) => self.timed_out(),
            Some(EndCause::Unreachable) => self.unreachable(),
            Some(EndCause::FinWait2TimedOut) => fin_wait2_timed_out(),
            Some(EndCause::Dropped) => given_up(),
            Some(EndCause::Closed | EndCause::Reopened) => self.in_order(),
            _ => self.unfinished(),
        }
    }

    fn brought_about(&self, kind: EndingKind, story: &Story<'_>) -> Option<Party> {
        let finacks = if story.service.is_some() {
            Party::Service
        } else if story.other.is_some() || story.failed.is_some_and(|f| f.hosts) {
            Party::Outside
        } else {
            Party::Finack
        };
        match kind {
            EndingKind::InOrder | EndingKind::Closing => Some(match self.closed_first()?.side {
                Side::Program => Party::Program,
                Side::Finack => finacks,
            }),
            EndingKind::Refused if self.opened_by == Some(Side::Finack) => Some(Party::Program),
            EndingKind::ResetByProgram | EndingKind::TimedOut => Some(Party::Program),
            EndingKind::ResetByFinack if story.service.is_none() => Some(Party::Finack),
            EndingKind::Unreachable if finacks == Party::Finack && story.failed.is_none() => {
                Some(Party::Network)
            }
            EndingKind::StillOpen | EndingKind::NeverOpen => story.service.map(|_| Party::Service),
            _ => Some(finacks),
        }
    }

    /// finack's end of the connection in a sentence: who stands behind it.
    fn far(&self) -> String {
        let story = Story::of(&self.notes);
        story.service.map(|(name, _)| name.to_owned()).or_else(|| story.outsider()).unwrap_or("finack".into())
    }

    fn name_of(&self, side: Side) -> String {
        match side {
            Side::Program => side.as_str().to_owned(),
            Side::Finack => self.far(),
        }
    }

    fn has(&self, side: Side, how: How) -> bool {
        self.closes.iter().any(|c| c.side == side && c.how == how)
    }

    fn went_through(&self, state: State) -> bool {
        self.finack_states.iter().any(|s| s.state == state)
    }

    fn in_order(&self) -> Told {
        let first = self.closed_first().map_or(Side::Program, |c| c.side);
        let what = if self.went_through(State::Closing) {
            "both sides closed at the same time: their FINs crossed".to_owned()
        } else {
            format!("{} closed first (FIN), then {} (FIN)", self.name_of(first), self.name_of(first.other()))
        };
        let lost = self.to_program.sent - self.to_program.acknowledged.min(self.to_program.sent);
        let mut why = if lost == 0 {
            "each side said that it had nothing more to send, and every byte was acknowledged".to_owned()
        } else {
            format!("{} to the program were never acknowledged", bytes(lost))
        };
        if self.cause == Some(EndCause::Reopened) {
            why.push_str("; a new connection took the place of its TIME-WAIT");
        }
        (EndingKind::InOrder, what, why, "RFC 9293 3.6")
    }

    fn reset_by_program(&self) -> Told {
        if !self.went_through(State::Established) && self.opened_by == Some(Side::Finack) {
            return (
                EndingKind::Refused,
                "the program's end refused the connection (RST in answer to the SYN)".to_owned(),
                format!("nobody in the program's network listens on port {}", self.program.port()),
                "RFC 9293 3.10.7.1",
            );
        }
        let unacknowledged = self.unacknowledged_at_reset.unwrap_or(0);
        let lost = match unacknowledged {
            0 => String::new(),
            n => format!("; {} on the way to it had not been acknowledged", bytes(n)),
        };
        let (why, rfc) = if !self.went_through(State::Established) {
            ("it gave up before the connection was open, as port scanners do".to_owned(), "RFC 9293 3.10.7.4")
        } else if self.has(Side::Program, How::Fin) {
            (
                format!("it had closed its socket, and then data came for it that nobody would read{lost}"),
                "RFC 9293 3.6.1",
            )
        } else {
            (
                format!(
                    "it closed its socket while data that had arrived was unread, or aborted on purpose (SO_LINGER 0){lost}"
                ),
                "RFC 1122 4.2.2.13",
            )
        };
        // What is carried is reset on the other side too.
        let passed = Story::of(&self.notes)
            .outsider()
            .map_or(String::new(), |to| format!("; finack passed the RST on to {to}"));
        let what = format!("the program's end threw the connection away (RST){passed}");
        (EndingKind::ResetByProgram, what, why, rfc)
    }

    fn reset_by_finack(&self, reason: ResetReason) -> Told {
        // The gateway turns down what nobody in the private network listens for: there is no destination behind it.
        let inside = reason == ResetReason::Refused && crate::plan::is_inside(self.finack.ip());
        let reason = if inside { ResetReason::NoListener } else { reason };
        let kind = match reason {
            ResetReason::NoListener | ResetReason::Refused => EndingKind::Refused,
            _ => EndingKind::ResetByFinack,
        };
        let (why, rfc) = reset_reason(reason);
        (
            kind,
            format!("finack threw the connection away (RST): {}", without_section(reason)),
            why.to_owned(),
            rfc,
        )
    }

    fn timed_out(&self) -> Told {
        let repeated: u64 = self.retransmits.values().sum();
        let opening = !self.went_through(State::Established);
        let what = if opening {
            "nobody answered while it was being opened"
        } else {
            "the program's end fell silent"
        };
        (
            EndingKind::TimedOut,
            format!("{what}; finack gave up after {repeated} repetitions"),
            "how often is tried is set by tcp_retries2, tcp_synack_retries and the keep-alive settings"
                .to_owned(),
            "RFC 9293 3.8.3",
        )
    }

    fn unreachable(&self) -> Told {
        let error = self.icmp.map_or_else(|| "unreachable".to_owned(), |(e, _)| e.to_string());
        (
            EndingKind::Unreachable,
            format!("an ICMP error ended it: {error}"),
            "a host on the way says that packets cannot be delivered".to_owned(),
            "RFC 9293 3.9.2.2",
        )
    }

    fn unfinished(&self) -> Told {
        let rst = [Side::Program, Side::Finack].into_iter().find(|s| self.has(*s, How::Rst));
        let (kind, what, why) = match (self.finack_state(), rst) {
            (_, Some(Side::Program)) => return self.reset_by_program(),
            (_, Some(Side::Finack)) => {
                return self.reset_by_finack(self.reset_sent.unwrap_or(ResetReason::Abort));
            }
            (State::TimeWait | State::Closed, None) => return self.in_order(),
            (State::Established, None) => (
                EndingKind::StillOpen,
                "it was open when the run ended: neither side had closed".to_owned(),
                "what was left of it went with the private network",
            ),
            (State::CloseWait, None) => (
                EndingKind::Closing,
                format!("the program had closed its sending side (FIN), {} had not yet", self.far()),
                "what was still to come the other way had not come when the run ended",
            ),
            (State::FinWait2, None) => (
                EndingKind::Closing,
                format!("{} had closed its sending side (FIN), the program had not", self.far()),
                "a connection closed in one direction only goes on in the other for as long as that side likes",
            ),
            (State::FinWait1 | State::Closing | State::LastAck, None) => (
                EndingKind::Closing,
                "finack's FIN was not yet acknowledged when the run ended".to_owned(),
                "the program's end went away, or had not read all that was sent to it",
            ),
            (_, None) => (
                EndingKind::NeverOpen,
                "the handshake was not complete when the run ended".to_owned(),
                "its SYN, SYN,ACK or ACK had not been answered",
            ),
        };
        (kind, what, why.to_owned(), "RFC 9293 3.6")
    }
}

/// The segment that tells the program of such an end.
const fn segment_of(kind: EndingKind) -> Option<&'static str> {
    match kind {
        EndingKind::InOrder | EndingKind::Closing => Some("FIN"),
        EndingKind::Refused
        | EndingKind::ResetByProgram
        | EndingKind::ResetByFinack
        | EndingKind::ResetOutside
        | EndingKind::LostOutside => Some("RST"),
        EndingKind::Unreachable => Some("ICMP"),
        _ => None,
    }
}

/// Kind, what, why, section.
type Told = (EndingKind, String, String, &'static str);

fn fin_wait2_timed_out() -> Told {
    (
        EndingKind::InOrder,
        "finack closed first (FIN); the program's FIN did not come within tcp_fin_timeout".to_owned(),
        "the program kept its half open, and nobody at finack's end was left to read from it".to_owned(),
        "RFC 9293 3.6 (the time limit is Linux's)",
    )
}

fn given_up() -> Told {
    (
        EndingKind::GivenUp,
        "finack gave the half-open connection up".to_owned(),
        "its listener was closed, or its place was needed for another".to_owned(),
        "RFC 4987",
    )
}

/// What stands in a reason before its section in brackets.
fn without_section(reason: ResetReason) -> &'static str {
    reason.as_str().split(" (RFC").next().unwrap_or_default()
}

/// A reason for a RST of finack's in plain words, and where it is written.
pub(super) fn reset_reason(reason: ResetReason) -> (&'static str, &'static str) {
    match reason {
        ResetReason::NoListener => {
            ("no service of finack's answers at this address and port", "RFC 9293 3.10.7.1")
        }
        ResetReason::Refused => (
            "the connection was opened towards its destination first, and a RST came back",
            "RFC 9293 3.10.7.1",
        ),
        ResetReason::NoConnection => (
            "the program's end believes in a connection of which finack knows nothing, and is told so",
            "RFC 9293 3.5.1",
        ),
        ResetReason::Abort => {
            ("a RST instead of a FIN throws away what is still on its way, on purpose", "RFC 9293 3.10.5")
        }
        ResetReason::UnreadData => (
            "bytes that the program had sent, and that were acknowledged, were never read: a FIN would hide that",
            "RFC 1122 4.2.2.13",
        ),
        ResetReason::DataAfterClose => {
            ("the program went on sending to a socket that nobody reads any more", "RFC 9293 3.6.1")
        }
        ResetReason::HandshakeAck | ResetReason::UnexpectedAck => (
            "the other end is in the middle of another, older connection with the same ports",
            "RFC 9293 3.5.1",
        ),
        ResetReason::AbortRepeated => (
            "the first RST did not stand at the number that the program's end expected, as happens after a loss",
            "RFC 5961 3.2",
        ),
        ResetReason::ListenerClosed => {
            ("the service went away before it had taken the connection", "RFC 9293 3.10.4")
        }
        ResetReason::Overflow => (
            "more connections came than the service took, and tcp_abort_on_overflow asks for a RST",
            "Linux's tcp_abort_on_overflow",
        ),
        ResetReason::TwoKindsOfEcn => (
            "SYNs of one connection asked for classic and for accurate congestion notification: nobody knows which holds",
            "RFC 9768 3.1.5",
        ),
        ResetReason::Orphan => (
            "its service had closed it, and what was left to send went nowhere for too long, or there were too many of its kind",
            "RFC 1122 4.2.2.13",
        ),
        ResetReason::WindowClosed => (
            "finack was short of memory, and the program's end had not taken what was sent to it for longest",
            "RFC 6429",
        ),
        ResetReason::TimedOut => {
            ("keep-alive probes or repetitions stayed without an answer", "RFC 9293 3.8.3, 3.8.4")
        }
        ResetReason::FinWait2 => {
            ("finack had closed, nobody was left to read, and the program did not close", "RFC 1122 4.2.2.13")
        }
        _ => ("", "RFC 9293 3.5.2"),
    }
}
