//! A segment that carries data and nothing else worth a thought takes a short way out, every other one the long way. Both come to
//! the same: the bytes, the state, what is counted, traced and told to the application, and when the stack wants to be woken.

use core::time::Duration;
use finack_core::counters::Counters;

use finack_core::device::{Capabilities, Packet};
use finack_core::options::{MtuDiscovery, RecvFlags, SendFlags, SocketOptions};
use finack_core::stack::ConnId;
use finack_core::{Event, Instant, Stack};
use finack_sim::packet::build;
use finack_sim::{Script, Setup};

/// What can be seen of a stack.
#[derive(PartialEq, Debug)]
struct Seen {
    written: Vec<String>,
    state: u128,
    sent: Vec<Vec<u8>>,
    events: Vec<Event>,
    counted: Counters,
    traced: Vec<String>,
    wakes: Option<Instant>,
}

/// A copy of a stack, and what is seen of it.
struct Run {
    stack: Stack,
    now: Instant,
    ordinary: u64,
    written: Vec<String>,
    sent: Vec<Vec<u8>>,
}

impl Run {
    fn of(t: &Script, short_ways: bool) -> Self {
        let mut stack = t.stack.clone();
        stack.set_prediction(short_ways);
        let ordinary = stack.counters().tcp_ordinary;
        Self { stack, now: t.now(), ordinary, written: Vec::new(), sent: Vec::new() }
    }

    fn write(&mut self, c: ConnId, len: usize, flags: SendFlags) {
        // No two bytes near each other are the same: those of one segment in another would show.
        let data: Vec<u8> = (0..len).map(|i| (len + i * 7 + i / 256) as u8).collect();
        self.written.push(format!("{:?}", self.stack.tcp_send(self.now, c, &data, flags)));
    }

    /// Sends at most so many packets.
    fn send(&mut self, most: usize) {
        for _ in 0..most {
            let Some(transmit) = self.stack.poll_transmit(self.now) else { break };
            let mut bytes = format!("{:?} {} ", transmit.checksum, transmit.number).into_bytes();
            transmit.write_to(&mut bytes);
            self.sent.push(bytes);
        }
    }

    /// What was seen, and how many segments went the short way.
    fn seen(mut self) -> (Seen, u64) {
        let stack = &mut self.stack;
        let events = core::iter::from_fn(|| stack.poll_event()).collect();
        let traced = core::iter::from_fn(|| stack.poll_trace()).map(|event| format!("{event:?}")).collect();
        let mut counted = stack.counters().clone();
        let ordinary = core::mem::take(&mut counted.tcp_ordinary) - self.ordinary;
        counted.tcp_expected = 0;
        let (state, wakes) = (stack.fingerprint(self.now, Default::default()), stack.poll_timeout());
        let Self { written, sent, .. } = self;
        (Seen { written, state, sent, events, counted, traced, wakes }, ordinary)
    }
}

/// Writes to a copy of the stack, and sends what there is after each write; answers how many segments went the short way, too.
fn after(t: &Script, c: ConnId, writes: &[(usize, SendFlags)], short_ways: bool) -> (Seen, u64) {
    let mut run = Run::of(t, short_ways);
    for &(len, flags) in writes {
        run.write(c, len, flags);
        run.send(usize::MAX);
    }
    run.seen()
}

/// Both ways come to the same; answers how many segments went the short way.
#[track_caller]
fn both_ways(t: &Script, c: ConnId, writes: &[(usize, SendFlags)]) -> u64 {
    let (short, ordinary) = after(t, c, writes, true);
    let (long, never) = after(t, c, writes, false);
    assert_eq!(short, long, "{writes:?}");
    assert_eq!(never, 0);
    ordinary
}

fn plain(lens: &[usize]) -> Vec<(usize, SendFlags)> {
    lens.iter().map(|&len| (len, SendFlags::default())).collect()
}

/// An established connection of which 100 bytes each way are acknowledged.
fn talking(setup: Setup) -> (Script, ConnId) {
    let mut t = setup.server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.write(c, 100);
    t.take_sent();
    t.inject(". 101:101(0) ack 101");
    (t, c)
}

