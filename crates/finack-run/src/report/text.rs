//! The report as text for people.

mod draw;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};
use finack_core::tcp::State;

use super::format::{bytes, duration, plural, wrap};
use super::{ConnectionReport, Ending, EndingKind, Note, Report, Side, StateAt};
use crate::plan;
use crate::services::dns::{Outcome, type_name};

/// Up to how many connections each gets a paragraph of its own.
const PARAGRAPHS: usize = 4;
/// Up to how many connections each gets a line of its own; beyond it they are counted by kind.
const LINES: usize = 25;
/// Column at which a paragraph's text starts.
const INDENT: usize = 14;
/// Least width that is written for; narrower terminals wrap.
const MIN_WIDTH: usize = 72;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();
const STATE: Style = AnsiColor::Cyan.on_default();

/// How a report is to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; at least 72 are used.
    pub width: usize,
    /// Whether arrows and lines may be Unicode's; else ASCII stands for them.
    pub unicode: bool,
    /// Whether ladder diagrams are drawn.
    pub ladders: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 100, unicode: true, ladders: true }
    }
}

impl Look {
    fn arrow(&self) -> &'static str {
        if self.unicode { "→" } else { "->" }
    }

    fn columns(&self) -> usize {
        self.width.clamp(MIN_WIDTH, 160)
    }
}

/// Writes `report` with ANSI styles, which the caller strips where they are not wanted.
pub fn render(report: &Report, look: &Look) -> String {
    let mut out = String::new();
    headline(report, look, &mut out);
    let kept = report.connections.len();
    if has_paragraphs(report) {
        // What explains several connections alike is said once.
        let mut said = Vec::new();
        for connection in &report.connections {
            paragraph(connection, look, &mut said, &mut out);
        }
    } else if kept <= LINES && report.total <= LINES as u64 {
        for connection in &report.connections {
            line(connection, look, &mut out);
        }
    } else {
        groups(report, look, &mut out);
    }
    if report.total > 0 {
        out.push('\n');
    }
    states(report, look, &mut out);
    refusals(report, look, &mut out);
    datagrams(report, look, &mut out);
    stray_notes(report, look, &mut out);
    names(report, look, &mut out);
    drops(report, look, &mut out);
    if report.lost_events > 0 {
        let text = format!("{} trace events were lost: the counts above may be too low", report.lost_events);
        item("note", NOTE, &text, look, &mut out);
    }
    // Where nothing followed the blank line.
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn headline(report: &Report, look: &Look, out: &mut String) {
    let endings: Vec<String> =
        report
            .endings
            .iter()
            .map(|(kind, count)| {
                if *count == report.total && *count == 1 {
                    kind.to_string()
                } else {
                    format!("{count} {kind}")
                }
            })
            .collect();
    let how = if endings.is_empty() { String::new() } else { format!(" ({})", endings.join(", ")) };
    let mut text = format!("{}{how}", plural(report.total, "TCP connection"));
    let _ = write!(
        text,
        ", {} to the program, {} from it, {}",
        bytes(report.to_program),
        bytes(report.from_program),
        duration(report.elapsed)
    );
    if report.retransmitted > 0 {
        let _ = write!(text, ", {}", plural(report.retransmitted, "segment") + " sent again");
    }
    for (i, part) in wrap(&text, look.columns() - 8).into_iter().enumerate() {
        let lead = if i == 0 { "finack:" } else { "       " };
        let _ = writeln!(out, "{BOLD}{lead}{BOLD:#} {part}");
    }
}

fn paragraph(c: &ConnectionReport, look: &Look, said: &mut Vec<String>, out: &mut String) {
    let ending = c.ending();
    let _ = writeln!(out);
    let opener = c.opened_by.map_or("opened unseen", |side| match side {
        Side::Program => "opened by the program",
        Side::Finack => "opened by finack",
    });
    let family = if c.finack.ip().to_canonical().is_ipv4() { "IPv4" } else { "IPv6" };
    let title = format!("#{} {} {} {}", c.number, c.program, look.arrow(), end_name(c));
    let subtitle = format!("{}TCP over {family}, {opener}", address_beside_name(c));
    let gap = if title.chars().count() + 2 + subtitle.len() <= look.columns() { "  " } else { "\n   " };
    let _ = writeln!(out, "{BOLD}{title}{BOLD:#}{gap}{DIM}{subtitle}{DIM:#}");
    item("bytes", DIM, &traffic(c), look, out);
    item("program", DIM, &path(&c.program_states, look), look, out);
    item("finack", DIM, &path(&c.finack_states, look), look, out);
    if !c.retransmits.is_empty() {
        let reasons: Vec<String> = c.retransmits.iter().map(|(r, n)| format!("{n} × {r}")).collect();
        item("sent again", NOTE, &reasons.join("; "), look, out);
    }
    if !c.drops.is_empty() {
        let reasons: Vec<String> = c.drops.iter().map(|(r, n)| format!("{n} × {r}")).collect();
        item("dropped", NOTE, &reasons.join("; "), look, out);
    }
    probes(c, look, out);
    outside(c, look, out);
    let style = if ending.kind.is_good() { GOOD } else { BAD };
    item("ended", style, &format!("{}: {}", ending.kind, ending.what), look, out);
    let why = (!ending.why.is_empty()).then(|| format!("{} [{}]", ending.why, ending.rfc));
    for explanation in why.into_iter().chain(ending.time_wait.map(time_wait)) {
        if !said.contains(&explanation) {
            item("", DIM, &explanation, look, out);
            said.push(explanation);
        }
    }
    hints(c, &ending, look, said, out);
    if look.ladders
        && let Some(ladder) = &c.ladder
    {
        let _ = writeln!(out);
        draw::ladder(ladder, c, look, out);
    }
}

/// What the program saw of an end that was not in order or of a service that means ill, and who can change what.
fn hints(c: &ConnectionReport, ending: &Ending, look: &Look, said: &mut Vec<String>, out: &mut String) {
    let on_purpose = c.notes.iter().any(|n| matches!(n.note, Note::Service { .. }));
    if ending.kind.is_good() && !on_purpose {
        return;
    }
    for (label, text) in [("seen as", ending.seen_as), ("advice", ending.advice.as_str())] {
        if !text.is_empty() && !said.iter().any(|s| s == text) {
            item(label, DIM, text, look, out);
            said.push(text.to_owned());
        }
    }
}

/// How often the program's end asked, and what for.
fn probes(c: &ConnectionReport, look: &Look, out: &mut String) {
    let asked =
        [(c.window_probes, "has the window opened?"), (c.keep_alives, "is anybody there? (keep-alive)")];
    let asked: Vec<String> =
        asked.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} × {what}")).collect();
    if !asked.is_empty() {
        item("probes", DIM, &format!("the program's end asked {}", asked.join(", ")), look, out);
    }
}

