//! Arguments and results of system calls.

use super::ParseError;
use super::cursor::{Cursor, Symbol};
use crate::ast::{Expr, Field};

impl Cursor<'_> {
    /// Expressions between commas up to `end`, which is taken too.
    pub(super) fn expressions(&mut self, end: &str) -> Result<Vec<Expr>, ParseError> {
        let mut list = Vec::new();
        if self.eat(end)? {
            return Ok(list);
        }
        loop {
            list.push(self.expression("an argument")?);
            if self.eat(end)? {
                return Ok(list);
            }
            if !self.eat(",")? {
                return Err(self.error(format!("',' or '{end}'")));
            }
        }
    }

    pub(super) fn expression(&mut self, what: &str) -> Result<Expr, ParseError> {
        let first = self.nested(|c| c.term(what))?;
        if self.peek() != Some(b'|') {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.eat("|")? {
            terms.push(self.nested(|c| c.term("what is or-ed with it"))?);
        }
        Ok(Expr::Or(terms))
    }

    fn term(&mut self, what: &str) -> Result<Expr, ParseError> {
        if self.eat("...")? {
            return Ok(Expr::Ellipsis);
        }
        match self.peek() {
            Some(b'[') => {
                self.eat("[")?;
                Ok(Expr::List(self.expressions("]")?))
            }
            Some(b'{') => self.structure(),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.integer(what),
            Some(b) if b.is_ascii_alphabetic() || b == b'_' => self.named(what),
            _ => Err(self.error(what)),
        }
    }

    fn string(&mut self) -> Result<Expr, ParseError> {
        let mut parts = Vec::new();
        while let Some(part) = self.opt_quoted(b'"')? {
            parts.push(part);
        }
        let open = parts.len() == 1 && self.eat("...")?;
        Ok(Expr::Str { parts, open })
    }

    fn integer(&mut self, what: &str) -> Result<Expr, ParseError> {
        let mark = self.mark();
        let negative = self.rest().starts_with('-');
        if negative {
            self.advance(1);
        }
        let word = self.word_here();
        let number = match word.strip_prefix("0x") {
            Some(digits) if !negative => u64::from_str_radix(digits, 16).ok().map(Expr::Hex),
            _ => format!("{}{word}", if negative { "-" } else { "" }).parse().ok().map(Expr::Int),
        };
        let Some(number) = number else {
            return Err(self.error_at(mark, format!("{what} (a number of 64 bits, decimal or 0x...)")));
        };
        self.advance(word.len());
        self.skip_blanks()?;
        Ok(number)
    }

    fn named(&mut self, what: &str) -> Result<Expr, ParseError> {
        let word = match self.symbol(what)? {
            Symbol::Str(inside) => return Ok(Expr::Str { parts: vec![inside], open: false }),
            Symbol::Word(word) => word,
        };
        if self.eat("(")? {
            return Ok(Expr::Apply(word, self.nested(|c| c.expressions(")"))?));
        }
        if self.peek() == Some(b'=') && !self.rest().starts_with("==") {
            self.eat("=")?;
            let value = self.nested(|c| c.expression("a value after '='"))?;
            return Ok(Expr::Assign(word, Box::new(value)));
        }
        Ok(match word.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16)) {
            Some(Ok(number)) => Expr::Hex(number),
            _ => word.parse().map_or(Expr::Word(word), Expr::Int),
        })
    }

    fn structure(&mut self) -> Result<Expr, ParseError> {
        self.expect("{")?;
        let mut fields = Vec::new();
        if self.eat("}")? {
            return Ok(Expr::Struct(fields));
        }
        loop {
            fields.push(self.nested(Self::field)?);
            if self.eat("}")? {
                return Ok(Expr::Struct(fields));
            }
            if !self.eat(",")? {
                return Err(self.error("',' or '}'"));
            }
        }
    }

    /// `value`, `name = value` or `name(count) = value`.
    fn field(&mut self) -> Result<Field, ParseError> {
        let mark = self.mark();
        let word = self.word_here();
        if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            self.word("a field")?;
            let count = if self.eat("(")? {
                let mut args = self.expressions(")")?;
                if args.len() == 1 { args.pop() } else { None }
            } else {
                None
            };
            if self.eat("=")? {
                let value = self.expression("the field's value")?;
                return Ok(Field { name: Some(word.into()), count, value });
            }
            self.reset(mark);
        }
        Ok(Field { name: None, count: None, value: self.expression("a field")? })
    }
}
