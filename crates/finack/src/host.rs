//! The handle on one host's network: how it is made, looked at and shut down.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use finack_core::Instant;
use finack_core::counters::Counters;
use finack_core::settings::{SettingError, Settings};
use finack_core::stack::{Config, InterfaceAddress, Route, SocketCursor, TcpSocket, UdpSocketInfo};
use finack_core::tcp::{State, TcpInfo};
use finack_core::trace::TraceEvent;

use crate::device::{Device, DeviceCounters};
use crate::shard::{Driver, Shard, Shards};

/// Most shards of one network: as many as a TUN interface has queues.
const MOST_SHARDS: usize = 256;

/// Adds to a list what another shard has of the same things, and what only that one has.
fn merge<T>(all: &mut Vec<T>, parts: Vec<T>, same: impl Fn(&T, &T) -> bool, add: impl Fn(&mut T, &T)) {
    let (known, mut next) = (all.len(), 0);
    for part in parts {
        // Shards have them in the same order, unless one came or went meanwhile.
        match (next..known).chain(0..next.min(known)).find(|&i| same(&all[i], &part)) {
            Some(i) => {
                add(&mut all[i], &part);
                next = i + 1;
            }
            None => all.push(part),
        }
    }
}

/// One host's TCP and UDP over one device.
///
/// Cheap to clone; all clones and all sockets share the same network, which lives until the last of
/// them is gone or [`shutdown`](Self::shutdown) is called. Connections that were dropped but are not yet
/// closed end with it: wait for them with [`drain`](Self::drain).
#[derive(Clone)]
pub struct Net {
    pub(crate) shards: Arc<Shards>,
    /// The shard that connections are opened on; `None` takes them in turn.
    pub(crate) pin: Option<usize>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

/// What a [`Net`] is made from. Without any address it can send nothing.
#[derive(Clone)]
#[must_use]
pub struct NetBuilder {
    settings: Settings,
    addresses: Vec<InterfaceAddress>,
    routes: Vec<Route>,
    any_address: bool,
    seed: Option<[u8; 32]>,
    trace: usize,
    shards: Option<usize>,
}

impl fmt::Debug for NetBuilder {
    /// The seed keys sequence numbers and ports: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetBuilder")
            .field("addresses", &self.addresses)
            .field("routes", &self.routes)
            .field("any_address", &self.any_address)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

impl NetBuilder {
    fn new() -> Self {
        Self {
            settings: Settings::default(),
            addresses: Vec::new(),
            routes: Vec::new(),
            any_address: false,
            seed: None,
            trace: 0,
            shards: None,
        }
    }

    /// Adds an address of the host; `prefix_len` bits of it (0 to 32 or 128) name the network on the link.
    pub fn address(mut self, addr: impl Into<IpAddr>, prefix_len: u8) -> Self {
        self.addresses.push(InterfaceAddress { addr: addr.into(), prefix_len });
        self
    }

    /// Lets packets go to a network beyond the addresses' own; a `prefix_len` of 0 is the default route
    /// of the address's family.
    pub fn route(mut self, network: impl Into<IpAddr>, prefix_len: u8) -> Self {
        self.routes.push(Route { network: network.into(), prefix_len, mtu: None, advertised_mss: None });
        self
    }

    /// Like [`route`](Self::route), for a path whose MTU (in bytes) is known to be below the device's.
    pub fn route_with_mtu(mut self, network: impl Into<IpAddr>, prefix_len: u8, mtu: u32) -> Self {
        self.routes.push(Route { network: network.into(), prefix_len, mtu: Some(mtu), advertised_mss: None });
        self
    }

    /// Takes packets to any unicast address as if it were this host's, as a gateway's inner side does.
    pub const fn any_address(mut self, on: bool) -> Self {
        self.any_address = on;
        self
    }

    /// Replaces all settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets one setting by Linux's sysctl name, such as `net.ipv4.tcp_fin_timeout` or `tcp_fin_timeout`.
    ///
    /// # Errors
    /// The name is unknown or the value makes no sense; see [`Settings::set`].
    pub fn sysctl(mut self, name: &str, value: &str) -> Result<Self, SettingError> {
        self.settings.set(name, value)?;
        Ok(self)
    }

