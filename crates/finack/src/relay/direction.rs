//! One direction of a relay: what was read and not yet taken, and the next step.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll};

use super::direct::{self, Behind, Direct, Move};
use super::stream::RelayStream;

/// The most bytes that are read at once, and so the most that a direction can be made to hold.
pub(super) const MOST_AT_ONCE: usize = 256 * 1024;

thread_local! {
    /// What every relay of the thread reads into. It is taken out while in use, so that a relay that is polled
    /// from within another's poll (by a waker, say) gets one of its own.
    static SHARED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `use_it` with `len` bytes of the thread's buffer; what they hold is whatever was there before.
fn with_shared<R>(len: usize, use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buf = SHARED.take();
    if buf.len() < len {
        buf.resize(len, 0);
    }
    let result = use_it(&mut buf[..len]);
    SHARED.set(buf);
    result
}

/// What the destination has not taken yet. Empty, it holds no memory.
#[derive(Default)]
struct Held {
    bytes: Box<[u8]>,
    written: usize,
}

impl Held {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) {
        *self = Self { bytes: bytes.into(), written: 0 };
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.rest().is_empty() {
            *self = Self::default();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The source may send more.
    Open,
    /// The source's end was seen behind what was read last; nobody was told yet.
    EndSeen,
    /// The source was read to its end, the destination does not know it yet.
    Ending,
    /// The destination was told.
    Ended,
}

/// What one step came to.
pub(super) enum Step {
    /// Something moved; there may be more.
    Moved,
    /// Something moved, and then there was nothing to read, as with [`Idle`](Self::Idle).
    MovedAll,
    /// The source was just read to its end.
    EndRead,
    /// Nothing to read: a break of the source will be seen by reading.
    Idle,
    /// The destination takes nothing.
    Full,
    /// Nothing more will move.
    Over,
    /// Reading failed.
    SourceBroke(io::Error),
    /// Writing failed.
    DestinationBroke(io::Error),
}

pub(super) struct Direction {
    held: Held,
    moved: u64,
    buffer: u32,
    /// Bytes to ask for next where they are read into the destination's own buffer.
    ask: usize,
    /// All that was asked for came last, and more is expected.
    unpushed: bool,
    flow: Flow,
    /// The source broke behind what was read last.
    broke: Option<io::Error>,
    /// Something was read.
    pub(super) begun: bool,
    /// Something was written and not flushed since.
    unflushed: bool,
}

impl Direction {
    /// At most `buffer` bytes, [`MOST_AT_ONCE`] at most, are held.
    pub(super) fn new(buffer: usize) -> Self {
        let buffer = u32::try_from(buffer.clamp(1, MOST_AT_ONCE)).unwrap_or(u32::MAX);
        let (held, moved, flow) = (Held::default(), 0, Flow::Open);
        let ask = direct::expected(0, 1, buffer as usize);
        Self { held, moved, buffer, ask, unpushed: false, flow, broke: None, begun: false, unflushed: false }
    }

    /// Bytes that the destination has taken.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether the destination was told of the source's end.
    pub(super) fn is_over(&self) -> bool {
        self.flow == Flow::Ended
    }

    /// Moves something from `source` to `destination`, or says what for it waits; the task is woken then. `last`: the
    /// other direction is over.
    pub(super) fn step<S: RelayStream, D: RelayStream>(
        &mut self,
        cx: &mut Context<'_>,
        source: &S,
        destination: &D,
        last: bool,
    ) -> Step {
        if !self.held.rest().is_empty() {
            return match destination.poll_write(cx, self.held.rest()) {
                Poll::Ready(Ok(count)) => {
                    self.held.advance(count);
                    self.wrote(count)
                }
                Poll::Ready(Err(error)) => Step::DestinationBroke(error),
                Poll::Pending => Step::Full,
            };
        }
        match self.flow {
            Flow::Open => match self.straight(cx, source, destination) {
                Some(step) => step,
                None => self.carry(cx, source, destination),
            },
            Flow::EndSeen => {
                self.flow = Flow::Ending;
                Step::EndRead
            }
            Flow::Ending => match if last { destination.poll_end_last(cx) } else { destination.poll_end(cx) }
            {
                Poll::Ready(Ok(())) => {
                    self.flow = Flow::Ended;
                    Step::Over
                }
                Poll::Ready(Err(error)) => Step::DestinationBroke(error),
                Poll::Pending => Step::Full,
            },
            Flow::Ended => Step::Over,
        }
    }

    fn wrote(&mut self, count: usize) -> Step {
        self.moved += count as u64;
        self.unflushed = true;
        Step::Moved
    }

    /// Moves bytes between finack's buffers and the kernel's, where these are what the two ends are.
    fn straight<S: RelayStream, D: RelayStream>(
        &mut self,
        cx: &mut Context<'_>,
        source: &S,
        destination: &D,
    ) -> Option<Step> {
        if let Some(error) = self.broke.take() {
            return Some(Step::SourceBroke(error));
        }
        let moved = match (source.direct(), destination.direct()) {
            (Direct::Finack(from), Direct::Kernel(to)) => {
                direct::out(cx, from, to, || destination.will_write())
            }
            (Direct::Kernel(from), Direct::Finack(to)) => {
                direct::into(cx, from, to, self.ask, &mut self.unpushed)
            }
            _ => return None,
        };
        Some(match moved {
            Move::Bytes(count) => self.moved_directly(destination, count),
            Move::BytesAnd(count, behind) => {
                let moved = self.moved_directly(destination, count);
                match behind {
                    Behind::Nothing => return Some(Step::MovedAll),
                    Behind::End => self.flow = Flow::EndSeen,
                    Behind::Break(error) => self.broke = Some(error),
                }
                moved
            }
            Move::End => {
                self.flow = Flow::Ending;
                Step::EndRead
            }
            Move::Stop(step) => step,
        })
    }

    fn moved_directly<D: RelayStream>(&mut self, destination: &D, count: usize) -> Step {
        self.begun = true;
        self.ask = direct::expected(count, self.ask, self.buffer as usize);
        destination.wrote_directly(count);
        self.wrote(count)
    }

    /// Reads with nothing held, and writes what came; only what was not taken is kept.
    fn carry<S: RelayStream, D: RelayStream>(
        &mut self,
        cx: &mut Context<'_>,
        source: &S,
        destination: &D,
    ) -> Step {
        with_shared(self.buffer as usize, |buf| {
            let count = match source.poll_read(cx, buf) {
                Poll::Ready(Ok(0)) => {
                    self.flow = Flow::Ending;
                    return Step::EndRead;
                }
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Step::SourceBroke(error),
                Poll::Pending => return self.flush(cx, destination),
            };
            self.begun = true;
            let read = &buf[..count];
            match destination.poll_write(cx, read) {
                Poll::Ready(Ok(taken)) => {
                    if taken < count {
                        self.held.keep(&read[taken..]);
                    }
                    self.wrote(taken)
                }
                Poll::Ready(Err(error)) => Step::DestinationBroke(error),
                Poll::Pending => {
                    self.held.keep(read);
                    Step::Full
                }
            }
        })
    }

    /// There is nothing to read for now: nothing is to be held back.
    fn flush<D: RelayStream>(&mut self, cx: &mut Context<'_>, destination: &D) -> Step {
        if self.unflushed {
            match destination.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Step::DestinationBroke(error),
                Poll::Pending => {}
            }
        }
        Step::Idle
    }
}
