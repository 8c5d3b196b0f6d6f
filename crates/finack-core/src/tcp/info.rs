//! `tcp_info`: what a connection says of itself.

use core::time::Duration;

use super::congestion::Control;
use super::recovery::Phase;
use super::seq::Pos;
use super::tcb::{Connection, MAX_UNSCALED};
use super::{LossState, TcpInfo, window};
use crate::cx::Cx;
use crate::time::Instant;
use crate::trace::TraceId;

impl Connection {
    fn loss_state(&self) -> LossState {
        match self.recovery.phase {
            Phase::Open if self.is_reducing() => LossState::Marked,
            Phase::Open if self.rtx.sacked() > 0 => LossState::Disorder,
            Phase::Open => LossState::Open,
            Phase::Recovery => LossState::Recovery,
            Phase::Loss => LossState::Loss,
        }
    }

    pub(crate) fn info(&self, cx: &Cx, now: Instant) -> TcpInfo {
        let sent_data = self.snd_nxt.min(self.send.end());
        let acked = (self.snd_una - 1).clamp(0, self.send.end() - 1);
        TcpInfo {
            trace_id: TraceId(self.trace_id),
            state: self.state,
            local: self.tuple.local_addr(),
            remote: self.tuple.remote_addr(),
            snd_mss: u32::from(self.mss),
            rcv_mss: u32::from(self.rcv_mss),
            timestamps: self.agreed.timestamps,
            syn_data: self.facts.early_data(),
            sack: self.agreed.sack,
            ecn: self.ecn.as_ref().map(|ecn| ecn.info()).unwrap_or_default(),
            window_scale: self.agreed.scaling.then_some((self.agreed.snd_wscale, self.agreed.rcv_wscale)),
            rto: self.rto(cx),
            srtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min(),
            congestion: self.congestion.kind().name(),
            loss_state: self.loss_state(),
            cwnd: self.congestion.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            in_flight: self.in_flight(),
            send_queue: self.send.len() as u64,
            not_sent: (self.send.end() - sent_data.max(1)).max(0) as u64,
            recv_queue: self.recv.len() as u64,
            snd_wnd: u64::from(self.snd_wnd),
            rcv_wnd: u64::from(self.rcv_wnd()),
            bytes_acked: acked as u64,
            bytes_received: (self.recv.next() - 1) as u64,
            bytes_sent: self.stats.bytes_sent,
            bytes_retrans: self.rare().bytes_retrans,
            segs_out: self.stats.segs_out,
            segs_in: self.stats.segs_in,
            retrans_segs: u64::from(self.rare().retrans_segs),
            pacing_rate: self.paced_rate(cx).or_else(|| self.nominal_rate(cx)),
            max_pacing_rate: self.options.max_pacing_rate,
            retrans_out: self.rtx.repeats_out(u64::from(self.mss.max(1))),
            delivery_rate: self.rate.bytes_per_second(),
            delivery_rate_app_limited: self.rate.is_app_limited(),
            reordering: (cx.settings.tcp_reordering as u32).max(self.recovery.rack.distance()),
            reordered: self.recovery.rack.reordered(),
            reported_duplicates: self.recovery.rack.duplicates(),
            backoff: u32::from(self.backoff),
            probes: u32::from(self.probes),
            path_mtu: self.path_mtu,
            sacked: self.rtx.sacked(),
            lost: self.rtx.lost(),
            rcv_buf: self.rcv_buf,
            rcv_ssthresh: self.rcv_learned.ssthresh,
            advertised_mss: self.advertised_mss(cx),
            delayed_ack: Duration::from_nanos(self.ack.ato),
            data_segs_in: self.stats.data_segs_in,
            data_segs_out: self.stats.data_segs_out,
            out_of_order: self.rare().out_of_order,
            busy: self.units.chrono.busy(now),
            peer_window_limited: self.units.chrono.by_peer_window(now),
            send_buffer_limited: self.units.chrono.by_send_buffer(now),
            rcv_rtt: self.rare().tuning.as_ref().and_then(|t| t.rtt()).unwrap_or_default(),
            rcv_space: self.rare().tuning.as_ref().map_or(10 * u64::from(self.mss), |t| t.space()),
            since_sent: now.since(self.times.last_send_at),
            since_received: now.since(self.times.last_recv_at),
            since_data_received: now.since(self.ack.data_at),
            time_in_state: now.since(self.times.state_since),
            age: now.since(self.created_at),
        }
    }

    fn advertised_mss(&self, cx: &Cx) -> u32 {
        let offered = super::mss::offered(&self.tuple, cx.device.mtu, &self.options);
        u32::from(offered.saturating_sub(super::mss::options_len(self.agreed.timestamps)))
    }

    /// The window of our SYN or SYN,ACK, unscaled; the right edge begins with it.
    pub(crate) fn syn_window(&mut self, cx: &Cx, our_mss: u16) -> u16 {
        // A SYN,ACK that is sent again, after segments with scaled windows (RFC 7413), takes nothing back either.
        let window =
            window::initial(self.rcv_buf, our_mss, &self.options, cx).max(self.rcv_wnd()).min(MAX_UNSCALED);
        self.set_rcv_edge(self.rcv_edge().max(self.rcv_nxt() + Pos::from(window)));
        window as u16
    }

    /// A passive connection begins where its embryo's SYN,ACK left off.
    pub(crate) fn begin_passive(
        &mut self,
        cx: &mut Cx,
        syn_ack_at: Instant,
        resent: bool,
        created_at: Instant,
    ) {
        use super::send::{Marks, Sent, SentState};
        let marks = if resent { Marks::SYN.with(Marks::RETRANSMITTED) } else { Marks::SYN };
        let state = SentState {
            sent_at: syn_ack_at,
            delivered: 0,
            delivered_at: syn_ack_at,
            first_sent_at: syn_ack_at,
            in_flight: 1,
            lost: 0,
            app_limited: true,
        };
        self.rtx.begin(&mut cx.pool, self.times.last_send_at);
        self.rtx.push(&mut cx.pool, Sent::new(0, 1, marks, &state));
        self.snd_nxt = 1;
        // The SYN's window says little; what comes next tells how large it gets.
        self.snd_max_wnd = 0;
        self.created_at = created_at;
    }
}
