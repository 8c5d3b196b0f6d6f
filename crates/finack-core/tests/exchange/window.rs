//! Windows both ways: flow control, zero windows and their probes, shrinking, silly windows, scaling.

use finack_core::device::Capabilities;
use finack_core::options::SendFlags;
use finack_core::tcp::State;
use finack_sim::packet::flag;
use finack_sim::{Script, Setup};

use crate::support::{drain, expect_gone, expect_probe, place, segment};

/// A server whose peer has acknowledged with a window of `win` (scaled by 128) at once.
fn with_peer_window(setup: Setup, win: u16) -> (Script, finack_core::stack::ConnId) {
    let mut t = setup.server();
    t.inject("S 0:0(0) win 1000 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1");
    t.flow().win = win;
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    (t, c)
}

/// RFC 9293 3.8.6: no byte beyond the window is sent; an update lets more out.
#[test]
fn the_window_is_obeyed() {
    let (mut t, c) = with_peer_window(Setup::new(), 46);
    // 46 * 128 = 5888 = 4 * 1460 + 48.
    t.write(c, 10_000);
    for i in 0..4 {
        t.expect(&format!("P?. {}:{}(1460) ack 1", 1 + i * 1460, 1461 + i * 1460));
    }
    t.expect_nothing();
    t.inject(". 1:1(0) ack 5841 win 1024");
    t.expect("P?. 5841:7301(1460) ack 1");
    t.expect("P?. 7301:8761(1460) ack 1");
    t.expect("P. 8761:10001(1240) ack 1");
}

/// RFC 9293 MUST-38 (sender's silly window avoidance): a window smaller than a segment is used only after the override time-out.
#[test]
fn a_small_window_is_used_late() {
    let (mut t, c) = with_peer_window(Setup::new(), 1000);
    t.write(c, 1460);
    t.expect("P. 1:1461(1460) ack 1");
    t.inject(". 1:1(0) ack 1461 win 8");
    t.write(c, 5000);
    t.expect_after(100..=1000, "P?. 1461:2485(1024) ack 1");
}

/// RFC 9293 MUST-1: the window is an unsigned number: 65535 without scaling is no negative one.
#[test]
fn the_window_is_unsigned() {
    let mut t = Setup::new().set("tcp_initial_cwnd", 100).options(|o| o.send_buffer = Some(200_000)).server();
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1 <mss 1460>");
    t.inject(". 1:1(0) ack 1 win 65535");
    let c = t.accept();
    t.write(c, 100_000);
    let sent = t.take_sent();
    assert_eq!(sent.len(), 44, "65535 bytes hold 44 segments of 1460");
    t.inject(&format!(". 1:1(0) ack {} win 65535", 1 + 44 * 1460));
    assert!(!t.take_sent().is_empty());
}

/// RFC 7323 2.2: the window of a SYN or SYN,ACK is never scaled.
#[test]
fn the_window_of_a_syn_is_not_scaled() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 2000 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.info(c).snd_wnd, 2000);
    t.write(c, 10_000);
    let bytes: usize = t.take_sent().iter().map(|s| segment(s).payload.len()).sum();
    assert!(bytes <= 2000, "{bytes} bytes sent");
    t.inject(". 1:1(0) ack 1461 win 16");
    assert_eq!(t.info(c).snd_wnd, 2048);
    t.take_sent();
}

/// RFC 7323 2.3: a shift above 14 counts as 14.
#[test]
fn a_shift_above_14() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 65535 <mss 1460,nop,wscale 15>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 3");
    let c = t.accept();
    assert_eq!(t.info(c).snd_wnd, 3 << 14);
}

/// RFC 7323 2.2: without the peer's option nothing is scaled either way, and ours is not sent.
#[test]
fn no_scaling_without_consent() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 1000 <mss 1460>");
    t.expect("S. 0:0(0) ack 1 <mss 1460>");
    t.inject(". 1:1(0) ack 1 win 500");
    let c = t.accept();
    assert_eq!(t.info(c).snd_wnd, 500);
    assert_eq!(t.info(c).window_scale, None);
}

/// RFC 9293 MUST-35, MUST-36, SHLD-29, SHLD-30: a zero window is probed first after an RTO, then with growing distance.
#[test]
fn a_zero_window_is_probed() {
    let (mut t, c) = with_peer_window(Setup::new(), 100);
    t.write(c, 1000);
    t.expect("P. 1:1001(1000) ack 1");
    t.inject(". 1:1(0) ack 1001 win 0");
    t.write(c, 1000);
    t.expect_nothing();
    let mut wait = 150..=1000;
    for _ in 0..6 {
        let before = t.now();
        expect_probe(&mut t, wait.clone(), 1001);
        let took = t.now().since(before).as_millis() as u64;
        t.inject(". 1:1(0) ack 1001 win 0");
        wait = took * 2 - 20..=took * 2 + 20;
    }
    t.inject(". 1:1(0) ack 1001 win 100");
    t.expect("P. 1001:2001(1000) ack 1");
}

