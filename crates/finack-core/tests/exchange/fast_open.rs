//! TCP Fast Open (RFC 7413): data in the SYN, for those who hold a cookie.

use finack_core::Error;
use finack_core::options::Shutdown;
use finack_core::stack::Ready;
use finack_core::tcp::State;
use finack_sim::{IcmpError, Script, Setup};

use crate::support::{expect_gone, segment};

const COOKIE: &str = "opt 34 0102030405060708";
const SYN_OPTIONS: &str = "mss 1460,sackOK,nop,wscale 7";

/// Learns the peer's cookie by an ordinary handshake, which is then over and forgotten.
fn with_cookie() -> Script {
    with_cookie_as(Setup::new())
}

fn with_cookie_as(setup: Setup) -> Script {
    let mut t = setup.set("tcp_timestamps", 0).client();
    let c = t.connect_sending(0).unwrap();
    t.expect("S 0:0(0) <mss 1460,sackOK,nop,wscale *,opt 34>");
    t.inject(&format!("S. 0:0(0) ack 1 win 65535 <{SYN_OPTIONS},{COOKIE}>"));
    t.expect(". 1:1(0) ack 1");
    t.abort(c);
    t.expect("R. 1:1(0) ack 1");
    t.peer(81);
    t
}

/// RFC 7413 4.1.1, 4.1.3: without a cookie the SYN asks for one and carries no data, which follows the handshake; the cookie
/// is kept for the next time.
#[test]
fn the_first_time_a_cookie_is_asked_for() {
    let mut t = Setup::new().set("tcp_timestamps", 0).client();
    let c = t.connect_sending(500).unwrap();
    t.expect("S 0:0(0) <mss 1460,sackOK,nop,wscale *,opt 34>");
    let remote = t.ends().1;
    assert!(!t.stack.tcp_has_fast_open_cookie(remote));
    t.inject(&format!("S. 0:0(0) ack 1 win 65535 <{SYN_OPTIONS},{COOKIE}>"));
    t.expect("P. 1:501(500) ack 1 <>");
    assert!(t.stack.tcp_has_fast_open_cookie(remote));
    assert_eq!(t.state(c), State::Established);
}

/// RFC 7413 4.2.1: with the cookie the data goes along, and the SYN,ACK acknowledges both.
#[test]
fn the_next_time_data_goes_with_the_syn() {
    let mut t = with_cookie();
    let c = t.connect_sending(500).unwrap();
    t.expect(&format!("S 0:500(500) <mss 1460,sackOK,nop,wscale *,{COOKIE}>"));
    t.inject(&format!("S. 0:0(0) ack 501 win 65535 <{SYN_OPTIONS}>"));
    t.expect(". 501:501(0) ack 1");
    assert_eq!((t.state(c), t.info(c).bytes_acked), (State::Established, 500));
    assert!(t.info(c).syn_data);
    assert_eq!(t.stack.counters().tcp_fast_open_active, 1);
    t.quiet_ms(5000);
}

/// RFC 7413 4.2.1: data that the SYN,ACK does not acknowledge is sent again at once, and is no sign of congestion.
#[test]
fn data_that_the_server_did_not_take_goes_again_at_once() {
    let mut t = with_cookie();
    let c = t.connect_sending(500).unwrap();
    t.take_sent();
    t.inject(&format!("S. 0:0(0) ack 1 win 65535 <{SYN_OPTIONS}>"));
    t.expect("P. 1:501(500) ack 1");
    assert_eq!(t.info(c).cwnd, 14_600);
    assert_eq!(t.stack.counters().tcp_fast_open_active_fail, 1);
    assert!(!t.info(c).syn_data);
    t.inject(". 1:1(0) ack 501");
    t.quiet_ms(5000);
}

/// RFC 7413 4.1.3.1: a SYN that nobody answers goes again without data and option, and when that happens again and again data is
/// kept out of SYNs for a while.
#[test]
fn a_lost_syn_goes_again_without_data() {
    let mut t = with_cookie();
    for port in 82..84 {
        t.connect_sending(500).unwrap();
        t.take_sent();
        t.expect_after(1000..=1060, "S 0:0(0) <mss 1460,sackOK,nop,wscale *>");
        t.inject(&format!("S. 0:0(0) ack 1 win 65535 <{SYN_OPTIONS}>"));
        t.expect("P. 1:501(500) ack 1");
        t.inject(". 1:1(0) ack 501");
        t.peer(port);
    }
    t.connect_sending(500).unwrap();
    t.expect("S 0:0(0) <mss 1460,sackOK,nop,wscale *>");
}

