use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use proptest::prelude::*;

const DAY: u64 = 86_400_000_000_000;

fn nanos(n: u64) -> Instant {
    Instant::from_nanos(n)
}

/// Every second entry is an embryo's.
fn owner(n: u32) -> Owner {
    if n.is_multiple_of(2) { Owner::connection(n / 2) } else { Owner::embryo(n / 2) }
}

fn number(owner: Owner) -> u32 {
    owner.index() * 2 + u32::from(owner.is_embryo())
}

/// The owner's number of each that is due, in order.
fn popped(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
    core::iter::from_fn(|| wheel.pop(now)).map(|(owner, _)| number(owner)).collect()
}

#[test]
fn entries_come_in_order_of_their_deadlines_not_of_their_slots() {
    let mut wheel = Wheel::new(Instant::ZERO);
    // All within one tick of 65.536 µs, armed backwards.
    for n in (0..50).rev() {
        wheel.arm(owner(n), nanos(1_000_000 + u64::from(n) * 10));
    }
    assert_eq!(popped(&mut wheel, Instant::from_secs(1)), (0..50).collect::<Vec<_>>());
    assert_eq!(wheel.len(), 0);
    assert_eq!(wheel.next(), None);
}

#[test]
fn equal_deadlines_come_in_the_order_of_arming() {
    let mut wheel = Wheel::new(Instant::ZERO);
    let at = Instant::from_secs(5);
    for n in 0..10 {
        wheel.arm(owner(n), at);
    }
    wheel.arm(owner(0), at);
    assert_eq!(popped(&mut wheel, at), [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
}

#[test]
fn nothing_comes_before_its_deadline_within_a_tick() {
    let mut wheel = Wheel::new(Instant::ZERO);
    wheel.arm(owner(1), nanos(100_001));
    assert_eq!(wheel.pop(nanos(100_000)), None);
    assert_eq!(wheel.next(), Some(nanos(100_001)));
    assert_eq!(wheel.pop(nanos(100_001)), Some((owner(1), nanos(100_001))));
}

#[test]
fn a_deadline_in_the_past_is_due_at_once() {
    let mut wheel = Wheel::new(Instant::from_secs(10));
    wheel.arm(owner(7), Instant::from_secs(3));
    assert_eq!(wheel.next(), Some(Instant::from_secs(3)));
    assert_eq!(wheel.pop(Instant::from_secs(10)), Some((owner(7), Instant::from_secs(3))));
}

#[test]
fn a_lone_entry_is_announced_exactly_from_any_distance() {
    for distance in [1, 65_535, 65_536, 4_194_304, 1_000_000_000, DAY, 400 * DAY, u64::MAX - 1] {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.arm(owner(1), nanos(distance));
        assert_eq!(wheel.next(), Some(nanos(distance)));
        if distance > 1 {
            assert_eq!(wheel.pop(nanos(distance - 1)), None);
        }
        assert_eq!(wheel.pop(nanos(distance)), Some((owner(1), nanos(distance))));
    }
}

#[test]
fn rearming_within_the_present_tick_does_not_grow_the_wheel() {
    let mut wheel = Wheel::new(Instant::ZERO);
    for n in 0..100_000 {
        wheel.arm(owner(1), nanos(10 + n % 50_000));
    }
    assert_eq!(wheel.len(), 1);
    assert!(wheel.memory() < 64 * 1024, "{}", wheel.memory());
}

#[test]
fn a_disarmed_entry_never_comes_and_its_place_is_used_again() {
    let mut wheel = Wheel::new(Instant::ZERO);
    for round in 0..10_000u64 {
        wheel.arm(owner(3), nanos(round * 1_000_000));
        assert!(wheel.is_armed(owner(3)) && !wheel.is_armed(owner(4)));
        wheel.disarm(owner(3));
        wheel.disarm(owner(3));
        wheel.disarm(owner(1000));
    }
    assert_eq!(wheel.len(), 0);
    assert_eq!([wheel.nodes[0].len(), wheel.nodes[1].len()], [0, 2]);
    assert_eq!(wheel.chunks.len(), 1);
    assert_eq!(wheel.pop(Instant::FAR_FUTURE), None);
}

#[test]
fn the_places_of_entries_that_left_are_used_again() {
    let mut wheel = Wheel::new(Instant::ZERO);
    let at = Instant::from_secs(3);
    // All in one slot; then of each thirteen but one leave, and come back behind the others.
    (0..1300).for_each(|n| wheel.arm(owner(n), at));
    let chunks = wheel.chunks.len();
    assert_eq!(chunks, 100);
    for _ in 0..10 {
        (0..1300).filter(|n| n % 13 != 5).for_each(|n| wheel.arm(owner(n), at));
    }
    assert!(wheel.chunks.len() <= 2 * chunks + 1, "{}", wheel.chunks.len());
    let mut rest: Vec<u32> = (0..1300).filter(|n| n % 13 == 5).collect();
    rest.extend((0..1300).filter(|n| n % 13 != 5));
    assert_eq!(popped(&mut wheel, at), rest);
    // What the wheel lets go of serves the next.
    let chunks = wheel.chunks.len();
    (0..1300).for_each(|n| wheel.arm(owner(n), Instant::from_secs(9)));
    assert_eq!(wheel.chunks.len(), chunks);
}

#[test]
fn sleeping_from_announcement_to_announcement_meets_every_deadline() {
    let mut wheel = Wheel::new(Instant::ZERO);
    let mut state = 1u64;
    for n in 0..200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        wheel.arm(owner(n), nanos(state >> 20));
    }
    let mut last = Instant::ZERO;
    let (mut popped, mut wakes) = (0u32, 0u32);
    while let Some(at) = wheel.next() {
        wakes += 1;
        while let Some((_, deadline)) = wheel.pop(at) {
            assert!(deadline >= last && deadline <= at);
            last = deadline;
            popped += 1;
        }
    }
    assert_eq!(popped, 200_000);
    // An announcement is exact but for slots that something was taken out of.
    assert!(wakes <= 210_000, "{wakes} wakes");
}

/// `FAR_FUTURE` is no deadline.
fn after(at: Instant, nanos: u64) -> Instant {
    (at + Duration::from_nanos(nanos)).min(Instant::from_nanos(u64::MAX - 1))
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    Rearm(usize, u64),
    Defer(usize, u64),
    Remove(usize),
    Advance(u64),
}

/// Distances of every scale: within a tick, a round trip, a keep-alive, days.
fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_000u64, 0..1_000_000_000u64, 0..10_000_000_000_000u64, 0..40 * DAY, Just(u64::MAX / 2),]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => distance().prop_map(Op::Insert),
        3 => (any::<usize>(), distance()).prop_map(|(k, d)| Op::Rearm(k, d)),
        2 => (any::<usize>(), distance()).prop_map(|(k, d)| Op::Defer(k, d)),
        2 => any::<usize>().prop_map(Op::Remove),
        3 => distance().prop_map(Op::Advance),
    ]
}

