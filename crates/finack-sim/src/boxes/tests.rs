use core::net::SocketAddr;
use core::time::Duration;

use finack_core::Instant;

use super::*;
use crate::link::{Chance, TextError};
use crate::packet::{Body, Icmp, Opt, Tcp, build, flag, parse, v4, v6};

const START: Instant = Instant::from_secs(1);

fn after(secs: u64) -> Instant {
    START + Duration::from_secs(secs)
}

fn inner() -> SocketAddr {
    SocketAddr::new(v4(1), 5000)
}

fn outer() -> SocketAddr {
    SocketAddr::new(v4(2), 80)
}

fn tcp(flags: u16, payload: &[u8]) -> Tcp {
    Tcp { seq: 1000, ack: 500, flags, window: 4000, payload: payload.to_vec(), ..Tcp::default() }
}

fn packet(flags: u16, payload: &[u8]) -> Pkt {
    Pkt::tcp(inner(), outer(), tcp(flags, payload))
}

fn running(text: &str) -> Running {
    Running::new(&text.parse().unwrap_or_else(|e: TextError| panic!("{text}: {e}")), 1, 0)
}

fn pass(b: &mut Running, now: Instant, outward: bool, packet: &Pkt) -> Vec<Pkt> {
    let mut out = Vec::new();
    b.pass(now, outward, packet.clone(), &mut out);
    for sent in &out {
        let bytes = build(sent);
        assert_eq!(parse(&bytes).map(|p| build(&p)), Ok(bytes), "a box sends sound packets");
    }
    out
}

/// RFC 5382 REQ-1, RFC 4787: out with the NAT's address and port, back to the inner end; what nobody asked for is dropped.
#[test]
fn a_nat_translates() {
    let mut nat = running("nat(idle=60s)");
    let out = pass(&mut nat, START, true, &packet(flag::SYN, b""));
    let outside = out[0].from();
    assert_eq!((outside.ip(), out[0].to()), ([100, 64, 0, 1].into(), outer()));
    assert_ne!(outside.port(), inner().port(), "the port is another one");
    let reply = Pkt::tcp(outer(), outside, tcp(flag::SYN | flag::ACK, b""));
    let back = pass(&mut nat, after(1), false, &reply);
    assert_eq!((back[0].from(), back[0].to()), (outer(), inner()));
    let stranger = Pkt::tcp(SocketAddr::new(v4(3), 80), outside, tcp(flag::ACK, b"x"));
    assert_eq!(pass(&mut nat, after(1), false, &stranger), []);
    let elsewhere = Pkt::tcp(outer(), SocketAddr::new(outside.ip(), 9), tcp(flag::ACK, b"x"));
    assert_eq!(pass(&mut nat, after(1), false, &elsewhere), []);
}

/// A mapping ends when nothing passes for its time; what the inner end then sends comes from another port.
#[test]
fn a_nat_forgets() {
    let mut nat = running("nat(idle=60s)");
    let first = pass(&mut nat, START, true, &packet(flag::SYN, b""))[0].from();
    assert_eq!(pass(&mut nat, after(60), true, &packet(flag::ACK, b"x"))[0].from(), first);
    let late = Pkt::tcp(outer(), first, tcp(flag::ACK, b"y"));
    assert_eq!(pass(&mut nat, after(121), false, &late), []);
    let next = pass(&mut nat, after(122), true, &packet(flag::ACK, b"x"))[0].from();
    assert_ne!(next, first);
}

/// With keep-ports an inner port is kept where it is free: of two hosts behind the NAT one has its own.
#[test]
fn a_nat_keeps_ports_where_it_can() {
    let mut nat = running("nat(keep-ports)");
    let one = pass(&mut nat, START, true, &packet(flag::SYN, b""))[0].from();
    assert_eq!(one.port(), inner().port());
    let other = Pkt::tcp(SocketAddr::new(v4(3), 5000), outer(), tcp(flag::SYN, b""));
    let two = pass(&mut nat, START, true, &other)[0].from();
    assert_ne!(two, one);
    assert_eq!(nat.flows(), 2);
}

