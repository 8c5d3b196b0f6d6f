//! Signatures that the script leaves to be worked out: `md5` without a digest, `ao` without a MAC. Injected segments
//! get the right one, and what comes must have it; the keys are those that the script gave its sockets.

use std::net::IpAddr;

use finack_core::auth::{AoKey, KeyContext, Keys, MacPlace, Md5Key, Signable, md5_signature};
use finack_posix::options::auth::{read_ao, read_md5};
use finack_posix::{Call as Posix, abi};
use finack_sim::packet::{Body as LiveBody, Opt, Pkt, build, flag};

use super::flow::Flow;
use crate::ast::{Body, Packet, Tcp, TcpOption, TcpOptions};

/// Bytes of the fixed part of a TCP header.
const TCP_HEADER: usize = 20;

/// The keys of the script's sockets, all together.
#[derive(Debug, Default)]
pub(crate) struct Signatures {
    keys: Keys,
}

/// The options of a segment, where the script names them.
fn list(tcp: &Tcp) -> &[TcpOption] {
    match &tcp.options {
        TcpOptions::List(list) => list,
        TcpOptions::Any => &[],
    }
}

/// Whether a signature is left to be worked out.
fn is_open(option: &TcpOption) -> bool {
    matches!(option, TcpOption::Md5(mac) | TcpOption::Ao { mac, .. } if mac.is_empty())
}

/// The number of the turn of a sequence number, counted from its initial one (RFC 5925 6.2).
fn extension(isn: u32, seq: u32) -> u32 {
    ((i64::from(isn) + i64::from(seq.wrapping_sub(isn) as i32)) >> 32) as u32
}

impl Signatures {
    /// A call that sets a key, if it is one.
    pub(crate) fn of_call(call: &Posix) -> Option<(i64, Vec<u8>)> {
        match call {
            Posix::SetOption { level: abi::IPPROTO_TCP, name, value, .. } => {
                let keys = [abi::TCP_MD5SIG, abi::TCP_MD5SIG_EXT, abi::TCP_AO_ADD_KEY];
                keys.contains(name).then(|| (*name, value.clone()))
            }
            _ => None,
        }
    }

    /// Takes note of a key that was set. What was set for the same peer before gives way.
    pub(crate) fn note(&mut self, name: i64, value: &[u8]) {
        if name == abi::TCP_AO_ADD_KEY {
            let Ok((key, ..)) = read_ao(value) else { return };
            let clashes = |k: &&AoKey| {
                k.peers.overlaps(&key.peers) && (k.send_id == key.send_id || k.recv_id == key.recv_id)
            };
            let old: Vec<_> = self.keys.ao_keys().iter().filter(clashes).cloned().collect();
            for k in old {
                let _ = self.keys.remove_ao(&k.peers, k.send_id, k.recv_id);
            }
            let _ = self.keys.add_ao(key);
            return;
        }
        // A key that was taken away still signs what the script has signed.
        if let Ok((peers, Some(secret))) = read_md5(value, name == abi::TCP_MD5SIG_EXT) {
            let _ = self.keys.set_md5(Md5Key { peers, secret });
        }
    }

    /// The segment with room for the signatures that are to be worked out; `None` where there are none.
    ///
    /// # Errors
    /// No key is there to sign with.
    pub(crate) fn reserve(&self, tcp: &Tcp, peer: IpAddr) -> Result<Option<Tcp>, String> {
        if !list(tcp).iter().any(is_open) {
            return Ok(None);
        }
        let mut out = tcp.clone();
        let TcpOptions::List(options) = &mut out.options else { return Ok(None) };
        for option in options {
            match option {
                TcpOption::Md5(mac) if mac.is_empty() => *mac = vec![0; 16],
                TcpOption::Ao { key_id, mac, .. } if mac.is_empty() => {
                    let key = self.keys.ao_by_recv_id(peer, Some(*key_id));
                    let key = key.ok_or_else(|| format!("no key that was set has rcvid {key_id}"))?;
                    *mac = vec![0; key.mac_len.into()];
                }
                _ => {}
            }
        }
        Ok(Some(out))
    }

