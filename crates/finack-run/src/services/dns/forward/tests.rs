use std::future::Future;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::super::{NameServer, Names, Verdict, serve_stream};
use super::*;

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(10);
/// The patience of the forwarders under test.
const PATIENCE: Duration = Duration::from_millis(200);

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend_from_slice(&[0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1]);
    out.extend_from_slice(&message::encode_name(name));
    out.extend_from_slice(&[0, 1, 0, 1]);
    // EDNS: 4096 bytes, DO.
    out.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
    out
}

/// An answer with one A record, and with the OPT of the question.
fn answer_to(query: &[u8]) -> Vec<u8> {
    let question = query.len() - 11;
    let mut out = query[..question].to_vec();
    out[2] |= 0x80;
    out[7] = 1;
    out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    out.extend_from_slice(&query[question..]);
    out
}

fn with_rcode(mut answer: Vec<u8>, rcode: u8) -> Vec<u8> {
    answer[3] = answer[3] & 0xf0 | rcode;
    answer
}

async fn server() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// The next question that a server gets.
async fn question(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buf = vec![0; 4096];
    let (len, from) = tokio::time::timeout(SOON, socket.recv_from(&mut buf)).await.unwrap().unwrap();
    buf.truncate(len);
    (buf, from)
}

/// Nobody listens there.
async fn closed() -> SocketAddr {
    server().await.1
}

fn forwarder(servers: &[SocketAddr]) -> (Rc<Forwarder>, Warnings) {
    let warnings = Warnings::default();
    let conf = ResolvConf { servers: servers.to_vec(), timeout: PATIENCE, ..ResolvConf::default() };
    (Forwarder::new(Watched::fixed(conf), (256, 256), warnings.clone()), warnings)
}

fn here<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// An answer that is asked for in a task of its own.
fn asked(forwarder: &Rc<Forwarder>, query: Vec<u8>) -> tokio::task::JoinHandle<Option<Answer>> {
    let forwarder = Rc::clone(forwarder);
    spawn_local(async move { forwarder.answer(&query, Transport::Udp).await })
}

#[test]
fn a_question_goes_out_with_another_id_and_comes_back_with_its_own() {
    here(async {
        let (socket, addr) = server().await;
        let (forwarder, warnings) = forwarder(&[addr]);
        let mut seen = Vec::new();
        for id in 0..8 {
            let sent = query(id, "WwW.example.com");
            let answer = asked(&forwarder, sent.clone());
            let (got, from) = question(&socket).await;
            assert_eq!(got[2..], sent[2..], "flags, case, EDNS: as they were");
            seen.push((u16::from_be_bytes([got[0], got[1]]), from.port()));
            socket.send_to(&answer_to(&got), from).await.unwrap();
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.message, answer_to(&sent));
            assert_eq!(answer.outcome, Outcome::Elsewhere { by: addr, what: Verdict::Found });
            assert_eq!(answer.name, "WwW.example.com");
        }
        // RFC 5452 9.2: both unpredictable.
        assert!(seen.iter().enumerate().any(|(i, (id, _))| *id != i as u16), "{seen:?}");
        let ports: std::collections::HashSet<u16> = seen.iter().map(|(_, port)| *port).collect();
        assert!(ports.len() > 1, "{seen:?}");
        assert!(warnings.take().is_empty());
    });
}

