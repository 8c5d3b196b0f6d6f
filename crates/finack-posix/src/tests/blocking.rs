use super::*;

#[test]
fn accept_waits_for_a_connection() {
    let mut h = Host::new();
    let listener = h.listener("127.0.0.1:80");
    let accepting = h.blocks(Call::Accept(listener, 0));
    assert_eq!(accepting.deadline(), None);
    let accepting = h.still_blocks(accepting);
    let client = h.stream();
    let connecting = h.blocks(Call::Connect(client, address("127.0.0.1:80")));
    h.run();
    assert!(matches!(h.returns(accepting), Ok(Reply::Accepted(5, _))));
    assert_eq!(h.returns(connecting), Ok(Reply::Number(0)));
}

#[test]
fn time_outs_end_what_waits() {
    let mut h = Host::new();
    let (listener, client, server) = h.connected();
    let half = [0_i64.to_le_bytes(), 500_000_i64.to_le_bytes()].concat();
    for (fd, name) in [(listener, abi::SO_RCVTIMEO), (server, abi::SO_RCVTIMEO), (client, abi::SO_SNDTIMEO)] {
        h.ok(Call::SetOption { fd, level: abi::SOL_SOCKET, name, value: half.clone() });
    }
    let accepting = h.blocks(Call::Accept(listener, 0));
    let reading = h.blocks(read(server, 10));
    let writing = h.blocks(write(client, &vec![0; 30_000_000]));
    let end = h.now + Duration::from_millis(500);
    assert_eq!(reading.deadline(), Some(end));
    h.pass(Duration::from_millis(499));
    let accepting = h.still_blocks(accepting);
    h.pass(Duration::from_millis(1));
    assert_eq!(h.returns(accepting), Err(Errno::EAGAIN));
    // What was taken until then counts.
    let Ok(Reply::Number(taken)) = h.returns(writing) else { panic!("nothing was taken") };
    assert!(taken > 10_000);
    let bad = [0_i64.to_le_bytes(), 1_000_000_i64.to_le_bytes()].concat();
    let set = Call::SetOption { fd: server, level: abi::SOL_SOCKET, name: abi::SO_RCVTIMEO, value: bad };
    assert_eq!(h.err(set), Errno::EDOM);
    let got = h.returns(reading);
    assert!(matches!(got, Ok(Reply::Received(r)) if r.count == 10));
}

#[test]
fn a_write_waits_until_all_of_it_is_queued() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writing = h.blocks(write(client, &data));
    let mut got = Vec::new();
    while got.len() < data.len() {
        h.pass(Duration::from_millis(1));
        if let Outcome::Done(Ok(Reply::Received(r))) = h.call(recv(server, 100_000, abi::MSG_DONTWAIT)) {
            got.extend(r.data);
        }
        match h.retry(writing) {
            Outcome::Blocked(still) => writing = still,
            Outcome::Done(answer) => {
                assert_eq!(answer, Ok(Reply::Number(3_000_000)));
                break;
            }
        }
    }
    while got.len() < data.len() {
        h.pass(Duration::from_millis(1));
        got.extend(h.data(recv(server, 1_000_000, abi::MSG_DONTWAIT)));
    }
    assert!(got == data);
}

/// A send that waited is one send: one completion, also where its time ran out.
#[test]
fn a_zero_copy_send_that_waits_completes_once() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(set(client, abi::SOL_SOCKET, abi::SO_ZEROCOPY, 1));
    let half = [0_i64.to_le_bytes(), 500_000_i64.to_le_bytes()].concat();
    h.ok(Call::SetOption { fd: client, level: abi::SOL_SOCKET, name: abi::SO_SNDTIMEO, value: half });
    let writing = h.blocks(send(client, &vec![7; 30_000_000], abi::MSG_ZEROCOPY));
    h.pass(Duration::from_millis(500));
    let Ok(Reply::Number(taken)) = h.returns(writing) else { panic!("nothing was taken") };
    assert!((10_000..30_000_000).contains(&taken));
    assert_eq!(h.err(recv(client, 0, abi::MSG_ERRQUEUE)), Errno::EAGAIN);
    let mut got = 0;
    while got < taken {
        got += h.data(recv(server, 1_000_000, abi::MSG_DONTWAIT)).len() as i64;
        h.pass(Duration::from_millis(10));
    }
    let told = h.received(recv(client, 0, abi::MSG_ERRQUEUE));
    let ControlData::Extended(error) = &told.control[0].data else { panic!("{told:?}") };
    assert_eq!((error.info, error.data), (0, 0));
    assert_eq!(h.err(recv(client, 0, abi::MSG_ERRQUEUE)), Errno::EAGAIN);
}

