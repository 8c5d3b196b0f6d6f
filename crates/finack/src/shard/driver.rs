//! The task that does what no socket call does: takes packets in, runs timers, and goes on sending
//! once a full device has room again.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use finack_core::device::Packet;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::{After, BATCH, Sent, Shard};
use crate::device::Device;

/// How long a driver sleeps that has no timer to wait for.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// How long timers wait for packets that have arrived to be read first: in a flood of them a retransmission time-out
/// would find nothing acknowledged that was acknowledged long ago.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the device is watched for all the time: packets, and its end.
const ARRIVAL: Interest = Interest::READABLE.add(Interest::ERROR);

/// Holds the shard weakly: it ends, and with it the device, when the last socket and handle are gone.
pub(crate) struct Driver {
    shard: StopWithDriver,
    device: AsyncFd<OwnedFd>,
    room: Room,
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
    /// When timers are to be looked at next: not later than the next one is due.
    look_at: Option<finack_core::Instant>,
    /// The same, where it is another time than before.
    sleep_until: Option<tokio::time::Instant>,
}

/// What one turn hands to the next, so that no packet costs an allocation here.
struct Buffers {
    packets: Vec<Packet<'static>>,
    wake: Vec<Waker>,
}

/// Registers a descriptor with the runtime's reactor.
fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, is the same descriptor for as long as it lives, and is owned by the
    // `AsyncFd` from here on: nobody else can close it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Waits for a full device to have room. Only then is its descriptor watched for that: room that comes
/// with every packet that leaves would wake the driver for nothing.
struct Room {
    idle: Option<OwnedFd>,
    watched: Option<AsyncFd<OwnedFd>>,
}

impl Room {
    async fn wait(&mut self) -> io::Result<()> {
        if let Some(fd) = self.idle.take() {
            self.watched = Some(watch(fd, Interest::WRITABLE)?);
        }
        match &self.watched {
            // Cleared before the device is tried again, so that room that comes after that is seen.
            Some(watched) => watched.writable().await.map(|mut guard| guard.clear_ready()),
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self) {
        if let Some(watched) = self.watched.take() {
            self.idle = Some(watched.into_inner());
        }
    }
}

impl Driver {
    pub(super) fn new(shard: Weak<Shard>, fd: OwnedFd, kick: Arc<Notify>) -> io::Result<Self> {
        let room = Room { idle: Some(fd.try_clone()?), watched: None };
        let device = watch(fd, ARRIVAL)?;
        Ok(Self { shard: StopWithDriver(shard), device, room, kick })
    }

    /// Runs until the last handle is gone, the network is shut down, or the device fails.
    pub(crate) async fn run(self) {
        let Self { shard, device, mut room, kick } = self;
        let mut buffers = Buffers { packets: Vec::with_capacity(BATCH), wake: Vec::with_capacity(BATCH) };
        let mut sleep = std::pin::pin!(tokio::time::sleep(IDLE));
        let (mut read, mut look_at) = (true, None);
        loop {
            // A timer that went off is none any more.
            let planned = look_at.filter(|_| !sleep.is_elapsed());
            let Some(turn) = turn(&shard.0, read, planned, &mut buffers) else { return };
            look_at = turn.look_at;
            if let Some(time) = turn.sleep_until {
                sleep.as_mut().reset(time);
            }
            read = !turn.drained;
            if !turn.blocked {
                room.forget();
            }
            if turn.again {
                // The application's tasks share this runtime: their turn now.
                tokio::task::yield_now().await;
                read = read || arrived(&device).await;
                continue;
            }
            // With nothing to wait for it must not go off again and again.
            if look_at.is_none() && sleep.is_elapsed() {
                sleep.as_mut().reset(tokio::time::Instant::now() + IDLE);
            }
            let ready = tokio::select! {
                biased;
                // Cleared before the device is read, so that what comes after that is seen.
                guard = device.ready(ARRIVAL) => guard.map(|mut guard| {
                    guard.clear_ready();
                    read = true;
                }),
                room = room.wait(), if turn.blocked => room,
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

/// One lock hold: up to a batch in, what is due, up to a batch out. `None` ends the driver. Timers will be looked at when
/// it is `planned`.
fn turn(
    shard: &Weak<Shard>,
    read: bool,
    planned: Option<finack_core::Instant>,
    buffers: &mut Buffers,
) -> Option<Turn> {
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
        // The ACK that a timer waits for may be among the packets that are still to be read.
        let patience = if drained { Duration::ZERO } else { PATIENCE };
        if inner.stack.poll_timeout().is_some_and(|due| due + patience <= now) {
            inner.stack.handle_timeout(now);
        }
        let sent = inner.settle(now, &mut after);
        let due = inner.stack.poll_timeout();
        // Moving a timer costs more than a look that comes too early, and most are moved many times before they are due.
        let keep = planned.is_some_and(|planned| due.is_none_or(|due| planned <= due));
        inner.armed = if keep { planned } else { due };
        Turn {
            drained,
            // The turn after the one in which the device failed ends the driver.
            again: !drained
                || sent == Sent::MoreLeft
                || due.is_some_and(|due| due <= now)
                || inner.stopped.is_some(),
            blocked: sent == Sent::DeviceFull,
            look_at: inner.armed,
            sleep_until: inner.armed.filter(|_| !keep).and_then(|due| inner.clock.to_tokio(due)),
        }
    };
    buffers.packets.clear();
    after.wake.drain(..).for_each(Waker::wake);
    buffers.wake = after.wake;
    Some(turn)
}

/// Up to a batch of packets; whether the device has no more.
///
/// # Errors
/// The device's end.
fn receive(device: &mut dyn Device, packets: &mut Vec<Packet<'static>>) -> io::Result<bool> {
    match device.recv_batch(packets, BATCH) {
        Ok(count) => Ok(count == 0 || device.is_drained()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        // Nothing for us in all that it looked through, but there may be more.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        // The interface is down for now: like a cable that was pulled, it may come back.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether packets have arrived meanwhile, without waiting for them.
async fn arrived(device: &AsyncFd<OwnedFd>) -> bool {
    poll_fn(|cx| match device.poll_read_ready(cx) {
        Poll::Ready(Ok(mut guard)) => {
            guard.clear_ready();
            Poll::Ready(true)
        }
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(false),
    })
    .await
}
