//! Congestion control: how much may be out. It never sees a sequence number.

mod bbr;
mod cubic;
mod dctcp;
mod hystart;
mod newreno;
mod prague;
mod prr;
mod validation;

use alloc::boxed::Box;
use core::time::Duration;

pub(crate) use bbr::Bbr;
pub(crate) use cubic::Cubic;
pub(crate) use dctcp::Dctcp;
pub(crate) use newreno::NewReno;
pub(crate) use prague::Prague;
pub(crate) use prr::{Progress as PrrAck, Prr};
pub(crate) use validation::Validation;

use super::rate::RateSample;
use crate::settings::Congestion;
use crate::time::Instant;

#[cfg(test)]
mod testing {
    use super::*;

    /// An ACK of `acked` bytes of `in_flight`, by a sender that used all of its window.
    pub(super) fn delivery(acked: u64, in_flight: u64, mss: u64) -> Delivery {
        Delivery {
            now: Instant::from_secs(1),
            srtt_us: 100_000,
            min_rtt_us: 100_000,
            rtt: None,
            delivered: 0,
            newly_delivered: acked,
            acked,
            in_flight,
            still_in_flight: in_flight.saturating_sub(acked),
            lost: 0,
            ce: 0,
            sample: None,
            used: in_flight,
            cwnd_limited: true,
            repairing: false,
            sack: true,
            mss,
        }
    }
}

/// What an ACK brought. Bytes, where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) now: Instant,
    /// The smoothed round trip in microseconds; zero before the first sample.
    pub(crate) srtt_us: u64,
    /// The least round trip of the last minutes in microseconds; zero before the first sample.
    pub(crate) min_rtt_us: u64,
    /// The round trip of what the ACK acknowledged, where that tells.
    pub(crate) rtt: Option<Duration>,
    /// What reached the peer since the connection began.
    pub(crate) delivered: u64,
    /// What this ACK reported for the first time, cumulatively or by SACK.
    pub(crate) newly_delivered: u64,
    /// What of it counts for the growth of a window.
    pub(crate) acked: u64,
    /// What was in flight before the ACK.
    pub(crate) in_flight: u64,
    /// What is in flight after it.
    pub(crate) still_in_flight: u64,
    /// What recovery took for lost at this ACK.
    pub(crate) lost: u64,
    /// What the peer newly reports to have received with CE.
    pub(crate) ce: u64,
    /// How fast things arrive, where the ACK tells.
    pub(crate) sample: Option<RateSample>,
    /// The most that was out in the flight that is being acknowledged.
    pub(crate) used: u64,
    /// The window kept the sender from sending more.
    pub(crate) cwnd_limited: bool,
    /// Losses are being repaired.
    pub(crate) repairing: bool,
    /// The connection uses SACK: recovery sees more than one loss in a round trip.
    pub(crate) sack: bool,
    pub(crate) mss: u64,
}

/// What recovery took for lost at once. Bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    pub(crate) now: Instant,
    pub(crate) bytes: u64,
    /// What was lost since the last of them was sent, all of them included.
    pub(crate) since_sent: u64,
    /// What was in flight when the last of them was sent, itself included.
    pub(crate) sent_in_flight: u64,
    /// The application limited the rate at that time.
    pub(crate) app_limited: bool,
    /// The connection uses SACK: recovery sees more than one loss in a round trip.
    pub(crate) sack: bool,
    pub(crate) mss: u64,
}

/// What is sent, again or for the first time. Bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) now: Instant,
    /// The smoothed round trip in microseconds; zero before the first sample.
    pub(crate) srtt_us: u64,
    pub(crate) bytes: u64,
    /// What was in flight before.
    pub(crate) in_flight: u64,
    /// What reached the peer since the connection began.
    pub(crate) delivered: u64,
    /// The application limits the rate.
    pub(crate) app_limited: bool,
    /// The window does not let more go, although there is more.
    pub(crate) cwnd_limited: bool,
}

