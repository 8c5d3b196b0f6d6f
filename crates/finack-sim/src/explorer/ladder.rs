//! A counter-example as a ladder: one host on the left, one on the right, what goes between them in the middle.

use core::fmt::Write;

use super::replay::{Happening, Row, Sending, rows};
use super::search::{Outcome, Violation};
use super::space::Fate;
use crate::packet::{Opt, Tcp, flag};

const SIDE: usize = 32;
const MIDDLE: usize = 40;

/// Initial sequence numbers, as the SYNs show them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bases(pub(crate) [Option<u32>; 2]);

impl Bases {
    /// A segment went out.
    pub(crate) fn see(&mut self, sending: &Sending) {
        if let Some(tcp) = sending.segment.packet.as_tcp().filter(|t| t.has(flag::SYN)) {
            self.0[sending.from] = Some(tcp.seq);
        }
    }
}

/// Flags in packetdrill's letters.
fn letters(tcp: &Tcp) -> String {
    let all = [('S', flag::SYN), ('F', flag::FIN), ('R', flag::RST), ('P', flag::PSH), ('.', flag::ACK)];
    all.iter().filter(|(_, bit)| tcp.has(*bit)).map(|(letter, _)| *letter).collect()
}

/// The options in packetdrill's words.
pub(crate) fn options(tcp: &Tcp) -> String {
    let text = |o: &Opt| match o {
        Opt::Eol => "eol".to_owned(),
        Opt::Nop => "nop".into(),
        Opt::Mss(n) => format!("mss {n}"),
        Opt::Wscale(n) => format!("wscale {n}"),
        Opt::SackOk => "sackOK".into(),
        Opt::Ts { val, ecr } => format!("TS val {val} ecr {ecr}"),
        Opt::Sack(blocks) => {
            let blocks = blocks.iter().map(|(a, b)| format!("{a}:{b}"));
            format!("sack {}", blocks.collect::<Vec<_>>().join(" "))
        }
        Opt::Other(..) | Opt::Raw(_) => "nop".into(),
    };
    let all: Vec<String> = tcp.options.iter().map(text).collect();
    if all.is_empty() { String::new() } else { format!(" <{}>", all.join(",")) }
}

/// `F. 2:2(0) ack 1`, numbers counted from the initial ones.
pub(crate) fn numbers(tcp: &Tcp, from: usize, bases: &Bases) -> String {
    let seq = bases.0[from].map_or(tcp.seq, |base| tcp.seq.wrapping_sub(base));
    let seq = if tcp.has(flag::RST) && tcp.seq == 0 { 0 } else { seq };
    let len = tcp.payload.len();
    let mut out = format!("{} {seq}:{}({len})", letters(tcp), seq.wrapping_add(len as u32));
    if tcp.has(flag::ACK) {
        let ack = bases.0[1 - from].map_or(tcp.ack, |base| tcp.ack.wrapping_sub(base));
        let _ = write!(out, " ack {ack}");
    }
    out
}

impl Outcome {
    /// The violation as a ladder; empty where there is none.
    #[must_use]
    pub fn ladder(&self) -> String {
        self.violation.as_ref().map(|v| ladder(self, v)).unwrap_or_default()
    }
}

fn ladder(outcome: &Outcome, violation: &Violation) -> String {
    let [left, right] = [outcome.world.hosts[0].name, outcome.world.hosts[1].name];
    let mut out = format!("  {:>5}  {left:<SIDE$} {:<MIDDLE$} {right}\n", "tick", "");
    let mut bases = Bases::default();
    for row in rows(outcome, violation) {
        draw(&mut out, &row, &mut bases);
    }
    out
}

fn draw(out: &mut String, row: &Row, bases: &mut Bases) {
    let mut said = Vec::new();
    let mut middle = String::new();
    match &row.what {
        Happening::Call { op, answer, .. } => said.push(format!("{}: {answer}", op.text())),
        Happening::Timer => said.push("a timer".into()),
        Happening::Other(what) => said.push((*what).into()),
        Happening::Arrival(sending, age) => middle = arrow(sending, bases, Some(*age)),
    }
    if matches!(row.what, Happening::Arrival(..)) && !row.note.is_empty() {
        said.push(format!("({})", row.note));
    }
    said.extend(row.transitions.iter().map(|(from, to)| format!("{from} → {to}")));
    for (index, text) in said.iter().enumerate() {
        line(out, row, index == 0, text, if index == 0 { &middle } else { "" });
    }
    if said.is_empty() {
        line(out, row, true, "", &middle);
    }
    for sending in &row.sent {
        bases.see(sending);
        line(out, row, false, "", &arrow(sending, bases, None));
    }
}

fn line(out: &mut String, row: &Row, first: bool, text: &str, middle: &str) {
    let at = if first { row.at.to_string() } else { String::new() };
    let (left, right) = if row.end == 0 { (text, "") } else { ("", text) };
    let line = format!("  {at:>5}  {left:<SIDE$} {middle:<MIDDLE$} {right}");
    let _ = writeln!(out, "{}", line.trim_end());
}

/// A segment that goes out, or that arrives (`age`).
fn arrow(sending: &Sending, bases: &Bases, age: Option<u8>) -> String {
    let Some(tcp) = sending.segment.packet.as_tcp() else { return String::new() };
    let text = numbers(tcp, sending.from, bases);
    let number = sending.number;
    let what = match (age, sending.fate) {
        (Some(0), _) => format!("[{number}] arrives"),
        (Some(age), _) => format!("[{number}] arrives, {age} old"),
        (None, Fate::Fine) => format!("[{number}] {text}"),
        (None, Fate::Lost) => format!("[{number}] {text}  LOST"),
        (None, Fate::Twice) => format!("[{number}] {text}  TWICE"),
        (None, Fate::Late) => format!("[{number}] {text}  LATE"),
    };
    let room = MIDDLE - 3;
    match (age.is_some(), sending.from) {
        (false, 0) => format!("{what} ──▶"),
        (true, 0) => format!("{:>room$} ─▶", what),
        (false, _) => format!("{:>w$}", format!("◀── {what}"), w = MIDDLE),
        (true, _) => format!("◀─ {what}"),
    }
}
