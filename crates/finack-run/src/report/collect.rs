//! Takes trace events as they come, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;

use finack_core::Instant;
use finack_core::tcp::State;
use finack_core::trace::{AppCall, TraceEvent, TraceId, TraceKind};

use super::connection::{ConnectionReport, Follow, StateAt};
use super::ends::Ends;
use super::note::Note;
use super::{NameQuery, Refusal, Report};
use crate::services::dns::Answer;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections whose reports are kept; the others are counted.
    pub connections: usize,
    /// Connections followed at the same time; those beyond are counted, without bytes or ending.
    pub open: usize,
    /// Most connections for ladders to be drawn; with more of them none is kept.
    pub ladders: usize,
    /// Rows of a ladder.
    pub rows: usize,
    /// Kinds of refusals and of name queries told apart.
    pub kinds: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, open: 65_536, ladders: 4, rows: 60, kinds: 256 }
    }
}

/// Where a connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open(TraceId),
    /// At this place of the report's connections, which are sorted only at the end.
    Kept(usize),
}

/// Spreads numbers that finack counts itself: nobody can choose them so that they meet.
#[derive(Clone, Copy, Debug, Default)]
struct Counted(u64);

impl Hasher for Counted {
    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio: numbers that follow each other come to lie far apart in all bits (Knuth 6.4).
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Collects a report.
#[derive(Clone, Debug)]
pub struct Collector {
    limits: Limits,
    report: Report,
    open: HashMap<TraceId, Follow, BuildHasherDefault<Counted>>,
    /// Where the last connection with a pair of addresses is.
    places: HashMap<Ends, Place>,
    /// The time of the notes to come: that of the last event, or what was said since.
    now: Instant,
    /// Connections in TIME-WAIT had to make room: an event of one of those must not pass for a new connection.
    evicted: bool,
    /// Openings to pass by before it is worth looking for such connections again.
    patience: usize,
    started: Instant,
}

impl Collector {
    /// Collects from `started` on.
    pub fn new(started: Instant, limits: Limits) -> Self {
        Self {
            limits,
            report: Report::default(),
            open: HashMap::default(),
            places: HashMap::new(),
            now: started,
            evicted: false,
            patience: 0,
            started,
        }
    }

    /// Takes the next event.
    pub fn observe(&mut self, event: &TraceEvent) {
        self.now = event.at;
        if let TraceKind::Lost(count) = &event.kind {
            self.report.lost_events += count;
        }
        let probe = self.follow(event);
        if let TraceKind::Dropped { reason, .. } = &event.kind
            && !probe
        {
            *self.report.drops.entry(*reason).or_default() += 1;
        }
    }

    /// Takes an event to the connection that it is about. True where it is a drop that stands for nothing lost.
    fn follow(&mut self, event: &TraceEvent) -> bool {
        let Some(id) = event.conn else {
            self.observe_stray(event);
            return false;
        };
        let follow = match self.open.get_mut(&id) {
            Some(follow) => follow,
            None => {
                if !self.begin(id, event) {
                    return false;
                }
                let Some(begun) = self.open.get_mut(&id) else { return false };
                begun
            }
        };
        let probe = follow.observe(event);
        if matches!(event.kind, TraceKind::Ended(_))
            && let Some(follow) = self.open.remove(&id)
        {
            self.end(follow.report, Some(id));
        }
        probe
    }

