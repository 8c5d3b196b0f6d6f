//! What a path takes, found out by trying (RFC 4821): what probes need, what becomes of them, and what time-outs mean.

use finack_core::options::{MtuDiscovery, SendFlags};
use finack_core::stack::ConnId;
use finack_sim::{IcmpError, Script, Setup};

use crate::support::{drain, place};

fn probing() -> Setup {
    Setup::new()
        .set("tcp_mtu_probing", 2)
        .set("tcp_base_mss", 1000)
        .set("finack.tcp_initial_cwnd", 20)
        .set("tcp_early_retrans", 0)
        .options(|o| o.send_buffer = Some(1_000_000))
}

/// A connection whose segments are small at first: as Linux has it, one that the stack opened.
fn searching(setup: Setup) -> (Script, ConnId) {
    let mut t = setup.client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 1024");
    (t, c)
}

/// Where each segment begins and how long it is.
fn places(t: &mut Script) -> Vec<(u32, u32)> {
    let sent = t.take_sent();
    sent.iter().map(|s| place(t, s)).collect()
}

/// RFC 4821 7.3, 7.4: the probe has the size in the middle, and enough follows it to tell of its loss. There is one at a
/// time.
#[test]
fn a_probe_goes_ahead_of_what_tells_of_its_loss() {
    let (mut t, c) = searching(probing());
    assert_eq!(t.info(c).snd_mss, 1000);
    t.write(c, 5229);
    let sent = places(&mut t);
    assert_eq!(sent[0], (1, 1000), "too little follows for a probe");
    let (mut t, c) = searching(probing());
    t.write(c, 6230);
    let sent = places(&mut t);
    assert_eq!(sent[0], (1, 1230));
    assert!(sent[1..].iter().all(|&(_, len)| len <= 1000), "{sent:?}");
}

/// RFC 4821 7.6.1 and 7.3: each probe that arrives raises the size of all segments; the search ends within
/// tcp_probe_threshold of what both ends take.
#[test]
fn the_search_ends_at_what_the_ends_take() {
    let (mut t, c) = searching(probing());
    t.write(c, 900_000);
    drain(&mut t, 1, 900_001);
    let mss = t.info(c).snd_mss;
    assert!((1452..=1460).contains(&mss), "{mss}");
    assert_eq!(t.stack.counters().tcp_mtu_probes, t.stack.counters().tcp_mtu_probes_arrived);
}

/// RFC 4821 7.6.2: the path does not take the probe. Nothing is learned but that, and no window shrinks.
#[test]
fn a_lost_probe_is_no_congestion() {
    let (mut t, c) = searching(probing());
    t.write(c, 6230);
    assert_eq!(places(&mut t)[0], (1, 1230));
    let cwnd = t.info(c).cwnd;
    for sacked in [2231, 3231, 4231] {
        t.inject(&format!(". 1:1(0) ack 1 win 1024 <sack 1231:{sacked}>"));
    }
    assert_eq!(places(&mut t), [(1, 1000), (1001, 230)]);
    let info = t.info(c);
    assert_eq!((info.cwnd, info.ssthresh), (cwnd, u64::MAX));
    t.inject(". 1:1(0) ack 6231 win 1024");
    assert_eq!(t.info(c).snd_mss, 1000);
    assert_eq!(t.stack.counters().tcp_mtu_probes_lost, 1);
}

/// The same without SACK: three duplicate ACKs tell of it, and more of them tell nothing new.
#[test]
fn a_lost_probe_is_repaired_without_sack() {
    let mut t = probing().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 1024");
    t.write(c, 9230);
    assert_eq!(places(&mut t)[0], (1, 1230));
    for _ in 0..3 {
        t.inject(". 1:1(0) ack 1 win 1024");
    }
    assert_eq!(places(&mut t), [(1, 1000), (1001, 230)]);
    for _ in 0..5 {
        t.inject(". 1:1(0) ack 1 win 1024");
    }
    assert_eq!(places(&mut t), []);
    t.inject(". 1:1(0) ack 9231 win 1024");
    assert_eq!(t.info(c).ssthresh, u64::MAX);
}

/// RFC 4821 7.6.2, 4: after a lost probe the next one waits for a round trip for each segment of the window.
#[test]
fn probes_that_fail_are_rare() {
    let (mut t, c) = searching(probing());
    t.write(c, 6230);
    assert_eq!(places(&mut t)[0], (1, 1230));
    t.pass_ms(100);
    for sacked in [2231, 3231, 4231] {
        t.inject(&format!(". 1:1(0) ack 1 win 1024 <sack 1231:{sacked}>"));
    }
    t.take_sent();
    t.inject(". 1:1(0) ack 6231 win 1024");
    t.write(c, 20_000);
    assert_eq!(places(&mut t)[0], (6231, 1000), "the next probe came at once");
    drain(&mut t, 6231, 26_231);
    // No window takes twenty seconds at such a round trip.
    t.pass_ms(20_000);
    t.write(c, 6230);
    let next = places(&mut t)[0];
    assert!(next.1 > 1000 && next.1 < 1230, "{next:?}");
}

