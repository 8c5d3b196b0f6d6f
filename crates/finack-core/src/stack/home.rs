//! One of several stacks that are one host: what it has for the others, and what they have for it.
//!
//! Each such stack is a *shard*. A shard shares nothing with the others: what is common to all (the secrets, by one
//! seed; the ports that were bound, by binding on all; what is known of paths, by telling) every one of them has for
//! itself, so that none ever waits for another.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::net::{IpAddr, SocketAddr};

use finack_wire::ip;

use super::ip_input::ends;
use super::{Stack, UdpId};
use crate::device::Packet;
use crate::error::Error;
use crate::steer::Steering;
use crate::time::Instant;
use crate::trace::DropReason;

/// Packets that wait to be taken to other shards. Each call of a verb leaves a few at most, and they are taken after it.
const MOST: usize = 4096;

/// What one shard has for others.
#[derive(Clone, Debug)]
pub enum ForShards {
    /// A packet that came together, or came from a socket of the host, here and belongs elsewhere.
    Packet(Handed),
    /// A router said how large packets to a destination may be.
    PathMtu {
        /// Which shard this is for.
        shard: usize,
        /// The path's other end.
        destination: IpAddr,
        /// In bytes.
        mtu: u32,
    },
}

/// A packet on its way from one shard to another.
#[derive(Clone, Debug)]
pub struct Handed {
    /// Which shard it belongs to.
    pub shard: usize,
    /// The packet.
    pub packet: Packet<'static>,
    /// It was put together from fragments.
    pub reassembled: bool,
}

/// Which shard this is.
#[derive(Clone, Debug)]
pub(super) struct Home {
    steering: Steering,
    index: usize,
    out: VecDeque<ForShards>,
}

impl Home {
    /// Whether a connection between these two ends belongs to this shard.
    pub(super) fn has(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.steering.of_flow(local, remote) == self.index
    }
}

impl Stack {
    /// Makes this stack the shard `index` of those that `steering` chooses among. All of them are made from one
    /// [`Config`](super::Config), but for the settings, which are [divided](crate::settings::Settings::share), and this
    /// is called before anything else. From then on:
    ///
    /// - whoever hands packets in [steers](Steering::of_packet) them, and takes what is left for other shards with
    ///   [`poll_for_shards`](Self::poll_for_shards) after each verb;
    /// - what is bound is bound on all shards ([`tcp_bind_all`](Self::tcp_bind_all),
    ///   [`tcp_listen_all`](Self::tcp_listen_all), [`udp_bind_all`](Self::udp_bind_all));
    /// - ports that connections choose are such that their answers come to this shard.
    pub fn set_shard(&mut self, steering: &Steering, index: usize) {
        let (part, count) = (index as u32, steering.shards() as u32);
        self.ports.forget_taken();
        // Whoever sees what several shards tell can tell their connections (of whose numbers 48 bits are kept) and
        // packets apart.
        self.cx.next_trace_id = u64::from(part) << 40;
        self.ip.out.set_first_number(u64::from(part) << 48);
        self.ip.ident.set_part(part, count);
        self.home =
            (count > 1).then(|| Box::new(Home { steering: steering.clone(), index, out: VecDeque::new() }));
    }

    /// The next thing that this stack has for other shards; `None` where it is none of several.
    pub fn poll_for_shards(&mut self) -> Option<ForShards> {
        self.home.as_mut()?.out.pop_front()
    }

    /// Takes a packet that another shard had for this one.
    pub fn handle_handed(&mut self, now: Instant, handed: &Handed) {
        let packet = &handed.packet;
        match ip::parse(packet.bytes.as_slice()) {
            Ok(mut header) => {
                header.dont_fragment &= !handed.reassembled;
                let destination = self.destination(header.dst);
                self.deliver(now, &header, packet, &destination);
            }
            Err(error) => self.refuse_header(now, error, packet.bytes.as_slice()),
        }
    }

    /// Takes in what another shard was told of a path.
    pub fn learn_path_mtu(&mut self, now: Instant, destination: IpAddr, mtu: u32) {
        self.ip.learn_mtu(now, destination, mtu, u32::MAX, &self.cx.settings);
    }

    /// Counts and records that a packet could not be brought to where it belongs.
    pub fn drop_packet(&mut self, now: Instant, packet: &Packet<'_>, reason: DropReason) {
        let bytes = packet.bytes.as_slice();
        let ends = ip::parse(bytes).ok().and_then(|header| ends(&header, bytes));
        self.note_drop(now, reason, bytes.len(), ends);
    }

    /// Which shard a connection from `bind` to `remote` belongs to; 0 where there is only one.
    ///
    /// # Errors
    /// As for [`tcp_connect`](Self::tcp_connect), as far as addresses and routes are concerned.
    pub fn tcp_shard_of(&self, bind: super::BindId, remote: SocketAddr) -> Result<usize, Error> {
        let bound = self.tcp_bound_addr(bind)?;
        let to = self.ip.routes.destination(remote.ip().to_canonical(), Some(bound.ip()));
        let (local, _) = self.source_of(Some(bound.ip()), to)?;
        let (local, remote) = (SocketAddr::new(local, bound.port()), SocketAddr::new(to, remote.port()));
        Ok(self.home.as_ref().map_or(0, |home| home.steering.of_flow(local, remote)))
    }

    /// Which shard the answer to a datagram comes to: the one to send it from. This one where it can't be sent.
    pub fn udp_shard_of(&self, socket: UdpId, to: Option<SocketAddr>) -> usize {
        let Some(home) = &self.home else { return 0 };
        let flow = self.udp.flow(&self.ip.routes, socket, to);
        flow.map_or(home.index, |(local, remote)| home.steering.of_flow(local, remote))
    }

    /// Leaves a packet for the shard that it belongs to; gives it back where that is this one.
    pub(super) fn hand_over(
        &mut self,
        now: Instant,
        packet: Packet<'static>,
        reassembled: bool,
    ) -> Option<Packet<'static>> {
        let Some(home) = &mut self.home else { return Some(packet) };
        match home.steering.of_packet(packet.bytes.as_slice()) {
            Some(shard) if shard != home.index => {
                if home.out.len() < MOST {
                    home.out.push_back(ForShards::Packet(Handed { shard, packet, reassembled }));
                } else {
                    self.drop_packet(now, &packet, DropReason::ShardRingFull);
                }
                None
            }
            _ => Some(packet),
        }
    }

    /// Takes in what a router said of a path, for the other shards too.
    pub(super) fn learn_mtu(&mut self, now: Instant, destination: IpAddr, mtu: u32, packet_len: u32) {
        let sunk = self.ip.learn_mtu(now, destination, mtu, packet_len, &self.cx.settings);
        let (Some(mtu), Some(home)) = (sunk, &mut self.home) else { return };
        for shard in (0..home.steering.shards()).filter(|&shard| shard != home.index) {
            // Without room they learn it from a router of their own.
            if home.out.len() < MOST {
                home.out.push_back(ForShards::PathMtu { shard, destination, mtu });
            }
        }
    }
}
