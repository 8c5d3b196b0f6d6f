//! MIB counters: what happened, counted always, whether someone listens or not.

use finack_wire::ip::Ecn;

use crate::trace::{DropReason, ResetReason, RetransmitReason};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// Counters of one stack, from its creation on; they wrap at 2^64.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $field: u64,)+
            dropped: [u64; DropReason::ALL.len()],
            resets_sent: [u64; ResetReason::ALL.len()],
            retransmits: [u64; RetransmitReason::ALL.len()],
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($field: 0,)+
                    dropped: [0; DropReason::ALL.len()],
                    resets_sent: [0; ResetReason::ALL.len()],
                    retransmits: [0; RetransmitReason::ALL.len()],
                }
            }
        }

        impl Counters {
            /// Name and value of each plain counter.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)+].into_iter()
            }

            /// Adds what another stack of the same host counted.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
                let add = |to: &mut [u64], from: &[u64]| {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = to.wrapping_add(*from));
                };
                add(&mut self.dropped, &other.dropped);
                add(&mut self.resets_sent, &other.resets_sent);
                add(&mut self.retransmits, &other.retransmits);
            }
        }
    };
}

counters! {
    /// IP packets received.
    ip_in_receives,
    /// IP packets sent.
    ip_out_requests,
    /// Packets dropped because too many waited for the device.
    ip_out_discards,
    /// TCP segments received, those of joined packets counted each.
    tcp_in_segs,
    /// TCP segments sent, retransmissions included.
    tcp_out_segs,
    /// Segments sent again.
    tcp_retrans_segs,
    /// Connections opened by us.
    tcp_active_opens,
    /// Connections accepted into SYN-RECEIVED.
    tcp_passive_opens,
    /// Handshakes that failed.
    tcp_attempt_fails,
    /// Connections that went from ESTABLISHED or CLOSE-WAIT straight to CLOSED.
    tcp_estab_resets,
    /// RSTs sent.
    tcp_out_rsts,
    /// RSTs that ended a connection.
    tcp_in_rsts,
    /// Retransmission time-outs.
    tcp_timeouts,
    /// Challenge ACKs sent.
    tcp_challenge_acks,
    /// Delayed ACKs whose timer ran out.
    tcp_delayed_acks,
    /// Packets received with ECT(0), those of joined packets counted each (InECT0Pkts).
    ip_in_ect0_packets,
    /// With ECT(1) (InECT1Pkts).
    ip_in_ect1_packets,
    /// With CE: a router was congested (InCEPkts).
    ip_in_ce_packets,
    /// Times that a window was reduced because of marks (RFC 3168).
    tcp_ecn_reductions,
    /// SYN cookies sent.
    tcp_syn_cookies_sent,
    /// SYN cookies that came back right.
    tcp_syn_cookies_received,
    /// SYN cookies that came back wrong.
    tcp_syn_cookies_failed,
    /// Connections opened with data in our SYN that the peer's SYN,ACK acknowledged (TCPFastOpenActive).
    tcp_fast_open_active,
    /// Data in our SYN that the SYN,ACK did not acknowledge (TCPFastOpenActiveFail).
    tcp_fast_open_active_fail,
    /// Connections that a SYN with a good cookie opened (TCPFastOpenPassive).
    tcp_fast_open_passive,
    /// SYNs with a bad cookie (TCPFastOpenPassiveFail).
    tcp_fast_open_passive_fail,
    /// SYNs that asked for a cookie (TCPFastOpenCookieReqd).
    tcp_fast_open_cookie_requests,
    /// Fast opens that were made ordinary ones because too many were pending (TCPFastOpenListenOverflow).
    tcp_fast_open_overflows,
    /// Listen queue overflows.
    tcp_listen_overflows,
    /// Connections that entered TIME-WAIT.
    tcp_time_waits,
    /// TIME-WAITs reopened by a newer SYN.
    tcp_time_wait_reopened,
    /// TIME-WAITs taken over by an outgoing connection.
    tcp_time_wait_reused,
    /// TIME-WAITs that gave way because the table was full.
    tcp_time_wait_overflow,
    /// Connections ended by keep-alive.
    tcp_abort_on_keepalive,
    /// Orphans dropped.
    tcp_abort_on_orphan,
    /// Connections reset for want of room: orphans, and those whose peer took nothing (TCPAbortOnMemory).
    tcp_abort_on_memory,
    /// SACK blocks that made no sense.
    tcp_sack_discarded,
    /// Peers that threw SACKed data away.
    tcp_sack_reneging,
    /// Fast recoveries begun (TCPSackRecovery, TCPRenoRecovery).
    tcp_fast_recoveries,
    /// Tail loss probes sent (TCPLossProbes).
    tcp_loss_probes,
    /// Losses that a tail loss probe repaired (TCPLossProbeRecovery).
    tcp_loss_probe_recoveries,
    /// SACK blocks that reported a duplicate (TCPDSACKRecv).
    tcp_dsack_received,
    /// Repairs that turned out to be needless (TCPFullUndo, TCPPartialUndo, TCPDSACKUndo, TCPSpuriousRTOs).
    tcp_undone,
    /// Probes for the path MTU sent (RFC 4821).
    tcp_mtu_probes,
    /// Those that arrived (TCPMTUPSuccess).
    tcp_mtu_probes_arrived,
    /// Those that the path did not take (TCPMTUPFail).
    tcp_mtu_probes_lost,
    /// Paths that swallowed large packets without a word.
    tcp_mtu_black_holes,
    /// Zero-window probes sent.
    tcp_window_probes,
    /// Segments that were just what was expected next (TCPHPHits, TCPHPAcks).
    tcp_expected,
    /// Those of them that went on where another had ended that came with them.
    tcp_expected_behind,
    /// Segments of connections that were sent and had nothing special about them: with data, or SYN, ACK or FIN.
    tcp_ordinary,
    /// Out-of-order segments queued.
    tcp_out_of_order,
    /// UDP datagrams delivered.
    udp_in_datagrams,
    /// UDP datagrams sent.
    udp_out_datagrams,
    /// Datagrams for a port nobody has.
    udp_no_ports,
    /// Datagrams dropped because a socket's buffer was full.
    udp_rcvbuf_errors,
    /// Datagrams malformed or with a wrong checksum.
    udp_in_errors,
    /// ICMP messages received.
    icmp_in_msgs,
    /// ICMP messages sent.
    icmp_out_msgs,
    /// Packets reassembled from fragments.
    ip_reasm_oks,
    /// Reassemblies that failed.
    ip_reasm_fails,
}

