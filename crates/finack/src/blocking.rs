//! Blocking sockets for programs without a tokio runtime.
//!
//! The network's driver runs on a thread of its own ([`start`]); the calls here run on the caller's
//! thread, as all socket calls do, and park it while they wait. They also work beside a network that an
//! application's own runtime drives, from any thread but that runtime's.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::host::{Net, NetBuilder, build_on_threads};
use crate::net::{self, ToSocketAddrs};

/// Brings a network up on a thread of its own, or one for each [shard](NetBuilder::shards), which end with the network.
///
/// # Errors
/// As [`NetBuilder::build`]; a thread can't be started.
pub fn start(builder: NetBuilder, device: impl Device + 'static) -> io::Result<Net> {
    build_on_threads(builder, vec![Box::new(device)])
}

/// [`start`] on a device with several queues.
///
/// # Errors
/// As [`NetBuilder::build_on`]; a thread can't be started.
pub fn start_on<D: Device + 'static>(builder: NetBuilder, queues: Vec<D>) -> io::Result<Net> {
    build_on_threads(builder, queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Device>).collect())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks the thread until `future` is done, or for `limit` at most: then `WouldBlock`, as SO_RCVTIMEO has it.
fn wait<T>(limit: Option<Duration>, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    // Tokio's budget is renewed by a return to its scheduler, which never happens here: in a task it would run out.
    let mut future = pin!(tokio::task::coop::unconstrained(future));
    // A time beyond what the clock counts is no limit.
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut cx) {
            return result;
        }
        match deadline {
            None => std::thread::park(),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::park_timeout(left),
                _ => return Err(io::ErrorKind::WouldBlock.into()),
            },
        }
    }
}

#[derive(Debug, Default)]
struct Timeouts {
    read: Mutex<Option<Duration>>,
    write: Mutex<Option<Duration>>,
}

fn get(timeout: &Mutex<Option<Duration>>) -> Option<Duration> {
    *timeout.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set(timeout: &Mutex<Option<Duration>>, limit: Option<Duration>) -> io::Result<()> {
    if limit == Some(Duration::ZERO) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a time-out of zero: None means no time-out",
        ));
    }
    *timeout.lock().unwrap_or_else(PoisonError::into_inner) = limit;
    Ok(())
}

macro_rules! timeouts {
    () => {
        /// How long a read waits before it fails with `WouldBlock`; `None` waits for as long as it takes.
        ///
        /// # Errors
        /// Zero (`InvalidInput`).
        pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
            set(&self.timeouts.read, limit)
        }

        /// How long a write waits before it fails with `WouldBlock`; `None` waits for as long as it takes.
        ///
        /// # Errors
        /// Zero (`InvalidInput`).
        pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
            set(&self.timeouts.write, limit)
        }
    };
}

/// A TCP connection, with the methods of `std::net::TcpStream`.
#[derive(Debug)]
pub struct TcpStream {
    inner: net::TcpStream,
    timeouts: Timeouts,
}

impl TcpStream {
    fn new(inner: net::TcpStream) -> Self {
        Self { inner, timeouts: Timeouts::default() }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As [`net::TcpStream::connect`].
    pub fn connect<A: ToSocketAddrs>(net: &Net, addr: A) -> io::Result<Self> {
        wait(None, net::TcpStream::connect_on(net, addr)).map(Self::new)
    }

    /// Opens a connection within `limit`.
    ///
    /// # Errors
    /// As [`net::TcpStream::connect`]; `TimedOut` where the time ran out.
    pub fn connect_timeout(net: &Net, addr: &SocketAddr, limit: Duration) -> io::Result<Self> {
        match wait(Some(limit), net::TcpStream::connect_on(net, addr)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            result => result.map(Self::new),
        }
    }

    timeouts!();

    /// Closes one or both directions.
    ///
    /// # Errors
    /// The connection is over (`NotConnected`).
    pub fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
        if how != std::net::Shutdown::Write {
            self.inner.shutdown_read()?;
        }
        if how != std::net::Shutdown::Read {
            self.inner.shutdown_write()?;
        }
        Ok(())
    }

