use super::*;
use crate::hash::{Key, Rng};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use proptest::prelude::*;

const RANGE: RangeInclusive<u16> = 32_768..=60_999;

fn table() -> PortTable {
    PortTable::new(Rng::new(Key::derive(&[9; 32], "ports")))
}

fn owner(addr: &str) -> Owner {
    Owner {
        addr: addr.parse().unwrap(),
        reuse_addr: false,
        reuse_port: false,
        listening: false,
        v6_only: false,
        explicit: true,
    }
}

fn reuse_addr(addr: &str) -> Owner {
    Owner { reuse_addr: true, ..owner(addr) }
}

fn reuse_port(addr: &str) -> Owner {
    Owner { reuse_port: true, ..owner(addr) }
}

fn ends(n: u8) -> (IpAddr, SocketAddr) {
    (IpAddr::from([10, 0, 0, 1]), SocketAddr::from(([10, 0, 1, n], 80)))
}

fn tuples(n: u8) -> impl Fn(u16) -> Tuple {
    let (local, remote) = ends(n);
    move |port| Tuple::new(SocketAddr::new(local, port), remote)
}

/// Asks for each port.
fn choose(
    t: &mut PortTable,
    range: RangeInclusive<u16>,
    hash: u64,
    usable: &mut dyn FnMut(u16) -> bool,
) -> Option<u16> {
    t.forget_taken();
    t.choose(range, Instant::ZERO, ends(1), hash, &mut |port| match usable(port) {
        true => Use::Now,
        false => Use::NotBefore(Instant::FAR_FUTURE),
    })
}

fn destination(n: u64) -> u64 {
    Key::derive(&[9; 32], "ports").wire().u64(n).finish()
}

