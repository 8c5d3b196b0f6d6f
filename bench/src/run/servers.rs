//! The servers on the host's loopback.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::udp;

/// Their ports. Those of programs that are not installed answer nobody.
pub struct Servers {
    /// Sends as many bytes as are asked for, takes all that come.
    pub http: u16,
    pub nginx: u16,
    pub iperf: u16,
    /// Closes what it accepts.
    pub closing: u16,
    pub echo: u16,
    /// Sends each datagram back.
    pub datagrams: u16,
    /// Take and give datagrams, a call each, and many with a call.
    pub single: udp::server::Ports,
    pub coalesced: udp::server::Ports,
    children: Vec<Child>,
    directory: PathBuf,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Servers {
    /// Starts all of them. `beside` names a file; what nginx needs is put beside it.
    pub fn start(beside: &Path) -> io::Result<Self> {
        let directory = beside.with_extension("nginx");
        std::fs::create_dir_all(&directory)?;
        let mut servers = Self {
            http: tcp(|stream| drop(answer(stream)))?,
            nginx: free_port()?,
            iperf: free_port()?,
            closing: tcp(drop)?,
            echo: tcp(|stream| drop(echo(stream)))?,
            datagrams: datagrams()?,
            single: udp::server::start(udp::Calls::Single)?,
            coalesced: udp::server::start(udp::Calls::Coalesced)?,
            children: Vec::new(),
            directory,
        };
        servers.start_nginx()?;
        let iperf = ["-s", "-B", "127.0.0.1", "-p", &servers.iperf.to_string()];
        servers.start_program(Command::new("iperf3").args(iperf));
        // Until they listen.
        thread::sleep(Duration::from_millis(500));
        Ok(servers)
    }

    fn start_program(&mut self, command: &mut Command) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => self.children.push(child),
            Err(error) => eprintln!("{} cannot be started: {error}", command.get_program().display()),
        }
    }

    /// One process, as the machine has few cores, which answers everything with the same short text.
    fn start_nginx(&mut self) -> io::Result<()> {
        let directory = self.directory.display();
        let text = "x".repeat(128);
        let configuration = format!(
            "daemon off; master_process off; error_log /dev/null; pid {directory}/pid;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {directory}/b;\n\
             proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u;\n\
             scgi_temp_path {directory}/s; default_type text/plain;\n\
             server {{ listen 127.0.0.1:{}; location / {{ return 200 {text}; }} }} }}\n",
            self.nginx
        );
        let file = self.directory.join("nginx.conf");
        std::fs::write(&file, configuration)?;
        self.start_program(Command::new("nginx").arg("-p").arg(&self.directory).arg("-c").arg(&file));
        Ok(())
    }
}

/// One that was free just now: a program that is told to listen there does so at once.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A thread for each connection.
fn tcp(serve: fn(TcpStream)) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(port)
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf)? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n])?,
        }
    }
}

fn datagrams() -> io::Result<u16> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    thread::spawn(move || {
        let mut buf = [0; 65536];
        loop {
            if let Ok((len, from)) = socket.recv_from(&mut buf) {
                let _ = socket.send_to(&buf[..len], from);
            }
        }
    });
    Ok(port)
}

/// As much HTTP as `curl` needs.
fn answer(mut stream: TcpStream) -> io::Result<()> {
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
