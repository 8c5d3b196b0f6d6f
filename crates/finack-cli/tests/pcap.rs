//! `finack run --pcap` as Wireshark sees it.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(dead_code, reason = "each test file uses a part of what they share")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::{Setting, command, finack, have, settings, skip, texts};

/// A directory into which everybody may write.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    dir
}

/// Runs a shell script with a capture.
fn captured(setting: Setting, file: &Path, script: &str) -> Output {
    let flags = ["run", "--pcap", file.to_str().unwrap()];
    finack(setting, &flags, &["sh", "-c", script])
}

/// tshark's lines for `arguments`; it must find nothing wrong with the file itself.
fn tshark(file: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("tshark").arg("-r").arg(file).args(arguments).output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    let complaint = err.lines().find(|l| !l.starts_with("Running as user"));
    assert_eq!(complaint, None, "{err}");
    out.lines().map(str::to_owned).collect()
}

/// Everything that tshark doubts, with all checksums checked.
fn doubts(file: &Path) -> Vec<String> {
    let check = ["ip", "tcp", "udp"].map(|p| format!("{p}.check_checksum:TRUE"));
    let bad = ["ip", "tcp", "udp", "icmp", "icmpv6"].map(|p| format!("{p}.checksum.status == 0"));
    // What sequence numbers tell (a RST, a window used up, a probe of the tail) is the exchange's, not the file's.
    let warned = "(_ws.expert.severity >= 0x600000 && !(_ws.expert.group == 0x02000000))";
    let filter = format!("_ws.malformed || {warned} || {}", bad.join(" || "));
    let told = ["-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info", "-e", "_ws.expert.message"];
    let options: Vec<&str> = check.iter().flat_map(|c| ["-o", c]).collect();
    tshark(file, &[&options[..], &["-Y", &filter], &told].concat())
}

#[test]
fn tshark_has_no_doubts() {
    if !have(&["tshark", "capinfos", "curl", "ping"]) {
        return;
    }
    let script = "
        curl -4 -sSf -o /dev/null http://hello.finack/bytes/3M
        curl -6 -sSf -o /dev/null http://hello.finack/bytes/3M
        head -c 2000000 /dev/zero | curl -4 -sSf -T - -o /dev/null http://hello.finack/upload
        head -c 2000000 /dev/zero | curl -6 -sSf -T - -o /dev/null http://hello.finack/upload
        ping -4 -q -c 1 -s 3000 hello.finack >/dev/null
        ping -6 -q -c 1 -s 3000 hello.finack >/dev/null";
    for setting in settings() {
        let dir = directory();
        let file = dir.path().join("x.pcapng");
        let output = captured(setting, &file, script);
        assert!(output.status.success(), "{setting}: {}", texts(&output).1);
        assert_eq!(doubts(&file), [""; 0], "{setting}");
        let lengths = tshark(&file, &["-T", "fields", "-e", "frame.len"]);
        assert!(lengths.len() > 5000, "{setting}: {} packets", lengths.len());
        let longest = lengths.iter().map(|l| l.parse::<u32>().unwrap()).max();
        assert_eq!(longest, Some(1500), "{setting}: as on the wire");
        // Nothing is acknowledged that is not in the file.
        assert_eq!(tshark(&file, &["-Y", "tcp.analysis.ack_lost_segment"]), [""; 0], "{setting}");
        let info = Command::new("capinfos").arg(&file).output().unwrap();
        let (info, _) = texts(&info);
        for part in ["Name = finack0", "finack 0.", "Number of resolved IPv6 addresses in file: "] {
            assert!(info.contains(part), "{setting}: '{part}' is missing in\n{info}");
        }
        // As the program's own interface would have it.
        let from_program =
            tshark(&file, &["-Y", "ip.src == 198.18.0.2 && !(frame.packet_flags_direction == 2)"]);
        assert_eq!(from_program, [""; 0], "{setting}");
    }
}

#[test]
fn comments_say_why() {
    if !have(&["tshark", "curl", "python3"]) {
        return;
    }
    // A port that nobody has; a RST from the program; a datagram that nobody takes.
    let python = "import socket, struct
s = socket.create_connection(('198.18.0.80', 80))
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('198.18.0.80', 4321))";
    for setting in settings() {
        let dir = directory();
        let file = dir.path().join("x.pcapng");
        let script = format!("curl -4 -s http://hello.finack:4321/\npython3 -c \"{python}\"");
        let output = captured(setting, &file, &script);
        assert!(output.status.success(), "{setting}: {}", texts(&output).1);
        let comment = |filter: &str| {
            let lines = tshark(&file, &["-Y", filter, "-T", "fields", "-e", "frame.comment"]);
            assert!(!lines.is_empty(), "{setting}: {filter}");
            lines.join("\n")
        };
        let refused = comment("tcp.srcport == 4321 && tcp.flags.reset == 1");
        assert!(refused.contains("finack sent this RST: the destination refused"), "{refused}");
        let theirs = comment("tcp.dstport == 80 && tcp.flags.reset == 1");
        assert!(theirs.contains("finack: this RST ends the connection"), "{theirs}");
        let opened = comment("tcp.dstport == 80 && tcp.flags.syn == 1");
        assert!(opened.contains("finack: LISTEN → SYN-RECEIVED"), "{opened}");
        let datagram = comment("udp.dstport == 4321 && !icmp");
        assert!(datagram.contains("finack dropped it: nobody has this UDP port"), "{datagram}");
    }
}

