//! Who gives way where there is no room: orphans, and connections whose peer takes nothing. And what pieces out of order
//! cost is counted.

use core::net::SocketAddr;
use core::time::Duration;

use finack_core::device::{Capabilities, Packet};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, InterfaceAddress, ListenerId};
use finack_core::tcp::State;
use finack_core::trace::ResetReason;
use finack_core::{Config, Error, Instant, Stack};
use finack_sim::packet::{Opt, Pkt, Tcp, build, flag, parse, v4};

/// A server with peers that are played by hand, one a port.
struct Server {
    stack: Stack,
    listener: ListenerId,
    now: Instant,
    sent: Vec<(u16, Tcp)>,
}

/// A connection: the peer's port, the server's handle, and the numbers that the peer sends next.
#[derive(Clone, Copy)]
struct Peer {
    port: u16,
    conn: ConnId,
    seq: u32,
    ack: u32,
}

const LOCAL: u16 = 80;

impl Server {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let addresses = vec![InterfaceAddress { addr: v4(1), prefix_len: 24 }];
        let device = Capabilities::plain(1500);
        let config =
            Config { settings, device, addresses, routes: Vec::new(), any_address: false, seed: [7; 32] };
        let now = Instant::from_secs(1);
        let mut stack = Stack::new(now, config);
        let bind = stack.tcp_bind(now, SocketAddr::new(v4(1), LOCAL), BindOptions::default()).unwrap();
        let listener = stack.tcp_listen(now, bind, 1000, SocketOptions::default()).unwrap();
        Self { stack, listener, now, sent: Vec::new() }
    }

    /// A segment from a peer's port, and what the server says to it.
    fn say(&mut self, port: u16, tcp: Tcp) {
        let packet = Pkt::tcp(SocketAddr::new(v4(2), port), SocketAddr::new(v4(1), LOCAL), tcp);
        self.stack.handle_packets(self.now, &[Packet::borrowed(&build(&packet))]);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.stack.poll_transmit(self.now) {
            let mut bytes = Vec::new();
            transmit.write_to(&mut bytes);
            let packet = parse(&bytes).unwrap();
            let tcp = packet.as_tcp().unwrap().clone();
            self.sent.push((tcp.dport, tcp));
        }
        self.stack.check_tables().unwrap();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.stack.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// A handshake; the peer offers `window` with its last ACK. `None` where the server does not take it.
    fn open(&mut self, port: u16, window: u16) -> Option<Peer> {
        let options = vec![Opt::Mss(1460)];
        self.say(port, Tcp { flags: flag::SYN, window: 1000, options, ..Tcp::default() });
        let (_, syn_ack) = self.sent.iter().rfind(|(to, tcp)| *to == port && tcp.has(flag::SYN))?;
        let ack = syn_ack.seq.wrapping_add(1);
        self.say(port, Tcp { seq: 1, ack, flags: flag::ACK, window, ..Tcp::default() });
        let (conn, _) = self.stack.tcp_accept(self.now, self.listener).ok()?;
        Some(Peer { port, conn, seq: 1, ack })
    }

    /// The server closes; the peer acknowledges its FIN and sends none.
    fn close_half(&mut self, peer: Peer) {
        self.stack.tcp_close(self.now, peer.conn).unwrap();
        self.drain();
        let ack = peer.ack.wrapping_add(1);
        self.say(peer.port, Tcp { seq: peer.seq, ack, flags: flag::ACK, window: 1000, ..Tcp::default() });
    }

    fn count(&self, state: State) -> usize {
        self.stack.count_by_state().iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n)
    }

    /// Ports of those that were reset.
    fn reset(&self) -> Vec<u16> {
        self.sent.iter().filter(|(_, tcp)| tcp.has(flag::RST)).map(|(port, _)| *port).collect()
    }
}

/// tcp(7) tcp_max_orphans: of connections that nobody owns only so many are kept. The oldest give way, with a RST.
#[test]
fn more_orphans_than_are_allowed() {
    let mut t = Server::new(|s| s.tcp_max_orphans = 2);
    for port in 1000..1004 {
        let peer = t.open(port, 1000).unwrap();
        t.close_half(peer);
    }
    assert_eq!(t.reset(), [1000, 1001]);
    assert_eq!(t.count(State::FinWait2), 2);
    assert_eq!(t.stack.counters().tcp_abort_on_memory, 2);
    assert_eq!(t.stack.counters().resets_sent(ResetReason::Orphan), 2);
    // Those that end in order make room themselves.
    let peer = Tcp { seq: 1, flags: flag::ACK | flag::FIN, window: 1000, ..Tcp::default() };
    for port in [1002, 1003] {
        let ack = t.sent.iter().rfind(|(to, _)| *to == port).unwrap().1.seq;
        t.say(port, Tcp { ack, ..peer.clone() });
    }
    assert_eq!((t.count(State::TimeWait), t.count(State::FinWait2)), (2, 0));
    let peer = t.open(1010, 1000).unwrap();
    t.close_half(peer);
    assert_eq!(t.stack.counters().tcp_abort_on_memory, 2);
}