/// What happened on the host's side, in order.
fn outside(c: &ConnectionReport, look: &Look, out: &mut String) {
    let mut parts: Vec<String> = Vec::new();
    for noted in &c.notes {
        if let Note::Outside(what) = &noted.note {
            parts.push(format!("{what} after {}", duration(noted.at.since(c.first))));
        }
    }
    if !parts.is_empty() {
        item("outside", DIM, &parts.join("; "), look, out);
    }
}

fn time_wait(side: Side) -> String {
    let end = match side {
        Side::Program => "the program's end",
        Side::Finack => "finack's end",
    };
    format!(
        "TIME-WAIT is at {end}, which closed first: nothing late can be taken for part of a next connection [RFC 9293 3.6.1]"
    )
}

fn traffic(c: &ConnectionReport) -> String {
    let mut text = format!(
        "{} from the program in {}, {} to it in {}",
        bytes(c.from_program.acknowledged),
        plural(c.from_program.segments, "segment"),
        bytes(c.to_program.acknowledged),
        plural(c.to_program.segments, "segment"),
    );
    let unacknowledged = c.to_program.sent.saturating_sub(c.to_program.acknowledged);
    if unacknowledged > 0 {
        let _ = write!(text, " ({} more were not acknowledged)", bytes(unacknowledged));
    }
    let _ = write!(text, "; {}", duration(c.duration()));
    if let Some(rtt) = c.handshake {
        let _ = write!(text, ", handshake {}", duration(rtt));
    }
    if c.from_program.repeated > 0 {
        let _ = write!(text, "; the program sent {} again", plural(c.from_program.repeated, "segment"));
    }
    text
}

fn path(states: &[StateAt], look: &Look) -> String {
    if states.is_empty() {
        return "no state was seen".into();
    }
    let names: Vec<&str> = states.iter().map(|s| s.state.as_str()).collect();
    names.join(&format!(" {} ", look.arrow()))
}

/// A connection as one line.
fn line(c: &ConnectionReport, look: &Look, out: &mut String) {
    let ending = c.ending();
    let style = if ending.kind.is_good() { GOOD } else { BAD };
    let _ = writeln!(
        out,
        "  #{:<3} {} {} {}  {} in, {} out, {}  {style}{}{style:#}",
        c.number,
        c.program,
        look.arrow(),
        end_name(c),
        bytes(c.from_program.acknowledged),
        bytes(c.to_program.acknowledged),
        duration(c.duration()),
        ending.kind,
    );
    if !ending.kind.is_good() {
        for part in wrap(&in_one(&ending), look.columns() - 8) {
            let _ = writeln!(out, "        {DIM}{part}{DIM:#}");
        }
    }
}

/// What happened, why, and where that is written.
fn in_one(ending: &Ending) -> String {
    let why = if ending.why.is_empty() { String::new() } else { format!(": {}", ending.why) };
    format!("{}{why} [{}]", ending.what, ending.rfc)
}

