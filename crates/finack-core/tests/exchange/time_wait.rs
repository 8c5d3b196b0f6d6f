//! TIME-WAIT: what it answers, what ends it early, who may take it over.

use finack_core::Error;
use finack_core::options::{BindOptions, SocketOptions};
use finack_core::tcp::State;
use finack_core::trace::DropReason;
use finack_sim::packet::flag;
use finack_sim::{Script, Setup};

use crate::support::{expect_gone, segment};

/// A server that has closed first: its connection is in TIME-WAIT, its next number is 2, the peer's too.
fn in_time_wait(setup: Setup) -> Script {
    let mut t = setup.server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    assert_eq!(t.count(State::TimeWait), 1);
    t
}

/// RFC 9293 3.10.7.4 (eighth): a repeated FIN is acknowledged again and restarts the 2 MSL.
#[test]
fn a_repeated_fin_restarts_it() {
    let mut t = in_time_wait(Setup::new());
    t.quiet_ms(50_000);
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    t.quiet_ms(59_500);
    assert_eq!(t.count(State::TimeWait), 1, "it began anew");
    t.quiet_ms(1000);
    expect_gone(&t);
}

/// The same over IPv6.
#[test]
fn a_repeated_fin_v6() {
    let mut t = in_time_wait(Setup::new().v6());
    t.quiet_ms(50_000);
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    t.quiet_ms(60_500);
    expect_gone(&t);
}

/// With timestamps the repeated ACK carries and echoes them.
#[test]
fn a_repeated_fin_with_timestamps() {
    let mut t = in_time_wait(Setup::new().timestamps());
    t.quiet_ms(1000);
    t.inject("F. 1:1(0) ack 2 <nop,nop,TS val +1234 ecr *>");
    t.expect(". 2:2(0) ack 2 <TS val * ecr +1234>");
}

/// MUST-13: 2 MSL can be set; here to 5 s.
#[test]
fn its_length_can_be_set() {
    let mut t = in_time_wait(Setup::new().set("finack.tcp_timewait_len", 5));
    t.quiet_ms(4800);
    assert_eq!(t.count(State::TimeWait), 1);
    t.quiet_ms(700);
    expect_gone(&t);
}

/// The TIME-WAIT of a connection is a record: it needs less memory than the connection did.
#[test]
fn it_is_small() {
    let mut t = Setup::new().server();
    let empty = t.stack.memory();
    let conns: Vec<_> = (0..2000)
        .map(|i| {
            t.peer(10_000 + i);
            t.accepted()
        })
        .collect();
    let connected = t.stack.memory() - empty;
    for (i, c) in (0..).zip(conns) {
        t.peer(10_000 + i);
        t.close(c);
        t.expect("F. 1:1(0) ack 1");
        t.inject("F. 1:1(0) ack 2");
        t.expect(". 2:2(0) ack 2");
    }
    assert_eq!(t.count(State::TimeWait), 2000);
    let now = t.stack.memory() - empty;
    assert!(now < connected + 2000 * 128, "{connected} for 2000 connections, {now} with 2000 TIME-WAITs");
    t.pass_ms(61_000);
    expect_gone(&t);
}

/// A pure ACK that fits is ignored; data is answered by an ACK (RFC 9293 3.10.7.4: the only thing that can arrive is a
/// retransmission of the FIN).
#[test]
fn strays() {
    let mut t = in_time_wait(Setup::new());
    t.inject(". 2:2(0) ack 2");
    t.expect_nothing();
    t.inject("P. 1:1(0) ack 2");
    for sent in t.take_sent() {
        assert_eq!(segment(&sent).flags, flag::ACK);
    }
    t.inject("P. 2:102(100) ack 2");
    for sent in t.take_sent() {
        assert_eq!(segment(&sent).flags, flag::ACK);
    }
    assert_eq!(t.count(State::TimeWait), 1);
}

/// RFC 9293 MAY-2, RFC 1122 4.2.2.13: a SYN with a sequence number above RCV.NXT opens the connection anew, and our ISN lies
/// above the old SND.NXT.
#[test]
fn a_newer_syn_reopens() {
    let mut t = in_time_wait(Setup::new());
    let old_iss = t.stack_iss();
    let old_peer = t.flow().peer_iss;
    t.quiet_ms(3000);
    t.flow().forget();
    t.flow().peer_iss = old_peer.wrapping_add(5000);
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1");
    let ahead = t.stack_iss().wrapping_sub(old_iss.wrapping_add(2));
    assert!(ahead > 0 && ahead < 1 << 31, "the new ISN lies above the old SND.NXT: {ahead}");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    assert_eq!(t.state(c), State::Established);
    assert_eq!(t.stack.counters().tcp_time_wait_reopened, 1);
    t.inject("P. 1:11(10) ack 1");
    t.flow().read = 0;
    t.read(c, 10);
    t.pass_ms(500);
    assert_eq!(t.count(State::TimeWait), 0);
}

