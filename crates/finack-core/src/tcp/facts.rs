//! Facts of a connection that are true or not, of a bit each.

use core::fmt;

/// Facts of one bit each. In bytes of their own: a word that was written in part a moment ago would have to be waited for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    bits: [u8; 4],
}

/// The facts: what tells each, what sets it, and its bit.
macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident, $set:ident: $bit:literal;)*) => {
        impl Facts {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub(crate) const fn $name(&self) -> bool {
                    self.bits[$bit / 8] & 1 << ($bit % 8) != 0
                }

                #[inline(always)]
                pub(crate) const fn $set(&mut self, holds: bool) {
                    let byte = &mut self.bits[$bit / 8];
                    *byte = *byte & !(1 << ($bit % 8)) | (holds as u8) << ($bit % 8);
                }
            )*

            /// The names of those that hold.
            fn names(self) -> impl Iterator<Item = &'static str> {
                [$((stringify!($name), 1 << $bit)),*]
                    .into_iter()
                    .filter_map(move |(name, bit)| (u32::from_le_bytes(self.bits) & bit != 0).then_some(name))
            }
        }
    };
}

facts! {
    /// The application let go of it.
    orphan, set_orphan: 0;
    /// It stands in the table of connections.
    indexed, set_indexed: 1;
    /// It is one of the orphans that are counted.
    counted, set_counted: 2;
    /// It is listed as one whose peer takes nothing.
    stuck, set_stuck: 3;
    /// It waits in a listener's queue.
    unaccepted, set_unaccepted: 4;
    /// The program chose its port by `bind`.
    explicit_port, set_explicit_port: 5;
    /// The application will write no more.
    fin_queued, set_fin_queued: 6;
    /// The application will read no more.
    read_shut, set_read_shut: 7;
    /// The peer's FIN was processed.
    fin_received, set_fin_received: 8;
    /// A SYN or SYN,ACK is to be sent.
    syn_due, set_syn_due: 9;
    /// A zero-window probe is to be sent.
    probe_due, set_probe_due: 10;
    /// A keep-alive probe is to be sent.
    keepalive_due, set_keepalive_due: 11;
    /// A tail loss probe is to be sent.
    loss_probe_due, set_loss_probe_due: 12;
    /// The loss timer stands for the end of RACK's reordering window, not for a tail loss probe.
    reorder_timer, set_reorder_timer: 13;
    /// The persist override: send what fits although it is small.
    push_small, set_push_small: 14;
    /// The other end is this host too.
    loopback, set_loopback: 15;
    /// The network may bring packets with these two addresses (RFC 1122 3.2.1.3).
    admits_afar, set_admits_afar: 16;
    /// Something was written since the last look at what to send.
    written, set_written: 17;
    /// MSG_MORE: a partial segment is held back, until something comes from the peer.
    more, set_more: 18;
    /// The last write had more to come: its end gets no PSH of its own.
    unpushed, set_unpushed: 19;
    /// Our SYN had to be sent again.
    syn_resent, set_syn_resent: 20;
    /// More than once.
    syn_resent_again, set_syn_resent_again: 21;
    /// Our SYN tries a fast open, or the peer's SYN opened the connection by one (RFC 7413).
    fast_open, set_fast_open: 22;
    /// Data of our SYN was acknowledged by the SYN,ACK, or the peer's SYN brought some that was taken.
    early_data, set_early_data: 23;
    /// The application was told that it may not write; it waits for room.
    wants_room, set_wants_room: 24;
    /// Waits in the transmit queue of the stack.
    tx_queued, set_tx_queued: 25;
    /// The wheel comes to its entry earlier than it has to: it was put off.
    deferred, set_deferred: 28;
    /// Putting the entry off does not pay: it was needed early again.
    hurries, set_hurries: 29;
    /// The peer's FIN came, in order or not.
    fin_seen, set_fin_seen: 30;
    /// In this flight the window kept the sender from sending more.
    peak_limited, set_peak_limited: 27;
    /// Waits in the event queue of the stack.
    event_queued, set_event_queued: 26;
}

impl Facts {
    /// Nothing is known of how the entry in the wheel does.
    pub(crate) const fn forget_wheel(&mut self) {
        self.set_deferred(false);
        self.set_hurries(false);
    }

    /// Whether something was written since the last look, which this is.
    #[inline]
    pub(crate) const fn take_written(&mut self) -> bool {
        let written = self.written();
        self.set_written(false);
        written
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
