//! Carries what two streams say to each other, as faithfully as if nobody stood between them.
//!
//! [`relay`] joins any two [`RelayStream`]s: connections of finack, of the kernel, Unix sockets, anything else
//! of tokio through [`Plain`]. What the one does reaches the other as its own peer's doing:
//!
//! | one side | the other side |
//! |---|---|
//! | sends bytes | gets them, in order |
//! | half-closes (FIN) | sees the end of the stream, once everything before it was written to it; it may write on for as long as it likes |
//! | resets, times out, or answers what is written to it with a RST | gets what came before that, then a RST; also while nobody reads it, and after its own or the other's FIN |
//! | does not read | is waited for: at most [`buffer`](Relay::buffer) bytes are taken for it, and the writer's window closes |
//!
//! Once both have half-closed, both connections end in an orderly way, with a FIN and no RST. An idle relay holds
//! no buffer: what is read is written at once from a buffer that the thread's relays share, and only what
//! was not taken is kept. Between a connection of finack's and one of the kernel's nothing is held at all: bytes
//! go from the one's buffers straight into the other's.
//!
//! Dropping the future of a relay that runs resets both sides: an end of the stream would tell their readers that
//! they have got everything.
//!
//! What a relay does not carry: urgent data as such (RFC 9293 3.8.5; bytes sent so are left out or follow in line,
//! as the reading socket has it), and the borders between segments.
//!
//! ```
//! use finack::relay::{Ended, Plain, Side, relay};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let (mut client, left) = tokio::io::duplex(1000);
//! let (right, mut server) = tokio::io::duplex(1000);
//! let carrying = tokio::spawn(relay(Plain::new(left), Plain::new(right)));
//!
//! client.write_all(b"question").await?;
//! client.shutdown().await?;
//! let mut text = String::new();
//! server.read_to_string(&mut text).await?;
//! assert_eq!(text, "question");
//! // The client has said its last word; it still hears the answer.
//! server.write_all(b"and answer").await?;
//! drop(server);
//! text.clear();
//! client.read_to_string(&mut text).await?;
//! assert_eq!(text, "and answer");
//!
//! let relayed = carrying.await?;
//! assert_eq!((relayed.a_to_b, relayed.b_to_a), (8, 10));
//! assert!(matches!(relayed.ended, Ended::Closed { first: Side::A }));
//! # Ok(())
//! # }
//! ```

mod direct;
mod direction;
mod kernel;
mod plain;
mod run;
mod stream;

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use run::{Both, Guarded};

pub use direct::Direct;
pub use plain::Plain;
pub use stream::RelayStream;

/// Bytes that a direction holds at most, unless [`Relay::buffer`] says otherwise.
pub const DEFAULT_BUFFER: usize = 64 * 1024;

/// How long a side may take nothing of what came before the other side's RST, unless
/// [`Relay::patience`] says otherwise.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);

/// One of the two streams of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first argument.
    A,
    /// The second argument.
    B,
}

impl Side {
    /// The one across.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// What a relay carried, and how it came to its end.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes that came from A and were written to B.
    pub a_to_b: u64,
    /// Bytes that came from B and were written to A.
    pub b_to_a: u64,
    /// How it ended.
    pub ended: Ended,
}

/// How a relay ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// Both sides said that they have nothing more to send, and both were told so of the other.
    Closed {
        /// The side that said it first.
        first: Side,
    },
    /// One side broke, and the other was reset.
    Broken {
        /// The side that broke.
        side: Side,
        /// How: `ConnectionReset` or `BrokenPipe` for a RST, `TimedOut` for a silence, ...
        error: io::Error,
        /// Whether everything that came from the broken side was acknowledged by the other side's peer before that was
        /// reset. Otherwise it had broken too, or took nothing for as long as the relay's
        /// [`patience`](Relay::patience).
        delivered: bool,
    },
}

/// What happens while a relay runs, told to its [observer](Relay::observe).
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The first bytes from `side` were read.
    FirstBytes {
        /// Where they came from.
        side: Side,
    },
    /// `side` sent its FIN: it was read to the end. The other side is told once it has taken everything before.
    Ended {
        /// Who has said its last word.
        side: Side,
    },
    /// `side` was reset, timed out, or fails in some other way. The other side is reset once it has taken
    /// everything that came before.
    Broken {
        /// Who broke.
        side: Side,
        /// How.
        error: &'a io::Error,
    },
    /// `side` is reset now, since the other side broke.
    Reset {
        /// Who is reset.
        side: Side,
        /// As in [`Ended::Broken`].
        delivered: bool,
    },
}

/// A relay with options, to be [`run`](Self::run).
#[must_use = "a relay does nothing until it is run"]
pub struct Relay<A, B, F = fn(Event<'_>)> {
    a: A,
    b: B,
    buffer: usize,
    patience: Duration,
    observe: F,
}

impl<A, B, F> fmt::Debug for Relay<A, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("buffer", &self.buffer)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl<A: RelayStream, B: RelayStream> Relay<A, B> {
    /// A relay between two streams that nobody else reads or writes from now on.
    pub fn new(a: A, b: B) -> Self {
        Self { a, b, buffer: DEFAULT_BUFFER, patience: DEFAULT_PATIENCE, observe: |_| {} }
    }
}

impl<A: RelayStream, B: RelayStream, F: FnMut(Event<'_>)> Relay<A, B, F> {
    /// The most bytes that each direction takes from its source before the destination has taken them: 1 to
    /// 256 KiB (others are taken for the nearest of these), [`DEFAULT_BUFFER`] unless set. They are
    /// held only while the destination takes none.
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes.clamp(1, direction::MOST_AT_ONCE);
        self
    }

    /// How long the other side of a broken connection may take nothing of what came before the break,
    /// before it is reset nevertheless; [`DEFAULT_PATIENCE`] unless set. Each byte taken starts it anew.
    pub const fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Has `observe` called for each [`Event`], on the task that runs the relay, as it happens. No lock of
    /// the library's is held then.
    pub fn observe<G: FnMut(Event<'_>)>(self, observe: G) -> Relay<A, B, G> {
        Relay { a: self.a, b: self.b, buffer: self.buffer, patience: self.patience, observe }
    }

    /// Carries everything both ways until both directions have ended or one side breaks.
    ///
    /// It must be polled on a tokio runtime with a timer. A relay that always has something to move lets the
    /// other tasks of its thread have their turn now and then. Dropping the future resets both sides.
    pub fn run(self) -> impl Future<Output = Relayed> {
        let Self { a, b, buffer, patience, observe } = self;
        run::run(Guarded::new(a), Guarded::new(b), Both::new(buffer, observe), patience)
    }
}

/// Carries everything both ways between two streams; see the [module](self) for how faithfully.
///
/// Dropping the future resets both sides. [`Relay`] has options.
pub fn relay<A: RelayStream, B: RelayStream>(a: A, b: B) -> impl Future<Output = Relayed> {
    Relay::new(a, b).run()
}

#[cfg(test)]
mod tests;
