//! As much of `bpf(2)` as it takes to load one XDP program, attach it by a link and put sockets into its map.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::filter::Instruction;

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
#[cfg(test)]
const PROG_TEST_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;
const LINK_DETACH: libc::c_int = 34;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// Where the kernel runs the program (`XDP_FLAGS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Place {
    /// Behind the driver, on a `sk_buff`.
    Generic = 1 << 1,
    /// In the driver.
    Native = 1 << 2,
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Makes the call with a command and its argument, whose fields beyond `T` the kernel takes as zero.
///
/// # Safety
/// Every address in `argument` is that of memory which the command may use as it does, for the time of the call.
unsafe fn bpf<T>(command: libc::c_int, argument: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes at most `size_of::<T>()` bytes there; the rest is the caller's promise.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *argument, size_of::<T>()) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// A descriptor that `bpf` has just made (close-on-exec, as all of them).
fn descriptor(result: libc::c_long) -> OwnedFd {
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(result as libc::c_int) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// A map from a queue's number, below `queues`, to the socket that takes its packets.
pub(super) fn create_socket_map(queues: u32) -> io::Result<OwnedFd> {
    let mut argument = MapCreate {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues.max(1),
        map_flags: 0,
    };
    // SAFETY: there is no address in it.
    unsafe { bpf(MAP_CREATE, &mut argument) }.map(descriptor)
}

/// Has `socket` take what the program redirects from `queue`.
pub(super) fn set_socket(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = raw(socket);
    let (key, value) = ((&raw const queue) as u64, (&raw const value) as u64);
    let mut argument = MapUpdate { map: raw(map), _pad: 0, key, value, flags: 0 };
    // SAFETY: key and value are addresses of four bytes each, which live until the call returns.
    unsafe { bpf(MAP_UPDATE, &mut argument) }.map(drop)
}

/// Loads an XDP program.
pub(super) fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..6].copy_from_slice(b"finack");
    let license = c"MIT OR Apache-2.0";
    let mut argument = ProgLoad {
        prog_type: PROG_TYPE_XDP,
        instructions: program.len() as u32,
        code: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name,
        interface: 0,
        attach_type: ATTACH_XDP,
    };
    // SAFETY: the code is `instructions` instructions of eight bytes, the license ends with a zero byte, and both live
    // until the call returns.
    unsafe { bpf(PROG_LOAD, &mut argument) }.map(descriptor)
}

#[repr(C)]
struct LinkDetach {
    link: u32,
}

/// A program's place at an interface. It is given up when this is dropped; and by the kernel when the process ends, however
/// it ends, for then nobody has the descriptor any more.
pub(super) struct Link(OwnedFd);

impl Drop for Link {
    fn drop(&mut self) {
        // To close the descriptor would do, but for a process that was forked just now and has not called `exec` yet: it
        // has the descriptor too. A failure means that the interface is gone, and the program with it.
        let mut argument = LinkDetach { link: raw(self.0.as_fd()) };
        // SAFETY: there is no address in it.
        let _ = unsafe { bpf(LINK_DETACH, &mut argument) };
    }
}

/// Attaches a program to an interface. Linux 5.9.
pub(super) fn attach(program: BorrowedFd<'_>, interface: u32, place: Place) -> io::Result<Link> {
    let mut argument =
        LinkCreate { program: raw(program), interface, attach_type: ATTACH_XDP, flags: place as u32 };
    // SAFETY: there is no address in it.
    unsafe { bpf(LINK_CREATE, &mut argument) }.map(|result| Link(descriptor(result)))
}

/// What an XDP program answers to a frame, without any interface.
#[cfg(test)]
pub(super) fn run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    #[repr(C)]
    struct TestRun {
        program: u32,
        answer: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }
    let (size_in, data_in) = (frame.len() as u32, frame.as_ptr() as u64);
    let mut argument = TestRun {
        program: raw(program),
        answer: 0,
        size_in,
        size_out: 0,
        data_in,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    // SAFETY: the frame's bytes are read only, and no address is given to write it back to.
    unsafe { bpf(PROG_TEST_RUN, &mut argument) }?;
    Ok(argument.answer)
}
