//! Keys through socket options: what Linux's structures say before, while and after a connection uses them.

use super::*;

const MD5SIG_LEN: usize = 216;
const AO_ADD_LEN: usize = 288;

fn set_bytes(fd: Fd, name: i64, value: Vec<u8>) -> Call {
    Call::SetOption { fd, level: abi::IPPROTO_TCP, name, value }
}

/// `struct tcp_md5sig` for 127.0.0.1.
fn md5(key: &[u8]) -> Vec<u8> {
    let mut value = crate::options::auth::storage([127, 0, 0, 1].into());
    value.extend([0, 0]);
    value.extend((key.len() as u16).to_le_bytes());
    value.extend([0; 4]);
    value.extend(key);
    value.resize(MD5SIG_LEN, 0);
    value
}

/// `struct tcp_ao_add` for 127.0.0.1.
fn ao(send_id: u8, recv_id: u8, key: &[u8]) -> Vec<u8> {
    let mut value = crate::options::auth::storage([127, 0, 0, 1].into());
    value.extend(b"hmac(sha1)");
    value.resize(202, 0);
    value.extend([32, send_id, recv_id, 0, 0, key.len() as u8]);
    value.extend(key);
    value.resize(AO_ADD_LEN, 0);
    value
}

fn bytes(h: &mut Host, fd: Fd, name: i64, len: usize) -> Result<Vec<u8>, Errno> {
    match h.done(Call::GetOption { fd, level: abi::IPPROTO_TCP, name, len })? {
        Reply::Option(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

fn count(info: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(info[8 + at * 8..16 + at * 8].try_into().unwrap())
}

/// A connection within the host, each end with its keys.
fn connected(h: &mut Host, ours: Option<Vec<u8>>, theirs: Vec<u8>, name: i64) -> (Fd, Option<Fd>) {
    let listener = h.stream();
    h.ok(set_bytes(listener, name, theirs));
    h.ok(Call::Bind(listener, address("127.0.0.1:179")));
    h.ok(Call::Listen(listener, 8));
    let client = h.nonblocking();
    if let Some(ours) = ours {
        h.ok(set_bytes(client, name, ours));
    }
    assert_eq!(h.err(Call::Connect(client, address("127.0.0.1:179"))), Errno::EINPROGRESS);
    h.run();
    let ready = matches!(h.call(Call::Accept(listener, 0)), Outcome::Done(Ok(_)));
    (client, ready.then_some(client + 1))
}

/// RFC 2385 2.0: who has the key gets through, who has another or none waits in vain.
#[test]
fn the_key_opens() {
    for (ours, opens) in [(Some(md5(b"good")), true), (Some(md5(b"bad")), false), (None, false)] {
        let mut h = Host::new();
        let (client, server) = connected(&mut h, ours, md5(b"good"), abi::TCP_MD5SIG);
        assert_eq!(server.is_some(), opens);
        if let Some(server) = server {
            h.ok(write(client, b"signed"));
            h.run();
            assert_eq!(h.data(read(server, 100)), b"signed");
        }
        assert_eq!(
            bytes(&mut h, client, abi::TCP_MD5SIG, 216),
            Err(Errno::ENOPROTOOPT),
            "keys of MD5 are not told"
        );
    }
}

/// RFC 5925 7.1: STATUS tells the keys, those in use, those of the segment that came last, and what was dropped (7.3).
#[test]
fn status_tells_of_keys_and_drops() {
    let mut h = Host::new();
    let (client, server) =
        connected(&mut h, Some(ao(1, 2, b"secret")), ao(2, 1, b"secret"), abi::TCP_AO_ADD_KEY);
    let server = server.unwrap();
    h.ok(write(client, b"signed"));
    h.run();
    assert_eq!(h.data(read(server, 100)), b"signed");
    let info = bytes(&mut h, client, abi::TCP_AO_INFO, 48).unwrap();
    assert_eq!((info.len(), info[0], info[6], info[7]), (48, 3, 1, 2), "current_key and rnext are set");
    assert!(count(&info, 0) >= 2 && (1..5).all(|at| count(&info, at) == 0), "{info:?}");
    let keys = bytes(&mut h, client, abi::TCP_AO_GET_KEYS, 1000).unwrap();
    assert_eq!(keys.len(), 304);
    assert_eq!((&keys[128..138], &keys[192..198]), (&b"hmac(sha1)"[..], &b"secret"[..]));
    assert_eq!((&keys[272..274], keys[276], &keys[278..284]), (&[1, 0][..], 3, &[1, 2, 32, 12, 0, 6][..]));
    assert_eq!(bytes(&mut h, client, abi::TCP_AO_GET_KEYS, 303).unwrap(), [], "there is no room for one");
    let fd = h.stream();
    assert_eq!(bytes(&mut h, fd, abi::TCP_AO_INFO, 48), Err(Errno::ENOENT));
}

/// As on Linux: what TCP-AO needs is decided at the SYN, reserved fields are zero, and a longer structure than is
/// known must have nothing in what is unknown.
#[test]
fn keys_that_make_no_sense_are_refused() {
    let mut h = Host::new();
    let fd = h.stream();
    let mut add = |value: Vec<u8>| h.done(set_bytes(fd, abi::TCP_AO_ADD_KEY, value)).err();
    let changed = |at: usize, byte: u8| {
        let mut value = ao(1, 2, b"secret");
        value[at] = byte;
        value
    };
    for (at, byte, error) in [
        (0, 10, Errno::EINVAL),   // another family
        (2, 1, Errno::EINVAL),    // a port
        (128, 0, Errno::ENOENT),  // no algorithm
        (192, 1, Errno::EINVAL),  // an interface
        (196, 4, Errno::EINVAL),  // reserved
        (200, 1, Errno::EINVAL),  // reserved
        (202, 33, Errno::EINVAL), // more bits than there are
        (202, 8, Errno::EINVAL),  // address bits behind the prefix
        (202, 0, Errno::EINVAL),  // an address with no prefix
        (205, 17, Errno::EMSGSIZE),
        (206, 128, Errno::EINVAL),
        (207, 0, Errno::EINVAL),
        (207, 81, Errno::EINVAL),
    ] {
        assert_eq!(add(changed(at, byte)), Some(error), "byte {at} is {byte}");
    }
    let mut long = ao(1, 2, b"secret");
    long.extend([0, 0, 0, 1]);
    assert_eq!(add(long.clone()), Some(Errno::E2BIG));
    long[AO_ADD_LEN + 3] = 0;
    assert_eq!(add(long), None);
    assert_eq!(add(ao(1, 2, b"secret")), Some(Errno::EEXIST));
    assert_eq!(h.err(set_bytes(fd, abi::TCP_MD5SIG, md5(b"secret"))), Errno::EKEYREJECTED);
    assert_eq!(h.err(Call::Connect(fd, address("127.0.0.2:179"))), Errno::EKEYREJECTED);
}
