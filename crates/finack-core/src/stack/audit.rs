//! Whether the tables agree with each other, and what is left when all should be over. For simulations and tests.

use alloc::string::String;
use alloc::vec::Vec;

use super::Stack;
use crate::demux::{Kind, Slot};
use crate::tcp::State;
use crate::tcp::time_wait::TwFlags;
use crate::tcp::timers::Timer;
use crate::time::Instant;
use crate::timer::Owner;

impl Stack {
    /// Looks at everything that is kept twice: who stands in the index of four-tuples, whose timer is in the wheel in time,
    /// what the memory budget counts. O(everything).
    ///
    /// # Errors
    /// What does not agree, in one line.
    pub fn check_tables(&self) -> Result<(), String> {
        let mut indexed = 0;
        let mut charged = 0;
        for (index, c) in self.connections.iter() {
            charged += u64::from(c.charged);
            if !c.facts.indexed() {
                if c.state != State::Closed
                    || self.wheel.is_armed(Owner::connection(index))
                    || c.facts.orphan()
                {
                    return Err(alloc::format!("a connection in no table is kept in {}", c.state));
                }
                continue;
            }
            indexed += 1;
            if self.find(self.hash(&c.tuple), &c.tuple) != Some(Slot::new(Kind::Connection, index)) {
                return Err(alloc::format!("a connection in {} is not found by its four-tuple", c.state));
            }
            if c.timers.earliest() < c.wheel_at {
                return Err(alloc::format!("a timer of a connection in {} would fire too late", c.state));
            }
            if !c.rtx.is_empty() && !c.timers.is_armed(Timer::Retransmit) {
                return Err(alloc::format!(
                    "something is out in {}, and no retransmission timer runs (RFC 6298 5.1)",
                    c.state
                ));
            }
        }
        for (index, e) in self.embryos.iter() {
            indexed += 1;
            if self.find(self.hash(&e.tuple), &e.tuple) != Some(Slot::new(Kind::Embryo, index)) {
                return Err("a half-open record is not found by its four-tuple".into());
            }
            if !self.wheel.is_armed(Owner::embryo(index)) {
                return Err("no timer runs for a half-open record".into());
            }
        }
        let waits = self.waits4.iter().chain(self.waits6.iter());
        indexed += waits.filter(|(tw, _)| !tw.flags.has(TwFlags::COVERED)).count();
        if indexed != self.demux.len() {
            return Err(alloc::format!(
                "{} four-tuples are indexed, {indexed} stand in tables",
                self.demux.len()
            ));
        }
        let orphans = self.connections.iter().filter(|(_, c)| c.facts.counted()).count();
        if orphans != self.expendable.orphans_left {
            let counted = self.expendable.orphans_left;
            return Err(alloc::format!("{counted} orphans are counted, {orphans} are there"));
        }
        if charged != self.cx.budget.used {
            return Err(alloc::format!("the budget counts {} bytes of {charged}", self.cx.budget.used));
        }
        Ok(())
    }

    /// When the next timer of TCP is really due: [`poll_timeout`](Self::poll_timeout) may be earlier, because timers are moved
    /// lazily. O(everything).
    pub fn next_deadline(&self) -> Option<Instant> {
        let connections =
            self.connections.iter().filter(|(_, c)| c.facts.indexed()).map(|(_, c)| c.timers.earliest());
        let embryos = self.embryos.iter().map(|(_, e)| e.sent_at + e.timeout(&self.cx));
        let waits = self.waits4.iter().chain(self.waits6.iter()).map(|(tw, _)| tw.expires);
        connections.chain(embryos).chain(waits).filter(|&at| at != Instant::FAR_FUTURE).min()
    }

    /// What a host without sockets should not keep: connections, half-open records, TIME-WAITs, listeners, ports, timers,
    /// bytes of the memory budget. Empty where nothing is left.
    pub fn leftovers(&self) -> Vec<String> {
        let counts = [
            ("connections", self.connections.len()),
            ("half-open records", self.embryos.len()),
            ("TIME-WAITs", self.waits4.len() + self.waits6.len()),
            ("listeners", self.listeners.len()),
            ("binds", self.binds.len()),
            ("four-tuples", self.demux.len()),
            ("owners of ports", self.ports.owners()),
            ("timers", self.wheel.len()),
            ("orphans", self.expendable.orphans_left),
            ("bytes of the budget", usize::try_from(self.cx.budget.used).unwrap_or(usize::MAX)),
        ];
        counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| alloc::format!("{n} {what}")).collect()
    }
}
