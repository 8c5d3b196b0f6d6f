//! TCP options (RFC 9293 section 3.2): parsed into a plain struct, and emitted in the order and with
//! the padding that Linux uses, which is what middleboxes have seen most of.

mod emit;
#[cfg(test)]
mod tests;

use crate::tcp::MAX_OPTIONS_LEN;
use core::fmt;

/// End of the option list.
pub const KIND_END: u8 = 0;
/// No operation: padding between options.
pub const KIND_NOP: u8 = 1;
/// Maximum segment size (RFC 9293 section 3.7.1), 4 bytes.
pub const KIND_MSS: u8 = 2;
/// Window scale (RFC 7323 section 2), 3 bytes.
pub const KIND_WINDOW_SCALE: u8 = 3;
/// SACK permitted (RFC 2018 section 2), 2 bytes.
pub const KIND_SACK_PERMITTED: u8 = 4;
/// SACK (RFC 2018 section 3), 2 bytes and 8 for each block.
pub const KIND_SACK: u8 = 5;
/// Timestamps (RFC 7323 section 3), 10 bytes.
pub const KIND_TIMESTAMPS: u8 = 8;
/// MD5 signature (RFC 2385), 18 bytes.
pub const KIND_MD5: u8 = 19;
/// User timeout (RFC 5482), 4 bytes.
pub const KIND_USER_TIMEOUT: u8 = 28;
/// TCP authentication option (RFC 5925), 4 bytes and the MAC.
pub const KIND_AO: u8 = 29;
/// Multipath TCP (RFC 8684).
pub const KIND_MPTCP: u8 = 30;
/// Fast open cookie (RFC 7413), 2 to 18 bytes.
pub const KIND_FAST_OPEN: u8 = 34;
/// Byte counters of accurate ECN (RFC 9768 section 3.2.3), ECT(0)'s first, 2 to 11 bytes.
pub const KIND_ACC_ECN_0: u8 = 172;
/// The same, ECT(1)'s first.
pub const KIND_ACC_ECN_1: u8 = 174;
/// An experimental option (RFC 6994), told apart by the 16 bits after its length.
pub const KIND_EXPERIMENT: u8 = 254;
/// What tells the experimental fast open option apart.
pub const EXPERIMENT_FAST_OPEN: u16 = 0xf989;

/// The largest shift that a window scale may have (RFC 7323 section 2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// The most SACK blocks that fit in a header.
pub const MAX_SACK_BLOCKS: usize = 4;

/// SACK blocks: each the first sequence number of a run of received bytes and the one after its last.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SackBlocks {
    /// Those beyond `len` are zero, so that equality can be derived.
    blocks: [(u32, u32); MAX_SACK_BLOCKS],
    len: u8,
}

impl SackBlocks {
    /// No blocks.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { blocks: [(0, 0); MAX_SACK_BLOCKS], len: 0 }
    }

    /// Adds the block from `start` up to, not including, `end`; false if there are four already.
    #[inline]
    pub fn push(&mut self, start: u32, end: u32) -> bool {
        match self.blocks.get_mut(usize::from(self.len)) {
            Some(slot) => {
                *slot = (start, end);
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// How many blocks there are, 0 to 4.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks in the order they were added.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        self.blocks.get(..self.len()).unwrap_or(&[])
    }

    /// The blocks in the order they were added.
    #[inline]
    pub fn iter(&self) -> core::iter::Copied<core::slice::Iter<'_, (u32, u32)>> {
        self.as_slice().iter().copied()
    }

    /// Keeps the first `len` blocks.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        for block in self.blocks.iter_mut().skip(len) {
            *block = (0, 0);
        }
        self.len = self.len.min(len.min(MAX_SACK_BLOCKS) as u8);
    }
}

impl<'a> IntoIterator for &'a SackBlocks {
    type Item = (u32, u32);
    type IntoIter = core::iter::Copied<core::slice::Iter<'a, (u32, u32)>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The longest fast open cookie: bytes.
pub const MAX_COOKIE_LEN: usize = 16;

/// A fast open option (RFC 7413 section 4.1.1): a cookie, or with none the request for one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FastOpen {
    /// Bytes beyond `len` are zero, so that equality can be derived.
    cookie: [u8; MAX_COOKIE_LEN],
    len: u8,
    /// Whether the option is in its experimental form, kind 254.
    pub experimental: bool,
}

