//! Messages with descriptors between finack, the keeper of the namespaces and its programs.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Most descriptors that go with one message.
pub(super) const MAX_FDS: usize = 16;
/// Most bytes of a message: far above the kernel's limit for arguments and environment.
const MAX_BODY: usize = 64 << 20;

/// One end of a stream of messages. It is closed on exec.
#[derive(Debug)]
pub(super) struct Channel {
    fd: OwnedFd,
}

/// A message: what it is, its fields and its descriptors.
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Channel {
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Self { fd: a }, Self { fd: b }))
    }

    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Sends a message, waiting for room.
    pub(super) fn send(&self, tag: u8, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(tag, body, fds, SendFlags::NOSIGNAL)
    }

    /// Sends a short message unless there is no room for it.
    pub(super) fn send_now(&self, tag: u8, body: &[u8]) -> io::Result<()> {
        self.send_with(tag, body, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with(&self, tag: u8, body: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
        if fds.len() > MAX_FDS || body.len() > MAX_BODY {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "arguments and environment are too large",
            ));
        }
        let [a, b, c, d] = (body.len() as u32).to_be_bytes();
        let head = [tag, a, b, c, d];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let mut sent = 0;
        while sent < head.len() + body.len() {
            let parts = [
                IoSlice::new(&head[sent.min(head.len())..]),
                IoSlice::new(&body[sent.saturating_sub(head.len())..]),
            ];
            match rustix::net::sendmsg(&self.fd, &parts, &mut control, flags) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            control.clear();
        }
        Ok(())
    }

    /// Waits for a message; `None` once the other end is closed.
    pub(super) fn recv(&self) -> io::Result<Option<Message>> {
        let mut head = [0; 5];
        let mut fds = Vec::new();
        if !self.fill(&mut head, &mut fds)? {
            return Ok(None);
        }
        let [tag, a, b, c, d] = head;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > MAX_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; len];
        if !self.fill(&mut body, &mut fds)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Message { tag, body, fds }))
    }

    /// Reads until `buf` is full; false where the stream ended before its first byte.
    fn fill(&self, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut got = 0;
        while got < buf.len() {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buf[got..])];
            match rustix::net::recvmsg(&self.fd, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(m) if m.bytes == 0 && got == 0 => return Ok(false),
                Ok(m) if m.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(m) => got += m.bytes,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
        }
        Ok(true)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Writes the fields of a message.
#[derive(Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.int(value.len() as i32);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn list<T: AsRef<[u8]>>(&mut self, values: &[T]) -> &mut Self {
        self.int(values.len() as i32);
        for value in values {
            self.bytes(value.as_ref());
        }
        self
    }
}

/// Reads the fields of a message in the order in which they were written.
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn int(&mut self) -> io::Result<i32> {
        let (first, rest) = self.0.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(i32::from_be_bytes(*first))
    }

    pub(super) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let len = usize::try_from(self.int()?).map_err(|_| io::ErrorKind::InvalidData)?;
        let (first, rest) = self.0.split_at_checked(len).ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn list(&mut self) -> io::Result<Vec<&'a [u8]>> {
        let len = self.int()?;
        (0..len).map(|_| self.bytes()).collect()
    }

    pub(super) fn text(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}
