//! Attempts that must fail before the command starts.
//!
//! A witness is something that works before the sandbox is closed: a file that opens, a socket that connects. Once the sandbox is closed
//! the same attempt must fail. What never worked proves nothing and is told so.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::signal;
use nix::unistd::{Pid, getppid};

use crate::plan::Plan;
use crate::privileges;
use crate::profile::{Family, NetworkMode, Profile};
use crate::report::{Mechanism, Proof, Report};

/// Which file lies at a path: its device and number.
type Identity = (u64, u64);

/// What worked before.
#[derive(Debug)]
pub struct Witnesses {
    written: Option<PathBuf>,
    read: Option<PathBuf>,
    closed: Option<(PathBuf, Identity)>,
    sealed: Option<PathBuf>,
    reserved: Option<PathBuf>,
    sockets: Vec<(PathBuf, Identity)>,
    tmp: Option<(PathBuf, Identity)>,
    internet: bool,
    /// Listens here, where a profile with named hosts does not reach.
    #[cfg_attr(
        not(feature = "supervise"),
        expect(dead_code, reason = "only a supervisor tells hosts apart")
    )]
    listener: Option<TcpListener>,
    parent: Option<Pid>,
    abstract_socket: Option<UnixListener>,
    keys: bool,
    descriptor: Option<File>,
}

impl Witnesses {
    /// Looks for what works now and must not once `plan` is in force.
    pub fn find(plan: &Plan, profile: &Profile, home: Option<&Path>) -> Self {
        let granted = |path: &Path, roots: &[PathBuf]| roots.iter().any(|root| path.starts_with(root));
        let outside = [
            home.map(Path::to_owned),
            plan.project.parent().map(Path::to_owned),
            Some(PathBuf::from("/dev/shm")),
            Some(PathBuf::from("/var/tmp")),
            Some(PathBuf::from("/tmp")),
            Some(PathBuf::from("/")),
        ];
        let written = outside
            .into_iter()
            .flatten()
            .filter(|folder| !granted(folder, &plan.write) && !granted(folder, &plan.private_tmp))
            .find(|folder| makes_unnamed(folder));
        let read = ["/var", "/home", "/srv", "/mnt", "/root", "/boot"]
            .iter()
            .map(PathBuf::from)
            .chain(home.map(Path::to_owned))
            .find(|path| !granted(path, &plan.read) && opens(path).is_some());
        let closed = plan
            .closed
            .iter()
            .find_map(|path| Some((path.clone(), opens(path)?)));
        let sealed = plan.sealed.iter().find(|path| can_be_written(path)).cloned();
        let identity = |path: &PathBuf| {
            let meta = fs::symlink_metadata(path).ok()?;
            Some((path.clone(), (meta.dev(), meta.ino())))
        };
        Self {
            written,
            read,
            closed,
            sealed,
            reserved: plan.reserved.first().cloned(),
            sockets: plan.sockets.iter().filter_map(identity).collect(),
            tmp: plan.private_tmp.first().and_then(identity),
            internet: profile.network.mode != NetworkMode::Full && has_internet(),
            listener: (profile.network.mode == NetworkMode::Allowlist)
                .then(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok())
                .flatten()
                .filter(reaches),
            parent: Some(getppid()).filter(|parent| signal::kill(*parent, None).is_ok()),
            abstract_socket: listener().filter(connects),
            keys: adds_key() != Some(libc::EPERM),
            descriptor: File::open("/").ok(),
        }
    }

    /// What only a supervisor refuses, once it is there.
    #[cfg(feature = "supervise")]
    pub fn test_supervised(&self, report: &mut Report) {
        if let Some(listener) = &self.listener
            && reaches(listener)
        {
            report.proven(Family::Network, Proof::Failed);
        }
    }

