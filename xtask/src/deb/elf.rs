//! What a program needs of the system that it is installed on, as `readelf` tells it for any architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Architecture;
use crate::host::output;

/// A version as in `GLIBC_2.34`.
pub(crate) type Version = Vec<u32>;

/// A library that every system has which is promised to work: its package there, and what the oldest of them
/// (Ubuntu 22.04: glibc 2.35, GCC 12, libseccomp 2.5.3) offers.
struct Library {
    /// Its name without what differs between architectures.
    name: &'static str,
    package: &'static str,
    /// What its symbols' versions begin with; empty if they have none.
    symbols: &'static str,
    newest: &'static [u32],
    /// What is asked for at least.
    least: &'static str,
}

const LIBRARIES: [Library; 5] = [
    Library {
        name: "libc.so.6",
        package: "libc6",
        symbols: "GLIBC_",
        newest: &[2, 35],
        least: "2.34",
    },
    Library {
        name: "libm.so.6",
        package: "libc6",
        symbols: "GLIBC_",
        newest: &[2, 35],
        least: "2.34",
    },
    Library {
        name: "ld-linux",
        package: "libc6",
        symbols: "GLIBC_",
        newest: &[2, 35],
        least: "2.34",
    },
    Library {
        name: "libgcc_s.so.1",
        package: "libgcc-s1",
        symbols: "GCC_",
        newest: &[12, 99],
        least: "4.2",
    },
    // Supervised mode needs what 2.5.0 brought.
    Library {
        name: "libseccomp.so.2",
        package: "libseccomp2",
        symbols: "",
        newest: &[],
        least: "2.5.0",
    },
];

/// Symbols of libseccomp that came after 2.5.3: they carry no version, so they are known by name.
const NEWER_SECCOMP: [&str; 5] = [
    "seccomp_precompute",
    "seccomp_export_bpf_mem",
    "seccomp_transaction_start",
    "seccomp_transaction_commit",
    "seccomp_transaction_reject",
];

/// Sections that only a debugger reads. (`.debug_gdb_scripts` is another matter: it is loaded, and names a script by two words.)
const DEBUG: [&str; 3] = ["] .symtab ", "] .debug_info ", "] .debug_line "];

/// What was found in a program.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) machine: String,
    pub(crate) build_id: Option<String>,
    /// Whether it still holds symbols or lines for debuggers.
    pub(crate) debug: bool,
    libraries: BTreeSet<String>,
    /// Library, version, and a symbol of it where one is named.
    versions: BTreeMap<(String, String), String>,
    /// Names of what it takes from libraries.
    symbols: BTreeSet<String>,
    /// Whether the kernel chooses the address that it is loaded at.
    movable: bool,
    /// Whether what the dynamic linker has filled in becomes read-only (`PT_GNU_RELRO`), and all of it at the start.
    relocations_closed: bool,
    bound_at_start: bool,
    /// Whether its stack is no code; a program that says nothing gets one that is.
    stack_is_data: bool,
    /// Where it looks for libraries before the system's own folders.
    searches: Option<String>,
    /// Whether its code is written to at the start.
    writes_code: bool,
}

/// Looks at a program.
pub(crate) fn read(file: &Path) -> Result<Program> {
    let mut command = Command::new("readelf");
    command
        .args([
            "--wide",
            "--file-header",
            "--section-headers",
            "--program-headers",
            "--dynamic",
            "--dyn-syms",
        ])
        .args(["--version-info", "--notes"])
        .arg(file)
        .env("LC_ALL", "C");
    let program = parse(&output(&mut command)?);
    if program.machine.is_empty() {
        bail!("readelf says nothing of {}", file.display());
    }
    Ok(program)
}

