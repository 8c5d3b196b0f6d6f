//! Datagrams and pings that cross the gateway, with a network namespace of the test's own as the host.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "support/own_host.rs"]
mod own_host;
#[allow(dead_code, reason = "this file needs only some of it")]
mod support;

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use own_host::{Beyond, Server, on_a_host_of_its_own};
use support::{Setting, command, finack, have, settings, texts};

const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/datagrams.py");
const NO_SERVER: &str = "nameserver 127.0.0.53\n";

fn python(setting: Setting, flags: &[&str], script: &str) -> (String, String) {
    let mut all = vec!["run"];
    all.extend_from_slice(flags);
    let output = finack(setting, &all, &["python3", "-c", script]);
    let (out, report) = texts(&output);
    assert!(output.status.success(), "{setting}: {out}\n{report}");
    (out, report)
}

/// What every script begins with.
const PRELUDE: &str = "import errno, socket, time\n\
    def udp(host):\n    \
        s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10); return s\n";

/// RFC 4787 REQ-1, REQ-3: one mapping for all destinations, with the port kept; both IP versions, all sizes.
#[test]
fn datagrams_go_out_and_answers_come_back_from_whom_they_were_sent_to() {
    on_a_host_of_its_own(NO_SERVER, || {
        let server = Server::start(&[ECHO, "192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"]);
        let script = format!(
            "{PRELUDE}\
             for hosts in [('192.0.2.1', 'lo.host'), ('2001:db8::1', 'lo.host')]:\n    \
                 s = udp(hosts[0]); s.bind(('', 40123))\n    \
                 for host in hosts:\n        \
                     to = socket.getaddrinfo(host, {port}, s.family)[0][4]\n        \
                     for size in (0, 1, 1472, 1473, 9000, 60000):\n            \
                         data = bytes(i % 251 for i in range(size)); s.sendto(data, to)\n            \
                         got, sender = s.recvfrom(65535)\n            \
                         assert sender[:2] == to[:2], (sender, to)\n            \
                         assert got == b'40123 ' + data, (size, len(got), got[:20])\n    \
             print('all the same')\n",
            port = server.said
        );
        for setting in settings() {
            let (out, report) = python(setting, &["--host", "lo.host"], &script);
            assert_eq!(out.lines().collect::<Vec<_>>(), ["all the same"; 2], "{setting}: {report}");
        }
    });
}

/// RFC 4787 REQ-12, RFC 1122 4.1.3.3: what the host's network says about a datagram is what the program is told. Linux
/// tells of an unreachable host only who asks for all errors (IP_RECVERR, IPV6_RECVERR).
#[test]
fn the_program_is_told_of_datagrams_that_fail() {
    on_a_host_of_its_own(NO_SERVER, || {
        let script = format!(
            "{PRELUDE}\
             for host, all in [('192.0.2.1', 0), ('2001:db8::1', 0), ('127.1.2.3', 0), ('lo.host', 0), ('198.51.100.1', 0),\n    \
                 ('192.0.2.9', 1), ('2001:db8::9', 1), ('2001:db8:1::1', 1), ('198.18.3.4', 1), ('fd66:696e:6163:6b00::3:4', 1)]:\n    \
                 s = udp(host)\n    \
                 if all: s.setsockopt(41 if ':' in host else 0, 25 if ':' in host else 11, 1)\n    \
                 try: s.connect((host, 9)); s.send(b'?'); what = s.recv(9)\n    \
                 except OSError as e: what = errno.errorcode.get(e.errno, str(e))\n    \
                 print(host, what)\n"
        );
        let expected = "192.0.2.1 ECONNREFUSED\n\
                        2001:db8::1 ECONNREFUSED\n\
                        127.1.2.3 ECONNREFUSED\n\
                        lo.host ECONNREFUSED\n\
                        198.51.100.1 ENETUNREACH\n\
                        192.0.2.9 EHOSTUNREACH\n\
                        2001:db8::9 EHOSTUNREACH\n\
                        2001:db8:1::1 ENETUNREACH\n\
                        198.18.3.4 EHOSTUNREACH\n\
                        fd66:696e:6163:6b00::3:4 EHOSTUNREACH\n";
        for setting in settings() {
            let (out, report) = python(setting, &["--host", "lo.host"], &script);
            assert_eq!(out, expected, "{setting}: {report}");
        }
    });
}

/// What the program has sent before it ends is carried on, as on the host.
#[test]
fn the_last_datagram_of_a_program_arrives() {
    on_a_host_of_its_own(NO_SERVER, || {
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let script = format!(
            "import os, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             for _ in range(30): s.sendto(b'the last', {:?})\n\
             os._exit(0)\n",
            ("192.0.2.1", socket.local_addr().unwrap().port())
        );
        for setting in settings() {
            for _ in 0..5 {
                python(setting, &["--quiet"], &script);
                let mut buf = [0; 16];
                for n in 0..30 {
                    assert_eq!(socket.recv(&mut buf).ok(), Some(8), "{setting}: {n}");
                }
            }
        }
    });
}

