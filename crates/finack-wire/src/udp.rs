//! UDP headers (RFC 768, RFC 8200 section 8.1).

use crate::ip::IpHeader;
use core::fmt;

#[cfg(test)]
mod tests;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// The most data that a datagram can carry by its length field: bytes.
pub const MAX_PAYLOAD_LEN: usize = 65_535 - HEADER_LEN;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpHeader {
    /// Source port; 0 where no reply is expected.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bytes of header and data: at least 8. May be below the IP payload's length.
    pub length: u16,
    /// The checksum as in the header; 0 for none.
    pub checksum: u16,
}

/// Why bytes are no acceptable UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpError {
    /// Fewer than 8 bytes.
    Truncated,
    /// The length field is below 8.
    LengthBelowHeader,
    /// The length field is above the bytes there are.
    LengthBeyondPayload,
    /// No checksum, over IPv6, where there must be one (RFC 8200 section 8.1).
    ChecksumMissing,
    /// The checksum is wrong.
    BadChecksum,
}

impl fmt::Display for UdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "datagram ends within the UDP header",
            Self::LengthBelowHeader => "UDP length is below 8 bytes",
            Self::LengthBeyondPayload => "UDP length is beyond the end of the packet",
            Self::ChecksumMissing => "no UDP checksum, which IPv6 requires",
            Self::BadChecksum => "UDP checksum is wrong",
        })
    }
}

impl core::error::Error for UdpError {}

/// Parses a header, checking lengths only. `datagram` is the IP payload.
///
/// # Errors
///
/// If the lengths do not fit together.
#[inline]
pub fn parse(datagram: &[u8]) -> Result<UdpHeader, UdpError> {
    let Some(h) = datagram.first_chunk::<HEADER_LEN>() else { return Err(UdpError::Truncated) };
    let length = u16::from_be_bytes([h[4], h[5]]);
    if usize::from(length) < HEADER_LEN {
        return Err(UdpError::LengthBelowHeader);
    }
    if usize::from(length) > datagram.len() {
        return Err(UdpError::LengthBeyondPayload);
    }
    Ok(UdpHeader {
        src_port: u16::from_be_bytes([h[0], h[1]]),
        dst_port: u16::from_be_bytes([h[2], h[3]]),
        length,
        checksum: u16::from_be_bytes([h[6], h[7]]),
    })
}

/// The data of `datagram`, which `header` was parsed from.
#[inline]
#[must_use]
pub fn payload<'a>(datagram: &'a [u8], header: &UdpHeader) -> &'a [u8] {
    datagram.get(HEADER_LEN..usize::from(header.length)).unwrap_or(&[])
}

/// Checks lengths and checksum of `datagram`, the payload of `ip`. Over IPv4 a checksum of 0 means
/// that there is none (RFC 768), over IPv6 it is an error.
///
/// # Errors
///
/// What is wrong with the datagram.
#[inline]
pub fn verify(ip: &IpHeader, datagram: &[u8]) -> Result<(), UdpError> {
    let header = parse(datagram)?;
    if header.checksum == 0 {
        return if ip.is_v6() { Err(UdpError::ChecksumMissing) } else { Ok(()) };
    }
    let len = usize::from(header.length);
    let covered = datagram.get(..len).ok_or(UdpError::LengthBeyondPayload)?;
    let pseudo = ip.pseudo_header_sum(len);
    if finack_sum::add(pseudo, finack_sum::sum(covered)) == 0xffff {
        Ok(())
    } else {
        Err(UdpError::BadChecksum)
    }
}

/// Writes a header for `payload_len` bytes of data, the checksum 0, to the start of `out` and returns
/// its length: 8, or 0 with nothing written if `out` is shorter or the data above
/// [`MAX_PAYLOAD_LEN`].
#[inline]
pub fn emit(out: &mut [u8], src_port: u16, dst_port: u16, payload_len: usize) -> usize {
    if payload_len > MAX_PAYLOAD_LEN {
        return 0;
    }
    let Some(h) = out.first_chunk_mut::<HEADER_LEN>() else { return 0 };
    h[0..2].copy_from_slice(&src_port.to_be_bytes());
    h[2..4].copy_from_slice(&dst_port.to_be_bytes());
    h[4..6].copy_from_slice(&((HEADER_LEN + payload_len) as u16).to_be_bytes());
    h[6..8].copy_from_slice(&[0, 0]);
    HEADER_LEN
}

/// The value for the checksum field of `datagram`, in which that field is 0: never 0 itself, which
/// would mean none, but the other form of zero (RFC 768). `pseudo` is
/// [`pseudo_header_sum`](crate::ip::pseudo_header_sum) for the datagram's length.
#[inline]
#[must_use]
pub fn checksum(pseudo: u16, datagram: &[u8]) -> u16 {
    nonzero(!finack_sum::add(pseudo, finack_sum::sum(datagram)))
}

/// A computed checksum as it is sent: 0 as 0xffff (RFC 768).
#[inline]
#[must_use]
pub const fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Writes the checksum field of a header, which begins `datagram_header`. Nothing is written if there
/// is not that much of it.
#[inline]
pub fn set_checksum(datagram_header: &mut [u8], value: u16) {
    if let Some(h) = datagram_header.first_chunk_mut::<HEADER_LEN>() {
        h[6..8].copy_from_slice(&value.to_be_bytes());
    }
}
