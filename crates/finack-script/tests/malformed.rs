//! Scripts that went wrong: whatever is in a file, it is read or refused at a place of it, and nothing is harmed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use finack_script::parse::Defines;
use finack_script::run::{Options, Verdict, drill};
use finack_script::{ParseError, parse};

fn scripts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    let mut waiting = vec![root];
    let mut out = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "pkt") {
            out.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    out.sort();
    out
}

/// Numbers that look random and are the same every time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (end.max(1) as u64)).unwrap()
    }
}

const PIECES: [&str; 40] = [
    "+0",
    "*",
    "~",
    "...",
    "<",
    ">",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "`",
    "%{",
    "}%",
    "//",
    "/*",
    "*/",
    "--",
    "=",
    ",",
    ":",
    "|",
    "-1",
    "0x",
    "99999999999999999999",
    "4294967296",
    "-",
    ".",
    "é",
    "\0",
    "\n",
    "\r",
    "win",
    "ack",
    "sack",
    "TS val",
    "udp",
    "icmp",
];

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A text with one to three things changed.
fn changed(text: &str, numbers: &mut Numbers) -> String {
    let mut text = text.to_owned();
    for _ in 0..=numbers.below(3) {
        let (a, b) = (numbers.below(text.len() + 1), numbers.below(text.len() + 1));
        let (a, b) = (boundary(&text, a.min(b)), boundary(&text, a.max(b)));
        let near = boundary(&text, (a + numbers.below(12)).min(text.len()).max(a));
        match numbers.below(6) {
            0 => text.replace_range(a..near, ""),
            1 => text.insert_str(a, PIECES[numbers.below(PIECES.len())]),
            2 => text.replace_range(a..near, PIECES[numbers.below(PIECES.len())]),
            3 => text.truncate(a),
            4 => text.insert_str(a, &text[b..].chars().take(40).collect::<String>()),
            _ => text.replace_range(a..near, &text[b..].chars().take(near - a).collect::<String>()),
        }
    }
    text
}

/// A mistake names a place that the text has, and says in one line what is expected there.
fn check(text: &str, error: &ParseError) {
    let (line, column) = (error.pos.line as usize, error.pos.column as usize);
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "{error} of {} lines\n{text}", lines.len());
    let columns = lines[line - 1].chars().count() + 1;
    assert!((1..=columns).contains(&column), "{error} of {columns} columns\n{text}");
    let said = error.to_string();
    assert!(said.starts_with(&format!("{line}:{column}: expected ")), "{said}");
    assert!(!said.contains('\n') && said.len() < 400, "{said}\n{text}");
}

#[test]
fn changed_scripts_are_read_or_refused_at_their_place() {
    let mut numbers = Numbers(0x5eed_f00d_1234_5678);
    let (mut read, mut refused) = (0, 0);
    for (path, text) in scripts() {
        assert!(parse(&text, &Defines::default()).is_ok(), "{}", path.display());
        for _ in 0..40 {
            let text = changed(&text, &mut numbers);
            let begun = Instant::now();
            match parse(&text, &Defines::default()) {
                Ok(script) => {
                    read += 1;
                    // What was read can be written.
                    assert!(parse(&script.to_string(), &Defines::default()).is_ok(), "{script}\n{text}");
                }
                Err(error) => {
                    refused += 1;
                    check(&text, &error);
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{text}");
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

/// What can be read can be run, whatever it says.
#[test]
fn changed_scripts_come_to_an_end() {
    let mut numbers = Numbers(0xfeed_0bad_8765_4321);
    for (_, text) in scripts().iter().filter(|(_, text)| !text.contains("%{")) {
        for _ in 0..4 {
            let text = changed(text, &mut numbers);
            if text.contains("%{") {
                continue;
            }
            let report = drill(&text, Path::new("/nonexistent"), &Options::default());
            if let Verdict::Malformed(pos, what) = &report.verdict {
                assert!(pos.line >= 1 && pos.column >= 1 && !what.contains('\n'), "{what}\n{text}");
            }
        }
    }
}

#[test]
fn what_a_fuzzer_would_change_is_read_and_not_done() {
    let text = "0 < P. 1:21(20) ack 1 win 257 { rep tcp src_port 0x0B63; trun tcp 34-36 }\n";
    let script = parse(text, &Defines::default()).unwrap();
    assert_eq!(
        script.to_string(),
        "0 < P. 1:21(20) ack 1 win 257 {rep tcp src_port 0x0B63; trun tcp 34-36}\n"
    );
    let report = drill(text, Path::new(""), &Options::default());
    let Verdict::NotRun(why) = report.verdict else { panic!("{:?}", report.verdict) };
    assert!(why.contains("{rep tcp src_port 0x0B63; trun tcp 34-36}"), "{why}");
    let error = parse("0 < . 1:1(0) ack 1 win 1 { rep", &Defines::default()).unwrap_err();
    assert_eq!(error.to_string(), "1:26: expected '}' on the same line, found '{'");
}
