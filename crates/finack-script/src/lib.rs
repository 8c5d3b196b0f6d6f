//! packetdrill's script language: read, printed, and run in virtual time.
//!
//! A script is a list of timed events: packets that the test injects (`<`) or expects (`>`), system calls with their
//! results, shell commands in backquotes and python assertions. [`parse`](parse::parse) reads one into plain values
//! ([`ast`]), with the place of every mistake; their `Display` writes it back.
#![forbid(unsafe_code)]

pub mod ast;
pub mod parse;
pub mod run;

pub use ast::Script;
pub use parse::{ParseError, parse};
