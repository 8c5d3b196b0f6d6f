//! Descriptors and the open files behind them.

use finack_core::stack::{ConnId, ListenerId, UdpId};

use crate::datagram::Datagram;
use crate::epoll::Epoll;
use crate::pipe::{End, Pipe, Regular};
use crate::stream::Stream;
use crate::{Answer, Errno, Fd, Reply, abi};

/// What a file is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Stream(Box<Stream>),
    Datagram(Datagram),
    Epoll(Epoll),
    Pipe(End),
    Regular(Regular),
}

/// An open file: what `dup` shares.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) kind: Kind,
    pub(crate) nonblocking: bool,
    /// The epoll files that watch it.
    pub(crate) watchers: Vec<usize>,
    refs: u32,
}

#[derive(Clone, Copy, Debug)]
struct Descriptor {
    file: usize,
    cloexec: bool,
}

/// The table of descriptors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    files: Vec<Option<File>>,
    descriptors: Vec<Option<Descriptor>>,
    first: Fd,
    most: usize,
    /// Whose file each connection, listener and UDP socket is, by their places in the stack's tables.
    conns: Vec<Option<usize>>,
    listeners: Vec<Option<usize>>,
    udps: Vec<Option<usize>>,
    pipes: Vec<Option<Pipe>>,
}

fn put(table: &mut Vec<Option<usize>>, index: usize, file: Option<usize>) {
    if table.len() <= index {
        table.resize(index + 1, None);
    }
    table[index] = file;
}

impl Files {
    pub(crate) fn new(first: Fd, most: usize) -> Self {
        Self { first, most, ..Self::default() }
    }

    fn slot(&self, fd: Fd) -> Option<usize> {
        usize::try_from(fd.checked_sub(self.first)?).ok()
    }

