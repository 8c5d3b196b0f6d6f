//! The steps by which a private network comes to be, and where one of them failed.

use std::io;

use super::channel::{Channel, Decoder, Encoder};
use super::config::DevicePath;

/// One step on the way to a private network, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Starting the process that keeps the namespaces.
    Keeper,
    /// A user namespace, where the caller lacks CAP_SYS_ADMIN or CAP_NET_ADMIN.
    UserNamespace,
    /// Mapping the caller's user and group into it.
    IdMaps,
    /// A network namespace.
    NetworkNamespace,
    /// A mount namespace, with its mounts kept apart from the system's.
    MountNamespace,
    /// Opening `/dev/net/tun`.
    TunOpen,
    /// A TUN interface with `IFF_VNET_HDR`, and its offloads.
    TunInterface,
    /// A veth pair between two network namespaces.
    VethPair,
    /// A packet socket with `PACKET_VNET_HDR` at the far end.
    PacketSocket,
    /// Addresses and routes.
    Addresses,
    /// `resolv.conf` and the other files mounted over the system's.
    Files,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Keeper,
        Self::UserNamespace,
        Self::IdMaps,
        Self::NetworkNamespace,
        Self::MountNamespace,
        Self::TunOpen,
        Self::TunInterface,
        Self::VethPair,
        Self::PacketSocket,
        Self::Addresses,
        Self::Files,
    ];

    /// What is tried in this step.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keeper => "keeper process",
            Self::UserNamespace => "user namespace",
            Self::IdMaps => "own user and group in it",
            Self::NetworkNamespace => "network namespace",
            Self::MountNamespace => "mount namespace",
            Self::TunOpen => "open /dev/net/tun",
            Self::TunInterface => "TUN interface with offloads",
            Self::VethPair => "veth pair",
            Self::PacketSocket => "packet socket with offloads",
            Self::Addresses => "addresses and routes",
            Self::Files => "resolv.conf over the system's",
        }
    }

    /// Whether the step belongs to one device only.
    pub(crate) fn device(self) -> Option<DevicePath> {
        match self {
            Self::TunOpen | Self::TunInterface => Some(DevicePath::Tun),
            Self::VethPair | Self::PacketSocket => Some(DevicePath::Veth),
            _ => None,
        }
    }

    fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|n| Self::ALL.get(n).copied()).unwrap_or(Self::Keeper)
    }
}

/// A step that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) error: io::Error,
}

/// Names the step that an operation belongs to.
pub(super) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|error| Failure { step, error: error.into() })
    }
}

/// How far one attempt at a private network came.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) path: DevicePath,
    /// The steps that worked, with what is worth knowing of them.
    pub(crate) passed: Vec<(Step, String)>,
    pub(crate) warnings: Vec<String>,
    pub(crate) failed: Option<Failure>,
}

impl Trial {
    pub(crate) fn new(path: DevicePath) -> Self {
        Self { path, passed: Vec::new(), warnings: Vec::new(), failed: None }
    }

    /// Adds what is worth knowing of a step that worked.
    pub(super) fn note(&mut self, step: Step, note: &str) {
        if let Some((_, text)) = self.passed.iter_mut().find(|(passed, _)| *passed == step) {
            note.clone_into(text);
        }
    }
}

/// What the keeper tells while it sets up, and what it is told.
pub(super) mod tag {
    pub(crate) const PASSED: u8 = 1;
    pub(crate) const WARNING: u8 = 2;
    pub(crate) const NEEDS_MAPS: u8 = 3;
    pub(crate) const MAPS_WRITTEN: u8 = 4;
    pub(crate) const READY: u8 = 5;
    pub(crate) const FAILED: u8 = 6;
    pub(crate) const SPAWN: u8 = 7;
    pub(crate) const STARTED: u8 = 8;
    pub(crate) const NOT_STARTED: u8 = 9;
    pub(crate) const STOPPED: u8 = 10;
    pub(crate) const EXITED: u8 = 11;
    pub(crate) const SOCKETS: u8 = 12;
}

pub(super) fn send_passed(channel: &Channel, step: Step, note: &str) -> io::Result<()> {
    let mut body = Encoder::default();
    body.int(step as i32).bytes(note.as_bytes());
    channel.send(tag::PASSED, &body.0, &[])
}

pub(super) fn read_passed(body: &[u8]) -> io::Result<(Step, String)> {
    let mut body = Decoder(body);
    Ok((Step::from_number(body.int()?), body.text()?))
}

pub(super) fn send_failed(channel: &Channel, failure: &Failure) -> io::Result<()> {
    let mut body = Encoder::default();
    let text = failure.error.to_string();
    body.int(failure.step as i32).int(failure.error.raw_os_error().unwrap_or(0)).bytes(text.as_bytes());
    channel.send(tag::FAILED, &body.0, &[])
}

pub(super) fn read_failed(body: &[u8]) -> io::Result<Failure> {
    let mut body = Decoder(body);
    let step = Step::from_number(body.int()?);
    let error = match body.int()? {
        0 => io::Error::other(body.text()?),
        errno => io::Error::from_raw_os_error(errno),
    };
    Ok(Failure { step, error })
}
