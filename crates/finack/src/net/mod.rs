//! Sockets with the shapes and names of `tokio::net`: code moves over by changing an import.
//!
//! What makes a socket (`TcpStream::connect`, `TcpListener::bind`, `UdpSocket::bind`, `TcpSocket::new_v4`)
//! takes the current [`Net`](crate::Net); its `…_on` twin takes one by name. What tokio offers around a file
//! descriptor (`from_std`, `as_raw_fd`, `try_io`) has no meaning here and is missing.

mod addr;
#[cfg(feature = "md5-ao")]
mod keys;
mod ready;
mod tcp_direct;
mod tcp_gate;
mod tcp_listener;
mod tcp_socket;
mod tcp_split;
mod tcp_stream;
mod udp;
mod udp_gate;

pub use addr::ToSocketAddrs;
pub use tcp_gate::{Answered, Opening, TcpGate};
pub use tcp_listener::TcpListener;
pub use tcp_socket::TcpSocket;
pub use tcp_stream::TcpStream;
pub use udp::UdpSocket;
pub use udp_gate::{Datagram, Ends, UdpGate};

/// The halves of a [`TcpStream`].
pub mod tcp {
    pub use super::tcp_split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
}
