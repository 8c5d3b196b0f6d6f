//! Level SOL_SOCKET.

use core::time::Duration;

use super::{Common, flag, in_force, int, number, ranged, whole_seconds};
use crate::datagram::Datagram;
use crate::stream::{Phase, Stream};
use crate::{Errno, Os, abi};

/// Linux's least SO_SNDBUF and SO_RCVBUF, as they read.
const MIN_SEND_BUFFER: i64 = 4608;
const MIN_RECV_BUFFER: i64 = 2304;

/// `struct timeval`; no time, and more than can be counted, is for ever.
fn timeval(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let part = |at: usize| -> Result<i64, Errno> {
        let bytes = value.get(at..at + 8).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
        Ok(i64::from_le_bytes(bytes))
    };
    let (seconds, micros) = (part(0)?, part(8)?);
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EDOM);
    }
    if seconds < 0 {
        return Ok(Some(Duration::ZERO));
    }
    let time = Duration::from_secs(seconds.unsigned_abs()) + Duration::from_micros(micros.unsigned_abs());
    Ok((!time.is_zero()).then_some(time))
}

fn timeval_bytes(time: Option<Duration>) -> Vec<u8> {
    let time = time.unwrap_or_default();
    let mut out = whole_seconds(time).to_le_bytes().to_vec();
    out.extend_from_slice(&i64::from(time.subsec_micros()).to_le_bytes());
    out
}

/// What is set, and what it reads as then: twice that, as on Linux.
fn buffer(value: &[u8], least: i64) -> Result<(usize, i64), Errno> {
    let asked = int(value)?.max(0).min(i64::from(i32::MAX) / 2);
    let reads = (asked * 2).max(least);
    Ok((usize::try_from(reads / 2).unwrap_or(usize::MAX), reads))
}

/// SO_MAX_PACING_RATE in bytes a second: 32 bits or, where as many are given, 64. All ones stand for no bound.
fn pacing_rate(value: &[u8]) -> Result<Option<u64>, Errno> {
    let rate = match value.first_chunk::<8>() {
        Some(long) => u64::from_le_bytes(*long),
        None => match int(value)? as u32 {
            u32::MAX => u64::MAX,
            rate => u64::from(rate),
        },
    };
    Ok((rate != u64::MAX).then_some(rate))
}

impl Common {
    /// Options that no engine is asked about; whether it was one.
    fn set(&mut self, name: i64, value: &[u8]) -> Result<bool, Errno> {
        match name {
            abi::SO_RCVTIMEO => self.recv_timeout = timeval(value)?,
            abi::SO_SNDTIMEO => self.send_timeout = timeval(value)?,
            abi::SO_PRIORITY => self.priority = ranged(value, 0..=6).map_err(|_| Errno::EPERM)?,
            abi::SO_MARK => self.mark = int(value)?,
            abi::SO_DONTROUTE => self.dont_route = flag(value)?,
            abi::SO_BUSY_POLL => self.busy_poll = ranged(value, 0..=i64::from(i32::MAX))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn get(&self, name: i64) -> Option<Vec<u8>> {
        Some(match name {
            abi::SO_RCVTIMEO => timeval_bytes(self.recv_timeout),
            abi::SO_SNDTIMEO => timeval_bytes(self.send_timeout),
            abi::SO_PRIORITY => number(self.priority),
            abi::SO_MARK => number(self.mark),
            abi::SO_DONTROUTE => number(self.dont_route.into()),
            abi::SO_BUSY_POLL => number(self.busy_poll),
            abi::SO_SNDLOWAT => number(1),
            _ => return None,
        })
    }
}

impl Stream {
    /// Sets the option; false where finack has none of that name.
    pub(super) fn set_socket_option(&mut self, os: &Os<'_>, name: i64, value: &[u8]) -> Result<bool, Errno> {
        let o = &mut self.options;
        match name {
            abi::SO_REUSEADDR => o.reuse_addr = flag(value)?,
            abi::SO_REUSEPORT => o.reuse_port = flag(value)?,
            abi::SO_KEEPALIVE => o.keepalive = flag(value)?,
            abi::SO_OOBINLINE => o.oob_inline = flag(value)?,
            abi::SO_RCVLOWAT => {
                // 0 is one byte, and what is negative is as much as there can be.
                let bytes = match int(value)? {
                    n if n < 0 => i64::from(i32::MAX),
                    n => n.max(1),
                };
                // Never more than there will be room for.
                let largest = os.stack.settings().tcp_rmem_max;
                let buffer = self.common.recv_buffer.unwrap_or(i64::try_from(largest).unwrap_or(i64::MAX));
                o.recv_lowat = usize::try_from(bytes.min(buffer / 2).max(1)).unwrap_or(1);
            }
            abi::SO_LINGER => {
                let (on, time) = (int(value)?, int(value.get(4..).unwrap_or(&[]))?);
                o.linger = (on != 0).then(|| Duration::from_secs(time.max(0).unsigned_abs()));
            }
            abi::SO_SNDBUF | abi::SO_SNDBUFFORCE => {
                let (bytes, reads) = buffer(value, MIN_SEND_BUFFER)?;
                (o.send_buffer, self.common.send_buffer) = (Some(bytes), Some(reads));
            }
            abi::SO_RCVBUF | abi::SO_RCVBUFFORCE => {
                let (bytes, reads) = buffer(value, MIN_RECV_BUFFER)?;
                (o.recv_buffer, self.common.recv_buffer) = (Some(bytes), Some(reads));
            }
            abi::SO_MAX_PACING_RATE => o.max_pacing_rate = pacing_rate(value)?,
            abi::SO_ZEROCOPY => self.errors.zerocopy = ranged(value, 0..=1)? == 1,
            abi::SO_TIMESTAMPING => {
                let flags = ranged(value, 0..=0x1_ffff)?;
                let opened = self.conn().is_some_and(|c| os.stack.tcp_remote_addr(c).is_ok());
                if flags & abi::SOF_TIMESTAMPING_OPT_ID != 0 && !opened {
                    return Err(Errno::EINVAL);
                }
                self.errors.set_stamping(flags);
            }
            abi::SO_PEEK_OFF => self.peek_offset = usize::try_from(int(value)?).ok(),
            // Broadcast is nothing to TCP; Linux keeps it all the same.
            abi::SO_BROADCAST => {
                flag(value)?;
            }
            _ => return self.common.set(name, value),
        }
        Ok(true)
    }

    /// The option's value; `None` where finack has none of that name.
    pub(super) fn socket_option(&mut self, os: &mut Os<'_>, name: i64) -> Result<Option<Vec<u8>>, Errno> {
        let o = in_force(self, os)?;
        let settings = os.stack.settings();
        let default = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(Some(match name {
            abi::SO_TYPE => number(abi::SOCK_STREAM),
            abi::SO_PROTOCOL => number(abi::IPPROTO_TCP),
            abi::SO_DOMAIN => number(if self.v6 { abi::AF_INET6 } else { abi::AF_INET }),
            abi::SO_ACCEPTCONN => number(matches!(self.phase, Phase::Listening(_)).into()),
            abi::SO_REUSEADDR => number(o.reuse_addr.into()),
            abi::SO_REUSEPORT => number(o.reuse_port.into()),
            abi::SO_KEEPALIVE => number(o.keepalive.into()),
            abi::SO_OOBINLINE => number(o.oob_inline.into()),
            abi::SO_BROADCAST => number(0),
            abi::SO_RCVLOWAT => number(i64::try_from(o.recv_lowat).unwrap_or(i64::MAX)),
            abi::SO_LINGER => {
                let mut out = number(o.linger.is_some().into());
                out.extend(number(o.linger.map_or(0, whole_seconds)));
                out
            }
            abi::SO_SNDBUF => number(self.common.send_buffer.unwrap_or(default(settings.tcp_wmem_default))),
            abi::SO_RCVBUF => number(self.common.recv_buffer.unwrap_or(default(settings.tcp_rmem_default))),
            abi::SO_PEEK_OFF => {
                number(self.peek_offset.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX)))
            }
            abi::SO_MAX_PACING_RATE => o.max_pacing_rate.unwrap_or(u64::MAX).to_le_bytes().to_vec(),
            abi::SO_ZEROCOPY => number(self.errors.zerocopy.into()),
            abi::SO_TIMESTAMPING => number(self.errors.stamping()),
            abi::SO_ERROR => {
                let error = match (self.owed.take(), self.conn()) {
                    (Some(owed), _) => Some(owed),
                    (None, Some(conn)) => {
                        let fatal = os.stack.tcp_take_error(conn)?;
                        let pending =
                            if fatal.is_some() { fatal } else { os.stack.tcp_take_soft_error(conn)? };
                        pending.map(Errno::from)
                    }
                    (None, None) => None,
                };
                number(error.map_or(0, |e| e.0.into()))
            }
            _ => return Ok(self.common.get(name)),
        }))
    }
}

