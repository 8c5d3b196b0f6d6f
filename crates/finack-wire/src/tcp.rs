//! TCP headers (RFC 9293 section 3.1).

use crate::ip::IpHeader;
use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};

#[cfg(test)]
mod tests;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header.
pub const MAX_HEADER_LEN: usize = 60;
/// Bytes of options that a header can hold at most.
pub const MAX_OPTIONS_LEN: usize = MAX_HEADER_LEN - HEADER_LEN;

/// The nine flags of a TCP header: the eight control bits of RFC 9293 and AE of accurate ECN
/// (RFC 9768), which was once NS.
///
/// As a number, bit 0 is FIN and bit 8 is AE, as they lie in the header's bytes 12 and 13.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x001);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x002);
    /// Reset the connection.
    pub const RST: Self = Self(0x004);
    /// Push function.
    pub const PSH: Self = Self(0x008);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x010);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x020);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x040);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x080);
    /// Accurate ECN (RFC 9768).
    pub const AE: Self = Self(0x100);
    /// All nine.
    pub const ALL: Self = Self(0x1ff);

    /// The flags' names in the order of their bits.
    const NAMES: [&'static str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];
    /// The letters that tcpdump shows for the flags, in the order of their bits.
    const LETTERS: [&'static str; 9] = ["F", "S", "R", "P", ".", "U", "E", "W", "e"];

    /// Whether all of `other`'s flags are set here.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other`'s flags is set here.
    #[inline]
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags set in either: `|` where constants are made.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without `other`'s.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no flag is set.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 & Self::ALL.0 == 0
    }

    /// Whether FIN is set.
    #[inline]
    #[must_use]
    pub const fn fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// Whether SYN is set.
    #[inline]
    #[must_use]
    pub const fn syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// Whether RST is set.
    #[inline]
    #[must_use]
    pub const fn rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// Whether PSH is set.
    #[inline]
    #[must_use]
    pub const fn psh(self) -> bool {
        self.contains(Self::PSH)
    }

    /// Whether ACK is set.
    #[inline]
    #[must_use]
    pub const fn ack(self) -> bool {
        self.contains(Self::ACK)
    }

    /// Whether URG is set.
    #[inline]
    #[must_use]
    pub const fn urg(self) -> bool {
        self.contains(Self::URG)
    }

    /// Whether ECE is set.
    #[inline]
    #[must_use]
    pub const fn ece(self) -> bool {
        self.contains(Self::ECE)
    }

    /// Whether CWR is set.
    #[inline]
    #[must_use]
    pub const fn cwr(self) -> bool {
        self.contains(Self::CWR)
    }

    /// Whether AE is set.
    #[inline]
    #[must_use]
    pub const fn ae(self) -> bool {
        self.contains(Self::AE)
    }

    /// The sequence numbers that SYN and FIN take: 0 to 2 (RFC 9293 section 3.4).
    #[inline]
    #[must_use]
    pub const fn sequence_len(self) -> u32 {
        self.syn() as u32 + self.fin() as u32
    }

    /// For display: one letter to a flag as tcpdump has them, such as `S.` for SYN,ACK.
    #[must_use]
    pub const fn letters(self) -> Letters {
        Letters(self)
    }
}

impl BitOr for Flags {
    type Output = Self;
    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Self;
    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Self;
    #[inline]
    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

impl fmt::Display for Flags {
    /// The names separated by commas in the order of their bits, as in `SYN,ACK`, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_flags(*self, &Self::NAMES, ",", f)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Flags as tcpdump shows them. Made by [`Flags::letters`].
#[derive(Clone, Copy, Debug)]
pub struct Letters(Flags);

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_flags(self.0, &Flags::LETTERS, "", f)
    }
}

fn write_flags(flags: Flags, names: &[&str; 9], separator: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if flags.is_empty() {
        return f.write_str("none");
    }
    let mut first = true;
    for (bit, name) in names.iter().enumerate() {
        if flags.0 >> bit & 1 != 0 {
            if !first {
                f.write_str(separator)?;
            }
            first = false;
            f.write_str(name)?;
        }
    }
    Ok(())
}

/// A TCP header without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHeader {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte of data, or of the SYN.
    pub seq: u32,
    /// The next sequence number expected; of meaning only with ACK.
    pub ack: u32,
    /// The flags.
    pub flags: Flags,
    /// Receive window as in the header: not scaled.
    pub window: u16,
    /// The checksum as in the header. [`TcpHeader::parse`] does not check it: see [`checksum_ok`].
    pub checksum: u16,
    /// Urgent pointer: offset from `seq`; of meaning only with URG.
    pub urgent: u16,
    /// Bytes of header with options: 20 to 60, a multiple of 4.
    pub header_len: usize,
    /// The three reserved bits between the data offset and AE: to be ignored (RFC 9293 section 3.1).
    pub reserved: u8,
}

/// Why bytes are no TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpError {
    /// Fewer than 20 bytes.
    Truncated,
    /// The data offset is below 20 bytes or beyond the end of the segment.
    BadDataOffset,
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "segment ends within the TCP header",
            Self::BadDataOffset => "TCP data offset is below 20 bytes or beyond the segment",
        })
    }
}

