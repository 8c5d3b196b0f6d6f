//! A place in the text, and the smallest things that are read there.

use super::{Defines, MAX_DEPTH, ParseError};
use crate::ast::Pos;

/// Most characters of what was found that an error quotes.
const QUOTED: usize = 24;

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    /// Where the present line begins.
    line_at: usize,
    depth: u32,
    pub(super) defines: Defines,
}

/// What a cursor goes back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    line: u32,
    line_at: usize,
}

/// What a symbol turned out to be.
pub(super) enum Symbol {
    Word(String),
    Str(String),
}

const fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// Whether the text could be a symbol.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_word_byte)
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, defines: Defines) -> Self {
        Self { text, at: 0, line: 1, line_at: 0, depth: 0, defines }
    }

    pub(super) fn pos(&self) -> Pos {
        let column = self.text[self.line_at..self.at].chars().count() + 1;
        Pos { line: self.line, column: u32::try_from(column).unwrap_or(u32::MAX) }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.at, line: self.line, line_at: self.line_at }
    }

    pub(super) fn reset(&mut self, mark: Mark) {
        (self.at, self.line, self.line_at) = (mark.at, mark.line, mark.line_at);
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Moves on by `bytes`, which must end at a character's boundary.
    pub(super) fn advance(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.text.len());
        for (i, b) in self.text.as_bytes()[self.at..end].iter().enumerate() {
            if *b == b'\n' {
                self.line = self.line.saturating_add(1);
                self.line_at = self.at + i + 1;
            }
        }
        self.at = end;
    }

    /// An error here: what was expected, and the next word or sign as what was found.
    pub(super) fn error(&self, expected: impl Into<String>) -> ParseError {
        let rest = self.rest();
        let found = match rest.split(char::is_whitespace).next() {
            _ if rest.is_empty() => "the end of the script".into(),
            Some("") | None => "a blank".into(),
            Some(word) if word.chars().count() > QUOTED => {
                format!("'{}...'", word.chars().take(QUOTED).collect::<String>())
            }
            Some(word) => format!("'{word}'"),
        };
        ParseError { pos: self.pos(), expected: expected.into(), found }
    }

    /// The same, at an earlier place.
    pub(super) fn error_at(&mut self, mark: Mark, expected: impl Into<String>) -> ParseError {
        let here = self.mark();
        self.reset(mark);
        let error = self.error(expected);
        self.reset(here);
        error
    }

    /// Blanks and comments (`// ...`, `/* ... */`, `# ...`).
    pub(super) fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            self.advance(blank);
            let rest = self.rest();
            if rest.starts_with("//") || rest.starts_with('#') {
                self.advance(rest.find('\n').unwrap_or(rest.len()));
            } else if let Some(body) = rest.strip_prefix("/*") {
                let Some(end) = body.find("*/") else {
                    return Err(self.error("'*/' somewhere after this '/*'"));
                };
                self.advance(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    /// Takes `sign` if it stands here, and the blanks after it.
    pub(super) fn eat(&mut self, sign: &str) -> Result<bool, ParseError> {
        if !self.rest().starts_with(sign) {
            return Ok(false);
        }
        self.advance(sign.len());
        self.skip_blanks()?;
        Ok(true)
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.eat(sign)? { Ok(()) } else { Err(self.error(format!("'{sign}'"))) }
    }

    /// The letters, digits and underscores here.
    pub(super) fn word_here(&self) -> &'a str {
        let rest = self.rest();
        let len = rest.bytes().take_while(|b| is_word_byte(*b)).count();
        &rest[..len]
    }

    /// Takes the word `word` if just that stands here.
    pub(super) fn eat_word(&mut self, word: &str) -> Result<bool, ParseError> {
        if self.word_here() != word {
            return Ok(false);
        }
        self.advance(word.len());
        self.skip_blanks()?;
        Ok(true)
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<(), ParseError> {
        if self.eat_word(word)? { Ok(()) } else { Err(self.error(format!("'{word}'"))) }
    }

    /// A word, whatever it is; `what` is for people.
    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let word = self.word_here();
        if word.is_empty() {
            return Err(self.error(what));
        }
        self.advance(word.len());
        self.skip_blanks()?;
        Ok(word)
    }

    /// A word with what was defined for it.
    pub(super) fn symbol(&mut self, what: &str) -> Result<Symbol, ParseError> {
        let word = self.word(what)?;
        Ok(match self.defines.get(word) {
            Some(value) => match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
                Some(inside) => Symbol::Str(inside.into()),
                None => Symbol::Word(value.into()),
            },
            None => Symbol::Word(word.into()),
        })
    }

    /// Decimal digits as a number of at most `max`; a defined symbol may stand for them.
    pub(super) fn number(&mut self, what: &str, max: u64) -> Result<u64, ParseError> {
        let mark = self.mark();
        let word = self.word_here();
        let digits = self.defines.get(word).unwrap_or(word).to_owned();
        let number = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None };
        match number {
            Some(n) if n <= max => {
                self.advance(word.len());
                self.skip_blanks()?;
                Ok(n)
            }
            _ if digits.is_empty() || !digits.as_bytes()[0].is_ascii_digit() => Err(self.error(what)),
            _ => Err(self.error_at(mark, format!("{what} from 0 to {max}"))),
        }
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, ParseError> {
        self.number(what, u32::MAX.into()).map(|n| n as u32)
    }

    pub(super) fn u16(&mut self, what: &str) -> Result<u16, ParseError> {
        self.number(what, u16::MAX.into()).map(|n| n as u16)
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8, ParseError> {
        self.number(what, u8::MAX.into()).map(|n| n as u8)
    }

    /// `0x...` of at most `max`, or decimal where `decimal`.
    pub(super) fn hex_number(&mut self, what: &str, max: u64, decimal: bool) -> Result<u64, ParseError> {
        let word = self.word_here();
        let Some(digits) = word.strip_prefix("0x") else {
            return if decimal { self.number(what, max) } else { Err(self.error(what)) };
        };
        match u64::from_str_radix(digits, 16) {
            Ok(n) if n <= max => {
                self.advance(word.len());
                self.skip_blanks()?;
                Ok(n)
            }
            _ => Err(self.error(format!("{what} from 0x0 to {max:#x}"))),
        }
    }

    /// Pairs of hexadecimal digits, at most `max` bytes; a defined symbol may stand for them.
    pub(super) fn hex_bytes(&mut self, what: &str, max: usize) -> Result<Vec<u8>, ParseError> {
        let word = self.word_here();
        let digits = self.defines.get(word).unwrap_or(word);
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex || !digits.len().is_multiple_of(2) {
            return Err(self.error(format!("{what}: pairs of hexadecimal digits")));
        }
        if digits.len() / 2 > max {
            return Err(self.error(format!("{what} of at most {max} bytes")));
        }
        let nibble = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
        let bytes = digits.as_bytes().chunks(2).map(|d| nibble(d[0]) << 4 | nibble(d[1])).collect();
        self.advance(word.len());
        self.skip_blanks()?;
        Ok(bytes)
    }

    /// What stands between two `quote`s, escapes as written, and the blanks after it.
    pub(super) fn opt_quoted(&mut self, quote: u8) -> Result<Option<String>, ParseError> {
        if self.peek() != Some(quote) {
            return Ok(None);
        }
        let rest = &self.rest()[1..];
        let mut escaped = false;
        for (i, b) in rest.bytes().enumerate() {
            if !escaped && b == quote {
                let inside = rest[..i].to_owned();
                self.advance(i + 2);
                self.skip_blanks()?;
                return Ok(Some(inside));
            }
            escaped = !escaped && b == b'\\';
        }
        Err(self.error(format!("another {} that ends this text", quote as char)))
    }

    /// A command between backquotes, or a symbol that was defined as one.
    pub(super) fn opt_backquoted(&mut self) -> Result<Option<String>, ParseError> {
        let word = self.word_here();
        let defined = self.defines.get(word).and_then(|v| v.strip_prefix('`')?.strip_suffix('`'));
        if let Some(inside) = defined.map(str::to_owned) {
            self.advance(word.len());
            self.skip_blanks()?;
            return Ok(Some(inside));
        }
        self.opt_quoted(b'`')
    }

    /// Runs `read` one level deeper; too many levels are an error.
    pub(super) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error(format!("at most {MAX_DEPTH} braces inside each other")));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }
}
