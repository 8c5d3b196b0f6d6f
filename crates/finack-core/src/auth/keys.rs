//! Keys as applications give them: whose segments they sign, and which of several is used.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::mac::Algorithm;

/// Bytes of the longest key, as on Linux; RFC 2385 4.5 asks for as many.
pub const MAX_KEY_LEN: usize = 80;

/// Most keys of each kind on one socket.
pub const MAX_KEYS: usize = 1024;

/// Bytes of a MAC where nothing else is said: 96 bits (RFC 5926 3.2).
pub const DEFAULT_MAC_LEN: u8 = 12;

/// The longest MAC that leaves room for the options of a SYN: timestamps, window scale, SACK permitted and MSS.
pub const MAX_MAC_LEN: u8 = 16;

/// A key's bytes, which are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// A key of 1 to 80 bytes, of any value: text or not.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.is_empty() || bytes.len() > MAX_KEY_LEN {
            Err(KeyError::Length)
        } else {
            Ok(Self(bytes.into()))
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Whose segments a key signs: one address, or all of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peers {
    addr: IpAddr,
    prefix_len: u8,
}

const fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn agree(a: IpAddr, b: IpAddr, prefix_len: u8) -> bool {
    let away = u32::from(bits(a).saturating_sub(prefix_len));
    let cut = |addr| number(addr).checked_shr(away).unwrap_or(0);
    a.is_ipv4() == b.is_ipv4() && (prefix_len == 0 || cut(a) == cut(b))
}

impl Peers {
    /// One address. An IPv4 address mapped into IPv6 is the IPv4 address.
    #[must_use]
    pub fn host(addr: IpAddr) -> Self {
        let addr = addr.to_canonical();
        Self { addr, prefix_len: bits(addr) }
    }

    /// All addresses that begin with the first `prefix_len` bits of `addr`; 0 means every address of its family.
    ///
    /// # Errors
    /// [`KeyError::Prefix`] where the address has not so many bits.
    pub fn network(addr: IpAddr, prefix_len: u8) -> Result<Self, KeyError> {
        let addr = addr.to_canonical();
        if prefix_len > bits(addr) { Err(KeyError::Prefix) } else { Ok(Self { addr, prefix_len }) }
    }

    /// The address that it was made from.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Bits that have to agree.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether the address is among them.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        agree(self.addr, addr, self.prefix_len)
    }

    /// Whether some address is among both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        agree(self.addr, other.addr, self.prefix_len.min(other.prefix_len))
    }
}

/// A key of MD5 signatures (RFC 2385).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Md5Key {
    /// Whose segments it signs.
    pub peers: Peers,
    /// The password.
    pub secret: Secret,
}

/// A master key tuple of TCP-AO (RFC 5925 3.1). Which ports it is for is left open: any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// Whose segments it signs.
    pub peers: Peers,
    /// SendID: the KeyID of what is sent with it. Any value.
    pub send_id: u8,
    /// RecvID: the KeyID of what is received with it. Any value.
    pub recv_id: u8,
    /// KDF and MAC.
    pub algorithm: Algorithm,
    /// Bytes of the MAC in the option: 1 to 16, and no more than the algorithm makes.
    pub mac_len: u8,
    /// The master key.
    pub secret: Secret,
    /// Options other than TCP-AO are left out of the MAC: for paths that change them (RFC 5925 9.1).
    pub exclude_options: bool,
}

impl AoKey {
    /// A key with the defaults of RFC 5926: HMAC-SHA-1-96 over all options.
    #[must_use]
    pub const fn new(peers: Peers, send_id: u8, recv_id: u8, secret: Secret) -> Self {
        let (algorithm, mac_len) = (Algorithm::HmacSha1, DEFAULT_MAC_LEN);
        Self { peers, send_id, recv_id, algorithm, mac_len, secret, exclude_options: false }
    }

    /// Bytes of the option with this key, padding included.
    #[must_use]
    pub const fn option_len(&self) -> u8 {
        (4 + self.mac_len).next_multiple_of(4)
    }
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// No key, or one of more than 80 bytes.
    Length,
    /// More bits than the address has.
    Prefix,
    /// A MAC that leaves no room for other options in a SYN.
    MacTooLong,
    /// A MAC of more bytes than the algorithm makes, or of none.
    MacLength,
    /// Another key for the same peers has the same SendID or RecvID (RFC 5925 3.1).
    Exists,
    /// The peers have a key of the other kind: a connection is signed in one way only (RFC 5925 2.2).
    OtherKind,
    /// There are as many keys as a socket may have.
    TooMany,
    /// There is no such key.
    NotFound,
    /// The key is in use and no other was named to take its place.
    InUse,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a key has 1 to 80 bytes",
            Self::Prefix => "the prefix is longer than the address",
            Self::MacTooLong => "the MAC leaves no room for other options: at most 16 bytes",
            Self::MacLength => "the algorithm makes no MAC of that length",
            Self::Exists => "another key for these peers has the same SendID or RecvID",
            Self::OtherKind => "these peers have a key of the other kind (MD5 or TCP-AO)",
            Self::TooMany => "the socket has as many keys as it may have",
            Self::NotFound => "there is no such key",
            Self::InUse => "the key is in use: name another as current and rnext key first",
        })
    }
}

impl core::error::Error for KeyError {}