/// RFC 9293 MUST-37, MAY-8: for an hour the window stays zero and every probe is ACKed: the connection lives and the data goes out at last.
#[test]
fn a_zero_window_for_an_hour() {
    let (mut t, c) = with_peer_window(Setup::new(), 0);
    t.write(c, 1000);
    t.expect_nothing();
    let end = t.now() + core::time::Duration::from_secs(3600);
    let mut probes = 0;
    while t.now() < end {
        expect_probe(&mut t, 100..=121_000, 1);
        probes += 1;
        t.inject(". 1:1(0) ack 1 win 0");
    }
    assert!((30..60).contains(&probes), "{probes} probes in an hour");
    assert_eq!(t.state(c), State::Established);
    assert!(t.stack.counters().tcp_window_probes >= probes);
    t.inject(". 1:1(0) ack 1 win 100");
    t.expect("P. 1:1001(1000) ack 1");
}

/// A lost window update heals without the application: the probe's answer carries it.
#[test]
fn a_lost_window_update_heals() {
    let (mut t, c) = with_peer_window(Setup::new(), 0);
    t.write(c, 1000);
    expect_probe(&mut t, 100..=1000, 1);
    // The peer had opened its window and the update was lost; it answers the probe.
    t.inject(". 1:1(0) ack 1 win 64");
    t.expect("P. 1:1001(1000) ack 1");
}

/// A peer that answers no probe is gone after the retries (RFC 9293 3.8.6.1 allows giving up only then), and the application is told.
#[test]
fn unanswered_probes_end_the_connection() {
    let (mut t, c) = with_peer_window(Setup::new().set("tcp_retries2", 5), 0);
    t.write(c, 1000);
    let probes = t.pass_ms(60_000);
    assert!((4..=8).contains(&probes.len()), "{} probes", probes.len());
    assert_eq!(t.take_error(c), Some(finack_core::Error::TimedOut));
    assert_eq!(t.connections(), 0);
}

/// An orphan (closed by its application) whose peer keeps its window at zero dies after the orphan retries, ACKs or not.
#[test]
fn an_orphan_at_a_zero_window_dies() {
    let (mut t, c) = with_peer_window(Setup::new(), 0);
    t.write(c, 1000);
    t.close(c);
    let end = t.now() + core::time::Duration::from_secs(3600);
    while t.connections() > 0 && t.now() < end {
        let sent = t.pass_ms(100);
        if sent.iter().any(|s| !segment(s).has(flag::RST)) {
            t.inject(". 1:1(0) ack 1 win 0");
        }
    }
    t.take_sent();
    expect_gone(&t);
    assert!(t.stack.counters().tcp_abort_on_orphan >= 1);
}

/// RFC 9293 MUST-34, SHLD-15, SHLD-16, SHLD-17: a peer that shrinks its window below SND.NXT: nothing new is sent, what is out is repeated,
/// nothing is reset, and it goes on when the window opens again.
#[test]
fn a_peer_that_shrinks_its_window() {
    let (mut t, c) = with_peer_window(Setup::new(), 1000);
    t.write(c, 14_600);
    assert_eq!(t.take_sent().len(), 10);
    t.inject(". 1:1(0) ack 1461 win 10");
    t.write(c, 1000);
    t.expect_nothing();
    let sent = t.pass_ms(20_000);
    assert!(!sent.is_empty(), "what is unacknowledged is sent again, or the window probed");
    for s in &sent {
        let (seq, len) = place(&t, s);
        assert!(!segment(s).has(flag::RST));
        assert!(seq + len <= 14_601, "nothing new beyond the shrunk edge: {seq}+{len}");
    }
    assert_eq!(t.state(c), State::Established);
    t.inject(". 1:1(0) ack 1461 win 1000");
    t.take_sent();
    drain(&mut t, 1461, 15_601);
    t.pass_ms(100);
    assert_eq!(t.info(c).send_queue, 0);
}

