//! Addresses outside, in a network namespace of the test's own that stands for the host: some answer, some refuse, some can't
//! be reached and some are silent.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "this file needs only some of it")]
#[path = "support/servers.rs"]
mod servers;
#[allow(dead_code, reason = "this file needs only some of it")]
mod support;

use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use servers::server_at;
use support::{finack, have, settings, skip, texts};

/// The host: 192.0.2.1 and 2001:db8::1 are its own, packets to 203.0.113.7 vanish, and there is no default route.
const HOST: &str = "ip link set lo up
ip addr add 192.0.2.1/32 dev lo
ip -6 addr add 2001:db8::1/128 dev lo nodad
ip route add unreachable 192.0.2.9/32
ip route add prohibit 192.0.2.10/32
ip route add blackhole 192.0.2.11/32
ip -6 route add unreachable 2001:db8::9/128
ip -6 route add prohibit 2001:db8::10/128
ip link add silent type veth peer name void
ip addr add 203.0.113.1/24 dev silent
ip link set void up
ip link set silent up
ip neigh add 203.0.113.7 lladdr 02:00:00:00:00:07 dev silent";

/// Runs `test` on a thread, and with it what the thread starts, in a network namespace as above. Only root can.
fn on_a_host_of_its_own(test: impl FnOnce() + Send + 'static) {
    if !have(&["python3", "ip"]) {
        return;
    }
    let entered = thread::spawn(|| {
        // SAFETY: the network namespace of this thread alone changes; it shares no memory or descriptor differently.
        if let Err(error) = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) } {
            assert!(!support::required(), "FINACK_REQUIRE_NETNS is set, and there is no namespace: {error}");
            return skip("addresses outside: only root makes a network namespace");
        }
        for line in HOST.lines() {
            let mut words = line.split(' ');
            let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
            assert!(status.success(), "{line}: {status}");
        }
        test();
    });
    if let Err(failed) = entered.join() {
        std::panic::resume_unwind(failed);
    }
}

/// RFC 9293 3.10.7.1, RFC 1122 4.2.3.9, RFC 4443 3.1: what the host's network says is what the program sees.
#[test]
fn each_way_of_not_being_reached_is_passed_on() {
    on_a_host_of_its_own(|| {
        let v4 = server_at([192, 0, 2, 1].into(), |mut stream| stream.write_all(b"here"));
        let v6 = server_at("2001:db8::1".parse().unwrap(), |mut stream| stream.write_all(b"here too"));
        let script = format!(
            "import errno, socket, time\n\
             for host, port in [('192.0.2.1', {}), ('2001:db8::1', {}), ('192.0.2.1', 9), ('2001:db8::1', 9), \
                 ('198.51.100.1', 80), ('2001:db8:1::1', 80), ('192.0.2.9', 80), ('2001:db8::9', 80), ('192.0.2.10', 80), \
                 ('2001:db8::10', 80), ('192.0.2.11', 80), ('198.18.3.4', 80), ('fd66:696e:6163:6b00::3:4', 80)]:\n    \
                 s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET); s.settimeout(20); t = time.time()\n    \
                 try: s.connect((host, port)); what = s.recv(100).decode()\n    \
                 except OSError as e: what = errno.errorcode.get(e.errno, str(e))\n    \
                 print(host, what, '' if time.time() - t < 1 else 'late')\n",
            v4.port(),
            v6.port()
        );
        let expected = "192.0.2.1 here \n\
                        2001:db8::1 here too \n\
                        192.0.2.1 ECONNREFUSED \n\
                        2001:db8::1 ECONNREFUSED \n\
                        198.51.100.1 ENETUNREACH \n\
                        2001:db8:1::1 ENETUNREACH \n\
                        192.0.2.9 EHOSTUNREACH \n\
                        2001:db8::9 EHOSTUNREACH \n\
                        192.0.2.10 EHOSTUNREACH \n\
                        2001:db8::10 EACCES \n\
                        192.0.2.11 ENETUNREACH \n\
                        198.18.3.4 ECONNREFUSED \n\
                        fd66:696e:6163:6b00::3:4 ECONNREFUSED \n";
        for setting in settings() {
            let output = finack(setting, &["run"], &["python3", "-c", &script]);
            let (out, report) = texts(&output);
            assert_eq!(out, expected, "{setting}: {report}");
        }
    });
}

/// Silence stays silence, and when the program has given up nothing waits for it.
#[test]
fn a_silent_host_is_waited_for_as_long_as_the_program_likes() {
    on_a_host_of_its_own(|| {
        let script = "import socket\n\
                      s = socket.socket(); s.settimeout(2.5)\n\
                      try: s.connect(('203.0.113.7', 80))\n\
                      except TimeoutError as e: print('silence')\n";
        for setting in settings() {
            let before = Instant::now();
            let output = finack(setting, &["run"], &["python3", "-c", script]);
            let (out, report) = texts(&output);
            assert_eq!(out, "silence\n", "{setting}: {report}");
            assert!(before.elapsed() < Duration::from_secs(8), "{setting}: {:?}", before.elapsed());
            assert!(
                report.contains("finack: 1 TCP connection "),
                "one attempt, not one a SYN, {setting}: {report}"
            );
        }
    });
}

