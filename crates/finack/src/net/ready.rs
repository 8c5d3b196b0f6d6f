//! The engine's readiness in tokio's words.

use finack_core::stack::Ready as Core;
use tokio::io::{Interest, Ready};

/// The bits of the engine that concern someone with `interest`.
pub(super) fn mask(interest: Interest) -> Core {
    let mut mask = Core::default();
    for (wanted, bits) in [
        (interest.is_readable(), Core::READABLE | Core::READ_CLOSED),
        (interest.is_writable(), Core::WRITABLE | Core::WRITE_CLOSED),
        (interest.is_priority(), Core::PRIORITY | Core::READ_CLOSED),
        (interest.is_error(), Core::ERROR),
    ] {
        if wanted {
            mask |= bits;
        }
    }
    mask
}

/// `ready`, as far as someone with `mask` asked for it.
pub(super) fn to_tokio(ready: Core, mask: Core) -> Ready {
    let mut out = Ready::EMPTY;
    for (bit, tokio) in [
        (Core::READABLE, Ready::READABLE),
        (Core::WRITABLE, Ready::WRITABLE),
        (Core::READ_CLOSED, Ready::READ_CLOSED),
        (Core::WRITE_CLOSED, Ready::WRITE_CLOSED),
        (Core::PRIORITY, Ready::PRIORITY),
        (Core::ERROR, Ready::ERROR),
    ] {
        if mask.contains(bit) && ready.contains(bit) {
            out |= tokio;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_in_reading_sees_the_end_of_the_stream_but_not_room_to_write() {
        let mask = mask(Interest::READABLE);
        let ready = to_tokio(Core::READABLE | Core::READ_CLOSED | Core::WRITABLE, mask);
        assert!(ready.is_readable() && ready.is_read_closed() && !ready.is_writable());
    }

    #[test]
    fn interest_in_writing_sees_the_broken_pipe() {
        let ready = to_tokio(Core::WRITE_CLOSED | Core::ERROR, mask(Interest::WRITABLE));
        assert!(ready.is_write_closed() && !ready.is_error());
        let ready = to_tokio(Core::WRITE_CLOSED | Core::ERROR, mask(Interest::WRITABLE | Interest::ERROR));
        assert!(ready.is_error());
    }
}
