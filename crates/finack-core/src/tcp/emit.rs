//! Writing segments: IP header, TCP header and checksum.

use alloc::vec::Vec;
use core::net::IpAddr;

use finack_sum::Accumulator;
use finack_wire::ip::IpEmit;
use finack_wire::protocol;
use finack_wire::tcp::{self, Flags, TcpEmit};
use finack_wire::tcp_options::{KIND_NOP, KIND_TIMESTAMPS, TcpOptions};

use super::Tuple;
use crate::auth::Signer;
use crate::device::TxChecksum;

mod opening;
#[cfg(test)]
mod tests;

pub(crate) use opening::Usual;

/// Bytes of an IPv4 and of an IPv6 header.
const IPV4: usize = 20;
const IPV6: usize = 40;
/// Most bytes of headers in front of a payload: IPv6 and a full TCP header.
pub(crate) const MAX_HEADERS: usize = IPV6 + tcp::MAX_HEADER_LEN;
/// Bytes of a TCP header with timestamps, and of one without options.
const STAMPED: usize = 32;
const BARE: usize = tcp::HEADER_LEN;
/// Where in a TCP header the checksum stands.
const CHECKSUM: usize = 16;
/// What stands in front of the two times of a timestamps option.
const STAMPS: u32 = u32::from_be_bytes([KIND_NOP, KIND_NOP, KIND_TIMESTAMPS, 10]);

/// All that the headers say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) tuple: Tuple,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: TcpOptions,
    pub(crate) hop_limit: u8,
    pub(crate) tos: u8,
    /// IPv4 identification; 0 will do where the packet must not be fragmented (RFC 6864 4.1).
    pub(crate) ident: u16,
    pub(crate) dont_fragment: bool,
}

/// What the headers of nearly all segments say: no options, or timestamps alone. A `Head` is five times as large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) stamps: Option<(u32, u32)>,
    pub(crate) hop_limit: u8,
    pub(crate) tos: u8,
    pub(crate) ident: u16,
    pub(crate) dont_fragment: bool,
}

/// Headers that were written, in front of a payload of a certain length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Bytes of the IP header, and of the TCP header.
    ip: u8,
    tcp: u8,
    /// The sum of what the checksum covers, sequence number and payload left out, as it lies in memory (RFC 1071 2 (B)).
    sum: u64,
}

impl Written {
    /// Bytes.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.ip as usize + self.tcp as usize
    }

    /// What the device has to do for the checksum, where it finishes checksums (`offload`).
    #[inline]
    pub(crate) const fn left_of_checksum(&self, offload: bool) -> TxChecksum {
        if offload {
            TxChecksum::Partial { start: self.ip as u16, offset: CHECKSUM as u16 }
        } else {
            TxChecksum::Complete
        }
    }

    /// Makes of these headers those of another segment with a payload of the same length: it begins at `seq`, and has PSH in
    /// addition (`push`). Like [`Plain::write`] in the rest.
    #[inline(always)]
    pub(crate) fn follow(
        &self,
        seq: u32,
        push: bool,
        payload_sum: impl FnOnce() -> u16,
        offload: bool,
        out: &mut [u8; MAX_HEADERS],
    ) {
        let segment = out.get_mut(self.ip.into()..).and_then(|rest| rest.first_chunk_mut::<BARE>());
        let Some(segment) = segment else { return };
        let mut sum = self.sum + put(segment, 4, seq);
        if push {
            segment[13] |= Flags::PSH.0 as u8;
            sum += in_memory(u32::from(Flags::PSH.0) << 16);
        }
        // Where the device adds the rest there stands the sum of the pseudo-header, which is the same.
        if !offload {
            let checksum = !fold(sum + u64::from(payload_sum().to_be()));
            segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_ne_bytes());
        }
    }
}

impl Plain {
    /// The same at length.
    pub(crate) fn head(&self, tuple: &Tuple) -> Head {
        Head {
            tuple: *tuple,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: TcpOptions { timestamps: self.stamps, ..TcpOptions::default() },
            hop_limit: self.hop_limit,
            tos: self.tos,
            ident: self.ident,
            dont_fragment: self.dont_fragment,
        }
    }

