//! What is installed around the programs: units and maintainer scripts, tried with the tools that read them.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

mod scripts;
mod units;

use std::path::PathBuf;

/// A file of `packaging/`.
fn packaging(name: &str) -> PathBuf {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    top.canonicalize().unwrap().join(name)
}
