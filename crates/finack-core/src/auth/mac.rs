//! The algorithms: the digest of RFC 2385, the key derivation and MACs of RFC 5926.
//!
//! The primitives are RustCrypto's; here is only what is fed to them, and in which order.

use core::net::IpAddr;
use core::ops::Range;

use aes::Aes128;
use cmac::Cmac;
use finack_wire::protocol;
use finack_wire::tcp::HEADER_LEN;
use finack_wire::tcp_options::{KIND_AO, KIND_END, KIND_MD5, KIND_NOP};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Bytes of the longest MAC and of the longest traffic key: those of HMAC-SHA-256.
const LONGEST: usize = 32;

/// The checksum's place in a TCP header; it counts as zero in every signature.
const CHECKSUM: Range<usize> = 16..18;

/// What a MAC is computed over, one part after the other.
type Sink<'a> = &'a mut dyn FnMut(&[u8]);

/// A segment as it is signed: the header's checksum and the place of its MAC count as zeros, whatever they hold.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// The TCP header with its options: 20 to 60 bytes.
    pub header: &'a [u8],
    /// The payload, in any number of parts.
    pub payload: &'a [&'a [u8]],
}

impl Signable<'_> {
    fn len(&self) -> usize {
        self.header.len() + self.payload.iter().map(|part| part.len()).sum::<usize>()
    }

    /// The pseudo-header of the TCP checksum (RFC 9293 3.1, RFC 8200 8.1).
    fn pseudo_header(&self, sink: Sink<'_>) {
        let len = self.len();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                sink(&src.octets());
                sink(&dst.octets());
                sink(&[0, protocol::TCP]);
                sink(&(len as u16).to_be_bytes());
            }
            (src, dst) => {
                sink(&v6(src));
                sink(&v6(dst));
                sink(&(len as u32).to_be_bytes());
                sink(&[0, 0, 0, protocol::TCP]);
            }
        }
    }

    /// The 20 bytes that every header has, the checksum as zero.
    fn fixed_header(&self, sink: Sink<'_>) {
        sink(self.header.get(..CHECKSUM.start).unwrap_or(self.header));
        sink(&[0; 2]);
        sink(self.header.get(CHECKSUM.end..HEADER_LEN).unwrap_or(&[]));
    }

    fn text(&self, sink: Sink<'_>) {
        for part in self.payload {
            sink(part);
        }
    }
}

fn v6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// The digest of RFC 2385 2.0: pseudo-header, header without options, data, key.
#[must_use]
pub fn md5_signature(segment: &Signable<'_>, key: &[u8]) -> [u8; 16] {
    let mut hash = Md5::new();
    let mut sink = |bytes: &[u8]| hash.update(bytes);
    segment.pseudo_header(&mut sink);
    segment.fixed_header(&mut sink);
    segment.text(&mut sink);
    sink(key);
    hash.finalize().into()
}

/// Whether two signatures are the same, in a time that does not tell where they differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// How traffic keys are derived and segments are signed: each MAC with the KDF that belongs to it (RFC 5926 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC-SHA-1-96 with KDF_HMAC_SHA1: "SHA1" (RFC 5926 3.2.1).
    #[default]
    HmacSha1,
    /// AES-128-CMAC-96 with KDF_AES_128_CMAC: "AES128" (RFC 5926 3.2.2).
    AesCmac128,
    /// HMAC-SHA-256, its KDF of the same form as that of SHA-1, as Linux has it: `hmac(sha256)`. No RFC has it.
    HmacSha256,
}

/// A key made of a master key for one connection, one direction and one kind of segment (RFC 5925 3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TrafficKey {
    bytes: [u8; LONGEST],
    len: u8,
}

impl TrafficKey {
    /// The key itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl core::fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "TrafficKey({} bytes)", self.len)
    }
}

/// The context of a traffic key (RFC 5925 5.2, figures 7 and 8), as the sender of the segments sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyContext {
    /// Sender's address.
    pub src: IpAddr,
    /// Receiver's address, of the same family.
    pub dst: IpAddr,
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Sender's initial sequence number.
    pub src_isn: u32,
    /// Receiver's initial sequence number; 0 for a SYN without ACK.
    pub dst_isn: u32,
}

impl KeyContext {
    fn feed(&self, sink: Sink<'_>) {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                sink(&src.octets());
                sink(&dst.octets());
            }
            (src, dst) => {
                sink(&v6(src));
                sink(&v6(dst));
            }
        }
        sink(&self.src_port.to_be_bytes());
        sink(&self.dst_port.to_be_bytes());
        sink(&self.src_isn.to_be_bytes());
        sink(&self.dst_isn.to_be_bytes());
    }
}

/// What an option with a MAC says beside it, and where the MAC stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacPlace {
    /// Where the MAC stands in the TCP header.
    pub at: Range<usize>,
    /// Options other than TCP-AO are left out of the MAC (RFC 5925 3.1).
    pub exclude_options: bool,
}

impl Algorithm {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[Self::HmacSha1, Self::AesCmac128, Self::HmacSha256];

