//! Addresses as arguments.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What can be turned into socket addresses, as `tokio::net::ToSocketAddrs`, but for names: finack asks
/// no resolver, so a string holds a literal address and a port (`"10.0.0.1:80"`, `"[fd00::1]:80"`).
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they are tried.
    type Iter: Iterator<Item = SocketAddr> + Send;

    /// The addresses.
    ///
    /// # Errors
    /// A string that is no literal address ([`io::ErrorKind::InvalidInput`]).
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

macro_rules! one_address {
    ($($t:ty),+) => {$(
        impl ToSocketAddrs for $t {
            type Iter = std::option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                Ok(Some(SocketAddr::from(*self)).into_iter())
            }
        }
    )+};
}

one_address!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for (&str, u16) {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let ip: IpAddr = self.0.parse().map_err(|_| not_literal(self.0))?;
        Ok(Some(SocketAddr::new(ip, self.1)).into_iter())
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let addr: SocketAddr = self.parse().map_err(|_| not_literal(self))?;
        Ok(Some(addr).into_iter())
    }
}

impl ToSocketAddrs for String {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = std::iter::Copied<std::slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().copied())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

fn not_literal(text: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("'{text}' is no literal address and port, and finack resolves no names: resolve it first"),
    )
}

/// Tries `one` with each address until it succeeds; the last failure counts.
pub(crate) fn first_of<R>(
    addrs: impl ToSocketAddrs,
    mut one: impl FnMut(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut last = None;
    for addr in addrs.to_socket_addrs()? {
        match one(addr) {
            Ok(done) => return Ok(done),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(no_address))
}

/// An address as a socket made for IPv6 shows it: IPv4 ones as mapped (RFC 4291 2.5.5.2).
pub(crate) const fn shown(addr: SocketAddr, v6: bool) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v6 => {
            SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
        }
        addr => addr,
    }
}

/// The list of addresses was empty.
pub(crate) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no address was given")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addrs: impl ToSocketAddrs) -> Vec<String> {
        addrs.to_socket_addrs().unwrap().map(|a| a.to_string()).collect()
    }

    #[test]
    fn literal_addresses_in_every_shape_that_tokio_takes() {
        let v4 = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(all((v4, 80)), ["10.0.0.1:80"]);
        assert_eq!(all((IpAddr::V4(v4), 80)), ["10.0.0.1:80"]);
        assert_eq!(all((Ipv6Addr::LOCALHOST, 80)), ["[::1]:80"]);
        assert_eq!(all("10.0.0.1:80"), ["10.0.0.1:80"]);
        assert_eq!(all("[fd00::1]:80"), ["[fd00::1]:80"]);
        assert_eq!(all(("fd00::1", 80)), ["[fd00::1]:80"]);
        assert_eq!(all(String::from("10.0.0.1:80")), ["10.0.0.1:80"]);
        let two = [SocketAddr::from((v4, 1)), SocketAddr::from((v4, 2))];
        assert_eq!(all(&two[..]), ["10.0.0.1:1", "10.0.0.1:2"]);
    }

    #[test]
    fn a_name_is_refused_with_what_to_do_about_it() {
        for error in [("example.org", 80).to_socket_addrs().err(), "example.org:80".to_socket_addrs().err()] {
            let error = error.unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("resolve it first"), "{error}");
        }
    }
}
