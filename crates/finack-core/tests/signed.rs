//! Two hosts whose segments are signed: MD5 signatures (RFC 2385) and TCP-AO (RFC 5925), with everything that moves
//! between them looked at. What single segments lead to is shown by `scripts/auth`.
#![cfg(feature = "md5-ao")]
#![allow(clippy::unwrap_used)] // A test fails by panicking.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use finack_core::auth::{
    Algorithm, AoKey, KeyContext, Keys, MacPlace, Md5Key, Peers, Secret, Signable, same,
};
use finack_core::device::{Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{Config, ConnId, InterfaceAddress, ListenerId};
use finack_core::tcp::State;
use finack_core::trace::{DropReason, TraceKind};
use finack_core::{Error, Instant, Stack};
use finack_sim::packet::{Opt, Pkt, finish_checksum, flag, parse};

const SECRET: &[u8] = b"between us";

/// A packet on the wire, and whether it stands for several segments.
struct Sent {
    bytes: Vec<u8>,
    packet: Pkt,
    is_unit: bool,
}

/// Two hosts and the wire between them.
struct Pair {
    now: Instant,
    hosts: [Stack; 2],
    addrs: [IpAddr; 2],
    sent: Vec<Sent>,
}

impl Pair {
    fn new(v6: bool, start: Instant) -> Self {
        let addrs: [IpAddr; 2] = if v6 {
            ["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()]
        } else {
            [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]
        };
        let host = |i: usize| {
            let device = Capabilities { mtu: 1500, max_unit: 65_535, checksum_tx: i == 0, udp_units: false };
            let config = Config {
                settings: Settings::default(),
                device,
                addresses: vec![InterfaceAddress { addr: addrs[i], prefix_len: 24 }],
                routes: vec![],
                any_address: false,
                seed: [i as u8 + 1; 32],
            };
            Stack::new(start, config)
        };
        Self { now: start, hosts: [host(0), host(1)], addrs, sent: Vec::new() }
    }

    /// Carries packets until nobody has one; none is lost.
    fn carry(&mut self) {
        loop {
            let before = self.sent.len();
            for from in 0..2 {
                let mut taken = Vec::new();
                while let Some(transmit) = self.hosts[from].poll_transmit(self.now) {
                    let mut bytes = Vec::new();
                    transmit.write_to(&mut bytes);
                    let unit = transmit.segment_size;
                    if let finack_core::device::TxChecksum::Partial { start, offset } = transmit.checksum {
                        finish_checksum(&mut bytes, start.into(), offset.into()).unwrap();
                    }
                    taken.push((bytes, unit));
                }
                for (bytes, unit) in taken {
                    let packet = parse(&bytes).unwrap();
                    let segments =
                        if unit == 0 { 1 } else { (bytes.len() / usize::from(unit)).max(1) as u16 };
                    let meta = PacketMeta {
                        checksum: if unit == 0 { ChecksumState::Unchecked } else { ChecksumState::Valid },
                        segments,
                        segment_size: unit,
                        ..PacketMeta::default()
                    };
                    let given = Packet { bytes: PacketBytes::Borrowed(&bytes), meta };
                    self.hosts[1 - from].handle_packets(self.now, &[given]);
                    self.sent.push(Sent { bytes, packet, is_unit: unit > 0 });
                }
            }
            if self.sent.len() == before {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.carry();
            let due = self.hosts.iter().filter_map(Stack::poll_timeout).min().filter(|at| *at <= end);
            let Some(at) = due else { break };
            self.now = self.now.max(at);
            self.hosts.iter_mut().for_each(|host| host.handle_timeout(at));
        }
        self.now = end;
    }

    fn listen(&mut self, keys: &Keys) -> (ListenerId, SocketAddr) {
        let addr = SocketAddr::new(self.addrs[1], 179);
        let bind = self.hosts[1].tcp_bind(self.now, addr, BindOptions::default()).unwrap();
        let listener = self.hosts[1].tcp_listen(self.now, bind, 100, SocketOptions::default()).unwrap();
        self.hosts[1].tcp_set_listener_keys(listener, keys).unwrap();
        (listener, addr)
    }

    /// Host 0 opens to host 1, with these keys each.
    fn open(&mut self, ours: &Keys, theirs: &Keys) -> (ConnId, ConnId) {
        let (listener, addr) = self.listen(theirs);
        let conn = self.hosts[0].tcp_connect(self.now, None, addr, SocketOptions::default()).unwrap();
        self.hosts[0].tcp_set_keys(self.now, conn, ours).unwrap();
        self.carry();
        let (accepted, _) = self.hosts[1].tcp_accept(self.now, listener).expect("the handshake is complete");
        (conn, accepted)
    }

    /// `len` bytes from one host to the other, which come as they were sent.
    fn transfer(&mut self, from: usize, conns: [ConnId; 2], len: usize) {
        let data: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
        let (mut sent, mut got, mut rounds) = (0, Vec::new(), 0);
        while got.len() < len {
            sent += self.hosts[from]
                .tcp_send(self.now, conns[from], &data[sent..], SendFlags::default())
                .unwrap_or(0);
            self.pass(Duration::from_millis(1));
            let mut buf = vec![0; 65_536];
            let to = 1 - from;
            while let Ok(n @ 1..) =
                self.hosts[to].tcp_recv(self.now, conns[to], &mut buf, RecvFlags::default())
            {
                got.extend_from_slice(&buf[..n]);
            }
            rounds += 1;
            assert!(rounds < 100_000, "{} of {len} bytes came", got.len());
        }
        assert!(got == data);
    }

    fn drops(&self) -> Vec<(usize, DropReason, u64)> {
        let of = |host: usize| {
            let counters = self.hosts[host].counters();
            DropReason::ALL.iter().map(move |r| (host, *r, counters.dropped(*r))).filter(|(_, _, n)| *n > 0)
        };
        (0..2).flat_map(of).collect()
    }
}

fn everybody(v6: bool) -> Peers {
    let any: IpAddr = if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { [0, 0, 0, 0].into() };
    Peers::network(any, 0).unwrap()
}

fn md5(v6: bool) -> Keys {
    let mut keys = Keys::new();
    keys.set_md5(Md5Key { peers: everybody(v6), secret: Secret::new(SECRET).unwrap() }).unwrap();
    keys
}

fn ao_key(v6: bool, send_id: u8, recv_id: u8, algorithm: Algorithm) -> AoKey {
    AoKey { algorithm, ..AoKey::new(everybody(v6), send_id, recv_id, Secret::new(SECRET).unwrap()) }
}

fn ao(key: AoKey) -> Keys {
    let mut keys = Keys::new();
    keys.add_ao(key).unwrap();
    keys
}

fn kind_of(option: &Opt) -> Option<u8> {
    match option {
        Opt::Other(kind @ (19 | 29), _) => Some(*kind),
        _ => None,
    }
}

fn signed_with(sent: &Sent) -> Option<u8> {
    sent.packet.as_tcp().unwrap().options.iter().find_map(kind_of)
}

/// RFC 2385 2.0, RFC 5925 7.4, RFC 5926 2.2: whatever the algorithm and the IP version, every segment of a connection
/// is signed and taken, and none is a unit for the device to cut, although the device could.
#[test]
fn every_segment_of_a_signed_connection_is_signed_by_itself() {
    for v6 in [false, true] {
        let ways = [(19, md5(v6), md5(v6))]
            .into_iter()
            .chain(Algorithm::ALL.iter().map(|a| (29, ao(ao_key(v6, 1, 2, *a)), ao(ao_key(v6, 2, 1, *a)))));
        for (kind, ours, theirs) in ways {
            let mut pair = Pair::new(v6, Instant::from_secs(5));
            let (a, b) = pair.open(&ours, &theirs);
            pair.transfer(0, [a, b], 200_000);
            pair.transfer(1, [a, b], 200_000);
            pair.hosts[0].tcp_close(pair.now, a).unwrap();
            pair.carry();
            pair.hosts[1].tcp_close(pair.now, b).unwrap();
            pair.carry();
            assert_eq!(pair.hosts[0].count_by_state()[State::TimeWait as usize].1, 1);
            for sent in &pair.sent {
                assert_eq!(signed_with(sent), Some(kind), "{:?}", sent.packet);
                assert!(!sent.is_unit && sent.bytes.len() <= 1500, "{} bytes", sent.bytes.len());
            }
            assert!(pair.sent.iter().any(|s| s.bytes.len() > 1480), "full segments are full");
            assert_eq!(pair.drops(), []);
        }
    }
}

/// ARCHITECTURE: who has no keys is as before, beside others that have: units for the device, nothing signed.
#[test]
fn connections_without_keys_are_as_they_were() {
    let mut pair = Pair::new(false, Instant::from_secs(5));
    let other = Peers::host([192, 0, 2, 1].into());
    let mut keys = Keys::new();
    keys.set_md5(Md5Key { peers: other, secret: Secret::new(SECRET).unwrap() }).unwrap();
    let (a, b) = pair.open(&Keys::new(), &keys);
    pair.transfer(0, [a, b], 200_000);
    assert!(pair.sent.iter().all(|s| signed_with(s).is_none()));
    assert!(pair.sent.iter().any(|s| s.is_unit));
    assert_eq!(pair.drops(), []);
}

/// A time at which the client's ISN lies just below 2^32: it is a clock plus a constant (RFC 6528).
fn before_the_wrap() -> Instant {
    let isn = |at: Instant| {
        let mut pair = Pair::new(false, at);
        let (_, addr) = pair.listen(&Keys::new());
        pair.hosts[0].tcp_connect(at, None, addr, SocketOptions::default()).unwrap();
        pair.carry();
        pair.sent[0].packet.as_tcp().unwrap().seq
    };
    let at = Instant::from_secs(100);
    let step = isn(at + Duration::from_secs(1)).wrapping_sub(isn(at));
    let wanted = 50_000_u32.wrapping_neg().wrapping_sub(isn(at));
    let mut start = at + Duration::from_nanos(u64::from(wanted) * 1_000_000_000 / u64::from(step));
    for _ in 0..20 {
        let off = isn(start).wrapping_add(50_000) as i32;
        if off.unsigned_abs() < 20_000 {
            return start;
        }
        let nanos = i64::from(off) * 1_000_000_000 / i64::from(step);
        start = Instant::from_nanos(start.as_nanos().saturating_add_signed(-nanos));
    }
    panic!("no time found");
}

/// The MAC of a packet of host 0's, worked out from RFC 5925 5.1 with `sne`.
fn mac(sent: &Sent, isns: (u32, u32), sne: u32) -> (Vec<u8>, Vec<u8>) {
    let tcp = sent.packet.as_tcp().unwrap();
    let header = sent.bytes.len() - tcp.payload.len();
    let payload = [&sent.bytes[header..]];
    let (src, dst) = (sent.packet.ip.src, sent.packet.ip.dst);
    let context =
        KeyContext { src, dst, src_port: tcp.sport, dst_port: tcp.dport, src_isn: isns.0, dst_isn: isns.1 };
    let signable = Signable { src, dst, header: &sent.bytes[20..header], payload: &payload };
    let place = MacPlace { at: 24..36, exclude_options: false };
    let traffic = Algorithm::HmacSha1.traffic_key(SECRET, &context);
    let right = Algorithm::HmacSha1.mac(&traffic, sne, &signable, &place);
    (right[..12].to_vec(), sent.bytes[44..56].to_vec())
}

/// RFC 5925 6.2: when the sequence number wraps, the extension counts: the MACs behind the wrap are made with 1, those
/// before it with 0, on both sides, so that old segments can't be played again.
#[test]
fn the_extension_counts_when_the_numbers_wrap() {
    let mut pair = Pair::new(false, before_the_wrap());
    let (ours, theirs) = (ao_key(false, 1, 2, Algorithm::HmacSha1), ao_key(false, 2, 1, Algorithm::HmacSha1));
    let (a, b) = pair.open(&ao(ours), &ao(theirs));
    let isn = |pair: &Pair, i: usize| pair.sent[i].packet.as_tcp().unwrap().seq;
    let isns = (isn(&pair, 0), isn(&pair, 1));
    assert!(isns.0 > u32::MAX - 80_000);
    pair.transfer(0, [a, b], 300_000);
    assert_eq!(pair.drops(), []);
    let mut seen = [0; 2];
    for sent in pair.sent.iter().filter(|s| s.packet.ip.src == pair.addrs[0]).skip(1) {
        let turn = u32::from(sent.packet.as_tcp().unwrap().seq < isns.0);
        let (right, found) = mac(sent, isns, turn);
        assert!(same(&right, &found), "turn {turn}");
        seen[turn as usize] += 1;
        let (wrong, _) = mac(sent, isns, 1 - turn);
        assert!(!same(&wrong, &found), "turn {turn}");
    }
    assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
    let info = pair.hosts[1].tcp_auth_info(b).unwrap();
    assert_eq!((info.bad, info.last_key_id, info.last_rnext_key_id), (0, Some(1), Some(2)));
    assert!(info.good > 200);
}

/// RFC 5925 6.1, 7.5: keys change in the middle of a transfer, in both directions, and no segment is lost by it.
#[test]
fn keys_change_without_losing_a_segment() {
    let mut pair = Pair::new(false, Instant::from_secs(5));
    let old = [ao_key(false, 1, 2, Algorithm::HmacSha1), ao_key(false, 2, 1, Algorithm::HmacSha1)];
    let new = [ao_key(false, 11, 12, Algorithm::AesCmac128), ao_key(false, 12, 11, Algorithm::AesCmac128)];
    let [ours, theirs] = old.map(ao);
    let (a, b) = pair.open(&ours, &theirs);
    pair.transfer(0, [a, b], 50_000);
    // Both hosts learn of the new key first, then one asks for it.
    let both = |mut keys: Keys, key: &AoKey| {
        keys.add_ao(key.clone()).unwrap();
        keys
    };
    let (mut ours, theirs) = (both(ours, &new[0]), both(theirs, &new[1]));
    pair.hosts[1].tcp_set_keys(pair.now, b, &theirs).unwrap();
    ours.rnext = Some(12);
    pair.hosts[0].tcp_set_keys(pair.now, a, &ours).unwrap();
    pair.transfer(0, [a, b], 50_000);
    assert_eq!(pair.hosts[1].tcp_auth_info(b).unwrap().current, Some(12), "as host 0 asked");
    assert_eq!(pair.hosts[0].tcp_auth_info(a).unwrap().current, Some(1), "nobody asked host 0");
    pair.transfer(1, [a, b], 50_000);
    assert_eq!(pair.drops(), []);
    // Without a key in use the connection can't go on, so that it is not taken away.
    assert_eq!(pair.hosts[0].tcp_set_keys(pair.now, a, &Keys::new()), Err(Error::KeyRejected));
    pair.transfer(0, [a, b], 1000);
}

/// RFC 5925 7.4 by its SYN a connection is signed or not: a key that the listener loses meanwhile leaves no unsigned one.
#[test]
fn what_began_signed_does_not_go_on_unsigned() {
    let mut pair = Pair::new(false, Instant::from_secs(5));
    let (listener, addr) = pair.listen(&ao(ao_key(false, 2, 1, Algorithm::HmacSha1)));
    let conn = pair.hosts[0].tcp_connect(pair.now, None, addr, SocketOptions::default()).unwrap();
    pair.hosts[0].tcp_set_keys(pair.now, conn, &ao(ao_key(false, 1, 2, Algorithm::HmacSha1))).unwrap();
    let mut syn = Vec::new();
    pair.hosts[0].poll_transmit(pair.now).unwrap().write_to(&mut syn);
    finish_checksum(&mut syn, 20, 16).unwrap();
    let given = Packet { bytes: PacketBytes::Borrowed(&syn), meta: PacketMeta::default() };
    pair.hosts[1].handle_packets(pair.now, &[given]);
    pair.hosts[1].tcp_set_listener_keys(listener, &Keys::new()).unwrap();
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.hosts[1].tcp_accept(pair.now, listener), Err(Error::WouldBlock));
    // The SYN,ACK that was queued already went out signed; what would come after it has no key.
    assert!(
        pair.sent.iter().filter(|s| s.packet.ip.src == pair.addrs[1]).all(|s| signed_with(s) == Some(29))
    );
    assert!(pair.hosts[1].counters().dropped(DropReason::Unsignable) > 0);
}

/// Nothing that can be done to a signed packet is taken, and nothing of it is answered or makes the engine stumble.
#[test]
fn changed_packets_are_dropped_and_do_no_harm() {
    for (is_md5, ours, theirs) in [
        (true, md5(false), md5(false)),
        (false, ao(ao_key(false, 1, 2, Algorithm::HmacSha1)), ao(ao_key(false, 2, 1, Algorithm::HmacSha1))),
    ] {
        let mut pair = Pair::new(false, Instant::from_secs(5));
        let (a, b) = pair.open(&ours, &theirs);
        pair.transfer(0, [a, b], 3000);
        pair.carry();
        let good: Vec<Vec<u8>> =
            pair.sent.iter().filter(|s| s.packet.ip.src == pair.addrs[0]).map(|s| s.bytes.clone()).collect();
        let before = pair.sent.len();
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for round in 0..20_000 {
            let mut bytes = good[random() as usize % good.len()].clone();
            // Ports and addresses stay, for it to reach the connection. The checksum is taken for right, and not signed.
            let at = 24 + random() as usize % (bytes.len() - 24);
            let bit = 1 << (random() % 8);
            // An MD5 digest covers no option, its own place and kind but itself.
            let options = 40..20 + usize::from(bytes[32] >> 4) * 4;
            let covered = !is_md5 || !options.contains(&at) || (42..60).contains(&at);
            if !covered || (36..38).contains(&at) {
                continue;
            }
            bytes[at] ^= bit;
            let meta = PacketMeta { checksum: ChecksumState::Valid, ..PacketMeta::default() };
            let given = Packet { bytes: PacketBytes::Borrowed(&bytes), meta };
            pair.hosts[1].handle_packets(pair.now, &[given]);
            pair.carry();
            assert_eq!(
                pair.sent.len(),
                before,
                "round {round}: byte {at} was changed and something answered"
            );
        }
        assert_eq!(pair.hosts[1].tcp_state(b), Ok(State::Established));
        pair.transfer(1, [a, b], 3000);
    }
}

/// RFC 9293 3.10.7.1, RFC 2385 4.1: nobody listens and nobody has a key, so that a RST could only be unsigned: there is
/// none for a signed SYN, and one for another.
#[test]
fn a_signed_syn_to_a_port_without_listener_gets_no_reset() {
    let mut pair = Pair::new(false, Instant::from_secs(5));
    let addr = SocketAddr::new(pair.addrs[1], 80);
    let signed = pair.hosts[0].tcp_connect(pair.now, None, addr, SocketOptions::default()).unwrap();
    pair.hosts[0].tcp_set_keys(pair.now, signed, &md5(false)).unwrap();
    pair.carry();
    assert_eq!(pair.sent.len(), 1);
    let plain = pair.hosts[0].tcp_connect(pair.now, None, addr, SocketOptions::default()).unwrap();
    pair.carry();
    assert!(pair.sent.last().is_some_and(|s| s.packet.as_tcp().unwrap().has(flag::RST)));
    assert_eq!(pair.hosts[0].tcp_state(plain), Ok(State::Closed));
    assert_eq!(pair.hosts[0].tcp_state(signed), Ok(State::SynSent));
}

/// RFC 5925 7.3: what is dropped is signalled within bounds: whoever floods fills a ring of a given size, and what does
/// not fit is counted.
#[test]
fn signals_of_drops_are_limited() {
    let mut pair = Pair::new(false, Instant::from_secs(5));
    let (_, addr) = pair.listen(&ao(ao_key(false, 2, 1, Algorithm::HmacSha1)));
    pair.hosts[1].set_tracing(8);
    for _ in 0..50 {
        // Without a key the SYN is unsigned.
        pair.hosts[0].tcp_connect(pair.now, None, addr, SocketOptions::default()).unwrap();
    }
    pair.carry();
    let mut told = Vec::new();
    while let Some(event) = pair.hosts[1].poll_trace() {
        told.push(event.kind);
    }
    let drops = |kind: &&TraceKind| matches!(kind, TraceKind::Dropped { reason: DropReason::AoMissing, .. });
    assert_eq!(told.iter().filter(drops).count(), 4, "each beside the segment itself: {told:?}");
    assert_eq!(told.last(), Some(&TraceKind::Lost(92)));
    assert_eq!(pair.drops(), [(1, DropReason::AoMissing, 50)]);
}

/// RFC 4987 3.6, RFC 2385 2.0, RFC 5925 7.5: the ACK that answers a cookie of which nothing is remembered is checked with
/// the listener's key and the ISNs that it shows, and the connection that it makes is signed.
#[test]
fn a_cookie_of_which_nothing_is_left_opens_a_signed_connection() {
    for (ours, theirs) in [
        (md5(false), md5(false)),
        (ao(ao_key(false, 1, 2, Algorithm::HmacSha1)), ao(ao_key(false, 2, 1, Algorithm::HmacSha1))),
    ] {
        let mut pair = Pair::new(false, Instant::from_secs(5));
        pair.hosts[1].set_sysctl("tcp_syncookies", "2").unwrap();
        let (listener, addr) = pair.listen(&theirs);
        let conns: Vec<ConnId> = (0..70)
            .map(|_| {
                let conn = pair.hosts[0].tcp_connect(pair.now, None, addr, SocketOptions::default()).unwrap();
                pair.hosts[0].tcp_set_keys(pair.now, conn, &ours).unwrap();
                conn
            })
            .collect();
        pair.carry();
        let counters = pair.hosts[1].counters();
        assert_eq!((counters.tcp_syn_cookies_sent, counters.tcp_syn_cookies_received), (70, 6));
        let accepted: Vec<ConnId> =
            (0..70).map(|_| pair.hosts[1].tcp_accept(pair.now, listener).unwrap().0).collect();
        let (port, of) = (pair.hosts[0].tcp_local_addr(conns[0]).unwrap(), |c: &ConnId| *c);
        let other = accepted.iter().map(of).find(|c| pair.hosts[1].tcp_remote_addr(*c) == Ok(port)).unwrap();
        pair.transfer(1, [conns[0], other], 10_000);
        assert!(pair.sent.iter().all(|s| signed_with(s).is_some()));
        assert_eq!(pair.drops(), []);
    }
}
