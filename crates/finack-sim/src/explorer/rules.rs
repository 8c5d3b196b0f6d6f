//! What must hold: the transitions of the state machine, and what applications are told.

use finack_core::Error;
use finack_core::tcp::State;
use finack_core::trace::ResetReason;

use super::app::{App, Farewell, Phase, Record};

use State::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived, SynSent,
    TimeWait,
};

/// Where a transition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// From.
    pub from: State,
    /// To.
    pub to: State,
    /// Whether it is drawn in figure 5 of RFC 9293.
    pub figure: bool,
    /// Where it is written.
    pub source: &'static str,
}

const fn figure(from: State, to: State, source: &'static str) -> Rule {
    Rule { from, to, figure: true, source }
}

const fn text(from: State, to: State, source: &'static str) -> Rule {
    Rule { from, to, figure: false, source }
}

/// Every transition that a connection may make. LISTEN is a listener's, which stays: what comes of it begins in
/// SYN-RECEIVED, and where that ends by a RST "return to LISTEN" shows as its end.
pub const RULES: &[Rule] = &[
    figure(Closed, SynSent, "figure 5: active OPEN"),
    figure(Listen, SynReceived, "figure 5: rcv SYN, snd SYN,ACK"),
    figure(SynSent, SynReceived, "figure 5: rcv SYN, snd SYN,ACK (simultaneous open)"),
    figure(SynSent, Established, "figure 5: rcv SYN,ACK, snd ACK"),
    figure(SynSent, Closed, "figure 5: CLOSE, delete TCB; 3.10.7.3: a RST; 3.8.3: R2"),
    figure(SynReceived, Established, "figure 5: rcv ACK of SYN"),
    figure(SynReceived, FinWait1, "figure 5: CLOSE, snd FIN"),
    figure(Established, FinWait1, "figure 5: CLOSE, snd FIN"),
    figure(Established, CloseWait, "figure 5: rcv FIN, snd ACK"),
    figure(FinWait1, FinWait2, "figure 5: rcv ACK of FIN"),
    figure(FinWait1, Closing, "figure 5: rcv FIN, snd ACK"),
    figure(FinWait2, TimeWait, "figure 5: rcv FIN, snd ACK"),
    figure(Closing, TimeWait, "figure 5: rcv ACK of FIN"),
    figure(CloseWait, LastAck, "figure 5: CLOSE, snd FIN"),
    figure(LastAck, Closed, "figure 5: rcv ACK of FIN, delete TCB"),
    figure(
        TimeWait,
        Closed,
        "figure 5: timeout=2MSL, delete TCB; TIME-WAIT gives way: MAY-2; a RST: 3.10.7.4",
    ),
    text(FinWait1, TimeWait, "RFC 9293 3.10.7.4, eighth: a FIN that comes with the ACK of ours"),
    text(SynReceived, CloseWait, "RFC 9293 3.10.7.4, eighth: a FIN in SYN-RECEIVED"),
    text(
        SynReceived,
        Closed,
        "RFC 9293 3.10.7.4, second: a RST (figure 5 note 1: back to LISTEN); 3.8.3: R2; ABORT",
    ),
    text(Established, Closed, "RFC 9293 3.10.7.4, second: a RST; 3.10.5: ABORT; 3.8.3: R2"),
    text(
        FinWait1,
        Closed,
        "RFC 9293 3.10.7.4, second: a RST; 3.10.5: ABORT; 3.8.3: R2; 3.6.1: data after CLOSE",
    ),
    text(
        FinWait2,
        Closed,
        "RFC 9293 3.10.7.4, second: a RST; 3.10.5: ABORT; 3.6.1: data after CLOSE; Linux's fin_timeout",
    ),
    text(
        CloseWait,
        Closed,
        "RFC 9293 3.10.7.4, second: a RST; 3.10.5: ABORT; RFC 1122 4.2.2.13: unread data; 3.8.3: R2",
    ),
    text(Closing, Closed, "RFC 9293 3.10.7.4, second: a RST; 3.8.3: R2"),
];

/// Whether `to` may follow `from`.
pub(crate) fn may_follow(from: State, to: State) -> bool {
    RULES.iter().any(|r| r.from == from && r.to == to)
}

/// RSTs whose sender has a reason to end what its peer takes for open; others only follow from a crash or from these.
const TRUTHFUL: &[ResetReason] = &[
    ResetReason::Abort,
    ResetReason::AbortRepeated,
    ResetReason::UnreadData,
    ResetReason::DataAfterClose,
    ResetReason::ListenerClosed,
    ResetReason::Overflow,
    ResetReason::TimedOut,
    ResetReason::FinWait2,
    ResetReason::Orphan,
    ResetReason::WindowClosed,
];

