//! Making the namespaces and what is in them. This runs in the keeper, a process of one thread.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use finack::device::{TunDevice, TunOptions, packet_sockets_know_udp_units};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::caps::Privileges;
use super::channel::{Channel, Decoder, Encoder};
use super::config::{Addresses, DevicePath, NetworkConfig};
use super::files;
use super::netlink::{Netlink, VethPair};
use super::offload;
use super::step::{At, Failure, Step, send_passed, tag};

/// The interface's name inside.
pub(super) const INTERFACE: &str = "finack0";
/// The far end of the veth pair.
const FAR_INTERFACE: &str = "finack-far";
/// Link addresses of the veth pair, locally administered.
pub(super) const NEAR_ADDRESS: [u8; 6] = [0x02, b'f', b'i', b'n', 0, 1];
pub(super) const FAR_ADDRESS: [u8; 6] = [0x02, b'f', b'i', b'n', 0, 2];
/// Packets that may wait for finack in the TUN interface: a unit of 64 KiB is one. Ten thousand connections that open or
/// end in one moment are to fit; what bulk transfers may have out is bounded by their windows.
const QUEUE: u32 = 16_384;
/// How long the kernel may take to accept packets to a new address.
const ROUTE_PATIENCE: Duration = Duration::from_secs(2);

/// What the keeper hands to finack once everything stands.
pub(super) struct Ready {
    /// One descriptor for each queue.
    pub(super) devices: Vec<OwnedFd>,
    /// Index of the far interface in the namespace of the packet socket; 0 for TUN.
    pub(super) far_index: u32,
    /// A user namespace was made: programs need their capabilities taken away again.
    pub(super) in_user_namespace: bool,
}

/// Makes the namespaces, the device, addresses and files. Tells `channel` of each step.
pub(super) fn set_up(
    config: &NetworkConfig,
    path: DevicePath,
    privileges: &Privileges,
    channel: &Channel,
) -> Result<Ready, Failure> {
    let passed = |step, note: &str| send_passed(channel, step, note).at(Step::Keeper);
    let in_user_namespace = enter(privileges, channel)?;
    let (devices, far_index) = match path {
        DevicePath::Tun => {
            let open = File::options().read(true).write(true).open("/dev/net/tun");
            drop(open.at(Step::TunOpen)?);
            passed(Step::TunOpen, "")?;
            let queues = tun(config).at(Step::TunInterface)?;
            passed(Step::TunInterface, "")?;
            (queues, 0)
        }
        DevicePath::Veth => {
            let far = veth(config)?;
            passed(Step::VethPair, "")?;
            passed(Step::PacketSocket, "")?;
            (vec![far.0], far.1)
        }
    };
    for warning in addresses(config).at(Step::Addresses)? {
        channel.send(tag::WARNING, warning.as_bytes(), &[]).at(Step::Keeper)?;
    }
    passed(Step::Addresses, "")?;
    let warnings = files::mount_all(&config.resolv_conf, config.hosts.as_deref()).at(Step::Files)?;
    for warning in warnings {
        channel.send(tag::WARNING, warning.as_bytes(), &[]).at(Step::Keeper)?;
    }
    passed(Step::Files, "")?;
    Ok(Ready { devices, far_index, in_user_namespace })
}

/// Enters new namespaces: with the caller's own privileges where they suffice, else in a user
/// namespace. Says whether one was needed.
fn enter(privileges: &Privileges, channel: &Channel) -> Result<bool, Failure> {
    let passed = |step, note: &str| send_passed(channel, step, note).at(Step::Keeper);
    // A container may have the capabilities and still forbid it; a user namespace may work there.
    let plain = privileges.can_administer() && unshare(libc::CLONE_NEWNET).is_ok();
    if plain {
        passed(Step::UserNamespace, "not needed: the caller may administer networks")?;
    } else {
        unshare(libc::CLONE_NEWUSER).at(Step::UserNamespace)?;
        passed(Step::UserNamespace, "")?;
        request_maps(channel).at(Step::IdMaps)?;
        passed(Step::IdMaps, "")?;
        unshare(libc::CLONE_NEWNET).at(Step::NetworkNamespace)?;
    }
    passed(Step::NetworkNamespace, "")?;
    unshare(libc::CLONE_NEWNS).at(Step::MountNamespace)?;
    files::make_private().at(Step::MountNamespace)?;
    passed(Step::MountNamespace, "")?;
    Ok(!plain)
}

