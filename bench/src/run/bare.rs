//! The bare relay: a private network whose connections are carried to the host's loopback by a loop that keeps nothing,
//! checks nothing and runs no timer. What it carries is what a relay over this device could carry at best.

mod flow;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{Command, ExitCode};
use std::thread;

use crate::tun::interface::{self, Interface};
use crate::tun::plain::{self, Datagram, Ends, ROOM, RST, SYN, Seen, Segment, UDP_HEAD};
use crate::udp::EACH;
use flow::Flow;

/// The first argument that makes this program the relay; the program and its words follow.
pub const NAME: &str = "bare-relay";
/// The address that stands for the host's loopback.
pub const HOST: &str = "10.99.0.2";

/// Nothing arrives for that long while data is on its way: it was lost, and nobody has it any more.
const STALL_MS: i32 = 3000;
/// What the events of the device are told by, and those of datagrams' sockets from.
const DEVICE: u64 = u64::MAX;
const DATAGRAMS: u64 = 1 << 32;

/// Runs a program in such a network and ends as it does.
pub fn main(words: &[String]) -> ExitCode {
    let Some((program, arguments)) = words.split_first() else {
        eprintln!("usage: finack-bench {NAME} PROGRAM ARGUMENT...");
        return ExitCode::from(2);
    };
    let (to_relay, device) = std::sync::mpsc::channel::<OwnedFd>();
    let (program, arguments) = (program.clone(), arguments.to_vec());
    thread::spawn(move || {
        let made = interface::enter().and_then(|()| {
            Interface::new(0).with_offload().map_err(|error| format!("no TUN interface: {error}"))
        });
        let device = match made {
            Ok(device) => device,
            Err(missing) => {
                eprintln!("{NAME}: {missing}");
                std::process::exit(125);
            }
        };
        let _ = to_relay.send(device.into());
        let code = match Command::new(&program).args(&arguments).status() {
            Ok(status) => status.code().unwrap_or(1),
            Err(error) => {
                eprintln!("{NAME}: {program}: {error}");
                127
            }
        };
        std::process::exit(code);
    });
    if let Ok(device) = device.recv()
        && let Err(error) = Relay::new(device).and_then(|mut relay| relay.run())
    {
        eprintln!("{NAME}: {error}");
    }
    ExitCode::FAILURE
}

struct Relay {
    device: OwnedFd,
    epoll: OwnedFd,
    flows: HashMap<Ends, Flow>,
    /// By the number that their events have.
    numbers: HashMap<u64, Ends>,
    next: u64,
    datagrams: Vec<(Ends, UdpSocket, usize)>,
    packet: Vec<u8>,
    out: Vec<u8>,
}

/// Has the event loop tell when the descriptor becomes readable or writable.
fn watch(epoll: &OwnedFd, fd: RawFd, number: u64) {
    let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
    let mut event = libc::epoll_event { events, u64: number };
    // SAFETY: both descriptors are open, and the event is read only.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
}

impl Relay {
    fn new(device: OwnedFd) -> io::Result<Self> {
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, device.as_raw_fd(), DEVICE);
        Ok(Self {
            device,
            epoll,
            flows: HashMap::new(),
            numbers: HashMap::new(),
            next: 0,
            datagrams: Vec::new(),
            packet: vec![0; ROOM],
            out: vec![0; ROOM],
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        loop {
            // SAFETY: there is room for as many events as said.
            let n = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 64, STALL_MS) };
            if n == 0 && self.flows.values().any(Flow::waits) {
                return Err(io::Error::other("a packet was lost, and nobody has it any more"));
            }
            for event in events.iter().take(usize::try_from(n).unwrap_or(0)) {
                let (number, what) = (event.u64, event.events);
                match number {
                    DEVICE => self.take_from_device(),
                    DATAGRAMS.. => self.take_from_datagrams((number - DATAGRAMS) as usize),
                    _ => self.take_from_host(number, what),
                }
            }
        }
    }

    fn take_from_device(&mut self) {
        let mut packet = std::mem::take(&mut self.packet);
        while let Some(len) = interface::read(&self.device, &mut packet) {
            match plain::see(&packet[..len]) {
                Some(Seen::Tcp(segment)) => self.segment(&segment, &packet[segment.data.clone()]),
                Some(Seen::Udp(datagram)) => self.datagram(&datagram, &packet),
                None => {}
            }
        }
        self.packet = packet;
    }

    fn segment(&mut self, segment: &Segment, data: &[u8]) {
        let ends = segment.ends;
        if segment.flags & SYN != 0 {
            if self.flows.contains_key(&ends) {
                return;
            }
            let Ok(flow) = Flow::open(segment) else { return };
            self.next += 1;
            watch(&self.epoll, flow.host(), self.next);
            self.numbers.insert(self.next, ends);
            self.flows.insert(ends, flow);
            return;
        }
        let Some(flow) = self.flows.get_mut(&ends) else { return };
        if segment.flags & RST != 0 {
            flow.reset_host();
            self.flows.remove(&ends);
            return;
        }
        flow.take_from_program(segment, data, &self.device, &mut self.out);
        if flow.is_over() {
            self.flows.remove(&ends);
        }
    }

    fn take_from_host(&mut self, number: u64, what: u32) {
        let Some(ends) = self.numbers.get(&number) else { return };
        let Some(flow) = self.flows.get_mut(ends) else {
            self.numbers.remove(&number);
            return;
        };
        flow.take_from_host(what, &self.device, &mut self.out);
        if flow.is_over() {
            self.flows.remove(ends);
            self.numbers.remove(&number);
        }
    }

    fn datagram(&mut self, datagram: &Datagram, packet: &[u8]) {
        let known = self.datagrams.iter().position(|(ends, ..)| *ends == datagram.ends);
        let Some(at) = known.or_else(|| self.open_datagrams(datagram.ends).ok()) else { return };
        let (_, socket, each) = &mut self.datagrams[at];
        if *each != datagram.each {
            *each = datagram.each;
            let _ = crate::udp::client::set(
                socket,
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                datagram.each as libc::c_int,
            );
        }
        let _ = socket.send(&packet[datagram.data.clone()]);
    }

    fn open_datagrams(&mut self, ends: Ends) -> io::Result<usize> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect((Ipv4Addr::LOCALHOST, ends.server.1))?;
        socket.set_nonblocking(true)?;
        crate::udp::client::set(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
        watch(&self.epoll, socket.as_raw_fd(), DATAGRAMS + self.datagrams.len() as u64);
        self.datagrams.push((ends, socket, 0));
        Ok(self.datagrams.len() - 1)
    }

    fn take_from_datagrams(&mut self, at: usize) {
        let Some((ends, socket, _)) = self.datagrams.get(at) else { return };
        while let Ok(bytes) = socket.recv(&mut self.out[UDP_HEAD..]) {
            // What was coalesced are the bench's own.
            plain::write_udp(&mut self.out, ends, bytes, EACH);
            interface::write(&self.device, &self.out[..UDP_HEAD + bytes]);
        }
    }
}
