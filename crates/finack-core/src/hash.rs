//! Keyed hashes and the secrets behind them.
//!
//! Everything that a peer could steer or guess (hash tables, ports, ISNs, identifications) goes through
//! SipHash with a key of its own, and all keys are derived from the one seed of
//! [`Config`](crate::Config): equal seeds give equal bytes, and no key says anything about another.

use core::hash::Hasher;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use siphasher::sip::{SipHasher13, SipHasher24};
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher24x128};

use crate::tcp::Tuple;

#[cfg(test)]
mod tests;

/// A key of 128 bits for one purpose.
#[derive(Clone, Copy)]
pub(crate) struct Key([u8; 16]);

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key for the purpose named `label`: a pseudo-random function of both halves of `seed`.
    pub(crate) fn derive(seed: &[u8; 32], label: &str) -> Self {
        let half = |from: usize| {
            let mut key = [0; 16];
            key.copy_from_slice(&seed[from..from + 16]);
            let mut h = SipHasher24x128::new_with_key(&key);
            // Which half it is goes in too: a seed of two equal halves is a weak seed, not a zero key.
            h.write_u64(from as u64);
            h.write(label.as_bytes());
            h.finish128().as_u128()
        };
        Self((half(0) ^ half(16)).to_le_bytes())
    }

    /// A key that was given.
    pub(crate) const fn given(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// SipHash-2-4 of plain bytes: where others must come to the same result.
    pub(crate) fn of_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish()
    }

    /// SipHash-1-3: for tables, where an attacker sees collisions at most.
    pub(crate) fn table(&self) -> Digest<SipHasher13> {
        Digest(SipHasher13::new_with_key(&self.0))
    }

    /// SipHash-2-4: for what goes out on the wire (ISNs, cookies, timestamp offsets, identifications).
    pub(crate) fn wire(&self) -> Digest<SipHasher24> {
        Digest(SipHasher24::new_with_key(&self.0))
    }

    /// A table hash of both ends of a connection.
    #[inline]
    pub(crate) fn four_tuple(&self, tuple: &Tuple) -> u64 {
        self.ends::<1, 3>(tuple)
    }

    /// A hash for the wire of both ends. Each half of it is as good as a hash of its own: SipHash is a pseudo-random function,
    /// of whose result no bit tells of another.
    #[inline]
    pub(crate) fn wire_ends(&self, tuple: &Tuple) -> u64 {
        self.ends::<2, 4>(tuple)
    }

    /// Addresses and ports as bytes, with nothing between them: 12 or 36, so that no IPv4 connection hashes like one of IPv6.
    #[inline(always)]
    fn ends<const C: usize, const D: usize>(&self, tuple: &Tuple) -> u64 {
        let ports = u64::from(tuple.local_port) << 16 | u64::from(tuple.remote_port);
        match (tuple.local, tuple.remote) {
            (IpAddr::V4(l), IpAddr::V4(r)) => self.sip::<C, D, 1>([v4_pair(l, r)], ports, 4),
            (l, r) => self.sip_v6::<C, D>((l, r), ports, 4),
        }
    }

    /// A hash for the wire of an address and the other end.
    #[inline]
    pub(crate) fn wire_destination(&self, local: IpAddr, remote: SocketAddr) -> u64 {
        let port = u64::from(remote.port());
        match (local, remote.ip()) {
            (IpAddr::V4(l), IpAddr::V4(r)) => self.sip::<2, 4, 1>([v4_pair(l, r)], port, 2),
            (l, r) => self.sip_v6::<2, 4>((l, r), port, 2),
        }
    }

    /// A hash for the wire of one word.
    #[inline]
    pub(crate) fn wire_word(&self, word: u64) -> u64 {
        self.sip::<2, 4, 1>([word], 0, 0)
    }

    /// SipHash-C-D of these words, the least significant byte of each first, and of the lower `more` bytes of `rest`, which has
    /// no others: what the crate comes to, which must look where words begin and end.
    #[inline(always)]
    fn sip<const C: usize, const D: usize, const N: usize>(
        &self,
        words: [u64; N],
        rest: u64,
        more: usize,
    ) -> u64 {
        let (k0, k1) = self.halves();
        let mut state = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        for word in words {
            state = sip_take::<C>(state, word);
        }
        state = sip_take::<C>(state, ((N * 8 + more) as u64) << 56 | rest);
        state[2] ^= 0xff;
        for _ in 0..D {
            state = sip_round(state);
        }
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }

    /// The same of two IPv6 addresses and `more` bytes of `rest`.
    #[inline(never)]
    fn sip_v6<const C: usize, const D: usize>(
        &self,
        (one, other): (IpAddr, IpAddr),
        rest: u64,
        more: usize,
    ) -> u64 {
        let ([a, b], [c, d]) = (v6_words(one), v6_words(other));
        self.sip::<C, D, 4>([a, b, c, d], rest, more)
    }

    #[inline(always)]
    fn halves(&self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p]))
    }
}

