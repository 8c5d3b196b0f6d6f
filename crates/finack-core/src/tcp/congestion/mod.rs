//! Congestion control: how much may be out. It never sees a sequence number.

mod cubic;
mod hystart;
mod newreno;
mod prr;

use core::time::Duration;

pub(crate) use cubic::Cubic;
pub(crate) use newreno::NewReno;
pub(crate) use prr::{Progress as PrrAck, Prr};

use crate::settings::Congestion;
use crate::time::Instant;

#[cfg(test)]
mod testing {
    use super::*;

    /// An ACK of `acked` bytes of `in_flight`, by a sender that used all of its window.
    pub(super) fn delivery(acked: u64, in_flight: u64, mss: u64) -> Delivery {
        Delivery {
            now: Instant::from_secs(1),
            srtt: Duration::from_millis(100),
            rtt: None,
            delivered: 0,
            acked,
            in_flight,
            used: in_flight,
            cwnd_limited: true,
            mss,
        }
    }
}

/// What an ACK delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) now: Instant,
    /// The smoothed round trip; zero before the first sample.
    pub(crate) srtt: Duration,
    /// The round trip of what the ACK acknowledged, where that tells.
    pub(crate) rtt: Option<Duration>,
    /// Bytes that reached the peer since the connection began.
    pub(crate) delivered: u64,
    /// Bytes acknowledged cumulatively.
    pub(crate) acked: u64,
    /// Bytes that were in flight before the ACK.
    pub(crate) in_flight: u64,
    /// The most that was out in the flight that is being acknowledged, in bytes.
    pub(crate) used: u64,
    /// The window kept the sender from sending more.
    pub(crate) cwnd_limited: bool,
    pub(crate) mss: u64,
}

/// What a controller must do.
pub(crate) trait Control {
    /// The window in bytes.
    fn cwnd(&self) -> u64;
    /// The slow start threshold in bytes; `u64::MAX` before the first loss.
    fn ssthresh(&self) -> u64;
    /// Data was acknowledged, and recovery is not under way.
    fn on_ack(&mut self, delivery: &Delivery);
    /// Recovery began with `in_flight` bytes out.
    fn on_loss(&mut self, in_flight: u64, mss: u64);
    /// Recovery ended (RFC 9937 6.4).
    fn on_recovered(&mut self);
    /// Recovery says how much may be out while it lasts (RFC 9937 6.2).
    fn set_cwnd(&mut self, cwnd: u64);
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
}

impl Controller {
    /// A controller with `initial` bytes of window.
    pub(crate) fn new(kind: Congestion, initial: u64) -> Self {
        match kind {
            Congestion::Reno => Self::NewReno(NewReno::new(initial)),
            Congestion::Cubic => Self::Cubic(Cubic::new(initial)),
        }
    }

    pub(crate) const fn kind(&self) -> Congestion {
        match self {
            Self::NewReno(_) => Congestion::Reno,
            Self::Cubic(_) => Congestion::Cubic,
        }
    }
}

macro_rules! each {
    ($self:ident, $c:ident => $call:expr) => {
        match $self {
            Controller::NewReno($c) => $call,
            Controller::Cubic($c) => $call,
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
