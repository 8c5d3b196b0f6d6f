//! `finack run` from outside: real programs in real private networks, as root and as an ordinary user, over both
//! devices.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Setting, command, finack, have, run, run_script, settings, texts};

/// The report of one connection that was opened and closed by the program, in order.
fn assert_closed_in_order(report: &str, setting: Setting) {
    for part in [
        "finack: 1 TCP connection (closed in order)",
        "CLOSED → SYN-SENT → ESTABLISHED → FIN-WAIT-1 → FIN-WAIT-2 → TIME-WAIT",
        "LISTEN → SYN-RECEIVED → ESTABLISHED → CLOSE-WAIT → LAST-ACK → CLOSED",
        "the program closed first (FIN), then finack (FIN)",
    ] {
        assert!(report.contains(part), "{setting}: '{part}' is missing in\n{report}");
    }
}

#[test]
fn curl_over_both_ip_versions() {
    if !have(&["curl"]) {
        return;
    }
    for setting in settings() {
        for (flag, family, address) in
            [("-4", "IPv4", "198.18.0.80:80"), ("-6", "IPv6", "[fd66:696e:6163:6b00::80]:80")]
        {
            let (page, report) = run(setting, &["curl", "-sS", flag, "http://hello.finack/"]);
            assert!(page.starts_with("Hello from finack!\n"), "{setting}: {page}");
            assert!(page.contains(&format!("to {address} over {family}")), "{setting}: {page}");
            assert!(page.contains("state          ESTABLISHED\n"), "{setting}: {page}");
            assert_closed_in_order(&report, setting);
            assert!(
                report.contains(&format!("TCP over {family}, opened by the program")),
                "{setting}: {report}"
            );
        }
    }
}

#[test]
fn the_report_shows_the_exchange() {
    if !have(&["curl"]) {
        return;
    }
    for setting in settings() {
        let (_, report) = run(setting, &["curl", "-sS", "-4", "http://hello.finack/"]);
        let syn = report.lines().position(|l| l.contains("SYN-SENT │ ─ SYN seq=0 ")).unwrap_or(usize::MAX);
        let answer =
            report.lines().position(|l| l.contains("◀") && l.contains(" SYN,ACK seq=0 ack=1 ")).unwrap_or(0);
        assert!(syn < answer, "{setting}: a ladder with SYN and SYN,ACK\n{report}");
        assert!(report.contains("names      "), "{setting}: {report}");
        assert!(report.contains("hello.finack A (found)"), "{setting}: {report}");
    }
}

#[test]
fn ping_answers() {
    if !have(&["ping"]) {
        return;
    }
    for setting in settings() {
        for flag in ["-4", "-6"] {
            let (out, _) = run(setting, &["ping", flag, "-c", "2", "-i", "0.2", "-W", "5", "hello.finack"]);
            assert!(out.contains("2 received, 0% packet loss"), "{setting}: {out}");
        }
    }
}

#[test]
fn other_clients() {
    if !have(&["wget", "python3", "nc"]) {
        return;
    }
    let python = "import urllib.request as u; print(u.urlopen('http://hello.finack/').read().decode())";
    for setting in settings() {
        let (page, _) = run(setting, &["wget", "-q", "-O", "-", "http://hello.finack/"]);
        assert!(page.starts_with("Hello from finack!\n"), "{setting}: {page}");
        let (page, _) = run_script(setting, &format!("exec $(command -v python3) -c \"{python}\""));
        assert!(page.starts_with("Hello from finack!\n"), "{setting}: {page}");
        // Half-closed after the request: the answer comes all the same.
        let (page, report) =
            run_script(setting, "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -N hello.finack 80");
        assert!(page.starts_with("HTTP/1.0 200 OK\r\n"), "{setting}: {page}");
        assert!(report.contains("closed in order"), "{setting}: {report}");
    }
}

#[test]
fn a_thousand_connections_in_a_row_and_a_hundred_at_once() {
    if !have(&["curl", "seq", "xargs"]) {
        return;
    }
    let script = "seq 1000 | xargs -I{} -P1 curl -sSf -o /dev/null http://hello.finack/\n\
                  seq 100 | xargs -I{} -P100 curl -sSf -o /dev/null http://hello.finack/";
    for setting in settings() {
        let (_, report) = run_script(setting, script);
        assert!(
            report.contains("finack: 1100 TCP connections (1100 closed in order)"),
            "{setting}: {report}"
        );
    }
}

