//! Sequence numbers that pass 2^32 (RFC 9293 3.4 MUST: all arithmetic is modulo 2^32), SACK and urgent data included.

use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::{RecvFlags, SendFlags};
use finack_core::settings::Settings;
use finack_core::stack::Ready;
use finack_core::{Error, Instant};
use finack_sim::packet::flag;
use finack_sim::world::Transfer;
use finack_sim::{Link, Script, Sent, Setup, World};

use super::options;

/// How far below 2^32 the connections begin.
const BEFORE: u32 = 150_000;

/// The stack's ISN in a script that starts at `start`.
fn isn(start: Instant, server: bool) -> u32 {
    let setup = Setup::new().start(start);
    let mut t = if server { setup.server() } else { setup.client() };
    if server {
        t.inject("S 0:0(0) win 65535 <mss 1460>");
    } else {
        t.connect();
    }
    t.take_sent();
    t.stack_iss()
}

/// A time at which `isn_at` answers a number about `BEFORE` below 2^32: the ISN is a clock plus a constant (RFC 6528).
fn when(isn_at: impl Fn(Instant) -> u32) -> Instant {
    let at = Instant::from_secs(100);
    let first = isn_at(at);
    let step = isn_at(at + Duration::from_secs(1)).wrapping_sub(first);
    let wanted = BEFORE.wrapping_neg().wrapping_sub(first);
    let mut start = at + Duration::from_nanos(u64::from(wanted) * 1_000_000_000 / u64::from(step));
    // The clock ticks in whole numbers: correct what rounding left.
    for _ in 0..20 {
        let off = isn_at(start).wrapping_add(BEFORE) as i32;
        if off.unsigned_abs() < 20_000 {
            return start;
        }
        let nanos = i64::from(off) * 1_000_000_000 / i64::from(step);
        start = Instant::from_nanos(start.as_nanos().saturating_add_signed(-nanos));
    }
    panic!("no time found: {} at {start:?}", isn_at(start));
}

fn wrapping_script(server: bool) -> Script {
    let start = when(|at| isn(at, server));
    let setup = Setup::new().start(start).options(|o| o.send_buffer = Some(1_000_000));
    if server { setup.server() } else { setup.client() }
}

/// Our sequence numbers wrap: data, SACK from the peer above and below the wrap, retransmission of just the hole.
#[test]
fn our_numbers_wrap() {
    let mut t = wrapping_script(true);
    let c = t.accepted();
    let iss = t.stack_iss();
    assert!(iss > u32::MAX - 200_000, "the ISN {iss} is close to the wrap");
    t.write(c, 300_000);
    let mut una: u32 = 1;
    let mut holes = 0;
    for round in 0..2000 {
        let sent = t.take_sent();
        let places: Vec<(u32, u32)> = sent
            .iter()
            .map(|s| s.packet.as_tcp().unwrap())
            .map(|s| (s.seq.wrapping_sub(iss), s.payload.len() as u32))
            .collect();
        if una == 300_001 {
            break;
        }
        let Some(top) = places.iter().map(|(s, l)| s + l).max() else {
            let more = t.pass_ms(1000);
            let top = more
                .iter()
                .map(|s| s.packet.as_tcp().unwrap())
                .map(|s| s.seq.wrapping_sub(iss) + s.payload.len() as u32)
                .max();
            una = una.max(top.unwrap_or(una));
            t.inject(&format!(". 1:1(0) ack {una}"));
            continue;
        };
        if round % 3 == 1 && top > una + 5 * 1460 {
            // The first segment is missing; the rest is SACKed, across the wrap at times.
            holes += 1;
            t.inject(&format!(". 1:1(0) ack {una} <sack {}:{top}>", una + 1460));
            let again = t.take_sent();
            let first = again[0].packet.as_tcp().unwrap();
            assert_eq!(first.seq.wrapping_sub(iss), una, "the hole is repeated");
        }
        una = una.max(top);
        t.inject(&format!(". 1:1(0) ack {una}"));
    }
    assert_eq!(una, 300_001);
    assert!(holes > 3, "{holes} holes");
    t.close(c);
    t.expect("F. 300001:300001(0) ack 1");
    t.inject("F. 1:1(0) ack 300002");
    t.expect(". 300002:300002(0) ack 2");
}

/// The peer's sequence numbers wrap: data out of order, our SACK blocks across the wrap, FIN behind it.
#[test]
fn the_peers_numbers_wrap() {
    for distance in [0, 1, 2, 50, 99, 100, 101, 150, 1000] {
        let mut t = Setup::new().server();
        t.flow().peer_iss = u32::MAX - distance;
        let c = t.accepted();
        t.inject("P. 101:201(100) ack 1");
        t.expect(". 1:1(0) ack 1 <sack 101:201>");
        t.inject("P. 301:401(100) ack 1");
        t.expect(". 1:1(0) ack 1 <sack 301:401 101:201>");
        t.inject("P. 51:101(50) ack 1");
        t.expect(". 1:1(0) ack 1 <sack 51:201 301:401>");
        t.inject("P. 1:51(50) ack 1");
        t.expect(". 1:1(0) ack 201 <sack 301:401>");
        t.inject("P. 201:301(100) ack 1");
        t.expect_after(0..=300, ". 1:1(0) ack 401 <>");
        t.read(c, 400);
        t.inject("F. 401:401(0) ack 1");
        t.expect_after(0..=300, ". 1:1(0) ack 402");
        t.read_eof(c);
    }
}

