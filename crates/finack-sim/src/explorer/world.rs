//! What a world is made of: two hosts with their programs, a network with bounds, and settings.

use core::net::SocketAddr;
use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::SocketOptions;
use finack_core::settings::Settings;
use finack_core::stack::{Config, InterfaceAddress};
use finack_core::{Instant, Stack};

use super::app::Op;
use crate::packet::v4;

/// One of the two hosts, 0 or 1.
pub type End = usize;

/// Lists of calls that a host's application takes side by side, in one life of the host.
pub type Program = &'static [&'static [Op]];

/// A host: where it is, what its application does.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// What people call it.
    pub name: &'static str,
    /// Its address and port.
    pub local: SocketAddr,
    /// The other's.
    pub remote: SocketAddr,
    /// What its application does in each of its lives; there are more than one where it may crash.
    pub lives: &'static [Program],
    /// Options of its sockets.
    pub options: SocketOptions,
}

impl HostSpec {
    /// The program of the `boots`th life.
    pub(crate) fn life(&self, boots: u8) -> Program {
        self.lives.get(usize::from(boots)).copied().unwrap_or_default()
    }
}

/// How often the network may do something to a segment, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Segments that may be lost.
    pub losses: u8,
    /// Segments that may be there twice.
    pub duplicates: u8,
    /// Segments that may be overtaken.
    pub reorders: u8,
}

/// A world: everything that may happen in it is explored.
#[derive(Clone, Debug)]
pub struct World {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// The two hosts.
    pub hosts: [HostSpec; 2],
    /// How it begins: whose next call is made, one after the other, all that is sent arriving at once.
    pub prelude: &'static [End],
    /// Bounds of the network.
    pub faults: Faults,
    /// How long a segment lives at most, in ticks.
    pub life: u8,
    /// How long TIME-WAIT lasts, in ticks.
    pub time_wait: u8,
    /// A tick.
    pub tick: Duration,
    /// How many ticks an application lets pass before a call that it can make; any number where there is no bound.
    pub patience: Option<u8>,
    /// Settings of both stacks, by their names.
    pub settings: Vec<(&'static str, &'static str)>,
    /// The world must be found at fault, as a proof that the explorer can: with this text in what it finds.
    pub must_find: Option<&'static str>,
}

/// When every world begins; later than zero, so that no clock begins there.
pub(crate) const START: Instant = Instant::from_secs(1000);

impl World {
    /// A stack of one of the hosts. Its secrets differ from life to life, as a host's that lost its memory do.
    ///
    /// # Panics
    /// Where a setting is refused.
    #[must_use]
    pub fn stack(&self, end: End, boots: u8, now: Instant) -> Stack {
        let tcp_timewait_len = u64::from(self.time_wait) * self.tick.as_secs();
        let mut settings = Settings { tcp_timewait_len, ..Settings::default() };
        for (name, value) in &self.settings {
            settings.set(name, value).unwrap_or_else(|e| panic!("world '{}': {e}", self.name));
        }
        let mut seed = [end as u8 + 1; 32];
        seed[0] = boots;
        let mut stack = Stack::new(
            now,
            Config {
                settings,
                device: Capabilities::plain(1500),
                addresses: vec![InterfaceAddress { addr: self.hosts[end].local.ip(), prefix_len: 24 }],
                routes: Vec::new(),
                any_address: false,
                seed,
            },
        );
        stack.set_tracing(256);
        stack
    }

    /// Bytes that the programs write in all, and calls that they make.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let ops = || self.hosts.iter().flat_map(|h| h.lives).flat_map(|p| p.iter()).flat_map(|t| t.iter());
        let bytes = ops().map(|op| if let Op::Send(_, n) = op { usize::from(*n) } else { 0 }).sum();
        (bytes, ops().count())
    }

    /// How often hosts may crash.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.hosts.iter().map(|h| h.lives.len() - 1).sum()
    }

    /// Its bounds in a few words.
    #[must_use]
    pub fn bounds(&self) -> String {
        let (bytes, calls) = self.size();
        let Faults { losses, duplicates, reorders } = self.faults;
        let crashes = self.crashes();
        let mut out =
            format!("{bytes} B, {calls} calls, loss {losses}, dup {duplicates}, reorder {reorders}");
        if crashes > 0 {
            out += &format!(", crash {crashes}");
        }
        if let Some(patience) = self.patience {
            out += &format!(", wait {patience}");
        }
        out + &format!(", life {}, 2MSL {}", self.life, self.time_wait)
    }

    /// What its numbers on the wire are counted from at `now`: where the clock of initial sequence numbers stands, or 0
    /// where it does not run.
    pub(crate) fn clock(&self, now: Instant) -> u32 {
        let mut said = self.settings.iter().filter(|(name, _)| name.ends_with("testing_fixed_isn"));
        let fixed = said.next_back().is_some_and(|(_, value)| *value == "1");
        if fixed { 0 } else { (now.as_micros() / 4) as u32 }
    }
}

/// Two hosts with these programs in one life each.
pub(crate) fn hosts(first: &'static [Program], second: &'static [Program]) -> [HostSpec; 2] {
    let at = |host: u8, port: u16| SocketAddr::new(v4(host), port);
    let (a, b) = (at(1, 4000), at(2, 80));
    let options = SocketOptions::default();
    let host = |name, local, remote, lives| HostSpec { name, local, remote, lives, options };
    [host("alice", a, b, first), host("bob", b, a, second)]
}
