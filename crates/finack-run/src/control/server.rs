//! finack's side of the control socket. It only ever answers; nothing that is asked changes anything.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::list::{Sink, Sources};
use super::protocol::{Answer, MAX_REQUEST, PROTOCOL, Request, Run, Show, Socket};

/// Clients that are answered at the same time; more are told to come again.
const CLIENTS: usize = 8;
/// How long a client may take to ask, or to read a slice of its answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a request that makes no sense which are read nevertheless.
const TOO_MUCH: u64 = 1 << 20;
/// Before the next attempt where no descriptor is left for a client.
const PAUSE: Duration = Duration::from_millis(100);

/// What this run is.
pub(super) struct About {
    pub(super) command: Vec<String>,
    pub(super) began: Instant,
}

/// Answers clients until it is dropped.
pub(super) async fn serve(listener: UnixListener, about: About, sources: Sources) {
    let (about, sources) = (Rc::new(about), Rc::new(sources));
    let mut clients = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while clients.try_join_next().is_some() {}
        if !may_ask(&stream) {
            continue;
        }
        if clients.len() >= CLIENTS {
            let busy = Answer::Error(format!("{CLIENTS} others are asking already: try again"));
            let _ = stream.try_write(&line(&busy));
            continue;
        }
        let (about, sources) = (Rc::clone(&about), Rc::clone(&sources));
        clients.spawn_local(async move {
            // A client that goes away, or does not read, is its own affair.
            let _ = answer(Lines { stream }, &about, &sources).await;
        });
    }
}

/// Only the user whose run it is, and root. The directory keeps the others away already.
fn may_ask(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn answer(mut lines: Lines, about: &About, sources: &Sources) -> io::Result<()> {
    let request = match lines.request().await? {
        Ok(request) => request,
        Err(what) => {
            lines.send(&Answer::Error(what)).await?;
            return lines.drain().await;
        }
    };
    lines.send(&Answer::Run(about.run())).await?;
    let result = match request.show {
        Show::Run => Ok(()),
        Show::Sockets(wanted) => sources.list(&wanted, &mut Sink::Send(&mut lines)).await,
        Show::Summary => match sources.summary().await {
            Ok(summary) => lines.send(&Answer::Summary(summary)).await,
            Err(error) => Err(error),
        },
    };
    match result {
        Ok(()) => lines.send(&Answer::Done {}).await,
        Err(error) => lines.send(&Answer::Error(error.to_string())).await,
    }
}

impl About {
    fn run(&self) -> Run {
        Run {
            protocol: PROTOCOL,
            finack: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            command: self.command.clone(),
            elapsed: super::protocol::seconds(self.began.elapsed()),
        }
    }
}

fn line(answer: &Answer) -> Vec<u8> {
    // There is nothing in an answer that has no JSON.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A client's connection.
pub(super) struct Lines {
    stream: UnixStream,
}

impl Lines {
    /// Reads the request; the inner error is what to tell the client.
    async fn request(&mut self) -> io::Result<Result<Request, String>> {
        let mut bytes = Vec::new();
        let reading = async {
            while !bytes.contains(&b'\n') && bytes.len() <= MAX_REQUEST {
                if (&mut self.stream).take(MAX_REQUEST as u64).read_buf(&mut bytes).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        timeout(PATIENCE, reading).await??;
        let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        if first.len() > MAX_REQUEST {
            return Ok(Err(format!("a request has no more than {MAX_REQUEST} bytes")));
        }
        let request: Request = match serde_json::from_slice(first) {
            Ok(request) => request,
            Err(error) => return Ok(Err(format!("the request makes no sense: {error}"))),
        };
        if request.protocol != PROTOCOL {
            let version = env!("CARGO_PKG_VERSION");
            return Ok(Err(format!("this run speaks protocol {PROTOCOL}: use finack {version}")));
        }
        Ok(Ok(request))
    }

    async fn send(&mut self, answer: &Answer) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(&line(answer))).await?
    }

    /// Reads on for a while: closing a socket with something unread would take the answer away from the client.
    async fn drain(&mut self) -> io::Result<()> {
        let mut rest = (&mut self.stream).take(TOO_MUCH);
        timeout(PATIENCE, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await??;
        Ok(())
    }

    /// A slice of a list, after which the run goes on.
    pub(super) async fn sockets(&mut self, slice: Vec<Socket>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for socket in slice {
            bytes.extend(line(&Answer::Socket(Box::new(socket))));
        }
        timeout(PATIENCE, self.stream.write_all(&bytes)).await??;
        tokio::task::yield_now().await;
        Ok(())
    }
}
