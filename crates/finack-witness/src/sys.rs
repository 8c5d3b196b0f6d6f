//! The system calls that scripts make: what they say goes to the kernel as it stands, and its answer comes back as it is.
//!
//! `rustix` refuses what scripts are there to try (unknown options, wrong lengths), so these go through `libc`. Every
//! pointer that is handed over is to a buffer of this module's callers with its own length beside it.

use std::os::fd::RawFd;

use finack_posix::Errno;

/// What the kernel returned, or the error.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Most bytes of control messages that are taken.
const CONTROL: usize = 4096;

/// Longest address of any family.
const NAME: usize = 128;

/// Bytes that any ioctl's argument may take: what its number can say at most.
const ARGUMENT: usize = 1 << 14;

fn checked(result: libc::c_int) -> Result<i64> {
    if result < 0 { Err(last()) } else { Ok(result.into()) }
}

fn counted(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| last())
}

fn last() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// A number of the script's as the C type has it: cut, as a compiler cuts it.
const fn int(n: i64) -> libc::c_int {
    n as libc::c_int
}

fn len(bytes: &[u8]) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes.len()).unwrap_or(libc::socklen_t::MAX)
}

pub(crate) fn socket(domain: i64, kind: i64, protocol: i64) -> Result<i64> {
    // SAFETY: three numbers.
    checked(unsafe { libc::socket(int(domain), int(kind), int(protocol)) })
}

pub(crate) fn bind(fd: RawFd, address: &[u8]) -> Result<i64> {
    // SAFETY: the kernel reads as many bytes of the address as there are.
    checked(unsafe { libc::bind(fd, address.as_ptr().cast(), len(address)) })
}

pub(crate) fn connect(fd: RawFd, address: &[u8]) -> Result<i64> {
    // SAFETY: as for bind.
    checked(unsafe { libc::connect(fd, address.as_ptr().cast(), len(address)) })
}

pub(crate) fn listen(fd: RawFd, backlog: i64) -> Result<i64> {
    // SAFETY: two numbers.
    checked(unsafe { libc::listen(fd, int(backlog)) })
}

pub(crate) fn shutdown(fd: RawFd, how: i64) -> Result<i64> {
    // SAFETY: two numbers.
    checked(unsafe { libc::shutdown(fd, int(how)) })
}

/// Closes a descriptor that a script opened, and that nothing else in this process owns.
pub(crate) fn close(fd: RawFd) -> Result<i64> {
    // SAFETY: a number; the callers close only what `call` opened for the script.
    checked(unsafe { libc::close(fd) })
}

pub(crate) fn dup(fd: RawFd) -> Result<i64> {
    // SAFETY: a number.
    checked(unsafe { libc::dup(fd) })
}

/// The end of a new pipe that is read, and the one that is written.
pub(crate) fn pipe(flags: i64) -> Result<[RawFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), int(flags)) })?;
    Ok(ends)
}

/// What carries bytes between descriptors, one of which is a pipe.
pub(crate) fn splice(
    from: (RawFd, Option<i64>),
    to: (RawFd, Option<i64>),
    len: usize,
    flags: i64,
) -> Result<usize> {
    let (mut from_offset, mut to_offset) = (from.1, to.1);
    let pointer = |offset: &mut Option<i64>| offset.as_mut().map_or(std::ptr::null_mut(), |o| &raw mut *o);
    let (a, b) = (pointer(&mut from_offset), pointer(&mut to_offset));
    // SAFETY: each offset is NULL or a number that outlives the call.
    counted(unsafe { libc::splice(from.0, a, to.0, b, len, int(flags) as libc::c_uint) })
}

/// Sends from a file: from `offset`, or from where the file was read up to.
pub(crate) fn send_file(to: RawFd, from: RawFd, offset: Option<i64>, count: usize) -> Result<usize> {
    let mut offset = offset;
    let pointer = offset.as_mut().map_or(std::ptr::null_mut(), |o| &raw mut *o);
    // SAFETY: the offset is NULL or a number that outlives the call.
    counted(unsafe { libc::sendfile(to, from, pointer, count) })
}

/// `write` and `read`, as files take them that are no sockets; `None` is a buffer at no address.
pub(crate) fn write(fd: RawFd, data: Option<&[u8]>, len: usize) -> Result<usize> {
    let from = data.map_or(std::ptr::null(), |d| d.as_ptr().cast());
    // SAFETY: the buffer is as long as it says, or at an address where no process has memory: the kernel refuses that.
    counted(unsafe { libc::write(fd, from, data.map_or(len, <[u8]>::len)) })
}