fn parse(text: &str) -> Program {
    let mut program = Program::default();
    let mut library = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(machine) = line.strip_prefix("Machine:") {
            machine.trim().clone_into(&mut program.machine);
        } else if let Some((_, id)) = line.split_once("Build ID: ") {
            program.build_id = Some(id.trim().to_owned());
        } else if let Some(kind) = line.strip_prefix("Type:") {
            program.movable = kind.trim().starts_with("DYN");
        } else if let Some(rest) = line.strip_prefix("GNU_STACK ") {
            program.stack_is_data = !rest.contains(" RWE ");
        } else if line.starts_with("GNU_RELRO ") {
            program.relocations_closed = true;
        } else if line.contains("(BIND_NOW)") || line.contains("(FLAGS") && line.contains("NOW") {
            program.bound_at_start = true;
        } else if line.contains("(RPATH)") || line.contains("(RUNPATH)") {
            program.searches = between(line, '[', ']');
        } else if line.contains("(TEXTREL)") {
            program.writes_code = true;
        } else if line.contains("(NEEDED)") {
            program.libraries.extend(between(line, '[', ']'));
        } else if DEBUG.iter().any(|section| line.contains(section)) {
            program.debug = true;
        } else if let Some((_, file)) = line.split_once("File: ") {
            file.split_whitespace()
                .next()
                .unwrap_or_default()
                .clone_into(&mut library);
        } else if let Some((_, rest)) = line.split_once("Name: ") {
            if let Some(version) = rest.split_whitespace().next().filter(|_| !library.is_empty()) {
                let key = (library.clone(), version.to_owned());
                program.versions.entry(key).or_default();
            }
        } else if line.contains(" UND ") {
            let name = line.split(" UND ").nth(1).unwrap_or_default();
            let name = name.split_whitespace().next().unwrap_or_default();
            program.symbols.insert(name.to_owned());
        }
    }
    name_versions(&mut program);
    program
}

/// Gives each version a symbol that needs it, for messages.
fn name_versions(program: &mut Program) {
    for ((_, version), symbol) in &mut program.versions {
        let found = program
            .symbols
            .iter()
            .find_map(|name| name.split_once('@').filter(|(_, v)| v == version));
        symbol.push_str(found.map_or("", |(name, _)| name));
    }
}

fn between(line: &str, open: char, close: char) -> Option<String> {
    let (_, rest) = line.split_once(open)?;
    Some(rest.split_once(close)?.0.to_owned())
}

/// The numbers of a version, without its prefix; `None` if it is none (`GLIBC_PRIVATE`, `GLIBC_ABI_DT_RELR`).
fn numbers(version: &str, prefix: &str) -> Option<Version> {
    let rest = version.strip_prefix(prefix)?;
    rest.split('.').map(|part| part.parse().ok()).collect()
}

impl Program {
    /// Fails if it lacks what makes a fault in it harder to use: it is started by root, or with what an agent sends.
    pub(crate) fn hardened(&self) -> Result<()> {
        if let Some(folder) = &self.searches {
            bail!("it looks for libraries in {folder}, where somebody else may put one");
        }
        let dynamic = !self.libraries.is_empty();
        for (good, fault) in [
            (self.movable, "it is loaded at the same address every time"),
            (self.stack_is_data, "its stack can be run as code"),
            (
                self.relocations_closed,
                "its table of relocated addresses stays writable",
            ),
            (
                self.bound_at_start || !dynamic,
                "its functions are bound as they are called, so their table stays writable",
            ),
            (!self.writes_code, "its code is written to when it starts"),
        ] {
            if !good {
                bail!("{fault}");
            }
        }
        Ok(())
    }

