//! Just enough of RFC 1035's message format: one question in, a few records out.

use super::{EDNS_LIMIT, UDP_LIMIT, Verdict, rtype};

pub(super) const FORMERR: u8 = 1;
pub(super) const SERVFAIL: u8 = 2;
pub(super) const NXDOMAIN: u8 = 3;
pub(super) const NOTIMP: u8 = 4;
pub(super) const REFUSED: u8 = 5;
pub(super) const CLASS_IN: u16 = 1;

const HEADER_LEN: usize = 12;
const FLAG_QR: u16 = 0x8000;
const FLAG_AA: u16 = 0x0400;
const FLAG_TC: u16 = 0x0200;
const FLAG_RD: u16 = 0x0100;
const FLAG_RA: u16 = 0x0080;
/// Points to the question's name, which always starts right after the header.
const POINTER_TO_QUESTION: u16 = 0xc000 | HEADER_LEN as u16;
/// Largest UDP message that this server says it takes (RFC 6891 6.2.3).
const OUR_UDP_SIZE: u16 = 1232;
/// A name has at most 255 octets on the wire (RFC 1035 2.3.4).
const MAX_NAME: usize = 255;

/// The header of a message.
pub(super) struct Header {
    id: u16,
    flags: u16,
    questions: u16,
    records: u32,
}

impl Header {
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let at = |i| read_u16(message, i);
        let records = u32::from(at(6)?) + u32::from(at(8)?) + u32::from(at(10)?);
        Some(Self { id: at(0)?, flags: at(2)?, questions: at(4)?, records })
    }

    pub(super) fn is_response(&self) -> bool {
        self.flags & FLAG_QR != 0
    }

    fn opcode(&self) -> u16 {
        self.flags >> 11 & 15
    }

    pub(super) fn rcode(&self) -> u8 {
        (self.flags & 15) as u8
    }
}

/// A question, checked.
pub(super) struct Query<'a> {
    /// Its wire form: name, type, class.
    question: &'a [u8],
    /// The name with dots, in the case it came in, without the final one.
    pub(super) name: String,
    pub(super) qtype: u16,
    pub(super) class: u16,
    /// The largest UDP answer that the asker takes, where it uses EDNS.
    pub(super) udp_size: Option<u16>,
    /// Its EDNS version.
    pub(super) version: u8,
}

impl<'a> Query<'a> {
    /// The one question of `message`, or the RCODE to answer with.
    pub(super) fn parse(header: &Header, message: &'a [u8]) -> Result<Self, u8> {
        if header.opcode() != 0 {
            return Err(NOTIMP);
        }
        if header.questions != 1 {
            return Err(FORMERR);
        }
        let (name, after_name) = read_name(message, HEADER_LEN).ok_or(FORMERR)?;
        let qtype = read_u16(message, after_name).ok_or(FORMERR)?;
        let class = read_u16(message, after_name + 2).ok_or(FORMERR)?;
        let end = after_name + 4;
        let (udp_size, version) = find_edns(message, end, header.records)?;
        Ok(Self { question: &message[HEADER_LEN..end], name, qtype, class, udp_size, version })
    }

    /// The question in its wire form: name, type, class.
    pub(super) fn question(&self) -> &'a [u8] {
        self.question
    }

    /// The largest answer over UDP, in bytes.
    pub(super) fn udp_limit(&self) -> usize {
        self.udp_size.map_or(UDP_LIMIT, |size| usize::from(size).clamp(UDP_LIMIT, EDNS_LIMIT))
    }
}

/// Whether `message` is the answer to `asked`, whose question is `question` (RFC 5452 9.1). A server that could not
/// read the question need not repeat it.
pub(super) fn answers(message: &[u8], asked: &[u8], question: &[u8]) -> bool {
    let (Some(header), Some(sent)) = (Header::parse(message), Header::parse(asked)) else { return false };
    if !header.is_response() || header.id != sent.id || header.opcode() != sent.opcode() {
        return false;
    }
    if header.questions == 0 {
        return header.rcode() != 0;
    }
    let repeated = message.get(HEADER_LEN..HEADER_LEN + question.len());
    // Bytes below 'A', as lengths of labels are, have no other case; type and class are compared as they are.
    let name = question.len().saturating_sub(4);
    header.questions == 1
        && repeated.is_some_and(|r| {
            r[..name].eq_ignore_ascii_case(&question[..name]) && r[name..] == question[name..]
        })
}

/// What an answer says.
pub(super) fn verdict(message: &[u8]) -> Verdict {
    let at = |i| read_u16(message, i).unwrap_or(0);
    let (flags, answers) = (at(2), at(6));
    match (flags & 15) as u8 {
        0 if flags & FLAG_TC != 0 => Verdict::Truncated,
        0 if answers > 0 => Verdict::Found,
        0 => Verdict::NoData,
        NXDOMAIN => Verdict::NoSuchName,
        rcode => Verdict::Error(rcode),
    }
}

/// An answer without its records, with TC saying so: for one that is too long for a datagram.
pub(super) fn cut(answer: &[u8], question: &[u8]) -> Vec<u8> {
    let mut out = answer[..HEADER_LEN.min(answer.len())].to_vec();
    out.resize(HEADER_LEN, 0);
    out[2] |= (FLAG_TC >> 8) as u8;
    out[4..HEADER_LEN].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(question);
    out
}

