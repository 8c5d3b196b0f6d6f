//! AF_XDP devices between two network namespaces: a client on the kernel's sockets, and finack on the other end of a veth
//! pair.
//!
//! Where namespaces, `ip`, or AF_XDP can't be had (they need root, and the kernel's consent), the tests say so and pass; with
//! `FINACK_REQUIRE_AF_XDP=1` they fail.
#![allow(clippy::unwrap_used)]

mod veth;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use finack::device::{AfXdpAttach, AfXdpDevice, AfXdpOptions};
use finack::{Net, net};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use veth::{BESIDE, CLIENT, CLIENT6, FAR, FINACK, FINACK6, NEAR, Veth, addresses};

/// Names the role that this binary plays when it is started again.
const ROLE: &str = "FINACK_TEST_ROLE";
const MEGABYTE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

fn options(attach: AfXdpAttach) -> AfXdpOptions {
    AfXdpOptions { interface: NEAR.into(), addresses: addresses(), attach, ..AfXdpOptions::default() }
}

/// Two namespaces in which a device can be opened; `None`, with a word about it, where that can't be had.
fn veth(queues: u32) -> Option<Veth> {
    let required = std::env::var_os("FINACK_REQUIRE_AF_XDP").is_some_and(|v| v == "1");
    let missing = |what: String| {
        assert!(!required, "FINACK_REQUIRE_AF_XDP is set, and {what}");
        eprintln!("skipped: {what}");
        None
    };
    if Command::new("ip").arg("-V").output().is_err() {
        return missing("`ip` is not installed (apt-get install iproute2)".into());
    }
    let veth = match Veth::new(queues) {
        Ok(veth) => veth,
        Err(e) => return missing(format!("no network namespace can be made (root can): {e}")),
    };
    match veth.near.run(|| AfXdpDevice::open(&options(AfXdpAttach::Auto)).map(drop)) {
        Ok(()) => Some(veth),
        Err(e) => missing(format!("no AF_XDP device can be opened here: {e}")),
    }
}

/// Runs a future to its end on a runtime of its own, on the calling thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("the exchange has stalled") })
}

fn network(queues: Vec<AfXdpDevice>) -> Net {
    Net::builder().address(FINACK, 24).address(FINACK6, 64).build_on(queues).unwrap()
}

/// A megabyte that differs from place to place and from seed to seed.
fn text(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let next = std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 24) as u8)
    });
    next.take(MEGABYTE).collect()
}

/// Takes a megabyte and the end of the stream, then sends another one and ends it too.
async fn serve(listener: net::TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert!(received == text(1), "{} bytes have come, and not those that were sent", received.len());
    stream.write_all(&text(2)).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// The other end of `serve`, on the kernel's sockets.
fn exchange(to: SocketAddr) {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&text(1)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == text(2), "{} bytes have come, and not those that were sent", received.len());
}

/// finack's part of [`everything_over`].
async fn serve_everything(net: &Net, ready: std::sync::mpsc::Sender<()>) {
    let four = net::TcpListener::bind_on(net, (FINACK, 80)).await.unwrap();
    let six = net::TcpListener::bind_on(net, (FINACK6, 80)).await.unwrap();
    let echo = net::UdpSocket::bind_on(net, (FINACK, 7)).await.unwrap();
    ready.send(()).unwrap();
    serve(four).await;
    serve(six).await;
    // And connections that finack opens.
    for peer in [SocketAddr::from((CLIENT, 81)), SocketAddr::from((CLIENT6, 82))] {
        let mut stream = net::TcpStream::connect_on(net, peer).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hello");
    }
    let mut datagram = [0; 2000];
    loop {
        let (len, from) = echo.recv_from(&mut datagram).await.unwrap();
        echo.send_to(&datagram[..len], from).await.unwrap();
    }
}

/// The client's part of [`everything_over`].
fn ask_everything() {
    let listeners = [SocketAddr::from((CLIENT, 81)), SocketAddr::from((CLIENT6, 82))]
        .map(|address| TcpListener::bind(address).unwrap());
    exchange((FINACK, 80).into());
    exchange((FINACK6, 80).into());
    for listener in listeners {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        stream.write_all(&text).unwrap();
    }
    let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for len in [1, 1472] {
        socket.send_to(&vec![len as u8; len], (FINACK, 7)).unwrap();
        let mut answer = [0; 2000];
        let (got, from) = socket.recv_from(&mut answer).unwrap();
        assert_eq!((got, from), (len, (FINACK, 7).into()));
    }
    let mut stream = TcpStream::connect_timeout(&(BESIDE, 80).into(), PATIENCE).unwrap();
    stream.write_all(&text(3)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == text(3), "the kernel's own traffic has suffered");
}

