//! Accurate feedback (RFC 9768 3.2): counters of what arrived, and what becomes of the peer's.

use finack_wire::ip::Ecn;
use finack_wire::tcp_options::{AccEcn, MAX_ACC_ECN_FIELDS};

use crate::settings::Settings;
use crate::time::Instant;

/// r.cep and s.cep begin here (RFC 9768 3.2.1); ours are kept without it.
pub(crate) const CEP_AT_FIRST: u32 = 5;
/// r.e0b, r.ceb and r.e1b begin here.
pub(crate) const BYTES_AT_FIRST: [u32; 3] = [1, 0, 1];
/// Bytes after which a counter is told at least once (RFC 9768 3.2.3.3): no more than a quarter of its range.
const TELL_EACH: u32 = 22;
/// A counter that never came may have wrapped by now: it is too late to learn it.
const OPTION_TOO_LATE: u64 = (1 << 23) - 1;

/// How the peer's options come, in Linux's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    Nothing = 0,
    /// Without counters.
    Empty = 1,
    Counters = 2,
    /// They are not to be believed.
    Failed = 3,
}

/// Both ends' counters.
#[derive(Clone, Debug)]
pub(crate) struct Accurate {
    /// Packets that came with CE.
    pub(crate) received_ce: u32,
    /// Bytes of payload that came with ECT(0), CE and ECT(1).
    pub(crate) received: [u32; 3],
    /// CE that no segment of ours has told yet.
    pub(crate) untold: u8,
    /// The codepoint of the packet before.
    pub(crate) last: Ecn,
    /// The SYN,ACK's codepoint, which a pure ACK is still to tell.
    pub(crate) reflect: Option<Ecn>,
    /// Counters that changed since the last option, as a place in order 1: 0 none, 1 ECT(1), 2 CE, 3 ECT(0).
    pub(crate) changed: u8,
    /// Segments that are to have the option.
    pub(crate) demand: u8,
    /// When the option went out last.
    pub(crate) told_at: Instant,
    /// Packets of ours that arrived with CE.
    pub(crate) delivered_ce: u32,
    /// Bytes of ours that arrived with ECT(0), CE and ECT(1).
    pub(crate) delivered: [u32; 3],
    /// Which of these counters grows, where that is certain.
    grows: Option<u8>,
    pub(crate) seen: Seen,
}

/// What an ACK reports. The delivered packets are an estimate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) ace: u8,
    pub(crate) option: Option<&'a AccEcn>,
    /// Packets and bytes that it reports as delivered.
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
    pub(crate) mss: u32,
    /// Payload bytes sent so far.
    pub(crate) sent: u64,
}

/// What was marked. Zero for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
}

const fn index(codepoint: Ecn) -> Option<usize> {
    match codepoint {
        Ecn::NotEct => None,
        Ecn::Ect0 => Some(0),
        Ecn::Ce => Some(1),
        Ecn::Ect1 => Some(2),
    }
}

impl Accurate {
    pub(crate) const fn new() -> Self {
        Self {
            received_ce: 0,
            received: [0; 3],
            untold: 0,
            last: Ecn::NotEct,
            reflect: None,
            changed: 0,
            demand: 0,
            told_at: Instant::ZERO,
            delivered_ce: 0,
            delivered: [0; 3],
            grows: None,
            seen: Seen::Nothing,
        }
    }

    /// The ACE field: the low three bits of r.cep.
    pub(crate) const fn ace(&self) -> u8 {
        (self.received_ce.wrapping_add(CEP_AT_FIRST) & 7) as u8
    }

    pub(crate) fn count_marks(&mut self, packets: u16) {
        self.received_ce = self.received_ce.wrapping_add(u32::from(packets));
        self.untold = self.untold.saturating_add(packets.min(255) as u8);
    }

    /// A packet that stands for `marks` ones with CE came, with `len` bytes of payload. Answers whether its codepoint is
    /// another than the one before had.
    pub(crate) fn count(&mut self, codepoint: Ecn, marks: u16, len: u32) -> bool {
        self.count_marks(marks);
        if let Some(at) = index(codepoint).filter(|_| len > 0) {
            let before = self.received[at];
            self.received[at] = before.wrapping_add(len);
            // Order 1: ECT(1), CE, ECT(0).
            self.changed = self.changed.max(MAX_ACC_ECN_FIELDS as u8 - at as u8);
            if before >> TELL_EACH != self.received[at] >> TELL_EACH {
                self.demand = self.demand.max(1);
            }
        }
        let other = core::mem::replace(&mut self.last, codepoint) != codepoint;
        if other || marks > 0 {
            // Two, so that a lost ACK does not lose it.
            self.demand = 2;
        }
        other
    }

    /// How many counters fit into `room` bytes of options beside `blocks` SACK blocks, of which two at least stay. Answers
    /// the number of counters, and how many blocks stay.
    pub(crate) fn fit(&self, room: usize, blocks: usize) -> Option<(usize, usize)> {
        let required = usize::from(self.changed);
        let mut kept = blocks;
        loop {
            let free = room.checked_sub(if kept > 0 { 4 + 8 * kept } else { 0 });
            let size = |fields: usize| {
                let len = 2 + 3 * fields;
                // Up to two bytes stand where SACK's padding would.
                if kept > 0 && len % 4 <= 2 { len - len % 4 } else { len.next_multiple_of(4) }
            };
            let fits = |&fields: &usize| free.is_some_and(|free| size(fields) <= free);
            if let Some(fields) = (required..=MAX_ACC_ECN_FIELDS).rev().find(fits) {
                return Some((fields, kept));
            }
            // RFC 9768 3.2.3.3: two blocks take precedence.
            if kept <= 2 || required == 0 {
                return None;
            }
            kept -= 1;
        }
    }

