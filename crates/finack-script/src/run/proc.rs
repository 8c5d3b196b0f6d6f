//! The stack as files of `/proc`, for programs that look there: settings, sockets, counters.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use finack_core::settings::{Congestion, Settings};
use finack_core::stack::{SocketCursor, TcpSocket};
use finack_core::{Instant, Stack};
use finack_posix::info;

/// Most places of the stack's tables that are looked at.
const MOST_PLACES: usize = 1 << 16;

/// Every setting by its dotted name; one of several numbers has them in a row.
pub(crate) fn sysctls(settings: &Settings) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for setting in Settings::ALL {
        let value = settings.get(setting.name).unwrap_or_default().to_string();
        let base = setting.name.split('[').next().unwrap_or(setting.name);
        match out.last_mut() {
            Some((name, values)) if name == base => {
                values.push('\t');
                values.push_str(&value);
            }
            _ => out.push((base.to_owned(), value)),
        }
    }
    let word = |bytes: &[u8]| bytes.iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
    let key = |key: [u8; 16]| key.chunks(4).map(word).collect::<Vec<_>>().join("-");
    let first = settings.fast_open_keys[0].unwrap_or_default();
    out.push(("net.ipv4.tcp_fastopen_key".into(), key(first)));
    out.push(("net.ipv4.tcp_congestion_control".into(), settings.congestion.name().into()));
    let allowed: Vec<_> = settings.allowed_congestion.names().collect();
    out.push(("net.ipv4.tcp_allowed_congestion_control".into(), allowed.join(" ")));
    out.push(("net.ipv4.tcp_available_congestion_control".into(), Congestion::NAMES.join(" ")));
    out
}

/// Files by their names below `/proc`.
pub(crate) fn files(stack: &Stack, now: Instant) -> Vec<(String, String)> {
    let title =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    let (mut v4, mut v6) = (title.to_owned(), title.to_owned());
    let mut number = 0;
    let mut cursor = SocketCursor::default();
    stack.tcp_sockets(now, &mut cursor, MOST_PLACES, |socket| {
        let out = if socket.local.is_ipv6() { &mut v6 } else { &mut v4 };
        let _ = writeln!(out, "{number:4}: {}", line(&socket));
        number += 1;
    });
    vec![
        ("net/tcp".into(), v4),
        ("net/tcp6".into(), v6),
        ("net/snmp".into(), table(&[("Tcp", &tcp_counters(stack))])),
        ("net/netstat".into(), table(&[("TcpExt", &more_counters(stack)), ("IpExt", &[])])),
        ("net/snmp6".into(), String::new()),
        ("uptime".into(), "1000.00 1000.00\n".into()),
    ]
}

/// An address as the kernel shows it: words of 32 bits in the machine's order.
fn address(at: SocketAddr) -> String {
    let octets: Vec<u8> = match at.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let word = |w: &[u8]| w.iter().rev().map(|b| format!("{b:02X}")).collect::<String>();
    format!("{}:{:04X}", octets.chunks(4).map(word).collect::<String>(), at.port())
}

fn line(socket: &TcpSocket) -> String {
    let nobody = if socket.local.is_ipv6() { [0; 16].into() } else { IpAddr::from([0; 4]) };
    let remote = socket.remote.unwrap_or(SocketAddr::new(nobody, 0));
    format!(
        "{} {} {:02X} {:08X}:{:08X} 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0",
        address(socket.local),
        address(remote),
        info::state_number(socket.state),
        socket.send_queue,
        socket.recv_queue
    )
}

/// Two lines for each group: the names, and the values.
fn table(groups: &[(&str, &[(&str, u64)])]) -> String {
    let mut out = String::new();
    for (group, counters) in groups.iter().filter(|(_, counters)| !counters.is_empty()) {
        let names: Vec<&str> = counters.iter().map(|(name, _)| *name).collect();
        let values: Vec<String> = counters.iter().map(|(_, value)| value.to_string()).collect();
        let _ = writeln!(out, "{group}: {}\n{group}: {}", names.join(" "), values.join(" "));
    }
    out
}

fn tcp_counters(stack: &Stack) -> [(&'static str, u64); 8] {
    let c = stack.counters();
    [
        ("ActiveOpens", c.tcp_active_opens),
        ("PassiveOpens", c.tcp_passive_opens),
        ("AttemptFails", c.tcp_attempt_fails),
        ("EstabResets", c.tcp_estab_resets),
        ("InSegs", c.tcp_in_segs),
        ("OutSegs", c.tcp_out_segs),
        ("RetransSegs", c.tcp_retrans_segs),
        ("OutRsts", c.tcp_out_rsts),
    ]
}

/// Those of Linux's further counters that finack counts the same way.
fn more_counters(stack: &Stack) -> [(&'static str, u64); 14] {
    let c = stack.counters();
    [
        ("SyncookiesSent", c.tcp_syn_cookies_sent),
        ("SyncookiesRecv", c.tcp_syn_cookies_received),
        ("SyncookiesFailed", c.tcp_syn_cookies_failed),
        ("DelayedACKs", c.tcp_delayed_acks),
        ("ListenOverflows", c.tcp_listen_overflows),
        ("TCPTimeouts", c.tcp_timeouts),
        ("TCPChallengeACK", c.tcp_challenge_acks),
        ("TCPFastOpenActive", c.tcp_fast_open_active),
        ("TCPFastOpenActiveFail", c.tcp_fast_open_active_fail),
        ("TCPFastOpenPassive", c.tcp_fast_open_passive),
        ("TCPFastOpenPassiveFail", c.tcp_fast_open_passive_fail),
        ("TCPFastOpenCookieReqd", c.tcp_fast_open_cookie_requests),
        ("TCPFastOpenListenOverflow", c.tcp_fast_open_overflows),
        ("TCPOFOQueue", c.tcp_out_of_order),
    ]
}
