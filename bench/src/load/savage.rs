//! Receivers that want more than their share (Savage, Cardwell, Wetherall, Anderson: TCP congestion control with a
//! misbehaving receiver, 1999): how far each gets a sender to open its window.

use std::collections::VecDeque;
use std::net::SocketAddr;

use finack_core::device::Packet;
use finack_core::options::{BindOptions, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, ListenerId};
use finack_core::{Error, Instant, Stack};

use super::forge::{End, Heard, Packets, Segment, flag, syn_options};
use super::siege::STEP;
use super::world::{SERVER, host};
use super::{count, progress};
use crate::measure::Options;
use crate::table::Table;

/// A round trip and the time that is looked at, in milliseconds.
const ROUND_TRIP: u64 = 100;
const TIME: u64 = 600;
const MSS: u32 = 1460;
const FROM: End = (0x0a42_0009, 5000);

/// What a receiver says of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiver {
    /// An ACK.
    Honest,
    /// A hundred, each of a piece of it.
    Divided,
    /// The same one twenty times, which looks as if more had arrived.
    Duplicated,
    /// The same, where it knows no SACK, which would tell.
    DuplicatedPlain,
    /// An ACK, long before it arrives.
    Optimistic,
}

/// What came of it.
struct Outcome {
    acks: u64,
    cwnd: u64,
    sent: u64,
}

pub fn table(options: &Options, wrong: &mut Vec<String>) -> Result<Option<Table>, String> {
    let rows = [
        ("an honest receiver", Receiver::Honest),
        ("divided ACKs, 100 a segment", Receiver::Divided),
        ("duplicate ACKs made up, 20 a segment", Receiver::Duplicated),
        ("the same without SACK", Receiver::DuplicatedPlain),
        ("optimistic ACKs, after a tenth of the round trip", Receiver::Optimistic),
    ];
    let title = "Receivers that misbehave (Savage 1999): 0.6 s with a round trip of 100 ms";
    let note = "A sender with CUBIC and a program that writes without end, a window of 8 MB, nothing lost.";
    let mut table = Table::new(
        title,
        note,
        &["receiver", "ACKs", "cwnd, segments", "sent, segments", "of the honest one's"],
    );
    let mut honest = None;
    for (name, receiver) in rows.into_iter().filter(|(name, _)| options.wants(name)) {
        progress(name);
        let out = play(receiver).map_err(|e| format!("{name}: {e}"))?;
        let base = *honest.get_or_insert(out.sent);
        if receiver != Receiver::Optimistic && out.sent > base {
            wrong.push(format!("{name}: {} bytes, where an honest receiver gets {base}", out.sent));
        }
        table.rows.push(vec![
            name.into(),
            count(out.acks),
            count(out.cwnd / u64::from(MSS)),
            count(out.sent / u64::from(MSS)),
            format!("{:.2} x", out.sent as f64 / base as f64),
        ]);
    }
    Ok((!table.rows.is_empty()).then_some(table))
}

struct Sender {
    stack: Stack,
    listener: ListenerId,
    conn: Option<ConnId>,
}

impl Sender {
    fn new(now: Instant) -> Result<Self, Error> {
        let mut stack = host(&[SERVER], Settings::default(), 9);
        let bind = stack.tcp_bind(now, SocketAddr::new(SERVER, 80), BindOptions::default())?;
        let listener = stack.tcp_listen(now, bind, 8, SocketOptions::default())?;
        Ok(Self { stack, listener, conn: None })
    }

    /// Timers, and the program, which writes whatever fits.
    fn run(&mut self, now: Instant) {
        self.stack.handle_timeout(now);
        while self.stack.poll_event().is_some() {}
        if self.conn.is_none() {
            self.conn = self.stack.tcp_accept(now, self.listener).ok().map(|(conn, _)| conn);
        }
        let Some(conn) = self.conn else { return };
        while self.stack.tcp_send(now, conn, &[7; 16_384], SendFlags::default()).is_ok_and(|n| n == 16_384) {}
    }
}

/// ACKs that are on their way: when they arrive, and what they say.
type Acks = VecDeque<(u64, u32, u32)>;

fn play(receiver: Receiver) -> Result<Outcome, Error> {
    let mut now = Instant::from_secs(1);
    let mut sender = Sender::new(now)?;
    let (mut acks, mut sent, mut packets) = (Acks::new(), 0, Packets::default());
    let mut options = syn_options(MSS as u16, 7);
    if receiver == Receiver::DuplicatedPlain {
        // Padding where it is offered.
        options[4..6].fill(1);
    }
    packets.push(&Segment {
        from: FROM,
        port: 80,
        flags: flag::SYN,
        window: 65_535,
        options: &options,
        ..Segment::default()
    });
    for ms in 0..TIME {
        now += STEP;
        while let Some((_, seq, ack)) = acks.pop_front_if(|(due, ..)| *due <= ms) {
            sent += 1;
            packets.push(&Segment {
                from: FROM,
                port: 80,
                seq,
                ack,
                flags: flag::ACK,
                window: 65_535,
                ..Segment::default()
            });
        }
        for packet in packets.iter() {
            sender.stack.handle_packets(now, &[Packet::borrowed(packet)]);
            sender.run(now);
        }
        sender.run(now);
        packets.clear();
        let mut bytes = Vec::new();
        while let Some(packet) = sender.stack.poll_transmit(now) {
            bytes.clear();
            packet.write_to(&mut bytes);
            if let Some(heard) = Heard::read(&bytes) {
                answer(receiver, ms, &heard, &mut acks);
            }
        }
    }
    let conn = sender.conn.ok_or(Error::NotConnected)?;
    let info = sender.stack.tcp_info(now, conn)?;
    Ok(Outcome { acks: sent, cwnd: info.cwnd, sent: info.bytes_sent })
}

/// What the receiver says, and when that arrives.
fn answer(receiver: Receiver, ms: u64, heard: &Heard, acks: &mut Acks) {
    let (seq, end) = (heard.ack, heard.end());
    let late = ms + ROUND_TRIP;
    if heard.has(flag::SYN) || heard.len == 0 {
        return acks.push_back((late, seq, end));
    }
    match receiver {
        Receiver::Honest => acks.push_back((late, seq, end)),
        Receiver::Divided => {
            let piece = |i: u32| heard.seq.wrapping_add(heard.len * i / 100);
            (1..=100).for_each(|i| acks.push_back((late, seq, piece(i))));
        }
        Receiver::Duplicated | Receiver::DuplicatedPlain => {
            (0..20).for_each(|_| acks.push_back((late, seq, end)))
        }
        Receiver::Optimistic => acks.push_back((ms + ROUND_TRIP / 10, seq, end)),
    }
}