/// RFC 5452 9.1: source, destination, ID and question have to match.
#[test]
fn what_is_no_answer_to_the_question_is_passed_over() {
    here(async {
        let (socket, addr) = server().await;
        let (forwarder, _) = forwarder(&[addr]);
        let sent = query(7, "example.com");
        let answer = asked(&forwarder, sent.clone());
        let (got, from) = question(&socket).await;
        let right = answer_to(&got);
        let mut wrong_id = right.clone();
        wrong_id[1] ^= 1;
        let mut other_name = right.clone();
        other_name[13] = b'X';
        let mut other_type = right.clone();
        let end = got.len() - 11;
        other_type[end - 3] = 28;
        let mut no_response = right.clone();
        no_response[2] &= 0x7f;
        let mut no_question = right[..12].to_vec();
        no_question[5] = 0;
        for wrong in
            [wrong_id, other_name, other_type, no_response, no_question, right[..11].to_vec(), vec![]]
        {
            socket.send_to(&wrong, from).await.unwrap();
        }
        let (stranger, _) = server().await;
        stranger.send_to(&with_rcode(right.clone(), 3), from).await.unwrap();
        let mut other_case = right.clone();
        other_case[13] = b'E';
        socket.send_to(&other_case, from).await.unwrap();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.outcome, Outcome::Elsewhere { by: addr, what: Verdict::Found });
        assert_eq!(answer.message[2..], other_case[2..]);
    });
}

#[test]
fn a_server_that_could_not_read_the_question_need_not_repeat_it() {
    here(async {
        let (socket, addr) = server().await;
        let (forwarder, _) = forwarder(&[addr]);
        let answer = asked(&forwarder, query(7, "example.com"));
        let (got, from) = question(&socket).await;
        socket.send_to(&[got[0], got[1], 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0], from).await.unwrap();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.outcome, Outcome::Elsewhere { by: addr, what: Verdict::Error(1) });
        assert_eq!(answer.message[..2], [0, 7]);
    });
}

#[test]
fn a_silent_server_is_followed_by_the_next_and_its_late_answer_counts() {
    here(async {
        let (first, first_addr) = server().await;
        let (second, second_addr) = server().await;
        let (forwarder, warnings) = forwarder(&[first_addr, second_addr]);

        let began = Instant::now();
        let answer = asked(&forwarder, query(7, "example.com"));
        let (got, from) = question(&second).await;
        assert!(began.elapsed() >= PATIENCE, "the first one has its time");
        second.send_to(&answer_to(&got), from).await.unwrap();
        let outcome = answer.await.unwrap().unwrap().outcome;
        assert_eq!(outcome, Outcome::Elsewhere { by: second_addr, what: Verdict::Found });
        let lines = warnings.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("name server {first_addr} does not answer")), "{lines:?}");
        assert!(lines[0].contains("asked for example.com: no answer within 0.2 s"), "{lines:?}");

        let (old, _) = question(&first).await;
        let answer = asked(&forwarder, query(8, "example.org"));
        let (got, from) = question(&first).await;
        assert_ne!(old[..2], got[..2]);
        question(&second).await;
        first.send_to(&answer_to(&got), from).await.unwrap();
        let outcome = answer.await.unwrap().unwrap().outcome;
        assert_eq!(outcome, Outcome::Elsewhere { by: first_addr, what: Verdict::Found });
    });
}

#[test]
fn a_refusing_server_is_followed_by_the_next_at_once() {
    here(async {
        let (socket, addr) = server().await;
        let dead = closed().await;
        let (forwarder, warnings) = forwarder(&[dead, addr]);
        let began = Instant::now();
        let answer = asked(&forwarder, query(7, "example.com"));
        let (got, from) = question(&socket).await;
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        socket.send_to(&answer_to(&got), from).await.unwrap();
        assert_eq!(
            answer.await.unwrap().unwrap().outcome,
            Outcome::Elsewhere { by: addr, what: Verdict::Found }
        );
        assert!(warnings.take()[0].contains("nothing listens there"));
    });
}