/// How the peer, or the path, takes a SYN with data badly.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    DataNotTaken,
    Icmp,
    Silence,
}

/// Whether data still goes with the SYN after that happened twice.
fn data_goes_after(setup: Setup, bad: Bad) -> bool {
    let mut t = with_cookie_as(setup.set("tcp_syn_retries", 1));
    for port in 82..84 {
        let c = t.connect_sending(500).unwrap();
        t.expect(&format!("S 0:500(500) <mss 1460,sackOK,nop,wscale *,{COOKIE}>"));
        match bad {
            Bad::DataNotTaken => {
                t.inject(&format!("S. 0:0(0) ack 1 win 65535 <{SYN_OPTIONS}>"));
                t.expect("P. 1:501(500) ack 1");
                t.inject(". 1:1(0) ack 501");
            }
            Bad::Icmp => {
                t.inject_icmp(IcmpError::Port, "S 0:500(500)");
                assert_eq!(t.take_error(c), Some(Error::ConnectionRefused));
            }
            Bad::Silence => {
                t.pass_ms(60_000);
                assert_eq!(t.take_error(c), Some(Error::TimedOut));
            }
        }
        t.peer(port);
    }
    t.connect_sending(500).unwrap();
    !segment(&t.next_sent()).payload.is_empty()
}

/// RFC 7413 4.1.3.1: nothing at all in answer is remembered; with `profile=rfc` also that the data was not acknowledged, and
/// an ICMP error. Linux goes on trying after those.
#[test]
fn negative_responses_are_remembered() {
    for bad in [Bad::DataNotTaken, Bad::Icmp, Bad::Silence] {
        assert!(!data_goes_after(Setup::new().rfc(), bad), "{bad:?}");
        assert_eq!(data_goes_after(Setup::new(), bad), bad != Bad::Silence, "{bad:?}, Linux");
    }
}

/// RFC 7413 4.2.1: more than a segment holds waits for the handshake, and room is left for options that middleboxes add.
#[test]
fn a_syn_carries_no_more_than_a_segment() {
    let mut t = with_cookie();
    t.connect_sending(5000).unwrap();
    let sent = t.next_sent();
    assert_eq!(segment(&sent).payload.len(), 1420);
    t.inject(&format!("S. 0:0(0) ack 1421 win 65535 <{SYN_OPTIONS}>"));
    t.expect(". 1421:2881(1460) ack 1");
    t.expect(". 2881:4341(1460) ack 1");
    t.expect("P. 4341:5001(660) ack 1");
}

#[test]
fn a_client_that_may_not_says_so() {
    let mut t = Setup::new().set("tcp_fastopen", 0).client();
    assert_eq!(t.connect_sending(10), Err(Error::NotSupported));
    assert_eq!(t.connections(), 0);
}

/// A server with room for `queue` fast opens, and a client's cookie.
fn server(queue: u32) -> (Script, String) {
    let mut t = Setup::new().set("tcp_fastopen", 3).options(|o| o.fast_open = queue).server();
    t.inject(&format!("S 0:0(0) win 65535 <{SYN_OPTIONS},opt 34>"));
    let sent = t.next_sent();
    let cookie = segment(&sent).options.iter().find_map(|o| match o {
        finack_sim::packet::Opt::Other(34, cookie) => Some(cookie.clone()),
        _ => None,
    });
    let cookie: String = cookie.expect("a cookie").iter().map(|b| format!("{b:02x}")).collect();
    t.inject("R 1:1(0)");
    t.peer(40_001);
    (t, format!("opt 34 {cookie}"))
}

/// RFC 7413 4.2.2: with a good cookie the connection is there, its data readable and its answer sent, before the handshake is
/// over.
#[test]
fn a_good_cookie_opens_at_once() {
    let (mut t, cookie) = server(16);
    assert_eq!(t.stack.counters().tcp_fast_open_cookie_requests, 1);
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},{cookie}>"));
    t.expect("S. 0:0(0) ack 101 <mss 1460,sackOK,nop,wscale *>");
    let c = t.accept();
    assert_eq!(t.state(c), State::SynReceived);
    t.read(c, 100);
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::WRITABLE));
    t.write(c, 50);
    t.expect("P. 1:51(50) ack 101");
    t.inject(". 101:101(0) ack 51");
    assert_eq!(t.state(c), State::Established);
    assert_eq!(t.stack.counters().tcp_fast_open_passive, 1);
    t.inject("F. 101:101(0) ack 51");
    t.read_eof(c);
    t.pass_ms(1000);
    t.close(c);
    t.expect("F. 51:51(0) ack 102");
    t.inject(". 102:102(0) ack 52");
    expect_gone(&t);
}

