//! Connections that cross the gateway.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use finack::net::{self, Answered, Opening, TcpGate};
use finack::relay::{Direct, Ended, Event, Relay, RelayStream, Relayed, Side};
use finack_core::stack::Refusal;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::connect::{self, Begun, Failure, Shortage, Socket};
use super::hosts::Way;
use super::strict::Strict;
use super::{Carried, Shared};
use crate::plan;
use crate::report::{Ends, Outside};
use crate::services::{self, Decision};

/// How often it is looked whether somebody still waits for an opening.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How long an opening waits where something is short, before it is tried again.
const SHORT_PAUSE: Duration = Duration::from_millis(100);
/// How long the program's other address may take to answer, once the first has refused: it is on this machine.
const OTHER_FAMILY: Duration = Duration::from_secs(3);

/// Who waits for a connection whose handshake with the program goes on.
enum Waiter {
    /// A task; the number tells one attempt from the next.
    Task(u64, oneshot::Sender<net::TcpStream>),
    /// The host's connection, which was open at once: it needs no task until there is something to carry.
    Host {
        stream: TcpStream,
        place: Socket,
        answered: Answered,
        /// When last looked at, the handshake was over.
        over: bool,
    },
}

impl Waiter {
    /// There will be no connection. A task sees it by itself.
    fn give_up(self) {
        if let Self::Host { stream, .. } = self {
            reset(stream);
        }
    }

    /// Whether the handshake was over by the look before this one, and its connection, were there one, had been accepted
    /// since. Tasks look for themselves.
    fn is_lost(&mut self) -> bool {
        match self {
            Self::Task(..) => false,
            Self::Host { answered, over, .. } => !answered.stands() && std::mem::replace(over, true),
        }
    }
}

/// Connections whose handshake with the program goes on.
#[derive(Default)]
struct Waiting {
    by_ends: RefCell<HashMap<Ends, Waiter>>,
    /// A task looks after those that have none of their own.
    looked_after: Cell<bool>,
}

impl Waiting {
    fn add(&self, ends: Ends, waiter: Waiter) {
        let replaced = self.by_ends.borrow_mut().insert(ends, waiter);
        if let Some(replaced) = replaced {
            replaced.give_up();
        }
    }

    fn take(&self, ends: Ends) -> Option<Waiter> {
        self.by_ends.borrow_mut().remove(&ends)
    }

    /// Forgets the task with this number, unless somebody else waits there by now.
    fn forget(&self, ends: Ends, number: u64) {
        let mut by_ends = self.by_ends.borrow_mut();
        if matches!(by_ends.get(&ends), Some(Waiter::Task(n, _)) if *n == number) {
            by_ends.remove(&ends);
        }
    }

    /// Gives up those who wait in vain; whether there are others who have no task.
    fn look(&self) -> bool {
        let mut by_ends = self.by_ends.borrow_mut();
        by_ends.extract_if(|_, waiter| waiter.is_lost()).for_each(|(_, waiter)| waiter.give_up());
        by_ends.values().any(|waiter| matches!(waiter, Waiter::Host { .. }))
    }

    /// Has those without a task looked after, until there are none.
    fn look_after(self: &Rc<Self>) {
        if self.looked_after.replace(true) {
            return;
        }
        let waiting = Rc::clone(self);
        spawn_local(async move {
            loop {
                sleep(LOOK_AFTER).await;
                if !waiting.look() {
                    waiting.looked_after.set(false);
                    return;
                }
            }
        });
    }
}

