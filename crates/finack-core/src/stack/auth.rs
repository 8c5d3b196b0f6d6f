//! Signed segments between the tables: whose keys check what comes in and sign what goes out.

use alloc::boxed::Box;
use alloc::sync::Arc;

use finack_wire::icmp::{ErrorKind, Unreachable};
use finack_wire::tcp::HEADER_LEN;

use super::{ConnId, ListenerId, Stack};
use crate::auth::{
    AuthInfo, Isns, Keys, Mark, Received, Scheme, Signed, Signer, Tag, extension, isns_of, mark,
    received_extension, verify_ao, verify_md5,
};
use crate::demux::{Kind, Slot};
use crate::error::Error;
use crate::settings::Profile;
use crate::tcp::embryo::Embryo;
use crate::tcp::emit::Head;
use crate::tcp::input::Segment;
use crate::tcp::seq;
use crate::tcp::tcb::Connection;
use crate::tcp::{State, Tuple};
use crate::time::Instant;
use crate::trace::{DropReason, TraceKind};

/// How a segment goes out that belongs to no full connection, or resets one.
enum Protection {
    Plain,
    Signed(Signer),
    /// It would have to be signed, and cannot be.
    Withheld,
}

/// Who a received segment is for.
enum Whose {
    Connection(u32),
    Embryo(u32),
    TimeWait(Slot),
    Listener(u32),
    Nobody,
}

impl Stack {
    /// Sets the keys of a connection: those of `keys` that name its peer, for everything that is sent and received from
    /// now on. To have the SYN signed, call it between `tcp_connect` and the next `poll_transmit`.
    ///
    /// MD5 keys come, change and go at any time. Whether TCP-AO is in use is decided by the SYN (RFC 5925 7.4): later
    /// the set of keys may change, but not become empty, and the key in use goes only where `keys` names another. With
    /// keys set a fast open (RFC 7413) is not tried: its option and a signature do not fit one SYN.
    ///
    /// # Errors
    /// `KeyRejected` where the connection can't do without the keys that `keys` lacks, or can't begin TCP-AO any more;
    /// `BadHandle`.
    pub fn tcp_set_keys(&mut self, now: Instant, id: ConnId, keys: &Keys) -> Result<(), Error> {
        let (c, cx) = (self.connections.get_mut(id.index), &self.cx);
        let c = c.filter(|c| c.is_held_by(id)).ok_or(Error::BadHandle)?;
        let mine = keys.of_peer(c.tuple.remote);
        let fresh = c.state == State::SynSent && c.snd_nxt == 0;
        let old = self.auth.connections.remove(&id.index);
        let new = match old {
            Some(old) if !fresh && old.scheme == Scheme::Ao => match replaced(old, mine, c) {
                Ok(signed) => Some(signed),
                Err(old) => {
                    self.auth.connections.insert(id.index, old);
                    return Err(Error::KeyRejected);
                }
            },
            _ if !mine.ao_keys().is_empty() && !fresh => return Err(Error::KeyRejected),
            _ => Signed::new(mine, c.tuple.remote, isns_of(c)).map(Box::new),
        };
        if new.is_none() && fresh && (keys.ao_required || !keys.ao_keys().is_empty()) {
            return Err(Error::KeyRejected);
        }
        c.auth_len = new.as_ref().map_or(0, |signed| signed.option_len(c.tuple.remote));
        if fresh && new.is_some() {
            c.facts.set_fast_open(false);
            // As Linux: timestamps leave no room for a SACK block beside a digest.
            c.agreed.timestamps &= new.as_ref().is_some_and(|signed| signed.scheme == Scheme::Ao);
        }
        c.fit_segments(cx);
        if let Some(signed) = new {
            self.auth.connections.insert(id.index, signed);
        }
        self.refresh(now, id.index);
        Ok(())
    }

