//! Whether a call's answer is the one in the script.

use finack_posix::{Address, Answer, Control, ControlData, EpollEvent, PollFd, Received, Reply, abi};

use super::{Context, Trouble, message_fields};
use crate::ast::{Call, Expr, Field};
use crate::run::compare::Difference;
use crate::run::values::{field, number, socket_address, string};

/// How a number is shown that a call returned.
fn shown(answer: &Answer) -> String {
    match answer {
        Ok(reply) => reply.returned().to_string(),
        Err(errno) => format!("-1 {errno}"),
    }
}

fn differ(field: &str, expected: impl ToString, seen: impl ToString) -> Difference {
    Difference { field: field.into(), expected: expected.to_string(), seen: seen.to_string() }
}

/// Whether the call's result is a descriptor, which may be another number here.
fn gives_descriptor(spec: &Call) -> bool {
    let duplicates = |e: &Expr| matches!(e, Expr::Word(w) if w.starts_with("F_DUPFD"));
    match spec.name.as_str() {
        "socket" | "open" | "accept" | "accept4" | "dup" | "epoll_create" | "epoll_create1" => true,
        "fcntl" => spec.args.get(1).is_some_and(duplicates),
        _ => false,
    }
}

/// What differs between the script's answer and the true one. A descriptor that the script expects is added to
/// `opened` with the true one.
pub(crate) fn differences(
    spec: &Call,
    answer: &Answer,
    ctx: &Context<'_>,
    opened: &mut Vec<(i64, finack_posix::Fd)>,
) -> Result<Vec<Difference>, Trouble> {
    let expected = match &spec.result {
        Expr::Ellipsis => None,
        result => Some(number(result, ctx.config)?),
    };
    let text = match &spec.errno {
        Some(errno) => format!("{} {errno}", spec.result),
        None => spec.result.to_string(),
    };
    match (answer, expected) {
        (Err(errno), Some(result)) => {
            let named = spec.errno.as_deref();
            let same = named.is_some_and(|name| finack_posix::Errno::from_name(name) == Some(*errno));
            // A script may leave the error's name out.
            if result == -1 && (same || named.is_none()) {
                return Ok(Vec::new());
            }
            return Ok(vec![differ("result", text, shown(answer))]);
        }
        (Ok(reply), Some(result)) => {
            let returned = reply.returned();
            if gives_descriptor(spec) && result >= 0 && returned >= 0 {
                opened.extend(finack_posix::Fd::try_from(returned).ok().map(|fd| (result, fd)));
            } else if returned != result {
                return Ok(vec![differ("result", text, shown(answer))]);
            }
        }
        (_, None) => {}
    }
    if let (Ok(Reply::Pipe(reads, writes)), Some(Expr::List(ends))) = (answer, spec.args.first()) {
        for (end, fd) in ends.iter().zip([reads, writes]) {
            opened.push((number(end, ctx.config)?, *fd));
        }
    }
    match answer {
        Ok(reply) => outputs(spec, reply, ctx),
        Err(_) => Ok(Vec::new()),
    }
}

fn outputs(spec: &Call, reply: &Reply, ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let arg = |at: usize| spec.args.get(at).filter(|e| **e != Expr::Ellipsis);
    Ok(match reply {
        Reply::Accepted(_, address) | Reply::Name(address) => {
            arg(1).map(|e| name(e, address, ctx)).transpose()?.unwrap_or_default()
        }
        Reply::Option(bytes) => arg(3).map(|e| option(spec, e, bytes, ctx)).transpose()?.unwrap_or_default(),
        Reply::Argument(value) => match arg(2) {
            Some(e) => {
                let expected = number(e, ctx.config)?;
                if expected == *value { Vec::new() } else { vec![differ("argument", expected, value)] }
            }
            None => Vec::new(),
        },
        Reply::Received(received) => received_differs(spec, received, ctx)?,
        Reply::Polled(list) => arg(0).map(|e| polled(e, list, ctx)).transpose()?.unwrap_or_default(),
        Reply::Events(events) => arg(1).map(|e| epolled(e, events, ctx)).transpose()?.unwrap_or_default(),
        Reply::Number(_) | Reply::Pipe(..) => Vec::new(),
    })
}

fn name(expr: &Expr, address: &Address, ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let expected = socket_address(expr, ctx.config)?;
    let mut out = Vec::new();
    let text = |a: Option<std::net::SocketAddr>| a.map_or_else(|| "AF_UNSPEC".into(), |a| a.to_string());
    let seen = match address {
        Address::Inet(a) => Some(*a),
        Address::Unspecified => None,
    };
    if expected != seen {
        out.push(differ("address", text(expected), text(seen)));
    }
    let Expr::Struct(fields) = expr else { return Ok(out) };
    if let Some(family) = ["sa_family", "sin_family"].iter().find_map(|name| field(fields, name)) {
        let expected = number(&family.value, ctx.config)?;
        let seen = seen.map_or(abi::AF_UNSPEC, |a| if a.is_ipv6() { abi::AF_INET6 } else { abi::AF_INET });
        if expected != seen {
            out.push(differ("sa_family", expected, seen));
        }
    }
    Ok(out)
}

