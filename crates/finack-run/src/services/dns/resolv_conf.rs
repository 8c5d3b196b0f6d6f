//! The host's `/etc/resolv.conf`, read as the C library reads it (`resolv.conf(5)`).

use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Name servers that are used: the C library's MAXNS.
const MAX_SERVERS: usize = 3;
/// Domains of the search list that are handed on.
const MAX_SEARCH: usize = 32;
/// Longest name in the search list, in characters (RFC 1035 2.3.4).
const MAX_NAME: usize = 255;
/// Bounds of `options`, as the C library has them.
const MAX_TIMEOUT: u64 = 30;
const MAX_ATTEMPTS: u32 = 5;
const MAX_NDOTS: u32 = 15;
/// Most of the file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// The port of name servers.
const PORT: u16 = 53;

/// How a machine looks up names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers in the order in which they are asked, one to three.
    pub servers: Vec<SocketAddr>,
    /// Domains that are appended to short names.
    pub search: Vec<String>,
    /// How long the first server may take to answer, 1 to 30 seconds when it comes from a file.
    pub timeout: Duration,
    /// How often all servers are asked, 1 to 5 when it comes from a file.
    pub attempts: u32,
    /// Each question starts with another server.
    pub rotate: bool,
    /// Servers are asked by TCP only.
    pub use_vc: bool,
    /// Options that concern the program's own resolver alone (`ndots:2`, `edns0`, ...), as they stood.
    pub program_options: Vec<String>,
}

impl Default for ResolvConf {
    /// What holds where there is no file: a server on this machine.
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)],
            search: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_vc: false,
            program_options: Vec::new(),
        }
    }
}

impl ResolvConf {
    /// Reads the text of a file. What is not understood is passed over, as the C library does.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self { servers: Vec::new(), ..Self::default() };
        for line in text.lines() {
            // A keyword starts its line; comments start with ';' or '#'.
            let Some((keyword, rest)) = line.split_once([' ', '\t']) else { continue };
            match keyword {
                "nameserver" if conf.servers.len() < MAX_SERVERS => {
                    conf.servers.extend(rest.split_whitespace().next().and_then(server));
                }
                // The last of either counts.
                "domain" => conf.search = rest.split_whitespace().take(1).filter_map(domain).collect(),
                "search" => {
                    conf.search = rest.split_whitespace().take(MAX_SEARCH).filter_map(domain).collect();
                }
                "options" => rest.split_whitespace().for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers = Self::default().servers;
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        // A number that can't be read is 0 there.
        let number = value.parse::<u32>().unwrap_or(0);
        match name {
            "timeout" => self.timeout = Duration::from_secs(u64::from(number).clamp(1, MAX_TIMEOUT)),
            "attempts" => self.attempts = number.clamp(1, MAX_ATTEMPTS),
            "rotate" => self.rotate = true,
            "use-vc" | "usevc" => self.use_vc = true,
            "ndots" => self.program_options.push(format!("ndots:{}", number.min(MAX_NDOTS))),
            "edns0"
            | "trust-ad"
            | "no-aaaa"
            | "no-tld-query"
            | "single-request"
            | "single-request-reopen"
                if self.program_options.len() < 16 =>
            {
                self.program_options.push(option.to_owned());
            }
            _ => {}
        }
    }

    /// How long server number `index` of those that are asked may take, in every attempt: as the C library has it, the
    /// later ones get longer, the more so the fewer there are.
    pub(super) fn patience(&self, index: usize) -> Duration {
        let servers = u32::try_from(self.servers.len().max(1)).unwrap_or(1);
        match index {
            0 => self.timeout,
            _ => self.timeout * (1 << index.min(MAX_SERVERS)) / servers,
        }
    }

    /// How long it takes until all servers have been given up.
    fn longest(&self) -> Duration {
        (0..self.servers.len()).map(|index| self.patience(index)).sum::<Duration>() * self.attempts.max(1)
    }

    /// The `resolv.conf` that the program gets: finack's name server, the host's search list, and time enough for all
    /// of the host's servers to be tried.
    pub fn for_program(&self, server: IpAddr) -> String {
        let mut text = format!("nameserver {server}\n");
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        let seconds = (self.longest().as_secs() / 2 + 1).clamp(1, MAX_TIMEOUT);
        let _ = write!(text, "options timeout:{seconds} attempts:2");
        for option in &self.program_options {
            let _ = write!(text, " {option}");
        }
        if self.use_vc {
            text.push_str(" use-vc");
        }
        text.push('\n');
        text
    }
}

fn domain(name: &str) -> Option<String> {
    let sound = name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_graphic());
    sound.then(|| name.to_owned())
}

/// An address, with the interface's name or number behind a `%` where it is link-local.
fn server(text: &str) -> Option<SocketAddr> {
    let (addr, zone) = text.split_once('%').unwrap_or((text, ""));
    let addr: IpAddr = addr.parse().ok()?;
    Some(match addr {
        IpAddr::V6(v6) if !zone.is_empty() => SocketAddr::V6(SocketAddrV6::new(v6, PORT, 0, scope(v6, zone))),
        _ => SocketAddr::new(addr, PORT),
    })
}

fn scope(addr: Ipv6Addr, zone: &str) -> u32 {
    if !addr.is_unicast_link_local() {
        return 0;
    }
    zone.parse().or_else(|_| interface(zone)).unwrap_or(0)
}

