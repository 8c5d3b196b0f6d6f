use super::*;

fn lent(bytes: &[u8]) -> Payload<'_> {
    Payload { bytes, owner: None }
}

fn stream(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn read_all(queue: &mut RecvQueue, pool: &mut Pool) -> Vec<u8> {
    let mut out = alloc::vec![0; queue.len()];
    let n = queue.read(pool, &mut out, Pos::MAX, false);
    out.truncate(n);
    out
}

/// RFC 9293 SHLD-31: segments out of order are kept, and delivered once the gap is filled.
#[test]
fn a_gap_holds_back_what_follows_it() {
    let (mut pool, mut queue, data) = (Pool::default(), RecvQueue::new(1), stream(300));
    assert_eq!(queue.insert(&mut pool, 101, lent(&data[100..200]), 1 << 20, &mut None), Inserted::OutOfOrder);
    assert_eq!(queue.insert(&mut pool, 201, lent(&data[200..300]), 1 << 20, &mut None), Inserted::OutOfOrder);
    assert_eq!((queue.len(), queue.sack_blocks()), (0, &[(101, 301)][..]));
    assert_eq!(queue.insert(&mut pool, 1, lent(&data[..100]), 1 << 20, &mut None), Inserted::FilledGap);
    assert!(!queue.has_gap());
    assert_eq!(read_all(&mut queue, &mut pool), data);
}

/// RFC 2018 4: the first block holds the segment that came last.
#[test]
fn the_latest_block_is_reported_first() {
    let (mut pool, mut queue, data) = (Pool::default(), RecvQueue::new(1), stream(1000));
    for at in [900, 700, 500, 300, 100] {
        queue.insert(&mut pool, 1 + at as Pos, lent(&data[at..at + 50]), 1 << 20, &mut None);
    }
    assert_eq!(queue.sack_blocks(), [(101, 151), (301, 351), (501, 551), (701, 751)]);
    queue.insert(&mut pool, 551, lent(&data[550..560]), 1 << 20, &mut None);
    assert_eq!(queue.sack_blocks()[0], (501, 561));
}

/// However segments overlap and in whatever order they come, the stream is whole and the first copy counts.
#[test]
fn overlaps_in_any_order_give_the_stream() {
    let data = stream(5_000);
    for seed in 0..200u64 {
        let (mut pool, mut queue) = (Pool::default(), RecvQueue::new(1));
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut got = Vec::new();
        for _ in 0..400 {
            let start = random(data.len());
            let end = (start + 1 + random(400)).min(data.len());
            queue.insert(&mut pool, 1 + start as Pos, lent(&data[start..end]), 1 << 20, &mut None);
            got.extend(read_all(&mut queue, &mut pool));
        }
        queue.insert(&mut pool, 1, lent(&data), 1 << 20, &mut None);
        got.extend(read_all(&mut queue, &mut pool));
        assert_eq!(got, data, "seed {seed}");
        assert!(!queue.has_gap(), "seed {seed}");
    }
}

/// One-byte segments with gaps meet the limit long before they fill memory (SegmentSmack).
#[test]
fn scattered_bytes_are_bounded() {
    let (mut pool, mut queue) = (Pool::default(), RecvQueue::new(1));
    let limit = 256 << 10;
    for at in (2..65_000).step_by(2) {
        queue.insert(&mut pool, at, lent(b"x"), limit, &mut None);
    }
    assert!(queue.memory() <= limit + 4096, "{} bytes", queue.memory());
}

/// A large shared packet is kept without a copy, a small one does not pin it.
#[test]
fn shared_payload_is_kept_only_where_it_fills_its_owner() {
    let (mut pool, mut queue) = (Pool::default(), RecvQueue::new(1));
    let owner = Bytes::from(stream(64 << 10));
    queue.insert(&mut pool, 1, Payload { bytes: &owner[..60_000], owner: Some(&owner) }, 1 << 20, &mut None);
    assert!(matches!(queue.chunks.front(), Some(Chunk::Shared(_))));
    queue.insert(
        &mut pool,
        60_001,
        Payload { bytes: &owner[60_000..60_001], owner: Some(&owner) },
        1 << 20,
        &mut None,
    );
    assert!(matches!(queue.chunks.back(), Some(Chunk::Compact(_))));
    assert_eq!(read_all(&mut queue, &mut pool), owner[..60_001]);
}

/// Peeking leaves everything where it was.
#[test]
fn peek_does_not_consume() {
    let (mut pool, mut queue, data) = (Pool::default(), RecvQueue::new(1), stream(100));
    queue.insert(&mut pool, 1, lent(&data), 1 << 20, &mut None);
    let mut buf = [0; 40];
    assert_eq!(queue.read(&mut pool, &mut buf, Pos::MAX, true), 40);
    assert_eq!((queue.len(), queue.byte(11)), (100, Some(data[10])));
    assert_eq!(read_all(&mut queue, &mut pool), data);
}

/// What was copied before its segment was looked at is nobody's until it is inserted, and leaves nothing behind if it is not.
#[test]
fn what_is_staged_can_be_taken_or_forgotten() {
    let data = stream(100_000);
    for seed in 1..60u64 {
        let (mut pool, mut queue) = (Pool::default(), RecvQueue::new(1));
        let (mut plain_pool, mut plain) = (Pool::default(), RecvQueue::new(1));
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let (mut at, mut got) = (0, Vec::new());
        while at < data.len() {
            let end = (at + 1 + random(3000)).min(data.len());
            let (pos, payload) = (1 + at as Pos, lent(&data[at..end]));
            if random(3) > 0 && !queue.has_gap() {
                let before = (queue.len(), queue.next(), queue.held());
                let mut sum = Accumulator::new();
                queue.stage(&mut pool, payload.bytes, &mut sum);
                assert_eq!((queue.len(), queue.next(), queue.held()), before);
                assert_eq!(sum.folded(), finack_sum::sum(payload.bytes));
                match random(4) {
                    // Something else was wrong with the segment.
                    0 => queue.unstage(&mut pool),
                    // Only a part of it lies in the window.
                    1 => {
                        let part = payload.trim(0, 1 + random(payload.bytes.len()));
                        queue.insert(&mut pool, pos, part, 1 << 20, &mut None);
                        plain.insert(&mut plain_pool, pos, part, 1 << 20, &mut None);
                    }
                    _ => {}
                }
            }
            let inserted = queue.insert(&mut pool, pos, payload, 1 << 20, &mut None);
            assert_eq!(inserted, plain.insert(&mut plain_pool, pos, payload, 1 << 20, &mut None));
            queue.unstage(&mut pool);
            assert_eq!((queue.len(), queue.memory()), (plain.len(), plain.memory()));
            at = end;
            if random(4) == 0 {
                let most = random(40_000);
                let mut buf = alloc::vec![0; most];
                let count = queue.read(&mut pool, &mut buf, Pos::MAX, false);
                let mut other = alloc::vec![0; most];
                assert_eq!(plain.read(&mut plain_pool, &mut other, Pos::MAX, false), count);
                assert_eq!(buf[..count], other[..count]);
                got.extend_from_slice(&buf[..count]);
            }
        }
        got.extend(read_all(&mut queue, &mut pool));
        assert_eq!(got, data, "seed {seed}");
    }
}
