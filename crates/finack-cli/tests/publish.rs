//! Published ports: clients on the host, servers in the private network.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "this file needs only some of it")]
#[path = "support/servers.rs"]
mod servers;
#[allow(dead_code, reason = "this file needs only some of it")]
mod support;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout};
use std::thread;
use std::time::Duration;

use servers::{PATIENCE, free_port, reset, wrapped};
use support::{Setting, finack, have, settings, texts};

/// A server in Python that runs under `finack run --publish`, once it listens.
struct Inside {
    child: Child,
    stdout: ChildStdout,
    at: SocketAddr,
}

impl Inside {
    /// `serve` handles one connection `s`, the last of which ends the program; it listens at `addr`.
    fn start(setting: Setting, addr: &str, connections: u32, serve: &str) -> Self {
        Self::start_with(setting, &[], addr, connections, serve)
    }

    fn start_with(setting: Setting, flags: &[&str], addr: &str, connections: u32, serve: &str) -> Self {
        let port = free_port();
        let body: String = serve.lines().map(|line| format!("    {line}\n")).collect();
        let script = format!(
            "import os, socket, struct, sys, time\n\
             def everything(s):\n    \
                 data = b''\n    \
                 while chunk := s.recv(65536): data += chunk\n    \
                 return data\n\
             def serve(s, peer):\n{body}\
             l = socket.create_server(('{addr}', 7777), family=socket.AF_INET6 if ':' in '{addr}' else socket.AF_INET)\n\
             print('ready', flush=True)\n\
             for _ in range({connections}):\n    \
                 s, peer = l.accept(); serve(s, peer)\n"
        );
        let publish = format!("{port}:7777");
        let mut child = wrapped(
            &[],
            setting,
            &[&["run", "--publish", &publish], flags].concat(),
            &["python3", "-c", &script],
        )
        .spawn()
        .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut line = [0; 6];
        if stdout.read_exact(&mut line).is_err() {
            panic!("{setting}: {}", texts(&child.wait_with_output().unwrap()).1);
        }
        Self { child, stdout, at: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The program's output and the report, after it has ended.
    fn end(mut self) -> (String, String) {
        let mut out = String::new();
        self.stdout.read_to_string(&mut out).unwrap();
        let output = self.child.wait_with_output().unwrap();
        let report = texts(&output).1;
        assert!(output.status.success(), "{out}\n{report}");
        (out, report)
    }
}

/// RFC 9293 3.6 through a published port: the client's end gets there, and the answer comes back after it.
#[test]
fn a_client_that_half_closes_gets_its_answer() {
    if !have(&["python3"]) {
        return;
    }
    for setting in settings() {
        let inside = Inside::start(
            setting,
            "0.0.0.0",
            1,
            "question = everything(s)\ns.sendall(question[::-1] * 1000)\ns.close()\nprint(peer[0])",
        );
        let mut client = inside.connect();
        client.write_all(b"abc").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "cba".repeat(1000), "{setting}");
        let client_at = client.local_addr().unwrap();
        let (peer, report) = inside.end();
        assert_eq!(peer, "198.18.0.1\n", "{setting}: {report}");
        assert!(report.contains(&format!("accepted from {client_at}")), "{setting}: {report}");
        assert!(report.contains("closed in order"), "{setting}: {report}");
    }
}

/// RFC 9293 3.6, the other way round.
#[test]
fn a_server_inside_that_half_closes_reads_on() {
    if !have(&["python3"]) {
        return;
    }
    for setting in settings() {
        let inside = Inside::start(
            setting,
            "0.0.0.0",
            1,
            "s.sendall(b'last word')\ns.shutdown(socket.SHUT_WR)\nprint(len(everything(s)))",
        );
        let mut client = inside.connect();
        let mut word = String::new();
        client.read_to_string(&mut word).unwrap();
        assert_eq!(word, "last word", "{setting}");
        thread::sleep(Duration::from_millis(200));
        client.write_all(&vec![b'm'; 3_000_000]).unwrap();
        drop(client);
        let (heard, report) = inside.end();
        assert_eq!(heard, "3000000\n", "{setting}: {report}");
    }
}

/// RFC 9293 3.5.3: both ways a RST is a RST.
#[test]
fn a_reset_passes_both_ways() {
    if !have(&["python3"]) {
        return;
    }
    for setting in settings() {
        let abort = "if s.recv(1) == b'r':\n    \
                         s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()\n\
                     else:\n    \
                         try: s.recv(1)\n    \
                         except ConnectionResetError: print('reset by the client')";
        let inside = Inside::start(setting, "0.0.0.0", 2, abort);
        let mut client = inside.connect();
        client.write_all(b"r").unwrap();
        let error = client.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{setting}");
        let mut client = inside.connect();
        client.write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(200));
        reset(client).unwrap();
        let (out, report) = inside.end();
        assert_eq!(out, "reset by the client\n", "{setting}: {report}");
    }
}

