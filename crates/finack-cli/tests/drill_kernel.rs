//! `finack drill --kernel`: scripts against the kernel of this machine. Without network namespaces or TUN the tests say
//! that they were skipped; with `FINACK_REQUIRE_NETNS=1` they fail.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(dead_code, reason = "the support of all tests has more than these need")]

mod support;

use std::path::Path;

use support::{Setting, command, required, settings, skip, texts};

/// As root and as an ordinary user, as far as the machine allows it.
fn who() -> Vec<Setting> {
    settings().into_iter().filter(|s| s.device == "tun").collect()
}

fn drill(setting: Setting, arguments: &[&str]) -> (i32, String, String) {
    let output = command(setting).args(["drill", "--kernel"]).args(arguments).output().unwrap();
    let (stdout, stderr) = texts(&output);
    (output.status.code().unwrap(), stdout, stderr)
}

/// A directory that every user may read.
fn directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn written(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Calls that return at once and that block, data both ways, assertions, a sysctl and UDP.
const QUICK: [&str; 8] = [
    "open/active.pkt",
    "open/blocking-accept.pkt",
    "open/passive.pkt",
    "open/refused.pkt",
    "open/unreachable.pkt",
    "options/sysctls.pkt",
    "reset/in-the-window.pkt",
    "udp/exchange.pkt",
];

#[test]
fn scripts_of_the_repository_hold_for_linux_too() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    let copies = directory();
    let mut paths = Vec::new();
    for name in QUICK {
        let text = std::fs::read_to_string(scripts.join(name)).unwrap();
        paths.push(written(copies.path(), &name.replace('/', "-"), &text));
    }
    for setting in who() {
        let (status, stdout, stderr) = drill(setting, &paths.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(status, 0, "{setting}: {stdout}{stderr}");
        assert!(stdout.contains(&format!("{0} of {0} scripts passed", paths.len())), "{stdout}");
    }
}

/// A segment to a port where nobody listens.
fn script(mark: &str, ack: u32) -> String {
    format!(
        "// A closed port. RFC 9293 3.10.7.1\n{mark}0 < S 0:0(0) win 1000 <mss 1000>\n+0 > R. 0:0(0) ack {ack}\n"
    )
}

#[test]
fn what_linux_does_otherwise_fails_unless_the_script_says_so() {
    let at = directory();
    let right = written(at.path(), "1-right.pkt", &script("", 1));
    let wrong = written(at.path(), "2-wrong.pkt", &script("", 2));
    let said = written(at.path(), "3-said.pkt", &script("// kernel: differs, it sends `ack 1`\n", 2));
    let other = written(at.path(), "4-other.pkt", &script("// kernel: differs, it sends `ack 7`\n", 2));
    let gone = written(at.path(), "5-gone.pkt", &script("// kernel: differs, it sent `ack 2` once\n", 1));
    let not = written(at.path(), "6-not.pkt", &script("// kernel: no, it is about finack\n", 2));
    let long = written(at.path(), "7-long.pkt", &format!("{}+100 < . 5:5(0) win 1\n", script("", 1)));
    let bad = written(at.path(), "8-bad.pkt", &script("// kernel: maybe\n", 1));
    for setting in who() {
        let (status, stdout, _) = drill(setting, &[&right, &said, &not, &long]);
        assert_eq!(status, 0, "{setting}: {stdout}");
        assert!(stdout.contains("1 of 4 scripts passed, 1 differ as they say, 2 were skipped"), "{stdout}");
        assert!(stdout.contains("it takes 100 s, see --longest"), "{stdout}");
        let (status, stdout, _) = drill(setting, &[&wrong]);
        assert_eq!(status, 1, "{setting}: {stdout}");
        assert!(stdout.contains("another packet than expected: the ack differs"), "{stdout}");
        assert!(stdout.contains("expected 2, seen 1"), "{stdout}");
        let (status, stdout, _) = drill(setting, &[&other]);
        assert_eq!(status, 1, "{setting}: {stdout}");
        assert!(stdout.contains("another difference than the one explained: no `ack 7` in it"), "{stdout}");
        let (status, stdout, _) = drill(setting, &[&gone]);
        assert_eq!(status, 1, "{setting}: {stdout}");
        assert!(stdout.contains(&format!("{gone}:2:1: the script says that the kernel differs")), "{stdout}");
        let (status, stdout, _) = drill(setting, &[&bad]);
        assert_eq!(status, 2, "{setting}: {stdout}");
        assert!(stdout.contains(&format!("{bad}:2:1: expected 'kernel: no, WHY'")), "{stdout}");
    }
}

#[test]
fn programs_are_told_what_differs_and_what_was_passed_over() {
    let at = directory();
    written(at.path(), "a.pkt", &script("", 1));
    written(at.path(), "b.pkt", &script("// kernel: differs, it sends `ack 1`\n", 2));
    written(at.path(), "c.pkt", &script("// kernel: no, it is about finack\n", 2));
    let at = at.path().to_str().unwrap();
    for setting in who() {
        let (status, stdout, _) = drill(setting, &["--json", at]);
        assert_eq!(status, 0, "{setting}: {stdout}");
        let lines: Vec<serde_json::Value> =
            stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let verdicts: Vec<&str> = lines[..3].iter().map(|l| l["verdict"].as_str().unwrap()).collect();
        assert_eq!(verdicts, ["passed", "differs", "skipped"]);
        assert_eq!(lines[2]["why"], "it is about finack");
        assert_eq!((lines[3]["differ"].as_u64(), lines[3]["skipped"].as_u64()), (Some(1), Some(1)));
        let (_, tap, _) = drill(setting, &["--tap", at]);
        assert!(tap.contains("\nok 2 - ") && tap.contains("c.pkt # SKIP it is about finack\n"), "{tap}");
        let (_, junit, _) = drill(setting, &["--junit", at]);
        assert!(
            junit.contains("skipped=\"1\"") && junit.contains("<skipped message=\"it is about"),
            "{junit}"
        );
    }
}

#[test]
fn without_a_device_one_line_says_what_is_missing() {
    // An ordinary user to whom /dev/net/tun is closed.
    let Some(setting) = who().into_iter().find(|s| s.ordinary) else {
        return skip("an ordinary user's --kernel: there are no user namespaces for one here");
    };
    let at = directory();
    let path = written(at.path(), "a.pkt", &script("", 1));
    let mut closed = std::process::Command::new("unshare");
    let hide = "mount --bind /dev/null /dev/net/tun && exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$0\" \"$@\"";
    closed.args(["--mount", "--", "sh", "-c", hide]);
    let output = closed.arg(support::binary()).args(["drill", "--kernel", &path]).output().unwrap();
    let (_, stderr) = texts(&output);
    if stderr.contains("unshare:") || stderr.contains("mount:") || stderr.contains("setpriv:") {
        assert!(!required(), "{setting}: {stderr}");
        return skip(&format!("a hidden /dev/net/tun: {stderr}"));
    }
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("finack: --kernel needs a TUN device: /dev/net/tun:"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
