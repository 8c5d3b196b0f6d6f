//! `TCP_MD5SIG` and `TCP_AO_*`: keys of signed segments (RFC 2385, RFC 5925) in Linux's structures, with its errors.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use finack_core::auth::{
    Algorithm, AoKey, AuthInfo, DEFAULT_MAC_LEN, KeyError, Keys, MAX_KEY_LEN, Md5Key, Peers, Secret,
};

use crate::stream::{Phase, Stream};
use crate::{Errno, Os, abi};

/// Bytes of `struct sockaddr_storage`, with which each of the structures begins.
const ADDRESS_LEN: usize = 128;
const MD5SIG_LEN: usize = 216;
const AO_ADD_LEN: usize = 288;
const AO_DEL_LEN: usize = 144;
const AO_INFO_LEN: usize = 48;
const AO_GET_LEN: usize = 304;
const ALGORITHM_LEN: usize = 64;

/// Bits of the fields `set_current`, `set_rnext` and so on.
const SET_CURRENT: u32 = 1;
const SET_RNEXT: u32 = 2;
const DEL_ASYNC: u32 = 4;
const INFO_REQUIRED: u32 = 4;
const INFO_COUNTERS: u32 = 8;
const INFO_ACCEPT_ICMP: u32 = 16;

impl From<KeyError> for Errno {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::MacTooLong => Self::EMSGSIZE,
            KeyError::Exists => Self::EEXIST,
            KeyError::OtherKind => Self::EKEYREJECTED,
            KeyError::TooMany => Self::ENOMEM,
            KeyError::NotFound => Self::ENOENT,
            KeyError::InUse => Self::EBUSY,
            _ => Self::EINVAL,
        }
    }
}

/// Whether an option of level TCP is one of these.
pub(super) const fn is_about_keys(name: i64) -> bool {
    matches!(
        name,
        abi::TCP_MD5SIG
            | abi::TCP_MD5SIG_EXT
            | abi::TCP_AO_ADD_KEY
            | abi::TCP_AO_DEL_KEY
            | abi::TCP_AO_INFO
            | abi::TCP_AO_GET_KEYS
    )
}

fn byte(value: &[u8], at: usize) -> u8 {
    value.get(at).copied().unwrap_or(0)
}

fn half(value: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([byte(value, at), byte(value, at + 1)])
}

fn word(value: &[u8], at: usize) -> u32 {
    u32::from(half(value, at)) | u32::from(half(value, at + 2)) << 16
}

/// The structure, where all of it is there; what is behind it must be zero, for it means something unknown.
fn whole(value: &[u8], len: usize) -> Result<&[u8], Errno> {
    let (known, rest) = value.split_at_checked(len).ok_or(Errno::EINVAL)?;
    if rest.iter().any(|b| *b != 0) { Err(Errno::E2BIG) } else { Ok(known) }
}

