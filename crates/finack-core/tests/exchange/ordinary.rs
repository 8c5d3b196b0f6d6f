//! A segment that carries data and nothing else worth a thought takes a short way out, every other one the long way. Both come to
//! the same: the bytes, the state, what is counted, traced and told to the application, and when the stack wants to be woken.

use finack_core::counters::Counters;
use finack_core::device::Capabilities;
use finack_core::options::SendFlags;
use finack_core::stack::ConnId;
use finack_core::{Event, Instant, Stack};
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

/// Writes to a copy of the stack, and sends what there is after each write; answers how many segments went the short way, too.
fn after(t: &Script, c: ConnId, writes: &[(usize, SendFlags)], short_ways: bool) -> (Seen, u64) {
    let mut stack: Stack = t.stack.clone();
    stack.set_prediction(short_ways);
    let now = t.now();
    let before = stack.counters().tcp_ordinary;
    let (mut written, mut sent) = (Vec::new(), Vec::new());
    for &(len, flags) in writes {
        written.push(format!("{:?}", stack.tcp_send(now, c, &vec![len as u8; len], flags)));
        while let Some(transmit) = stack.poll_transmit(now) {
            let mut bytes = Vec::new();
            transmit.write_to(&mut bytes);
            sent.push(bytes);
        }
    }
    let events = core::iter::from_fn(|| stack.poll_event()).collect();
    let traced = core::iter::from_fn(|| stack.poll_trace()).map(|event| format!("{event:?}")).collect();
    let mut counted = stack.counters().clone();
    let ordinary = core::mem::take(&mut counted.tcp_ordinary) - before;
    let state = stack.fingerprint(now, Default::default());
    (Seen { written, state, sent, events, counted, traced, wakes: stack.poll_timeout() }, ordinary)
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
