//! The relay against streams that do exactly what a test says, in virtual time.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::direction::MOST_AT_ONCE;
use super::*;

/// What a stream does and what was done to it.
#[derive(Default)]
struct Acts {
    /// Bytes that can be read now.
    readable: usize,
    end: bool,
    /// Bytes that are taken now.
    room: usize,
    failed: Option<ErrorKind>,
    unacknowledged: usize,

    read: usize,
    written: usize,
    flushed: usize,
    told_end: bool,
    reset: bool,
    dropped: bool,

    waker: Option<Waker>,
}

/// A stream whose other end is the test.
#[derive(Clone, Default)]
struct Actor(Arc<Mutex<Acts>>);

impl Actor {
    /// Changes what the stream does, or looks at what was done.
    fn with<R>(&self, act: impl FnOnce(&mut Acts) -> R) -> R {
        let mut acts = self.0.lock().unwrap();
        let result = act(&mut acts);
        if let Some(waker) = acts.waker.take() {
            waker.wake();
        }
        result
    }

    /// Enough turns of the runtime for whatever can happen now.
    async fn settle(&self) {
        for _ in 0..20 {
            yield_now().await;
        }
    }
}

/// The relay's hold on an [`Actor`].
struct Stage(Actor);

impl Stage {
    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Acts) -> Option<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let mut acts = self.0.0.lock().unwrap();
        match act(&mut acts) {
            Some(result) => Poll::Ready(result),
            None => {
                acts.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl RelayStream for Stage {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |acts| {
            let count = acts.readable.min(buf.len());
            match acts.failed.filter(|_| count == 0) {
                Some(error) => Some(Err(error.into())),
                None if count == 0 && !acts.end => None,
                None => {
                    acts.readable -= count;
                    acts.read += count;
                    Some(Ok(count))
                }
            }
        })
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |acts| {
            let count = acts.room.min(buf.len());
            match acts.failed {
                Some(error) => Some(Err(error.into())),
                None if count == 0 => None,
                None => {
                    acts.room -= count;
                    acts.written += count;
                    Some(Ok(count))
                }
            }
        })
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.with(|acts| acts.flushed = acts.written);
        Poll::Ready(Ok(()))
    }

    fn poll_end(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.with(|acts| acts.told_end = true);
        Poll::Ready(Ok(()))
    }

    async fn broken(&self) -> io::Error {
        let failed = |cx: &mut Context<'_>| self.poll(cx, |acts| acts.failed.map(Ok));
        match std::future::poll_fn(failed).await {
            Ok(error) => error.into(),
            Err(error) => error,
        }
    }

    fn unacknowledged(&self) -> usize {
        self.0.with(|acts| acts.unacknowledged)
    }

    fn reset_on_drop(&self) {
        self.0.with(|acts| acts.reset = true);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.with(|acts| acts.dropped = true);
    }
}

fn stages() -> (Actor, Actor, Stage, Stage) {
    let (a, b) = (Actor::default(), Actor::default());
    let (left, right) = (Stage(a.clone()), Stage(b.clone()));
    (a, b, left, right)
}

fn started() -> (Actor, Actor, JoinHandle<Relayed>) {
    let (a, b, left, right) = stages();
    (a, b, tokio::spawn(relay(left, right)))
}

#[tokio::test]
async fn no_more_is_read_than_the_buffer_holds() {
    for buffer in [1, 1000, DEFAULT_BUFFER, MOST_AT_ONCE] {
        let (a, b, left, right) = stages();
        let relay = tokio::spawn(Relay::new(left, right).buffer(buffer).run());
        a.with(|acts| acts.readable = 10 << 20);
        a.settle().await;
        assert_eq!(a.with(|acts| acts.read), buffer, "with nothing taken");
        for room in [1, buffer / 2, buffer, 3 * buffer + 1] {
            b.with(|acts| acts.room = room);
            a.settle().await;
            let (read, written) = (a.with(|acts| acts.read), b.with(|acts| acts.written));
            assert!(read - written <= buffer, "{read} read, {written} written");
            assert_eq!(b.with(|acts| acts.room), 0, "what the destination takes it gets");
        }
        relay.abort();
    }
}

#[tokio::test]
async fn the_buffer_has_bounds() {
    for (asked, got) in [(0, 1), (usize::MAX, MOST_AT_ONCE)] {
        let (a, _b, left, right) = stages();
        let relay = tokio::spawn(Relay::new(left, right).buffer(asked).run());
        a.with(|acts| acts.readable = 10 << 20);
        a.settle().await;
        assert_eq!(a.with(|acts| acts.read), got);
        relay.abort();
    }
}

