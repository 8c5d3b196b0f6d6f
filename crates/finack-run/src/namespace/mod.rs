//! A private network for a program: namespaces of its own, and a device through which finack is
//! everything that the program can reach.
//!
//! [`Network::create`] works for root and for ordinary users. It forks a *keeper* process that
//! enters new network and mount namespaces (and a user namespace where the caller lacks the
//! privileges), makes a TUN interface or, where `/dev/net/tun` can't be opened, a veth pair with a
//! packet socket at its far end, sets addresses and routes, and mounts `resolv.conf` and
//! `nsswitch.conf` over the system's. The device's descriptor comes back to the caller.
//!
//! [`Network::spawn`] starts programs inside. A program keeps its user and group, capabilities,
//! working directory, environment, process group and session, terminal, standard streams and any
//! descriptor that would survive an exec. It cannot tell that finack is there but by its network, its
//! parent process, and, for an ordinary user, that all other users appear as `nobody`.
//!
//! Nothing outlives finack: however it ends, the keeper kills what is left of the programs and
//! ends, and the kernel takes the namespaces back. Where the keeper is killed too, with its process group or
//! alone, its *guard* does so, a process in a session of its own. Nothing is written to any disk.
//!
//! Call [`Network::create`] early. The keeper inherits the signal dispositions, the signal
//! mask, the working directory, and the descriptors without close-on-exec, as they are then.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use finack::device::{AfPacketDevice, AfPacketOptions, Device, TunDevice, TunOptions};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::check::Report;
use caps::Privileges;
use channel::{Channel, Decoder, Encoder, Message};
use step::{At, Failure, Trial, read_failed, read_passed, tag};

mod caps;
mod channel;
mod config;
mod diag;
mod exec;
mod files;
mod guard;
mod keeper;
mod maps;
mod netlink;
mod offload;
mod process;
mod setup;
mod signals;
pub(crate) mod step;

pub use config::{Addresses, DevicePath, NetworkConfig};
pub use diag::{KernelSocket, ProgramSockets, Transport};
pub use process::{Child, ProgramCommand, SpawnError, exit_code};
pub use signals::SignalForwarding;
pub use step::Step;

/// Exit status of a command that could not make a private network.
pub const EXIT_NO_NETWORK: u8 = 125;

/// How long the keeper and its guard may take to end once they were told to, before the guard is killed: longer than
/// the guard's own patience with the keeper and with what that leaves.
const KEEPER_PATIENCE: Duration = Duration::from_secs(11);

/// A private network, until it is dropped.
pub struct Network {
    keeper: Keeper,
    path: DevicePath,
    devices: Vec<Box<dyn Device>>,
    sockets: Option<ProgramSockets>,
    warnings: Vec<String>,
}

/// No private network can be made: what was tried, what failed and what can be done.
///
/// [`Display`](std::fmt::Display) gives the text of `finack check`.
#[derive(Debug)]
pub struct NamespaceError {
    report: Box<Report>,
}

impl NamespaceError {
    /// What was tried, step by step.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl std::fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.report.fmt(f)
    }
}

impl std::error::Error for NamespaceError {}

impl Network {
    /// Makes a private network.
    ///
    /// # Errors
    /// Where this machine, or whoever runs it, allows none; the error says what was tried and
    /// what can be done.
    pub fn create(config: &NetworkConfig) -> Result<Self, NamespaceError> {
        let mut trials = Vec::new();
        let paths: &[DevicePath] = match &config.device {
            Some(path) => std::slice::from_ref(path),
            None => &[DevicePath::Tun, DevicePath::Veth],
        };
        for path in paths {
            let (network, trial) = Self::attempt(config, *path);
            if let Some(network) = network {
                return Ok(network);
            }
            trials.push(trial);
        }
        Err(NamespaceError { report: Box::new(Report::new(&trials)) })
    }

    /// Makes a private network over one kind of device, and says how far that went.
    pub(crate) fn attempt(config: &NetworkConfig, path: DevicePath) -> (Option<Self>, Trial) {
        let mut trial = Trial::new(path);
        match Self::build(config, &mut trial) {
            Ok(network) => (Some(network), trial),
            Err(failure) => {
                trial.failed = Some(failure);
                (None, trial)
            }
        }
    }

    fn build(config: &NetworkConfig, trial: &mut Trial) -> Result<Self, Failure> {
        let path = trial.path;
        let privileges = Privileges::current().at(Step::Keeper)?;
        let environment = std::env::vars_os().map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend_from_slice(&value.into_vec());
            entry
        });
        let plan = keeper::Plan {
            config: config.clone(),
            path,
            privileges,
            environment: environment.collect(),
            parent: rustix::process::getpid(),
            finack: rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
                .at(Step::Keeper)?,
        };
        let guard::Started { guard, line, channel } = guard::start(&plan).at(Step::Keeper)?;
        let keeper = Keeper { guard, channel: Some(channel), line: Some(line) };
        trial.passed.push((Step::Keeper, String::new()));
        let inside = keeper.follow(&plan, trial)?;
        let mut devices: Vec<Box<dyn Device>> = Vec::with_capacity(inside.devices.len());
        for fd in inside.devices {
            devices.push(match path {
                DevicePath::Tun => Box::new(take_tun(config, fd, trial).at(Step::TunInterface)?),
                DevicePath::Veth => {
                    Box::new(take_packet_socket(config, fd, inside.far_index, trial).at(Step::PacketSocket)?)
                }
            });
        }
        Ok(Self { keeper, path, devices, sockets: inside.sockets, warnings: trial.warnings.clone() })
    }

    /// Which kind of device carries the packets.
    pub fn device_path(&self) -> DevicePath {
        self.path
    }

    /// The device's queues, in the first call; none in later ones.
    pub fn take_devices(&mut self) -> Vec<Box<dyn Device>> {
        std::mem::take(&mut self.devices)
    }

    /// What the program's kernel says of its sockets, in the first call; `None` where the kernel was built without that.
    pub fn take_sockets(&mut self) -> Option<ProgramSockets> {
        self.sockets.take()
    }

    /// What could not be had but is no reason to go without the rest; a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Starts a program inside and waits until it executes.
    ///
    /// # Errors
    /// Where there is no such program, or it can't be executed; see [`SpawnError::exit_code`].
    pub fn spawn(&self, command: &ProgramCommand) -> Result<Child, SpawnError> {
        process::spawn(self.keeper.channel(), command)
    }

    /// Ends what is left of the programs and waits until the keeper and all of it are gone.
    pub fn close(self) {
        drop(self);
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("device", &self.path).finish_non_exhaustive()
    }
}

