//! What each service is, does and teaches: the one source of `finack services`, `docs/services.md` and the hints in
//! reports.

#[cfg(test)]
mod tests;

use finack_core::stack::Refusal;
use finack_wire::icmp::Unreachable;

use super::misbehave::Behaviour;
use crate::plan::{self, Host};

/// One of finack's services.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name in the private network.
    pub name: &'static str,
    /// Protocols and ports at which it answers.
    pub ports: &'static str,
    /// What it does, to be read after its name.
    pub does: &'static str,
    /// More about how it does that, and where that is written.
    pub text: &'static str,
    /// What can be learnt from it; empty for those that are of plain use.
    pub teaches: &'static str,
    /// A command to try with it, which `finack run --` carries.
    pub command: &'static str,
    /// The command's exit status, as with any real server that does so.
    pub exit: u8,
    /// What it does against the rules, and what comes of that; `None` for those that behave.
    pub fault: Option<Fault>,
}

/// How a service misbehaves.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What it did, to be read after its name in a report.
    pub did: &'static str,
    /// What the program will have seen.
    pub seen_as: &'static str,
    /// Who should change what, so that it does not matter.
    pub advice: &'static str,
    /// How it is done.
    pub(crate) by: By,
}

/// How a service's fault is brought about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// The SYN is turned down.
    Refusal(Refusal),
    /// The connection is accepted, and then this.
    Behaviour(Behaviour),
    /// Not by a connection's life.
    Names,
}

impl Service {
    /// Its addresses.
    pub fn host(&self) -> Option<&'static Host> {
        plan::host_named(self.name)
    }

    /// Its name without the domain.
    pub fn short_name(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }
}

/// The service called `name`, with or without `.finack`.
pub fn named(name: &str) -> Option<&'static Service> {
    let name = name.strip_suffix('.').unwrap_or(name);
    SERVICES.iter().find(|s| s.name.eq_ignore_ascii_case(name) || s.short_name().eq_ignore_ascii_case(name))
}