#[test]
fn where_nobody_answers_it_is_servfail_and_one_line_for_each_server() {
    here(async {
        let (_silent, silent_addr) = server().await;
        let dead = closed().await;
        let (forwarder, warnings) = forwarder(&[silent_addr, dead]);
        for name in ["example.com", "example.org"] {
            let answer = asked(&forwarder, query(7, name)).await.unwrap().unwrap();
            assert_eq!((answer.message[3] & 15, answer.outcome), (2, Outcome::NobodyAnswers));
            assert_eq!(answer.message[..2], [0, 7]);
        }
        let lines = warnings.take();
        assert_eq!(lines.len(), 2, "{lines:?}");
        for server in [silent_addr, dead] {
            let of_it = format!("name server {server} does not answer");
            assert_eq!(lines.iter().filter(|l| l.contains(&of_it)).count(), 1, "{lines:?}");
        }
        assert_eq!((forwarder.questions.get(), forwarder.pending.borrow().len()), (0, 0));
    });
}

#[test]
fn servfail_makes_the_next_server_be_asked_and_is_passed_on_where_none_knows_better() {
    here(async {
        let (first, first_addr) = server().await;
        let (second, second_addr) = server().await;
        let (forwarder, warnings) = forwarder(&[first_addr, second_addr]);
        for (rcode, what) in [(3, Verdict::NoSuchName), (5, Verdict::Error(2))] {
            let answer = asked(&forwarder, query(7, "example.com"));
            let (got, from) = question(&first).await;
            first.send_to(&with_rcode(answer_to(&got), 2), from).await.unwrap();
            let (got, from) = question(&second).await;
            second.send_to(&with_rcode(answer_to(&got), rcode), from).await.unwrap();
            let by = if rcode == 3 { second_addr } else { first_addr };
            assert_eq!(answer.await.unwrap().unwrap().outcome, Outcome::Elsewhere { by, what });
        }
        assert!(warnings.take().is_empty(), "they did answer");
    });
}

#[test]
fn a_question_that_is_repeated_goes_out_again_and_one_answer_serves_all() {
    here(async {
        let (socket, addr) = server().await;
        let (forwarder, _) = forwarder(&[addr]);
        let answers = [1, 2].map(|id| asked(&forwarder, query(id, "example.com")));
        let (first, from) = question(&socket).await;
        let (second, again) = question(&socket).await;
        assert_eq!((first, from), (second.clone(), again), "the same question from the same port");
        socket.send_to(&answer_to(&second), from).await.unwrap();
        for (id, answer) in [1, 2].into_iter().zip(answers) {
            assert_eq!(answer.await.unwrap().unwrap().message[..2], [0, id]);
        }
        assert_eq!((forwarder.questions.get(), forwarder.pending.borrow().len()), (0, 0));
    });
}

#[test]
fn questions_wait_for_their_turn_and_too_many_are_not_answered() {
    here(async {
        let (socket, addr) = server().await;
        let warnings = Warnings::default();
        let conf = ResolvConf { servers: vec![addr], ..ResolvConf::default() };
        let forwarder = Forwarder::new(Watched::fixed(conf), (2, 4), warnings.clone());
        let answers: Vec<_> = (0..4).map(|n| asked(&forwarder, query(n, &format!("n{n}.example")))).collect();
        let mut under_way = vec![question(&socket).await, question(&socket).await];
        assert_eq!(forwarder.questions.get(), 4);
        assert_eq!(asked(&forwarder, query(7, "one.more.example")).await.unwrap(), None);
        assert!(socket.try_recv(&mut [0; 9]).is_err(), "two at a time");
        for _ in 0..4 {
            let (message, from) = under_way.remove(0);
            socket.send_to(&answer_to(&message), from).await.unwrap();
            if under_way.len() < 2 && forwarder.questions.get() > 2 {
                under_way.push(question(&socket).await);
            }
        }
        for answer in answers {
            let outcome = answer.await.unwrap().unwrap().outcome;
            assert_eq!(outcome, Outcome::Elsewhere { by: addr, what: Verdict::Found });
        }
        assert_eq!((forwarder.questions.get(), forwarder.pending.borrow().len()), (0, 0));
        let lines = warnings.take();
        assert!(
            lines.len() == 1 && lines[0].contains("more than 4 names were asked for at a time"),
            "{lines:?}"
        );
    });
}

