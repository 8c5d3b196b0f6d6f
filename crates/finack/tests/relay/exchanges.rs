//! Each behaviour as an exchange, over every pair of kinds of connection.

use std::io::ErrorKind;
use std::time::Duration;

use finack::relay::{Ended, RelayStream, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::common::soon;
use crate::links::{End, Finack, Kernel, Link, is_reset, rig};

/// Runs a generic exchange with the relay between each two kinds of connection.
macro_rules! exchanges {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            #[tokio::test]
            async fn kernel_to_kernel() {
                soon(super::$name::<Kernel, Kernel>()).await;
            }

            $(#[$doc])*
            #[tokio::test]
            async fn finack_to_kernel() {
                soon(super::$name::<Finack, Kernel>()).await;
            }

            $(#[$doc])*
            #[tokio::test]
            async fn kernel_to_finack() {
                soon(super::$name::<Kernel, Finack>()).await;
            }

            $(#[$doc])*
            #[tokio::test]
            async fn finack_to_finack() {
                soon(super::$name::<Finack, Finack>()).await;
            }
        }
    )+};
}

exchanges! {
    /// RFC 9293 3.6: each direction ends for itself.
    the_client_half_closes_and_is_answered;
    the_server_half_closes_and_reads_on;
    both_close_without_a_reset;
    a_reset_comes_through_while_nothing_moves;
    a_reset_of_the_server_comes_through;
    a_reset_comes_through_after_the_reseters_own_fin;
    a_reset_comes_through_after_the_others_fin;
    a_reset_comes_through_while_the_other_reads_nothing;
    what_came_before_a_reset_is_delivered;
    writing_to_one_who_is_gone_is_answered_with_a_reset;
    a_writer_is_stopped_by_a_reader_that_reads_nothing;
    a_dropped_relay_resets_both;
    a_dropped_relay_resets_a_half_closed_connection_too;
    much_is_carried_both_ways_at_once;
}

async fn read_all(end: &mut (impl End + Sized)) -> Vec<u8> {
    let mut all = Vec::new();
    end.read_to_end(&mut all).await.unwrap();
    all
}

/// Reads until the RST; what came before it.
async fn read_to_reset(end: &mut impl End) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match end.read(&mut buf).await {
            Ok(0) => panic!("an end of the stream after {} bytes, no reset", all.len()),
            Ok(n) => all.extend_from_slice(&buf[..n]),
            Err(error) if is_reset(&error) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The next events that the relay tells are these.
async fn told(events: &mut UnboundedReceiver<String>, expected: &[&str]) {
    for event in expected {
        assert_eq!(events.recv().await.as_deref(), Some(*event));
    }
}

async fn the_client_half_closes_and_is_answered<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.client.write_all(b"request").await.unwrap();
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.server).await, b"request");
    // Only now: the answer comes after the end of the request.
    rig.server.write_all(b"answer").await.unwrap();
    drop(rig.server);
    assert_eq!(read_all(&mut rig.client).await, b"answer");
    let relayed = rig.relay.await.unwrap();
    assert_eq!((relayed.a_to_b, relayed.b_to_a), (7, 6));
    assert!(matches!(relayed.ended, Ended::Closed { first: Side::A }), "{relayed:?}");
    told(&mut rig.told, &["first bytes from A", "end of A", "first bytes from B", "end of B"]).await;
}

async fn the_server_half_closes_and_reads_on<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.server.write_all(b"220 ready").await.unwrap();
    rig.server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.client).await, b"220 ready");
    for line in [b"one", b"two"] {
        rig.client.write_all(line).await.unwrap();
        let mut got = [0; 3];
        rig.server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, line);
    }
    drop(rig.client);
    assert_eq!(read_all(&mut rig.server).await, b"");
    let relayed = rig.relay.await.unwrap();
    assert!(matches!(relayed.ended, Ended::Closed { first: Side::B }), "{relayed:?}");
}

/// Both directions have data, and nothing is left unread that would turn a close into a RST.
async fn both_close_without_a_reset<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.client.write_all(b"ping").await.unwrap();
    rig.server.write_all(b"pong").await.unwrap();
    rig.client.shutdown().await.unwrap();
    rig.server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.server).await, b"ping");
    assert_eq!(read_all(&mut rig.client).await, b"pong");
    let relayed = rig.relay.await.unwrap();
    assert!(matches!(relayed.ended, Ended::Closed { .. }), "{relayed:?}");
    // A RST would be a pending error of the ends.
    assert_eq!(rig.client.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(rig.server.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!((rig.client.unacknowledged(), rig.server.unacknowledged()), (0, 0));
}

async fn a_reset_comes_through_while_nothing_moves<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.client.reset();
    assert_eq!(read_to_reset(&mut rig.server).await, b"");
    let relayed = rig.relay.await.unwrap();
    let Ended::Broken { side: Side::A, error, delivered: true } = relayed.ended else {
        panic!("{relayed:?}");
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    told(&mut rig.told, &["A broke: ConnectionReset", "B reset"]).await;
}

async fn a_reset_of_the_server_comes_through<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.server.reset();
    assert_eq!(read_to_reset(&mut rig.client).await, b"");
    let relayed = rig.relay.await.unwrap();
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::B, .. }), "{relayed:?}");
}

/// Nobody reads from A any more when its RST comes.
async fn a_reset_comes_through_after_the_reseters_own_fin<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.client.write_all(b"last word").await.unwrap();
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.server).await, b"last word");
    rig.client.reset();
    let relayed = rig.relay.await.unwrap();
    let Ended::Broken { side: Side::A, error, .. } = relayed.ended else { panic!("{relayed:?}") };
    assert!(is_reset(&error), "{error}");
    let error = rig.server.broken().await;
    assert!(is_reset(&error), "{error}");
}

