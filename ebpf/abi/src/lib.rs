//! Records and map keys that the kernel programs and the agent share.
//!
//! Everything here is `#[repr(C)]`, has no implicit padding and means the same on both sides. Raise [`ABI_VERSION`] with
//! every change: an agent takes over a running sensor only when the versions are equal.
#![no_std]

/// Version of everything in this crate.
pub const ABI_VERSION: u32 = 1;

/// Longest path that is sent (bytes, without the last component's bound of 256): Linux's own `PATH_MAX` is 4096.
pub const MAX_PATH_BYTES: usize = 4096;
/// Most path components that are walked. Deeper paths are cut at the root end and flagged.
pub const MAX_PATH_DEPTH: usize = 64;
/// Longest component with its NUL (`NAME_MAX` is 255).
pub const MAX_NAME: usize = 256;
/// Most argument bytes that are sent with an exec (NUL-separated). A shell line that an agent writes is rarely longer;
/// what is longer is flagged, and attribution compares the part that is there.
pub const MAX_ARGV_BYTES: usize = 4096;
/// Longest watched component, with its NUL.
pub const WATCH_NAME: usize = 64;

/// Most processes that carry a label at one time. A full map is counted and reported as [`Kind::LabelLost`].
pub const MAX_LABELS: usize = 65_536;
/// Size of the security ring (bytes): exec, exit, connect, watched reads.
pub const SECURITY_RING_BYTES: usize = 2 << 20;
/// Size of the telemetry ring (bytes): files opened for writing.
pub const TELEMETRY_RING_BYTES: usize = 2 << 20;

/// What a process carries: which session it belongs to and which image it runs. Keyed by tgid; valid only while
/// `start_ns` equals the group leader's `start_boottime`, so that a reused pid never inherits a stale label.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Label {
    /// Session key; never 0.
    pub session: u64,
    /// Call key that the process was born with; 0 for none.
    pub call: u64,
    /// `start_boottime` of the group leader, ns since boot.
    pub start_ns: u64,
    /// When the image was executed, ns since boot; the process's start for one that ran before its session was bound.
    pub exec_ns: u64,
    /// The process that executed the image.
    pub exec_tgid: u32,
    /// `LABEL_*` bits.
    pub flags: u32,
}

/// The process is its session's harness. Not inherited.
pub const LABEL_ROOT: u32 = 1;
/// Bits that a child inherits.
pub const LABEL_INHERITED: u32 = !LABEL_ROOT;

/// Key of the call map: a process for good, not just a pid.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessKey {
    /// `start_boottime` of the group leader, ns since boot.
    pub start_ns: u64,
    /// Thread-group id.
    pub tgid: u32,
    /// Zero.
    pub pad: u32,
}

/// A file by device and inode.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileKey {
    /// Inode number.
    pub ino: u64,
    /// `s_dev`.
    pub dev: u32,
    /// Zero.
    pub pad: u32,
}

/// A watched path component, zero-padded.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchName(pub [u8; WATCH_NAME]);

/// The component is watched as the last of a path.
pub const WATCH_LAST: u8 = 1;
/// The component is watched as a folder on the way.
pub const WATCH_DIRECTORY: u8 = 2;

/// What a record says. Values are stable.
#[repr(u16)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`ExecRecord`].
    Exec = 1,
    /// [`ExitRecord`].
    Exit = 2,
    /// [`OpenRecord`].
    Open = 3,
    /// [`ConnectRecord`].
    Connect = 4,
    /// [`IoUringRecord`].
    IoUring = 5,
    /// A child of a labelled process could not be labelled: only the header, which describes the parent.
    LabelLost = 6,
}

impl Kind {
    /// The kind with this number.
    pub const fn from_u16(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Exec,
            2 => Self::Exit,
            3 => Self::Open,
            4 => Self::Connect,
            5 => Self::IoUring,
            6 => Self::LabelLost,
            _ => return None,
        })
    }
}

