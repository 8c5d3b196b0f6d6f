//! Much data, and many connections.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::hash::{DefaultHasher, Hasher};

use common::{B, Bed, UNITS, bed_of, connected, host_a, host_b, within};
use finack::core::device::Capabilities;
use finack::net::{TcpListener, TcpStream};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MIB: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(240);

/// Writes `len` bytes that depend on `seed`, then half-closes; gives their hash.
async fn send(mut to: impl AsyncWrite + Unpin, seed: u64, len: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut state = seed;
    let mut chunk = vec![0; 48 * 1024 + 17];
    let mut left = len;
    while left > 0 {
        for byte in &mut chunk {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        let n = chunk.len().min(left);
        to.write_all(&chunk[..n]).await.unwrap();
        hasher.write(&chunk[..n]);
        left -= n;
    }
    to.shutdown().await.unwrap();
    hasher.finish()
}

/// Reads to the end; gives how much it was and its hash.
async fn receive(mut from: impl AsyncRead + Unpin) -> (usize, u64) {
    let mut hasher = DefaultHasher::new();
    let mut buf = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match from.read(&mut buf).await.unwrap() {
            0 => return (total, hasher.finish()),
            n => {
                hasher.write(&buf[..n]);
                total += n;
            }
        }
    }
}

async fn both_ways(bed: &Bed, len: usize) {
    let (client, server) = connected(bed).await;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let up = tokio::spawn(send(client_write, 1, len));
    let down = tokio::spawn(send(server_write, 2, len));
    let up_got = tokio::spawn(receive(server_read));
    let down_got = tokio::spawn(receive(client_read));
    assert_eq!(up_got.await.unwrap(), (len, up.await.unwrap()));
    assert_eq!(down_got.await.unwrap(), (len, down.await.unwrap()));
}

#[tokio::test]
async fn sixty_four_mebibytes_both_ways_in_units() {
    within(LIMIT, both_ways(&bed_of(UNITS, host_a(), host_b()), 64 * MIB)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_mebibytes_both_ways_in_packets_on_several_threads() {
    within(LIMIT, both_ways(&bed_of(Capabilities::plain(1500), host_a(), host_b()), 16 * MIB)).await;
}

#[tokio::test]
async fn a_thousand_connections_at_once() {
    let bed = bed_of(Capabilities::plain(1500), host_a(), host_b());
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    let server = tokio::spawn(async move {
        for _ in 0..1000 {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reading, mut writing) = stream.split();
                tokio::io::copy(&mut reading, &mut writing).await.unwrap();
                writing.shutdown().await.unwrap();
            });
        }
    });
    let clients: Vec<_> = (0..1000_u32)
        .map(|i| {
            let net = bed.a.clone();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect_on(&net, (B, 80)).await.unwrap();
                let sent: Vec<u8> = i.to_be_bytes().repeat(500);
                stream.write_all(&sent).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut got = Vec::new();
                stream.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, sent, "connection {i}");
            })
        })
        .collect();
    within(LIMIT, async {
        for client in clients {
            client.await.unwrap();
        }
        server.await.unwrap();
        bed.a.drain().await.unwrap();
        bed.b.drain().await.unwrap();
    })
    .await;
    assert!(bed.a.connections().is_empty());
}