/// TCP both ways over both families, opened by either side, datagrams, a ping, and the kernel's own traffic beside them.
fn everything_over(veth: &Veth, open: impl FnOnce() -> Vec<AfXdpDevice> + Send + 'static) {
    // The kernel's own server on the same interface.
    let beside = veth.near.run(|| TcpListener::bind((BESIDE, 80)).unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = beside.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&received).unwrap();
    });
    let (ready, go) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let finack = veth.near.start(move || {
        block_on(async {
            let net = network(open());
            tokio::select! {
                () = serve_everything(&net, ready) => {}
                _ = ended => {}
            }
            net.device_counters()
        })
    });
    go.recv().expect("finack has not come up");
    veth.far.run(ask_everything);
    if Command::new("ping").arg("-V").output().is_ok() {
        for address in [IpAddr::from(FINACK), FINACK6.into(), BESIDE.into()] {
            veth.far.command(&format!("ping -c 2 -i 0.2 -W 5 {address}"));
        }
    }
    end.send(()).unwrap();
    let counters = finack.wait();
    assert_eq!(counters.malformed, 0, "{counters:?}");
    server.join().unwrap();
}

fn has_program(veth: &Veth) -> bool {
    veth.near.command(&format!("ip -d link show dev {NEAR}")).contains("xdp")
}

#[test]
fn native_everything_arrives_and_the_interface_stays_the_kernels_too() {
    let Some(veth) = veth(1) else { return };
    everything_over(&veth, || {
        let device = AfXdpDevice::open(&options(AfXdpAttach::Native)).unwrap();
        assert_eq!(device.mode().to_string(), "native XDP, copies");
        vec![device]
    });
    assert!(!has_program(&veth), "the program is still attached");
}

#[test]
fn generic_everything_arrives_and_the_interface_stays_the_kernels_too() {
    let Some(veth) = veth(1) else { return };
    veth.send_at_wire_size();
    everything_over(&veth, || {
        let device = AfXdpDevice::open(&options(AfXdpAttach::Generic)).unwrap();
        assert_eq!(device.mode().to_string(), "generic XDP, copies");
        vec![device]
    });
}

#[test]
fn two_queues_are_two_shards_of_one_network() {
    let Some(veth) = veth(2) else { return };
    everything_over(&veth, || {
        let queues = AfXdpDevice::open_all(&options(AfXdpAttach::Auto)).unwrap();
        assert_eq!(queues.iter().map(AfXdpDevice::queue).collect::<Vec<_>>(), [0, 1]);
        queues
    });
}

#[test]
fn with_ports_the_kernels_own_address_is_shared_with_it() {
    let Some(veth) = veth(1) else { return };
    let beside = veth.near.run(|| TcpListener::bind((BESIDE, 80)).unwrap());
    let (ready, go) = std::sync::mpsc::channel();
    let finack = veth.near.start(move || {
        block_on(async {
            let shared = AfXdpOptions {
                addresses: vec![(BESIDE.into(), 24)],
                ports: Some(8000..=8010),
                ..options(AfXdpAttach::Auto)
            };
            let device = AfXdpDevice::open(&shared).unwrap();
            let net = Net::builder().address(BESIDE, 24).build(device).unwrap();
            let listener = net::TcpListener::bind_on(&net, (BESIDE, 8000)).await.unwrap();
            ready.send(()).unwrap();
            serve(listener).await;
            net.drain().await.unwrap();
        })
    });
    go.recv().unwrap();
    veth.far.run(|| {
        exchange((BESIDE, 8000).into());
        TcpStream::connect_timeout(&(BESIDE, 80).into(), PATIENCE).unwrap();
        let refused = TcpStream::connect_timeout(&(BESIDE, 8011).into(), PATIENCE).unwrap_err();
        assert_eq!(
            refused.kind(),
            std::io::ErrorKind::ConnectionRefused,
            "the kernel answers for other ports"
        );
    });
    beside.accept().unwrap();
    finack.wait();
}