/// RFC 7413 4.2.2: a bad cookie costs the data, which the peer sends again, and brings a good one.
#[test]
fn a_bad_cookie_opens_as_usual_and_is_replaced() {
    let (mut t, cookie) = server(16);
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},opt 34 ffffffffffffffff>"));
    t.expect(&format!("S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *,{cookie}>"));
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 101");
    let c = t.accept();
    t.read(c, 100);
    assert_eq!(t.stack.counters().tcp_fast_open_passive_fail, 1);
}

/// RFC 7413 5.1: the number of connections whose handshake is not over is bounded; the next one opens as usual.
#[test]
fn too_many_pending_ones_open_as_usual() {
    let (mut t, cookie) = server(1);
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},{cookie}>"));
    t.expect("S. 0:0(0) ack 101");
    t.peer(40_002);
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},{cookie}>"));
    t.expect("S. 0:0(0) ack 1");
    assert_eq!(t.stack.counters().tcp_fast_open_overflows, 1);
    // Once the first is open there is room again.
    t.peer(40_001);
    t.inject(". 101:101(0) ack 1");
    t.peer(40_003);
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},{cookie}>"));
    t.expect("S. 0:0(0) ack 101");
}

/// A lost SYN,ACK goes again, by its timer or because the SYN comes again, and the data counts once.
#[test]
fn a_lost_syn_ack_goes_again() {
    let (mut t, cookie) = server(16);
    let syn = format!("S 0:100(100) win 65535 <{SYN_OPTIONS},{cookie}>");
    t.inject(&syn);
    t.expect("S. 0:0(0) ack 101");
    let c = t.accept();
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 101");
    t.inject(&syn);
    t.expect("S. 0:0(0) ack 101");
    t.expect_after(900..=1100, "S. 0:0(0) ack 101");
    t.inject(". 101:101(0) ack 1");
    // What was sent early and is not acknowledged goes again.
    t.expect("P. 1:11(10) ack 101");
    t.read(c, 100);
    t.read_blocks(c);
}

/// The peer's RST ends it as it ends any connection that the application has: ECONNRESET.
#[test]
fn a_reset_before_the_handshake_is_over() {
    let (mut t, cookie) = server(16);
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},{cookie}>"));
    t.expect("S. 0:0(0) ack 101");
    let c = t.accept();
    t.read(c, 100);
    t.inject("R 101:101(0)");
    t.read_fails(c, Error::ConnectionReset);
}

/// Closed before the handshake is over: the FIN follows it.
#[test]
fn closed_before_the_handshake_is_over() {
    let (mut t, cookie) = server(16);
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},{cookie}>"));
    t.expect("S. 0:0(0) ack 101");
    let c = t.accept();
    t.read(c, 100);
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 101");
    t.shutdown(c, Shutdown::Write);
    t.close(c);
    t.inject(". 101:101(0) ack 11");
    t.expect("F. 11:11(0) ack 101");
}

/// tcp_fastopen = 0x203: data without a cookie is taken (Linux's TFO_SERVER_COOKIE_NOT_REQD).
#[test]
fn a_server_that_needs_no_cookie() {
    let mut t = Setup::new().set("tcp_fastopen", 0x203).options(|o| o.fast_open = 5).server();
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS}>"));
    t.expect("S. 0:0(0) ack 101");
    let c = t.accept();
    t.read(c, 100);
}

/// RFC 7413 4.1.1 appendix: a client of before the standard is answered in its own form, kind 254.
#[test]
fn the_experimental_form_is_answered_in_kind() {
    let mut t = Setup::new().set("tcp_fastopen", 2).options(|o| o.fast_open = 5).server();
    t.inject(&format!("S 0:0(0) win 65535 <{SYN_OPTIONS},opt 254 f989>"));
    let sent = t.next_sent();
    let experimental = segment(&sent).options.iter().any(
        |o| matches!(o, finack_sim::packet::Opt::Other(254, data) if data.len() == 10 && data.starts_with(&[0xf9, 0x89])),
    );
    assert!(experimental, "{:?}", segment(&sent).options);
}

/// A listener that did not ask for it opens as usual, whatever cookie comes (TCP_FASTOPEN unset).
#[test]
fn a_listener_that_did_not_ask_for_it() {
    let mut t = Setup::new().set("tcp_fastopen", 3).server();
    t.inject(&format!("S 0:100(100) win 65535 <{SYN_OPTIONS},opt 34 ffffffffffffffff>"));
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>");
}
