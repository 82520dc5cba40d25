//! Finds the kernel programs that `cargo xtask build-ebpf` made, and packs them, so that the agent can embed them.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::DeflateEncoder;

fn main() -> Result<(), Box<dyn Error>> {
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
        return Ok(());
    }
    let bytes = fs::read(&object)?;
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&bytes)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("sensor.packed"), packed.finish()?)?;
    fs::write(
        out.join("sensor.rs"),
        format!(
            "/// Bytes of the unpacked object.\nconst OBJECT_BYTES: usize = {};\n",
            bytes.len()
        ),
    )?;
    println!("cargo::rustc-env=DEFENSECLAW_EBPF_OBJECT={}", object.display());
    // A name for each build, by which a debugger finds its symbols.
    println!("cargo::rustc-link-arg-bins=-Wl,--build-id=sha1");
    Ok(())
}
