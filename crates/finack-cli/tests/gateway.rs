//! The way out of the private network: real programs and servers on the host, as root and as an ordinary user, over both
//! devices.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "support/servers.rs"]
mod servers;
#[allow(dead_code, reason = "this file needs only some of it")]
mod support;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use servers::{PATIENCE, free_port, page, reset, server, wrapped};
use support::{Setting, finack, have, settings, texts};

/// Runs Python with the host's loopback at `lo.host`; its output and the report. `{port}` stands for a port.
fn python(setting: Setting, port: u16, script: &str) -> (String, String) {
    let prelude = "import errno, os, socket, struct, sys, time\n\
                   def connect(host='lo.host'):\n    \
                       s = socket.socket(); s.settimeout(30); s.connect((socket.gethostbyname(host), PORT)); return s\n\
                   def everything(s):\n    \
                       data = b''\n    \
                       while chunk := s.recv(65536): data += chunk\n    \
                       return data\n\
                   def error(call):\n    \
                       try: call()\n    \
                       except OSError as e: return errno.errorcode.get(e.errno, str(e))\n    \
                       return 'none'\n";
    let script = format!("PORT = {port}\n{prelude}{script}");
    let output = finack(setting, &["run", "--host", "lo.host"], &["python3", "-c", &script]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{setting}: {}\n{stdout}\n{stderr}", output.status);
    (stdout, stderr)
}

#[test]
fn a_page_from_the_hosts_loopback_by_its_name() {
    if !have(&["curl"]) {
        return;
    }
    let port = server(|stream| page(stream, 1 << 20));
    for setting in settings() {
        let url = format!("http://LO.host:{port}/");
        let program = ["curl", "-sS", "-4", "-o", "/dev/null", "-w", "%{size_download}", &url];
        let output = finack(setting, &["run", "--host", "other", "--host", "lo.host"], &program);
        let (size, report) = texts(&output);
        assert_eq!(size, "1048576", "{setting}: {report}");
        assert!(report.contains(&format!("connected to 127.0.0.1:{port}")), "{setting}: {report}");
        assert!(report.contains("closed in order"), "{setting}: {report}");
        // By the first of its names.
        assert!(report.contains(&format!(" → other:{port}")), "{setting}: {report}");
    }
}

#[test]
fn two_hundred_fetches_at_once() {
    if !have(&["curl", "seq", "xargs"]) {
        return;
    }
    let port = server(|stream| page(stream, 10_000));
    for setting in settings() {
        let script = format!(
            "seq 200 | xargs -I{{}} -P200 curl -sSf -4 -o /dev/null -w '%{{size_download}}\\n' http://lo.host:{port}/"
        );
        let output = finack(setting, &["run", "--host", "lo.host"], &["sh", "-c", &script]);
        let (sizes, report) = texts(&output);
        assert_eq!(sizes, "10000\n".repeat(200), "{setting}: {report}");
        assert!(report.contains("finack: 200 TCP connections (200 closed in order)"), "{setting}: {report}");
    }
}

#[test]
fn the_hosts_loopback_is_out_of_reach_unless_it_was_asked_for() {
    if !have(&["python3"]) {
        return;
    }
    let port = server(|mut stream| stream.write_all(b"secret"));
    // The address that would mean the host, the network's own, and loopback addresses in disguise.
    let script = format!(
        "import errno, socket\n\
         for to in ['198.18.0.254', 'fd66:696e:6163:6b00::254', '198.18.0.1', '127.0.0.1', '::1', '::ffff:127.0.0.1', \
                    '::127.0.0.1', '0.0.0.0']:\n    \
             s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET); s.settimeout(5)\n    \
             try: s.connect((to, {port})); print(to, 'open', s.recv(10))\n    \
             except OSError as e: pass\n\
         try: socket.getaddrinfo('lo.host', 80); print('known')\n\
         except socket.gaierror: pass\n"
    );
    for setting in settings() {
        for flags in [&["run"][..], &["run", "--isolated"]] {
            let output = finack(setting, flags, &["python3", "-c", &script]);
            assert_eq!(texts(&output).0, "", "{setting} {flags:?}: {}", texts(&output).1);
            assert!(output.status.success(), "{setting}: {}", texts(&output).1);
        }
    }
}

/// RFC 9293 3.10.7.1: the refusal is the host's, passed on at once.
#[test]
fn a_refusal_is_passed_on() {
    if !have(&["python3"]) {
        return;
    }
    let port = free_port();
    for setting in settings() {
        let script = "t = time.time(); print(error(connect), time.time() - t < 1)";
        let (out, report) = python(setting, port, script);
        assert_eq!(out, "ECONNREFUSED True\n", "{setting}");
        assert!(report.contains("ended      refused: "), "{setting}: {report}");
    }
}

/// RFC 9293 3.6: a half-closed connection goes on the other way.
#[test]
fn a_server_that_answers_only_after_the_end_gets_the_end() {
    if !have(&["nc", "printf"]) {
        return;
    }
    let port = server(|mut stream| {
        let mut question = String::new();
        stream.read_to_string(&mut question)?;
        write!(stream, "to '{question}': {}", "answer ".repeat(20_000))
    });
    for setting in settings() {
        let script = format!("printf question | nc -N lo.host {port}");
        let output = finack(setting, &["run", "--host", "lo.host"], &["sh", "-c", &script]);
        let (answer, report) = texts(&output);
        assert!(answer.starts_with("to 'question': answer"), "{setting}: {answer:.60}\n{report}");
        assert_eq!(answer.len(), "to 'question': ".len() + 140_000, "{setting}: {report}");
    }
}

/// RFC 9293 3.6, the other way: the server has said its last word, and the program goes on.
#[test]
fn a_server_that_half_closes_reads_on() {
    if !have(&["python3"]) {
        return;
    }
    let (sender, heard) = mpsc::channel();
    let port = server(move |mut stream| {
        stream.write_all(b"last word")?;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        sender.send((rest.len(), end.is_ok())).map_err(io::Error::other)
    });
    for setting in settings() {
        let script = "s = connect(); print(everything(s).decode()); time.sleep(0.3)\n\
                      s.sendall(b'y' * 1_000_000); s.close()";
        let (out, report) = python(setting, port, script);
        assert_eq!(out, "last word\n", "{setting}");
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (1_000_000, true), "{setting}: {report}");
        assert!(report.contains("closed in order"), "{setting}: {report}");
    }
}