/// As above, but the window shrinks to zero while data is in flight, and for long.
#[test]
fn a_peer_that_shrinks_its_window_to_zero() {
    let (mut t, c) = with_peer_window(Setup::new(), 1000);
    t.write(c, 14_600);
    assert_eq!(t.take_sent().len(), 10);
    t.inject(". 1:1(0) ack 1461 win 0");
    t.take_sent();
    for _ in 0..30 {
        let sent = t.pass_ms(60_000);
        assert!(sent.iter().all(|s| !segment(s).has(flag::RST)));
        t.inject(". 1:1(0) ack 1461 win 0");
        t.take_sent();
    }
    assert_eq!(t.state(c), State::Established);
    t.inject(". 1:1(0) ack 1461 win 1000");
    drain(&mut t, 1461, 14_601);
    t.pass_ms(100);
    assert_eq!(t.info(c).send_queue, 0);
}

/// RFC 9293 3.10.7.4 (fifth): an older segment does not change the window (SND.WL1, SND.WL2).
#[test]
fn an_old_segment_does_not_change_the_window() {
    let mut t = Setup::new().options(|o| o.quickack = true).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.inject("P. 11:21(10) ack 101 win 500");
    t.expect(". 101:101(0) ack 1");
    assert_eq!(t.info(c).snd_wnd, 64_000);
    t.inject("P. 1:11(10) ack 1 win 1");
    t.take_sent();
    assert_eq!(t.info(c).snd_wnd, 64_000, "an older SEG.SEQ and SEG.ACK");
    t.inject(". 21:21(0) ack 101 win 600");
    assert_eq!(t.info(c).snd_wnd, 600 << 7, "a pure update counts");
    t.inject(". 21:21(0) ack 101 win 300");
    assert_eq!(t.info(c).snd_wnd, 300 << 7);
}

/// The same where the acknowledgement is the same: of two segments that overtook each other the later one's window counts (SND.WL1).
#[test]
fn an_overtaken_segment_does_not_change_the_window() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 101:201(100) ack 1 win 600");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.info(c).snd_wnd, 600 << 7);
    t.inject("P. 1:101(100) ack 1 win 1");
    t.expect_after(0..=300, ". 1:1(0) ack 201");
    assert_eq!(t.info(c).snd_wnd, 600 << 7);
    t.read(c, 200);
}

/// Our own window closes as the application does not read, never retreats (RFC 9293 SHLD-14; checked on every segment), and once it
/// has read a good part an update is sent without being asked for.
#[test]
fn our_window_closes_and_opens() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(20_000)).server();
    let c = t.accepted();
    let (seq, window) = fill(&mut t);
    assert!(window < 1460, "the window closed: {window}");
    let queued = t.info(c).recv_queue;
    assert_eq!(queued, u64::from(seq) - 1);
    t.read(c, queued as usize);
    let sent = t.take_sent();
    let last = segment(sent.last().expect("a window update"));
    assert!(u32::from(last.window) << t.flow().stack_scale() >= 5000, "win {}", last.window);
}

/// Sends full segments until the stack's window is used up; the next sequence number and the last window in bytes.
fn fill(t: &mut Script) -> (u32, u32) {
    let mut seq = 1;
    let mut edge = 1 + 2000;
    let mut window = u32::MAX;
    for _ in 0..1000 {
        let len = 1460.min(edge - seq);
        if len == 0 {
            break;
        }
        t.inject(&format!("P. {seq}:{}({len}) ack 1", seq + len));
        seq += len;
        let mut sent = t.take_sent();
        if sent.is_empty() {
            sent = t.pass_ms(500);
        }
        for s in &sent {
            let (scale, iss) = (t.flow().stack_scale(), t.flow().peer_iss);
            let tcp = segment(s);
            window = u32::from(tcp.window) << scale;
            edge = edge.max(tcp.ack.wrapping_sub(iss) + window);
        }
    }
    (seq, window)
}

/// RFC 9293 MUST-39 (receiver's silly window avoidance): reading byte by byte does not open the window byte by byte.
#[test]
fn our_window_does_not_open_in_crumbs() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(20_000)).server();
    let c = t.accepted();
    let (seq, _) = fill(&mut t);
    let mut updates = 0;
    let total = t.info(c).recv_queue as usize;
    for _ in 0..total / 10 {
        t.read(c, 10);
        for s in t.take_sent() {
            updates += 1;
            let opened = u32::from(segment(&s).window) << t.flow().stack_scale();
            assert!(opened >= 1460, "an update of {opened} bytes");
        }
    }
    assert!((1..=20).contains(&updates), "{updates} window updates for {total} bytes read 10 at a time");
    let _ = seq;
}

