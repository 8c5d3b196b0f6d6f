//! The applications on the attacked host: they do whatever the seed says.

use core::net::SocketAddr;
use core::time::Duration;

use finack_core::options::{BindOptions, RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::{ConnId, ListenerId, UdpId};

use super::Attack;
use crate::packet::{v4, v6};

/// Ports that sockets listen on, and some where nobody does.
pub(super) const PORTS: [u16; 5] = [80, 81, 53, 54, 9999];
/// UDP sockets that are open throughout.
pub(super) const UDP_SOCKETS: usize = 3;
/// Most connections that the applications hold.
const HELD: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Sockets {
    listeners: Vec<ListenerId>,
    conns: Vec<ConnId>,
    udp: Vec<UdpId>,
}

impl Attack {
    pub(super) fn open_sockets(&mut self) {
        for (ip, port) in [(v4(1), 80), (v6(1), 80), (v4(1), 81)] {
            self.listen(SocketAddr::new(ip, port));
        }
        for (ip, port) in [(v4(1), 53), (v6(1), 53), (v4(1), 54)] {
            let socket = self.stack.udp_bind(SocketAddr::new(ip, port), BindOptions::default());
            self.sockets.udp.extend(socket.ok());
        }
        if let Some(&socket) = self.sockets.udp.last() {
            let peer = SocketAddr::new(v4(2), 1030);
            let _ = self.stack.udp_connect(socket, Some(peer));
        }
    }

    fn listen(&mut self, local: SocketAddr) {
        let options = self.socket_options();
        let shared = BindOptions { reuse_addr: true, ..BindOptions::default() };
        let options = SocketOptions { reuse_addr: true, ..options };
        let backlog = self.rng.below(20) as u32;
        let Ok(bind) = self.stack.tcp_bind(self.now, local, shared) else { return };
        match self.stack.tcp_listen(self.now, bind, backlog, options) {
            Ok(listener) => self.sockets.listeners.push(listener),
            Err(_) => {
                let _ = self.stack.tcp_unbind(bind);
            }
        }
    }

    fn socket_options(&mut self) -> SocketOptions {
        let rng = &mut self.rng;
        let mut chance = |n: u64| rng.one_in(n);
        let (nodelay, cork, quickack) = (chance(2), chance(5), chance(4));
        let (keepalive, oob_inline) = (chance(3), chance(2));
        let linger = chance(5).then_some(Duration::from_secs(0));
        let user_timeout = chance(6).then_some(Duration::from_secs(7));
        let recv_buffer = chance(3).then(|| 4096 + self.rng.below(100_000) as usize);
        let send_buffer = self.rng.one_in(3).then(|| 4096 + self.rng.below(100_000) as usize);
        let max_segment = self.rng.one_in(6).then(|| self.rng.below(2000) as u16);
        SocketOptions {
            nodelay,
            cork,
            quickack,
            linger,
            user_timeout,
            keepalive,
            oob_inline,
            recv_buffer,
            send_buffer,
            max_segment,
            ..SocketOptions::default()
        }
    }

    /// One socket call.
    pub(super) fn call(&mut self) {
        self.report.calls += 1;
        match self.rng.below(20) {
            0..=4 => self.accept(),
            5 => self.connect(),
            6..=15 => self.use_connection(),
            16..=18 => self.use_datagrams(),
            _ if self.rng.one_in(20) => self.reopen_listener(),
            _ => {}
        }
    }

    fn hold(&mut self, conn: ConnId) {
        self.sockets.conns.push(conn);
        if self.sockets.conns.len() > HELD {
            let at = self.rng.below(HELD as u64) as usize;
            let conn = self.sockets.conns.swap_remove(at);
            let _ = self.stack.tcp_close(self.now, conn);
        }
    }

    fn accept(&mut self) {
        if self.sockets.listeners.is_empty() {
            return;
        }
        let listener = *self.rng.pick(&self.sockets.listeners);
        if let Ok((conn, _)) = self.stack.tcp_accept(self.now, listener) {
            self.hold(conn);
        }
    }

    fn connect(&mut self) {
        let options = self.socket_options();
        let ip = if self.rng.one_in(4) { v6(2) } else { v4(2) };
        let to = SocketAddr::new(ip, 1024 + self.rng.below(200) as u16);
        if let Ok(conn) = self.stack.tcp_connect(self.now, None, to, options) {
            self.hold(conn);
        }
    }

    fn reopen_listener(&mut self) {
        if let Some(listener) = self.sockets.listeners.pop() {
            let local = self.stack.tcp_listener_addr(listener);
            let _ = self.stack.tcp_close_listener(self.now, listener);
            if let Ok(local) = local {
                self.listen(local);
            }
        }
    }

    fn use_connection(&mut self) {
        if self.sockets.conns.is_empty() {
            return;
        }
        let at = self.rng.below(self.sockets.conns.len() as u64) as usize;
        let (conn, now) = (self.sockets.conns[at], self.now);
        match self.rng.below(40) {
            0..=14 => {
                let data = vec![b'x'; self.rng.below(20_000) as usize];
                let flags =
                    SendFlags { more: self.rng.one_in(6), oob: self.rng.one_in(10), eor: self.rng.one_in(8) };
                let _ = self.stack.tcp_send(now, conn, &data, flags);
            }
            15..=30 => {
                let mut buf = vec![0; self.rng.below(20_000) as usize];
                let flags = RecvFlags { peek: self.rng.one_in(5), oob: self.rng.one_in(8) };
                let _ = self.stack.tcp_recv(now, conn, &mut buf, flags);
            }
            31..=34 => {
                let how = *self.rng.pick(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]);
                let _ = self.stack.tcp_shutdown(now, conn, how);
            }
            35 => {
                let options = self.socket_options();
                let _ = self.stack.tcp_set_options(now, conn, options);
            }
            36 => {
                let _ = self.stack.tcp_take_error(conn);
                let _ = self.stack.tcp_info(now, conn);
                let _ = self.stack.tcp_ready(conn);
            }
            37..=38 => {
                self.sockets.conns.swap_remove(at);
                let _ = self.stack.tcp_close(now, conn);
            }
            _ => {
                self.sockets.conns.swap_remove(at);
                let _ = self.stack.tcp_abort(now, conn);
            }
        }
    }

    fn use_datagrams(&mut self) {
        let socket = *self.rng.pick(&self.sockets.udp);
        let mut buf = [0; 2000];
        if self.rng.one_in(2) {
            let _ = self.stack.udp_recv(socket, &mut buf, self.rng.one_in(3));
        } else {
            let to = SocketAddr::new(v4(2), 1024 + self.rng.below(200) as u16);
            let _ = self.stack.udp_send(self.now, socket, Some(to), &buf[..self.rng.below(1400) as usize]);
        }
    }

    pub(super) fn close_all(&mut self) {
        for listener in core::mem::take(&mut self.sockets.listeners) {
            let _ = self.stack.tcp_close_listener(self.now, listener);
        }
        for conn in core::mem::take(&mut self.sockets.conns) {
            let _ = self.stack.tcp_close(self.now, conn);
        }
        for socket in core::mem::take(&mut self.sockets.udp) {
            let _ = self.stack.udp_close(socket);
        }
    }
}