/// RFC 9293 3.5.3: a RST of the server's is the program's, after everything that came before it.
#[test]
fn a_reset_by_the_server_comes_after_its_data() {
    if !have(&["python3"]) {
        return;
    }
    let port = server(|mut stream| {
        stream.read_exact(&mut [0; 2])?;
        stream.write_all(&vec![b'z'; 100_000])?;
        // Until the gateway has read it: what a RST overtakes on its own way is lost on any network.
        thread::sleep(Duration::from_millis(200));
        reset(stream)
    });
    for setting in settings() {
        let script = "s = connect(); s.sendall(b'go'); time.sleep(0.5); n = 0\n\
                      try:\n    while chunk := s.recv(65536): n += len(chunk)\n    print(n, 'end')\n\
                      except OSError as e: print(n, errno.errorcode[e.errno])";
        let (out, report) = python(setting, port, script);
        assert_eq!(out, "100000 ECONNRESET\n", "{setting}: {report}");
        assert!(report.contains("reset it (RST, ECONNRESET)"), "{setting}: {report}");
        assert!(report.contains("the other end reset it (RST)"), "{setting}: {report}");
    }
}

/// RFC 1122 4.2.2.13: the program's abort is the server's ECONNRESET, also while the server only waits.
#[test]
fn a_reset_by_the_program_reaches_the_server() {
    if !have(&["python3"]) {
        return;
    }
    let (sender, heard) = mpsc::channel();
    let port = server(move |mut stream| {
        let mut got = Vec::new();
        let end = stream.read_to_end(&mut got).map_err(|e| e.kind());
        sender.send((got, end)).map_err(io::Error::other)
    });
    for setting in settings() {
        let script = "s = connect(); s.sendall(b'before'); time.sleep(0.2)\n\
                      s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()";
        let (_, report) = python(setting, port, script);
        let (got, end) = heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!((&got[..], end), (&b"before"[..], Err(io::ErrorKind::ConnectionReset)), "{setting}");
        assert!(report.contains("reset by the program"), "{setting}: {report}");
    }
}

/// Each side is held back by the other's not reading: what fits into the buffers on the way is bounded.
#[test]
fn who_does_not_read_holds_the_other_back() {
    if !have(&["python3"]) {
        return;
    }
    let (sender, heard) = mpsc::channel();
    let port = server(move |mut stream| {
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let (chunk, mut sent) = (vec![b'd'; 1 << 16], 0_u64);
        let error = loop {
            match stream.write(&chunk) {
                Ok(n) => sent += n as u64,
                Err(error) => break error.kind(),
            }
        };
        sender.send((sent, error)).map_err(io::Error::other)?;
        // And now it is the server that does not read.
        thread::sleep(PATIENCE);
        Ok(())
    });
    for setting in settings() {
        let script = "s = connect(); time.sleep(2.5); s.settimeout(1); n = 0\n\
                      try:\n    while True: n += s.send(b'u' * 65536)\n\
                      except TimeoutError: print(n)";
        let (out, report) = python(setting, port, script);
        let (sent, error) = heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(error, io::ErrorKind::WouldBlock, "{setting}");
        let up: u64 = out.trim().parse().unwrap();
        for bytes in [sent, up] {
            assert!((100_000..48 << 20).contains(&bytes), "{setting}: {bytes} bytes\n{report}");
        }
    }
}