    fn descriptor(&self, fd: Fd) -> Result<&Descriptor, Errno> {
        let slot = self.slot(fd).and_then(|slot| self.descriptors.get(slot));
        slot.and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    /// The file behind a descriptor, by its number among files.
    pub(crate) fn index(&self, fd: Fd) -> Result<usize, Errno> {
        self.descriptor(fd).map(|d| d.file)
    }

    pub(crate) fn get(&self, file: usize) -> Option<&File> {
        self.files.get(file).and_then(Option::as_ref)
    }

    pub(crate) fn get_mut(&mut self, file: usize) -> Option<&mut File> {
        self.files.get_mut(file).and_then(Option::as_mut)
    }

    pub(crate) fn file(&self, fd: Fd) -> Result<&File, Errno> {
        self.get(self.index(fd)?).ok_or(Errno::EBADF)
    }

    pub(crate) fn file_mut(&mut self, fd: Fd) -> Result<&mut File, Errno> {
        let index = self.index(fd)?;
        self.get_mut(index).ok_or(Errno::EBADF)
    }

    fn lowest_free(&mut self, least: usize) -> Result<usize, Errno> {
        let slot = (least..self.descriptors.len()).find(|slot| self.descriptors[*slot].is_none());
        let slot = slot.unwrap_or_else(|| self.descriptors.len().max(least));
        if slot >= self.most {
            return Err(Errno::EMFILE);
        }
        if slot >= self.descriptors.len() {
            self.descriptors.resize(slot + 1, None);
        }
        Ok(slot)
    }

    fn number(&self, slot: usize) -> Fd {
        Fd::try_from(slot).unwrap_or(Fd::MAX).saturating_add(self.first)
    }

    /// Whether one more descriptor can be opened.
    pub(crate) fn has_room(&mut self) -> Result<(), Errno> {
        self.lowest_free(0).map(|_| ())
    }

    /// A new file under the lowest free descriptor, and its number among files.
    pub(crate) fn open(
        &mut self,
        kind: Kind,
        nonblocking: bool,
        cloexec: bool,
    ) -> Result<(Fd, usize), Errno> {
        let slot = self.lowest_free(0)?;
        let file = File { kind, nonblocking, watchers: Vec::new(), refs: 1 };
        let index = match self.files.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.files.push(None);
                self.files.len() - 1
            }
        };
        self.files[index] = Some(file);
        self.descriptors[slot] = Some(Descriptor { file: index, cloexec });
        Ok((self.number(slot), index))
    }

    pub(crate) fn add_pipe(&mut self, pipe: Pipe) -> usize {
        let free = self.pipes.iter().position(Option::is_none).unwrap_or(self.pipes.len());
        if free == self.pipes.len() {
            self.pipes.push(None);
        }
        self.pipes[free] = Some(pipe);
        free
    }

    pub(crate) fn pipe(&mut self, pipe: usize) -> Result<&mut Pipe, Errno> {
        self.pipes.get_mut(pipe).and_then(Option::as_mut).ok_or(Errno::EBADF)
    }

    pub(crate) fn drop_pipe(&mut self, pipe: usize) {
        if let Some(slot) = self.pipes.get_mut(pipe) {
            *slot = None;
        }
    }

    pub(crate) fn dup(&mut self, fd: Fd, least: Fd, cloexec: bool) -> Answer {
        let file = self.index(fd)?;
        let least = self.slot(least.max(self.first)).unwrap_or(0);
        let slot = self.lowest_free(least)?;
        self.descriptors[slot] = Some(Descriptor { file, cloexec });
        if let Some(file) = self.get_mut(file) {
            file.refs += 1;
        }
        Ok(Reply::Number(self.number(slot).into()))
    }

    /// Takes the descriptor away; answers the file if that was its last one.
    pub(crate) fn close(&mut self, fd: Fd) -> Result<Option<(usize, File)>, Errno> {
        let index = self.index(fd)?;
        if let Some(slot) = self.slot(fd) {
            self.descriptors[slot] = None;
        }
        let file = self.get_mut(index).ok_or(Errno::EBADF)?;
        file.refs -= 1;
        if file.refs > 0 {
            return Ok(None);
        }
        let file = self.files[index].take();
        for table in [&mut self.conns, &mut self.listeners, &mut self.udps] {
            table.iter_mut().filter(|owner| **owner == Some(index)).for_each(|owner| *owner = None);
        }
        Ok(file.map(|file| (index, file)))
    }

    pub(crate) fn fcntl(&mut self, fd: Fd, command: i64, argument: i64) -> Answer {
        let settable = abi::O_NONBLOCK;
        match command {
            abi::F_GETFL => {
                let file = self.file(fd)?;
                let flags = if file.nonblocking { settable } else { 0 };
                let mode = match &file.kind {
                    Kind::Pipe(End { writes, .. }) => i64::from(*writes),
                    Kind::Regular(regular) => regular.flags(),
                    _ => abi::O_RDWR,
                };
                Ok(Reply::Number(mode | flags))
            }
            abi::F_SETFL => {
                self.file_mut(fd)?.nonblocking = argument & settable != 0;
                Ok(Reply::Number(0))
            }
            abi::F_GETFD => self.descriptor(fd).map(|d| Reply::Number(d.cloexec.into())),
            abi::F_SETFD => {
                self.descriptor(fd)?;
                let slot = self.slot(fd).and_then(|slot| self.descriptors.get_mut(slot));
                if let Some(Some(descriptor)) = slot {
                    descriptor.cloexec = argument & abi::FD_CLOEXEC != 0;
                }
                Ok(Reply::Number(0))
            }
            abi::F_DUPFD | abi::F_DUPFD_CLOEXEC => {
                self.descriptor(fd)?;
                let least = Fd::try_from(argument).ok().filter(|n| *n >= 0).ok_or(Errno::EINVAL)?;
                self.dup(fd, least, command == abi::F_DUPFD_CLOEXEC)
            }
            _ => self.file(fd).and(Err(Errno::EINVAL)),
        }
    }

    pub(crate) fn own_conn(&mut self, conn: ConnId, file: usize) {
        put(&mut self.conns, conn.index(), Some(file));
    }

    pub(crate) fn own_listener(&mut self, listener: ListenerId, file: usize) {
        put(&mut self.listeners, listener.index(), Some(file));
    }

    pub(crate) fn own_udp(&mut self, udp: UdpId, file: usize) {
        put(&mut self.udps, udp.index(), Some(file));
    }

    pub(crate) fn of_conn(&self, conn: ConnId) -> Option<usize> {
        self.conns.get(conn.index()).copied().flatten()
    }

    pub(crate) fn of_listener(&self, listener: ListenerId) -> Option<usize> {
        self.listeners.get(listener.index()).copied().flatten()
    }

    pub(crate) fn of_udp(&self, udp: UdpId) -> Option<usize> {
        self.udps.get(udp.index()).copied().flatten()
    }

    /// Files whose error queue waits for bytes to be sent or acknowledged.
    pub(crate) fn watching_progress(&self) -> Vec<usize> {
        let waits = |file: &File| matches!(&file.kind, Kind::Stream(s) if s.errors.waits());
        (0..self.files.len()).filter(|i| self.get(*i).is_some_and(waits)).collect()
    }
}
