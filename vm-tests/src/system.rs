//! Programs and libraries of a Debian release for another architecture: what a guest needs where this machine's do not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::{Apt, of_arch};
use crate::arch::Arch;
use crate::kernel::release_of;

/// A shell, the small programs, and the libraries that programs ask for.
const PACKAGES: [&str; 5] = ["dash", "coreutils", "libc6", "libgcc-s1", "libseccomp2"];

/// A system's packages, unpacked beside each other.
#[derive(Debug, Clone)]
pub struct System {
    folders: Vec<PathBuf>,
    arch: Arch,
}

impl System {
    /// That of the release that has the kernel `version`, fetched where it is not in `cache` yet.
    ///
    /// # Errors
    /// When no release has that kernel, or a package cannot be fetched.
    pub fn fetch(cache: &Path, version: &str, arch: Arch) -> Result<Self> {
        let release = release_of(version)?;
        let name = |package: &str| of_arch(&format!("{package}-{release}"), arch);
        let mut apt = None;
        let mut folders = Vec::new();
        for package in PACKAGES {
            let folder = cache.join(name(package));
            if !folder.is_dir() {
                let apt = match &apt {
                    Some(apt) => apt,
                    None => apt.insert(Apt::prepare(cache, release, arch)?),
                };
                apt.unpack(package, &name(package))?;
            }
            folders.push(folder);
        }
        Ok(Self { folders, arch })
    }

    /// One of its programs.
    ///
    /// # Errors
    /// When no package holds it.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        // Debian's `sh` is a link that installing makes.
        let file = if name == "sh" { "dash" } else { name };
        self.find(&["bin", "usr/bin"], file)
    }

    /// What the dynamic linker loads for a program before it starts: where it looks, and the file.
    ///
    /// # Errors
    /// When a library is in no package, or the program is not one.
    pub fn libraries(&self, program: &Path) -> Result<Vec<(String, PathBuf)>> {
        let triple = match self.arch {
            Arch::Amd64 => "x86_64-linux-gnu",
            Arch::Arm64 => "aarch64-linux-gnu",
        };
        let own = [format!("lib/{triple}"), format!("usr/lib/{triple}")];
        let places = [
            own[0].as_str(),
            own[1].as_str(),
            "lib",
            "usr/lib",
            "lib64",
            "usr/lib64",
        ];
        let (mut found, mut left) = (Vec::<(String, PathBuf)>::new(), vec![program.to_owned()]);
        while let Some(file) = left.pop() {
            for asked in asked_for(&file)? {
                let name = asked.rsplit('/').next().unwrap_or_default();
                // The linker itself is asked for by its path; a library is looked for in `/lib`, too.
                let path = if asked.starts_with('/') {
                    asked.clone()
                } else {
                    format!("/lib/{asked}")
                };
                if found.iter().all(|(known, _)| *known != path) {
                    let library = self.find(&places, name)?;
                    left.push(library.clone());
                    found.push((path, library));
                }
            }
        }
        Ok(found)
    }

    fn find(&self, places: &[&str], name: &str) -> Result<PathBuf> {
        let candidates = self
            .folders
            .iter()
            .flat_map(|folder| places.iter().map(move |place| folder.join(place).join(name)));
        // A link of one package that leads into another one leads nowhere here.
        let found = candidates
            .into_iter()
            .find(|path| fs::metadata(path).is_ok_and(|it| it.is_file()));
        found.with_context(|| format!("none of the packages {} holds {name}", PACKAGES.join(", ")))
    }
}

/// The dynamic linker and the libraries that an ELF file names.
fn asked_for(file: &Path) -> Result<Vec<String>> {
    let output = Command::new("readelf")
        .args(["--program-headers", "--dynamic", "--wide"])
        .arg(file)
        .output()
        .context("cannot start readelf: install binutils")?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(named(&String::from_utf8_lossy(&output.stdout)))
}

/// The names in what `readelf` prints: `[Requesting program interpreter: PATH]` and `(NEEDED) Shared library: [NAME]`.
fn named(readelf: &str) -> Vec<String> {
    let name = |line: &str| {
        let (_, rest) = line.split_once("program interpreter: ").or_else(|| {
            line.split_once("(NEEDED)")
                .and_then(|(_, rest)| rest.split_once('['))
        })?;
        rest.split_once(']').map(|(name, _)| name.to_owned())
    };
    readelf.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_and_libraries_are_read_off_readelf() {
        let text = "  INTERP 0x1\n      [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n \
                    0x1 (NEEDED)  Shared library: [libc.so.6]\n 0xe (SONAME) Library soname: [libx.so]\n";
        assert_eq!(named(text), ["/lib/ld-linux-aarch64.so.1", "libc.so.6"]);
    }

    #[test]
    fn a_program_gets_its_libraries_and_theirs_from_the_packages() {
        let folder = std::env::temp_dir().join(format!("defenseclaw-system-{}", std::process::id()));
        let libraries = folder.join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&libraries).unwrap();
        let own = std::env::current_exe().unwrap();
        let asked = asked_for(&own).unwrap();
        assert!(asked.iter().any(|name| name.starts_with("libc.so")), "{asked:?}");
        // Libraries that ask for nothing more: the header of an ELF file for x86-64, and nothing behind it.
        let mut header = [0; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (header[16], header[18], header[20], header[52]) = (3, 62, 1, 64);
        for name in &asked {
            fs::write(libraries.join(name.rsplit('/').next().unwrap()), header).unwrap();
        }
        let mut system = System {
            folders: vec![folder.clone()],
            arch: Arch::Amd64,
        };
        assert_eq!(system.libraries(&own).unwrap().len(), asked.len());
        system.folders.clear();
        let error = system.libraries(&own).unwrap_err().to_string();
        assert!(error.contains("libc6") && error.contains("holds"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
