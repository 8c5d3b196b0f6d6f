//! Takes a failing world apart while the same rule stays broken.

use super::case::{Case, FAULTS, faults_edit};
use super::plan::{End, Faults, Manager, Opt, Plan, Reads, Step};
use super::run::{Outcome, run};
use crate::checker::Rule;

/// A smaller case and what it comes to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The case.
    pub case: Case,
    /// What comes of it: the same rule is broken.
    pub outcome: Outcome,
    /// Runs that it took.
    pub runs: u32,
}

/// Makes a failing case smaller with at most `budget` runs; `None` where it does not fail.
///
/// `attempt` runs a plan; [`run`] does, and one that catches panics may too.
#[must_use]
pub fn shrink_with(case: &Case, budget: u32, attempt: impl Fn(&Plan) -> Option<Outcome>) -> Option<Shrunk> {
    let outcome = attempt(&case.plan().ok()?)?;
    let rule = outcome.violation.as_ref()?.rule;
    let best = Shrunk { case: case.clone(), outcome, runs: 1 };
    let mut work = Work { best, rule, budget, attempt };
    loop {
        let before = work.best.case.edits.clone();
        work.few_talks();
        work.few_faults();
        work.details();
        if work.best.case.edits == before || work.is_spent() {
            return Some(work.best);
        }
    }
}

/// As [`shrink_with`], with [`run`].
#[must_use]
pub fn shrink(case: &Case, budget: u32) -> Option<Shrunk> {
    shrink_with(case, budget, |plan| run(plan).ok())
}

struct Work<A> {
    best: Shrunk,
    rule: Rule,
    budget: u32,
    attempt: A,
}

impl<A: Fn(&Plan) -> Option<Outcome>> Work<A> {
    const fn is_spent(&self) -> bool {
        self.best.runs >= self.budget
    }

    /// Takes the edit where the rule stays broken with it.
    fn with(&mut self, edit: &str) -> bool {
        let case = self.best.case.with(edit);
        let Ok(plan) = case.plan() else { return false };
        if self.is_spent() {
            return false;
        }
        self.best.runs += 1;
        let Some(outcome) = (self.attempt)(&plan) else { return false };
        let same = outcome.violation.as_ref().is_some_and(|v| v.rule == self.rule);
        if same {
            (self.best.case, self.best.outcome) = (case, outcome);
        }
        same
    }

    fn plan(&self) -> Option<Plan> {
        self.best.case.plan().ok()
    }

    fn few_talks(&mut self) {
        let Some(plan) = self.plan() else { return };
        let talks = plan.talks.iter().map(|t| t.gone).enumerate().map(|(i, gone)| ("talk", i, gone));
        let datagrams = plan.datagrams.iter().map(|d| d.gone).enumerate().map(|(i, gone)| ("udp", i, gone));
        let crashes = plan.crashes.iter().map(|c| c.gone).enumerate().map(|(i, gone)| ("crash", i, gone));
        let boxes = plan.boxes.iter().map(|x| x.gone).enumerate().map(|(i, gone)| ("box", i, gone));
        for (kind, index, gone) in talks.chain(datagrams).chain(crashes).chain(boxes) {
            if !gone {
                self.with(&format!("-{kind}{index}"));
            }
        }
    }

    /// From chances to a list of what happened, and from that to a shorter one.
    fn few_faults(&mut self) {
        let Some(plan) = self.plan() else { return };
        let mut list = match plan.faults {
            Faults::Listed(list) => list,
            Faults::Drawn => {
                if self.with(FAULTS) {
                    return;
                }
                let list = self.best.outcome.faults.clone();
                if !self.with(&faults_edit(&list)) {
                    return;
                }
                list
            }
        };
        let mut size = list.len().div_ceil(2).max(1);
        while !list.is_empty() && !self.is_spent() {
            let mut at = 0;
            let mut shorter = false;
            while at < list.len() && !self.is_spent() {
                let mut fewer = list.clone();
                fewer.drain(at..(at + size).min(list.len()));
                if self.with(&faults_edit(&fewer)) {
                    (list, shorter) = (fewer, true);
                } else {
                    at += size;
                }
            }
            if size == 1 && !shorter {
                return;
            }
            size = size.div_ceil(2).min(size.saturating_sub(1)).max(1);
        }
    }

