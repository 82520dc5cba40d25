//! Builds the kernel programs: a crate outside the workspace, for the BPF target, by another compiler invocation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::arch::Architecture;
use crate::files;
use crate::host::{Host, copy_if_changed, run, step};
use crate::setup::{self, Wanted};
use crate::toolchain::{self, Compiler};

/// What to build.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// For kernels of this architecture.
    #[arg(long, value_enum, default_value_t = Architecture::own())]
    pub(crate) arch: Architecture,
    /// Kernel programs that log (slower; for debugging them).
    #[arg(long)]
    debug_probes: bool,
}

impl Options {
    /// What is shipped for kernels of `arch`.
    pub(crate) fn for_kernels_of(arch: Architecture) -> Self {
        Self {
            arch,
            debug_probes: false,
        }
    }
}

/// Builds and returns the object's path. Does nothing if neither sources nor tools have changed.
pub(crate) fn build(host: &Host, options: &Options) -> Result<PathBuf> {
    setup::install(host, Wanted::build())?;
    let (compiler, linker) =
        toolchain::complete(host).context("set-up found no compiler and linker for the kernel programs")?;
    let folder = host.target.join("ebpf").join(options.arch.rust());
    let object = folder.join("defenseclaw-ebpf.o");
    let stamp = folder.join("inputs.sha256");
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{}\"", options.arch.rust()),
        "-Cdebuginfo=2".into(),
        "-Cpanic=abort".into(),
        "-Clink-arg=--btf".into(),
        "-Ctarget-cpu=v3".into(),
    ];
    // The object's line information names its sources; where they lie here is nobody's business.
    flags.extend(host.path_flags(&compiler.rustc)?);
    let inputs = digest(host, &compiler, &linker, &flags, options.debug_probes)?;
    if object.is_file() && fs::read_to_string(&stamp).is_ok_and(|old| old == inputs) {
        return Ok(object);
    }
    step("kernel programs", || {
        let release = folder.join("bpfel-unknown-none/release/defenseclaw-ebpf");
        let mut command = command(host, &compiler, &linker, &flags, &folder);
        if options.debug_probes {
            command.args(["--features", "log"]);
        }
        run(&mut command)?;
        copy_if_changed(&release, &object)?;
        fs::write(&stamp, inputs).with_context(|| format!("cannot write {}", stamp.display()))
    })?;
    Ok(object)
}

fn command(host: &Host, compiler: &Compiler, linker: &Path, flags: &[String], folder: &Path) -> Command {
    let mut command = Command::new(compiler.cargo.as_ref().unwrap_or(&host.cargo));
    command
        .args(["build", "--release", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(["--bin", "defenseclaw-ebpf", "--target-dir"])
        .arg(folder)
        .current_dir(host.root.join("ebpf"))
        .env("RUSTC", &compiler.rustc)
        // Opens -Z to a stable compiler; a nightly one does not mind.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// SHA-256 over everything that decides the object: sources, flags and the tools' identities.
fn digest(host: &Host, compiler: &Compiler, linker: &Path, flags: &[String], log: bool) -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(format!("{compiler:?} {flags:?} {log}").as_bytes());
    let linker_file = fs::metadata(linker).with_context(|| format!("cannot read {}", linker.display()))?;
    add(format!("{} {}", linker.display(), linker_file.len()).as_bytes());
    for file in sources(&host.root.join("ebpf"))? {
        add(file
            .strip_prefix(&host.root)
            .unwrap_or(&file)
            .as_os_str()
            .as_encoded_bytes());
        add(&fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Rust sources, manifests and the lock file below `folder`, in a stable order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = files::files(folder, |path| {
        path.file_name().is_none_or(|name| name != "target")
    })?;
    found.retain(|path| {
        path.extension()
            .is_some_and(|e| e == "rs" || e == "toml" || e == "lock")
    });
    Ok(found)
}
