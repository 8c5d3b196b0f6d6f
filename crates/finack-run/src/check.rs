//! What of a private network works on this machine, found out by trying, and what can be done
//! where nothing does.

use std::fmt;
use std::fs;
use std::io;

use serde::Serialize;

use crate::namespace::step::{Failure, Trial};
use crate::namespace::{DevicePath, Network, NetworkConfig, Step};

/// Tries both ways to a private network and reports on each step. What it makes, it removes.
pub fn check() -> Report {
    let config = NetworkConfig::default();
    let trials = [DevicePath::Tun, DevicePath::Veth].map(|path| Network::attempt(&config, path).1);
    Report::new(&trials)
}

/// How one step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It works.
    Ok,
    /// It does not.
    Failed,
    /// It was not tried, for something before it failed, or it is not needed.
    NotTried,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What was tried.
    pub step: Step,
    /// How it went.
    pub outcome: Outcome,
    /// The cause of a failure, or what is worth knowing of a success; may be empty.
    pub detail: String,
    /// What the user can do about a failure.
    pub advice: Option<String>,
}

/// What works on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each step, in the order in which they are taken.
    pub items: Vec<Item>,
    /// What is missing but not needed; a line each.
    pub warnings: Vec<String>,
    /// The device that is taken here; none where no private network can be made.
    pub device: Option<DevicePath>,
}

impl Report {
    /// The device that is taken here; `None` where no private network can be made.
    pub fn device_path(&self) -> Option<DevicePath> {
        self.device
    }

    pub(crate) fn new(trials: &[Trial]) -> Self {
        let device = trials.iter().find(|t| t.failed.is_none()).map(|t| t.path);
        let items = Step::ALL.into_iter().filter_map(|step| item(step, trials, device)).collect();
        let mut warnings: Vec<String> = trials.iter().flat_map(|t| t.warnings.iter().cloned()).collect();
        warnings.dedup();
        warnings.sort();
        warnings.dedup();
        Self { items, warnings, device }
    }
}

/// The line for one step; none where the step belongs to a device that was not asked for, or
/// was not needed.
fn item(step: Step, trials: &[Trial], device: Option<DevicePath>) -> Option<Item> {
    if step.device().is_some_and(|path| trials.iter().all(|t| t.path != path)) {
        return None;
    }
    let failure = trials.iter().filter_map(|t| t.failed.as_ref()).find(|f| f.step == step);
    if let Some(failure) = failure {
        return Some(Item {
            step,
            outcome: Outcome::Failed,
            detail: failure.error.to_string(),
            advice: advice(failure, device),
        });
    }
    let note = trials.iter().flat_map(|t| &t.passed).find(|(passed, _)| *passed == step);
    match note {
        Some((_, note)) => Some(Item { step, outcome: Outcome::Ok, detail: note.clone(), advice: None }),
        // A step between others that worked was not needed: no user namespace, no maps.
        None if trials.iter().any(|t| t.passed.iter().any(|(passed, _)| *passed > step))
            && step.device().is_none() =>
        {
            None
        }
        None => Some(Item { step, outcome: Outcome::NotTried, detail: String::new(), advice: None }),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            let outcome = match item.outcome {
                Outcome::Ok => "ok",
                Outcome::Failed => "failed",
                Outcome::NotTried => "-",
            };
            write!(f, "{outcome:<8}{}", item.step.name())?;
            match item.detail.as_str() {
                "" => writeln!(f)?,
                detail => writeln!(f, ": {detail}")?,
            }
            for line in item.advice.iter().flat_map(|a| a.lines()) {
                writeln!(f, "        {line}")?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "note    {warning}")?;
        }
        match self.device {
            Some(device) => write!(f, "finack run works here, over {device}."),
            None => write!(f, "finack run does not work here: no private network can be made."),
        }
    }
}

