//! How connections open and end, as an application sees it.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::{B, B6, bed, bed_of, connected, host_a, host_b, kind, nobody, soon, within};
use finack::core::device::Capabilities;
use finack::core::tcp::State;
use finack::device::Device;
use finack::net::{TcpListener, TcpSocket, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOUR: Duration = Duration::from_secs(3600);

fn count(net: &finack::Net, state: State) -> usize {
    net.count_by_state().into_iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| n)
}

#[tokio::test]
async fn an_echo_server_over_both_families() {
    let bed = bed();
    for addr in [(std::net::IpAddr::from(B), 7), (B6.into(), 7)] {
        let listener = TcpListener::bind_on(&bed.b, addr).await.unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, peer) = listener.accept().await.unwrap();
            let mut buf = vec![0; 1000];
            loop {
                let n = stream.read(&mut buf).await.unwrap();
                if n == 0 {
                    return peer;
                }
                stream.write_all(&buf[..n]).await.unwrap();
            }
        });
        let mut client = soon(TcpStream::connect_on(&bed.a, addr)).await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), addr.into());
        let local = client.local_addr().unwrap();
        client.write_all(b"hello, finack").await.unwrap();
        let mut reply = [0; 13];
        soon(client.read_exact(&mut reply)).await.unwrap();
        assert_eq!(&reply, b"hello, finack");
        client.shutdown().await.unwrap();
        assert_eq!(soon(client.read(&mut reply)).await.unwrap(), 0);
        assert_eq!(soon(server).await.unwrap(), local);
    }
}

/// RFC 9293 3.6: a CLOSE means "I have no more data to send"; the other direction stays open.
#[tokio::test]
async fn the_client_half_closes_and_reads_on() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut request = Vec::new();
    soon(server.read_to_end(&mut request)).await.unwrap();
    assert_eq!(request, b"request");
    assert_eq!(server.tcp_info().unwrap().state, State::CloseWait);
    assert_eq!(kind(client.write_all(b"more").await), ErrorKind::BrokenPipe);
    for part in [&b"long "[..], b"after", b" that"] {
        server.write_all(part).await.unwrap();
    }
    drop(server);
    let mut reply = Vec::new();
    soon(client.read_to_end(&mut reply)).await.unwrap();
    assert_eq!(reply, b"long after that");
}

#[tokio::test]
async fn the_server_half_closes_and_reads_on() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    server.shutdown().await.unwrap();
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0, "the end of the stream stays");
    client.write_all(b"still listening?").await.unwrap();
    drop(client);
    let mut got = Vec::new();
    soon(server.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"still listening?");
}

/// FIN-WAIT-2 is timed for orphans only: a half-closed connection may live for days.
#[tokio::test(start_paused = true)]
async fn half_closed_for_a_day_and_alive() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    client.shutdown().await.unwrap();
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
    tokio::time::sleep(24 * HOUR).await;
    assert_eq!(client.tcp_info().unwrap().state, State::FinWait2);
    server.write_all(b"good morning").await.unwrap();
    let mut got = [0; 12];
    within(HOUR, client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"good morning");
}

