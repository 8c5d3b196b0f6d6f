//! Calls that concern all shards of a host at once: what one of them refuses, none of them does.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{BindId, ListenerId, Stack, UdpId};
use crate::error::Error;
use crate::options::{BindOptions, SocketOptions};
use crate::time::Instant;

/// Makes a call on each stack, and takes it back on those where it succeeded if one refuses.
fn on_all<'a, 's: 'a, T: Copy>(
    stacks: impl Iterator<Item = &'a mut &'s mut Stack>,
    mut call: impl FnMut(usize, &mut Stack) -> Result<T, Error>,
    mut undo: impl FnMut(&mut Stack, T),
) -> Result<Vec<T>, Error> {
    let mut done: Vec<(&mut Stack, T)> = Vec::new();
    for (i, stack) in stacks.enumerate() {
        match call(i, stack) {
            Ok(id) => done.push((stack, id)),
            Err(error) => {
                done.into_iter().for_each(|(stack, id)| undo(stack, id));
                return Err(error);
            }
        }
    }
    Ok(done.into_iter().map(|(_, id)| id).collect())
}

impl Stack {
    /// [`tcp_bind`](Self::tcp_bind) on all stacks of a host; gives one handle for each.
    ///
    /// # Errors
    /// As for `tcp_bind`, where any of them refuses: then nothing is bound.
    pub fn tcp_bind_all(
        stacks: &mut [&mut Self],
        now: Instant,
        local: SocketAddr,
        options: BindOptions,
    ) -> Result<Vec<BindId>, Error> {
        let mut local = local;
        if let [first, others @ ..] = stacks
            && !others.is_empty()
            && local.port() == 0
        {
            let free = |port| others.iter().all(|stack| stack.tcp_port_is_free(local, options, port));
            local.set_port(first.tcp_free_port(local, options, &free)?);
        }
        let bind = |_, stack: &mut Self| stack.tcp_bind(now, local, options);
        on_all(stacks.iter_mut(), bind, |stack, bind| {
            // It was made just now.
            let _ = stack.tcp_unbind(bind);
        })
    }

    /// [`tcp_listen`](Self::tcp_listen) on all stacks of a host, of which each has its bind in `binds`; gives one handle
    /// for each. The backlog is divided among them, rounded up.
    ///
    /// # Errors
    /// As for `tcp_listen`, where any of them refuses: then none listens, and the binds stay.
    pub fn tcp_listen_all(
        stacks: &mut [&mut Self],
        now: Instant,
        binds: &[BindId],
        backlog: u32,
        options: SocketOptions,
    ) -> Result<Vec<ListenerId>, Error> {
        if stacks.len() != binds.len() {
            return Err(Error::InvalidArgument);
        }
        stacks.iter_mut().zip(binds).try_for_each(|(stack, &bind)| stack.tcp_may_listen(bind))?;
        let part = if stacks.len() > 1 { backlog.div_ceil(stacks.len() as u32) } else { backlog };
        let listen = |i: usize, stack: &mut Self| stack.tcp_listen(now, binds[i], part, options);
        on_all(stacks.iter_mut(), listen, |stack, listener| {
            // It was made just now.
            let _ = stack.tcp_close_listener(now, listener);
        })
    }

    /// [`udp_bind`](Self::udp_bind) on all stacks of a host; gives one handle for each. What is sent to the socket comes
    /// to the one that the sender's address chooses.
    ///
    /// # Errors
    /// As for `udp_bind`, where any of them refuses: then nothing is bound.
    pub fn udp_bind_all(
        stacks: &mut [&mut Self],
        local: SocketAddr,
        options: BindOptions,
    ) -> Result<Vec<UdpId>, Error> {
        let mut local = local;
        let bind = |_, stack: &mut Self| {
            let id = stack.udp_bind(local, options)?;
            // All have the port that the first one chose: the same are taken on all of them.
            local.set_port(stack.udp_local_addr(id)?.port());
            Ok(id)
        };
        on_all(stacks.iter_mut(), bind, |stack, id| {
            // It was made just now.
            let _ = stack.udp_close(id);
        })
    }
}
