//! All shards of one network.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use finack_core::device::{Capabilities, Packet, Transmit};
use finack_core::options::SocketOptions;
use finack_core::settings::{SettingError, Settings};
use finack_core::stack::{BindId, ConnId};
use finack_core::steer::Steering;
use finack_core::trace::TraceEvent;
use finack_core::{Config, Error, Instant, Stack};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::post::Post;
use super::{After, Clock, Driver, Everywhere, Inner, Shard, SocketId};
use crate::device::{Device, DeviceCounters};
use crate::error::to_io;

/// One shard, and with it the network, which lives until the last of these is gone.
#[derive(Clone)]
pub(crate) struct Home {
    shards: Arc<Shards>,
    index: usize,
}

impl Home {
    pub(crate) const fn new(shards: Arc<Shards>, index: usize) -> Self {
        Self { shards, index }
    }

    /// Which one it is.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }
}

impl Deref for Home {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        self.shards.get(self.index)
    }
}

/// The shards, at least one. Where several are locked at once, it is in their order.
pub(crate) struct Shards {
    list: Box<[Shard]>,
    steering: Steering,
    /// The settings of the whole host, of which each shard has its part.
    settings: Mutex<Settings>,
    /// The host's addresses where it has but one of the family: what it sends comes from there.
    sources: [Option<IpAddr>; 2],
    /// Which shard the next connection is opened on.
    turn: AtomicUsize,
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.list.iter().for_each(|shard| shard.kick.notify_one());
    }
}

/// One queue of a device that several shards send through. The first of them receives.
struct SharedQueue {
    device: Arc<Mutex<Box<dyn Device>>>,
    fd: OwnedFd,
    first: bool,
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Device>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for SharedQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device for SharedQueue {
    fn capabilities(&self) -> Capabilities {
        self.lock().capabilities()
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        if self.first { self.lock().recv_batch(batch, max) } else { Ok(0) }
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        self.lock().send(packet)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }

    fn counters(&mut self) -> DeviceCounters {
        if self.first { self.lock().counters() } else { DeviceCounters::default() }
    }
}

/// Gives each of `count` shards its queue: its own, or a part in one where there are fewer. Beside it stands whether
/// the shard receives from it.
fn deal(queues: Vec<Box<dyn Device>>, count: usize) -> io::Result<Vec<(Box<dyn Device>, bool)>> {
    if queues.len() == count {
        return Ok(queues.into_iter().map(|queue| (queue, true)).collect());
    }
    let fds: Vec<OwnedFd> =
        queues.iter().map(|queue| queue.as_fd().try_clone_to_owned()).collect::<io::Result<_>>()?;
    let queues: Vec<_> = queues.into_iter().map(|queue| Arc::new(Mutex::new(queue))).collect();
    (0..count)
        .map(|i| {
            let (first, which) = (i < queues.len(), i % queues.len());
            let fd = fds[which].try_clone()?;
            let queue: Box<dyn Device> =
                Box::new(SharedQueue { device: Arc::clone(&queues[which]), fd, first });
            Ok((queue, first))
        })
        .collect()
}

impl Shards {
    /// `count` shards of the host that `config` describes, and the driver of each, which must be polled on a tokio
    /// runtime for it to live. There is at least one queue and no more than shards.
    ///
    /// # Errors
    /// Not on a tokio runtime; a descriptor can't be duplicated.
    pub(crate) fn new(
        queues: Vec<Box<dyn Device>>,
        count: usize,
        config: &Config,
        trace: usize,
    ) -> io::Result<(Arc<Self>, Vec<Driver>)> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let steering = Steering::new(&config.seed, count);
        let kicks: Vec<Arc<Notify>> = (0..count).map(|_| Arc::default()).collect();
        let post = (count > 1).then(|| Arc::new(Post::new(steering.clone(), kicks.iter().cloned())));
        let clock = Clock::new();
        let (mut list, mut parts) = (Vec::with_capacity(count), VecDeque::with_capacity(count));
        for (index, (queue, receives)) in deal(queues, count)?.into_iter().enumerate() {
            parts.push_back((queue.as_fd().try_clone_to_owned()?, receives));
            let settings = config.settings.share(count as u64);
            let mut clock = clock.clone();
            let mut stack =
                Stack::new(clock.now(), Config { settings, device: queue.capabilities(), ..config.clone() });
            stack.set_shard(&steering, index);
            stack.set_tracing(trace);
            let inner = Inner::new(stack, index, queue, clock, post.clone());
            let kick = Arc::clone(&kicks[index]);
            list.push(Shard {
                inner: Mutex::new(inner),
                index,
                post: post.clone(),
                kick,
                runtime: runtime.clone(),
            });
        }
        let only = |v4: bool| {
            let mut of_family = config.addresses.iter().map(|a| a.addr).filter(|addr| addr.is_ipv4() == v4);
            of_family.next().filter(|_| of_family.next().is_none())
        };
        let shards = Arc::new(Self {
            list: list.into(),
            steering,
            settings: Mutex::new(config.settings.clone()),
            sources: [only(true), only(false)],
            turn: AtomicUsize::new(0),
        });
        let drivers = parts.into_iter().enumerate().map(|(index, (fd, receives))| {
            Driver::new(Arc::downgrade(&shards), index, fd, receives, Arc::clone(&kicks[index]))
        });
        let drivers = drivers.collect::<io::Result<_>>()?;
        Ok((shards, drivers))
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Shard> {
        self.list.iter()
    }