    /// The secret that keys initial sequence numbers (RFC 6528), ports (RFC 6056) and timestamps. Without
    /// it the operating system's entropy is used, which is what everything but a test wants.
    pub const fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Records trace events from the first packet on, as [`Net::set_trace`] does later.
    pub const fn trace(mut self, capacity: usize) -> Self {
        self.trace = capacity;
        self
    }

    /// Spreads the network's work over `count` shards, 1 to 256; unless set there are as many as the device has queues.
    ///
    /// Each shard is an engine of its own behind a lock of its own, with its own driver, so that as many cores can work
    /// at once. A keyed hash of both ends of a connection, or of an exchange of datagrams, tells which shard it belongs
    /// to; a packet that comes through another's queue is handed on in a ring, which holds up to 1024 of them and 8 MiB
    /// (beyond that it is dropped and counted under
    /// [`ShardRingFull`](finack_core::trace::DropReason::ShardRingFull)). Connections are opened on each shard in turn,
    /// or on the one that [`Net::on_shard`] names, from ports that bring the answers there; one from a port that was
    /// bound is where that port leads to. Listeners and UDP sockets have a part on every shard and take what comes to
    /// any of them.
    ///
    /// What bounds the whole host (memory, connections, TIME-WAIT, half-open connections, fragments, a listener's
    /// backlog) is divided among the shards; the receive buffer of a UDP socket is each part's. Trace events of
    /// different shards come in the order of time only as far as they wait together.
    ///
    /// It pays where one core does not suffice, and where the device has a queue for each: with one queue alone one
    /// shard receives for all.
    pub const fn shards(mut self, count: usize) -> Self {
        self.shards = Some(count);
        self
    }

    /// Brings the network up: its drivers become tasks of the tokio runtime that this is called on.
    ///
    /// # Errors
    /// Not called on a tokio runtime; the device's descriptor can't be watched; no entropy to be had; a number of
    /// [shards](Self::shards) out of range.
    ///
    /// # Panics
    /// The tokio runtime was built without its I/O or time driver, as tokio's own sockets do.
    pub fn build(self, device: impl Device + 'static) -> io::Result<Net> {
        self.build_on(vec![device])
    }

    /// [`build`](Self::build) on a device with several queues, such as
    /// [`TunDevice::another_queue`](crate::device::TunDevice::another_queue) opens: one for each shard, or for some
    /// of them.
    ///
    /// # Errors
    /// As [`build`](Self::build); no queue, or more queues than shards (`InvalidInput`).
    ///
    /// # Panics
    /// As [`build`](Self::build).
    pub fn build_on<D: Device + 'static>(self, queues: Vec<D>) -> io::Result<Net> {
        let (net, mut drivers) = self.build_apart(queues)?;
        drivers.iter_mut().try_for_each(Driver::watch)?;
        for driver in drivers {
            tokio::spawn(driver.run());
        }
        Ok(net)
    }

    /// [`build_on`](Self::build_on) that leaves it to the caller where the drivers run: for programs with a
    /// runtime and a core for each shard. Until a [driver](Driver) runs, nothing is received for its shard and no time
    /// passes there.
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on).
    pub fn build_apart<D: Device + 'static>(self, queues: Vec<D>) -> io::Result<(Net, Vec<Driver>)> {
        self.build_boxed(queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Device>).collect())
    }

    fn build_boxed(self, queues: Vec<Box<dyn Device>>) -> io::Result<(Net, Vec<Driver>)> {
        let count = self.shards.unwrap_or(queues.len());
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let Some(device) = queues.first().map(|queue| queue.capabilities()) else {
            return invalid("a network needs a device with one queue at least".into());
        };
        if !(1..=MOST_SHARDS).contains(&count) {
            return invalid(format!("{count} shards: a network has 1 to {MOST_SHARDS}"));
        }
        if queues.len() > count {
            return invalid(format!(
                "{} queues for {count} shards: nobody would read the others",
                queues.len()
            ));
        }
        let seed = match self.seed {
            Some(seed) => seed,
            None => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(io::Error::other)?;
                seed
            }
        };
        let config = Config {
            settings: self.settings,
            device,
            addresses: self.addresses,
            routes: self.routes,
            any_address: self.any_address,
            seed,
        };
        let (shards, drivers) = Shards::new(queues, count, &config, self.trace)?;
        Ok((Net { shards, pin: None }, drivers))
    }
}

