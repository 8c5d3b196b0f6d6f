use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::hash::Rng;

/// Half of the numbers are extreme: sums that are nearly nothing, or full of ones.
fn number(rng: &mut Rng) -> u32 {
    match rng.next_u64() % 4 {
        0 => 0,
        1 => u32::MAX,
        _ => rng.next_u64() as u32,
    }
}

fn address(rng: &mut Rng, v6: bool) -> IpAddr {
    if v6 {
        let words: [u32; 4] = core::array::from_fn(|_| number(rng));
        let bits = words.iter().fold(0, |bits: u128, &word| bits << 32 | u128::from(word));
        return Ipv6Addr::from_bits(bits).into();
    }
    Ipv4Addr::from_bits(number(rng)).into()
}

fn some_plain(rng: &mut Rng) -> Plain {
    let stamped = !rng.next_u64().is_multiple_of(4);
    Plain {
        seq: number(rng),
        ack: number(rng),
        flags: Flags(number(rng) as u16 & Flags::ALL.0),
        window: number(rng) as u16,
        urgent: number(rng) as u16,
        stamps: stamped.then(|| (number(rng), number(rng))),
        hop_limit: number(rng) as u8,
        tos: number(rng) as u8,
        ident: number(rng) as u16,
        dont_fragment: rng.next_u64().is_multiple_of(2),
    }
}

/// RFC 9293 3.1, RFC 791 3.1, RFC 8200 3: the short way writes byte for byte what the long one does, with IPv4 and IPv6, with
/// timestamps and without, with whatever payload, whoever finishes the checksum.
#[test]
fn plain_headers_are_those_of_the_long_way() {
    let mut rng = crate::stack::test_cx().rng;
    let payload: Vec<u8> = (0..3000).map(|_| number(&mut rng) as u8).collect();
    for round in 0..20_000 {
        let v6 = round % 3 == 0;
        let tuple = Tuple {
            local: address(&mut rng, v6),
            remote: address(&mut rng, v6),
            local_port: number(&mut rng) as u16,
            remote_port: number(&mut rng) as u16,
        };
        let plain = some_plain(&mut rng);
        let data = &payload[..(rng.next_u64() % 4) as usize * (rng.next_u64() % 1000) as usize];
        for offload in [false, true] {
            let (mut short, mut long) = ([0; MAX_HEADERS], [0; MAX_HEADERS]);
            let written = plain.write(&tuple, data.len(), || finack_sum::sum(data), offload, &mut short);
            let add = |sum: &mut Accumulator| sum.add(data);
            let (expected, left) = headers(&plain.head(&tuple), data.len(), add, None, offload, &mut long);
            assert_eq!(written.len(), expected, "{tuple:?} {plain:?}");
            assert_eq!(short[..expected], long[..expected], "{tuple:?} {plain:?} {} bytes", data.len());
            assert_eq!(written.left_of_checksum(offload), left);
            // Another segment like it, which may have PSH in addition.
            let push = round % 2 == 0 && plain.flags.0 & Flags::PSH.0 == 0;
            let flags = if push { plain.flags | Flags::PSH } else { plain.flags };
            let next = Plain { seq: number(&mut rng), flags, ..plain };
            let data = &payload[payload.len() - data.len()..];
            written.follow(next.seq, push, || finack_sum::sum(data), offload, &mut short);
            next.write(&tuple, data.len(), || finack_sum::sum(data), offload, &mut long);
            assert_eq!(short[..expected], long[..expected], "after {tuple:?} {plain:?}");
        }
    }
}
