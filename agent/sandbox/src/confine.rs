//! A process that only computes: it closes itself in for good, keeps the descriptors that it has, and can then read, write and
//! allocate memory, and nothing else. For the scanner's worker, which reads what somebody hostile has written.
//!
//! Everything that names something by a path or a number outside is gone: no file can be opened, no socket made, no program or
//! thread started, no memory made executable. A call that is not on the list kills the process, so that an attempt is seen.
//!
//! And one that asks the network ([`close_to_network`]): of the host it can read what names and certificates need, and the programs that it
//! is made of. It writes nothing and listens to nobody.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use landlock::{
    Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction,
    SeccompCmpArgLen::Dword,
    SeccompCmpOp::{Eq, MaskedEq},
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::host;
use crate::landlock::abi;
use crate::privileges;
use crate::syscalls::{self, SyscallError};

/// How much the process may take from here on.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Address space (bytes), what it has already included.
    pub memory: u64,
    /// Processor time (seconds).
    pub cpu_s: u64,
    /// Descriptors, those that are open included.
    pub descriptors: u64,
}

/// What closed it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// Landlock's version; 0 where this kernel has none. The system call filter closes the same and more.
    pub landlock: i32,
}

/// Why it is not closed in. Part of it may be: the process must end.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A step on the process itself.
    #[error("{what}: {source}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Landlock is there and refuses.
    #[error("Landlock refuses to grant nothing: {0}")]
    Landlock(#[from] RulesetError),
    /// It says that nothing is in force.
    #[error("Landlock is there, and put nothing in force")]
    NotEnforced,
    /// The filter.
    #[error("{0}")]
    Syscalls(#[from] SyscallError),
}

/// Allowed whatever the arguments are: they work on descriptors and memory that the process has.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Ending, in order and by a fault.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_getpid,
    libc::SYS_gettid,
];

/// Closes this thread in, for good; a process must have no other. What whoever started it has left open is closed before.
///
/// # Errors
/// When a step fails. The process must end then.
pub fn close_in(bounds: Bounds) -> Result<Confined, ConfineError> {
    give_up()?;
    limit(&[
        (Resource::RLIMIT_AS, bounds.memory),
        (Resource::RLIMIT_CPU, bounds.cpu_s),
        (Resource::RLIMIT_NOFILE, bounds.descriptors),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
    ])?;
    let landlock = nothing_granted()?;
    syscalls::enforce(&filter()?)?;
    Ok(Confined { landlock })
}

/// Closes this process to everything but the network and reading what lies in `readable`, for good; it must have no other threads yet.
/// Its children are closed in with it. `largest`: the most bytes of a file in memory that it writes.
///
/// Where this kernel has no Landlock the rest holds all the same, and [`Confined::landlock`] says so.
///
/// # Errors
/// When a step fails. The process must end then.
pub fn close_to_network(bounds: Bounds, largest: u64, readable: &[&Path]) -> Result<Confined, ConfineError> {
    give_up()?;
    limit(&[
        (Resource::RLIMIT_AS, bounds.memory),
        (Resource::RLIMIT_CPU, bounds.cpu_s),
        (Resource::RLIMIT_NOFILE, bounds.descriptors),
        (Resource::RLIMIT_FSIZE, largest),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
    ])?;
    let landlock = only_read(readable)?;
    Ok(Confined { landlock })
}

/// What a process has that neither kind of these needs.
fn give_up() -> Result<(), ConfineError> {
    let step = |what| move |source: io::Error| ConfineError::Process { what, source };
    privileges::close_inherited();
    privileges::no_new_privileges().map_err(step("privileges cannot be given up"))?;
    privileges::drop_capabilities(true).map_err(step("capabilities cannot be dropped"))?;
    // SAFETY: takes numbers alone. Nobody of the same user looks into it or attaches to it, and it leaves no core.
    let dumpable = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    host::check(dumpable.into())
        .map(drop)
        .map_err(step("the process cannot be closed to others"))
}

fn limit(limits: &[(Resource, u64)]) -> Result<(), ConfineError> {
    for &(resource, most) in limits {
        let failed = |errno: nix::errno::Errno| ConfineError::Process {
            what: "a limit cannot be set",
            source: errno.into(),
        };
        // Whoever started this process may have set a lower one, which nobody can raise.
        let (_, hard) = getrlimit(resource).map_err(failed)?;
        let most = most.min(hard);
        setrlimit(resource, most, most).map_err(failed)?;
    }
    Ok(())
}

