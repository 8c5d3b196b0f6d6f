//! Hostile packets from inside the private network: finack neither dies nor grows, and goes on serving.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{binary, command, have, settings};

const PACKETS: u32 = 100_000;

/// Most memory that finack may take meanwhile. A quiet run takes a tenth of it; the engine's own budget, its tables and
/// the report's memory of single connections together stay below the rest.
const MOST_KIB: u64 = 256 << 10;

/// 100,000 packets, malformed in every layer or well-formed and out of place: afterwards a page is served as before.
#[test]
fn packets_from_inside_do_no_harm() {
    if !have(&["python3", "curl"]) {
        return;
    }
    // An ordinary user's programs have no raw sockets.
    for setting in settings().into_iter().filter(|s| !s.ordinary) {
        let script = binary().with_file_name("hostile.py");
        std::fs::write(&script, include_str!("hostile.py")).unwrap();
        let inside = format!(
            "python3 {} 7 {PACKETS} >&2 && curl -sS --max-time 10 http://hello.finack/sha256/1",
            script.display()
        );
        let mut child = command(setting)
            .args(["run", "--isolated", "--device", setting.device, "--no-ladder", "--", "sh", "-c", &inside])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let report = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let mut most = 0;
        let status = loop {
            most = most.max(resident_kib(child.id()));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut page = String::new();
        stdout.read_to_string(&mut page).unwrap();
        let report = report.join().unwrap().unwrap();
        assert!(status.success(), "{setting}: {status}\n{report}");
        assert!(report.contains(&format!("sent {PACKETS}")), "{setting}: {report}");
        assert_eq!(page.trim().len(), 64, "{setting}: a hash in hex, not '{page}'");
        assert!(most < MOST_KIB, "{setting}: {most} KiB");
    }
}

/// Greatest resident size so far, in KiB; 0 once the process is gone.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}
