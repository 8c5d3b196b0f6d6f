//! Who gives way where there is no room for another: those that nobody owns any more, and those whose peer takes nothing.
//!
//! A peer that never ends, or never opens its window, costs a host a connection and a buffer for as long as it likes,
//! and itself next to nothing (FIN-WAIT exhaustion, "sockstress"). Memory and tables are bounded whatever it does; here is
//! seen to it that what it holds goes to others once these bounds are reached (RFC 6429 allows that at a zero window).

use alloc::collections::VecDeque;

use super::{ConnId, Stack};
use crate::error::Error;
use crate::tcp::input::Outcome;
use crate::tcp::tcb::Connection;
use crate::time::Instant;
use crate::trace::ResetReason;

/// Entries that are over are looked for when there are so many more of them than connections.
const SLACK: usize = 64;

/// Connections by index and generation, in the order in which they became what the list is for.
type List = VecDeque<(u32, u32)>;

/// See the module. Entries may be of connections that are over, or are no longer what the list is for.
#[derive(Clone, Debug, Default)]
pub(super) struct Expendable {
    /// The application has let go of them.
    orphans: List,
    /// How many of these are left.
    pub(super) orphans_left: usize,
    /// The window was found closed when there was something to send.
    stuck: List,
}

impl Expendable {
    pub(super) fn memory(&self) -> usize {
        (self.orphans.capacity() + self.stuck.capacity()) * size_of::<(u32, u32)>()
    }
}

/// Data waits, and the peer has no room for it.
fn is_stuck(c: &Connection) -> bool {
    c.facts.indexed() && c.snd_wnd == 0 && c.snd_end() > c.snd_nxt
}

impl Stack {
    /// The application let go of a connection. The oldest orphans end where there are more than `tcp_max_orphans`.
    pub(super) fn note_orphan(&mut self, now: Instant, id: ConnId) {
        let live = self.connections.get_mut(id.index).filter(|c| c.generation == id.generation);
        let Some(c) = live.filter(|c| c.facts.indexed()) else { return };
        c.facts.set_counted(true);
        self.expendable.orphans.push_back((id.index, id.generation));
        self.expendable.orphans_left += 1;
        self.tidy(|e| &mut e.orphans);
        while self.expendable.orphans_left as u64 > self.cx.settings.tcp_max_orphans && self.end_orphan(now) {
        }
    }

    /// A connection's peer was asked for room. Noted once, until it would have to give way and is no longer stuck.
    pub(super) fn note_stuck(&mut self, index: u32) {
        let Some(c) = self.connections.get_mut(index).filter(|c| !c.facts.stuck()) else { return };
        c.facts.set_stuck(true);
        self.expendable.stuck.push_back((index, c.generation));
        self.tidy(|e| &mut e.stuck);
    }

    /// Forgets entries whose connections are over: at the front at once, elsewhere when they are more than the others.
    fn tidy(&mut self, list: impl Fn(&mut Expendable) -> &mut List) {
        let (list, connections) = (list(&mut self.expendable), &self.connections);
        let live = |&(index, generation): &(u32, u32)| {
            connections.get(index).is_some_and(|c| c.generation == generation && c.facts.indexed())
        };
        while list.front().is_some_and(|entry| !live(entry)) {
            list.pop_front();
        }
        if list.len() > 2 * connections.len() + SLACK {
            list.retain(live);
        }
    }

    /// No other connection can be taken on.
    pub(super) fn is_full(&self) -> bool {
        self.connections.len() as u64 >= self.cx.settings.max_connections || self.cx.budget.is_overdrawn()
    }

    /// Nobody would have to be turned away: there is room, or somebody who gives way.
    pub(super) fn may_make_room(&self) -> bool {
        !self.is_full() || self.expendable.orphans_left > 0 || !self.expendable.stuck.is_empty()
    }

    /// Ends connections until another can be taken on: orphans first, the oldest before the others; then those that are
    /// stuck, beginning with the one that has been for longest.
    pub(super) fn make_room(&mut self, now: Instant) {
        while self.is_full() && (self.end_orphan(now) || self.end_stuck(now)) {}
    }

    fn end_orphan(&mut self, now: Instant) -> bool {
        while let Some((index, generation)) = self.expendable.orphans.pop_front() {
            let live = |c: &&Connection| c.generation == generation && c.facts.indexed();
            if self.connections.get(index).filter(live).is_some() {
                self.cx.counters.tcp_abort_on_memory += 1;
                self.settle(now, index, Outcome::Reset(ResetReason::Orphan));
                return true;
            }
        }
        false
    }

    fn end_stuck(&mut self, now: Instant) -> bool {
        while let Some((index, generation)) = self.expendable.stuck.pop_front() {
            let live = self.connections.get_mut(index).filter(|c| c.generation == generation);
            let Some(c) = live else { continue };
            c.facts.set_stuck(false);
            if is_stuck(c) {
                crate::tcp::input::fail(c, Error::NoBufferSpace);
                self.cx.counters.tcp_abort_on_memory += 1;
                self.settle(now, index, Outcome::Reset(ResetReason::WindowClosed));
                return true;
            }
        }
        false
    }
}