#[test]
fn an_idle_relay_is_small() {
    let (_a, _b, left, right) = stages();
    let size = size_of_val(&relay(left, right));
    assert!(size <= 512, "{size} bytes for each of maybe 100,000 relays");
}

/// One that has always something to move is no reason for others to wait.
#[test]
fn a_busy_relay_lets_others_have_their_turn() {
    let (a, b, left, right) = stages();
    for actor in [&a, &b] {
        actor.with(|acts| (acts.readable, acts.room) = (usize::MAX, usize::MAX));
    }
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut relay = std::pin::pin!(relay(left, right));
    for turn in 1..=10 {
        assert!(relay.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), turn, "it asks for its next turn");
        for (from, to) in [(&a, &b), (&b, &a)] {
            let read = from.with(|acts| acts.read);
            assert_eq!(to.with(|acts| acts.written), read);
            assert!((turn..=turn << 19).contains(&read), "{read} bytes in {turn} turns");
        }
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An end is passed on only after everything before it.
#[tokio::test]
async fn an_end_waits_for_what_came_before_it() {
    let (a, b, relay) = started();
    a.with(|acts| (acts.readable, acts.end) = (100, true));
    a.settle().await;
    assert!(!b.with(|acts| acts.told_end));
    b.with(|acts| acts.room = 99);
    a.settle().await;
    assert!(!b.with(|acts| acts.told_end));
    b.with(|acts| acts.room = 1);
    a.settle().await;
    assert!(b.with(|acts| acts.told_end));
    b.with(|acts| acts.end = true);
    let relayed = relay.await.unwrap();
    assert_eq!((relayed.a_to_b, relayed.b_to_a), (100, 0));
    assert!(a.with(|acts| acts.told_end && acts.dropped && !acts.reset));
    assert!(b.with(|acts| acts.dropped && !acts.reset));
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_connection_lives_for_days() {
    let (a, b, relay) = started();
    a.with(|acts| (acts.end, acts.room) = (true, 1000));
    for _ in 0..3 {
        sleep(Duration::from_secs(24 * 3600)).await;
        b.with(|acts| acts.readable = 1);
    }
    b.with(|acts| acts.end = true);
    assert_eq!(relay.await.unwrap().b_to_a, 3);
}

#[tokio::test]
async fn what_is_written_is_flushed_before_more_is_waited_for() {
    let (a, b, relay) = started();
    b.with(|acts| acts.room = 1000);
    a.with(|acts| acts.readable = 10);
    a.settle().await;
    assert_eq!(b.with(|acts| acts.flushed), 10);
    relay.abort();
}

/// While the destination is full nobody reads the source.
#[tokio::test(start_paused = true)]
async fn a_break_is_noticed_under_back_pressure() {
    let (a, b, left, right) = stages();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let observed = Relay::new(left, right).observe(move |event| tell.send(format!("{event:?}")).unwrap());
    let relay = tokio::spawn(observed.run());
    a.with(|acts| acts.readable = 200_000);
    a.settle().await;
    a.with(|acts| acts.failed = Some(ErrorKind::ConnectionReset));
    a.settle().await;
    assert_eq!(told.recv().await.unwrap(), "FirstBytes { side: A }");
    assert!(told.recv().await.unwrap().starts_with("Broken { side: A"));
    assert!(!b.with(|acts| acts.dropped), "it has not got everything");
    b.with(|acts| acts.room = 200_000);
    let relayed = relay.await.unwrap();
    assert_eq!(relayed.a_to_b, 200_000);
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::A, delivered: true, .. }));
    assert!(b.with(|acts| acts.reset && !acts.told_end));
    assert_eq!(told.recv().await.unwrap(), "Reset { side: B, delivered: true }");
}

/// The destination of a direction that is full breaks: its own direction is read, so that is where it shows.
#[tokio::test]
async fn the_end_of_the_one_who_takes_nothing_is_noticed() {
    let (a, b, relay) = started();
    a.with(|acts| acts.readable = 100);
    a.settle().await;
    b.with(|acts| acts.failed = Some(ErrorKind::TimedOut));
    let relayed = relay.await.unwrap();
    let Ended::Broken { side: Side::B, error, .. } = relayed.ended else { panic!("{relayed:?}") };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(a.with(|acts| acts.reset && acts.dropped));
}