    /// Closes the connection, waiting for as long as SO_LINGER says.
    ///
    /// # Errors
    /// As [`net::TcpStream::close`].
    pub fn close(self) -> io::Result<()> {
        wait(None, self.inner.close())
    }

    /// Everything that does not wait: options, addresses, `try_read`, `tcp_info`.
    pub const fn get_ref(&self) -> &net::TcpStream {
        &self.inner
    }

    /// The stream for a tokio runtime.
    pub fn into_inner(self) -> net::TcpStream {
        self.inner
    }

    /// Reads without taking.
    ///
    /// # Errors
    /// As [`net::TcpStream::peek`].
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        wait(get(&self.timeouts.read), self.inner.peek(buf))
    }

    fn read_with<T>(&self, mut once: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let limit = get(&self.timeouts.read);
        retry(&mut once, || wait(limit, self.inner.readable()))
    }

    fn write_with<T>(&self, mut once: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let limit = get(&self.timeouts.write);
        retry(&mut once, || wait(limit, self.inner.writable()))
    }
}

/// Makes a call again each time that it may have become possible.
fn retry<T>(
    once: &mut impl FnMut() -> io::Result<T>,
    mut ready: impl FnMut() -> io::Result<()>,
) -> io::Result<T> {
    loop {
        match once() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready()?,
            result => return result,
        }
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|| self.inner.try_read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with(|| self.inner.try_read_vectored(bufs))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(|| self.inner.try_write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(|| self.inner.try_write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listening TCP socket, with the methods of `std::net::TcpListener`.
#[derive(Debug)]
pub struct TcpListener {
    inner: net::TcpListener,
}

impl TcpListener {
    /// Listens.
    ///
    /// # Errors
    /// As [`net::TcpListener::bind`].
    pub fn bind<A: ToSocketAddrs>(net: &Net, addr: A) -> io::Result<Self> {
        Ok(Self { inner: net::TcpListener::bind_now(net, addr)? })
    }

    /// The next connection that is open.
    ///
    /// # Errors
    /// As [`net::TcpListener::accept`].
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = wait(None, self.inner.accept())?;
        Ok((TcpStream::new(stream), peer))
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// As [`net::TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A UDP socket, with the methods of `std::net::UdpSocket`.
#[derive(Debug)]
pub struct UdpSocket {
    inner: net::UdpSocket,
    timeouts: Timeouts,
}

impl UdpSocket {
    /// Binds.
    ///
    /// # Errors
    /// As [`net::UdpSocket::bind`].
    pub fn bind<A: ToSocketAddrs>(net: &Net, addr: A) -> io::Result<Self> {
        let inner = wait(None, net::UdpSocket::bind_on(net, addr))?;
        Ok(Self { inner, timeouts: Timeouts::default() })
    }

    timeouts!();

    /// Sets the other end.
    ///
    /// # Errors
    /// As [`net::UdpSocket::connect`].
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        wait(None, self.inner.connect(addr))
    }

    /// Sends a datagram to the other end.
    ///
    /// # Errors
    /// As [`net::UdpSocket::send`].
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        wait(get(&self.timeouts.write), self.inner.send(buf))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// As [`net::UdpSocket::send_to`].
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        wait(get(&self.timeouts.write), self.inner.send_to(buf, addr))
    }

    /// Receives a datagram from the other end.
    ///
    /// # Errors
    /// As [`net::UdpSocket::recv`].
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        wait(get(&self.timeouts.read), self.inner.recv(buf))
    }

    /// Receives a datagram and its sender.
    ///
    /// # Errors
    /// As [`net::UdpSocket::recv_from`].
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        wait(get(&self.timeouts.read), self.inner.recv_from(buf))
    }

    /// Everything that does not wait: options, addresses, `try_recv`.
    pub const fn get_ref(&self) -> &net::UdpSocket {
        &self.inner
    }
}
