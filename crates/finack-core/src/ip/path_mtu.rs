//! What is known of paths' MTUs (RFC 1191, RFC 8201).

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;
use core::time::Duration;

use crate::time::Instant;

#[cfg(test)]
mod tests;

/// Paths remembered at most; beyond them the one that would expire first is forgotten.
const MOST: usize = 4096;
/// The MTUs that links have (RFC 1191 7.1), for routers that do not say which it is.
const PLATEAUS: [u32; 11] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68];
const MIN_V6: u32 = 1280;

/// MTUs learned from ICMP, each believed for `mtu_expires`.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathMtu {
    paths: BTreeMap<IpAddr, (u32, Instant)>,
    by_expiry: BTreeSet<(Instant, IpAddr)>,
}

impl PathMtu {
    /// Takes in that a packet to `dst` was too large for a link of `mtu` bytes. `known` is what the path was taken
    /// to carry without this cache, `floor` is IPv4's `min_pmtu`. Gives the path's MTU where it
    /// sank: ICMP never raises it (RFC 8201 4).
    pub(crate) fn update(
        &mut self,
        now: Instant,
        dst: IpAddr,
        mtu: u32,
        known: u32,
        floor: u32,
        expires: Duration,
    ) -> Option<u32> {
        // RFC 8201 4: what speaks of less than IPv6's least is discarded, no reason to believe any of it.
        if dst.is_ipv6() && mtu < MIN_V6 {
            return None;
        }
        let before = self.get(now, dst).unwrap_or(known).min(known);
        let mtu = mtu.max(floor);
        if mtu >= before {
            return None;
        }
        self.forget(dst);
        if self.paths.len() >= MOST
            && let Some(&(_, first)) = self.by_expiry.first()
        {
            self.forget(first);
        }
        let until = now + expires;
        self.paths.insert(dst, (mtu, until));
        self.by_expiry.insert((until, dst));
        Some(mtu)
    }

    /// What was learned of the path to `dst` and is still believed, in bytes.
    pub(crate) fn get(&self, now: Instant, dst: IpAddr) -> Option<u32> {
        self.paths.get(&dst).filter(|(_, until)| *until > now).map(|&(mtu, _)| mtu)
    }

    /// Forgets what was learned of a path.
    pub(crate) fn forget(&mut self, dst: IpAddr) {
        if let Some((_, until)) = self.paths.remove(&dst) {
            self.by_expiry.remove(&(until, dst));
        }
    }

    /// Paths remembered.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }
}

/// The MTU to try next where a router did not say which it has: the greatest plateau below the length of the packet
/// that did not fit (RFC 1191 5).
pub(crate) fn plateau_below(packet_len: u32) -> u32 {
    PLATEAUS.into_iter().find(|&p| p < packet_len).unwrap_or(68)
}