/// Landlock that grants reading and executing in `readable` and connecting, where this kernel has it.
fn only_read(readable: &[&Path]) -> Result<i32, ConfineError> {
    let version = host::landlock_abi();
    if version == 0 {
        return Ok(0);
    }
    let abi = abi(version);
    let handled = AccessFs::from_all(abi);
    let mut rules = Ruleset::default().handle_access(handled)?;
    if version >= 4 {
        rules = rules.handle_access(AccessNet::BindTcp)?;
    }
    if version >= 6 {
        rules = rules.scope(Scope::from_all(abi))?;
    }
    let mut rules = rules.create()?;
    // Name services of the host answer on sockets beside their files.
    let folder = (AccessFs::from_read(abi) | AccessFs::ResolveUnix) & handled;
    let file = folder & AccessFs::from_file(abi);
    for path in readable {
        // What this host does not have needs no grant.
        let Ok(fd) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { folder } else { file };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    // What a child says to nobody goes there.
    if let Ok(null) = PathFd::new("/dev/null") {
        let access = (AccessFs::ReadFile | AccessFs::WriteFile) & handled;
        rules = rules.add_rule(PathBeneath::new(null, access))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(ConfineError::NotEnforced),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(version),
    }
}

/// Landlock without a single grant, where this kernel has it.
fn nothing_granted() -> Result<i32, ConfineError> {
    let version = host::landlock_abi();
    if version == 0 {
        return Ok(0);
    }
    let abi = abi(version);
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
    if version >= 4 {
        rules = rules.handle_access(AccessNet::from_all(abi))?;
    }
    if version >= 6 {
        rules = rules.scope(Scope::from_all(abi))?;
    }
    let status = rules.create()?.restrict_self()?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(ConfineError::NotEnforced),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(version),
    }
}