/// Takes openings and connections from the gate from now on.
pub(super) fn start(shared: &Rc<Shared>, gate: TcpGate) {
    let gate = Rc::new(gate);
    let waiting: Rc<Waiting> = Rc::default();
    let (open, openings, wait) = (Rc::clone(shared), Rc::clone(&gate), Rc::clone(&waiting));
    spawn_local(async move {
        let mut number = 0;
        // An error is the network's end.
        while let Ok(opening) = openings.opening().await {
            number += 1;
            begin(&open, &wait, number, opening);
        }
    });
    let shared = Rc::clone(shared);
    spawn_local(async move {
        while let Ok((stream, program)) = gate.accept().await {
            let Ok(local) = stream.local_addr() else { return };
            // Where nobody waits any more the host's connection is gone, and so is this: a FIN would tell the program
            // that its peer has said all.
            let unwanted = match waiting.take(Ends::new(local, program)) {
                Some(Waiter::Host { stream: host, place, .. }) => {
                    carry(&shared, stream, (local, program), host, place);
                    None
                }
                Some(Waiter::Task(_, waiter)) => waiter.send(stream).err(),
                None => Some(stream),
            };
            if let Some(stream) = unwanted {
                let _ = stream.abort();
            }
        }
    });
}

/// Begins to decide an opening: in a task of its own where that takes longer.
fn begin(shared: &Rc<Shared>, waiting: &Rc<Waiting>, number: u64, opening: Opening) {
    let to = opening.local_addr();
    match shared.ways.of(to.ip()) {
        Way::Out(addr) => {
            let outside = SocketAddr::new(addr, to.port());
            match connect::begin(outside, &shared.sockets) {
                // On this machine it is, at once.
                Begun::Open(host, place) => answer_at_once(shared, waiting, opening, outside, (host, place)),
                begun => {
                    let (shared, waiting) = (Rc::clone(shared), Rc::clone(waiting));
                    spawn_local(decide(shared, waiting, number, opening, outside, begun));
                }
            }
        }
        Way::Inside => {
            let (shared, waiting) = (Rc::clone(shared), Rc::clone(waiting));
            spawn_local(async move { inside(&shared, &waiting, number, opening).await });
        }
        Way::Barred(code) => {
            let why = match shared.ways.outside {
                true => "finack lets nothing out to this address",
                false => "the run is isolated",
            };
            turn_down(shared, opening, Refusal::Unreachable(code), why.to_owned());
        }
    }
}

/// The host's connection is open, and the program's is completed without a task that waits for it.
fn answer_at_once(
    shared: &Shared,
    waiting: &Rc<Waiting>,
    opening: Opening,
    outside: SocketAddr,
    (stream, place): (TcpStream, Socket),
) {
    let (to, program) = (opening.local_addr(), opening.peer_addr());
    shared.note(to, program, Outside::Connected { to: outside });
    match opening.answer() {
        Ok(answered) => {
            waiting.add(Ends::new(to, program), Waiter::Host { stream, place, answered, over: false });
            waiting.look_after();
        }
        Err(_) => reset(stream),
    }
}

async fn decide(
    shared: Rc<Shared>,
    waiting: Rc<Waiting>,
    number: u64,
    opening: Opening,
    outside: SocketAddr,
    begun: Begun,
) {
    match open(&shared, &opening, outside, begun).await {
        Some(Ok((host, place))) => {
            shared.note(opening.local_addr(), opening.peer_addr(), Outside::Connected { to: outside });
            answer(&shared, &waiting, number, opening, host, place).await;
        }
        Some(Err((refusal, error))) => turn_down(&shared, opening, refusal, error),
        // Nobody waits for the answer.
        None => {}
    }
}

/// Refuses an opening, and notes why.
fn turn_down(shared: &Shared, opening: Opening, refusal: Refusal, error: String) {
    shared.note(opening.local_addr(), opening.peer_addr(), Outside::Failed { error, answered: refusal });
    let _ = opening.refuse(refusal);
}

