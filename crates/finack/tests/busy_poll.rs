//! A driver that looks for packets for a while before it sleeps (`net.core.busy_poll`), and a device that is read while
//! somebody writes.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::time::Duration;

use common::{B, UNITS, bed_of, connected, host_a, host_b, soon};
use finack::NetBuilder;
use finack::core::settings::Settings;
use finack::device::{MemoryDevice, pair};
use finack::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn on_watch(builder: NetBuilder) -> NetBuilder {
    builder.settings(Settings { busy_poll: 1000, ..Settings::default() })
}

/// Processor time of this thread, on which everything here runs.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

async fn converse(client: &mut TcpStream, server: &mut TcpStream, times: u8) {
    for i in 0..times {
        client.write_all(&[i]).await.unwrap();
        assert_eq!(soon(server.read_u8()).await.unwrap(), i);
        server.write_all(&[i, i]).await.unwrap();
        assert_eq!(soon(client.read_u16()).await.unwrap(), u16::from_be_bytes([i, i]));
    }
}

#[tokio::test]
async fn who_looks_for_packets_carries_a_conversation_and_rests_after_it() {
    let bed = bed_of(UNITS, on_watch(host_a()), on_watch(host_b()));
    let (mut client, mut server) = connected(&bed).await;
    converse(&mut client, &mut server, 200).await;

    let before = processor_time();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let spent = processor_time() - before;
    assert!(spent < Duration::from_millis(20), "{spent:?} spent on nothing");

    // Awake again.
    converse(&mut client, &mut server, 3).await;
    drop(client);
    assert_eq!(soon(server.read(&mut [0])).await.unwrap(), 0);
}

/// A host that reads everything that comes to port 9, on a thread of its own.
fn sink(device: MemoryDevice) {
    let (listens, up) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let net = host_b().build(device).unwrap();
            let listener = TcpListener::bind_on(&net, (B, 9)).await.unwrap();
            listens.send(()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = vec![0; 256 << 10];
            while stream.read(&mut buf).await.unwrap() > 0 {}
        });
    });
    up.recv().unwrap();
}

/// While a task writes and does not pause, its runtime's driver has no turn; ACKs are seen nevertheless.
#[tokio::test]
async fn who_writes_on_and_on_sees_acks_meanwhile() {
    const ALL: usize = 256 << 20;
    let (left, right) = pair(UNITS).unwrap();
    let net = host_a().build(left).unwrap();
    sink(right);
    let stream = soon(TcpStream::connect_on(&net, (B, 9))).await.unwrap();
    let (block, mut written, mut seen) = (vec![7; 64 << 10], 0, false);
    let queued = || usize::try_from(stream.tcp_info().unwrap().send_queue).unwrap();
    while written < ALL && !seen {
        let before = queued();
        match stream.try_write(&block) {
            Ok(count) => {
                written += count;
                seen = queued() < before + count;
            }
            Err(_) => soon(stream.writable()).await.unwrap(),
        }
    }
    assert!(seen, "{written} bytes were written");
}
