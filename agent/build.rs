//! Finds the kernel programs that `cargo xtask build-ebpf` made, so that the agent can embed them.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=DEFENSECLAW_EBPF_OBJECT");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let object = env::var_os("DEFENSECLAW_EBPF_OBJECT").map_or_else(
        || {
            PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
                .join("../target/ebpf")
                .join(&arch)
                .join("defenseclaw-ebpf.o")
        },
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        println!(
            "cargo::error=the kernel programs are not built ({} is missing): run `cargo xtask build-ebpf` first",
            object.display()
        );
        return;
    }
    println!("cargo::rustc-env=DEFENSECLAW_EBPF_OBJECT={}", object.display());
}
