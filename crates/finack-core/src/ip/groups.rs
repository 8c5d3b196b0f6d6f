//! Multicast groups that the host listens to (RFC 1112, RFC 4291 2.8).

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Error;

/// Groups joined, each with how many sockets joined it. No membership is announced (IGMP, MLD): the
/// devices that a stack runs on deliver multicast without.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    joined: BTreeMap<IpAddr, u32>,
}

/// Groups that the host may be in at once.
const MOST: usize = 4096;

impl Groups {
    /// Whether packets to `group` are for this host: it was joined, or is one that all hosts are in.
    pub(crate) fn is_member(&self, group: IpAddr) -> bool {
        let everyone = match group {
            IpAddr::V4(g) => g == Ipv4Addr::new(224, 0, 0, 1),
            IpAddr::V6(g) => {
                g == Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1)
                    || g == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
            }
        };
        everyone || self.joined.contains_key(&group)
    }

    /// One socket more is in `group`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is no group, [`Error::NoBufferSpace`] beyond 4096 groups.
    pub(crate) fn join(&mut self, group: IpAddr) -> Result<(), Error> {
        if !group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        if self.joined.len() >= MOST && !self.joined.contains_key(&group) {
            return Err(Error::NoBufferSpace);
        }
        *self.joined.entry(group).or_default() += 1;
        Ok(())
    }

    /// One socket fewer is in `group`.
    pub(crate) fn leave(&mut self, group: IpAddr) {
        if let Some(count) = self.joined.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.joined.remove(&group);
            }
        }
    }
}
