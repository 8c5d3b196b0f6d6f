//! Which positions of a stream have arrived.

/// Pieces that are remembered; beyond it the set no longer says where its holes are.
const MOST: usize = 4096;

/// Disjoint ranges in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    pieces: Vec<(i64, i64)>,
    blurred: bool,
}

impl Ranges {
    pub(super) fn add(&mut self, start: i64, end: i64) {
        if start >= end {
            return;
        }
        if let Some(last) = self.pieces.last_mut()
            && start >= last.0
            && start <= last.1
        {
            last.1 = last.1.max(end);
            return;
        }
        let first = self.pieces.partition_point(|p| p.1 < start);
        let behind = self.pieces.partition_point(|p| p.0 <= end);
        if first == behind {
            self.pieces.insert(first, (start, end));
        } else {
            let joined = (start.min(self.pieces[first].0), end.max(self.pieces[behind - 1].1));
            self.pieces.splice(first..behind, [joined]);
        }
        if self.pieces.len() > MOST {
            self.pieces.remove(MOST);
            self.blurred = true;
        }
    }

    /// Whether all of it is there; also said where that is not known any more.
    pub(super) fn holds(&self, start: i64, end: i64) -> bool {
        if start >= end || self.blurred {
            return true;
        }
        let at = self.pieces.partition_point(|p| p.1 < end);
        self.pieces.get(at).is_some_and(|p| p.0 <= start && p.1 >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn pieces_join_and_holes_are_told() {
        let mut r = Ranges::default();
        r.add(0, 10);
        r.add(20, 30);
        assert!(r.holds(0, 10) && r.holds(22, 30) && !r.holds(9, 21) && !r.holds(29, 31));
        r.add(10, 20);
        assert!(r.holds(0, 30), "{r:?}");
        r.add(40, 50);
        r.add(5, 45);
        assert!(r.holds(0, 50) && !r.holds(0, 51), "{r:?}");
    }
}
