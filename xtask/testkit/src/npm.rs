//! Real clients from npm, each in a folder of its own below cargo's output folder.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// A package that holds a program.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Its name on npm.
    pub name: &'static str,
    /// The version whose behaviour is known.
    pub version: &'static str,
    /// The folder of this machine's build, below `node_modules`, with a gap `{arch}` for `x64` or `arm64`.
    pub folder: &'static str,
    /// The program, below that folder, with a gap `{triple}` for the architecture as Rust names it.
    pub program: &'static str,
}

impl Package {
    /// The program in `folder`; the package is installed there unless it is already.
    pub fn ensure(&self, folder: &Path) -> Result<PathBuf> {
        let arm = cfg!(target_arch = "aarch64");
        let arch = if arm { "arm64" } else { "x64" };
        let package = folder
            .join("node_modules")
            .join(self.folder.replace("{arch}", arch));
        let triple = if arm { "aarch64" } else { "x86_64" };
        let program = package.join(self.program.replace("{triple}", triple));
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // Tests run side by side; npm in one folder must not.
        let lock = File::create(folder.join(".lock"))?;
        let _alone = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .context("flock")?;
        let manifest = fs::read_to_string(package.join("package.json")).unwrap_or_default();
        // One package has the version alone, the other the architecture behind it.
        let installed = [
            format!("\"{}\"", self.version),
            format!("\"{}-linux-{arch}\"", self.version),
        ];
        let is_there = manifest
            .lines()
            .filter(|line| line.contains("\"version\""))
            .any(|line| installed.iter().any(|version| line.contains(version)));
        if program.is_file() && is_there {
            return Ok(program);
        }
        self.install(folder)?;
        if !program.is_file() {
            bail!("npm installed {} without {}", self.name, program.display());
        }
        Ok(program)
    }

    fn install(&self, folder: &Path) -> Result<()> {
        let what = format!("{}@{}", self.name, self.version);
        // Not by a macro: a test's own output is kept back, and this has to be said beforehand.
        writeln!(
            std::io::stderr(),
            "npm install {what}    # the real client, into {}",
            folder.display()
        )?;
        let output = Command::new("npm")
            .args([
                "install",
                "--no-save",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
            ])
            .arg(folder)
            .arg(&what)
            .output()
            .context("cannot start npm")?;
        if !output.status.success() {
            bail!(
                "npm did not install it: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }
}