/// Urgent pointers wrap with the peer's numbers.
#[test]
fn the_peers_urgent_pointer_wraps() {
    for distance in [0, 1, 5, 9, 10, 11, 20] {
        let mut t = Setup::new().server();
        t.flow().peer_iss = u32::MAX - distance;
        let c = t.accepted();
        t.inject("UP. 1:11(10) ack 1 urg 15");
        assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::PRIORITY));
        t.take_sent();
        t.inject("P. 11:31(20) ack 1");
        t.take_sent();
        let mut byte = [0];
        let oob = RecvFlags { peek: false, oob: true };
        assert_eq!(t.stack.tcp_recv(t.now(), c, &mut byte, oob), Ok(1), "distance {distance}");
        assert_eq!(byte[0], finack_sim::pattern::byte(2, 14));
        assert_eq!(t.try_read(c, 100), Ok(14));
        t.flow().read += 1;
        assert_eq!(t.try_read(c, 100), Ok(15));
        t.pass_ms(500);
    }
}

/// Urgent pointers wrap with ours.
#[test]
fn our_urgent_pointer_wraps() {
    let mut t = wrapping_script(true);
    let c = t.accepted();
    let (iss, mut at) = (t.stack_iss(), 1_u32);
    let oob = SendFlags { more: false, oob: true, eor: false };
    while at < 250_000 {
        let len = 1 + (at as usize * 7) % 9000;
        match t.try_write(c, len, oob) {
            Ok(n) => at += n as u32,
            Err(e) => assert_eq!(e, Error::WouldBlock),
        }
        let mut last = 0;
        for sent in t.take_sent() {
            let tcp = sent.packet.as_tcp().unwrap();
            let rel = tcp.seq.wrapping_sub(iss);
            last = last.max(rel + tcp.payload.len() as u32);
            if tcp.has(flag::URG) {
                assert_eq!(
                    rel + u32::from(tcp.urgent),
                    at,
                    "the pointer names the byte after the urgent one"
                );
            }
        }
        if last > 0 {
            t.inject(&format!(". 1:1(0) ack {last}"));
        }
    }
    t.pass_ms(1000);
}

/// RSTs, challenge ACKs and window checks right at the wrap.
#[test]
fn resets_at_the_wrap() {
    for distance in 0..4 {
        let mut t = Setup::new().server();
        t.flow().peer_iss = u32::MAX - distance;
        let c = t.accepted();
        t.inject("R 3:3(0)");
        t.expect(". 1:1(0) ack 1");
        t.inject("R 0:0(0)");
        t.expect_nothing();
        t.inject("R 1:1(0)");
        assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
    }
}

/// Two stacks, a lossy link, numbers that wrap on one side or the other: the streams are whole.
#[test]
fn a_lossy_transfer_wraps() {
    for client in [true, false] {
        for seed in 1..6 {
            let mut link = Link::new(Duration::from_millis(10));
            link.loss = 20_000;
            link.reorder = 50_000;
            let run = |at: Instant, faultless: bool| {
                let link = if faultless { Link::new(Duration::from_millis(10)) } else { link };
                let mut w = World::starting_at(at, seed, link);
                let a = w.host(Settings::default(), Capabilities::plain(1500));
                let b = w.host(Settings::default(), Capabilities::plain(1500));
                (w, a, b)
            };
            let isn_at = |at: Instant| {
                let (mut w, a, b) = run(at, true);
                let seen = std::rc::Rc::new(std::cell::Cell::new(0));
                let (put, from) = (seen.clone(), if client { a } else { b });
                w.fault(move |p| {
                    let tcp = p.packet.as_tcp().unwrap();
                    if p.from == from && tcp.has(flag::SYN) {
                        put.set(tcp.seq);
                    }
                    finack_sim::Verdict::Pass
                });
                w.connect(a, b, 80, options());
                seen.get()
            };
            let start = when(isn_at);
            let (mut w, a, b) = run(start, false);
            let (c, s) = w.connect(a, b, 80, options());
            Transfer::new((a, c), (b, s), 600_000, 600_000).run(&mut w, Duration::from_secs(600));
        }
    }
}

/// A zero window right at the wrap is probed and opens.
#[test]
fn a_zero_window_at_the_wrap() {
    let mut t = wrapping_script(false);
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    t.expect(". 1:1(0) ack 1");
    let iss = t.stack_iss();
    let to_wrap = iss.wrapping_neg();
    t.write(c, to_wrap as usize + 5000);
    let mut una = 1;
    while una < to_wrap {
        let sent = t.take_sent();
        let sent = if sent.is_empty() { t.pass_ms(1000) } else { sent };
        let end = |s: &Sent| {
            let tcp = s.packet.as_tcp().unwrap();
            tcp.seq.wrapping_sub(iss) + tcp.payload.len() as u32
        };
        una = sent.iter().map(end).max().unwrap_or(una).max(una);
        let window = (to_wrap - una).min(65_535);
        t.inject(&format!(". 1:1(0) ack {una} win {window}"));
    }
    assert_eq!(una, to_wrap, "not a byte beyond the window");
    for _ in 0..5 {
        t.await_packet(0..=121_000, "a probe");
        let probe = t.next_sent();
        let rel = probe.packet.as_tcp().unwrap().seq.wrapping_sub(iss);
        assert!(rel == una || rel == una - 1, "a probe at {rel}, SND.UNA is {una}");
        t.inject(&format!(". 1:1(0) ack {una} win 0"));
    }
    t.inject(&format!(". 1:1(0) ack {una} win 10000"));
    t.expect(&format!("P?. {una}:{}(1460) ack 1", una + 1460));
    t.take_sent();
    t.abort(c);
    t.take_sent();
}