    /// The packages that it needs, with their least versions. Fails if a promised system lacks something.
    pub(crate) fn packages(&self, arch: Architecture) -> Result<BTreeMap<&'static str, Version>> {
        if self.machine != arch.machine() {
            bail!(
                "it is for {}, and the package is for {}",
                self.machine,
                arch.machine()
            );
        }
        let mut packages = BTreeMap::new();
        for name in &self.libraries {
            let library = LIBRARIES
                .iter()
                .find(|library| name.starts_with(library.name))
                .with_context(|| {
                    format!(
                        "it needs {name}, which is not among the libraries that every supported system has"
                    )
                })?;
            let least = packages.entry(library.package).or_insert_with(Vec::new);
            if let Some(known) = numbers(library.least, "") {
                *least = known.max(std::mem::take(least));
            }
            for ((_, version), symbol) in self.versions.iter().filter(|((of, _), _)| of == name) {
                let numbers = numbers(version, library.symbols);
                match numbers.filter(|numbers| numbers.as_slice() <= library.newest) {
                    Some(numbers) => *least = numbers.max(std::mem::take(least)),
                    None => bail!(
                        "it needs {version} of {name} (for {}), which Ubuntu 22.04 does not have: build on Debian 12 or \
                         Ubuntu 22.04",
                        if symbol.is_empty() { "its start" } else { symbol }
                    ),
                }
            }
        }
        if let Some(newer) = NEWER_SECCOMP.iter().find(|name| self.symbols.contains(**name)) {
            bail!("it needs {newer} of libseccomp, which Ubuntu 22.04 does not have");
        }
        Ok(packages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "  Type:                              DYN (Position-Independent Executable file)
  Machine:                           Advanced Micro Devices X86-64
  [ 1] .interp           PROGBITS        00000000000002e0 0002e0 00001c 00   A  0   0  1
  GNU_STACK      0x000000 0x0000000000000000 0x0000000000000000 0x000000 0x000000 RW  0x10
  GNU_RELRO      0x0e6d78 0x00000000004e6d78 0x00000000004e6d78 0x009288 0x009288 R   0x1
 0x000000000000001e (FLAGS)              BIND_NOW
 0x000000006ffffffb (FLAGS_1)            Flags: NOW PIE
 0x0000000000000001 (NEEDED)             Shared library: [libseccomp.so.2]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
     1: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND pthread_join@GLIBC_2.34 (2)
     2: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND seccomp_load
Version needs section '.gnu.version_r' contains 1 entry:
  000000: Version: 1  File: libc.so.6  Cnt: 2
  0x0010:   Name: GLIBC_2.34  Flags: none  Version: 2
  0x0020:   Name: GLIBC_2.2.5  Flags: none  Version: 3
    Build ID: 9eb2df1b9c3ac489e1e28e2d9deaa9e5e0272137
";

    #[test]
    fn what_a_program_needs_is_read_and_named_by_packages() {
        let program = parse(TOLD);
        assert_eq!(
            program.build_id.as_deref(),
            Some("9eb2df1b9c3ac489e1e28e2d9deaa9e5e0272137")
        );
        assert!(!program.debug);
        let packages = program.packages(Architecture::Amd64).unwrap();
        assert_eq!(packages["libc6"], [2, 34]);
        assert_eq!(packages["libseccomp2"], [2, 5, 0]);
        assert_eq!(packages.len(), 2);
        let other = program.packages(Architecture::Arm64).unwrap_err();
        assert!(other.to_string().contains("AArch64"), "{other}");
    }

    #[test]
    fn a_symbol_that_a_promised_system_lacks_is_refused_by_name() {
        for (from, to, named) in [
            ("GLIBC_2.34", "GLIBC_2.38", "pthread_join"),
            ("GLIBC_2.2.5", "GLIBC_ABI_DT_RELR", "GLIBC_ABI_DT_RELR"),
            (
                "seccomp_load",
                "seccomp_transaction_start",
                "seccomp_transaction_start",
            ),
            ("libseccomp.so.2", "libfancy.so.3", "libfancy.so.3"),
        ] {
            let error = parse(&TOLD.replace(from, to))
                .packages(Architecture::Amd64)
                .unwrap_err()
                .to_string();
            assert!(error.contains(named), "{error}");
        }
        // 2.35 is the newest that all have.
        assert!(
            parse(&TOLD.replace("GLIBC_2.34", "GLIBC_2.35"))
                .packages(Architecture::Amd64)
                .is_ok()
        );
    }

    #[test]
    fn a_program_that_lacks_a_protection_is_refused_with_the_reason() {
        parse(TOLD).hardened().unwrap();
        // Without libraries nothing is bound.
        let fixed = [" 0x000000000000001e (FLAGS)              BIND_NOW\n", "NOW PIE"];
        let lazy = fixed
            .iter()
            .fold(TOLD.to_owned(), |text, part| text.replace(part, ""));
        let alone: String = lazy
            .lines()
            .filter(|line| !line.contains("NEEDED"))
            .map(|line| format!("{line}\n"))
            .collect();
        parse(&alone).hardened().unwrap();
        assert!(
            parse(&lazy)
                .hardened()
                .unwrap_err()
                .to_string()
                .contains("bound as they are called")
        );
        for (from, to, reason) in [
            (
                "DYN (Position-Independent Executable file)",
                "EXEC (Executable file)",
                "same address",
            ),
            ("0x000000 RW  0x10", "0x000000 RWE 0x10", "stack"),
            ("GNU_STACK ", "NOTE ", "stack"),
            ("GNU_RELRO ", "NOTE ", "relocated addresses"),
            (
                "(NEEDED)             Shared library: [libc.so.6]",
                "(RUNPATH)            Library runpath: [/srv/build/lib]",
                "/srv/build/lib",
            ),
            (
                "(FLAGS)              BIND_NOW",
                "(TEXTREL)            0x0",
                "written to",
            ),
        ] {
            let told = TOLD.replace(from, to);
            assert_ne!(told, TOLD, "{from}");
            let error = parse(&told).hardened().unwrap_err().to_string();
            assert!(error.contains(reason), "{from}: {error}");
        }
    }

    #[test]
    fn symbols_for_debuggers_are_seen() {
        let with = format!("{TOLD}  [38] .symtab           SYMTAB          0 0 0 18     39 3 8\n");
        assert!(parse(&with).debug);
        let lines = format!("{TOLD}  [30] .debug_line       PROGBITS        0 0 0 00      0 0 1\n");
        assert!(parse(&lines).debug);
    }
}
