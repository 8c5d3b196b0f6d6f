//! Services that do one thing wrong each, so that anybody can see what a program makes of it.
//!
//! They speak HTTP where they speak at all, so that browsers and curl can be pointed at them, but whatever asks is
//! treated alike: a request is what comes until an empty line, a pause or the end.

use std::io;
use std::time::Duration;

use finack::net::TcpStream;
use finack_core::tcp::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// Most of a request that is read.
const REQUEST: usize = 64 * 1024;
/// How long a request may pause before it is taken for complete.
const PAUSE: Duration = Duration::from_millis(300);
/// Length of a body, and half of it.
const BODY: usize = 2000;
/// How long bytes may take to be acknowledged before a RST follows all the same.
const DELIVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether something has happened that wakes nobody.
const LOOK: Duration = Duration::from_millis(10);
/// Time between two bytes of a slow answer, and two lines of one without end.
const DRIP: Duration = Duration::from_millis(100);
/// How long lines go on after the other end's FIN.
const AFTER_FIN: Duration = Duration::from_secs(3);

/// A way to misbehave once a connection is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Silent,
    Reset,
    Unread,
    Empty,
    Nonsense,
    Slow,
    ResetHalfway,
    Truncated,
    ZeroWindow,
    HalfClosed,
    StillSending,
    NeverClosing,
}

impl Behaviour {
    /// SO_RCVBUF of its connections, where the usual one would hide what it is about.
    pub(crate) const fn receive_buffer(self) -> Option<usize> {
        match self {
            Self::ZeroWindow => Some(4096),
            _ => None,
        }
    }

    /// Carries a connection to its end.
    ///
    /// # Errors
    /// What reading or writing answers: the other end did not wait for it.
    pub(crate) async fn carry(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Self::Unread => {
                stream.readable().await?;
                stream.close().await
            }
            Self::ZeroWindow => until_gone(&stream).await,
            _ => {
                request(&mut stream).await?;
                self.answer(stream).await
            }
        }
    }

    async fn answer(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Self::Reset => stream.abort(),
            Self::ResetHalfway => {
                stream.write_all(&half_an_answer()).await?;
                delivered(&stream).await;
                stream.abort()
            }
            Self::Truncated => {
                stream.write_all(&half_an_answer()).await?;
                close(stream).await
            }
            Self::Nonsense => {
                stream.write_all(b"this is not HTTP\n").await?;
                close(stream).await
            }
            Self::Slow => {
                stream.set_nodelay(true)?;
                let body = "Good things take time: a byte every 100 ms.\n";
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                for byte in answer.as_bytes() {
                    stream.write_all(&[*byte]).await?;
                    sleep(DRIP).await;
                }
                close(stream).await
            }
            Self::HalfClosed => {
                stream.write_all(UNTIL_THE_END).await?;
                stream.write_all(b"This end has sent its FIN, and reads on.\n").await?;
                close(stream).await
            }
            Self::StillSending => still_sending(stream).await,
            Self::NeverClosing => {
                stream.write_all(UNTIL_THE_END).await?;
                stream.write_all(b"This is all, and the connection stays.\n").await?;
                drain(&mut stream).await?;
                until_gone(&stream).await
            }
            // Read to the end, and no word. (The rest was served before a request was read.)
            Self::Silent | Self::Unread | Self::ZeroWindow => drain(&mut stream).await,
            Self::Empty => close(stream).await,
        }
    }
}

/// The head of an answer that ends with the connection (RFC 9112 6.3).
const UNTIL_THE_END: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";

fn half_an_answer() -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n");
    let mut answer = head.into_bytes();
    answer.extend(b"This line is not the last one.\n".iter().cycle().take(BODY / 2));
    answer
}

/// Reads a request, whatever it is: up to an empty line, a pause, the other end's FIN or the bound.
async fn request(stream: &mut TcpStream) -> io::Result<()> {
    let mut got = Vec::new();
    let mut limit = None;
    while got.len() < REQUEST && !got.ends_with(b"\r\n\r\n") {
        let reading = stream.read_buf(&mut got);
        let read = match limit {
            None => reading.await?,
            Some(pause) => match timeout(pause, reading).await {
                Ok(read) => read?,
                Err(_elapsed) => return Ok(()),
            },
        };
        if read == 0 {
            return Ok(());
        }
        limit = Some(PAUSE);
    }
    Ok(())
}

/// Reads and throws away until the other end's FIN.
async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// FIN first; then what still comes is read, so that no RST follows for it (RFC 1122 4.2.2.13).
pub(super) async fn close(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    drain(&mut stream).await
}

/// Waits until all that was written is acknowledged: a RST throws away what is not.
async fn delivered(stream: &TcpStream) {
    let acknowledged = async {
        while stream.tcp_info().is_ok_and(|info| info.send_queue > 0) {
            sleep(LOOK).await;
        }
    };
    // Where it takes too long the RST goes out all the same.
    let _ = timeout(DELIVERY, acknowledged).await;
}

/// Waits until nothing is left of the connection.
async fn until_gone(stream: &TcpStream) -> io::Result<()> {
    while stream.tcp_info()?.state != State::Closed {
        sleep(DRIP).await;
    }
    Ok(())
}

async fn still_sending(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(UNTIL_THE_END).await?;
    let mut sink = [0; 4096];
    let mut ends = None;
    for number in 1u64.. {
        let line = match ends {
            None => format!("line {number}\n"),
            Some(_) => format!("line {number}, after your FIN\n"),
        };
        stream.write_all(line.as_bytes()).await?;
        let next = tokio::time::Instant::now() + DRIP;
        while ends.is_none() {
            match tokio::time::timeout_at(next, stream.read(&mut sink)).await {
                Ok(Ok(0)) => ends = Some(next + AFTER_FIN),
                Ok(read) => drop(read?),
                Err(_elapsed) => break,
            }
        }
        tokio::time::sleep_until(next).await;
        if ends.is_some_and(|end| next >= end) {
            break;
        }
    }
    stream.shutdown().await
}
