//! The bare loop: the same bytes through the same device, with nothing computed, kept or checked beyond what it takes for
//! the kernel at the other end to go on: whoever sends is believed, what is sent is not kept, and no timer runs.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::client::{ECHO, SOURCE};
use super::interface;
use super::plain::{self, ACK, Ends, FIN, Head, PSH, ROOM, RST, SHIFT, SYN, Seen, Segment, TCP_HEAD, UNIT};
use crate::udp;

/// Something was lost where nothing moved for that long while data was on its way.
const STALL: Duration = Duration::from_millis(20);
/// What is offered to the kernel: 16 MiB.
const WINDOW: u16 = (16 << 20 >> SHIFT) as u16;

struct Connection {
    rcv_nxt: u32,
    snd_una: u32,
    snd_nxt: u32,
    /// The peer's window in bytes, and its scale.
    window: u32,
    shift: u8,
}

struct Loop {
    fd: OwnedFd,
    connections: HashMap<Ends, Connection>,
    datagrams: udp::Counted,
    out: Vec<u8>,
}

/// Serves for as long as the process lives.
pub fn serve(fd: OwnedFd) {
    let mut bare =
        Loop { fd, connections: HashMap::new(), datagrams: udp::Counted::default(), out: vec![0; ROOM] };
    let mut packet = vec![0; ROOM];
    loop {
        let Some(len) = interface::read(&bare.fd, &mut packet) else {
            let sends = |(ends, c): (&Ends, &Connection)| ends.server.1 == SOURCE && c.snd_nxt != c.snd_una;
            if bare.connections.iter().any(sends) {
                bare.wait_for_source();
            } else {
                interface::wait(&bare.fd, None);
            }
            continue;
        };
        match plain::see(&packet[..len]) {
            Some(Seen::Tcp(segment)) => bare.tcp(&segment, &packet[segment.data.clone()]),
            Some(Seen::Udp(datagram)) => {
                let out = &mut bare.out;
                bare.datagrams.bare(&datagram, &packet, out, |packet| interface::write(&bare.fd, packet));
            }
            None => {}
        }
    }
}

impl Loop {
    fn tcp(&mut self, segment: &Segment, data: &[u8]) {
        if segment.flags & RST != 0 {
            self.connections.remove(&segment.ends);
            return;
        }
        if segment.flags & SYN != 0 {
            let c = Connection {
                rcv_nxt: segment.seq.wrapping_add(1),
                snd_una: 1,
                snd_nxt: 1,
                window: 0,
                shift: segment.shift,
            };
            send(&self.fd, &mut self.out, &segment.ends, &c, (0, SYN | ACK), 0);
            self.connections.insert(segment.ends, c);
            return;
        }
        let Some(c) = self.connections.get_mut(&segment.ends) else { return };
        c.snd_una = segment.ack;
        c.window = u32::from(segment.window) << c.shift;
        let taken = if segment.seq == c.rcv_nxt { data.len() } else { 0 };
        c.rcv_nxt = c.rcv_nxt.wrapping_add(taken as u32);
        if segment.ends.server.1 == ECHO && taken > 0 {
            self.out[TCP_HEAD..TCP_HEAD + taken].copy_from_slice(data);
            send(&self.fd, &mut self.out, &segment.ends, c, (c.snd_nxt, PSH | ACK), taken);
            c.snd_nxt = c.snd_nxt.wrapping_add(taken as u32);
        } else if !data.is_empty() {
            send(&self.fd, &mut self.out, &segment.ends, c, (c.snd_nxt, ACK), 0);
        }
        if segment.flags & FIN != 0 {
            c.rcv_nxt = c.rcv_nxt.wrapping_add(1);
            send(&self.fd, &mut self.out, &segment.ends, c, (c.snd_nxt, FIN | ACK), 0);
            self.connections.remove(&segment.ends);
        } else if segment.ends.server.1 == SOURCE {
            fill(&self.fd, &mut self.out, &segment.ends, c);
        }
    }

    /// Nothing to read: unless that changes soon, what was sent is lost, and sent again.
    fn wait_for_source(&mut self) {
        let before: Vec<(Ends, u32)> = self.connections.iter().map(|(ends, c)| (*ends, c.snd_una)).collect();
        let mut poll = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::IN)];
        let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: STALL.as_nanos() as i64 };
        if rustix::event::poll(&mut poll, Some(&time)) != Ok(0) {
            return;
        }
        for (ends, una) in before {
            if let Some(c) = self.connections.get_mut(&ends).filter(|c| c.snd_una == una) {
                c.snd_nxt = una;
                fill(&self.fd, &mut self.out, &ends, c);
            }
        }
    }
}

/// Sends as many whole units as the window takes, at least one where nothing is on its way.
fn fill(fd: &OwnedFd, out: &mut [u8], ends: &Ends, c: &mut Connection) {
    loop {
        let flying = c.snd_nxt.wrapping_sub(c.snd_una);
        let room = c.window.saturating_sub(flying) as usize;
        let len = if flying == 0 { room.min(UNIT) } else { UNIT };
        if len == 0 || room < len {
            return;
        }
        send(fd, out, ends, c, (c.snd_nxt, ACK), len);
        c.snd_nxt = c.snd_nxt.wrapping_add(len as u32);
    }
}

/// Sends a segment, whose data stands in `out` where it belongs.
fn send(fd: &OwnedFd, out: &mut [u8], ends: &Ends, c: &Connection, (seq, flags): (u32, u8), data: usize) {
    let head = Head { ends: *ends, seq, ack: c.rcv_nxt, flags, window: WINDOW, data };
    let headers = plain::write_tcp(out, &head);
    interface::write(fd, &out[..headers + data]);
}
