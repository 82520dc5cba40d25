//! The connection to the gateway: frames out and in, without ever blocking the agent.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use defenseclaw_model::wire::{MAX_FRAME, ToAgent, ToGateway};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Most bytes that wait for a gateway that does not read; beyond that the connection is given up.
const MAX_UNSENT: usize = 2 * MAX_FRAME;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket could not be used.
    #[error("gateway socket {path}: {error}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Whoever listens is not the gateway.
    #[error("gateway socket {path}: {reason}")]
    Untrusted {
        /// The socket.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The gateway sent what the agent does not understand.
    #[error("gateway: {0}")]
    Protocol(String),
    /// The gateway closed the connection.
    #[error("the gateway closed the connection")]
    Closed,
}

/// One connection.
pub struct Link {
    stream: UnixStream,
    path: PathBuf,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

impl Link {
    /// Connects to the gateway's agent socket and makes sure that it is the gateway.
    pub fn connect(path: &Path) -> Result<Self, LinkError> {
        let io = |error| LinkError::Io {
            path: path.to_owned(),
            error,
        };
        let stream = UnixStream::connect(path).map_err(io)?;
        check_peer(&stream, path)?;
        stream.set_nonblocking(true).map_err(io)?;
        Ok(Self {
            stream,
            path: path.to_owned(),
            received: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// The descriptor to wait on.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether bytes wait to be sent.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Queues a frame and sends what the socket takes.
    pub fn send(&mut self, frame: &ToGateway) -> Result<(), LinkError> {
        let body = serde_json::to_vec(frame).map_err(|error| LinkError::Protocol(error.to_string()))?;
        if body.len() > MAX_FRAME {
            return Err(LinkError::Protocol(format!(
                "a frame of {} bytes is over the limit of {MAX_FRAME}",
                body.len()
            )));
        }
        self.unsent.extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.unsent.extend_from_slice(&body);
        self.flush()
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) -> Result<(), LinkError> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(LinkError::Io {
                        path: self.path.clone(),
                        error,
                    });
                }
            }
        }
        self.unsent.drain(..sent);
        if self.unsent.len() > MAX_UNSENT {
            return Err(LinkError::Protocol(format!(
                "the gateway does not read: {} bytes wait",
                self.unsent.len()
            )));
        }
        Ok(())
    }

    /// The frames that have arrived.
    pub fn receive(&mut self) -> Result<Vec<ToAgent>, LinkError> {
        let mut chunk = [0u8; 64 << 10];
        let mut closed = false;
        // One turn takes at most one frame's worth, so that a talkative gateway cannot keep the rings waiting.
        while self.received.len() <= MAX_FRAME {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    closed = true;
                    break;
                }
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(LinkError::Io {
                        path: self.path.clone(),
                        error,
                    });
                }
            }
        }
        let (frames, used) = split(&self.received)?;
        self.received.drain(..used);
        if closed && frames.is_empty() {
            return Err(LinkError::Closed);
        }
        Ok(frames)
    }
}

/// The socket's folder must belong to the one who listens, and nobody else may write to it: else another user could have
/// put a socket of their own there.
fn check_peer(stream: &UnixStream, path: &Path) -> Result<(), LinkError> {
    let untrusted = |reason: String| LinkError::Untrusted {
        path: path.to_owned(),
        reason,
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let meta = folder.metadata().map_err(|error| LinkError::Io {
        path: folder.to_owned(),
        error,
    })?;
    if meta.mode() & 0o022 != 0 {
        return Err(untrusted(format!(
            "others may write to its folder {} (mode {:o}); make it 0755 and owned by the gateway's user",
            folder.display(),
            meta.mode() & 0o7777
        )));
    }
    let peer = getsockopt(stream, PeerCredentials).map_err(|error| LinkError::Io {
        path: path.to_owned(),
        error: error.into(),
    })?;
    if peer.uid() != 0 && peer.uid() != meta.uid() {
        return Err(untrusted(format!(
            "uid {} listens there, but its folder belongs to uid {}",
            peer.uid(),
            meta.uid()
        )));
    }
    Ok(())
}

/// Splits bytes into frames; returns them and how many bytes they took.
fn split(bytes: &[u8]) -> Result<(Vec<ToAgent>, usize), LinkError> {
    let mut frames = Vec::new();
    let mut used = 0;
    while let Some(head) = bytes.get(used..used + 4) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > MAX_FRAME {
            return Err(LinkError::Protocol(format!(
                "a frame of {length} bytes is over the limit of {MAX_FRAME}"
            )));
        }
        let Some(body) = bytes.get(used + 4..used + 4 + length) else {
            break;
        };
        let frame = serde_json::from_slice(body)
            .map_err(|error| LinkError::Protocol(format!("a frame cannot be read: {error}")))?;
        frames.push(frame);
        used += 4 + length;
    }
    Ok((frames, used))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(frame: &ToAgent) -> Vec<u8> {
        let body = serde_json::to_vec(frame).unwrap();
        let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn frames_are_split_wherever_the_bytes_are_cut() {
        let frames = [ToAgent::Ack { batch: 1 }, ToAgent::Ack { batch: 2 }];
        let bytes: Vec<u8> = frames.iter().flat_map(framed).collect();
        for cut in 0..=bytes.len() {
            let (first, used) = split(&bytes[..cut]).unwrap();
            let (second, _) = split(&bytes[used..]).unwrap();
            assert_eq!([first, second].concat(), frames);
        }
    }

    #[test]
    fn a_socket_in_a_folder_that_others_may_write_to_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway-agent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mode =
            |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o755);
        assert!(Link::connect(&path).is_ok());
        mode(0o777);
        assert!(matches!(Link::connect(&path), Err(LinkError::Untrusted { .. })));
    }

    #[test]
    fn a_gateway_that_closes_is_noticed_after_its_last_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut link = Link::connect(&path).unwrap();
        let (mut gateway, _) = listener.accept().unwrap();
        gateway.write_all(&framed(&ToAgent::Ack { batch: 3 })).unwrap();
        drop(gateway);
        assert_eq!(link.receive().unwrap(), [ToAgent::Ack { batch: 3 }]);
        assert!(matches!(link.receive(), Err(LinkError::Closed)));
    }

    #[test]
    fn an_oversized_or_unknown_frame_is_refused() {
        assert!(matches!(
            split(&u32::MAX.to_le_bytes()),
            Err(LinkError::Protocol(_))
        ));
        assert!(matches!(split(b"\x02\0\0\0{}"), Err(LinkError::Protocol(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_splitter_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&bytes);
        }
    }
}
