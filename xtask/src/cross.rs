//! Building for the other architecture on this machine: which compiler can, what it is told, and what it lacks.
//!
//! rustup's compiler can once it has the target's standard library; where rustup cannot fetch that, the distribution's
//! compiler can, with the library package of the foreign architecture.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arch::Architecture;
use crate::host::{Host, field, find_in_path, output};
use crate::setup::{Action, Kind, apt_has};

impl Host {
    /// The same checkout, with what is built being for `arch`.
    pub(crate) fn built_for(&self, arch: Architecture) -> Result<Self> {
        let mut host = self.clone();
        host.arch = arch;
        if arch == Architecture::own() {
            return Ok(host);
        }
        let rustc = compiler(arch).with_context(|| {
            format!(
                "no Rust compiler here has the standard library of {}",
                arch.triple()
            )
        })?;
        arch.triple().clone_into(&mut host.triple);
        host.cross = variables(arch, rustc);
        Ok(host)
    }
}

/// A compiler that has the target's standard library and is new enough: the active one, or the distribution's.
fn compiler(arch: Architecture) -> Option<PathBuf> {
    [PathBuf::from("rustc"), PathBuf::from("/usr/bin/rustc")]
        .into_iter()
        .find(|rustc| {
            let sysroot = output(Command::new(rustc).args(["--print", "sysroot"])).unwrap_or_default();
            let library = Path::new(sysroot.trim())
                .join("lib/rustlib")
                .join(arch.triple())
                .join("lib");
            let version = output(Command::new(rustc).arg("-vV")).unwrap_or_default();
            library.is_dir() && !sysroot.trim().is_empty() && new_enough(&version)
        })
}

/// Whether a compiler, by its `-vV`, takes this workspace. Stable distributions keep old ones beside the new.
fn new_enough(version: &str) -> bool {
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split(['.', '-']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let release = field(version, "release").and_then(numbers);
    release.is_some() && release >= numbers(env!("CARGO_PKG_RUST_VERSION"))
}

/// What cargo and the build scripts of C code are told.
fn variables(arch: Architecture, rustc: PathBuf) -> Vec<(String, OsString)> {
    let lower = arch.triple().replace('-', "_");
    let gcc = format!("{}-gcc", arch.gnu());
    vec![
        ("RUSTC".into(), rustc.into()),
        ("CARGO_BUILD_TARGET".into(), arch.triple().into()),
        (
            format!("CARGO_TARGET_{}_LINKER", lower.to_uppercase()),
            gcc.clone().into(),
        ),
        (format!("CC_{lower}"), gcc.into()),
        (format!("AR_{lower}"), format!("{}-ar", arch.gnu()).into()),
    ]
}

/// Whether there is a C compiler for `arch`, with the C library for programs without shared libraries (that one comes apart).
fn links_statically(arch: Architecture) -> bool {
    let library = output(Command::new(format!("{}-gcc", arch.gnu())).arg("-print-file-name=libc.a"));
    // What it does not find it names as it was asked.
    library.is_ok_and(|path| Path::new(path.trim()).is_absolute())
}

/// What this machine lacks to build for `arch`.
pub(crate) fn plan(arch: Architecture, rustup_failed: bool) -> Vec<Action> {
    if arch == Architecture::own() {
        return Vec::new();
    }
    let mut plan = Vec::new();
    let debian = arch.debian();
    let foreign = output(Command::new("dpkg").arg("--print-foreign-architectures")).unwrap_or_default();
    let knows = foreign.lines().any(|line| line == debian);
    let mut packages = Vec::new();
    if !links_statically(arch) {
        // Debian spells the processor with a hyphen where packages may not hold an underscore.
        packages.push(format!("gcc-{}", arch.gnu().replace('_', "-")));
        packages.push(format!("libc6-dev-{debian}-cross"));
    }
    if !Path::new(&format!("/usr/lib/{}/libseccomp.so", arch.gnu())).exists() {
        packages.push(format!("libseccomp-dev:{debian}"));
    }
    let mut rustup = None;
    if compiler(arch).is_none() {
        if find_in_path("rustup").is_some() && !rustup_failed {
            rustup = Some(Action {
                why: format!("the standard library of {}", arch.triple()),
                kind: Kind::RustupTarget(arch.triple()),
            });
        } else {
            // The library must be of the compiler's very version, so both come from the same source.
            let web = apt_has("rustc-web");
            let (rustc, library) = if web {
                ("rustc-web", "libstd-rust-web-dev")
            } else {
                ("rustc", "libstd-rust-dev")
            };
            packages.push(rustc.to_owned());
            packages.push(format!("{library}:{debian}"));
        }
    }
    if !packages.is_empty() && !knows {
        plan.push(Action {
            why: format!("packages of {debian} beside this machine's own"),
            kind: Kind::Foreign(debian),
        });
    }
    if !packages.is_empty() {
        plan.push(Action {
            why: format!("builds for {debian}"),
            kind: Kind::Apt(packages),
        });
    }
    plan.extend(rustup);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_is_too_old_for_the_workspace_is_none() {
        for (release, enough) in [
            ("1.94.2", false),
            ("1.95.0", true),
            ("1.96.0", true),
            ("1.97.0-nightly", true),
            ("2.0.0", true),
            ("", false),
        ] {
            let version = format!("rustc {release}\nbinary: rustc\nrelease: {release}\n");
            assert_eq!(new_enough(&version), enough, "{release}");
        }
        assert!(!new_enough(""));
    }
}
