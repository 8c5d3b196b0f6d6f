//! What is said on the control socket: one JSON object a line.
//!
//! The client sends one [`Request`]. finack answers with lines, each an [`Answer`]: first `run`, then what was asked for,
//! then `done`; or `error` at any place, and nothing after it. Durations are seconds, sizes bytes, addresses
//! `ADDRESS:PORT`, states RFC 9293's names. What is not known is left out. A reader passes over fields that it does not
//! know; `protocol` grows when one changes its meaning.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use finack_core::stack::{TimerInfo, TimerKind};
use finack_core::tcp::State;
use serde::{Deserialize, Serialize};

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;
/// Most bytes of a request's line.
pub const MAX_REQUEST: usize = 4096;
/// Most bytes of an answer's line.
pub const MAX_ANSWER: usize = 64 * 1024;

/// What a client wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What to list.
    pub show: Show,
}

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// Only what run this is.
    Run,
    /// Sockets, one [`Answer::Socket`] each.
    Sockets(Sockets),
    /// Numbers by state: one [`Answer::Summary`].
    Summary,
}

/// Which sockets, and how much of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sockets {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
    /// Whose point of view.
    pub end: End,
    /// With what `ss -i` and `ss -m` show, and the other end.
    pub details: bool,
}

/// One of the two ends of the private network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The program's sockets, which are its kernel's.
    #[default]
    Program,
    /// finack's own.
    Finack,
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Who answers.
    Run(Run),
    /// A socket.
    Socket(Box<Socket>),
    /// Numbers.
    Summary(Summary),
    /// The answer is complete.
    Done {},
    /// There is no answer, and why.
    Error(String),
}

/// A `finack run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// [`PROTOCOL`] of the one that answers.
    pub protocol: u32,
    /// Its version.
    pub finack: String,
    /// Its process.
    pub pid: u32,
    /// The program that it runs, and its arguments.
    pub command: Vec<String>,
    /// Seconds since it began.
    pub elapsed: f64,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A state by its name in RFC 9293; CLOSED stands for a UDP socket that is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateName(pub State);

impl Serialize for StateName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for StateName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let state = State::ALL.into_iter().find(|s| s.as_str() == name);
        state.map(Self).ok_or_else(|| serde::de::Error::custom("no such state"))
    }
}

/// A socket as one end has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Socket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Its state.
    pub state: StateName,
    /// Where the kernel does not tell: the state is inferred from what the two ends sent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inferred: bool,
    /// Bytes received and not read; of a listener, connections that wait to be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recv_q: Option<u64>,
    /// Bytes written and not acknowledged; of a listener, how many connections may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_q: Option<u64>,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The name that the peer's address has in the private network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_name: Option<String>,
    /// The timer that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    /// Seconds in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_in_state: Option<f64>,
    /// Nobody has decided yet whether it is to be answered: the outside is being asked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub held: bool,
    /// No process has it any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub orphan: bool,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its inode, by which the processes that have it are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u32>,
    /// The kernel's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Linux's `skmem`: rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog, drops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<[u32; 9]>,
    /// The rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<super::Info>,
    /// The same connection as the other end of the private network has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Box<Socket>>,
}

impl Socket {
    pub(super) fn new(protocol: Protocol, state: State, local: SocketAddr, peer: Option<SocketAddr>) -> Self {
        Self {
            protocol,
            state: StateName(state),
            inferred: false,
            recv_q: None,
            send_q: None,
            local,
            peer,
            peer_name: None,
            timer: None,
            time_in_state: None,
            held: false,
            orphan: false,
            uid: None,
            inode: None,
            cookie: None,
            memory: None,
            info: None,
            other: None,
        }
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}

/// A running timer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    /// As `ss -o` names it.
    pub name: TimerName,
    /// Seconds until it fires.
    pub remaining: f64,
    /// How often it fired without an answer.
    pub retries: u32,
}

/// A timer as `ss -o` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimerName {
    /// Something is sent again when it fires.
    On,
    /// The peer is asked whether it is still there.
    Keepalive,
    /// The socket is gone then.
    Timewait,
    /// The peer's closed window is probed.
    Persist,
}

impl From<TimerInfo> for Timer {
    fn from(timer: TimerInfo) -> Self {
        let name = match timer.kind {
            TimerKind::Retransmit => TimerName::On,
            TimerKind::KeepAlive => TimerName::Keepalive,
            TimerKind::TimeWait => TimerName::Timewait,
            TimerKind::Persist => TimerName::Persist,
        };
        Self { name, remaining: seconds(timer.remaining), retries: timer.retries }
    }
}

/// Numbers by state, of each end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The program's TCP sockets.
    pub program: BTreeMap<StateName, Count>,
    /// finack's.
    pub finack: BTreeMap<StateName, Count>,
    /// UDP sockets of the program and of finack.
    pub udp: (u64, u64),
}

/// How many, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Count {
    /// How many sockets.
    pub sockets: u64,
    /// Seconds that the one of them has been in the state that has been longest, of those that this is known of.
    pub longest: f64,
    /// How many have sent something twice or more without an answer.
    pub unanswered: u64,
}

impl Summary {
    pub(super) fn count(&mut self, end: End, socket: &Socket) {
        if socket.protocol == Protocol::Udp {
            *(if end == End::Program { &mut self.udp.0 } else { &mut self.udp.1 }) += 1;
            return;
        }
        let states = if end == End::Program { &mut self.program } else { &mut self.finack };
        let count = states.entry(socket.state).or_default();
        count.sockets += 1;
        let repeats = |timer: &Timer| timer.name == TimerName::On && timer.retries >= 2;
        count.unanswered += u64::from(socket.timer.as_ref().is_some_and(repeats));
        count.longest = count.longest.max(socket.time_in_state.unwrap_or(0.0));
    }
}

/// To the microsecond: more digits are noise.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}
