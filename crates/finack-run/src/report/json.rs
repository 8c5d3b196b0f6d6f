//! The report for programs: one JSON document, whose shape is versioned by `schema`.

use finack_core::stack::Refusal;
use serde_json::{Value, json};

use super::{ConnectionReport, Flow, How, Note, NoteAt, Outside, Party, Report, Side, StateAt};
use crate::services::dns::type_name;

/// Version of the document's shape. It grows when a field changes its meaning or goes away; fields that come are no
/// reason.
pub const SCHEMA: u32 = 1;

/// The document.
///
/// Times are seconds, sizes bytes of payload, addresses `ADDRESS:PORT` as text. `connections` holds the first 4096
/// connections; `totals` counts all of them.
pub fn document(report: &Report) -> Value {
    json!({
        "schema": SCHEMA,
        "finack": env!("CARGO_PKG_VERSION"),
        "elapsed": report.elapsed.as_secs_f64(),
        "totals": {
            "connections": report.total,
            "from_program": report.from_program,
            "to_program": report.to_program,
            "retransmitted": report.retransmitted,
            "endings": report.endings.iter().map(|(k, n)| (k.key().to_owned(), json!(n))).collect::<serde_json::Map<_, _>>(),
            "by_state": report.by_state.iter().map(|(s, n)| (s.to_string(), json!(n))).collect::<serde_json::Map<_, _>>(),
            "datagrams_received": report.datagrams.0,
            "datagrams_sent": report.datagrams.1,
            "lost_events": report.lost_events,
        },
        "connections": report.connections.iter().map(connection).collect::<Vec<_>>(),
        "refusals": report.refusals.iter().map(|(r, n)| json!({
            "target": r.target.to_string(), "reason": r.reason.as_str(), "count": n,
        })).collect::<Vec<_>>(),
        "notes": report.stray_notes.iter().map(|((target, note), n)| json!({
            "target": target.to_string(), "note": note, "count": n,
        })).collect::<Vec<_>>(),
        "names": report.names.iter().map(|(q, n)| json!({
            "name": q.name, "type": type_name(q.qtype), "outcome": q.outcome.to_string(), "count": n,
        })).collect::<Vec<_>>(),
        "drops": report.drops.iter().map(|(r, n)| json!({
            "reason": r.as_str(), "count": n,
        })).collect::<Vec<_>>(),
    })
}

fn connection(c: &ConnectionReport) -> Value {
    let ending = c.ending();
    json!({
        "number": c.number,
        "program": c.program.to_string(),
        "finack": c.finack.to_string(),
        "name": c.name(),
        "opened_by": c.opened_by.map(side),
        "duration": c.duration().as_secs_f64(),
        "handshake": c.handshake.map(|d| d.as_secs_f64()),
        "from_program": flow(&c.from_program),
        "to_program": flow(&c.to_program),
        "program_states": states(c, &c.program_states),
        "finack_states": states(c, &c.finack_states),
        "closes": c.closes.iter().map(|close| json!({
            "at": close.at.since(c.first).as_secs_f64(),
            "side": side(close.side),
            "how": match close.how { How::Fin => "FIN", How::Rst => "RST" },
        })).collect::<Vec<_>>(),
        "retransmits": c.retransmits.iter().map(|(r, n)| json!({
            "reason": r.as_str(), "count": n,
        })).collect::<Vec<_>>(),
        "drops": c.drops.iter().map(|(r, n)| json!({
            "reason": r.as_str(), "count": n,
        })).collect::<Vec<_>>(),
        "window_probes": c.window_probes,
        "keep_alives": c.keep_alives,
        "notes": c.notes.iter().map(|n| note(c, n)).collect::<Vec<_>>(),
        "ending": {
            "kind": ending.kind.key(),
            "what": ending.what,
            "why": ending.why,
            "section": ending.rfc,
            "reset_reason": c.reset_sent.map(|r| r.as_str()),
            "time_wait": ending.time_wait.map(side),
            "by": ending.by.map(Party::key),
            "segment": ending.segment,
            "seen_as": ending.seen_as,
            "advice": ending.advice,
        },
    })
}

/// A note: `kind` says which, the rest is its own.
fn note(c: &ConnectionReport, noted: &NoteAt) -> Value {
    let mut value = match &noted.note {
        Note::Service { name, does } => json!({ "kind": "service", "name": name, "does": does }),
        Note::Outside(outside) => match outside {
            Outside::Connected { to } => json!({ "kind": "connected", "to": to.to_string() }),
            Outside::Accepted { from } => json!({ "kind": "accepted", "from": from.to_string() }),
            Outside::Failed { error, answered } => json!({
                "kind": "failed", "error": error, "answered": match answered {
                    Refusal::Reset => "RST",
                    Refusal::Unreachable(_) => "ICMP",
                    Refusal::Silence => "nothing",
                },
            }),
            Outside::PeerClosed => json!({ "kind": "peer-closed" }),
            Outside::PeerReset => json!({ "kind": "peer-reset" }),
            Outside::Lost(error) => json!({ "kind": "lost", "error": error }),
        },
    };
    value["at"] = json!(noted.at.since(c.first).as_secs_f64());
    value
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Program => "program",
        Side::Finack => "finack",
    }
}

fn flow(flow: &Flow) -> Value {
    json!({
        "sent": flow.sent,
        "acknowledged": flow.acknowledged,
        "segments": flow.segments,
        "repeated": flow.repeated,
    })
}

fn states(c: &ConnectionReport, states: &[StateAt]) -> Vec<Value> {
    states
        .iter()
        .map(|s| json!({ "state": s.state.as_str(), "at": s.at.since(c.first).as_secs_f64() }))
        .collect()
}