fn words(bytes: &[u8]) -> Vec<i64> {
    bytes
        .chunks(4)
        .map(|c| {
            let mut word = [0; 4];
            word[..c.len()].copy_from_slice(c);
            i32::from_le_bytes(word).into()
        })
        .collect()
}

fn option(spec: &Call, expr: &Expr, bytes: &[u8], ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let mut out = Vec::new();
    match expr {
        Expr::List(items) if items.as_slice() == [Expr::Ellipsis] => {}
        Expr::List(items) => {
            let seen = words(bytes);
            let expected: Result<Vec<i64>, String> = items.iter().map(|i| number(i, ctx.config)).collect();
            // As 32 bits have them: 0xffffffff is -1.
            let expected: Vec<i64> = expected?.into_iter().map(|n| i64::from(n as i32)).collect();
            if expected.as_slice() != seen.get(..expected.len()).unwrap_or(&seen) {
                out.push(differ("value", format!("{expected:?}"), format!("{seen:?}")));
            }
        }
        Expr::Str { parts, .. } => {
            let expected = string(parts)?;
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            if expected != bytes[..end] {
                out.push(differ("value", expr, format!("{:?}", String::from_utf8_lossy(&bytes[..end]))));
            }
        }
        Expr::Struct(fields) => {
            if (ctx.number(spec, 1)?, ctx.number(spec, 2)?) == (abi::SOL_TCP, abi::TCP_INFO) {
                return info_fields(fields, ctx);
            }
            let parts: &[(&str, usize, usize)] = if ctx.number(spec, 2)? == abi::SO_LINGER {
                &[("onoff", 0, 4), ("l_onoff", 0, 4), ("linger", 4, 4), ("l_linger", 4, 4)]
            } else {
                &[("tv_sec", 0, 8), ("tv_usec", 8, 8)]
            };
            for f in fields {
                let Some((name, at, len)) = parts.iter().find(|(n, ..)| f.name.as_deref() == Some(n)) else {
                    return Err(Trouble::Unsupported(format!("the field '{f}' of a socket option")));
                };
                let mut raw = [0; 8];
                let slice = bytes.get(*at..at + len).unwrap_or(&[]);
                raw[..slice.len()].copy_from_slice(slice);
                let seen = i64::from_le_bytes(raw);
                let expected = number(&f.value, ctx.config)?;
                if expected != seen {
                    out.push(differ(name, expected, seen));
                }
            }
        }
        other => return Err(Trouble::Malformed(format!("a value was expected instead of '{other}'"))),
    }
    if let Some(len) = spec.args.get(4).filter(|e| **e != Expr::Ellipsis) {
        // The length that comes back is that of the value.
        let room = number(len, ctx.config)?;
        let count = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        if room != count && !matches!(expr, Expr::Struct(_) | Expr::Str { .. }) && room <= 16 {
            out.push(differ("value's length", room, count));
        }
    }
    Ok(out)
}

/// `{tcpi_state=TCP_ESTABLISHED, tcpi_unacked=1}`: the fields that are named are compared.
fn info_fields(fields: &[Field], ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let mut out = Vec::new();
    let info = ctx.info.as_deref().unwrap_or(&[]);
    for f in fields {
        let name = f.name.as_deref().unwrap_or_default();
        let Some(seen) = info.iter().find(|field| field.name == name).and_then(|field| field.value) else {
            return Err(Trouble::Unsupported(format!("the field '{f}' of tcp_info")));
        };
        let expected = number(&f.value, ctx.config)?;
        if i64::try_from(seen) != Ok(expected) {
            out.push(differ(name, expected, seen));
        }
    }
    Ok(out)
}

fn received_differs(spec: &Call, received: &Received, ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let mut out = Vec::new();
    if spec.name != "recvmsg" {
        if let Some(Expr::Str { parts, open }) = spec.args.get(1) {
            let expected = string(parts)?;
            let cut = expected.len().min(received.data.len());
            let same =
                if *open { received.data[..cut] == expected[..cut] } else { received.data == expected };
            if !same {
                let seen = String::from_utf8_lossy(&received.data).into_owned();
                out.push(differ("data", &spec.args[1], format!("{seen:?}")));
            }
        }
        let from = spec.args.get(4).filter(|e| spec.name == "recvfrom" && **e != Expr::Ellipsis);
        if let (Some(expected), Some(seen)) = (from, &received.from) {
            out.extend(name(expected, seen, ctx)?);
        }
        return Ok(out);
    }
    let fields = message_fields(spec)?;
    if let Some(f) = field(fields, "msg_flags").filter(|f| f.value != Expr::Ellipsis) {
        let expected = number(&f.value, ctx.config)?;
        if expected != received.flags {
            out.push(differ("msg_flags", format!("{expected:#x}"), format!("{:#x}", received.flags)));
        }
    }
    if let Some(f) = field(fields, "msg_control").filter(|f| f.value != Expr::Ellipsis) {
        let Expr::List(items) = &f.value else {
            return Err(Trouble::Malformed("msg_control takes [...]".into()));
        };
        if items.len() != received.control.len() {
            let seen: Vec<String> = received.control.iter().map(control_text).collect();
            out.push(differ("msg_control", &f.value, format!("[{}]", seen.join(", "))));
        }
        for (expected, seen) in items.iter().zip(&received.control) {
            out.extend(control(expected, seen, ctx)?);
        }
    }
    Ok(out)
}

