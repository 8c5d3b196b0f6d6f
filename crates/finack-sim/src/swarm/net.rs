//! What the network does to single packets: drawn from the seed, or listed one by one.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use finack_core::Instant;

use super::plan::{Effect, Fault, Faults, Plan};
use super::stream::dice;
use crate::world::{Passing, Verdict, World};

/// Faults that are remembered for a list of them.
const MOST: usize = 20_000;

/// One direction's count and mood.
#[derive(Debug, Default, Clone, Copy)]
struct Lane {
    count: u64,
    in_burst: bool,
}

#[derive(Debug)]
pub(super) struct Net {
    plan: Plan,
    begin: Instant,
    lanes: Vec<Lane>,
    listed: BTreeMap<(usize, usize, u64), Effect>,
    /// What happened, in order.
    pub(super) happened: Vec<Fault>,
    /// How many faults there were.
    pub(super) count: u64,
}

/// Puts the plan's faults into the world.
pub(super) fn install(plan: &Plan, world: &mut World) -> Rc<RefCell<Net>> {
    let listed = match &plan.faults {
        Faults::Drawn => BTreeMap::new(),
        Faults::Listed(all) => all.iter().map(|f| ((f.from, f.to, f.index), f.effect)).collect(),
    };
    let net = Rc::new(RefCell::new(Net {
        plan: plan.clone(),
        begin: world.now(),
        lanes: vec![Lane::default(); plan.hosts.len() * plan.hosts.len()],
        listed,
        happened: Vec::new(),
        count: 0,
    }));
    let shared = Rc::clone(&net);
    world.fault(move |passing| shared.borrow_mut().decide(passing));
    net
}

impl Net {
    fn decide(&mut self, passing: &Passing<'_>) -> Verdict {
        let (from, to) = (passing.from.0, passing.to.0);
        let Some(lane) = self.lanes.get_mut(from * self.plan.hosts.len() + to) else { return Verdict::Pass };
        lane.count += 1;
        let index = lane.count;
        let effect = match &self.plan.faults {
            Faults::Listed(_) => self.listed.get(&(from, to, index)).copied(),
            Faults::Drawn => self.draw(from, to, index, passing.now.since(self.begin)),
        };
        let Some(effect) = effect else { return Verdict::Pass };
        self.count += 1;
        if self.happened.len() < MOST {
            self.happened.push(Fault { from, to, index, effect });
        }
        match effect {
            Effect::Drop => Verdict::Drop,
            Effect::Duplicate => Verdict::Duplicate,
            Effect::Corrupt => Verdict::Corrupt,
            Effect::Delay(by) => Verdict::Delay(by),
            Effect::Forge => Verdict::Forge,
        }
    }

    fn draw(&mut self, from: usize, to: usize, index: u64, time: Duration) -> Option<Effect> {
        if time >= self.plan.quiet {
            return None;
        }
        let hosts = self.plan.hosts.len();
        let way = self.plan.ways.get(from * hosts + to)?;
        if way.black_outs.iter().any(|&(at, len)| time >= at && time < at + len) {
            return Some(Effect::Drop);
        }
        let (seed, lane) = (self.plan.seed, (from * hosts + to) as u64);
        let chance = |what: u64, ppm: u32| dice([seed, lane, index, what]) % 1_000_000 < u64::from(ppm);
        // In whole microseconds, as a list of faults says them.
        let up_to = |what: u64, most: Duration| {
            Duration::from_micros(dice([seed, lane, index, what]) % (most.as_micros() as u64).max(1))
        };
        let mix = &way.mix;
        let mood = &mut self.lanes[from * hosts + to].in_burst;
        // A burst of n packets on average ends with each of them once in n times.
        *mood = if *mood { !chance(1, 1_000_000 / mix.burst.1.max(1)) } else { chance(2, mix.burst.0) };
        if *mood || chance(3, mix.loss) {
            Some(Effect::Drop)
        } else if chance(4, mix.duplicate) {
            Some(Effect::Duplicate)
        } else if chance(5, mix.corrupt) {
            Some(Effect::Corrupt)
        } else if chance(6, mix.reorder) {
            Some(Effect::Delay(up_to(7, mix.hold)))
        } else if mix.jitter > Duration::ZERO {
            Some(Effect::Delay(up_to(8, mix.jitter)))
        } else {
            None
        }
    }
}
