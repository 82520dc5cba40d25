//! Finding a compiler and a linker for the kernel programs.
//!
//! The BPF target has no prebuilt `core`, so any Rust compiler with its library source will do: rustup's with the
//! component `rust-src`, or a distribution's with its source package. `RUSTC_BOOTSTRAP=1` opens `-Z build-std` on a
//! stable one. The linker must hold the same LLVM as the compiler, whose bitcode it reads.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::{Host, field, find_in_path, output};

/// LLVM versions that bpf-linker can be built with.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// A compiler that can build `core` for the BPF target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    /// The toolchain's own cargo where it has one: its `-Z build-std` knows the library's layout.
    pub(crate) cargo: Option<PathBuf>,
    pub(crate) release: String,
    pub(crate) llvm: u32,
}

/// The release that set-up asks rustup for. Not the newest: its LLVM must be one that distributions have packages of.
pub(crate) const RUSTUP_RELEASE: &str = "1.95.0";

/// A compiler together with the linker that fits it.
pub(crate) fn complete(host: &Host) -> Option<(Compiler, PathBuf)> {
    compilers().find_map(|compiler| linker(host, compiler.llvm).map(|linker| (compiler, linker)))
}

/// Every compiler on this machine that will do: the active one, rustup's others, the distribution's.
pub(crate) fn compilers() -> impl Iterator<Item = Compiler> {
    let active = || {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"])).ok()?;
        Some(Path::new(sysroot.trim()).join("bin/rustc"))
    };
    let rustup = |toolchain: &str| {
        let path =
            output(Command::new(find_in_path("rustup")?).args(["which", "--toolchain", toolchain, "rustc"]));
        Some(PathBuf::from(path.ok()?.trim()))
    };
    // Asked for one by one: a run that finds what it needs at once does not start the rest.
    (0..4).filter_map(move |candidate| {
        let rustc = match candidate {
            0 => active(),
            1 => rustup(RUSTUP_RELEASE),
            2 => rustup("nightly"),
            _ => Some(PathBuf::from("/usr/bin/rustc")),
        };
        inspect(&rustc?)
    })
}

/// The compiler at `rustc`, if it has its library source and an LLVM that bpf-linker takes.
fn inspect(rustc: &Path) -> Option<Compiler> {
    let sysroot = rustc.parent()?.parent()?;
    if !sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
    {
        return None;
    }
    let version = output(Command::new(rustc).arg("-vV")).ok()?;
    let llvm = field(&version, "LLVM version")?.split('.').next()?.parse().ok()?;
    let cargo = Some(rustc.with_file_name("cargo")).filter(|cargo| cargo.is_file());
    let release = field(&version, "release")?.to_owned();
    LINKER_LLVM.contains(&llvm).then(|| Compiler {
        rustc: rustc.to_owned(),
        cargo,
        release,
        llvm,
    })
}

/// A bpf-linker that was built with LLVM `llvm`.
fn linker(host: &Host, llvm: u32) -> Option<PathBuf> {
    let own = host.tools().join("bin/bpf-linker");
    [Some(own), find_in_path("bpf-linker")]
        .into_iter()
        .flatten()
        .filter(|file| file.is_file())
        .find(|file| linked_llvm(file) == Some(llvm))
}

/// Which LLVM library a program needs, by the dynamic linker's own account.
fn linked_llvm(program: &Path) -> Option<u32> {
    llvm_of_ldd(&output(Command::new("ldd").arg(program)).ok()?)
}

/// `libLLVM.so.22.1 => …` and `libLLVM-22.so.1 => …` both name 22. A library that is gone does not count.
fn llvm_of_ldd(ldd: &str) -> Option<u32> {
    let line = ldd
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("libLLVM") && !line.contains("not found"))?;
    let digits = line
        .trim_start_matches("libLLVM")
        .trim_start_matches(['-', '.', 's', 'o']);
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Where LLVM's development files lie, if both LLVM's and Polly's do.
pub(crate) fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let there = prefix.join("bin/llvm-config").is_file()
        && prefix.join("include/llvm-c/Core.h").is_file()
        && prefix.join("lib/libPolly.a").is_file();
    there.then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_llvm_library_are_read() {
        assert_eq!(
            llvm_of_ldd("\tlibc.so.6 => /x\n\tlibLLVM.so.22.1 => /usr/lib/x (0x1)\n"),
            Some(22)
        );
        assert_eq!(llvm_of_ldd("\tlibLLVM-17.so.1 => /usr/lib/x (0x1)\n"), Some(17));
        assert_eq!(llvm_of_ldd("\tlibLLVM.so.22.1 => not found\n"), None);
        assert_eq!(llvm_of_ldd("\tlibc.so.6 => /x\n"), None);
    }
}
