//! The send side: bytes the application wrote, and what of them is out.

mod buffer;
mod queue;

pub(crate) use buffer::{Block, Place, Runs, SendBuffer};
pub(crate) use queue::{AckSummary, Deadline, Found, Marks, RetransmitQueue, Sent, SentOrder, SentState};
