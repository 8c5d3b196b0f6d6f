use super::*;
use crate::plan::{GATEWAY_V4, HELLO_V4, HELLO_V6, HOST_V4, HOST_V6};

fn answer(query: &[u8], transport: Transport) -> Option<Answer> {
    super::answer(&Names::default(), query, transport)
}

/// A query as a resolver writes it: RD set, one question, perhaps an OPT.
fn query(name: &str, qtype: u16, edns: Option<u16>) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    out.extend_from_slice(&message::encode_name(name));
    out.extend_from_slice(&qtype.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    if let Some(size) = edns {
        out.extend_from_slice(&[0, 0, 41]);
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
    }
    out
}

fn ask(name: &str, qtype: u16) -> Answer {
    answer(&query(name, qtype, None), Transport::Udp).unwrap()
}

fn rcode(answer: &Answer) -> u8 {
    answer.message[3] & 15
}

fn counts(answer: &Answer) -> [u8; 4] {
    let m = &answer.message;
    [m[5], m[7], m[9], m[11]]
}

#[test]
fn a_and_aaaa_of_hello_are_its_addresses() {
    let a = ask("hello.finack", rtype::A);
    assert_eq!((rcode(&a), counts(&a), a.outcome), (0, [1, 1, 0, 0], Outcome::Found));
    assert!(a.message.ends_with(&HELLO_V4.octets()));
    assert_eq!(a.message[..4], [0x12, 0x34, 0x85, 0x80], "QR, AA, RD copied, RA");
    let aaaa = ask("hello.finack", rtype::AAAA);
    assert!(aaaa.message.ends_with(&HELLO_V6.octets()));
}

#[test]
fn the_question_comes_back_in_the_case_it_was_asked_in() {
    let a = ask("HeLLo.FinAck", rtype::A);
    assert_eq!(a.outcome, Outcome::Found);
    assert!(a.message.windows(6).any(|w| w == b"\x05HeLLo"));
}

#[test]
fn other_types_have_no_data_and_the_soa_says_for_how_long() {
    for qtype in [15, 16, 65] {
        let none = ask("hello.finack", qtype);
        assert_eq!((rcode(&none), counts(&none), none.outcome), (0, [1, 0, 1, 0], Outcome::NoData));
        assert!(none.message.ends_with(&TTL.to_be_bytes()));
    }
}

#[test]
fn any_gives_everything_there_is() {
    assert_eq!(counts(&ask("hello.finack", rtype::ANY)), [1, 2, 0, 0]);
    assert_eq!(counts(&ask("finack", rtype::ANY)), [1, 4, 0, 0]);
}

#[test]
fn unknown_names_do_not_exist_inside_nor_outside() {
    let inside = ask("nobody.finack", rtype::A);
    assert_eq!((rcode(&inside), counts(&inside), inside.outcome), (3, [1, 0, 1, 0], Outcome::NoSuchName));
    let outside = ask("example.com", rtype::A);
    assert_eq!((rcode(&outside), counts(&outside), outside.outcome), (3, [1, 0, 0, 0], Outcome::Outside));
}

#[test]
fn ptr_names_the_address() {
    let ptr = ask("1.0.18.198.in-addr.arpa", rtype::PTR);
    assert_eq!(ptr.outcome, Outcome::Found);
    assert!(ptr.message.ends_with(b"\x06finack\0"), "{GATEWAY_V4} is shown by its first name");
    let nibbles: String =
        HELLO_V6.octets().iter().rev().map(|b| format!("{:x}.{:x}.", b & 15, b >> 4)).collect();
    let ptr = ask(&format!("{nibbles}ip6.arpa"), rtype::PTR);
    assert!(ptr.message.ends_with(b"\x05hello\x06finack\0"));
    assert_eq!(ask("8.0.18.198.in-addr.arpa", rtype::PTR).outcome, Outcome::NoSuchName);
    assert_eq!(ask("7.2.0.192.in-addr.arpa", rtype::PTR).outcome, Outcome::Outside);
    assert_eq!(ask("80.0.18.198.in-addr.arpa", rtype::A).outcome, Outcome::NoData);
}

#[test]
fn edns_is_answered_with_edns_and_a_newer_version_with_badvers() {
    let answered = answer(&query("hello.finack", rtype::A, Some(4096)), Transport::Udp).unwrap();
    assert_eq!(counts(&answered), [1, 1, 0, 1]);
    let mut newer = query("hello.finack", rtype::A, Some(4096));
    let version = newer.len() - 5;
    newer[version] = 1;
    let refused = answer(&newer, Transport::Udp).unwrap();
    let opt = &refused.message[refused.message.len() - 11..];
    assert_eq!((opt[5], rcode(&refused), refused.outcome), (1, 0, Outcome::NotServed));
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    // RFC 1035 4.2.1: 512 bytes; RFC 2181 9: no partial set of records.
    let wire = query("finack", rtype::ANY, None);
    let header = message::Header::parse(&wire).unwrap();
    let parsed = Query::parse(&header, &wire).ok().unwrap();
    let mut reply = Reply::to(&header, &parsed);
    for _ in 0..40 {
        reply.record(rtype::A, TTL, &[10, 0, 0, 1]);
    }
    let cut = reply.finish(UDP_LIMIT);
    assert_eq!((cut[2] & 2, cut[7]), (2, 0));
    assert!(cut.len() <= UDP_LIMIT);
}

