//! `epoll`: level and edge.

use core::time::Duration;

use crate::file::{File, Kind};
use crate::{Answer, EpollEvent, Errno, Fd, Os, Posix, Reply, Step, abi};

/// Flags of an interest that are no events.
const FLAGS: i64 = abi::EPOLLET | abi::EPOLLONESHOT | abi::EPOLLEXCLUSIVE | abi::EPOLLWAKEUP;

/// What may go with EPOLLEXCLUSIVE.
const WITH_EXCLUSIVE: i64 = abi::EPOLLIN
    | abi::EPOLLOUT
    | abi::EPOLLERR
    | abi::EPOLLHUP
    | abi::EPOLLWAKEUP
    | abi::EPOLLET
    | abi::EPOLLEXCLUSIVE;

#[derive(Clone, Debug)]
struct Interest {
    fd: Fd,
    file: usize,
    event: EpollEvent,
    /// An edge came that `epoll_wait` has not told of.
    edge: bool,
}

/// An epoll file: what it watches, those that were told of last at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoll {
    interests: Vec<Interest>,
}

impl Posix {
    pub(crate) fn epoll_create(&mut self, flags: i64) -> Answer {
        if flags & !abi::EPOLL_CLOEXEC != 0 {
            return Err(Errno::EINVAL);
        }
        let opened = self.files.open(Kind::Epoll(Epoll::default()), false, flags & abi::EPOLL_CLOEXEC != 0);
        opened.map(|(fd, _)| Reply::Number(fd.into()))
    }