impl Counters {
    /// How many packets were dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many RSTs were sent for `reason`.
    pub fn resets_sent(&self, reason: ResetReason) -> u64 {
        self.resets_sent[reason as usize]
    }

    /// How many segments were sent again for `reason`.
    pub fn retransmits(&self, reason: RetransmitReason) -> u64 {
        self.retransmits[reason as usize]
    }

    /// So many segments came in packets with this codepoint.
    #[inline(always)]
    pub(crate) fn count_segments_in(&mut self, ecn: Ecn, segments: u64) {
        self.ip_in_receives += segments;
        self.count_codepoint(ecn, segments);
        self.tcp_in_segs += segments;
    }

    /// `packets` came with `codepoint`.
    pub(crate) fn count_codepoint(&mut self, codepoint: Ecn, packets: u64) {
        match codepoint {
            Ecn::NotEct => {}
            Ecn::Ect0 => self.ip_in_ect0_packets += packets,
            Ecn::Ect1 => self.ip_in_ect1_packets += packets,
            Ecn::Ce => self.ip_in_ce_packets += packets,
        }
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    pub(crate) fn count_reset(&mut self, reason: ResetReason) {
        self.resets_sent[reason as usize] += 1;
        self.tcp_out_rsts += 1;
    }

    pub(crate) fn count_retransmit(&mut self, reason: RetransmitReason) {
        self.retransmits[reason as usize] += 1;
    }
}
