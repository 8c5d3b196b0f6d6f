//! `finack run` and the other rootless back-ends: an unmodified `curl` in a private network, bytes up and down.
//!
//! They do not do the same thing. finack's own service answers inside finack's process, and there is no way from the
//! private network to the host yet; slirp4netns and pasta carry the bytes on to a server on the host's loopback, which
//! is one more pass through the kernel. The last line, `curl` on that loopback directly, shows what that pass costs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::measure::{Comparison, Pace, Role, Subject, compare};

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

/// The transfers of one session.
struct Session {
    finack: Option<PathBuf>,
    /// Of the server on the host's loopback.
    port: u16,
    bytes: u64,
    /// Up comes from this file.
    source: PathBuf,
}

/// All lines; each subject that is not there is named with the way to get it.
pub fn all(quick: bool) -> Vec<Comparison> {
    let bytes = if quick { 64 << 20 } else { 512 << 20 };
    let source = std::env::temp_dir().join(format!("finack-bench-{}", std::process::id()));
    let session = match serve().and_then(|port| {
        std::fs::File::create(&source)?.set_len(bytes)?;
        Ok(Session { finack: finack(), port, bytes, source: source.clone() })
    }) {
        Ok(session) => session,
        Err(error) => {
            eprintln!("the transfers cannot be prepared: {error}");
            return Vec::new();
        }
    };
    let pace = Pace { rounds: if quick { 3 } else { 5 }, slice: Duration::ZERO };
    let lines = vec![
        session.compare("finack run, curl down", Way::Down, pace),
        session.compare("finack run, curl up", Way::Up, pace),
    ];
    if let Err(error) = std::fs::remove_file(&source) {
        eprintln!("{} stays behind: {error}", source.display());
    }
    lines
}

/// The command beside this program's workspace.
fn finack() -> Option<PathBuf> {
    let named = std::env::var_os("FINACK").map(PathBuf::from);
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/finack");
    named.or_else(|| Some(PathBuf::from(built))).filter(|path| path.exists())
}

impl Session {
    fn compare<'a>(&'a self, case: &str, way: Way, pace: Pace) -> Comparison {
        let mut subjects = Vec::new();
        let mut missing = Vec::new();
        let mut add = |name, role, run: Box<dyn Fn() -> Option<f64> + 'a>, how: &str| match run() {
            Some(_) => subjects.push(Subject::new(name, role, move |_| run().unwrap_or(f64::NAN))),
            None => missing.push(format!("{name}: did not finish a transfer here (not installed: {how})")),
        };
        let build = "cargo build --release, then `finack check` says what is missing";
        for (name, device) in [("finack run, TUN", "tun"), ("finack run, veth", "veth")] {
            let role = if device == "tun" { Role::Finack } else { Role::Bare };
            add(name, role, Box::new(move || self.through_finack(device, way)), build);
        }
        let apt = "apt-get install slirp4netns";
        add("slirp4netns, MTU 1500", Role::Peer, Box::new(move || self.through_slirp(1500, way)), apt);
        add("slirp4netns, MTU 65520", Role::Peer, Box::new(move || self.through_slirp(65_520, way)), apt);
        let apt = "apt-get install passt";
        add("pasta (tap), MTU 1500", Role::Peer, Box::new(move || self.through_pasta(1500, way)), apt);
        add("pasta (tap), MTU 65520", Role::Peer, Box::new(move || self.through_pasta(65_520, way)), apt);
        add("curl on the loopback", Role::Bare, Box::new(move || self.directly(way)), "apt-get install curl");
        let mut line = compare(case, "Gb/s", true, pace, subjects);
        line.missing = missing;
        line.print();
        line
    }

    /// The arguments of `curl`, which writes its speed to stdout.
    fn curl(&self, way: Way, host: &str) -> Vec<String> {
        let mut words: Vec<String> =
            ["curl", "-s", "--connect-timeout", "5", "-m", "60", "-o", "/dev/null"].map(Into::into).to_vec();
        match way {
            Way::Down => words.extend(["-w".into(), "%{http_code} %{speed_download}".into()]),
            Way::Up => {
                let source = self.source.display().to_string();
                words.extend(["-w".into(), "%{http_code} %{speed_upload}".into(), "-T".into(), source]);
                // The server need not be asked whether it wants them.
                words.extend(["-H".into(), "Expect:".into()]);
            }
        }
        let path = if way == Way::Down { format!("bytes/{}", self.bytes) } else { UPLOAD.into() };
        words.push(format!("http://{host}/{path}"));
        words
    }

    fn through_finack(&self, device: &str, way: Way) -> Option<f64> {
        let mut command = Command::new(self.finack.as_ref()?);
        command.args(["run", "--quiet", "--device", device, "--"]).args(self.curl(way, "hello.finack"));
        speed(&mut command)
    }

    /// A namespace whose shell waits until slirp4netns has made its device.
    fn through_slirp(&self, mtu: u32, way: Way) -> Option<f64> {
        let curl = self.curl(way, &format!("10.0.2.2:{}", self.port)).join("' '");
        let script = format!("read line; exec '{curl}'");
        let mut inside = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
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
        parse(&String::from_utf8_lossy(&output?.stdout))
    }

    fn through_pasta(&self, mtu: u32, way: Way) -> Option<f64> {
        // The address that stands for the host inside is the default gateway's.
        let route = Command::new("ip").args(["-4", "route", "show", "default"]).output().ok()?;
        let route = String::from_utf8_lossy(&route.stdout).into_owned();
        let gateway = route.split_whitespace().skip_while(|w| *w != "via").nth(1)?;
        let mut command = Command::new("pasta");
        if rustix::process::geteuid().is_root() {
            // It would become nobody, who may not open the TUN device everywhere.
            command.args(["--runas", "0:0", "--netns-only"]);
        }
        command.args([
            "--config-net",
            "--quiet",
            "--mtu",
            &mtu.to_string(),
            "-T",
            "none",
            "-U",
            "none",
            "--",
        ]);
        speed(command.args(self.curl(way, &format!("{gateway}:{}", self.port))).stdin(Stdio::null()))
    }

    fn directly(&self, way: Way) -> Option<f64> {
        let words = self.curl(way, &format!("127.0.0.1:{}", self.port));
        speed(Command::new(&words[0]).args(&words[1..]))
    }
}

/// Where uploads go, on finack's service and on the server here.
const UPLOAD: &str = "upload";

/// Gb/s from what `curl` wrote, if all went well.
fn speed(command: &mut Command) -> Option<f64> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(said: &str) -> Option<f64> {
    let (code, bytes) = said.trim().split_once(' ')?;
    let bytes: f64 = bytes.parse().ok()?;
    (code == "200" && bytes > 0.0).then_some(bytes * 8.0 / 1e9)
}

/// A server on the host's loopback that sends as many bytes as are asked for and takes all that come.
fn serve() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let mut buffer = vec![0; 256 << 10];
    let bytes = head.split_whitespace().nth(1).and_then(|path| path.strip_prefix("/bytes/"));
    if let Some(mut left) = bytes.and_then(|n| n.parse::<u64>().ok()) {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {left}\r\nconnection: close\r\n\r\n")?;
        while left > 0 {
            let now = left.min(buffer.len() as u64);
            stream.write_all(&buffer[..now as usize])?;
            left -= now;
        }
        return Ok(());
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
    let mut left: u64 = length.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    while left > 0 {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        left -= n as u64;
    }
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
