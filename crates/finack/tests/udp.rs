//! UDP sockets.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use common::{A, B, B6, bed, kind, nobody, soon};
use finack::net::UdpSocket;
use tokio::io::Interest;

#[tokio::test]
async fn datagrams_between_unconnected_sockets() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (B, 5353)).await.unwrap();
    assert_eq!(a.send_to(b"question", (B, 5353)).await.unwrap(), 8);
    let mut buf = [0; 100];
    let (n, from) = soon(b.recv_from(&mut buf)).await.unwrap();
    assert_eq!((&buf[..n], from), (&b"question"[..], a.local_addr().unwrap()));
    b.send_to(b"answer", from).await.unwrap();
    let (n, from) = soon(a.recv_from(&mut buf)).await.unwrap();
    assert_eq!((&buf[..n], from), (&b"answer"[..], b.local_addr().unwrap()));
    assert_eq!(kind(a.peer_addr()), ErrorKind::NotConnected);
    let error = a.send(b"where to?").await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ));
}

#[tokio::test]
async fn datagrams_over_ipv6() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (Ipv6Addr::UNSPECIFIED, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (B6, 53)).await.unwrap();
    a.send_to(b"six", (B6, 53)).await.unwrap();
    let mut buf = [0; 16];
    let (n, from) = soon(b.recv_from(&mut buf)).await.unwrap();
    assert_eq!((&buf[..n], from.ip()), (&b"six"[..], common::A6.into()));
}

#[tokio::test]
async fn a_connected_socket_hears_only_its_peer() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 1000)).await.unwrap();
    let stranger = UdpSocket::bind_on(&bed.a, (A, 1001)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap();
    b.connect((A, 1000)).await.unwrap();
    assert_eq!(b.peer_addr().unwrap(), (A, 1000).into());
    stranger.send_to(b"psst", (B, 2000)).await.unwrap();
    a.send_to(b"hello", (B, 2000)).await.unwrap();
    let mut buf = [0; 16];
    let n = soon(b.recv(&mut buf)).await.unwrap();
    assert_eq!(&buf[..n], b"hello");
    b.send(b"hi").await.unwrap();
    let n = soon(a.recv(&mut buf)).await.unwrap();
    assert_eq!(&buf[..n], b"hi");
}

/// RFC 1122 4.1.3.3: ICMP errors reach the application that the datagram came from.
#[tokio::test]
async fn a_port_nobody_has_refuses() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    a.connect(nobody()).await.unwrap();
    a.send(b"anybody?").await.unwrap();
    assert_eq!(kind(soon(a.recv(&mut [0; 8])).await), ErrorKind::ConnectionRefused);
    assert!(a.take_error().unwrap().is_none(), "told once");
}

#[tokio::test]
async fn peek_try_and_ready() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = Arc::new(UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap());
    let mut buf = [0; 16];
    assert_eq!(kind(b.try_recv_from(&mut buf)), ErrorKind::WouldBlock);
    assert!(soon(b.ready(Interest::WRITABLE)).await.unwrap().is_writable());
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let b = Arc::clone(&b);
            tokio::spawn(async move { b.readable().await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(a.try_send_to(b"one two", (B, 2000).into()).unwrap(), 7);
    for task in waiting {
        soon(task).await.unwrap().unwrap();
    }
    let from = a.local_addr().unwrap();
    assert_eq!(b.peek_sender().await.unwrap(), from);
    assert_eq!(b.peek_from(&mut buf).await.unwrap(), (7, from));
    assert_eq!(b.try_recv_from(&mut buf[..3]).unwrap(), (3, from), "cut to the buffer");
    assert_eq!(kind(b.try_recv_from(&mut buf)), ErrorKind::WouldBlock, "the rest is gone");
    a.send_to(b"more", (B, 2000)).await.unwrap();
    let mut growing = Vec::new();
    assert_eq!(soon(b.recv_buf_from(&mut growing)).await.unwrap(), (4, from));
    assert_eq!(growing, b"more");
}

#[tokio::test]
async fn datagrams_keep_their_edges() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap();
    for len in [0, 1, 1400, 5000] {
        a.send_to(&vec![len as u8; len], (B, 2000)).await.unwrap();
        let mut buf = vec![0; 9000];
        assert_eq!(soon(b.recv(&mut buf)).await.unwrap(), len, "{len} bytes (fragmented above the MTU)");
        assert!(buf[..len].iter().all(|&x| x == len as u8));
    }
    a.send_to(b"all about it", (B, 2000)).await.unwrap();
    let seen = soon(b.recv_msg(&mut [0; 3])).await.unwrap();
    assert_eq!((seen.len, seen.full_len, seen.hop_limit), (3, 12, 64));
    assert_eq!((seen.from, seen.to), (a.local_addr().unwrap(), (B, 2000).into()));
    let error = a.send_to(&[0; 65_600], (B, 2000)).await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
}

