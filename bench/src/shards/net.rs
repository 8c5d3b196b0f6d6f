//! The same through sockets: one network of several shards, each with its queue, its thread and a peer of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use finack::core::device::{Capabilities, Slices, Transmit, TxChecksum};
use finack::device::{Device, MemoryDevice, pair, queues};
use finack::net::{TcpListener, TcpStream};
use finack::{Driver, Net};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use super::{SEED, Worker, stay_on, threads};
use crate::measure::{Comparison, Options, Role, compare, processor_time, rate};

/// As a TUN device has it.
const UNITS: Capabilities = Capabilities { mtu: 1500, max_unit: 65_535, checksum_tx: true, udp_units: false };
const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PORT: u16 = 80;

/// What a thread measures with its two ends of a connection.
#[derive(Clone, Copy)]
enum Task {
    Bulk,
    RoundTrips,
}

pub(super) fn bulk(name: &str, options: &Options, cores: &[usize]) -> Comparison {
    let bare = |count: usize| (0..count).map(|_| bare()).collect();
    compare(
        name,
        "Gb/s",
        true,
        options.pace,
        vec![
            threads("finack, all shards", Role::Finack, cores, hosts(Task::Bulk, cores)),
            threads("finack, one shard", Role::Bare, cores, hosts(Task::Bulk, &cores[..1])),
            threads("bare device, all cores", Role::Bare, cores, bare(cores.len())),
            threads("bare device, one core", Role::Bare, cores, bare(1)),
        ],
    )
}

pub(super) fn round_trips(name: &str, options: &Options, cores: &[usize]) -> Comparison {
    let task = Task::RoundTrips;
    compare(
        name,
        "round trips/s",
        true,
        options.pace,
        vec![
            threads("finack, all shards", Role::Finack, cores, hosts(task, cores)),
            threads("finack, one shard", Role::Bare, cores, hosts(task, &cores[..1])),
        ],
    )
}

/// A network with a shard for each core, each beside its peer on a thread that stays there.
fn hosts(task: Task, cores: &[usize]) -> Vec<Worker> {
    let (here, there) = queues(UNITS, cores.len()).expect("sockets can be opened");
    let runtimes: Vec<Runtime> = cores
        .iter()
        .map(|_| Builder::new_current_thread().enable_all().build().expect("a runtime can be made"))
        .collect();
    let (net, drivers) = {
        let _entered = runtimes[0].enter();
        Net::builder().address(HERE, 24).seed(SEED).build_apart(here).expect("the network comes up")
    };
    let parts = runtimes.into_iter().zip(drivers).zip(there).zip(cores);
    parts
        .map(|(((runtime, driver), queue), &core)| host(task, runtime, net.clone(), driver, queue, core))
        .collect()
}

/// One shard, its peer and a thread for both. The thread answers one figure for each length that it is sent.
fn host(task: Task, runtime: Runtime, net: Net, driver: Driver, queue: MemoryDevice, core: usize) -> Worker {
    let (ask, lengths) = sync_channel(1);
    let (answer, figures) = sync_channel(1);
    std::thread::spawn(move || {
        stay_on(core);
        let net = net.on_shard(driver.shard()).expect("it is one of its shards");
        runtime.spawn(driver.run());
        runtime.block_on(serve(task, net, queue, &lengths, &answer)).expect("both ends are open");
    });
    Box::new(move |length| {
        ask.send(length).expect("the thread waits");
        figures.recv().expect("the thread has not panicked")
    })
}

async fn serve(
    task: Task,
    net: Net,
    queue: MemoryDevice,
    lengths: &Receiver<Duration>,
    answer: &SyncSender<f64>,
) -> io::Result<()> {
    let addr = Ipv4Addr::new(10, 0, 0, 2);
    let peer = Net::builder().address(addr, 24).build(queue)?;
    let listener = TcpListener::bind_on(&peer, (addr, PORT)).await?;
    let connect = TcpStream::connect_on(&net, SocketAddr::from((addr, PORT)));
    let (ours, theirs) = tokio::join!(connect, listener.accept());
    let (mut ours, mut theirs) = (ours?, theirs?.0);
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    match task {
        Task::Bulk => {
            tokio::spawn(async move {
                let data = vec![7; 64 << 10];
                while ours.write_all(&data).await.is_ok() {}
            });
            let mut sink = vec![0; 256 << 10];
            while let Ok(length) = lengths.recv() {
                let (begun, mut bytes) = (processor_time(), 0);
                while processor_time() - begun < length {
                    bytes += theirs.read(&mut sink).await?;
                }
                let taken = processor_time() - begun;
                let _ = answer.send(bytes as f64 * 8.0 / 1e9 / taken.as_secs_f64());
            }
        }
        Task::RoundTrips => {
            tokio::spawn(async move {
                let mut byte = [0];
                while theirs.read_exact(&mut byte).await.is_ok() && theirs.write_all(&byte).await.is_ok() {}
            });
            let mut byte = [1];
            while let Ok(length) = lengths.recv() {
                let (begun, mut count) = (processor_time(), 0_u32);
                while processor_time() - begun < length {
                    for _ in 0..16 {
                        ours.write_all(&byte).await?;
                        ours.read_exact(&mut byte).await?;
                        count += 1;
                    }
                }
                let taken = processor_time() - begun;
                let _ = answer.send(f64::from(count) / taken.as_secs_f64());
            }
        }
    }
    Ok(())
}

/// The same units through the same device, copied in and out as a program would, and nothing else.
fn bare() -> Worker {
    let (mut here, mut there) = pair(UNITS).expect("sockets can be opened");
    let (source, mut sink) = (vec![7; 64_000], vec![0; 64 << 10]);
    let mut batch = Vec::new();
    Box::new(move |length| {
        let unit = Transmit {
            header: &[0; 52],
            payload: Slices::one(&source),
            segment_size: 1448,
            checksum: TxChecksum::Partial { start: 20, offset: 16 },
            number: 0,
        };
        let bytes = rate(length, || {
            here.send(&unit).expect("there is room for one unit");
            there.recv_batch(&mut batch, 64).expect("the other end is there");
            let mut bytes = 0;
            for packet in batch.drain(..) {
                let data = &packet.bytes.as_slice()[52..];
                sink[..data.len()].copy_from_slice(data);
                bytes += data.len() as u64;
            }
            bytes
        });
        bytes * 8.0 / 1e9
    })
}
