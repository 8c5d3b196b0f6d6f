//! The verbs. Only here do the tables (connections, listeners, embryos, TIME-WAIT, UDP) meet.

mod ahead;
mod audit;
#[cfg(feature = "md5-ao")]
mod auth;
#[cfg(not(feature = "md5-ao"))]
#[path = "auth_none.rs"]
mod auth;
mod control;
mod ending;
mod expected;
mod fast_open;
mod fingerprint;
mod gate;
mod hold;
mod home;
mod icmp;
mod info;
mod ip_input;
mod loopback;
mod opening;
mod ordinary;
mod passive;
mod refresh;
mod shards;
mod shed;
mod tables;
mod tcp_calls;
mod tcp_direct;
mod tcp_icmp;
mod tcp_input;
mod tcp_open;
mod time_wait;
mod transmit;
mod udp;

pub use crate::udp::{Gate, UdpReport};
pub use fingerprint::Origin;
pub use hold::{Incoming, IncomingId, Refusal};
pub use home::{ForShards, Handed};
pub use info::{SocketCursor, TcpSocket, TimerInfo, TimerKind, UdpSocketInfo};

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::auth::Auth;
use crate::counters::Counters;
use crate::cx::{Budget, Cx, Tracer};
use crate::demux::Demux;
use crate::device::{Capabilities, Packet};
use crate::hash::{Rng, Secrets};
use crate::ip::Ip;
use crate::options::SocketOptions;
use crate::pool::Pool;
use crate::ports::PortTable;
use crate::settings::Settings;
use crate::slab::Slab;
use crate::tcp::State;
use crate::tcp::embryo::Embryos;
use crate::tcp::listener::{Listener, ListenerIndex};
use crate::tcp::tcb::Connection;
use crate::tcp::time_wait::{Key4, Key6, TimeWaits};
use crate::time::Instant;
use crate::timer::Wheel;
use crate::trace::{DropReason, PacketId, TraceEvent, TraceKind};
use crate::udp::Udp;
use tables::Bind;
use transmit::Emission;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident,)+) => {$(
        $(#[$meta])*
        ///
        /// Generation-tagged: a handle that outlived what it named answers [`BadHandle`](crate::Error::BadHandle), never somebody else.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name { pub(crate) index: u32, pub(crate) generation: u32 }

        impl $name {
            /// Its place in a table: small, dense, and used again once what it named is gone.
            pub const fn index(self) -> usize {
                self.index as usize
            }
        }
    )+};
}

ids! {
    /// A TCP connection that the application holds.
    ConnId,
    /// A listening TCP socket.
    ListenerId,
    /// A TCP address and port taken by `bind`.
    BindId,
    /// A UDP socket.
    UdpId,
}

/// An address of the stack's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub addr: IpAddr,
    /// Length of the on-link prefix in bits.
    pub prefix_len: u8,
}

/// Where packets may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network.
    pub network: IpAddr,
    /// Length of its prefix in bits; 0 is the default route of the family.
    pub prefix_len: u8,
    /// MTU of the path where it is below the device's.
    pub mtu: Option<u32>,
    /// What the MSS option of our SYNs says; `None` says what the first hop takes (a route's `advmss`).
    pub advertised_mss: Option<u16>,
}

/// What a stack is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Linux's sysctls.
    pub settings: Settings,
    /// What the device can do.
    pub device: Capabilities,
    /// The host's addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// Where packets may go beyond the addresses' own prefixes.
    pub routes: Vec<Route>,
    /// Take packets for every unicast address as if it were ours (a gateway's inner side).
    pub any_address: bool,
    /// Secret that keys ISNs, ports, cookies, hashes and timestamps; equal seeds give equal bytes.
    pub seed: [u8; 32],
}

/// What a connection or UDP socket became ready for. A union of bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub struct Ready(pub u8);

