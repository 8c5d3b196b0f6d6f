//! One event after another.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use finack_posix::Fd;
use finack_sim::packet::{Body as LiveBody, Pkt, parse};

use super::carried::Files;
use super::compare::Difference;
use super::config::Config;
use super::flow::Flow;
use super::helpers::{Helpers, Kept, Order};
use super::python::{self, Fragment};
use super::report::{Failure, Report, Verdict, seconds};
use super::shell::{self, Understood};
use super::sign::Signatures;
use super::target::{Applied, CallId, Setting, Target};
use crate::ast::{Action, Call, Direction, Event, Nanos, Pos, Script, When};

/// Most lines of packets that a failure shows.
const LADDER: usize = 24;

/// Most packets that wait to be looked at.
const MOST_WAITING: usize = 1 << 16;

/// Longest that is waited for a packet whose time does not matter.
pub(super) const LONGEST: Nanos = 86_400_000_000_000;

/// Something from the target that no event has asked for so far.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) at: Nanos,
    /// What it is, or why it is no packet at all.
    pub(super) packet: Result<Pkt, String>,
    /// IPv6's flow label.
    pub(super) flow_label: u32,
    pub(super) why: Vec<String>,
}

/// Which socket packets belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The present flow, if there is one.
    Flow,
    /// A socket listens: the next injected segment begins a flow.
    Listening,
    /// A socket connects: the next SYN from the stack begins a flow.
    Connecting { fd: i64 },
}

/// A call that has not returned yet.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) id: CallId,
    pub(super) spec: Call,
    pub(super) pos: Pos,
    /// When the script says that it returns.
    pub(super) due: Nanos,
    /// Since when the tolerance counts.
    pub(super) since: Nanos,
}

/// When an event happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Nanos,
    pub(super) to: Nanos,
    /// Whether time matters at all.
    pub(super) any: bool,
    /// Since when the tolerance counts.
    pub(super) since: Nanos,
}

/// Why a run stops.
pub(super) type Stop = Box<Verdict>;

/// The UDP socket under test.
#[derive(Clone, Copy, Debug)]
pub(super) struct UdpFlow {
    pub(super) fd: i64,
    pub(super) remote: Option<std::net::SocketAddr>,
}

