//! Bytes that move between finack's buffers and the kernel's without passing through the relay's.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll};

use bytes::BufMut;

use super::direction::Step;

/// A stream as a connection between which and another of the other kind nothing needs to be copied in between.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Direct<'a> {
    /// All bytes go through `poll_read` and `poll_write`.
    No,
    /// finack's: lends what it has received, and lets its send buffer be filled.
    Finack(&'a crate::net::TcpStream),
    /// The kernel's: takes and fills what is lent with one non-blocking system call.
    Kernel(&'a tokio::net::TcpStream),
}

/// Bytes that a small block of the send buffer takes; a large one is asked for once that was full.
const LITTLE: usize = 2048;

/// What one move came to.
pub(super) enum Move {
    Bytes(usize),
    /// These, and this was seen behind them.
    BytesAnd(usize, Behind),
    End,
    Stop(Step),
}

/// What was seen of a source behind the bytes that were read last.
pub(super) enum Behind {
    /// Nothing for now; the task is woken by what comes next.
    Nothing,
    End,
    Break(io::Error),
}

/// Whose error it is that came out of a call that had both ends at work.
struct Blame(Cell<Option<io::Error>>);

impl Blame {
    const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Notes an error of the far end, so that it is not taken for the connection's own.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            self.0.set(Some(error));
            kind.into()
        })
    }

    /// Of the far end: `None` where it has nothing or no room for now; else the connection's own.
    fn judge(self, own: io::Error) -> Judged {
        match self.0.into_inner() {
            None => Judged::Own(own),
            Some(error) if error.kind() == io::ErrorKind::WouldBlock => Judged::NotNow,
            Some(error) => Judged::Far(error),
        }
    }
}

enum Judged {
    Own(io::Error),
    Far(io::Error),
    NotNow,
}

/// What finack has received goes straight into the kernel's send buffer; nothing is taken that does not fit there.
/// `before` is called before each write.
pub(super) fn out(
    cx: &mut Context<'_>,
    source: &crate::net::TcpStream,
    destination: &tokio::net::TcpStream,
    before: impl Fn(),
) -> Move {
    loop {
        match destination.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Move::Stop(Step::DestinationBroke(error)),
            Poll::Pending => return Move::Stop(Step::Full),
        }
        let blame = Blame::new();
        let taken = source.poll_recv_all_with(cx, |slices| {
            before();
            blame.note(destination.try_write_vectored(slices))
        });
        return match taken {
            Poll::Ready(Ok((0, _))) => Move::End,
            Poll::Ready(Ok((count, true))) => Move::BytesAnd(count, Behind::Nothing),
            Poll::Ready(Ok((count, false))) => Move::Bytes(count),
            Poll::Pending => Move::Stop(Step::Idle),
            Poll::Ready(Err(error)) => match blame.judge(error) {
                Judged::NotNow => continue,
                Judged::Own(error) => Move::Stop(Step::SourceBroke(error)),
                Judged::Far(error) => Move::Stop(Step::DestinationBroke(error)),
            },
        };
    }
}

/// What the kernel has received goes straight into finack's send buffer, up to `most` bytes; nothing is read that does
/// not fit there. `unpushed`: what went before filled all that it was let, so that finack waits for more.
pub(super) fn into(
    cx: &mut Context<'_>,
    source: &tokio::net::TcpStream,
    destination: &crate::net::TcpStream,
    most: usize,
    unpushed: &mut bool,
) -> Move {
    loop {
        match source.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Move::Stop(Step::SourceBroke(error)),
            Poll::Pending => {
                // Nothing follows for now. Where this fails the connection is over, which is noticed in its turn.
                if std::mem::take(unpushed) {
                    let _ = destination.push();
                }
                return Move::Stop(Step::Idle);
            }
        }
        let blame = Blame::new();
        let mut behind = None;
        let filled = destination.poll_send_before_end(cx, most, |out| {
            if blame.note(source.try_read_buf(out))? > 0 {
                behind = read_on(source, out);
            }
            Ok(matches!(behind, Some(Behind::End)))
        });
        return match filled {
            Poll::Ready(Ok(0)) => Move::End,
            Poll::Ready(Ok(count)) => {
                *unpushed = count == most;
                match behind {
                    Some(behind) => Move::BytesAnd(count, behind),
                    None => Move::Bytes(count),
                }
            }
            Poll::Pending => Move::Stop(Step::Full),
            Poll::Ready(Err(error)) => match blame.judge(error) {
                Judged::NotNow => continue,
                Judged::Own(error) => Move::Stop(Step::DestinationBroke(error)),
                Judged::Far(error) => Move::Stop(Step::SourceBroke(error)),
            },
        };
    }
}

/// Reads what else is there, and what is behind it: an answer and the end after it go in one segment then. A read that
/// left room may have stopped in front of urgent data, for which no event would come: so another has to be tried anyway.
fn read_on(source: &tokio::net::TcpStream, out: &mut impl BufMut) -> Option<Behind> {
    while out.has_remaining_mut() {
        match source.try_read_buf(out) {
            Ok(0) => return Some(Behind::End),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Behind::Break(error)),
        }
    }
    None
}

/// How many bytes to ask for after `got` of `asked` came: a lot is expected where a lot just came.
pub(super) fn expected(got: usize, asked: usize, most: usize) -> usize {
    if got == asked || got > LITTLE { most } else { most.min(LITTLE) }
}
