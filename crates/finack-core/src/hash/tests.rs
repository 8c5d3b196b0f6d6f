use super::*;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

#[test]
fn equal_seeds_give_equal_keys_and_every_purpose_its_own() {
    let (a, b) = (Secrets::new(&[7; 32]), Secrets::new(&[7; 32]));
    assert_eq!(a.isn.0, b.isn.0);
    let keys = [a.isn, a.ports, a.demux, a.cookie, a.ident, a.udp, a.udp_ports, a.random];
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

/// SipHash at one go is the crate's SipHash of the same bytes.
#[test]
fn words_hashed_at_one_go_come_to_what_their_bytes_come_to() {
    let key = Key::derive(&[1; 32], "isn");
    let of_bytes = |parts: [&[u8]; 4]| {
        let bytes = parts.concat();
        let table = SipHasher13::new_with_key(&key.0).hash(&bytes);
        (table, SipHasher24::new_with_key(&key.0).hash(&bytes))
    };
    assert_eq!(key.wire_word(7), of_bytes([&7_u64.to_le_bytes(), &[], &[], &[]]).1);
    assert_eq!(key.wire_word(7), key.wire().u64(7).finish());
    let ends = [
        ("10.0.0.1:80", "10.0.0.2:4000", [2, 0, 0, 10, 1, 0, 0, 10]),
        ("192.168.7.9:65535", "1.2.3.4:1", [4, 3, 2, 1, 9, 7, 168, 192]),
    ];
    for (local, remote, addresses) in ends {
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        let ports = u32::from(local.port()) << 16 | u32::from(remote.port());
        let tuple = Tuple::new(local, remote);
        let (table, wire) = of_bytes([&addresses, &ports.to_le_bytes(), &[], &[]]);
        assert_eq!((key.four_tuple(&tuple), key.wire_ends(&tuple)), (table, wire));
        let (_, wire) = of_bytes([&addresses, &remote.port().to_le_bytes(), &[], &[]]);
        assert_eq!(key.wire_destination(local.ip(), remote), wire);
    }
    let (local, remote): (SocketAddr, SocketAddr) =
        ("[2001:db8::1]:65535".parse().unwrap(), "[fe80::1]:1".parse().unwrap());
    let words = [0x2001_0db8_0000_0000_u64, 1, 0xfe80_0000_0000_0000, 1].map(u64::to_le_bytes);
    let tuple = Tuple::new(local, remote);
    let (table, wire) = of_bytes([words.as_flattened(), &[1, 0, 255, 255], &[], &[]]);
    assert_eq!((key.four_tuple(&tuple), key.wire_ends(&tuple)), (table, wire));
    let (_, wire) = of_bytes([words.as_flattened(), &[1, 0], &[], &[]]);
    assert_eq!(key.wire_destination(local.ip(), remote), wire);
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
