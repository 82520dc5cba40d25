//! Paths from `struct path`: dentry by dentry up to the root of the mount tree.
//!
//! Components are written last first, each with its NUL; the agent turns them round. A path thus walked is the file's
//! place in the tree as the kernel sees it: no symbolic link, `..`, `/proc/self/root` or `chroot` is left in it.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_probe_read_kernel_str};
use defenseclaw_abi::{
    MAX_NAME, MAX_PATH_BYTES, MAX_PATH_DEPTH, WATCH_DIRECTORY, WATCH_LAST, WATCH_NAME, WatchName,
};

use crate::{
    emit::offset as bound_offset,
    kernel::{Object, offset},
    maps::{Scratch, WATCH_NAMES},
};

/// Where a walk ended.
#[derive(Clone, Copy)]
pub struct Walk {
    /// Offset behind the last byte written.
    pub end: usize,
    /// Whether components are missing at the root end.
    pub truncated: bool,
    /// Whether something could not be read.
    pub fault: bool,
    /// Whether a component is watched.
    pub watched: bool,
}

const TRUNCATED: u64 = 1 << 32;
const FAULT: u64 = 1 << 33;
const WATCHED: u64 = 1 << 34;

/// Writes the components of the `struct path` at `path` into `scratch` from `start` on.
#[inline(always)]
pub fn walk(scratch: *mut Scratch, start: usize, path: Object, watch: bool) -> Walk {
    let packed = walk_components(scratch, start, path.address(), watch as u64);
    Walk {
        end: packed as u32 as usize,
        truncated: packed & TRUNCATED != 0,
        fault: packed & FAULT != 0,
        watched: packed & WATCHED != 0,
    }
}

/// A function of its own for the verifier: checked once for each caller instead of being copied into it.
#[inline(never)]
fn walk_components(scratch: *mut Scratch, start: usize, path: *const u8, watch: u64) -> u64 {
    let path = Object::new(path);
    // SAFETY: both are parts of the scratch space, which is the calling program's alone while it runs.
    let (buffer, carried) = unsafe { (&raw mut (*scratch).0, &raw mut (*scratch).1) };
    let buffer = buffer.cast::<u8>();
    // SAFETY: as above; volatile, so that no value stays in a register from one component to the next.
    let (end, flags, wanted) = unsafe {
        (
            &raw mut (*carried).end,
            &raw mut (*carried).flags,
            &raw mut (*carried).wanted,
        )
    };
    // SAFETY: as above.
    unsafe {
        write_volatile(end, start as u64);
        write_volatile(flags, 0);
        write_volatile(wanted, u64::from(WATCH_LAST));
    }
    // SAFETY: as above.
    let ended = |why: u64| unsafe { read_volatile(end) | read_volatile(flags) | why };
    let (Some(mut mount), Some(mut dentry)) =
        (path.follow(offset!(path_mnt)), path.follow(offset!(path_dentry)))
    else {
        return ended(FAULT);
    };
    for _ in 0..MAX_PATH_DEPTH {
        let (Some(root), Some(parent)) = (
            mount.follow(offset!(vfsmount_root)),
            dentry.follow(offset!(dentry_parent)),
        ) else {
            return ended(FAULT);
        };
        if dentry.is(root) {
            // The root of a mounted file system: go on at its mount point, unless it is the tree's own root.
            let holder = mount.container(offset!(mount_mnt));
            let (Some(upper), Some(point)) = (
                holder.follow(offset!(mount_parent)),
                holder.follow(offset!(mount_mountpoint)),
            ) else {
                return ended(FAULT);
            };
            if upper.is(holder) {
                return ended(0);
            }
            mount = upper.member(offset!(mount_mnt));
            dentry = point;
            continue;
        }
        if dentry.is(parent) {
            // The root of a file system that is mounted nowhere: pipes, sockets, memory files.
            return ended(0);
        }
        // SAFETY: as above.
        let so_far = unsafe { read_volatile(end) } as usize;
        if so_far - start > MAX_PATH_BYTES - MAX_NAME {
            return ended(TRUNCATED);
        }
        let Some(name) = dentry.follow(offset!(dentry_name)) else {
            return ended(FAULT);
        };
        // SAFETY: `buffer` is a scratch space; the bounded offset plus MAX_NAME stays inside it.
        let written = unsafe {
            let to = buffer.add(bound_offset(so_far));
            bpf_probe_read_kernel_str(to.cast(), MAX_NAME as u32, name.address().cast())
        };
        if written <= 0 {
            return ended(FAULT);
        }
        // SAFETY: as above.
        unsafe {
            write_volatile(end, bound_offset(so_far + written as usize) as u64);
            if watch != 0 && is_watched(name, read_volatile(wanted)) {
                write_volatile(flags, read_volatile(flags) | WATCHED);
            }
            write_volatile(wanted, u64::from(WATCH_DIRECTORY));
        }
        dentry = parent;
    }
    ended(TRUNCATED)
}

/// Whether the component is watched at that place.
#[inline(always)]
fn is_watched(name: Object, wanted: u64) -> bool {
    let mut key = WatchName([0; WATCH_NAME]);
    // SAFETY: the key has WATCH_NAME bytes. Longer names are cut and then equal no watched name, which are shorter.
    unsafe {
        bpf_probe_read_kernel_str(
            key.0.as_mut_ptr().cast(),
            WATCH_NAME as u32,
            name.address().cast(),
        )
    };
    // SAFETY: map and key are valid; the value is only read.
    unsafe {
        let map = core::ptr::from_ref(&WATCH_NAMES).cast_mut().cast();
        let value = bpf_map_lookup_elem(map, key.0.as_ptr().cast()).cast::<u8>();
        !value.is_null() && u64::from(*value) & wanted != 0
    }
}