#[tokio::test]
async fn a_port_nobody_listens_on_refuses() {
    let bed = bed();
    let error = soon(TcpStream::connect_on(&bed.a, nobody())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
}

#[tokio::test]
async fn the_first_address_that_answers_wins() {
    let bed = bed();
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    let both = [nobody(), listener.local_addr().unwrap()];
    let stream = soon(TcpStream::connect_on(&bed.a, &both[..])).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), both[1]);
    assert_eq!(kind(TcpStream::connect_on(&bed.a, &[][..]).await), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn no_route_leads_there() {
    let bed = bed();
    let error = soon(TcpStream::connect_on(&bed.a, "192.0.2.1:80")).await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
}

/// `tcp_syn_retries` SYNs without an answer (RFC 9293 MUST-23; about 131 s, as on Linux).
#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_there_times_out() {
    let bed = bed();
    bed.cut();
    let begin = tokio::time::Instant::now();
    let error = within(HOUR, TcpStream::connect_on(&bed.a, (B, 80))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let took = begin.elapsed().as_secs();
    assert!((60..=180).contains(&took), "gave up after {took} s");
}

#[tokio::test]
async fn giving_up_a_connect_leaves_nothing_behind() {
    let bed = bed();
    bed.cut();
    let attempt = TcpStream::connect_on(&bed.a, (B, 80));
    tokio::time::timeout(Duration::from_millis(20), attempt).await.unwrap_err();
    assert_eq!(count(&bed.a, State::SynSent), 0);
    assert!(bed.a.connections().is_empty());
}

/// RFC 9293 3.10.5 ABORT: the peer is told by a RST, once; then EOF on reads and EPIPE on writes.
#[tokio::test]
async fn linger_zero_resets_the_peer() {
    let bed = bed();
    let (client, mut server) = connected(&bed).await;
    client.set_zero_linger().unwrap();
    assert_eq!(client.linger().unwrap(), Some(Duration::ZERO));
    drop(client);
    let error = soon(server.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(kind(server.write(b"anyone?").await), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn abort_resets_the_peer_and_throws_the_rest_away() {
    let bed = bed();
    let (mut client, server) = connected(&bed).await;
    client.write_all(b"read me first").await.unwrap();
    client.abort().unwrap();
    soon(server.readable()).await.unwrap();
    // Data may or may not still be read before it (Linux keeps what was queued); the reset comes in any case.
    let mut buf = [0; 64];
    let error = soon(async {
        loop {
            server.readable().await.unwrap();
            match server.try_read(&mut buf) {
                Ok(13) => {}
                Ok(n) => panic!("read {n}"),
                Err(error) => break error,
            }
        }
    });
    assert_eq!(error.await.kind(), ErrorKind::ConnectionReset);
}

/// RFC 1122 4.2.2.13: unread data at CLOSE is thrown away, and the peer is told so by a RST.
#[tokio::test]
async fn closing_with_unread_data_resets_the_peer() {
    let bed = bed();
    let (mut client, server) = connected(&bed).await;
    client.write_all(b"nobody will read this").await.unwrap();
    soon(server.readable()).await.unwrap();
    drop(server);
    assert_eq!(kind(soon(client.read(&mut [0; 8])).await), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_orderly_close_is_the_end_of_the_stream() {
    let bed = bed();
    let (client, mut server) = connected(&bed).await;
    drop(client);
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
    drop(server);
    soon(bed.b.drain()).await.unwrap();
    soon(bed.a.drain()).await.unwrap();
    assert_eq!(count(&bed.a, State::TimeWait), 1, "the side that closed first holds TIME-WAIT");
    assert_eq!(count(&bed.b, State::TimeWait), 0);
}

#[tokio::test]
async fn dropping_delivers_what_was_written() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    let data: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        got
    });
    client.write_all(&data).await.unwrap();
    drop(client);
    assert_eq!(soon(reader).await.unwrap(), data);
}

/// SO_LINGER with a time: close returns when the peer has acknowledged data and FIN.
#[tokio::test]
async fn close_lingers_until_all_is_acknowledged() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    client.set_linger(Some(Duration::from_secs(20))).unwrap();
    client.write_all(&[7; 50_000]).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        (got.len(), server)
    });
    let begin = tokio::time::Instant::now();
    soon(client.close()).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "it waited for its time, not for the peer");
    assert_eq!(count(&bed.a, State::FinWait1), 0, "the FIN was acknowledged");
    assert_eq!(soon(reader).await.unwrap().0, 50_000);
}

/// The peer closed first: what is waited for is the end of LAST-ACK.
#[tokio::test]
async fn close_lingers_in_last_ack_too() {
    let bed = bed();
    let (mut client, server) = connected(&bed).await;
    drop(server);
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);
    client.set_linger(Some(Duration::from_secs(20))).unwrap();
    let begin = tokio::time::Instant::now();
    soon(client.close()).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "it waited for its time, not for the peer");
    assert_eq!(count(&bed.a, State::LastAck), 0);
}

#[tokio::test(start_paused = true)]
async fn close_lingers_no_longer_than_its_time() {
    let bed = bed();
    let (mut client, _server) = connected(&bed).await;
    bed.cut();
    client.set_linger(Some(Duration::from_secs(5))).unwrap();
    client.write_all(b"into the void").await.unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(kind(within(HOUR, client.close()).await), ErrorKind::TimedOut);
    assert_eq!(begin.elapsed().as_secs(), 5);
    assert_eq!(count(&bed.a, State::FinWait1), 1, "it goes on in the background");
}

#[tokio::test]
async fn close_without_linger_returns_at_once() {
    let bed = bed();
    let (mut client, _server) = connected(&bed).await;
    bed.cut();
    client.write_all(b"later").await.unwrap();
    client.close().await.unwrap();
}

