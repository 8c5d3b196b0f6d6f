//! Reading and writing in every way that tokio's streams offer.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::Duration;

use common::{B, bed, connected, kind, soon};
use finack::net::{TcpListener, TcpSocket, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

#[tokio::test]
async fn peek_leaves_the_data_where_it_is() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    client.write_all(b"look").await.unwrap();
    let mut buf = [0; 8];
    assert_eq!(soon(server.peek(&mut buf)).await.unwrap(), 4);
    assert_eq!(soon(server.peek(&mut buf[..2])).await.unwrap(), 2);
    assert_eq!(soon(server.read(&mut buf)).await.unwrap(), 4);
    assert_eq!(&buf[..4], b"look");
    assert_eq!(kind(server.try_read(&mut buf)), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn readiness_comes_and_goes() {
    let bed = bed();
    let (mut client, server) = connected(&bed).await;
    let ready = soon(server.ready(Interest::READABLE | Interest::WRITABLE)).await.unwrap();
    assert!(ready.is_writable() && !ready.is_readable());
    let error = server.try_read(&mut [0; 8]).unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::WouldBlock, Some(libc::EAGAIN)));
    client.write_all(b"x").await.unwrap();
    assert!(soon(server.ready(Interest::READABLE)).await.unwrap().is_readable());
    assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 1);
    drop(client);
    let ready = soon(server.ready(Interest::READABLE)).await.unwrap();
    assert!(ready.is_readable() && ready.is_read_closed());
    assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 0);
}

#[tokio::test]
async fn a_full_send_buffer_blocks_until_the_peer_reads() {
    let bed = bed();
    let (client, mut server) = connected(&bed).await;
    let mut written = 0;
    let full = soon(async {
        loop {
            match client.try_write(&[1; 65536]) {
                Ok(n) => written += n,
                Err(error) => {
                    // Room may still come with the next ACK; when none does, it is full for good.
                    let more = tokio::time::timeout(Duration::from_millis(300), client.writable());
                    if more.await.is_err() {
                        break error;
                    }
                }
            }
        }
    });
    assert_eq!(full.await.kind(), ErrorKind::WouldBlock);
    let reader = tokio::spawn(async move {
        let mut total = 0;
        let mut buf = vec![0; 65536];
        while total < written {
            total += server.read(&mut buf).await.unwrap();
        }
        total
    });
    soon(client.writable()).await.unwrap();
    assert_eq!(soon(reader).await.unwrap(), written);
}

/// A write that just fits was not refused; whoever then waits for room is woken all the same.
#[tokio::test]
async fn room_is_announced_after_a_write_that_just_fits() {
    let bed = bed();
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    let socket = TcpSocket::new_v4_on(&bed.a);
    socket.set_send_buffer_size(8192).unwrap();
    let client = Arc::new(soon(socket.connect((B, 80).into())).await.unwrap());
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    for chunk in [1024, 8192, 4096] {
        bed.cut();
        let fits = filled(&client, chunk);
        bed.mend();
        let mut got = vec![0; fits.iter().sum()];
        soon(server.read_exact(&mut got)).await.unwrap();
        drained(&client).await;
        // Now nothing is refused, and yet there is no room.
        bed.cut();
        for &len in &fits {
            assert_eq!(client.try_write(&vec![1; len]).unwrap(), len);
        }
        tokio::time::timeout(Duration::from_millis(20), client.writable()).await.unwrap_err();
        bed.mend();
        let writer = Arc::clone(&client);
        let woken = tokio::spawn(async move { writer.writable().await });
        soon(server.read_exact(&mut got)).await.unwrap();
        soon(woken).await.unwrap().unwrap();
        drained(&client).await;
    }
}

/// Writes pieces of `chunk` bytes until one is refused; what each write took.
fn filled(client: &TcpStream, chunk: usize) -> Vec<usize> {
    let mut took = Vec::new();
    loop {
        match client.try_write(&vec![1; chunk]) {
            Ok(len) => took.push(len),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return took;
            }
        }
    }
}

