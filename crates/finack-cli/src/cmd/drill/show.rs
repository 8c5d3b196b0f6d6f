//! What running scripts came to, in each form.

use std::fmt::Write as _;
use std::time::Duration;

use finack_script::run::{Failure, Verdict};
use serde_json::{Value, json};

use super::{Run, Standing};

/// `path`, and the IP version where it was run with several.
fn name(run: &Run) -> String {
    match run.version {
        Some(version) => format!("{} ({version})", run.path.display()),
        None => run.path.display().to_string(),
    }
}

fn word(run: &Run) -> &'static str {
    match (&run.standing, &run.report.verdict) {
        (Standing::Differs(_), _) => "differs",
        (Standing::Skipped(_), _) => "skipped",
        (_, Verdict::Passed) => "passed",
        (_, Verdict::Failed(_)) => "failed",
        (_, Verdict::NotRun(_)) => "not run",
        (_, Verdict::Malformed(..)) => "malformed",
    }
}

/// How many there are of each word.
struct Counts {
    passed: usize,
    failed: usize,
    not_run: usize,
    differ: usize,
    skipped: usize,
}

impl Counts {
    fn of(runs: &[Run]) -> Self {
        let count = |words: &[&str]| runs.iter().filter(|run| words.contains(&word(run))).count();
        Self {
            passed: count(&["passed"]),
            failed: count(&["failed"]),
            not_run: count(&["not run", "malformed"]),
            differ: count(&["differs"]),
            skipped: count(&["skipped"]),
        }
    }
}

/// `FILE:LINE:COLUMN: what`, where there is a place.
fn trouble(run: &Run) -> Option<String> {
    let path = run.path.display();
    match &run.report.verdict {
        Verdict::Passed => None,
        Verdict::Failed(failure) => Some(format!("{path}:{}: {failure}", failure.pos)),
        Verdict::NotRun(why) => Some(format!("{path}: not run: {why}\n")),
        Verdict::Malformed(pos, what) => Some(format!("{path}:{pos}: {what}\n")),
    }
}

pub(super) fn text(runs: &[Run], took: Duration, quiet: bool) -> String {
    let mut out = String::new();
    for run in runs {
        let report = &run.report;
        match (trouble(run), &run.standing) {
            (None, _) if quiet => continue,
            (None, Standing::Differs(why) | Standing::Skipped(why)) => {
                let _ = writeln!(out, "{} {}  {why}", word(run), name(run));
            }
            (None, Standing::Judged) => {
                let lasted = report.lasted as f64 / 1e9;
                let _ = writeln!(out, "ok      {}  {} events, {lasted} s", name(run), report.events);
            }
            (Some(trouble), _) => {
                let _ = write!(out, "{:<7} {}\n{trouble}", word(run).to_uppercase(), name(run));
            }
        }
        for note in &report.notes {
            let _ = writeln!(out, "  note: {note}");
        }
    }
    let counts = Counts::of(runs);
    let _ = write!(out, "{} of {} scripts passed", counts.passed, runs.len());
    let others = [
        (counts.differ, "differ as they say"),
        (counts.skipped, "were skipped"),
        (counts.failed, "failed"),
        (counts.not_run, "were not run"),
    ];
    for (n, what) in others {
        if n > 0 {
            let _ = write!(out, ", {n} {what}");
        }
    }
    let _ = writeln!(out, "; {:.2} s", took.as_secs_f64());
    out
}

fn failure_json(failure: &Failure) -> Value {
    let fields: Vec<Value> = failure
        .fields
        .iter()
        .map(|d| json!({"field": d.field, "expected": d.expected, "seen": d.seen}))
        .collect();
    json!({
        "line": failure.pos.line,
        "column": failure.pos.column,
        "time": failure.at as f64 / 1e9,
        "what": failure.what,
        "expected": failure.expected,
        "seen": failure.seen,
        "fields": fields,
        "packets": failure.ladder,
        "reasons": failure.reasons,
    })
}

pub(super) fn json(runs: &[Run], took: Duration) -> String {
    let mut out = String::new();
    for run in runs {
        let report = &run.report;
        let mut object = json!({
            "script": run.path.display().to_string(),
            "verdict": word(run),
            "events": report.events,
            "virtual_seconds": report.lasted as f64 / 1e9,
            "seconds": run.took.as_secs_f64(),
            "notes": report.notes,
        });
        if let Some(version) = run.version {
            object["ip_version"] = version.into();
        }
        if let Standing::Differs(why) | Standing::Skipped(why) = &run.standing {
            object["why"] = why.as_str().into();
        }
        match &report.verdict {
            Verdict::Passed => {}
            Verdict::Failed(failure) => object["failure"] = failure_json(failure),
            Verdict::NotRun(why) => object["why"] = why.as_str().into(),
            Verdict::Malformed(pos, what) => {
                object["why"] = json!({"line": pos.line, "column": pos.column, "what": what});
            }
        }
        let _ = writeln!(out, "{object}");
    }
    let counts = Counts::of(runs);
    let whole = json!({
        "scripts": runs.len(),
        "passed": counts.passed,
        "failed": counts.failed,
        "not_run": counts.not_run,
        "differ": counts.differ,
        "skipped": counts.skipped,
        "seconds": took.as_secs_f64(),
    });
    let _ = writeln!(out, "{whole}");
    out
}

pub(super) fn tap(runs: &[Run]) -> String {
    let mut out = format!("TAP version 14\n1..{}\n", runs.len());
    for (i, run) in runs.iter().enumerate() {
        // A hash would begin a directive.
        let name = name(run).replace('\\', "\\\\").replace('#', "\\#");
        let ok = if run.report.status() == 0 { "ok" } else { "not ok" };
        let directive = match &run.standing {
            Standing::Skipped(why) => format!(" # SKIP {why}"),
            Standing::Differs(_) | Standing::Judged => String::new(),
        };
        let _ = writeln!(out, "{ok} {} - {name}{directive}", i + 1);
        if let Standing::Differs(why) = &run.standing {
            let _ = writeln!(out, "# the kernel differs: {why}");
        }
        for line in trouble(run).iter().flat_map(|t| t.lines()) {
            let _ = writeln!(out, "# {line}");
        }
        for note in &run.report.notes {
            let _ = writeln!(out, "# note: {note}");
        }
    }
    out
}

/// Text for XML; what no XML may hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

pub(super) fn junit(runs: &[Run], took: Duration) -> String {
    let counts = Counts::of(runs);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"finack drill\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        runs.len(),
        counts.failed,
        counts.not_run,
        counts.skipped,
        took.as_secs_f64()
    );
    for run in runs {
        let (name, time) = (escaped(&name(run)), run.took.as_secs_f64());
        let _ = write!(out, "  <testcase name=\"{name}\" time=\"{time:.3}\"");
        if let Standing::Skipped(why) = &run.standing {
            let _ = writeln!(out, ">\n    <skipped message=\"{}\"/>\n  </testcase>", escaped(why));
            continue;
        }
        let Some(trouble) = trouble(run) else {
            out.push_str("/>\n");
            continue;
        };
        let kind = if run.report.status() == 1 { "failure" } else { "error" };
        let first = escaped(trouble.lines().next().unwrap_or_default());
        let _ =
            writeln!(out, ">\n    <{kind} message=\"{first}\">{}</{kind}>\n  </testcase>", escaped(&trouble));
    }
    out.push_str("</testsuite>\n");
    out
}
