//! The two kinds of connection that a relay stands between in these tests, made alike.

use std::future::Future;
use std::io;
use std::time::Duration;

use finack::relay::{Event, Relay, RelayStream, Relayed};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::common::{Bed, UNITS, bed_of, connected, host_a, host_b};

/// An end of a connection that can be closed with a RST.
pub(crate) trait End: AsyncRead + AsyncWrite + RelayStream + Unpin + Send + Sync + 'static {
    /// RST, now.
    fn reset(self);

    /// Bytes that were received and not read.
    fn unread(&self) -> usize;

    /// Waits for the peer's FIN (or RST), without reading.
    fn end_has_come(&self) -> impl Future<Output = ()> + Send;
}

impl End for finack::net::TcpStream {
    fn reset(self) {
        self.abort().unwrap();
    }

    fn unread(&self) -> usize {
        self.tcp_info().unwrap().recv_queue as usize
    }

    async fn end_has_come(&self) {
        while !self.ready(Interest::READABLE).await.unwrap().is_read_closed() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

impl End for tokio::net::TcpStream {
    fn reset(self) {
        self.set_zero_linger().unwrap();
    }

    fn unread(&self) -> usize {
        rustix::io::ioctl_fionread(self).unwrap() as usize
    }

    async fn end_has_come(&self) {
        while !self.ready(Interest::READABLE).await.unwrap().is_read_closed() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// A way to get connections.
pub(crate) trait Link {
    type Stream: End;
    /// What must live for as long as the connection.
    type World;

    /// Both ends of a new connection.
    fn pair() -> impl Future<Output = (Self::Stream, Self::Stream, Self::World)> + Send;
}

/// Two finack hosts and a cable between them.
pub(crate) struct Finack;

impl Link for Finack {
    type Stream = finack::net::TcpStream;
    type World = Bed;

    async fn pair() -> (Self::Stream, Self::Stream, Bed) {
        let bed = bed_of(UNITS, host_a(), host_b());
        let (near, far) = connected(&bed).await;
        (near, far, bed)
    }
}

/// The kernel's loopback.
pub(crate) struct Kernel;

impl Link for Kernel {
    type Stream = tokio::net::TcpStream;
    type World = ();

    async fn pair() -> (Self::Stream, Self::Stream, ()) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(tokio::net::TcpStream::connect(addr), listener.accept());
        (near.unwrap(), far.unwrap().0, ())
    }
}

/// A client and a server that know nothing of the relay between them.
pub(crate) struct Rig<L: Link, R: Link> {
    pub(crate) client: L::Stream,
    pub(crate) server: R::Stream,
    pub(crate) relay: JoinHandle<Relayed>,
    /// What the relay told its observer.
    pub(crate) told: mpsc::UnboundedReceiver<String>,
    _worlds: (L::World, R::World),
}

/// Side A of the relay is the client's connection, side B the server's.
pub(crate) async fn rig<L: Link, R: Link>() -> Rig<L, R> {
    let (client, a, left) = L::pair().await;
    let (b, server, right) = R::pair().await;
    let (tell, told) = mpsc::unbounded_channel();
    let relay = Relay::new(a, b).observe(move |event| {
        let _ = tell.send(named(&event));
    });
    Rig { client, server, relay: tokio::spawn(relay.run()), told, _worlds: (left, right) }
}

fn named(event: &Event<'_>) -> String {
    match event {
        Event::FirstBytes { side } => format!("first bytes from {side}"),
        Event::Ended { side } => format!("end of {side}"),
        Event::Broken { side, error } => format!("{side} broke: {:?}", error.kind()),
        Event::Reset { side, delivered: true } => format!("{side} reset"),
        Event::Reset { side, delivered: false } => format!("{side} reset, not all delivered"),
        _ => "something else".to_owned(),
    }
}

/// Whether the other end was reset: Linux says EPIPE instead where the end of the stream had come before.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
