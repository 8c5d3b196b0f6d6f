use super::*;
use crate::samples::{self, hex};
use crate::{ip, tcp};
use std::format;
use std::vec::Vec;

/// The bytes of options in a sample packet.
fn options_of(sample: &str) -> Vec<u8> {
    let packet = hex(sample);
    let ip = ip::parse(&packet).unwrap();
    let segment = ip.payload(&packet);
    let header = tcp::TcpHeader::parse(segment).unwrap();
    tcp::options_bytes(segment, &header).to_vec()
}

fn emitted(options: &TcpOptions) -> Vec<u8> {
    let mut out = [0xee; 40];
    let len = options.emit(&mut out);
    assert_eq!(len, options.encoded_len());
    assert_eq!(len % 4, 0);
    assert!(out[len..].iter().all(|byte| *byte == 0xee));
    out[..len].to_vec()
}

fn blocks(list: &[(u32, u32)]) -> SackBlocks {
    let mut blocks = SackBlocks::new();
    for (start, end) in list {
        assert!(blocks.push(*start, *end));
    }
    blocks
}

#[test]
fn syn_of_linux() {
    let bytes = options_of(samples::SYN_V4);
    let options = TcpOptions::parse(&bytes);
    let want = TcpOptions {
        mss: Some(1460),
        window_scale: Some(10),
        sack_permitted: true,
        timestamps: Some((0x75bd_0c80, 0)),
        ..TcpOptions::default()
    };
    assert_eq!(options, want);
    assert_eq!(emitted(&options), bytes);
}

#[test]
fn fast_open_syn_of_linux() {
    let bytes = options_of(samples::SYN_FAST_OPEN);
    let options = TcpOptions::parse(&bytes);
    assert_eq!(options.fast_open, Some(FastOpen::request()));
    assert!(options.fast_open.unwrap().is_request());
    assert_eq!(emitted(&options), bytes);
}

/// RFC 2385; Linux leaves timestamps out so that all fits.
#[test]
fn md5_syn_of_linux() {
    let bytes = options_of(samples::SYN_MD5);
    let options = TcpOptions::parse(&bytes);
    assert_eq!(options.md5.unwrap()[..], bytes[EMITTED_MAC_OFFSET..EMITTED_MAC_OFFSET + 16]);
    assert_eq!((options.mss, options.sack_permitted, options.timestamps), (Some(1460), true, None));
    assert_eq!(emitted(&options), bytes);
}

/// RFC 2018 section 3: three blocks beside timestamps.
#[test]
fn sack_of_linux() {
    let bytes = options_of(samples::SACK_3);
    let mut options = TcpOptions::parse(&bytes);
    assert_eq!(options.sack.as_slice(), [(1501, 1601), (1301, 1401), (1101, 1201)]);
    assert_eq!(options.timestamps, Some((0x83d7_c04f, 2)));
    assert_eq!(emitted(&options), bytes);
    // A fourth does not fit and is left out.
    assert!(options.sack.push(1, 2));
    assert_eq!(emitted(&options), bytes);
    // Without timestamps it does.
    options.timestamps = None;
    let bytes = emitted(&options);
    assert_eq!(bytes.len(), 36);
    assert_eq!(bytes[..4], [1, 1, 5, 34]);
    assert_eq!(TcpOptions::parse(&bytes), options);
}

/// RFC 7323 appendix A: the common case is recognised at once, and read the same as the long way.
#[test]
fn timestamps_alone() {
    let bytes = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let want = TcpOptions { timestamps: Some((0x0102_0304, 0x0506_0708)), ..TcpOptions::default() };
    assert_eq!(TcpOptions::parse(&bytes), want);
    assert_eq!(emitted(&want), bytes);
    // The same behind other padding, so that the fast path does not take it.
    assert_eq!(TcpOptions::parse(&[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]), want);
    assert_eq!(TcpOptions::parse(&[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]), want);
    let mut longer = bytes.to_vec();
    longer.extend_from_slice(&[1, 1, 1, 0]);
    assert_eq!(TcpOptions::parse(&longer), want);
}