/// Takes a word into the state.
#[inline(always)]
fn sip_take<const C: usize>(mut state: [u64; 4], word: u64) -> [u64; 4] {
    state[3] ^= word;
    for _ in 0..C {
        state = sip_round(state);
    }
    state[0] ^= word;
    state
}

/// A round of SipHash (Aumasson and Bernstein, 2012).
#[inline(always)]
const fn sip_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    d = d.rotate_left(21) ^ a;
    b = b.rotate_left(17) ^ c;
    [a, b, c.rotate_left(32), d]
}

/// Two IPv4 addresses in a word.
#[inline(always)]
fn v4_pair(one: Ipv4Addr, other: Ipv4Addr) -> u64 {
    u64::from(one.to_bits()) << 32 | u64::from(other.to_bits())
}

/// An IPv6 address in two words; both ends of a connection are of one version.
#[inline(always)]
fn v6_words(addr: IpAddr) -> [u64; 2] {
    let bits = match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped().to_bits(),
        IpAddr::V6(a) => a.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// An IPv4 address as it is hashed: nothing that an IPv6 address begins with.
fn v4_word(addr: Ipv4Addr) -> u64 {
    u64::from(addr.to_bits()) | 4 << 32
}

/// A hash in the making. Parts have fixed lengths, so that different ones never make the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Digest<H>(H);

impl<H: Hasher> Digest<H> {
    pub(crate) fn addr(mut self, addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(a) => self.0.write_u64(v4_word(a)),
            IpAddr::V6(a) => {
                self.0.write_u64((a.to_bits() >> 64) as u64);
                self.0.write_u64(a.to_bits() as u64);
            }
        }
        self
    }

    pub(crate) fn socket(self, end: SocketAddr) -> Self {
        self.addr(end.ip()).u64(u64::from(end.port()))
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.write_u64(value);
        self
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

macro_rules! secrets {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// One key for each purpose.
        #[derive(Clone, Debug)]
        pub(crate) struct Secrets { $($(#[doc = $doc])+ pub(crate) $field: Key,)+ }

        impl Secrets {
            pub(crate) fn new(seed: &[u8; 32]) -> Self {
                Self { $($field: Key::derive(seed, stringify!($field)),)+ }
            }
        }
    };
}

secrets! {
    /// Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 5.4): a half of the hash each.
    isn,
    /// Ephemeral ports (RFC 6056 algorithm 4).
    ports,
    /// The connection table.
    demux,
    /// SYN cookies.
    cookie,
    /// Fast open cookies (RFC 7413 4.1.2), where no key is set.
    fast_open,
    /// IP identifications.
    ident,
    /// The table of UDP sockets, and which socket of a SO_REUSEPORT group takes a datagram.
    udp,
    /// Ports of UDP sockets.
    udp_ports,
    /// What a connection leaves to chance: when BBR probes.
    chance,
    /// The generator for everything else.
    random,
}

/// A deterministic generator: SipHash-2-4 of a counter. Not guessable without the key.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    key: Key,
    counter: u64,
}

impl Rng {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, counter: 0 }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.key.wire_word(self.counter)
    }

    /// A number below `bound` (0 where that is 0).
    #[cfg(test)]
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        scale(self.next_u64() as u32, bound)
    }
}

/// Maps a hash of 32 bits evenly to `0..bound`.
pub(crate) fn scale(hash: u32, bound: u32) -> u32 {
    ((u64::from(hash) * u64::from(bound)) >> 32) as u32
}