    /// What [`headers`] writes for the same. `payload_sum` is asked for the sum of the payload, unless
    /// the device is to add that (`offload`).
    ///
    /// Sums are made of the words that are written, as they lie in memory: the order of bytes does not matter to them
    /// (RFC 1071 2 (B)).
    #[inline(always)]
    pub(crate) fn write(
        &self,
        tuple: &Tuple,
        payload_len: usize,
        payload_sum: impl FnOnce() -> u16,
        offload: bool,
        out: &mut [u8; MAX_HEADERS],
    ) -> Written {
        let tcp_len = if self.stamps.is_some() { STAMPED } else { BARE };
        let segment_len = tcp_len + payload_len;
        let Some((ip_len, addresses, segment)) = self.write_ip(tuple, segment_len, out) else {
            return Written::default();
        };
        let Some(segment) = segment.first_chunk_mut::<STAMPED>() else { return Written::default() };
        let pseudo = addresses + in_memory(u32::from(protocol::TCP)) + in_memory(segment_len as u32);
        let sum = pseudo + self.write_tcp(tuple, tcp_len, segment);
        let checksum = if offload { fold(pseudo) } else { !fold(sum + u64::from(payload_sum().to_be())) };
        segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_ne_bytes());
        Written { ip: ip_len as u8, tcp: tcp_len as u8, sum: sum - in_memory(self.seq) }
    }

    /// Answers the length of the IP header, the sum of the addresses, and what is left of `out`.
    #[inline(always)]
    fn write_ip<'a>(
        &self,
        tuple: &Tuple,
        segment_len: usize,
        out: &'a mut [u8; MAX_HEADERS],
    ) -> Option<(usize, u64, &'a mut [u8])> {
        match (tuple.local, tuple.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (ip, rest) = out.split_first_chunk_mut::<IPV4>()?;
                Some((IPV4, self.write_ipv4([src.octets(), dst.octets()], segment_len, ip), rest))
            }
            (src, dst) => {
                let addresses = [src, dst].map(|address| match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                });
                let (ip, rest) = out.split_first_chunk_mut::<IPV6>()?;
                Some((IPV6, self.write_ipv6(addresses, segment_len, ip), rest))
            }
        }
    }

    /// Answers the sum of the addresses.
    #[inline(always)]
    fn write_ipv4(&self, [src, dst]: [[u8; 4]; 2], payload_len: usize, out: &mut [u8; IPV4]) -> u64 {
        const DONT_FRAGMENT: u32 = 0x4000;
        let total = (IPV4 + payload_len) as u16;
        let first = 0x4500_0000 | u32::from(self.tos) << 16 | u32::from(total);
        let second = u32::from(self.ident) << 16 | if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        let third = u32::from(self.hop_limit) << 24 | u32::from(protocol::TCP) << 16;
        let addresses = u64::from(u32::from_ne_bytes(src)) + u64::from(u32::from_ne_bytes(dst));
        let sum = put(out, 0, first) + put(out, 4, second) + put(out, 8, third) + addresses;
        out[10..12].copy_from_slice(&(!fold(sum)).to_ne_bytes());
        out[12..16].copy_from_slice(&src);
        out[16..20].copy_from_slice(&dst);
        addresses
    }

    /// The same for IPv6; the flow label is 0.
    #[inline(always)]
    fn write_ipv6(&self, [src, dst]: [[u8; 16]; 2], payload_len: usize, out: &mut [u8; IPV6]) -> u64 {
        let second = (payload_len as u32) << 16 | u32::from(protocol::TCP) << 8 | u32::from(self.hop_limit);
        put(out, 0, 0x6000_0000 | u32::from(self.tos) << 20);
        put(out, 4, second);
        out[8..24].copy_from_slice(&src);
        out[24..40].copy_from_slice(&dst);
        words(src) + words(dst)
    }

    /// Answers the sum of what is written, in whose place for the checksum there is nothing.
    #[inline(always)]
    fn write_tcp(&self, tuple: &Tuple, len: usize, out: &mut [u8; STAMPED]) -> u64 {
        let ports = u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port);
        let offset_and_flags = (len as u32 / 4) << 12 | u32::from(self.flags.0 & Flags::ALL.0);
        let mut sum = put(out, 0, ports) + put(out, 4, self.seq) + put(out, 8, self.ack);
        sum += put(out, 12, offset_and_flags << 16 | u32::from(self.window));
        sum += put(out, 16, u32::from(self.urgent));
        if let Some((value, echo)) = self.stamps {
            sum += put(out, 20, STAMPS) + put(out, 24, value) + put(out, 28, echo);
        }
        sum
    }
}

