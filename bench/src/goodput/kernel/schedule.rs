//! Runs at the same time, as many as the machine carries easily: most of them wait most of the time.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::channel;

use super::run::{Outcome, Plan, run};

/// Most runs at once, whatever little they carry.
const AT_ONCE: usize = 12;

/// A run during which the machine stood still for so long, in nanoseconds, tells nothing of the stacks: it is repeated,
/// so many times at most.
const STOOD_STILL: u64 = 30_000_000;
const REPEATS: usize = 3;

/// A run, and the Mb/s that it carries at most.
pub struct Job {
    pub plan: Plan,
    pub load: u32,
}

/// Runs all jobs, in their order as far as there is room for them, and tells on stderr how far it is.
pub fn all(jobs: Vec<Job>, budget: u32, what: &str) -> Vec<(Plan, Result<Outcome, String>)> {
    let (all, mut waiting) = (jobs.len(), jobs);
    let (tell, told) = channel();
    let (mut done, mut load, mut under_way) = (Vec::with_capacity(all), 0, 0);
    while !waiting.is_empty() || under_way > 0 {
        let fits = |job: &Job| under_way == 0 || (under_way < AT_ONCE && load + job.load <= budget);
        if let Some(place) = waiting.iter().position(fits) {
            let Job { plan, load: more } = waiting.remove(place);
            load += more;
            under_way += 1;
            let tell = tell.clone();
            std::thread::spawn(move || {
                let result = punctual(&plan);
                // The receiver waits for every run.
                let _ = tell.send((plan, result, more));
            });
            continue;
        }
        let Ok((plan, result, less)) = told.recv() else { break };
        load -= less;
        under_way -= 1;
        done.push((plan, result));
        progress(what, done.len(), all);
    }
    done
}

/// The first of a few runs in which the machine did not stand still, or the last.
fn punctual(plan: &Plan) -> Result<Outcome, String> {
    let mut result = run(plan);
    for _ in 0..REPEATS {
        if !result.as_ref().is_ok_and(|outcome| outcome.link.stood_still > STOOD_STILL) {
            break;
        }
        result = run(plan);
    }
    result
}

fn progress(what: &str, done: usize, all: usize) {
    let mut stderr = std::io::stderr();
    // A line that is written over, or one now and then where it would be kept.
    let _ = match stderr.is_terminal() {
        true if done == all => writeln!(stderr, "\r{what}: {done} of {all} runs"),
        true => write!(stderr, "\r{what}: {done} of {all} runs"),
        false if done == all || done.is_multiple_of(25) => writeln!(stderr, "{what}: {done} of {all} runs"),
        false => Ok(()),
    };
}
