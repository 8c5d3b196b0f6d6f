//! What one stream and one round trip cost over the devices that finack has for an Ethernet interface, with a client on the
//! kernel's sockets at the other end of a veth pair (as root; it makes two network namespaces, which end with it):
//!
//! ```text
//! cargo run --release -p finack --features af-xdp --example veth_devices -- [SECONDS]
//! ```
//!
//! A veth pair is no network card: its "driver" hands `sk_buff`s from one namespace to the other, AF_XDP copies there, and
//! the client's kernel shares the machine. Only the rows' ratios mean something.

#[path = "../tests/af_xdp/veth.rs"]
mod veth;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use finack::device::{AfPacketDevice, AfPacketOptions, AfXdpAttach, AfXdpDevice, AfXdpOptions, Device};
use finack::{Net, net};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use veth::{CLIENT, FAR, FINACK, NEAR, Veth, addresses};

const CHUNK: usize = 256 * 1024;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;
const ECHO: u16 = 7;

#[derive(Clone, Copy)]
enum Kind {
    Packet { units: bool },
    Xdp(AfXdpAttach),
}

fn main() {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |text| text.parse::<f64>());
    let Ok(seconds) = seconds.map(|s| s.clamp(0.1, 60.0)) else {
        eprintln!("usage: veth_devices [SECONDS]: how long each figure is taken, 0.1 to 60");
        std::process::exit(2);
    };
    println!("{:<34} {:>9} {:>9} {:>14}", "device", "in, Gb/s", "out, Gb/s", "1 byte, trips/s");
    for (name, kind) in [
        ("AF_PACKET, units of 64 KiB", Kind::Packet { units: true }),
        ("AF_PACKET, packets of 1500 bytes", Kind::Packet { units: false }),
        ("AF_XDP, native", Kind::Xdp(AfXdpAttach::Native)),
        ("AF_XDP, generic", Kind::Xdp(AfXdpAttach::Generic)),
    ] {
        let veth = Veth::new(1).unwrap_or_else(|e| {
            eprintln!("no network namespace can be made: {e}; run this as root");
            std::process::exit(1);
        });
        let [into, out, trips] = measure(&veth, kind, Duration::from_secs_f64(seconds));
        println!("{name:<34} {into:>9.2} {out:>9.2} {trips:>14.0}");
    }
}

fn measure(veth: &Veth, kind: Kind, time: Duration) -> [f64; 3] {
    let device = open(veth, kind);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let finack = veth.near.start(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let net = Net::builder().address(FINACK, 24).build(device).expect("a network");
            let served =
                async { tokio::join!(serve(&net, DISCARD), serve(&net, CHARGEN), serve(&net, ECHO)) };
            tokio::select! {
                _ = served => {}
                _ = ended => {}
            }
        });
    });
    let figures = veth.far.run(move || {
        let into = rate_in(time);
        [into, rate_out(time), round_trips(time)]
    });
    let _ = end.send(());
    finack.wait();
    figures
}

fn open(veth: &Veth, kind: Kind) -> Box<dyn Device> {
    // "7: fx0@if7: ... link/ether 02:00:00:00:00:07 brd ..."
    let look = |text: String| {
        let index: u32 = text.split(':').next().and_then(|n| n.trim().parse().ok()).expect("an index");
        let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
        let address = words.nth(1).expect("an Ethernet interface").to_owned();
        let mut octets = address.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap_or(0));
        let octets: [u8; 6] = std::array::from_fn(|_| octets.next().unwrap_or(0));
        (index, address, octets)
    };
    if matches!(kind, Kind::Packet { units: false } | Kind::Xdp(AfXdpAttach::Generic)) {
        veth.send_at_wire_size();
    }
    match kind {
        Kind::Packet { units } => {
            // Whoever has an address here would answer too.
            veth.near.command(&format!("ip addr flush dev {NEAR}"));
            let (interface, address, local) = look(veth.near.command(&format!("ip link show dev {NEAR}")));
            let (_, _, peer) = look(veth.far.command(&format!("ip link show dev {FAR}")));
            veth.far.command(&format!("ip neigh add {FINACK} lladdr {address} dev {FAR} nud permanent"));
            veth.near.run(move || {
                let options =
                    AfPacketOptions { interface, local, peer, offload: units, ..AfPacketOptions::default() };
                Box::new(AfPacketDevice::open(&options).expect("a packet socket")) as Box<dyn Device>
            })
        }
        Kind::Xdp(attach) => veth.near.run(move || {
            let options = AfXdpOptions {
                interface: NEAR.into(),
                addresses: addresses(),
                attach,
                ..AfXdpOptions::default()
            };
            let device = AfXdpDevice::open(&options).unwrap_or_else(|e| {
                eprintln!("{e}");
                std::process::exit(1);
            });
            Box::new(device) as Box<dyn Device>
        }),
    }
}

/// The services of RFC 862, 863 and 864.
async fn serve(net: &Net, port: u16) {
    let listener = net::TcpListener::bind_on(net, (FINACK, port)).await.expect("a listener");
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut buffer = vec![0; CHUNK];
            loop {
                let done = match port {
                    CHARGEN => stream.write_all(&buffer).await.is_err(),
                    DISCARD => !matches!(stream.read(&mut buffer).await, Ok(1..)),
                    _ => match stream.read(&mut buffer).await {
                        Ok(len @ 1..) => stream.write_all(&buffer[..len]).await.is_err(),
                        _ => true,
                    },
                };
                if done {
                    break;
                }
            }
        });
    }
}

fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from((FINACK, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap_or_else(|e| {
        eprintln!("{CLIENT} does not reach {address}: {e}");
        std::process::exit(1);
    })
}

fn gigabits(bytes: usize, begun: Instant) -> f64 {
    bytes as f64 * 8e-9 / begun.elapsed().as_secs_f64()
}

fn rate_in(time: Duration) -> f64 {
    let (mut stream, chunk, mut sent) = (connect(DISCARD), vec![7; CHUNK], 0);
    let begun = Instant::now();
    while begun.elapsed() < time && stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
    }
    let _ = stream.shutdown(Shutdown::Write);
    // The other end closes when it has read all.
    let _ = stream.read(&mut [0]);
    gigabits(sent, begun)
}

fn rate_out(time: Duration) -> f64 {
    let (mut stream, mut chunk, mut received) = (connect(CHARGEN), vec![0; CHUNK], 0);
    let begun = Instant::now();
    while begun.elapsed() < time {
        match stream.read(&mut chunk) {
            Ok(len @ 1..) => received += len,
            _ => break,
        }
    }
    gigabits(received, begun)
}

fn round_trips(time: Duration) -> f64 {
    let mut stream = connect(ECHO);
    let _ = stream.set_nodelay(true);
    let (begun, mut trips) = (Instant::now(), 0);
    while begun.elapsed() < time && stream.write_all(&[1]).and_then(|()| stream.read_exact(&mut [0])).is_ok()
    {
        trips += 1;
    }
    f64::from(trips) / begun.elapsed().as_secs_f64()
}
