//! One connection as the script speaks of it and as it is: sequence numbers and timestamps from one to the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Which stream the injected payload is of, and which the stack's application writes.
pub(crate) const PEER: u8 = 2;
pub(crate) const STACK: u8 = 1;

/// Most timestamps that are remembered of a connection.
const MOST_STAMPS: usize = 1 << 16;

/// A four-tuple under test. In the script, as in tcpdump's output, a segment with SYN has the numbers that the script
/// chose, and any other counts from its sender's initial sequence number.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The stack's initial sequence number in the script, and the true one once it was seen.
    script_isn: u32,
    live_isn: Option<u32>,
    /// The test side's initial sequence number.
    pub(crate) remote_isn: u32,
    /// True timestamps by those of the script.
    stamps: BTreeMap<u32, u32>,
    /// The first timestamp sent: the script's and the true one.
    first_stamp: Option<(u32, u32)>,
    /// The script's descriptor of it.
    pub(crate) fd: Option<i64>,
    /// A SYN on a four-tuple that is in use began there.
    pub(crate) proposed: Option<u32>,
    /// Bytes that the application read.
    pub(crate) read: u64,
    /// Where the next peek begins behind that, where SO_PEEK_OFF is set.
    pub(crate) peeked: Option<u64>,
    /// An urgent pointer came: the stream that is read has a hole, perhaps.
    pub(crate) urgent: bool,
}

impl Flow {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local,
            remote,
            script_isn: 0,
            live_isn: None,
            remote_isn: 0,
            stamps: BTreeMap::new(),
            first_stamp: None,
            fd: None,
            proposed: None,
            read: 0,
            peeked: None,
            urgent: false,
        }
    }

    /// The stack's SYN or SYN,ACK: `script` stands for `live`, if nothing does so far.
    pub(crate) fn learn(&mut self, script: u32, live: u32) {
        if self.live_isn.is_none() {
            (self.script_isn, self.live_isn) = (script, Some(live));
        }
    }

    /// The test's side begins anew, from `isn`.
    pub(crate) fn begin_anew(&mut self, isn: u32) {
        self.remote_isn = isn;
        self.live_isn = None;
        self.stamps.clear();
        self.first_stamp = None;
        self.read = 0;
    }

    /// Whether the stack's initial sequence number was seen.
    pub(crate) fn is_known(&self) -> bool {
        self.live_isn.is_some()
    }

    /// What lies between one of the stack's sequence numbers in the script and on the wire.
    fn offset(&self, syn: bool) -> u32 {
        let chosen = if syn { self.script_isn } else { 0 };
        self.live_isn.map_or(0, |live| live.wrapping_sub(chosen))
    }

    /// One of the stack's sequence numbers as it is; `syn` tells whether it stands in a segment with SYN.
    pub(crate) fn to_live(&self, seq: u32, syn: bool) -> u32 {
        seq.wrapping_add(self.offset(syn))
    }

    /// One of the stack's sequence numbers as the script has it.
    pub(crate) fn to_script(&self, seq: u32, syn: bool) -> u32 {
        seq.wrapping_sub(self.offset(syn))
    }

    /// One of the test side's sequence numbers as it is.
    pub(crate) fn peer_to_live(&self, seq: u32, syn: bool) -> u32 {
        if syn { seq } else { seq.wrapping_add(self.remote_isn) }
    }

    /// One of the test side's sequence numbers as the script has it.
    pub(crate) fn peer_to_script(&self, seq: u32, syn: bool) -> u32 {
        if syn { seq } else { seq.wrapping_sub(self.remote_isn) }
    }

    /// The stack sent timestamp `live` where the script says `script`.
    pub(crate) fn stamp(&mut self, script: u32, live: u32) {
        if self.stamps.len() < MOST_STAMPS {
            self.stamps.insert(script, live);
        }
        self.first_stamp.get_or_insert((script, live));
    }

    /// A timestamp that the stack sent, counted as the script counts.
    pub(crate) fn stamp_to_script(&self, live: u32) -> u32 {
        self.first_stamp.map_or(live, |(script, first)| script.wrapping_add(live.wrapping_sub(first)))
    }

    /// What echoes the script's timestamp; `scaled` where it need not be one that was sent.
    pub(crate) fn echo(&self, script: u32, scaled: bool) -> Option<u32> {
        let exact = self.stamps.get(&script).copied();
        exact.or_else(|| {
            let (first_script, first_live) = self.first_stamp.filter(|_| scaled)?;
            Some(script.wrapping_sub(first_script).wrapping_add(first_live))
        })
    }

    /// Where in the test side's stream a payload begins.
    pub(crate) fn peer_offset(&self, script_seq: u32, syn: bool) -> u64 {
        let live = self.peer_to_live(script_seq, syn);
        u64::from(live.wrapping_sub(self.remote_isn).wrapping_sub(u32::from(!syn)))
    }

    /// Where in the stack's stream a payload begins.
    pub(crate) fn stack_offset(&self, script_seq: u32, syn: bool) -> u64 {
        u64::from(script_seq.wrapping_sub(if syn { self.script_isn } else { 1 }))
    }
}
