//! Segment sizes (RFC 9293 3.7.1, RFC 6691) and what path MTU discovery does to them (RFC 1191, RFC 8201).

use finack_wire::tcp::HEADER_LEN;

use super::Tuple;
use super::congestion::Control;
use super::seq::Pos;
use super::tcb::Connection;
use super::timers::Timer;
use super::units::within_half_window;
use crate::cx::Cx;
use crate::options::SocketOptions;
use crate::settings::{Profile, Settings};
use crate::time::Instant;
use crate::trace::TraceKind;

/// RFC 9293 MUST-15: what a peer without the option takes.
const DEFAULT_V4: u16 = 536;
const DEFAULT_V6: u16 = 1220;
/// Timestamps and their padding in each segment.
const TIMESTAMPS_LEN: u16 = 12;

/// The MSS option of our SYN (RFC 9293 MUST-14, MUST-67): what fits the interface, options not counted.
pub(crate) fn offered(tuple: &Tuple, mtu: usize, options: &SocketOptions) -> u16 {
    let fits = mtu.saturating_sub(tuple.ip_header_len() + HEADER_LEN).clamp(1, 65_495) as u16;
    options.max_segment.map_or(fits, |most| fits.min(most.max(1)))
}

/// The most that the peer takes, by its option or the default, and by TCP_MAXSEG.
pub(crate) fn of_peer(is_v6: bool, option: Option<u16>, options: &SocketOptions, settings: &Settings) -> u16 {
    let default = if is_v6 { DEFAULT_V6 } else { DEFAULT_V4 };
    let least = settings.tcp_min_snd_mss.min(65_495) as u16;
    let peer = option.filter(|&mss| mss > 0).unwrap_or(default).max(least);
    options.max_segment.map_or(peer, |most| peer.min(most.max(1)))
}

/// Bytes of options in every segment, signatures aside.
pub(crate) const fn options_len(timestamps: bool) -> u16 {
    if timestamps { TIMESTAMPS_LEN } else { 0 }
}

/// Payload bytes of a full segment on a path of `mtu` whose segments have `options` bytes of options (RFC 9293 MUST-16).
pub(crate) fn effective(tuple: &Tuple, mtu: usize, peer: u16, options: u16, settings: &Settings) -> u16 {
    let path = mtu.saturating_sub(tuple.ip_header_len() + HEADER_LEN).min(65_495) as u16;
    let least = (settings.tcp_min_snd_mss.min(65_495) as u16).saturating_sub(options).max(8);
    path.min(peer).saturating_sub(options).max(least)
}

impl Connection {
    /// What path, peer and the peer's window take.
    fn effective_mss(&self, cx: &Cx, mtu: usize) -> u16 {
        let reserve = self.ecn.as_ref().map_or(0, |ecn| ecn.reserve);
        let options = options_len(self.agreed.timestamps) + u16::from(self.auth_len) + u16::from(reserve);
        let fits = effective(&self.tuple, mtu, self.agreed.peer_mss, options, &cx.settings);
        match cx.settings.profile {
            Profile::Linux => within_half_window(u32::from(fits), self.snd_max_wnd) as u16,
            Profile::Rfc => fits,
        }
    }

    /// Segments have more or fewer bytes of options from now on.
    #[cfg(feature = "md5-ao")]
    pub(crate) fn fit_segments(&mut self, cx: &Cx) {
        let mtu = cx.device.mtu.min(self.path_mtu as usize);
        self.mss = self.effective_mss(cx, mtu);
        self.congestion.on_mss_change(u64::from(self.mss));
    }

    /// The same before anything was sent: the window is so many segments, of whatever size.
    pub(crate) fn resize_segments(&mut self, cx: &Cx) {
        let mtu = cx.device.mtu.min(self.path_mtu as usize);
        let old = core::mem::replace(&mut self.mss, 0);
        self.mss = self.effective_mss(cx, mtu);
        if self.congestion.ssthresh() == u64::MAX && !self.congestion.rules_recovery() {
            let cwnd = self.congestion.cwnd() / u64::from(old.max(1)) * u64::from(self.mss);
            self.congestion = self.congestion.anew(cwnd);
        } else {
            self.congestion.on_mss_change(u64::from(self.mss));
        }
    }

    /// The peer's SYN told what it takes.
    pub(crate) fn set_peer_mss(&mut self, cx: &Cx, option: Option<u16>) {
        self.agreed.peer_mss = of_peer(self.tuple.is_v6(), option, &self.options, &cx.settings);
        let mtu = cx.device.mtu.min(self.path_mtu as usize);
        self.mss = self.effective_mss(cx, mtu);
        let initial = super::tcb::initial_cwnd(cx.settings.tcp_initial_cwnd, self.mss);
        self.congestion = self.congestion.anew(initial);
        self.rcv_mss = self.mss.min(536);
    }

