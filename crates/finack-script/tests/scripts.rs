//! The scripts of this repository: each passes, and none would if anything in it were otherwise.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use finack_script::ast::*;
use finack_script::run::config::Config;
use finack_script::run::{FinackTarget, Report, Verdict, configure, run};
use finack_script::{Script, parse};

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
    let base = Config { nothing_left: true, ..Config::default() };
    let config = match configure(script, &base) {
        Ok(config) => config,
        Err(report) => return report,
    };
    let mut target = FinackTarget::new(&config, Default::default());
    run(script, &config, Path::new("/nonexistent"), &mut target)
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
    let rules = ["RFC ", "(2)", "(7)", "POSIX", "Linux"];
    for path in all() {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("// ") && first.contains(". "), "{}: {first}", path.display());
        let quoted = rules.iter().any(|r| first.contains(r)) || first.contains("documentation");
        assert!(quoted, "{}: no rule is quoted: {first}", path.display());
        assert!(text.lines().all(|l| l.len() <= 160), "{}: a long line", path.display());
    }
}

/// Ways to change one thing that a packet from the stack is expected to have.
fn packet_changes(packet: &Packet) -> Vec<(String, Packet)> {
    let mut out = Vec::new();
    let mut change = |what: &str, edit: &dyn Fn(&mut Packet)| {
        let mut changed = packet.clone();
        edit(&mut changed);
        if changed != *packet {
            out.push((what.to_owned(), changed));
        }
    };
    change("TTL", &|p| p.ip.ttl = Some(p.ip.ttl.map_or(63, |t| t ^ 1)));
    change("TOS", &|p| p.ip.tos = Some(Tos::Byte(if p.ip.tos == Some(Tos::Byte(4)) { 8 } else { 4 })));
    match &packet.body {
        Body::Tcp(tcp) => {
            fn of(p: &mut Packet) -> &mut Tcp {
                match &mut p.body {
                    Body::Tcp(tcp) => tcp,
                    _ => unreachable!("only segments are changed so"),
                }
            }
            for (bit, letter) in Flags::LETTERS {
                change(&format!("flag {letter}"), &move |p| of(p).flags.bits ^= bit);
            }
            // The first SYN's number is whatever the script calls it.
            if !tcp.flags.has(Flags::SYN) {
                change("sequence number", &|p| of(p).seq.start ^= 1);
            }
            change("length", &|p| of(p).seq.len += 1);
            if tcp.ack.is_some() {
                change("ack", &|p| of(p).ack = of(p).ack.map(|a| a ^ 1));
            }
            change("window", &|p| of(p).win = of(p).win.map(|w| w ^ 1));
            change("urgent pointer", &|p| of(p).urg = Some(of(p).urg.unwrap_or(0) ^ 1));
            if let TcpOptions::List(list) = &tcp.options {
                for i in 0..list.len() {
                    change(&format!("option {i}"), &move |p| other_option(&mut of(p).options, i));
                    change(&format!("without option {i}"), &move |p| without(&mut of(p).options, i));
                }
                change("another option", &|p| added(&mut of(p).options));
            }
        }
        Body::Udp(_) => change("length", &|p| {
            if let Body::Udp(udp) = &mut p.body {
                udp.len += 1;
            }
        }),
        Body::Icmp(_) => {
            change("type", &|p| {
                if let Body::Icmp(icmp) = &mut p.body {
                    icmp.kind = "type_77".into();
                    icmp.code = None;
                }
            });
            change("code", &|p| {
                if let Body::Icmp(icmp) = &mut p.body {
                    icmp.code = Some("code_77".into());
                }
            });
        }
    }
    out
}

fn other_option(options: &mut TcpOptions, at: usize) {
    let TcpOptions::List(list) = options else { return };
    list[at] = match list[at].clone() {
        TcpOption::Mss(n) => TcpOption::Mss(n ^ 1),
        TcpOption::Wscale(n) => TcpOption::Wscale(n ^ 1),
        TcpOption::Sack(mut blocks) => {
            blocks[0].0 ^= 1;
            TcpOption::Sack(blocks)
        }
        TcpOption::Ts { val, ecr } => TcpOption::Ts { val, ecr: ecr ^ 1 },
        TcpOption::FastOpen(mut cookie) if !cookie.is_empty() => {
            cookie[0] ^= 1;
            TcpOption::FastOpen(cookie)
        }
        TcpOption::Nop => TcpOption::Eol,
        other => TcpOption::Kind(200, vec![0; other.len().saturating_sub(2)]),
    };
}

