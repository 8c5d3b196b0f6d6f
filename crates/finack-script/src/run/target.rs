//! What is under test: finack's stack in virtual time, or another stack in its own.

use finack_posix::{Answer, Call, Fd, info::Field};

use crate::ast::Nanos;

/// A packet that the target sent: a wire packet, or a unit that stands for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When, since the script's beginning.
    pub at: Nanos,
    /// From the IP header on, with finished checksums.
    pub bytes: Vec<u8>,
    /// Why, in the target's own words, where it has any.
    pub why: Vec<String>,
}

/// Names a call that blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A call that blocked has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Which.
    pub id: CallId,
    /// When.
    pub at: Nanos,
    /// What it answered.
    pub answer: Answer,
}

/// What a call does at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It returns at once.
    Returned(Answer),
    /// It blocks; [`Target::returned`] tells when it returns.
    Blocked(CallId),
}

/// Something of the machine that a shell command sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A sysctl, by its dotted name.
    Sysctl {
        /// `net.ipv4.tcp_sack`
        name: String,
        /// As written.
        value: String,
    },
    /// `ethtool -K DEV tso off`: whether units of several segments leave the host.
    SegmentationOffload(bool),
    /// `ip link set DEV mtu N`.
    Mtu(u16),
    /// `ip route ... initcwnd N`.
    InitialWindow(u32),
    /// `ip route ... mtu N`.
    RouteMtu(u32),
    /// `ip route ... advmss N`.
    AdvertisedMss(u16),
}

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in force.
    Yes,
    /// The target always does what the setting asks for.
    AlwaysSo,
    /// The target has nothing of the kind: why.
    No(String),
}

/// What a script is run against. Times count from the script's beginning.
pub trait Target {
    /// Who it is, for messages: `finack`.
    fn name(&self) -> &'static str;

    /// By how much the times of packets may differ that are sent at once.
    fn jitter(&self) -> Nanos {
        0
    }

    /// The time.
    fn now(&self) -> Nanos;

    /// Lets time pass up to `until`, or until the target sends a packet or a call returns, whichever comes first.
    fn wait(&mut self, until: Nanos);

    /// Whether anything will ever happen if nothing is done from outside.
    fn is_idle(&self) -> bool;

    /// A packet arrives. `segment_size` is not 0 where it stands for several segments.
    fn inject(&mut self, bytes: &[u8], segment_size: u16);

    /// The oldest packet that the target sent and nobody took.
    fn sent(&mut self) -> Option<Sent>;

    /// Makes a call.
    fn call(&mut self, call: Call) -> Begun;

    /// A call that blocked and has returned since.
    fn returned(&mut self) -> Option<Returned>;

    /// Changes something of the machine.
    fn set(&mut self, setting: &Setting) -> Applied;

    /// What the sysctls are, by their dotted names, for programs that look before they set.
    fn sysctls(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Files below `/proc` that tell of the stack, by their names there.
    fn proc_files(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// A file that a command left, for calls that open it.
    fn put_file(&mut self, _path: &str, _contents: &[u8]) {}

    /// `tcp_info` of a connection.
    ///
    /// # Errors
    /// Why there is none.
    fn tcp_info(&mut self, fd: Fd) -> Result<Vec<Field>, String>;

    /// What the target has to say of the time since this was last asked: drops, resets, changes of state.
    fn remarks(&mut self) -> Vec<String>;
}
