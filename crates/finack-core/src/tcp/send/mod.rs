//! The send side: bytes the application wrote, and what of them is out.

mod buffer;
mod queue;
mod retransmit;

pub(crate) use buffer::{Block, Place, Runs, SendBuffer};
pub(crate) use queue::{AckSummary, Deadline, Found, Marks, Sent, SentState};
pub(crate) use retransmit::{Flights, RetransmitQueue};
