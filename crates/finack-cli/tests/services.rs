//! The services of the private network: those of plain use do what their RFCs say, those that misbehave do it as real
//! servers do, and the report says who, what and by which segment.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{finack, have, run, run_script, settings, texts};

/// The table as the binary has it.
fn services() -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_finack")).args(["services", "--json"]).output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice::<Value>(&output.stdout).unwrap().as_array().unwrap().clone()
}

/// Those that misbehave while a connection opens or carries, by short name: curl's command line and its exit status.
fn misbehaving() -> BTreeMap<String, (String, i32)> {
    let mut all = BTreeMap::new();
    for service in services() {
        let name = service["name"].as_str().unwrap().trim_end_matches(".finack").to_owned();
        if service["misbehaves"] == true && name != "truncated-dns" {
            let exit = i32::try_from(service["exit"].as_i64().unwrap()).unwrap();
            all.insert(name, (service["command"].as_str().unwrap().to_owned(), exit));
        }
    }
    assert_eq!(all.len(), 15);
    all
}

/// A shell script that runs all commands at once and prints `NAME STATUS` of each.
fn all_at_once(commands: impl IntoIterator<Item = (String, String)>) -> String {
    let mut script = String::new();
    for (name, command) in commands {
        script += &format!("( {command} >/dev/null 2>&1 && echo {name} 0 || echo {name} $? ) &\n");
    }
    script + "wait"
}

fn statuses(out: &str) -> BTreeMap<String, i32> {
    let pair = |line: &str| {
        let (name, status) = line.split_once(' ').unwrap();
        (name.to_owned(), status.parse().unwrap())
    };
    out.lines().map(pair).collect()
}

/// The exit statuses of the same curl commands against servers of the kernel's that do the same.
fn with_real_servers() -> BTreeMap<String, i32> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/kernel_servers.py");
    let mut servers =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ports = BTreeMap::new();
    for line in BufReader::new(servers.stdout.take().unwrap()).lines() {
        let (name, port) = line.as_ref().unwrap().split_once(' ').unwrap();
        ports.insert(name.to_owned(), port.to_owned());
        if name == "blackhole" {
            break;
        }
    }
    let commands = misbehaving().into_iter().map(|(name, (command, _))| {
        let from = format!("http://{name}.finack/");
        if name == "unreachable" {
            let inside = command.replace(&from, "http://192.0.2.1/");
            let routes = "ip link set lo up; ip route add unreachable 192.0.2.1/32";
            (name, format!("unshare --user --map-root-user --net sh -c '{routes}; {inside}'"))
        } else {
            let to = format!("http://127.0.0.1:{}/", ports[&name]);
            (name, command.replace(&from, &to))
        }
    });
    let output = Command::new("sh").args(["-c", &all_at_once(commands)]).output().unwrap();
    drop(servers.stdin.take());
    servers.wait().unwrap();
    statuses(&texts(&output).0)
}

#[test]
fn programs_end_as_they_do_with_real_servers_that_misbehave_so() {
    if !have(&["curl", "python3", "ip", "unshare"]) {
        return;
    }
    let real = with_real_servers();
    let wanted: BTreeMap<String, i32> =
        misbehaving().into_iter().map(|(name, (_, exit))| (name, exit)).collect();
    assert_eq!(real, wanted, "what `finack services` says of curl's exit status");
    for setting in settings() {
        for flag in ["-4", "-6"] {
            let commands = misbehaving()
                .into_iter()
                .map(|(name, (command, _))| (name, command.replacen("curl", &format!("curl {flag}"), 1)));
            let (out, report) = run_script(setting, &all_at_once(commands));
            assert_eq!(statuses(&out), real, "{flag} {setting}: {report}");
        }
    }
}

#[test]
fn the_report_names_cause_side_and_segment() {
    if !have(&["curl"]) {
        return;
    }
    // Kind, who brought it about, by which segment the program was told.
    let wanted = BTreeMap::from([
        ("refused", ("refused", "service", Some("RST"))),
        ("unreachable", ("unreachable", "service", Some("ICMP"))),
        ("blackhole", ("unanswered", "service", None)),
        ("silent", ("in-order", "program", Some("FIN"))),
        ("reset", ("reset-by-finack", "service", Some("RST"))),
        ("unread", ("reset-by-finack", "service", Some("RST"))),
        ("empty", ("in-order", "service", Some("FIN"))),
        ("nonsense", ("in-order", "service", Some("FIN"))),
        ("slow", ("reset-by-program", "program", Some("RST"))),
        ("reset-halfway", ("reset-by-finack", "service", Some("RST"))),
        ("truncated", ("in-order", "service", Some("FIN"))),
        ("zero-window", ("still-open", "service", None)),
        ("half-closed", ("in-order", "service", Some("FIN"))),
        ("still-sending", ("reset-by-program", "program", Some("RST"))),
        ("never-closing", ("closing", "program", Some("FIN"))),
    ]);
    for setting in settings() {
        let commands = misbehaving()
            .into_iter()
            .map(|(name, (command, _))| (name, command.replacen("curl", "curl -4", 1)));
        let output = finack(setting, &["run", "--json"], &["sh", "-c", &all_at_once(commands)]);
        let report: Value = serde_json::from_slice(&output.stderr).unwrap();
        let mut seen = BTreeMap::new();
        for connection in report["connections"].as_array().unwrap() {
            let name = connection["name"].as_str().unwrap();
            let ending = &connection["ending"];
            let text = |field: &str| ending[field].as_str().unwrap_or_default().to_owned();
            let meant = format!("{name} ");
            assert!(
                text("what").contains(&meant)
                    && text("what").ends_with(", on purpose: that is what it teaches"),
                "{setting}: {connection:#}"
            );
            assert!(!text("seen_as").is_empty() && !text("advice").is_empty(), "{setting}: {connection:#}");
            let told = (text("kind"), text("by"), ending["segment"].as_str().map(str::to_owned));
            seen.insert(name.trim_end_matches(".finack").to_owned(), told);
        }
        assert_eq!(seen.len(), wanted.len(), "{setting}: {report:#}");
        for (name, (kind, by, segment)) in &wanted {
            let (got_kind, got_by, got_segment) = &seen[*name];
            assert_eq!(
                (got_kind.as_str(), got_by.as_str(), got_segment.as_deref()),
                (*kind, *by, *segment),
                "{name} {setting}"
            );
        }
    }
}

