//! TCP Fast Open (RFC 7413): data in the SYN, for those who hold a cookie.

use alloc::collections::{BTreeMap, VecDeque};
use core::net::IpAddr;
use core::time::Duration;

use finack_wire::tcp::MAX_OPTIONS_LEN;
use finack_wire::tcp_options::FastOpen;

use super::seq::Pos;
use super::tcb::Connection;
use super::{State, Tuple, mss};
use crate::cx::Cx;
use crate::hash::Key;
use crate::settings::{FastOpenKeys, Settings};
use crate::time::Instant;

/// Bits of `tcp_fastopen`.
const CLIENT: u64 = 1;
const SERVER: u64 = 2;
const CLIENT_NO_COOKIE: u64 = 4;
const SERVER_NO_COOKIE: u64 = 0x200;
const EVERY_LISTENER: u64 = 0x400;

/// Servers whose cookies are remembered; the one learned first gives way.
const MOST_SERVERS: usize = 1024;
/// SYNs with data that may be lost one after the other before data is kept out of them for a while.
const MOST_LOSSES: u8 = 1;
/// That while, doubled with each further loss.
const PAUSE: Duration = Duration::from_secs(60);

/// Which option carries the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Kind 34.
    Standard,
    /// Kind 254 with a magic number (RFC 6994), as before RFC 7413.
    Experimental,
}

impl Form {
    pub(crate) const fn of(option: &FastOpen) -> Self {
        if option.experimental { Self::Experimental } else { Self::Standard }
    }
}

/// What is known of a server.
#[derive(Clone, Debug)]
struct Server {
    cookie: Option<FastOpen>,
    /// Its MSS option.
    mss: u16,
    /// SYNs with data that went unanswered, and when the last of them did.
    losses: u8,
    lost_at: Instant,
}

/// The client's memory of servers' cookies (RFC 7413 4.1.3), bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookies {
    servers: BTreeMap<IpAddr, Server>,
    order: VecDeque<IpAddr>,
}

impl Cookies {
    fn entry(&mut self, server: IpAddr) -> &mut Server {
        if !self.servers.contains_key(&server) {
            if self.order.len() >= MOST_SERVERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.servers.remove(&oldest);
            }
            self.order.push_back(server);
        }
        self.servers.entry(server).or_insert(Server {
            cookie: None,
            mss: 0,
            losses: 0,
            lost_at: Instant::ZERO,
        })
    }

    /// Bytes that it takes.
    pub(crate) fn memory(&self) -> usize {
        self.servers.len() * (size_of::<(IpAddr, Server)>() + 16)
            + self.order.capacity() * size_of::<IpAddr>()
    }
}

/// What our SYN may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The option, where there is one.
    pub(crate) option: Option<FastOpen>,
    /// The server's MSS as it was last time, where data may go along.
    pub(crate) data: Option<u16>,
}

/// Whether a client may try.
pub(crate) const fn client_may(settings: &Settings) -> bool {
    settings.tcp_fastopen & CLIENT != 0
}

/// RFC 7413 4.1.3: with a cookie data may go along; without one it is asked for.
pub(crate) fn attempt(cx: &Cx, now: Instant, server: IpAddr, our_mss: u16) -> Attempt {
    let known = cx.cookies.servers.get(&server);
    if let Some(s) = known
        && s.losses > MOST_LOSSES
        && now.since(s.lost_at) < PAUSE * (1 << s.losses.min(16))
    {
        // RFC 7413 4.1.3.1: something on the path drops such SYNs.
        return Attempt { option: None, data: None };
    }
    if cx.settings.tcp_fastopen & CLIENT_NO_COOKIE != 0 {
        let mss = known.map_or(0, |s| s.mss);
        return Attempt { option: None, data: Some(if mss > 0 { mss } else { our_mss }) };
    }
    match known.and_then(|s| s.cookie.map(|cookie| (cookie, s.mss))) {
        Some((cookie, mss)) => {
            Attempt { option: Some(cookie), data: Some(if mss > 0 { mss } else { our_mss }) }
        }
        None => Attempt { option: Some(FastOpen::request()), data: None },
    }
}

