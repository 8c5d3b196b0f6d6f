//! Datagrams to an echo and back: each arrives as it was sent or not at all.

use core::net::SocketAddr;

use finack_core::Error;
use finack_core::options::BindOptions;
use finack_core::stack::UdpId;

use super::run::{Runner, Todo};
use super::stream::{Key, bytes, key};
use crate::checker::Rule;
use crate::world::HostId;

/// First port of the echoes.
const ECHO: u16 = 7000;

/// One exchange.
#[derive(Clone, Debug)]
pub(super) struct Echo {
    plan: usize,
    key: Key,
    ends: [Option<UdpId>; 2],
    to: SocketAddr,
    sent: u32,
}

impl Runner<'_> {
    pub(super) fn open_echoes(&mut self) {
        let plan = self.plan;
        for (i, d) in plan.datagrams.iter().enumerate().filter(|(_, d)| !d.gone) {
            let to = SocketAddr::new(self.address(HostId(d.to), d.v6), ECHO + i as u16);
            let key = key([plan.seed, i as u64, 0, 77]);
            self.echoes.push(Echo { plan: i, key, ends: [None; 2], to, sent: 0 });
            self.at(self.begin() + d.start, Todo::Datagram(self.echoes.len() - 1));
        }
        (0..plan.hosts.len()).for_each(|host| self.reopen_echoes(HostId(host)));
    }

    /// Opens a host's sockets, at first and when it comes back.
    pub(super) fn reopen_echoes(&mut self, host: HostId) {
        for i in 0..self.echoes.len() {
            let d = &self.plan.datagrams[self.echoes[i].plan];
            let here = [d.from == host.0, d.to == host.0];
            let locals = [SocketAddr::new(self.address(host, d.v6), 0), self.echoes[i].to];
            for side in 0..2 {
                if here[side] {
                    let local = locals[side];
                    let socket = self.world.with(host, |s, _| s.udp_bind(local, BindOptions::default()));
                    if let Err(error) = socket {
                        self.violated(host, None, Rule::Call, format!("UDP bind to {local}: {error}"));
                    }
                    self.echoes[i].ends[side] = socket.ok();
                }
            }
        }
    }

    pub(super) fn send_datagram(&mut self, echo: usize) {
        let e = self.echoes[echo].clone();
        let d = &self.plan.datagrams[e.plan];
        let Some(socket) = e.ends[0] else { return };
        let host = HostId(d.from);
        let data = datagram(e.key, e.sent, d.size);
        match self.world.with(host, |s, now| s.udp_send(now, socket, Some(e.to), &data)) {
            // The port was unreachable while the echo's host was down; or the path does not take it.
            Ok(_) | Err(Error::WouldBlock | Error::ConnectionRefused | Error::MessageTooLong) => {}
            Err(error) => self.violated(host, None, Rule::Call, format!("UDP send: {error}")),
        }
        self.echoes[echo].sent += 1;
        if self.echoes[echo].sent < d.count {
            self.at(self.world.now() + d.gap, Todo::Datagram(echo));
        }
    }

    pub(super) fn hear_datagrams(&mut self, host: HostId, socket: UdpId) {
        let find = |e: &Echo, plan: &super::plan::Plan| {
            let d = &plan.datagrams[e.plan];
            let side = usize::from(e.ends[0] != Some(socket) || d.from != host.0);
            (e.ends[side] == Some(socket) && [d.from, d.to][side] == host.0).then_some(side)
        };
        let found =
            self.echoes.iter().enumerate().find_map(|(i, e)| find(e, self.plan).map(|side| (i, side)));
        let Some((echo, side)) = found else { return };
        let (key, sent) = (self.echoes[echo].key, self.echoes[echo].sent);
        let size = self.plan.datagrams[self.echoes[echo].plan].size;
        let mut buf = vec![0; 2048];
        loop {
            let got = match self.world.with(host, |s, _| s.udp_recv(socket, &mut buf, false)) {
                Ok(got) => got,
                Err(Error::WouldBlock) => return,
                Err(Error::ConnectionRefused | Error::MessageTooLong) => continue,
                Err(error) => {
                    self.violated(host, None, Rule::Call, format!("UDP receive: {error}"));
                    return;
                }
            };
            let data = &buf[..got.len];
            let number = data.first_chunk().map(|n| u32::from_be_bytes(*n));
            if !number.is_some_and(|n| n < sent && data == datagram(key, n, size)) {
                let what = format!("{} bytes from {} that nobody sent so", got.full_len, got.from);
                self.violated(host, None, Rule::Datagram, what);
                return;
            }
            self.stats.bytes += got.len as u64;
            if side == 1 {
                let answer = data.to_vec();
                let _ = self.world.with(host, |s, now| s.udp_send(now, socket, Some(got.from), &answer));
            }
        }
    }

    pub(super) fn close_echoes(&mut self) {
        for e in core::mem::take(&mut self.echoes) {
            let d = &self.plan.datagrams[e.plan];
            for (host, socket) in [d.from, d.to].into_iter().map(HostId).zip(e.ends) {
                let Some(socket) = socket else { continue };
                if let Err(error) = self.world.with(host, |s, _| s.udp_close(socket)) {
                    self.violated(host, None, Rule::Call, format!("UDP close: {error}"));
                }
            }
        }
    }
}

fn datagram(key: Key, number: u32, size: usize) -> Vec<u8> {
    let mut data = number.to_be_bytes().to_vec();
    data.extend(bytes(key, u64::from(number) << 16, size.saturating_sub(4)));
    data
}
