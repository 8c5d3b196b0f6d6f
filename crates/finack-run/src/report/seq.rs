//! One direction's sequence space followed in 64 bits.

/// Follows 32-bit sequence numbers as 64-bit offsets from the initial one: the SYN is offset 0, the first byte 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    isn: Option<u32>,
    /// One beyond the highest offset seen.
    high: u64,
    /// Offset of the FIN, once it was seen.
    fin: Option<u64>,
}

impl Line {
    /// Takes `seq` as the initial sequence number; what was followed before is forgotten.
    pub(super) fn start(&mut self, isn: u32) {
        *self = Self { isn: Some(isn), high: 0, fin: None };
    }

    /// Whether nothing but a SYN was seen.
    pub(super) fn is_new(&self) -> bool {
        self.high <= 1
    }

    /// The offset of `seq`, the nearest to what was seen last; negative before the SYN.
    pub(super) fn offset(&mut self, seq: u32) -> i64 {
        // Without a SYN (its event was lost) the first number seen stands for the first byte.
        let isn = *self.isn.get_or_insert(seq.wrapping_sub(1));
        let low = isn.wrapping_add(self.high as u32);
        self.high.cast_signed() + i64::from(seq.wrapping_sub(low).cast_signed())
    }

    /// Notes that everything below `end` was seen. True where that is new.
    pub(super) fn advance(&mut self, end: i64) -> bool {
        let end = u64::try_from(end).unwrap_or(0);
        let new = end > self.high;
        self.high = self.high.max(end);
        new
    }

    /// How far `seq` lies beyond that of the last byte seen: 1 where it is the next.
    pub(super) fn beyond_last(&mut self, seq: u32) -> i64 {
        self.offset(seq) + 1 - self.high.cast_signed()
    }

    pub(super) fn set_fin(&mut self, offset: i64) {
        self.fin = u64::try_from(offset).ok();
    }

    pub(super) fn has_fin(&self) -> bool {
        self.fin.is_some()
    }

    /// Whether an ACK of everything below `offset` covers the FIN.
    pub(super) fn covers_fin(&self, offset: i64) -> bool {
        self.fin.is_some_and(|fin| u64::try_from(offset).is_ok_and(|o| o > fin))
    }

    /// Payload bytes below `offset`.
    pub(super) fn payload_below(&self, offset: i64) -> u64 {
        let fin = u64::from(self.covers_fin(offset));
        u64::try_from(offset).unwrap_or(0).saturating_sub(1 + fin)
    }

    /// Payload bytes seen.
    pub(super) fn payload(&self) -> u64 {
        self.payload_below(self.high.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_on_where_the_sequence_number_wraps() {
        let mut line = Line::default();
        line.start(u32::MAX - 1);
        assert_eq!(line.offset(u32::MAX - 1), 0);
        line.advance(1);
        let first = line.offset(u32::MAX);
        line.advance(first + 1000);
        assert_eq!(line.offset(998), 1000);
        assert_eq!(line.offset(u32::MAX), 1);
        assert_eq!(line.payload(), 1000);
    }

    #[test]
    fn more_than_4_gib_are_counted() {
        let mut line = Line::default();
        line.start(7);
        line.advance(1);
        let mut seq = 8u32;
        for _ in 0..6 {
            let at = line.offset(seq);
            line.advance(at + (1 << 30));
            seq = seq.wrapping_add(1 << 30);
        }
        assert_eq!(line.payload(), 6 << 30);
    }

    #[test]
    fn the_fin_is_no_payload() {
        let mut line = Line::default();
        line.start(0);
        line.advance(11);
        line.set_fin(11);
        line.advance(12);
        assert_eq!(line.payload(), 10);
        assert!(!line.covers_fin(11));
        assert!(line.covers_fin(12));
    }
}
