//! A server and its clients, each a host of its own, in virtual time: what is sent arrives at once.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use finack_core::device::{Capabilities, Packet};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, InterfaceAddress, ListenerId, SocketCursor};
use finack_core::tcp::State;
use finack_core::{Config, Error, Instant, Stack};

/// Packets that are handed over at once.
const BATCH: usize = 32;
/// Bytes of a request and of its answer.
const REQUEST: usize = 64;
const ANSWER: usize = 256;

/// The server's first port.
pub const PORT: u16 = 80;

/// The server's address.
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1));

/// The address of client `index` (below 65,536).
pub fn client_address(index: usize) -> IpAddr {
    let [high, low] = (index as u16).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
}

/// A host with these addresses, all of a network of 2^24.
pub fn host(addresses: &[IpAddr], settings: Settings, seed: u8) -> Stack {
    let addresses = addresses.iter().map(|&addr| InterfaceAddress { addr, prefix_len: 8 }).collect();
    let device = Capabilities::plain(1500);
    let config =
        Config { settings, device, addresses, routes: Vec::new(), any_address: false, seed: [seed; 32] };
    Stack::new(Instant::ZERO, config)
}

/// Both ends of a connection.
#[derive(Clone, Copy)]
pub struct Ends {
    pub client: ConnId,
    pub server: ConnId,
}

/// How the world is made.
pub struct Setup {
    pub server: Settings,
    pub client: Settings,
    pub clients: usize,
    /// Addresses of each client.
    pub addresses: usize,
    /// Ports that the server listens on.
    pub ports: u16,
    /// SO_REUSEADDR of the server's sockets.
    pub reuse_addr: bool,
}

/// See the module.
pub struct World {
    pub server: Stack,
    pub clients: Vec<Stack>,
    pub now: Instant,
    listeners: Vec<ListenerId>,
    addresses: usize,
    options: SocketOptions,
    buffers: Vec<Vec<u8>>,
    /// Clients that have had a packet and may want to answer.
    woken: Vec<usize>,
    /// Connections that were opened, and those whose port the client's program chose.
    next: usize,
    turn: u64,
}

impl World {
    pub fn new(setup: &Setup) -> Result<Self, Error> {
        let address = |client: usize, i: usize| client_address(client * setup.addresses + i);
        let clients = (0..setup.clients)
            .map(|c| {
                let addresses: Vec<IpAddr> = (0..setup.addresses).map(|i| address(c, i)).collect();
                host(&addresses, setup.client.clone(), c as u8)
            })
            .collect();
        let mut world = Self {
            server: host(&[SERVER], setup.server.clone(), 255),
            clients,
            now: Instant::from_secs(1),
            listeners: Vec::new(),
            addresses: setup.addresses,
            options: SocketOptions { nodelay: true, ..SocketOptions::default() },
            buffers: vec![Vec::new(); BATCH],
            woken: Vec::new(),
            next: 0,
            turn: 0,
        };
        for port in PORT..PORT + setup.ports {
            let listener = world.listen(port, setup.reuse_addr)?;
            world.listeners.push(listener);
        }
        Ok(world)
    }

    /// bind and listen.
    pub fn listen(&mut self, port: u16, reuse_addr: bool) -> Result<ListenerId, Error> {
        let options = BindOptions { reuse_addr, ..BindOptions::default() };
        let bind = self.server.tcp_bind(self.now, SocketAddr::new(SERVER, port), options)?;
        self.server.tcp_listen(self.now, bind, 4096, self.options)
    }

    /// The server ends: its listeners are gone, its connections it has closed before.
    pub fn stop_listening(&mut self) -> Result<(), Error> {
        for listener in std::mem::take(&mut self.listeners) {
            self.server.tcp_close_listener(self.now, listener)?;
        }
        Ok(())
    }

