//! What the supervisor asks, and whom: the profile by [`Judge`], a person by [`People`].

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::sys::Errno;

/// What an open wants to do to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// The content is read, or the folder listed.
    pub read: bool,
    /// The content is written, appended to or truncated.
    pub write: bool,
    /// The name does not exist yet and would be created (`O_TMPFILE` too: then the path is the folder's).
    pub create: bool,
}

impl Access {
    /// Reads only.
    pub const READ: Self = Self {
        read: true,
        write: false,
        create: false,
    };
    /// Writes only, to something that exists.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
        create: false,
    };
}

impl Access {
    /// Whether a yes to this is a yes to `wanted` too: who may create a file may also read and write it.
    fn covers(self, wanted: Self) -> bool {
        self.create || (!wanted.create && self.read >= wanted.read && self.write >= wanted.write)
    }

    /// All there are.
    fn all() -> impl Iterator<Item = Self> {
        (0..8u8).map(|bits| Self {
            read: bits & 1 != 0,
            write: bits & 2 != 0,
            create: bits & 4 != 0,
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.read, self.write, self.create) {
            (_, _, true) => "create",
            (true, true, _) => "read and write",
            (_, true, _) => "write",
            _ => "read",
        })
    }
}

/// One open. What is judged is the object, not the text: the path has no symbolic link in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// Process (thread group) that opens.
    pub pid: i32,
    /// Where the opened object lies, as the kernel names it, in the target's mount namespace.
    pub path: PathBuf,
    /// What the open wants.
    pub access: Access,
    /// The object is a folder.
    pub folder: bool,
    /// The object has lost its name (a file that was removed while open); `path` is where it was.
    pub removed: bool,
    /// The path as the program gave it.
    pub given: PathBuf,
}

/// Where a connection or a datagram goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP, UDP and other IP; an IPv4 address inside IPv6 is given as IPv4.
    Ip(SocketAddr),
    /// A socket in the file system: where it lies, without symbolic links.
    UnixPath(PathBuf),
    /// A Linux abstract socket's name.
    UnixAbstract(Vec<u8>),
    /// Any other address family, by number; such an address can be refused or allowed, not told apart.
    Other(u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::UnixPath(path) => write!(f, "unix:{}", path.display()),
            Self::UnixAbstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Self::Other(family) => write!(f, "an address of family {family}"),
        }
    }
}

/// What a socket is: `socket(2)`'s words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP and Unix streams.
    Stream,
    /// UDP and Unix datagrams.
    Datagram,
    /// Anything else, by its `SOCK_` number.
    Other(i32),
}

/// One connect, or one message with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Process (thread group) that connects.
    pub pid: i32,
    /// Where to.
    pub address: Address,
    /// What kind of socket.
    pub transport: Transport,
    /// Device and number of the socket in the file system, which may have other names.
    pub object: Option<(u64, u64)>,
}

/// What the profile says about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The supervisor does it.
    Allow,
    /// The call fails with this errno; `EACCES` is what Landlock would have given.
    Deny(Errno),
    /// A person decides. The text says why it needs asking.
    Ask(String),
}

impl Verdict {
    /// The refusal that Landlock gives.
    pub const REFUSED: Self = Self::Deny(Errno::EACCES);
}

/// The profile. Called on several threads at once, for every open: it has to be quick, and it must not block.
pub trait Judge: Send + Sync {
    /// An open. Not called for `O_PATH` (such a handle neither reads nor writes; Landlock lets it pass too) and not
    /// for what has no place in a file system (pipes, sockets, memory files) and is reached by `/proc/self/fd`.
    fn open(&self, request: &OpenRequest) -> Verdict;
    /// A connect, or a message with an address.
    fn connect(&self, request: &ConnectRequest) -> Verdict;
}

/// What a question is about: also the key by which an answer is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// An open.
    Open {
        /// The object.
        path: PathBuf,
        /// What the open wants.
        access: Access,
    },
    /// A connect.
    Connect {
        /// Where to.
        address: Address,
        /// What kind of socket.
        transport: Transport,
    },
}

impl Action {
    /// What has been answered about this, itself or by implication: a yes to more is a yes, a no to less is a no.
    pub(super) fn answered(&self, answers: &HashMap<Self, bool>) -> Option<bool> {
        let exactly = answers.get(self).copied();
        let Self::Open { path, access } = self else {
            return exactly;
        };
        exactly.or_else(|| {
            Access::all().find_map(|other| {
                let answer = *answers.get(&Self::Open {
                    path: path.clone(),
                    access: other,
                })?;
                let implied = if answer {
                    other.covers(*access)
                } else {
                    access.covers(other)
                };
                implied.then_some(answer)
            })
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, access } => write!(f, "{access} {}", path.display()),
            Self::Connect { address, .. } => write!(f, "connect to {address}"),
        }
    }
}

/// What a person is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Process that waits for the answer.
    pub pid: i32,
    /// Its executable, where it could be read.
    pub program: Option<PathBuf>,
    /// What it wants to do.
    pub action: Action,
    /// Why the profile asks.
    pub reason: String,
    pub(super) withdrawn: Arc<AtomicBool>,
}

impl Question {
    /// The process is gone, or the time is over: nobody waits for the answer any more.
    pub fn withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This once.
    Once,
    /// This action, for as long as this supervisor lives.
    ForRun,
    /// No; the same action is not asked about again in this run.
    Deny,
    /// Nobody answered, or the question could not be put: refused, and asked again the next time.
    Nobody,
}

/// Puts questions to a person. Called on a thread of its own for each question, at most
/// [`MAX_QUESTIONS`](super::MAX_QUESTIONS) at once.
///
/// An answer that comes after `deadline` counts for nothing: the call has been refused by then.
pub trait People: Send + Sync {
    /// Asks and waits, until `deadline` or until the question is withdrawn.
    fn ask(&self, question: &Question, deadline: Instant) -> Answer;
}

/// Nobody is there to be asked: every question is refused at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeople;

impl People for NoPeople {
    fn ask(&self, _: &Question, _: Instant) -> Answer {
        Answer::Nobody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_cover_what_they_imply() {
        let open = |read, write, create| Action::Open {
            path: "/x".into(),
            access: Access { read, write, create },
        };
        let yes = HashMap::from([(open(true, true, false), true)]);
        assert_eq!(open(true, false, false).answered(&yes), Some(true));
        assert_eq!(
            open(false, true, true).answered(&yes),
            None,
            "writing is not creating"
        );
        let made = HashMap::from([(open(false, true, true), true)]);
        assert_eq!(open(true, false, false).answered(&made), Some(true));
        let no = HashMap::from([(open(false, true, false), false)]);
        assert_eq!(open(true, true, false).answered(&no), Some(false));
        assert_eq!(open(true, false, false).answered(&no), None);
        let elsewhere = Action::Open {
            path: "/y".into(),
            access: Access::READ,
        };
        assert_eq!(elsewhere.answered(&yes), None);
    }
}
