//! Calls for a relay: data moves between the stack's own buffers and another place without a copy between, and what
//! was received is acknowledged only when that other place has it.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use bytes::buf::Limit;

use super::{ConnId, Stack};
use crate::error::Error;
use crate::options::SendFlags;
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
        let result = c.recv_with(cx, now, take);
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

    /// Queues the application's own buffers without copying them; answers how many bytes were taken, which can end within
    /// a buffer. They are held until the peer has acknowledged them; [`tcp_ask_completion`](Self::tcp_ask_completion)
    /// tells when that was. What is sent of at most 17 buffers shares a segment, as on Linux.
    ///
    /// # Errors
    /// As [`tcp_send`](Self::tcp_send).
    pub fn tcp_send_shared(
        &mut self,
        now: Instant,
        id: ConnId,
        data: &[Bytes],
        flags: SendFlags,
    ) -> Result<usize, Error> {
        let (c, cx) = self.conn_mut(id)?;
        let result = c.send_shared(cx, data, flags);
        self.refresh(now, id.index);
        result
    }

    /// Asks to be told ([`Ready::COMPLETED`](super::Ready::COMPLETED)) when everything that was written so far is done
    /// with: acknowledged by the peer, or given up because the connection is over. Nobody holds the buffers then: a
    /// device had them until the next call on the stack at most ([`Transmit`](crate::device::Transmit)), and an ACK or a
    /// RST comes by such a call. Answers the number of the completion; they count from 0 on each connection.
    ///
    /// # Errors
    /// `NoBufferSpace` where 1024 wait for their ACK or to be taken, `BadHandle`.
    pub fn tcp_ask_completion(&mut self, now: Instant, id: ConnId) -> Result<u32, Error> {
        let (c, _) = self.conn_mut(id)?;
        if !c.send.takes_completion() {
            return Err(Error::NoBufferSpace);
        }
        let (number, done) = c.send.ask_completion();
        if done {
            c.announce(super::Ready::COMPLETED);
        }
        self.refresh(now, id.index);
        Ok(number)
    }

    /// Whether [`tcp_ask_completion`](Self::tcp_ask_completion) would take one more.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_takes_completion(&self, id: ConnId) -> Result<bool, Error> {
        self.conn(id).map(|c| c.send.takes_completion())
    }

    /// The oldest completions that were not yet taken: the numbers of all that followed each other without a gap.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_take_completion(&mut self, id: ConnId) -> Result<Option<Range<u32>>, Error> {
        self.conn_mut(id).map(|(c, _)| c.send.take_completion())
    }

    /// Sends what waits for more (MSG_MORE, [`tcp_send_with`](Self::tcp_send_with)): there is no more for now.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_push(&mut self, now: Instant, id: ConnId) -> Result<(), Error> {
        let (c, _) = self.conn_mut(id)?;
        if c.facts.more() {
            c.facts.set_more(false);
            c.facts.set_unpushed(false);
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
        if hold {
            c.rare_mut().ack_hold = c.ack_pos().max(1);
        } else if let Some(rare) = &mut c.rare {
            rare.ack_hold = Pos::MAX;
        }
        self.ack_what_is_allowed(now, id)
    }

    /// Allows to acknowledge the first `count` bytes of the peer's stream; the FIN behind them counts as one. A smaller
    /// count than before changes nothing, nor does one beyond what is here: what comes later is held.
    ///
    /// # Errors
    /// `InvalidArgument` where ACKs are not held, `BadHandle`.
    pub fn tcp_ack_to(&mut self, now: Instant, id: ConnId, count: u64) -> Result<(), Error> {
        let (c, _) = self.conn_mut(id)?;
        if c.rare().ack_hold == Pos::MAX {
            return Err(Error::InvalidArgument);
        }
        let upto = Pos::try_from(count).unwrap_or(Pos::MAX - 1).saturating_add(1);
        c.rare_mut().ack_hold = c.rare().ack_hold.max(upto.min(c.rcv_nxt()));
        self.ack_what_is_allowed(now, id)
    }

    fn ack_what_is_allowed(&mut self, now: Instant, id: ConnId) -> Result<(), Error> {
        let (c, _) = self.conn_mut(id)?;
        if c.facts.indexed() && c.state.is_synchronized() && c.ack_pos() > c.rcv_acked() {
            c.ack_now(SendReason::Ack);
        }
        self.refresh(now, id.index);
        Ok(())
    }
}