/// The address and port of a `struct sockaddr_in` or `sockaddr_in6`.
fn address(value: &[u8]) -> Result<SocketAddr, Errno> {
    let port = half(value, 2).swap_bytes();
    match i64::from(half(value, 0)) {
        abi::AF_INET => {
            let ip: [u8; 4] = value.get(4..8).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
            Ok(SocketAddr::new(Ipv4Addr::from(ip).into(), port))
        }
        abi::AF_INET6 => {
            let ip: [u8; 16] = value.get(8..24).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
            Ok(SocketAddr::new(Ipv6Addr::from(ip).into(), port))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// A `struct sockaddr_storage` with that address.
#[must_use]
pub fn storage(addr: IpAddr) -> Vec<u8> {
    let mut out = match addr {
        IpAddr::V4(ip) => [&[2, 0, 0, 0][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[10, 0, 0, 0, 0, 0, 0, 0][..], &ip.octets()].concat(),
    };
    out.resize(ADDRESS_LEN, 0);
    out
}

/// `struct tcp_md5sig`: whose key it is, and the key; none takes the one away that is there.
///
/// # Errors
/// `EINVAL` for what makes no sense, as on Linux. `ext` is for `TCP_MD5SIG_EXT`, which knows prefixes.
pub fn read_md5(value: &[u8], ext: bool) -> Result<(Peers, Option<Secret>), Errno> {
    let value = value.get(..MD5SIG_LEN).ok_or(Errno::EINVAL)?;
    let peer = address(value)?.ip();
    let flags = byte(value, ADDRESS_LEN);
    let peers = if ext && flags & abi::TCP_MD5SIG_FLAG_PREFIX as u8 != 0 {
        Peers::network(peer, byte(value, ADDRESS_LEN + 1))?
    } else {
        Peers::host(peer)
    };
    // There is one interface, and it belongs to no other routing domain.
    if ext && flags & abi::TCP_MD5SIG_FLAG_IFINDEX as u8 != 0 && word(value, ADDRESS_LEN + 4) != 0 {
        return Err(Errno::EINVAL);
    }
    let len = usize::from(half(value, ADDRESS_LEN + 2));
    if len > MAX_KEY_LEN {
        return Err(Errno::EINVAL);
    }
    let from = ADDRESS_LEN + 8;
    let key = value.get(from..from + len).filter(|k| !k.is_empty());
    Ok((peers, key.map(Secret::new).transpose()?))
}

/// `struct tcp_ao_add`: the key, and whether it becomes the current and the rnext key.
///
/// # Errors
/// Those of Linux: `EINVAL`, `E2BIG`, `ENOENT` for an unknown algorithm.
pub fn read_ao(value: &[u8]) -> Result<(AoKey, bool, bool), Errno> {
    let value = whole(value, AO_ADD_LEN)?;
    let (flags, keyflags) = (word(value, 196), byte(value, 206));
    let len = usize::from(byte(value, 207));
    if len > MAX_KEY_LEN || flags & !(SET_CURRENT | SET_RNEXT) != 0 || half(value, 200) != 0 {
        return Err(Errno::EINVAL);
    }
    let peers = ao_peers(value, byte(value, 202))?;
    let known = abi::TCP_AO_KEYF_IFINDEX | abi::TCP_AO_KEYF_EXCLUDE_OPT;
    if i64::from(keyflags) & !known != 0 || word(value, 192) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = value.get(ADDRESS_LEN..ADDRESS_LEN + ALGORITHM_LEN - 1).unwrap_or(&[]);
    let name = name.split(|b| *b == 0).next().unwrap_or(&[]);
    let algorithm = core::str::from_utf8(name).ok().and_then(Algorithm::named).ok_or(Errno::ENOENT)?;
    let mac_len = match byte(value, 205) {
        0 => DEFAULT_MAC_LEN,
        len => len,
    };
    let secret = Secret::new(value.get(208..208 + len).unwrap_or(&[]))?;
    let exclude_options = i64::from(keyflags) & abi::TCP_AO_KEYF_EXCLUDE_OPT != 0;
    let (send_id, recv_id) = (byte(value, 203), byte(value, 204));
    let key = AoKey { peers, send_id, recv_id, algorithm, mac_len, secret, exclude_options };
    Ok((key, flags & SET_CURRENT != 0, flags & SET_RNEXT != 0))
}

/// Whose segments a key of TCP-AO signs: 0 bits go with the address 0, and the rest of the address is zero.
fn ao_peers(value: &[u8], prefix: u8) -> Result<Peers, Errno> {
    let peer = address(value)?;
    let peers = Peers::network(peer.ip(), prefix)?;
    let ip = peers.addr();
    let behind = match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()).checked_shl(96 + u32::from(prefix)),
        IpAddr::V6(ip) => ip.to_bits().checked_shl(prefix.into()),
    };
    let any = ip.is_unspecified();
    if peer.port() != 0 || behind.unwrap_or(0) != 0 || any != (prefix == 0) {
        return Err(Errno::EINVAL);
    }
    Ok(peers)
}

impl Stream {
    /// Sets an option about keys; false where it is another.
    pub(super) fn set_auth_option(
        &mut self,
        os: &mut Os<'_>,
        name: i64,
        value: &[u8],
    ) -> Result<bool, Errno> {
        let mut keys = self.keys(os)?;
        match name {
            abi::TCP_MD5SIG | abi::TCP_MD5SIG_EXT => {
                self.check_family(value)?;
                match read_md5(value, name == abi::TCP_MD5SIG_EXT)? {
                    (peers, Some(secret)) => keys.set_md5(Md5Key { peers, secret })?,
                    (peers, None) => keys.remove_md5(&peers)?,
                }
            }
            abi::TCP_AO_ADD_KEY => {
                self.may_touch_ao(&keys)?;
                self.check_family(value)?;
                let (key, current, rnext) = read_ao(value)?;
                self.may_choose(current || rnext)?;
                if self.peer(os)?.is_some_and(|peer| !key.peers.contains(peer.ip().to_canonical())) {
                    return Err(Errno::EINVAL);
                }
                keys.current = if current { Some(key.send_id) } else { keys.current };
                keys.rnext = if rnext { Some(key.recv_id) } else { keys.rnext };
                keys.add_ao(key)?;
            }
            abi::TCP_AO_DEL_KEY => self.delete_ao(&mut keys, value)?,
            abi::TCP_AO_INFO => self.set_ao_info(&mut keys, value)?,
            _ => return Ok(false),
        }
        self.keys = keys;
        self.push_keys(os)?;
        Ok(true)
    }

    /// The keys in force.
    fn keys(&self, os: &Os<'_>) -> Result<Keys, Errno> {
        let Some(conn) = self.conn() else { return Ok(self.keys.clone()) };
        let mut keys = os.stack.tcp_keys(conn)?;
        let info = os.stack.tcp_auth_info(conn)?;
        (keys.current, keys.rnext) = (info.current, info.rnext);
        Ok(keys)
    }

    /// Hands the keys to what is there to have them.
    pub(crate) fn push_keys(&self, os: &mut Os<'_>) -> Result<(), Errno> {
        match self.phase {
            Phase::Listening(listener) => os.stack.tcp_set_listener_keys(listener, &self.keys)?,
            Phase::Connecting(conn) | Phase::Connected(conn) => {
                os.stack.tcp_set_keys(os.now, conn, &self.keys)?;
            }
            Phase::Fresh | Phase::Bound(_) => {}
        }
        Ok(())
    }

    /// The address is of the socket's own family; an IPv6 socket takes mapped ones.
    fn check_family(&self, value: &[u8]) -> Result<(), Errno> {
        let family = if self.v6 { abi::AF_INET6 } else { abi::AF_INET };
        if i64::from(half(value, 0)) == family { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// TCP-AO begins with the SYN or not at all.
    fn may_touch_ao(&self, keys: &Keys) -> Result<(), Errno> {
        if self.conn().is_some() && keys.ao_keys().is_empty() { Err(Errno::EISCONN) } else { Ok(()) }
    }

    /// A listener has no key in use: each of its connections has one.
    fn may_choose(&self, chooses: bool) -> Result<(), Errno> {
        if chooses && matches!(self.phase, Phase::Listening(_)) { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn delete_ao(&self, keys: &mut Keys, value: &[u8]) -> Result<(), Errno> {
        self.may_touch_ao(keys)?;
        let value = whole(value, AO_DEL_LEN)?;
        let flags = word(value, 132);
        let listens = matches!(self.phase, Phase::Listening(_));
        if flags & !(SET_CURRENT | SET_RNEXT | DEL_ASYNC) != 0 || half(value, 136) != 0 {
            return Err(Errno::EINVAL);
        }
        self.may_choose(flags & (SET_CURRENT | SET_RNEXT) != 0)?;
        if flags & DEL_ASYNC != 0 && !listens {
            return Err(Errno::EINVAL);
        }
        if keys.ao_keys().is_empty() {
            return Err(Errno::ENOENT);
        }
        let peers = ao_peers(value, byte(value, 138))?;
        let (send_id, recv_id) = (byte(value, 139), byte(value, 140));
        choose(keys, flags, byte(value, 141), byte(value, 142))?;
        let in_use = self.conn().is_some() && (keys.current == Some(send_id) || keys.rnext == Some(recv_id));
        keys.remove_ao(&peers, send_id, recv_id)?;
        if in_use {
            return Err(KeyError::InUse.into());
        }
        // Where there is no connection yet, what was chosen may go; the next key takes its place.
        if self.conn().is_none() {
            keys.current = keys.current.filter(|id| *id != send_id);
            keys.rnext = keys.rnext.filter(|id| *id != recv_id);
        }
        Ok(())
    }

    fn set_ao_info(&self, keys: &mut Keys, value: &[u8]) -> Result<(), Errno> {
        self.may_touch_ao(keys)?;
        let value = whole(value, AO_INFO_LEN)?;
        let flags = word(value, 0);
        let known = SET_CURRENT | SET_RNEXT | INFO_REQUIRED | INFO_COUNTERS | INFO_ACCEPT_ICMP;
        self.may_choose(flags & (SET_CURRENT | SET_RNEXT) != 0)?;
        // The engine counts by itself.
        if flags & !known != 0 || flags & INFO_COUNTERS != 0 || half(value, 4) != 0 {
            return Err(Errno::EINVAL);
        }
        if flags & INFO_REQUIRED != 0 && !keys.md5_keys().is_empty() {
            return Err(Errno::EKEYREJECTED);
        }
        choose(keys, flags, byte(value, 6), byte(value, 7))?;
        keys.ao_required = flags & INFO_REQUIRED != 0;
        keys.accept_icmp = flags & INFO_ACCEPT_ICMP != 0;
        Ok(())
    }

    /// The value of an option about keys; `None` where it is another or can't be read.
    pub(super) fn auth_option(&self, os: &Os<'_>, name: i64, room: usize) -> Result<Option<Vec<u8>>, Errno> {
        if !matches!(name, abi::TCP_AO_INFO | abi::TCP_AO_GET_KEYS) {
            return Ok(None);
        }
        let keys = self.keys(os)?;
        let info = match self.conn() {
            Some(conn) => os.stack.tcp_auth_info(conn)?,
            None => AuthInfo { current: keys.current, rnext: keys.rnext, ..AuthInfo::default() },
        };
        if keys.ao_keys().is_empty() && !keys.ao_required {
            return Err(Errno::ENOENT);
        }
        if name == abi::TCP_AO_INFO {
            return Ok(Some(ao_info(&keys, &info)));
        }
        // As with `get_all`: as many whole structures as there is room for, each with the number of all keys.
        let shown = keys.ao_keys().iter().rev().take(room / AO_GET_LEN);
        Ok(Some(shown.flat_map(|key| ao_key(key, keys.ao_keys().len(), &info)).collect()))
    }
}

/// `set_current` and `set_rnext`: of keys that are there.
fn choose(keys: &mut Keys, flags: u32, current: u8, rnext: u8) -> Result<(), Errno> {
    if flags & SET_CURRENT != 0 {
        keys.current =
            Some(keys.ao_keys().iter().find(|k| k.send_id == current).ok_or(Errno::ENOENT)?.send_id);
    }
    if flags & SET_RNEXT != 0 {
        keys.rnext = Some(keys.ao_keys().iter().find(|k| k.recv_id == rnext).ok_or(Errno::ENOENT)?.recv_id);
    }
    Ok(())
}

/// `struct tcp_ao_info_opt`.
fn ao_info(keys: &Keys, info: &AuthInfo) -> Vec<u8> {
    let bit = |on: bool, bit| if on { bit } else { 0 };
    let flags = bit(info.current.is_some(), SET_CURRENT)
        | bit(info.rnext.is_some(), SET_RNEXT)
        | bit(keys.ao_required, INFO_REQUIRED)
        | bit(keys.accept_icmp, INFO_ACCEPT_ICMP);
    let mut out = flags.to_le_bytes().to_vec();
    out.extend([0, 0, info.current.unwrap_or(0), info.rnext.unwrap_or(0)]);
    for count in [info.good, info.bad, info.key_not_found, info.missing, info.icmp_ignored] {
        out.extend(count.to_le_bytes());
    }
    out
}

/// `struct tcp_ao_getsockopt`.
fn ao_key(key: &AoKey, count: usize, info: &AuthInfo) -> Vec<u8> {
    let mut out = storage(key.peers.addr());
    out.extend(key.algorithm.linux_name().as_bytes());
    out.resize(ADDRESS_LEN + ALGORITHM_LEN, 0);
    let secret = key.secret.as_bytes();
    out.extend(secret);
    out.resize(ADDRESS_LEN + ALGORITHM_LEN + MAX_KEY_LEN, 0);
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    let current = u16::from(info.current == Some(key.send_id));
    let rnext = u16::from(info.rnext == Some(key.recv_id));
    out.extend((current | rnext << 1).to_le_bytes());
    let flags = if key.exclude_options { abi::TCP_AO_KEYF_EXCLUDE_OPT as u8 } else { 0 };
    out.extend([key.send_id, key.recv_id, key.peers.prefix_len(), key.mac_len, flags, secret.len() as u8]);
    // The interface, and counts of a key of its own, which nobody keeps here.
    out.resize(AO_GET_LEN, 0);
    out
}
