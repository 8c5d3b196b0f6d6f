//! A counter-example as a script in packetdrill's language, as one of the hosts lives through it: its calls, what it sends,
//! what comes to it. `finack drill` plays it.

use core::fmt::Write;
use std::collections::BTreeMap;

use finack_core::Error;

use super::app::{App, Op, Phase, READ_SIZE, Record};
use super::ladder::{Bases, numbers, options};
use super::replay::{CRASH, Happening, Row, rows};
use super::search::{Outcome, Violation};
use super::world::End;

impl Outcome {
    /// The violation as a script for one of the hosts; empty where there is none.
    #[must_use]
    pub fn packet_script(&self, end: End) -> String {
        self.violation.as_ref().map(|v| script(self, v, end)).unwrap_or_default()
    }
}

/// Descriptors as a process gets them: always the least that is free.
#[derive(Debug, Default)]
struct Descriptors(BTreeMap<u8, u8>);

const LISTENER: u8 = 0;

impl Descriptors {
    fn open(&mut self, what: u8) -> u8 {
        let free = (3..).find(|fd| !self.0.values().any(|held| held == fd)).unwrap_or(3);
        self.0.insert(what, free);
        free
    }

    fn get(&self, what: u8) -> u8 {
        self.0.get(&what).copied().unwrap_or(3)
    }

    fn close(&mut self, what: u8) -> u8 {
        self.0.remove(&what).unwrap_or(3)
    }
}

struct Writer {
    out: String,
    at: u32,
    fds: Descriptors,
    /// The host has crashed: the language has no word for it.
    over: bool,
}

fn script(outcome: &Outcome, violation: &Violation, end: End) -> String {
    let world = &outcome.world;
    let mut w = Writer { out: String::new(), at: 0, fds: Descriptors::default(), over: false };
    let _ = writeln!(
        w.out,
        "// {}, as {} lives through it: {}",
        world.name, world.hosts[end].name, violation.what
    );
    let tick = world.tick.as_secs();
    let mut settings = format!("finack.tcp_timewait_len={}", u64::from(world.time_wait) * tick);
    for (name, value) in &world.settings {
        let full = if name.contains('.') { (*name).to_owned() } else { format!("net.ipv4.{name}") };
        let _ = write!(settings, " {full}={value}");
    }
    let _ = writeln!(w.out, "\n`sysctl -q {settings}`\n");
    let mut bases = Bases::default();
    for row in rows(outcome, violation) {
        let at = row.at * tick as u32;
        w.row(&row, end, at, &mut bases);
    }
    w.out
}

fn errno(error: Error) -> &'static str {
    match error {
        Error::ConnectionRefused => "ECONNREFUSED (Connection refused)",
        Error::TimedOut => "ETIMEDOUT (Connection timed out)",
        Error::BrokenPipe => "EPIPE (Broken pipe)",
        _ => "ECONNRESET (Connection reset by peer)",
    }
}

const NOT_NOW: &str = "EAGAIN (Resource temporarily unavailable)";

impl Writer {
    fn line(&mut self, at: u32, text: &str) {
        let step = at - self.at;
        self.at = at;
        let _ = writeln!(self.out, "   +{step} {text}");
    }

    fn row(&mut self, row: &Row, end: End, at: u32, bases: &mut Bases) {
        if row.end == end && !self.over {
            match &row.what {
                Happening::Call { op, before, after, .. } => self.call(*op, before, after, at),
                Happening::Arrival(sending, _) => {
                    if let Some(tcp) = sending.segment.packet.as_tcp() {
                        let text = numbers(tcp, sending.from, bases);
                        self.line(at, &format!("< {text} win {}{}", tcp.window, options(tcp)));
                    }
                }
                Happening::Other(CRASH) => {
                    self.over = true;
                    let _ =
                        writeln!(self.out, "// Here the host loses all that it has, and the script ends.");
                }
                Happening::Timer | Happening::Other(_) => {}
            }
        }
        for sending in &row.sent {
            bases.see(sending);
            if sending.from == end
                && !self.over
                && let Some(tcp) = sending.segment.packet.as_tcp()
            {
                let text = numbers(tcp, end, bases);
                self.line(at, &format!("> {text}{}", options(tcp)));
            }
        }
    }

