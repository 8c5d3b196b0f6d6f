//! What running scripts came to, in each form.

use std::fmt::Write as _;
use std::time::Duration;

use finack_script::run::{Failure, Verdict};
use serde_json::{Value, json};

use super::Run;

/// `path`, and the IP version where it was run with several.
fn name(run: &Run) -> String {
    match run.version {
        Some(version) => format!("{} ({version})", run.path.display()),
        None => run.path.display().to_string(),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "failed",
        Verdict::NotRun(_) => "not run",
        Verdict::Malformed(..) => "malformed",
    }
}

fn count(runs: &[Run], status: u8) -> usize {
    runs.iter().filter(|run| run.report.status() == status).count()
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
        match trouble(run) {
            None if quiet => continue,
            None => {
                let lasted = report.lasted as f64 / 1e9;
                let _ = writeln!(out, "ok      {}  {} events, {lasted} s", name(run), report.events);
            }
            Some(trouble) => {
                let _ = write!(out, "{:<7} {}\n{trouble}", word(&report.verdict).to_uppercase(), name(run));
            }
        }
        for note in &report.notes {
            let _ = writeln!(out, "  note: {note}");
        }
    }
    let _ = write!(out, "{} of {} scripts passed", count(runs, 0), runs.len());
    for (status, what) in [(1, "failed"), (2, "were not run")] {
        let n = count(runs, status);
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
            "verdict": word(&report.verdict),
            "events": report.events,
            "virtual_seconds": report.lasted as f64 / 1e9,
            "seconds": run.took.as_secs_f64(),
            "notes": report.notes,
        });
        if let Some(version) = run.version {
            object["ip_version"] = version.into();
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
    let whole = json!({
        "scripts": runs.len(),
        "passed": count(runs, 0),
        "failed": count(runs, 1),
        "not_run": count(runs, 2),
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
        let _ = writeln!(out, "{ok} {} - {name}", i + 1);
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
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"finack drill\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\">",
        runs.len(),
        count(runs, 1),
        count(runs, 2),
        took.as_secs_f64()
    );
    for run in runs {
        let (name, time) = (escaped(&name(run)), run.took.as_secs_f64());
        let _ = write!(out, "  <testcase name=\"{name}\" time=\"{time:.3}\"");
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
