//! The link between two hosts, in real time: a thread that reads what either sends, and hands it to the other when
//! it is due.
//!
//! It takes no memory while it runs but for the first packets, and where it may it runs before all ordinary threads.
//! How late it was is counted: a link that was late by a good part of a round trip would measure the machine.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use finack::device::{Device, MemoryDevice};
use finack_core::Instant as Time;
use finack_core::device::{Packet, Slices, Transmit, TxChecksum};
use finack_sim::link::{Arrival, Ecn, Offer, Pipe};

use super::capture::Capture;
use super::cells::Cell;

/// The server's port of a run's first flow; each flow has one of its own, and thereby a link of its own.
pub const FIRST_PORT: u16 = 5000;

/// Longest packet that is carried.
const LONGEST: usize = 2048;

/// Packets that are read before what is due is handed on.
const BATCH: usize = 32;

/// How often the thread looks whether it is to end, where nothing else happens.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// When a host that had no room for a packet is tried again.
const AGAIN: Duration = Duration::from_micros(50);

/// Lateness is counted in bins of so many nanoseconds, of so many; the last holds the rest.
const BIN: u64 = 20_000;
const BINS: usize = 251;

/// Where a host is attached.
pub enum Port {
    /// The other end of a namespace's TUN device.
    Tun(OwnedFd),
    /// The other end of finack's device.
    Memory(Box<MemoryDevice>),
}

impl Port {
    fn fd(&self) -> libc::c_int {
        match self {
            Self::Tun(fd) => fd.as_raw_fd(),
            Self::Memory(device) => device.as_fd().as_raw_fd(),
        }
    }

    /// One packet, where one waits.
    fn read(&mut self, room: &mut Vec<u8>, spare: &mut Vec<Packet<'static>>) -> bool {
        room.resize(LONGEST, 0);
        match self {
            Self::Tun(fd) => {
                // SAFETY: the buffer is as long as is said.
                let n = unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
                room.truncate(usize::try_from(n).unwrap_or(0));
                n > 0
            }
            Self::Memory(device) => {
                spare.clear();
                let some = matches!(device.recv_batch(spare, 1), Ok(1));
                room.clear();
                if let Some(packet) = spare.first().filter(|_| some) {
                    room.extend_from_slice(packet.bytes.as_slice());
                }
                some
            }
        }
    }

