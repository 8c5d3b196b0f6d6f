//! finack's own stack in virtual time.

use std::collections::VecDeque;

use finack_core::device::{Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta, TxChecksum};
use finack_core::settings::Settings;
use finack_core::stack::{Config as StackConfig, InterfaceAddress, Route};
use finack_core::trace::{PacketId, SendReason, TraceEvent, TraceKind};
use finack_core::{Instant, Stack};
use finack_posix::info::{self, Field};
use finack_posix::{Answer, Call, Fd, Outcome, Pending, Posix};
use finack_sim::packet::finish_checksum;

use super::config::Config;
use super::machine::{self, Verdict};
use super::proc;
use super::target::{Applied, Begun, CallId, Returned, Sent, Setting, Target};
use crate::ast::Nanos;

/// When scripts begin on the stack's clock: any time but its epoch.
const START: Instant = Instant::from_secs(1_000);

/// Most remarks kept between two questions.
const MOST_REMARKS: usize = 256;

/// Most descriptors that a script may have open.
const MOST_DESCRIPTORS: usize = 4096;

/// finack's stack and the descriptors over it, on a clock of their own.
#[derive(Debug)]
pub struct FinackTarget {
    stack: Stack,
    posix: Posix,
    now: Instant,
    sent: VecDeque<Sent>,
    pending: Vec<(CallId, Pending)>,
    returned: VecDeque<Returned>,
    next_call: u64,
    remarks: VecDeque<String>,
    injected: u64,
    /// Nothing was sent yet: the device can still be another one.
    device: Capabilities,
    config: StackConfig,
    untouched: bool,
}

impl FinackTarget {
    /// A host with the configuration's addresses and `settings`, to which nothing has happened yet.
    pub fn new(config: &Config, settings: Settings) -> Self {
        let mtu = usize::from(config.mtu);
        // As a kernel's TUN device: segmentation offload for TCP, checksums left to it.
        let device = Capabilities { mtu, max_unit: 65_535, checksum_tx: true, udp_units: false };
        let v6 = config.local_ip.is_ipv6();
        let address = |addr, prefix_len| InterfaceAddress { addr, prefix_len };
        let addresses = vec![
            address(config.local_ip, if v6 { 48 } else { 16 }),
            address([127, 0, 0, 1].into(), 8),
            address(std::net::Ipv6Addr::LOCALHOST.into(), 128),
        ];
        let network = if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { [0, 0, 0, 0].into() };
        let config = StackConfig {
            settings,
            device,
            addresses,
            routes: vec![Route { network, prefix_len: 0, mtu: None, advertised_mss: None }],
            any_address: false,
            seed: [0x5a; 32],
        };
        let mut target = Self {
            stack: Stack::new(START, config.clone()),
            posix: Posix::new(3, MOST_DESCRIPTORS),
            now: START,
            sent: VecDeque::new(),
            pending: Vec::new(),
            returned: VecDeque::new(),
            next_call: 0,
            remarks: VecDeque::new(),
            injected: 0,
            device,
            config,
            untouched: true,
        };
        target.stack.set_tracing(4096);
        target
    }

