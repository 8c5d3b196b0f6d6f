//! Every order of events of a small exchange between two stacks.
//!
//! From each situation every possible next step is taken: deliver the oldest packet of either direction; as long as
//! the budget of faults lasts lose it, deliver it and keep a copy on its way, let the one behind it overtake, or let the
//! next timer fire before it arrives; and once nothing is in flight let the next timer fire.

use core::time::Duration;
use std::collections::VecDeque;

use finack_core::device::Packet;
use finack_core::{Instant, Stack};

use crate::packet::parse;
use crate::split::wire_packets;

/// Two stacks and what is between them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The time.
    pub now: Instant,
    /// Both ends.
    pub stacks: [Stack; 2],
    /// Packets on their way from each.
    pub wires: [VecDeque<Vec<u8>>; 2],
    /// Faults that may still happen.
    pub faults: u32,
    /// Steps that led here.
    pub path: Vec<Step>,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The oldest packet from this end arrives.
    Deliver(usize),
    /// The oldest packet from this end is lost.
    Lose(usize),
    /// The oldest packet from this end arrives, and will arrive once more.
    Repeat(usize),
    /// The second oldest packet from this end arrives first.
    Overtake(usize),
    /// The next timer fires; nothing is on its way.
    Timer,
    /// The next timer fires while packets are on their way: they are late.
    Late,
}

/// How much was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Ends reached.
    pub ends: u64,
    /// Steps taken.
    pub steps: u64,
}

impl Pair {
    /// Two stacks with nothing between them.
    #[must_use]
    pub fn new(now: Instant, stacks: [Stack; 2], faults: u32) -> Self {
        Self { now, stacks, wires: [VecDeque::new(), VecDeque::new()], faults, path: Vec::new() }
    }

    /// Calls one of the stacks and takes what it sends.
    ///
    /// # Panics
    /// Where it sends something malformed.
    pub fn with<T>(&mut self, end: usize, call: impl FnOnce(&mut Stack, Instant) -> T) -> T {
        let result = call(&mut self.stacks[end], self.now);
        loop {
            let wire = match self.stacks[end].poll_transmit(self.now) {
                None => break,
                Some(transmit) => wire_packets(&transmit).expect("a sound unit"),
            };
            for bytes in wire {
                parse(&bytes).expect("a sound packet");
                self.wires[end].push_back(bytes);
            }
        }
        while self.stacks[end].poll_event().is_some() {}
        result
    }

    fn next_timer(&self) -> Option<(Instant, usize)> {
        (0..2).filter_map(|e| self.stacks[e].poll_timeout().map(|at| (at, e))).min_by_key(|&(at, e)| (at, e))
    }

    fn steps(&self) -> Vec<Step> {
        let mut out = Vec::new();
        for end in 0..2 {
            if !self.wires[end].is_empty() {
                out.push(Step::Deliver(end));
                if self.faults > 0 {
                    out.extend([Step::Lose(end), Step::Repeat(end)]);
                    if self.wires[end].len() > 1 {
                        out.push(Step::Overtake(end));
                    }
                }
            }
        }
        if self.next_timer().is_some() {
            match (out.is_empty(), self.faults) {
                (true, _) => out.push(Step::Timer),
                (false, 0) => {}
                (false, _) => out.push(Step::Late),
            }
        }
        out
    }

    fn deliver(&mut self, from: usize, packet: Option<Vec<u8>>) {
        self.now += Duration::from_millis(1);
        if let Some(bytes) = packet {
            self.with(1 - from, |s, now| s.handle_packets(now, &[Packet::borrowed(&bytes)]));
        }
    }

    fn take(&mut self, step: Step) {
        self.path.push(step);
        match step {
            Step::Deliver(end) => {
                let packet = self.wires[end].pop_front();
                self.deliver(end, packet);
            }
            Step::Lose(end) => {
                self.faults -= 1;
                self.wires[end].pop_front();
            }
            Step::Repeat(end) => {
                self.faults -= 1;
                let packet = self.wires[end].front().cloned();
                self.deliver(end, packet);
            }
            Step::Overtake(end) => {
                self.faults -= 1;
                let packet = self.wires[end].remove(1);
                self.deliver(end, packet);
            }
            Step::Timer | Step::Late => {
                self.faults -= u32::from(step == Step::Late);
                if let Some((at, end)) = self.next_timer() {
                    self.now = self.now.max(at);
                    self.with(end, Stack::handle_timeout);
                }
            }
        }
    }
}

/// Takes every path from `start`. `at_each` is called at every situation (it may call the stacks, as the
/// applications would, and says whether the path ends here); a path that goes on for `max_depth` steps fails.
///
/// # Panics
/// Where a path does not end, or `at_each` does.
pub fn explore(start: Pair, max_depth: usize, at_each: &mut impl FnMut(&mut Pair) -> bool) -> Explored {
    let mut explored = Explored::default();
    let mut open = vec![start];
    while let Some(mut pair) = open.pop() {
        explored.steps += 1;
        if at_each(&mut pair) {
            explored.ends += 1;
            continue;
        }
        assert!(pair.path.len() < max_depth, "a path without an end: {:?}", pair.path);
        let steps = pair.steps();
        assert!(!steps.is_empty(), "stuck: nothing in flight and no timer after {:?}", pair.path);
        for step in steps {
            let mut next = pair.clone();
            next.take(step);
            open.push(next);
        }
    }
    explored
}
