//! Tail loss probes (RFC 8985 7): where no ACK comes, the last segment again, long before the time-out.

use super::Rtt;
use crate::settings::Settings;
use crate::tcp::seq::Pos;

/// RFC 8985 7.2: before the first sample. Microseconds.
const WITHOUT_SAMPLE: u64 = 1_000_000;

/// What Linux adds, so that an ACK that comes after exactly two round trips is in time. Microseconds.
const SLACK: u64 = 2_000;

/// The probe that is out, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// TLP.end_seq, SND.NXT when it was sent (0 where none is out), and behind it two bits.
    packed: Pos,
}

/// TLP.is_retrans.
const REPEAT: Pos = 1;
/// No round trip was measured since it was sent.
const UNMEASURED: Pos = 2;
/// Where TLP.end_seq begins: no stream has so many bytes that it would not fit.
const END: u32 = 2;

impl Probe {
    pub(crate) const fn new() -> Self {
        Self { packed: 0 }
    }

    const fn end(&self) -> Pos {
        self.packed >> END
    }

    const fn is_repeat(&self) -> bool {
        self.packed & REPEAT != 0
    }

    /// Whether another may go (RFC 8985 7.3).
    pub(crate) const fn may_go(&self) -> bool {
        self.end() == 0 && self.packed & UNMEASURED == 0
    }

    /// Whether one is out.
    pub(crate) const fn is_out(&self) -> bool {
        self.end() != 0
    }

    /// One went out; `nxt` is SND.NXT after it.
    pub(crate) fn on_sent(&mut self, nxt: Pos, is_repeat: bool) {
        self.packed = nxt << END | UNMEASURED | if is_repeat { REPEAT } else { 0 };
    }

    /// Whether one is out that sent again what ends at `end`.
    pub(crate) fn is_repeat_of(&self, end: Pos) -> bool {
        self.is_repeat() && self.end() == end
    }

    /// A round trip was measured.
    pub(crate) fn on_sample(&mut self) {
        self.packed &= !UNMEASURED;
    }

    /// RFC 8985 7.4.2: what an ACK of `una` tells of the probe. `reported`: the end of what arrived twice; `plain`: a
    /// duplicate ACK without a SACK block. Answers whether the probe repaired a loss.
    pub(crate) fn on_ack(&mut self, una: Pos, reported: Option<Pos>, plain: bool) -> bool {
        if self.end() == 0 || una < self.end() {
            return false;
        }
        let (end, is_repeat) = (self.end(), self.is_repeat());
        let repaired = is_repeat && reported != Some(end) && una > end;
        if repaired || !is_repeat || reported == Some(end) || plain {
            self.packed &= REPEAT | UNMEASURED;
        }
        repaired
    }
}

/// RFC 8985 7.2: how long after something was sent a probe goes, in microseconds. `alone`: one segment is out, whose ACK
/// the peer may delay.
pub(crate) fn wait(rtt: &Rtt, alone: bool, settings: &Settings) -> u64 {
    match rtt.srtt_us() {
        0 => WITHOUT_SAMPLE,
        srtt => 2 * srtt + if alone { settings.tcp_rto_min_us } else { SLACK },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    fn sent(is_repeat: bool) -> Probe {
        let mut probe = Probe::new();
        probe.on_sent(5001, is_repeat);
        probe
    }

    /// RFC 8985 7.4.2: a later ACK without a sign that both copies arrived: the probe repaired a loss.
    #[test]
    fn a_later_ack_shows_a_repaired_loss() {
        let mut probe = sent(true);
        assert!(!probe.on_ack(5001, None, false));
        assert!(probe.on_ack(6001, None, false));
        assert!(!probe.on_ack(7001, None, false));
    }

    /// RFC 8985 7.4.2, cases 1 and 2: a DSACK of the probe, or a plain duplicate ACK: nothing was lost.
    #[test]
    fn both_copies_arrived() {
        for (reported, plain) in [(Some(5001), false), (None, true)] {
            let mut probe = sent(true);
            assert!(!probe.on_ack(5001, reported, plain));
            assert!(!probe.on_ack(6001, None, false), "{reported:?}");
        }
    }

    /// RFC 8985 7.2: two round trips and a little, and 200 ms more for the delayed ACK of a single segment; a second before there is a
    /// sample.
    #[test]
    fn the_time_until_a_probe() {
        let (mut rtt, settings) = (Rtt::new(), Settings::default());
        assert_eq!(wait(&rtt, false, &settings), 1_000_000);
        rtt.sample(30_000_000, Instant::ZERO, &settings);
        assert_eq!(wait(&rtt, false, &settings), 62_000);
        assert_eq!(wait(&rtt, true, &settings), 260_000);
    }

    /// New data as a probe repairs nothing.
    #[test]
    fn new_data_is_no_repair() {
        assert!(!sent(false).on_ack(6001, None, false));
    }

    /// RFC 8985 7.3: one at a time, and only after another sample.
    #[test]
    fn the_next_one_needs_an_answer_and_a_sample() {
        let mut probe = sent(false);
        assert!(!probe.may_go());
        probe.on_ack(5001, None, false);
        assert!(!probe.may_go());
        probe.on_sample();
        assert!(probe.may_go());
    }
}
