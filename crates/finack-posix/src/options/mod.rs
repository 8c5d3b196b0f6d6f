//! Socket options by Linux's names, with Linux's values and errors.

use core::time::Duration;

use finack_core::options::SocketOptions;

use crate::file::Kind;
use crate::{Answer, Errno, Fd, Os, Posix, Reply, abi};

#[cfg(feature = "md5-ao")]
pub mod auth;
mod ip;
mod socket;
mod tcp;

/// Something of Linux's that finack refuses, for now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Linux's name.
    pub name: &'static str,
    /// The error that answers it.
    pub errno: Errno,
    /// What finack has instead, or lacks.
    pub why: &'static str,
}

macro_rules! unsupported {
    ($($name:ident $errno:ident $why:literal;)+) => {
        /// Options, flags and calls that Linux has and finack refuses, each with the error that answers it.
        pub const UNSUPPORTED: &[Unsupported] =
            &[$(Unsupported { name: stringify!($name), errno: Errno::$errno, why: $why },)+];
    };
}

unsupported! {
    TCP_AO_REPAIR EPERM "connections can't be restored";
    TCP_DEFER_ACCEPT ENOPROTOOPT "accept returns once the handshake is complete";
    TCP_SAVE_SYN ENOPROTOOPT "headers of a SYN are not kept";
    TCP_SAVED_SYN ENOPROTOOPT "headers of a SYN are not kept";
    TCP_THIN_LINEAR_TIMEOUTS ENOPROTOOPT "time-outs always back off";
    TCP_TIMESTAMP ENOPROTOOPT "connections can't be restored";
    TCP_REPAIR EPERM "connections can't be restored";
    TCP_ULP ENOENT "no protocols in the kernel above TCP";
    TCP_ZEROCOPY_RECEIVE ENOPROTOOPT "received data is copied once";
    TCP_CC_INFO ENOPROTOOPT "TCP_INFO tells what there is";
    TCP_TX_DELAY ENOPROTOOPT "the simulator's links delay";
    TCP_RTO_MAX_MS ENOPROTOOPT "sysctl net.ipv4.tcp_rto_max_ms sets it for all";
    TCP_RTO_MIN_US ENOPROTOOPT "sysctl net.ipv4.tcp_rto_min_us sets it for all";
    TCP_DELACK_MAX_US ENOPROTOOPT "ACKs are delayed by 40 ms at least and 200 ms at most";
    SO_TXTIME ENOPROTOOPT "what is to leave when is not the program's to say";
    SO_MEMINFO ENOPROTOOPT "SIOCINQ, SIOCOUTQ and TCP_INFO tell what is queued";
    SO_TIMESTAMP ENOPROTOOPT "received packets have no time stamps here";
    SO_TIMESTAMPNS ENOPROTOOPT "received packets have no time stamps here";
    SO_BINDTODEVICE ENOPROTOOPT "a stack has one interface";
    SO_ATTACH_FILTER ENOPROTOOPT "no packet filters";
    IP_OPTIONS ENOPROTOOPT "packets are sent without IP options";
    IP_TRANSPARENT ENOPROTOOPT "the gateway's calls do that";
    IP_MINTTL ENOPROTOOPT "the hop limit of what comes in is not checked";
    UDP_CORK ENOPROTOOPT "a datagram is one send";
    UDP_SEGMENT ENOPROTOOPT "a datagram is one send";
    UDP_GRO ENOPROTOOPT "a datagram is one receive";
}

/// What every socket has and the engine does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Common {
    /// SO_RCVTIMEO.
    pub(crate) recv_timeout: Option<Duration>,
    /// SO_SNDTIMEO.
    pub(crate) send_timeout: Option<Duration>,
    /// SO_SNDBUF as it reads: twice what was set, as on Linux.
    send_buffer: Option<i64>,
    /// SO_RCVBUF as it reads.
    recv_buffer: Option<i64>,
    /// SO_PRIORITY: kept, without effect.
    priority: i64,
    /// SO_MARK: kept, without effect.
    mark: i64,
    /// IP_RECVERR and IPV6_RECVERR of a stream: kept; its error queue has what SO_ZEROCOPY and SO_TIMESTAMPING put there.
    recv_error: bool,
    /// SO_DONTROUTE: kept, without effect.
    dont_route: bool,
    /// SO_BUSY_POLL: kept, without effect.
    busy_poll: i64,
    /// IP_MTU_DISCOVER, where another than the default was set: kept; the path MTU is always discovered.
    mtu_discover: Option<i64>,
    /// IP_FREEBIND: kept; addresses that are not the host's are refused all the same.
    free_bind: bool,
    /// IP_BIND_ADDRESS_NO_PORT: kept, without effect.
    bind_no_port: bool,
}

/// The first four bytes as an `int`.
fn int(value: &[u8]) -> Result<i64, Errno> {
    let bytes: [u8; 4] = value.get(..4).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(i32::from_le_bytes(bytes).into())
}

/// An `int` or a byte, as the options of level IP take it.
fn int_or_byte(value: &[u8]) -> Result<i64, Errno> {
    match value {
        [byte, rest @ ..] if rest.len() < 3 => Ok((*byte).into()),
        _ => int(value),
    }
}

