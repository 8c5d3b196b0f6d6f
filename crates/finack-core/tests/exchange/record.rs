//! The end of a record (MSG_EOR, as Linux has it): no segment holds bytes from before and from behind it.

use finack_core::options::SendFlags;
use finack_sim::{Setup, on_both_paths};

const EOR: SendFlags = SendFlags { more: false, oob: false, eor: true };

/// RFC 9293 MUST-32: records that cannot be sent at once keep to themselves; so do full segments and large units.
#[test]
fn segments_are_cut_where_records_end() {
    on_both_paths(|setup| {
        let mut t = setup.server();
        let c = t.accepted();
        t.write(c, 100);
        t.expect("P. 1:101(100) ack 1");
        assert_eq!(t.try_write(c, 2000, EOR), Ok(2000));
        assert_eq!(t.try_write(c, 3, EOR), Ok(3));
        t.write(c, 1460);
        t.expect(". 101:1561(1460) ack 1");
        t.expect("P. 1561:2101(540) ack 1");
        t.expect("P. 2101:2104(3) ack 1");
        t.expect("P. 2104:3564(1460) ack 1");
    });
}

/// Nagle's algorithm (RFC 9293 SHLD-7) holds the last record back, not one that others follow.
#[test]
fn only_the_last_record_waits_for_an_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    assert_eq!(t.try_write(c, 10, EOR), Ok(10));
    t.expect_nothing();
    assert_eq!(t.try_write(c, 10, EOR), Ok(10));
    t.expect("P. 11:21(10) ack 1");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 21");
    t.expect("P. 21:31(10) ack 1");
}

/// What is sent again is cut in the same places (RFC 9293 3.8.1), where it would otherwise fill a segment.
#[test]
fn what_is_sent_again_is_cut_there_too() {
    let mut t = Setup::new().set("tcp_early_retrans", "0").options(|o| o.nodelay = true).server();
    let c = t.accepted();
    t.write(c, 100);
    assert_eq!(t.try_write(c, 100, EOR), Ok(100));
    t.write(c, 100);
    t.write(c, 100);
    for at in [1, 101, 201, 301] {
        t.expect(&format!("P. {at}:{}(100) ack 1", at + 100));
    }
    t.expect_after(200..=201, "P. 1:201(200) ack 1");
    t.expect("P. 201:401(200) ack 1");
}

/// RFC 2018 8: records that the peer had SACKed and threw away go out one by one as well.
#[test]
fn reneged_records_stay_apart() {
    let mut t = Setup::new().options(|o| o.nodelay = true).server();
    let c = t.accepted();
    for at in [1, 101, 201] {
        assert_eq!(t.try_write(c, 100, EOR), Ok(100));
        t.expect(&format!("P. {at}:{}(100) ack 1", at + 100));
    }
    t.inject(". 1:1(0) ack 1 <sack 101:301>");
    t.inject(". 1:1(0) ack 101 <sack 101:301>");
    t.expect_after(200..=1000, "P. 101:201(100) ack 1");
    t.expect("P. 201:301(100) ack 1");
}

/// A write of which only a part fits ends no record: its caller comes again with the rest.
#[test]
fn a_record_that_does_not_fit_ends_with_its_last_byte() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(3000)).server();
    t.inject("S 0:0(0) win 4000 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 4000");
    let c = t.accept();
    assert_eq!(t.try_write(c, 5000, EOR), Ok(4380));
    t.expect(". 1:1461(1460) ack 1");
    t.expect("P. 1461:2921(1460) ack 1");
    t.inject(". 1:1(0) ack 2921 win 4000");
    t.expect("P. 2921:4381(1460) ack 1");
    assert_eq!(t.try_write(c, 620, EOR), Ok(620));
    t.expect("P. 4381:5001(620) ack 1");
    t.write(c, 100);
    t.expect_nothing();
    t.inject(". 1:1(0) ack 5001 win 4000");
    t.expect("P. 5001:5101(100) ack 1");
}

/// Each end of a record counts against the send buffer: records of one byte do not make unbounded work.
#[test]
fn records_count_against_the_send_buffer() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(100_000)).server();
    let c = t.accepted();
    t.write(c, 1);
    t.expect("P. 1:2(1) ack 1");
    let mut records = 0;
    while t.try_write(c, 1, EOR).is_ok() {
        records += 1;
        t.take_sent();
        assert!(records < 1000, "the buffer takes records without end");
    }
    assert!(records > 100, "only {records} records fit");
    t.inject(&format!(". 1:1(0) ack {}", records + 1));
    t.take_sent();
    assert_eq!(t.try_write(c, 1, EOR), Ok(1));
}

/// A FIN goes with the last byte of a record (RFC 9293 3.10.4), as with any other.
#[test]
fn the_fin_goes_with_the_last_record() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    assert_eq!(t.try_write(c, 10, EOR), Ok(10));
    t.close(c);
    t.expect("FP. 11:21(10) ack 1");
}
