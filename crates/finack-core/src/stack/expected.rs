//! Packets on their way in, at a glance: the segment that an established connection expects next is taken at once,
//! everything else goes the long way through `ip_input` and `tcp_input`. Both ways come to the same.

use bytes::Bytes;
use finack_wire::ip::Ecn;
use finack_wire::plain::{Ahead, Plain, Run};
use finack_wire::tcp_options::TcpOptions;

use super::Stack;
use super::ahead::AHEAD;
use super::refresh::Agenda;
use super::tcp_input::{marks_of, received};
use crate::cx::Cx;
use crate::demux::Kind;
use crate::device::{ChecksumState, Packet, PacketBytes};
use crate::pool::Pool;
use crate::tcp::input::expected::{self, Taken};
use crate::tcp::input::run::{self, Behind};
use crate::tcp::input::{Arrival, Segment, Text};
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::Connection;
use crate::tcp::{Payload, Tuple};
use crate::time::Instant;

/// Less data than this is summed together with its header, which is quicker than both by themselves.
const STAGED_FROM: usize = 128;
/// No connection is known to have it.
pub(super) const NOBODY: u32 = u32::MAX;
/// The same as the packet at this place among them has: no table has so many connections.
const LIKE: u32 = 1 << 31;

impl Stack {
    /// Takes packets that came together.
    pub(super) fn packets_input(&mut self, now: Instant, mut packets: &[Packet<'_>]) {
        while let [packet, behind @ ..] = packets {
            let plain = Plain::parse(packet.bytes.as_slice());
            // Those of one connection often come one after the other.
            let known =
                behind.is_empty() || plain.as_ref().is_some_and(|plain| self.is_of(self.recent, plain));
            packets = if known {
                let taken = self.packet_input(now, packet, plain.as_ref(), self.recent, behind);
                &behind[taken..]
            } else {
                self.mixed_input(now, packets)
            };
        }
    }

    /// Takes some of the packets, and those that follow the last of them; answers the rest.
    fn mixed_input<'a, 'b>(&mut self, now: Instant, packets: &'a [Packet<'b>]) -> &'a [Packet<'b>] {
        let together = packets.len().min(AHEAD);
        let plain = |i| {
            packets[..together].get(i).and_then(|packet: &Packet<'_>| Plain::parse(packet.bytes.as_slice()))
        };
        let plains: [_; AHEAD] = core::array::from_fn(plain);
        let guesses = self.look_ahead(&plains[..together]);
        let mut at = 0;
        while at < together {
            let (packet, behind) = (&packets[at], &packets[at + 1..]);
            at += 1 + self.packet_input(now, packet, plains[at].as_ref(), guesses[at], behind);
        }
        &packets[at..]
    }

    /// The connections that these packets may be for. Each step is made for all of them before the next: what the
    /// processor fetches from memory for the one does not wait for the other's.
    fn look_ahead(&self, plains: &[Option<Plain<'_>>]) -> [u32; AHEAD] {
        let mut guesses = [NOBODY; AHEAD];
        let mut hashes = [0; AHEAD];
        let mut before: Option<(&Plain<'_>, u32)> = None;
        for (i, plain) in plains.iter().enumerate() {
            let Some(plain) = plain else { continue };
            guesses[i] = match before {
                Some((other, guess)) if have_same_ends(plain, other) => guess,
                None if self.is_of(self.recent, plain) => self.recent,
                _ => {
                    hashes[i] = self.hash(&tuple_of(plain));
                    self.demux.prefetch(hashes[i]);
                    LIKE | i as u32
                }
            };
            before = Some((plain, guesses[i]));
        }
        for i in 0..plains.len() {
            // Those of one connection often come one after the other.
            let like = (guesses[i] & !LIKE) as usize;
            if guesses[i] == NOBODY || guesses[i] & LIKE == 0 {
                continue;
            }
            guesses[i] = if like < i {
                guesses[like]
            } else {
                let slot =
                    self.demux.find(hashes[i], |_| true).filter(|slot| slot.kind() == Kind::Connection);
                slot.map_or(NOBODY, |slot| slot.index())
            };
        }
        let fresh = |i: usize| guesses[i] != NOBODY && (i == 0 || guesses[i] != guesses[i - 1]);
        self.prefetch_all((0..plains.len()).filter(|&i| fresh(i)).map(|i| guesses[i]));
        guesses
    }

    /// Takes a packet, and of those `behind` it the first that go on where it ends: as many as it answers. `guess` is the
    /// connection that it may be for.
    fn packet_input(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        plain: Option<&Plain<'_>>,
        guess: u32,
        behind: &[Packet<'_>],
    ) -> usize {
        self.note_packet(packet);
        let taken = match plain {
            Some(plain) => self.take_short_way(now, packet, plain, guess),
            None => self.take_opening(now, packet).then_some(NOBODY),
        };
        let Some(index) = taken else {
            self.ip_input(now, packet);
            return 0;
        };
        match plain {
            Some(plain) if index != NOBODY && !behind.is_empty() => {
                self.take_behind(now, packet, plain, index, behind)
            }
            _ => 0,
        }
    }

    /// Takes a plain segment of a connection that stands, or of one that is in the making; answers whether it did, and where it
    /// was what its connection expected, whose it was.
    fn take_short_way(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        plain: &Plain<'_>,
        guess: u32,
    ) -> Option<u32> {
        if !self.cx.short_cuts || !self.auth.is_empty() {
            return None;
        }
        if self.is_of(guess, plain) {
            return self.take_of_connection(now, packet, plain, guess);
        }
        let tuple = tuple_of(plain);
        let hash = self.hash(&tuple);
        let slot = self.find(hash, &tuple)?;
        let index = slot.index();
        match slot.kind() {
            Kind::Connection => self.take_of_connection(now, packet, plain, index),
            Kind::Embryo => self.take_for_embryo(now, packet, plain, (index, hash)).then_some(NOBODY),
            _ => None,
        }
    }

    #[inline]
    fn take_of_connection(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        plain: &Plain<'_>,
        index: u32,
    ) -> Option<u32> {
        if self.take_expected(now, packet, plain, index) {
            return Some(index);
        }
        let taken = self.take_ending(now, packet, plain, index) || self.take_plain(now, packet, plain, index);
        taken.then_some(NOBODY)
    }

    /// Takes a segment that is not what its connection expects next: the connection has seen to its addresses, and the rest
    /// of the long way begins where it looks at the segment itself.
    fn take_plain(&mut self, now: Instant, packet: &Packet<'_>, plain: &Plain<'_>, index: u32) -> bool {
        let known = self.connections.get(index).is_some_and(|c| c.facts.admits_afar());
        if !known || packet.meta.checksum != ChecksumState::Valid && !plain.checksum_ok() {
            return false;
        }
        let segment = segment_of(plain, packet);
        self.count_segment(&segment);
        self.connection_input(now, index, &segment);
        true
    }

    /// The same for one in the making, whose addresses are looked at.
    fn take_for_embryo(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        plain: &Plain<'_>,
        (index, hash): (u32, u64),
    ) -> bool {
        let known = self.ip.routes.is_local(plain.dst) && self.ip.routes.is_valid_source(plain.src);
        if !known || packet.meta.checksum != ChecksumState::Valid && !plain.checksum_ok() {
            return false;
        }
        let segment = segment_of(plain, packet);
        self.count_segment(&segment);
        self.embryo_input(now, index, hash, &segment);
        true
    }

    pub(super) fn count_segment(&mut self, segment: &Segment<'_>) {
        self.cx.counters.count_segments_in(segment.ecn, u64::from(segment.segments));
    }

    /// Whether the packet is one of this connection's.
    fn is_of(&self, index: u32, plain: &Plain<'_>) -> bool {
        self.connections.get(index).is_some_and(|c| {
            // Part by part: to copy what was written in parts a moment ago would wait for all of them.
            c.tuple.remote_port == plain.src_port
                && c.tuple.local_port == plain.dst_port
                && c.tuple.remote == plain.src
                && c.tuple.local == plain.dst
                && c.facts.indexed()
        })
    }

    /// Takes the packet if it is what its connection expects; answers whether it did.
    #[inline]
    fn take_expected(&mut self, now: Instant, packet: &Packet<'_>, plain: &Plain<'_>, index: u32) -> bool {
        if plain.fin {
            return false;
        }
        let arrival = arrival_of(plain, packet);
        let (payload, segments) = (arrival.text.payload, arrival.text.segments);
        let Self { connections, cx, wheel, ready_to_send, events, recent, .. } = self;
        let Some(c) = connections.get_mut(index).filter(|c| c.facts.admits_afar()) else { return false };
        let Some(ack) = expected::is_expected(c, &arrival) else { return false };
        if packet.meta.checksum != ChecksumState::Valid && !is_sound(c, &mut cx.pool, plain.ahead, payload) {
            return false;
        }
        *recent = index;
        count_expected(cx, plain, u64::from(segments));
        if cx.tracer.is_on() {
            trace(c, cx, now, plain, &arrival);
        }
        let mut agenda = Agenda { wheel, ready_to_send, events };
        match expected::take(c, cx, now, &arrival, ack) {
            Taken::Text if agenda.knows(c) => {}
            _ => agenda.refresh_at_once(c, cx, now, index),
        }
        true
    }

    /// Takes those of the packets `behind` that go on where `packet` ended, which was expected by this connection, and say the
    /// same; answers how many.
    fn take_behind(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        plain: &Plain<'_>,
        index: u32,
        behind: &[Packet<'_>],
    ) -> usize {
        let Some(mut run) = Run::behind(plain, packet.bytes.as_slice()) else { return 0 };
        let arrival = arrival_of(plain, packet);
        let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
        let Some(c) = connections.get_mut(index) else { return 0 };
        let mut agenda = Agenda { wheel, ready_to_send, events };
        // What is observed is observed of each.
        if cx.tracer.is_on() || !agenda.knows(c) {
            return 0;
        }
        let Some(limit) = run::limit(c, cx, now, &arrival) else { return 0 };
        let mut taken = Behind::default();
        let len = plain.payload().len();
        for packet in behind {
            let Some(next) = run.next(packet.bytes.as_slice()) else { break };
            let joined = packet.meta.segments > 1 || packet.meta.segment_size > 0 || packet.meta.ce_marks > 0;
            let late = next.value.is_some_and(|value| seq::before(value, c.ts_recent));
            if joined || late || next.payload.len() != len || c.recv.next() + len as Pos > limit {
                break;
            }
            let payload = Payload { bytes: next.payload, owner: owner_of(packet) };
            if !append_sound(c, &mut cx.pool, packet.meta.checksum, next.ahead, payload) {
                break;
            }
            taken.count += 1;
            taken.psh |= next.psh;
        }
        if taken.count > 0 {
            run::take(c, cx, now, &arrival, taken);
            count_expected(cx, plain, u64::from(taken.count));
            cx.counters.tcp_expected_behind += u64::from(taken.count);
            if !agenda.knows(c) {
                agenda.refresh(c, cx, now, index);
            }
        }
        taken.count as usize
    }
}

/// So many segments came like this one.
#[inline(always)]
fn count_expected(cx: &mut Cx, plain: &Plain<'_>, count: u64) {
    cx.counters.count_segments_in(Ecn::from_bits(plain.tos), count);
    cx.counters.tcp_expected += count;
}

fn trace(c: &Connection, cx: &mut Cx, now: Instant, plain: &Plain<'_>, arrival: &Arrival<'_>) {
    let segment = Segment { urgent: plain.urgent(), ..arrival.segment() };
    cx.trace(now, c.trace_id, &c.tuple, received(&segment, c.agreed.snd_wscale));
}

/// Both are of one connection.
fn have_same_ends(a: &Plain<'_>, b: &Plain<'_>) -> bool {
    (a.src_port, a.dst_port) == (b.src_port, b.dst_port) && a.src == b.src && a.dst == b.dst
}

/// Whether the checksum is right. Data that will be copied is copied meanwhile: it is read once for both, and if the checksum is
/// wrong nothing has happened.
fn is_sound(c: &mut Connection, pool: &mut Pool, ahead: Ahead, data: Payload<'_>) -> bool {
    if data.bytes.len() < STAGED_FROM || data.is_kept_whole() {
        return ahead.is_completed_by(data.bytes);
    }
    let mut sum = ahead.sum();
    c.recv.stage(pool, data.bytes, &mut sum);
    let sound = sum.folded() == 0xffff;
    if !sound {
        c.recv.unstage(pool);
    }
    sound
}

/// Appends what goes on where all before it ends, if the checksum is right; answers whether it is.
#[inline(always)]
fn append_sound(
    c: &mut Connection,
    pool: &mut Pool,
    state: ChecksumState,
    ahead: Ahead,
    data: Payload<'_>,
) -> bool {
    if state != ChecksumState::Valid {
        let copied = data.bytes.len() >= STAGED_FROM && !data.is_kept_whole();
        if copied && let Some(sound) = c.recv.append_sound(data.bytes, ahead.sum()) {
            return sound;
        }
        if !is_sound(c, pool, ahead, data) {
            return false;
        }
    }
    c.recv.append(pool, data);
    true
}

fn owner_of<'a>(packet: &'a Packet<'_>) -> Option<&'a Bytes> {
    match &packet.bytes {
        PacketBytes::Shared(owner) => Some(owner),
        PacketBytes::Borrowed(_) => None,
    }
}

fn payload_of<'a>(plain: &Plain<'a>, packet: &'a Packet<'_>) -> Payload<'a> {
    Payload { bytes: plain.payload(), owner: owner_of(packet) }
}

pub(super) fn arrival_of<'a>(plain: &Plain<'a>, packet: &'a Packet<'_>) -> Arrival<'a> {
    let text = Text {
        payload: payload_of(plain, packet),
        segments: packet.meta.segments.max(1),
        segment_size: packet.meta.segment_size,
        psh: plain.psh,
        timestamps: plain.timestamps,
    };
    let ecn = if packet.meta.ce_marks > 0 { Ecn::Ce } else { Ecn::from_bits(plain.tos) };
    Arrival { seq: plain.seq, ack: plain.ack, window: plain.window, ecn, text }
}

fn segment_of<'a>(plain: &Plain<'a>, packet: &'a Packet<'_>) -> Segment<'a> {
    let ecn = Ecn::from_bits(plain.tos);
    Segment {
        seq: plain.seq,
        ack: plain.ack,
        flags: plain.flags(),
        window: plain.window,
        urgent: plain.urgent(),
        options: TcpOptions { timestamps: plain.timestamps, ..TcpOptions::default() },
        payload: payload_of(plain, packet),
        segments: packet.meta.segments.max(1),
        segment_size: packet.meta.segment_size,
        ecn,
        marks: marks_of(ecn, packet),
    }
}

fn tuple_of(plain: &Plain<'_>) -> Tuple {
    Tuple { local: plain.dst, remote: plain.src, local_port: plain.dst_port, remote_port: plain.src_port }
}
