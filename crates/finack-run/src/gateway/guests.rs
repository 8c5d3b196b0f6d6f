//! Published UDP ports: datagrams of the host's peers to the program, and its answers.
//!
//! Each peer of a published port is a port of finack's own address to the program, so that its answers find back: the
//! program can tell its peers apart, but not who they are.
//!
//! # Bounds
//! At most [`MAX_GUESTS`] peers of a port at a time, each until nothing went either way for 5 minutes (RFC 4787 REQ-5); beyond
//! that the one unused for longest ends first. What the program's side has no room for is dropped.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use finack::net::UdpSocket;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::datagram::{Fields, HostSocket, SIGNS};
use crate::plan;

/// Peers of a published port at the same time.
const MAX_GUESTS: usize = 1024;
/// How long one may be idle.
const IDLE: Duration = Duration::from_secs(300);
/// Largest payload of a datagram.
const DATAGRAM: usize = 65_535;
/// Datagrams in one turn.
const TURN: usize = 64;

/// A published port.
struct House {
    shared: Rc<Shared>,
    socket: AsyncFd<HostSocket>,
    /// The program's port.
    port: u16,
    guests: RefCell<HashMap<SocketAddr, Rc<Guest>>>,
    scratch: RefCell<Vec<u8>>,
}

/// A peer of the host's.
struct Guest {
    peer: SocketAddr,
    inside: UdpSocket,
    used: Cell<Instant>,
    ended: Notify,
}

/// Lets datagrams in that come to a socket of the host's, towards a port of the program's.
///
/// # Errors
/// The event loop can't watch the socket.
pub(super) fn let_in(shared: &Rc<Shared>, socket: std::net::UdpSocket, port: u16) -> io::Result<()> {
    let house = Rc::new(House {
        shared: Rc::clone(shared),
        socket: HostSocket::from_std(socket)?.watched()?,
        port,
        guests: RefCell::default(),
        scratch: RefCell::new(vec![0; DATAGRAM]),
    });
    spawn_local(house.carry_in());
    Ok(())
}

impl House {
    async fn carry_in(self: Rc<Self>) {
        let mut buf = vec![0; DATAGRAM];
        loop {
            let Ok(mut ready) = self.socket.ready(SIGNS).await else { return };
            // Errors about answers: the program is not the host, and a peer that went away is not its business.
            for _ in 0..TURN {
                if self.socket.get_ref().next_failed(&mut buf).is_err() {
                    break;
                }
            }
            let mut all = false;
            for _ in 0..TURN {
                match self.socket.get_ref().recv(&mut buf) {
                    Ok((len, from)) => self.hand_in(from, &buf[..len]).await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        all = true;
                        break;
                    }
                    Err(_) => {}
                }
            }
            if all {
                ready.clear_ready();
            } else {
                yield_now().await;
            }
        }
    }

    async fn hand_in(self: &Rc<Self>, from: SocketAddr, data: &[u8]) {
        let known = self.guests.borrow().get(&from).cloned();
        let guest = match known {
            Some(guest) => guest,
            // No port left inside, or the network's end: lost, as datagrams may be.
            None => match self.welcome(from).await {
                Ok(guest) => guest,
                Err(_) => return,
            },
        };
        guest.used.set(Instant::now());
        // The first call after the program refused one tells of that instead of sending.
        if guest.inside.try_send(data).is_err_and(|e| self.refused(&e)) {
            let _ = guest.inside.try_send(data);
        }
    }

    /// Whether the error says that nobody in the private network listens; then it is told once.
    fn refused(&self, error: &io::Error) -> bool {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        if refused {
            self.shared.told.add(format!(
                "datagrams came for the published port {}/udp while nothing in the program listened there",
                self.port
            ));
        }
        refused
    }

    async fn welcome(self: &Rc<Self>, peer: SocketAddr) -> io::Result<Rc<Guest>> {
        let (ours, programs) = match peer.ip().to_canonical() {
            IpAddr::V4(_) => (IpAddr::V4(plan::GATEWAY_V4), IpAddr::V4(plan::PROGRAM_V4)),
            IpAddr::V6(_) => (IpAddr::V6(plan::GATEWAY_V6), IpAddr::V6(plan::PROGRAM_V6)),
        };
        let inside = UdpSocket::bind_on(&self.shared.net, SocketAddr::new(ours, 0)).await?;
        inside.connect(SocketAddr::new(programs, self.port)).await?;
        if self.guests.borrow().len() >= MAX_GUESTS {
            self.make_room();
        }
        let used = Cell::new(Instant::now());
        let guest = Rc::new(Guest { peer, inside, used, ended: Notify::new() });
        self.guests.borrow_mut().insert(peer, Rc::clone(&guest));
        spawn_local(Rc::clone(self).carry_out(Rc::clone(&guest)));
        Ok(guest)
    }

    /// Ends the guest unused for longest.
    fn make_room(&self) {
        let oldest = self.guests.borrow().values().min_by_key(|guest| guest.used.get()).cloned();
        if let Some(guest) = oldest {
            self.guests.borrow_mut().remove(&guest.peer);
            guest.ended.notify_one();
        }
    }

    /// Takes the program's answers to one peer, until nothing went either way for long.
    async fn carry_out(self: Rc<Self>, guest: Rc<Guest>) {
        let mut idle = std::pin::pin!(sleep_until(guest.used.get() + IDLE));
        loop {
            tokio::select! {
                ready = guest.inside.readable() => {
                    if ready.is_err() || guest.inside.local_addr().is_err() {
                        break;
                    }
                    self.answer(&guest);
                    yield_now().await;
                }
                () = &mut idle => {
                    let deadline = guest.used.get() + IDLE;
                    if deadline <= Instant::now() {
                        break;
                    }
                    idle.as_mut().reset(deadline);
                }
                () = guest.ended.notified() => return,
            }
        }
        let mut guests = self.guests.borrow_mut();
        if guests.get(&guest.peer).is_some_and(|known| Rc::ptr_eq(known, &guest)) {
            guests.remove(&guest.peer);
        }
    }

    fn answer(&self, guest: &Guest) {
        let mut scratch = self.scratch.borrow_mut();
        for _ in 0..TURN {
            match guest.inside.try_recv(&mut scratch) {
                Ok(len) => {
                    guest.used.set(Instant::now());
                    // What the host's network does not take is lost, as datagrams may be.
                    let _ = self.socket.get_ref().send(guest.peer, &scratch[..len], Fields::default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.refused(&error);
                }
            }
        }
    }
}