    fn epoll(&mut self, fd: Fd) -> Result<(usize, &mut Epoll), Errno> {
        let index = self.files.index(fd)?;
        match self.files.get_mut(index) {
            Some(File { kind: Kind::Epoll(epoll), .. }) => Ok((index, epoll)),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn epoll_control(
        &mut self,
        os: &mut Os<'_>,
        epoll: Fd,
        op: i64,
        fd: Fd,
        event: EpollEvent,
    ) -> Answer {
        let file = self.files.index(fd)?;
        let ready = if op == abi::EPOLL_CTL_DEL { 0 } else { self.readiness(os, file) };
        let kind = &self.files.file(fd)?.kind;
        let (nested, regular) = (matches!(kind, Kind::Epoll(_)), matches!(kind, Kind::Regular(_)));
        let (watcher, epoll) = self.epoll(epoll)?;
        if watcher == file {
            return Err(Errno::EINVAL);
        }
        if regular {
            return Err(Errno::EPERM);
        }
        let known = epoll.interests.iter().position(|i| i.fd == fd && i.file == file);
        let exclusive = |events: i64| events & abi::EPOLLEXCLUSIVE != 0;
        match op {
            // Nothing but these may go with EPOLLEXCLUSIVE, and an exclusive interest stays as it is.
            abi::EPOLL_CTL_ADD if exclusive(event.events) && event.events & !WITH_EXCLUSIVE != 0 => {
                return Err(Errno::EINVAL);
            }
            abi::EPOLL_CTL_MOD if exclusive(event.events) => return Err(Errno::EINVAL),
            abi::EPOLL_CTL_MOD if known.is_some_and(|at| exclusive(epoll.interests[at].event.events)) => {
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
        let edge = ready & (event.events | abi::EPOLLERR | abi::EPOLLHUP) != 0;
        match (op, known) {
            (abi::EPOLL_CTL_ADD, Some(_)) => return Err(Errno::EEXIST),
            (abi::EPOLL_CTL_ADD, None) if nested => return Err(Errno::ELOOP),
            (abi::EPOLL_CTL_ADD, None) => {
                epoll.interests.push(Interest { fd, file, event, edge });
                if let Some(file) = self.files.get_mut(file) {
                    file.watchers.push(watcher);
                }
            }
            (abi::EPOLL_CTL_MOD, Some(at)) => {
                let interest = &mut epoll.interests[at];
                interest.event = event;
                interest.edge = edge;
            }
            (abi::EPOLL_CTL_DEL, Some(at)) => {
                epoll.interests.remove(at);
                self.unwatch(file, watcher);
            }
            (abi::EPOLL_CTL_MOD | abi::EPOLL_CTL_DEL, None) => return Err(Errno::ENOENT),
            _ => return Err(Errno::EINVAL),
        }
        Ok(Reply::Number(0))
    }

    fn unwatch(&mut self, file: usize, watcher: usize) {
        if let Some(file) = self.files.get_mut(file)
            && let Some(at) = file.watchers.iter().position(|w| *w == watcher)
        {
            file.watchers.remove(at);
        }
    }

    /// A file is gone: nobody watches it, and what it watched is watched by one less.
    pub(crate) fn forget_file(&mut self, index: usize, file: &File) {
        for watcher in &file.watchers {
            if let Some(File { kind: Kind::Epoll(epoll), .. }) = self.files.get_mut(*watcher) {
                epoll.interests.retain(|i| i.file != index);
            }
        }
        if let Kind::Epoll(epoll) = &file.kind {
            for interest in &epoll.interests {
                self.unwatch(interest.file, index);
            }
        }
    }

    /// Something happened to a file: those who wait for such an edge are owed it.
    pub(crate) fn wake(&mut self, file: usize, mask: i64) {
        let Some(watchers) = self.files.get(file).map(|f| f.watchers.clone()) else { return };
        for watcher in watchers {
            let Some(File { kind: Kind::Epoll(epoll), .. }) = self.files.get_mut(watcher) else { continue };
            for interest in epoll.interests.iter_mut().filter(|i| i.file == file) {
                interest.edge |= mask & (interest.event.events | abi::EPOLLERR | abi::EPOLLHUP) != 0;
            }
        }
    }

    /// What is ready, at most `max`; `take` uses up edges and one-shot interests.
    pub(crate) fn epoll_collect(
        &mut self,
        os: &mut Os<'_>,
        epoll: usize,
        max: usize,
        take: bool,
    ) -> Vec<EpollEvent> {
        let count = match self.files.get(epoll) {
            Some(File { kind: Kind::Epoll(epoll), .. }) => epoll.interests.len(),
            _ => 0,
        };
        let mut told = Vec::new();
        let mut at = 0;
        for _ in 0..count {
            let Some(File { kind: Kind::Epoll(e), .. }) = self.files.get(epoll) else { break };
            let Some(interest) = e.interests.get(at) else { break };
            let (file, event, edge) = (interest.file, interest.event, interest.edge);
            let by_edge = event.events & abi::EPOLLET != 0;
            let asked = event.events & !FLAGS;
            // A one-shot interest that has fired asks for nothing, errors neither.
            let wanted = if asked == 0 && event.events & abi::EPOLLONESHOT != 0 {
                0
            } else {
                asked | abi::EPOLLERR | abi::EPOLLHUP
            };
            let mask = if by_edge && !edge { 0 } else { self.readiness(os, file) & wanted };
            let Some(File { kind: Kind::Epoll(e), .. }) = self.files.get_mut(epoll) else { break };
            if mask == 0 || told.len() >= max {
                if mask == 0 && take {
                    // What caused the edge is gone.
                    e.interests[at].edge = false;
                }
                at += 1;
                continue;
            }
            told.push(EpollEvent { events: mask, data: event.data });
            if !take {
                at += 1;
                continue;
            }
            // To the end of the queue, so that each gets its turn.
            let mut interest = e.interests.remove(at);
            interest.edge = false;
            if event.events & abi::EPOLLONESHOT != 0 {
                interest.event.events &= FLAGS;
            }
            e.interests.push(interest);
        }
        told
    }

    pub(crate) fn epoll_wait(
        &mut self,
        os: &mut Os<'_>,
        epoll: Fd,
        max: i64,
        timeout: Option<Duration>,
    ) -> Result<Step, Errno> {
        let (index, _) = self.epoll(epoll)?;
        let max = usize::try_from(max).ok().filter(|n| *n > 0).ok_or(Errno::EINVAL)?;
        let told = self.epoll_collect(os, index, max, true);
        if !told.is_empty() || timeout == Some(Duration::ZERO) {
            return Ok(Step::Done(Ok(Reply::Events(told))));
        }
        Ok(Step::Wait(timeout))
    }
}
