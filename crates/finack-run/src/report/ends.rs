//! Both ends of a connection as a key of tables.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// finack's end and the program's, as one run of bytes: hashed and compared at one go. An IPv4 address that a socket of both
/// families shows as IPv6 is the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends([u8; Ends::LEN]);

impl Ends {
    /// Two IPv6 addresses and two ports.
    const LEN: usize = 2 * (16 + 2);

    pub(crate) fn new(finack: SocketAddr, program: SocketAddr) -> Self {
        let mut bytes = [0; Self::LEN];
        let (ours, theirs) = bytes.split_at_mut(Self::LEN / 2);
        for (half, end) in [(ours, finack), (theirs, program)] {
            let addr = match end.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            half[..16].copy_from_slice(&addr.octets());
            half[16..].copy_from_slice(&end.port().to_be_bytes());
        }
        Self(bytes)
    }
}

impl Hash for Ends {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(finack: &str, program: &str) -> Ends {
        Ends::new(finack.parse().unwrap(), program.parse().unwrap())
    }

    #[test]
    fn each_address_and_each_port_counts_and_the_side_too() {
        let one = ends("198.18.0.80:80", "198.18.0.2:40000");
        for other in [
            ends("198.18.0.81:80", "198.18.0.2:40000"),
            ends("198.18.0.80:81", "198.18.0.2:40000"),
            ends("198.18.0.80:80", "198.18.0.3:40000"),
            ends("198.18.0.80:80", "198.18.0.2:40001"),
            ends("198.18.0.2:40000", "198.18.0.80:80"),
            ends("[fd66::80]:80", "[fd66::2]:40000"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_the_same() {
        let plain = ends("198.18.0.80:80", "198.18.0.2:40000");
        assert_eq!(plain, ends("[::ffff:198.18.0.80]:80", "198.18.0.2:40000"));
        assert_eq!(plain, ends("198.18.0.80:80", "[::ffff:198.18.0.2]:40000"));
    }
}