impl FastOpen {
    /// The request for a cookie.
    #[inline]
    #[must_use]
    pub const fn request() -> Self {
        Self { cookie: [0; MAX_COOKIE_LEN], len: 0, experimental: false }
    }

    /// An option with a cookie: `None` unless that is of 0 (a request), or of 4 to 16 bytes and an
    /// even number.
    #[must_use]
    pub fn new(cookie: &[u8]) -> Option<Self> {
        let len = cookie.len();
        if len != 0 && (!(4..=MAX_COOKIE_LEN).contains(&len) || !len.is_multiple_of(2)) {
            return None;
        }
        let mut option = Self { len: len as u8, ..Self::request() };
        option.cookie.get_mut(..len)?.copy_from_slice(cookie);
        Some(option)
    }

    /// The cookie; empty in a request.
    #[inline]
    #[must_use]
    pub fn cookie(&self) -> &[u8] {
        self.cookie.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Whether this asks for a cookie.
    #[inline]
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for FastOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastOpen")
            .field("cookie", &self.cookie())
            .field("experimental", &self.experimental)
            .finish()
    }
}

/// The most counters that an AccECN option holds.
pub const MAX_ACC_ECN_FIELDS: usize = 3;

/// An AccECN option (RFC 9768 section 3.2.3): how many bytes of payload came with each codepoint, as counters of 24 bits.
/// Counters at its end may be left out.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct AccEcn {
    /// Counters as they are sent; those beyond `len` are zero, so that equality can be derived.
    fields: [[u8; 3]; MAX_ACC_ECN_FIELDS],
    len: u8,
    /// ECT(1)'s counter goes first (kind 174), not ECT(0)'s (kind 172).
    ect1_first: bool,
}

impl AccEcn {
    /// The first `len` counters (0 to 3), of which the low 24 bits count, in the option's order: with `ect1_first`
    /// ECT(1), CE, ECT(0), else ECT(0), CE, ECT(1).
    #[must_use]
    pub fn new(ect1_first: bool, [ect0, ce, ect1]: [u32; 3], len: usize) -> Self {
        let order = if ect1_first { [ect1, ce, ect0] } else { [ect0, ce, ect1] };
        let len = len.min(MAX_ACC_ECN_FIELDS);
        let mut option = Self { len: len as u8, ect1_first, ..Self::default() };
        for (field, counter) in option.fields.iter_mut().zip(order).take(len) {
            let [_, a, b, c] = counter.to_be_bytes();
            *field = [a, b, c];
        }
        option
    }

    /// Parses what follows kind and length: as many whole counters as are there, the rest is padding.
    fn parse(ect1_first: bool, data: &[u8]) -> Self {
        let mut option = Self { ect1_first, ..Self::default() };
        let (fields, _) = data.as_chunks::<3>();
        for (slot, field) in option.fields.iter_mut().zip(fields) {
            *slot = *field;
            option.len += 1;
        }
        option
    }

    fn field(&self, index: usize) -> Option<u32> {
        let &[a, b, c] = self.fields.get(..usize::from(self.len))?.get(index)?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    /// Bytes of payload received with ECT(0), modulo 2^24.
    #[must_use]
    pub fn ect0(&self) -> Option<u32> {
        self.field(if self.ect1_first { 2 } else { 0 })
    }

    /// Bytes of payload received with CE, modulo 2^24.
    #[must_use]
    pub fn ce(&self) -> Option<u32> {
        self.field(1)
    }

    /// Bytes of payload received with ECT(1), modulo 2^24.
    #[must_use]
    pub fn ect1(&self) -> Option<u32> {
        self.field(if self.ect1_first { 0 } else { 2 })
    }

    /// How many counters it holds, 0 to 3.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds none: it only tells that such options pass.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for AccEcn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccEcn")
            .field("ect0", &self.ect0())
            .field("ce", &self.ce())
            .field("ect1", &self.ect1())
            .finish()
    }
}

/// A TCP authentication option (RFC 5925 section 2.2). The MAC itself stays in the header, as it is
/// computed over the header with zeros in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthOption {
    /// The key that the MAC was made with (KeyID).
    pub key_id: u8,
    /// The key that the sender is ready to receive with (RNextKeyID).
    pub rnext_key_id: u8,
    /// Offset of the MAC in the bytes of options. Set by parsing; emitting puts the MAC at
    /// [`EMITTED_MAC_OFFSET`].
    pub mac_offset: u8,
    /// Bytes of the MAC, 0 to 36.
    pub mac_len: u8,
}

