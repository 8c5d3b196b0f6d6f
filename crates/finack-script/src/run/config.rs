//! What a script is run with: its own `--name=value` lines over those of the command line over the defaults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::ast::{Nanos, OptionLine};

/// How the script's sockets and packets speak IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IpVersion {
    /// IPv4 sockets, IPv4 packets.
    #[default]
    V4,
    /// IPv6 sockets, IPv6 packets.
    V6,
    /// IPv6 sockets, IPv4 packets.
    Mapped,
}

/// What a script is run with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `--ip_version`
    pub ip_version: IpVersion,
    /// `--local_ip`: the stack's address.
    pub local_ip: IpAddr,
    /// `--remote_ip`: that of the test's side.
    pub remote_ip: IpAddr,
    /// `--bind_port`: what `bind(3, ..., ...)` takes.
    pub bind_port: u16,
    /// `--connect_port`: where `connect(3, ..., ...)` goes.
    pub connect_port: u16,
    /// `--mtu`, in bytes.
    pub mtu: u16,
    /// `--mss`: injected segments above it arrive as if joined from segments of that size; 0 where they are whole.
    pub mss: u16,
    /// `--tolerance_usecs`: by how much a time may be off.
    pub tolerance: Nanos,
    /// `--tolerance_percent`: or by this part of the time since the event before, whichever is more.
    pub tolerance_percent: f64,
    /// `--tcp_ts_tick_usecs`: what the timestamps that the stack sends count, 0 where they are not looked at.
    pub ts_tick: Nanos,
    /// `--tcp_ts_ecr_scaled`: an injected echo that no packet had before is computed from the first one.
    pub ts_scaled: bool,
    /// `--strict_segments`: each expected packet is one packet, not several that make it up.
    pub strict_segments: bool,
    /// `--non_fatal=packet`: a packet that differs is noted, and the script goes on.
    pub non_fatal_packets: bool,
    /// `--non_fatal=syscall`: a call that differs is noted, and the script goes on.
    pub non_fatal_calls: bool,
    /// `--dry_run`: the script is only read.
    pub dry_run: bool,
    /// A packet that the script does not mention fails it, also behind the last one that it does.
    pub nothing_left: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self::new(IpVersion::V4)
    }
}

/// Why an option was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// Its value makes no sense.
    Bad(String),
    /// finack has nothing to do with it.
    Unsupported(String),
}

