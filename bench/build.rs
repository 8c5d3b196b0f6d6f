//! Builds the driver of lwIP where the library is installed; without it the bench says how to get it.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=shim/lwip.c");
    println!("cargo::rerun-if-changed=/usr/include/lwip/lwipopts.h");
    if !Path::new("/usr/include/lwip/lwipopts.h").exists() {
        return;
    }
    cc::Build::new()
        .file("shim/lwip.c")
        .include("/usr/include/lwip")
        .opt_level(3)
        .warnings(false)
        .compile("lwip_shim");
    println!("cargo::rustc-link-lib=lwip");
    println!("cargo::rustc-cfg=has_lwip");
}
