//! What shards hand each other: a bounded ring into each of them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use finack_core::device::Packet;
use finack_core::stack::{ForShards, Handed};
use finack_core::steer::Steering;
use tokio::sync::Notify;

/// Most letters that wait for one shard, and most bytes of packets in them: a few batches of a busy device.
const MOST: usize = 1024;
const MOST_BYTES: usize = 8 << 20;

/// What one shard has for another.
pub(super) enum Letter {
    /// As it came from the device, through the wrong queue.
    Packet(Packet<'static>),
    /// From the other's engine.
    Handed(Handed),
    /// What a router told the other.
    PathMtu { destination: IpAddr, mtu: u32 },
}

impl Letter {
    pub(super) const fn packet(&self) -> Option<&Packet<'static>> {
        match self {
            Self::Packet(packet) | Self::Handed(Handed { packet, .. }) => Some(packet),
            Self::PathMtu { .. } => None,
        }
    }

    fn len(&self) -> usize {
        self.packet().map_or(0, |packet| packet.bytes.as_slice().len())
    }
}

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Letter>,
    bytes: usize,
}

struct Inbox {
    /// Something may wait; looked at in every turn, without the lock.
    any: AtomicBool,
    waiting: Mutex<Waiting>,
    kick: Arc<Notify>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rings into all shards of one network, and who belongs where.
pub(crate) struct Post {
    pub(crate) steering: Steering,
    inboxes: Box<[Inbox]>,
}

impl Post {
    pub(super) fn new(steering: Steering, kicks: impl Iterator<Item = Arc<Notify>>) -> Self {
        let inbox = |kick| Inbox { any: AtomicBool::new(false), waiting: Mutex::default(), kick };
        Self { steering, inboxes: kicks.map(inbox).collect() }
    }

    /// Moves the packets that belong to other shards than `home` out of a batch.
    pub(super) fn sort(&self, home: usize, batch: &mut Vec<Packet<'static>>, out: &mut Outgoing) {
        let mut kept = 0;
        for i in 0..batch.len() {
            match self.steering.of_packet(batch[i].bytes.as_slice()) {
                Some(shard) if shard != home => {
                    let packet = std::mem::replace(&mut batch[i], Packet::borrowed(&[]));
                    out.push(shard, Letter::Packet(packet));
                }
                _ => {
                    // Only places that were emptied are passed over: the order stays.
                    batch.swap(kept, i);
                    kept += 1;
                }
            }
        }
        batch.truncate(kept);
    }

    /// Hands letters over, and tells who got some. What found no room stays.
    pub(super) fn deliver(&self, out: &mut Outgoing) {
        for (letters, inbox) in out.to.iter_mut().zip(&self.inboxes) {
            if letters.is_empty() {
                continue;
            }
            let mut waiting = inbox.lock();
            let mut refused = Vec::new();
            for letter in letters.drain(..) {
                let bytes = waiting.bytes + letter.len();
                if waiting.letters.len() < MOST && bytes <= MOST_BYTES {
                    waiting.bytes = bytes;
                    waiting.letters.push_back(letter);
                } else {
                    refused.push(letter);
                }
            }
            drop(waiting);
            *letters = refused;
            // The order is the other way round in `take`, so that no letter is overlooked.
            inbox.any.store(true, Ordering::Release);
            inbox.kick.notify_one();
        }
    }

    /// Up to `most` letters for the shard `home`; whether more wait.
    pub(super) fn take(&self, home: usize, most: usize, mut each: impl FnMut(Letter)) -> bool {
        let Some(inbox) = self.inboxes.get(home) else { return false };
        if !inbox.any.swap(false, Ordering::Acquire) {
            return false;
        }
        let mut waiting = inbox.lock();
        for _ in 0..most {
            let Some(letter) = waiting.letters.pop_front() else { return false };
            waiting.bytes -= letter.len();
            each(letter);
        }
        let more = !waiting.letters.is_empty();
        if more {
            inbox.any.store(true, Ordering::Release);
        }
        more
    }
}

/// Letters on their way, by the shard that they are for. Kept from turn to turn: no letter costs an allocation here.
#[derive(Default)]
pub(crate) struct Outgoing {
    to: Vec<Vec<Letter>>,
    some: bool,
}

impl Outgoing {
    pub(super) const fn new() -> Self {
        Self { to: Vec::new(), some: false }
    }

    pub(super) const fn is_empty(&self) -> bool {
        !self.some
    }

    fn push(&mut self, shard: usize, letter: Letter) {
        if self.to.len() <= shard {
            self.to.resize_with(shard + 1, Vec::new);
        }
        self.to[shard].push(letter);
        self.some = true;
    }

    /// Takes what an engine has for others.
    pub(super) fn add(&mut self, what: ForShards) {
        match what {
            ForShards::Packet(handed) => self.push(handed.shard, Letter::Handed(handed)),
            ForShards::PathMtu { shard, destination, mtu } => {
                self.push(shard, Letter::PathMtu { destination, mtu });
            }
        }
    }

    /// What found no room.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Letter> {
        self.some = false;
        self.to.iter_mut().flat_map(|letters| letters.drain(..))
    }
}

#[cfg(test)]
mod tests;