#[test]
fn echo_discard_daytime_and_chargen_answer_over_tcp_and_udp_and_both_ip_versions() {
    if !have(&["python3"]) {
        return;
    }
    let script = r"
import os, re, socket
def tcp(name, port, family):
    address = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM)[0][4]
    return socket.create_connection(address[:2], 10)
def udp(name, port, family, datagram):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.sendto(datagram, socket.getaddrinfo(name, port, family, socket.SOCK_DGRAM)[0][4])
    return s
def whole(s):
    parts = []
    while part := s.recv(65536):
        parts.append(part)
    return b''.join(parts)
for family in [socket.AF_INET, socket.AF_INET6]:
    # Smaller than the buffers on the way: sent whole before anything is read.
    data = os.urandom(20000)
    s = tcp('echo.finack', 7, family)
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    assert whole(s) == data
    s = tcp('discard.finack', 9, family)
    s.sendall(data * 20)
    s.shutdown(socket.SHUT_WR)
    assert whole(s) == b''
    now = rb'[A-Z][a-z]+day, [A-Z][a-z]+ \d+, \d{4} \d\d:\d\d:\d\d-UTC\r\n'
    assert re.fullmatch(now, whole(tcp('daytime.finack', 13, family)))
    s = tcp('chargen.finack', 19, family)
    got = b''
    while len(got) < 1000000:
        got += s.recv(65536)
    s.close()
    lines = got.split(b'\r\n')[:-1]
    assert all(len(line) == 72 for line in lines)
    assert all(a[1:] == b[:-1] for a, b in zip(lines, lines[1:]))
    for datagram in [b'', b'hello', data[:1400]]:
        assert udp('echo.finack', 7, family, datagram).recv(65536) == datagram
    assert re.fullmatch(now, udp('daytime.finack', 13, family, b'').recv(65536))
    lengths = [len(udp('chargen.finack', 19, family, b'x').recv(65536)) for _ in range(50)]
    assert max(lengths) <= 512 and len(set(lengths)) > 20, lengths
    s = udp('discard.finack', 9, family, b'hello')
    s.settimeout(0.2)
    try:
        raise SystemExit(s.recv(1))
    except TimeoutError:
        pass
print('all answered')
";
    for setting in settings() {
        let (out, report) = run(setting, &["python3", "-c", script]);
        assert_eq!(out, "all answered\n", "{setting}: {report}");
        assert!(!report.contains("SYN-RECEIVED at the end"), "{setting}: {report}");
    }
}

#[test]
fn a_half_closed_connection_carries_the_other_way() {
    if !have(&["python3"]) {
        return;
    }
    let script = r"
import socket
request = b'GET / HTTP/1.0\r\n\r\n'
def whole(s):
    parts = []
    while part := s.recv(65536):
        parts.append(part)
    return b''.join(parts)
# EOF first; what is written after it still arrives, and nobody resets anything.
s = socket.create_connection(('half-closed.finack', 80), 10)
s.sendall(request)
assert b'reads on' in whole(s)
for _ in range(100):
    s.sendall(b'more' * 1000)
s.shutdown(socket.SHUT_WR)
assert s.recv(1) == b'' and s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
# FIN first; lines go on for 3 s, and then comes EOF.
s = socket.create_connection(('still-sending.finack', 80), 10)
s.sendall(request)
s.shutdown(socket.SHUT_WR)
after = whole(s).count(b'after your FIN')
assert 20 <= after <= 31, after
print('carried')
";
    for setting in settings() {
        let (out, report) = run(setting, &["python3", "-c", script]);
        assert_eq!(out, "carried\n", "{setting}: {report}");
        assert!(report.contains("2 TCP connections (2 closed in order)"), "{setting}: {report}");
        assert!(report.contains("400 kB from the program"), "{setting}: {report}");
    }
}

