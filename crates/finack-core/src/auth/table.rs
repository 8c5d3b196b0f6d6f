//! Keys and signing state by who uses them, and how one segment is signed or checked.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::net::IpAddr;

use finack_wire::tcp::{Flags, HEADER_LEN};
use finack_wire::tcp_options::{AuthOption, EMITTED_MAC_OFFSET, TcpOptions};

use super::keys::{AoKey, Keys, Secret};
use super::mac::{Algorithm, KeyContext, MacPlace, Signable, TrafficKey, md5_signature, same};
use crate::demux::Slot;
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::Connection;
use crate::tcp::{State, Tuple};
use crate::trace::DropReason;

/// Bytes of an MD5 option with its padding.
const MD5_OPTION_LEN: u8 = 20;

/// Both initial sequence numbers; the peer's is unknown until its SYN came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isns {
    pub(crate) ours: u32,
    pub(crate) theirs: Option<u32>,
}

/// How an opening is signed: decided by its SYN (RFC 5925 7.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    #[default]
    Unsigned,
    Md5,
    /// SendID of the key that the peer asked for, RecvID of the key that it used.
    Ao {
        send_id: u8,
        recv_id: u8,
    },
}

impl Tag {
    pub(crate) fn is_signed(self) -> bool {
        self != Self::Unsigned
    }
}

/// How a connection is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Md5,
    Ao,
}

/// What TCP-AO did on a connection so far (RFC 5925 7.1, 7.3), with the keys in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthInfo {
    /// Current_key, by its SendID: what is sent is signed with it. `None` without TCP-AO.
    pub current: Option<u8>,
    /// Rnext_key, by its RecvID: what the peer is asked to use.
    pub rnext: Option<u8>,
    /// KeyID of the segment that was received last.
    pub last_key_id: Option<u8>,
    /// Its RNextKeyID.
    pub last_rnext_key_id: Option<u8>,
    /// Segments whose MAC was right.
    pub good: u64,
    /// Segments whose MAC was wrong.
    pub bad: u64,
    /// Segments with a KeyID that no key has.
    pub key_not_found: u64,
    /// Segments without the option.
    pub missing: u64,
    /// ICMP errors that were ignored.
    pub icmp_ignored: u64,
}

/// Where a connection in TIME-WAIT stood: positions behind all that was sent and received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) snd_nxt: Pos,
    pub(crate) rcv_nxt: Pos,
}

/// The signing state of a connection, or of its TIME-WAIT.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) keys: Keys,
    pub(crate) scheme: Scheme,
    /// SendID of Current_key, RecvID of Rnext_key.
    pub(crate) current: u8,
    pub(crate) rnext: u8,
    pub(crate) info: AuthInfo,
    /// ISNs of a connection in TIME-WAIT, which has no block of its own any more.
    pub(crate) isns: Isns,
    pub(crate) ended: Option<Ended>,
    /// Traffic keys of segments without SYN, by SendID: to send, to receive.
    traffic: BTreeMap<u8, (TrafficKey, TrafficKey)>,
}

impl Signed {
    /// The state of a new connection; `None` where no key names the peer.
    pub(crate) fn new(keys: Keys, peer: IpAddr, isns: Isns) -> Option<Self> {
        let send = keys.ao_by_send_id(peer, keys.current).or_else(|| keys.ao_by_send_id(peer, None));
        let recv = keys.ao_by_recv_id(peer, keys.rnext).or_else(|| keys.ao_by_recv_id(peer, None));
        let scheme = match (send, keys.md5_for(peer)) {
            (Some(_), _) => Scheme::Ao,
            (None, Some(_)) => Scheme::Md5,
            (None, None) => return None,
        };
        let (current, rnext) = (send.map_or(0, |k| k.send_id), recv.map_or(0, |k| k.recv_id));
        let (info, traffic) = (AuthInfo::default(), BTreeMap::new());
        Some(Self { keys, scheme, current, rnext, info, isns, ended: None, traffic })
    }

