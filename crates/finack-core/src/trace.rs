//! Typed observations: why a packet was dropped, why a connection was reset, why a segment was sent again.
//!
//! The same events feed reports, ladder diagrams, captures, scripts and tests. They are recorded
//! only while someone listens ([`Stack::set_tracing`](crate::Stack::set_tracing)), into a bounded ring;
//! counters count always.

use core::fmt;
use core::net::SocketAddr;

use finack_wire::tcp::Flags;
use finack_wire::tcp_options::TcpOptions;

use crate::tcp::State;
use crate::time::Instant;

/// Names one incarnation of a connection over its whole life, from SYN to the end of TIME-WAIT; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub u64);

/// A packet at the edge of the stack, which a capture can find an observation's packet by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketId {
    /// Received: the number that the device gave it ([`PacketMeta::number`](crate::device::PacketMeta::number)).
    In(u64),
    /// Sent: the number that the stack gave it ([`Transmit::number`](crate::device::Transmit::number)).
    Out(u64),
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When.
    pub at: Instant,
    /// Which connection, where it is one's.
    pub conn: Option<TraceId>,
    /// This stack's end.
    pub local: Option<SocketAddr>,
    /// The other end.
    pub remote: Option<SocketAddr>,
    /// The packet that was being taken in or sent, where the device numbers those that it hands over. One that the
    /// host sends to itself has a number that no device ever sees.
    pub packet: Option<PacketId>,
    /// What.
    pub kind: TraceKind,
}

/// In or out, as the stack sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A TCP segment (or unit of several) as it was received or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentTrace {
    /// Received or sent.
    pub dir: Direction,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK.
    pub ack: u32,
    /// The nine flags.
    pub flags: Flags,
    /// SEG.WND in bytes, the window scale applied where it holds.
    pub window: u32,
    /// Payload bytes.
    pub len: u32,
    /// Wire segments that the unit stands for.
    pub segments: u16,
    /// The urgent pointer as on the wire; meaningful with URG.
    pub urgent: u16,
    /// The options.
    pub options: TcpOptions,
    /// Why it was sent; `SendReason::Received` for those that came in.
    pub reason: SendReason,
}

/// Why a segment was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendReason {
    /// It was not sent by this stack.
    Received,
    /// SYN or SYN,ACK of an opening connection.
    Open,
    /// New data (perhaps with FIN).
    Data,
    /// A pure ACK.
    Ack,
    /// A delayed ACK whose timer ran out.
    DelayedAck,
    /// The ACK of something unacceptable: out of window, duplicate.
    DuplicateAck,
    /// A challenge ACK (RFC 5961).
    ChallengeAck,
    /// A window update.
    WindowUpdate,
    /// A FIN.
    Fin,
    /// A RST.
    Reset(ResetReason),
    /// Sent again.
    Retransmission(RetransmitReason),
    /// A zero-window probe (RFC 9293 MUST-35).
    WindowProbe,
    /// A keep-alive probe.
    KeepAlive,
    /// New data that probes for the path MTU (RFC 4821).
    MtuProbe,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceKind {
    /// A TCP segment of a connection, or one that belongs to none.
    Segment(SegmentTrace),
    /// A state changed.
    State {
        /// From.
        from: State,
        /// To.
        to: State,
    },
    /// A packet was dropped.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Bytes of the packet.
        len: u32,
    },
    /// A RST was sent.
    ResetSent(ResetReason),
    /// A RST ended the connection.
    ResetReceived,
    /// Something was sent again.
    Retransmit {
        /// Why.
        reason: RetransmitReason,
        /// First sequence number.
        seq: u32,
        /// Bytes.
        len: u32,
    },
    /// The application asked for something.
    App(AppCall),
    /// An ICMP error reached the connection or socket.
    Icmp {
        /// Whether it ended the connection.
        hard: bool,
        /// What the application would be told.
        error: crate::Error,
    },
    /// Path MTU discovery changed the segment size.
    PathMtu {
        /// The path MTU from now on, in bytes.
        mtu: u32,
    },
    /// The last trace of the connection is gone.
    Ended(EndCause),
    /// The ring was full: this many events were lost before the next one.
    Lost(u64),
}

