//! Urgent data (RFC 9293 3.8.5, RFC 6093): a read stops in front of the mark, and what lies behind it must not be left
//! there until something else comes.

use finack::relay::relay;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::soon;
use crate::links::{End, Finack, Kernel, Link};

/// The last byte is urgent, as Telnet's DM is, and nothing follows.
async fn arrives_in_line(mut server: impl End) {
    let mut got = [0; 7];
    soon(server.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"abort!\xf2");
}

#[tokio::test]
async fn from_the_kernel() {
    for to_finack in [true, false] {
        let (mut client, a, ()) = Kernel::pair().await;
        rustix::net::sockopt::set_socket_oobinline(&a, true).unwrap();
        client.write_all(b"abort").await.unwrap();
        send(&client, b"!\xf2", SendFlags::OOB).unwrap();
        if to_finack {
            let (b, server, _bed) = Finack::pair().await;
            let relay = tokio::spawn(relay(a, b));
            arrives_in_line(server).await;
            relay.abort();
        } else {
            let (b, server, ()) = Kernel::pair().await;
            let relay = tokio::spawn(relay(a, b));
            arrives_in_line(server).await;
            relay.abort();
        }
    }
}

#[tokio::test]
async fn from_finack() {
    let (mut client, a, _bed) = Finack::pair().await;
    let mut options = a.options().unwrap();
    options.oob_inline = true;
    a.set_options(options).unwrap();
    client.write_all(b"abort").await.unwrap();
    soon(client.send_urgent(b"!\xf2")).await.unwrap();
    let (b, server, ()) = Kernel::pair().await;
    let relay = tokio::spawn(relay(a, b));
    arrives_in_line(server).await;
    relay.abort();
}
