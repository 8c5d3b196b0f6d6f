//! The last packets, kept as bytes and made readable only when somebody asks.

use std::collections::VecDeque;

use finack_core::Instant;

use super::link::Verdict;
use crate::packet::{Body, glance};
use crate::text::{Bases, render};

/// Bytes that are kept of each packet: the headers, and all their options.
const HEAD: usize = 128;

#[derive(Clone, Debug)]
struct Noted {
    at: Instant,
    number: u64,
    verdict: Verdict,
    head: [u8; HEAD],
    len: u8,
}

/// The last packets of a world.
#[derive(Clone, Debug)]
pub(super) struct Record {
    notes: VecDeque<Noted>,
    most: usize,
}

impl Record {
    pub(super) const fn new(most: usize) -> Self {
        Self { notes: VecDeque::new(), most }
    }

    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        let excess = self.notes.len().saturating_sub(most);
        self.notes.drain(..excess);
    }

    pub(super) fn note(&mut self, at: Instant, number: u64, bytes: &[u8], verdict: Verdict) {
        if self.most == 0 {
            return;
        }
        if self.notes.len() >= self.most {
            self.notes.pop_front();
        }
        let len = bytes.len().min(HEAD);
        let mut head = [0; HEAD];
        head[..len].copy_from_slice(&bytes[..len]);
        self.notes.push_back(Noted { at, number, verdict, head, len: len as u8 });
    }

    /// The last `most` packets, one a line.
    pub(super) fn render(&self, most: usize) -> String {
        let skip = self.notes.len().saturating_sub(most);
        self.notes.iter().skip(skip).fold(String::new(), |s, note| s + "    " + &note.line() + "\n")
    }
}

impl Noted {
    fn line(&self) -> String {
        let (at, number) = (self.at, self.number);
        let packet = match glance(&self.head[..usize::from(self.len)]) {
            Ok(packet) => packet,
            Err(e) => return format!("{at:?} #{number} ({e})"),
        };
        let what = match &packet.body {
            Body::Tcp(tcp) => render(tcp, &Bases::default()),
            body => format!("{body:.60?}"),
        };
        let mark = match self.verdict {
            Verdict::Pass => String::new(),
            verdict => format!("   [{verdict:?}]"),
        };
        format!("{at:?} #{number} {} > {}  {what}{mark}", packet.from(), packet.to())
    }
}
