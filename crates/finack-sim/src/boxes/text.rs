//! Boxes as text: `nat(idle=60s)`, `strip(ts,sackok)`.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use super::{Answer, EcnRule, Mangle, Middlebox, SynRule};
use crate::link::TextError;
use crate::link::text::{chance, closest, duration, list, number, time};

/// The boxes' names.
pub(crate) const BOXES: [&str; 9] =
    ["nat", "firewall", "strip", "ecn", "mss", "window", "seq", "split", "merge"];

/// The options that have names.
const KINDS: [(&str, u8); 11] = [
    ("mss", 2),
    ("wscale", 3),
    ("sackok", 4),
    ("sack", 5),
    ("ts", 8),
    ("md5", 19),
    ("ao", 29),
    ("mptcp", 30),
    ("tfo", 34),
    ("accecn0", 172),
    ("accecn1", 174),
];

/// What is a mapping's or a connection's idle time where nothing is said (RFC 5382 REQ-5).
const IDLE: Duration = Duration::from_secs(7440);

impl FromStr for Middlebox {
    type Err = TextError;

    /// Takes a box's name and, in parentheses, what is said of it.
    ///
    /// # Errors
    /// One line that says what is wrong, and what would be right.
    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text.trim()).map_err(TextError)
    }
}

/// Whether a part of a path is a box: it begins with a name and not with a word of a link.
pub(crate) fn is_box(part: &str) -> bool {
    let name = part.split('(').next().unwrap_or("").trim();
    part.contains('(') || BOXES.contains(&name)
}

fn read(text: &str) -> Result<Middlebox, String> {
    let (name, inner) = match text.split_once('(') {
        None => (text, ""),
        Some((name, rest)) => {
            let inner =
                rest.strip_suffix(')').ok_or_else(|| format!("{text}: the parenthesis is not closed"))?;
            (name.trim(), inner)
        }
    };
    let words: Vec<&str> = inner.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
    let built = match name {
        "nat" => nat(&words),
        "firewall" => firewall(&words),
        "strip" => strip(&words),
        "ecn" => ecn(&words),
        "mss" => one(&words, 1, 65_535).map(|n| Mangle::ClampMss(n as u16)).map(Middlebox::Mangle),
        "window" => one(&words, 0, 65_535).map(|n| Mangle::ClampWindow(n as u16)).map(Middlebox::Mangle),
        "seq" => match words[..] {
            [] => Ok(Middlebox::Mangle(Mangle::Sequence { sack: true })),
            ["not-sack"] => Ok(Middlebox::Mangle(Mangle::Sequence { sack: false })),
            _ => Err("takes nothing, or not-sack".into()),
        },
        "split" => one(&words, 1, 65_495).map(|n| Mangle::Split(n as usize)).map(Middlebox::Mangle),
        "merge" => merge(&words),
        _ => {
            return Err(match closest(name, &BOXES) {
                Some(known) => format!("\"{name}\" is no box: did you mean {known}?"),
                None => format!("\"{name}\" is no box: {}", list(&BOXES)),
            });
        }
    };
    built.map_err(|e: String| format!("{name}({inner}): {e}"))
}

fn one(words: &[&str], least: u64, most: u64) -> Result<u64, String> {
    match words {
        [value] => number(value, least, most),
        _ => Err(format!("takes one number, from {least} to {most}")),
    }
}

fn unknown(word: &str, known: &[&str]) -> String {
    match closest(word.split('=').next().unwrap_or(word), known) {
        Some(meant) => format!("\"{word}\" is not known: did you mean {meant}?"),
        None => format!("\"{word}\" is not known: {}", list(known)),
    }
}

fn nat(words: &[&str]) -> Result<Middlebox, String> {
    let (mut idle, mut keep_ports) = (IDLE, false);
    for word in words {
        match word.split_once('=') {
            Some(("idle", value)) => idle = duration(value)?,
            None if *word == "keep-ports" => keep_ports = true,
            _ => return Err(unknown(word, &["idle", "keep-ports"])),
        }
    }
    Ok(Middlebox::Nat { idle, keep_ports })
}

fn firewall(words: &[&str]) -> Result<Middlebox, String> {
    let (mut idle, mut answer, mut syn) = (IDLE, Answer::Silence, SynRule::Pass);
    for word in words {
        match word.split_once('=') {
            Some(("idle", value)) => idle = duration(value)?,
            Some(("answer", "none")) => answer = Answer::Silence,
            Some(("answer", "rst")) => answer = Answer::Rst,
            Some(("answer", "icmp")) => answer = Answer::Icmp,
            Some(("answer", other)) => return Err(unknown(other, &["none", "rst", "icmp"])),
            Some(("syn", "pass")) => syn = SynRule::Pass,
            Some(("syn", "refuse")) => syn = SynRule::Refuse,
            Some(("syn", "lose-first")) => syn = SynRule::LoseFirst,
            Some(("syn", other)) => return Err(unknown(other, &["pass", "refuse", "lose-first"])),
            _ => return Err(unknown(word, &["idle", "answer", "syn"])),
        }
    }
    Ok(Middlebox::Firewall { idle, answer, syn })
}

