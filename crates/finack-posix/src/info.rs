//! `struct tcp_info` as Linux lays it out, from what the engine tells.

use core::time::Duration;

use finack_core::tcp::{EcnMode, LossState, State, TcpInfo};

use crate::abi;

use Width::{Bits, Byte, Half, Long, Short, Word};

/// How a field lies in the structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Byte,
    /// Four bits in the low (false) or high (true) half of a byte that the next or last field shares.
    Half(bool),
    /// Bits of a word, from this one on; 0 begins the word.
    Bits(u8),
    Short,
    Word,
    Long,
}

/// A field's value: `None` where the engine does not know it (it reads as 0).
type Value = Option<u64>;

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// `tcpi_rtt`, ...
    pub name: &'static str,
    /// `None` where the engine does not know it: 0 in the structure.
    pub value: Option<u64>,
    width: Width,
}

impl Field {
    /// A field of another stack's.
    pub const fn known(name: &'static str, value: u64) -> Self {
        Self { name, value: Some(value), width: Long }
    }
}

/// Bytes of the structure, as of Linux 6.18.
pub const LEN: usize = 280;

/// Linux's number for a state.
pub fn state_number(state: State) -> i64 {
    match state {
        State::Established => abi::TCP_ESTABLISHED,
        State::SynSent => abi::TCP_SYN_SENT,
        State::SynReceived => abi::TCP_SYN_RECV,
        State::FinWait1 => abi::TCP_FIN_WAIT1,
        State::FinWait2 => abi::TCP_FIN_WAIT2,
        State::TimeWait => abi::TCP_TIME_WAIT,
        State::CloseWait => abi::TCP_CLOSE_WAIT,
        State::LastAck => abi::TCP_LAST_ACK,
        State::Listen => abi::TCP_LISTEN,
        State::Closing => abi::TCP_CLOSING,
        _ => abi::TCP_CLOSE,
    }
}

fn loss_state(info: &TcpInfo) -> i64 {
    match info.loss_state {
        LossState::Disorder => abi::TCP_CA_Disorder,
        LossState::Marked => abi::TCP_CA_CWR,
        LossState::Recovery => abi::TCP_CA_Recovery,
        LossState::Loss => abi::TCP_CA_Loss,
        _ => abi::TCP_CA_Open,
    }
}

