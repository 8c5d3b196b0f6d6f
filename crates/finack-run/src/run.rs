//! One run: a private network, finack's stack and services at its other end, the program, and the report.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use finack::Net;
use finack::device::{CaptureHandle, Device};
use finack_core::settings::Settings;
use finack_core::trace::TraceEvent;
use tokio::runtime::LocalOptions;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

use crate::control;
use crate::gateway::{self, Gateway, HostName, Publish, PublishError, Published, Ways};
use crate::namespace::{
    Addresses, Child, DevicePath, EXIT_NO_NETWORK, NamespaceError, Network, NetworkConfig, ProgramCommand,
    SignalForwarding, SpawnError, exit_code,
};
use crate::pcap::{self, PcapConfig};
use crate::plan::{self, Names};
use crate::report::{Collector, Limits, Report, TakeNote};
use crate::services;
use crate::services::dns::{Forwarder, NameServer, ResolvConf};
use crate::warnings::Warnings;

/// Trace events that may wait to be told: far more than one turn of the stack makes.
const TRACE_RING: usize = 16_384;
/// Trace events that are taken out of it at once.
const AT_ONCE: usize = 256;
/// How long connections may take to finish once the program has ended. TIME-WAIT is not waited for.
const LINGER: Duration = Duration::from_secs(1);
/// How long they may take while what the program sent still moves on towards the outside.
const LINGER_MOVING: Duration = Duration::from_secs(60);
/// How often it is looked whether it does.
const LOOK_AFTER: Duration = Duration::from_millis(50);
/// How long packets that the program sent before it ended may take to be read.
const LAST_PACKETS: Duration = Duration::from_millis(1);

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How its packets get here; `None` takes TUN where it works, else veth.
    pub device: Option<DevicePath>,
    /// Largest packet in the private network, in bytes, 1280 to 65520.
    pub mtu: u16,
    /// finack's side of Linux's settings.
    pub settings: Settings,
    /// How much the report keeps.
    pub limits: Limits,
    /// Where its packets are written, if anywhere.
    pub pcap: Option<PcapConfig>,
    /// No way to the outside: no default route, and nothing let through but what `host_names` and `publish` name.
    pub isolated: bool,
    /// Names by which the program reaches the host's loopback; without any it can't.
    pub host_names: Vec<HostName>,
    /// Ports of the program's that the host reaches.
    pub publish: Vec<Publish>,
    /// What the program sends to the outside is acknowledged only once it is acknowledged there.
    pub strict_ack: bool,
    /// Takes a line about something that can't wait for the program's end; the rest is in [`RunOutcome::warnings`].
    pub say: fn(&str),
}

/// finack's side of Linux's settings as a run begins with them: Linux's own defaults but for three, as the program is the
/// only host there is and on this machine. ICMP errors are not rationed, for a real host's own kernel would not ration
/// them either; and a port in TIME-WAIT may be used again after a second, as Linux has it over loopback (`tcp_tw_reuse`),
/// or a published port that is asked for often would run out of them. And packets that come in quick succession are looked
/// for without sleeping: to be woken takes longer than what a small request costs otherwise.
pub fn settings() -> Settings {
    Settings { icmp_ratelimit: 0, tcp_tw_reuse: 1, busy_poll: 50, ..Settings::default() }
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// How the program ended.
    pub status: ExitStatus,
    /// What became of its connections.
    pub report: Report,
    /// What could not be had but was no reason to go without the rest; a line each.
    pub warnings: Vec<String>,
}

impl RunOutcome {
    /// The exit status to pass on: the program's own, or 128 and the number of the signal that killed it.
    pub fn exit_code(&self) -> u8 {
        exit_code(self.status)
    }
}

/// Why a program was not run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// No private network can be made; the text is that of `finack check`.
    Namespace(NamespaceError),
    /// The program could not be started.
    Spawn(SpawnError),
    /// A port can't be published.
    Publish(PublishError),
    /// Packets can't be written to the file that was named.
    Pcap {
        /// The file.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// finack's own side failed.
    Own {
        /// What was being done.
        doing: &'static str,
        /// What came of it.
        error: io::Error,
    },
}

impl RunError {
    /// The exit status that tells it: 127 no such program, 126 not executable, 125 everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Spawn(error) => error.exit_code(),
            Self::Namespace(_) | Self::Publish(_) | Self::Pcap { .. } | Self::Own { .. } => EXIT_NO_NETWORK,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(error) => error.fmt(f),
            Self::Spawn(error) => error.fmt(f),
            Self::Publish(error) => error.fmt(f),
            Self::Pcap { path, error } => {
                write!(f, "packets can't be written to {}: {error}", path.display())
            }
            Self::Own { doing, error } => write!(f, "{doing}: {error}"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Namespace(error) => Some(error),
            Self::Spawn(error) => Some(error),
            Self::Publish(error) => Some(error),
            Self::Pcap { error, .. } | Self::Own { error, .. } => Some(error),
        }
    }
}

fn own(doing: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::Own { doing, error }
}