    /// Says what time it is, for the notes that come next.
    pub fn advance_to(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Notes what finack's own parts know of the connection between finack's end and the program's: the last one with
    /// these addresses, whether it is over or not. Events that belong before it should have been observed before.
    ///
    /// Where there is none it is kept for the address that the program tried. A few notes are kept of each connection,
    /// and of each other address as many kinds as [`Limits::kinds`] has room for; those beyond are dropped.
    pub fn note(&mut self, finack_end: SocketAddr, program_end: SocketAddr, note: Note) {
        let at = self.now;
        match self.places.get(&Ends::new(finack_end, program_end)) {
            Some(Place::Open(id)) => {
                if let Some(follow) = self.open.get_mut(id) {
                    follow.take_note(at, note);
                }
            }
            Some(&Place::Kept(index)) => {
                let Some(connection) = self.report.connections.get_mut(index) else { return };
                let before = connection.ending_kind();
                connection.take_note(at, note);
                let after = connection.ending_kind();
                if before != after {
                    let count = self.report.endings.entry(before).or_default();
                    *count = count.saturating_sub(1);
                    self.report.endings.retain(|_, count| *count > 0);
                    *self.report.endings.entry(after).or_default() += 1;
                }
            }
            None => {
                let finack_end = SocketAddr::new(finack_end.ip().to_canonical(), finack_end.port());
                let key = (finack_end, note.to_string());
                let notes = &mut self.report.stray_notes;
                if notes.len() < self.limits.kinds || notes.contains_key(&key) {
                    *notes.entry(key).or_default() += 1;
                }
            }
        }
    }

    /// Notes a question that the name server answered.
    pub fn observe_name(&mut self, answer: &Answer) {
        let query = NameQuery { name: answer.name.clone(), qtype: answer.qtype, outcome: answer.outcome };
        let names = &mut self.report.names;
        if names.len() < self.limits.kinds || names.contains_key(&query) {
            *names.entry(query).or_default() += 1;
        } else {
            self.report.more_names += 1;
        }
    }

    /// Connections of which something is left, TIME-WAIT not counted: what is worth waiting for.
    pub fn unfinished(&self) -> usize {
        self.open
            .values()
            .filter(|f| !matches!(f.report.finack_state(), State::TimeWait | State::Closed))
            .count()
    }

    /// The state of the program's end of a connection, as its segments show it, and since when: also of one that is over for
    /// finack and perhaps not for the program, as long as its report is kept.
    pub fn program_state(&self, finack_end: SocketAddr, program_end: SocketAddr) -> Option<StateAt> {
        let report = match self.places.get(&Ends::new(finack_end, program_end))? {
            Place::Open(id) => &self.open.get(id)?.report,
            Place::Kept(index) => self.report.connections.get(*index)?,
        };
        report.program_states.last().copied()
    }

    /// Ends the collection.
    pub fn finish(mut self, now: Instant) -> Report {
        // Places in the report are of no more use.
        self.places.clear();
        let mut left: Vec<Follow> = self.open.drain().map(|(_, follow)| follow).collect();
        left.sort_by_key(|f| f.report.number);
        for mut follow in left {
            follow.release();
            self.end(follow.report, None);
        }
        self.report.connections.sort_by_key(|c| c.number);
        self.report.elapsed = now.since(self.started);
        self.report
    }

    fn begin(&mut self, id: TraceId, event: &TraceEvent) -> bool {
        // The application lets go of a connection after that has ended, or takes it only then: this opens nothing.
        let connects = matches!(event.kind, TraceKind::App(AppCall::Connect));
        if !connects && !matches!(event.kind, TraceKind::State { .. } | TraceKind::Segment(_)) {
            return false;
        }
        // Each connection leaves CLOSED or LISTEN once, with its SYN before.
        let leaves = matches!(event.kind, TraceKind::State { from: State::Closed | State::Listen, .. });
        let syn = matches!(&event.kind, TraceKind::Segment(segment) if segment.flags.syn());
        if self.open.len() >= self.limits.open && !((leaves || syn || connects) && self.make_room()) {
            self.report.total += u64::from(leaves);
            return false;
        }
        if self.evicted && !leaves && !syn && !connects {
            return false;
        }
        let number = self.report.total + 1;
        let rows = if number <= self.limits.ladders as u64 { self.limits.rows } else { 0 };
        let Some(follow) = Follow::new(number, event, rows) else { return false };
        self.report.total = number;
        if number == self.limits.ladders as u64 + 1 {
            self.drop_ladders();
        }
        self.places.insert(Ends::new(follow.report.finack, follow.report.program), Place::Open(id));
        self.open.insert(id, follow);
        true
    }

    /// Ends the following of those that only wait out their TIME-WAIT. False where there is none.
    fn make_room(&mut self) -> bool {
        // Looking through all of them is no work for every opening.
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        let waiting = |f: &Follow| f.report.finack_state() == State::TimeWait;
        let mut over: Vec<(TraceId, Follow)> = self.open.extract_if(|_, f| waiting(f)).collect();
        over.sort_by_key(|(_, f)| f.report.number);
        self.evicted |= !over.is_empty();
        let found = !over.is_empty();
        for (id, mut follow) in over {
            follow.release();
            self.end(follow.report, Some(id));
        }
        if !found {
            self.patience = self.limits.open / 64;
        }
        found
    }

    fn drop_ladders(&mut self) {
        for connection in &mut self.report.connections {
            connection.ladder = None;
        }
        for follow in self.open.values_mut() {
            follow.report.ladder = None;
        }
    }

    /// Counts a connection, and keeps it where there is room. `id` is by what it was followed until now.
    fn end(&mut self, connection: ConnectionReport, id: Option<TraceId>) {
        let ends = Ends::new(connection.finack, connection.program);
        let report = &mut self.report;
        *report.endings.entry(connection.ending_kind()).or_default() += 1;
        *report.by_state.entry(connection.finack_state()).or_default() += 1;
        report.from_program += connection.from_program.acknowledged;
        report.to_program += connection.to_program.acknowledged;
        report.retransmitted += connection.retransmits.values().sum::<u64>();
        let keep = report.connections.len() < self.limits.connections;
        // Another one may have these addresses by now.
        let is_last = id.is_some_and(|id| self.places.get(&ends) == Some(&Place::Open(id)));
        if is_last && keep {
            self.places.insert(ends, Place::Kept(report.connections.len()));
        } else if is_last {
            self.places.remove(&ends);
        }
        if keep {
            report.connections.push(connection);
        }
    }

    fn observe_stray(&mut self, event: &TraceEvent) {
        if let (TraceKind::ResetSent(reason), Some(target)) = (&event.kind, event.local) {
            let refusal = Refusal { target, reason: *reason };
            let refusals: &mut BTreeMap<Refusal, u64> = &mut self.report.refusals;
            if refusals.len() < self.limits.kinds || refusals.contains_key(&refusal) {
                *refusals.entry(refusal).or_default() += 1;
            }
        }
    }
}
