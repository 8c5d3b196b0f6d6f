//! Packets.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ParseError;
use super::cursor::Cursor;
use crate::ast::{
    Body, Direction, Flags, Gre, Icmp, IpInfo, Label, Outer, Packet, Ports, Quoted, SeqRange, Tcp,
    TcpOptions, Tos, Udp,
};

/// Payload that fits into an IP packet with the largest headers.
const MAX_PAYLOAD: u64 = 65_535 - 40 - 60;

impl Cursor<'_> {
    pub(super) fn packet(&mut self) -> Result<Packet, ParseError> {
        let direction = if self.eat("<")? { Direction::In } else { Direction::Out };
        if direction == Direction::Out {
            self.expect(">")?;
        }
        let mut encapsulation = Vec::new();
        while let Some(outer) = self.opt_outer()? {
            encapsulation.push(outer);
        }
        let ip = self.opt_ip_info(direction)?;
        let body = match self.word_here() {
            "udp" => Body::Udp(self.udp()?),
            "icmp" => Body::Icmp(self.icmp()?),
            _ => Body::Tcp(self.tcp(direction)?),
        };
        let changes = if self.peek() == Some(b'{') { Some(self.changes()?) } else { None };
        Ok(Packet { direction, encapsulation, ip, body, changes })
    }

    /// What a fuzzer is to change, up to the brace that closes it.
    fn changes(&mut self) -> Result<String, ParseError> {
        let rest = self.rest();
        let end = rest.find(['}', '\n']).filter(|at| rest[*at..].starts_with('}'));
        let end = end.ok_or_else(|| self.error("'}' on the same line"))?;
        let changes = rest[1..end].trim().to_owned();
        self.advance(end + 1);
        self.skip_blanks()?;
        Ok(changes)
    }

    fn opt_outer(&mut self) -> Result<Option<Outer>, ParseError> {
        Ok(Some(match self.word_here() {
            "ipv4" => {
                self.eat_word("ipv4")?;
                let info = self.opt_ip_info(Direction::Out)?;
                let src = self.ipv4()?;
                self.expect(">")?;
                let dst = self.ipv4()?;
                self.expect(":")?;
                Outer::Ipv4 { info, src, dst }
            }
            "ipv6" => {
                self.eat_word("ipv6")?;
                let info = self.opt_ip_info(Direction::Out)?;
                let src = self.ipv6()?;
                self.expect(">")?;
                let dst = self.ipv6()?;
                self.expect(":")?;
                Outer::Ipv6 { info, src, dst }
            }
            "gre" | "GREv0" => {
                self.word("'gre'")?;
                let gre = if self.peek() == Some(b':') { None } else { Some(self.gre()?) };
                self.expect(":")?;
                Outer::Gre(gre)
            }
            "mpls" => {
                self.eat_word("mpls")?;
                let mut labels = Vec::new();
                while self.peek() == Some(b'(') {
                    labels.push(self.label()?);
                }
                self.expect(":")?;
                Outer::Mpls(labels)
            }
            _ => return Ok(None),
        }))
    }

    fn ipv4(&mut self) -> Result<Ipv4Addr, ParseError> {
        let rest = self.rest();
        let len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let address = rest[..len].parse().map_err(|_| self.error("an IPv4 address"))?;
        self.advance(len);
        self.skip_blanks()?;
        Ok(address)
    }

    fn ipv6(&mut self) -> Result<Ipv6Addr, ParseError> {
        let rest = self.rest();
        let run = rest.bytes().take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')).count();
        // A colon right behind the address is the header's end.
        for len in [run, run.saturating_sub(1)] {
            if let Ok(address) = rest[..len].parse() {
                self.advance(len);
                self.skip_blanks()?;
                return Ok(address);
            }
        }
        Err(self.error("an IPv6 address"))
    }

    fn gre(&mut self) -> Result<Gre, ParseError> {
        self.eat(",")?;
        if !self.eat_word("Flags")? {
            self.expect_word("flags")?;
        }
        let flags = if self.eat("[")? {
            self.gre_flags()?
        } else {
            self.hex_number("the flags", 0xffff, true)? as u16
        };
        self.eat(",")?;
        self.expect_word("sum")?;
        let sum = self.hex_number("a checksum", 0xffff, true)? as u16;
        self.eat(",")?;
        self.expect_word("off")?;
        let off = self.hex_number("an offset", 0xffff, true)? as u16;
        self.eat(",")?;
        self.expect_word("key")?;
        self.eat("=")?;
        let key = self.hex_number("a key", u32::MAX.into(), true)? as u32;
        self.eat(",")?;
        self.expect_word("seq")?;
        let seq = self.hex_number("a sequence number", u32::MAX.into(), true)? as u32;
        Ok(Gre { flags, sum, off, key, seq })
    }

    fn gre_flags(&mut self) -> Result<u16, ParseError> {
        let mut flags = 0;
        loop {
            flags |= match self.word_here() {
                "none" => 0,
                "checksum" => 0x8000,
                "key" => 0x2000,
                "sequence" => 0x1000,
                _ => return Err(self.error("none, checksum, key or sequence#")),
            };
            let word = self.word_here();
            self.advance(word.len());
            if self.rest().starts_with('#') {
                self.advance(1);
            }
            self.skip_blanks()?;
            if word != "none" {
                self.expect_word("present")?;
            }
            if self.eat("]")? {
                return Ok(flags);
            }
            self.expect(",")?;
        }
    }

    fn label(&mut self) -> Result<Label, ParseError> {
        self.expect("(")?;
        self.expect_word("label")?;
        let label = self.number("a label", 0xf_ffff)? as u32;
        self.expect(",")?;
        self.expect_word("tc")?;
        let tc = self.number("a traffic class", 7)? as u8;
        self.expect(",")?;
        let bottom = self.eat("[")?;
        if bottom {
            self.expect_word("S")?;
            self.expect("]")?;
            self.expect(",")?;
        }
        self.expect_word("ttl")?;
        let ttl = self.u8("a TTL")?;
        self.expect(")")?;
        Ok(Label { label, tc, bottom, ttl })
    }

    fn opt_ip_info(&mut self, direction: Direction) -> Result<IpInfo, ParseError> {
        let end = match self.peek() {
            Some(b'[') => "]",
            Some(b'(') => ")",
            _ => return Ok(IpInfo::default()),
        };
        self.advance(1);
        self.skip_blanks()?;
        let mut info = IpInfo::default();
        loop {
            let mark = self.mark();
            match self.word("noecn, ect0, ect1, ect01, ce, tos 0x.., ttl N or flowlabel 0x..")? {
                "noecn" => info.tos = Some(Tos::Ecn(0)),
                "ect1" => info.tos = Some(Tos::Ecn(1)),
                "ect0" => info.tos = Some(Tos::Ecn(2)),
                "ce" => info.tos = Some(Tos::Ecn(3)),
                "ect01" if direction == Direction::Out => info.tos = Some(Tos::Ect01),
                "ect01" => {
                    return Err(self.error_at(mark, "ect0 or ect1 (ect01 is for packets from the stack)"));
                }
                "tos" => {
                    info.tos = Some(Tos::Byte(self.hex_number("0x and the TOS byte", 0xff, false)? as u8))
                }
                "ttl" => info.ttl = Some(self.u8("a TTL")?),
                "flowlabel" => {
                    info.flow_label = Some(self.hex_number("0x and a flow label", 0xf_ffff, false)? as u32);
                }
                _ => {
                    let known = "noecn, ect0, ect1, ect01, ce, tos 0x.., ttl N or flowlabel 0x..";
                    return Err(self.error_at(mark, known));
                }
            }
            if self.eat(end)? {
                return Ok(info);
            }
            if !self.eat(",")? {
                return Err(self.error(format!("',' or '{end}'")));
            }
        }
    }

    fn opt_ports(&mut self) -> Result<Option<Ports>, ParseError> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Ok(None);
        }
        let src = self.u16("a port")?;
        self.expect(">")?;
        let dst = self.u16("a port")?;
        Ok(Some(Ports { src, dst }))
    }

    fn udp(&mut self) -> Result<Udp, ParseError> {
        self.expect_word("udp")?;
        let ports = self.opt_ports()?;
        self.expect("(")?;
        let len = self.number("the payload's length", MAX_PAYLOAD)? as u16;
        self.expect(")")?;
        Ok(Udp { ports, len })
    }

    fn icmp(&mut self) -> Result<Icmp, ParseError> {
        self.expect_word("icmp")?;
        let kind = self.word("the type of an ICMP message, such as 'unreachable'")?.to_owned();
        let code = match self.word_here() {
            "" | "mtu" | "id" => None,
            word if word.as_bytes()[0].is_ascii_digit() => None,
            _ => Some(self.word("a code")?.to_owned()),
        };
        let mtu = if self.eat_word("mtu")? { Some(self.u32("an MTU")?) } else { None };
        let id = if self.eat_word("id")? { Some(self.u16("an identifier")?) } else { None };
        let quoted = if self.eat("[")? {
            let quoted = match self.word_here() {
                "udp" => Quoted::Udp(self.udp()?.len),
                "raw" => {
                    self.eat_word("raw")?;
                    self.expect("(")?;
                    let len = self.number("the message's length", MAX_PAYLOAD)? as u16;
                    self.expect(")")?;
                    Quoted::Raw(len)
                }
                _ => Quoted::Tcp(self.seq_range()?),
            };
            self.expect("]")?;
            Some(quoted)
        } else {
            None
        };
        Ok(Icmp { kind, code, mtu, id, quoted })
    }

    fn tcp(&mut self, direction: Direction) -> Result<Tcp, ParseError> {
        let ports = self.opt_ports()?;
        let flags = self.flags()?;
        let seq = self.seq_range()?;
        let ack = if self.eat_word("ack")? { Some(self.u32("an acknowledgement number")?) } else { None };
        let here = self.mark();
        let win = if self.eat_word("win")? { Some(self.u16("a window")?) } else { None };
        if win.is_none() && direction == Direction::In {
            return Err(self.error_at(here, "'win' and a number: an injected segment needs a window"));
        }
        let urg = if self.eat_word("urg")? { Some(self.u16("an urgent pointer")?) } else { None };
        let options = self.tcp_options(direction)?;
        Ok(Tcp { ports, flags, seq, ack, win, urg, options })
    }

    /// `S`, `P.`, `.`, `-`, `P.5` (the ACE count behind the rest).
    fn flags(&mut self) -> Result<Flags, ParseError> {
        let what = "flags (letters of FSRPEWAU, '.' for ACK; '-' for none)";
        let mark = self.mark();
        if self.eat("-")? {
            return Ok(Flags::default());
        }
        let mut flags = Flags::default();
        let mut count = 0;
        while let Some(b) = self.peek() {
            let letter = if b == b'N' { 'A' } else { b as char };
            if let Some((bit, _)) = Flags::LETTERS.iter().find(|(_, l)| *l == letter) {
                if flags.ace || flags.has(*bit) {
                    return Err(self.error_at(mark, what));
                }
                flags.bits |= bit;
            } else if b.is_ascii_digit() && b < b'8' && !flags.ace {
                if flags.bits & (Flags::ECE | Flags::CWR | Flags::AE) != 0 {
                    return Err(self.error_at(mark, "either letters of E, W and A or their count, not both"));
                }
                flags.bits |= u16::from(b - b'0') << 6;
                flags.ace = true;
            } else {
                break;
            }
            count += 1;
            self.advance(1);
        }
        let blank = self.peek().is_none_or(|b| b.is_ascii_whitespace());
        if count == 0 || !blank {
            return Err(self.error_at(mark, what));
        }
        self.skip_blanks()?;
        Ok(flags)
    }

    fn seq_range(&mut self) -> Result<SeqRange, ParseError> {
        let start = self.u32("a sequence range, as 1:1001(1000)")?;
        self.expect(":")?;
        let mark = self.mark();
        let end = self.u32("the sequence number behind the payload")?;
        self.expect("(")?;
        let len = self.number("the payload's length", MAX_PAYLOAD)? as u16;
        self.expect(")")?;
        let range = SeqRange { start, len };
        if range.end() != end {
            let right = format!("'{range}', because {start} + {len} = {}", range.end());
            return Err(self.error_at(mark, right));
        }
        Ok(range)
    }

    fn tcp_options(&mut self, direction: Direction) -> Result<TcpOptions, ParseError> {
        if self.peek() != Some(b'<') {
            return Ok(TcpOptions::List(Vec::new()));
        }
        let mark = self.mark();
        self.expect("<")?;
        if self.eat("...")? {
            self.expect(">")?;
            if direction == Direction::In {
                return Err(
                    self.error_at(mark, "options by name: '<...>' is for packets from the stack ('>')")
                );
            }
            return Ok(TcpOptions::Any);
        }
        let mut options = Vec::new();
        loop {
            options.push(self.tcp_option()?);
            if self.eat(">")? {
                break;
            }
            if !self.eat(",")? {
                return Err(self.error("',' or '>'"));
            }
        }
        let len: usize = options.iter().map(crate::ast::TcpOption::len).sum();
        if len > 40 {
            return Err(self.error_at(mark, format!("at most 40 bytes of options (these take {len})")));
        }
        Ok(TcpOptions::List(options))
    }
}
