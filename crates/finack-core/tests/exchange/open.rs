//! Opening: three-way handshake, retransmission of SYN and SYN,ACK, refusal, ISNs and ports.

use core::net::{IpAddr, SocketAddr};

use finack_core::options::{BindOptions, SocketOptions};
use finack_core::stack::Ready;
use finack_core::tcp::State;
use finack_core::trace::DropReason;
use finack_core::{Error, Event, Instant};
use finack_sim::packet::{Body, Opt, flag, v4, v6};
use finack_sim::{Script, Setup};

use crate::support::{expect_gone, segment};

const SYN: &str = "S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>";

/// RFC 9293 3.5: the three-way handshake from LISTEN to ESTABLISHED, and the application is told.
#[test]
fn passive_open() {
    let mut t = Setup::new().server();
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>");
    assert_eq!(t.count(State::SynReceived), 1);
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
    t.inject(". 1:1(0) ack 1");
    assert!(t.events.iter().any(|e| matches!(e, Event::Accept { .. })), "{:?}", t.events);
    let c = t.accept();
    assert_eq!(t.state(c), State::Established);
    assert_eq!(t.stack.tcp_remote_addr(c), Ok(t.ends().1));
    assert_eq!(t.stack.tcp_local_addr(c), Ok(t.ends().0));
}

/// RFC 9293 3.5 over IPv6, where the MSS is 20 bytes smaller (MUST-67).
#[test]
fn passive_open_v6() {
    let mut t = Setup::new().v6().server();
    t.inject("S 0:0(0) win 65535 <mss 1440,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 <mss 1440,sackOK,nop,wscale *>");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    assert_eq!(t.state(c), State::Established);
}

/// RFC 9293 3.5: the three-way handshake from CLOSED over SYN-SENT; writable is what connect waits for.
#[test]
fn active_open() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0) <mss 1460,sackOK,TS val * ecr 0,nop,wscale *>");
    assert_eq!(t.state(c), State::SynSent);
    assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::WRITABLE));
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1 <>");
    assert_eq!(t.state(c), State::Established);
    let writable =
        |e: &Event| matches!(e, Event::Tcp { conn, ready } if *conn == c && ready.contains(Ready::WRITABLE));
    assert!(t.events.iter().any(writable), "{:?}", t.events);
    assert_eq!(t.take_error(c), None);
}

/// RFC 9293 3.5 over IPv6.
#[test]
fn active_open_v6() {
    let mut t = Setup::new().v6().client();
    let c = t.connect();
    t.expect("S 0:0(0) <mss 1440,sackOK,TS val * ecr 0,nop,wscale *>");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1440,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// Linux's profile: SYNs go out at 1, 2, 3, 4, 5, 7, 11, 19, 35 and 67 s (RFC 9293 MUST-22), always the same one, and connect
/// fails with ETIMEDOUT after 131 s. Deviates from MUST-23 (at least 180 s), see the next test.
#[test]
fn syn_is_retransmitted_and_given_up_after_131_s() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    for wait in [1000, 1000, 1000, 1000, 1000, 2000, 4000, 8000, 16_000, 32_000] {
        t.expect_after(wait, "S 0:0(0) win >=1 <mss 1460,sackOK,TS val * ecr 0,nop,wscale *>");
        assert_eq!(t.state(c), State::SynSent);
    }
    t.quiet_ms(63_900);
    assert_eq!(t.state(c), State::SynSent);
    t.quiet_ms(200);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
    assert_eq!(t.connections(), 0);
    t.close(c);
    expect_gone(&t);
}

/// RFC 9293 MUST-23: with `profile=rfc` connect goes on for at least three minutes, and backs off.
#[test]
fn syn_goes_on_for_three_minutes_by_the_rfc() {
    let mut t = Setup::new().rfc().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    let sent = t.pass_ms(180_000);
    assert_eq!(t.state(c), State::SynSent, "after three minutes");
    assert!(sent.len() >= 6, "{} retransmissions", sent.len());
    let gaps: Vec<u64> = sent.windows(2).map(|w| w[1].at.since(w[0].at).as_millis() as u64).collect();
    assert!(gaps.windows(2).all(|g| g[1] >= g[0]), "exponential back-off: {gaps:?}");
    t.pass_ms(600_000);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
}

