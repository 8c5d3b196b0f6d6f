//! A host of several stacks, and a lossy link to one of a single stack, in virtual time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use finack_core::device::{Capabilities, Packet};
use finack_core::settings::Settings;
use finack_core::stack::{Config, ForShards, InterfaceAddress};
use finack_core::steer::Steering;
use finack_core::{Instant, Stack};

pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// Several stacks that are one host.
pub(crate) struct Host {
    pub(crate) stacks: Vec<Stack>,
    pub(crate) steering: Steering,
}

impl Host {
    pub(crate) fn new(addr: IpAddr, shards: usize, seed: u8, settings: &Settings) -> Self {
        let config = Config {
            settings: settings.share(shards as u64),
            device: Capabilities::plain(1500),
            addresses: vec![InterfaceAddress { addr, prefix_len: 24 }],
            routes: vec![],
            any_address: false,
            seed: [seed; 32],
        };
        let steering = Steering::new(&config.seed, shards);
        let stack = |index| {
            let mut stack = Stack::new(Instant::ZERO, config.clone());
            stack.set_shard(&steering, index);
            stack
        };
        Self { stacks: (0..shards).map(stack).collect(), steering }
    }

    pub(crate) fn plain(addr: IpAddr, shards: usize) -> Self {
        Self::new(addr, shards, 7, &Settings::default())
    }

    /// All of them, for what is done on all of them at once.
    pub(crate) fn all(&mut self) -> Vec<&mut Stack> {
        self.stacks.iter_mut().collect()
    }

    /// Where a flow of this host belongs.
    pub(crate) fn home(&self, local: SocketAddr, remote: SocketAddr) -> usize {
        self.steering.of_flow(local, remote)
    }

    /// Takes a packet in, as a driver does; one that any shard may have goes to the first.
    pub(crate) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let shard = self.steering.of_packet(bytes).unwrap_or(0);
        self.stacks[shard].handle_packets(now, &[Packet::borrowed(bytes)]);
        self.exchange(now);
    }

    /// Takes to each shard what others have for it.
    fn exchange(&mut self, now: Instant) {
        for shard in 0..self.stacks.len() {
            while let Some(what) = self.stacks[shard].poll_for_shards() {
                match what {
                    ForShards::Packet(handed) => {
                        assert_ne!(handed.shard, shard, "what belongs here stays here");
                        self.stacks[handed.shard].handle_handed(now, &handed);
                    }
                    ForShards::PathMtu { shard, destination, mtu } => {
                        self.stacks[shard].learn_path_mtu(now, destination, mtu);
                    }
                }
            }
        }
    }

    /// Does what is due, and gives what is to be sent.
    pub(crate) fn send(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for shard in 0..self.stacks.len() {
            let stack = &mut self.stacks[shard];
            if stack.poll_timeout().is_some_and(|due| due <= now) {
                stack.handle_timeout(now);
            }
            while let Some(transmit) = stack.poll_transmit(now) {
                let mut packet = Vec::new();
                transmit.write_to(&mut packet);
                packets.push(packet);
            }
            while stack.poll_event().is_some() {}
        }
        self.exchange(now);
        packets
    }

    fn due(&self) -> Option<Instant> {
        self.stacks.iter().filter_map(Stack::poll_timeout).min()
    }
}

/// xorshift: the same each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Two hosts and a link that loses, doubles and delays packets by its seed.
pub(crate) struct World {
    pub(crate) here: Host,
    pub(crate) there: Host,
    pub(crate) now: Instant,
    random: Random,
    /// In hundredths of packets.
    trouble: u64,
    under_way: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    count: u64,
    /// Every packet that either host sent, in order.
    pub(crate) wire: Vec<Vec<u8>>,
}

impl World {
    pub(crate) fn new(shards: usize, seed: u64, trouble: u64) -> Self {
        Self {
            here: Host::plain(HERE, shards),
            there: Host::new(THERE, 1, 8, &Settings::default()),
            now: Instant::from_secs(1),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            trouble,
            under_way: BTreeMap::new(),
            count: 0,
            wire: Vec::new(),
        }
    }

    /// Lets both send what they want to.
    fn gather(&mut self) {
        loop {
            let sent = [(true, self.here.send(self.now)), (false, self.there.send(self.now))];
            if sent.iter().all(|(_, packets)| packets.is_empty()) {
                return;
            }
            for (from_here, packets) in sent {
                for packet in packets {
                    self.wire.push(packet.clone());
                    let copies = match self.random.below(100) {
                        r if r < self.trouble => 0,
                        r if r < self.trouble * 3 / 2 => 2,
                        _ => 1,
                    };
                    for _ in 0..copies {
                        let delay = Duration::from_micros(2000 + self.random.below(self.trouble * 400 + 1));
                        self.count += 1;
                        self.under_way.insert((self.now + delay, self.count), (from_here, packet.clone()));
                    }
                }
            }
        }
    }

    /// Goes on to the next thing that happens; false where nothing more does before `until`.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        self.gather();
        let arrival = self.under_way.keys().next().map(|(at, _)| *at);
        let next = [arrival, self.here.due(), self.there.due()].into_iter().flatten().min();
        let Some(next) = next.filter(|&next| next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        while let Some((&(at, number), _)) = self.under_way.first_key_value()
            && at <= self.now
        {
            if let Some((from_here, packet)) = self.under_way.remove(&(at, number)) {
                let to = if from_here { &mut self.there } else { &mut self.here };
                to.receive(self.now, &packet);
            }
        }
        self.gather();
        true
    }

    /// Lets `time` pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }
}
