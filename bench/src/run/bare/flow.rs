//! One connection of the bare relay.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::tun::interface;
use crate::tun::plain::{self, ACK, Ends, FIN, Head, PSH, RST, SHIFT, SYN, Segment, TCP_HEAD, UNIT};

/// Bytes that may wait for the host's socket.
const MOST: usize = 4 << 20;
/// Data is read for the program once there is so much room for it.
const LEAST: usize = 16 * 1024;

pub struct Flow {
    ends: Ends,
    host: OwnedFd,
    rcv_nxt: u32,
    snd_una: u32,
    snd_nxt: u32,
    window: usize,
    shift: u8,
    open: bool,
    /// There may be something to read.
    readable: bool,
    /// What the host's socket has not taken yet.
    waiting: Vec<u8>,
    program_ended: bool,
    host_ended: bool,
    broken: bool,
}

impl Flow {
    /// Begins to connect to the host's loopback.
    pub fn open(syn: &Segment) -> io::Result<Self> {
        let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: makes a descriptor and touches no memory.
        let fd = unsafe { libc::socket(libc::AF_INET, flags, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let host = unsafe { OwnedFd::from_raw_fd(fd) };
        let one: libc::c_int = 1;
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: syn.ends.server.1.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        // SAFETY: an int and an address of the lengths said, which the kernel only reads. That the connection is
        // not there yet is no error.
        unsafe {
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const one).cast(), 4);
            libc::connect(fd, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t);
        }
        Ok(Self {
            ends: syn.ends,
            host,
            rcv_nxt: syn.seq.wrapping_add(1),
            snd_una: 1,
            snd_nxt: 1,
            window: 0,
            shift: syn.shift,
            open: false,
            readable: false,
            waiting: Vec::new(),
            program_ended: false,
            host_ended: false,
            broken: false,
        })
    }

    pub fn host(&self) -> RawFd {
        self.host.as_raw_fd()
    }

    /// Something is on its way to the program.
    pub fn waits(&self) -> bool {
        self.snd_una != self.snd_nxt
    }

    pub fn is_over(&self) -> bool {
        self.broken || (self.program_ended && self.host_ended && self.waiting.is_empty() && !self.waits())
    }

    /// The host's peer sees a RST.
    pub fn reset_host(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = size_of_val(&linger) as libc::socklen_t;
        // SAFETY: one `linger` of that length, which the kernel only reads.
        unsafe {
            libc::setsockopt(self.host(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len)
        };
    }

    pub fn take_from_program(&mut self, segment: &Segment, data: &[u8], device: &OwnedFd, out: &mut [u8]) {
        self.snd_una = segment.ack;
        self.window = usize::from(segment.window) << self.shift;
        if segment.seq == self.rcv_nxt && !data.is_empty() {
            self.rcv_nxt = self.rcv_nxt.wrapping_add(data.len() as u32);
            let taken = if self.waiting.is_empty() { self.write(data) } else { 0 };
            self.waiting.extend_from_slice(&data[taken..]);
        }
        let fin = segment.flags & FIN != 0 && !self.program_ended;
        if fin {
            self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
            self.program_ended = true;
            self.end_host();
        }
        let before = self.snd_nxt;
        self.carry_to_program(device, out);
        // What was sent has said it too.
        if before == self.snd_nxt && (fin || !data.is_empty()) {
            self.send(device, out, ACK, 0);
        }
    }

    pub fn take_from_host(&mut self, what: u32, device: &OwnedFd, out: &mut [u8]) {
        let is = |event: libc::c_int| what & event as u32 != 0;
        if !self.open {
            if is(libc::EPOLLERR) || is(libc::EPOLLHUP) {
                self.send(device, out, RST | ACK, 0);
                self.broken = true;
            } else if is(libc::EPOLLOUT) {
                self.open = true;
                self.send(device, out, SYN | ACK, 0);
                self.snd_nxt = self.snd_nxt.wrapping_add(1);
            }
            return;
        }
        if is(libc::EPOLLOUT) && !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let taken = self.write(&waiting);
            self.waiting.extend_from_slice(&waiting[taken..]);
            self.end_host();
            self.send(device, out, ACK, 0);
        }
        self.readable |= is(libc::EPOLLIN) || is(libc::EPOLLRDHUP) || is(libc::EPOLLHUP);
        self.carry_to_program(device, out);
    }

    /// Passes the program's FIN on, once everything before it is written.
    fn end_host(&self) {
        if self.program_ended && self.waiting.is_empty() {
            // SAFETY: touches no memory.
            unsafe { libc::shutdown(self.host(), libc::SHUT_WR) };
        }
    }

    fn write(&self, data: &[u8]) -> usize {
        // SAFETY: the data is as long as said.
        let n = unsafe { libc::send(self.host(), data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL) };
        usize::try_from(n).unwrap_or(0)
    }

    fn carry_to_program(&mut self, device: &OwnedFd, out: &mut [u8]) {
        while self.readable && !self.host_ended {
            let room = self.window.saturating_sub(self.snd_nxt.wrapping_sub(self.snd_una) as usize).min(UNIT);
            if room < LEAST && self.waits() || room == 0 {
                return;
            }
            let into = &mut out[TCP_HEAD..TCP_HEAD + room];
            // SAFETY: there is room for as many bytes as said.
            let n = unsafe { libc::recv(self.host(), into.as_mut_ptr().cast(), room, 0) };
            match usize::try_from(n) {
                Ok(0) => {
                    self.send(device, out, FIN | ACK, 0);
                    self.snd_nxt = self.snd_nxt.wrapping_add(1);
                    self.host_ended = true;
                }
                Ok(n) => {
                    self.send(device, out, PSH | ACK, n);
                    self.snd_nxt = self.snd_nxt.wrapping_add(n as u32);
                }
                Err(_) => {
                    self.readable = false;
                    if io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
                        self.send(device, out, RST | ACK, 0);
                        self.broken = true;
                    }
                    return;
                }
            }
        }
    }

    /// Sends a segment, whose data stands in `out` where it belongs.
    fn send(&self, device: &OwnedFd, out: &mut [u8], flags: u8, data: usize) {
        let window = MOST.saturating_sub(self.waiting.len()) >> SHIFT;
        let head = Head {
            ends: self.ends,
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags,
            window: window as u16,
            data,
        };
        let headers = plain::write_tcp(out, &head);
        interface::write(device, &out[..headers + data]);
    }
}
