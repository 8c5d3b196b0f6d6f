//! Error numbers of Linux (those of x86-64 and arm64).

use std::fmt;

use finack_core::Error;

/// An error number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(pub i32);

macro_rules! errors {
    ($($name:ident = $number:literal, $text:literal;)+) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self($number);)+

            /// Every error known here: its number, its name and what it says.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$name, stringify!($name), $text),)+];
        }
    };
}

errors! {
    EPERM = 1, "Operation not permitted";
    ENOENT = 2, "No such file or directory";
    EINTR = 4, "Interrupted system call";
    EIO = 5, "Input/output error";
    E2BIG = 7, "Argument list too long";
    EBADF = 9, "Bad file descriptor";
    EAGAIN = 11, "Resource temporarily unavailable";
    ENOMEM = 12, "Cannot allocate memory";
    EACCES = 13, "Permission denied";
    EFAULT = 14, "Bad address";
    EBUSY = 16, "Device or resource busy";
    EEXIST = 17, "File exists";
    EINVAL = 22, "Invalid argument";
    ENFILE = 23, "Too many open files in system";
    EMFILE = 24, "Too many open files";
    ENOTTY = 25, "Inappropriate ioctl for device";
    EFBIG = 27, "File too large";
    ESPIPE = 29, "Illegal seek";
    EPIPE = 32, "Broken pipe";
    EDOM = 33, "Numerical argument out of domain";
    ENOSYS = 38, "Function not implemented";
    ELOOP = 40, "Too many levels of symbolic links";
    ENOMSG = 42, "No message of desired type";
    ENONET = 64, "Machine is not on the network";
    EPROTO = 71, "Protocol error";
    ENOTSOCK = 88, "Socket operation on non-socket";
    EDESTADDRREQ = 89, "Destination address required";
    EMSGSIZE = 90, "Message too long";
    EPROTOTYPE = 91, "Protocol wrong type for socket";
    ENOPROTOOPT = 92, "Protocol not available";
    EPROTONOSUPPORT = 93, "Protocol not supported";
    ESOCKTNOSUPPORT = 94, "Socket type not supported";
    EOPNOTSUPP = 95, "Operation not supported";
    EAFNOSUPPORT = 97, "Address family not supported by protocol";
    EADDRINUSE = 98, "Address already in use";
    EADDRNOTAVAIL = 99, "Cannot assign requested address";
    ENETDOWN = 100, "Network is down";
    ENETUNREACH = 101, "Network is unreachable";
    ECONNABORTED = 103, "Software caused connection abort";
    ECONNRESET = 104, "Connection reset by peer";
    ENOBUFS = 105, "No buffer space available";
    EISCONN = 106, "Transport endpoint is already connected";
    ENOTCONN = 107, "Transport endpoint is not connected";
    ETIMEDOUT = 110, "Connection timed out";
    ECONNREFUSED = 111, "Connection refused";
    EHOSTDOWN = 112, "Host is down";
    EHOSTUNREACH = 113, "No route to host";
    EALREADY = 114, "Operation already in progress";
    EINPROGRESS = 115, "Operation now in progress";
    EKEYREJECTED = 129, "Key was rejected by service";
}

impl Errno {
    /// Its name (`ECONNREFUSED`), `None` for a number unknown here.
    pub fn name(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(e, ..)| *e == self).map(|(_, name, _)| *name)
    }

    /// What `strerror` says.
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(e, ..)| *e == self).map_or("Unknown error", |(.., text)| text)
    }

    /// The error of that name; `EWOULDBLOCK` is `EAGAIN`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = match name {
            "EWOULDBLOCK" => "EAGAIN",
            "ENOTSUP" => "EOPNOTSUPP",
            other => other,
        };
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|(e, ..)| *e)
    }
}

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        match error {
            Error::WouldBlock => Self::EAGAIN,
            Error::InProgress => Self::EINPROGRESS,
            Error::ConnectionRefused => Self::ECONNREFUSED,
            Error::ConnectionReset => Self::ECONNRESET,
            Error::ConnectionAborted => Self::ECONNABORTED,
            Error::TimedOut => Self::ETIMEDOUT,
            Error::HostUnreachable => Self::EHOSTUNREACH,
            Error::NetworkUnreachable => Self::ENETUNREACH,
            Error::ProtocolUnreachable => Self::ENOPROTOOPT,
            Error::HostUnknown => Self::EHOSTDOWN,
            Error::HostIsolated => Self::ENONET,
            Error::ProtocolError => Self::EPROTO,
            Error::BrokenPipe => Self::EPIPE,
            Error::NotConnected => Self::ENOTCONN,
            Error::AlreadyConnected => Self::EISCONN,
            Error::AddrInUse => Self::EADDRINUSE,
            Error::AddrNotAvailable => Self::EADDRNOTAVAIL,
            Error::InvalidArgument => Self::EINVAL,
            Error::MessageTooLong => Self::EMSGSIZE,
            Error::NoBufferSpace => Self::ENOBUFS,
            Error::AccessDenied => Self::EACCES,
            Error::DestinationRequired => Self::EDESTADDRREQ,
            Error::AddressFamily => Self::EAFNOSUPPORT,
            Error::BadHandle => Self::EBADF,
            Error::NotSupported => Self::EOPNOTSUPP,
            Error::KeyRejected => Self::EKEYREJECTED,
            _ => Self::EIO,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.text()),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl std::error::Error for Errno {}
