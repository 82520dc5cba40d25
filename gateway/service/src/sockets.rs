//! `sd_listen_fds(3)`: listening sockets that the service manager holds, so that who connects while the daemon restarts waits
//! instead of being refused.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// Most descriptors; a daemon of ours takes three.
const MOST: RawFd = 16;

/// Why a socket of the service manager's is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The variables do not fit each other.
    #[error(
        "the service manager's sockets: {0}. Start the service with its socket units as they were installed"
    )]
    Environment(String),
    /// The socket is another one than the daemon needs.
    #[error("the service manager's socket {name:?} {why}. {remedy}")]
    Wrong {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: String,
    },
}

/// A descriptor from the service manager.
#[derive(Debug)]
pub struct Passed {
    /// What its unit calls it (`FileDescriptorName=`).
    pub name: String,
    descriptor: OwnedFd,
}

/// Takes what the service manager handed to this process; call it once, before anything is opened.
pub fn take() -> Result<Vec<Passed>, SocketsError> {
    let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(std::env::var_os);
    let names = parse(variables, std::process::id())?;
    let take = |(number, name): (RawFd, String)| {
        // SAFETY: asks about a number; one that is not open gives an error.
        let open = fcntl(
            unsafe { std::os::fd::BorrowedFd::borrow_raw(number) },
            FcntlArg::F_GETFD,
        );
        open.map_err(|_| {
            wrong(
                &name,
                "is not open",
                "Report this: it is the service manager's promise",
            )
        })?;
        // SAFETY: the manager opened it for this process, `LISTEN_PID` names this process, and this is called once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        // Programs that this one starts have no use for it. It fails on no open descriptor.
        let _ = fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        Ok(Passed { name, descriptor })
    };
    (FIRST..).zip(names).map(take).collect()
}

/// The names of what was handed over.
fn parse(variables: [Option<OsString>; 3], own: u32) -> Result<Vec<String>, SocketsError> {
    let refuse = |why: String| Err(SocketsError::Environment(why));
    let [pid, count, names] = variables.map(|value| value.map(|value| value.to_string_lossy().into_owned()));
    // Meant for the process that it names, not for one that it started.
    if pid.as_deref().and_then(|pid| pid.parse().ok()) != Some(own) {
        return Ok(Vec::new());
    }
    let count = count.unwrap_or_default();
    let Some(count) = count
        .parse()
        .ok()
        .filter(|count: &RawFd| (0..=MOST).contains(count))
    else {
        return refuse(format!(
            "LISTEN_FDS is {count:?}, which is no number from 0 to {MOST}"
        ));
    };
    if count == 0 {
        return Ok(Vec::new());
    }
    let names: Vec<String> = names.unwrap_or_default().split(':').map(str::to_owned).collect();
    if names.len() != count as usize {
        return refuse(format!(
            "LISTEN_FDNAMES names {} sockets, and LISTEN_FDS is {count}",
            names.len()
        ));
    }
    Ok(names)
}

fn wrong(name: &str, why: impl Into<String>, remedy: impl Into<String>) -> SocketsError {
    SocketsError::Wrong {
        name: name.to_owned(),
        why: why.into(),
        remedy: remedy.into(),
    }
}

/// Who may connect to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Every user.
    Anyone,
    /// Its owner and root alone.
    TheOwner,
}

impl Passed {
    /// A stream socket that listens at `path`, in a folder that nobody else may write.
    pub fn unix(self, path: &Path, whose: For) -> Result<UnixListener, SocketsError> {
        self.stream()?;
        let listener = UnixListener::from(self.descriptor);
        let unit = "Make ListenStream= of its unit and `socket` in the configuration the same";
        let address = listener.local_addr();
        let found = address.as_ref().ok().and_then(|address| address.as_pathname());
        if found != Some(path) {
            let found = found.map_or_else(|| "no path".to_owned(), |found| found.display().to_string());
            let why = format!("listens at {found}, and this daemon's is {}", path.display());
            return Err(wrong(&self.name, why, unit));
        }
        check_file(&self.name, path, whose)?;
        nonblocking(&self.name, listener.set_nonblocking(true))?;
        Ok(listener)
    }

    /// A stream socket that listens on loopback.
    pub fn loopback(self) -> Result<(TcpListener, SocketAddr), SocketsError> {
        self.stream()?;
        let listener = TcpListener::from(self.descriptor);
        let address = listener.local_addr();
        let Some(address) = address.as_ref().ok().filter(|address| address.ip().is_loopback()) else {
            let why = match address {
                Ok(address) => format!("listens on {address}, which is not loopback"),
                Err(error) => format!("is no TCP socket ({error})"),
            };
            let remedy = "The API's token travels in the clear: set ListenStream=127.0.0.1:PORT in its unit";
            return Err(wrong(&self.name, why, remedy));
        };
        let address = *address;
        nonblocking(&self.name, listener.set_nonblocking(true))?;
        Ok((listener, address))
    }

    /// Whether it is a stream socket that listens.
    fn stream(&self) -> Result<(), SocketsError> {
        let remedy = "Its unit needs ListenStream= and no Accept=yes";
        let descriptor = self.descriptor.as_fd();
        match getsockopt(&descriptor, sockopt::SockType) {
            Ok(SockType::Stream) => {}
            Ok(kind) => {
                return Err(wrong(
                    &self.name,
                    format!("is of type {kind:?}, not a stream"),
                    remedy,
                ));
            }
            Err(_) => return Err(wrong(&self.name, "is no socket", remedy)),
        }
        match getsockopt(&descriptor, sockopt::AcceptConn) {
            Ok(true) => Ok(()),
            _ => Err(wrong(&self.name, "does not listen", remedy)),
        }
    }
}

