//! A script as plain values. Each type's `Display` is the language again: what is printed parses to an equal value.

use std::net::{Ipv4Addr, Ipv6Addr};

mod print;

/// A place in a script's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pos {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1; a tab counts as one.
    pub column: u32,
}

impl std::fmt::Display for Pos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A whole script.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Script {
    /// `--name=value` lines, in order; `--define` lines have been applied already.
    pub options: Vec<OptionLine>,
    /// A command before the first event.
    pub init: Option<Command>,
    /// What happens, in order.
    pub events: Vec<Event>,
    /// A command after the last event, run however the script ends.
    pub cleanup: Option<Command>,
}

/// `--name` or `--name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionLine {
    /// Where it stands.
    pub pos: Pos,
    /// Without the dashes.
    pub name: String,
    /// As written, without the quotes around a whole string.
    pub value: Option<String>,
}

/// A shell command from backquotes, as written between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Where it stands.
    pub pos: Pos,
    /// The text between the backquotes.
    pub text: String,
}

/// Nanoseconds since the script's beginning, or since the event before.
pub type Nanos = u64;

/// When an event happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// `+0.1`: so long after the event before it.
    Relative(Nanos),
    /// `0.1`: since the script's beginning.
    Absolute(Nanos),
    /// `*`: whenever it comes (packets from the stack only).
    Any,
    /// `0.1~0.2` (packets from the stack only).
    AbsoluteRange(Nanos, Nanos),
    /// `+0.1~+0.2` (packets from the stack only).
    RelativeRange(Nanos, Nanos),
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where its time stands.
    pub pos: Pos,
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A packet comes in or is expected to go out.
    Packet(Packet),
    /// The program calls the system.
    Call(Call),
    /// A shell command.
    Command(String),
    /// `%{ ... }%`: python, blanks around it removed.
    Code(Code),
}

/// Python from a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where the text begins.
    pub pos: Pos,
    /// The text, blanks around it removed.
    pub text: String,
}

/// `name(args) = result ERRNO (note)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `...T`: it blocks, and returns at this time (absolute or relative as the event's own).
    pub until: Option<Nanos>,
    /// Which call.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// What it returns.
    pub result: Expr,
    /// The error it fails with.
    pub errno: Option<String>,
    /// Words in parentheses after it, for people only.
    pub note: Option<String>,
}

/// An argument or a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// `...`: anything (a result), or whatever the runner puts there (an argument).
    Ellipsis,
    /// A decimal number.
    Int(i64),
    /// A hexadecimal number.
    Hex(u64),
    /// A symbol.
    Word(String),
    /// `"abc"`, or several in a row; escapes as written.
    Str {
        /// The strings between the quotes.
        parts: Vec<String>,
        /// `...` follows: only the beginning is meant.
        open: bool,
    },
    /// `A|B|C`, at least two.
    Or(Vec<Expr>),
    /// `name = value`.
    Assign(String, Box<Expr>),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `{a, name=b, name(c)=d}`.
    Struct(Vec<Field>),
    /// `htons(80)`, `inet_addr("10.0.0.1")`.
    Apply(String, Vec<Expr>),
}

/// One field between braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// `name =`.
    pub name: Option<String>,
    /// `name(count) =`.
    pub count: Option<Expr>,
    /// The value.
    pub value: Expr,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `<`: injected, towards the stack under test.
    In,
    /// `>`: expected from the stack under test.
    Out,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which way.
    pub direction: Direction,
    /// Headers around it, outermost first.
    pub encapsulation: Vec<Outer>,
    /// What is said of its own IP header.
    pub ip: IpInfo,
    /// What is in it.
    pub body: Body,
    /// `{rep tcp win_size 0x1021}`: what a fuzzer changes of its bytes; read and printed, not done.
    pub changes: Option<String>,
}

