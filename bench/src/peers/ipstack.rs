//! ipstack, which only accepts connections: finack opens them, so that half of what is measured is finack's. Its tasks
//! run on a tokio runtime of one thread, its device is a queue in memory.

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use finack_core::device::{Capabilities, Packet};
use finack_core::options::{RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, InterfaceAddress};
use finack_core::{Config, Instant, Stack};
use ipstack::{IpStack, IpStackConfig, IpStackStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::runtime::Runtime;

use crate::measure::processor_time;

const MTU: u16 = 1500;
/// The port on which bytes come back; on any other they are thrown away.
const ECHO: u16 = 80;
const SINK: u16 = 81;
/// Turns of the runtime in which an answer must come.
const PATIENCE: usize = 10_000;

/// Packets between the two, and who waits for the next.
#[derive(Default)]
struct Link {
    there: VecDeque<Vec<u8>>,
    back: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct Device(Arc<Mutex<Link>>);

impl Device {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Device {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut link = self.link();
        match link.there.pop_front() {
            Some(packet) => {
                buf.put_slice(&packet);
                Poll::Ready(Ok(()))
            }
            None => {
                link.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Device {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.link().back.push_back(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// finack's stack as the client, ipstack as the server.
pub struct Pair {
    runtime: Runtime,
    device: Device,
    client: Stack,
    now: Instant,
}

impl Pair {
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let device = Device::default();
        let served = device.clone();
        runtime.spawn(async move {
            let mut config = IpStackConfig::default();
            config.mtu_unchecked(MTU);
            let mut stack = IpStack::new(config, served);
            while let Ok(stream) = stack.accept().await {
                if let IpStackStream::Tcp(stream) = stream {
                    tokio::spawn(serve(stream));
                }
            }
        });
        let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let config = Config {
            settings: Settings::default(),
            device: Capabilities::plain(usize::from(MTU)),
            addresses: vec![InterfaceAddress { addr, prefix_len: 24 }],
            routes: Vec::new(),
            any_address: false,
            seed: [1; 32],
        };
        let client = Stack::new(Instant::ZERO, config);
        Ok(Self { runtime, device, client, now: Instant::from_secs(1) })
    }

    /// Hands packets over both ways, and lets 10 µs pass and the server's tasks run.
    async fn turn(&mut self) {
        self.now += Duration::from_micros(10);
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        while self.client.poll_event().is_some() {}
        while let Some(packet) = self.client.poll_transmit(self.now) {
            let mut bytes = Vec::with_capacity(packet.len());
            packet.write_to(&mut bytes);
            self.device.link().there.push_back(bytes);
        }
        let waker = self.device.link().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
        tokio::task::yield_now().await;
        let back = std::mem::take(&mut self.device.link().back);
        for packet in &back {
            self.client.handle_packets(self.now, &[Packet::borrowed(packet)]);
        }
    }

    async fn open(&mut self, port: u16) -> Option<ConnId> {
        let remote = SocketAddr::from(([10, 0, 0, 2], port));
        let options = SocketOptions { nodelay: true, ..SocketOptions::default() };
        let conn = self.client.tcp_connect(self.now, None, remote, options).ok()?;
        for _ in 0..PATIENCE {
            self.turn().await;
            if self.client.tcp_info(self.now, conn).ok()?.state == finack_core::tcp::State::Established {
                return Some(conn);
            }
        }
        None
    }

    /// One-byte requests and responses a second of processor time; not a number where it stalls.
    pub fn round_trips(&mut self, length: Duration) -> f64 {
        self.measured(ECHO, length, async |pair, conn| {
            pair.client.tcp_send(pair.now, conn, &[7], SendFlags::default()).ok()?;
            for _ in 0..PATIENCE {
                pair.turn().await;
                if pair.client.tcp_recv(pair.now, conn, &mut [0], RecvFlags::default()).is_ok() {
                    return Some(1);
                }
            }
            None
        })
    }

    /// Bytes a second through one connection, to the server.
    pub fn bulk(&mut self, length: Duration) -> f64 {
        let data = vec![7; 16 << 10];
        let mut idle = 0;
        self.measured(SINK, length, async |pair, conn| {
            let mut sent = 0;
            while let Ok(n) = pair.client.tcp_send(pair.now, conn, &data, SendFlags::default()) {
                sent += n as u64;
                if n < data.len() {
                    break;
                }
            }
            idle = if sent == 0 { idle + 1 } else { 0 };
            pair.turn().await;
            (idle < PATIENCE).then_some(sent)
        })
    }

    /// Opens a connection and repeats `step` on it; what it counted a second.
    fn measured(
        &mut self,
        port: u16,
        length: Duration,
        mut step: impl AsyncFnMut(&mut Self, ConnId) -> Option<u64>,
    ) -> f64 {
        // The runtime runs beside the pair, of which the step needs the rest.
        let Ok(nobody) = tokio::runtime::Builder::new_current_thread().build() else { return f64::NAN };
        let runtime = std::mem::replace(&mut self.runtime, nobody);
        let rate = runtime.block_on(async {
            let conn = self.open(port).await?;
            let (begun, mut count) = (processor_time(), 0);
            loop {
                for _ in 0..64 {
                    count += step(self, conn).await?;
                }
                let taken = processor_time() - begun;
                if taken >= length {
                    let _ = self.client.tcp_abort(self.now, conn);
                    self.turn().await;
                    return Some(count as f64 / taken.as_secs_f64());
                }
            }
        });
        self.runtime = runtime;
        rate.unwrap_or(f64::NAN)
    }
}

async fn serve(stream: ipstack::IpStackTcpStream) {
    // Its destructor waits for one of its tasks, which on a runtime of one thread never comes.
    let mut stream = ManuallyDrop::new(stream);
    // What ipstack calls the peer is where the connection was addressed to.
    let echoes = stream.peer_addr().port() == ECHO;
    let mut buf = vec![0; 64 << 10];
    while let Ok(n) = stream.read(&mut buf).await {
        if n == 0 || (echoes && stream.write_all(&buf[..n]).await.is_err()) {
            return;
        }
    }
}