    /// The keys of a connection: those that name its peer.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_keys(&self, id: ConnId) -> Result<Keys, Error> {
        self.conn(id)?;
        Ok(self.auth.connections.get(&id.index).map_or_else(Keys::new, |signed| signed.keys.clone()))
    }

    /// What TCP-AO did on a connection, and the keys in use (RFC 5925 7.1).
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_auth_info(&self, id: ConnId) -> Result<AuthInfo, Error> {
        self.conn(id)?;
        let Some(signed) = self.auth.connections.get(&id.index) else { return Ok(AuthInfo::default()) };
        let (current, rnext) = match signed.scheme {
            Scheme::Ao => (Some(signed.current), Some(signed.rnext)),
            Scheme::Md5 => (None, None),
        };
        Ok(AuthInfo { current, rnext, ..signed.info })
    }

    /// Sets the keys that a listener checks openings with, and hands to the connections that it accepts. Those that
    /// exist keep theirs.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_set_listener_keys(&mut self, id: ListenerId, keys: &Keys) -> Result<(), Error> {
        self.listener_ref(id)?;
        // An opening that began signed does not go on unsigned: for its sake even no keys are kept.
        let began = |e: &Embryo| e.listener == id.index && e.tag.is_signed();
        if keys.is_empty() && !self.embryos.iter().any(|(_, e)| began(&e)) {
            self.auth.listeners.remove(&id.index);
        } else {
            self.auth.listeners.insert(id.index, Arc::new(keys.clone()));
        }
        Ok(())
    }

    /// Whether a segment is signed as it must be. Where it is not, it was dropped and counted: nothing answers it
    /// (RFC 2385 2.0, RFC 5925 7.3).
    pub(super) fn authentic(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        segment: &Segment<'_>,
        bytes: &[u8],
    ) -> bool {
        let o = &segment.options;
        let marked = o.md5.is_some() || o.ao.is_some() || o.unknown > 0 || o.malformed;
        if !marked && self.auth.is_empty() {
            return true;
        }
        let header = bytes.get(..bytes.len() - segment.payload.bytes.len()).unwrap_or(bytes);
        let whose = self.whose(tuple, segment);
        let verdict = match mark(header.get(HEADER_LEN..).unwrap_or(&[])) {
            None => Err(DropReason::AuthMalformed),
            Some(Mark::None) if self.auth.is_empty() => Ok(()),
            Some(found) => self.judge_signature(tuple, segment, header, &whose, found),
        };
        let Err(reason) = verdict else { return true };
        let id = match whose {
            Whose::Connection(index) => self.connections.get(index).map(|c| c.trace_id),
            Whose::Embryo(index) => self.embryos.get(index).map(|e| e.trace_id),
            Whose::TimeWait(slot) => self.time_wait(slot).map(|(tw, _)| tw.trace_id.get()),
            Whose::Listener(_) | Whose::Nobody => None,
        };
        self.trace_received(now, id, tuple, segment, 0);
        let len = segment.payload.bytes.len();
        match id {
            Some(id) => {
                self.cx.counters.count_drop(reason);
                self.cx.trace(now, id, tuple, TraceKind::Dropped { reason, len: len as u32 });
            }
            None => self.note_drop(now, reason, len, Self::ends(tuple)),
        }
        false
    }

    fn whose(&self, tuple: &Tuple, segment: &Segment<'_>) -> Whose {
        let hash = self.hash(tuple);
        let listener =
            || self.listener_index.find(tuple.local, tuple.local_port, hash, |i| self.listeners.get(i));
        let opens = segment.flags.syn() && !segment.flags.ack();
        match self.find(hash, tuple) {
            Some(slot) => match (slot.kind(), listener().filter(|_| opens)) {
                (Kind::Connection, _) => Whose::Connection(slot.index()),
                (Kind::Embryo, _) => Whose::Embryo(slot.index()),
                // A SYN may begin a new connection.
                (_, Some(listener)) => Whose::Listener(listener),
                _ => Whose::TimeWait(slot),
            },
            None => listener().map_or(Whose::Nobody, Whose::Listener),
        }
    }

    fn judge_signature(
        &mut self,
        tuple: &Tuple,
        segment: &Segment<'_>,
        header: &[u8],
        whose: &Whose,
        found: Mark,
    ) -> Result<(), DropReason> {
        let flags = segment.flags;
        let (options, payload) = (&segment.options, segment.payload.bytes);
        let mut received = Received { flags, options, header, payload, sne: 0 };
        let opens = flags.syn() && !flags.ack();
        let claimed = |ours| Isns { ours, theirs: Some(segment.seq) };
        match *whose {
            Whose::Connection(index) => {
                let Some(c) = self.connections.get_mut(index) else { return Ok(()) };
                let Some(signed) = self.auth.connections.get_mut(&index) else {
                    return self.unsigned(found);
                };
                let unsettled = c.state == State::SynSent;
                let isns = if unsettled || opens { claimed(c.iss) } else { isns_of(c) };
                if !flags.syn() && !unsettled {
                    received.sne = received_extension(c.irs, c.rcv_nxt(), segment.seq);
                }
                signed.judge(tuple, isns, !unsettled, found, &received)?;
                let len = signed.option_len(tuple.remote);
                if core::mem::replace(&mut c.auth_len, len) != len {
                    c.fit_segments(&self.cx);
                }
                Ok(())
            }
            Whose::TimeWait(slot) => {
                let Some(signed) = self.auth.waits.get_mut(&slot) else { return self.unsigned(found) };
                let isns = if opens { claimed(signed.isns.ours) } else { signed.isns };
                if let (Some(irs), Some(ended), false) = (signed.isns.theirs, signed.ended, flags.syn()) {
                    received.sne = received_extension(irs, ended.rcv_nxt, segment.seq);
                }
                signed.judge(tuple, isns, true, found, &received)
            }
            Whose::Embryo(index) => {
                let Some(e) = self.embryos.get(index) else { return Ok(()) };
                let isns = if opens { claimed(e.iss) } else { Isns { ours: e.iss, theirs: Some(e.irs) } };
                if !flags.syn() {
                    received.sne = received_extension(e.irs, 1, segment.seq);
                }
                self.judge_by_listener(e.listener, tuple, isns, found, &received)
            }
            Whose::Listener(listener) => {
                let (irs, iss) = (segment.seq.wrapping_sub(1), segment.ack.wrapping_sub(1));
                // An ACK may answer a cookie: then both ISNs stand just before its numbers.
                let isns = if opens { claimed(0) } else { Isns { ours: iss, theirs: Some(irs) } };
                if !flags.syn() {
                    received.sne = extension(irs, 1);
                }
                self.judge_by_listener(listener, tuple, isns, found, &received)
            }
            Whose::Nobody => match (found, self.keys_of_the_lost(tuple)) {
                (Mark::Md5, Some(keys)) => {
                    let key = keys.md5_for(tuple.remote).ok_or(DropReason::Md5Unexpected)?;
                    verify_md5(&key.secret, tuple, &received)
                }
                _ => self.unsigned(found),
            },
        }
    }

    fn judge_by_listener(
        &self,
        listener: u32,
        tuple: &Tuple,
        isns: Isns,
        found: Mark,
        received: &Received<'_>,
    ) -> Result<(), DropReason> {
        let Some(keys) = self.auth.listeners.get(&listener) else { return self.unsigned(found) };
        let peer = tuple.remote;
        let (md5, ao) = (keys.md5_for(peer), keys.ao_by_recv_id(peer, None));
        match (found, received.options.ao) {
            (Mark::None, _) if ao.is_some() || keys.ao_required => Err(DropReason::AoMissing),
            (Mark::None, _) if md5.is_some() => Err(DropReason::Md5Missing),
            (Mark::Md5, _) => match md5 {
                Some(key) => verify_md5(&key.secret, tuple, received),
                None => Err(DropReason::Md5Unexpected),
            },
            (Mark::Ao, Some(option)) if ao.is_some() => {
                let key = keys.ao_by_recv_id(peer, Some(option.key_id)).ok_or(DropReason::AoUnknownKey)?;
                verify_ao(key, None, tuple, isns, received)
            }
            // A segment that only MD5 could vouch for is not taken for its TCP-AO.
            (Mark::Ao, _) if md5.is_some() || keys.ao_required => Err(DropReason::AoUnexpected),
            _ => self.unsigned(found),
        }
    }

    /// No key is set for the peer. RFC 5925 7.3 would have TCP-AO ignored then, Linux drops such segments.
    fn unsigned(&self, found: Mark) -> Result<(), DropReason> {
        let settings = &self.cx.settings;
        let accepts = match settings.tcp_ao_unmatched {
            0 => false,
            1 => true,
            _ => settings.profile == Profile::Rfc,
        };
        match found {
            Mark::Md5 => Err(DropReason::Md5Unexpected),
            Mark::Ao if !accepts => Err(DropReason::AoUnexpected),
            _ => Ok(()),
        }
    }

    /// Keys for a segment whose connection is gone: those of who listens on this port, or of who listens on the port
    /// that the peer's end has, as routers do that open to each other.
    fn keys_of_the_lost(&self, tuple: &Tuple) -> Option<&Keys> {
        let hash = self.hash(tuple);
        let on = |port| self.listener_index.find(tuple.local, port, hash, |i| self.listeners.get(i));
        let of = |port| on(port).and_then(|listener| self.auth.listeners.get(&listener));
        of(tuple.local_port).or_else(|| of(tuple.remote_port)).map(|keys| &**keys)
    }

    /// How the opening that a segment begins, or completes by a cookie, is signed.
    pub(super) fn tag_of(&self, listener: u32, tuple: &Tuple, segment: &Segment<'_>) -> Tag {
        let Some(keys) = self.auth.listeners.get(&listener) else { return Tag::Unsigned };
        if let Some(option) = segment.options.ao {
            let Some(used) = keys.ao_by_recv_id(tuple.remote, Some(option.key_id)) else {
                return Tag::Unsigned;
            };
            // RFC 5925 7.5 step 2.e: the key that the peer asks for, where we have it.
            let asked = keys.ao_by_send_id(tuple.remote, Some(option.rnext_key_id));
            return Tag::Ao { send_id: asked.unwrap_or(used).send_id, recv_id: option.key_id };
        }
        if keys.md5_for(tuple.remote).is_some() { Tag::Md5 } else { Tag::Unsigned }
    }

    /// The state of the connection that an embryo becomes.
    pub(super) fn signed_of(&self, e: &Embryo) -> Option<Box<Signed>> {
        let keys = self.auth.listeners.get(&e.listener)?;
        let mut keys = keys.of_peer(e.tuple.remote);
        match e.tag {
            Tag::Unsigned => return None,
            Tag::Md5 => {}
            Tag::Ao { send_id, recv_id } => (keys.current, keys.rnext) = (Some(send_id), Some(recv_id)),
        }
        let isns = Isns { ours: e.iss, theirs: Some(e.irs) };
        Signed::new(keys, e.tuple.remote, isns).map(Box::new)
    }

    /// Puts the state beside its connection, which has just got its place.
    pub(super) fn keep_signed(&mut self, index: u32, signed: Option<Box<Signed>>) {
        if let Some(signed) = signed {
            self.auth.connections.insert(index, signed);
        }
    }

    /// Who signs a segment without payload, if anybody does. `None`: it would have to be signed, and cannot be.
    pub(super) fn protect(&mut self, head: &Head) -> Option<Option<Signer>> {
        if self.auth.is_empty() {
            return Some(None);
        }
        match self.protection(head) {
            Protection::Plain => Some(None),
            Protection::Signed(signer) => Some(Some(signer)),
            Protection::Withheld => None,
        }
    }

    fn protection(&mut self, head: &Head) -> Protection {
        let (tuple, flags) = (head.tuple, head.flags);
        let signed = |signer: Option<Signer>| signer.map_or(Protection::Withheld, Protection::Signed);
        let Some(slot) = self.find(self.hash(&tuple), &tuple) else {
            let key = self.keys_of_the_lost(&tuple).and_then(|keys| keys.md5_for(tuple.remote));
            return key.map_or(Protection::Plain, |k| Protection::Signed(Signer::Md5(k.secret.clone())));
        };
        match slot.kind() {
            Kind::Connection => {
                let Some(c) = self.connections.get(slot.index()) else { return Protection::Plain };
                let Some(state) = self.auth.connections.get_mut(&slot.index()) else {
                    return Protection::Plain;
                };
                let sne = extension(c.iss, seq::expand(c.iss, c.snd_nxt, head.seq));
                signed(state.signer(&tuple, isns_of(c), flags, sne))
            }
            Kind::Embryo => {
                let Some(e) = self.embryos.get(slot.index()) else { return Protection::Plain };
                signed(match (e.tag, self.auth.listeners.get(&e.listener)) {
                    (Tag::Unsigned, _) => return Protection::Plain,
                    (_, None) => None,
                    (Tag::Md5, Some(keys)) => {
                        keys.md5_for(tuple.remote).map(|k| Signer::Md5(k.secret.clone()))
                    }
                    (Tag::Ao { send_id, recv_id }, Some(keys)) => {
                        let key = keys.ao_by_send_id(tuple.remote, Some(send_id));
                        key.map(|key| Signer::of_opening(key, &tuple, e.iss, e.irs, recv_id))
                    }
                })
            }
            Kind::TimeWait4 | Kind::TimeWait6 => {
                let Some(state) = self.auth.waits.get_mut(&slot) else { return Protection::Plain };
                let (isns, near) = (state.isns, state.ended.map_or(1, |ended| ended.snd_nxt));
                let sne = extension(isns.ours, seq::expand(isns.ours, near, head.seq));
                signed(state.signer(&tuple, isns, flags, sne))
            }
        }
    }

    /// RFC 5925 7.8: hard errors, which nobody signs, are not believed on a connection that TCP-AO protects.
    pub(super) fn ignores_icmp(&mut self, index: u32, kind: ErrorKind) -> bool {
        let Some(c) = self.connections.get(index).filter(|c| c.auth_len > 0) else { return false };
        let Some(signed) = self.auth.connections.get_mut(&index) else { return false };
        let hard = match kind {
            ErrorKind::FragNeeded { .. } => !c.tuple.is_v6(),
            ErrorKind::Unreachable(code) => match code {
                Unreachable::Port => true,
                Unreachable::Protocol => !c.tuple.is_v6(),
                Unreachable::AdminProhibited => c.tuple.is_v6(),
                _ => false,
            },
            _ => false,
        };
        let opening = matches!(c.state, State::SynSent | State::SynReceived);
        let ignored = hard && !opening && signed.scheme == Scheme::Ao && !signed.keys.accept_icmp;
        signed.info.icmp_ignored += u64::from(ignored);
        ignored
    }
}

