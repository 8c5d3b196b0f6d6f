//! What a private network is to look like.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How packets come out of the private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DevicePath {
    /// A TUN interface inside, whose descriptor is handed out.
    Tun,
    /// A veth pair: one end inside, a packet socket on the other.
    Veth,
}

impl std::fmt::Display for DevicePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tun => "TUN",
            Self::Veth => "veth and AF_PACKET",
        })
    }
}

/// The program's addresses of one IP version, and finack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses<A> {
    /// The program's address.
    pub program: A,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// finack's address in the same network: where the default route leads.
    pub gateway: A,
}

/// How to make a private network.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// IPv4 addresses. The default lies in 198.18.0.0/15 (RFC 2544), which no network that the
    /// program may want to reach uses.
    pub ipv4: Option<Addresses<Ipv4Addr>>,
    /// IPv6 addresses. The default is a unique local prefix (RFC 4193). Left out, with a
    /// warning, where the kernel has no IPv6.
    pub ipv6: Option<Addresses<Ipv6Addr>>,
    /// Whether packets to everywhere else go to the gateway too; without, the program is told at once that such
    /// networks are unreachable.
    pub default_route: bool,
    /// Largest packet on the private network in bytes, 1280 to 65520; with `offload` the
    /// program's kernel and finack hand each other units of up to 64 KiB whatever the MTU is.
    pub mtu: u16,
    /// Exchange units and leave checksums to the device.
    pub offload: bool,
    /// The device to use; `None` takes TUN where it works, else veth.
    pub device: Option<DevicePath>,
    /// Queues of the device, 1 to 256, one [`Device`](finack::device::Device) each; veth has one.
    pub queues: usize,
    /// What the program's kernel uses as congestion control unless the program chooses; `None`
    /// leaves it the system's. The default is Reno: the way to finack is short and loses nothing,
    /// so that Reno never holds back, while BBR would pace to a fifth of what the device takes.
    pub congestion_control: Option<String>,
    /// What the program finds in `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// What the program finds in `/etc/hosts`; `None` leaves it the system's.
    pub hosts: Option<String>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let gateway = Ipv4Addr::new(198, 18, 0, 1);
        Self {
            ipv4: Some(Addresses { program: Ipv4Addr::new(198, 18, 0, 2), prefix: 16, gateway }),
            // The prefix spells "finack".
            ipv6: Some(Addresses {
                program: Ipv6Addr::new(0xfd66, 0x696e, 0x6163, 0x6b00, 0, 0, 0, 2),
                prefix: 64,
                gateway: Ipv6Addr::new(0xfd66, 0x696e, 0x6163, 0x6b00, 0, 0, 0, 1),
            }),
            default_route: true,
            mtu: 1500,
            offload: true,
            device: None,
            queues: 1,
            congestion_control: Some("reno".into()),
            resolv_conf: format!("nameserver {gateway}\n"),
            hosts: None,
        }
    }
}
