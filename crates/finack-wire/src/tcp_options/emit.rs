//! Writing options.

use super::{
    AccEcn, AuthOption, EXPERIMENT_FAST_OPEN, FastOpen, KIND_ACC_ECN_0, KIND_ACC_ECN_1, KIND_AO,
    KIND_EXPERIMENT, KIND_FAST_OPEN, KIND_MD5, KIND_MSS, KIND_NOP, KIND_SACK, KIND_SACK_PERMITTED,
    KIND_TIMESTAMPS, KIND_USER_TIMEOUT, KIND_WINDOW_SCALE, SYN_LEN, TcpOptions,
};
use crate::tcp::MAX_OPTIONS_LEN;

const MSS_LEN: usize = 4;
/// With the two bytes of padding, or of SACK permitted, in front.
const TIMESTAMPS_LEN: usize = 12;
const SACK_PERMITTED_LEN: usize = 4;
const WINDOW_SCALE_LEN: usize = 4;
const USER_TIMEOUT_LEN: usize = 4;
const MD5_LEN: usize = 20;
/// Two bytes of padding and the option's head, without blocks.
const SACK_HEAD_LEN: usize = 4;
const SACK_BLOCK_LEN: usize = 8;

/// Which options fit, and how long they are together.
struct Plan {
    len: usize,
    md5: bool,
    ao: bool,
    mss: bool,
    timestamps: bool,
    sack_permitted: bool,
    acc_ecn: bool,
    window_scale: bool,
    user_timeout: bool,
    fast_open: bool,
    sack_blocks: usize,
}

impl Plan {
    #[inline]
    fn fits(&mut self, wanted: bool, len: usize) -> bool {
        let fits = wanted && self.len + len <= MAX_OPTIONS_LEN;
        if fits {
            self.len += len;
        }
        fits
    }
}

