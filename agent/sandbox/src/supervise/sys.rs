//! The kernel calls that the supervisor needs and the crates at hand do not wrap: one place for `unsafe`.
//!
//! Every call gives `Errno` on failure, because an errno is what the target gets back.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub(super) use nix::errno::Errno;

/// What of `statx` the supervisor looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) mode: u32,
    pub(super) inode: u64,
    /// Major and minor number of the file system's device.
    pub(super) device: (u32, u32),
    /// Major and minor number of the device that a device node stands for.
    pub(super) node: (u32, u32),
    pub(super) mount: u64,
    pub(super) uid: u32,
    pub(super) links: u32,
}

impl Stat {
    /// `S_IFMT` bits.
    pub(super) fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Device and number, as `stat` in the standard library gives them.
    pub(super) fn identity(&self) -> (u64, u64) {
        (libc::makedev(self.device.0, self.device.1), self.inode)
    }

    pub(super) fn is_symlink(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just given this descriptor to us, and nobody else holds its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `openat`; `dir` None is the working directory, which only absolute paths should be used with.
pub(super) fn openat(
    dir: Option<BorrowedFd<'_>>,
    path: &CStr,
    flags: i32,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    // SAFETY: `path` is a C string that lives through the call; the others are numbers.
    owned(unsafe {
        libc::syscall(
            libc::SYS_openat,
            dir,
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        )
    })
}

/// `openat2` with exactly these words, O_CLOEXEC included only where `flags` has it.
pub(super) fn openat2(
    dir: Option<BorrowedFd<'_>>,
    path: &CStr,
    flags: u64,
    mode: u64,
    resolve: u64,
) -> Result<OwnedFd, Errno> {
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    let how: [u64; 3] = [flags, mode, resolve];
    // SAFETY: `how` has the layout of `struct open_how` (three u64), and its true size is given.
    owned(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir,
            path.as_ptr(),
            how.as_ptr(),
            size_of_val(&how),
        )
    })
}

/// The descriptor's object, opened anew with other flags. The object stays the same whatever happens to its name.
pub(super) fn reopen(fd: BorrowedFd<'_>, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    openat(None, &own_fd_path(fd), flags, mode)
}

/// `/proc/self/fd/N` of one of our own descriptors.
pub(super) fn own_fd_path(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

pub(super) fn statx(fd: BorrowedFd<'_>) -> Result<Stat, Errno> {
    // SAFETY: a zeroed `statx` is a valid value of it.
    let mut buf: libc::statx = unsafe { std::mem::zeroed() };
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path is an empty C string and `buf` is writable for the length of a `statx`.
    let rc = unsafe { libc::statx(fd.as_raw_fd(), c"".as_ptr(), flags, wanted, &raw mut buf) };
    Errno::result(rc)?;
    Ok(Stat {
        mode: u32::from(buf.stx_mode),
        inode: buf.stx_ino,
        device: (buf.stx_dev_major, buf.stx_dev_minor),
        node: (buf.stx_rdev_major, buf.stx_rdev_minor),
        mount: buf.stx_mnt_id,
        uid: buf.stx_uid,
        links: buf.stx_nlink,
    })
}

/// The file system's magic number.
pub(super) fn fs_magic(fd: BorrowedFd<'_>) -> Result<i64, Errno> {
    // SAFETY: a zeroed `statfs` is a valid value of it.
    let mut buf: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `buf` is writable for the length of a `statfs`.
    Errno::result(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut buf) })?;
    Ok(buf.f_type)
}

pub(super) fn on_procfs(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fs_magic(fd)? == libc::PROC_SUPER_MAGIC)
}

/// The text of a symbolic link; an empty `name` reads the link that `dir` itself is (opened `O_PATH|O_NOFOLLOW`).
pub(super) fn readlinkat(dir: Option<BorrowedFd<'_>>, name: &CStr) -> Result<Vec<u8>, Errno> {
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    let mut text = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: `text` is writable for the length that is given.
    let length = unsafe { libc::readlinkat(dir, name.as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    let length = Errno::result(length)? as usize;
    if length == text.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    text.truncate(length);
    Ok(text)
}

/// The path of an open object as the kernel tells it.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    readlinkat(None, &own_fd_path(fd))
}

/// Reads from another process's memory; may give less than asked, at least one byte.
pub(super) fn read_memory(tid: i32, address: u64, buf: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut libc::c_void,
        iov_len: buf.len(),
    };
    // SAFETY: the local vector is a writable buffer of ours; the remote one is checked by the kernel.
    let read = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    match Errno::result(read)? {
        0 => Err(Errno::EFAULT),
        read => Ok(read as usize),
    }
}

/// Writes to another process's memory; all of it or an error.
pub(super) fn write_memory(tid: i32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: the local vector is only read from; the remote one is checked by the kernel.
    let written = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    match Errno::result(written)? as usize {
        written if written == bytes.len() => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// A handle of a process, or of one thread where the kernel has such handles (6.9).
pub(super) fn pidfd_open(pid: i32, flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: two numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) })
}

