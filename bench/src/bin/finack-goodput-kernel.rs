//! finack and Linux over the same emulated links, in real time: `cargo xtask bench goodput --kernel`.

use std::process::ExitCode;

#[path = "../goodput/kernel/mod.rs"]
mod kernel;

fn main() -> ExitCode {
    kernel::main()
}
