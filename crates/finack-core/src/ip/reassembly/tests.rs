use super::*;
use alloc::vec;
use finack_wire::ip::{self, IpEmit};
use proptest::prelude::*;

const LIMITS: Limits = Limits { memory: 4 << 20, timeout: Duration::from_secs(30) };

fn emit(src: &str, dst: &str, payload_len: usize) -> IpEmit {
    IpEmit {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: protocol::UDP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: false,
        payload_len,
    }
}

fn v4(payload_len: usize) -> IpEmit {
    emit("10.0.0.2", "10.0.0.1", payload_len)
}

fn v6(payload_len: usize) -> IpEmit {
    emit("fd00::2", "fd00::1", payload_len)
}

fn fragment_of(header: &IpEmit, id: u32, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; header.fragment_header_len()];
    let header = IpEmit { payload_len: payload.len(), ..*header };
    header.emit_fragment(&Fragment { id, offset: offset as u32, more }, &mut packet);
    packet.extend_from_slice(payload);
    packet
}

fn whole(header: &IpEmit, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; header.header_len()];
    header.emit(&mut packet);
    packet.extend_from_slice(payload);
    packet
}

fn cut(header: &IpEmit, id: u32, payload: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let header = IpEmit { payload_len: payload.len(), ..*header };
    header
        .fragments(mtu)
        .map(|p| fragment_of(&header, id, p.offset, p.more, &payload[p.offset..p.offset + p.len]))
        .collect()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

fn feed(r: &mut Reassembler, packet: &[u8]) -> Result<Option<Vec<u8>>, DropReason> {
    let header = ip::parse(packet).expect("a fragment that parses");
    r.insert(Instant::ZERO, &header, packet, LIMITS)
}

const REJECTED: Result<Option<Vec<u8>>, DropReason> = Err(DropReason::FragmentRejected);

#[test]
fn rfc791_a_datagram_is_the_same_as_if_it_had_never_been_cut() {
    for header in [v4(3000), v6(3000)] {
        let payload = bytes(3000);
        let mut r = Reassembler::default();
        let mut fragments = cut(&header, 0, &payload, 1280);
        let last = fragments.remove(1);
        for f in fragments.iter().rev() {
            assert_eq!(feed(&mut r, f), Ok(None));
        }
        assert_eq!(feed(&mut r, &last), Ok(Some(whole(&header, &payload))));
        assert_eq!((r.memory(), r.next_timeout()), (0, None));
    }
}

#[test]
fn rfc8200_extension_headers_before_the_fragment_header_stay() {
    // Destination options (8 bytes of padding) between the IPv6 header and the fragment header.
    let payload = bytes(64);
    let with_options = |fragment: Vec<u8>| {
        let mut packet = fragment[..40].to_vec();
        let len = u16::from_be_bytes([packet[4], packet[5]]) + 8;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        packet[6] = protocol::DEST_OPTS;
        packet.extend_from_slice(&[protocol::IPV6_FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
        packet.extend_from_slice(&fragment[40..]);
        packet
    };
    let mut r = Reassembler::default();
    let first = with_options(fragment_of(&v6(64), 9, 0, true, &payload[..32]));
    let second = with_options(fragment_of(&v6(64), 9, 32, false, &payload[32..]));
    assert_eq!(feed(&mut r, &second), Ok(None));
    let packet = feed(&mut r, &first).unwrap().unwrap();
    let header = ip::parse(&packet).unwrap();
    assert_eq!((header.protocol, header.fragment, header.payload_len), (protocol::UDP, None, 64));
    assert_eq!(header.payload(&packet), payload);
}

#[test]
fn rfc791_datagrams_are_told_apart_by_source_destination_protocol_and_id() {
    let mut r = Reassembler::default();
    let headers = [
        (v4(16), 1),
        (v4(16), 2),
        (emit("10.0.0.3", "10.0.0.1", 16), 1),
        (emit("10.0.0.2", "10.0.0.9", 16), 1),
        (IpEmit { protocol: 200, ..v4(16) }, 1),
    ];
    for (h, id) in &headers {
        assert_eq!(feed(&mut r, &fragment_of(h, *id, 0, true, &[1; 8])), Ok(None));
    }
    for (h, id) in &headers {
        let mut expected = whole(h, &[1; 8]);
        expected.extend_from_slice(&[2; 8]);
        assert_eq!(feed(&mut r, &fragment_of(h, *id, 8, false, &[2; 8])).unwrap().map(|p| p.len()), Some(36));
    }
}

#[test]
fn rfc5722_overlapping_fragments_discard_the_whole_datagram_and_what_still_comes_of_it() {
    let mut r = Reassembler::default();
    assert_eq!(feed(&mut r, &fragment_of(&v6(0), 1, 0, true, &[1; 64])), Ok(None));
    assert_eq!(feed(&mut r, &fragment_of(&v6(0), 1, 56, true, &[2; 16])), REJECTED);
    assert_eq!(feed(&mut r, &fragment_of(&v6(0), 1, 0, true, &[1; 64])), REJECTED);
    assert_eq!(feed(&mut r, &fragment_of(&v6(0), 1, 64, false, &[1; 8])), REJECTED);
    // Once its time is over the identification is free again.
    assert_eq!(r.expire(Instant::from_secs(30)).map(|e| e.first), Some(None));
    assert_eq!(feed(&mut r, &fragment_of(&v6(0), 1, 0, true, &[1; 64])), Ok(None));
}

#[test]
fn teardrop_fragments_within_fragments_are_rejected() {
    let mut r = Reassembler::default();
    assert_eq!(feed(&mut r, &fragment_of(&v4(0), 1, 0, true, &[0; 40])), Ok(None));
    assert_eq!(feed(&mut r, &fragment_of(&v4(0), 1, 24, false, &[0; 4])), REJECTED);
    assert_eq!(r.memory(), 0);
    // The same, the inner one first.
    assert_eq!(feed(&mut r, &fragment_of(&v4(0), 1, 24, false, &[0; 4])), Ok(None));
    assert_eq!(feed(&mut r, &fragment_of(&v4(0), 1, 0, true, &[0; 40])), REJECTED);
    assert_eq!(r.memory(), 0);
}

#[test]
fn rfc8200_4_5_exact_duplicates_do_no_harm() {
    let (mut r, payload) = (Reassembler::default(), bytes(300));
    let fragments = cut(&v6(300), 5, &payload, 148);
    for f in &fragments[..fragments.len() - 1] {
        assert_eq!(feed(&mut r, f), Ok(None));
        let memory = r.memory();
        assert_eq!(feed(&mut r, f), Ok(None));
        assert_eq!(r.memory(), memory);
    }
    assert_eq!(feed(&mut r, fragments.last().unwrap()), Ok(Some(whole(&v6(300), &payload))));
}

#[test]
fn a_duplicate_with_other_bytes_is_an_overlap() {
    let mut r = Reassembler::default();
    assert_eq!(feed(&mut r, &fragment_of(&v6(0), 5, 0, true, &[1; 64])), Ok(None));
    assert_eq!(feed(&mut r, &fragment_of(&v6(0), 5, 0, true, &[2; 64])), REJECTED);
}

#[test]
fn fragments_that_disagree_on_the_end_are_rejected() {
    let conflicts: [&[(usize, bool, usize)]; 4] = [
        &[(16, false, 4), (24, false, 4)],
        &[(16, false, 4), (24, true, 8)],
        &[(32, true, 8), (16, false, 4)],
        &[(16, false, 8), (16, true, 8)],
    ];
    for conflict in conflicts {
        let mut r = Reassembler::default();
        let mut feed_one = |&(offset, more, len): &(usize, bool, usize)| {
            feed(&mut r, &fragment_of(&v4(0), 1, offset, more, &vec![0; len]))
        };
        assert_eq!(feed_one(&conflict[0]), Ok(None));
        assert_eq!(feed_one(&conflict[1]), REJECTED, "{conflict:?}");
    }
}

#[test]
fn ping_of_death_cannot_be_put_together() {
    let mut r = Reassembler::default();
    // IPv4: header and payload together beyond 65535; the parser stops what it can see by itself.
    let last = fragment_of(&v4(0), 1, 65_512, false, &[0; 8]);
    match ip::parse(&last) {
        Ok(header) => assert_eq!(r.insert(Instant::ZERO, &header, &last, LIMITS), REJECTED),
        Err(e) => assert!(e.problem().is_some()),
    }
    // A first fragment with options makes the whole longer than each other fragment shows.
    for offset in (0..65_504usize).step_by(1432) {
        let len = 1432.min(65_504 - offset);
        let more = offset + len < 65_504;
        let mut f = fragment_of(&v4(0), 2, offset, more, &vec![0; len]);
        if offset == 0 {
            f[0] = 0x4a;
            f.splice(20..20, [1; 20]);
            let total = f.len() as u16;
            f[2..4].copy_from_slice(&total.to_be_bytes());
            f[10..12].fill(0);
            let sum = !finack_sum::sum(&f[..40]);
            f[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let got = feed(&mut r, &f);
        assert_eq!(got, if more { Ok(None) } else { REJECTED });
    }
    assert_eq!(r.memory(), 0);
}

#[test]
fn rfc1858_tiny_and_overlapping_tcp_fragments_are_rejected() {
    let tcp = IpEmit { protocol: protocol::TCP, ..v4(0) };
    let mut r = Reassembler::default();
    assert_eq!(feed(&mut r, &fragment_of(&tcp, 1, 0, true, &[0; 8])), REJECTED, "TMIN");
    assert_eq!(feed(&mut r, &fragment_of(&tcp, 1, 8, true, &[0; 24])), REJECTED, "FO = 1");
    assert_eq!(feed(&mut r, &fragment_of(&tcp, 1, 0, true, &[0; 16])), Ok(None));
    assert_eq!(feed(&mut r, &fragment_of(&v4(0), 1, 8, true, &[0; 24])), Ok(None), "UDP may");
}

#[test]
fn empty_fragments_are_rejected() {
    let mut r = Reassembler::default();
    assert_eq!(feed(&mut r, &fragment_of(&v4(0), 1, 8, false, &[])), REJECTED);
    assert_eq!(r.memory(), 0);
}

#[test]
fn rfc3168_5_3_ecn_of_fragments_is_combined() {
    let (not, ect1, ect0, ce) = (0, 1, 2, 3);
    let combine = |header: IpEmit, a: u8, b: u8| {
        let mut r = Reassembler::default();
        let at = |tos| IpEmit { tos, ..header };
        assert_eq!(feed(&mut r, &fragment_of(&at(a), 1, 0, true, &[0; 16])), Ok(None));
        let packet = feed(&mut r, &fragment_of(&at(b), 1, 16, false, &[0; 16])).ok()??;
        Some(ip::parse(&packet).expect("a good header").tos)
    };
    for header in [v4(0), v6(0)] {
        assert_eq!(combine(header, ect0, ce), Some(ce));
        assert_eq!(combine(header, ce, ect1), Some(ce));
        assert_eq!(combine(header, 0xb8 | ect0, 0xb8 | ect0), Some(0xb8 | ect0));
        assert_eq!(combine(header, not, not), Some(not));
        assert_eq!(combine(header, not, ce), None, "MUST NOT be delivered as if nothing had happened");
        assert_eq!(combine(header, ect0, not), None);
        assert_eq!(combine(header, ect1, ect0), Some(ect1));
    }
}

#[test]
fn rfc1122_3_3_2_after_the_timeout_the_datagram_goes_and_its_first_fragment_tells_whose_it_was() {
    let mut r = Reassembler::default();
    let first = fragment_of(&v4(0), 1, 0, true, &[7; 64]);
    assert_eq!(feed(&mut r, &first), Ok(None));
    assert_eq!(feed(&mut r, &fragment_of(&v4(0), 2, 64, false, &[8; 64])), Ok(None));
    assert_eq!(r.next_timeout(), Some(Instant::from_secs(30)));
    assert_eq!(r.expire(Instant::from_millis(29_999)), None);
    let expired = r.expire(Instant::from_secs(30)).unwrap();
    let quoted = ip::parse(expired.first.as_deref().unwrap()).unwrap();
    assert_eq!((quoted.src, quoted.payload_len, expired.len), (v4(0).src, 64, 64));
    // Fragment zero of the other never came: nothing to report.
    assert_eq!(r.expire(Instant::from_secs(30)).map(|e| e.first), Some(None));
    assert_eq!(r.expire(Instant::from_secs(30)), None);
    assert_eq!((r.memory(), r.next_timeout()), (0, None));
}

#[test]
fn a_flood_of_fragments_keeps_memory_flat_and_does_not_cost_others_their_datagrams() {
    let limits = Limits { memory: 256 << 10, ..LIMITS };
    let mut r = Reassembler::default();
    let feed = |r: &mut Reassembler, packet: &[u8]| {
        let header = ip::parse(packet).unwrap();
        r.insert(Instant::ZERO, &header, packet, limits)
    };
    let victim = emit("10.0.0.7", "10.0.0.1", 0);
    assert_eq!(feed(&mut r, &fragment_of(&victim, 1, 0, true, &[1; 1024])), Ok(None));
    for id in 0..65_536 {
        let _ = feed(&mut r, &fragment_of(&v4(0), id, 8 * (id as usize % 1000), true, &[0; 1024]));
        assert!(r.memory() <= limits.memory);
    }
    assert!(r.take_gave_way() > 60_000);
    let done = feed(&mut r, &fragment_of(&victim, 1, 1024, false, &[1; 8]));
    assert!(done.unwrap().is_some(), "the victim's datagram survived the flood");
}

#[test]
fn many_overlapping_fragments_of_64_k_keep_memory_flat() {
    let mut r = Reassembler::default();
    for n in 0..65_536usize {
        let f = fragment_of(&v6(0), (n % 16) as u32, (n % 60_000) & !7, true, &[n as u8; 1200]);
        let _ = feed(&mut r, &f);
        assert!(r.memory() <= 16 * (65_536 + 512 + 60 * 64), "{}", r.memory());
    }
}

#[test]
fn a_bound_of_zero_switches_reassembly_off() {
    let mut r = Reassembler::default();
    let f = fragment_of(&v4(0), 1, 0, true, &[0; 8]);
    let limits = Limits { memory: 0, ..LIMITS };
    assert_eq!(r.insert(Instant::ZERO, &ip::parse(&f).unwrap(), &f, limits), REJECTED);
}

proptest! {
    #![proptest_config(crate::testing::cases(200))]

    /// Any cut, order and duplication gives the datagram that was cut, once.
    #[test]
    fn any_order_with_duplicates_gives_the_datagram(
        is_v6 in any::<bool>(),
        len in 9usize..6000,
        mtu in 1280usize..1600,
        order in proptest::collection::vec(any::<u16>(), 1..40),
    ) {
        let header = IpEmit { ident: 77, ..if is_v6 { v6(len) } else { v4(len) } };
        let payload = bytes(len);
        let fragments = cut(&header, 77, &payload, mtu.min(len - 1 + header.header_len()).max(68));
        prop_assume!(fragments.len() > 1);
        let mut r = Reassembler::default();
        let mut left: BTreeSet<usize> = (0..fragments.len()).collect();
        let picks = order.iter().map(|o| usize::from(*o) % fragments.len()).chain(0..fragments.len());
        for pick in picks {
            left.remove(&pick);
            let got = feed(&mut r, &fragments[pick]);
            if left.is_empty() {
                prop_assert_eq!(got, Ok(Some(whole(&header, &payload))));
                prop_assert_eq!(r.memory(), 0);
                return Ok(());
            }
            prop_assert_eq!(got, Ok(None));
        }
    }

    /// Whatever comes, the books balance and nothing panics.
    #[test]
    fn hostile_fragments_keep_the_bound(
        fragments in proptest::collection::vec(
            (any::<bool>(), 0u32..4, 0usize..8191, any::<bool>(), 0usize..40, any::<u8>(), 0u8..4), 0..200),
        limit in 600usize..8000,
    ) {
        let mut r = Reassembler::default();
        for (i, (is_v6, id, offset, more, len, fill, tos)) in fragments.into_iter().enumerate() {
            let header = IpEmit { tos, ..if is_v6 { v6(0) } else { v4(0) } };
            let len = if more { len * 8 } else { len };
            let packet = fragment_of(&header, id, offset % 30 * 8, more, &vec![fill; len]);
            let Ok(parsed) = ip::parse(&packet) else { continue };
            let now = Instant::from_secs(i as u64);
            while r.expire(now).is_some() {}
            let limits = Limits { memory: limit, ..LIMITS };
            if let Ok(Some(whole)) = r.insert(now, &parsed, &packet, limits) {
                let header = ip::parse(&whole).unwrap();
                prop_assert_eq!(header.fragment, None);
                prop_assert_eq!(header.total_len(), whole.len());
            }
            prop_assert!(r.memory() <= limit);
        }
        while r.expire(Instant::FAR_FUTURE).is_some() {}
        prop_assert_eq!(r.memory(), 0);
        prop_assert!(r.costs.is_empty() && r.heaviest.is_empty() && r.by_source.is_empty() && r.numbers.is_empty());
    }
}
