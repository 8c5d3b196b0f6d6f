//! The program that the kernel runs for each frame that arrives: what is finack's goes to its socket, all else goes on
//! to the kernel.
//!
//! It is assembled for the addresses at hand, which become constants in it; nothing is compiled, and there is no loop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};

use finack_wire::ethernet::MacAddr;

#[cfg(test)]
mod tests;

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// Destination and source register, four bits each.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// What is finack's.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The interface's link address.
    pub(super) mac: MacAddr,
    /// Its IP addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// With ports: only TCP and UDP to these, and nothing that asks for link addresses.
    pub(super) ports: Option<RangeInclusive<u16>>,
}

/// What becomes of a frame that is finack's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict<'a> {
    /// To the socket that this map has for the queue; to the kernel where it has none.
    Socket(BorrowedFd<'a>),
    /// A plain answer, to see what the program decides.
    #[cfg(test)]
    Answer(i32),
}

const XDP_PASS: i32 = 2;
const HELPER_REDIRECT_MAP: i32 = 51;
/// The immediate of a 64-bit load is a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;

/// Operation codes: class, operation, source.
const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const LOAD_BYTE: u8 = 0x71;
const LOAD_IMM64: u8 = 0x18;
const MOVE: u8 = 0xbf;
const MOVE_IMM: u8 = 0xb7;
const ADD: u8 = 0x0f;
const ADD_IMM: u8 = 0x07;
const AND_IMM: u8 = 0x57;
const SHIFT_LEFT_IMM: u8 = 0x67;
const FROM_BIG_ENDIAN: u8 = 0xdc;
const JUMP: u8 = 0x05;
const JUMP_GREATER: u8 = 0x2d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// With the low 32 bits of the register.
const JUMP32_EQUAL_IMM: u8 = 0x16;
const JUMP32_UNEQUAL_IMM: u8 = 0x56;
const JUMP32_GREATER_IMM: u8 = 0x26;
const JUMP32_LESS_IMM: u8 = 0xa6;
const JUMP32_SET_IMM: u8 = 0x46;

/// Registers: the context; the frame's start and end; what is looked at.
const CONTEXT: u8 = 1;
const START: u8 = 2;
const END: u8 = 3;
const BOUND: u8 = 4;
const VALUE: u8 = 5;
/// Four registers for an IPv6 address.
const WORDS: [u8; 4] = [5, 6, 7, 8];

/// Offsets in a frame.
const TYPE: i16 = 12;
const IP: i16 = 14;
const V4_FRAGMENT: i16 = IP + 6;
const V4_PROTOCOL: i16 = IP + 9;
const V4_DESTINATION: i16 = IP + 16;
const V6_NEXT: i16 = IP + 6;
const V6_DESTINATION: i16 = IP + 24;
const V6_PAYLOAD: i16 = IP + 40;
const ARP_TARGET: i16 = IP + 24;
const SOLICITATION_TARGET: i16 = V6_PAYLOAD + 8;

const TCP: i32 = 6;
const UDP: i32 = 17;
const ICMPV6: i32 = 58;
const NEIGHBOUR_SOLICITATION: i32 = 135;

/// Places to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Pass,
    Take,
    Group,
    Arp,
    V4,
    V6,
    Solicitation,
    CompareV6,
    PortsV4,
    PortsV6,
    ComparePort,
    /// The transport protocol is TCP or UDP.
    KnownV4,
    KnownV6,
    /// After the comparison with the IPv6 address of that number.
    NextV6(usize),
}

/// The words of `octets` as the program loads them.
fn word<const N: usize>(octets: &[u8; 16], at: usize) -> i32 {
    let mut bytes = [0; 4];
    bytes[..N].copy_from_slice(&octets[at..at + N]);
    if N == 2 { i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) } else { i32::from_ne_bytes(bytes) }
}

/// A number of 16 bits in network order as the program loads it.
fn half(number: u16) -> i32 {
    i32::from(u16::from_ne_bytes(number.to_be_bytes()))
}

