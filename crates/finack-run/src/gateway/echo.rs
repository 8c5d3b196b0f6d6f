//! Echo requests that cross the gateway ("ping"), and their replies.
//!
//! They leave from the host's ping sockets where `net.ipv4.ping_group_range` allows those to the user, else from raw sockets
//! where privileges allow these. Each of the program's (address, identifier) pairs has a socket: the kernel chooses the
//! identifier on the wire, the sequence number and the data are carried as they are, and so is the hop limit, so that
//! `traceroute -I` sees the routers of the host's network: their ICMP errors reach the program with their addresses.
//!
//! # Bounds
//! At most [`MAX_PINGS`] sockets, and an eighth of the descriptors, each until nothing went either way for a minute (RFC 5508 REQ-1); beyond that the one unused
//! for longest ends first.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use finack::net::{Datagram, Ends, UdpGate};
use finack_wire::icmp::{ErrorKind, IcmpMessage, Unreachable};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::connect::{self, Shortage, Socket};
use super::datagram::{self, Carries, Failed, Fields, HostSocket, SIGNS};
use super::hosts::Way;
use super::udp::{gateway, router};
use crate::services;

/// Sockets at the same time.
const MAX_PINGS: usize = 512;
/// How long one may be idle.
const IDLE: Duration = Duration::from_secs(60);
/// Largest message.
const MESSAGE: usize = 65_535;
/// Messages in one turn.
const TURN: usize = 64;
/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
/// Of ICMP and ICMPv6: echo request, echo reply.
const TYPES: [[u8; 2]; 2] = [[8, 0], [128, 129]];
/// The hop limit that Linux gives a packet: then it is the host's business.
const DEFAULT_HOP_LIMIT: u8 = 64;

/// All that ping.
struct Pings {
    shared: Rc<Shared>,
    gate: UdpGate,
    table: RefCell<HashMap<SocketAddr, Rc<Ping>>>,
    scratch: RefCell<Vec<u8>>,
}

/// One of the program's addresses with an identifier.
struct Ping {
    /// The identifier stands in the port's place.
    program: SocketAddr,
    socket: AsyncFd<HostSocket>,
    carries: Carries,
    /// The identifier on the wire.
    ident: u16,
    used: Cell<Instant>,
    ended: Notify,
    _place: Socket,
}

/// Carries echo requests from now on.
pub(super) fn start(shared: &Rc<Shared>, gate: UdpGate) {
    let pings = Rc::new(Pings {
        shared: Rc::clone(shared),
        gate,
        table: RefCell::default(),
        scratch: RefCell::new(vec![0; MESSAGE]),
    });
    spawn_local(pings.carry_out());
}

impl Pings {
    /// Takes what the program sends, until the network is down.
    async fn carry_out(self: Rc<Self>) {
        let mut buf = vec![0; MESSAGE];
        while let Ok(first) = self.gate.recv(&mut buf).await {
            self.send(&first, &buf[..first.len]);
            for _ in 1..TURN {
                let Ok(next) = self.gate.try_recv(&mut buf) else { break };
                self.send(&next, &buf[..next.len]);
            }
            yield_now().await;
        }
    }

