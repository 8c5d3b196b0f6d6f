//! Bytes that move between finack's buffers and the kernel's without passing through the relay's.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll};

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
    End,
    Stop(Step),
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
pub(super) fn out(
    cx: &mut Context<'_>,
    source: &crate::net::TcpStream,
    destination: &tokio::net::TcpStream,
) -> Move {
    loop {
        match destination.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Move::Stop(Step::DestinationBroke(error)),
            Poll::Pending => return Move::Stop(Step::Full),
        }
        let blame = Blame::new();
        let taken = source.poll_recv_with(cx, |slices| blame.note(destination.try_write_vectored(slices)));
        return match taken {
            Poll::Ready(Ok(0)) => Move::End,
            Poll::Ready(Ok(count)) => Move::Bytes(count),
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
/// not fit there.
pub(super) fn into(
    cx: &mut Context<'_>,
    source: &tokio::net::TcpStream,
    destination: &crate::net::TcpStream,
    most: usize,
) -> Move {
    loop {
        match source.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Move::Stop(Step::SourceBroke(error)),
            Poll::Pending => {
                // Nothing follows for now. Where this fails the connection is over, which is noticed in its turn.
                let _ = destination.push();
                return Move::Stop(Step::Idle);
            }
        }
        let blame = Blame::new();
        let filled =
            destination.poll_send_with(cx, most, |out| blame.note(source.try_read_buf(out)).map(drop));
        return match filled {
            Poll::Ready(Ok(0)) => Move::End,
            Poll::Ready(Ok(count)) => Move::Bytes(count),
            Poll::Pending => Move::Stop(Step::Full),
            Poll::Ready(Err(error)) => match blame.judge(error) {
                Judged::NotNow => continue,
                Judged::Own(error) => Move::Stop(Step::DestinationBroke(error)),
                Judged::Far(error) => Move::Stop(Step::SourceBroke(error)),
            },
        };
    }
}

/// How many bytes to ask for after `got` of `asked` came: a lot is expected where a lot just came.
pub(super) fn expected(got: usize, asked: usize, most: usize) -> usize {
    if got == asked || got > LITTLE { most } else { most.min(LITTLE) }
}
