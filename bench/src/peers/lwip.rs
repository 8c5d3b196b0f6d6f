//! lwIP as Debian packages it (`liblwip-dev`), driven by `shim/lwip.c` through its raw API under its core lock.

#[cfg(has_lwip)]
mod ffi {
    unsafe extern "C" {
        pub fn bench_lwip_bulk(seconds: f64) -> f64;
        pub fn bench_lwip_round_trips(seconds: f64) -> f64;
        pub fn bench_lwip_lives(seconds: f64, keep: i32) -> f64;
        pub fn bench_lwip_random(connections: i32, seconds: f64) -> f64;
        pub fn bench_lwip_idle_bytes(connections: i32) -> f64;
    }
}

/// Why lwIP is missing from a table.
pub const ABSENT: &str = "lwIP: not built; apt-get install liblwip-dev, then build again";

/// Why there is no line for lwIP with pools, which is faster.
pub const NO_POOLS: &str =
    "lwIP with pools: not run; Debian's library is built with malloc (MEMP_MEM_MALLOC), without sources";

/// Whether it was built.
pub const PRESENT: bool = cfg!(has_lwip);

macro_rules! call {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(has_lwip)]
        // SAFETY: the driver keeps all state to itself, takes plain numbers, and is only called from the main
        // thread, which it makes the holder of lwIP's core lock.
        let answer = unsafe { ffi::$name($($argument),*) };
        #[cfg(not(has_lwip))]
        let answer = {
            $(let _ = $argument;)*
            f64::NAN
        };
        answer
    }};
}

/// Bytes a second through one connection.
pub fn bulk(seconds: f64) -> f64 {
    call!(bench_lwip_bulk(seconds))
}

/// One-byte requests and responses a second.
pub fn round_trips(seconds: f64) -> f64 {
    call!(bench_lwip_round_trips(seconds))
}

/// Connections opened, used and closed a second; `keep` leaves up to 10,000 of them in TIME-WAIT.
pub fn lives(seconds: f64, keep: bool) -> f64 {
    call!(bench_lwip_lives(seconds, i32::from(keep)))
}

/// Nanoseconds a packet to a random one of so many connections.
pub fn random(connections: usize, seconds: f64) -> f64 {
    call!(bench_lwip_random(connections as i32, seconds))
}

/// Heap bytes of one end of an idle connection.
pub fn idle_bytes(connections: usize) -> f64 {
    call!(bench_lwip_idle_bytes(connections as i32))
}