#[test]
fn frames_of_four_kilobytes_carry_what_two_do_not() {
    let Some(veth) = veth(1) else { return };
    veth.near.command(&format!("ip link set {NEAR} mtu 3000"));
    veth.far.command(&format!("ip link set {FAR} mtu 3000"));
    everything_over(&veth, || vec![AfXdpDevice::open(&options(AfXdpAttach::Auto)).unwrap()]);
}

/// Datagrams stay in the device's memory until they are read: here are more than a small device has frames.
#[test]
fn what_is_not_read_holds_up_nobody_else() {
    const SOCKETS: u16 = 12;
    const DATAGRAMS: u8 = 32;
    let Some(veth) = veth(1) else { return };
    let (ready, go) = std::sync::mpsc::channel();
    let (read, asked) = tokio::sync::oneshot::channel::<()>();
    let finack = veth.near.start(move || {
        block_on(async {
            let small = AfXdpOptions { ring_frames: 64, ..options(AfXdpAttach::Auto) };
            let net = network(vec![AfXdpDevice::open(&small).unwrap()]);
            let echo = net::UdpSocket::bind_on(&net, (FINACK, 7)).await.unwrap();
            let listener = net::TcpListener::bind_on(&net, (FINACK, 80)).await.unwrap();
            let mut sockets = Vec::new();
            for port in 1000..1000 + SOCKETS {
                sockets.push(net::UdpSocket::bind_on(&net, (FINACK, port)).await.unwrap());
            }
            ready.send(()).unwrap();
            for _ in 0..SOCKETS * u16::from(DATAGRAMS) {
                let mut datagram = [0; 1];
                let (_, from) = echo.recv_from(&mut datagram).await.unwrap();
                echo.send_to(&datagram, from).await.unwrap();
            }
            serve(listener).await;
            asked.await.unwrap();
            for socket in sockets {
                for number in 0..DATAGRAMS {
                    let mut datagram = [0; 2000];
                    let (len, _) = socket.recv_from(&mut datagram).await.unwrap();
                    assert_eq!(datagram[..len], [number; 1400]);
                }
            }
        })
    });
    go.recv().unwrap();
    veth.far.run(|| {
        let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for port in 1000..1000 + SOCKETS {
            for number in 0..DATAGRAMS {
                socket.send_to(&[number; 1400], (FINACK, port)).unwrap();
                // The echo tells that it has arrived.
                socket.send_to(&[0], (FINACK, 7)).unwrap();
                socket.recv_from(&mut [0]).unwrap();
            }
        }
        exchange((FINACK, 80).into());
    });
    read.send(()).unwrap();
    finack.wait();
}

#[test]
fn a_device_may_be_opened_before_its_interface_is_up() {
    let Some(veth) = veth(1) else { return };
    veth.near.command(&format!("ip link set {NEAR} down"));
    everything_over(&veth, || {
        let device = AfXdpDevice::open(&options(AfXdpAttach::Auto)).unwrap();
        assert!(Command::new("ip").args(["link", "set", NEAR, "up"]).status().unwrap().success());
        vec![device]
    });
}

#[test]
fn a_device_that_is_dropped_leaves_nothing_and_can_be_opened_again() {
    let Some(veth) = veth(1) else { return };
    for _ in 0..3 {
        let device = veth.near.run(|| AfXdpDevice::open(&options(AfXdpAttach::Auto)).unwrap());
        assert!(has_program(&veth));
        drop(device);
        assert!(!has_program(&veth), "the program is still attached");
    }
}

/// No test by itself: what the next one starts.
#[test]
fn holds_a_device_until_it_is_killed() {
    if std::env::var_os(ROLE).is_some_and(|role| role == "hold") {
        let _device = AfXdpDevice::open(&options(AfXdpAttach::Auto)).unwrap();
        eprintln!("open");
        std::thread::sleep(PATIENCE);
    }
}

#[test]
fn a_process_that_is_killed_leaves_nothing_behind() {
    let Some(veth) = veth(1) else { return };
    let mut child = veth.near.run(|| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "holds_a_device_until_it_is_killed"])
            .env(ROLE, "hold")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut said = [0; 4];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"open");
    assert!(has_program(&veth));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!has_program(&veth), "the program is still attached");
}

