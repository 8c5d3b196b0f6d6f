//! Datagrams of 1400 bytes with a bounded number of them on their way, over a TUN device and through `finack run`.
//!
//! The *sink* answers every [`CREDIT`]th datagram with a short one, and its client has at most [`WINDOW`] on their way.
//! The *source* sends until as many have gone as its client last said: so nothing is sent that nobody can take, and what
//! is lost all the same is made up for after [`LATE`].

pub mod client;
pub mod server;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::measure::{Comparison, Options};
use crate::tun::plain::{self, Datagram, UDP_HEAD};
use crate::tun::{self, Case};

/// Ports of every subject's servers.
pub const SINK: u16 = 9011;
pub const SOURCE: u16 = 9012;

/// Bytes of each datagram.
pub const EACH: usize = 1400;
/// Datagrams that one call sends where the kernel cuts them, and that one credit is for.
pub const CREDIT: u64 = 32;
pub const RUN: usize = CREDIT as usize * EACH;
/// Datagrams on their way at a time.
pub const WINDOW: u64 = 128;
/// What did not come by then is taken for lost.
pub const LATE: Duration = Duration::from_millis(20);

/// How a program on kernel sockets sends and receives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One call for each datagram.
    Single,
    /// UDP_SEGMENT and UDP_GRO.
    Coalesced,
}

/// What a sink and a source remember, of whichever stack they are.
#[derive(Default)]
pub struct Counted {
    received: u64,
    sent: u64,
    allowed: u64,
}

impl Counted {
    /// So many bytes came to the sink: how many credits are due.
    pub fn took(&mut self, bytes: usize) -> u64 {
        let before = self.received / CREDIT;
        self.received += bytes.div_ceil(EACH) as u64;
        self.received / CREDIT - before
    }

    /// The source's client said this.
    pub fn told(&mut self, data: &[u8]) {
        let Ok(allowed) = data.try_into().map(u64::from_be_bytes) else { return };
        // The first word of a new client.
        if allowed == WINDOW {
            self.sent = 0;
        }
        self.allowed = allowed.min(self.sent + 2 * WINDOW);
    }

    /// How many datagrams the source may send now, at most `most`.
    pub fn may_send(&self, most: u64) -> u64 {
        self.allowed.saturating_sub(self.sent).min(most)
    }

    pub fn has_sent(&mut self, count: u64) {
        self.sent += count;
    }

    /// Both, with no stack at all: `packet` is what was read, `out` what is written.
    pub fn bare(&mut self, datagram: &Datagram, packet: &[u8], out: &mut [u8], write: impl Fn(&[u8])) {
        let data = &packet[datagram.data.clone()];
        if datagram.ends.server.1 == SINK {
            for _ in 0..self.took(data.len()) {
                plain::write_udp(out, &datagram.ends, 8, EACH);
                write(&out[..UDP_HEAD + 8]);
            }
            return;
        }
        self.told(data);
        loop {
            let count = self.may_send(CREDIT);
            if count == 0 {
                return;
            }
            let bytes = count as usize * EACH;
            plain::write_udp(out, &datagram.ends, bytes, EACH);
            write(&out[..UDP_HEAD + bytes]);
            self.has_sent(count);
        }
    }
}

const CASES: [Case; 4] = [
    Case {
        name: "UDP over TUN, 1400 B: kernel to stack, cut by the kernel (GSO)",
        unit: "Gb/s",
        more_is_better: true,
        port: SINK,
        finack_port: None,
        client: |to, length| client::send(to, length, Calls::Coalesced),
    },
    Case {
        name: "UDP over TUN, 1400 B: kernel to stack, a call each",
        unit: "Gb/s",
        more_is_better: true,
        port: SINK,
        finack_port: None,
        client: |to, length| client::send(to, length, Calls::Single),
    },
    Case {
        name: "UDP over TUN, 1400 B: stack to kernel, taken together (GRO)",
        unit: "Gb/s",
        more_is_better: true,
        port: SOURCE,
        finack_port: None,
        client: |from, length| client::receive(from, length, Calls::Coalesced),
    },
    Case {
        name: "UDP over TUN, 1400 B: stack to kernel, a call each",
        unit: "Gb/s",
        more_is_better: true,
        port: SOURCE,
        finack_port: None,
        client: |from, length| client::receive(from, length, Calls::Single),
    },
];

/// All lines.
pub fn all(options: &Options) -> Vec<Comparison> {
    let mut lines = tun::inside(|| tun::run(&CASES, options));
    if !options.bare {
        lines.extend(crate::run::datagrams(options));
    }
    lines
}

/// A client by the words of a command line: what it does, and how.
pub fn by_name(what: &str) -> Option<fn(SocketAddr, Duration) -> io::Result<f64>> {
    Some(match what {
        "udp-send" => |to, length| client::send(to, length, Calls::Coalesced),
        "udp-send-single" => |to, length| client::send(to, length, Calls::Single),
        "udp-receive" => |from, length| client::receive(from, length, Calls::Coalesced),
        "udp-receive-single" => |from, length| client::receive(from, length, Calls::Single),
        _ => return None,
    })
}
