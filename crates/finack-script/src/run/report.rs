//! What a run came to, for people and for programs.

use std::fmt::{self, Display, Formatter};

use super::compare::Difference;
use crate::ast::{Nanos, Pos};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was as the script says.
    Passed,
    /// Something was not: the first of it.
    Failed(Box<Failure>),
    /// It was not run, or not to its end: finack lacks what it needs.
    NotRun(String),
    /// It makes no sense: where, and what.
    Malformed(Pos, String),
}

/// The first thing that was not as the script says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Failure {
    /// The event.
    pub pos: Pos,
    /// When it was, since the script's beginning.
    pub at: Nanos,
    /// In one line, what is wrong.
    pub what: String,
    /// The event as the script has it.
    pub expected: Option<String>,
    /// What happened instead, in the same language.
    pub seen: Option<String>,
    /// The fields that differ, the most telling first.
    pub fields: Vec<Difference>,
    /// The packets up to there.
    pub ladder: Vec<String>,
    /// What the stack says of it.
    pub reasons: Vec<String>,
    /// Who says so.
    pub speaker: String,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// What else there is to say: settings that finack has not, packets that the script does not mention.
    pub notes: Vec<String>,
    /// Events that were as the script says.
    pub events: usize,
    /// How long the script took on its own clock.
    pub lasted: Nanos,
}

impl Report {
    pub(crate) fn not_begun(verdict: Verdict) -> Self {
        Self { verdict, notes: Vec::new(), events: 0, lasted: 0 }
    }

    /// What a script has over several lines is told in one.
    pub(crate) fn in_one_line(mut self) -> Self {
        if let Verdict::NotRun(what) | Verdict::Malformed(_, what) = &mut self.verdict {
            *what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        self
    }

    /// The exit status that goes with it: 0 passed, 1 failed, 2 malformed or not run.
    pub fn status(&self) -> u8 {
        match self.verdict {
            Verdict::Passed => 0,
            Verdict::Failed(_) => 1,
            Verdict::NotRun(_) | Verdict::Malformed(..) => 2,
        }
    }
}

/// Seconds with six decimals, as tcpdump has them.
pub(crate) fn seconds(at: Nanos) -> String {
    format!("{}.{:06}", at / 1_000_000_000, at / 1_000 % 1_000_000)
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        if let Some(expected) = &self.expected {
            writeln!(f, "  expected  {expected}")?;
        }
        if let Some(seen) = &self.seen {
            writeln!(f, "  seen      {seen}")?;
            if let Some(marks) = self.expected.as_ref().and_then(|e| marks(e, seen)) {
                writeln!(f, "            {marks}")?;
            }
        }
        let width = self.fields.iter().map(|d| d.field.chars().count()).max().unwrap_or(0);
        for d in &self.fields {
            writeln!(f, "  {:<width$}  expected {}, seen {}", d.field, d.expected, d.seen)?;
        }
        for reason in &self.reasons {
            writeln!(f, "  {} says: {reason}", self.speaker)?;
        }
        if !self.ladder.is_empty() {
            writeln!(f, "  up to there:")?;
            self.ladder.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

/// Carets under the words of `seen` that are not those of `expected`.
fn marks(expected: &str, seen: &str) -> Option<String> {
    let words: Vec<&str> = expected.split(' ').collect();
    let mut out = String::new();
    let mut any = false;
    for (i, word) in seen.split(' ').enumerate() {
        let sign = if words.get(i) == Some(&word) { ' ' } else { '^' };
        any |= sign == '^';
        if i > 0 {
            out.push(' ');
        }
        out.extend(std::iter::repeat_n(sign, word.chars().count()));
    }
    any.then(|| out.trim_end().to_owned())
}
