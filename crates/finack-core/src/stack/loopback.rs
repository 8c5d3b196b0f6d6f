//! What one socket of the host sends to another never reaches the device.

use alloc::vec::Vec;

use finack_wire::ip;

use super::Stack;
use super::transmit::Decided;
use crate::device::{ChecksumState, MAX_SLICES, Packet, PacketBytes, PacketMeta, TxChecksum};
use crate::time::Instant;

impl Stack {
    /// Whether a packet is addressed to this host itself.
    pub(super) fn stays_here(&self, decided: &Decided) -> bool {
        match decided {
            Decided::Raw => ip::destination(self.ip.out.lent()).is_some_and(|dst| self.ip.routes.is_own(dst)),
            Decided::Segment { stays_here, .. } => *stays_here,
        }
    }

    /// Hands it over at once, unit and all.
    pub(super) fn loop_back(&mut self, now: Instant, decided: &Decided) {
        let mut bytes = Vec::new();
        let mut meta = PacketMeta::default();
        match *decided {
            Decided::Raw => bytes.extend_from_slice(self.ip.out.lent()),
            Decided::Segment { connection, header, from, to, segment_size, checksum, .. } => {
                let Some(c) = self.connections.get(connection) else { return };
                let mut payload = [&[][..]; MAX_SLICES];
                let (slices, len) = c.send.slices(from, to, &mut payload);
                bytes.extend_from_slice(&self.header[..header]);
                for slice in &payload[..slices] {
                    bytes.extend_from_slice(slice);
                }
                if segment_size > 0 {
                    meta.segment_size = segment_size;
                    meta.segments = len.div_ceil(usize::from(segment_size)) as u16;
                }
                if checksum != TxChecksum::Complete {
                    meta.checksum = ChecksumState::Valid;
                }
            }
        }
        let packet = Packet { bytes: PacketBytes::Shared(bytes.into()), meta };
        if let Some(packet) = self.hand_over(now, packet, false) {
            self.local_input(now, &packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::device::Capabilities;
    use crate::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
    use crate::settings::Settings;
    use crate::stack::{Config, InterfaceAddress};
    use crate::tcp::State;

    fn host(settings: Settings) -> Stack {
        let addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let config = Config {
            settings,
            device: Capabilities::plain(1500),
            addresses: vec![InterfaceAddress { addr, prefix_len: 8 }],
            routes: vec![],
            any_address: false,
            seed: [3; 32],
        };
        Stack::new(Instant::ZERO, config)
    }

    /// Linux's default `tcp_tw_reuse` = 2: within the host an outgoing connection takes over a TIME-WAIT that is old
    /// enough (`tcp_tw_reuse_delay`), so that the only port there is serves again; 0 never lets it.
    #[test]
    fn a_time_wait_within_the_host_is_reused_after_a_second() {
        for (reuse, later) in [("2", Ok(())), ("0", Err(crate::Error::AddrNotAvailable))] {
            let mut settings = Settings::default();
            settings.set("tcp_tw_reuse", reuse).unwrap();
            settings.set("ip_local_port_range", "5000 5000").unwrap();
            let mut stack = host(settings);
            let (now, server) = (Instant::ZERO, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80));
            let bind = stack.tcp_bind(now, server, BindOptions::default()).unwrap();
            let listener = stack.tcp_listen(now, bind, 5, SocketOptions::default()).unwrap();
            let client = stack.tcp_connect(now, None, server, SocketOptions::default()).unwrap();
            assert!(stack.poll_transmit(now).is_none());
            let (accepted, _) = stack.tcp_accept(now, listener).unwrap();
            for conn in [client, accepted] {
                stack.tcp_close(now, conn).unwrap();
                assert!(stack.poll_transmit(now).is_none());
            }
            assert_eq!(stack.count_by_state()[State::TimeWait as usize].1, 1);
            let mut connect = |ms| {
                let now = Instant::from_millis(ms);
                stack.tcp_connect(now, None, server, SocketOptions::default()).map(|_| ())
            };
            assert_eq!(connect(900), Err(crate::Error::AddrNotAvailable), "tcp_tw_reuse {reuse}");
            assert_eq!(connect(1100), later, "tcp_tw_reuse {reuse}");
        }
    }

    /// RFC 1122 3.2.1.3 (g): 127/8 never appears outside; a connection from the host to itself works within it.
    #[test]
    fn a_host_connects_to_itself_without_a_packet_outside() {
        let now = Instant::ZERO;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut stack = host(Settings::default());
        let server = SocketAddr::new(loopback, 80);
        let bind = stack.tcp_bind(now, server, BindOptions::default()).unwrap();
        let listener = stack.tcp_listen(now, bind, 5, SocketOptions::default()).unwrap();
        let client = stack.tcp_connect(now, None, server, SocketOptions::default()).unwrap();
        assert!(stack.poll_transmit(now).is_none());
        let (accepted, _) = stack.tcp_accept(now, listener).unwrap();
        let data = vec![7; 30_000];
        let mut sent = 0;
        let mut got = vec![];
        while got.len() < data.len() {
            sent += stack.tcp_send(now, client, &data[sent..], SendFlags::default()).unwrap_or(0);
            assert!(stack.poll_transmit(now).is_none());
            let mut buf = [0; 4096];
            while let Ok(n) = stack.tcp_recv(now, accepted, &mut buf, RecvFlags::default()) {
                got.extend_from_slice(&buf[..n]);
            }
        }
        assert_eq!(got, data);
        stack.tcp_close(now, client).unwrap();
        assert!(stack.poll_transmit(now).is_none());
        stack.tcp_close(now, accepted).unwrap();
        assert!(stack.poll_transmit(now).is_none());
        assert_eq!(stack.count_by_state()[State::TimeWait as usize].1, 1);
    }
}