/// TCP_SYNCNT: the application chooses how often a SYN is sent again (RFC 9293 MUST-21).
#[test]
fn syn_retries_can_be_set() {
    let mut t = Setup::new().set("tcp_syn_linear_timeouts", 0).options(|o| o.syn_retries = Some(2)).client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.expect_after(1000, "S 0:0(0)");
    t.expect_after(2000, "S 0:0(0)");
    t.quiet_ms(4100);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
}

/// Linux's first retries do not back off, and the whole takes no longer than doubling ones would have.
#[test]
fn syn_retries_bound_the_time_too() {
    let mut t = Setup::new().options(|o| o.syn_retries = Some(2)).client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    for _ in 0..5 {
        t.expect_after(1000, "S 0:0(0)");
    }
    t.quiet_ms(2100);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
}

/// RFC 9293 3.10.7.3: a RST that acknowledges our SYN refuses the connection (MUST-12: the application is told).
#[test]
fn refused() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("R. 0:0(0) ack 1");
    t.expect_nothing();
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::ERROR));
    assert_eq!(t.take_error(c), Some(Error::ConnectionRefused));
    assert_eq!(t.take_error(c), None);
    assert_eq!(t.connections(), 0);
}

/// RFC 9293 3.10.7.3: a RST without ACK, or whose ACK is not of our SYN, refuses nothing.
#[test]
fn a_blind_reset_does_not_refuse() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("R 0:0(0)");
    t.expect_nothing();
    t.inject("R. 0:0(0) ack 2");
    t.expect_nothing();
    t.inject("R. 0:0(0) ack 0");
    t.expect_nothing();
    assert_eq!(t.state(c), State::SynSent);
}

/// RFC 9293 3.10.7.3 (first): an ACK in SYN-SENT that is not of our SYN is answered <SEQ=SEG.ACK><CTL=RST>, and we go on waiting.
#[test]
fn unacceptable_ack_in_syn_sent() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 5 <mss 1460>");
    t.expect("R 5:5(0) <>");
    t.inject(". 7:7(0) ack 0");
    t.expect("R 0:0(0) <>");
    assert_eq!(t.state(c), State::SynSent);
    t.inject("S. 0:0(0) ack 1 <mss 1460,sackOK>");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// RFC 9293 3.5.1, figure 9's other half: an old half-open peer ACKs something else; we reset it, our SYN is sent again after
/// a second and succeeds (a peer left in LAST-ACK behaves so).
#[test]
fn a_half_open_peer_is_reset_and_the_syn_repeated() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject(". 300:300(0) ack 100");
    t.expect("R 100:100(0)");
    t.expect_after(900..=1000, "S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 <mss 1460>");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// RFC 9293 3.10.7.3 (fifth): neither SYN nor RST in SYN-SENT, with a fitting ACK: dropped.
#[test]
fn no_syn_in_syn_sent() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject(". 1:1(0) ack 1");
    t.expect_nothing();
    t.inject("P. 1:11(10) ack 1");
    t.expect_nothing();
    assert_eq!(t.state(c), State::SynSent);
    assert_eq!(t.stack.counters().dropped(DropReason::NoSynInSynSent), 2);
}

/// tcp_synack_retries: the SYN,ACK is sent again at 1, 2, 4, 8 and 16 s, and the half-open connection is gone 32 s later.
#[test]
fn syn_ack_is_retransmitted_and_given_up() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    for wait in [1000, 2000, 4000, 8000, 16_000] {
        t.expect_after(wait, "S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>");
    }
    t.quiet_ms(32_100);
    expect_gone(&t);
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
}

/// A client whose third ACK was lost sends data: it opens the connection and is delivered.
#[test]
fn data_stands_for_a_lost_third_ack() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject("P. 1:11(10) ack 1");
    let c = t.accept();
    t.read(c, 10);
    t.expect_after(0..=500, ". 1:1(0) ack 11");
}