    /// A peer whose largest window is small gets small segments, so that one can be on its way while another is
    /// acknowledged.
    pub(crate) fn note_largest_window(&mut self, cx: &Cx, window: u32) {
        if window <= self.snd_max_wnd {
            return;
        }
        let before = core::mem::replace(&mut self.snd_max_wnd, window);
        let large = u32::from(u16::MAX);
        let bounded = before == 0 || within_half_window(large, before) < large;
        if cx.settings.profile == Profile::Rfc || !bounded {
            return;
        }
        let fits = if before == 0 {
            within_half_window(u32::from(self.mss), window) as u16
        } else {
            let path = cx.device.mtu.min(self.path_mtu as usize);
            let mtu = self.rare().search.as_ref().map_or(path, |search| path.min(search.low as usize));
            self.effective_mss(cx, mtu)
        };
        let old = core::mem::replace(&mut self.mss, fits);
        // A model of the path stays, whatever the segments.
        let fresh = self.congestion.ssthresh() == u64::MAX && !self.congestion.rules_recovery();
        if self.mss != old && fresh {
            // The window is so many segments, of whatever size.
            let cwnd = self.congestion.cwnd() / u64::from(old.max(1)) * u64::from(self.mss);
            self.congestion = self.congestion.anew(cwnd);
        } else if self.mss != old {
            self.congestion.on_mss_change(u64::from(self.mss));
        }
    }

    /// What was learned of the path has expired, or was never true: larger segments again (RFC 1191 6.3). Who searches
    /// (RFC 4821) tries them first.
    pub(crate) fn raise_path_mtu(&mut self, cx: &Cx, mtu: u32) {
        self.path_mtu = mtu;
        if self.rare().search.is_none() {
            self.use_packets_of(cx, mtu);
        }
    }

    /// A router says that the path takes packets of `mtu` bytes only: smaller segments from now on, and what is out goes
    /// out again at once, which is no sign of congestion (RFC 1191 6.5, RFC 8201 5.4).
    pub(crate) fn lower_path_mtu(&mut self, cx: &mut Cx, now: Instant, mtu: u32) {
        self.path_mtu = self.path_mtu.min(mtu);
        let old = self.mss;
        let too_large = self.search_on_icmp(cx, self.path_mtu);
        if self.use_packets_of(cx, self.path_mtu.min(u32::from(old) + self.headers())) {
            cx.trace(now, self.trace_id, &self.tuple, TraceKind::PathMtu { mtu });
            self.repeat_smaller();
        } else if let Some(probe) = too_large {
            self.repeat_probe(probe.start, probe.end);
        }
    }

    /// Segments for packets of `mtu` bytes. The congestion window stays what it is in bytes where they grow, and in
    /// segments where they shrink (RFC 4821 4). Answers whether they shrink.
    pub(crate) fn use_packets_of(&mut self, cx: &Cx, mtu: u32) -> bool {
        let old = self.mss;
        let path = cx.device.mtu.min(mtu as usize);
        self.mss = self.effective_mss(cx, path);
        if self.mss < old {
            // RFC 5681 3.1: as many segments as before, not as many bytes in more of them.
            let cwnd = self.congestion.cwnd() * u64::from(self.mss) / u64::from(old);
            self.congestion.set_cwnd(cwnd);
        }
        self.congestion.on_mss_change(u64::from(self.mss));
        self.mss < old
    }

    /// What is out was too large: it goes out again, smaller.
    pub(crate) fn repeat_smaller(&mut self) {
        if self.snd_nxt - self.snd_una > Pos::from(self.mss) && self.state.is_synchronized() {
            self.recovery.on_path_change(&mut self.rtx, self.snd_nxt);
            self.timers.stop(Timer::Retransmit);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn tuple() -> Tuple {
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        Tuple { local, remote: local, local_port: 1, remote_port: 2 }
    }

    /// RFC 9293 MUST-15: no option means 536.
    #[test]
    fn a_peer_without_the_option_gets_the_default() {
        let (options, settings) = (SocketOptions::default(), Settings::default());
        assert_eq!(of_peer(false, None, &options, &settings), 536);
        assert_eq!(of_peer(true, None, &options, &settings), 1220);
        assert_eq!(of_peer(false, Some(0), &options, &settings), 536);
        assert_eq!(of_peer(false, Some(1), &options, &settings), 48);
    }

    /// RFC 9293 MUST-16: the smaller of path and peer, less the options of every segment.
    #[test]
    fn the_effective_size_leaves_room_for_options() {
        let settings = Settings::default();
        assert_eq!(effective(&tuple(), 1500, 1460, options_len(true), &settings), 1448);
        assert_eq!(effective(&tuple(), 1500, 536, 0, &settings), 536);
        assert_eq!(effective(&tuple(), 576, 1460, 0, &settings), 536);
    }
}
