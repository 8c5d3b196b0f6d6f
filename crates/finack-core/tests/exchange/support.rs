//! What several topics need.

use finack_core::stack::ConnId;
use finack_sim::packet::Tcp;
use finack_sim::{Script, Sent};

/// The relative sequence number and payload length of what was sent.
pub(crate) fn place(t: &Script, sent: &Sent) -> (u32, u32) {
    let tcp = segment(sent);
    (tcp.seq.wrapping_sub(t.stack_iss()), tcp.payload.len() as u32)
}

/// The TCP segment that was sent.
#[track_caller]
pub(crate) fn segment(sent: &Sent) -> &Tcp {
    sent.packet.as_tcp().expect("a TCP segment")
}

/// The next thing the stack sends, so many milliseconds from now, asks for an ACK at `una`: it is empty and lies one
/// below, or carries one byte (a window probe in either of the two common forms, RFC 9293 3.8.6.1).
#[track_caller]
pub(crate) fn expect_probe(t: &mut Script, ms: core::ops::RangeInclusive<u64>, una: u32) {
    t.await_packet(ms, "a probe");
    let sent = t.next_sent();
    let place = place(t, &sent);
    assert!(place == (una - 1, 0) || place == (una, 1), "a probe of {una}, not {place:?}");
}

/// The peer acknowledges all up to `ack`, one segment of 1460 bytes at a time, until the stack's `len` bytes
/// have all been sent and acknowledged.
#[track_caller]
pub(crate) fn drain(t: &mut Script, mut una: u32, end: u32) {
    let mut rounds = 0;
    while una < end {
        rounds += 1;
        assert!(rounds < 100_000, "no progress at {una} of {end}");
        let sent = t.take_sent();
        let sent = if sent.is_empty() { t.pass_ms(1000) } else { sent };
        assert!(
            !sent.iter().any(|s| segment(s).has(finack_sim::packet::flag::RST)),
            "a RST at {una} of {end}"
        );
        let top = sent.iter().map(|s| place(t, s)).map(|(seq, len)| seq + len).max().unwrap_or(una);
        una = una.max(top);
        t.inject(&format!(". 1:1(0) ack {una}"));
    }
}

/// Everything is over: no connection in any state and nothing left to do.
#[track_caller]
pub(crate) fn expect_gone(t: &Script) {
    assert_eq!(t.connections(), 0, "no connection is left: {:?}", t.stack.count_by_state());
}

/// The handle answers nothing any more.
#[track_caller]
pub(crate) fn expect_spent(t: &Script, conn: ConnId) {
    assert_eq!(t.stack.tcp_state(conn), Err(finack_core::Error::BadHandle));
}