/// What the user can do about a failed step; `device` is what works in spite of it.
fn advice(failure: &Failure, device: Option<DevicePath>) -> Option<String> {
    if fs::metadata("/proc/self/status").is_err() {
        return Some("finack needs /proc: as root, mount -t proc proc /proc".into());
    }
    let denied = matches!(failure.error.kind(), io::ErrorKind::PermissionDenied);
    let lines = match failure.step {
        Step::UserNamespace | Step::IdMaps | Step::NetworkNamespace | Step::MountNamespace => {
            namespace_advice(failure)
        }
        Step::TunOpen if device == Some(DevicePath::Veth) => {
            vec![tun_advice(denied), "Not needed: a veth pair is used instead, somewhat slower.".into()]
        }
        Step::TunOpen => vec![tun_advice(denied)],
        Step::TunInterface => {
            vec!["The kernel's TUN driver is too old or restricted; Linux 3.8 or newer is needed.".into()]
        }
        Step::VethPair if failure.error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            vec!["The kernel has no veth: as root, modprobe veth.".into()]
        }
        Step::PacketSocket => {
            vec!["The kernel has no packet sockets (as root, modprobe af_packet), or a seccomp filter forbids them.".into()]
        }
        Step::Files => vec![
            "Mounts are forbidden, as Docker's AppArmor profile does: start the container with".into(),
            "--security-opt apparmor=unconfined, or run finack outside of it. Where /etc/resolv.conf is"
                .into(),
            "missing, an empty one is enough.".into(),
        ],
        Step::Keeper | Step::VethPair | Step::Addresses => Vec::new(),
    };
    if lines.is_empty() { None } else { Some(lines.join("\n")) }
}

fn tun_advice(denied: bool) -> String {
    if denied {
        "As root, chmod 0666 /dev/net/tun: it gives nobody rights over a network that is not theirs.".into()
    } else {
        "There is no TUN here: as root, modprobe tun; for a container, add --device /dev/net/tun.".into()
    }
}

/// Why namespaces are refused, as far as the machine's settings tell.
fn namespace_advice(failure: &Failure) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |line: &str| lines.push(line.to_owned());
    if setting("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        add("AppArmor keeps ordinary users from namespaces (Ubuntu 23.10 and newer). As root, either");
        add("  sysctl kernel.apparmor_restrict_unprivileged_userns=0");
        add("or write a profile for this program with `userns,` in it; or run finack as root.");
    }
    if setting("kernel/unprivileged_userns_clone") == Some(0) {
        add("User namespaces are for root only here. As root: sysctl kernel.unprivileged_userns_clone=1");
    }
    for (name, what) in [
        ("max_user_namespaces", Step::UserNamespace),
        ("max_net_namespaces", Step::NetworkNamespace),
        ("max_mnt_namespaces", Step::MountNamespace),
    ] {
        let exhausted = failure.step == what && failure.error.raw_os_error() == Some(libc::ENOSPC);
        if setting(&format!("user/{name}")) == Some(0) || exhausted {
            add(&format!("The number of such namespaces is limited. As root: sysctl user.{name}=10000"));
        }
    }
    if failure.error.raw_os_error() == Some(libc::EINVAL)
        || failure.error.raw_os_error() == Some(libc::ENOSYS)
    {
        add("The kernel was built without these namespaces.");
    }
    if lines.is_empty() && failure.error.kind() == io::ErrorKind::PermissionDenied {
        if in_seccomp() {
            lines.push(
                "A seccomp filter forbids namespaces, as Docker's default does. Start the container with"
                    .into(),
            );
            lines.push(
                "  --security-opt seccomp=unconfined   (or --cap-add SYS_ADMIN --cap-add NET_ADMIN)".into(),
            );
        } else {
            lines.push("Something forbids namespaces: a security module, a chroot, or a container. Try as root, or outside.".into());
        }
    }
    lines
}

fn setting(name: &str) -> Option<i64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

fn in_seccomp() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|l| l.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

#[cfg(test)]
mod tests;
