//! What the user should know besides the report: lines that any part of a run may add.

use std::cell::RefCell;
use std::rc::Rc;

/// Lines that are kept: whatever goes wrong again and again is told once.
const MOST: usize = 32;

/// Lines for the end of a run, shared by everything that may have one to add. Each is kept once; from the 32nd on
/// they are dropped.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Rc<RefCell<Vec<String>>>);

impl Warnings {
    /// Adds a line, unless it was added before.
    pub fn add(&self, line: impl Into<String>) {
        let line = line.into();
        let mut lines = self.0.borrow_mut();
        if lines.len() < MOST && !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// The lines so far, which are forgotten here.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_told_once_and_their_number_is_bounded() {
        let warnings = Warnings::default();
        for n in 0..100 {
            warnings.clone().add(format!("line {n}"));
            warnings.add("line 0");
        }
        let lines = warnings.take();
        assert_eq!((lines.len(), lines[0].as_str(), lines[31].as_str()), (32, "line 0", "line 31"));
        assert!(warnings.take().is_empty());
    }
}
