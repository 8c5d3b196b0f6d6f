//! The real binary, run as root and as an ordinary user, over both devices.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A user that owns nothing.
const NOBODY: &str = "65534";

/// Where the binary is copied to: this and the process's number.
const COPIES: &str = "finack-test-";

/// Who runs finack, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) ordinary: bool,
    pub(crate) device: &'static str,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.ordinary { "an ordinary user" } else { "root" };
        write!(f, "as {user} over {}", self.device)
    }
}

/// Every setting in which this machine can make a private network. Those that it can't are named on stderr, past the
/// test runner's capture; with FINACK_REQUIRE_NETNS they fail the test.
pub(crate) fn settings() -> Vec<Setting> {
    static USABLE: OnceLock<Vec<Setting>> = OnceLock::new();
    USABLE.get_or_init(|| all().into_iter().filter(|s| usable(*s)).collect()).clone()
}

fn all() -> Vec<Setting> {
    let users: &[bool] = if is_root() { &[false, true] } else { &[true] };
    let mut all = Vec::new();
    for &ordinary in users {
        for device in ["tun", "veth"] {
            all.push(Setting { ordinary, device });
        }
    }
    all
}

fn usable(setting: Setting) -> bool {
    let probe = finack(setting, &["run", "--quiet"], &["true"]);
    if probe.status.success() {
        return true;
    }
    let text = String::from_utf8_lossy(&probe.stderr).into_owned();
    assert!(!required(), "FINACK_REQUIRE_NETNS is set, and {setting}:\n{text}");
    skip(&format!("everything {setting}: no private network here\n{text}"));
    false
}

/// Where `/dev/net/tun` is root's alone, root gives the ordinary user of a test one that everybody may open, in a mount
/// namespace that ends with the test.
fn with_open_tun(dir: &Path) -> Command {
    let script = "[ -e \"$0/tun\" ] || { mknod -m 666 \"$0/tun\" c 10 200; } && \
                  mount --bind \"$0/tun\" /dev/net/tun && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", script]).arg(dir);
    command
}

fn anybody_may_open_tun() -> bool {
    fs::metadata("/dev/net/tun").is_ok_and(|m| m.mode() & 0o006 == 0o006)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

pub(crate) fn required() -> bool {
    std::env::var_os("FINACK_REQUIRE_NETNS").is_some_and(|v| !v.is_empty() && v != "0")
}

/// Says that something is not tested here, where the runner does not swallow it.
pub(crate) fn skip(what: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {what}");
}

/// Whether all of `tools` are there; without one of them the test is skipped, or fails where it must not be.
pub(crate) fn have(tools: &[&str]) -> bool {
    tools.iter().all(|tool| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
        assert!(found || !required(), "FINACK_REQUIRE_NETNS is set, and {tool} is not installed");
        if !found {
            skip(&format!("what needs {tool}, which is not installed"));
        }
        found
    })
}

/// Copies that earlier runs left: a test has no moment at which the last of them is over.
fn remove_old_copies() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix(COPIES)).and_then(|n| n.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The binary where every user may execute it.
pub(crate) fn binary() -> PathBuf {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_finack"));
        if !is_root() {
            return built;
        }
        remove_old_copies();
        let dir = std::env::temp_dir().join(format!("{COPIES}{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = dir.join("finack");
        // By a process of its own: a child that another test forks meanwhile would hold the file open for writing, and
        // nobody could execute it.
        let copied = Command::new("cp").args([built.as_path(), &copy]).status().unwrap();
        assert!(copied.success());
        copy
    })
    .clone()
}

/// A command of `finack`'s in a setting.
pub(crate) fn command(setting: Setting) -> Command {
    let as_nobody = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"];
    let binary = binary();
    let mut command = match binary.parent() {
        Some(dir) if setting.ordinary && is_root() && setting.device == "tun" && !anybody_may_open_tun() => {
            let mut command = with_open_tun(dir);
            command.args(as_nobody).arg(&binary);
            command
        }
        _ if setting.ordinary && is_root() => {
            let mut command = Command::new(as_nobody[0]);
            command.args(&as_nobody[1..]).arg(&binary);
            command
        }
        _ => Command::new(&binary),
    };
    // No colours, no terminal's locale.
    command.env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8").current_dir("/").stdin(Stdio::null());
    command
}

/// Runs `finack FLAGS --device DEVICE -- PROGRAM`.
pub(crate) fn finack(setting: Setting, flags: &[&str], program: &[&str]) -> Output {
    command(setting).args(flags).args(["--device", setting.device, "--"]).args(program).output().unwrap()
}

/// Runs a program under `finack run` and wants it to succeed: its stdout, and the report.
pub(crate) fn run(setting: Setting, program: &[&str]) -> (String, String) {
    let output = finack(setting, &["run"], program);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{program:?} {setting}: {}\n{stdout}\n{stderr}", output.status);
    (stdout, stderr)
}

/// Runs a shell script under `finack run`.
pub(crate) fn run_script(setting: Setting, script: &str) -> (String, String) {
    run(setting, &["sh", "-euc", script])
}

pub(crate) fn texts(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
