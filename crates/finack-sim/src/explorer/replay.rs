//! A path taken once more, on hosts of its own, with everything told that happened.

use finack_core::tcp::State;

use super::app::{App, Op};
use super::host::{Event, Host};
use super::search::{Outcome, Violation};
use super::segment::Segment;
use super::space::{Action, Fate};
use super::world::End;

/// A segment on its way.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) from: End,
    pub(crate) segment: Segment,
    pub(crate) fate: Fate,
    /// Counts all that was sent, from 1.
    pub(crate) number: usize,
    number_of_kind: u32,
    sent: u32,
    arrivals: u8,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A call, with its answer and what the application knew before and after.
    Call { op: Op, answer: String, before: Box<App>, after: Box<App> },
    /// A timer.
    Timer,
    /// A segment arrived, so many ticks old.
    Arrival(Sending, u8),
    /// The host crashed, came up again, or its application waits no longer.
    Other(&'static str),
}

/// How a crash is told.
pub(crate) const CRASH: &str = "CRASH";

/// A step as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Ticks since the beginning.
    pub(crate) at: u32,
    pub(crate) end: End,
    pub(crate) what: Happening,
    /// What the host did with it where that is not plain.
    pub(crate) note: String,
    pub(crate) transitions: Vec<(State, State)>,
    pub(crate) sent: Vec<Sending>,
}

/// Plays a violation again.
pub(crate) fn rows(outcome: &Outcome, violation: &Violation) -> Vec<Row> {
    let (world, machinery) = (&outcome.world, &outcome.machinery);
    let mut hosts = [Host::new(world, 0), Host::new(world, 1)];
    let (mut at, mut out, mut flying, mut count) = (0, Vec::new(), Vec::<Sending>::new(), 0);
    for action in outcome.prelude.iter().chain(&violation.path) {
        if action.event == Event::Tick {
            at += 1;
            hosts.iter_mut().for_each(|h| drop(h.take(world, Event::Tick, None)));
            continue;
        }
        let host = &mut hosts[action.end];
        let before = host.app.clone();
        let (mut segment, mut arrival) = (None, None);
        if let Event::Deliver(number, age) = action.event {
            segment = Some(machinery.segment(number));
            arrival = flying.iter_mut().find(|f| {
                f.number_of_kind == number
                    && f.sent + u32::from(age) == at
                    && f.arrivals > 0
                    && f.from != action.end
            });
        }
        let what = match (action.event, arrival) {
            (Event::Call(task), _) => before.op(usize::from(task), &world.hosts[action.end]).map_or(
                Happening::Other("nothing"),
                |op| Happening::Call {
                    op,
                    answer: String::new(),
                    before: Box::new(before),
                    after: Box::default(),
                },
            ),
            (Event::Deliver(_, age), Some(sending)) => {
                sending.arrivals -= 1;
                Happening::Arrival(sending.clone(), age)
            }
            (Event::Crash, _) => Happening::Other(CRASH),
            (Event::Reboot, _) => Happening::Other("starts again"),
            (Event::GiveUp(_), _) => Happening::Other("waits no longer"),
            _ => Happening::Timer,
        };
        let effects = host.take(world, action.event, segment);
        let what = match what {
            Happening::Call { op, before, .. } => Happening::Call {
                op,
                answer: effects.note.clone(),
                before,
                after: Box::new(host.app.clone()),
            },
            other => other,
        };
        let sent: Vec<Sending> = effects
            .sent
            .into_iter()
            .enumerate()
            .map(|(index, segment)| sending(outcome, action, index, segment, at, count + index + 1))
            .collect();
        count += sent.len();
        flying.extend(sent.iter().cloned());
        out.push(Row {
            at,
            end: action.end,
            what,
            note: effects.wrong.unwrap_or(effects.note),
            transitions: effects.transitions,
            sent,
        });
    }
    out
}

/// A segment goes out.
fn sending(
    outcome: &Outcome,
    action: &Action,
    index: usize,
    segment: Segment,
    sent: u32,
    number: usize,
) -> Sending {
    let fate = action.fate(index);
    let arrivals = [1, 0, 2, 1][fate as usize];
    let number_of_kind = outcome.machinery.number_of(&segment).unwrap_or(u32::MAX);
    Sending { from: action.end, segment, fate, number, number_of_kind, sent, arrivals }
}
