//! ICMP errors about the stack's segments.

use super::Script;
use crate::packet::{Icmp, Pkt, Tcp, build, v4, v6};
use crate::text;

/// An ICMP error, in the form that the flow's IP version has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Fragmentation needed / packet too big, with the next hop's MTU.
    TooBig(u16),
    /// Network unreachable / no route.
    Network,
    /// Host / address unreachable.
    Host,
    /// Protocol unreachable / unknown next header.
    Protocol,
    /// Port unreachable.
    Port,
    /// Communication administratively prohibited.
    Prohibited,
    /// Time exceeded in transit.
    TimeExceeded,
    /// Parameter problem.
    Parameter,
    /// Source quench (RFC 6633: dead); IPv4 only.
    SourceQuench,
}

impl IcmpError {
    fn message(self, v6: bool) -> (u8, u8, [u8; 4]) {
        let with_mtu = |mtu: u16| {
            let [hi, lo] = mtu.to_be_bytes();
            [0, 0, hi, lo]
        };
        let (kind, code, rest) = match (self, v6) {
            (Self::TooBig(mtu), false) => (3, 4, with_mtu(mtu)),
            (Self::TooBig(mtu), true) => (2, 0, with_mtu(mtu)),
            (Self::Network, false) => (3, 0, [0; 4]),
            (Self::Network, true) => (1, 0, [0; 4]),
            (Self::Host, false) => (3, 1, [0; 4]),
            (Self::Host, true) => (1, 3, [0; 4]),
            (Self::Protocol, false) => (3, 2, [0; 4]),
            (Self::Protocol, true) => (4, 1, [0, 0, 0, 6]),
            (Self::Port, false) => (3, 3, [0; 4]),
            (Self::Port, true) => (1, 4, [0; 4]),
            (Self::Prohibited, false) => (3, 13, [0; 4]),
            (Self::Prohibited, true) => (1, 1, [0; 4]),
            (Self::TimeExceeded, false) => (11, 0, [0; 4]),
            (Self::TimeExceeded, true) => (3, 0, [0; 4]),
            (Self::Parameter, false) => (12, 0, [0; 4]),
            (Self::Parameter, true) => (4, 0, [0; 4]),
            (Self::SourceQuench, _) => (4, 0, [0; 4]),
        };
        (kind, code, rest)
    }
}

impl Script {
    /// A router (host 9) reports `error` about the stack's segment `text` on the present flow.
    ///
    /// # Panics
    /// Where the stack has sent something that nobody expected, or the text makes no sense.
    #[track_caller]
    pub fn inject_icmp(&mut self, error: IcmpError, text: &str) {
        let quoted = self.quote(text);
        self.inject_icmp_quoting(error, &quoted);
    }

    /// A router (host 9) reports `error` about the packet that `quoted` is the beginning of.
    ///
    /// # Panics
    /// Where the stack has sent something that nobody expected.
    #[track_caller]
    pub fn inject_icmp_quoting(&mut self, error: IcmpError, quoted: &[u8]) {
        let v6_flow = self.setup.v6;
        let router = if v6_flow { v6(9) } else { v4(9) };
        let (kind, code, rest) = error.message(v6_flow);
        let icmp = Icmp { kind, code, rest, payload: quoted.to_vec() };
        self.inject_packet(&Pkt::icmp(router, self.setup.stack_ip(), icmp));
    }

    /// What a router quotes of the stack's segment `text`: the IP header and 8 bytes (IPv4), or all (IPv6).
    ///
    /// # Panics
    /// Where the text makes no sense.
    #[track_caller]
    #[must_use]
    pub fn quote(&self, text: &str) -> Vec<u8> {
        let seg = text::parse(text).unwrap_or_else(|e| self.fail(&e));
        let flow = &self.flows[self.current];
        let bases = flow.out_bases();
        let (seq, len) = seg.seq.unwrap_or((0, 0));
        let tcp = Tcp {
            seq: bases.seq.wrapping_add(seq),
            ack: seg.ack.map_or(0, |a| bases.ack.wrapping_add(a)),
            flags: seg.flags,
            payload: vec![0; len as usize],
            ..Tcp::default()
        };
        let mut bytes = build(&Pkt::tcp(flow.local, flow.remote, tcp));
        bytes.truncate(if self.setup.v6 { 1200 } else { 28 });
        bytes
    }
}
