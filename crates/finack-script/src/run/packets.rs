//! Packets from the script to the wire and back.

use std::net::{IpAddr, SocketAddr};

use finack_sim::packet::{
    Body as LiveBody, Icmp as LiveIcmp, Ip, Opt, Pkt, Tcp as LiveTcp, Udp as LiveUdp, build,
};
use finack_sim::pattern;

use super::config::Config;
use super::flow::{Flow, PEER};
use super::icmp;
use crate::ast::{
    Body, Counter, Direction, Flags, Icmp, IpInfo, Packet, Ports, Quoted, SeqRange, Tcp, TcpOption,
    TcpOptions, Tos, Udp,
};

/// The experiment identifier of Fast Open (RFC 7413 appendix A).
const FASTOPEN_MAGIC: [u8; 2] = [0xf9, 0x89];

fn ip_header(src: IpAddr, dst: IpAddr, info: &IpInfo) -> Ip {
    let mut ip = Ip::new(src, dst);
    match info.tos {
        Some(Tos::Ecn(bits)) => ip.tos = bits,
        Some(Tos::Byte(byte)) => ip.tos = byte,
        Some(Tos::Ect01) | None => {}
    }
    ip.ttl = info.ttl.unwrap_or(255);
    ip
}

fn live_option(option: &TcpOption, flow: &Flow, flags: Flags, scaled: bool) -> Result<Opt, String> {
    let (ack, syn) = (flags.has(Flags::ACK), flags.has(Flags::SYN));
    Ok(match option {
        TcpOption::Nop => Opt::Nop,
        TcpOption::Eol => Opt::Eol,
        TcpOption::Mss(mss) => Opt::Mss(*mss),
        TcpOption::Wscale(shift) => Opt::Wscale(*shift),
        TcpOption::SackOk => Opt::SackOk,
        TcpOption::Sack(blocks) => {
            Opt::Sack(blocks.iter().map(|(l, r)| (flow.to_live(*l, syn), flow.to_live(*r, syn))).collect())
        }
        TcpOption::Ts { val, ecr } if ack => {
            let live = flow.echo(*ecr, scaled);
            let ecr = live.ok_or_else(|| format!("no packet from the stack had TS val {ecr} so far"))?;
            Opt::Ts { val: *val, ecr }
        }
        TcpOption::Ts { val, ecr } => Opt::Ts { val: *val, ecr: *ecr },
        TcpOption::Md5(digest) => Opt::Other(19, digest.clone()),
        TcpOption::FastOpen(cookie) => Opt::Other(34, cookie.clone()),
        TcpOption::FastOpenExperimental(cookie) => Opt::Other(254, [&FASTOPEN_MAGIC[..], cookie].concat()),
        TcpOption::AccEcn(counters) => {
            // Which comes first tells the kind (RFC 9768 3.2.3).
            let kind = if counters.first().is_some_and(|(c, _)| *c == Counter::E1b) { 174 } else { 172 };
            let bytes = counters.iter().flat_map(|(_, n)| n.to_be_bytes()[1..].to_vec());
            Opt::Other(kind, bytes.collect())
        }
        TcpOption::Ao { key_id, next, mac } => Opt::Other(29, [&[*key_id, *next][..], mac].concat()),
        TcpOption::Kind(kind, data) => Opt::Other(*kind, data.clone()),
        TcpOption::Raw(bytes) => Opt::Raw(bytes.clone()),
        TcpOption::Mptcp(_) => return Err("finack speaks no MPTCP".into()),
    })
}

/// The bytes of a segment that the script injects.
///
/// # Errors
/// What can't be made of it.
pub(crate) fn inject_tcp(flow: &Flow, tcp: &Tcp, info: &IpInfo, config: &Config) -> Result<Vec<u8>, String> {
    let ack = tcp.flags.has(Flags::ACK);
    let TcpOptions::List(list) = &tcp.options else { return Err("<...> is no option".into()) };
    let options =
        list.iter().map(|o| live_option(o, flow, tcp.flags, config.ts_scaled)).collect::<Result<_, _>>()?;
    let syn = tcp.flags.has(Flags::SYN);
    let offset = flow.peer_offset(tcp.seq.start, syn);
    let segment = LiveTcp {
        sport: tcp.ports.map_or(flow.remote.port(), |p| p.src),
        dport: tcp.ports.map_or(flow.local.port(), |p| p.dst),
        seq: flow.peer_to_live(tcp.seq.start, syn),
        ack: if ack { flow.to_live(tcp.ack.unwrap_or(0), syn) } else { tcp.ack.unwrap_or(0) },
        flags: tcp.flags.bits,
        window: tcp.win.unwrap_or(0),
        urgent: tcp.urg.unwrap_or(0),
        options,
        payload: pattern::bytes(PEER, offset, tcp.seq.len.into()),
    };
    let ip = ip_header(flow.remote.ip(), flow.local.ip(), info);
    Ok(build(&Pkt { ip, body: LiveBody::Tcp(segment) }))
}

