use crate::prefetch;
use crate::{
    Accumulator, add, append_and_sum, append_packet_and_sum, copy_and_sum, fold, portable, sum, to_network,
    uninit, update, update_u32,
};
use std::vec::Vec;
use std::{format, vec};

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

/// Bytes that look random, the same on every run.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(len);
    for _ in 0..len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.push((state >> 56) as u8);
    }
    out
}

#[test]
fn rfc_1071_section_3_example() {
    let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(sum(&data), 0xddf2);
}

#[test]
fn every_length_and_alignment_agrees_with_the_plain_loop() {
    let data = noise(340, 7);
    for start in 0..40 {
        for len in 0..=300 {
            let slice = &data[start..start + len];
            let want = naive(slice);
            assert_eq!(sum(slice), want, "start {start} len {len}");
            assert_eq!(to_network(fold(portable::sum(slice))), want, "portable, start {start} len {len}");
            let mut copy = vec![0xaa; len + 1];
            assert_eq!(copy_and_sum(&mut copy[..len], slice), want, "copy, start {start} len {len}");
            assert_eq!(&copy[..len], slice);
            assert_eq!(copy[len], 0xaa, "wrote past the end at len {len}");
            copy.fill(0xaa);
            assert_eq!(to_network(fold(portable::copy_and_sum(uninit::of(&mut copy[..len]), slice))), want);
            assert_eq!(&copy[..len], slice);
            assert_eq!(copy[len], 0xaa);
        }
    }
}

/// Every vector code that this machine can run, at all alignments of both ends and all lengths around its blocks.
#[cfg(target_arch = "x86_64")]
#[test]
fn simd_agrees_with_portable() {
    let data = noise(5000, 3);
    for code in crate::x86::runnable() {
        let name = code.name;
        for len in (0..600).chain([1448, 1460, 1499, 1500, 4095, 4096, 4900]) {
            for start in [0, 1, 2, 7, 31, 33, 63] {
                let slice = &data[start..start + len];
                let want = fold(portable::sum(slice));
                assert_eq!(fold((code.sum)(slice)), want, "{name}, start {start} len {len}");
                let at = (start * 5 + len) % 67;
                let mut copy = vec![0xaa; at + len + 1];
                let sum = fold((code.copy_and_sum)(uninit::of(&mut copy[at..at + len]), slice));
                assert_eq!(sum, want, "{name}, from {start} to {at}, len {len}");
                assert_eq!(&copy[at..at + len], slice);
                assert!(
                    copy[..at].iter().all(|&b| b == 0xaa) && copy[at + len] == 0xaa,
                    "{name} wrote beyond"
                );
            }
        }
    }
}

#[test]
fn no_carry_is_lost_in_the_largest_sums() {
    for len in [1, 2, 63, 64, 65, 127, 128, 65_535, 1 << 20] {
        let ones = vec![0xff; len];
        assert_eq!(sum(&ones), naive(&ones), "len {len}");
        let mut copy = vec![0; len];
        assert_eq!(copy_and_sum(&mut copy, &ones), naive(&ones), "len {len}");
    }
}

#[test]
fn zero_only_for_zeros() {
    assert_eq!(sum(&[]), 0);
    assert_eq!(sum(&[0; 200]), 0);
    // A lone one's-complement zero of the other form stays in that form.
    assert_eq!(sum(&[0xff, 0xff]), 0xffff);
    assert_eq!(sum(&[0xff, 0xfe, 0x00, 0x01]), 0xffff);
    assert_eq!(add(0xffff, 0xffff), 0xffff);
    assert_eq!(add(0xffff, 1), 1);
    assert_eq!(add(0, 0), 0);
}

#[test]
fn copying_between_lengths_takes_the_shorter() {
    let src = noise(400, 9);
    let mut dst = vec![0; 250];
    assert_eq!(copy_and_sum(&mut dst, &src), naive(&src[..250]));
    assert_eq!(dst, &src[..250]);
    let mut dst = vec![7; 500];
    assert_eq!(copy_and_sum(&mut dst, &src), naive(&src));
    assert_eq!(&dst[..400], &src);
    assert_eq!(&dst[400..], &[7; 100]);
}