impl AuthOption {
    /// The MAC within the bytes of options that this was parsed from.
    #[must_use]
    pub fn mac<'a>(&self, options: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.mac_offset);
        options.get(start..start + usize::from(self.mac_len)).unwrap_or(&[])
    }
}

/// Where [`TcpOptions::emit`] puts the digest or MAC of an MD5 or authentication option: offset in
/// the bytes of options. These options go first.
pub const EMITTED_MAC_OFFSET: usize = 4;

/// The options of a segment.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size: bytes of data that the sender can take in a segment.
    pub mss: Option<u16>,
    /// Window scale: the shift as sent, which may be above [`MAX_WINDOW_SCALE`].
    pub window_scale: Option<u8>,
    /// Whether the sender takes SACK options.
    pub sack_permitted: bool,
    /// Timestamps: TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks.
    pub sack: SackBlocks,
    /// Fast open cookie, or the request for one.
    pub fast_open: Option<FastOpen>,
    /// Byte counters of accurate ECN.
    pub acc_ecn: Option<AccEcn>,
    /// User timeout as sent: in the top bit the unit, 1 for minutes and 0 for seconds.
    pub user_timeout: Option<u16>,
    /// MD5 signature.
    pub md5: Option<[u8; 16]>,
    /// Authentication option.
    pub ao: Option<AuthOption>,
    /// Whether there is a Multipath TCP option. Not emitted.
    pub mptcp: bool,
    /// How many options were skipped for being unknown or of a length that their kind does not have.
    /// Not emitted.
    pub unknown: u8,
    /// Whether parsing ended at an option with an impossible length. Not emitted.
    pub malformed: bool,
}

