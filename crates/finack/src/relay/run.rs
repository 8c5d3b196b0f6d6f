//! Both directions of a relay until its end.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::direct::Direct;
use super::direction::{Direction, Step};
use super::stream::RelayStream;
use super::{Ended, Event, Relayed, Side};

/// Steps that one direction makes before other tasks have their turn.
const STEPS: usize = 8;
/// The same where bytes go straight from one connection's buffers to the other's: 2 MiB where each step moves all it can,
/// which takes less than a millisecond. Who fills and empties the two connections goes on in the meantime, and need not
/// be woken for each piece, which with many streams and short turns takes more than a quarter of a relay's time.
const DIRECT_STEPS: usize = 32;

/// How often it is looked whether a peer has acknowledged: there is no event for that.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const SELDOM: Duration = Duration::from_millis(50);

/// A stream that is reset when it is dropped, unless it was let off.
pub(super) struct Guarded<S: RelayStream> {
    stream: S,
    reset: bool,
}

impl<S: RelayStream> Guarded<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, reset: true }
    }
}

impl<S: RelayStream> Drop for Guarded<S> {
    fn drop(&mut self) {
        if self.reset {
            self.stream.reset_on_drop();
        }
    }
}

/// Both directions, and who was told what of them.
pub(super) struct Both<F> {
    a_to_b: Direction,
    b_to_a: Direction,
    first_end: Option<Side>,
    observe: F,
}

/// Why the directions no longer go on together.
enum Stop {
    Closed,
    Broken(Side, io::Error),
}

/// How one turn of a direction ended.
enum Turn {
    /// There is more to do.
    Again,
    /// It waits, and reads: a break of its source wakes it.
    Reading,
    /// It waits, or is over, and does not read.
    NotReading,
}

