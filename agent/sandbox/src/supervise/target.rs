//! The thread whose call is held: its memory, its view of the file system, and whose rights it has.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::MAX_PATH;
use super::sys::{self, Errno};

/// Rights that the kernel looks at when files are opened and sockets connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// The user and group that file permissions are checked for.
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

/// What `/proc/TID/status` says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) tgid: i32,
    pub(super) parent: i32,
    pub(super) umask: u32,
    pub(super) credentials: Credentials,
    /// The process has another number in its own pid namespace than here.
    pub(super) nested: bool,
}

impl Status {
    /// The user that file permissions are checked for.
    pub(super) fn fs_uid(&self) -> u32 {
        self.credentials.uid
    }

    /// Of a process or thread; None where it is gone or the text is not what the kernel writes.
    pub(super) fn of(process: &str) -> Option<Self> {
        let mut file = std::fs::File::open(format!("/proc/{process}/status")).ok()?;
        // The kernel makes the whole text at the first read, and it is shorter than this but for very many groups.
        let mut buf = [0u8; 4096];
        let first = file.read(&mut buf).ok()?;
        if first < buf.len() {
            // A name that was cut in the middle of a character is no reason to know nothing.
            return Self::parse(&String::from_utf8_lossy(&buf[..first]));
        }
        let mut text = buf.to_vec();
        file.read_to_end(&mut text).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut tgid, mut parent, mut umask) = (None, None, None);
        let (mut uid, mut gid, mut groups, mut capabilities) = (None, None, None, None);
        let mut nested = false;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name {
                "Tgid" => tgid = value.parse().ok(),
                "PPid" => parent = value.parse().ok(),
                "Umask" => umask = u32::from_str_radix(value, 8).ok(),
                // Real, effective, saved, file system.
                "Uid" => uid = value.split_whitespace().nth(3).and_then(|id| id.parse().ok()),
                "Gid" => gid = value.split_whitespace().nth(3).and_then(|id| id.parse().ok()),
                "Groups" => {
                    groups = value
                        .split_whitespace()
                        .map(|id| id.parse().ok())
                        .collect::<Option<Vec<u32>>>();
                }
                "CapEff" => capabilities = u64::from_str_radix(value, 16).ok(),
                "NSpid" => nested = value.split_whitespace().count() > 1,
                _ => {}
            }
        }
        let mut groups = groups?;
        groups.sort_unstable();
        Some(Self {
            tgid: tgid?,
            parent: parent?,
            umask: umask?,
            credentials: Credentials {
                uid: uid?,
                gid: gid?,
                groups,
                capabilities: capabilities?,
            },
            nested,
        })
    }
}

/// The supervisor's own rights, taken once when it starts.
#[derive(Debug)]
pub(super) struct OwnRights {
    credentials: Credentials,
    user_namespace: Option<std::path::PathBuf>,
}

impl OwnRights {
    pub(super) fn now() -> Option<Self> {
        Some(Self {
            credentials: Status::of("thread-self")?.credentials,
            user_namespace: std::fs::read_link("/proc/thread-self/ns/user").ok(),
        })
    }

    /// Whether whatever this process may do, that thread may do too. If not, doing something for it would lend it a
    /// right: it may have changed its user, or given up capabilities.
    pub(super) fn within(&self, tid: i32, theirs: &Credentials) -> bool {
        let own = &self.credentials;
        if (own.uid, own.gid) != (theirs.uid, theirs.gid) || own.groups != theirs.groups {
            return false;
        }
        if own.capabilities == 0 {
            return true;
        }
        // In a user namespace of its own a process shows every capability, and has none of them out here.
        let same_namespace = self.user_namespace.is_some()
            && std::fs::read_link(format!("/proc/{tid}/ns/user")).ok() == self.user_namespace;
        same_namespace && own.capabilities & !theirs.capabilities == 0
    }
}

/// The held thread, with handles that stay its own when its number is given to another.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: u64,
    pub(super) tid: i32,
    pub(super) status: Status,
    root: OwnedFd,
}

