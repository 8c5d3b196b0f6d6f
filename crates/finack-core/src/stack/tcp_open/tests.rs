use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::*;
use crate::Error;
use crate::device::Capabilities;
use crate::hash::{Key, Rng};
use crate::options::{BindOptions, SocketOptions};
use crate::settings::Settings;
use crate::stack::{BindId, Config, ConnId, InterfaceAddress, ListenerId, Stack};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn host(range: &str) -> Stack {
    let mut settings = Settings::default();
    settings.set("ip_local_port_range", range).unwrap();
    let addresses = vec![InterfaceAddress { addr: HOST, prefix_len: 8 }];
    let device = Capabilities::plain(1500);
    let config = Config { settings, device, addresses, routes: vec![], any_address: false, seed: [3; 32] };
    Stack::new(Instant::ZERO, config)
}

fn connect(stack: &mut Stack, now: Instant, port: u16) -> Result<(ConnId, u16), Error> {
    let id = stack.tcp_connect(now, None, SocketAddr::new(HOST, port), SocketOptions::default())?;
    stack.tcp_local_addr(id).map(|addr| (id, addr.port()))
}

/// RFC 6056: every port of the range serves one destination once; then the answer is EADDRNOTAVAIL, and no port is looked
/// at for it any more, until one is given up: that one is found, wherever the search would begin.
#[test]
fn a_connect_to_where_all_ports_are_taken_fails_at_once() {
    let now = Instant::ZERO;
    let mut stack = host("32768 60999");
    let open: Vec<ConnId> = (0..28_232).map(|_| connect(&mut stack, now, 80).unwrap().0).collect();
    for _ in 0..2 {
        assert_eq!(connect(&mut stack, now, 80), Err(Error::AddrNotAvailable));
    }
    // What the index has lost without telling shows whether it is asked again.
    let port = stack.tcp_local_addr(open[4711]).unwrap().port();
    let mut lost = stack.clone();
    lost.demux = crate::demux::Demux::new();
    assert_eq!(connect(&mut lost, now, 80), Err(Error::AddrNotAvailable));
    lost.ports.forget_taken();
    assert!(connect(&mut lost, now, 80).is_ok());
    // Other destinations have all ports.
    assert!(connect(&mut stack, now, 81).is_ok());
    stack.tcp_close(now, open[4711]).unwrap();
    assert_eq!(connect(&mut stack, now, 80).map(|(_, port)| port), Ok(port));
    assert_eq!(connect(&mut stack, now, 80), Err(Error::AddrNotAvailable));
}

/// `bind` to port 0 where all ports are bound fails without a search, until somebody leaves a port.
#[test]
fn a_bind_to_port_0_where_all_ports_are_bound_fails_at_once() {
    let now = Instant::ZERO;
    let mut stack = host("40000 40099");
    let any = SocketAddr::new(HOST, 0);
    let binds: Vec<_> = (0..100).map(|_| stack.tcp_bind(now, any, BindOptions::default()).unwrap()).collect();
    for _ in 0..2 {
        assert_eq!(stack.tcp_bind(now, any, BindOptions::default()), Err(Error::AddrInUse));
    }
    let port = stack.tcp_bound_addr(binds[50]).unwrap().port();
    stack.tcp_unbind(binds[50]).unwrap();
    let again = stack.tcp_bind(now, any, BindOptions::default()).unwrap();
    assert_eq!(stack.tcp_bound_addr(again).unwrap().port(), port);
}

struct Player {
    stack: Stack,
    now: Instant,
    rng: Rng,
    listener: ListenerId,
    open: Vec<ConnId>,
    binds: Vec<BindId>,
}

impl Player {
    fn new(seed: u64) -> Self {
        let mut stack = host("5000 5011");
        let now = Instant::ZERO;
        let bind = stack.tcp_bind(now, SocketAddr::new(HOST, 80), BindOptions::default()).unwrap();
        let listener = stack.tcp_listen(now, bind, 50, SocketOptions::default()).unwrap();
        let rng = Rng::new(Key::given((u128::from(seed) << 64 | 7).to_le_bytes()));
        Self { stack, now, rng, listener, open: vec![], binds: vec![] }
    }

    /// Connects with what is remembered and without; answers whether a port was had.
    fn connect(&mut self) -> bool {
        let mut other = self.stack.clone();
        other.ports.forget_taken();
        let (mine, theirs) = (connect(&mut self.stack, self.now, 80), connect(&mut other, self.now, 80));
        assert_eq!(mine, theirs);
        while self.stack.poll_transmit(self.now).is_some() {}
        self.open.extend(self.stack.tcp_accept(self.now, self.listener).map(|(id, _)| id));
        self.open.extend(mine.map(|(id, _)| id));
        mine.is_ok()
    }

    fn end_one(&mut self) {
        let count = self.open.len() as u32;
        if count == 0 {
            return;
        }
        let id = self.open.swap_remove(self.rng.below(count) as usize);
        let _ = if self.rng.below(4) == 0 {
            self.stack.tcp_abort(self.now, id)
        } else {
            self.stack.tcp_close(self.now, id)
        };
        while self.stack.poll_transmit(self.now).is_some() {}
    }

    fn bind_or_unbind(&mut self) {
        if self.rng.below(2) == 0 {
            let local = SocketAddr::new(HOST, 5000 + self.rng.below(12) as u16);
            self.binds.extend(self.stack.tcp_bind(self.now, local, BindOptions::default()));
        } else if let Some(bind) = self.binds.pop() {
            self.stack.tcp_unbind(bind).unwrap();
        }
    }

    fn pass(&mut self) {
        self.now += Duration::from_millis(u64::from(self.rng.below(3000)));
        self.stack.handle_timeout(self.now);
        while self.stack.poll_transmit(self.now).is_some() {}
    }
}

/// What is remembered changes nothing but how long it takes: whether there is a port, and which it is, comes out as by a
/// search through all of them, whatever else happens meanwhile.
#[test]
fn what_is_remembered_agrees_with_a_search() {
    let (mut had, mut refused) = (0, 0);
    for seed in 0..60 {
        let mut p = Player::new(seed);
        for _ in 0..300 {
            match p.rng.below(16) {
                0..8 => {
                    let ok = p.connect();
                    (had, refused) = (had + u32::from(ok), refused + u32::from(!ok));
                }
                8..12 => p.end_one(),
                12 => p.bind_or_unbind(),
                13 => {
                    let reuse = ["0", "1", "2"][p.rng.below(3) as usize];
                    p.stack.set_sysctl("net.ipv4.tcp_tw_reuse", reuse).unwrap();
                }
                _ => p.pass(),
            }
        }
    }
    assert!(had > 1000 && refused > 1000, "{had} had a port, {refused} did not");
}
