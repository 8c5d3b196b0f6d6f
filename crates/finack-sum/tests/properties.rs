//! What holds for all data: every way of summing agrees with the plain loop of RFC 1071.

use finack_sum::{Accumulator, add, append_and_sum, copy_and_sum, sum, update, update_u32};
use proptest::collection::vec;
use proptest::prelude::*;

/// RFC 1071 section 4.1, word by word.
fn naive(data: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in data.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        total += u32::from(u16::from_be_bytes([pair[0], low]));
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Data with more zeros and ones than chance would have, since carries are where sums go wrong.
fn data(max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Eight bytes at a time: one by one they would take most of the tests' time to make.
    let words = vec(any::<[u8; 8]>(), 0..=max.div_ceil(8));
    (words, 0usize..8, any::<bool>()).prop_map(move |(words, short, coarse)| {
        let mut bytes = words.concat();
        bytes.truncate(bytes.len().saturating_sub(short).min(max));
        if coarse {
            for byte in &mut bytes {
                *byte = match *byte {
                    0..80 => 0,
                    80..160 => 0xff,
                    other => other,
                };
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn sum_is_the_plain_loop(data in data(5000), skip in 0usize..70) {
        let data = data.get(skip..).unwrap_or(&[]);
        prop_assert_eq!(sum(data), naive(data));
    }

    #[test]
    fn copying_copies_and_sums(data in data(5000), skip in 0usize..70) {
        let data = data.get(skip..).unwrap_or(&[]);
        let mut copy = vec![0x55; data.len()];
        prop_assert_eq!(copy_and_sum(&mut copy, data), naive(data));
        prop_assert_eq!(copy, data);
    }

    #[test]
    fn copying_and_appending_anywhere_is_the_plain_loop(data in data(5000), skip in 0usize..70, at in 0usize..70) {
        let data = data.get(skip..).unwrap_or(&[]);
        let mut copy = vec![0x55; at + data.len() + 9];
        prop_assert_eq!(copy_and_sum(&mut copy[at..at + data.len()], data), naive(data));
        prop_assert_eq!(&copy[at..at + data.len()], data);
        prop_assert!(copy[..at].iter().chain(&copy[at + data.len()..]).all(|&b| b == 0x55));
        copy.truncate(at);
        prop_assert_eq!(append_and_sum(&mut copy, data), naive(data));
        prop_assert_eq!(&copy[at..], data);
        prop_assert!(copy[..at].iter().all(|&b| b == 0x55));
    }

    #[test]
    fn any_cuts_sum_to_the_same(data in data(600), mut cuts in vec(0usize..600, 0..12)) {
        cuts.retain(|cut| *cut <= data.len());
        cuts.sort_unstable();
        let mut acc = Accumulator::new();
        let mut at = 0;
        for cut in cuts {
            acc.add(&data[at..cut]);
            at = cut;
        }
        acc.add_sum(sum(&data[at..]), data.len() - at);
        prop_assert_eq!(acc.folded(), naive(&data));
        prop_assert_eq!(acc.finish(), !naive(&data));
    }

    #[test]
    fn words_are_their_bytes(before in data(5), word in any::<u32>(), half in any::<u16>()) {
        let mut acc = Accumulator::new();
        acc.add(&before);
        acc.add_u32(word);
        acc.add_u16(half);
        let mut bytes = before;
        bytes.extend_from_slice(&word.to_be_bytes());
        bytes.extend_from_slice(&half.to_be_bytes());
        prop_assert_eq!(acc.folded(), naive(&bytes));
    }

    #[test]
    fn addition_is_a_group_but_for_the_two_zeros(a in any::<u16>(), b in any::<u16>(), c in any::<u16>()) {
        prop_assert_eq!(add(a, b), add(b, a));
        prop_assert_eq!(add(add(a, b), c), add(a, add(b, c)));
        prop_assert_eq!(add(a, 0), a);
        prop_assert_eq!(add(a, !a), 0xffff);
        prop_assert_eq!(u32::from(add(a, b)) % 0xffff, (u32::from(a) + u32::from(b)) % 0xffff);
    }

    #[test]
    fn updating_is_summing_afresh(mut data in vec(any::<u8>(), 20..80), at in 0usize..8, new in any::<u32>()) {
        // A header is never all zeros, of which alone the sum would be the other zero.
        data[19] |= 1;
        let at = at * 2;
        let before = !naive(&data);
        let old = u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
        data[at..at + 4].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(update_u32(before, old, new), !naive(&data));
        let halves = update(before, (old >> 16) as u16, (new >> 16) as u16);
        prop_assert_eq!(update(halves, old as u16, new as u16), !naive(&data));
    }
}