/// The keys of a socket. A listener's are used for whoever they name; a connection has those that name its peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    md5: Vec<Md5Key>,
    ao: Vec<AoKey>,
    /// Segments without TCP-AO are dropped, whoever sent them.
    pub ao_required: bool,
    /// ICMP errors are believed on connections with TCP-AO too, against the default of RFC 5925 7.8.
    pub accept_icmp: bool,
    /// Current_key by its SendID: what is sent is signed with it. `None`: the key that was added last.
    pub current: Option<u8>,
    /// Rnext_key by its RecvID: what the peer is asked to sign with. `None`: the key that was added last.
    pub rnext: Option<u8>,
}

impl Keys {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to sign or to require.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.md5.is_empty() && self.ao.is_empty() && !self.ao_required
    }

    /// The MD5 keys.
    #[must_use]
    pub fn md5_keys(&self) -> &[Md5Key] {
        &self.md5
    }

    /// The master key tuples of TCP-AO, in the order in which they were added.
    #[must_use]
    pub fn ao_keys(&self) -> &[AoKey] {
        &self.ao
    }

    /// Sets the MD5 key of these peers, in place of the one that they had.
    ///
    /// # Errors
    /// `OtherKind`, `TooMany`.
    pub fn set_md5(&mut self, key: Md5Key) -> Result<(), KeyError> {
        if self.ao_required || self.ao.iter().any(|k| k.peers.overlaps(&key.peers)) {
            return Err(KeyError::OtherKind);
        }
        if let Some(old) = self.md5.iter_mut().find(|k| k.peers == key.peers) {
            *old = key;
            return Ok(());
        }
        if self.md5.len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        self.md5.push(key);
        Ok(())
    }

    /// Takes the MD5 key of exactly these peers away.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_md5(&mut self, peers: &Peers) -> Result<(), KeyError> {
        let at = self.md5.iter().position(|k| k.peers == *peers).ok_or(KeyError::NotFound)?;
        self.md5.remove(at);
        Ok(())
    }

    /// Adds a master key tuple.
    ///
    /// # Errors
    /// `Exists`, `OtherKind`, `MacTooLong`, `MacLength`, `TooMany`.
    pub fn add_ao(&mut self, key: AoKey) -> Result<(), KeyError> {
        if key.mac_len > MAX_MAC_LEN {
            return Err(KeyError::MacTooLong);
        }
        if key.mac_len == 0 || key.mac_len > key.algorithm.digest_len() {
            return Err(KeyError::MacLength);
        }
        if self.md5.iter().any(|k| k.peers.overlaps(&key.peers)) {
            return Err(KeyError::OtherKind);
        }
        let clashes = |k: &AoKey| k.send_id == key.send_id || k.recv_id == key.recv_id;
        if self.ao.iter().any(|k| k.peers.overlaps(&key.peers) && clashes(k)) {
            return Err(KeyError::Exists);
        }
        if self.ao.len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        self.ao.push(key);
        Ok(())
    }

    /// Takes the master key tuple of exactly these peers with both these identifiers away.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_ao(&mut self, peers: &Peers, send_id: u8, recv_id: u8) -> Result<(), KeyError> {
        let same = |k: &AoKey| k.peers == *peers && k.send_id == send_id && k.recv_id == recv_id;
        let at = self.ao.iter().position(same).ok_or(KeyError::NotFound)?;
        self.ao.remove(at);
        Ok(())
    }

    /// The MD5 key for a peer: of several the one that names it most exactly.
    #[must_use]
    pub fn md5_for(&self, peer: IpAddr) -> Option<&Md5Key> {
        self.md5.iter().filter(|k| k.peers.contains(peer)).max_by_key(|k| k.peers.prefix_len)
    }

    /// The key that signs what is sent to a peer, by its SendID; of any, the one added last.
    #[must_use]
    pub fn ao_by_send_id(&self, peer: IpAddr, id: Option<u8>) -> Option<&AoKey> {
        self.ao.iter().rev().find(|k| k.peers.contains(peer) && id.is_none_or(|id| k.send_id == id))
    }

    /// The key of what is received from a peer, by its RecvID; of any, the one added last.
    #[must_use]
    pub fn ao_by_recv_id(&self, peer: IpAddr, id: Option<u8>) -> Option<&AoKey> {
        self.ao.iter().rev().find(|k| k.peers.contains(peer) && id.is_none_or(|id| k.recv_id == id))
    }

    /// Those of them that name a peer: what a connection with it has.
    #[must_use]
    pub fn of_peer(&self, peer: IpAddr) -> Self {
        Self {
            md5: self.md5_for(peer).cloned().into_iter().collect(),
            ao: self.ao.iter().filter(|k| k.peers.contains(peer)).cloned().collect(),
            ..self.clone_policy()
        }
    }

    fn clone_policy(&self) -> Self {
        let (md5, ao) = (Vec::new(), Vec::new());
        let Self { ao_required, accept_icmp, current, rnext, .. } = *self;
        Self { md5, ao, ao_required, accept_icmp, current, rnext }
    }

    pub(crate) fn memory(&self) -> usize {
        let secrets =
            self.md5.iter().map(|k| k.secret.0.len()).chain(self.ao.iter().map(|k| k.secret.0.len()));
        secrets.sum::<usize>()
            + self.md5.capacity() * size_of::<Md5Key>()
            + self.ao.capacity() * size_of::<AoKey>()
    }
}
