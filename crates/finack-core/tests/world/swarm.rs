//! Swarm tests: each seed draws its own settings, options, network and applications, among them combinations that
//! nobody would write a test for. What must hold: no byte is lost, changed or out of place, nothing stalls for longer
//! than the network and the applications explain, and nothing is left.

use core::cell::RefCell;
use core::hash::{Hash, Hasher};
use core::time::Duration;
use std::hash::DefaultHasher;
use std::rc::Rc;

use finack_core::device::Capabilities;
use finack_core::options::{RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::ConnId;
use finack_core::{Error, Instant};
use finack_sim::rng::Rng;
use finack_sim::world::Sight;
use finack_sim::{HostId, Link, World, pattern, seeds};

use super::expect_nothing_left;
use super::predicted::{Story, note_states};

fn settings(rng: &mut Rng) -> Settings {
    let mut s = Settings {
        tcp_sack: u64::from(!rng.one_in(4)),
        tcp_dsack: rng.below(2),
        tcp_timestamps: u64::from(!rng.one_in(3)),
        tcp_window_scaling: u64::from(!rng.one_in(4)),
        tcp_syncookies: rng.below(3),
        tcp_initial_cwnd: 1 + rng.below(20),
        tcp_slow_start_after_idle: rng.below(2),
        tcp_moderate_rcvbuf: rng.below(2),
        tcp_mtu_probing: rng.below(3),
        tcp_stdurg: 0,
        ..Settings::default()
    };
    if rng.one_in(4) {
        s.set("finack.profile", "rfc").unwrap();
    }
    if rng.one_in(4) {
        s.tcp_mem = 1 << 17;
    }
    s
}

fn options(rng: &mut Rng) -> SocketOptions {
    SocketOptions {
        nodelay: rng.one_in(2),
        cork: rng.one_in(6),
        quickack: rng.one_in(4),
        keepalive: rng.one_in(3),
        keepalive_idle: Some(Duration::from_secs(1 + rng.below(10))),
        max_segment: rng.one_in(4).then(|| 88 + rng.below(2000) as u16),
        send_buffer: rng.one_in(2).then(|| 4096 + rng.below(200_000) as usize),
        recv_buffer: rng.one_in(2).then(|| 2048 + rng.below(200_000) as usize),
        oob_inline: true,
        ..SocketOptions::default()
    }
}

fn device(rng: &mut Rng) -> Capabilities {
    let mtu = 600 + rng.below(9000) as usize;
    if rng.one_in(2) {
        Capabilities { max_unit: 65_535, checksum_tx: true, udp_units: true, ..Capabilities::plain(mtu) }
    } else {
        Capabilities::plain(mtu)
    }
}

fn link(rng: &mut Rng) -> Link {
    let mut link = Link::new(Duration::from_micros(rng.below(40_000)));
    if rng.one_in(2) {
        link.loss = rng.below(60_000) as u32;
        link.reorder = rng.below(100_000) as u32;
        link.duplicate = rng.below(50_000) as u32;
        link.corrupt = rng.below(10_000) as u32;
    }
    if rng.one_in(3) {
        link.rate = Some(500_000 + rng.below(50_000_000));
    }
    if rng.one_in(3) {
        link.mtu = 600 + rng.below(1500) as usize;
    }
    link
}

/// An application that sends so much, in writes and reads of odd sizes, with pauses.
struct App {
    host: HostId,
    conn: ConnId,
    side: u8,
    total: u64,
    written: u64,
    read: u64,
    expected: u64,
    asleep_until: Instant,
    shut: bool,
    eof: bool,
}

impl App {
    fn is_done(&self) -> bool {
        self.shut && self.eof
    }

    fn poll(&mut self, w: &mut World, rng: &mut Rng) {
        if w.now() < self.asleep_until || self.is_done() {
            return;
        }
        let (host, conn) = (self.host, self.conn);
        if rng.one_in(200) {
            self.asleep_until = w.now() + Duration::from_millis(rng.below(3000));
            return;
        }
        if rng.one_in(100) {
            let mut o = w.stack(host).tcp_options(conn).unwrap();
            (o.nodelay, o.cork) = (rng.one_in(2), rng.one_in(4));
            if rng.one_in(4) {
                o.recv_buffer = Some(2048 + rng.below(100_000) as usize);
            }
            w.with(host, |s, now| s.tcp_set_options(now, conn, o)).unwrap();
        }
        if self.written < self.total {
            let len = (1 + rng.size(16)).min(self.total - self.written) as usize;
            let data = pattern::bytes(self.side, self.written, len);
            let flags = SendFlags { more: rng.one_in(5), oob: rng.one_in(10), eor: rng.one_in(8) };
            match w.with(host, |s, now| s.tcp_send(now, conn, &data, flags)) {
                Ok(n) => self.written += n as u64,
                Err(e) => assert_eq!(e, Error::WouldBlock),
            }
        } else if !self.shut {
            self.shut = true;
            w.with(host, |s, now| s.tcp_shutdown(now, conn, finack_core::options::Shutdown::Write)).unwrap();
        }
        let mut buf = vec![0; 1 + rng.size(17) as usize];
        match w.with(host, |s, now| s.tcp_recv(now, conn, &mut buf, RecvFlags::default())) {
            Ok(0) => {
                assert_eq!(self.read, self.expected, "EOF before the end");
                self.eof = true;
            }
            Ok(n) => {
                let wrong = pattern::mismatch(3 - self.side, self.read, &buf[..n]);
                assert_eq!(wrong, None, "host {} from byte {} on", host.0, self.read);
                self.read += n as u64;
            }
            Err(e) => assert_eq!(e, Error::WouldBlock),
        }
    }
}

/// Notes each packet that is sent, and when.
pub(crate) fn note_packets(w: &mut World) -> Rc<RefCell<DefaultHasher>> {
    let hasher = Rc::new(RefCell::new(DefaultHasher::new()));
    let noted = Rc::clone(&hasher);
    w.tap(move |seen| {
        if seen.sight == Sight::Sent {
            (seen.at, seen.bytes).hash(&mut *noted.borrow_mut());
        }
    });
    hasher
}

/// Plays the world of a seed; `predicts` says whether expected segments may take the short way in, `noted` whether states go
/// into the story.
pub(crate) fn live(seed: u64, predicts: bool, noted: bool) -> Story {
    let mut rng = Rng::new(seed);
    let way = link(&mut rng);
    let mtu = way.mtu;
    let mut w = World::new(seed, way);
    let (sa, da) = (settings(&mut rng), device(&mut rng));
    let a = w.host(sa, da);
    let (sb, db) = (settings(&mut rng), device(&mut rng));
    let b = w.host(sb, db);
    for host in [a, b] {
        w.with(host, |s, _| s.set_prediction(predicts));
        if rng.one_in(2) {
            w.join_received(host);
        }
    }
    let packets = note_packets(&mut w);
    let (mut states, mut steps) = (DefaultHasher::new(), 0_u64);
    // IPv6 has no links below 1280 bytes.
    let v6 = rng.one_in(3) && [da.mtu, db.mtu, mtu].iter().all(|&m| m >= 1280);
    let to = core::net::SocketAddr::new(if v6 { w.v6(b) } else { w.v4(b) }, 80);
    let (c, s) = w.connect_to(a, b, to, options(&mut rng));
    let totals = [rng.size(19), rng.size(19)];
    let app = |i: usize, host, conn| App {
        host,
        conn,
        side: i as u8 + 1,
        total: totals[i],
        expected: totals[1 - i],
        written: 0,
        read: 0,
        asleep_until: Instant::ZERO,
        shut: false,
        eof: false,
    };
    let mut apps = [app(0, a, c), app(1, b, s)];
    let end = w.now() + Duration::from_secs(3600);
    let mut progress = (0, w.now());
    while !apps.iter().all(App::is_done) {
        for app in &mut apps {
            app.poll(&mut w, &mut rng);
        }
        w.run_for(Duration::from_millis(1 + rng.below(20)));
        steps += 1;
        if noted && steps.is_multiple_of(16) {
            note_states(&w, [a, b], &mut states);
        }
        let sum: u64 = apps.iter().map(|a| a.read + a.written + u64::from(a.eof) + u64::from(a.shut)).sum();
        if sum != progress.0 {
            progress = (sum, w.now());
        }
        let stalled = w.now().since(progress.1);
        if stalled > Duration::from_secs(240) || w.now() > end {
            let infos = [w.stack(a).tcp_info(w.now(), c), w.stack(b).tcp_info(w.now(), s)];
            w.fail(&format!("no progress for {stalled:?}: {infos:#?}"));
        }
    }
    for app in &apps {
        w.with(app.host, |st, now| st.tcp_close(now, app.conn)).unwrap();
    }
    w.run_for(Duration::from_secs(1000));
    expect_nothing_left(&mut w, [a, b]);
    let packets = packets.borrow().finish();
    Story::told(&w, [a, b], packets, &states)
}

#[test]
fn swarm() {
    seeds::for_each(std::env::var("FINACK_SWARM").ok().and_then(|n| n.parse().ok()).unwrap_or(250), |seed| {
        live(seed, true, false);
    });
}
