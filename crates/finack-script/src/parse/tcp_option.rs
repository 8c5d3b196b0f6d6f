//! TCP options by name.

use super::ParseError;
use super::cursor::Cursor;
use crate::ast::{Counter, TcpOption};

/// Options of Multipath TCP that other scripts use.
const MPTCP: [&str; 11] = [
    "mp_capable",
    "mp_capable_no_cs",
    "mp_join",
    "mp_join_syn",
    "mp_join_syn_ack",
    "mp_join_ack",
    "dss",
    "mp_prio",
    "mp_fail",
    "mp_fastclose",
    "mp_reset",
];

impl Cursor<'_> {
    pub(super) fn tcp_option(&mut self) -> Result<TcpOption, ParseError> {
        let mark = self.mark();
        let known =
            "a TCP option: mss, wscale, sackOK, sack, TS, nop, eol, FO, FOEXP, ECN, md5, ao, kind or raw";
        Ok(match self.word(known)? {
            "nop" => TcpOption::Nop,
            "eol" => TcpOption::Eol,
            "mss" => TcpOption::Mss(self.u16("a segment size")?),
            "wscale" => TcpOption::Wscale(self.u8("a shift")?),
            "sackOK" => TcpOption::SackOk,
            "sack" => self.sack()?,
            "TS" => {
                self.expect_word("val")?;
                let val = self.u32("a timestamp")?;
                self.expect_word("ecr")?;
                TcpOption::Ts { val, ecr: self.u32("a timestamp")? }
            }
            "md5" => TcpOption::Md5(self.opt_hex("a digest", 16)?),
            "FO" => TcpOption::FastOpen(self.opt_hex("a cookie", 38)?),
            "FOEXP" => TcpOption::FastOpenExperimental(self.opt_hex("a cookie", 36)?),
            "ECN" => self.counters()?,
            "ao" => {
                self.expect_word("keyid")?;
                let key_id = self.u8("a KeyID")?;
                self.expect_word("rnext")?;
                let next = self.u8("an RNextKeyID")?;
                let mac = if self.eat_word("mac")? { self.hex_bytes("a MAC", 36)? } else { Vec::new() };
                TcpOption::Ao { key_id, next, mac }
            }
            "kind" => {
                let kind = self.u8("an option's kind")?;
                TcpOption::Kind(kind, self.opt_hex("the option's data", 38)?)
            }
            "raw" => TcpOption::Raw(self.hex_bytes("bytes", 40)?),
            word if MPTCP.contains(&word) || word.starts_with("dss") || word.starts_with("add_addr") => {
                self.reset(mark);
                self.mptcp()
            }
            _ => return Err(self.error_at(mark, known)),
        })
    }

    fn opt_hex(&mut self, what: &str, max: usize) -> Result<Vec<u8>, ParseError> {
        if self.word_here().is_empty() { Ok(Vec::new()) } else { self.hex_bytes(what, max) }
    }

    fn sack(&mut self) -> Result<TcpOption, ParseError> {
        let mut blocks = Vec::new();
        while blocks.is_empty() || self.peek().is_some_and(|b| b.is_ascii_digit()) {
            let left = self.u32("a SACK block, as 1001:2001")?;
            self.expect(":")?;
            blocks.push((left, self.u32("the end of a SACK block")?));
        }
        Ok(TcpOption::Sack(blocks))
    }

    fn counters(&mut self) -> Result<TcpOption, ParseError> {
        let mut counters = Vec::new();
        loop {
            let counter = match self.word_here() {
                "e0b" => Counter::E0b,
                "ceb" => Counter::Ceb,
                "e1b" => Counter::E1b,
                _ if counters.is_empty() => return Err(self.error("e0b, ceb or e1b and a number of bytes")),
                _ => return Ok(TcpOption::AccEcn(counters)),
            };
            self.word("a counter")?;
            counters.push((counter, self.number("a number of bytes", 0xff_ffff)? as u32));
        }
    }

    /// Everything up to the next option.
    fn mptcp(&mut self) -> TcpOption {
        let rest = self.rest();
        let mut inside = 0_i32;
        let end = rest.bytes().position(|b| {
            inside += i32::from(matches!(b, b'[' | b'(')) - i32::from(matches!(b, b']' | b')'));
            inside <= 0 && matches!(b, b',' | b'>')
        });
        let text = &rest[..end.unwrap_or(rest.len())];
        self.advance(text.len());
        TcpOption::Mptcp(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}