#[test]
fn nothing() {
    assert_eq!(TcpOptions::parse(&[]), TcpOptions::default());
    assert_eq!(emitted(&TcpOptions::default()), []);
}

/// RFC 9293 MUST-5: options in any segment; MUST-68: at any alignment.
#[test]
fn any_alignment() {
    for padding in 0..8 {
        let mut bytes = Vec::new();
        bytes.resize(padding, KIND_NOP);
        bytes.extend_from_slice(&[2, 4, 5, 0xb4, 3, 3, 7, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 4, 2]);
        let options = TcpOptions::parse(&bytes);
        assert_eq!((options.mss, options.window_scale), (Some(1460), Some(7)));
        assert_eq!((options.timestamps, options.sack_permitted), (Some((1, 2)), true));
        assert_eq!((options.unknown, options.malformed), (0, false));
    }
}

/// RFC 9293 MUST-6: unknown options are ignored, by their length.
#[test]
fn unknown_options_are_skipped() {
    let options = TcpOptions::parse(&[77, 6, 2, 4, 9, 9, 2, 4, 5, 0xb4, 253, 2, 0, 0, 0, 0]);
    assert_eq!((options.mss, options.unknown, options.malformed), (Some(1460), 2, false));
    // An experiment that is not fast open.
    let options = TcpOptions::parse(&[254, 4, 0xf9, 0x8a, 2, 4, 5, 0xb4]);
    assert_eq!((options.mss, options.unknown, options.fast_open), (Some(1460), 1, None));
    assert_eq!(TcpOptions::parse(&[254, 3, 0xf9, 1]).unknown, 1);
}

/// RFC 9293 MUST-7: an impossible length must not do harm; what came before counts.
#[test]
fn impossible_lengths_end_parsing() {
    for bad in [&[2, 0, 5, 0xb4][..], &[2, 1, 5, 0xb4], &[9, 5, 0, 0], &[8], &[2, 4, 5], &[77, 255]] {
        let mut bytes = [3, 3, 9].to_vec();
        bytes.extend_from_slice(bad);
        let options = TcpOptions::parse(&bytes);
        let want = TcpOptions { window_scale: Some(9), malformed: true, ..TcpOptions::default() };
        assert_eq!(options, want, "{bad:?}");
    }
    // Not reached behind it.
    let options = TcpOptions::parse(&[77, 0, 3, 3, 9, 0, 0, 0]);
    assert_eq!((options.window_scale, options.malformed), (None, true));
}

