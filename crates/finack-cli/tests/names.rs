//! Names outside: the host's name servers are asked, and what becomes of them shows.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "this file needs only some of it")]
#[path = "support/own_host.rs"]
mod own_host;
#[allow(dead_code, reason = "this file needs only some of it")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use own_host::{Server, on_a_host_of_its_own};
use support::{command, finack, have, run_script, settings, texts};

const RESOLVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/resolver.py");

/// The first server refuses, the second is where systemd-resolved would be.
const TWO_SERVERS: &str =
    "nameserver 127.0.0.9\nnameserver 127.0.0.53\nsearch example\noptions timeout:1 ndots:1\n";

#[test]
fn the_hosts_name_servers_answer_over_udp_and_tcp() {
    if !have(&["dig", "getent"]) {
        return;
    }
    on_a_host_of_its_own(TWO_SERVERS, || {
        let resolver = Server::start(&[RESOLVER, "127.0.0.53"]);
        assert_eq!(resolver.said, "ready");
        for setting in settings() {
            let (out, report) = run_script(
                setting,
                "dig +short short.example; dig +tcp +short short.example; getent ahostsv4 short | head -1
                 dig +short long.example txt | tr -cd t | wc -c; dig +notcp +ignore long.example txt | grep flags:
                 dig none.example | grep -o 'status: [A-Z]*'; dig fails.example | grep -o 'status: [A-Z]*'
                 getent ahostsv4 hello.finack | head -1",
            );
            let lines: Vec<&str> = out.lines().map(str::trim).collect();
            assert_eq!(lines[..2], ["192.0.2.7"; 2], "{setting}: {out}\n{report}");
            assert!(
                lines[2].starts_with("192.0.2.7") && lines[2].ends_with("short.example"),
                "{setting}: {out}"
            );
            assert_eq!(lines[3], "3060", "{setting}: twelve strings of 255 letters, by TCP");
            assert!(lines[4].contains(" tc "), "{setting}: {}", lines[4]);
            assert_eq!(lines[5..7], ["status: NXDOMAIN", "status: SERVFAIL"], "{setting}");
            assert!(lines[7].starts_with("198.18.0.80"), "{setting}: {out}");
            let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
            for part in [
                "short.example A (found, says 127.0.0.53)",
                "long.example TXT (too long for UDP, says 127.0.0.53)",
                "none.example A (no such name, says 127.0.0.53)",
                "finack: the host's name server 127.0.0.9 does not answer (asked for short.example: nothing listens there)",
            ] {
                assert!(flat.contains(part), "{setting}: '{part}' is missing in\n{report}");
            }
            assert!(!flat.contains("name server 127.0.0.53 does not"), "{setting}: {report}");
        }
    });
}

#[test]
fn where_no_name_server_answers_the_program_knows_at_once_and_the_user_why() {
    if !have(&["getent"]) {
        return;
    }
    on_a_host_of_its_own("nameserver 127.0.0.53\n", || {
        for setting in settings() {
            let begun = Instant::now();
            let output = finack(setting, &["run"], &["getent", "ahosts", "short.example"]);
            let (out, report) = texts(&output);
            assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{setting}: getent's own status");
            assert!(begun.elapsed() < Duration::from_secs(3), "{setting}: {:?}", begun.elapsed());
            let line = "finack: the host's name server 127.0.0.53 does not answer (asked for short.example: nothing listens \
                        there); it stands in the host's /etc/resolv.conf\n";
            assert_eq!(report.matches(line).count(), 1, "{setting}: {report}");
            let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains("(no answer from the host's name servers)"), "{setting}: {report}");
        }
    });
}

/// A name server that vanishes in the middle of a run is missed, and found again when it is back.
#[test]
fn a_name_server_may_go_and_come_back() {
    if !have(&["dig"]) {
        return;
    }
    on_a_host_of_its_own("nameserver 127.0.0.53\noptions timeout:1\n", || {
        for setting in settings() {
            let dir = tempfile::tempdir().unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
            let step = |name: &str| dir.path().join(name);
            let script =
                "cd \"$0\"; dig +short short.example; touch asked; until [ -e gone ]; do sleep 0.02; done
                          dig +tries=1 short.example | grep -o 'status: [A-Z]*'; touch missed
                          until [ -e back ]; do sleep 0.02; done; dig +short short.example";
            let resolver = Server::start(&[RESOLVER, "127.0.0.53"]);
            let program = command(setting)
                .args(["run", "--device", setting.device, "--", "sh", "-c", script])
                .arg(dir.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            appears(&step("asked"));
            drop(resolver);
            fs::write(step("gone"), "").unwrap();
            appears(&step("missed"));
            let _resolver = Server::start(&[RESOLVER, "127.0.0.53"]);
            fs::write(step("back"), "").unwrap();
            let (out, report) = texts(&program.wait_with_output().unwrap());
            assert_eq!(out, "192.0.2.7\nstatus: SERVFAIL\n192.0.2.7\n", "{setting}: {report}");
        }
    });
}

fn appears(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} never appeared", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn isolated_nobody_is_asked() {
    if !have(&["dig"]) {
        return;
    }
    on_a_host_of_its_own("nameserver 127.0.0.53\n", || {
        let _resolver = Server::start(&[RESOLVER, "127.0.0.53"]);
        for setting in settings() {
            let output = finack(setting, &["run", "--isolated"], &["dig", "short.example"]);
            let (out, report) = texts(&output);
            assert!(out.contains("status: NXDOMAIN"), "{setting}: {out}");
            assert!(report.contains("outside this network"), "{setting}: {report}");
        }
    });
}