#[test]
fn a_gibibyte_down_and_up_unchanged() {
    if !have(&["curl", "python3"]) {
        return;
    }
    let hash = "import hashlib,sys; print(hashlib.file_digest(sys.stdin.buffer, 'sha256').hexdigest())";
    let script = &format!(
        "curl -sSf http://hello.finack/sha256/1G\n\
         curl -sSf http://hello.finack/bytes/1G | python3 -c \"{hash}\"\n\
         curl -sSf http://hello.finack/bytes/1G | curl -sSf -T - http://hello.finack/upload"
    );
    for setting in settings() {
        let (out, report) = run_script(setting, script);
        let lines: Vec<&str> = out.lines().collect();
        let [wanted, got, sent] = lines[..] else { panic!("{setting}: {out}") };
        assert_eq!((wanted.len(), wanted), (64, got), "{setting}");
        assert_eq!(sent, format!("1073741824 {wanted}"), "{setting}");
        assert!(report.contains("4 closed in order"), "{setting}: {report}");
    }
}

#[test]
fn a_port_that_nobody_has_is_refused_and_the_report_says_why() {
    if !have(&["curl"]) {
        return;
    }
    for setting in settings() {
        let output = finack(setting, &["run"], &["curl", "-sS", "-4", "http://hello.finack:81/"]);
        let (_, report) = texts(&output);
        assert_eq!(output.status.code(), Some(7), "curl's own status, {setting}: {report}");
        assert!(
            report.contains("refused: finack threw the connection away (RST): nobody listens on this port"),
            "{setting}: {report}"
        );
    }
}

#[test]
fn an_abort_by_the_program_is_told_apart_from_a_close() {
    if !have(&["python3"]) {
        return;
    }
    let abort = "import socket,struct; s=socket.create_connection(('hello.finack',80)); \
                 s.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0)); s.close()";
    for setting in settings() {
        let (_, report) = run_script(setting, &format!("exec $(command -v python3) -c \"{abort}\""));
        assert!(
            report.contains("reset by the program: the program's end threw the connection away"),
            "{setting}: {report}"
        );
        assert!(report.contains("[RFC 1122 4.2.2.13]"), "{setting}: {report}");
    }
}

#[test]
fn isolated_names_and_addresses_outside_fail_at_once() {
    if !have(&["curl"]) {
        return;
    }
    for setting in settings() {
        for (url, status) in
            [("http://example.com/", 6), ("http://192.0.2.1/", 7), ("http://nobody.finack/", 6)]
        {
            let before = Instant::now();
            let output = finack(setting, &["run", "--isolated"], &["curl", "-sS", url]);
            assert_eq!(output.status.code(), Some(status), "{url} {setting}: {}", texts(&output).1);
            assert!(
                before.elapsed() < Duration::from_secs(5),
                "{url} {setting}: took {:?}",
                before.elapsed()
            );
        }
    }
}

#[test]
fn the_demo_needs_no_other_program() {
    for setting in settings() {
        let output = command(setting).args(["demo", "--device", setting.device]).output().unwrap();
        let (page, report) = texts(&output);
        assert!(output.status.success(), "{setting}: {report}");
        assert_eq!(page.matches("Hello from finack!\n").count(), 2, "over IPv4 and IPv6, {setting}: {page}");
        assert!(report.contains("finack: 2 TCP connections (2 closed in order)"), "{setting}: {report}");
    }
}

#[test]
fn the_programs_own_exit_status_is_finacks() {
    for setting in settings() {
        for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
            let output = finack(setting, &["run", "--quiet"], &["sh", "-c", script]);
            assert_eq!(output.status.code(), Some(status), "{script} {setting}");
            assert_eq!(texts(&output), (String::new(), String::new()), "{script} {setting}");
        }
    }
}

#[test]
fn what_follows_the_programs_name_is_the_programs() {
    for setting in settings() {
        let arguments =
            ["run", "--quiet", "--device", setting.device, "echo", "--quiet", "--json", "--", "-q"];
        let output = command(setting).args(arguments).output().unwrap();
        assert_eq!(texts(&output), ("--quiet --json -- -q\n".into(), String::new()), "{setting}");
    }
}

#[test]
fn a_program_that_takes_its_network_away_ends_as_usual() {
    if !have(&["ip", "timeout"]) {
        return;
    }
    // An ordinary user may not even in here.
    for setting in settings().into_iter().filter(|s| !s.ordinary) {
        let script = "ip link del finack0 && sleep 0.2; exit 7";
        let mut limited = Command::new("timeout");
        limited.args(["-s", "KILL", "60"]).arg(support::binary()).args([
            "run",
            "--device",
            setting.device,
            "--",
        ]);
        let output = limited.args(["sh", "-c", script]).output().unwrap();
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(7), "{setting}: {stderr}");
        let told = stderr.contains("the private network broke down: its device failed: ");
        assert_eq!(told, setting.device == "tun", "{setting}: {stderr}");
    }
}