/// `PIDFD_THREAD`.
pub(super) const PIDFD_THREAD: u32 = libc::O_EXCL as u32;

/// A duplicate of another process's descriptor.
pub(super) fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: three numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
}

/// Gives the calling thread a umask and working directory of its own.
pub(super) fn unshare_fs() -> Result<(), Errno> {
    // SAFETY: a number; it changes only what this thread shares with others.
    Errno::result(unsafe { libc::unshare(libc::CLONE_FS) }).map(drop)
}

/// Sets the calling thread's umask (after `unshare_fs`).
pub(super) fn umask(mask: u32) {
    // SAFETY: cannot fail.
    unsafe { libc::umask(mask) };
}

/// Replaces a descriptor's status flags.
pub(super) fn set_status_flags(fd: BorrowedFd<'_>, flags: i32) -> Result<(), Errno> {
    // SAFETY: numbers.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

pub(super) fn status_flags(fd: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: numbers.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })
}

/// A socket option of the level SOL_SOCKET that is an int.
pub(super) fn socket_option(fd: BorrowedFd<'_>, option: i32) -> Result<i32, Errno> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is writable for `length` bytes.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(rc)?;
    Ok(value)
}

pub(super) fn connect(fd: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: `address` is readable for the length that is given; the kernel checks what it holds.
    let rc = unsafe {
        libc::connect(
            fd.as_raw_fd(),
            address.as_ptr().cast(),
            address.len() as libc::socklen_t,
        )
    };
    Errno::result(rc).map(drop)
}

/// `sendmsg` of one buffer. `address` and `control` may be empty. Never raises SIGPIPE here.
pub(super) fn send(
    fd: BorrowedFd<'_>,
    data: &[u8],
    address: &[u8],
    control: &[u8],
    flags: i32,
) -> Result<usize, Errno> {
    let part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a zeroed `msghdr` is a valid, empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if !address.is_empty() {
        message.msg_name = address.as_ptr().cast_mut().cast();
        message.msg_namelen = address.len() as libc::socklen_t;
    }
    if !control.is_empty() {
        message.msg_control = control.as_ptr().cast_mut().cast();
        message.msg_controllen = control.len() as _;
    }
    message.msg_iov = (&raw const part).cast_mut();
    message.msg_iovlen = 1;
    // SAFETY: every pointer in `message` is to memory that lives through the call and is only read.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL) };
    Errno::result(sent).map(|sent| sent as usize)
}

/// Waits until one of the descriptors is ready; gives their `revents`.
pub(super) fn poll(fds: &[(BorrowedFd<'_>, i16)], timeout_ms: i32) -> Result<Vec<i16>, Errno> {
    let mut wait: Vec<libc::pollfd> = fds
        .iter()
        .map(|(fd, events)| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: *events,
            revents: 0,
        })
        .collect();
    // SAFETY: `wait` is writable for as many entries as it has.
    Errno::result(unsafe { libc::poll(wait.as_mut_ptr(), wait.len() as libc::nfds_t, timeout_ms) })?;
    Ok(wait.iter().map(|entry| entry.revents).collect())
}

/// An eventfd that wakes whoever polls it.
pub(super) fn eventfd() -> Result<OwnedFd, Errno> {
    // SAFETY: numbers.
    owned(libc::c_long::from(unsafe {
        libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)
    }))
}

pub(super) fn wake(eventfd: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight readable bytes. An eventfd that is already raised needs no second raising.
    let _ = unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// A memory file that a library can write into.
pub(super) fn memfd(name: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: `name` is a C string.
    owned(libc::c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC)
    }))
}

/// The signal that interrupts a thread of ours which the kernel holds in a call for a target that is gone.
pub(super) fn interrupt_signal() -> i32 {
    libc::SIGRTMIN() + 5
}

/// Installs an empty handler for [`interrupt_signal`], without SA_RESTART: its only effect is EINTR.
pub(super) fn install_interrupt() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a zeroed `sigaction` is a valid one; the handler does nothing and so is safe at any moment.
    let rc = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(interrupt_signal(), &raw const action, std::ptr::null_mut())
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The calling thread's id in the kernel.
pub(super) fn gettid() -> i32 {
    // SAFETY: cannot fail.
    unsafe { libc::gettid() }
}

/// Interrupts one thread of our own process. A thread that has ended in between is no error.
pub(super) fn interrupt(tid: i32) {
    // SAFETY: numbers; the signal has a handler that does nothing, and goes to a thread of this process only.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, interrupt_signal()) };
}

/// Blocks every signal but [`interrupt_signal`] in the calling thread: signals are the launcher's business.
pub(super) fn block_signals() {
    // SAFETY: the sets are ours; blocking signals in one thread affects no memory.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigdelset(&raw mut set, interrupt_signal());
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}
