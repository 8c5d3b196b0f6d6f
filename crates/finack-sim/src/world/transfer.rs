//! Applications that move bytes and check each of them.

use core::time::Duration;

use finack_core::Error;
use finack_core::options::{RecvFlags, SendFlags, Shutdown};
use finack_core::stack::{ConnId, Ready};

use super::{HostId, World};
use crate::pattern;

/// One direction of a transfer.
#[derive(Clone, Copy, Debug)]
pub struct Direction {
    /// Bytes to move.
    pub total: u64,
    /// Bytes that the sender's application has written.
    pub written: u64,
    /// Bytes that the receiver's application has read.
    pub read: u64,
    /// The sender's application has shut its end down.
    pub shut: bool,
    /// The receiver's application has read EOF.
    pub eof: bool,
}

impl Direction {
    const fn new(total: u64) -> Self {
        Self { total, written: 0, read: 0, shut: false, eof: false }
    }
}

/// Whether the call has something to do.
fn is_ready(world: &World, host: HostId, conn: ConnId, wanted: Ready) -> bool {
    world.stack(host).tcp_ready(conn).map_or(true, |ready| ready.intersects(wanted | Ready::ERROR))
}

/// Two applications that send each other so many bytes, half-close after them and read until EOF.
#[derive(Clone, Debug)]
pub struct Transfer {
    ends: [(HostId, ConnId); 2],
    /// From the first end to the second, and back.
    pub directions: [Direction; 2],
    /// Most bytes in one write or read.
    pub chunk: usize,
}

impl Transfer {
    /// `there` bytes from `a` to `b` and `back` bytes from `b` to `a`.
    #[must_use]
    pub fn new(a: (HostId, ConnId), b: (HostId, ConnId), there: u64, back: u64) -> Self {
        Self { ends: [a, b], directions: [Direction::new(there), Direction::new(back)], chunk: 16_384 }
    }

    /// Whether both applications have read all that was sent, and EOF.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.directions.iter().all(|d| d.eof)
    }

    /// Lets both applications do what they can now.
    ///
    /// # Panics
    /// Where a byte is wrong, EOF comes too early, or a call fails.
    #[track_caller]
    pub fn poll(&mut self, world: &mut World) {
        for side in 0..2 {
            self.poll_writer(world, side);
            self.poll_reader(world, side);
        }
    }

    #[track_caller]
    fn poll_writer(&mut self, world: &mut World, side: usize) {
        let (host, conn) = self.ends[side];
        let direction = &mut self.directions[side];
        while direction.written < direction.total {
            if !is_ready(world, host, conn, Ready::WRITABLE) {
                return;
            }
            let len = (direction.total - direction.written).min(self.chunk as u64) as usize;
            let data = pattern::bytes(side as u8 + 1, direction.written, len);
            match world.with(host, |s, now| s.tcp_send(now, conn, &data, SendFlags::default())) {
                Ok(taken) => direction.written += taken as u64,
                Err(Error::WouldBlock) => return,
                Err(e) => world.fail(&format!("host {} write: {e}", host.0)),
            }
        }
        if !direction.shut {
            direction.shut = true;
            if let Err(e) = world.with(host, |s, now| s.tcp_shutdown(now, conn, Shutdown::Write)) {
                world.fail(&format!("host {} shutdown: {e}", host.0));
            }
        }
    }

    #[track_caller]
    fn poll_reader(&mut self, world: &mut World, side: usize) {
        let (host, conn) = self.ends[1 - side];
        let direction = &mut self.directions[side];
        if !is_ready(world, host, conn, Ready::READABLE) {
            return;
        }
        let mut buf = vec![0; self.chunk];
        while !direction.eof {
            match world.with(host, |s, now| s.tcp_recv(now, conn, &mut buf, RecvFlags::default())) {
                Ok(0) if direction.read == direction.total => direction.eof = true,
                Ok(0) => world.fail(&format!("EOF after {} of {} bytes", direction.read, direction.total)),
                Ok(n) => {
                    if let Some(at) = pattern::mismatch(side as u8 + 1, direction.read, &buf[..n]) {
                        world.fail(&format!(
                            "byte {} of direction {side} is wrong",
                            direction.read + at as u64
                        ));
                    }
                    direction.read += n as u64;
                }
                Err(Error::WouldBlock) => return,
                Err(e) => world.fail(&format!("host {} read: {e}", host.0)),
            }
        }
    }

    /// Runs the transfer to its end and closes both sides.
    ///
    /// # Panics
    /// Where it is not done within `limit` of virtual time.
    #[track_caller]
    pub fn run(mut self, world: &mut World, limit: Duration) {
        world.run_until(limit, |w| {
            self.poll(w);
            self.is_done()
        });
        for (host, conn) in self.ends {
            if let Err(e) = world.with(host, |s, now| s.tcp_close(now, conn)) {
                world.fail(&format!("host {} close: {e}", host.0));
            }
        }
    }
}
