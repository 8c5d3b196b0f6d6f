//! A seed and what was taken out of its world: `SEED` or `SEED:EDIT,EDIT,...`.
//!
//! Edits name things by their place in the world that the seed draws, so that each means the same whatever else is
//! taken out. [`shrink`](super::shrink) finds them; people may write them too:
//!
//! - `-talk2`, `-udp0`, `-crash1`, `-box0`: without it.
//! - `host1.plain`: a device that does nothing; `host1.NAME`: that setting at its default.
//! - `talk2.once`, `.port`, `.v4`, `.early`, `.start`, `.crossed`, `.awaits`: once; from any port; over IPv4; no
//!   data with the SYN; at once; one opens; nobody waits for the other's bytes.
//! - `talk2a.opt0`, `.step3`, `.step3=100`, `.reads`, `.chunk`, `.end` (`a` opens, `b` is the other): without that
//!   option or step; so many bytes; reads at once; writes at once; closes in order.
//! - `way0-1.rate`, `.queue`, `.mtu`, `.delay`, `.change`: unlimited; a plain queue of 200 ms; any size; 10 ms; no
//!   change of MTU.
//! - `faults=0-1:17x+1-0:4l2500`: these faults and no others: packet 17 from host 0 to host 1 is lost (`x`; `d`
//!   doubled, `c` one bit flipped, `f` forged), packet 4 back is late by 2500 microseconds.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use super::draw::draw;
use super::plan::{End, Fault, Faults, Manager, Opt, Plan, Reads, Side, Step};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// What is other than in its world, in order.
    pub edits: Vec<String>,
}

/// An edit that says which packets meet a fault.
pub(super) const FAULTS: &str = "faults=";

impl Case {
    /// A seed as it is.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, edits: Vec::new() }
    }

    /// The world.
    ///
    /// # Errors
    /// The edit that makes no sense for this seed.
    pub fn plan(&self) -> Result<Plan, String> {
        let mut plan = draw(self.seed);
        for edit in &self.edits {
            apply(&mut plan, edit)
                .ok_or_else(|| format!("'{edit}' makes no sense for seed {}", self.seed))?;
        }
        Ok(plan)
    }

    /// The same with one more edit; one about faults takes the place of those before.
    #[must_use]
    pub fn with(&self, edit: &str) -> Self {
        let mut case = self.clone();
        if edit.starts_with(FAULTS) {
            case.edits.retain(|e| !e.starts_with(FAULTS));
        }
        case.edits.push(edit.into());
        case
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        if self.edits.is_empty() { Ok(()) } else { write!(f, ":{}", self.edits.join(",")) }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (seed, edits) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
        let seed =
            seed.parse().map_err(|_| format!("'{seed}' is no seed: a case is SEED or SEED:EDIT,EDIT"))?;
        let edits = edits.split(',').filter(|e| !e.is_empty()).map(Into::into).collect();
        let case = Self { seed, edits };
        case.plan()?;
        Ok(case)
    }
}

/// The edit for these faults.
pub(super) fn faults_edit(faults: &[Fault]) -> String {
    let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
    format!("{FAULTS}{}", all.join("+"))
}

fn apply(plan: &mut Plan, edit: &str) -> Option<()> {
    if let Some(list) = edit.strip_prefix(FAULTS) {
        let faults: Result<Vec<Fault>, String> =
            list.split('+').filter(|f| !f.is_empty()).map(str::parse).collect();
        plan.faults = Faults::Listed(faults.ok()?);
        return Some(());
    }
    if let Some(gone) = edit.strip_prefix('-') {
        let at = gone.find(|c: char| c.is_ascii_digit())?;
        let (kind, index) = (&gone[..at], gone[at..].parse::<usize>().ok()?);
        match kind {
            "talk" => plan.talks.get_mut(index)?.gone = true,
            "udp" => plan.datagrams.get_mut(index)?.gone = true,
            "box" => plan.boxes.get_mut(index)?.gone = true,
            "crash" => plan.crashes.get_mut(index)?.gone = true,
            _ => return None,
        }
        return Some(());
    }
    let (who, what) = edit.split_once('.')?;
    if let Some(host) = who.strip_prefix("host") {
        apply_host(plan, host.parse().ok()?, what)
    } else if let Some(way) = who.strip_prefix("way") {
        let (from, to) = way.split_once('-')?;
        apply_way(plan, from.parse().ok()?, to.parse().ok()?, what)
    } else {
        let talk = who.strip_prefix("talk")?;
        match (talk.strip_suffix('a'), talk.strip_suffix('b')) {
            (Some(t), _) => apply_side(&mut plan.talks.get_mut(t.parse::<usize>().ok()?)?.sides[0], what),
            (_, Some(t)) => apply_side(&mut plan.talks.get_mut(t.parse::<usize>().ok()?)?.sides[1], what),
            _ => apply_talk(plan, talk.parse().ok()?, what),
        }
    }
}

fn apply_host(plan: &mut Plan, host: usize, what: &str) -> Option<()> {
    let host = plan.hosts.get_mut(host)?;
    if what == "plain" {
        (host.mtu, host.units, host.joins) = (1500, false, false);
    } else {
        let at = host.settings.iter().position(|(name, _)| *name == what)?;
        host.settings.remove(at);
    }
    Some(())
}

fn apply_way(plan: &mut Plan, from: usize, to: usize, what: &str) -> Option<()> {
    let hosts = plan.hosts.len();
    let way = plan.ways.get_mut(from * hosts + to).filter(|_| from < hosts && to < hosts)?;
    match what {
        "rate" => (way.rate, way.trace) = (None, Vec::new()),
        "queue" => (way.queue, way.manager) = (Duration::from_millis(200), Manager::Tail),
        "mtu" => (way.mtu, way.black_hole) = (9500, false),
        "delay" => way.delay = Duration::from_millis(10),
        "change" => way.mtu_change = None,
        _ => return None,
    }
    Some(())
}

fn apply_talk(plan: &mut Plan, talk: usize, what: &str) -> Option<()> {
    let talk = plan.talks.get_mut(talk)?;
    match what {
        "once" => talk.times = 1,
        "port" if talk.crossed.is_none() => talk.port = None,
        "v4" => talk.v6 = false,
        "early" => talk.early = false,
        "start" => talk.start = Duration::ZERO,
        "crossed" => talk.crossed = None,
        "awaits" => {
            for side in &mut talk.sides {
                side.steps.iter_mut().filter(|s| matches!(s, Step::Await(_))).for_each(|s| *s = Step::Gone);
            }
        }
        _ => return None,
    }
    Some(())
}

fn apply_side(side: &mut Side, what: &str) -> Option<()> {
    if let Some(index) = what.strip_prefix("opt") {
        *side.options.get_mut(index.parse::<usize>().ok()?)? = Opt::Gone;
    } else if let Some(step) = what.strip_prefix("step") {
        let (index, bytes) = step.split_once('=').map_or((step, None), |(i, n)| (i, Some(n)));
        let step = side.steps.get_mut(index.parse::<usize>().ok()?)?;
        *step = match (bytes, &step) {
            (None, _) => Step::Gone,
            (Some(n), Step::Write(_)) => Step::Write(n.parse().ok()?),
            _ => return None,
        };
    } else {
        match what {
            "reads" => side.reads = Reads::EAGER,
            "chunk" => side.chunk = 65_536,
            "end" => side.end = End::HalfClose,
            _ => return None,
        }
    }
    Some(())
}
