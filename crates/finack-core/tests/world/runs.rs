//! Packets that come together, with something wrong here and there: a stack that takes runs of them at one go does what its
//! twin does, which looks at each by itself.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;
use finack_core::counters::Counters;
use finack_core::device::{Capabilities, ChecksumState, Packet, PacketMeta};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, InterfaceAddress};
use finack_core::{Config, Event, Instant, Stack};
use finack_sim::rng::Rng;
use finack_wire::{ip, tcp};

/// What can be seen of a stack, and what it has to tell.
#[derive(PartialEq, Debug)]
struct Seen {
    state: u128,
    sent: Vec<Vec<u8>>,
    events: Vec<Event>,
    counted: Counters,
    wakes: Option<Instant>,
}

/// All but the state, where that is not asked for: to tell it takes a while.
fn see(stack: &mut Stack, now: Instant, wholly: bool) -> Seen {
    let sent = transmit(stack, now, usize::MAX);
    let events = core::iter::from_fn(|| stack.poll_event()).collect();
    let mut counted = stack.counters().clone();
    (counted.tcp_expected, counted.tcp_expected_behind, counted.tcp_ordinary) = (0, 0, 0);
    let state = if wholly { stack.fingerprint(now, Default::default()) } else { 0 };
    Seen { state, sent, events, counted, wakes: stack.poll_timeout() }
}

fn transmit(stack: &mut Stack, now: Instant, most: usize) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while sent.len() < most
        && let Some(transmit) = stack.poll_transmit(now)
    {
        let mut bytes = Vec::new();
        transmit.write_to(&mut bytes);
        sent.push(bytes);
    }
    sent
}

/// A stack with short ways and one without, which are told the same.
struct Twins([Stack; 2]);

impl Twins {
    #[track_caller]
    fn both<R: PartialEq + core::fmt::Debug>(&mut self, mut call: impl FnMut(&mut Stack) -> R) -> R {
        let [short, long] = &mut self.0;
        let answer = call(short);
        assert_eq!(answer, call(long));
        answer
    }
}

fn stack(addr: IpAddr, mtu: usize, settings: Settings) -> Stack {
    let addresses = vec![InterfaceAddress { addr, prefix_len: 8 }];
    let device = Capabilities::plain(mtu);
    let config =
        Config { settings, device, addresses, routes: Vec::new(), any_address: false, seed: [7; 32] };
    Stack::new(Instant::from_secs(1), config)
}

fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings { tcp_timestamps: rng.below(2), ..Settings::default() };
    if rng.one_in(4) {
        settings.set("finack.profile", "rfc").unwrap();
    }
    if rng.one_in(8) {
        settings.tcp_window_scaling = 0;
    }
    if rng.one_in(8) {
        settings.tcp_mem = 300_000;
    }
    settings
}

fn options(rng: &mut Rng) -> SocketOptions {
    SocketOptions {
        nodelay: rng.one_in(2),
        recv_buffer: [None, None, Some(30_000), Some(100_000)][rng.below(4) as usize],
        recv_lowat: [0, 0, 0, 4000, 40_000][rng.below(5) as usize],
        quickack: rng.one_in(6),
        ..SocketOptions::default()
    }
}

