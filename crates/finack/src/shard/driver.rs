//! The task that does what no socket call does: takes packets in, runs timers, and goes on sending
//! once a full device has room again.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use finack_core::device::Packet;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::{After, BATCH, Sent, Shard};
use crate::device::Device;

/// How long a driver sleeps that has no timer to wait for.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Holds the shard weakly: it ends, and with it the device, when the last socket and handle are gone.
pub(crate) struct Driver {
    shard: StopWithDriver,
    device: AsyncFd<OwnedFd>,
    kick: Arc<Notify>,
}

/// Ends the shard however the driver ends: a panic, or a runtime that is shut down, even before it ran.
struct StopWithDriver(Weak<Shard>);

impl Drop for StopWithDriver {
    fn drop(&mut self) {
        if let Some(shard) = self.0.upgrade() {
            shard.stop(None);
        }
    }
}

/// What one turn found.
struct Turn {
    /// The device had no more to read.
    drained: bool,
    /// There is more to do at once: packets to read or send, or a timer that is due already.
    again: bool,
    /// The device's queue is full.
    blocked: bool,
    /// When the next timer is due.
    deadline: Option<tokio::time::Instant>,
}

/// What one turn hands to the next, so that no packet costs an allocation here.
struct Buffers {
    packets: Vec<Packet<'static>>,
    wake: Vec<Waker>,
}

impl Driver {
    pub(super) fn new(shard: Weak<Shard>, fd: OwnedFd, kick: Arc<Notify>) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::ERROR;
        // SAFETY: an `OwnedFd` is open, is the same descriptor for as long as it lives, and is owned by the
        // `AsyncFd` from here on: nobody else can close it.
        let device = unsafe { AsyncFd::register_with_interest(fd, interest) }?;
        Ok(Self { shard: StopWithDriver(shard), device, kick })
    }

    /// Runs until the last handle is gone, the network is shut down, or the device fails.
    pub(crate) async fn run(self) {
        let Self { shard, device, kick } = self;
        let mut buffers = Buffers { packets: Vec::with_capacity(BATCH), wake: Vec::with_capacity(BATCH) };
        let mut sleep = std::pin::pin!(tokio::time::sleep(IDLE));
        let (mut readable, mut writable) = (None, None);
        loop {
            let Some(turn) = turn(&shard.0, readable.is_some(), &mut buffers) else { return };
            release(&mut readable, turn.drained);
            release(&mut writable, turn.blocked);
            writable = None;
            if turn.again {
                // The application's tasks share this runtime: their turn now.
                tokio::task::yield_now().await;
                if readable.is_none() {
                    readable = readable_now(&device).await;
                }
                continue;
            }
            arm(sleep.as_mut(), turn.deadline);
            let ready = tokio::select! {
                guard = device.ready(Interest::READABLE | Interest::ERROR) => guard.map(|guard| readable = Some(guard)),
                guard = device.writable(), if turn.blocked => guard.map(|guard| writable = Some(guard)),
                () = kick.notified() => Ok(()),
                () = sleep.as_mut() => Ok(()),
            };
            // The runtime's reactor is gone, and with it every way to go on.
            if ready.is_err() {
                return;
            }
        }
    }
}

/// One lock hold: up to a batch in, what is due, up to a batch out. `None` ends the driver.
fn turn(shard: &Weak<Shard>, read: bool, buffers: &mut Buffers) -> Option<Turn> {
    let shard = shard.upgrade()?;
    let mut after = After { wake: std::mem::take(&mut buffers.wake), ..After::default() };
    let turn = {
        let mut inner = shard.lock();
        if inner.stopped.is_some() {
            return None;
        }
        let drained = match read {
            false => true,
            true => match receive(inner.device.as_mut(), &mut buffers.packets) {
                Ok(drained) => drained,
                Err(error) => {
                    drop(inner);
                    shard.stop(error.raw_os_error());
                    return None;
                }
            },
        };
        let now = inner.clock.now();
        if !buffers.packets.is_empty() {
            inner.stack.handle_packets(now, &buffers.packets);
        }
        if inner.stack.poll_timeout().is_some_and(|due| due <= now) {
            inner.stack.handle_timeout(now);
        }
        let sent = inner.settle(now, &mut after);
        inner.armed = inner.stack.poll_timeout();
        Turn {
            drained,
            again: !drained || sent == Sent::MoreLeft || inner.armed.is_some_and(|due| due <= now),
            blocked: sent == Sent::DeviceFull,
            deadline: inner.armed.and_then(|due| inner.clock.to_tokio(due)),
        }
    };
    buffers.packets.clear();
    after.wake.drain(..).for_each(Waker::wake);
    buffers.wake = after.wake;
    Some(turn)
}

/// Up to a batch of packets; whether the device had none.
///
/// # Errors
/// The device's end.
fn receive(device: &mut dyn Device, packets: &mut Vec<Packet<'static>>) -> io::Result<bool> {
    match device.recv_batch(packets, BATCH) {
        Ok(count) => Ok(count == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        // Nothing for us in all that it looked through, but there may be more.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        // The interface is down for now: like a cable that was pulled, it may come back.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => Ok(true),
        Err(error) => Err(error),
    }
}

/// Lets go of the device's readiness, once it is used up.
fn release(guard: &mut Option<AsyncFdReadyGuard<'_, OwnedFd>>, used_up: bool) {
    if used_up && let Some(mut guard) = guard.take() {
        guard.clear_ready();
    }
}

/// Whether the device has something to read, without waiting for it.
async fn readable_now(device: &AsyncFd<OwnedFd>) -> Option<AsyncFdReadyGuard<'_, OwnedFd>> {
    poll_fn(|cx| match device.poll_read_ready(cx) {
        Poll::Ready(guard) => Poll::Ready(guard.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Moving a timer costs: one that comes too early only leads to a look at the engine.
fn arm(mut sleep: Pin<&mut Sleep>, deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) if sleep.deadline() != deadline => sleep.as_mut().reset(deadline),
        None if sleep.is_elapsed() => sleep.as_mut().reset(tokio::time::Instant::now() + IDLE),
        _ => {}
    }
}
