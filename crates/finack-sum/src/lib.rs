//! Internet checksums for finack, with SIMD chosen at run time.
