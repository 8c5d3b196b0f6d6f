//! The same code over the kernel's sockets and over finack's, with nothing but the import changed: what it
//! observes is compared line by line. (The kernel's side stays on its loopback interface.)
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use common::soon;
use finack::Net;
use finack::core::device::Capabilities;

/// A result as both sides can write it: what came, or the errno.
fn told<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        // tokio answers this one from its own memory, without an errno; finack gives EAGAIN as the kernel does.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => "WouldBlock".into(),
        Err(error) => format!("{:?} (errno {:?})", error.kind(), error.raw_os_error()),
    }
}

/// Every story, told with the sockets of `$net`.
macro_rules! stories {
    ($name:ident, $($net:ident)::+) => {
        mod $name {
            use std::io::IoSlice;

            use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

            use super::*;
            // The only line that differs.
            use $($net)::+::{TcpListener, TcpSocket, TcpStream, UdpSocket};

            async fn connected() -> (TcpStream, TcpStream) {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addr = listener.local_addr().unwrap();
                let (client, server) = tokio::join!(TcpStream::connect(addr), listener.accept());
                (client.unwrap(), server.unwrap().0)
            }

            async fn flags(stream: &TcpStream) -> String {
                // tokio takes an accepted stream for readable at first: let it learn the truth.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let ready = stream.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
                // (`is_readable` tells what tokio remembers, which may be less than what is so.)
                format!("read closed {} writable {}", ready.is_read_closed(), ready.is_writable())
            }

            pub(super) async fn opening() -> Vec<String> {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addr = listener.local_addr().unwrap();
                let mut log = vec![
                    told(TcpListener::bind(addr).await.map(drop)),
                    told(TcpListener::bind("192.0.2.1:80").await.map(drop)),
                    told(TcpStream::connect(&[][..]).await.map(drop)),
                ];
                let socket = TcpSocket::new_v4().unwrap();
                log.push(told(socket.bind("[::1]:0".parse().unwrap())));
                log.push(told(socket.bind("127.0.0.1:0".parse().unwrap())));
                log.push(told(socket.bind("127.0.0.1:0".parse().unwrap())));
                let local = socket.local_addr().unwrap();
                let (client, server) = tokio::join!(socket.connect(addr), listener.accept());
                log.push(told(client.as_ref().map(|c| c.local_addr().unwrap() == local).map_err(|_| io::ErrorKind::Other.into())));
                log.push(told(server.map(|(s, peer)| (peer == local, s.local_addr().unwrap() == addr))));
                drop(listener);
                log.push(told(TcpStream::connect(addr).await.map(drop)));
                log
            }

            fn bound(addr: std::net::SocketAddr, reuse_addr: bool, reuse_port: bool) -> io::Result<TcpSocket> {
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseaddr(reuse_addr)?;
                socket.set_reuseport(reuse_port)?;
                socket.bind(addr)?;
                Ok(socket)
            }

            pub(super) async fn ports_taken_and_shared() -> Vec<String> {
                let any = "127.0.0.1:0".parse().unwrap();
                let first = bound(any, false, false).unwrap();
                let addr = first.local_addr().unwrap();
                let mut log = vec![told(bound(addr, false, false).map(drop)), told(bound(addr, true, false).map(drop))];
                drop(first);
                let first = bound(addr, true, false).unwrap();
                log.push(told(bound(addr, false, false).map(drop)));
                log.push(told(bound(addr, true, false).map(drop)));
                let listener = first.listen(8).unwrap();
                log.push(told(bound(addr, true, false).map(drop)));
                drop(listener);

                let one = bound(addr, false, true).unwrap().listen(8).unwrap();
                log.push(told(bound(addr, false, false).map(drop)));
                let two = bound(addr, false, true).and_then(|s| s.listen(8));
                log.push(told(two.map(drop)));
                drop(one);
                let everywhere = (std::net::Ipv4Addr::UNSPECIFIED, addr.port()).into();
                let _all = bound(everywhere, false, false).unwrap().listen(8).unwrap();
                log.push(told(bound(addr, false, false).map(drop)));
                log.push(told(bound(addr, true, false).map(drop)));
                log
            }

            pub(super) async fn a_port_in_time_wait() -> Vec<String> {
                let (client, mut server) = connected().await;
                let (local, peer) = (server.local_addr().unwrap(), client.local_addr().unwrap());
                // The server closes first: its side holds TIME-WAIT.
                server.shutdown().await.unwrap();
                drop(client);
                let mut log = vec![told(server.read(&mut [0; 8]).await)];
                drop(server);
                tokio::time::sleep(Duration::from_millis(20)).await;
                log.push(told(bound(local, false, false).map(drop)));
                log.push(told(bound(local, true, false).and_then(|s| s.listen(8)).map(drop)));
                log.push(told(bound(peer, false, false).map(drop)));
                log
            }

            pub(super) async fn one_pair_of_addresses_is_one_connection() -> Vec<String> {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addr = listener.local_addr().unwrap();
                let socket = bound("127.0.0.1:0".parse().unwrap(), true, false).unwrap();
                let local = socket.local_addr().unwrap();
                let _first = socket.connect(addr).await.unwrap();
                let second = bound(local, true, false);
                let mut log = vec![told(second.as_ref().map(drop).map_err(|_| io::ErrorKind::Other.into()))];
                if let Ok(second) = second {
                    log.push(told(second.connect(addr).await.map(drop)));
                }
                log
            }

            pub(super) async fn odd_destinations() -> Vec<String> {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                vec![
                    told(TcpStream::connect("127.0.0.1:0").await.map(drop)),
                    told(TcpStream::connect(("0.0.0.0", port)).await.map(|s| s.peer_addr().unwrap().ip())),
                    told(TcpStream::connect("224.0.0.1:80").await.map(drop)),
                    told(TcpStream::connect("255.255.255.255:80").await.map(drop)),
                    told(udp.send_to(b"x", "127.0.0.1:0").await),
                    told(udp.send_to(b"x", "[::1]:9").await),
                    told(UdpSocket::bind("224.0.0.9:0").await.map(drop)),
                    told(UdpSocket::bind("192.0.2.1:0").await.map(drop)),
                    told(udp.send_to(b"x", ("0.0.0.0", udp.local_addr().unwrap().port())).await),
                    told(udp.recv_from(&mut [0; 8]).await.map(|(n, from)| (n, from.ip()))),
                ]
            }

            pub(super) async fn half_close() -> Vec<String> {
                let (mut client, mut server) = connected().await;
                let mut buf = [0; 16];
                let mut log = vec![flags(&client).await];
                client.write_all(b"question").await.unwrap();
                log.push(told(client.shutdown().await));
                log.push(told(client.shutdown().await));
                log.push(told(server.read_exact(&mut buf[..8]).await));
                log.push(told(server.read(&mut buf).await));
                log.push(told(server.read(&mut buf).await));
                log.push(flags(&server).await);
                log.push(told(client.write(b"more").await));
                server.write_all(b"answer").await.unwrap();
                log.push(told(client.read(&mut buf).await));
                drop(server);
                log.push(told(client.read(&mut buf).await));
                log.push(told(client.take_error().map(|e| e.is_none())));
                log
            }

            pub(super) async fn reset() -> Vec<String> {
                let (client, mut server) = connected().await;
                let mut buf = [0; 16];
                client.set_zero_linger().unwrap();
                drop(client);
                let mut log = vec![flags(&server).await];
                log.push(told(server.peer_addr().map(drop)));
                log.push(told(server.read(&mut buf).await));
                log.push(told(server.read(&mut buf).await));
                log.push(told(server.write(b"anyone?").await));
                log.push(told(server.shutdown().await));
                log.push(told(server.take_error().map(|e| e.is_none())));
                log
            }

            pub(super) async fn reset_seen_by_take_error() -> Vec<String> {
                let (client, mut server) = connected().await;
                client.set_zero_linger().unwrap();
                drop(client);
                server.readable().await.unwrap();
                let error = server.take_error().unwrap();
                let mut log = vec![format!("{:?}", error.map(|e| e.kind()))];
                log.push(told(server.read(&mut [0; 8]).await));
                log
            }

            pub(super) async fn reset_seen_by_a_writer() -> Vec<String> {
                let (client, mut server) = connected().await;
                client.set_zero_linger().unwrap();
                drop(client);
                server.readable().await.unwrap();
                let mut log = vec![told(server.write(b"x").await), told(server.write(b"x").await)];
                log.push(told(server.read(&mut [0; 8]).await));
                log
            }

            pub(super) async fn closing_with_unread_data() -> Vec<String> {
                let (mut client, server) = connected().await;
                client.write_all(b"unread").await.unwrap();
                server.readable().await.unwrap();
                drop(server);
                vec![told(client.read(&mut [0; 8]).await), told(client.read(&mut [0; 8]).await)]
            }

            pub(super) async fn writing_to_one_who_closed() -> Vec<String> {
                let (mut client, server) = connected().await;
                drop(server);
                let mut log = vec![told(client.read(&mut [0; 8]).await)];
                log.push(told(client.write(b"first").await));
                // The RST to it comes while nobody looks.
                tokio::time::sleep(Duration::from_millis(50)).await;
                log.push(told(client.write(b"second").await));
                log.push(told(client.write(b"third").await));
                log.push(told(client.read(&mut [0; 8]).await));
                log
            }

            pub(super) async fn data_before_a_reset() -> Vec<String> {
                let (mut client, mut server) = connected().await;
                client.write_all(b"last words").await.unwrap();
                client.set_zero_linger().unwrap();
                drop(client);
                tokio::time::sleep(Duration::from_millis(50)).await;
                let mut buf = [0; 4];
                let mut log = Vec::new();
                for _ in 0..5 {
                    log.push(told(server.read(&mut buf).await));
                }
                log
            }

            pub(super) async fn both_have_closed() -> Vec<String> {
                let (mut client, mut server) = connected().await;
                let mut log = vec![told(client.shutdown().await), told(server.read(&mut [0; 8]).await)];
                log.push(told(server.shutdown().await));
                log.push(told(client.read(&mut [0; 8]).await));
                tokio::time::sleep(Duration::from_millis(50)).await;
                for end in [&mut client, &mut server] {
                    log.push(told(end.peer_addr().map(drop)));
                    log.push(told(end.local_addr().map(drop)));
                    log.push(told(end.read(&mut [0; 8]).await));
                    log.push(told(end.peek(&mut [0; 8]).await));
                    log.push(told(end.write(b"x").await));
                    log.push(told(end.shutdown().await));
                    log.push(told(end.take_error().map(|e| e.is_none())));
                    log.push(flags(end).await);
                }
                log
            }

            pub(super) async fn over_ipv6() -> Vec<String> {
                let listener = TcpListener::bind("[::]:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let mut log = Vec::new();
                for to in ["::1", "127.0.0.1", "::ffff:127.0.0.1"] {
                    let (client, server) = tokio::join!(TcpStream::connect((to, port)), listener.accept());
                    let (client, (server, peer)) = (client.unwrap(), server.unwrap());
                    let ends = [client.local_addr(), client.peer_addr(), server.local_addr(), server.peer_addr()];
                    log.extend(ends.map(|end| told(end.map(|a| a.ip()))));
                    log.push(peer.ip().to_string());
                }
                let mapped = TcpListener::bind("[::ffff:127.0.0.1]:0").await.unwrap();
                log.push(told(mapped.local_addr().map(|a| a.ip())));
                log.push(told(TcpListener::bind(("0.0.0.0", port)).await.map(drop)));
                log.push(told(TcpListener::bind(("::1", port)).await.map(drop)));
                log
            }

            pub(super) async fn an_error_before_a_datagram() -> Vec<String> {
                let a = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let b = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let addr = b.local_addr().unwrap();
                a.connect(addr).await.unwrap();
                b.send_to(b"queued", a.local_addr().unwrap()).await.unwrap();
                drop(b);
                a.send(b"anybody?").await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                let mut buf = [0; 16];
                let mut log = vec![told(a.recv(&mut buf).await), told(a.recv(&mut buf).await)];
                log.push(told(a.try_recv(&mut buf)));
                let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                log.push(told(stranger.send_to(b"hello?", a.local_addr().unwrap()).await));
                tokio::time::sleep(Duration::from_millis(50)).await;
                log.push(told(stranger.try_recv_from(&mut buf).map(drop)));
                log.push(told(a.try_recv(&mut buf)));
                log
            }

            pub(super) async fn a_listener_that_goes() -> Vec<String> {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut waiting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                drop(listener);
                vec![told(waiting.read(&mut [0; 8]).await)]
            }

            pub(super) async fn small_things() -> Vec<String> {
                let (mut client, server) = connected().await;
                let mut buf = [0; 16];
                let mut log = vec![told(server.try_read(&mut buf))];
                log.push(told(client.write(b"").await));
                let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
                log.push(told(client.write_vectored(&slices).await));
                log.push(told(server.peek(&mut buf).await));
                log.push(told(server.peek(&mut buf[..2]).await));
                log.push(told(server.try_read(&mut buf)));
                log.push(told(server.try_read(&mut buf)));
                log.push(told(client.nodelay()));
                client.set_nodelay(true).unwrap();
                log.push(told(client.nodelay()));
                log.push(told(client.ttl()));
                client.set_ttl(17).unwrap();
                log.push(told(client.ttl()));
                log.push(told(client.set_ttl(256)));
                log
            }

            pub(super) async fn datagrams() -> Vec<String> {
                let a = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let b = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let (from_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
                let mut buf = [0; 16];
                let mut log = vec![
                    told(UdpSocket::bind(to_b).await.map(drop)),
                    told(b.try_recv_from(&mut buf).map(drop)),
                    told(a.send(b"where?").await),
                    told(a.peer_addr().map(drop)),
                    told(a.send_to(&[0; 66_000], to_b).await),
                    told(a.send_to(b"datagram", to_b).await),
                ];
                log.push(told(b.peek_from(&mut buf).await.map(|(n, from)| (n, from == from_a))));
                log.push(told(b.recv_from(&mut buf[..4]).await.map(|(n, from)| (n, from == from_a))));
                log.push(told(b.try_recv_from(&mut buf).map(drop)));
                log.push(told(a.send_to(b"", to_b).await));
                log.push(told(b.recv_from(&mut buf).await.map(|(n, _)| n)));
                log.push(told(a.send_to(b"all", "255.255.255.255:9").await));
                log.push(told(a.ttl()));
                log.push(told(a.broadcast()));
                log.push(told(a.multicast_ttl_v4()));
                log
            }

            pub(super) async fn datagrams_to_nobody() -> Vec<String> {
                let a = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let b = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                a.connect(b.local_addr().unwrap()).await.unwrap();
                drop(b);
                let mut log = vec![told(a.send(b"anybody?").await)];
                log.push(told(a.recv(&mut [0; 8]).await));
                log.push(told(a.send(b"anybody?").await));
                tokio::time::sleep(Duration::from_millis(50)).await;
                log.push(told(a.send(b"the error comes first").await));
                log.push(told(a.take_error().map(|e| e.is_none())));
                log
            }
        }
    };
}

stories!(kernel, tokio::net);
stories!(user_space, finack::net);

macro_rules! compared {
    ($($story:ident,)+) => {$(
        #[tokio::test]
        async fn $story() {
            let (device, _other_end) = finack::device::pair(Capabilities::plain(1500)).unwrap();
            let net = Net::builder().address([127, 0, 0, 1], 8).address(std::net::Ipv6Addr::LOCALHOST, 128).build(device).unwrap();
            let kernels = soon(kernel::$story()).await;
            let ours = soon(net.scope(user_space::$story())).await;
            assert_eq!(ours, kernels, "finack on the left, the kernel on the right");
        }
    )+};
}

compared! {
    opening,
    ports_taken_and_shared,
    a_port_in_time_wait,
    one_pair_of_addresses_is_one_connection,
    odd_destinations,
    half_close,
    reset,
    reset_seen_by_take_error,
    reset_seen_by_a_writer,
    closing_with_unread_data,
    writing_to_one_who_closed,
    data_before_a_reset,
    both_have_closed,
    over_ipv6,
    an_error_before_a_datagram,
    a_listener_that_goes,
    small_things,
    datagrams,
    datagrams_to_nobody,
}
