//! What a controller carries at a given rate of loss, by the formulas of its RFC, and what it carries in a world.
//!
//! The formulas are about a *deterministic* loss model: of every `1 / p` packets one is lost.

use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::{RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::{Congestion, Settings};
use finack_core::stack::ConnId;

use crate::packet::Body;
use crate::{HostId, Link, Passing, Verdict, World};

/// CUBIC's C and what it keeps of its window after a loss (RFC 9438 4.6, 5.1).
const C: f64 = 0.4;
const BETA: f64 = 0.7;

/// Average window of NewReno in segments where one of `1 / p` packets is lost (RFC 3649 1, RFC 9438 figure 3): the
/// square root of 3 / (2 p).
#[must_use]
pub fn reno_window(p: f64) -> f64 {
    (1.5 / p).sqrt()
}

/// Average window of CUBIC in segments where one of `1 / p` packets is lost on a path of this round trip: RFC 9438
/// figure 6, or Reno's where that is larger (4.3).
#[must_use]
pub fn cubic_window(p: f64, rtt: Duration) -> f64 {
    let curve = (C * (3.0 + BETA) / (4.0 * (1.0 - BETA))).powf(0.25) * (rtt.as_secs_f64() / p).powf(0.75);
    curve.max(reno_window(p))
}

/// A path on which every n-th packet with data is lost.
#[derive(Clone, Copy, Debug)]
pub struct Periodic {
    /// Packets from one loss to the next: `1 / p`.
    pub every: u64,
    /// Propagation there and back.
    pub rtt: Duration,
    /// Losses that are waited for before measuring begins.
    pub warm_up: u64,
    /// Losses while measuring.
    pub epochs: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Average window in segments: what was delivered, by round trips.
    pub delivered: f64,
    /// Average of the congestion window over time, in segments.
    pub cwnd: f64,
    /// Retransmission time-outs.
    pub time_outs: u64,
}

/// Rate of the path in bits a second: far above what the formulas give.
const RATE: u64 = 10_000_000_000;

impl Periodic {
    /// Lets `congestion` send over the path.
    ///
    /// # Panics
    /// Where the connection breaks.
    #[must_use]
    pub fn measure(&self, congestion: Congestion, settings: &Settings) -> Response {
        let link = Link { rate: Some(RATE), ..Link::new(self.rtt / 2) };
        let mut world = World::new(1, link);
        let a = world.host(settings.clone(), Capabilities::plain(1500));
        let b = world.host(Settings::default(), Capabilities::plain(1500));
        let options = SocketOptions { congestion: Some(congestion), ..SocketOptions::default() };
        let (from, to) = world.connect(a, b, 80, options);
        let every = self.every;
        let mut n = 0;
        world.fault(move |p: &Passing<'_>| {
            let data = matches!(&p.packet.body, Body::Tcp(tcp) if !tcp.payload.is_empty());
            n += u64::from(p.from == a && data);
            if p.from == a && data && n % every == 0 { Verdict::Drop } else { Verdict::Pass }
        });
        let mut flow = Flow { ends: [(a, from), (b, to)], read: 0 };
        let packet = u64::from(world.with(a, |s, now| s.tcp_info(now, from)).expect("info").snd_mss);
        flow.run(&mut world, self.warm_up * every * packet, |_, _| {});
        let (began, before) = (world.now(), flow.read);
        let (mut cwnd, mut last) = (0.0, began);
        flow.run(&mut world, (self.warm_up + self.epochs) * every * packet, |now, bytes| {
            cwnd += bytes as f64 * now.since(last).as_secs_f64();
            last = now;
        });
        let time = world.now().since(began).as_secs_f64();
        let trips = time / self.rtt.as_secs_f64();
        Response {
            delivered: (flow.read - before) as f64 / packet as f64 / trips,
            cwnd: cwnd / time / packet as f64,
            time_outs: world.stack(a).counters().tcp_timeouts,
        }
    }
}

/// An endless transfer whose bytes nobody looks at.
struct Flow {
    ends: [(HostId, ConnId); 2],
    read: u64,
}

impl Flow {
    /// Runs until so many bytes are read; tells `seen` the time and the window after each event.
    fn run(&mut self, world: &mut World, total: u64, mut seen: impl FnMut(finack_core::Instant, u64)) {
        let [(a, from), (b, to)] = self.ends;
        let data = vec![0; 65_536];
        let mut room = vec![0; 65_536];
        world.run_until(Duration::from_secs(1_000_000), |w| {
            while let Ok(1..) = w.with(a, |s, now| s.tcp_send(now, from, &data, SendFlags::default())) {}
            while let Ok(n @ 1..) = w.with(b, |s, now| s.tcp_recv(now, to, &mut room, RecvFlags::default())) {
                self.read += n as u64;
            }
            let now = w.now();
            let cwnd = w.with(a, |s, now| s.tcp_info(now, from)).expect("the connection lives").cwnd;
            seen(now, cwnd);
            self.read >= total
        });
    }
}
