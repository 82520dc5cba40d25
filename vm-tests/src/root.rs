//! A Debian root file system with systemd, as a disk in a cache, and what boots it.
//!
//! The disk is what `debootstrap` makes and nothing else. What makes a guest of it (no login, no timers, the unit that runs the
//! tests) is done at each boot by `guest/init.sh`, on a copy that is forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::apt::{Apt, KEYRING, MIRROR, of_arch, run};
use crate::arch::Arch;
use crate::disk;
use crate::guest::{Disk, Guest, boot};
use crate::initramfs::Initramfs;
use crate::kernel::{self, Kernel};

/// What is in it besides the smallest selection: what a host has that boots, and `jq` for the tests.
const INCLUDED: [&str; 5] = ["dbus", "jq", "systemd", "systemd-sysv", "udev"];
/// What the disk needs of the kernel.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];
/// Enough for the system, for several versions of ours, and for what tests write (bytes).
const SIZE: u64 = 2 << 30;
/// A guest's memory (MiB).
pub const MEMORY: u32 = 2_048;
/// An emulated processor unpacks and configures some hundred packages.
const SECOND_STAGE: Duration = Duration::from_secs(2_400);
const INIT: &[u8] = include_bytes!("../guest/init.sh");

/// A Debian release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Its number.
    pub number: &'static str,
    /// Its name in the archive.
    pub suite: &'static str,
    /// Its kernel.
    pub kernel: &'static str,
}

const RELEASES: [Release; 2] = [
    Release {
        number: "12",
        suite: "bookworm",
        kernel: "6.1",
    },
    Release {
        number: "13",
        suite: "trixie",
        kernel: "6.12",
    },
];

impl Release {
    /// By its number.
    ///
    /// # Errors
    /// When it is none that is known here.
    pub fn numbered(number: &str) -> Result<Self> {
        let found = RELEASES.into_iter().find(|release| release.number == number);
        found.with_context(|| format!("no Debian release {number:?} is known here: use 12 or 13"))
    }
}

/// A release that can be booted.
#[derive(Debug)]
pub struct Root {
    /// Its kernel.
    pub kernel: Kernel,
    /// What that unpacks first.
    pub initramfs: PathBuf,
    /// Its disk.
    pub disk: PathBuf,
}

/// Gives the release's kernel and its root file system, made if they are not in `cache` yet: minutes, and root's rights.
///
/// # Errors
/// When they cannot be fetched or made.
pub fn ensure(cache: &Path, release: Release, arch: Arch, show: &mut dyn FnMut(&str)) -> Result<Root> {
    let kernel = kernel::fetch(cache, release.kernel, arch)?;
    let initramfs = cache.join(format!("init-{}-{}.cpio", release.number, arch.debian()));
    fs::write(&initramfs, pack(&kernel, &busybox(cache, release, arch)?)?)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    // Another selection is another name.
    let name = format!(
        "root-{}-{}-{}.ext4",
        release.number,
        arch.debian(),
        INCLUDED.join("+")
    );
    let root = Root {
        kernel,
        initramfs,
        disk: cache.join(name),
    };
    if !root.disk.is_file() {
        make(cache, release, arch, &root, show)?;
    }
    Ok(root)
}

/// `busybox` for that architecture, linked statically: the guest's first program.
fn busybox(cache: &Path, release: Release, arch: Arch) -> Result<Vec<u8>> {
    let name = of_arch(&format!("busybox-{}", release.number), arch);
    let mut folder = cache.join(&name);
    if !folder.is_dir() {
        folder = Apt::prepare(cache, release.suite, arch)?.unpack("busybox-static", &name)?;
    }
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| folder.join(place));
    let found = places.iter().find(|place| place.is_file());
    let found = found.with_context(|| format!("{} holds no busybox", folder.display()))?;
    fs::read(found).with_context(|| format!("cannot read {}", found.display()))
}

fn pack(kernel: &Kernel, busybox: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Initramfs::new();
    archive.file("/init", INIT);
    archive.file("/bin/busybox", busybox);
    for (number, (name, module)) in kernel.modules(&MODULES)?.iter().enumerate() {
        archive.file(&format!("/modules/{number:02}-{name}.ko"), module);
    }
    Ok(archive.finish())
}

/// Makes the disk. What has to run on the other architecture runs in a guest.
fn make(cache: &Path, release: Release, arch: Arch, root: &Root, show: &mut dyn FnMut(&str)) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "a root file system with its owners and devices can only be made as root: run this once as root"
        );
    }
    let foreign = arch != Arch::own();
    eprintln!(
        "making a root file system of Debian {} for {}",
        release.number,
        arch.debian()
    );
    let folder = root.disk.with_extension("folder");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--arch={}", arch.debian())]);
    command.arg(format!("--include={}", INCLUDED.join(",")));
    command.arg(format!("--keyring={KEYRING}"));
    if foreign {
        command.arg("--foreign");
    }
    let log = cache.join(format!("debootstrap-{}-{}.log", release.number, arch.debian()));
    let output = fs::File::create(&log)?;
    command.arg(release.suite).arg(&folder).arg(MIRROR);
    run(command.stdout(output.try_clone()?).stderr(output))
        .with_context(|| format!("see {}", log.display()))?;
    if !foreign {
        remove_archives(&folder)?;
    }
    let fresh = root.disk.with_extension("first");
    disk::make(&folder, &fresh, SIZE)?;
    if foreign {
        eprintln!("configuring it in a guest: minutes");
        let report = boot(
            Guest {
                kernel: &root.kernel.image,
                initramfs: &root.initramfs,
                lsm: "landlock",
                memory: MEMORY,
                arch,
                disks: &[Disk {
                    file: &fresh,
                    kept: true,
                }],
                words: "",
                boots: 1,
                limit: SECOND_STAGE,
            },
            show,
        )?;
        if !report.success {
            bail!("the second stage of debootstrap: {}", report.verdict);
        }
    }
    fs::rename(&fresh, &root.disk)?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Removes the packages that were unpacked.
fn remove_archives(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root.join("var/cache/apt/archives"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