impl Config {
    /// The defaults of a version.
    pub fn new(ip_version: IpVersion) -> Self {
        let (local_ip, remote_ip): (IpAddr, IpAddr) = if ip_version == IpVersion::V6 {
            let local = Ipv6Addr::new(0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1);
            (local.into(), Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1).into())
        } else {
            (Ipv4Addr::new(192, 168, 0, 1).into(), Ipv4Addr::new(192, 0, 2, 1).into())
        };
        Self {
            ip_version,
            local_ip,
            remote_ip,
            bind_port: 8080,
            connect_port: 8080,
            mtu: 1500,
            mss: 0,
            tolerance: 4_000_000,
            tolerance_percent: 12.5,
            ts_tick: 0,
            ts_scaled: false,
            strict_segments: false,
            non_fatal_packets: false,
            non_fatal_calls: false,
            dry_run: false,
            nothing_left: false,
        }
    }

    /// The configuration of a script: `base` is the command line's, the script's lines come on top.
    ///
    /// # Errors
    /// The line at fault, and why.
    pub fn with(base: &Self, lines: &[OptionLine]) -> Result<Self, (OptionLine, OptionError)> {
        let mut config = base.clone();
        // The version first: it decides what the addresses default to.
        for line in lines.iter().filter(|l| l.name == "ip_version") {
            let value = line.value.as_deref().unwrap_or_default();
            let version = Self::version(value).map_err(|e| (line.clone(), e))?;
            if version != config.ip_version {
                let Self { local_ip, remote_ip, .. } = Self::new(version);
                config = Self { ip_version: version, local_ip, remote_ip, ..config };
            }
        }
        for line in lines.iter().filter(|l| l.name != "ip_version") {
            config.set(&line.name, line.value.as_deref()).map_err(|e| (line.clone(), e))?;
        }
        Ok(config)
    }

    /// `ipv4`, `ipv6` or `ipv4-mapped-ipv6`.
    ///
    /// # Errors
    /// Any other word.
    pub fn version(value: &str) -> Result<IpVersion, OptionError> {
        match value {
            "ipv4" => Ok(IpVersion::V4),
            "ipv6" => Ok(IpVersion::V6),
            "ipv4-mapped-ipv6" => Ok(IpVersion::Mapped),
            other => Err(OptionError::Bad(format!("'{other}' is not ipv4, ipv6 or ipv4-mapped-ipv6"))),
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionError> {
        let given = || value.ok_or_else(|| OptionError::Bad(format!("--{name} needs a value")));
        match name {
            "local_ip" => self.local_ip = self.address(given()?)?,
            "remote_ip" => self.remote_ip = self.address(given()?)?,
            "bind_port" => self.bind_port = number(given()?, 1, 65_535)? as u16,
            "connect_port" => self.connect_port = number(given()?, 1, 65_535)? as u16,
            "mtu" => {
                let least = if self.ip_version == IpVersion::V6 { 1280 } else { 68 };
                self.mtu = number(given()?, least, 65_535)? as u16;
            }
            "mss" => self.mss = number(given()?, 1, 65_000)? as u16,
            "tolerance_usecs" => self.tolerance = number(given()?, 0, 1_000_000_000)? * 1000,
            "tolerance_percent" => {
                let percent: f64 = given()?.parse().map_err(|_| bad(given().unwrap_or_default()))?;
                if !(0.0..=100.0).contains(&percent) {
                    return Err(bad(given()?));
                }
                self.tolerance_percent = percent;
            }
            "tcp_ts_tick_usecs" => self.ts_tick = number(given()?, 0, 1_000_000)? * 1000,
            "tcp_ts_ecr_scaled" => self.ts_scaled = true,
            "strict_segments" => self.strict_segments = true,
            "non_fatal" => {
                for what in given()?.split([',', ' ']).filter(|w| !w.is_empty()) {
                    match what {
                        "packet" => self.non_fatal_packets = true,
                        "syscall" => self.non_fatal_calls = true,
                        other => return Err(bad(other)),
                    }
                }
            }
            "dry_run" => self.dry_run = true,
            // There is one interface with one route; a link has no speed; sockets are freed when a script ends.
            "gateway_ip" | "netmask_ip" | "speed" | "send_omit_free" | "debug" | "verbose"
            | "code_command" | "code_format" | "code_sockopt" => {}
            other => return Err(OptionError::Unsupported(format!("--{other}"))),
        }
        Ok(())
    }

    fn address(&self, value: &str) -> Result<IpAddr, OptionError> {
        let plain = value.split('/').next().unwrap_or(value);
        let address: IpAddr = plain.parse().map_err(|_| bad(value))?;
        if address.is_ipv6() != (self.ip_version == IpVersion::V6) {
            return Err(OptionError::Bad(format!("'{value}' is not of the script's IP version")));
        }
        Ok(address)
    }

    /// Whether sockets are of `AF_INET6`.
    pub fn v6_sockets(&self) -> bool {
        self.ip_version != IpVersion::V4
    }

    /// An address as a socket of the script's family has it.
    pub fn for_socket(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V4(ip) if self.v6_sockets() => SocketAddr::new(ip.to_ipv6_mapped().into(), port),
            ip => SocketAddr::new(ip, port),
        }
    }
}

fn bad(value: &str) -> OptionError {
    OptionError::Bad(format!("'{value}' is not a value that it takes"))
}

fn number(value: &str, least: u64, most: u64) -> Result<u64, OptionError> {
    let parsed: Option<u64> = value.parse().ok();
    parsed
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| OptionError::Bad(format!("'{value}' is not a number from {least} to {most}")))
}