/// As [`write`].
pub(crate) fn read(fd: RawFd, data: Option<&mut [u8]>, len: usize) -> Result<usize> {
    let (to, len) = data.map_or((std::ptr::null_mut(), len), |d| (d.as_mut_ptr().cast(), d.len()));
    // SAFETY: the buffer is as long as it says, or at an address where no process has memory: the kernel refuses that.
    counted(unsafe { libc::read(fd, to, len) })
}

/// The new descriptor, and the peer's address.
pub(crate) fn accept(fd: RawFd, flags: i64) -> Result<(i64, Vec<u8>)> {
    let mut name = vec![0_u8; NAME];
    let mut size = len(&name);
    // SAFETY: the kernel writes at most `size` bytes, which is what there is room for.
    let result = unsafe { libc::accept4(fd, name.as_mut_ptr().cast(), &raw mut size, int(flags)) };
    let new = checked(result)?;
    name.truncate(size as usize);
    Ok((new, name))
}

pub(crate) fn socket_name(fd: RawFd) -> Result<Vec<u8>> {
    let mut name = vec![0_u8; NAME];
    let mut size = len(&name);
    // SAFETY: as for accept.
    checked(unsafe { libc::getsockname(fd, name.as_mut_ptr().cast(), &raw mut size) })?;
    name.truncate(size as usize);
    Ok(name)
}

pub(crate) fn peer_name(fd: RawFd) -> Result<Vec<u8>> {
    let mut name = vec![0_u8; NAME];
    let mut size = len(&name);
    // SAFETY: as for accept.
    checked(unsafe { libc::getpeername(fd, name.as_mut_ptr().cast(), &raw mut size) })?;
    name.truncate(size as usize);
    Ok(name)
}

pub(crate) fn get_option(fd: RawFd, level: i64, name: i64, room: usize) -> Result<Vec<u8>> {
    let mut value = vec![0_u8; room];
    let mut size = len(&value);
    // SAFETY: the kernel writes at most `size` bytes, which is what there is room for. Options whose value is read as
    // holding addresses find zeros there.
    let result =
        unsafe { libc::getsockopt(fd, int(level), int(name), value.as_mut_ptr().cast(), &raw mut size) };
    checked(result)?;
    value.truncate(size as usize);
    Ok(value)
}

pub(crate) fn set_option(fd: RawFd, level: i64, name: i64, value: &[u8]) -> Result<i64> {
    // SAFETY: the kernel reads at most as many bytes of the value as there are; it writes nothing.
    checked(unsafe { libc::setsockopt(fd, int(level), int(name), value.as_ptr().cast(), len(value)) })
}

/// What a message was received with.
pub(crate) struct Message {
    pub(crate) data: Vec<u8>,
    pub(crate) count: usize,
    pub(crate) flags: i64,
    pub(crate) name: Vec<u8>,
    pub(crate) control: Vec<u8>,
}

pub(crate) fn receive(fd: RawFd, room: usize, flags: i64) -> Result<Message> {
    let mut data = vec![0_u8; room];
    let (name, control, count, flags) = receive_into(fd, &mut data, flags)?;
    data.truncate(count);
    Ok(Message { data, count, flags, name, control })
}

/// The sender's address, the control messages, what the call returned and `msg_flags`.
pub(crate) fn receive_into(fd: RawFd, data: &mut [u8], flags: i64) -> Result<(Vec<u8>, Vec<u8>, usize, i64)> {
    let (mut name, mut control) = (vec![0_u8; NAME], vec![0_u64; CONTROL / 8]);
    let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: a msghdr is plain numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = len(&name);
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: every buffer in the message is as long as the message says, and outlives the call.
    let count = counted(unsafe { libc::recvmsg(fd, &raw mut message, int(flags)) })?;
    name.truncate(message.msg_namelen as usize);
    let mut control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    control.truncate(message.msg_controllen as usize);
    Ok((name, control, count, message.msg_flags.into()))
}

/// Sends; no signal comes where the peer is gone.
pub(crate) fn send(fd: RawFd, buffers: &[&[u8]], flags: i64, name: &[u8], control: &[u8]) -> Result<usize> {
    let vector = |b: &&[u8]| libc::iovec { iov_base: b.as_ptr().cast_mut().cast(), iov_len: b.len() };
    let vectors: Vec<libc::iovec> = buffers.iter().map(vector).collect();
    // Control messages are read as words.
    let words: Vec<u64> = control.chunks(8).map(word).collect();
    // SAFETY: a msghdr is plain numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if !name.is_empty() {
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = len(name);
    }
    message.msg_iov = vectors.as_ptr().cast_mut();
    message.msg_iovlen = vectors.len() as _;
    if !control.is_empty() {
        message.msg_control = words.as_ptr().cast_mut().cast();
        message.msg_controllen = control.len() as _;
    }
    // SAFETY: every buffer in the message is as long as the message says, and outlives the call; sendmsg writes to none.
    counted(unsafe { libc::sendmsg(fd, &raw const message, int(flags) | libc::MSG_NOSIGNAL) })
}

