//! `--kernel`: the same scripts against the Linux kernel of this machine, in real time.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use finack_script::ast::{Action, Nanos, Pos, Script, When};
use finack_script::parse::parse;
use finack_script::run::config::Config;
use finack_script::run::{self, Failure, Options, Report, Verdict};
use finack_witness::{Kernel, Limits};

use super::{Standing, not_run};

/// How often a script that fails by its times alone is tried again: the machine may have been busy.
const AGAIN: u32 = 2;

/// Time between two words on how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What scripts are run with.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    /// Scripts that last longer are passed over.
    pub(super) longest: Duration,
    /// Sysctls before the script's own.
    pub(super) sysctls: Vec<(String, String)>,
    /// Whether the kernel has TCP-AO: few are built with it.
    pub(super) tcp_ao: bool,
}

/// What a script says of itself and the kernel, in a comment before its first event.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// It is to pass.
    Yes,
    /// `// kernel: no, WHY`: it is not run.
    No(String),
    /// `// kernel: differs, WHY`: it is to fail, so that what stands in backquotes in WHY is in what is seen. With the
    /// line of the mark.
    Differs(u32, String),
}

/// Reads a script's mark.
fn mark(text: &str) -> Result<Mark, (Pos, String)> {
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        let Some(comment) = line.strip_prefix("//").or(line.strip_prefix('#')) else {
            if line.is_empty() {
                continue;
            }
            break;
        };
        let Some(said) = comment.trim().strip_prefix("kernel:") else { continue };
        let at = u32::try_from(i + 1).unwrap_or(u32::MAX);
        let (word, why) = said.split_once(',').unwrap_or((said, ""));
        let why = why.trim().to_owned();
        return match word.trim() {
            "no" if !why.is_empty() => Ok(Mark::No(why)),
            "differs" if !why.is_empty() => Ok(Mark::Differs(at, why)),
            _ => Err((
                Pos { line: at, column: 1 },
                "expected 'kernel: no, WHY' or 'kernel: differs, WHY'".into(),
            )),
        };
    }
    Ok(Mark::Yes)
}

/// The parts of a mark in backquotes.
fn quoted(why: &str) -> impl Iterator<Item = &str> {
    why.split('`').skip(1).step_by(2)
}

/// How long a script's own times make it last, without those that it leaves open.
pub(super) fn lasts(script: &Script) -> Nanos {
    script.events.iter().fold(0, |now: Nanos, event| {
        let at = match event.when {
            When::Relative(t) | When::RelativeRange(_, t) => now.saturating_add(t),
            When::Absolute(t) | When::AbsoluteRange(_, t) => t,
            When::Any => now,
        };
        let until = match (&event.action, event.when) {
            (Action::Call(call), When::Relative(_)) => call.until.map(|until| now.saturating_add(until)),
            (Action::Call(call), _) => call.until,
            _ => None,
        };
        at.max(until.unwrap_or(0))
    })
}

impl Witness {
    /// Runs a script, and judges what came of it by what the script says of the kernel.
    pub(super) fn drill(&self, text: &str, directory: &Path, options: &Options) -> (Report, Standing) {
        let judged = |report| (report, Standing::Judged);
        let mark = match mark(text) {
            Ok(Mark::No(why)) => return skipped(why),
            Ok(mark) => mark,
            Err((pos, what)) => return judged(unrun(Verdict::Malformed(pos, what))),
        };
        let script = match parse(text, &options.defines) {
            Ok(script) => script,
            // The words are those of a run against finack.
            Err(_) => return judged(run::drill(text, directory, options)),
        };
        if sets_finack(&script) {
            return skipped("it sets a sysctl of finack's own".into());
        }
        if text.contains("TCP_AO_") && !self.tcp_ao {
            return skipped("this kernel was built without TCP-AO".into());
        }
        let lasts = Duration::from_nanos(lasts(&script));
        if lasts > self.longest {
            return skipped(format!("it takes {} s, see --longest", lasts.as_secs()));
        }
        let config = match run::configure(&script, &options.config) {
            // A packet that the script does not mention is a difference too.
            Ok(config) if matches!(mark, Mark::Differs(..)) => Config { nothing_left: true, ..config },
            Ok(config) => config,
            Err(report) => return judged(report),
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let mut kernel = match self.kernel(&config) {
                Ok(kernel) => kernel,
                Err(why) => return judged(not_run(why)),
            };
            let report = run::run(&script, &config, directory, &mut kernel);
            drop(kernel);
            if report.notes.iter().any(|note| note.starts_with("not set: net.ipv4.tcp_ecn=")) {
                return skipped("this kernel knows no accurate ECN (net.ipv4.tcp_ecn above 2)".into());
            }
            let (mut report, standing) = judge(&mark, report);
            if only_late(&report) && tries <= AGAIN {
                continue;
            }
            if tries > 1 {
                report.notes.push(format!("run {tries} times: the times of a run before were off"));
            }
            return (report, standing);
        }
    }

