//! Fetches a Debian kernel into a cache, and finds its modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::{Apt, of_arch};
use crate::arch::Arch;

/// Which Debian release has which kernel.
const RELEASES: [(&str, &str); 3] = [("6.1", "bookworm"), ("6.12", "trixie"), ("7.2", "sid")];

/// A kernel's package, unpacked.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// What is booted.
    pub image: PathBuf,
    folder: PathBuf,
}

/// The kernel of `version` (for instance `6.12`), fetched if it is not in `cache` yet.
///
/// # Errors
/// When no release has it, or it cannot be fetched.
pub fn fetch(cache: &Path, version: &str, arch: Arch) -> Result<Kernel> {
    let name = of_arch(version, arch);
    let folder = cache.join(&name);
    if let Some(image) = image_in(&folder) {
        return Ok(Kernel { image, folder });
    }
    let release = release_of(version)?;
    let apt = Apt::prepare(cache, release, arch)?;
    let package = newest(&apt, version, arch)?;
    let folder = apt.unpack(&package, &name)?;
    let image = image_in(&folder).with_context(|| format!("{package} holds no kernel image"))?;
    Ok(Kernel { image, folder })
}

/// The Debian release that has the kernel `version`.
pub(crate) fn release_of(version: &str) -> Result<&'static str> {
    let known = RELEASES.iter().find(|(known, _)| *known == version);
    known
        .map(|(_, release)| *release)
        .with_context(|| format!("no Debian release is known that has Linux {version}"))
}

impl Kernel {
    /// The modules of these names that are not built in, after all that they depend on, in the order in which they are loaded.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for place in ["lib/modules", "usr/lib/modules"] {
            collect(&self.folder.join(place), &mut files);
        }
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for name in names {
            load(name, &files, &mut found)?;
        }
        Ok(found)
    }
}

/// Adds a module and what it depends on.
fn load(name: &str, files: &[PathBuf], found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if found.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    // A name's `-` and `_` are the same to the kernel. What is not there as a file is built in.
    let Some(file) = files
        .iter()
        .find(|file| module_name(file).is_some_and(|stem| stem == name))
    else {
        return Ok(());
    };
    let bytes = unpacked(file)?;
    for needed in depends(&bytes) {
        load(&needed, files, found)?;
    }
    found.push((name.to_owned(), bytes));
    Ok(())
}

/// `virtio_blk` of `…/virtio_blk.ko` and `…/virtio-blk.ko.xz`.
fn module_name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let stem = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".ko")?;
    Some(stem.replace('-', "_"))
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let output = Command::new("xz").arg("-dc").arg(file).output();
    let output = output.context("cannot start xz: run `cargo xtask setup`")?;
    if !output.status.success() {
        bail!("{} cannot be unpacked: {}", file.display(), output.status);
    }
    Ok(output.stdout)
}

/// What a module says that it needs: `depends=virtio,virtio_ring` among its texts, which end with zero bytes.
fn depends(module: &[u8]) -> Vec<String> {
    let said = module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(said.unwrap_or_default()).into_owned();
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// All files below a folder, if it is there.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// `boot/vmlinuz-…` in a package's unpacked tree, or `usr/lib/modules/…/vmlinuz` since Linux 7.
fn image_in(folder: &Path) -> Option<PathBuf> {
    let inside = |folder: &Path| {
        let entries = fs::read_dir(folder).ok()?;
        Some(entries.flatten().map(|entry| entry.path()))
    };
    let is_image = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    let classic = inside(&folder.join("boot")).and_then(|mut paths| paths.find(is_image));
    classic.or_else(|| {
        let mut modules = inside(&folder.join("usr/lib/modules"))?;
        modules.find_map(|version| inside(&version)?.find(is_image))
    })
}

/// The newest cloud kernel of `version`: small, with BTF, and with what an emulator needs built in.
fn newest(apt: &Apt, version: &str, arch: Arch) -> Result<String> {
    // Since Linux 7 the package `linux-image` only names the one that holds the image.
    let pattern = format!(
        "^linux-(image|binary)-{}\\..*-cloud-{}$",
        version.replace('.', "\\."),
        arch.debian()
    );
    let mut command = apt.command("apt-cache");
    let output = command
        .args(["search", "--names-only", &pattern])
        .output()
        .context("cannot start apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    names.sort_by_key(|name| (numbers(name), name.starts_with("linux-binary")));
    names
        .last()
        .map(ToString::to_string)
        .with_context(|| format!("Debian has no cloud kernel {version} at present"))
}

/// The numbers in a name, so that 6.12.9 sorts before 6.12.10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_sort_by_number() {
        let mut names = [
            "linux-image-6.12.10+deb13-cloud-amd64",
            "linux-image-6.12.9+deb13-cloud-amd64",
        ];
        names.sort_by_key(|name| numbers(name));
        assert_eq!(names[1], "linux-image-6.12.10+deb13-cloud-amd64");
    }

    #[test]
    fn a_module_tells_what_it_needs() {
        let text = b"\x7fELF\0license=GPL\0depends=virtio,virtio-ring\0name=virtio_blk\0";
        assert_eq!(depends(text), ["virtio", "virtio_ring"]);
        assert!(depends(b"license=GPL\0depends=\0name=virtio\0").is_empty());
    }

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let folder = std::env::temp_dir().join(format!("defenseclaw-modules-{}", std::process::id()));
        let drivers = folder.join("lib/modules/6.1/kernel");
        fs::create_dir_all(&drivers).unwrap();
        for (name, text) in [
            ("virtio-blk.ko", "depends=virtio,virtio_ring\0"),
            ("virtio_ring.ko", "depends=virtio\0"),
            ("virtio.ko", "depends=\0"),
        ] {
            fs::write(drivers.join(name), text).unwrap();
        }
        let kernel = Kernel {
            image: PathBuf::new(),
            folder: folder.clone(),
        };
        let found = kernel.modules(&["virtio_ring", "virtio_blk", "ext4"]).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_blk"], "ext4 is built in");
        fs::remove_dir_all(folder).unwrap();
    }
}
