//! The way out of the private network, and in: what the program sends to an address outside is carried on by the host,
//! and published ports of the program's are reached from the host.
//!
//! The host's answer decides finack's. A SYN of the program's is held unanswered until the host's own connection is open
//! or has failed; then it is answered, refused with a RST or an ICMP error, or left to silence, as the host was. From
//! then on both connections are one (`finack::relay`).
//!
//! # Bounds
//! * At most 4096 openings of the program's wait at a time, decided or not; SYNs beyond are dropped, and the
//!   program's kernel repeats them.
//! * An opening waits for as long as the host tries (`net.ipv4.tcp_syn_retries` there, some two minutes), at most 150 s;
//!   it ends at once where the program resets it or begins anew from the same port. A program that gives up in silence,
//!   as `close` does, is noticed when the host's connection is answered: the program's RST then resets that too.
//! * At most 512 connections are carried to finack's own services at ports where none of them listens; the next ones
//!   wait, unanswered.
//! * Where the host has no descriptor, port or memory left, openings wait and are tried again until there is some; a
//!   line says so, once for each cause.
//! * Each direction of a connection holds at most `finack::relay::DEFAULT_BUFFER` bytes beyond what the two kernels and
//!   finack's stack keep in their own buffers.

mod connect;
mod datagram;
mod echo;
mod guests;
mod hosts;
mod publish;
mod strict;
mod tcp;
mod udp;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Weak;

use finack::Net;
use finack::net::{TcpGate, UdpGate};
use finack::relay::RelayStream as _;
use finack_core::options::SocketOptions;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::report::{Note, Outside, TakeNote};
use crate::services;
use crate::warnings::Warnings;

pub use hosts::HostName;
pub use publish::{Protocol, Publish, PublishError};

pub(crate) use connect::{Shortage, Sockets};
pub(crate) use hosts::Ways;
pub(crate) use publish::{Published, bind};

/// Openings of the program's that wait at a time.
const BACKLOG: u32 = 4096;

/// How often it is looked whether the program's last packets still come in, at its end.
const LAST_LOOKS: usize = 256;
/// Turns of the event loop for each of these looks: to read the device, to wake who waits for it, to carry on.
const TURNS_OF_A_LOOK: usize = 8;

/// What the gateway is to do.
pub(crate) struct Config {
    /// What the program may reach.
    pub(crate) ways: Ways,
    /// What the program sends is acknowledged only once the host's peer has it.
    pub(crate) strict_ack: bool,
    /// Where notes about connections go.
    pub(crate) note: TakeNote,
    /// Where a line goes that can't wait for the end.
    pub(crate) say: fn(&str),
    /// Where lines go that can.
    pub(crate) told: Warnings,
}

/// The gateway, while its tasks run on the current `LocalSet`.
pub(crate) struct Gateway {
    shared: Rc<Shared>,
    datagrams: Rc<UdpGate>,
}

/// What all of its connections share.
struct Shared {
    net: Net,
    ways: Ways,
    strict_ack: bool,
    sockets: Sockets,
    shortages: RefCell<BTreeMap<Shortage, u64>>,
    carried: RefCell<HashMap<u64, Rc<Carried>>>,
    last_carried: Cell<u64>,
    /// Told when nothing new is to be opened any more.
    closing: Notify,
    closed: Cell<bool>,
    /// Turns of connections to finack's own services at ports where none of them listens.
    inside: Semaphore,
    /// The run is over, and what is still carried is let go.
    over: Cell<bool>,
    note: TakeNote,
    say: fn(&str),
    told: Warnings,
    /// Datagrams of the program's that the host's network did not take at once.
    datagrams_dropped: Cell<u64>,
    /// Flows of datagrams that ended to make room for others.
    flows_ended: Cell<u64>,
}

/// A connection that is carried, as seen from the host's side.
struct Carried {
    host: Weak<TcpStream>,
    /// Bytes that the host's kernel took.
    written: Cell<u64>,
    /// All that the program sent, its FIN too, is the host's kernel's.
    over: Cell<bool>,
}

