//! What is left of each task when no protocol runs: the same bytes copied as often, summed as often.

use std::hint::black_box;

/// Buffers between which a payload moves: writer, send queue, packet, receive queue, reader.
pub struct Bare {
    source: Vec<u8>,
    send: Vec<u8>,
    packet: Vec<u8>,
    receive: Vec<u8>,
    sink: Vec<u8>,
    unit: usize,
}

impl Bare {
    pub fn new(unit: usize) -> Self {
        let buffer = || vec![1; 64 << 10];
        Self { source: buffer(), send: buffer(), packet: buffer(), receive: buffer(), sink: buffer(), unit }
    }

    /// Moves 64 KiB in units, with a checksum computed and one verified for each; answers the bytes.
    pub fn bulk(&mut self, checksums: bool) -> u64 {
        let unit = self.unit.min(self.source.len());
        let mut moved = 0;
        for from in (0..=self.source.len() - unit).step_by(unit) {
            let range = from..from + unit;
            self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
            if checksums {
                black_box(sum(&self.send[range.clone()]));
            }
            self.packet[..unit].copy_from_slice(&self.send[range.clone()]);
            if checksums {
                black_box(sum(&self.packet[..unit]));
            }
            self.receive[range.clone()].copy_from_slice(&self.packet[..unit]);
            self.sink[range.clone()].copy_from_slice(&self.receive[range]);
            moved += unit as u64;
        }
        black_box(&mut self.sink);
        moved
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = finack_sum::Accumulator::new();
    sum.add(bytes);
    sum.finish()
}
