//! Connections that do what they like, on several threads: nothing hangs, nothing is left.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::{B, UNITS, bed_of, host_a, host_b, within};
use finack::core::device::Capabilities;
use finack::core::tcp::State;
use finack::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A generator of the test's own: equal seeds, equal choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What may happen to either end when the other does as it likes.
fn is_expected(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected)
}

/// One end: reads, writes, gives up reads half-way, and ends in one of the ways there are.
async fn live(mut stream: TcpStream, mut dice: Dice) -> std::io::Result<()> {
    let mut buf = vec![0; 20_000];
    for _ in 0..dice.roll(12) {
        let len = dice.roll(20_000) as usize;
        match dice.roll(6) {
            0 | 1 => stream.write_all(&buf[..len]).await?,
            2 => {
                let limit = Duration::from_micros(dice.roll(300));
                if let Ok(read) = tokio::time::timeout(limit, stream.read(&mut buf)).await {
                    read?;
                }
            }
            3 => {
                let limit = Duration::from_micros(dice.roll(300));
                drop(tokio::time::timeout(limit, stream.writable()).await);
            }
            4 => {
                let (reading, writing) = stream.into_split();
                stream = reading.reunite(writing).map_err(std::io::Error::other)?;
            }
            _ => tokio::task::yield_now().await,
        }
    }
    match dice.roll(5) {
        0 => drop(stream),
        1 => stream.abort()?,
        2 => {
            stream.set_linger(Some(Duration::from_secs(20)))?;
            stream.close().await?;
        }
        3 => {
            stream.shutdown().await?;
            while stream.read(&mut buf).await? > 0 {}
        }
        _ => {
            let (mut reading, writing) = stream.into_split();
            drop(writing);
            while reading.read(&mut buf).await? > 0 {}
        }
    }
    Ok(())
}

async fn stress(capabilities: Capabilities, connections: u64, seed: u64) {
    let bed = bed_of(capabilities, host_a(), host_b());
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    let serving = tokio::spawn(async move {
        let mut ends = Vec::new();
        for i in 0..connections {
            let (stream, _) = listener.accept().await.unwrap();
            ends.push(tokio::spawn(live(stream, Dice(seed ^ i << 20 ^ 0xb))));
        }
        ends
    });
    let mut ends = Vec::new();
    for i in 0..connections {
        match TcpStream::connect_on(&bed.a, (B, 80)).await {
            Ok(stream) => ends.push(tokio::spawn(live(stream, Dice(seed ^ i << 20 ^ 0xa)))),
            // The other end was faster: it has aborted before this task came to see that it was open.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    ends.extend(serving.await.unwrap());
    for end in ends {
        if let Err(error) = end.await.unwrap() {
            assert!(is_expected(&error), "{error}");
        }
    }
    bed.a.drain().await.unwrap();
    bed.b.drain().await.unwrap();
    for net in [&bed.a, &bed.b] {
        assert!(net.connections().is_empty());
        let left = net.count_by_state();
        let left = left.iter().filter(|(s, n)| *n > 0 && !matches!(s, State::TimeWait | State::FinWait2));
        assert_eq!(left.collect::<Vec<_>>(), [] as [&(State, usize); 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_hundred_connections_do_what_they_like_in_packets() {
    within(Duration::from_secs(200), stress(Capabilities::plain(1500), 300, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_hundred_connections_do_what_they_like_in_units() {
    within(Duration::from_secs(200), stress(UNITS, 300, 2)).await;
}

#[tokio::test]
async fn three_hundred_connections_do_what_they_like_on_one_thread() {
    within(Duration::from_secs(200), stress(UNITS, 300, 3)).await;
}
