//! TCP (RFC 9293).

mod chrono;
mod congestion;
pub(crate) mod cookie;
pub(crate) mod ecn;
pub(crate) mod embryo;
pub(crate) mod emit;
mod facts;
pub(crate) mod fast_open;
mod info;
pub(crate) mod input;
pub(crate) mod iss;
pub(crate) mod listener;
pub(crate) mod mss;
mod mtu_search;
pub(crate) mod output;
mod pacer;
mod rare;
mod rate;
mod recovery;
mod recv;
mod repair;
mod send;
pub(crate) mod seq;
mod state;
pub(crate) mod tcb;
pub(crate) mod time_wait;
mod timeout;
pub(crate) mod timers;
mod tuple;
mod units;
mod user;
pub(crate) mod window;

pub(crate) use recv::{Chunk, Payload};
pub(crate) use send::{Block, Flights, Place, Runs, SendBuffer};
pub use state::State;
pub(crate) use tuple::Tuple;

use core::net::SocketAddr;
use core::time::Duration;

use crate::trace::TraceId;

/// What loss recovery makes of the connection, as Linux's `tcpi_ca_state` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossState {
    /// Nothing is known to be lost.
    Open,
    /// Something arrived behind a gap: a loss, perhaps.
    Disorder,
    /// Routers marked packets, and the window goes down (Linux's CWR, RFC 3168 6.1.2).
    Marked,
    /// What is lost is being sent again (RFC 5681 3.2, RFC 6675).
    Recovery,
    /// A retransmission time-out began anew (RFC 5681 3.1).
    Loss,
}

/// What two ends made out about explicit congestion notification, in the order of Linux's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EcnMode {
    /// None: packets are not marked, only dropped.
    #[default]
    Off,
    /// Classic (RFC 3168): one sign of congestion in a round trip.
    Classic,
    /// Accurate (RFC 9768): each mark is told.
    Accurate,
    /// Asked for, and not answered yet.
    Asked,
}

/// Bytes of payload by the codepoint of the packets that carried them (RFC 9768 3.2), modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnBytes {
    /// ECT(0).
    pub ect0: u32,
    /// CE.
    pub ce: u32,
    /// ECT(1).
    pub ect1: u32,
}

/// What explicit congestion notification told a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnInfo {
    /// What was agreed on.
    pub mode: EcnMode,
    /// Something came that could have been marked.
    pub seen: bool,
    /// New data goes out so that routers may mark it: not where a middlebox was found to tamper with marks.
    pub capable: bool,
    /// Packets of ours that the peer reports as marked; with classic ECN those that ACKs with ECE acknowledged.
    pub delivered_ce: u32,
    /// Packets that came with CE.
    pub received_ce: u32,
    /// Bytes of ours as the peer reports them by its option.
    pub delivered: EcnBytes,
    /// Bytes that came.
    pub received: EcnBytes,
    /// Why feedback is not wholly believed, as Linux's `tcpi_accecn_fail_mode`: 2 the handshake's, 8 the option's.
    pub fail_mode: u8,
    /// The peer's option, as Linux's `tcpi_accecn_opt_seen`: 0 none came, 1 without counters, 2 with, 3 not believed.
    pub option_seen: u8,
}

