//! TCP and UDP in user space: tokio-shaped sockets over TUN, AF_PACKET and AF_XDP devices.
//!
//! A [`Net`] is one host's transport over one [`device`]: addresses, connections, TIME-WAIT and all. Its
//! sockets in [`net`] have the shapes and names of `tokio::net`, so that code moves over by changing an
//! import; [`blocking`] has them for threads. The protocols themselves are [`core`]'s, which does no I/O.
//!
//! ```
//! use std::net::Ipv4Addr;
//!
//! use finack::Net;
//! use finack::core::device::Capabilities;
//! use finack::net::{TcpListener, TcpStream};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! // Two hosts and a cable between them; finack::device has TUN and packet sockets besides.
//! let (left, right) = finack::device::pair(Capabilities::plain(1500))?;
//! let a = Net::builder().address(Ipv4Addr::new(10, 0, 0, 1), 24).build(left)?;
//! let b = Net::builder().address(Ipv4Addr::new(10, 0, 0, 2), 24).build(right)?;
//!
//! let listener = TcpListener::bind_on(&b, "10.0.0.2:80").await?;
//! let server = tokio::spawn(async move {
//!     let (mut stream, _peer) = listener.accept().await?;
//!     stream.write_all(b"hello from user space").await
//! });
//!
//! // Within `scope`, sockets need not be told their network: this is tokio's own call.
//! let client = a.scope(async {
//!     let mut stream = TcpStream::connect("10.0.0.2:80").await?;
//!     let mut text = String::new();
//!     stream.read_to_string(&mut text).await?;
//!     std::io::Result::Ok(text)
//! });
//! assert_eq!(client.await?, "hello from user space");
//! server.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # How it runs
//!
//! The engine and its device stand behind one lock. A socket call runs on its caller's thread, and what it
//! causes to be sent is handed to the device before it returns. What nobody calls for — packets that arrive,
//! timers, a device that has room again — is done by a driver task on the tokio runtime that the network
//! was built on. The lock is held for one call and one batch of at most 64 packets at a time, and tasks are
//! woken after it is let go. Nothing is queued between a socket and the engine, so nothing there needs a bound.
//!
//! Where one core does not suffice, [`NetBuilder::shards`] makes several such engines of one network, each with its lock,
//! its queue of the device and its driver (which takes in up to 64 packets more at a time that others have for it).

pub mod blocking;
pub mod device;
mod error;
mod host;
pub mod net;
pub mod relay;
mod shard;

pub use finack_core as core;
pub use host::{EnterGuard, Net, NetBuilder};
pub use shard::Driver;