#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    places: Vec<(Label, usize)>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn emit(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        let (low, high) =
            if cfg!(target_endian = "little") { (destination, source) } else { (source, destination) };
        self.code.push(Instruction { code, registers: low | high << 4, offset, immediate });
    }

    fn load(&mut self, code: u8, to: u8, from: u8, offset: i16) {
        self.emit(code, to, from, offset, 0);
    }

    fn jump(&mut self, code: u8, register: u8, immediate: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(code, register, 0, 0, immediate);
    }

    fn here(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    /// To the kernel with what is shorter than `len` bytes from the start.
    fn need(&mut self, len: i16) {
        self.emit(MOVE, BOUND, START, 0, 0);
        self.emit(ADD_IMM, BOUND, 0, 0, i32::from(len));
        self.jumps.push((self.code.len(), Label::Pass));
        self.emit(JUMP_GREATER, BOUND, END, 0, 0);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            if let Some((_, place)) = self.places.iter().find(|(known, _)| *known == label) {
                // The program is some hundreds of instructions long at most.
                self.code[at].offset = (*place as isize - at as isize - 1) as i16;
            }
        }
        self.code
    }
}

/// The program for these rules.
pub(super) fn assemble(rules: &Rules, verdict: Verdict<'_>) -> Vec<Instruction> {
    let mut a = Assembler::default();
    let asks = rules.ports.is_none();
    link_layer(&mut a, rules.mac, asks);
    let (mut v4, mut v6): (Vec<Ipv4Addr>, Vec<Ipv6Addr>) = (Vec::new(), Vec::new());
    for address in &rules.addresses {
        match address {
            IpAddr::V4(address) => v4.push(*address),
            IpAddr::V6(address) => v6.push(*address),
        }
    }
    version_4(&mut a, &v4, asks);
    version_6(&mut a, &v6, asks);
    if let Some(ports) = &rules.ports {
        port_filter(&mut a, ports, !v4.is_empty(), !v6.is_empty());
    }
    a.here(Label::Take);
    match verdict {
        Verdict::Socket(map) => {
            // The queue's number, `rx_queue_index` of the context, is the key.
            a.load(LOAD_WORD, START, CONTEXT, 16);
            a.emit(LOAD_IMM64, CONTEXT, PSEUDO_MAP_FD, 0, map.as_raw_fd());
            a.emit(0, 0, 0, 0, 0);
            // Where the queue has no socket, the answer is this one.
            a.emit(MOVE_IMM, END, 0, 0, XDP_PASS);
            a.emit(CALL, 0, 0, 0, HELPER_REDIRECT_MAP);
        }
        #[cfg(test)]
        Verdict::Answer(answer) => a.emit(MOVE_IMM, 0, 0, 0, answer),
    }
    a.emit(EXIT, 0, 0, 0, 0);
    a.here(Label::Pass);
    a.emit(MOVE_IMM, 0, 0, 0, XDP_PASS);
    a.emit(EXIT, 0, 0, 0, 0);
    a.finish()
}

/// Frames to this interface of all kinds, frames to groups only where they ask for a link address.
fn link_layer(a: &mut Assembler, MacAddr(mac): MacAddr, asks: bool) {
    a.load(LOAD_WORD, START, CONTEXT, 0);
    a.load(LOAD_WORD, END, CONTEXT, 4);
    a.need(IP + 20);
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&mac);
    let elsewhere = if asks { Label::Group } else { Label::Pass };
    a.load(LOAD_WORD, VALUE, START, 0);
    a.jump(JUMP32_UNEQUAL_IMM, VALUE, word::<4>(&octets, 0), elsewhere);
    a.load(LOAD_HALF, VALUE, START, 4);
    a.jump(JUMP32_UNEQUAL_IMM, VALUE, word::<2>(&octets, 4), elsewhere);
    a.load(LOAD_HALF, VALUE, START, TYPE);
    a.jump(JUMP32_EQUAL_IMM, VALUE, half(0x0800), Label::V4);
    a.jump(JUMP32_EQUAL_IMM, VALUE, half(0x86dd), Label::V6);
    if asks {
        a.jump(JUMP32_EQUAL_IMM, VALUE, half(0x0806), Label::Arp);
    }
    a.jump(JUMP, 0, 0, Label::Pass);
    if asks {
        a.here(Label::Group);
        a.load(LOAD_BYTE, VALUE, START, 0);
        a.emit(AND_IMM, VALUE, 0, 0, 1);
        a.jump(JUMP32_EQUAL_IMM, VALUE, 0, Label::Pass);
        a.load(LOAD_HALF, VALUE, START, TYPE);
        a.jump(JUMP32_EQUAL_IMM, VALUE, half(0x0806), Label::Arp);
        a.jump(JUMP32_EQUAL_IMM, VALUE, half(0x86dd), Label::Solicitation);
        a.jump(JUMP, 0, 0, Label::Pass);
    }
}

