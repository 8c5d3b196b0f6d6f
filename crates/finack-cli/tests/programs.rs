//! Programs that people use, carried to servers that people use: each must work as if finack were not there, as root and
//! as an ordinary user, over both devices.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "this file needs only some of it")]
#[path = "support/servers.rs"]
mod servers;
#[allow(dead_code, reason = "this file needs only some of it")]
mod support;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use servers::free_port;
use support::{Setting, command, finack, have, settings, texts};

/// How long a server may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on the host's loopback, until it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server and waits until it listens.
fn serve(command: &mut Command, port: u16) -> Server {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = Server(child);
    await_port(port);
    server
}

fn await_port(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nobody listens on port {port}");
        sleep(Duration::from_millis(20));
    }
}

/// A directory that every user may enter and write to.
fn open_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

/// `len` bytes that do not repeat soon.
fn fill(path: &Path, len: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let bytes: Vec<u8> = std::iter::repeat_with(&mut next).flatten().take(len).collect();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// Runs a shell script with the host's loopback at `lo.host` and wants it to succeed.
fn script(setting: Setting, text: &str) -> (String, String) {
    let output = finack(setting, &["run", "--host", "lo.host"], &["sh", "-euc", text]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{setting}: {}\n{text}\n{stdout}\n{stderr}", output.status);
    (stdout, stderr)
}

fn nginx(dir: &Path, port: u16) -> Server {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let conf = format!(
        "{user} daemon off; master_process off; pid {dir}/pid; error_log {dir}/errors;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {dir}/body; client_max_body_size 0; keepalive_requests 1000000;\n\
         proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; root {dir}; location /put/ {{ dav_methods PUT; dav_access user:rw group:r all:r; }} }} }}\n",
        dir = dir.display()
    );
    fs::write(dir.join("nginx.conf"), conf).unwrap();
    fs::create_dir_all(dir.join("put")).unwrap();
    serve(Command::new("nginx").arg("-c").arg(dir.join("nginx.conf")), port)
}

/// curl both ways, 200 at once, wget and a static binary, with equal sums; wrk with and without keep-alive, without an
/// error.
#[test]
fn a_web_server() {
    if !have(&["nginx", "curl", "wget", "wrk", "busybox", "sha256sum", "seq", "xargs"]) {
        return;
    }
    let dir = open_directory();
    fill(&dir.path().join("large"), 32 << 20);
    fill(&dir.path().join("small"), 10_000);
    let port = free_port();
    let _server = nginx(dir.path(), port);
    for (i, setting) in settings().into_iter().enumerate() {
        let (dir, site) = (dir.path().display(), format!("http://lo.host:{port}"));
        script(
            setting,
            &format!(
                "want=$(sha256sum < {dir}/large)\n\
                 test \"$(curl -sSf {site}/large | sha256sum)\" = \"$want\"\n\
                 curl -sSf -T {dir}/large {site}/put/{i}\n\
                 test \"$(sha256sum < {dir}/put/{i})\" = \"$want\"\n\
                 wget -q -O - {site}/small | cmp - {dir}/small\n\
                 busybox wget -q -O - {site}/small | cmp - {dir}/small\n\
                 seq 200 | xargs -P200 -I_ curl -sSf -o /dev/null {site}/small\n\
                 for close in 'X: y' 'Connection: close'; do\n\
                 wrk -t2 -c32 -d2s -H \"$close\" {site}/small > {dir}/wrk-{i}\n\
                 if grep -i 'errors\\|Non-2xx' {dir}/wrk-{i}; then exit 1; fi\n\
                 done"
            ),
        );
    }
}

/// A shell, a copy and a clone by ssh; a clone over HTTP.
#[test]
fn ssh_and_git() {
    if !have(&["sshd", "ssh", "scp", "ssh-keygen", "git", "nginx"]) {
        return;
    }
    let dir = open_directory();
    let at = |name: &str| dir.path().join(name);
    for key in ["host", "user"] {
        let keygen =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key)).status();
        assert!(keygen.unwrap().success());
    }
    let (ssh, http) = (free_port(), free_port());
    let me = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let conf = format!(
        "Port {ssh}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\nPermitRootLogin yes\n\
         StrictModes no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n",
        dir.path().display()
    );
    fs::write(at("sshd_config"), conf).unwrap();
    if rustix::process::geteuid().is_root() {
        // Debian's sshd wants a place to leave its privileges in.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let sshd = String::from_utf8(Command::new("sh").args(["-c", "command -v sshd"]).output().unwrap().stdout)
        .unwrap();
    let _sshd = serve(Command::new(sshd.trim()).args(["-D", "-f"]).arg(at("sshd_config")), ssh);
    make_repository(&at("repo"));
    fill(&at("file"), 3 << 20);
    let _nginx = nginx(dir.path(), http);

    for (i, setting) in settings().into_iter().enumerate() {
        // A key must be its user's own.
        let key = at(&format!("key-{i}"));
        fs::copy(at("user"), &key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        if setting.ordinary && rustix::process::geteuid().is_root() {
            let nobody = rustix::fs::Uid::from_raw(65_534);
            rustix::fs::chown(&key, Some(nobody), None).unwrap();
        }
        let (dir, key, me) = (dir.path().display(), key.display(), me.trim());
        let options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes";
        script(
            setting,
            &format!(
                "export HOME=$(mktemp -d); cd $HOME\n\
                 test \"$(ssh {options} -i {key} -p {ssh} {me}@lo.host echo from the other side)\" = 'from the other side'\n\
                 scp -q {options} -i {key} -P {ssh} {me}@lo.host:{dir}/file copy; cmp copy {dir}/file\n\
                 scp -q {options} -i {key} -P {ssh} copy {me}@lo.host:{dir}/back-{i}; cmp copy {dir}/back-{i}\n\
                 export GIT_SSH_COMMAND='ssh {options} -i {key}'\n\
                 git clone -q ssh://{me}@lo.host:{ssh}{dir}/repo by-ssh; cmp by-ssh/data {dir}/repo/data\n\
                 git clone -q http://lo.host:{http}/repo/.git by-http; cmp by-http/data {dir}/repo/data\n\
                 rm -rf $HOME"
            ),
        );
    }
}

fn make_repository(at: &Path) {
    fs::create_dir_all(at).unwrap();
    fill(&at.join("data"), 2 << 20);
    let git = |args: &[&str]| {
        let name = ["-c", "user.name=n", "-c", "user.email=n@localhost", "-c", "safe.directory=*"];
        let done = Command::new("git").arg("-C").arg(at).args(name).args(args).output().unwrap();
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "data"]);
    git(&["update-server-info"]);
}

/// iperf3 both ways, with TCP and UDP. Its server takes one client at a time, and may not be done with the last one.
#[test]
fn iperf3_both_ways() {
    if !have(&["iperf3"]) {
        return;
    }
    let port = free_port();
    let _server = serve(Command::new("iperf3").args(["-s", "-p", &port.to_string()]), port);
    for setting in settings() {
        let (out, report) = script(
            setting,
            &format!(
                "again() {{ for _ in 1 2 3 4 5; do \"$@\" && return; sleep 0.3; done; return 1; }}\n\
                 for way in '' -R; do for kind in '' '-u -b 20M'; do again iperf3 -c lo.host -p {port} -t 1 $kind $way; done; done"
            ),
        );
        assert_eq!(out.matches("iperf Done.").count(), 4, "{setting}: {out}\n{report}");
    }
}

/// psql to a PostgreSQL of Debian's.
#[test]
fn a_database() {
    let binaries =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin"));
    let found: Option<PathBuf> = binaries.filter(|bin| bin.join("postgres").exists()).last();
    let Some(bin) = found.filter(|_| have(&["psql", "setpriv"])) else {
        assert!(!support::required(), "FINACK_REQUIRE_NETNS is set, and PostgreSQL is not installed");
        return support::skip("what needs PostgreSQL, which is not installed");
    };
    let dir = open_directory();
    let data = dir.path().join("data");
    // It refuses to run as root.
    let as_nobody = |program: &str| {
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        }
        command.arg("--").arg(bin.join(program)).arg("-D").arg(&data).current_dir("/");
        command
    };
    let made = as_nobody("initdb").args(["-A", "trust", "-U", "tester", "--no-sync"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let options = ["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-k"].map(String::from);
    let _server = serve(as_nobody("postgres").args(options).arg(dir.path()), port);
    for setting in settings() {
        let query = "select count(*), sum(i) from generate_series(1, 200000) i";
        let (out, _) =
            script(setting, &format!("psql -h lo.host -p {port} -U tester -d postgres -Atc '{query}'"));
        assert_eq!(out, "200000|20000100000\n", "{setting}");
    }
}

/// A Python web server and Redis within, let out by `--publish`, under curl and redis-benchmark on the host.
#[test]
fn published_servers() {
    if !have(&["python3", "curl", "redis-server", "redis-benchmark"]) {
        return;
    }
    let dir = open_directory();
    fill(&dir.path().join("page"), 5 << 20);
    for setting in settings() {
        let (web, redis) = (free_port(), free_port());
        let publish = [format!("{web}:8000"), format!("{redis}:6379")];
        let start = format!(
            "cd {}; python3 -m http.server 8000 & redis-server --save '' --protected-mode no & wait",
            dir.path().display()
        );
        let mut within = command(setting);
        within.args(["run", "--quiet", "--device", setting.device, "-p", &publish[0], "-p", &publish[1]]);
        let _within = serve(within.args(["--", "sh", "-c", &start]), web);
        let url = format!("http://127.0.0.1:{web}/page");
        let page = patiently(&["curl", "-sSf", &url]);
        assert_eq!(page, fs::read(dir.path().join("page")).unwrap(), "{setting}");
        let bench = patiently(&[
            "redis-benchmark",
            "-p",
            &redis.to_string(),
            "-n",
            "5000",
            "-c",
            "20",
            "-t",
            "get,set",
            "--csv",
        ]);
        let bench = String::from_utf8_lossy(&bench);
        assert!(bench.contains("\"SET\"") && bench.contains("\"GET\""), "{setting}: {bench}");
    }
}

/// What a command prints once it succeeds: until the server within listens, its clients are reset.
fn patiently(words: &[&str]) -> Vec<u8> {
    let begun = Instant::now();
    loop {
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        if output.status.success() {
            return output.stdout;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(begun.elapsed() < PATIENCE, "{words:?}: {} {said}", output.status);
        sleep(Duration::from_millis(100));
    }
}