/// No route leads out of an isolated network: the program's own kernel says so, and finack too to whoever adds one.
#[test]
fn isolated_there_is_no_outside() {
    on_a_host_of_its_own(|| {
        let at = server_at([192, 0, 2, 1].into(), |mut stream| stream.write_all(b"here"));
        let script = format!(
            "import errno, os, socket\n\
             def attempt():\n    \
                 try: socket.create_connection(('192.0.2.1', {}), 10); print('open')\n    \
                 except OSError as e: print(errno.errorcode.get(e.errno, str(e)))\n\
             attempt()\n\
             os.system('ip route add default via 198.18.0.1 2>/dev/null')\n\
             attempt()\n",
            at.port()
        );
        for setting in settings() {
            let output = finack(setting, &["run", "--isolated"], &["python3", "-c", &script]);
            let (out, report) = texts(&output);
            assert_eq!(out, "ENETUNREACH\nENETUNREACH\n", "{setting}: {report}");
        }
    });
}

/// A SYN whose sender never goes on (its kernel resets the answer) leaves no connection behind with the server.
#[test]
fn a_handshake_that_is_not_completed_resets_the_server() {
    on_a_host_of_its_own(|| {
        let (sender, heard) = std::sync::mpsc::channel();
        let v4 = server_at([127, 0, 0, 1].into(), move |mut stream| {
            let end = std::io::Read::read(&mut stream, &mut [0]).map_err(|e| e.kind());
            sender.send(end).map_err(std::io::Error::other)
        });
        let v6 = server_at("::1".parse().unwrap(), |_| Ok(()));
        let script = include_str!("support/special.py");
        let ports = [v4.port().to_string(), v6.port().to_string()];
        let waiting = "import time; time.sleep(4)";
        for setting in settings().into_iter().filter(|s| !s.ordinary) {
            let script = format!("{script}\n{waiting}");
            let program = ["python3", "-c", &script, &ports[0], &ports[1]];
            let output = finack(setting, &["run", "--host", "lo.host"], &program);
            let (out, report) = texts(&output);
            assert!(out.contains("198.18.0.254 SYN,ACK"), "{setting}: {out}\n{report}");
            let end = heard.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset), "{setting}: {out}\n{report}");
        }
    });
}

/// With ten ports on the host for thirty connections at once they wait for each other; a line says so, once.
#[test]
fn where_the_host_has_no_port_left_connections_wait_their_turn() {
    on_a_host_of_its_own(|| {
        let range = "echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range";
        assert!(Command::new("sh").args(["-c", range]).status().unwrap().success());
        let at = server_at([192, 0, 2, 1].into(), |mut stream| {
            thread::sleep(Duration::from_millis(300));
            stream.write_all(b"served")
        });
        let script = format!(
            "import concurrent.futures, socket\n\
             def fetch(_):\n    \
                 with socket.create_connection(('192.0.2.1', {}), 60) as s: return s.recv(100)\n\
             with concurrent.futures.ThreadPoolExecutor(30) as pool:\n    \
                 print(sum(got == b'served' for got in pool.map(fetch, range(30))))",
            at.port()
        );
        for setting in settings() {
            let output = finack(setting, &["run", "--no-ladder"], &["python3", "-c", &script]);
            let (out, report) = texts(&output);
            assert_eq!(out, "30\n", "{setting}: {report}");
            let told = "finack: the host has no port left for connections to the outside";
            assert_eq!(report.matches(told).count(), 1, "{setting}: {report}");
        }
    });
}

/// Raw packets reach what no socket can ask for: the host's loopback by its own address, or one that embeds it.
#[test]
fn no_packet_gets_to_the_hosts_loopback() {
    on_a_host_of_its_own(|| {
        let v4 = server_at([127, 0, 0, 1].into(), |mut stream| stream.write_all(b"secret"));
        let v6 = server_at("::1".parse().unwrap(), |mut stream| stream.write_all(b"secret"));
        let script = include_str!("support/special.py");
        let ports = [v4.port().to_string(), v6.port().to_string()];
        // An ordinary user's programs have no raw sockets.
        for setting in settings().into_iter().filter(|s| !s.ordinary) {
            let program = ["python3", "-c", script, &ports[0], &ports[1]];
            let output = finack(setting, &["run"], &program);
            let (out, report) = texts(&output);
            assert!(output.status.success(), "{setting}: {out}\n{report}");
            assert!(!out.contains("SYN,ACK"), "{setting}: {out}\n{report}");
            assert!(!report.contains("connected to"), "{setting}: {report}");
            // Mapped, compatible and link-local addresses get this far, and an answer; loopback ones are no packet's
            // (RFC 1122 3.2.1.3 (g), RFC 4291 2.5.3).
            assert!(out.contains("::ffff:127.0.0.1 ICMP 1 1"), "{setting}: {out}\n{report}");
            assert!(out.contains("fe80::1234 ICMP 1 2"), "{setting}: {out}\n{report}");
        }
    });
}