/// RFC 5508 REQ-4: an ICMP error reaches the inner end with the packet that this sent in it; IPv6 passes untouched.
#[test]
fn a_nat_translates_errors() {
    let mut nat = running("nat");
    let sent = packet(flag::ACK, b"hello");
    let out = pass(&mut nat, START, true, &sent);
    let quoted = build(&out[0])[..28].to_vec();
    let error = Icmp { kind: 3, code: 4, rest: [0, 0, 5, 0], payload: quoted };
    let back = pass(&mut nat, START, false, &Pkt::icmp(v4(254), out[0].ip.src, error));
    let Body::Icmp(icmp) = &back[0].body else { panic!("{back:?}") };
    assert_eq!(back[0].ip.dst, inner().ip());
    assert_eq!(icmp.payload[12..16], build(&sent)[12..16], "its own address");
    assert_eq!(icmp.payload[20..24], build(&sent)[20..24], "its own port");
    assert_eq!(icmp.payload[10..12], build(&sent)[10..12], "and a right checksum");
    let six = Pkt::tcp(SocketAddr::new(v6(1), 1), SocketAddr::new(v6(2), 2), tcp(flag::ACK, b"x"));
    assert_eq!(pass(&mut nat, START, true, &six), std::slice::from_ref(&six));
}

/// The table is bounded: with the next conversation the one that was quiet for longest is forgotten.
#[test]
fn a_nat_is_bounded() {
    let mut nat = running("nat");
    let from = |i: usize| SocketAddr::new(v4((1 + i % 200) as u8), 1000 + (i / 200) as u16);
    for i in 0..=MOST_FLOWS {
        let at = START + Duration::from_millis(i as u64);
        assert_eq!(pass(&mut nat, at, true, &Pkt::tcp(from(i), outer(), tcp(flag::SYN, b""))).len(), 1);
    }
    assert_eq!(nat.flows(), MOST_FLOWS);
}

/// A firewall lets pass what a SYN opened, until it has been quiet for too long.
#[test]
fn a_firewall_times_out() {
    for (answer, expected) in [("none", 0), ("rst", 1), ("icmp", 1)] {
        let mut wall = running(&format!("firewall(idle=10s,answer={answer})"));
        assert_eq!(pass(&mut wall, START, true, &packet(flag::SYN, b"")).len(), 1);
        assert_eq!(pass(&mut wall, after(9), true, &packet(flag::ACK, b"x")), [packet(flag::ACK, b"x")]);
        let answers = pass(&mut wall, after(20), true, &packet(flag::ACK, b"x"));
        assert_eq!(answers.len(), expected, "{answer}");
        let Some(answered) = answers.first() else { continue };
        assert_eq!(answered.ip.dst, inner().ip(), "to who sent it");
        match &answered.body {
            Body::Tcp(rst) => assert_eq!((rst.flags, rst.seq), (flag::RST, 500), "RFC 9293 3.10.7.1"),
            Body::Icmp(icmp) => assert_eq!((icmp.kind, icmp.code), (3, 13)),
            body => panic!("{body:?}"),
        }
        let rst = packet(flag::RST, b"");
        assert_eq!(pass(&mut wall, after(40), true, &rst), [], "a RST is never answered");
    }
}

#[test]
fn a_firewall_and_syns() {
    let mut wall = running("firewall(syn=lose-first)");
    assert_eq!(pass(&mut wall, START, true, &packet(flag::SYN, b"")), []);
    assert_eq!(pass(&mut wall, START, true, &packet(flag::ACK, b"x")), [], "nothing is open yet");
    let mut wall = running("firewall(syn=lose-first)");
    pass(&mut wall, START, true, &packet(flag::SYN, b""));
    assert_eq!(pass(&mut wall, after(1), true, &packet(flag::SYN, b"")).len(), 1);
    let mut wall = running("firewall(syn=refuse,answer=rst)");
    let answered = pass(&mut wall, START, true, &packet(flag::SYN, b""));
    let rst = answered[0].as_tcp().unwrap();
    assert_eq!((rst.flags, rst.seq, rst.ack), (flag::RST | flag::ACK, 0, 1001), "RFC 9293 3.10.7.1");
}