#[test]
fn wrong_lengths_for_the_kind_are_ignored() {
    for wrong in [
        &[2, 3, 5][..],
        &[2, 5, 5, 0xb4, 0],
        &[3, 2],
        &[3, 4, 7, 7],
        &[4, 3, 0],
        &[5, 2],
        &[5, 9, 0, 0, 0, 1, 0, 0, 0],
        &[5, 11, 0, 0, 0, 1, 0, 0, 0, 2, 0],
        &[8, 9, 0, 0, 0, 0, 0, 0, 0],
        &[8, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[19, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[28, 3, 0],
        &[29, 3, 0],
        &[34, 3, 0],
        &[34, 4, 0, 0],
        &[34, 7, 0, 0, 0, 0, 0],
    ] {
        let mut bytes = wrong.to_vec();
        bytes.extend_from_slice(&[28, 4, 0, 5]);
        let options = TcpOptions::parse(&bytes);
        let want = TcpOptions { user_timeout: Some(5), unknown: 1, ..TcpOptions::default() };
        assert_eq!(options, want, "{wrong:?}");
    }
}

#[test]
fn end_of_list_ends() {
    let options = TcpOptions::parse(&[3, 3, 9, 0, 2, 4, 5, 0xb4, 2, 0]);
    assert_eq!((options.window_scale, options.mss, options.malformed), (Some(9), None, false));
}

#[test]
fn the_last_of_two_counts() {
    let options = TcpOptions::parse(&[2, 4, 1, 2, 2, 4, 3, 4]);
    assert_eq!(options.mss, Some(0x0304));
    let mut bytes = [5, 18].to_vec();
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&[5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(TcpOptions::parse(&bytes).sack, blocks(&[(1, 2)]));
}

/// RFC 7413 section 4.1.1, and the form used before it had a number of its own.
#[test]
fn fast_open_cookies() {
    for len in 0..=18 {
        let cookie: Vec<u8> = (1..=len).collect();
        let valid = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
        let option = FastOpen::new(&cookie);
        assert_eq!(option.is_some(), valid, "{len}");
        let Some(option) = option else { continue };
        assert_eq!(option.cookie(), &cookie[..]);
        for experimental in [false, true] {
            let options =
                TcpOptions { fast_open: Some(FastOpen { experimental, ..option }), ..TcpOptions::default() };
            let bytes = emitted(&options);
            let head =
                if experimental { [254, len + 4, 0xf9, 0x89].to_vec() } else { [34, len + 2].to_vec() };
            assert_eq!(bytes[..head.len()], head);
            assert_eq!(TcpOptions::parse(&bytes), options);
        }
    }
    let shown = format!("{:?}", FastOpen::new(&[1, 2, 3, 4]).unwrap());
    assert_eq!(shown, "FastOpen { cookie: [1, 2, 3, 4], experimental: false }");
}

/// RFC 5925 section 2.2: key numbers, and the MAC to be filled in.
#[test]
fn authentication() {
    let bytes = [2, 4, 5, 0xb4, 29, 16, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let options = TcpOptions::parse(&bytes);
    let ao = options.ao.unwrap();
    assert_eq!((ao.key_id, ao.rnext_key_id, ao.mac_offset, ao.mac_len), (3, 4, 8, 12));
    assert_eq!(ao.mac(&bytes), &bytes[8..]);
    assert!(ao.mac(&bytes[..19]).is_empty());
    let out = emitted(&options);
    assert_eq!(out[..4], [29, 16, 3, 4]);
    assert_eq!(out[EMITTED_MAC_OFFSET..16], [0; 12]);
    assert_eq!(out[16..], bytes[..4]);
    let odd = TcpOptions { ao: Some(AuthOption { mac_len: 13, ..ao }), ..TcpOptions::default() };
    assert_eq!(emitted(&odd)[16..], [0, 1, 1, 1]);
    let longest = TcpOptions { ao: Some(AuthOption { mac_len: 36, ..ao }), ..TcpOptions::default() };
    assert_eq!(emitted(&longest).len(), 40);
    let too_long = TcpOptions { ao: Some(AuthOption { mac_len: 37, ..ao }), ..TcpOptions::default() };
    assert_eq!(emitted(&too_long), []);
}

#[test]
fn other_kinds() {
    let options = TcpOptions::parse(&[28, 4, 0x80, 5, 30, 4, 0, 0x81]);
    assert_eq!((options.user_timeout, options.mptcp, options.unknown), (Some(0x8005), true, 0));
    assert_eq!(emitted(&options), [28, 4, 0x80, 5]);
}

#[test]
fn padding_of_each_option() {
    let scale = TcpOptions { window_scale: Some(14), ..TcpOptions::default() };
    assert_eq!(emitted(&scale), [1, 3, 3, 14]);
    let permitted = TcpOptions { sack_permitted: true, ..TcpOptions::default() };
    assert_eq!(emitted(&permitted), [1, 1, 4, 2]);
    let mss = TcpOptions { mss: Some(0x0102), ..TcpOptions::default() };
    assert_eq!(emitted(&mss), [2, 4, 1, 2]);
    let sack = TcpOptions { sack: blocks(&[(0x0102_0304, 0x0506_0708)]), ..TcpOptions::default() };
    assert_eq!(emitted(&sack), [1, 1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    let both = TcpOptions { timestamps: Some((1, 2)), sack_permitted: true, ..TcpOptions::default() };
    assert_eq!(emitted(&both), [4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
}

#[test]
fn what_does_not_fit_is_left_out() {
    let full = TcpOptions {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((1, 2)),
        md5: Some([7; 16]),
        sack: blocks(&[(1, 2)]),
        ..TcpOptions::default()
    };
    // MD5 20, MSS 4, timestamps with SACK permitted 12, window scale 4: no room for blocks.
    let bytes = emitted(&full);
    assert_eq!(bytes.len(), 40);
    assert_eq!(TcpOptions::parse(&bytes), TcpOptions { sack: SackBlocks::new(), ..full });
    // One byte more and SACK permitted needs its own place, which there is not.
    let ao = Some(AuthOption { key_id: 1, rnext_key_id: 2, mac_offset: 4, mac_len: 28 });
    let tight = TcpOptions { ao, timestamps: Some((1, 2)), sack_permitted: true, ..TcpOptions::default() };
    let bytes = emitted(&tight);
    assert_eq!(TcpOptions::parse(&bytes), TcpOptions { timestamps: None, ..tight });
}

#[test]
fn sack_blocks() {
    let mut list = blocks(&[(1, 2), (3, 4), (5, 6), (7, 8)]);
    assert!(!list.push(9, 10));
    assert_eq!((list.len(), list.is_empty()), (4, false));
    assert_eq!(list.iter().collect::<Vec<_>>(), (&list).into_iter().collect::<Vec<_>>());
    assert_eq!(format!("{list:?}"), "[(1, 2), (3, 4), (5, 6), (7, 8)]");
    list.truncate(9);
    assert_eq!(list.len(), 4);
    list.truncate(1);
    assert_eq!(list, blocks(&[(1, 2)]));
    list.truncate(0);
    assert_eq!(list, SackBlocks::default());
    assert!(list.is_empty());
}

#[test]
fn raw_options() {
    let bytes = [2, 4, 5, 0xb4, 1, 4, 2, 0, 3, 3, 7];
    let kinds: Vec<_> = RawOptions::new(&bytes).map(|option| (option.kind, option.data)).collect();
    assert_eq!(kinds, [(2, &[5, 0xb4][..]), (1, &[]), (4, &[]), (0, &[])]);
    let mut bad = RawOptions::new(&[1, 9, 1]);
    assert_eq!(bad.next().map(|option| option.kind), Some(1));
    assert!(!bad.is_malformed());
    assert_eq!(bad.next(), None);
    assert!(bad.is_malformed());
    assert_eq!(bad.next(), None);
}

/// RFC 9768 3.2.3, figure 4 and table 5: both orders, and counters left out at the end.
#[test]
fn acc_ecn_in_both_orders_and_all_lengths() {
    let counters = [0x01_0203, 0x04_0506, 0x07_0809];
    let with = |ect1_first, len| {
        let acc_ecn = Some(AccEcn::new(ect1_first, counters, len));
        TcpOptions { acc_ecn, ..TcpOptions::default() }
    };
    assert_eq!(emitted(&with(false, 3)), [172, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1]);
    assert_eq!(emitted(&with(true, 3)), [174, 11, 7, 8, 9, 4, 5, 6, 1, 2, 3, 1]);
    assert_eq!(emitted(&with(true, 2)), [174, 8, 7, 8, 9, 4, 5, 6]);
    assert_eq!(emitted(&with(false, 1)), [172, 5, 1, 2, 3, 1, 1, 1]);
    assert_eq!(emitted(&with(true, 0)), [174, 2, 1, 1]);
    for ect1_first in [false, true] {
        for len in 0..=3 {
            let options = with(ect1_first, len);
            assert_eq!(TcpOptions::parse(&emitted(&options)), options);
            let read = options.acc_ecn.unwrap();
            let (first, last) =
                if ect1_first { (read.ect1(), read.ect0()) } else { (read.ect0(), read.ect1()) };
            assert_eq!((first.is_some(), read.ce().is_some(), last.is_some()), (len > 0, len > 1, len > 2));
        }
    }
}

/// RFC 9768 3.2.3: of any other length as many whole counters count as are there.
#[test]
fn acc_ecn_of_an_odd_length_is_read_as_far_as_it_goes() {
    let read = |bytes: &[u8]| TcpOptions::parse(bytes).acc_ecn.unwrap();
    let odd = read(&[172, 7, 0, 0, 1, 9, 9]);
    assert_eq!((odd.ect0(), odd.ce(), odd.len()), (Some(1), None, 1));
    let long = read(&[174, 14, 0, 0, 1, 0, 0, 2, 0, 0, 3, 9, 9, 9]);
    assert_eq!((long.ect1(), long.ce(), long.ect0()), (Some(1), Some(2), Some(3)));
    assert!(read(&[174, 2]).is_empty());
}

/// As Linux writes it: what is over of a short option stands in the padding of the SACK option.
#[test]
fn short_acc_ecn_shares_words_with_sack() {
    let with = |len, blocks_: &[(u32, u32)]| TcpOptions {
        acc_ecn: Some(AccEcn::new(true, [1, 0, 1], len)),
        sack: blocks(blocks_),
        timestamps: Some((1, 2)),
        ..TcpOptions::default()
    };
    let one = emitted(&with(1, &[(1, 2), (3, 4)]));
    assert_eq!((one.len(), &one[12..20]), (36, &[174, 5, 0, 0, 1, 1, 5, 18][..]));
    let none = emitted(&with(0, &[(1, 2), (3, 4)]));
    assert_eq!((none.len(), &none[12..16]), (32, &[174, 2, 5, 18][..]));
    let all = emitted(&with(3, &[(1, 2), (3, 4)]));
    assert_eq!((all.len(), &all[23..28]), (36, &[1, 1, 1, 5, 10][..]), "one block is left out");
    // Nothing is left for blocks: the option is padded by itself, within 40 bytes.
    let full = TcpOptions { md5: Some([7; 16]), ..with(1, &[(1, 2)]) };
    assert_eq!(emitted(&full).len(), 40);
}

/// The usual options of a SYN are read and written at one go, and come to what they come to one by one; whatever bit of them is
/// another.
#[test]
fn the_usual_options_of_a_syn() {
    let usual = options_of(samples::SYN_V4);
    assert_eq!(usual.len(), SYN_LEN);
    for bit in 0..=usual.len() * 8 {
        let mut bytes = usual.clone();
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        let mut options = TcpOptions::default();
        options.walk(&bytes);
        assert_eq!(TcpOptions::parse(&bytes), options, "bit {bit}");
        let rewritten = TcpOptions::parse(&emitted(&options));
        assert_eq!((rewritten.mss, rewritten.timestamps), (options.mss, options.timestamps), "bit {bit}");
    }
    let options = TcpOptions::parse(&usual);
    for more in [
        TcpOptions { user_timeout: Some(7), ..options },
        TcpOptions { fast_open: Some(FastOpen::request()), ..options },
        TcpOptions { acc_ecn: Some(AccEcn::new(true, [1, 2, 3], 3)), ..options },
        TcpOptions { sack: blocks(&[(1, 2)]), ..options },
        TcpOptions { md5: Some([7; 16]), timestamps: None, ..options },
        TcpOptions { sack_permitted: false, ..options },
    ] {
        assert_eq!(TcpOptions::parse(&emitted(&more)), more);
    }
}
