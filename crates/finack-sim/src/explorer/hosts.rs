//! Hosts and segments, each kept once: what an event does to a host is found out once, however many worlds it happens in.
//!
//! This stands on the names of hosts: two hosts with one name do the same by the same event. [`Hosts::recheck`] looks
//! whether they do, where a host is reached a second time by another story.

use std::collections::VecDeque;

use super::app::App;
use super::host::{Effects, Event, Face, Host, Name};
use super::rules;
use super::segment::Segment;
use super::table::{Arena, Map};
use super::world::{End, World};
use crate::packet::{build, flag};

/// Hosts of which all is kept; of the others it is kept how they came to be.
const KEPT: usize = 30_000;

/// What an event leads to.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) to: u32,
    pub(crate) sent: Box<[u32]>,
    pub(crate) wrong: Option<Box<str>>,
}

#[derive(Debug)]
struct Node {
    face: Face,
    app: u32,
    end: End,
    /// Whose child it is, and by what.
    origin: Option<(u32, Event)>,
    host: Option<Box<Host>>,
    /// What became of it, by which event.
    tried: Vec<(Event, u32)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hosts {
    pub(crate) world: World,
    nodes: Vec<Node>,
    names: Map<(End, Name), u32>,
    apps: Vec<App>,
    app_numbers: Map<App, u32>,
    made: Vec<Step>,
    segments: Vec<Segment>,
    segment_bytes: Arena,
    kept: VecDeque<u32>,
    aged: bool,
    /// Transitions seen, as `from * 11 + to`.
    pub(crate) transitions: u128,
    /// Look again where a host is reached a second time.
    pub(crate) recheck: bool,
}

impl Hosts {
    pub(crate) fn new(world: World) -> Self {
        let aged = world.clock(super::world::START) != 0;
        Self {
            world,
            nodes: Vec::new(),
            names: Map::default(),
            apps: Vec::new(),
            app_numbers: Map::default(),
            made: Vec::new(),
            segments: Vec::new(),
            segment_bytes: Arena::default(),
            kept: VecDeque::new(),
            aged,
            transitions: 0,
            recheck: false,
        }
    }

    /// How many hosts there are, both ends together.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The host of an end as it begins.
    pub(crate) fn begin(&mut self, end: End) -> u32 {
        let host = Host::new(&self.world, end);
        self.intern(host, None).0
    }

    pub(crate) fn face(&self, node: u32) -> &Face {
        &self.nodes[node as usize].face
    }

    /// The number of a host's application; equal numbers are equal applications.
    pub(crate) fn app_number(&self, node: u32) -> u32 {
        self.nodes[node as usize].app
    }

    pub(crate) fn app(&self, node: u32) -> &App {
        &self.apps[self.nodes[node as usize].app as usize]
    }

    pub(crate) fn segment(&self, number: u32) -> &Segment {
        &self.segments[number as usize]
    }

    /// Every TCP segment that was ever sent.
    #[cfg(test)]
    pub(crate) fn sent(&self) -> impl Iterator<Item = &crate::packet::Tcp> {
        self.segments.iter().filter_map(|s| s.packet.as_tcp())
    }

    /// A RST is never sent again: where nobody asks (keep-alive) its loss leaves the other end open for ever, as it must.
    pub(crate) fn may_be_lost(&self, segment: u32) -> bool {
        let keepalive = self.world.hosts.iter().all(|h| h.options.keepalive);
        keepalive || !self.segment(segment).packet.as_tcp().is_some_and(|tcp| tcp.has(flag::RST))
    }

    /// What `event` does to a host.
    pub(crate) fn step(&mut self, node: u32, event: Event) -> u32 {
        let event = match event {
            Event::Deliver(s, _) if !self.aged && !self.segments[s as usize].is_stamped() => {
                Event::Deliver(s, 0)
            }
            event => event,
        };
        let tried = &self.nodes[node as usize].tried;
        if let Some(&(_, step)) = tried.iter().find(|(e, _)| *e == event) {
            return step;
        }
        let mut host = self.host(node).clone();
        let effects = self.apply(&mut host, event);
        let step = self.make(node, event, host, effects);
        self.made.push(step);
        let number = self.made.len() as u32 - 1;
        self.nodes[node as usize].tried.push((event, number));
        number
    }

