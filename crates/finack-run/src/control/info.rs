//! What `ss -i` shows of a connection, of finack's end and of the kernel's.

use finack_core::tcp::TcpInfo;
use serde::{Deserialize, Serialize};

use super::protocol::{is_false, seconds};

/// A connection's inner state, as far as its end knows it. Durations are seconds, sizes bytes, rates bytes a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Congestion control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub congestion: Option<String>,
    /// Timestamps in use (RFC 7323).
    pub timestamps: bool,
    /// SACK in use (RFC 2018).
    pub sack: bool,
    /// Window scales: the peer's, ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wscale: Option<(u8, u8)>,
    /// Retransmission time-out.
    pub rto: f64,
    /// Times that it was doubled.
    #[serde(skip_serializing_if = "is_zero")]
    pub backoff: u64,
    /// Smoothed round trip; 0 before the first sample.
    pub rtt: f64,
    /// Its variation.
    pub rttvar: f64,
    /// Least round trip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt: Option<f64>,
    /// How long ACKs are delayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ato: Option<f64>,
    /// Segment size that is sent.
    pub mss: u64,
    /// Path MTU.
    pub pmtu: u64,
    /// Segment size that comes in, as estimated.
    pub rcv_mss: u64,
    /// Segment size that was offered to the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adv_mss: Option<u64>,
    /// Congestion window in segments.
    pub cwnd: u64,
    /// Slow start threshold in segments; left out before the first loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssthresh: Option<u64>,
    /// Payload sent, retransmissions included.
    pub bytes_sent: u64,
    /// Of that, sent again.
    pub bytes_retrans: u64,
    /// Acknowledged.
    pub bytes_acked: u64,
    /// Received in order.
    pub bytes_received: u64,
    /// Segments sent.
    pub segs_out: u64,
    /// Segments received.
    pub segs_in: u64,
    /// Since data was sent.
    pub last_sent: f64,
    /// Since data came in.
    pub last_received: f64,
    /// Since an ACK came in.
    pub last_ack: f64,
    /// Rate that segments are paced at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pacing_rate: Option<u64>,
    /// Rate at which data reached the peer, by the latest sample.
    pub delivery_rate: u64,
    /// That sample was taken while the application left nothing to send.
    #[serde(skip_serializing_if = "is_false")]
    pub app_limited: bool,
    /// Time with something to send or out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Segments out.
    pub unacked: u64,
    /// Segments sent again, over the connection's life.
    pub retrans_total: u64,
    /// Segments out that were sent again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retrans: u64,
    /// Segments out that are taken for lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Segments out that the peer reported by SACK.
    #[serde(skip_serializing_if = "is_zero")]
    pub sacked: u64,
    /// Bytes never sent yet.
    pub not_sent: u64,
    /// Room for received data.
    pub rcv_space: u64,
    /// SND.WND.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snd_wnd: Option<u64>,
    /// RCV.WND.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcv_wnd: Option<u64>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Info {
    /// Bytes a second that a congestion window lets out in a round trip; `None` before both are known.
    pub fn send_rate(&self) -> Option<f64> {
        (self.rtt > 0.0 && self.cwnd > 0).then(|| (self.cwnd * self.mss) as f64 / self.rtt)
    }

    pub(super) fn of_finack(info: &TcpInfo) -> Self {
        let mss = u64::from(info.snd_mss).max(1);
        let segments = |bytes: u64| bytes.div_ceil(mss);
        let out = info.send_queue.saturating_sub(info.not_sent);
        Self {
            congestion: Some(info.congestion.to_owned()),
            timestamps: info.timestamps,
            sack: info.sack,
            wscale: info.window_scale,
            rto: seconds(info.rto),
            backoff: u64::from(info.backoff),
            rtt: seconds(info.srtt),
            rttvar: seconds(info.rttvar),
            min_rtt: (!info.min_rtt.is_zero()).then(|| seconds(info.min_rtt)),
            ato: None,
            mss: u64::from(info.snd_mss),
            pmtu: u64::from(info.path_mtu),
            rcv_mss: u64::from(info.rcv_mss),
            adv_mss: None,
            cwnd: info.cwnd / mss,
            ssthresh: (info.ssthresh != u64::MAX).then(|| segments(info.ssthresh)),
            bytes_sent: info.bytes_sent,
            bytes_retrans: info.bytes_retrans,
            bytes_acked: info.bytes_acked,
            bytes_received: info.bytes_received,
            segs_out: info.segs_out,
            segs_in: info.segs_in,
            last_sent: seconds(info.since_sent),
            last_received: seconds(info.since_data_received),
            last_ack: seconds(info.since_received),
            pacing_rate: info.pacing_rate,
            delivery_rate: info.delivery_rate,
            app_limited: info.delivery_rate_app_limited,
            busy: None,
            unacked: segments(out),
            retrans_total: info.retrans_segs,
            retrans: info.retrans_out,
            lost: segments(info.lost),
            sacked: segments(info.sacked),
            not_sent: info.not_sent,
            rcv_space: u64::from(info.rcv_buf),
            snd_wnd: Some(info.snd_wnd),
            rcv_wnd: Some(info.rcv_wnd),
        }
    }

    /// From Linux's `struct tcp_info`, of which older kernels have less.
    pub(super) fn of_kernel(raw: &[u8], congestion: Option<String>) -> Self {
        let info = Raw(raw);
        let options = info.byte(5);
        let micros = |at| f64::from(info.word(at).unwrap_or(0)) / 1e6;
        let millis = |at| f64::from(info.word(at).unwrap_or(0)) / 1e3;
        let number = |at| u64::from(info.word(at).unwrap_or(0));
        let long = |at| info.long(at).unwrap_or(0);
        Self {
            congestion,
            timestamps: options & 1 != 0,
            sack: options & 2 != 0,
            wscale: (options & 4 != 0).then(|| (info.byte(6) & 15, info.byte(6) >> 4)),
            rto: micros(8),
            backoff: u64::from(info.byte(4)),
            rtt: micros(68),
            rttvar: micros(72),
            // All ones before the first sample.
            min_rtt: info.word(148).filter(|us| *us != u32::MAX && *us > 0).map(|us| f64::from(us) / 1e6),
            ato: Some(micros(12)).filter(|s| *s > 0.0),
            mss: number(16),
            pmtu: number(60),
            rcv_mss: number(20),
            adv_mss: Some(number(84)),
            cwnd: number(80),
            ssthresh: info.word(76).filter(|s| *s < 0x7fff_ffff).map(u64::from),
            bytes_sent: long(200),
            bytes_retrans: long(208),
            bytes_acked: long(120),
            bytes_received: long(128),
            segs_out: number(136),
            segs_in: number(140),
            last_sent: millis(44),
            last_received: millis(52),
            last_ack: millis(56),
            pacing_rate: info.long(104).filter(|r| *r != u64::MAX),
            delivery_rate: long(160),
            app_limited: info.byte(7) & 1 != 0,
            busy: info.long(168).map(|us| us as f64 / 1e6).filter(|s| *s > 0.0),
            unacked: number(24),
            retrans_total: number(100),
            retrans: number(36),
            lost: number(32),
            sacked: number(28),
            not_sent: number(144),
            rcv_space: number(96),
            snd_wnd: info.word(228).map(u64::from),
            rcv_wnd: info.word(232).map(u64::from),
        }
    }
}