/// RFC 9293 3.8.6.2.1: what may go at once goes at once, in a segment of its own; and a unit of several is cut where the device
/// takes single segments.
#[test]
fn what_is_ordinary() {
    for timestamps in [false, true] {
        for checksum_tx in [false, true] {
            let device = Capabilities { checksum_tx, ..Capabilities::plain(1500) };
            let setup = Setup::new().device(device).options(|o| o.nodelay = true);
            let (t, c) = talking(if timestamps { setup.timestamps() } else { setup });
            assert_eq!(both_ways(&t, c, &plain(&[1])), 1);
            assert_eq!(both_ways(&t, c, &plain(&[1, 2, 3])), 3);
            assert_eq!(both_ways(&t, c, &plain(&[1448, 7, 500])), 3);
            // The first segment of a unit is decided on.
            assert!(both_ways(&t, c, &plain(&[10_000])) >= 5);
        }
    }
}

/// Whatever is out of the ordinary about a connection or a write: both ways come to the same.
#[test]
fn whatever_else_is_the_matter() {
    type Change = fn(&mut Script, ConnId);
    let changes: [(&str, Change); 12] = [
        ("nothing", |_, _| {}),
        ("something out", |t, c| {
            t.write(c, 10);
            t.take_sent();
        }),
        ("something waits", |t, c| t.write(c, 10)),
        ("a pause", |t, _| {
            t.pass_ms(30_000);
        }),
        ("an ACK owed", |t, c| {
            t.inject("P. 101:201(100) ack 101");
            t.read(c, 100);
        }),
        ("a gap", |t, _| t.inject("P. 201:301(100) ack 101")),
        ("a duplicate to report", |t, _| t.inject("P. 1:101(100) ack 101")),
        ("a small window", |t, _| t.inject(". 101:101(0) ack 101 win 5")),
        ("no window", |t, _| t.inject(". 101:101(0) ack 101 win 0")),
        ("the peer's FIN", |t, _| t.inject("F. 101:101(0) ack 101")),
        ("urgent data", |t, c| {
            let oob = SendFlags { oob: true, ..SendFlags::default() };
            t.stack.tcp_send(t.now(), c, b"!", oob).unwrap();
        }),
        ("a loss", |t, c| {
            for _ in 0..5 {
                t.write(c, 1460);
            }
            t.take_sent();
            for _ in 0..4 {
                t.inject(". 101:101(0) ack 101");
                t.take_sent();
            }
        }),
    ];
    let flags = |more, eor, oob| SendFlags { more, eor, oob };
    let writes: [Vec<(usize, SendFlags)>; 9] = [
        plain(&[1]),
        plain(&[1, 1, 1]),
        plain(&[0, 1460, 1461, 1]),
        plain(&[1460, 1460]),
        plain(&[5000, 1, 3000]),
        plain(&[200_000, 1]),
        vec![(10, flags(true, false, false)), (10, flags(false, false, false))],
        vec![(10, flags(false, true, false)), (10, flags(false, false, false))],
        vec![(10, flags(false, false, true)), (10, flags(false, false, false))],
    ];
    let units = Capabilities { max_unit: 65_535, checksum_tx: true, ..Capabilities::plain(1500) };
    for (what, change) in changes {
        for (nodelay, cork) in [(false, false), (true, false), (true, true)] {
            for device in [Capabilities::plain(1500), units] {
                let (mut t, c) = talking(Setup::new().device(device).options(|o| o.nodelay = nodelay));
                t.set_options(c, |o| o.cork = cork);
                change(&mut t, c);
                for writes in &writes {
                    println!("{what}, nodelay {nodelay}, cork {cork}, {device:?}");
                    both_ways(&t, c, writes);
                }
                t.take_sent();
            }
        }
    }
}

type Happens = fn(&mut Run, &Script, ConnId);

