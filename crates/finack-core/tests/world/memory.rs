//! One number for the memory of all connections (`finack.memory`).

use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::SocketOptions;
use finack_core::settings::Settings;
use finack_core::stack::ConnId;
use finack_sim::world::Transfer;
use finack_sim::{HostId, Link, World};

/// Two hosts with so much memory, 50 ms and 100 Mb/s apart: 1.25 MB fit into a round trip.
fn long_path(memory: u64) -> (World, HostId, HostId) {
    let mut link = Link::new(Duration::from_millis(50));
    link.rate = Some(100_000_000);
    let mut world = World::new(1, link);
    let settings = Settings::default().with_memory(memory).unwrap();
    let [a, b] = [(); 2].map(|()| world.host(settings.clone(), Capabilities::plain(1500)));
    (world, a, b)
}

/// Connections that send as fast as they can, all at once.
struct Race {
    world: World,
    hosts: [HostId; 2],
    transfers: Vec<Transfer>,
    receivers: Vec<ConnId>,
}

impl Race {
    fn new((world, a, b): (World, HostId, HostId)) -> Self {
        Self { world, hosts: [a, b], transfers: Vec::new(), receivers: Vec::new() }
    }

    /// `count` more; bytes that each of all has delivered in `time` from then on.
    fn run(&mut self, count: usize, time: Duration) -> Vec<u64> {
        let [a, b] = self.hosts;
        for _ in 0..count {
            let port = 80 + self.transfers.len() as u16;
            let (c, s) = self.world.connect(a, b, port, SocketOptions::default());
            self.receivers.push(s);
            self.transfers.push(Transfer::new((a, c), (b, s), u64::MAX >> 1, 0));
        }
        let before: Vec<u64> = self.transfers.iter().map(|t| t.directions[0].read).collect();
        let end = self.world.now() + time;
        while self.world.step(end) {
            self.transfers.iter_mut().for_each(|t| t.poll(&mut self.world));
        }
        self.transfers.iter().zip(before).map(|(t, before)| t.directions[0].read - before).collect()
    }

    /// The windows that the receivers offer.
    fn windows(&self) -> Vec<u64> {
        let now = self.world.now();
        let stack = self.world.stack(self.hosts[1]);
        self.receivers.iter().map(|&s| stack.tcp_info(now, s).unwrap().rcv_wnd).collect()
    }
}

/// With enough memory for the path one connection fills it; nothing but the memory was set.
#[test]
fn one_number_fills_a_long_path() {
    let read = Race::new(long_path(32 << 20)).run(1, Duration::from_secs(10))[0];
    let most = 100_000_000 / 8 * 10;
    assert!(read * 10 > most * 8, "{read} of {most} bytes");
}

/// Where all want more than there is, they have equal shares, and all together no more than the memory: also those who come when
/// the first has had all for itself.
#[test]
fn memory_that_is_short_is_shared() {
    let mut race = Race::new(long_path(2 << 20));
    race.run(1, Duration::from_secs(10));
    let alone = race.windows()[0];
    assert!((400_000..=1 << 20).contains(&alone), "{alone}");
    race.run(7, Duration::from_secs(10));
    let read = race.run(0, Duration::from_secs(20));
    let windows = race.windows();
    let total: u64 = windows.iter().sum();
    assert!(total <= 2 << 20, "{total} bytes are promised: {windows:?}");
    let (least, most) = (read.iter().min().unwrap(), read.iter().max().unwrap());
    assert!(least * 3 > *most * 2, "{read:?}, {windows:?}");
    let memory = race.world.stack(race.hosts[1]).memory();
    assert!(memory < 8 << 20, "{memory}");
}