/// Without it, padded to what is allowed.
fn without(options: &mut TcpOptions, at: usize) {
    let TcpOptions::List(list) = options else { return };
    list.remove(at);
    while !list.iter().map(TcpOption::len).sum::<usize>().is_multiple_of(4) {
        list.push(TcpOption::Nop);
    }
}

fn added(options: &mut TcpOptions) {
    let TcpOptions::List(list) = options else { return };
    if list.iter().map(TcpOption::len).sum::<usize>() <= 36 {
        list.extend([TcpOption::Nop, TcpOption::Nop, TcpOption::Nop, TcpOption::Nop]);
    }
}

/// Ways to change what a call is expected to answer.
fn call_changes(call: &Call) -> Vec<(String, Call)> {
    let mut out = Vec::new();
    let opens =
        ["socket", "accept", "accept4", "dup", "epoll_create", "epoll_create1"].contains(&call.name.as_str());
    match &call.result {
        // Descriptors are the script's own numbers.
        Expr::Int(n) if !opens || *n < 0 => {
            let result = Expr::Int(if *n < 0 { 0 } else { n ^ 1 });
            out.push(("result".into(), Call { result, ..call.clone() }));
        }
        Expr::Hex(n) => out.push(("result".into(), Call { result: Expr::Hex(n ^ 1), ..call.clone() })),
        _ => {}
    }
    if let Some(errno) = &call.errno {
        let other = if errno == "EIO" { "EINVAL" } else { "EIO" };
        out.push(("errno".into(), Call { errno: Some(other.into()), ..call.clone() }));
    }
    if let Some(until) = call.until {
        let later = until + until / 2 + 100_000_000;
        out.push(("later".into(), Call { until: Some(later), ..call.clone() }));
    }
    out
}

/// A time that lies farther off than any tolerance.
fn time_changes(when: When) -> Vec<(String, When)> {
    let later = |t: Nanos| t + t / 2 + 100_000_000;
    match when {
        When::Relative(t) => vec![("later".into(), When::Relative(later(t)))],
        When::Absolute(t) => vec![("later".into(), When::Absolute(later(t)))],
        When::RelativeRange(_, b) => vec![("later".into(), When::RelativeRange(later(b), later(b)))],
        When::AbsoluteRange(a, b) => vec![("later".into(), When::AbsoluteRange(later(a.max(b)), later(b)))],
        When::Any => Vec::new(),
    }
}

/// Every script that differs from this one in one thing that it expects.
fn changes(script: &Script) -> Vec<(String, Script)> {
    let mut out = Vec::new();
    for (i, event) in script.events.iter().enumerate() {
        let mut change = |what: String, event: Event| {
            let mut changed = script.clone();
            changed.events[i] = event;
            out.push((format!("{}: {what}", script.events[i].pos), changed));
        };
        match &event.action {
            Action::Packet(packet) if packet.direction == Direction::Out => {
                for (what, packet) in packet_changes(packet) {
                    change(what, Event { action: Action::Packet(packet), ..event.clone() });
                }
                for (what, when) in time_changes(event.when) {
                    change(what, Event { when, ..event.clone() });
                }
            }
            Action::Call(call) => {
                for (what, call) in call_changes(call) {
                    change(what, Event { action: Action::Call(call), ..event.clone() });
                }
            }
            _ => {}
        }
    }
    out
}

/// Requirement on the runner itself: change any one number, flag, option or time that a passing script expects, and it
/// must not pass.
#[test]
fn no_change_of_what_a_script_expects_survives() {
    let mut tried = 0;
    let mut survived = Vec::new();
    for path in all() {
        for (what, changed) in changes(&read(&path)) {
            tried += 1;
            let verdict = ran(&changed).verdict;
            if !matches!(verdict, Verdict::Failed(_)) {
                survived.push(format!("{}:{what}: {verdict:?}", path.display()));
            }
        }
    }
    println!("{tried} changes");
    assert!(tried > 4000, "only {tried} changes");
    assert_eq!(survived, Vec::<String>::new(), "of {tried} changes");
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
            for (_, packet) in packet_changes(packet) {
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