/// The same by a sorted map: what the wheel must be indistinguishable from.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(Instant, u64), u32>,
    armed: Vec<(u32, (Instant, u64))>,
    order: u64,
}

impl Model {
    fn arm(&mut self, n: u32, at: Instant) {
        let place = (at, self.order);
        self.order += 1;
        self.entries.insert(place, n);
        self.armed.push((n, place));
    }

    fn take(&mut self, pick: usize) -> Option<(u32, Instant)> {
        if self.armed.is_empty() {
            return None;
        }
        let index = pick % self.armed.len();
        let (n, place) = self.armed.swap_remove(index);
        self.entries.remove(&place);
        Some((n, place.0))
    }

    fn pop(&mut self, now: Instant) -> Option<(Owner, Instant)> {
        let (&place, &n) = self.entries.first_key_value()?;
        if place.0 > now {
            return None;
        }
        self.entries.remove(&place);
        self.armed.retain(|a| a.1 != place);
        Some((owner(n), place.0))
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(400))]

    #[test]
    fn the_wheel_behaves_as_a_sorted_map(
        start in distance(),
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let mut now = nanos(start);
        let mut wheel = Wheel::new(now);
        let mut model = Model::default();
        for (n, op) in ops.into_iter().enumerate() {
            let n = n as u32;
            match op {
                Op::Insert(d) => {
                    let at = after(now, d);
                    wheel.arm(owner(n), at);
                    model.arm(n, at);
                }
                Op::Rearm(pick, d) => {
                    // Also into the past: a connection may find that its time is long over.
                    let at = if d % 5 == 0 { nanos(now.as_nanos() - now.as_nanos().min(d)) } else { after(now, d) };
                    if let Some((n, _)) = model.take(pick) {
                        wheel.arm(owner(n), at);
                        model.arm(n, at);
                    }
                }
                Op::Defer(pick, d) => {
                    if let Some((n, at)) = model.take(pick) {
                        // Later by an odd time each: equal deadlines come in any order.
                        let at = after(at, d.min(40 * DAY) + u64::from(n) + 1);
                        if at == after(at, 1) {
                            wheel.arm(owner(n), at);
                        } else {
                            wheel.defer(owner(n), at);
                        }
                        model.arm(n, at);
                    }
                }
                Op::Remove(pick) => {
                    if let Some((n, _)) = model.take(pick) {
                        wheel.disarm(owner(n));
                    }
                }
                Op::Advance(d) => {
                    now += Duration::from_nanos(d);
                    loop {
                        let (got, want) = (wheel.pop(now), model.pop(now));
                        prop_assert_eq!(got, want);
                        if got.is_none() {
                            break;
                        }
                    }
                    if let Some(next) = wheel.next() {
                        prop_assert!(next > now);
                    }
                }
            }
            prop_assert_eq!(wheel.len(), model.entries.len());
            let first = model.entries.first_key_value().map(|(place, _)| place.0);
            prop_assert_eq!(wheel.next().is_some(), first.is_some());
            if let (Some(next), Some(first)) = (wheel.next(), first) {
                prop_assert!(next <= first, "announced {next:?}, due {first:?}");
            }
        }
    }
}