    /// Fills in what [`reserve`](Self::reserve) left room for; `bytes` is the packet so far.
    ///
    /// # Errors
    /// No key is there to sign with.
    pub(crate) fn fill(
        &self,
        asked: &Tcp,
        reserved: &mut Tcp,
        bytes: &[u8],
        flow: &Flow,
    ) -> Result<(), String> {
        let packet = finack_sim::packet::parse(bytes)?;
        let TcpOptions::List(options) = &mut reserved.options else { return Ok(()) };
        for (open, option) in list(asked).iter().zip(options) {
            match option {
                _ if !is_open(open) => {}
                TcpOption::Md5(mac) => {
                    let why = "no MD5 key was set for the peer";
                    *mac = self.md5(&packet, flow.remote.ip()).ok_or(why)?;
                }
                TcpOption::Ao { key_id, mac, .. } => {
                    let key = self.keys.ao_by_recv_id(flow.remote.ip(), Some(*key_id));
                    *mac =
                        key.and_then(|key| ao(key, &packet, flow, true)).ok_or("there is nothing to sign")?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Signatures of a packet that came are shown as the script has them, left to be worked out, where they are right.
    pub(crate) fn confirm(&self, live: &Pkt, flow: Option<&Flow>, like: &Packet, seen: &mut Packet) {
        let (Body::Tcp(like), Body::Tcp(tcp)) = (&like.body, &mut seen.body) else { return };
        let TcpOptions::List(options) = &mut tcp.options else { return };
        let open = |ao| list(like).iter().any(|o| is_open(o) && matches!(o, TcpOption::Ao { .. }) == ao);
        let peer = live.ip.dst;
        for option in options {
            match option {
                TcpOption::Md5(mac) if open(false) && self.md5(live, peer).as_ref() == Some(mac) => {
                    mac.clear()
                }
                TcpOption::Ao { key_id, mac, .. } if open(true) => {
                    let key = self.keys.ao_by_send_id(peer, Some(*key_id));
                    let right = key.zip(flow).and_then(|(key, flow)| ao(key, live, flow, false));
                    if right.as_ref() == Some(mac) {
                        mac.clear();
                    }
                }
                _ => {}
            }
        }
    }

    fn md5(&self, packet: &Pkt, peer: IpAddr) -> Option<Vec<u8>> {
        let key = self.keys.md5_for(peer)?;
        with_segment(packet, |segment| md5_signature(segment, key.secret.as_bytes()).to_vec())
    }
}

/// The TCP segment of a packet as it is signed.
fn with_segment<T>(packet: &Pkt, sign: impl FnOnce(&Signable<'_>) -> T) -> Option<T> {
    let LiveBody::Tcp(tcp) = &packet.body else { return None };
    let bytes = build(packet);
    let header = bytes.len().checked_sub(tcp.payload.len())?;
    let ip = if packet.ip.src.is_ipv6() { 40 } else { usize::from(bytes.first()? & 15) * 4 };
    let payload = [bytes.get(header..)?];
    let header = bytes.get(ip..header)?;
    Some(sign(&Signable { src: packet.ip.src, dst: packet.ip.dst, header, payload: &payload }))
}

/// The MAC of a packet; `injected` tells whether it is the test's side that signs.
fn ao(key: &AoKey, packet: &Pkt, flow: &Flow, injected: bool) -> Option<Vec<u8>> {
    let LiveBody::Tcp(tcp) = &packet.body else { return None };
    let opens = tcp.flags & (flag::SYN | flag::ACK) == flag::SYN;
    let stack_isn = if flow.is_known() { flow.to_live(0, false) } else { 0 };
    let (ours, theirs) = if injected { (flow.remote_isn, stack_isn) } else { (stack_isn, flow.remote_isn) };
    let syn = tcp.flags & flag::SYN != 0;
    let src_isn = if syn { tcp.seq } else { ours };
    let context = KeyContext {
        src: packet.ip.src,
        dst: packet.ip.dst,
        src_port: tcp.sport,
        dst_port: tcp.dport,
        src_isn,
        dst_isn: if opens { 0 } else { theirs },
    };
    let mut at = TCP_HEADER;
    for option in &tcp.options {
        match option {
            Opt::Other(29, data) => {
                at += 4;
                let place = MacPlace {
                    at: at..at + data.len().checked_sub(2)?,
                    exclude_options: key.exclude_options,
                };
                let traffic = key.algorithm.traffic_key(key.secret.as_bytes(), &context);
                let sne = if syn { 0 } else { extension(src_isn, tcp.seq) };
                let len = place.at.len();
                let mac = with_segment(packet, |segment| key.algorithm.mac(&traffic, sne, segment, &place))?;
                return (len == usize::from(key.mac_len)).then(|| mac[..len].to_vec());
            }
            other => at += length(other),
        }
    }
    None
}

/// Bytes of an option on the wire.
fn length(option: &Opt) -> usize {
    match option {
        Opt::Eol | Opt::Nop => 1,
        Opt::Mss(_) => 4,
        Opt::Wscale(_) => 3,
        Opt::SackOk => 2,
        Opt::Sack(blocks) => 2 + 8 * blocks.len(),
        Opt::Ts { .. } => 10,
        Opt::Raw(bytes) => bytes.len(),
        Opt::Other(_, data) => 2 + data.len(),
    }
}
