//! Which link address a packet goes to: ARP (RFC 826) and neighbour discovery (RFC 4861) for the addresses that finack has
//! on an Ethernet interface.
//!
//! Nothing here is sent or timed by itself: a question goes out when a packet has to, again at most once a second while
//! packets keep coming, and what is known is asked for again when it was not confirmed for half a minute.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use finack_wire::arp::{self, ArpPacket, Operation};
use finack_wire::ethernet::{EtherType, EthernetHeader, HEADER_LEN, MacAddr};
use finack_wire::ip::{self, IpEmit};
use finack_wire::ndp::{self, NdpMessage};
use finack_wire::protocol;

#[cfg(test)]
mod tests;

/// Most neighbours that are known or asked for; beyond that one that was not answered for, else the one that was longest
/// not confirmed, is forgotten.
pub(super) const MOST_NEIGHBOURS: usize = 1024;
/// Most packets that wait for one neighbour; beyond that the oldest is dropped (RFC 1122 2.3.2.2, RFC 4861 7.2.2).
pub(super) const MOST_WAITING: usize = 8;
/// Most packets that wait in all; beyond that no more are kept.
pub(super) const MOST_WAITING_IN_ALL: usize = 256;

/// How often one question is asked (RFC 1122 2.3.2.1: at most once a second).
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long an answer holds (RFC 4861 10, REACHABLE_TIME).
const HOLDS: Duration = Duration::from_secs(30);
/// After so many questions without an answer what was known is forgotten (RFC 4861 10, MAX_UNICAST_SOLICIT).
const TRIES: u8 = 3;

/// The largest frame that is made here: Ethernet, IPv6 and a message with a link-layer address.
const FRAME: usize = HEADER_LEN + 40 + ndp::MAX_LEN;

/// A frame to be sent as it is.
pub(super) type Frame = Vec<u8>;

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To this link address; and a question about it may be due.
    To(MacAddr, Option<Frame>),
    /// The neighbour must be asked first: give the packet to [`Neighbours::wait`].
    Unknown(IpAddr, Option<Frame>),
    /// No network on the link has the address, and there is no gateway.
    None,
}

/// What a message led to: frames to be sent, answers first.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) reply: Option<Frame>,
    /// A neighbour's link address has come, and with it the turn of those IP packets.
    pub(super) released: Option<(MacAddr, VecDeque<Vec<u8>>)>,
}

struct Entry {
    mac: Option<MacAddr>,
    /// When it was last heard of, or first asked for.
    confirmed: Instant,
    asked: Option<Instant>,
    tries: u8,
    waiting: VecDeque<Vec<u8>>,
}

/// One host's view of its link.
pub(super) struct Neighbours {
    mac: MacAddr,
    addresses: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
    fixed: HashMap<IpAddr, MacAddr>,
    entries: HashMap<IpAddr, Entry>,
    waiting: usize,
    /// Whether it asks; else it only learns from who sends.
    asks: bool,
}

/// Whether both addresses lie in the same network of that many bits.
fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            (a.to_bits() ^ b.to_bits()) & mask == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            (a.to_bits() ^ b.to_bits()) & mask == 0
        }
        _ => false,
    }
}