/// The host's connection, or how the program's SYN is to be refused and why; `None` once nobody waits for it.
async fn open(
    shared: &Shared,
    opening: &Opening,
    to: SocketAddr,
    mut begun: Begun,
) -> Option<Result<(TcpStream, Socket), (Refusal, String)>> {
    loop {
        let attempt = tokio::select! {
            // On this machine it has been refused by now.
            biased;
            attempt = connect::finish(begun, to) => attempt,
            () = given_up(shared, opening) => return None,
        };
        match attempt {
            Ok(open) => return Some(Ok(open)),
            Err(Failure::Refused { error, refusal }) => return Some(Err((refusal, error.to_string()))),
            Err(Failure::Short(shortage)) => {
                shared.short_of(shortage);
                if shared.sockets.is_hopeless() {
                    let host = connect::host_unreachable(to);
                    return Some(Err((host, "finack has no descriptor for it".into())));
                }
                tokio::select! {
                    () = sleep(SHORT_PAUSE) => {}
                    () = given_up(shared, opening) => return None,
                }
                begun = connect::begin(to, &shared.sockets);
            }
        }
    }
}

/// Waits until nobody waits for the opening any more.
async fn given_up(shared: &Shared, opening: &Opening) {
    loop {
        let closing = shared.closing.notified();
        if shared.closed.get() || !opening.stands() {
            return;
        }
        tokio::select! {
            () = closing => {}
            () = sleep(LOOK_AFTER) => {}
        }
    }
}

/// The host's connection is open: the program's is completed, and both are one from then on.
async fn answer(
    shared: &Rc<Shared>,
    waiting: &Waiting,
    number: u64,
    opening: Opening,
    host: TcpStream,
    place: Socket,
) {
    let ends = (opening.local_addr(), opening.peer_addr());
    match handshake(waiting, number, opening).await {
        Some(program) => carry(shared, program, ends, host, place),
        None => reset(host),
    }
}

/// The program's connection, once its handshake is complete; `None` where it never is.
async fn handshake(waiting: &Waiting, number: u64, opening: Opening) -> Option<net::TcpStream> {
    let ends = Ends::new(opening.local_addr(), opening.peer_addr());
    let (sender, receiver) = oneshot::channel();
    waiting.add(ends, Waiter::Task(number, sender));
    let program = match opening.answer() {
        Ok(answered) => tokio::select! {
            stream = receiver => stream.ok(),
            () = handshake_over(&answered) => None,
        },
        Err(_) => None,
    };
    if program.is_none() {
        waiting.forget(ends, number);
    }
    program
}

/// An address of finack's own, at a port where nobody listens: the opening is refused, unless a service that misbehaves
/// does so at every port.
async fn inside(shared: &Shared, waiting: &Waiting, number: u64, opening: Opening) {
    let (to, program) = (opening.local_addr(), opening.peer_addr());
    let refusal = match services::decide(to) {
        None => Refusal::Reset,
        Some(Decision::Refuse(refusal, note)) => {
            (shared.note)(to, program, note);
            if refusal == Refusal::Silence {
                // Held, so that repeated SYNs are the same opening's.
                given_up(shared, &opening).await;
            }
            refusal
        }
        Some(Decision::Carry(carrier)) => {
            let turn = tokio::select! {
                turn = shared.inside.acquire() => turn,
                () = given_up(shared, &opening) => return,
            };
            if let Some(stream) = handshake(waiting, number, opening).await {
                carrier.carry(stream, &shared.note).await;
            }
            return drop(turn);
        }
    };
    // Where the program gave up meanwhile nobody is to be told.
    let _ = opening.refuse(refusal);
}

/// Waits until no handshake goes on and its connection, were there one, had been accepted.
async fn handshake_over(answered: &Answered) {
    while answered.stands() {
        sleep(LOOK_AFTER).await;
    }
    sleep(LOOK_AFTER).await;
}

