//! Segments as text, in the manner of packetdrill and tcpdump.
//!
//! ```text
//! FLAGS [SEQ:END(LEN)] [ack N] [win N] [urg N] [ecn NAME] [ttl N] [<OPTIONS>]
//! ```
//! - FLAGS: `S` SYN, `.` ACK, `P` PSH, `F` FIN, `R` RST, `U` URG, `E` ECE, `W` CWR, `A` AE, `-` none.
//!   `P?` leaves PSH open.
//! - SEQ, END, ack and SACK edges count from the initial sequence number of the side that they speak of.
//!   `SEQ:END(LEN)` as tcpdump: LEN is the payload, SYN and FIN are not counted in it.
//! - `win 10`, `win >=10`, `win <=10`, `win *`: the field as on the wire, not scaled.
//! - OPTIONS, separated by commas: `mss N`, `wscale N`, `sackOK`, `sack A:B C:D`, `TS val N ecr N`, `nop`,
//!   `eol`, `opt KIND HEX`, `raw HEX`. Numbers of `mss`, `wscale` and `TS` may be `*`; a timestamp may be `+N`:
//!   N above the first TSval that this side sent.
//!
//! In an expectation what is left out is not looked at, but `<>` says that there are no options, and where
//! options are given no other may be there (order and padding do not matter). In what is sent, what is left
//! out takes the flow's usual value.

use core::fmt;

use crate::packet::{Opt, Tcp, flag};

/// A number that may be left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Num {
    /// `*`
    Any,
    /// `N`
    Exactly(u32),
    /// `+N`: counted from a base that the flow knows.
    Plus(u32),
}

/// What is said of a window field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Win {
    /// Nothing.
    Any,
    /// Exactly this.
    Exactly(u16),
    /// This or more.
    AtLeast(u16),
    /// This or less.
    AtMost(u16),
}

/// What is said of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptText {
    /// `mss N`
    Mss(Num),
    /// `wscale N`
    Wscale(Num),
    /// `sackOK`
    SackOk,
    /// `sack A:B C:D`
    Sack(Vec<(u32, u32)>),
    /// `TS val N ecr N`
    Ts {
        /// TSval.
        val: Num,
        /// `TSecr`.
        ecr: Num,
    },
    /// `nop`
    Nop,
    /// `eol`
    Eol,
    /// `opt KIND HEX`
    Other(u8, Vec<u8>),
    /// `raw HEX`
    Raw(Vec<u8>),
}

/// A segment as a text tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegText {
    /// The flags that must be set.
    pub flags: u16,
    /// Flags that may be set or not.
    pub open_flags: u16,
    /// Relative sequence number and payload length.
    pub seq: Option<(u32, u32)>,
    /// Relative acknowledgement number.
    pub ack: Option<u32>,
    /// The window field.
    pub win: Win,
    /// The urgent pointer as on the wire.
    pub urg: Option<u16>,
    /// The two ECN bits of the IP header.
    pub ecn: Option<u8>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// Options.
    pub options: Option<Vec<OptText>>,
}

/// Reads a segment.
///
/// # Errors
/// What of the text is not understood.
pub fn parse(text: &str) -> Result<SegText, String> {
    // `<=` belongs to a window.
    let opened = text.match_indices('<').map(|(at, _)| at).find(|&at| !text[at..].starts_with("<="));
    let (head, options) = match opened {
        None => (text, None),
        Some(at) => {
            let inner = text[at + 1..].trim_end().strip_suffix('>');
            let inner = inner.ok_or_else(|| format!("'{text}': '<' without '>'"))?;
            (&text[..at], Some(parse_options(inner)?))
        }
    };
    let mut words = head.split_ascii_whitespace();
    let (flags, open_flags) = parse_flags(words.next().ok_or("an empty segment")?)?;
    let mut out = SegText {
        flags,
        open_flags,
        seq: None,
        ack: None,
        win: Win::Any,
        urg: None,
        ecn: None,
        ttl: None,
        options,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("'{text}': {word} without a number"));
        match word {
            "ack" => out.ack = Some(number(value()?)?),
            "win" => out.win = window(value()?)?,
            "urg" => out.urg = Some(number(value()?)? as u16),
            "ttl" => out.ttl = Some(number(value()?)? as u8),
            "ecn" => {
                out.ecn = Some(match value()? {
                    "not" => 0,
                    "ect1" => 1,
                    "ect0" => 2,
                    "ce" => 3,
                    other => return Err(format!("ecn {other}: not, ect0, ect1 or ce")),
                });
            }
            "*" => {}
            word => out.seq = Some(sequence(word)?),
        }
    }
    Ok(out)
}

