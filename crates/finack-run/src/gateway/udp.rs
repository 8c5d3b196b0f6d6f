//! Datagrams that cross the gateway: the program's to the outside, and what comes back.
//!
//! # How it maps (RFC 4787)
//! * Each of the program's endpoints (address and port) has one socket of the host's, whomever it sends to: the mapping is
//!   endpoint-independent (REQ-1), the source port is kept where it is free (REQ-3 a), and ports are never shared (REQ-3 b).
//! * Filtering is endpoint-independent (REQ-8): whoever sends to that socket reaches the program, as if it had bound the
//!   socket itself. A connected socket of the program's does its own filtering.
//! * A flow ends when nothing went either way for 5 minutes (REQ-5), 30 seconds where all went to port 53 (REQ-5 a); both
//!   directions keep it alive (REQ-6). The host's own socket would live as long as the program's, of whose end nothing is seen.
//! * ICMP errors about its datagrams reach the program as such (REQ-12): refused, unreachable, too big, time exceeded. None
//!   of them ends a flow.
//! * TTL, TOS, ECN and DF of what the program sends are carried on; of what comes back they are finack's own. Fragments are put
//!   together on either side, and made again where the path needs them (REQ-13, REQ-14).
//!
//! # Bounds
//! * At most [`MAX_FLOWS`] flows, and half as many as there are descriptors: beyond that those unused for longest end.
//! * What the host's network does not take at once is dropped and counted, as a router would drop it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use finack::net::{Datagram, Ends, UdpGate};
use finack_wire::icmp::{ErrorKind, Unreachable};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::connect::{self, Shortage, Socket};
use super::datagram::{self, Carries, Failed, Fields, HostSocket, SIGNS};
use super::hosts::Way;
use crate::plan;
use crate::services;

/// Flows at the same time.
const MAX_FLOWS: usize = 8192;
/// How many make room at a time: one in 16, so that not all are looked at for each, and at most so many, whose descriptors
/// go a moment later.
const MADE_ROOM: usize = 32;
/// How long a flow may be idle.
const IDLE: Duration = Duration::from_secs(300);
/// How long one that only asks for names may be.
const IDLE_NAMES: Duration = Duration::from_secs(30);
/// Largest payload of a datagram.
const DATAGRAM: usize = 65_535;
/// Bytes from outside that are handed to the program before more are taken: most of what one packet can have. With more of
/// them the program would wait for all, and whoever sends for the program.
const HAND_OVER: usize = 40_000;
/// Room for these, and for what comes last.
const BATCH: usize = HAND_OVER + DATAGRAM;
/// Datagrams, or units of them, in one turn.
const TURN: usize = 64;
/// Errors read at once: more than the receive buffer lets an error queue hold, for no event tells of those left behind.
const FAILURES: usize = 4096;
/// How many runs of the program's go before answers have their turn.
const TURNS_OUT: usize = 64;
/// Largest size of what is handed over in one call.
const MAX_RUN: usize = 65_000;
/// The hop limit that Linux gives a datagram: then it is the host's business.
const DEFAULT_HOP_LIMIT: u8 = 64;

/// All flows.
pub(super) struct Flows {
    shared: Rc<Shared>,
    gate: Rc<UdpGate>,
    table: RefCell<HashMap<SocketAddr, Rc<Flow>>>,
    /// What comes from outside, for one turn.
    scratch: RefCell<Vec<u8>>,
}

/// One of the program's endpoints.
struct Flow {
    program: SocketAddr,
    socket: AsyncFd<HostSocket>,
    used: Cell<Instant>,
    only_names: Cell<bool>,
    segments: Cell<bool>,
    ended: Notify,
    place: Cell<Option<Socket>>,
}

/// What is left of a turn.
enum Left {
    /// Nothing.
    Nothing,
    /// There may be more.
    More,
    /// This could not be sent yet.
    Unsent(Vec<(Ends, Vec<u8>)>),
}