    /// Bytes of options in each segment.
    pub(crate) fn option_len(&self, peer: IpAddr) -> u8 {
        match self.scheme {
            Scheme::Md5 => MD5_OPTION_LEN,
            Scheme::Ao => self.keys.ao_by_send_id(peer, Some(self.current)).map_or(0, AoKey::option_len),
        }
    }

    /// Other keys from now on: what was derived from the old ones is forgotten.
    pub(crate) fn replace_keys(&mut self, keys: Keys) {
        self.keys = keys;
        self.traffic.clear();
    }

    /// The traffic keys of `key` for segments without SYN (RFC 5925 3.2), made once.
    fn traffic(&mut self, key: &AoKey, tuple: &Tuple, isns: Isns) -> Option<(TrafficKey, TrafficKey)> {
        let theirs = isns.theirs?;
        if let Some(pair) = self.traffic.get(&key.send_id) {
            return Some(*pair);
        }
        let derive = |context: KeyContext| key.algorithm.traffic_key(key.secret.as_bytes(), &context);
        let pair = (derive(sending(tuple, isns.ours, theirs)), derive(receiving(tuple, theirs, isns.ours)));
        self.traffic.insert(key.send_id, pair);
        Some(pair)
    }

    /// Who signs a segment of this connection; `None` where no key is left or the peer's ISN is not known.
    pub(crate) fn signer(&mut self, tuple: &Tuple, isns: Isns, flags: Flags, sne: u32) -> Option<Signer> {
        if self.scheme == Scheme::Md5 {
            return self.keys.md5_for(tuple.remote).map(|k| Signer::Md5(k.secret.clone()));
        }
        let key = self.keys.ao_by_send_id(tuple.remote, Some(self.current))?.clone();
        let traffic = if flags.syn() && !flags.ack() {
            key.algorithm.traffic_key(key.secret.as_bytes(), &sending(tuple, isns.ours, 0))
        } else {
            self.traffic(&key, tuple, isns)?.0
        };
        Some(Signer::ao(&key, traffic, self.rnext, sne))
    }

    /// Checks the MAC of a received segment. `settled`: the peer's ISN is the connection's, not the segment's claim.
    pub(crate) fn verify(
        &mut self,
        tuple: &Tuple,
        isns: Isns,
        settled: bool,
        received: &Received<'_>,
    ) -> Result<(), DropReason> {
        let Some(option) = received.options.ao else { return Err(DropReason::AoMissing) };
        let found = self.keys.ao_by_recv_id(tuple.remote, Some(option.key_id)).cloned();
        let Some(key) = found else {
            self.info.key_not_found += 1;
            return Err(DropReason::AoUnknownKey);
        };
        let cached = if settled && !received.flags.syn() {
            self.traffic(&key, tuple, isns).map(|pair| pair.1)
        } else {
            None
        };
        let result = verify_ao(&key, cached, tuple, isns, received);
        match result {
            Ok(()) => {
                self.info.good += 1;
                self.info.last_key_id = Some(option.key_id);
                self.info.last_rnext_key_id = Some(option.rnext_key_id);
                // RFC 5925 7.5 step 2.e: the peer is ready for another key, if we have it.
                if self.keys.ao_by_send_id(tuple.remote, Some(option.rnext_key_id)).is_some() {
                    self.current = option.rnext_key_id;
                }
            }
            Err(_) => self.info.bad += 1,
        }
        result
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + self.keys.memory()
            + self.traffic.len() * size_of::<(u8, (TrafficKey, TrafficKey))>() * 2
    }
}

/// The context of what we send.
fn sending(tuple: &Tuple, ours: u32, theirs: u32) -> KeyContext {
    KeyContext {
        src: tuple.local,
        dst: tuple.remote,
        src_port: tuple.local_port,
        dst_port: tuple.remote_port,
        src_isn: ours,
        dst_isn: theirs,
    }
}

/// The context of what we receive.
fn receiving(tuple: &Tuple, theirs: u32, ours: u32) -> KeyContext {
    KeyContext {
        src: tuple.remote,
        dst: tuple.local,
        src_port: tuple.remote_port,
        dst_port: tuple.local_port,
        src_isn: theirs,
        dst_isn: ours,
    }
}

