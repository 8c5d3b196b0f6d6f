//! What a relay makes of the host's bytes on finack's side: as few segments as a direct connection would.

use std::io::ErrorKind;

use finack::relay::{Ended, Side, relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::soon;
use crate::links::{End, Finack, Kernel, Link};

/// RFC 9293 3.8.6: a FIN may ride on the last segment with data. A server that answers and closes at once, as HTTP/1.0
/// has it, costs the client one segment.
#[tokio::test]
async fn an_answer_and_the_end_behind_it_share_a_segment() {
    let (mut server, b, ()) = Kernel::pair().await;
    let (a, mut client, bed) = Finack::pair().await;
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    b.end_has_come().await;
    let before = bed.b.counters().tcp_in_segs;
    let relay = tokio::spawn(relay(a, b));
    let mut got = String::new();
    soon(client.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "answer");
    assert_eq!(bed.b.counters().tcp_in_segs - before, 1);
    client.shutdown().await.unwrap();
    drop((client, server));
    let relayed = soon(relay).await.unwrap();
    assert!(matches!(relayed.ended, Ended::Closed { first: Side::B }));
    assert_eq!((relayed.a_to_b, relayed.b_to_a), (0, 6));
}

/// What came before a RST is handed on before it, also where both are there when the relay looks first.
#[tokio::test]
async fn an_answer_and_the_break_behind_it_arrive_in_order() {
    let (mut server, b, ()) = Kernel::pair().await;
    let (a, mut client, _bed) = Finack::pair().await;
    let relay = tokio::spawn(relay(a, b));
    server.write_all(&[7; 5000]).await.unwrap();
    let mut got = vec![0; 5000];
    soon(client.read_exact(&mut got)).await.unwrap();
    server.write_all(b"last words").await.unwrap();
    server.reset();
    let mut rest = vec![];
    let error = soon(client.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // The kernel throws away what a RST finds unread: all of it came, or nothing.
    assert!(rest.is_empty() || rest == b"last words", "{rest:?}");
    let relayed = soon(relay).await.unwrap();
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::B, .. }));
}