/// Whether the peer's FIN was taken: Linux counts it as a byte.
fn has_fin(info: &TcpInfo) -> bool {
    matches!(info.state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}

fn micros(d: Duration) -> Value {
    u64::try_from(d.as_micros()).ok()
}

fn millis(d: Duration) -> Value {
    u64::try_from(d.as_millis()).ok()
}

fn options(info: &TcpInfo) -> u64 {
    let flag = |on: bool, bit: i64| if on { bit as u64 } else { 0 };
    flag(info.timestamps, abi::TCPI_OPT_TIMESTAMPS)
        | flag(info.sack, abi::TCPI_OPT_SACK)
        | flag(info.window_scale.is_some(), abi::TCPI_OPT_WSCALE)
        | flag(info.syn_data, abi::TCPI_OPT_SYN_DATA)
        | flag(matches!(info.ecn.mode, EcnMode::Classic | EcnMode::Accurate), abi::TCPI_OPT_ECN)
        | flag(info.ecn.seen, abi::TCPI_OPT_ECN_SEEN)
}

/// Linux's number.
const fn ecn_mode(info: &TcpInfo) -> u64 {
    match info.ecn.mode {
        EcnMode::Classic => 1,
        EcnMode::Accurate => 2,
        EcnMode::Asked => 3,
        _ => 0,
    }
}

/// In segments of `mss` bytes, as Linux counts.
const fn ssthresh(info: &TcpInfo, mss: u64) -> u64 {
    if info.ssthresh == u64::MAX { abi::TCP_INFINITE_SSTHRESH as u64 } else { info.ssthresh / mss }
}

/// Every field in its order, up to the last that the engine could know.
pub fn fields(info: &TcpInfo) -> Vec<Field> {
    let mss = u64::from(info.snd_mss.max(1));
    let segments = |bytes: u64| bytes.div_ceil(mss);
    let out = info.send_queue.saturating_sub(info.not_sent);
    let (peer_scale, our_scale) = info.window_scale.unwrap_or((0, 0));
    let (known, unknown): (fn(u64) -> Value, Value) = (Some, None);
    let table: [(&'static str, Width, Value); 56] = [
        ("tcpi_state", Byte, known(state_number(info.state) as u64)),
        ("tcpi_ca_state", Byte, known(loss_state(info) as u64)),
        ("tcpi_retransmits", Byte, known(info.backoff.into())),
        ("tcpi_probes", Byte, known(info.probes.into())),
        ("tcpi_backoff", Byte, known(info.backoff.into())),
        ("tcpi_options", Byte, known(options(info))),
        ("tcpi_snd_wscale", Half(false), known(peer_scale.into())),
        ("tcpi_rcv_wscale", Half(true), known(our_scale.into())),
        ("tcpi_delivery_rate_app_limited", Byte, known(info.delivery_rate_app_limited.into())),
        ("tcpi_rto", Word, micros(info.rto)),
        ("tcpi_ato", Word, micros(info.delayed_ack)),
        ("tcpi_snd_mss", Word, known(info.snd_mss.into())),
        ("tcpi_rcv_mss", Word, known(info.rcv_mss.into())),
        ("tcpi_unacked", Word, known(segments(out))),
        ("tcpi_sacked", Word, known(segments(info.sacked))),
        ("tcpi_lost", Word, known(segments(info.lost))),
        ("tcpi_retrans", Word, known(info.retrans_out)),
        ("tcpi_fackets", Word, known(0)),
        ("tcpi_last_data_sent", Word, millis(info.since_sent)),
        ("tcpi_last_ack_sent", Word, known(0)),
        ("tcpi_last_data_recv", Word, millis(info.since_data_received)),
        ("tcpi_last_ack_recv", Word, millis(info.since_received)),
        ("tcpi_pmtu", Word, known(info.path_mtu.into())),
        ("tcpi_rcv_ssthresh", Word, known(info.rcv_ssthresh.into())),
        ("tcpi_rtt", Word, micros(info.srtt)),
        ("tcpi_rttvar", Word, micros(info.rttvar)),
        ("tcpi_snd_ssthresh", Word, known(ssthresh(info, mss))),
        ("tcpi_snd_cwnd", Word, known(info.cwnd / mss)),
        ("tcpi_advmss", Word, known(info.advertised_mss.into())),
        ("tcpi_reordering", Word, known(info.reordering.into())),
        ("tcpi_rcv_rtt", Word, micros(info.rcv_rtt)),
        ("tcpi_rcv_space", Word, known(info.rcv_space)),
        ("tcpi_total_retrans", Word, known(info.retrans_segs)),
        ("tcpi_pacing_rate", Long, known(info.pacing_rate.unwrap_or(u64::MAX))),
        ("tcpi_max_pacing_rate", Long, known(info.max_pacing_rate.unwrap_or(u64::MAX))),
        ("tcpi_bytes_acked", Long, known(info.bytes_acked)),
        ("tcpi_bytes_received", Long, known(info.bytes_received + u64::from(has_fin(info)))),
        ("tcpi_segs_out", Word, known(info.segs_out)),
        ("tcpi_segs_in", Word, known(info.segs_in)),
        ("tcpi_notsent_bytes", Word, known(info.not_sent)),
        ("tcpi_min_rtt", Word, micros(info.min_rtt)),
        ("tcpi_data_segs_in", Word, known(info.data_segs_in.into())),
        ("tcpi_data_segs_out", Word, known(info.data_segs_out.into())),
        ("tcpi_delivery_rate", Long, known(info.delivery_rate)),
        ("tcpi_busy_time", Long, micros(info.busy)),
        ("tcpi_rwnd_limited", Long, micros(info.peer_window_limited)),
        ("tcpi_sndbuf_limited", Long, micros(info.send_buffer_limited)),
        ("tcpi_delivered", Word, unknown),
        ("tcpi_delivered_ce", Word, known(info.ecn.delivered_ce.into())),
        ("tcpi_bytes_sent", Long, known(info.bytes_sent)),
        ("tcpi_bytes_retrans", Long, known(info.bytes_retrans)),
        ("tcpi_dsack_dups", Word, known(info.reported_duplicates.into())),
        ("tcpi_reord_seen", Word, known(info.reordered.into())),
        ("tcpi_rcv_ooopack", Word, known(info.out_of_order.into())),
        ("tcpi_snd_wnd", Word, known(info.snd_wnd)),
        ("tcpi_rcv_wnd", Word, known(info.rcv_wnd)),
    ];
    table
        .into_iter()
        .chain(late_fields(info))
        .map(|(name, width, value)| Field { name, value, width })
        .collect()
}

/// The last of them, congestion notification for the most part.
fn late_fields(info: &TcpInfo) -> [(&'static str, Width, Value); 14] {
    let (known, unknown): (fn(u64) -> Value, Value) = (Some, None);
    [
        ("tcpi_rehash", Word, known(0)),
        ("tcpi_total_rto", Short, unknown),
        ("tcpi_total_rto_recoveries", Short, unknown),
        ("tcpi_total_rto_time", Word, unknown),
        ("tcpi_received_ce", Word, known(info.ecn.received_ce.into())),
        ("tcpi_delivered_e1_bytes", Word, known(info.ecn.delivered.ect1.into())),
        ("tcpi_delivered_e0_bytes", Word, known(info.ecn.delivered.ect0.into())),
        ("tcpi_delivered_ce_bytes", Word, known(info.ecn.delivered.ce.into())),
        ("tcpi_received_e1_bytes", Word, known(info.ecn.received.ect1.into())),
        ("tcpi_received_e0_bytes", Word, known(info.ecn.received.ect0.into())),
        ("tcpi_received_ce_bytes", Word, known(info.ecn.received.ce.into())),
        // Later than Linux 6.18, where these bits are padding.
        ("tcpi_ecn_mode", Bits(0), known(ecn_mode(info))),
        ("tcpi_accecn_opt_seen", Bits(2), known(info.ecn.option_seen.into())),
        ("tcpi_accecn_fail_mode", Bits(4), known(info.ecn.fail_mode.into())),
    ]
}

/// The structure's bytes; what the engine does not know is 0.
pub fn bytes(info: &TcpInfo) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for field in fields(info) {
        let value = field.value.unwrap_or(0);
        let word = u32::try_from(value).unwrap_or(u32::MAX);
        match field.width {
            Width::Byte => out.push(value.min(255) as u8),
            Width::Half(false) => out.push(value as u8 & 15),
            Width::Half(true) => {
                if let Some(last) = out.last_mut() {
                    *last |= (value as u8) << 4;
                }
            }
            Width::Bits(0) => out.extend_from_slice(&word.to_le_bytes()),
            Width::Bits(from) => {
                let at = out.len().saturating_sub(4) + usize::from(from / 8);
                if let Some(byte) = out.get_mut(at) {
                    *byte |= (value as u8) << (from % 8);
                }
            }
            Width::Short => out.extend_from_slice(&(value.min(65_535) as u16).to_le_bytes()),
            Width::Word => out.extend_from_slice(&word.to_le_bytes()),
            Width::Long => out.extend_from_slice(&value.to_le_bytes()),
        }
    }
    out
}
