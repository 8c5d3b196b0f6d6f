//! Chores of the finack repository.

fn main() {}