#[test]
fn linux_bind_addresses_that_overlap_conflict() {
    let conflict = [
        ("0.0.0.0", "10.0.0.1"),
        ("10.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "0.0.0.0"),
        ("10.0.0.1", "10.0.0.1"),
        ("::", "10.0.0.1"),
        ("10.0.0.1", "::"),
        ("0.0.0.0", "::"),
        ("::", "fd00::1"),
        ("fd00::1", "fd00::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ];
    for (held, new) in conflict {
        let mut t = table();
        t.add(80, owner(held));
        assert!(t.conflicts(80, &owner(new)), "{held} then {new}");
        assert!(!t.conflicts(81, &owner(new)));
    }
    for (held, new) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "0.0.0.0"), ("fd00::1", "10.0.0.1")] {
        let mut t = table();
        t.add(80, owner(held));
        assert!(!t.conflicts(80, &owner(new)), "{held} then {new}");
    }
}

#[test]
fn linux_bind_v6only_leaves_ipv4_alone() {
    let v6_only = Owner { v6_only: true, ..owner("::") };
    let mut t = table();
    t.add(80, v6_only);
    assert!(!t.conflicts(80, &owner("0.0.0.0")));
    assert!(!t.conflicts(80, &owner("10.0.0.1")));
    assert!(t.conflicts(80, &owner("fd00::1")));
    assert!(t.conflicts(80, &owner("::")));
    let mut t = table();
    t.add(80, owner("0.0.0.0"));
    assert!(!t.conflicts(80, &v6_only));
}

#[test]
fn linux_so_reuseaddr_needs_both_and_never_goes_beside_a_listener() {
    let mut t = table();
    t.add(80, reuse_addr("0.0.0.0"));
    assert!(t.conflicts(80, &owner("0.0.0.0")), "the new one must set it too");
    assert!(!t.conflicts(80, &reuse_addr("0.0.0.0")));

    let mut t = table();
    t.add(80, owner("0.0.0.0"));
    assert!(t.conflicts(80, &reuse_addr("0.0.0.0")), "the old one must have set it too");

    let mut t = table();
    t.add(80, Owner { listening: true, ..reuse_addr("0.0.0.0") });
    assert!(t.conflicts(80, &reuse_addr("10.0.0.1")), "a listener keeps its port");
}

#[test]
fn linux_a_restarted_server_binds_and_listens_beside_its_old_connections() {
    let mut t = table();
    let listener = Owner { listening: true, ..reuse_addr("0.0.0.0") };
    t.add(80, listener);
    // Accepted connections inherit SO_REUSEADDR and stay when the listener goes.
    let accepted = reuse_addr("10.0.0.1");
    t.add(80, accepted);
    t.remove(80, &listener);
    let again = reuse_addr("0.0.0.0");
    assert!(!t.conflicts(80, &again));
    t.add(80, again);
    assert_eq!(t.set_listening(80, &again, true), Ok(listener));
}

#[test]
fn linux_of_two_sockets_bound_with_so_reuseaddr_only_one_listens() {
    let mut t = table();
    let bound = reuse_addr("0.0.0.0");
    t.add(80, bound);
    t.add(80, bound);
    let listening = t.set_listening(80, &bound, true).unwrap();
    assert_eq!(t.set_listening(80, &bound, true), Err(Error::AddrInUse));
    t.remove(80, &listening);
    assert!(t.set_listening(80, &bound, true).is_ok(), "the refused one stays bound and may try again");
}

#[test]
fn linux_so_reuseport_lets_several_listen_if_all_set_it() {
    let mut t = table();
    for _ in 0..4 {
        let o = reuse_port("0.0.0.0");
        assert!(!t.conflicts(80, &o));
        t.add(80, o);
        assert!(t.set_listening(80, &o, true).is_ok());
    }
    assert!(t.conflicts(80, &owner("0.0.0.0")));
    assert!(t.conflicts(80, &reuse_addr("0.0.0.0")));
}

#[test]
fn only_an_owner_can_start_to_listen() {
    let mut t = table();
    assert_eq!(t.set_listening(80, &owner("0.0.0.0"), true), Err(Error::InvalidArgument));
    assert!(!t.conflicts(80, &owner("0.0.0.0")));
}

#[test]
fn a_port_is_free_when_the_last_of_many_equal_owners_has_left() {
    let mut t = table();
    let (a, b) = (owner("10.0.0.1"), owner("10.0.0.2"));
    for _ in 0..1000 {
        t.add(80, a);
        t.add(80, b);
    }
    let memory = t.memory();
    for n in 0..1000 {
        assert!(t.conflicts(80, &owner("0.0.0.0")), "{n} gone");
        t.remove(80, &a);
        t.remove(80, &b);
    }
    assert!(!t.conflicts(80, &owner("0.0.0.0")));
    assert!(memory < 64 * 1024, "{memory}");
    // One too many is no harm.
    t.remove(80, &a);
}

#[test]
fn linux_bind_to_port_0_finds_a_port_that_nobody_overlaps() {
    let mut t = table();
    let mut seen = BTreeSet::new();
    let mut rng = Rng::new(Key::derive(&[1; 32], "random"));
    for _ in 0..100 {
        // Even SO_REUSEADDR on both does not make bind(0) share a port.
        let port = t.bind_any(40_000..=40_099, &reuse_addr("0.0.0.0"), rng.next_u64()).unwrap();
        assert!(seen.insert(port));
        t.add(port, reuse_addr("0.0.0.0"));
    }
    assert_eq!(t.bind_any(40_000..=40_099, &reuse_addr("0.0.0.0"), 1), None);
    assert!(t.bind_any(40_000..=40_099, &owner("fd00::1"), 1).is_some());
}

#[test]
fn linux_bind_to_port_0_keeps_off_the_ports_that_connect_prefers() {
    let mut t = table();
    let mut rng = Rng::new(Key::derive(&[1; 32], "random"));
    for _ in 0..100 {
        let port = t.bind_any(RANGE, &owner("0.0.0.0"), rng.next_u64()).unwrap();
        assert_eq!(port % 2, 1, "connect takes ports of the parity of the range's first");
    }
}

#[test]
fn rfc6056_consecutive_connects_to_one_destination_do_not_collide() {
    let mut t = table();
    let hash = destination(1);
    let mut seen = BTreeSet::new();
    for n in 0..1000 {
        let port = choose(&mut t, RANGE, hash, &mut |_| true).unwrap();
        assert!(RANGE.contains(&port));
        assert!(seen.insert(port), "port {port} again at connect {n}");
    }
}

#[test]
fn rfc6056_the_order_of_ports_of_one_destination_says_nothing_of_another() {
    let mut t = table();
    // Offsets of many destinations: evenly spread, and a connect to one does not move the other.
    let mut buckets = [0u32; 16];
    for n in 0..16_000 {
        let port = choose(&mut t, RANGE, destination(n), &mut |_| true).unwrap();
        buckets[usize::from(port - RANGE.start()) * 16 / RANGE.len()] += 1;
    }
    for (i, count) in buckets.iter().enumerate() {
        assert!((800..1200).contains(count), "bucket {i} holds {count}");
    }
}

#[test]
fn rfc6056_steps_are_not_constant() {
    let mut t = table();
    let ports: Vec<i32> =
        (0..200).map(|_| i32::from(choose(&mut t, RANGE, destination(5), &mut |_| true).unwrap())).collect();
    let steps: BTreeSet<i32> = ports.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(steps.len() >= 7, "{steps:?}");
}

#[test]
fn linux_connect_passes_explicitly_bound_ports_over() {
    let mut t = table();
    for port in 40_000..=40_009 {
        if port != 40_007 {
            t.add(port, reuse_addr("0.0.0.0"));
        }
    }
    for n in 0..20 {
        assert_eq!(choose(&mut t, 40_000..=40_009, destination(n), &mut |_| true), Some(40_007));
    }
    // What connect itself took may be shared: the four-tuple decides.
    t.add(40_007, Owner { explicit: false, ..owner("10.0.0.1") });
    assert_eq!(choose(&mut t, 40_000..=40_009, destination(99), &mut |_| true), Some(40_007));
    assert_eq!(choose(&mut t, 40_000..=40_009, destination(99), &mut |_| false), None);
}

#[test]
fn the_last_free_port_is_found_and_the_search_is_bounded() {
    let mut t = table();
    let mut asked = 0;
    let port = choose(&mut t, RANGE, destination(3), &mut |p| {
        asked += 1;
        p == 50_001
    });
    assert_eq!(port, Some(50_001));
    assert!(asked <= RANGE.len());
    let mut asked = 0;
    let none = choose(&mut t, RANGE, destination(3), &mut |_| {
        asked += 1;
        false
    });
    assert_eq!((none, asked), (None, RANGE.len()));
}

#[test]
fn filling_the_whole_range_for_one_destination_asks_for_few_taken_ports() {
    let mut t = table();
    let mut taken = BTreeSet::new();
    let mut asked = 0usize;
    for _ in 0..RANGE.len() * 9 / 10 {
        let port = choose(&mut t, RANGE, destination(3), &mut |p| {
            asked += 1;
            !taken.contains(&p)
        });
        assert!(taken.insert(port.unwrap()));
    }
    assert!(asked < RANGE.len() * 100, "{asked} questions");
}

/// What is remembered of a destination changes nothing but how many ports are asked for: the same are chosen in the same order
/// as by who asks for each.
#[test]
fn ports_that_are_known_to_be_taken_are_passed_over() {
    let mut rng = Rng::new(Key::derive(&[1; 32], "random"));
    for range in [1..=1, 7..=8, 9..=11, 40_000..=40_063, 40_000..=40_400, 5..=4004] {
        let (mut t, mut plain) = (table(), table());
        let (ends, tuples) = (ends(1), tuples(1));
        let mut taken = BTreeSet::new();
        let (mut asked, mut in_vain) = (0, 0);
        for n in 0..4000_u64 {
            let now = Instant::from_secs(n);
            let mut usable = |port| {
                asked += 1;
                if taken.contains(&port) { Use::NotBefore(Instant::FAR_FUTURE) } else { Use::Now }
            };
            let port = t.choose(range.clone(), now, ends, destination(1), &mut usable);
            plain.forget_taken();
            let mut usable = |port| {
                in_vain += 1;
                if taken.contains(&port) { Use::NotBefore(Instant::FAR_FUTURE) } else { Use::Now }
            };
            assert_eq!(port, plain.choose(range.clone(), now, ends, destination(1), &mut usable));
            if let Some(port) = port {
                taken.insert(port);
                t.took(&tuples(port));
            }
            let full = taken.len() == range.len();
            for _ in 0..if full { rng.below(3) } else { rng.below(2) } {
                let gone = taken.iter().nth(rng.below(taken.len() as u32) as usize).copied();
                if let Some(port) = gone {
                    taken.remove(&port);
                    t.freed(&tuples(port));
                }
            }
        }
        // Who never asks for many in vain remembers nothing.
        assert!(range.len() < 64 || asked < 8000, "{asked} questions instead of {in_vain}");
    }
}

/// A port that may be had after some time is asked for again then.
#[test]
fn a_port_is_known_to_be_taken_for_as_long_as_was_said() {
    let mut t = table();
    let mut ask = |secs| {
        let now = Instant::from_secs(secs);
        let mut asked = 0;
        let port = t.choose(100..=199, now, ends(1), destination(1), &mut |port| {
            asked += 1;
            match port {
                _ if secs >= 20 => Use::Now,
                150 => Use::NotBefore(Instant::from_secs(20)),
                _ => Use::NotBefore(Instant::FAR_FUTURE),
            }
        });
        (port.is_some(), asked)
    };
    assert_eq!(ask(0), (false, 100));
    // The first few were asked for before anything was remembered.
    assert_eq!(ask(1), (false, 3));
    assert_eq!(ask(19), (false, 0));
    assert_eq!(ask(20), (true, 1));
}

#[test]
fn odd_ranges_work() {
    let mut t = table();
    assert_eq!(choose(&mut t, 5..=5, 12, &mut |_| true), Some(5));
    assert_eq!(choose(&mut t, 0..=1, 12, &mut |_| true), Some(1));
    assert_eq!(choose(&mut t, 0..=0, 12, &mut |_| true), None);
    assert_eq!(t.bind_any(5..=5, &owner("::"), 77), Some(5));
    assert_eq!(t.bind_any(0..=0, &owner("::"), 77), None);
    assert!(choose(&mut t, 1..=65_535, u64::MAX, &mut |_| true).is_some());
}

proptest! {
    #![proptest_config(crate::testing::cases(200))]

    /// The counted table says the same as a plain list of owners.
    #[test]
    fn the_table_agrees_with_a_list(ops in proptest::collection::vec((0..6usize, 0..8u8, 0..3u8), 1..80)) {
        let addrs = ["0.0.0.0", "10.0.0.1", "10.0.0.2", "::", "fd00::1", "::ffff:10.0.0.1"];
        let mut t = table();
        let mut list: Vec<Owner> = Vec::new();
        for (addr, flags, what) in ops {
            let o = Owner {
                reuse_addr: flags & 1 != 0,
                reuse_port: flags & 2 != 0,
                listening: flags & 4 != 0,
                ..owner(addrs[addr])
            };
            prop_assert_eq!(t.conflicts(7, &o), list.iter().any(|held| o.conflicts_with(held)));
            if what == 0 {
                t.remove(7, &o);
                if let Some(i) = list.iter().position(|held| *held == o) {
                    list.swap_remove(i);
                }
            } else {
                t.add(7, o);
                list.push(o);
            }
        }
    }
}
