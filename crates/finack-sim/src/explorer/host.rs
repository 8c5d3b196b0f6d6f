//! A host as an automaton: its stack and its application, and what becomes of them by one event.

use finack_core::device::Packet;
use finack_core::stack::Origin;
use finack_core::tcp::State;
use finack_core::trace::{EndCause, TraceKind};
use finack_core::{Instant, Stack};

use super::app::{App, Handles, Machine, TASKS};
use super::segment::{Clocks, Segment};
use super::world::{End, START, World};
use crate::packet::parse;
use crate::split::wire_packets;

/// What happens to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A tick passes.
    Tick,
    /// What is due at this time is done.
    Fire,
    /// A list of calls goes on.
    Call(u8),
    /// A list waits no longer for a connection that nobody will open.
    GiveUp(u8),
    /// A segment arrives, so many ticks old.
    Deliver(u32, u8),
    /// The host loses all that it has.
    Crash,
    /// It starts again.
    Reboot,
}

/// A host at some time.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) end: End,
    pub(crate) now: Instant,
    pub(crate) app: App,
    /// None while it is down.
    pub(crate) stack: Option<Stack>,
    pub(crate) handles: Handles,
}

/// What an event brought about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    /// What was sent.
    pub(crate) sent: Vec<Segment>,
    /// Changes of state.
    pub(crate) transitions: Vec<(State, State)>,
    /// What must not be.
    pub(crate) wrong: Option<String>,
    /// The call's answer, or why a segment was dropped.
    pub(crate) note: String,
}

/// What tells hosts apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    stack: u128,
    app: App,
}

/// What of a host decides what may come next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Face {
    /// Lists of calls that can go on (bits).
    pub(crate) callable: u8,
    /// Lists that wait for a connection (bits).
    pub(crate) waiting: u8,
    /// Something is due now.
    pub(crate) due: bool,
    /// Something will be due.
    pub(crate) timed: bool,
    /// Its program has ended.
    pub(crate) finished: bool,
    /// Nothing is kept: no connection, timer, port.
    pub(crate) empty: bool,
    /// Its application may let time pass.
    pub(crate) patient: bool,
    /// It is up.
    pub(crate) up: bool,
    /// It may crash.
    pub(crate) may_crash: bool,
}

impl Host {
    pub(crate) fn new(world: &World, end: End) -> Self {
        let (stack, app) = (Some(world.stack(end, 0, START)), App::default());
        let mut host = Self { end, now: START, app, stack, handles: Handles::default() };
        host.app.pass_over(&world.hosts[end]);
        host
    }

    pub(crate) fn clocks(&self, world: &World, age: u8) -> Clocks {
        let sent = Instant::from_nanos(self.now.as_nanos() - u64::from(age) * world.tick.as_nanos() as u64);
        Clocks::at(sent, world.clock(sent))
    }

    pub(crate) fn name(&self, world: &World) -> Name {
        let clock = world.clock(self.now);
        let origin = Origin { sent: clock, received: clock };
        let stack = self.stack.as_ref().map_or(0, |s| s.fingerprint(self.now, origin));
        Name { stack, app: self.app.clone() }
    }

    /// Lists of calls that can go on (bits).
    fn callable(&mut self, world: &World) -> u8 {
        let Some(stack) = &mut self.stack else { return 0 };
        let m = Machine { stack, now: self.now, handles: &mut self.handles, spec: &world.hosts[self.end] };
        (0..TASKS).filter(|&t| self.app.is_callable(t, &m)).map(|t| 1 << t).sum()
    }

    pub(crate) fn face(&mut self, world: &World) -> Face {
        let spec = &world.hosts[self.end];
        let callable = self.callable(world);
        let Some(stack) = &mut self.stack else {
            return Face { empty: true, finished: false, patient: true, ..Face::default() };
        };
        let deadline = stack.next_deadline();
        let empty = stack.leftovers().is_empty();
        // Who has nothing to do and nothing to lose does not crash: it would be another program that begins then.
        let finished = self.app.is_finished(spec);
        let over = finished && empty;
        let waits = |t: &usize| matches!(self.app.op(*t, spec), Some(super::app::Op::Accept(_)));
        let lingers = self.app.records.iter().any(|r| matches!(r.phase, super::app::Phase::Lingering(1..)));
        Face {
            callable,
            waiting: (0..TASKS).filter(waits).map(|t| 1 << t).sum(),
            due: deadline.is_some_and(|at| at <= self.now),
            timed: deadline.is_some() || lingers,
            finished,
            empty,
            patient: callable == 0 || world.patience.is_none_or(|most| self.app.waited < most),
            up: true,
            may_crash: usize::from(self.app.boots) + 1 < spec.lives.len() && !over,
        }
    }

