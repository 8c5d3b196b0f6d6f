//! Situations of a world: which host, which segments on their way, which faults are left; and what may happen next.

use super::host::Event;
use super::hosts::Hosts;
use super::table::Arena;
use super::world::{End, Faults};

/// A segment on its way: its number and its age in ticks.
type Flying = (u32, u8);

/// A situation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    pub(crate) hosts: [u32; 2],
    pub(crate) faults: Faults,
    /// From each end, in the order in which they arrive.
    pub(crate) wires: [Vec<Flying>; 2],
    /// From each end, those that the network holds back: they arrive at any time, in any order.
    pub(crate) strays: [Vec<Flying>; 2],
}

/// What becomes of a segment that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fate {
    /// It arrives, behind those sent before it.
    Fine = 0,
    /// It does not arrive.
    Lost = 1,
    /// It arrives, and so does a copy, at any time.
    Twice = 2,
    /// It arrives at any time.
    Late = 3,
}

impl Fate {
    pub(crate) const ALL: [Self; 4] = [Self::Fine, Self::Lost, Self::Twice, Self::Late];
}

/// A step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// The host to which it happens; a tick passes for both.
    pub(crate) end: End,
    pub(crate) event: Event,
    /// What becomes of the segments that it makes the host send: two bits each, from the lowest.
    pub(crate) fates: u16,
}

impl Action {
    /// What becomes of the `index`th segment that is sent.
    pub(crate) fn fate(self, index: usize) -> Fate {
        if index < 8 { Fate::ALL[usize::from(self.fates >> (2 * index) & 3)] } else { Fate::Fine }
    }

    pub(crate) fn pack(self) -> u64 {
        let (kind, what) = match self.event {
            Event::Tick => (0, 0),
            Event::Fire => (1, 0),
            Event::Call(t) => (2, u64::from(t)),
            Event::GiveUp(t) => (3, u64::from(t)),
            Event::Deliver(s, age) => (4, u64::from(s) << 8 | u64::from(age)),
            Event::Crash => (5, 0),
            Event::Reboot => (6, 0),
        };
        self.end as u64 | kind << 1 | u64::from(self.fates) << 4 | what << 20
    }

    pub(crate) fn unpack(packed: u64) -> Self {
        let what = packed >> 20;
        let event = match packed >> 1 & 7 {
            0 => Event::Tick,
            1 => Event::Fire,
            2 => Event::Call(what as u8),
            3 => Event::GiveUp(what as u8),
            4 => Event::Deliver((what >> 8) as u32, what as u8),
            5 => Event::Crash,
            _ => Event::Reboot,
        };
        Self { end: (packed & 1) as End, event, fates: (packed >> 4) as u16 }
    }
}

impl Situation {
    /// How the world begins, and the steps before that.
    pub(crate) fn first(hosts: &mut Hosts) -> (Self, Vec<Action>) {
        let prelude = hosts.world.prelude;
        let none = Default::default;
        let mut at = Self {
            hosts: [hosts.begin(0), hosts.begin(1)],
            faults: hosts.world.faults,
            wires: none(),
            strays: none(),
        };
        let mut steps = Vec::new();
        for &end in prelude {
            at = at.plainly(hosts, end, Event::Call(0), &mut steps);
            while let Some(from) = at.wires.iter().position(|w| !w.is_empty()) {
                let (segment, age) = at.wires[from][0];
                at = at.plainly(hosts, 1 - from, Event::Deliver(segment, age), &mut steps);
            }
        }
        (at, steps)
    }