/// With twenty ports for sixty clients one after the other, each in TIME-WAIT for a while, all are served.
#[test]
fn clients_wait_where_no_port_is_left() {
    if !have(&["python3"]) {
        return;
    }
    for setting in settings() {
        let flags = ["--sysctl", "ip_local_port_range=40000 40019"];
        let serve = "everything(s)\ns.sendall(b'served')\ns.close()";
        let inside = Inside::start_with(setting, &flags, "0.0.0.0", 60, serve);
        for n in 0..60 {
            let mut client = inside.connect();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap_or_else(|e| panic!("{n} {setting}: {e}"));
            assert_eq!(answer, "served", "{n} {setting}");
        }
        let (_, report) = inside.end();
        let told = "finack: finack has no port left for clients of a published port";
        assert_eq!(report.matches(told).count(), 1, "{setting}: {report}");
        assert!(report.contains("finack: 60 TCP connections (60 closed in order)"), "{setting}: {report}");
    }
}

/// A client that comes by IPv4 finds a server that has IPv6 alone.
#[test]
fn the_other_family_is_tried_where_nobody_listens_in_the_first() {
    if !have(&["python3"]) {
        return;
    }
    for setting in settings() {
        let inside =
            Inside::start(setting, "fd66:696e:6163:6b00::2", 1, "s.sendall(peer[0].encode())\ns.close()");
        let mut peer = String::new();
        inside.connect().read_to_string(&mut peer).unwrap();
        assert_eq!(peer, "fd66:696e:6163:6b00::1", "{setting}");
        inside.end();
    }
}

/// The host's kernel has accepted the client before anybody could be asked: it is reset at once.
#[test]
fn a_port_that_the_program_does_not_serve_resets_its_clients() {
    for setting in settings() {
        let port = free_port();
        let publish = format!("{port}:7777");
        let flags = ["run", "--isolated", "--publish", &publish];
        let mut child = wrapped(&[], setting, &flags, &["sh", "-c", "echo ready; sleep 2"]).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{setting}");
        let report = texts(&child.wait_with_output().unwrap()).1;
        assert!(report.contains("refused"), "{setting}: {report}");
    }
}

#[test]
fn a_port_in_use_is_known_before_the_program_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let _taken_too = std::net::UdpSocket::bind(at).unwrap();
    for setting in settings() {
        for more in ["", "/udp"] {
            let publish = format!("{}:80{more}", at.port());
            let output = finack(setting, &["run", "--publish", &publish], &["echo", "ran"]);
            let (out, error) = texts(&output);
            assert_eq!((output.status.code(), &out[..]), (Some(125), ""), "{setting}: {error}");
            let protocol = if more.is_empty() { "tcp" } else { "udp" };
            assert_eq!(
                error,
                format!(
                    "finack: can't publish at {at}/{protocol}: another program has this port; choose another\n"
                ),
                "{setting}"
            );
        }
    }
}
