//! One engine, its device and those who wait for it, under one lock.
//!
//! The lock is held for one batch at most: one socket call and up to [`BATCH`] packets sent. A socket
//! call runs on its caller's thread, and what it caused to be sent goes to the device before it
//! returns; the driver task is needed only for what nobody called for: packets that arrive, timers,
//! and a device whose queue was full. Wakers are collected under the lock and fired after it is let go.

mod driver;
mod everywhere;
mod post;
mod shards;
mod wait;
mod waiters;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use finack_core::device::{Packet, Transmit, TxChecksum};
use finack_core::stack::{ConnId, ListenerId};
use finack_core::tcp::State;
use finack_core::trace::{DropReason, TraceEvent};
use finack_core::{Error, Instant, Stack};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::coop;

use crate::device::{Device, DeviceCounters};
use crate::error::{network_down, to_io};

pub use driver::Driver;
pub(crate) use everywhere::Everywhere;
use post::{Letter, Outgoing, Post};
pub(crate) use shards::{Home, Shards};
pub(crate) use wait::Wait;
pub(crate) use waiters::{ACCEPT, ANY, INCOMING, READ, Side, SocketId, WRITE};
use waiters::{Key, Slot, Waiters};

/// Most packets that are received, and most that are sent, while the lock is held once.
pub(crate) const BATCH: usize = 64;

/// Bytes sent after which the device is read in between, without waiting for the driver: who writes on and on would
/// otherwise fill the send buffer before the first ACK is seen, and what was written and not acknowledged would be more
/// than a core's cache holds. Each byte is copied three times on its way: they are to find it there.
const READ_AFTER: usize = 512 * 1024;

/// Tells the time to the engine: nanoseconds since the network was made, never going back.
#[derive(Clone)]
struct Clock {
    epoch: tokio::time::Instant,
    last: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { epoch: tokio::time::Instant::now(), last: Instant::ZERO }
    }

    fn now(&mut self) -> Instant {
        let elapsed = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last = self.last.max(Instant::from_nanos(elapsed));
        self.last
    }

    /// `at` on tokio's clock; `None` where it lies beyond what that clock counts.
    fn to_tokio(&self, at: Instant) -> Option<tokio::time::Instant> {
        self.epoch.checked_add(Duration::from_nanos(at.as_nanos()))
    }
}

/// The one packet that a full device gave back, copied: the engine has counted it as sent.
struct Stalled {
    bytes: Vec<u8>,
    header: usize,
    segment_size: u16,
    checksum: TxChecksum,
    number: u64,
    /// Something waits for the device to become writable: the packet above, or a flush.
    waiting: bool,
}

impl Stalled {
    const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            header: 0,
            segment_size: 0,
            checksum: TxChecksum::Complete,
            number: 0,
            waiting: false,
        }
    }

    fn keep(&mut self, packet: &Transmit<'_>) {
        self.bytes.clear();
        packet.write_to(&mut self.bytes);
        self.header = packet.header.len();
        self.segment_size = packet.segment_size;
        self.checksum = packet.checksum;
        self.number = packet.number;
        self.waiting = true;
    }

    fn packet(&self) -> Option<Transmit<'_>> {
        let (header, payload) = self.bytes.split_at_checked(self.header)?;
        let (segment_size, checksum) = (self.segment_size, self.checksum);
        (!header.is_empty()).then_some(Transmit {
            header,
            payload: finack_core::device::Slices::one(payload),
            segment_size,
            checksum,
            number: self.number,
        })
    }
}

/// Whether the engine has more to say to the device than one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    All,
    MoreLeft,
    DeviceFull,
}

/// Where trace events wait for the one who reads them: in the engine's own bounded ring, but for one.
#[derive(Default)]
struct Tracing {
    next: Option<TraceEvent>,
    reader: Option<Waker>,
}

/// What the lock guards.
pub(crate) struct Inner {
    pub(crate) stack: Stack,
    /// Which shard it is.
    index: usize,
    device: Box<dyn Device>,
    pub(crate) waiters: Waiters,
    clock: Clock,
    stalled: Stalled,
    /// When the driver will look at the timers without being asked to: not after the next of them.
    armed: Option<Instant>,
    tracing: Tracing,
    /// The call that is running leaves it to the next one to send what it caused.
    postponed: bool,
    /// When packets were last sent or received.
    active_at: Instant,
    /// Bytes sent since the device was last read.
    sent_since_read: usize,
    /// What is read in between, kept so that it costs no allocation.
    arrived: Vec<Packet<'static>>,
    post: Option<Arc<Post>>,
    /// The network has stopped; the errno of the device where that is why.
    stopped: Option<Option<i32>>,
}

