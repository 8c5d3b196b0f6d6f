//! ipstack's servers, on a tokio runtime of one thread.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ipstack::{
    IpStack, IpStackConfig, IpStackStream, IpStackTcpStream, IpStackUdpStream, TcpConfig, TcpOptions,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::client::{SINK, SOURCE};
use super::interface::MTU;
use crate::udp::{self, Counted, EACH};

struct Tun(AsyncFd<OwnedFd>);

impl AsyncRead for Tun {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let read = guard.try_io(|fd| Ok(rustix::io::read(fd, buf.initialize_unfilled())?));
            match read {
                Ok(n) => {
                    buf.advance(n?);
                    return Poll::Ready(Ok(()));
                }
                Err(_) => continue,
            }
        }
    }
}

impl AsyncWrite for Tun {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd, buf)?)) {
                Ok(result) => return Poll::Ready(result),
                Err(_) => continue,
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and is the `AsyncFd`'s from here on.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Serves for as long as the process lives.
pub fn serve(fd: OwnedFd) -> io::Result<()> {
    // Its connections block in place when they are dropped, which a runtime of the current thread does not let them.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut tcp = TcpConfig::default();
        // It has no window scaling: as much as fits the field; and what its own example has.
        tcp.read_buffer_size = 65_535;
        tcp.max_unacked_bytes = 256 * 1024;
        tcp.options = Some(vec![TcpOptions::MaximumSegmentSize(MTU as u16 - 40)]);
        let mut config = IpStackConfig::default();
        config.mtu(MTU as u16).map_err(io::Error::other)?;
        config.with_tcp_config(tcp);
        let mut stack = IpStack::new(config, Tun(watch(fd)?));
        while let Ok(stream) = stack.accept().await {
            match stream {
                IpStackStream::Tcp(stream) => drop(tokio::spawn(serve_one(stream))),
                IpStackStream::Udp(stream) => drop(tokio::spawn(serve_datagrams(stream))),
                _ => {}
            }
        }
        Ok(())
    })
}

async fn serve_one(mut stream: IpStackTcpStream) -> io::Result<()> {
    let mut chunk = vec![0; 128 * 1024];
    // Its own view of who is who: the local end is the client.
    match stream.peer_addr().port() {
        SOURCE => loop {
            stream.write_all(&chunk).await?;
        },
        port => loop {
            match stream.read(&mut chunk).await? {
                0 => return stream.shutdown().await,
                n if port != SINK => stream.write_all(&chunk[..n]).await?,
                _ => {}
            }
        },
    }
}

async fn serve_datagrams(mut stream: IpStackUdpStream) -> io::Result<()> {
    let mut data = vec![0; 2 * EACH];
    let mut counted = Counted::default();
    loop {
        let bytes = match stream.read(&mut data).await? {
            0 => return Ok(()),
            bytes => bytes,
        };
        if stream.peer_addr().port() == udp::SINK {
            for _ in 0..counted.took(bytes) {
                stream.write_all(&[0; 8]).await?;
            }
            continue;
        }
        counted.told(&data[..bytes]);
        while counted.may_send(1) > 0 {
            stream.write_all(&data[..EACH]).await?;
            counted.has_sent(1);
        }
    }
}
