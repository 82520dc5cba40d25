//! Fetches a Debian kernel into a cache.
//!
//! apt checks the signatures; it works on lists and a cache of its own below the cache folder, so the machine's are left
//! alone, and any release's kernel can be had on any release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Which Debian release has which kernel.
const RELEASES: [(&str, &str); 3] = [("6.1", "bookworm"), ("6.12", "trixie"), ("7.2", "sid")];
/// Debian's signing keys, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The kernel image of `version` (for instance `6.12`), fetched if it is not in `cache` yet.
pub fn fetch(cache: &Path, version: &str) -> Result<PathBuf> {
    let folder = cache.join(version);
    if let Some(image) = image_in(&folder) {
        return Ok(image);
    }
    let release = RELEASES
        .iter()
        .find(|(known, _)| *known == version)
        .map(|(_, release)| *release);
    let release = release.with_context(|| format!("no Debian release is known that has Linux {version}"))?;
    let apt = Apt::prepare(&cache.join(format!("apt-{release}")), release)?;
    let package = apt.newest(version)?;
    eprintln!("fetching {package} from Debian {release}");
    let download = cache.join(format!("download-{version}"));
    fs::create_dir_all(&download)?;
    run(apt
        .command("apt-get")
        .args(["download", &package])
        .current_dir(&download))?;
    let archive = fs::read_dir(&download)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    // Unpacked beside and renamed: a cache that exists is a cache that is whole.
    let fresh = cache.join(format!("{version}.new"));
    fs::remove_dir_all(&fresh).ok();
    run(Command::new("dpkg").arg("-x").arg(&archive).arg(&fresh))?;
    fs::rename(&fresh, &folder)?;
    fs::remove_dir_all(&download)?;
    image_in(&folder).with_context(|| format!("{package} holds no kernel image"))
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

/// apt on lists of its own.
struct Apt {
    folder: PathBuf,
}

/// Debian's name of the architecture that guests are booted for: the machine's own.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

impl Apt {
    fn prepare(folder: &Path, release: &str) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        for name in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("state/status"), "")?;
        fs::write(
            folder.join("sources.list"),
            format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {release} main\n"),
        )?;
        let apt = Self {
            folder: folder.to_owned(),
        };
        run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let options = [
            ("Dir::State", "state"),
            ("Dir::State::status", "state/status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
        ];
        for (name, value) in options {
            command
                .arg("-o")
                .arg(format!("{name}={}", self.folder.join(value).display()));
        }
        command
            .arg("-o")
            .arg(format!("APT::Architectures={}", architecture()));
        // The download folder need not be open to apt's own user.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }

    /// The newest cloud kernel of `version`: small, with BTF, and with what an emulator needs built in.
    fn newest(&self, version: &str) -> Result<String> {
        // Since Linux 7 the package `linux-image` only names the one that holds the image.
        let pattern = format!(
            "^linux-(image|binary)-{}\\..*-cloud-{}$",
            version.replace('.', "\\."),
            architecture()
        );
        let mut command = self.command("apt-cache");
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
}

/// The numbers in a name, so that 6.12.9 sorts before 6.12.10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
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
}