pub(super) struct Runner<'a> {
    pub(super) config: &'a Config,
    pub(super) target: &'a mut dyn Target,
    directory: &'a Path,
    helpers: Option<&'a dyn Helpers>,
    /// Files that commands left for each other.
    kept: BTreeMap<String, Kept>,
    pub(super) flows: Vec<Flow>,
    pub(super) current: Option<usize>,
    pub(super) phase: Phase,
    pub(super) udp: Option<UdpFlow>,
    /// Contents of the datagrams that the script's program sent and nobody saw yet.
    pub(super) datagrams: VecDeque<Vec<u8>>,
    /// The script's descriptors.
    pub(super) fds: BTreeMap<i64, Fd>,
    /// Kinds of the script's descriptors: whether they are UDP sockets.
    pub(super) udp_fds: Vec<i64>,
    /// Descriptors that `dup` gave, each with the one that its file is known by.
    pub(super) twins: BTreeMap<i64, i64>,
    /// What was written to each of the script's descriptors.
    pub(super) written: BTreeMap<i64, Vec<u8>>,
    pub(super) files: Files,
    pub(super) waiting: VecDeque<Emitted>,
    pub(super) blocked: Option<Blocked>,
    pub(super) pos: Pos,
    last_time: Nanos,
    pub(super) flow_label: Option<(u32, u32)>,
    pub(super) ladder: VecDeque<String>,
    pub(super) notes: Vec<String>,
    fragments: Vec<Fragment>,
    events: usize,
    pub(super) next_port: u16,
    /// The keys that the script gave its sockets.
    pub(super) signatures: Signatures,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        config: &'a Config,
        directory: &'a Path,
        helpers: Option<&'a dyn Helpers>,
        target: &'a mut dyn Target,
    ) -> Self {
        Self {
            config,
            target,
            directory,
            helpers,
            kept: BTreeMap::new(),
            flows: Vec::new(),
            current: None,
            phase: Phase::Flow,
            udp: None,
            datagrams: VecDeque::new(),
            fds: BTreeMap::new(),
            udp_fds: Vec::new(),
            twins: BTreeMap::new(),
            written: BTreeMap::new(),
            files: Files::default(),
            waiting: VecDeque::new(),
            blocked: None,
            pos: Pos::default(),
            last_time: 0,
            flow_label: None,
            ladder: VecDeque::new(),
            notes: Vec::new(),
            fragments: Vec::new(),
            events: 0,
            next_port: 54_321,
            signatures: Signatures::default(),
        }
    }

    pub(super) fn run(mut self, script: &Script) -> Report {
        let stopped = self.everything(script).err();
        let lasted = self.target.now();
        let verdict = match stopped {
            Some(stop) => *stop,
            None => self.judge_code(),
        };
        Report { verdict, notes: self.notes, events: self.events, lasted }
    }

    fn everything(&mut self, script: &Script) -> Result<(), Stop> {
        if let Some(init) = &script.init {
            self.pos = init.pos;
            self.command(&init.text)?;
        }
        for event in &script.events {
            self.pos = event.pos;
            self.event(event)?;
            self.events += 1;
        }
        self.finish_blocked()?;
        if let Some(cleanup) = &script.cleanup {
            self.pos = cleanup.pos;
            self.command(&cleanup.text)?;
        }
        self.leftovers()
    }

    /// The assertions are judged when everything else was right.
    fn judge_code(&mut self) -> Verdict {
        match python::run(&self.fragments) {
            python::Outcome::Held => Verdict::Passed,
            python::Outcome::NotRun(why) => Verdict::NotRun(why),
            python::Outcome::Failed(line, said) => {
                let found = self.fragments.iter().find(|f| f.pos.line == line);
                let failure = Failure {
                    pos: found.map_or(Pos { line, column: 1 }, |f| f.pos),
                    at: self.target.now(),
                    what: format!("the assertion does not hold: {said}"),
                    expected: found.map(|f| f.text.trim().to_owned()),
                    ladder: self.ladder.iter().cloned().collect(),
                    ..Failure::default()
                };
                Verdict::Failed(Box::new(failure))
            }
        }
    }

    /// Packets behind the last one that the script mentions.
    fn leftovers(&mut self) -> Result<(), Stop> {
        self.collect();
        if self.waiting.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = std::mem::take(&mut self.waiting).iter().map(|e| self.line_of(e)).collect();
        if self.config.nothing_left {
            let what = format!("{} that the script does not mention", packets(lines.len()));
            return Err(self.failure(what, None, lines.first().cloned(), Vec::new(), Vec::new()));
        }
        self.notes.push(format!("{} behind the script's last: {}", packets(lines.len()), lines.join("; ")));
        Ok(())
    }

    fn span(&self, event: &Event) -> Span {
        let now = self.target.now();
        let (from, to, any) = match event.when {
            When::Relative(t) => (now.saturating_add(t), now.saturating_add(t), false),
            When::Absolute(t) => (t, t, false),
            When::Any => (now, now, true),
            When::AbsoluteRange(a, b) => (a, b, false),
            When::RelativeRange(a, b) => (now.saturating_add(a), now.saturating_add(b), false),
        };
        Span { from, to, any, since: self.last_time }
    }

    fn event(&mut self, event: &Event) -> Result<(), Stop> {
        let now = self.target.now();
        let span = self.span(event);
        match &event.action {
            Action::Packet(packet) if packet.direction == Direction::Out => {
                self.expect(packet, span, event)?
            }
            action => {
                self.advance(span)?;
                match action {
                    Action::Packet(packet) => self.inject(packet)?,
                    Action::Call(call) => {
                        let due = call.until.map(|until| match event.when {
                            When::Relative(_) => now.saturating_add(until),
                            _ => until,
                        });
                        self.call(call, due, span)?;
                    }
                    Action::Command(text) => self.command(text)?,
                    Action::Code(code) => self.code(code.pos, &code.text)?,
                }
            }
        }
        self.last_time = if span.any { self.target.now() } else { span.from };
        Ok(())
    }

    /// By how much a time may be off that is so long after the event before.
    pub(super) fn tolerance(&self, since: Nanos, at: Nanos) -> Nanos {
        let part = at.saturating_sub(since) as f64 * self.config.tolerance_percent / 100.0;
        self.config.tolerance.max(part as Nanos)
    }

    /// Lets time pass up to an event's.
    fn advance(&mut self, span: Span) -> Result<(), Stop> {
        let late = self.target.now().saturating_sub(span.from);
        if late > self.tolerance(span.since, span.from) {
            let what = format!(
                "its time has passed: it was to be at {} s, and it is {} s",
                seconds(span.from),
                seconds(self.target.now())
            );
            return Err(self.failure(what, None, None, Vec::new(), Vec::new()));
        }
        loop {
            self.collect();
            self.check_returned()?;
            if self.target.now() >= span.from {
                return Ok(());
            }
            self.target.wait(span.from);
        }
    }

    /// Takes what the target has sent.
    pub(super) fn collect(&mut self) {
        while let Some(sent) = self.target.sent() {
            if self.waiting.len() >= MOST_WAITING {
                continue;
            }
            let label = sent.bytes.get(..4).map_or(0, |b| u32::from_be_bytes([0, b[1] & 15, b[2], b[3]]));
            let packet = parse(&sent.bytes);
            self.waiting.push_back(Emitted { at: sent.at, packet, flow_label: label, why: sent.why });
        }
    }

    /// Understands a shell command and does what it asks for.
    fn command(&mut self, text: &str) -> Result<(), Stop> {
        let understood = shell::understand(text, self.directory);
        let understood = match (understood.unknown.first(), self.helpers) {
            (Some(_), Some(helpers)) => self.run_command(text, helpers)?,
            _ => understood,
        };
        if let Some(unknown) = understood.unknown.first() {
            return Err(self.not_supported(unknown));
        }
        for setting in &understood.settings {
            if let Applied::No(why) = self.target.set(setting) {
                let name = match setting {
                    Setting::Sysctl { name, value } => format!("{name}={value}"),
                    Setting::SegmentationOffload(on) => format!("tso {}", if *on { "on" } else { "off" }),
                    Setting::Mtu(mtu) => format!("mtu {mtu}"),
                    Setting::InitialWindow(n) => format!("initcwnd {n}"),
                    Setting::RouteMtu(n) => format!("a route's mtu {n}"),
                    Setting::AdvertisedMss(n) => format!("advmss {n}"),
                };
                self.notes.push(format!("not set: {name} ({why})"));
            }
        }
        Ok(())
    }

    fn not_supported(&self, what: &str) -> Stop {
        Box::new(Verdict::NotRun(format!("line {}: the command {what} is not supported", self.pos.line)))
    }

    /// Has a command run, and tells what it asked for.
    fn run_command(&mut self, text: &str, helpers: &dyn Helpers) -> Result<Understood, Stop> {
        let order = Order {
            command: text.to_owned(),
            directory: self.directory.to_owned(),
            sysctls: self.target.sysctls(),
            proc: self.target.proc_files(),
            files: std::mem::take(&mut self.kept),
        };
        let shown = text.trim().replace('\n', "; ");
        let stopped = |why: &str| {
            let why = format!("line {}: the command `{shown}` can't be run: {why}", self.pos.line);
            Box::new(Verdict::NotRun(why))
        };
        let done = helpers.run(&order).map_err(|why| stopped(&why))?;
        let last = done.said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        if matches!(done.status, 126 | 127) {
            return Err(stopped(last));
        }
        if done.status != 0 {
            let what = format!("the command ends with status {} ({last})", done.status);
            return Err(self.failure(what, Some(format!("`{shown}`")), None, Vec::new(), Vec::new()));
        }
        for (path, file) in &done.files {
            self.target.put_file(path, &file.contents);
            self.files.contents.insert(path.clone(), file.contents.clone());
        }
        self.kept = done.files;
        let mut understood = shell::asked(&done.calls);
        let sysctl = |(name, value)| Setting::Sysctl { name, value };
        understood.settings.splice(0..0, done.sysctls.into_iter().map(sysctl));
        Ok(understood)
    }

    /// Takes down what an assertion will look at.
    fn code(&mut self, pos: Pos, text: &str) -> Result<(), Stop> {
        let of_flow = self.current.and_then(|i| self.flows[i].fd);
        let script_fd = match self.phase {
            Phase::Connecting { fd } => Some(fd),
            _ => of_flow,
        };
        let fd = script_fd.and_then(|fd| self.fds.get(&fd).copied());
        let info = fd.and_then(|fd| self.target.tcp_info(fd).ok());
        if info.is_none() && text.contains("tcpi_") {
            let what = "the assertion looks at a connection, and the script holds none".to_owned();
            return Err(self.failure(what, Some(text.trim().into()), None, Vec::new(), Vec::new()));
        }
        self.fragments.push(Fragment { pos, text: text.into(), info });
        Ok(())
    }

    /// A packet as a line of the ladder, in the script's terms as far as they are known.
    pub(super) fn line_of(&self, emitted: &Emitted) -> String {
        match &emitted.packet {
            Ok(packet) => format!("{} {}", seconds(emitted.at), self.in_script_terms(packet)),
            Err(wrong) => format!("{} > a malformed packet: {wrong}", seconds(emitted.at)),
        }
    }

    pub(super) fn note_in_ladder(&mut self, line: String) {
        if self.ladder.len() >= LADDER {
            self.ladder.pop_front();
        }
        self.ladder.push_back(line);
    }

    /// The flow that a packet from the stack belongs to.
    pub(super) fn flow_of(&self, packet: &Pkt) -> Option<usize> {
        let LiveBody::Tcp(_) = &packet.body else { return None };
        self.flows.iter().rposition(|f| f.local == packet.from() && f.remote == packet.to())
    }

    pub(super) fn failure(
        &mut self,
        what: String,
        expected: Option<String>,
        seen: Option<String>,
        fields: Vec<Difference>,
        reasons: Vec<String>,
    ) -> Stop {
        let mut said = reasons;
        // What happened of late explains what is missing.
        if seen.is_none() {
            let remarks = self.target.remarks();
            let late = remarks.len().saturating_sub(4);
            said.extend(remarks.into_iter().skip(late));
        }
        Box::new(Verdict::Failed(Box::new(Failure {
            pos: self.pos,
            at: self.target.now(),
            what,
            expected,
            seen,
            fields,
            ladder: self.ladder.iter().cloned().collect(),
            reasons: said,
            speaker: self.target.name().into(),
        })))
    }
}

fn packets(count: usize) -> String {
    if count == 1 { "1 packet".into() } else { format!("{count} packets") }
}
