//! Servers on the host's loopback, and the commands around `finack run` that need more than a setting.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::{Setting, command};

/// A test that hangs fails after this long, where it waits for bytes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Serves each connection on a thread of its own, for as long as the test runs; returns the port of 127.0.0.1.
pub(crate) fn server(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    server_at(Ipv4Addr::LOCALHOST.into(), serve).port()
}

/// The same at an address of the host's.
pub(crate) fn server_at(
    addr: IpAddr,
    serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((addr, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // What goes wrong shows in the program's output.
                let _ = serve(stream);
            });
        }
    });
    at
}

/// A port of 127.0.0.1 that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Closes with a RST.
pub(crate) fn reset(stream: TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// A page of `len` bytes over HTTP/1.0.
pub(crate) fn page(mut stream: TcpStream, len: usize) -> io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0; 512];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut byte)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&byte[..n]),
        }
    }
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {len}\r\n\r\n")?;
    stream.write_all(&vec![b'x'; len])
}

/// `PREFIX... finack FLAGS --device DEVICE -- PROGRAM`, its output to be had.
pub(crate) fn wrapped(prefix: &[&str], setting: Setting, flags: &[&str], program: &[&str]) -> Command {
    let plain = command(setting);
    let Some((first, rest)) = prefix.split_first() else {
        let mut plain = plain;
        plain.args(flags).args(["--device", setting.device, "--"]).args(program);
        plain.stdout(Stdio::piped()).stderr(Stdio::piped());
        return plain;
    };
    let mut command = Command::new(first);
    command.args(rest).arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(flags).args(["--device", setting.device, "--"]).args(program);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