async fn a_reset_comes_through_after_the_others_fin<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.server).await, b"");
    rig.server.write_all(b"half of the ans").await.unwrap();
    let mut got = [0; 15];
    rig.client.read_exact(&mut got).await.unwrap();
    rig.server.reset();
    assert_eq!(read_to_reset(&mut rig.client).await, b"");
    let relayed = rig.relay.await.unwrap();
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::B, .. }), "{relayed:?}");
}

/// Writes until nothing is taken any more for a while; how much was.
async fn fill(end: &mut impl End) -> usize {
    let (mut written, chunk) = (0, vec![7; 64 * 1024]);
    while let Ok(result) = tokio::time::timeout(Duration::from_millis(200), end.write(&chunk)).await {
        written += result.unwrap();
    }
    written
}

/// The relay is full and does not read the client, whose RST must come through nevertheless: at the latest
/// when the server has read what came before it.
async fn a_reset_comes_through_while_the_other_reads_nothing<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    let written = fill(&mut rig.client).await;
    rig.client.reset();
    told(&mut rig.told, &["first bytes from A", "A broke: ConnectionReset"]).await;
    let got = read_to_reset(&mut rig.server).await;
    // The client's own kernel threw away what it had not sent.
    assert!(!got.is_empty() && got.len() <= written, "{} of {written}", got.len());
    let relayed = rig.relay.await.unwrap();
    assert_eq!(relayed.a_to_b, got.len() as u64);
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::A, delivered: true, .. }), "{relayed:?}");
}

/// A direct connection has given the bytes to the receiver before the RST comes, and they stay readable (the Linux
/// profile).
async fn what_came_before_a_reset_is_delivered<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    let data: Vec<u8> = (0..40_000_u32).map(|i| i as u8).collect();
    rig.client.write_all(&data).await.unwrap();
    while rig.client.unacknowledged() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.client.reset();
    // Nothing is read before the relay is through with it.
    let relayed = rig.relay.await.unwrap();
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::A, delivered: true, .. }), "{relayed:?}");
    assert!(read_to_reset(&mut rig.server).await == data);
}

/// RFC 9293 3.10.7.1: who has closed both ways answers data with a RST.
async fn writing_to_one_who_is_gone_is_answered_with_a_reset<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    drop(rig.server);
    assert_eq!(read_all(&mut rig.client).await, b"", "the server's FIN");
    rig.client.write_all(b"are you there?").await.unwrap();
    let relayed = rig.relay.await.unwrap();
    let Ended::Broken { side: Side::B, error, .. } = relayed.ended else { panic!("{relayed:?}") };
    assert!(is_reset(&error), "{error}");
    let error = rig.client.broken().await;
    assert!(is_reset(&error), "{error}");
}

async fn a_writer_is_stopped_by_a_reader_that_reads_nothing<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    let written = fill(&mut rig.client).await;
    assert!(written < 32 << 20, "{written} bytes were taken with nobody reading");
    let (mut got, mut buf) = (0, vec![0; 64 * 1024]);
    let closing = tokio::spawn(async move { rig.client.shutdown().await.map(|()| rig.client) });
    loop {
        match rig.server.read(&mut buf).await.unwrap() {
            0 => break,
            n => got += n,
        }
    }
    assert_eq!(got, written);
    drop(closing.await.unwrap().unwrap());
    drop(rig.server);
    let relayed = rig.relay.await.unwrap();
    assert!(matches!(relayed.ended, Ended::Closed { first: Side::A }), "{relayed:?}");
}

async fn a_dropped_relay_resets_both<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.client.write_all(b"x").await.unwrap();
    rig.server.read_exact(&mut [0]).await.unwrap();
    rig.relay.abort();
    assert_eq!(read_to_reset(&mut rig.server).await, b"");
    assert_eq!(read_to_reset(&mut rig.client).await, b"");
}

/// The server's answer is cut off: an end of the stream would make it look complete.
async fn a_dropped_relay_resets_a_half_closed_connection_too<L: Link, R: Link>() {
    let mut rig = rig::<L, R>().await;
    rig.client.write_all(b"question").await.unwrap();
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.server).await, b"question");
    rig.relay.abort();
    assert_eq!(read_to_reset(&mut rig.client).await, b"");
    let error = rig.server.broken().await;
    assert!(is_reset(&error), "{error}");
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn much_is_carried_both_ways_at_once<L: Link, R: Link>() {
    const LEN: usize = 16 << 20;
    let rig = rig::<L, R>().await;
    let (up, down) = (pattern(LEN, 1), pattern(LEN, 2));
    let (mut from_client, mut to_client) = tokio::io::split(rig.client);
    let (mut from_server, mut to_server) = tokio::io::split(rig.server);
    let (mut got_up, mut got_down) = (Vec::with_capacity(LEN), Vec::with_capacity(LEN));
    let send_up = async {
        to_client.write_all(&up).await.unwrap();
        to_client.shutdown().await.unwrap();
    };
    let send_down = async {
        to_server.write_all(&down).await.unwrap();
        to_server.shutdown().await.unwrap();
    };
    let (got_a, got_b, (), ()) = tokio::join!(
        from_server.read_to_end(&mut got_up),
        from_client.read_to_end(&mut got_down),
        send_up,
        send_down
    );
    assert_eq!((got_a.unwrap(), got_b.unwrap()), (LEN, LEN));
    assert!(got_up == up && got_down == down, "the bytes differ");
    let relayed = rig.relay.await.unwrap();
    assert_eq!((relayed.a_to_b, relayed.b_to_a), (LEN as u64, LEN as u64));
    assert!(matches!(relayed.ended, Ended::Closed { .. }), "{relayed:?}");
}