/// What a program leaves behind in its kernel reaches the server, also where that is slow and the program gone.
#[test]
fn a_program_that_writes_and_exits_has_its_data_delivered() {
    if !have(&["python3"]) {
        return;
    }
    let (sender, heard) = mpsc::channel();
    let port = server(move |mut stream| {
        let (mut chunk, mut got) = (vec![0; 16 << 10], 0);
        // Some two seconds for two megabytes.
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => break sender.send(Ok(got)).map_err(io::Error::other),
                Ok(n) => got += n,
                Err(error) => break sender.send(Err(error.kind())).map_err(io::Error::other),
            }
            thread::sleep(Duration::from_millis(15));
        }
    });
    for setting in settings() {
        let script = "s = connect(); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)\n\
                      s.sendall(b'w' * 2_000_000); os._exit(0)";
        let (_, report) = python(setting, port, script);
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(2_000_000), "{setting}: {report}");
        let script = format!("printf x | nc -N lo.host {port}");
        let output = finack(setting, &["run", "--host", "lo.host"], &["sh", "-c", &script]);
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(1), "{setting}: {}", texts(&output).1);
    }
}

/// Where descriptors are short connections wait for each other; one line says so, and none is lost.
#[test]
fn with_few_descriptors_connections_wait_their_turn() {
    if !have(&["python3", "prlimit"]) {
        return;
    }
    let port = server(|mut stream| {
        thread::sleep(Duration::from_millis(100));
        stream.write_all(b"served")
    });
    for setting in settings() {
        let script = format!(
            "import concurrent.futures, resource, socket\n\
             at = (socket.gethostbyname('lo.host'), {port})\n\
             def fetch(_):\n    \
                 with socket.create_connection(at, 30) as s: return s.recv(100)\n\
             with concurrent.futures.ThreadPoolExecutor(40) as pool:\n    \
                 print(sum(got == b'served' for got in pool.map(fetch, range(40))))\n\
             print(resource.getrlimit(resource.RLIMIT_NOFILE))"
        );
        let limited = wrapped(
            &["prlimit", "--nofile=80:90", "--"],
            setting,
            &["run", "--host", "lo.host"],
            &["python3", "-c", &script],
        )
        .output()
        .unwrap();
        let (out, report) = texts(&limited);
        assert_eq!(out, "40\n(80, 90)\n", "the program keeps its limits, {setting}: {report}");
        let told = "finack: no descriptor is left for connections to the outside (the limit is 90)";
        assert_eq!(report.matches(told).count(), 1, "{setting}: {report}");
        assert_eq!(report.matches("times there was no descriptor").count(), 1, "{setting}: {report}");
    }
}

/// The server's process is killed in the middle: its kernel resets, and the report says who it was.
#[test]
fn a_server_that_dies_with_data_unread_is_named() {
    if !have(&["python3"]) {
        return;
    }
    let port = server(|mut stream| {
        stream.read_exact(&mut [0; 100])?;
        // Closed with more unread: RFC 1122 4.2.2.13.
        thread::sleep(Duration::from_millis(100));
        Ok(())
    });
    for setting in settings() {
        let script = "s = connect()\n\
                      def write():\n    for _ in range(1000): s.sendall(b'm' * 10_000); time.sleep(0.001)\n\
                      e = error(write); print(e in ('EPIPE', 'ECONNRESET'), e)";
        let (out, report) = python(setting, port, script);
        assert!(out.starts_with("True"), "{setting}: {out}");
        assert!(report.contains("reset it (RST, ECONNRESET)"), "{setting}: {report}");
    }
}

