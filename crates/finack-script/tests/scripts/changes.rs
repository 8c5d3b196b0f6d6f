//! Every script that differs from a given one in a single thing.

use finack_script::Script;
use finack_script::ast::*;

mod call;
mod packet;

pub(crate) use packet::packet_changes;

/// What a change concerns, as far as a rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Anything that the script states.
    Stated,
    /// A time, by no more than the tolerance.
    LittleLater,
    /// A bound of a range of times, outwards.
    WiderRange,
    /// The value of a timestamp.
    StampValue,
    /// An initial sequence number.
    Initial,
    /// The packet a second time.
    Twice,
    /// Without a packet that comes at any time: nothing waits for it then.
    Awaited,
    /// What a call answers through its arguments that fails, or finds nothing.
    NotAnswered,
}

/// One change.
pub(crate) struct Change {
    pub(crate) pos: Pos,
    pub(crate) what: String,
    pub(crate) kind: Kind,
    pub(crate) script: Script,
}

/// A time that lies farther off than any tolerance.
fn later(t: Nanos) -> Nanos {
    t + t / 2 + 100_000_000
}

/// How much a time may be off: the language's least tolerance.
const TOLERANCE: Nanos = 4_000_000;

fn time_changes(when: When) -> Vec<(&'static str, Kind, When)> {
    let mut out = match when {
        When::Relative(t) => vec![
            ("later", Kind::Stated, When::Relative(later(t))),
            ("a little later", Kind::LittleLater, When::Relative(t + TOLERANCE / 4)),
        ],
        When::Absolute(t) => vec![("later", Kind::Stated, When::Absolute(later(t)))],
        When::RelativeRange(a, b) => vec![
            ("behind the range", Kind::Stated, When::RelativeRange(later(b), later(b))),
            ("a wider range", Kind::WiderRange, When::RelativeRange(a / 2, b)),
        ],
        When::AbsoluteRange(a, b) => {
            vec![("behind the range", Kind::Stated, When::AbsoluteRange(later(a.max(b)), later(b)))]
        }
        When::Any => Vec::new(),
    };
    if let When::Relative(t) = when
        && t >= 50_000_000
    {
        out.push(("earlier", Kind::Stated, When::Relative(t / 2)));
    }
    out
}

/// Numbers in an assertion, each so that it can't hold any more: what is equal to a number is not equal to the next one,
/// nothing lies above 10^30, no number of `tcp_info` below 0.
fn assertion_changes(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (sign, change) in [("== ", 0), (">= ", 1), ("<= ", 2), ("< ", 2)] {
        for (at, _) in text.match_indices(sign) {
            let from = at + sign.len();
            let word: String = text[from..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '|')
                .collect();
            let changed = match (change, word.parse::<u64>()) {
                (0, Ok(n)) => (n + 1).to_string(),
                (1, Ok(_)) => "10**30".into(),
                (2, Ok(_)) => "-1".into(),
                (0, Err(_)) if word.starts_with("TCP") => format!("1 + ({word})"),
                _ => continue,
            };
            out.push(format!("{}{changed}{}", &text[..from], &text[from + word.len()..]));
        }
    }
    out
}

struct Changes<'a> {
    script: &'a Script,
    out: Vec<Change>,
}

