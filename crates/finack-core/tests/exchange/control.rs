//! Segments without data take a short way out and in where nothing about them is out of the ordinary: SYN, SYN,ACK, ACK, FIN. Whole
//! lives of connections with the short ways and without: every packet, every state, what is counted, traced and told, and when each
//! stack wants to be woken.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use finack_core::counters::Counters;
use finack_core::device::{Capabilities, Packet};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{InterfaceAddress, Route};
use finack_core::{Config, Instant, Stack};

/// How a pair of hosts differs from an ordinary one.
#[derive(Clone, Debug, Default)]
struct Pair {
    settings: Vec<(&'static str, &'static str)>,
    options: SocketOptions,
    v6: bool,
    device: Option<Capabilities>,
    routes: Vec<Route>,
    traced: bool,
}

/// What happens in a life.
#[derive(Clone, Copy, Debug)]
struct Plot {
    /// Which side closes first, and whether the other waits for that: 0 the client, 1 the server, 2 both at once.
    closing: usize,
    /// Bytes that each side writes just before it closes.
    last_words: usize,
    /// The packet with this number is lost, or comes twice.
    lost: Option<usize>,
    doubled: Option<usize>,
}

const PLAIN: Plot = Plot { closing: 0, last_words: 0, lost: None, doubled: None };

/// What can be seen of a life.
#[derive(PartialEq, Debug, Default)]
struct Story {
    packets: Vec<Vec<u8>>,
    states: Vec<[u128; 2]>,
    wakes: Vec<[Option<Instant>; 2]>,
    told: Vec<String>,
    counted: Vec<Counters>,
}

struct World {
    hosts: [Stack; 2],
    now: Instant,
    plot: Plot,
    story: Story,
}

fn address(v6: bool, n: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, n).into()
    }
}

impl World {
    fn new(pair: &Pair, plot: Plot, short_ways: bool) -> Self {
        let hosts = [1, 2].map(|n| {
            let mut settings = Settings::default();
            for (name, value) in &pair.settings {
                settings.set(name, value).unwrap();
            }
            let config = Config {
                settings,
                device: pair.device.unwrap_or(Capabilities::plain(1500)),
                addresses: vec![InterfaceAddress { addr: address(pair.v6, n), prefix_len: 24 }],
                routes: pair.routes.clone(),
                any_address: false,
                seed: [n; 32],
            };
            let mut stack = Stack::new(Instant::ZERO, config);
            stack.set_prediction(short_ways);
            stack.set_tracing(if pair.traced { 1000 } else { 0 });
            stack
        });
        Self { hosts, now: Instant::from_secs(1), plot, story: Story::default() }
    }

    fn note(&mut self) {
        let now = self.now;
        for host in &mut self.hosts {
            let events = core::iter::from_fn(|| host.poll_event()).map(|event| format!("{event:?}"));
            self.story.told.extend(events);
            let traced = core::iter::from_fn(|| host.poll_trace()).map(|event| format!("{event:?}"));
            self.story.told.extend(traced);
        }
        self.story.states.push(self.hosts.each_ref().map(|host| host.fingerprint(now, Default::default())));
        self.story.wakes.push(self.hosts.each_ref().map(Stack::poll_timeout));
    }

    /// Carries packets until nobody has any.
    fn carry(&mut self) {
        loop {
            let mut idle = true;
            for from in 0..2 {
                while let Some(transmit) = self.hosts[from].poll_transmit(self.now) {
                    let mut bytes = transmit.number.to_be_bytes().to_vec();
                    transmit.write_finished(&mut bytes);
                    idle = false;
                    let number = self.story.packets.len();
                    let times = match number {
                        n if Some(n) == self.plot.lost => 0,
                        n if Some(n) == self.plot.doubled => 2,
                        _ => 1,
                    };
                    for _ in 0..times {
                        self.hosts[1 - from].handle_packets(self.now, &[Packet::borrowed(&bytes[8..])]);
                    }
                    self.story.packets.push(bytes);
                    self.note();
                }
            }
            if idle {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.carry();
            let next = self.hosts.iter().filter_map(Stack::poll_timeout).min().filter(|&at| at <= end);
            self.now = next.unwrap_or(end).max(self.now);
            for host in &mut self.hosts {
                host.handle_timeout(self.now);
            }
            self.note();
            if next.is_none() {
                return;
            }
        }
    }

    /// A client asks, a server answers, and both close.
    fn live(mut self, pair: &Pair) -> Story {
        let local = SocketAddr::new(address(pair.v6, 2), 80);
        let bind = self.hosts[1].tcp_bind(self.now, local, BindOptions::default()).unwrap();
        let listener = self.hosts[1].tcp_listen(self.now, bind, 5, pair.options).unwrap();
        let client = self.hosts[0].tcp_connect(self.now, None, local, pair.options).unwrap();
        self.pass(Duration::from_millis(1));
        let mut accepted = self.hosts[1].tcp_accept(self.now, listener);
        if accepted.is_err() {
            self.pass(Duration::from_secs(5));
            accepted = self.hosts[1].tcp_accept(self.now, listener);
        }
        let ends = [client, accepted.unwrap().0];
        let mut buf = [0; 8000];
        for (writer, len) in [(0, 1), (1, 1), (0, 3000), (1, 2)] {
            let data = vec![7; len];
            let written = self.hosts[writer].tcp_send(self.now, ends[writer], &data, SendFlags::default());
            self.pass(Duration::from_millis(1));
            let read =
                self.hosts[1 - writer].tcp_recv(self.now, ends[1 - writer], &mut buf, RecvFlags::default());
            self.story.told.push(format!("{written:?} {read:?}"));
            self.note();
        }
        let order = if self.plot.closing == 1 { [1, 0] } else { [0, 1] };
        for closer in order {
            let data = vec![7; self.plot.last_words];
            let read = self.hosts[closer].tcp_recv(self.now, ends[closer], &mut buf, RecvFlags::default());
            let written = self.hosts[closer].tcp_send(self.now, ends[closer], &data, SendFlags::default());
            self.hosts[closer].tcp_close(self.now, ends[closer]).unwrap();
            self.story.told.push(format!("{read:?} {written:?}"));
            if self.plot.closing != 2 {
                self.pass(Duration::from_millis(1));
            }
            self.note();
        }
        self.pass(Duration::from_secs(130));
        self.story.counted = self.hosts.iter().map(|host| host.counters().clone()).collect();
        self.story
    }
}

/// Segments that took the short way out, of so many.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Out {
    short: u64,
    all: u64,
}