/// RFC 9293 MAY-8, 3.8.6.1: a probe into our zero window is answered with the present ACK and window, its byte is not taken.
#[test]
fn probes_are_answered() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(8192)).server();
    let c = t.accepted();
    let (seq, window) = fill(&mut t);
    assert_eq!(window, 0);
    t.inject(&format!(". {}:{}(0) ack 1", seq - 1, seq - 1));
    t.expect(&format!(". 1:1(0) ack {seq} win 0"));
    t.quiet_ms(1000);
    t.inject(&format!(". {seq}:{}(1) ack 1", seq + 1));
    t.expect(&format!(". 1:1(0) ack {seq} win 0"));
    let queued = t.info(c).recv_queue as usize;
    assert_eq!(queued as u32, seq - 1);
    t.read(c, queued);
    t.take_sent();
    t.inject(&format!(". {}:{}(0) ack 1", seq - 1, seq - 1));
    t.expect(&format!(". 1:1(0) ack {seq} win >=1"));
}

/// RFC 9293 MUST-66, 3.10.7.4: at our zero window ACKs are still processed: our own data goes on.
#[test]
fn acks_count_at_our_zero_window() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(8192)).server();
    let c = t.accepted();
    let (seq, _) = fill(&mut t);
    t.write(c, 100);
    t.expect(&format!("P. 1:101(100) ack {seq}"));
    t.inject(&format!(". {seq}:{seq}(0) ack 101"));
    assert_eq!(t.info(c).send_queue, 0);
    // Even where the segment carries data that does not fit.
    t.write(c, 100);
    t.expect(&format!("P. 101:201(100) ack {seq}"));
    t.inject(&format!("P. {seq}:{}(10) ack 201", seq + 10));
    t.take_sent();
    assert_eq!(t.info(c).send_queue, 0);
}

/// RFC 9293 MUST-66: at our zero window a RST at RCV.NXT resets.
#[test]
fn a_reset_counts_at_our_zero_window() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(8192)).server();
    let c = t.accepted();
    let (seq, _) = fill(&mut t);
    t.inject(&format!("R {seq}:{seq}(0)"));
    t.expect_nothing();
    assert_eq!(t.connections(), 0);
    assert_eq!(t.take_error(c), Some(finack_core::Error::ConnectionReset));
}

/// A FIN at our zero window is taken when nothing is missing before it (it needs no buffer), or refused with an ACK; in both cases
/// the close completes once the application has read.
#[test]
fn a_fin_at_our_zero_window() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(8192)).server();
    let c = t.accepted();
    let (seq, _) = fill(&mut t);
    t.inject(&format!("F. {seq}:{seq}(0) ack 1"));
    let queued = t.info(c).recv_queue as usize;
    t.pass_ms(500);
    t.read(c, queued);
    t.take_sent();
    t.inject(&format!("F. {seq}:{seq}(0) ack 1"));
    t.pass_ms(500);
    t.read_eof(c);
    assert_eq!(t.state(c), State::CloseWait);
}

/// RFC 9293 SHLD-14 when memory is short: SO_RCVBUF made smaller later does not take back what was offered (checked on every segment).
#[test]
fn a_smaller_buffer_does_not_shrink_the_window() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(100_000)).server();
    let c = t.accepted();
    t.set_options(c, |o| o.recv_buffer = Some(4096));
    let mut seq = 1;
    for _ in 0..20 {
        t.inject(&format!("P. {seq}:{}(1000) ack 1", seq + 1000));
        seq += 1000;
        t.pass_ms(100);
    }
    assert_eq!(t.info(c).recv_queue, 20_000, "what was offered is taken");
    t.read(c, 20_000);
    t.take_sent();
}

/// The memory budget of the stack is used up: windows close instead of retreating, and open again as the application reads.
#[test]
fn windows_close_when_memory_is_short() {
    let mut t = Setup::new().set("tcp_mem", 1 << 16).options(|o| o.recv_buffer = Some(60_000)).server();
    let mut conns = Vec::new();
    for port in 40_000..40_006 {
        t.peer(port);
        conns.push(t.accepted());
    }
    for port in 40_000..40_006 {
        t.peer(port);
        let (seq, _) = fill(&mut t);
        assert!(seq > 1, "each gets something");
    }
    assert!(t.stack.memory() < 4 << 20, "{} bytes", t.stack.memory());
    for (port, c) in (40_000..40_006).zip(conns) {
        t.peer(port);
        let queued = t.info(c).recv_queue as usize;
        t.read(c, queued);
        t.take_sent();
        t.pass_ms(10_000);
        assert!(t.info(c).rcv_wnd > 0, "the window opens again");
    }
}