#[tokio::test]
async fn a_break_is_noticed_after_its_sides_end() {
    let (a, b, relay) = started();
    a.with(|acts| acts.end = true);
    a.settle().await;
    assert!(b.with(|acts| acts.told_end));
    a.with(|acts| acts.failed = Some(ErrorKind::BrokenPipe));
    let relayed = relay.await.unwrap();
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::A, delivered: true, .. }), "{relayed:?}");
    assert!(b.with(|acts| acts.reset && acts.dropped));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_before_a_reset_is_not_waited_for_for_ever() {
    let (a, b, relay) = started();
    a.with(|acts| acts.readable = 100);
    a.settle().await;
    a.with(|acts| acts.failed = Some(ErrorKind::ConnectionReset));
    let begin = Instant::now();
    let relayed = relay.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), DEFAULT_PATIENCE.as_secs());
    assert!(matches!(relayed.ended, Ended::Broken { delivered: false, .. }), "{relayed:?}");
    assert!(b.with(|acts| acts.reset && acts.dropped));
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_little_now_and_then_gets_everything_before_a_reset() {
    let (a, b, left, right) = stages();
    let relay = tokio::spawn(Relay::new(left, right).patience(Duration::from_secs(3)).run());
    a.with(|acts| acts.readable = 10);
    a.settle().await;
    a.with(|acts| acts.failed = Some(ErrorKind::ConnectionReset));
    for _ in 0..10 {
        sleep(Duration::from_secs(2)).await;
        b.with(|acts| acts.room = 1);
    }
    let relayed = relay.await.unwrap();
    assert_eq!(relayed.a_to_b, 10);
    assert!(matches!(relayed.ended, Ended::Broken { delivered: true, .. }), "{relayed:?}");
}

/// RFC 9293 3.10.5: a reset drops the retransmission queue.
#[tokio::test(start_paused = true)]
async fn a_reset_waits_for_the_acknowledgement_of_what_came_before() {
    let (a, b, relay) = started();
    b.with(|acts| (acts.room, acts.unacknowledged) = (100, 100));
    a.with(|acts| (acts.readable, acts.failed) = (100, Some(ErrorKind::ConnectionReset)));
    for left in [60, 20] {
        sleep(Duration::from_secs(8)).await;
        assert!(!b.with(|acts| acts.dropped));
        b.with(|acts| acts.unacknowledged = left);
    }
    sleep(Duration::from_secs(8)).await;
    b.with(|acts| acts.unacknowledged = 0);
    let relayed = timeout(Duration::from_secs(1), relay).await.unwrap().unwrap();
    assert!(matches!(relayed.ended, Ended::Broken { delivered: true, .. }), "{relayed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_never_comes_is_not_waited_for_for_ever() {
    let (a, b, relay) = started();
    b.with(|acts| (acts.room, acts.unacknowledged) = (100, 100));
    a.with(|acts| (acts.readable, acts.failed) = (100, Some(ErrorKind::ConnectionReset)));
    let begin = Instant::now();
    let relayed = relay.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), DEFAULT_PATIENCE.as_secs());
    assert!(matches!(relayed.ended, Ended::Broken { delivered: false, .. }), "{relayed:?}");
}

#[tokio::test(start_paused = true)]
async fn when_both_break_nobody_is_waited_for() {
    let (a, b, relay) = started();
    a.with(|acts| acts.readable = 100);
    a.settle().await;
    a.with(|acts| acts.failed = Some(ErrorKind::ConnectionReset));
    a.settle().await;
    b.with(|acts| acts.failed = Some(ErrorKind::TimedOut));
    let begin = Instant::now();
    let relayed = relay.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 0);
    assert!(matches!(relayed.ended, Ended::Broken { side: Side::A, delivered: false, .. }), "{relayed:?}");
}

/// Reset, so that half a stream is not taken for a whole one.
#[tokio::test]
async fn dropping_the_relay_resets_both_sides() {
    let (a, b, relay) = started();
    a.with(|acts| acts.end = true);
    a.settle().await;
    relay.abort();
    a.settle().await;
    assert!(a.with(|acts| acts.reset && acts.dropped) && b.with(|acts| acts.reset && acts.dropped));
}

#[tokio::test]
async fn a_relay_that_was_never_polled_resets_both_sides() {
    let (a, b, left, right) = stages();
    drop(relay(left, right));
    assert!(a.with(|acts| acts.reset && acts.dropped) && b.with(|acts| acts.reset && acts.dropped));
}