/// What an application asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppCall {
    /// connect
    Connect,
    /// accept
    Accept,
    /// shutdown for writing
    ShutdownWrite,
    /// shutdown for reading
    ShutdownRead,
    /// close
    Close,
    /// abort (linger 0)
    Abort,
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndCause {
    /// FIN both ways, and TIME-WAIT (where this side closed first) ran its time.
    Closed,
    /// The peer reset it.
    ResetByPeer,
    /// This side reset it.
    ResetByUs(ResetReason),
    /// Nobody answered: retransmissions, keep-alive or the user time-out ran out.
    TimedOut,
    /// ICMP said that it cannot go on.
    Unreachable,
    /// An orphan waited in FIN-WAIT-2 for too long for the peer's FIN.
    FinWait2TimedOut,
    /// The listener was closed or the embryo gave way.
    Dropped,
    /// TIME-WAIT gave way to a new connection with the same four-tuple.
    Reopened,
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// Every one of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// One sentence for people, without a full stop.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// IP header malformed.
        IpMalformed = "the IP header is malformed",
        /// IP header checksum.
        IpChecksum = "the IPv4 header checksum is wrong",
        /// Not addressed to us.
        NotForUs = "the packet is addressed to another host",
        /// Source address that nobody may have (RFC 9293 MUST-63).
        BadSource = "the source address is broadcast, multicast or our own",
        /// Unknown transport protocol.
        UnknownProtocol = "no such transport protocol here",
        /// Fragment rejected: overlap, too large, too many.
        FragmentRejected = "the fragment overlaps, exceeds a bound or makes no sense (RFC 5722, RFC 1858)",
        /// Reassembly timed out or gave way.
        FragmentTimeout = "the other fragments did not come in time",
        /// TCP header malformed.
        TcpMalformed = "the TCP header is malformed",
        /// TCP checksum wrong.
        TcpChecksum = "the TCP checksum is wrong (RFC 9293 MUST-3)",
        /// UDP header malformed.
        UdpMalformed = "the UDP length is below 8 or beyond the packet",
        /// UDP checksum wrong.
        UdpChecksum = "the UDP checksum is wrong",
        /// UDP datagram for a port nobody has.
        UdpNoPort = "nobody has this UDP port",
        /// UDP socket's buffer is full.
        UdpBufferFull = "the UDP socket's receive buffer is full",
        /// ICMP malformed.
        IcmpMalformed = "the ICMP message is malformed or its checksum is wrong",
        /// ICMP error that does not match what is in flight (RFC 5927).
        IcmpUnproven = "the ICMP error quotes nothing that is in flight (RFC 5927 4.1)",
        /// TCP segment to multicast or broadcast.
        TcpNotUnicast = "TCP segments to multicast or broadcast addresses are ignored (RFC 9293 MUST-57)",
        /// RST for a connection that does not exist.
        StrayReset = "a RST for no connection is ignored (RFC 9293 3.10.7.1)",
        /// PAWS.
        Paws = "the timestamp is older than the last one seen (PAWS, RFC 7323 5)",
        /// Sequence outside the window.
        OutOfWindow = "the sequence number is outside the receive window (RFC 9293 3.10.7.4)",
        /// RST inside the window but not at RCV.NXT.
        ResetNotExact = "the RST is not exactly at RCV.NXT (RFC 5961 3.2)",
        /// SYN in a synchronized state.
        SynInWindow = "a SYN on a synchronized connection is answered with a challenge ACK (RFC 5961 4.2)",
        /// ACK missing where it must be.
        NoAck = "the segment has no ACK (RFC 9293 3.10.7.4)",
        /// ACK of something never sent.
        AckBeyondSent = "the ACK acknowledges what was never sent (RFC 5961 5.2)",
        /// ACK too old.
        AckTooOld = "the ACK is older than the largest window ever seen (RFC 5961 5.2)",
        /// In SYN-SENT: neither SYN nor RST.
        NoSynInSynSent = "neither SYN nor RST while opening",
        /// Data after our RST or with no reader.
        AfterClose = "data came after the application closed",
        /// Listener's queues are full.
        ListenOverflow = "the listen queue is full",
        /// SYN backlog is full.
        SynQueueFull = "the SYN queue is full",
        /// TIME-WAIT ignores it.
        TimeWait = "an old segment in TIME-WAIT",
        /// RFC 1337.
        TimeWaitReset = "a RST in TIME-WAIT is ignored (RFC 1337)",
        /// Memory budget.
        Memory = "the memory budget is used up",
        /// Beyond the window, trimmed or ignored.
        ZeroWindow = "data came while the window was closed",
        /// Duplicate data only.
        Duplicate = "all of it was received before",
        /// Handshake ACK does not fit.
        HandshakeAck = "the ACK does not fit the SYN,ACK that was sent",
        /// An opening that nobody has answered yet.
        Undecided = "the opening waits for a decision, and this says nothing new",
        /// An option that signs is malformed, double, or beside one of the other kind.
        AuthMalformed = "its MD5 or TCP-AO option is malformed or not the only one (RFC 5925 2.2)",
        /// An unsigned segment of a peer with an MD5 key.
        Md5Missing = "it lacks the MD5 signature that its sender must give (RFC 2385)",
        /// An MD5 signature of a peer without a key.
        Md5Unexpected = "it has an MD5 signature, and no key is set for its sender (RFC 2385)",
        /// The MD5 digest differs.
        Md5Wrong = "its MD5 signature is wrong (RFC 2385 2.0)",
        /// A segment without TCP-AO of a peer with a key.
        AoMissing = "it lacks the TCP-AO that its sender must give (RFC 5925 7.3)",
        /// TCP-AO of a peer without keys.
        AoUnexpected = "it has a TCP-AO, and no key is set for its sender (see finack.tcp_ao_unmatched)",
        /// No key with that KeyID.
        AoUnknownKey = "no key of its sender has the KeyID of its TCP-AO (RFC 5925 7.5)",
        /// The MAC or its length differs.
        AoWrong = "the MAC of its TCP-AO is wrong (RFC 5925 7.5)",
        /// A hard ICMP error for a connection with TCP-AO.
        IcmpIgnored = "hard ICMP errors are ignored on connections with TCP-AO (RFC 5925 7.8)",
        /// What was to be sent must be signed, and no key is there for it.
        Unsignable = "no key is there to sign the answer with, and unsigned nobody would take it",
        /// It came to another shard than the connection's, and the ring to that one was full.
        ShardRingFull = "the connection's shard has not taken what waits for it (see NetBuilder::shards)",
        /// Challenge ACK limited.
        RateLimited = "answers to such segments are limited on this connection (RFC 5961 10)",
    }
}

