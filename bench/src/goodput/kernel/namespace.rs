//! A Linux host: a network namespace of the calling thread with one TUN device, which is its only way out.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The device's name in each namespace.
const DEVICE: &str = "tun0";

/// Packets that may wait for the emulator to read them: whatever a window lets go at once.
const TRANSMIT_QUEUE: libc::c_int = 20_000;

/// What a new namespace takes over from the machine, set back to what Linux has where nobody changed it; that no flow
/// learns from an earlier one; and nothing sent but what the flows are about.
const DEFAULTS: [(&str, &str); 7] = [
    ("net/ipv4/tcp_rmem", "4096 131072 6291456"),
    ("net/ipv4/tcp_wmem", "4096 16384 4194304"),
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// Makes sure that namespaces can be made: as root, or in a user namespace, which the process then enters. To be called
/// before the process has a second thread.
///
/// # Errors
/// In one line, what is missing and how it is had.
pub fn prepare() -> Result<(), String> {
    if let Err(plain) = unshare(libc::CLONE_NEWNET) {
        // SAFETY: these two only tell who runs the process.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map_err(|error| {
            format!(
                "--kernel needs a network namespace: run it as root ({plain}), or where user namespaces are \
                 allowed to everybody ({error}; sysctl user.max_user_namespaces)"
            )
        })?;
        map(user, group).map_err(|e| format!("--kernel: the user namespace can't be set up: {e}"))?;
    }
    tun().map(drop).map_err(|error| {
        format!(
            "--kernel needs a TUN device: /dev/net/tun: {error} (modprobe tun; in a container, --device /dev/net/tun)"
        )
    })
}

/// The caller is itself in its user namespace.
fn map(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1\n"))
}

/// The calling thread leaves for a namespace of its own with this address (its network is a /24); what comes out of the
/// other end of its device is returned.
///
/// # Errors
/// What could not be had, in one line.
pub fn enter(address: Ipv4Addr) -> Result<OwnedFd, String> {
    let at = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    unshare(libc::CLONE_NEWNET).map_err(at("a network namespace"))?;
    for (name, value) in DEFAULTS {
        // IPv6 may be missing.
        let _ = fs::write(format!("/proc/sys/{name}"), value);
    }
    let tun = tun().map_err(at("/dev/net/tun"))?;
    let control = control_socket().map_err(at("a socket"))?;
    let set =
        |request, change: &dyn Fn(&mut libc::ifreq)| interface(control.as_fd(), request, DEVICE, change);
    set(libc::SIOCSIFTXQLEN, &|r| r.ifr_ifru.ifru_mtu = TRANSMIT_QUEUE).map_err(at("the device's queue"))?;
    set(libc::SIOCSIFADDR, &|r| r.ifr_ifru.ifru_addr = socket_address(address))
        .map_err(at("the device's address"))?;
    set(libc::SIOCSIFNETMASK, &|r| r.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::new(255, 255, 255, 0)))
        .map_err(at("the device's network"))?;
    set(libc::SIOCSIFFLAGS, &|r| r.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short)
        .map_err(at("the device"))?;
    Ok(tun)
}

/// What the calling thread's namespace counted, as `/proc/net/netstat` and `/proc/net/snmp` have it: TCP's lines, those
/// counters that are not 0.
pub fn counters() -> String {
    let mut out = String::new();
    for file in ["snmp", "netstat"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            if !names.starts_with("Tcp") {
                continue;
            }
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()).skip(1) {
                if value != "0" {
                    out.push_str(&format!("{name} {value}\n"));
                }
            }
        }
    }
    out
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: these flags unshare neither memory nor descriptors, so that nothing any code relies on changes.
    check(unsafe { libc::unshare(flags) })
}

/// A TUN device whose packets are as large as on a wire: neither header nor offload, so that the kernel cuts them.
fn tun() -> io::Result<OwnedFd> {
    // SAFETY: a path that ends in a zero byte, and flags.
    let fd =
        unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK) };
    check(fd)?;
    // SAFETY: the kernel just gave us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    interface(fd.as_fd(), libc::TUNSETIFF as _, DEVICE, &|request| request.ifr_ifru.ifru_flags = flags)?;
    Ok(fd)
}

fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: three numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One `ifreq` request about an interface.
fn interface(
    fd: std::os::fd::BorrowedFd<'_>,
    request: libc::Ioctl,
    name: &str,
    change: &dyn Fn(&mut libc::ifreq),
) -> io::Result<()> {
    // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
    let mut argument: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in argument.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    change(&mut argument);
    // SAFETY: the requests of this file read and write one `ifreq`.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut argument) })
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: a `sockaddr` is plain bytes, for which zero is a value.
    let mut out: libc::sockaddr = unsafe { std::mem::zeroed() };
    out.sa_family = libc::AF_INET as _;
    // The port is 0; the address stands behind it.
    for (to, from) in out.sa_data[2..].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    out
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
