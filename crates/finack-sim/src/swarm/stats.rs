//! What happened in a run, in numbers.

use core::time::Duration;

use finack_core::Stack;

/// Sums over one run or many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs.
    pub seeds: u64,
    /// Connections that applications asked for.
    pub connections: u64,
    /// Ends that came to be open.
    pub opened: u64,
    /// Connections that their opener ended in order.
    pub completed: u64,
    /// Packets sent by hosts.
    pub packets: u64,
    /// Packets that met a fault.
    pub faults: u64,
    /// Bytes read by applications.
    pub bytes: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Fast recoveries begun.
    pub recoveries: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Repairs that proved needless and were undone.
    pub undone: u64,
    /// Applications that were told of a reset.
    pub resets: u64,
    /// Applications that were told of a time-out.
    pub timed_out: u64,
    /// Ends that waited in vain for a peer that was gone without a word.
    pub half_open: u64,
    /// Hosts that crashed.
    pub crashes: u64,
    /// TIME-WAITs.
    pub time_waits: u64,
    /// Runs that ended at the bound of packets or steps.
    pub bounded: u64,
    /// Virtual time, the last 2 MSL not counted.
    pub virtual_time: Duration,
}

impl Stats {
    /// Adds what a host counted.
    pub(super) fn add_host(&mut self, stack: &Stack) {
        let c = stack.counters();
        self.retransmissions += c.tcp_retrans_segs;
        self.recoveries += c.tcp_fast_recoveries;
        self.timeouts += c.tcp_timeouts;
        self.undone += c.tcp_undone;
        self.time_waits += c.tcp_time_waits;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (sum, (_, n)) in self.numbers_mut().into_iter().zip(other.numbers()) {
            *sum += n;
        }
        self.virtual_time += other.virtual_time;
    }

    /// Each number with its name.
    #[must_use]
    pub const fn numbers(&self) -> [(&'static str, u64); 17] {
        [
            ("seeds", self.seeds),
            ("connections", self.connections),
            ("ends opened", self.opened),
            ("completed", self.completed),
            ("packets", self.packets),
            ("faults", self.faults),
            ("bytes read", self.bytes),
            ("retransmissions", self.retransmissions),
            ("recoveries", self.recoveries),
            ("time-outs", self.timeouts),
            ("undone", self.undone),
            ("resets told", self.resets),
            ("time-outs told", self.timed_out),
            ("half-open", self.half_open),
            ("crashes", self.crashes),
            ("time-waits", self.time_waits),
            ("cut short", self.bounded),
        ]
    }

    fn numbers_mut(&mut self) -> [&mut u64; 17] {
        [
            &mut self.seeds,
            &mut self.connections,
            &mut self.opened,
            &mut self.completed,
            &mut self.packets,
            &mut self.faults,
            &mut self.bytes,
            &mut self.retransmissions,
            &mut self.recoveries,
            &mut self.timeouts,
            &mut self.undone,
            &mut self.resets,
            &mut self.timed_out,
            &mut self.half_open,
            &mut self.crashes,
            &mut self.time_waits,
            &mut self.bounded,
        ]
    }
}
