//! The swarm: it passes on what is right, runs alike each time, and finds, shrinks and replays what is wrong.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use finack_sim::checker::Rule;
use finack_sim::seeds;
use finack_sim::swarm::plan::{Effect, Fault, Faults};
use finack_sim::swarm::shrink::shrink;
use finack_sim::swarm::{Case, Outcome, run};

fn play(case: &Case) -> Outcome {
    run(&case.plan().unwrap()).unwrap()
}

fn faults(all: &[Fault]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("faults={}", all.join("+"))
}

/// Whatever the network, the settings and the applications: RFC 9293's invariants hold, each byte arrives once and in
/// order, each application is told the truth, and nothing is left.
#[test]
fn no_rule_is_broken() {
    seeds::for_each(250, |seed| {
        let outcome = play(&Case::new(seed));
        if let Some(violation) = outcome.violation {
            panic!("{violation}\n{}", outcome.ladder);
        }
    });
}

/// A world is its seed: it runs alike each time, and with its faults listed one by one it runs alike too.
#[test]
fn equal_seeds_run_alike() {
    for seed in [3, 17, 40] {
        let (first, second) = (play(&Case::new(seed)), play(&Case::new(seed)));
        assert_eq!((&first.stats, &first.faults), (&second.stats, &second.faults));
        let listed = play(&Case::new(seed).with(&faults(&first.faults)));
        assert_eq!((first.stats, first.faults), (listed.stats, listed.faults));
    }
}

/// A link that changes a byte and makes the checksum right breaks the stream. The swarm sees it, leaves nothing but that
/// one fault and what it needs, and the printed case breaks the same rule again.
#[test]
fn a_forged_byte_is_found_made_smaller_and_replayed() {
    let rule = |outcome: &Outcome| outcome.violation.as_ref().map(|v| v.rule);
    let forged_in = |whole: &Case, list: &[Fault]| {
        (1..60).find_map(|index| {
            let forged = Fault { from: 0, to: 1, index, effect: Effect::Forge };
            let mut with = list.to_vec();
            with.retain(|f| (f.from, f.to, f.index) != (0, 1, index));
            with.push(forged);
            let case = whole.with(&faults(&with));
            (rule(&play(&case)) == Some(Rule::Stream)).then_some(case)
        })
    };
    let case = (1..100)
        .map(|seed| (Case::new(seed), play(&Case::new(seed)).faults))
        .filter(|(_, list)| (10..60).contains(&list.len()))
        .find_map(|(whole, list)| forged_in(&whole, &list))
        .expect("some packet carries data");
    let small = shrink(&case, 1500).unwrap();
    assert_eq!(rule(&small.outcome), Some(Rule::Stream));
    let plan = small.case.plan().unwrap();
    let Faults::Listed(left) = &plan.faults else { panic!("the faults are not listed") };
    assert!(matches!(left[..], [Fault { effect: Effect::Forge, .. }]), "{left:?}");
    assert_eq!(plan.talks.iter().filter(|t| !t.gone).count(), 1, "{plan}");
    // The text names the fault, and the case as it is printed leads to the same packet.
    assert!(plan.to_string().contains("a byte changed and a good checksum"), "{plan}");
    let again: Case = small.case.to_string().parse().unwrap();
    assert_eq!(again, small.case);
    assert_eq!(play(&again).violation, small.outcome.violation);
    assert!(small.outcome.ladder.lines().count() > 3, "{}", small.outcome.ladder);
}

/// What makes no sense gets one line that says what.
#[test]
fn bad_cases_are_told() {
    for (text, says) in [
        ("", "'' is no seed"),
        ("x", "'x' is no seed"),
        ("1:talk99.once", "'talk99.once' makes no sense for seed 1"),
        ("1:host0.no_such_setting", "makes no sense"),
        ("1:faults=0-1:3q", "makes no sense"),
        ("1:nonsense", "'nonsense' makes no sense for seed 1"),
    ] {
        let error = text.parse::<Case>().unwrap_err();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
}