impl<F: FnMut(Event<'_>)> Both<F> {
    pub(super) fn new(buffer: usize, observe: F) -> Self {
        let (a_to_b, b_to_a) = (Direction::new(buffer), Direction::new(buffer));
        Self { a_to_b, b_to_a, first_end: None, observe }
    }

    /// A few steps of the direction from `side`.
    fn turn<S: RelayStream, D: RelayStream>(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        source: &S,
        destination: &D,
    ) -> Result<Turn, Stop> {
        let steps = match (source.direct(), destination.direct()) {
            (Direct::No, _) | (_, Direct::No) => STEPS,
            _ => DIRECT_STEPS,
        };
        for _ in 0..steps {
            let (direction, other) = match side {
                Side::A => (&mut self.a_to_b, &self.b_to_a),
                Side::B => (&mut self.b_to_a, &self.a_to_b),
            };
            let begun = direction.begun;
            let step = direction.step(cx, source, destination, other.is_over());
            if direction.begun && !begun {
                (self.observe)(Event::FirstBytes { side });
            }
            match step {
                Step::Moved => {}
                Step::EndRead => {
                    self.first_end.get_or_insert(side);
                    (self.observe)(Event::Ended { side });
                }
                Step::MovedAll | Step::Idle => return Ok(Turn::Reading),
                Step::Full | Step::Over => return Ok(Turn::NotReading),
                Step::SourceBroke(error) => return Err(Stop::Broken(side, error)),
                Step::DestinationBroke(error) => return Err(Stop::Broken(side.other(), error)),
            }
        }
        Ok(Turn::Again)
    }

    /// Moves what can be moved both ways. `a_broken` and `b_broken` are looked at only while their side is not
    /// read: reading would tell as well.
    fn poll<A: RelayStream, B: RelayStream>(
        &mut self,
        cx: &mut Context<'_>,
        (a, a_broken): (&A, Pin<&mut impl Future<Output = io::Error>>),
        (b, b_broken): (&B, Pin<&mut impl Future<Output = io::Error>>),
    ) -> Poll<Stop> {
        let from_a = match self.turn(cx, Side::A, a, b) {
            Ok(turn) => turn,
            Err(stop) => return Poll::Ready(stop),
        };
        let from_b = match self.turn(cx, Side::B, b, a) {
            Ok(turn) => turn,
            Err(stop) => return Poll::Ready(stop),
        };
        if self.a_to_b.is_over() && self.b_to_a.is_over() {
            return Poll::Ready(Stop::Closed);
        }
        if matches!(from_a, Turn::NotReading)
            && let Poll::Ready(error) = a_broken.poll(cx)
        {
            return Poll::Ready(Stop::Broken(Side::A, error));
        }
        if matches!(from_b, Turn::NotReading)
            && let Poll::Ready(error) = b_broken.poll(cx)
        {
            return Poll::Ready(Stop::Broken(Side::B, error));
        }
        if matches!(from_a, Turn::Again) || matches!(from_b, Turn::Again) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

pub(super) async fn run<A, B, F>(
    mut a: Guarded<A>,
    mut b: Guarded<B>,
    mut both: Both<F>,
    patience: Duration,
) -> Relayed
where
    A: RelayStream,
    B: RelayStream,
    F: FnMut(Event<'_>),
{
    let stop = {
        let (mut a_broken, mut b_broken) = (pin!(a.stream.broken()), pin!(b.stream.broken()));
        poll_fn(|cx| both.poll(cx, (&a.stream, a_broken.as_mut()), (&b.stream, b_broken.as_mut()))).await
    };
    let ended = match stop {
        Stop::Closed => {
            (a.reset, b.reset) = (false, false);
            Ended::Closed { first: both.first_end.unwrap_or(Side::A) }
        }
        Stop::Broken(side, error) => {
            (both.observe)(Event::Broken { side, error: &error });
            let delivered = match side {
                // In a box: it is needed once, and would take its room in every relay for all its life.
                Side::A => Box::pin(hand_on(&mut both.a_to_b, &a.stream, &b.stream, patience)).await,
                Side::B => Box::pin(hand_on(&mut both.b_to_a, &b.stream, &a.stream, patience)).await,
            };
            (both.observe)(Event::Reset { side: side.other(), delivered });
            Ended::Broken { side, error, delivered }
        }
    };
    Relayed { a_to_b: both.a_to_b.moved(), b_to_a: both.b_to_a.moved(), ended }
}

/// Hands on what came from a source that broke; whether the destination's peer has got it all.
///
/// A reset throws away what the peer has not acknowledged yet (RFC 9293 3.10.5), which a direct connection
/// would have delivered long ago: so that is waited for.
async fn hand_on<S: RelayStream, D: RelayStream>(
    direction: &mut Direction,
    source: &S,
    destination: &D,
    patience: Duration,
) -> bool {
    let delivered = async {
        loop {
            match timeout(patience, poll_fn(|cx| last_step(direction, cx, source, destination))).await {
                Ok(Some(Last::All)) => return acknowledged(destination, patience).await,
                Ok(Some(Last::Some)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    };
    tokio::select! {
        biased;
        delivered = delivered => delivered,
        _ = destination.broken() => false,
    }
}

/// How far a [`last_step`] has come.
enum Last {
    Some,
    All,
}

/// A step of a direction whose source broke; `None` where its destination broke too.
fn last_step<S: RelayStream, D: RelayStream>(
    direction: &mut Direction,
    cx: &mut Context<'_>,
    source: &S,
    destination: &D,
) -> Poll<Option<Last>> {
    match direction.step(cx, source, destination, false) {
        Step::Moved | Step::MovedAll => Poll::Ready(Some(Last::Some)),
        // An end that is read only now is the break: it is not passed on as an end.
        Step::EndRead | Step::Over | Step::SourceBroke(_) => Poll::Ready(Some(Last::All)),
        Step::Idle | Step::Full => Poll::Pending,
        Step::DestinationBroke(_) => Poll::Ready(None),
    }
}

/// Waits until the peer has acknowledged everything, for as long as it acknowledges anything within `patience`.
async fn acknowledged<D: RelayStream>(destination: &D, patience: Duration) -> bool {
    let (mut left, mut pause, mut waited) = (destination.unacknowledged(), FIRST_LOOK, Duration::ZERO);
    while left > 0 {
        if waited >= patience {
            return false;
        }
        sleep(pause).await;
        waited += pause;
        pause = (pause * 2).min(SELDOM);
        let now = destination.unacknowledged();
        if now < left {
            waited = Duration::ZERO;
        }
        left = now;
    }
    true
}
