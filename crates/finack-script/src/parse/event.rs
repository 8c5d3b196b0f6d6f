//! Times, and what happens then.

use super::ParseError;
use super::cursor::Cursor;
use crate::ast::{Action, Call, Code, Direction, Event, Nanos, When};

impl Cursor<'_> {
    pub(super) fn event(&mut self) -> Result<Event, ParseError> {
        let (pos, mark) = (self.pos(), self.mark());
        let when = self.when()?;
        let action = self.action()?;
        let outgoing = matches!(&action, Action::Packet(p) if p.direction == Direction::Out);
        if !outgoing && matches!(when, When::Any | When::AbsoluteRange(..) | When::RelativeRange(..)) {
            return Err(
                self.error_at(mark, "a single time: '*' and '~' are for packets from the stack ('>')")
            );
        }
        Ok(Event { pos, when, action })
    }

    fn when(&mut self) -> Result<When, ParseError> {
        if self.eat("*")? {
            return Ok(When::Any);
        }
        let relative = self.eat("+")?;
        let from = self.seconds("a time: 0.1, +0.1 or *")?;
        if !self.eat("~")? {
            return Ok(if relative { When::Relative(from) } else { When::Absolute(from) });
        }
        if relative {
            self.expect("+")?;
        }
        let mark = self.mark();
        let to = self.seconds("the time that ends the range")?;
        if to < from {
            return Err(self.error_at(mark, "a range whose end is not before its beginning"));
        }
        Ok(if relative { When::RelativeRange(from, to) } else { When::AbsoluteRange(from, to) })
    }

    /// Seconds with up to nine decimals; the digits before the point may be missing.
    fn seconds(&mut self, what: &str) -> Result<Nanos, ParseError> {
        let rest = self.rest();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(rest);
        let after = rest[whole..].strip_prefix('.').map_or(0, digits);
        if whole == 0 && after == 0 {
            return Err(self.error(what));
        }
        let fraction = if after > 0 { &rest[whole + 1..whole + 1 + after] } else { "" };
        let seconds = if whole == 0 { Some(0) } else { rest[..whole].parse::<u64>().ok() };
        let nanos = seconds.and_then(|s| s.checked_mul(1_000_000_000)).filter(|_| fraction.len() <= 9);
        let padded = format!("{fraction:0<9}").parse::<u64>().unwrap_or(0);
        let Some(nanos) = nanos.and_then(|n| n.checked_add(padded)) else {
            return Err(self.error(format!("{what}, in seconds with at most nine decimals")));
        };
        self.advance(whole + if after > 0 { after + 1 } else { 0 });
        self.skip_blanks()?;
        Ok(nanos)
    }

    fn action(&mut self) -> Result<Action, ParseError> {
        if self.rest().starts_with("%{") {
            return self.code().map(Action::Code);
        }
        match self.peek() {
            Some(b'<' | b'>') => return self.packet().map(Action::Packet),
            Some(b'.') => return self.call().map(Action::Call),
            _ => {}
        }
        if let Some(text) = self.opt_backquoted()? {
            return Ok(Action::Command(text));
        }
        if self.peek().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') {
            return self.call().map(Action::Call);
        }
        Err(self.error("a packet ('<' or '>'), a system call, a command in backquotes or python in %{ }%"))
    }

    fn code(&mut self) -> Result<Code, ParseError> {
        let rest = self.rest();
        let Some(end) = rest.find("}%") else {
            return Err(self.error("'}%' somewhere after this '%{'"));
        };
        let inside = &rest[2..end];
        let blank = |c: char| c == ' ' || c == '\t';
        let before = inside.len() - inside.trim_start_matches(blank).len();
        self.advance(2 + before);
        let pos = self.pos();
        let text = inside.trim_matches(blank).to_owned();
        self.advance(end + 2 - (2 + before));
        self.skip_blanks()?;
        Ok(Code { pos, text })
    }

    fn call(&mut self) -> Result<Call, ParseError> {
        let until =
            if self.eat("...")? { Some(self.seconds("the time when the call returns")?) } else { None };
        let name = self.word("the name of a system call")?.to_owned();
        self.expect("(")?;
        let args = self.expressions(")")?;
        self.expect("=")?;
        let result = self.expression("what the call returns")?;
        let errno = match self.peek() {
            Some(b) if b.is_ascii_alphabetic() => Some(self.word("the name of an error")?.to_owned()),
            _ => None,
        };
        Ok(Call { until, name, args, result, errno, note: self.opt_note()? })
    }

    /// `(words for people)`.
    fn opt_note(&mut self) -> Result<Option<String>, ParseError> {
        let Some(inside) = self.rest().strip_prefix('(') else { return Ok(None) };
        let Some(end) = inside.find([')', '\n']).filter(|end| inside.as_bytes()[*end] == b')') else {
            return Err(self.error("')' on the same line"));
        };
        let words: Vec<&str> = inside[..end].split_whitespace().collect();
        if words.is_empty() {
            return Err(self.error("words between the parentheses"));
        }
        self.advance(end + 2);
        self.skip_blanks()?;
        Ok(Some(words.join(" ")))
    }
}