/// Lets clients of one published port in from now on.
pub(super) fn let_in(shared: &Rc<Shared>, listener: TcpListener, port: u16) {
    let shared = Rc::clone(shared);
    spawn_local(async move {
        loop {
            // Those that can't be taken now wait in the host's queue.
            let Some(place) = shared.sockets.take() else {
                shared.short_of(Shortage::Descriptors);
                sleep(SHORT_PAUSE).await;
                continue;
            };
            match listener.accept().await {
                Ok((client, from)) => {
                    spawn_local(enter(Rc::clone(&shared), client, from, port, place));
                }
                Err(error) => {
                    if let Some(shortage) = connect::shortage(&error) {
                        shared.short_of(shortage);
                        sleep(SHORT_PAUSE).await;
                    }
                }
            }
        }
    });
}

/// A client of a published port: it is let through to the program, or reset where nobody listens there. Its own kernel
/// has accepted it before it could be asked.
async fn enter(shared: Rc<Shared>, client: TcpStream, from: SocketAddr, port: u16, place: Socket) {
    // Without the options it works too.
    let _ = connect::prepare(&client);
    let program = tokio::select! {
        program = towards_program(&shared, from.ip(), port) => program,
        _ = client.broken() => return,
    };
    let ends = program.as_ref().ok().and_then(|p| Some((p.local_addr().ok()?, p.peer_addr().ok()?)));
    match (program, ends) {
        (Ok(program), Some(ends)) => {
            shared.note(ends.0, ends.1, Outside::Accepted { from });
            carry(&shared, program, ends, client, place);
        }
        _ => reset(client),
    }
}

/// A connection to the program's port, in the family that the client came by where somebody listens there, else in the
/// other.
async fn towards_program(shared: &Shared, from: IpAddr, port: u16) -> io::Result<net::TcpStream> {
    let v4 = SocketAddr::from((plan::PROGRAM_V4, port));
    let v6 = SocketAddr::from((plan::PROGRAM_V6, port));
    let (first, second) = if from.to_canonical().is_ipv4() { (v4, v6) } else { (v6, v4) };
    match enter_at(shared, first).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            timeout(OTHER_FAMILY, enter_at(shared, second)).await.map_err(io::Error::from)?
        }
        result => result,
    }
}

/// A connection to this address of the program's. Where none of finack's ports is free it waits for one.
async fn enter_at(shared: &Shared, to: SocketAddr) -> io::Result<net::TcpStream> {
    loop {
        match try_enter_at(shared, to).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                shared.short_of(Shortage::PortsInside);
                sleep(SHORT_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn try_enter_at(shared: &Shared, to: SocketAddr) -> io::Result<net::TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => net::TcpSocket::new_v4_on(&shared.net),
        SocketAddr::V6(_) => net::TcpSocket::new_v6_on(&shared.net),
    };
    let mut options = socket.options();
    options.nodelay = true;
    options.oob_inline = true;
    socket.set_options(options);
    socket.connect(to).await
}

/// Carries what the two say to each other until both have ended, in a task of its own: it may be idle for days, and
/// that of the opening is several times its size.
fn carry(
    shared: &Rc<Shared>,
    program: net::TcpStream,
    ends: (SocketAddr, SocketAddr),
    host: TcpStream,
    place: Socket,
) {
    let stream = Arc::new(host);
    let carried =
        Rc::new(Carried { host: Arc::downgrade(&stream), written: Cell::new(0), over: Cell::new(false) });
    let followed = shared.follow(&carried);
    let mut host = HostSide {
        stream: Arc::clone(&stream),
        carried,
        shared: Rc::clone(shared),
        strict: None,
        writes: Cell::new(Writes::None),
    };
    let noting = Rc::clone(shared);
    let tell = move |event: Event<'_>| match event {
        Event::Ended { side: Side::B } => noting.note(ends.0, ends.1, Outside::PeerClosed),
        Event::Broken { side: Side::B, error } => {
            let reset = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
            let what = if reset { Outside::PeerReset } else { Outside::Lost(error.to_string()) };
            noting.note(ends.0, ends.1, what);
        }
        _ => {}
    };
    // Boxed, since a future that another awaits would take its room twice.
    if shared.strict_ack {
        let strict = Strict::new(program, stream);
        host.strict = Some(Rc::clone(&strict));
        let relay = Relay::new(strict.program(), host).observe(tell).run();
        let carrying = Box::pin(async move { carry_strictly(&strict, relay).await });
        spawn_local(async move {
            carrying.await;
            drop((followed, place));
        });
    } else {
        drop(stream);
        let carrying = Box::pin(Relay::new(program, host).observe(tell).run());
        spawn_local(async move {
            carrying.await;
            drop((followed, place));
        });
    }
}