#[tokio::test]
async fn groups_are_joined_and_left() {
    let bed = bed();
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (Ipv4Addr::UNSPECIFIED, 2000)).await.unwrap();
    b.join_multicast_v4(group, Ipv4Addr::UNSPECIFIED).unwrap();
    a.send_to(b"all of you", (group, 2000)).await.unwrap();
    let mut buf = [0; 16];
    assert_eq!(soon(b.recv(&mut buf)).await.unwrap(), 10);
    b.leave_multicast_v4(group, Ipv4Addr::UNSPECIFIED).unwrap();
    assert_eq!(kind(b.leave_multicast_v4(group, Ipv4Addr::UNSPECIFIED)), ErrorKind::AddrNotAvailable);
}

#[tokio::test]
async fn broadcasting_must_be_asked_for() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (Ipv4Addr::UNSPECIFIED, 2000)).await.unwrap();
    let everyone = (Ipv4Addr::BROADCAST, 2000);
    assert_eq!(kind(a.send_to(b"hey", everyone).await), ErrorKind::PermissionDenied);
    a.set_broadcast(true).unwrap();
    assert!(a.broadcast().unwrap());
    a.send_to(b"hey", everyone).await.unwrap();
    assert_eq!(soon(b.recv(&mut [0; 16])).await.unwrap(), 3);
}

#[tokio::test]
async fn a_full_receive_buffer_drops_and_counts() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap();
    b.set_recv_buffer_size(8192).unwrap();
    for _ in 0..100 {
        a.send_to(&[1; 1000], (B, 2000)).await.unwrap();
        tokio::task::yield_now().await;
    }
    soon(async {
        while b.drops().unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(bed.b.counters().udp_rcvbuf_errors > 0);
}

#[tokio::test]
async fn an_address_is_taken_once() {
    let bed = bed();
    let first = UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap();
    assert_eq!(kind(UdpSocket::bind_on(&bed.b, (B, 2000)).await), ErrorKind::AddrInUse);
    drop(first);
    UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap();
}

#[tokio::test]
async fn hop_limits_are_what_they_were_set_to() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    assert_eq!((a.ttl().unwrap(), a.multicast_ttl_v4().unwrap()), (64, 1));
    a.set_ttl(9).unwrap();
    a.set_multicast_ttl_v4(5).unwrap();
    assert_eq!((a.ttl().unwrap(), a.multicast_ttl_v4().unwrap()), (9, 5));
    assert_eq!(kind(a.set_ttl(256)), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_type_of_service_arrives() {
    let bed = bed();
    let a = UdpSocket::bind_on(&bed.a, (A, 0)).await.unwrap();
    let b = UdpSocket::bind_on(&bed.b, (B, 2000)).await.unwrap();
    a.set_tos_v4(0xb8).unwrap();
    assert_eq!(a.tos_v4().unwrap(), 0xb8);
    a.send_to(b"quickly", (B, 2000)).await.unwrap();
    assert_eq!(soon(b.recv_msg(&mut [0; 16])).await.unwrap().tos, 0xb8);
}