    /// The option with the first `fields` counters of order 1. Where that leaves no room for all that changed, and ECT(1)
    /// did not, `fit` has found that all of them fit.
    pub(crate) fn option(&self, fields: usize) -> AccEcn {
        let at = |i: usize| self.received[i].wrapping_add(BYTES_AT_FIRST[i]);
        AccEcn::new(true, [at(0), at(1), at(2)], fields)
    }

    /// The option went out.
    pub(crate) fn told(&mut self, now: Instant) {
        self.changed = 0;
        self.demand = self.demand.saturating_sub(1);
        self.told_at = now;
    }

    /// The first option that comes: zeros tell that a middlebox has wiped it (RFC 9768 3.2.3.2.4).
    pub(crate) fn learn_option(&mut self, option: Option<&AccEcn>) {
        let Some(option) = option.filter(|_| self.seen < Seen::Counters) else { return };
        self.seen = match (option.ect0(), option.ect1()) {
            (Some(0), _) | (_, Some(0)) => Seen::Failed,
            (None, None) => Seen::Empty,
            _ => Seen::Counters,
        };
    }

    /// Takes over the peer's byte counters. Answers whether they tell for certain what the ACK's bytes carried.
    fn read_option(&mut self, report: &Report<'_>) -> bool {
        if self.seen == Seen::Failed {
            return false;
        }
        let Some(option) = report.option else {
            if self.seen == Seen::Nothing {
                if report.sent >= OPTION_TOO_LATE {
                    self.seen = Seen::Failed;
                }
                return false;
            }
            let Some(at) = self.grows else { return false };
            let counter = &mut self.delivered[usize::from(at)];
            *counter = counter.wrapping_add(report.bytes);
            return true;
        };
        self.learn_option(Some(option));
        if self.seen == Seen::Failed {
            return false;
        }
        let mut certain = self.grows.is_some();
        let (mut first, mut ambiguous) = (None, false);
        let counters = [option.ect0(), option.ce(), option.ect1()];
        for at in [2, 1, 0] {
            let Some(told) = counters[at] else { continue };
            let truncated = told.wrapping_sub(BYTES_AT_FIRST[at]);
            // 24 bits count; what seems to go back was estimated too high before.
            let delta = (truncated.wrapping_sub(self.delivered[at]) << 8) as i32 >> 8;
            self.delivered[at] = self.delivered[at].wrapping_add_signed(delta);
            if delta < 0 {
                (certain, ambiguous) = (false, true);
            }
            if delta != 0 && self.grows != Some(at as u8) {
                if first.is_none() {
                    first = Some(at as u8);
                } else {
                    (certain, ambiguous) = (false, true);
                }
            }
        }
        if ambiguous {
            self.grows = None;
        } else if first.is_some() {
            self.grows = first;
        }
        certain
    }

    /// What an ACK that is news reports (RFC 9768 3.2.2.5.2, A.2).
    pub(crate) fn read(&mut self, report: &Report<'_>) -> Marked {
        let bytes_before = self.delivered[1];
        let certain = self.read_option(report);
        let ce_bytes = self.delivered[1].wrapping_sub(bytes_before);
        let told = u32::from(report.ace).wrapping_sub(CEP_AT_FIRST);
        let least = told.wrapping_sub(self.delivered_ce) & 7;
        let packets = self.wrapped(report, least, certain.then_some(ce_bytes));
        self.delivered_ce = self.delivered_ce.wrapping_add(packets);
        let by_option = certain || report.option.is_some() && self.seen == Seen::Counters;
        let bytes = if by_option && ce_bytes < 1 << 23 {
            u64::from(ce_bytes)
        } else {
            // A.3: as many packets of full size, within what arrived.
            (u64::from(packets) * u64::from(report.mss)).min(u64::from(report.bytes))
        };
        Marked { packets, bytes }
    }

    /// How many packets were marked, of which the low three bits are `least`: the field wraps where more than seven were
    /// delivered, and what bytes were marked, if known, tells how often.
    fn wrapped(&self, report: &Report<'_>, least: u32, ce_bytes: Option<u32>) -> u32 {
        let Report { packets, bytes, mss, .. } = *report;
        if packets <= 7 {
            return least;
        }
        let safe = packets - (packets.wrapping_sub(least) & 7);
        let Some(ce_bytes) = ce_bytes else { return safe };
        if ce_bytes == 0 {
            return least;
        }
        if packets >= 16 {
            if bytes <= ce_bytes {
                return safe;
            }
            let estimate = (u64::from(ce_bytes) * u64::from(packets)).div_ceil(u64::from(bytes)) as u32;
            return safe.min(least + (estimate & !7));
        }
        let most = u64::from(ce_bytes);
        if most > u64::from(least) * u64::from(mss) {
            return safe;
        }
        if most < u64::from(safe) * u64::from(mss) / 2 { least } else { safe }
    }

    /// Whether the next segment has the option.
    pub(crate) fn tells_bytes(&self, settings: &Settings, now: Instant, srtt: core::time::Duration) -> bool {
        let beacons = settings.tcp_ecn_option_beacon.min(4) as u32;
        match settings.tcp_ecn_option {
            0 => false,
            1 => self.demand > 0 || beacons > 0 && now.since(self.told_at) * beacons >= srtt,
            _ => true,
        }
    }
}