fn only(b: &mut Running, packet: &Pkt) -> Pkt {
    let mut out = pass(b, START, true, packet);
    assert_eq!(out.len(), 1);
    out.remove(0)
}

#[test]
fn options_are_stripped_by_kind() {
    let mut syn = packet(flag::SYN, b"");
    let options =
        vec![Opt::Mss(1460), Opt::SackOk, Opt::Ts { val: 1, ecr: 0 }, Opt::Wscale(7), Opt::Other(34, vec![])];
    let Body::Tcp(tcp) = &mut syn.body else { unreachable!() };
    tcp.options = options.clone();
    let left = only(&mut running("strip(ts,4,tfo)"), &syn);
    assert_eq!(left.as_tcp().unwrap().options, [Opt::Mss(1460), Opt::Wscale(7)]);
    let clamped = only(&mut running("mss(1200)"), &syn);
    assert_eq!(clamped.as_tcp().unwrap().mss(), Some(1200));
    let kept = only(&mut running("mss(9000)"), &syn);
    assert_eq!(kept.as_tcp().unwrap().mss(), Some(1460), "it is lowered, never raised");
    assert_eq!(only(&mut running("window(300)"), &syn).as_tcp().unwrap().window, 300);
}

#[test]
fn what_is_done_to_ecn() {
    let cases = [
        ("bleach", [0, 0, 0, 0]),
        ("unmark", [0, 1, 2, 2]),
        ("to-ect1", [0, 1, 1, 3]),
        ("ce=100%", [0, 3, 3, 3]),
        ("force=100%", [3, 3, 3, 3]),
        ("clear-flags", [0, 1, 2, 3]),
    ];
    for (word, expected) in cases {
        for (before, after) in (0..4).zip(expected) {
            let mut sent = packet(flag::ACK | flag::ECE | flag::CWR | flag::AE, b"x");
            sent.ip.tos = 0x20 | before;
            let left = only(&mut running(&format!("ecn({word})")), &sent);
            assert_eq!(left.ip.tos, 0x20 | after, "{word} of {before}");
            let flags = if word == "clear-flags" { flag::ACK } else { sent.as_tcp().unwrap().flags };
            assert_eq!(left.as_tcp().unwrap().flags, flags);
        }
    }
    let syn = packet(flag::SYN | flag::ECE | flag::CWR, b"");
    assert_eq!(only(&mut running("ecn(clear-syn-flags)"), &syn).as_tcp().unwrap().flags, flag::SYN);
}

/// Marks fall on about as many packets as was said.
#[test]
fn a_share_is_marked() {
    let mut marks = running("ecn(ce=10%)");
    let mut sent = packet(flag::ACK, b"x");
    sent.ip.tos = 2;
    let marked = (0..10_000).filter(|_| only(&mut marks, &sent).ip.tos == 3).count();
    assert!((900..1100).contains(&marked), "{marked} of 10000");
    assert_eq!(Chance::percent(10.0).to_string(), "10%");
}

/// Sequence numbers are moved by the same amount in whatever goes that way and in what acknowledges it, SACK blocks too
/// where the box knows of them.
#[test]
fn sequence_numbers_are_moved() {
    for (text, knows) in [("seq", true), ("seq(not-sack)", false)] {
        let mut b = running(text);
        let out = only(&mut b, &packet(flag::ACK, b"x"));
        let (seq, ack) = (out.as_tcp().unwrap().seq, out.as_tcp().unwrap().ack);
        assert_ne!(seq, 1000);
        let sack = vec![Opt::Nop, Opt::Nop, Opt::Sack(vec![(seq.wrapping_add(10), seq.wrapping_add(20))])];
        let acks = Tcp { seq: ack, ack: seq, flags: flag::ACK, options: sack, ..Tcp::default() };
        let back = pass(&mut b, START, false, &Pkt::tcp(outer(), inner(), acks));
        let back = back[0].as_tcp().unwrap();
        assert_eq!((back.seq, back.ack), (500, 1000));
        assert_eq!(back.sack() == [(1010, 1020)], knows);
    }
}

