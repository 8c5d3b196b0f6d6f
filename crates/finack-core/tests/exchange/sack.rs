//! Selective acknowledgement (RFC 2018, RFC 2883, RFC 6675), both ways.

use finack_core::stack::ConnId;
use finack_sim::{Script, Setup};

use crate::support::{drain, place};

/// RFC 2018 4: the block that holds the segment just received comes first, then the most recently reported ones.
#[test]
fn the_newest_block_comes_first() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 101:201(100) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 101:201>");
    t.inject("P. 301:401(100) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 301:401 101:201>");
    t.inject("P. 501:601(100) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 501:601 301:401 101:201>");
    t.inject("P. 201:301(100) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 101:401 501:601>");
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 401 <sack 501:601>");
    t.inject("P. 401:501(100) ack 1");
    t.expect_after(0..=300, ". 1:1(0) ack 601 <>");
    t.read(c, 600);
}

/// RFC 2018 3: four blocks fit, three beside timestamps.
#[test]
fn as_many_islands_as_fit() {
    for (timestamps, wanted) in [
        (false, "sack 601:651 501:551 401:451 301:351"),
        (true, "sack 601:651 501:551 401:451,TS val * ecr *"),
    ] {
        let setup = Setup::new();
        let mut t = if timestamps { setup.timestamps() } else { setup }.server();
        t.accepted();
        for i in 1..=5 {
            t.inject(&format!("P. {0}01:{0}51(50) ack 1", i));
            t.take_sent();
        }
        t.inject("P. 601:651(50) ack 1");
        t.expect(&format!(". 1:1(0) ack 1 <{wanted}>"));
    }
}

/// RFC 2883: a duplicate is reported as the first block, below the cumulative ACK; tcp_dsack = 0 switches that off.
#[test]
fn duplicates_are_reported() {
    for (dsack, wanted) in [(1, "<sack 1:101>"), (0, "<>")] {
        let mut t = Setup::new().set("tcp_dsack", dsack).options(|o| o.quickack = true).server();
        t.accepted();
        t.inject("P. 1:101(100) ack 1");
        t.expect(". 1:1(0) ack 101 <>");
        t.inject("P. 1:101(100) ack 1");
        t.expect(&format!(". 1:1(0) ack 101 {wanted}"));
        // Reported once.
        t.inject("P. 101:201(100) ack 1");
        t.expect(". 1:1(0) ack 201 <>");
    }
}

/// RFC 2883 4.2.1: a duplicate of an out-of-order segment is followed by the block that holds it.
#[test]
fn duplicates_out_of_order_are_reported() {
    let mut t = Setup::new().server();
    t.accepted();
    t.inject("P. 101:201(100) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 101:201>");
    t.inject("P. 101:201(100) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 101:201 101:201>");
}

fn sending(setup: Setup, len: usize) -> (Script, ConnId) {
    let mut t = setup.options(|o| o.send_buffer = Some(1_000_000)).server();
    let c = t.accepted();
    t.write(c, len);
    assert_eq!(t.take_sent().len(), 10);
    (t, c)
}

/// RFC 6675 5: three segments' worth of SACK above a hole repeat the hole, and nothing that was SACKed.
#[test]
fn holes_are_repeated() {
    let (mut t, c) = sending(Setup::new(), 14_600);
    t.inject(". 1:1(0) ack 1 <sack 1461:2921>");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 1 <sack 1461:4381>");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 1 <sack 1461:5841>");
    t.expect("P?. 1:1461(1460) ack 1");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 14601");
    t.expect_nothing();
    assert_eq!(t.info(c).retrans_segs, 1);
}

/// Two holes: both are repeated, and only they.
#[test]
fn two_holes() {
    let (mut t, c) = sending(Setup::new(), 14_600);
    let mut repeated = Vec::new();
    let mut hear = |t: &mut Script, ack: &str| {
        t.inject(ack);
        repeated.extend(t.take_sent().iter().map(|s| place(t, s)));
    };
    for ack in [
        ". 1:1(0) ack 1 <sack 1461:2921>",
        ". 1:1(0) ack 1 <sack 1461:5841>",
        ". 1:1(0) ack 1 <sack 7301:8761 1461:5841>",
        ". 1:1(0) ack 1 <sack 7301:11681 1461:5841>",
        ". 1:1(0) ack 1 <sack 7301:14601 1461:5841>",
        ". 1:1(0) ack 5841 <sack 7301:14601>",
        ". 1:1(0) ack 14601",
    ] {
        hear(&mut t, ack);
    }
    assert_eq!(repeated, [(1, 1460), (5841, 1460)], "each hole once, nothing else");
    assert_eq!(t.info(c).retrans_segs, 2);
}