/// Runs a program in a private network of its own until it ends, and tells what became of its connections.
///
/// Call it before other threads are started: the network's keeper is forked from this process.
///
/// # Errors
/// No private network can be made here, a port can't be published, or the program can't be started.
pub fn run(config: RunConfig) -> Result<RunOutcome, RunError> {
    // First of all: what can't be had is better known before the program has run.
    let published = gateway::bind(&config.publish).map_err(RunError::Publish)?;
    let pcap = pcap::create(config.pcap.as_ref())?;
    let told = Warnings::default();
    let forwarder = Forwarder::of_host(told.clone());
    let mut network =
        Network::create(&network_config(&config, &forwarder.conf())).map_err(RunError::Namespace)?;
    // Not a `LocalSet`: there each event of the reactor's that wakes one of its tasks costs two system calls more.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(own("the event loop can't be started"))?;
    let device = network.take_devices().into_iter().next().ok_or_else(|| RunError::Own {
        doing: "the private network's device",
        error: io::ErrorKind::NotFound.into(),
    })?;
    let (device, pcap) = pcap::start(pcap, device, &config.host_names)?;
    let seen = control::Plan {
        sockets: network.take_sockets(),
        command: std::iter::once(&config.program).chain(&config.args).cloned().collect(),
        names: names(&config),
        told: told.clone(),
    };
    let outward =
        Outward { published, forwarder: (!config.isolated).then_some(forwarder), told: told.clone() };
    let capture = pcap.as_ref().map(|pcap| &pcap.handle);
    let carried = carry(&network, device, capture, seen, &config, outward);
    let (status, report) = runtime.block_on(carried)?;
    let mut warnings = network.warnings().to_vec();
    warnings.extend(told.take());
    // The services end with it; the network that they serve is down already.
    drop(runtime);
    network.close();
    warnings.extend(pcap.map(pcap::Pcap::finish).unwrap_or_default());
    Ok(RunOutcome { status, report, warnings })
}

fn network_config(config: &RunConfig, host: &ResolvConf) -> NetworkConfig {
    NetworkConfig {
        ipv4: Some(Addresses {
            program: plan::PROGRAM_V4,
            prefix: plan::PREFIX_V4,
            gateway: plan::GATEWAY_V4,
        }),
        ipv6: Some(Addresses {
            program: plan::PROGRAM_V6,
            prefix: plan::PREFIX_V6,
            gateway: plan::GATEWAY_V6,
        }),
        default_route: !config.isolated,
        mtu: config.mtu,
        device: config.device,
        resolv_conf: host.for_program(plan::GATEWAY_V4.into()),
        ..NetworkConfig::default()
    }
}

/// What leads out of the private network, or in, before its stack is up.
struct Outward {
    published: Published,
    forwarder: Option<Rc<Forwarder>>,
    told: Warnings,
}

fn names(config: &RunConfig) -> Names {
    Names::with_host(config.host_names.iter().map(HostName::to_string))
}

async fn carry(
    network: &Network,
    device: Box<dyn Device>,
    capture: Option<&CaptureHandle>,
    seen: control::Plan,
    config: &RunConfig,
    outward: Outward,
) -> Result<(ExitStatus, Report), RunError> {
    let mut builder = Net::builder().settings(config.settings.clone()).trace(TRACE_RING).any_address(true);
    for (addr, prefix) in plan::our_addresses() {
        builder = builder.address(addr, prefix);
    }
    let net = builder.build(device).map_err(own("finack's stack can't be started"))?;
    let watch = Watch::start(&net, config.limits, capture.cloned());
    let told = outward.told.clone();
    let gateway = start_gateway(&net, config, &watch, outward.published, told)
        .map_err(own("the gateway can't be started"))?;
    let collector = Rc::clone(&watch.reader.collector);
    let names = names(config);
    let server = NameServer::new(names.clone(), outward.forwarder, move |answer| {
        collector.borrow_mut().observe_name(answer);
    });
    let note = watch.take_note();
    services::start(&net, &server, note).await.map_err(own("finack's services can't be started"))?;

    let control = seen.start(&net, Rc::clone(&watch.reader.collector));
    let command = ProgramCommand::new(&config.program).args(&config.args).job_control(has_terminal());
    let child = network.spawn(&command).map_err(RunError::Spawn)?;
    let forwarding = SignalForwarding::start(&child).map_err(own("signals can't be left to the program"))?;
    let status = wait(child).await.map_err(own("the program's end was not seen"))?;
    gateway.open_no_more();
    watch.settle(&gateway, &forwarding).await;
    drop((forwarding, control));
    gateway.warnings().into_iter().for_each(|line| outward.told.add(line));
    if let Some(error) = net.stopped() {
        outward.told.add(format!("the private network broke down: its device failed: {error}"));
    }
    let mut report = watch.finish(&net);
    report.give_names(&names);
    Ok((status, report))
}