impl Ready {
    /// Data, EOF or an error can be read.
    pub const READABLE: Self = Self(1);
    /// Data can be written, or an error is to be had.
    pub const WRITABLE: Self = Self(2);
    /// The peer sent FIN or RST, or reading was shut down.
    pub const READ_CLOSED: Self = Self(4);
    /// Nothing can be written any more.
    pub const WRITE_CLOSED: Self = Self(8);
    /// An error waits in `tcp_take_error`.
    pub const ERROR: Self = Self(16);
    /// Urgent data is there (EPOLLPRI).
    pub const PRIORITY: Self = Self(32);
    /// Buffers are done with: `tcp_take_completion` tells which (EPOLLERR).
    pub const COMPLETED: Self = Self(64);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    /// No bit is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl core::ops::BitOr for Ready {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
impl core::ops::BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Something that a waiting application wants to know. Several changes of one socket may come as one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection became ready for more (connected connections become writable).
    Tcp {
        /// Which.
        conn: ConnId,
        /// For what, since the last event.
        ready: Ready,
    },
    /// `tcp_accept` has something to give.
    Accept {
        /// Which listener.
        listener: ListenerId,
    },
    /// `tcp_incoming` has an opening that waits for a decision.
    Incoming {
        /// Which listener.
        listener: ListenerId,
    },
    /// A UDP socket became ready for more.
    Udp {
        /// Which.
        socket: UdpId,
        /// For what.
        ready: Ready,
    },
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRecv {
    /// Bytes copied to the caller's buffer.
    pub len: usize,
    /// Bytes of the datagram; more than `len` where the buffer was too small.
    pub full_len: usize,
    /// Sender.
    pub from: SocketAddr,
    /// Where it was addressed to.
    pub to: SocketAddr,
    /// Its TOS or traffic class.
    pub tos: u8,
    /// Its hop limit.
    pub hop_limit: u8,
    /// Whether it came whole and no router might have cut it: with the DF bit, or over IPv6.
    pub dont_fragment: bool,
}

/// One host's TCP and UDP.
#[derive(Clone, Debug)]
pub struct Stack {
    cx: Cx,
    ip: Ip,
    udp: Udp,
    connections: Slab<Connection>,
    embryos: Embryos,
    waits4: TimeWaits<Key4>,
    waits6: TimeWaits<Key6>,
    listeners: Slab<Listener>,
    listener_index: ListenerIndex,
    binds: Slab<Bind>,
    demux: Demux,
    ports: PortTable,
    /// Keys of those who have some.
    auth: Auth,
    wheel: Wheel,
    /// Tags handles, so that one that outlived its object is told apart.
    generation: u32,
    /// Who gives way where there is no room for another.
    expendable: shed::Expendable,
    /// Connections with something to send, in turn.
    ready_to_send: VecDeque<(u32, u32)>,
    events: VecDeque<EventSource>,
    /// Those of the last socket that had some of its own: the next one often has the same.
    recent_options: Option<Arc<SocketOptions>>,
    /// The unit that is being handed to the device, packet by packet.
    emission: Option<Emission>,
    /// The connection whose last write was found to go at once, and the table of connections then: while that was not touched it
    /// need not be asked again.
    goes: Option<(u32, u64)>,
    /// Where this is one of several stacks that are one host.
    home: Option<alloc::boxed::Box<home::Home>>,
    header: [u8; crate::tcp::emit::MAX_HEADERS],
    /// The connection that got the last segment that was expected, or was made or sent since; the next one is often for
    /// it, too.
    recent: u32,
}

/// Who has an event to tell; what it is stands with the object, so that several changes become one event.
#[derive(Clone, Copy, Debug)]
enum EventSource {
    Connection { index: u32, generation: u32 },
    Listener { index: u32, generation: u32 },
    Incoming { index: u32, generation: u32 },
}

impl Stack {
    /// A host without sockets.
    pub fn new(now: Instant, config: Config) -> Self {
        let secrets = Secrets::new(&config.seed);
        let ip = Ip::new(&config, &secrets);
        let limit = config.settings.tcp_mem;
        Self {
            ip,
            udp: Udp::new(&secrets),
            connections: Slab::default(),
            embryos: Embryos::default(),
            waits4: TimeWaits::default(),
            waits6: TimeWaits::default(),
            listeners: Slab::default(),
            listener_index: ListenerIndex::default(),
            binds: Slab::default(),
            demux: Demux::new(),
            ports: PortTable::new(Rng::new(secrets.ports)),
            auth: Auth::default(),
            wheel: Wheel::new(now),
            generation: 0,
            expendable: shed::Expendable::default(),
            ready_to_send: VecDeque::new(),
            events: VecDeque::new(),
            recent_options: None,
            emission: None,
            goes: None,
            home: None,
            header: [0; crate::tcp::emit::MAX_HEADERS],
            recent: expected::NOBODY,
            cx: Cx {
                settings: config.settings,
                device: config.device,
                counters: Counters::default(),
                tracer: Tracer::default(),
                pool: Pool::default(),
                rng: Rng::new(secrets.random),
                secrets,
                budget: Budget { used: 0, limit },
                next_trace_id: 0,
                cookies: Default::default(),
                short_cuts: true,
            },
        }
    }

