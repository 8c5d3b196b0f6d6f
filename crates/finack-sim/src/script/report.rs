//! What a failing script prints.

use core::fmt::Write as _;

use finack_core::trace::{Direction, TraceKind};

use super::Script;
use crate::packet::{Body, parse};
use crate::text::{Bases, render};

/// Lines of the exchange that a failure shows.
const SHOWN: usize = 60;

impl Script {
    /// Fails with the exchange so far.
    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        let mut out = format!("{what}\n  at {:?}; the exchange so far:\n", self.now);
        let skipped = self.log.len().saturating_sub(SHOWN);
        if skipped > 0 {
            let _ = writeln!(out, "    ({skipped} lines before)");
        }
        for line in &self.log[skipped..] {
            let _ = writeln!(out, "    {line}");
        }
        panic!("{out}");
    }

    pub(crate) fn note(&mut self, line: String) {
        let at = self.now.since(self.start);
        self.log.push(format!("{:>11.6} {line}", at.as_secs_f64()));
    }

    pub(crate) fn drain_trace(&mut self) {
        while let Some(event) = self.stack.poll_trace() {
            let line = match &event.kind {
                TraceKind::Segment(s) if s.dir == Direction::Out => Some(format!("     ({:?})", s.reason)),
                TraceKind::Segment(_) | TraceKind::App(_) => None,
                TraceKind::State { from, to } => Some(format!("     ({from} -> {to})")),
                kind => Some(format!("     ({kind:?})")),
            };
            self.trace.push(event);
            line.into_iter().for_each(|line| self.note(line));
        }
    }

    /// One line about a packet, numbers relative where the flow is known.
    pub(crate) fn describe(&self, bytes: &[u8]) -> String {
        let packet = match parse(bytes) {
            Ok(packet) => packet,
            Err(e) => return format!("{} bytes: {e}", bytes.len()),
        };
        let tcp = match &packet.body {
            Body::Tcp(tcp) => tcp,
            Body::Udp(u) => return format!("UDP {} > {} ({})", packet.from(), packet.to(), u.payload.len()),
            Body::Icmp(m) => {
                return format!("ICMP {} > {} type {} code {}", packet.ip.src, packet.ip.dst, m.kind, m.code);
            }
            Body::Other { protocol, payload } => {
                return format!(
                    "protocol {protocol} {} > {} ({})",
                    packet.ip.src,
                    packet.ip.dst,
                    payload.len()
                );
            }
        };
        let (from, to) = (packet.from(), packet.to());
        for (i, flow) in self.flows.iter().enumerate() {
            let bases = if (from, to) == (flow.local, flow.remote) {
                flow.out_bases()
            } else if (to, from) == (flow.local, flow.remote) {
                flow.in_bases()
            } else {
                continue;
            };
            let other = if i == self.current { String::new() } else { format!("  [{from} > {to}]") };
            return format!("{}{other}", render(tcp, &bases));
        }
        format!("{}  [{from} > {to}]", render(tcp, &Bases::default()))
    }
}
