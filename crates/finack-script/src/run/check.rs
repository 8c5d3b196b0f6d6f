//! What can be known to be wrong with a script before it is run.

use super::calls::NAMES;
use super::config::Config;
use super::report::Verdict;
use super::values::unknown_symbols;
use super::{icmp, values};
use crate::ast::{
    Action, Body, Call, Direction, Event, Nanos, Packet, Pos, Script, TcpOption, TcpOptions, When,
};

/// The latest that an event may be after the one before, or after the beginning: 100 days.
const LATEST: Nanos = 100 * 86_400 * 1_000_000_000;

/// Refuses a script that makes no sense, or needs what finack has not.
pub(crate) fn check(script: &Script, config: &Config) -> Result<(), Verdict> {
    let mut last = 0;
    for (i, event) in script.events.iter().enumerate() {
        let malformed = |what: String| Verdict::Malformed(event.pos, what);
        let latest = match event.when {
            When::Relative(at) | When::Absolute(at) => at,
            When::RelativeRange(_, at) | When::AbsoluteRange(_, at) => at,
            When::Any => 0,
        };
        let until = match &event.action {
            Action::Call(call) => call.until.unwrap_or(0),
            _ => 0,
        };
        if latest.max(until) > LATEST {
            return Err(malformed("a time of more than 100 days".into()));
        }
        match event.when {
            When::Absolute(at) | When::AbsoluteRange(at, _) => {
                if i == 0 && at != 0 {
                    return Err(malformed("the first event must be at time 0".into()));
                }
                if at < last {
                    return Err(malformed("time goes back: an event before it is later".into()));
                }
                last = at;
            }
            When::Relative(at) | When::RelativeRange(at, _) if i == 0 && at != 0 => {
                return Err(malformed("the first event must be at time 0".into()));
            }
            _ => {}
        }
        match &event.action {
            Action::Packet(packet) => check_packet(event.pos, packet, config)?,
            Action::Call(call) => check_call(event, call, config)?,
            Action::Command(_) | Action::Code(_) => {}
        }
    }
    Ok(())
}

fn check_packet(pos: Pos, packet: &Packet, config: &Config) -> Result<(), Verdict> {
    if !packet.encapsulation.is_empty() {
        return Err(Verdict::NotRun(format!(
            "line {}: packets inside other packets are not supported",
            pos.line
        )));
    }
    if let Some(changes) = &packet.changes {
        let why = format!("line {}: bytes of a packet are not changed here ({{{changes}}})", pos.line);
        return Err(Verdict::NotRun(why));
    }
    match &packet.body {
        Body::Tcp(tcp) => {
            let TcpOptions::List(options) = &tcp.options else { return Ok(()) };
            if let Some(TcpOption::Mptcp(text)) = options.iter().find(|o| matches!(o, TcpOption::Mptcp(_))) {
                return Err(Verdict::NotRun(format!("line {}: finack speaks no MPTCP ({text})", pos.line)));
            }
            let len: usize = options.iter().map(TcpOption::len).sum();
            if !len.is_multiple_of(4) {
                let what =
                    format!("the options take {len} bytes: pad them with nop or eol to a multiple of 4");
                return Err(Verdict::Malformed(pos, what));
            }
        }
        Body::Icmp(message) => {
            let v6 = config.remote_ip.is_ipv6();
            icmp::numbers(v6, &message.kind, message.code.as_deref())
                .map_err(|e| Verdict::Malformed(pos, e))?;
        }
        Body::Udp(_) => {}
    }
    if packet.direction == Direction::In && packet.ip.flow_label.is_some() && !config.remote_ip.is_ipv6() {
        return Err(Verdict::Malformed(pos, "an IPv4 packet has no flow label".into()));
    }
    Ok(())
}

fn check_call(event: &Event, call: &Call, config: &Config) -> Result<(), Verdict> {
    let malformed = |what: String| Err(Verdict::Malformed(event.pos, what));
    if !NAMES.contains(&call.name.as_str()) {
        return malformed(format!("there is no system call '{}' here", call.name));
    }
    if let (When::Absolute(at), Some(until)) = (event.when, call.until)
        && until < at
    {
        return malformed("the call returns before it is made".into());
    }
    let mut unknown = Vec::new();
    for expr in call.args.iter().chain([&call.result]) {
        unknown_symbols(expr, config, &mut unknown);
    }
    if let Some(word) = unknown.first() {
        return malformed(format!(
            "'{word}' is not a symbol that is known here (-D {word}=VALUE defines it)"
        ));
    }
    if let Some(errno) = &call.errno
        && values::symbol(errno, config).is_none()
    {
        return malformed(format!("there is no error '{errno}'"));
    }
    Ok(())
}