/// A block that is filled piece by piece, as a queue does it: each piece begins wherever the last one ended.
#[test]
fn appending_fills_a_block_and_sums() {
    let data = noise(9000, 13);
    for size in [1, 63, 64, 65, 536, 1447, 1448, 1460] {
        let mut block = Vec::with_capacity(4096);
        let room = block.as_ptr();
        for piece in data.chunks(size).take(4096 / size) {
            assert_eq!(
                append_and_sum(&mut block, piece),
                naive(piece),
                "pieces of {size} at {}",
                block.len()
            );
        }
        assert_eq!(block, &data[..block.len()]);
        assert_eq!(block.as_ptr(), room, "no memory beside the block's own");
        // Beyond its room it grows as any vector does.
        let filled = block.len();
        append_and_sum(&mut block, &data[filled..]);
        assert_eq!(block, data);
    }
}

/// A packet behind whatever was there: header and payload of any length, of which any part is summed.
#[test]
fn appending_a_packet_sums_what_stands_behind_its_start() {
    let data = noise(2000, 17);
    for header_len in [0, 1, 20, 39, 40, 52, 63, 64, 65, 100] {
        for start in [0, 1, 20, 39, 40, 64, 100] {
            for len in [0, 1, 2, 11, 12, 13, 63, 64, 65, 536, 1447, 1448] {
                let (header, payload) = (&data[..header_len], &data[header_len..header_len + len]);
                let mut out = Vec::with_capacity(1600);
                for before in [0, 7, 64] {
                    out.clear();
                    out.resize(before, 0xaa);
                    let sum = append_packet_and_sum(&mut out, header, start, payload);
                    let whole = &data[..header_len + len];
                    let at = format!("{before}, {header_len} from {start}, {len}");
                    assert_eq!(out[before..], *whole, "{at}");
                    assert!(out[..before].iter().all(|&byte| byte == 0xaa), "{at}");
                    assert_eq!(sum, naive(&whole[start.min(header_len)..]), "{at}");
                }
            }
        }
    }
}

#[test]
fn accumulator_over_odd_pieces() {
    let data = noise(300, 5);
    for first in 0..40 {
        for second in 0..40 {
            let mut acc = Accumulator::new();
            acc.add(&data[..first]);
            acc.add(&data[first..first + second]);
            acc.add_sum(sum(&data[first + second..290]), 290 - first - second);
            assert_eq!(acc.folded(), naive(&data[..290]), "{first} {second}");
            assert_eq!(acc.finish(), !naive(&data[..290]));
        }
    }
}

#[test]
fn accumulator_words_at_odd_offsets() {
    let mut acc = Accumulator::new();
    acc.add(&[0x12]);
    acc.add_u16(0x3456);
    acc.add_u32(0x789a_bcde);
    acc.add(&[0xf0]);
    assert_eq!(acc.folded(), naive(&[0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0]));
    let mut even = Accumulator::default();
    even.add_u32(0x0001_f203);
    even.add_u32(0xf4f5_f6f7);
    assert_eq!(even.folded(), 0xddf2);
}

/// RFC 1624 section 4: the case in which the older equation goes wrong.
#[test]
fn rfc_1624_example() {
    assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn update_agrees_with_summing_afresh() {
    let mut data = noise(60, 11);
    for round in 0..2000u32 {
        let at = (round as usize * 2) % 56;
        let before = !naive(&data);
        let old = u16::from_be_bytes([data[at], data[at + 1]]);
        let new = (round as u16).wrapping_mul(40_503);
        data[at..at + 2].copy_from_slice(&new.to_be_bytes());
        assert_eq!(update(before, old, new), !naive(&data));

        let before = !naive(&data);
        let old = u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
        let new = round.wrapping_mul(2_654_435_761);
        data[at..at + 4].copy_from_slice(&new.to_be_bytes());
        assert_eq!(update_u32(before, old, new), !naive(&data));
    }
}

#[test]
fn a_prefetch_changes_nothing() {
    let bytes: Vec<u8> = (0..=255).collect();
    for (from, to) in [(0, 256), (63, 65), (7, 7), (255, 256)] {
        prefetch(&bytes[from..to]);
    }
    prefetch(&());
    assert!(bytes.iter().enumerate().all(|(i, &byte)| usize::from(byte) == i));
}