/// Takes in what a SYN,ACK says: a cookie, and whether our SYN had to go again without its data, or its data was not taken.
pub(crate) fn learn(
    cx: &mut Cx,
    now: Instant,
    server: IpAddr,
    cookie: Option<FastOpen>,
    mss: u16,
    lost: bool,
) {
    let cookie = cookie.filter(|c| !c.is_request());
    if cookie.is_none() && !lost && !cx.cookies.servers.contains_key(&server) {
        return;
    }
    let entry = cx.cookies.entry(server);
    if mss > 0 {
        entry.mss = mss;
    }
    if cookie.is_some() {
        entry.cookie = cookie;
    }
    if lost {
        entry.losses = entry.losses.saturating_add(1);
        entry.lost_at = now;
    } else {
        entry.losses = 0;
    }
}

/// Takes in that a SYN with data was answered by an ICMP error, or by nothing at all (RFC 7413 4.1.3.1).
pub(crate) fn note_failure(cx: &mut Cx, now: Instant, c: &Connection) {
    if c.state == State::SynSent && c.facts.fast_open() && c.snd_nxt > 1 {
        learn(cx, now, c.tuple.remote, None, 0, true);
    }
}

/// Whether a client has a cookie for `server`.
pub(crate) fn has_cookie(cx: &Cx, server: IpAddr) -> bool {
    cx.cookies.servers.get(&server).is_some_and(|s| s.cookie.is_some())
}

/// Whether a listener with room for `queue` pending fast opens takes any.
pub(crate) const fn server_may(settings: &Settings, queue: u32) -> bool {
    settings.tcp_fastopen & SERVER != 0 && (queue > 0 || settings.tcp_fastopen & EVERY_LISTENER != 0)
}

/// Whether a server does without cookies.
pub(crate) const fn server_needs_none(settings: &Settings) -> bool {
    settings.tcp_fastopen & SERVER_NO_COOKIE != 0
}

/// The cookie of a client at a server (RFC 7413 4.1.2), as Linux makes it from the same key: a MAC of both addresses.
pub(crate) fn cookie(cx: &Cx, keys: FastOpenKeys, tuple: &Tuple, form: Form) -> FastOpen {
    let key = keys[0].map_or(cx.secrets.fast_open, Key::given);
    let mut option = mac(&key, tuple);
    option.experimental = form == Form::Experimental;
    option
}

/// Whether a client's cookie is good, also by the key that was in use before.
pub(crate) fn is_good(cx: &Cx, keys: FastOpenKeys, tuple: &Tuple, offered: &FastOpen) -> bool {
    let [first, second] = keys;
    let first = first.map_or(cx.secrets.fast_open, Key::given);
    let fits = |key: &Key| {
        // No byte earlier than another tells where they differ.
        let (a, b) = (mac(key, tuple), offered.cookie());
        a.cookie().len() == b.len() && a.cookie().iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y)) == 0
    };
    fits(&first) || second.is_some_and(|key| fits(&Key::given(key)))
}

fn mac(key: &Key, tuple: &Tuple) -> FastOpen {
    let mut bytes = [0; 32];
    let len = match (tuple.remote, tuple.local) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            bytes[..4].copy_from_slice(&client.octets());
            bytes[4..8].copy_from_slice(&server.octets());
            8
        }
        (client, server) => {
            let wide = |addr| match addr {
                IpAddr::V4(a) => core::net::Ipv4Addr::to_ipv6_mapped(&a).octets(),
                IpAddr::V6(a) => a.octets(),
            };
            bytes[..16].copy_from_slice(&wide(client));
            bytes[16..].copy_from_slice(&wide(server));
            32
        }
    };
    FastOpen::new(&key.of_bytes(&bytes[..len]).to_le_bytes()).unwrap_or_default()
}