    /// Whether the host had room; one that is gone takes everything.
    fn write(&mut self, packet: &[u8]) -> bool {
        match self {
            Self::Tun(fd) => {
                // SAFETY: the buffer is as long as is said.
                let n = unsafe { libc::write(fd.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
                n >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
            }
            Self::Memory(device) => {
                let transmit = Transmit {
                    header: packet,
                    payload: Slices::one(&[]),
                    segment_size: 0,
                    checksum: TxChecksum::Complete,
                    number: 0,
                };
                !matches!(device.send(&transmit), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }
}

/// What a link carried in one direction.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Carried {
    /// Packets that entered.
    pub packets: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Dropped where the queue was full.
    pub dropped: u64,
}

/// What a link carried, and how punctually.
#[derive(Clone, Debug)]
pub struct Report {
    /// The data's direction, and the other.
    pub carried: [Carried; 2],
    late: Box<[u32; BINS]>,
    /// The longest time by which the thread woke later than it had asked for, in nanoseconds.
    pub stood_still: u64,
}

impl Report {
    /// How late at most this share of all packets was.
    pub fn lateness(&self, share: f64) -> Duration {
        let all: u64 = self.late.iter().map(|n| u64::from(*n)).sum();
        let mut left = (all as f64 * share) as u64;
        for (bin, n) in self.late.iter().enumerate() {
            let n = u64::from(*n);
            if n >= left && all > 0 {
                return Duration::from_nanos(BIN * (bin as u64 + 1));
            }
            left -= n.min(left);
        }
        Duration::ZERO
    }
}

/// A link at work.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Report, Option<[Capture; 2]>)>,
}

impl Running {
    /// Begins to carry: the first port is the data's sender. Flows from [`FIRST_PORT`] on have each a link of `cell`'s
    /// kind of their own, with losses of its own that follow from `seed`.
    pub fn start(cell: &Cell, seed: u64, flows: usize, ports: [Port; 2], capture: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let lane = |flow: u64| {
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(flow);
            [(0, &cell.there), (1, &cell.back)]
                .map(|(way, hop)| Pipe::new(hop.clone(), seed, way, Time::ZERO))
        };
        let mut emulator = Emulator {
            ports,
            lanes: (0..flows as u64).map(lane).collect(),
            gone: [false; 2],
            refused: [VecDeque::new(), VecDeque::new()],
            free: (0..1 << 12).map(|_| Vec::with_capacity(LONGEST)).collect(),
            spare: Vec::with_capacity(1),
            report: Report { carried: [Carried::default(); 2], late: Box::new([0; BINS]), stood_still: 0 },
            captures: capture.then(|| [Capture::new(), Capture::new()]),
            begun: Instant::now(),
        };
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            run_first(2);
            emulator.run(&told);
            emulator.count();
            (emulator.report, emulator.captures)
        });
        Self { stop, thread }
    }

    /// Ends it; what was captured at the sender and at the receiver goes to files whose names begin with `name`.
    pub fn finish(self, name: Option<&Path>) -> Result<Report, String> {
        self.stop.store(true, Ordering::Relaxed);
        let (report, captures) = self.thread.join().map_err(|_| "the link's thread panicked".to_owned())?;
        if let (Some(name), Some(captures)) = (name, captures) {
            for (capture, end) in captures.iter().zip(["sender", "receiver"]) {
                let file = name.with_extension(format!("{end}.pcap"));
                capture.write(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            }
        }
        Ok(report)
    }
}

struct Emulator {
    ports: [Port; 2],
    /// Of each flow a link of its own, both ways.
    lanes: Vec<[Pipe<Vec<u8>>; 2]>,
    /// Which hosts have gone: they would be ready for ever, and waiting for them would be no waiting at all.
    gone: [bool; 2],
    /// What has arrived, and a host had no room for.
    refused: [VecDeque<Vec<u8>>; 2],
    free: Vec<Vec<u8>>,
    spare: Vec<Packet<'static>>,
    report: Report,
    captures: Option<[Capture; 2]>,
    begun: Instant,
}

impl Emulator {
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let more = self.take(0) | self.take(1);
            let next = self.hand_on();
            if !more {
                self.wait(next);
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Takes what a host has sent, up to a batch; whether there may be more.
    fn take(&mut self, from: usize) -> bool {
        for _ in 0..BATCH {
            let mut packet = self.free.pop().unwrap_or_else(|| Vec::with_capacity(LONGEST));
            if !self.ports[from].read(&mut packet, &mut self.spare) {
                self.free.push(packet);
                return false;
            }
            self.admit(from, packet);
        }
        true
    }

    fn admit(&mut self, from: usize, packet: Vec<u8>) {
        let now = self.now();
        let Some(lane) = flow(&packet, from).and_then(|flow| self.lanes.get_mut(flow)) else {
            self.free.push(packet);
            return;
        };
        if let Some(captures) = &mut self.captures {
            captures[from].note(now, &packet);
        }
        let offer = Offer { size: packet.len() as u32, ecn: Ecn::from_tos(packet[1]), flow: 0 };
        if let Err(lost) = lane[from].push(now, offer, packet) {
            self.free.push(lost.item);
        }
        while let Some(lost) = lane[from].pop_dropped() {
            self.free.push(lost.item);
        }
    }

    /// Hands on what is due; when the next is, or when to try again.
    fn hand_on(&mut self) -> Option<Time> {
        let mut next: Option<Time> = None;
        for to in [0, 1] {
            while let Some(packet) = self.refused[to].pop_front() {
                if !self.ports[to].write(&packet) {
                    self.refused[to].push_front(packet);
                    next = Some(self.now() + AGAIN);
                    break;
                }
                self.free.push(packet);
            }
        }
        for lane in 0..self.lanes.len() {
            for from in [0, 1] {
                while let Some(due) = self.lanes[lane][from].next() {
                    let now = self.now();
                    if due > now {
                        next = Some(next.map_or(due, |next| next.min(due)));
                        break;
                    }
                    match self.lanes[lane][from].pop(now) {
                        Some(arrival) => self.deliver(1 - from, now, arrival),
                        // The queue's management has looked at it.
                        None => continue,
                    }
                }
            }
        }
        next
    }

    fn deliver(&mut self, to: usize, now: Time, arrival: Arrival<Vec<u8>>) {
        let late = now.since(arrival.at).as_nanos() as u64;
        self.report.late[(late / BIN).min(BINS as u64 - 1) as usize] += 1;
        let mut packet = arrival.item;
        if arrival.marked {
            mark(&mut packet, arrival.ecn);
        }
        if let Some(flaw) = arrival.flaw {
            flaw.apply(&mut packet);
        }
        if let Some(captures) = &mut self.captures {
            captures[to].note(now, &packet);
        }
        if self.refused[to].is_empty() && self.ports[to].write(&packet) {
            self.free.push(packet);
        } else {
            self.refused[to].push_back(packet);
        }
    }

    /// What all links together carried.
    fn count(&mut self) {
        for lane in &self.lanes {
            for (pipe, carried) in lane.iter().zip(&mut self.report.carried) {
                let stats = pipe.stats();
                carried.packets += stats.offered;
                carried.lost += stats.lost;
                carried.dropped += stats.dropped() - stats.lost;
            }
        }
    }

    /// Sleeps until a host has sent something or `next`.
    fn wait(&mut self, next: Option<Time>) {
        let now = self.now();
        let wait = next.map_or(LOOK_AROUND, |next| next.since(now).min(LOOK_AROUND));
        let timeout = libc::timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as libc::c_long };
        let watch = |place: usize| {
            // The kernel passes over what is no descriptor.
            let fd = if self.gone[place] { -1 } else { self.ports[place].fd() };
            libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
        };
        let mut fds = [watch(0), watch(1)];
        // SAFETY: the array is as long as is said, the time lives as long as the call, and no mask is given.
        let _ = unsafe { libc::ppoll(fds.as_mut_ptr(), 2, &raw const timeout, std::ptr::null()) };
        for (gone, fd) in self.gone.iter_mut().zip(&fds) {
            *gone |= fd.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0;
        }
        let late = self.now().since(now + wait).as_nanos() as u64;
        self.report.stood_still = self.report.stood_still.max(late);
    }
}

/// Which flow a packet of IPv4's TCP belongs to, sent by the client (`from` 0) or the server; anything else is not
/// carried.
fn flow(packet: &[u8], from: usize) -> Option<usize> {
    let first = packet.first()?;
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || *packet.get(9)? != 6 {
        return None;
    }
    let at = if from == 0 { header + 2 } else { header };
    let port = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    port.checked_sub(FIRST_PORT).map(usize::from)
}

/// Writes an ECN field into a packet of IPv4, with the checksum that it has then.
fn mark(packet: &mut [u8], ecn: Ecn) {
    let header = usize::from(packet[0] & 15) * 4;
    packet[1] = packet[1] & !3 | ecn.bits();
    let Some(header) = packet.get_mut(..header) else { return };
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    header[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// Asks that the calling thread, and those that it starts, run before ordinary ones and before those of a lower
/// priority (1 to 99), and are woken without slack; without the privilege only the latter. So whatever else the machine
/// does takes no part in a run: the kernel's own stacks go before ordinary threads too.
pub fn run_first(priority: libc::c_int) {
    // SAFETY: two numbers.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    // SAFETY: a sched_param is plain numbers, for which zero is a value.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: the kernel reads the parameters, of the calling thread alone (0).
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_known_by_its_servers_port() {
        let mut packet = vec![0_u8; 40];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
        packet[22..24].copy_from_slice(&(FIRST_PORT + 3).to_be_bytes());
        assert_eq!(flow(&packet, 0), Some(3));
        packet[20..22].copy_from_slice(&(FIRST_PORT + 9).to_be_bytes());
        assert_eq!(flow(&packet, 1), Some(9));
        packet[9] = 17;
        assert_eq!(flow(&packet, 1), None);
        assert_eq!(flow(&[0x45, 0], 0), None);
    }

    /// RFC 791 3.1: the header's checksum is right again after the mark.
    #[test]
    fn a_mark_keeps_the_checksum_right() {
        let mut packet = vec![0x45, 0x02, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2];
        mark(&mut packet, Ecn::Ce);
        assert_eq!(packet[1], 0x03);
        let sum: u32 = packet.chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
        assert_eq!((sum >> 16) + (sum & 0xffff), 0xffff);
    }

    #[test]
    fn lateness_is_told_by_share() {
        let mut late = Box::new([0; BINS]);
        late[0] = 98;
        late[10] = 2;
        let report = Report { carried: [Carried::default(); 2], late, stood_still: 0 };
        assert_eq!(report.lateness(0.5), Duration::from_micros(20));
        assert_eq!(report.lateness(0.99), Duration::from_micros(220));
    }
}
