//! Segments as the explorer tells them apart: numbers and timestamps relative to their clocks.

use finack_core::Instant;

use crate::packet::{Body, Opt, Pkt, Tcp, build, flag};

/// A segment on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The packet; its numbers and timestamps count from the clocks at the time when it was sent.
    pub(crate) packet: Pkt,
    /// The connection of its sender that was the newest then.
    pub(crate) whose: u8,
}

/// What the clocks of a world show at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    pub(crate) isn: u32,
    pub(crate) stamp: u32,
}

impl Clocks {
    pub(crate) fn at(now: Instant, isn: u32) -> Self {
        Self { isn, stamp: now.as_millis() as u32 }
    }
}

fn shift(tcp: &mut Tcp, isn: u32, stamp: u32) {
    tcp.seq = tcp.seq.wrapping_add(isn);
    if tcp.has(flag::ACK) {
        tcp.ack = tcp.ack.wrapping_add(isn);
    }
    for option in &mut tcp.options {
        match option {
            Opt::Ts { val, ecr } => {
                *val = val.wrapping_add(stamp);
                // 0 says that there is nothing to echo.
                if *ecr != 0 {
                    *ecr = ecr.wrapping_add(stamp);
                }
            }
            Opt::Sack(blocks) => {
                for (from, to) in blocks {
                    *from = from.wrapping_add(isn);
                    *to = to.wrapping_add(isn);
                }
            }
            _ => {}
        }
    }
}

impl Segment {
    /// A segment that goes out now.
    pub(crate) fn sent(mut packet: Pkt, whose: u8, clocks: Clocks) -> Self {
        packet.ip.id = 0;
        if let Body::Tcp(tcp) = &mut packet.body {
            shift(tcp, clocks.isn.wrapping_neg(), clocks.stamp.wrapping_neg());
        }
        Self { packet, whose }
    }

    /// The bytes of the packet, sent when the clocks stood at `clocks`.
    pub(crate) fn bytes(&self, clocks: Clocks) -> Vec<u8> {
        let mut packet = self.packet.clone();
        if let Body::Tcp(tcp) = &mut packet.body {
            shift(tcp, clocks.isn, clocks.stamp);
        }
        build(&packet)
    }

    /// Whether its age matters to who gets it.
    pub(crate) fn is_stamped(&self) -> bool {
        self.packet.as_tcp().is_some_and(|tcp| tcp.timestamps().is_some())
    }
}