/// A header that a packet travels in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outer {
    /// `ipv4 A > B:`
    Ipv4 {
        /// What is said of the header besides its addresses.
        info: IpInfo,
        /// From.
        src: Ipv4Addr,
        /// To.
        dst: Ipv4Addr,
    },
    /// `ipv6 A > B:`
    Ipv6 {
        /// What is said of the header besides its addresses.
        info: IpInfo,
        /// From.
        src: Ipv6Addr,
        /// To.
        dst: Ipv6Addr,
    },
    /// `gre:` or `gre flags F, sum S, off O, key K, seq Q:`
    Gre(Option<Gre>),
    /// `mpls (label L, tc T, [S], ttl N) ...:`
    Mpls(Vec<Label>),
}

/// The fields of a GRE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gre {
    /// Flags.
    pub flags: u16,
    /// Checksum.
    pub sum: u16,
    /// Offset.
    pub off: u16,
    /// Key.
    pub key: u32,
    /// Sequence number.
    pub seq: u32,
}

/// One entry of an MPLS stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits.
    pub tc: u8,
    /// `[S]`: the last one.
    pub bottom: bool,
    /// Time to live.
    pub ttl: u8,
}

/// `[ect0]`, `(tos 0x10, flowlabel 0x1)`, `[ttl 64]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IpInfo {
    /// What is said of the TOS byte or traffic class.
    pub tos: Option<Tos>,
    /// IPv6 flow label, 20 bits.
    pub flow_label: Option<u32>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
}

impl IpInfo {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is said of the TOS byte or traffic class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tos {
    /// Its ECN bits (0 not-ECT, 1 ECT(1), 2 ECT(0), 3 CE).
    Ecn(u8),
    /// `ect01`: ECT(0) or ECT(1) (packets from the stack only).
    Ect01,
    /// The whole byte.
    Byte(u8),
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// An ICMP or `ICMPv6` message.
    Icmp(Icmp),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source and destination port, where they are not the connection's.
    pub ports: Option<Ports>,
    /// Flags.
    pub flags: Flags,
    /// Sequence numbers, relative to the initial one.
    pub seq: SeqRange,
    /// `ack N`.
    pub ack: Option<u32>,
    /// `win N`, as in the header.
    pub win: Option<u16>,
    /// `urg N`.
    pub urg: Option<u16>,
    /// Options.
    pub options: TcpOptions,
}

/// `SRC > DST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
}

/// `start:end(len)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqRange {
    /// First sequence number.
    pub start: u32,
    /// Payload bytes; SYN and FIN not counted.
    pub len: u16,
}

impl SeqRange {
    /// The sequence number behind the payload.
    pub const fn end(self) -> u32 {
        self.start.wrapping_add(self.len as u32)
    }
}

/// The flags of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flags {
    /// The nine bits as in the header: FIN 1, SYN 2, RST 4, PSH 8, ACK 0x10, URG 0x20, ECE 0x40, CWR 0x80, AE 0x100.
    pub bits: u16,
    /// The three ECN bits were written as a count (RFC 9768's ACE field).
    pub ace: bool,
}

impl Flags {
    /// FIN.
    pub const FIN: u16 = 1;
    /// SYN.
    pub const SYN: u16 = 2;
    /// RST.
    pub const RST: u16 = 4;
    /// PSH.
    pub const PSH: u16 = 8;
    /// ACK.
    pub const ACK: u16 = 0x10;
    /// URG.
    pub const URG: u16 = 0x20;
    /// ECE.
    pub const ECE: u16 = 0x40;
    /// CWR.
    pub const CWR: u16 = 0x80;
    /// AE, once NS.
    pub const AE: u16 = 0x100;

    /// Each flag with its letter, in the order they are written.
    pub const LETTERS: [(u16, char); 9] = [
        (Self::SYN, 'S'),
        (Self::FIN, 'F'),
        (Self::RST, 'R'),
        (Self::ECE, 'E'),
        (Self::CWR, 'W'),
        (Self::AE, 'A'),
        (Self::PSH, 'P'),
        (Self::URG, 'U'),
        (Self::ACK, '.'),
    ];

    /// Flags with these bits.
    pub const fn new(bits: u16) -> Self {
        Self { bits, ace: false }
    }

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: u16) -> bool {
        self.bits & bits == bits
    }
}

