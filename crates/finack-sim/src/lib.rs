//! A deterministic network of finack stacks on a virtual clock.
//!
//! - [`Setup`] and [`Script`]: one stack against a scripted peer; a test reads as an exchange of packets.
//! - [`World`]: hosts, routers, links and boxes between them; one seed reproduces a run.
//! - [`link`], [`queue`], [`boxes`]: what lies between hosts, as values and as text; they know nothing of worlds.
//! - [`checker`]: what must hold in every world, checked at every step.
//! - [`explore`]: every order of delivery and every single loss of a small exchange.
//! - [`hostile`]: mutated and structured random packets, with the memory watched.
//! - [`packet`]: packets as values, built and judged by code that shares nothing with the engine.

pub mod boxes;
pub mod checker;
pub mod explore;
pub mod hostile;
pub mod link;
pub mod packet;
pub mod pattern;
pub mod queue;
pub mod response;
pub mod rng;
pub mod script;
pub mod seeds;
pub mod split;
pub mod text;
pub mod world;

pub use script::{Flow, IcmpError, Script, Sent, Setup, on_both_paths};
pub use world::{HostId, Link, Passing, Verdict, World};
