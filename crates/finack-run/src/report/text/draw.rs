//! Ladder diagrams: time runs down, the program stands at the left, finack at the right, each segment is an arrow.

use std::fmt::Write as _;

use anstyle::Style;
use finack_core::tcp::State;
use finack_core::trace::SendReason;

use super::{BAD, DIM, Look, NOTE, STATE, end_name};
use crate::report::format::{bytes, plural, wrap};
use crate::report::ladder::{Row, Segment, Skipped};
use crate::report::{ConnectionReport, Ladder, Side};

/// Columns of the time.
const TIME: usize = 11;
/// Columns of a state: the longest is SYN-RECEIVED.
const STATE_WIDTH: usize = 12;

struct Marks {
    line: &'static str,
    dash: &'static str,
    right: &'static str,
    left: &'static str,
    more: &'static str,
}

const UNICODE: Marks = Marks { line: "│", dash: "─", right: "▶", left: "◀", more: "⋮" };
const ASCII: Marks = Marks { line: "|", dash: "-", right: ">", left: "<", more: ":" };

struct Canvas<'a> {
    marks: &'static Marks,
    /// Columns between the two lines.
    width: usize,
    connection: &'a ConnectionReport,
}

pub(super) fn ladder(ladder: &Ladder, connection: &ConnectionReport, look: &Look, out: &mut String) {
    let canvas = Canvas {
        marks: if look.unicode { &UNICODE } else { &ASCII },
        width: look.columns().min(120) - TIME - 2 * STATE_WIDTH - 6,
        connection,
    };
    canvas.head(out);
    let mut previous = None;
    for row in ladder.head() {
        canvas.row(row, &mut previous, out);
    }
    if ladder.skipped() != Skipped::default() {
        canvas.skipped(ladder.skipped(), out);
    }
    for row in ladder.tail() {
        canvas.row(row, &mut previous, out);
    }
}

impl Canvas<'_> {
    fn head(&self, out: &mut String) {
        let left = format!("program :{}", self.connection.program.port());
        let right = end_name(self.connection);
        let gap = (2 * STATE_WIDTH + self.width + 4).saturating_sub(left.len() + right.len());
        let _ = writeln!(out, "{DIM}{:>TIME$}{DIM:#}  {left}{:gap$}{right}", "seconds", "");
    }

    fn row(&self, row: &Row, previous: &mut Option<u64>, out: &mut String) {
        let micros = u64::try_from(row.at.since(self.connection.first).as_micros()).unwrap_or(u64::MAX);
        let time = if *previous == Some(micros) {
            String::new()
        } else {
            format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
        };
        *previous = Some(micros);
        if row.segment.is_none() && row.program.is_empty() && row.finack.is_empty() {
            return self.notes(&row.notes, &time, out);
        }
        let program_states = entered(&row.program);
        let lines = program_states.len().max(row.finack.len()).max(1);
        for i in 0..lines {
            let time = if i == 0 { time.as_str() } else { "" };
            let (style, middle) = match &row.segment {
                Some(segment) if i == 0 => self.arrow(segment),
                _ => (Style::new(), " ".repeat(self.width)),
            };
            let program = program_states.get(i).map_or("", |s| s.as_str());
            let finack = row.finack.get(i).map_or("", |s| s.as_str());
            self.line(time, program, (style, &middle), finack, out);
        }
        self.notes(&row.notes, "", out);
    }

    /// What is to be said, `time` beside its first line.
    fn notes(&self, notes: &[String], mut time: &str, out: &mut String) {
        for part in notes.iter().flat_map(|note| wrap(note, self.width - 4)) {
            let padded = format!("  {part:<w$}", w = self.width - 2);
            self.line(time, "", (NOTE, &padded), "", out);
            time = "";
        }
    }

    fn line(
        &self,
        time: &str,
        program: &str,
        (style, middle): (Style, &str),
        finack: &str,
        out: &mut String,
    ) {
        let bar = self.marks.line;
        let _ = write!(
            out,
            "{DIM}{time:>TIME$}{DIM:#}  {STATE}{program:>STATE_WIDTH$}{STATE:#} {DIM}{bar}{DIM:#}{style}{middle}{style:#}{DIM}{bar}{DIM:#}"
        );
        if !finack.is_empty() {
            let _ = write!(out, " {STATE}{finack}{STATE:#}");
        }
        out.push('\n');
    }

    fn arrow(&self, segment: &Segment) -> (Style, String) {
        let style = if segment.flags.rst() {
            BAD
        } else if matches!(segment.reason, SendReason::Retransmission(_)) {
            NOTE
        } else {
            Style::new()
        };
        // A blank at each end, a dash, a blank, the label, a blank, dashes, the head.
        let room = self.width - 7;
        let label = label(segment, room);
        let dashes = self.marks.dash.repeat(room + 1 - label.chars().count().min(room));
        let (dash, right, left) = (self.marks.dash, self.marks.right, self.marks.left);
        let text = match segment.from {
            Side::Program => format!(" {dash} {label} {dashes}{right} "),
            Side::Finack => format!(" {left}{dashes} {label} {dash} "),
        };
        (style, text)
    }

    fn skipped(&self, skipped: Skipped, out: &mut String) {
        let text = format!(
            "{} {}, {} to finack, {} to the program",
            self.marks.more,
            plural(skipped.segments, "segment"),
            bytes(skipped.bytes.0),
            bytes(skipped.bytes.1),
        );
        let text: String = text.chars().take(self.width - 2).collect();
        let padded = format!("  {text:<w$}", w = self.width - 2);
        self.line(self.marks.more, "", (DIM, &padded), "", out);
    }
}

/// The states without the one that everything starts from.
fn entered(states: &[State]) -> &[State] {
    match states {
        [State::Closed | State::Listen, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}

/// What is written on an arrow: the parts in order of importance, as many as fit.
fn label(segment: &Segment, room: usize) -> String {
    let mut parts = vec![segment.flags.to_string(), format!("seq={}", segment.seq)];
    if segment.len > 0 {
        parts.push(format!("len={}", segment.len));
    }
    if let Some(ack) = segment.ack {
        parts.push(format!("ack={ack}"));
    }
    if segment.segments > 1 {
        parts.push(format!("in {} segments", segment.segments));
    }
    if segment.sack_blocks > 0 {
        parts.push(format!("sack={}", segment.sack_blocks));
    }
    parts.extend(match segment.reason {
        SendReason::Retransmission(_) => Some("(again)".into()),
        SendReason::ChallengeAck => Some("(challenge)".into()),
        SendReason::WindowProbe => Some("(probe)".into()),
        SendReason::KeepAlive => Some("(keep-alive)".into()),
        SendReason::WindowUpdate => Some("(window update)".to_string()),
        _ => None,
    });
    if let Some(mss) = segment.mss {
        parts.push(format!("mss={mss}"));
    }
    parts.push(format!("win={}", segment.window));
    if let Some(scale) = segment.window_scale {
        parts.push(format!("scale={scale}"));
    }
    if segment.sack_permitted {
        parts.push("sack".into());
    }
    if segment.timestamps && segment.flags.syn() {
        parts.push("timestamps".into());
    }
    let mut label = String::new();
    for part in parts {
        let blank = usize::from(!label.is_empty());
        if label.len() + blank + part.len() > room {
            break;
        }
        if blank > 0 {
            label.push(' ');
        }
        label.push_str(&part);
    }
    label
}