fn parse_flags(word: &str) -> Result<(u16, u16), String> {
    let (mut flags, mut open) = (0, 0);
    let mut last = 0;
    for c in word.chars() {
        let bit = match c {
            'S' => flag::SYN,
            '.' => flag::ACK,
            'P' => flag::PSH,
            'F' => flag::FIN,
            'R' => flag::RST,
            'U' => flag::URG,
            'E' => flag::ECE,
            'W' => flag::CWR,
            'A' => flag::AE,
            '-' => 0,
            '?' => {
                flags &= !last;
                open |= last;
                continue;
            }
            _ => return Err(format!("'{word}': no flag is called '{c}'")),
        };
        flags |= bit;
        last = bit;
    }
    Ok((flags, open))
}

fn number(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| format!("'{word}' is no number"))
}

fn open_number(word: &str) -> Result<Num, String> {
    Ok(match (word, word.strip_prefix('+')) {
        ("*", _) => Num::Any,
        (_, Some(rest)) => Num::Plus(number(rest)?),
        _ => Num::Exactly(number(word)?),
    })
}

fn window(word: &str) -> Result<Win, String> {
    let field = |w: &str| w.parse::<u16>().map_err(|_| format!("'{w}' is no window"));
    Ok(if word == "*" {
        Win::Any
    } else if let Some(rest) = word.strip_prefix(">=") {
        Win::AtLeast(field(rest)?)
    } else if let Some(rest) = word.strip_prefix("<=") {
        Win::AtMost(field(rest)?)
    } else {
        Win::Exactly(field(word)?)
    })
}

/// `SEQ:END(LEN)`, where END = SEQ + LEN.
fn sequence(word: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("'{word}' is not SEQ:END(LEN)");
    let (seq, rest) = word.split_once(':').ok_or_else(wrong)?;
    let (end, len) = rest.strip_suffix(')').and_then(|r| r.split_once('(')).ok_or_else(wrong)?;
    let (seq, end, len) = (number(seq)?, number(end)?, number(len)?);
    if seq.wrapping_add(len) != end {
        return Err(format!("'{word}': {seq} + {len} is {}", seq.wrapping_add(len)));
    }
    Ok((seq, len))
}

fn hex(word: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = word.chars().collect();
    digits
        .chunks(2)
        .map(|p| {
            u8::from_str_radix(&p.iter().collect::<String>(), 16).map_err(|_| format!("'{word}' is not hex"))
        })
        .collect()
}

fn parse_options(inner: &str) -> Result<Vec<OptText>, String> {
    let mut out = Vec::new();
    for item in inner.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        let words: Vec<&str> = item.split_ascii_whitespace().collect();
        out.push(match words.as_slice() {
            ["mss", n] => OptText::Mss(open_number(n)?),
            ["wscale", n] => OptText::Wscale(open_number(n)?),
            ["sackOK"] => OptText::SackOk,
            ["nop"] => OptText::Nop,
            ["eol"] => OptText::Eol,
            ["TS", "val", val, "ecr", ecr] => OptText::Ts { val: open_number(val)?, ecr: open_number(ecr)? },
            ["sack", blocks @ ..] => OptText::Sack(
                blocks
                    .iter()
                    .map(|b| {
                        let (left, right) =
                            b.split_once(':').ok_or_else(|| format!("'{b}' is no SACK block"))?;
                        Ok((number(left)?, number(right)?))
                    })
                    .collect::<Result<_, String>>()?,
            ),
            ["opt", kind] => OptText::Other(number(kind)? as u8, Vec::new()),
            ["opt", kind, data] => OptText::Other(number(kind)? as u8, hex(data)?),
            ["raw", data] => OptText::Raw(hex(data)?),
            _ => return Err(format!("'{item}' is no option")),
        });
    }
    Ok(out)
}

/// From which numbers a side counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bases {
    /// Initial sequence number of the segment's sender.
    pub seq: u32,
    /// Initial sequence number of its receiver.
    pub ack: u32,
    /// First TSval of the sender.
    pub ts_val: u32,
    /// First TSval of the receiver.
    pub ts_ecr: u32,
}

fn fits(num: Num, base: u32, seen: u32) -> bool {
    match num {
        Num::Any => true,
        Num::Exactly(n) => n == seen,
        Num::Plus(n) => base.wrapping_add(n) == seen,
    }
}

impl SegText {
    /// What of `segment` does not fit, in words; empty where all does.
    #[must_use]
    pub fn mismatches(&self, segment: &Tcp, bases: &Bases) -> Vec<String> {
        let mut out = Vec::new();
        if segment.flags & !self.open_flags != self.flags {
            out.push(format!("flags {}", flags_text(segment.flags)));
        }
        let seq = segment.seq.wrapping_sub(bases.seq);
        let len = segment.payload.len() as u32;
        if let Some(wanted) = self.seq
            && wanted != (seq, len)
        {
            out.push(format!("{seq}:{}({len})", seq.wrapping_add(len)));
        }
        let ack = segment.ack.wrapping_sub(bases.ack);
        if let Some(wanted) = self.ack
            && wanted != ack
        {
            out.push(format!("ack {ack}"));
        }
        let window_fits = match self.win {
            Win::Any => true,
            Win::Exactly(n) => segment.window == n,
            Win::AtLeast(n) => segment.window >= n,
            Win::AtMost(n) => segment.window <= n,
        };
        if !window_fits {
            out.push(format!("win {}", segment.window));
        }
        if let Some(wanted) = self.urg
            && wanted != segment.urgent
        {
            out.push(format!("urg {}", segment.urgent));
        }
        if let Some(wanted) = &self.options
            && !options_fit(wanted, &segment.options, bases)
        {
            out.push(format!("<{}>", options_text(&segment.options, bases)));
        }
        out
    }
}