/// What a controller must do, and what it may.
pub(crate) trait Control {
    /// The window in bytes.
    fn cwnd(&self) -> u64;
    /// The slow start threshold in bytes; `u64::MAX` before the first loss.
    fn ssthresh(&self) -> u64;
    /// Data was acknowledged, and recovery is not under way.
    fn on_ack(&mut self, delivery: &Delivery);
    /// An ACK came, whatever recovery is about, and after it made what it can of it. Before `on_ack`.
    fn on_delivery(&mut self, _delivery: &Delivery) {}
    /// Recovery takes something for lost. Before `on_loss`, where that begins a recovery.
    fn on_lost(&mut self, _losses: &Losses) {}
    /// Recovery began with `in_flight` bytes out.
    fn on_loss(&mut self, in_flight: u64, mss: u64);
    /// Recovery ended (RFC 9937 6.4).
    fn on_recovered(&mut self);
    /// The peer reports congestion by ECE (RFC 3168 6.1.2), for the first time in this flight of `in_flight` bytes.
    fn on_ecn(&mut self, in_flight: u64, mss: u64) {
        self.on_loss(in_flight, mss);
    }
    /// What `on_ecn` leaves of the window holds at once, and the window goes on growing: proportional rate reduction has no
    /// say.
    fn reduces_at_once(&self) -> bool {
        false
    }
    /// Data goes out.
    fn on_sent(&mut self, _sending: &Sending) {}
    /// Nothing had been lost. Who remembers the time before the loss itself comes back to it; of the others recovery
    /// keeps a copy (see [`Controller::to_undo`]).
    fn on_undone(&mut self, _now: Instant) {}
    /// Recovery says how much may be out while it lasts (RFC 9937 6.2), or after a time-out.
    fn set_cwnd(&mut self, cwnd: u64);
    /// So much is the window, and where slow start ends (RFC 7661 4.4.1).
    fn settle_at(&mut self, window: u64, _mss: u64) {
        self.set_cwnd(window);
    }
    /// Its window holds while losses are repaired, too: proportional rate reduction has no say.
    fn rules_recovery(&self) -> bool {
        false
    }
    /// How fast data is to leave, in bytes a second; `None` as fast as the window lets it.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
    /// It sends less than the path takes, on purpose: what is measured meanwhile says nothing of the path.
    fn holds_back(&self) -> bool {
        false
    }
    /// The retransmission timer ran out for the first time for this flight.
    fn on_timeout(&mut self, in_flight: u64, mss: u64);
    /// Nothing was sent for `rtos` retransmission time-outs (RFC 5681 4.1).
    fn on_idle(&mut self, rtos: u32, initial: u64);
    /// The segment size changed.
    fn on_mss_change(&mut self, mss: u64);
}

/// The controllers that a connection can have.
#[derive(Clone, Debug)]
pub(crate) enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
    Bbr(Box<Bbr>),
    Dctcp(Box<Dctcp>),
    Prague(Box<Prague>),
}

impl Controller {
    /// A controller with `initial` bytes of window; `seed` is for those that leave something to chance.
    pub(crate) fn new(kind: Congestion, initial: u64, seed: u64) -> Self {
        match kind {
            Congestion::Bbr => Self::Bbr(Bbr::new(initial, seed)),
            Congestion::Reno => Self::NewReno(NewReno::new(initial)),
            Congestion::Cubic => Self::Cubic(Cubic::new(initial)),
            Congestion::Dctcp => Self::Dctcp(Box::new(Dctcp::new(NewReno::new(initial)))),
            Congestion::Prague => Self::Prague(Box::new(Prague::new(NewReno::new(initial)))),
        }
    }

    /// A controller of another kind that goes on where this one is: with its window and its threshold, as on Linux.
    pub(crate) fn succeeded_by(&self, kind: Congestion, seed: u64) -> Self {
        let (cwnd, ssthresh) = (self.cwnd(), self.ssthresh());
        let reno = NewReno::resuming(cwnd, ssthresh);
        match kind {
            Congestion::Reno => Self::NewReno(reno),
            Congestion::Cubic => Self::Cubic(Cubic::resuming(cwnd, ssthresh)),
            Congestion::Dctcp => Self::Dctcp(Box::new(Dctcp::new(reno))),
            Congestion::Prague => Self::Prague(Box::new(Prague::new(reno))),
            Congestion::Bbr => Self::Bbr(Bbr::new(cwnd, seed)),
        }
    }

    /// One of the same kind that knows nothing yet, with `initial` bytes of window.
    pub(crate) fn anew(&self, initial: u64) -> Self {
        let seed = match self {
            Self::Bbr(bbr) => bbr.seed(),
            _ => 0,
        };
        Self::new(self.kind(), initial, seed)
    }

