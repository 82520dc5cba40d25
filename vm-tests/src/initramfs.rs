//! Packs programs and their libraries into an archive that the kernel unpacks: `cpio`, format `newc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::system::System;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_600;

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    /// Where libraries come from, if not from this machine.
    system: Option<System>,
}

impl Initramfs {
    /// An archive with the one device that the kernel opens before init runs: the console.
    pub fn new() -> Self {
        let mut archive = Self::default();
        archive.folder(Path::new("/dev"));
        archive.entry(Path::new("/dev/console"), DEVICE, (5, 1), &[]);
        archive
    }

    /// The same for programs of another architecture than this machine's: their libraries come from `system`.
    pub fn of(system: System) -> Self {
        Self {
            system: Some(system),
            ..Self::new()
        }
    }

    /// Adds a file, and the folders above it.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        let path = Path::new(path);
        if self.files.insert(path.to_owned()) {
            self.parents(path);
            self.entry(path, FILE, (0, 0), content);
        }
    }

    /// Adds a symbolic link, and the folders above it.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(Path::new(path));
        self.entry(Path::new(path), LINK, (0, 0), target.as_bytes());
    }

    /// Adds a program as `path`, and the libraries that it asks for.
    pub fn program(&mut self, path: &str, program: &Path) -> Result<()> {
        let content = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        self.file(path, &content);
        if let Some(system) = &self.system {
            for (path, library) in system.libraries(program)? {
                let content =
                    fs::read(&library).with_context(|| format!("cannot read {}", library.display()))?;
                self.file(&path, &content);
            }
            return Ok(());
        }
        let output = Command::new("ldd")
            .arg(program)
            .output()
            .context("cannot start ldd")?;
        for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
            let content = fs::read(library).with_context(|| format!("cannot read {library}"))?;
            self.file(library, &content);
        }
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("/TRAILER!!!"), 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &Path) {
        let above: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        for folder in above.iter().rev().filter(|folder| folder.parent().is_some()) {
            self.folder(folder);
        }
    }

    fn folder(&mut self, path: &Path) {
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER, (0, 0), &[]);
        }
    }

    /// One header of thirteen eight-digit numbers, the name, the content; both padded to four bytes.
    fn entry(&mut self, path: &Path, mode: u32, device: (u32, u32), content: &[u8]) {
        let name = path.to_string_lossy();
        let name = name.trim_start_matches('/');
        self.entries += 1;
        let sizes = [content.len(), name.len() + 1].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        // inode, mode, uid, gid, links, mtime, size, dev (2), rdev (2), name size, check
        let numbers = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            sizes[0],
            0,
            0,
            device.0,
            device.1,
            sizes[1],
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Absolute paths in `ldd`'s output: `name => /path (address)` or `/path (address)`.
fn libraries(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_off_ldd() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(
            libraries(text).collect::<Vec<_>>(),
            ["/lib/x/libc.so.6", "/lib64/ld.so.2"]
        );
        assert_eq!(libraries("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn an_archive_unpacks() {
        let mut archive = Initramfs::new();
        archive.file("/a/b/c", b"hello");
        archive.file("/a/b/c", b"again");
        archive.link("/a/l", "b/c");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(
            text.matches("070701").count(),
            7,
            "dev, console, a, a/b, c, l, trailer"
        );
        assert_eq!(text.matches("hello").count(), 1);
        assert!(!text.contains("again"));
        assert!(text.contains("TRAILER!!!"));
    }
}