/// Each wanted option is there, and no other; NOP and EOL do not count, nor does the order.
fn options_fit(wanted: &[OptText], seen: &[Opt], bases: &Bases) -> bool {
    let mut seen: Vec<&Opt> = seen.iter().filter(|o| !matches!(o, Opt::Nop | Opt::Eol)).collect();
    for want in wanted.iter().filter(|w| !matches!(w, OptText::Nop | OptText::Eol)) {
        let Some(at) = seen.iter().position(|o| option_fits(want, o, bases)) else { return false };
        seen.remove(at);
    }
    seen.is_empty()
}

fn option_fits(want: &OptText, seen: &Opt, bases: &Bases) -> bool {
    match (want, seen) {
        (OptText::Mss(n), Opt::Mss(mss)) => fits(*n, 0, u32::from(*mss)),
        (OptText::Wscale(n), Opt::Wscale(shift)) => fits(*n, 0, u32::from(*shift)),
        (OptText::SackOk, Opt::SackOk) => true,
        (OptText::Sack(want), Opt::Sack(seen)) => {
            let relative = |&(l, r): &(u32, u32)| (l.wrapping_sub(bases.ack), r.wrapping_sub(bases.ack));
            seen.iter().map(relative).eq(want.iter().copied())
        }
        (OptText::Ts { val, ecr }, Opt::Ts { val: v, ecr: e }) => {
            fits(*val, bases.ts_val, *v) && fits(*ecr, bases.ts_ecr, *e)
        }
        (OptText::Other(kind, data), Opt::Other(k, d)) => kind == k && data == d,
        _ => false,
    }
}

/// The flags in the text's letters.
#[must_use]
pub fn flags_text(flags: u16) -> String {
    const LETTERS: [(u16, char); 9] = [
        (flag::SYN, 'S'),
        (flag::FIN, 'F'),
        (flag::RST, 'R'),
        (flag::PSH, 'P'),
        (flag::URG, 'U'),
        (flag::ECE, 'E'),
        (flag::CWR, 'W'),
        (flag::AE, 'A'),
        (flag::ACK, '.'),
    ];
    let out: String = LETTERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, c)| *c).collect();
    if out.is_empty() { "-".into() } else { out }
}

/// Options in the text's words.
#[must_use]
pub fn options_text(options: &[Opt], bases: &Bases) -> String {
    let one = |o: &Opt| match o {
        Opt::Eol => "eol".into(),
        Opt::Nop => "nop".into(),
        Opt::Mss(n) => format!("mss {n}"),
        Opt::Wscale(n) => format!("wscale {n}"),
        Opt::SackOk => "sackOK".into(),
        Opt::Sack(blocks) => blocks.iter().fold("sack".into(), |s, (l, r)| {
            format!("{s} {}:{}", l.wrapping_sub(bases.ack), r.wrapping_sub(bases.ack))
        }),
        Opt::Ts { val, ecr } => {
            let plus = val.wrapping_sub(bases.ts_val);
            format!("TS val {val} (+{plus}) ecr {ecr}")
        }
        Opt::Other(kind, data) => format!("opt {kind} {data:02x?}"),
        Opt::Raw(data) => format!("raw {data:02x?}"),
    };
    options.iter().map(one).collect::<Vec<String>>().join(",")
}

/// A segment in the text's words, numbers relative to `bases`.
#[must_use]
pub fn render(segment: &Tcp, bases: &Bases) -> String {
    struct Line<'a>(&'a Tcp, &'a Bases);
    impl fmt::Display for Line<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self(t, bases) = self;
            let seq = t.seq.wrapping_sub(bases.seq);
            let len = t.payload.len() as u32;
            write!(f, "{} {seq}:{}({len})", flags_text(t.flags), seq.wrapping_add(len))?;
            if t.has(flag::ACK) {
                write!(f, " ack {}", t.ack.wrapping_sub(bases.ack))?;
            }
            write!(f, " win {}", t.window)?;
            if t.has(flag::URG) {
                write!(f, " urg {}", t.urgent)?;
            }
            if !t.options.is_empty() {
                write!(f, " <{}>", options_text(&t.options, bases))?;
            }
            Ok(())
        }
    }
    Line(segment, bases).to_string()
}

#[cfg(test)]
mod tests;
