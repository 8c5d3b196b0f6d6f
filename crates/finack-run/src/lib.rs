//! Carries the connections of an unmodified program in a private network.