#[test]
fn names_that_do_not_fit_into_a_datagram_are_asked_again_over_tcp() {
    if !have(&["curl", "python3"]) {
        return;
    }
    // RFC 7766 5: the C library does so by itself.
    let ask = r"
import socket, struct
question = struct.pack('!6H', 7, 0x100, 1, 0, 0, 0) + b'\x05hello\x06finack\x00' + struct.pack('!2H', 1, 1)
for server in ['198.18.0.153', 'fd66:696e:6163:6b00::153']:
    family = socket.AF_INET6 if ':' in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(10)
        udp.sendto(question, (server, 53))
        answer = udp.recv(512)
        print('TC' if answer[2] & 2 else 'whole', answer[7], 'answers')
    with socket.create_connection((server, 53), 10) as tcp:
        tcp.sendall(struct.pack('!H', len(question)) + question)
        length, = struct.unpack('!H', tcp.recv(2, socket.MSG_WAITALL))
        print(socket.inet_ntoa(tcp.recv(length, socket.MSG_WAITALL)[-4:]))
";
    for setting in settings() {
        let (page, report) = run(setting, &["curl", "-sS", "-4", "http://truncated-dns.finack/"]);
        assert!(page.starts_with("Hello from finack!"), "{setting}: {page}\n{report}");
        for asked in [
            "truncated-dns.finack A (cut short on purpose, to be asked again over TCP)",
            "truncated-dns.finack A (found)",
        ] {
            let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(report.contains(asked), "{setting}: {report}");
        }
        let (out, report) = run(setting, &["python3", "-c", ask]);
        assert_eq!(out, "TC 0 answers\n198.18.0.80\n".repeat(2), "{setting}: {report}");
        assert!(report.contains("truncated-dns.finack:53"), "{setting}: {report}");
    }
}

#[test]
fn datagrams_and_pings_to_nobody_are_refused_unreachable_or_lost() {
    if !have(&["python3", "ping"]) {
        return;
    }
    let script = r"
import errno, socket
for family in [socket.AF_INET, socket.AF_INET6]:
    for name in ['refused.finack', 'unreachable.finack', 'blackhole.finack']:
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(0.5)
        # IP_RECVERR, IPV6_RECVERR: without it Linux keeps soft errors to itself.
        level, option = (socket.IPPROTO_IP, 11) if family == socket.AF_INET else (socket.IPPROTO_IPV6, 25)
        s.setsockopt(level, option, 1)
        s.connect(socket.getaddrinfo(name, 9999, family, socket.SOCK_DGRAM)[0][4])
        s.send(b'anybody?')
        try:
            s.recv(1)
        except TimeoutError:
            print(name, 'silence')
        except OSError as e:
            print(name, errno.errorcode[e.errno])
";
    let wanted = "refused.finack ECONNREFUSED\nunreachable.finack EHOSTUNREACH\nblackhole.finack silence\n";
    for setting in settings() {
        let (out, report) = run(setting, &["python3", "-c", script]);
        assert_eq!(out, wanted.repeat(2), "{setting}: {report}");
        for (name, answer) in [
            ("refused", "1 received"),
            ("unreachable", "0 received, +1 errors"),
            ("blackhole", "0 received, 100% packet loss"),
        ] {
            let host = format!("{name}.finack");
            let output = finack(setting, &["run"], &["ping", "-4", "-c", "1", "-W", "1", &host]);
            let (out, report) = texts(&output);
            assert!(out.contains(answer), "{name} {setting}: {out}\n{report}");
        }
    }
}

#[test]
fn a_patient_client_gets_the_whole_slow_answer() {
    if !have(&["curl"]) {
        return;
    }
    let Some(setting) = settings().into_iter().next() else { return };
    let (out, report) = run(setting, &["curl", "-sS", "http://slow.finack/"]);
    assert_eq!(out, "Good things take time: a byte every 100 ms.\n", "{report}");
}

#[test]
fn the_list_can_be_narrowed_and_the_page_is_current() {
    let say = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_finack")).arg("services").args(arguments).output().unwrap();
        (output.status.code(), texts(&output))
    };
    let (status, (list, _)) = say(&[]);
    assert_eq!(status, Some(0));
    for service in services() {
        assert!(list.contains(service["name"].as_str().unwrap()), "{list}");
    }
    assert!(!list.contains("198.18.0.105"));
    assert!(say(&["--addresses"]).1.0.contains("198.18.0.105 and fd66:696e:6163:6b00::105"));
    let (status, (one, _)) = say(&["reset"]);
    assert!(status == Some(0) && one.starts_with("reset.finack ") && one.contains("198.18.0.105"), "{one}");
    let (status, (out, error)) = say(&["resett"]);
    assert_eq!((status, out.as_str(), error.lines().count()), (Some(1), "", 1));
    assert!(error.contains("there is no service 'resett'"), "{error}");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/services.md");
    assert_eq!(
        say(&["--markdown"]).1.0,
        std::fs::read_to_string(page).unwrap(),
        "write it anew: finack services --markdown > docs/services.md"
    );
}
