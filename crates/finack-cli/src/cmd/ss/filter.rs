//! The filter of ss(8): states, and an expression over addresses and ports.

use std::net::{IpAddr, SocketAddr};

use finack_core::tcp::State;
use finack_run::control::protocol::Socket;
use finack_run::plan;

/// How deep an expression may be nested.
const DEPTH: u32 = 64;
/// Words of a filter.
const WORDS: usize = 1024;

/// Which sockets are shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filter {
    states: u16,
    expression: Option<Expression>,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Port(Which, Comparison, u16),
    Host(Which, Vec<Prefix>, Option<u16>),
}

/// An address and how many of its bits count.
type Prefix = (IpAddr, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Local,
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

const fn bit(state: State) -> u16 {
    1 << state as u16
}

const ALL: u16 = (1 << 11) - 1;
const LISTENING: u16 = bit(State::Listen) | bit(State::Closed);
const CONNECTED: u16 = ALL & !LISTENING;
const BUCKET: u16 = bit(State::SynReceived) | bit(State::TimeWait);
/// What is shown without `-a`, `-l` and `state`.
const USUAL: u16 = CONNECTED & !BUCKET;

/// Names of states; those of finack's reports are understood too.
fn states_called(name: &str) -> Option<u16> {
    Some(match name {
        "all" => ALL,
        "connected" => CONNECTED,
        "synchronized" => CONNECTED & !bit(State::SynSent),
        "bucket" => BUCKET,
        "big" => ALL & !BUCKET,
        "established" | "estab" => bit(State::Established),
        "syn-sent" => bit(State::SynSent),
        "syn-recv" | "syn-received" => bit(State::SynReceived),
        "fin-wait-1" => bit(State::FinWait1),
        "fin-wait-2" => bit(State::FinWait2),
        "time-wait" => bit(State::TimeWait),
        "closed" | "close" | "unconnected" | "unconn" => bit(State::Closed),
        "close-wait" => bit(State::CloseWait),
        "last-ack" => bit(State::LastAck),
        "listening" | "listen" => bit(State::Listen),
        "closing" => bit(State::Closing),
        _ => return None,
    })
}

impl Filter {
    /// From the command line; the error is one line.
    pub(super) fn new(words: &[String], all: bool, listening: bool) -> Result<Self, String> {
        let mut states = match (all, listening) {
            (true, _) => ALL,
            (_, true) => LISTENING,
            _ => USUAL,
        };
        let tokens = tokens(&words.join(" "));
        if tokens.len() > WORDS {
            return Err(format!("it has more than {WORDS} words"));
        }
        let mut rest = Tokens { tokens: &tokens, at: 0, depth: 0 };
        let mut named = false;
        while let Some(verb @ ("state" | "exclude")) = rest.peek() {
            rest.at += 1;
            let name = rest.next().ok_or_else(|| format!("{verb} what? Such as: {verb} close-wait"))?;
            let those = states_called(&name.to_ascii_lowercase()).ok_or_else(|| no_state(name))?;
            states = match (verb, named) {
                ("state", false) => those,
                ("state", true) => states | those,
                (_, false) => ALL & !those,
                (_, true) => states & !those,
            };
            named = true;
        }
        let expression = if rest.peek().is_some() { Some(rest.or()?) } else { None };
        match rest.peek() {
            None => Ok(Self { states, expression }),
            Some(left) => Err(format!("'{left}' was not expected there")),
        }
    }

    /// Whether the socket is shown.
    pub(super) fn takes(&self, socket: &Socket) -> bool {
        self.states & bit(socket.state.0) != 0
            && self.expression.as_ref().is_none_or(|expression| expression.takes(socket))
    }
}

fn no_state(name: &str) -> String {
    format!(
        "there is no state {name}; there are established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, time-wait, \
         closed, close-wait, last-ack, listening, closing, and the groups all, connected, synchronized, bucket, big"
    )
}

impl Expression {
    fn takes(&self, socket: &Socket) -> bool {
        let end = |which| match which {
            Which::Local => Some(socket.local),
            Which::Peer => socket.peer,
        };
        match self {
            Self::And(a, b) => a.takes(socket) && b.takes(socket),
            Self::Or(a, b) => a.takes(socket) || b.takes(socket),
            Self::Not(a) => !a.takes(socket),
            Self::Port(which, comparison, port) => {
                let own = end(*which).map_or(0, |end| end.port());
                match comparison {
                    Comparison::Equal => own == *port,
                    Comparison::NotEqual => own != *port,
                    Comparison::Less => own < *port,
                    Comparison::Greater => own > *port,
                    Comparison::AtMost => own <= *port,
                    Comparison::AtLeast => own >= *port,
                }
            }
            Self::Host(which, networks, port) => end(*which).is_some_and(|end| {
                port.is_none_or(|port| port == end.port())
                    && (networks.is_empty() || networks.iter().any(|(ip, len)| within(end.ip(), *ip, *len)))
            }),
        }
    }
}

fn within(ip: IpAddr, network: IpAddr, len: u8) -> bool {
    let differ = match (ip.to_canonical(), network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(len)
}

/// Words, brackets and signs apart.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let sign = matches!(c, '(' | ')' | '!' | '=' | '<' | '>' | '&' | '|');
        if !sign && !c.is_whitespace() {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if sign {
            let mut sign = c.to_string();
            // `!=`, `>=`, `==`, `&&`, `||`
            let pairs = matches!(c, '!' | '=' | '<' | '>') && chars.peek() == Some(&'=')
                || matches!(c, '&' | '|') && chars.peek() == Some(&c);
            sign.extend(chars.next_if(|_| pairs));
            tokens.push(sign);
        }
    }
    tokens.extend((!word.is_empty()).then_some(word));
    tokens
}

struct Tokens<'a> {
    tokens: &'a [String],
    at: usize,
    depth: u32,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek();
        self.at += usize::from(token.is_some());
        token
    }

    fn or(&mut self) -> Result<Expression, String> {
        let mut left = self.and()?;
        while matches!(self.peek(), Some("or" | "|" | "||")) {
            self.at += 1;
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    /// As in `ss`, two that stand beside each other must both hold.
    fn and(&mut self) -> Result<Expression, String> {
        let mut left = self.not()?;
        loop {
            match self.peek() {
                Some("and" | "&" | "&&") => self.at += 1,
                Some("or" | "|" | "||" | ")") | None => return Ok(left),
                Some(_) => {}
            }
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
    }

    fn not(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("it is nested more than {DEPTH} deep"));
        }
        let expression = match self.next() {
            Some("not" | "!") => Expression::Not(Box::new(self.not()?)),
            Some("(") => {
                let inner = self.or()?;
                match self.next() {
                    Some(")") => inner,
                    _ => return Err("a ) is missing".to_owned()),
                }
            }
            Some(word @ ("dport" | "sport")) => self.port(word)?,
            Some(word @ ("dst" | "src")) => self.host(word)?,
            Some(word) => {
                return Err(format!("'{word}' is none of state, dst, src, dport, sport, and, or, not"));
            }
            None => return Err("something is missing at its end".to_owned()),
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek()? {
            "=" | "==" | "eq" => Comparison::Equal,
            "!=" | "ne" | "neq" => Comparison::NotEqual,
            "<" | "lt" => Comparison::Less,
            ">" | "gt" => Comparison::Greater,
            "<=" | "le" | "leq" => Comparison::AtMost,
            ">=" | "ge" | "geq" => Comparison::AtLeast,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn port(&mut self, word: &str) -> Result<Expression, String> {
        let which = if word == "dport" { Which::Peer } else { Which::Local };
        let comparison = self.comparison().unwrap_or(Comparison::Equal);
        let wrong = || format!("after {word} comes a port, such as: {word} = :80");
        let port = self.next().ok_or_else(wrong)?;
        let port = port.strip_prefix(':').unwrap_or(port).parse().map_err(|_| wrong())?;
        Ok(Expression::Port(which, comparison, port))
    }

    fn host(&mut self, word: &str) -> Result<Expression, String> {
        let which = if word == "dst" { Which::Peer } else { Which::Local };
        let negated = match self.comparison() {
            None | Some(Comparison::Equal) => false,
            Some(Comparison::NotEqual) => true,
            Some(_) => return Err(format!("{word} can only be = or !=")),
        };
        let text = self.next().ok_or_else(|| format!("after {word} comes an address or a name"))?;
        let (networks, port) = host(text)
            .ok_or_else(|| format!("'{text}' is no ADDRESS[/BITS][:PORT], and no name of finack's"))?;
        let expression = Expression::Host(which, networks, port);
        Ok(if negated { Expression::Not(Box::new(expression)) } else { expression })
    }
}

/// `ADDRESS`, `ADDRESS/BITS`, `ADDRESS:PORT`, `[V6]:PORT`, `*:PORT`, `:PORT`, or a name for an address.
fn host(text: &str) -> Option<(Vec<Prefix>, Option<u16>)> {
    if let Ok(end) = text.parse::<SocketAddr>() {
        return Some((vec![(end.ip(), bits(end.ip()))], Some(end.port())));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some((vec![(ip, bits(ip))], None));
    }
    if let Some((ip, len)) = text.split_once('/') {
        let (ip, len) = (ip.parse::<IpAddr>().ok()?, len.parse::<u8>().ok()?);
        return (len <= bits(ip)).then(|| (vec![(ip, len)], None));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (text, None),
    };
    if matches!(name, "" | "*") {
        return port.map(|port| (Vec::new(), Some(port)));
    }
    let host = plan::host_named(name)?;
    Some((vec![(host.v4.into(), 32), (host.v6.into(), 128)], port))
}

const fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests;
