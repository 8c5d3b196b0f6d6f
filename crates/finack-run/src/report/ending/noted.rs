//! Endings whose true cause stands in the notes: on the outside of a connection that is carried on, or in a service that
//! misbehaves on purpose.

use finack_core::stack::Refusal;
use finack_core::trace::EndCause;

use super::{EndingKind, Told};
use crate::report::note::{Broke, Failed, Story};
use crate::report::{ConnectionReport, How, Side};

impl ConnectionReport {
    /// What the notes tell, `None` where they do not explain the end.
    pub(super) fn told_by_notes(&self, story: &Story<'_>) -> Option<Told> {
        if let Some(failed) = story.failed {
            return Some(self.not_opened(failed));
        }
        if let Some((name, does)) = story.service {
            return Some(self.on_purpose(name, does));
        }
        // A RST of finack's that passes on what happened outside; the program's own comes first where both are there.
        let reset = matches!(self.cause, Some(EndCause::ResetByUs(_)))
            || (self.cause.is_none() && self.has(Side::Finack, How::Rst));
        match story.broke.filter(|_| reset)? {
            Broke::Reset => Some((
                EndingKind::ResetOutside,
                format!("{} reset it (RST, ECONNRESET); finack passed the RST on", outsider(story)),
                "a system resets a connection whose process died, was closed with data unread, or aborted on purpose; so does a firewall between"
                    .to_owned(),
                "RFC 9293 3.5.3",
            )),
            Broke::Lost(error) => Some((
                EndingKind::LostOutside,
                format!("the host lost its connection to {}: {error}; finack told the program so by a RST", outsider(story)),
                "packets between the host and the other end no longer arrived, or a router said that they can't".to_owned(),
                "RFC 9293 3.8.3",
            )),
        }
    }

    fn not_opened(&self, Failed { error, hosts, answered }: Failed<'_>) -> Told {
        let to = self.finack;
        let (kind, how, rfc) = match answered {
            Refusal::Reset => (EndingKind::Refused, "answered the SYN with a RST", "RFC 9293 3.10.7.1"),
            Refusal::Unreachable(_) => {
                (EndingKind::Unreachable, "answered the SYN with an ICMP error", "RFC 9293 3.9.2.2")
            }
            Refusal::Silence => (EndingKind::Unanswered, "left the SYN unanswered", "RFC 9293 3.8.3"),
        };
        if !hosts {
            return (kind, format!("finack did not open it ({error}), and {how}"), String::new(), rfc);
        }
        let (what, why) = match answered {
            Refusal::Reset if error.starts_with("Connection refused") => (
                format!("{to} refused the connection (RST, ECONNREFUSED); finack passed the refusal on"),
                "nobody listens on that port, or a firewall answers so in its place",
            ),
            Refusal::Reset => (
                format!("the host could not connect to {to}: {error}; finack {how}"),
                "a connection is opened towards its destination first, and answered only then",
            ),
            Refusal::Unreachable(_) => (
                format!("the host can't reach {to}: {error}; finack {how}"),
                "the host has no way there, or a router on the way said so",
            ),
            Refusal::Silence => (
                format!("{to} did not answer the host: {error}; finack {how}, too"),
                "the host there is down, or a firewall drops the packets",
            ),
        };
        (kind, what, why.to_owned(), rfc)
    }

    fn on_purpose(&self, name: &str, does: &str) -> Told {
        let (mut kind, what, why, rfc) = self.told_by_segments();
        let purpose = format!("{name} {does}, on purpose: that is what it teaches");
        let what = match kind {
            EndingKind::GivenUp | EndingKind::NeverOpen => {
                kind = EndingKind::Unanswered;
                purpose
            }
            EndingKind::ResetByFinack | EndingKind::Refused | EndingKind::Unreachable => purpose,
            _ => format!("{what}; {purpose}"),
        };
        // Why the handshake hung, or a service was still busy, is said already.
        let why = match kind {
            EndingKind::Unanswered | EndingKind::Closing | EndingKind::Unreachable => String::new(),
            EndingKind::Refused => "nobody listens on that port: that is what a RST to a SYN says".to_owned(),
            _ => why,
        };
        (kind, what, why, rfc)
    }
}

fn outsider(story: &Story<'_>) -> String {
    story.outsider().unwrap_or_else(|| "the other end outside".to_owned())
}