/// What may happen between two packets of a unit.
const BETWEEN: [(&str, Happens); 22] = [
    ("nothing", |_, _, _| {}),
    ("a tick of the clock of timestamps", |run, _, _| run.now += Duration::from_millis(1)),
    ("time", |run, _, _| run.now += Duration::from_micros(10)),
    ("a time-out", |run, _, _| {
        run.now += Duration::from_secs(2);
        run.stack.handle_timeout(run.now);
    }),
    ("an ACK of some of it", |run, t, _| run.take(t, ". 101:101(0) ack 2000")),
    ("an ACK of what was sent", |run, t, _| run.take(t, ". 101:101(0) ack 1561")),
    ("a small window", |run, t, _| run.take(t, ". 101:101(0) ack 101 win 5")),
    ("no window", |run, t, _| run.take(t, ". 101:101(0) ack 101 win 0")),
    ("data", |run, t, _| run.take(t, "P. 101:201(100) ack 101")),
    ("data that is read", |run, t, c| {
        run.take(t, "P. 101:201(100) ack 101");
        let mut buf = [0; 100];
        run.written.push(format!("{:?}", run.stack.tcp_recv(run.now, c, &mut buf, RecvFlags::default())));
    }),
    ("a gap", |run, t, _| run.take(t, "P. 201:301(100) ack 101")),
    ("a duplicate", |run, t, _| run.take(t, "P. 1:101(100) ack 101")),
    ("RST", |run, t, _| run.take(t, "R. 101:101(0) ack 101")),
    ("FIN", |run, t, _| run.take(t, "F. 101:101(0) ack 101")),
    ("a write", |run, _, c| run.write(c, 5000, SendFlags::default())),
    ("urgent data", |run, _, c| run.write(c, 1, SendFlags { oob: true, ..SendFlags::default() })),
    ("close", |run, _, c| {
        run.written.push(format!("{:?}", run.stack.tcp_close(run.now, c)));
    }),
    ("abort", |run, _, c| {
        run.written.push(format!("{:?}", run.stack.tcp_abort(run.now, c)));
    }),
    ("options", |run, _, c| {
        let options = run.stack.tcp_options(c).unwrap();
        let options = SocketOptions { hop_limit: Some(9), tos: 0x48, ..options };
        run.stack.tcp_set_options(run.now, c, options).unwrap();
    }),
    ("packets that may be fragmented", |run, _, c| {
        let options = run.stack.tcp_options(c).unwrap();
        let options = SocketOptions { mtu_discovery: Some(MtuDiscovery::Dont), ..options };
        run.stack.tcp_set_options(run.now, c, options).unwrap();
    }),
    ("a setting", |run, _, _| run.stack.set_sysctl("net.ipv4.ip_default_ttl", "7").unwrap()),
    ("nobody looks on any more", |run, _, _| run.stack.set_tracing(0)),
];

impl Run {
    fn take(&mut self, t: &Script, text: &str) {
        self.stack.handle_packets(self.now, &[Packet::borrowed(&build(&t.segment(text)))]);
    }
}

/// RFC 9293 3.8.6: each packet of a unit says what holds when it leaves, whatever happened since the one before it.
#[test]
fn what_happens_between_the_packets_of_a_unit() {
    let options = |o: &mut SocketOptions| o.nodelay = true;
    for checksum_tx in [false, true] {
        let device = Capabilities { checksum_tx, ..Capabilities::plain(1500) };
        let setup = || Setup::new().device(device).options(options);
        for setup in [setup(), setup().timestamps(), setup().timestamps().v6()] {
            let (t, c) = talking(setup);
            for (what, happens) in BETWEEN {
                for sent in 0..7 {
                    let [(short, ordinary), (long, never)] = [true, false].map(|short_ways| {
                        let mut run = Run::of(&t, short_ways);
                        run.write(c, 20_000, SendFlags::default());
                        run.send(sent);
                        happens(&mut run, &t, c);
                        run.send(usize::MAX);
                        run.seen()
                    });
                    assert_eq!(short, long, "{what} after {sent} packets");
                    assert!(never == 0 && ordinary >= sent.saturating_sub(3) as u64, "{what}: {ordinary}");
                }
            }
        }
    }
}
