//! The send side: bytes the application wrote, and what of them is out.

mod buffer;
mod queue;
mod retransmit;
mod sent;

pub(crate) use buffer::{Block, Place, Runs, SendBuffer};
pub(crate) use queue::{AckSummary, Deadline, Found};
pub(crate) use retransmit::{Flights, RetransmitQueue};
pub(crate) use sent::{Marks, Sent, SentState};
