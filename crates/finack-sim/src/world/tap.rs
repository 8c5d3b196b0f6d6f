//! Observers of packets, and of time.

use core::time::Duration;

use finack_core::Instant;
use finack_core::stack::ConnId;
use finack_core::tcp::TcpInfo;

use super::{HostId, Node, PipeId, Source, World};
use crate::link::Why;

/// What was seen of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A host sent it: it is about to enter its first link.
    Sent,
    /// It came to the far end of a link.
    Arrived,
    /// The same, and the link marked it CE.
    Marked,
    /// A link or its queue dropped it.
    Lost(Why),
}

/// A packet that was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The time.
    pub at: Instant,
    /// It is the n-th packet of the world, counted from 1; 0 for those of routers.
    pub number: u64,
    /// The host that sent it.
    pub sender: HostId,
    /// The host that it is for.
    pub receiver: HostId,
    /// The link.
    pub pipe: PipeId,
    /// Where that begins.
    pub from: Node,
    /// Where that ends.
    pub to: Node,
    /// The packet, from its IP header on. In an [unchecked](World::unchecked) world its transport checksum is not
    /// finished.
    pub bytes: &'a [u8],
    /// What happened to it.
    pub sight: Sight,
}

pub(super) type Tap = Box<dyn FnMut(&Seen<'_>)>;

/// Names a series of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesId(usize);

/// What was sampled of a connection, from the time on at which sampling began.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The samples, in order.
    pub samples: Vec<(Instant, TcpInfo)>,
}

type Run = Box<dyn FnMut(&mut World)>;

/// Something that is done again and again.
pub(super) struct Task {
    every: Duration,
    pub(super) next: Instant,
    run: Option<Run>,
}

impl World {
    /// Adds an observer of packets.
    pub fn tap(&mut self, tap: impl FnMut(&Seen<'_>) + 'static) {
        self.taps.push(Box::new(tap));
    }

    /// Calls `run` every `every` (at least a microsecond) of virtual time, first in that time from now.
    pub fn every(&mut self, every: Duration, run: impl FnMut(&mut World) + 'static) {
        let every = every.max(Duration::from_micros(1));
        let next = self.now + every;
        self.tasks.push(Task { every, next, run: Some(Box::new(run)) });
        self.schedule(next, Source::Task(self.tasks.len() - 1));
    }

    /// Samples what `tcp_info` says of a connection every `every`, beginning now, for as long as it is open.
    pub fn sample(&mut self, host: HostId, conn: ConnId, every: Duration) -> SeriesId {
        let index = self.series.len();
        self.series.push(Series::default());
        let take = move |world: &mut World| {
            let now = world.now;
            if let Ok(info) = world.stack(host).tcp_info(now, conn) {
                world.series[index].samples.push((now, info));
            }
        };
        take(self);
        self.every(every, take);
        SeriesId(index)
    }

    /// What was sampled.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> &Series {
        &self.series[id.0]
    }

    pub(super) fn run_task(&mut self, index: usize) {
        let Some(mut run) = self.tasks[index].run.take() else { return };
        run(self);
        let task = &mut self.tasks[index];
        task.run = Some(run);
        task.next += task.every;
        let next = task.next;
        self.schedule(next, Source::Task(index));
    }
}