/// A server that speaks first survives a lost third ACK: the SYN,ACK is sent again until it is ACKed.
#[test]
fn a_server_that_speaks_first_survives_a_lost_third_ack() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.expect_after(1000, "S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    t.write(c, 5);
    t.expect("P. 1:6(5) ack 1");
}

/// The same with SYN cookies, where no state holds the SYN,ACK back for repetition.
#[test]
fn a_server_that_speaks_first_survives_a_lost_third_ack_with_cookies() {
    let mut t = Setup::new().set("tcp_syncookies", 2).server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.expect_after(900..=3000, "S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    t.write(c, 5);
    t.expect("P. 1:6(5) ack 1");
}

/// RFC 9293 3.10.7.4: a repeated SYN in SYN-RECEIVED is answered with the same SYN,ACK, not challenged, not reset.
#[test]
fn a_repeated_syn_gets_the_same_syn_ack() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.quiet_ms(700);
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>");
    assert_eq!(t.count(State::SynReceived), 1);
}

/// RFC 9293 3.10.7.4 (fifth, SYN-RECEIVED): an ACK outside SND.UNA..SND.NXT is answered <SEQ=SEG.ACK><CTL=RST>; the embryo lives.
#[test]
fn bad_ack_in_syn_received() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 100");
    t.expect("R 100:100(0) <>");
    t.inject(". 1:1(0) ack 0");
    t.expect("R 0:0(0) <>");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    assert_eq!(t.state(c), State::Established);
}

/// RFC 9293 MUST-11, 3.10.7.4 (second): a RST in SYN-RECEIVED that came from LISTEN returns there; nobody is told.
#[test]
fn reset_in_syn_received_returns_to_listen() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject("R 1:1(0)");
    t.expect_nothing();
    assert_eq!(t.connections(), 0);
    assert_eq!(t.count(State::Listen), 1);
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
    t.accepted();
}

/// RFC 9293 3.10.7.4 with RFC 5961 3.2: a RST in SYN-RECEIVED resets only inside the window.
#[test]
fn reset_outside_the_window_in_syn_received() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject("R 500001:500001(0)");
    t.expect_nothing();
    t.inject("R 0:0(0)");
    t.expect_nothing();
    assert_eq!(t.count(State::SynReceived), 1);
    t.inject(". 1:1(0) ack 1");
    t.accept();
}

/// RFC 9293 3.5, figure 9: recovery from an old duplicate SYN: the peer resets our SYN,ACK and its real SYN opens.
#[test]
fn old_duplicate_syn() {
    let mut t = Setup::new().server();
    t.flow().peer_iss = 90;
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject("R 1:1(0)");
    t.flow().forget();
    t.flow().peer_iss = 100;
    t.accepted();
}

/// RFC 9293 3.10.7.2: to LISTEN, an ACK is answered <SEQ=SEG.ACK><CTL=RST>, a RST and what has neither SYN nor ACK nor RST by nothing.
#[test]
fn strays_at_a_listener() {
    let mut t = Setup::new().server();
    t.inject(". 1:1(0) ack 77");
    t.expect("R 77:77(0) <>");
    t.inject("S. 1:1(0) ack 78");
    t.expect("R 78:78(0) <>");
    t.inject("R 1:1(0)");
    t.inject("R. 1:1(0) ack 5");
    t.inject("F 1:1(0)");
    t.inject("- 1:1(0)");
    t.inject("P 1:11(10)");
    expect_gone(&t);
}

/// RFC 9293 3.10.7.1: to a port that nobody listens on, a SYN is answered <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>, an ACK
/// <SEQ=SEG.ACK><CTL=RST>, a RST by nothing.
#[test]
fn nobody_listens() {
    let mut t = Setup::new().bare();
    t.inject(SYN);
    t.expect("R. 0:0(0) ack 1 win 0 <>");
    t.inject("P. 1:101(100) ack 55");
    t.expect("R 55:55(0) win 0 <>");
    t.inject("F 1:101(100)");
    t.expect("R. 0:0(0) ack 102 <>");
    t.inject("R 1:1(0)");
    t.inject("R. 1:1(0) ack 1");
    t.expect_nothing();
    assert_eq!(t.stack.counters().tcp_out_rsts, 3);
}

