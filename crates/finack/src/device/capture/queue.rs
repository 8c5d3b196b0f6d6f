//! What stands between a device and the thread that writes its packets down: bounded, and never in the device's way.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use finack_core::trace::PacketId;
use tokio::sync::Notify;

use super::cut::Unfinished;
use super::why::Why;

/// Bytes at which the writer is woken, rather than left to find them when it next looks.
const WORTHWHILE: usize = 256 * 1024;
/// How long a packet may wait for the writer to look.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a file may take nothing before it is given up at the end.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a packet takes beside its bytes, about.
const OVERHEAD: usize = 128;
/// Most comments that wait for their packets.
const MOST_NOTES: usize = 16_384;

/// A packet or unit as the device carried it.
pub(super) struct Captured {
    pub(super) id: PacketId,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) unfinished: Unfinished,
    /// Packets lost between the one before and this one.
    pub(super) lost_before: u64,
    pub(super) bytes: Vec<u8>,
    /// How many were captured with this one, lost ones counted.
    index: u64,
}

impl Captured {
    /// Bytes that it takes.
    pub(super) const fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// A packet that is being captured.
pub(super) struct Arrival {
    pub(super) id: PacketId,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) unfinished: Unfinished,
    /// Packets that it is on the wire.
    pub(super) segments: u64,
    /// Bytes of all of it.
    pub(super) len: usize,
}

/// Something told of a packet.
pub(super) struct Note {
    pub(super) packet: PacketId,
    pub(super) why: Why,
    /// It concerns one of the first so many packets: once they are written it is of no use.
    pub(super) within: u64,
}

/// What the writer takes away at once.
pub(super) struct Load {
    pub(super) packets: VecDeque<Captured>,
    pub(super) notes: Vec<Note>,
    /// Of so many packets, lost ones counted, the last is among these or was before.
    pub(super) upto: u64,
    /// Nothing comes after it.
    pub(super) last: bool,
    /// Packets lost altogether, and since the last of these.
    pub(super) lost: (u64, u64),
    /// Packets that the device lost before anybody saw them.
    pub(super) overruns: u64,
}

/// What became of a capture.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) written: u64,
    pub(super) lost: u64,
    pub(super) lost_notes: u64,
    /// The file took nothing for too long.
    pub(super) stuck: bool,
    pub(super) error: Option<io::Error>,
}

#[derive(Default)]
struct State {
    packets: VecDeque<Captured>,
    /// What these take, and those that are being written.
    bytes: usize,
    /// Packets and units captured, lost ones counted.
    captured: u64,
    /// Of the first so many everything is told.
    explained: u64,
    notes: Vec<Note>,
    lost: u64,
    lost_before: u64,
    lost_notes: u64,
    overruns: u64,
    closing: bool,
    /// The writer has ended.
    over: bool,
    /// The writer sleeps, until it is woken or for a while.
    asleep: Option<Sleep>,
    written: u64,
    /// Counts the writer's steps.
    progress: u64,
    error: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    UntilWoken,
    AWhile,
}

pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    step: Condvar,
    arrival: Notify,
    limit: usize,
    /// Packets wait until they are explained.
    explains: bool,
}

