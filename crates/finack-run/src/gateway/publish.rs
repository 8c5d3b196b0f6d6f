//! Ports of the program's that the host can reach: what was asked for, and the sockets that listen there.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;

/// Ports that one `--publish` may name.
const MOST_PORTS: u16 = 256;

/// Which transport is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Ports of the host's at which the program's are to be reached, one for one.
///
/// Written `[ADDR:]PORT:PORT[/udp]` as docker has it, the host's port first; `PORT` may be a range `FIRST-LAST`. Without
/// an address it is the host's loopback alone (127.0.0.1), so that nothing is open to other hosts unless it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where the host listens.
    pub addr: IpAddr,
    /// Its first port there, at least 1.
    pub host_port: u16,
    /// The program's first port, at least 1.
    pub program_port: u16,
    /// How many ports there are, at least 1; all of them are below 65536.
    pub ports: u16,
    /// Of which transport.
    pub protocol: Protocol,
}

impl Publish {
    /// Each of the host's addresses with the program's port behind it.
    pub fn pairs(&self) -> impl Iterator<Item = (SocketAddr, u16)> + use<> {
        let Self { addr, host_port, program_port, ports, .. } = *self;
        (0..ports).map(move |i| {
            (SocketAddr::new(addr, host_port.saturating_add(i)), program_port.saturating_add(i))
        })
    }
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((_, other)) => return Err(format!("'{other}' is neither tcp nor udp")),
        };
        let shape = "write [ADDR:]PORT:PORT[/udp], the host's port first, such as 8080:80 or [::1]:8080:80";
        let (before, program) = rest.rsplit_once(':').ok_or(shape)?;
        let (addr, host) = match before.rsplit_once(':') {
            Some((addr, host)) => (parse_addr(addr)?, host),
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), before),
        };
        let (host_port, ports) = parse_ports(host)?;
        let (program_port, program_ports) = parse_ports(program)?;
        if ports != program_ports {
            return Err(format!("{host} and {program} are not equally many ports"));
        }
        Ok(Self { addr, host_port, program_port, ports, protocol })
    }
}

fn parse_addr(text: &str) -> Result<IpAddr, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return inner.parse().map(IpAddr::V6).map_err(|_| format!("'{inner}' is no IPv6 address"));
    }
    if text.contains(':') {
        return Err("write an IPv6 address in brackets, such as [::1]:8080:80".into());
    }
    text.parse()
        .map(IpAddr::V4)
        .map_err(|_| format!("'{text}' is no address of the host's: write one such as 127.0.0.1"))
}

/// The first port and how many there are.
fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|p| *p > 0)
            .ok_or_else(|| format!("'{text}' is no port: 1 to 65535 are"))
    };
    let Some((first, last)) = text.split_once('-') else { return Ok((port(text)?, 1)) };
    let (first, last) = (port(first)?, port(last)?);
    match last.checked_sub(first) {
        None => Err(format!("the range {text} ends before it begins")),
        Some(more) if more >= MOST_PORTS => Err(format!("the range {text} has more than {MOST_PORTS} ports")),
        Some(more) => Ok((first, more + 1)),
    }
}

/// A port that can't be had.
#[derive(Debug)]
pub struct PublishError {
    /// Where the host was to listen.
    pub at: SocketAddr,
    /// For which transport.
    pub protocol: Protocol,
    /// Why it can't.
    pub error: io::Error,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, protocol, error } = self;
        write!(f, "can't publish at {at}/{protocol}: ")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => f.write_str("another program has this port; choose another"),
            io::ErrorKind::AddrNotAvailable => write!(f, "{} is none of this host's addresses", at.ip()),
            io::ErrorKind::PermissionDenied if at.port() < 1024 => {
                f.write_str("ports below 1024 need privileges; choose one above")
            }
            _ => error.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The host's sockets, each with the program's port behind it. None of them blocks.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// They listen already.
    pub(crate) tcp: Vec<(TcpListener, u16)>,
    /// They are bound.
    pub(crate) udp: Vec<(UdpSocket, u16)>,
}

/// Takes every port that is to be published.
///
/// # Errors
/// The first that can't be had; none is kept then.
pub(crate) fn bind(wanted: &[Publish]) -> Result<Published, PublishError> {
    let mut published = Published::default();
    for publish in wanted {
        for (at, port) in publish.pairs() {
            let failed = |error| PublishError { at, protocol: publish.protocol, error };
            match publish.protocol {
                Protocol::Tcp => {
                    let listener = TcpListener::bind(at).map_err(failed)?;
                    listener.set_nonblocking(true).map_err(failed)?;
                    published.tcp.push((listener, port));
                }
                Protocol::Udp => {
                    let socket = UdpSocket::bind(at).map_err(failed)?;
                    socket.set_nonblocking(true).map_err(failed)?;
                    published.udp.push((socket, port));
                }
            }
        }
    }
    Ok(published)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Publish, String> {
        text.parse()
    }

    #[test]
    fn the_hosts_port_comes_first_and_loopback_is_the_default() {
        let plain = parse("8080:80").unwrap();
        let wanted = Publish {
            addr: Ipv4Addr::LOCALHOST.into(),
            host_port: 8080,
            program_port: 80,
            ports: 1,
            protocol: Protocol::Tcp,
        };
        assert_eq!(plain, wanted);
        assert_eq!(parse("8080:80/tcp").unwrap(), wanted);
        assert_eq!(parse("5353:53/udp").unwrap().protocol, Protocol::Udp);
        assert_eq!(parse("0.0.0.0:8080:80").unwrap().addr.to_string(), "0.0.0.0");
        assert_eq!(parse("[::1]:8080:80").unwrap().addr.to_string(), "::1");
    }

    #[test]
    fn a_range_goes_port_for_port() {
        let pairs: Vec<_> = parse("127.0.0.1:8000-8002:80-82").unwrap().pairs().collect();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(pairs, [(at(8000), 80), (at(8001), 81), (at(8002), 82)]);
        assert_eq!(parse("65535:1").unwrap().pairs().count(), 1);
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (text, says) in [
            ("", "write [ADDR:]PORT:PORT"),
            ("80", "write [ADDR:]PORT:PORT"),
            ("80:", "'' is no port"),
            ("0:80", "'0' is no port"),
            ("8080:65536", "'65536' is no port"),
            ("8080:http", "'http' is no port"),
            ("8080:80/sctp", "'sctp' is neither tcp nor udp"),
            ("::1:8080:80", "in brackets"),
            ("[::1:8080:80", "in brackets"),
            ("[1.2.3.4]:8080:80", "no IPv6 address"),
            ("localhost:8080:80", "'localhost' is no address"),
            ("8000-8001:80", "not equally many"),
            ("8001-8000:80-79", "ends before it begins"),
            ("1-257:1-257", "more than 256"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_in_use_is_told_by_its_address() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let error = bind(&[parse(&format!("{}:80", at.port())).unwrap()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("can't publish at {at}/tcp: another program has this port; choose another")
        );
    }
}
