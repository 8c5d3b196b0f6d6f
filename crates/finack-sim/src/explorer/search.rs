//! The search itself, breadth first: what is found is found by the fewest steps.

use super::hosts::Hosts;
use super::liveness;
use super::rules;
use super::space::{Action, Situation, Space};
use super::table::Map;
use super::world::World;

/// Bounds of a search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Situations at most; a world with more is not exhausted.
    pub situations: usize,
    /// Each host that is reached a second time is looked at again, whether it does what the first did.
    pub recheck: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { situations: 40_000_000, recheck: false }
    }
}

/// What must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What, in one line.
    pub what: String,
    /// The steps that lead there.
    pub(crate) path: Vec<Action>,
}

/// What a search found.
#[derive(Debug)]
pub struct Outcome {
    /// The world.
    pub world: World,
    /// Different situations.
    pub situations: usize,
    /// Steps between them.
    pub steps: usize,
    /// Different hosts, both ends together.
    pub hosts: usize,
    /// Ways from the beginning to an end.
    pub interleavings: f64,
    /// Applications that wait make some ways go round; those count once.
    pub round: bool,
    /// The most steps by which a situation was first reached.
    pub depth: usize,
    /// Transitions seen, in the order of [`RULES`](super::RULES).
    pub transitions: Vec<bool>,
    /// All was explored.
    pub exhausted: bool,
    /// The first violation, by the fewest steps.
    pub violation: Option<Violation>,
    /// Bytes of memory for the situations.
    pub memory: usize,
    pub(crate) prelude: Vec<Action>,
    pub(crate) machinery: Hosts,
}

impl Outcome {
    /// Nothing is wrong with it: all was explored and nothing found, or what had to be found was.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn verdict(&self) -> Result<(), String> {
        match (&self.violation, self.world.must_find) {
            (Some(v), Some(text)) if v.what.contains(text) => Ok(()),
            (Some(v), _) => Err(v.what.clone()),
            (None, Some(text)) => Err(format!("'{text}' was to be found, and was not")),
            (None, None) if !self.exhausted => {
                Err(format!("not exhausted with {} situations", self.situations))
            }
            (None, None) => Ok(()),
        }
    }
}

struct Search {
    hosts: Hosts,
    space: Space,
    judged: Map<(u32, u32), bool>,
}

/// Explores a world. `progress` is told now and then how many situations there are, and answers whether to go on.
pub fn explore(world: &World, limits: Limits, mut progress: impl FnMut(usize) -> bool) -> Outcome {
    let mut hosts = Hosts::new(world.clone());
    hosts.recheck = limits.recheck;
    let (start, prelude) = Situation::first(&mut hosts);
    let mut search = Search { hosts, space: Space::default(), judged: Map::default() };
    let mut bytes = Vec::new();
    start.encode(&mut bytes);
    search.add(&bytes, (0, 0), 0);
    let (mut at, mut violation, mut exhausted) = (0, None, true);
    while (at as usize) < search.space.situations.len() {
        if let Some((what, to)) = search.expand(at, &mut bytes) {
            violation = Some((what, to));
            break;
        }
        at += 1;
        let count = search.space.situations.len();
        if count > limits.situations || at % 65_536 == 0 && !progress(count) {
            exhausted = false;
            break;
        }
    }
    search.outcome(world, prelude, violation, exhausted)
}

impl Search {
    fn add(&mut self, bytes: &[u8], from: (u32, u64), depth: u16) -> (u32, bool) {
        let (number, new) = self.space.situations.insert(bytes);
        if new {
            self.space.parents.push(from);
            self.space.depths.push(depth);
        }
        (number, new)
    }