impl TcpOptions {
    /// Parses the bytes of options of a header: at most 40, more are ignored.
    ///
    /// This cannot fail: options may be anywhere and in any order (RFC 9293 MUST-5), those that are
    /// not known are skipped by their length (MUST-6), and so are those whose length is not their
    /// kind's; an impossible length (below 2, or beyond the end) ends parsing (MUST-7), and what came
    /// before it counts. Where an option comes twice, the last counts.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        if let Some(timestamps) = only_timestamps(bytes) {
            return Self { timestamps: Some(timestamps), ..Self::default() };
        }
        if let Some(options) = usual_of_syn(bytes) {
            return options;
        }
        let mut options = Self::default();
        if !bytes.is_empty() {
            options.walk(bytes);
        }
        options
    }

    fn walk(&mut self, bytes: &[u8]) {
        // No header has more, so that offsets fit their eight bits.
        let bytes = bytes.get(..MAX_OPTIONS_LEN).unwrap_or(bytes);
        let mut raw = RawOptions::new(bytes);
        loop {
            // The data begins behind kind and length.
            let data_offset = raw.at + 2;
            match raw.next() {
                Some(option) => self.take(option, data_offset),
                None => break,
            }
        }
        self.malformed = raw.malformed;
    }

    fn take(&mut self, option: RawOption<'_>, data_offset: usize) {
        match (option.kind, option.data) {
            (KIND_END | KIND_NOP, _) => {}
            (KIND_MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (KIND_WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift),
            (KIND_SACK_PERMITTED, []) => self.sack_permitted = true,
            (KIND_TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                let (value, echo) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                self.timestamps = Some((value, echo));
            }
            (KIND_SACK, data) if !data.is_empty() && data.len().is_multiple_of(8) => self.take_sack(data),
            (KIND_MD5, data) if data.len() == 16 => self.md5 = data.first_chunk().copied(),
            (KIND_USER_TIMEOUT, &[a, b]) => self.user_timeout = Some(u16::from_be_bytes([a, b])),
            (KIND_AO, &[key_id, rnext_key_id, ref mac @ ..]) => {
                let (mac_offset, mac_len) = (data_offset as u8 + 2, mac.len() as u8);
                self.ao = Some(AuthOption { key_id, rnext_key_id, mac_offset, mac_len });
            }
            (KIND_MPTCP, _) => self.mptcp = true,
            (KIND_FAST_OPEN, cookie) => self.take_fast_open(cookie, false),
            (KIND_ACC_ECN_0 | KIND_ACC_ECN_1, data) => {
                self.acc_ecn = Some(AccEcn::parse(option.kind == KIND_ACC_ECN_1, data));
            }
            (KIND_EXPERIMENT, &[a, b, ref cookie @ ..])
                if u16::from_be_bytes([a, b]) == EXPERIMENT_FAST_OPEN =>
            {
                self.take_fast_open(cookie, true);
            }
            _ => self.unknown = self.unknown.saturating_add(1),
        }
    }

    fn take_sack(&mut self, data: &[u8]) {
        self.sack = SackBlocks::new();
        let (blocks, _) = data.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in blocks {
            self.sack.push(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        }
    }

    /// RFC 7413 section 4.1.1: an option with an invalid length is ignored.
    fn take_fast_open(&mut self, cookie: &[u8], experimental: bool) {
        match FastOpen::new(cookie) {
            Some(option) => self.fast_open = Some(FastOpen { experimental, ..option }),
            None => self.unknown = self.unknown.saturating_add(1),
        }
    }
}

/// The timestamps of options that are two NOPs and timestamps, which is what nearly all segments
/// have (RFC 7323 appendix A).
#[inline]
fn only_timestamps(bytes: &[u8]) -> Option<(u32, u32)> {
    const HEAD: u32 = u32::from_be_bytes([KIND_NOP, KIND_NOP, KIND_TIMESTAMPS, 10]);
    let bytes: &[u8; 12] = bytes.try_into().ok()?;
    let &[a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    if u32::from_be_bytes([a, b, c, d]) != HEAD {
        return None;
    }
    Some((u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([i, j, k, l])))
}

/// The options of a SYN or SYN,ACK in the form in which Linux sends them: maximum segment size, SACK permitted, timestamps,
/// padding, window scale.
#[inline]
fn usual_of_syn(bytes: &[u8]) -> Option<TcpOptions> {
    let bytes: &[u8; SYN_LEN] = bytes.try_into().ok()?;
    let (words, _) = bytes.as_chunks::<4>();
    let [[k, l, m, n], head, value, echo, [nop, kind, len, shift]] = *words.first_chunk::<5>()?;
    let usual = [k, l] == [KIND_MSS, 4]
        && head == [KIND_SACK_PERMITTED, 2, KIND_TIMESTAMPS, 10]
        && [nop, kind, len] == [KIND_NOP, KIND_WINDOW_SCALE, 3];
    usual.then(|| TcpOptions {
        mss: Some(u16::from_be_bytes([m, n])),
        sack_permitted: true,
        timestamps: Some((u32::from_be_bytes(value), u32::from_be_bytes(echo))),
        window_scale: Some(shift),
        ..TcpOptions::default()
    })
}

/// Bytes of options in that form.
const SYN_LEN: usize = 20;

/// An option as it lies in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOption<'a> {
    /// Its kind.
    pub kind: u8,
    /// What follows kind and length; empty for [`KIND_NOP`] and [`KIND_END`].
    pub data: &'a [u8],
}

/// Goes over the options in a header one by one, padding included. It ends after [`KIND_END`], at the
/// end of the bytes, and at an option with an impossible length.
#[derive(Clone, Debug)]
pub struct RawOptions<'a> {
    bytes: &'a [u8],
    at: usize,
    malformed: bool,
}

impl<'a> RawOptions<'a> {
    /// Goes over the bytes of options of a header.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, malformed: false }
    }

    /// Whether it came to an option with an impossible length and ended there.
    #[inline]
    #[must_use]
    pub const fn is_malformed(&self) -> bool {
        self.malformed
    }
}

impl<'a> Iterator for RawOptions<'a> {
    type Item = RawOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawOption<'a>> {
        let rest = self.bytes.get(self.at..)?;
        match *rest.first()? {
            KIND_END => {
                self.at = self.bytes.len();
                Some(RawOption { kind: KIND_END, data: &[] })
            }
            KIND_NOP => {
                self.at += 1;
                Some(RawOption { kind: KIND_NOP, data: &[] })
            }
            kind => {
                let len = rest.get(1).copied().unwrap_or(0);
                let Some(data) = rest.get(2..usize::from(len)) else {
                    self.malformed = true;
                    self.at = self.bytes.len();
                    return None;
                };
                self.at += usize::from(len);
                Some(RawOption { kind, data })
            }
        }
    }
}
