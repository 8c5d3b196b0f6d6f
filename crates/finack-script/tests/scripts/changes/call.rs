//! Calls that differ in one thing that they answer, or in one argument.

use super::Kind;
use finack_script::ast::*;

/// Expressions that differ in one number, symbol or string.
fn others(expr: &Expr) -> Vec<Expr> {
    let inside = |list: &[Expr], rebuild: &dyn Fn(Vec<Expr>) -> Expr| {
        let mut out = Vec::new();
        for (at, item) in list.iter().enumerate() {
            for other in others(item) {
                let mut list = list.to_vec();
                list[at] = other;
                out.push(rebuild(list));
            }
        }
        out
    };
    match expr {
        Expr::Ellipsis => Vec::new(),
        Expr::Int(n) => vec![Expr::Int(if *n < 0 { 0 } else { n ^ 1 })],
        Expr::Hex(n) => vec![Expr::Hex(n ^ 1)],
        Expr::Word(_) => vec![Expr::Hex(0x5555)],
        Expr::Str { parts, open } => match parts.first().and_then(|p| p.chars().next()) {
            Some(first) => {
                let mut parts = parts.clone();
                let other = if first == '1' { '2' } else { '1' };
                parts[0].replace_range(..first.len_utf8(), &other.to_string());
                vec![Expr::Str { parts, open: *open }]
            }
            None => Vec::new(),
        },
        Expr::Or(list) => (0..list.len())
            .map(|at| {
                let mut rest = list.clone();
                rest.remove(at);
                if rest.len() == 1 { rest.remove(0) } else { Expr::Or(rest) }
            })
            .collect(),
        Expr::Assign(name, value) => {
            others(value).into_iter().map(|v| Expr::Assign(name.clone(), Box::new(v))).collect()
        }
        Expr::List(list) => inside(list, &Expr::List),
        Expr::Apply(name, list) => inside(list, &|list| Expr::Apply(name.clone(), list)),
        Expr::Struct(fields) => other_fields(fields, &|_| true),
    }
}

/// The structure with one value changed, of the fields that `of` names.
fn other_fields(fields: &[Field], of: &dyn Fn(&str) -> bool) -> Vec<Expr> {
    let mut out = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        if !of(field.name.as_deref().unwrap_or_default()) {
            continue;
        }
        // Stamps may be off by the tolerance.
        let changed = match (&field.value, field.name.as_deref()) {
            (Expr::Int(n), Some("scm_nsec")) => vec![Expr::Int(n + 500_000_000)],
            (value, _) => others(value),
        };
        for value in changed {
            let mut fields = fields.to_vec();
            fields[at].value = value;
            out.push(Expr::Struct(fields));
        }
    }
    out
}

/// Which arguments hold what the call answers.
fn answered(call: &Call, at: usize) -> bool {
    match (call.name.as_str(), at) {
        // A length is asked for and answered.
        ("getsockopt" | "epoll_wait" | "getsockname" | "getpeername" | "accept", 1) => {
            call.name != "getsockopt"
        }
        ("getsockopt", 3) | ("recvfrom", 4) => true,
        // SIOCINQ and its likes answer, FIONBIO asks.
        ("ioctl", 2) => matches!(&call.args[1], Expr::Word(w) if w != "FIONBIO"),
        _ => false,
    }
}

/// The fields of a structure that hold what a call answers.
fn is_answer_field(name: &str) -> bool {
    matches!(name, "revents" | "msg_flags" | "msg_control")
}

fn with(call: &Call, at: usize, arg: Expr) -> Call {
    let mut call = call.clone();
    call.args[at] = arg;
    call
}

/// Structures in an argument with one of the fields changed that `of` names: `{...}` or `[{...}, {...}]`.
fn structures(arg: &Expr, of: &dyn Fn(&str) -> bool) -> Vec<Expr> {
    match arg {
        Expr::Struct(fields) => other_fields(fields, of),
        Expr::List(items) => {
            let mut out = Vec::new();
            for (at, item) in items.iter().enumerate() {
                for other in structures(item, of) {
                    let mut items = items.clone();
                    items[at] = other;
                    out.push(Expr::List(items));
                }
            }
            out
        }
        _ => Vec::new(),
    }
}

/// Whether structures in its arguments hold answers beside what is asked.
fn is_mixed(call: &Call) -> bool {
    matches!(call.name.as_str(), "poll" | "recvmsg")
}

/// Changes of what a call is expected to answer.
pub(crate) fn answers(call: &Call) -> Vec<(String, Kind, Call)> {
    let mut out = results(call);
    // A call that fails writes nothing, and of events only as many as there are.
    let nothing = match call.result {
        Expr::Int(n) => n < 0 || n == 0 && call.name == "epoll_wait",
        _ => false,
    };
    let kind = if nothing { Kind::NotAnswered } else { Kind::Stated };
    for (at, arg) in call.args.iter().enumerate() {
        let changed = if answered(call, at) {
            others(arg)
        } else if is_mixed(call) {
            structures(arg, &is_answer_field)
        } else {
            Vec::new()
        };
        out.extend(changed.into_iter().map(|arg| (format!("answer {arg}"), kind, with(call, at, arg))));
    }
    out
}

/// Other results, errors and times of return.
fn results(call: &Call) -> Vec<(String, Kind, Call)> {
    let mut out = Vec::new();
    let mut push = |what: &str, call| out.push((what.to_owned(), Kind::Stated, call));
    let opens = ["socket", "accept", "accept4", "dup", "open", "epoll_create", "epoll_create1"]
        .contains(&call.name.as_str());
    match &call.result {
        // Descriptors are the script's own numbers.
        Expr::Int(n) if !opens || *n < 0 => {
            let result = Expr::Int(if *n < 0 { 0 } else { n ^ 1 });
            push("result", Call { result, ..call.clone() });
        }
        Expr::Int(_) => {
            let failed = Call { result: Expr::Int(-1), errno: Some("EIO".into()), ..call.clone() };
            push("result", failed);
        }
        Expr::Hex(n) => push("result", Call { result: Expr::Hex(n ^ 1), ..call.clone() }),
        _ => {}
    }
    if let Some(errno) = &call.errno {
        let other = if errno == "EIO" { "EINVAL" } else { "EIO" };
        push("errno", Call { errno: Some(other.into()), ..call.clone() });
    }
    if let Some(until) = call.until {
        let later = until + until / 2 + 100_000_000;
        push("later", Call { until: Some(later), ..call.clone() });
        if until >= 50_000_000 {
            push("earlier", Call { until: Some(until / 2), ..call.clone() });
            push("at once", Call { until: None, ..call.clone() });
        }
    }
    out
}

/// Changes of what a call asks for.
pub(crate) fn arguments(call: &Call) -> Vec<(String, Call)> {
    let mut out = Vec::new();
    for (at, arg) in call.args.iter().enumerate() {
        let changed = if answered(call, at) {
            Vec::new()
        } else if is_mixed(call) && matches!(arg, Expr::Struct(_) | Expr::List(_)) {
            structures(arg, &|name| !is_answer_field(name))
        } else {
            others(arg)
        };
        out.extend(changed.into_iter().map(|arg| (format!("argument {arg}"), with(call, at, arg))));
    }
    out
}