    /// Makes every attempt that worked again, and notes in `report` what failed as it must, and what got through.
    /// `gone`: what went away before it could be covered; it may have come back since, as any socket may come later.
    pub fn test(&self, report: &mut Report, namespace: bool, gone: &[PathBuf]) {
        let verdict = |works: Option<bool>| match works {
            Some(false) => Proof::Proven,
            Some(true) => Proof::Failed,
            None => Proof::NoWitness,
        };
        let same = |known: &(PathBuf, Identity)| opens(&known.0) == Some(known.1);
        // Whoever removes a covered socket takes the cover away first, and its name only a moment later; it has no link then.
        let there = |known: &(PathBuf, Identity)| {
            fs::symlink_metadata(&known.0)
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == known.1 && meta.nlink() > 0)
        };
        let mut results = vec![
            (Family::FileWrites, self.written.as_deref().map(makes_unnamed)),
            (
                Family::FileReads,
                self.read.as_deref().map(|path| opens(path).is_some()),
            ),
            (Family::ClosedFiles, self.closed.as_ref().map(same)),
            (Family::Network, self.internet.then(has_internet)),
            (
                Family::AbstractSockets,
                self.abstract_socket.as_ref().map(connects),
            ),
            (
                Family::Signals,
                self.parent.map(|parent| signal::kill(parent, None).is_ok()),
            ),
            (
                Family::SystemCalls,
                self.keys.then(|| adds_key() != Some(libc::EPERM)),
            ),
            (Family::NewPrivileges, Some(!privileges::has_no_new_privileges())),
            (
                Family::Descriptors,
                self.descriptor
                    .as_ref()
                    .map(|file| !privileges::closes(file.as_raw_fd())),
            ),
            (
                Family::Capabilities,
                privileges::capabilities()
                    .ok()
                    .map(|now| !privileges::within_kept(now)),
            ),
            (Family::PrivateTmp, self.tmp.as_ref().map(there)),
        ];
        let sealed = self.sealed.as_deref().map(can_be_written);
        let reserved = self.reserved.as_deref().map(can_be_written);
        let either = match (sealed, reserved) {
            (Some(a), Some(b)) => Some(a || b),
            (a, b) => a.or(b),
        };
        results.push((Family::SealedFiles, either));
        // By Landlock, a socket stays in sight and refuses the connection; nobody listens on behalf of a canary there.
        if namespace {
            // One that is made anew meanwhile, outside, loses its cover and may get its old number: only all of them say something.
            let mut sockets = self
                .sockets
                .iter()
                .filter(|(path, _)| !gone.contains(path))
                .map(there)
                .peekable();
            let known = sockets.peek().is_some();
            results.push((Family::UnixSockets, known.then(|| sockets.all(|still| still))));
        }
        for (family, works) in results {
            let bounded = report
                .of(family)
                .is_some_and(|protection| !matches!(protection.by, Mechanism::Open | Mechanism::Missing));
            if bounded {
                report.proven(family, verdict(works));
            }
        }
    }
}

fn reaches(listener: &TcpListener) -> bool {
    listener
        .local_addr()
        .is_ok_and(|address| TcpStream::connect(address).is_ok())
}

/// Whether a file without a name can be made in `folder`: nothing of it stays.
fn makes_unnamed(folder: &Path) -> bool {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .mode(0o600)
        .open(folder)
        .is_ok()
}

fn opens(path: &Path) -> Option<Identity> {
    let meta = OpenOptions::new()
        .read(true)
        // Never wait for a FIFO's other end.
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .ok()?
        .metadata()
        .ok()?;
    Some((meta.dev(), meta.ino()))
}

fn can_be_written(path: &Path) -> bool {
    if path.is_dir() {
        return makes_unnamed(path);
    }
    OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .is_ok()
}

fn has_internet() -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_ok()
}

/// A socket without a path, that is not of the sandbox: it was made before.
fn listener() -> Option<UnixListener> {
    let name = format!("defenseclaw-canary-{}", std::process::id());
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()
}

fn connects(listener: &UnixListener) -> bool {
    listener
        .local_addr()
        .is_ok_and(|address| UnixStream::connect_addr(&address).is_ok())
}

/// The error with which the kernel refuses a key without a name: EFAULT, and EPERM where it never gets to see it.
fn adds_key() -> Option<i32> {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: null pointers are what this is about: the kernel reads none of them and answers EFAULT.
    let result = unsafe { libc::syscall(libc::SYS_add_key, null, null, null, 0_usize, 0) };
    (result < 0)
        .then(|| std::io::Error::last_os_error().raw_os_error())
        .flatten()
}
