//! Several stacks that are one host: every packet meets its connection, and nobody outside can tell them from one.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod host;
mod streams;

use std::net::SocketAddr;
use std::time::Duration;

use finack_core::device::Packet;
use finack_core::options::{BindOptions, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::ListenerId;
use finack_core::tcp::State;
use finack_core::trace::DropReason;
use finack_core::{Error, Instant, Stack};
use finack_wire::icmp::{self, ErrorKind};
use finack_wire::ip::IpEmit;
use finack_wire::protocol;
use host::{HERE, Host, THERE, World};

const PORT: u16 = 80;

fn here(port: u16) -> SocketAddr {
    SocketAddr::new(HERE, port)
}

fn there(port: u16) -> SocketAddr {
    SocketAddr::new(THERE, port)
}

fn listen(host: &mut Host, local: SocketAddr, backlog: u32) -> Vec<ListenerId> {
    let mut stacks = host.all();
    let binds = Stack::tcp_bind_all(&mut stacks, Instant::ZERO, local, BindOptions::default()).unwrap();
    Stack::tcp_listen_all(&mut stacks, Instant::ZERO, &binds, backlog, SocketOptions::default()).unwrap()
}

/// A listener has its part on every shard: whichever one a SYN comes to, it is answered there.
#[test]
fn a_listener_accepts_on_every_shard() {
    let mut world = World::new(4, 1, 0);
    let listeners = listen(&mut world.here, here(PORT), 400);
    for _ in 0..80 {
        let options = SocketOptions::default();
        world.there.stacks[0].tcp_connect(world.now, None, here(PORT), options).unwrap();
    }
    world.pass(Duration::from_millis(100));
    let mut accepted = Vec::new();
    for (shard, &listener) in listeners.iter().enumerate() {
        let before = accepted.len();
        while let Ok((conn, peer)) = world.here.stacks[shard].tcp_accept(world.now, listener) {
            assert_eq!(world.here.home(here(PORT), peer), shard);
            accepted.push((shard, conn));
        }
        assert!(accepted.len() - before >= 10, "shard {shard}: {} of 80", accepted.len() - before);
    }
    assert_eq!(accepted.len(), 80);
}

/// RFC 6056: a port that a connection chooses is such that its answers come back to the shard that opened it; each
/// shard has its part of the range, and together they have all of it.
#[test]
fn a_chosen_port_leads_back_to_the_shard() {
    let mut settings = Settings::default();
    settings.set("ip_local_port_range", "40000 40063").unwrap();
    let mut host = Host::new(HERE, 4, 3, &settings);
    let mut ports = Vec::new();
    for shard in 0..4 {
        let mut count = 0;
        loop {
            let opened =
                host.stacks[shard].tcp_connect(Instant::ZERO, None, there(PORT), SocketOptions::default());
            let Ok(conn) = opened else {
                assert_eq!(opened, Err(Error::AddrNotAvailable));
                break;
            };
            let local = host.stacks[shard].tcp_local_addr(conn).unwrap();
            assert_eq!(host.home(local, there(PORT)), shard);
            ports.push(local.port());
            count += 1;
        }
        assert!(count > 4, "shard {shard} has {count} of 64 ports");
    }
    ports.sort_unstable();
    assert_eq!(ports, (40_000..40_064).collect::<Vec<_>>());
}

/// A port that the program chose belongs to the shard that both ends choose, and is taken on all of them: also for as
/// long as only one of them has the connection.
#[test]
fn a_bound_port_is_taken_on_all_shards_and_leads_to_one() {
    let mut world = World::new(4, 2, 0);
    listen(&mut world.there, there(PORT), 10);
    let (now, local, options) = (world.now, here(5555), BindOptions::default());
    let binds = Stack::tcp_bind_all(&mut world.here.all(), now, local, options).unwrap();
    assert_eq!(Stack::tcp_bind_all(&mut world.here.all(), now, local, options), Err(Error::AddrInUse));
    let home = world.here.stacks[0].tcp_shard_of(binds[0], there(PORT)).unwrap();
    assert_eq!(home, world.here.home(local, there(PORT)));
    let stack = &mut world.here.stacks[home];
    let conn = stack.tcp_connect(now, Some(binds[home]), there(PORT), SocketOptions::default()).unwrap();
    for (shard, bind) in binds.into_iter().enumerate().filter(|&(shard, _)| shard != home) {
        world.here.stacks[shard].tcp_unbind(bind).unwrap();
    }
    world.pass(Duration::from_millis(20));
    assert_eq!(world.here.stacks[home].tcp_state(conn), Ok(State::Established));
    assert_eq!(Stack::tcp_bind_all(&mut world.here.all(), now, local, options), Err(Error::AddrInUse));
    // What was refused by one was taken back on the others: once it is free it is free everywhere.
    world.here.stacks[home].tcp_abort(world.now, conn).unwrap();
    world.pass(Duration::from_millis(20));
    Stack::tcp_bind_all(&mut world.here.all(), now, local, options).unwrap();
}

/// A bind to port 0 takes one that is free on all shards, though some have connections on most.
#[test]
fn a_bind_to_port_0_is_free_everywhere() {
    let mut settings = Settings::default();
    settings.set("ip_local_port_range", "40000 40009").unwrap();
    let mut host = Host::new(HERE, 2, 5, &settings);
    for shard in 0..2 {
        while host.stacks[shard]
            .tcp_connect(Instant::ZERO, None, there(PORT), SocketOptions::default())
            .is_ok_and(|conn| host.stacks[shard].tcp_local_addr(conn).unwrap().port() != 40_005)
        {}
    }
    let taken: Vec<u16> = (40_000..40_010)
        .filter(|&port| {
            host.stacks.iter().any(|s| s.tcp_socket(Instant::ZERO, here(port), there(PORT)).is_some())
        })
        .collect();
    let (now, options) = (Instant::ZERO, BindOptions::default());
    for _ in taken.len()..10 {
        let binds = Stack::tcp_bind_all(&mut host.all(), now, here(0), options).unwrap();
        let ports: Vec<u16> =
            host.stacks.iter().zip(&binds).map(|(s, &b)| s.tcp_bound_addr(b).unwrap().port()).collect();
        assert_eq!(ports[0], ports[1]);
        assert!(!taken.contains(&ports[0]), "port {} has a connection", ports[0]);
    }
    assert_eq!(Stack::tcp_bind_all(&mut host.all(), now, here(0), options), Err(Error::AddrInUse));
}

/// Fragments have no ports, so that those of one datagram meet on some shard; whole, it goes on to its socket's part
/// there where all of its sender's datagrams come.
#[test]
fn a_datagram_in_fragments_comes_to_its_flows_shard() {
    let mut world = World::new(4, 3, 0);
    let options = BindOptions::default();
    let parts = Stack::udp_bind_all(&mut world.here.all(), here(53), options).unwrap();
    for port in 1000..1040 {
        let sender = world.there.stacks[0].udp_bind(there(port), options).unwrap();
        let data = vec![port as u8; 4000];
        for part in [&data[..], b"short"] {
            world.there.stacks[0].udp_send(world.now, sender, Some(here(53)), part).unwrap();
        }
        world.pass(Duration::from_millis(10));
        let home = world.here.home(here(53), there(port));
        let mut buf = [0; 5000];
        let got = world.here.stacks[home].udp_recv(parts[home], &mut buf, false).unwrap();
        let first = got.len;
        assert_eq!(got.from, there(port));
        let next = world.here.stacks[home].udp_recv(parts[home], &mut buf, false).unwrap();
        assert_eq!((first.min(next.len), first.max(next.len)), (5, 4000));
    }
    let all = |reason| world.here.stacks.iter().map(|s| s.counters().dropped(reason)).sum::<u64>();
    assert_eq!(all(DropReason::UdpNoPort) + all(DropReason::FragmentTimeout), 0);
    assert_eq!(world.here.stacks.iter().map(|s| s.counters().udp_in_datagrams).sum::<u64>(), 80);
}

/// RFC 1191: what a router tells one shard of a path all of them know. The message comes from an address that has
/// nothing to do with the connection.
#[test]
fn the_path_mtu_that_one_shard_learns_all_shards_know() {
    let mut host = Host::plain(HERE, 4);
    let options = BindOptions::default();
    let parts = Stack::udp_bind_all(&mut host.all(), here(2000), options).unwrap();
    for (stack, &part) in host.stacks.iter_mut().zip(&parts) {
        stack.udp_connect(part, Some(there(53))).unwrap();
    }
    let (now, home) = (Instant::from_secs(1), host.home(here(2000), there(53)));
    host.stacks[home].udp_send(now, parts[home], None, &[0; 1400]).unwrap();
    let quoted = host.send(now).pop().unwrap();
    let router = "192.0.2.77".parse().unwrap();
    let message = ErrorKind::FragNeeded { mtu: 1300 }.about(&quoted);
    let header = IpEmit {
        src: router,
        dst: HERE,
        protocol: protocol::ICMP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: false,
        payload_len: message.encoded_len(false),
    };
    let mut error = vec![0; header.header_len() + header.payload_len];
    let at = header.emit(&mut error);
    icmp::emit(&router, &HERE, &message, &mut error[at..]);
    host.receive(now, &error);
    for (shard, stack) in host.stacks.iter().enumerate() {
        assert_eq!(stack.udp_path_mtu(now, parts[shard]), Ok(Some(1300)), "shard {shard} of home {home}");
    }
}

/// RFC 1122 3.2.1.3: what the host sends to itself stays within it, and meets its socket on whichever shard.
#[test]
fn sockets_of_one_host_meet_across_shards() {
    let mut host = Host::plain(HERE, 4);
    let (now, options) = (Instant::from_secs(1), BindOptions::default());
    let servers = Stack::udp_bind_all(&mut host.all(), here(53), options).unwrap();
    let clients = Stack::udp_bind_all(&mut host.all(), here(1053), options).unwrap();
    // From a part that is not the flow's.
    let home = host.home(here(1053), here(53));
    let other = (home + 1) % 4;
    host.stacks[other].udp_send(now, clients[other], Some(here(53)), b"to myself").unwrap();
    assert!(host.send(now).is_empty(), "nothing goes outside");
    let mut buf = [0; 100];
    let got = host.stacks[home].udp_recv(servers[home], &mut buf, false).unwrap();
    assert_eq!((&buf[..got.len], got.from), (&b"to myself"[..], here(1053)));

    let listeners = listen(&mut host, here(PORT), 40);
    for (shard, listener) in listeners.into_iter().enumerate() {
        let conn = host.stacks[shard].tcp_connect(now, None, here(PORT), SocketOptions::default()).unwrap();
        assert!(host.send(now).is_empty());
        assert_eq!(host.stacks[shard].tcp_state(conn), Ok(State::Established));
        let (_, peer) = host.stacks[shard].tcp_accept(now, listener).unwrap();
        assert_eq!(Ok(peer), host.stacks[shard].tcp_local_addr(conn));
    }
}

/// A segment for nobody is answered by the shard that it comes to, with one RST (RFC 9293 3.10.7.1).
#[test]
fn a_closed_port_answers_once() {
    let mut world = World::new(4, 4, 0);
    for _ in 0..16 {
        world.there.stacks[0].tcp_connect(world.now, None, here(9), SocketOptions::default()).unwrap();
    }
    world.pass(Duration::from_millis(20));
    let resets: Vec<u64> = world.here.stacks.iter().map(|s| s.counters().tcp_out_rsts).collect();
    assert_eq!(resets.iter().sum::<u64>(), 16, "{resets:?}");
    assert!(resets.iter().filter(|&&n| n > 0).count() > 1, "{resets:?}");
}

/// What is lost between shards is counted and told, as every dropped packet is.
#[test]
fn what_finds_no_room_on_its_way_is_counted() {
    let mut host = Host::plain(HERE, 2);
    host.stacks[0].set_tracing(8);
    host.stacks[0].drop_packet(Instant::ZERO, &Packet::borrowed(&[0x45; 40]), DropReason::ShardRingFull);
    assert_eq!(host.stacks[0].counters().dropped(DropReason::ShardRingFull), 1);
    assert!(host.stacks[0].poll_trace().is_some());
}
