//! The engine in a program without std: if anything below it linked std, there would be two panic handlers and this
//! would not compile, whatever the target.
#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

use finack_core::{Instant, Stack};

struct NoMemory;

// SAFETY: a null pointer is how an allocator says that there is no memory; nothing is ever freed.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// The verbs, so that their code is really made.
///
/// # Safety
/// `stack` is a valid pointer to a `Stack` that nobody else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn finack_poll(stack: *mut Stack, now: u64) -> u64 {
    // SAFETY: the caller's promise.
    let stack = unsafe { &mut *stack };
    let now = Instant::from_nanos(now);
    stack.handle_packets(now, &[]);
    stack.handle_timeout(now);
    let mut sent = 0;
    while let Some(packet) = stack.poll_transmit(now) {
        sent += packet.len() as u64;
    }
    sent
}