fn control_text(c: &Control) -> String {
    format!("{{cmsg_level={}, cmsg_type={}, cmsg_data={:?}}}", c.level, c.kind, c.data)
}

fn control(expr: &Expr, seen: &Control, ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let Expr::Struct(fields) = expr else {
        return Err(Trouble::Malformed(format!("a control message was expected instead of '{expr}'")));
    };
    let mut out = Vec::new();
    let compare =
        |out: &mut Vec<Difference>, fields: &[Field], name: &str, seen: i64| -> Result<(), Trouble> {
            let Some(f) = field(fields, name).filter(|f| f.value != Expr::Ellipsis) else { return Ok(()) };
            let expected = number(&f.value, ctx.config)?;
            if expected != seen {
                out.push(differ(name, expected, seen));
            }
            Ok(())
        };
    compare(&mut out, fields, "cmsg_level", seen.level)?;
    compare(&mut out, fields, "cmsg_type", seen.kind)?;
    let Some(data) = field(fields, "cmsg_data").map(|f| &f.value).filter(|e| **e != Expr::Ellipsis) else {
        return Ok(out);
    };
    match (&seen.data, data) {
        (ControlData::Number(n), data) => {
            let expected = number(data, ctx.config)?;
            if expected != *n {
                out.push(differ("cmsg_data", expected, n));
            }
        }
        (ControlData::Extended(e) | ControlData::ExtendedFrom(e, _), Expr::Struct(fields)) => {
            for (name, value) in [
                ("ee_errno", i64::from(e.errno)),
                ("ee_origin", e.origin),
                ("ee_type", e.kind.into()),
                ("ee_code", e.code.into()),
                ("ee_info", e.info.into()),
                ("ee_data", e.data.into()),
            ] {
                compare(&mut out, fields, name, value)?;
            }
        }
        (ControlData::Time(at), Expr::Struct(fields)) => {
            let part = |name| field(fields, name).map(|f| number(&f.value, ctx.config)).transpose();
            let seconds = part("scm_sec")?.unwrap_or(0);
            let expected =
                seconds.saturating_mul(1_000_000_000).saturating_add(part("scm_nsec")?.unwrap_or(0));
            let since = i64::try_from(super::super::finack::since_start(*at)).unwrap_or(i64::MAX);
            let slack = i64::try_from(ctx.config.tolerance).unwrap_or(i64::MAX);
            if (since - expected).abs() > slack {
                out.push(differ("time stamp (ns)", expected, since));
            }
        }
        _ => out.push(differ("cmsg_data", data, control_text(seen))),
    }
    Ok(out)
}

fn polled(expr: &Expr, list: &[PollFd], ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let Expr::List(items) = expr else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (item, seen) in items.iter().zip(list) {
        let Expr::Struct(fields) = item else { continue };
        let expected = field(fields, "revents").map_or(Ok(0), |f| number(&f.value, ctx.config))?;
        if expected != seen.revents {
            out.push(differ("revents", mask(expected), mask(seen.revents)));
        }
    }
    Ok(out)
}

fn epolled(expr: &Expr, events: &[EpollEvent], ctx: &Context<'_>) -> Result<Vec<Difference>, Trouble> {
    let items = match expr {
        Expr::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut out = Vec::new();
    for (item, seen) in items.iter().zip(events) {
        let Expr::Struct(fields) = item else {
            return Err(Trouble::Malformed(format!(
                "{{events=..., fd=...}} was expected instead of '{item}'"
            )));
        };
        let expected = super::epoll_event(fields, ctx)?;
        if expected.events != seen.events {
            out.push(differ("events", mask(expected.events), mask(seen.events)));
        }
        if expected.data != seen.data {
            out.push(differ("what epoll gives back", expected.data, seen.data));
        }
    }
    Ok(out)
}

/// Bits of poll and epoll by their names.
fn mask(bits: i64) -> String {
    let known = ["IN", "PRI", "OUT", "ERR", "HUP", "RDNORM", "RDBAND", "WRNORM", "WRBAND", "RDHUP"];
    let is_set = |name: &&str| abi::lookup(&format!("POLL{name}")).is_some_and(|bit| bits & bit != 0);
    let names: Vec<String> = known.iter().filter(|n| is_set(n)).map(|n| format!("POLL{n}")).collect();
    if names.is_empty() { "0".into() } else { names.join("|") }
}
