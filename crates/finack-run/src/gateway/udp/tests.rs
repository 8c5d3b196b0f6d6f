use std::net::Ipv4Addr;

use finack::core::device::Capabilities;
use finack::{Net, device, net};
use tokio::net::UdpSocket;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::super::{Config, Gateway, Published, Ways};
use super::*;
use crate::warnings::Warnings;

/// The program's end of a private network, whose other end is a gateway.
fn bed() -> (Net, Gateway) {
    let (inside, outside) = device::pair(Capabilities::plain(1500)).unwrap();
    let program = Net::builder()
        .address(plan::PROGRAM_V4, plan::PREFIX_V4)
        .route(Ipv4Addr::UNSPECIFIED, 0)
        .build(inside)
        .unwrap();
    let finack =
        Net::builder().address(plan::GATEWAY_V4, plan::PREFIX_V4).any_address(true).build(outside).unwrap();
    let config = Config {
        ways: Ways { outside: false, host: true },
        note: Rc::new(|_, _, _| {}),
        say: |_| {},
        told: Warnings::default(),
        strict_ack: false,
    };
    let gateway = Gateway::start(&finack, config, Published::default()).unwrap();
    (program, gateway)
}

async fn soon<T>(future: impl Future<Output = io::Result<T>>) -> T {
    timeout(Duration::from_secs(1), future).await.expect("in time").unwrap()
}

/// RFC 4787 REQ-5, REQ-6: five minutes after the last datagram of either direction, and no earlier.
#[tokio::test(start_paused = true)]
async fn a_flow_ends_five_minutes_after_the_last_datagram_of_either_direction() {
    LocalSet::new()
        .run_until(async {
            let (program, _gateway) = bed();
            let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let to = SocketAddr::new(plan::HOST_V4.into(), peer.local_addr().unwrap().port());
            let socket = net::UdpSocket::bind_on(&program, "0.0.0.0:0").await.unwrap();
            let mut buf = [0; 16];

            socket.send_to(b"one", to).await.unwrap();
            let (_, flow) = soon(peer.recv_from(&mut buf)).await;
            peer.connect(flow).await.unwrap();
            for (inward, data) in [(true, b"a"), (true, b"b"), (false, b"c"), (true, b"d")] {
                sleep(IDLE - Duration::from_secs(2)).await;
                if inward {
                    peer.send(data).await.unwrap();
                    assert_eq!(soon(socket.recv_from(&mut buf)).await, (1, to), "{data:?}");
                } else {
                    socket.send_to(data, to).await.unwrap();
                    assert_eq!(soon(peer.recv_from(&mut buf)).await, (1, flow), "{data:?}");
                }
            }

            sleep(IDLE + Duration::from_secs(2)).await;
            // The first finds nobody, the second tells of it.
            let _ = peer.send(b"five").await;
            let error = peer.send(b"six").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            // A new one begins with the next datagram.
            socket.send_to(b"seven", to).await.unwrap();
            let (_, again) = soon(peer.recv_from(&mut buf)).await;
            assert_eq!(again, flow, "the port is free again");
        })
        .await;
}

/// RFC 4787 REQ-1: one mapping for all destinations; and none but those that the program may know reach it.
#[tokio::test(start_paused = true)]
async fn a_flow_serves_all_peers() {
    LocalSet::new()
        .run_until(async {
            let (program, _gateway) = bed();
            let peers = [
                UdpSocket::bind("127.0.0.1:0").await.unwrap(),
                UdpSocket::bind("127.0.0.1:0").await.unwrap(),
                // Another loopback address, which has no name in the private network.
                UdpSocket::bind("127.0.0.2:0").await.unwrap(),
            ];
            let socket = net::UdpSocket::bind_on(&program, "0.0.0.0:0").await.unwrap();
            let mut buf = [0; 16];
            let mut flows = Vec::new();
            for peer in &peers[..2] {
                let to = SocketAddr::new(plan::HOST_V4.into(), peer.local_addr().unwrap().port());
                socket.send_to(b"?", to).await.unwrap();
                flows.push(soon(peer.recv_from(&mut buf)).await.1);
            }
            assert_eq!(flows[0], flows[1]);
            peers[2].send_to(b"stranger", flows[0]).await.unwrap();
            peers[1].send_to(b"known", flows[0]).await.unwrap();
            assert_eq!(soon(socket.recv_from(&mut buf)).await.0, 5);
        })
        .await;
}

/// Datagrams of one size go out in one call, and come out as they were.
#[tokio::test(start_paused = true)]
async fn a_burst_arrives_whole_and_in_order() {
    LocalSet::new()
        .run_until(async {
            let (program, _gateway) = bed();
            let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let to = SocketAddr::new(plan::HOST_V4.into(), peer.local_addr().unwrap().port());
            let socket = net::UdpSocket::bind_on(&program, "0.0.0.0:0").await.unwrap();
            let sizes = [100, 100, 100, 40, 100, 100, 0, 1400, 1400, 7, 7, 8, 8];
            for (i, size) in sizes.into_iter().enumerate() {
                socket.send_to(&vec![i as u8; size], to).await.unwrap();
            }
            let mut buf = [0; 2000];
            for (i, size) in sizes.into_iter().enumerate() {
                let (len, _) = soon(peer.recv_from(&mut buf)).await;
                assert_eq!(len, size, "{i}");
                assert!(buf[..len].iter().all(|b| *b == i as u8), "{i}");
            }
        })
        .await;
}