/// Interrupted while it only waits for the program's last data to be taken, finack ends at once.
#[test]
fn a_signal_ends_the_wait_for_a_server_that_does_not_read() {
    if !have(&["python3"]) {
        return;
    }
    let port = server(|mut stream| {
        // Something moves now and then for longer than anybody waits.
        let mut chunk = vec![0; 64 << 10];
        while stream.read(&mut chunk)? > 0 {
            thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    });
    for setting in settings() {
        let script = format!(
            "import os, socket, sys\n\
             s = socket.create_connection((socket.gethostbyname('lo.host'), {port}), 10)\n\
             s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)\n\
             s.settimeout(2)\n\
             try: s.sendall(b'q' * 100_000_000)\n\
             except TimeoutError: pass\n\
             print('gone', flush=True); os._exit(0)"
        );
        // Where a shell began the tests in its background, SIGINT is ignored, and finack would go on ignoring it.
        let heeding = ["env", "--default-signal=INT"];
        let mut child =
            wrapped(&heeding, setting, &["run", "--host", "lo.host"], &["python3", "-c", &script])
                .spawn()
                .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut line = [0; 5];
        out.read_exact(&mut line).unwrap();
        thread::sleep(Duration::from_millis(2500));
        assert!(child.try_wait().unwrap().is_none(), "{setting}: data still moves");
        let before = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(before.elapsed() < Duration::from_secs(2), "{setting}: {:?}", before.elapsed());
        assert!(ended.status.success(), "the program's own status, {setting}: {}", texts(&ended).1);
    }
}

/// SIOCOUTQ and SO_LINGER of the program tell what the server's kernel has acknowledged, its FIN too, once they are asked to;
/// without they tell what finack has.
#[test]
fn strict_acks_are_the_servers() {
    if !have(&["python3"]) {
        return;
    }
    let (go, wait) = mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    let (sender, heard) = mpsc::channel();
    let listener = small_listener();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // Reads nothing until it is told to.
            wait.lock().unwrap().recv().unwrap();
            let mut all = Vec::new();
            let end = stream.read_to_end(&mut all).map_err(|e| e.kind());
            sender.send(end).unwrap();
        }
    });
    let script = format!(
        "import fcntl, os, socket, struct, sys, termios, time\n\
         s = socket.create_connection((socket.gethostbyname('lo.host'), {port}), 10)\n\
         queued = lambda: struct.unpack('i', fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]\n\
         s.sendall(b's' * 30_000); time.sleep(1)\n\
         print(queued() > 10_000, flush=True)\n\
         sys.stdin.readline()\n\
         until = time.time() + 10\n\
         while queued() and time.time() < until: time.sleep(0.01)\n\
         print(queued(), flush=True)\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 20)); t = time.time(); s.close()\n\
         print(time.time() - t < 10)"
    );
    for setting in settings() {
        for (flags, held) in [
            (&["run", "--host", "lo.host"][..], "False"),
            (&["run", "--host", "lo.host", "--strict-ack"], "True"),
        ] {
            let mut command = wrapped(&[], setting, flags, &["python3", "-c", &script]);
            let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
            let mut out = io::BufReader::new(child.stdout.take().unwrap());
            let mut first = String::new();
            io::BufRead::read_line(&mut out, &mut first).unwrap();
            go.send(()).unwrap();
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
            let mut rest = String::new();
            out.read_to_string(&mut rest).unwrap();
            let report = texts(&child.wait_with_output().unwrap()).1;
            assert_eq!(first, format!("{held}\n"), "{flags:?} {setting}: {report}");
            assert_eq!(rest, "0\nTrue\n", "{flags:?} {setting}: {report}");
            assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(30_000), "{flags:?} {setting}: {report}");
            assert!(report.contains("closed in order"), "{flags:?} {setting}: {report}");
        }
    }
}

/// Listens with the smallest receive buffer there is.
fn small_listener() -> std::net::TcpListener {
    use rustix::net::{AddressFamily, SocketType};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 2048).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    socket.into()
}

/// `kill -9` of finack: the server's connection ends, and the program with all that was made for it.
#[test]
fn nothing_is_left_when_finack_is_killed() {
    if !have(&["python3"]) {
        return;
    }
    let (sender, heard) = mpsc::channel();
    let port = server(move |mut stream| {
        stream.write_all(b"hello")?;
        let end = stream.read(&mut [0]).map_err(|e| e.kind());
        sender.send(end).map_err(io::Error::other)
    });
    for setting in settings() {
        let script = format!(
            "import os, socket, time\n\
             s = socket.create_connection((socket.gethostbyname('lo.host'), {port}), 10)\n\
             s.recv(5); print(os.getpid(), flush=True); time.sleep(600)"
        );
        let flags = ["run", "--host", "lo.host", "--publish", &format!("{}:80", free_port())];
        let mut child = wrapped(&[], setting, &flags, &["python3", "-c", &script]).spawn().unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let program = format!("/proc/{}", line.trim());
        assert!(std::path::Path::new(&program).exists(), "{setting}: {line}");
        child.kill().unwrap();
        child.wait().unwrap();
        // A FIN or a RST: finack had no time to choose.
        let end = heard.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{setting}: {end:?}");
        let until = Instant::now() + Duration::from_secs(10);
        while std::path::Path::new(&program).exists() {
            assert!(Instant::now() < until, "{setting}: the program is still there");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
