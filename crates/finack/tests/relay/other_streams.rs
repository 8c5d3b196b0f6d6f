//! Streams that are no TCP connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use finack::relay::{Direct, Ended, Plain, RelayStream, Side, relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::common::soon;
use crate::links::{End, Finack, Kernel, Link, is_reset};

#[tokio::test]
async fn a_unix_socket_half_closes_towards_tcp() {
    let (mut client, a) = UnixStream::pair().unwrap();
    let (b, mut server, ()) = Kernel::pair().await;
    let relay = tokio::spawn(relay(a, b));
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    soon(server.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"request");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    got.clear();
    soon(client.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"answer");
    assert!(matches!(soon(relay).await.unwrap().ended, Ended::Closed { first: Side::A }));
}

/// unix(7): closing with unread data is seen as ECONNRESET by the peer.
#[tokio::test]
async fn a_unix_sockets_reset_comes_through() {
    let (client, a) = UnixStream::pair().unwrap();
    let (b, mut server, ()) = Kernel::pair().await;
    let relay = tokio::spawn(relay(a, b));
    server.write_all(b"nobody will read this").await.unwrap();
    soon(client.readable()).await.unwrap();
    drop(client);
    let error = soon(server.read(&mut [0; 8])).await.unwrap_err();
    assert!(is_reset(&error), "{error}");
    assert!(matches!(soon(relay).await.unwrap().ended, Ended::Broken { side: Side::A, .. }));
}

#[tokio::test]
async fn a_plain_stream_that_broke_resets_the_other_side() {
    let (client, a) = tokio::io::duplex(64);
    let (b, mut server, ()) = Kernel::pair().await;
    let relay = tokio::spawn(relay(Plain::new(a), b));
    drop(client);
    // Its end is read first; that it takes nothing is seen where something is written to it.
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
    server.write_all(b"anyone?").await.unwrap();
    let ended = soon(relay).await.unwrap().ended;
    assert!(matches!(ended, Ended::Broken { side: Side::A, .. }), "{ended:?}");
    assert!(is_reset(&soon(server.write(b"x")).await.unwrap_err()));
}

#[tokio::test]
async fn a_reset_reaches_a_plain_stream_as_what_it_has() {
    let (client, a, ()) = Kernel::pair().await;
    let (b, mut server) = tokio::io::duplex(64);
    let relay = tokio::spawn(relay(a, Plain::new(b)));
    client.reset();
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
    assert!(matches!(soon(relay).await.unwrap().ended, Ended::Broken { side: Side::A, .. }));
}

/// A kernel's connection that counts what the relay writes to it.
struct Counted {
    stream: tokio::net::TcpStream,
    written: Arc<AtomicUsize>,
    direct: bool,
}

impl RelayStream for Counted {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_read(cx, buf)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = self.stream.poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &poll {
            self.written.fetch_add(*count, Ordering::Relaxed);
        }
        poll
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_end(cx)
    }

    fn broken(&self) -> impl Future<Output = io::Error> + Send {
        self.stream.broken()
    }

    fn unacknowledged(&self) -> usize {
        self.stream.unacknowledged()
    }

    fn direct(&self) -> Direct<'_> {
        if self.direct { self.stream.direct() } else { Direct::No }
    }

    fn wrote_directly(&self, count: usize) {
        self.written.fetch_add(count, Ordering::Relaxed);
    }

    fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }
}

/// With bytes that go straight from finack's buffers into the kernel's, and with a copy between.
#[tokio::test]
async fn a_stream_of_ones_own_is_told_of_all_that_is_written_to_it() {
    for direct in [true, false] {
        let (mut client, a, _bed) = Finack::pair().await;
        let (b, mut server, ()) = Kernel::pair().await;
        let written = Arc::new(AtomicUsize::new(0));
        let b = Counted { stream: b, written: Arc::clone(&written), direct };
        let relay = tokio::spawn(relay(a, b));
        let sending = async {
            client.write_all(&[7; 300_000]).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = soon(async { tokio::join!(server.read_to_end(&mut got), sending) }).await;
        assert_eq!(read.unwrap(), 300_000);
        assert_eq!(written.load(Ordering::Relaxed), 300_000);
        server.write_all(b"thanks").await.unwrap();
        drop(server);
        got.clear();
        soon(client.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, b"thanks");
        assert_eq!(soon(relay).await.unwrap().a_to_b, 300_000);
    }
}