/// A segment in parts says what it said whole.
#[test]
fn segments_are_split() {
    let whole = packet(flag::ACK | flag::PSH | flag::FIN | flag::CWR, b"0123456789");
    let parts = pass(&mut running("split(4)"), START, true, &whole);
    let all: Vec<(u32, u16, &[u8])> =
        parts.iter().map(|p| p.as_tcp().unwrap()).map(|t| (t.seq, t.flags, t.payload.as_slice())).collect();
    let last = flag::ACK | flag::PSH | flag::FIN;
    let expected: [(u32, u16, &[u8]); 3] =
        [(1000, flag::ACK | flag::CWR, b"0123"), (1004, flag::ACK, b"4567"), (1008, last, b"89")];
    assert_eq!(all, expected);
}

/// Neighbours are joined up to the size; what does not follow, or has waited for its time, goes on by itself.
#[test]
fn segments_are_merged() {
    let mut merge = running("merge(20,hold=1ms)");
    let part = |seq: u32, payload: &[u8]| {
        let segment = Tcp { seq, ..tcp(flag::ACK, payload) };
        Pkt::tcp(inner(), outer(), segment)
    };
    assert_eq!(pass(&mut merge, START, true, &part(1000, b"0123456789")), []);
    assert_eq!(pass(&mut merge, START, true, &part(1010, b"abcde")), []);
    let whole = pass(&mut merge, START, true, &part(2000, b"far away"));
    assert_eq!(whole[0].as_tcp().unwrap().payload, b"0123456789abcde");
    assert_eq!(merge.next(), Some(START + Duration::from_millis(1)));
    let mut out = Vec::new();
    merge.timeout(START + Duration::from_millis(1), &mut out);
    assert_eq!(out, [part(2000, b"far away")]);
    assert_eq!(merge.next(), None);
    let fin = packet(flag::ACK | flag::FIN, b"");
    assert_eq!(
        pass(&mut merge, START, true, &fin),
        std::slice::from_ref(&fin),
        "nothing but text is kept back"
    );
}

/// What is printed of a box means the same when it is read; nonsense gets one line.
#[test]
fn boxes_as_text() {
    for text in [
        "nat(idle=60s,keep-ports)",
        "firewall(idle=10s,answer=icmp,syn=lose-first)",
        "strip(2,254)",
        "ecn(bleach)",
        "ecn(ce=0.5%)",
        "mss(1200)",
        "window(0)",
        "seq()",
        "seq(not-sack)",
        "split(100)",
        "merge(9000,hold=500us)",
    ] {
        let read: Middlebox = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(read.to_string(), text);
    }
    for (text, told) in [
        ("nta(idle=1s)", "\"nta\" is no box: did you mean nat?"),
        ("nat(idle=1s", "nat(idle=1s: the parenthesis is not closed"),
        ("nat(idel=1s)", "nat(idel=1s): \"idel=1s\" is not known: did you mean idle?"),
        ("firewall(answer=rts)", "firewall(answer=rts): \"rts\" is not known: did you mean rst?"),
        ("strip()", "strip(): takes options, by name or by kind, as strip(ts,sackok) or strip(8)"),
        (
            "strip(timestmp)",
            "strip(timestmp): \"timestmp\" is not known: known are mss, wscale, sackok, sack, ts, \
                             md5, ao, mptcp, tfo, accecn0, accecn1",
        ),
        ("mss(0)", "mss(0): 0 is too small: at least 1"),
        ("ecn(ce=200%)", "ecn(ce=200%): more than all: a probability is at most 100%"),
    ] {
        assert_eq!(text.parse::<Middlebox>().expect_err(text).to_string(), told);
    }
}
