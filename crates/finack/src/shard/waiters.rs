//! Who waits for which socket.
//!
//! A socket has two single places, for the task that reads and the task that writes through `poll_*`
//! calls (the last caller of each is the one woken, as in tokio), and a list for the futures of
//! `ready()`, `accept()`, `recv()` and the like, of which any number may wait at once.
//!
//! Wakers are never fired or dropped here: both may run an application's code, and these tables
//! live under the shard's lock. What is taken out goes to the caller.

use std::num::NonZeroU64;
use std::task::Waker;

use finack_core::stack::{ConnId, Event, ListenerId, Ready, UdpId};

/// What concerns someone who reads.
pub(crate) const READ: Ready =
    Ready(Ready::READABLE.0 | Ready::READ_CLOSED.0 | Ready::ERROR.0 | Ready::PRIORITY.0);
/// What concerns someone who writes.
pub(crate) const WRITE: Ready = Ready(Ready::WRITABLE.0 | Ready::WRITE_CLOSED.0 | Ready::ERROR.0);
/// Anything at all.
pub(crate) const ANY: Ready = Ready(READ.0 | WRITE.0);

/// A listener's: a connection waits to be accepted.
pub(crate) const ACCEPT: Ready = Ready::READABLE;
/// A gate's: an opening waits for a decision.
pub(crate) const INCOMING: Ready = Ready::PRIORITY;

/// Slots that a table grows by, and looks through at once: growing moves none that are there.
const SEGMENT: usize = 64;

/// Names one waiting future, so that it can be found again when polled or dropped.
pub(crate) type Key = NonZeroU64;

/// One of the engine's handles.
pub(crate) trait SocketId: Copy + Eq + Unpin {
    /// Its place in a table.
    fn place(self) -> usize;
    /// The table that its kind has.
    fn table(waiters: &mut Waiters) -> &mut Table<Self>;
}

macro_rules! socket_ids {
    ($($id:ty => $field:ident,)+) => {$(
        impl SocketId for $id {
            fn place(self) -> usize {
                self.index()
            }
            fn table(waiters: &mut Waiters) -> &mut Table<Self> {
                &mut waiters.$field
            }
        }
    )+};
}

socket_ids! {
    ConnId => connections,
    ListenerId => listeners,
    UdpId => datagrams,
}

struct Parked {
    key: Key,
    mask: Ready,
    waker: Waker,
}

/// The waiters of one socket.
pub(crate) struct Slot<I> {
    id: Option<I>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    parked: Vec<Parked>,
}

impl<I> Slot<I> {
    const fn vacant() -> Self {
        Self { id: None, reader: None, writer: None, parked: Vec::new() }
    }

    /// Takes out everyone whom `ready` concerns.
    pub(super) fn take(&mut self, ready: Ready, out: &mut Vec<Waker>) {
        if ready.intersects(READ) {
            out.extend(self.reader.take());
        }
        if ready.intersects(WRITE) {
            out.extend(self.writer.take());
        }
        if !self.parked.is_empty() {
            out.extend(self.parked.extract_if(.., |p| ready.intersects(p.mask)).map(|p| p.waker));
        }
    }
}

/// The waiters of all sockets of one kind, by the engine's own index: no hashing, and no copy on growth.
pub(crate) struct Table<I> {
    segments: Vec<Box<[Slot<I>]>>,
}

impl<I: SocketId> Table<I> {
    const fn new() -> Self {
        Self { segments: Vec::new() }
    }

    fn slot(&mut self, id: I) -> Option<&mut Slot<I>> {
        let slot = self.segments.get_mut(id.place() / SEGMENT)?.get_mut(id.place() % SEGMENT)?;
        (slot.id == Some(id)).then_some(slot)
    }

    /// Makes room for `id`'s waiters. The place is vacant: sockets are closed before their index is used again.
    fn open(&mut self, id: I) {
        while self.segments.len() <= id.place() / SEGMENT {
            self.segments.push((0..SEGMENT).map(|_| Slot::vacant()).collect());
        }
        if let Some(slot) = self.segments[id.place() / SEGMENT].get_mut(id.place() % SEGMENT) {
            *slot = Slot { id: Some(id), ..Slot::vacant() };
        }
    }

    fn close(&mut self, id: I) -> Option<Slot<I>> {
        self.slot(id).map(|slot| std::mem::replace(slot, Slot::vacant()))
    }

