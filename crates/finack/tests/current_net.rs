//! Sockets that name no network: the task's, the thread's, or the process's.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::io::ErrorKind;

use common::{A, B, bed, kind, soon};
use finack::Net;
use finack::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

#[tokio::test]
async fn the_nearest_network_is_current() {
    assert_eq!(kind(Net::current()), ErrorKind::NotConnected);
    assert_eq!(kind(TcpStream::connect("10.9.0.2:80").await), ErrorKind::NotConnected);
    assert_eq!(kind(UdpSocket::bind("10.9.0.2:80").await), ErrorKind::NotConnected);
    assert_eq!(kind(TcpSocket::new_v4()), ErrorKind::NotConnected);

    let bed = bed();
    let entered = bed.b.enter();
    let listener = TcpListener::bind((B, 80)).await.unwrap();
    assert_eq!(kind(TcpListener::bind((A, 80)).await), ErrorKind::AddrNotAvailable);
    let scoped = bed.a.scope(async {
        let stream = TcpStream::connect((B, 80)).await.unwrap();
        stream.local_addr().unwrap()
    });
    let (local, accepted) = soon(async { tokio::join!(scoped, listener.accept()) }).await;
    assert_eq!(local.ip(), std::net::IpAddr::from(A));
    assert_eq!(accepted.unwrap().1, local);
    drop(entered);
    assert_eq!(kind(Net::current()), ErrorKind::NotConnected);

    assert!(bed.a.install().is_none());
    let spawned = tokio::spawn(async { UdpSocket::bind((A, 7)).await.map(drop) });
    spawned.await.unwrap().unwrap();
    assert!(Net::uninstall().is_some());
    assert_eq!(kind(Net::current()), ErrorKind::NotConnected);
}

/// The driver holds the network weakly: with the last handle the device is gone, and the peer sees it.
#[tokio::test]
async fn everything_stops_with_the_last_handle() {
    let (left, right) = finack::device::pair(finack::core::device::Capabilities::plain(1500)).unwrap();
    let net = common::host_a().build(left).unwrap();
    let socket = UdpSocket::bind_on(&net, (A, 7)).await.unwrap();
    drop(net);
    socket.send_to(b"alive", (B, 9)).await.unwrap();
    drop(socket);
    let mut right = right;
    let gone = soon(async {
        loop {
            let mut batch = Vec::new();
            match finack::device::Device::recv_batch(&mut right, &mut batch, 8) {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    });
    assert_eq!(gone.await.kind(), ErrorKind::BrokenPipe);
}

/// A device that is gone ends the network, with its own error.
#[tokio::test]
async fn a_device_that_fails_is_told_to_everyone() {
    let (left, right) = finack::device::pair(finack::core::device::Capabilities::plain(1500)).unwrap();
    let net = common::host_a().build(left).unwrap();
    let socket = UdpSocket::bind_on(&net, (A, 7)).await.unwrap();
    drop(right);
    assert!(soon(socket.recv(&mut [0; 8])).await.is_err());
    assert!(net.stopped().is_some());
}

/// Sockets must fail, not hang, when the runtime that drove their network is gone.
#[test]
fn a_network_ends_with_its_runtime() {
    let (left, _right) = finack::device::pair(finack::core::device::Capabilities::plain(1500)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let net = {
        let _entered = runtime.enter();
        common::host_a().build(left).unwrap()
    };
    drop(runtime);
    assert_eq!(net.stopped().unwrap().kind(), ErrorKind::NetworkDown);
    let listener = finack::blocking::TcpListener::bind(&net, (A, 80));
    assert_eq!(kind(listener), ErrorKind::NetworkDown);
}
