//! The runner itself under test: change any one thing of a passing script, and it must not pass, unless a rule says why
//! the change means nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use finack_script::Script;
use finack_script::ast::{Action, Flags};
use finack_script::run::Verdict;

use super::changes::{Kind, of_deeds, of_expectations};
use super::explain::{self, Rule};
use super::record::{Deed, Lie};
use super::{all, ran_with, read};

/// What became of the changes.
#[derive(Default)]
struct Tally {
    made: usize,
    caught: usize,
    rules: BTreeMap<Rule, usize>,
    unexplained: Vec<String>,
}

impl Tally {
    /// `passed` where the change was not noticed, with the rule that explains it.
    fn count(&mut self, passed: bool, rule: Option<Rule>, what: impl FnOnce() -> String) {
        self.made += 1;
        match (passed, rule) {
            (false, _) => self.caught += 1,
            (true, Some(rule)) => *self.rules.entry(rule).or_default() += 1,
            (true, None) => self.unexplained.push(what()),
        }
    }

    fn add(&mut self, other: Self) {
        self.made += other.made;
        self.caught += other.caught;
        self.unexplained.extend(other.unexplained);
        for (rule, count) in other.rules {
            *self.rules.entry(rule).or_default() += count;
        }
    }

    fn show(&self, what: &str) {
        println!("{what}: {} changes, {} caught", self.made, self.caught);
        for (rule, count) in &self.rules {
            println!("  {count:6}  {rule}");
        }
        println!("  {:6}  unexplained", self.unexplained.len());
        for what in self.unexplained.iter().take(100) {
            println!("          {what}");
        }
    }
}

/// TOPIC/NAME.pkt
fn name(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|p| p.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Does it for every script, on as many threads as there are processors.
fn of_all(each: impl Fn(&Path, &Script) -> Tally + Sync) -> Tally {
    let paths = all();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = each(path, &read(path));
                    total.lock().unwrap().add(tally);
                }
            });
        }
    });
    let mut tally = total.into_inner().unwrap();
    tally.unexplained.sort();
    tally
}

/// Requirement on the runner itself: change any one number, flag, option, time, result, error or assertion that a passing
/// script expects, and it must not pass, except where the language says that the change means nothing.
#[test]
fn no_change_of_what_a_script_expects_survives() {
    let tally = of_all(|path, script| {
        let (_, before, _) = ran_with(&without_assertions(script), Lie::None);
        let mut tally = Tally::default();
        for change in of_expectations(script) {
            // Python starts each time: only for what no rule would explain anyway.
            let changed = if change.kind == Kind::Stated {
                change.script.clone()
            } else {
                without_assertions(&change.script)
            };
            let (report, after, _) = ran_with(&changed, Lie::None);
            let verdict = report.verdict;
            let rule = explain::of_an_expectation(&change, &before, &after);
            // A change that makes no sense shows nothing.
            let passed = !matches!(verdict, Verdict::Failed(_) | Verdict::Malformed(..));
            tally.count(passed, rule, || format!("{}:{}: {}", name(path), change.pos, change.what));
        }
        tally
    });
    tally.show("what is expected");
    assert!(tally.made > 20_000, "only {} changes", tally.made);
    assert!(tally.unexplained.is_empty(), "{} changes survive", tally.unexplained.len());
}

/// Assertions start python each time; only what is seen from outside counts here. Their times stay.
fn without_assertions(script: &Script) -> Script {
    let mut script = script.clone();
    for event in &mut script.events {
        if matches!(event.action, Action::Code(_)) {
            event.action = Action::Command("true".into());
        }
    }
    script
}

/// Change any one thing that is done to the stack (a field of a packet that comes in, an argument of a call, a time, a
/// setting): either the script fails, or the stack does what it did before in all that the script states.
#[test]
fn a_change_of_what_is_done_is_noticed_or_makes_no_difference() {
    let tally = of_all(|path, script| {
        let script = without_assertions(script);
        let (first, before, _) = ran_with(&script, Lie::None);
        let mut tally = Tally::default();
        for change in of_deeds(&script) {
            let (report, after, _) = ran_with(&change.script, Lie::None);
            // A setting that is refused is noted.
            let passed = report.verdict == Verdict::Passed && report.notes == first.notes;
            let rule = if passed { explain::of_a_deed(&script, &change, &before, &after) } else { None };
            tally.count(passed, rule, || format!("{}:{}: {}", name(path), change.pos, change.what));
        }
        tally
    });
    tally.show("what is done");
    assert!(tally.made > 20_000, "only {} changes", tally.made);
    assert!(tally.unexplained.is_empty(), "{} changes survive", tally.unexplained.len());
}

/// A byte read out of band leaves a hole in the stream, behind which the runner does not know what is to be read.
fn has_urgent_data(script: &Script) -> bool {
    script.events.iter().any(|event| match &event.action {
        Action::Packet(packet) => match &packet.body {
            finack_script::ast::Body::Tcp(tcp) => tcp.flags.has(Flags::URG),
            _ => false,
        },
        _ => false,
    })
}

/// One byte of the payload of a packet, or of what a call reads, is not what it was: no script passes.
#[test]
fn no_false_byte_survives() {
    let tally = of_all(|path, script| {
        let (_, deeds, _) = ran_with(&without_assertions(script), Lie::None);
        let packets = deeds.iter().filter(|d| matches!(d, Deed::Packet(..))).count();
        let lies = (0..packets)
            .flat_map(|n| [Lie::Payload(n, false), Lie::Payload(n, true)])
            .chain((0..deeds.len() - packets).map(Lie::Read));
        let mut tally = Tally::default();
        for lie in lies {
            let (report, _, lied) = ran_with(&without_assertions(script), lie);
            if !lied {
                continue;
            }
            let rule = has_urgent_data(script).then_some("behind a byte that was read out of band");
            tally.count(report.verdict == Verdict::Passed, rule, || format!("{}: {lie:?}", name(path)));
        }
        tally
    });
    tally.show("payload");
    assert!(tally.made > 500, "only {} changes", tally.made);
    assert!(tally.unexplained.is_empty(), "{} changes survive", tally.unexplained.len());
}
