//! What the application of a finack host does: finack's sockets on a tokio runtime of one thread, as its users have it.

use std::io;

use finack::Net;
use finack::device::{MemoryDevice, pair};
use finack::net::{TcpListener, TcpStream};
use finack_core::device::Capabilities;
use finack_core::tcp::LossState;
use tokio::time::{sleep_until, timeout_at};

use super::flow::{CHUNK, Flows, Sample, Samples};
use super::linux::{address, server};

/// Largest packet, as on the Linux hosts' devices.
const MTU: usize = 1500;

/// finack's device and the end that the link has of it.
///
/// # Errors
/// Where the process may open no more descriptors.
pub fn device() -> io::Result<(MemoryDevice, MemoryDevice)> {
    pair(Capabilities::plain(MTU))
}

/// A network of one host, at the place `place` of a run.
///
/// # Errors
/// finack does not know this congestion control.
pub fn net(device: MemoryDevice, place: u8, flows: &Flows) -> Result<Net, String> {
    let mut builder = Net::builder().address(address(place), 24);
    if place == 0 {
        builder = builder.sysctl("tcp_congestion_control", &flows.congestion).map_err(|e| e.to_string())?;
    }
    builder.build(device).map_err(|e| e.to_string())
}

/// Whether finack has this congestion control.
pub fn has(congestion: &str) -> bool {
    Net::builder().sysctl("tcp_congestion_control", congestion).is_ok()
}

/// Sends flow `flow`, whole or until the time is over.
pub async fn send(net: &Net, flows: &Flows, flow: usize, samples: &mut Samples) -> io::Result<()> {
    let until = tokio::time::Instant::from_std(flows.begin(flow));
    let Ok(stream) = timeout_at(until, TcpStream::connect_on(net, server(flow))).await else { return Ok(()) };
    let stream = stream?;
    let chunk = vec![b'x'; CHUNK];
    let mut left = flows.bytes;
    while left > 0 && tokio::time::Instant::now() < until {
        samples.take(|| sample(&stream));
        let len = left.min(CHUNK as u64) as usize;
        match stream.try_write(&chunk[..len]) {
            Ok(n) => left -= n as u64,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let next = until.min(tokio::time::Instant::from_std(samples.next()));
                tokio::select! {
                    ready = stream.writable() => ready?,
                    () = sleep_until(next) => {}
                }
            }
            // The receiver's time was over first.
            Err(_) if tokio::time::Instant::now() >= until => break,
            Err(e) => return Err(e),
        }
    }
    if left == 0 {
        let mut stream = stream;
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
        // The other end closes once it has everything.
        let _ = timeout_at(until, stream.readable()).await;
        samples.end(|| sample(&stream));
        return Ok(());
    }
    samples.end(|| sample(&stream));
    stream.abort()
}

/// The listeners of all flows.
pub async fn listen(net: &Net, flows: &Flows) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(flows.count);
    for flow in 0..flows.count {
        listeners.push(TcpListener::bind_on(net, server(flow)).await?);
    }
    Ok(listeners)
}

/// Receives flow `flow` from its listener, to its end or until the time is over.
pub async fn receive(listener: &TcpListener, flows: &Flows, flow: usize) -> io::Result<()> {
    let latest = tokio::time::Instant::from_std(flows.latest());
    let Ok(accepted) = timeout_at(latest, listener.accept()).await else { return Ok(()) };
    let (stream, _) = accepted?;
    let mut chunk = vec![0_u8; CHUNK];
    let until = tokio::time::Instant::from_std(flows.end_of(flow));
    while tokio::time::Instant::now() < until {
        match stream.try_read(&mut chunk) {
            Ok(0) => {
                flows.ended(flow);
                break;
            }
            Ok(n) => flows.received(n as u64),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if timeout_at(until, stream.readable()).await.is_err() {
                    break;
                }
            }
            // The sender's time is over.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn sample(stream: &TcpStream) -> Option<Sample> {
    let info = stream.tcp_info().ok()?;
    let mss = u64::from(info.snd_mss).max(1);
    Some(Sample {
        state: name(info.loss_state),
        cwnd: info.cwnd / mss,
        ssthresh: (info.ssthresh < u64::MAX / 2).then_some(info.ssthresh / mss),
        in_flight: info.in_flight / mss,
        srtt: info.srtt,
        min_rtt: info.min_rtt,
        rto: info.rto,
        acked: info.bytes_acked,
        retransmitted: info.retrans_segs,
        not_sent: info.not_sent,
        peer_window: info.snd_wnd,
        pacing_rate: 0,
        delivery_rate: info.delivery_rate,
        reordering: u64::from(info.reordering),
    })
}

const fn name(state: LossState) -> &'static str {
    match state {
        LossState::Open => "open",
        LossState::Disorder => "disorder",
        LossState::Recovery => "recovery",
        LossState::Loss => "loss",
        _ => "?",
    }
}

/// What finack counted, those counters that are not 0, a line each.
pub fn counters(net: &Net) -> String {
    let counters = net.counters();
    counters.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}\n")).collect()
}
