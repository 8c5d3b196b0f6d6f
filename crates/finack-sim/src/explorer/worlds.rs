//! The worlds that are explored.
//!
//! Time is counted in ticks of a second. The retransmission time-out is one tick whatever was measured (least and greatest
//! are both a second), a segment lives for one or two: so what is sent again and what it replaces are on their way together,
//! and segments of a connection arrive when it is long over.

use core::time::Duration;

use super::app::Op::{
    Abort, Accept, Close, Connect, Linger, Listen, Recv, RecvEof, Send, ShutWrite, Unlisten,
};
use super::world::{Faults, Program, World, hosts};

/// Settings that all worlds share: times of a tick, and nothing that follows the clock.
const COMMON: &[(&str, &str)] = &[
    ("tcp_rto_min_us", "1000000"),
    ("tcp_rto_max_ms", "1000"),
    ("tcp_timestamps", "0"),
    ("tcp_congestion_control", "reno"),
    ("tcp_early_retrans", "0"),
    ("tcp_sack", "0"),
    ("tcp_fin_timeout", "6"),
    ("tcp_retries2", "10"),
    ("tcp_orphan_retries", "10"),
    ("finack.testing_fixed_isn", "1"),
    ("tcp_rfc1337", "1"),
];

const fn faults(losses: u8, duplicates: u8, reorders: u8) -> Faults {
    Faults { losses, duplicates, reorders }
}

struct Sketch {
    name: &'static str,
    about: &'static str,
    lives: [&'static [Program]; 2],
    faults: Faults,
    msl: u8,
    settings: &'static [(&'static str, &'static str)],
    must_find: Option<&'static str>,
    quick: bool,
}

impl Sketch {
    fn world(&self) -> World {
        let wait = match 2 * self.msl {
            2 => "2",
            4 => "4",
            _ => "6",
        };
        let own = [("finack.tcp_timewait_len", wait)];
        let settings = COMMON.iter().chain(&own).chain(self.settings).copied().collect();
        World {
            name: self.name,
            about: self.about,
            hosts: hosts(self.lives[0], self.lives[1]),
            faults: self.faults,
            msl: self.msl,
            tick: Duration::from_secs(1),
            settings,
            must_find: self.must_find,
            quick: self.quick,
        }
    }
}

const SERVER: Program = &[&[Listen, Accept(1), Unlisten, RecvEof(1), Close(1)]];

/// All of them.
#[must_use]
pub fn worlds() -> Vec<World> {
    let plain = Sketch {
        name: "",
        about: "",
        lives: [&[], &[]],
        faults: faults(2, 1, 1),
        msl: 1,
        settings: &[],
        must_find: None,
        quick: true,
    };
    let sketches = [
        Sketch {
            name: "open",
            about: "active and passive open, at once closed by the opener",
            lives: [&[&[&[Connect(1), Close(1)]]], &[SERVER]],
            ..plain
        },
        Sketch {
            name: "talk",
            about: "two bytes each way, closed by the opener",
            lives: [
                &[&[&[Connect(1), Send(1, 2), Recv(1, 2), Close(1)]]],
                &[&[&[Listen, Accept(1), Unlisten, Recv(1, 2), Send(1, 2), RecvEof(1), Close(1)]]],
            ],
            ..plain
        },
    ];
    sketches.iter().map(Sketch::world).collect()
}

/// The world with this name.
#[must_use]
pub fn named(name: &str) -> Option<World> {
    worlds().into_iter().find(|w| w.name == name)
}