impl Connection {
    /// Bytes of data that go out with our first SYN: what was written, up to a segment less the room that middleboxes
    /// may want for options of their own, as on Linux.
    pub(crate) fn early_len(&self, cx: &Cx, now: Instant) -> Pos {
        if !self.facts.fast_open() || self.state != State::SynSent {
            return 0;
        }
        let mtu = cx.device.mtu.min(self.path_mtu as usize);
        let ours = mss::offered(&self.tuple, mtu, &self.options);
        let Some(theirs) = attempt(cx, now, self.tuple.remote, ours).data else { return 0 };
        let room = usize::from(ours.min(theirs)).saturating_sub(MAX_OPTIONS_LEN);
        self.send.len().min(room) as Pos
    }

    /// Queues what goes out with the SYN or after it; answers how much was taken.
    pub(crate) fn queue_early(&mut self, cx: &mut Cx, data: &[u8]) -> usize {
        let room = self.room_for(cx, data.len());
        self.send.append(&mut cx.pool, &data[..room.bytes], (1, self.mss));
        self.took(&room, false);
        room.bytes
    }

    /// The option of our first SYN, if it tries a fast open.
    pub(crate) fn fast_open_option(&self, cx: &Cx, now: Instant, our_mss: u16) -> Option<FastOpen> {
        // What goes again goes without: perhaps the option was why nothing came back (RFC 7413 4.1.3.1).
        let tries = self.facts.fast_open() && self.state == State::SynSent && !self.facts.syn_resent();
        if tries { attempt(cx, now, self.tuple.remote, our_mss).option } else { None }
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn tuple(client: u8) -> Tuple {
        Tuple {
            local: Ipv4Addr::new(192, 168, 0, 1).into(),
            remote: Ipv4Addr::new(192, 0, 2, client).into(),
            local_port: 8080,
            remote_port: 4000,
        }
    }

    /// RFC 7413 4.1.2: the cookie is the client's own, a stranger's or one made with another key is refused, and an
    /// old key stays good beside the new one.
    #[test]
    fn a_cookie_is_bound_to_the_client_and_the_key() {
        let mut cx = crate::stack::test_cx();
        let drawn = cookie(&cx, cx.settings.fast_open_keys, &tuple(1), Form::Standard);
        assert!(
            is_good(&cx, cx.settings.fast_open_keys, &tuple(1), &drawn)
                && !is_good(&cx, cx.settings.fast_open_keys, &tuple(2), &drawn)
        );
        cx.settings.set("tcp_fastopen_key", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4").unwrap();
        let first = cookie(&cx, cx.settings.fast_open_keys, &tuple(1), Form::Standard);
        assert!(!is_good(&cx, cx.settings.fast_open_keys, &tuple(1), &drawn));
        cx.settings.set("tcp_fastopen_key", "1-2-3-4,a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4").unwrap();
        assert_ne!(cookie(&cx, cx.settings.fast_open_keys, &tuple(1), Form::Standard), first);
        assert!(is_good(&cx, cx.settings.fast_open_keys, &tuple(1), &first));
        assert!(cx.settings.set("tcp_fastopen_key", "1-2-3").is_err());
    }

    /// What is remembered is bounded (RFC 7413 4.1.3), and lost SYNs with data keep data out for a while (4.1.3.1).
    #[test]
    fn the_clients_memory_is_bounded_and_remembers_losses() {
        let mut cx = crate::stack::test_cx();
        let server = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let good = FastOpen::new(&[7; 8]);
        for n in 0..3000 {
            learn(&mut cx, Instant::ZERO, server(n), good, 1460, false);
        }
        assert_eq!((cx.cookies.servers.len(), cx.cookies.order.len()), (MOST_SERVERS, MOST_SERVERS));
        assert!(!has_cookie(&cx, server(0)) && has_cookie(&cx, server(2999)));
        let at = Instant::from_secs(5);
        for _ in 0..2 {
            assert!(attempt(&cx, at, server(2999), 1460).data.is_some());
            learn(&mut cx, at, server(2999), None, 1460, true);
        }
        assert_eq!(attempt(&cx, at, server(2999), 1460), Attempt { option: None, data: None });
        let later = at + Duration::from_secs(60 * 4);
        assert!(attempt(&cx, later, server(2999), 1460).data.is_some());
    }
}
