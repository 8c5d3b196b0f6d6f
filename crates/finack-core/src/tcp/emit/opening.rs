//! SYN and SYN,ACK with the options that nearly all have, written at one go.

use finack_wire::protocol;
use finack_wire::tcp_options::{
    KIND_MSS, KIND_NOP, KIND_SACK_PERMITTED, KIND_TIMESTAMPS, KIND_WINDOW_SCALE, TcpOptions,
};

use super::{MAX_HEADERS, Plain, fold, in_memory, put};
use crate::tcp::Tuple;

/// Bytes of a TCP header with these options.
const OPENING: usize = 40;

/// The options of nearly every SYN: MSS, SACK permitted, timestamps and a window scale, in the order in which
/// [`TcpOptions::emit`] writes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    pub(crate) mss: u16,
    pub(crate) window_scale: u8,
    pub(crate) stamps: (u32, u32),
}

impl Usual {
    /// The same at length.
    pub(crate) fn options(&self) -> TcpOptions {
        TcpOptions {
            mss: Some(self.mss),
            window_scale: Some(self.window_scale),
            sack_permitted: true,
            timestamps: Some(self.stamps),
            ..TcpOptions::default()
        }
    }
}

impl Plain {
    /// What [`headers`](super::headers) writes for the same with these options, and with no payload; answers the length.
    pub(crate) fn write_opening(
        &self,
        tuple: &Tuple,
        usual: &Usual,
        offload: bool,
        out: &mut [u8; MAX_HEADERS],
    ) -> usize {
        let Some((ip_len, addresses, segment)) = self.write_ip(tuple, OPENING, out) else { return 0 };
        let Some(segment) = segment.first_chunk_mut::<OPENING>() else { return 0 };
        let pseudo = addresses + in_memory(u32::from(protocol::TCP)) + in_memory(OPENING as u32);
        let [a, b] = usual.mss.to_be_bytes();
        let (value, echo) = usual.stamps;
        let words = [
            u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port),
            self.seq,
            self.ack,
            (OPENING as u32 / 4) << 28 | u32::from(self.flags.0) << 16 | u32::from(self.window),
            u32::from(self.urgent),
            u32::from_be_bytes([KIND_MSS, 4, a, b]),
            u32::from_be_bytes([KIND_SACK_PERMITTED, 2, KIND_TIMESTAMPS, 10]),
            value,
            echo,
            u32::from_be_bytes([KIND_NOP, KIND_WINDOW_SCALE, 3, usual.window_scale]),
        ];
        let mut sum = pseudo;
        for (i, word) in words.into_iter().enumerate() {
            sum += put(segment, i * 4, word);
        }
        let checksum = if offload { fold(pseudo) } else { !fold(sum) };
        segment[16..18].copy_from_slice(&checksum.to_ne_bytes());
        ip_len + OPENING
    }
}
