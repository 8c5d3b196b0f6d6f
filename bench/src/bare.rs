//! What is left of each task when no protocol runs: the same bytes copied as often, summed as often.

use std::hint::black_box;

use finack_sum::copy_and_sum;

/// What is done with each byte on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Copied once: by the link, where both ends hand over their own memory.
    Once,
    /// Copied three times: where packets are given away instead of lent.
    Given,
    /// Copied four times.
    Copied,
    /// The same, summed by itself before it is sent and before it is received.
    Summed,
    /// The same with each sum made while copying.
    Fused,
}

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

    /// Moves 64 KiB in units; answers the bytes.
    pub fn bulk(&mut self, way: Way) -> u64 {
        let unit = self.unit.min(self.source.len());
        let mut moved = 0;
        for from in (0..=self.source.len() - unit).step_by(unit) {
            let range = from..from + unit;
            match way {
                Way::Once => self.packet[..unit].copy_from_slice(&self.source[range]),
                Way::Given => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    self.packet[..unit].copy_from_slice(&self.send[range.clone()]);
                    self.sink[range].copy_from_slice(&self.packet[..unit]);
                }
                Way::Copied => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    self.packet[..unit].copy_from_slice(&self.send[range.clone()]);
                    self.receive[range.clone()].copy_from_slice(&self.packet[..unit]);
                    self.sink[range.clone()].copy_from_slice(&self.receive[range]);
                }
                Way::Summed => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    black_box(sum(&self.send[range.clone()]));
                    self.packet[..unit].copy_from_slice(&self.send[range.clone()]);
                    black_box(sum(&self.packet[..unit]));
                    self.receive[range.clone()].copy_from_slice(&self.packet[..unit]);
                    self.sink[range.clone()].copy_from_slice(&self.receive[range]);
                }
                Way::Fused => {
                    self.send[range.clone()].copy_from_slice(&self.source[range.clone()]);
                    black_box(copy_and_sum(&mut self.packet[..unit], &self.send[range.clone()]));
                    black_box(copy_and_sum(&mut self.receive[range.clone()], &self.packet[..unit]));
                    self.sink[range.clone()].copy_from_slice(&self.receive[range]);
                }
            }
            moved += unit as u64;
        }
        black_box((&mut self.sink, &mut self.packet));
        moved
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = finack_sum::Accumulator::new();
    sum.add(bytes);
    sum.finish()
}
