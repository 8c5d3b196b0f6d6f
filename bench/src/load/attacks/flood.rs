//! SYNs from addresses that are nobody's.

use crate::load::forge::{Dice, Packets, Segment, flag, syn_options};
use crate::load::siege::{Attack, port};

/// SYNs in a millisecond.
const RATE: u32 = 1000;

/// A million SYNs a second.
pub struct Flood(Dice);

impl Default for Flood {
    fn default() -> Self {
        Self(Dice(1))
    }
}

impl Attack for Flood {
    fn step(&mut self, _ms: u64, out: &mut Packets) {
        let options = syn_options(1460, 7);
        for _ in 0..RATE {
            // Of 10.64.0.0/10, which nobody has.
            let from = (0x0a40_0000 | self.0.below(1 << 22), 1024 + self.0.below(60_000) as u16);
            let seq = self.0.roll();
            out.push(&Segment {
                from,
                port: port::ANSWERS,
                seq,
                flags: flag::SYN,
                window: 65_535,
                options: &options,
                ..Segment::default()
            });
        }
    }
}
