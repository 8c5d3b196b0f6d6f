//! Wire formats of IPv4, IPv6, ICMP, TCP and UDP: views, plain structs, emit; no_std, no alloc.
