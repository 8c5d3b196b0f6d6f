//! What must hold, and who says so.

use core::fmt;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $requirement:literal;)+) => {
        /// What must hold of every connection, whatever the network and its peer do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule { $($(#[doc = $doc])+ $variant,)+ }

        impl Rule {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// A short name for tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Where it is written.
            #[must_use]
            pub const fn requirement(self) -> &'static str {
                match self { $(Self::$variant => $requirement,)+ }
            }
        }
    };
}

rules! {
    /// Nothing is sent beyond SND.NXT but what follows it.
    Sequence = "sequence", "RFC 9293 3.4, 3.3.1: SND.NXT advances by what is sent";
    /// Nothing is sent beyond the window that the peer offered, but one byte that probes it.
    SendWindow = "send-window", "RFC 9293 3.8.6, MUST-34, MUST-36: no data beyond SND.UNA + SND.WND but a probe";
    /// What is sent again is what was sent.
    SameBytes = "same-bytes", "RFC 9293 3.8.1: a sequence number names one byte for ever";
    /// Nothing follows a FIN.
    AfterFin = "after-fin", "RFC 9293 3.5, MUST-9, 3.6: a FIN is the last of its stream, and stays where it is";
    /// What is acknowledged has arrived.
    AckedUnseen = "acked-unseen", "RFC 9293 3.10.7.4: RCV.NXT covers only what has arrived";
    /// RCV.NXT never goes back.
    AckBack = "ack-back", "RFC 9293 3.4: RCV.NXT never goes back";
    /// The right edge of the window never goes back.
    WindowShrunk = "window-shrunk", "RFC 9293 3.8.6, SHLD-14: a receiver does not shrink its window";
    /// SACK blocks name what has arrived and is not acknowledged, the first one may name a duplicate.
    Sack = "sack", "RFC 2018 4, RFC 2883 4: blocks tell what has arrived beyond the ACK, or one duplicate first";
    /// Timestamps are there where they were agreed on, never go back, and echo what came.
    Timestamps = "timestamps", "RFC 7323 3.2, 4.3: TSopt on every segment, TSval monotone, TSecr one that came";
    /// An option counts only if both offered it.
    Options = "options", "RFC 7323 2.2, 3.2, RFC 2018 2: a SYN,ACK has no option that the SYN lacked";
    /// ECN is used where both offered it, and no host says that there was congestion.
    Ecn = "ecn", "RFC 3168 6.1, 6.1.1, RFC 9768 3.1: ECT, ECE and CWR only where both offered ECN; CE is the network's";
    /// No segment is larger than the peer takes.
    Mss = "mss", "RFC 9293 3.7.1, MUST-14 to MUST-16, MUST-67: SendMSS bounds each segment";
    /// No packet is larger than the device's MTU.
    Mtu = "mtu", "RFC 9293 3.7.5, MUST-67: no packet exceeds the MTU";
    /// Who has no connection answers with RST or not at all.
    NoConnection = "no-connection", "RFC 9293 3.10.7.1: CLOSED answers with a RST or not at all";
    /// Every RST has a reason that is told.
    ResetReason = "reset-reason", "RFC 9293 3.5.2, MUST-2: a RST is sent for a reason, each counted once";
    /// Each state follows from one of those that lead to it.
    Transition = "transition", "RFC 9293 3.3.2, figure 5: only its transitions";
    /// The congestion window holds a segment at least.
    SmallCwnd = "small-cwnd", "RFC 5681 3.1: the loss window is one segment";
    /// New data goes out within the congestion window.
    InFlight = "in-flight", "RFC 5681 2, 4: no new data beyond the congestion window";
    /// A connection knows of nothing that was not on the wire.
    Accounting = "accounting", "RFC 9293 3.3.1: SND.UNA and RCV.NXT follow from what came";
    /// While something is unacknowledged a timer runs.
    NoTimer = "no-timer", "RFC 6298 5.1: a timer runs while data is outstanding";
    /// Each byte arrives once, in order, unchanged, and none of another incarnation.
    Stream = "stream", "RFC 9293 2.2: a reliable, in-order byte stream";
    /// EOF comes after the last byte and only where the peer sent FIN.
    Eof = "eof", "RFC 9293 3.6: the end of the stream is told after its last byte";
    /// An application is told the error that happened.
    WrongError = "wrong-error", "RFC 9293 3.9.1, 3.10.7.4: a user is told what truly happened";
    /// A call succeeds or fails as the documentation says.
    Call = "call", "RFC 9293 3.9.1: a call answers as the connection's state has it";
    /// Every connection comes to an end.
    Unending = "unending", "RFC 9293 3.8.3, 3.8.6.1, 3.10.8: what can go on goes on, and all else ends";
    /// Who opens meets only who was meant.
    Ghost = "ghost", "RFC 9293 3.5: a connection is accepted only where a peer opened it";
    /// When all has ended nothing is kept.
    Leak = "leak", "RFC 9293 3.3.2: CLOSED keeps no connection state";
    /// A datagram arrives as it was sent or not at all.
    Datagram = "datagram", "RFC 768, RFC 1122 4.1.3.4: a datagram arrives unchanged or not at all";
    /// Nothing panics, and what is sent is well-formed.
    Sound = "sound", "every packet is well-formed, and no call or packet ends the program";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
