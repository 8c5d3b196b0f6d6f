//! The private network, tried for real: as whoever runs the tests, over both devices, and,
//! where that is root, once more as an ordinary user.
//!
//! The programs inside are this test binary itself in another role (see `inside.rs`), so that
//! nothing needs to be installed. Where no namespace can be made the tests say so and pass;
//! with `FINACK_REQUIRE_NETNS=1` they fail.
#![allow(clippy::unwrap_used)]

mod inside;
mod link;
mod process;
mod shards;

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};

use finack_core::device::ChecksumState;
use finack_run::check::{Outcome, check};
use finack_run::namespace::{DevicePath, Network, NetworkConfig, ProgramCommand, SpawnError, exit_code};

/// Names the role that this binary plays when it is started again.
pub(crate) const ROLE: &str = "FINACK_TEST_ROLE";
/// An ordinary user that every system has.
const NOBODY: u32 = 65534;

fn required() -> bool {
    std::env::var_os("FINACK_REQUIRE_NETNS").is_some_and(|v| v == "1")
}

/// A private network over `path`; `None`, with a word about it, where it can't be had.
pub(crate) fn network(path: DevicePath) -> Option<Network> {
    let config = NetworkConfig {
        device: Some(path),
        resolv_conf: "nameserver 198.18.0.1\n# from finack\n".into(),
        ..NetworkConfig::default()
    };
    match Network::create(&config) {
        Ok(network) => {
            assert_eq!(network.device_path(), path);
            Some(network)
        }
        // As an ordinary user, /dev/net/tun is often out of reach; that is what veth is for.
        Err(e) if required() && (path == DevicePath::Veth || File::open("/dev/net/tun").is_ok()) => {
            panic!("no private network over {path}:\n{e}")
        }
        Err(e) => {
            let failed = e.report().items.iter().find(|i| i.outcome == Outcome::Failed);
            eprintln!("skipped: no private network over {path}: {:?}", failed.map(|i| (i.step, &i.detail)));
            None
        }
    }
}

/// Runs `test` over each device that works here.
pub(crate) fn over_each_device(test: impl Fn(Network)) {
    for path in [DevicePath::Tun, DevicePath::Veth] {
        if let Some(network) = network(path) {
            eprintln!("over {path}");
            test(network);
        }
    }
}

/// This binary again, in the role of a program.
pub(crate) fn role(name: &str) -> ProgramCommand {
    let exe = std::env::current_exe().unwrap();
    let environment = std::env::vars_os().chain([(ROLE.into(), name.into())]);
    ProgramCommand::new(exe).args(["--exact", "plays_its_role", "--nocapture"]).envs(environment)
}

/// Runs a shell line inside and returns its output and status.
pub(crate) fn shell(network: &Network, line: &str) -> (String, ExitStatus) {
    let (mut read, write) = std::io::pipe().unwrap();
    let command = ProgramCommand::new("/bin/sh").args(["-c", line]).stdout(write);
    let mut child = network.spawn(&command).unwrap();
    drop(command);
    let mut output = String::new();
    read.read_to_string(&mut output).unwrap();
    (output, child.wait().unwrap())
}

