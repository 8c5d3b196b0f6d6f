//! Long and strange lives of connections between two stacks.

use core::time::Duration;

use finack_core::Error;
use finack_core::device::Capabilities;
use finack_core::options::{RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::settings::Settings;
use finack_core::tcp::State;
use finack_sim::packet::flag;
use finack_sim::world::Transfer;
use finack_sim::{HostId, Link, Verdict, World};

use super::{expect_nothing_left, pair};

const NONE: SendFlags = SendFlags { more: false, oob: false, eor: false };
const READ: RecvFlags = RecvFlags { peek: false, oob: false };

fn clean() -> (World, HostId, HostId) {
    pair(1, Link::new(Duration::from_millis(10)), Capabilities::plain(1500))
}

/// Half-closed for 24 hours, in both directions at once: each side's remaining direction still carries data.
#[test]
fn half_closed_for_a_day_both_ways() {
    let (mut w, a, b) = clean();
    let (c1, s1) = w.connect(a, b, 80, SocketOptions::default());
    let (c2, s2) = w.connect(a, b, 81, SocketOptions::default());
    w.with(a, |s, now| s.tcp_shutdown(now, c1, Shutdown::Write)).unwrap();
    w.with(b, |s, now| s.tcp_shutdown(now, s2, Shutdown::Write)).unwrap();
    w.run_for(Duration::from_secs(24 * 3600));
    assert_eq!(w.stack(a).tcp_state(c1), Ok(State::FinWait2));
    assert_eq!(w.stack(b).tcp_state(s1), Ok(State::CloseWait));
    assert_eq!(w.stack(b).tcp_state(s2), Ok(State::FinWait2));
    for (from, conn, to, other) in [(b, s1, a, c1), (a, c2, b, s2)] {
        w.with(from, |s, now| s.tcp_send(now, conn, b"still here", NONE)).unwrap();
        w.run_for(Duration::from_secs(1));
        let mut buf = [0; 20];
        assert_eq!(w.with(to, |s, now| s.tcp_recv(now, other, &mut buf, READ)), Ok(10));
        assert_eq!(&buf[..10], b"still here");
    }
    for (host, conn) in [(a, c1), (b, s1), (a, c2), (b, s2)] {
        w.with(host, |s, now| s.tcp_close(now, conn)).unwrap();
    }
    w.run_for(Duration::from_secs(200));
    assert_eq!((w.connections(a), w.connections(b)), (0, 0));
}

/// The reader sleeps for an hour: the window closes, probes go on, and when it wakes all is delivered. Window updates
/// are lost while it wakes: the probes heal that.
#[test]
fn a_reader_that_sleeps_for_an_hour() {
    for lose_updates in [false, true] {
        let (mut w, a, b) = clean();
        sleep_and_wake(&mut w, a, b, lose_updates);
    }
}

fn sleep_and_wake(w: &mut World, a: HostId, b: HostId, lose_updates: bool) {
    let (c, s) = w.connect(a, b, 90, SocketOptions::default());
    let mut written = 0_u64;
    let write = |w: &mut World, written: &mut u64| loop {
        let data = finack_sim::pattern::bytes(1, *written, 8000);
        match w.with(a, |st, now| st.tcp_send(now, c, &data, NONE)) {
            Ok(n) => *written += n as u64,
            Err(e) => {
                assert_eq!(e, Error::WouldBlock);
                return;
            }
        }
    };
    for _ in 0..3600 {
        write(w, &mut written);
        w.run_for(Duration::from_secs(1));
    }
    assert_eq!(w.stack(a).tcp_state(c), Ok(State::Established));
    assert!(w.stack(a).counters().tcp_window_probes > 20, "{}", w.stack(a).counters().tcp_window_probes);
    if lose_updates {
        let end = w.now() + Duration::from_secs(5);
        w.fault(move |p| if p.now < end && p.from == b { Verdict::Drop } else { Verdict::Pass });
    }
    let mut read = 0_u64;
    let mut buf = vec![0; 100_000];
    let end = w.now() + Duration::from_secs(400);
    while read < written {
        assert!(w.now() < end, "{read} of {written} bytes after {:?}", w.now());
        while let Ok(n) = w.with(b, |st, now| st.tcp_recv(now, s, &mut buf, READ)) {
            assert_eq!(finack_sim::pattern::mismatch(1, read, &buf[..n]), None);
            read += n as u64;
        }
        w.run_for(Duration::from_secs(1));
    }
    w.with(a, |st, now| st.tcp_close(now, c)).unwrap();
    w.with(b, |st, now| st.tcp_close(now, s)).unwrap();
    w.run_for(Duration::from_secs(200));
}

/// Linger-0 abort while data is lost: the peer knows within one round trip of its challenge ACK, not after minutes.
#[test]
fn an_abort_while_data_is_lost() {
    let (mut w, a, b) = clean();
    let linger = SocketOptions { linger: Some(Duration::ZERO), ..SocketOptions::default() };
    let (c, s) = w.connect(a, b, 80, linger);
    w.fault(move |p| {
        let data = p.packet.as_tcp().is_some_and(|t| !t.payload.is_empty());
        if data && p.from == a { Verdict::Drop } else { Verdict::Pass }
    });
    w.with(a, |st, now| st.tcp_send(now, c, &[1; 5000], NONE)).unwrap();
    w.run_for(Duration::from_millis(5));
    w.with(a, |st, now| st.tcp_close(now, c)).unwrap();
    let start = w.now();
    w.run_until(Duration::from_secs(1), |w| w.connections(b) == 0);
    // RST there, challenge back, exact RST there: three times 10 ms.
    assert!(w.now().since(start) <= Duration::from_millis(35), "{:?}", w.now().since(start));
    assert_eq!(w.with(b, |st, now| st.tcp_recv(now, s, &mut [0; 10], READ)), Err(Error::ConnectionReset));
}

/// A host crashes and comes back: the other side learns of it at its next segment (RFC 9293 3.5.1).
#[test]
fn a_crash_is_discovered() {
    let (mut w, a, b) = clean();
    let (c, _) = w.connect(a, b, 80, SocketOptions::default());
    w.reboot(b, Settings::default(), Capabilities::plain(1500));
    w.with(a, |s, now| s.tcp_send(now, c, b"hello?", NONE)).unwrap();
    w.run_for(Duration::from_secs(1));
    assert_eq!(w.with(a, |s, _| s.tcp_take_error(c)), Ok(Some(Error::ConnectionReset)));
    assert_eq!(w.connections(a), 0);
}

/// A host vanishes: keep-alive finds out; without it a silent connection stands for ever, a sending one for R2.
#[test]
fn a_host_that_vanishes() {
    let keep = SocketOptions {
        keepalive: true,
        keepalive_idle: Some(Duration::from_secs(60)),
        keepalive_interval: Some(Duration::from_secs(10)),
        keepalive_count: Some(3),
        ..SocketOptions::default()
    };
    let (mut w, a, b) = clean();
    let (kept, _) = w.connect(a, b, 80, keep);
    let (silent, _) = w.connect(a, b, 81, SocketOptions::default());
    let (sending, _) = w.connect(a, b, 82, SocketOptions::default());
    w.fault(|_| Verdict::Drop);
    w.with(a, |s, now| s.tcp_send(now, sending, b"hello?", NONE)).unwrap();
    w.run_for(Duration::from_secs(95));
    assert_eq!(w.with(a, |s, _| s.tcp_take_error(kept)), Ok(Some(Error::TimedOut)));
    assert_eq!(w.stack(a).tcp_state(sending), Ok(State::Established));
    w.run_for(Duration::from_secs(1100));
    assert_eq!(w.with(a, |s, _| s.tcp_take_error(sending)), Ok(Some(Error::TimedOut)));
    w.run_for(Duration::from_secs(1_000_000));
    assert_eq!(w.stack(a).tcp_state(silent), Ok(State::Established));
}

/// Two thousand connections one after the other: memory does not grow from the thousandth to the two thousandth.
#[test]
fn churn_leaves_nothing() {
    // Few ports: the port table has a page for each 256 that were ever used.
    let settings = Settings { ip_local_port_min: 50_000, ip_local_port_max: 50_255, ..Settings::default() };
    let mut w = World::new(1, Link::new(Duration::from_millis(10)));
    let a = w.host(settings, Capabilities::plain(1500));
    let b = w.host(Settings::default(), Capabilities::plain(1500));
    let mut halfway = [0; 2];
    for i in 0..2000_u32 {
        let (c, s) = w.connect(a, b, 80, SocketOptions { reuse_addr: true, ..SocketOptions::default() });
        Transfer::new((a, c), (b, s), 100, 1000).run(&mut w, Duration::from_secs(10));
        if i % 100 == 99 {
            w.run_for(Duration::from_secs(200));
            assert_eq!((w.connections(a), w.connections(b)), (0, 0));
        }
        if i == 999 {
            halfway = [w.stack(a).memory(), w.stack(b).memory()];
        }
    }
    let after = [w.stack(a).memory(), w.stack(b).memory()];
    assert!(after[0] <= halfway[0] && after[1] <= halfway[1], "{halfway:?} -> {after:?}");
}

/// tcp_tw_reuse = 1: far more connections than ports within a minute; with 0 the ports run out.
#[test]
fn tw_reuse_saves_ports() {
    for (reuse, all) in [(1, true), (0, false)] {
        let settings = Settings {
            tcp_tw_reuse: reuse,
            ip_local_port_min: 50_000,
            ip_local_port_max: 50_009,
            ..Settings::default()
        };
        let mut w = World::new(1, Link::new(Duration::from_millis(10)));
        let a = w.host(settings, Capabilities::plain(1500));
        let b = w.host(Settings::default(), Capabilities::plain(1500));
        let to = core::net::SocketAddr::new(w.v4(b), 80);
        let listener = w.listen(b, to, SocketOptions::default());
        let mut opened = 0;
        for _ in 0..200 {
            let conn = w.with(a, |s, now| s.tcp_connect(now, None, to, SocketOptions::default()));
            let Ok(c) = conn else {
                assert_eq!(conn, Err(Error::AddrNotAvailable));
                w.run_for(Duration::from_millis(100));
                continue;
            };
            w.run_until(Duration::from_secs(5), |w| w.stack(a).tcp_state(c) != Ok(State::SynSent));
            assert_eq!(
                w.stack(a).tcp_state(c),
                Ok(State::Established),
                "the peer's TIME-WAIT or none lets it in"
            );
            w.run_for(Duration::from_millis(30));
            let (s, _) = w.with(b, |s, now| s.tcp_accept(now, listener)).unwrap();
            w.with(a, |st, now| st.tcp_close(now, c)).unwrap();
            w.run_for(Duration::from_millis(30));
            w.with(b, |st, now| st.tcp_close(now, s)).unwrap();
            w.run_for(Duration::from_millis(100));
            opened += 1;
        }
        assert_eq!(opened > 10, all, "{opened} connections from 10 ports with tcp_tw_reuse = {reuse}");
    }
}

/// The server closes first and holds TIME-WAIT; the client reuses its port at once: the newer SYN reopens (MAY-2).
#[test]
fn a_client_reuses_its_port_over_the_servers_time_wait() {
    let settings = Settings { ip_local_port_min: 50_000, ip_local_port_max: 50_000, ..Settings::default() };
    let mut w = World::new(1, Link::new(Duration::from_millis(10)));
    let a = w.host(settings, Capabilities::plain(1500));
    let b = w.host(Settings::default(), Capabilities::plain(1500));
    for i in 0..20 {
        let (c, s) = w.connect(a, b, 80, SocketOptions { reuse_addr: true, ..SocketOptions::default() });
        w.with(b, |st, now| st.tcp_close(now, s)).unwrap();
        w.run_for(Duration::from_millis(100));
        w.with(a, |st, now| st.tcp_close(now, c)).unwrap();
        w.run_for(Duration::from_millis(500));
        assert_eq!(w.connections(a), 0, "the client's side is closed");
        assert_eq!(w.connections(b), 1, "the server's is in TIME-WAIT, round {i}");
    }
    assert_eq!(w.stack(b).counters().tcp_time_wait_reopened, 19);
}

/// Both ends write and close at random moments over a bad link; nothing is ever left.
#[test]
fn random_lives_end() {
    finack_sim::seeds::for_each(150, |seed| {
        let mut rng = finack_sim::rng::Rng::new(seed);
        let mut link = Link::new(Duration::from_millis(rng.below(50)));
        link.loss = rng.below(200_000) as u32;
        link.reorder = rng.below(200_000) as u32;
        link.duplicate = rng.below(100_000) as u32;
        let (mut w, a, b) = pair(seed, link, Capabilities::plain(1500));
        let (c, s) = w.connect(a, b, 80, SocketOptions::default());
        let mut ends = vec![(a, c), (b, s)];
        while !ends.is_empty() {
            let at = rng.below(ends.len() as u64) as usize;
            let (host, conn) = ends[at];
            let data = vec![7; rng.below(30_000) as usize];
            let mut buf = vec![0; rng.below(30_000) as usize];
            match rng.below(12) {
                0..=3 => drop(w.with(host, |st, now| st.tcp_send(now, conn, &data, NONE))),
                4..=7 => drop(w.with(host, |st, now| st.tcp_recv(now, conn, &mut buf, READ))),
                8 => drop(w.with(host, |st, now| st.tcp_shutdown(now, conn, Shutdown::Write))),
                9 => {
                    w.with(host, |st, now| st.tcp_close(now, conn)).unwrap();
                    ends.swap_remove(at);
                }
                10 if rng.one_in(3) => {
                    w.with(host, |st, now| st.tcp_abort(now, conn)).unwrap();
                    ends.swap_remove(at);
                }
                _ => w.run_for(Duration::from_millis(rng.below(400))),
            }
        }
        w.run_for(Duration::from_secs(2000));
        expect_nothing_left(&mut w, [a, b]);
    });
}

/// RFC 9293 3.6: no connection ends in a RST when both applications read everything and close.
#[test]
fn an_orderly_end_has_no_reset() {
    finack_sim::seeds::for_each(40, |seed| {
        let mut rng = finack_sim::rng::Rng::new(seed);
        let mut link = Link::new(Duration::from_millis(10));
        link.loss = 50_000;
        let (mut w, a, b) = pair(seed, link, Capabilities::plain(1500));
        let (c, s) = w.connect(a, b, 80, SocketOptions::default());
        w.fault(|p| {
            assert!(!p.packet.as_tcp().is_some_and(|t| t.has(flag::RST)), "a RST in an orderly life");
            Verdict::Pass
        });
        Transfer::new((a, c), (b, s), rng.below(50_000), rng.below(50_000))
            .run(&mut w, Duration::from_secs(600));
        // The ends may outlive each other by their retries; only while both live a RST would be wrong.
        w.run_until(Duration::from_secs(10), |w| {
            w.stack(a).counters().tcp_out_rsts + w.stack(b).counters().tcp_out_rsts == 0
        });
    });
}
