//! The table of TIME-WAIT records.

use core::net::SocketAddr;

use finack_wire::tcp::Flags;

use super::Stack;
use crate::demux::{Kind, Slot};
use crate::ports::Owner;
use crate::tcp::emit::{self, Head, Plain};
use crate::tcp::input::Segment;
use crate::tcp::iss::Origin;
use crate::tcp::time_wait::{self, TimeWait, TwFlags, Verdict};
use crate::tcp::{State, Tuple, tcb};
use crate::time::Instant;
use crate::trace::{DropReason, EndCause, PacketId, SendReason, TraceKind};

fn owner_of(tw: &TimeWait, tuple: &Tuple) -> Owner {
    Owner {
        addr: tuple.local,
        reuse_addr: tw.flags.has(TwFlags::REUSE_ADDR),
        reuse_port: tw.flags.has(TwFlags::REUSE_PORT),
        listening: false,
        v6_only: tw.flags.has(TwFlags::V6_ONLY),
        explicit: tw.flags.has(TwFlags::EXPLICIT),
    }
}

impl Stack {
    pub(super) fn time_wait(&self, slot: Slot) -> Option<(TimeWait, Tuple)> {
        match slot.kind() {
            Kind::TimeWait4 => self.waits4.get(slot.index()),
            Kind::TimeWait6 => self.waits6.get(slot.index()),
            _ => None,
        }
    }

    fn update_time_wait(&mut self, slot: Slot, change: impl FnOnce(&mut TimeWait)) {
        match slot.kind() {
            Kind::TimeWait4 => self.waits4.update(slot.index(), change),
            Kind::TimeWait6 => self.waits6.update(slot.index(), change),
            _ => {}
        }
    }

    /// Makes a record; where the table is full the oldest gives way. The connection that it is of hands over its place in the
    /// index of four-tuples, and its claim on the port.
    pub(super) fn new_time_wait(&mut self, now: Instant, tuple: &Tuple, record: &TimeWait) -> Option<Slot> {
        self.cx.counters.tcp_time_waits += 1;
        let most = self.cx.settings.tcp_max_tw_buckets as usize;
        if most == 0 {
            self.cx.counters.tcp_time_wait_overflow += 1;
            self.end_time_wait(now, record.trace_id.get(), tuple, EndCause::Dropped);
            return None;
        }
        while self.waits4.len() + self.waits6.len() >= most {
            let Some((_, slot)) = self.oldest_time_wait() else { break };
            self.cx.counters.tcp_time_wait_overflow += 1;
            self.drop_time_wait(now, slot, EndCause::Dropped);
        }
        if tuple.is_v6() {
            self.waits6.insert(tuple, record).map(|i| Slot::new(Kind::TimeWait6, i))
        } else {
            self.waits4.insert(tuple, record).map(|i| Slot::new(Kind::TimeWait4, i))
        }
    }

    /// When the next one expires, and which it is.
    fn oldest_time_wait(&self) -> Option<(Instant, Slot)> {
        let four = self.waits4.oldest().map(|(i, at)| (at, Slot::new(Kind::TimeWait4, i)));
        let six = self.waits6.oldest().map(|(i, at)| (at, Slot::new(Kind::TimeWait6, i)));
        match (four, six) {
            (Some(four), Some(six)) => Some(if six.0 < four.0 { six } else { four }),
            (one, None) | (None, one) => one,
        }
    }

    pub(super) fn expire_time_waits(&mut self, now: Instant) {
        while let Some((_, slot)) = self.oldest_time_wait().filter(|&(at, _)| at <= now) {
            self.drop_time_wait(now, slot, EndCause::Closed);
        }
    }

    /// A record leaves before or at its time. An embryo over it stands on its own from then on.
    pub(super) fn drop_time_wait(&mut self, now: Instant, slot: Slot, cause: EndCause) {
        let Some((tw, tuple)) = self.remove_time_wait(slot) else { return };
        if tw.flags.has(TwFlags::COVERED)
            && let Some(over) = self.find(self.hash(&tuple), &tuple).filter(|s| s.kind() == Kind::Embryo)
        {
            self.embryos.update(over.index(), |e| e.under = None);
        }
        self.end_time_wait(now, tw.trace_id.get(), &tuple, cause);
    }

    fn end_time_wait(&mut self, now: Instant, id: u64, tuple: &Tuple, cause: EndCause) {
        let (from, to) = (State::TimeWait, State::Closed);
        self.cx.trace(now, id, tuple, TraceKind::State { from, to });
        self.cx.trace(now, id, tuple, TraceKind::Ended(cause));
    }

    /// Takes a record out of all tables.
    pub(super) fn remove_time_wait(&mut self, slot: Slot) -> Option<(TimeWait, Tuple)> {
        let removed = match slot.kind() {
            Kind::TimeWait4 => self.waits4.remove(slot.index()),
            Kind::TimeWait6 => self.waits6.remove(slot.index()),
            _ => None,
        }?;
        if !removed.0.flags.has(TwFlags::COVERED) {
            self.demux.remove(self.hash(&removed.1), slot);
        }
        self.auth.forget_time_wait(slot);
        self.ports.remove(removed.1.local_port, &owner_of(&removed.0, &removed.1));
        self.ports.freed(&removed.1);
        Some(removed)
    }

    /// An embryo takes the record's place in the table of connections, for now.
    pub(super) fn cover_time_wait(&mut self, hash: u64, slot: Slot, embryo: Slot) {
        self.update_time_wait(slot, |tw| tw.flags.set(TwFlags::COVERED, true));
        self.reindex(hash, slot, embryo);
    }

