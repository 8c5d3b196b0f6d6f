//! Hostile input (placeholder until the next commit).