/// A SYN whose sequence number is not above RCV.NXT and that has no timestamps reopens nothing: it is answered by an ACK.
#[test]
fn an_older_syn_does_not_reopen() {
    let mut t = in_time_wait(Setup::new());
    let peer = t.flow().peer_iss;
    let mut packet = t.segment("S 0:0(0) win 65535 <mss 1460>");
    if let finack_sim::packet::Body::Tcp(tcp) = &mut packet.body {
        tcp.seq = peer.wrapping_sub(5000);
    }
    t.inject_packet(&packet);
    let sent = t.next_sent();
    assert_eq!(segment(&sent).flags, flag::ACK, "an ACK, no SYN,ACK");
    assert_eq!(segment(&sent).ack, peer.wrapping_add(2));
    assert_eq!(t.count(State::TimeWait), 1);
}

/// RFC 6191, RFC 9293 SHLD-4: a SYN with a newer timestamp reopens though its sequence number is lower.
#[test]
fn a_syn_with_a_newer_timestamp_reopens() {
    let mut t = in_time_wait(Setup::new().timestamps());
    t.quiet_ms(2000);
    t.flow().forget();
    let peer = t.flow().peer_iss;
    t.flow().peer_iss = peer.wrapping_sub(50_000);
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,TS val +9000 ecr 0,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,TS val * ecr +9000,nop,wscale *>");
    t.inject(". 1:1(0) ack 1 <nop,nop,TS val +9001 ecr *>");
    t.accept();
}

/// RFC 6191, RFC 7323: an older timestamp does not, even with a higher sequence number: it is an old duplicate.
#[test]
fn a_syn_with_an_older_timestamp_does_not_reopen() {
    let mut t = in_time_wait(Setup::new().timestamps());
    t.quiet_ms(2000);
    let mut packet = t.segment("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 5 ecr 0,nop,wscale 7>");
    if let finack_sim::packet::Body::Tcp(tcp) = &mut packet.body {
        tcp.seq = tcp.seq.wrapping_add(5000);
    }
    t.inject_packet(&packet);
    for sent in t.take_sent() {
        assert_eq!(segment(&sent).flags, flag::ACK, "at most an ACK");
    }
    assert_eq!(t.count(State::TimeWait), 1);
}

/// RFC 1122 4.2.2.13 (b): the SYN that reopened proves an old duplicate (its sender resets our SYN,ACK): TIME-WAIT is restored.
#[test]
fn it_is_restored_after_an_old_duplicate_syn() {
    let mut t = in_time_wait(Setup::new());
    let (old_iss, old_peer) = (t.stack_iss(), t.flow().peer_iss);
    t.quiet_ms(3000);
    t.flow().forget();
    t.flow().peer_iss = old_peer.wrapping_add(5000);
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1");
    t.inject("R 1:1(0)");
    t.expect_nothing();
    assert_eq!(t.count(State::SynReceived), 0);
    assert_eq!(t.count(State::TimeWait), 1, "TIME-WAIT is back");
    // And it still answers for the old connection.
    t.flow().forget();
    t.flow().peer_iss = old_peer;
    t.flow().stack_iss = old_iss;
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
}

/// The same where the embryo dies of its SYN,ACK retries instead: TIME-WAIT's time runs on beneath, and ends.
#[test]
fn an_embryo_over_time_wait_dies() {
    let mut t = in_time_wait(Setup::new());
    let old_peer = t.flow().peer_iss;
    t.flow().forget();
    t.flow().peer_iss = old_peer.wrapping_add(5000);
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1");
    t.pass_ms(200_000);
    expect_gone(&t);
}

/// A SYN in TIME-WAIT where nobody listens any more reopens nothing: the CLOSED rule answers, or TIME-WAIT's ACK.
#[test]
fn a_newer_syn_without_a_listener() {
    let mut t = in_time_wait(Setup::new());
    let listener = t.listener.take().unwrap();
    t.stack.tcp_close_listener(t.now(), listener).unwrap();
    t.pump();
    let old_peer = t.flow().peer_iss;
    t.flow().forget();
    t.flow().peer_iss = old_peer.wrapping_add(5000);
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    for sent in t.take_sent() {
        assert!(!segment(&sent).has(flag::SYN), "nobody listens");
    }
    assert_eq!(t.count(State::SynReceived), 0);
}