    /// The stack itself, for looking at it.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    fn nanos(&self) -> Nanos {
        since_start(self.now)
    }

    /// Takes what the stack wants to send, and tells the calls that wait what happened.
    fn settle(&mut self) {
        self.untouched = false;
        loop {
            self.transmit();
            self.posix.progress(&mut self.stack, self.now);
            while let Some(event) = self.stack.poll_event() {
                self.posix.notice(&event);
            }
            let before = self.sent.len();
            let returned = self.retry_calls();
            // A call that goes on blocking may have queued more all the same.
            self.transmit();
            if !returned && self.sent.len() == before {
                break;
            }
        }
        self.listen_to_trace();
    }

    fn transmit(&mut self) {
        let at = self.nanos();
        while let Some(transmit) = self.stack.poll_transmit(self.now) {
            let mut bytes = Vec::with_capacity(transmit.len());
            transmit.write_to(&mut bytes);
            let mut why = Vec::new();
            if let TxChecksum::Partial { start, offset } = transmit.checksum
                && let Err(wrong) = finish_checksum(&mut bytes, start.into(), offset.into())
            {
                why.push(wrong);
            }
            let number = transmit.number;
            self.listen_to_trace();
            why.extend(self.reasons_of(number));
            self.sent.push_back(Sent { at, bytes, why });
        }
    }

    /// Tries each call that blocks once more; whether one returned, which may let others go on.
    fn retry_calls(&mut self) -> bool {
        let at = self.nanos();
        let before = self.returned.len();
        for (id, pending) in std::mem::take(&mut self.pending) {
            match self.posix.retry(&mut self.stack, self.now, pending) {
                Outcome::Done(answer) => self.returned.push_back(Returned { id, at, answer }),
                Outcome::Blocked(pending) => self.pending.push((id, pending)),
            }
        }
        self.returned.len() > before
    }

    fn next_deadline(&self) -> Option<Instant> {
        let calls = self.pending.iter().filter_map(|(_, p)| p.deadline()).min();
        [calls, self.stack.poll_timeout()].into_iter().flatten().min()
    }

    fn reasons_of(&self, number: u64) -> Vec<String> {
        let prefix = format!("#{number} ");
        self.remarks.iter().filter_map(|r| r.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn listen_to_trace(&mut self) {
        while let Some(event) = self.stack.poll_trace() {
            if let Some(text) = remark(&event) {
                if self.remarks.len() >= MOST_REMARKS {
                    self.remarks.pop_front();
                }
                let tag = match event.packet {
                    Some(PacketId::Out(number)) => format!("#{number} "),
                    _ => String::new(),
                };
                self.remarks.push_back(tag + &text);
            }
        }
    }
}

/// What an observation says to somebody who wonders why a packet looks as it does.
fn remark(event: &TraceEvent) -> Option<String> {
    Some(match &event.kind {
        TraceKind::Segment(segment) => match segment.reason {
            SendReason::Received => return None,
            SendReason::Open => "it opens the connection".into(),
            SendReason::Data => "new data".into(),
            SendReason::Ack => "an ACK that was due at once".into(),
            SendReason::DelayedAck => "the delayed-ACK timer ran out".into(),
            SendReason::DuplicateAck => "the answer to an unacceptable or out-of-order segment".into(),
            SendReason::ChallengeAck => "a challenge ACK (RFC 5961)".into(),
            SendReason::WindowUpdate => "a window update".into(),
            SendReason::Fin => "our FIN".into(),
            SendReason::Retransmission(reason) => format!("sent again: {reason}"),
            SendReason::Reset(reason) => format!("reset: {reason}"),
            SendReason::WindowProbe => "a zero-window probe (RFC 9293 MUST-35)".into(),
            SendReason::KeepAlive => "a keep-alive probe".into(),
            SendReason::MtuProbe => "new data that probes for the path MTU (RFC 4821)".into(),
            _ => return None,
        },
        TraceKind::State { from, to } => format!("{} -> {}", from.as_str(), to.as_str()),
        TraceKind::Dropped { reason, .. } => format!("dropped a packet: {reason}"),
        TraceKind::ResetSent(reason) => format!("reset: {reason}"),
        TraceKind::ResetReceived => "the RST ended the connection".into(),
        TraceKind::Retransmit { reason, .. } => format!("sent again: {reason}"),
        TraceKind::Icmp { hard, error } => {
            format!(
                "an ICMP error was taken ({error}{})",
                if *hard { ", it ends the connection" } else { "" }
            )
        }
        TraceKind::PathMtu { mtu } => format!("the path MTU is {mtu} from now on"),
        _ => return None,
    })
}

impl Target for FinackTarget {
    fn name(&self) -> &'static str {
        "finack"
    }

    fn now(&self) -> Nanos {
        self.nanos()
    }

    fn wait(&mut self, until: Nanos) {
        let end = START + std::time::Duration::from_nanos(until);
        let before = (self.sent.len(), self.returned.len());
        loop {
            let due = self.next_deadline().filter(|at| *at <= end);
            let Some(at) = due else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            self.settle();
            if (self.sent.len(), self.returned.len()) != before {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.next_deadline().is_none()
    }

    fn inject(&mut self, bytes: &[u8], segment_size: u16) {
        self.injected += 1;
        let header = 40;
        let segments = match segment_size {
            0 => 1,
            size => bytes.len().saturating_sub(header).div_ceil(usize::from(size)).clamp(1, 64) as u16,
        };
        let meta = PacketMeta {
            checksum: ChecksumState::Unchecked,
            segments,
            segment_size: if segments > 1 { segment_size } else { 0 },
            ce_marks: 0,
            number: self.injected,
        };
        self.stack.handle_packets(self.now, &[Packet { bytes: PacketBytes::Borrowed(bytes), meta }]);
        self.settle();
    }

    fn sent(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    fn call(&mut self, call: Call) -> Begun {
        let outcome = self.posix.call(&mut self.stack, self.now, call);
        let begun = match outcome {
            Outcome::Done(answer) => Begun::Returned(answer),
            Outcome::Blocked(pending) => {
                let id = CallId(self.next_call);
                self.next_call += 1;
                self.pending.push((id, pending));
                Begun::Blocked(id)
            }
        };
        self.settle();
        begun
    }

    fn returned(&mut self) -> Option<Returned> {
        self.returned.pop_front()
    }

    fn set(&mut self, setting: &Setting) -> Applied {
        match setting {
            Setting::Sysctl { name, value } => match machine::judge(name, value) {
                Verdict::Settings(pairs) => {
                    for (name, value) in pairs {
                        if let Err(error) = self.stack.set_sysctl(&name, &value) {
                            return Applied::No(error.to_string());
                        }
                        let _ = self.config.settings.set(&name, &value);
                    }
                    Applied::Yes
                }
                Verdict::AlwaysSo => Applied::AlwaysSo,
                Verdict::Unsupported(why) => Applied::No(why),
            },
            Setting::SegmentationOffload(on) => self.change_device(|device| {
                device.max_unit = if *on { 65_535 } else { device.mtu };
            }),
            Setting::Mtu(mtu) => self.change_device(|device| {
                device.max_unit = if device.max_unit > device.mtu { 65_535 } else { usize::from(*mtu) };
                device.mtu = usize::from(*mtu);
            }),
            Setting::RouteMtu(mtu) => self.change_route(|route| route.mtu = Some(*mtu)),
            Setting::AdvertisedMss(mss) => self.change_route(|route| route.advertised_mss = Some(*mss)),
            Setting::InitialWindow(segments) => {
                let _ = self.config.settings.set("finack.tcp_initial_cwnd", &segments.to_string());
                match self.stack.set_sysctl("finack.tcp_initial_cwnd", &segments.to_string()) {
                    Ok(()) => Applied::Yes,
                    Err(error) => Applied::No(error.to_string()),
                }
            }
        }
    }

    fn sysctls(&self) -> Vec<(String, String)> {
        proc::sysctls(self.stack.settings())
    }

    fn proc_files(&self) -> Vec<(String, String)> {
        proc::files(&self.stack, self.now)
    }

    fn put_file(&mut self, path: &str, contents: &[u8]) {
        // What is too large is not there to be opened.
        let _ = self.posix.put_file(path, contents.to_vec());
    }

    fn tcp_info(&mut self, fd: Fd) -> Result<Vec<Field>, String> {
        let conn = self.posix.connection(fd).map_err(|e| e.to_string())?;
        self.stack.tcp_info(self.now, conn).map(|i| info::fields(&i)).map_err(|e| e.to_string())
    }

    fn remarks(&mut self) -> Vec<String> {
        self.listen_to_trace();
        self.remarks.drain(..).filter(|r| !r.starts_with('#')).collect()
    }
}

impl FinackTarget {
    fn change_route(&mut self, change: impl Fn(&mut Route)) -> Applied {
        self.config.routes.iter_mut().for_each(change);
        self.stack.set_routes(self.config.routes.clone());
        Applied::Yes
    }

    /// The device belongs to the stack from its beginning: it can change only before anything has happened.
    fn change_device(&mut self, change: impl FnOnce(&mut Capabilities)) -> Applied {
        if !self.untouched {
            return Applied::No("the device can't change once the script has begun".into());
        }
        change(&mut self.device);
        self.config.device = self.device;
        self.stack = Stack::new(self.now, self.config.clone());
        self.stack.set_tracing(4096);
        Applied::Yes
    }
}

/// A time of the stack's, counted from the script's beginning.
pub(crate) fn since_start(at: Instant) -> Nanos {
    u64::try_from(at.since(START).as_nanos()).unwrap_or(u64::MAX)
}

/// A time since the script's beginning, as control messages have it.
pub fn stamp(at: Nanos) -> Instant {
    START + std::time::Duration::from_nanos(at)
}

/// The answer of a call that must not block, for those that look at sockets between events.
pub(crate) fn at_once(target: &mut dyn Target, call: Call) -> Option<Answer> {
    match target.call(call) {
        Begun::Returned(answer) => Some(answer),
        Begun::Blocked(_) => None,
    }
}
