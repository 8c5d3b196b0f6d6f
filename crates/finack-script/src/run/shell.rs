//! Shell commands in backquotes: those that set sysctls, routes and devices are understood, not run.
//!
//! A helper that a command calls (`./defaults.sh`) is read and understood the same way. Nothing is ever executed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::target::Setting;

mod words;

use words::{Word, split_commands};

/// Longest helper that is read, in bytes.
const MAX_HELPER: u64 = 64 << 10;

/// How deep helpers may call helpers.
const MAX_DEPTH: u32 = 4;

/// What a command comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Understood {
    /// What it sets, in order.
    pub settings: Vec<Setting>,
    /// Commands in it that are not understood, each with why.
    pub unknown: Vec<String>,
}

/// Understands a command of a script that lies in `directory`.
pub fn understand(command: &str, directory: &Path) -> Understood {
    let mut shell = Shell { directory, variables: BTreeMap::new(), out: Understood::default(), depth: 0 };
    shell.text(command);
    shell.out
}

/// What programs of the system were asked for: each with its arguments.
pub fn asked(calls: &[Vec<String>]) -> Understood {
    let directory = Path::new("");
    let mut shell = Shell { directory, variables: BTreeMap::new(), out: Understood::default(), depth: 0 };
    for words in calls.iter().filter(|words| !words.is_empty()) {
        shell.simple(&Simple { words: words.clone(), output: None });
    }
    shell.out
}

struct Shell<'a> {
    directory: &'a Path,
    variables: BTreeMap<String, String>,
    out: Understood,
    depth: u32,
}

/// One command's words after expansion, and where its output goes.
struct Simple {
    words: Vec<String>,
    output: Option<String>,
}