/// The bytes of a datagram that the script injects.
pub(crate) fn inject_udp(from: SocketAddr, to: SocketAddr, udp: &Udp, info: &IpInfo) -> Vec<u8> {
    let datagram = LiveUdp {
        sport: udp.ports.map_or(from.port(), |p| p.src),
        dport: udp.ports.map_or(to.port(), |p| p.dst),
        payload: pattern::bytes(PEER, 0, udp.len.into()),
    };
    build(&Pkt { ip: ip_header(from.ip(), to.ip(), info), body: LiveBody::Udp(datagram) })
}

/// What an injected ICMP message quotes.
pub(crate) enum Quote<'a> {
    Tcp(&'a Flow),
    Udp(SocketAddr, SocketAddr),
    Nothing,
}

/// The bytes of a message that the script injects.
///
/// # Errors
/// A type or code that is not known.
pub(crate) fn inject_icmp(
    from: IpAddr,
    to: IpAddr,
    message: &Icmp,
    quote: &Quote<'_>,
    info: &IpInfo,
) -> Result<Vec<u8>, String> {
    let v6 = from.is_ipv6();
    let (kind, code) = icmp::numbers(v6, &message.kind, message.code.as_deref())?;
    let mut rest = [0; 4];
    if let Some(mtu) = message.mtu {
        if v6 {
            rest = mtu.to_be_bytes();
        } else {
            let mtu = u16::try_from(mtu).map_err(|_| "an MTU of IPv4 is at most 65535".to_owned())?;
            rest[2..].copy_from_slice(&mtu.to_be_bytes());
        }
    }
    if let Some(id) = message.id {
        rest[..2].copy_from_slice(&id.to_be_bytes());
    }
    let payload = match (message.quoted, quote) {
        (Some(Quoted::Raw(len)), _) => vec![0; usize::from(len).saturating_sub(8)],
        (_, Quote::Nothing) => Vec::new(),
        (Some(Quoted::Tcp(seq)), Quote::Tcp(flow)) => quoted_tcp(flow, seq),
        (None, Quote::Tcp(flow)) => quoted_tcp(flow, SeqRange { start: 0, len: 0 }),
        (Some(Quoted::Udp(len)), Quote::Udp(src, dst)) => quoted_udp(*src, *dst, len),
        (None, Quote::Udp(src, dst)) => quoted_udp(*src, *dst, 0),
        (Some(Quoted::Udp(_)), Quote::Tcp(_)) | (Some(Quoted::Tcp(_)), Quote::Udp(..)) => {
            return Err("it quotes a packet of another protocol than the socket's".into());
        }
    };
    let body = LiveBody::Icmp(LiveIcmp { kind, code, rest, payload });
    Ok(build(&Pkt { ip: ip_header(from, to, info), body }))
}

/// As much of a packet as every router quotes: its IP header and eight bytes (RFC 792), of IPv6 all of it.
fn quoted(packet: &Pkt) -> Vec<u8> {
    let mut bytes = build(packet);
    bytes.truncate(if packet.ip.src.is_ipv6() { 1200 } else { 28 });
    bytes
}

fn quoted_tcp(flow: &Flow, seq: SeqRange) -> Vec<u8> {
    let tcp = LiveTcp {
        sport: flow.local.port(),
        dport: flow.remote.port(),
        seq: flow.to_live(seq.start, false),
        flags: Flags::ACK,
        payload: vec![0; seq.len.into()],
        ..LiveTcp::default()
    };
    quoted(&Pkt { ip: Ip::new(flow.local.ip(), flow.remote.ip()), body: LiveBody::Tcp(tcp) })
}

