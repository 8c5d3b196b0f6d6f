//! Trace events by hand: an exchange of segments between a program's end and finack's.

use std::net::SocketAddr;

use finack_core::Instant;
use finack_core::tcp::State;
use finack_core::trace::{
    AppCall, Direction, EndCause, ResetReason, RetransmitReason, SegmentTrace, SendReason, TraceEvent,
    TraceId, TraceKind,
};
use finack_wire::tcp::Flags;
use finack_wire::tcp_options::TcpOptions;

use super::{Collector, Limits, Report};

pub(super) const SYN: Flags = Flags::SYN;
pub(super) const ACK: Flags = Flags::ACK;
pub(super) const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);
pub(super) const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);
pub(super) const PSH_ACK: Flags = Flags::PSH.union(Flags::ACK);
pub(super) const RST: Flags = Flags::RST;
pub(super) const RST_ACK: Flags = Flags::RST.union(Flags::ACK);

/// The program's initial sequence number: close below the wrap, so that every exchange crosses it.
const PROGRAM_ISN: u32 = u32::MAX - 20;
const FINACK_ISN: u32 = 1_000_000;

/// Writes events, 100 us apart unless told otherwise.
pub(super) struct Script {
    pub(super) collector: Collector,
    id: u64,
    micros: u64,
    window: u32,
    local: SocketAddr,
}

impl Script {
    pub(super) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(super) fn with_limits(limits: Limits) -> Self {
        Self {
            collector: Collector::new(Instant::ZERO, limits),
            id: 1,
            micros: 0,
            window: 64_240,
            local: "198.18.0.80:80".parse().unwrap(),
        }
    }

    pub(super) fn next_connection(&mut self) -> &mut Self {
        self.id += 1;
        self
    }

    pub(super) fn first_connection(&mut self) -> &mut Self {
        self.id = 1;
        self
    }

    /// A new connection between the ends of the one before.
    pub(super) fn open_again(&mut self) -> &mut Self {
        self.id += 20_000;
        self
    }

    /// finack's end and the program's.
    pub(super) fn ends(&self) -> (SocketAddr, SocketAddr) {
        let port = 40_000 + u16::try_from(self.id % 20_000).unwrap();
        (self.local, SocketAddr::new("198.18.0.2".parse().unwrap(), port))
    }

    /// Tells the collector what time it is.
    pub(super) fn advance(&mut self) {
        self.collector.advance_to(Instant::from_micros(self.micros));
    }

    /// The window of what follows.
    pub(super) fn window(&mut self, window: u32) -> &mut Self {
        self.window = window;
        self
    }

    pub(super) fn wait(&mut self, micros: u64) -> &mut Self {
        self.micros += micros;
        self
    }

    pub(super) fn event(&mut self, kind: TraceKind) -> &mut Self {
        let (local, remote) = self.ends();
        self.collector.observe(&TraceEvent {
            at: Instant::from_micros(self.micros),
            conn: Some(TraceId(self.id)),
            local: Some(local),
            remote: Some(remote),
            packet: None,
            kind,
        });
        self
    }

    /// A segment from the program: flags, relative SEQ and ACK, length.
    pub(super) fn recv(&mut self, flags: Flags, seq: u32, ack: u32, len: u32) -> &mut Self {
        self.micros += 100;
        self.segment(Direction::In, flags, PROGRAM_ISN.wrapping_add(seq), FINACK_ISN.wrapping_add(ack), len)
    }

    /// A segment from finack.
    pub(super) fn send(&mut self, flags: Flags, seq: u32, ack: u32, len: u32) -> &mut Self {
        self.segment(Direction::Out, flags, FINACK_ISN.wrapping_add(seq), PROGRAM_ISN.wrapping_add(ack), len)
    }

    fn segment(&mut self, dir: Direction, flags: Flags, seq: u32, ack: u32, len: u32) -> &mut Self {
        let options = TcpOptions {
            mss: flags.syn().then_some(1460),
            window_scale: flags.syn().then_some(7),
            sack_permitted: flags.syn(),
            timestamps: Some((1, 1)),
            ..TcpOptions::default()
        };
        let reason = if dir == Direction::In { SendReason::Received } else { SendReason::Data };
        let segments = u16::try_from(len.div_ceil(1460).max(1)).unwrap();
        self.event(TraceKind::Segment(SegmentTrace {
            dir,
            seq,
            ack,
            flags,
            window: self.window,
            len,
            segments,
            urgent: 0,
            options,
            reason,
        }))
    }

    /// A segment that finack sends again.
    pub(super) fn again(
        &mut self,
        why: RetransmitReason,
        flags: Flags,
        seq: u32,
        ack: u32,
        len: u32,
    ) -> &mut Self {
        self.event(TraceKind::Retransmit { reason: why, seq: FINACK_ISN.wrapping_add(seq), len });
        self.event(TraceKind::Segment(SegmentTrace {
            dir: Direction::Out,
            seq: FINACK_ISN.wrapping_add(seq),
            ack: PROGRAM_ISN.wrapping_add(ack),
            flags,
            window: 64_240,
            len,
            segments: 1,
            urgent: 0,
            options: TcpOptions::default(),
            reason: SendReason::Retransmission(why),
        }))
    }

    pub(super) fn state(&mut self, from: State, to: State) -> &mut Self {
        self.event(TraceKind::State { from, to })
    }

    pub(super) fn app(&mut self, call: AppCall) -> &mut Self {
        self.event(TraceKind::App(call))
    }

    pub(super) fn ended(&mut self, cause: EndCause) -> &mut Self {
        self.event(TraceKind::Ended(cause))
    }

    /// The three-way handshake, opened by the program.
    pub(super) fn open(&mut self) -> &mut Self {
        use State::*;
        self.recv(SYN, 0, 0, 0).state(Listen, SynReceived).send(SYN_ACK, 0, 1, 0);
        self.recv(ACK, 1, 1, 0).state(SynReceived, Established)
    }

    /// A request of 78 bytes and its response of 312, all acknowledged.
    pub(super) fn request(&mut self) -> &mut Self {
        self.recv(PSH_ACK, 1, 1, 78).send(PSH_ACK, 1, 79, 312).recv(ACK, 79, 313, 0)
    }

    /// The program closes first, finack then; all in order.
    pub(super) fn close(&mut self) -> &mut Self {
        use State::*;
        self.recv(FIN_ACK, 79, 313, 0).state(Established, CloseWait);
        self.app(AppCall::Close).state(CloseWait, LastAck).send(FIN_ACK, 313, 80, 0);
        self.recv(ACK, 80, 314, 0).state(LastAck, Closed).ended(EndCause::Closed)
    }

    /// finack aborts for `reason`.
    pub(super) fn reset(&mut self, reason: ResetReason) -> &mut Self {
        self.event(TraceKind::ResetSent(reason)).send(RST_ACK, 313, 79, 0);
        self.state(State::Established, State::Closed).ended(EndCause::ResetByUs(reason))
    }

    pub(super) fn report(self) -> Report {
        let now = Instant::from_micros(self.micros);
        self.collector.finish(now)
    }
}
