//! The command line where no private network is needed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::{Command, Output};

fn finack(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_finack")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn mistakes_get_one_line_and_status_2() {
    for (arguments, says) in [
        (&[][..], "a command is missing"),
        (&["bogus"], "unrecognized subcommand 'bogus'"),
        (&["run"], "<PROGRAM>"),
        (&["run", "--qiet", "--", "true"], "similar argument exists: '--quiet'"),
        (&["run", "--sysctl", "tcp_sak=1", "--", "true"], "did you mean 'net.ipv4.tcp_sack'?"),
        (&["run", "--sysctl", "tcp_sack=2", "--", "true"], "must lie between 0 and 1"),
        (&["run", "--sysctl", "tcp_sack", "--", "true"], "write NAME=VALUE"),
        (&["run", "--mtu", "100", "--", "true"], "100 is not in 1280..=65520"),
        (&["run", "--device", "usb", "--", "true"], "auto, tun, veth"),
        (&["run", "--publish", "80", "--", "true"], "write [ADDR:]PORT:PORT[/udp]"),
        (&["run", "--publish", "localhost:8080:80", "--", "true"], "'localhost' is no address"),
        (&["run", "--host", "localhost", "--", "true"], "always means the program's own network"),
        (&["run", "--host", "hello.finack", "--", "true"], "names in .finack are finack's own"),
        (&["completions", "tcsh"], "bash"),
    ] {
        let output = finack(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("finack: ") && stderr.contains(says), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_the_program_runs() {
    let output =
        finack(&["run", "--report", "/no/such/directory/file", "--", "touch", "/no/such/directory/x"]);
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("the report can't be written to /no/such/directory/file: No such file"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn every_setting_is_listed_with_default_range_and_meaning() {
    let all = stdout(&finack(&["sysctl"]));
    assert!(all.contains("net.ipv4.tcp_fin_timeout = 60\n    How long an orphan waits"), "{all}");
    assert!(all.contains("(1 to 3600 s)"), "{all}");
    let some = stdout(&finack(&["sysctl", "keepalive"]));
    assert_eq!(some.lines().count(), 6, "{some}");
    let json: serde_json::Value = serde_json::from_str(&stdout(&finack(&["sysctl", "--json"]))).unwrap();
    assert!(json.as_array().unwrap().len() > 50);
    assert_eq!(finack(&["sysctl", "nothing-like-it"]).status.code(), Some(1));
}

#[test]
fn help_version_completions_and_manual_go_to_stdout() {
    assert!(stdout(&finack(&["--help"])).contains("Usage: finack <COMMAND>"));
    assert!(!stdout(&finack(&["--help"])).contains("demo-client"));
    assert_eq!(stdout(&finack(&["--version"])), concat!("finack ", env!("CARGO_PKG_VERSION"), "\n"));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(stdout(&finack(&["completions", shell])).contains("finack"), "{shell}");
    }
    let manual = stdout(&finack(&["man"]));
    assert!(manual.contains(".TH finack-run 1") && manual.contains("sysctl"), "{manual}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_finack"))
        .args(["sysctl", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
