//! From a script's text to values, with the place of every mistake.
//!
//! A hand-written parser by recursive descent, without a separate lexer: what `1:1001` is (a sequence range, or part of
//! an IPv6 address) depends on where it stands.

use std::fmt;

use crate::ast::{Command, OptionLine, Pos, Script};

mod cursor;
mod event;
mod expr;
mod options;
mod packet;
mod tcp_option;
#[cfg(test)]
mod tests;

use cursor::Cursor;

/// Longest script read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// Most braces and brackets inside each other.
const MAX_DEPTH: u32 = 32;

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub pos: Pos,
    /// What was expected there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for ParseError {
    /// `LINE:COLUMN: expected ..., found ...`; whoever knows the file's name puts it before.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.pos, self.expected, self.found)
    }
}

impl std::error::Error for ParseError {}

/// Symbols that stand for other text, as `--define` and `-D` give them.
///
/// A value in double quotes is a string, one in backquotes a command, any other a word or number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defines {
    symbols: Vec<(String, String)>,
}

impl Defines {
    /// Adds a symbol; an earlier one of that name gives way.
    pub fn set(&mut self, name: &str, value: &str) {
        self.symbols.retain(|(n, _)| n != name);
        self.symbols.push((name.into(), value.into()));
    }

    /// What `name` stands for.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.symbols.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Adds what `NAME=VALUE` says.
    ///
    /// # Errors
    /// Where it is not of that form.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), String> {
        match pair.split_once('=') {
            Some((name, value)) if cursor::is_word(name) => {
                self.set(name, value);
                Ok(())
            }
            _ => Err(format!("'{pair}' is not NAME=VALUE")),
        }
    }
}

/// Reads a script. `defines` holds symbols from the command line; those of the script's own `--define` lines come on top.
///
/// # Errors
/// The first mistake: its place, what was expected there and what stands there.
///
/// ```
/// let script = finack_script::parse("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n", &Default::default()).unwrap();
/// assert_eq!(script.events.len(), 1);
/// let error = finack_script::parse("0 < S 0:1(0) win 10\n", &Default::default()).unwrap_err();
/// assert_eq!(error.to_string(), "1:9: expected '0:0(0)', because 0 + 0 = 0, found '1(0)'");
/// ```
pub fn parse(text: &str, defines: &Defines) -> Result<Script, ParseError> {
    let mut cursor = Cursor::new(text, defines.clone());
    if text.len() > MAX_BYTES {
        return Err(cursor.error(format!("at most {MAX_BYTES} bytes")));
    }
    cursor.skip_blanks()?;
    let options = cursor.option_lines()?;
    let init = cursor.opt_command()?;
    let mut events = Vec::new();
    let mut cleanup: Option<Command> = None;
    while !cursor.at_end() {
        if cleanup.is_some() {
            return Err(cursor.error("nothing after the command that cleans up (events begin with a time)"));
        }
        match cursor.opt_command()? {
            Some(command) if !events.is_empty() => cleanup = Some(command),
            _ => events.push(cursor.event()?),
        }
    }
    if events.is_empty() && !cursor.is_dry(&options) {
        return Err(cursor.error("an event: a time (0, +0.1, *) and what happens then"));
    }
    Ok(Script { options, init, events, cleanup })
}

impl Cursor<'_> {
    /// A script that is only to be read may hold no event.
    fn is_dry(&self, options: &[OptionLine]) -> bool {
        options.iter().any(|o| o.name == "dry_run")
    }

    fn opt_command(&mut self) -> Result<Option<Command>, ParseError> {
        let pos = self.pos();
        Ok(self.opt_backquoted()?.map(|text| Command { pos, text }))
    }
}
