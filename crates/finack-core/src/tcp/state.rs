//! The eleven states (RFC 9293 3.3.2).

use core::fmt;

/// State of a connection. `Listen` belongs to listeners; `Closed` to what is no connection any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// No connection at all.
    Closed,
    /// Waiting for anybody's SYN.
    Listen,
    /// Our SYN is out.
    SynSent,
    /// SYNs crossed or came; the last ACK is awaited.
    SynReceived,
    /// Open both ways.
    Established,
    /// We closed first; our FIN is not yet acknowledged.
    FinWait1,
    /// We closed first; the peer may still send.
    FinWait2,
    /// The peer closed first; the application has not closed yet.
    CloseWait,
    /// Both closed at once; our FIN is not yet acknowledged.
    Closing,
    /// The peer closed first, then we; our FIN is not yet acknowledged.
    LastAck,
    /// Over; waits for 2 MSL so that nothing old can harm a successor.
    TimeWait,
}

impl State {
    /// All eleven, in RFC 9293's order.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// RFC 9293's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }

    /// Both SYNs were acknowledged.
    pub const fn is_synchronized(self) -> bool {
        self as u8 >= Self::Established as u8
    }

    /// Our side has not sent a FIN: data may still be sent.
    pub const fn may_send(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }

    /// The peer's FIN has not come: data may still arrive.
    pub const fn may_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
