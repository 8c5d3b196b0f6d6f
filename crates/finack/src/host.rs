//! The handle on one host's network: how it is made, looked at and shut down.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use finack_core::counters::Counters;
use finack_core::settings::{SettingError, Settings};
use finack_core::stack::{Config, InterfaceAddress, Route, SocketCursor, TcpSocket, UdpSocketInfo};
use finack_core::tcp::{State, TcpInfo};
use finack_core::trace::TraceEvent;
use finack_core::{Instant, Stack};

use crate::device::{Device, DeviceCounters};
use crate::shard::{Driver, Shard};

/// One host's TCP and UDP over one device.
///
/// Cheap to clone; all clones and all sockets share the same network, which lives until the last of
/// them is gone or [`shutdown`](Self::shutdown) is called. Connections that were dropped but are not yet
/// closed end with it: wait for them with [`drain`](Self::drain).
#[derive(Clone)]
pub struct Net {
    pub(crate) shard: Arc<Shard>,
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
}

impl fmt::Debug for NetBuilder {
    /// The seed keys sequence numbers and ports: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetBuilder")
            .field("addresses", &self.addresses)
            .field("routes", &self.routes)
            .field("any_address", &self.any_address)
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

    /// Brings the network up: its driver becomes a task of the tokio runtime that this is called on.
    ///
    /// # Errors
    /// Not called on a tokio runtime; the device's descriptor can't be watched; no entropy to be had.
    ///
    /// # Panics
    /// The tokio runtime was built without its I/O or time driver, as tokio's own sockets do.
    pub fn build(self, device: impl Device + 'static) -> io::Result<Net> {
        let (net, driver) = self.build_with_driver(Box::new(device))?;
        net.shard.runtime().spawn(driver.run());
        Ok(net)
    }

    fn build_with_driver(self, device: Box<dyn Device>) -> io::Result<(Net, Driver)> {
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
            device: device.capabilities(),
            addresses: self.addresses,
            routes: self.routes,
            any_address: self.any_address,
            seed,
        };
        let (shard, driver) = Shard::new(device, |now| {
            let mut stack = Stack::new(now, config);
            stack.set_tracing(self.trace);
            stack
        })?;
        Ok((Net { shard }, driver))
    }
}

impl Net {
    /// Starts to describe a network.
    pub fn builder() -> NetBuilder {
        NetBuilder::new()
    }

    /// What happened so far, by Linux's MIB names.
    pub fn counters(&self) -> Counters {
        self.shard.with(|inner| inner.stack.counters().clone())
    }

    /// What the device has carried and lost.
    pub fn device_counters(&self) -> DeviceCounters {
        self.shard.with(|inner| inner.device_counters())
    }

    /// Connections by state (half-open ones and TIME-WAIT included), listeners under LISTEN.
    pub fn count_by_state(&self) -> [(State, usize); 11] {
        self.shard.with(|inner| inner.stack.count_by_state())
    }

    /// Bytes that the engine's tables and buffers take.
    pub fn memory(&self) -> usize {
        self.shard.with(|inner| inner.stack.memory())
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.shard.with(|inner| inner.stack.settings().clone())
    }