/// The options of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOptions {
    /// `<...>`: whatever they are (packets from the stack only).
    Any,
    /// These, in this order.
    List(Vec<TcpOption>),
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TcpOption {
    /// `nop`
    Nop,
    /// `eol`
    Eol,
    /// `mss 1460`
    Mss(u16),
    /// `wscale 7`
    Wscale(u8),
    /// `sackOK`
    SackOk,
    /// `sack 1:2 3:4`, relative to the stack's initial sequence number where it is the peer's, and the other way round.
    Sack(Vec<(u32, u32)>),
    /// `TS val 1 ecr 2`
    Ts {
        /// TSval.
        val: u32,
        /// `TSecr`.
        ecr: u32,
    },
    /// `md5` (RFC 2385): with the right digest, worked out with the key that the script set. `md5 HEX`: with that one.
    Md5(Vec<u8>),
    /// `FO` or `FO HEX` (RFC 7413).
    FastOpen(Vec<u8>),
    /// `FOEXP` or `FOEXP HEX`: the same under experimental kind 254 with the magic 0xF989.
    FastOpenExperimental(Vec<u8>),
    /// `ECN e1b 1 ceb 0 e0b 1`: the byte counters of RFC 9768, 24 bits each, in their order on the wire.
    AccEcn(Vec<(Counter, u32)>),
    /// `ao keyid 1 rnext 2` (RFC 5925): with the right MAC. `ao keyid 1 rnext 2 mac HEX`: with that one.
    Ao {
        /// `KeyID`.
        key_id: u8,
        /// `RNextKeyID`.
        next: u8,
        /// The MAC; none where it is to be worked out.
        mac: Vec<u8>,
    },
    /// `kind 254 HEX`: any kind, with what follows its length byte.
    Kind(u8, Vec<u8>),
    /// `raw HEX`: bytes as they are, illegal lengths and all.
    Raw(Vec<u8>),
    /// An option of Multipath TCP, as written: finack speaks no MPTCP.
    Mptcp(String),
}

/// Which byte counter of an AccECN option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// `e0b`: bytes marked ECT(0).
    E0b,
    /// `ceb`: bytes marked CE.
    Ceb,
    /// `e1b`: bytes marked ECT(1).
    E1b,
}

impl TcpOption {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Self::Nop | Self::Eol => 1,
            Self::Mss(_) => 4,
            Self::Wscale(_) => 3,
            Self::SackOk => 2,
            Self::Sack(blocks) => 2 + 8 * blocks.len(),
            Self::Ts { .. } => 10,
            Self::Md5(data) if data.is_empty() => 18,
            // 96 bits, unless the key says otherwise.
            Self::Ao { mac, .. } if mac.is_empty() => 16,
            Self::Md5(data) | Self::FastOpen(data) | Self::Kind(_, data) => 2 + data.len(),
            Self::FastOpenExperimental(data) | Self::Ao { mac: data, .. } => 4 + data.len(),
            Self::AccEcn(counters) => 2 + 3 * counters.len(),
            Self::Raw(data) => data.len(),
            Self::Mptcp(_) => 0,
        }
    }

    /// Whether it takes no byte on the wire.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source and destination port, where they are not the socket's.
    pub ports: Option<Ports>,
    /// Payload bytes.
    pub len: u16,
}

/// An ICMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// `unreachable`, `packet_too_big`, `type_3`, ...
    pub kind: String,
    /// `port_unreachable`, `frag_needed`, `code_4`, ...
    pub code: Option<String>,
    /// `mtu N`.
    pub mtu: Option<u32>,
    /// `id N` of an echo.
    pub id: Option<u16>,
    /// What it quotes.
    pub quoted: Option<Quoted>,
}

/// What an ICMP message quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quoted {
    /// `[1:1001(1000)]`: a TCP segment of the connection.
    Tcp(SeqRange),
    /// `[udp (100)]`
    Udp(u16),
    /// `[raw (100)]`: no header, so many bytes of message.
    Raw(u16),
}
