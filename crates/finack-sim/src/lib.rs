//! A deterministic network of finack stacks on a virtual clock.
