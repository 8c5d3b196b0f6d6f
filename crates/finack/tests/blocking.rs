//! Blocking sockets, without any runtime of the application's own.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use common::{A, B, host_a, host_b, kind};
use finack::blocking::{TcpListener, TcpStream, UdpSocket, start};
use finack::core::device::Capabilities;

fn hosts() -> (finack::Net, finack::Net) {
    let (left, right) = finack::device::pair(Capabilities::plain(1500)).unwrap();
    (start(host_a(), left).unwrap(), start(host_b(), right).unwrap())
}

#[test]
fn an_echo_on_threads() {
    let (a, b) = hosts();
    let listener = TcpListener::bind(&b, (B, 7)).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.write_all(&got).unwrap();
    });
    let mut client = TcpStream::connect(&a, (B, 7)).unwrap();
    let sent: Vec<u8> = (0..200_000_u32).map(|i| (i / 3) as u8).collect();
    client.write_all(&sent).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, sent);
    server.join().unwrap();
    client.get_ref().set_linger(Some(Duration::from_secs(5))).unwrap();
    client.close().unwrap();
}

#[test]
fn time_outs_and_refusals() {
    let (a, b) = hosts();
    assert_eq!(kind(TcpStream::connect(&a, (B, 9))), ErrorKind::ConnectionRefused);
    let listener = TcpListener::bind(&b, (B, 7)).unwrap();
    let mut client = TcpStream::connect(&a, (B, 7)).unwrap();
    let _server = listener.accept().unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert_eq!(kind(client.read(&mut [0; 8])), ErrorKind::WouldBlock);
    assert_eq!(kind(client.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
    assert_eq!(kind(client.peek(&mut [0; 8])), ErrorKind::WouldBlock);
    let nowhere = (std::net::Ipv4Addr::new(10, 9, 0, 77), 80).into();
    let given_up = TcpStream::connect_timeout(&a, &nowhere, Duration::from_millis(30));
    assert_eq!(kind(given_up), ErrorKind::TimedOut);
}

#[test]
fn datagrams_on_threads() {
    let (a, b) = hosts();
    let a = UdpSocket::bind(&a, (A, 0)).unwrap();
    let b = UdpSocket::bind(&b, (B, 2000)).unwrap();
    a.send_to(b"ping", (B, 2000)).unwrap();
    let mut buf = [0; 16];
    let (n, from) = b.recv_from(&mut buf).unwrap();
    b.send_to(&buf[..n], from).unwrap();
    assert_eq!(a.recv(&mut buf).unwrap(), 4);
    a.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert_eq!(kind(a.recv(&mut buf)), ErrorKind::WouldBlock);
}

#[test]
fn calls_from_a_task_of_some_runtime_go_on_for_as_long_as_they_like() {
    let (a, b) = hosts();
    let a = UdpSocket::bind(&a, (A, 0)).unwrap();
    let b = UdpSocket::bind(&b, (B, 2000)).unwrap();
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut buf = [0; 4];
            // More than tokio's budget for one poll of a task.
            for _ in 0..500 {
                a.send_to(b"ping", (B, 2000)).unwrap();
                b.recv_from(&mut buf).unwrap();
            }
        });
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(30)).expect("the calls have stalled");
}
