//! Targets around a target: one that takes down what it does, one that lies about it.

use finack_posix::{Answer, Call, Fd, Reply, info::Field};
use finack_script::ast::Nanos;
use finack_script::run::Target;
use finack_script::run::target::{Applied, Begun, Returned, Sent, Setting};
use finack_sim::packet::{Body, build, parse};

/// What a target did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It sent a packet.
    Packet(Nanos, Vec<u8>),
    /// It answered a call.
    Answer(Answer),
}

/// What is changed of what the target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// A byte of the payload of the packet with this number: its first, or its last.
    Payload(usize, bool),
    /// A byte that the call with this number reads.
    Read(usize),
}

/// Takes down what the target does, and lies once.
pub(crate) struct Recorder<T> {
    inner: T,
    lie: Lie,
    packets: usize,
    answers: usize,
    /// Everything, in its order.
    pub(crate) deeds: Vec<Deed>,
    /// Whether there was anything to lie about.
    pub(crate) lied: bool,
}

impl<T> Recorder<T> {
    pub(crate) fn new(inner: T, lie: Lie) -> Self {
        Self { inner, lie, packets: 0, answers: 0, deeds: Vec::new(), lied: false }
    }

    fn answer(&mut self, mut answer: Answer) -> Answer {
        if self.lie == Lie::Read(self.answers)
            && let Ok(Reply::Received(received)) = &mut answer
            && let Some(byte) = received.data.first_mut()
        {
            *byte ^= 0x55;
            self.lied = true;
        }
        self.answers += 1;
        self.deeds.push(Deed::Answer(answer.clone()));
        answer
    }

    fn packet(&mut self, mut sent: Sent) -> Sent {
        if let Lie::Payload(number, last) = self.lie
            && number == self.packets
            && let Ok(mut packet) = parse(&sent.bytes)
        {
            let payload = match &mut packet.body {
                Body::Tcp(tcp) => &mut tcp.payload,
                Body::Udp(udp) => &mut udp.payload,
                _ => &mut Vec::new(),
            };
            let at = if last { payload.len().saturating_sub(1) } else { 0 };
            if let Some(byte) = payload.get_mut(at) {
                *byte ^= 0x55;
                sent.bytes = build(&packet);
                self.lied = true;
            }
        }
        self.packets += 1;
        self.deeds.push(Deed::Packet(sent.at, sent.bytes.clone()));
        sent
    }
}

impl<T: Target> Target for Recorder<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn jitter(&self) -> Nanos {
        self.inner.jitter()
    }

    fn now(&self) -> Nanos {
        self.inner.now()
    }

    fn wait(&mut self, until: Nanos) {
        self.inner.wait(until);
    }

    fn is_idle(&self) -> bool {
        self.inner.is_idle()
    }

    fn inject(&mut self, bytes: &[u8], segment_size: u16) {
        self.inner.inject(bytes, segment_size);
    }

    fn sent(&mut self) -> Option<Sent> {
        let sent = self.inner.sent()?;
        Some(self.packet(sent))
    }

    fn call(&mut self, call: Call) -> Begun {
        match self.inner.call(call) {
            Begun::Returned(answer) => Begun::Returned(self.answer(answer)),
            blocked => blocked,
        }
    }

    fn returned(&mut self) -> Option<Returned> {
        let returned = self.inner.returned()?;
        let answer = self.answer(returned.answer);
        Some(Returned { answer, ..returned })
    }

    fn set(&mut self, setting: &Setting) -> Applied {
        self.inner.set(setting)
    }

    fn tcp_info(&mut self, fd: Fd) -> Result<Vec<Field>, String> {
        self.inner.tcp_info(fd)
    }

    fn remarks(&mut self) -> Vec<String> {
        self.inner.remarks()
    }
}