/// A SYN that reopens a TIME-WAIT never gets a cookie: its ISN must lie above the old SND.NXT.
#[test]
fn no_cookie_for_a_reopening_syn() {
    let mut t = in_time_wait(Setup::new().set("tcp_syncookies", 2));
    let (old_iss, old_peer) = (t.stack_iss(), t.flow().peer_iss);
    t.quiet_ms(1000);
    let before = t.stack.counters().tcp_syn_cookies_sent;
    t.flow().forget();
    t.flow().peer_iss = old_peer.wrapping_add(5000);
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    assert_eq!(t.stack.counters().tcp_syn_cookies_sent, before);
    assert!((t.stack_iss().wrapping_sub(old_iss) as i32) > 2);
}

/// Linux's default, tcp_rfc1337 = 0: a RST exactly at RCV.NXT ends TIME-WAIT.
#[test]
fn a_reset_ends_it() {
    let mut t = in_time_wait(Setup::new());
    t.inject("R 2:2(0)");
    t.expect_nothing();
    expect_gone(&t);
}

/// But not a RST elsewhere in the window (RFC 5961 3.2).
#[test]
fn a_blind_reset_does_not_end_it() {
    let mut t = in_time_wait(Setup::new());
    t.inject("R 3:3(0)");
    t.take_sent();
    t.inject("R 1:1(0)");
    t.take_sent();
    assert_eq!(t.count(State::TimeWait), 1);
}

/// RFC 1337, tcp_rfc1337 = 1: RSTs are ignored.
#[test]
fn rfc_1337() {
    let mut t = in_time_wait(Setup::new().set("tcp_rfc1337", 1));
    t.inject("R 2:2(0)");
    t.expect_nothing();
    assert_eq!(t.count(State::TimeWait), 1);
    assert_eq!(t.stack.counters().dropped(DropReason::TimeWaitReset), 1);
    // The price: a peer that reuses the port with a lower ISN and no timestamps is locked out ...
    let mut packet = t.segment("S 0:0(0) win 65535 <mss 1460>");
    if let finack_sim::packet::Body::Tcp(tcp) = &mut packet.body {
        tcp.seq = tcp.seq.wrapping_sub(5000);
    }
    t.inject_packet(&packet);
    assert_eq!(segment(&t.next_sent()).flags, flag::ACK);
    // ... its answer to that ACK changes nothing ...
    t.inject("R 2:2(0)");
    t.expect_nothing();
    assert_eq!(t.count(State::TimeWait), 1);
    // ... for up to 60 s.
    t.quiet_ms(61_000);
    expect_gone(&t);
}

/// The same with tcp_rfc1337 = 0: the peer's RST in answer to our ACK ends TIME-WAIT, and its repeated SYN opens.
#[test]
fn without_rfc_1337_a_lower_isn_gets_through() {
    let mut t = in_time_wait(Setup::new());
    let peer = t.flow().peer_iss;
    let mut packet = t.segment("S 0:0(0) win 65535 <mss 1460>");
    if let finack_sim::packet::Body::Tcp(tcp) = &mut packet.body {
        tcp.seq = tcp.seq.wrapping_sub(5000);
    }
    t.inject_packet(&packet);
    assert_eq!(segment(&t.next_sent()).flags, flag::ACK);
    t.inject("R 2:2(0)");
    t.flow().forget();
    t.flow().peer_iss = peer.wrapping_sub(5000);
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
}

/// A client that has closed first: TIME-WAIT, timestamps in use.
fn client_in_time_wait(setup: Setup) -> Script {
    let mut t = setup.client();
    let c = t.connected();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    t
}

/// Forces the next connection onto the one port that is in TIME-WAIT.
fn one_port(setup: Setup) -> Setup {
    setup.set("ip_local_port_range", "50000 50000")
}

/// tcp_tw_reuse = 2 (the default): beyond loopback a port in TIME-WAIT is not taken.
#[test]
fn tw_reuse_is_off_beyond_loopback() {
    let mut t = client_in_time_wait(one_port(Setup::new().timestamps()));
    t.quiet_ms(5000);
    assert_eq!(t.connect_with(SocketOptions::default()), Err(Error::AddrNotAvailable));
}

/// tcp_tw_reuse = 1: an outgoing connection takes it over after a second (tcp_tw_reuse_delay), with ISN = old SND.NXT + 65537.
#[test]
fn tw_reuse() {
    let mut t = client_in_time_wait(one_port(Setup::new().timestamps().set("tcp_tw_reuse", 1)));
    let old = t.stack_iss();
    t.quiet_ms(500);
    assert_eq!(t.connect_with(SocketOptions::default()), Err(Error::AddrNotAvailable), "too young");
    t.quiet_ms(1500);
    t.flow().forget();
    t.connect_with(SocketOptions::default()).unwrap();
    t.expect("S 0:0(0)");
    assert_eq!(t.stack_iss().wrapping_sub(old.wrapping_add(2)), 65_537);
    assert_eq!(t.stack.counters().tcp_time_wait_reused, 1);
    assert_eq!(t.count(State::TimeWait), 0);
}