/// What a word counts in a sum of words as they lie in memory.
#[inline(always)]
const fn in_memory(word: u32) -> u64 {
    word.to_be() as u64
}

/// Writes a word; answers what it counts.
#[inline(always)]
fn put<const N: usize>(out: &mut [u8; N], at: usize, word: u32) -> u64 {
    out[at..at + 4].copy_from_slice(&word.to_be_bytes());
    in_memory(word)
}

/// The sum of the four words of an address.
#[inline]
fn words(address: [u8; 16]) -> u64 {
    let (words, _) = address.as_chunks::<4>();
    words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum()
}

/// Folds a sum of words of 32 bits to 16 (RFC 1071 2).
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + carry as u32;
    finack_sum::add(sum as u16, (sum >> 16) as u16)
}

/// Writes both headers for a payload of `payload_len` bytes, which `add_payload` adds to a sum; answers their length
/// and what is left to do for the checksum.
///
/// With `offload` the checksum field holds the pseudo-header's sum, and the device does the rest. `sign` signs the
/// segment, whose payload it is given with; its option must have been reserved.
pub(crate) fn headers(
    head: &Head,
    payload_len: usize,
    add_payload: impl FnOnce(&mut Accumulator),
    sign: Option<(&Signer, &[&[u8]])>,
    offload: bool,
    out: &mut [u8; MAX_HEADERS],
) -> (usize, TxChecksum) {
    let mut option_bytes = [0; tcp::MAX_OPTIONS_LEN];
    let options_len = head.options.emit(&mut option_bytes);
    let segment = TcpEmit {
        src_port: head.tuple.local_port,
        dst_port: head.tuple.remote_port,
        seq: head.seq,
        ack: head.ack,
        flags: head.flags,
        window: head.window,
        urgent: head.urgent,
        options: &option_bytes[..options_len],
    };
    let ip = IpEmit {
        src: head.tuple.local,
        dst: head.tuple.remote,
        protocol: protocol::TCP,
        hop_limit: head.hop_limit,
        tos: head.tos,
        ident: head.ident,
        dont_fragment: head.dont_fragment,
        payload_len: segment.header_len() + payload_len,
    };
    let ip_len = ip.emit(out);
    let len = ip_len + segment.emit(&mut out[ip_len..]);
    if let Some((signer, payload)) = sign {
        signer.sign(&head.tuple, &mut out[ip_len..len], payload);
    }
    let pseudo = ip.pseudo_header_sum();
    if offload {
        tcp::set_checksum(&mut out[ip_len..len], pseudo);
        return (len, TxChecksum::Partial { start: ip_len as u16, offset: 16 });
    }
    let mut sum = Accumulator::new();
    sum.add_u16(pseudo);
    sum.add(&out[ip_len..len]);
    add_payload(&mut sum);
    let checksum = sum.finish();
    tcp::set_checksum(&mut out[ip_len..len], checksum);
    (len, TxChecksum::Complete)
}

/// Appends a whole segment without payload, checksum finished.
pub(crate) fn bare(head: &Head, signer: Option<&Signer>, packet: &mut Vec<u8>) {
    let mut out = [0; MAX_HEADERS];
    let sign = signer.map(|signer| (signer, &[][..]));
    let (len, _) = headers(head, 0, |_| {}, sign, false, &mut out);
    packet.extend_from_slice(&out[..len]);
}