fn interface(name: &str) -> io::Result<u32> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    Ok(rustix::net::netdevice::name_to_index(socket, name)?)
}

/// The file, read again whenever it has changed, as the C library does.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    stamp: Option<Stamp>,
    conf: ResolvConf,
}

/// By what a changed file is known: device, inode, size, time of change.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

impl Watched {
    pub(super) fn new(path: &Path) -> Self {
        let mut watched = Self { path: path.to_owned(), stamp: None, conf: ResolvConf::default() };
        watched.refresh();
        watched
    }

    /// What no file can change.
    #[cfg(test)]
    pub(super) fn fixed(conf: ResolvConf) -> Self {
        Self { path: PathBuf::new(), stamp: None, conf }
    }

    /// What the file said when it was looked at last.
    pub(super) fn last(&self) -> &ResolvConf {
        &self.conf
    }

    /// What the file says now; what it said last where it can't be read.
    pub(super) fn refresh(&mut self) -> &ResolvConf {
        let now = fs::metadata(&self.path).ok().map(|m| stamp(&m));
        if now.is_some() && now != self.stamp {
            self.stamp = now;
            if let Ok(text) = read(&self.path) {
                self.conf = ResolvConf::parse(&text);
            }
        }
        &self.conf
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, MAX_FILE), &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 53)
    }

    #[test]
    fn the_first_three_servers_count_and_comments_do_not() {
        let conf = ResolvConf::parse(
            "# nameserver 192.0.2.9\n;nameserver 192.0.2.8\nnameserver 192.0.2.1 # the first\n\
             nameserver nonsense\nnameserver\t2001:db8::1\n nameserver 192.0.2.7\nnameserver 127.0.0.53\n\
             nameserver 192.0.2.4\nnameserver\n",
        );
        assert_eq!(conf.servers, [addr("192.0.2.1"), addr("2001:db8::1"), addr("127.0.0.53")]);
    }

    #[test]
    fn no_server_means_this_machine() {
        for text in ["", "search example.com\n", "nameserver\n"] {
            assert_eq!(ResolvConf::parse(text).servers, [addr("127.0.0.1")], "{text:?}");
        }
        assert_eq!(Watched::new(Path::new("/nonexistent")).refresh(), &ResolvConf::default());
    }

    #[test]
    fn options_are_bounded_as_in_the_c_library() {
        let conf = ResolvConf::parse("options timeout:99 attempts:99 rotate use-vc ndots:99 edns0 inet6\n");
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(30), 5));
        assert!(conf.rotate && conf.use_vc);
        assert_eq!(conf.program_options, ["ndots:15", "edns0"]);
        let least = ResolvConf::parse("options timeout:0 attempts:x\n");
        assert_eq!((least.timeout, least.attempts), (Duration::from_secs(1), 1));
    }

    #[test]
    fn the_last_search_list_counts() {
        let conf = ResolvConf::parse("search a.example b.example\ndomain c.example d.example\n");
        assert_eq!(conf.search, ["c.example"]);
    }

    #[test]
    fn a_link_local_server_keeps_its_interface() {
        let conf =
            ResolvConf::parse("nameserver fe80::1%lo\nnameserver fe80::1%7\nnameserver 2001:db8::1%7\n");
        let scopes: Vec<u32> = conf
            .servers
            .iter()
            .map(|s| match s {
                SocketAddr::V6(v6) => v6.scope_id(),
                SocketAddr::V4(_) => 0,
            })
            .collect();
        assert_eq!(scopes, [1, 7, 0], "lo is the first interface everywhere");
    }

    /// `res_send.c`: `retrans << ns`, divided by the number of servers for all but the first.
    #[test]
    fn later_servers_are_waited_for_as_the_c_library_does() {
        let conf = ResolvConf::parse("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n");
        let seconds: Vec<f64> = (0..3).map(|i| conf.patience(i).as_secs_f64()).collect();
        assert_eq!(seconds.iter().map(|s| s.round()).collect::<Vec<_>>(), [5.0, 3.0, 7.0]);
    }

    #[test]
    fn the_program_waits_for_as_long_as_the_host_would() {
        let conf = ResolvConf::parse(
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch corp.example\noptions timeout:2 ndots:2 use-vc\n",
        );
        assert_eq!(
            conf.for_program(Ipv4Addr::new(198, 18, 0, 1).into()),
            "nameserver 198.18.0.1\nsearch corp.example\noptions timeout:5 attempts:2 ndots:2 use-vc\n"
        );
        let twice = ResolvConf::parse(&conf.for_program(Ipv4Addr::new(198, 18, 0, 1).into()));
        assert!(twice.timeout * twice.attempts > conf.longest(), "{twice:?}");
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let path = std::env::temp_dir().join(format!("finack-resolv-{}", std::process::id()));
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let mut watched = Watched::new(&path);
        assert_eq!(watched.refresh().servers, [addr("192.0.2.1")]);
        fs::write(&path, "nameserver 2001:db8::1\n").unwrap();
        assert_eq!(watched.refresh().servers, [addr("2001:db8::1")]);
        fs::remove_file(&path).unwrap();
        assert_eq!(watched.refresh().servers, [addr("2001:db8::1")], "kept where there is none any more");
    }
}
