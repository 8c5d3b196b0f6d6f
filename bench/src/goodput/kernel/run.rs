//! One run: two hosts, a link between them, and flows from the first to the second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::cells::Cell;
use super::emulator::{Port, Report, Running, run_first};
use super::flow::{Flows, Samples};
use super::{linux, namespace, user};

/// Whose stack a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    Linux,
    Finack,
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Pairing {
    pub from: Stack,
    pub to: Stack,
}

impl Pairing {
    pub const BOTH_LINUX: Self = Self { from: Stack::Linux, to: Stack::Linux };
    pub const FINACK_SENDS: Self = Self { from: Stack::Finack, to: Stack::Linux };
    pub const FINACK_RECEIVES: Self = Self { from: Stack::Linux, to: Stack::Finack };
    pub const ALL: [Self; 3] = [Self::BOTH_LINUX, Self::FINACK_SENDS, Self::FINACK_RECEIVES];

    pub const fn name(self) -> &'static str {
        match (self.from, self.to) {
            (Stack::Linux, Stack::Linux) => "linux-linux",
            (Stack::Finack, Stack::Linux) => "finack-linux",
            (Stack::Linux, Stack::Finack) => "linux-finack",
            (Stack::Finack, Stack::Finack) => "finack-finack",
        }
    }
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub cell: Cell,
    pub pairing: Pairing,
    pub congestion: String,
    pub seed: u64,
    /// How long each flow may take.
    pub time: Duration,
    /// Flows, of how many bytes, and how many at once; `u64::MAX` bytes are as many as there is time for.
    pub flows: usize,
    pub bytes: u64,
    pub at_once: usize,
    /// Where captures and the sender's state over time go.
    pub keep: Option<PathBuf>,
}

impl Plan {
    /// Whether the sender has the congestion control: the receiver's says nothing where it sends nothing.
    pub fn is_possible(&self) -> bool {
        match self.pairing.from {
            Stack::Linux => linux::has(&self.congestion),
            Stack::Finack => user::has(&self.congestion),
        }
    }

