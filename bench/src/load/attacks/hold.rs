//! Connections that are held open in a way that costs the server more than their holder.

use std::collections::VecDeque;

use crate::load::forge::{Dice, End, Heard, Packets, Segment, flag, syn_options};
use crate::load::siege::{Attack, port};

/// The attacker's connection `index`: addresses of 10.66.0.0/16, a thousand ports each.
fn end(index: u32) -> End {
    (0x0a42_0000 + index / 1000, 1024 + (index % 1000) as u16)
}

fn index(end: End) -> u32 {
    (end.0 - 0x0a42_0000) * 1000 + u32::from(end.1) - 1024
}

fn syn(index: u32, port: u16, out: &mut Packets) {
    let options = syn_options(1460, 0);
    out.push(&Segment {
        from: end(index),
        port,
        seq: index,
        flags: flag::SYN,
        window: 65_535,
        options: &options,
        ..Segment::default()
    });
}

/// Opens connections to a server that writes, and never has room for a byte; says so again and again.
pub struct ZeroWindow {
    count: u32,
    opened: u32,
    /// By connection: what it expects next of the server.
    expects: Vec<u32>,
    due: VecDeque<u32>,
    dice: Dice,
}

impl ZeroWindow {
    pub fn new(count: u32) -> Self {
        Self { count, opened: 0, expects: vec![0; count as usize], due: VecDeque::new(), dice: Dice(2) }
    }

    fn say_no(&self, index: u32, out: &mut Packets) {
        out.push(&Segment {
            from: end(index),
            port: port::BIG_SOURCE,
            seq: index + 1,
            ack: self.expects[index as usize],
            flags: flag::ACK,
            ..Segment::default()
        });
    }
}

impl Attack for ZeroWindow {
    fn step(&mut self, _ms: u64, out: &mut Packets) {
        for _ in 0..10.min(self.count - self.opened) {
            syn(self.opened, port::BIG_SOURCE, out);
            self.opened += 1;
        }
        while let Some(index) = self.due.pop_front() {
            self.say_no(index, out);
        }
        for _ in 0..96 {
            let index = self.dice.below(self.opened);
            if self.expects[index as usize] != 0 {
                self.say_no(index, out);
            }
        }
    }

    fn hear(&mut self, heard: &Heard) {
        if heard.has(flag::SYN) {
            self.expects[index(heard.to) as usize] = heard.end();
        }
        // The handshake is finished, and each probe is answered; what was reset is opened no more.
        if heard.has(flag::RST) {
            self.expects[index(heard.to) as usize] = 0;
        } else {
            self.due.push_back(index(heard.to));
        }
    }
}

/// Asks, is answered, and does not end when the server does.
pub struct FinWait {
    acknowledges: bool,
    opened: u32,
    /// Who is to say what next: the connection, and what it acknowledges.
    asks: Vec<(u32, u32)>,
    acks: Vec<(u32, u32)>,
}

impl FinWait {
    /// `acknowledges` the server's FIN and sends none itself, or is silent from then on.
    pub fn new(acknowledges: bool) -> Self {
        Self { acknowledges, opened: 0, asks: Vec::new(), acks: Vec::new() }
    }
}

impl Attack for FinWait {
    fn step(&mut self, _ms: u64, out: &mut Packets) {
        const REQUEST: [u8; 64] = [7; 64];
        for _ in 0..4 {
            syn(self.opened, port::ANSWERS, out);
            self.opened += 1;
        }
        let segment = |index: u32, seq: u32, ack: u32| Segment {
            from: end(index),
            port: port::ANSWERS,
            seq,
            ack,
            flags: flag::ACK,
            window: 65_535,
            ..Segment::default()
        };
        for (index, ack) in self.asks.drain(..) {
            out.push(&segment(index, index + 1, ack));
            out.push(&Segment { payload: &REQUEST, ..segment(index, index + 1, ack) });
        }
        for (index, ack) in self.acks.drain(..) {
            out.push(&segment(index, index + 65, ack));
        }
    }

    fn hear(&mut self, heard: &Heard) {
        if heard.has(flag::SYN) {
            self.asks.push((index(heard.to), heard.end()));
        } else if heard.has(flag::FIN) && self.acknowledges {
            self.acks.push((index(heard.to), heard.end()));
        }
    }
}