/// Many connections, counted by where they went and how they ended.
fn groups(report: &Report, look: &Look, out: &mut String) {
    let mut groups: std::collections::BTreeMap<(SocketAddr, EndingKind), (u64, String, String)> =
        Default::default();
    for c in &report.connections {
        let ending = c.ending();
        let target = c.target();
        let name = || if target == c.finack { end_name(c) } else { target.to_string() };
        let group = groups.entry((target, ending.kind)).or_insert_with(|| (0, String::new(), name()));
        group.0 += 1;
        if !ending.kind.is_good() && group.1.is_empty() {
            group.1 = format!("#{}: {}", c.number, in_one(&ending));
        }
    }
    for ((_, kind), (count, example, name)) in groups {
        let style = if kind.is_good() { GOOD } else { BAD };
        let _ = writeln!(out, "  {count:>6} {} {}  {style}{kind}{style:#}", look.arrow(), name);
        for part in wrap(&example, look.columns() - 12) {
            let _ = writeln!(out, "            {DIM}{part}{DIM:#}");
        }
    }
    let kept = report.connections.len() as u64;
    if kept < report.total {
        let text = format!("the first {kept} of {} connections are told apart here", report.total);
        item("note", NOTE, &text, look, out);
    }
}

/// Counts by state, worth a line where there is more than one connection or one that is not gone.
fn states(report: &Report, look: &Look, out: &mut String) {
    if report.total == 0 || (report.total == 1 && report.by_state.contains_key(&State::Closed)) {
        return;
    }
    let counts: Vec<String> = report.by_state.iter().map(|(state, n)| format!("{n} {state}")).collect();
    item("at the end", DIM, &format!("finack's side: {}", counts.join(", ")), look, out);
}

fn refusals(report: &Report, look: &Look, out: &mut String) {
    for (refusal, count) in &report.refusals {
        let text = format!("{count} × {}: {}", refusal.target, refusal.reason);
        item("refused", BAD, &text, look, out);
    }
}

/// What was told of datagrams' flows and of SYNs that no paragraph is about.
fn stray_notes(report: &Report, look: &Look, out: &mut String) {
    for ((target, note), count) in &report.stray_notes {
        item("outside", NOTE, &format!("{count} × {target}: {note}"), look, out);
    }
}

fn datagrams(report: &Report, look: &Look, out: &mut String) {
    let (received, sent) = report.datagrams;
    if received + sent > 0 {
        item("datagrams", DIM, &format!("{received} UDP from the program, {sent} to it"), look, out);
    }
}

fn names(report: &Report, look: &Look, out: &mut String) {
    let asked: u64 = report.names.values().sum::<u64>() + report.more_names;
    if asked == 0 {
        return;
    }
    let mut parts: Vec<String> = Vec::new();
    for (query, count) in report.names.iter().take(6) {
        let times = if *count > 1 { format!("{count} × ") } else { String::new() };
        parts.push(format!("{times}{} {} ({})", query.name, type_name(query.qtype), query.outcome));
    }
    if report.names.len() > 6 {
        parts.push("…".replace('…', if look.unicode { "…" } else { "..." }));
    }
    item("names", DIM, &format!("{}: {}", plural(asked, "question"), parts.join(", ")), look, out);
    if report.names.keys().any(|q| q.outcome == Outcome::Outside) {
        let text =
            format!("this network leads nowhere else: only names under .{} are known in it", plan::DOMAIN);
        item("", NOTE, &text, look, out);
    }
}

/// Packets dropped that no paragraph above tells of.
fn drops(report: &Report, look: &Look, out: &mut String) {
    for (reason, count) in &report.drops {
        let told: u64 = if has_paragraphs(report) {
            report.connections.iter().filter_map(|c| c.drops.get(reason)).sum()
        } else {
            0
        };
        let count = count.saturating_sub(told);
        if count > 0 {
            item("dropped", NOTE, &format!("{}: {reason}", plural(count, "packet")), look, out);
        }
    }
}

fn has_paragraphs(report: &Report) -> bool {
    report.total <= PARAGRAPHS as u64
}

/// A label at the left, and text that wraps beside it.
fn item(label: &str, style: Style, text: &str, look: &Look, out: &mut String) {
    let text = if look.unicode { text.to_owned() } else { text.replace('×', "x").replace('…', "...") };
    // What has a label needs no dimming to be told apart.
    let style = if style == DIM && !label.is_empty() { Style::new() } else { style };
    for (i, part) in wrap(&text, look.columns() - INDENT).into_iter().enumerate() {
        let label = if i == 0 { label } else { "" };
        let _ = writeln!(out, "   {DIM}{label:<w$}{DIM:#}{style}{part}{style:#}", w = INDENT - 3);
    }
}

/// `hello.finack:80`, or the address where it has no name.
fn end_name(c: &ConnectionReport) -> String {
    match c.name() {
        Some(name) => format!("{name}:{}", c.finack.port()),
        None => c.finack.to_string(),
    }
}

/// The address of an end that is shown by its name.
fn address_beside_name(c: &ConnectionReport) -> String {
    c.name().map_or(String::new(), |_| format!("{}, ", c.finack.ip()))
}