/// RFC 2018 8: after a time-out SACKed data may have been thrown away: the peer reneges, and all arrives all the same.
#[test]
fn reneging() {
    let (mut t, c) = sending(Setup::new(), 14_600);
    t.inject(". 1:1(0) ack 1 <sack 1461:14601>");
    t.expect("P?. 1:1461(1460) ack 1");
    // The hole is filled, yet the cumulative ACK stops where SACKed data began: it is gone.
    t.inject(". 1:1(0) ack 1461");
    let mut una = 1461;
    let end = t.now() + core::time::Duration::from_secs(60);
    while una < 14_601 && t.now() < end {
        let sent = t.pass_ms(100);
        for s in &sent {
            let (seq, len) = place(&t, s);
            if seq <= una && seq + len > una {
                una = seq + len;
            }
        }
        if !sent.is_empty() {
            t.inject(&format!(". 1:1(0) ack {una}"));
        }
    }
    t.take_sent();
    assert_eq!(una, 14_601, "no stall");
    assert_eq!(t.info(c).send_queue, 0);
    assert!(t.stack.counters().tcp_sack_reneging >= 1);
}

/// SACK blocks that make no sense are discarded and counted: inverted, empty, beyond what was sent, far below; nothing is repeated for
/// them, nothing stalls, memory stays flat.
#[test]
fn nonsense_blocks() {
    let (mut t, c) = sending(Setup::new(), 14_600);
    let before = t.stack.memory();
    for block in
        ["5841:1461", "1461:1461", "14601:90000", "20000:30000", "4000000000:4000001000", "1461:90000"]
    {
        for _ in 0..5 {
            t.inject(&format!(". 1:1(0) ack 1 <sack {block}>"));
            for sent in t.take_sent() {
                let (seq, len) = place(&t, &sent);
                assert!((seq, len) == (1, 1460), "at most a fast retransmit of the first: {seq}+{len}");
            }
        }
    }
    assert!(t.stack.counters().tcp_sack_discarded >= 20);
    assert!(t.stack.memory() <= before + 4096);
    drain(&mut t, 1, 14_601);
    t.pass_ms(1000);
    assert_eq!(t.info(c).send_queue, 0);
}

/// Thousands of tiny blocks do not grow the scoreboard without bound.
#[test]
fn many_tiny_blocks() {
    let (mut t, c) = sending(Setup::new(), 14_600);
    let before = t.stack.memory();
    for i in 0..5000_u32 {
        let left = 1463 + (i * 7) % 13_000;
        t.inject(&format!(". 1:1(0) ack 1 <sack {left}:{}>", left + 1));
        t.take_sent();
    }
    assert!(t.stack.memory() <= before + 65_536, "{} -> {}", before, t.stack.memory());
    drain(&mut t, 1, 14_601);
    t.pass_ms(1000);
    assert_eq!(t.info(c).send_queue, 0);
}

/// A partial SACK may split a unit at any edge of a segment: just the missing segment is repeated, at its own size.
#[test]
fn a_unit_is_split_at_any_segment() {
    finack_sim::on_both_paths(|setup| {
        let (mut t, c) = sending(setup, 14_600);
        t.inject(". 1:1(0) ack 4381 <sack 5841:10221>");
        t.expect("P?. 4381:5841(1460) ack 1");
        t.expect_nothing();
        t.inject(". 1:1(0) ack 14601");
        assert_eq!(t.info(c).retrans_segs, 1);
    });
}

/// SACK that was not negotiated is not believed.
#[test]
fn blocks_that_were_not_negotiated() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 65535 <mss 1460,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 <mss 1460,wscale *>");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    t.write(c, 14_600);
    assert_eq!(t.take_sent().len(), 10);
    t.inject(". 1:1(0) ack 1 <sack 1461:14601>");
    t.expect_nothing();
    t.expect_after(100..=300, "P?. 1:1461(1460) ack 1");
    drain(&mut t, 1, 14_601);
    t.pass_ms(1000);
    assert_eq!(t.info(c).send_queue, 0);
}

/// The out-of-order queue is bounded by the window, and by its number of pieces: many tiny islands cost no more than they may.
#[test]
fn many_islands() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let before = t.stack.memory();
    for i in 0..20_000_u32 {
        let seq = 3 + i * 3;
        t.inject(&format!(". {seq}:{}(1) ack 1", seq + 1));
        t.take_sent();
    }
    let grown = t.stack.memory() - before;
    assert!(grown < 6 << 20, "20,000 bytes in 20,000 islands take {grown} bytes");
    t.inject("P. 1:1461(1460) ack 1");
    t.take_sent();
    t.read(c, 1460);
    t.take_sent();
}

/// RFC 6675 5 (1): the third ACK that reports something new by SACK repeats the first segment also where segments are small.
#[test]
fn small_segments_are_repeated_before_the_time_out() {
    let mut t = Setup::new().options(|o| o.nodelay = true).server();
    let c = t.accepted();
    for _ in 0..5 {
        t.write(c, 100);
        t.take_sent();
    }
    t.inject(". 1:1(0) ack 1 <sack 101:201>");
    t.inject(". 1:1(0) ack 1 <sack 101:301>");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 1 <sack 101:401>");
    t.expect("P?. 1:101(100) ack 1");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 501");
    assert_eq!(t.info(c).send_queue, 0);
}