/// As [`nobody_listens`], over IPv6.
#[test]
fn nobody_listens_v6() {
    let mut t = Setup::new().v6().bare();
    t.inject(SYN);
    t.expect("R. 0:0(0) ack 1 win 0 <>");
    t.inject("P. 1:101(100) ack 55");
    t.expect("R 55:55(0) win 0 <>");
}

fn isn(seed: u8, at: Instant, port: u16) -> u32 {
    let mut t = Setup::new().seed(seed).start(at).server();
    t.peer(port);
    t.inject(SYN);
    segment(&t.next_sent()).seq
}

/// RFC 9293 MUST-8, RFC 6528: the ISN of one four-tuple grows with a clock of about 4 µs.
#[test]
fn isn_is_clock_driven() {
    let first = isn(7, Instant::from_secs(10), 40_000);
    let later = isn(7, Instant::from_secs(11), 40_000);
    let grown = later.wrapping_sub(first);
    // Linux's clock ticks in 64 ns, RFC 6528's in 4 us.
    assert!((200_000..=20_000_000).contains(&grown), "in one second the ISN grew by {grown}");
}

/// RFC 9293 SHLD-1, MUST-9: another secret, another four-tuple: an unrelated ISN.
#[test]
fn isn_is_keyed() {
    let at = Instant::from_secs(10);
    let isns = [isn(7, at, 40_000), isn(8, at, 40_000), isn(7, at, 40_001), isn(7, at, 40_002)];
    for (i, a) in isns.iter().enumerate() {
        for b in &isns[i + 1..] {
            assert!(a.abs_diff(*b) > 100_000, "{isns:?}");
        }
    }
    assert_ne!(isns[3].wrapping_sub(isns[2]), isns[2].wrapping_sub(isns[0]), "no constant step: {isns:?}");
}

/// Equal seeds and equal inputs give equal bytes.
#[test]
fn equal_seeds_give_equal_bytes() {
    let run = |seed| {
        let mut t = Setup::new().seed(seed).client();
        t.connect();
        t.next_sent().bytes
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

fn ports(seed: u8, count: usize) -> Vec<u16> {
    let mut t = Setup::new().seed(seed).bare();
    let to = SocketAddr::new(v4(2), 443);
    let ports = (0..count)
        .map(|_| {
            let conn = t.stack.tcp_connect(t.now(), None, to, SocketOptions::default()).unwrap();
            t.stack.tcp_local_addr(conn).unwrap().port()
        })
        .collect();
    t.pump();
    t.take_sent();
    ports
}

/// RFC 6056: ephemeral ports lie in the range, differ while in use, and another secret gives others.
#[test]
fn ephemeral_ports() {
    let mine = ports(1, 200);
    assert!(mine.iter().all(|p| (32_768..=60_999).contains(p)), "{mine:?}");
    let mut sorted = mine.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 200, "each port once");
    assert_ne!(mine, ports(2, 200), "a port says nothing about the next host's");
}

/// EADDRNOTAVAIL: no ephemeral port is left for this destination; another destination may take the same ports.
#[test]
fn ephemeral_ports_run_out_per_destination() {
    let mut t = Setup::new().set("ip_local_port_range", "50000 50009").bare();
    let options = SocketOptions::default();
    let (first, second) = (SocketAddr::new(v4(2), 443), SocketAddr::new(v4(3), 443));
    for _ in 0..10 {
        t.stack.tcp_connect(t.now(), None, first, options).unwrap();
    }
    assert_eq!(t.stack.tcp_connect(t.now(), None, first, options), Err(Error::AddrNotAvailable));
    assert!(t.stack.tcp_connect(t.now(), None, second, options).is_ok());
    t.pump();
    assert_eq!(t.take_sent().len(), 11);
}

/// RFC 9293 MUST-46: no connection to a broadcast or multicast address.
#[test]
fn connect_to_many_is_refused() {
    let mut t = Setup::new().bare();
    for to in ["224.0.0.5:80", "255.255.255.255:80", "10.0.0.255:80", "[ff02::1]:80"] {
        let to: SocketAddr = to.parse().unwrap();
        let result = t.stack.tcp_connect(t.now(), None, to, SocketOptions::default());
        assert!(
            matches!(
                result,
                Err(Error::NetworkUnreachable
                    | Error::InvalidArgument
                    | Error::AddrNotAvailable
                    | Error::AccessDenied)
            ),
            "{to}: {result:?}"
        );
    }
    t.pump();
    t.expect_nothing();
}

fn syn_between(t: &mut Script, from: IpAddr, to: IpAddr) {
    let mut packet = t.segment(SYN);
    packet.ip.src = from;
    packet.ip.dst = to;
    t.inject_packet(&packet);
}

/// RFC 9293 MUST-57: a segment to a broadcast or multicast address is silently discarded.
#[test]
fn syn_to_many_is_ignored() {
    let mut t = Setup::new().any_address().server();
    for to in ["224.0.0.1", "255.255.255.255", "10.0.0.255"] {
        syn_between(&mut t, v4(2), to.parse().unwrap());
        t.expect_nothing();
    }
    syn_between(&mut t, v6(2), "ff02::1".parse().unwrap());
    expect_gone(&t);
}

/// RFC 9293 MUST-63: a SYN from a broadcast, multicast or unspecified source, or from our own address, is discarded.
#[test]
fn syn_from_many_is_ignored() {
    let mut t = Setup::new().server();
    for from in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "10.0.0.1", "10.0.0.255"] {
        syn_between(&mut t, from.parse().unwrap(), v4(1));
        t.expect_nothing();
    }
    expect_gone(&t);
    assert!(t.stack.counters().dropped(DropReason::BadSource) >= 5);
}

