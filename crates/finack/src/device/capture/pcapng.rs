//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian, each appended whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Packets begin with their IP header: `LINKTYPE_RAW`.
const LINKTYPE_RAW: u16 = 101;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// The section's length is not said, for it is not known.
const UNKNOWN_LENGTH: u64 = u64::MAX;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_HARDWARE: u16 = 2;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_IPV4: u16 = 4;
const IF_IPV6: u16 = 5;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;
const ISB_USRDELIV: u16 = 8;

const NRB_END: u16 = 0;
const NRB_IPV4: u16 = 1;
const NRB_IPV6: u16 = 2;

/// Longest value of an option or record that is written; what is longer is cut.
const MAX_VALUE: usize = 0xfff0;

/// What a file says of where it comes from.
pub(super) struct Section<'a> {
    pub(super) hardware: &'a str,
    pub(super) os: &'a str,
    pub(super) application: &'a str,
}

/// What a file says of the interface that its packets crossed.
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    /// Addresses with the lengths of their prefixes.
    pub(super) addresses: &'a [(IpAddr, u8)],
    /// Most bytes kept of each packet; 0 for all.
    pub(super) snaplen: u32,
}

/// One packet as it is described, its bytes aside.
#[derive(Default)]
pub(super) struct PacketInfo<'a> {
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    /// Bytes on the wire.
    pub(super) len: u32,
    /// Whether it came in, as the file's interface sees it.
    pub(super) inbound: bool,
    /// Packets lost between the one before and this one.
    pub(super) lost_before: u64,
    pub(super) comments: &'a [String],
}

/// What is known at the end.
pub(super) struct Statistics {
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    /// Nanoseconds since 1970.
    pub(super) end: u64,
    /// Packets that crossed the interface.
    pub(super) received: u64,
    /// Those of them that the capture could not keep.
    pub(super) dropped: u64,
    /// Packets that the operating system dropped before anybody saw them.
    pub(super) dropped_by_os: u64,
    /// Packets in the file.
    pub(super) delivered: u64,
}

/// Appends a block: its type, its length on both sides, and what `fill` puts between.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let len = (out.len() - start + 4) as u32;
    out.extend_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
}

/// Fills up to a multiple of four bytes.
fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&[0; 3][..len.wrapping_neg() % 4]);
}

/// An option or a record of name resolution: both look alike.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// An option of text, cut at the end of a character where it is too long.
fn text(out: &mut Vec<u8>, code: u16, value: &str) {
    if !value.is_empty() {
        option(out, code, cut(value, MAX_VALUE));
    }
}

/// At most `most` bytes of a text, and whole characters.
fn cut(text: &str, most: usize) -> &[u8] {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}

fn end_of_options(out: &mut Vec<u8>) {
    option(out, OPT_END, &[]);
}

/// High half first, as times and they alone are written.
fn timestamp(nanoseconds: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&((nanoseconds >> 32) as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&(nanoseconds as u32).to_le_bytes());
    bytes
}

/// Begins a file.
pub(super) fn section(out: &mut Vec<u8>, section: &Section<'_>) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        // Version 1.0.
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&UNKNOWN_LENGTH.to_le_bytes());
        text(out, SHB_HARDWARE, section.hardware);
        text(out, SHB_OS, section.os);
        text(out, SHB_USERAPPL, section.application);
        end_of_options(out);
    });
}

/// Describes the interface, which is the file's only one.
pub(super) fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&interface.snaplen.to_le_bytes());
        text(out, IF_NAME, interface.name);
        text(out, IF_DESCRIPTION, interface.description);
        for &(addr, prefix) in interface.addresses {
            match addr {
                IpAddr::V4(addr) => {
                    let host_bits = 32_u32.saturating_sub(prefix.into());
                    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                    option(out, IF_IPV4, &[addr.octets(), mask.to_be_bytes()].concat());
                }
                IpAddr::V6(addr) => option(out, IF_IPV6, &[&addr.octets()[..], &[prefix.min(128)]].concat()),
            }
        }
        // Times count nanoseconds: units of 10^-9 s.
        option(out, IF_TSRESOL, &[9]);
        end_of_options(out);
    });
}

/// Says what addresses are called; an address may come several times.
pub(super) fn names(out: &mut Vec<u8>, names: &[(IpAddr, String)]) {
    if names.is_empty() {
        return;
    }
    block(out, NAME_RESOLUTION, |out| {
        for (addr, name) in names {
            let name = cut(name, MAX_VALUE - 32);
            let record = |address: &[u8]| [address, name, &[0]].concat();
            match addr.to_canonical() {
                IpAddr::V4(addr) => option(out, NRB_IPV4, &record(&Ipv4Addr::octets(&addr))),
                IpAddr::V6(addr) => option(out, NRB_IPV6, &record(&Ipv6Addr::octets(&addr))),
            }
        }
        option(out, NRB_END, &[]);
    });
}

/// Appends a packet, of which `fill` puts the first `captured` bytes.
pub(super) fn packet(
    out: &mut Vec<u8>,
    info: &PacketInfo<'_>,
    captured: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    block(out, ENHANCED_PACKET, |out| {
        // The interface's index.
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&timestamp(info.time));
        out.extend_from_slice(&captured.to_le_bytes());
        out.extend_from_slice(&info.len.to_le_bytes());
        fill(out);
        pad(out, captured as usize);
        for comment in info.comments {
            text(out, OPT_COMMENT, comment);
        }
        let direction: u32 = if info.inbound { 1 } else { 2 };
        option(out, EPB_FLAGS, &direction.to_le_bytes());
        if info.lost_before > 0 {
            option(out, EPB_DROPCOUNT, &info.lost_before.to_le_bytes());
        }
        end_of_options(out);
    });
}

/// Ends a file.
pub(super) fn statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    block(out, INTERFACE_STATISTICS, |out| {
        // The interface's index.
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&timestamp(statistics.end));
        option(out, ISB_STARTTIME, &timestamp(statistics.start));
        option(out, ISB_ENDTIME, &timestamp(statistics.end));
        option(out, ISB_IFRECV, &statistics.received.to_le_bytes());
        option(out, ISB_IFDROP, &statistics.dropped.to_le_bytes());
        option(out, ISB_OSDROP, &statistics.dropped_by_os.to_le_bytes());
        option(out, ISB_USRDELIV, &statistics.delivered.to_le_bytes());
        end_of_options(out);
    });
}