    /// The embryo led to nothing: TIME-WAIT is restored (RFC 9293 MAY-2).
    pub(super) fn uncover_time_wait(&mut self, hash: u64, embryo: Slot, slot: Slot) {
        self.update_time_wait(slot, |tw| tw.flags.set(TwFlags::COVERED, false));
        self.reindex(hash, embryo, slot);
    }

    /// A segment met a TIME-WAIT.
    pub(super) fn time_wait_input(&mut self, now: Instant, slot: Slot, segment: &Segment<'_>) {
        let Some((tw, tuple)) = self.time_wait(slot) else { return };
        let (mut record, id) = (tw, tw.trace_id.get());
        let verdict = time_wait::judge(&record, &self.cx, now, segment);
        let len = segment.payload.bytes.len() as u32;
        let dropped = |reason| TraceKind::Dropped { reason, len };
        match verdict {
            Verdict::Ignore | Verdict::IgnoreReset => {
                let reset = verdict == Verdict::IgnoreReset;
                let reason = if reset { DropReason::TimeWaitReset } else { DropReason::TimeWait };
                self.cx.counters.count_drop(reason);
                self.cx.trace(now, id, &tuple, dropped(reason));
            }
            Verdict::AckAndRestart => {
                let expires = now + time_wait::duration(&self.cx);
                match slot.kind() {
                    Kind::TimeWait4 => self.waits4.restart(slot.index(), expires),
                    _ => self.waits6.restart(slot.index(), expires),
                }
                if let Some((val, _)) = segment.options.timestamps {
                    self.update_time_wait(slot, |tw| tw.ts_recent = val);
                    record.ts_recent = val;
                }
                let offset = Origin::of(&self.cx.secrets, &tuple).ts_offset;
                self.answer_from_time_wait(now, &tuple, &record, offset);
            }
            Verdict::Ack => {
                self.update_time_wait(slot, |tw| tw.answered_ms = (now.as_millis() as u32).max(1));
                self.cx.counters.count_drop(DropReason::TimeWait);
                self.cx.trace(now, id, &tuple, dropped(DropReason::TimeWait));
                let offset = Origin::of(&self.cx.secrets, &tuple).ts_offset;
                self.answer_from_time_wait(now, &tuple, &record, offset);
            }
            Verdict::End => {
                self.cx.counters.tcp_in_rsts += 1;
                self.cx.trace(now, id, &tuple, TraceKind::ResetReceived);
                self.drop_time_wait(now, slot, EndCause::ResetByPeer);
            }
            Verdict::Reopen => self.reopen(now, slot, &tuple, &record, segment),
        }
    }

    /// A newer SYN: an embryo over the record, if somebody listens.
    fn reopen(&mut self, now: Instant, slot: Slot, tuple: &Tuple, record: &TimeWait, segment: &Segment<'_>) {
        let hash = self.hash(tuple);
        let listener =
            self.listener_index.find(tuple.local, tuple.local_port, hash, |i| self.listeners.get(i));
        match listener {
            Some(listener) => {
                let iss = time_wait::successor_iss(record);
                self.take_syn(now, listener, (tuple, hash), segment, Some((slot, iss)));
            }
            None => {
                let reason = crate::trace::ResetReason::NoListener;
                self.refuse(now, None, tuple, segment, reason);
            }
        }
    }

    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`.
    /// `ts_offset` is what its timestamps are ahead of the clock.
    pub(super) fn answer_from_time_wait(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        tw: &TimeWait,
        ts_offset: u32,
    ) {
        let stamp = (tcb::ts_clock(now).wrapping_add(ts_offset), tw.ts_recent);
        let plain = Plain {
            seq: tw.snd_nxt,
            ack: tw.rcv_nxt,
            flags: Flags::ACK,
            window: tw.window,
            urgent: 0,
            stamps: tw.flags.has(TwFlags::TIMESTAMPS).then_some(stamp),
            hop_limit: self.cx.hop_limit(),
            tos: 0,
            ident: 0,
            dont_fragment: true,
        };
        let (id, reason) = (Some(tw.trace_id.get()), SendReason::DuplicateAck);
        if self.cx.tracer.is_on() || !self.auth.is_empty() {
            return self.push_bare(now, id, &plain.head(tuple), reason);
        }
        self.cx.counters.tcp_out_segs += 1;
        self.ip.out.push_headers(|out| plain.write(tuple, 0, || 0, false, out).len());
    }

    /// Queues a segment without payload.
    pub(super) fn push_bare(&mut self, now: Instant, id: Option<u64>, head: &Head, reason: SendReason) {
        let Some(signer) = self.protect(head) else {
            let kind = TraceKind::Dropped { reason: DropReason::Unsignable, len: 0 };
            self.cx.counters.count_drop(DropReason::Unsignable);
            return match id {
                Some(id) => self.cx.trace(now, id, &head.tuple, kind),
                None => self.cx.trace_stray(now, Self::ends(&head.tuple), kind),
            };
        };
        let mut reserved;
        let head = match &signer {
            Some(signer) => {
                reserved = *head;
                signer.reserve(&mut reserved.options);
                &reserved
            }
            None => head,
        };
        let mut packet = self.ip.out.buffer();
        emit::bare(head, signer.as_ref(), &mut packet);
        let number = self.ip.out.next_number();
        // It answers the packet that is being taken in, but is one of its own.
        let answered = self.cx.tracer.packet.replace(PacketId::Out(number));
        self.trace_sent(now, id, head, 0, 1, 0, reason);
        self.cx.tracer.packet = answered;
        self.cx.counters.tcp_out_segs += 1;
        self.ip.out.push_numbered(packet, number, None);
    }

    /// Both ends for an observation.
    pub(super) fn ends(tuple: &Tuple) -> Option<(SocketAddr, SocketAddr)> {
        Some((tuple.local_addr(), tuple.remote_addr()))
    }
}