impl Changes<'_> {
    fn event(&mut self, at: usize, what: impl Into<String>, kind: Kind, event: Event) {
        let mut script = self.script.clone();
        script.events[at] = event;
        self.push(at, what.into(), kind, script);
    }

    fn push(&mut self, at: usize, what: String, kind: Kind, script: Script) {
        self.out.push(Change { pos: self.script.events[at].pos, what, kind, script });
    }

    /// Times; those of packets from the stack are expected, all others are part of what is done to it.
    fn times(&mut self, at: usize) {
        let event = &self.script.events[at];
        for (what, kind, when) in time_changes(event.when) {
            let changed = Event { when, ..event.clone() };
            self.event(at, what, kind, changed);
        }
    }

    fn without_and_twice(&mut self, at: usize) {
        let event = &self.script.events[at];
        // Its time passes all the same, and a little more, within which it may come.
        let when = match event.when {
            When::Relative(at) | When::RelativeRange(_, at) => When::Relative(at + TOLERANCE),
            When::AbsoluteRange(_, to) => When::Absolute(to),
            when => when,
        };
        let mut script = self.script.clone();
        if when == When::Any {
            script.events.remove(at);
        } else {
            script.events[at] = Event { when, action: Action::Command("true".into()), ..event.clone() };
        }
        // It may come a little later than it is expected.
        let action = Action::Command("true".into());
        script.events.push(Event { when: When::Relative(TOLERANCE), action, ..event.clone() });
        let kind = if when == When::Any { Kind::Awaited } else { Kind::Stated };
        self.push(at, "without it".into(), kind, script);
        let mut script = self.script.clone();
        script.events.insert(at + 1, script.events[at].clone());
        self.push(at, "twice".into(), Kind::Twice, script);
    }
}

/// Whether the event says what the stack is to do.
fn is_expected(event: &Event) -> bool {
    matches!(&event.action, Action::Packet(p) if p.direction == Direction::Out)
}

/// Changes of what the script expects.
pub(crate) fn of_expectations(script: &Script) -> Vec<Change> {
    let mut changes = Changes { script, out: Vec::new() };
    for (at, event) in script.events.iter().enumerate() {
        let with = |action| Event { action, ..event.clone() };
        match &event.action {
            Action::Packet(packet) if packet.direction == Direction::Out => {
                for (what, kind, packet) in packet_changes(packet) {
                    changes.event(at, what, kind, with(Action::Packet(packet)));
                }
                changes.times(at);
                changes.without_and_twice(at);
            }
            Action::Call(call) => {
                for (what, kind, call) in call::answers(call) {
                    changes.event(at, what, kind, with(Action::Call(call)));
                }
            }
            Action::Code(code) => {
                for text in assertion_changes(&code.text) {
                    let what = format!("assertion {text}");
                    changes.event(at, what, Kind::Stated, with(Action::Code(Code { text, ..code.clone() })));
                }
            }
            _ => {}
        }
    }
    changes.out
}

/// Changes of what is done to the stack: packets that come in, arguments of calls, times, commands.
pub(crate) fn of_deeds(script: &Script) -> Vec<Change> {
    let mut changes = Changes { script, out: Vec::new() };
    for (at, event) in script.events.iter().enumerate() {
        let with = |action| Event { action, ..event.clone() };
        match &event.action {
            Action::Packet(packet) if packet.direction == Direction::In => {
                for (what, kind, packet) in packet_changes(packet) {
                    changes.event(at, what, kind, with(Action::Packet(packet)));
                }
                changes.without_and_twice(at);
            }
            Action::Call(call) => {
                for (what, call) in call::arguments(call) {
                    changes.event(at, what, Kind::Stated, with(Action::Call(call)));
                }
            }
            Action::Command(text) => {
                for text in other_numbers(text) {
                    changes.event(at, format!("command {text}"), Kind::Stated, with(Action::Command(text)));
                }
            }
            _ => {}
        }
        if !is_expected(event) {
            changes.times(at);
        }
    }
    if let Some(init) = &script.init {
        for text in other_numbers(&init.text) {
            let init = Some(Command { text: text.clone(), ..init.clone() });
            let changed = Script { init, ..script.clone() };
            changes.push(0, format!("command {text}"), Kind::Stated, changed);
        }
    }
    changes.out
}

/// The text with one of the numbers behind an equals sign one greater, for each of them.
fn other_numbers(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices('=') {
        let digits: String = text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        if let Ok(n) = digits.parse::<u64>() {
            out.push(format!("{}={}{}", &text[..at], n + 1, &text[at + 1 + digits.len()..]));
        }
    }
    out
}