fn quoted_udp(src: SocketAddr, dst: SocketAddr, len: u16) -> Vec<u8> {
    let udp = LiveUdp { sport: src.port(), dport: dst.port(), payload: vec![0; len.into()] };
    quoted(&Pkt { ip: Ip::new(src.ip(), dst.ip()), body: LiveBody::Udp(udp) })
}

/// A packet from the stack in the script's terms; `like` is what the script expects there, which tells what of the IP
/// header matters.
pub(crate) fn seen(
    packet: &Pkt,
    flow_label: u32,
    flow: Option<&Flow>,
    like: &Packet,
    config: &Config,
) -> Packet {
    let body = match &packet.body {
        LiveBody::Tcp(tcp) => Body::Tcp(seen_tcp(tcp, flow, like, config)),
        LiveBody::Udp(udp) => Body::Udp(Udp {
            ports: match &like.body {
                Body::Udp(Udp { ports: None, .. }) => None,
                _ => Some(Ports { src: udp.sport, dst: udp.dport }),
            },
            len: u16::try_from(udp.payload.len()).unwrap_or(u16::MAX),
        }),
        LiveBody::Icmp(message) => Body::Icmp(seen_icmp(message, packet.ip.src.is_ipv6(), flow, like)),
        LiveBody::Other { protocol, payload } => Body::Icmp(Icmp {
            kind: format!("protocol_{protocol}"),
            code: None,
            mtu: None,
            id: None,
            quoted: Some(Quoted::Raw(u16::try_from(payload.len()).unwrap_or(u16::MAX))),
        }),
    };
    let ip = IpInfo {
        tos: like.ip.tos.map(|asked| match (asked, packet.ip.tos & 3) {
            (Tos::Byte(_), _) => Tos::Byte(packet.ip.tos),
            (Tos::Ect01, 1 | 2) => Tos::Ect01,
            (_, ecn) => Tos::Ecn(ecn),
        }),
        flow_label: like.ip.flow_label.map(|_| flow_label),
        ttl: like.ip.ttl.map(|_| packet.ip.ttl),
    };
    Packet { direction: Direction::Out, encapsulation: Vec::new(), ip, body, changes: None }
}

fn seen_tcp(tcp: &LiveTcp, flow: Option<&Flow>, like: &Packet, config: &Config) -> Tcp {
    let like = match &like.body {
        Body::Tcp(like) => Some(like),
        _ => None,
    };
    let has_ack = tcp.flags & Flags::ACK != 0;
    let syn = tcp.flags & Flags::SYN != 0;
    let of_stack = |seq: u32| flow.map_or(seq, |f| f.to_script(seq, syn));
    let of_peer = |seq: u32| flow.map_or(seq, |f| f.peer_to_script(seq, syn));
    let blind = like.is_some_and(|l| l.options == TcpOptions::Any);
    let stamp = like.and_then(|l| match &l.options {
        TcpOptions::List(list) => list.iter().find_map(|o| match o {
            TcpOption::Ts { val, .. } => Some(*val),
            _ => None,
        }),
        TcpOptions::Any => None,
    });
    let option = |o: &Opt| match o {
        Opt::Ts { val, ecr } => {
            let counted = flow.map_or(*val, |f| f.stamp_to_script(*val));
            // Where ticks are not counted, any timestamp is the expected one.
            let val = stamp.filter(|_| config.ts_tick == 0).unwrap_or(counted);
            TcpOption::Ts { val, ecr: *ecr }
        }
        Opt::Sack(blocks) => {
            TcpOption::Sack(blocks.iter().map(|(l, r)| (of_peer(*l), of_peer(*r))).collect())
        }
        other => seen_option(other),
    };
    Tcp {
        ports: match like {
            Some(Tcp { ports: None, .. }) => None,
            _ => Some(Ports { src: tcp.sport, dst: tcp.dport }),
        },
        flags: Flags { bits: tcp.flags, ace: like.is_some_and(|l| l.flags.ace) },
        seq: SeqRange { start: of_stack(tcp.seq), len: u16::try_from(tcp.payload.len()).unwrap_or(u16::MAX) },
        ack: (has_ack || tcp.ack != 0).then(|| if has_ack { of_peer(tcp.ack) } else { tcp.ack }),
        win: like.is_none_or(|l| l.win.is_some()).then_some(tcp.window),
        urg: (tcp.urgent != 0 || tcp.flags & Flags::URG != 0).then_some(tcp.urgent),
        options: if blind {
            TcpOptions::Any
        } else {
            TcpOptions::List(tcp.options.iter().map(option).collect())
        },
    }
}

