//! finack's servers, on a tokio runtime of one thread.

use std::io;

use bytes::Bytes;
use finack::Net;
use finack::device::TunDevice;
use finack::net::{TcpListener, TcpStream, UdpSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{ECHO, SINK, SOURCE, SOURCE_SHARED};
use super::interface::Interface;
use crate::udp::{self, CREDIT, Counted, EACH, RUN};

/// Bytes read or written at a time.
const CHUNK: usize = 128 * 1024;

/// Serves for as long as the process lives.
pub fn serve(interface: &Interface, device: TunDevice) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let net = Net::builder().address(interface.addresses().1, 24).build(device)?;
        let sink = TcpListener::bind_on(&net, interface.server(SINK)).await?;
        let source = TcpListener::bind_on(&net, interface.server(SOURCE)).await?;
        let shared = TcpListener::bind_on(&net, interface.server(SOURCE_SHARED)).await?;
        let echo = TcpListener::bind_on(&net, interface.server(ECHO)).await?;
        tokio::spawn(take_datagrams(UdpSocket::bind_on(&net, interface.server(udp::SINK)).await?));
        tokio::spawn(give_datagrams(UdpSocket::bind_on(&net, interface.server(udp::SOURCE)).await?));
        loop {
            // An error is that of one connection, or of the client that is gone.
            tokio::select! {
                Ok((stream, _)) = sink.accept() => drop(tokio::spawn(take(stream))),
                Ok((stream, _)) = source.accept() => drop(tokio::spawn(give(stream))),
                Ok((stream, _)) = shared.accept() => drop(tokio::spawn(give_shared(stream))),
                Ok((stream, _)) = echo.accept() => drop(tokio::spawn(send_back(stream))),
                else => return Ok(()),
            }
        }
    })
}

async fn take(mut stream: TcpStream) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    while stream.read(&mut chunk).await? > 0 {}
    Ok(())
}

async fn give(mut stream: TcpStream) -> io::Result<()> {
    let chunk = vec![0; CHUNK];
    loop {
        stream.write_all(&chunk).await?;
    }
}

async fn give_shared(stream: TcpStream) -> io::Result<()> {
    let chunk = Bytes::from(vec![0; CHUNK]);
    loop {
        let mut rest = chunk.clone();
        while !rest.is_empty() {
            stream.send_bytes(&mut rest).await?;
        }
    }
}

async fn send_back(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = [0; 64];
    loop {
        match stream.read(&mut bytes).await? {
            0 => return Ok(()),
            n => stream.write_all(&bytes[..n]).await?,
        }
    }
}

async fn take_datagrams(socket: UdpSocket) -> io::Result<()> {
    let mut data = vec![0; 65_536];
    let mut counted = Counted::default();
    loop {
        let (bytes, _, from) = socket.recv_run_from(&mut data).await?;
        for _ in 0..counted.took(bytes) {
            socket.send_to(&[0; 8], from).await?;
        }
    }
}

async fn give_datagrams(socket: UdpSocket) -> io::Result<()> {
    let (run, mut word) = (vec![7; RUN], [0; 64]);
    let mut counted = Counted::default();
    loop {
        let (bytes, to) = socket.recv_from(&mut word).await?;
        counted.told(&word[..bytes]);
        loop {
            let count = counted.may_send(CREDIT);
            if count == 0 {
                break;
            }
            let sent = socket.send_run_to(&run[..count as usize * EACH], EACH, to).await?;
            counted.has_sent((sent / EACH) as u64);
        }
    }
}
