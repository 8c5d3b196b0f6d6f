//! Stacks against stacks on a virtual network: what must hold whatever the network does.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod bbr;
mod ecn;
mod explored;
mod life;
mod marks;
mod memory;
mod predicted;
mod response;
mod runs;
mod swarm;
mod transfer;
mod wrap;

use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::SocketOptions;
use finack_core::settings::Settings;
use finack_sim::{HostId, Link, World};

/// A device that takes units of 64 KiB and finishes checksums.
fn units() -> Capabilities {
    Capabilities { max_unit: 65_535, checksum_tx: true, udp_units: true, ..Capabilities::plain(1500) }
}

/// Two hosts 10 ms apart.
fn pair(seed: u64, link: Link, device: Capabilities) -> (World, HostId, HostId) {
    let mut world = World::new(seed, link);
    let a = world.host(Settings::default(), device);
    let b = world.host(Settings::default(), device);
    (world, a, b)
}

/// What a stack may keep when all is over: spare payload blocks (bounded, see the growth tests) and tables that have grown.
const KEPT: usize = 8 << 20;

/// Both hosts have nothing left: no connection in any state, nothing on its way.
#[track_caller]
fn expect_nothing_left(world: &mut World, hosts: [HostId; 2]) {
    world.run_for(Duration::from_secs(400));
    for host in hosts {
        assert_eq!(world.connections(host), 0, "{:?}", world.stack(host).count_by_state());
        assert!(world.stack(host).memory() < KEPT, "{} bytes", world.stack(host).memory());
        assert_eq!(world.stack(host).poll_timeout(), None, "a timer that nobody needs");
    }
    assert!(!world.is_in_flight());
}

fn options() -> SocketOptions {
    SocketOptions { send_buffer: Some(200_000), recv_buffer: Some(200_000), ..SocketOptions::default() }
}
