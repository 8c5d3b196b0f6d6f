//! A deterministic network of finack stacks on a virtual clock.
//!
//! - [`Setup`] and [`Script`]: one stack against a scripted peer; a test reads as an exchange of packets.
//! - [`World`]: hosts, routers, links and boxes between them; one seed reproduces a run.
//! - [`link`], [`queue`], [`boxes`]: what lies between hosts, as values and as text; they know nothing of worlds.
//! - [`checker`]: what must hold in every world, checked at every step.
//! - [`explore`]: every order of delivery and every single loss of a small exchange.
//! - [`explorer`]: worlds of two hosts in which everything that may happen is explored, and all that must hold is checked.
//! - [`hostile`]: mutated and structured random packets, with the memory watched.
//! - [`swarm`]: random worlds from seeds, shrunk where a rule is broken.
//! - [`packet`]: packets as values, built and judged by code that shares nothing with the engine.
//!
//! ```
//! use core::time::Duration;
//!
//! use finack_core::options::SocketOptions;
//! use finack_sim::World;
//! use finack_sim::link::{Hop, Path};
//! use finack_sim::world::Transfer;
//!
//! let mut world = World::new(1, Hop::default());
//! let (a, b) = (world.plain_host(), world.plain_host());
//! let path: Path = "rate=10mbit delay=20ms loss=1% queue=64pkt,codel,ecn".parse()?;
//! world.join(a, b, &path);
//! let (client, server) = world.connect(a, b, 80, SocketOptions::default());
//! Transfer::new((a, client), (b, server), 100_000, 0).run(&mut world, Duration::from_secs(60));
//! # Ok::<(), finack_sim::link::TextError>(())
//! ```

pub mod boxes;
pub mod checker;
pub mod explore;
pub mod explorer;
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
pub mod swarm;
pub mod text;
pub mod world;

pub use script::{Flow, IcmpError, Script, Sent, Setup, on_both_paths};
pub use world::{HostId, Link, Passing, Verdict, World};
