//! What is told of a packet in its comment.

use std::fmt;

use finack_core::error::Error;
use finack_core::tcp::State;
use finack_core::trace::{
    Direction, DropReason, PacketId, ResetReason, RetransmitReason, SendReason, TraceEvent, TraceKind,
};

/// One thing worth telling of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Dropped(DropReason),
    /// It was answered with a RST.
    Answered(ResetReason),
    /// It is a RST that this stack sent.
    Reset(ResetReason),
    /// It is a RST that was believed.
    ResetReceived,
    Again(RetransmitReason),
    Challenge,
    Probe,
    KeepAlive,
    Changed {
        from: State,
        to: State,
    },
    Icmp {
        hard: bool,
        error: Error,
    },
    PathMtu(u32),
}

impl Why {
    /// What an observation tells of a packet, where it does.
    pub(super) fn of(event: &TraceEvent) -> Option<(PacketId, Self)> {
        let packet = event.packet?;
        let why = match &event.kind {
            TraceKind::Segment(segment) if segment.dir == Direction::Out => match segment.reason {
                SendReason::Retransmission(reason) => Self::Again(reason),
                SendReason::Reset(reason) => Self::Reset(reason),
                SendReason::ChallengeAck => Self::Challenge,
                SendReason::WindowProbe => Self::Probe,
                SendReason::KeepAlive => Self::KeepAlive,
                _ => return None,
            },
            TraceKind::Dropped { reason, .. } => Self::Dropped(*reason),
            // Of the RST itself its own segment tells.
            TraceKind::ResetSent(reason) if matches!(packet, PacketId::In(_)) => Self::Answered(*reason),
            TraceKind::ResetReceived => Self::ResetReceived,
            TraceKind::State { from, to } => Self::Changed { from: *from, to: *to },
            TraceKind::Icmp { hard, error } => Self::Icmp { hard: *hard, error: *error },
            TraceKind::PathMtu { mtu } => Self::PathMtu(*mtu),
            _ => return None,
        };
        Some((packet, why))
    }

    /// Whether it is told of every packet that a unit stands for; else of the last one, with which the unit is complete.
    pub(super) const fn concerns_all(self) -> bool {
        matches!(self, Self::Dropped(_) | Self::Again(_))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(reason) => write!(f, "finack dropped it: {reason}"),
            Self::Answered(reason) => write!(f, "finack answers with a RST: {reason}"),
            Self::Reset(reason) => write!(f, "finack sent this RST: {reason}"),
            Self::ResetReceived => f.write_str("finack: this RST ends the connection"),
            Self::Again(reason) => write!(f, "finack sent it again: {reason}"),
            Self::Challenge => f.write_str(
                "finack challenges what came before: only a peer that means it can answer (RFC 5961)",
            ),
            Self::Probe => f.write_str("finack probes a closed window (RFC 9293 3.8.6.1)"),
            Self::KeepAlive => f.write_str("finack asks whether the peer is still there (RFC 9293 3.8.4)"),
            Self::Changed { from, to } => write!(f, "finack: {from} → {to}"),
            Self::Icmp { hard: true, error } => {
                write!(f, "finack: this ICMP error ends the connection: {error}")
            }
            Self::Icmp { hard: false, error } => {
                write!(f, "finack took note of this ICMP error: {error}")
            }
            Self::PathMtu(mtu) => write!(f, "finack: the path takes packets of {mtu} bytes from here on"),
        }
    }
}
