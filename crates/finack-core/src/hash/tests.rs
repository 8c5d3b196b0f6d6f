use super::*;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

#[test]
fn equal_seeds_give_equal_keys_and_every_purpose_its_own() {
    let (a, b) = (Secrets::new(&[7; 32]), Secrets::new(&[7; 32]));
    assert_eq!(a.isn.0, b.isn.0);
    let keys = [a.isn, a.ports, a.demux, a.cookie, a.timestamps, a.ident, a.udp, a.udp_ports, a.random];
    assert_eq!(keys.iter().map(|k| k.0).collect::<BTreeSet<_>>().len(), keys.len());
}

#[test]
fn both_halves_of_the_seed_count() {
    let base = Key::derive(&[0; 32], "isn").0;
    for byte in [0, 15, 16, 31] {
        let mut seed = [0; 32];
        seed[byte] = 1;
        assert_ne!(Key::derive(&seed, "isn").0, base, "byte {byte}");
    }
}

#[test]
fn an_ipv4_address_is_not_the_ipv6_address_of_the_same_bits() {
    let key = Key::derive(&[1; 32], "demux");
    let v4 = key.table().addr("0.0.0.1".parse().unwrap()).finish();
    let v6 = key.table().addr("::1".parse().unwrap()).finish();
    assert_ne!(v4, v6);
}

#[test]
fn the_ends_of_a_connection_cannot_be_swapped() {
    let key = Key::derive(&[1; 32], "demux");
    let (a, b) = ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:4000".parse().unwrap());
    assert_ne!(key.four_tuple(&Tuple::new(a, b)), key.four_tuple(&Tuple::new(b, a)));
}

/// What goes out on the wire must not depend on the way in which it was hashed.
#[test]
fn words_hashed_at_one_go_come_to_what_they_come_to_one_by_one() {
    let key = Key::derive(&[1; 32], "isn");
    assert_eq!(key.wire_word(7), key.wire().u64(7).finish());
    let ends = [("10.0.0.1:80", "10.0.0.2:4000"), ("[2001:db8::1]:65535", "[fe80::1]:1")];
    for (local, remote) in ends {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let tuple = Tuple::new(local, remote);
        assert_eq!(key.wire_ends(&tuple), key.wire().socket(local).socket(remote).finish());
        assert_eq!(
            key.wire_destination(local.ip(), remote),
            key.wire().addr(local.ip()).socket(remote).finish()
        );
    }
    let tuple = Tuple::new("10.0.0.1:80".parse().unwrap(), "10.0.0.2:4000".parse().unwrap());
    let one_by_one = key.table().u64(0x0a00_0001_0a00_0002).u64(80 << 16 | 4000).finish();
    assert_eq!(key.four_tuple(&tuple), one_by_one);
}

#[test]
fn a_key_is_not_shown() {
    assert_eq!(alloc::format!("{:?}", Key::derive(&[1; 32], "isn")), "Key(..)");
}

#[test]
fn the_generator_repeats_itself_and_spreads_evenly() {
    let rng = || Rng::new(Key::derive(&[3; 32], "random"));
    let draw = |mut r: Rng| (0..6000).map(|_| r.below(6)).collect::<Vec<_>>();
    assert_eq!(draw(rng()), draw(rng()));
    for face in 0..6 {
        let count = draw(rng()).iter().filter(|&&n| n == face).count();
        assert!((850..1150).contains(&count), "{face} came {count} times");
    }
    assert_eq!(rng().below(0), 0);
}
