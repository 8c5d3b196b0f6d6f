//! Relaying finack's own connections and the kernel's.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use tokio::io::{Interest, ReadBuf};

use super::direct::Direct;
use super::stream::RelayStream;

impl RelayStream for crate::net::TcpStream {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.poll_read_into(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_from(cx, buf)
    }

    fn poll_end(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end_writing())
    }

    async fn broken(&self) -> io::Error {
        loop {
            if let Err(error) = self.ready(Interest::ERROR).await {
                return error;
            }
            match self.take_error() {
                Ok(Some(error)) | Err(error) => return error,
                Ok(None) => {}
            }
        }
    }

    fn unacknowledged(&self) -> usize {
        // Of a connection that is over nothing is left to be acknowledged.
        self.tcp_info().map_or(0, |info| usize::try_from(info.send_queue).unwrap_or(usize::MAX))
    }

    fn direct(&self) -> Direct<'_> {
        Direct::Finack(self)
    }

    fn reset_on_drop(&self) {
        // It fails only where the network has stopped, and all connections with it.
        let _ = self.set_zero_linger();
    }
}

/// SO_ERROR once the descriptor polls as failed.
macro_rules! broken {
    ($stream:expr) => {
        loop {
            if let Err(error) = $stream.ready(Interest::ERROR).await {
                return error;
            }
            match $stream.take_error() {
                Ok(Some(error)) | Err(error) => return error,
                // Something in the error queue, or the error was taken elsewhere: wait for the next one.
                Ok(None) => {
                    let again = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                    let _ = $stream.try_io(Interest::ERROR, again);
                }
            }
        }
    };
}

macro_rules! kernel_io {
    () => {
        /// A read that does not fill `buf` is no sign that nothing is left: it may have stopped in front of urgent
        /// data, and no event would come for that. So the next one is tried.
        fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            loop {
                ready!(self.poll_read_ready(cx))?;
                match self.try_read(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            }
        }

        fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            loop {
                ready!(self.poll_write_ready(cx))?;
                match self.try_write(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            }
        }

        fn poll_end(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(match rustix::net::shutdown(self, rustix::net::Shutdown::Write) {
                // It is over, in whatever way: what is to be known of that is waited for elsewhere.
                Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
                Err(error) => Err(error.into()),
            })
        }

        async fn broken(&self) -> io::Error {
            broken!(self)
        }
    };
}

impl RelayStream for tokio::net::TcpStream {
    kernel_io!();

    fn unacknowledged(&self) -> usize {
        send_queue(self)
    }

    fn direct(&self) -> Direct<'_> {
        Direct::Kernel(self)
    }

    fn reset_on_drop(&self) {
        // It can't fail on a TCP socket.
        let _ = self.set_zero_linger();
    }
}

/// What was written to a Unix socket is in its peer's queue already, and a reset takes nothing away there.
/// Nor can one be asked for: the peer sees `ConnectionReset` where it was not read to the end, else the end of the
/// stream.
impl RelayStream for tokio::net::UnixStream {
    kernel_io!();

    fn unacknowledged(&self) -> usize {
        0
    }

    fn reset_on_drop(&self) {}
}

/// SIOCOUTQ: bytes that the peer has not acknowledged, our FIN among them.
fn send_queue(socket: impl AsFd) -> usize {
    /// `SIOCOUTQ`, which Linux gives the number of `TIOCOUTQ`.
    const SIOCOUTQ: rustix::ioctl::Opcode = libc::TIOCOUTQ as rustix::ioctl::Opcode;
    // SAFETY: SIOCOUTQ writes one `int` for a stream socket and changes nothing (tcp(7)).
    let queued = unsafe {
        let getter = rustix::ioctl::Getter::<SIOCOUTQ, libc::c_int>::new();
        rustix::ioctl::ioctl(socket, getter)
    };
    queued.ok().and_then(|queued| usize::try_from(queued).ok()).unwrap_or(0)
}