#[test]
fn malformed_messages_get_formerr_and_never_a_panic() {
    let good = query("hello.finack", rtype::A, Some(1232));
    for len in 0..good.len() {
        match answer(&good[..len], Transport::Udp) {
            None => assert!(len < 12, "{len}"),
            Some(a) => assert_eq!((rcode(&a), a.outcome), (1, Outcome::Malformed), "{len}"),
        }
    }
    let mut pointer = good.clone();
    pointer[12] = 0xc0;
    assert_eq!(answer(&pointer, Transport::Udp).unwrap().outcome, Outcome::Malformed);
    let mut two = good.clone();
    two[5] = 2;
    assert_eq!(answer(&two, Transport::Udp).unwrap().outcome, Outcome::Malformed);
    let long = query(&["a".repeat(63).as_str(); 4].join("."), rtype::A, None);
    assert_eq!(answer(&long, Transport::Udp).unwrap().outcome, Outcome::Malformed, "256 octets");
}

#[test]
fn responses_are_not_answered_and_other_operations_not_implemented() {
    let mut response = query("hello.finack", rtype::A, None);
    response[2] |= 0x80;
    assert_eq!(answer(&response, Transport::Udp), None);
    let mut status = query("hello.finack", rtype::A, None);
    status[2] |= 2 << 3;
    assert_eq!(rcode(&answer(&status, Transport::Udp).unwrap()), 4);
    let mut chaos = query("hello.finack", rtype::A, None);
    let class = chaos.len() - 1;
    chaos[class] = 3;
    assert_eq!(rcode(&answer(&chaos, Transport::Udp).unwrap()), 5);
}

#[test]
fn names_shown_hold_no_control_characters() {
    let mut evil = query("hello.finack", rtype::A, None);
    evil[13] = 0x1b;
    assert_eq!(answer(&evil, Transport::Udp).unwrap().name, "?ello.finack");
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let mut bytes = query("hello.finack", rtype::A, Some(1232));
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = usize::try_from(state % bytes.len() as u64).unwrap();
            bytes[at] = (state >> 32) as u8;
        }
        if let Some(a) = answer(&bytes, Transport::Udp) {
            assert!(a.message.len() <= EDNS_LIMIT);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_carries_many_questions_each_after_its_length() {
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut client, server) = tokio::io::duplex(4096);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&asked);
    let names = NameServer::new(Names::default(), None, move |a| seen.borrow_mut().push(a.name.clone()));
    let client = async {
        for _ in 0..2 {
            let wire = query("hello.finack", rtype::A, None);
            let split = wire.len() / 2;
            client.write_all(&(wire.len() as u16).to_be_bytes()).await.unwrap();
            client.write_all(&wire[..split]).await.unwrap();
            client.flush().await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(&wire[split..]).await.unwrap();
            let len = client.read_u16().await.unwrap();
            let mut reply = vec![0; usize::from(len)];
            client.read_exact(&mut reply).await.unwrap();
            assert!(reply.ends_with(&HELLO_V4.octets()));
        }
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the end comes back");
    };
    let (served, ()) = tokio::join!(serve_stream(server, names), client);
    served.unwrap();
    assert_eq!(*asked.borrow(), ["hello.finack", "hello.finack"]);
}

#[test]
fn a_name_for_the_host_has_both_addresses_and_the_way_back() {
    let names = Names::with_host(["lo.host".to_owned()]);
    let ask = |name: &str, qtype| super::answer(&names, &query(name, qtype, None), Transport::Udp).unwrap();
    let v4 = ask("LO.host", rtype::A);
    assert_eq!(v4.outcome, Outcome::Found);
    assert!(v4.message.ends_with(&HOST_V4.octets()));
    assert!(ask("lo.host", rtype::AAAA).message.ends_with(&HOST_V6.octets()));
    let back = ask("254.0.18.198.in-addr.arpa", rtype::PTR);
    assert_eq!(back.outcome, Outcome::Found);
    assert!(back.message.windows(9).any(|w| w == b"\x02lo\x04host\0"));
    assert_eq!(ask("lo.host", rtype::SOA).outcome, Outcome::NoData);
}

#[test]
fn what_is_cut_short_is_whole_over_tcp() {
    // RFC 1035 4.2.1, RFC 7766 5: TC, and then the same question over TCP.
    for edns in [None, Some(4096)] {
        let wire = query("truncated-dns.FINACK", rtype::A, edns);
        let cut = answer(&wire, Transport::Udp).unwrap();
        assert_eq!((rcode(&cut), &counts(&cut)[..3], cut.outcome), (0, &[1, 0, 0][..], Outcome::CutShort));
        assert_eq!(cut.message[2] & 2, 2, "TC");
        let whole = answer(&wire, Transport::Tcp).unwrap();
        assert_eq!((counts(&whole)[1], whole.message[2] & 2, whole.outcome), (1, 0, Outcome::Found));
    }
    let cut = cut_short(&query("hello.finack", rtype::A, None)).unwrap();
    assert_eq!((counts(&cut), cut.message[2] & 2), ([1, 0, 0, 0], 2));
    assert_eq!(cut_short(b"too short"), None);
    assert_eq!(rcode(&cut_short(&[0; 12]).unwrap()), message::FORMERR);
}
