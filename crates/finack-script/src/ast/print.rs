//! Scripts written back in their language.

use std::fmt::{self, Display, Formatter, Write as _};

use super::*;

/// Seconds with as many decimals as needed.
struct Seconds(Nanos);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if nanos == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{nanos:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// Bytes as lower-case hexadecimal digits.
struct HexBytes<'a>(&'a [u8]);

impl Display for HexBytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn separated<T: Display>(f: &mut Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for option in &self.options {
            writeln!(f, "{option}")?;
        }
        if let Some(command) = &self.init {
            writeln!(f, "`{}`", command.text)?;
        }
        for event in &self.events {
            writeln!(f, "{event}")?;
        }
        if let Some(command) = &self.cleanup {
            writeln!(f, "`{}`", command.text)?;
        }
        Ok(())
    }
}

impl Display for OptionLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => write!(f, "--{}", self.name),
            // A quoted value has no quote in it: this one stood as it is.
            Some(value) if value.contains('"') => write!(f, "--{}={value}", self.name),
            Some(value) => write!(f, "--{}=\"{value}\"", self.name),
        }
    }
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Relative(t) => write!(f, "+{}", Seconds(t)),
            Self::Absolute(t) => write!(f, "{}", Seconds(t)),
            Self::Any => f.write_char('*'),
            Self::AbsoluteRange(a, b) => write!(f, "{}~{}", Seconds(a), Seconds(b)),
            Self::RelativeRange(a, b) => write!(f, "+{}~+{}", Seconds(a), Seconds(b)),
        }
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.when)?;
        match &self.action {
            Action::Packet(packet) => write!(f, " {packet}"),
            Action::Call(call) => write!(f, "{call}"),
            Action::Command(text) => write!(f, " `{text}`"),
            Action::Code(code) => write!(f, " %{{{}}}%", code.text),
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(until) = self.until {
            write!(f, "...{}", Seconds(until))?;
        }
        write!(f, " {}(", self.name)?;
        separated(f, &self.args, ", ")?;
        write!(f, ") = {}", self.result)?;
        if let Some(errno) = &self.errno {
            write!(f, " {errno}")?;
        }
        if let Some(note) = &self.note {
            write!(f, " ({note})")?;
        }
        Ok(())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ellipsis => f.write_str("..."),
            Self::Int(n) => write!(f, "{n}"),
            Self::Hex(n) => write!(f, "{n:#x}"),
            Self::Word(word) => f.write_str(word),
            Self::Str { parts, open } => {
                for (i, part) in parts.iter().enumerate() {
                    write!(f, "{}\"{part}\"", if i > 0 { " " } else { "" })?;
                }
                f.write_str(if *open { "..." } else { "" })
            }
            Self::Or(terms) => separated(f, terms, "|"),
            Self::Assign(name, value) => write!(f, "{name}={value}"),
            Self::List(items) => {
                f.write_char('[')?;
                separated(f, items, ", ")?;
                f.write_char(']')
            }
            Self::Struct(fields) => {
                f.write_char('{')?;
                separated(f, fields, ", ")?;
                f.write_char('}')
            }
            Self::Apply(name, args) => {
                write!(f, "{name}(")?;
                separated(f, args, ", ")?;
                f.write_char(')')
            }
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            f.write_str(name)?;
            if let Some(count) = &self.count {
                write!(f, "({count})")?;
            }
            f.write_char('=')?;
        }
        self.value.fmt(f)
    }
}

impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char(match self.direction {
            Direction::In => '<',
            Direction::Out => '>',
        })?;
        for outer in &self.encapsulation {
            write!(f, " {outer}")?;
        }
        if !self.ip.is_empty() {
            write!(f, " {}", self.ip)?;
        }
        write!(f, " {}", self.body)?;
        self.changes.iter().try_for_each(|changes| write!(f, " {{{changes}}}"))
    }
}

impl Display for Outer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4 { info, src, dst } if info.is_empty() => write!(f, "ipv4 {src} > {dst}:"),
            Self::Ipv4 { info, src, dst } => write!(f, "ipv4 {info} {src} > {dst}:"),
            Self::Ipv6 { info, src, dst } if info.is_empty() => write!(f, "ipv6 {src} > {dst} :"),
            Self::Ipv6 { info, src, dst } => write!(f, "ipv6 {info} {src} > {dst} :"),
            Self::Gre(None) => f.write_str("gre:"),
            Self::Gre(Some(g)) => {
                let Gre { flags, sum, off, key, seq } = g;
                write!(f, "gre flags {flags:#x}, sum {sum}, off {off}, key {key}, seq {seq}:")
            }
            Self::Mpls(labels) => {
                f.write_str("mpls ")?;
                separated(f, labels, " ")?;
                f.write_char(':')
            }
        }
    }
}

impl Display for Label {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bottom = if self.bottom { "[S], " } else { "" };
        write!(f, "(label {}, tc {}, {bottom}ttl {})", self.label, self.tc, self.ttl)
    }
}

