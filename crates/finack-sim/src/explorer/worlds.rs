//! The worlds that are explored.
//!
//! Time is counted in ticks of a second. The retransmission time-out is one tick whatever was measured (least and greatest
//! are both a second), a segment lives for one or two: so what is sent again and what it replaces are on their way together,
//! and segments of a connection arrive when it is long over.

use core::time::Duration;

use super::app::Op::{
    Abort, Accept, Close, Connect, Linger, Listen, Recv, RecvEof, Send, ShutWrite, Unlisten,
};
use super::world::{End, Faults, Program, World, hosts};

/// Settings that all worlds share: times of a tick, and nothing that follows the clock.
const COMMON: &[(&str, &str)] = &[
    ("tcp_rto_min_us", "1000000"),
    ("tcp_rto_max_ms", "1000"),
    ("tcp_timestamps", "0"),
    ("tcp_congestion_control", "reno"),
    ("tcp_early_retrans", "0"),
    ("tcp_sack", "0"),
    ("tcp_fin_timeout", "6"),
    ("tcp_retries2", "15"),
    ("tcp_syn_retries", "15"),
    ("tcp_synack_retries", "15"),
    ("tcp_orphan_retries", "15"),
    ("finack.testing_fixed_isn", "1"),
    ("tcp_rfc1337", "1"),
];

const fn faults(losses: u8, duplicates: u8, reorders: u8) -> Faults {
    Faults { losses, duplicates, reorders }
}

