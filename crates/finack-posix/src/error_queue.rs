//! A socket's error queue: completions of `MSG_ZEROCOPY` and transmit time stamps.
//!
//! A zero-copy send completes when the engine says so. What the caller handed over was copied once, on its way to the
//! engine, so that it completes as "copied", as on Linux where a device has no scatter-gather.

use core::ops::Range;
use std::collections::VecDeque;

use finack_core::stack::ConnId;
use finack_core::{Instant, Stack};

use crate::{Control, ControlData, Errno, ExtendedError, abi};

/// Most entries that wait on either side.
const MOST: usize = 1024;

/// A send whose time stamps are awaited.
#[derive(Clone, Copy, Debug)]
struct Send {
    /// Bytes written on the connection when it was done.
    end: u64,
    /// `SOF_TIMESTAMPING_TX_...` that are still to be told.
    stamps: i64,
    /// The key of its stamps.
    key: u32,
}

/// One entry for the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) error: ExtendedError,
    pub(crate) time: Option<Instant>,
    /// It carries a copy of the packet, which no reader here has room for.
    pub(crate) truncated: bool,
}

/// What `SO_TIMESTAMPING` of a control message may ask for.
const STAMPS: i64 = abi::SOF_TIMESTAMPING_TX_HARDWARE
    | abi::SOF_TIMESTAMPING_TX_SOFTWARE
    | abi::SOF_TIMESTAMPING_TX_SCHED
    | abi::SOF_TIMESTAMPING_TX_ACK;