/// RFC 4821 7.6.4: with other losses beside it the probe tells nothing, and the window shrinks as ever.
#[test]
fn other_losses_are_congestion() {
    let (mut t, c) = searching(probing());
    t.write(c, 8230);
    assert_eq!(places(&mut t)[0], (1, 1230));
    for sacked in [3231, 4231, 5231] {
        t.inject(&format!(". 1:1(0) ack 1 win 1024 <sack 2231:{sacked}>"));
    }
    t.take_sent();
    assert!(t.info(c).ssthresh < u64::MAX);
    assert_eq!(t.stack.counters().tcp_mtu_probes_lost, 0);
    t.inject(". 1:1(0) ack 8231 win 1024");
    t.write(c, 900_000);
    drain(&mut t, 8231, 908_231);
    assert!(t.stack.counters().tcp_mtu_probes > 1, "it is tried again");
}

/// RFC 4821 7.7: R1 without an answer takes segments back to what is known to fit, further time-outs halve them, and
/// none is smaller than tcp_mtu_probe_floor.
#[test]
fn time_outs_shrink_segments_to_the_floor() {
    let setup =
        Setup::new().set("tcp_mtu_probing", 1).set("tcp_mtu_probe_floor", 300).set("tcp_early_retrans", 0);
    let mut t = setup.server();
    let c = t.accepted();
    t.write(c, 1460);
    let mut sizes = Vec::new();
    for _ in 0..9 {
        sizes.extend(places(&mut t).first().map(|&(_, len)| len));
        t.await_packet(1..=130_000, "a retransmission");
    }
    assert_eq!(sizes, [1460, 1460, 1460, 1460, 1460, 1024, 512, 300, 300]);
    t.take_sent();
    assert_eq!(t.info(c).snd_mss, 300);
}

/// Once a black hole is known, the size is searched for again from below (RFC 4821 7.7, 7.2).
#[test]
fn the_search_goes_on_behind_a_black_hole() {
    let setup = probing().set("tcp_mtu_probing", 1).set("tcp_base_mss", 1024);
    let mut t = setup.server();
    let c = t.accepted();
    t.write(c, 1460);
    t.pass_ms(7_000);
    t.inject(". 1:1(0) ack 1461 win 1024");
    assert_eq!(t.info(c).snd_mss, 1024);
    t.write(c, 900_000);
    drain(&mut t, 1461, 901_461);
    assert!(t.info(c).snd_mss > 1400, "{}", t.info(c).snd_mss);
}

/// RFC 4821 7.3: what was found holds for tcp_probe_interval; then larger segments are tried again.
#[test]
fn the_range_is_opened_again_after_a_while() {
    let (mut t, c) = searching(probing().set("tcp_probe_threshold", 500));
    t.write(c, 6230);
    assert_eq!(places(&mut t)[0], (1, 1000), "the range is narrow enough");
    t.inject(". 1:1(0) ack 6231 win 1024");
    t.stack.set_sysctl("tcp_probe_threshold", "8").unwrap();
    t.write(c, 6230);
    assert_eq!(places(&mut t)[0], (6231, 1230));
}

/// RFC 4821 10.1: a probe holds no byte of two records, and does not pass an urgent one.
#[test]
fn a_probe_respects_records() {
    let (mut t, c) = searching(probing());
    let eor = SendFlags { eor: true, ..SendFlags::default() };
    assert_eq!(t.try_write(c, 1200, eor), Ok(1200));
    t.take_sent();
    assert_eq!(t.try_write(c, 1200, eor), Ok(1200));
    t.write(c, 8000);
    let sent = places(&mut t);
    assert!(sent.iter().all(|&(at, len)| at + len <= 2401 || at >= 2401), "{sent:?}");
}

/// RFC 1191 6.5, RFC 8201 5.4: an ICMP error about a probe is as good as its loss, and is no congestion either.
#[test]
fn a_router_complains_of_the_probe() {
    let (mut t, c) = searching(probing());
    t.write(c, 6230);
    assert_eq!(places(&mut t)[0], (1, 1230));
    let cwnd = t.info(c).cwnd;
    t.inject_icmp(IcmpError::TooBig(1200), ". 1:1231(1230) ack 1");
    assert_eq!(places(&mut t), [(1, 1000), (1001, 230)]);
    assert_eq!((t.info(c).cwnd, t.info(c).snd_mss), (cwnd, 1000));
}

/// IP_MTU_DISCOVER (ip(7)): which packets say DF, and whom an ICMP error moves (RFC 1191 3).
#[test]
fn mtu_discovery_modes() {
    use MtuDiscovery::{Do, Dont, Interface, Omit, Probe, Want};
    for (mode, df, follows) in [
        (Dont, false, false),
        (Want, true, true),
        (Do, true, true),
        (Probe, false, true),
        (Interface, false, false),
        (Omit, false, false),
    ] {
        let mut t = Setup::new().options(|o| o.mtu_discovery = Some(mode)).server();
        let c = t.accepted();
        t.write(c, 1460);
        let sent = t.next_sent();
        assert_eq!(sent.packet.ip.df, df, "{mode:?}");
        t.inject_icmp(IcmpError::TooBig(1000), "P. 1:1461(1460) ack 1");
        t.take_sent();
        assert_eq!(t.info(c).snd_mss, if follows { 960 } else { 1460 }, "{mode:?}");
    }
}

/// `ip_no_pmtu_disc` (Linux): nothing says DF; 2 ignores routers, also for connections that come later.
#[test]
fn no_discovery_at_all() {
    let mut t = Setup::new().set("ip_no_pmtu_disc", 2).server();
    let c = t.accepted();
    t.write(c, 1460);
    assert!(!t.next_sent().packet.ip.df);
    t.inject_icmp(IcmpError::TooBig(1000), "P. 1:1461(1460) ack 1");
    t.expect_nothing();
    assert_eq!(t.info(c).path_mtu, 1500);
}
