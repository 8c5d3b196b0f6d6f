//! Small services and services that misbehave, on finack's sockets.
//!
//! # Bounds
//! * A service carries at most [`CONNECTIONS`] connections at each of its addresses at a time; the next ones wait to be
//!   accepted, and where too many wait their SYNs are dropped.
//! * At ports where none of them listens, the gateway carries as many to all of them that misbehave.
//! * A connection is carried for an hour at most, then it is closed.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use finack::Net;
use finack::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use finack_core::stack::Refusal;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::misbehave::Behaviour;
use super::small::Small;
use super::start::accept;
use super::table::{self, By, SERVICES, Service};
use crate::plan::{self, Host};
use crate::report::{Note, TakeNote};

/// Connections that a service carries at one address and port at a time, and all of them at other ports.
pub(crate) const CONNECTIONS: usize = 512;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// How long one is carried.
const LONGEST: Duration = Duration::from_secs(3600);
/// Where services that misbehave answer.
const HTTP: u16 = 80;
/// Largest datagram of UDP over IPv4.
const DATAGRAM: usize = 65_507;

/// Starts echo, discard, daytime and chargen.
///
/// # Errors
/// What binding a port answers.
pub(super) async fn small(net: &Net) -> io::Result<()> {
    for service in Small::ALL {
        for addr in addresses(plan::host_named(service.host())) {
            let at = SocketAddr::new(addr, service.port());
            let listener = listen(net, at, None)?;
            spawn_local(carry_all(listener, move |stream| service.serve(stream)));
            spawn_local(answer_datagrams(UdpSocket::bind_on(net, at).await?, service));
        }
    }
    Ok(())
}

/// Starts the services that misbehave once a connection is open.
///
/// # Errors
/// What binding a port answers.
pub(super) async fn misbehaving(net: &Net, note: &TakeNote) -> io::Result<()> {
    for service in SERVICES {
        let Some(By::Behaviour(behaviour)) = service.fault.map(|fault| fault.by) else { continue };
        for addr in addresses(service.host()) {
            let listener = listen(net, SocketAddr::new(addr, HTTP), behaviour.receive_buffer())?;
            let note = Rc::clone(note);
            spawn_local(carry_all(listener, move |stream| {
                misbehave(service, behaviour, stream, Rc::clone(&note))
            }));
        }
    }
    Ok(())
}

async fn misbehave(
    service: &'static Service,
    behaviour: Behaviour,
    stream: TcpStream,
    note: TakeNote,
) -> io::Result<()> {
    meant(service, &stream, &note);
    behaviour.carry(stream).await
}

/// Has a report say of a connection that what comes is meant.
pub(super) fn meant(service: &Service, stream: &TcpStream, note: &TakeNote) {
    if let (Some(said), Ok(local), Ok(peer)) = (on_purpose(service), stream.local_addr(), stream.peer_addr())
    {
        note(local, peer, said);
    }
}

/// What a report says of a service that means it.
fn on_purpose(service: &Service) -> Option<Note> {
    let fault = service.fault?;
    Some(Note::Service { name: service.name, does: fault.did })
}

/// What becomes of a SYN to a service's address.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is turned down on purpose, and a report says this of it.
    Refuse(Refusal, Note),
    /// The service takes the connection, whatever its port.
    Carry(Carrier),
}

/// A service that takes connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier {
    service: &'static Service,
    behaviour: Behaviour,
}

impl Carrier {
    /// Carries a connection to its end.
    pub(crate) async fn carry(self, stream: TcpStream, note: &TakeNote) {
        meant(self.service, &stream, note);
        // How it ended is in the trace; there is nobody else to tell.
        let _ = timeout(LONGEST, self.behaviour.carry(stream)).await;
    }
}

/// What becomes of a SYN to an address and port where no socket listens. `None` where that is no service's business:
/// then it is refused as usual.
pub(crate) fn decide(local: SocketAddr) -> Option<Decision> {
    let service = table::named(plan::name_of(local.ip())?)?;
    match service.fault?.by {
        By::Refusal(how) => Some(Decision::Refuse(how, on_purpose(service)?)),
        By::Behaviour(behaviour) => Some(Decision::Carry(Carrier { service, behaviour })),
        By::Names => None,
    }
}

/// Whether nothing that is sent to `addr` is answered, on purpose.
pub(crate) fn is_silent(addr: IpAddr) -> bool {
    matches!(decide(SocketAddr::new(addr, 0)), Some(Decision::Refuse(Refusal::Silence, _)))
}

pub(super) fn addresses(host: Option<&Host>) -> impl Iterator<Item = IpAddr> {
    host.map(|h| [IpAddr::V4(h.v4), IpAddr::V6(h.v6)]).into_iter().flatten()
}

fn listen(net: &Net, at: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4_on(net) } else { TcpSocket::new_v6_on(net) };
    let mut options = socket.options();
    options.reuse_addr = true;
    options.recv_buffer = receive_buffer;
    socket.set_options(options);
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Carries connections, a bounded number at a time, until the network is down.
pub(super) async fn carry_all<F, Fut>(listener: TcpListener, carry: F)
where
    F: Fn(TcpStream) -> Fut + 'static,
    Fut: Future<Output = io::Result<()>> + 'static,
{
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
        let Some((stream, _)) = accept(&listener).await else { return };
        let carried = carry(stream);
        spawn_local(async move {
            // How it ended is in the trace; there is nobody else to tell.
            let _ = timeout(LONGEST, carried).await;
            drop(turn);
        });
    }
}

async fn answer_datagrams(socket: UdpSocket, service: Small) {
    let mut datagram = vec![0; DATAGRAM];
    for turn in 0.. {
        let (len, from) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(_) if socket.local_addr().is_err() => return,
            // An ICMP error about an earlier answer.
            Err(_) => continue,
        };
        if let Some(answer) = service.answer(from, &datagram[..len], turn) {
            // A datagram that can't be sent is lost, as datagrams may be.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_misbehave_do_so_at_every_port() {
        for (name, wanted) in [("refused.finack", Refusal::Reset), ("blackhole.finack", Refusal::Silence)] {
            for addr in addresses(plan::host_named(name)) {
                let decided = decide(SocketAddr::new(addr, 443));
                let Some(Decision::Refuse(how, note)) = decided else { panic!("{name}: {decided:?}") };
                assert!(how == wanted && note.to_string().starts_with(name), "{name}: {note}");
            }
        }
        for name in ["echo.finack", "hello.finack", "dns.finack", "truncated-dns.finack"] {
            for addr in addresses(plan::host_named(name)) {
                assert!(decide(SocketAddr::new(addr, 443)).is_none(), "{name}");
            }
        }
        let reset = SocketAddr::new(plan::host_named("reset.finack").unwrap().v6.into(), 5432);
        assert!(matches!(decide(reset), Some(Decision::Carry(c)) if c.behaviour == Behaviour::Reset));
        assert!(decide("192.0.2.1:80".parse().unwrap()).is_none());
    }
}
