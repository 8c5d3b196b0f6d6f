//! Packets without data on their way out, at a glance: SYN, ACK and FIN of a connection about which nothing is out of the
//! ordinary, SYN,ACKs with the usual options, and packets that are finished already. Everything else goes the long way through
//! `transmit`. Both ways come to the same.

use finack_wire::tcp::Flags;

use super::Stack;
use super::ordinary::is_ordinary;
use super::refresh::Agenda;
use super::tcp_input::offered_mss;
use super::transmit::{Decided, left_of_checksum, lend, note_sent, plain_of};
use crate::cx::Cx;
use crate::device::{Transmit, TxChecksum};
use crate::ip::Ident;
use crate::tcp::State;
use crate::tcp::embryo::Embryo;
use crate::tcp::emit::{Head, MAX_HEADERS, Plain, Usual};
use crate::tcp::output::{self, Plan};
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::time::Instant;
use crate::trace::{PacketId, SendReason};

/// A packet that is ready to be lent.
pub(super) enum Brief {
    /// The queue of packets that belong to no connection lends it.
    Raw,
    /// Nothing but headers, of so many bytes.
    Headers { len: usize, checksum: TxChecksum, number: u64 },
}

/// A segment without data.
#[derive(Clone, Copy, Debug)]
enum Control {
    /// The first SYN.
    Syn,
    Ack(SendReason),
    /// The FIN, all data being sent.
    Fin,
}

impl Stack {
    /// Writes the next packet if it is one of these. `None`: it must be decided on.
    pub(super) fn brief(&mut self, now: Instant) -> Option<Brief> {
        if !self.cx.short_cuts || self.emission.is_some() {
            return None;
        }
        if self.ip.out.is_empty() { self.control(now) } else { self.finished(now) }
    }

    /// Lends it.
    pub(super) fn lend_brief(&mut self, brief: &Brief) -> Transmit<'_> {
        self.cx.counters.ip_out_requests += 1;
        match *brief {
            Brief::Raw => self.lend_raw(self.ip.out.lent_number()),
            Brief::Headers { len, checksum, number } => lend(&self.header[..len], &[], 0, checksum, number),
        }
    }

    /// A packet that was finished before. `None`: it was for this host itself, which has it now.
    fn finished(&mut self, now: Instant) -> Option<Brief> {
        // As for every packet that is decided on.
        self.ip.out.next_number();
        self.pop_raw();
        if self.stays_here(&Decided::Raw) {
            self.loop_back(now, &Decided::Raw);
            return None;
        }
        Some(Brief::Raw)
    }

    /// What the next connection in turn has to say.
    fn control(&mut self, now: Instant) -> Option<Brief> {
        let Self { connections, cx, ip, auth, header, wheel, ready_to_send, events, .. } = self;
        let &(index, generation) = ready_to_send.front()?;
        let c = connections.get_mut(index)?;
        let fine = c.generation == generation && c.facts.indexed() && is_ordinary(c) && auth.is_empty();
        if !fine || c.path_mtu < ip.routes.mtu() {
            return None;
        }
        let control = control_of(c)?;
        let our_mss = match control {
            Control::Syn if has_usual_options(c) => Some(offered_mss(&ip.routes, &c.tuple, &c.options)),
            Control::Syn => return None,
            _ => None,
        };
        ready_to_send.pop_front();
        c.facts.set_tx_queued(false);
        output::restart_after_idle(c, cx, now);
        let number = ip.out.next_number();
        let observed = cx.tracer.is_on();
        if observed {
            cx.tracer.packet = Some(PacketId::Out(number));
        }
        let ident = &mut ip.ident;
        let mut agenda = Agenda { wheel, ready_to_send, events };
        c.stats.segs_out += 1;
        cx.counters.tcp_out_segs += 1;
        cx.counters.tcp_ordinary += 1;
        let len = match control {
            Control::Syn => {
                output::commit(c, cx, now, &Plan::Syn);
                let len = write_syn(c, cx, ident, header, now, our_mss.unwrap_or(0));
                agenda.refresh_idle(c, cx, now, index);
                len
            }
            Control::Ack(reason) => {
                let len = write(c, cx, ident, header, now, (c.snd_nxt, Flags::ACK, reason));
                agenda.refresh_sent(c, cx, now, index);
                len
            }
            Control::Fin => {
                let (start, end) = (c.snd_nxt, c.snd_nxt + 1);
                output::commit(c, cx, now, &Plan::Data { start, end });
                let len = write(c, cx, ident, header, now, (start, Flags::ACK | Flags::FIN, SendReason::Fin));
                agenda.refresh_sent(c, cx, now, index);
                len
            }
        };
        if observed {
            cx.tracer.packet = None;
        }
        Some(Brief::Headers { len, checksum: left_of_checksum(c, &cx.device), number })
    }

    /// Queues an embryo's SYN,ACK if it has the usual options and is neither observed nor signed; answers whether.
    pub(super) fn push_usual_syn_ack(&mut self, now: Instant, e: &Embryo) -> bool {
        let usual = e.agreed.timestamps && e.agreed.sack && e.agreed.scaling && !e.is_cookie;
        if !usual || !self.cx.short_cuts || self.cx.tracer.is_on() || !self.auth.is_empty() {
            return false;
        }
        let (hop_limit, tos) = self.marks_of_listener(e.listener);
        let plain = Plain {
            seq: e.iss,
            ack: e.irs.wrapping_add(1),
            flags: Embryo::FLAGS,
            window: e.window,
            urgent: 0,
            stamps: None,
            hop_limit,
            tos,
            ident: 0,
            dont_fragment: true,
        };
        let stamps = (crate::tcp::tcb::ts_clock(now).wrapping_add(e.ts_offset), e.ts_recent);
        let usual = Usual { mss: e.our_mss, window_scale: e.agreed.rcv_wscale, stamps };
        self.cx.counters.tcp_out_segs += 1;
        self.ip.out.push_headers(|out| plain.write_opening(&e.tuple, &usual, false, out));
        true
    }
}