    fn slots(&mut self) -> impl Iterator<Item = &mut Slot<I>> {
        self.segments.iter_mut().flatten()
    }

    /// Some of the sockets that the application holds, and where to go on; `None` after the last.
    pub(crate) fn some_from(&self, start: usize) -> Option<(impl Iterator<Item = I>, usize)> {
        let segment = self.segments.get(start)?;
        Some((segment.iter().filter_map(|slot| slot.id), start + 1))
    }
}

/// Which of the two single places of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The reader's (and the acceptor's).
    Read,
    /// The writer's.
    Write,
}

/// Everyone who waits for anything in one shard.
pub(crate) struct Waiters {
    pub(crate) connections: Table<ConnId>,
    pub(crate) listeners: Table<ListenerId>,
    datagrams: Table<UdpId>,
    next_key: Key,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self {
            connections: Table::new(),
            listeners: Table::new(),
            datagrams: Table::new(),
            next_key: NonZeroU64::MIN,
        }
    }

    /// Makes room for the waiters of a new socket.
    pub(crate) fn open<I: SocketId>(&mut self, id: I) {
        I::table(self).open(id);
    }

    /// Forgets a socket. The caller drops what it gets after unlocking.
    #[must_use]
    pub(crate) fn close<I: SocketId>(&mut self, id: I) -> Option<Slot<I>> {
        I::table(self).close(id)
    }

    /// Puts `waker` into a single place; the one that was there is returned, to be dropped after unlocking.
    #[must_use]
    pub(crate) fn set<I: SocketId>(&mut self, id: I, side: Side, waker: &Waker) -> Option<Waker> {
        let slot = I::table(self).slot(id)?;
        let place = match side {
            Side::Read => &mut slot.reader,
            Side::Write => &mut slot.writer,
        };
        match place {
            Some(there) if there.will_wake(waker) => None,
            _ => place.replace(waker.clone()),
        }
    }

    /// Adds a future to the list, or renews the waker of one that is in it. What is returned is dropped
    /// after unlocking.
    #[must_use]
    pub(crate) fn park<I: SocketId>(
        &mut self,
        id: I,
        mask: Ready,
        key: &mut Option<Key>,
        waker: &Waker,
    ) -> Option<Waker> {
        let mine = *key.get_or_insert_with(|| {
            let mine = self.next_key;
            self.next_key = mine.saturating_add(1);
            mine
        });
        let slot = I::table(self).slot(id)?;
        match slot.parked.iter_mut().find(|p| p.key == mine) {
            Some(there) if there.waker.will_wake(waker) => None,
            Some(there) => Some(std::mem::replace(&mut there.waker, waker.clone())),
            None => {
                slot.parked.push(Parked { key: mine, mask, waker: waker.clone() });
                None
            }
        }
    }

    /// Takes a future off the list, if it still is in it. The caller drops the waker after unlocking.
    #[must_use]
    pub(crate) fn unpark<I: SocketId>(&mut self, id: I, key: Key) -> Option<Waker> {
        let slot = I::table(self).slot(id)?;
        let at = slot.parked.iter().position(|p| p.key == key)?;
        Some(slot.parked.swap_remove(at).waker)
    }

    /// Takes out everyone whom `event` concerns.
    pub(crate) fn fire(&mut self, event: Event, out: &mut Vec<Waker>) {
        match event {
            Event::Tcp { conn, ready } => self.wake(conn, ready, out),
            Event::Accept { listener } => self.wake(listener, ACCEPT, out),
            Event::Incoming { listener } => self.wake(listener, INCOMING, out),
            Event::Udp { socket, ready } => self.wake(socket, ready, out),
            _ => {}
        }
    }

    fn wake<I: SocketId>(&mut self, id: I, ready: Ready, out: &mut Vec<Waker>) {
        if let Some(slot) = I::table(self).slot(id) {
            slot.take(ready, out);
        }
    }

    /// Takes out everyone: the shard has stopped.
    pub(crate) fn take_all(&mut self, out: &mut Vec<Waker>) {
        self.connections.slots().for_each(|s| s.take(ANY, out));
        self.listeners.slots().for_each(|s| s.take(ANY, out));
        self.datagrams.slots().for_each(|s| s.take(ANY, out));
    }
}

#[cfg(test)]
mod tests;