    /// Takes an event. `segment` is what a `Deliver` is about.
    pub(crate) fn take(&mut self, world: &World, event: Event, segment: Option<&Segment>) -> Effects {
        let mut effects = Effects::default();
        let spec = &world.hosts[self.end];
        match event {
            Event::Tick => {
                let most = world.patience.unwrap_or(0);
                let waits = self.callable(world) != 0;
                self.app.waited = if waits { (self.app.waited + 1).min(most) } else { 0 };
                self.now += world.tick;
                self.app.tick();
            }
            Event::Fire => {
                if let Some(stack) = &mut self.stack {
                    stack.handle_timeout(self.now);
                }
            }
            Event::Call(task) => {
                self.app.waited = 0;
                if let Some(stack) = &mut self.stack {
                    let mut m = Machine { stack, now: self.now, handles: &mut self.handles, spec };
                    let answer = self.app.call(usize::from(task), &mut m);
                    (effects.note, effects.wrong) = (answer.text, answer.wrong);
                }
            }
            Event::GiveUp(task) => self.app.give_up(usize::from(task), spec),
            Event::Deliver(_, age) => {
                let clocks = self.clocks(world, age);
                if let (Some(stack), Some(segment)) = (&mut self.stack, segment) {
                    let bytes = segment.bytes(clocks);
                    stack.handle_packets(self.now, &[Packet::borrowed(&bytes)]);
                }
            }
            Event::Crash => {
                self.app.crash();
                (self.stack, self.handles) = (None, Handles::default());
            }
            Event::Reboot => {
                self.app.reboot();
                self.stack = Some(world.stack(self.end, self.app.boots, self.now));
            }
        }
        self.drain(world, segment, &mut effects);
        self.app.pass_over(spec);
        self.settle(world, &mut effects);
        effects
    }

    /// What the stack sends, announces and observed.
    fn drain(&mut self, world: &World, cause: Option<&Segment>, effects: &mut Effects) {
        let clocks = self.clocks(world, 0);
        let Some(stack) = &mut self.stack else { return };
        let whose = self.app.newest();
        loop {
            let wire = match stack.poll_transmit(self.now) {
                None => break,
                Some(transmit) => wire_packets(&transmit),
            };
            for bytes in wire.unwrap_or_default() {
                match parse(&bytes) {
                    Ok(packet) => effects.sent.push(Segment::sent(packet, whose, clocks)),
                    Err(error) => effects.wrong = Some(format!("sent something malformed: {error}")),
                }
            }
        }
        while let Some(event) = stack.poll_event() {
            self.app.on_event(event, &self.handles);
        }
        let whose = cause.map_or(0, |s| s.whose);
        while let Some(event) = stack.poll_trace() {
            match event.kind {
                TraceKind::State { from, to } => {
                    effects.transitions.push((from, to));
                    match (from, to) {
                        (State::Listen, State::SynReceived) => self.app.on_half_open(whose),
                        (State::SynReceived, State::Established) => self.app.on_complete(whose),
                        (State::SynReceived, State::Closed) => self.app.on_half_open_end(),
                        _ => self.app.on_state(to),
                    }
                }
                TraceKind::ResetSent(reason) => self.app.on_reset(reason),
                TraceKind::Ended(EndCause::TimedOut | EndCause::FinWait2TimedOut) => self.app.gave_up = true,
                TraceKind::Dropped { reason, .. } => effects.note = reason.to_string(),
                _ => {}
            }
        }
        let m = Machine { stack, now: self.now, handles: &mut self.handles, spec: &world.hosts[self.end] };
        self.app.look(&m);
    }

    /// A lazily moved timer may call too early; then it finds nothing to do, and is passed over.
    fn settle(&mut self, world: &World, effects: &mut Effects) {
        let (now, name) = (self.now, self.needs_settling().then(|| self.name(world)));
        let Some(stack) = &mut self.stack else { return };
        if let Some(name) = name {
            stack.handle_timeout(now);
            let quiet = stack.poll_transmit(now).is_none() && stack.poll_event().is_none();
            if !quiet || self.name(world) != name {
                effects.wrong = Some("a timer did something before it was due".into());
            }
        }
        if let Some(Err(wrong)) = self.stack.as_ref().map(Stack::check_tables) {
            effects.wrong = Some(wrong);
        }
    }

    fn needs_settling(&self) -> bool {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        self.stack.as_ref().is_some_and(|s| due(s.poll_timeout()) && !due(s.next_deadline()))
    }
}