#[test]
fn truncation_is_passed_on() {
    here(async {
        let (socket, addr) = server().await;
        let (forwarder, _) = forwarder(&[addr]);
        let answer = asked(&forwarder, query(7, "example.com"));
        let (got, from) = question(&socket).await;
        let mut cut = answer_to(&got);
        cut[2] |= 2;
        socket.send_to(&cut, from).await.unwrap();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.message[2..], cut[2..]);
        assert_eq!(answer.outcome, Outcome::Elsewhere { by: addr, what: Verdict::Truncated });
    });
}

#[test]
fn whole_zones_are_refused() {
    here(async {
        let (forwarder, _) = forwarder(&[closed().await]);
        let mut transfer = query(7, "example.com");
        let qtype = transfer.len() - 11 - 3;
        transfer[qtype] = 252;
        let answer = forwarder.answer(&transfer, Transport::Tcp).await.unwrap();
        assert_eq!((answer.message[3] & 15, answer.outcome), (5, Outcome::NotServed));
    });
}

/// The next question on a server's TCP connection.
async fn framed(stream: &mut TcpStream) -> Vec<u8> {
    let len = stream.read_u16().await.unwrap();
    let mut message = vec![0; usize::from(len)];
    stream.read_exact(&mut message).await.unwrap();
    message
}

async fn send_framed(stream: &mut TcpStream, message: &[u8]) {
    stream.write_u16(message.len() as u16).await.unwrap();
    stream.write_all(message).await.unwrap();
}

/// RFC 7766 6.2.1.1: a slow answer holds up no other.
#[test]
fn questions_by_tcp_are_asked_by_tcp_side_by_side() {
    here(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (forwarder, _) = forwarder(&[closed().await, addr]);
        let names = NameServer::new(Names::default(), Some(forwarder), |_| {});
        let (mut client, inside) = tokio::io::duplex(65_536);
        let serving = spawn_local(serve_stream(inside, names));
        for (id, name) in [(1, "slow.example"), (2, "quick.example")] {
            let message = query(id, name);
            client.write_u16(message.len() as u16).await.unwrap();
            client.write_all(&message).await.unwrap();
        }
        client.shutdown().await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap().0;
            let message = framed(&mut stream).await;
            streams.push((message, stream));
        }
        streams.sort_by_key(|(message, _)| message.windows(4).any(|w| w == b"slow"));
        for (i, (message, mut stream)) in streams.into_iter().enumerate() {
            let mut other = answer_to(&message);
            other[1] ^= 1;
            send_framed(&mut stream, &other).await;
            let mut long = answer_to(&message);
            // More than any datagram holds without EDNS.
            long.resize(3000, 0);
            send_framed(&mut stream, &long).await;
            let len = client.read_u16().await.unwrap();
            let mut got = vec![0; usize::from(len)];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!((got.len(), got[1]), (3000, [2, 1][i]), "the quick one first");
        }
        serving.await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn use_vc_asks_by_tcp_and_cuts_what_a_datagram_cannot_hold() {
    here(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let servers = vec![listener.local_addr().unwrap()];
        let conf = ResolvConf { servers, timeout: PATIENCE, use_vc: true, ..ResolvConf::default() };
        let forwarder = Forwarder::new(Watched::fixed(conf), (1, 1), Warnings::default());
        let sent = query(7, "example.com");
        let answer = asked(&forwarder, sent.clone());
        let (mut stream, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let message = framed(&mut stream).await;
        let mut long = answer_to(&message);
        long.resize(3000, 0);
        send_framed(&mut stream, &long).await;
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.message.len(), sent.len() - 11, "the header and the question");
        assert_eq!((answer.message[2] & 2, &answer.message[4..12]), (2, &[0, 1, 0, 0, 0, 0, 0, 0][..]));
    });
}