/// Whether a socket takes the messages of level `SOL_SOCKET`.
pub(crate) fn check_socket_level(control: &[Control]) -> Result<(), Errno> {
    let fits = |c: &Control| match (c.kind, &c.data) {
        (abi::SO_TIMESTAMPING, ControlData::Number(flags)) => flags & !STAMPS == 0,
        (abi::SO_MARK | abi::SCM_RIGHTS, _) => true,
        (abi::SO_PRIORITY, ControlData::Number(priority)) => (0..=6).contains(priority),
        _ => false,
    };
    let own = |c: &&Control| c.level == abi::SOL_SOCKET;
    if control.iter().filter(own).all(fits) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn stamping_of(control: &[Control]) -> Option<i64> {
    control.iter().rev().find_map(|c| match (c.level, c.kind, &c.data) {
        (abi::SOL_SOCKET, abi::SO_TIMESTAMPING, ControlData::Number(flags)) => Some(*flags),
        _ => None,
    })
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ErrorQueue {
    /// SO_ZEROCOPY.
    pub(crate) zerocopy: bool,
    /// SO_TIMESTAMPING.
    stamping: i64,
    /// Bytes written when SOF_TIMESTAMPING_OPT_ID was set: keys count from there.
    key_base: u64,
    /// Zero-copy sends that were not told to be complete.
    incomplete: u32,
    written: u64,
    sends: VecDeque<Send>,
    entries: VecDeque<Entry>,
}

impl ErrorQueue {
    /// An accepted connection's: SO_ZEROCOPY is inherited.
    pub(crate) fn of_child(parent: &Self) -> Self {
        Self { zerocopy: parent.zerocopy, ..Self::default() }
    }

    /// Whether something waits for bytes to be sent or acknowledged.
    pub(crate) fn waits(&self) -> bool {
        !self.sends.is_empty() || self.incomplete > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn stamping(&self) -> i64 {
        self.stamping
    }

    pub(crate) fn set_stamping(&mut self, flags: i64) {
        if flags & abi::SOF_TIMESTAMPING_OPT_ID != 0 && self.stamping & abi::SOF_TIMESTAMPING_OPT_ID == 0 {
            self.key_base = self.written;
        }
        self.stamping = flags;
    }

    /// Whether a send with `flags` is one whose completion is told.
    pub(crate) fn is_zerocopy(&self, flags: i64) -> bool {
        self.zerocopy && flags & abi::MSG_ZEROCOPY != 0
    }

    /// Whether a stream takes these control messages. Those of other levels are nothing to it.
    pub(crate) fn check(&self, control: &[Control]) -> Result<(), Errno> {
        check_socket_level(control)
    }

    /// `count` bytes were written by a send that is done with them.
    pub(crate) fn sent(&mut self, count: usize, zerocopy: bool, control: &[Control]) {
        self.written += count as u64;
        self.incomplete += u32::from(zerocopy);
        let told =
            abi::SOF_TIMESTAMPING_TX_SCHED | abi::SOF_TIMESTAMPING_TX_SOFTWARE | abi::SOF_TIMESTAMPING_TX_ACK;
        // A message says for its bytes alone what is to be stamped.
        let asked = stamping_of(control).unwrap_or(self.stamping);
        let stamps = if count > 0 { asked & told } else { 0 };
        if stamps != 0 && self.sends.len() < MOST {
            let by_id = self.stamping & abi::SOF_TIMESTAMPING_OPT_ID != 0;
            let key = if by_id { (self.written - self.key_base).wrapping_sub(1) as u32 } else { 0 };
            self.sends.push_back(Send { end: self.written, stamps, key });
        }
    }

    /// Looks at how far the connection came; whether the reader has something new.
    pub(crate) fn advance(&mut self, stack: &mut Stack, conn: ConnId, now: Instant) -> bool {
        let mut told = false;
        while let Ok(Some(numbers)) = stack.tcp_take_completion(conn) {
            self.complete(&numbers);
            told = true;
        }
        if self.sends.is_empty() {
            return told;
        }
        let Ok(info) = stack.tcp_info(now, conn) else { return told };
        let acked = info.bytes_acked;
        let sent = acked + info.send_queue.saturating_sub(info.not_sent);
        let mut sends = std::mem::take(&mut self.sends);
        for send in &mut sends {
            if sent >= send.end {
                told |= self.stamp(send, abi::SOF_TIMESTAMPING_TX_SCHED, abi::SCM_TSTAMP_SCHED, now);
                told |= self.stamp(send, abi::SOF_TIMESTAMPING_TX_SOFTWARE, abi::SCM_TSTAMP_SND, now);
            }
            if acked >= send.end {
                told |= self.stamp(send, abi::SOF_TIMESTAMPING_TX_ACK, abi::SCM_TSTAMP_ACK, now);
            }
        }
        sends.retain(|send| send.stamps != 0);
        self.sends = sends;
        told
    }

    fn stamp(&mut self, send: &mut Send, flag: i64, kind: i64, now: Instant) -> bool {
        if send.stamps & flag == 0 {
            return false;
        }
        send.stamps &= !flag;
        if self.entries.len() >= MOST {
            return false;
        }
        let error = ExtendedError {
            errno: Errno::ENOMSG.0,
            origin: abi::SO_EE_ORIGIN_TIMESTAMPING,
            kind: 0,
            code: 0,
            info: kind as u32,
            data: send.key,
        };
        let truncated = self.stamping & abi::SOF_TIMESTAMPING_OPT_TSONLY == 0;
        self.entries.push_back(Entry { error, time: Some(now), truncated });
        true
    }

    /// Completions; those that continue the last are merged with it, as Linux does.
    fn complete(&mut self, numbers: &Range<u32>) {
        let (first, last) = (numbers.start, numbers.end.wrapping_sub(1));
        self.incomplete = self.incomplete.saturating_sub(numbers.end.wrapping_sub(first));
        if let Some(told) = self.entries.back_mut()
            && told.error.origin == abi::SO_EE_ORIGIN_ZEROCOPY
            && told.error.data.wrapping_add(1) == first
        {
            told.error.data = last;
            return;
        }
        let error = ExtendedError {
            errno: 0,
            origin: abi::SO_EE_ORIGIN_ZEROCOPY,
            kind: 0,
            code: abi::SO_EE_CODE_ZEROCOPY_COPIED as u8,
            info: first,
            data: last,
        };
        self.entries.push_back(Entry { error, time: None, truncated: false });
    }

    /// The oldest entry as control messages, and whether `MSG_TRUNC` goes with it.
    pub(crate) fn pop(&mut self, v6: bool) -> Option<(Vec<Control>, bool)> {
        let Entry { error, time, truncated } = self.entries.pop_front()?;
        let mut control = Vec::new();
        if let Some(time) = time.filter(|_| self.stamping & abi::SOF_TIMESTAMPING_SOFTWARE != 0) {
            let data = ControlData::Time(time);
            control.push(Control { level: abi::SOL_SOCKET, kind: abi::SCM_TIMESTAMPING, data });
        }
        let (level, kind) =
            if v6 { (abi::SOL_IPV6, abi::IPV6_RECVERR) } else { (abi::SOL_IP, abi::IP_RECVERR) };
        control.push(Control { level, kind, data: ControlData::Extended(error) });
        Some((control, truncated))
    }
}