fn strip(words: &[&str]) -> Result<Middlebox, String> {
    if words.is_empty() {
        return Err("takes options, by name or by kind, as strip(ts,sackok) or strip(8)".into());
    }
    let names = KINDS.map(|(name, _)| name);
    let of = |word: &&str| match KINDS.iter().find(|(name, _)| name == word) {
        Some((_, kind)) => Ok(*kind),
        None if word.starts_with(|c: char| c.is_ascii_digit()) => number(word, 2, 255).map(|kind| kind as u8),
        None => Err(unknown(word, &names)),
    };
    let kinds: Result<Vec<u8>, String> = words.iter().map(of).collect();
    Ok(Middlebox::Mangle(Mangle::Strip(kinds?)))
}

fn ecn(words: &[&str]) -> Result<Middlebox, String> {
    let known = ["bleach", "unmark", "to-ect1", "ce=1%", "force=1%", "clear-flags", "clear-syn-flags"];
    let [word] = words else { return Err(format!("takes one word: {}", list(&known))) };
    let rule = match word.split_once('=') {
        Some(("ce", share)) => EcnRule::Mark(chance(share)?),
        Some(("force", share)) => EcnRule::Force(chance(share)?),
        _ => match *word {
            "bleach" => EcnRule::Bleach,
            "unmark" => EcnRule::Unmark,
            "to-ect1" => EcnRule::ToEct1,
            "clear-flags" => EcnRule::ClearFlags,
            "clear-syn-flags" => EcnRule::ClearSynFlags,
            _ => return Err(unknown(word, &known)),
        },
    };
    Ok(Middlebox::Mangle(Mangle::Ecn(rule)))
}

fn merge(words: &[&str]) -> Result<Middlebox, String> {
    let (most, hold) = match words {
        [most] => (most, Duration::from_millis(1)),
        [most, hold] => {
            (most, duration(hold.strip_prefix("hold=").ok_or_else(|| unknown(hold, &["hold"]))?)?)
        }
        _ => return Err("takes the largest payload and how long it holds, as merge(9000,hold=1ms)".into()),
    };
    Ok(Middlebox::Merge { most: number(most, 2, 65_000)? as usize, hold })
}

impl fmt::Display for Middlebox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nat { idle, keep_ports } => {
                write!(f, "nat(idle={}{})", time(*idle), if *keep_ports { ",keep-ports" } else { "" })
            }
            Self::Firewall { idle, answer, syn } => {
                let answer = match answer {
                    Answer::Silence => "none",
                    Answer::Rst => "rst",
                    Answer::Icmp => "icmp",
                };
                let syn = match syn {
                    SynRule::Pass => "pass",
                    SynRule::Refuse => "refuse",
                    SynRule::LoseFirst => "lose-first",
                };
                write!(f, "firewall(idle={},answer={answer},syn={syn})", time(*idle))
            }
            Self::Merge { most, hold } => write!(f, "merge({most},hold={})", time(*hold)),
            Self::Mangle(mangle) => write!(f, "{mangle}"),
        }
    }
}

impl fmt::Display for Mangle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strip(kinds) => {
                let kinds: Vec<String> = kinds.iter().map(u8::to_string).collect();
                write!(f, "strip({})", kinds.join(","))
            }
            Self::ClampMss(most) => write!(f, "mss({most})"),
            Self::ClampWindow(most) => write!(f, "window({most})"),
            Self::Sequence { sack: true } => write!(f, "seq()"),
            Self::Sequence { sack: false } => write!(f, "seq(not-sack)"),
            Self::Split(most) => write!(f, "split({most})"),
            Self::Ecn(EcnRule::Bleach) => write!(f, "ecn(bleach)"),
            Self::Ecn(EcnRule::Unmark) => write!(f, "ecn(unmark)"),
            Self::Ecn(EcnRule::ToEct1) => write!(f, "ecn(to-ect1)"),
            Self::Ecn(EcnRule::Mark(share)) => write!(f, "ecn(ce={share})"),
            Self::Ecn(EcnRule::Force(share)) => write!(f, "ecn(force={share})"),
            Self::Ecn(EcnRule::ClearFlags) => write!(f, "ecn(clear-flags)"),
            Self::Ecn(EcnRule::ClearSynFlags) => write!(f, "ecn(clear-syn-flags)"),
        }
    }
}
