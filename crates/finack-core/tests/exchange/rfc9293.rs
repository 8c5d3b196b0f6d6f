//! Requirements of RFC 9293 that no other topic shows.

use core::net::SocketAddr;

use finack_core::Stack;
use finack_core::device::Packet;
use finack_core::options::{BindOptions, SendFlags, SocketOptions};
use finack_core::stack::InterfaceAddress;
use finack_sim::packet::{build, flag, v4};
use finack_sim::{Script, Setup};

use crate::support::segment;

/// RFC 9293 MUST-58, MUST-59: segments that arrive together are all processed before one ACK answers them.
#[test]
fn a_batch_gets_one_ack() {
    let mut t = Setup::new().options(|o| o.quickack = true).server();
    let c = t.accepted();
    let bytes: Vec<Vec<u8>> = (0..6_u32)
        .map(|i| build(&t.segment(&format!(". {}:{}(1000) ack 1", 1 + i * 1000, 1001 + i * 1000))))
        .collect();
    let batch: Vec<Packet<'_>> = bytes.iter().map(|b| Packet::borrowed(b)).collect();
    t.inject_batch(&batch);
    t.expect(". 1:1(0) ack 6001");
    t.expect_nothing();
    t.read(c, 6000);
    t.pass_ms(500);
}

/// A host with two addresses, 10.0.0.1 and 10.0.0.9.
fn with_two_addresses() -> Script {
    let mut t = Setup::new().bare();
    let mut config = Setup::new().config();
    config.addresses.push(InterfaceAddress { addr: v4(9), prefix_len: 24 });
    t.stack = Stack::new(t.now(), config);
    t
}

/// RFC 9293 MUST-43: who binds to an address connects from it, also where the host would choose another.
#[test]
fn an_active_open_from_a_given_address() {
    let mut t = with_two_addresses();
    let (local, remote) = (SocketAddr::new(v4(9), 5000), SocketAddr::new(v4(2), 80));
    t.tuple(local, remote);
    t.bind_connect(BindOptions::default()).unwrap();
    assert_eq!(t.next_sent().packet.from(), local);
}

/// RFC 9293 MUST-44: who does not gets the address that the IP layer selects.
#[test]
fn an_active_open_from_any_address() {
    let mut t = with_two_addresses();
    t.stack.tcp_connect(t.now(), None, SocketAddr::new(v4(2), 80), SocketOptions::default()).unwrap();
    t.pump();
    assert_eq!(t.next_sent().packet.ip.src, v4(1));
}

/// RFC 9293 MUST-45: a listener on all addresses answers from the one that the SYN was sent to, and so does all that follows.
#[test]
fn a_passive_open_keeps_the_address_that_was_called() {
    let mut t = with_two_addresses();
    let peer = SocketAddr::new(v4(2), 40_000);
    t.tuple("0.0.0.0:80".parse().unwrap(), peer);
    t.listen();
    t.tuple(SocketAddr::new(v4(9), 80), peer);
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    assert_eq!(t.next_sent().packet.from(), SocketAddr::new(v4(9), 80));
    t.inject(". 1:1(0) ack 1");
    let listener = t.listener.unwrap();
    let (c, _) = t.stack.tcp_accept(t.now(), listener).unwrap();
    t.stack.tcp_send(t.now(), c, &[0; 10], SendFlags::default()).unwrap();
    t.flow().check_payload = false;
    t.pump();
    let again = t.pass_ms(5000);
    assert!(again.len() >= 3, "the data and its repetitions");
    for sent in again {
        assert_eq!(sent.packet.from(), SocketAddr::new(v4(9), 80));
        assert!(segment(&sent).has(flag::ACK));
    }
}
