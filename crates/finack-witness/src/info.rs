//! `struct tcp_info` as the kernel lays it out (`include/uapi/linux/tcp.h`).

use finack_posix::info::Field;

/// How many bits a field takes; those below 8 share a byte, lowest first.
type Bits = u8;

const FIELDS: [(&str, Bits); 68] = [
    ("tcpi_state", 8),
    ("tcpi_ca_state", 8),
    ("tcpi_retransmits", 8),
    ("tcpi_probes", 8),
    ("tcpi_backoff", 8),
    ("tcpi_options", 8),
    ("tcpi_snd_wscale", 4),
    ("tcpi_rcv_wscale", 4),
    ("tcpi_delivery_rate_app_limited", 1),
    ("tcpi_fastopen_client_fail", 7),
    ("tcpi_rto", 32),
    ("tcpi_ato", 32),
    ("tcpi_snd_mss", 32),
    ("tcpi_rcv_mss", 32),
    ("tcpi_unacked", 32),
    ("tcpi_sacked", 32),
    ("tcpi_lost", 32),
    ("tcpi_retrans", 32),
    ("tcpi_fackets", 32),
    ("tcpi_last_data_sent", 32),
    ("tcpi_last_ack_sent", 32),
    ("tcpi_last_data_recv", 32),
    ("tcpi_last_ack_recv", 32),
    ("tcpi_pmtu", 32),
    ("tcpi_rcv_ssthresh", 32),
    ("tcpi_rtt", 32),
    ("tcpi_rttvar", 32),
    ("tcpi_snd_ssthresh", 32),
    ("tcpi_snd_cwnd", 32),
    ("tcpi_advmss", 32),
    ("tcpi_reordering", 32),
    ("tcpi_rcv_rtt", 32),
    ("tcpi_rcv_space", 32),
    ("tcpi_total_retrans", 32),
    ("tcpi_pacing_rate", 64),
    ("tcpi_max_pacing_rate", 64),
    ("tcpi_bytes_acked", 64),
    ("tcpi_bytes_received", 64),
    ("tcpi_segs_out", 32),
    ("tcpi_segs_in", 32),
    ("tcpi_notsent_bytes", 32),
    ("tcpi_min_rtt", 32),
    ("tcpi_data_segs_in", 32),
    ("tcpi_data_segs_out", 32),
    ("tcpi_delivery_rate", 64),
    ("tcpi_busy_time", 64),
    ("tcpi_rwnd_limited", 64),
    ("tcpi_sndbuf_limited", 64),
    ("tcpi_delivered", 32),
    ("tcpi_delivered_ce", 32),
    ("tcpi_bytes_sent", 64),
    ("tcpi_bytes_retrans", 64),
    ("tcpi_dsack_dups", 32),
    ("tcpi_reord_seen", 32),
    ("tcpi_rcv_ooopack", 32),
    ("tcpi_snd_wnd", 32),
    ("tcpi_rcv_wnd", 32),
    ("tcpi_rehash", 32),
    ("tcpi_total_rto", 16),
    ("tcpi_total_rto_recoveries", 16),
    ("tcpi_total_rto_time", 32),
    ("tcpi_received_ce", 32),
    ("tcpi_delivered_e1_bytes", 32),
    ("tcpi_delivered_e0_bytes", 32),
    ("tcpi_delivered_ce_bytes", 32),
    ("tcpi_received_e1_bytes", 32),
    ("tcpi_received_e0_bytes", 32),
    ("tcpi_received_ce_bytes", 32),
];

/// The fields that the kernel's answer holds.
pub(crate) fn fields(bytes: &[u8]) -> Vec<Field> {
    let (mut out, mut bit) = (Vec::with_capacity(FIELDS.len()), 0_usize);
    for (name, bits) in FIELDS {
        let (at, len) = (bit / 8, usize::from(bits).div_ceil(8));
        let Some(raw) = bytes.get(at..at + len) else { break };
        let mut word = [0; 8];
        word[..len].copy_from_slice(raw);
        let value = u64::from_le_bytes(word);
        let value = if bits < 8 { value >> (bit % 8) & ((1 << bits) - 1) } else { value };
        out.push(Field::known(name, value));
        bit += usize::from(bits);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_words_are_found_where_the_kernel_puts_them() {
        let mut bytes = vec![0_u8; 16];
        (bytes[0], bytes[6], bytes[7]) = (1, 0x72, 0x03);
        bytes[8..12].copy_from_slice(&204_000_u32.to_le_bytes());
        let fields = fields(&bytes);
        let value = |name: &str| fields.iter().find(|f| f.name == name).and_then(|f| f.value);
        assert_eq!((value("tcpi_state"), value("tcpi_rto")), (Some(1), Some(204_000)));
        assert_eq!((value("tcpi_snd_wscale"), value("tcpi_rcv_wscale")), (Some(2), Some(7)));
        assert_eq!(value("tcpi_delivery_rate_app_limited"), Some(1));
        assert_eq!(value("tcpi_fastopen_client_fail"), Some(1));
        // An older kernel's is shorter.
        assert_eq!(value("tcpi_rtt"), None);
    }
}