/// A packet for an address that is not ours is dropped and counted, unless all addresses are taken.
#[test]
fn not_for_us() {
    let mut t = Setup::new().bare();
    syn_between(&mut t, v4(2), v4(77));
    t.expect_nothing();
    assert_eq!(t.stack.counters().dropped(DropReason::NotForUs), 1);
    let mut t = Setup::new().any_address().bare();
    syn_between(&mut t, v4(2), v4(77));
    assert_eq!(segment(&t.next_sent()).flags, flag::RST | flag::ACK);
}

/// RFC 9293 3.10.7.2: data in a SYN is never lost and never delivered twice, whether it was taken or is sent again.
#[test]
fn data_in_a_syn() {
    let mut t = Setup::new().server();
    t.inject("S 0:100(100) win 65535 <mss 1460>");
    let syn_ack = t.next_sent();
    let ack = segment(&syn_ack).ack.wrapping_sub(t.flow().peer_iss);
    assert!(ack == 1 || ack == 101, "the SYN,ACK acknowledges {ack}");
    t.inject("P. 1:201(200) ack 1");
    let c = t.accept();
    t.read(c, 200);
    t.read_blocks(c);
    t.expect_after(0..=500, ". 1:1(0) ack 201");
}

/// An active open whose SYN,ACK carries a FIN or data later works as without: data right behind the SYN,ACK is delivered.
#[test]
fn data_right_behind_the_syn_ack() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    t.expect(". 1:1(0) ack 1");
    t.inject("P. 1:11(10) ack 1");
    t.read(c, 10);
    t.expect_after(0..=500, ". 1:1(0) ack 11");
}

/// Data written before the handshake ends is refused or queued, and goes out once it has ended (RFC 9293 3.10.2).
#[test]
fn write_in_syn_sent() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    let early = t.try_write(c, 10, Default::default());
    assert!(matches!(early, Err(Error::WouldBlock | Error::InProgress) | Ok(10)), "{early:?}");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    if early == Ok(10) {
        let first = t.next_sent();
        if segment(&first).payload.is_empty() {
            t.expect("P. 1:11(10) ack 1");
        }
    } else {
        t.expect(". 1:1(0) ack 1");
        t.write(c, 10);
        t.expect("P. 1:11(10) ack 1");
    }
}

/// Closing in SYN-SENT deletes the connection (RFC 9293 3.10.4): the SYN,ACK that comes late is answered by a RST.
#[test]
fn close_in_syn_sent() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.close(c);
    t.expect_nothing();
    expect_gone(&t);
    t.inject("S. 0:0(0) ack 1 <mss 1460>");
    t.expect("R 1:1(0)");
}

