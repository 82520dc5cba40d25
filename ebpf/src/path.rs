//! Paths from `struct path`: dentry by dentry up to the root of the mount tree.
//!
//! Components are written last first, each with its NUL; the agent turns them round. A path thus walked is the file's
//! place in the tree as the kernel sees it: no symbolic link, `..`, `/proc/self/root` or `chroot` is left in it.

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
    let packed = walk_components(scratch.cast(), start, path.address(), watch as u64);
    Walk {
        end: packed as u32 as usize,
        truncated: packed & TRUNCATED != 0,
        fault: packed & FAULT != 0,
        watched: packed & WATCHED != 0,
    }
}

/// A function of its own for the verifier: checked once for each caller instead of being copied into it.
#[inline(never)]
fn walk_components(buffer: *mut u8, start: usize, path: *const u8, watch: u64) -> u64 {
    let path = Object::new(path);
    let mut end = start;
    let (Some(mut mount), Some(mut dentry)) =
        (path.follow(offset!(path_mnt)), path.follow(offset!(path_dentry)))
    else {
        return end as u64 | FAULT;
    };
    let mut flags = 0u64;
    let mut wanted = WATCH_LAST;
    for _ in 0..MAX_PATH_DEPTH {
        let (Some(root), Some(parent)) = (
            mount.follow(offset!(vfsmount_root)),
            dentry.follow(offset!(dentry_parent)),
        ) else {
            return end as u64 | flags | FAULT;
        };
        if dentry.is(root) {
            // The root of a mounted file system: go on at its mount point, unless it is the tree's own root.
            let holder = mount.container(offset!(mount_mnt));
            let (Some(upper), Some(point)) = (
                holder.follow(offset!(mount_parent)),
                holder.follow(offset!(mount_mountpoint)),
            ) else {
                return end as u64 | flags | FAULT;
            };
            if upper.is(holder) {
                return end as u64 | flags;
            }
            mount = upper.member(offset!(mount_mnt));
            dentry = point;
            continue;
        }
        if dentry.is(parent) {
            // The root of a file system that is mounted nowhere: pipes, sockets, memory files.
            return end as u64 | flags;
        }
        if end - start > MAX_PATH_BYTES - MAX_NAME {
            return end as u64 | flags | TRUNCATED;
        }
        let Some(name) = dentry.follow(offset!(dentry_name)) else {
            return end as u64 | flags | FAULT;
        };
        // SAFETY: `buffer` is a scratch space; the bounded offset plus MAX_NAME stays inside it.
        let written = unsafe {
            let to = buffer.add(bound_offset(end));
            bpf_probe_read_kernel_str(to.cast(), MAX_NAME as u32, name.address().cast())
        };
        if written <= 0 {
            return end as u64 | flags | FAULT;
        }
        end = bound_offset(end + written as usize);
        if watch != 0 && is_watched(name, wanted) {
            flags |= WATCHED;
        }
        wanted = WATCH_DIRECTORY;
        dentry = parent;
    }
    end as u64 | flags | TRUNCATED
}

/// Whether the component is watched at that place.
#[inline(always)]
fn is_watched(name: Object, wanted: u8) -> bool {
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
        !value.is_null() && *value & wanted != 0
    }
}
