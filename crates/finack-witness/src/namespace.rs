//! The network that a script has for itself: a namespace with one TUN device, and Linux's defaults in it.

use std::fs;
use std::io;

use finack_posix::{Errno, abi};
use finack_script::run::config::{Config, IpVersion};

use crate::netlink::Netlink;
use crate::sniffer::Sniffer;
use crate::sys;
use crate::tun::Tun;

/// `TCP_AO_ADD_KEY`
const TCP_AO_ADD_KEY: i64 = 38;

/// The device's name.
const DEVICE: &str = "tun0";

/// What a new namespace takes over from the machine, set back to what Linux has where nobody changed it; and what would
/// send packets that no script is about.
const DEFAULTS: [(&str, &str); 9] = [
    ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
    ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.tun0.accept_dad", "0"),
    ("net.ipv6.conf.tun0.addr_gen_mode", "1"),
    ("net.ipv6.conf.tun0.router_solicitations", "0"),
    ("net.ipv6.conf.tun0.accept_ra", "0"),
];

/// Makes sure that namespaces can be made: as root, or in a user namespace, which the process then enters. To be called
/// before the process has a second thread.
///
/// # Errors
/// In one line, what is missing and how it is had.
pub fn prepare() -> Result<(), String> {
    if let Err(plain) = sys::unshare(libc::CLONE_NEWNET) {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map_err(|error| {
            format!(
                "--kernel needs a network namespace: run it as root ({plain}), or where user namespaces are \
                 allowed to everybody ({error}; sysctl user.max_user_namespaces)"
            )
        })?;
        map(user, group).map_err(|e| format!("--kernel: the user namespace can't be set up: {e}"))?;
    }
    Tun::open(DEVICE).map(drop).map_err(|error| {
        format!("--kernel needs a TUN device: /dev/net/tun: {error} (modprobe tun; in a container, --device /dev/net/tun)")
    })
}

/// Whether the kernel was built with TCP-AO (RFC 5925).
pub fn has_tcp_ao() -> bool {
    let Ok(fd) = sys::socket(abi::AF_INET, abi::SOCK_STREAM, 0) else { return false };
    let fd = fd as std::os::fd::RawFd;
    // No key is so short; a kernel that knows the option says so in another way than one that does not.
    let refused = sys::set_option(fd, abi::SOL_TCP, TCP_AO_ADD_KEY, &[0; 4]);
    let _ = sys::close(fd);
    refused != Err(Errno::ENOPROTOOPT)
}

/// The caller is itself in its user namespace.
fn map(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1\n"))
}

/// One script's network.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) tun: Tun,
    pub(crate) sniffer: Sniffer,
    netlink: Netlink,
    index: u32,
    v6: bool,
    /// What the route says of the path.
    metrics: Vec<(u16, u32)>,
}

impl Namespace {
    /// The calling thread leaves for a namespace of its own, with the configuration's addresses.
    pub(crate) fn enter(config: &Config) -> Result<Self, String> {
        let at = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        sys::unshare(libc::CLONE_NEWNET).map_err(at("a network namespace"))?;
        let tun = Tun::open(DEVICE).map_err(at("/dev/net/tun"))?;
        let mut netlink = Netlink::open().map_err(at("netlink"))?;
        let index = netlink.index(DEVICE).map_err(at("the TUN device"))?;
        for (name, value) in DEFAULTS {
            // IPv6 may be missing.
            let _ = set_sysctl(name, value);
        }
        let lo = netlink.index("lo").map_err(at("lo"))?;
        netlink.link_up(lo).map_err(at("lo"))?;
        let v6 = config.ip_version == IpVersion::V6;
        let prefix = if v6 { 48 } else { 16 };
        netlink.link_mtu(index, config.mtu).map_err(at("the device's MTU"))?;
        netlink.link_up(index).map_err(at("the TUN device"))?;
        netlink.add_address(index, config.local_ip, prefix).map_err(at("the device's address"))?;
        netlink.default_route(index, v6, &[]).map_err(at("the default route"))?;
        let sniffer = Sniffer::open(index).map_err(at("a packet socket"))?;
        Ok(Self { tun, sniffer, netlink, index, v6, metrics: Vec::new() })
    }

    pub(crate) fn set_mtu(&mut self, mtu: u16) -> Result<(), String> {
        self.netlink.link_mtu(self.index, mtu).map_err(|e| e.to_string())
    }

    /// Sets a metric of the route, by its RTAX number; those that were set before stay.
    pub(crate) fn set_metric(&mut self, metric: u16, value: u32) -> Result<(), String> {
        self.metrics.retain(|(known, _)| *known != metric);
        self.metrics.push((metric, value));
        self.netlink.default_route(self.index, self.v6, &self.metrics).map_err(|e| e.to_string())
    }
}

/// The sysctl of the congestion control that sockets begin with.
pub(crate) const CONGESTION: &str = "net.ipv4.tcp_congestion_control";

/// Linux's own default of it.
pub(crate) const DEFAULT_CONGESTION: &str = "cubic";

/// Whether the kernel has a congestion control, allowed to everybody or not.
pub(crate) fn has_congestion(name: &str) -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .is_ok_and(|list| list.split_whitespace().any(|known| known == name))
}

/// Sets a sysctl of the calling thread's network namespace.
pub(crate) fn set_sysctl(name: &str, value: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    // What belongs to the machine as a whole is nothing for a script to change.
    if !name.starts_with("net.") || !name.chars().all(plain) || name.contains("..") {
        return Err("only net.* can be set in a namespace".into());
    }
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::write(path, value).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "this kernel has no such sysctl in a namespace".into(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script must not reach what belongs to the machine.
    #[test]
    fn only_sysctls_of_a_network_namespace_are_written() {
        for name in ["kernel.panic", "vm.swappiness", "net/../kernel.panic", "net..kernel.panic", "net.a b"] {
            let refused = set_sysctl(name, "1");
            assert_eq!(refused, Err("only net.* can be set in a namespace".into()), "{name}");
        }
    }
}
