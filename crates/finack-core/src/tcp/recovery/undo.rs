//! Whether a repair was needless (RFC 3522, 3708, 4015): then the window is as before.

use crate::tcp::seq::Pos;

/// What is remembered of the repair under way, or of the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undo {
    /// SND.UNA when the repair began.
    from: Pos,
    /// Segments sent again of which no DSACK told that they arrived twice; none before the first.
    unexplained: Option<u32>,
    /// TSval of the first segment sent again.
    first: Option<u32>,
}

impl Undo {
    pub(crate) const fn new(from: Pos) -> Self {
        Self { from, unexplained: None, first: None }
    }

    /// `segments` were sent again, with this TSval.
    pub(crate) fn on_repeat(&mut self, segments: u32, ts: u32) {
        self.unexplained = Some(self.unexplained.unwrap_or(0).saturating_add(segments));
        self.first.get_or_insert(ts);
    }

    /// `segments` up to `end` arrived twice.
    pub(crate) fn on_duplicate(&mut self, segments: u32, end: Pos) {
        if end > self.from {
            self.unexplained = self.unexplained.map(|n| n.saturating_sub(segments));
        }
    }

    /// RFC 3708: all that was sent again arrived twice.
    pub(crate) fn all_explained(&self) -> bool {
        self.unexplained == Some(0)
    }

    /// Tells the time of the first repetition relative to `clock`; where no echo can be compared with it only that there was
    /// one.
    pub(crate) fn tell_relative(&mut self, clock: Option<u32>) {
        self.first = self.first.map(|at| clock.map_or(0, |clock| at.wrapping_sub(clock)));
    }

    /// RFC 3522: the ACK echoes a time before the first repetition, so it answers what was sent before.
    pub(crate) fn answers_original(&self, echo: Option<u32>) -> bool {
        match (self.first, echo) {
            (None, _) => true,
            (Some(first), Some(echo)) => echo != 0 && (echo.wrapping_sub(first) as i32) < 0,
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3708 3: as many segments reported twice as were sent again: none of it was lost.
    #[test]
    fn each_repetition_must_be_reported() {
        let mut undo = Undo::new(1);
        assert!(!undo.all_explained());
        undo.on_repeat(2, 100);
        undo.on_duplicate(1, 1001);
        assert!(!undo.all_explained());
        undo.on_duplicate(1, 2001);
        assert!(undo.all_explained());
    }

    /// A report about what came before the repair says nothing of it.
    #[test]
    fn what_was_sent_before_the_repair_does_not_count() {
        let mut undo = Undo::new(5001);
        undo.on_repeat(1, 100);
        undo.on_duplicate(1, 5001);
        assert!(!undo.all_explained());
    }

    /// RFC 3522 3.2 (4): an echo older than the first repetition's time.
    #[test]
    fn an_old_echo_answers_the_original() {
        let mut undo = Undo::new(1);
        undo.on_repeat(1, 1000);
        assert!(undo.answers_original(Some(999)));
        assert!(!undo.answers_original(Some(1000)));
        assert!(!undo.answers_original(None));
    }
}