#[test]
fn a_shell_gets_its_prompt_back_from_a_program_that_stops() {
    if !have(&["bash", "script", "timeout"]) {
        return;
    }
    // The terminal is there, though no stream leads to it.
    for setting in settings().into_iter().filter(|s| !s.ordinary) {
        let finack = format!("{} run -q --device {} --", support::binary().display(), setting.device);
        let script = format!(
            "{finack} sh -c 'kill -STOP $$; exit 7' </dev/null >/dev/null 2>&1; echo stopped; fg >/dev/null; echo $?"
        );
        let mut terminal = Command::new("timeout");
        terminal.args(["-s", "KILL", "60", "script", "-qec", "bash -mc \"$SCRIPT\"", "/dev/null"]);
        let output = terminal.env("SCRIPT", script).stdin(std::process::Stdio::null()).output().unwrap();
        let (screen, _) = texts(&output);
        let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
        assert!(lines.ends_with(&["stopped", "7"]), "{setting}: {screen}");
    }
}

#[test]
fn programs_that_cannot_run_get_one_line_and_the_shells_status() {
    for setting in settings() {
        for (program, status) in
            [("/no/such/program", 127), ("no-such-program", 127), ("/etc/passwd", 126), ("/", 126)]
        {
            let output = finack(setting, &["run"], &[program]);
            let (stdout, stderr) = texts(&output);
            assert_eq!(output.status.code(), Some(status), "{program} {setting}: {stderr}");
            assert!(
                stdout.is_empty() && stderr.lines().count() == 1 && stderr.contains(program),
                "{setting}: {stderr}"
            );
        }
    }
}

#[test]
fn settings_are_finacks_side_of_linuxs() {
    if !have(&["curl"]) {
        return;
    }
    for setting in settings() {
        let flags = ["run", "--sysctl", "tcp_sack=0", "--sysctl", "net.ipv4.tcp_window_scaling=0"];
        let output = finack(setting, &flags, &["curl", "-sS", "http://hello.finack/"]);
        let (page, _) = texts(&output);
        assert!(page.contains("SACK no, window scale no"), "{setting}: {page}");
    }
}

#[test]
fn the_json_report_goes_to_its_file_and_says_the_same() {
    if !have(&["curl"]) {
        return;
    }
    for setting in settings() {
        let dir = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let file = dir.path().join("report.json");
        let flags = ["run", "--json", "--report", file.to_str().unwrap()];
        let output =
            finack(setting, &flags, &["curl", "-sS", "-o", "/dev/null", "http://hello.finack/bytes/100K"]);
        assert_eq!(texts(&output), (String::new(), String::new()), "{setting}");
        let report: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(report["schema"], 1);
        assert_eq!(report["totals"]["endings"]["in-order"], 1, "{setting}: {report:#}");
        let connection = &report["connections"][0];
        assert_eq!(connection["name"], "hello.finack");
        assert_eq!(connection["closes"][0]["side"], "program", "{setting}: {report:#}");
        assert!(
            connection["to_program"]["acknowledged"].as_u64().unwrap() > 102_400,
            "{setting}: {report:#}"
        );
    }
}

#[test]
fn where_no_namespace_can_be_made_run_says_what_check_says() {
    if !have(&["unshare"]) || settings().is_empty() {
        return;
    }
    let inside = |arguments: &str| {
        let script = format!(
            "echo 0 > /proc/sys/user/max_net_namespaces && exec {} {arguments}",
            support::binary().display()
        );
        Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &script]).output().unwrap()
    };
    let check = inside("check");
    assert_eq!(check.status.code(), Some(1), "{}", texts(&check).1);
    let run = inside("run -- true");
    assert_eq!(run.status.code(), Some(125));
    assert!(texts(&run).1.contains("finack run does not work here"), "{}", texts(&run).1);
    assert_eq!(texts(&run).1, texts(&check).0);
}

#[test]
fn names_are_answered_over_udp_and_tcp_by_both_ip_versions() {
    if !have(&["python3"]) {
        return;
    }
    let script = "\
import socket, struct
question = struct.pack('!6H', 7, 0x100, 1, 0, 0, 0) + b'\\x05hello\\x06finack\\x00' + struct.pack('!2H', 1, 1)
for server in ['198.18.0.1', 'fd66:696e:6163:6b00::1']:
    family = socket.AF_INET6 if ':' in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(10)
        udp.sendto(b'too short', (server, 53))
        udp.sendto(question, (server, 53))
        print(socket.inet_ntoa(udp.recv(512)[-4:]))
    with socket.create_connection((server, 53), 10) as tcp:
        for _ in range(2):
            tcp.sendall(struct.pack('!H', len(question)) + question)
            length, = struct.unpack('!H', tcp.recv(2, socket.MSG_WAITALL))
            print(socket.inet_ntoa(tcp.recv(length, socket.MSG_WAITALL)[-4:]))
";
    for setting in settings() {
        let (out, report) = run(setting, &["python3", "-c", script]);
        assert_eq!(out, "198.18.0.80\n".repeat(6), "{setting}");
        assert!(report.contains("6 questions: 6 × hello.finack A (found)"), "{setting}: {report}");
    }
}
