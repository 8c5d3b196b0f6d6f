//! Calls for a relay: data moves between the stack's own buffers and another place without a copy between, and what
//! was received is acknowledged only when that other place has it.

use alloc::vec::Vec;

use bytes::buf::Limit;

use super::{ConnId, Stack};
use crate::error::Error;
use crate::tcp::seq::Pos;
use crate::time::Instant;
use crate::trace::SendReason;

impl Stack {
    /// Lends what is there to read to `take`, in order and in at most 16 slices; as many bytes as it answers are read
    /// then. Where `take` answers an error, nothing is. `Ok(Ok(0))` without `take` having been called is the end of
    /// the stream. A read stops in front of urgent data, as [`tcp_recv`](Self::tcp_recv) does.
    ///
    /// # Errors
    /// As [`tcp_recv`](Self::tcp_recv); the inner error is `take`'s.
    pub fn tcp_recv_with<E>(
        &mut self,
        now: Instant,
        id: ConnId,
        take: impl FnOnce(&[&[u8]]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Error> {
        let (c, cx) = self.conn_mut(id)?;
        let result = c.recv_with(cx, take);
        self.refresh(now, id.index);
        result
    }

    /// Lets `fill` append up to `most` bytes (or as many as there is room for) to the send buffer itself; what it
    /// appended is sent. `Ok(Ok(0))`: it appended nothing. Where `fill` answers an error, what it appended is forgotten.
    /// Ask for little where little is expected: 2 KiB take a small block of memory, anything more a large one.
    ///
    /// Where `fill` appended all that it was let, more is expected: a partial segment at the end waits for it, up to
    /// 200 ms as with MSG_MORE, or for [`tcp_push`](Self::tcp_push).
    ///
    /// # Errors
    /// As [`tcp_send`](Self::tcp_send): `WouldBlock` where nothing fits, without `fill` having been called; the inner
    /// error is `fill`'s.
    pub fn tcp_send_with<E>(
        &mut self,
        now: Instant,
        id: ConnId,
        most: usize,
        fill: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> Result<(), E>,
    ) -> Result<Result<usize, E>, Error> {
        let (c, cx) = self.conn_mut(id)?;
        let result = c.send_with(cx, most, fill);
        self.refresh(now, id.index);
        result
    }

    /// Sends what waits for more (MSG_MORE, [`tcp_send_with`](Self::tcp_send_with)): there is no more for now.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_push(&mut self, now: Instant, id: ConnId) -> Result<(), Error> {
        let (c, _) = self.conn_mut(id)?;
        if core::mem::replace(&mut c.facts.more, false) {
            c.facts.unpushed = false;
            self.refresh(now, id.index);
        }
        Ok(())
    }

    /// Holds back the acknowledgement of everything that comes from now on, until [`tcp_ack_to`](Self::tcp_ack_to)
    /// allows it: for a relay whose word is that the far side has the data. The peer's own timers run meanwhile:
    /// it sends again what is held for longer than its RTO. `false` acknowledges all that is here.
    ///
    /// One FIN is acknowledged without being asked: that of a peer whose stream ends after ours did, for with it the
    /// connection is over.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_hold_acks(&mut self, now: Instant, id: ConnId, hold: bool) -> Result<(), Error> {
        let (c, _) = self.conn_mut(id)?;
        c.ack_hold = if hold { c.ack_pos().max(1) } else { Pos::MAX };
        self.ack_what_is_allowed(now, id)
    }

    /// Allows to acknowledge the first `count` bytes of the peer's stream; the FIN behind them counts as one. A smaller
    /// count than before changes nothing, nor does one beyond what is here: what comes later is held.
    ///
    /// # Errors
    /// `InvalidArgument` where ACKs are not held, `BadHandle`.
    pub fn tcp_ack_to(&mut self, now: Instant, id: ConnId, count: u64) -> Result<(), Error> {
        let (c, _) = self.conn_mut(id)?;
        if c.ack_hold == Pos::MAX {
            return Err(Error::InvalidArgument);
        }
        let upto = Pos::try_from(count).unwrap_or(Pos::MAX - 1).saturating_add(1);
        c.ack_hold = c.ack_hold.max(upto.min(c.rcv_nxt()));
        self.ack_what_is_allowed(now, id)
    }

    fn ack_what_is_allowed(&mut self, now: Instant, id: ConnId) -> Result<(), Error> {
        let (c, _) = self.conn_mut(id)?;
        if c.facts.indexed && c.state.is_synchronized() && c.ack_pos() > c.rcv_acked {
            c.ack_now(SendReason::Ack);
        }
        self.refresh(now, id.index);
        Ok(())
    }
}