impl TcpOptions {
    /// The bytes that [`emit`](Self::emit) writes: a multiple of 4, at most 40.
    #[inline]
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.plan().len
    }

    /// Room is given in the order of writing, but to SACK blocks last: all else is either agreed on
    /// once or missed by the peer, while blocks can be told again.
    #[inline]
    fn plan(&self) -> Plan {
        let mut plan = Plan {
            len: 0,
            md5: false,
            ao: false,
            mss: false,
            timestamps: false,
            sack_permitted: false,
            acc_ecn: false,
            window_scale: false,
            user_timeout: false,
            fast_open: false,
            sack_blocks: 0,
        };
        plan.md5 = plan.fits(self.md5.is_some(), MD5_LEN);
        if let Some(ao) = &self.ao {
            plan.ao = plan.fits(true, auth_len(ao).next_multiple_of(4));
        }
        plan.mss = plan.fits(self.mss.is_some(), MSS_LEN);
        plan.timestamps = plan.fits(self.timestamps.is_some(), TIMESTAMPS_LEN);
        // With timestamps it goes where their padding would be.
        let len = if plan.timestamps { 0 } else { SACK_PERMITTED_LEN };
        plan.sack_permitted = plan.fits(self.sack_permitted, len);
        plan.window_scale = plan.fits(self.window_scale.is_some(), WINDOW_SCALE_LEN);
        plan.user_timeout = plan.fits(self.user_timeout.is_some(), USER_TIMEOUT_LEN);
        if let Some(option) = &self.fast_open {
            plan.fast_open = plan.fits(true, fast_open_len(option).next_multiple_of(4));
        }
        let blocks_in = |len: usize| MAX_OPTIONS_LEN.saturating_sub(len + SACK_HEAD_LEN) / SACK_BLOCK_LEN;
        plan.sack_blocks = self.sack.len().min(blocks_in(plan.len));
        if let Some(option) = &self.acc_ecn {
            let beside = acc_ecn_len(option, true);
            let left = self.sack.len().min(blocks_in(plan.len + beside));
            let len = if left > 0 { beside } else { acc_ecn_len(option, false) };
            plan.acc_ecn = plan.fits(true, len);
            if plan.acc_ecn {
                plan.sack_blocks = left;
            }
        }
        if plan.sack_blocks > 0 {
            plan.len += SACK_HEAD_LEN + plan.sack_blocks * SACK_BLOCK_LEN;
        }
        plan
    }

    /// Writes the options to the start of `out` and returns their length: a multiple of 4, at most 40.
    ///
    /// The order is that of Linux: MD5 or authentication option, MSS, SACK permitted and timestamps in
    /// one, AccECN, SACK permitted alone, window scale, user timeout, fast open, SACK; each padded to a multiple of 4 with NOPs, in
    /// front but for the authentication, AccECN and fast open options. One or two bytes of a short AccECN option
    /// stand in the place of the padding of SACK. The place of an authentication option's MAC is filled with
    /// zeros, to be written when it is known.
    ///
    /// What does not fit is left out; of SACK blocks, as many of the first as fit are written.
    #[inline]
    pub fn emit(&self, out: &mut [u8; MAX_OPTIONS_LEN]) -> usize {
        if let Some(len) = self.emit_usual_of_syn(out) {
            return len;
        }
        let plan = self.plan();
        if plan.len == TIMESTAMPS_LEN
            && plan.timestamps
            && !plan.sack_permitted
            && let Some(timestamps) = self.timestamps
        {
            let mut writer = Writer { out, at: 0 };
            writer.timestamps(timestamps, false);
            return TIMESTAMPS_LEN;
        }
        if plan.len > 0 {
            self.emit_planned(&plan, out);
        }
        plan.len
    }

    /// Writes what nearly every SYN has, at one go; nothing where there is more or less.
    #[inline]
    fn emit_usual_of_syn(&self, out: &mut [u8; MAX_OPTIONS_LEN]) -> Option<usize> {
        let (mss, (value, echo), shift) = (self.mss?, self.timestamps?, self.window_scale?);
        let more = self.md5.is_some()
            || self.ao.is_some()
            || self.acc_ecn.is_some()
            || self.user_timeout.is_some()
            || self.fast_open.is_some();
        if more || !self.sack_permitted || !self.sack.is_empty() {
            return None;
        }
        let [a, b] = mss.to_be_bytes();
        let words = [
            [KIND_MSS, 4, a, b],
            [KIND_SACK_PERMITTED, 2, KIND_TIMESTAMPS, 10],
            value.to_be_bytes(),
            echo.to_be_bytes(),
            [KIND_NOP, KIND_WINDOW_SCALE, 3, shift],
        ];
        let to = out.first_chunk_mut::<SYN_LEN>()?;
        to.copy_from_slice(words.as_flattened());
        Some(SYN_LEN)
    }

    fn emit_planned(&self, plan: &Plan, out: &mut [u8; MAX_OPTIONS_LEN]) {
        let mut writer = Writer { out, at: 0 };
        if let (true, Some(digest)) = (plan.md5, &self.md5) {
            writer.put(&[KIND_NOP, KIND_NOP, KIND_MD5, 18]);
            writer.put(digest);
        }
        if let (true, Some(ao)) = (plan.ao, &self.ao) {
            let len = auth_len(ao);
            writer.put(&[KIND_AO, len as u8, ao.key_id, ao.rnext_key_id]);
            writer.fill(0, len - 4);
            writer.align();
        }
        if let (true, Some(mss)) = (plan.mss, self.mss) {
            let [a, b] = mss.to_be_bytes();
            writer.put(&[KIND_MSS, 4, a, b]);
        }
        if let (true, Some(timestamps)) = (plan.timestamps, self.timestamps) {
            writer.timestamps(timestamps, plan.sack_permitted);
        }
        let short = self.acc_ecn.filter(|option| plan.acc_ecn && plan.sack_blocks > 0 && option.len() < 2);
        if let (true, Some(option), None) = (plan.acc_ecn, &self.acc_ecn, short) {
            writer.acc_ecn(option);
            writer.align();
        }
        if plan.sack_permitted && !plan.timestamps {
            writer.put(&[KIND_NOP, KIND_NOP, KIND_SACK_PERMITTED, 2]);
        }
        if let (true, Some(shift)) = (plan.window_scale, self.window_scale) {
            writer.put(&[KIND_NOP, KIND_WINDOW_SCALE, 3, shift]);
        }
        if let (true, Some(timeout)) = (plan.user_timeout, self.user_timeout) {
            let [a, b] = timeout.to_be_bytes();
            writer.put(&[KIND_USER_TIMEOUT, 4, a, b]);
        }
        if let (true, Some(option)) = (plan.fast_open, &self.fast_open) {
            let len = fast_open_len(option) as u8;
            if option.experimental {
                let [a, b] = EXPERIMENT_FAST_OPEN.to_be_bytes();
                writer.put(&[KIND_EXPERIMENT, len, a, b]);
            } else {
                writer.put(&[KIND_FAST_OPEN, len]);
            }
            writer.put(option.cookie());
            writer.align();
        }
        if plan.sack_blocks > 0 {
            let len = 2 + plan.sack_blocks * SACK_BLOCK_LEN;
            if let Some(option) = &short {
                writer.acc_ecn(option);
            }
            // Behind the numbers that follow begins a multiple of 4.
            let padding = (6 - writer.at % 4) % 4;
            writer.fill(KIND_NOP, padding);
            writer.put(&[KIND_SACK, len as u8]);
            for (start, end) in self.sack.iter().take(plan.sack_blocks) {
                writer.put(&start.to_be_bytes());
                writer.put(&end.to_be_bytes());
            }
        }
    }
}