fn seen_option(option: &Opt) -> TcpOption {
    match option {
        Opt::Eol => TcpOption::Eol,
        Opt::Nop => TcpOption::Nop,
        Opt::Mss(mss) => TcpOption::Mss(*mss),
        Opt::Wscale(shift) => TcpOption::Wscale(*shift),
        Opt::SackOk => TcpOption::SackOk,
        Opt::Sack(blocks) => TcpOption::Sack(blocks.clone()),
        Opt::Ts { val, ecr } => TcpOption::Ts { val: *val, ecr: *ecr },
        Opt::Raw(bytes) => TcpOption::Raw(bytes.clone()),
        Opt::Other(19, data) => TcpOption::Md5(data.clone()),
        Opt::Other(34, data) => TcpOption::FastOpen(data.clone()),
        Opt::Other(254, data) if data.starts_with(&FASTOPEN_MAGIC) => {
            TcpOption::FastOpenExperimental(data[2..].to_vec())
        }
        Opt::Other(29, data) if data.len() >= 2 => {
            TcpOption::Ao { key_id: data[0], next: data[1], mac: data[2..].to_vec() }
        }
        Opt::Other(kind @ (172 | 174), data) if !data.is_empty() && data.len() % 3 == 0 => {
            let order = if *kind == 174 {
                [Counter::E1b, Counter::Ceb, Counter::E0b]
            } else {
                [Counter::E0b, Counter::Ceb, Counter::E1b]
            };
            let number = |d: &[u8]| u32::from_be_bytes([0, d[0], d[1], d[2]]);
            TcpOption::AccEcn(order.into_iter().zip(data.chunks(3).map(number)).collect())
        }
        Opt::Other(kind, data) => TcpOption::Kind(*kind, data.clone()),
    }
}

fn seen_icmp(message: &LiveIcmp, v6: bool, flow: Option<&Flow>, like: &Packet) -> Icmp {
    let like = match &like.body {
        Body::Icmp(like) => Some(like),
        _ => None,
    };
    let (kind, code) = icmp::names(v6, message.kind, message.code);
    // A code that the script gives as a number is shown as one, and one that it leaves out is 0.
    let same_code = like
        .is_some_and(|l| icmp::numbers(v6, &l.kind, l.code.as_deref()) == Ok((message.kind, message.code)));
    let mtu = if v6 {
        u32::from_be_bytes(message.rest)
    } else {
        u32::from(u16::from_be_bytes([message.rest[2], message.rest[3]]))
    };
    Icmp {
        kind: like.filter(|_| same_code).map_or(kind, |l| l.kind.clone()),
        code: like.filter(|_| same_code).map_or(code, |l| l.code.clone()),
        mtu: like.and_then(|l| l.mtu).map(|_| mtu),
        id: like.and_then(|l| l.id).map(|_| u16::from_be_bytes([message.rest[0], message.rest[1]])),
        quoted: like.and_then(|l| l.quoted).and_then(|asked| seen_quote(&message.payload, flow, asked)),
    }
}

/// What a message quotes, as far as the script asks.
fn seen_quote(payload: &[u8], flow: Option<&Flow>, asked: Quoted) -> Option<Quoted> {
    let v6 = payload.first()? >> 4 == 6;
    let (header, protocol, total) = if v6 {
        (40, *payload.get(6)?, 40 + usize::from(u16::from_be_bytes([*payload.get(4)?, *payload.get(5)?])))
    } else {
        let header = usize::from(payload.first()? & 15) * 4;
        (header, *payload.get(9)?, usize::from(u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?])))
    };
    let upper = payload.get(header..)?;
    let len = |fixed: usize| u16::try_from(total.saturating_sub(header + fixed)).unwrap_or(u16::MAX);
    match (asked, protocol) {
        (Quoted::Raw(_), _) => Some(Quoted::Raw(u16::try_from(payload.len() + 8).unwrap_or(u16::MAX))),
        (_, 17) => Some(Quoted::Udp(len(8))),
        (_, 6) => {
            let seq = u32::from_be_bytes(upper.get(4..8)?.try_into().ok()?);
            let start = flow.map_or(seq, |f| f.to_script(seq, false));
            Some(Quoted::Tcp(SeqRange { start, len: len(20) }))
        }
        _ => None,
    }
}