/// What a connection that [`is_ordinary`] sends next, if that has no data and nothing has to be thought of before: what
/// [`output::next_segment`] decides on.
fn control_of(c: &Connection) -> Option<Control> {
    let facts = &c.facts;
    let probes = facts.probe_due() | facts.keepalive_due() | facts.loss_probe_due();
    let held = c.rare.as_deref().is_some_and(|rare| rare.pacer.is_some() || rare.search.is_some());
    if probes || held || c.rtx.lost() > 0 || c.recovery.holds_repeats() {
        return None;
    }
    if facts.syn_due() {
        let first = c.state == State::SynSent && c.snd_nxt == 0 && !facts.fast_open() && !facts.syn_resent();
        return first.then_some(Control::Syn);
    }
    if !c.state.is_synchronized() {
        return None;
    }
    if c.snd_nxt == c.snd_end() {
        return c.ack.now.filter(|_| c.snd_nxt <= c.snd_edge()).map(Control::Ack);
    }
    let fin = facts.fin_queued() && c.snd_nxt == c.send.end() && c.snd_nxt < c.snd_edge();
    fin.then_some(Control::Fin)
}

/// Whether our SYN has the options that nearly all have.
fn has_usual_options(c: &Connection) -> bool {
    c.agreed.timestamps && c.agreed.sack && c.agreed.scaling
}

/// Writes an ACK or a FIN, and does what goes with that; answers the length.
#[inline]
fn write(
    c: &mut Connection,
    cx: &mut Cx,
    ident: &mut Ident,
    header: &mut [u8; MAX_HEADERS],
    now: Instant,
    (from, flags, reason): (Pos, Flags, SendReason),
) -> usize {
    let window = c.advertise(cx);
    let mut plain = plain_of(c, cx, ident, from, flags, window);
    plain.stamps = c.agreed.timestamps.then(|| (c.ts_val(now), c.ts_recent));
    let written = plain.write(&c.tuple, 0, || 0, cx.device.checksum_tx, header);
    output::acknowledged(c, true);
    if cx.tracer.is_on() {
        note_sent(c, cx, now, &plain.head(&c.tuple), 0, (1, reason));
    }
    written.len()
}

/// The same of a SYN.
#[inline]
fn write_syn(
    c: &mut Connection,
    cx: &mut Cx,
    ident: &mut Ident,
    header: &mut [u8; MAX_HEADERS],
    now: Instant,
    our_mss: u16,
) -> usize {
    let window = c.syn_window(cx, our_mss);
    let plain = Plain { ack: 0, ..plain_of(c, cx, ident, 0, Flags::SYN, window) };
    let stamps = (c.ts_val(now), c.ts_recent);
    let usual = Usual { mss: our_mss, window_scale: c.agreed.rcv_wscale, stamps };
    let len = plain.write_opening(&c.tuple, &usual, cx.device.checksum_tx, header);
    if cx.tracer.is_on() {
        let head = Head { options: usual.options(), ..plain.head(&c.tuple) };
        note_sent(c, cx, now, &head, 0, (1, SendReason::Open));
    }
    len
}
