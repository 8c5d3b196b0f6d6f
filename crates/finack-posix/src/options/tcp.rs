//! Level IPPROTO_TCP.

use core::time::Duration;

use finack_core::settings::Congestion;

use super::{flag, in_force, int, number, ranged, seconds, whole_seconds};
use crate::stream::{Phase, Stream};
use crate::{Errno, Os, abi, info};

/// Half of Linux's SOCK_MIN_RCVBUF.
const MIN_CLAMP: i64 = 1152;
/// Linux's TCP_FIN_TIMEOUT_MAX, in seconds.
const MAX_LINGER2: i64 = 120;
/// Linux's TCP_MIN_MSS and MAX_TCP_WINDOW.
const MAXSEG: core::ops::RangeInclusive<i64> = 88..=32_767;

fn seconds_of(set: Option<Duration>, default: u64) -> Vec<u8> {
    number(set.map_or(i64::try_from(default).unwrap_or(i64::MAX), whole_seconds))
}

/// A controller by its name, which a NUL may end.
fn congestion(os: &Os<'_>, value: &[u8]) -> Result<Congestion, Errno> {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    let name = core::str::from_utf8(&value[..end]).unwrap_or_default();
    let kind = Congestion::named(name).ok_or(if end == 0 { Errno::EINVAL } else { Errno::ENOENT })?;
    if os.stack.settings().allows(kind) { Ok(kind) } else { Err(Errno::EPERM) }
}

/// One key, or two: the one in use and the one before it.
fn fast_open_keys(value: &[u8]) -> Result<[Option<[u8; 16]>; 2], Errno> {
    let key = |at: usize| value.get(at..at + 16).and_then(|k| <[u8; 16]>::try_from(k).ok());
    if !matches!(value.len(), 16 | 32) {
        return Err(Errno::EINVAL);
    }
    Ok([key(0), key(16)])
}

