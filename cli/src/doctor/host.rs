//! What the checks see of the host. Everything they learn comes through here, so that a test can be any host.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use super::commands;
use crate::time;

/// Largest file of the host that is read (bytes): a kernel's configuration has 300 KiB.
const MAX_FILE: u64 = 1 << 20;

/// A host as it is looked at.
pub(crate) struct Host {
    /// Where its files begin.
    pub(super) root: PathBuf,
    /// Whose files are the host's own.
    pub(super) superuser: u32,
    /// Who looks.
    pub(super) uid: u32,
    /// Its clock, ns since the Unix epoch.
    pub(super) now_ns: u64,
    /// What system calls tell.
    pub(super) facts: Facts,
    /// What has to be asked as it comes up.
    pub(super) probes: Box<dyn Probes>,
}

/// What only system calls tell of a host.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The kernel's release: `6.8.0-1014-nvidia`.
    pub(super) release: String,
    /// `x86_64`, `aarch64`.
    pub(super) machine: String,
    /// Bytes of a page.
    pub(super) page_size: u64,
    /// Landlock's version; 0 for none.
    pub(super) landlock: i32,
    /// Whether opens can be held.
    pub(super) fanotify: Held,
    /// Whether something keeps the clock right.
    pub(super) clock: Clock,
}

/// Whether this kernel holds opens for somebody who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// It took a mark for it.
    Yes,
    /// It refused one.
    No(String),
    /// Only root may ask.
    NotAsked,
}

/// What the kernel says of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// Something sets it right.
    Synchronised,
    /// Nothing does.
    Free,
    /// It is not told.
    Unknown,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes that an ordinary user can still write.
    pub(super) free: u64,
    /// Bytes in all.
    pub(super) total: u64,
    /// Files that can still be made; `None` where the file system does not count them.
    pub(super) files: Option<u64>,
    /// Whether nothing can be written.
    pub(super) read_only: bool,
}

/// What became of a program that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ran {
    /// It ended.
    Done {
        /// With status 0.
        good: bool,
        /// What it printed.
        out: String,
    },
    /// There is no such program.
    Absent,
    /// It did not end in time.
    Late,
    /// It was not started, for that reason.
    NotStarted(String),
}

/// What is asked as it comes up.
pub(super) trait Probes {
    /// Runs a program that only tells something.
    fn run(&self, program: &Path, arguments: &[&str]) -> Ran;
    /// The room where that folder lies.
    fn space(&self, folder: &Path) -> io::Result<Space>;
}

impl Host {
    /// This host, or the one in a folder: of that only the files are read, and none of its programs is started.
    pub(crate) fn live(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            superuser: 0,
            uid: nix::unistd::geteuid().as_raw(),
            now_ns: time::now_ns(),
            facts: facts(),
            probes: Box::new(Live {
                starts: root == Path::new("/"),
            }),
        }
    }

    /// Whether root looks.
    pub(super) fn is_root(&self) -> bool {
        self.uid == self.superuser
    }

    /// A path of the host.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of one of the host's own files.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let bytes = self.read_bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The bytes of one of the host's own files, up to a bound.
    pub(super) fn read_bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = open(&self.path(path))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What to type for what only root may look at.
    pub(super) fn as_root(&self) -> &'static str {
        "sudo defenseclaw-cli doctor"
    }
}

/// Opens a file without waiting for whoever holds its other end.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"))
    }
}

struct Live {
    starts: bool,
}

impl Probes for Live {
    fn run(&self, program: &Path, arguments: &[&str]) -> Ran {
        if self.starts {
            commands::run(program, arguments)
        } else {
            Ran::NotStarted("nothing is started on a host in a folder".to_owned())
        }
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let found = nix::sys::statvfs::statvfs(folder)?;
        let block = found.fragment_size();
        let counted = found.files() > 0;
        Ok(Space {
            free: found.blocks_available().saturating_mul(block),
            total: found.blocks().saturating_mul(block),
            files: counted.then(|| found.files_available()),
            read_only: found.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
        })
    }
}

fn facts() -> Facts {
    let (release, machine) = match nix::sys::utsname::uname() {
        Ok(name) => (
            name.release().to_string_lossy().into_owned(),
            name.machine().to_string_lossy().into_owned(),
        ),
        Err(_) => ("unknown".to_owned(), std::env::consts::ARCH.to_owned()),
    };
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten();
    Facts {
        release,
        machine,
        page_size: page.and_then(|page| u64::try_from(page).ok()).unwrap_or(0),
        landlock: defenseclaw_sandbox::host::landlock_abi(),
        fanotify: held(),
        clock: clock(),
    }
}

/// Marks a file of our own as one whose opens wait. Nobody else knows that file, so nobody waits.
fn held() -> Held {
    if !nix::unistd::geteuid().is_root() {
        return Held::NotAsked;
    }
    let Ok(file) = tempfile::NamedTempFile::new() else {
        return Held::NotAsked;
    };
    let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
    let marked = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC).and_then(|fan| {
        fan.mark(
            MarkFlags::FAN_MARK_ADD,
            MaskFlags::FAN_OPEN_PERM,
            nix::fcntl::AT_FDCWD,
            Some(file.path()),
        )
    });
    match marked {
        Ok(()) => Held::Yes,
        Err(error) => Held::No(error.to_string()),
    }
}

fn clock() -> Clock {
    // SAFETY: the structure holds numbers only, for which zero is a value; with no mode set the kernel changes nothing.
    let mut state: nix::libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to that structure, which lives until the call is over.
    let answer = unsafe { nix::libc::adjtimex(&mut state) };
    match answer {
        -1 => Clock::Unknown,
        nix::libc::TIME_ERROR => Clock::Free,
        _ if state.status & nix::libc::STA_UNSYNC != 0 => Clock::Free,
        _ => Clock::Synchronised,
    }
}
