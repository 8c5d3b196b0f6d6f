//! `finack ss` beside running `finack run`s, as root and as an ordinary user, over both devices.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Setting, command, have, settings, skip, texts};

/// How long a socket may take to come into its state.
const PATIENCE: Duration = Duration::from_secs(20);

/// Holds a connection in each of some states: established, closed by the server only, closed by itself first,
/// and one to blackhole.finack. Ends with its standard input.
const HOLD: &str = "
    exec 3<>/dev/tcp/198.18.0.80/80
    exec 4<>/dev/tcp/198.18.0.80/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&4
    exec 5<>/dev/tcp/198.18.0.80/80; exec 5>&-
    (exec 6<>/dev/tcp/198.18.0.103/81) 2>/dev/null &
    read line || true
    kill $! 2>/dev/null || true";

/// A `finack run` in the background; it ends when this is dropped.
struct Running {
    child: Child,
    pid: String,
    setting: Setting,
}

impl Running {
    fn start(setting: Setting, environment: &[(&str, &str)]) -> Self {
        Self::start_with(setting, &[], environment)
    }

    fn start_with(setting: Setting, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(setting);
        command.args(["run", "--quiet", "--device", setting.device]).args(flags);
        command.args(["--", "bash", "-euc", HOLD]);
        command.envs(environment.iter().copied()).stdin(Stdio::piped());
        let child = command.spawn().unwrap();
        // Everything between this and finack has executed finack, in the same process.
        let pid = child.id().to_string();
        Self { child, pid, setting }
    }

