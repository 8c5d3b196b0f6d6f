//! The receive side: bytes in order for the application, and what came before its time.

mod queue;
mod reorder;
mod tuning;

pub(crate) use queue::{Chunk, Payload, RecvQueue};
pub(crate) use reorder::Inserted;
pub(crate) use tuning::{Measured, Tuning};