/// Bytes of an authentication option, without padding.
#[inline]
fn auth_len(ao: &AuthOption) -> usize {
    4 + usize::from(ao.mac_len)
}

/// Bytes of a fast open option, without padding.
#[inline]
fn fast_open_len(option: &FastOpen) -> usize {
    let head = if option.experimental { 4 } else { 2 };
    head + option.cookie().len()
}

/// Bytes that an AccECN option adds; what stands in the padding of the SACK option behind it costs nothing.
#[inline]
fn acc_ecn_len(option: &AccEcn, before_sack: bool) -> usize {
    let len = 2 + 3 * option.len();
    if before_sack && len % 4 <= 2 { len - len % 4 } else { len.next_multiple_of(4) }
}

struct Writer<'a> {
    out: &'a mut [u8; MAX_OPTIONS_LEN],
    at: usize,
}

impl Writer<'_> {
    /// Writes `bytes`; the plan has seen to it that they fit.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if let Some(to) = self.out.get_mut(self.at..self.at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }

    fn fill(&mut self, value: u8, len: usize) {
        if let Some(to) = self.out.get_mut(self.at..self.at + len) {
            to.fill(value);
        }
        self.at += len;
    }

    fn align(&mut self) {
        let len = self.at.next_multiple_of(4) - self.at;
        self.fill(KIND_NOP, len);
    }

    fn acc_ecn(&mut self, option: &AccEcn) {
        let kind = if option.ect1_first { KIND_ACC_ECN_1 } else { KIND_ACC_ECN_0 };
        self.put(&[kind, (2 + 3 * option.len()) as u8]);
        self.put(option.fields.as_flattened().get(..3 * option.len()).unwrap_or(&[]));
    }

    #[inline]
    fn timestamps(&mut self, (value, echo): (u32, u32), sack_permitted: bool) {
        let (a, b) = if sack_permitted { (KIND_SACK_PERMITTED, 2) } else { (KIND_NOP, KIND_NOP) };
        let mut bytes = [0; TIMESTAMPS_LEN];
        bytes[..4].copy_from_slice(&[a, b, KIND_TIMESTAMPS, 10]);
        bytes[4..8].copy_from_slice(&value.to_be_bytes());
        bytes[8..].copy_from_slice(&echo.to_be_bytes());
        self.put(&bytes);
    }
}
