//! Files opened, seen at the end of the system call through the returned descriptor.

use defenseclaw_abi::{
    Counter, FLAG_CREATED, FLAG_PATH_TRUNCATED, FLAG_READ_FAULT, FLAG_WATCHED_INODE, FLAG_WRITE, Kind, Label,
    OpenRecord,
};

use crate::{
    emit::{Ring, header, send_scratch},
    kernel::{Object, file_key, offset},
    label::count,
    maps::{OPEN_SCRATCH, WATCH_FILES},
    path::walk,
};

// include/linux/fs.h
const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;
const FMODE_CREATED: u32 = 1 << 20;
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFCHR: u32 = 0o020_000;

/// Reports the file behind `descriptor` if it was opened for writing or is watched.
#[inline(always)]
pub fn opened(label: &Label, descriptor: u32) -> Option<()> {
    let file = descriptor_file(Object::current(), descriptor)?;
    let mode: u32 = file.read(offset!(file_mode))?;
    let inode = file.follow(offset!(file_inode))?;
    let inode_mode = u32::from(inode.read::<u16>(offset!(inode_mode))?);
    let writes = mode & FMODE_WRITE != 0;
    if !is_reported(inode, inode_mode, writes, mode & FMODE_READ != 0) {
        return None;
    }
    let key = file_key(inode)?;
    let scratch = OPEN_SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the scratch space is aligned for the record and this program's alone while it runs.
    let record = unsafe { &mut *scratch.cast::<OpenRecord>() };
    *record = OpenRecord {
        header: header(Kind::Open, label),
        file: key,
        mode: inode_mode,
        path_len: 0,
        pad: 0,
    };
    // SAFETY: only the presence is used.
    let watched_inode = unsafe { WATCH_FILES.get(key) }.is_some();
    let start = size_of::<OpenRecord>();
    let path = walk(scratch, start, file.member(offset!(file_path)), !writes);
    if !writes && !path.watched && !watched_inode {
        return None;
    }
    record.path_len = (path.end - start) as u16;
    let mut flags = 0;
    if writes {
        flags |= FLAG_WRITE;
    }
    if mode & FMODE_CREATED != 0 {
        flags |= FLAG_CREATED;
    }
    if watched_inode {
        flags |= FLAG_WATCHED_INODE;
    }
    if path.fault {
        flags |= FLAG_READ_FAULT;
    }
    if path.truncated {
        flags |= FLAG_PATH_TRUNCATED;
        count(Counter::Truncated);
    }
    record.header.flags = flags;
    let ring = if writes { Ring::Telemetry } else { Ring::Security };
    send_scratch(ring, scratch, &mut record.header, path.end);
    Some(())
}

/// Regular files and block devices; character devices too, but for the sinks and terminals that every program opens.
#[inline(always)]
fn is_reported(inode: Object, inode_mode: u32, writes: bool, reads: bool) -> bool {
    match inode_mode & S_IFMT {
        S_IFREG => writes || reads,
        S_IFBLK => writes || reads,
        S_IFCHR if writes => {
            let device: u32 = inode.read(offset!(inode_rdev)).unwrap_or(0);
            let (major, minor) = (device >> 20, device & 0xf_ffff);
            // Documentation/admin-guide/devices.txt: 1:3 null, 1:5 zero, 1:7 full, 1:8 random, 1:9 urandom; 5 tty;
            // 4 virtual consoles and serial lines; 136 to 143 pseudo-terminals.
            let sink = major == 1 && matches!(minor, 3 | 5 | 7 | 8 | 9);
            let terminal = matches!(major, 4 | 5 | 136..=143);
            !sink && !terminal
        }
        _ => false,
    }
}

/// The open file behind a descriptor of `task`.
#[inline(always)]
pub fn descriptor_file(task: Object, descriptor: u32) -> Option<Object> {
    let table = task.follow(offset!(task_files))?.follow(offset!(files_fdt))?;
    let limit: u32 = table.read(offset!(fdt_max_fds))?;
    if descriptor >= limit {
        return None;
    }
    table
        .follow(offset!(fdt_fd))?
        .follow(descriptor as usize * size_of::<usize>())
}