#[test]
fn an_interface_that_is_removed_ends_the_network() {
    let Some(veth) = veth(1) else { return };
    let (ready, go) = std::sync::mpsc::channel();
    let finack = veth.near.start(move || {
        block_on(async {
            let net = network(vec![AfXdpDevice::open(&options(AfXdpAttach::Auto)).unwrap()]);
            let listener = net::TcpListener::bind_on(&net, (FINACK, 80)).await.unwrap();
            ready.send(()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            // Until the device says that it is gone.
            loop {
                if let Err(e) = stream.write_all(&[0; 1000]).await {
                    return e.raw_os_error();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    });
    go.recv().unwrap();
    let stream = veth.far.run(|| TcpStream::connect_timeout(&(FINACK, 80).into(), PATIENCE).unwrap());
    veth.far.command(&format!("ip link del {FAR}"));
    assert_eq!(finack.wait(), Some(libc::ENXIO));
    drop(stream);
}

/// Takes powers from this thread.
fn without(powers: CapabilitySet) {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(powers);
    set_capabilities(None, sets).unwrap();
}

/// No test by itself: what the next one starts.
#[test]
fn opens_a_device_with_little_locked_memory() {
    if std::env::var_os(ROLE).is_some_and(|role| role == "little") {
        let little = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
        setrlimit(Resource::Memlock, little).unwrap();
        without(CapabilitySet::IPC_LOCK);
        eprintln!("{}", AfXdpDevice::open(&options(AfXdpAttach::Auto)).map(drop).unwrap_err());
        std::process::exit(0);
    }
}

#[test]
fn too_little_locked_memory_is_said_with_what_to_do() {
    let Some(veth) = veth(1) else { return };
    let output = veth.near.run(|| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "opens_a_device_with_little_locked_memory"])
            .env(ROLE, "little")
            .output()
            .unwrap()
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("6144 KiB") && said.contains("`ulimit -l`") && said.lines().count() == 1, "{said}");
}

/// The error of opening a device, after `before` was done on the same thread, which then ends.
#[track_caller]
fn error_after(veth: &Veth, before: fn(), options: AfXdpOptions) -> String {
    let interface = options.interface.clone();
    let opened = veth.near.run(move || {
        // A thread starts in the namespace of who starts it, and takes what it lost of its powers with it.
        let opening = std::thread::spawn(move || {
            before();
            AfXdpDevice::open(&options).map(drop)
        });
        opening.join().unwrap()
    });
    let error = opened.expect_err(&interface).to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn errors_say_in_one_line_what_to_do() {
    let Some(veth) = veth(1) else { return };
    type Change = fn(&mut AfXdpOptions);
    let nothing = || ();
    let with = |change: Change| {
        let mut options = options(AfXdpAttach::Auto);
        change(&mut options);
        options
    };
    let cases: [(Change, &str); 8] = [
        (|o| o.interface = "eth77".into(), "no interface \"eth77\""),
        (|o| o.interface = "lo".into(), "no Ethernet interface"),
        (|o| o.interface = "a-name-that-is-far-too-long".into(), "`ip link` lists them"),
        (|o| o.queue = 7, "fx0 has no queue 7: it has 1"),
        (|o| o.addresses.clear(), "1 to 16"),
        (|o| o.addresses[0].0 = "224.0.0.1".parse().unwrap(), "224.0.0.1 is no address of a host"),
        (|o| o.ring_frames = 3, "64 to 16384"),
        (|o| o.mtu = Some(500), "1280"),
    ];
    for (change, expected) in cases {
        let error = error_after(&veth, nothing, with(change));
        assert!(error.contains(expected), "{error}");
    }
    // The first attaches a program, which the second finds.
    let device = veth.near.run(|| AfXdpDevice::open(&options(AfXdpAttach::Auto)).unwrap());
    let error = error_after(&veth, nothing, options(AfXdpAttach::Auto));
    assert!(error.contains("`ip link set dev fx0 xdp off`"), "{error}");
    let error = veth.near.run(move || device.another_queue(0).map(drop).unwrap_err().to_string());
    assert!(error.contains("taken by another AF_XDP socket"), "{error}");

    let error = error_after(&veth, || without(CapabilitySet::NET_RAW), options(AfXdpAttach::Auto));
    assert!(error.contains("CAP_NET_RAW"), "{error}");
    let error = error_after(
        &veth,
        || without(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN),
        options(AfXdpAttach::Auto),
    );
    assert!(error.contains("CAP_BPF"), "{error}");

    veth.near.command("ip link set fx0 mtu 9000");
    let error = error_after(&veth, nothing, options(AfXdpAttach::Auto));
    assert!(error.contains("`ip link set fx0 mtu 1500`"), "{error}");
}
