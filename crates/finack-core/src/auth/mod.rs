//! Signed segments: MD5 signatures (RFC 2385) and the TCP authentication option (TCP-AO, RFC 5925 and RFC 5926).
//!
//! [`Keys`] belong to a socket. A listener's ([`Stack::tcp_set_listener_keys`](crate::Stack::tcp_set_listener_keys))
//! are used for the peers that they name, a connection's ([`Stack::tcp_set_keys`](crate::Stack::tcp_set_keys)) from its
//! SYN on. Every segment with such a peer is signed, last of all and one by one, the SYN,ACK of an embryo or a cookie, the
//! RST and the ACK from TIME-WAIT too; what comes in without a right signature is dropped in silence, with a
//! [`DropReason`](crate::trace::DropReason) of its own. What comes in signed where no key is set is dropped as well, as
//! on Linux.
//!
//! Connections without keys have nothing of all this: keys and their state stand in tables of their own.

mod keys;
mod mac;
mod table;
#[cfg(test)]
mod tests;

pub use keys::{
    AoKey, DEFAULT_MAC_LEN, KeyError, Keys, MAX_KEY_LEN, MAX_KEYS, MAX_MAC_LEN, Md5Key, Peers, Secret,
};
pub use mac::{Algorithm, KeyContext, MacPlace, Signable, TrafficKey, md5_signature, same};
pub use table::AuthInfo;

pub(crate) use mac::{Mark, mark};
pub(crate) use table::{
    Auth, Isns, Received, Scheme, Signed, Signer, Tag, extension, isns_of, received_extension, verify_ao,
    verify_md5,
};
