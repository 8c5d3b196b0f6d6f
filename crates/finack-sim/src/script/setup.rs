//! What a script starts from.

use core::net::{IpAddr, SocketAddr};

use finack_core::device::Capabilities;
use finack_core::options::SocketOptions;
use finack_core::settings::Settings;
use finack_core::stack::{InterfaceAddress, Route};
use finack_core::{Config, Instant, Stack};

use super::Script;
use crate::packet::{v4, v6};

/// The stack's and the peer's circumstances; ends in [`server`](Self::server), [`client`](Self::client) or
/// [`bare`](Self::bare).
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) v6: bool,
    pub(crate) timestamps: bool,
    pub(crate) port: u16,
    pub(crate) backlog: u32,
    pub(crate) options: SocketOptions,
    settings: Settings,
    pub(crate) device: Capabilities,
    pub(crate) seed: u8,
    any_address: bool,
    pub(crate) start: Instant,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            v6: false,
            timestamps: false,
            port: 80,
            backlog: 128,
            options: SocketOptions::default(),
            settings: Settings::default(),
            device: Capabilities::plain(1500),
            seed: 7,
            any_address: false,
            start: Instant::from_secs(1),
        }
    }
}

impl Setup {
    /// The usual: IPv4, no timestamps, MTU 1500, Linux's settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// IPv6 instead of IPv4.
    #[must_use]
    pub fn v6(mut self) -> Self {
        self.v6 = true;
        self
    }

    /// The scripted peer offers (and grants) timestamps.
    #[must_use]
    pub fn timestamps(mut self) -> Self {
        self.timestamps = true;
        self
    }

    /// One sysctl.
    ///
    /// # Panics
    /// Where the stack refuses it.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.set(name, &value.to_string()).unwrap_or_else(|e| panic!("{e}"));
        self
    }

    /// The RFC's side where Linux differs from it.
    #[must_use]
    pub fn rfc(self) -> Self {
        self.set("finack.profile", "rfc")
    }

    /// Changes the socket options.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut SocketOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Another device.
    #[must_use]
    pub fn device(mut self, device: Capabilities) -> Self {
        self.device = device;
        self
    }

    /// Another secret.
    #[must_use]
    pub fn seed(mut self, seed: u8) -> Self {
        self.seed = seed;
        self
    }

    /// The listener's backlog.
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// The stack takes packets for every unicast address.
    #[must_use]
    pub fn any_address(mut self) -> Self {
        self.any_address = true;
        self
    }

    /// The time at which the script starts.
    #[must_use]
    pub fn start(mut self, at: Instant) -> Self {
        self.start = at;
        self
    }

    /// The stack's address.
    #[must_use]
    pub fn stack_ip(&self) -> IpAddr {
        if self.v6 { v6(1) } else { v4(1) }
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_ip(&self) -> IpAddr {
        if self.v6 { v6(2) } else { v4(2) }
    }

    /// The stack's configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        let address = |addr, prefix_len| InterfaceAddress { addr, prefix_len };
        let default_of = |any: &str| Route {
            network: any.parse().expect("a literal address"),
            prefix_len: 0,
            mtu: None,
            advertised_mss: None,
        };
        Config {
            settings: self.settings.clone(),
            device: self.device,
            addresses: vec![address(v4(1), 24), address(v6(1), 64)],
            routes: vec![default_of("0.0.0.0"), default_of("::")],
            any_address: self.any_address,
            seed: [self.seed; 32],
        }
    }

    /// A stack with no socket.
    #[must_use]
    pub fn bare(self) -> Script {
        let stack = Stack::new(self.start, self.config());
        let local = SocketAddr::new(self.stack_ip(), self.port);
        let remote = SocketAddr::new(self.peer_ip(), 40_000);
        Script::new(stack, self, local, remote)
    }

    /// A stack that listens on port 80.
    ///
    /// # Panics
    /// Where the stack refuses to.
    #[must_use]
    pub fn server(self) -> Script {
        let mut script = self.bare();
        script.listen();
        script
    }

    /// A stack that is about to connect to the peer's port 80.
    #[must_use]
    pub fn client(self) -> Script {
        let stack = Stack::new(self.start, self.config());
        let local = SocketAddr::new(self.stack_ip(), 0);
        let remote = SocketAddr::new(self.peer_ip(), self.port);
        Script::new(stack, self, local, remote)
    }
}
