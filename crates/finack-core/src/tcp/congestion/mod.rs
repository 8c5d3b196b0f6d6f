//! Congestion control: how much may be out. It never sees a sequence number.

mod newreno;

pub(crate) use newreno::NewReno;

/// What an ACK delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// Bytes acknowledged cumulatively.
    pub(crate) acked: u64,
    /// Bytes that were in flight before the ACK.
    pub(crate) in_flight: u64,
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
    /// Recovery ended with `in_flight` bytes out.
    fn on_recovered(&mut self, in_flight: u64, mss: u64);
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
}

impl Controller {
    pub(crate) const fn new_reno(initial: u64) -> Self {
        Self::NewReno(NewReno::new(initial))
    }

    const fn inner(&self) -> &NewReno {
        let Self::NewReno(c) = self;
        c
    }

    fn inner_mut(&mut self) -> &mut NewReno {
        let Self::NewReno(c) = self;
        c
    }
}

impl Control for Controller {
    fn cwnd(&self) -> u64 {
        self.inner().cwnd()
    }
    fn ssthresh(&self) -> u64 {
        self.inner().ssthresh()
    }
    fn on_ack(&mut self, delivery: &Delivery) {
        self.inner_mut().on_ack(delivery);
    }
    fn on_loss(&mut self, in_flight: u64, mss: u64) {
        self.inner_mut().on_loss(in_flight, mss);
    }
    fn on_recovered(&mut self, in_flight: u64, mss: u64) {
        self.inner_mut().on_recovered(in_flight, mss);
    }
    fn on_timeout(&mut self, in_flight: u64, mss: u64) {
        self.inner_mut().on_timeout(in_flight, mss);
    }
    fn on_idle(&mut self, rtos: u32, initial: u64) {
        self.inner_mut().on_idle(rtos, initial);
    }
    fn on_mss_change(&mut self, mss: u64) {
        self.inner_mut().on_mss_change(mss);
    }
}