#[test]
fn a_part_of_each_packet_is_enough() {
    if !have(&["tshark", "curl"]) {
        return;
    }
    for setting in settings() {
        let dir = directory();
        let file = dir.path().join("x.pcapng");
        let flags = ["run", "--pcap", file.to_str().unwrap(), "--pcap-snaplen", "96"];
        let output = finack(setting, &flags, &["curl", "-sSo/dev/null", "http://hello.finack/bytes/1M"]);
        assert!(output.status.success(), "{setting}: {}", texts(&output).1);
        let lines = tshark(&file, &["-T", "fields", "-e", "frame.len", "-e", "frame.cap_len"]);
        assert!(lines.iter().any(|l| l == "1500\t96"), "{setting}");
        assert!(lines.iter().all(|l| l.split('\t').nth(1).unwrap().parse::<u32>().unwrap() <= 96));
    }
}

#[test]
fn what_can_not_be_written_is_told_before_the_program_runs() {
    for setting in settings() {
        let dir = directory();
        let witness = dir.path().join("ran");
        let nowhere = dir.path().join("nowhere/x.pcapng");
        let output = captured(setting, &nowhere, &format!("touch {}", witness.display()));
        let told = format!(
            "finack: packets can't be written to {}: No such file or directory (os error 2)\n",
            nowhere.display()
        );
        assert_eq!((output.status.code(), texts(&output).1), (Some(125), told), "{setting}");
        assert!(!witness.exists());
        let output = captured(setting, Path::new("-"), "true");
        assert_eq!(output.status.code(), Some(2), "{setting}");
        let told = texts(&output).1;
        assert!(told.contains("standard output is the program's"), "{setting}: {told}");
    }
}

/// A run that fails leaves a whole file too: its last block has the statistics.
#[test]
fn the_file_is_ended_where_there_is_no_such_program() {
    if !have(&["capinfos"]) {
        return;
    }
    for setting in settings() {
        let dir = directory();
        let file = dir.path().join("x.pcapng");
        let output = finack(setting, &["run", "--pcap", file.to_str().unwrap()], &["no-such-program-here"]);
        assert_eq!(output.status.code(), Some(127), "{setting}: {}", texts(&output).1);
        let info = Command::new("capinfos").arg(&file).output().unwrap();
        assert!(texts(&info).0.contains("Number of stat entries = 1"), "{setting}: {}", texts(&info).0);
    }
}

/// The disk fills up: the program notices nothing, and what is in the file can be read.
#[test]
fn a_full_disk_ends_the_capture_alone() {
    if !have(&["tshark", "curl", "unshare", "mount"]) {
        return;
    }
    let Some(&setting) = settings().iter().find(|s| !s.ordinary) else {
        return skip("a full disk, which only root can make");
    };
    let dir = directory();
    let place = dir.path().display();
    let script = format!(
        "mkdir {place}/small && mount -t tmpfs -o size=1m tmpfs {place}/small || exit 99
         {} run --device {} --pcap {place}/small/x.pcapng -- \
             curl -sSf -w '%{{size_download}}' -o /dev/null http://hello.finack/bytes/8M
         status=$?; cp {place}/small/x.pcapng {place}/x.pcapng; exit $status",
        support::binary().display(),
        setting.device,
    );
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(0), "8388608"), "{err}");
    let told = err.lines().filter(|l| l.contains("the capture")).collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "one line: {err}");
    assert!(told[0].contains(" packets: No space left on device"), "{err}");
    let file: PathBuf = dir.path().join("x.pcapng");
    assert_eq!(doubts(&file), [""; 0]);
}

/// Whatever ends finack, the file holds what happened until then.
#[test]
fn the_file_can_be_read_after_kill_9() {
    if !have(&["tshark", "curl"]) {
        return;
    }
    for setting in settings().into_iter().filter(|s| !s.ordinary) {
        let dir = directory();
        let file = dir.path().join("x.pcapng");
        let mut run = command(setting)
            .args(["run", "--device", setting.device, "--pcap", file.to_str().unwrap(), "--"])
            .args(["sh", "-c", "curl -s -o /dev/null http://hello.finack/bytes/200K; exec sleep 60"])
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !fs::metadata(&file).is_ok_and(|m| m.len() > 200_000) {
            assert!(Instant::now() < deadline, "{setting}: the file stays short");
            std::thread::sleep(Duration::from_millis(20));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        assert_eq!(doubts(&file), [""; 0], "{setting}");
        assert!(tshark(&file, &[]).len() > 140, "{setting}");
    }
}

/// A transfer goes on whatever the file can take; what is missing in it is told.
#[test]
fn a_quarter_of_a_gibibyte_is_whole_or_says_what_it_lacks() {
    if !have(&["capinfos", "curl"]) {
        return;
    }
    let Some(&setting) = settings().first() else { return };
    let dir = directory();
    let file = dir.path().join("x.pcapng");
    let script = "curl -sSf -w '%{size_download}' -o /dev/null http://hello.finack/bytes/256M";
    let output = captured(setting, &file, script);
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(0), "268435456"), "{err}");
    let lacks = "which came faster than the file could be written";
    let lost: u64 = err
        .lines()
        .find(|l| l.contains(lacks))
        .map_or(0, |l| l.split(" lacks ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap());
    let info = Command::new("capinfos").args(["-T", "-r", "-m", "-M", "-c"]).arg(&file).output().unwrap();
    let (info, _) = texts(&info);
    let written: u64 = info.trim().rsplit(',').next().unwrap().parse().unwrap();
    // Each with 1448 bytes at most.
    assert!(written + lost > 268_435_456 / 1448, "{written} packets and {lost} lost: {err}");
    assert!(written > 1000, "{info}");
}
