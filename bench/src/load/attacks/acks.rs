//! ACKs that are too many, too early, or of what was never sent.

use crate::load::forge::{Dice, End, Heard, Packets, Segment, flag, syn_options};
use crate::load::siege::{Attack, port};

fn syn(from: End, port: u16, out: &mut Packets) {
    let options = syn_options(1460, 5);
    out.push(&Segment {
        from,
        port,
        flags: flag::SYN,
        window: 65_535,
        options: &options,
        ..Segment::default()
    });
}

/// Connections of the storm's.
const CONNECTIONS: usize = 16;
/// Packets of a millisecond.
const RATE: u32 = 992;

/// Segments that each ask for an ACK: outside the window, SYNs, RSTs that are not exact, ACKs of what was never sent.
pub struct Storm {
    /// Where each connection's window begins, and what the server sent last.
    all: [Option<(u32, u32)>; CONNECTIONS],
    dice: Dice,
}

impl Default for Storm {
    fn default() -> Self {
        Self { all: [None; CONNECTIONS], dice: Dice(5) }
    }
}

impl Attack for Storm {
    fn step(&mut self, ms: u64, out: &mut Packets) {
        if ms == 0 {
            (0..CONNECTIONS).for_each(|i| syn((0x0a42_0003, 2000 + i as u16), port::IDLE, out));
            return;
        }
        for _ in 0..RATE {
            let index = self.dice.below(CONNECTIONS as u32);
            let Some((seq, ack)) = self.all[index as usize] else { continue };
            let segment = Segment {
                from: (0x0a42_0003, 2000 + index as u16),
                port: port::IDLE,
                seq,
                ack,
                flags: flag::ACK,
                window: 65_535,
                ..Segment::default()
            };
            let far = 1 << 28;
            out.push(&match self.dice.below(5) {
                0 => Segment { seq: seq.wrapping_add(far), payload: &[1], ..segment },
                1 => Segment { seq: seq.wrapping_sub(1), payload: &[1], ..segment },
                2 => Segment { flags: flag::SYN, seq: seq.wrapping_add(1), ..segment },
                3 => Segment { flags: flag::RST, seq: seq.wrapping_add(1), ..segment },
                _ => Segment { ack: ack.wrapping_add(far), ..segment },
            });
        }
    }

    fn hear(&mut self, heard: &Heard) {
        let place = &mut self.all[usize::from(heard.to.1) - 2000];
        if heard.has(flag::SYN) && place.is_none() {
            *place = Some((heard.ack, heard.end()));
        }
    }
}

/// A receiver that wants the sender to go faster than the path allows.
pub struct Eager {
    from: End,
    seq: u32,
    /// Acknowledged so far, and what the server has sent.
    acked: u32,
    next: u32,
    /// Acknowledges what it has not got, and may not even have been sent.
    ahead: bool,
}

impl Eager {
    /// Acknowledges ten segments more than it has got.
    pub fn optimistic() -> Self {
        Self { from: (0x0a42_0004, 4000), seq: 0, acked: 0, next: 0, ahead: true }
    }

    /// Acknowledges each segment byte by byte.
    pub fn divided() -> Self {
        Self { ahead: false, ..Self::optimistic() }
    }
}

impl Attack for Eager {
    fn step(&mut self, ms: u64, out: &mut Packets) {
        if ms == 0 {
            return syn(self.from, port::SOURCE, out);
        }
        let mut ack = |ack: u32| {
            out.push(&Segment {
                from: self.from,
                port: port::SOURCE,
                seq: self.seq,
                ack,
                flags: flag::ACK,
                window: 65_535,
                ..Segment::default()
            });
        };
        if self.ahead {
            // A segment each, up to what there is, and then on.
            let there = self.next.wrapping_sub(self.acked).div_ceil(1460);
            (0..(there + 10).min(512)).for_each(|i| ack(self.acked.wrapping_add(1460 * i)));
            self.acked = self.next;
        } else {
            let upto = self.next.wrapping_sub(self.acked).min(1460);
            ack(self.acked);
            (1..=upto).for_each(|i| ack(self.acked.wrapping_add(i)));
            self.acked = self.acked.wrapping_add(upto);
        }
    }

    fn hear(&mut self, heard: &Heard) {
        if heard.has(flag::SYN) {
            (self.seq, self.acked, self.next) = (heard.ack, heard.end(), heard.end());
        } else if heard.end().wrapping_sub(self.next) < 1 << 30 {
            self.next = heard.end();
        }
    }
}
