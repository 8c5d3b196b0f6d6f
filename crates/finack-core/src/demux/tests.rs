use super::*;
use alloc::collections::BTreeMap;
use proptest::prelude::*;

fn hash(i: u32) -> u64 {
    u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17
}

fn of_index(slot: Slot) -> u64 {
    hash(slot.index())
}

fn connection(i: u32) -> Slot {
    Slot::new(Kind::Connection, i)
}

#[test]
fn every_entry_is_found_while_the_index_grows_and_after_removals() {
    let mut demux = Demux::new();
    for i in 0..5_000 {
        demux.insert(hash(i), connection(i), of_index);
        for j in (0..=i).step_by(97) {
            assert_eq!(demux.find(hash(j), |s| s == connection(j)), Some(connection(j)), "{j} of {i}");
        }
    }
    for i in (0..5_000).step_by(3) {
        assert!(demux.remove(hash(i), connection(i)));
        assert!(!demux.remove(hash(i), connection(i)));
    }
    for i in 0..5_000 {
        assert_eq!(demux.find(hash(i), |s| s == connection(i)).is_some(), i % 3 != 0, "entry {i}");
    }
    assert_eq!(demux.len(), 5_000 - 1_667);
}

/// Of other records a search looks at one in twenty: those that have the byte of the hash in common.
#[test]
fn few_records_are_touched_that_are_not_meant() {
    let mut demux = Demux::new();
    for i in 0..10_000 {
        demux.insert(hash(i), connection(i), of_index);
    }
    let mut visited = 0;
    for i in 0..10_000 {
        demux.find(hash(i), |s| {
            visited += 1;
            s == connection(i)
        });
    }
    assert!(visited < 10_500, "records touched: {visited}");
}

#[test]
fn kinds_with_equal_indexes_are_told_apart() {
    let mut demux = Demux::new();
    for kind in [Kind::Connection, Kind::Embryo, Kind::TimeWait4, Kind::TimeWait6] {
        demux.insert(7, Slot::new(kind, 3), |_| 7);
    }
    let found = demux.find(7, |s| s.kind() == Kind::TimeWait4);
    assert_eq!(found, Some(Slot::new(Kind::TimeWait4, 3)));
    let (old, new) = (Slot::new(Kind::TimeWait4, 3), Slot::new(Kind::TimeWait4, 9));
    assert!(demux.replace(7, old, new));
    assert!(!demux.replace(7, old, new));
    assert_eq!(demux.find(7, |s| s.kind() == Kind::TimeWait4), Some(new));
}

/// No insertion moves more than a few entries, and the memory stays below eleven bytes an entry.
#[test]
fn the_index_grows_in_small_steps() {
    let mut demux = Demux::new();
    let mut most = 0;
    for i in 0..200_000 {
        let moved = core::cell::Cell::new(0);
        demux.insert(hash(i), connection(i), |slot| {
            moved.set(moved.get() + 1);
            of_index(slot)
        });
        most = most.max(moved.get());
        if i > 50_000 {
            // A segment in each table that is not full yet.
            let spare = 2 * 4096 * 64;
            assert!(demux.memory() < i as usize * 11 + spare, "{} bytes for {i} entries", demux.memory());
        }
    }
    assert!(most <= 8 * PLACES, "{most} entries at once");
}

/// Hashes that agree in the upper bits belong to one bucket, whatever its number.
#[test]
fn entries_that_crowd_together_are_found_and_leave_no_trace() {
    let mut demux = Demux::new();
    let crowded = |i: u32| u64::from(0xffff_f000 | i);
    for round in 0..3 {
        for i in 0..300 {
            demux.insert(crowded(i), connection(i), |s| crowded(s.index()));
        }
        for i in 0..300 {
            assert!(demux.find(crowded(i), |s| s == connection(i)).is_some(), "entry {i}");
        }
        for i in (0..300).rev() {
            assert!(demux.remove(crowded(i), connection(i)), "entry {i} in round {round}");
        }
        assert_eq!(demux.len(), 0);
    }
    for bucket in (0..demux.table.buckets.len()).filter_map(|at| demux.table.buckets.get(at)) {
        assert_eq!(bucket.head, [0; PLACES + 4]);
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(200))]

    #[test]
    fn the_index_behaves_as_a_map(ops in proptest::collection::vec((0..3u8, 0..400u32), 1..2000)) {
        // Few different hashes, so that buckets overflow.
        let hash = |i: u32| hash(i / 4);
        let mut demux = Demux::new();
        let mut model = BTreeMap::new();
        for (op, i) in ops {
            let there = model.get(&i).copied();
            match (op, there) {
                (0 | 1, None) => {
                    demux.insert(hash(i), connection(i), |s| hash(s.index() % 1000));
                    model.insert(i, connection(i));
                }
                (0, Some(old)) => {
                    let new = if old == connection(i) { connection(i + 1000) } else { connection(i) };
                    prop_assert!(demux.replace(hash(i), old, new));
                    model.insert(i, new);
                }
                (_, old) => {
                    let was = demux.remove(hash(i), old.unwrap_or(connection(i)));
                    prop_assert_eq!(was, model.remove(&i).is_some());
                }
            }
            prop_assert_eq!(demux.len(), model.len());
            for (i, &slot) in &model {
                prop_assert_eq!(demux.find(hash(*i), |s| s == slot), Some(slot));
            }
        }
    }
}
