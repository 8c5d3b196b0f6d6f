//! What differs between the packet that the script expects and the one that came.

use crate::ast::{Body, Flags, Icmp, Packet, Tcp, TcpOption, TcpOptions, Udp};

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which field.
    pub field: String,
    /// What the script says.
    pub expected: String,
    /// What is so.
    pub seen: String,
}

fn note<T: PartialEq + ToString>(out: &mut Vec<Difference>, field: &str, expected: T, seen: T) {
    if expected != seen {
        out.push(Difference { field: field.into(), expected: expected.to_string(), seen: seen.to_string() });
    }
}

fn said<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "none".into(), |v| v.to_string())
}

/// Every field that differs. Both are in the script's terms, where what does not matter is the same already.
/// `stamp_slack` says by how many ticks a timestamp may be off.
pub(crate) fn packets(expected: &Packet, seen: &Packet, stamp_slack: u64) -> Vec<Difference> {
    let mut out = Vec::new();
    if let Some(tos) = expected.ip.tos
        && seen.ip.tos != Some(tos)
    {
        note(&mut out, "TOS byte", expected.ip.to_string(), seen.ip.to_string());
    }
    note(&mut out, "TTL", said(expected.ip.ttl), said(seen.ip.ttl));
    match (&expected.body, &seen.body) {
        (Body::Tcp(e), Body::Tcp(s)) => segments(&mut out, e, s, stamp_slack),
        (Body::Udp(e), Body::Udp(s)) => datagrams(&mut out, e, s),
        (Body::Icmp(e), Body::Icmp(s)) => messages(&mut out, e, s),
        (e, s) => {
            let name = |body: &Body| match body {
                Body::Tcp(_) => "TCP",
                Body::Udp(_) => "UDP",
                Body::Icmp(_) => "ICMP",
            };
            note(&mut out, "protocol", name(e), name(s));
        }
    }
    out
}

fn segments(out: &mut Vec<Difference>, e: &Tcp, s: &Tcp, stamp_slack: u64) {
    note(out, "ports", said(e.ports), said(s.ports));
    if e.flags != s.flags {
        let (lost, extra) = (e.flags.bits & !s.flags.bits, s.flags.bits & !e.flags.bits);
        let letters = |bits: u16| Flags { bits, ace: e.flags.ace && bits & 0x3f != 0 }.to_string();
        let detail = match (lost, extra) {
            (0, _) => format!("flags (with {} besides)", letters(extra)),
            (_, 0) => format!("flags (without {})", letters(lost)),
            _ => format!("flags (without {}, with {})", letters(lost), letters(extra)),
        };
        note(out, &detail, e.flags.to_string(), s.flags.to_string());
    }
    note(out, "sequence number", e.seq.start, s.seq.start);
    note(out, "payload length", e.seq.len, s.seq.len);
    note(out, "ack", e.ack.unwrap_or(0), s.ack.unwrap_or(0));
    if e.win.is_some() {
        note(out, "window", said(e.win), said(s.win));
    }
    note(out, "urgent pointer", e.urg.unwrap_or(0), s.urg.unwrap_or(0));
    options(out, &e.options, &s.options, stamp_slack);
}

/// Padding at the end is one option however long it is.
fn trimmed(list: &[TcpOption]) -> &[TcpOption] {
    let end = list.iter().rposition(|o| *o != TcpOption::Eol).map_or(0, |at| at + 1);
    &list[..end]
}

fn options(out: &mut Vec<Difference>, expected: &TcpOptions, seen: &TcpOptions, stamp_slack: u64) {
    let (TcpOptions::List(e), TcpOptions::List(s)) = (expected, seen) else { return };
    let lengths = |list: &[TcpOption]| list.iter().map(TcpOption::len).sum::<usize>().next_multiple_of(4);
    let alike = |e: &TcpOption, s: &TcpOption| match (e, s) {
        (TcpOption::Ts { val: ev, ecr: ee }, TcpOption::Ts { val: sv, ecr: se }) => {
            ee == se && u64::from((ev.wrapping_sub(*sv) as i32).unsigned_abs()) <= stamp_slack
        }
        _ => e == s,
    };
    let (te, ts) = (trimmed(e), trimmed(s));
    if te.len() == ts.len() && lengths(te) == lengths(ts) && te.iter().zip(ts).all(|(e, s)| alike(e, s)) {
        return;
    }
    let shown = |list: &[TcpOption]| match list {
        [] => "none".to_owned(),
        list => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    let first = te.iter().zip(ts).find(|(e, s)| !alike(e, s)).filter(|_| te.len() == ts.len());
    match first {
        Some((e, s)) => note(out, "option", e.to_string(), s.to_string()),
        None => note(out, "options", shown(e), shown(s)),
    }
}

fn datagrams(out: &mut Vec<Difference>, e: &Udp, s: &Udp) {
    note(out, "ports", said(e.ports), said(s.ports));
    note(out, "payload length", e.len, s.len);
}

fn messages(out: &mut Vec<Difference>, e: &Icmp, s: &Icmp) {
    note(out, "ICMP type", &e.kind, &s.kind);
    note(out, "ICMP code", said(e.code.as_ref()), said(s.code.as_ref()));
    note(out, "MTU", said(e.mtu), said(s.mtu));
    note(out, "identifier", said(e.id), said(s.id));
    if e.quoted.is_some() && e.quoted != s.quoted {
        let shown =
            |icmp: &Icmp| Icmp { kind: String::new(), code: None, mtu: None, id: None, ..icmp.clone() };
        note(out, "quoted packet", shown(e).to_string(), shown(s).to_string());
    }
}
