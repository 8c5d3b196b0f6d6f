//! What this binary does when it is started again: inside the private network, or as a finack
//! that is stopped or killed.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use finack_run::namespace::{DevicePath, ProgramCommand, SignalForwarding, exit_code};

pub(crate) const V4: &str = "198.18.0.1";
pub(crate) const V6: &str = "fd66:696e:6163:6b00::1";
/// Datagrams of a unit, and the bytes of each.
pub(crate) const BURST: usize = 20;
pub(crate) const BURST_SIZE: usize = 1000;
/// Datagrams of each IP version.
pub(crate) const DATAGRAMS: usize = 50;
/// Bytes.
pub(crate) const UPLOAD: usize = 8 << 20;
pub(crate) const DOWNLOAD: usize = 8 << 20;
/// Connections at once, and the bytes that go through each and back.
pub(crate) const ECHOES: usize = 48;
const ECHOED: usize = 200_000;

/// The bytes that both sides expect at an offset of a stream.
pub(crate) fn pattern(offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len).map(|i| (i % 251) as u8).collect()
}

pub(crate) fn play(role: &str) {
    match role {
        "udp" => {
            udp("0.0.0.0:0", &format!("{V4}:7777"));
            udp("[::]:0", &format!("[{V6}]:7777"));
        }
        "burst" => {
            burst("0.0.0.0:0", &format!("{V4}:7778"));
            burst("[::]:0", &format!("[{V6}]:7778"));
        }
        "refused" => {
            for target in [format!("{V4}:80"), format!("[{V6}]:80")] {
                let error = TcpStream::connect(&target).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{target}: {error}");
            }
        }
        "upload" => upload(),
        "download" => download(),
        "echoes" => echoes(),
        "privileged-port" => {
            let listener = TcpListener::bind("127.0.0.1:80").unwrap();
            let _open = TcpStream::connect("127.0.0.1:80").unwrap();
            listener.accept().unwrap();
            TcpListener::bind("[::1]:443").unwrap();
        }
        "hold" => hold(),
        "stopped" => stopped(),
        "forwarding" => forwarding(),
        other => panic!("no such role: {other}"),
    }
}

fn udp(local: &str, remote: &str) {
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(remote).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for i in 0..DATAGRAMS {
        let sent = pattern(i, 1 + i * 20);
        socket.send(&sent).unwrap();
        let mut buffer = [0; 2048];
        let got = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..got], sent);
    }
}

/// Asks once and gets many datagrams.
fn burst(local: &str, remote: &str) {
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(remote).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send(b"go").unwrap();
    let mut buffer = [0; 2048];
    for i in 0..BURST {
        let got = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..got], pattern(i * BURST_SIZE, BURST_SIZE), "datagram {i}");
    }
}

fn upload() {
    let mut stream = TcpStream::connect((V4, 9)).unwrap();
    stream.write_all(&pattern(0, UPLOAD)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

fn download() {
    let mut stream = TcpStream::connect((V6, 19)).unwrap();
    let mut got = vec![0; DOWNLOAD];
    stream.read_exact(&mut got).unwrap();
    assert!(got == pattern(0, DOWNLOAD), "the bytes that were sent");
}

fn echoes() {
    let connections: Vec<_> = (0..ECHOES)
        .map(|i| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect((V4, 7)).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let writes = std::thread::spawn(move || {
                    writer.write_all(&pattern(i, ECHOED)).unwrap();
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                assert!(got == pattern(i, ECHOED), "the bytes that were sent");
                writes.join().unwrap();
            })
        })
        .collect();
    connections.into_iter().for_each(|connection| connection.join().unwrap());
}

/// A finack whose program, and what that left in the background, must end with it.
fn hold() {
    let network = crate::network(path()).unwrap();
    let line = "sleep 1000 & echo $!; (setsid sleep 1000 & echo $!); echo $$; exec sleep 1000";
    let mut child = network.spawn(&ProgramCommand::new("sh").args(["-c", line])).unwrap();
    println!("spawned");
    let _ = child.wait();
}

/// A finack whose program stops itself.
fn stopped() {
    let network = crate::network(path()).unwrap();
    let line = "kill -STOP $$; exit 7";
    let command = ProgramCommand::new("sh").args(["-c", line]).job_control(true);
    let mut child = network.spawn(&command).unwrap();
    let status = child.wait().unwrap();
    drop(network);
    std::process::exit(exit_code(status).into());
}

/// A finack that is told to end while its program has a word to say about that.
fn forwarding() {
    let network = crate::network(path()).unwrap();
    let line = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = network.spawn(&ProgramCommand::new("sh").args(["-c", line])).unwrap();
    let signals = SignalForwarding::start(&child).unwrap();
    assert_eq!(SignalForwarding::start(&child).unwrap_err().kind(), ErrorKind::AlreadyExists);
    println!("forwarding");
    let status = child.wait().unwrap();
    drop(signals);
    drop(network);
    std::process::exit(exit_code(status).into());
}

fn path() -> DevicePath {
    match std::env::var("FINACK_TEST_DEVICE").as_deref() {
        Ok("tun") => DevicePath::Tun,
        _ => DevicePath::Veth,
    }
}
