//! Whoever asks is answered: from what this network knows itself, else from what the host's name servers say.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{Answer, Forwarder, Outcome, Transport, answer};
use crate::plan::Names;

/// How long a connection may stay idle (RFC 7766 6.2.3 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Questions of one connection that are answered at the same time; the next ones wait in the connection.
const AT_A_TIME: usize = 16;

/// Answers questions and tells of each.
pub struct NameServer {
    names: Names,
    forwarder: Option<Rc<Forwarder>>,
    seen: Box<dyn Fn(&Answer)>,
}

impl fmt::Debug for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameServer").field("forwarder", &self.forwarder).finish_non_exhaustive()
    }
}

impl NameServer {
    /// Names of this network, `names` among them, and with a `forwarder` those outside; `seen` is told of each answer.
    pub fn new(names: Names, forwarder: Option<Rc<Forwarder>>, seen: impl Fn(&Answer) + 'static) -> Rc<Self> {
        Rc::new(Self { names, forwarder, seen: Box::new(seen) })
    }

    /// The answer to a message, at once where this network knows it.
    pub fn answer(self: &Rc<Self>, query: &[u8], transport: Transport) -> Answered {
        let Some(own) = answer(&self.names, query, transport) else { return Answered::Never };
        match &self.forwarder {
            Some(forwarder) if own.outcome == Outcome::Outside => {
                let (names, forwarder, query) = (Rc::clone(self), Rc::clone(forwarder), query.to_vec());
                Answered::Later(Box::pin(async move {
                    let answer = forwarder.answer(&query, transport).await?;
                    (names.seen)(&answer);
                    Some(answer.message)
                }))
            }
            _ => {
                (self.seen)(&own);
                Answered::Now(own.message)
            }
        }
    }

    /// The answer to a datagram, with TC set and no records: whoever asks is to ask again over TCP.
    pub fn cut_short(&self, query: &[u8]) -> Answered {
        match super::cut_short(query) {
            Some(answer) => {
                (self.seen)(&answer);
                Answered::Now(answer.message)
            }
            None => Answered::Never,
        }
    }
}

/// What becomes of a message.
pub enum Answered {
    /// This is sent back.
    Now(Vec<u8>),
    /// The host's name servers have to be asked first. They may have nothing to say.
    Later(Pin<Box<dyn Future<Output = Option<Vec<u8>>>>>),
    /// It is no question, or none that could be read.
    Never,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(_) => "Now",
            Self::Later(_) => "Later",
            Self::Never => "Never",
        })
    }
}

/// DNS over a stream (RFC 1035 4.2.2, RFC 7766): each message after its length in two bytes. Answers the questions that
/// come until the stream's end, each as soon as it can be (RFC 7766 6.2.1.1).
///
/// It runs in a `LocalSet`.
///
/// # Errors
/// What reading or writing answers; the peer's going away between two messages is none.
pub async fn serve_stream<S>(stream: S, names: Rc<NameServer>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + 'static,
{
    let (mut read, write) = tokio::io::split(stream);
    let write = Rc::new(Mutex::new(write));
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut message = Vec::new();
    loop {
        let turn = Arc::clone(&turns).acquire_owned().await.map_err(io::Error::other)?;
        let mut length = [0; 2];
        match read_while(&mut read, &mut length, || turns.available_permits() + 1 < AT_A_TIME).await {
            None => break,
            Some(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            Some(read) => read?,
        }
        message.resize(usize::from(u16::from_be_bytes(length)), 0);
        let Ok(read) = timeout(IDLE, read.read_exact(&mut message)).await else { break };
        read?;
        match names.answer(&message, Transport::Tcp) {
            Answered::Now(answer) => write_framed(&write, &answer).await?,
            Answered::Later(answer) => {
                let write = Rc::clone(&write);
                spawn_local(async move {
                    if let Some(answer) = answer.await {
                        // The asker is gone: reading says so, too.
                        let _ = write_framed(&write, &answer).await;
                    }
                    drop(turn);
                });
            }
            Answered::Never => break,
        }
    }
    // Answers that are still to come are waited for.
    let _all = turns.acquire_many(AT_A_TIME as u32).await;
    write.lock().await.shutdown().await
}

/// Fills `buf`; `None` where nobody sends for long while nobody is `busy`: who waits for an answer is not idle.
async fn read_while<R>(read: &mut R, buf: &mut [u8], busy: impl Fn() -> bool) -> Option<io::Result<()>>
where
    R: AsyncRead + Unpin,
{
    let mut reading = pin!(read.read_exact(buf));
    loop {
        match timeout(IDLE, &mut reading).await {
            Ok(read) => return Some(read.map(drop)),
            Err(_elapsed) if busy() => {}
            Err(_elapsed) => return None,
        }
    }
}

async fn write_framed<W: AsyncWrite + Unpin>(write: &Mutex<W>, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend_from_slice(&u16::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(message);
    let mut write = write.lock().await;
    write.write_all(&framed).await?;
    write.flush().await
}