impl Target {
    /// Takes hold of the thread. The caller checks afterwards that the call is still held.
    pub(super) fn take(id: u64, tid: i32, own: &OwnRights) -> Result<Self, Errno> {
        // 0: the thread lives in a pid namespace that this process cannot see.
        if tid <= 0 {
            return Err(Errno::EPERM);
        }
        let status = Status::of(&tid.to_string()).ok_or(Errno::EPERM)?;
        if !own.within(tid, &status.credentials) {
            return Err(Errno::EPERM);
        }
        let root = open_handle(&format!("/proc/{tid}/root")).map_err(|_| Errno::EPERM)?;
        Ok(Self {
            id,
            tid,
            status,
            root,
        })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The folder that a path is relative to: `dirfd` of the `*at` calls.
    pub(super) fn base(&self, dirfd: i32) -> Result<OwnedFd, Errno> {
        if dirfd == libc::AT_FDCWD {
            return open_handle(&format!("/proc/{}/cwd", self.tid)).map_err(|_| Errno::EPERM);
        }
        if dirfd < 0 {
            return Err(Errno::EBADF);
        }
        open_handle(&format!("/proc/{}/fd/{dirfd}", self.tid)).map_err(|errno| match errno {
            Errno::ENOENT => Errno::EBADF,
            _ => Errno::EPERM,
        })
    }

    /// A duplicate of one of the target's descriptors: the same open file, with its flags and its state.
    pub(super) fn descriptor(&self, number: i32) -> Result<OwnedFd, Errno> {
        if number < 0 {
            return Err(Errno::EBADF);
        }
        // A thread can have a table of descriptors of its own. Before 6.9 only whole processes have handles.
        let process = sys::pidfd_open(self.tid, sys::PIDFD_THREAD)
            .or_else(|_| sys::pidfd_open(self.status.tgid, 0))
            .map_err(|_| Errno::EPERM)?;
        sys::pidfd_getfd(process.as_fd(), number)
    }

    /// The path at an address, without its NUL, as `getname` in the kernel takes it.
    pub(super) fn path(&self, address: u64) -> Result<Vec<u8>, Errno> {
        let mut path = vec![0u8; MAX_PATH];
        let mut have = 0;
        while have < MAX_PATH {
            // Not across a boundary at once: the page after the one with the NUL need not be there. 4 KiB divides
            // every page size.
            let at = address.checked_add(have as u64).ok_or(Errno::EFAULT)?;
            let step = (4096 - at as usize % 4096).min(MAX_PATH - have);
            let read = sys::read_memory(self.tid, at, &mut path[have..have + step]).map_err(memory_error)?;
            if let Some(end) = path[have..have + read].iter().position(|byte| *byte == 0) {
                path.truncate(have + end);
                return if path.is_empty() {
                    Err(Errno::ENOENT)
                } else {
                    Ok(path)
                };
            }
            have += read;
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Exactly `buf.len()` bytes.
    pub(super) fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let mut have = 0;
        while have < buf.len() {
            let at = address.checked_add(have as u64).ok_or(Errno::EFAULT)?;
            have += sys::read_memory(self.tid, at, &mut buf[have..]).map_err(memory_error)?;
        }
        Ok(())
    }

    /// Writes an answer to where the call wanted it.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        sys::write_memory(self.tid, address, bytes).map_err(memory_error)
    }
}

/// EPERM stays what it is (a process that lets nobody look into it); anything else is a bad address.
fn memory_error(errno: Errno) -> Errno {
    match errno {
        Errno::EPERM => Errno::EPERM,
        _ => Errno::EFAULT,
    }
}

fn open_handle(path: &str) -> Result<OwnedFd, Errno> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    sys::openat(None, &path, libc::O_PATH, 0)
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProcessId {
    pid: i32,
    started: u64,
}

impl ProcessId {
    fn of(pid: i32) -> Option<Self> {
        Some(Self {
            pid,
            started: stat_field(pid, 22)?,
        })
    }

    fn alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }
}

/// The supervised processes, which may look into each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// All descend from it.
    root: ProcessId,
    /// It is the supervisor, which is none of them.
    beside: bool,
}

