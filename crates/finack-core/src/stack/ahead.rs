//! Looking ahead: with many connections most of the time goes by in waiting for memory. What will be needed for several of
//! them is fetched for all at once, so that one wait is all of theirs. Nothing but time depends on it.

use super::{ConnId, Stack};
use crate::timer::Owner;

/// Connections that are looked at together: more misses than they have no processor has under way at a time.
pub(super) const AHEAD: usize = 16;

impl Stack {
    /// Says about which connections the next calls will be: of a server that answers many, or a client that asks many. What
    /// the processor has to fetch for them it fetches meanwhile. A hint that changes nothing else, and costs a few
    /// nanoseconds each; handles that name nothing are passed over.
    pub fn tcp_look_ahead(&self, conns: &[ConnId]) {
        for together in conns.chunks(AHEAD) {
            self.prefetch_all(together.iter().map(|conn| conn.index));
        }
    }

    /// Has fetched what is kept of connections, and what they have on the way.
    pub(super) fn prefetch_all(&self, connections: impl Iterator<Item = u32> + Clone) {
        connections.clone().for_each(|index| self.prefetch(index));
        let live = || connections.clone().filter_map(|index| self.connections.get(index));
        live().for_each(|c| c.prefetch_queues());
        live().for_each(|c| c.prefetch_fronts());
    }

    /// Has fetched what is kept of a connection.
    #[inline]
    pub(super) fn prefetch(&self, index: u32) {
        self.connections.prefetch(index);
        self.wheel.prefetch(Owner::connection(index));
    }

    /// Has those connections fetched whose timers have become due within a tick: they have often not been looked at for long.
    pub(super) fn prefetch_due(&mut self) {
        if self.wheel.take_fresh() {
            for owner in self.wheel.due().filter(|owner| !owner.is_embryo()).take(AHEAD) {
                self.prefetch(owner.index());
            }
        }
    }
}