/// Not a test: what the programs of the others do.
#[test]
fn plays_its_role() {
    if let Ok(name) = std::env::var(ROLE) {
        inside::play(&name);
    }
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the tests run as an ordinary user already");
        return;
    }
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    // The binary may lie where that user may not look.
    let directory = std::env::temp_dir().join(format!("finack-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let copy = directory.join("private_network");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    for path in [&directory, &copy] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    // Once as it is here, and once with a /dev/net/tun that everyone may open, as on most desktops.
    let status = as_nobody(&mut Command::new(&copy));
    let script = "mknod \"$0/tun\" c 10 200 && chmod 0666 \"$0/tun\" && mount --bind \"$0/tun\" /dev/net/tun || exit 77
        exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$1\" --test-threads 1 --nocapture";
    let mut open = Command::new("unshare");
    open.args(["--mount", "sh", "-c", script]).arg(&directory).arg(&copy).current_dir("/");
    match open.status() {
        Ok(status) if status.code() != Some(77) => {
            assert!(status.success(), "with TUN for everyone: {status}")
        }
        other => eprintln!("skipped: no /dev/net/tun for everyone could be made: {other:?}"),
    }
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(status.success(), "as an ordinary user: {status}");
}

fn as_nobody(command: &mut Command) -> ExitStatus {
    command.uid(NOBODY).gid(NOBODY).current_dir("/").args(["--test-threads", "1", "--nocapture"]);
    command.status().unwrap()
}

#[test]
fn datagrams_go_both_ways_over_both_ip_versions() {
    over_each_device(|mut network| {
        let mut device = network.take_devices().remove(0);
        let mut child = network.spawn(&role("udp")).unwrap();
        let mut echoed = 0;
        let status = link::serve(&mut *device, &mut child, |packet, device| {
            if let Some(reply) = link::udp_echo(packet.bytes.as_slice(), 7777) {
                assert_eq!(packet.meta.checksum, ChecksumState::Valid, "never put on a wire");
                reply.send(device);
                echoed += 1;
            }
        });
        assert!(status.success());
        assert_eq!(echoed, 2 * inside::DATAGRAMS);
        assert_eq!(device.counters().malformed, 0);
    });
}

#[test]
fn a_unit_of_datagrams_arrives_as_datagrams() {
    over_each_device(|mut network| {
        let mut device = network.take_devices().remove(0);
        if !device.capabilities().udp_units {
            eprintln!("skipped: no units of datagrams over {}", network.device_path());
            return;
        }
        let mut child = network.spawn(&role("burst")).unwrap();
        let status = link::serve(&mut *device, &mut child, |packet, device| {
            let bytes = packet.bytes.as_slice();
            if let Some(unit) = link::udp_burst(bytes, 7778, inside::BURST, inside::BURST_SIZE) {
                unit.send(device);
            }
        });
        assert!(status.success());
    });
}

#[test]
fn a_tun_interface_has_as_many_queues_as_asked_for() {
    let config = NetworkConfig { device: Some(DevicePath::Tun), queues: 20, ..NetworkConfig::default() };
    match Network::create(&config) {
        Ok(mut network) => {
            assert_eq!(network.take_devices().len(), 20);
            assert!(network.take_devices().is_empty(), "given once");
        }
        Err(_) => eprintln!("skipped: no TUN here"),
    }
}

#[test]
fn a_refused_connection_is_refused() {
    over_each_device(|mut network| {
        let mut device = network.take_devices().remove(0);
        let mut child = network.spawn(&role("refused")).unwrap();
        let status = link::serve(&mut *device, &mut child, |packet, device| {
            if let Some(reset) = link::refuse(packet.bytes.as_slice()) {
                reset.send(device);
            }
        });
        assert!(status.success());
    });
}

#[test]
fn an_upload_arrives_in_units() {
    over_each_device(|mut network| {
        let mut device = network.take_devices().remove(0);
        let mut child = network.spawn(&role("upload")).unwrap();
        let mut sink = link::Peer::new(0);
        let status = link::serve(&mut *device, &mut child, |packet, device| sink.on_packet(packet, device));
        assert!(status.success());
        assert_eq!(sink.received, inside::UPLOAD as u64);
        assert!(sink.intact, "the bytes that were written");
        assert!(sink.units > 0, "TSO: segments come joined");
        assert_eq!(device.counters().malformed, 0);
    });
}

#[test]
fn a_download_leaves_in_units() {
    over_each_device(|mut network| {
        let mut device = network.take_devices().remove(0);
        let mut child = network.spawn(&role("download")).unwrap();
        let mut source = link::Peer::new(inside::DOWNLOAD as u64);
        let status = link::serve(&mut *device, &mut child, |packet, device| source.on_packet(packet, device));
        assert!(status.success(), "the program checks the bytes");
        assert_eq!(device.counters().refused, 0);
    });
}

#[test]
fn the_program_has_a_network_of_its_own() {
    over_each_device(|network| {
        let (links, _) = shell(&network, "cat /proc/net/dev");
        let names: Vec<&str> =
            links.lines().skip(2).filter_map(|l| l.split(':').next()).map(str::trim).collect();
        assert_eq!(names, ["lo", "finack0"]);
        let (v6, _) = shell(&network, "cat /proc/net/if_inet6");
        assert!(v6.contains("fd66696e61636b000000000000000002"), "{v6}");
        let (routes, _) = shell(&network, "cat /proc/net/route");
        assert!(routes.contains("finack0\t00000000\t010012C6"), "default route to 198.18.0.1: {routes}");
        let mut child = network.spawn(&role("privileged-port")).unwrap();
        assert!(child.wait().unwrap().success(), "ports below 1024, lo is up");
        assert_eq!(network.warnings(), [""; 0]);
    });
}

#[test]
fn names_lead_to_finack() {
    let outside = std::fs::read("/etc/resolv.conf").ok();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    over_each_device(|network| {
        let (inside, _) = shell(&network, "cat /etc/resolv.conf");
        assert_eq!(inside, "nameserver 198.18.0.1\n# from finack\n");
        if std::fs::exists("/etc/nsswitch.conf").unwrap() {
            let (hosts, _) = shell(&network, "grep ^hosts: /etc/nsswitch.conf");
            assert_eq!(hosts, "hosts: files dns\n");
        }
        assert_eq!(std::fs::read("/etc/resolv.conf").ok(), outside, "only inside");
        assert_eq!(std::fs::read_to_string("/proc/self/mounts").unwrap(), mounts, "only inside");
        let (stage, _) = shell(&network, "grep ' /tmp ' /proc/self/mounts | grep finack");
        assert_eq!(stage, "", "nothing covers /tmp");
    });
}

#[test]
fn the_program_keeps_what_it_was_started_with() {
    // Of all lines, those that an exec by a shell would pass on.
    let kept = [
        "Uid",
        "Gid",
        "Groups",
        "NoNewPrivs",
        "Seccomp",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "Umask",
    ];
    let pick = |status: &str| -> Vec<String> {
        let wanted = |l: &&str| kept.iter().any(|k| l.split(':').next() == Some(k));
        status.lines().filter(wanted).map(without_internal_signals).collect()
    };
    let direct = Command::new("cat").arg("/proc/self/status").output().unwrap();
    let direct = pick(&String::from_utf8(direct.stdout).unwrap());
    over_each_device(|network| {
        let (status, _) = shell(&network, "exec cat /proc/self/status");
        assert_eq!(pick(&status), direct, "as a program started without finack has it");
        let (directory, _) = shell(&network, "pwd");
        assert_eq!(directory.trim_end(), std::env::current_dir().unwrap().to_str().unwrap());
        let (path, _) = shell(&network, "printf %s \"$PATH\"");
        assert_eq!(path, std::env::var("PATH").unwrap());
        let command = ProgramCommand::new("sh")
            .args(["-c", "test \"$PWD\" = /usr && test \"$A\" = 'b c' && test -z \"$HOME\""])
            .envs([("A", "b c"), ("PATH", "/usr/bin:/bin")])
            .current_dir("/usr");
        assert_eq!(exit_code(network.spawn(&command).unwrap().wait().unwrap()), 0);
    });
}

/// glibc's `posix_spawn`, by which the comparison is started, ignores signals 32 and 33.
fn without_internal_signals(line: &str) -> String {
    match line.strip_prefix("SigIgn:\t") {
        Some(set) => format!("SigIgn: {:x}", u64::from_str_radix(set, 16).unwrap() & !(3 << 31)),
        None => line.to_owned(),
    }
}

#[test]
fn exit_statuses_are_the_programs() {
    over_each_device(|network| {
        for (line, expected) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
        {
            assert_eq!(exit_code(shell(&network, line).1), expected, "{line}");
        }
        let missing = network.spawn(&ProgramCommand::new("no-such-program-here")).unwrap_err();
        assert!(matches!(missing, SpawnError::NotFound { .. }), "{missing}");
        assert_eq!(missing.exit_code(), 127);
        for path in ["/etc/passwd", "/etc"] {
            let denied = network.spawn(&ProgramCommand::new(path)).unwrap_err();
            assert!(matches!(denied, SpawnError::NotExecutable { .. }), "{denied}");
            assert_eq!(denied.exit_code(), 126);
        }
        let lost = network.spawn(&ProgramCommand::new("true").current_dir("/no/such")).unwrap_err();
        assert!(matches!(lost, SpawnError::Directory { .. }), "{lost}");
    });
}

#[test]
fn several_programs_share_the_network() {
    over_each_device(|network| {
        let start = |code: &str| {
            network.spawn(&ProgramCommand::new("sh").args(["-c", &format!("exit {code}")])).unwrap()
        };
        let mut children: Vec<_> = ["3", "4", "5"].into_iter().map(start).collect();
        let codes: Vec<u8> = children.iter_mut().map(|c| exit_code(c.wait().unwrap())).collect();
        assert_eq!(codes, [3, 4, 5]);
        assert_eq!(exit_code(children[0].wait().unwrap()), 3, "told again");
        assert_eq!(children[0].signal(15).ok(), Some(()), "to a program that has ended");
    });
}

#[test]
fn what_is_reported_is_what_works() {
    let report = check();
    eprintln!("{report}");
    match report.device_path() {
        Some(path) => {
            assert!(network(path).is_some(), "what the report says works, works");
            assert!(report.to_string().ends_with(&format!("over {path}.")));
        }
        None => {
            let error = Network::create(&NetworkConfig::default()).unwrap_err();
            assert_eq!(error.to_string(), report.to_string(), "`run` fails with the text of `check`");
        }
    }
    assert!(serde_json::to_string(&report).unwrap().contains("\"network_namespace\""));
}