impl Queue {
    pub(super) fn new(limit: usize, explains: bool) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            step: Condvar::new(),
            arrival: Notify::new(),
            limit,
            explains,
        }
    }

    /// No panic leaves anything here half-done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a packet whose bytes `fill` copies, or counts it as lost where there is no room.
    pub(super) fn push(&self, arrival: &Arrival, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if state.over || state.closing {
            return;
        }
        state.captured += 1;
        let size = arrival.len + OVERHEAD;
        if state.bytes + size > self.limit {
            state.lost += arrival.segments;
            state.lost_before += arrival.segments;
            return;
        }
        let mut bytes = Vec::with_capacity(arrival.len);
        fill(&mut bytes);
        let &Arrival { id, time, unfinished, .. } = arrival;
        let lost_before = std::mem::take(&mut state.lost_before);
        let index = state.captured;
        state.bytes += size;
        state.packets.push_back(Captured { id, time, unfinished, lost_before, bytes, index });
        self.wake_writer(&state);
    }

    fn wake_writer(&self, state: &State) {
        let worthwhile = state.bytes >= WORTHWHILE && state.ready(self.explains);
        if state.asleep == Some(Sleep::UntilWoken) || (state.asleep.is_some() && worthwhile) {
            self.work.notify_one();
        }
    }

    /// A batch of packets is through: whoever explains them may look.
    pub(super) fn batch(&self) {
        if self.explains {
            self.arrival.notify_one();
        }
    }

    /// Waits until there are packets that are not explained.
    pub(super) async fn unexplained(&self) {
        while !self.is_unexplained() {
            self.arrival.notified().await;
        }
    }

    fn is_unexplained(&self) -> bool {
        let state = self.state();
        !state.over && state.captured > state.explained
    }

    /// How many packets were captured, lost ones counted.
    pub(super) fn captured(&self) -> u64 {
        self.state().captured
    }

    pub(super) fn note(&self, packet: PacketId, why: Why) {
        if !self.explains {
            return;
        }
        let mut state = self.state();
        if state.over || state.closing {
            return;
        }
        if state.notes.len() >= MOST_NOTES {
            state.lost_notes += 1;
            return;
        }
        let within = state.captured;
        state.notes.push(Note { packet, why, within });
    }

    /// Counts comments that nobody could make.
    pub(super) fn lose_notes(&self, count: u64) {
        self.state().lost_notes += count;
    }

    /// Everything is told of the first `count` packets.
    pub(super) fn explained(&self, count: u64) {
        let mut state = self.state();
        state.explained = state.explained.max(count.min(state.captured));
        self.wake_writer(&state);
    }

    pub(super) fn set_overruns(&self, overruns: u64) {
        self.state().overruns = overruns;
    }

    /// The next packets to write down; waits for them.
    pub(super) fn take(&self) -> Load {
        let mut state = self.state();
        let mut looked = false;
        while !state.closing {
            let worthwhile = looked || state.bytes >= WORTHWHILE;
            if worthwhile && state.ready(self.explains) {
                break;
            }
            if state.packets.is_empty() {
                state.asleep = Some(Sleep::UntilWoken);
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                state.asleep = Some(Sleep::AWhile);
                let woken = self.work.wait_timeout(state, GLANCE);
                let timeout;
                (state, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                looked = timeout.timed_out();
            }
            state.asleep = None;
        }
        state.load(self.explains)
    }

    /// The writer has written so many packets of the wire, and is done with what took so many bytes.
    pub(super) fn wrote(&self, packets: u64, bytes: usize) {
        let mut state = self.state();
        state.written += packets;
        state.bytes = state.bytes.saturating_sub(bytes);
        state.progress += 1;
        self.step.notify_one();
    }

    /// The writer has ended.
    pub(super) fn end(&self, error: Option<io::Error>) {
        let mut state = self.state();
        state.over = true;
        state.error = state.error.take().or(error);
        state.packets = VecDeque::new();
        state.notes = Vec::new();
        self.step.notify_one();
    }

    /// Takes no more packets, and waits until all of them are written, as long as that goes on.
    pub(super) fn finish(&self) -> Outcome {
        let mut state = self.state();
        state.closing = true;
        self.work.notify_one();
        let (mut since, mut progress) = (Instant::now(), state.progress);
        while !state.over && since.elapsed() < PATIENCE {
            let waited = self.step.wait_timeout(state, PATIENCE);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.progress != progress {
                (since, progress) = (Instant::now(), state.progress);
            }
        }
        Outcome {
            written: state.written,
            lost: state.lost,
            lost_notes: state.lost_notes,
            stuck: !state.over,
            error: state.error.take(),
        }
    }
}

impl State {
    /// Whether the first packet may be written.
    fn ready(&self, explains: bool) -> bool {
        self.packets.front().is_some_and(|p| !explains || p.index <= self.explained)
    }

    fn load(&mut self, explains: bool) -> Load {
        let upto = if explains && !self.closing { self.explained } else { self.captured };
        let split = self.packets.partition_point(|p| p.index <= upto);
        let rest = self.packets.split_off(split);
        let packets = std::mem::replace(&mut self.packets, rest);
        let (last, overruns) = (self.closing, self.overruns);
        let lost = (self.lost, self.lost_before);
        Load { packets, notes: std::mem::take(&mut self.notes), upto, last, lost, overruns }
    }
}
