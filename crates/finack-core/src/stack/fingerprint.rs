//! A name for the state of a host, for searches that must know where they have been.
//!
//! A search that takes two states for one because their names are equal skips what the second would have done. So the
//! name is made of *everything* that a connection, a half-open record and a TIME-WAIT hold (their `Debug` output, which the
//! compiler keeps complete), and what is left out is left out one by one, with its reason, in [`bare`], [`bare_embryo`] and
//! [`bare_wait`]. A field that somebody adds is in the name from its first day.

use alloc::string::String;
use core::fmt::{self, Write};
use core::hash::Hasher;
use core::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::Stack;
use crate::settings::Settings;
use crate::tcp::embryo::Embryo;
use crate::tcp::listener::Listener;
use crate::tcp::tcb::{ATO_MAX, Connection, Stats, ts_clock};
use crate::tcp::time_wait::TimeWait;
use crate::tcp::{State, Tuple};
use crate::time::{Instant, MARK_CLOSE, MARK_OPEN};

/// What sequence numbers of the wire are counted from in a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Those of the host itself.
    pub sent: u32,
    /// Those of its peers.
    pub received: u32,
}

impl Stack {
    /// Equal for states that behave alike from `now` on, where all segments that are still to come are shifted by the
    /// same `origin`: points in time are told relative to `now`, timestamps relative to their clock, the numbers of the
    /// wire relative to `origin`.
    ///
    /// Left out are counters, traces, handles, how lazily timers are kept, memory that waits to be used again, and what
    /// follows from the rest (the indexes by four-tuple and port, which [`check_tables`](Self::check_tables) looks at).
    /// UDP, fragments, ICMP limits and learned path MTUs are not in it, nor settings: a search changes none of them.
    /// Nor is it foreseen that a connection's options change later.
    /// What is queued for the device or for the application must have been taken before.
    pub fn fingerprint(&self, now: Instant, origin: Origin) -> u128 {
        let mut text = Relative { out: String::with_capacity(8 << 10), now, mark: None };
        // Writing into a string does not fail.
        let _ = self.describe(&mut text, now, origin);
        let mut hasher = SipHasher13::new();
        hasher.write(text.out.as_bytes());
        hasher.finish128().as_u128()
    }

    fn describe(&self, out: &mut Relative, now: Instant, origin: Origin) -> fmt::Result {
        let limit = Duration::from_millis(self.cx.settings.tcp_invalid_ratelimit);
        // In the order of their birth: handles differ from story to story, who came before whom does not.
        let mut connections: alloc::vec::Vec<&Connection> = self.connections.iter().map(|(_, c)| c).collect();
        connections.sort_by_key(|c| c.generation);
        for c in &connections {
            if c.facts.indexed() {
                write!(out, "{:+?}", bare(c, now, origin, &self.cx.settings))?;
            } else {
                describe_ended(c, out)?;
            }
        }
        let mut embryos: alloc::vec::Vec<Embryo> = self.embryos.iter().map(|(_, e)| e).collect();
        embryos.sort_by_key(|e| key(&e.tuple));
        for e in &embryos {
            write!(out, "{:+?}{}", bare_embryo(e, now, origin, limit), e.under.is_some())?;
        }
        // Their order is that of their ends.
        for (tw, tuple) in self.waits4.iter().chain(self.waits6.iter()) {
            write!(out, "{tuple:?}{:+?}", bare_wait(&tw, now, origin, limit))?;
        }
        for (_, l) in self.listeners.iter() {
            let Listener { local, backlog, ready, embryos, cookie_at, .. } = l;
            write!(out, "{local}{backlog}{embryos}{cookie_at:+?}")?;
            for &(_, generation) in ready {
                write!(out, "{:?}", connections.iter().position(|c| c.generation == generation))?;
            }
        }
        write!(out, "{}{:?}{:+?}", self.cx.budget.used, self.cx.rng, self.cx.cookies)
    }
}

fn key(tuple: &Tuple) -> (core::net::SocketAddr, core::net::SocketAddr) {
    (tuple.local_addr(), tuple.remote_addr())
}

