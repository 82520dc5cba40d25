//! A root file system with nothing in it but a distribution's smallest selection, to install packages in.
//!
//! What runs in it has namespaces of its own: no network but loopback, and mounts that are gone with its last process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::stack::target_folder;

/// The suite, unless `DEFENSECLAW_CLEAN_ROOT` names another one.
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What is in it besides the smallest selection: packages of ours need `systemd-sysusers` and `systemd-tmpfiles`.
const INCLUDED: &str = "systemd";

/// The archive that roots are unpacked from. It is made once, which takes a mirror and a minute.
pub fn ensure() -> Result<PathBuf> {
    let suite = std::env::var("DEFENSECLAW_CLEAN_ROOT").unwrap_or_else(|_| SUITE.to_owned());
    let folder = target_folder().join("roots");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Tests run side by side; one of them makes it.
    let lock = File::create(folder.join(".lock"))?;
    let _alone = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("flock")?;
    let archive = folder.join(format!("{suite}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    let root = tempfile::tempdir_in(&folder)?;
    run(Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={INCLUDED}")])
        .arg(format!("--keyring={KEYRING}"))
        .arg(&suite)
        .arg(root.path())
        .arg(MIRROR))?;
    let fresh = archive.with_extension("new");
    run(Command::new("tar")
        .args([
            "--numeric-owner",
            "--exclude=./var/cache/apt/archives/*.deb",
            "-C",
        ])
        .arg(root.path())
        .arg("-cf")
        .arg(&fresh)
        .arg("."))?;
    fs::rename(&fresh, &archive).with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(archive)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}{}",
            command.get_program().display(),
            tail(&output.stdout),
            tail(&output.stderr)
        );
    }
    Ok(())
}

/// The last lines: the first ones are of what went well.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// One root, which is removed when this is dropped.
pub struct CleanRoot {
    folder: TempDir,
}

/// What a command in a root said.
#[derive(Debug)]
pub struct Said {
    /// Whether its exit status was 0.
    pub ok: bool,
    /// Both of its outputs, one after the other.
    pub text: String,
}

impl CleanRoot {
    /// Unpacks one. APT knows no source in it.
    pub fn unpack() -> Result<Self> {
        let archive = ensure()?;
        // Beside the archive: the usual place for temporary files may allow no devices.
        let folder = tempfile::tempdir_in(archive.parent().unwrap_or(Path::new(".")))?;
        run(Command::new("tar")
            .args(["--numeric-owner", "-C"])
            .arg(folder.path())
            .arg("-xpf")
            .arg(&archive))?;
        let root = Self { folder };
        fs::write(root.path().join("etc/apt/sources.list"), "")?;
        Ok(root)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command in it, as root. To be called from within [`isolated`].
    pub fn run(&self, command: &[&str]) -> Result<Said> {
        let output = Command::new("chroot")
            .arg(self.path())
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/root")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .context("cannot start chroot")?;
        Ok(Said {
            ok: output.status.success(),
            text: format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        })
    }

    /// Every path in it that is not the package manager's own, sorted.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        const OTHERS: [&str; 7] = [
            "dev",
            "sys",
            "proc",
            "var/cache",
            "var/lib/apt",
            "var/lib/dpkg",
            "var/log",
        ];
        let mut found = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let path = entry?.path();
                let name = path.strip_prefix(self.path())?.to_owned();
                if OTHERS.iter().any(|other| name == Path::new(other)) {
                    continue;
                }
                if path.symlink_metadata()?.is_dir() {
                    folders.push(path);
                }
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Does some work with a network that has only loopback, and with `/proc` in that root. Its devices are its own: nothing of this
/// machine lies in it that could be removed together with it. Threads and processes that the
/// work starts are in there, too; nobody else is.
pub fn isolated<T: Send>(root: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Namespaces belong to the thread: the test's other threads stay where they are.
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("unshare")?;
            loopback_up()?;
            let nothing: Option<&str> = None;
            mount(
                nothing,
                "/",
                nothing,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                nothing,
            )
            .context("cannot keep mounts to ourselves")?;
            mount(
                Some("proc"),
                &root.join("proc"),
                Some("proc"),
                MsFlags::empty(),
                nothing,
            )
            .context("cannot mount /proc")?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A new network namespace has a loopback that is down.
fn loopback_up() -> Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::IFF_UP as libc::c_short,
        },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    // SAFETY: the request is whole, names an interface with a zero behind it, and lives for the call, which only reads it.
    let result = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCSIFFLAGS,
            &raw const request,
        )
    };
    nix::errno::Errno::result(result).context("cannot bring loopback up")?;
    Ok(())
}
