//! Sockets whose segments are signed (RFC 2385, RFC 5925), as an application has them.
#![cfg(feature = "md5-ao")]
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use common::{A, B, bed, soon};
use finack::core::auth::{AoKey, Keys, Md5Key, Peers, Secret};
use finack::net::TcpSocket;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn md5(peer: std::net::Ipv4Addr, secret: &[u8]) -> Keys {
    let mut keys = Keys::new();
    let key = Md5Key { peers: Peers::host(peer.into()), secret: Secret::new(secret).unwrap() };
    keys.set_md5(key).unwrap();
    keys
}

fn ao(peer: std::net::Ipv4Addr, send_id: u8, recv_id: u8) -> Keys {
    let mut keys = Keys::new();
    let secret = Secret::new(b"between us").unwrap();
    keys.add_ao(AoKey::new(Peers::host(peer.into()), send_id, recv_id, secret)).unwrap();
    keys
}

/// RFC 2385 2.0, RFC 5925 7.1: keys that were set before bind and connect count from the SYN on.
#[tokio::test]
async fn keys_of_sockets_count_from_the_syn_on() {
    for (ours, theirs, info) in [(md5(B, b"x"), md5(A, b"x"), None), (ao(B, 1, 2), ao(A, 2, 1), Some(1))] {
        let bed = bed();
        let server = TcpSocket::new_v4_on(&bed.b);
        server.set_keys(theirs);
        server.bind((B, 179).into()).unwrap();
        let listener = server.listen(8).unwrap();
        let client = TcpSocket::new_v4_on(&bed.a);
        client.set_keys(ours.clone());
        let mut client = soon(client.connect((B, 179).into())).await.unwrap();
        let (mut server, _) = soon(listener.accept()).await.unwrap();
        client.write_all(b"signed").await.unwrap();
        let mut got = [0; 6];
        soon(server.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"signed");
        assert_eq!(client.keys().unwrap(), ours);
        assert_eq!(client.auth_info().unwrap().current, info);
        // Without keys nobody answers, and keys for somebody else are no use.
        let stranger = TcpSocket::new_v4_on(&bed.a);
        let waits = tokio::time::timeout(Duration::from_millis(200), stranger.connect((B, 179).into())).await;
        assert!(waits.is_err(), "nothing answers");
        let other = TcpSocket::new_v4_on(&bed.a);
        other.set_keys(ao(A, 1, 2));
        let refused = other.connect((B, 179).into()).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(129), "EKEYREJECTED: {refused}");
        listener.set_keys(&Keys::new()).unwrap();
        let stranger = TcpSocket::new_v4_on(&bed.a);
        soon(stranger.connect((B, 179).into())).await.unwrap();
    }
}
