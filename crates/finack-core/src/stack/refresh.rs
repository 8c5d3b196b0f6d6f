//! Timers, queues and budgets after each step, for the connection that it was about.

use alloc::collections::VecDeque;

use super::{EventSource, Stack};
use crate::cx::Cx;
use crate::tcp::output::{self, Next};
use crate::tcp::tcb::Connection;
use crate::tcp::timers::Timer;
use crate::time::Instant;
use crate::timer::{Owner, Wheel};

/// An entry in the wheel is put off by so many nanoseconds at least.
const MUCH_LATER: u64 = 16_000_000;

/// Where it stands what connections want.
pub(super) struct Agenda<'a> {
    pub(super) wheel: &'a mut Wheel,
    pub(super) ready_to_send: &'a mut VecDeque<(u32, u32)>,
    pub(super) events: &'a mut VecDeque<EventSource>,
}

impl Stack {
    /// Timers, transmit queue, event queue and budget after a change.
    pub(super) fn refresh(&mut self, now: Instant, index: u32) {
        let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
        if let Some(c) = connections.get_mut(index) {
            Agenda { wheel, ready_to_send, events }.refresh(c, cx, now, index);
        }
    }
}

impl Agenda<'_> {
    /// The same where the connection is at hand.
    pub(super) fn refresh(&mut self, c: &mut Connection, cx: &mut Cx, now: Instant, index: u32) {
        self.refresh_at_once(c, cx, now, index);
    }

    /// Whether [`refresh`](Self::refresh) would find nothing to do after text came: the reader is to be told already, the wheel looks
    /// in time, and an answer is due already or not yet. What the memory budget counts was promised before the text came.
    #[inline(always)]
    pub(super) fn knows(&self, c: &Connection) -> bool {
        let sends = c.facts.tx_queued() || c.ack.now.is_none() && c.snd_nxt == c.snd_end();
        let told = c.facts.event_queued() || c.ready.is_empty();
        sends && told && c.timers.deadline(Timer::DelayedAck) >= c.wheel_at
    }

    /// [`refresh`](Self::refresh), without a call.
    #[inline(always)]
    pub(super) fn refresh_at_once(&mut self, c: &mut Connection, cx: &mut Cx, now: Instant, index: u32) {
        charge(c, cx);
        if c.facts.indexed() && !c.facts.tx_queued() {
            let seen = if cx.short_cuts { glance(c, cx) } else { None };
            match seen.unwrap_or_else(|| output::next_segment(c, cx, now).into()) {
                Wish::Send => {
                    c.facts.set_tx_queued(true);
                    self.ready_to_send.push_back((index, c.generation));
                }
                Wish::Wait => c.note_held(true),
                Wish::Nothing => {
                    c.note_held(false);
                    output::after_output(c, cx, now);
                }
                Wish::Quiet => {
                    c.note_held(false);
                    c.note_all_sent(now);
                }
            }
        }
        self.tell(c, index);
    }

    /// The same after all that was written went out in a segment of its own, and no ACK is owed any more: nothing is there to
    /// be sent.
    #[inline(always)]
    pub(super) fn refresh_sent(&mut self, c: &mut Connection, cx: &mut Cx, now: Instant, index: u32) {
        debug_assert!(matches!(glance(c, cx), Some(Wish::Quiet)));
        charge(c, cx);
        c.note_all_sent(now);
        self.tell(c, index);
    }

    /// The same of a connection that has just been made, and begins with a SYN.
    pub(super) fn refresh_new(&mut self, c: &mut Connection, cx: &mut Cx, index: u32) {
        debug_assert!(
            c.facts.syn_due() && c.ready.is_empty() && c.earliest_deadline() == Instant::FAR_FUTURE
        );
        charge(c, cx);
        c.facts.set_tx_queued(true);
        self.ready_to_send.push_back((index, c.generation));
    }

    /// The same after all there was to send before the handshake is over went out.
    pub(super) fn refresh_idle(&mut self, c: &mut Connection, cx: &mut Cx, now: Instant, index: u32) {
        debug_assert_eq!(output::next_segment(c, cx, now), Next::Idle);
        charge(c, cx);
        output::after_output(c, cx, now);
        self.tell(c, index);
    }

    /// The same after something was written that [`output::small_write`] finds (`goes`) or not, and nothing else has changed.
    #[inline(always)]
    pub(super) fn refresh_written(
        &mut self,
        c: &mut Connection,
        cx: &mut Cx,
        now: Instant,
        index: u32,
        goes: bool,
    ) {
        debug_assert_eq!(goes, output::small_write(c, cx).is_some());
        if c.facts.tx_queued() {
            return charge(c, cx);
        }
        if !c.facts.indexed() || c.ack.now.is_none() && !goes {
            return self.refresh(c, cx, now, index);
        }
        charge(c, cx);
        c.facts.set_tx_queued(true);
        self.ready_to_send.push_back((index, c.generation));
    }

    /// Events and the wheel.
    #[inline]
    pub(super) fn tell(&mut self, c: &mut Connection, index: u32) {
        if !c.ready.is_empty() && !c.facts.event_queued() && !c.facts.orphan() && !c.facts.unaccepted() {
            c.facts.set_event_queued(true);
            self.events.push_back(EventSource::Connection { index, generation: c.generation });
        }
        let earliest = c.earliest_deadline();
        if earliest < c.wheel_at || earliest.nanos_since(c.wheel_at) > MUCH_LATER && !c.facts.hurries() {
            self.move_entry(c, index, earliest);
        }
    }

    /// One entry in the wheel for all of its timers, moved at once only when it would come too late. One that would come much too
    /// early is put off, which spares a look at a connection that nothing else may need for long; but not where it is needed
    /// early again soon, as while requests follow each other.
    fn move_entry(&mut self, c: &mut Connection, index: u32, earliest: Instant) {
        if earliest < c.wheel_at {
            self.wheel.arm(Owner::connection(index), earliest);
            c.facts.set_hurries(c.facts.deferred());
            c.facts.set_deferred(false);
        } else {
            self.wheel.defer(Owner::connection(index), earliest);
            c.facts.set_deferred(true);
        }
        c.wheel_at = earliest;
    }

    /// [`refresh`](Self::refresh) after the application read or tried to: where all is sent, and no ACK became due by that,
    /// only the budget hears of it.
    #[inline]
    pub(super) fn refresh_after_read(&mut self, c: &mut Connection, cx: &mut Cx, now: Instant, index: u32) {
        let settled = c.ack.now.is_none() && c.snd_nxt == c.snd_end() && c.rare.is_none();
        let told = c.ready.is_empty() || c.facts.event_queued();
        if cx.short_cuts && settled && told && !c.facts.wants_room() && c.state.is_synchronized() {
            charge(c, cx);
        } else {
            self.refresh(c, cx, now, index);
        }
    }
}