/// Whether an application was told what is not so, `me` by what it knows and `peer` by what it did.
pub(crate) fn judge(me: &App, peer: &App) -> Option<String> {
    for (number, mine) in (1_u8..).zip(&me.records) {
        if mine.phase == Phase::Unborn {
            continue;
        }
        let wrong = stream(number, mine, me, peer)
            .or_else(|| end(number, mine, peer))
            .or_else(|| linger(number, mine, peer))
            .or_else(|| error(number, mine, me, peer));
        if wrong.is_some() {
            return wrong;
        }
    }
    None
}

/// Whose bytes were read, or wait to be.
fn stream(number: u8, mine: &Record, me: &App, peer: &App) -> Option<String> {
    let mut known = candidates(number, mine, peer).peekable();
    if known.peek().is_some() && known.all(|(_, theirs)| mine.arrived > theirs.sent) {
        return Some(format!(
            "connection #{number} was given {} bytes, and its peer wrote fewer: an old segment",
            mine.arrived
        ));
    }
    if mine.from == 0 {
        return None;
    }
    let theirs = peer.records.get(usize::from(mine.from) - 1)?;
    if mine.got > theirs.sent {
        return Some(format!(
            "connection #{number} read {} bytes of {} that were written",
            mine.got, theirs.sent
        ));
    }
    if mine.peers != 0 && mine.peers >> mine.from & 1 == 0 {
        return Some(format!(
            "connection #{number} was given bytes of connection #{}, which is not its peer: an old segment",
            mine.from
        ));
    }
    if theirs.from != 0 && theirs.from != number {
        return Some(format!(
            "connection #{number} was given bytes of connection #{}, whose peer is #{}: an old segment",
            mine.from, theirs.from
        ));
    }
    let twice = (1_u8..).zip(&me.records).find(|(n, r)| *n != number && r.from == mine.from);
    twice.map(|(n, _)| {
        format!("bytes of connection #{} were delivered twice: to connections #{number} and #{n}", mine.from)
    })
}

/// Connections of the other host that may be the other end.
fn candidates<'a>(number: u8, mine: &'a Record, peer: &'a App) -> impl Iterator<Item = (u8, &'a Record)> {
    (1_u8..).zip(&peer.records).filter(move |(n, theirs)| {
        theirs.phase != Phase::Unborn
            && (mine.from == 0 || mine.from == *n)
            && (theirs.from == 0 || theirs.from == number)
            && (mine.peers == 0 || mine.peers >> n & 1 == 1)
            && (theirs.peers == 0 || theirs.peers >> number & 1 == 1)
    })
}

/// "The stream has ended": the peer said so, and all of it was read.
fn end(number: u8, mine: &Record, peer: &App) -> Option<String> {
    if !mine.eof || mine.error.is_some() {
        return None;
    }
    let mut known = candidates(number, mine, peer).peekable();
    let told = known.peek().is_some() && known.all(|(_, theirs)| !theirs.fin || theirs.sent != mine.got);
    told.then(|| {
        format!(
            "connection #{number} was told that the stream has ended after {} bytes: it has not",
            mine.got
        )
    })
}

/// "All arrived": it did.
fn linger(number: u8, mine: &Record, peer: &App) -> Option<String> {
    if mine.farewell != Farewell::LingerDone {
        return None;
    }
    let mut known = candidates(number, mine, peer).peekable();
    let told =
        known.peek().is_some() && known.all(|(_, theirs)| theirs.arrived < mine.sent || !theirs.fin_arrived);
    told.then(|| format!("close of connection #{number} was told that all arrived: it has not"))
}

/// An error has a cause on the other side.
fn error(number: u8, mine: &Record, me: &App, peer: &App) -> Option<String> {
    let error = mine.error?;
    let sent = |reason: &ResetReason| {
        ResetReason::ALL.iter().position(|r| r == reason).is_some_and(|at| peer.resets >> at & 1 == 1)
    };
    let caused = peer.crashed || me.crashed || peer.gave_up || TRUTHFUL.iter().any(sent);
    let true_enough = match error {
        Error::ConnectionReset => caused,
        // After an error of its own, or where the application has closed its end itself.
        Error::BrokenPipe => caused || mine.fin,
        // Nobody was there to listen.
        Error::ConnectionRefused => caused || peer.resets != 0,
        Error::TimedOut => peer.crashed || peer.gave_up,
        _ => false,
    };
    (!true_enough).then(|| format!("connection #{number} was told '{error}', for which there is no cause"))
}