impl Gateway {
    /// Opens the gate, and lets clients of published ports in.
    ///
    /// # Errors
    /// The event loop can't watch a socket.
    pub(crate) fn start(net: &Net, config: Config, published: Published) -> io::Result<Self> {
        let options = SocketOptions { nodelay: true, oob_inline: true, ..SocketOptions::default() };
        let gate = TcpGate::open_on(net, BACKLOG, options)?;
        let shared = Rc::new(Shared {
            net: net.clone(),
            ways: config.ways,
            strict_ack: config.strict_ack,
            sockets: Sockets::claim(),
            shortages: RefCell::default(),
            carried: RefCell::default(),
            last_carried: Cell::new(0),
            closing: Notify::new(),
            closed: Cell::new(false),
            inside: Semaphore::new(services::CONNECTIONS),
            over: Cell::new(false),
            note: config.note,
            say: config.say,
            told: config.told,
            datagrams_dropped: Cell::new(0),
            flows_ended: Cell::new(0),
        });
        tcp::start(&shared, gate);
        let datagrams = Rc::new(UdpGate::open_on(net)?);
        udp::start(&shared, Rc::clone(&datagrams));
        echo::start(&shared, UdpGate::open_for_echoes(net)?);
        for (listener, port) in published.tcp {
            tcp::let_in(&shared, tokio::net::TcpListener::from_std(listener)?, port);
        }
        for (socket, port) in published.udp {
            guests::let_in(&shared, socket, port)?;
        }
        Ok(Self { shared, datagrams })
    }

    /// Gives up whatever is not open yet: nobody is left who waits for it.
    pub(crate) fn open_no_more(&self) {
        self.shared.closed.set(true);
        self.shared.closing.notify_waiters();
    }

    /// Carries on what the program sent last: a datagram that it sent before it ended has left it already, and nobody
    /// repeats it. It waits for no longer than packets still come in, and not for long.
    pub(crate) async fn last_datagrams(&self) {
        let received = || self.shared.net.counters().ip_in_receives;
        let mut before = received();
        for _ in 0..LAST_LOOKS {
            // Each time the device is looked at, and every task that has something to do has its turn.
            for _ in 0..TURNS_OF_A_LOOK {
                tokio::task::yield_now().await;
            }
            let now = received();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// What the program sent and the host's kernels have not yet delivered moves on as long as this changes; `None`
    /// where all of it is the host's kernel's, which delivers it without finack.
    pub(crate) fn owed(&self) -> Option<u64> {
        let carried = self.shared.carried.borrow();
        let mut owing = carried.values().filter(|c| !c.over.get()).peekable();
        owing.peek()?;
        // Written less queued is acknowledged.
        let acknowledged = |c: &Rc<Carried>| {
            let queued = c.host.upgrade().map_or(0, |host| host.unacknowledged());
            c.written.get().saturating_sub(queued as u64)
        };
        Some(owing.map(acknowledged).fold(0, u64::wrapping_add))
    }

    /// What the host was short of, a line for each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let shortages = self.shared.shortages.borrow();
        let mut lines: Vec<String> =
            shortages.iter().map(|(shortage, count)| shortage.counted(*count)).collect();
        // Of the gate none once the network is down.
        for (count, what) in [
            (
                self.datagrams.drops().unwrap_or(0),
                "datagrams were dropped: it sent faster than finack carries them",
            ),
            (self.shared.datagrams_dropped.get(), "datagrams were dropped: the host's network was busy"),
            (
                self.shared.flows_ended.get(),
                "UDP ports were forgotten to make room for others, those unused for longest first",
            ),
        ] {
            if count > 0 {
                lines.push(format!("{count} of the program's {what}"));
            }
        }
        lines
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.over.set(true);
    }
}

impl Shared {
    fn note(&self, finack: SocketAddr, program: SocketAddr, outside: Outside) {
        (self.note)(finack, program, Note::Outside(outside));
    }

    /// Counts what is missing, and says so the first time.
    fn short_of(&self, shortage: Shortage) {
        let count = {
            let mut shortages = self.shortages.borrow_mut();
            let count = shortages.entry(shortage).or_default();
            *count += 1;
            *count
        };
        if count == 1 {
            (self.say)(&shortage.told(self.sockets.limit()));
        }
    }

    /// Follows a connection for as long as what is returned lives.
    fn follow(self: &Rc<Self>, carried: &Rc<Carried>) -> Followed {
        let number = self.last_carried.get() + 1;
        self.last_carried.set(number);
        self.carried.borrow_mut().insert(number, Rc::clone(carried));
        Followed { shared: Rc::clone(self), number }
    }
}

/// A connection's place among those that are carried.
struct Followed {
    shared: Rc<Shared>,
    number: u64,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.shared.carried.borrow_mut().remove(&self.number);
    }
}