fn take_tun(config: &NetworkConfig, fd: OwnedFd, trial: &mut Trial) -> io::Result<TunDevice> {
    let mtu = usize::from(config.mtu);
    let device =
        TunDevice::from_fd(fd, &TunOptions { mtu, offload: config.offload, ..TunOptions::default() })?;
    let note = match (config.offload, device.capabilities().udp_units) {
        (false, _) => "VNET_HDR, offloads not asked for",
        (true, true) => "VNET_HDR, TSO, USO",
        (true, false) => "VNET_HDR, TSO; no USO (Linux 6.2 has it)",
    };
    trial.note(Step::TunInterface, note);
    Ok(device)
}

fn take_packet_socket(
    config: &NetworkConfig,
    fd: OwnedFd,
    interface: u32,
    trial: &mut Trial,
) -> io::Result<AfPacketDevice> {
    let options = AfPacketOptions {
        interface,
        mtu: usize::from(config.mtu),
        local: setup::FAR_ADDRESS,
        peer: setup::NEAR_ADDRESS,
        offload: config.offload,
        ..AfPacketOptions::default()
    };
    let device = AfPacketDevice::from_fd(fd, &options)?;
    let note = if device.has_ring() {
        "PACKET_VNET_HDR, receive ring"
    } else {
        trial.warnings.push("no memory for a receive ring: bursts will be dropped".into());
        "PACKET_VNET_HDR, no receive ring"
    };
    trial.note(Step::PacketSocket, note);
    Ok(device)
}

/// What the keeper hands over.
#[derive(Default)]
struct Inside {
    devices: Vec<OwnedFd>,
    far_index: u32,
    sockets: Option<ProgramSockets>,
}

/// The keeper process; when this is dropped, it, its guard and all below them have ended.
struct Keeper {
    guard: Pid,
    /// Some until the drop.
    channel: Option<Channel>,
    line: Option<OwnedFd>,
}

impl Keeper {
    fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// Follows the keeper's steps, and takes the device's descriptors at their end.
    fn follow(&self, plan: &keeper::Plan, trial: &mut Trial) -> Result<Inside, Failure> {
        let mut inside = Inside::default();
        loop {
            let message = self.message().at(Step::Keeper)?;
            match message.tag {
                tag::PASSED => trial.passed.push(read_passed(&message.body).at(Step::Keeper)?),
                tag::WARNING => trial.warnings.push(String::from_utf8_lossy(&message.body).into_owned()),
                tag::NEEDS_MAPS => {
                    let keeper = Pid::from_raw(Decoder(&message.body).int().at(Step::Keeper)?);
                    let keeper = keeper.ok_or(io::ErrorKind::InvalidData).at(Step::Keeper)?;
                    let errno = match maps::write(keeper, &plan.privileges) {
                        Ok(()) => 0,
                        Err(e) => e.raw_os_error().unwrap_or(libc::EINVAL),
                    };
                    let mut body = Encoder::default();
                    body.int(errno);
                    let channel = self.channel().ok_or(io::ErrorKind::NotConnected).at(Step::Keeper)?;
                    channel.send(tag::MAPS_WRITTEN, &body.0, &[]).at(Step::Keeper)?;
                }
                tag::SOCKETS => inside.sockets = message.fds.into_iter().next().map(ProgramSockets::from_fd),
                tag::READY => {
                    let mut body = Decoder(&message.body);
                    inside.far_index = body.int().at(Step::Keeper)? as u32;
                    let more = body.int().at(Step::Keeper)? != 0;
                    inside.devices.extend(message.fds);
                    if !more {
                        return Ok(inside);
                    }
                }
                tag::FAILED => return Err(read_failed(&message.body).at(Step::Keeper)?),
                _ => {}
            }
        }
    }

    fn message(&self) -> io::Result<Message> {
        let channel = self.channel().ok_or(io::ErrorKind::NotConnected)?;
        channel.recv()?.ok_or_else(|| io::Error::other("the keeper process ended early"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Their ends of stream are what the keeper and its guard end on.
        self.channel = None;
        self.line = None;
        // Readable once the process has ended; where there is no such descriptor, killed at once.
        let ended = rustix::process::pidfd_open(self.guard, PidfdFlags::empty())
            .is_ok_and(|pidfd| readable_within(&pidfd, KEEPER_PATIENCE));
        if !ended {
            let _ = rustix::process::kill_process(self.guard, Signal::KILL);
        }
        while let Err(rustix::io::Errno::INTR) =
            rustix::process::waitpid(Some(self.guard), WaitOptions::empty())
        {}
    }
}

fn readable_within(fd: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return false };
        match rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests;