/// Every service there is: first those that behave, then the others in the order of a connection's life.
pub const SERVICES: &[Service] = &[
    Service {
        name: "hello.finack",
        ports: "TCP 80",
        does: "greets over HTTP, tells what its TCP knows of the connection, serves and takes any number of bytes",
        text: "/ is a page with the state of the connection; /bytes/N serves N bytes (10M, 1G, ...) that are the same every \
               time, /sha256/N their SHA-256; /upload takes PUT and POST and answers with the length and SHA-256 of what came.",
        teaches: "",
        command: "curl http://hello.finack/",
        exit: 0,
        fault: None,
    },
    Service {
        name: "echo.finack",
        ports: "TCP and UDP 7",
        does: "sends back what it gets (RFC 862)",
        text: "Over TCP it goes on until the program's FIN, sends back what is left, and closes then: a program that shuts down \
               its sending side gets everything. Over UDP each datagram comes back as it is; those from the ports of echo, \
               daytime and chargen are not answered, or two such services would never stop.",
        teaches: "a half-closed connection still carries data the other way; what was written together may be read apart",
        command: "sh -c 'printf hi | nc -N echo.finack 7'",
        exit: 0,
        fault: None,
    },
    Service {
        name: "discard.finack",
        ports: "TCP and UDP 9",
        does: "throws away what it gets (RFC 863)",
        text: "It reads as fast as it can, and answers nothing but the program's FIN with its own.",
        teaches: "how fast the way up is, with nobody slowing it down",
        command: "sh -c 'head -c 100M /dev/zero | nc -N discard.finack 9'",
        exit: 0,
        fault: None,
    },
    Service {
        name: "daytime.finack",
        ports: "TCP and UDP 13",
        does: "tells the time of day in a line and closes (RFC 867)",
        text: "The time is UTC. Over TCP nothing needs to be sent: the server speaks first, and closes first, so that TIME-WAIT \
               is at its end. Over UDP any datagram is answered.",
        teaches: "a server that speaks first and closes first: it is the one that holds TIME-WAIT",
        command: "nc daytime.finack 13",
        exit: 0,
        fault: None,
    },
    Service {
        name: "chargen.finack",
        ports: "TCP and UDP 19",
        does: "sends lines of characters without end (RFC 864)",
        text: "Over TCP it goes on until the program closes or resets the connection. Over UDP each datagram, whatever it holds, \
               is answered with one of 0 to 512 characters.",
        teaches: "a reader that is slower than its writer: its window closes, and the writer waits",
        command: "sh -c 'nc chargen.finack 19 | head -n 20'",
        exit: 0,
        fault: None,
    },
    Service {
        name: "refused.finack",
        ports: "every TCP port",
        does: "answers a SYN with a RST, as a host does where nobody listens",
        text: "RFC 9293 3.10.7.1: a SYN for which there is no socket is answered with a RST.",
        teaches: "a refusal comes at once, and says that the host is there: to wait longer is of no use",
        command: "curl http://refused.finack/",
        exit: 7,
        fault: Some(Fault {
            did: "refused the SYN (RST)",
            seen_as: "ECONNREFUSED from connect, at once",
            advice: "the program: try the next address, or say which address and port refused",
            by: By::Refusal(Refusal::Reset),
        }),
    },
    Service {
        name: "unreachable.finack",
        ports: "every TCP and UDP port, and ping",
        does: "answers a SYN, and all else, with an ICMP error: host unreachable",
        text: "So does a router that finds nobody under an address (RFC 1812 4.3.3.1, RFC 4443 3.1). While a connection opens, \
               Linux gives up on it; an open connection goes on (RFC 9293 3.9.2.2: a soft error).",
        teaches: "the error is the network's, not the server's: another address may work",
        command: "curl http://unreachable.finack/",
        exit: 7,
        fault: Some(Fault {
            did: "answered the SYN with an ICMP error (host unreachable)",
            seen_as: "EHOSTUNREACH from connect, at once",
            advice: "the program: try the next address; its user: look for a missing route or a wrong address",
            by: By::Refusal(Refusal::Unreachable(Unreachable::Host)),
        }),
    },
    Service {
        name: "blackhole.finack",
        ports: "every TCP and UDP port, and ping",
        does: "never answers a SYN, nor anything else, as a firewall that drops packets does",
        text: "The program's kernel repeats its SYN after 1 s, 2 s, 4 s, ... and gives up after about 131 s \
               (net.ipv4.tcp_syn_retries).",
        teaches: "connect without a time-out of its own waits for two minutes",
        command: "curl -m 2 http://blackhole.finack/",
        exit: 28,
        fault: Some(Fault {
            did: "left every SYN unanswered",
            seen_as: "nothing: connect waits and repeats its SYN until it gives up (ETIMEDOUT, on Linux after about two minutes)",
            advice: "the program: give connect a time-out of its own, and try the other addresses meanwhile (RFC 8305)",
            by: By::Refusal(Refusal::Silence),
        }),
    },
    Service {
        name: "silent.finack",
        ports: "every TCP port",
        does: "accepts, reads, and never says a word",
        text: "It closes once the program has. TCP itself sees nothing wrong: everything is acknowledged.",
        teaches: "an open connection is no promise of an answer: reads need a time-out",
        command: "curl -m 2 http://silent.finack/",
        exit: 28,
        fault: Some(Fault {
            did: "took the request and never answered",
            seen_as: "nothing: a read waits for ever",
            advice: "the program: give reads a time-out (SO_RCVTIMEO, poll, or its library's); keep-alive probes don't help, for they are answered",
            by: By::Behaviour(Behaviour::Silent),
        }),
    },
    Service {
        name: "reset.finack",
        ports: "every TCP port",
        does: "answers a request with a RST",
        text: "It has read the request before, so that nothing else can be the reason: it aborts (RFC 9293 3.10.5), as a program \
               does that closes with SO_LINGER 0.",
        teaches: "ECONNRESET is not EOF: nobody knows whether the request was carried out",
        command: "curl http://reset.finack/",
        exit: 56,
        fault: Some(Fault {
            did: "answered the request with a RST",
            seen_as: "ECONNRESET once, then EOF on reads and EPIPE (SIGPIPE) on writes",
            advice: "the program: send again only what may be done twice",
            by: By::Behaviour(Behaviour::Reset),
        }),
    },
    Service {
        name: "unread.finack",
        ports: "every TCP port",
        does: "closes in good faith, without having read the request: a RST comes of it",
        text: "RFC 1122 4.2.2.13: who closes while data is unread says so by a RST. What was sent to the client before may be \
               lost with it.",
        teaches: "why a server that answers early and closes loses its answer",
        command: "curl http://unread.finack/",
        exit: 56,
        fault: Some(Fault {
            did: "closed without reading the request, so that a RST was sent instead of a FIN",
            seen_as: "ECONNRESET once, then EOF on reads and EPIPE (SIGPIPE) on writes",
            advice: "the server: shut down its sending side, read to the end, and close only then",
            by: By::Behaviour(Behaviour::Unread),
        }),
    },
    Service {
        name: "empty.finack",
        ports: "every TCP port",
        does: "reads the request and closes in order, without an answer",
        text: "FINs both ways, nothing lost: for TCP this is a connection as it should be.",
        teaches: "an orderly close is no answer: EOF in the wrong place is an error of the application's",
        command: "curl http://empty.finack/",
        exit: 52,
        fault: Some(Fault {
            did: "closed in order without an answer",
            seen_as: "EOF where an answer was due",
            advice: "the program: treat EOF before the answer's end as an error of its own",
            by: By::Behaviour(Behaviour::Empty),
        }),
    },
    Service {
        name: "nonsense.finack",
        ports: "every TCP port",
        does: "answers an HTTP request with a line that is not HTTP",
        text: "The line is `this is not HTTP`; then it closes in order.",
        teaches: "bytes from a network are anybody's: a parser needs an answer to everything",
        command: "curl http://nonsense.finack/",
        exit: 1,
        fault: Some(Fault {
            did: "answered with what is not HTTP",
            seen_as: "bytes that its protocol does not know",
            advice: "the program: say what it got, from whom, and end the connection",
            by: By::Behaviour(Behaviour::Nonsense),
        }),
    },
    Service {
        name: "slow.finack",
        ports: "every TCP port",
        does: "answers right, a byte every 100 ms",
        text: "The whole answer has some ninety bytes and takes nine seconds. A time-out for each read never fires: one for the \
               whole answer does.",
        teaches: "a time-out for each read is none for the whole",
        command: "curl -m 2 http://slow.finack/",
        exit: 28,
        fault: Some(Fault {
            did: "answered a byte at a time",
            seen_as: "short reads, one byte each, for nine seconds",
            advice: "the program: limit the time of the whole answer, and put reads together until a message is complete",
            by: By::Behaviour(Behaviour::Slow),
        }),
    },
    Service {
        name: "reset-halfway.finack",
        ports: "every TCP port",
        does: "sends half of the body that it promised, then a RST",
        text: "Content-Length says 2000; the RST follows once 1000 bytes are acknowledged.",
        teaches: "what had arrived before a RST can still be read, and is not the whole",
        command: "curl http://reset-halfway.finack/",
        exit: 56,
        fault: Some(Fault {
            did: "sent half of the body that it had promised, then a RST",
            seen_as: "half of the body, then ECONNRESET",
            advice: "the program: keep nothing of an answer whose length is not right, and go on from there only if the server can (Range)",
            by: By::Behaviour(Behaviour::ResetHalfway),
        }),
    },
    Service {
        name: "truncated.finack",
        ports: "every TCP port",
        does: "sends half of the body that it promised, then closes in order",
        text: "Content-Length says 2000, 1000 bytes come, then a FIN: only the length tells that something is missing.",
        teaches: "EOF ends a connection, not a message: compare the length",
        command: "curl http://truncated.finack/",
        exit: 18,
        fault: Some(Fault {
            did: "sent less than its Content-Length and closed in order",
            seen_as: "half of the body, then EOF",
            advice: "the program: compare what came with the length that was promised",
            by: By::Behaviour(Behaviour::Truncated),
        }),
    },
    Service {
        name: "zero-window.finack",
        ports: "every TCP port",
        does: "accepts and reads nothing: an upload stops at a closed window",
        text: "Its receive buffer is small. Once it is full the window is 0; the program's kernel probes it for as long as the \
               probes are acknowledged (RFC 9293 3.8.6.1), which they are.",
        teaches: "write succeeds until the buffers are full, then waits: nothing says that the other end has read",
        command: "curl -m 3 -T /bin/sh http://zero-window.finack/",
        exit: 28,
        fault: Some(Fault {
            did: "read nothing, and left its window closed",
            seen_as: "writes that succeed for a while and then wait, for ever",
            advice: "the program: give writes a time-out too (SO_SNDTIMEO, poll; TCP_USER_TIMEOUT ends it also in the kernel)",
            by: By::Behaviour(Behaviour::ZeroWindow),
        }),
    },
    Service {
        name: "half-closed.finack",
        ports: "every TCP port",
        does: "answers, sends its FIN first, and reads on",
        text: "The answer ends with the connection (no Content-Length). What the program still sends is read until its own FIN; \
               TIME-WAIT is at this end, which closed first.",
        teaches: "EOF means that the other end sends nothing more, not that it is gone: writing still works",
        command: "curl http://half-closed.finack/",
        exit: 0,
        fault: Some(Fault {
            did: "sent its FIN first and read on",
            seen_as: "the answer, then EOF; its own writes still arrive",
            advice: "nobody: this is TCP as it is meant (RFC 9293 3.6)",
            by: By::Behaviour(Behaviour::HalfClosed),
        }),
    },
    Service {
        name: "still-sending.finack",
        ports: "every TCP port",
        does: "sends a line every 100 ms, and goes on for 3 s after the program's FIN",
        text: "It takes a FIN for what it says: the program sends nothing more, and may still read. A program that shut down its \
               sending side gets 3 s more, then EOF. One that closed its socket is not there to read: its kernel answers the next \
               line with a RST.",
        teaches: "close and shutdown send the same FIN; only what comes back tells them apart",
        command: "curl -m 1 http://still-sending.finack/",
        exit: 28,
        fault: Some(Fault {
            did: "took the program's FIN for half a close and went on sending",
            seen_as: "lines without end, and 3 s of them after shutdown; nothing after close, for its kernel answers with a RST",
            advice: "the program: shut down its sending side and read to EOF where the rest matters, close where it does not",
            by: By::Behaviour(Behaviour::StillSending),
        }),
    },
    Service {
        name: "never-closing.finack",
        ports: "every TCP port",
        does: "answers, and never closes: not even when the program has",
        text: "The answer ends with the connection (no Content-Length), and the connection does not end. After the program's close \
               its end waits in FIN-WAIT-2 until the kernel's tcp_fin_timeout (60 s); this end stays in CLOSE-WAIT.",
        teaches: "where CLOSE-WAIT comes from, and why a client must not wait for EOF alone",
        command: "curl -m 2 http://never-closing.finack/",
        exit: 28,
        fault: Some(Fault {
            did: "answered and never closed",
            seen_as: "the whole answer, and then no EOF; after its close, FIN-WAIT-2 in its kernel",
            advice: "the server: close what its client has closed (a heap of CLOSE-WAITs is such a bug); the program: have a time-out",
            by: By::Behaviour(Behaviour::NeverClosing),
        }),
    },
    Service {
        name: "truncated-dns.finack",
        ports: "UDP and TCP 53; TCP 80 as hello.finack",
        does: "is a name server whose answers never fit into a datagram, and a name that every server here treats so",
        text: "Over UDP each answer has TC set and no records; over TCP it is whole (RFC 1035 4.2.1, RFC 7766 5). Ask it anything \
               (`dig @truncated-dns.finack hello.finack`), or look its own name up by the usual way.",
        teaches: "DNS needs TCP too: a resolver or firewall without it fails for long answers only",
        command: "curl http://truncated-dns.finack/",
        exit: 0,
        fault: Some(Fault {
            did: "cut its answer over UDP (TC) and gave it whole over TCP",
            seen_as: "an answer without records; its resolver asks again over TCP",
            advice: "whoever filters: let TCP to port 53 through; the program: use a resolver that asks again over TCP",
            by: By::Names,
        }),
    },
];