    /// Takes received packets, in order. A packet that makes no sense is dropped and counted, never an error.
    pub fn handle_packets(&mut self, now: Instant, packets: &[Packet<'_>]) {
        self.packets_input(now, packets);
        self.cx.tracer.packet = None;
    }

    /// What is observed from here on concerns this packet.
    fn note_packet(&mut self, packet: &Packet<'_>) {
        let number = packet.meta.number;
        self.cx.tracer.packet = (number != 0).then_some(PacketId::In(number));
    }

    /// Whether segments that are just what is expected may take a short way in, and what there is nothing special about a short
    /// way out (the default). Nothing that can be observed depends on it but time, [`Counters::tcp_expected`],
    /// [`Counters::tcp_expected_behind`] and [`Counters::tcp_ordinary`]: tests show that.
    #[doc(hidden)]
    pub fn set_prediction(&mut self, on: bool) {
        self.connections.touch();
        self.cx.short_cuts = on;
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((owner, _)) = self.wheel.pop(now) {
            self.prefetch_due();
            if owner.is_embryo() {
                self.embryo_timeout(now, owner.index());
            } else {
                self.connection_timeout(now, owner.index());
            }
        }
        self.expire_time_waits(now);
        self.ip_timeout(now);
        self.prefetch_due();
    }

    /// When `handle_timeout` wants to be called next. May be earlier than the next thing that really happens,
    /// never later.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let earlier = |a: Option<Instant>, b: Option<Instant>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, None) | (None, one) => one,
        };
        let mut next = earlier(self.wheel.next(), self.ip_next_timeout());
        if self.waits4.len() + self.waits6.len() > 0 {
            next = earlier(next, self.waits4.oldest().map(|(_, at)| at));
            next = earlier(next, self.waits6.oldest().map(|(_, at)| at));
        }
        next
    }