/// A connection without what cannot show in what it does.
fn bare(c: &Connection, now: Instant, origin: Origin, settings: &Settings) -> Connection {
    let limit = Duration::from_millis(settings.tcp_invalid_ratelimit);
    let longest_rto = Duration::from_millis(settings.tcp_rto_max_ms);
    let mut c = c.clone();
    // Handles and traces.
    (c.generation, c.trace_id) = (0, 0);
    // One entry for all timers, moved lazily; the timers themselves stay.
    c.wheel_at = Instant::FAR_FUTURE;
    c.facts.forget_wheel();
    // Told by `tcp_info` alone.
    c.times.state_since = Instant::ZERO;
    c.units.forget_times();
    // Who would have to give way at a bound that a search does not reach.
    c.facts.set_counted(false);
    c.facts.set_stuck(false);
    c.stats = Stats::default();
    if let Some(rare) = &mut c.rare {
        (rare.bytes_retrans, rare.out_of_order) = (0, 0);
        // As good as never, once it limits nothing any more.
        rare.challenge_at = rare.challenge_at.filter(|&at| now.since(at) < limit);
    }
    // That it once had something that few have.
    c.rare = c.rare.filter(|rare| rare.retrans_segs > 0 || !rare.is_over());
    if !matches!(c.state, State::SynSent | State::SynReceived) {
        c.created_at = Instant::ZERO;
    }
    // Looked at after 24 days (PAWS), and after 5 minutes (the least round trip).
    c.note_ts_recent(Instant::ZERO);
    c.rtt.forget_age();
    // Looked at by keep-alive, and while the peer's window is closed: it closes by a segment that is received then.
    if !c.options.keepalive && c.snd_wnd > 0 {
        c.times.last_recv_at = Instant::ZERO;
    }
    // With TCP_QUICKACK every ACK that is due goes at once: what would decide by how much it is delayed has no say.
    if c.options.quickack {
        (c.ack.quick, c.ack.interactive, c.ack.ato, c.ack.data_at) = (0, false, 0, Instant::ZERO);
    }
    // Longer than any time-out is as good as for ever; once the peer has closed, longer than any delay of an ACK.
    let most_delayed = Duration::from_nanos(ATO_MAX);
    let longest = if c.facts.fin_received() { most_delayed } else { longest_rto.max(most_delayed) };
    if now.since(c.ack.data_at) > longest {
        c.ack.data_at = Instant::ZERO;
    }
    c.iss = c.iss.wrapping_sub(origin.sent);
    if c.state != State::SynSent {
        c.irs = c.irs.wrapping_sub(origin.received);
    }
    let clock = c.agreed.timestamps.then(|| ts_clock(now));
    if let Some(episode) = c.rare.as_mut().and_then(|rare| rare.episode.as_mut()) {
        episode.undo.tell_relative(clock);
    }
    if c.agreed.timestamps && c.state != State::SynSent {
        c.ts_recent = c.ts_recent.wrapping_sub(ts_clock(now));
    }
    c
}

/// What a handle still shows of a connection that is over.
fn describe_ended(c: &Connection, out: &mut Relative) -> fmt::Result {
    let mut facts = c.facts;
    facts.set_peak_limited(false);
    facts.forget_wheel();
    write!(out, "ended{:?}{:?}{:?}{}{:?}{:?}", c.tuple, c.state, facts, c.auth_len, c.error, c.soft_error)?;
    write!(out, "{:+?}{:?}{:?}{:?}", c.recv, c.rare().urgent, c.rcv_fin(), c.options)
}

fn bare_embryo(e: &Embryo, now: Instant, origin: Origin, limit: Duration) -> Embryo {
    let mut e = e.clone();
    // Handles and traces; the timer runs from `sent_at`.
    (e.generation, e.trace_id, e.under) = (0, 0, None);
    // Told by `tcp_info` alone, once it is a connection.
    e.created_at = Instant::ZERO;
    // That it was answered counts for ever, when does for as long as it limits something.
    e.answered_at = e.answered_at.map(|at| if now.since(at) < limit { at } else { Instant::ZERO });
    (e.iss, e.irs) = (e.iss.wrapping_sub(origin.sent), e.irs.wrapping_sub(origin.received));
    if e.agreed.timestamps {
        e.ts_recent = e.ts_recent.wrapping_sub(ts_clock(now));
    }
    e
}