/// RFC 4787 REQ-8 with endpoint-independent filtering: others may answer, as to a socket of the host's own.
#[test]
fn another_peer_may_answer() {
    on_a_host_of_its_own(NO_SERVER, || {
        let meeting = UdpSocket::bind("192.0.2.1:0").unwrap();
        let other = UdpSocket::bind("192.0.2.1:0").unwrap();
        let (at, other_at) = (meeting.local_addr().unwrap(), other.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut buf = [0; 9];
            while let Ok((_, from)) = meeting.recv_from(&mut buf) {
                other.send_to(b"from elsewhere", from).unwrap();
            }
        });
        let script = format!(
            "{PRELUDE}s = udp('192.0.2.1'); s.sendto(b'?', ('{}', {})); data, sender = s.recvfrom(99)\n\
             print(data.decode(), sender[1])\n",
            at.ip(),
            at.port()
        );
        for setting in settings() {
            let (out, report) = python(setting, &[], &script);
            assert_eq!(out, format!("from elsewhere {}\n", other_at.port()), "{setting}: {report}");
        }
    });
}

/// Peers of a published port are told apart, each gets its own answers, and a datagram for nobody is told.
#[test]
fn a_published_port_lets_the_host_in() {
    on_a_host_of_its_own(NO_SERVER, || {
        let script = "import socket\n\
                      s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7000)); s.settimeout(20)\n\
                      senders = set()\n\
                      for _ in range(6):\n    \
                          data, sender = s.recvfrom(65535); senders.add(sender); s.sendto(data[::-1], sender)\n\
                      print(len(senders), {a for a, _ in senders})\n";
        for setting in settings() {
            let port = UdpSocket::bind("192.0.2.1:0").unwrap().local_addr().unwrap().port();
            let publish = format!("192.0.2.1:{port}:7000/udp");
            let program = command(setting)
                .args([
                    "run",
                    "--device",
                    setting.device,
                    "--publish",
                    &publish,
                    "--",
                    "python3",
                    "-c",
                    script,
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let peers = [0; 2].map(|_| UdpSocket::bind("192.0.2.1:0").unwrap());
            for peer in &peers {
                peer.connect(("192.0.2.1", port)).unwrap();
                peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            }
            let (mut buf, mut answered) = ([0; 9000], 0);
            // Until the program is there, datagrams are lost; and whoever is asked answers the one who asked.
            let deadline = Instant::now() + Duration::from_secs(20);
            while answered < 6 && Instant::now() < deadline {
                for (i, peer) in peers.iter().enumerate() {
                    let question = vec![b'a' + i as u8; 1 + answered % 2 * 5000];
                    // An error is about an earlier one: nobody listened yet.
                    let _ = peer.send(&question);
                    match peer.recv(&mut buf) {
                        Ok(len) => {
                            assert!(buf[..len].iter().all(|b| *b == b'a' + i as u8), "{setting}");
                            answered += 1;
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(10)),
                    }
                }
            }
            let (out, report) = texts(&program.wait_with_output().unwrap());
            assert_eq!(out, "2 {'198.18.0.1'}\n", "{setting}: {report}");
        }
    });
}

/// Flows are bounded by the descriptors that there are: the one unused for longest makes room, and nothing else is lost.
#[test]
fn with_few_descriptors_old_flows_make_room() {
    if !have(&["prlimit"]) {
        return;
    }
    on_a_host_of_its_own(NO_SERVER, || {
        let server = Server::start(&[ECHO, "192.0.2.1"]);
        let script = format!(
            "{PRELUDE}\
             first = udp('192.0.2.1'); to = ('192.0.2.1', {})\n\
             def ask(s): s.sendto(b'?', to); return s.recv(99)\n\
             ask(first)\n\
             for _ in range(200):\n    \
                 s = udp('192.0.2.1'); ask(s); s.close()\n\
             ask(first); print('all answered')\n",
            server.said
        );
        for setting in settings() {
            let finack = command(setting);
            let mut limited = Command::new("prlimit");
            limited.args(["--nofile=160:160", "--"]).arg(finack.get_program()).args(finack.get_args());
            for (name, value) in finack.get_envs() {
                limited.env(name, value.unwrap_or_default());
            }
            let run = ["run", "--device", setting.device, "--", "python3", "-c", &script];
            let output = limited.args(run).current_dir("/").stdin(Stdio::null()).output().unwrap();
            let (out, report) = texts(&output);
            assert_eq!(out, "all answered\n", "{setting}: {report}");
            assert!(report.contains(" of the program's UDP ports were forgotten"), "{setting}: {report}");
            assert!(!report.contains("no descriptor"), "{setting}: {report}");
        }
    });
}

/// RFC 1812 4.3.3.2, RFC 1191 4, RFC 8201 4: hop limits count across finack, and the routers of the host's network are seen; a
/// link that is too narrow is told of, and the program's own path MTU is what it is there.
#[test]
fn routers_on_the_way_speak_to_the_program() {
    if !have(&["ping", "nsenter", "unshare"]) {
        return;
    }
    on_a_host_of_its_own(NO_SERVER, || {
        allow_pings("0 2147483647");
        let beyond = Beyond::make();
        let server = beyond.server(&[ECHO, "10.9.1.2", "2001:db8:91::2"]);
        let script = format!(
            "{PRELUDE}\
             IP, V6 = (0, 11, 2, 10, 14), (41, 25, 16, 23, 24)\n\
             for host in ('10.9.1.2', '2001:db8:91::2'):\n    \
                 level, recverr, limit, discover, mtu = V6 if ':' in host else IP\n    \
                 s = udp(host); s.connect((host, {port})); s.setsockopt(level, recverr, 1)\n    \
                 s.setsockopt(level, limit, 1); s.send(b'near')\n    \
                 try: s.recv(99)\n    \
                 except OSError as e: print(errno.errorcode[e.errno], end=' ')\n    \
                 q = s.recvmsg(99, 512, 0x2000); print(q[0], socket.inet_ntop(s.family, q[1][0][2][24:40] if ':' in host else q[1][0][2][20:24]), end=' ')\n    \
                 s.setsockopt(level, limit, 2); s.send(b'far'); print(s.recv(99).split()[1], end=' ')\n    \
                 s.setsockopt(level, discover, 2); s.send(bytes(1400))\n    \
                 try: s.recv(99)\n    \
                 except OSError as e: print(errno.errorcode[e.errno], s.getsockopt(level, mtu))\n",
            port = server.said
        );
        let expected = "EHOSTUNREACH b'near' 10.9.0.1 b'far' EMSGSIZE 1300\n\
                        EHOSTUNREACH b'near' 2001:db8:9::1 b'far' EMSGSIZE 1300\n";
        for setting in settings() {
            let (out, report) = python(setting, &[], &script);
            assert_eq!(out, expected, "{setting}: {report}");
            let output = finack(setting, &["run"], &["ping", "-n", "-c1", "-W5", "-t1", "10.9.1.2"]);
            let (out, report) = texts(&output);
            assert!(
                out.contains("From 10.9.0.1 icmp_seq=1 Time to live exceeded"),
                "{setting}: {out}\n{report}"
            );
        }
    });
}

fn allow_pings(to: &str) {
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", to).unwrap();
}

#[test]
fn pings_go_out_where_the_host_allows_them() {
    if !have(&["ping"]) {
        return;
    }
    on_a_host_of_its_own(NO_SERVER, || {
        for (range, ordinary_too) in [("0 2147483647", true), ("1 0", false)] {
            allow_pings(range);
            for setting in settings() {
                for to in ["192.0.2.1", "2001:db8::1", "lo.host"] {
                    let output = finack(
                        setting,
                        &["run", "--host", "lo.host"],
                        &["ping", "-c", "3", "-i", "0.1", "-W", "2", "-s", "3000", to],
                    );
                    let (out, report) = texts(&output);
                    if ordinary_too || !setting.ordinary {
                        assert!(
                            out.contains("3 received, 0% packet loss"),
                            "{setting} {to}: {out}\n{report}"
                        );
                    } else {
                        assert!(out.contains("0 received"), "{setting} {to}: {out}");
                        let line = "finack: pings to outside addresses can't be carried: ";
                        assert_eq!(report.matches(line).count(), 1, "{setting} {to}: {report}");
                        assert!(
                            report.contains("net.ipv4.ping_group_range='0 2147483647'"),
                            "{setting}: {report}"
                        );
                    }
                }
                let output = finack(setting, &["run"], &["ping", "-c", "1", "-W", "2", "192.0.2.9"]);
                let (out, _) = texts(&output);
                assert!(out.contains("Unreachable") || out.contains("filtered"), "{setting}: {out}");
            }
        }
    });
}

#[test]
fn iperf3_sends_and_receives_datagrams() {
    if !have(&["iperf3"]) {
        return;
    }
    on_a_host_of_its_own(NO_SERVER, || {
        let _server = Server::silent(Command::new("iperf3").args(["-s", "-B", "192.0.2.1"]));
        std::thread::sleep(Duration::from_millis(300));
        for setting in settings() {
            for direction in [&["-u"][..], &["-u", "-R"][..]] {
                let mut program = vec!["iperf3", "-c", "192.0.2.1", "-b", "2M", "-t", "1", "-J"];
                program.extend_from_slice(direction);
                let (out, report) = texts(&finack(setting, &["run"], &program));
                let lost = out.rsplit("\"lost_percent\":").next().unwrap_or_default();
                let percent: f64 =
                    lost.split([',', '\n']).next().unwrap_or_default().trim().parse().unwrap_or(100.0);
                assert!(percent < 5.0, "{setting} {direction:?}: {percent} % lost\n{out}\n{report}");
            }
        }
    });
}