impl Stream {
    /// Sets the option; false where finack has none of that name.
    pub(super) fn set_tcp_option(&mut self, os: &Os<'_>, name: i64, value: &[u8]) -> Result<bool, Errno> {
        let o = &mut self.options;
        match name {
            abi::TCP_NODELAY => o.nodelay = flag(value)?,
            abi::TCP_CORK => o.cork = flag(value)?,
            abi::TCP_QUICKACK => o.quickack = flag(value)?,
            abi::TCP_KEEPIDLE => o.keepalive_idle = seconds(value, 1..=32_767)?,
            abi::TCP_KEEPINTVL => o.keepalive_interval = seconds(value, 1..=32_767)?,
            abi::TCP_KEEPCNT => o.keepalive_count = Some(ranged(value, 1..=127)? as u32),
            abi::TCP_SYNCNT => o.syn_retries = Some(ranged(value, 1..=127)? as u32),
            abi::TCP_MAXSEG => {
                let size = int(value)?;
                if size != 0 && !MAXSEG.contains(&size) {
                    return Err(Errno::EINVAL);
                }
                o.max_segment = (size != 0).then_some(size as u16);
            }
            abi::TCP_LINGER2 => {
                // Negative: no time in FIN-WAIT-2 at all.
                o.fin_wait2_timeout = match int(value)? {
                    0 => None,
                    n if n < 0 => Some(Duration::ZERO),
                    n => Some(Duration::from_secs(n.min(MAX_LINGER2).unsigned_abs())),
                };
            }
            abi::TCP_USER_TIMEOUT => {
                let millis = ranged(value, 0..=i64::from(i32::MAX))?;
                o.user_timeout = (millis != 0).then(|| Duration::from_millis(millis.unsigned_abs()));
            }
            abi::TCP_NOTSENT_LOWAT => {
                // 0 takes the sysctl's value; what is negative is as good as no mark.
                let bytes = int(value)? as u32;
                o.notsent_lowat = (bytes != 0).then_some(bytes as usize);
            }
            abi::TCP_WINDOW_CLAMP => self.clamp_window(int(value)?)?,
            abi::TCP_INQ => self.inq = ranged(value, 0..=1)? == 1,
            abi::TCP_CONGESTION => o.congestion = Some(congestion(os, value)?),
            abi::TCP_FASTOPEN => {
                let most = int(value)?;
                if most < 0 || self.conn().is_some() {
                    return Err(Errno::EINVAL);
                }
                self.options.fast_open = most as u32;
            }
            abi::TCP_FASTOPEN_KEY => self.fast_open_keys = Some(fast_open_keys(value)?),
            abi::TCP_FASTOPEN_CONNECT => {
                let on = ranged(value, 0..=1)? == 1;
                if !matches!(self.phase, Phase::Fresh | Phase::Bound(_)) {
                    return Err(Errno::EINVAL);
                }
                self.fast_open_connect = on;
            }
            // Thin streams have no rules of their own here: that they have is refused.
            abi::TCP_THIN_LINEAR_TIMEOUTS => return Ok(ranged(value, 0..=1)? == 0),
            abi::TCP_ULP if value.first().is_none_or(|b| *b == 0) => return Err(Errno::EINVAL),
            abi::TCP_FASTOPEN_NO_COOKIE => o.fast_open_no_cookie = ranged(value, 0..=1)? == 1,
            // Linux takes it and does nothing since 4.16.
            abi::TCP_THIN_DUPACK => {
                ranged(value, 0..=1)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// TCP_WINDOW_CLAMP. As on Linux: no clamp at all is for a socket that is not connected.
    fn clamp_window(&mut self, bytes: i64) -> Result<(), Errno> {
        if bytes == 0 && self.conn().is_some() {
            return Err(Errno::EINVAL);
        }
        self.options.window_clamp = (bytes != 0).then(|| bytes.max(MIN_CLAMP) as u32);
        Ok(())
    }

    /// The option's value; `None` where finack has none of that name.
    pub(super) fn tcp_option(&mut self, os: &mut Os<'_>, name: i64) -> Result<Option<Vec<u8>>, Errno> {
        let o = in_force(self, os)?;
        let s = os.stack.settings();
        let count = |set: Option<u32>, default: u64| {
            number(set.map_or(i64::try_from(default).unwrap_or(i64::MAX), i64::from))
        };
        Ok(Some(match name {
            abi::TCP_NODELAY => number(o.nodelay.into()),
            abi::TCP_CORK => number(o.cork.into()),
            abi::TCP_QUICKACK => number(o.quickack.into()),
            abi::TCP_KEEPIDLE => seconds_of(o.keepalive_idle, s.tcp_keepalive_time),
            abi::TCP_KEEPINTVL => seconds_of(o.keepalive_interval, s.tcp_keepalive_intvl),
            abi::TCP_KEEPCNT => count(o.keepalive_count, s.tcp_keepalive_probes),
            abi::TCP_SYNCNT => count(o.syn_retries, s.tcp_syn_retries),
            abi::TCP_LINGER2 => match o.fin_wait2_timeout {
                Some(time) if time.is_zero() => number(-1),
                set => seconds_of(set, s.tcp_fin_timeout),
            },
            abi::TCP_USER_TIMEOUT => {
                number(o.user_timeout.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
            }
            abi::TCP_NOTSENT_LOWAT => {
                let bytes = o.notsent_lowat.unwrap_or(0);
                u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes().to_vec()
            }
            abi::TCP_WINDOW_CLAMP => {
                let buffer = match self.conn() {
                    Some(conn) => i64::from(os.stack.tcp_info(os.now, conn)?.rcv_buf),
                    None => 0,
                };
                number(o.window_clamp.map_or(buffer, i64::from))
            }
            abi::TCP_INQ => number(self.inq.into()),
            abi::TCP_THIN_DUPACK | abi::TCP_THIN_LINEAR_TIMEOUTS | abi::TCP_REPAIR => number(0),
            abi::TCP_ULP => Vec::new(),
            abi::TCP_FASTOPEN_KEY => {
                let keys = self.fast_open_keys.unwrap_or(os.stack.settings().fast_open_keys);
                keys.into_iter().flatten().flatten().collect()
            }
            abi::TCP_FASTOPEN_CONNECT => number(self.fast_open_connect.into()),
            abi::TCP_CONGESTION => {
                let chosen = o.congestion.unwrap_or(s.congestion).name();
                // A connection keeps what was the default when it began.
                let name = match self.conn().filter(|_| o.congestion.is_none()) {
                    Some(conn) => os.stack.tcp_info(os.now, conn)?.congestion,
                    None => chosen,
                };
                let mut name = name.as_bytes().to_vec();
                name.resize(16, 0);
                name
            }
            abi::TCP_FASTOPEN => number(o.fast_open.into()),
            abi::TCP_FASTOPEN_NO_COOKIE => number(o.fast_open_no_cookie.into()),
            abi::TCP_MAXSEG => self.segment_size(os)?,
            abi::TCP_INFO => self.info(os)?,
            _ => return Ok(None),
        }))
    }

    /// The segment size in use; before there is one, what was set or the least that everybody takes.
    fn segment_size(&self, os: &Os<'_>) -> Result<Vec<u8>, Errno> {
        let in_use = match self.conn() {
            Some(conn) => Some(os.stack.tcp_info(os.now, conn)?).filter(|i| i.state.is_synchronized()),
            None => None,
        };
        let set = self.options.max_segment.map_or(536, i64::from);
        Ok(number(in_use.map_or(set, |info| info.snd_mss.into())))
    }

    fn info(&self, os: &Os<'_>) -> Result<Vec<u8>, Errno> {
        if let Some(conn) = self.conn() {
            return Ok(info::bytes(&os.stack.tcp_info(os.now, conn)?));
        }
        let state = if matches!(self.phase, Phase::Listening(_)) { abi::TCP_LISTEN } else { abi::TCP_CLOSE };
        let mut bytes = vec![0; info::LEN];
        bytes[0] = state as u8;
        Ok(bytes)
    }
}