impl Family {
    /// Of the command with this first process. A supervisor that adopts orphans (`PR_SET_CHILD_SUBREAPER`) and forks nothing else
    /// knows them by itself: what the command has left behind no longer descends from the command.
    pub(super) fn of(child: i32) -> Option<Self> {
        let adopts = nix::sys::prctl::get_child_subreaper().unwrap_or(false);
        let root = if adopts {
            std::process::id().cast_signed()
        } else {
            child
        };
        Some(Self {
            root: ProcessId::of(root)?,
            beside: adopts,
        })
    }

    /// Whether that process, or the one of that thread, is one of them.
    pub(super) fn includes(&self, pid: i32) -> bool {
        let Some(status) = Status::of(&pid.to_string()) else {
            return false;
        };
        let own = status.tgid == self.root.pid;
        if own {
            return !self.beside && self.root.alive();
        }
        // A chain longer than this is refused: nobody nests so deep.
        let mut parent = status.parent;
        for _ in 0..64 {
            if parent == self.root.pid {
                return self.root.alive();
            }
            match Status::of(&parent.to_string()) {
                Some(status) if status.parent > 1 => parent = status.parent,
                _ => return false,
            }
        }
        false
    }
}

/// A number from `/proc/PID/stat`, fields counted from 1 as in proc(5); only those after the name.
pub(super) fn stat_field(pid: i32, field: usize) -> Option<u64> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name may hold spaces and brackets; the last bracket ends it.
    let after_name = &text[text.rfind(')')? + 1..];
    let value: i64 = after_name
        .split_whitespace()
        .nth(field.checked_sub(3)?)?
        .parse()
        .ok()?;
    Some(value.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_status_is_read() {
        let status = Status::of("self").unwrap();
        assert_eq!(status.tgid, std::process::id() as i32);
        assert!(!status.nested);
        assert!(
            OwnRights::now()
                .unwrap()
                .within(sys::gettid(), &status.credentials)
        );
    }

    #[test]
    fn a_thread_with_fewer_rights_is_not_acted_for() {
        let own = OwnRights {
            credentials: Credentials {
                uid: 0,
                gid: 0,
                groups: vec![0],
                capabilities: 0b110,
            },
            user_namespace: std::fs::read_link("/proc/self/ns/user").ok(),
        };
        let tid = sys::gettid();
        let theirs = |uid, capabilities| Credentials {
            uid,
            gid: 0,
            groups: vec![0],
            capabilities,
        };
        assert!(own.within(tid, &theirs(0, 0b110)));
        assert!(
            own.within(tid, &theirs(0, 0b111)),
            "it may do more by itself: nothing is lent"
        );
        assert!(!own.within(tid, &theirs(0, 0b010)));
        assert!(!own.within(tid, &theirs(1000, 0b110)));
        let other_groups = Credentials {
            uid: 0,
            gid: 0,
            groups: vec![],
            capabilities: 0b110,
        };
        assert!(!own.within(tid, &other_groups));
    }

    #[test]
    fn kinship_is_told() {
        let pid = std::process::id() as i32;
        let own = Family {
            root: ProcessId::of(pid).unwrap(),
            beside: false,
        };
        assert!(own.includes(pid) && !own.includes(1));
        assert!(own.includes(sys::gettid()), "a thread belongs to its process");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let below = child.id() as i32;
        assert!(own.includes(below));
        let supervisor = Family { beside: true, ..own };
        assert!(supervisor.includes(below));
        assert!(
            !supervisor.includes(pid) && !supervisor.includes(sys::gettid()),
            "the supervisor is nobody's own"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!own.includes(below));
    }

    #[test]
    fn a_status_that_lacks_a_line_is_no_status() {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        for line in ["Tgid:", "Umask:", "Uid:", "Groups:", "CapEff:"] {
            let without: String = text
                .lines()
                .filter(|l| !l.starts_with(line))
                .map(|l| format!("{l}\n"))
                .collect();
            assert_eq!(Status::parse(&without), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z]{0,6}(:[ \\t0-9a-f]{0,40})?(\\n(Uid|Gid|Groups|CapEff|NSpid|Tgid):.{0,20}){0,6}") {
            let _ = Status::parse(&text);
        }
    }
}