/// Two hosts, and what is on its way from the client to the server.
struct Play {
    rng: Rng,
    now: Instant,
    client: Stack,
    servers: Twins,
    ends: Vec<(ConnId, ConnId)>,
    wire: Vec<Vec<u8>>,
    /// Of so many packets one is mangled; 0 where none is.
    mangles: u64,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let v6 = rng.one_in(3);
        let address = |n: u8| -> IpAddr {
            if v6 {
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into()
            } else {
                Ipv4Addr::new(10, 0, 0, n).into()
            }
        };
        let mtu = [576, 1500, 1500, 9000][rng.below(4) as usize].max(if v6 { 1280 } else { 0 });
        let mut client = stack(address(1), mtu, settings(&mut rng));
        let mut server = stack(address(2), mtu, settings(&mut rng));
        let now = Instant::from_secs(2);
        let to = SocketAddr::new(address(2), 80);
        let bind = server.tcp_bind(now, to, BindOptions::default()).unwrap();
        let listener = server.tcp_listen(now, bind, 16, options(&mut rng)).unwrap();
        let ends = (0..1 + rng.below(3))
            .map(|_| {
                let conn = client.tcp_connect(now, None, to, options(&mut rng)).unwrap();
                for _ in 0..2 {
                    let there = transmit(&mut client, now, usize::MAX);
                    there.iter().for_each(|bytes| server.handle_packets(now, &[Packet::borrowed(bytes)]));
                    let back = transmit(&mut server, now, usize::MAX);
                    back.iter().for_each(|bytes| client.handle_packets(now, &[Packet::borrowed(bytes)]));
                }
                (conn, server.tcp_accept(now, listener).unwrap().0)
            })
            .collect();
        let mut long = server.clone();
        long.set_prediction(false);
        let mangles = [0, 10, 60][rng.below(3) as usize];
        Self { rng, now, client, servers: Twins([server, long]), ends, wire: Vec::new(), mangles }
    }

    /// Writers write, and some of what they wrote comes to the wire.
    fn send(&mut self) {
        let data = [7; 60_000];
        for &(conn, _) in &self.ends {
            if !self.rng.one_in(4) {
                let len = if self.rng.one_in(3) { self.rng.below(2000) } else { self.rng.below(60_000) };
                let more = SendFlags { more: self.rng.one_in(10), ..SendFlags::default() };
                let _ = self.client.tcp_send(self.now, conn, &data[..len as usize], more);
            }
        }
        for mut bytes in transmit(&mut self.client, self.now, 40) {
            if self.mangles > 0 && self.rng.one_in(self.mangles) {
                self.mangle(&mut bytes);
            } else {
                self.wire.push(bytes);
            }
        }
    }

    /// Something becomes of a packet.
    fn mangle(&mut self, bytes: &mut Vec<u8>) {
        let headers = bytes.len().min(if bytes[0] >> 4 == 4 { 52 } else { 72 }) as u64;
        match self.rng.below(8) {
            0 => return,
            1 => self.wire.push(bytes.clone()),
            2 => {
                let at = self.rng.below(self.wire.len() as u64 + 1) as usize;
                self.wire.insert(at, bytes.clone());
                return;
            }
            3 => bytes.truncate(self.rng.below(bytes.len() as u64) as usize),
            4 | 5 => {
                let at = self.rng.below(headers) as usize;
                bytes[at] ^= 1 << self.rng.below(8);
                mend(bytes);
            }
            6 => {
                let at = self.rng.below(headers) as usize;
                bytes[at] ^= 1 << self.rng.below(8);
            }
            _ => {
                let at = self.rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.rng.below(8);
            }
        }
        self.wire.push(bytes.clone());
    }

    /// Some of what is on the wire comes together.
    fn arrive(&mut self) {
        let count = if self.rng.one_in(4) { self.wire.len() } else { self.rng.below(40) as usize };
        let batch: Vec<Vec<u8>> = self.wire.drain(..count.min(self.wire.len())).collect();
        let shared = self.rng.one_in(4);
        let valid = self.rng.one_in(6);
        let number = self.rng.below(2);
        let packets: Vec<Packet<'_>> = batch
            .iter()
            .map(|bytes| {
                let checksum = if valid { ChecksumState::Valid } else { ChecksumState::Unchecked };
                let meta = PacketMeta { checksum, number, ..PacketMeta::default() };
                let packet = if shared {
                    Packet::shared(Bytes::copy_from_slice(bytes))
                } else {
                    Packet::borrowed(bytes)
                };
                Packet { meta, ..packet }
            })
            .collect();
        let now = self.now;
        self.servers.both(|server| server.handle_packets(now, &packets));
    }

    /// Readers read, and answer now and then.
    fn read(&mut self) {
        let (now, ends) = (self.now, self.ends.clone());
        for (_, conn) in ends {
            if self.rng.one_in(3) {
                continue;
            }
            let most = if self.rng.one_in(3) { self.rng.below(5000) } else { 200_000 };
            let flags = RecvFlags { peek: self.rng.one_in(8), ..RecvFlags::default() };
            let mut bufs = [vec![0; most as usize], vec![0; most as usize]];
            let mut each = bufs.iter_mut();
            let read =
                self.servers.both(|server| each.next().map(|buf| server.tcp_recv(now, conn, buf, flags)));
            if let Some(Ok(n)) = read {
                assert_eq!(bufs[0][..n], bufs[1][..n]);
            }
            if self.rng.one_in(12) {
                let answer = vec![9; self.rng.below(3000) as usize];
                let _ = self.servers.both(|server| server.tcp_send(now, conn, &answer, SendFlags::default()));
            }
            if self.rng.one_in(100) {
                let held = self.rng.one_in(2);
                let _ = self.servers.both(|server| server.tcp_hold_acks(now, conn, held));
            }
        }
    }

    fn observe(&mut self, wholly: bool) {
        let now = self.now;
        let seen = self.servers.both(|server| see(server, now, wholly));
        for bytes in seen.sent {
            if self.mangles == 0 || !self.rng.one_in(self.mangles) {
                self.client.handle_packets(now, &[Packet::borrowed(&bytes)]);
            }
        }
        for (_, conn) in self.ends.clone() {
            let _ = self.servers.both(|server| server.tcp_info(now, conn));
        }
    }

    fn pass(&mut self) {
        let micros = match self.rng.below(20) {
            0 => 300_000,
            1..4 => self.rng.below(60_000),
            _ => self.rng.below(60),
        };
        self.now += Duration::from_micros(micros);
        let now = self.now;
        self.client.handle_timeout(now);
        while self.client.poll_event().is_some() {}
        self.servers.both(|server| server.handle_timeout(now));
    }
}

/// Makes the checksums right where there is a packet with a segment.
fn mend(bytes: &mut [u8]) {
    if bytes[0] == 0x45 {
        bytes[10..12].fill(0);
        let sum = !finack_sum::sum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let Ok(header) = ip::parse(bytes) else { return };
    let len = header.payload(bytes).len();
    let at = if header.is_v6() { 40 } else { 20 };
    if len >= 20 && at + len <= bytes.len() {
        tcp::set_checksum(&mut bytes[at..at + len], 0);
        let value = tcp::checksum(header.pseudo_header_sum(len), &bytes[at..at + len]);
        tcp::set_checksum(&mut bytes[at..at + len], value);
    }
}

/// RFC 9293 3.10.7.4: whatever comes among them, segments that follow each other are taken as each would be by itself.
#[test]
fn twins_that_are_told_the_same() {
    let count = std::env::var("FINACK_SWARM").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let (mut behind, mut segments) = (0, 0);
    for seed in 1..=count {
        println!("seed {seed}");
        let mut play = Play::new(seed);
        for round in 1..=150 {
            play.send();
            play.arrive();
            play.observe(round % 10 == 0);
            play.read();
            play.observe(round % 50 == 0);
            play.pass();
        }
        let [short, long] = &play.servers.0;
        assert_eq!(long.counters().tcp_expected_behind, 0);
        behind += short.counters().tcp_expected_behind;
        segments += short.counters().tcp_in_segs;
    }
    assert!(behind * 4 > segments, "{behind} of {segments}");
}