/// A received segment as it is checked.
pub(crate) struct Received<'a> {
    pub(crate) flags: Flags,
    pub(crate) options: &'a TcpOptions,
    /// The TCP header, options and all.
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Extension of its sequence number.
    pub(crate) sne: u32,
}

impl Received<'_> {
    fn signable<'b>(&'b self, tuple: &Tuple, payload: &'b [&'b [u8]]) -> Signable<'b> {
        Signable { src: tuple.remote, dst: tuple.local, header: self.header, payload }
    }
}

/// RFC 2385 2.0: the digest is computed again and compared.
pub(crate) fn verify_md5(secret: &Secret, tuple: &Tuple, received: &Received<'_>) -> Result<(), DropReason> {
    let Some(digest) = received.options.md5 else { return Err(DropReason::Md5Missing) };
    let payload = [received.payload];
    let right = md5_signature(&received.signable(tuple, &payload), secret.as_bytes());
    if same(&right, &digest) { Ok(()) } else { Err(DropReason::Md5Wrong) }
}

/// RFC 5925 7.5 step 2, a to d. `cached` is the traffic key, where it is known already.
pub(crate) fn verify_ao(
    key: &AoKey,
    cached: Option<TrafficKey>,
    tuple: &Tuple,
    isns: Isns,
    received: &Received<'_>,
) -> Result<(), DropReason> {
    let Some(option) = received.options.ao else { return Err(DropReason::AoMissing) };
    // The length first: it costs nothing.
    if option.mac_len != key.mac_len {
        return Err(DropReason::AoWrong);
    }
    let start = HEADER_LEN + usize::from(option.mac_offset);
    let at = start..start + usize::from(option.mac_len);
    let Some(mac) = received.header.get(at.clone()) else { return Err(DropReason::AoWrong) };
    let syn = received.flags.syn() && !received.flags.ack();
    let Some(theirs) = isns.theirs else { return Err(DropReason::AoWrong) };
    let context = receiving(tuple, theirs, if syn { 0 } else { isns.ours });
    let traffic = cached.unwrap_or_else(|| key.algorithm.traffic_key(key.secret.as_bytes(), &context));
    let payload = [received.payload];
    let place = MacPlace { at, exclude_options: key.exclude_options };
    let right = key.algorithm.mac(&traffic, received.sne, &received.signable(tuple, &payload), &place);
    let right = right.get(..mac.len()).unwrap_or(&[]);
    if same(right, mac) { Ok(()) } else { Err(DropReason::AoWrong) }
}

/// Signs one segment.
#[derive(Clone, Debug)]
pub(crate) enum Signer {
    Md5(Secret),
    Ao(Box<AoSigner>),
}

/// See [`Signer`].
#[derive(Clone, Debug)]
pub(crate) struct AoSigner {
    algorithm: Algorithm,
    traffic: TrafficKey,
    option: AuthOption,
    exclude_options: bool,
    sne: u32,
}

impl Signer {
    /// Signs with a traffic key of `key`.
    pub(crate) fn ao(key: &AoKey, traffic: TrafficKey, rnext: u8, sne: u32) -> Self {
        let option = AuthOption {
            key_id: key.send_id,
            rnext_key_id: rnext,
            mac_offset: EMITTED_MAC_OFFSET as u8,
            mac_len: key.mac_len,
        };
        let (algorithm, exclude_options) = (key.algorithm, key.exclude_options);
        Self::Ao(Box::new(AoSigner { algorithm, traffic, option, exclude_options, sne }))
    }

    /// Signs for an embryo: its traffic keys are made when they are needed, two or three times in its life.
    pub(crate) fn of_opening(key: &AoKey, tuple: &Tuple, ours: u32, theirs: u32, rnext: u8) -> Self {
        let traffic = key.algorithm.traffic_key(key.secret.as_bytes(), &sending(tuple, ours, theirs));
        Self::ao(key, traffic, rnext, 0)
    }

