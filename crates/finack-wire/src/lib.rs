//! Wire formats of IPv4, IPv6, ICMP, ICMPv6, TCP and UDP, and of Ethernet with ARP and neighbour
//! discovery: bytes checked and parsed into plain structs, and plain structs written out as bytes.
//!
//! There is no state and no allocation here, and no input makes anything panic: parsing returns an
//! error that says what is wrong, and writing into a buffer that is too short writes nothing and
//! returns 0.
//!
//! All numbers in the structs are in host order; all lengths and offsets are in bytes.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arp;
pub mod ethernet;
pub mod flow;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod opening;
pub mod plain;
pub mod protocol;
pub mod tcp;
pub mod tcp_options;
pub mod udp;

mod bytes;
#[cfg(test)]
mod samples;
