//! A name for the state of a host, for searches that must know where they have been.

use core::hash::{Hash, Hasher};

use alloc::vec::Vec;
use siphasher::sip::SipHasher13;

use super::Stack;
use crate::tcp::tcb::Connection;
use crate::tcp::{Tuple, timers::Timer};
use crate::time::Instant;

impl Stack {
    /// Equal for states that behave alike from `now` on: it leaves out when things happened before, the initial
    /// sequence numbers, counters, handles, and how lazily timers are kept.
    pub fn fingerprint(&self, now: Instant) -> u64 {
        let mut hasher = SipHasher13::new();
        let mut connections: Vec<&Connection> = self.connections.iter().map(|(_, c)| c).collect();
        connections.sort_by_key(|c| key(&c.tuple));
        for c in connections {
            hash_connection(c, now, &mut hasher);
        }
        let mut embryos: Vec<_> = self.embryos.iter().map(|(_, e)| e).collect();
        embryos.sort_by_key(|e| key(&e.tuple));
        for e in embryos {
            e.tuple.hash(&mut hasher);
            (e.retries, e.is_cookie, e.under.is_some(), e.ecn).hash(&mut hasher);
            now.since(e.sent_at).hash(&mut hasher);
        }
        let four = self.waits4.iter().map(|(tw, tuple)| (tuple, tw));
        let six = self.waits6.iter().map(|(tw, tuple)| (tuple, tw));
        let mut waits: Vec<_> = four.chain(six).collect();
        waits.sort_by_key(|(tuple, _)| key(tuple));
        for (tuple, tw) in waits {
            tuple.hash(&mut hasher);
            tw.expires.since(now).hash(&mut hasher);
            tw.flags.0.hash(&mut hasher);
        }
        self.listeners.iter().for_each(|(_, l)| (l.local, l.ready.len(), l.backlog).hash(&mut hasher));
        hasher.finish()
    }
}

fn key(tuple: &Tuple) -> (core::net::SocketAddr, core::net::SocketAddr) {
    (tuple.local_addr(), tuple.remote_addr())
}

/// Positions are counted from the SYN, so that they do not depend on the initial sequence numbers.
fn hash_connection(c: &Connection, now: Instant, hasher: &mut SipHasher13) {
    c.tuple.hash(hasher);
    c.state.hash(hasher);
    let f = &c.facts;
    (f.orphan, f.indexed, f.unaccepted, f.fin_queued, f.read_shut, f.fin_received).hash(hasher);
    (f.syn_due, f.probe_due, f.keepalive_due, f.push_small, f.more, f.syn_resent, f.syn_resent_again)
        .hash(hasher);
    (c.snd_una, c.snd_nxt, c.snd_end(), c.snd_wnd, c.snd_up, c.mss).hash(hasher);
    (c.recv.next(), c.recv.read_pos(), c.recv.sack_blocks(), c.rcv_edge, c.rcv_fin, c.rcv_acked).hash(hasher);
    (c.rtx.sacked(), c.rtx.lost(), c.in_flight(), c.retries, c.backoff, c.probes).hash(hasher);
    (c.ack_hold, c.ack_pos()).hash(hasher);
    c.ecn.as_ref().map(|ecn| ecn.summary()).hash(hasher);
    (c.ack.pending, c.ack.now, c.ack.quick, c.ack.interactive).hash(hasher);
    (c.error, c.urgent.mark, c.urgent.byte).hash(hasher);
    c.held_until(now).map(|at| at.since(now)).hash(hasher);
    for timer in Timer::ALL {
        c.timers.remaining(timer, now).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, SocketAddr};
    use core::time::Duration;

    use super::*;
    use crate::device::Capabilities;
    use crate::options::SocketOptions;
    use crate::settings::Settings;
    use crate::stack::{Config, InterfaceAddress};

    fn opening(seed: u8, start: Instant) -> (Stack, Instant) {
        let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let mut settings = Settings::default();
        settings.set("ip_local_port_range", "5000 5000").unwrap();
        let mut stack = Stack::new(
            start,
            Config {
                settings,
                device: Capabilities::plain(1500),
                addresses: alloc::vec![InterfaceAddress { addr, prefix_len: 24 }],
                routes: alloc::vec![],
                any_address: false,
                seed: [seed; 32],
            },
        );
        let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 80);
        stack.tcp_connect(start, None, remote, SocketOptions::default()).unwrap();
        while stack.poll_transmit(start).is_some() {}
        (stack, start)
    }

    /// The same moment of the same story has one name, whenever it began and whatever the ISN.
    #[test]
    fn time_and_sequence_numbers_do_not_matter() {
        let (a, at_a) = opening(1, Instant::from_secs(1));
        let (b, at_b) = opening(2, Instant::from_secs(77));
        assert_eq!(a.fingerprint(at_a), b.fingerprint(at_b));
        assert_ne!(a.fingerprint(at_a), a.fingerprint(at_a + Duration::from_millis(500)));
    }
}