reasons! {
    /// Why a RST was sent.
    ResetReason {
        /// Nobody listens on the port.
        NoListener = "nobody listens on this port (RFC 9293 3.10.7.1)",
        /// No such connection: a half-open peer's segment.
        NoConnection = "there is no such connection: the peer's end is half-open (RFC 9293 3.5.1)",
        /// Aborted by the application.
        Abort = "the application aborted it (SO_LINGER 0 or abort)",
        /// Closed with unread data.
        UnreadData = "the application closed with unread data (RFC 1122 4.2.2.13)",
        /// Data after close.
        DataAfterClose = "data came after the application closed (RFC 9293 3.6.1)",
        /// Bad ACK in the handshake.
        HandshakeAck = "an ACK during the handshake fits nothing that was sent (RFC 9293 3.10.7)",
        /// SYN,ACK for a TIME-WAIT or other mismatch in SYN-SENT.
        UnexpectedAck = "an ACK in SYN-SENT fits nothing that was sent (RFC 9293 3.10.7.3)",
        /// Answer to a challenge ACK that our abort provoked.
        AbortRepeated = "the peer challenged our abort: the RST repeated at its exact number",
        /// Listener closed.
        ListenerClosed = "the listener was closed before the connection was accepted",
        /// A gateway's far side refused.
        Refused = "the destination refused the connection",
        /// Listener overflow with tcp_abort_on_overflow.
        Overflow = "the accept queue is full and tcp_abort_on_overflow is set",
        /// SYNs of one handshake asked for classic and for accurate ECN.
        TwoKindsOfEcn = "one handshake asked for both kinds of ECN feedback (RFC 9768 3.1.5)",
        /// Orphan out of time or memory.
        Orphan = "an orphaned connection ran out of its time or the host of memory",
        /// No room for another connection (RFC 6429).
        WindowClosed = "the host was short of room, and the peer had kept its window closed for longest (RFC 6429)",
        /// User time-out, keep-alive.
        TimedOut = "the peer stayed silent for too long",
        /// FIN-WAIT-2 orphan.
        FinWait2 = "an orphan in FIN-WAIT-2 got data or waited too long",
    }
}

reasons! {
    /// Why something was sent again.
    RetransmitReason {
        /// Retransmission time-out.
        Timeout = "no ACK came within the RTO (RFC 6298)",
        /// Three duplicate ACKs or SACKed segments.
        FastRetransmit = "three later segments arrived before it (RFC 5681 3.2, RFC 6675)",
        /// RACK.
        Overtaken = "what was sent after it arrived, and it did not within the reordering window (RFC 8985 6.2)",
        /// A retransmission was lost.
        LostAgain = "it had been sent again, and what was sent after that arrived before it (RFC 8985 6.2)",
        /// Tail loss probe.
        LossProbe = "no ACK came for two round trips: a tail loss probe (RFC 8985 7.3)",
        /// Partial ACK.
        PartialAck = "an ACK during recovery stopped before it (RFC 6582)",
        /// SYN or SYN,ACK.
        Handshake = "the SYN or SYN,ACK was not answered",
        /// SYN,ACK sent again for a repeated SYN.
        RepeatedSyn = "the peer repeated its SYN",
        /// Path MTU.
        PathMtu = "the path MTU is smaller than the segment (RFC 1191, RFC 8201)",
        /// Data of our SYN.
        EarlyData = "the SYN,ACK did not acknowledge the data of the SYN (RFC 7413 4.2.1)",
        /// The peer threw SACKed data away.
        Reneged = "the peer threw away what it had SACKed (RFC 2018 8)",
    }
}