    /// The beginning of the names of files that tell of this run.
    fn file(&self) -> Option<PathBuf> {
        let name = format!("{}-{}-{}-{}", self.cell.name, self.congestion, self.pairing.name(), self.seed);
        // A dot in a cell's name would pass for the beginning of an extension.
        self.keep.as_ref().map(|directory| directory.join(name.replace('.', "_")))
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Bits a second, of one flow's time.
    pub goodput: f64,
    pub completions: Vec<Option<Duration>>,
    pub link: Report,
    /// Segments that were sent again in the first flow.
    pub retransmitted: u64,
}

/// A host that is ready.
struct Host {
    port: Port,
    go: Sender<()>,
    thread: JoinHandle<Result<Told, String>>,
}

/// What a host has to tell at its end.
struct Told {
    samples: Samples,
    counters: String,
}

/// Carries a plan out.
///
/// # Errors
/// What went wrong, in one line.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let flows = Arc::new(Flows::new(&plan.congestion, plan.flows, plan.at_once, plan.bytes, plan.time));
    let keep = plan.keep.is_some();
    let sender = host(plan.pairing.from, 0, &flows, keep)?;
    let receiver = host(plan.pairing.to, 1, &flows, keep)?;
    let link = Running::start(&plan.cell, plan.seed, plan.flows, [sender.port, receiver.port], keep);
    let gone = |_| "a host is gone before it began".to_owned();
    receiver.go.send(()).map_err(gone)?;
    sender.go.send(()).map_err(gone)?;
    let told = [sender.thread.join(), receiver.thread.join()];
    let file = plan.file();
    if let Some(directory) = &plan.keep {
        std::fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    let link = link.finish(file.as_deref())?;
    let [sender, receiver] = told.map(|t| t.unwrap_or_else(|_| Err("a host panicked".into())));
    let (sender, receiver) =
        (sender.map_err(|e| at("sender", &e))?, receiver.map_err(|e| at("receiver", &e))?);
    if let Some(file) = &file {
        write(file, &sender, &receiver).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(Outcome {
        goodput: flows.goodput(),
        completions: flows.completions(),
        link,
        retransmitted: sender.samples.all.last().map_or(0, |(_, sample)| sample.retransmitted),
    })
}

fn at(end: &str, error: &str) -> String {
    format!("the {end}: {error}")
}

fn write(file: &Path, sender: &Told, receiver: &Told) -> std::io::Result<()> {
    std::fs::write(file.with_extension("sender.txt"), sender.samples.table())?;
    std::fs::write(file.with_extension("sender.counters"), &sender.counters)?;
    std::fs::write(file.with_extension("receiver.counters"), &receiver.counters)
}

/// Sets a host up in a thread of its own, the sender at place 0 and the receiver at 1.
fn host(stack: Stack, place: u8, flows: &Arc<Flows>, keep: bool) -> Result<Host, String> {
    let (ready, port) = channel();
    let (go, wait) = channel();
    let flows = Arc::clone(flows);
    let thread = std::thread::spawn(move || {
        run_first(1);
        let samples = Samples::new(keep);
        let told = match stack {
            Stack::Linux => linux_host(place, &flows, samples, &ready, &wait),
            Stack::Finack => finack_host(place, &flows, samples, &ready, &wait),
        };
        if let Err(error) = &told {
            // Nobody waits for it any more where the host was ready.
            let _ = ready.send(Err(error.clone()));
        }
        told
    });
    let port = port.recv().map_err(|_| "a host ended before it was ready".to_owned())??;
    Ok(Host { port, go, thread })
}

type Ready = Sender<Result<Port, String>>;

fn linux_host(
    place: u8,
    flows: &Arc<Flows>,
    mut samples: Samples,
    ready: &Ready,
    wait: &Receiver<()>,
) -> Result<Told, String> {
    let text = |error: std::io::Error| error.to_string();
    let tun = namespace::enter(linux::address(place))?;
    let listeners =
        if place == 1 { linux::listen(linux::address(1), flows).map_err(text)? } else { Vec::new() };
    let _ = ready.send(Ok(Port::Tun(tun)));
    if wait.recv().is_err() {
        return Err("the other host is not there".into());
    }
    let keep_first = &mut samples;
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        if place == 1 {
            for (flow, listener) in listeners.iter().enumerate() {
                workers.push(scope.spawn(move || linux::receive(listener, flows, flow)));
            }
        } else {
            for _ in 1..flows.at_once {
                workers.push(scope.spawn(|| send_some(flows, &mut Samples::new(false))));
            }
            send_some(flows, keep_first)?;
        }
        workers
            .into_iter()
            .try_for_each(|w| w.join().unwrap_or_else(|_| Err(std::io::Error::other("a panic"))))
    })
    .map_err(text)?;
    Ok(Told { samples, counters: namespace::counters() })
}

/// Sends flows for as long as there are any.
fn send_some(flows: &Flows, samples: &mut Samples) -> std::io::Result<()> {
    while let Some(flow) = flows.next() {
        linux::send(linux::address(1), flows, flow, samples)?;
    }
    Ok(())
}

fn finack_host(
    place: u8,
    flows: &Arc<Flows>,
    samples: Samples,
    ready: &Ready,
    wait: &Receiver<()>,
) -> Result<Told, String> {
    let text = |error: std::io::Error| error.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    runtime.block_on(async {
        let (device, other) = user::device().map_err(text)?;
        let net = user::net(device, place, flows)?;
        let listeners = if place == 1 { user::listen(&net, flows).await.map_err(text)? } else { Vec::new() };
        let _ = ready.send(Ok(Port::Memory(Box::new(other))));
        if wait.recv().is_err() {
            return Err("the other host is not there".into());
        }
        let mut tasks = tokio::task::JoinSet::new();
        if place == 1 {
            for (flow, listener) in listeners.into_iter().enumerate() {
                let flows = Arc::clone(flows);
                tasks.spawn(async move {
                    user::receive(&listener, &flows, flow).await.map(|()| Samples::new(false))
                });
            }
        } else {
            let mut samples = Some(samples);
            for _ in 0..flows.at_once {
                let (net, flows) = (net.clone(), Arc::clone(flows));
                let mut samples = samples.take().unwrap_or_else(|| Samples::new(false));
                tasks.spawn(async move {
                    while let Some(flow) = flows.next() {
                        user::send(&net, &flows, flow, &mut samples).await?;
                    }
                    Ok(samples)
                });
            }
        }
        let mut fullest = Samples::new(false);
        while let Some(done) = tasks.join_next().await {
            let samples = done.map_err(|e| e.to_string())?.map_err(text)?;
            if samples.all.len() > fullest.all.len() {
                fullest = samples;
            }
        }
        Ok(Told { samples: fullest, counters: user::counters(&net) })
    })
}