/// Walks over the records after the question and returns what an OPT among them says (RFC 6891 6.1).
fn find_edns(message: &[u8], mut at: usize, records: u32) -> Result<(Option<u16>, u8), u8> {
    let mut found = (None, 0);
    for _ in 0..records {
        at = skip_name(message, at).ok_or(FORMERR)?;
        let kind = read_u16(message, at).ok_or(FORMERR)?;
        let class = read_u16(message, at + 2).ok_or(FORMERR)?;
        let len = read_u16(message, at + 8).ok_or(FORMERR)?;
        if kind == rtype::OPT {
            if found.0.is_some() {
                return Err(FORMERR);
            }
            found = (Some(class), *message.get(at + 5).ok_or(FORMERR)?);
        }
        at += 10 + usize::from(len);
        if at > message.len() {
            return Err(FORMERR);
        }
    }
    Ok(found)
}

/// A name without compression, as a question has it: the text, and where it ends.
fn read_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1;
        if len == 0 {
            return Some((name, at));
        }
        let label = message.get(at..at + len).filter(|_| len < 64)?;
        at += len;
        if at + 1 - start > MAX_NAME {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        // A dot or a control character inside a label must neither look like another name nor reach a terminal.
        name.extend(
            label.iter().map(|&b| if b.is_ascii_graphic() && b != b'.' { char::from(b) } else { '?' }),
        );
    }
}

/// Where the name at `at` ends, a compression pointer (RFC 1035 4.1.4) included.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + usize::from(len),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn read_u16(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// A reply in the making.
pub(super) struct Reply<'a> {
    id: u16,
    flags: u16,
    question: &'a [u8],
    records: Vec<u8>,
    answers: u16,
    authorities: u16,
    edns: bool,
    extended_rcode: u8,
}

impl<'a> Reply<'a> {
    pub(super) fn to(header: &Header, query: &Query<'a>) -> Self {
        Self {
            id: header.id,
            flags: FLAG_QR | FLAG_RA | header.flags & FLAG_RD,
            question: query.question,
            records: Vec::new(),
            answers: 0,
            authorities: 0,
            edns: query.udp_size.is_some(),
            extended_rcode: 0,
        }
    }

    /// An answer to what could not be read: the header alone.
    pub(super) fn error(header: &Header, rcode: u8) -> Self {
        Self {
            id: header.id,
            flags: FLAG_QR | FLAG_RA | header.flags & (FLAG_RD | 0x7800) | u16::from(rcode),
            question: &[],
            records: Vec::new(),
            answers: 0,
            authorities: 0,
            edns: false,
            extended_rcode: 0,
        }
    }

    pub(super) fn set_rcode(&mut self, rcode: u8) {
        self.flags = self.flags & !15 | u16::from(rcode);
    }

    /// BADVERS is 16: its upper eight bits stand in the OPT record (RFC 6891 6.1.3).
    pub(super) fn set_bad_version(&mut self) {
        self.extended_rcode = 1;
    }

    pub(super) fn set_authoritative(&mut self) {
        self.flags |= FLAG_AA;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers == 0
    }

    /// Adds an answer whose owner is the name asked for.
    pub(super) fn record(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        self.put(&POINTER_TO_QUESTION.to_be_bytes(), kind, ttl, data);
        self.answers += 1;
    }

    /// Adds the zone's SOA, by whose last field resolvers know how long "there is none" holds (RFC 2308 3).
    pub(super) fn authority(&mut self, ttl: u32) {
        self.put(&encode_name(crate::plan::DOMAIN), rtype::SOA, ttl, &soa(ttl));
        self.authorities += 1;
    }

    fn put(&mut self, owner: &[u8], kind: u16, ttl: u32, data: &[u8]) {
        let len = u16::try_from(data.len()).unwrap_or(0);
        self.records.extend_from_slice(owner);
        self.records.extend_from_slice(&kind.to_be_bytes());
        self.records.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.records.extend_from_slice(&ttl.to_be_bytes());
        self.records.extend_from_slice(&len.to_be_bytes());
        self.records.extend_from_slice(&data[..usize::from(len)]);
    }

    /// The whole message; where it would exceed `limit` bytes the records are left out and TC says so.
    pub(super) fn finish(mut self, limit: usize) -> Vec<u8> {
        let edns_len = if self.edns { 11 } else { 0 };
        if HEADER_LEN + self.question.len() + self.records.len() + edns_len > limit {
            self.flags |= FLAG_TC;
            self.records.clear();
            (self.answers, self.authorities) = (0, 0);
        }
        let questions = u16::from(!self.question.is_empty());
        let mut out = Vec::with_capacity(limit.min(512));
        for field in [self.id, self.flags, questions, self.answers, self.authorities, u16::from(self.edns)] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(self.question);
        out.extend_from_slice(&self.records);
        if self.edns {
            out.push(0);
            out.extend_from_slice(&rtype::OPT.to_be_bytes());
            out.extend_from_slice(&OUR_UDP_SIZE.to_be_bytes());
            out.extend_from_slice(&[self.extended_rcode, 0, 0, 0, 0, 0]);
        }
        out
    }
}

/// The wire form of one of our own names.
pub(super) fn encode_name(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap_or(0));
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// The data of the zone's SOA record.
pub(super) fn soa(ttl: u32) -> Vec<u8> {
    let mut out = encode_name("dns.finack");
    out.extend_from_slice(&encode_name("nobody.finack"));
    for field in [1, 3600, 600, 86_400, ttl] {
        out.extend_from_slice(&u32::to_be_bytes(field));
    }
    out
}