async fn drained(client: &TcpStream) {
    soon(async {
        while client.tcp_info().unwrap().send_queue > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn vectored_writes_and_reads() {
    let bed = bed();
    let (mut client, server) = connected(&bed).await;
    let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two "), IoSlice::new(b"three")];
    assert!(tokio::io::AsyncWrite::is_write_vectored(&client));
    assert_eq!(client.write_vectored(&parts).await.unwrap(), 13);
    let mut whole = [0; 13];
    soon(async {
        while server.peek(&mut whole).await.unwrap() < 13 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (mut left, mut right) = ([0; 6], [0; 20]);
    let n = server.try_read_vectored(&mut [IoSliceMut::new(&mut left), IoSliceMut::new(&mut right)]).unwrap();
    assert_eq!((n, &left[..], &right[..7]), (13, &b"one tw"[..], &b"o three"[..]));
}

#[tokio::test]
async fn borrowed_halves_work_at_once() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    let echo = tokio::spawn(async move {
        let (mut reading, mut writing) = server.split();
        tokio::io::copy(&mut reading, &mut writing).await.unwrap()
    });
    let (mut reading, mut writing) = client.split();
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i / 7) as u8).collect();
    let write = async {
        writing.write_all(&sent).await.unwrap();
        writing.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (_, n) = soon(async { tokio::join!(write, reading.read_to_end(&mut got)) }).await;
    assert_eq!(n.unwrap(), sent.len());
    assert_eq!(got, sent);
    assert_eq!(soon(echo).await.unwrap(), 300_000);
}

#[tokio::test]
async fn dropping_the_owned_write_half_sends_a_fin_and_reading_goes_on() {
    let bed = bed();
    let (client, mut server) = connected(&bed).await;
    let (mut reading, writing) = client.into_split();
    drop(writing);
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut got = Vec::new();
    soon(reading.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"answer");
}

#[tokio::test]
async fn halves_are_reunited_only_with_their_own() {
    let bed = bed();
    let (client, mut server) = connected(&bed).await;
    let (other, _other_server) = connected(&bed).await;
    let (reading, writing) = client.into_split();
    let (other_reading, other_writing) = other.into_split();
    let error = reading.reunite(other_writing).unwrap_err();
    let (reading, other_writing) = (error.0, error.1);
    let mut client = reading.reunite(writing).unwrap();
    other_writing.reunite(other_reading).unwrap();
    client.write_all(b"whole again").await.unwrap();
    let mut got = [0; 11];
    soon(server.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"whole again");
}

#[tokio::test]
async fn a_forgotten_write_half_leaves_the_direction_open() {
    let bed = bed();
    let (client, mut server) = connected(&bed).await;
    let (reading, writing) = client.into_split();
    writing.forget();
    tokio::time::timeout(Duration::from_millis(100), server.read(&mut [0; 8])).await.unwrap_err();
    drop(reading);
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
}

/// A read that is dropped before it is done has taken nothing.
#[tokio::test]
async fn reads_are_cancellation_safe() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    let mut got = Vec::new();
    let writer = tokio::spawn(async move {
        for byte in 0..=255_u8 {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut dropped = 0;
    soon(async {
        let mut buf = [0; 3];
        loop {
            tokio::select! {
                biased;
                n = server.read(&mut buf) => match n.unwrap() {
                    0 => break,
                    n => got.extend_from_slice(&buf[..n]),
                },
                () = tokio::task::yield_now() => dropped += 1,
            }
        }
    })
    .await;
    writer.await.unwrap();
    assert!(dropped > 0, "no read was ever cancelled");
    assert_eq!(got, (0..=255).collect::<Vec<u8>>());
}

/// Dropping `accept` loses no connection.
#[tokio::test]
async fn accept_is_cancellation_safe() {
    let bed = bed();
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        tokio::time::timeout(Duration::ZERO, listener.accept()).await.unwrap_err();
        clients.push(soon(TcpStream::connect_on(&bed.a, (B, 80))).await.unwrap());
        soon(listener.accept()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_wait_on_one_listener() {
    let bed = bed();
    let listener = Arc::new(TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap());
    let acceptors: Vec<_> = (0..8)
        .map(|_| {
            let listener = Arc::clone(&listener);
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for _ in 0..5 {
                    accepted.push(listener.accept().await.unwrap().0);
                }
                accepted.len()
            })
        })
        .collect();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(soon(TcpStream::connect_on(&bed.a, (B, 80))).await.unwrap());
    }
    for acceptor in acceptors {
        assert_eq!(soon(acceptor).await.unwrap(), 5);
    }
}

#[tokio::test]
async fn many_tasks_wait_for_one_stream() {
    let bed = bed();
    let (mut client, server) = connected(&bed).await;
    let server = Arc::new(server);
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.readable().await })
        })
        .collect();
    tokio::task::yield_now().await;
    client.write_all(b"!").await.unwrap();
    for task in waiting {
        soon(task).await.unwrap().unwrap();
    }
    assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 1);
}

/// RFC 9293 3.8.5, RFC 6093: one urgent byte, read out of band.
#[tokio::test]
async fn urgent_data_is_read_apart() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    assert_eq!(kind(server.recv_urgent()), ErrorKind::InvalidInput);
    client.write_all(b"before").await.unwrap();
    assert_eq!(soon(client.send_urgent(b"!")).await.unwrap(), 1);
    client.write_all(b"after").await.unwrap();
    assert!(soon(server.ready(Interest::PRIORITY)).await.unwrap().is_priority());
    let urgent = soon(async {
        loop {
            match server.recv_urgent() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::task::yield_now().await,
                result => break result,
            }
        }
    });
    assert_eq!(urgent.await.unwrap(), b'!');
    drop(client);
    let mut stream = Vec::new();
    soon(server.read_to_end(&mut stream)).await.unwrap();
    assert_eq!(stream, b"beforeafter");
}

#[tokio::test]
async fn options_are_what_they_were_set_to() {
    let bed = bed();
    let (client, _server) = connected(&bed).await;
    assert!(!client.nodelay().unwrap());
    client.set_nodelay(true).unwrap();
    assert!(client.nodelay().unwrap());
    assert_eq!(client.ttl().unwrap(), 64);
    client.set_ttl(33).unwrap();
    assert_eq!(client.ttl().unwrap(), 33);
    assert_eq!(kind(client.set_ttl(0)), ErrorKind::InvalidInput);
    assert_eq!(client.linger().unwrap(), None);
    client.set_linger(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(client.linger().unwrap(), Some(Duration::from_secs(3)));
    assert!(client.take_error().unwrap().is_none());
    let info = client.tcp_info().unwrap();
    assert_eq!(info.local, client.local_addr().unwrap());
    assert!(info.timestamps && info.sack && info.window_scale.is_some());
}

#[tokio::test]
async fn room_that_went_without_a_write_is_announced_when_it_comes_back() {
    let bed = bed();
    let (client, _server) = connected(&bed).await;
    bed.cut();
    client.try_write(&[7; 8000]).unwrap();
    // As when a loss shrinks the send buffer.
    let options =
        finack::core::options::SocketOptions { send_buffer: Some(4000), ..client.options().unwrap() };
    client.set_options(options).unwrap();
    // A task of its own: it sees nothing but its wake-up.
    let room = tokio::spawn(async move { client.writable().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!room.is_finished());
    bed.mend();
    soon(room).await.unwrap().unwrap();
}