#[derive(Clone, Copy)]
struct Sketch {
    name: &'static str,
    about: &'static str,
    lives: [&'static [Program]; 2],
    prelude: &'static [End],
    faults: Faults,
    life: u8,
    time_wait: u8,
    patience: Option<u8>,
    keepalive: bool,
    quickack: bool,
    /// The largest window that is offered, where it is to be small; the buffer is then as small as it gets.
    window: Option<u32>,
    settings: &'static [(&'static str, &'static str)],
    must_find: Option<&'static str>,
    /// Bounds of the network in the quick form.
    quick: Faults,
}

impl Sketch {
    fn world(&self, quick: bool) -> World {
        let settings = COMMON.iter().chain(self.settings).copied().collect();
        let mut hosts = hosts(self.lives[0], self.lives[1]);
        for host in &mut hosts {
            host.options.quickack = self.quickack;
            host.options.keepalive = self.keepalive;
            host.options.keepalive_idle = Some(Duration::from_secs(2));
            host.options.keepalive_interval = Some(Duration::from_secs(1));
            host.options.keepalive_count = Some(5);
            host.options.window_clamp = self.window;
            // As small as a buffer gets: 1152 bytes of data.
            host.options.recv_buffer = self.window.map(|_| 1);
        }
        World {
            name: self.name,
            about: self.about,
            hosts,
            prelude: self.prelude,
            faults: if quick { self.quick } else { self.faults },
            life: self.life,
            time_wait: self.time_wait,
            patience: self.patience,
            tick: Duration::from_secs(1),
            settings,
            must_find: self.must_find,
        }
    }
}

/// Ends of the worlds.
const ALICE: End = 0;
const BOB: End = 1;

/// Bob listens.
const LISTENING: &[End] = &[BOB];
/// Alice has connected, bob has accepted and listens no longer.
const OPEN: &[End] = &[BOB, ALICE, ALICE, BOB, BOB];
/// Alice has connected, bob has accepted and goes on to listen.
const OPEN_AND_LISTENING: &[End] = &[BOB, ALICE, ALICE, BOB];

/// All of them; in the quick form the network does less.
#[must_use]
pub fn worlds(quick: bool) -> Vec<World> {
    sketches().iter().map(|s| s.world(quick)).collect()
}

fn sketches() -> Vec<Sketch> {
    let plain = Sketch {
        name: "",
        about: "",
        lives: [&[], &[]],
        prelude: LISTENING,
        faults: faults(2, 0, 0),
        life: 1,
        time_wait: 4,
        patience: Some(0),
        keepalive: false,
        quickack: true,
        window: None,
        settings: &[],
        must_find: None,
        quick: faults(1, 0, 0),
    };
    let mut all = opening(&plain);
    all.extend(closing(&plain));
    all.extend(reusing(&plain));
    all.extend(crashing(&plain));
    all.extend(minding(&plain));
    all.extend(clocked(&plain));
    all
}

fn opening(plain: &Sketch) -> Vec<Sketch> {
    vec![
        Sketch {
            name: "open",
            about: "a passive and an active open; the opener closes at once",
            lives: [
                &[&[&[Connect(1), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, RecvEof(1), Close(1)]]],
            ],
            faults: faults(2, 0, 0),
            ..*plain
        },
        Sketch {
            name: "open-refused",
            about: "as 'open', and the listener may come late",
            prelude: &[],
            lives: [
                &[&[&[Connect(1), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, RecvEof(1), Close(1)]]],
            ],
            ..*plain
        },
        Sketch {
            name: "open-simultaneously",
            about: "both open at once, and close",
            prelude: &[],
            lives: [&[&[&[Connect(1), Close(1)]]], &[&[&[Connect(1), Close(1)]]]],
            faults: faults(1, 0, 0),
            ..*plain
        },
    ]
}

fn closing(plain: &Sketch) -> Vec<Sketch> {
    let open = Sketch { prelude: OPEN, ..*plain };
    [
        Sketch {
            name: "close",
            faults: faults(2, 1, 1),
            about: "one closes, the other reads to the end and closes",
            lives: [
                &[&[&[Connect(1), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, RecvEof(1), Close(1)]]],
            ],
            ..open
        },
        Sketch {
            name: "close-simultaneously",
            faults: faults(2, 1, 1),
            about: "both close when they like",
            lives: [&[&[&[Connect(1), Close(1)]]], &[&[&[Listen, Accept(1), Unlisten, Close(1)]]]],
            ..open
        },
        Sketch {
            name: "talk",
            about: "a byte there, a byte back, an end",
            lives: [
                &[&[&[Connect(1), Send(1, 1), Recv(1, 1), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, Recv(1, 1), Send(1, 1), RecvEof(1), Close(1)]]],
            ],
            faults: faults(2, 0, 0),
            ..open
        },
        Sketch {
            name: "half-close",
            faults: faults(2, 1, 0),
            about: "one shuts down writing, and reads what the other still has to say",
            lives: [
                &[&[&[Connect(1), Send(1, 1), ShutWrite(1), RecvEof(1), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, RecvEof(1), Send(1, 1), Close(1)]]],
            ],
            ..open
        },
    ]
    .into_iter()
    .chain(cutting_short(&open))
    .collect()
}

fn cutting_short(open: &Sketch) -> [Sketch; 3] {
    [
        Sketch {
            name: "close-unread",
            faults: faults(2, 1, 0),
            about: "one closes while something is unread, or comes later",
            keepalive: true,
            lives: [
                &[&[&[Connect(1), Send(1, 1), RecvEof(1), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, Close(1)]]],
            ],
            ..*open
        },
        Sketch {
            name: "abort",
            faults: faults(2, 1, 1),
            about: "one aborts while data is under way",
            keepalive: true,
            lives: [
                &[&[&[Connect(1), Send(1, 1), Abort(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, Send(1, 1), RecvEof(1), Close(1)]]],
            ],
            ..*open
        },
        Sketch {
            name: "linger",
            faults: faults(2, 1, 0),
            about: "both close with SO_LINGER: success says that all arrived",
            lives: [
                &[&[&[Connect(1), Send(1, 1), Linger(1, 3)]]],
                &[&[&[Listen, Accept(1), Unlisten, RecvEof(1), Linger(1, 3)]]],
            ],
            ..*open
        },
    ]
}

/// Alice opens, writes, closes, and does so again with the same four-tuple; bob waits for his last ACK.
const TWICE: Program = &[&[Connect(1), Send(1, 1), Close(1), Connect(2), Send(2, 1), Close(2)]];
const SERVE_TWICE: Program =
    &[&[Listen, Accept(1), RecvEof(1), Linger(1, 6), Accept(2), Unlisten, RecvEof(2), Linger(2, 6)]];
/// Bob does not wait, and closes first.
const CLOSE_FIRST_TWICE: Program =
    &[&[Listen, Accept(1), Recv(1, 1), Close(1), Accept(2), Unlisten, RecvEof(2), Close(2)]];
const FOLLOW_TWICE: Program =
    &[&[Connect(1), Send(1, 1), RecvEof(1), Close(1), Connect(2), Send(2, 1), Close(2)]];

const NO_TIME_WAIT: &[(&str, &str)] = &[("tcp_max_tw_buckets", "0")];

fn reusing(plain: &Sketch) -> Vec<Sketch> {
    let again = Sketch { prelude: OPEN_AND_LISTENING, faults: faults(2, 0, 0), ..*plain };
    let late = Sketch { faults: faults(0, 1, 1), quick: faults(0, 1, 0), ..again };
    vec![
        Sketch {
            name: "reuse",
            about: "who closed first opens the same four-tuple anew",
            lives: [&[TWICE], &[SERVE_TWICE]],
            ..again
        },
        Sketch {
            name: "reuse-while-peer-waits",
            about: "who closed last opens the same four-tuple anew, into the peer's TIME-WAIT",
            lives: [&[FOLLOW_TWICE], &[CLOSE_FIRST_TWICE]],
            faults: faults(0, 0, 0),
            quick: faults(0, 0, 0),
            ..late
        },
        Sketch {
            name: "lost-last-ack",
            about: "as 'reuse' without TIME-WAIT: must be found at fault",
            lives: [&[TWICE], &[SERVE_TWICE]],
            settings: NO_TIME_WAIT,
            must_find: Some("for which there is no cause"),
            ..again
        },
        Sketch {
            name: "old-segment",
            about: "as 'reuse-while-peer-waits' without TIME-WAIT: must be found at fault",
            lives: [&[FOLLOW_TWICE], &[CLOSE_FIRST_TWICE]],
            settings: NO_TIME_WAIT,
            must_find: Some("an old segment"),
            ..late
        },
    ]
}

/// Bob hears alice out, closes, and serves her again.
const SERVE_ANEW: Program =
    &[&[Listen, Accept(1), RecvEof(1), Close(1), Accept(2), Unlisten, RecvEof(2), Close(2)]];
/// A life in which nothing is done.
const SILENT: Program = &[];

fn crashing(plain: &Sketch) -> Vec<Sketch> {
    let again = Sketch { prelude: OPEN_AND_LISTENING, faults: faults(2, 0, 0), ..*plain };
    vec![
        Sketch {
            name: "crash-silent",
            about: "one crashes, and knows nothing of it when it is asked",
            lives: [
                &[&[&[Connect(1), Send(1, 1), RecvEof(1), Close(1)]], SILENT],
                &[&[&[Listen, Accept(1), Unlisten, Recv(1, 1), Send(1, 1), Close(1)]]],
            ],
            prelude: OPEN,
            keepalive: true,
            ..*plain
        },
        Sketch {
            name: "keep-alive",
            about: "both are silent for as long as they like; one crashes, and keep-alive tells the other",
            lives: [
                &[&[&[Connect(1), Close(1)]], SILENT],
                &[&[&[Listen, Accept(1), Unlisten, RecvEof(1), Close(1)]]],
            ],
            prelude: OPEN,
            patience: Some(4),
            keepalive: true,
            faults: faults(1, 0, 0),
            ..*plain
        },
        Sketch {
            name: "crash-and-reopen",
            about: "one crashes and opens the same four-tuple with another ISN (RFC 9293 3.5.1)",
            lives: [
                &[&[&[Connect(1), Send(1, 1), Close(1)]], &[&[Connect(2), Send(2, 1), Close(2)]]],
                &[SERVE_ANEW],
            ],
            quick: faults(0, 0, 0),
            faults: faults(1, 0, 0),
            ..again
        },
        Sketch {
            name: "crash-while-opening",
            about: "one crashes while it opens, and opens again",
            lives: [&[&[&[Connect(1), Close(1)]], &[&[Connect(2), Close(2)]]], &[SERVE_ANEW]],
            prelude: LISTENING,
            faults: faults(0, 0, 0),
            quick: faults(0, 0, 0),
            ..again
        },
        Sketch {
            name: "crash-of-server",
            about: "the listening host crashes and listens again; the other opens anew",
            lives: [
                &[&[&[Connect(1), Send(1, 1), RecvEof(1), Close(1), Connect(2), Close(2)]]],
                &[
                    &[&[Listen, Accept(1), Recv(1, 1), Close(1), Unlisten]],
                    &[&[Listen, Accept(2), Unlisten, RecvEof(2), Close(2)]],
                ],
            ],
            keepalive: true,
            faults: faults(0, 0, 0),
            quick: faults(0, 0, 0),
            ..again
        },
    ]
}

/// What Linux does by default: SACK, timestamps, tail loss probes.
const LINUX: &[(&str, &str)] = &[("tcp_sack", "1"), ("tcp_timestamps", "1"), ("tcp_early_retrans", "3")];

fn minding(plain: &Sketch) -> Vec<Sketch> {
    let open = Sketch { prelude: OPEN, ..*plain };
    let answer: [&'static [Program]; 2] = [
        &[&[&[Connect(1), Send(1, 1), Recv(1, 1), Close(1)]]],
        &[&[&[Listen, Accept(1), Unlisten, Recv(1, 1), Send(1, 1), RecvEof(1), Close(1)]]],
    ];
    vec![
        Sketch {
            name: "zero-window",
            about: "one writes more than fits, the other reads a tick late",
            lives: [
                &[&[&[Connect(1), Send(1, 1200), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, RecvEof(1), Close(1)]]],
            ],
            patience: Some(1),
            window: Some(600),
            faults: faults(1, 0, 0),
            quick: faults(0, 0, 0),
            ..open
        },
        Sketch {
            name: "delayed-acks",
            about: "as 'talk', ACKs wait for data to go with",
            lives: answer,
            quickack: false,
            faults: faults(2, 0, 0),
            ..open
        },
        Sketch {
            name: "by-default",
            about: "as 'talk' with what Linux does by default: SACK, timestamps, tail loss probes, delayed ACKs",
            lives: answer,
            quickack: false,
            settings: LINUX,
            ..open
        },
    ]
}

/// Initial sequence numbers follow the clock (RFC 9293 3.4.1, RFC 6528).
const CLOCK: &[(&str, &str)] = &[("finack.testing_fixed_isn", "0")];

fn clocked(plain: &Sketch) -> Vec<Sketch> {
    let again = Sketch { prelude: OPEN_AND_LISTENING, settings: CLOCK, ..*plain };
    vec![
        Sketch {
            name: "reuse-by-clock",
            about: "as 'reuse'; initial sequence numbers follow the clock",
            lives: [&[TWICE], &[SERVE_TWICE]],
            faults: faults(2, 0, 0),
            quick: faults(1, 0, 0),
            ..again
        },
        Sketch {
            name: "reuse-while-peer-waits-by-clock",
            about: "as 'reuse-while-peer-waits'; by the clock a new SYN ends TIME-WAIT (MAY-2)",
            lives: [&[FOLLOW_TWICE], &[CLOSE_FIRST_TWICE]],
            faults: faults(0, 0, 0),
            quick: faults(0, 0, 0),
            ..again
        },
    ]
}

/// The world with this name.
#[must_use]
pub fn named(name: &str, quick: bool) -> Option<World> {
    worlds(quick).into_iter().find(|w| w.name == name)
}
