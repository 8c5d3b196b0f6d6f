//! UDP.
/// x
pub struct UdpSocket;