    /// Changes a setting by its sysctl name; connections that exist keep what they negotiated.
    ///
    /// # Errors
    /// The name is unknown or the value makes no sense; see [`Settings::set`].
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), SettingError> {
        self.shard.with(|inner| inner.stack.set_sysctl(name, value))
    }

    /// The connections that this program holds, in no particular order.
    pub fn connections(&self) -> Vec<TcpInfo> {
        let mut infos = Vec::new();
        if self.stopped().is_some() {
            return infos;
        }
        self.shard.each_connection(|inner, now, conn| infos.extend(inner.stack.tcp_info(now, conn)));
        infos
    }

    /// Goes on with a list of all TCP sockets of this host, whoever holds them: half-open ones, those that were let go
    /// of, TIME-WAIT and listeners included. Up to `places` places of the tables are looked at with the lock held; begin
    /// with a default cursor; `None` says that the list is complete. See [`Stack::tcp_sockets`].
    pub fn tcp_sockets(&self, cursor: &mut SocketCursor, places: usize) -> Option<Vec<TcpSocket>> {
        let mut sockets = Vec::new();
        let more = self.shard.with(|inner| {
            let now = inner.now();
            inner.stack.tcp_sockets(now, cursor, places, |socket| sockets.push(socket))
        });
        (more || !sockets.is_empty()).then_some(sockets)
    }

    /// The one TCP connection between these two ends, in whatever form it is.
    pub fn tcp_socket(&self, local: SocketAddr, remote: SocketAddr) -> Option<TcpSocket> {
        self.shard.with(|inner| {
            let now = inner.now();
            inner.stack.tcp_socket(now, local, remote)
        })
    }

    /// Goes on with a list of all UDP sockets of this host, as [`tcp_sockets`](Self::tcp_sockets) does.
    pub fn udp_sockets(&self, cursor: &mut SocketCursor, places: usize) -> Option<Vec<UdpSocketInfo>> {
        let mut sockets = Vec::new();
        let more =
            self.shard.with(|inner| inner.stack.udp_sockets(cursor, places, |socket| sockets.push(socket)));
        (more || !sockets.is_empty()).then_some(sockets)
    }

    /// The time as trace events have it: since the network was built.
    pub fn now(&self) -> Instant {
        self.shard.with(|inner| inner.now())
    }

    /// Records trace events in a ring that holds `capacity` of them; 0 records nothing, which is how a
    /// network starts. A full ring loses what comes next, and says how many that were
    /// ([`TraceKind::Lost`](finack_core::trace::TraceKind::Lost)).
    pub fn set_trace(&self, capacity: usize) {
        self.shard.with(|inner| inner.stack.set_tracing(capacity));
    }

    /// The oldest trace event not yet taken.
    pub fn poll_trace(&self) -> Option<TraceEvent> {
        self.shard.with(|inner| inner.poll_trace())
    }

    /// Waits for the next trace event; `None` once the network has stopped and all were taken.
    /// The ring has one reader: of several tasks that wait at once, only the last is woken.
    ///
    /// Dropping the future loses no event.
    pub async fn next_trace(&self) -> Option<TraceEvent> {
        poll_fn(|cx| {
            let (poll, replaced) = self.shard.with(|inner| match inner.poll_trace() {
                Some(event) => (Poll::Ready(Some(event)), None),
                None if inner.stopped().is_some() => (Poll::Ready(None), None),
                None => (Poll::Pending, inner.await_trace(cx.waker())),
            });
            drop(replaced);
            poll
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
            let drained = self.shard.with(|inner| match inner.stopped() {
                Some(error) => Err(error),
                None => Ok(inner.is_drained()),
            })?;
            if drained {
                return Ok(());
            }
            let sleep = {
                // The timer is the driver's runtime's, whatever polls this future.
                let _entered = self.shard.runtime().enter();
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
        self.shard.stop(None);
        self.shard.each_connection(|inner, now, conn| {
            // One that ended by itself has nothing left to reset.
            let _ = inner.stack.tcp_abort(now, conn);
        });
    }

    /// Why the network stopped: `ENETDOWN` after [`shutdown`](Self::shutdown) or when its runtime ended, the
    /// device's error where that failed; `None` while it runs.
    pub fn stopped(&self) -> Option<io::Error> {
        self.shard.with(|inner| inner.stopped())
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

/// Brings a network up on a thread of its own, for programs without a tokio runtime.
pub(crate) fn build_on_thread(builder: NetBuilder, device: Box<dyn Device>) -> io::Result<Net> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let main = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(sender.send(Err(error))),
        };
        // The descriptor and the timers are registered with the runtime that is entered.
        runtime.block_on(async {
            match builder.build_with_driver(device) {
                Ok((net, driver)) => {
                    drop(sender.send(Ok(net)));
                    driver.run().await;
                }
                Err(error) => drop(sender.send(Err(error))),
            }
        });
    };
    std::thread::Builder::new().name("finack".into()).spawn(main)?;
    receiver.recv().map_err(|_| io::Error::other("the thread that brings the network up has panicked"))?
}
