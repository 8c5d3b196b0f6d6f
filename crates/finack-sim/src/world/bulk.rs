//! Applications that only move bytes, many at a time, and look at none of them.

use bytes::Bytes;
use finack_core::options::{SendFlags, Shutdown};
use finack_core::stack::{ConnId, Ready};
use finack_core::{Error, Instant};

use super::{HostId, World};

/// Bytes in one write.
const CHUNK: usize = 64 << 10;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// So many bytes of a buffer that is never copied before it is sent.
fn zeros(len: usize) -> [Bytes; 1] {
    [Bytes::from_static(&ZEROS[..len])]
}

/// One application that writes as much as it can and one that reads all that comes.
#[derive(Clone, Debug)]
pub struct Bulk {
    from: (HostId, ConnId),
    to: (HostId, ConnId),
    /// Bytes to move; without end where `None`.
    pub total: Option<u64>,
    /// Bytes written so far.
    pub written: u64,
    /// Bytes read so far.
    pub read: u64,
    /// When the end of the stream was read.
    pub done: Option<Instant>,
    /// Why a call failed: the connection is over.
    pub failed: Option<Error>,
    shut: bool,
}

impl Bulk {
    /// So many bytes (all that can be, where `None`) from one end of a connection to the other, and the end of the stream
    /// behind them.
    #[must_use]
    pub const fn new(from: (HostId, ConnId), to: (HostId, ConnId), total: Option<u64>) -> Self {
        Self { from, to, total, written: 0, read: 0, done: None, failed: None, shut: false }
    }

    /// Whether nothing will happen any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.done.is_some() || self.failed.is_some()
    }

    /// Lets both applications do what they can now.
    pub fn poll(&mut self, world: &mut World) {
        if !self.is_over() {
            self.write(world);
            self.read(world);
        }
    }

    fn write(&mut self, world: &mut World) {
        let (host, conn) = self.from;
        if self.shut || !is_ready(world, self.from, Ready::WRITABLE) {
            return;
        }
        loop {
            let left = self.total.map_or(CHUNK as u64, |total| total - self.written).min(CHUNK as u64);
            if left == 0 {
                break;
            }
            let data = zeros(left as usize);
            match world.with(host, |s, now| s.tcp_send_shared(now, conn, &data, SendFlags::default())) {
                Ok(taken) => self.written += taken as u64,
                Err(Error::WouldBlock) => return,
                Err(e) => return self.failed = Some(e),
            }
        }
        self.shut = true;
        if let Err(e) = world.with(host, |s, now| s.tcp_shutdown(now, conn, Shutdown::Write)) {
            self.failed = Some(e);
        }
    }

    fn read(&mut self, world: &mut World) {
        let (host, conn) = self.to;
        while is_ready(world, self.to, Ready::READABLE) {
            let mut seen = 0;
            let mut count = |slices: &[&[u8]]| {
                seen = slices.iter().map(|s| s.len()).sum();
                Ok::<usize, core::convert::Infallible>(seen)
            };
            match world.with(host, |s, now| s.tcp_recv_with(now, conn, &mut count)) {
                Ok(Ok(0)) => return self.done = Some(world.now()),
                Ok(Ok(taken)) => self.read += taken as u64,
                Err(Error::WouldBlock) => return,
                Err(e) => return self.failed = Some(e),
            }
        }
    }
}

fn is_ready(world: &World, (host, conn): (HostId, ConnId), wanted: Ready) -> bool {
    world.stack(host).tcp_ready(conn).map_or(true, |ready| ready.intersects(wanted | Ready::ERROR))
}

impl World {
    /// Runs these until all are over, at most until `end`; says whether they are.
    pub fn run_bulk(&mut self, flows: &mut [Bulk], end: Instant) -> bool {
        let mut touched = Vec::new();
        flows.iter_mut().for_each(|flow| flow.poll(self));
        while self.step(end) {
            self.take_touched(&mut touched);
            if touched.is_empty() {
                continue;
            }
            let mut ended = false;
            for flow in flows.iter_mut().filter(|flow| !flow.is_over()) {
                if touched.contains(&flow.from.0) {
                    flow.write(self);
                }
                if touched.contains(&flow.to.0) {
                    flow.read(self);
                }
                ended |= flow.is_over();
            }
            if ended && flows.iter().all(Bulk::is_over) {
                return true;
            }
        }
        flows.iter().all(Bulk::is_over)
    }
}