/// Everything that leads out of the private network, or in.
fn start_gateway(
    net: &Net,
    config: &RunConfig,
    watch: &Watch,
    published: Published,
    told: Warnings,
) -> io::Result<Gateway> {
    let gateway = gateway::Config {
        ways: Ways { outside: !config.isolated, host: !config.host_names.is_empty() },
        strict_ack: config.strict_ack,
        note: watch.take_note(),
        say: config.say,
        told,
    };
    Gateway::start(net, gateway, published)
}

/// Whether a terminal controls this process, wherever its streams lead: then a shell waits for it to be stopped along
/// with the program.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// On a thread of its own, where waiting may block.
async fn wait(mut child: Child) -> io::Result<ExitStatus> {
    tokio::task::spawn_blocking(move || child.wait()).await.map_err(io::Error::other)?
}

/// Reads the stack's trace as it is written.
struct Watch {
    reader: Rc<Reader>,
    changed: Rc<Notify>,
}

/// What everybody who takes trace events takes them with.
struct Reader {
    net: Net,
    collector: Rc<RefCell<Collector>>,
    capture: Option<CaptureHandle>,
    /// Events on their way from the one to the others.
    events: RefCell<Vec<TraceEvent>>,
}

impl Reader {
    /// Takes all that the trace holds, for the report and for the comments of a capture.
    fn take_all(&self) {
        // What is captured from now on may have its events later.
        let captured = self.capture.as_ref().map(CaptureHandle::captured);
        let (mut events, mut collector) = (self.events.borrow_mut(), self.collector.borrow_mut());
        loop {
            self.net.take_trace(AT_ONCE, &mut events);
            events.iter().for_each(|event| self.take(event, &mut collector));
            let last = events.len() < AT_ONCE;
            events.clear();
            if last {
                break;
            }
        }
        if let (Some(capture), Some(captured)) = (&self.capture, captured) {
            capture.explained(captured);
        }
    }

    fn take(&self, event: &TraceEvent, collector: &mut Collector) {
        collector.observe(event);
        if let Some(capture) = &self.capture {
            capture.explain(event);
        }
    }
}

/// Waits for packets without an event, which must be taken off a capture's hands too.
async fn unexplained(capture: Option<&CaptureHandle>) {
    match capture {
        Some(capture) => capture.unexplained().await,
        None => std::future::pending().await,
    }
}

impl Watch {
    fn start(net: &Net, limits: Limits, capture: Option<CaptureHandle>) -> Self {
        let reader = Rc::new(Reader {
            net: net.clone(),
            collector: Rc::new(RefCell::new(Collector::new(net.now(), limits))),
            capture,
            events: RefCell::default(),
        });
        let changed = Rc::new(Notify::new());
        let (into, tell) = (Rc::clone(&reader), Rc::clone(&changed));
        spawn_local(async move {
            loop {
                let event = tokio::select! {
                    event = into.net.next_trace() => match event {
                        Some(event) => Some(event),
                        None => return,
                    },
                    () = unexplained(into.capture.as_ref()) => None,
                };
                if let Some(event) = event {
                    into.take(&event, &mut into.collector.borrow_mut());
                }
                into.take_all();
                tell.notify_one();
            }
        });
        Self { reader, changed }
    }

    /// What takes notes of connections from gateway and services.
    fn take_note(&self) -> TakeNote {
        let into = Rc::clone(&self.reader);
        Rc::new(move |finack_end, program_end, note| {
            // What the stack traced until now comes before it.
            into.take_all();
            let mut collector = into.collector.borrow_mut();
            collector.advance_to(into.net.now());
            collector.note(finack_end, program_end, note);
        })
    }

    /// Waits until every connection is over, but not for long, and no longer than nobody interrupts it; for longer only
    /// while what the program sent still moves on to the outside.
    async fn settle(&self, gateway: &Gateway, forwarding: &SignalForwarding) {
        let begun = Instant::now();
        let (mut moved_at, mut owed) = (begun, gateway.owed());
        // What the program sent last may not have been read yet.
        tokio::time::sleep(LAST_PACKETS).await;
        gateway.last_datagrams().await;
        loop {
            let now = Instant::now();
            let owes = gateway.owed();
            if owes.is_some() && owes != owed {
                (moved_at, owed) = (now, owes);
            }
            let over = owes.is_none() && self.reader.collector.borrow().unfinished() == 0;
            let too_long = now - moved_at >= LINGER || now - begun >= LINGER_MOVING;
            if over || too_long || forwarding.interrupted() {
                return;
            }
            // No news is looked at too: a timer's end.
            let _ = timeout(LOOK_AFTER, self.changed.notified()).await;
        }
    }

    fn finish(self, net: &Net) -> Report {
        let now = net.now();
        let counters = net.counters();
        let limits = Limits::default();
        // What the reading task did not get to.
        self.reader.take_all();
        let unused = Collector::new(now, limits);
        let collector = self.reader.collector.replace(unused);
        let mut report = collector.finish(now);
        report.datagrams = (counters.udp_in_datagrams, counters.udp_out_datagrams);
        net.shutdown();
        // It resets what is still open.
        if let Some(capture) = &self.reader.capture {
            while let Some(event) = net.poll_trace() {
                capture.explain(&event);
            }
        }
        report
    }
}
