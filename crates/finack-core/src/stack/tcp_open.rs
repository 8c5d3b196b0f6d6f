//! bind, listen, connect, accept (RFC 9293 3.9.1.1 OPEN; Linux's meaning of SO_REUSEADDR and SO_REUSEPORT).

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};

use super::refresh::Agenda;
use super::tables::{Bind, Records, hash_of};
use super::{BindId, ConnId, ListenerId, Stack};
use crate::error::Error;
use crate::options::{BindOptions, SocketOptions};
use crate::ports::{Owner, Use};
use crate::tcp::ecn::{self, EcnState};
use crate::tcp::embryo::Embryo;
use crate::tcp::iss::Origin;
use crate::tcp::listener::Listener;
use crate::tcp::tcb::{Birth, Connection, Negotiated};
use crate::tcp::time_wait::{self, TwFlags};
use crate::tcp::{State, Tuple, mss, window};
use crate::time::Instant;
use crate::trace::{AppCall, EndCause, ResetReason, TraceKind};

impl Stack {
    /// Takes an address and port for a listener or a connection. Port 0 lets the stack choose one.
    ///
    /// # Errors
    /// `AddrNotAvailable` where the address is none of this host's, `AddrInUse` where somebody has it (for port 0:
    /// where no port is free).
    pub fn tcp_bind(
        &mut self,
        _now: Instant,
        local: SocketAddr,
        options: BindOptions,
    ) -> Result<BindId, Error> {
        // A mapped address is an IPv4 one: it never stands on the wire.
        let mut local = SocketAddr::new(local.ip().to_canonical(), local.port());
        if !local.ip().is_unspecified() && !self.ip.routes.is_bindable(local.ip()) {
            return Err(Error::AddrNotAvailable);
        }
        let owner = bind_owner(local.ip(), options);
        if local.port() == 0 {
            let random = self.cx.rng.next_u64();
            local.set_port(self.ports.bind_any(self.port_range(), &owner, random).ok_or(Error::AddrInUse)?);
        } else if self.ports.conflicts(local.port(), &owner) {
            return Err(Error::AddrInUse);
        }
        self.ports.add(local.port(), owner);
        let generation = self.next_generation();
        let index = self.binds.insert(Bind { local, owner, generation });
        Ok(BindId { index, generation })
    }

    /// A port that a `bind` to port 0 of `local` could take, among those that `also` agrees to.
    pub(super) fn tcp_free_port(
        &mut self,
        local: SocketAddr,
        options: BindOptions,
        also: &dyn Fn(u16) -> bool,
    ) -> Result<u16, Error> {
        let owner = bind_owner(local.ip().to_canonical(), options);
        let random = self.cx.rng.next_u64();
        self.ports.bind_any_where(self.port_range(), &owner, random, also).ok_or(Error::AddrInUse)
    }

    /// Whether [`tcp_free_port`](Self::tcp_free_port) could have chosen `port`.
    pub(super) fn tcp_port_is_free(&self, local: SocketAddr, options: BindOptions, port: u16) -> bool {
        self.ports.is_free(port, &bind_owner(local.ip().to_canonical(), options))
    }

    /// Whether [`tcp_listen`](Self::tcp_listen) would succeed.
    pub(super) fn tcp_may_listen(&mut self, bind: BindId) -> Result<(), Error> {
        let (port, owner) = self.bind_ref(bind).map(|b| (b.local.port(), b.owner))?;
        let listening = self.ports.set_listening(port, &owner, true)?;
        self.ports.set_listening(port, &listening, false).map(|_| ())
    }

    fn port_range(&self) -> core::ops::RangeInclusive<u16> {
        let port = |n: u64| n.min(65_535) as u16;
        port(self.cx.settings.ip_local_port_min)..=port(self.cx.settings.ip_local_port_max)
    }

    fn bind_ref(&self, bind: BindId) -> Result<&Bind, Error> {
        self.binds.get(bind.index).filter(|b| b.generation == bind.generation).ok_or(Error::BadHandle)
    }

    /// The address and port that a bind took.
    ///
    /// # Errors
    /// `BadHandle` once it became a listener or a connection, or was given up.
    pub fn tcp_bound_addr(&self, bind: BindId) -> Result<SocketAddr, Error> {
        self.bind_ref(bind).map(|b| b.local)
    }