impl Display for IpInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        match self.tos {
            Some(Tos::Ecn(bits)) => said.push(["noecn", "ect1", "ect0", "ce"][usize::from(bits & 3)].into()),
            Some(Tos::Ect01) => said.push("ect01".to_owned()),
            Some(Tos::Byte(byte)) => said.push(format!("tos {byte:#x}")),
            None => {}
        }
        said.extend(self.flow_label.map(|label| format!("flowlabel {label:#x}")));
        said.extend(self.ttl.map(|ttl| format!("ttl {ttl}")));
        f.write_char('[')?;
        separated(f, &said, ", ")?;
        f.write_char(']')
    }
}

impl Display for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(tcp) => tcp.fmt(f),
            Self::Udp(udp) => udp.fmt(f),
            Self::Icmp(icmp) => icmp.fmt(f),
        }
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.src, self.dst)
    }
}

impl Display for SeqRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}({})", self.start, self.end(), self.len)
    }
}

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.bits == 0 && !self.ace {
            return f.write_char('-');
        }
        let ecn = Self::ECE | Self::CWR | Self::AE;
        for (bit, letter) in Self::LETTERS {
            if self.has(bit) && !(self.ace && ecn & bit != 0) {
                f.write_char(letter)?;
            }
        }
        if self.ace { write!(f, "{}", self.bits >> 6 & 7) } else { Ok(()) }
    }
}

impl Display for Tcp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(ports) = &self.ports {
            write!(f, "{ports} ")?;
        }
        write!(f, "{} {}", self.flags, self.seq)?;
        if let Some(ack) = self.ack {
            write!(f, " ack {ack}")?;
        }
        if let Some(win) = self.win {
            write!(f, " win {win}")?;
        }
        if let Some(urg) = self.urg {
            write!(f, " urg {urg}")?;
        }
        match &self.options {
            TcpOptions::Any => f.write_str(" <...>"),
            TcpOptions::List(options) if options.is_empty() => Ok(()),
            TcpOptions::List(options) => {
                f.write_str(" <")?;
                separated(f, options, ",")?;
                f.write_char('>')
            }
        }
    }
}

impl Display for TcpOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nop => f.write_str("nop"),
            Self::Eol => f.write_str("eol"),
            Self::Mss(mss) => write!(f, "mss {mss}"),
            Self::Wscale(shift) => write!(f, "wscale {shift}"),
            Self::SackOk => f.write_str("sackOK"),
            Self::Sack(blocks) => {
                f.write_str("sack")?;
                blocks.iter().try_for_each(|(left, right)| write!(f, " {left}:{right}"))
            }
            Self::Ts { val, ecr } => write!(f, "TS val {val} ecr {ecr}"),
            Self::Md5(digest) if digest.is_empty() => f.write_str("md5"),
            Self::Ao { key_id, next, mac } if mac.is_empty() => write!(f, "ao keyid {key_id} rnext {next}"),
            Self::Md5(digest) => write!(f, "md5 {}", HexBytes(digest)),
            Self::FastOpen(cookie) if cookie.is_empty() => f.write_str("FO"),
            Self::FastOpen(cookie) => write!(f, "FO {}", HexBytes(cookie)),
            Self::FastOpenExperimental(cookie) if cookie.is_empty() => f.write_str("FOEXP"),
            Self::FastOpenExperimental(cookie) => write!(f, "FOEXP {}", HexBytes(cookie)),
            Self::AccEcn(counters) => {
                f.write_str("ECN")?;
                counters.iter().try_for_each(|(counter, bytes)| write!(f, " {counter} {bytes}"))
            }
            Self::Ao { key_id, next, mac } => {
                write!(f, "ao keyid {key_id} rnext {next} mac {}", HexBytes(mac))
            }
            Self::Kind(kind, data) if data.is_empty() => write!(f, "kind {kind}"),
            Self::Kind(kind, data) => write!(f, "kind {kind} {}", HexBytes(data)),
            Self::Raw(data) => write!(f, "raw {}", HexBytes(data)),
            Self::Mptcp(text) => f.write_str(text),
        }
    }
}

impl Display for Counter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::E0b => "e0b",
            Self::Ceb => "ceb",
            Self::E1b => "e1b",
        })
    }
}

impl Display for Udp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.ports {
            Some(ports) => write!(f, "udp {ports} ({})", self.len),
            None => write!(f, "udp ({})", self.len),
        }
    }
}

impl Display for Icmp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "icmp {}", self.kind)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(id) = self.id {
            write!(f, " id {id}")?;
        }
        match self.quoted {
            Some(Quoted::Tcp(seq)) => write!(f, " [{seq}]"),
            Some(Quoted::Udp(len)) => write!(f, " [udp ({len})]"),
            Some(Quoted::Raw(len)) => write!(f, " [raw ({len})]"),
            None => Ok(()),
        }
    }
}