/// The memory budget follows what the connection may take up.
#[inline]
fn charge(c: &mut Connection, cx: &mut Cx) {
    let promised = c.memory_promised();
    if promised != c.charged {
        cx.budget.replace(u64::from(core::mem::replace(&mut c.charged, promised)), u64::from(promised));
    }
}

/// Whether a connection wants to send.
enum Wish {
    Send,
    /// Later.
    Wait,
    Nothing,
    /// All that was written is sent, and no control segment is due.
    Quiet,
}

impl From<Next> for Wish {
    fn from(next: Next) -> Self {
        match next {
            Next::Send(_) => Self::Send,
            Next::NotBefore(_) => Self::Wait,
            Next::Idle => Self::Nothing,
        }
    }
}

/// Whether it wants to send, where that shows without deciding what: an ACK is owed in any case, or nothing is there to
/// send. Most steps leave a connection so. `None`: [`output::next_segment`] must look.
fn glance(c: &Connection, cx: &Cx) -> Option<Wish> {
    if c.ack.now.is_some() {
        // With data or without.
        return c.state.is_synchronized().then_some(Wish::Send);
    }
    let control =
        c.facts.syn_due() | c.facts.probe_due() | c.facts.keepalive_due() | c.facts.loss_probe_due();
    let quiet = !control && c.snd_nxt == c.snd_end() && c.rtx.lost() == 0 && c.state.is_synchronized();
    if quiet { Some(Wish::Quiet) } else { output::small_write(c, cx).map(|_| Wish::Send) }
}
