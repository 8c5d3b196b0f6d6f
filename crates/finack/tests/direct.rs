//! Data that moves without a copy, and ACKs that wait.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use common::{bed, kind, soon};
use finack::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn connected() -> (common::Bed, TcpStream, TcpStream) {
    let bed = bed();
    let listener = TcpListener::bind_on(&bed.b, (common::B, 80)).await.unwrap();
    let (client, server) =
        tokio::join!(TcpStream::connect_on(&bed.a, (common::B, 80)), soon(listener.accept()));
    (bed, client.unwrap(), server.unwrap().0)
}

#[tokio::test]
async fn data_is_lent_to_the_reader_and_taken_from_the_writer() {
    let (_bed, client, mut server) = connected().await;
    let filled = poll_fn(|cx| {
        client.poll_send_with(cx, 2048, |out| {
            out.put_slice(b"straight into the send buffer");
            Ok(())
        })
    });
    assert_eq!(soon(filled).await.unwrap(), 29);
    let mut got = vec![];
    // A taker that can't take now leaves everything.
    let refused = poll_fn(|cx| server.poll_recv_with(cx, |_| Err(ErrorKind::WouldBlock.into())));
    assert_eq!(kind(soon(refused).await), ErrorKind::WouldBlock);
    while got.len() < 29 {
        let taken = poll_fn(|cx| {
            server.poll_recv_with(cx, |slices| {
                got.extend_from_slice(&slices[0][..slices[0].len().min(10)]);
                Ok(slices[0].len().min(10))
            })
        });
        soon(taken).await.unwrap();
    }
    assert_eq!(got, b"straight into the send buffer");

    let failed = poll_fn(|cx| client.poll_send_with(cx, 64, |_| Err(Error::other("no source"))));
    assert_eq!(soon(failed).await.unwrap_err().to_string(), "no source");
    drop(client);
    let end = poll_fn(|cx| server.poll_recv_with(cx, |_| panic!("nothing is there to lend")));
    assert_eq!(soon(end).await.unwrap(), 0);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_taker_waits_for_data_and_a_filler_for_room() {
    let (_bed, client, mut server) = connected().await;
    let waiting = tokio::spawn(async move {
        let len = poll_fn(|cx| server.poll_recv_with(cx, |slices| Ok(slices[0].len()))).await.unwrap();
        (server, len)
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    client.try_write(b"now").unwrap();
    let len;
    (server, len) = soon(waiting).await.unwrap();
    assert_eq!(len, 3);

    // Nobody reads: there is an end to what can be filled in.
    let mut filled = 0;
    poll_fn(|cx| {
        loop {
            match client.poll_send_with(cx, 64 << 10, |out| {
                out.put_bytes(7, out.remaining_mut());
                Ok(())
            }) {
                Poll::Ready(n) => filled += n.unwrap(),
                Poll::Pending => return Poll::Ready(()),
            }
            assert!(filled < 64 << 20);
        }
    })
    .await;
    let mut buf = vec![0; 1 << 20];
    let mut read = 0;
    while read < filled {
        read += soon(server.read(&mut buf)).await.unwrap();
    }
    assert_eq!(read, filled);
}

/// What SO_LINGER waits for: the far side's word.
#[tokio::test]
async fn closing_with_a_linger_time_waits_for_the_held_acks() {
    let (_bed, mut client, mut server) = connected().await;
    server.hold_acks(true).unwrap();
    client.write_all(b"precious").await.unwrap();
    client.set_linger(Some(Duration::from_secs(20))).unwrap();
    let closing = tokio::spawn(client.close());
    let mut buf = [0; 8];
    soon(server.read_exact(&mut buf)).await.unwrap();
    assert_eq!(soon(server.read(&mut buf)).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!closing.is_finished());
    server.ack_to(8).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!closing.is_finished(), "the FIN is still held");
    server.ack_to(9).unwrap();
    soon(closing).await.unwrap().unwrap();
    server.hold_acks(false).unwrap();
    assert_eq!(kind(server.ack_to(1)), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_shared_buffer_is_told_to_be_free_once_acknowledged() {
    let (_bed, client, mut server) = connected().await;
    let buffer = Bytes::from(vec![7; 3_000_000]);
    let mut rest = buffer.clone();
    let (mut calls, mut done) = (0, 0);
    let sending = async {
        while !rest.is_empty() {
            assert_eq!(client.send_shared(&mut rest).await.unwrap(), calls);
            calls += 1;
        }
        while done < calls {
            let told = client.sent_shared().await.unwrap();
            assert_eq!(told.start, done);
            done = told.end;
        }
    };
    let reading = async {
        let mut got = vec![0; 3_000_000];
        server.read_exact(&mut got).await.unwrap();
        got
    };
    let (_, got) = soon(async { tokio::join!(sending, reading) }).await;
    assert!(got == buffer, "the data came through changed");
    drop(rest);
    assert!(buffer.is_unique(), "somebody still holds the buffer");
}

/// Bytes that are handed over are not copied, need nobody to take completions, and are let go once acknowledged.
#[tokio::test]
async fn bytes_that_are_handed_over_arrive_and_are_let_go() {
    let (_bed, client, mut server) = connected().await;
    let buffer = Bytes::from(vec![7; 3000]);
    let sending = async {
        // Many more than completions could wait.
        for _ in 0..2000 {
            let mut rest = buffer.clone();
            while !rest.is_empty() {
                assert!(client.send_bytes(&mut rest).await.unwrap() > 0);
            }
        }
    };
    let reading = async {
        let mut got = vec![0; 2000 * 3000];
        server.read_exact(&mut got).await.unwrap();
        got
    };
    let (_, got) = soon(async { tokio::join!(sending, reading) }).await;
    assert!(got.iter().all(|byte| *byte == 7), "the data came through changed");
    soon(async {
        while !buffer.is_unique() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    drop(server);
    assert_eq!(client.send_bytes(&mut Bytes::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reset_frees_shared_buffers() {
    let (_bed, client, server) = connected().await;
    let buffer = Bytes::from(vec![7; 100_000]);
    assert_eq!(client.send_shared(&mut buffer.clone()).await.unwrap(), 0);
    soon(server.readable()).await.unwrap();
    // What was received and not read makes it a RST.
    drop(server);
    assert_eq!(soon(client.sent_shared()).await.unwrap(), 0..1);
    assert!(buffer.is_unique());
    assert_eq!(kind(client.send_shared(&mut buffer.clone()).await), ErrorKind::ConnectionReset);
}
