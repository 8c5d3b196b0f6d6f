//! Proportional rate reduction (RFC 9937): in recovery the window goes down to ssthresh while ACKs come in, not at once.

/// One recovery. Bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prr {
    /// RecoverFS: what may still be delivered of what was out when the recovery began.
    flight: u64,
    delivered: u64,
    out: u64,
}

/// What an ACK brings to it. Bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// DeliveredData.
    pub(crate) delivered: u64,
    pub(crate) in_flight: u64,
    /// SafeACK: SND.UNA went on, and no further loss came to light.
    pub(crate) safe: bool,
    pub(crate) ssthresh: u64,
    pub(crate) mss: u64,
}

impl Prr {
    /// RFC 9937 6.1: `flight` is RecoverFS.
    pub(crate) fn new(flight: u64) -> Self {
        Self { flight: flight.max(1), delivered: 0, out: 0 }
    }

    /// RFC 9937 6.2: the window after an ACK; `None` where it delivered nothing.
    ///
    /// Counts whole segments, as Linux does: part of one that may go lets all of it go.
    pub(crate) fn on_ack(&mut self, ack: &Progress) -> Option<u64> {
        if ack.delivered == 0 {
            return None;
        }
        self.delivered += ack.delivered;
        let mut count = if ack.in_flight > ack.ssthresh {
            let due = (self.delivered * ack.ssthresh).div_ceil(self.flight);
            due.next_multiple_of(ack.mss).saturating_sub(self.out)
        } else {
            let kept = self.delivered.saturating_sub(self.out).max(ack.delivered);
            let kept = if ack.safe { kept + ack.mss } else { kept };
            kept.min(ack.ssthresh - ack.in_flight)
        };
        if self.out == 0 {
            // The first retransmission always goes.
            count = count.max(ack.mss);
        }
        // Where a sender of small segments has little out, the window still is a segment (RFC 5681 3.1).
        Some((ack.in_flight + count).max(ack.mss))
    }

    /// RFC 9937 6.3.
    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.out += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1000;

    fn ack(delivered: u64, in_flight: u64, safe: bool) -> Progress {
        Progress {
            delivered: delivered * MSS,
            in_flight: in_flight * MSS,
            safe,
            ssthresh: 10 * MSS,
            mss: MSS,
        }
    }

    /// RFC 9937 6.2: with twice as much out as allowed, one segment goes for two that arrive.
    #[test]
    fn the_window_goes_down_in_proportion() {
        let mut prr = Prr::new(20 * MSS);
        let mut sent = 0;
        let mut in_flight = 19;
        for _ in 0..8 {
            in_flight -= 1;
            let window = prr.on_ack(&ack(1, in_flight, false)).unwrap() / MSS;
            let now = window - in_flight;
            prr.on_sent(now * MSS);
            sent += now;
            in_flight += now;
        }
        assert_eq!(sent, 4);
    }

    /// RFC 9937 6.2: the ACK that begins recovery lets one segment go in any case.
    #[test]
    fn the_first_retransmission_always_goes() {
        let mut prr = Prr::new(20 * MSS);
        assert_eq!(prr.on_ack(&Progress { delivered: 1, ..ack(0, 19, false) }), Some(20 * MSS));
    }

    /// RFC 5681 3.1: however little is out, in segments that are small, the window is one of full size.
    #[test]
    fn the_window_is_never_below_a_segment() {
        let mut prr = Prr::new(300);
        prr.on_sent(14);
        let small = Progress { delivered: 14, in_flight: 42, ..ack(0, 0, false) };
        assert_eq!(prr.on_ack(&small), Some(MSS));
    }

    /// RFC 9937 6.2: below ssthresh as much goes as arrives, and one more segment if all goes well.
    #[test]
    fn below_the_threshold_it_grows_only_while_all_goes_well() {
        let mut prr = Prr::new(20 * MSS);
        prr.on_sent(5 * MSS);
        assert_eq!(prr.on_ack(&ack(1, 4, false)), Some(5 * MSS));
        assert_eq!(prr.on_ack(&ack(1, 4, true)), Some(6 * MSS));
        // Never beyond ssthresh.
        assert_eq!(prr.on_ack(&ack(9, 8, true)), Some(10 * MSS));
    }

    /// An ACK that delivers nothing changes nothing.
    #[test]
    fn nothing_delivered_nothing_sent() {
        assert_eq!(Prr::new(MSS).on_ack(&ack(0, 1, true)), None);
    }
}