impl Datagram {
    pub(super) fn set_socket_option(&mut self, name: i64, value: &[u8]) -> Result<bool, Errno> {
        let o = &mut self.options;
        match name {
            abi::SO_REUSEADDR => o.bind.reuse_addr = flag(value)?,
            abi::SO_REUSEPORT => o.bind.reuse_port = flag(value)?,
            abi::SO_BROADCAST => o.broadcast = flag(value)?,
            abi::SO_SNDBUF | abi::SO_SNDBUFFORCE => {
                let (bytes, reads) = buffer(value, MIN_SEND_BUFFER)?;
                (o.send_buffer, self.common.send_buffer) = (Some(bytes), Some(reads));
            }
            abi::SO_RCVBUF | abi::SO_RCVBUFFORCE => {
                let (bytes, reads) = buffer(value, MIN_RECV_BUFFER)?;
                (o.recv_buffer, self.common.recv_buffer) = (Some(bytes), Some(reads));
            }
            _ => return self.common.set(name, value),
        }
        Ok(true)
    }

    pub(super) fn socket_option(&mut self, os: &mut Os<'_>, name: i64) -> Result<Option<Vec<u8>>, Errno> {
        let settings = os.stack.settings();
        let default = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(Some(match name {
            abi::SO_TYPE => number(abi::SOCK_DGRAM),
            abi::SO_PROTOCOL => number(abi::IPPROTO_UDP),
            abi::SO_DOMAIN => number(if self.v6 { abi::AF_INET6 } else { abi::AF_INET }),
            abi::SO_ACCEPTCONN => number(0),
            abi::SO_REUSEADDR => number(self.options.bind.reuse_addr.into()),
            abi::SO_REUSEPORT => number(self.options.bind.reuse_port.into()),
            abi::SO_BROADCAST => number(self.options.broadcast.into()),
            abi::SO_SNDBUF => number(self.common.send_buffer.unwrap_or(default(settings.wmem_default))),
            abi::SO_RCVBUF => number(self.common.recv_buffer.unwrap_or(default(settings.rmem_default))),
            abi::SO_ERROR => {
                let error = self.id().map(|id| os.stack.udp_take_error(id)).transpose()?.flatten();
                number(error.map_or(0, |e| Errno::from(e).0.into()))
            }
            _ => return Ok(self.common.get(name)),
        }))
    }
}
