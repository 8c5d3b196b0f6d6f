//! Random exchanges over a bad link, with one shard and with several: the same bytes arrive.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::stack::{ConnId, ListenerId};
use finack_core::{Error, Instant, Stack};

use crate::host::{Random, World};
use crate::{PORT, here, listen, there};

/// One end of a connection: what it has to send, and what it has received.
struct End {
    shard: usize,
    conn: ConnId,
    rest: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    eof: bool,
    closed: bool,
}

impl End {
    fn new(shard: usize, conn: ConnId, data: Vec<u8>) -> Self {
        Self { shard, conn, rest: data, sent: 0, got: Vec::new(), eof: false, closed: false }
    }

    /// Writes and reads what can be; closes once both directions are done.
    fn go_on(&mut self, stacks: &mut [Stack], now: Instant) {
        let stack = &mut stacks[self.shard];
        while !self.closed && self.sent < self.rest.len() {
            match stack.tcp_send(now, self.conn, &self.rest[self.sent..], SendFlags::default()) {
                Ok(n) => self.sent += n,
                Err(Error::WouldBlock | Error::InProgress | Error::NotConnected) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        let mut buf = [0; 3000];
        while !self.eof && !self.closed {
            match stack.tcp_recv(now, self.conn, &mut buf, RecvFlags::default()) {
                Ok(0) => self.eof = true,
                Ok(n) => self.got.extend_from_slice(&buf[..n]),
                Err(Error::WouldBlock | Error::InProgress | Error::NotConnected) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        if self.sent == self.rest.len() && !self.closed {
            // A half-close, so that what comes the other way is still read.
            let _ = stack.tcp_shutdown(now, self.conn, finack_core::options::Shutdown::Write);
            if self.eof {
                stack.tcp_close(now, self.conn).unwrap();
                self.closed = true;
            }
        }
    }
}

/// What connection `number` says, one way or the other. It begins with the number.
fn script(number: u64, answer: bool) -> Vec<u8> {
    let mut random = Random(number * 2 + u64::from(answer) + 77);
    let len = 3000 + random.below(60_000);
    let mut data = number.to_be_bytes().to_vec();
    data.extend((0..len).map(|_| random.below(256) as u8));
    data
}

/// What arrived of each connection: at whom it was opened, and at whom opened it.
type Streams = BTreeMap<u64, (Vec<u8>, Vec<u8>)>;

struct Exchange {
    world: World,
    listeners: Vec<ListenerId>,
    far_listeners: Vec<ListenerId>,
    /// Those here and those there.
    ends: [Vec<End>; 2],
}

impl Exchange {
    fn new(shards: usize, seed: u64) -> Self {
        let mut world = World::new(shards, seed, 4);
        let listeners = listen(&mut world.here, here(PORT), 400);
        let far_listeners = listen(&mut world.there, there(PORT), 400);
        Self { world, listeners, far_listeners, ends: [Vec::new(), Vec::new()] }
    }

    /// Numbers below 100 are opened from there, others from here: on each shard in turn, and every fourth from a bound
    /// port.
    fn open(&mut self, number: u64) {
        let (now, options) = (self.world.now, SocketOptions::default());
        if number < 100 {
            let conn = self.world.there.stacks[0].tcp_connect(now, None, here(PORT), options).unwrap();
            return self.ends[1].push(End::new(0, conn, script(number, false)));
        }
        let host = &mut self.world.here;
        let (shard, bind) = if number.is_multiple_of(4) {
            let local: SocketAddr = here(3000 + number as u16);
            let binds = Stack::tcp_bind_all(&mut host.all(), now, local, BindOptions::default()).unwrap();
            let shard = host.stacks[0].tcp_shard_of(binds[0], there(PORT)).unwrap();
            (shard, Some(binds[shard]))
        } else {
            (number as usize % host.stacks.len(), None)
        };
        let conn = host.stacks[shard].tcp_connect(now, bind, there(PORT), options).unwrap();
        self.ends[0].push(End::new(shard, conn, script(number, false)));
    }

    /// Takes new connections. What they say depends on their first bytes.
    fn accept(&mut self) {
        let now = self.world.now;
        for (shard, &listener) in self.listeners.iter().enumerate() {
            while let Ok((conn, _)) = self.world.here.stacks[shard].tcp_accept(now, listener) {
                self.ends[0].push(End::new(shard, conn, Vec::new()));
            }
        }
        while let Ok((conn, _)) = self.world.there.stacks[0].tcp_accept(now, self.far_listeners[0]) {
            self.ends[1].push(End::new(0, conn, Vec::new()));
        }
        for end in self.ends.iter_mut().flatten().filter(|end| end.rest.is_empty()) {
            if let Some(&number) = end.got.first_chunk::<8>() {
                end.rest = script(u64::from_be_bytes(number), true);
            }
        }
    }

    fn run(mut self) -> (Streams, Vec<Vec<u8>>) {
        for i in 0..12 {
            self.open(i);
            self.open(100 + i);
            self.world.pass(Duration::from_millis(3));
        }
        let end = self.world.now + Duration::from_secs(120);
        loop {
            self.accept();
            let now = self.world.now;
            for (ends, host) in self.ends.iter_mut().zip([&mut self.world.here, &mut self.world.there]) {
                // One that was accepted has nothing to say before it knows to whom.
                for end in ends.iter_mut() {
                    if end.rest.is_empty() {
                        let mut buf = [0; 3000];
                        let stack = &mut host.stacks[end.shard];
                        while let Ok(n @ 1..) = stack.tcp_recv(now, end.conn, &mut buf, RecvFlags::default())
                        {
                            end.got.extend_from_slice(&buf[..n]);
                        }
                    } else {
                        end.go_on(&mut host.stacks, now);
                    }
                }
            }
            let all = self.ends.iter().map(Vec::len).sum::<usize>() == 48;
            if all && self.ends.iter().flatten().all(|end| end.closed) {
                break;
            }
            assert!(self.world.step(end), "not done after two minutes");
        }
        (self.streams(), self.world.wire)
    }

    fn streams(&self) -> Streams {
        let mut streams = Streams::new();
        for end in self.ends.iter().flatten() {
            let opened_by_us =
                end.rest == script(u64::from_be_bytes(*end.rest.first_chunk().unwrap()), false);
            let number = u64::from_be_bytes(*end.rest.first_chunk().unwrap());
            let entry = streams.entry(number).or_default();
            if opened_by_us {
                entry.1.clone_from(&end.got);
            } else {
                entry.0.clone_from(&end.got);
            }
        }
        streams
    }
}

/// The same connections, of which some are opened on each side, bring the same bytes through losses, doubles and
/// changes of order, however many shards one of the hosts has.
#[test]
fn streams_are_the_same_with_one_shard_and_with_several() {
    for seed in 1..4 {
        let (one, _) = Exchange::new(1, seed).run();
        assert_eq!(one.len(), 24);
        for (&number, (request, answer)) in &one {
            assert!(*request == script(number, false) && *answer == script(number, true), "{number}");
        }
        for shards in [2, 4] {
            let (several, _) = Exchange::new(shards, seed).run();
            assert!(several == one, "{shards} shards, seed {seed}");
        }
    }
}

/// Equal seeds give equal packets, in the same order.
#[test]
fn shards_are_as_deterministic_as_one_stack() {
    let run = || Exchange::new(4, 9).run().1;
    assert!(run() == run());
}