impl Signed {
    fn judge(
        &mut self,
        tuple: &Tuple,
        isns: Isns,
        settled: bool,
        found: Mark,
        received: &Received<'_>,
    ) -> Result<(), DropReason> {
        match (self.scheme, found) {
            (Scheme::Md5, Mark::Md5) => match self.keys.md5_for(tuple.remote) {
                Some(key) => verify_md5(&key.secret, tuple, received),
                None => Err(DropReason::Md5Unexpected),
            },
            (Scheme::Md5, Mark::None) => Err(DropReason::Md5Missing),
            (Scheme::Md5, Mark::Ao) => Err(DropReason::AoUnexpected),
            (Scheme::Ao, Mark::Ao) => self.verify(tuple, isns, settled, received),
            (Scheme::Ao, Mark::Md5) => Err(DropReason::Md5Unexpected),
            (Scheme::Ao, Mark::None) => {
                self.info.missing += 1;
                Err(DropReason::AoMissing)
            }
        }
    }
}

/// A connection with TCP-AO gets other keys: those in use must be among them, or others be named. Gives the old state
/// back where that is not so.
fn replaced(mut old: Box<Signed>, keys: Keys, c: &Connection) -> Result<Box<Signed>, Box<Signed>> {
    let peer = c.tuple.remote;
    let current = keys.current.unwrap_or(old.current);
    let rnext = keys.rnext.unwrap_or(old.rnext);
    if keys.ao_by_send_id(peer, Some(current)).is_none() || keys.ao_by_recv_id(peer, Some(rnext)).is_none() {
        return Err(old);
    }
    old.replace_keys(keys);
    (old.current, old.rnext) = (current, rnext);
    Ok(old)
}