/// `struct tcp_info` by offsets.
struct Raw<'a>(&'a [u8]);

impl Raw<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.0.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
    }

    fn long(&self, at: usize) -> Option<u64> {
        self.0.get(at..)?.first_chunk().map(|b| u64::from_ne_bytes(*b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets are those of `struct tcp_info`; what an older kernel does not have is left out, not guessed.
    #[test]
    fn the_kernels_numbers_are_read_as_far_as_they_go() {
        let mut raw = [0_u8; 248];
        raw[5] = 1 | 2 | 4;
        raw[6] = 0xa7;
        let mut put = |at: usize, value: u32| raw[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        for (at, value) in [(8, 204_000), (16, 1448), (68, 125), (76, i32::MAX as u32), (80, 10), (84, 1460)]
        {
            put(at, value);
        }
        for (at, value) in [(100, 3), (120, 77), (136, 5), (148, u32::MAX), (228, 64_240), (232, 65_535)] {
            put(at, value);
        }
        let info = Info::of_kernel(&raw, Some("cubic".to_owned()));
        assert_eq!((info.timestamps, info.sack, info.wscale), (true, true, Some((7, 10))));
        assert_eq!((info.rto, info.rtt, info.mss, info.cwnd), (0.204, 0.000_125, 1448, 10));
        assert_eq!((info.ssthresh, info.min_rtt), (None, None), "neither was taken yet");
        assert_eq!(
            (info.adv_mss, info.retrans_total, info.bytes_acked, info.segs_out),
            (Some(1460), 3, 77, 5)
        );
        assert_eq!((info.snd_wnd, info.rcv_wnd), (Some(64_240), Some(65_535)));
        let old = Info::of_kernel(&raw[..104], None);
        assert_eq!((old.rtt, old.pacing_rate, old.snd_wnd, old.bytes_acked), (0.000_125, None, None, 0));
        assert_eq!(Info::of_kernel(&[], None), Info { adv_mss: Some(0), ..Info::default() });
    }
}