/// Carries datagrams from now on.
pub(super) fn start(shared: &Rc<Shared>, gate: Rc<UdpGate>) {
    let flows = Rc::new(Flows {
        shared: Rc::clone(shared),
        gate,
        table: RefCell::default(),
        scratch: RefCell::new(vec![0; BATCH]),
    });
    spawn_local(flows.carry_out());
}

impl Flows {
    /// Takes what the program sends, until the network is down.
    async fn carry_out(self: Rc<Self>) {
        let mut buf = vec![0; DATAGRAM];
        while let Ok((first, len)) = self.gate.recv_run(&mut buf).await {
            self.send_run(&first, &buf[..len]);
            for _ in 1..TURNS_OUT {
                let Ok((first, len)) = self.gate.try_recv_run(&mut buf) else { break };
                self.send_run(&first, &buf[..len]);
            }
            // The answers' turn.
            yield_now().await;
        }
    }

    /// Sends datagrams with the same header, which lie one after the other and but for the last have the size of the first.
    fn send_run(self: &Rc<Self>, first: &Datagram, data: &[u8]) {
        let &Datagram { ends, len, tos, hop_limit, dont_fragment, .. } = first;
        let each = || data.chunks(len.max(1)).chain(data.is_empty().then_some(data));
        let to = match self.shared.ways.of(ends.local.ip()) {
            Way::Out(addr) => SocketAddr::new(addr, ends.local.port()),
            Way::Inside if services::is_silent(ends.local.ip()) => return,
            Way::Inside => {
                let kind = datagram::host_unreachable(ends.local.ip());
                return each().for_each(|data| self.report(ends, data, kind, router(ends)));
            }
            Way::Barred(code) => {
                let kind = ErrorKind::Unreachable(code);
                return each().for_each(|data| self.report(ends, data, kind, router(ends)));
            }
        };
        // Without a flow it is lost, and a line says so.
        let Some(flow) = self.flow(ends.peer) else { return };
        flow.used.set(Instant::now());
        flow.only_names.set(flow.only_names.get() && to.port() == 53);
        let hop_limit = (hop_limit != DEFAULT_HOP_LIMIT).then_some(hop_limit);
        let fields = Fields { hop_limit, tos, segment: None, dont_fragment };
        let socket = flow.socket.get_ref();
        let mut rest = data;
        // As much as a packet of the host's can have.
        while rest.len() > len && len > 0 && flow.segments.get() {
            let (now, later) = rest.split_at(rest.len().min(MAX_RUN / len * len).max(len));
            let segment = u16::try_from(len).ok().filter(|_| now.len() > len);
            match socket.send(to, now, Fields { segment, ..fields }) {
                Ok(()) => rest = later,
                // Too big for the path as they are, or no such offload: one by one.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE)) => {
                    flow.segments.set(false);
                }
                Err(error) => return self.failed(ends, rest.chunks(len), &error),
            }
        }
        if rest.is_empty() && !data.is_empty() {
            return;
        }
        for data in rest.chunks(len.max(1)).chain(rest.is_empty().then_some(rest)) {
            match socket.send(to, data, fields) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => self.too_big(&flow, ends, data),
                Err(error) => self.failed(ends, std::iter::once(data), &error),
            }
        }
    }

    /// Tells the program what its own kernel would have told it.
    fn failed<'a>(&self, ends: Ends, data: impl Iterator<Item = &'a [u8]>, error: &io::Error) {
        // The host has no route: its own programs would know at once. Of the codes for IPv4 that say so this is the one that
        // Linux tells a connected socket of.
        let network = if ends.local.is_ipv4() { Unreachable::NetworkUnknown } else { Unreachable::NoRoute };
        let kind = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                return self.shared.datagrams_dropped.set(self.shared.datagrams_dropped.get() + 1);
            }
            // Nothing that could be sent anywhere: port 0.
            Some(libc::EINVAL) => return,
            Some(libc::ENETUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => {
                ErrorKind::Unreachable(network)
            }
            Some(libc::EACCES | libc::EPERM) => ErrorKind::Unreachable(Unreachable::AdminProhibited),
            _ => datagram::host_unreachable(ends.local.ip()),
        };
        data.for_each(|data| self.report(ends, data, kind, router(ends)));
    }

    /// The error queue knows for which size the path is too narrow, but not for which datagram.
    fn too_big(&self, flow: &Flow, ends: Ends, data: &[u8]) {
        let mut scratch = self.scratch.borrow_mut();
        for _ in 0..TURN {
            match flow.socket.get_ref().next_failed(&mut scratch[..DATAGRAM]) {
                Ok(Failed { len: 0, kind: kind @ ErrorKind::FragNeeded { .. }, .. }) => {
                    return self.report(ends, data, kind, router(ends));
                }
                Ok(failed) => self.report_one(flow, &failed, &scratch),
                // Too big for any path.
                Err(_) => return,
            }
        }
    }

    fn report(&self, ends: Ends, data: &[u8], kind: ErrorKind, reporter: Option<IpAddr>) {
        // The network's end; what may not be reported is not.
        let _ = self.gate.report(ends, data, kind, reporter);
    }

    /// The flow of one of the program's endpoints, opened if it is new.
    fn flow(self: &Rc<Self>, program: SocketAddr) -> Option<Rc<Flow>> {
        if let Some(flow) = self.table.borrow().get(&program) {
            return Some(Rc::clone(flow));
        }
        if self.table.borrow().len() >= MAX_FLOWS.min(self.shared.sockets.total() / 2) {
            self.make_room();
        }
        let Some(place) = self.shared.sockets.take().or_else(|| {
            self.make_room();
            self.shared.sockets.take()
        }) else {
            self.shared.short_of(Shortage::Descriptors);
            return None;
        };
        let socket =
            HostSocket::open(Carries::Udp, program.is_ipv6(), program.port()).and_then(HostSocket::watched);
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                self.shared.short_of(connect::shortage(&error).unwrap_or(Shortage::Ports));
                return None;
            }
        };
        socket.get_ref().take_joined();
        let flow = Rc::new(Flow {
            program,
            segments: Cell::new(socket.get_ref().takes_segments()),
            socket,
            used: Cell::new(Instant::now()),
            only_names: Cell::new(true),
            ended: Notify::new(),
            place: Cell::new(Some(place)),
        });
        self.table.borrow_mut().insert(program, Rc::clone(&flow));
        spawn_local(Rc::clone(self).carry_in(Rc::clone(&flow)));
        Some(flow)
    }

    /// Ends the flows that were unused for longest.
    fn make_room(&self) {
        let mut flows: Vec<_> = self.table.borrow().values().cloned().collect();
        let count = (flows.len() / 16).clamp(1, MADE_ROOM).min(flows.len());
        if count == 0 {
            return;
        }
        flows.select_nth_unstable_by_key(count - 1, |flow| flow.used.get());
        for flow in flows.into_iter().take(count) {
            self.table.borrow_mut().remove(&flow.program);
            // Its descriptor goes with its task, a moment later; some are kept in reserve.
            flow.place.take();
            flow.ended.notify_one();
        }
        self.shared.flows_ended.set(self.shared.flows_ended.get() + count as u64);
    }

    /// Takes what comes back, until the flow has been idle for long.
    async fn carry_in(self: Rc<Self>, flow: Rc<Flow>) {
        let mut idle = std::pin::pin!(sleep_until(flow.deadline()));
        loop {
            tokio::select! {
                ready = flow.socket.ready(SIGNS) => {
                    let Ok(mut ready) = ready else { break };
                    if ready.ready().is_error() {
                        self.report_failed(&flow);
                    }
                    match self.receive(&flow) {
                        Left::Nothing => ready.clear_ready(),
                        Left::More => yield_now().await,
                        Left::Unsent(datagrams) => {
                            for (ends, data) in datagrams {
                                // An error is the network's end, or that of one datagram.
                                let _ = self.gate.send(ends, &data).await;
                            }
                        }
                    }
                }
                () = &mut idle => {
                    if flow.deadline() <= Instant::now() {
                        break;
                    }
                    idle.as_mut().reset(flow.deadline());
                }
                () = flow.ended.notified() => return,
            }
        }
        let mut table = self.table.borrow_mut();
        if table.get(&flow.program).is_some_and(|known| Rc::ptr_eq(known, &flow)) {
            table.remove(&flow.program);
        }
    }

    /// Hands what the socket holds to the program.
    fn receive(&self, flow: &Flow) -> Left {
        let mut scratch = self.scratch.borrow_mut();
        let mut datagrams = Vec::with_capacity(TURN);
        let mut at = 0;
        let mut left = Left::More;
        for _ in 0..TURN {
            if at >= HAND_OVER {
                if let Err(unsent) = self.hand_over(flow, &mut datagrams, &scratch) {
                    return unsent;
                }
                at = 0;
            }
            match flow.socket.get_ref().recv_joined(&mut scratch[at..at + DATAGRAM]) {
                Ok((len, each, from)) => {
                    if let Some(ip) = self.shared.ways.seen_as(from.ip()) {
                        let ends = Ends { local: SocketAddr::new(ip, from.port()), peer: flow.program };
                        let end = at + len;
                        datagrams.push((ends, at..end.min(at + each)));
                        for next in (at..end).step_by(each.max(1)).skip(1) {
                            datagrams.push((ends, next..end.min(next + each)));
                        }
                        at = end;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    left = Left::Nothing;
                    break;
                }
                // That of an earlier datagram, which is in the error queue too.
                Err(_) => {}
            }
        }
        self.hand_over(flow, &mut datagrams, &scratch).err().unwrap_or(left)
    }

    /// Sends these parts of `scratch` to the program.
    ///
    /// # Errors
    /// What could not be sent yet.
    fn hand_over(
        &self,
        flow: &Flow,
        datagrams: &mut Vec<(Ends, Range<usize>)>,
        scratch: &[u8],
    ) -> Result<(), Left> {
        if !datagrams.is_empty() {
            flow.used.set(Instant::now());
        }
        let mut rest = &datagrams[..];
        while !rest.is_empty() {
            let next = rest.iter().map(|(ends, range)| (*ends, &scratch[range.clone()]));
            match self.gate.try_send_all(next) {
                Ok(sent) if sent > 0 => rest = &rest[sent.min(rest.len())..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let copy =
                        |(ends, range): &(Ends, Range<usize>)| (*ends, scratch[range.clone()].to_vec());
                    return Err(Left::Unsent(rest.iter().map(copy).collect()));
                }
                // The network's end.
                _ => break,
            }
        }
        datagrams.clear();
        Ok(())
    }

    /// Tells the program which of its datagrams failed.
    fn report_failed(&self, flow: &Flow) {
        let mut scratch = self.scratch.borrow_mut();
        for _ in 0..FAILURES {
            let Ok(failed) = flow.socket.get_ref().next_failed(&mut scratch[..DATAGRAM]) else { return };
            self.report_one(flow, &failed, &scratch);
        }
    }

    fn report_one(&self, flow: &Flow, failed: &Failed, data: &[u8]) {
        let &Failed { len, to, kind, reporter } = failed;
        let Some(ip) = self.shared.ways.seen_as(to.ip()) else { return };
        let ends = Ends { local: SocketAddr::new(ip, to.port()), peer: flow.program };
        // A router that has no place in the program's world speaks through finack.
        let reporter = reporter.map(|r| self.shared.ways.seen_as(r).unwrap_or_else(|| gateway(ends)));
        self.report(ends, data.get(..len).unwrap_or_default(), kind, reporter);
    }
}

impl Flow {
    /// When it ends unless it is used.
    fn deadline(&self) -> Instant {
        self.used.get() + if self.only_names.get() { IDLE_NAMES } else { IDLE }
    }
}

/// finack as the router that could not carry a datagram on.
pub(super) const fn gateway(ends: Ends) -> IpAddr {
    match ends.peer {
        SocketAddr::V4(_) => IpAddr::V4(plan::GATEWAY_V4),
        SocketAddr::V6(_) => IpAddr::V6(plan::GATEWAY_V6),
    }
}

pub(super) const fn router(ends: Ends) -> Option<IpAddr> {
    Some(gateway(ends))
}

#[cfg(test)]
mod tests;