    /// Bytes of the MAC before it is cut, which is also the length of the traffic key.
    #[must_use]
    pub const fn digest_len(self) -> u8 {
        match self {
            Self::HmacSha1 => 20,
            Self::AesCmac128 => 16,
            Self::HmacSha256 => 32,
        }
    }

    /// Its name in Linux's `struct tcp_ao_add`.
    #[must_use]
    pub const fn linux_name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac(sha1)",
            Self::AesCmac128 => "cmac(aes128)",
            Self::HmacSha256 => "hmac(sha256)",
        }
    }

    /// The algorithm of that name: Linux's, or RFC 5926 3.1.1.3's for user interfaces ("SHA1", "AES128").
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "SHA1" => Some(Self::HmacSha1),
            "AES128" | "cmac(aes)" => Some(Self::AesCmac128),
            _ => Self::ALL.iter().copied().find(|a| a.linux_name() == name),
        }
    }

    /// KDF_HMAC_SHA1 or KDF_AES_128_CMAC (RFC 5926 3.1.1): one block of the counter mode is as long as the key.
    #[must_use]
    pub fn traffic_key(self, master: &[u8], context: &KeyContext) -> TrafficKey {
        let bytes = match self {
            // RFC 5926 3.1.1.2: a master key of another length than AES's is condensed first.
            Self::AesCmac128 => match <[u8; 16]>::try_from(master) {
                Ok(key) => self.run(&key, |sink| self.kdf_input(context, sink)),
                Err(_) => {
                    let condensed = self.run(&[0; 16], |sink| sink(master));
                    self.run(&condensed[..16], |sink| self.kdf_input(context, sink))
                }
            },
            Self::HmacSha1 | Self::HmacSha256 => self.run(master, |sink| self.kdf_input(context, sink)),
        };
        TrafficKey { bytes, len: self.digest_len() }
    }

    /// `i || Label || Context || Output_Length`.
    fn kdf_input(self, context: &KeyContext, sink: Sink<'_>) {
        sink(&[1]);
        sink(b"TCP-AO");
        context.feed(sink);
        sink(&(u16::from(self.digest_len()) * 8).to_be_bytes());
    }

    /// The MAC of a segment (RFC 5925 5.1), not yet cut to the length of its place; bytes beyond
    /// [`digest_len`](Self::digest_len) are zero. `sne` is the extension of the segment's sequence number.
    #[must_use]
    pub fn mac(self, key: &TrafficKey, sne: u32, segment: &Signable<'_>, place: &MacPlace) -> [u8; LONGEST] {
        self.run(key.as_bytes(), |sink| {
            sink(&sne.to_be_bytes());
            segment.pseudo_header(sink);
            segment.fixed_header(sink);
            // The option's own head stays in whatever is left out: it says which key and how long a MAC.
            let from = if place.exclude_options { place.at.start.saturating_sub(4) } else { HEADER_LEN };
            sink(segment.header.get(from..place.at.start).unwrap_or(&[]));
            for _ in place.at.clone() {
                sink(&[0]);
            }
            if !place.exclude_options {
                sink(segment.header.get(place.at.end..).unwrap_or(&[]));
            }
            segment.text(sink);
        })
    }

    /// The primitive. `key` has the length that it needs: any for HMAC, 16 bytes for CMAC.
    fn run(self, key: &[u8], feed: impl FnOnce(Sink<'_>)) -> [u8; LONGEST] {
        match self {
            Self::HmacSha1 => run::<Hmac<Sha1>>(key, feed),
            Self::AesCmac128 => run::<Cmac<Aes128>>(key, feed),
            Self::HmacSha256 => run::<Hmac<Sha256>>(key, feed),
        }
    }
}

fn run<M: Mac + KeyInit>(key: &[u8], feed: impl FnOnce(Sink<'_>)) -> [u8; LONGEST] {
    let mut out = [0; LONGEST];
    // No key has a length that is refused here: a MAC of zeros would only be a segment that nobody takes.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return out };
    feed(&mut |bytes| mac.update(bytes));
    for (to, from) in out.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
    out
}

/// Which of the two options a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    Md5,
    Ao,
}

/// Looks for both options. `None` where they are malformed: one of an impossible length, two of a kind, or both kinds
/// at once (RFC 5925 2.2). Another option of an impossible length ends the list, as it does for all options.
pub(crate) fn mark(options: &[u8]) -> Option<Mark> {
    let mut found = Mark::None;
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        if *kind == KIND_END {
            break;
        }
        if *kind == KIND_NOP {
            rest = tail;
            continue;
        }
        let len = usize::from(tail.first().copied().unwrap_or(0));
        let signs = matches!(*kind, KIND_MD5 | KIND_AO);
        let Some((option, behind)) = rest.split_at_checked(len).filter(|_| len >= 2) else {
            return (!signs).then_some(found);
        };
        if signs {
            let here = match (*kind, option.len()) {
                (KIND_MD5, 18) => Mark::Md5,
                (KIND_AO, 4..) => Mark::Ao,
                _ => return None,
            };
            if core::mem::replace(&mut found, here) != Mark::None {
                return None;
            }
        }
        rest = behind;
    }
    Some(found)
}