/// Data that is never acknowledged (RFC 9293 3.8.3 R2, `tcp_retries2`).
#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_times_the_writer_out() {
    let bed = bed();
    let (mut client, _server) = connected(&bed).await;
    bed.cut();
    client.write_all(b"hello?").await.unwrap();
    let begin = tokio::time::Instant::now();
    let error = within(24 * HOUR, client.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(begin.elapsed() > Duration::from_secs(100), "R2 is at least 100 s (RFC 9293 SHLD-11)");
}

/// SO_KEEPALIVE (RFC 9293 3.8.4): an idle connection to a host that is gone ends.
#[tokio::test(start_paused = true)]
async fn keep_alive_finds_out_that_the_peer_is_gone() {
    let bed = bed();
    let (mut client, _server) = connected(&bed).await;
    let mut options = client.options().unwrap();
    options.keepalive = true;
    options.keepalive_idle = Some(Duration::from_secs(60));
    options.keepalive_interval = Some(Duration::from_secs(10));
    options.keepalive_count = Some(3);
    client.set_options(options).unwrap();
    bed.cut();
    let begin = tokio::time::Instant::now();
    let error = within(HOUR, client.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!((60..=120).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_dropped_listener_refuses_and_keeps_what_it_accepted() {
    let bed = bed();
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    let mut first = soon(TcpStream::connect_on(&bed.a, (B, 80))).await.unwrap();
    let (mut accepted, _) = soon(listener.accept()).await.unwrap();
    let mut waiting = soon(TcpStream::connect_on(&bed.a, (B, 80))).await.unwrap();
    drop(listener);
    assert_eq!(kind(soon(waiting.read(&mut [0; 8])).await), ErrorKind::ConnectionReset);
    assert_eq!(kind(soon(TcpStream::connect_on(&bed.a, (B, 80))).await), ErrorKind::ConnectionRefused);
    accepted.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    soon(first.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test]
async fn an_address_is_taken_once() {
    let bed = bed();
    let _listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    assert_eq!(kind(TcpListener::bind_on(&bed.b, (B, 80)).await), ErrorKind::AddrInUse);
    let foreign = TcpListener::bind_on(&bed.b, "192.0.2.9:80").await;
    assert_eq!(kind(foreign), ErrorKind::AddrNotAvailable);
}

#[tokio::test]
async fn a_socket_with_options_from_the_first_segment_on() {
    let bed = bed();
    let listening = TcpSocket::new_v4_on(&bed.b);
    listening.set_reuseaddr(true).unwrap();
    listening.set_nodelay(true).unwrap();
    listening.bind((B, 81).into()).unwrap();
    assert_eq!(kind(listening.bind((B, 82).into())), ErrorKind::InvalidInput);
    let listener = listening.listen(16).unwrap();

    let socket = TcpSocket::new_v4_on(&bed.a);
    socket.bind((common::A, 12_345).into()).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, server) = soon(async { tokio::join!(socket.connect(addr), listener.accept()) }).await;
    let (server, peer) = server.unwrap();
    assert_eq!(peer, (common::A, 12_345).into());
    assert!(server.nodelay().unwrap(), "a listener's options are inherited");
    assert_eq!(client.unwrap().options().unwrap().recv_buffer, Some(8192));

    let other_family = TcpSocket::new_v4_on(&bed.a).connect((B6, 80).into()).await.unwrap_err();
    assert_eq!(other_family.raw_os_error(), Some(libc::EAFNOSUPPORT));
}

#[tokio::test]
async fn a_bind_that_is_dropped_is_given_back() {
    let bed = bed();
    let socket = TcpSocket::new_v4_on(&bed.a);
    socket.bind((common::A, 5000).into()).unwrap();
    let second = TcpSocket::new_v4_on(&bed.a);
    assert_eq!(kind(second.bind((common::A, 5000).into())), ErrorKind::AddrInUse);
    drop(socket);
    second.bind((common::A, 5000).into()).unwrap();
}

#[tokio::test]
async fn shutting_the_network_down_resets_and_wakes_everyone() {
    let bed = bed();
    let (mut client, mut server) = connected(&bed).await;
    let listener = TcpListener::bind_on(&bed.a, (common::A, 80)).await.unwrap();
    let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
    let reading = tokio::spawn(async move {
        let result = client.read(&mut [0; 8]).await;
        (client, result)
    });
    tokio::task::yield_now().await;
    bed.a.shutdown();
    let (mut client, read) = soon(reading).await.unwrap();
    assert_eq!(kind(read), ErrorKind::NetworkDown);
    assert_eq!(kind(soon(accepting).await.unwrap()), ErrorKind::NetworkDown);
    assert_eq!(kind(client.write(b"x").await), ErrorKind::NetworkDown);
    assert_eq!(kind(soon(server.read(&mut [0; 8])).await), ErrorKind::ConnectionReset);
    assert!(bed.a.stopped().is_some() && bed.b.stopped().is_none());
}

#[tokio::test]
async fn trace_events_tell_the_story_of_a_connection() {
    let bed = bed_of(Capabilities::plain(1500), host_a().trace(1000), host_b());
    let (client, mut server) = connected(&bed).await;
    drop(client);
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
    let mut states = Vec::new();
    while states.last() != Some(&State::FinWait2) {
        let event = soon(bed.a.next_trace()).await.unwrap();
        if let finack::core::trace::TraceKind::State { to, .. } = event.kind {
            states.push(to);
        }
    }
    assert_eq!(states, [State::SynSent, State::Established, State::FinWait1, State::FinWait2]);
    assert_eq!(bed.a.counters().tcp_active_opens, 1);
    assert_eq!(bed.b.counters().tcp_passive_opens, 1);
}

/// Taken together events come as one by one, no more than are wanted, and none twice.
#[tokio::test]
async fn trace_events_are_taken_in_order_by_any_number() {
    let bed = bed_of(Capabilities::plain(1500), host_a().trace(1000), host_b());
    drop(connected(&bed).await);
    let first = soon(bed.a.next_trace()).await.unwrap();
    let mut events = vec![first];
    bed.a.take_trace(3, &mut events);
    assert_eq!(events.len(), 3);
    bed.a.take_trace(3, &mut events);
    assert_eq!(events.len(), 3, "it holds what was wanted");
    events.extend(bed.a.poll_trace());
    bed.a.take_trace(usize::MAX, &mut events);
    let states: Vec<_> = events
        .iter()
        .filter_map(|event| match event.kind {
            finack::core::trace::TraceKind::State { to, .. } => Some(to),
            _ => None,
        })
        .collect();
    assert!(events.is_sorted_by_key(|event| event.at));
    assert_eq!(states[..2], [State::SynSent, State::Established]);
    assert!(bed.a.poll_trace().is_none());
}

#[tokio::test]
async fn a_listeners_options_can_change_while_it_listens() {
    let bed = bed();
    let listener = TcpListener::bind_on(&bed.b, (B, 80)).await.unwrap();
    assert_eq!(listener.ttl().unwrap(), 64);
    listener.set_ttl(40).unwrap();
    let mut options = listener.options();
    options.nodelay = true;
    listener.set_options(options).unwrap();
    let _client = soon(TcpStream::connect_on(&bed.a, (B, 80))).await.unwrap();
    let (server, _) = soon(listener.accept()).await.unwrap();
    assert_eq!((server.ttl().unwrap(), server.nodelay().unwrap()), (40, true));
    assert_eq!(kind(listener.set_ttl(0)), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_setting_changes_while_the_network_runs() {
    let bed = bed();
    bed.a.set_sysctl("ip_default_ttl", "17").unwrap();
    let (client, _server) = connected(&bed).await;
    assert_eq!(client.ttl().unwrap(), 17);
    assert!(bed.a.set_sysctl("ip_default_ttl", "0").is_err());
    assert!(bed.a.set_sysctl("no_such_thing", "1").is_err());
}

/// The port and the initial sequence number of the first SYN of a host that was given no secret.
async fn first_syn() -> (u16, u32) {
    let (left, mut right) = finack::device::pair(Capabilities::plain(1500)).unwrap();
    let host = finack::Net::builder().address(common::A, 24).build(left).unwrap();
    let connecting = tokio::spawn(async move { TcpStream::connect_on(&host, nobody()).await.map(drop) });
    let syn = soon(async {
        let mut batch = Vec::new();
        while batch.is_empty() {
            tokio::task::yield_now().await;
            let _ = right.recv_batch(&mut batch, 1);
        }
        batch[0].bytes.as_slice().to_vec()
    })
    .await;
    connecting.abort();
    (u16::from_be_bytes([syn[20], syn[21]]), u32::from_be_bytes([syn[24], syn[25], syn[26], syn[27]]))
}

/// RFC 6528 4: the secret is drawn anew for each host. With one secret both would choose the same port and, within the second, nearly the
/// same sequence number.
#[tokio::test]
async fn hosts_draw_their_own_secrets() {
    let (a, b) = (first_syn().await, first_syn().await);
    assert!(a.0 != b.0 || a.1.abs_diff(b.1) > 1_000_000, "{a:?}, {b:?}");
}
