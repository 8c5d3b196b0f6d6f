//! What the engine asks of signing where it is not built (feature `md5-ao`): no segment is signed, none is checked.

use finack_wire::tcp::Flags;
use finack_wire::tcp_options::TcpOptions;

use crate::demux::Slot;
use crate::tcp::Tuple;
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;

/// How an opening is signed: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag;

impl Tag {
    pub(crate) const fn is_signed(self) -> bool {
        false
    }
}

/// There are none.
#[derive(Clone, Debug)]
pub(crate) enum Signed {}

impl Signed {
    pub(crate) const fn option_len(&self, _peer: core::net::IpAddr) -> u8 {
        match *self {}
    }
}

/// There are none.
#[derive(Clone, Debug)]
pub(crate) enum Signer {}

impl Signer {
    pub(crate) const fn reserve(&self, _options: &mut TcpOptions) {
        match *self {}
    }

    pub(crate) const fn sign(&self, _tuple: &Tuple, _header: &mut [u8], _payload: &[&[u8]]) {
        match *self {}
    }
}

/// The keys of all sockets: none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Auth {}

impl Auth {
    pub(crate) const fn is_empty(&self) -> bool {
        true
    }

    pub(crate) const fn signer(
        &self,
        _index: u32,
        _c: &Connection,
        _flags: Flags,
        _pos: Pos,
    ) -> Option<Signer> {
        None
    }

    pub(crate) const fn forget_connection(&self, _index: u32) {}

    pub(crate) const fn forget_listener(&self, _index: u32) {}

    pub(crate) const fn forget_time_wait(&self, _slot: Slot) {}

    pub(crate) const fn retire(&self, _index: u32, _c: &Connection) -> Option<alloc::boxed::Box<Signed>> {
        None
    }

    pub(crate) fn add_time_wait(&self, _slot: Slot, _signed: Option<alloc::boxed::Box<Signed>>) {}

    pub(crate) const fn memory(&self) -> usize {
        0
    }
}
