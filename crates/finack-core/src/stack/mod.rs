//! The verbs. Only here do the tables (connections, listeners, embryos, TIME-WAIT, UDP) meet.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::counters::Counters;
use crate::device::{Capabilities, Packet, Transmit};
use crate::error::Error;
use crate::options::{BindOptions, RecvFlags, SendFlags, Shutdown, SocketOptions};
use crate::settings::Settings;
use crate::tcp::{State, TcpInfo};
use crate::time::Instant;
use crate::trace::TraceEvent;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident,)+) => {$(
        $(#[$meta])*
        ///
        /// Generation-tagged: a handle that outlived what it named answers [`Error::BadHandle`], never somebody else.
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
}

/// One host's TCP and UDP.
#[derive(Clone, Debug)]
pub struct Stack {
    counters: Counters,
}

#[allow(unused_variables, missing_docs, clippy::todo)]
impl Stack {
    pub fn new(now: Instant, config: Config) -> Self { todo!() }

    // ---- the verbs
    /// Takes received packets, in order.
    pub fn handle_packets(&mut self, now: Instant, packets: &[Packet<'_>]) { todo!() }
    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) { todo!() }
    /// When `handle_timeout` wants to be called next. May be earlier than the next thing that really happens, never later.
    pub fn poll_timeout(&self) -> Option<Instant> { todo!() }
    /// The next packet to send, if any; call until `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> { todo!() }
    /// The next thing an application waits for; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> { todo!() }

    // ---- observation
    /// Records trace events in a ring of `capacity` events; 0 records nothing (the default).
    pub fn set_tracing(&mut self, capacity: usize) { todo!() }
    pub fn poll_trace(&mut self) -> Option<TraceEvent> { todo!() }
    pub fn counters(&self) -> &Counters { &self.counters }
    pub fn settings(&self) -> &Settings { todo!() }
    /// Connections (embryos and TIME-WAIT included) by state, listeners under LISTEN.
    pub fn count_by_state(&self) -> [(State, usize); 11] { todo!() }
    /// Bytes that the stack's tables and buffers take, all counted.
    pub fn memory(&self) -> usize { todo!() }

    // ---- TCP
    pub fn tcp_bind(&mut self, now: Instant, local: SocketAddr, options: BindOptions) -> Result<BindId, Error> { todo!() }
    pub fn tcp_bound_addr(&self, bind: BindId) -> Result<SocketAddr, Error> { todo!() }
    /// Gives up a bind that became neither listener nor connection.
    pub fn tcp_unbind(&mut self, bind: BindId) -> Result<(), Error> { todo!() }
    /// Turns a bind into a listener; the BindId is spent on success.
    pub fn tcp_listen(&mut self, now: Instant, bind: BindId, backlog: u32, options: SocketOptions) -> Result<ListenerId, Error> { todo!() }
    pub fn tcp_listener_addr(&self, listener: ListenerId) -> Result<SocketAddr, Error> { todo!() }
    /// Connections that wait to be accepted are reset.
    pub fn tcp_close_listener(&mut self, now: Instant, listener: ListenerId) -> Result<(), Error> { todo!() }
    /// `Err(WouldBlock)` until Event::Accept.
    pub fn tcp_accept(&mut self, now: Instant, listener: ListenerId) -> Result<(ConnId, SocketAddr), Error> { todo!() }
    /// Sends a SYN. The connection is established when an event says WRITABLE, failed when it says ERROR (then `tcp_take_error`).
    pub fn tcp_connect(&mut self, now: Instant, bind: Option<BindId>, remote: SocketAddr, options: SocketOptions) -> Result<ConnId, Error> { todo!() }
    /// How many bytes were taken; `WouldBlock` where none fit.
    pub fn tcp_send(&mut self, now: Instant, conn: ConnId, data: &[u8], flags: SendFlags) -> Result<usize, Error> { todo!() }
    /// How many bytes were read; `Ok(0)` is EOF (for a non-empty buffer), `WouldBlock` where nothing is there yet.
    pub fn tcp_recv(&mut self, now: Instant, conn: ConnId, buf: &mut [u8], flags: RecvFlags) -> Result<usize, Error> { todo!() }
    pub fn tcp_shutdown(&mut self, now: Instant, conn: ConnId, how: Shutdown) -> Result<(), Error> { todo!() }
    /// The application lets go: FIN, or RST where data is unread or linger is 0. The handle is spent.
    pub fn tcp_close(&mut self, now: Instant, conn: ConnId) -> Result<(), Error> { todo!() }
    /// RST. The handle is spent.
    pub fn tcp_abort(&mut self, now: Instant, conn: ConnId) -> Result<(), Error> { todo!() }
    /// Whether data or FIN still wait for their ACK (what SO_LINGER with a time waits for).
    pub fn tcp_unacknowledged(&self, conn: ConnId) -> Result<bool, Error> { todo!() }
    /// What the connection is ready for now (level, not edge).
    pub fn tcp_ready(&self, conn: ConnId) -> Result<Ready, Error> { todo!() }
    /// SO_ERROR: the pending error, cleared by asking.
    pub fn tcp_take_error(&mut self, conn: ConnId) -> Result<Option<Error>, Error> { todo!() }
    pub fn tcp_options(&self, conn: ConnId) -> Result<SocketOptions, Error> { todo!() }
    /// Replaces all options at once; what they allow to be sent now is sent.
    pub fn tcp_set_options(&mut self, now: Instant, conn: ConnId, options: SocketOptions) -> Result<(), Error> { todo!() }
    pub fn tcp_state(&self, conn: ConnId) -> Result<State, Error> { todo!() }
    pub fn tcp_info(&self, now: Instant, conn: ConnId) -> Result<TcpInfo, Error> { todo!() }
    pub fn tcp_local_addr(&self, conn: ConnId) -> Result<SocketAddr, Error> { todo!() }
    pub fn tcp_remote_addr(&self, conn: ConnId) -> Result<SocketAddr, Error> { todo!() }

    // ---- UDP
    pub fn udp_bind(&mut self, local: SocketAddr, options: BindOptions) -> Result<UdpId, Error> { todo!() }
    /// `None` dissolves the association.
    pub fn udp_connect(&mut self, socket: UdpId, remote: Option<SocketAddr>) -> Result<(), Error> { todo!() }
    pub fn udp_send(&mut self, now: Instant, socket: UdpId, to: Option<SocketAddr>, data: &[u8]) -> Result<usize, Error> { todo!() }
    pub fn udp_recv(&mut self, socket: UdpId, buf: &mut [u8], peek: bool) -> Result<UdpRecv, Error> { todo!() }
    pub fn udp_ready(&self, socket: UdpId) -> Result<Ready, Error> { todo!() }
    pub fn udp_local_addr(&self, socket: UdpId) -> Result<SocketAddr, Error> { todo!() }
    pub fn udp_remote_addr(&self, socket: UdpId) -> Result<Option<SocketAddr>, Error> { todo!() }
    pub fn udp_take_error(&mut self, socket: UdpId) -> Result<Option<Error>, Error> { todo!() }
    /// SO_BROADCAST.
    pub fn udp_set_broadcast(&mut self, socket: UdpId, on: bool) -> Result<(), Error> { todo!() }
    pub fn udp_join(&mut self, socket: UdpId, group: IpAddr) -> Result<(), Error> { todo!() }
    pub fn udp_leave(&mut self, socket: UdpId, group: IpAddr) -> Result<(), Error> { todo!() }
    /// (TOS, hop limit, multicast hop limit)
    pub fn udp_set_hop_limit(&mut self, socket: UdpId, unicast: Option<u8>, multicast: Option<u8>) -> Result<(), Error> { todo!() }
    pub fn udp_set_buffers(&mut self, socket: UdpId, recv: Option<usize>, send: Option<usize>) -> Result<(), Error> { todo!() }
    /// Datagrams dropped because the receive buffer was full.
    pub fn udp_drops(&self, socket: UdpId) -> Result<u64, Error> { todo!() }
    pub fn udp_close(&mut self, socket: UdpId) -> Result<(), Error> { todo!() }
}