fn filter() -> Result<BpfProgram, SyscallError> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => TargetArch::x86_64,
        "aarch64" => TargetArch::aarch64,
        _ => return Err(SyscallError::Architecture),
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let bits = |index: u8, mask: libc::c_int, value: libc::c_int| {
        SeccompCondition::new(
            index,
            Dword,
            MaskedEq(u64::from(mask.unsigned_abs())),
            u64::from(value.unsigned_abs()),
        )
    };
    // Memory of nobody else's, and none that can be executed.
    let anonymous = bits(3, libc::MAP_ANONYMOUS, libc::MAP_ANONYMOUS)?;
    let mapped = SeccompRule::new(vec![bits(2, libc::PROT_EXEC, 0)?, anonymous])?;
    rules.insert(libc::SYS_mmap, vec![mapped]);
    let protected = SeccompRule::new(vec![bits(2, libc::PROT_EXEC, 0)?])?;
    rules.insert(libc::SYS_mprotect, vec![protected]);
    // A program that was built for debugging asks whether a descriptor is open before it closes it.
    let is_open = SeccompCondition::new(1, Dword, Eq, u64::from(libc::F_GETFD.unsigned_abs()))?;
    rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![is_open])?]);
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// Says to a test that was started again what it is to try.
    const ATTEMPT: &str = "DEFENSECLAW_CONFINE_ATTEMPT";
    const TEST: &str = "confine::tests::what_is_not_on_the_list_kills";
    const NETWORK_TEST: &str =
        "confine::tests::who_asks_the_network_reads_what_it_was_given_and_writes_nothing";

    const BOUNDS: Bounds = Bounds {
        memory: 4 << 30,
        cpu_s: 10,
        descriptors: 8,
    };

    fn mapped(_: *mut libc::c_void) {}

    /// Closes this thread in and tries one thing; 0: it was let.
    fn attempt(what: &str) -> ! {
        let file = c"/etc/hostname";
        let closed = close_in(BOUNDS).is_ok();
        // SAFETY: each call takes numbers, or pointers to values that live here; this process ends right after it.
        unsafe {
            if !closed {
                libc::_exit(99);
            }
            match what {
                "open" => drop(libc::open(file.as_ptr(), libc::O_RDONLY)),
                "openat" => drop(libc::syscall(libc::SYS_openat, libc::AT_FDCWD, file.as_ptr(), 0)),
                "socket" => drop(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
                "exec" => drop(libc::execve(file.as_ptr(), std::ptr::null(), std::ptr::null())),
                "fork" => drop(libc::fork()),
                "ptrace" => drop(libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0)),
                "kill" => drop(libc::kill(1, 0)),
                "unlink" => drop(libc::unlink(file.as_ptr())),
                "ioctl" => drop(libc::ioctl(0, libc::FIONREAD, 0)),
                "io_uring" => drop(libc::syscall(libc::SYS_io_uring_setup, 1, 0)),
                "duplicate" => drop(libc::fcntl(0, libc::F_DUPFD, 3)),
                "memfd" => drop(libc::syscall(libc::SYS_memfd_create, file.as_ptr(), 0)),
                "executable memory" => mapped(libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ | libc::PROT_EXEC,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )),
                "mapped file" => {
                    mapped(libc::mmap(
                        std::ptr::null_mut(),
                        4096,
                        libc::PROT_READ,
                        libc::MAP_SHARED,
                        0,
                        0,
                    ));
                }
                // What it is for.
                _ => {
                    let grown: Vec<u8> = vec![7; 64 << 20];
                    let text = format!("{}", grown.iter().map(|byte| u64::from(*byte)).sum::<u64>());
                    let wrote = libc::write(1, text.as_ptr().cast(), text.len());
                    libc::_exit(i32::from(wrote != text.len() as isize));
                }
            }
            libc::_exit(0)
        }
    }

    #[test]
    fn what_is_not_on_the_list_kills() {
        if let Ok(what) = std::env::var(ATTEMPT) {
            attempt(&what);
        }
        let run = |what: &str| {
            Command::new(std::env::current_exe().expect("this test"))
                .args(["--exact", TEST, "--nocapture"])
                .env(ATTEMPT, what)
                .output()
                .expect("started")
        };
        for what in [
            "open",
            "openat",
            "socket",
            "exec",
            "fork",
            "ptrace",
            "kill",
            "unlink",
            "ioctl",
            "io_uring",
            "duplicate",
            "memfd",
            "executable memory",
            "mapped file",
        ] {
            let status = run(what).status;
            assert_eq!(status.signal(), Some(libc::SIGSYS), "{what}: {status}");
        }
        let computed = run("compute");
        assert_eq!(computed.status.code(), Some(0), "{:?}", computed.status);
        let out = String::from_utf8_lossy(&computed.stdout);
        assert!(out.contains(&(7_u64 * (64 << 20)).to_string()), "{out}");
    }

    /// Closes this process to all but the network and tries one thing; 0: it was let.
    fn attempt_beside(what: &str) -> ! {
        let readable = [
            Path::new("/usr"),
            Path::new("/lib"),
            Path::new("/lib64"),
            Path::new("/etc/hosts"),
        ];
        let closed = close_to_network(BOUNDS, 1 << 20, &readable).is_ok();
        let done = closed
            && match what {
                "hosts" => std::fs::read("/etc/hosts").is_ok(),
                "passwd" => std::fs::read("/etc/passwd").is_ok(),
                "list" => std::fs::read_dir("/etc").is_ok(),
                "write" => {
                    std::fs::write(std::env::temp_dir().join("defenseclaw-network-attempt"), "x").is_ok()
                }
                "null" => std::fs::write("/dev/null", "x").is_ok(),
                "exec" => Command::new("/usr/bin/true")
                    .status()
                    .is_ok_and(|status| status.success()),
                "listen" => std::net::TcpListener::bind("127.0.0.1:0").is_ok(),
                "connect" => {
                    // Nobody listens there: refused is an answer, forbidden is none.
                    let found = std::net::TcpStream::connect("127.0.0.1:9");
                    !found.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
                }
                _ => false,
            };
        // SAFETY: ends this process.
        unsafe { libc::_exit(i32::from(!done)) }
    }

    #[test]
    fn who_asks_the_network_reads_what_it_was_given_and_writes_nothing() {
        if let Ok(what) = std::env::var(ATTEMPT) {
            attempt_beside(&what);
        }
        // Listening is bounded from version 4 on.
        let version = host::landlock_abi();
        assert!(version > 0, "this host has no Landlock");
        for (what, let_through) in [
            ("hosts", true),
            ("null", true),
            ("exec", true),
            ("connect", true),
            ("passwd", false),
            ("list", false),
            ("write", false),
            ("listen", version < 4),
        ] {
            let own = std::env::current_exe().unwrap();
            let status = Command::new(own)
                .args(["--exact", NETWORK_TEST, "--test-threads=1", "--nocapture"])
                .env(ATTEMPT, what)
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(i32::from(!let_through)), "{what}");
        }
    }
}