    /// The shard of that number; the first one where there are not so many.
    pub(crate) fn get(&self, index: usize) -> &Shard {
        self.list.get(index).unwrap_or(&self.list[0])
    }

    /// Where a flow belongs.
    pub(crate) fn of_flow(&self, one: SocketAddr, other: SocketAddr) -> usize {
        if self.len() == 1 { 0 } else { self.steering.of_flow(one, other) }
    }

    /// The address that packets to `to` come from, where that is clear without asking an engine.
    pub(crate) fn source(&self, bound: IpAddr, to: IpAddr) -> Option<IpAddr> {
        let (bound, to) = (bound.to_canonical(), to.to_canonical());
        if bound.is_unspecified() { self.sources[usize::from(to.is_ipv6())] } else { Some(bound) }
    }

    /// Stops all of them for good.
    pub(crate) fn stop(&self, errno: Option<i32>) {
        self.list.iter().for_each(|shard| shard.stop(errno));
    }

    /// A call on all engines at once, with all locks taken.
    fn with_all<R>(
        &self,
        even_stopped: bool,
        call: impl FnOnce(&mut [MutexGuard<'_, Inner>], Instant) -> R,
    ) -> io::Result<R> {
        let mut afters: Vec<After> = (0..self.len()).map(|_| After::default()).collect();
        let result = {
            let mut inners: Vec<_> = self.list.iter().map(Shard::lock).collect();
            if !even_stopped {
                inners.iter().try_for_each(|inner| inner.check_running())?;
            }
            // Of one monotonic clock: not before anything that any of them was told.
            let now = inners.iter_mut().map(|inner| inner.clock.now()).max().unwrap_or(Instant::ZERO);
            let result = call(&mut inners, now);
            for (inner, after) in inners.iter_mut().zip(&mut afters) {
                if inner.stopped.is_none() {
                    inner.settle(now, after);
                }
            }
            result
        };
        self.list.iter().zip(afters).for_each(|(shard, after)| shard.finish(after));
        Ok(result)
    }

    /// A socket call that makes a part of a socket on every shard.
    pub(crate) fn open_all<I: SocketId>(
        self: &Arc<Self>,
        call: impl FnOnce(&mut [&mut Stack], Instant) -> Result<Vec<I>, Error>,
    ) -> io::Result<Everywhere<I>> {
        let ids = self.with_all(false, |inners, now| {
            let mut stacks: Vec<&mut Stack> = inners.iter_mut().map(|inner| &mut inner.stack).collect();
            let ids = call(&mut stacks, now)?;
            for (inner, &id) in inners.iter_mut().zip(&ids) {
                inner.waiters.open(id);
            }
            Ok(ids)
        })?;
        Ok(Everywhere::new(Arc::clone(self), ids.map_err(to_io)?))
    }

    /// A call on all engines that makes no socket.
    pub(crate) fn call_all<R>(
        &self,
        call: impl FnOnce(&mut [&mut Stack], Instant) -> Result<R, Error>,
    ) -> io::Result<R> {
        self.with_all(false, |inners, now| {
            let mut stacks: Vec<&mut Stack> = inners.iter_mut().map(|inner| &mut inner.stack).collect();
            call(&mut stacks, now)
        })?
        .map_err(to_io)
    }

    /// Ends all parts of a socket.
    pub(super) fn close_all<I: SocketId>(
        &self,
        ids: &[I],
        mut call: impl FnMut(&mut Stack, Instant, I) -> Result<(), Error>,
    ) {
        let left = self.with_all(true, |inners, now| {
            let mut left = Vec::with_capacity(ids.len());
            for (inner, &id) in inners.iter_mut().zip(ids) {
                left.push(inner.waiters.close(id));
                if inner.stopped.is_none() {
                    // Gone already is what was asked for.
                    let _ = call(&mut inner.stack, now, id);
                }
            }
            left
        });
        drop(left);
    }

    /// Opens a connection: on the shard `pin` or, where that is none, on each in turn. One from a bound port belongs to
    /// the shard that both its ends choose; the binds are spent where it succeeds.
    pub(crate) fn connect(
        self: &Arc<Self>,
        pin: Option<usize>,
        binds: Option<&[BindId]>,
        remote: SocketAddr,
        options: SocketOptions,
        mut prepare: impl FnMut(&mut Stack, Instant, ConnId) -> Result<(), Error>,
    ) -> io::Result<(Home, ConnId)> {
        let mut open = |index: usize, bind| {
            let opened = self.get(index).open(|stack, now| {
                let conn = stack.tcp_connect(now, bind, remote, options)?;
                if let Err(error) = prepare(stack, now, conn) {
                    // As it is it must not begin; the first error is the one that counts.
                    let _ = stack.tcp_close(now, conn);
                    return Err(error);
                }
                Ok(conn)
            })?;
            Ok((Home::new(Arc::clone(self), index), opened))
        };
        let Some(binds) = binds else {
            let first = pin.unwrap_or_else(|| match self.len() {
                1 => 0,
                count => self.turn.fetch_add(1, Ordering::Relaxed) % count,
            });
            let mut result = open(first, None);
            for next in 1..self.len() {
                let full = |error: &io::Error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL);
                if !result.as_ref().is_err_and(full) {
                    break;
                }
                // Each has ports of its own for a destination: another may have some left.
                result = open((first + next) % self.len(), None);
            }
            return result;
        };
        let home = match binds {
            [first, _, ..] => self.get(0).query(|stack, _| stack.tcp_shard_of(*first, remote))?,
            _ => 0,
        };
        let opened = open(home, binds.get(home).copied())?;
        self.unbind(binds, Some(home));
        Ok(opened)
    }

    /// Gives up binds, but for that on one shard.
    pub(crate) fn unbind(&self, binds: &[BindId], but: Option<usize>) {
        for (i, (shard, &bind)) in self.list.iter().zip(binds).enumerate() {
            if Some(i) != but {
                // Gone already is what was asked for.
                let _ = shard.call(|stack, _| stack.tcp_unbind(bind));
            }
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_sysctl(&self, name: &str, value: &str) -> Result<(), SettingError> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.set(name, value)?;
        let part = settings.share(self.len() as u64);
        self.list.iter().for_each(|shard| shard.with(|inner| inner.stack.set_settings(part.clone())));
        Ok(())
    }

    /// The oldest trace event of all that were not yet taken.
    pub(crate) fn poll_trace(&self) -> Option<TraceEvent> {
        let oldest = match &*self.list {
            [only] => only,
            all => {
                let at = |shard: &Shard| shard.with(Inner::next_trace_at);
                all.iter().filter_map(|shard| Some((at(shard)?, shard))).min_by_key(|(at, _)| *at)?.1
            }
        };
        oldest.with(Inner::poll_trace)
    }

    /// Moves trace events to the end of `into`, oldest first, until it holds `most`.
    pub(crate) fn take_trace(&self, most: usize, into: &mut Vec<TraceEvent>) {
        match &*self.list {
            [only] => only.with(|inner| inner.take_trace(most, into)),
            _ => {
                while into.len() < most
                    && let Some(event) = self.poll_trace()
                {
                    into.push(event);
                }
            }
        }
    }
}
