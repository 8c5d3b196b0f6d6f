//! The `poll_*` forms, as hand-written futures use them.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::future::poll_fn;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::task::Poll;

use common::{A, B, B6, bed, connected, soon};
use finack::net::{TcpListener, TcpStream, UdpSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

#[tokio::test]
async fn a_listener_is_polled() {
    let bed = bed();
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    let first = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx).is_pending())).await;
    assert!(first, "nobody has come yet");
    let client = TcpStream::connect_on(&bed.a, (B, 80));
    let accepted = poll_fn(|cx| listener.poll_accept(cx));
    let (client, accepted) = soon(async { tokio::join!(client, accepted) }).await;
    assert_eq!(accepted.unwrap().1, client.unwrap().local_addr().unwrap());
}

#[tokio::test]
async fn a_stream_is_polled_for_readiness_and_peeked() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    soon(poll_fn(|cx| server.poll_write_ready(cx))).await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(server.poll_read_ready(cx).is_pending())).await);
    let reader = tokio::spawn(async move {
        poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
        let mut room = [0; 16];
        let mut buf = ReadBuf::new(&mut room);
        assert_eq!(poll_fn(|cx| server.poll_peek(cx, &mut buf)).await.unwrap(), 4);
        assert_eq!(buf.filled(), b"peek");
        let mut growing = Vec::new();
        assert_eq!(server.try_read_buf(&mut growing).unwrap(), 4);
        let (mut reading, _writing) = server.split();
        assert_eq!(reading.read(&mut [0; 8]).await.unwrap(), 0);
        growing
    });
    tokio::task::yield_now().await;
    client.write_all(b"peek").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(soon(reader).await.unwrap(), b"peek");
}

#[tokio::test]
async fn a_udp_socket_is_polled() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap();
    let (mut room, from) = ([0; 16], a.local_addr().unwrap());
    soon(poll_fn(|cx| a.poll_send_ready(cx))).await.unwrap();
    assert_eq!(soon(poll_fn(|cx| a.poll_send_to(cx, b"one", (B, 2000).into()))).await.unwrap(), 3);
    soon(poll_fn(|cx| b.poll_recv_ready(cx))).await.unwrap();
    assert_eq!(poll_fn(|cx| b.poll_peek_sender(cx)).await.unwrap(), from);
    let mut buf = ReadBuf::new(&mut room);
    assert_eq!(poll_fn(|cx| b.poll_peek_from(cx, &mut buf)).await.unwrap(), from);
    buf.clear();
    assert_eq!(poll_fn(|cx| b.poll_recv_from(cx, &mut buf)).await.unwrap(), from);
    assert_eq!(buf.filled(), b"one");

    a.connect((B, 2000)).await.unwrap();
    assert_eq!(poll_fn(|cx| a.poll_send(cx, b"two")).await.unwrap(), 3);
    buf.clear();
    soon(poll_fn(|cx| b.poll_peek(cx, &mut buf))).await.unwrap();
    buf.clear();
    poll_fn(|cx| b.poll_recv(cx, &mut buf)).await.unwrap();
    assert_eq!(buf.filled(), b"two");
}

#[tokio::test]
async fn groups_of_ipv6() {
    let bed = bed();
    let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x77);
    let a = UdpSocket::bind_on(&bed.a, (Ipv6Addr::UNSPECIFIED, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (Ipv6Addr::UNSPECIFIED, 2000)).await.unwrap();
    b.join_multicast_v6(&group, 0).unwrap();
    a.send_to(b"six", (group, 2000)).await.unwrap();
    let seen = soon(b.recv_msg(&mut [0; 8])).await.unwrap();
    assert_eq!((seen.len, seen.to), (3, (group, 2000).into()));
    b.leave_multicast_v6(&group, 0).unwrap();
    assert!(b.join_multicast_v4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::UNSPECIFIED).is_err());
    a.send_to(b"you", (B6, 2000)).await.unwrap();
    assert_eq!(soon(b.recv(&mut [0; 8])).await.unwrap(), 3);
}
