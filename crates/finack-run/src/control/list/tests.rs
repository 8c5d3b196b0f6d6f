use std::net::{IpAddr, Ipv4Addr};

use finack::device::pair;
use finack::net::{TcpListener, TcpStream};
use finack_core::device::Capabilities;

use super::*;
use crate::report::Limits;

const PROGRAM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Two hosts on one wire, and what can be listed of the first without any kernel to ask.
fn wire() -> (Net, Net, Sources) {
    let (a, b) = pair(Capabilities::plain(1500)).unwrap();
    let ours = Net::builder().address(OURS, 24).build(a).unwrap();
    let program = Net::builder().address(PROGRAM, 24).build(b).unwrap();
    let collector = Rc::new(RefCell::new(Collector::new(ours.now(), Limits::default())));
    let sources = Sources::new(ours.clone(), collector, None, Names::default());
    (ours, program, sources)
}

/// A kernel that was built without sock_diag: the program's end is what finack's own state makes likely.
#[tokio::test]
async fn without_a_kernel_to_ask_the_programs_end_is_inferred() {
    let (ours, program, sources) = wire();
    let listener = TcpListener::bind_on(&ours, SocketAddr::new(OURS, 80)).await.unwrap();
    let client = TcpStream::connect_on(&program, listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();

    let row = |s: TcpSocket| sources.inferred(s, true);
    let rows: Vec<Socket> =
        ours.tcp_sockets(&mut SocketCursor::default(), 100).unwrap().into_iter().filter_map(row).collect();
    let [row] = &rows[..] else { panic!("finack's listener is no socket of the program's: {rows:?}") };
    assert_eq!(
        (row.local, row.peer, row.state.0),
        (peer, Some(SocketAddr::new(OURS, 80)), State::Established)
    );
    assert!(row.inferred && row.recv_q.is_none(), "its queues are nobody's to know");
    let other = row.other.as_ref().unwrap();
    assert_eq!(
        (other.local, other.state.0, other.inferred),
        (SocketAddr::new(OURS, 80), State::Established, false)
    );

    let summary = sources.summary().await.unwrap();
    let numbers = |counts: &std::collections::BTreeMap<_, crate::control::protocol::Count>| {
        counts.values().map(|count| count.sockets).collect::<Vec<_>>()
    };
    assert_eq!((numbers(&summary.program), numbers(&summary.finack)), (vec![1], vec![1, 1]));
    drop((client, server));
}

/// What each of finack's states makes likely at the other end (RFC 9293 figure 5); nothing where there is no other end.
#[test]
fn the_other_end_mirrors_this_one() {
    assert_eq!(likely(State::FinWait2), Some(State::CloseWait));
    assert_eq!(likely(State::CloseWait), Some(State::FinWait2));
    assert_eq!(likely(State::SynReceived), Some(State::SynSent));
    assert_eq!([State::Listen, State::TimeWait, State::Closed].map(likely), [None; 3]);
}
