//! What stands in the place of `auth.rs` where signing is not built.

use alloc::boxed::Box;

use finack_wire::icmp::ErrorKind;

use super::Stack;
use crate::auth::{Signed, Signer, Tag};
use crate::tcp::Tuple;
use crate::tcp::embryo::Embryo;
use crate::tcp::emit::Head;
use crate::tcp::input::Segment;
use crate::time::Instant;

impl Stack {
    pub(super) const fn authentic(
        &self,
        _now: Instant,
        _tuple: &Tuple,
        _segment: &Segment<'_>,
        _bytes: &[u8],
    ) -> bool {
        true
    }

    pub(super) const fn tag_of(&self, _listener: u32, _tuple: &Tuple, _segment: &Segment<'_>) -> Tag {
        Tag
    }

    pub(super) const fn signed_of(&self, _e: &Embryo) -> Option<Box<Signed>> {
        None
    }

    pub(super) fn keep_signed(&self, _index: u32, _signed: Option<Box<Signed>>) {}

    pub(super) const fn protect(&self, _head: &Head) -> Option<Option<Signer>> {
        Some(None)
    }

    pub(super) const fn ignores_icmp(&self, _index: u32, _kind: ErrorKind) -> bool {
        false
    }
}
