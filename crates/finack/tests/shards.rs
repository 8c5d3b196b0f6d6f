//! A network of several shards does what one of a single shard does.

#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::{A, B, host_a, host_b, kind, soon};
use finack::core::device::Capabilities;
use finack::core::options::BindOptions;
use finack::core::stack::SocketCursor;
use finack::core::tcp::State;
use finack::device::{MemoryDevice, pair, queues};
use finack::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use finack::{Net, NetBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CAPABILITIES: Capabilities = Capabilities::plain(1500);

/// A with one shard, B with several and one queue for all of them.
fn one_queue(shards: usize) -> (Net, Net) {
    let (left, right) = pair(CAPABILITIES).unwrap();
    (host_a().build(left).unwrap(), host_b().shards(shards).build(right).unwrap())
}

/// Both with several shards and a queue for each: what one sends through a queue is as likely as not for another's shard.
fn many_queues(shards: usize) -> (Net, Net) {
    let (left, right) = queues(CAPABILITIES, shards).unwrap();
    (host_a().build_on(left).unwrap(), host_b().build_on(right).unwrap())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = vec![0; 10_000];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buf[..n]).await?;
    }
}

/// Writes all of `data`, and reads as much.
async fn there_and_back(mut stream: TcpStream, data: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = stream.split();
    let sent = async {
        write.write_all(&data).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (result, ()) = tokio::join!(read.read_to_end(&mut back), sent);
    result.unwrap();
    back
}

fn data(number: usize) -> Vec<u8> {
    (0..100_000 + number * 1000).map(|i| (i * 7 + number * 13) as u8).collect()
}

/// Many connections at once, in both directions; answers which shards of B had some.
async fn exchange(a: &Net, b: &Net) -> HashSet<usize> {
    let mut shards = HashSet::new();
    for (from, to, addr) in [(a, b, SocketAddr::from((B, 80))), (b, a, SocketAddr::from((A, 80)))] {
        let listener = TcpListener::bind_on(to, addr).await.unwrap();
        let server = tokio::spawn(async move {
            let mut shards = HashSet::new();
            for _ in 0..24 {
                let (stream, _) = listener.accept().await.unwrap();
                shards.insert(stream.shard());
                tokio::spawn(echo(stream));
            }
            shards
        });
        let clients: Vec<_> = (0..24)
            .map(|number| {
                let net = from.clone();
                tokio::spawn(async move {
                    let stream = TcpStream::connect_on(&net, addr).await.unwrap();
                    let shard = stream.shard();
                    assert!(there_and_back(stream, data(number)).await == data(number), "{number}");
                    shard
                })
            })
            .collect();
        for client in clients {
            let shard = client.await.unwrap();
            if from.shards() == b.shards() {
                shards.insert(shard);
            }
        }
        shards.extend(server.await.unwrap());
    }
    shards
}

fn with_runtime(threads: usize, test: impl Future<Output = ()>) {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().unwrap().block_on(soon(test));
}

#[test]
fn every_byte_arrives_with_one_queue_for_all_shards() {
    for threads in [1, 3] {
        with_runtime(threads, async {
            let (a, b) = one_queue(3);
            assert_eq!(exchange(&a, &b).await, HashSet::from([0, 1, 2]));
        });
    }
}

#[test]
fn every_byte_arrives_with_a_queue_for_each_shard() {
    for threads in [1, 3] {
        with_runtime(threads, async {
            let (a, b) = many_queues(2);
            assert_eq!(exchange(&a, &b).await, HashSet::from([0, 1]));
        });
    }
}

/// A datagram's answer comes from the socket that it was sent to, whichever shard either came through.
#[test]
fn a_udp_socket_takes_what_comes_to_any_shard() {
    with_runtime(1, async {
        let (a, b) = many_queues(4);
        let server = UdpSocket::bind_on(&b, (B, 53)).await.unwrap();
        let mut clients = Vec::new();
        for i in 0..32_u8 {
            let client = UdpSocket::bind_on(&a, (A, 0)).await.unwrap();
            if i % 2 == 0 {
                client.connect((B, 53)).await.unwrap();
                client.send(&[i; 3000]).await.unwrap();
            } else {
                client.send_to(&[i; 30], (B, 53)).await.unwrap();
            }
            clients.push(client);
        }
        let mut buf = [0; 4000];
        for _ in 0..32 {
            let (n, from) = server.recv_from(&mut buf).await.unwrap();
            server.send_to(&buf[..n], from).await.unwrap();
        }
        for (i, client) in clients.iter().enumerate() {
            client.readable().await.unwrap();
            let (n, from) = client.recv_from(&mut buf).await.unwrap();
            let len = if i % 2 == 0 { 3000 } else { 30 };
            assert_eq!((n, buf[0], from), (len, i as u8, SocketAddr::from((B, 53))));
            assert_eq!(kind(client.try_recv(&mut buf)), io::ErrorKind::WouldBlock);
            client.writable().await.unwrap();
            assert!(client.take_error().unwrap().is_none());
        }
        let taken = UdpSocket::bind_with(&b, (B, 53), BindOptions::default());
        assert_eq!(kind(taken), io::ErrorKind::AddrInUse);
        drop(server);
        UdpSocket::bind_on(&b, (B, 53)).await.unwrap();
    });
}

/// An ICMP error reaches the socket whose datagram it is about (RFC 1122 4.1.3.3).
#[test]
fn a_refused_datagram_is_told_to_its_socket() {
    with_runtime(1, async {
        let (a, b) = many_queues(4);
        for _ in 0..8 {
            let socket = UdpSocket::bind_on(&b, (B, 0)).await.unwrap();
            socket.connect((A, 9)).await.unwrap();
            // Reports to one host are limited in rate: A may have to be asked again.
            let told = loop {
                socket.send(b"anybody there?").await.unwrap();
                let mut buf = [0; 10];
                if let Ok(answer) =
                    tokio::time::timeout(Duration::from_millis(300), socket.recv(&mut buf)).await
                {
                    break answer;
                }
            };
            assert_eq!(kind(told), io::ErrorKind::ConnectionRefused);
        }
        drop(a);
    });
}

/// A port that the program bound leads to one shard, and is free again everywhere when the connection is over.
#[test]
fn a_bound_port_is_connected_from() {
    with_runtime(1, async {
        let (a, b) = many_queues(4);
        let listener = TcpListener::bind_on(&a, (A, 80)).await.unwrap();
        for port in 6000..6016 {
            let socket = TcpSocket::new_v4_on(&b);
            socket.bind((B, port).into()).unwrap();
            let again = TcpSocket::new_v4_on(&b);
            assert_eq!(kind(again.bind((B, port).into())), io::ErrorKind::AddrInUse);
            let (stream, accepted) = tokio::join!(socket.connect((A, 80).into()), listener.accept());
            let (mut stream, (mut server, peer)) = (stream.unwrap(), accepted.unwrap());
            assert_eq!(peer, SocketAddr::from((B, port)));
            assert_eq!(kind(again.bind((B, port).into())), io::ErrorKind::AddrInUse);
            server.write_all(b"hello").await.unwrap();
            let mut buf = [0; 5];
            stream.read_exact(&mut buf).await.unwrap();
            stream.set_zero_linger().unwrap();
            drop(stream);
            again.bind((B, port).into()).unwrap();
        }
    });
}

/// A handle of one shard opens its connections there, and those of the network take turns.
#[test]
fn connections_are_opened_on_the_shard_that_is_asked_for() {
    with_runtime(1, async {
        let (a, b) = many_queues(3);
        let listener = TcpListener::bind_on(&a, (A, 80)).await.unwrap();
        for shard in [0, 1, 2, 2, 2] {
            let net = b.on_shard(shard).unwrap();
            let (stream, accepted) = tokio::join!(TcpStream::connect_on(&net, (A, 80)), listener.accept());
            accepted.unwrap();
            assert_eq!(stream.unwrap().shard(), shard);
        }
        assert!(b.on_shard(3).is_none());
        let mut turns = HashSet::new();
        for _ in 0..3 {
            turns.insert(TcpStream::connect_on(&b, (A, 80)).await.unwrap().shard());
        }
        assert_eq!(turns, HashSet::from([0, 1, 2]));
    });
}

/// Counters, states and lists are those of the host, not of its shards.
#[test]
fn what_is_told_of_the_network_is_the_sum_of_its_shards() {
    with_runtime(1, async {
        let (a, b) = many_queues(4);
        b.set_trace(1000);
        let listener = TcpListener::bind_on(&b, (B, 80)).await.unwrap();
        let _socket = UdpSocket::bind_on(&b, (B, 53)).await.unwrap();
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(TcpStream::connect_on(&a, (B, 80)).await.unwrap());
        }
        let mut servers = Vec::new();
        for _ in 0..12 {
            servers.push(listener.accept().await.unwrap());
        }
        // The last handshake's ACK may still be under way.
        while b.count_by_state()[State::Established as usize].1 < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let states = b.count_by_state();
        assert_eq!(states[State::Listen as usize].1, 1);
        assert_eq!(states[State::Established as usize].1, 20);
        assert_eq!(b.connections().len(), 12);
        assert_eq!(b.counters().tcp_passive_opens, 20);
        assert_eq!(b.device_counters().received, a.device_counters().sent);

        let (mut cursor, mut sockets) = (SocketCursor::default(), Vec::new());
        while let Some(some) = b.tcp_sockets(&mut cursor, 3) {
            sockets.extend(some);
        }
        let listening: Vec<_> = sockets.iter().filter(|s| s.state == State::Listen).collect();
        assert_eq!((listening.len(), listening[0].recv_queue, listening[0].send_queue), (1, 8, 1024));
        assert_eq!(sockets.len(), 21);
        let ids: HashSet<_> = sockets.iter().filter_map(|s| s.trace_id).collect();
        assert_eq!(ids.len(), 20, "every connection has a name of its own");
        let (mut cursor, mut sockets) = (SocketCursor::default(), Vec::new());
        while let Some(some) = b.udp_sockets(&mut cursor, 3) {
            sockets.extend(some);
        }
        assert_eq!(sockets.len(), 1);
        for client in &clients {
            let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_eq!(b.tcp_socket(peer, local).unwrap().state, State::Established);
        }
        let mut events = Vec::from_iter(b.poll_trace());
        b.take_trace(1000, &mut events);
        assert!(events.is_sorted_by_key(|event| event.at), "the oldest of all shards comes first");
        assert_eq!(events.iter().filter_map(|e| e.conn).collect::<HashSet<_>>(), ids);
        b.set_sysctl("tcp_mem", "200001").unwrap();
        assert_eq!(b.settings().tcp_mem, 200_001);
    });
}