/// A bound local port is used for connecting, and a second connection from the same four-tuple is EADDRINUSE or EADDRNOTAVAIL.
#[test]
fn connect_from_a_bound_port() {
    let mut t = Setup::new().client();
    t.flow().local.set_port(5555);
    t.bind_connect(BindOptions::default()).unwrap();
    t.expect("S 0:0(0)");
    let again = t.bind_connect(BindOptions::default());
    assert!(matches!(again, Err(Error::AddrInUse | Error::AddrNotAvailable)), "{again:?}");
}

/// RFC 9293 MUST-43, MUST-44, MUST-45: the source address is chosen by family; without a route there is ENETUNREACH, a foreign one is EADDRNOTAVAIL.
#[test]
fn source_addresses() {
    let mut t = Setup::new().bare();
    let options = SocketOptions::default();
    let c = t.stack.tcp_connect(t.now(), None, "192.0.2.9:80".parse().unwrap(), options).unwrap();
    assert_eq!(t.stack.tcp_local_addr(c).unwrap().ip(), v4(1));
    let c = t.stack.tcp_connect(t.now(), None, "[2001:db8::9]:80".parse().unwrap(), options).unwrap();
    assert_eq!(t.stack.tcp_local_addr(c).unwrap().ip(), v6(1));
    t.pump();
    t.take_sent();
    let foreign = t.stack.tcp_bind(t.now(), "10.9.9.9:0".parse().unwrap(), BindOptions::default());
    assert_eq!(foreign, Err(Error::AddrNotAvailable));
    let mut config = Setup::new().config();
    config.routes.clear();
    let mut stack = finack_core::Stack::new(t.now(), config);
    let lost = stack.tcp_connect(t.now(), None, "192.0.2.9:80".parse().unwrap(), options);
    assert_eq!(lost, Err(Error::NetworkUnreachable));
}

/// A SYN that asks for ECN and has an unknown option opens as any other; ECN is granted (RFC 3168 6.1.1, `tcp_ecn` = 2).
#[test]
fn syn_with_ecn_flags_opens() {
    let mut t = Setup::new().server();
    let mut packet = t.segment(SYN);
    if let Body::Tcp(tcp) = &mut packet.body {
        tcp.flags |= flag::ECE | flag::CWR;
        tcp.options.push(Opt::Other(253, vec![1, 2, 3, 4]));
    }
    t.inject_packet(&packet);
    t.expect("SE. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>");
    t.inject(". 1:1(0) ack 1");
    t.accept();
}

/// The SYN,ACK echoes the SYN's timestamp, whatever it is, and offers ours (RFC 7323 3.2).
#[test]
fn timestamps_are_echoed_in_the_handshake() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 4294967295 ecr 0,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,TS val * ecr 4294967295,nop,wscale *>");
    t.inject(". 1:1(0) ack 1 <nop,nop,TS val 3 ecr +0>");
    let c = t.accept();
    assert!(t.info(c).timestamps);
    t.write(c, 1);
    t.expect("P. 1:2(1) ack 1 <TS val * ecr 3>");
}

/// RFC 7323 3.2: with `profile=rfc` a third ACK that lacks the agreed timestamp is dropped: the connection stays half open, is not accepted,
/// and is opened by the next ACK that has one. With Linux's profile it opens.
#[test]
fn a_third_ack_without_its_timestamp() {
    const SYN: &str = "S 0:0(0) win 65535 <mss 1460,sackOK,TS val * ecr 0,nop,wscale 7>";
    let mut t = Setup::new().timestamps().rfc().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 <>");
    t.expect_nothing();
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
    assert_eq!(t.count(State::SynReceived), 1);
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    assert_eq!(t.state(c), State::Established);
    let mut t = Setup::new().timestamps().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 <>");
    t.accept();
}

/// RFC 5961 3.2: a RST inside the window of a half-open connection, but not at its edge, is challenged; the handshake goes on.
#[test]
fn a_blind_reset_in_syn_received() {
    let mut t = Setup::new().server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject("R 2:2(0)");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.count(State::SynReceived), 1);
    t.inject(". 1:1(0) ack 1");
    t.accept();
}
