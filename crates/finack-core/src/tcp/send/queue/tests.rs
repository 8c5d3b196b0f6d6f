use super::*;
use crate::pool::Pool;
use crate::tcp::send::RetransmitQueue;

fn queue(units: &[(Pos, Pos)]) -> RetransmitQueue {
    let mut queue = RetransmitQueue::default();
    for (i, &(start, end)) in units.iter().enumerate() {
        queue.push(
            &mut Pool::default(),
            Sent::new(start, end, Marks::default(), &sent_at(Instant::from_millis(i as u64))),
        );
    }
    queue
}

fn marked(queue: &RetransmitQueue, mark: Marks) -> alloc::vec::Vec<(Pos, Pos)> {
    queue.units.iter().filter(|u| u.marks.has(mark)).map(|u| (u.start, u.end)).collect()
}

/// A unit of several segments is split where a SACK block begins and ends (RFC 2018).
#[test]
fn a_partial_sack_splits_a_unit() {
    let mut q = queue(&[(1, 1001)]);
    let mut summary = AckSummary::default();
    q.sack(301, 601, 100, &mut summary);
    assert_eq!(marked(&q, Marks::SACKED), [(301, 601)]);
    assert_eq!((q.sacked(), summary.newly_sacked, q.units.len()), (300, 300, 3));
    assert!(q.is_consistent());
}

/// A block that is reported again changes nothing.
#[test]
fn a_repeated_sack_is_no_news() {
    let mut q = queue(&[(1, 1001)]);
    q.sack(301, 601, 100, &mut AckSummary::default());
    let mut summary = AckSummary::default();
    q.sack(301, 601, 100, &mut summary);
    assert_eq!(summary, AckSummary::default());
}

/// However finely a peer cuts its SACK blocks, neighbours are joined: the queue stays small.
#[test]
fn adjacent_sacks_do_not_let_the_queue_grow() {
    let mut q = queue(&[(1, 10_001)]);
    for at in (101..9_000).step_by(10) {
        q.sack(at, at + 10, 100, &mut AckSummary::default());
    }
    assert!(q.units.len() <= 3, "{} units", q.units.len());
    assert!(q.is_consistent());
}

/// RFC 6298 3 (Karn): what was sent twice gives no sample.
#[test]
fn an_ack_of_something_resent_gives_no_sample() {
    let mut q = queue(&[(1, 101), (101, 201)]);
    q.mark_front_lost(100);
    q.resent(1, 101, &sent_at(Instant::from_millis(50)));
    let mut summary = AckSummary::default();
    q.acknowledge(101, &mut summary);
    assert_eq!((summary.acked, summary.rtt_sent_at, summary.retransmitted_acked), (100, None, true));
    q.acknowledge(201, &mut summary);
    assert_eq!(summary.rtt_sent_at, Some(Instant::from_millis(1)));
    assert!(q.is_empty() && q.is_consistent());
}

/// RFC 2018 8: when the peer reneges, all that it had SACKed must be sent again.
#[test]
fn reneging_makes_sacked_data_lost() {
    let mut q = queue(&[(1, 101), (101, 201), (201, 301)]);
    q.sack(101, 201, 100, &mut AckSummary::default());
    q.mark_all_lost(false);
    assert_eq!(q.lost(), 200);
    q.mark_all_lost(true);
    assert_eq!((q.lost(), q.sacked()), (300, 0));
    assert!(q.is_consistent());
}

/// An ACK in the middle of a unit leaves its rest.
#[test]
fn a_partial_ack_trims_a_unit() {
    let mut q = queue(&[(1, 1001)]);
    q.mark_front_lost(500);
    let mut summary = AckSummary::default();
    q.acknowledge(301, &mut summary);
    assert_eq!((summary.acked, q.lost(), q.front().map(|u| u.start)), (300, 200, Some(301)));
    assert!(q.is_consistent());
}

/// A block over many that were reported one by one leaves one unit: the next ACK does not walk through all of them.
#[test]
fn a_wide_sack_joins_what_lies_within() {
    let mut q = queue(&[(1, 100_001)]);
    for at in (1..100_000).step_by(200) {
        q.sack(at, at + 100, 100, &mut AckSummary::default());
    }
    assert_eq!(q.units(), 1000);
    q.sack(10_001, 90_001, 100, &mut AckSummary::default());
    assert_eq!(q.units(), 200);
    assert_eq!(marked(&q, Marks::SACKED)[50], (10_001, 90_101));
    assert!(q.is_consistent());
}

/// Joining stops at the end of a record, where segments must be cut.
#[test]
fn records_stay_apart_when_they_are_reported() {
    let mut q = queue(&[(1, 101), (101, 201), (201, 301)]);
    q.awake().unwrap().units[1].marks = Marks::RECORD_END;
    q.sack(1, 301, 100, &mut AckSummary::default());
    assert_eq!(marked(&q, Marks::SACKED), [(1, 201), (201, 301)]);
}

/// CVE-2019-11478: a peer that reports every other one of very many tiny segments does not make the queue grow without
/// bound; whole units still count.
#[test]
fn a_long_queue_is_not_cut_any_finer() {
    const END: Pos = 3_000_001;
    let mut q = queue(&[(1, END), (END, END + 1000)]);
    for at in (1..END).step_by(96) {
        q.sack(at, at + 48, 48, &mut AckSummary::default());
    }
    assert!(q.units() <= MOST_UNITS + 2, "{}", q.units());
    q.sack(END, END + 1000, 48, &mut AckSummary::default());
    assert_eq!(marked(&q, Marks::SACKED).last(), Some(&(END, END + 1000)));
    assert!(q.is_consistent());
    q.sack(1, END + 1000, 48, &mut AckSummary::default());
    assert_eq!(q.units(), 1);
}

/// What a unit remembers that is sent at `at`, as far as matters here.
fn sent_at(at: Instant) -> SentState {
    SentState {
        sent_at: at,
        delivered: 0,
        delivered_at: Instant::ZERO,
        first_sent_at: Instant::ZERO,
        in_flight: 0,
        lost: 0,
        app_limited: false,
    }
}

/// RFC 8985 6.2 step 2: at one instant the lower position was sent first, and what was sent again before new data. So its
/// delivery says nothing of the new data.
#[test]
fn new_data_is_not_overtaken_by_what_was_sent_again_at_the_same_time() {
    let (then, now) = (Instant::from_millis(50), Instant::from_millis(150));
    let mut q = queue(&[(1, 101), (101, 201)]);
    q.mark_front_lost(100);
    q.resent(1, 101, &sent_at(then));
    q.push(&mut Pool::default(), Sent::new(201, 301, Marks::default(), &sent_at(then)));
    let mut summary = AckSummary { answers_until: now, ..AckSummary::default() };
    q.acknowledge(101, &mut summary);
    let newest = summary.newest.unwrap();
    assert_eq!((newest.at, newest.again), (then, true));
    q.mark_overtaken(&Deadline { newest, patience: Duration::from_millis(100), now });
    assert_eq!(marked(&q, Marks::LOST), [(101, 201)]);
}
