//! The two sockets, and loopback where the API is to be there: one gateway for each, and nothing left behind.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tokio::net::{TcpListener, UnixListener};

use crate::error::GatewayError;

/// Longest socket path (bytes): `sun_path` with its final zero is 108.
const MAX_SOCKET_PATH: usize = 107;
/// Anyone may call hooks: who calls is told by the kernel, and calling gives no rights.
pub const FOR_ANYONE: u32 = 0o666;
/// The agent is root.
pub const FOR_THE_AGENT: u32 = 0o600;

/// A socket that this process made. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// Held to the end; its file stays, because removing a locked file lets two processes hold "the" lock.
    _lock: Flock<File>,
}

impl Socket {
    /// Takes the lock beside `path`, removes what an earlier gateway left there, and listens.
    pub fn bind(path: &Path, mode: u32) -> Result<(Self, UnixListener), GatewayError> {
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(GatewayError::SocketPath {
                path: path.to_owned(),
                limit: MAX_SOCKET_PATH,
            });
        }
        let failed = |source| GatewayError::Listen {
            path: path.to_owned(),
            source,
        };
        let lock = lock(path)?;
        match fs::symlink_metadata(path) {
            // Only ever a socket: a mistaken path must not cost somebody a file.
            Ok(meta) if std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) => {
                fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => {
                return Err(failed(std::io::Error::new(
                    ErrorKind::AlreadyExists,
                    "something that is no socket lies there",
                )));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn lock(socket: &Path) -> Result<Flock<File>, GatewayError> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|source| GatewayError::Listen {
            path: path.clone(),
            source,
        })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => GatewayError::Running {
            socket: socket.to_owned(),
            lock: path.clone(),
        },
        errno => GatewayError::Listen {
            path: path.clone(),
            source: errno.into(),
        },
    })
}

/// Listens on loopback TCP. Any other address is refused: the token would travel in the clear.
pub fn loopback(address: std::net::SocketAddr) -> Result<TcpListener, GatewayError> {
    if !address.ip().is_loopback() {
        return Err(GatewayError::NotLoopback { address });
    }
    let failed = |source| GatewayError::Address { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(listener).map_err(failed)
}

/// Makes a folder with its parents, if it is not there.
pub fn make_folder(path: &Path, mode: u32) -> Result<(), GatewayError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| GatewayError::Folder {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<(Socket, UnixListener), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        Socket::bind(path, FOR_ANYONE).map_err(|error| error.to_string())
    }

    #[test]
    fn one_gateway_for_each_socket_and_none_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.sock");
        let (socket, _listener) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert!(
            bind(&path)
                .unwrap_err()
                .contains("another gateway already serves")
        );
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_a_killed_gateway_left_is_replaced_but_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&path).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(bind(&path).unwrap_err().contains("no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_path_that_is_too_long_is_named() {
        let error = bind(&Path::new("/tmp").join("x".repeat(120))).unwrap_err();
        assert!(
            error.contains("125 bytes") && error.contains("at most 107"),
            "{error}"
        );
        assert!(
            bind(Path::new("/nowhere/g.sock"))
                .unwrap_err()
                .contains("cannot listen on /nowhere/g.sock.lock")
        );
    }
}