    /// Makes room for the option.
    pub(crate) fn reserve(&self, options: &mut TcpOptions) {
        match self {
            Self::Md5(_) => options.md5 = Some([0; 16]),
            Self::Ao(ao) => options.ao = Some(ao.option),
        }
    }

    /// Writes the signature into a header that is ready but for its checksum, which is 0.
    pub(crate) fn sign(&self, tuple: &Tuple, header: &mut [u8], payload: &[&[u8]]) {
        let start = HEADER_LEN + EMITTED_MAC_OFFSET;
        let signable = Signable { src: tuple.local, dst: tuple.remote, header, payload };
        let (mac, len) = match self {
            Self::Md5(secret) => {
                let mut out = [0; 32];
                out[..16].copy_from_slice(&md5_signature(&signable, secret.as_bytes()));
                (out, 16)
            }
            Self::Ao(ao) => {
                let len = usize::from(ao.option.mac_len);
                let place = MacPlace { at: start..start + len, exclude_options: ao.exclude_options };
                (ao.algorithm.mac(&ao.traffic, ao.sne, &signable, &place), len)
            }
        };
        if let (Some(to), Some(from)) = (header.get_mut(start..start + len), mac.get(..len)) {
            to.copy_from_slice(from);
        }
    }
}

/// The sequence number extension of a position: the upper half of the 64-bit number (RFC 5925 6.2).
pub(crate) const fn extension(isn: u32, pos: Pos) -> u32 {
    ((isn as i64).wrapping_add(pos) >> 32) as u32
}

/// The keys of all sockets of a stack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Auth {
    pub(crate) listeners: BTreeMap<u32, Arc<Keys>>,
    pub(crate) connections: BTreeMap<u32, Box<Signed>>,
    pub(crate) waits: BTreeMap<Slot, Box<Signed>>,
}

impl Auth {
    /// Nobody has keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.connections.is_empty() && self.waits.is_empty()
    }

    /// Who signs a segment of a connection that begins at `pos`; `None` where it is not signed.
    pub(crate) fn signer(&mut self, index: u32, c: &Connection, flags: Flags, pos: Pos) -> Option<Signer> {
        if c.auth_len == 0 {
            return None;
        }
        let sne = if flags.syn() { 0 } else { extension(c.iss, pos) };
        self.connections.get_mut(&index)?.signer(&c.tuple, isns_of(c), flags, sne)
    }

    pub(crate) fn forget_connection(&mut self, index: u32) {
        self.connections.remove(&index);
    }

    pub(crate) fn forget_listener(&mut self, index: u32) {
        self.listeners.remove(&index);
    }

    pub(crate) fn forget_time_wait(&mut self, slot: Slot) {
        self.waits.remove(&slot);
    }

    /// Takes the state of a connection that becomes a TIME-WAIT.
    pub(crate) fn retire(&mut self, index: u32, c: &Connection) -> Option<Box<Signed>> {
        let mut signed = self.connections.remove(&index)?;
        signed.isns = isns_of(c);
        signed.ended = Some(Ended { snd_nxt: c.snd_nxt, rcv_nxt: c.rcv_nxt() });
        Some(signed)
    }

    pub(crate) fn add_time_wait(&mut self, slot: Slot, signed: Option<Box<Signed>>) {
        if let Some(signed) = signed {
            self.waits.insert(slot, signed);
        }
    }

    pub(crate) fn memory(&self) -> usize {
        let listeners = self.listeners.values().map(|k| k.memory() + size_of::<Keys>());
        let states = self.connections.values().chain(self.waits.values()).map(|s| s.memory());
        listeners.chain(states).sum()
    }
}

/// Both ISNs of a connection; before the peer's SYN came, its is not known.
pub(crate) fn isns_of(c: &Connection) -> Isns {
    Isns { ours: c.iss, theirs: (c.state != State::SynSent).then_some(c.irs) }
}

/// The extension of a received sequence number, which lies near `near`.
pub(crate) const fn received_extension(irs: u32, near: Pos, seq: u32) -> u32 {
    extension(irs, seq::expand(irs, near, seq))
}