    /// Asks with `flags` until the answer has all of `words`.
    fn wait_for(&self, flags: &[&str], words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.ask(flags);
            let (stdout, stderr) = texts(&output);
            if words.iter().all(|word| stdout.contains(word)) {
                assert!(output.status.success(), "{stderr}");
                return stdout;
            }
            assert!(Instant::now() < deadline, "{}: no {words:?} in\n{stdout}\n{stderr}", self.setting);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ask(&self, flags: &[&str]) -> Output {
        let mut ss = command(self.setting);
        ss.args(["ss", "--run", &self.pid]).args(flags).output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The state and what follows the peer, of each socket, by the peer's port.
fn rows(stdout: &str) -> Vec<(&str, &str)> {
    let mut rows: Vec<_> = stdout
        .lines()
        .filter(|line| !line.starts_with('\t'))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some((*words.first()?, *words.get(4)?))
        })
        .collect();
    rows.sort_unstable();
    rows
}

/// The states are those that the program's kernel has, in `ss`'s columns; a gone run is no error.
#[test]
fn the_connections_of_a_running_program_are_listed() {
    if !have(&["bash"]) {
        return;
    }
    for setting in settings() {
        let run = Running::start(setting, &[]);
        let states = ["finack: ESTAB", "CLOSE-WAIT", "TIME-WAIT", "SYN-SENT", "finack: FIN-WAIT-2"];
        let stdout = run.wait_for(&["-tanio"], &states);
        let heading = stdout.lines().next().unwrap_or_default();
        let words = "State Recv-Q Send-Q Local Address:Port Peer Address:Port";
        assert_eq!(heading.split_whitespace().collect::<Vec<_>>().join(" "), words, "{setting}");
        let expected = [
            ("CLOSE-WAIT", "198.18.0.80:80"),
            ("ESTAB", "198.18.0.80:80"),
            ("SYN-SENT", "198.18.0.103:81"),
            ("TIME-WAIT", "198.18.0.80:80"),
        ];
        assert_eq!(rows(&stdout)[..2], expected[..2], "{setting}\n{stdout}");
        assert!(expected.iter().all(|row| rows(&stdout).contains(row)), "{setting}\n{stdout}");
        for word in
            ["timer:(timewait,", "timer:(on,", "for:", "rtt:", "cwnd:", "finack: ESTAB", "finack: FIN-WAIT-2"]
        {
            assert!(stdout.contains(word), "{setting}: no {word} in\n{stdout}");
        }
        // Columns line up: every address begins where the heading's colon says.
        let colons: Vec<_> =
            stdout.lines().filter(|l| !l.starts_with('\t')).map(|l| l.match_indices(':').nth(1)).collect();
        assert!(
            colons.iter().all(|c| c.map(|(at, _)| at) == colons[0].map(|(at, _)| at)),
            "{setting}\n{stdout}"
        );

        let stdout =
            run.wait_for(&["-p", "-o", "state", "close-wait", "dport", "=", ":80"], &["hello.finack:80"]);
        assert_eq!(rows(&stdout).len(), 2, "the heading and one: {setting}\n{stdout}");
        assert!(stdout.contains("users:((\"bash\",pid="), "{setting}\n{stdout}");
        let (pid, ours) = (run.pid.clone(), run.wait_for(&["--finack", "-tan"], &["FIN-WAIT-2"]));
        assert!(ours.contains("198.18.0.80:80"), "{setting}\n{ours}");
        let summary = run.wait_for(&["-s"], &["CLOSE-WAIT          1        0"]);
        assert!(summary.starts_with(&format!("finack run {pid} (bash -euc ")), "{setting}\n{summary}");
        drop(run);
        let gone = command(setting).args(["ss", "--run", &pid]).output().unwrap();
        assert_eq!(gone.status.code(), Some(1), "{setting}");
        assert!(texts(&gone).1.contains(&format!("no finack run is called {pid}")), "{setting}");
    }
}

/// A program that does not close keeps its socket in CLOSE-WAIT long after finack's end is gone: it is still known for how
/// long.
#[test]
fn a_close_wait_outlives_finacks_end() {
    let Some(&setting) = settings().first().filter(|_| have(&["bash"])) else { return };
    let run = Running::start_with(setting, &["--sysctl", "tcp_fin_timeout=1"], &[]);
    run.wait_for(&["--finack", "-ta"], &["ESTAB", "LISTEN"]);
    let flags = ["-toniH", "state", "close-wait"];
    run.wait_for(&flags, &["finack: FIN-WAIT-2"]);
    let deadline = Instant::now() + PATIENCE;
    let left = loop {
        let left = run.wait_for(&flags, &["CLOSE-WAIT"]);
        if !left.contains("finack:") {
            break left;
        }
        assert!(Instant::now() < deadline, "{left}");
    };
    assert!(left.contains("for:1"), "{left}");
}

/// JSON has both ends of each.
#[test]
fn json_has_every_number() {
    let Some(&setting) = settings().first().filter(|_| have(&["bash"])) else { return };
    let run = Running::start(setting, &[]);
    let stdout = run.wait_for(&["--json", "-t", "state", "close-wait"], &["FIN-WAIT-2"]);
    let sockets: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let socket = &sockets[0];
    assert_eq!(socket["state"], "CLOSE-WAIT");
    assert_eq!(socket["run"].to_string(), run.pid);
    assert_eq!(socket["other"]["state"], "FIN-WAIT-2");
    assert_eq!(socket["other"]["local"], socket["peer"]);
    // What one end has received is what the other's peer has acknowledged.
    assert_eq!(
        socket["info"]["bytes_received"].as_u64(),
        socket["other"]["info"]["bytes_acked"].as_u64().map(|b| b + 1)
    );
}

/// Root sees an ordinary user's run; an ordinary user does not see root's, in whatever way it asks.
#[test]
fn a_run_is_its_users_and_roots_alone() {
    let both: Vec<Setting> = settings().into_iter().filter(|s| s.device == "tun").collect();
    let (Some(&root), Some(&ordinary)) =
        (both.iter().find(|s| !s.ordinary), both.iter().find(|s| s.ordinary))
    else {
        return skip("what needs root and an ordinary user");
    };
    if !have(&["bash", "setpriv", "nc"]) {
        return;
    }
    let run = Running::start(ordinary, &[]);
    run.wait_for(&["-tan"], &["ESTAB"]);
    let seen = command(root).args(["ss", "-tan", "--run", &run.pid]).output().unwrap();
    assert!(texts(&seen).0.contains("ESTAB"), "{:?}", texts(&seen));
    drop(run);

    let runtime = tempfile::tempdir().unwrap();
    let place = runtime.path().to_str().unwrap();
    let run = Running::start(root, &[("XDG_RUNTIME_DIR", place)]);
    let own = || {
        let mut ss = command(root);
        texts(&ss.args(["ss", "-tan", "--run", &run.pid]).env("XDG_RUNTIME_DIR", place).output().unwrap())
    };
    let deadline = Instant::now() + PATIENCE;
    while !own().0.contains("ESTAB") {
        assert!(Instant::now() < deadline, "{:?}", own());
    }
    let other =
        command(ordinary).args(["ss", "--run", &run.pid]).env("XDG_RUNTIME_DIR", place).output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    // Should the directory ever be open to all, the kernel still tells who asks.
    let socket = format!("{place}/finack/{}.sock", run.pid);
    for (path, mode) in [(place, 0o711), (&format!("{place}/finack"), 0o711), (&socket, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let ask = |uid: &str| {
        let mut nc = Command::new("setpriv");
        nc.args(["--reuid", uid, "--regid", uid, "--clear-groups", "--", "nc", "-U", &socket]);
        let child = nc.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.as_ref().unwrap().write_all(b"{\"protocol\":1,\"show\":\"run\"}\n");
        texts(&child.wait_with_output().unwrap()).0
    };
    assert!(ask("0").contains("\"run\":{"), "root is answered");
    assert_eq!(ask("65534"), "", "nobody is not");
}

/// What makes no sense is answered in one line, and a client that says nothing holds nobody up.
#[test]
fn nonsense_on_the_socket_is_answered() {
    let Some(&setting) = settings().iter().find(|s| !s.ordinary).filter(|_| have(&["bash", "nc"])) else {
        return;
    };
    let runtime = tempfile::tempdir().unwrap();
    let place = runtime.path().to_str().unwrap();
    let run = Running::start(setting, &[("XDG_RUNTIME_DIR", place)]);
    let socket = std::path::PathBuf::from(format!("{place}/finack/{}.sock", run.pid));
    let deadline = Instant::now() + PATIENCE;
    let connect = || std::os::unix::net::UnixStream::connect(&socket);
    while connect().is_err() {
        assert!(Instant::now() < deadline, "no socket");
    }
    let _silent: Vec<_> = (0..3).map(|_| connect().unwrap()).collect();
    let ask = |request: &[u8]| {
        let stream = connect().unwrap();
        let _ = (&stream).write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        std::io::read_to_string(stream).unwrap()
    };
    assert!(ask(b"hello\n").starts_with("{\"error\":\"the request makes no sense: "));
    assert!(ask(b"{\"protocol\":99,\"show\":\"run\"}\n").contains("speaks protocol 1"));
    assert!(ask(&[b'x'; 10_000]).contains("no more than 4096 bytes"));
    assert!(ask(b"").contains("makes no sense"));
    assert!(ask(b"{\"protocol\":1,\"show\":\"run\"}\n").ends_with("{\"done\":{}}\n"));
}

/// A run that was stopped, as by Ctrl-Z, is named at once instead of being waited for.
#[test]
fn a_stopped_run_is_named() {
    let Some(&setting) = settings().iter().find(|s| !s.ordinary).filter(|_| have(&["bash", "kill"])) else {
        return;
    };
    let runtime = tempfile::tempdir().unwrap();
    let place = [("XDG_RUNTIME_DIR", runtime.path().to_str().unwrap())];
    let run = Running::start(setting, &place);
    let ask = |flags: &[&str]| {
        let start = Instant::now();
        let output = command(setting).args(["ss", "-tan"]).args(flags).envs(place).output().unwrap();
        (texts(&output), start.elapsed())
    };
    let deadline = Instant::now() + PATIENCE;
    // Root sees the other tests' runs too.
    while !ask(&["--run", &run.pid]).0.0.contains("ESTAB") {
        assert!(Instant::now() < deadline);
    }
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &run.pid]).status().unwrap().success());
    signal("-STOP");
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", run.pid)).unwrap();
    while !stat().contains(") T ") {
        assert!(Instant::now() < deadline, "{}", stat());
    }
    let ((_, stderr), took) = ask(&[]);
    signal("-CONT");
    assert!(stderr.contains(&format!("finack run {} is stopped: `kill -CONT", run.pid)), "{stderr}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A mistake in a filter is told in one line, and status 2.
#[test]
fn a_wrong_filter_is_told() {
    let Some(&setting) = settings().first() else { return };
    let output = command(setting).args(["ss", "state", "open"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.starts_with("finack: filter: there is no state open"), "{}", texts(&output).1);
    // Flags may stand behind the filter, as in ss.
    let output = command(setting).args(["ss", "state", "all", "-n"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

/// The program may ask too: it is the same user, and what it sees is its own.
#[test]
fn the_program_sees_its_own_run() {
    for setting in settings() {
        let ask = format!("{} ss -s", support::binary().display());
        let (stdout, _) = support::run_script(setting, &ask);
        assert!(stdout.starts_with("finack run ") && stdout.contains("\nUDP "), "{setting}\n{stdout}");
    }
}

/// Where no socket can stand, the program runs all the same, and finack says what `ss` will not see.
#[test]
fn a_run_without_a_place_for_its_socket_goes_on() {
    let Some(&setting) = settings().iter().find(|s| !s.ordinary) else { return };
    let (_, stderr) = support::run(setting, &["true"]);
    assert!(!stderr.contains("finack ss"), "{stderr}");
    // A user whose place somebody else has.
    let place = "/tmp/finack-65533";
    std::fs::create_dir_all(place).unwrap();
    let program = ["--reuid", "65533", "--regid", "65533", "--clear-groups", "--"];
    let mut setpriv = Command::new("setpriv");
    setpriv.args(program).arg(support::binary()).args(["run", "--device", "veth", "--", "echo", "done"]);
    let output = setpriv.env_remove("XDG_RUNTIME_DIR").output().unwrap();
    std::fs::remove_dir(place).unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(stdout, "done\n", "{stderr}");
    let line = format!("finack: `finack ss` can't see this run: {place}: it belongs to user 0: remove it\n");
    assert!(stderr.contains(&line), "{stderr}");
}