/// tcp_tw_reuse needs timestamps.
#[test]
fn tw_reuse_needs_timestamps() {
    let mut t = client_in_time_wait(one_port(Setup::new().set("tcp_tw_reuse", 1)));
    t.quiet_ms(5000);
    assert_eq!(t.connect_with(SocketOptions::default()), Err(Error::AddrNotAvailable));
}

/// tcp_tw_reuse never takes over a FIN-WAIT-2.
#[test]
fn tw_reuse_spares_fin_wait_2() {
    let mut t = one_port(Setup::new().timestamps().set("tcp_tw_reuse", 1)).client();
    let c = t.connected();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    t.quiet_ms(5000);
    assert_eq!(t.connect_with(SocketOptions::default()), Err(Error::AddrNotAvailable));
}

/// An explicitly bound port needs timestamps only, whatever the sysctl says (and SO_REUSEADDR, on both, to be bound at all).
#[test]
fn an_explicitly_bound_port_is_reused() {
    let mut t = client_in_time_wait(one_port(
        Setup::new().timestamps().set("tcp_tw_reuse", 0).options(|o| o.reuse_addr = true),
    ));
    t.quiet_ms(2000);
    t.flow().forget();
    t.bind_connect(BindOptions { reuse_addr: true, ..BindOptions::default() }).unwrap();
    t.expect("S 0:0(0)");
}

/// SO_REUSEADDR: a listener may be bound beside its predecessor's TIME-WAIT; without it the port is in use.
#[test]
fn bind_beside_time_wait() {
    for (reuse, expected) in [(false, Err(Error::AddrInUse)), (true, Ok(()))] {
        let mut t = in_time_wait(Setup::new().options(|o| o.reuse_addr = reuse));
        let listener = t.listener.take().unwrap();
        t.stack.tcp_close_listener(t.now(), listener).unwrap();
        let options = BindOptions { reuse_addr: reuse, ..BindOptions::default() };
        let bind = t.stack.tcp_bind(t.now(), t.ends().0, options);
        assert_eq!(bind.map(|_| ()), expected, "reuse_addr {reuse}");
    }
}

/// SO_REUSEADDR must have been set on the socket that is now in TIME-WAIT too (accepted connections inherit it from their listener).
#[test]
fn bind_beside_time_wait_needs_both() {
    let mut t = in_time_wait(Setup::new());
    let listener = t.listener.take().unwrap();
    t.stack.tcp_close_listener(t.now(), listener).unwrap();
    let options = BindOptions { reuse_addr: true, ..BindOptions::default() };
    assert_eq!(t.stack.tcp_bind(t.now(), t.ends().0, options).map(|_| ()), Err(Error::AddrInUse));
}

/// tcp_max_tw_buckets: beyond it the table does not grow; the oldest gives way.
#[test]
fn the_table_is_bounded() {
    let mut t = Setup::new().set("tcp_max_tw_buckets", 10).server();
    for port in 40_000..40_030 {
        t.peer(port);
        let c = t.accepted();
        t.close(c);
        t.expect("F. 1:1(0) ack 1");
        t.inject("F. 1:1(0) ack 2");
        t.expect(". 2:2(0) ack 2");
    }
    assert_eq!(t.count(State::TimeWait), 10);
    assert!(t.stack.counters().tcp_time_wait_overflow >= 20);
    t.peer(40_029);
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
}

/// Many TIME-WAITs, some restarted, end each at its own time.
#[test]
fn each_ends_at_its_own_time() {
    let mut t = Setup::new().server();
    for port in 40_000..40_010 {
        t.peer(port);
        let c = t.accepted();
        t.close(c);
        t.expect("F. 1:1(0) ack 1");
        t.inject("F. 1:1(0) ack 2");
        t.expect(". 2:2(0) ack 2");
        t.quiet_ms(1000);
    }
    // The first began 10 s ago; the second is restarted now.
    t.peer(40_001);
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    for left in (1..10).rev() {
        t.quiet_ms(if left == 9 { 50_500 } else { 1000 });
        let restarted_early = usize::from(left < 9);
        assert_eq!(t.count(State::TimeWait), left + restarted_early);
    }
    t.quiet_ms(10_000);
    expect_gone(&t);
}

/// PAWS in TIME-WAIT: a FIN with an old timestamp is acknowledged (it is unacceptable) but restarts nothing.
#[test]
fn paws_in_time_wait() {
    let mut t = in_time_wait(Setup::new().timestamps());
    t.quiet_ms(50_000);
    t.inject("F. 1:1(0) ack 2 <nop,nop,TS val 5 ecr *>");
    t.take_sent();
    t.quiet_ms(10_500);
    expect_gone(&t);
}
