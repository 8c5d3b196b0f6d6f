//! Whether everything ends: from each situation an end can be reached, and no network of idle applications goes on for ever.

use super::space::Space;

/// What the graph of situations says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    /// A situation from which no end can be reached.
    pub(crate) hopeless: Option<u32>,
    /// A situation to which idle hosts come back again and again.
    pub(crate) endless: Option<u32>,
    /// How many ways lead from the beginning to an end. Where applications may wait for as long as they like ways that go
    /// round are counted once.
    pub(crate) ways: f64,
    /// Some way goes round, while an application waits.
    pub(crate) round: bool,
}

/// Looks at all of it.
pub(crate) fn examine(space: &Space) -> Ends {
    let (ways, round) = ways(space);
    Ends { hopeless: hopeless(space), endless: endless(space), ways, round }
}

/// Backwards from the ends.
fn hopeless(space: &Space) -> Option<u32> {
    let count = space.situations.len();
    let mut starts = vec![0_u64; count + 1];
    for &to in &space.followers {
        starts[to as usize + 1] += 1;
    }
    for at in 0..count {
        starts[at + 1] += starts[at];
    }
    let mut next = starts.clone();
    let mut before = vec![0_u32; space.followers.len()];
    for from in 0..count as u32 {
        for &to in space.followers(from) {
            before[next[to as usize] as usize] = from;
            next[to as usize] += 1;
        }
    }
    let mut reached = vec![false; count];
    let mut open = space.last.clone();
    while let Some(at) = open.pop() {
        if !core::mem::replace(&mut reached[at as usize], true) {
            open.extend(&before[starts[at as usize] as usize..starts[at as usize + 1] as usize]);
        }
    }
    reached.iter().position(|r| !r).map(|at| at as u32)
}

const WHITE: u8 = 0;
const GREY: u8 = 1;
const BLACK: u8 = 2;

/// Goes through the graph in depth; `leave` is called for each situation when all behind it is done, `back` for each step
/// that closes a circle.
fn in_depth(
    space: &Space,
    within: impl Fn(u32) -> bool,
    mut leave: impl FnMut(u32),
    mut back: impl FnMut(u32),
) {
    let mut colour = vec![WHITE; space.situations.len()];
    for root in 0..space.situations.len() as u32 {
        if colour[root as usize] != WHITE || !within(root) {
            continue;
        }
        colour[root as usize] = GREY;
        let mut stack = vec![(root, 0_usize)];
        while let Some((at, index)) = stack.pop() {
            match space.followers(at).get(index) {
                None => {
                    colour[at as usize] = BLACK;
                    leave(at);
                }
                Some(&to) => {
                    stack.push((at, index + 1));
                    if !within(to) {
                        continue;
                    }
                    match colour[to as usize] {
                        WHITE => {
                            colour[to as usize] = GREY;
                            stack.push((to, 0));
                        }
                        GREY => back(to),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// A circle in which no application has anything to do.
fn endless(space: &Space) -> Option<u32> {
    let mut found = None;
    in_depth(space, |at| space.idle[at as usize], |_| {}, |to| found = found.or(Some(to)));
    found
}

/// Ways from the beginning to an end, and whether some go round.
fn ways(space: &Space) -> (f64, bool) {
    let mut count = vec![0.0_f64; space.situations.len()];
    let mut done = vec![false; space.situations.len()];
    for &last in &space.last {
        count[last as usize] = 1.0;
    }
    let mut round = false;
    in_depth(
        space,
        |_| true,
        |at| {
            // What is not done yet closes a circle.
            let behind: f64 = space
                .followers(at)
                .iter()
                .filter(|to| done[**to as usize])
                .map(|to| count[*to as usize])
                .sum();
            count[at as usize] += behind;
            done[at as usize] = true;
        },
        |_| round = true,
    );
    (count.first().copied().unwrap_or(0.0), round)
}
