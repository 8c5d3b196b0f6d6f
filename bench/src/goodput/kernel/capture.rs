//! What passes one end of a link, as a capture file: raw IP packets with nanoseconds.

use std::io;
use std::path::Path;

use finack_core::Instant as Time;

/// Bytes of each packet that are kept: all headers.
const KEPT: usize = 120;

/// Longest capture, in bytes; what comes later is left out.
const LONGEST: usize = 256 << 20;

/// `LINKTYPE_RAW`: packets begin with their IP header.
const RAW: u32 = 101;

/// Everything that one end of a link sent and received.
pub struct Capture(Vec<u8>);

impl Capture {
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(1 << 22);
        for field in [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, KEPT as u32, RAW] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        Self(bytes)
    }

    /// A packet passed at `now`.
    pub fn note(&mut self, now: Time, packet: &[u8]) {
        if self.0.len() > LONGEST {
            return;
        }
        let kept = &packet[..packet.len().min(KEPT)];
        let now = now.as_nanos();
        let (seconds, nanos) = (now / 1_000_000_000, now % 1_000_000_000);
        for field in [seconds as u32, nanos as u32, kept.len() as u32, packet.len() as u32] {
            self.0.extend_from_slice(&field.to_le_bytes());
        }
        self.0.extend_from_slice(kept);
    }

    pub fn write(&self, file: &Path) -> io::Result<()> {
        std::fs::write(file, &self.0)
    }
}