    /// Whether no ACK of a flight of which `used` bytes were out at most changes anything in it, whatever the ACK says: its window
    /// is larger than is made use of, and it asks for nothing else.
    #[inline]
    pub(crate) fn rests_at(&self, used: u64) -> bool {
        match self {
            Self::NewReno(reno) => reno.is_unused(used),
            Self::Cubic(cubic) => cubic.is_unused(used),
            Self::Bbr(_) | Self::Dctcp(_) | Self::Prague(_) => false,
        }
    }

    pub(crate) const fn kind(&self) -> Congestion {
        match self {
            Self::NewReno(_) => Congestion::Reno,
            Self::Cubic(_) => Congestion::Cubic,
            Self::Dctcp(_) => Congestion::Dctcp,
            Self::Prague(_) => Congestion::Prague,
            Self::Bbr(_) => Congestion::Bbr,
        }
    }

    /// Bytes that it has elsewhere.
    pub(crate) fn heap_memory(&self) -> usize {
        match self {
            Self::Cubic(cubic) => cubic.heap_memory(),
            Self::Dctcp(_) => size_of::<Dctcp>(),
            Self::Bbr(_) => size_of::<Bbr>(),
            Self::Prague(_) => size_of::<Prague>(),
            _ => 0,
        }
    }

    /// Whether it makes anything of data that goes out while so many bytes are in flight.
    #[inline]
    pub(crate) const fn hears_of_sending(&self, in_flight: u64) -> bool {
        match self {
            Self::Cubic(_) => in_flight == 0,
            Self::Bbr(_) => true,
            Self::NewReno(_) | Self::Dctcp(_) | Self::Prague(_) => false,
        }
    }

    /// A copy to come back to, of those that do not remember what was before a loss.
    pub(crate) fn to_undo(&self) -> Option<Self> {
        match self {
            Self::Bbr(_) => None,
            _ => Some(self.clone()),
        }
    }
}

macro_rules! each {
    ($self:ident, $c:ident => $call:expr) => {
        match $self {
            Controller::NewReno($c) => $call,
            Controller::Cubic($c) => $call,
            Controller::Bbr($c) => $call,
            Controller::Dctcp($c) => $call,
            Controller::Prague($c) => $call,
        }
    };
}

impl Control for Controller {
    fn cwnd(&self) -> u64 {
        each!(self, c => c.cwnd())
    }
    fn ssthresh(&self) -> u64 {
        each!(self, c => c.ssthresh())
    }
    fn on_ack(&mut self, delivery: &Delivery) {
        each!(self, c => c.on_ack(delivery));
    }
    fn on_delivery(&mut self, delivery: &Delivery) {
        each!(self, c => c.on_delivery(delivery));
    }
    fn on_lost(&mut self, losses: &Losses) {
        each!(self, c => c.on_lost(losses));
    }
    fn on_ecn(&mut self, in_flight: u64, mss: u64) {
        each!(self, c => c.on_ecn(in_flight, mss));
    }
    fn reduces_at_once(&self) -> bool {
        each!(self, c => c.reduces_at_once())
    }
    fn on_sent(&mut self, sending: &Sending) {
        each!(self, c => c.on_sent(sending));
    }
    fn on_undone(&mut self, now: Instant) {
        each!(self, c => c.on_undone(now));
    }
    fn settle_at(&mut self, window: u64, mss: u64) {
        each!(self, c => c.settle_at(window, mss));
    }
    fn rules_recovery(&self) -> bool {
        each!(self, c => c.rules_recovery())
    }
    fn pacing_rate(&self) -> Option<u64> {
        each!(self, c => c.pacing_rate())
    }
    fn holds_back(&self) -> bool {
        each!(self, c => c.holds_back())
    }
    fn on_loss(&mut self, in_flight: u64, mss: u64) {
        each!(self, c => c.on_loss(in_flight, mss));
    }
    fn on_recovered(&mut self) {
        each!(self, c => c.on_recovered());
    }
    fn set_cwnd(&mut self, cwnd: u64) {
        each!(self, c => c.set_cwnd(cwnd));
    }
    fn on_timeout(&mut self, in_flight: u64, mss: u64) {
        each!(self, c => c.on_timeout(in_flight, mss));
    }
    fn on_idle(&mut self, rtos: u32, initial: u64) {
        each!(self, c => c.on_idle(rtos, initial));
    }
    fn on_mss_change(&mut self, mss: u64) {
        each!(self, c => c.on_mss_change(mss));
    }
}
