//! The capabilities that the program would have without finack, kept and given back.

use std::io;

use rustix::thread::CapabilitySets;

/// Capability state of a thread (capabilities(7)).
#[derive(Clone, Debug)]
pub(super) struct Privileges {
    sets: CapabilitySets,
    bounding: u64,
    ambient: u64,
    secure_bits: libc::c_int,
}

/// Capabilities are numbered from 0 up; the kernel says where its own end.
const MAX_CAPABILITIES: libc::c_int = 64;

impl Privileges {
    /// Those of the calling thread.
    pub(super) fn current() -> io::Result<Self> {
        Ok(Self {
            sets: rustix::thread::capabilities(None)?,
            bounding: collect(|cap| prctl(libc::PR_CAPBSET_READ, cap, 0)),
            ambient: collect(|cap| prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET, cap)),
            secure_bits: prctl(libc::PR_GET_SECUREBITS, 0, 0)?,
        })
    }

    /// Whether a network namespace can be set up without a user namespace.
    pub(super) fn can_administer(&self) -> bool {
        use rustix::thread::CapabilitySet;
        self.sets.effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN)
    }

    /// Whether any user or group may be mapped into a user namespace.
    pub(super) fn can_map_anyone(&self) -> bool {
        use rustix::thread::CapabilitySet;
        self.sets.effective.contains(CapabilitySet::SETUID | CapabilitySet::SETGID)
    }

    /// Gives the calling thread exactly these again, after a new user namespace gave it all.
    pub(super) fn restore(&self) -> io::Result<()> {
        for cap in 0..MAX_CAPABILITIES {
            let had = self.bounding & (1 << cap) != 0;
            if !had && prctl(libc::PR_CAPBSET_READ, cap, 0).is_ok_and(|set| set == 1) {
                prctl(libc::PR_CAPBSET_DROP, cap, 0)?;
            }
        }
        if prctl(libc::PR_GET_SECUREBITS, 0, 0)? != self.secure_bits {
            prctl(libc::PR_SET_SECUREBITS, self.secure_bits, 0)?;
        }
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
        rustix::thread::set_capabilities(None, self.sets)?;
        for cap in (0..MAX_CAPABILITIES).filter(|cap| self.ambient & (1 << cap) != 0) {
            prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, cap)?;
        }
        Ok(())
    }
}

/// The set of all capabilities for which `is_set` answers 1; it fails for those the kernel lacks.
fn collect(is_set: impl Fn(libc::c_int) -> io::Result<libc::c_int>) -> u64 {
    (0..MAX_CAPABILITIES)
        .filter(|cap| is_set(*cap).is_ok_and(|set| set == 1))
        .fold(0, |set, cap| set | 1 << cap)
}

fn prctl(operation: libc::c_int, a: libc::c_int, b: libc::c_int) -> io::Result<libc::c_int> {
    let (a, b) = (a as libc::c_ulong, b as libc::c_ulong);
    let zero: libc::c_ulong = 0;
    // SAFETY: none of the operations used here takes a pointer.
    match unsafe { libc::prctl(operation, a, b, zero, zero) } {
        result if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
