//! Writing segments: IP header, TCP header and checksum.

use alloc::vec::Vec;

use finack_sum::Accumulator;
use finack_wire::ip::IpEmit;
use finack_wire::protocol;
use finack_wire::tcp::{self, Flags, TcpEmit};
use finack_wire::tcp_options::TcpOptions;

use super::Tuple;
use crate::auth::Signer;
use crate::device::TxChecksum;

/// Most bytes of headers in front of a payload: IPv6 and a full TCP header.
pub(crate) const MAX_HEADERS: usize = 40 + tcp::MAX_HEADER_LEN;

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

/// A whole segment without payload, checksum finished.
pub(crate) fn bare(head: &Head, signer: Option<&Signer>) -> Vec<u8> {
    let mut out = [0; MAX_HEADERS];
    let sign = signer.map(|signer| (signer, &[][..]));
    let (len, _) = headers(head, 0, |_| {}, sign, false, &mut out);
    out[..len].to_vec()
}
