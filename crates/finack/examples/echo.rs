//! An echo server on finack's own TCP.
//!
//! Without arguments it brings up two hosts on a cable in memory, and one talks to the other:
//!
//! ```text
//! cargo run -p finack --example echo
//! ```
//!
//! With the name of a TUN interface it serves port 7 of 10.77.0.2 there (as root):
//!
//! ```text
//! cargo run -p finack --example echo -- tun7 &
//! ip addr add 10.77.0.1/24 dev tun7; ip link set tun7 up
//! nc 10.77.0.2 7
//! ```

use std::io;
use std::net::Ipv4Addr;

use finack::Net;
use finack::core::device::Capabilities;
use finack::device::{TunDevice, TunOptions, pair};
use finack::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let server = Net::builder().address(SERVER, 24);
    match std::env::args().nth(1) {
        Some(name) => {
            let device = TunDevice::open(&TunOptions { name, ..TunOptions::default() })?;
            println!("serving {SERVER} port 7 on {}", device.name());
            serve(&server.build(device)?).await
        }
        None => {
            let (left, right) = pair(Capabilities::plain(1500))?;
            let server = server.build(left)?;
            let client = Net::builder().address(CLIENT, 24).build(right)?;
            tokio::select! {
                result = serve(&server) => result,
                result = talk(&client) => result,
            }
        }
    }
}

async fn serve(net: &Net) -> io::Result<()> {
    let listener = TcpListener::bind_on(net, (SERVER, 7)).await?;
    loop {
        let (mut stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut reading, mut writing) = stream.split();
            match tokio::io::copy(&mut reading, &mut writing).await {
                Ok(bytes) => println!("{peer}: {bytes} bytes"),
                Err(error) => println!("{peer}: {error}"),
            }
        });
    }
}

async fn talk(net: &Net) -> io::Result<()> {
    let mut stream = TcpStream::connect_on(net, (SERVER, 7)).await?;
    stream.write_all(b"is anybody there?").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let info = stream.tcp_info()?;
    println!("{} -> {}: {answer:?}, {}, round trip {:?}", info.local, info.remote, info.state, info.srtt);
    Ok(())
}