impl core::error::Error for TcpError {}

impl TcpHeader {
    /// Parses the header of a segment, which must be the IP payload exactly. The checksum is not
    /// checked here: see [`checksum_ok`].
    ///
    /// # Errors
    ///
    /// If the segment does not hold the header that it says it has.
    #[inline]
    pub fn parse(segment: &[u8]) -> Result<Self, TcpError> {
        let Some(h) = segment.first_chunk::<HEADER_LEN>() else { return Err(TcpError::Truncated) };
        let header_len = usize::from(h[12] >> 4) * 4;
        if header_len < HEADER_LEN || header_len > segment.len() {
            return Err(TcpError::BadDataOffset);
        }
        Ok(Self {
            src_port: u16::from_be_bytes([h[0], h[1]]),
            dst_port: u16::from_be_bytes([h[2], h[3]]),
            seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: Flags(u16::from_be_bytes([h[12], h[13]]) & Flags::ALL.0),
            window: u16::from_be_bytes([h[14], h[15]]),
            checksum: u16::from_be_bytes([h[16], h[17]]),
            urgent: u16::from_be_bytes([h[18], h[19]]),
            header_len,
            reserved: h[12] >> 1 & 7,
        })
    }

    /// The sequence numbers that a segment with `payload_len` bytes of data takes (SEG.LEN).
    #[inline]
    #[must_use]
    pub const fn sequence_len(&self, payload_len: usize) -> u32 {
        (payload_len as u32).wrapping_add(self.flags.sequence_len())
    }
}

/// The bytes of options of `segment`, which `header` was parsed from; see
/// [`TcpOptions::parse`](crate::tcp_options::TcpOptions::parse). Empty if they are not there.
#[inline]
#[must_use]
pub fn options_bytes<'a>(segment: &'a [u8], header: &TcpHeader) -> &'a [u8] {
    segment.get(HEADER_LEN..header.header_len).unwrap_or(&[])
}

/// The data of `segment`, which `header` was parsed from.
#[inline]
#[must_use]
pub fn payload<'a>(segment: &'a [u8], header: &TcpHeader) -> &'a [u8] {
    segment.get(header.header_len..).unwrap_or(&[])
}

/// Whether the checksum of `segment`, which must be the payload of `ip` exactly, is right (RFC 9293
/// MUST-3).
#[inline]
#[must_use]
pub fn checksum_ok(ip: &IpHeader, segment: &[u8]) -> bool {
    let pseudo = ip.pseudo_header_sum(segment.len());
    finack_sum::add(pseudo, finack_sum::sum(segment)) == 0xffff
}

/// The value for the checksum field of `segment`, in which that field is 0 (RFC 9293 MUST-2).
/// `pseudo` is [`pseudo_header_sum`](crate::ip::pseudo_header_sum) for the segment's length.
#[inline]
#[must_use]
pub fn checksum(pseudo: u16, segment: &[u8]) -> u16 {
    !finack_sum::add(pseudo, finack_sum::sum(segment))
}

/// Writes the checksum field of a header, which begins `segment_header`. Nothing is written if there
/// is not that much of it.
#[inline]
pub fn set_checksum(segment_header: &mut [u8], value: u16) {
    if let Some(header) = segment_header.first_chunk_mut::<HEADER_LEN>() {
        header[16..18].copy_from_slice(&value.to_be_bytes());
    }
}

/// A header to emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpEmit<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number: 0 without ACK.
    pub ack: u32,
    /// The flags.
    pub flags: Flags,
    /// Receive window, scaled already.
    pub window: u16,
    /// Urgent pointer: 0 without URG.
    pub urgent: u16,
    /// Options, encoded already: at most 40 bytes, a multiple of 4.
    pub options: &'a [u8],
}

impl TcpEmit<'_> {
    /// Bytes of the header with its options.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Writes the header with its options to the start of `out`, the checksum 0 and the reserved bits
    /// 0, and returns its length; 0, with nothing written, if `out` is shorter or `options` is too
    /// long or not of a multiple of 4 bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.header_len();
        if len > MAX_HEADER_LEN || !len.is_multiple_of(4) {
            return 0;
        }
        let Some(out) = out.get_mut(..len) else { return 0 };
        let Some((h, options)) = out.split_first_chunk_mut::<HEADER_LEN>() else { return 0 };
        h[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        h[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        h[4..8].copy_from_slice(&self.seq.to_be_bytes());
        h[8..12].copy_from_slice(&self.ack.to_be_bytes());
        let offset_and_flags = (len as u16 / 4) << 12 | self.flags.0 & Flags::ALL.0;
        h[12..14].copy_from_slice(&offset_and_flags.to_be_bytes());
        h[14..16].copy_from_slice(&self.window.to_be_bytes());
        h[16..18].copy_from_slice(&[0, 0]);
        h[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        options.copy_from_slice(self.options);
        len
    }
}
