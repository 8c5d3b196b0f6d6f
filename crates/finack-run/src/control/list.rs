//! The lists that the control socket gives: what the program's kernel says of its sockets beside what finack's stack
//! says of its own, joined by their four-tuples. All of it comes in slices.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use finack::Net;
use finack_core::stack::{SocketCursor, TcpSocket, UdpSocketInfo};
use finack_core::tcp::State;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Info;
use super::protocol::{End, Protocol, Socket, Sockets, Summary, seconds};
use super::server::{Lines, PATIENCE};
use crate::namespace::{KernelSocket, ProgramSockets, Transport};
use crate::plan::Names;
use crate::report::Collector;

/// Places of a table that are looked at with the stack's lock held.
const PLACES: usize = 128;
/// Linux's TIME-WAIT.
const TIME_WAIT: Duration = Duration::from_secs(60);

/// What there is to be listed.
pub(super) struct Sources {
    net: Net,
    collector: Rc<RefCell<Collector>>,
    kernel: Option<Mutex<ProgramSockets>>,
    names: Names,
}

/// Takes a slice of a list on.
pub(super) enum Sink<'a> {
    /// Sends each socket.
    Send(&'a mut Lines),
    /// Only counts them.
    Count(End, &'a mut Summary),
}

impl Sink<'_> {
    async fn take(&mut self, slice: Vec<Socket>) -> io::Result<()> {
        match self {
            Self::Send(lines) => lines.sockets(slice).await,
            Self::Count(end, summary) => {
                slice.iter().for_each(|socket| summary.count(*end, socket));
                // The run goes on between two slices.
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }
}

impl Sources {
    pub(super) fn new(
        net: Net,
        collector: Rc<RefCell<Collector>>,
        kernel: Option<ProgramSockets>,
        names: Names,
    ) -> Self {
        Self { net, collector, kernel: kernel.map(Mutex::new), names }
    }

    pub(super) async fn list(&self, wanted: &Sockets, sink: &mut Sink<'_>) -> io::Result<()> {
        match wanted.end {
            End::Finack => {
                if wanted.tcp {
                    self.finack_tcp(sink, |socket| Some(self.finack_end(socket, wanted.details))).await?;
                }
                if wanted.udp {
                    self.finack_udp(sink).await?;
                }
            }
            End::Program => {
                if wanted.tcp && !self.kernel(Transport::Tcp, wanted.details, sink).await? {
                    self.finack_tcp(sink, |socket| self.inferred(socket, wanted.details)).await?;
                }
                if wanted.udp {
                    self.kernel(Transport::Udp, wanted.details, sink).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn summary(&self) -> io::Result<Summary> {
        let mut summary = Summary::default();
        for end in [End::Program, End::Finack] {
            let wanted = Sockets { tcp: true, udp: true, end, details: false };
            self.list(&wanted, &mut Sink::Count(end, &mut summary)).await?;
        }
        Ok(summary)
    }

    /// The program's sockets by its kernel; false where that does not tell.
    async fn kernel(&self, transport: Transport, details: bool, sink: &mut Sink<'_>) -> io::Result<bool> {
        let Some(kernel) = &self.kernel else { return Ok(false) };
        // Its answers come in one stream: a client that reads slowly keeps the others waiting, and not for ever.
        let busy = |_| io::Error::other("another client is being answered: try again");
        let mut kernel = timeout(PATIENCE, kernel.lock()).await.map_err(busy)?;
        for v6 in [false, true] {
            if kernel.list(transport, v6, details).is_err() {
                return Ok(v6);
            }
            loop {
                let mut slice = Vec::new();
                match kernel.next(|s| slice.push(self.program_end(transport, s, details))) {
                    // Its first answer is a refusal: built without this family or protocol.
                    Err(_) if slice.is_empty() => return Ok(v6),
                    Err(error) => return Err(error),
                    Ok(more) => {
                        sink.take(slice).await?;
                        if !more {
                            break;
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    async fn finack_tcp(
        &self,
        sink: &mut Sink<'_>,
        mut as_row: impl FnMut(TcpSocket) -> Option<Socket>,
    ) -> io::Result<()> {
        let mut cursor = SocketCursor::default();
        while let Some(slice) = self.net.tcp_sockets(&mut cursor, PLACES) {
            sink.take(slice.into_iter().filter_map(&mut as_row).collect()).await?;
        }
        Ok(())
    }

    async fn finack_udp(&self, sink: &mut Sink<'_>) -> io::Result<()> {
        let mut cursor = SocketCursor::default();
        while let Some(slice) = self.net.udp_sockets(&mut cursor, PLACES) {
            sink.take(slice.into_iter().map(|socket| self.udp(socket)).collect()).await?;
        }
        Ok(())
    }

    fn name_of(&self, end: SocketAddr) -> Option<String> {
        self.names.name_of(end.ip()).map(str::to_owned)
    }

    /// A socket of the program's, with finack's end of the same connection.
    fn program_end(&self, transport: Transport, s: KernelSocket, details: bool) -> Socket {
        let protocol = if transport == Transport::Tcp { Protocol::Tcp } else { Protocol::Udp };
        let mut row = Socket {
            recv_q: Some(s.recv_queue),
            send_q: Some(s.send_queue),
            timer: s.timer.map(Into::into),
            orphan: s.inode == 0,
            uid: Some(s.uid),
            inode: (s.inode != 0).then_some(s.inode),
            cookie: Some(s.cookie),
            memory: s.memory,
            // A listener's says nothing.
            info: s
                .tcp_info
                .as_deref()
                .filter(|_| s.peer.is_some())
                .map(|raw| Info::of_kernel(raw, s.congestion.clone())),
            peer_name: s.peer.and_then(|peer| self.name_of(peer)),
            ..Socket::new(protocol, s.state, s.local, s.peer)
        };
        if transport == Transport::Tcp
            && let Some(peer) = s.peer
        {
            row.time_in_state = self.time_in_state(&s, peer).map(seconds);
            let other = details.then(|| self.net.tcp_socket(peer, s.local)).flatten();
            row.other = other.map(|other| Box::new(Socket { other: None, ..self.finack_end(other, true) }));
        }
        row
    }

    /// How long the program's end has been in its state: the kernel does not say, but finack saw the segments.
    fn time_in_state(&self, s: &KernelSocket, peer: SocketAddr) -> Option<Duration> {
        if let (State::TimeWait, Some(timer)) = (s.state, s.timer) {
            return Some(TIME_WAIT.saturating_sub(timer.remaining));
        }
        let since = self.collector.borrow().program_state(peer, s.local)?;
        (since.state == s.state).then(|| self.net.now().since(since.at))
    }

    /// A socket of finack's, with what is known of the program's end of it.
    fn finack_end(&self, s: TcpSocket, details: bool) -> Socket {
        let other = s.remote.and_then(|remote| {
            let mut other = Socket::new(Protocol::Tcp, self.inferred_state(&s)?, remote, Some(s.local));
            other.inferred = true;
            Some(Box::new(other))
        });
        Socket {
            recv_q: Some(s.recv_queue),
            send_q: Some(s.send_queue),
            timer: s.timer.map(Into::into),
            time_in_state: s.time_in_state.map(seconds),
            held: s.held,
            orphan: s.orphan,
            info: s.info.filter(|_| details).map(|info| Info::of_finack(&info)),
            peer_name: s.remote.and_then(|peer| self.name_of(peer)),
            other,
            ..Socket::new(Protocol::Tcp, s.state, s.local, s.remote)
        }
    }

    /// The program's end where only finack's can be asked.
    fn inferred(&self, s: TcpSocket, details: bool) -> Option<Socket> {
        let (local, peer) = (s.remote?, s.local);
        let state = self.inferred_state(&s)?;
        let since = self.collector.borrow().program_state(peer, local);
        let time = since.map(|since| seconds(self.net.now().since(since.at)));
        Some(Socket {
            inferred: true,
            time_in_state: time,
            peer_name: self.name_of(peer),
            other: details.then(|| Box::new(Socket { other: None, ..self.finack_end(s, true) })),
            ..Socket::new(Protocol::Tcp, state, local, Some(peer))
        })
    }

    fn udp(&self, s: UdpSocketInfo) -> Socket {
        let state = if s.remote.is_some() { State::Established } else { State::Closed };
        Socket {
            recv_q: Some(s.recv_queue),
            send_q: Some(s.send_queue),
            peer_name: s.remote.and_then(|peer| self.name_of(peer)),
            ..Socket::new(Protocol::Udp, state, s.local, s.remote)
        }
    }

    /// The state of the program's end: by the segments that were seen, else what finack's own state makes likely.
    fn inferred_state(&self, s: &TcpSocket) -> Option<State> {
        match self.collector.borrow().program_state(s.local, s.remote?) {
            Some(seen) if seen.state == State::Closed => None,
            Some(seen) => Some(seen.state),
            None => likely(s.state),
        }
    }
}

/// The other end's state where nothing is under way; `None` where there is none.
fn likely(state: State) -> Option<State> {
    match state {
        State::SynReceived => Some(State::SynSent),
        State::Established | State::FinWait1 => Some(State::Established),
        State::FinWait2 => Some(State::CloseWait),
        State::CloseWait | State::LastAck => Some(State::FinWait2),
        State::Closing => Some(State::Closing),
        State::Closed | State::Listen | State::SynSent | State::TimeWait => None,
    }
}

#[cfg(test)]
mod tests;
