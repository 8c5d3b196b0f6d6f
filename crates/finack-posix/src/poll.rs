//! What a descriptor is ready for, and `poll`.

use core::time::Duration;

use finack_core::stack::Ready;

use crate::file::{File, Kind};
use crate::{Errno, Os, PollFd, Posix, Reply, Step, abi};

/// Linux's bits for the engine's.
pub(crate) fn mask_of(ready: Ready) -> i64 {
    let mut mask = 0;
    for (bit, bits) in [
        (Ready::READABLE, abi::EPOLLIN | abi::EPOLLRDNORM),
        (Ready::WRITABLE, abi::EPOLLOUT | abi::EPOLLWRNORM),
        (Ready::READ_CLOSED, abi::EPOLLIN | abi::EPOLLRDNORM | abi::EPOLLRDHUP),
        (Ready::ERROR, abi::EPOLLERR),
        (Ready::PRIORITY, abi::EPOLLPRI),
        (Ready::COMPLETED, abi::EPOLLERR),
    ] {
        if ready.contains(bit) {
            mask |= bits;
        }
    }
    if ready.contains(Ready::READ_CLOSED | Ready::WRITE_CLOSED) {
        mask |= abi::EPOLLHUP;
    }
    mask
}

impl Posix {
    /// What a file is ready for, in `POLL...` bits.
    pub(crate) fn readiness(&mut self, os: &mut Os<'_>, file: usize) -> i64 {
        let mask = match self.files.get(file) {
            Some(File { kind: Kind::Stream(stream), .. }) => stream.poll(os),
            Some(File { kind: Kind::Datagram(datagram), .. }) => datagram.poll(os),
            Some(File { kind: Kind::Epoll(_), .. }) => {
                return if self.epoll_collect(os, file, 1, false).is_empty() {
                    0
                } else {
                    abi::EPOLLIN | abi::EPOLLRDNORM
                };
            }
            Some(File { kind: Kind::Pipe(end), .. }) => {
                let end = *end;
                return self.files.pipe(end.pipe).map_or(abi::POLLNVAL, |pipe| pipe.poll(end.writes));
            }
            Some(File { kind: Kind::Regular(_), .. }) => {
                return abi::EPOLLIN | abi::EPOLLRDNORM | abi::EPOLLOUT | abi::EPOLLWRNORM;
            }
            None => return abi::POLLNVAL,
        };
        // Who finds no room wants to hear of it.
        if mask & abi::EPOLLOUT == 0
            && let Some(File { kind: Kind::Stream(stream), .. }) = self.files.get(file)
            && let Some(conn) = stream.conn()
        {
            let _ = os.stack.tcp_await_room(conn);
        }
        mask
    }

    pub(crate) fn poll(
        &mut self,
        os: &mut Os<'_>,
        list: &[PollFd],
        timeout: Option<Duration>,
    ) -> Result<Step, Errno> {
        let mut answered = list.to_vec();
        let always = abi::POLLERR | abi::POLLHUP | abi::POLLNVAL;
        for p in &mut answered {
            p.revents = match self.files.index(p.fd) {
                _ if p.fd < 0 => 0,
                Ok(file) => self.readiness(os, file) & (p.events | always),
                Err(_) => abi::POLLNVAL,
            };
        }
        if answered.iter().any(|p| p.revents != 0) || timeout == Some(Duration::ZERO) {
            return Ok(Step::Done(Ok(Reply::Polled(answered))));
        }
        Ok(Step::Wait(timeout))
    }
}