/// Runs a relay, and passes ACKs on meanwhile and until the last of them where it ended in order.
async fn carry_strictly(strict: &Strict, relay: impl Future<Output = Relayed>) {
    let over = Cell::new(false);
    let relay = async {
        let in_order = matches!(relay.await.ended, Ended::Closed { .. });
        over.set(true);
        strict.look();
        if in_order {
            // Lost now, nothing more is acknowledged.
            strict.host_lost().await;
        }
    };
    tokio::select! {
        () = relay => {}
        () = strict.pass_acks_on(&over) => {}
    }
}

/// Closes the host's connection with a RST.
fn reset(host: TcpStream) {
    // Where that is refused its peer sees a FIN: the connection is gone all the same.
    let _ = host.set_zero_linger();
}

/// How much was written to a connection so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    None,
    One,
    /// More than one, and TCP_NODELAY is set.
    More,
}

/// The host's side of a relay, which counts what goes through.
struct HostSide {
    writes: Cell<Writes>,
    stream: Arc<TcpStream>,
    carried: Rc<Carried>,
    shared: Rc<Shared>,
    strict: Option<Rc<Strict>>,
}

impl HostSide {
    /// Small segments are not held back, for whoever wrote them has decided already. That matters from the second write
    /// on, and many connections have one only: the kernel holds a small segment back while another one is not
    /// acknowledged (RFC 1122 4.2.3.4, as Linux has it).
    fn switch_nagle_off(&self) {
        match self.writes.get() {
            Writes::None => self.writes.set(Writes::One),
            Writes::One => {
                // Without it small segments come late: no reason to end the connection.
                let _ = rustix::net::sockopt::set_tcp_nodelay(&*self.stream, true);
                self.writes.set(Writes::More);
            }
            Writes::More => {}
        }
    }

    fn count(&self, written: usize) {
        self.carried.written.set(self.carried.written.get() + written as u64);
        if let Some(strict) = &self.strict {
            strict.sent(written as u64);
        }
    }
}

impl RelayStream for HostSide {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        RelayStream::poll_read(&*self.stream, cx, buf)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.switch_nagle_off();
        let poll = RelayStream::poll_write(&*self.stream, cx, buf);
        if let Poll::Ready(Ok(n)) = &poll {
            self.count(*n);
        }
        poll
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = RelayStream::poll_end(&*self.stream, cx);
        if poll.is_ready() {
            self.carried.over.set(true);
            if let Some(strict) = &self.strict {
                strict.sent(1);
            }
        }
        poll
    }

    /// Closing says it too, where nobody else holds the socket.
    fn poll_end_last(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.strict.is_some() {
            return self.poll_end(cx);
        }
        self.carried.over.set(true);
        Poll::Ready(Ok(()))
    }

    fn broken(&self) -> impl Future<Output = io::Error> + Send {
        RelayStream::broken(&*self.stream)
    }

    fn unacknowledged(&self) -> usize {
        self.stream.unacknowledged()
    }

    fn direct(&self) -> Direct<'_> {
        Direct::Kernel(&self.stream)
    }

    fn will_write(&self) {
        self.switch_nagle_off();
    }

    fn wrote_directly(&self, count: usize) {
        self.count(count);
    }

    /// At the run's end what the host's kernel has, FIN and all, is left to it: a RST would take it back.
    fn reset_on_drop(&self) {
        if !(self.shared.over.get() && self.carried.over.get()) {
            self.stream.reset_on_drop();
        }
    }
}