/// ARP about an address, and packets to one.
fn version_4(a: &mut Assembler, addresses: &[Ipv4Addr], asks: bool) {
    let compare = |a: &mut Assembler, at: i16, found: Label| {
        a.load(LOAD_WORD, VALUE, START, at);
        for address in addresses {
            a.jump(JUMP32_EQUAL_IMM, VALUE, i32::from_ne_bytes(address.octets()), found);
        }
        a.jump(JUMP, 0, 0, Label::Pass);
    };
    a.here(Label::V4);
    compare(a, V4_DESTINATION, if asks { Label::Take } else { Label::PortsV4 });
    if asks {
        a.here(Label::Arp);
        a.need(IP + 28);
        compare(a, ARP_TARGET, Label::Take);
    }
}

/// Neighbour solicitations for an address, and packets to one.
fn version_6(a: &mut Assembler, addresses: &[Ipv6Addr], asks: bool) {
    let load = |a: &mut Assembler, at: i16| {
        for (i, register) in WORDS.into_iter().enumerate() {
            a.load(LOAD_WORD, register, START, at + 4 * i as i16);
        }
    };
    if asks {
        a.here(Label::Solicitation);
        a.need(SOLICITATION_TARGET + 16);
        a.load(LOAD_BYTE, VALUE, START, V6_NEXT);
        a.jump(JUMP32_UNEQUAL_IMM, VALUE, ICMPV6, Label::Pass);
        a.load(LOAD_BYTE, VALUE, START, V6_PAYLOAD);
        a.jump(JUMP32_UNEQUAL_IMM, VALUE, NEIGHBOUR_SOLICITATION, Label::Pass);
        load(a, SOLICITATION_TARGET);
        a.jump(JUMP, 0, 0, Label::CompareV6);
    }
    a.here(Label::V6);
    a.need(V6_PAYLOAD);
    load(a, V6_DESTINATION);
    a.here(Label::CompareV6);
    for (i, address) in addresses.iter().enumerate() {
        for (n, register) in WORDS.into_iter().enumerate() {
            let value = word::<4>(&address.octets(), 4 * n);
            a.jump(JUMP32_UNEQUAL_IMM, register, value, Label::NextV6(i));
        }
        a.jump(JUMP, 0, 0, if asks { Label::Take } else { Label::PortsV6 });
        a.here(Label::NextV6(i));
    }
    a.jump(JUMP, 0, 0, Label::Pass);
}

/// TCP and UDP to the ports; a fragment without them is the kernel's. The kernel refuses a program of which some part is
/// never come to: that of a family without addresses is left out.
fn port_filter(a: &mut Assembler, ports: &RangeInclusive<u16>, v4: bool, v6: bool) {
    let transport = |a: &mut Assembler, at: i16, known: Label| {
        a.load(LOAD_BYTE, VALUE, START, at);
        a.jump(JUMP32_EQUAL_IMM, VALUE, TCP, known);
        a.jump(JUMP32_UNEQUAL_IMM, VALUE, UDP, Label::Pass);
        a.here(known);
    };
    if v6 {
        a.here(Label::PortsV6);
        a.need(V6_PAYLOAD + 4);
        transport(a, V6_NEXT, Label::KnownV6);
        a.load(LOAD_HALF, VALUE, START, V6_PAYLOAD + 2);
        a.jump(JUMP, 0, 0, Label::ComparePort);
    }
    if v4 {
        a.here(Label::PortsV4);
        transport(a, V4_PROTOCOL, Label::KnownV4);
        a.load(LOAD_HALF, VALUE, START, V4_FRAGMENT);
        a.jump(JUMP32_SET_IMM, VALUE, half(0x1fff), Label::Pass);
        // The header's length, in words of four bytes.
        a.load(LOAD_BYTE, VALUE, START, IP);
        a.emit(AND_IMM, VALUE, 0, 0, 0x0f);
        a.emit(SHIFT_LEFT_IMM, VALUE, 0, 0, 2);
        a.emit(ADD, START, VALUE, 0, 0);
        a.need(IP + 4);
        a.load(LOAD_HALF, VALUE, START, IP + 2);
    }
    a.here(Label::ComparePort);
    a.emit(FROM_BIG_ENDIAN, VALUE, 0, 0, 16);
    a.jump(JUMP32_LESS_IMM, VALUE, i32::from(*ports.start()), Label::Pass);
    a.jump(JUMP32_GREATER_IMM, VALUE, i32::from(*ports.end()), Label::Pass);
}
