//! What the program will have seen of a connection's end, and who can change what.

use finack_core::tcp::State;

use super::note::Story;
use super::{ConnectionReport, EndingKind, How, Party, Side};
use crate::services::table::{self, Fault};

const RESET: &str =
    "what had arrived stays readable; then ECONNRESET once, after that EOF on reads and EPIPE on writes";
const RESET_AFTER_FIN: &str =
    "ECONNRESET, if it was still reading (it had sent its FIN); nothing, if it had closed its socket";
const NO_ANSWER: &str = "nothing: connect waits and repeats its SYN until it gives up (ETIMEDOUT, on Linux after about two minutes)";

/// What the program saw; empty where it is not affected.
pub(super) fn seen_as(
    c: &ConnectionReport,
    kind: EndingKind,
    by: Option<Party>,
    story: &Story<'_>,
) -> &'static str {
    if let Some(fault) = fault_of(story) {
        return fault.seen_as;
    }
    if c.opened_by == Some(Side::Finack) && matches!(kind, EndingKind::Refused | EndingKind::NeverOpen) {
        return "nothing: nobody in it was listening there";
    }
    match kind {
        EndingKind::InOrder if by == Some(Party::Program) => "",
        EndingKind::InOrder => "EOF: a read that returns nothing, and no error",
        EndingKind::Refused => "ECONNREFUSED from connect",
        EndingKind::ResetByFinack | EndingKind::ResetOutside | EndingKind::LostOutside => {
            if c.program_sent_fin() { RESET_AFTER_FIN } else { RESET }
        }
        EndingKind::ResetByProgram => "nothing: it had let go of its socket itself",
        EndingKind::TimedOut => "nothing: it no longer answered",
        EndingKind::Unreachable => {
            "an error from connect, by the ICMP code: EHOSTUNREACH, ENETUNREACH or ECONNREFUSED"
        }
        EndingKind::Unanswered | EndingKind::NeverOpen | EndingKind::GivenUp => NO_ANSWER,
        EndingKind::Closing => match c.finack_state() {
            State::CloseWait => "nothing yet: a read waits for the answer and its FIN",
            _ => "EOF: a read that returns nothing, and no error",
        },
        EndingKind::StillOpen => "no end: a read waits for as long as nothing comes",
    }
}

/// Who can change what; empty where there is nothing to be changed.
pub(super) fn advice(c: &ConnectionReport, kind: EndingKind, by: Option<Party>, story: &Story<'_>) -> String {
    if let Some(fault) = fault_of(story) {
        return fault.advice.to_owned();
    }
    match (kind, by) {
        (EndingKind::Refused, Some(Party::Program)) => {
            format!("the program: listen on port {} before a client comes", c.program.port())
        }
        (EndingKind::Refused, Some(Party::Finack)) => {
            "the program's user: `finack services` lists what answers, and where".to_owned()
        }
        (EndingKind::Refused, Some(Party::Outside)) => {
            "the server's side: start it; or the program's user: correct the address or port".to_owned()
        }
        (EndingKind::ResetOutside, _) => {
            "the server's side: its log may say why; the program can only connect again".to_owned()
        }
        (
            EndingKind::LostOutside | EndingKind::Unreachable | EndingKind::Unanswered,
            Some(Party::Outside),
        ) => "the network between this host and the other end; the program can only try again".to_owned(),
        (EndingKind::Unreachable, Some(Party::Finack)) => {
            "the program's user: what the run lets out is set by its flags (`finack run --help`)".to_owned()
        }
        (EndingKind::ResetByProgram, _) if c.held_established() && !c.program_sent_fin() => {
            "the program: read to the end, or shut down its sending side and wait for EOF, before it closes"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// What the service that misbehaved has to say for itself.
fn fault_of(story: &Story<'_>) -> Option<Fault> {
    table::named(story.service?.0)?.fault
}

impl ConnectionReport {
    fn held_established(&self) -> bool {
        self.finack_states.iter().any(|s| s.state == State::Established)
    }

    fn program_sent_fin(&self) -> bool {
        self.closes.iter().any(|c| c.side == Side::Program && c.how == How::Fin)
    }
}