/// Lives both ways.
#[track_caller]
fn both_ways(pair: &Pair, plot: Plot) -> Out {
    let [mut short, long] = [true, false].map(|ways| World::new(pair, plot, ways).live(pair));
    let out = Out {
        short: short.counted.iter().map(|c| c.tcp_ordinary).sum(),
        all: short.counted.iter().map(|c| c.tcp_out_segs).sum(),
    };
    assert!(long.counted.iter().all(|c| (c.tcp_ordinary, c.tcp_expected) == (0, 0)));
    for counted in &mut short.counted {
        (counted.tcp_ordinary, counted.tcp_expected) = (0, 0);
    }
    assert!(short == long, "{pair:?}, {plot:?}: {short:?}\n{long:?}");
    out
}

/// What is out of the ordinary about the pairs below.
fn pairs() -> Vec<Pair> {
    let set = |name, value| Pair { settings: vec![(name, value)], ..Pair::default() };
    let with = |change: fn(&mut SocketOptions)| {
        let mut options = SocketOptions::default();
        change(&mut options);
        Pair { options, ..Pair::default() }
    };
    let units = Capabilities { max_unit: 65_535, checksum_tx: true, ..Capabilities::plain(1500) };
    let route =
        |mtu, advertised_mss| Route { network: address(false, 0), prefix_len: 25, mtu, advertised_mss };
    vec![
        Pair::default(),
        Pair { v6: true, ..Pair::default() },
        Pair { device: Some(units), ..Pair::default() },
        Pair { routes: vec![route(Some(1000), None)], ..Pair::default() },
        Pair { routes: vec![route(None, Some(700))], ..Pair::default() },
        set("tcp_timestamps", "0"),
        set("tcp_sack", "0"),
        set("tcp_window_scaling", "0"),
        set("tcp_ecn", "1"),
        set("tcp_ecn", "3"),
        set("tcp_syncookies", "2"),
        set("tcp_fastopen", "1539"),
        set("tcp_mtu_probing", "2"),
        set("ip_no_pmtu_disc", "1"),
        set("finack.profile", "rfc"),
        set("finack.testing_fixed_isn", "1"),
        set("tcp_max_tw_buckets", "0"),
        with(|o| o.nodelay = true),
        with(|o| o.quickack = true),
        with(|o| (o.tos, o.hop_limit) = (0x2b, Some(3))),
        with(|o| o.max_segment = Some(500)),
        with(|o| o.recv_buffer = Some(5000)),
        with(|o| o.keepalive = true),
        with(|o| o.max_pacing_rate = Some(100_000)),
    ]
}

/// RFC 9293 3.5, 3.6: both ways come to the same whatever is agreed on, however it is closed, and whichever packet is lost or
/// comes twice.
#[test]
fn whole_lives() {
    for pair in pairs() {
        for traced in [false, true] {
            let pair = Pair { traced, ..pair.clone() };
            for (closing, last_words) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
                both_ways(&pair, Plot { closing, last_words, ..PLAIN });
            }
        }
        // Every packet of a life in turn.
        for number in 0..15 {
            let closing = number % 3;
            both_ways(&pair, Plot { closing, lost: Some(number), ..PLAIN });
            both_ways(&pair, Plot { closing: 2 - closing, doubled: Some(number), ..PLAIN });
        }
    }
}

/// In an ordinary life all that has no data goes the short way, but for what TIME-WAIT and half-open connections say, who are none.
#[test]
fn an_ordinary_life_is_short() {
    for closing in 0..2 {
        let out = both_ways(&Pair::default(), Plot { closing, ..PLAIN });
        // The SYN,ACK and the last ACK.
        let others = 2;
        // The first segments of two units are decided on.
        assert!(out.short + others + 2 >= out.all, "{out:?}");
    }
}