    /// Gives up a bind that became neither listener nor connection.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_unbind(&mut self, bind: BindId) -> Result<(), Error> {
        let (port, owner) = self.bind_ref(bind).map(|b| (b.local.port(), b.owner))?;
        self.ports.remove(port, &owner);
        self.binds.remove(bind.index);
        Ok(())
    }

    /// Turns a bind into a listener; the bind is spent on success. At most `backlog` connections (and one) wait to
    /// be accepted, within `somaxconn`; what comes beyond is dropped (or reset, `tcp_abort_on_overflow`).
    ///
    /// # Errors
    /// `AddrInUse` where somebody else listens there, `BadHandle`.
    pub fn tcp_listen(
        &mut self,
        _now: Instant,
        bind: BindId,
        backlog: u32,
        options: SocketOptions,
    ) -> Result<ListenerId, Error> {
        let (local, held) = self.bind_ref(bind).map(|b| (b.local, b.owner))?;
        let owner = self.ports.set_listening(local.port(), &held, true)?;
        self.binds.remove(bind.index);
        let generation = self.next_generation();
        let options = SocketOptions {
            reuse_addr: owner.reuse_addr,
            reuse_port: owner.reuse_port,
            v6_only: owner.v6_only,
            ..options
        };
        let index = self.listeners.insert(Listener {
            local,
            owner,
            generation,
            options: Arc::new(options),
            backlog: backlog.min(u32::try_from(self.cx.settings.somaxconn).unwrap_or(u32::MAX)),
            ready: VecDeque::new(),
            event_queued: false,
            embryos: 0,
            cookies: VecDeque::new(),
            fast_open_keys: None,
            cookie_at: None,
            early: VecDeque::new(),
            undecided: None,
        });
        self.listener_index.insert(local.port(), index);
        Ok(ListenerId { index, generation })
    }

    pub(super) fn listener_ref(&self, id: ListenerId) -> Result<&Listener, Error> {
        self.listeners.get(id.index).filter(|l| l.generation == id.generation).ok_or(Error::BadHandle)
    }

    /// Where a listener listens.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_listener_addr(&self, listener: ListenerId) -> Result<SocketAddr, Error> {
        self.listener_ref(listener).map(|l| l.local)
    }

    /// Replaces the options that accepted connections inherit.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_set_listener_options(&mut self, id: ListenerId, options: SocketOptions) -> Result<(), Error> {
        self.listener_ref(id)?;
        if let Some(l) = self.listeners.get_mut(id.index) {
            let kept = SocketOptions {
                reuse_addr: l.owner.reuse_addr,
                reuse_port: l.owner.reuse_port,
                v6_only: l.owner.v6_only,
                ..options
            };
            l.options = Arc::new(kept);
        }
        Ok(())
    }

    /// TCP_FASTOPEN_KEY: the cookies of this listener are made with these keys instead of the stack's.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_set_listener_fast_open_keys(
        &mut self,
        id: ListenerId,
        keys: crate::settings::FastOpenKeys,
    ) -> Result<(), Error> {
        self.listener_ref(id)?;
        if let Some(l) = self.listeners.get_mut(id.index) {
            l.fast_open_keys = Some(keys);
        }
        Ok(())
    }

    /// Stops listening. Connections that wait to be accepted are reset, handshakes under way are forgotten.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_close_listener(&mut self, now: Instant, id: ListenerId) -> Result<(), Error> {
        self.listener_ref(id)?;
        let Some(l) = self.listeners.remove(id.index) else { return Err(Error::BadHandle) };
        self.auth.forget_listener(id.index);
        if l.undecided.is_some() {
            self.listener_index.set_everywhere(None);
        } else {
            self.listener_index.remove(l.local.port(), id.index);
            self.ports.remove(l.local.port(), &l.owner);
        }
        let of_it = |e: &Embryo| e.listener == id.index;
        let embryos: alloc::vec::Vec<u32> =
            self.embryos.iter().filter(|(_, e)| of_it(e)).map(|(i, _)| i).collect();
        for index in embryos {
            self.drop_embryo(now, index, EndCause::Dropped);
        }
        for (index, generation) in l.ready {
            let Some(c) = self.connections.get_mut(index).filter(|c| c.generation == generation) else {
                continue;
            };
            c.facts.set_unaccepted(false);
            c.facts.set_orphan(true);
            if c.facts.indexed() {
                self.settle(now, index, crate::tcp::input::Outcome::Reset(ResetReason::ListenerClosed));
            } else {
                self.free_connection(index);
            }
        }
        Ok(())
    }

    /// Whether [`tcp_accept`](Self::tcp_accept) has something to give.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_accept_ready(&self, id: ListenerId) -> Result<bool, Error> {
        let live = |&(index, generation): &(u32, u32)| {
            self.connections.get(index).is_some_and(|c| c.generation == generation)
        };
        self.listener_ref(id).map(|l| l.ready.iter().any(live))
    }

    /// The connection that waits longest, and its remote end.
    ///
    /// # Errors
    /// `WouldBlock` until an [`Event::Accept`](super::Event::Accept), `BadHandle`.
    pub fn tcp_accept(&mut self, now: Instant, id: ListenerId) -> Result<(ConnId, SocketAddr), Error> {
        self.listener_ref(id)?;
        loop {
            let next = self.listeners.get_mut(id.index).and_then(|l| l.ready.pop_front());
            let (index, generation) = next.ok_or(Error::WouldBlock)?;
            let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
            let Some(c) = connections.get_mut(index).filter(|c| c.generation == generation) else {
                continue;
            };
            c.facts.set_unaccepted(false);
            c.ready = c.readiness(cx);
            let remote = c.tuple.remote_addr();
            cx.trace(now, c.trace_id, &c.tuple, TraceKind::App(AppCall::Accept));
            Agenda { wheel, ready_to_send, events }.tell(c, index);
            return Ok((ConnId { index, generation }, remote));
        }
    }

    /// Sends a SYN, from `bind` or from an address and port that the stack chooses (RFC 6056). The connection is
    /// open when an event says WRITABLE, and has failed when it says ERROR (`tcp_take_error` tells why).
    ///
    /// Where all ports to `remote` are taken, that is found out once by asking for each of them; then an attempt costs next to
    /// nothing until one of them is given up.
    ///
    /// # Errors
    /// `NetworkUnreachable` without a route, `AddrNotAvailable` where no port is left or the four-tuple is taken,
    /// `NoBufferSpace` where the table is full, `AddressFamily`, `BadHandle`.
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        bind: Option<BindId>,
        remote: SocketAddr,
        options: SocketOptions,
    ) -> Result<ConnId, Error> {
        self.make_room(now);
        if self.is_full() {
            return Err(Error::NoBufferSpace);
        }
        let bound = bind.map(|b| self.bind_ref(b).map(|b| (b.local, b.owner))).transpose()?;
        let to = self.ip.routes.destination(remote.ip().to_canonical(), bound.map(|(local, _)| local.ip()));
        let remote = SocketAddr::new(to, remote.port());
        if !self.ip.routes.is_unicast(to) {
            return Err(Error::NetworkUnreachable);
        }
        let (source, first_hop) = self.source_of(bound.map(|(local, _)| local.ip()), remote.ip())?;
        let place = match bound {
            Some((local, _)) => self.tuple_of_bind(now, source, local.port(), remote)?,
            None => self.tuple_of_choice(now, source, remote)?,
        };
        if let Some(bind) = bind {
            self.tcp_unbind(bind)?;
        }
        let mut options = options;
        if let Some((_, owner)) = bound {
            options.reuse_addr |= owner.reuse_addr;
            options.reuse_port |= owner.reuse_port;
        }
        Ok(self.open(now, &place, options, bound.is_some(), first_hop))
    }

    /// The address to connect from, and the MTU of the first hop towards `remote` in bytes.
    pub(super) fn source_of(&self, bound: Option<IpAddr>, remote: IpAddr) -> Result<(IpAddr, u32), Error> {
        let first_hop = self.ip.routes.lookup(remote).ok_or(Error::NetworkUnreachable)?;
        match bound.filter(|a| !a.is_unspecified()) {
            Some(addr) if addr.is_ipv4() != remote.is_ipv4() => Err(Error::AddressFamily),
            Some(addr) => Ok((addr, first_hop)),
            None => {
                let source = self.ip.routes.source_for(remote).ok_or(Error::AddrNotAvailable)?;
                Ok((source, first_hop))
            }
        }
    }

    /// The program chose the port: the four-tuple is free, or its TIME-WAIT may be taken over.
    fn tuple_of_bind(
        &mut self,
        now: Instant,
        local: IpAddr,
        port: u16,
        remote: SocketAddr,
    ) -> Result<Place, Error> {
        let tuple = Tuple { local, remote: remote.ip(), local_port: port, remote_port: remote.port() };
        self.claim(now, tuple, self.hash(&tuple), true)
    }

    /// The stack chooses the port (RFC 6056 3.3.4).
    fn tuple_of_choice(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Result<Place, Error> {
        let offset = self.cx.secrets.ports.wire_destination(local, remote);
        let range = self.port_range();
        let tuple_at =
            |port| Tuple { local, remote: remote.ip(), local_port: port, remote_port: remote.port() };
        let loopback = remote.ip().is_loopback() || self.ip.routes.is_own(remote.ip());
        let Self { ports, demux, connections, embryos, waits4, waits6, cx, home, .. } = self;
        let records = Records { connections, embryos, waits4, waits6 };
        let (mut taken, mut hash) = (None, 0);
        let chosen = ports.choose(range, now, (local, remote), offset, &mut |port| {
            let tuple = tuple_at(port);
            if home.as_ref().is_some_and(|home| !home.has(tuple.local_addr(), remote)) {
                return Use::NotBefore(Instant::FAR_FUTURE);
            }
            hash = hash_of(cx, &tuple);
            taken = records.find(demux, hash, &tuple);
            let Some(slot) = taken else { return Use::Now };
            let Some((tw, _)) = records.time_wait(slot) else { return Use::NotBefore(Instant::FAR_FUTURE) };
            match time_wait::may_reuse(&tw, cx, now, false, loopback) {
                true => Use::Now,
                false => Use::NotBefore(time_wait::reusable_at(&tw, cx, loopback)),
            }
        });
        let tuple = tuple_at(chosen.ok_or(Error::AddrNotAvailable)?);
        if taken.is_none() {
            return Ok(Place { tuple, hash, iss: None });
        }
        self.claim(now, tuple, hash, false)
    }

    /// Whether an outgoing connection may have the four-tuple; a TIME-WAIT that stood there goes.
    fn claim(&mut self, now: Instant, tuple: Tuple, hash: u64, explicit: bool) -> Result<Place, Error> {
        let Some(slot) = self.find(hash, &tuple) else { return Ok(Place { tuple, hash, iss: None }) };
        let loopback = tuple.remote.is_loopback() || self.ip.routes.is_own(tuple.remote);
        let (tw, _) = self.time_wait(slot).ok_or(Error::AddrNotAvailable)?;
        if tw.flags.has(TwFlags::COVERED) || !time_wait::may_reuse(&tw, &self.cx, now, explicit, loopback) {
            return Err(Error::AddrNotAvailable);
        }
        let iss = Some(time_wait::successor_iss(&tw));
        self.cx.counters.tcp_time_wait_reused += 1;
        self.drop_time_wait(now, slot, EndCause::Reopened);
        Ok(Place { tuple, hash, iss })
    }

    fn open(
        &mut self,
        now: Instant,
        place: &Place,
        options: SocketOptions,
        explicit: bool,
        first_hop: u32,
    ) -> ConnId {
        let tuple = place.tuple;
        let s = &self.cx.settings;
        let agreed = Negotiated {
            timestamps: s.tcp_timestamps > 0,
            sack: s.tcp_sack == 1,
            scaling: s.tcp_window_scaling == 1,
            snd_wscale: 0,
            rcv_wscale: if s.tcp_window_scaling == 1 { window::scale(&options, s) } else { 0 },
            peer_mss: mss::of_peer(tuple.is_v6(), None, &options, s),
        };
        let mtu = self.ip.path_mtu.get(now, tuple.remote).map_or(first_hop, |learned| learned.min(first_hop));
        let size = mss::effective(
            &tuple,
            mtu as usize,
            agreed.peer_mss,
            mss::options_len(agreed.timestamps),
            &self.cx.settings,
        );
        let origin = Origin::of(&self.cx.secrets, &tuple);
        let birth = Birth {
            tuple,
            generation: self.next_generation(),
            trace_id: self.cx.new_trace_id(),
            options: self.share_options(options),
            state: State::Closed,
            iss: place.iss.unwrap_or_else(|| origin.initial_sequence(&self.cx.settings, now)),
            irs: 0,
            ts_offset: origin.ts_offset,
            agreed,
            mss: size,
            path_mtu: mtu,
            now,
        };
        let (generation, trace_id) = (birth.generation, birth.trace_id);
        let index = self.connections.insert(Connection::new(&self.cx, birth));
        let Self { connections, cx, .. } = self;
        cx.counters.tcp_active_opens += 1;
        cx.trace(now, trace_id, &tuple, TraceKind::App(AppCall::Connect));
        if let Some(c) = connections.get_mut(index) {
            let wish = ecn::wish(&cx.settings, c.congestion.kind());
            c.ecn = wish.map(|mode| alloc::boxed::Box::new(EcnState::new(mode)));
            c.facts.set_explicit_port(explicit);
            c.facts.set_syn_due(true);
            c.facts.set_wants_room(true);
            c.enter(cx, now, State::SynSent);
        }
        self.add_connection(index, place.hash, None);
        self.ports.took(&tuple);
        let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
        if let Some(c) = connections.get_mut(index) {
            Agenda { wheel, ready_to_send, events }.refresh_new(c, cx, index);
        }
        ConnId { index, generation }
    }
}

/// What a bind to `addr` claims of its port.
const fn bind_owner(addr: IpAddr, options: BindOptions) -> Owner {
    Owner {
        addr,
        reuse_addr: options.reuse_addr,
        reuse_port: options.reuse_port,
        listening: false,
        v6_only: options.v6_only,
        explicit: true,
    }
}

/// A four-tuple that an outgoing connection may have.
struct Place {
    tuple: Tuple,
    /// By which the index finds it.
    hash: u64,
    /// The ISN to begin with where it takes over a TIME-WAIT.
    iss: Option<u32>,
}

#[cfg(test)]
mod tests;