/// What is left to do once the lock is let go.
#[must_use]
#[derive(Default)]
struct After {
    wake: Vec<Waker>,
    bury: Option<Waker>,
    kick: bool,
    post: Outgoing,
}

/// One engine and its device; sockets and [`Net`](crate::Net) handles share it.
pub(crate) struct Shard {
    inner: Mutex<Inner>,
    /// Which it is.
    index: usize,
    /// The rings between it and the others, where there are others.
    post: Option<Arc<Post>>,
    kick: Arc<Notify>,
    runtime: Handle,
}

impl Shard {
    /// The runtime that polls the driver.
    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A panic inside the engine leaves it in no state to go on with: the shard stops then.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut inner = poisoned.into_inner();
            inner.stopped.get_or_insert(None);
            self.kick.notify_one();
            inner
        })
    }

    fn finish(&self, mut after: After) {
        if after.kick {
            self.kick.notify_one();
        }
        self.deliver(&mut after.post);
        after.wake.into_iter().for_each(Waker::wake);
        drop(after.bury);
    }

    /// Hands others what is theirs; what finds no room in their rings is lost, as in any full queue.
    fn deliver(&self, out: &mut Outgoing) {
        let Some(post) = self.post.as_ref().filter(|_| !out.is_empty()) else { return };
        post.deliver(out);
        let mut refused = out.drain().peekable();
        if refused.peek().is_some() {
            let mut inner = self.lock();
            let now = inner.clock.now();
            for letter in refused {
                if let Some(packet) = letter.packet() {
                    inner.stack.drop_packet(now, packet, DropReason::ShardRingFull);
                }
            }
        }
    }

    /// A socket call: runs it, sends what it caused, wakes whom it concerned.
    pub(crate) fn call<R>(
        &self,
        call: impl FnOnce(&mut Stack, Instant) -> Result<R, Error>,
    ) -> io::Result<R> {
        let mut after = After::default();
        let result = {
            let mut inner = self.lock();
            inner.check_running()?;
            let now = inner.clock.now();
            let result = call(&mut inner.stack, now);
            inner.settle(now, &mut after);
            result
        };
        self.finish(after);
        result.map_err(to_io)
    }

    /// Looks at something that is neither changed nor sends anything.
    pub(crate) fn query<R>(&self, query: impl FnOnce(&Stack, Instant) -> Result<R, Error>) -> io::Result<R> {
        let mut inner = self.lock();
        inner.check_running()?;
        let now = inner.clock.now();
        query(&inner.stack, now).map_err(to_io)
    }

    /// A socket call that makes a new socket, whose waiters need room.
    pub(crate) fn open<I: SocketId>(
        &self,
        call: impl FnOnce(&mut Stack, Instant) -> Result<I, Error>,
    ) -> io::Result<I> {
        let mut after = After::default();
        let result = {
            let mut inner = self.lock();
            inner.check_running()?;
            let now = inner.clock.now();
            let result = call(&mut inner.stack, now);
            if let Ok(id) = result {
                inner.waiters.open(id);
            }
            inner.settle(now, &mut after);
            result
        };
        self.finish(after);
        result.map_err(to_io)
    }

    /// A socket call that ends a socket. Nobody can be told of a failure: the socket is gone either way.
    pub(crate) fn close<I: SocketId>(
        &self,
        id: I,
        call: impl FnOnce(&mut Stack, Instant) -> Result<(), Error>,
    ) -> io::Result<()> {
        let mut after = After::default();
        let (result, left): (_, Option<Slot<I>>) = {
            let mut inner = self.lock();
            let left = inner.waiters.close(id);
            let result = match inner.stopped {
                Some(_) => Ok(()),
                None => {
                    let now = inner.clock.now();
                    let result = call(&mut inner.stack, now);
                    inner.settle(now, &mut after);
                    result
                }
            };
            (result, left)
        };
        drop(left);
        self.finish(after);
        result.map_err(to_io)
    }

    /// A socket call that, where it would block, leaves the task's waker in one of the socket's two
    /// single places.
    pub(crate) fn poll<I: SocketId, R>(
        &self,
        cx: &mut Context<'_>,
        id: I,
        side: Side,
        call: impl FnOnce(&mut Inner, Instant) -> Result<R, Error>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(cx, call, |waiters, waker| waiters.set(id, side, waker))
    }

    fn poll_with<R>(
        &self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Inner, Instant) -> Result<R, Error>,
        remember: impl FnOnce(&mut Waiters, &Waker) -> Option<Waker>,
    ) -> Poll<io::Result<R>> {
        let coop = ready!(coop::poll_proceed(cx));
        let mut after = After::default();
        let result = {
            let mut inner = self.lock();
            inner.check_running()?;
            let now = inner.clock.now();
            let result = call(&mut inner, now);
            if matches!(result, Err(Error::WouldBlock)) {
                after.bury = remember(&mut inner.waiters, cx.waker());
            }
            inner.settle(now, &mut after);
            result
        };
        self.finish(after);
        match result {
            Err(Error::WouldBlock) => Poll::Pending,
            result => {
                coop.made_progress();
                Poll::Ready(result.map_err(to_io))
            }
        }
    }

    /// Forgets a future that no longer waits.
    fn unpark<I: SocketId>(&self, id: I, key: Key) {
        let waker = self.lock().waiters.unpark(id, key);
        drop(waker);
    }

    /// Runs `look` on all that the lock guards, for what is no socket call.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Inner) -> R) -> R {
        look(&mut self.lock())
    }

    /// Stops for good: every call fails from now on, every waiting task is woken to see it, the driver ends.
    pub(crate) fn stop(&self, errno: Option<i32>) {
        let mut after = After::default();
        self.lock().stop(errno, &mut after);
        self.finish(after);
    }

    /// Calls `each` for every connection that the application holds, a batch with each lock hold.
    pub(crate) fn each_connection(&self, mut each: impl FnMut(&mut Inner, Instant, ConnId)) {
        let (mut next, mut some) = (0, Vec::new());
        loop {
            let mut after = After::default();
            {
                let mut inner = self.lock();
                let now = inner.clock.now();
                let Some((ids, rest)) = inner.waiters.connections.some_from(next) else { return };
                some.extend(ids);
                next = rest;
                some.drain(..).for_each(|conn| each(&mut inner, now, conn));
                inner.settle(now, &mut after);
            }
            self.finish(after);
        }
    }
}

