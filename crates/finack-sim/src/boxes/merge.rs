//! A box that joins neighbouring segments of a stream, as receive offload in a router does.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use finack_core::Instant;

use super::MOST_FLOWS;
use crate::packet::{Body, Pkt, Tcp, flag};

#[derive(Clone, Debug)]
struct Kept {
    packet: Pkt,
    until: Instant,
}

/// A merging box at work.
#[derive(Clone, Debug)]
pub struct Merge {
    most: usize,
    hold: Duration,
    kept: BTreeMap<(SocketAddr, SocketAddr), Kept>,
}

impl Merge {
    /// A box that makes payloads of at most `most` bytes and keeps a segment back for `hold` at most.
    #[must_use]
    pub const fn new(most: usize, hold: Duration) -> Self {
        Self { most, hold, kept: BTreeMap::new() }
    }

    pub(super) fn pass(&mut self, now: Instant, packet: Pkt, out: &mut Vec<Pkt>) {
        let Some(tcp) = packet.as_tcp() else { return out.push(packet) };
        let key = (packet.from(), packet.to());
        let plain = tcp.flags & !flag::PSH == flag::ACK && !tcp.payload.is_empty();
        if let Some(kept) = self.kept.get_mut(&key) {
            if plain && kept.take(&packet, tcp, self.most) {
                return;
            }
            out.extend(self.kept.remove(&key).map(|kept| kept.packet));
        }
        if plain && tcp.payload.len() < self.most && self.kept.len() < MOST_FLOWS {
            self.kept.insert(key, Kept { packet, until: now + self.hold });
        } else {
            out.push(packet);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.kept.values().map(|kept| kept.until).min()
    }

    pub(super) fn timeout(&mut self, now: Instant, out: &mut Vec<Pkt>) {
        let due: Vec<_> = self.kept.iter().filter(|(_, k)| k.until <= now).map(|(key, _)| *key).collect();
        out.extend(due.into_iter().filter_map(|key| self.kept.remove(&key)).map(|kept| kept.packet));
    }
}

impl Kept {
    /// Appends what follows; the options, the acknowledgement and the window are those of the later one.
    fn take(&mut self, next: &Pkt, theirs: &Tcp, most: usize) -> bool {
        let same = (self.packet.ip.tos, self.packet.ip.ttl) == (next.ip.tos, next.ip.ttl);
        let Body::Tcp(mine) = &mut self.packet.body else { return false };
        let follows = theirs.seq == mine.seq.wrapping_add(mine.payload.len() as u32);
        if !same || !follows || mine.payload.len() + theirs.payload.len() > most {
            return false;
        }
        mine.payload.extend_from_slice(&theirs.payload);
        mine.flags |= theirs.flags;
        (mine.ack, mine.window) = (theirs.ack, theirs.window);
        mine.options.clone_from(&theirs.options);
        true
    }
}