    /// The next thing an application waits for; call until `None`.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        // Who asks until there is nothing asks once in vain each time.
        if self.events.is_empty() && !self.udp.has_events() {
            return None;
        }
        self.next_event()
    }

    fn next_event(&mut self) -> Option<Event> {
        while let Some(source) = self.events.pop_front() {
            match source {
                EventSource::Connection { index, generation } => {
                    let Some(c) = self.connections.get_mut(index).filter(|c| c.generation == generation)
                    else {
                        continue;
                    };
                    c.facts.set_event_queued(false);
                    let ready = core::mem::take(&mut c.ready);
                    if !ready.is_empty() && !c.facts.orphan() && !c.facts.unaccepted() {
                        return Some(Event::Tcp { conn: ConnId { index, generation }, ready });
                    }
                }
                EventSource::Incoming { index, generation } => {
                    if let Some(event) = self.incoming_event(index, generation) {
                        return Some(event);
                    }
                }
                EventSource::Listener { index, generation } => {
                    let live = self.listeners.get_mut(index).filter(|l| l.generation == generation);
                    if let Some(l) = live {
                        l.event_queued = false;
                        return Some(Event::Accept { listener: ListenerId { index, generation } });
                    }
                }
            }
        }
        self.udp.poll_event().map(|(socket, ready)| Event::Udp { socket, ready })
    }

    /// Records trace events in a ring of `capacity` events; 0 records nothing (the default).
    pub fn set_tracing(&mut self, capacity: usize) {
        self.cx.tracer.set_capacity(capacity);
    }

    /// The oldest observation that was not yet taken.
    pub fn poll_trace(&mut self) -> Option<TraceEvent> {
        self.cx.tracer.pop()
    }

    /// Moves observations that were not yet taken to the end of `into`, oldest first, until it holds `most`.
    pub fn take_trace(&mut self, most: usize, into: &mut Vec<TraceEvent>) {
        self.cx.tracer.take(most, into);
    }

    /// What happened so far, in numbers.
    pub fn counters(&self) -> &Counters {
        &self.cx.counters
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.cx.settings
    }

    /// Changes a setting by its sysctl name; connections that exist keep what they negotiated.
    ///
    /// # Errors
    /// See [`Settings::set`].
    pub fn set_sysctl(&mut self, name: &str, value: &str) -> Result<(), crate::settings::SettingError> {
        self.cx.settings.set(name, value)?;
        self.connections.touch();
        self.ports.forget_taken();
        self.cx.budget.limit = self.cx.settings.tcp_mem;
        Ok(())
    }

    /// Replaces all settings; connections that exist keep what they negotiated.
    pub fn set_settings(&mut self, settings: Settings) {
        self.cx.settings = settings;
        self.connections.touch();
        self.ports.forget_taken();
        self.cx.budget.limit = self.cx.settings.tcp_mem;
    }

    /// Replaces the routes. Connections that stand follow their MTUs with the next segment that they send.
    pub fn set_routes(&mut self, routes: Vec<Route>) {
        self.ip.routes.replace(routes);
    }

    /// Connections (embryos and TIME-WAIT included) by state, listeners under LISTEN.
    pub fn count_by_state(&self) -> [(State, usize); 11] {
        let mut counts = State::ALL.map(|state| (state, 0));
        for (_, c) in self.connections.iter().filter(|(_, c)| c.facts.indexed()) {
            counts[c.state as usize].1 += 1;
        }
        counts[State::Listen as usize].1 += self.listeners.len();
        counts[State::SynReceived as usize].1 += self.embryos.len();
        let covered = self.embryos.iter().filter(|(_, e)| e.under.is_some()).count();
        counts[State::TimeWait as usize].1 += self.waits4.len() + self.waits6.len() - covered;
        counts
    }

    /// Bytes that the stack's tables and buffers take, all counted.
    pub fn memory(&self) -> usize {
        let heap: usize = self.connections.iter().map(|(_, c)| c.heap_memory()).sum();
        heap + self.connections.memory()
            + self.embryos.memory()
            + self.waits4.memory()
            + self.waits6.memory()
            + self.listeners.memory()
            + self.binds.memory()
            + self.ready_to_send.capacity() * size_of::<(u32, u32)>()
            + self.events.capacity() * size_of::<EventSource>()
            + self.demux.memory()
            + self.ports.memory()
            + self.wheel.memory()
            + self.auth.memory()
            + self.expendable.memory()
            + self.cx.pool.memory()
            + self.cx.cookies.memory()
            + self.cx.tracer.memory()
            + self.ip.memory()
            + self.udp.memory()
    }

    /// A socket's options, in memory that sockets with the same ones share.
    fn share_options(&mut self, options: SocketOptions) -> Arc<SocketOptions> {
        match &self.recent_options {
            Some(recent) if **recent == options => recent.clone(),
            _ => self.recent_options.insert(Arc::new(options)).clone(),
        }
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// Counts and records that a packet which belongs to no connection was dropped.
    fn note_drop(
        &mut self,
        now: Instant,
        reason: DropReason,
        len: usize,
        ends: Option<(SocketAddr, SocketAddr)>,
    ) {
        self.cx.counters.count_drop(reason);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.cx.trace_stray(now, ends, TraceKind::Dropped { reason, len });
    }
}

#[cfg(test)]
pub(crate) fn test_cx() -> Cx {
    let config = Config {
        settings: Settings::default(),
        device: Capabilities::plain(1500),
        addresses: Vec::new(),
        routes: Vec::new(),
        any_address: false,
        seed: [1; 32],
    };
    Stack::new(Instant::ZERO, config).cx
}
