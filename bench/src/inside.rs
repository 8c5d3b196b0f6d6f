//! Programs run in a private network: by finack, by its peers, and on the host itself.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::measure::Role;

/// Who carries the program's packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Finack {
        device: &'static str,
    },
    Slirp {
        mtu: u32,
    },
    Pasta {
        mtu: u32,
    },
    /// A loop that moves the same bytes through the same device, and does nothing else.
    Bare,
    /// Nobody: the host's loopback, the least that all the others cost.
    Loopback,
}

/// In the order of the tables.
pub const ALL: [Backend; 8] = [
    Backend::Finack { device: "tun" },
    Backend::Bare,
    Backend::Finack { device: "veth" },
    Backend::Slirp { mtu: 1500 },
    Backend::Slirp { mtu: 65_520 },
    Backend::Pasta { mtu: 1500 },
    Backend::Pasta { mtu: 65_520 },
    Backend::Loopback,
];

/// How long a program may take before it counts as hung, in seconds.
const LIMIT: &str = "60";

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Finack { device: "tun" } => "finack run, TUN",
            Self::Finack { .. } => "finack run, veth",
            Self::Slirp { mtu: 1500 } => "slirp4netns, MTU 1500",
            Self::Slirp { .. } => "slirp4netns, MTU 65520",
            Self::Pasta { mtu: 1500 } => "pasta (tap), MTU 1500",
            Self::Pasta { .. } => "pasta (tap), MTU 65520",
            Self::Bare => "the bare relay, TUN",
            Self::Loopback => "the loopback itself",
        }
    }

    pub fn role(self) -> Role {
        match self {
            Self::Finack { device: "tun" } => Role::Finack,
            Self::Finack { .. } | Self::Bare | Self::Loopback => Role::Bare,
            Self::Slirp { .. } | Self::Pasta { .. } => Role::Peer,
        }
    }

    /// How to get what is missing.
    pub fn needs(self) -> &'static str {
        match self {
            Self::Finack { .. } => "cargo build --release, then `finack check` says what is missing",
            Self::Slirp { .. } => "apt-get install slirp4netns",
            Self::Pasta { .. } => "apt-get install passt",
            Self::Bare => "root",
            Self::Loopback => "the program itself",
        }
    }

    /// The address at which the program finds the host's loopback.
    fn host(self) -> Option<String> {
        match self {
            Self::Finack { .. } => Some(FINACK_HOST.into()),
            Self::Slirp { .. } => Some("10.0.2.2".into()),
            Self::Bare => Some(crate::run::bare::HOST.into()),
            Self::Loopback => Some("127.0.0.1".into()),
            // The default gateway's, which it takes over from the host.
            Self::Pasta { .. } => {
                let route = Command::new("ip").args(["-4", "route", "show", "default"]).output().ok()?;
                let route = String::from_utf8_lossy(&route.stdout).into_owned();
                route.split_whitespace().skip_while(|w| *w != "via").nth(1).map(Into::into)
            }
        }
    }

    /// What the program whose words `words` gives for the host's address writes to its stdout.
    pub fn output(self, words: impl Fn(&str) -> Vec<String>) -> Option<String> {
        let mut all = vec!["timeout".into(), "-k".into(), "5".into(), LIMIT.into()];
        all.extend(words(&self.host()?));
        let output = match self {
            Self::Finack { device } => {
                let mut command = Command::new(finack()?);
                command.args(["run", "--quiet", "--host", "lo.host", "--device", device, "--"]);
                command.args(all).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?.stdout
            }
            Self::Bare => {
                let mut command = Command::new(std::env::current_exe().ok()?);
                command.arg(crate::run::bare::NAME).args(all).stdin(Stdio::null());
                command.stderr(Stdio::null()).output().ok()?.stdout
            }
            Self::Slirp { mtu } => slirp(mtu, &all)?,
            Self::Pasta { mtu } => pasta(mtu, &all)?,
            Self::Loopback => {
                let mut command = Command::new(&all[0]);
                command.args(&all[1..]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?.stdout
            }
        };
        Some(String::from_utf8_lossy(&output).into_owned())
    }
}

/// The address that stands for the host's loopback in finack's private network.
const FINACK_HOST: &str = "198.18.0.254";

/// The command beside this program's workspace.
fn finack() -> Option<PathBuf> {
    let named = std::env::var_os("FINACK").map(PathBuf::from);
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/finack");
    named.or_else(|| Some(PathBuf::from(built))).filter(|path| path.exists())
}

/// A namespace whose shell waits until slirp4netns has made its device.
fn slirp(mtu: u32, words: &[String]) -> Option<Vec<u8>> {
    let script = format!("read line; exec '{}'", words.join("' '"));
    let mut inside = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // The namespace is there once its file differs from ours.
    let ours = std::fs::read_link("/proc/self/ns/net").ok()?;
    let theirs = format!("/proc/{}/ns/net", inside.id());
    for _ in 0..200 {
        if std::fs::read_link(&theirs).is_ok_and(|ns| ns != ours) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut ready, told) = std::io::pipe().ok()?;
    let slirp = Command::new("slirp4netns")
        .args(["--configure", "--ready-fd=0", &format!("--mtu={mtu}"), &inside.id().to_string(), "tap0"])
        .stdin(told)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut slirp = match slirp {
        Ok(slirp) => slirp,
        Err(_) => {
            // End of file lets the shell go.
            drop(inside.stdin.take());
            let _ = inside.wait();
            return None;
        }
    };
    let is_ready = ready.read_exact(&mut [0]).is_ok();
    if is_ready {
        let _ = inside.stdin.take().map(|mut stdin| stdin.write_all(b"\n"));
    } else {
        let _ = inside.kill();
    }
    let output = inside.wait_with_output().ok();
    let _ = slirp.kill();
    let _ = slirp.wait();
    output.map(|output| output.stdout)
}

fn pasta(mtu: u32, words: &[String]) -> Option<Vec<u8>> {
    let mut command = Command::new("pasta");
    if rustix::process::geteuid().is_root() {
        // It would become nobody, who may not open the TUN device everywhere.
        command.args(["--runas", "0:0", "--netns-only"]);
    }
    command.args(["--config-net", "--quiet", "--mtu", &mtu.to_string(), "-T", "none", "-U", "none", "--"]);
    let output = command.args(words).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    Some(output.stdout)
}
