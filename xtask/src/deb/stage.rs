//! A package's files before they become one: every mode and time is decided here, so that packing the same files gives the same
//! package, wherever and whenever.

use std::fs::{self, FileTimes, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use crate::files;
use crate::host::{output, run};

/// Of programs and maintainer scripts, and of folders.
pub(crate) const EXECUTABLE: u32 = 0o755;
/// Of everything else.
pub(crate) const PLAIN: u32 = 0o644;

/// A folder that becomes a package.
pub(crate) struct Stage {
    root: PathBuf,
    /// What every file's time is set to: seconds since 1970.
    epoch: i64,
}

impl Stage {
    /// An empty one.
    pub(crate) fn new(root: PathBuf, epoch: i64) -> Result<Self> {
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot empty {}", root.display()));
            }
            _ => {}
        }
        let stage = Self { root, epoch };
        stage.folder("DEBIAN")?;
        Ok(stage)
    }

    /// Where a path of the package lies here.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn folder(&self, path: &str) -> Result<()> {
        let at = self.at(path);
        fs::create_dir_all(&at).with_context(|| format!("cannot create {}", at.display()))
    }

    fn parent(&self, path: &str) -> Result<PathBuf> {
        let at = self.at(path);
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        Ok(at)
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let at = self.parent(path)?;
        fs::write(&at, bytes).with_context(|| format!("cannot write {}", at.display()))?;
        fs::set_permissions(&at, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    pub(crate) fn copy(&self, from: &Path, path: &str, mode: u32) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(path, &bytes, mode)
    }

    /// Compressed, without name and time.
    pub(crate) fn compressed(&self, from: &Path, path: &str) -> Result<()> {
        let packed = Command::new("gzip")
            .args(["-9", "-n", "-c"])
            .arg(from)
            .output()
            .context("cannot start gzip")?;
        if !packed.status.success() {
            bail!(
                "gzip {}: {}",
                from.display(),
                String::from_utf8_lossy(&packed.stderr)
            );
        }
        self.write(path, &packed.stdout, PLAIN)
    }

    pub(crate) fn link(&self, target: &str, path: &str) -> Result<()> {
        let at = self.parent(path)?;
        symlink(target, &at).with_context(|| format!("cannot link {}", at.display()))
    }

    /// Every path below, `DEBIAN` left out.
    fn paths(&self) -> Result<Vec<(PathBuf, Metadata)>> {
        let control = self.root.join("DEBIAN");
        files::tree(&self.root, |path| path != control)
    }

    /// As Debian counts it: each file in whole KiB, everything else one.
    pub(crate) fn installed_size(&self) -> Result<u64> {
        let mut total = 0;
        for (_, meta) in self.paths()? {
            total += if meta.is_file() {
                meta.size().div_ceil(1024)
            } else {
                1
            };
        }
        Ok(total)
    }

    /// Writes what every package has besides its control file: sums of its files, and which of them are the operator's.
    fn write_lists(&self) -> Result<()> {
        let mut sums = String::new();
        let mut conffiles = String::new();
        for (path, meta) in self.paths()? {
            if !meta.is_file() {
                continue;
            }
            let name = path
                .strip_prefix(&self.root)?
                .to_str()
                .context("a file's name is no text")?;
            if name.starts_with("etc/") {
                conffiles.push_str(&format!("/{name}\n"));
            }
            let told = output(Command::new("md5sum").arg(&path))?;
            let sum = told.split_whitespace().next().unwrap_or_default();
            sums.push_str(&format!("{sum}  {name}\n"));
        }
        self.write("DEBIAN/md5sums", sums.as_bytes(), PLAIN)?;
        if !conffiles.is_empty() {
            self.write("DEBIAN/conffiles", conffiles.as_bytes(), PLAIN)?;
        }
        Ok(())
    }

    /// Makes the package, in which nothing tells where, when and by whom it was made.
    pub(crate) fn pack(&self, control: &str, to: &Path) -> Result<()> {
        self.write("DEBIAN/control", control.as_bytes(), PLAIN)?;
        self.write_lists()?;
        let mut paths = vec![self.root.clone()];
        paths.extend(
            files::tree(&self.root, |_| true)?
                .into_iter()
                .map(|(path, _)| path),
        );
        let seconds = u64::try_from(self.epoch).context("the changelog's date is before 1970")?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        // The deepest first: a file's own change makes its folder new.
        paths.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in paths {
            let meta = path.symlink_metadata()?;
            if meta.is_symlink() {
                // Newer than the changelog, and set back to it by dpkg-deb.
                continue;
            }
            if meta.is_dir() {
                fs::set_permissions(&path, fs::Permissions::from_mode(EXECUTABLE))?;
            }
            let opened = OpenOptions::new()
                .read(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            opened.set_times(FileTimes::new().set_modified(time))?;
        }
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "-z9", "--build"])
            .arg(&self.root)
            .arg(to)
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            // With several threads the blocks, and so the bytes, would depend on the machine.
            .env("DPKG_DEB_THREADS_MAX", "1")
            .stdout(std::process::Stdio::null()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(folder: &Path) -> PathBuf {
        let stage = Stage::new(folder.join("stage"), 1_709_164_800).unwrap();
        stage.write("/usr/bin/tool", b"#!/bin/sh\n", EXECUTABLE).unwrap();
        stage.write("/etc/tool.conf", b"# none\n", PLAIN).unwrap();
        stage.link("tool", "/usr/bin/other").unwrap();
        stage.folder("/etc/tool.d").unwrap();
        let package = folder.join("tool.deb");
        let control = "Package: tool\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: none\n";
        stage.pack(control, &package).unwrap();
        package
    }

    #[test]
    fn a_package_is_the_same_wherever_and_whenever_it_is_made() {
        let folder = |name: &str| {
            let folder =
                std::env::temp_dir().join(format!("defenseclaw-stage-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        let (one, other) = (folder("one"), folder("other"));
        let first = fs::read(example(&one)).unwrap();
        // Another second, other times of files.
        std::thread::sleep(Duration::from_millis(1_100));
        let second = fs::read(example(&other)).unwrap();
        assert!(first == second, "the two packages differ");
        let listed = output(Command::new("dpkg-deb").arg("-c").arg(one.join("tool.deb"))).unwrap();
        assert!(
            listed.lines().all(|line| line.contains(" root/root ")),
            "{listed}"
        );
        assert!(listed.contains("2024-02-29"), "{listed}");
        let conffiles = output(
            Command::new("dpkg-deb")
                .arg("-I")
                .arg(one.join("tool.deb"))
                .arg("conffiles"),
        )
        .unwrap();
        assert_eq!(conffiles, "/etc/tool.conf\n");
        for folder in [one, other] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