    fn send(self: &Rc<Self>, request: &Datagram, data: &[u8]) {
        let ends = request.ends;
        let to = match self.shared.ways.of(ends.local.ip()) {
            Way::Out(addr) => addr,
            Way::Inside if services::is_silent(ends.local.ip()) => return,
            Way::Inside => return self.report(ends, data, datagram::host_unreachable(ends.local.ip())),
            Way::Barred(code) => return self.report(ends, data, ErrorKind::Unreachable(code)),
        };
        let ping = match self.ping(ends.peer) {
            Ok(Some(ping)) => ping,
            // No descriptor now: it is lost, and a line says so.
            Ok(None) => return,
            Err(error) => {
                self.shared.told.add(not_allowed(&error));
                return self.report(ends, data, ErrorKind::Unreachable(Unreachable::AdminProhibited));
            }
        };
        ping.used.set(Instant::now());
        let message = ping.request(ends.local.port(), data);
        let hop_limit = (request.hop_limit != DEFAULT_HOP_LIMIT).then_some(request.hop_limit);
        let fields =
            Fields { hop_limit, tos: request.tos, segment: None, dont_fragment: request.dont_fragment };
        if let Err(error) = ping.socket.get_ref().send(SocketAddr::new(to, 0), &message, fields) {
            match Errno::from_io_error(&error) {
                Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INVAL) => {}
                Some(Errno::MSGSIZE) => self.too_big(&ping, ends, data),
                Some(Errno::ACCESS | Errno::PERM) => {
                    self.report(ends, data, ErrorKind::Unreachable(Unreachable::AdminProhibited));
                }
                Some(Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL) => {
                    let network = if to.is_ipv4() { Unreachable::Network } else { Unreachable::NoRoute };
                    self.report(ends, data, ErrorKind::Unreachable(network));
                }
                _ => self.report(ends, data, datagram::host_unreachable(ends.local.ip())),
            }
        }
    }

    /// The error queue knows for which size the path is too narrow, but not for which request.
    fn too_big(&self, ping: &Ping, ends: Ends, data: &[u8]) {
        let mut scratch = self.scratch.borrow_mut();
        for _ in 0..TURN {
            match ping.socket.get_ref().next_failed(&mut scratch) {
                Ok(Failed { len: 0, kind: kind @ ErrorKind::FragNeeded { .. }, .. }) => {
                    return self.report(ends, data, kind);
                }
                Ok(failed) => self.failed(ping, &failed, &scratch),
                Err(_) => return,
            }
        }
    }

    fn report(&self, ends: Ends, data: &[u8], kind: ErrorKind) {
        // The network's end; what may not be reported is not.
        let _ = self.gate.report(ends, data, kind, router(ends));
    }

    /// The socket of one of the program's identifiers, opened if it is new; none where the host is short of something.
    fn ping(self: &Rc<Self>, program: SocketAddr) -> io::Result<Option<Rc<Ping>>> {
        if let Some(ping) = self.table.borrow().get(&program) {
            return Ok(Some(Rc::clone(ping)));
        }
        if self.table.borrow().len() >= MAX_PINGS.min(self.shared.sockets.total() / 8).max(1) {
            self.make_room();
        }
        let Some(place) = self.shared.sockets.take() else {
            self.shared.short_of(Shortage::Descriptors);
            return Ok(None);
        };
        let opened =
            open(program).and_then(|(socket, carries, ident)| Ok((socket.watched()?, carries, ident)));
        let (socket, carries, ident) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let Some(shortage) = connect::shortage(&error) else { return Err(error) };
                self.shared.short_of(shortage);
                return Ok(None);
            }
        };
        let used = Cell::new(Instant::now());
        let ping =
            Rc::new(Ping { program, socket, carries, ident, used, ended: Notify::new(), _place: place });
        self.table.borrow_mut().insert(program, Rc::clone(&ping));
        spawn_local(Rc::clone(self).carry_in(Rc::clone(&ping)));
        Ok(Some(ping))
    }

    /// Ends the one unused for longest.
    fn make_room(&self) {
        let oldest = self.table.borrow().values().min_by_key(|ping| ping.used.get()).cloned();
        if let Some(ping) = oldest {
            self.table.borrow_mut().remove(&ping.program);
            ping.ended.notify_one();
        }
    }

    /// Takes what comes back, until nothing has for long.
    async fn carry_in(self: Rc<Self>, ping: Rc<Ping>) {
        let mut idle = std::pin::pin!(sleep_until(ping.used.get() + IDLE));
        loop {
            tokio::select! {
                ready = ping.socket.ready(SIGNS) => {
                    let Ok(mut ready) = ready else { break };
                    if self.receive(&ping) {
                        ready.clear_ready();
                    } else {
                        yield_now().await;
                    }
                }
                () = &mut idle => {
                    let deadline = ping.used.get() + IDLE;
                    if deadline <= Instant::now() {
                        break;
                    }
                    idle.as_mut().reset(deadline);
                }
                () = ping.ended.notified() => return,
            }
        }
        let mut table = self.table.borrow_mut();
        if table.get(&ping.program).is_some_and(|known| Rc::ptr_eq(known, &ping)) {
            table.remove(&ping.program);
        }
    }

    /// Hands replies and errors to the program; whether the socket holds no more.
    fn receive(&self, ping: &Ping) -> bool {
        let mut scratch = self.scratch.borrow_mut();
        for _ in 0..TURN {
            let Ok(failed) = ping.socket.get_ref().next_failed(&mut scratch) else { break };
            self.failed(ping, &failed, &scratch);
        }
        for _ in 0..TURN {
            match ping.socket.get_ref().recv(&mut scratch) {
                Ok((len, from)) => self.reply(ping, from.ip(), &scratch[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // That of an earlier request, which is in the error queue too.
                Err(_) => {}
            }
        }
        false
    }

    fn reply(&self, ping: &Ping, from: IpAddr, message: &[u8]) {
        let Some(from) = self.shared.ways.seen_as(from) else { return };
        let Some((seq, data)) = ping.read(message, 1) else { return };
        ping.used.set(Instant::now());
        let ends = Ends { local: SocketAddr::new(from, seq), peer: ping.program };
        // No room, or the network's end: lost, as replies may be.
        let _ = self.gate.try_send(ends, data);
    }

    fn failed(&self, ping: &Ping, failed: &Failed, message: &[u8]) {
        let Some(ip) = self.shared.ways.seen_as(failed.to.ip()) else { return };
        let Some((seq, data)) = message.get(..failed.len).and_then(|m| ping.read(m, 0)) else { return };
        let ends = Ends { local: SocketAddr::new(ip, seq), peer: ping.program };
        // A router that has no place in the program's world speaks through finack.
        let reporter = failed.reporter.map(|r| self.shared.ways.seen_as(r).unwrap_or_else(|| gateway(ends)));
        let _ = self.gate.report(ends, data, failed.kind, reporter);
    }
}

impl Ping {
    fn types(&self) -> [u8; 2] {
        TYPES[usize::from(self.program.is_ipv6())]
    }

    /// An echo request for the wire. The kernel sums up all but a raw one of IPv4, and its identifier stands in a ping
    /// socket's place of this one.
    fn request(&self, seq: u16, data: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER + data.len()];
        if self.program.is_ipv4() {
            let request = IcmpMessage::EchoRequest { ident: self.ident, seq, data };
            let any = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
            finack_wire::icmp::emit(&any, &any, &request, &mut message);
            return message;
        }
        message[0] = self.types()[0];
        message[4..6].copy_from_slice(&self.ident.to_be_bytes());
        message[6..8].copy_from_slice(&seq.to_be_bytes());
        message[HEADER..].copy_from_slice(data);
        message
    }

    /// The sequence number and the data of a message of this socket's, which is of the first or second of the types.
    fn read<'a>(&self, message: &'a [u8], which: usize) -> Option<(u16, &'a [u8])> {
        // A raw socket of IPv4 gives the IP header too, but for what comes out of the error queue.
        let skip = match (self.carries, self.program, which) {
            (Carries::RawEchoes, SocketAddr::V4(_), 1) => usize::from(*message.first()? & 15) * 4,
            _ => 0,
        };
        let message = message.get(skip..)?;
        let (header, data) = message.split_first_chunk::<HEADER>()?;
        let ident = u16::from_be_bytes([header[4], header[5]]);
        let ours = header[0] == self.types()[which] && ident == self.ident;
        ours.then(|| (u16::from_be_bytes([header[6], header[7]]), data))
    }
}

/// A socket that sends echo requests for one of the program's identifiers, what it carries, and its identifier.
fn open(program: SocketAddr) -> io::Result<(HostSocket, Carries, u16)> {
    match HostSocket::open(Carries::Echoes, program.is_ipv6(), program.port()) {
        Ok(socket) => {
            let ident = socket.port()?;
            Ok((socket, Carries::Echoes, ident))
        }
        Err(error) if connect::shortage(&error).is_some() => Err(error),
        // The error that counts is that of the way that is meant for users.
        Err(error) => {
            let Ok(socket) = HostSocket::open(Carries::RawEchoes, program.is_ipv6(), 0) else {
                return Err(error);
            };
            socket.only_echo_replies()?;
            let mut ident = [0; 2];
            getrandom::fill(&mut ident)?;
            Ok((socket, Carries::RawEchoes, u16::from_ne_bytes(ident)))
        }
    }
}

/// Why no ping leaves, and what can be done.
fn not_allowed(error: &io::Error) -> String {
    format!(
        "pings to outside addresses can't be carried: {error}; an administrator allows them to everybody by \
         `sysctl -w net.ipv4.ping_group_range='0 2147483647'`"
    )
}