/// RFC 9293 3.10.7.4: what comes for a program that has closed is not kept, but answered by RST. What its window promised
/// is free for others: however many peers leave connections in FIN-WAIT-2, windows stay what they were.
#[test]
fn orphans_promise_no_memory() {
    let mut t = Server::new(|s| s.tcp_mem = 512 << 10);
    let windows = |t: &Server| -> Vec<u16> {
        t.sent.iter().filter(|(_, tcp)| tcp.has(flag::SYN)).map(|(_, tcp)| tcp.window).collect()
    };
    for port in 1000..1100 {
        let peer = t.open(port, 1000).unwrap();
        t.close_half(peer);
    }
    assert_eq!(t.count(State::FinWait2), 100);
    let first = windows(&t)[0];
    assert!(first > 60_000, "a window of {first}");
    assert!(windows(&t).iter().all(|&window| window == first), "{:?}", windows(&t));
}

/// Where the table of connections is full an orphan gives way to who opens a new one; whoever still has an owner does not.
#[test]
fn an_orphan_gives_way_to_a_new_connection() {
    let mut t = Server::new(|s| s.max_connections = 2);
    let kept = t.open(1000, 1000).unwrap();
    let orphan = t.open(1001, 1000).unwrap();
    t.close_half(orphan);
    assert!(t.open(1002, 1000).is_some());
    assert_eq!(t.reset(), [1001]);
    assert_eq!(t.stack.tcp_state(kept.conn), Ok(State::Established));
    assert!(t.open(1003, 1000).is_none(), "all that are left have owners");
    assert_eq!(t.reset(), [1001]);
}

/// RFC 6429: where memory is used up, so that nobody new could be taken on, the connection whose peer has kept its window
/// closed for longest is given up, and its owner is told why.
#[test]
fn a_peer_that_takes_nothing_gives_way_when_memory_is_short() {
    let mut t = Server::new(|s| s.tcp_mem = 512 << 10);
    let owner = t.open(999, 60_000).unwrap();
    let mut stuck = Vec::new();
    let mut port = 1000;
    // Each is asked for room, and has none; until the first has to go.
    while t.reset().is_empty() {
        assert!(port < 2000, "nobody gave way");
        let peer = t.open(port, 0).expect("there is always room for another");
        while t.stack.tcp_send(t.now, peer.conn, &[7; 4096], SendFlags::default()).is_ok() {}
        t.pass(Duration::from_millis(300));
        stuck.push(peer);
        port += 1;
    }
    assert!(stuck.len() > 2, "memory was used up by {} connections", stuck.len());
    assert_eq!(t.reset(), [1000]);
    assert_eq!(t.stack.counters().resets_sent(ResetReason::WindowClosed), 1);
    assert_eq!(t.stack.tcp_take_error(stuck[0].conn), Ok(Some(Error::NoBufferSpace)));
    assert_eq!(t.stack.tcp_state(stuck[1].conn), Ok(State::Established));
    assert_eq!(t.stack.tcp_state(owner.conn), Ok(State::Established));
}

/// RFC 9293 MUST-37: as long as there is room, who answers probes is kept, and so is who has taken data again since.
#[test]
fn a_peer_that_takes_data_again_does_not_give_way() {
    let mut t = Server::new(|s| s.max_connections = 2);
    let one = t.open(1000, 0).unwrap();
    t.stack.tcp_send(t.now, one.conn, &[7; 100], SendFlags::default()).unwrap();
    t.pass(Duration::from_secs(1));
    let ack = one.ack;
    t.say(1000, Tcp { seq: 1, ack, flags: flag::ACK, window: 1000, ..Tcp::default() });
    t.say(1000, Tcp { seq: 1, ack: ack + 100, flags: flag::ACK, window: 1000, ..Tcp::default() });
    t.open(1001, 1000).unwrap();
    assert!(t.open(1002, 1000).is_none());
    assert!(t.reset().is_empty());
    assert_eq!(t.stack.tcp_state(one.conn), Ok(State::Established));
}

/// CVE-2018-5390 ("SegmentSmack"): single bytes with gaps between cost far more than the window promises. What they cost
/// counts in the memory of all connections, and where that is used up no more of them are kept.
#[test]
fn pieces_out_of_order_count_with_what_they_cost() {
    const BUDGET: usize = 1 << 20;
    let mut t = Server::new(|s| s.tcp_mem = BUDGET as u64);
    let mut peers = Vec::new();
    for port in 1000..1016 {
        peers.push(t.open(port, 1000).unwrap());
    }
    for step in 0..200 {
        for peer in &peers {
            let (seq, ack) = (2 + 2 * step, peer.ack);
            t.say(
                peer.port,
                Tcp { seq, ack, flags: flag::ACK, window: 1000, payload: vec![1], ..Tcp::default() },
            );
        }
    }
    let memory = t.stack.memory();
    assert!(memory < 2 * BUDGET, "{memory} bytes where {BUDGET} are the budget");
    // What is in order is still taken.
    for peer in &peers {
        let (seq, ack) = (1, peer.ack);
        t.say(
            peer.port,
            Tcp { seq, ack, flags: flag::ACK, window: 1000, payload: vec![1], ..Tcp::default() },
        );
        let mut buf = [0; 8];
        let read = t.stack.tcp_recv(t.now, peer.conn, &mut buf, RecvFlags::default());
        assert!(read.is_ok_and(|n| n >= 2), "{read:?}");
    }
}