fn word(chunk: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..chunk.len()].copy_from_slice(chunk);
    u64::from_ne_bytes(bytes)
}

/// Commands whose argument is a number; any other's would be an address.
const WITH_NUMBER: [libc::c_int; 10] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_SETOWN,
    libc::F_GETOWN,
    libc::F_SETPIPE_SZ,
    libc::F_GETPIPE_SZ,
];

pub(crate) fn fcntl(fd: RawFd, command: i64, argument: i64) -> Result<i64> {
    let command = int(command);
    if WITH_NUMBER.contains(&command) {
        // SAFETY: these commands take a number.
        return checked(unsafe { libc::fcntl(fd, command, int(argument)) });
    }
    let mut memory = vec![0_u64; ARGUMENT / 8];
    // SAFETY: what the others read or write is a structure far below the length of this memory, without pointers in it.
    checked(unsafe { libc::fcntl(fd, command, memory.as_mut_ptr()) })
}

/// What the argument points to afterwards.
pub(crate) fn ioctl(fd: RawFd, request: i64, argument: i64) -> Result<i64> {
    let mut memory = vec![0_u32; ARGUMENT / 4];
    memory[0] = argument as u32;
    // SAFETY: no ioctl's argument is longer than this memory, since its number has 14 bits for the length and the older
    // ones are shorter still; pointers in such a structure are zero but for the low half of a first one, which is no
    // address of this process, and the kernel checks each before it follows it.
    checked(unsafe { libc::ioctl(fd, request as _, memory.as_mut_ptr()) })?;
    Ok(i64::from(memory[0] as i32))
}

/// `(fd, events)` in, `revents` out.
pub(crate) fn poll(list: &[(RawFd, i64)], milliseconds: libc::c_int) -> Result<Vec<i64>> {
    let mut list: Vec<libc::pollfd> = list
        .iter()
        .map(|(fd, events)| libc::pollfd { fd: *fd, events: *events as libc::c_short, revents: 0 })
        .collect();
    // SAFETY: the array is as long as is said.
    checked(unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, milliseconds) })?;
    Ok(list.iter().map(|p| i64::from(p.revents as u16)).collect())
}

pub(crate) fn epoll_create(flags: i64) -> Result<i64> {
    // SAFETY: a number.
    checked(unsafe { libc::epoll_create1(int(flags)) })
}

pub(crate) fn epoll_control(epoll: RawFd, op: i64, fd: RawFd, events: i64, data: u64) -> Result<i64> {
    let mut event = libc::epoll_event { events: events as u32, u64: data };
    // SAFETY: the kernel reads one epoll_event.
    checked(unsafe { libc::epoll_ctl(epoll, int(op), fd, &raw mut event) })
}

/// Events and data of each.
pub(crate) fn epoll_wait(epoll: RawFd, most: i64, milliseconds: libc::c_int) -> Result<Vec<(i64, u64)>> {
    let most = most.min(1024);
    let room = usize::try_from(most).unwrap_or(0).max(1);
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; room];
    // SAFETY: there is room for as many events as are asked for; a number of 0 or below is refused.
    let n = checked(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), int(most), milliseconds) })?;
    events.truncate(usize::try_from(n).unwrap_or(0));
    Ok(events.iter().map(|e| (i64::from(e.events), e.u64)).collect())
}

/// The calling thread leaves for new namespaces (`CLONE_NEWNET`, or `CLONE_NEWUSER` where it is its process's only one).
pub(crate) fn unshare(flags: libc::c_int) -> std::io::Result<()> {
    // SAFETY: these flags unshare neither memory nor descriptors, so that nothing any code relies on changes.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Asks that the calling thread runs before ordinary ones; without the privilege nothing changes.
pub(crate) fn run_first() {
    // SAFETY: a sched_param is plain numbers, for which zero is a value.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    // SAFETY: the kernel reads the parameters, of the calling thread alone (0).
    let _ = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
}

/// One `ifreq` request about an interface: TUNSETIFF and its likes.
pub(crate) fn interface_request(
    fd: RawFd,
    request: libc::c_ulong,
    name: &str,
    flags: libc::c_int,
) -> std::io::Result<()> {
    // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
    let mut argument: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in argument.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    argument.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the callers' requests read and write one `ifreq`.
    match unsafe { libc::ioctl(fd, request as _, &raw mut argument) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A request whose argument is a number in place of an address.
pub(crate) fn number_request(
    fd: RawFd,
    request: libc::c_ulong,
    argument: libc::c_ulong,
) -> std::io::Result<()> {
    // SAFETY: the callers' requests (TUNSETOFFLOAD) take the number as it is.
    match unsafe { libc::ioctl(fd, request as _, argument) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