    fn kernel(&self, config: &Config) -> Result<Kernel, String> {
        let mut kernel = Kernel::new(config, Limits::default())?;
        for (name, value) in &self.sysctls {
            kernel.set_sysctl(name, value).map_err(|why| format!("--sysctl {name}: {why}"))?;
        }
        Ok(kernel)
    }
}

fn skipped(why: String) -> (Report, Standing) {
    (unrun(Verdict::Passed), Standing::Skipped(why))
}

fn unrun(verdict: Verdict) -> Report {
    Report { verdict, notes: Vec::new(), events: 0, lasted: 0 }
}

/// Whether a command of the script sets what only finack has.
fn sets_finack(script: &Script) -> bool {
    let commands = script.events.iter().filter_map(|event| match &event.action {
        Action::Command(text) => Some(text.as_str()),
        _ => None,
    });
    commands.chain(script.init.iter().map(|init| init.text.as_str())).any(|text| text.contains("finack."))
}

/// A report as it counts where the script says that the kernel differs.
fn judge(mark: &Mark, report: Report) -> (Report, Standing) {
    let Mark::Differs(line, why) = mark else { return (report, Standing::Judged) };
    match &report.verdict {
        Verdict::Passed => {
            let failure = Failure {
                pos: Pos { line: *line, column: 1 },
                at: report.lasted,
                what: "the script says that the kernel differs, and it does not: take the mark away".into(),
                ..Failure::default()
            };
            (Report { verdict: Verdict::Failed(Box::new(failure)), ..report }, Standing::Judged)
        }
        Verdict::Failed(failure) => {
            let shown = failure.to_string();
            match quoted(why).find(|part| !shown.contains(part)) {
                Some(missing) => {
                    let mut report = report;
                    report.notes.push(format!(
                        "line {line}: another difference than the one explained: no `{missing}` in it"
                    ));
                    (report, Standing::Judged)
                }
                None => (Report { verdict: Verdict::Passed, ..report }, Standing::Differs(why.clone())),
            }
        }
        _ => (report, Standing::Judged),
    }
}

/// Whether a script failed by nothing but when something happened.
fn only_late(report: &Report) -> bool {
    let Verdict::Failed(failure) = &report.verdict else { return false };
    if !failure.fields.is_empty() {
        return failure.fields.iter().all(|field| field.field == "time");
    }
    ["its time has passed", "no packet came until", " still blocks at "]
        .iter()
        .any(|late| failure.what.contains(late))
}

/// Says on stderr how far it is, from time to time.
pub(super) struct Progress {
    begun: Instant,
    total: usize,
    done: AtomicUsize,
    failed: AtomicUsize,
    said: AtomicUsize,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let zero = || AtomicUsize::new(0);
        Self { begun: Instant::now(), total, done: zero(), failed: zero(), said: zero() }
    }

    pub(super) fn one_more(&self, status: u8) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if status > 0 {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let due = (self.begun.elapsed().as_secs() / PROGRESS.as_secs()) as usize;
        if self.said.fetch_max(due, Ordering::Relaxed) < due && done < self.total {
            let failed = self.failed.load(Ordering::Relaxed);
            eprintln!("finack drill: {done} of {} scripts, {failed} failed or not run", self.total);
        }
    }
}

#[cfg(test)]
mod tests;
