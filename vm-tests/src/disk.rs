//! Makes disks of folders: ext4, without mounting anything.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::run;

/// Makes `image` of `folder`, as large as `bytes`; it takes no more room than what is in it. Owners and modes are those of the files.
///
/// # Errors
/// When it cannot be made, or `bytes` are too few.
pub fn make(folder: &Path, image: &Path, bytes: u64) -> Result<()> {
    // Made beside and renamed: one that is there is whole.
    let fresh = image.with_extension("new");
    fs::remove_file(&fresh).ok();
    File::create(&fresh)
        .and_then(|file| file.set_len(bytes))
        .with_context(|| format!("cannot write {}", fresh.display()))?;
    run(Command::new("mke2fs")
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1",
            "-d",
        ])
        .arg(folder)
        .arg(&fresh))?;
    fs::rename(&fresh, image).with_context(|| format!("cannot write {}", image.display()))
}

/// The bytes of all files below a folder.
///
/// # Errors
/// When one cannot be looked at.
pub fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            size(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}