    /// Adds what follows a situation; answers what must not be, and where it is seen.
    fn expand(&mut self, at: u32, bytes: &mut Vec<u8>) -> Option<(String, Vec<Action>)> {
        let situation = Situation::decode(self.space.situations.get(at));
        let depth = self.space.depths[at as usize] + 1;
        let (mut events, mut next) = (Vec::new(), Vec::new());
        situation.events(&self.hosts, &mut events);
        for &(end, event) in &events {
            situation.follow(&mut self.hosts, end, event, &mut next);
        }
        for (action, situation, step) in next {
            if let Some(step) = step {
                let mut path = self.space.path(at);
                path.push(action);
                let what = self.hosts.made(step).wrong.as_deref().unwrap_or_default().to_owned();
                return Some((what, path));
            }
            situation.encode(bytes);
            let (number, new) = self.add(bytes, (at, action.pack()), depth);
            self.space.followers.push(number);
            if new && let Some(what) = self.judge(&situation) {
                return Some((what, self.space.path(number)));
            }
        }
        self.space.ends.push(self.space.followers.len() as u64);
        let faces = situation.hosts.map(|h| *self.hosts.face(h));
        self.space.idle.push(faces.iter().all(|f| f.callable == 0 && f.up));
        if events.is_empty() {
            self.space.last.push(at);
            return self.unfinished(&situation).map(|what| (what, self.space.path(at)));
        }
        None
    }

    fn judge(&mut self, situation: &Situation) -> Option<String> {
        let [a, b] = situation.hosts;
        let key = (self.hosts.app_number(a), self.hosts.app_number(b));
        if self.judged.insert(key, true).is_some() {
            return None;
        }
        let (one, two) = (self.hosts.app(a), self.hosts.app(b));
        let names = [self.hosts.world.hosts[0].name, self.hosts.world.hosts[1].name];
        let said = |name: &str, what: String| format!("{name}: {what}");
        let first = rules::judge(one, two).map(|w| said(names[0], w));
        first.or_else(|| rules::judge(two, one).map(|w| said(names[1], w)))
    }

    /// Nothing can happen any more: is all over, and nothing kept?
    fn unfinished(&self, situation: &Situation) -> Option<String> {
        for (end, &host) in situation.hosts.iter().enumerate() {
            let (face, spec) = (self.hosts.face(host), &self.hosts.world.hosts[end]);
            if !face.finished {
                let app = self.hosts.app(host);
                let waits = (0..super::app::TASKS).find_map(|t| app.op(t, spec));
                let call = waits.map(super::app::Op::text).unwrap_or_default();
                return Some(format!("dead-lock: {} waits in '{call}' for ever", spec.name));
            }
            if !face.empty {
                return Some(format!("{} keeps something although all is over", spec.name));
            }
        }
        None
    }

    fn outcome(
        self,
        world: &World,
        prelude: Vec<Action>,
        violation: Option<(String, Vec<Action>)>,
        exhausted: bool,
    ) -> Outcome {
        let space = &self.space;
        let mut violation = violation.map(|(what, path)| Violation { what, path });
        let mut ends = liveness::Ends::default();
        if violation.is_none() && exhausted {
            ends = liveness::examine(space);
            let at = |what: &str, at| Violation { what: what.into(), path: space.path(at) };
            violation = ends.endless.map(|s| at("hosts whose applications wait go on for ever", s));
            violation = violation.or_else(|| ends.hopeless.map(|s| at("from here on it never ends", s)));
        }
        let seen = |r: &rules::Rule| self.hosts.transitions >> (r.from as u32 * 11 + r.to as u32) & 1 == 1;
        Outcome {
            world: world.clone(),
            situations: space.situations.len(),
            steps: space.followers.len(),
            hosts: self.hosts.len(),
            interleavings: ends.ways,
            round: ends.round,
            depth: usize::from(space.depths.iter().copied().max().unwrap_or(0)),
            transitions: rules::RULES.iter().map(seen).collect(),
            exhausted: exhausted && violation.is_none(),
            violation,
            memory: space.memory(),
            prelude,
            machinery: self.hosts,
        }
    }
}
