//! A shell's words, as far as scripts and their helpers need them.

use std::collections::BTreeMap;

/// One word or operator of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Text(Vec<Part>),
    /// `>`; the word after it says where.
    Output,
    /// `2>&1`, `2>/dev/null` and the like.
    Elsewhere,
}

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Plain(String),
    Variable(String),
    Arithmetic(String),
}

/// Words that begin a construct that is not understood.
const KEYWORDS: [&str; 14] = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "function",
    "{",
];

/// The commands of a text; a piece that is not understood is an error in its place.
pub(super) fn split_commands(text: &str) -> Vec<Result<Vec<Word>, String>> {
    let mut commands = Vec::new();
    let mut scanner = Scanner { rest: text };
    while let Some(command) = scanner.command() {
        match command {
            Ok(words) if words.is_empty() => {}
            Ok(words) => commands.push(match words.first() {
                Some(Word::Text(parts)) => match parts.as_slice() {
                    [Part::Plain(word)] if KEYWORDS.contains(&word.as_str()) => {
                        Err(format!("`{word}`: only plain commands are understood"))
                    }
                    _ => Ok(words),
                },
                _ => Ok(words),
            }),
            Err(why) => commands.push(Err(why)),
        }
    }
    commands
}

struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    fn bump(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Words up to the end of the command; `None` at the end of the text.
    fn command(&mut self) -> Option<Result<Vec<Word>, String>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut words = Vec::new();
        loop {
            while self.rest.starts_with([' ', '\t', '\r']) || self.rest.starts_with("\\\n") {
                self.bump();
                self.eat("\n");
            }
            let Some(c) = self.rest.chars().next() else { return Some(Ok(words)) };
            match c {
                '#' => self.skip_line(),
                '\n' | ';' => {
                    self.bump();
                    return Some(Ok(words));
                }
                '&' if self.eat("&&") => return Some(Ok(words)),
                '&' if self.eat("&>") => words.push(Word::Output),
                '|' if self.eat("||") => {
                    // What would be done if this failed, which it does not.
                    self.skip_line();
                    return Some(Ok(words));
                }
                '2' if self.rest.starts_with("2>") => {
                    self.eat("2>");
                    self.eat(">");
                    let end = self.rest.find(|c: char| c.is_whitespace() || c == ';');
                    self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
                    words.push(Word::Elsewhere);
                }
                '>' => {
                    self.eat(">");
                    self.eat(">");
                    words.push(Word::Output);
                }
                '|' | '&' | '<' | '(' | ')' | '`' => {
                    self.skip_line();
                    return Some(Err(format!("`{c}`: only plain commands are understood")));
                }
                _ => match self.word() {
                    Ok(parts) => words.push(Word::Text(parts)),
                    Err(why) => {
                        self.skip_line();
                        return Some(Err(why));
                    }
                },
            }
        }
    }

    fn skip_line(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }

    fn word(&mut self) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut quoted = false;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '"' => {
                    self.bump();
                    quoted = !quoted;
                }
                '\'' if !quoted => {
                    self.bump();
                    let end = self.rest.find('\'').ok_or("a quote that does not end")?;
                    plain.push_str(&self.rest[..end]);
                    self.rest = &self.rest[end + 1..];
                }
                '\\' => {
                    self.bump();
                    plain.extend(self.bump());
                }
                '$' => {
                    self.bump();
                    let part = self.dollar()?;
                    if !plain.is_empty() {
                        parts.push(Part::Plain(std::mem::take(&mut plain)));
                    }
                    parts.push(part);
                }
                '`' => return Err("a command inside a command".into()),
                c if !quoted
                    && (c.is_whitespace() || matches!(c, ';' | '&' | '|' | '<' | '>' | '(' | ')')) =>
                {
                    break;
                }
                c => {
                    self.bump();
                    plain.push(c);
                }
            }
        }
        if quoted {
            return Err("a quote that does not end".into());
        }
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Plain(plain));
        }
        Ok(parts)
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Result<Part, String> {
        if self.eat("((") {
            let end = self.rest.find("))").ok_or("'$((' without '))'")?;
            let inside = self.rest[..end].to_owned();
            self.rest = &self.rest[end + 2..];
            return Ok(Part::Arithmetic(inside));
        }
        if self.eat("{") {
            let end = self.rest.find('}').ok_or("'${' without '}'")?;
            let name = self.rest[..end].to_owned();
            self.rest = &self.rest[end + 1..];
            return Ok(Part::Variable(name));
        }
        let len = self.rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        if len == 0 {
            return Err("`$` before something other than a name: only plain commands are understood".into());
        }
        let name = self.rest[..len].to_owned();
        self.rest = &self.rest[len..];
        Ok(Part::Variable(name))
    }
}

/// A word with its variables and sums filled in.
pub(super) fn expand(parts: &[Part], variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Plain(text) => out.push_str(text),
            // What the restoring script of `set_sysctls.py` is named after.
            Part::Variable(name) if name == "PPID" || name == "PACKETDRILL_PID" => out.push('0'),
            Part::Variable(name) => match variables.get(name) {
                Some(value) => out.push_str(value),
                None => return Err(format!("`${name}`: the variable is not known")),
            },
            Part::Arithmetic(text) => {
                let sum = Sum { rest: text.trim(), variables }.whole();
                out.push_str(
                    &sum.ok_or_else(|| format!("`$(({text}))`: not a sum that is understood"))?.to_string(),
                );
            }
        }
    }
    Ok(out)
}

/// Sums and products of numbers and variables.
struct Sum<'a> {
    rest: &'a str,
    variables: &'a BTreeMap<String, String>,
}

impl Sum<'_> {
    fn whole(mut self) -> Option<i64> {
        let value = self.sum(0)?;
        self.rest.is_empty().then_some(value)
    }

    fn eat(&mut self, sign: char) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn sum(&mut self, depth: u32) -> Option<i64> {
        let mut value = self.product(depth)?;
        loop {
            if self.eat('+') {
                value = value.checked_add(self.product(depth)?)?;
            } else if self.eat('-') {
                value = value.checked_sub(self.product(depth)?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self, depth: u32) -> Option<i64> {
        let mut value = self.atom(depth)?;
        loop {
            if self.eat('*') {
                value = value.checked_mul(self.atom(depth)?)?;
            } else if self.eat('/') {
                value = value.checked_div(self.atom(depth)?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn atom(&mut self, depth: u32) -> Option<i64> {
        if depth > 16 {
            return None;
        }
        if self.eat('(') {
            let value = self.sum(depth + 1)?;
            return self.eat(')').then_some(value);
        }
        self.eat('$');
        let len = self.rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let word = &self.rest[..len];
        self.rest = self.rest[len..].trim_start();
        word.parse().ok().or_else(|| self.variables.get(word)?.trim().parse().ok())
    }
}
