//! Streams that are no TCP connections.

use finack::relay::{Ended, Plain, Side, relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::common::soon;
use crate::links::{End, Kernel, Link, is_reset};

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
