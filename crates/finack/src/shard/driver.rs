//! The task that does what no socket call does: takes packets in, runs timers, and goes on sending
//! once a full device has room again.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use finack_core::Instant;
use finack_core::device::Packet;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::{After, BATCH, Inner, Letter, Outgoing, Sent, Shard, Shards};

/// How long a driver sleeps that has no timer to wait for.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// How long timers wait for packets that have arrived to be read first: in a flood of them a retransmission time-out
/// would find nothing acknowledged that was acknowledged long ago.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the device is watched for all the time: packets, and its end.
const ARRIVAL: Interest = Interest::READABLE.add(Interest::ERROR);

/// What does for one shard of a network what no socket call does: it takes packets in, runs timers, and goes on sending
/// once a full device has room again. See [`NetBuilder::build_apart`](crate::NetBuilder::build_apart).
///
/// It ends when the last socket and handle of the network are gone, or the network is shut down. Dropping it before
/// shuts the whole network down.
#[must_use = "a network without its drivers neither receives nor keeps time: have each of them run"]
pub struct Driver {
    shards: StopWithDriver,
    index: usize,
    /// Where packets arrive for this shard; until it runs, not yet watched.
    arrivals: Option<Arrivals>,
    room: Room,
    kick: Arc<Notify>,
}

enum Arrivals {
    Unwatched(OwnedFd),
    Watched(AsyncFd<OwnedFd>),
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("shard", &self.index).finish_non_exhaustive()
    }
}

/// Ends the network however a driver ends: a panic, or a runtime that is shut down, even before it ran. The shards are
/// held weakly: they end, and with them the device, when the last socket and handle are gone.
struct StopWithDriver(Weak<Shards>);