/// RFC 9293 MUST-60, MUST-61: un-pushed data is not held back for ever: a write of less than a segment leaves with PSH.
#[test]
fn small_writes_leave() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(t.try_write(c, 10, SendFlags::default()), Ok(10));
    t.expect("P. 1:11(10) ack 1");
}

/// A peer whose window was never larger than a fraction of a segment is no silly window: what it takes is sent at once,
/// in halves (as Linux), so that one can be on its way while the other is acknowledged.
#[test]
fn a_peer_with_a_tiny_buffer_is_served_at_once() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(100_000)).server();
    t.inject("S 0:0(0) win 1000 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 1000");
    let c = t.accept();
    t.write(c, 50_000);
    for i in 0..50 {
        let seq = 1 + i * 1000;
        t.expect(&format!("P?. {seq}:{}(500) ack 1", seq + 500));
        t.expect(&format!("P?. {}:{}(500) ack 1", seq + 500, seq + 1000));
        t.inject(&format!(". 1:1(0) ack {} win 1000", seq + 1000));
    }
    t.expect_nothing();
    assert_eq!(t.info(c).send_queue, 0);
}

/// SHLD-14 and a bound for memory: rounding up to the scale moves the right edge by less than a unit with each ACK. A peer that
/// uses that up again and again, while nobody reads, must not make the queue grow for ever.
#[test]
fn a_window_filled_to_an_odd_byte() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut next = 1;
    for _ in 0..3000 {
        let window = t.info(c).rcv_wnd;
        let len = (window - 1).min(1460);
        if len == 0 {
            break;
        }
        t.inject(&format!("P. {next}:{}({len}) ack 1", next + len));
        next += len;
        t.pass_ms(50);
    }
    let queued = t.info(c).recv_queue;
    assert!(queued <= 200_000, "{queued} bytes unread, window {}", t.info(c).rcv_wnd);
}

/// When memory is short everybody gets a little: also where a segment of the path is larger than that little, a window that closed
/// opens again once the application has read.
#[test]
fn a_little_window_on_a_jumbo_path() {
    let mut t = Setup::new().device(Capabilities::plain(9000)).set("tcp_mem", 65_536).server();
    let syn = "S 0:0(0) win 65535 <mss 8960,sackOK,nop,wscale 7>";
    let mut conns = Vec::new();
    for port in [40_001, 40_002, 40_000] {
        t.peer(port);
        t.inject(syn);
        if t.take_sent().is_empty() {
            continue;
        }
        t.inject(". 1:1(0) ack 1");
        conns.push(t.accept());
    }
    let c = *conns.last().unwrap();
    let mut next = 1;
    while t.info(c).rcv_wnd > 0 {
        let len = t.info(c).rcv_wnd.min(8960);
        t.inject(&format!("P. {next}:{}({len}) ack 1", next + len));
        next += len;
        t.pass_ms(300);
    }
    while t.info(c).recv_queue > 0 {
        let some = t.info(c).recv_queue as usize;
        t.read(c, some);
    }
    t.take_sent();
    assert!(t.info(c).rcv_wnd > 0, "the peer may send again");
}

/// A connection that nobody holds any more has its time (Linux's `tcp_orphan_retries`): a peer that closes and opens its
/// window, and acknowledges nothing, does not prolong it.
#[test]
fn a_window_that_opens_and_closes_keeps_no_orphan() {
    let (mut t, c) = with_peer_window(Setup::new(), 1000);
    t.write(c, 14_600);
    t.take_sent();
    t.close(c);
    for _ in 0..60 {
        t.take_sent();
        t.inject(". 1:1(0) ack 1 win 0");
        t.take_sent();
        t.pass_ms(1000);
        t.inject(". 1:1(0) ack 1 win 1000");
        t.pass_ms(9000);
        if t.connections() == 0 {
            return;
        }
    }
    panic!("it still stands after ten minutes");
}

/// RFC 9293 SHLD-14: an answer before the handshake is over rounds the window up to its scale, and that holds from then on
/// (found by the swarm: the next ACK took up to 127 bytes of it back).
#[test]
fn what_a_challenge_offered_is_not_taken_back() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 win 64240");
    t.inject("R 595:595(0)");
    // 64240 bytes are 501.9 units of 128.
    t.expect(". 1:1(0) ack 1 win 502");
    t.inject("P. 1:60(59) ack 1");
    // 502 * 128 + 1 = 64257 may not become 60 + 501 * 128 = 64188.
    t.expect(". 1:1(0) ack 60 win 502");
}
