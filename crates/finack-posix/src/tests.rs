//! Two sockets of one host, over its loopback; nothing happens between calls but what [`Host::run`] lets happen.

#[cfg(feature = "md5-ao")]
mod auth;
mod bad_arguments;
mod blocking;
mod datagrams;
mod options;
mod pipes;
mod readiness;
mod streams;

use core::net::SocketAddr;
use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::settings::Settings;
use finack_core::stack::{Config, InterfaceAddress};
use finack_core::{Instant, Stack};

use crate::*;

pub(crate) struct Host {
    pub(crate) stack: Stack,
    pub(crate) posix: Posix,
    pub(crate) now: Instant,
}

pub(crate) fn address(text: &str) -> Address {
    Address::Inet(text.parse::<SocketAddr>().unwrap())
}

pub(crate) fn read(fd: Fd, len: usize) -> Call {
    Call::Recv(fd, Incoming { len, ..Incoming::default() })
}

pub(crate) fn recv(fd: Fd, len: usize, flags: i64) -> Call {
    Call::Recv(fd, Incoming { len, flags, ..Incoming::default() })
}

pub(crate) fn write(fd: Fd, data: &[u8]) -> Call {
    send(fd, data, 0)
}

pub(crate) fn send(fd: Fd, data: &[u8], flags: i64) -> Call {
    Call::Send(fd, Outgoing { data: data.to_vec(), flags, ..Outgoing::default() })
}

pub(crate) fn set(fd: Fd, level: i64, name: i64, value: i32) -> Call {
    Call::SetOption { fd, level, name, value: value.to_le_bytes().to_vec() }
}

impl Host {
    pub(crate) fn new() -> Self {
        let config = Config {
            settings: Settings::default(),
            device: Capabilities::plain(1500),
            addresses: vec![InterfaceAddress { addr: [127, 0, 0, 1].into(), prefix_len: 8 }],
            routes: Vec::new(),
            any_address: false,
            seed: [7; 32],
        };
        let now = Instant::from_secs(1);
        Self { stack: Stack::new(now, config), posix: Posix::new(3, 64), now }
    }

    pub(crate) fn call(&mut self, call: Call) -> Outcome {
        self.posix.call(&mut self.stack, self.now, call)
    }

    pub(crate) fn retry(&mut self, pending: Pending) -> Outcome {
        self.posix.retry(&mut self.stack, self.now, pending)
    }

    pub(crate) fn done(&mut self, call: Call) -> Answer {
        match self.call(call.clone()) {
            Outcome::Done(answer) => answer,
            Outcome::Blocked(_) => panic!("{call:?} blocks"),
        }
    }

    pub(crate) fn ok(&mut self, call: Call) -> i64 {
        self.done(call.clone()).unwrap_or_else(|e| panic!("{call:?}: {e}")).returned()
    }

    pub(crate) fn fd(&mut self, call: Call) -> Fd {
        Fd::try_from(self.ok(call)).unwrap()
    }

    pub(crate) fn err(&mut self, call: Call) -> Errno {
        self.done(call.clone()).expect_err(&format!("{call:?}"))
    }

    pub(crate) fn blocks(&mut self, call: Call) -> Pending {
        match self.call(call.clone()) {
            Outcome::Blocked(pending) => pending,
            Outcome::Done(answer) => panic!("{call:?} returned {answer:?}"),
        }
    }

    pub(crate) fn still_blocks(&mut self, pending: Pending) -> Pending {
        match self.retry(pending) {
            Outcome::Blocked(pending) => pending,
            Outcome::Done(answer) => panic!("returned {answer:?}"),
        }
    }

    pub(crate) fn returns(&mut self, pending: Pending) -> Answer {
        match self.retry(pending) {
            Outcome::Done(answer) => answer,
            Outcome::Blocked(pending) => panic!("{:?} still blocks", pending.call()),
        }
    }

    pub(crate) fn data(&mut self, call: Call) -> Vec<u8> {
        match self.done(call.clone()) {
            Ok(Reply::Received(received)) => received.data,
            other => panic!("{call:?}: {other:?}"),
        }
    }

    pub(crate) fn received(&mut self, call: Call) -> Received {
        match self.done(call.clone()) {
            Ok(Reply::Received(received)) => received,
            other => panic!("{call:?}: {other:?}"),
        }
    }

    pub(crate) fn option(&mut self, fd: Fd, level: i64, name: i64) -> i32 {
        match self.done(Call::GetOption { fd, level, name, len: 4 }) {
            Ok(Reply::Option(value)) => i32::from_le_bytes(value.try_into().unwrap()),
            other => panic!("option {name} of level {level}: {other:?}"),
        }
    }

    /// Lets everything happen that is due now.
    pub(crate) fn run(&mut self) {
        self.stack.handle_timeout(self.now);
        while self.stack.poll_transmit(self.now).is_some() {}
        self.posix.progress(&mut self.stack, self.now);
        while let Some(event) = self.stack.poll_event() {
            self.posix.notice(&event);
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.stack.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.run();
        }
        self.now = end;
        self.run();
    }

    pub(crate) fn stream(&mut self) -> Fd {
        self.fd(Call::Socket { domain: abi::AF_INET, kind: abi::SOCK_STREAM, protocol: abi::IPPROTO_TCP })
    }

    pub(crate) fn nonblocking(&mut self) -> Fd {
        let kind = abi::SOCK_STREAM | abi::SOCK_NONBLOCK;
        self.fd(Call::Socket { domain: abi::AF_INET, kind, protocol: 0 })
    }

    pub(crate) fn listener(&mut self, at: &str) -> Fd {
        let fd = self.stream();
        self.ok(Call::Bind(fd, address(at)));
        self.ok(Call::Listen(fd, 8));
        fd
    }

    /// A listener, and the two ends of a connection to it.
    pub(crate) fn connected(&mut self) -> (Fd, Fd, Fd) {
        let listener = self.listener("127.0.0.1:80");
        let client = self.stream();
        let connecting = self.blocks(Call::Connect(client, address("127.0.0.1:80")));
        self.run();
        assert_eq!(self.returns(connecting), Ok(Reply::Number(0)));
        let server = self.fd(Call::Accept(listener, 0));
        (listener, client, server)
    }
}
