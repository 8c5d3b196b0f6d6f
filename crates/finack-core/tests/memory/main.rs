//! What the engine allocates, counted by the allocator. One test only: the counts are the process's.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod counting;

use core::net::SocketAddr;
use core::time::Duration;

use counting::{Counting, allocations, live_bytes};
use finack_core::device::{Capabilities, Packet};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::stack::{ConnId, ListenerId};
use finack_core::{Error, Instant, Stack};
use finack_sim::Setup;
use finack_sim::packet::v4;

#[global_allocator]
static ALLOC: Counting = Counting;

/// Two stacks back to back, with buffers that are allocated once.
struct Pair {
    now: Instant,
    stacks: [Stack; 2],
    wires: [Vec<u8>; 2],
    lengths: [Vec<usize>; 2],
}

impl Pair {
    fn new() -> Self {
        let now = Instant::from_secs(1);
        let stack = |host: u8| {
            let mut config = Setup::new().device(Capabilities::plain(1500)).seed(host).config();
            // The port table makes a page for each 256 ports that were ever used: all of these are, at once.
            (config.settings.ip_local_port_min, config.settings.ip_local_port_max) = (50_000, 51_499);
            config.addresses.truncate(1);
            config.addresses[0].addr = v4(host);
            Stack::new(now, config)
        };
        let wire = || Vec::with_capacity(1 << 20);
        let lengths = || Vec::with_capacity(4096);
        Self { now, stacks: [stack(1), stack(2)], wires: [wire(), wire()], lengths: [lengths(), lengths()] }
    }

    /// Carries packets until both are silent.
    fn settle(&mut self) {
        loop {
            for i in 0..2 {
                while let Some(transmit) = self.stacks[i].poll_transmit(self.now) {
                    let before = self.wires[i].len();
                    transmit.write_to(&mut self.wires[i]);
                    self.lengths[i].push(self.wires[i].len() - before);
                }
                while self.stacks[i].poll_event().is_some() {}
            }
            if self.lengths.iter().all(Vec::is_empty) {
                return;
            }
            self.now += Duration::from_micros(50);
            for i in 0..2 {
                let mut at = 0;
                for &len in &self.lengths[i] {
                    let packet = Packet::borrowed(&self.wires[i][at..at + len]);
                    self.stacks[1 - i].handle_packets(self.now, &[packet]);
                    at += len;
                }
                self.wires[i].clear();
                self.lengths[i].clear();
            }
        }
    }

    /// Time passes, and timers fire.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) =
            self.stacks.iter().filter_map(Stack::poll_timeout).min().filter(|&next| next <= end)
        {
            self.now = self.now.max(next);
            for stack in &mut self.stacks {
                stack.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn connect(&mut self, listener: ListenerId) -> (ConnId, ConnId) {
        let to = SocketAddr::new(v4(2), 80);
        let c = self.stacks[0].tcp_connect(self.now, None, to, SocketOptions::default()).unwrap();
        self.settle();
        let (s, _) = self.stacks[1].tcp_accept(self.now, listener).unwrap();
        (c, s)
    }

    /// `len` bytes from one side to the other.
    fn carry(&mut self, from: usize, sender: ConnId, receiver: ConnId, len: usize, buf: &mut [u8]) {
        let (mut sent, mut got) = (0, 0);
        while got < len {
            let chunk = buf.len().min(len - sent);
            match self.stacks[from].tcp_send(self.now, sender, &buf[..chunk], SendFlags::default()) {
                Ok(n) => sent += n,
                Err(e) => assert_eq!(e, Error::WouldBlock),
            }
            self.settle();
            match self.stacks[1 - from].tcp_recv(self.now, receiver, buf, RecvFlags::default()) {
                Ok(n) => got += n,
                Err(Error::WouldBlock) => self.pass(Duration::from_millis(50)),
                Err(e) => panic!("{e}"),
            }
            self.settle();
        }
    }
}

fn listener(pair: &mut Pair) -> ListenerId {
    let now = pair.now;
    let bind = pair.stacks[1].tcp_bind(now, SocketAddr::new(v4(2), 80), BindOptions::default()).unwrap();
    pair.stacks[1].tcp_listen(now, bind, 1000, SocketOptions::default()).unwrap()
}

/// In steady state neither bulk nor request and response allocate; a thousand idle connections take what `memory`
/// says and little; when all is over everything but bounded spare blocks and tables is given back, time after time.
#[test]
fn allocations_are_few_and_given_back() {
    let mut pair = Pair::new();
    let mut buf = vec![7; 16_384];
    let listener = listener(&mut pair);

    let (c, s) = pair.connect(listener);
    pair.carry(0, c, s, 4_000_000, &mut buf);
    let before = allocations();
    pair.carry(0, c, s, 10_000_000, &mut buf);
    let bulk = allocations() - before;
    println!("bulk: {bulk} allocations for 10 MB in 6850 segments");
    assert!(bulk < 50, "{bulk} allocations for 6850 segments");

    for _ in 0..100 {
        pair.carry(0, c, s, 100, &mut buf);
        pair.carry(1, s, c, 100, &mut buf);
    }
    let before = allocations();
    for _ in 0..1000 {
        pair.carry(0, c, s, 100, &mut buf);
        pair.carry(1, s, c, 100, &mut buf);
    }
    let turns = allocations() - before;
    println!("request and response: {turns} allocations for 1000 of each");
    assert!(turns < 50, "{turns} allocations for 1000 requests and answers");

    let (live, told) = (live_bytes(), memory(&pair));
    let conns: Vec<(ConnId, ConnId)> = (0..1000).map(|_| pair.connect(listener)).collect();
    pair.pass(Duration::from_secs(10));
    let (per_live, per_told) = ((live_bytes() - live) / 2000, (memory(&pair) - told) as i64 / 2000);
    println!("an idle connection: {per_live} bytes by the allocator, {per_told} by memory()");
    assert!(per_live < 2500, "{per_live} bytes for an idle connection");
    assert!((per_live - per_told).abs() < 300, "memory() tells {per_told} where {per_live} are allocated");

    for (c, s) in conns {
        pair.stacks[0].tcp_close(pair.now, c).unwrap();
        pair.settle();
        pair.stacks[1].tcp_close(pair.now, s).unwrap();
        pair.settle();
    }
    pair.pass(Duration::from_secs(100));
    let kept = live_bytes();
    for _ in 0..5 {
        let conns: Vec<(ConnId, ConnId)> = (0..500).map(|_| pair.connect(listener)).collect();
        for &(c, s) in &conns {
            pair.carry(0, c, s, 2000, &mut buf);
        }
        for (c, s) in conns {
            pair.stacks[1].tcp_close(pair.now, s).unwrap();
            pair.settle();
            pair.stacks[0].tcp_close(pair.now, c).unwrap();
            pair.settle();
        }
        pair.pass(Duration::from_secs(100));
    }
    let grown = live_bytes() - kept;
    println!("after 2500 more connections: {grown} bytes more than before");
    assert!(grown < 100_000, "{grown} bytes were not given back");
}

fn memory(pair: &Pair) -> usize {
    pair.stacks.iter().map(Stack::memory).sum()
}
