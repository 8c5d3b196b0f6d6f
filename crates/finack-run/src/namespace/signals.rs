//! Signals that are meant for the program, while it runs in front of finack.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::process::Child;

/// Passed on where a process sent them. The terminal sends them to the whole group itself.
const FORWARDED: [libc::c_int; 9] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    // A background program that touches the terminal is stopped, and finack after it; finack
    // itself has a report to write.
    libc::SIGTTIN,
    libc::SIGTTOU,
];

const NOBODY: i32 = -1;

/// The program that signals go to, as a descriptor for the handler.
static TARGET: AtomicI32 = AtomicI32::new(NOBODY);

/// A signal came when the program had ended already.
static LATE: AtomicBool = AtomicBool::new(false);

/// Leaves signals to a program for as long as this lives, as `sudo` and shells do: finack survives
/// Ctrl-C, `kill` and a terminal that is gone, to see the program's end and to report on it.
///
/// SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and the terminal's stop signals
/// no longer act on this process. Those that another process sent go on to the program; those
/// that the terminal or the kernel sent reach it anyway, for it is in the same process group.
#[derive(Debug)]
pub struct SignalForwarding {
    before: Vec<(libc::c_int, SavedAction)>,
}

struct SavedAction(libc::sigaction);

impl std::fmt::Debug for SavedAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sigaction")
    }
}

impl SignalForwarding {
    /// Begins to leave signals to `child`.
    ///
    /// # Errors
    /// `AlreadyExists` while another program has them: there is one per process.
    pub fn start(child: &Child) -> io::Result<Self> {
        let pidfd = rustix::io::fcntl_dupfd_cloexec(child.pidfd(), 3)?;
        let claimed = TARGET.compare_exchange(NOBODY, pidfd.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst);
        if claimed.is_err() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "signals already go to another program",
            ));
        }
        LATE.store(false, Ordering::SeqCst);
        // The descriptor is now the handler's, until the drop.
        let _ = pidfd.into_raw_fd();
        let mut before = Vec::with_capacity(FORWARDED.len());
        for signal in FORWARDED {
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = forward;
            // SAFETY: the actions are local and zero is a value for them; the handler calls
            // only what is safe in one.
            unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &raw mut old);
                // What is ignored stays so: `nohup` means it.
                if old.sa_sigaction == libc::SIG_IGN {
                    continue;
                }
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = handler as *const () as usize;
                new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                if libc::sigaction(signal, &raw const new, std::ptr::null_mut()) == 0 {
                    before.push((signal, SavedAction(old)));
                }
            }
        }
        Ok(Self { before })
    }

    /// Whether a signal came after the program's end: it was meant for finack then.
    pub fn interrupted(&self) -> bool {
        LATE.load(Ordering::SeqCst)
    }
}

impl Drop for SignalForwarding {
    fn drop(&mut self) {
        for (signal, old) in &self.before {
            // SAFETY: `old` is what sigaction gave for this signal.
            unsafe { libc::sigaction(*signal, &raw const old.0, std::ptr::null_mut()) };
        }
        let fd = TARGET.swap(NOBODY, Ordering::SeqCst);
        if fd != NOBODY {
            // SAFETY: `start` left the descriptor to TARGET, from which it was just taken.
            unsafe { libc::close(fd) };
        }
    }
}

extern "C" fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo to a handler with SA_SIGINFO; errno is this
    // thread's, and system calls are safe here.
    unsafe {
        // The program has it from the terminal too; 0 only asks whether there is a program.
        let signal = if (*info).si_code == libc::SI_KERNEL { 0 } else { signal };
        let errno = libc::__errno_location();
        let before = *errno;
        let fd = TARGET.load(Ordering::SeqCst);
        if fd != NOBODY {
            let info = std::ptr::null::<libc::siginfo_t>();
            let sent = libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0);
            if sent == -1 && *errno == libc::ESRCH {
                LATE.store(true, Ordering::SeqCst);
            }
        }
        *errno = before;
    }
}
