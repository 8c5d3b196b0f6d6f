//! Opening with data in the SYN (RFC 7413), on both sides.

use core::net::SocketAddr;

use super::{BindId, ConnId, Stack};
use crate::error::Error;
use crate::options::SocketOptions;
use crate::tcp::embryo::Embryo;
use crate::tcp::fast_open::{self, Form};
use crate::tcp::input::{self, Segment};
use crate::tcp::{State, Tuple};
use crate::time::Instant;
use crate::trace::TraceKind;

/// How a SYN is answered.
pub(super) enum Opening {
    /// With an embryo; its SYN,ACK gives out a cookie where the peer is to have one.
    Ordinary(Option<Form>),
    /// With a connection: the peer has proved before that it has its address.
    Early,
}

impl Stack {
    /// Connects and sends at once (MSG_FASTOPEN): with a cookie from an earlier time the data goes out with the SYN;
    /// without one the SYN asks for it, and the data follows the handshake. Answers how much of `data` was taken.
    ///
    /// The data may be delivered twice where the network doubles the SYN (RFC 7413 6.1): send so only what may be.
    ///
    /// # Errors
    /// [`Error::NotSupported`] where `tcp_fastopen` forbids it; otherwise as [`tcp_connect`](Self::tcp_connect).
    pub fn tcp_connect_with_data(
        &mut self,
        now: Instant,
        bind: Option<BindId>,
        remote: SocketAddr,
        options: SocketOptions,
        data: &[u8],
    ) -> Result<(ConnId, usize), Error> {
        if !fast_open::client_may(&self.cx.settings) {
            return Err(Error::NotSupported);
        }
        let id = self.tcp_connect(now, bind, remote, options)?;
        let (c, cx) = self.conn_mut(id)?;
        c.facts.set_fast_open(true);
        let taken = c.queue_early(cx, data);
        self.refresh(now, id.index);
        Ok((id, taken))
    }

    /// Whether data sent along with a connect to `remote` would go out with the SYN: a cookie is known.
    pub fn tcp_has_fast_open_cookie(&self, remote: SocketAddr) -> bool {
        fast_open::has_cookie(&self.cx, remote.ip().to_canonical())
    }

    /// The keys of a listener's cookies.
    pub(super) fn fast_open_keys(&self, listener: u32) -> crate::settings::FastOpenKeys {
        let own = self.listeners.get(listener).and_then(|l| l.fast_open_keys);
        own.unwrap_or(self.cx.settings.fast_open_keys)
    }

    /// Decides what a SYN gets (RFC 7413 4.2.2, Linux's `tcp_try_fastopen`).
    pub(super) fn judge_fast_open(
        &mut self,
        listener: u32,
        tuple: &Tuple,
        segment: &Segment<'_>,
        options: &SocketOptions,
    ) -> Opening {
        let offered = segment.options.fast_open;
        let form = offered.as_ref().map(Form::of);
        let cookie = offered.filter(|o| !o.is_request());
        let settings = &self.cx.settings;
        if !fast_open::server_may(settings, options.fast_open) {
            return Opening::Ordinary(None);
        }
        let has_data = !segment.payload.bytes.is_empty() || segment.flags.fin();
        let free = options.fast_open_no_cookie || fast_open::server_needs_none(settings);
        let good =
            cookie.is_some_and(|o| fast_open::is_good(&self.cx, self.fast_open_keys(listener), tuple, &o));
        if good || free && has_data {
            if self.has_room_for_early(listener, options) {
                self.cx.counters.tcp_fast_open_passive += 1;
                return Opening::Early;
            }
            self.cx.counters.tcp_fast_open_overflows += 1;
            return Opening::Ordinary(None);
        }
        if cookie.is_some() {
            self.cx.counters.tcp_fast_open_passive_fail += 1;
        } else if form.is_some() {
            self.cx.counters.tcp_fast_open_cookie_requests += 1;
        }
        // A new cookie for who asked, and for who came with a bad one.
        Opening::Ordinary(form)
    }

    /// RFC 7413 5.1: so many at most may be pending, or a flood of SYNs with replayed cookies would fill the memory.
    fn has_room_for_early(&mut self, listener: u32, options: &SocketOptions) -> bool {
        let Self { listeners, connections, .. } = self;
        let Some(l) = listeners.get_mut(listener) else { return false };
        let most = if options.fast_open > 0 { options.fast_open } else { l.backlog } as usize;
        if l.early.len() >= most {
            l.early.retain(|&(index, generation)| {
                connections
                    .get(index)
                    .is_some_and(|c| c.generation == generation && c.state == State::SynReceived)
            });
        }
        l.early.len() < most
    }

    /// Makes the connection at once; the application gets it, and the SYN's data, before the handshake is over.
    pub(super) fn open_early(&mut self, now: Instant, e: &Embryo, hash: u64, segment: &Segment<'_>) {
        let Some((index, _)) = self.connection_of(now, e) else { return };
        self.trace_received(now, Some(e.trace_id), &e.tuple, segment, 0);
        let (from, to) = (State::Listen, State::SynReceived);
        self.cx.trace(now, e.trace_id, &e.tuple, TraceKind::State { from, to });
        let Self { connections, cx, .. } = self;
        let Some(c) = connections.get_mut(index) else { return };
        c.facts.set_fast_open(true);
        c.facts.set_syn_due(true);
        input::take_syn_data(c, cx, now, segment);
        let (generation, listener) = (c.generation, e.listener);
        self.add_connection(index, hash, None);
        if let Some(l) = self.listeners.get_mut(listener) {
            l.early.push_back((index, generation));
        }
        self.refresh(now, index);
        self.offer(index, generation, listener);
    }
}