    /// An event without faults.
    fn plainly(&self, hosts: &mut Hosts, end: End, event: Event, steps: &mut Vec<Action>) -> Self {
        let mut out = Vec::new();
        self.follow(hosts, end, event, &mut out);
        let Some((action, next, _)) = out.into_iter().next() else { return self.clone() };
        steps.push(action);
        next
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        for host in self.hosts {
            out.extend_from_slice(&host.to_le_bytes());
        }
        let Faults { losses, duplicates, reorders } = self.faults;
        out.extend_from_slice(&[losses, duplicates, reorders]);
        for list in self.wires.iter().chain(&self.strays) {
            out.push(list.len() as u8);
            for (segment, age) in list {
                out.extend_from_slice(&segment.to_le_bytes()[..3]);
                out.push(*age);
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let faults = Faults { losses: bytes[8], duplicates: bytes[9], reorders: bytes[10] };
        let mut at = 11;
        let mut list = || {
            let len = usize::from(bytes[at]);
            let start = at + 1;
            at = start + 4 * len;
            bytes[start..at]
                .chunks_exact(4)
                .map(|b| (u32::from_le_bytes([b[0], b[1], b[2], 0]), b[3]))
                .collect::<Vec<_>>()
        };
        let wires = [list(), list()];
        let strays = [list(), list()];
        Self { hosts: [number(0), number(4)], faults, wires, strays }
    }

    fn flying(&self) -> impl Iterator<Item = &Flying> {
        self.wires.iter().chain(&self.strays).flatten()
    }

    /// What may happen, the fates of what it makes a host send left open.
    pub(crate) fn events(&self, hosts: &Hosts, out: &mut Vec<(End, Event)>) {
        out.clear();
        let life = hosts.world.life;
        let faces = self.hosts.map(|h| *hosts.face(h));
        for end in 0..2 {
            let from = 1 - end;
            let mut last = self.wires[from].first().copied();
            out.extend(last.map(|(s, age)| (end, Event::Deliver(s, age))));
            for &(s, age) in &self.strays[from] {
                if last != Some((s, age)) && self.wires[from].first() != Some(&(s, age)) {
                    out.push((end, Event::Deliver(s, age)));
                }
                last = Some((s, age));
            }
            let face = &faces[end];
            if face.due {
                out.push((end, Event::Fire));
            }
            for task in 0..super::app::TASKS as u8 {
                if face.callable >> task & 1 == 1 {
                    out.push((end, Event::Call(task)));
                }
                let other = &faces[from];
                let nobody = other.finished && other.empty && self.flying().next().is_none();
                if nobody && face.waiting >> task & 1 == 1 && face.callable >> task & 1 == 0 {
                    out.push((end, Event::GiveUp(task)));
                }
            }
            if face.may_crash {
                out.push((end, Event::Crash));
            }
            if !face.up {
                out.push((end, Event::Reboot));
            }
        }
        let dated = self.flying().any(|&(_, age)| age >= life) || faces.iter().any(|f| f.due || !f.patient);
        let moves = self.flying().next().is_some() || faces.iter().any(|f| f.timed);
        if moves && !dated {
            out.push((0, Event::Tick));
        }
    }

    /// Takes the segment that arrives off the wire. Of two that are alike the one goes that others wait behind.
    fn take_off(&mut self, from: End, flying: Flying) {
        if self.wires[from].first() == Some(&flying) {
            self.wires[from].remove(0);
        } else if let Some(at) = self.strays[from].iter().position(|f| *f == flying) {
            self.strays[from].remove(at);
        }
    }

    /// Time passes for everybody.
    fn tick(&self, hosts: &mut Hosts) -> (Self, Option<u32>) {
        let mut next = self.clone();
        let mut wrong = None;
        for end in 0..2 {
            let step = hosts.step(self.hosts[end], Event::Tick);
            next.hosts[end] = hosts.made(step).to;
            if hosts.made(step).wrong.is_some() {
                wrong = Some(step);
            }
        }
        next.wires.iter_mut().chain(&mut next.strays).flatten().for_each(|(_, age)| *age += 1);
        (next, wrong)
    }

    /// All that may come of an event, one situation for each choice of fates. The step is given where it did what must
    /// not be.
    pub(crate) fn follow(
        &self,
        hosts: &mut Hosts,
        end: End,
        event: Event,
        out: &mut Vec<(Action, Self, Option<u32>)>,
    ) {
        if event == Event::Tick {
            let (next, wrong) = self.tick(hosts);
            out.push((Action { end, event, fates: 0 }, next, wrong));
            return;
        }
        let step = hosts.step(self.hosts[end], event);
        let made = hosts.made(step);
        let wrong = made.wrong.is_some().then_some(step);
        let mut base = self.clone();
        if let Event::Deliver(segment, age) = event {
            base.take_off(1 - end, (segment, age));
        }
        base.hosts[end] = made.to;
        let mut open = vec![(0_u16, base)];
        for (index, &segment) in made.sent.iter().enumerate() {
            let may_be_lost = hosts.may_be_lost(segment);
            let mut grown = Vec::with_capacity(open.len() * 2);
            for (fates, situation) in open {
                for fate in Fate::ALL {
                    if fate == Fate::Lost && !may_be_lost {
                        continue;
                    }
                    if let Some(next) = situation.with(end, segment, fate, index) {
                        grown.push((fates | (fate as u16) << (2 * index.min(7)), next));
                    }
                }
            }
            open = grown;
        }
        out.extend(open.into_iter().map(|(fates, next)| (Action { end, event, fates }, next, wrong)));
    }

    /// With one more segment on its way from `end`; `None` where no such fault is left.
    fn with(&self, end: End, segment: u32, fate: Fate, index: usize) -> Option<Self> {
        let faults = &self.faults;
        let allowed = match fate {
            Fate::Fine => true,
            _ if index >= 8 => false,
            Fate::Lost => faults.losses > 0,
            Fate::Twice => faults.duplicates > 0,
            Fate::Late => faults.reorders > 0,
        };
        if !allowed {
            return None;
        }
        let mut next = self.clone();
        match fate {
            Fate::Fine => next.wires[end].push((segment, 0)),
            Fate::Lost => next.faults.losses -= 1,
            Fate::Twice => {
                next.faults.duplicates -= 1;
                next.wires[end].push((segment, 0));
                next.strays[end].push((segment, 0));
            }
            Fate::Late => {
                next.faults.reorders -= 1;
                next.strays[end].push((segment, 0));
            }
        }
        next.strays[end].sort_unstable();
        Some(next)
    }
}

/// All situations that were reached, how they were reached first, and what follows each.
#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) situations: Arena,
    /// Where each was reached from, and by what.
    pub(crate) parents: Vec<(u32, u64)>,
    /// How many steps it is away from the beginning.
    pub(crate) depths: Vec<u16>,
    /// What follows each, one after the other.
    pub(crate) followers: Vec<u32>,
    /// Where the followers of each end in `followers`.
    pub(crate) ends: Vec<u64>,
    /// Situations in which nothing is left to happen.
    pub(crate) last: Vec<u32>,
    /// Situations in which no application has anything to do (bits).
    pub(crate) idle: Vec<bool>,
}

impl Space {
    /// Followers of a situation.
    pub(crate) fn followers(&self, of: u32) -> &[u32] {
        let at = of as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.followers[start..self.ends[at] as usize]
    }

    /// The steps that lead to a situation, by the shortest way.
    pub(crate) fn path(&self, to: u32) -> Vec<Action> {
        let mut out = Vec::new();
        let mut at = to;
        while at != 0 {
            let (parent, action) = self.parents[at as usize];
            out.push(Action::unpack(action));
            at = parent;
        }
        out.reverse();
        out
    }

    pub(crate) fn memory(&self) -> usize {
        let own = self.parents.capacity() * 16 + self.depths.capacity() * 2 + self.idle.capacity();
        self.situations.memory() + own + self.followers.capacity() * 4 + self.ends.capacity() * 8
    }
}