impl Drop for StopWithDriver {
    fn drop(&mut self) {
        if let Some(shards) = self.0.upgrade() {
            shards.stop(None);
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
    /// Packets come in quick succession: the next are worth looking for, for so long after the last.
    busy_poll: Option<Duration>,
}

/// What one turn hands to the next, so that no packet costs an allocation here.
struct Buffers {
    packets: Vec<Packet<'static>>,
    wake: Vec<Waker>,
    /// From other shards, and for them.
    letters: Vec<Letter>,
    post: Outgoing,
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
    pub(super) fn new(
        shards: Weak<Shards>,
        index: usize,
        fd: OwnedFd,
        receives: bool,
        kick: Arc<Notify>,
    ) -> io::Result<Self> {
        let room = Room { idle: Some(fd.try_clone()?), watched: None };
        let arrivals = receives.then_some(Arrivals::Unwatched(fd));
        Ok(Self { shards: StopWithDriver(shards), index, arrivals, room, kick })
    }

    /// Which shard it drives.
    pub const fn shard(&self) -> usize {
        self.index
    }

    /// Registers the device with the reactor of the runtime that this is called on.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        if let Some(Arrivals::Unwatched(_)) = &self.arrivals
            && let Some(Arrivals::Unwatched(fd)) = self.arrivals.take()
        {
            self.arrivals = Some(Arrivals::Watched(watch(fd, ARRIVAL)?));
        }
        Ok(())
    }

    /// Runs until the last handle is gone, the network is shut down, or the device fails. It may run on any tokio
    /// runtime with I/O and time; a shard's sockets are best used by tasks of the same one.
    pub async fn run(mut self) {
        if let Err(error) = self.watch() {
            if let Some(shards) = self.shards.0.upgrade() {
                shards.stop(error.raw_os_error());
            }
            return;
        }
        let Self { shards, index, arrivals, mut room, kick } = self;
        let device = match arrivals {
            Some(Arrivals::Watched(device)) => Some(device),
            _ => None,
        };
        let mut buffers = Buffers {
            packets: Vec::with_capacity(BATCH),
            wake: Vec::with_capacity(BATCH),
            letters: Vec::new(),
            post: Outgoing::new(),
        };
        let mut sleep = std::pin::pin!(tokio::time::sleep(IDLE));
        let receives = device.is_some();
        let mut read = receives;
        loop {
            let Some(turn) = turn(&shards.0, index, read, &mut buffers) else { return };
            read = !turn.drained;
            if !turn.blocked {
                room.forget();
            }
            if turn.again {
                // The application's tasks share this runtime: their turn now.
                tokio::task::yield_now().await;
                read = read || arrived(device.as_ref()).await;
                continue;
            }
            if let (Some(limit), Some(device), false) = (turn.busy_poll, &device, turn.blocked) {
                read = look_out(&shards.0, index, device, limit).await;
                if read {
                    continue;
                }
            }
            arm(sleep.as_mut(), turn.deadline);
            let ready = tokio::select! {
                biased;
                // Cleared before the device is read, so that what comes after that is seen.
                arrival = arrival(device.as_ref()), if receives => arrival.map(|()| read = true),
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

/// Looks for packets without sleeping until some arrive or `limit` has passed since the last were sent or received; whether
/// some have. All other tasks have their turn meanwhile, and other programs that want this core too.
///
/// Waking a thread that sleeps takes as long as dozens of packets.
async fn look_out(shards: &Weak<Shards>, index: usize, device: &AsyncFd<OwnedFd>, limit: Duration) -> bool {
    loop {
        tokio::task::yield_now().await;
        if arrived(Some(device)).await {
            return true;
        }
        let Some(shards) = shards.upgrade() else { return true };
        let mut inner = shards.get(index).lock();
        if inner.stopped.is_some() {
            return true;
        }
        let active_at = inner.active_at;
        if inner.clock.now().since(active_at) >= limit {
            return false;
        }
        drop(inner);
        std::thread::yield_now();
    }
}

/// One lock hold: up to a batch in, what is due, up to a batch out. `None` ends the driver.
fn turn(shards: &Weak<Shards>, index: usize, read: bool, buffers: &mut Buffers) -> Option<Turn> {
    let shards = shards.upgrade()?;
    let shard = shards.get(index);
    let mut after = After {
        wake: std::mem::take(&mut buffers.wake),
        post: std::mem::take(&mut buffers.post),
        ..After::default()
    };
    let turn = {
        let mut inner = shard.lock();
        if let Some(why) = inner.stopped {
            drop(inner);
            // The others are not to go on without it.
            shards.stop(why);
            return None;
        }
        let drained = match read {
            false => true,
            true => match inner.receive(&mut buffers.packets) {
                Ok(drained) => drained,
                Err(error) => {
                    drop(inner);
                    shards.stop(error.raw_os_error());
                    return None;
                }
            },
        };
        let more_letters = shard.exchange(buffers, &mut after);
        let now = inner.clock.now();
        let mut busy_poll = None;
        if !buffers.packets.is_empty() {
            busy_poll = inner.worth_looking_out(now);
            inner.active_at = now;
            inner.stack.handle_packets(now, &buffers.packets);
        }
        for letter in buffers.letters.drain(..) {
            inner.take_letter(now, letter);
        }
        // The ACK that a timer waits for may be among the packets that are still to be read.
        let patience = if drained { Duration::ZERO } else { PATIENCE };
        if inner.stack.poll_timeout().is_some_and(|due| due + patience <= now) {
            inner.stack.handle_timeout(now);
        }
        let sent = inner.settle(now, &mut after);
        let due = inner.arm(now);
        Turn {
            drained,
            // The turn after the one in which the device failed ends the driver.
            again: !drained
                || more_letters
                || sent == Sent::MoreLeft
                || due.is_some_and(|due| due <= now)
                || inner.stopped.is_some(),
            blocked: sent == Sent::DeviceFull,
            deadline: due.and_then(|due| inner.clock.to_tokio(due)),
            busy_poll,
        }
    };
    buffers.packets.clear();
    shard.deliver(&mut after.post);
    after.wake.drain(..).for_each(Waker::wake);
    (buffers.wake, buffers.post) = (after.wake, after.post);
    Some(turn)
}

impl Shard {
    /// Sorts out what belongs to other shards, and takes what others had for this one; whether they have more.
    fn exchange(&self, buffers: &mut Buffers, after: &mut After) -> bool {
        let Some(post) = &self.post else { return false };
        let Buffers { packets, letters, .. } = buffers;
        post.sort(self.index, packets, &mut after.post);
        post.take(self.index, BATCH, |letter| match letter {
            Letter::Packet(packet) => packets.push(packet),
            other => letters.push(other),
        })
    }
}

impl Inner {
    /// For how long to look for more packets, when some have arrived `now`: not at all where the last were sent or received
    /// longer ago than that, so that a stack that has little to do costs nothing.
    fn worth_looking_out(&self, now: Instant) -> Option<Duration> {
        let limit = Duration::from_micros(self.stack.settings().busy_poll);
        (!limit.is_zero() && now.since(self.active_at) < limit).then_some(limit)
    }

    fn take_letter(&mut self, now: Instant, letter: Letter) {
        match letter {
            Letter::Packet(packet) => self.stack.handle_packets(now, &[packet]),
            Letter::Handed(handed) => self.stack.handle_handed(now, &handed),
            Letter::PathMtu { destination, mtu } => self.stack.learn_path_mtu(now, destination, mtu),
        }
    }
}

/// Waits for packets to arrive, or the device to end.
async fn arrival(device: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    match device {
        Some(device) => device.ready(ARRIVAL).await.map(|mut guard| guard.clear_ready()),
        None => std::future::pending().await,
    }
}

/// Whether packets have arrived meanwhile, without waiting for them.
async fn arrived(device: Option<&AsyncFd<OwnedFd>>) -> bool {
    let Some(device) = device else { return false };
    poll_fn(|cx| match device.poll_read_ready(cx) {
        Poll::Ready(Ok(mut guard)) => {
            guard.clear_ready();
            Poll::Ready(true)
        }
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(false),
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