fn flag(value: &[u8]) -> Result<bool, Errno> {
    int(value).map(|n| n != 0)
}

/// An `int` within bounds, else `EINVAL`.
fn ranged(value: &[u8], range: core::ops::RangeInclusive<i64>) -> Result<i64, Errno> {
    int(value).and_then(|n| if range.contains(&n) { Ok(n) } else { Err(Errno::EINVAL) })
}

fn seconds(value: &[u8], range: core::ops::RangeInclusive<i64>) -> Result<Option<Duration>, Errno> {
    ranged(value, range).map(|n| Some(Duration::from_secs(n.unsigned_abs())))
}

fn number(value: i64) -> Vec<u8> {
    i32::try_from(value).unwrap_or(i32::MAX).to_le_bytes().to_vec()
}

fn whole_seconds(d: Duration) -> i64 {
    i64::try_from(d.as_secs()).unwrap_or(i64::MAX)
}

/// Whether finack knows the option and refuses it, and with what.
fn refusal(level: i64, name: i64) -> Errno {
    let prefix = match level {
        abi::SOL_SOCKET => "SO_",
        abi::IPPROTO_TCP => "TCP_",
        abi::IPPROTO_UDP => "UDP_",
        abi::IPPROTO_IP => "IP_",
        abi::IPPROTO_IPV6 => "IPV6_",
        _ => return Errno::ENOPROTOOPT,
    };
    let known = UNSUPPORTED.iter().find(|u| u.name.starts_with(prefix) && abi::lookup(u.name) == Some(name));
    known.map_or(Errno::ENOPROTOOPT, |u| u.errno)
}

impl Posix {
    pub(crate) fn set_option(
        &mut self,
        os: &mut Os<'_>,
        fd: Fd,
        level: i64,
        name: i64,
        value: &[u8],
    ) -> Answer {
        let done = match (&mut self.files.file_mut(fd)?.kind, level) {
            (Kind::Stream(s), abi::SOL_SOCKET) => s.set_socket_option(os, name, value)?,
            #[cfg(feature = "md5-ao")]
            (Kind::Stream(s), abi::IPPROTO_TCP) if auth::is_about_keys(name) => {
                s.set_auth_option(os, name, value)?
            }
            (Kind::Stream(s), abi::IPPROTO_TCP) => s.set_tcp_option(os, name, value)?,
            (Kind::Stream(s), abi::IPPROTO_IP) => s.set_ip_option(level, name, value)?,
            (Kind::Stream(s), abi::IPPROTO_IPV6) if s.v6 => s.set_ip_option(level, name, value)?,
            (Kind::Datagram(d), abi::SOL_SOCKET) => d.set_socket_option(name, value)?,
            (Kind::Datagram(d), abi::IPPROTO_IP) => d.set_ip_option(os, level, name, value)?,
            (Kind::Datagram(d), abi::IPPROTO_IPV6) if d.v6 => d.set_ip_option(os, level, name, value)?,
            (Kind::Stream(_) | Kind::Datagram(_), _) => false,
            _ => return Err(Errno::ENOTSOCK),
        };
        if !done {
            return Err(refusal(level, name));
        }
        match &self.files.file(fd)?.kind {
            Kind::Stream(s) => s.push_options(os)?,
            Kind::Datagram(d) => d.push_options(os)?,
            _ => {}
        }
        Ok(Reply::Number(0))
    }

    pub(crate) fn get_option(
        &mut self,
        os: &mut Os<'_>,
        fd: Fd,
        level: i64,
        name: i64,
        len: usize,
    ) -> Answer {
        let value = match (&mut self.files.file_mut(fd)?.kind, level) {
            (Kind::Stream(s), abi::SOL_SOCKET) => s.socket_option(os, name)?,
            #[cfg(feature = "md5-ao")]
            (Kind::Stream(s), abi::IPPROTO_TCP) if auth::is_about_keys(name) => {
                s.auth_option(os, name, len)?
            }
            (Kind::Stream(s), abi::IPPROTO_TCP) => s.tcp_option(os, name)?,
            (Kind::Stream(s), abi::IPPROTO_IP) => s.ip_option(os, level, name)?,
            (Kind::Stream(s), abi::IPPROTO_IPV6) if s.v6 => s.ip_option(os, level, name)?,
            (Kind::Datagram(d), abi::SOL_SOCKET) => d.socket_option(os, name)?,
            (Kind::Datagram(d), abi::IPPROTO_IP) => d.ip_option(os, level, name)?,
            (Kind::Datagram(d), abi::IPPROTO_IPV6) if d.v6 => d.ip_option(os, level, name)?,
            (Kind::Stream(_) | Kind::Datagram(_), _) => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENOTSOCK),
        };
        let Some(mut value) = value else { return Err(refusal(level, name)) };
        value.truncate(len);
        Ok(Reply::Option(value))
    }
}

/// What the engine has in force, or what was set before it had the socket.
fn in_force(stream: &crate::stream::Stream, os: &Os<'_>) -> Result<SocketOptions, Errno> {
    Ok(stream.conn().map(|conn| os.stack.tcp_options(conn)).transpose()?.unwrap_or(stream.options))
}