/// Arguments were cut at [`MAX_ARGV_BYTES`].
pub const FLAG_ARGV_TRUNCATED: u16 = 1;
/// A path was cut at [`MAX_PATH_BYTES`] or [`MAX_PATH_DEPTH`].
pub const FLAG_PATH_TRUNCATED: u16 = 2;
/// Some memory could not be read; the field it would have filled is empty.
pub const FLAG_READ_FAULT: u16 = 4;
/// The file was created by this open.
pub const FLAG_CREATED: u16 = 8;
/// The file was opened for writing.
pub const FLAG_WRITE: u16 = 16;
/// The working directory was cut.
pub const FLAG_CWD_TRUNCATED: u16 = 32;
/// The file is watched by inode.
pub const FLAG_WATCHED_INODE: u16 = 64;

/// First part of every record.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u16,
    /// `FLAG_*` bits.
    pub flags: u16,
    /// User id (real) in the initial user namespace.
    pub uid: u32,
    /// Number of the record in its ring, from 1. A missing number is a lost record.
    pub seq: u64,
    /// When, ns since boot (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// Session key.
    pub session: u64,
    /// Call key, 0 for none.
    pub call: u64,
    /// `start_boottime` of the group leader.
    pub start_ns: u64,
    /// When the image was executed.
    pub exec_ns: u64,
    /// The process that executed the image.
    pub exec_tgid: u32,
    /// Thread-group id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Zero.
    pub pad: u32,
    /// Command name, NUL-padded.
    pub comm: [u8; 16],
}

/// A process became another program. Followed by `filename_len`, `path_len`, `cwd_len` and `argv_len` bytes.
///
/// Paths are sequences of NUL-terminated components, last component first.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecRecord {
    /// Header; `exec_ns` and `exec_tgid` already name the new image.
    pub header: Header,
    /// The replaced image.
    pub parent_exec_ns: u64,
    /// The replaced image.
    pub parent_exec_tgid: u32,
    /// Thread-group id of the real parent.
    pub ppid: u32,
    /// The executed file.
    pub file: FileKey,
    /// Bytes of the name as the caller gave it, with NUL.
    pub filename_len: u16,
    /// Bytes of the executed file's path.
    pub path_len: u16,
    /// Bytes of the working directory's path.
    pub cwd_len: u16,
    /// Bytes of the arguments.
    pub argv_len: u16,
}

/// A process ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitRecord {
    /// Header.
    pub header: Header,
    /// As `wait(2)` reports it: code in bits 8 to 15, signal in bits 0 to 6.
    pub status: u32,
    /// Zero.
    pub pad: u32,
}

/// A file was opened. Followed by `path_len` bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenRecord {
    /// Header; `FLAG_WRITE` and `FLAG_CREATED` say what for.
    pub header: Header,
    /// The file.
    pub file: FileKey,
    /// File type and permission bits (`i_mode`).
    pub mode: u32,
    /// Bytes of the path.
    pub path_len: u16,
    /// Zero.
    pub pad: u16,
}

/// A connection was begun.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectRecord {
    /// Header.
    pub header: Header,
    /// Destination: IPv4 in the first four bytes, network order.
    pub address: [u8; 16],
    /// Destination port.
    pub port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u16,
    /// Zero.
    pub pad: u16,
}

/// An io_uring was set up.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoUringRecord {
    /// Header.
    pub header: Header,
    /// Submission queue entries.
    pub entries: u32,
    /// Zero.
    pub pad: u32,
}

/// Indices into the counter map.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Security records lost: ring full.
    SecurityRingFull = 0,
    /// Telemetry records lost: ring full.
    TelemetryRingFull = 1,
    /// Labels lost: map full.
    LabelMapFull = 2,
    /// Memory that could not be read.
    ReadFault = 3,
    /// Records with a cut path or cut arguments.
    Truncated = 4,
}

/// Number of counters.
pub const COUNTERS: usize = 5;

/// Index of the security ring in the sequence map.
pub const SEQ_SECURITY: u32 = 0;
/// Index of the telemetry ring in the sequence map.
pub const SEQ_TELEMETRY: u32 = 1;

