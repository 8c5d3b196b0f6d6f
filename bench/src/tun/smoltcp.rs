//! smoltcp's servers: one loop on one thread, buffers of 1 MiB.

use std::os::fd::OwnedFd;
use std::time::Duration;

use smoltcp::iface::{Config, Interface as Iface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::socket::udp as datagrams;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::client::{ECHO, SINK, SOURCE};
use super::interface::{self, Interface, MTU};
use crate::udp::{self, Counted, EACH};

const BUFFER: usize = 1 << 20;
/// Sockets that listen for the next connection while others still close.
const SPARE: usize = 8;

struct Tun {
    fd: OwnedFd,
    rx: Vec<u8>,
    tx: Vec<u8>,
}

struct Rx<'a>(&'a [u8]);
struct Tx<'a>(&'a OwnedFd, &'a mut Vec<u8>);

impl phy::RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let packet = &mut self.1[..len];
        let result = f(packet);
        interface::write(self.0, packet);
        result
    }
}

impl phy::Device for Tun {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let n = interface::read(&self.fd, &mut self.rx)?;
        Some((Rx(&self.rx[..n]), Tx(&self.fd, &mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&self.fd, &mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = MTU;
        caps
    }
}

/// Serves for as long as the process lives.
pub fn serve(at: &Interface, fd: OwnedFd) {
    let mut tun = Tun { fd, rx: vec![0; MTU], tx: vec![0; MTU] };
    let mut iface = Iface::new(Config::new(HardwareAddress::Ip), &mut tun, Instant::now());
    iface.update_ip_addrs(|addrs| {
        addrs
            .push(IpCidr::new(IpAddress::Ipv4(at.addresses().1), 24))
            .expect("there is room for one address");
    });
    let mut sockets = SocketSet::new(Vec::new());
    let mut served: Vec<(u16, SocketHandle)> = Vec::new();
    for port in [SINK, SOURCE].into_iter().chain([ECHO; SPARE]) {
        let size = if port == ECHO { 4096 } else { BUFFER };
        let mut socket = Socket::new(SocketBuffer::new(vec![0; size]), SocketBuffer::new(vec![0; size]));
        socket.set_nagle_enabled(false);
        served.push((port, sockets.add(socket)));
    }
    let mut counted = [Counted::default(), Counted::default()];
    let bound = [udp::SINK, udp::SOURCE].map(|port| sockets.add(bound(port)));
    let mut chunk = vec![0; 128 * 1024];
    loop {
        let now = Instant::now();
        iface.poll(now, &mut tun, &mut sockets);
        let mut moved = false;
        for &(port, handle) in &served {
            moved |= turn(port, sockets.get_mut(handle), &mut chunk);
        }
        moved |= take_datagrams(sockets.get_mut(bound[0]), &mut counted[0]);
        moved |= give_datagrams(sockets.get_mut(bound[1]), &mut counted[1]);
        if !moved {
            let most =
                iface.poll_delay(Instant::now(), &sockets).map(|d| Duration::from_micros(d.total_micros()));
            if most != Some(Duration::ZERO) {
                interface::wait(&tun.fd, most);
            }
        }
    }
}

fn bound(port: u16) -> datagrams::Socket<'static> {
    let buffer = || {
        let packets = vec![datagrams::PacketMetadata::EMPTY; BUFFER / EACH];
        datagrams::PacketBuffer::new(packets, vec![0; BUFFER])
    };
    let mut socket = datagrams::Socket::new(buffer(), buffer());
    socket.bind(port).expect("the port is free");
    socket
}

fn take_datagrams(socket: &mut datagrams::Socket<'static>, counted: &mut Counted) -> bool {
    let mut moved = false;
    while let Ok((data, from)) = socket.recv() {
        let credits = counted.took(data.len());
        for _ in 0..credits {
            let _ = socket.send_slice(&[0; 8], from);
        }
        moved = true;
    }
    moved
}

/// It remembers nobody between two words of the client's.
fn give_datagrams(socket: &mut datagrams::Socket<'static>, counted: &mut Counted) -> bool {
    let mut moved = false;
    while let Ok((data, to)) = socket.recv() {
        counted.told(data);
        while counted.may_send(1) > 0 && socket.send_slice(&[7; EACH], to).is_ok() {
            counted.has_sent(1);
        }
        moved = true;
    }
    moved
}

/// What a server does on its socket; whether that was anything.
fn turn(port: u16, socket: &mut Socket<'static>, chunk: &mut [u8]) -> bool {
    if socket.state() == State::TimeWait {
        socket.abort();
    }
    if !socket.is_open() {
        return socket.listen(port).is_ok();
    }
    let mut moved = false;
    match port {
        SOURCE => {
            while socket.can_send() && socket.send_slice(chunk).is_ok_and(|n| n > 0) {
                moved = true;
            }
        }
        _ => {
            while let Ok(n) = socket.recv_slice(chunk)
                && n > 0
            {
                moved = true;
                if port == ECHO {
                    let _ = socket.send_slice(&chunk[..n]);
                }
            }
        }
    }
    if socket.state() == State::CloseWait {
        socket.close();
        moved = true;
    }
    moved
}
