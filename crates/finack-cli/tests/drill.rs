//! `finack drill` as it is used.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn drill(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_finack")).arg("drill").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap(), text(&stdout), text(&stderr))
}

const GOOD: &str = "0 < S 0:0(0) win 1000 <mss 1000>\n+0 > R. 0:0(0) ack 1\n";

fn written(directory: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_repository_s_scripts_pass_in_seconds() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    let begun = std::time::Instant::now();
    let (status, stdout, _) = drill(&["--strict", "--quiet", scripts.to_str().unwrap()]);
    assert_eq!(status, 0, "{stdout}");
    assert!(begun.elapsed().as_secs() < 10);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

#[test]
fn each_way_to_end_has_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let good = written(directory.path(), "good.pkt", GOOD);
    let bad = written(directory.path(), "bad.pkt", &GOOD.replace("ack 1", "ack 2"));
    let malformed = written(directory.path(), "malformed.pkt", "0 < S 0:1(0) win 1\n");
    let unsupported = written(directory.path(), "unsupported.pkt", &format!("`modprobe x`\n{GOOD}"));
    let (status, stdout, _) = drill(&[&good]);
    assert_eq!(status, 0, "{stdout}");
    assert!(stdout.starts_with(&format!("ok      {good}  2 events, 0 s\n1 of 1 scripts passed")), "{stdout}");
    let (status, stdout, _) = drill(&[&bad]);
    assert_eq!(status, 1);
    assert!(
        stdout.contains(&format!("{bad}:2:1: another packet than expected: the ack differs")),
        "{stdout}"
    );
    assert!(stdout.contains("finack says: reset: nobody listens on this port"), "{stdout}");
    let (status, stdout, _) = drill(&[&malformed]);
    assert_eq!(status, 2);
    assert!(stdout.contains(&format!("{malformed}:1:9: expected '0:0(0)'")), "{stdout}");
    let (status, stdout, _) = drill(&[&unsupported]);
    assert_eq!(status, 2);
    assert!(stdout.contains("the command `modprobe x` is not supported"), "{stdout}");
    // A failure weighs more than what was not run.
    assert_eq!(drill(&[&good, &bad, &malformed]).0, 1);
}

#[test]
fn for_programs_there_are_json_tap_and_junit() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), "a.pkt", GOOD);
    written(directory.path(), "b.pkt", &GOOD.replace("ack 1", "ack 2"));
    let directory = directory.path().to_str().unwrap();
    let (status, stdout, _) = drill(&["--json", directory]);
    assert_eq!(status, 1);
    let lines: Vec<serde_json::Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["verdict"], "passed");
    let failure = &lines[1]["failure"];
    assert_eq!((failure["line"].as_u64(), failure["fields"][0]["field"].as_str()), (Some(2), Some("ack")));
    assert_eq!((lines[2]["passed"].as_u64(), lines[2]["failed"].as_u64()), (Some(1), Some(1)));
    let (_, tap, _) = drill(&["--tap", directory]);
    assert!(tap.starts_with("TAP version 14\n1..2\nok 1 - ") && tap.contains("\nnot ok 2 - "), "{tap}");
    let (_, junit, _) = drill(&["--junit", directory]);
    assert!(junit.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{junit}");
    assert!(junit.contains("expected  &gt; R. 0:0(0) ack 2"), "{junit}");
}

#[test]
fn symbols_settings_and_versions_come_from_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let script = written(
        directory.path(),
        "s.pkt",
        "0 socket(..., SOCK_STREAM, PROTO) = 3\n+0 bind(3, ..., ...) = 0\n+0 listen(3, 1) = 0\n\
         +0 < S 0:0(0) win 1000 <mss 1000,sackOK,nop,nop>\n+0 > S. 0:0(0) ack 1 <...>\n",
    );
    assert_eq!(drill(&[&script]).0, 2);
    let (status, stdout, _) = drill(&["-D", "PROTO=IPPROTO_TCP", "--ip-version", "ipv4,ipv6", &script]);
    assert_eq!(status, 0, "{stdout}");
    assert!(stdout.contains("(ipv6)") && stdout.contains("2 of 2 scripts passed"), "{stdout}");
    let sack = std::fs::read_to_string(&script).unwrap().replace("<...>", "<mss 1460>");
    let script = written(directory.path(), "t.pkt", &sack);
    let (status, stdout, _) = drill(&["-D", "PROTO=6", "--sysctl", "tcp_sack=0", &script]);
    assert_eq!(status, 0, "{stdout}");
    // With an MTU of 1520 the segments of IPv6 are as large as those of IPv4.
    let both = ["-D", "PROTO=6", "--sysctl", "tcp_sack=0", "--ip-version", "ipv6", &script];
    assert_eq!(drill(&both).0, 1);
    let (status, stdout, _) = drill(&[&["-o", "mtu=1520"][..], &both[..]].concat());
    assert_eq!(status, 0, "{stdout}");
}

#[test]
fn mistakes_are_one_line_and_status_2() {
    for (arguments, says) in [
        (&["/nonexistent.pkt"][..], "/nonexistent.pkt: No such file"),
        (&["--sysctl", "tcp_sak=1", "x.pkt"], "did you mean 'net.ipv4.tcp_sack'?"),
        (&["-D", "no", "x.pkt"], "'no' is not NAME=VALUE"),
        (&["-o", "mtu=1", "x.pkt"], "--option: mtu: '1' is not a number from 68 to 65535"),
        (&["-o", "wire_client", "x.pkt"], "--option: wire_client: there is no such option"),
        (&[], "<PATHS>"),
    ] {
        let (status, _, stderr) = drill(arguments);
        assert_eq!(status, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(says) && stderr.lines().count() == 1, "{arguments:?}: {stderr}");
    }
}

/// Every `.pkt` below, by its name from `scripts` on.
fn scripts_below(directory: &Path, prefix: &str, out: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            scripts_below(&entry.path(), &format!("{name}/"), out);
        } else if name.ends_with(".pkt") {
            out.push((name, std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

#[test]
fn scripts_that_linux_fails_are_those_that_are_explained() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    let mut all = Vec::new();
    scripts_below(&scripts, "", &mut all);
    let differs = |text: &str| text.lines().any(|line| line.starts_with("// kernel: differs"));
    let mut marked: Vec<&str> = all.iter().filter(|(_, t)| differs(t)).map(|(n, _)| n.as_str()).collect();
    let text = std::fs::read_to_string(scripts.join("DIFFERENCES.md")).unwrap();
    let mut explained: Vec<&str> = text.split('`').filter(|part| part.ends_with(".pkt")).collect();
    marked.sort_unstable();
    explained.sort_unstable();
    assert_eq!(marked, explained);
}