    /// Time passes, and what is due at the server and at `client` happens; at others when it is their turn.
    pub fn pass(&mut self, time: Duration, client: usize) {
        self.now += time;
        for stack in [&mut self.server, &mut self.clients[client]] {
            if stack.poll_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
            }
            while stack.poll_event().is_some() {}
        }
    }

    /// Carries packets until nobody has any, beginning with those of `client`; adds up how many that were.
    pub fn settle(&mut self, client: usize, carried: &mut u64) {
        self.woken.push(client);
        loop {
            while let Some(client) = self.woken.pop() {
                *carried += self.carry_there(client);
            }
            let count = self.carry_back();
            if count == 0 {
                return;
            }
            *carried += count;
        }
    }

    fn carry_there(&mut self, client: usize) -> u64 {
        let (stack, mut carried) = (&mut self.clients[client], 0);
        loop {
            let mut count = 0;
            while count < BATCH
                && let Some(packet) = stack.poll_transmit(self.now)
            {
                let buffer = &mut self.buffers[count];
                buffer.clear();
                packet.write_to(buffer);
                count += 1;
            }
            if count == 0 {
                return carried;
            }
            for buffer in &self.buffers[..count] {
                self.server.handle_packets(self.now, &[Packet::borrowed(buffer)]);
            }
            carried += count as u64;
        }
    }

    /// What the server sends goes to whom it is addressed to.
    fn carry_back(&mut self) -> u64 {
        let mut carried = 0;
        while let Some(packet) = self.server.poll_transmit(self.now) {
            let buffer = &mut self.buffers[0];
            buffer.clear();
            packet.write_to(buffer);
            carried += 1;
            let Some(&[_, _, high, low]) = buffer.get(16..20).and_then(|dst| dst.first_chunk::<4>()) else {
                continue;
            };
            let client = usize::from(u16::from_be_bytes([high, low])) / self.addresses;
            if let Some(stack) = self.clients.get_mut(client) {
                stack.handle_packets(self.now, &[Packet::borrowed(buffer)]);
                if !self.woken.contains(&client) {
                    self.woken.push(client);
                }
            }
        }
        carried
    }

    /// connect, from each of the client's addresses and to each of the server's ports in turn.
    ///
    /// # Errors
    /// As connect; `TimedOut` where the handshake was not over at once.
    pub fn open(&mut self, client: usize, packets: &mut u64) -> Result<Ends, Error> {
        self.next += 1;
        let port = self.next % self.listeners.len();
        let remote = SocketAddr::new(SERVER, PORT + port as u16);
        let stack = &mut self.clients[client];
        let bind = if self.addresses > 1 {
            // Its program takes ports in turn: it knows best which has been free for longest.
            let (first, last) = (stack.settings().ip_local_port_min, stack.settings().ip_local_port_max);
            let turn = self.turn % ((last - first + 1) * self.addresses as u64);
            let port = first + turn / self.addresses as u64;
            let local = client_address(client * self.addresses + turn as usize % self.addresses);
            let local = SocketAddr::new(local, port as u16);
            let bind = stack.tcp_bind(self.now, local, BindOptions::default())?;
            self.turn += 1;
            Some(bind)
        } else {
            None
        };
        let opened = stack.tcp_connect(self.now, bind, remote, self.options);
        let conn = opened.inspect_err(|_| {
            let _ = bind.map(|bind| self.clients[client].tcp_unbind(bind));
        })?;
        self.settle(client, packets);
        match self.server.tcp_accept(self.now, self.listeners[port]) {
            Ok((server, _)) => Ok(Ends { client: conn, server }),
            Err(_) => {
                self.clients[client].tcp_abort(self.now, conn)?;
                Err(Error::TimedOut)
            }
        }
    }

    /// A request and its answer.
    pub fn exchange(&mut self, client: usize, ends: Ends, packets: &mut u64) -> Result<(), Error> {
        let (send, recv) = (SendFlags::default(), RecvFlags::default());
        let mut buf = [7; ANSWER];
        self.clients[client].tcp_send(self.now, ends.client, &buf[..REQUEST], send)?;
        self.settle(client, packets);
        self.server.tcp_recv(self.now, ends.server, &mut buf, recv)?;
        self.server.tcp_send(self.now, ends.server, &buf, send)?;
        self.settle(client, packets);
        self.clients[client].tcp_recv(self.now, ends.client, &mut buf, recv)?;
        Ok(())
    }

    /// Both close, in the order asked for.
    pub fn close(
        &mut self,
        client: usize,
        ends: Ends,
        closer: Closer,
        packets: &mut u64,
    ) -> Result<(), Error> {
        match closer {
            Closer::Server => {
                self.server.tcp_close(self.now, ends.server)?;
                self.settle(client, packets);
                self.clients[client].tcp_close(self.now, ends.client)?;
            }
            Closer::Client => {
                self.clients[client].tcp_close(self.now, ends.client)?;
                self.settle(client, packets);
                self.server.tcp_close(self.now, ends.server)?;
            }
            Closer::ServerAborts => {
                self.server.tcp_abort(self.now, ends.server)?;
                self.settle(client, packets);
                self.clients[client].tcp_close(self.now, ends.client)?;
            }
            Closer::ClientAborts => {
                self.clients[client].tcp_abort(self.now, ends.client)?;
                self.settle(client, packets);
                self.server.tcp_close(self.now, ends.server)?;
            }
        }
        self.settle(client, packets);
        Ok(())
    }

    /// Local ports of a host's connections, those in TIME-WAIT among them.
    pub fn ports_used(&self, client: usize) -> usize {
        let (mut ports, mut cursor) = (HashSet::new(), SocketCursor::default());
        let stack = &self.clients[client];
        while stack.tcp_sockets(self.now, &mut cursor, 4096, |socket| {
            ports.insert(socket.local.port());
        }) {}
        ports.len()
    }
}

/// How many connections a host has in TIME-WAIT.
pub fn time_waits(stack: &Stack) -> usize {
    let counts = stack.count_by_state();
    counts.iter().find(|(state, _)| *state == State::TimeWait).map_or(0, |(_, n)| *n)
}

/// Who closes first, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closer {
    Server,
    Client,
    /// SO_LINGER with 0 s at the server.
    ServerAborts,
    /// The same at the client.
    ClientAborts,
}