fn bare_wait(tw: &TimeWait, now: Instant, origin: Origin, limit: Duration) -> TimeWait {
    let mut tw = *tw;
    tw.trace_id = core::num::NonZeroU64::MIN;
    tw.snd_nxt = tw.snd_nxt.wrapping_sub(origin.sent);
    tw.rcv_nxt = tw.rcv_nxt.wrapping_sub(origin.received);
    if tw.flags.has(crate::tcp::time_wait::TwFlags::TIMESTAMPS) {
        tw.ts_recent = tw.ts_recent.wrapping_sub(ts_clock(now));
    }
    let since = ts_clock(now).wrapping_sub(tw.answered_ms);
    let limits = tw.answered_ms != 0 && Duration::from_millis(u64::from(since)) < limit;
    tw.answered_ms = if limits { since + 1 } else { 0 };
    tw
}

/// Text in which points in time, which come between marks, are told relative to `now`.
struct Relative {
    out: String,
    now: Instant,
    mark: Option<u64>,
}

impl Write for Relative {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match (self.mark, text) {
            (None, MARK_OPEN) => self.mark = Some(0),
            (None, _) => self.out.push_str(text),
            (Some(at), MARK_CLOSE) => {
                self.mark = None;
                match Instant::from_nanos(at) {
                    // Neither is a point in time.
                    Instant::ZERO => self.out.push('-'),
                    Instant::FAR_FUTURE => self.out.push('~'),
                    at => {
                        write!(self.out, "{}", i128::from(at.as_nanos()) - i128::from(self.now.as_nanos()))?
                    }
                }
            }
            (Some(at), digits) => {
                let more = |at: u64, digit: u8| at.wrapping_mul(10).wrapping_add(u64::from(digit & 15));
                self.mark = Some(digits.bytes().fold(at, more));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, SocketAddr};
    use core::time::Duration;

    use super::*;
    use crate::device::Capabilities;
    use crate::options::SocketOptions;
    use crate::stack::{Config, InterfaceAddress};

    /// A host that has just sent its SYN, its initial sequence number and timestamp offset by `seed`.
    fn opening(seed: u8, start: Instant) -> (Stack, Instant) {
        let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let mut settings = Settings::default();
        settings.set("ip_local_port_range", "5000 5000").unwrap();
        settings.set("tcp_timestamps", "0").unwrap();
        let mut stack = Stack::new(
            start,
            Config {
                settings,
                device: Capabilities::plain(1500),
                addresses: alloc::vec![InterfaceAddress { addr, prefix_len: 24 }],
                routes: alloc::vec![],
                any_address: false,
                seed: [seed; 32],
            },
        );
        let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 80);
        stack.tcp_connect(start, None, remote, SocketOptions::default()).unwrap();
        while stack.poll_transmit(start).is_some() {}
        (stack, start)
    }

    fn iss(stack: &Stack) -> Origin {
        let sent = stack.connections.iter().next().map_or(0, |(_, c)| c.iss);
        Origin { sent, received: 0 }
    }

    /// The same moment of the same story has one name, whenever it began and whatever the ISN.
    #[test]
    fn time_and_sequence_numbers_do_not_matter() {
        let (a, at_a) = opening(1, Instant::from_secs(1));
        let (b, at_b) = opening(1, Instant::from_secs(77));
        assert_ne!(iss(&a), iss(&b));
        assert_eq!(a.fingerprint(at_a, iss(&a)), b.fingerprint(at_b, iss(&b)));
        assert_ne!(a.fingerprint(at_a, iss(&a)), a.fingerprint(at_a + Duration::from_millis(500), iss(&a)));
        assert_ne!(
            a.fingerprint(at_a, iss(&a)),
            a.fingerprint(at_a, iss(&b)),
            "where numbers are counted from"
        );
    }

    /// Any difference in a connection that is not left out by name shows.
    #[test]
    fn what_differs_has_another_name() {
        let (stack, at) = opening(1, Instant::from_secs(1));
        let name = stack.fingerprint(at, Origin::default());
        let changed = |change: fn(&mut Connection)| {
            let mut other = stack.clone();
            other.connections.get_mut(0).map(change).unwrap();
            other.fingerprint(at, Origin::default())
        };
        assert_ne!(changed(|c| c.retries += 1), name);
        assert_ne!(changed(|c| c.snd_wl1 += 1), name);
        assert_ne!(changed(|c| c.peak.until += 1), name);
        assert_ne!(changed(|c| c.times.last_send_at = Instant::from_millis(999)), name);
        assert_eq!(changed(|c| c.trace_id += 1), name);
    }
}