impl Net {
    /// Starts to describe a network.
    pub fn builder() -> NetBuilder {
        NetBuilder::new()
    }

    /// How many shards it has; see [`NetBuilder::shards`].
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The same network, but that connections which are opened through this handle belong to the shard `index`, 0 to
    /// [`shards`](Self::shards) - 1: for programs whose tasks stay beside the shard's driver. Bound ports, listeners and
    /// UDP sockets are no different. `None` where there is no such shard.
    pub fn on_shard(&self, index: usize) -> Option<Self> {
        (index < self.shards()).then(|| Self { shards: Arc::clone(&self.shards), pin: Some(index) })
    }

    /// What happened so far, by Linux's MIB names.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.shards.iter().for_each(|shard| shard.with(|inner| sum.add(inner.stack.counters())));
        sum
    }

    /// What the device has carried and lost, all queues together.
    pub fn device_counters(&self) -> DeviceCounters {
        let mut sum = DeviceCounters::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.with(|inner| inner.device_counters())));
        sum
    }

    /// Connections by state (half-open ones and TIME-WAIT included), listeners under LISTEN.
    pub fn count_by_state(&self) -> [(State, usize); 11] {
        let mut shards = self.shards.iter().map(|shard| shard.with(|inner| inner.stack.count_by_state()));
        let mut sum = shards.next().unwrap_or(State::ALL.map(|state| (state, 0)));
        for counts in shards {
            let (sum, counts) = (sum.iter_mut(), counts.iter());
            // Every shard has its part of each listener.
            sum.zip(counts).filter(|(s, _)| s.0 != State::Listen).for_each(|(s, (_, count))| s.1 += count);
        }
        sum
    }

    /// Bytes that the engine's tables and buffers take.
    pub fn memory(&self) -> usize {
        self.shards.iter().map(|shard| shard.with(|inner| inner.stack.memory())).sum()
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.shards.settings()
    }

    /// Changes a setting by its sysctl name; connections that exist keep what they negotiated.
    ///
    /// # Errors
    /// The name is unknown or the value makes no sense; see [`Settings::set`].
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), SettingError> {
        self.shards.set_sysctl(name, value)
    }

    /// The connections that this program holds, in no particular order.
    pub fn connections(&self) -> Vec<TcpInfo> {
        let mut infos = Vec::new();
        if self.stopped().is_some() {
            return infos;
        }
        for shard in self.shards.iter() {
            shard.each_connection(|inner, now, conn| infos.extend(inner.stack.tcp_info(now, conn)));
        }
        infos
    }

    /// Goes on with a list of all TCP sockets of this host, whoever holds them: half-open ones, those that were let go
    /// of, TIME-WAIT and listeners included. Up to `places` places of the tables are looked at with the lock held; begin
    /// with a default cursor; `None` says that the list is complete. See [`Stack::tcp_sockets`].
    ///
    /// [`Stack::tcp_sockets`]: finack_core::Stack::tcp_sockets
    pub fn tcp_sockets(&self, cursor: &mut SocketCursor, places: usize) -> Option<Vec<TcpSocket>> {
        let mut sockets = Vec::new();
        if self.shards() > 1 && cursor.skip_listeners() {
            sockets = self.listeners();
        }
        let mut more = true;
        while sockets.is_empty() && more {
            more = self.shards.get(cursor.shard()).with(|inner| {
                let now = inner.now();
                inner.stack.tcp_sockets(now, cursor, places, |socket| sockets.push(socket))
            });
            if !more && cursor.shard() + 1 < self.shards() {
                cursor.next_shard();
                cursor.skip_listeners();
                more = true;
            } else if more {
                break;
            }
        }
        (more || !sockets.is_empty()).then_some(sockets)
    }

    /// The listeners of all shards, the parts of each put together.
    fn listeners(&self) -> Vec<TcpSocket> {
        let mut all: Vec<TcpSocket> = Vec::new();
        for shard in self.shards.iter() {
            let mut parts = Vec::new();
            shard.with(|inner| inner.stack.tcp_listeners(|part| parts.push(part)));
            merge(
                &mut all,
                parts,
                |one, part| one.local == part.local,
                |one, part| {
                    one.recv_queue += part.recv_queue;
                    one.send_queue += part.send_queue;
                },
            );
        }
        all
    }

    /// The one TCP connection between these two ends, in whatever form it is.
    pub fn tcp_socket(&self, local: SocketAddr, remote: SocketAddr) -> Option<TcpSocket> {
        self.shards.get(self.shards.of_flow(local, remote)).with(|inner| {
            let now = inner.now();
            inner.stack.tcp_socket(now, local, remote)
        })
    }

    /// Goes on with a list of all UDP sockets of this host, as [`tcp_sockets`](Self::tcp_sockets) does.
    pub fn udp_sockets(&self, cursor: &mut SocketCursor, places: usize) -> Option<Vec<UdpSocketInfo>> {
        let (mut sockets, mut more, start) = (Vec::new(), false, *cursor);
        for shard in self.shards.iter() {
            let (mut parts, mut at) = (Vec::new(), start);
            more |= shard.with(|inner| inner.stack.udp_sockets(&mut at, places, |part| parts.push(part)));
            *cursor = at;
            let same = |one: &UdpSocketInfo, part: &UdpSocketInfo| {
                (one.local, one.remote) == (part.local, part.remote)
            };
            merge(&mut sockets, parts, same, |one, part| {
                one.recv_queue += part.recv_queue;
                one.send_queue += part.send_queue;
                one.drops += part.drops;
            });
        }
        (more || !sockets.is_empty()).then_some(sockets)
    }

    /// The time as trace events have it: since the network was built.
    pub fn now(&self) -> Instant {
        self.shards.get(0).with(|inner| inner.now())
    }

    /// Records trace events in a ring that holds `capacity` of them (one of each shard); 0 records nothing, which is
    /// how a network starts. A full ring loses what comes next, and says how many that were
    /// ([`TraceKind::Lost`](finack_core::trace::TraceKind::Lost)).
    pub fn set_trace(&self, capacity: usize) {
        self.shards.iter().for_each(|shard| shard.with(|inner| inner.stack.set_tracing(capacity)));
    }

    /// The oldest trace event not yet taken.
    pub fn poll_trace(&self) -> Option<TraceEvent> {
        self.shards.poll_trace()
    }

    /// Moves trace events not yet taken to the end of `into`, oldest first, until that holds `most`: with one lock for all
    /// of them where there is one shard.
    pub fn take_trace(&self, most: usize, into: &mut Vec<TraceEvent>) {
        self.shards.take_trace(most, into);
    }

    /// Waits for the next trace event; `None` once the network has stopped and all were taken.
    /// The ring has one reader: of several tasks that wait at once, only the last is woken.
    ///
    /// Dropping the future loses no event.
    pub async fn next_trace(&self) -> Option<TraceEvent> {
        poll_fn(|cx| {
            if let Some(event) = self.poll_trace() {
                return Poll::Ready(Some(event));
            }
            for shard in self.shards.iter() {
                let replaced = shard.with(|inner| inner.await_trace(cx.waker()));
                drop(replaced);
            }
            // Once more: none may come unseen between the look and the wait.
            match self.poll_trace() {
                Some(event) => Poll::Ready(Some(event)),
                None if self.stopped().is_some() => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Waits until every connection that was closed has had its data and its FIN acknowledged (or was
    /// given up), and the network may go without cutting anything off. TIME-WAIT is not waited for.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn drain(&self) -> io::Result<()> {
        // Counting is no work for every packet: it is done now and then.
        let mut pause = Duration::from_millis(1);
        loop {
            let drained = |shard: &Shard| {
                shard.with(|inner| match inner.stopped() {
                    Some(error) => Err(error),
                    None => Ok(inner.is_drained()),
                })
            };
            let open = self.shards.iter().map(drained).find(|drained| !matches!(drained, Ok(true)));
            if open.transpose()?.is_none() {
                return Ok(());
            }
            let sleep = {
                // The timer is the driver's runtime's, whatever polls this future.
                let _entered = self.shards.get(0).runtime().enter();
                tokio::time::sleep(pause)
            };
            sleep.await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Takes the network down at once: every socket call fails from now on with `ENETDOWN`, waiting tasks are
    /// woken to see it, the driver ends, and open connections are reset, as far as the device takes the RSTs
    /// without waiting.
    pub fn shutdown(&self) {
        if self.stopped().is_some() {
            return;
        }
        // First of all, so that nothing new is opened.
        self.shards.stop(None);
        for shard in self.shards.iter() {
            shard.each_connection(|inner, now, conn| {
                // One that ended by itself has nothing left to reset.
                let _ = inner.stack.tcp_abort(now, conn);
            });
        }
    }

    /// Why the network stopped: `ENETDOWN` after [`shutdown`](Self::shutdown) or when its runtime ended, the
    /// device's error where that failed; `None` while it runs.
    pub fn stopped(&self) -> Option<io::Error> {
        self.shards.iter().find_map(|shard| shard.with(|inner| inner.stopped()))
    }
}

thread_local! {
    static ENTERED: RefCell<Vec<Net>> = const { RefCell::new(Vec::new()) };
}

tokio::task_local! {
    static SCOPED: Net;
}

static INSTALLED: RwLock<Option<Net>> = RwLock::new(None);

/// Ends what [`Net::enter`] began. Guards are dropped in the reverse order of their making.
#[derive(Debug)]
#[must_use = "the network is left again when this is dropped"]
pub struct EnterGuard {
    /// Bound to the thread that entered.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        // Out of the cell first: the last handle's end runs code of its own.
        let left = ENTERED.try_with(|entered| entered.borrow_mut().pop());
        drop(left);
    }
}

/// Which network sockets are made in that name none: the nearest of the task's, the thread's, the process's.
impl Net {
    /// Until the guard is dropped, sockets made on this thread belong to this network.
    ///
    /// On a runtime of several threads a task may move between polls: use [`scope`](Self::scope) or
    /// [`install`](Self::install) there.
    pub fn enter(&self) -> EnterGuard {
        ENTERED.with_borrow_mut(|entered| entered.push(self.clone()));
        EnterGuard { _thread: std::marker::PhantomData }
    }

    /// Sockets made by `future` belong to this network, whichever thread polls it. Tasks that it spawns
    /// do not inherit that.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        SCOPED.scope(self.clone(), future)
    }

    /// Sockets made anywhere in the process belong to this network, unless a nearer one is entered.
    /// The one that was installed before is returned; the network lives until [`Net::uninstall`].
    pub fn install(&self) -> Option<Self> {
        INSTALLED.write().unwrap_or_else(PoisonError::into_inner).replace(self.clone())
    }

    /// Takes back what [`install`](Self::install) did.
    pub fn uninstall() -> Option<Self> {
        INSTALLED.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The network that a socket made here and now belongs to.
    ///
    /// # Errors
    /// None is entered, scoped or installed.
    pub fn current() -> io::Result<Self> {
        SCOPED
            .try_with(Self::clone)
            .ok()
            .or_else(|| ENTERED.with_borrow(|entered| entered.last().cloned()))
            .or_else(|| INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone())
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotConnected,
                    "no finack network is current here: enter one with Net::enter, Net::scope or Net::install, \
                     or name it (TcpStream::connect_on, TcpListener::bind_on, UdpSocket::bind_on)",
                )
            })
    }
}

/// Runs `main` on a new thread with a runtime of its own.
fn on_thread<F: Future<Output = ()>>(
    name: String,
    main: impl FnOnce() -> F + Send + 'static,
    failed: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<()> {
    let run = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        // Descriptors and timers are registered with the runtime that is entered.
        Ok(runtime) => runtime.block_on(async { main().await }),
        Err(error) => failed(error),
    };
    std::thread::Builder::new().name(name).spawn(run).map(drop)
}

/// Brings a network up on threads of its own, one for each shard, for programs without a tokio runtime.
pub(crate) fn build_on_threads(builder: NetBuilder, queues: Vec<Box<dyn Device>>) -> io::Result<Net> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let failed = sender.clone();
    let main = move || async move {
        let (net, mut drivers) = match builder.build_boxed(queues) {
            Ok(built) => built,
            Err(error) => return drop(sender.send(Err(error))),
        };
        let others = drivers.split_off(1);
        let first = drivers.pop();
        let started = others.into_iter().try_for_each(|driver| {
            // Without a runtime the driver is dropped, which shuts the network down.
            on_thread(format!("finack-{}", driver.shard()), move || driver.run(), drop)
        });
        drop(sender.send(started.map(|()| net)));
        if let Some(driver) = first {
            driver.run().await;
        }
    };
    on_thread("finack".into(), main, move |error| drop(failed.send(Err(error))))?;
    receiver.recv().map_err(|_| io::Error::other("the thread that brings the network up has panicked"))?
}