/// What is known of a connection, as Linux's `tcp_info` has it (times as durations, sizes in bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Names the connection in traces.
    pub trace_id: TraceId,
    /// Its state.
    pub state: State,
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Segment size that we send, in bytes of payload.
    pub snd_mss: u32,
    /// Segment size that the peer sends, as estimated.
    pub rcv_mss: u32,
    /// Timestamps in use (RFC 7323).
    pub timestamps: bool,
    /// SACK in use (RFC 2018).
    pub sack: bool,
    /// Explicit congestion notification.
    pub ecn: EcnInfo,
    /// The peer's window scale and ours, where scaling is in use.
    pub window_scale: Option<(u8, u8)>,
    /// Data came with the SYN and counted: acknowledged by the SYN,ACK, or taken from the peer's SYN (RFC 7413).
    pub syn_data: bool,
    /// Retransmission time-out.
    pub rto: Duration,
    /// Smoothed round trip; zero before the first sample.
    pub srtt: Duration,
    /// Its variation.
    pub rttvar: Duration,
    /// Least round trip seen.
    pub min_rtt: Duration,
    /// Name of the congestion control, as `ss` has it.
    pub congestion: &'static str,
    /// What loss recovery makes of it.
    pub loss_state: LossState,
    /// Congestion window.
    pub cwnd: u64,
    /// Slow start threshold; `u64::MAX` before the first loss.
    pub ssthresh: u64,
    /// Bytes sent and neither acknowledged, SACKed nor taken for lost.
    pub in_flight: u64,
    /// Bytes in the send buffer that the peer has not acknowledged, sent or not.
    pub send_queue: u64,
    /// Bytes in the send buffer that were never sent.
    pub not_sent: u64,
    /// Bytes received in order that the application has not read.
    pub recv_queue: u64,
    /// SND.WND in bytes.
    pub snd_wnd: u64,
    /// RCV.WND in bytes.
    pub rcv_wnd: u64,
    /// Payload bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes received in order.
    pub bytes_received: u64,
    /// Payload bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Payload bytes sent again.
    pub bytes_retrans: u64,
    /// Segments sent.
    pub segs_out: u64,
    /// Segments received.
    pub segs_in: u64,
    /// Segments sent again.
    pub retrans_segs: u64,
    /// Bytes a second at which data leaves where it is paced, and for which bursts are sized where it is not; `None` while
    /// nothing is known of the path.
    pub pacing_rate: Option<u64>,
    /// SO_MAX_PACING_RATE in bytes a second, where set.
    pub max_pacing_rate: Option<u64>,
    /// Segments that were sent again and are still out.
    pub retrans_out: u64,
    /// Bytes a second that reached the peer, by the latest sample; 0 before the first.
    pub delivery_rate: u64,
    /// That sample was taken while the application left nothing to send.
    pub delivery_rate_app_limited: bool,
    /// Segments that something late may be late by before it counts as lost: `tcp_reordering`, or what was seen.
    pub reordering: u32,
    /// Times that something sent once arrived after something sent later.
    pub reordered: u32,
    /// Segments of ours that the peer reported as received twice (RFC 2883).
    pub reported_duplicates: u32,
    /// Consecutive retransmission time-outs without an answer.
    pub backoff: u32,
    /// Unanswered zero-window or keep-alive probes.
    pub probes: u32,
    /// What the path takes, in bytes: headers and all.
    pub path_mtu: u32,
    /// Bytes that the peer reported by SACK and not yet acknowledged.
    pub sacked: u64,
    /// Bytes out that are taken for lost.
    pub lost: u64,
    /// Most bytes that may be unread (SO_RCVBUF, or what tuning made of it).
    pub rcv_buf: u32,
    /// Most that the window grew to so far, in bytes.
    pub rcv_ssthresh: u32,
    /// The MSS that we told the peer, less the options of every segment.
    pub advertised_mss: u32,
    /// How long ACKs are delayed; zero before data came.
    pub delayed_ack: Duration,
    /// Segments with data that came.
    pub data_segs_in: u32,
    /// Segments with data that were sent, again or for the first time.
    pub data_segs_out: u32,
    /// Segments that came before those in front of them.
    pub out_of_order: u32,
    /// Time in which something was out or waited to be sent.
    pub busy: Duration,
    /// The part of it in which the peer's window kept us from sending.
    pub peer_window_limited: Duration,
    /// The part of it in which the send buffer kept the application from writing.
    pub send_buffer_limited: Duration,
    /// The round trip as the receiver measures it while it reads in bulk; zero before.
    pub rcv_rtt: Duration,
    /// What the application read in a round trip, in bytes, where that was measured.
    pub rcv_space: u64,
    /// Since the last segment that was more than an ACK went out.
    pub since_sent: Duration,
    /// Since anything came in.
    pub since_received: Duration,
    /// Since data came in; since the beginning where none did.
    pub since_data_received: Duration,
    /// Time in the present state.
    pub time_in_state: Duration,
    /// Time since the SYN.
    pub age: Duration,
}
