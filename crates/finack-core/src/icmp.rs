//! What ICMP errors mean to sockets, and how often this host sends them.

use alloc::collections::{BTreeMap, VecDeque};
use core::net::IpAddr;
use core::time::Duration;

use finack_wire::icmp::{ErrorKind, IcmpMessage, Unreachable};

use crate::Error;
use crate::time::Instant;

#[cfg(test)]
mod tests;

/// What an error tells the socket that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// What the application is told.
    pub(crate) error: Error,
    /// Nothing will come of trying on (RFC 1122 4.2.3.9). Whether that ends a connection is for TCP to judge: one that
    /// is established goes on (RFC 5927 5.2, RFC 5461 2).
    pub(crate) hard: bool,
}

/// The error that a message reports; `None` for what is no error, and for source quenches, which are ignored
/// (RFC 6633).
pub(crate) fn reported(message: &IcmpMessage<'_>) -> Option<ErrorKind> {
    Some(match *message {
        IcmpMessage::Unreachable { code, .. } => ErrorKind::Unreachable(code),
        IcmpMessage::FragNeeded { mtu, .. } => ErrorKind::FragNeeded { mtu },
        IcmpMessage::TimeExceeded { code, .. } => ErrorKind::TimeExceeded { code },
        IcmpMessage::ParameterProblem { pointer, code, .. } => ErrorKind::ParameterProblem { pointer, code },
        _ => return None,
    })
}

/// What the error means, as Linux's `icmp_err_convert` and `icmpv6_err_convert` have it; `v6` tells which of the two.
pub(crate) fn meaning(kind: ErrorKind, v6: bool) -> Meaning {
    let soft = |error| Meaning { error, hard: false };
    let hard = |error| Meaning { error, hard: true };
    match kind {
        ErrorKind::Unreachable(code) => match code {
            Unreachable::Network | Unreachable::NetworkForTos | Unreachable::NoRoute => {
                soft(Error::NetworkUnreachable)
            }
            Unreachable::Protocol => hard(Error::ProtocolUnreachable),
            Unreachable::Port => hard(Error::ConnectionRefused),
            Unreachable::NetworkUnknown | Unreachable::NetworkProhibited => hard(Error::NetworkUnreachable),
            Unreachable::HostUnknown => hard(Error::HostUnknown),
            Unreachable::SourceIsolated => hard(Error::HostIsolated),
            Unreachable::SourceRouteFailed => soft(Error::NotSupported),
            Unreachable::AdminProhibited if v6 => hard(Error::AccessDenied),
            // Precedence violation and cut-off.
            Unreachable::Other(14 | 15) if !v6 => hard(Error::HostUnreachable),
            Unreachable::HostProhibited | Unreachable::AdminProhibited => hard(Error::HostUnreachable),
            Unreachable::PolicyFailed | Unreachable::RejectRoute => hard(Error::AccessDenied),
            _ => soft(Error::HostUnreachable),
        },
        // A datagram too large for the path; to TCP this is path MTU discovery, no error.
        ErrorKind::FragNeeded { .. } => hard(Error::MessageTooLong),
        ErrorKind::TimeExceeded { .. } => soft(Error::HostUnreachable),
        ErrorKind::ParameterProblem { .. } => hard(Error::ProtocolError),
    }
}

/// Messages that may go to one destination at once, as on Linux (`XRLIM_BURST_FACTOR`).
const BURST: u32 = 6;
/// Destinations remembered; the oldest is forgotten first.
const MOST: usize = 4096;

/// How often errors go to each destination. There is no limit common to several destinations: such a counter can be
/// read by a third host, and tells it which ports are open (as in CVE-2020-25705).
#[derive(Clone, Debug, Default)]
pub(crate) struct Limiter {
    /// When the destination's allowance will be whole again.
    full_at: BTreeMap<IpAddr, Instant>,
    order: VecDeque<IpAddr>,
}

impl Limiter {
    /// Whether one more message may go to `dst` at `now`: six at once, and one each `interval` in the long run.
    pub(crate) fn allow(&mut self, now: Instant, dst: IpAddr, interval: Duration) -> bool {
        if interval.is_zero() {
            return true;
        }
        if !self.full_at.contains_key(&dst) {
            if self.order.len() >= MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.full_at.remove(&oldest);
            }
            self.order.push_back(dst);
        }
        let full_at = self.full_at.entry(dst).or_insert(now);
        let next = (*full_at).max(now) + interval;
        let allowed = next.since(now) <= interval * BURST;
        if allowed {
            *full_at = next;
        }
        allowed
    }

    /// Bytes that the memory of destinations takes.
    pub(crate) fn memory(&self) -> usize {
        self.order.len() * 2 * size_of::<(IpAddr, Instant)>()
    }
}