    /// What the stack answers is told by what the application knew before and after.
    fn call(&mut self, op: Op, before: &App, after: &App, at: u32) {
        let record = |app: &App, n: u8| app.records[usize::from(n) - 1];
        let both = |n: u8| (record(before, n), record(after, n));
        match op {
            Op::Listen => {
                let fd = self.socket(LISTENER, at);
                self.line(at, &format!("listen({fd}, 4) = 0"));
            }
            Op::Unlisten => {
                let fd = self.fds.close(LISTENER);
                self.line(at, &format!("close({fd}) = 0"));
            }
            Op::Accept(n) => {
                if record(after, n).phase == Phase::Open {
                    let listener = self.fds.get(LISTENER);
                    let fd = self.fds.open(n);
                    self.line(at, &format!("accept({listener}, ..., ...) = {fd}"));
                    self.unblock(fd, at);
                    self.quickack(fd, at);
                }
            }
            Op::Connect(n) => self.connect(n, both(n), at),
            Op::Send(n, len) => {
                let (old, new) = both(n);
                let fd = self.fds.get(n);
                let result = outcome(u32::from(new.sent - old.sent), &new);
                self.line(at, &format!("write({fd}, ..., {len}) = {result}"));
            }
            Op::Recv(n, _) | Op::RecvEof(n) => {
                let (old, new) = both(n);
                let fd = self.fds.get(n);
                let result =
                    if new.eof { "0".to_owned() } else { outcome(u32::from(new.got - old.got), &new) };
                self.line(at, &format!("read({fd}, ..., {READ_SIZE}) = {result}"));
            }
            Op::ShutWrite(n) => {
                let fd = self.fds.get(n);
                self.line(at, &format!("shutdown({fd}, SHUT_WR) = 0"));
            }
            Op::Close(n) => {
                let fd = self.fds.close(n);
                self.line(at, &format!("close({fd}) = 0"));
            }
            Op::Linger(n, _) => self.linger(n, both(n), at),
            Op::Abort(n) => {
                let fd = self.fds.close(n);
                self.line(
                    at,
                    &format!("setsockopt({fd}, SOL_SOCKET, SO_LINGER, {{onoff=1, linger=0}}, 8) = 0"),
                );
                self.line(at, &format!("close({fd}) = 0"));
            }
        }
    }

    fn socket(&mut self, what: u8, at: u32) -> u8 {
        let fd = self.fds.open(what);
        self.line(at, &format!("socket(..., SOCK_STREAM, IPPROTO_TCP) = {fd}"));
        self.line(at, &format!("setsockopt({fd}, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0"));
        self.line(at, &format!("bind({fd}, ..., ...) = 0"));
        self.quickack(fd, at);
        fd
    }

    fn quickack(&mut self, fd: u8, at: u32) {
        self.line(at, &format!("setsockopt({fd}, SOL_TCP, TCP_QUICKACK, [1], 4) = 0"));
    }

    fn unblock(&mut self, fd: u8, at: u32) {
        self.line(at, &format!("fcntl({fd}, F_SETFL, O_RDWR|O_NONBLOCK) = 0"));
    }

    fn connect(&mut self, n: u8, (old, new): (Record, Record), at: u32) {
        if old.phase == Phase::Unborn {
            let fd = self.socket(n, at);
            self.unblock(fd, at);
            let progress = "EINPROGRESS (Operation now in progress)";
            self.line(at, &format!("connect({fd}, ..., ...) = -1 {progress}"));
        } else if let Some(error) = new.error {
            let fd = self.fds.close(n);
            self.line(at, &format!("connect({fd}, ..., ...) = -1 {}", errno(error)));
            self.line(at, &format!("close({fd}) = 0"));
        }
    }

    /// `close` that waits is taken apart, so that the script goes on meanwhile.
    fn linger(&mut self, n: u8, (old, new): (Record, Record), at: u32) {
        let fd = self.fds.get(n);
        if old.phase == Phase::Open && new.phase != Phase::Gone {
            self.line(at, &format!("shutdown({fd}, SHUT_WR) = 0"));
            return;
        }
        if let Some(error) = new.error.filter(|_| old.error.is_none()) {
            let text = errno(error);
            let name = text.split_whitespace().next().unwrap_or_default();
            self.line(at, &format!("getsockopt({fd}, SOL_SOCKET, SO_ERROR, [{name}], [4]) = 0"));
        }
        self.fds.close(n);
        self.line(at, &format!("close({fd}) = 0"));
    }
}

fn outcome(count: u32, record: &Record) -> String {
    match (count, record.error) {
        (0, Some(error)) => format!("-1 {}", errno(error)),
        (0, None) => format!("-1 {NOT_NOW}"),
        (count, _) => count.to_string(),
    }
}
