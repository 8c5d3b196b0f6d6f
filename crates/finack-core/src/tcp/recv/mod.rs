//! The receive side: bytes in order for the application, and what came before its time.

mod queue;
mod reorder;

pub(crate) use queue::{Payload, RecvQueue};
pub(crate) use reorder::Inserted;
