//! What a socket call can answer besides success, each told apart as POSIX does.

use core::fmt;

/// Why a socket call failed. The comment names the errno that Linux gives for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to do now; try again after the next event (EAGAIN).
    WouldBlock,
    /// The connection is still being opened (EINPROGRESS / EALREADY).
    InProgress,
    /// The peer answered our SYN with a RST, or ICMP said that nobody listens (ECONNREFUSED).
    ConnectionRefused,
    /// The peer aborted the connection, or our abort was asked for (ECONNRESET).
    ConnectionReset,
    /// The connection was aborted before it was accepted or by this side (ECONNABORTED).
    ConnectionAborted,
    /// Nothing came back for too long (ETIMEDOUT).
    TimedOut,
    /// ICMP: the host cannot be reached (EHOSTUNREACH).
    HostUnreachable,
    /// ICMP, or no route here: the network cannot be reached (ENETUNREACH).
    NetworkUnreachable,
    /// ICMP: the protocol is not spoken there (ENOPROTOOPT).
    ProtocolUnreachable,
    /// ICMP: there is no such host (EHOSTDOWN).
    HostUnknown,
    /// ICMP: our own host is cut off from the network (ENONET).
    HostIsolated,
    /// ICMP: somebody could not read a packet's header (EPROTO).
    ProtocolError,
    /// Writing after our own end was closed, or after the reset was reported (EPIPE).
    BrokenPipe,
    /// The socket is not connected (ENOTCONN).
    NotConnected,
    /// The socket is connected already (EISCONN).
    AlreadyConnected,
    /// Somebody else has the address and port (EADDRINUSE).
    AddrInUse,
    /// The address is none of this host's, or no port is left (EADDRNOTAVAIL).
    AddrNotAvailable,
    /// The argument makes no sense here (EINVAL).
    InvalidArgument,
    /// A datagram larger than can be sent (EMSGSIZE).
    MessageTooLong,
    /// A table or the memory budget is full (ENOBUFS).
    NoBufferSpace,
    /// Sending to a broadcast address without having asked for it; ICMPv6: an administrator forbids it (EACCES).
    AccessDenied,
    /// A destination address is needed (EDESTADDRREQ).
    DestinationRequired,
    /// The address is of the wrong family (EAFNOSUPPORT).
    AddressFamily,
    /// The handle names nothing any more (EBADF).
    BadHandle,
    /// A setting forbids what was asked for; ICMP: a source route failed (EOPNOTSUPP).
    NotSupported,
    /// The keys do not do for what they are to sign (EKEYREJECTED).
    KeyRejected,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WouldBlock => "operation would block",
            Self::InProgress => "connection is being opened",
            Self::ConnectionRefused => "connection refused",
            Self::ConnectionReset => "connection reset by peer",
            Self::ConnectionAborted => "connection aborted",
            Self::TimedOut => "connection timed out",
            Self::HostUnreachable => "host unreachable",
            Self::NetworkUnreachable => "network unreachable",
            Self::ProtocolUnreachable => "protocol not available there",
            Self::HostUnknown => "no such host",
            Self::HostIsolated => "this host is isolated",
            Self::ProtocolError => "protocol error",
            Self::BrokenPipe => "broken pipe",
            Self::NotConnected => "not connected",
            Self::AlreadyConnected => "already connected",
            Self::AddrInUse => "address already in use",
            Self::AddrNotAvailable => "address not available",
            Self::InvalidArgument => "invalid argument",
            Self::NotSupported => "operation not supported",
            Self::MessageTooLong => "message too long",
            Self::NoBufferSpace => "no buffer space available",
            Self::AccessDenied => "permission denied",
            Self::DestinationRequired => "destination address required",
            Self::AddressFamily => "address family not supported",
            Self::BadHandle => "bad handle",
            Self::KeyRejected => "key was rejected",
        })
    }
}

impl core::error::Error for Error {}
