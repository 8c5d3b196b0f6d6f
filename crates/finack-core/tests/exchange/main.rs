//! One stack against a scripted peer: each test is an exchange of packets and shows one requirement.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod capture;
mod close;
mod data;
mod direct;
mod ecn;
mod events;
mod expected;
mod fast_open;
mod icmp;
mod ip;
mod itself;
mod keepalive;
mod list;
mod listen;
mod mtu;
mod nagle;
mod open;
mod options;
mod pacing;
mod paws;
mod record;
mod recovery;
mod reset;
mod rfc9293;
mod sack;
mod shed;
mod simultaneous;
mod support;
mod time_wait;
mod timers;
mod tuning;
mod udp;
mod urgent;
mod window;
mod zerocopy;
