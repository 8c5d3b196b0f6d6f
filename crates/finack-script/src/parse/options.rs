//! The `--name=value` lines at a script's beginning.

use super::ParseError;
use super::cursor::{Cursor, is_word};
use crate::ast::OptionLine;

impl Cursor<'_> {
    pub(super) fn option_lines(&mut self) -> Result<Vec<OptionLine>, ParseError> {
        let mut lines = Vec::new();
        while self.rest().starts_with("--") {
            lines.extend(self.option_line()?);
        }
        Ok(lines)
    }

    /// One line; a `--define` is applied at once and leaves nothing.
    fn option_line(&mut self) -> Result<Option<OptionLine>, ParseError> {
        let pos = self.pos();
        self.advance(2);
        let name = self.word_here();
        if name.is_empty() {
            return Err(self.error("the name of an option right after '--'"));
        }
        self.advance(name.len());
        self.skip_blanks()?;
        let value = if self.eat("=")? { Some(self.option_value()?) } else { None };
        if name != "define" {
            return Ok(Some(OptionLine { pos, name: name.into(), value }));
        }
        let pair = value.as_deref().and_then(|v| v.split_once('='));
        match pair.filter(|(symbol, _)| is_word(symbol)) {
            Some((symbol, value)) => {
                self.defines.set(symbol, value);
                Ok(None)
            }
            None => Err(self.error("--define=NAME=VALUE before this")),
        }
    }

    /// A quoted string, or everything up to the next blank (quotes inside a `--define` keep their blanks).
    fn option_value(&mut self) -> Result<String, ParseError> {
        if let Some(text) = self.opt_quoted(b'"')? {
            return Ok(text);
        }
        let rest = self.rest();
        let plain = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let quote = rest[..plain].find(['"', '`']);
        let Some(at) = quote.filter(|at| rest[..*at].ends_with('=')) else {
            if plain == 0 {
                return Err(self.error("a value after '='"));
            }
            self.advance(plain);
            self.skip_blanks()?;
            return Ok(rest[..plain].into());
        };
        let quote = rest.as_bytes()[at];
        self.advance(at);
        let inside = self.opt_quoted(quote)?.unwrap_or_default();
        Ok(format!("{}{q}{inside}{q}", &rest[..at], q = quote as char))
    }
}
