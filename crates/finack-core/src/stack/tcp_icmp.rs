//! ICMP errors about TCP segments (RFC 5927, RFC 5461, RFC 1122 4.2.3.9).

use finack_wire::icmp::{ErrorKind, Quoted};

use super::Stack;
use crate::demux::Kind;
use crate::icmp::{self, Meaning};
use crate::options::MtuDiscovery;
use crate::settings::Profile;
use crate::tcp::input::{Outcome, fail};
use crate::tcp::tcb::Connection;
use crate::tcp::{State, Tuple, fast_open};
use crate::time::Instant;
use crate::trace::{DropReason, EndCause, TraceKind};

impl Stack {
    /// An error about a segment that one of our addresses is said to have sent.
    pub(super) fn tcp_icmp_error(&mut self, now: Instant, quoted: &Quoted, kind: ErrorKind) {
        let flow = quoted.flow();
        let tuple = Tuple::new(flow.local, flow.remote);
        let slot = self.find(self.hash(&tuple), &tuple);
        let connection = slot.filter(|s| s.kind() == Kind::Connection).map(|s| s.index());
        let proven = connection.and_then(|index| {
            let c = self.connections.get(index)?;
            quoted.tcp_seq.filter(|&seq| is_in_flight(c, seq, kind)).map(|_| index)
        });
        let Some(index) = proven else {
            return self.note_drop(now, DropReason::IcmpUnproven, quoted.total_len, Self::ends(&tuple));
        };
        if self.ignores_icmp(index, kind) {
            return self.note_drop(now, DropReason::IcmpIgnored, quoted.total_len, Self::ends(&tuple));
        }
        if let ErrorKind::FragNeeded { mtu } = kind {
            self.too_large(now, index, quoted, mtu);
            return;
        }
        self.unreachable(now, index, icmp::meaning(kind, quoted.dst.is_ipv6()));
    }

    /// A router says that the path takes packets of `mtu` bytes only, or does not say how large they may be (0).
    fn too_large(&mut self, now: Instant, index: u32, quoted: &Quoted, mtu: u32) {
        let Some(c) = self.connections.get(index) else { return };
        let mode = c.options.mtu_discovery(&self.cx.settings);
        if mode == MtuDiscovery::Interface || mode == MtuDiscovery::Omit {
            return;
        }
        self.learn_mtu(now, quoted.dst, mtu, quoted.total_len as u32);
        self.follow_path_mtu(now, index);
        self.refresh(now, index);
    }

    /// Smaller segments, if the path is known to take no larger ones: also where another connection learned it.
    pub(super) fn follow_path_mtu(&mut self, now: Instant, index: u32) {
        let Some(c) = self.connections.get_mut(index) else { return };
        if !c.options.mtu_discovery(&self.cx.settings).follows_routers() {
            return;
        }
        if let Some(mtu) = self.ip.mtu_towards(now, c.tuple.remote).filter(|&mtu| mtu < c.path_mtu) {
            c.lower_path_mtu(&mut self.cx, now, mtu);
        }
    }

    /// A connection that is being opened fails; one that stands goes on, and remembers what was said for the case that it
    /// times out. An RFC profile lets soft errors pass while opening too (RFC 1122 4.2.3.9), Linux does not.
    fn unreachable(&mut self, now: Instant, index: u32, meaning: Meaning) {
        let Some(c) = self.connections.get_mut(index) else { return };
        let opening = matches!(c.state, State::SynSent | State::SynReceived);
        let fatal = opening && (meaning.hard || self.cx.settings.profile == Profile::Linux);
        if self.cx.settings.profile == Profile::Rfc {
            fast_open::note_failure(&mut self.cx, now, c);
        }
        let (id, tuple) = (c.trace_id, c.tuple);
        if fatal {
            fail(c, meaning.error);
        } else {
            c.soft_error = Some(meaning.error);
        }
        self.cx.trace(now, id, &tuple, TraceKind::Icmp { hard: fatal, error: meaning.error });
        if fatal {
            self.settle(now, index, Outcome::Closed(EndCause::Unreachable));
        }
    }
}

/// Whether the connection has sent this and has no ACK for it yet (RFC 5927 4.1). A pure ACK stands at SND.NXT; it is
/// never too large for a path.
fn is_in_flight(c: &Connection, seq: u32, kind: ErrorKind) -> bool {
    let outstanding = c.snd_seq(c.snd_nxt).wrapping_sub(c.snd_seq(c.snd_una));
    let offset = seq.wrapping_sub(c.snd_seq(c.snd_una));
    if matches!(kind, ErrorKind::FragNeeded { .. }) { offset < outstanding } else { offset <= outstanding }
}
