//! The finack command.

fn main() {}