    fn details(&mut self) {
        let Some(plan) = self.plan() else { return };
        for edit in simpler(&plan) {
            self.with(&edit);
        }
        self.fewer_bytes();
    }

    fn fewer_bytes(&mut self) {
        let Some(plan) = self.plan() else { return };
        for (t, talk) in plan.talks.iter().enumerate().filter(|(_, t)| !t.gone) {
            for (side, name) in talk.sides.iter().zip(["a", "b"]) {
                for (s, step) in side.steps.iter().enumerate() {
                    let Step::Write(mut n) = *step else { continue };
                    if self.with(&format!("talk{t}{name}.step{s}")) {
                        continue;
                    }
                    while n > 1 && self.with(&format!("talk{t}{name}.step{s}={}", n / 2)) {
                        n /= 2;
                    }
                }
            }
        }
    }
}

/// Edits that make a plan simpler, where they change it.
fn simpler(plan: &Plan) -> Vec<String> {
    let mut all = Vec::new();
    for (t, talk) in plan.talks.iter().enumerate().filter(|(_, t)| !t.gone) {
        let awaits = talk.sides.iter().any(|s| s.steps.iter().any(|s| matches!(s, Step::Await(_))));
        for (name, changes) in [
            ("once", talk.times > 1),
            ("crossed", talk.crossed.is_some()),
            ("port", talk.port.is_some() && talk.crossed.is_none()),
            ("v4", talk.v6),
            ("early", talk.early),
            ("start", !talk.start.is_zero()),
            ("awaits", awaits),
        ] {
            if changes {
                all.push(format!("talk{t}.{name}"));
            }
        }
        for (side, name) in talk.sides.iter().zip(["a", "b"]) {
            let options = side.options.iter().enumerate().filter(|(_, o)| **o != Opt::Gone);
            all.extend(options.map(|(o, _)| format!("talk{t}{name}.opt{o}")));
            let other = |s: &Step| matches!(s, Step::Urgent | Step::Pause(_));
            let steps = side.steps.iter().enumerate().filter(|(_, s)| other(s));
            all.extend(steps.map(|(s, _)| format!("talk{t}{name}.step{s}")));
            for (what, changes) in [
                ("reads", side.reads != Reads::EAGER),
                ("chunk", side.chunk != 65_536),
                ("end", side.end != End::HalfClose),
            ] {
                if changes {
                    all.push(format!("talk{t}{name}.{what}"));
                }
            }
        }
    }
    let busy = plan.busy_hosts();
    for (h, host) in plan.hosts.iter().enumerate().filter(|(h, _)| busy.contains(h)) {
        all.extend(host.settings.iter().map(|(name, _)| format!("host{h}.{name}")));
        if host.mtu != 1500 || host.units || host.joins {
            all.push(format!("host{h}.plain"));
        }
    }
    let hosts = plan.hosts.len();
    let used =
        |i: usize| i / hosts != i % hosts && busy.contains(&(i / hosts)) && busy.contains(&(i % hosts));
    for (i, way) in plan.ways.iter().enumerate().filter(|(i, _)| used(*i)) {
        for (name, changes) in [
            ("rate", way.rate.is_some() || !way.trace.is_empty()),
            ("queue", way.manager != Manager::Tail),
            ("change", way.mtu_change.is_some()),
            ("mtu", way.mtu != 9500),
            ("delay", way.delay.as_millis() != 10),
        ] {
            if changes {
                all.push(format!("way{}-{}.{name}", i / hosts, i % hosts));
            }
        }
    }
    all
}