#[test]
fn who_is_due_within_a_tick_is_told_once_when_the_wheel_comes_there() {
    let mut wheel = Wheel::new(Instant::ZERO);
    let tick = 1 << TICK_BITS;
    // Two in the tenth tick, one in the twentieth.
    for (n, at) in [(0, 10 * tick + 7), (2, 10 * tick + 5), (4, 20 * tick)] {
        wheel.arm(owner(n), nanos(at));
    }
    assert!(!wheel.take_fresh());
    assert_eq!(wheel.pop(nanos(10 * tick)), None);
    assert!(wheel.take_fresh());
    assert!(!wheel.take_fresh(), "it was told");
    let mut due: Vec<u32> = wheel.due().map(number).collect();
    due.sort_unstable();
    assert_eq!(due, [0, 2]);
}

#[test]
fn an_entry_whose_purpose_is_gone_does_not_come() {
    let mut wheel = Wheel::new(Instant::ZERO);
    // One in a slot, one in the heap of the present tick.
    for (n, at) in [(0, 50_000_000), (1, 100)] {
        wheel.arm(owner(n), nanos(at));
        wheel.defer(owner(n), Instant::FAR_FUTURE);
    }
    assert_eq!(wheel.next(), Some(nanos(100)), "it is noticed when the wheel comes there");
    assert_eq!((wheel.pop(Instant::from_secs(1)), wheel.len(), wheel.next()), (None, 0, None));
    assert!(!wheel.is_armed(owner(0)) && !wheel.is_armed(owner(1)));
    // What comes back comes as if it had never been away.
    for (n, at) in [(0, 2_000_000_000), (1, 1_500_000_000)] {
        wheel.arm(owner(n), nanos(at));
        wheel.defer(owner(n), nanos(at + 10));
        wheel.arm(owner(n), nanos(at + 5));
    }
    assert_eq!(popped(&mut wheel, Instant::from_secs(3)), [1, 0]);
}
