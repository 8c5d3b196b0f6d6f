//! From the engine's errors to [`std::io::Error`], kind and errno both as the kernel's sockets give them.

use std::io;

use finack_core::Error;

/// The errno that Linux gives for `error`.
pub(crate) const fn errno(error: Error) -> i32 {
    match error {
        Error::WouldBlock => libc::EAGAIN,
        Error::InProgress => libc::EINPROGRESS,
        Error::ConnectionRefused => libc::ECONNREFUSED,
        Error::ConnectionReset => libc::ECONNRESET,
        Error::ConnectionAborted => libc::ECONNABORTED,
        Error::TimedOut => libc::ETIMEDOUT,
        Error::HostUnreachable => libc::EHOSTUNREACH,
        Error::NetworkUnreachable => libc::ENETUNREACH,
        Error::ProtocolUnreachable => libc::ENOPROTOOPT,
        Error::HostUnknown => libc::EHOSTDOWN,
        Error::HostIsolated => libc::ENONET,
        Error::ProtocolError => libc::EPROTO,
        Error::BrokenPipe => libc::EPIPE,
        Error::NotConnected => libc::ENOTCONN,
        Error::AlreadyConnected => libc::EISCONN,
        Error::AddrInUse => libc::EADDRINUSE,
        Error::AddrNotAvailable => libc::EADDRNOTAVAIL,
        Error::InvalidArgument => libc::EINVAL,
        Error::MessageTooLong => libc::EMSGSIZE,
        Error::NoBufferSpace => libc::ENOBUFS,
        Error::AccessDenied => libc::EACCES,
        Error::DestinationRequired => libc::EDESTADDRREQ,
        Error::AddressFamily => libc::EAFNOSUPPORT,
        Error::NotSupported => libc::EOPNOTSUPP,
        Error::BadHandle => libc::EBADF,
        Error::KeyRejected => libc::EKEYREJECTED,
        // The engine's list may grow; whatever comes new has no errno of its own until it is named above.
        _ => libc::EIO,
    }
}

/// The engine's error as the kernel's sockets would report it.
pub(crate) fn to_io(error: Error) -> io::Error {
    io::Error::from_raw_os_error(errno(error))
}

/// What every call answers once the network was shut down.
pub(crate) fn network_down() -> io::Error {
    io::Error::from_raw_os_error(libc::ENETDOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_errno_are_both_those_of_the_kernels_sockets() {
        for (error, kind, errno) in [
            (Error::WouldBlock, io::ErrorKind::WouldBlock, libc::EAGAIN),
            (Error::ConnectionRefused, io::ErrorKind::ConnectionRefused, libc::ECONNREFUSED),
            (Error::ConnectionReset, io::ErrorKind::ConnectionReset, libc::ECONNRESET),
            (Error::TimedOut, io::ErrorKind::TimedOut, libc::ETIMEDOUT),
            (Error::BrokenPipe, io::ErrorKind::BrokenPipe, libc::EPIPE),
            (Error::NotConnected, io::ErrorKind::NotConnected, libc::ENOTCONN),
            (Error::AddrInUse, io::ErrorKind::AddrInUse, libc::EADDRINUSE),
            (Error::AddrNotAvailable, io::ErrorKind::AddrNotAvailable, libc::EADDRNOTAVAIL),
            (Error::HostUnreachable, io::ErrorKind::HostUnreachable, libc::EHOSTUNREACH),
            (Error::NetworkUnreachable, io::ErrorKind::NetworkUnreachable, libc::ENETUNREACH),
            (Error::InvalidArgument, io::ErrorKind::InvalidInput, libc::EINVAL),
            (Error::AccessDenied, io::ErrorKind::PermissionDenied, libc::EACCES),
        ] {
            let io = to_io(error);
            assert_eq!((io.kind(), io.raw_os_error()), (kind, Some(errno)), "{error:?}");
        }
    }
}