impl Inner {
    fn new(
        stack: Stack,
        index: usize,
        device: Box<dyn Device>,
        clock: Clock,
        post: Option<Arc<Post>>,
    ) -> Self {
        Self {
            stack,
            index,
            device,
            waiters: Waiters::new(),
            clock,
            stalled: Stalled::new(),
            armed: None,
            tracing: Tracing::default(),
            postponed: false,
            active_at: Instant::ZERO,
            sent_since_read: 0,
            arrived: Vec::new(),
            post,
            stopped: None,
        }
    }

    fn check_running(&self) -> io::Result<()> {
        match self.stopped {
            None => Ok(()),
            Some(None) => Err(network_down()),
            Some(Some(errno)) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Why the network stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<io::Error> {
        self.check_running().err()
    }

    /// Which shard it is.
    pub(crate) const fn shard(&self) -> usize {
        self.index
    }

    pub(crate) fn now(&mut self) -> Instant {
        self.clock.now()
    }

    /// Accepts a connection and makes room for its waiters.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        listener: ListenerId,
    ) -> Result<(ConnId, SocketAddr), Error> {
        let (conn, peer) = self.stack.tcp_accept(now, listener)?;
        self.waiters.open(conn);
        Ok((conn, peer))
    }

    pub(crate) fn device_counters(&mut self) -> DeviceCounters {
        self.device.counters()
    }

    /// Has the call that is running leave it to the next one to send what it caused, if `yes`: its caller knows that
    /// there is one at once. Anybody's call will do.
    pub(crate) const fn postpone(&mut self, yes: bool) {
        self.postponed = yes;
    }

    /// After any call on the engine: sends, collects whom to wake, and whether the driver must be told.
    fn settle(&mut self, now: Instant, after: &mut After) -> Sent {
        if std::mem::take(&mut self.postponed) {
            return Sent::All;
        }
        let was_full = self.stalled.waiting;
        let mut sent = self.transmit_or_stop(now, after);
        if self.sent_since_read >= READ_AFTER && sent == Sent::All {
            sent = self.read_between(after);
        }
        while let Some(event) = self.stack.poll_event() {
            self.waiters.fire(event, &mut after.wake);
        }
        while let Some(what) = self.stack.poll_for_shards() {
            after.post.add(what);
        }
        if self.tracing.reader.is_some() && self.next_trace() {
            after.wake.extend(self.tracing.reader.take());
        }
        let next = self.stack.poll_timeout();
        let sooner = next.is_some_and(|next| self.armed.is_none_or(|armed| next < armed));
        after.kick |= sooner || sent == Sent::MoreLeft || (sent == Sent::DeviceFull && !was_full);
        sent
    }

    /// When the driver is to look at the timers again. A time that stands earlier than it need be stays: looking once too
    /// often is cheaper than moving the driver's timer with every packet.
    fn arm(&mut self, now: Instant) -> Option<Instant> {
        let next = self.stack.poll_timeout();
        if self.armed.is_none_or(|armed| armed <= now || next.is_some_and(|next| next < armed)) {
            self.armed = next;
        }
        self.armed
    }

    fn transmit_or_stop(&mut self, now: Instant, after: &mut After) -> Sent {
        self.transmit(now).unwrap_or_else(|error| {
            self.stop(error.raw_os_error(), after);
            Sent::All
        })
    }

    /// Takes in what has arrived meanwhile, up to a batch, and sends what that caused.
    fn read_between(&mut self, after: &mut After) -> Sent {
        let mut packets = std::mem::take(&mut self.arrived);
        if let Err(error) = self.receive(&mut packets) {
            self.stop(error.raw_os_error(), after);
        }
        if let Some(post) = &self.post {
            post.sort(self.index, &mut packets, &mut after.post);
        }
        let now = self.clock.now();
        if !packets.is_empty() {
            self.stack.handle_packets(now, &packets);
        }
        packets.clear();
        self.arrived = packets;
        self.transmit_or_stop(now, after)
    }

    /// Up to a batch of packets; whether the device had none left.
    ///
    /// # Errors
    /// The device's end.
    fn receive(&mut self, packets: &mut Vec<Packet<'static>>) -> io::Result<bool> {
        self.sent_since_read = 0;
        match self.device.recv_batch(packets, BATCH) {
            Ok(count) => Ok(count == 0 || self.device.is_drained()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            // Nothing for us in all that it looked through, but there may be more.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            // The interface is down for now: like a cable that was pulled, it may come back.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Every call fails from now on, and everyone who waits is to see it.
    fn stop(&mut self, errno: Option<i32>, after: &mut After) {
        self.stopped.get_or_insert(errno);
        self.waiters.take_all(&mut after.wake);
        after.wake.extend(self.tracing.reader.take());
        after.kick = true;
    }

    /// Hands the device up to a batch of packets.
    ///
    /// # Errors
    /// The device's end.
    fn transmit(&mut self, now: Instant) -> io::Result<Sent> {
        if self.stalled.waiting {
            return Ok(if self.resume()? { Sent::MoreLeft } else { Sent::DeviceFull });
        }
        let mut count = 0;
        while count < BATCH {
            let Some(packet) = self.stack.poll_transmit(now) else { break };
            count += 1;
            self.sent_since_read += packet.len();
            if would_block(self.device.send(&packet))? {
                self.stalled.keep(&packet);
                return Ok(Sent::DeviceFull);
            }
        }
        if count > 0 {
            self.active_at = now;
            if would_block(self.device.flush())? {
                self.stalled.waiting = true;
                return Ok(Sent::DeviceFull);
            }
        }
        Ok(if count < BATCH { Sent::All } else { Sent::MoreLeft })
    }

    /// Tries again what a full device refused; whether it is through.
    fn resume(&mut self) -> io::Result<bool> {
        if let Some(packet) = self.stalled.packet()
            && would_block(self.device.send(&packet))?
        {
            return Ok(false);
        }
        self.stalled.bytes.clear();
        self.stalled.header = 0;
        self.stalled.waiting = would_block(self.device.flush())?;
        Ok(!self.stalled.waiting)
    }

    /// Whether a trace event waits to be taken.
    fn next_trace(&mut self) -> bool {
        if self.tracing.next.is_none() {
            self.tracing.next = self.stack.poll_trace();
        }
        self.tracing.next.is_some()
    }

    /// When that was of which the next trace event tells.
    fn next_trace_at(&mut self) -> Option<Instant> {
        self.next_trace();
        self.tracing.next.as_ref().map(|event| event.at)
    }

    pub(crate) fn poll_trace(&mut self) -> Option<TraceEvent> {
        self.tracing.next.take().or_else(|| self.stack.poll_trace())
    }

    /// Moves trace events to the end of `into` until it holds `most`.
    pub(crate) fn take_trace(&mut self, most: usize, into: &mut Vec<TraceEvent>) {
        if into.len() < most {
            into.extend(self.tracing.next.take());
        }
        self.stack.take_trace(most, into);
    }

    /// Leaves `waker` to be woken by the next trace event; the one before it is returned, to be
    /// dropped after unlocking.
    pub(crate) fn await_trace(&mut self, waker: &Waker) -> Option<Waker> {
        self.tracing.reader.replace(waker.clone())
    }

    /// Whether no connection still waits for its FIN's acknowledgement.
    pub(crate) fn is_drained(&self) -> bool {
        self.stack.count_by_state().iter().all(|&(state, count)| {
            count == 0 || !matches!(state, State::FinWait1 | State::Closing | State::LastAck)
        })
    }
}

/// Whether the device is full; any other error is its end.
fn would_block(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
