//! TCP options: MSS, window scale, timestamps, SACK-permitted, and the ones that are nobody's.

use finack_core::device::Capabilities;
use finack_core::options::{SendFlags, SocketOptions};
use finack_core::stack::Ready;
use finack_core::{Error, Event};
use finack_sim::Setup;

use crate::support::segment;

fn payload_sizes(setup: Setup, syn: &str) -> Vec<usize> {
    let mut t = setup.server();
    t.inject(syn);
    t.next_sent();
    t.inject(". 1:1(0) ack 1 win 65535");
    let c = t.accept();
    t.write(c, 5000);
    let sizes = t.take_sent().iter().map(|s| segment(s).payload.len()).collect();
    t.abort(c);
    t.take_sent();
    sizes
}

/// RFC 9293 MUST-15: without an MSS option the peer takes 536 bytes over IPv4.
#[test]
fn default_mss_v4() {
    let sizes = payload_sizes(Setup::new(), "S 0:0(0) win 65535 <>");
    assert!(sizes[..9].iter().all(|&s| s == 536), "{sizes:?}");
}

/// RFC 9293 MUST-15: and 1220 over IPv6.
#[test]
fn default_mss_v6() {
    let sizes = payload_sizes(Setup::new().v6(), "S 0:0(0) win 65535 <>");
    assert_eq!(sizes, [1220, 1220, 1220, 1220, 120]);
}

/// RFC 9293 MUST-16: the effective MSS is the lesser of the peer's and the path's.
#[test]
fn the_effective_mss() {
    let sizes = payload_sizes(Setup::new(), "S 0:0(0) win 65535 <mss 1000>");
    assert_eq!(sizes, [1000, 1000, 1000, 1000, 1000]);
    let sizes = payload_sizes(Setup::new(), "S 0:0(0) win 65535 <mss 9000>");
    assert_eq!(sizes, [1460, 1460, 1460, 620]);
    let sizes =
        payload_sizes(Setup::new().device(Capabilities::plain(9000)), "S 0:0(0) win 65535 <mss 9000>");
    assert_eq!(sizes, [5000]);
}

/// RFC 9293 MUST-16, 3.7.1: the space that options take is subtracted: with timestamps 1448 bytes fit.
#[test]
fn options_take_space() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.write(c, 5000);
    t.expect("P?. 1:1449(1448) ack 1");
    assert_eq!(t.next_sent().bytes.len(), 1500);
    t.take_sent();
}

/// A peer that offers an MSS of almost nothing gets at least tcp_min_snd_mss (48) bytes a segment.
#[test]
fn a_tiny_mss() {
    let sizes = payload_sizes(Setup::new(), "S 0:0(0) win 65535 <mss 1>");
    assert!(sizes.iter().all(|&s| (1..=48).contains(&s)) && sizes[0] == 48, "{sizes:?}");
    // As on Linux an MSS of 0 counts for none.
    let sizes = payload_sizes(Setup::new(), "S 0:0(0) win 65535 <mss 0>");
    assert_eq!(sizes[0], 536);
}

/// RFC 9293 MUST-4, MUST-14, MUST-67, SHLD-5, MAY-3 (MUST-65, MUST-68, MUST-69 are checked on every segment): the MSS that is offered comes from the MTU: 20 + 20 bytes less over IPv4, 40 + 20 over IPv6.
#[test]
fn the_offered_mss() {
    for (v6, mtu, mss) in
        [(false, 1500, 1460), (true, 1500, 1440), (false, 9000, 8960), (false, 576, 536), (true, 1280, 1220)]
    {
        let setup = Setup::new().device(Capabilities::plain(mtu));
        let mut t = if v6 { setup.v6() } else { setup }.client();
        t.connect();
        t.expect(&format!("S 0:0(0) <mss {mss},sackOK,TS val * ecr 0,nop,wscale *>"));
    }
}

/// TCP_MAXSEG bounds both directions.
#[test]
fn max_segment() {
    let mut t = Setup::new().options(|o| o.max_segment = Some(1000)).server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 <mss 1000,sackOK,nop,wscale *>");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    t.write(c, 3000);
    t.expect("P?. 1:1001(1000) ack 1");
    t.expect("P?. 1001:2001(1000) ack 1");
    t.expect("P. 2001:3001(1000) ack 1");
}

/// The sysctls switch off what is offered.
#[test]
fn offers_can_be_switched_off() {
    for (name, syn) in [
        ("tcp_timestamps", "S 0:0(0) <mss 1460,sackOK,nop,wscale *>"),
        ("tcp_sack", "S 0:0(0) <mss 1460,TS val * ecr 0,nop,wscale *>"),
        ("tcp_window_scaling", "S 0:0(0) <mss 1460,sackOK,TS val * ecr 0>"),
    ] {
        let mut t = Setup::new().set(name, 0).client();
        t.connect();
        t.expect(syn);
    }
}

/// And what is granted.
#[test]
fn grants_can_be_switched_off() {
    const SYN: &str = "S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>";
    for (name, syn_ack) in [
        ("tcp_timestamps", "S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>"),
        ("tcp_sack", "S. 0:0(0) ack 1 <mss 1460,TS val * ecr 100,nop,wscale *>"),
        ("tcp_window_scaling", "S. 0:0(0) ack 1 <mss 1460,sackOK,TS val * ecr 100>"),
    ] {
        let mut t = Setup::new().set(name, 0).server();
        t.inject(SYN);
        t.expect(syn_ack);
    }
}

