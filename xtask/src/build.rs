//! Builds what is shipped into `target/dist`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::arch::Architecture;
use crate::ebpf;
use crate::host::{Host, run, step};
use crate::setup::{self, Wanted};
use crate::shipped;

/// The root daemon, and gateway and operator's tool in one: package and program share their name.
const PROGRAMS: [&str; 2] = [AGENT, WHOLE];
const AGENT: &str = "defenseclaw-agent";
const WHOLE: &str = "defenseclaw-whole";

/// The operator's tool.
const TOOL: &str = "defenseclaw-cli";
/// Another name of the whole tool, by which it is the gateway.
const GATEWAY: &str = "defenseclaw-gateway";
/// Programs that are started for each tool call: package and program.
const SMALL: [(&str, &str); 3] = [
    ("defenseclaw-hook", "defenseclaw-hook"),
    ("defenseclaw-hook", "defenseclaw-shell"),
    ("defenseclaw-run", "defenseclaw-run"),
];

/// Builds everything and returns the folder that holds it.
pub(crate) fn build(host: &Host) -> Result<PathBuf> {
    let wanted = Wanted {
        arch: host.arch,
        ..Wanted::build()
    };
    setup::install(host, wanted)?;
    let object = ebpf::build(host, &ebpf::Options::for_kernels_of(host.arch))?;
    step("agent, gateway and cli", || {
        let mut command = host.release(["build", "--release"])?;
        command.args(PROGRAMS.map(|name| format!("--package={name}")));
        command.args(PROGRAMS.map(|name| format!("--bin={name}")));
        // The guests' programs, in the same invocation so that nothing is compiled twice.
        if host.cross.is_empty() {
            command.args([
                "--package=defenseclaw-vm-tests",
                "--bin=vm-test",
                "--bin=guest-init",
            ]);
        }
        run(command.env("DEFENSECLAW_EBPF_OBJECT", &object))
    })?;
    let [hook, shell, front] =
        SMALL.map(|(package, program)| step(program, || small_static(host, package, program)));
    let (hook, shell, front) = (hook?, shell?, front?);
    let dist = host.dist();
    fs::create_dir_all(dist.join("lib"))?;
    let release = host.release_folder();
    let (objcopy, symbols) = (host.objcopy(), Host::symbols(&dist));
    let paths = host.private_paths();
    let ship = |built: &Path, to: &str| {
        shipped::names_none_of(&paths, built)?;
        shipped::ship(&objcopy, built, &dist.join(to), &symbols)
    };
    // The agent holds it packed, where nobody would find a path.
    shipped::names_none_of(&paths, &object)?;
    ship(&release.join(AGENT), AGENT)?;
    // The whole tool lies behind the small program of its name.
    ship(&release.join(WHOLE), &format!("lib/{TOOL}"))?;
    shipped::name(&format!("lib/{TOOL}"), &dist.join(GATEWAY))?;
    ship(&hook, "defenseclaw-hook")?;
    ship(&shell, "defenseclaw-shell")?;
    ship(&front, TOOL)?;
    step("size of what is installed", || shipped::within_budget(&dist))?;
    Ok(dist)
}

/// Builds a program with the profile `hook` and without shared libraries, in an output folder of its own so that the
/// other flags rebuild nothing else. Naming the target keeps the flags away from build scripts.
pub(crate) fn small_static(host: &Host, package: &str, program: &str) -> Result<PathBuf> {
    let folder = host.target.join("hook");
    let mut command = host.cargo([
        "build",
        "--profile",
        "hook",
        "--target",
        &host.triple,
        "--package",
        package,
    ]);
    command.args(["--bin", program, "--target-dir"]).arg(&folder);
    let mut flags = host.path_flags(&host.rustc())?;
    flags.push("-Ctarget-feature=+crt-static".into());
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if host.arch == Architecture::Arm64 {
        let variable = host.triple.replace('-', "_").to_uppercase();
        command.env(
            format!("CARGO_TARGET_{variable}_LINKER"),
            movable_linker(&host.c_compiler(), &folder)?,
        );
    }
    run(&mut command)?;
    let built = folder.join(&host.triple).join("hook").join(program);
    if needs_dynamic_linker(&built)? {
        bail!(
            "{} was to be static, but asks for a dynamic linker",
            built.display()
        );
    }
    Ok(built)
}

/// A linker of static programs that are loaded at another address each time. rustc asks for that on x86_64; of arm64 it does not know that
/// the C library can do it, too, and asks for a fixed address.
fn movable_linker(compiler: &str, folder: &Path) -> Result<PathBuf> {
    let linker = folder.join("movable-linker");
    let script = format!(
        "#!/bin/sh\nfor argument; do\n    shift\n    case $argument in\n    -static | -no-pie) ;;\n    \
         *) set -- \"$@\" \"$argument\" ;;\n    esac\ndone\nexec {compiler} -static-pie \"$@\"\n"
    );
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::write(&linker, script).with_context(|| format!("cannot write {}", linker.display()))?;
    fs::set_permissions(&linker, fs::Permissions::from_mode(0o755))?;
    Ok(linker)
}

/// Whether an ELF file has a program header of type `PT_INTERP`.
fn needs_dynamic_linker(program: &Path) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let number = |at: usize, width: usize| -> Result<u64> {
        let field = bytes.get(at..at + width).context("the ELF file is cut short")?;
        Ok(field
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    // 64-bit little-endian ELF: e_phoff at 32, e_phentsize at 54, e_phnum at 56; p_type leads each entry.
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for entry in 0..count {
        if number(usize::try_from(table + entry * size)?, 4)? == u64::from(PT_INTERP) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::host::output;

    #[test]
    fn a_static_program_has_no_address_of_its_own_whatever_was_asked() {
        let folder = std::env::temp_dir().join(format!("defenseclaw-linker-{}", std::process::id()));
        let linker = movable_linker("cc", &folder).unwrap();
        // Names with blanks stay what they are.
        let (source, program) = (folder.join("a b.c"), folder.join("a b"));
        fs::write(&source, "int main(void) { return 7; }\n").unwrap();
        // Read by a shell: a file that this process has just written may still be open in the child of another test.
        run(Command::new("sh")
            .arg(&linker)
            .args(["-static", "-no-pie", "-fPIE", "-o"])
            .arg(&program)
            .arg(&source))
        .unwrap();
        assert!(!needs_dynamic_linker(&program).unwrap());
        let header = output(Command::new("readelf").arg("-h").arg(&program).env("LC_ALL", "C")).unwrap();
        assert!(header.contains("DYN"), "{header}");
        assert_eq!(Command::new(&program).status().unwrap().code(), Some(7));
        fs::remove_dir_all(folder).unwrap();
    }
}