impl Shell<'_> {
    fn text(&mut self, text: &str) {
        for command in split_commands(text) {
            match command.and_then(|words| self.expand(&words)) {
                Ok(simple) if simple.words.is_empty() => {}
                Ok(simple) => self.simple(&simple),
                Err(why) => self.out.unknown.push(why),
            }
        }
    }

    fn expand(&self, words: &[Word]) -> Result<Simple, String> {
        let mut simple = Simple { words: Vec::new(), output: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word {
                Word::Text(parts) => simple.words.push(words::expand(parts, &self.variables)?),
                Word::Output => {
                    let Some(Word::Text(parts)) = words.next() else {
                        return Err("a redirection to nowhere".into());
                    };
                    simple.output = Some(words::expand(parts, &self.variables)?);
                }
                // Where errors go makes no difference.
                Word::Elsewhere => {}
            }
        }
        Ok(simple)
    }

    fn unknown(&mut self, words: &[String], why: &str) {
        let text = words.join(" ");
        self.out.unknown.push(if why.is_empty() { format!("`{text}`") } else { format!("`{text}`: {why}") });
    }

    fn simple(&mut self, simple: &Simple) {
        let words = &simple.words;
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let name = words[0].as_str();
        if let (Some((variable, value)), true) = (name.split_once('='), args.is_empty()) {
            self.variables.insert(variable.into(), value.into());
            return;
        }
        let output = simple.output.as_deref().filter(|path| *path != "/dev/null");
        match (name, output) {
            ("echo" | "printf", Some(path)) if path.starts_with("/proc/sys/") => {
                let value = args.iter().filter(|a| **a != "-n").copied().collect::<Vec<_>>().join(" ");
                self.sysctl(path, &value);
            }
            (_, Some(path)) => self.unknown(words, &format!("it writes to {path}")),
            ("true" | ":" | "echo" | "set" | "export" | "exit", None) => {}
            ("sysctl", None) => self.sysctls(words, &args),
            ("ip", None) => self.ip(words, &args),
            ("tc", None) => self.tc(words, &args),
            ("ethtool", None) => self.ethtool(words, &args),
            ("source" | "." | "sh" | "bash", None) if args.len() == 1 => self.helper(words, args[0]),
            (path, None) if path.contains('/') => self.program(words, path, &args),
            _ => self.unknown(words, ""),
        }
    }

    fn sysctl(&mut self, name: &str, value: &str) {
        let name = name.trim_start_matches("/proc/sys/").replace('/', ".");
        self.out.settings.push(Setting::Sysctl { name, value: value.trim().into() });
    }

    fn sysctls(&mut self, words: &[String], args: &[&str]) {
        let pairs: Vec<&&str> = args.iter().filter(|a| !a.starts_with('-')).collect();
        if pairs.is_empty() || pairs.iter().any(|pair| !pair.contains('=')) {
            return self.unknown(words, "it sets nothing");
        }
        for pair in pairs {
            if let Some((name, value)) = pair.split_once('=') {
                self.sysctl(name.trim(), value);
            }
        }
    }

    fn ip(&mut self, words: &[String], args: &[&str]) {
        let args: Vec<&str> = args.iter().filter(|a| !matches!(**a, "-4" | "-6")).copied().collect();
        match args.as_slice() {
            // Nothing is remembered of a destination but its path MTU.
            ["tcp_metrics", "flush", ..] | ["route", "flush", "cache"] => {}
            ["route" | "ro" | "r", "add" | "replace" | "change" | "append", ..] => self.route(words, &args),
            ["link", "set", rest @ ..] => {
                let at = rest.iter().position(|a| *a == "mtu");
                match at.and_then(|at| rest.get(at + 1)?.parse().ok()) {
                    Some(mtu) => self.out.settings.push(Setting::Mtu(mtu)),
                    None if rest.contains(&"up") => {}
                    None => self.unknown(words, ""),
                }
            }
            _ => self.unknown(words, ""),
        }
    }

    /// Of a route only its attributes are taken: there is one route.
    fn route(&mut self, words: &[String], args: &[&str]) {
        let mut rest = args.iter().skip(2);
        while let Some(attribute) = rest.next() {
            match *attribute {
                "dev" | "via" | "src" | "proto" | "scope" | "metric" | "table" => {
                    rest.next();
                }
                "initcwnd" => match rest.next().and_then(|n| n.parse().ok()) {
                    Some(segments) => self.out.settings.push(Setting::InitialWindow(segments)),
                    None => return self.unknown(words, "initcwnd without a number"),
                },
                "rto_min" => {
                    let value = rest.next().copied().unwrap_or_default();
                    match micros(value) {
                        Some(us) => self.sysctl("net.ipv4.tcp_rto_min_us", &us.to_string()),
                        None => return self.unknown(words, "rto_min without a time"),
                    }
                }
                "mtu" => match rest.find(|word| **word != "lock").and_then(|n| n.parse().ok()) {
                    Some(mtu) => self.out.settings.push(Setting::RouteMtu(mtu)),
                    None => return self.unknown(words, "mtu without a number"),
                },
                "advmss" => match rest.next().and_then(|n| n.parse().ok()) {
                    Some(mss) => self.out.settings.push(Setting::AdvertisedMss(mss)),
                    None => return self.unknown(words, "advmss without a number"),
                },
                "initrwnd" | "congctl" | "quickack" | "features" | "rtt" | "cwnd" | "ssthresh" | "window"
                | "fastopen_no_cookie" | "lock" => {
                    return self.unknown(words, &format!("a route's {attribute} can't be set"));
                }
                _ => {}
            }
        }
    }

    fn tc(&mut self, words: &[String], args: &[&str]) {
        // A queue that neither delays nor drops is as good as none, and finack does not pace.
        let harmless = args.iter().any(|a| matches!(*a, "pfifo" | "pfifo_fast" | "noqueue" | "fq" | "bfifo"));
        let limited = args.contains(&"limit");
        let removes = matches!(args.get(1), Some(&"del" | &"delete"));
        if !(args.first() == Some(&"qdisc") && (removes || harmless && !limited)) {
            self.unknown(words, "");
        }
    }

    fn ethtool(&mut self, words: &[String], args: &[&str]) {
        let ["-K" | "--offload" | "--features", _, features @ ..] = args else {
            return self.unknown(words, "");
        };
        for pair in features.chunks(2) {
            match pair {
                ["tso" | "gso" | "tx-tcp-segmentation" | "tx-tcp6-segmentation", state @ ("on" | "off")] => {
                    self.out.settings.push(Setting::SegmentationOffload(*state == "on"));
                }
                ["gro" | "lro" | "rx" | "tx" | "sg" | "ufo" | "rxvlan" | "txvlan", _] => {}
                _ => return self.unknown(words, ""),
            }
        }
    }

    /// A program named by its path.
    fn program(&mut self, words: &[String], path: &str, args: &[&str]) {
        let name = Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.starts_with("/tmp/sysctl_restore_") {
            // Nothing outlives the script.
            return;
        }
        if name == "set_sysctls.py" {
            if args.iter().all(|a| a.starts_with("/proc/sys/") && a.contains('=')) {
                for pair in args {
                    if let Some((name, value)) = pair.split_once('=') {
                        self.sysctl(name, value);
                    }
                }
                return;
            }
            return self.unknown(words, "its arguments are not /proc/sys/NAME=VALUE");
        }
        if name.ends_with(".sh") && args.is_empty() {
            return self.helper(words, path);
        }
        self.unknown(words, "");
    }

    fn helper(&mut self, words: &[String], path: &str) {
        let full: PathBuf = self.directory.join(path);
        if self.depth >= MAX_DEPTH {
            return self.unknown(words, "helpers call helpers too deeply");
        }
        let size = std::fs::metadata(&full).map(|m| m.len());
        if size.as_ref().is_ok_and(|size| *size > MAX_HELPER) {
            return self.unknown(words, "the file is too large");
        }
        match size.and_then(|_| std::fs::read_to_string(&full)) {
            Ok(text) => {
                let before = self.out.unknown.len();
                self.depth += 1;
                self.text(&text);
                self.depth -= 1;
                for unknown in &mut self.out.unknown[before..] {
                    *unknown = format!("{path}: {unknown}");
                }
            }
            Err(error) => self.unknown(words, &error.to_string()),
        }
    }
}

/// `200ms`, `1s`, `5000us`; a bare number counts milliseconds.
fn micros(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "us" => Some(number),
        "ms" | "" => number.checked_mul(1_000),
        "s" => number.checked_mul(1_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