#[test]
fn a_write_that_must_not_wait_takes_what_fits() {
    let mut h = Host::new();
    let (_, client, _) = h.connected();
    let taken = h.ok(send(client, &vec![0; 30_000_000], abi::MSG_DONTWAIT));
    assert!(taken > 10_000 && taken < 30_000_000);
    h.run();
    while h.call(send(client, &[0; 4096], abi::MSG_DONTWAIT)) != Outcome::Done(Err(Errno::EAGAIN)) {
        h.run();
    }
}

#[test]
fn wait_all_gathers_until_the_buffer_is_full() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let reading = h.blocks(recv(server, 6, abi::MSG_WAITALL));
    h.ok(write(client, b"abc"));
    h.run();
    let reading = h.still_blocks(reading);
    h.ok(write(client, b"defg"));
    h.run();
    assert!(matches!(h.returns(reading), Ok(Reply::Received(r)) if r.data == b"abcdef"));
    // The end of the stream ends it early.
    let reading = h.blocks(recv(server, 6, abi::MSG_WAITALL));
    h.ok(Call::Shutdown(client, abi::SHUT_WR));
    h.run();
    assert!(matches!(h.returns(reading), Ok(Reply::Received(r)) if r.data == b"g"));
}

#[test]
fn an_error_behind_gathered_bytes_is_told_by_the_next_call() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let reading = h.blocks(recv(server, 100, abi::MSG_WAITALL));
    h.ok(write(client, b"abc"));
    h.run();
    let reading = h.still_blocks(reading);
    let linger = [1_i32.to_le_bytes(), 0_i32.to_le_bytes()].concat();
    h.ok(Call::SetOption { fd: client, level: abi::SOL_SOCKET, name: abi::SO_LINGER, value: linger });
    h.ok(Call::Close(client));
    h.run();
    assert!(matches!(h.returns(reading), Ok(Reply::Received(r)) if r.data == b"abc"));
    assert_eq!(h.err(read(server, 9)), Errno::ECONNRESET);
    assert_eq!(h.data(read(server, 9)), b"");
}

#[test]
fn a_low_water_mark_keeps_a_reader_waiting() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(set(server, abi::SOL_SOCKET, abi::SO_RCVLOWAT, 5));
    let reading = h.blocks(read(server, 100));
    h.ok(write(client, b"abc"));
    h.run();
    let reading = h.still_blocks(reading);
    assert_eq!(h.data(recv(server, 1, abi::MSG_PEEK | abi::MSG_DONTWAIT)), b"a");
    h.ok(write(client, b"de"));
    h.run();
    assert!(matches!(h.returns(reading), Ok(Reply::Received(r)) if r.data == b"abcde"));
}

/// SO_LINGER with a time: close returns once the peer has everything, or the time is up.
#[test]
fn close_lingers() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let linger = [1_i32.to_le_bytes(), 2_i32.to_le_bytes()].concat();
    h.ok(Call::SetOption { fd: client, level: abi::SOL_SOCKET, name: abi::SO_LINGER, value: linger });
    h.ok(write(client, b"abc"));
    let closing = h.blocks(Call::Close(client));
    assert_eq!(closing.deadline(), Some(h.now + Duration::from_secs(2)));
    assert_eq!(h.err(read(client, 1)), Errno::EBADF);
    h.run();
    h.pass(Duration::from_millis(50));
    assert_eq!(h.returns(closing), Ok(Reply::Number(0)));
    assert_eq!(h.data(read(server, 9)), b"abc");
    assert_eq!(h.data(read(server, 9)), b"");
}