fn nonblocking(name: &str, outcome: std::io::Result<()>) -> Result<(), SocketsError> {
    outcome.map_err(|error| {
        wrong(
            name,
            format!("cannot be used: {error}"),
            "Start the service again",
        )
    })
}

/// Whose the file is, who may connect, and who could put another in its place.
fn check_file(name: &str, path: &Path, whose: For) -> Result<(), SocketsError> {
    let cannot = |path: &Path, error| {
        let why = format!("cannot be found at {}: {error}", path.display());
        wrong(name, why, "Restart its socket unit")
    };
    let meta = path.symlink_metadata().map_err(|error| cannot(path, error))?;
    let own = nix::unistd::geteuid().as_raw();
    let trusted = |uid: u32| uid == 0 || uid == own;
    if !meta.file_type().is_socket() || !trusted(meta.uid()) {
        let why = format!("has lost its file: what lies at {} is another's", path.display());
        return Err(wrong(
            name,
            why,
            "Find out who put it there, then restart its socket unit",
        ));
    }
    let mode = meta.mode() & 0o777;
    if whose == For::TheOwner && mode & 0o077 != 0 {
        let why = format!("has mode {mode:04o}, so that others may connect to it");
        return Err(wrong(name, why, "Set SocketMode=0600 in its unit"));
    }
    if whose == For::Anyone && mode & 0o222 != 0o222 {
        tracing::warn!(
            "{} has mode {mode:04o}: users who may not write it cannot ask, and their agents get the fail mode's answer",
            path.display()
        );
    }
    let folder = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let meta = folder.metadata().map_err(|error| cannot(&folder, error))?;
    if !trusted(meta.uid()) || meta.mode() & 0o022 != 0 {
        let why = format!(
            "lies in {}, where user {} or others may put one in its place (mode {:04o})",
            folder.display(),
            meta.uid(),
            meta.mode() & 0o7777
        );
        return Err(wrong(name, why, "Make that folder root's, mode 0755"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn parsed(pid: &str, count: &str, names: &str) -> Result<Vec<String>, String> {
        let value = |text: &str| (!text.is_empty()).then(|| text.into());
        parse([value(pid), value(count), value(names)], 77).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_meant_for_another_process_is_not_taken() {
        assert_eq!(parsed("77", "2", "gateway:agent").unwrap(), ["gateway", "agent"]);
        for (pid, count, names) in [
            ("", "2", "a:b"),
            ("78", "2", "a:b"),
            ("x", "2", "a:b"),
            ("77", "0", ""),
        ] {
            assert_eq!(
                parsed(pid, count, names).unwrap(),
                [""; 0],
                "{pid} {count} {names}"
            );
        }
    }

    #[test]
    fn variables_that_do_not_fit_are_refused() {
        for (count, names) in [
            ("2", "a"),
            ("1", "a:b"),
            ("-1", ""),
            ("17", ""),
            ("many", ""),
            ("", ""),
        ] {
            let error = parsed("77", count, names).unwrap_err();
            assert!(error.contains("LISTEN_FD"), "{count} {names}: {error}");
        }
    }

    fn passed(descriptor: impl Into<OwnedFd>) -> Passed {
        Passed {
            name: "gateway".into(),
            descriptor: descriptor.into(),
        }
    }

    fn refused(passed: Passed, path: &Path, whose: For) -> String {
        passed.unix(path, whose).unwrap_err().to_string()
    }

    /// A listener in a folder of mode 0755.
    fn place() -> (tempfile::TempDir, PathBuf, UnixListener) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("g.sock");
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        (folder, path, listener)
    }

    #[test]
    fn only_the_socket_that_is_named_is_taken() {
        let (folder, path, listener) = place();
        let another = |descriptor: &UnixListener| passed(descriptor.try_clone().unwrap());
        another(&listener).unix(&path, For::Anyone).unwrap();
        let elsewhere = folder.path().join("other.sock");
        let error = refused(another(&listener), &elsewhere, For::Anyone);
        assert!(
            error.contains("g.sock") && error.contains("other.sock"),
            "{error}"
        );
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(refused(passed(one), &path, For::Anyone).contains("does not listen"));
        let datagrams = UnixDatagram::unbound().unwrap();
        assert!(refused(passed(datagrams), &path, For::Anyone).contains("Datagram"));
        let file = fs::File::open("/dev/null").unwrap();
        assert!(refused(passed(file), &path, For::Anyone).contains("no socket"));
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(refused(passed(tcp), &path, For::Anyone).contains("no path"));
    }

    #[test]
    fn the_file_s_mode_and_its_folder_s_count() {
        let (folder, path, listener) = place();
        let again = || passed(listener.try_clone().unwrap());
        assert!(refused(again(), &path, For::TheOwner).contains("SocketMode=0600"));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        again().unix(&path, For::TheOwner).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(refused(again(), &path, For::TheOwner).contains("mode 0777"));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(refused(again(), &path, For::TheOwner).contains("lost its file"));
    }

    #[test]
    fn tcp_is_taken_on_loopback_alone() {
        let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
        let expected = loopback.local_addr().unwrap();
        assert_eq!(passed(loopback).loopback().unwrap().1, expected);
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let error = passed(everywhere).loopback().unwrap_err().to_string();
        assert!(error.contains("not loopback"), "{error}");
        let (_folder, _path, unix) = place();
        let error = passed(unix).loopback().unwrap_err().to_string();
        assert!(error.contains("no TCP socket"), "{error}");
    }
}
