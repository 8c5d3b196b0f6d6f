//! A host of the test's own: a network namespace with addresses that stand for the outside, and a `resolv.conf`.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::UnshareFlags;

use crate::support::{have, required, skip};

/// 192.0.2.1 and 2001:db8::1 are the host's own, as loopback is; 192.0.2.9 and 2001:db8::9 can't be reached; there is no
/// default route.
const LINES: &str = "ip link set lo up
ip addr add 192.0.2.1/32 dev lo
ip -6 addr add 2001:db8::1/128 dev lo nodad
ip route add unreachable 192.0.2.9/32
ip -6 route add unreachable 2001:db8::9/128";

/// Runs `test` on a thread, and with it what the thread starts, on such a host, whose `/etc/resolv.conf` is the text given.
/// Only root can.
pub(crate) fn on_a_host_of_its_own(resolv_conf: &str, test: impl FnOnce() + Send + 'static) {
    if !have(&["python3", "ip"]) {
        return;
    }
    let file = ResolvConf::new(resolv_conf);
    let path = file.0.clone();
    let entered = thread::spawn(move || {
        // SAFETY: the namespaces and the directory of this thread alone change; it shares no memory or descriptor differently.
        let entered = unsafe {
            rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS)
        };
        if let Err(error) = entered {
            assert!(!required(), "FINACK_REQUIRE_NETNS is set, and there is no namespace: {error}");
            return skip("a host of the test's own: only root makes namespaces");
        }
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount_bind(&path, "/etc/resolv.conf").unwrap();
        LINES.lines().for_each(do_line);
        test();
    });
    if let Err(failed) = entered.join() {
        std::panic::resume_unwind(failed);
    }
}

fn do_line(line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{line}: {status}");
}

/// A router beside the host (10.9.0.1, 2001:db8:9::1), and behind it, on a link for packets of 1300 bytes, another host: 10.9.1.2,
/// 2001:db8:91::2. They end when they are dropped; something can be started on the other host.
pub(crate) struct Beyond {
    _router: Server,
    far: Server,
}

impl Beyond {
    pub(crate) fn make() -> Self {
        let namespace = || Server::silent(Command::new("unshare").args(["--net", "sleep", "600"]));
        let (router, far) = (namespace(), namespace());
        let (r, f) = (router.in_own_network(), far.in_own_network());
        let lines = format!(
            "ip link add near type veth peer name here netns {r}
nsenter -t {r} -n ip link add there type veth peer name far netns {f}
ip addr add 10.9.0.2/24 dev near
ip -6 addr add 2001:db8:9::2/64 dev near nodad
ip link set near up
nsenter -t {r} -n ip addr add 10.9.0.1/24 dev here
nsenter -t {r} -n ip -6 addr add 2001:db8:9::1/64 dev here nodad
nsenter -t {r} -n ip addr add 10.9.1.1/24 dev there
nsenter -t {r} -n ip -6 addr add 2001:db8:91::1/64 dev there nodad
nsenter -t {r} -n ip link set here up
nsenter -t {r} -n ip link set there mtu 1300
nsenter -t {r} -n ip link set there up
nsenter -t {r} -n sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
nsenter -t {f} -n ip addr add 10.9.1.2/24 dev far
nsenter -t {f} -n ip -6 addr add 2001:db8:91::2/64 dev far nodad
nsenter -t {f} -n ip link set far mtu 1300
nsenter -t {f} -n ip link set far up
nsenter -t {f} -n ip route add default via 10.9.1.1
nsenter -t {f} -n ip -6 route add default via 2001:db8:91::1
ip route add default via 10.9.0.1
ip -6 route add default via 2001:db8:9::1"
        );
        lines.lines().for_each(do_line);
        Self { _router: router, far }
    }

    /// Starts a server in Python on the other host.
    pub(crate) fn server(&self, args: &[&str]) -> Server {
        let pid = self.far.child.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n", "python3"]).args(args);
        Server::ready(&mut command)
    }
}

/// A file, until it is dropped.
struct ResolvConf(PathBuf);

impl ResolvConf {
    fn new(text: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("finack-resolv-conf-{}-{number}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for ResolvConf {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A server on the host, in Python, until it is dropped. It prints a line when it is ready.
pub(crate) struct Server {
    child: Child,
    /// That line.
    pub(crate) said: String,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::ready(Command::new("python3").args(args))
    }

    fn ready(command: &mut Command) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        Self { child, said: said.trim_end().into() }
    }
}

impl Server {
    /// One that says nothing.
    pub(crate) fn silent(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, said: String::new() }
    }

    /// Its process, once that is in a network namespace of its own.
    fn in_own_network(&self) -> u32 {
        let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
        let (pid, ours) = (self.child.id(), network("thread-self").unwrap());
        while network(&pid.to_string()).is_ok_and(|theirs| theirs == ours) {
            thread::sleep(Duration::from_millis(2));
        }
        pid
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