impl Neighbours {
    pub(super) fn new(
        mac: MacAddr,
        addresses: Vec<(IpAddr, u8)>,
        gateways: Vec<IpAddr>,
        fixed: HashMap<IpAddr, MacAddr>,
        asks: bool,
    ) -> Self {
        Self { mac, addresses, gateways, fixed, entries: HashMap::new(), waiting: 0, asks }
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == ip)
    }

    /// The neighbour that packets to `ip` go through.
    fn hop(&self, ip: IpAddr) -> Option<IpAddr> {
        let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if link_local || self.addresses.iter().any(|&(own, prefix)| same_network(own, ip, prefix)) {
            return Some(ip);
        }
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == ip.is_ipv4())
    }

    /// The link address that stands for many, where `ip` does.
    fn group(&self, ip: IpAddr) -> Option<MacAddr> {
        match ip {
            IpAddr::V6(ip) => ip.is_multicast().then(|| MacAddr::from_multicast_v6(ip)),
            IpAddr::V4(ip) if ip.is_multicast() => Some(MacAddr::from_multicast_v4(ip)),
            IpAddr::V4(ip) => {
                let directed = self.addresses.iter().any(|&(own, prefix)| {
                    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                    prefix < 31 && same_network(own, ip.into(), prefix) && ip.to_bits() & host == host
                });
                (ip.is_broadcast() || directed).then_some(MacAddr::BROADCAST)
            }
        }
    }

    /// Where a packet to `destination` goes.
    pub(super) fn route(&mut self, destination: IpAddr, now: Instant) -> Route {
        if let Some(mac) = self.group(destination) {
            return Route::To(mac, None);
        }
        let Some(hop) = self.hop(destination) else { return Route::None };
        if let Some(mac) = self.fixed.get(&hop) {
            return Route::To(*mac, None);
        }
        if !self.entries.contains_key(&hop) {
            self.make_room();
        }
        let asks = self.asks;
        let entry = self.entries.entry(hop).or_insert_with(|| Entry::new(now));
        let stale = now.saturating_duration_since(entry.confirmed) >= HOLDS;
        let again = entry.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN);
        if asks && again && stale && entry.tries >= TRIES {
            entry.mac = None;
        }
        let ask = asks && again && (stale || entry.mac.is_none());
        if ask {
            entry.asked = Some(now);
            entry.tries = entry.tries.saturating_add(1);
        }
        let known = entry.mac;
        let question = ask.then(|| self.question(hop, known)).flatten();
        match known {
            Some(mac) => Route::To(mac, question),
            None => Route::Unknown(hop, question),
        }
    }

    /// Keeps an IP packet until the neighbour has answered; `false` where it, or an older one, is dropped for that.
    pub(super) fn wait(&mut self, hop: IpAddr, packet: Vec<u8>) -> bool {
        let Some(entry) = self.entries.get_mut(&hop) else { return false };
        let full = entry.waiting.len() >= MOST_WAITING;
        if full {
            entry.waiting.pop_front();
            self.waiting -= 1;
        }
        if self.waiting >= MOST_WAITING_IN_ALL {
            return false;
        }
        entry.waiting.push_back(packet);
        self.waiting += 1;
        !full
    }

    /// The frame that asks for the link address of `hop`: who is known already is asked itself.
    fn question(&self, hop: IpAddr, known: Option<MacAddr>) -> Option<Frame> {
        let on_link = |&&(own, prefix): &&(IpAddr, u8)| same_network(own, hop, prefix);
        let family = |(own, _): &&(IpAddr, u8)| own.is_ipv4() == hop.is_ipv4();
        let mut own = self.addresses.iter();
        let own = own.clone().find(on_link).or_else(|| own.find(family))?.0;
        match (own, hop) {
            (IpAddr::V4(own), IpAddr::V4(hop)) => {
                let to = known.unwrap_or(MacAddr::BROADCAST);
                self.arp_frame(to, &ArpPacket::request(self.mac, own, hop))
            }
            (IpAddr::V6(own), IpAddr::V6(hop)) => {
                let group = ndp::solicited_node(hop);
                let (to, ip) = match known {
                    Some(mac) => (mac, hop),
                    None => (MacAddr::from_multicast_v6(group), group),
                };
                let message = NdpMessage::Solicitation { target: hop, source_link: Some(self.mac) };
                self.ndp_frame(to, own, ip, &message)
            }
            _ => None,
        }
    }

    fn arp_frame(&self, to: MacAddr, packet: &ArpPacket) -> Option<Frame> {
        let mut frame = vec![0; HEADER_LEN + arp::LEN];
        let header = EthernetHeader { dst: to, src: self.mac, ethertype: EtherType::ARP, tag: None };
        let len = header.emit(&mut frame);
        (packet.emit(&mut frame[len..]) > 0).then_some(frame)
    }

    fn ndp_frame(&self, to: MacAddr, src: Ipv6Addr, dst: Ipv6Addr, message: &NdpMessage) -> Option<Frame> {
        let mut frame = vec![0; FRAME];
        let header = EthernetHeader { dst: to, src: self.mac, ethertype: EtherType::IPV6, tag: None };
        let mut len = header.emit(&mut frame);
        let ip = IpEmit {
            src: src.into(),
            dst: dst.into(),
            protocol: protocol::ICMPV6,
            hop_limit: ndp::HOP_LIMIT,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            payload_len: message.encoded_len(),
        };
        len += ip.emit(&mut frame[len..]);
        len += message.emit(&src, &dst, &mut frame[len..]);
        frame.truncate(len);
        Some(frame)
    }

    /// Takes an ARP packet in.
    pub(super) fn arp(&mut self, packet: &[u8], now: Instant) -> Outcome {
        let Ok(packet) = ArpPacket::parse(packet) else { return Outcome::default() };
        let asked_for_us = packet.operation == Operation::Request && self.is_own(packet.target_ip.into());
        let reply =
            asked_for_us.then(|| self.arp_frame(packet.sender_mac, &packet.reply(self.mac))).flatten();
        // A probe has no sender's address (RFC 5227).
        let released = match packet.sender_ip {
            Ipv4Addr::UNSPECIFIED => None,
            ip => self.heard(ip.into(), packet.sender_mac, asked_for_us, true, now),
        };
        Outcome { reply, released }
    }

    /// Takes an IPv6 packet in that may be a message of neighbour discovery; `None` where it is none.
    pub(super) fn ndp(&mut self, packet: &[u8], now: Instant) -> Option<Outcome> {
        let header = ip::parse(packet).ok().filter(|header| header.fragment.is_none())?;
        let body = header.payload(packet);
        if header.protocol != protocol::ICMPV6
            || !matches!(body.first(), Some(&(ndp::SOLICITATION | ndp::ADVERTISEMENT)))
        {
            return None;
        }
        let Ok(message) = ndp::parse(&header, body) else { return Some(Outcome::default()) };
        let IpAddr::V6(asker) = header.src else { return None };
        Some(match message {
            NdpMessage::Solicitation { target, source_link } if self.is_own(target.into()) => {
                // Who has no address yet looks whether this one is free: all are told that it is not.
                let probe = asker.is_unspecified();
                let to_ip = if probe { Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1) } else { asker };
                let known = self.entries.get(&asker.into()).and_then(|entry| entry.mac);
                let to = if probe { Some(MacAddr::from_multicast_v6(to_ip)) } else { source_link.or(known) };
                let answer = NdpMessage::Advertisement {
                    target,
                    router: false,
                    solicited: !probe,
                    override_: true,
                    target_link: Some(self.mac),
                };
                let reply = to.and_then(|to| self.ndp_frame(to, target, to_ip, &answer));
                let released = source_link.and_then(|mac| self.heard(asker.into(), mac, true, true, now));
                Outcome { reply, released }
            }
            NdpMessage::Advertisement { target, override_, target_link: Some(mac), .. } => {
                Outcome { reply: None, released: self.heard(target.into(), mac, false, override_, now) }
            }
            _ => Outcome::default(),
        })
    }

    /// A packet came from `ip` by `mac`: all there is to learn from where nothing is asked.
    pub(super) fn seen(&mut self, ip: IpAddr, mac: MacAddr, now: Instant) -> Outcome {
        let hop = if self.asks { None } else { self.hop(ip) };
        let released = hop.and_then(|hop| self.heard(hop, mac, true, true, now));
        Outcome { reply: None, released }
    }

    /// `ip` is at `mac`. Who is not known yet is remembered where `new` says so; another address replaces what is known
    /// where `replaces` does.
    fn heard(
        &mut self,
        ip: IpAddr,
        mac: MacAddr,
        new: bool,
        replaces: bool,
        now: Instant,
    ) -> Option<(MacAddr, VecDeque<Vec<u8>>)> {
        if !mac.is_station() || self.is_own(ip) || self.hop(ip) != Some(ip) {
            return None;
        }
        if !self.entries.contains_key(&ip) {
            if !new {
                return None;
            }
            self.make_room();
            self.entries.insert(ip, Entry::new(now));
        }
        let entry = self.entries.get_mut(&ip)?;
        if entry.mac.is_some_and(|known| known != mac) && !replaces {
            return None;
        }
        entry.mac = Some(mac);
        entry.confirmed = now;
        entry.tries = 0;
        let waiting = std::mem::take(&mut entry.waiting);
        self.waiting -= waiting.len();
        (!waiting.is_empty()).then_some((mac, waiting))
    }

    /// Forgets a neighbour where there are as many as there may be.
    fn make_room(&mut self) {
        if self.entries.len() < MOST_NEIGHBOURS {
            return;
        }
        let least = self.entries.iter().min_by_key(|(_, entry)| (entry.mac.is_some(), entry.confirmed));
        if let Some((&ip, _)) = least
            && let Some(entry) = self.entries.remove(&ip)
        {
            self.waiting -= entry.waiting.len();
        }
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self { mac: None, confirmed: now, asked: None, tries: 0, waiting: VecDeque::new() }
    }
}
