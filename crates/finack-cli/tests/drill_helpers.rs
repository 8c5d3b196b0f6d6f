//! Programs that a script brings along: what they ask for is done to the stack, and what they do to the system is
//! nothing. Where namespaces can't be had these tests say that they were skipped; with `FINACK_REQUIRE_NETNS=1` they
//! fail.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The SYN that a script expects after its command.
const SCRIPT: &str = "`COMMAND`\n0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3\n\
    +0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)\n+0 > S 0:0(0) <OPTIONS>\n";

const USUAL: &str = "mss 1460,sackOK,TS val 0 ecr 0,nop,wscale 7";

struct Outcome {
    status: i32,
    said: String,
}

/// Runs a script with `command`; `helper` is `./helper.sh` beside it. `None` where there are no namespaces.
fn drill(command: &str, helper: &str, options: &str) -> Option<Outcome> {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    drill_in(directory.path(), command, helper, options, false)
}

fn drill_in(at: &Path, command: &str, helper: &str, options: &str, as_nobody: bool) -> Option<Outcome> {
    let script = at.join("script.pkt");
    fs::write(&script, SCRIPT.replace("COMMAND", command).replace("OPTIONS", options)).unwrap();
    fs::write(at.join("helper.sh"), helper).unwrap();
    fs::set_permissions(at.join("helper.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut finack = Command::new(env!("CARGO_BIN_EXE_finack"));
    finack.arg("drill").arg(&script);
    if as_nobody {
        finack.uid(65_534).gid(65_534);
    }
    let Output { status, stdout, .. } = finack.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    if said.contains("takes namespaces") {
        let required = std::env::var_os("FINACK_REQUIRE_NETNS").is_some_and(|v| v == "1");
        assert!(!required, "FINACK_REQUIRE_NETNS is set, and there are no namespaces: {said}");
        eprintln!("skipped: {said}");
        return None;
    }
    Some(Outcome { status: status.code().unwrap(), said })
}

#[test]
fn what_a_helper_sets_is_set() {
    let helper = "#!/bin/bash\nset -e\nif [ -f /proc/sys/net/ipv4/tcp_sack ]; then\n\
        for name in tcp_sack tcp_window_scaling; do sysctl -q net.ipv4.$name=0; done\nfi\n\
        old=$(cat /proc/sys/net/ipv4/tcp_timestamps)\n[ \"$old\" = 1 ]\n\
        echo $((old - 1)) > /proc/sys/net/ipv4/tcp_timestamps\n\
        for s in /usr/sbin/ip /usr/bin/ip ip; do ! command -v $s || $s link set dev tun0 mtu 1400; done\n";
    let Some(outcome) = drill("./helper.sh", helper, "mss 1360") else { return };
    assert_eq!(outcome.status, 0, "{}", outcome.said);
    // The script's own directory and what it leads to.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::create_dir(directory.path().join("common")).unwrap();
    fs::write(
        directory.path().join("common/more.sh"),
        "while ! false; do sysctl -q net.ipv4.tcp_sack=0; break; done\n",
    )
    .unwrap();
    let helper = "#!/bin/sh\nif true; then . ../common/more.sh; fi\n";
    let outcome =
        drill_in(&inner, "./helper.sh", helper, "mss 1460,nop,nop,TS val 0 ecr 0,nop,wscale 7", false);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.status, 0, "{}", outcome.said);
}

#[test]
fn an_ordinary_user_has_helpers_too() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = fs::metadata(env!("CARGO_BIN_EXE_finack")).unwrap();
    if !rustix::process::geteuid().is_root() || binary.permissions().mode() & 0o005 != 0o005 {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let helper = "#!/bin/sh\nif true; then sysctl -q net.ipv4.tcp_sack=0; fi\n";
    let options = "mss 1460,nop,nop,TS val 0 ecr 0,nop,wscale 7";
    let Some(outcome) = drill_in(directory.path(), "./helper.sh", helper, options, true) else { return };
    assert_eq!(outcome.status, 0, "{}", outcome.said);
}

#[test]
fn what_a_helper_leaves_is_there_for_the_next() {
    let helper = "#!/bin/sh\nif true; then echo 'sysctl -q net.ipv4.tcp_sack=1' > /tmp/restore_$PACKETDRILL_PID.sh; fi\n\
        chmod +x /tmp/restore_$PACKETDRILL_PID.sh\n";
    let command = "./helper.sh`\n0 `/tmp/restore_${PPID}.sh && test ! -e /tmp/finack-was-here";
    let Some(outcome) = drill(command, helper, USUAL) else { return };
    assert_eq!(outcome.status, 0, "{}", outcome.said);
    assert!(!Path::new("/tmp/restore_1.sh").exists());
}

#[test]
fn what_is_not_known_is_named_and_what_fails_fails() {
    let helper = "#!/bin/sh\nif true; then COMMAND; fi\n";
    for (command, status, said) in [
        ("modprobe tcp_bbr", 2, "the command `modprobe tcp_bbr` is not supported"),
        ("ip netns add x", 2, "the command `ip netns add x` is not supported"),
        ("/usr/sbin/tc qdisc add dev tun0 root netem loss 5%", 2, "netem loss 5%` is not supported"),
        ("sleep 1", 2, "the command `sleep 1` is not supported"),
        ("no-such-program", 2, "no-such-program"),
        ("grep -q nothing /proc/net/tcp", 1, "the command ends with status 1"),
        ("sysctl -q net.ipv4.tcp_nonesuch=1", 0, "not set: net.ipv4.tcp_nonesuch=1"),
    ] {
        let Some(outcome) = drill("./helper.sh", &helper.replace("COMMAND", command), USUAL) else { return };
        assert_eq!(outcome.status, status, "{command}: {}", outcome.said);
        assert!(outcome.said.contains(said), "{command}: {}", outcome.said);
    }
}

#[test]
fn the_stack_s_sockets_and_counters_are_seen() {
    let command = "true`\n0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 4\n+0 bind(4, ..., ...) = 0\n+0 listen(4, 1) = 0\n\
        +0 `grep -q '0100A8C0:1F90 00000000:0000 0A' /proc/net/tcp`\n+0 close(4) = 0\n\
        +0 `! grep -q 1F90 /proc/net/tcp && grep -q '^Tcp: .*PassiveOpens' /proc/net/snmp";
    let Some(outcome) = drill(command, "", USUAL) else { return };
    assert_eq!(outcome.status, 0, "{}", outcome.said);
}

/// Whatever a helper tries, the system is as before, and the script comes to an end.
#[test]
fn a_helper_harms_nobody() {
    let mark = format!("finack-was-here-{}", std::process::id());
    let home = std::env::temp_dir().join(&mark);
    let tries = format!(
        "#!/bin/sh\nif true; then :; fi\n\
         for at in /etc /usr /usr/bin / /home /root /dev /var /run /proc/sys/kernel; do echo x > $at/{mark}; done\n\
         mount -t tmpfs none /mnt\numount -l /usr\n\
         mknod /tmp/disk b 8 0\nmount -o remount,rw /usr\nchroot / true\n\
         echo x > /tmp/{mark}\nkill -9 -1\n"
    );
    let Some(outcome) = drill("./helper.sh", &tries, USUAL) else { return };
    assert!(outcome.status != 0, "{}", outcome.said);
    for at in ["/etc", "/usr", "/usr/bin", "/", "/dev", "/tmp", "/root"] {
        assert!(!Path::new(at).join(&mark).exists(), "{at}");
    }
    assert!(!home.exists() && Path::new("/etc/passwd").exists() && Path::new("/usr/bin/env").exists());
}

#[test]
fn a_helper_has_no_network_and_no_privileges() {
    // It sees no interface that is up, no socket of the host's, and none of its processes.
    let checks = "#!/bin/sh\nset -e\nif true; then :; fi\n\
        test ! -e /run/dbus -a ! -e /var -a ! -e /home -a ! -e /root\n\
        ! (echo x > /dev/tcp/127.0.0.1/22) 2>/dev/null\n\
        test $(ls /proc/.real | grep -c '^[0-9]') -lt 8\n\
        grep -q 'CapEff:.0*$' /proc/self/status\ngrep -q 'NoNewPrivs:.1' /proc/self/status\n\
        test $(grep -c : /proc/.real/net/dev) -le 1\n";
    let Some(outcome) = drill("./helper.sh", checks, USUAL) else { return };
    assert_eq!(outcome.status, 0, "{}", outcome.said);
}

#[test]
fn a_helper_is_bounded() {
    for (helper, said) in [
        ("while true; do :; done", "it ran for more than 10 s"),
        ("bomb() { bomb | bomb & }; bomb; while true; do :; done", ""),
        ("while true; do echo y; done", ""),
        ("python3 -c 'x = bytearray(3 << 30); print(len(x))'", ""),
        (
            "trap '' TERM INT HUP; (trap '' TERM; while true; do :; done) & while true; do :; done",
            "more than 10 s",
        ),
    ] {
        let begun = Instant::now();
        let Some(outcome) = drill("./helper.sh", &format!("#!/bin/bash\n{helper}\n"), USUAL) else { return };
        assert!(begun.elapsed() < Duration::from_secs(60), "{helper}");
        assert!(outcome.status != 0 && outcome.said.contains(said), "{helper}: {}", outcome.said);
    }
}

#[test]
fn the_subcommand_is_for_drill_alone() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_finack")).args(["drill-helper", "--inside"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("started by finack drill alone"));
}