/// RFC 7323 2.5, 3.2, RFC 2018 2: each option stands alone; the SYN,ACK grants just what was asked for.
#[test]
fn each_option_alone() {
    for (asked, granted) in [
        ("mss 1460", "mss 1460"),
        ("mss 1460,sackOK", "mss 1460,sackOK"),
        ("mss 1460,nop,wscale 2", "mss 1460,wscale *"),
        ("mss 1460,TS val 7 ecr 0", "mss 1460,TS val * ecr 7"),
        ("sackOK,TS val 7 ecr 0", "mss 1460,sackOK,TS val * ecr 7"),
        ("", "mss 1460"),
    ] {
        let mut t = Setup::new().server();
        t.inject(&format!("S 0:0(0) win 65535 <{asked}>"));
        t.expect(&format!("S. 0:0(0) ack 1 <{granted}>"));
    }
}

/// The window scale that is offered fits the greatest receive buffer (tcp_rmem[2] = 6 MiB needs a shift of 7).
#[test]
fn the_offered_scale() {
    let mut t = Setup::new().client();
    t.connect();
    t.expect("S 0:0(0) <mss 1460,sackOK,TS val * ecr 0,nop,wscale 7>");
}

/// RFC 9293 MUST-64: options are found at any alignment; EOL ends the list, what follows is not read.
#[test]
fn alignment_and_eol() {
    let mut t = Setup::new().server();
    // nop, wscale 3, nop, nop, nop, sackOK, mss 1200, EOL, then what looks like a timestamp.
    t.inject("S 0:0(0) win 65535 <raw 010303030101010402020404b000080a>");
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,wscale *>");
    t.inject(". 1:1(0) ack 1 win 10000");
    let c = t.accept();
    assert_eq!(t.info(c).snd_mss, 1200);
    assert_eq!(t.info(c).snd_wnd, 80_000);
}

/// RFC 9293 MUST-7: options of illegal length in a SYN do no harm; at worst it is dropped.
#[test]
fn illegal_lengths_in_a_syn() {
    for raw in ["0204", "02", "0201", "02ff0000", "0303", "080a00000000", "0402ff", "fd00", "0101010102"] {
        let mut t = Setup::new().server();
        t.inject(&format!("S 0:0(0) win 65535 <raw {raw}>"));
        t.take_sent();
        t.inject("S 0:0(0) win 65535 <mss 1460>");
        t.take_sent();
        t.inject(". 1:1(0) ack 1");
        t.accept();
    }
}

/// RFC 9293 MUST-6, RFC 8684: MP_CAPABLE and TCP Fast Open requests are ignored.
#[test]
fn foreign_options_in_a_syn() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 65535 <mss 1460,opt 30 01810011,opt 34,sackOK>");
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK>");
}

/// RFC 7323 3.2: MSS on a segment without SYN is not looked at.
#[test]
fn mss_without_syn() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject(". 1:1(0) ack 1 <mss 100>");
    assert_eq!(t.info(c).snd_mss, 1460);
    t.write(c, 1460);
    t.expect("P. 1:1461(1460) ack 1");
}

/// The SYN,ACK's options count for an active open as the SYN's do for a passive one.
#[test]
fn an_active_opens_options() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 8000 <mss 1200,nop,wscale 3>");
    t.expect(". 1:1(0) ack 1");
    let info = t.info(c);
    assert_eq!((info.snd_mss, info.timestamps, info.sack), (1200, false, false));
    assert_eq!(info.window_scale.map(|w| w.0), Some(3));
}

/// A client's own TCP_MAXSEG is what its SYN offers.
#[test]
fn max_segment_in_a_syn() {
    let mut t = Setup::new().client();
    t.connect_with(SocketOptions { max_segment: Some(900), ..SocketOptions::default() }).unwrap();
    t.expect("S 0:0(0) <mss 900,sackOK,TS val * ecr 0,nop,wscale *>");
}

/// A larger send buffer wakes who waits for room, and a lower SO_RCVLOWAT who waits for data (as on Linux); TCP_NOTSENT_LOWAT 0 stands
/// for the sysctl, and no mark is higher than what the buffer can hold.
#[test]
fn marks_that_change_wake_who_waits() {
    let mut t = Setup::new()
        .options(|o| {
            o.send_buffer = Some(3000);
            o.recv_lowat = 1 << 30;
            o.notsent_lowat = Some(0);
        })
        .server();
    let c = t.accepted();
    t.inject("P. 1:11(10) ack 1 win 0");
    t.pass_ms(100);
    assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::READABLE));
    while t.try_write(c, 3000, SendFlags::default()).is_ok() {}
    assert_eq!(t.try_write(c, 1, SendFlags::default()), Err(Error::WouldBlock));
    t.events.clear();
    t.set_options(c, |o| {
        o.send_buffer = Some(100_000);
        o.recv_lowat = 5;
    });
    t.pump();
    let told = |r: Ready| t.events.iter().any(|e| matches!(e, Event::Tcp { ready, .. } if ready.contains(r)));
    assert!(told(Ready::WRITABLE) && told(Ready::READABLE), "{:?}", t.events);
}