    pub(crate) fn made(&self, step: u32) -> &Step {
        &self.made[step as usize]
    }

    fn apply(&self, host: &mut Host, event: Event) -> Effects {
        let segment = match event {
            Event::Deliver(number, _) => Some(&self.segments[number as usize]),
            _ => None,
        };
        host.take(&self.world, event, segment)
    }

    fn make(&mut self, from: u32, event: Event, host: Host, effects: Effects) -> Step {
        let mut wrong = effects.wrong;
        for &(a, b) in &effects.transitions {
            self.transitions |= 1 << (a as u32 * 11 + b as u32);
            if !rules::may_follow(a, b) {
                wrong = wrong.or_else(|| Some(format!("{a} is followed by {b}: no RFC has that")));
            }
        }
        let sent: Box<[u32]> = effects.sent.into_iter().map(|s| self.number(s)).collect();
        let copy = self.recheck.then(|| host.clone());
        let (to, new) = self.intern(host, Some((from, event)));
        if let (false, Some(copy)) = (new, copy) {
            wrong = wrong.or_else(|| self.differs(to, &copy));
        }
        Step { to, sent, wrong: wrong.map(String::into_boxed_str) }
    }

    /// Whether a host does something else than the one whose name it has, by any event that was tried.
    fn differs(&mut self, node: u32, other: &Host) -> Option<String> {
        for (event, step) in self.nodes[node as usize].tried.clone() {
            let mut host = other.clone();
            let effects = self.apply(&mut host, event);
            let sent: Vec<u32> = effects.sent.into_iter().map(|s| self.number(s)).collect();
            let name = (host.end, host.name(&self.world));
            let known = &self.made[step as usize];
            if self.names.get(&name) != Some(&known.to) || *sent != *known.sent {
                return Some(format!("two hosts with one name differ after {event:?}"));
            }
        }
        None
    }

    /// The number of a segment that was sent before.
    pub(crate) fn number_of(&self, segment: &Segment) -> Option<u32> {
        self.segments.iter().position(|s| s == segment).map(|at| at as u32)
    }

    fn number(&mut self, segment: Segment) -> u32 {
        let mut key = build(&segment.packet);
        key.push(segment.whose);
        let (number, new) = self.segment_bytes.insert(&key);
        if new {
            self.segments.push(segment);
        }
        number
    }

    fn intern(&mut self, mut host: Host, origin: Option<(u32, Event)>) -> (u32, bool) {
        let name = (host.end, host.name(&self.world));
        if let Some(&node) = self.names.get(&name) {
            return (node, false);
        }
        let face = host.face(&self.world);
        let app = self.app_numbers.get(&host.app).copied().unwrap_or_else(|| {
            self.apps.push(host.app.clone());
            let number = self.apps.len() as u32 - 1;
            self.app_numbers.insert(host.app.clone(), number);
            number
        });
        let number = self.nodes.len() as u32;
        self.nodes.push(Node { face, app, end: host.end, origin, host: None, tried: Vec::new() });
        self.names.insert(name, number);
        self.keep(number, host);
        (number, true)
    }

    fn keep(&mut self, node: u32, host: Host) {
        if self.kept.len() >= KEPT
            && let Some(old) = self.kept.pop_front()
        {
            self.nodes[old as usize].host = None;
        }
        self.kept.push_back(node);
        self.nodes[node as usize].host = Some(Box::new(host));
    }

    /// The host itself; made anew from where it came from, if it is not kept.
    fn host(&mut self, node: u32) -> &Host {
        let mut missing = Vec::new();
        let mut at = node;
        while self.nodes[at as usize].host.is_none() {
            let Some((parent, event)) = self.nodes[at as usize].origin else { break };
            missing.push((at, event));
            at = parent;
        }
        let mut host = match &self.nodes[at as usize].host {
            Some(host) => host.as_ref().clone(),
            None => Host::new(&self.world, self.nodes[at as usize].end),
        };
        while let Some((child, event)) = missing.pop() {
            self.apply(&mut host, event);
            if missing.is_empty() {
                self.keep(child, host.clone());
            }
        }
        if self.nodes[node as usize].host.is_none() {
            self.keep(node, host);
        }
        self.nodes[node as usize].host.as_ref().expect("it was kept just now")
    }
}
