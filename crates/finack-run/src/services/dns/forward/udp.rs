//! Questions put by UDP.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::super::resolv_conf::ResolvConf;
use super::{Asked, Failure, Heard, Round};

/// An error is no reason for a socket to be readable.
const SIGNS_OF_LIFE: Interest = Interest::READABLE.add(Interest::ERROR);
/// Datagrams that answer something else, before other tasks have their turn.
const MAX_OTHERS: usize = 16;

/// Asks the servers in turn until one answers. `again` makes the question go out once more to the server that is
/// waited for.
pub(super) async fn ask(
    conf: &ResolvConf,
    asked: &Asked<'_>,
    round: &mut Round,
    again: &Notify,
    scratch: &RefCell<Vec<u8>>,
) -> Option<Heard> {
    let mut sockets = Sockets { open: Vec::new(), scratch };
    for _ in 0..conf.attempts {
        for (index, &server) in conf.servers.iter().enumerate() {
            if let Err(error) = sockets.send(server, &asked.message).await {
                sockets.close(server);
                round.failed(server, Failure::Error(error));
                continue;
            }
            let patience = conf.patience(index);
            let deadline = Instant::now() + patience;
            loop {
                let heard = tokio::select! {
                    heard = timeout_at(deadline, sockets.recv(asked)) => heard,
                    () = again.notified() => {
                        // Lost or refused: then that is what is received next.
                        let _ = sockets.send(server, &asked.message).await;
                        continue;
                    }
                };
                let from = match heard {
                    Ok((by, Ok(message))) => {
                        if let Some(heard) = round.heard(Heard { message, by }) {
                            return Some(heard);
                        }
                        by
                    }
                    Ok((by, Err(error))) => {
                        sockets.close(by);
                        round.failed(by, Failure::Error(error));
                        by
                    }
                    Err(_elapsed) => {
                        round.failed(server, Failure::Silent(patience));
                        server
                    }
                };
                if from == server {
                    break;
                }
            }
        }
        if round.unhelpful.is_some() {
            break;
        }
    }
    None
}

/// A socket for each server asked so far, open until the question is answered: a late answer is one, too.
struct Sockets<'a> {
    open: Vec<(SocketAddr, UdpSocket)>,
    scratch: &'a RefCell<Vec<u8>>,
}

impl Sockets<'_> {
    async fn send(&mut self, server: SocketAddr, message: &[u8]) -> io::Result<()> {
        let known = self.open.iter().position(|(s, _)| *s == server);
        let index = match known {
            Some(index) => index,
            None => {
                let any = match server {
                    SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                };
                // Port 0: the kernel takes one at random (RFC 5452 9.2).
                let socket = UdpSocket::bind((any, 0)).await?;
                socket.connect(server).await?;
                self.open.push((server, socket));
                self.open.len() - 1
            }
        };
        self.open[index].1.send(message).await.map(drop)
    }

    fn close(&mut self, server: SocketAddr) {
        self.open.retain(|(s, _)| *s != server);
    }

    /// The next answer or error from any of them.
    async fn recv(&self, asked: &Asked<'_>) -> (SocketAddr, io::Result<Vec<u8>>) {
        loop {
            for (server, socket) in &self.open {
                if let Some(received) = self.try_recv(socket, asked) {
                    return (*server, received);
                }
            }
            let mut ready: Vec<_> =
                self.open.iter().map(|(_, socket)| Box::pin(socket.ready(SIGNS_OF_LIFE))).collect();
            poll_fn(|cx| {
                let any = ready.iter_mut().any(|socket| socket.as_mut().poll(cx).is_ready());
                if any { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    /// The answer that a socket holds, or its error (an ICMP message that came back).
    fn try_recv(&self, socket: &UdpSocket, asked: &Asked<'_>) -> Option<io::Result<Vec<u8>>> {
        let mut scratch = self.scratch.borrow_mut();
        // One by one: tokio knows nothing of a socket that is ready for either of two.
        for sign in [Interest::READABLE, Interest::ERROR] {
            for _ in 0..MAX_OTHERS {
                let received = socket.try_io(sign, || {
                    Ok(rustix::net::recv(socket, scratch.as_mut_slice(), RecvFlags::DONTWAIT)?.0)
                });
                match received {
                    Ok(len) if asked.is_answered_by(&scratch[..len]) => {
                        return Some(Ok(scratch[..len].to_vec()));
                    }
                    // Anything else is passed over: the right answer may still come (RFC 5452 9.1).
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Some(Err(error)),
                }
            }
        }
        None
    }
}