/// What the task iterator writes for each process.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskRecord {
    /// `start_boottime`, ns since boot.
    pub start_ns: u64,
    /// Thread-group id.
    pub tgid: u32,
    /// Thread-group id of the real parent.
    pub ppid: u32,
}

/// Byte offsets of kernel struct members, resolved from the running kernel's BTF and handed over as read-only data.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offsets {
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.start_boottime`
    pub task_start_boottime: u32,
    /// `task_struct.exit_code`
    pub task_exit_code: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `task_struct.fs`
    pub task_fs: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `task_struct.thread_info.status` (x86: holds `TS_COMPAT`); 0 where there is none.
    pub task_compat_status: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `signal_struct.flags`
    pub signal_flags: u32,
    /// `signal_struct.group_exit_code`
    pub signal_group_exit_code: u32,
    /// `mm_struct.arg_start`
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`
    pub mm_arg_end: u32,
    /// `fs_struct.pwd`
    pub fs_pwd: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.f_path`
    pub file_path: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.f_mode`
    pub file_mode: u32,
    /// `file.private_data`
    pub file_private_data: u32,
    /// `path.mnt`
    pub path_mnt: u32,
    /// `path.dentry`
    pub path_dentry: u32,
    /// `dentry.d_name.name`
    pub dentry_name: u32,
    /// `dentry.d_parent`
    pub dentry_parent: u32,
    /// `vfsmount.mnt_root`
    pub vfsmount_root: u32,
    /// `mount.mnt`
    pub mount_mnt: u32,
    /// `mount.mnt_parent`
    pub mount_parent: u32,
    /// `mount.mnt_mountpoint`
    pub mount_mountpoint: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_sb`
    pub inode_sb: u32,
    /// `inode.i_rdev`
    pub inode_rdev: u32,
    /// `super_block.s_dev`
    pub sb_dev: u32,
    /// `linux_binprm.file`
    pub bprm_file: u32,
    /// `linux_binprm.filename`
    pub bprm_filename: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `sock.sk_type`
    pub sk_type: u32,
    /// `sock.sk_protocol`
    pub sk_protocol: u32,
    /// `sock.__sk_common.skc_family`
    pub sk_family: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sk_daddr: u32,
    /// `sock.__sk_common.skc_dport`
    pub sk_dport: u32,
    /// `sock.__sk_common.skc_v6_daddr`
    pub sk_v6_daddr: u32,
    /// `pt_regs.orig_ax` (x86) or `pt_regs.syscallno` (arm64)
    pub regs_syscall: u32,
    /// `pt_regs.di` (x86) or `pt_regs.orig_x0` (arm64)
    pub regs_arg0: u32,
    /// `pt_regs.si` (x86) or `pt_regs.regs[1]` (arm64)
    pub regs_arg1: u32,
    /// `pt_regs.bx` (x86, 32-bit first argument); 0 elsewhere
    pub regs_compat_arg0: u32,
    /// `pt_regs.pstate` (arm64); 0 elsewhere
    pub regs_pstate: u32,
    /// Zero: keeps the size a multiple of 8.
    pub pad: u32,
}

/// User-space side: the types that cross the boundary through maps and read-only data.
#[cfg(feature = "user")]
mod user {
    use super::{FileKey, Label, Offsets, ProcessKey, WatchName};

    macro_rules! plain {
        ($($name:ty),*) => {$(
            // SAFETY: `#[repr(C)]`, only integers, no padding (asserted below): every bit pattern is valid.
            unsafe impl aya::Pod for $name {}
        )*};
    }
    plain!(FileKey, Label, Offsets, ProcessKey, WatchName);

    const _: () = {
        assert!(size_of::<FileKey>() == 16);
        assert!(size_of::<Label>() == 40);
        assert!(size_of::<ProcessKey>() == 16);
        assert!(size_of::<Offsets>() == 52 * 4);
    };
}
