//! Turning a network interface's feature off (`ETHTOOL_SFEATURES`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

const GET_SET_SIZE: u32 = 0x37;
const GET_STRINGS: u32 = 0x1b;
const SET_FEATURES: u32 = 0x3b;
const FEATURE_NAMES: u32 = 4;
/// Bytes of a feature's name, filled up with zeros.
const NAME: usize = 32;

/// Turns `feature` of `interface` off; it stays as it is where the kernel does not know it.
pub(super) fn turn_off(interface: &str, feature: &str) -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // `ethtool_sset_info`: command, reserved, a mask of 64 bits, then one number for each bit set.
    let mut sizes = [GET_SET_SIZE, 0, 0, 0, 0];
    let mask = (1_u64 << FEATURE_NAMES).to_ne_bytes();
    sizes[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
    sizes[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
    ethtool(&socket, interface, &mut sizes)?;
    let count = sizes[4] as usize;
    // `ethtool_gstrings`: command, set, count, then the names.
    let mut names = vec![0_u32; 3 + count * NAME / 4];
    names[..3].copy_from_slice(&[GET_STRINGS, FEATURE_NAMES, sizes[4]]);
    ethtool(&socket, interface, &mut names)?;
    let bytes: Vec<u8> = names[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let is_wanted = |name: &[u8]| name.split(|b| *b == 0).next() == Some(feature.as_bytes());
    let Some(at) = bytes.chunks(NAME).position(is_wanted) else { return Ok(()) };
    // `ethtool_sfeatures`: command, blocks, then for each 32 features which to set, and to what.
    let blocks = count.div_ceil(32);
    let mut set = vec![0_u32; 2 + blocks * 2];
    set[..2].copy_from_slice(&[SET_FEATURES, blocks as u32]);
    set[2 + at / 32 * 2] = 1 << (at % 32);
    ethtool(&socket, interface, &mut set)
}

/// Runs one command on the interface; the kernel reads and writes `data`.
fn ethtool(socket: &OwnedFd, interface: &str, data: &mut [u32]) -> io::Result<()> {
    // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
    // SAFETY: the request is an `ifreq` whose data is a command with room for its answer: sizes
    // were asked for first, and no feature is added while the kernel runs.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) } {
        result if result >= 0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
