//! The kernel's own TCP against a network of several shards, each with a queue of a TUN interface.

use std::io;

use finack::Net;
use finack::net::{TcpListener, TcpStream};
use finack_run::namespace::{DevicePath, Network, NetworkConfig};
use finack_run::plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{inside, role};

const SHARDS: usize = 4;

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = vec![0; 64 << 10];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buf[..n]).await?;
    }
}

/// Every connection's bytes come back, whichever queue the kernel chose for its packets, and all shards have some.
#[test]
fn connections_of_a_program_are_served_by_all_shards() {
    let config = NetworkConfig { device: Some(DevicePath::Tun), queues: SHARDS, ..NetworkConfig::default() };
    let Ok(mut network) = Network::create(&config) else {
        eprintln!("skipped: no TUN here");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = runtime.block_on(async {
        let mut builder = Net::builder();
        for (addr, prefix) in plan::our_addresses() {
            builder = builder.address(addr, prefix);
        }
        let net = builder.build_on(network.take_devices()).unwrap();
        assert_eq!(net.shards(), SHARDS);
        let listener = TcpListener::bind_on(&net, (inside::V4, 7)).await.unwrap();
        let mut child = network.spawn(&role("echoes")).unwrap();
        let mut served = [0; SHARDS];
        for _ in 0..inside::ECHOES {
            let (stream, _) = listener.accept().await.unwrap();
            served[stream.shard()] += 1;
            tokio::spawn(echo(stream));
        }
        let waiting = std::thread::spawn(move || child.wait());
        while !waiting.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(waiting.join().unwrap().unwrap().success(), "the program checks the bytes");
        served
    });
    assert!(served.iter().all(|&n| n > 0), "{served:?}");
}
