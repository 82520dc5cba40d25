//! apt on lists and a cache of its own below a folder, so that the machine's are left alone, and any release's packages of any
//! architecture can be had on any release. apt checks the signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;

/// Debian's signing keys, from the package `debian-archive-keyring`.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where packages come from.
pub(crate) const MIRROR: &str = "http://deb.debian.org/debian";

/// The packages of one release for one architecture.
pub(crate) struct Apt {
    cache: PathBuf,
    folder: PathBuf,
    arch: Arch,
    release: String,
}

impl Apt {
    /// Fetches the release's lists.
    pub(crate) fn prepare(cache: &Path, release: &str, arch: Arch) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let folder = cache.join(of_arch(&format!("apt-{release}"), arch));
        for name in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("state/status"), "")?;
        fs::write(
            folder.join("sources.list"),
            format!("deb [signed-by={KEYRING}] {MIRROR} {release} main\n"),
        )?;
        let apt = Self {
            cache: cache.to_owned(),
            folder,
            arch,
            release: release.to_owned(),
        };
        run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// One of apt's programs, on these lists.
    pub(crate) fn command(&self, program: &str) -> Command {
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
        let arch = self.arch.debian();
        command.args(["-o", &format!("APT::Architecture={arch}")]);
        command.args(["-o", &format!("APT::Architectures={arch}")]);
        // The download folder need not be open to apt's own user.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }

    /// Fetches a package and unpacks it as the folder `name` of the cache.
    pub(crate) fn unpack(&self, package: &str, name: &str) -> Result<PathBuf> {
        eprintln!("fetching {package} from Debian {}", self.release);
        let download = self.cache.join(format!("download-{name}"));
        fs::create_dir_all(&download)?;
        run(self
            .command("apt-get")
            .args(["download", package])
            .current_dir(&download))?;
        let archive = fs::read_dir(&download)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get download left no package")?;
        // Unpacked beside and renamed: a cache that exists is a cache that is whole.
        let fresh = self.cache.join(format!("{name}.new"));
        fs::remove_dir_all(&fresh).ok();
        run(Command::new("dpkg").arg("-x").arg(&archive).arg(&fresh))?;
        let folder = self.cache.join(name);
        fs::rename(&fresh, &folder)?;
        fs::remove_dir_all(&download)?;
        Ok(folder)
    }
}

/// A name in the cache: that of this machine's architecture goes without saying.
pub(crate) fn of_arch(name: &str, arch: Arch) -> String {
    if arch == Arch::own() {
        name.to_owned()
    } else {
        format!("{name}-{}", arch.debian())
    }
}

/// Runs a command whose output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