/// Has finack write the maps from outside: only there more than one's own user can be mapped.
fn request_maps(channel: &Channel) -> io::Result<()> {
    let mut body = Encoder::default();
    body.int(rustix::process::getpid().as_raw_nonzero().get());
    channel.send(tag::NEEDS_MAPS, &body.0, &[])?;
    let answer = channel.recv()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    match Decoder(&answer.body).int()? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn tun(config: &NetworkConfig) -> io::Result<Vec<OwnedFd>> {
    let options =
        TunOptions { name: INTERFACE.into(), mtu: usize::from(config.mtu), offload: config.offload };
    (0..config.queues.clamp(1, 256)).map(|_| TunDevice::open(&options).map(OwnedFd::from)).collect()
}

/// Makes a second network namespace for the program, joined to the present one by a veth pair,
/// and returns a packet socket in the present one with the index of the interface there.
///
/// Two namespaces, so that the far end has no neighbour in its kernel that could answer, and
/// so that the program does not see it.
fn veth(config: &NetworkConfig) -> Result<(OwnedFd, u32), Failure> {
    let far = File::open("/proc/self/ns/net").at(Step::VethPair)?;
    unshare(libc::CLONE_NEWNET).at(Step::NetworkNamespace)?;
    let near = File::open("/proc/self/ns/net").at(Step::VethPair)?;
    let pair = VethPair {
        name: INTERFACE,
        address: NEAR_ADDRESS,
        peer_name: FAR_INTERFACE,
        peer_address: FAR_ADDRESS,
        peer_namespace: far.as_fd(),
        mtu: u32::from(config.mtu),
    };
    Netlink::open().and_then(|mut netlink| netlink.create_veth(&pair)).at(Step::VethPair)?;
    if !packet_sockets_know_udp_units() {
        offload::turn_off(INTERFACE, "tx-udp-segmentation").at(Step::VethPair)?;
    }
    set_namespace(far.as_fd()).at(Step::VethPair)?;
    // No address at all, or the kernel here would answer what is meant for finack.
    let _ = set_sysctl(&format!("ipv6/conf/{FAR_INTERFACE}/disable_ipv6"), "1");
    let index = Netlink::open()
        .and_then(|mut netlink| {
            let index = netlink.index(FAR_INTERFACE)?;
            netlink.link_up(index, false).map(|()| index)
        })
        .at(Step::VethPair)?;
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .at(Step::PacketSocket)?;
    set_namespace(near.as_fd()).at(Step::VethPair)?;
    Ok((socket, index))
}

/// Brings `lo` and the interface up, with addresses, routes and the settings that a program
/// expects of a machine of its own. Returns what could not be done and matters less.
fn addresses(config: &NetworkConfig) -> io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    // A new namespace may have inherited that IPv6 is off, and it must not wait for routers.
    for interface in ["all", "default", "lo", INTERFACE] {
        for (name, value) in [("disable_ipv6", "0"), ("accept_ra", "0"), ("router_solicitations", "0")] {
            let _ = set_sysctl(&format!("ipv6/conf/{interface}/{name}"), value);
        }
    }
    let mut netlink = Netlink::open()?;
    let lo = netlink.index("lo")?;
    netlink.link_up(lo, true)?;
    let index = netlink.index(INTERFACE)?;
    netlink.link_sizes(index, u32::from(config.mtu.clamp(1280, 65520)), QUEUE)?;
    // No ARP and no neighbour discovery: there is one neighbour, and it takes everything.
    netlink.link_up(index, false)?;
    if let Some(v4) = config.ipv4 {
        netlink.add_address(index, IpAddr::V4(v4.program), v4.prefix)?;
        if config.default_route {
            netlink.add_default_route(index, IpAddr::V4(v4.gateway))?;
        }
    }
    if let Some(v6) = config.ipv6
        && let Err(e) = ipv6(&mut netlink, index, v6, config.default_route)
    {
        warnings.push(format!("no IPv6 inside: {e}"));
    }
    settings(config, &mut warnings);
    Ok(warnings)
}

fn ipv6(netlink: &mut Netlink, index: u32, v6: Addresses<Ipv6Addr>, default_route: bool) -> io::Result<()> {
    netlink.add_address(index, IpAddr::V6(v6.program), v6.prefix)?;
    if default_route {
        netlink.add_default_route(index, IpAddr::V6(v6.gateway))?;
    }
    // The kernel adds the route by which it accepts packets to the address in a worker of its
    // own: until then it drops the answers to a program that was quicker.
    let deadline = Instant::now() + ROUTE_PATIENCE;
    while !fs::read_to_string("/proc/net/ipv6_route")?.lines().any(|l| is_local_route(l, v6.program)) {
        if Instant::now() > deadline {
            return Err(io::Error::other("the kernel does not come to accept the address"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Whether a line of `/proc/net/ipv6_route` says that packets to `address` are for this host.
pub(super) fn is_local_route(line: &str, address: Ipv6Addr) -> bool {
    const LOCAL: u32 = 0x8000_0000;
    let mut fields = line.split_whitespace();
    let destination = fields.next().and_then(|d| u128::from_str_radix(d, 16).ok());
    let whole = fields.next() == Some("80");
    let flags = fields.nth(6).and_then(|f| u32::from_str_radix(f, 16).ok());
    destination == Some(address.to_bits()) && whole && flags.is_some_and(|f| f & LOCAL != 0)
}

/// Lets a program without privileges do what it could do on a machine of its own.
fn settings(config: &NetworkConfig, warnings: &mut Vec<String>) {
    // Echo sockets for everyone (`ping` without privileges), as far as groups are mapped.
    let own = rustix::process::getegid().as_raw();
    if let Err(e) = set_sysctl("ipv4/ping_group_range", "0 2147483647")
        .or_else(|_| set_sysctl("ipv4/ping_group_range", &format!("{own} {own}")))
    {
        warnings.push(format!("ping will need privileges inside: ping_group_range: {e}"));
    }
    if let Some(name) = &config.congestion_control
        && let Err(e) = set_sysctl("ipv4/tcp_congestion_control", name)
    {
        warnings.push(format!("the program's kernel does not use {name} as congestion control: {e}"));
    }
    if let Err(e) = set_sysctl("ipv4/ip_unprivileged_port_start", "0") {
        warnings.push(format!("ports below 1024 will need privileges inside: {e}"));
    }
}

/// Writes a setting of the present network namespace.
fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{name}"), value)
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare touches no memory, and the keeper has only one thread that could be
    // surprised by it.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns touches no memory.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