/// Shutting the network down ends all shards: connections are reset, calls fail, waiting tasks are woken.
#[test]
fn shutdown_ends_every_shard() {
    with_runtime(1, async {
        let (a, b) = many_queues(3);
        let listener = TcpListener::bind_on(&b, (B, 80)).await.unwrap();
        let mut pairs = Vec::new();
        for _ in 0..12 {
            let (client, server) = tokio::join!(TcpStream::connect_on(&a, (B, 80)), listener.accept());
            pairs.push((client.unwrap(), server.unwrap().0));
        }
        let waiting = tokio::spawn(async move { listener.accept().await.map(drop) });
        tokio::task::yield_now().await;
        b.shutdown();
        assert_eq!(kind(waiting.await.unwrap()), io::ErrorKind::NetworkDown);
        for (mut client, mut server) in pairs {
            assert_eq!(kind(server.read(&mut [0; 10]).await), io::ErrorKind::NetworkDown);
            assert_eq!(kind(client.read(&mut [0; 10]).await), io::ErrorKind::ConnectionReset);
        }
        assert!(b.stopped().is_some() && a.stopped().is_none());
    });
}

/// The network lives as long as any of its sockets, on whichever shard, and its devices go with it.
#[test]
fn the_last_socket_keeps_all_shards() {
    with_runtime(1, async {
        let (a, b) = many_queues(3);
        let listener = TcpListener::bind_on(&b, (B, 80)).await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect_on(&a, (B, 80)), listener.accept());
        let (mut client, (mut server, _)) = (client.unwrap(), server.unwrap());
        drop((b, listener));
        client.write_all(b"still there?").await.unwrap();
        let mut buf = [0; 12];
        server.read_exact(&mut buf).await.unwrap();
        assert!(a.stopped().is_none());
        drop(server);
        // Its end of the cable is gone: that is what A's device says.
        while a.stopped().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// A driver that ends, by a panic or with its runtime, takes the whole network down.
#[test]
fn a_shard_without_a_driver_is_no_network() {
    with_runtime(1, async {
        let (left, right) = queues(CAPABILITIES, 2).unwrap();
        let a = host_a().build_on(left).unwrap();
        let (b, mut drivers) = host_b().build_apart(right).unwrap();
        assert_eq!(drivers.iter().map(|driver| driver.shard()).collect::<Vec<_>>(), [0, 1]);
        let first = tokio::spawn(drivers.remove(0).run());
        tokio::task::yield_now().await;
        assert!(b.stopped().is_none());
        drop(drivers);
        assert_eq!(b.stopped().map(|error| error.kind()), Some(io::ErrorKind::NetworkDown));
        first.await.unwrap();
        drop(a);
    });
}

/// Drivers on threads of their own, and calls from any other: what a program without a runtime uses.
#[test]
fn blocking_sockets_work_on_every_shard() {
    let (left, right) = queues(CAPABILITIES, 2).unwrap();
    let a = finack::blocking::start_on(host_a(), left).unwrap();
    let b = finack::blocking::start_on(host_b(), right).unwrap();
    let listener = finack::blocking::TcpListener::bind(&b, (B, 80)).unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..8 {
            let (mut stream, _) = listener.accept().unwrap();
            io::copy(&mut stream.get_ref().peer_addr().unwrap().to_string().as_bytes(), &mut stream).unwrap();
        }
    });
    for _ in 0..8 {
        let mut stream = finack::blocking::TcpStream::connect(&a, (B, 80)).unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut stream, &mut text).unwrap();
        assert_eq!(text, stream.get_ref().local_addr().unwrap().to_string());
    }
    server.join().unwrap();
}

#[test]
fn a_network_that_makes_no_sense_is_refused() {
    with_runtime(1, async {
        let build = |builder: NetBuilder, queues: Vec<MemoryDevice>| builder.build_on(queues);
        for (shards, count) in [(0, 1), (257, 1), (1, 2), (2, 0)] {
            let (left, _right) = queues(CAPABILITIES, count).unwrap();
            assert_eq!(kind(build(host_a().shards(shards), left)), io::ErrorKind::InvalidInput);
        }
    });
}
