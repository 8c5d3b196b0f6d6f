//! The scripts of this repository: each passes, and none would if anything in it were otherwise.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use finack_script::ast::{Action, Direction};
use finack_script::run::config::Config;
use finack_script::run::{FinackTarget, Report, Verdict, configure, run};
use finack_script::{Script, parse};

mod changes;
mod explain;
mod mutation;
mod record;

use changes::packet_changes;
use record::{Deed, Lie, Recorder};

fn all() -> Vec<PathBuf> {
    fn collect(directory: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, out);
            } else if path.extension().is_some_and(|e| e == "pkt") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts"), &mut out);
    out.sort();
    out
}

fn read(path: &Path) -> Script {
    let text = fs::read_to_string(path).unwrap();
    parse(&text, &Default::default()).unwrap_or_else(|e| panic!("{}:{e}", path.display()))
}

/// Everything counts, packets behind the last that is mentioned too.
fn ran(script: &Script) -> Report {
    ran_with(script, Lie::None).0
}

/// The same with all that the stack did, and a lie about it: whether there was anything to lie about.
fn ran_with(script: &Script, lie: Lie) -> (Report, Vec<Deed>, bool) {
    let base = Config { nothing_left: true, ..Config::default() };
    let config = match configure(script, &base) {
        Ok(config) => config,
        Err(report) => return (report, Vec::new(), false),
    };
    let mut target = Recorder::new(FinackTarget::new(&config, Default::default()), lie);
    let report = run(script, &config, Path::new("/nonexistent"), &mut target);
    (report, target.deeds, target.lied)
}

#[test]
fn every_script_passes() {
    let scripts = all();
    assert!(scripts.len() > 100);
    let mut failed = 0;
    for path in &scripts {
        let report = ran(&read(path));
        let name = path.display();
        match report.verdict {
            Verdict::Passed if report.notes.is_empty() => continue,
            Verdict::Passed => println!("{name}: {:?}", report.notes),
            Verdict::Failed(failure) => println!("{name}:{}: {failure}", failure.pos),
            other => println!("{name}: {other:?}"),
        }
        failed += 1;
    }
    assert_eq!(failed, 0);
}

#[test]
fn every_script_says_first_what_it_shows_and_by_which_rule() {
    let rules = ["RFC ", "draft-ietf-", "(2)", "(7)", "POSIX", "Linux"];
    for path in all() {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("// ") && first.contains(". "), "{}: {first}", path.display());
        let quoted = rules.iter().any(|r| first.contains(r)) || first.contains("documentation");
        assert!(quoted, "{}: no rule is quoted: {first}", path.display());
        assert!(text.lines().all(|l| l.len() <= 160), "{}: a long line", path.display());
    }
}

/// Another packet in is another exchange, which may well pass: but it always comes to an end, and to the same one.
#[test]
fn any_change_of_what_is_injected_comes_to_an_end() {
    let mut tried = 0;
    for path in all() {
        let script = read(&path);
        for (i, event) in script.events.iter().enumerate() {
            let Action::Packet(packet) = &event.action else { continue };
            if packet.direction == Direction::Out {
                continue;
            }
            for (_, _, packet) in packet_changes(packet) {
                let mut changed = script.clone();
                changed.events[i].action = Action::Packet(packet);
                // Assertions start python each time.
                changed.events.retain(|e| !matches!(e.action, Action::Code(_)));
                tried += 1;
                assert_eq!(ran(&changed), ran(&changed), "{}", path.display());
            }
        }
    }
    assert!(tried > 4000, "only {tried} changes");
}
