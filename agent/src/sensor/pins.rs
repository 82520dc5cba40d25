//! Where programs, maps and links are pinned.
//!
//! `/sys/fs/bpf/defenseclaw/INSTANCE/BUILD-SENSOR/{maps,links,programs}/NAME`, readable by root alone. `BUILD` is the ABI
//! version and a hash of the kernel object; `SENSOR` is drawn at each load.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::statfs;

use super::load::SensorError;

/// Where bpffs is mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Written last: without it a folder is what a crash left in mid-load, and is not taken over.
const COMPLETE: &str = "complete";

fn pinning(what: impl Into<String>) -> impl FnOnce(io::Error) -> SensorError {
    let what = what.into();
    move |error| SensorError::Pin {
        what,
        reason: error.to_string(),
    }
}

/// The folder of one instance; mounts bpffs where it is not mounted yet.
pub(super) fn instance(name: &str) -> Result<PathBuf, SensorError> {
    let mounted = statfs(BPFFS).is_ok_and(|info| info.filesystem_type().0 == BPF_FS_MAGIC);
    if !mounted {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), BPFFS, Some("bpf"), flags, Some("mode=0700"))
            .map_err(|error| pinning(format!("mount bpffs at {BPFFS}"))(error.into()))?;
    }
    let folder = Path::new(BPFFS).join("defenseclaw").join(name);
    make(&folder)?;
    Ok(folder)
}

fn make(folder: &Path) -> Result<(), SensorError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(pinning(format!("make {}", folder.display())))
}

/// Makes the folder of a new sensor.
pub(super) fn create(instance: &Path, build: &str, sensor: &str) -> Result<PathBuf, SensorError> {
    let folder = instance.join(format!("{build}-{sensor}"));
    for part in ["maps", "links", "programs"] {
        make(&folder.join(part))?;
    }
    Ok(folder)
}

/// Notes that everything is pinned. bpffs holds no plain files, so the mark is a folder.
pub(super) fn complete(folder: &Path) -> Result<(), SensorError> {
    make(&folder.join(COMPLETE))
}

/// Sensors pinned for an instance: path, build, sensor id, whether complete.
pub(super) fn existing(instance: &Path) -> Vec<(PathBuf, String, String, bool)> {
    let Ok(entries) = fs::read_dir(instance) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (build, sensor) = name.rsplit_once('-')?;
            let complete = entry.path().join(COMPLETE).is_dir();
            Some((entry.path(), build.to_owned(), sensor.to_owned(), complete))
        })
        .collect()
}

/// Removes a sensor's folder: links first, so that nothing runs without its maps' owner.
pub(super) fn remove(folder: &Path) -> Result<(), SensorError> {
    for part in ["links", "programs", "maps"] {
        let part = folder.join(part);
        for entry in fs::read_dir(&part).into_iter().flatten().filter_map(Result::ok) {
            fs::remove_file(entry.path()).map_err(pinning(format!("unpin {}", entry.path().display())))?;
        }
        remove_folder(&part)?;
    }
    remove_folder(&folder.join(COMPLETE))?;
    remove_folder(folder)?;
    if let Some(instance) = folder.parent() {
        remove_instance(instance);
    }
    Ok(())
}

/// Removes an instance's folder; it stays while a sensor is in it.
pub(super) fn remove_instance(folder: &Path) {
    let _ = fs::remove_dir(folder);
}

fn remove_folder(folder: &Path) -> Result<(), SensorError> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(pinning(format!("remove {}", folder.display()))(error))
        }
        _ => Ok(()),
    }
}
