//! A gateway's side: SYNs to anybody, each answered as the far side would.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::{A, bed_of, host_a, host_b, kind, soon};
use finack::core::device::Capabilities;
use finack::core::options::SocketOptions;
use finack::core::stack::Refusal;
use finack::net::{TcpGate, TcpListener, TcpStream, UdpGate, UdpSocket};
use finack_wire::icmp::{ErrorKind as ErrorKindOf, Unreachable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn gateway() -> common::Bed {
    bed_of(Capabilities::plain(1500), host_a().route([0, 0, 0, 0], 0), host_b().any_address(true))
}

#[tokio::test]
async fn the_far_sides_answer_decides() {
    let bed = gateway();
    let gate = TcpGate::open_on(&bed.b, 16, SocketOptions::default()).unwrap();
    assert_eq!(kind(TcpGate::open_on(&bed.b, 16, SocketOptions::default())), ErrorKind::AddrInUse);
    let far = |last: u8, port| ([198, 51, 100, last].into(), port);
    let connect = |to: (std::net::IpAddr, u16)| {
        let net = bed.a.clone();
        tokio::spawn(async move { TcpStream::connect_on(&net, to).await })
    };

    let refused = connect(far(1, 80));
    let opening = soon(gate.opening()).await.unwrap();
    assert_eq!((opening.local_addr(), opening.peer_addr().ip()), (far(1, 80).into(), A.into()));
    opening.refuse(Refusal::Reset).unwrap();
    assert_eq!(kind(soon(refused).await.unwrap()), ErrorKind::ConnectionRefused);

    let open = connect(far(3, 443));
    let opening = soon(gate.opening()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!open.is_finished(), "nothing is answered before the decision");
    assert!(opening.stands());
    let answered = opening.answer().unwrap();
    let (mut inside, _) = soon(gate.accept()).await.unwrap();
    assert!(!answered.stands(), "the handshake is over");
    let mut program = soon(open).await.unwrap().unwrap();
    assert_eq!(inside.local_addr().unwrap(), far(3, 443).into());
    inside.write_all(b"from afar").await.unwrap();
    let mut got = [0; 9];
    soon(program.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"from afar");
}

/// RFC 9293 MUST-54..56, RFC 1122 4.2.3.9: an unreachable host is a soft error; the attempt goes on until its time.
#[tokio::test(start_paused = true)]
async fn an_unreachable_far_side_ends_as_unreachable() {
    let bed = gateway();
    let gate = TcpGate::open_on(&bed.b, 16, SocketOptions::default()).unwrap();
    let net = bed.a.clone();
    let attempt = tokio::spawn(async move { TcpStream::connect_on(&net, "198.51.100.2:80").await });
    while !attempt.is_finished() {
        let next = tokio::time::timeout(Duration::from_secs(10), gate.opening());
        if let Ok(opening) = next.await {
            opening.unwrap().refuse(Refusal::Unreachable(Unreachable::Host)).unwrap();
        }
    }
    assert_eq!(kind(attempt.await.unwrap()), ErrorKind::HostUnreachable);
}

#[tokio::test]
async fn listeners_come_before_the_gate_and_an_opening_dropped_is_repeated() {
    let bed = gateway();
    let gate = TcpGate::open_on(&bed.b, 16, SocketOptions::default()).unwrap();
    let listener = TcpListener::bind_on(&bed.b, "0.0.0.0:53").await.unwrap();
    soon(TcpStream::connect_on(&bed.a, "198.51.100.2:53")).await.unwrap();
    assert_eq!(soon(listener.accept()).await.unwrap().0.local_addr().unwrap().port(), 53);

    let net = bed.a.clone();
    let attempt = tokio::spawn(async move { TcpStream::connect_on(&net, "198.51.100.2:80").await });
    drop(soon(gate.opening()).await.unwrap());
    soon(gate.opening()).await.unwrap().answer().unwrap();
    soon(attempt).await.unwrap().unwrap();
}

#[tokio::test]
async fn datagrams_to_anybody_come_through_the_gate_and_are_answered_from_there() {
    let bed = gateway();
    let gate = UdpGate::open_on(&bed.b).unwrap();
    assert_eq!(kind(UdpGate::open_on(&bed.b)), ErrorKind::AddrInUse);
    let socket = UdpSocket::bind_on(&bed.a, "0.0.0.0:0").await.unwrap();
    socket.connect("198.51.100.7:53").await.unwrap();
    socket.send(b"question").await.unwrap();

    let mut buf = [0; 64];
    let got = soon(gate.recv(&mut buf)).await.unwrap();
    assert_eq!((&buf[..got.len], got.ends.local), (&b"question"[..], "198.51.100.7:53".parse().unwrap()));
    assert_eq!(got.ends.peer.ip(), std::net::IpAddr::from(A));
    gate.send(got.ends, b"answer").await.unwrap();
    let n = soon(socket.recv(&mut buf)).await.unwrap();
    assert_eq!(&buf[..n], b"answer");

    // RFC 1122 4.1.3.3: what the far side refused fails the program's next call.
    socket.send(b"again").await.unwrap();
    let got = soon(gate.recv(&mut buf)).await.unwrap();
    gate.report(got.ends, b"again", ErrorKindOf::Unreachable(Unreachable::Port), None).unwrap();
    assert_eq!(kind(soon(socket.recv(&mut buf)).await), ErrorKind::ConnectionRefused);
}
