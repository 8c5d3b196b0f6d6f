use super::*;
use crate::tcp::send::{AckSummary, Marks, Sent};
use crate::time::Instant;

const MSS: u64 = 1000;

fn flight(segments: i64) -> RetransmitQueue {
    let mut queue = RetransmitQueue::default();
    queue.push(Sent {
        start: 1,
        end: 1 + segments * MSS as i64,
        marks: Marks::default(),
        sent_at: Instant::ZERO,
        delivered: 0,
        delivered_at: Instant::ZERO,
        first_sent_at: Instant::ZERO,
        app_limited: false,
    });
    queue
}

fn ack(una: Pos, acked: u64, duplicate: bool, sack: bool) -> AckEvent {
    AckEvent { una, nxt: 10_001, acked, newly_sacked: 0, duplicate, sack, mss: MSS, reordering: 3 }
}

/// RFC 5681 3.2: two duplicates are reordering, the third is a loss of exactly one segment.
#[test]
fn the_third_duplicate_loses_the_first_segment() {
    let (mut queue, mut recovery) = (flight(10), Recovery::new());
    for _ in 0..2 {
        assert_eq!(recovery.on_ack(&mut queue, &ack(1, 0, true, false)), Verdict::Nothing);
    }
    assert_eq!(recovery.on_ack(&mut queue, &ack(1, 0, true, false)), Verdict::Entered);
    assert_eq!(queue.first_lost_run(MSS).map(|u| (u.start, u.end)), Some((1, 1001)));
}

/// RFC 6582 3.2: a partial ACK loses the next segment at once and does not end recovery; a full one does.
#[test]
fn a_partial_ack_loses_the_next_segment() {
    let (mut queue, mut recovery) = (flight(10), Recovery::new());
    for _ in 0..3 {
        recovery.on_ack(&mut queue, &ack(1, 0, true, false));
    }
    queue.resent(1, 1001, Instant::ZERO);
    queue.acknowledge(4001, &mut AckSummary::default());
    assert_eq!(recovery.on_ack(&mut queue, &ack(4001, 4000, false, false)), Verdict::Nothing);
    assert_eq!(queue.first_lost_run(MSS).map(|u| (u.start, u.end)), Some((4001, 5001)));
    queue.acknowledge(10_001, &mut AckSummary::default());
    assert_eq!(recovery.on_ack(&mut queue, &ack(10_001, 6000, false, false)), Verdict::Left);
}

/// RFC 6675 4: three SACKed segments above a hole lose the hole and nothing else.
#[test]
fn three_sacked_segments_lose_the_hole_below() {
    let (mut queue, mut recovery) = (flight(10), Recovery::new());
    for end in [3001, 4001] {
        queue.sack(2001, end, MSS, &mut AckSummary::default());
        assert_eq!(recovery.on_ack(&mut queue, &ack(1, 0, true, true)), Verdict::Nothing);
    }
    queue.sack(2001, 5001, MSS, &mut AckSummary::default());
    assert_eq!(recovery.on_ack(&mut queue, &ack(1, 0, true, true)), Verdict::Entered);
    assert_eq!((queue.lost(), queue.first_lost_run(MSS).map(|u| u.end)), (2000, Some(2001)));
}

/// RFC 2018 8: the SACKed front of the queue after a time-out shows a peer that reneged.
#[test]
fn a_time_out_with_a_sacked_front_is_reneging() {
    let (mut queue, mut recovery) = (flight(10), Recovery::new());
    queue.sack(1, 2001, MSS, &mut AckSummary::default());
    assert!(recovery.on_timeout(&mut queue, 10_001));
    assert_eq!((queue.lost(), queue.sacked()), (10_000, 0));
}
